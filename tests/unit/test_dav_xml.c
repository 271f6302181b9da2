/* Writing XML, and the names of live properties. What is written is read back by expat. */
#include "help.h"
#include "dav/dav.h"

#include <expat.h>

static char room[4096];

static struct text empty(void)
{
        return text_in(room, sizeof(room));
}

/* ---- reading back ---- */

struct reading {
        char characters[1024];
        size_t used;
        char element[256]; /* the innermost one seen last */
        char lang[64];
};

static void on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
        struct reading *reading = context;

        snprintf(reading->element, sizeof(reading->element), "%s", name);
        for (; *attributes; attributes += 2) {
                if (strstr(attributes[0], "|lang"))
                        snprintf(reading->lang, sizeof(reading->lang), "%s", attributes[1]);
        }
}

static void on_characters(void *context, const XML_Char *data, int size)
{
        struct reading *reading = context;

        assert_true(reading->used + (size_t)size < sizeof(reading->characters));
        memcpy(reading->characters + reading->used, data, (size_t)size);
        reading->used += (size_t)size;
}

static void read_back(struct reading *reading, const struct text *text)
{
        XML_Parser parser = XML_ParserCreateNS(NULL, '|');
        char document[sizeof(room) + 64];
        int size = snprintf(document, sizeof(document), "<D:r xmlns:D=\"DAV:\">%.*s</D:r>", (int)text->used,
                            text->data);

        *reading = (struct reading){ 0 };
        XML_SetUserData(parser, reading);
        XML_SetElementHandler(parser, on_start, NULL);
        XML_SetCharacterDataHandler(parser, on_characters);
        if (XML_Parse(parser, document, size, 1) != XML_STATUS_OK)
                fail_msg("%s: %s", XML_ErrorString(XML_GetErrorCode(parser)), document);
        XML_ParserFree(parser);
}

/* ---- text ---- */

static void markup_is_escaped(void **state)
{
        struct text text = empty();
        (void)state;

        dav_put_escaped(&text, SPAN("a<b>&\"c'\t\n\r]]>"));
        assert_text(text, "a&lt;b&gt;&amp;&quot;c'\t\n&#13;]]&gt;");
}

static void what_is_no_character_of_xml_becomes_the_replacement(void **state)
{
        static const struct {
                const char *bytes, *wanted;
        } cases[] = {
                { "\x01"
                  "a\x1f",
                  "\xef\xbf\xbd"
                  "a\xef\xbf\xbd" },
                { "\x7f", "\x7f" },
                { "\xc3\xa4", "\xc3\xa4" },
                { "\xf0\x90\x80\x80", "\xf0\x90\x80\x80" },
                { "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
                { "\xef\xbf\xbd", "\xef\xbf\xbd" },
                { "\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80" },
                { "\x80", "\xef\xbf\xbd" },
                { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xc3", "\xef\xbf\xbd" },
                { "\xc3<", "\xef\xbf\xbd&lt;" },
                { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xef\xbf\xbe", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xef\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
                { "\xff", "\xef\xbf\xbd" },
        };
        struct reading reading;
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                char *copy = exact_copy(cases[i].bytes, strlen(cases[i].bytes));
                struct text text = empty();

                dav_put_escaped(&text, (struct span){ copy, strlen(cases[i].bytes) });
                free(copy);
                assert_span_((struct span){ text.data, text.used }, span_of(cases[i].wanted), __FILE__, __LINE__);
                read_back(&reading, &text);
        }
}

static void every_byte_comes_out_readable(void **state)
{
        struct reading reading;
        (void)state;

        for (int first = 0; first < 256; first++) {
                char bytes[4] = { (char)first, (char)0xbf, (char)0xbf, (char)0xbe };
                struct text text = empty();

                for (size_t size = 1; size <= sizeof(bytes); size++)
                        dav_put_escaped(&text, (struct span){ bytes, size });
                assert_true(text.used <= 6 * 10);
                read_back(&reading, &text);
        }
}

static void text_that_does_not_fit_is_cut_between_characters(void **state)
{
        (void)state;
        for (size_t size = 0; size <= 6; size++) {
                struct text text = text_in(room, size);

                dav_put_escaped(&text, SPAN("a&"));
                assert_int_equal(text.overflow, size < 6);
                assert_int_equal(text.used, size < 1 ? 0 : size < 6 ? 1 : 6);
        }
}

/* ---- elements ---- */

static const struct span none = { NULL, 0 };

static void an_element_declares_its_namespace(void **state)
{
        struct dav_name name = { SPAN("http://x/?a&b"), SPAN("size") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, SPAN("<i xmlns=\"\"/>5"), none);
        assert_text(text, "<size xmlns=\"http://x/?a&amp;b\"><i xmlns=\"\"/>5</size>");
        text = empty();
        dav_put_element(&text, &name, none, none);
        assert_text(text, "<size xmlns=\"http://x/?a&amp;b\"/>");
        read_back(&reading, &text);
        assert_string_equal(reading.element, "http://x/?a&b|size");
}

static void dav_names_use_the_prefix_of_the_document(void **state)
{
        struct dav_name name = { SPAN("DAV:"), SPAN("getetag") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, SPAN("x"), none);
        assert_text(text, "<D:getetag>x</D:getetag>");
        text = empty();
        dav_put_element(&text, &name, none, none);
        assert_text(text, "<D:getetag/>");
        read_back(&reading, &text);
        assert_string_equal(reading.element, "DAV:|getetag");
}

static void a_name_without_namespace_says_so(void **state)
{
        struct dav_name name = { none, SPAN("plain") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, SPAN("x"), none);
        assert_text(text, "<plain xmlns=\"\">x</plain>");
        read_back(&reading, &text);
        assert_string_equal(reading.element, "plain");
}

static void the_namespace_of_xml_is_never_declared(void **state)
{
        struct dav_name name = { SPAN("http://www.w3.org/XML/1998/namespace"), SPAN("thing") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, SPAN("x"), none);
        assert_text(text, "<xml:thing>x</xml:thing>");
        read_back(&reading, &text);
        assert_string_equal(reading.element, "http://www.w3.org/XML/1998/namespace|thing");
}

static void the_language_is_an_attribute(void **state)
{
        struct dav_name name = { SPAN("urn:x"), SPAN("title") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, SPAN("x"), SPAN("en\"<"));
        read_back(&reading, &text);
        assert_string_equal(reading.lang, "en\"<");
        assert_string_equal(reading.element, "urn:x|title");
}

static void white_space_in_a_namespace_survives(void **state)
{
        struct dav_name name = { SPAN("a\tb\nc\rd\"<&>"), SPAN("x") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_element(&text, &name, none, none);
        read_back(&reading, &text);
        assert_string_equal(reading.element, "a\tb\nc\rd\"<&>|x");
}

/* ---- names ---- */

static void every_live_property_is_found_by_its_name(void **state)
{
        (void)state;
        for (enum dav_live live = 0; live < DAV_LIVE_COUNT; live++) {
                struct dav_name name = dav_live_name(live);

                assert_true(name.local.size > 0 && name.space.size > 0);
                assert_int_equal(dav_live_of(&name), live);
                name.local.size--;
                assert_int_equal(dav_live_of(&name), DAV_DEAD);
        }
        assert_span(dav_live_name(DAV_QUOTA_USED_BYTES).local, "quota-used-bytes");
        assert_span(dav_live_name(DAV_BERTH_MTIME).space, "urn:berth:posix");
}

static void the_same_name_in_another_namespace_is_dead(void **state)
{
        static const struct dav_name dead[] = {
                { SPAN("urn:x"), SPAN("getetag") }, { SPAN(""), SPAN("getetag") },     { SPAN("DAV"), SPAN("getetag") },
                { SPAN("dav:"), SPAN("getetag") },  { SPAN("DAV:"), SPAN("GetETag") }, { SPAN("DAV:"), SPAN("mode") },
        };
        (void)state;

        for (size_t i = 0; i < array_count(dead); i++)
                assert_int_equal(dav_live_of(&dead[i]), DAV_DEAD);
}

static void plain_names_are_ascii_names_of_xml(void **state)
{
        static const char *const good[] = { "a", "Z9", "_", "a-b.c_d", "x0" };
        static const char *const bad[] = { "",         "0a",        "-a", ".a", "a:b", "a b", "a<",
                                           "\xc3\xa4", "a\xc3\xa4", "@",  "[",  "a`",  "a{" };
        (void)state;

        for (size_t i = 0; i < array_count(good); i++)
                assert_true(dav_is_plain_name(span_of(good[i])));
        for (size_t i = 0; i < array_count(bad); i++) {
                if (dav_is_plain_name(span_of(bad[i])))
                        fail_msg("%s", bad[i]);
        }
}

/* ---- dates and locks ---- */

static void assert_date(int64_t unix_seconds, const char *wanted)
{
        char date[DAV_DATE_BYTES];

        dav_format_date(date, unix_seconds);
        assert_memory_equal(date, wanted, DAV_DATE_BYTES);
}

static void dates_are_iso_8601(void **state)
{
        (void)state;
        assert_date(0, "1970-01-01T00:00:00Z");
        assert_date(784111777, "1994-11-06T08:49:37Z");
        assert_date(951782400, "2000-02-29T00:00:00Z");
        assert_date(1767323045, "2026-01-02T03:04:05Z");
        assert_date(1798761599, "2026-12-31T23:59:59Z");
        assert_date(1791763199, "2026-10-11T23:59:59Z");
        assert_date(INT64_MAX, "9999-12-31T23:59:59Z");
        assert_date(-1, "1969-12-31T23:59:59Z");
}

static void an_active_lock_tells_all_of_it(void **state)
{
        struct dav_lock_view lock = {
                .token = SPAN("urn:uuid:1"),
                .owner = SPAN("<n0:href xmlns:n0=\"DAV:\">me</n0:href>"),
                .exclusive = true,
                .infinite = true,
                .seconds_left = 3600,
                .root = SPAN("/a%20b"),
        };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_active_lock(&text, &lock);
        assert_text(text, "<D:activelock><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
                          "<D:depth>infinity</D:depth>"
                          "<D:owner><n0:href xmlns:n0=\"DAV:\">me</n0:href></D:owner>"
                          "<D:timeout>Second-3600</D:timeout>"
                          "<D:locktoken><D:href>urn:uuid:1</D:href></D:locktoken>"
                          "<D:lockroot><D:href>/a%20b</D:href></D:lockroot></D:activelock>");
        read_back(&reading, &text);
}

static void a_shared_lock_without_owner_or_end(void **state)
{
        struct dav_lock_view lock = { .token = SPAN("x:<&"), .seconds_left = UINT32_MAX, .root = SPAN("/&") };
        struct reading reading;
        struct text text = empty();
        (void)state;

        dav_put_active_lock(&text, &lock);
        assert_text(text, "<D:activelock><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype>"
                          "<D:depth>0</D:depth><D:timeout>Infinite</D:timeout>"
                          "<D:locktoken><D:href>x:&lt;&amp;</D:href></D:locktoken>"
                          "<D:lockroot><D:href>/&amp;</D:href></D:lockroot></D:activelock>");
        read_back(&reading, &text);
}

static void supported_locks_are_exclusive_and_shared(void **state)
{
        struct reading reading;
        struct text text = empty();
        (void)state;

        text_put(&text, dav_supported_locks());
        read_back(&reading, &text);
        text_char(&text, '\0');
        assert_non_null(strstr(room, "<D:lockscope><D:exclusive/>"));
        assert_non_null(strstr(room, "<D:lockscope><D:shared/>"));
}

static void an_attribute_has_one_name_in_hex(void **state)
{
        static const char *const bad[] = { "", "x", "x0", "y61", "X61", "x6A", "x6a6", "x00", "x6100", "x6g", "61" };
        char name[DAV_ATTRIBUTE_BYTES], longest[2 * DAV_ATTRIBUTE_BYTES + 2];
        (void)state;

        assert_true(dav_parse_attribute(name, SPAN("x6d696d652e74797065")));
        assert_string_equal(name, "mime.type");
        assert_true(dav_parse_attribute(name, SPAN("xff0a")));
        assert_string_equal(name, "\xff\n");
        struct text text = empty();
        dav_put_attribute_name(&text, SPAN("\xff\n"));
        assert_int_equal(text.used, 5);
        assert_memory_equal(room, "xff0a", 5);
        for (size_t i = 0; i < array_count(bad); i++) {
                if (dav_parse_attribute(name, span_of(bad[i])))
                        fail_msg("%s", bad[i]);
        }
        memset(longest, '6', sizeof(longest));
        longest[0] = 'x';
        assert_true(dav_parse_attribute(name, (struct span){ longest, 501 }));
        assert_int_equal(strlen(name), 250);
        assert_false(dav_parse_attribute(name, (struct span){ longest, 503 }));
}

static void what_xml_can_hold_is_text(void **state)
{
        (void)state;
        assert_true(dav_is_text(SPAN("")));
        assert_true(dav_is_text(SPAN("a <&> \xc3\xa4\t\r\n")));
        assert_false(dav_is_text(SPAN("a\xff")));
        assert_false(dav_is_text(SPAN("a\x01")));
        assert_false(dav_is_text(SPAN("a\xef\xbf\xbf")));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(markup_is_escaped),
                cmocka_unit_test(what_is_no_character_of_xml_becomes_the_replacement),
                cmocka_unit_test(every_byte_comes_out_readable),
                cmocka_unit_test(text_that_does_not_fit_is_cut_between_characters),
                cmocka_unit_test(an_element_declares_its_namespace),
                cmocka_unit_test(dav_names_use_the_prefix_of_the_document),
                cmocka_unit_test(a_name_without_namespace_says_so),
                cmocka_unit_test(the_namespace_of_xml_is_never_declared),
                cmocka_unit_test(the_language_is_an_attribute),
                cmocka_unit_test(white_space_in_a_namespace_survives),
                cmocka_unit_test(every_live_property_is_found_by_its_name),
                cmocka_unit_test(the_same_name_in_another_namespace_is_dead),
                cmocka_unit_test(plain_names_are_ascii_names_of_xml),
                cmocka_unit_test(dates_are_iso_8601),
                cmocka_unit_test(an_active_lock_tells_all_of_it),
                cmocka_unit_test(a_shared_lock_without_owner_or_end),
                cmocka_unit_test(supported_locks_are_exclusive_and_shared),
                cmocka_unit_test(an_attribute_has_one_name_in_hex),
                cmocka_unit_test(what_xml_can_hold_is_text),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
