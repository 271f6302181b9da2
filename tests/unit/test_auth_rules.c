/* Rights: which rule decides, and what lies beneath a folder. */
#include "help_auth.h"

static enum auth_right at(const struct auth *auth, const char *user, const char *path)
{
        char *copy = exact_copy(path, strlen(path));
        enum auth_right right = auth_right_at(auth, user, (struct span){ copy, strlen(path) });
        free(copy);
        return right;
}

static bool less(const struct auth *auth, const char *user, const char *path, enum auth_right right)
{
        return auth_less_beneath(auth, user, span_of(path), right);
}

static void test_without_rules_who_is_known_has_all(void **state)
{
        struct auth *auth = loaded(*state, "alice:" BCRYPT "\n", NULL, NULL);
        assert_int_equal(at(auth, "alice", "/"), AUTH_WRITE);
        assert_int_equal(at(auth, "", "/a"), AUTH_NONE);
        auth_destroy(auth);
        auth = loaded(*state, NULL, "robot:0123456789abcdef\n", NULL);
        assert_int_equal(at(auth, "robot", "/a/b"), AUTH_WRITE);
        assert_int_equal(at(auth, "", "/"), AUTH_NONE);
        auth_destroy(auth);
}

static void test_with_nothing_everybody_has_all(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, NULL);
        assert_int_equal(at(auth, "", "/a"), AUTH_WRITE);
        assert_false(less(auth, "", "/", AUTH_WRITE));
        auth_destroy(auth);
}

static void test_where_no_rule_applies_there_is_no_right(void **state)
{
        struct auth *auth = loaded(*state, "alice:" BCRYPT "\n", NULL, "/a:alice:read\n");
        assert_int_equal(at(auth, "alice", "/"), AUTH_NONE);
        assert_int_equal(at(auth, "alice", "/b"), AUTH_NONE);
        assert_int_equal(at(auth, "bob", "/a"), AUTH_NONE);
        assert_int_equal(at(auth, "", "/a"), AUTH_NONE);
        auth_destroy(auth);
}

static void test_the_longest_path_decides(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL,
                                   "/a/b:*:none\n/:*:read\n/a/b/c:*:write\n/a:*:write\n/with:colon:*:none\n");
        assert_int_equal(at(auth, "", "/"), AUTH_READ);
        assert_int_equal(at(auth, "x", "/z/y/x"), AUTH_READ);
        assert_int_equal(at(auth, "x", "/a"), AUTH_WRITE);
        assert_int_equal(at(auth, "x", "/a/"), AUTH_WRITE);
        assert_int_equal(at(auth, "x", "/a/x"), AUTH_WRITE);
        assert_int_equal(at(auth, "x", "/a/b"), AUTH_NONE);
        assert_int_equal(at(auth, "x", "/a/b/x/y"), AUTH_NONE);
        assert_int_equal(at(auth, "x", "/a/b/c"), AUTH_WRITE);
        assert_int_equal(at(auth, "x", "/a/b/c/d"), AUTH_WRITE);
        assert_int_equal(at(auth, "x", "/with:colon/x"), AUTH_NONE);
        auth_destroy(auth);
}

static void test_a_path_is_whole_segments_and_their_case(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, "/:*:read\n/ab/:*:none\n");
        assert_int_equal(at(auth, "", "/abc"), AUTH_READ);
        assert_int_equal(at(auth, "", "/a"), AUTH_READ);
        assert_int_equal(at(auth, "", "/AB"), AUTH_READ);
        assert_int_equal(at(auth, "", "/ab"), AUTH_NONE);
        assert_int_equal(at(auth, "", "/x/ab"), AUTH_READ);
        auth_destroy(auth);
}

static void test_a_name_goes_before_everybody_at_one_path(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, "/a:*:read\n/a:alice,bob:write\n/b:*:write\n/b:alice:none\n");
        assert_int_equal(at(auth, "alice", "/a"), AUTH_WRITE);
        assert_int_equal(at(auth, "bob", "/a"), AUTH_WRITE);
        assert_int_equal(at(auth, "carol", "/a"), AUTH_READ);
        assert_int_equal(at(auth, "", "/a"), AUTH_READ);
        assert_int_equal(at(auth, "alice", "/b"), AUTH_NONE);
        assert_int_equal(at(auth, "bob", "/b"), AUTH_WRITE);
        auth_destroy(auth);
}

/* "*" deeper goes before a name above it; a rule for somebody else says nothing. */
static void test_the_path_goes_before_the_name(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, "/a:alice:write\n/a/b:*:read\n/a/c:bob:none\n");
        assert_int_equal(at(auth, "alice", "/a/b"), AUTH_READ);
        assert_int_equal(at(auth, "alice", "/a/c"), AUTH_WRITE);
        assert_int_equal(at(auth, "bob", "/a/c"), AUTH_NONE);
        auth_destroy(auth);
}

static void test_less_beneath(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL,
                                   "/:*:write\n/a/b/c:*:read\n/a-b:*:none\n/x:alice:none\n/y:*:none\n/y:alice:write\n");
        assert_true(less(auth, "", "/", AUTH_WRITE));
        assert_true(less(auth, "", "/a", AUTH_WRITE));
        assert_true(less(auth, "", "/a/", AUTH_WRITE));
        assert_true(less(auth, "", "/a/b", AUTH_WRITE));
        assert_false(less(auth, "", "/a/b/c", AUTH_WRITE)); /* that is it, not beneath it */
        assert_false(less(auth, "", "/a/b/c/d", AUTH_WRITE));
        assert_false(less(auth, "", "/a", AUTH_READ));
        assert_false(less(auth, "", "/a-b", AUTH_READ));
        assert_true(less(auth, "", "/", AUTH_READ));
        assert_false(less(auth, "", "/z", AUTH_WRITE));
        assert_false(less(auth, "", "/", AUTH_NONE));
        auth_destroy(auth);
}

static void test_less_beneath_looks_at_the_users_own_rights(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL, "/:*:write\n/x/y:alice:none\n/z/y:*:none\n/z/y:alice:write\n");
        assert_true(less(auth, "alice", "/x", AUTH_WRITE));
        assert_false(less(auth, "bob", "/x", AUTH_WRITE));
        assert_false(less(auth, "alice", "/z", AUTH_WRITE));
        assert_true(less(auth, "bob", "/z", AUTH_READ));
        auth_destroy(auth);
}

/* Bytes above 0x7f sort behind '/', as the search for what is beneath expects. */
static void test_less_beneath_with_bytes_beyond_ascii(void **state)
{
        struct auth *auth = loaded(*state, NULL, NULL,
                                   "/:*:write\n/a/b:*:none\n/a b:*:write\n/a0/b:*:write\n"
                                   "/a\xc3\xa4:*:read\n/a\xc3\xb6:*:read\n/a\xc3\xbc:*:read\n/a\xc3\x9f:*:read\n");
        assert_true(less(auth, "", "/a", AUTH_READ));
        assert_false(less(auth, "", "/a\xc3\xa4", AUTH_WRITE));
        assert_false(less(auth, "", "/a0", AUTH_WRITE));
        auth_destroy(auth);
}

/* Against the definition, rule by rule. */
static void test_any_rules(void **state)
{
        static const char *const paths[] = { "/", "/a", "/a/a", "/a/b", "/a/b/a", "/b", "/b/a", "/ab", "/a b" };
        static const char *const users[] = { "*", "alice", "bob" };
        static const char *const rights[] = { "none", "read", "write" };
        struct random random = { 7 };
        for (unsigned turn = 0; turn < 200; turn++) {
                char text[1024];
                struct text rules = text_in(text, sizeof(text) - 1);
                int right[array_count(paths)][array_count(users)];
                for (size_t p = 0; p < array_count(paths); p++) {
                        for (size_t u = 0; u < array_count(users); u++) {
                                right[p][u] = (int)random_below(&random, 6) - 3;
                                if (right[p][u] >= 0)
                                        text_format(&rules, "%s:%s:%s\n", paths[p], users[u], rights[right[p][u]]);
                        }
                }
                text[rules.used] = '\0';
                struct auth *auth = loaded(*state, NULL, NULL, text);
                for (size_t u = 0; u < array_count(users); u++) {
                        int effective[array_count(paths)];
                        for (size_t p = 0; p < array_count(paths); p++) {
                                size_t best = 0;
                                effective[p] = 0;
                                for (size_t q = 0; q < array_count(paths); q++) {
                                        size_t size = strlen(paths[q]) * (q > 0);
                                        bool above = strncmp(paths[p], paths[q], size) == 0 &&
                                                     (paths[p][size] == '/' || !paths[p][size]);
                                        int given = right[q][u] >= 0 ? right[q][u] : right[q][0];
                                        if (above && given >= 0 && size >= best) {
                                                best = size;
                                                effective[p] = given;
                                        }
                                }
                                assert_int_equal(at(auth, u ? users[u] : "", paths[p]), effective[p]);
                        }
                        for (size_t p = 0; p < array_count(paths); p++) {
                                size_t size = strlen(paths[p]) * (p > 0);
                                for (int wanted = AUTH_NONE; wanted <= AUTH_WRITE; wanted++) {
                                        bool expected = false;
                                        for (size_t q = 1; q < array_count(paths); q++)
                                                expected |= q != p && strncmp(paths[q], paths[p], size) == 0 &&
                                                            paths[q][size] == '/' && effective[q] < wanted &&
                                                            (right[q][u] >= 0 || right[q][0] >= 0);
                                        assert_int_equal(
                                                less(auth, u ? users[u] : "", paths[p], (enum auth_right)wanted),
                                                expected);
                                }
                        }
                }
                auth_destroy(auth);
        }
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_folder(test_without_rules_who_is_known_has_all),
                in_folder(test_with_nothing_everybody_has_all),
                in_folder(test_where_no_rule_applies_there_is_no_right),
                in_folder(test_the_longest_path_decides),
                in_folder(test_a_path_is_whole_segments_and_their_case),
                in_folder(test_a_name_goes_before_everybody_at_one_path),
                in_folder(test_the_path_goes_before_the_name),
                in_folder(test_less_beneath),
                in_folder(test_less_beneath_looks_at_the_users_own_rights),
                in_folder(test_less_beneath_with_bytes_beyond_ascii),
                in_folder(test_any_rules),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
