/* Where partial writes go: Content-Range and X-Update-Range. */
#include "help.h"
#include "dav/dav.h"

static struct dav_target target;

static int content_range(const char *text, bool truncate_allowed)
{
        char *copy = exact_copy(text, strlen(text));
        int result = dav_parse_content_range(&target, (struct span){ copy, strlen(text) }, truncate_allowed);

        free(copy);
        return result;
}

static int update_range(const char *text)
{
        char *copy = exact_copy(text, strlen(text));
        int result = dav_parse_update_range(&target, (struct span){ copy, strlen(text) });

        free(copy);
        return result;
}

static void assert_target(uint64_t first, uint64_t length, uint64_t total)
{
        assert_int_equal(target.first, first);
        assert_int_equal(target.length, length);
        assert_int_equal(target.total, total);
        assert_false(target.append || target.from_end || target.truncate);
}

static void a_content_range_names_both_ends_and_the_size(void **state)
{
        (void)state;
        assert_int_equal(content_range("bytes 0-0/1", false), 0);
        assert_target(0, 1, 1);
        assert_int_equal(content_range("bytes 4096-8191/8192", false), 0);
        assert_target(4096, 4096, 8192);
        assert_int_equal(content_range(" BYTES  10-19/100\t", false), 0);
        assert_target(10, 10, 100);
        assert_int_equal(content_range("bytes 0-9223372036854775805/9223372036854775806", false), 0);
        assert_target(0, INT64_MAX - 1, INT64_MAX - 1);
}

static void a_star_says_nothing_of_the_size(void **state)
{
        (void)state;
        assert_int_equal(content_range("bytes 5-9/*", true), 0);
        assert_target(5, 5, UINT64_MAX);
}

static void only_a_size_truncates_where_that_is_allowed(void **state)
{
        (void)state;
        assert_int_equal(content_range("bytes */1000", true), 0);
        assert_true(target.truncate);
        assert_int_equal(target.total, 1000);
        assert_int_equal(target.length, 0);
        assert_int_equal(content_range("bytes */0", true), 0);
        assert_int_equal(target.total, 0);
        assert_int_equal(content_range("bytes */1000", false), -400);
        assert_int_equal(content_range("bytes */*", true), -400);
        assert_int_equal(content_range("bytes */", true), -400);
        assert_int_equal(content_range("bytes */1x", true), -400);
}

static void malformed_content_ranges_are_400(void **state)
{
        static const char *const bad[] = {
                "",
                "bytes",
                "bytes ",
                "bytes0-1/2",
                "bytes=0-1/2",
                "items 0-1/2",
                "bytes 0-1",
                "bytes 0-1/",
                "bytes 0-/2",
                "bytes -1/2",
                "bytes 0/2",
                "bytes 1-0/2",
                "bytes 0-2/2",
                "bytes 2-2/2",
                "bytes 0-1/2 x",
                "bytes 0-1/2,3-4/5",
                "bytes 0 -1/2",
                "bytes 0-1 /2",
                "bytes 0-1/**",
                "bytes +0-1/2",
                "bytes 0x0-1/2",
                "bytes 0-9223372036854775807/*",
                "bytes 0-18446744073709551616/*",
                "bytes 18446744073709551616-18446744073709551617/*",
                "bytes 0-1/18446744073709551618",
                "bytes 0-1/9223372036854775807",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (content_range(bad[i], true) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void an_update_range_may_be_open(void **state)
{
        (void)state;
        assert_int_equal(update_range("bytes=3-6"), 0);
        assert_target(3, 4, UINT64_MAX);
        assert_int_equal(update_range(" Bytes=0- "), 0);
        assert_target(0, UINT64_MAX, UINT64_MAX);
        assert_int_equal(update_range("bytes=7-7"), 0);
        assert_target(7, 1, UINT64_MAX);
}

static void an_update_range_may_count_from_the_end(void **state)
{
        (void)state;
        assert_int_equal(update_range("bytes=-5"), 0);
        assert_true(target.from_end);
        assert_false(target.append);
        assert_int_equal(target.first, 5);
        assert_int_equal(target.length, UINT64_MAX);
}

static void an_update_range_may_append(void **state)
{
        (void)state;
        assert_int_equal(update_range("append"), 0);
        assert_true(target.append);
        assert_false(target.from_end);
        assert_int_equal(target.length, UINT64_MAX);
        assert_int_equal(update_range("Append "), 0);
        assert_true(target.append);
}

static void malformed_update_ranges_are_400(void **state)
{
        static const char *const bad[] = {
                "",
                "bytes",
                "bytes=",
                "bytes=-",
                "bytes=--1",
                "bytes=-1-",
                "bytes=-1-2",
                "bytes=1",
                "bytes=5-4",
                "bytes=1-2/3",
                "bytes=1-2,3-4",
                "bytes 1-2",
                "bytes= 1-2",
                "bytes=1-2x",
                "bytes=9223372036854775807-",
                "bytes=-99999999999999999999",
                "bytes=0-99999999999999999999",
                "appends",
                "append=1",
                "items=1-2",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (update_range(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_content_range_names_both_ends_and_the_size),
                cmocka_unit_test(a_star_says_nothing_of_the_size),
                cmocka_unit_test(only_a_size_truncates_where_that_is_allowed),
                cmocka_unit_test(malformed_content_ranges_are_400),
                cmocka_unit_test(an_update_range_may_be_open),
                cmocka_unit_test(an_update_range_may_count_from_the_end),
                cmocka_unit_test(an_update_range_may_append),
                cmocka_unit_test(malformed_update_ranges_are_400),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
