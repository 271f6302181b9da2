/* The If header. */
#include "help.h"
#include "dav/dav.h"

static struct dav_if parsed;
static char *field; /* what `parsed` points into */

static int parse(const char *text)
{
        free(field);
        field = exact_copy(text, strlen(text));
        return dav_parse_if(&parsed, (struct span){ field, strlen(text) });
}

static int free_field(void **state)
{
        (void)state;
        free(field);
        field = NULL;
        return 0;
}

static void an_untagged_list_speaks_of_the_requests_own_url(void **state)
{
        (void)state;
        assert_int_equal(parse("(<urn:uuid:181d4fae> [\"I am an ETag\"])"), -400); /* RFC 9110: no spaces in a tag */
        assert_int_equal(parse("(<urn:uuid:181d4fae> [\"etag\"]) ([W/\"other\"])"), 0);
        assert_int_equal(parsed.count, 3);
        assert_null(parsed.conditions[0].resource.data);
        assert_span(parsed.conditions[0].token, "urn:uuid:181d4fae");
        assert_null(parsed.conditions[0].etag.data);
        assert_span(parsed.conditions[1].etag, "\"etag\"");
        assert_null(parsed.conditions[1].token.data);
        assert_int_equal(parsed.conditions[0].list, parsed.conditions[1].list);
        assert_span(parsed.conditions[2].etag, "W/\"other\"");
        assert_int_not_equal(parsed.conditions[1].list, parsed.conditions[2].list);
}

static void a_tag_speaks_of_its_resource_until_the_next(void **state)
{
        (void)state;
        assert_int_equal(parse("</a> (<x:1>) (<x:2>) <http://h/b%20c?q> (Not <x:3>)"), 0);
        assert_int_equal(parsed.count, 3);
        assert_span(parsed.conditions[0].resource, "/a");
        assert_span(parsed.conditions[1].resource, "/a");
        assert_span(parsed.conditions[2].resource, "http://h/b%20c?q");
        assert_int_not_equal(parsed.conditions[0].list, parsed.conditions[1].list);
        assert_false(parsed.conditions[1].negated);
        assert_true(parsed.conditions[2].negated);
}

static void not_is_read_in_any_case_and_spacing(void **state)
{
        static const char *const same[] = { "(Not<DAV:no-lock>)", "( nOT \t <DAV:no-lock> )",
                                            " (NOT <DAV:no-lock>)  " };
        (void)state;

        for (size_t i = 0; i < array_count(same); i++) {
                assert_int_equal(parse(same[i]), 0);
                assert_int_equal(parsed.count, 1);
                assert_true(parsed.conditions[0].negated);
                assert_span(parsed.conditions[0].token, "DAV:no-lock");
        }
}

static void an_entity_tag_may_hold_brackets(void **state)
{
        (void)state;
        assert_int_equal(parse("([\"a]b>c)(\"] [ W/\"\" ])"), 0);
        assert_int_equal(parsed.count, 2);
        assert_span(parsed.conditions[0].etag, "\"a]b>c)(\"");
        assert_span(parsed.conditions[1].etag, "W/\"\"");
}

static void lists_need_no_space_between_them(void **state)
{
        (void)state;
        assert_int_equal(parse("(<a:b>[\"c\"])(<d:e>)"), 0);
        assert_int_equal(parsed.count, 3);
        assert_int_equal(parse("</x>(<a:b>)</y>(<d:e>)"), 0);
        assert_int_equal(parsed.count, 2);
}

static void malformed_headers_are_400(void **state)
{
        static const char *const bad[] = {
                "",
                " ",
                "()",
                "( )",
                "(",
                ")",
                "(<a:b>",
                "<a:b>",
                "</x>",
                "</x> </y> (<a:b>)",
                "(<a:b>) <",
                "(<a:b>) </x> (<c:d>)",
                "</x> (<a:b>) ()",
                "</x> (<a:b>) </y>",
                "(<a:b>))",
                "(<a:b>) x",
                "x (<a:b>)",
                "(<a:b>), (<c:d>)",
                "(<>)",
                "(<ab>)",
                "(<a:>)",
                "(<:b>)",
                "(<1a:b>)",
                "(</path>)",
                "(< a:b>)",
                "(<a:b c>)",
                "(<a:\"b>)",
                "(<a:<b>)",
                "(a:b)",
                "(Not)",
                "(Not Not <a:b>)",
                "(Noto <a:b>)",
                "(No <a:b>)",
                "([])",
                "([etag])",
                "([\"etag])",
                "([etag\"])",
                "([\"a\"b\"])",
                "([w/\"a\"])",
                "([x\"a\"])",
                "([\"a\" x])",
                "([\"a b\"])",
                "([\"a\"",
                "([\"a\"]",
                "<> (<a:b>)",
                "<x> (<a:b>)",
                "</x y> (<a:b>)",
                "((<a:b>))",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (parse(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void every_cut_of_a_header_is_400(void **state)
{
        static const char whole[] = "</a> (Not <urn:x> [\"e\"])";
        char text[sizeof(whole)];
        (void)state;

        assert_int_equal(parse(whole), 0);
        for (size_t size = 0; size < strlen(whole); size++) {
                memcpy(text, whole, size);
                text[size] = '\0';
                if (parse(text) != -400)
                        fail_msg("%s", text);
        }
}

static void more_conditions_than_allowed_are_400(void **state)
{
        char text[DAV_MAX_CONDITIONS * 6 + 16] = "(";
        (void)state;

        for (int i = 0; i < DAV_MAX_CONDITIONS; i++)
                strcat(text, "<a:b>");
        strcat(text, ")");
        assert_int_equal(parse(text), 0);
        assert_int_equal(parsed.count, DAV_MAX_CONDITIONS);
        strcpy(text + strlen(text) - 1, "<a:b>)");
        assert_int_equal(parse(text), -400);
}

/* ---- whether it holds ---- */

/* The first letter of a token or tag: t holds, f does not, e is an error. */
static int judge(void *context, const struct dav_condition *condition)
{
        char letter = condition->token.data ? condition->token.data[0] : condition->etag.data[1];

        ++*(int *)context;
        return letter == 'e' ? -5 : letter == 't';
}

static int evaluate(const char *text, int *calls)
{
        *calls = 0;
        assert_int_equal(parse(text), 0);
        return dav_if_holds(&parsed, judge, calls);
}

static void one_list_that_holds_is_enough(void **state)
{
        static const struct {
                const char *text;
                int result;
        } cases[] = {
                { "(<t:1>)", 1 },
                { "(<f:1>)", 0 },
                { "(Not <f:1>)", 1 },
                { "(Not <t:1>)", 0 },
                { "(<t:1> [\"t\"])", 1 },
                { "(<t:1> [\"f\"])", 0 },
                { "(<f:1> [\"t\"])", 0 },
                { "(<f:1>) (<t:1>)", 1 },
                { "(<f:1> <t:2>) (<t:1> <f:2>)", 0 },
                { "(<t:1> Not <t:2>) (Not <f:1> <t:2>)", 1 },
                { "</a> (<f:1>) </b> (<t:1>)", 1 },
                { "</a> (<f:1>) </b> (<f:1>) (Not <t:1>)", 0 },
        };
        int calls;
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                if (evaluate(cases[i].text, &calls) != cases[i].result)
                        fail_msg("%s", cases[i].text);
        }
}

static void judging_stops_when_the_answer_is_known(void **state)
{
        int calls;
        (void)state;

        assert_int_equal(evaluate("(<f:1> <t:2> <t:3>) (<t:1>) (<t:4>)", &calls), 1);
        assert_int_equal(calls, 2);
        assert_int_equal(evaluate("(<e:1>) (<t:1>)", &calls), -5);
        assert_int_equal(calls, 1);
        assert_int_equal(evaluate("(Not <e:1>)", &calls), -5);
        assert_int_equal(evaluate("(<t:1>) (<e:1>)", &calls), 1);
}

static void naming_a_token_anywhere_submits_it(void **state)
{
        (void)state;
        assert_int_equal(parse("</a> (<x:1> [\"x:5\"]) </b> (Not <x:2>)"), 0);
        assert_true(dav_if_submits(&parsed, SPAN("x:1")));
        assert_true(dav_if_submits(&parsed, SPAN("x:2")));
        assert_false(dav_if_submits(&parsed, SPAN("x:3")));
        assert_false(dav_if_submits(&parsed, SPAN("x:")));
        assert_false(dav_if_submits(&parsed, SPAN("X:1")));
        assert_false(dav_if_submits(&parsed, SPAN("\"x:5\"")));
        assert_false(dav_if_submits(&parsed, SPAN("")));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(an_untagged_list_speaks_of_the_requests_own_url, free_field),
                cmocka_unit_test_teardown(a_tag_speaks_of_its_resource_until_the_next, free_field),
                cmocka_unit_test_teardown(not_is_read_in_any_case_and_spacing, free_field),
                cmocka_unit_test_teardown(an_entity_tag_may_hold_brackets, free_field),
                cmocka_unit_test_teardown(lists_need_no_space_between_them, free_field),
                cmocka_unit_test_teardown(malformed_headers_are_400, free_field),
                cmocka_unit_test_teardown(every_cut_of_a_header_is_400, free_field),
                cmocka_unit_test_teardown(more_conditions_than_allowed_are_400, free_field),
                cmocka_unit_test_teardown(one_list_that_holds_is_enough, free_field),
                cmocka_unit_test_teardown(judging_stops_when_the_answer_is_known, free_field),
                cmocka_unit_test_teardown(naming_a_token_anywhere_submits_it, free_field),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
