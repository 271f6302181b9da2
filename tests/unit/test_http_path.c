/* Paths from and to URLs. */
#include "help.h"
#include "http/http.h"

static char out[HTTP_MAX_PATH];
static bool folder, hidden;

static int decode_bytes(const char *bytes, size_t size)
{
        char *copy = exact_copy(bytes, size), *room = malloc(HTTP_MAX_PATH);
        int result = http_decode_path(room, (struct span){ copy, size }, &folder, &hidden);

        memcpy(out, room, HTTP_MAX_PATH);
        free(room);
        free(copy);
        if (result >= 0)
                assert_int_equal(out[result], '\0');
        return result;
}

static int decode(const char *path)
{
        return decode_bytes(path, strlen(path));
}

static void assert_path(const char *path, const char *wanted, bool is_folder)
{
        int result = decode(path);

        if (result != (int)strlen(wanted) || memcmp(out, wanted, strlen(wanted)) != 0 || folder != is_folder)
                fail_msg("%s: %d \"%s\" %d", path, result, out, folder);
}

static void plain_paths_lose_their_leading_slash(void **state)
{
        (void)state;
        assert_path("/", "", true);
        assert_path("/a", "a", false);
        assert_path("/a/b.txt", "a/b.txt", false);
        assert_path("/a/b/", "a/b", true);
}

static void escapes_are_decoded_once(void **state)
{
        (void)state;
        assert_path("/a%20b", "a b", false);
        assert_path("/%41%7a%7A", "Azz", false);
        assert_path("/%2541", "%41", false);
        assert_path("/%25%32%65", "%2e", false);
        assert_path("/a+b;c=d:e@f", "a+b;c=d:e@f", false);
        assert_path("/%3f%23", "?#", false);
        assert_path("/a%0Ab%5C", "a\nb\\", false);
}

static void bytes_that_are_not_utf8_pass(void **state)
{
        (void)state;
        assert_path("/\xc3\xa4\xff%80%FF", "\xc3\xa4\xff\x80\xff", false);
}

static void empty_and_dot_segments_vanish(void **state)
{
        (void)state;
        assert_path("//", "", true);
        assert_path("//a///b//", "a/b", true);
        assert_path("/./a/./b", "a/b", false);
        assert_path("/a/.", "a", true);
        assert_path("/a/./", "a", true);
        assert_path("/.", "", true);
        assert_path("/%2e/a/%2E", "a", true);
        assert_path("/./", "", true);
}

static void dots_that_are_part_of_a_name_stay(void **state)
{
        (void)state;
        assert_path("/...", "...", false);
        assert_path("/a..b/..c/d..", "a..b/..c/d..", false);
        assert_path("/.a", ".a", false);
}

static void dot_dot_in_any_spelling_is_404(void **state)
{
        static const char *const bad[] = {
                "/..",     "/../",    "/a/..", "/a/../b", "/%2e%2e",       "/.%2E/a",
                "/%2e./a", "/a/%2E.", "//..",  "/./..",   "/a/b/../../..",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (decode(bad[i]) != -404)
                        fail_msg("%s", bad[i]);
        }
}

static void an_encoded_slash_is_404(void **state)
{
        (void)state;
        assert_int_equal(decode("/a%2Fb"), -404);
        assert_int_equal(decode("/%2f"), -404);
        assert_int_equal(decode("/..%2f..%2fetc"), -404);
}

static void bad_escapes_are_400(void **state)
{
        static const char *const bad[] = { "/%",    "/%4",  "/a%",  "/a%2", "/%g0",  "/%0g",
                                           "/%%41", "/% 1", "/%-1", "/%+1", "/a%/b", "/%4/1" };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (decode(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void nul_and_raw_control_bytes_are_400(void **state)
{
        (void)state;
        assert_int_equal(decode("/%00"), -400);
        assert_int_equal(decode("/a%00.txt"), -400);
        assert_int_equal(decode_bytes("/a\0b", 4), -400);
        assert_int_equal(decode("/a\nb"), -400);
        assert_int_equal(decode("/\x1f"), -400);
        assert_int_equal(decode("/\x7f"), -400);
}

static void a_path_that_is_not_absolute_is_400(void **state)
{
        (void)state;
        assert_int_equal(decode(""), -400);
        assert_int_equal(decode("*"), -400);
        assert_int_equal(decode("a/b"), -400);
        assert_int_equal(decode_bytes(NULL, 0), -400);
}

static void hidden_names_are_noticed_anywhere(void **state)
{
        static const struct {
                const char *path;
                bool hidden;
        } cases[] = {
                { "/a", false },   { "/.a", true },   { "/.git/config", true }, { "/a/.b/c", true }, { "/%2ea", true },
                { "/a.b", false }, { "/./a", false }, { "/a/.", false },        { "/...", true },    { "/", false },
        };
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                assert_true(decode(cases[i].path) >= 0);
                if (hidden != cases[i].hidden)
                        fail_msg("%s", cases[i].path);
        }
}

static void paths_up_to_4095_bytes_fit(void **state)
{
        char path[3 * HTTP_MAX_PATH];
        (void)state;

        memset(path, 'a', sizeof(path));
        path[0] = '/';
        assert_int_equal(decode_bytes(path, HTTP_MAX_PATH), HTTP_MAX_PATH - 1);
        assert_int_equal(decode_bytes(path, HTTP_MAX_PATH + 1), -404);
        assert_int_equal(decode_bytes(path, sizeof(path)), -404);
        for (size_t i = 1; i + 2 < sizeof(path); i += 3)
                memcpy(path + i, "%62", 3);
        assert_int_equal(decode_bytes(path, 1 + 3 * (HTTP_MAX_PATH - 1)), HTTP_MAX_PATH - 1);
        memset(path, '/', sizeof(path)); /* all of it vanishes */
        assert_int_equal(decode_bytes(path, sizeof(path)), 0);
}

static void encoding_keeps_unreserved_bytes_and_slashes(void **state)
{
        char room[256];
        struct text t = text_in(room, sizeof(room));
        (void)state;

        http_encode_path(&t, SPAN("/azAZ09-._~/a b%?#\"'<>&\\\xc3\xa4\n:;"));
        assert_text(t, "/azAZ09-._~/a%20b%25%3F%23%22%27%3C%3E%26%5C%C3%A4%0A%3A%3B");
        t = text_in(room, sizeof(room));
        http_encode_path(&t, (struct span){ NULL, 0 });
        assert_int_equal(t.used, 0);
}

static void every_byte_of_a_name_comes_back(void **state)
{
        char name[256], room[1024];
        size_t size = 0;
        (void)state;

        for (int c = 1; c < 256; c++) {
                if (c != '/')
                        name[size++] = (char)c;
        }
        struct text t = text_in(room, sizeof(room));
        text_char(&t, '/');
        http_encode_path(&t, (struct span){ name, size });
        assert_int_equal(decode_bytes(t.data, t.used), size);
        assert_memory_equal(out, name, size);
}

static void an_escape_is_never_cut(void **state)
{
        char room[4];
        struct text t = text_in(room, sizeof(room));
        (void)state;

        http_encode_path(&t, SPAN("ab c"));
        assert_true(t.overflow);
        assert_text(t, "ab");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(plain_paths_lose_their_leading_slash),
                cmocka_unit_test(escapes_are_decoded_once),
                cmocka_unit_test(bytes_that_are_not_utf8_pass),
                cmocka_unit_test(empty_and_dot_segments_vanish),
                cmocka_unit_test(dots_that_are_part_of_a_name_stay),
                cmocka_unit_test(dot_dot_in_any_spelling_is_404),
                cmocka_unit_test(an_encoded_slash_is_404),
                cmocka_unit_test(bad_escapes_are_400),
                cmocka_unit_test(nul_and_raw_control_bytes_are_400),
                cmocka_unit_test(a_path_that_is_not_absolute_is_400),
                cmocka_unit_test(hidden_names_are_noticed_anywhere),
                cmocka_unit_test(paths_up_to_4095_bytes_fit),
                cmocka_unit_test(encoding_keeps_unreserved_bytes_and_slashes),
                cmocka_unit_test(every_byte_of_a_name_comes_back),
                cmocka_unit_test(an_escape_is_never_cut),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
