/* Dates. */
#include "help.h"
#include "http/http.h"

#include <time.h>

static const int64_t now = 1700000000; /* 14 November 2023 */

static bool parse(const char *text, int64_t at, int64_t *seconds)
{
        char *copy = exact_copy(text, strlen(text));
        bool good = http_parse_date((struct span){ copy, strlen(text) }, at, seconds);

        free(copy);
        return good;
}

static void assert_date(const char *text, int64_t at, int64_t wanted)
{
        int64_t seconds = -1;

        if (!parse(text, at, &seconds) || seconds != wanted)
                fail_msg("%s: %lld, not %lld", text, (long long)seconds, (long long)wanted);
}

static void assert_no_date(const char *text)
{
        int64_t seconds;

        if (parse(text, now, &seconds))
                fail_msg("%s", text);
}

static void assert_format(int64_t seconds, const char *wanted)
{
        char *out = malloc(HTTP_DATE_BYTES);

        http_format_date(out, seconds);
        assert_memory_equal(out, wanted, HTTP_DATE_BYTES);
        free(out);
}

static void the_example_of_rfc_9110_is_read_in_all_three_forms(void **state)
{
        (void)state;
        assert_date("Sun, 06 Nov 1994 08:49:37 GMT", now, 784111777);
        assert_date("Sunday, 06-Nov-94 08:49:37 GMT", now, 784111777);
        assert_date("Sun Nov  6 08:49:37 1994", now, 784111777);
        assert_date("Wed Nov 16 08:49:37 1994", now, 784111777 + 10 * 86400);
}

static void moments_are_formatted(void **state)
{
        (void)state;
        assert_format(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_format(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_format(-1, "Wed, 31 Dec 1969 23:59:59 GMT");
        assert_format(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_format(4107542399, "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_format(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_format(1735689599, "Tue, 31 Dec 2024 23:59:59 GMT");
        assert_format(978307199, "Sun, 31 Dec 2000 23:59:59 GMT");
}

static void moments_outside_the_four_digit_years_are_clamped(void **state)
{
        (void)state;
        assert_format(-62135596800, "Mon, 01 Jan 0001 00:00:00 GMT");
        assert_format(-62135596801, "Mon, 01 Jan 0001 00:00:00 GMT");
        assert_format(INT64_MIN, "Mon, 01 Jan 0001 00:00:00 GMT");
        assert_format(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_format(253402300800, "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_format(INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static void ten_thousand_years_agree_with_libc_and_come_back(void **state)
{
        (void)state;
        for (int64_t seconds = -62135596800; seconds <= 253402300799; seconds += 86400 * 11 + 8207) {
                time_t moment = (time_t)seconds;
                char out[HTTP_DATE_BYTES + 1] = "", wanted[64];
                int64_t back;
                struct tm tm;

                http_format_date(out, seconds);
                gmtime_r(&moment, &tm);
                snprintf(wanted, sizeof(wanted), "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                         &"SunMonTueWedThuFriSat"[tm.tm_wday * 3], tm.tm_mday,
                         &"JanFebMarAprMayJunJulAugSepOctNovDec"[tm.tm_mon * 3], tm.tm_year + 1900, tm.tm_hour,
                         tm.tm_min, tm.tm_sec);
                assert_string_equal(out, wanted);
                assert_true(http_parse_date(span_of(out), now, &back));
                assert_int_equal(back, seconds);
        }
}

static void every_day_of_a_leap_cycle_comes_back(void **state)
{
        (void)state;
        for (int64_t day = -200 * 366; day < 200 * 366; day++) {
                char out[HTTP_DATE_BYTES];
                int64_t back;

                http_format_date(out, day * 86400 + 86399);
                assert_true(http_parse_date((struct span){ out, sizeof(out) }, now, &back));
                assert_int_equal(back, day * 86400 + 86399);
        }
}

static void any_day_name_is_taken_but_only_a_day_name(void **state)
{
        (void)state;
        assert_date("Mon, 06 Nov 1994 08:49:37 GMT", now, 784111777);
        assert_date("Wednesday, 06-Nov-94 08:49:37 GMT", now, 784111777);
        assert_no_date("Son, 06 Nov 1994 08:49:37 GMT");
        assert_no_date("sun, 06 Nov 1994 08:49:37 GMT");
        assert_no_date("Sun, 06-Nov-94 08:49:37 GMT");
        assert_no_date("Sunday, 06 Nov 1994 08:49:37 GMT");
        assert_no_date("Sunday Nov  6 08:49:37 1994");
}

static void dates_that_do_not_exist_are_refused(void **state)
{
        (void)state;
        assert_date("Tue, 29 Feb 2000 00:00:00 GMT", now, 951782400);
        assert_no_date("Sun, 29 Feb 1900 00:00:00 GMT");
        assert_no_date("Sun, 29 Feb 2023 00:00:00 GMT");
        assert_no_date("Sun, 30 Feb 2024 00:00:00 GMT");
        assert_no_date("Sun, 31 Apr 2024 00:00:00 GMT");
        assert_no_date("Sun, 00 Nov 1994 08:49:37 GMT");
        assert_no_date("Sun, 32 Jan 1994 08:49:37 GMT");
        assert_no_date("Sun Nov  0 08:49:37 1994");
        assert_no_date("Sun, 06 Nov 1994 24:00:00 GMT");
        assert_no_date("Sun, 06 Nov 1994 08:60:37 GMT");
        assert_no_date("Sun, 06 Nov 1994 08:49:61 GMT");
        assert_no_date("Sun, 06 Nov 0000 08:49:37 GMT");
}

static void a_leap_second_is_the_next_minute(void **state)
{
        (void)state;
        assert_date("Sat, 31 Dec 2016 23:59:60 GMT", now, 1483228800);
}

static void anything_else_is_refused(void **state)
{
        static const char good[] = "Sun, 06 Nov 1994 08:49:37 GMT";
        static const char *const bad[] = {
                "",
                " ",
                "0",
                "-1",
                "784111777",
                "now",
                "Sun",
                "Sun, 06 Nov 1994 08:49:37",
                "Sun, 06 Nov 1994 08:49:37 GMT ",
                " Sun, 06 Nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 08:49:37 UTC",
                "Sun, 06 Nov 1994 08:49:37 +0000",
                "Sun, 6 Nov 1994 08:49:37 GMT",
                "Sun,  6 Nov 1994 08:49:37 GMT",
                "Sun, 06 nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 94 08:49:37 GMT",
                "Sun, 06 Nov 1994 8:49:37 GMT",
                "Sun, 06 Nov 1994  8:49:37 GMT",
                "Sun, 06 Nov 1994 08:49 GMT",
                "Sun, 06 Nov 1994 08:49:37 gmt",
                "Sun Nov 6 08:49:37 1994",
                "Sun Nov 06 08:49:37 1994 GMT",
                "Sunday, 06-Nov-1994 08:49:37 GMT",
                "Sun, 06 Nov -994 08:49:37 GMT",
                "Sun, +6 Nov 1994 08:49:37 GMT",
                "1994-11-06T08:49:37Z",
        };
        int64_t seconds;
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++)
                assert_no_date(bad[i]);
        assert_false(http_parse_date((struct span){ NULL, 0 }, now, &seconds));
        for (size_t size = 0; size < sizeof(good) - 1; size++) {
                char *copy = exact_copy(good, size);
                assert_false(http_parse_date((struct span){ copy, size }, now, &seconds));
                free(copy);
        }
}

static void two_digit_years_lie_up_to_50_years_ahead(void **state)
{
        (void)state;
        assert_date("Tuesday, 14-Nov-23 22:13:20 GMT", now, now);
        assert_date("Tuesday, 14-Nov-73 22:13:20 GMT", now, 3277923200); /* 50 years to the second */
        assert_date("Wednesday, 14-Nov-73 22:13:21 GMT", now, 122163201);
        assert_date("Tuesday, 01-Jan-74 00:00:00 GMT", now, 126230400);
        assert_date("Sunday, 06-Nov-94 08:49:37 GMT", now, 784111777);
        assert_date("Saturday, 01-Jan-00 00:00:00 GMT", now, 946684800);
}

static void two_digit_years_cross_the_century(void **state)
{
        (void)state;
        /* from 1995, "00" is 2000; from 2060, "10" is 2110 */
        assert_date("Saturday, 01-Jan-00 00:00:00 GMT", 788918400, 946684800);
        assert_date("Wednesday, 01-Jan-10 00:00:00 GMT", 2840140800, 4417977600);
        /* no year has five digits */
        assert_false(parse("Friday, 01-Dec-42 00:00:00 GMT", INT64_MAX, &(int64_t){ 0 }));
        /* 29 February belongs to the year that was meant */
        assert_date("Tuesday, 29-Feb-00 00:00:00 GMT", now, 951782400);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_example_of_rfc_9110_is_read_in_all_three_forms),
                cmocka_unit_test(moments_are_formatted),
                cmocka_unit_test(moments_outside_the_four_digit_years_are_clamped),
                cmocka_unit_test(ten_thousand_years_agree_with_libc_and_come_back),
                cmocka_unit_test(every_day_of_a_leap_cycle_comes_back),
                cmocka_unit_test(any_day_name_is_taken_but_only_a_day_name),
                cmocka_unit_test(dates_that_do_not_exist_are_refused),
                cmocka_unit_test(a_leap_second_is_the_next_minute),
                cmocka_unit_test(anything_else_is_refused),
                cmocka_unit_test(two_digit_years_lie_up_to_50_years_ahead),
                cmocka_unit_test(two_digit_years_cross_the_century),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
