/* The query of a folder listing. */
#include "help.h"
#include "http/http.h"

static struct http_listing_query parse(const char *text)
{
        char *copy = exact_copy(text, strlen(text));
        struct http_listing_query q;

        memset(&q, 0xff, sizeof(q));
        http_parse_listing_query(&q, (struct span){ copy, strlen(text) });
        free(copy);
        return q;
}

static void no_query_asks_for_names_ascending_in_html(void **state)
{
        struct http_listing_query q = parse("");
        (void)state;

        assert_false(q.json);
        assert_false(q.descending);
        assert_int_equal(q.sort, HTTP_SORT_NAME);
        http_parse_listing_query(&q, (struct span){ NULL, 0 });
        assert_false(q.json);
}

static void json_is_asked_for_in_two_ways(void **state)
{
        (void)state;
        assert_true(parse("json").json);
        assert_true(parse("json=").json);
        assert_true(parse("format=json").json);
        assert_true(parse("a=b&json&c").json);
        assert_false(parse("format=html").json);
}

static void order_and_sort_are_read(void **state)
{
        (void)state;
        assert_true(parse("order=desc").descending);
        assert_false(parse("order=asc").descending);
        assert_int_equal(parse("sort=name").sort, HTTP_SORT_NAME);
        assert_int_equal(parse("sort=size").sort, HTTP_SORT_SIZE);
        assert_int_equal(parse("sort=time&order=desc").sort, HTTP_SORT_TIME);
        assert_true(parse("sort=time&order=desc").descending);
}

static void later_ones_win(void **state)
{
        (void)state;
        assert_int_equal(parse("sort=size&sort=time").sort, HTTP_SORT_TIME);
        assert_false(parse("order=desc&order=asc").descending);
        assert_false(parse("json&format=html").json);
        assert_true(parse("format=html&json").json);
}

static void unknown_names_and_values_are_ignored(void **state)
{
        static const char *const odd[] = {
                "json=1",     "JSON",       "jso",         "jsonx",
                "format",     "format=xml", "sort=",       "sort=date",
                "sort=size=", "order=down", "=",           "&",
                "&&=&",       "=json",      "sort%3Dsize", "sort=size;order=desc",
                "\xff\x00",
        };
        (void)state;

        for (size_t i = 0; i < array_count(odd); i++) {
                struct http_listing_query q = parse(odd[i]);

                if (q.json || q.descending || q.sort != HTTP_SORT_NAME)
                        fail_msg("%s", odd[i]);
        }
        assert_int_equal(parse("sort=size&sort=date").sort, HTTP_SORT_SIZE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_query_asks_for_names_ascending_in_html),
                cmocka_unit_test(json_is_asked_for_in_two_ways),
                cmocka_unit_test(order_and_sort_are_read),
                cmocka_unit_test(later_ones_win),
                cmocka_unit_test(unknown_names_and_values_are_ignored),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
