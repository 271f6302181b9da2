/* Verdicts that are kept: for how long, how many, and for what. */
#include "help_auth.h"

#include "auth/auth_priv.h"

enum { TRUST_MS = 600000 };

struct world {
        struct folder *folder;
        struct auth *auth;
        struct auth_cache *cache;
};

static int setup(void **state)
{
        struct world *world = calloc(1, sizeof(*world));
        void *folder;
        if (folder_setup(&folder))
                return -1;
        world->folder = folder;
        world->auth = loaded(folder, "alice:" BCRYPT "\nbob:" BCRYPT "\n", NULL, NULL);
        *state = world;
        return auth_cache_create(&world->cache, world->auth);
}

static int teardown(void **state)
{
        struct world *world = *state;
        void *folder = world->folder;
        auth_cache_destroy(world->cache);
        auth_destroy(world->auth);
        free(world);
        return folder_teardown(&folder);
}

static void ask(struct world *world, const char *credentials, uint64_t now_ms, enum auth_verdict verdict,
                const char *name)
{
        char room[2048], user[AUTH_USER_BYTES] = "somebody before";
        assert_int_equal(auth_cache_ask(world->cache, basic_of(span_of(credentials), room), user, now_ms), verdict);
        assert_string_equal(user, name);
}

static void learn(struct world *world, const char *credentials, uint64_t now_ms, enum auth_verdict verdict)
{
        char room[2048];
        auth_cache_learn(world->cache, basic_of(span_of(credentials), room), verdict, now_ms);
}

static void test_what_is_not_known_has_to_be_hashed(void **state)
{
        ask(*state, "alice:secret", 1, AUTH_MUST_HASH, "");
        ask(*state, "nobody:secret", 1, AUTH_MUST_HASH, "");
}

static void test_a_verdict_is_kept_for_ten_minutes(void **state)
{
        learn(*state, "alice:secret", 1000, AUTH_GOOD);
        learn(*state, "alice:wrong", 1000, AUTH_BAD);
        ask(*state, "alice:secret", 1000 + TRUST_MS - 1, AUTH_GOOD, "alice");
        ask(*state, "alice:wrong", 1000 + TRUST_MS - 1, AUTH_BAD, "");
        ask(*state, "alice:secret", 1000 + TRUST_MS, AUTH_MUST_HASH, "");
        ask(*state, "alice:wrong", 1000 + TRUST_MS, AUTH_MUST_HASH, "");
        learn(*state, "alice:secret", 2000 + TRUST_MS, AUTH_GOOD);
        ask(*state, "alice:secret", 2001 + TRUST_MS, AUTH_GOOD, "alice");
}

static void test_a_verdict_is_for_name_and_password(void **state)
{
        learn(*state, "alice:secret", 1, AUTH_GOOD);
        ask(*state, "alice:secreT", 2, AUTH_MUST_HASH, "");
        ask(*state, "alice:secret ", 2, AUTH_MUST_HASH, "");
        ask(*state, "bob:secret", 2, AUTH_MUST_HASH, "");
        learn(*state, "bob:secret", 2, AUTH_GOOD);
        ask(*state, "bob:secret", 3, AUTH_GOOD, "bob");
        ask(*state, "alice:secret", 3, AUTH_GOOD, "alice");
}

static void test_a_verdict_is_of_the_credentials_and_not_of_their_spelling(void **state)
{
        struct world *world = *state;
        char user[AUTH_USER_BYTES];
        learn(world, "alice:secret", 1, AUTH_GOOD);
        assert_int_equal(auth_cache_ask(world->cache, SPAN("bASIC  YWxpY2U6c2VjcmV0 "), user, 2), AUTH_GOOD);
}

static void test_what_is_malformed_is_decided_at_once(void **state)
{
        struct world *world = *state;
        char user[AUTH_USER_BYTES];
        assert_int_equal(auth_cache_ask(world->cache, SPAN("Basic !!!!"), user, 2), AUTH_BAD);
        assert_int_equal(auth_cache_ask(world->cache, SPAN("Basic"), user, 2), AUTH_BAD);
        assert_int_equal(auth_cache_ask(world->cache, SPAN("Digest x"), user, 2), AUTH_BAD);
        auth_cache_learn(world->cache, SPAN("Basic !!!!"), AUTH_BAD, 2);
}

/* Two caches of one struct auth know of each other nothing, and those of two have different keys. */
static void test_caches_are_separate(void **state)
{
        struct world *world = *state, other = { .auth = world->auth };
        assert_int_equal(auth_cache_create(&other.cache, world->auth), 0);
        learn(world, "alice:secret", 1, AUTH_GOOD);
        ask(&other, "alice:secret", 1, AUTH_MUST_HASH, "");
        auth_cache_destroy(other.cache);
        unsigned char one[AUTH_DIGEST_BYTES], two[AUTH_DIGEST_BYTES];
        struct auth *again = loaded(world->folder, "alice:" BCRYPT "\n", NULL, NULL);
        assert_true(auth_digest(world->auth, AUTH_KEY_NAME, SPAN("alice"), one));
        assert_true(auth_digest(again, AUTH_KEY_NAME, SPAN("alice"), two));
        assert_memory_not_equal(one, two, sizeof(one));
        assert_true(auth_digest(again, AUTH_KEY_TOKEN, SPAN("alice"), one));
        assert_memory_not_equal(one, two, sizeof(one));
        auth_destroy(again);
}

static void fill(struct world *world, unsigned count, enum auth_verdict verdict)
{
        char credentials[64];
        for (unsigned i = 0; i < count; i++) {
                snprintf(credentials, sizeof(credentials), "bob:password%u", i);
                learn(world, credentials, 1, verdict);
        }
}

static void test_the_oldest_go(void **state)
{
        learn(*state, "alice:secret", 1, AUTH_GOOD);
        fill(*state, AUTH_CACHE_GOOD - 1, AUTH_GOOD);
        ask(*state, "alice:secret", 2, AUTH_GOOD, "alice");
        ask(*state, "bob:password0", 2, AUTH_GOOD, "bob");
        learn(*state, "bob:one more", 1, AUTH_GOOD);
        ask(*state, "alice:secret", 2, AUTH_MUST_HASH, "");
        ask(*state, "bob:password0", 2, AUTH_GOOD, "bob");
        ask(*state, "bob:one more", 2, AUTH_GOOD, "bob");
}

static void test_bad_ones_push_out_no_good_one(void **state)
{
        learn(*state, "alice:secret", 1, AUTH_GOOD);
        fill(*state, 3 * AUTH_CACHE_GOOD, AUTH_BAD);
        ask(*state, "alice:secret", 2, AUTH_GOOD, "alice");
        char newest[64];
        snprintf(newest, sizeof(newest), "bob:password%u", 3 * AUTH_CACHE_GOOD - 1);
        ask(*state, newest, 2, AUTH_BAD, "");
        ask(*state, "bob:password0", 2, AUTH_MUST_HASH, "");
}

static void test_the_whole_table_is_found_again(void **state)
{
        fill(*state, 5 * AUTH_CACHE_GOOD + 77, AUTH_GOOD);
        for (unsigned i = 0; i < 5 * AUTH_CACHE_GOOD + 77; i++) {
                char credentials[64];
                bool kept = i >= 4 * AUTH_CACHE_GOOD + 77;
                snprintf(credentials, sizeof(credentials), "bob:password%u", i);
                ask(*state, credentials, 2, kept ? AUTH_GOOD : AUTH_MUST_HASH, kept ? "bob" : "");
        }
}

#define in_world(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_world(test_what_is_not_known_has_to_be_hashed),
                in_world(test_a_verdict_is_kept_for_ten_minutes),
                in_world(test_a_verdict_is_for_name_and_password),
                in_world(test_a_verdict_is_of_the_credentials_and_not_of_their_spelling),
                in_world(test_what_is_malformed_is_decided_at_once),
                in_world(test_caches_are_separate),
                in_world(test_the_oldest_go),
                in_world(test_bad_ones_push_out_no_good_one),
                in_world(test_the_whole_table_is_found_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
