/* Content negotiation. */
#include "help_head.h"

enum { ALL = HTTP_BR | HTTP_ZSTD | HTTP_GZIP };

/* The accepted codings as text, best first: "b", "z", "g". */
static const char *encodings_of(const char *fields, unsigned offered)
{
        static char text[4];
        struct http_head head;
        unsigned order[3];

        parse_request(&head, "GET", fields);
        unsigned count = http_accept_encodings(&head, offered, order);
        assert_true(count <= 3);
        for (unsigned i = 0; i < count; i++)
                text[i] = order[i] == HTTP_BR ? 'b' : order[i] == HTTP_ZSTD ? 'z' : order[i] == HTTP_GZIP ? 'g' : '?';
        text[count] = '\0';
        return text;
}

static void assert_encodings(const char *value, const char *wanted)
{
        char fields[256];

        snprintf(fields, sizeof(fields), "Accept-Encoding: %s\r\n", value);
        if (strcmp(encodings_of(fields, ALL), wanted) != 0)
                fail_msg("%s: %s", value, encodings_of(fields, ALL));
}

static void without_the_field_nothing_is_coded(void **state)
{
        (void)state;
        assert_string_equal(encodings_of("", ALL), "");
        assert_encodings("", "");
        assert_encodings("identity", "");
}

static void equals_come_in_the_servers_order(void **state)
{
        (void)state;
        assert_encodings("gzip", "g");
        assert_encodings("gzip, deflate, br", "bg");
        assert_encodings("gzip, deflate, br, zstd", "bzg");
        assert_encodings("*", "bzg");
        assert_encodings("gzip;q=0.5,zstd;q=0.5,br;q=0.5", "bzg");
}

static void weights_come_first(void **state)
{
        (void)state;
        assert_encodings("br;q=0.1, zstd;q=0.2, gzip;q=0.3", "gzb");
        assert_encodings("br;q=0.5, zstd, gzip;q=0.5", "zbg");
        assert_encodings("br;q=0.998, gzip;q=0.999", "gb");
        assert_encodings("br ; q=0.5 , gzip ; Q=1.000", "gb");
        assert_encodings("br;x=y;q=0.5, gzip", "gb");
}

static void weight_zero_refuses(void **state)
{
        (void)state;
        assert_encodings("br;q=0, gzip", "g");
        assert_encodings("*;q=0, gzip", "g");
        assert_encodings("*, br;q=0.000", "zg");
        assert_encodings("gzip;q=0.", "");
}

static void what_is_wanted_less_than_identity_is_left_out(void **state)
{
        (void)state;
        assert_encodings("gzip;q=0.5, identity", "");
        assert_encodings("gzip;q=0.5, identity;q=0.5", "g");
        assert_encodings("gzip;q=0.5, br, identity;q=0.7", "b");
        assert_encodings("gzip;q=0.2, *;q=0.5", "bz");
        assert_encodings("gzip, identity;q=0", "g");
}

static void only_what_is_offered_is_given(void **state)
{
        (void)state;
        assert_string_equal(encodings_of("Accept-Encoding: br, gzip\r\n", HTTP_GZIP), "g");
        assert_string_equal(encodings_of("Accept-Encoding: br, gzip\r\n", HTTP_ZSTD), "");
        assert_string_equal(encodings_of("Accept-Encoding: br, gzip\r\n", 0), "");
        assert_string_equal(encodings_of("Accept-Encoding: *\r\n", HTTP_ZSTD | HTTP_GZIP), "zg");
}

static void x_gzip_is_gzip_and_names_ignore_case(void **state)
{
        (void)state;
        assert_encodings("x-gzip", "g");
        assert_encodings("GZip, BR", "bg");
        assert_encodings("x-br, gzipp, compress, deflate", "");
}

static void lines_are_one_list(void **state)
{
        (void)state;
        assert_string_equal(encodings_of("Accept-Encoding: gzip\r\nAccept-Encoding: br;q=0.5\r\n", ALL), "gb");
}

static void a_malformed_weight_drops_its_member(void **state)
{
        static const char *const bad[] = { "",    "a",  "2",  "1.1",    "1.001", "0.0001", "-1",
                                           "0,5", ".5", "00", "1.0000", "0.a",   "\"1\"",  " 1" };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                char value[64];

                snprintf(value, sizeof(value), "gzip;q=%s, br", bad[i]);
                assert_encodings(value, "b");
        }
}

static bool json(const char *value)
{
        struct http_head head;
        char fields[256];

        snprintf(fields, sizeof(fields), "Accept: %s\r\n", value);
        parse_request(&head, "GET", fields);
        return http_accepts_json(&head);
}

static void json_named_alone_is_preferred(void **state)
{
        (void)state;
        assert_true(json("application/json"));
        assert_true(json("Application/JSON; charset=utf-8"));
        assert_true(json("application/json, text/plain, */*"));
        assert_true(json("text/plain, application/json;q=0.9"));
        assert_true(json("application/*"));
}

static void json_needs_the_higher_weight_beside_html(void **state)
{
        (void)state;
        assert_false(json("text/html, application/json"));
        assert_false(json("application/json, text/html"));
        assert_true(json("text/html;q=0.9, application/json"));
        assert_false(json("text/html, application/json;q=0.9"));
        assert_true(json("application/json, text/*;q=0.5"));
        assert_false(json("application/json;q=0.5, text/*"));
        assert_true(json("text/html;q=0, application/json;q=0.1"));
}

static void wildcards_and_browsers_get_html(void **state)
{
        struct http_head head;
        (void)state;

        assert_false(json(""));
        assert_false(json("*/*"));
        assert_false(json("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert_false(json("application/json;q=0.1, */*"));
        assert_false(json("application/json;q=0"));
        assert_false(json("application/jsonx"));
        assert_false(json("text/plain"));
        parse_request(&head, "GET", "");
        assert_false(http_accepts_json(&head));
}

static void quoted_parameters_hide_commas_and_semicolons(void **state)
{
        (void)state;
        assert_true(json("text/html;x=\"a,b;q=1\\\"\";q=0.1, application/json"));
        assert_false(json("text/plain;x=\", application/json\""));
        assert_false(json("text/plain;x=\"\\"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(without_the_field_nothing_is_coded),
                cmocka_unit_test(equals_come_in_the_servers_order),
                cmocka_unit_test(weights_come_first),
                cmocka_unit_test(weight_zero_refuses),
                cmocka_unit_test(what_is_wanted_less_than_identity_is_left_out),
                cmocka_unit_test(only_what_is_offered_is_given),
                cmocka_unit_test(x_gzip_is_gzip_and_names_ignore_case),
                cmocka_unit_test(lines_are_one_list),
                cmocka_unit_test(a_malformed_weight_drops_its_member),
                cmocka_unit_test(json_named_alone_is_preferred),
                cmocka_unit_test(json_needs_the_higher_weight_beside_html),
                cmocka_unit_test(wildcards_and_browsers_get_html),
                cmocka_unit_test(quoted_parameters_hide_commas_and_semicolons),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
