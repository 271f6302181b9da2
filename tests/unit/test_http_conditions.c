/* Conditional requests. The file has the tag "v1" and changed on 6 November 1994, long ago. */
#include "help_head.h"

#define THEN "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static const struct http_validator file = {
        .etag = { "\"v1\"", 4 },
        .modified = 784111777,
        .now = 1700000000,
};

static const struct http_validator absent = { .now = 1700000000 };

static enum http_verdict check(const char *method, const char *fields)
{
        struct http_head head;

        parse_request(&head, method, fields);
        return http_check_conditions(&head, &file);
}

static enum http_verdict check_absent(const char *method, const char *fields)
{
        struct http_head head;

        parse_request(&head, method, fields);
        return http_check_conditions(&head, &absent);
}

static bool check_range(const struct http_validator *validator, const char *fields)
{
        struct http_head head;

        parse_request(&head, "GET", fields);
        return http_check_if_range(&head, validator);
}

static void a_request_without_conditions_proceeds(void **state)
{
        (void)state;
        assert_int_equal(check("GET", ""), HTTP_PROCEED);
        assert_int_equal(check("PUT", ""), HTTP_PROCEED);
}

static void if_match_needs_one_strong_match(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Match: \"v1\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Match: \"v0\", \"v1\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Match: ,\"v0\" ,\t,\"v1\",\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Match: \"v0\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("PUT", "If-Match: W/\"v1\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("PUT", "If-Match: W/\"v1\", \"v1\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-Match: \"v0\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("PUT", "If-Match:\r\n"), HTTP_PRECONDITION_FAILED);
}

static void lines_of_a_list_field_are_one_list(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Match: \"v0\"\r\nIf-Match: \"v1\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-None-Match: \"v0\"\r\nIf-None-Match: \"v1\"\r\n"), HTTP_NOT_MODIFIED);
}

static void a_star_matches_whatever_is_there(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Match: *\r\n"), HTTP_PROCEED);
        assert_int_equal(check_absent("PUT", "If-Match: *\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("PUT", "If-None-Match: *\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check_absent("PUT", "If-None-Match: *\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-None-Match: *\r\n"), HTTP_NOT_MODIFIED);
}

static void nothing_there_matches_no_tag_and_no_date(void **state)
{
        (void)state;
        assert_int_equal(check_absent("PUT", "If-Match: \"v1\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check_absent("PUT", "If-Match: \"\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check_absent("PUT", "If-None-Match: \"v1\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check_absent("PUT", "If-Unmodified-Since: " THEN "\r\n"), HTTP_PROCEED);
        assert_int_equal(check_absent("GET", "If-Modified-Since: " THEN "\r\n"), HTTP_PROCEED);
}

static void if_none_match_compares_weakly(void **state)
{
        (void)state;
        assert_int_equal(check("GET", "If-None-Match: \"v1\"\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("HEAD", "If-None-Match: W/\"v1\"\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("GET", "If-None-Match: \"v0\", W/\"v1\"\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("GET", "If-None-Match: \"v0\"\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-None-Match: \"v1\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("OPTIONS", "If-None-Match: \"v1\"\r\n"), HTTP_PRECONDITION_FAILED);
}

static void tags_may_hold_commas_backslashes_and_bytes_past_ascii(void **state)
{
        (void)state;
        assert_int_equal(check("GET", "If-None-Match: \"a,b\", \"\\\", \"\xc3\xa4\", \"\", \"v1\"\r\n"),
                         HTTP_NOT_MODIFIED);
        assert_int_equal(check("GET", "If-None-Match: \"a, \\\"v1\"\r\n"), HTTP_PROCEED);
}

static void malformed_tags_match_nothing(void **state)
{
        static const char *const bad[] = {
                "v1",      "\"v1", "v1\"", "w/\"v1\"",      "W\"v1\"",   "\"v1\"x", "\"v 1\"",
                "x\"v1\"", "W/",   "\"",   "\"v0\" \"v1\"", "*, \"v0\"", "**",      "'v1'",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                char fields[128];

                snprintf(fields, sizeof(fields), "If-Match: %s\r\n", bad[i]);
                if (check("PUT", fields) != HTTP_PRECONDITION_FAILED)
                        fail_msg("%s", fields);
                snprintf(fields, sizeof(fields), "If-None-Match: %s\r\n", bad[i]);
                if (check("GET", fields) != HTTP_PROCEED)
                        fail_msg("%s", fields);
        }
}

static void if_unmodified_since_refuses_what_changed_later(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Unmodified-Since: " THEN "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Unmodified-Since: " AFTER "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Unmodified-Since: " BEFORE "\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("GET", "If-Unmodified-Since: " BEFORE "\r\n"), HTTP_PRECONDITION_FAILED);
}

static void if_modified_since_answers_304_to_readers(void **state)
{
        (void)state;
        assert_int_equal(check("GET", "If-Modified-Since: " THEN "\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("HEAD", "If-Modified-Since: " AFTER "\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("GET", "If-Modified-Since: " BEFORE "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Modified-Since: " THEN "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n"), HTTP_NOT_MODIFIED);
}

static void malformed_and_repeated_dates_are_ignored(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Unmodified-Since: yesterday\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-Modified-Since: " THEN ", " THEN "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-Modified-Since: " THEN "\r\nIf-Modified-Since: " THEN "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Unmodified-Since: " BEFORE "\r\nIf-Unmodified-Since: " BEFORE "\r\n"),
                         HTTP_PROCEED);
}

static void tags_take_precedence_over_dates(void **state)
{
        (void)state;
        assert_int_equal(check("PUT", "If-Match: \"v1\"\r\nIf-Unmodified-Since: " BEFORE "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("PUT", "If-Match: \"v0\"\r\nIf-Unmodified-Since: " AFTER "\r\n"),
                         HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("GET", "If-None-Match: \"v0\"\r\nIf-Modified-Since: " AFTER "\r\n"), HTTP_PROCEED);
        assert_int_equal(check("GET", "If-None-Match: \"v1\"\r\nIf-Modified-Since: " BEFORE "\r\n"), HTTP_NOT_MODIFIED);
}

static void refusal_comes_before_not_modified(void **state)
{
        (void)state;
        assert_int_equal(check("GET", "If-Match: \"v0\"\r\nIf-None-Match: \"v1\"\r\n"), HTTP_PRECONDITION_FAILED);
        assert_int_equal(check("GET", "If-Match: \"v1\"\r\nIf-None-Match: \"v1\"\r\n"), HTTP_NOT_MODIFIED);
        assert_int_equal(check("GET", "If-Unmodified-Since: " THEN "\r\nIf-Modified-Since: " THEN "\r\n"),
                         HTTP_NOT_MODIFIED);
}

static void a_range_without_if_range_is_honoured(void **state)
{
        (void)state;
        assert_true(check_range(&file, "Range: bytes=0-\r\n"));
}

static void if_range_takes_one_strong_tag(void **state)
{
        (void)state;
        assert_true(check_range(&file, "If-Range: \"v1\"\r\n"));
        assert_false(check_range(&file, "If-Range: \"v0\"\r\n"));
        assert_false(check_range(&file, "If-Range: W/\"v1\"\r\n"));
        assert_false(check_range(&file, "If-Range: \"v1\", \"v1\"\r\n"));
        assert_false(check_range(&file, "If-Range: *\r\n"));
        assert_false(check_range(&file, "If-Range: v1\r\n"));
        assert_false(check_range(&file, "If-Range:\r\n"));
        assert_false(check_range(&file, "If-Range: \"v1\"\r\nIf-Range: \"v1\"\r\n"));
        assert_false(check_range(&absent, "If-Range: \"v1\"\r\n"));
}

static void if_range_takes_the_exact_date(void **state)
{
        (void)state;
        assert_true(check_range(&file, "If-Range: " THEN "\r\n"));
        assert_false(check_range(&file, "If-Range: " BEFORE "\r\n"));
        assert_false(check_range(&file, "If-Range: " AFTER "\r\n"));
        assert_false(check_range(&file, "If-Range: " THEN "\r\nIf-Range: " THEN "\r\n"));
}

static void a_date_of_this_very_second_is_not_strong(void **state)
{
        struct http_validator fresh = file;
        (void)state;

        fresh.now = fresh.modified;
        assert_false(check_range(&fresh, "If-Range: " THEN "\r\n"));
        fresh.now = fresh.modified - 5;
        assert_false(check_range(&fresh, "If-Range: " THEN "\r\n"));
        fresh.now = fresh.modified + 1;
        assert_true(check_range(&fresh, "If-Range: " THEN "\r\n"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_request_without_conditions_proceeds),
                cmocka_unit_test(if_match_needs_one_strong_match),
                cmocka_unit_test(lines_of_a_list_field_are_one_list),
                cmocka_unit_test(a_star_matches_whatever_is_there),
                cmocka_unit_test(nothing_there_matches_no_tag_and_no_date),
                cmocka_unit_test(if_none_match_compares_weakly),
                cmocka_unit_test(tags_may_hold_commas_backslashes_and_bytes_past_ascii),
                cmocka_unit_test(malformed_tags_match_nothing),
                cmocka_unit_test(if_unmodified_since_refuses_what_changed_later),
                cmocka_unit_test(if_modified_since_answers_304_to_readers),
                cmocka_unit_test(malformed_and_repeated_dates_are_ignored),
                cmocka_unit_test(tags_take_precedence_over_dates),
                cmocka_unit_test(refusal_comes_before_not_modified),
                cmocka_unit_test(a_range_without_if_range_is_honoured),
                cmocka_unit_test(if_range_takes_one_strong_tag),
                cmocka_unit_test(if_range_takes_the_exact_date),
                cmocka_unit_test(a_date_of_this_very_second_is_not_strong),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
