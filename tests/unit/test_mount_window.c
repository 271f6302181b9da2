/* How far ahead of a reader a file is asked for. */
#include "mount/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

static const struct window_limits limits = { .size = 32 << 20, .piece = 1 << 20 };

enum { LARGE = 1 << 30 };

/* By a reader who has to wait each time. Asked for as far as the window wants. */
static struct window_ask read_of(struct window *window, uint64_t first, size_t size, uint64_t file_size)
{
        window_late(window);
        struct window_ask ask = window_read(window, first, size, file_size, &limits);
        window_asked(window, ask.end);
        return ask;
}

static void assert_ask(struct window_ask ask, uint64_t first, uint64_t end)
{
        assert_int_equal(ask.first, first);
        assert_int_equal(ask.end, end);
}

static void assert_nothing(struct window_ask ask)
{
        assert_int_equal(ask.first, ask.end);
}

static void reads_here_and_there_ask_for_nothing_ahead(void **state)
{
        struct random random = { 1 };
        struct window window = { 0 };
        (void)state;
        for (int i = 0; i < 1000; i++)
                assert_nothing(read_of(&window, (uint64_t)random_below(&random, LARGE / 4096) * 4096, 4096, LARGE));
}

static void a_small_file_is_asked_for_whole(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_ask(read_of(&window, 0, 4096, 1000 * KIB), 0, 1000 * KIB);
        assert_nothing(read_of(&window, 4096, 4096, 1000 * KIB));
}

static void what_is_read_whole_needs_nothing_ahead(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_nothing(read_of(&window, 0, 5000, 5000));
}

static void a_large_read_at_the_start_opens_it(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_ask(read_of(&window, 0, 128 * KIB, LARGE), 0, 384 * KIB);
}

static void a_small_read_at_the_start_may_be_the_only_one(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_nothing(read_of(&window, 0, 16 * KIB, LARGE));
        assert_ask(read_of(&window, 16 * KIB, 32 * KIB, LARGE), 16 * KIB, 304 * KIB);
}

static void two_large_reads_in_sequence_open_it_anywhere(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_nothing(read_of(&window, 50 * MIB, 128 * KIB, LARGE));
        assert_ask(read_of(&window, 50 * MIB + 128 * KIB, 128 * KIB, LARGE), 50 * MIB + 128 * KIB,
                   50 * MIB + 512 * KIB);
}

static void three_small_reads_in_sequence_open_it(void **state)
{
        struct window window = { 0 };
        (void)state;
        assert_nothing(read_of(&window, 50 * MIB, 4096, LARGE));
        assert_nothing(read_of(&window, 50 * MIB + 4096, 4096, LARGE));
        assert_ask(read_of(&window, 50 * MIB + 8192, 4096, LARGE), 50 * MIB + 8192, 50 * MIB + 12288 + 256 * KIB);
}

static void it_doubles_each_time_half_of_it_was_read(void **state)
{
        struct window window = { 0 };
        (void)state;
        read_of(&window, 0, 128 * KIB, LARGE);
        assert_ask(read_of(&window, 128 * KIB, 128 * KIB, LARGE), 384 * KIB, 768 * KIB);
        assert_nothing(read_of(&window, 256 * KIB, 128 * KIB, LARGE));
        assert_ask(read_of(&window, 384 * KIB, 128 * KIB, LARGE), 768 * KIB, 1536 * KIB);
}

static void it_grows_to_the_limit_and_moves_on_by_pieces(void **state)
{
        struct window window = { 0 };
        uint64_t furthest = 0, at = 0;
        (void)state;
        for (; at < 256 * MIB; at += 128 * KIB) {
                struct window_ask ask = read_of(&window, at, 128 * KIB, LARGE);
                furthest = max_of(furthest, ask.end - at);
                assert_true(window.asked >= window.next + window.size / 2);
                if (at > 64 * MIB && ask.end > ask.first)
                        assert_int_equal(ask.end - ask.first, MIB);
        }
        assert_int_equal(window.size, limits.size);
        assert_true(furthest <= limits.size + 128 * KIB);
}

static void it_does_not_grow_for_who_need_not_wait(void **state)
{
        struct window window = { 0 };
        (void)state;
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                window_asked(&window, window_read(&window, at, 128 * KIB, LARGE, &limits).end);
        assert_int_equal(window.size, WINDOW_FIRST_BYTES);
        assert_true(window.asked >= window.next + WINDOW_FIRST_BYTES / 2);
}

static void nothing_behind_the_end_is_asked_for(void **state)
{
        struct window window = { 0 };
        uint64_t size = 3 * MIB + 77;
        (void)state;
        for (uint64_t at = 0; at < size; at += 128 * KIB)
                assert_true(read_of(&window, at, (size_t)min_of(128 * KIB, size - at), size).end <= size);
        assert_int_equal(window.asked, size);
}

static void reads_that_overtake_each_other_are_a_sequence(void **state)
{
        struct window window = { 0 };
        (void)state;
        read_of(&window, 10 * MIB, 128 * KIB, LARGE);
        read_of(&window, 10 * MIB + 256 * KIB, 128 * KIB, LARGE);
        assert_int_equal(window_place(&window, 10 * MIB + 128 * KIB, 128 * KIB), WINDOW_BEHIND);
        assert_int_equal(window_place(&window, 10 * MIB + 384 * KIB, 128 * KIB), WINDOW_FOLLOWS);
        assert_true(window.size > 0);
}

static void a_jump_within_it_stays_in_it(void **state)
{
        struct window window = { 0 };
        (void)state;
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                read_of(&window, at, 128 * KIB, LARGE);
        assert_int_equal(window_place(&window, window.asked - 128 * KIB, 128 * KIB), WINDOW_FOLLOWS);
        assert_int_equal(window_place(&window, window.asked + 512 * KIB, 128 * KIB), WINDOW_ELSEWHERE);
        assert_int_equal(window_place(&window, 7 * MIB, 128 * KIB), WINDOW_BEHIND);
        assert_int_equal(window_place(&window, 6 * MIB, 128 * KIB), WINDOW_ELSEWHERE);
}

static void a_jump_out_of_it_begins_anew(void **state)
{
        struct window window = { 0 };
        (void)state;
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                read_of(&window, at, 128 * KIB, LARGE);
        assert_nothing(read_of(&window, 500 * MIB, 128 * KIB, LARGE));
        assert_int_equal(window.size, 0);
}

static void reading_backward_asks_for_nothing_ahead(void **state)
{
        struct window window = { 0 };
        (void)state;
        for (uint64_t at = 100 * MIB; at > 0; at -= 128 * KIB)
                assert_nothing(read_of(&window, at, 128 * KIB, LARGE));
}

static void what_found_no_room_is_asked_for_again(void **state)
{
        struct window window = { 0 };
        (void)state;
        struct window_ask ask = window_read(&window, 0, 128 * KIB, LARGE, &limits);
        window_asked(&window, ask.first); /* nothing was */
        assert_ask(read_of(&window, 128 * KIB, 128 * KIB, LARGE), 128 * KIB, 768 * KIB);
}

static void it_shrinks_to_where_it_began(void **state)
{
        struct window window = { 0 };
        (void)state;
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                read_of(&window, at, 128 * KIB, LARGE);
        for (int i = 0; i < 20; i++)
                window_shrink(&window, 9 * MIB);
        assert_int_equal(window.size, WINDOW_FIRST_BYTES);
        assert_int_equal(window.asked, 9 * MIB);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_here_and_there_ask_for_nothing_ahead),
                cmocka_unit_test(a_small_file_is_asked_for_whole),
                cmocka_unit_test(what_is_read_whole_needs_nothing_ahead),
                cmocka_unit_test(a_large_read_at_the_start_opens_it),
                cmocka_unit_test(a_small_read_at_the_start_may_be_the_only_one),
                cmocka_unit_test(two_large_reads_in_sequence_open_it_anywhere),
                cmocka_unit_test(three_small_reads_in_sequence_open_it),
                cmocka_unit_test(it_doubles_each_time_half_of_it_was_read),
                cmocka_unit_test(it_grows_to_the_limit_and_moves_on_by_pieces),
                cmocka_unit_test(it_does_not_grow_for_who_need_not_wait),
                cmocka_unit_test(nothing_behind_the_end_is_asked_for),
                cmocka_unit_test(reads_that_overtake_each_other_are_a_sequence),
                cmocka_unit_test(a_jump_within_it_stays_in_it),
                cmocka_unit_test(a_jump_out_of_it_begins_anew),
                cmocka_unit_test(reading_backward_asks_for_nothing_ahead),
                cmocka_unit_test(what_found_no_room_is_asked_for_again),
                cmocka_unit_test(it_shrinks_to_where_it_began),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
