/* Checking credentials: each kind of hash, what is malformed, tokens. */
#include "help_auth.h"

#include <crypt.h>

static void expect(const struct auth *auth, struct span authorization, enum auth_verdict verdict, const char *name)
{
        char user[AUTH_USER_BYTES] = "somebody before";
        char *copy = exact_copy(authorization.data, authorization.size);
        assert_int_equal(auth_check(auth, (struct span){ copy, authorization.size }, user), verdict);
        assert_string_equal(user, name);
        free(copy);
}

static void expect_basic(const struct auth *auth, struct span credentials, enum auth_verdict verdict, const char *name)
{
        char room[2048];
        expect(auth, basic_of(credentials, room), verdict, name);
}

static void test_every_kind_of_hash(void **state)
{
        struct auth *auth = loaded(*state,
                                   "two-y:" BCRYPT "\ntwo-b:" BCRYPT_B "\nfive:" SHA256 "\nsix:" SHA512
                                   "\nsix-usual:" SHA512_USUAL "\nyes:" YESCRYPT "\n",
                                   NULL, NULL);
        static const char *const names[] = { "two-y", "two-b", "five", "six", "six-usual", "yes" };
        for (size_t i = 0; i < array_count(names); i++) {
                char credentials[128];
                snprintf(credentials, sizeof(credentials), "%s:secret", names[i]);
                expect_basic(auth, span_of(credentials), AUTH_GOOD, names[i]);
                snprintf(credentials, sizeof(credentials), "%s:Secret", names[i]);
                expect_basic(auth, span_of(credentials), AUTH_BAD, "");
                snprintf(credentials, sizeof(credentials), "%s:", names[i]);
                expect_basic(auth, span_of(credentials), AUTH_BAD, "");
        }
        assert_true(auth_check_bytes(auth) >= 1 << 20); /* yescrypt */
        auth_destroy(auth);
}

static void test_who_is_unknown_is_wrong(void **state)
{
        struct auth *auth = loaded(*state, "alice:" BCRYPT "\n", NULL, NULL);
        expect_basic(auth, SPAN("bob:secret"), AUTH_BAD, ""); /* the dummy's own password */
        expect_basic(auth, SPAN("Alice:secret"), AUTH_BAD, "");
        expect_basic(auth, SPAN("alice :secret"), AUTH_BAD, "");
        assert_true(auth_check_bytes(auth) < 1 << 20);
        auth_destroy(auth);
        auth = loaded(*state, "", NULL, NULL);
        expect_basic(auth, SPAN("bob:secret"), AUTH_BAD, "");
        auth_destroy(auth);
}

static void test_a_password_may_have_colons_and_utf8(void **state)
{
        struct auth *auth = loaded(*state, "Jürgen:" BCRYPT_UTF8 "\n", NULL, NULL);
        expect_basic(auth, SPAN("Jürgen:pa:ss wörd"), AUTH_GOOD, "Jürgen");
        expect_basic(auth, SPAN("Jürgen:pa:ss word"), AUTH_BAD, "");
        expect_basic(auth, SPAN("Jürgen:pa"), AUTH_BAD, "");
        auth_destroy(auth);
}

static void test_what_is_malformed_is_wrong(void **state)
{
        struct auth *auth = loaded(*state, "alice:" BCRYPT "\n", NULL, NULL);
        expect_basic(auth, SPAN("alice:secret"), AUTH_GOOD, "alice");
        expect_basic(auth, SPAN("alice:secret\0more"), AUTH_BAD, "");
        expect_basic(auth, SPAN("al\0ice:secret"), AUTH_BAD, "");
        expect_basic(auth, SPAN("al\nice:secret"), AUTH_BAD, "");
        expect_basic(auth, SPAN("alice"), AUTH_BAD, "");
        expect_basic(auth, SPAN(":secret"), AUTH_BAD, "");
        static const char *const fields[] = {
                "",
                "Basic",
                "Basic ",
                "Basic =",
                "Basic ====",
                "Basic YWxpY2U6c2VjcmV0=",
                "Basic YWxpY2U6c2VjcmV",
                "Basic YWxpY2U6c2Vj!mV0",
                "Basic YWxpY2U6c2Vj mV0",
                "Basic YWxp=2U6c2VjcmV0",
                "Basic YW=pY2U6c2VjcmV0",
                "BasicYWxpY2U6c2VjcmV0",
                "Digest YWxpY2U6c2VjcmV0",
                "Bearer YWxpY2U6c2VjcmV0",
                "YWxpY2U6c2VjcmV0",
        };
        for (size_t i = 0; i < array_count(fields); i++)
                expect(auth, span_of(fields[i]), AUTH_BAD, "");
        expect(auth, SPAN("bAsIc   YWxpY2U6c2VjcmV0  "), AUTH_GOOD, "alice");
        expect(auth, (struct span){ NULL, 0 }, AUTH_BAD, "");
        auth_destroy(auth);
}

/* As long as a password may be, and longer. */
static void test_long_passwords(void **state)
{
        char line[512], credentials[1200], password[513] = "", *made;
        struct crypt_data *data = calloc(1, sizeof(*data));
        memset(password, 'p', 511);
        made = crypt_rn(password, "$5$rounds=1000$saltsalt$", data, (int)sizeof(*data));
        assert_non_null(made);
        snprintf(line, sizeof(line), "%063d:%s\n", 7, made);
        free(data);
        struct auth *auth = loaded(*state, line, NULL, NULL);
        char name[AUTH_USER_BYTES];
        snprintf(name, sizeof(name), "%063d", 7);
        snprintf(credentials, sizeof(credentials), "%s:%s", name, password);
        expect_basic(auth, span_of(credentials), AUTH_GOOD, name);
        strcat(credentials, "p");
        expect_basic(auth, span_of(credentials), AUTH_BAD, "");
        memset(credentials + strlen(name) + 1, 'p', 1000);
        expect_basic(auth, (struct span){ credentials, strlen(name) + 1000 }, AUTH_BAD, "");
        auth_destroy(auth);
}

static void test_many_users(void **state)
{
        enum { USERS = 3000, ROOM = USERS * 80 };
        char *text = calloc(1, ROOM), credentials[128], name[64];
        size_t used = 0;
        for (unsigned i = 0; i < USERS; i++)
                used += (size_t)snprintf(text + used, ROOM - used, "user%u:%s\n", i, BCRYPT);
        struct auth *auth = loaded(*state, text, NULL, NULL);
        free(text);
        for (unsigned i = 0; i < USERS; i += 500) {
                snprintf(name, sizeof(name), "user%u", i);
                snprintf(credentials, sizeof(credentials), "%s:secret", name);
                expect_basic(auth, span_of(credentials), AUTH_GOOD, name);
        }
        expect_basic(auth, SPAN("user3000:secret"), AUTH_BAD, "");
        auth_destroy(auth);
}

/* ---- tokens: by the cache, at once ---- */

static void ask(struct auth_cache *cache, const char *field, enum auth_verdict verdict, const char *name)
{
        char user[AUTH_USER_BYTES] = "somebody before";
        struct span authorization = field ? span_of(field) : (struct span){ NULL, 0 };
        assert_int_equal(auth_cache_ask(cache, authorization, user, 1), verdict);
        assert_string_equal(user, name);
}

static void test_tokens_are_decided_at_once(void **state)
{
        struct auth *auth = loaded(
                *state, NULL, "robot:0123456789abcdef\nother:ABCDEF-._~+/0123456789==\nrobot:fedcba9876543210\n", NULL);
        struct auth_cache *cache;
        assert_int_equal(auth_cache_create(&cache, auth), 0);
        ask(cache, "Bearer 0123456789abcdef", AUTH_GOOD, "robot");
        ask(cache, "bearer fedcba9876543210", AUTH_GOOD, "robot");
        ask(cache, "Bearer ABCDEF-._~+/0123456789==", AUTH_GOOD, "other");
        ask(cache, "Bearer ABCDEF-._~+/0123456789=", AUTH_BAD, "");
        ask(cache, "Bearer 0123456789abcdeF", AUTH_BAD, "");
        ask(cache, "Bearer 0123456789abcdef0", AUTH_BAD, "");
        ask(cache, "Bearer robot", AUTH_BAD, "");
        ask(cache, "Bearer ", AUTH_BAD, "");
        ask(cache, "Bearer", AUTH_BAD, "");
        ask(cache, "Basic YWxpY2U6c2VjcmV0", AUTH_BAD, ""); /* there are no passwords, so nothing has to be hashed */
        ask(cache, NULL, AUTH_MISSING, "");
        auth_cache_destroy(cache);
        auth_destroy(auth);
}

static void test_with_nothing_to_judge_by_credentials_are_ignored(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, "/:*:read\n");
        struct auth_cache *cache;
        assert_int_equal(auth_cache_create(&cache, auth), 0);
        ask(cache, "Basic YWxpY2U6c2VjcmV0", AUTH_MISSING, "");
        ask(cache, "Bearer 0123456789abcdef", AUTH_MISSING, "");
        auth_cache_destroy(cache);
        auth_destroy(auth);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_folder(test_every_kind_of_hash),
                in_folder(test_who_is_unknown_is_wrong),
                in_folder(test_a_password_may_have_colons_and_utf8),
                in_folder(test_what_is_malformed_is_wrong),
                in_folder(test_long_passwords),
                in_folder(test_many_users),
                in_folder(test_tokens_are_decided_at_once),
                in_folder(test_with_nothing_to_judge_by_credentials_are_ignored),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
