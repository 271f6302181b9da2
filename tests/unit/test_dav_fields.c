/* Depth, Overwrite, Timeout, Lock-Token, Destination; the tokens of locks. */
#include "help.h"
#include "dav/dav.h"

static const struct span absent = { NULL, 0 };

static void depth_is_one_of_three(void **state)
{
        (void)state;
        assert_int_equal(dav_parse_depth(SPAN("0"), 5), 0);
        assert_int_equal(dav_parse_depth(SPAN(" 1 "), 5), 1);
        assert_int_equal(dav_parse_depth(SPAN("infinity"), 5), DAV_DEPTH_INFINITY);
        assert_int_equal(dav_parse_depth(SPAN("Infinity"), 5), DAV_DEPTH_INFINITY);
        assert_int_equal(dav_parse_depth(absent, 5), 5);
}

static void other_depths_are_400(void **state)
{
        static const char *const bad[] = { "",         "2",       "-1",         "00",  "01",
                                           "1,noroot", "infinit", "infinity,0", "0 1", "infinite" };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++)
                assert_int_equal(dav_parse_depth(span_of(bad[i]), 1), -400);
}

static void overwrite_is_true_unless_f(void **state)
{
        (void)state;
        assert_int_equal(dav_parse_overwrite(absent), 1);
        assert_int_equal(dav_parse_overwrite(SPAN("T")), 1);
        assert_int_equal(dav_parse_overwrite(SPAN("t ")), 1);
        assert_int_equal(dav_parse_overwrite(SPAN("F")), 0);
        assert_int_equal(dav_parse_overwrite(SPAN("f")), 0);
        assert_int_equal(dav_parse_overwrite(SPAN("")), -400);
        assert_int_equal(dav_parse_overwrite(SPAN("TF")), -400);
        assert_int_equal(dav_parse_overwrite(SPAN("1")), -400);
}

static void timeout_is_the_first_that_is_understood(void **state)
{
        static const struct {
                const char *value;
                uint32_t seconds;
        } cases[] = {
                { "Second-60", 60 },
                { "second-0060", 60 },
                { "Infinite, Second-4100000000", 1000 },
                { "Second-4100000000, Infinite", 1000 },
                { "Extend, Second-7", 7 },
                { "Second-, Second-8", 8 },
                { "Second-9x,,\tSecond-10 ", 10 },
                { "INFINITE", 1000 },
                { "Second-1000", 1000 },
                { "Second-1001", 1000 },
                { "Second-99999999999999999999999999", 1000 },
                { "Second-0", 0 },
                { "Second 5", 300 },
                { "Second--5", 300 },
                { "5", 300 },
                { "", 300 },
                { ",", 300 },
        };
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                if (dav_parse_timeout(span_of(cases[i].value), 300, 1000) != cases[i].seconds)
                        fail_msg("%s", cases[i].value);
        }
        assert_int_equal(dav_parse_timeout(absent, 300, 1000), 300);
        assert_int_equal(dav_parse_timeout(absent, 300, 200), 200);
        assert_int_equal(dav_parse_timeout(SPAN("Infinite"), 300, UINT32_MAX), UINT32_MAX);
}

static void a_lock_token_stands_in_brackets_or_bare(void **state)
{
        (void)state;
        assert_span(dav_parse_lock_token(SPAN("<urn:uuid:1>")), "urn:uuid:1");
        assert_span(dav_parse_lock_token(SPAN("  <opaquelocktoken:1>\t")), "opaquelocktoken:1");
        assert_span(dav_parse_lock_token(SPAN("urn:uuid:1")), "urn:uuid:1");
}

static void malformed_lock_tokens_are_none(void **state)
{
        static const char *const bad[] = { "",        "<>",   "<",     ">",       "<a:b",        "a:b>",
                                           "<<a:b>>", "<a>",  "a b:c", "<a:b c>", "<a:b> <c:d>", "<a:b>, <c:d>",
                                           "<:b>",    "<a:>", "<1:b>", "<a:\x7f>" };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (dav_parse_lock_token(span_of(bad[i])).data)
                        fail_msg("%s", bad[i]);
        }
        assert_null(dav_parse_lock_token(absent).data);
}

static void a_token_is_a_version_4_uuid(void **state)
{
        static const uint8_t ones[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                          0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        static const uint8_t count[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
        char token[DAV_TOKEN_BYTES];
        (void)state;

        dav_format_token(token, ones);
        assert_memory_equal(token, "urn:uuid:ffffffff-ffff-4fff-bfff-ffffffffffff", DAV_TOKEN_BYTES);
        dav_format_token(token, count);
        assert_memory_equal(token, "urn:uuid:00010203-0405-4607-8809-0a0b0c0d0e0f", DAV_TOKEN_BYTES);
        assert_span_(dav_parse_lock_token((struct span){ token, DAV_TOKEN_BYTES }),
                     (struct span){ token, DAV_TOKEN_BYTES }, __FILE__, __LINE__);
}

/* ---- Destination ---- */

static struct span path;
static char *field; /* what `path` points into */

static int destination(const char *value, const char *scheme, const char *host, bool strict)
{
        struct dav_origin origin = { span_of(scheme), span_of(host) };

        free(field);
        field = exact_copy(value, strlen(value));
        path = absent;
        return dav_parse_destination(&path, (struct span){ field, strlen(value) }, &origin, strict);
}

static int free_field(void **state)
{
        (void)state;
        free(field);
        field = NULL;
        return 0;
}

static void a_destination_is_a_uri_or_a_path(void **state)
{
        (void)state;
        assert_int_equal(destination("http://host/a%20b/c?q", "http", "host", true), 0);
        assert_span(path, "/a%20b/c");
        assert_int_equal(destination(" /x/y?z ", "http", "host", true), 0);
        assert_span(path, "/x/y");
        assert_int_equal(destination("/", "http", "host", true), 0);
        assert_span(path, "/");
        assert_int_equal(destination("http://host", "http", "host", true), 0);
        assert_span(path, "/");
        assert_int_equal(destination("http://host?q/r", "http", "host", true), 0);
        assert_span(path, "/");
        assert_int_equal(destination("http://host//a", "http", "host", true), 0);
        assert_span(path, "//a");
        assert_int_equal(destination("/\xc3\xa4", "http", "host", true), 0);
        assert_span(path, "/\xc3\xa4");
}

static void the_same_server_is_known_by_any_spelling(void **state)
{
        static const char *const pairs[][2] = {
                { "http://Host/", "hOST" },
                { "HTTP://host/", "host" },
                { "HttpS://host/", "host" },
                { "http://host:80/", "host" },
                { "http://host/", "host:80" },
                { "https://host/", "host:443" },
                { "https://host:443/", "host" },
                { "https://host/", "host:80" },
                { "http://host:/", "host" },
                { "https://host:8080/", "host:8080" },
                { "http://host:08080/", "host:8080" },
                { "http://192.0.2.1:81/", "192.0.2.1:81" },
                { "http://[2001:DB8::1]/", "[2001:db8::1]" },
                { "http://[::1]:80/", "[::1]" },
                { "http://[::1]:8080/", "[::1]:8080" },
                { "http://[v1.fe80::a+en1]/", "[v1.fe80::a+en1]" },
                { "http://h%C3%A4/", "h%c3%a4" },
        };
        (void)state;

        for (size_t i = 0; i < array_count(pairs); i++) {
                if (destination(pairs[i][0], "http", pairs[i][1], true) != 0)
                        fail_msg("%s from %s", pairs[i][0], pairs[i][1]);
        }
}

static void another_server_is_502_when_strict(void **state)
{
        static const char *const pairs[][2] = {
                { "http://other/", "host" },
                { "http://host.example/", "host" },
                { "http://host/", "host.example" },
                { "http://host:8080/", "host" },
                { "http://host/", "host:8080" },
                { "http://host:8081/", "host:8080" },
                { "http://[::1]/", "[::2]" },
                { "http://[::1]:81/", "[::1]:82" },
                { "http://host/", "" },
                { "http://host/", "ho st" },
        };
        (void)state;

        for (size_t i = 0; i < array_count(pairs); i++) {
                if (destination(pairs[i][0], "http", pairs[i][1], true) != -502)
                        fail_msg("%s from %s", pairs[i][0], pairs[i][1]);
                assert_int_equal(destination(pairs[i][0], "http", pairs[i][1], false), 0);
                assert_span(path, "/");
        }
}

static void malformed_destinations_are_400(void **state)
{
        static const char *const bad[] = {
                "",
                " ",
                "x",
                "a/b",
                "//host/a",
                "//",
                "http:/a",
                "http:a",
                "http://",
                "http:///a",
                "http://?q",
                "http://:80/",
                "ftp://host/",
                "file:///a",
                "httpss://host/",
                "http//host/",
                "http://user@host/",
                "http://user:pass@host/",
                "http://@host/",
                "http://host:x/",
                "http://host:80:80/",
                "http://host:0/",
                "http://host:65536/",
                "http://host:18446744073709551696/",
                "http://host:-1/",
                "http://::1/",
                "http://[::1/",
                "http://[]/",
                "http://[::1]x/",
                "http://[::1]]/",
                "http://ho\\st/",
                "http://host#x",
                "http://host/a#x",
                "http://host/a b",
                "http://host/a\tb",
                "/a\x7f",
                "/a#b",
                "/a b",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (destination(bad[i], "http", "host", true) != -400 ||
                    destination(bad[i], "http", "host", false) != -400)
                        fail_msg("%s", bad[i]);
        }
}

/* ---- of the mount ---- */

static void a_mode_is_octal(void **state)
{
        static const char *const bad[] = {
                "", "8", "0o644", "-1", "+644", "10000", "77777777777", "644 ", "rw-r--r--"
        };
        uint32_t mode;
        (void)state;

        assert_true(dav_parse_mode(&mode, SPAN("0644")));
        assert_int_equal(mode, 0644);
        assert_true(dav_parse_mode(&mode, SPAN("7777")));
        assert_int_equal(mode, 07777);
        assert_true(dav_parse_mode(&mode, SPAN("0000644")));
        assert_int_equal(mode, 0644);
        assert_true(dav_parse_mode(&mode, SPAN("0")));
        assert_int_equal(mode, 0);
        for (size_t i = 0; i < array_count(bad); i++) {
                if (dav_parse_mode(&mode, span_of(bad[i])))
                        fail_msg("%s", bad[i]);
        }
}

static void a_time_is_seconds_with_nine_decimals(void **state)
{
        static const char *const bad[] = { "",    ".5",  "-",     "-0",  "-0.5",          "1.0000000000",
                                           "1 ",  "1.x", "+1",    "1,5", "1000000000000", "99999999999999999999",
                                           "0x1", "1e3", "1.5.5", "--1" };
        static const struct {
                const char *text;
                struct timespec time;
        } good[] = { { "0", { 0, 0 } },
                     { "1700000000.123456789", { 1700000000, 123456789 } },
                     { "1.5", { 1, 500000000 } },
                     { "7.", { 7, 0 } },
                     { "-1.5", { -1, 500000000 } },
                     { "999999999999.000000001", { 999999999999, 1 } } };
        struct timespec time;
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (dav_parse_time(&time, span_of(bad[i])))
                        fail_msg("%s", bad[i]);
        }
        for (size_t i = 0; i < array_count(good); i++) {
                if (!dav_parse_time(&time, span_of(good[i].text)))
                        fail_msg("%s", good[i].text);
                assert_int_equal(time.tv_sec, good[i].time.tv_sec);
                assert_int_equal(time.tv_nsec, good[i].time.tv_nsec);
        }
}

static void modes_and_times_are_written_as_they_are_read(void **state)
{
        static const struct timespec times[] = { { 0, 0 }, { 1, 5 }, { -1, 999999999 }, { 1700000000, 120000000 } };
        struct timespec again;
        char room[64];
        (void)state;

        for (size_t i = 0; i < array_count(times); i++) {
                struct text text = text_in(room, sizeof(room));
                dav_put_time(&text, &times[i]);
                assert_true(dav_parse_time(&again, (struct span){ room, text.used }));
                assert_int_equal(again.tv_sec, times[i].tv_sec);
                assert_int_equal(again.tv_nsec, times[i].tv_nsec);
        }
        struct text text = text_in(room, sizeof(room));
        dav_put_mode(&text, 07 | 0100000);
        dav_put_mode(&text, 04755);
        assert_span_((struct span){ room, text.used }, SPAN("00074755"), __FILE__, __LINE__);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(depth_is_one_of_three),
                cmocka_unit_test(other_depths_are_400),
                cmocka_unit_test(overwrite_is_true_unless_f),
                cmocka_unit_test(timeout_is_the_first_that_is_understood),
                cmocka_unit_test(a_lock_token_stands_in_brackets_or_bare),
                cmocka_unit_test(malformed_lock_tokens_are_none),
                cmocka_unit_test(a_token_is_a_version_4_uuid),
                cmocka_unit_test_teardown(a_destination_is_a_uri_or_a_path, free_field),
                cmocka_unit_test_teardown(the_same_server_is_known_by_any_spelling, free_field),
                cmocka_unit_test_teardown(another_server_is_502_when_strict, free_field),
                cmocka_unit_test_teardown(malformed_destinations_are_400, free_field),
                cmocka_unit_test(a_mode_is_octal),
                cmocka_unit_test(a_time_is_seconds_with_nine_decimals),
                cmocka_unit_test(modes_and_times_are_written_as_they_are_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
