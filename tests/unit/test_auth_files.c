/* What is wrong in a file of passwords, tokens or rules, and where: each line that is said. */
#include "help_auth.h"

#include <errno.h>

/* It is refused, and what is said names the file, the line and why. */
static void refused(struct folder *folder, const char *passwords, const char *tokens, const char *rules,
                    const char *where, const char *why)
{
        struct auth *auth;
        assert_int_equal(load(folder, &auth, passwords, tokens, rules), -EINVAL);
        assert_null(auth);
        if (!strstr(said, where) || !strstr(said, why))
                fail_msg("'%s' and '%s' are not in: %s", where, why, said);
        assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
}

static void bad_hash(struct folder *folder, const char *hash, const char *why)
{
        char line[512];
        snprintf(line, sizeof(line), "# users\n\nalice:%s\n", hash);
        refused(folder, line, NULL, NULL, "/passwords:3: 'alice' has ", why);
        if (*hash) /* it may be a password */
                assert_null(strstr(said, hash));
}

static void test_hashes_that_are_too_weak_are_refused(void **state)
{
        bad_hash(*state, "$1$salt$ez2vlPGdaLYkJam5pWs/Y1", "MD5");
        bad_hash(*state, "$apr1$salt$ez2vlPGdaLYkJam5pWs/Y1", "Apache");
        bad_hash(*state, "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1");
        bad_hash(*state, "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1");
        bad_hash(*state, "$sha1$40000$salt$hash", "SHA-1");
        bad_hash(*state, "$3$$8846f7eaee8fb117ad06bdd830b7586c", "NT");
        bad_hash(*state, "abNANd1rDfiNc", "DES");
        bad_hash(*state, "_J9..rasmBYk8r9AiWNc", "DES");
        bad_hash(*state, "{PLAIN}secret", "plain text");
        bad_hash(*state, "secret", "plain text");
        bad_hash(*state, "$2a$04$" SALT22 BCRYPT_TAIL, "$2a$");
        bad_hash(*state, "$2x$04$" SALT22 BCRYPT_TAIL, "$2x$");
        bad_hash(*state, "$7$CU..../....salt$hash", "unknown kind");
        bad_hash(*state, "", "no hash");
}

static void test_malformed_hashes_are_refused(void **state)
{
        bad_hash(*state, "$2y$04$" SALT22 "2r9OfJnfCsdneAXAGHnS4UpFFP8WIr", "malformed bcrypt");
        bad_hash(*state, BCRYPT "x", "malformed bcrypt");
        bad_hash(*state, "$2y$03$" SALT22 BCRYPT_TAIL, "malformed bcrypt");
        bad_hash(*state, "$2y$0a$" SALT22 BCRYPT_TAIL, "malformed bcrypt");
        bad_hash(*state, "$2y$17$" SALT22 BCRYPT_TAIL, "above 16");
        bad_hash(*state, "$2y$04$abcdefghij:lmnopqrstuu" BCRYPT_TAIL, "malformed bcrypt");
        bad_hash(*state, "$6$rounds=999$saltsalt$" SHA512_TAIL, "malformed SHA");
        bad_hash(*state, "$6$rounds=1x00$saltsalt$" SHA512_TAIL, "malformed SHA");
        bad_hash(*state, "$6$rounds=999999999$saltsalt$" SHA512_TAIL, "10,000,000");
        bad_hash(*state, "$6$saltsaltsaltsalts$" SHA512_TAIL, "malformed SHA");
        bad_hash(*state, "$6$saltsalt", "malformed SHA");
        bad_hash(*state, "$6$rounds=1000", "malformed SHA");
        bad_hash(*state, "$5$saltsalt$" SHA512_TAIL, "malformed SHA");
        bad_hash(*state, SHA512 ":a comment", "malformed SHA");
        bad_hash(*state, "$y$j75$saltsaltsalt$short", "malformed yescrypt");
        bad_hash(*state, "$y$", "malformed yescrypt");
        bad_hash(*state, "$y$$saltsaltsalt$" YESCRYPT_TAIL, "malformed yescrypt");
}

/* Well-formed to the eye, and nobody could ever log in. */
static void test_a_hash_that_crypt_cannot_check_is_refused(void **state)
{
        refused(*state, "bob:" BCRYPT "\nalice:$y$zzz$saltsaltsalt$" YESCRYPT_TAIL "\n", NULL, NULL,
                "/passwords:2: ", "cannot check the hash of 'alice'");
}

static void test_names_that_are_none_are_refused(void **state)
{
        refused(*state, "alice\n", NULL, NULL, "/passwords:1: ", "no ':'");
        refused(*state, ":" BCRYPT "\n", NULL, NULL, "/passwords:1: ", "1 to 63 bytes");
        refused(*state, "*:" BCRYPT "\n", NULL, NULL, "/passwords:1: ", "1 to 63 bytes");
        refused(*state, "a,b:" BCRYPT "\n", NULL, NULL, "/passwords:1: ", "comma");
        refused(*state, "a\tb:" BCRYPT "\n", NULL, NULL, "/passwords:1: ", "control byte");
        refused(*state, "a\x7f:" BCRYPT "\n", NULL, NULL, "/passwords:1: ", "control byte");
        char line[256];
        snprintf(line, sizeof(line), "%064d:%s\n", 1, BCRYPT);
        refused(*state, line, NULL, NULL, "/passwords:1: ", "1 to 63 bytes");
        refused(*state, NULL, "a\tb:0123456789abcdef\n", NULL, "/tokens:1: ", "control byte");
}

static void test_a_name_of_63_bytes_and_utf8_are_fine(void **state)
{
        char line[256];
        snprintf(line, sizeof(line), "%063d:%s\nJürgen Groß:%s\n", 1, BCRYPT, BCRYPT_B);
        auth_destroy(loaded(*state, line, NULL, NULL));
}

static void test_a_user_stands_once(void **state)
{
        refused(*state, "alice:" BCRYPT "\nbob:" SHA256 "\n# \nalice:" SHA512 "\n", NULL, NULL,
                "/passwords:4: ", "'alice' stands in line 1");
}

static void test_tokens_that_are_none_are_refused(void **state)
{
        refused(*state, NULL, "robot:0123456789abcde\n", NULL, "/tokens:1: ", "16 to 1024");
        refused(*state, NULL, "robot:0123456789abcde f\n", NULL, "/tokens:1: ", "letters, digits");
        refused(*state, NULL, "robot:012345=789abcdef\n", NULL, "/tokens:1: ", "letters, digits");
        refused(*state, NULL, "robot:================\n", NULL, "/tokens:1: ", "letters, digits");
        assert_null(strstr(said, "===="));
        refused(*state, NULL, "robot\n", NULL, "/tokens:1: ", "no ':'");
        refused(*state, NULL, "a:0123456789abcdef\n\nb:0123456789abcdef\n", NULL,
                "/tokens:3: ", "stands in line 1 already");
        char line[1200];
        snprintf(line, sizeof(line), "robot:%01025d\n", 1);
        refused(*state, NULL, line, NULL, "/tokens:1: ", "16 to 1024");
}

static void test_rules_that_are_none_are_refused(void **state)
{
        refused(*state, NULL, NULL, "# rules\n/a:alice\n", "/rules:2: ", "expected /path:who:");
        refused(*state, NULL, NULL, "/a\n", "/rules:1: ", "expected /path:who:");
        refused(*state, NULL, NULL, "a:*:read\n", "/rules:1: ", "begins with '/'");
        refused(*state, NULL, NULL, ":*:read\n", "/rules:1: ", "begins with '/'");
        refused(*state, NULL, NULL, "/a//b:*:read\n", "/rules:1: ", "no empty part");
        refused(*state, NULL, NULL, "/a/../b:*:read\n", "/rules:1: ", "no . or ..");
        refused(*state, NULL, NULL, "/./b:*:read\n", "/rules:1: ", "no . or ..");
        refused(*state, NULL, NULL, "/a:*:all\n", "/rules:1: ", "'all' is no right");
        refused(*state, NULL, NULL, "/a:*:Read\n", "/rules:1: ", "'Read' is no right");
        refused(*state, NULL, NULL, "/a::read\n", "/rules:1: ", "is no name");
        refused(*state, NULL, NULL, "/a:alice,,bob:read\n", "/rules:1: ", "is no name");
        refused(*state, NULL, NULL, "/a:alice,:read\n", "/rules:1: ", "is no name");
        refused(*state, NULL, NULL, "/a:al\x01ice:read\n", "/rules:1: ", "is no name");
}

static void test_a_path_and_a_name_have_one_rule(void **state)
{
        refused(*state, NULL, NULL, "/a:alice:read\n/b:alice:read\n/a/:bob,alice:write\n",
                "/rules:3: ", "line 1 has a rule for /a and 'alice'");
        refused(*state, NULL, NULL, "/:*:read\n/:*:read\n", "/rules:2: ", "line 1 has a rule for / and '*'");
}

static void test_too_many_rules_are_refused(void **state)
{
        enum { ROOM = (AUTH_MAX_RULES + 1) * 24 };
        char *text = calloc(1, ROOM);
        size_t used = 0;
        for (unsigned i = 0; i < AUTH_MAX_RULES; i++)
                used += (size_t)snprintf(text + used, ROOM - used, "/%u:*:read\n", i);
        auth_destroy(loaded(*state, NULL, NULL, text));
        snprintf(text + used, ROOM - used, "/more:*:read\n");
        refused(*state, NULL, NULL, text, "/rules:10001: ", "more than 10000 rules");
        free(text);
}

static void test_what_cannot_be_read_is_told(void **state)
{
        struct auth *auth;
        assert_int_equal(load_said(*state, &auth, &(struct auth_files){ .passwords = "/nonexistent/file" }), -ENOENT);
        assert_non_null(strstr(said, "/nonexistent/file: No such file"));
        assert_int_equal(load_said(*state, &auth, &(struct auth_files){ .tokens = "/dev/null" }), -EINVAL);
        assert_non_null(strstr(said, "/dev/null: it is not a regular file"));
        assert_int_equal(load_said(*state, &auth, &(struct auth_files){ .rules = "/" }), -EINVAL);
        assert_non_null(strstr(said, "not a regular file"));
}

static void test_secrets_that_everybody_may_read_are_complained_about_and_used(void **state)
{
        struct folder *folder = *state;
        char path[128];
        struct auth *auth;
        put_file(folder, "open", SPAN("alice:" BCRYPT "\n"), path);
        fchmodat(folder->fd, "open", 0644, 0);
        assert_int_equal(load_said(folder, &auth, &(struct auth_files){ .passwords = path }), 0);
        assert_non_null(strstr(said, "/open: everybody"));
        auth_destroy(auth);
        fchmodat(folder->fd, "open", 0640, 0);
        assert_int_equal(load_said(folder, &auth, &(struct auth_files){ .passwords = path }), 0);
        assert_string_equal(said, "");
        auth_destroy(auth);
}

static void test_lines_may_end_in_crlf_and_the_last_without_end(void **state)
{
        struct auth *auth = loaded(*state, "# a\r\n\r\nalice:" BCRYPT "\r\nbob:" SHA256,
                                   "r:0123456789abcdef==", "/:alice,bob:read\r\n");
        char user[AUTH_USER_BYTES], room[2048];
        assert_int_equal(auth_check(auth, basic_of(SPAN("alice:secret"), room), user), AUTH_GOOD);
        assert_int_equal(auth_check(auth, basic_of(SPAN("bob:secret"), room), user), AUTH_GOOD);
        auth_destroy(auth);
}

static void test_empty_files_are_files(void **state)
{
        struct auth *auth = loaded(*state, "", "# none\n", "");
        assert_true(auth_has_passwords(auth) && auth_has_tokens(auth));
        auth_destroy(auth);
        auth_destroy(NULL);
}

#define in_folder(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                in_folder(test_hashes_that_are_too_weak_are_refused),
                in_folder(test_malformed_hashes_are_refused),
                in_folder(test_a_hash_that_crypt_cannot_check_is_refused),
                in_folder(test_names_that_are_none_are_refused),
                in_folder(test_a_name_of_63_bytes_and_utf8_are_fine),
                in_folder(test_a_user_stands_once),
                in_folder(test_tokens_that_are_none_are_refused),
                in_folder(test_rules_that_are_none_are_refused),
                in_folder(test_a_path_and_a_name_have_one_rule),
                in_folder(test_too_many_rules_are_refused),
                in_folder(test_what_cannot_be_read_is_told),
                in_folder(test_secrets_that_everybody_may_read_are_complained_about_and_used),
                in_folder(test_lines_may_end_in_crlf_and_the_last_without_end),
                in_folder(test_empty_files_are_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
