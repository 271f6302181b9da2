/* The chunked coding. Every body is taken whole and in pieces of every size: all must agree. */
#include "help.h"
#include "http/http.h"

struct outcome {
        int result;
        size_t used;
        size_t body_size;
        char body[4096];
};

/* Takes bytes[0..size) in pieces of `step`, each from a copy of its own size. */
static struct outcome take(const char *bytes, size_t size, size_t step)
{
        static struct outcome outcome;
        struct http_chunked chunked;

        outcome = (struct outcome){ 0 };
        http_chunked_init(&chunked);
        while (outcome.result == 0 && outcome.used < size) {
                size_t piece = min_of(step, size - outcome.used), at = 0;
                char *copy = exact_copy(bytes + outcome.used, piece);

                while (outcome.result == 0 && at < piece) {
                        struct span body;
                        size_t used;

                        outcome.result = http_chunked_take(&chunked, copy + at, piece - at, &used, &body);
                        assert_true(used <= piece - at);
                        assert_true(body.size <= used);
                        assert_true(used > 0 || outcome.result < 0);
                        if (body.size > 0) {
                                assert_true(body.data >= copy + at && body.data + body.size <= copy + at + used);
                                assert_true(outcome.body_size + body.size <= sizeof(outcome.body));
                                memcpy(outcome.body + outcome.body_size, body.data, body.size);
                                outcome.body_size += body.size;
                        }
                        at += used;
                }
                outcome.used += at;
                free(copy);
        }
        return outcome;
}

static struct outcome take_all_ways(const char *bytes, size_t size)
{
        struct outcome whole = take(bytes, size, size);

        for (size_t step = 1; step < size; step += 1 + step / 16) {
                struct outcome pieces = take(bytes, size, step);

                assert_int_equal(pieces.result, whole.result);
                assert_int_equal(pieces.used, whole.used);
                assert_int_equal(pieces.body_size, whole.body_size);
                assert_memory_equal(pieces.body, whole.body, whole.body_size);
        }
        return whole;
}

static void assert_body(const char *bytes, const char *body)
{
        struct outcome outcome = take_all_ways(bytes, strlen(bytes));

        if (outcome.result != 1)
                fail_msg("%s", bytes);
        assert_int_equal(outcome.used, strlen(bytes));
        assert_int_equal(outcome.body_size, strlen(body));
        assert_memory_equal(outcome.body, body, strlen(body));
}

static int result_of(const char *bytes)
{
        return take_all_ways(bytes, strlen(bytes)).result;
}

static void data_of_all_chunks_comes_out_in_order(void **state)
{
        (void)state;
        assert_body("5\r\nhello\r\n1\r\n,\r\n0000a\r\n nice\r\nwor\r\n2\r\nld\r\n0\r\n\r\n", "hello, nice\r\nworld");
        assert_body("0\r\n\r\n", "");
        assert_body("000\r\n\r\n", "");
        assert_body("A\r\n0123456789\r\n0\r\n\r\n", "0123456789");
        assert_body("a\r\n0123456789\r\n0\r\n\r\n", "0123456789");
}

static void bytes_behind_the_end_are_not_taken(void **state)
{
        (void)state;
        static const char bytes[] = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
        struct outcome outcome = take_all_ways(bytes, sizeof(bytes) - 1);

        assert_int_equal(outcome.result, 1);
        assert_int_equal(outcome.used, strlen("1\r\na\r\n0\r\n\r\n"));
}

static void one_call_gives_one_run_of_data_and_all_that_surrounds_it(void **state)
{
        static const char bytes[] = "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
        struct http_chunked chunked;
        struct span body;
        size_t used;
        (void)state;

        http_chunked_init(&chunked);
        assert_int_equal(http_chunked_take(&chunked, bytes, sizeof(bytes) - 1, &used, &body), 0);
        assert_span(body, "a");
        assert_int_equal(used, 9);
        assert_int_equal(http_chunked_take(&chunked, bytes + used, sizeof(bytes) - 1 - used, &used, &body), 1);
        assert_span(body, "bc");
        assert_int_equal(used, 9);
}

static void no_bytes_change_nothing(void **state)
{
        struct http_chunked chunked;
        struct span body;
        size_t used = 7;
        (void)state;

        http_chunked_init(&chunked);
        assert_int_equal(http_chunked_take(&chunked, NULL, 0, &used, &body), 0);
        assert_int_equal(used, 0);
        assert_int_equal(body.size, 0);
}

static void every_beginning_asks_for_more(void **state)
{
        static const char bytes[] = "5 ;a=\"b\"\r\nhello\r\n0;x\r\nA: b\r\n\r\n";
        (void)state;

        for (size_t size = 0; size < sizeof(bytes) - 1; size++)
                assert_int_equal(take_all_ways(bytes, size).result, 0);
        assert_body(bytes, "hello");
}

static void extensions_are_skipped(void **state)
{
        (void)state;
        assert_body("1;a\r\nx\r\n0;b=c;d=\"e f\"\r\n\r\n", "x");
        assert_body("1 \t;a\r\nx\r\n0 ; b\r\n\r\n", "x");
        assert_body("1;\xc3\xa4\r\nx\r\n0\r\n\r\n", "x");
}

static void trailers_are_skipped(void **state)
{
        (void)state;
        assert_body("1\r\nx\r\n0\r\nDigest: abc\r\nX-Empty:\r\n\r\n", "x");
}

static void a_size_that_is_not_hex_is_400(void **state)
{
        static const char *const bad[] = {
                "\r\n",   "g\r\n",       " 1\r\na\r\n",  "-1\r\n", "+1\r\na\r\n", "0x1\r\na\r\n",
                ";a\r\n", "1 \r\na\r\n", "1 2\r\na\r\n", "1.\r\n", "1\ta\r\n",    "\xff",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (result_of(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void sizes_up_to_63_bits_are_taken_and_no_more(void **state)
{
        (void)state;
        assert_int_equal(result_of("7fffffffffffffff\r\nx"), 0);
        assert_int_equal(result_of("0007FFFFFFFFFFFFFFF\r\nx"), 0);
        assert_int_equal(result_of("8000000000000000\r\nx"), -400);
        assert_int_equal(result_of("ffffffffffffffff\r\nx"), -400);
        assert_int_equal(result_of("10000000000000001\r\nx"), -400);
}

static void a_missing_line_end_is_400(void **state)
{
        static const char *const bad[] = {
                "1\r\nab", "1\r\na\n", "1\r\na\rb", "1\nx", "1\rx",        "1;a\n",
                "1;a\rb",  "0\r\n\n",  "0\r\n\rx",  "0\n",  "0\r\nA: b\n", "0\r\nA: b\rc",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (result_of(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void malformed_extensions_and_trailers_are_400(void **state)
{
        static const char *const bad[] = {
                "1;a\x01\r\n",    "1;a\x7f\r\n", "0\r\n: b\r\n",      "0\r\n folded\r\n",
                "0\r\nA : b\r\n", "0\r\nA\r\n",  "0\r\nA: b\x01\r\n", "0\r\nA: b\r\n c\r\n",
        };
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++) {
                if (result_of(bad[i]) != -400)
                        fail_msg("%s", bad[i]);
        }
}

static void a_fault_stays_and_data_before_it_is_given(void **state)
{
        static const char bytes[] = "2\r\nab\r\nx";
        struct http_chunked chunked;
        struct span body;
        size_t used;
        (void)state;

        http_chunked_init(&chunked);
        assert_int_equal(http_chunked_take(&chunked, bytes, sizeof(bytes) - 1, &used, &body), -400);
        assert_span(body, "ab");
        assert_int_equal(http_chunked_take(&chunked, "1\r\n", 3, &used, &body), -400);
        assert_int_equal(used, 0);
        assert_int_equal(body.size, 0);
}

/* `before`, then 'a' up to a line of `line` bytes counted from its start at `from`, then `behind`. */
static int long_line(const char *before, size_t from, size_t line, const char *behind)
{
        static char bytes[16384];
        size_t size = strlen(before), padding = line - (size - from) - strlen(behind);

        memcpy(bytes, before, size);
        memset(bytes + size, 'a', padding);
        memcpy(bytes + size + padding, behind, strlen(behind));
        return take(bytes, size + padding + strlen(behind), 1000).result;
}

static void lines_past_8_kib_are_400(void **state)
{
        (void)state;
        assert_int_equal(long_line("1;", 0, 8192, "\r\n"), 0);
        assert_int_equal(long_line("1;", 0, 8193, "\r\n"), -400);
        assert_int_equal(long_line("1\r\nx\r\n1;", 6, 8192, "\r\n"), 0);
        assert_int_equal(long_line("1\r\nx\r\n1;", 6, 8193, "\r\n"), -400);
}

static void trailers_past_8_kib_together_are_400(void **state)
{
        (void)state;
        assert_int_equal(long_line("0\r\nA: b\r\nB: ", 3, 8192, "\r\n\r\n"), 1);
        assert_int_equal(long_line("0\r\nA: b\r\nB: ", 3, 8193, "\r\n\r\n"), -400);
}

static void leading_zeros_do_not_go_on_for_ever(void **state)
{
        static char bytes[9000];
        (void)state;

        memset(bytes, '0', sizeof(bytes));
        assert_int_equal(take(bytes, 8192, 8192).result, 0);
        assert_int_equal(take(bytes, 8193, 8193).result, -400);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(data_of_all_chunks_comes_out_in_order),
                cmocka_unit_test(bytes_behind_the_end_are_not_taken),
                cmocka_unit_test(one_call_gives_one_run_of_data_and_all_that_surrounds_it),
                cmocka_unit_test(no_bytes_change_nothing),
                cmocka_unit_test(every_beginning_asks_for_more),
                cmocka_unit_test(extensions_are_skipped),
                cmocka_unit_test(trailers_are_skipped),
                cmocka_unit_test(a_size_that_is_not_hex_is_400),
                cmocka_unit_test(sizes_up_to_63_bits_are_taken_and_no_more),
                cmocka_unit_test(a_missing_line_end_is_400),
                cmocka_unit_test(malformed_extensions_and_trailers_are_400),
                cmocka_unit_test(a_fault_stays_and_data_before_it_is_given),
                cmocka_unit_test(lines_past_8_kib_are_400),
                cmocka_unit_test(trailers_past_8_kib_together_are_400),
                cmocka_unit_test(leading_zeros_do_not_go_on_for_ever),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
