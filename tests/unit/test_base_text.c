/* Spans and bounded text. */
#include "help.h"

static void equal_nocase_folds_ascii_letters_only(void **state)
{
        (void)state;
        assert_true(span_equal_nocase(SPAN("Content-LENGTH"), SPAN("content-length")));
        assert_true(span_equal_nocase(SPAN(""), (struct span){ NULL, 0 }));
        assert_true(span_equal_nocase(SPAN("azAZ"), SPAN("AZaz")));
        assert_false(span_equal_nocase(SPAN("abc"), SPAN("abd")));
        assert_false(span_equal_nocase(SPAN("abc"), SPAN("ab")));
        /* neighbours of the letters that differ in the same bit */
        assert_false(span_equal_nocase(SPAN("@"), SPAN("`")));
        assert_false(span_equal_nocase(SPAN("["), SPAN("{")));
        assert_false(span_equal_nocase(SPAN("\r"), SPAN("-")));
        assert_false(span_equal_nocase(SPAN("\xc4"), SPAN("\xe4")));
}

static void trim_takes_blanks_and_tabs_off_both_ends(void **state)
{
        (void)state;
        assert_span(span_trim(SPAN(" \t a b\t ")), "a b");
        assert_span(span_trim(SPAN("a")), "a");
        assert_span(span_trim(SPAN("")), "");
        assert_span(span_trim((struct span){ NULL, 0 }), "");
        assert_span(span_trim(SPAN("\r\na\n")), "\r\na\n");
}

static void trim_of_blanks_alone_leaves_nothing_and_reads_nothing_else(void **state)
{
        (void)state;
        char *blanks = exact_copy("  \t ", 4);

        assert_int_equal(span_trim((struct span){ blanks, 4 }).size, 0);
        free(blanks);
}

static void cut_walks_the_parts_of_a_list(void **state)
{
        (void)state;
        struct span rest = SPAN("a,,bc");

        assert_span(span_cut(&rest, ','), "a");
        assert_span(span_cut(&rest, ','), "");
        assert_span(rest, "bc");
        assert_span(span_cut(&rest, ','), "bc");
        assert_null(rest.data);
        assert_int_equal(rest.size, 0);
}

static void cut_at_the_last_byte_leaves_an_empty_rest_that_is_there(void **state)
{
        (void)state;
        struct span rest = SPAN("a,");

        assert_span(span_cut(&rest, ','), "a");
        assert_non_null(rest.data);
        assert_int_equal(rest.size, 0);
        assert_span(span_cut(&rest, ','), "");
        assert_null(rest.data);
}

static void cut_of_nothing_is_nothing(void **state)
{
        (void)state;
        struct span rest = { NULL, 0 };

        assert_null(span_cut(&rest, ',').data);
        assert_null(rest.data);
}

static void text_gathers_pieces(void **state)
{
        (void)state;
        char room[64];
        struct text t = text_in(room, sizeof(room));

        text_put(&t, SPAN("a"));
        text_put(&t, (struct span){ NULL, 0 });
        text_char(&t, '-');
        text_decimal(&t, 0);
        text_char(&t, ' ');
        text_decimal(&t, UINT64_MAX);
        text_format(&t, " %d %s", -7, "x");
        assert_text(t, "a-0 18446744073709551615 -7 x");
        assert_false(t.overflow);
}

static void text_may_be_filled_to_its_last_byte(void **state)
{
        (void)state;
        char *room = malloc(3);
        struct text t = text_in(room, 3);

        text_put(&t, SPAN("abc"));
        assert_false(t.overflow);
        text_put(&t, SPAN(""));
        text_format(&t, "%s", "");
        assert_false(t.overflow);
        assert_text(t, "abc");
        text_char(&t, 'd');
        assert_true(t.overflow);
        assert_text(t, "abc");
        free(room);
}

static void text_drops_a_piece_that_does_not_fit_and_all_behind_it(void **state)
{
        (void)state;
        char *room = malloc(4);
        struct text t = text_in(room, 4);

        text_put(&t, SPAN("ab"));
        text_put(&t, SPAN("cde"));
        assert_true(t.overflow);
        text_put(&t, SPAN("f"));
        text_char(&t, 'g');
        text_decimal(&t, 1);
        text_format(&t, "h");
        assert_text(t, "ab");
        free(room);
}

static void formatted_text_that_does_not_fit_is_dropped_whole(void **state)
{
        (void)state;
        char *room = malloc(4);
        struct text t = text_in(room, 4);

        text_format(&t, "%d", 123);
        assert_text(t, "123");
        text_format(&t, "%d", 45);
        assert_true(t.overflow);
        assert_text(t, "123");
        free(room);
}

static void text_without_room_overflows_at_once(void **state)
{
        (void)state;
        struct text t = text_in(NULL, 0);

        text_put(&t, SPAN(""));
        assert_false(t.overflow);
        text_format(&t, "x");
        assert_true(t.overflow);
        assert_int_equal(t.used, 0);
}

static void counts_and_sizes_read_well(void **state)
{
        (void)state;
        assert_string_equal(figure_count(0).text, "0");
        assert_string_equal(figure_count(999).text, "999");
        assert_string_equal(figure_count(1000).text, "1,000");
        assert_string_equal(figure_count(UINT64_MAX).text, "18,446,744,073,709,551,615");
        assert_string_equal(figure_size(0).text, "0 bytes");
        assert_string_equal(figure_size(1023).text, "1023 bytes");
        assert_string_equal(figure_size(1536).text, "1.5 KiB");
        assert_string_equal(figure_size(UINT64_C(24) << 30).text, "24 GiB");
        assert_string_equal(figure_size(UINT64_MAX).text, "16 EiB");
}

static int decoded(char out[8], const char *text)
{
        memset(out, 0, 8);
        return base64_decode(out, 4, span_of(text));
}

static void base64_decodes_whole_groups(void **state)
{
        char out[8];
        (void)state;
        assert_int_equal(decoded(out, ""), 0);
        assert_int_equal(decoded(out, "Zg=="), 1);
        assert_string_equal(out, "f");
        assert_int_equal(decoded(out, "Zm8="), 2);
        assert_string_equal(out, "fo");
        assert_int_equal(decoded(out, "Zm9v"), 3);
        assert_string_equal(out, "foo");
        assert_int_equal(decoded(out, "+/+/"), 3);
        assert_memory_equal(out, "\xfb\xff\xbf", 3);
}

static void base64_takes_nothing_else(void **state)
{
        static const char *const wrong[] = { "Z",    "Zg",    "Zg=",  "Z===",        "====", "Zg==Zg==",
                                             " Zm9", "Zm\n=", "Zm-_", "Zm9vYmE\xc3", "=Zm9" };
        char out[8];
        (void)state;
        for (size_t i = 0; i < array_count(wrong); i++)
                assert_int_equal(decoded(out, wrong[i]), -1);
}

static void base64_keeps_within_its_room(void **state)
{
        char out[8];
        (void)state;
        assert_int_equal(decoded(out, "Zm9vYg=="), 4);
        assert_int_equal(decoded(out, "Zm9vYmE="), -1);
        assert_int_equal(out[0], 0);
}

static void hex_digits_have_either_case(void **state)
{
        (void)state;
        assert_int_equal(hex_digit('0'), 0);
        assert_int_equal(hex_digit('9'), 9);
        assert_int_equal(hex_digit('a'), 10);
        assert_int_equal(hex_digit('F'), 15);
        for (const char *c = "/:@G`g\x11"; *c; c++)
                assert_int_equal(hex_digit(*c), -1);
}

static void base64_is_written_as_it_is_read(void **state)
{
        static const char *const pairs[][2] = {
                { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "\xfb\xff\xbf", "+/+/" },
        };
        (void)state;
        for (size_t i = 0; i < array_count(pairs); i++) {
                char out[8];
                struct text text = text_in(out, sizeof(out));
                base64_put(&text, span_of(pairs[i][0]));
                assert_int_equal(text.used, strlen(pairs[i][1]));
                assert_memory_equal(out, pairs[i][1], text.used);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_nocase_folds_ascii_letters_only),
                cmocka_unit_test(trim_takes_blanks_and_tabs_off_both_ends),
                cmocka_unit_test(trim_of_blanks_alone_leaves_nothing_and_reads_nothing_else),
                cmocka_unit_test(cut_walks_the_parts_of_a_list),
                cmocka_unit_test(cut_at_the_last_byte_leaves_an_empty_rest_that_is_there),
                cmocka_unit_test(cut_of_nothing_is_nothing),
                cmocka_unit_test(text_gathers_pieces),
                cmocka_unit_test(text_may_be_filled_to_its_last_byte),
                cmocka_unit_test(text_drops_a_piece_that_does_not_fit_and_all_behind_it),
                cmocka_unit_test(formatted_text_that_does_not_fit_is_dropped_whole),
                cmocka_unit_test(text_without_room_overflows_at_once),
                cmocka_unit_test(counts_and_sizes_read_well),
                cmocka_unit_test(base64_decodes_whole_groups),
                cmocka_unit_test(base64_takes_nothing_else),
                cmocka_unit_test(base64_keeps_within_its_room),
                cmocka_unit_test(hex_digits_have_either_case),
                cmocka_unit_test(base64_is_written_as_it_is_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
