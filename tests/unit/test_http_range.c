/* Range fields. */
#include "help.h"
#include "http/http.h"

static struct http_range ranges[HTTP_MAX_RANGES];

static int parse_up_to(unsigned max, const char *text, uint64_t size)
{
        char *copy = exact_copy(text, strlen(text));
        int count = http_parse_range(ranges, max, (struct span){ copy, strlen(text) }, size);

        free(copy);
        return count;
}

static int parse(const char *text, uint64_t size)
{
        return parse_up_to(HTTP_MAX_RANGES, text, size);
}

static void assert_range(unsigned index, uint64_t first, uint64_t last)
{
        assert_int_equal(ranges[index].first, first);
        assert_int_equal(ranges[index].last, last);
}

static void assert_one(const char *text, uint64_t size, uint64_t first, uint64_t last)
{
        if (parse(text, size) != 1)
                fail_msg("%s of %llu", text, (unsigned long long)size);
        assert_range(0, first, last);
}

static void single_ranges_are_read(void **state)
{
        (void)state;
        assert_one("bytes=0-0", 1, 0, 0);
        assert_one("bytes=0-499", 10000, 0, 499);
        assert_one("bytes=9500-", 10000, 9500, 9999);
        assert_one("bytes=-500", 10000, 9500, 9999);
        assert_one("bytes=007-0008", 10000, 7, 8);
        assert_one("BYTES=1-2", 10, 1, 2);
        assert_one("bytes= 1-2", 10, 1, 2);
}

static void ranges_end_where_the_file_ends(void **state)
{
        (void)state;
        assert_one("bytes=5-10", 10, 5, 9);
        assert_one("bytes=9-", 10, 9, 9);
        assert_one("bytes=-11", 10, 0, 9);
        assert_one("bytes=0-", INT64_MAX, 0, INT64_MAX - 1);
}

static void numbers_past_64_bits_are_past_the_end(void **state)
{
        (void)state;
        assert_one("bytes=5-18446744073709551616", 10, 5, 9);
        assert_one("bytes=5-99999999999999999999999999", 10, 5, 9);
        assert_one("bytes=-99999999999999999999999999", 10, 0, 9);
        assert_int_equal(parse("bytes=18446744073709551616-", 10), -416);
        assert_int_equal(parse("bytes=100000000000000000000000-100000000000000000000001", INT64_MAX), -416);
        assert_one("bytes=0-18446744073709551615", INT64_MAX, 0, INT64_MAX - 1);
}

static void several_ranges_come_in_the_order_asked(void **state)
{
        (void)state;
        assert_int_equal(parse("bytes=5-6, 0-1 ,,\t-1,", 10), 3);
        assert_range(0, 5, 6);
        assert_range(1, 0, 1);
        assert_range(2, 9, 9);
}

static void members_that_cannot_be_satisfied_are_dropped(void **state)
{
        (void)state;
        assert_int_equal(parse("bytes=10-20,3-4,-0,11-", 10), 1);
        assert_range(0, 3, 4);
}

static void nothing_satisfiable_is_416(void **state)
{
        (void)state;
        assert_int_equal(parse("bytes=10-", 10), -416);
        assert_int_equal(parse("bytes=10-20,30-40", 10), -416);
        assert_int_equal(parse("bytes=-0", 10), -416);
        assert_int_equal(parse("bytes=0-", 0), -416);
        assert_int_equal(parse("bytes=-5", 0), -416);
}

static void malformed_fields_and_other_units_are_ignored(void **state)
{
        static const char *const bad[] = {
                "",
                "bytes",
                "bytes=",
                "bytes=,",
                "bytes=-",
                "bytes=a",
                "bytes=1",
                "bytes=1-a",
                "bytes=a-1",
                "bytes=1-2-3",
                "bytes=--1",
                "bytes=1 -2",
                "bytes=1- 2",
                "bytes=- 1",
                "bytes=+1-2",
                "bytes=0x1-2",
                "bytes=1-2;3-4",
                "bytes:1-2",
                "bytes 1-2",
                "byte=1-2",
                "items=1-2",
                "bytes=2-1",
                "bytes=1-2,3",
                "bytes=1-2,4-3",
                "bytes=99-98",
                "=1-2",
                "bytes==1-2",
                "bytes=\"1-2\"",
                "bytes=1-2,\"",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (parse(bad[i], 10) != 0)
                        fail_msg("%s", bad[i]);
        }
}

static void more_members_than_allowed_are_416(void **state)
{
        char text[1024] = "bytes=";
        (void)state;

        assert_int_equal(parse_up_to(2, "bytes=0-1,3-4", 100), 2);
        assert_int_equal(parse_up_to(2, "bytes=0-1,3-4,6-7", 100), -416);
        assert_int_equal(parse_up_to(2, "bytes=0-1,3-4,600-700", 100), -416);
        assert_int_equal(parse_up_to(2, "bytes=0-1,3-4,6-7,x", 100), 0);
        for (int i = 0; i < HTTP_MAX_RANGES; i++)
                snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d-%d,", i * 2, i * 2);
        assert_int_equal(parse(text, 1000), HTTP_MAX_RANGES);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "999-");
        assert_int_equal(parse(text, 1000), -416);
}

static void two_may_overlap_but_not_three(void **state)
{
        (void)state;
        assert_int_equal(parse("bytes=0-5,5-9", 10), 2);
        assert_int_equal(parse("bytes=0-,0-", 10), 2);
        assert_int_equal(parse("bytes=0-10,5-20,50-60", 100), 3);
        assert_int_equal(parse("bytes=0-10,5-20,15-60", 100), -416);
        assert_int_equal(parse("bytes=0-10,50-60,5-6,55-56", 100), -416);
        assert_int_equal(parse("bytes=0-0,0-0,0-0", 100), -416);
        assert_int_equal(parse("bytes=0-9,10-19,20-29", 100), 3);
}

static void many_that_cover_more_than_the_file_are_416(void **state)
{
        (void)state;
        assert_int_equal(parse("bytes=0-3,4-9,5-9", 10), -416);
        assert_int_equal(parse("bytes=0-3,4-6,6-9", 11), 3);
        assert_int_equal(parse("bytes=0-3,4-6,6-9", 10), -416);
        assert_int_equal(parse("bytes=0-3,4-6,7-9", 10), 3);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(single_ranges_are_read),
                cmocka_unit_test(ranges_end_where_the_file_ends),
                cmocka_unit_test(numbers_past_64_bits_are_past_the_end),
                cmocka_unit_test(several_ranges_come_in_the_order_asked),
                cmocka_unit_test(members_that_cannot_be_satisfied_are_dropped),
                cmocka_unit_test(nothing_satisfiable_is_416),
                cmocka_unit_test(malformed_fields_and_other_units_are_ignored),
                cmocka_unit_test(more_members_than_allowed_are_416),
                cmocka_unit_test(two_may_overlap_but_not_three),
                cmocka_unit_test(many_that_cover_more_than_the_file_are_416),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
