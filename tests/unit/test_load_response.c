/* Responses. Each is taken whole, byte by byte and in other pieces, from copies of exactly the size that has come: the
 * answer has to be the same. The metrics page of a server, which is no more to be trusted, is read here, too. */
#include "help.h"
#include "load/load_priv.h"

#include <errno.h>
#include <math.h>

static struct load_response last;

/* The answer when bytes come `step` at a time; *used: how many were the response's. */
static int take_in_steps(const char *bytes, size_t size, size_t step, size_t *used)
{
        int result = 0;

        load_response_init(&last);
        *used = 0;
        for (size_t at = 0; at < size && result == 0; at += step) {
                size_t n = min_of(step, size - at);
                char *piece = exact_copy(bytes + at, n);

                for (size_t done = 0, took; done < n && result == 0; done += took) {
                        struct span body;

                        result = load_response_take(&last, piece + done, n - done, &took, &body);
                        assert_true(took > 0 && took <= n - done && body.size <= took);
                        assert_true(body.size == 0 || (body.data >= piece && body.data + body.size <= piece + n));
                        *used += took;
                }
                free(piece);
        }
        return result;
}

static int take_bytes(const char *bytes, size_t size)
{
        size_t used, whole;
        int result = take_in_steps(bytes, size, size > 0 ? size : 1, &whole);
        struct load_response first = last;

        for (size_t step = 1; step < size; step = step * 3 + 1) {
                assert_int_equal(take_in_steps(bytes, size, step, &used), result);
                assert_int_equal(used, whole);
                assert_int_equal(last.status, first.status);
                assert_int_equal(last.body_bytes, first.body_bytes);
                assert_int_equal(last.keep_alive, first.keep_alive);
                assert_int_equal(last.has_range, first.has_range);
        }
        return result;
}

static int take(const char *text)
{
        return take_bytes(text, strlen(text));
}

static void assert_taken(const char *text, unsigned status, uint64_t body, bool keep_alive)
{
        if (take(text) != 1)
                fail_msg("not complete: %s", text);
        assert_int_equal(last.status, status);
        assert_int_equal(last.body_bytes, body);
        assert_int_equal(last.keep_alive, keep_alive);
}

static void assert_bad(const char *text)
{
        if (take(text) != -EBADMSG)
                fail_msg("not refused: %s", text);
}

static void a_body_has_its_length(void **state)
{
        (void)state;
        assert_taken("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5, true);
        assert_taken("HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", 200, 5, true);
        assert_taken("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, 0, true);
        assert_taken("HTTP/1.1 200\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 200, 1, true);
        assert_int_equal(take("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"), 0);
}

static void what_follows_is_not_taken(void **state)
{
        static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello";
        size_t used;
        (void)state;

        assert_int_equal(take_in_steps(text, strlen(text), strlen(text), &used), 1);
        assert_int_equal(used, strlen(text) - 3);
}

static void some_have_no_body(void **state)
{
        (void)state;
        assert_taken("HTTP/1.1 204 No Content\r\n\r\n", 204, 0, true);
        assert_taken("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n", 304, 0, true);
}

static void chunks_are_put_together(void **state)
{
        (void)state;
        assert_taken(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
                200, 8, true);
        assert_int_equal(take("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), 0);
        assert_bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
        assert_bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc");
}

static void without_a_length_it_ends_with_the_connection(void **state)
{
        (void)state;
        assert_int_equal(take("HTTP/1.1 200 OK\r\n\r\nhello"), 0);
        assert_true(load_response_ends_here(&last));
        assert_false(last.keep_alive);
        assert_int_equal(last.body_bytes, 5);
        assert_int_equal(take("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello"), 0);
        assert_false(load_response_ends_here(&last));
        assert_int_equal(take("HTTP/1.1 200 OK\r\n"), 0);
        assert_false(load_response_ends_here(&last) || load_response_has_head(&last));
}

static void the_connection_stays_as_it_says(void **state)
{
        (void)state;
        assert_taken("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, 0, false);
        assert_taken("HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", 200, 0, false);
        assert_taken("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 0, false);
        assert_taken("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, 0, true);
}

static void interim_responses_are_passed_over(void **state)
{
        (void)state;
        assert_taken("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\n"
                     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                     200, 2, true);
        assert_bad("HTTP/1.1 101 Switching Protocols\r\n\r\n");
}

static void ranges_are_told(void **state)
{
        (void)state;
        assert_taken("HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/100\r\nContent-Length: 5\r\n\r\nhello", 206, 5, true);
        assert_true(last.has_range && last.range_first == 5 && last.range_last == 9 && last.range_size == 100);
        static const char *const odd[] = { "bytes 5-9/*",
                                           "bytes */100",
                                           "bytes 9-5/100",
                                           "bytes 5-100/100",
                                           "x 5-9/100",
                                           "bytes 5-9/100 ",
                                           "bytes 5-9/18446744073709551616",
                                           "bytes 5-9",
                                           "" };
        for (size_t i = 0; i < array_count(odd); i++) {
                char text[200];

                snprintf(text, sizeof(text), "HTTP/1.1 206 P\r\nContent-Range: %s\r\nContent-Length: 0\r\n\r\n",
                         odd[i]);
                assert_taken(text, 206, 0, true);
                assert_true(last.has_range == (i == 5)); /* its blank at the end is none of the value's */
        }
}

static void what_is_malformed_is_refused(void **state)
{
        static const char *const bad[] = {
                "garbage\r\n",
                "\r\n",
                "HTTP/1.1 200 OK\n",
                "HTTP/1.1 200 OK\r\r\n",
                "HTTP/1.1 200 OK\rX",
                "HTTP/2 200 OK\r\n",
                "HTTP/1.1  200 OK\r\n",
                "HTTP/1.1 20 OK\r\n",
                "HTTP/1.1 2000 OK\r\n",
                "HTTP/1.1 099 OK\r\n",
                "HTTP/1.1 600 OK\r\n",
                "HTTP/1.1 2x0 OK\r\n",
                "HTTP/1.1 200 O\x01K\r\n",
                "HTTP/1.1 200 OK\r\nno colon\r\n",
                "HTTP/1.1 200 OK\r\n: x\r\n",
                "HTTP/1.1 200 OK\r\n folded: x\r\n",
                "HTTP/1.1 200 OK\r\nA : x\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++)
                assert_bad(bad[i]);
        assert_int_equal(take_bytes("HTTP/1.1 200 OK\r\nA: \0\r\n", 23), -EBADMSG);
}

static void long_lines_matter_only_where_they_are_looked_at(void **state)
{
        char text[4000], value[1000];
        (void)state;

        memset(value, '1', sizeof(value));
        snprintf(text, sizeof(text), "HTTP/1.1 200 %.900s\r\nX-Long: %.900s\r\nContent-Length: 2\r\n\r\nok", value,
                 value);
        assert_taken(text, 200, 2, true);
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %.900s\r\n\r\n", value);
        assert_bad(text);
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nConnection: %.900s\r\n\r\n", value);
        assert_bad(text);
}

static void an_endless_head_is_refused(void **state)
{
        size_t size = LOAD_HEAD_BYTES + 100;
        char *text = malloc(size);
        (void)state;

        memset(text, 'x', size);
        memcpy(text, "HTTP/1.1 200 OK\r\nX: ", 20);
        assert_int_equal(take_bytes(text, size), -EBADMSG);
        for (size_t at = 0; at + 25 <= size; at += 25)
                memcpy(text + at, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        assert_int_equal(take_bytes(text, size - size % 25), -EBADMSG);
        free(text);
}

/* Good responses with bytes changed, cut and doubled by chance: whatever comes out, in all pieces it is the same, and
 * the address sanitizer has nothing to say. */
static void nothing_breaks_it(void **state)
{
        static const char *const seeds[] = {
                "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\nConnection: "
                "close\r\n\r\nhello",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nX: "
                "y\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;b=\"c\"\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
        };
        static const char spice[] = "\r\n\0 :;,\t\x7f\xff"
                                    "019afHT/.-";
        struct random random = { 42 };
        (void)state;

        for (unsigned round = 0; round < 3000; round++) {
                char text[300];
                const char *seed = seeds[random_below(&random, array_count(seeds))];
                size_t size = strlen(seed);

                memcpy(text, seed, size);
                for (unsigned n = random_below(&random, 4); n > 0; n--)
                        text[random_below(&random, (uint32_t)size)] = spice[random_below(&random, sizeof(spice) - 1)];
                if (random_below(&random, 4) == 0)
                        size = random_below(&random, (uint32_t)size);
                take_bytes(text, size);
        }
}

/* ---- metrics ---- */

static void metrics_are_picked_out(void **state)
{
        struct load_scrape *scrape = calloc(1, sizeof(*scrape));
        (void)state;

        load_scrape_read(scrape, "# HELP berth_connections x\n"
                                 "process_resident_memory_bytes 1.5e6 1700000000\n"
                                 "berth_connections{state=\"resting\"} 42\n"
                                 "berth_connections{state=\"hot\"} 1\n"
                                 "other 1\nberth_connections_total 5\nberth_memory_bytes{pool=\"a b\"} 7");
        assert_int_equal(scrape->count, 4);
        assert_string_equal(scrape->names[1], "berth_connections{state=\"resting\"}");
        assert_true(scrape->values[0] == 1.5e6 && scrape->values[1] == 42 && scrape->values[3] == 7);
        load_scrape_read(scrape, "berth_connections{state=\"resting\"} 43\n");
        assert_int_equal(scrape->count, 4);
        assert_true(scrape->values[1] == 43 && isnan(scrape->values[0])); /* the page has it no longer */
        free(scrape);
}

static void odd_metrics_do_no_harm(void **state)
{
        struct load_scrape *scrape = calloc(1, sizeof(*scrape));
        (void)state;

        load_scrape_read(scrape, "");
        load_scrape_read(scrape, "\n\n\nberth_connections");
        load_scrape_read(scrape, "berth_connections ");
        load_scrape_read(scrape, "berth_connections{state=\"x\n} 5\nberth_connections{\n");
        load_scrape_read(scrape, "berth_connections nan\nberth_connections inf\nberth_connections x\n");
        assert_int_equal(scrape->count, 0);
        for (unsigned i = 0; i < 100; i++) {
                char line[300];

                snprintf(line, sizeof(line), "berth_connections{state=\"%u\"} 1\nberth_connections{s=\"%0200u\"} 1\n",
                         i, i);
                load_scrape_read(scrape, line);
        }
        assert_int_equal(scrape->count, LOAD_METRICS);
        free(scrape);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_body_has_its_length),
                cmocka_unit_test(what_follows_is_not_taken),
                cmocka_unit_test(some_have_no_body),
                cmocka_unit_test(chunks_are_put_together),
                cmocka_unit_test(without_a_length_it_ends_with_the_connection),
                cmocka_unit_test(the_connection_stays_as_it_says),
                cmocka_unit_test(interim_responses_are_passed_over),
                cmocka_unit_test(ranges_are_told),
                cmocka_unit_test(what_is_malformed_is_refused),
                cmocka_unit_test(long_lines_matter_only_where_they_are_looked_at),
                cmocka_unit_test(an_endless_head_is_refused),
                cmocka_unit_test(nothing_breaks_it),
                cmocka_unit_test(metrics_are_picked_out),
                cmocka_unit_test(odd_metrics_do_no_harm),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
