/* The request head.
 *
 * Every head here is parsed whole, then byte by byte, then in pieces of other sizes, always from
 * copies of exactly the size that has arrived: all must agree on the answer and when it is known.
 */
#include "help_head.h"

static char *kept; /* the bytes the last head points into */

static void keep(char *bytes)
{
        free(kept);
        kept = bytes;
}

static int parse_whole(struct http_head *head, const char *bytes, size_t size, const struct http_limits *limits)
{
        uint32_t scanned = 0;

        keep(exact_copy(bytes, size));
        return http_parse_head(head, kept, size, limits, &scanned);
}

/* The answer when bytes come `step` at a time, each time at another address; 0 when all have come without one. */
static int parse_dripping(struct http_head *head, const char *bytes, size_t size, size_t step,
                          const struct http_limits *limits)
{
        uint32_t scanned = 0;
        int result = 0;

        for (size_t have = 0; result == 0 && have < size;) {
                have = min_of(have + step, size);
                keep(exact_copy(bytes, have));
                memset(head, 0xa5, sizeof(*head)); /* nothing may be kept there between calls */
                result = http_parse_head(head, kept, have, limits, &scanned);
        }
        return result;
}

static struct http_head *parse_limited(const char *bytes, size_t size, const struct http_limits *limits, int *result)
{
        static struct http_head head, whole;

        *result = parse_whole(&whole, bytes, size, limits);
        for (size_t step = 1; step <= size; step = step * 3 + 1) {
                assert_int_equal(parse_dripping(&head, bytes, size, step, limits), *result);
                if (*result > 0) {
                        assert_int_equal(head.size, *result);
                        assert_int_equal(head.field_count, whole.field_count);
                        assert_memory_equal(head.first, whole.first, sizeof(head.first));
                        assert_memory_equal(head.fields, whole.fields, head.field_count * sizeof(head.fields[0]));
                        assert_int_equal(head.content_length, whole.content_length);
                        assert_int_equal(head.keep_alive, whole.keep_alive);
                        assert_int_equal(head.target.size, whole.target.size);
                }
        }
        *result = parse_whole(&head, bytes, size, limits);
        return &head;
}

static struct http_head *parse(const char *bytes)
{
        int result;
        struct http_head *head = parse_limited(bytes, strlen(bytes), &roomy, &result);

        assert_int_equal(result, strlen(bytes));
        return head;
}

static int status_of_bytes(const char *bytes, size_t size)
{
        int result;

        parse_limited(bytes, size, &roomy, &result);
        return result;
}

static int status_of(const char *bytes)
{
        return status_of_bytes(bytes, strlen(bytes));
}

/* The answer to a request line, otherwise fine. */
static int line_status(const char *line)
{
        char bytes[512];
        int result = status_of_bytes(bytes, (size_t)snprintf(bytes, sizeof(bytes), "%s\r\nHost: h\r\n\r\n", line));

        return result > 0 ? 200 : result;
}

/* The answer to fields behind a request line of this version. */
static int fields_status(const char *version, const char *fields)
{
        char bytes[1024];
        int result = status_of_bytes(bytes,
                                     (size_t)snprintf(bytes, sizeof(bytes), "PUT / %s\r\n%s\r\n", version, fields));

        return result > 0 ? 200 : result;
}

static struct http_head *parse_fields(const char *version, const char *fields)
{
        static char bytes[4096];

        snprintf(bytes, sizeof(bytes), "PUT / %s\r\nHost: h\r\n%s\r\n", version, fields);
        return parse(bytes);
}

/* ---- what is read ---- */

static void a_plain_get_is_read(void **state)
{
        (void)state;
        struct http_head *head = parse("GET /1k.bin HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n");

        assert_int_equal(head->method, HTTP_GET);
        assert_span(head->method_name, "GET");
        assert_span(head->target, "/1k.bin");
        assert_span(head->path, "/1k.bin");
        assert_null(head->query.data);
        assert_int_equal(head->minor, 1);
        assert_true(head->keep_alive);
        assert_false(head->chunked);
        assert_false(head->has_length);
        assert_false(head->expect_continue);
        assert_int_equal(head->content_length, 0);
        assert_int_equal(head->field_count, 1);
        assert_span(http_field(head, HTTP_HOST), "127.0.0.1:8080");
        assert_null(http_field(head, HTTP_RANGE).data);
}

static void bytes_behind_the_head_are_left_alone(void **state)
{
        (void)state;
        struct http_head head;
        static const char two[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";

        assert_int_equal(parse_whole(&head, two, sizeof(two) - 1, &roomy), (sizeof(two) - 1) / 2);
        assert_int_equal(parse_dripping(&head, two, sizeof(two) - 1, 40, &roomy), (sizeof(two) - 1) / 2);
}

static void methods_are_told_apart_by_case_and_length(void **state)
{
        (void)state;
        assert_int_equal(parse("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")->method, HTTP_HEAD);
        assert_int_equal(parse("OPTIONS / HTTP/1.1\r\nHost: h\r\n\r\n")->method, HTTP_OPTIONS);
        assert_int_equal(parse("get / HTTP/1.1\r\nHost: h\r\n\r\n")->method, HTTP_METHOD_OTHER);
        assert_int_equal(parse("GETS / HTTP/1.1\r\nHost: h\r\n\r\n")->method, HTTP_METHOD_OTHER);
        assert_span(parse("PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n")->method_name, "PROPFIND");
        assert_span(parse("M-SEARCH / HTTP/1.1\r\nHost: h\r\n\r\n")->method_name, "M-SEARCH");
}

static void the_target_is_split_at_the_first_question_mark(void **state)
{
        (void)state;
        struct http_head *head = parse("GET /a%20b/?x=/y?z HTTP/1.1\r\nHost: h\r\n\r\n");

        assert_span(head->path, "/a%20b/");
        assert_span(head->query, "x=/y?z");
        head = parse("GET /? HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_span(head->path, "/");
        assert_non_null(head->query.data);
        assert_int_equal(head->query.size, 0);
}

static void absolute_form_gives_path_and_query(void **state)
{
        (void)state;
        struct http_head *head = parse("GET HTTP://user.example:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n");

        assert_span(head->target, "HTTP://user.example:80/a?b");
        assert_span(head->path, "/a");
        assert_span(head->query, "b");
        head = parse("GET https://[::1]:8443/a HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_span(head->path, "/a");
        assert_null(head->query.data);
        head = parse("GET http://h?q/r HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_span(head->path, "/");
        assert_span(head->query, "q/r");
        assert_span(parse("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n")->path, "/");
        assert_span(parse("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n")->path, "*");
}

static void asterisk_form_is_for_options(void **state)
{
        (void)state;
        assert_span(parse("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")->path, "*");
        assert_int_equal(line_status("GET * HTTP/1.1"), -400);
        assert_int_equal(line_status("OPTIONS ** HTTP/1.1"), -400);
        assert_int_equal(line_status("OPTIONS *?a HTTP/1.1"), -400);
}

static void values_are_trimmed_and_may_be_empty(void **state)
{
        (void)state;
        struct http_head *head = parse_fields("HTTP/1.1", "Range: \t bytes=0-  \t\r\nReferer:\r\nAccept: \t \r\n"
                                                          "User-Agent:x y\tz\r\nX-Other:  \r\n");

        assert_span(http_field(head, HTTP_RANGE), "bytes=0-");
        assert_span(http_field(head, HTTP_REFERER), "");
        assert_non_null(http_field(head, HTTP_REFERER).data);
        assert_span(http_field(head, HTTP_ACCEPT), "");
        assert_span(http_field(head, HTTP_USER_AGENT), "x y\tz");
        assert_int_equal(head->field_count, 5);
}

static void values_may_hold_bytes_past_ascii(void **state)
{
        (void)state;
        assert_span(http_field(parse_fields("HTTP/1.1", "Referer: \xc3\xa4\xff\x80 \xc3\xb6\r\n"), HTTP_REFERER),
                    "\xc3\xa4\xff\x80 \xc3\xb6");
}

static void every_known_name_is_known_in_any_case(void **state)
{
        static const char *const names[HTTP_FIELD_NAMES] = {
                "Accept",
                "Accept-Encoding",
                "Authorization",
                "Berth-Links",
                "Berth-Mode",
                "Berth-Mtime",
                "Berth-Overwrite",
                "Connection",
                "Content-Digest",
                "Content-Encoding",
                "Content-Length",
                "Content-Range",
                "Content-Type",
                "Depth",
                "Destination",
                "Expect",
                "Host",
                "If",
                "If-Match",
                "If-Modified-Since",
                "If-None-Match",
                "If-Range",
                "If-Unmodified-Since",
                "Lock-Token",
                "OC-Checksum",
                "Overwrite",
                "Range",
                "Referer",
                "Repr-Digest",
                "Sync",
                "Timeout",
                "Transfer-Encoding",
                "User-Agent",
                "Want-Repr-Digest",
                "X-Forwarded-Host",
                "X-Forwarded-Proto",
                "X-OC-Mtime",
                "X-Update-Range",
        };
        (void)state;

        for (unsigned name = 0; name < HTTP_FIELD_NAMES; name++) {
                const char *value = "1";

                if (name == HTTP_EXPECT)
                        value = "100-continue";
                if (name == HTTP_TRANSFER_ENCODING)
                        value = "chunked";
                for (unsigned variant = 0; variant < 3; variant++) {
                        char bytes[256], text[32];
                        size_t size = strlen(names[name]);

                        for (size_t i = 0; i <= size; i++) {
                                char c = names[name][i];
                                bool letter = c >= 'A';
                                text[i] = letter && variant == 1 ? c | 0x20 : letter && variant == 2 ? c & ~0x20 : c;
                        }
                        snprintf(bytes, sizeof(bytes), "PUT / HTTP/1.1\r\n%s%s: %s\r\n\r\n",
                                 name == HTTP_HOST ? "" : "Host: h\r\n", text, value);
                        struct http_head *head = parse(bytes);
                        assert_true(span_equal(http_field(head, name), span_of(value)));
                        assert_int_equal(head->fields[head->first[name] - 1].name, name);
                }
        }
}

static void names_that_resemble_known_ones_are_not_known(void **state)
{
        (void)state;
        struct http_head *head = parse_fields("HTTP/1.1",
                                              "If-Matchx: a\r\nIf-Catch: a\r\nHosts: a\r\nRang: a\r\nExcept: a\r\n"
                                              "User_Agent: a\r\nX-If-Match: a\r\nA: b\r\nContent-Lengtl: 9\r\n");

        assert_int_equal(head->field_count, 1);
        assert_false(head->has_length);
}

static void fields_of_one_name_are_walked_in_order(void **state)
{
        (void)state;
        struct http_head *head = parse_fields("HTTP/1.1",
                                              "Accept: a\r\nRange: r\r\naccept: b\r\nX: y\r\nACCEPT: c\r\n");
        unsigned index = 0;
        struct span value;

        assert_span(http_field(head, HTTP_ACCEPT), "a");
        assert_true(http_field_each(head, HTTP_ACCEPT, &index, &value));
        assert_span(value, "a");
        assert_true(http_field_each(head, HTTP_ACCEPT, &index, &value));
        assert_span(value, "b");
        assert_true(http_field_each(head, HTTP_ACCEPT, &index, &value));
        assert_span(value, "c");
        assert_false(http_field_each(head, HTTP_ACCEPT, &index, &value));
        assert_false(http_field_each(head, HTTP_ACCEPT, &index, &value));
        index = 0;
        assert_false(http_field_each(head, HTTP_IF_MATCH, &index, &value));
        assert_int_equal(index, 0);
}

static void up_to_two_empty_lines_in_front_are_skipped(void **state)
{
        (void)state;
        struct http_head *head = parse("\r\n\r\nGET /a HTTP/1.1\r\nHost: here\r\n\r\n");

        assert_span(head->target, "/a");
        assert_span(http_field(head, HTTP_HOST), "here");
        parse("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_int_equal(status_of("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), -400);
        assert_int_equal(status_of("\r\n\r\n\r\n"), -400);
        assert_int_equal(status_of("\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), -400);
        assert_int_equal(status_of("\r\n\r\n"), 0);
        assert_int_equal(status_of("\r"), 0);
}

/* ---- keep-alive and body ---- */

static void version_1_1_keeps_alive_unless_closed(void **state)
{
        (void)state;
        assert_true(parse_fields("HTTP/1.1", "Connection: upgrade\r\n")->keep_alive);
        assert_false(parse_fields("HTTP/1.1", "Connection: close\r\n")->keep_alive);
        assert_false(parse_fields("HTTP/1.1", "Connection: keep-alive , CLOSE\r\n")->keep_alive);
        assert_false(parse_fields("HTTP/1.1", "Connection: keep-alive\r\nConnection: te,,Close\r\n")->keep_alive);
        assert_true(parse_fields("HTTP/1.1", "Connection: closed\r\n")->keep_alive);
        assert_true(parse_fields("HTTP/1.1", "Connection: \"close, x\"\r\n")->keep_alive);
}

static void version_1_0_closes_unless_kept_alive(void **state)
{
        (void)state;
        struct http_head *head = parse("GET / HTTP/1.0\r\n\r\n");

        assert_int_equal(head->minor, 0);
        assert_false(head->keep_alive);
        assert_true(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")->keep_alive);
        assert_false(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n")->keep_alive);
}

static void a_length_is_read(void **state)
{
        (void)state;
        struct http_head *head = parse_fields("HTTP/1.1", "Content-Length: 0\r\n");

        assert_true(head->has_length);
        assert_int_equal(head->content_length, 0);
        assert_int_equal(parse_fields("HTTP/1.1", "Content-Length: 0042\r\n")->content_length, 42);
        assert_int_equal(parse_fields("HTTP/1.1", "Content-Length: 9223372036854775807\r\n")->content_length,
                         INT64_MAX);
        assert_int_equal(parse_fields("HTTP/1.0", "Content-Length: 7\r\n")->content_length, 7);
}

static void a_bad_length_is_400(void **state)
{
        static const char *const bad[] = {
                "",
                "+1",
                "-1",
                "1 2",
                "1,1",
                "0x10",
                "1.0",
                "a",
                "9223372036854775808",
                "18446744073709551616",
                "99999999999999999999999999",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                char fields[128];

                snprintf(fields, sizeof(fields), "Host: h\r\nContent-Length: %s\r\n", bad[i]);
                assert_int_equal(fields_status("HTTP/1.1", fields), -400);
        }
}

static void two_lengths_are_400_even_if_equal(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n"), -400);
}

static void a_chunked_body_is_seen(void **state)
{
        (void)state;
        struct http_head *head = parse_fields("HTTP/1.1", "Transfer-Encoding: Chunked\r\n");

        assert_true(head->chunked);
        assert_false(head->has_length);
}

static void length_with_transfer_coding_is_400(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
                         -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n"),
                         -400);
}

static void transfer_coding_in_1_0_is_400(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.0", "Transfer-Encoding: chunked\r\n"), -400);
}

static void another_transfer_coding_is_501(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: gzip, chunked\r\n"), -501);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: identity\r\n"), -501);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: \"chunked\"\r\n"), -501);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked;x\r\n"), -501);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding:\r\n"), -501);
        assert_int_equal(
                fields_status("HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
                -501);
}

static void expect_100_continue_is_seen_and_ignored_in_1_0(void **state)
{
        (void)state;
        assert_true(parse_fields("HTTP/1.1", "Expect: 100-Continue\r\n")->expect_continue);
        assert_false(parse_fields("HTTP/1.0", "Expect: 100-continue\r\n")->expect_continue);
}

static void another_expectation_is_417(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nExpect: 200-ok\r\n"), -417);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nExpect: 100-continue, more\r\n"), -417);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nExpect: 100-continue\r\nExpect: x\r\n"), -417);
}

/* ---- Host ---- */

static void a_missing_or_double_host_is_400(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Accept: a\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.0", "Accept: a\r\n"), 200);
        assert_int_equal(fields_status("HTTP/1.1", "Host: a\r\nHost: a\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.0", "Host: a\r\nhost: b\r\n"), -400);
}

static void hosts_are_checked_for_form(void **state)
{
        static const struct {
                const char *host;
                int status;
        } cases[] = {
                { "", 200 },
                { "a_b.example", 200 },
                { "EXAMPLE.org:8080", 200 },
                { "h:", 200 },
                { "[::1]", 200 },
                { "[fe80::1]:80", 200 },
                { "[v1.x:y]", 200 },
                { "a%20b", 200 },
                { "h:65535", 200 },
                { "192.0.2.1:0", 200 },
                { "a b", -400 },
                { "a/b", -400 },
                { "u@h", -400 },
                { "h:8a", -400 },
                { "h:123456", -400 },
                { "h:1:2", -400 },
                { "[::1", -400 },
                { "[]", -400 },
                { "[::1]x", -400 },
                { "::1", -400 },
                { "a,b", 200 },
                { "a%2", -400 },
                { "a%zz", -400 },
                { "h\xc3\xa4", -400 },
                { "a?b", -400 },
                { "a#b", -400 },
                { "http://h", -400 },
                { "a\tb", -400 },
        };
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                char fields[128];

                snprintf(fields, sizeof(fields), "Host: %s\r\n", cases[i].host);
                if (fields_status("HTTP/1.1", fields) != cases[i].status)
                        fail_msg("Host: %s", cases[i].host);
                assert_int_equal(fields_status("HTTP/1.0", fields), cases[i].status);
        }
}

/* ---- malformed request lines ---- */

static void request_lines_are_checked_for_form(void **state)
{
        static const struct {
                const char *line;
                int status;
        } cases[] = {
                { "GET / HTTP/1.1", 200 },
                { "GET /a|b\"{}\\^`<> HTTP/1.1", 200 },
                { "GET /\xc3\xa4 HTTP/1.1", 200 },
                { "GET //a HTTP/1.1", 200 },
                { "GET /..%2f HTTP/1.1", 200 },
                { "GET /%zz HTTP/1.1", 200 },
                { "GET", -400 },
                { "GET ", -400 },
                { "GET /", -400 },
                { "GET / ", -400 },
                { " GET / HTTP/1.1", -400 },
                { "GET  / HTTP/1.1", -400 },
                { "GET /  HTTP/1.1", -400 },
                { "GET / HTTP/1.1 ", -400 },
                { "GET\t/ HTTP/1.1", -400 },
                { "GET /\tHTTP/1.1", -400 },
                { "GET / x HTTP/1.1", -400 },
                { "GE(T / HTTP/1.1", -400 },
                { "G\xc3\x84T / HTTP/1.1", -400 },
                { "GET /a#b HTTP/1.1", -400 },
                { "GET a HTTP/1.1", -400 },
                { "GET ?a HTTP/1.1", -400 },
                { "GET h:80 HTTP/1.1", -400 },
                { "CONNECT h:443 HTTP/1.1", -400 },
                { "GET ftp://h/ HTTP/1.1", -400 },
                { "GET http:/a HTTP/1.1", -400 },
                { "GET http:// HTTP/1.1", -400 },
                { "GET http:///a HTTP/1.1", -400 },
                { "GET http://?a HTTP/1.1", -400 },
                { "GET http://:80/ HTTP/1.1", -400 },
                { "GET http://u@h/ HTTP/1.1", -400 },
                { "GET http://h:x/ HTTP/1.1", -400 },
                { "GET http:h HTTP/1.1", -400 },
                { "GET http HTTP/1.1", -400 },
                { "GET / http/1.1", -400 },
                { "GET / HTTP/1", -400 },
                { "GET / HTTP/1.", -400 },
                { "GET / HTTP/1.10", -400 },
                { "GET / HTTP/11.1", -400 },
                { "GET / HTTP/a.1", -400 },
                { "GET / HTTP/1.a", -400 },
                { "GET / HTTP-1.1", -400 },
                { "GET / HTTP/1,1", -400 },
                { "GET / HTTPS/1.1", -400 },
        };
        (void)state;

        for (size_t i = 0; i < array_count(cases); i++) {
                if (line_status(cases[i].line) != cases[i].status)
                        fail_msg("%s", cases[i].line);
        }
}

static void another_version_is_505(void **state)
{
        (void)state;
        assert_int_equal(line_status("GET / HTTP/2.0"), -505);
        assert_int_equal(line_status("GET / HTTP/1.2"), -505);
        assert_int_equal(line_status("GET / HTTP/0.9"), -505);
        assert_int_equal(line_status("GET / HTTP/9.9"), -505);
        assert_int_equal(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), -505);
}

static void control_bytes_are_400_wherever_they_stand(void **state)
{
        static const char good[] = "GET /a HTTP/1.1\r\nHost: h\r\nReferer: abcdefghijklmnop\r\n\r\n";
        const size_t size = sizeof(good) - 1;
        char bytes[sizeof(good)];
        (void)state;

        for (size_t at = 0; at < size; at++) {
                for (int c = 0; c <= 0x20; c++) {
                        if (c == '\t' || good[at] == '\r' || good[at] == '\n')
                                continue;
                        memcpy(bytes, good, sizeof(good));
                        bytes[at] = (char)(c == 0x20 ? 0x7f : c);
                        assert_int_equal(status_of_bytes(bytes, size), -400);
                }
        }
}

static void a_bare_lf_or_cr_is_400(void **state)
{
        (void)state;
        assert_int_equal(status_of("GET / HTTP/1.1\nHost: h\n\n"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\r\nHost: h\n\r\n"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\r\nHost: h\r\n\n"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\r\nHost: h\r\n\rx"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\rHost: h\r\r"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"), -400);
        assert_int_equal(status_of("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n"), -400);
}

/* ---- malformed fields ---- */

static void fields_are_checked_for_form(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX : y\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX\t: y\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\n: y\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX(y): z\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX\xc3\xa4: z\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX@: z\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\n!#$%&'*+-.^_`|~09azAZ: z\r\n"), 200);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX: y:z\r\n"), 200);
}

static void folded_lines_are_400(void **state)
{
        (void)state;
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX: y\r\n z\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", "Host: h\r\nX: y\r\n\tz: a\r\n"), -400);
        assert_int_equal(fields_status("HTTP/1.1", " Host: h\r\n"), -400);
}

/* ---- limits ---- */

static size_t repeat(char *out, char c, size_t count)
{
        memset(out, c, count);
        return count;
}

static void a_request_line_past_its_limit_is_414(void **state)
{
        const struct http_limits limits = { .line_bytes = 600, .head_bytes = 4096 };
        char bytes[2048] = "GET /";
        int result;
        (void)state;

        for (size_t line = 599; line <= 602; line++) {
                size_t size = 5 + repeat(bytes + 5, 'a', line - 14);

                size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, " HTTP/1.1\r\nHost: h\r\n\r\n");
                parse_limited(bytes, size, &limits, &result);
                assert_int_equal(result, line <= 600 ? (int)size : -414);
        }
}

static void a_request_line_past_its_limit_is_414_before_it_ends(void **state)
{
        const struct http_limits limits = { .line_bytes = 600, .head_bytes = 4096 };
        char bytes[2048] = "GET /";
        struct http_head head;
        (void)state;

        repeat(bytes + 5, 'a', 1000);
        assert_int_equal(parse_dripping(&head, bytes, 600, 1, &limits), 0);
        assert_int_equal(parse_dripping(&head, bytes, 601, 1, &limits), -414);
        assert_int_equal(parse_whole(&head, bytes, 601, &limits), -414);
        assert_int_equal(parse_whole(&head, bytes, 1005, &limits), -414);
        assert_span(head.method_name, "GET");
        bytes[900] = '\0'; /* a fault behind the limit changes nothing */
        assert_int_equal(parse_whole(&head, bytes, 1005, &limits), -414);
}

static void a_field_line_past_its_limit_is_431(void **state)
{
        const struct http_limits limits = { .line_bytes = 600, .head_bytes = 4096 };
        char bytes[2048];
        int result;
        (void)state;

        for (size_t line = 599; line <= 602; line++) {
                size_t size = (size_t)snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nHost: h\r\nX: ");

                size += repeat(bytes + size, 'a', line - 3);
                memcpy(bytes + size, "\r\n\r\n", 4);
                parse_limited(bytes, size, &limits, &result);
                assert_int_equal(result, line <= 600 ? 0 : -431);
                parse_limited(bytes, size + 4, &limits, &result);
                assert_int_equal(result, line <= 600 ? (int)size + 4 : -431);
        }
}

static void a_head_past_its_limit_is_431(void **state)
{
        static const char bytes[] = "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n";
        const uint32_t size = sizeof(bytes) - 1;
        struct http_limits limits = { .line_bytes = 600 };
        int result;
        (void)state;

        for (limits.head_bytes = 1; limits.head_bytes <= size + 1; limits.head_bytes++) {
                parse_limited(bytes, size, &limits, &result);
                assert_int_equal(result, limits.head_bytes >= size ? (int)size : -431);
        }
}

static void a_head_that_fills_its_limit_without_an_end_is_431(void **state)
{
        struct http_limits limits = { .line_bytes = 65535, .head_bytes = 65535 };
        char *bytes = malloc(65536);
        struct http_head head;
        (void)state;

        size_t size = (size_t)snprintf(bytes, 65536, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
        repeat(bytes + size, 'a', 65536 - size);
        assert_int_equal(parse_whole(&head, bytes, 65534, &limits), 0);
        assert_int_equal(parse_whole(&head, bytes, 65535, &limits), -431);
        assert_int_equal(parse_dripping(&head, bytes, 65536, 1000, &limits), -431);
        memcpy(bytes + 65531, "\r\n\r\n", 4);
        assert_int_equal(parse_whole(&head, bytes, 65536, &limits), 65535);
        assert_int_equal(parse_dripping(&head, bytes, 65535, 97, &limits), 65535);
        free(bytes);
}

static void more_than_100_fields_are_431(void **state)
{
        static const char *const fields[] = { "A: b\r\n", "Accept: b\r\n" };
        char bytes[4096];
        int result;
        (void)state;

        for (size_t i = 0; i < array_count(fields); i++) {
                size_t size = (size_t)snprintf(bytes, sizeof(bytes), "GET / HTTP/1.1\r\nHost: h\r\n");

                for (int n = 1; n < HTTP_MAX_FIELDS; n++)
                        size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, "%s", fields[i]);
                memcpy(bytes + size, "\r\n", 2);
                parse_limited(bytes, size + 2, &roomy, &result);
                assert_int_equal(result, size + 2);
                size += (size_t)snprintf(bytes + size, sizeof(bytes) - size, "Z: b\r\n");
                parse_limited(bytes, size, &roomy, &result);
                assert_int_equal(result, -431);
        }
}

static void a_hundred_fields_of_one_name_are_all_walked(void **state)
{
        char fields[2048];
        size_t size = 0;
        (void)state;

        for (int n = 1; n < HTTP_MAX_FIELDS; n++)
                size += (size_t)snprintf(fields + size, sizeof(fields) - size, "Accept: %d\r\n", n);
        struct http_head *head = parse_fields("HTTP/1.1", fields);
        unsigned index = 0, n = 1;
        struct span value;
        for (; http_field_each(head, HTTP_ACCEPT, &index, &value); n++)
                assert_int_equal(strtol(value.data, NULL, 10), n);
        assert_int_equal(n, HTTP_MAX_FIELDS);
}

/* ---- dripping, and what is left for the log ---- */

static void every_beginning_of_a_good_head_asks_for_more(void **state)
{
        static const char bytes[] = "\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        struct http_head head;
        (void)state;

        for (size_t size = 0; size < sizeof(bytes) - 1; size++)
                assert_int_equal(parse_whole(&head, bytes, size, &roomy), 0);
        assert_int_equal(parse_whole(&head, bytes, sizeof(bytes) - 1, &roomy), sizeof(bytes) - 1);
}

static void bytes_known_to_be_clean_are_not_looked_at_again(void **state)
{
        char bytes[1024] = "GET /";
        struct http_head head;
        uint32_t scanned = 0;
        (void)state;

        repeat(bytes + 5, 'a', 1001);
        assert_int_equal(http_parse_head(&head, bytes, 1005, &roomy, &scanned), 0);
        bytes[100] = '\0'; /* shows that it is not: only a line that has ended is read again */
        assert_int_equal(http_parse_head(&head, bytes, 1006, &roomy, &scanned), 0);
}

static void a_refused_request_still_has_its_line_for_the_log(void **state)
{
        struct http_head head;
        static const char no_host[] = "GET /a HTTP/1.1\r\nX: y\r\n\r\n", garbage[] = "\x16\x03\x01";
        (void)state;

        assert_int_equal(parse_whole(&head, no_host, sizeof(no_host) - 1, &roomy), -400);
        assert_span(head.method_name, "GET");
        assert_span(head.target, "/a");
        assert_int_equal(parse_dripping(&head, no_host, sizeof(no_host) - 1, 3, &roomy), -400);
        assert_span(head.target, "/a");
        assert_int_equal(parse_whole(&head, garbage, sizeof(garbage) - 1, &roomy), -400);
        assert_null(head.method_name.data);
        assert_null(head.target.data);
}

static int forget(void **state)
{
        (void)state;
        keep(NULL);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_plain_get_is_read),
                cmocka_unit_test(bytes_behind_the_head_are_left_alone),
                cmocka_unit_test(methods_are_told_apart_by_case_and_length),
                cmocka_unit_test(the_target_is_split_at_the_first_question_mark),
                cmocka_unit_test(absolute_form_gives_path_and_query),
                cmocka_unit_test(asterisk_form_is_for_options),
                cmocka_unit_test(values_are_trimmed_and_may_be_empty),
                cmocka_unit_test(values_may_hold_bytes_past_ascii),
                cmocka_unit_test(every_known_name_is_known_in_any_case),
                cmocka_unit_test(names_that_resemble_known_ones_are_not_known),
                cmocka_unit_test(fields_of_one_name_are_walked_in_order),
                cmocka_unit_test(up_to_two_empty_lines_in_front_are_skipped),
                cmocka_unit_test(version_1_1_keeps_alive_unless_closed),
                cmocka_unit_test(version_1_0_closes_unless_kept_alive),
                cmocka_unit_test(a_length_is_read),
                cmocka_unit_test(a_bad_length_is_400),
                cmocka_unit_test(two_lengths_are_400_even_if_equal),
                cmocka_unit_test(a_chunked_body_is_seen),
                cmocka_unit_test(length_with_transfer_coding_is_400),
                cmocka_unit_test(transfer_coding_in_1_0_is_400),
                cmocka_unit_test(another_transfer_coding_is_501),
                cmocka_unit_test(expect_100_continue_is_seen_and_ignored_in_1_0),
                cmocka_unit_test(another_expectation_is_417),
                cmocka_unit_test(a_missing_or_double_host_is_400),
                cmocka_unit_test(hosts_are_checked_for_form),
                cmocka_unit_test(request_lines_are_checked_for_form),
                cmocka_unit_test(another_version_is_505),
                cmocka_unit_test(control_bytes_are_400_wherever_they_stand),
                cmocka_unit_test(a_bare_lf_or_cr_is_400),
                cmocka_unit_test(fields_are_checked_for_form),
                cmocka_unit_test(folded_lines_are_400),
                cmocka_unit_test(a_request_line_past_its_limit_is_414),
                cmocka_unit_test(a_request_line_past_its_limit_is_414_before_it_ends),
                cmocka_unit_test(a_field_line_past_its_limit_is_431),
                cmocka_unit_test(a_head_past_its_limit_is_431),
                cmocka_unit_test(a_head_that_fills_its_limit_without_an_end_is_431),
                cmocka_unit_test(more_than_100_fields_are_431),
                cmocka_unit_test(a_hundred_fields_of_one_name_are_all_walked),
                cmocka_unit_test(every_beginning_of_a_good_head_asks_for_more),
                cmocka_unit_test(bytes_known_to_be_clean_are_not_looked_at_again),
                cmocka_unit_test(a_refused_request_still_has_its_line_for_the_log),
        };

        return cmocka_run_group_tests(tests, NULL, forget);
}
