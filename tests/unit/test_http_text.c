/* Reason phrases and escaping. */
#include "help.h"
#include "http/http.h"

static char room[8192];

static struct text html(struct span s)
{
        char *copy = exact_copy(s.data, s.size);
        struct text t = text_in(room, sizeof(room));

        http_escape_html(&t, (struct span){ copy, s.size });
        free(copy);
        return t;
}

static struct text json(struct span s)
{
        char *copy = exact_copy(s.data, s.size);
        struct text t = text_in(room, sizeof(room));

        http_escape_json(&t, (struct span){ copy, s.size });
        free(copy);
        return t;
}

static void statuses_have_their_phrases(void **state)
{
        static const int sent[] = { 100, 200, 201, 204, 206, 207, 304, 400, 401, 403, 404, 405, 408, 409, 411,
                                    412, 413, 414, 415, 416, 417, 423, 424, 429, 431, 500, 501, 503, 505, 507 };
        (void)state;

        for (size_t i = 0; i < array_count(sent); i++)
                assert_string_not_equal(http_reason(sent[i]), "Unknown");
        assert_string_equal(http_reason(200), "OK");
        assert_string_equal(http_reason(404), "Not Found");
        assert_string_equal(http_reason(416), "Range Not Satisfiable");
        assert_string_equal(http_reason(207), "Multi-Status");
}

static void other_statuses_are_unknown(void **state)
{
        static const int odd[] = { INT32_MIN, -404, 0, 99, 299, 418, 509, 599, 1000, INT32_MAX };
        (void)state;

        for (size_t i = 0; i < array_count(odd); i++)
                assert_string_equal(http_reason(odd[i]), "Unknown");
}

static void html_escapes_five_characters(void **state)
{
        (void)state;
        assert_text(html(SPAN("<a href=\"x\">&'</a>")), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
        assert_text(html(SPAN("plain\n\\ \x01")), "plain\n\\ \x01");
        assert_text(html((struct span){ NULL, 0 }), "");
}

static void json_escapes_quotes_backslashes_and_controls(void **state)
{
        (void)state;
        assert_text(json(SPAN("a\"b\\c/<>&'")), "a\\\"b\\\\c/<>&'");
        assert_text(json(SPAN("\b\t\n\f\r")), "\\b\\t\\n\\f\\r");
        assert_text(json(((struct span){ "\x00\x01\x0b\x1f\x7f", 5 })), "\\u0000\\u0001\\u000b\\u001f\x7f");
        assert_text(json((struct span){ NULL, 0 }), "");
}

static void valid_utf8_passes(void **state)
{
        /* the first and last character of each length, and those beside the surrogates */
        static const char good[] =
                "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf";
        (void)state;

        assert_text(html(span_of(good)),
                    "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
        assert_text(json(span_of(good)),
                    "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

#define BAD "\xef\xbf\xbd"

static void bytes_that_are_no_utf8_are_replaced_one_by_one(void **state)
{
        (void)state;
        assert_text(html(SPAN("a\x80z")), "a" BAD "z");
        assert_text(html(SPAN("\xff")), BAD);
        assert_text(html(SPAN("\xc0\xaf")), BAD BAD);
        assert_text(html(SPAN("\xe0\x9f\xbf")), BAD BAD BAD);
        assert_text(html(SPAN("\xed\xa0\x80")), BAD BAD BAD);
        assert_text(html(SPAN("\xf0\x8f\xbf\xbf")), BAD BAD BAD BAD);
        assert_text(html(SPAN("\xf4\x90\x80\x80")), BAD BAD BAD BAD);
        assert_text(html(SPAN("\xf5\x80\x80\x80")), BAD BAD BAD BAD);
        assert_text(json(SPAN("\xc3\"")), BAD "\\\"");
        assert_text(json(SPAN("\xe2\x82")), BAD BAD);
        assert_text(json(SPAN("\xe2\x82\xac\xe2")), "\xe2\x82\xac" BAD);
}

static void an_escape_is_never_cut(void **state)
{
        char small[6];
        struct text t = text_in(small, sizeof(small));
        (void)state;

        http_escape_html(&t, SPAN("ab<cd"));
        assert_text(t, "ab&lt;");
        assert_true(t.overflow);
        t = text_in(small, sizeof(small));
        http_escape_json(&t, SPAN("a\x01z"));
        assert_text(t, "a");
        assert_true(t.overflow);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(statuses_have_their_phrases),
                cmocka_unit_test(other_statuses_are_unknown),
                cmocka_unit_test(html_escapes_five_characters),
                cmocka_unit_test(json_escapes_quotes_backslashes_and_controls),
                cmocka_unit_test(valid_utf8_passes),
                cmocka_unit_test(bytes_that_are_no_utf8_are_replaced_one_by_one),
                cmocka_unit_test(an_escape_is_never_cut),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
