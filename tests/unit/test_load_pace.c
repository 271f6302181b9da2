/* Schedules: when what is due. */
#include "help.h"
#include "load/load_priv.h"

static void a_rate_is_spread_evenly(void **state)
{
        struct load_pace pace;
        (void)state;

        load_pace_rate(&pace, 1000, 0, 1);
        pace.start_us = 5000000;
        for (uint64_t k = 0; k < 5000; k++)
                assert_in_range(load_pace_due(&pace, k), 5000000 + k * 1000 - (k > 0), 5000000 + k * 1000);
}

static void threads_take_turns(void **state)
{
        struct load_pace all, part;
        (void)state;

        load_pace_rate(&all, 700, 0, 1);
        for (uint32_t thread = 0; thread < 3; thread++) {
                load_pace_rate(&part, 700, thread, 3);
                for (uint64_t k = 0; k < 100; k++)
                        assert_int_equal(load_pace_due(&part, k), load_pace_due(&all, k * 3 + thread));
        }
}

/* A double has 53 bits: after weeks at millions a second a request is still due on its microsecond. */
static void a_long_run_keeps_its_rate(void **state)
{
        struct load_pace pace;
        const uint64_t k = 3000000ull * 86400 * 20;
        (void)state;

        load_pace_rate(&pace, 3000000, 0, 1);
        assert_in_range(load_pace_due(&pace, k), 86400ull * 20 * 1000000 - 1, 86400ull * 20 * 1000000 + 1);
}

static void each_client_has_its_turn_in_every_round(void **state)
{
        struct load_pace pace;
        (void)state;

        load_pace_each(&pace, 2, 0, 1, 10, 10);
        assert_int_equal(load_pace_due(&pace, 0), 0);
        assert_int_equal(load_pace_due(&pace, 3), 600000);
        assert_int_equal(load_pace_due(&pace, 10), 2000000);
        assert_int_equal(load_pace_due(&pace, 13), 2600000);
}

/* 5 clients over 2 threads: 0 2 4 and 1 3. */
static void rounds_of_threads_with_unequal_shares_interleave(void **state)
{
        struct load_pace first, second;
        (void)state;

        load_pace_each(&first, 5, 0, 2, 3, 5);
        load_pace_each(&second, 5, 1, 2, 2, 5);
        for (uint64_t round = 0; round < 50; round++) {
                for (uint64_t i = 0; i < 3; i++)
                        assert_int_equal(load_pace_due(&first, round * 3 + i), round * 5000000 + i * 2000000);
                for (uint64_t i = 0; i < 2; i++)
                        assert_int_equal(load_pace_due(&second, round * 2 + i),
                                         round * 5000000 + i * 2000000 + 1000000);
        }
}

static void nothing_is_due_from_the_end_on(void **state)
{
        struct load_pace pace;
        unsigned count = 0;
        (void)state;

        load_pace_rate(&pace, 100, 0, 1);
        pace.start_us = 1000;
        pace.end_us = 1000 + 1000000;
        for (; load_pace_next(&pace) != UINT64_MAX; pace.next++)
                count++;
        assert_int_equal(count, 100);
}

static void what_comes_to_be_due_is_counted_once(void **state)
{
        struct load_pace pace;
        (void)state;

        load_pace_rate(&pace, 1000, 0, 1);
        pace.end_us = 10000;
        assert_int_equal(load_pace_come(&pace, 2500), 3);
        assert_int_equal(load_pace_come(&pace, 2500), 0);
        assert_int_equal(load_pace_come(&pace, 60000), 7);
        assert_int_equal(pace.next, 0);
}

static void quiet_time_is_not_saved_up(void **state)
{
        struct load_pace pace;
        (void)state;

        load_pace_rate(&pace, 100, 1, 2);
        pace.start_us = 1000000;
        load_pace_skip(&pace, 500000);
        assert_int_equal(pace.next, 0);
        load_pace_skip(&pace, 61000000);
        assert_in_range(load_pace_next(&pace), 61000000 - 20000, 61000000 + 20000);
        load_pace_skip(&pace, 2000000); /* never back */
        assert_int_equal(pace.next, 3000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_rate_is_spread_evenly),
                cmocka_unit_test(threads_take_turns),
                cmocka_unit_test(a_long_run_keeps_its_rate),
                cmocka_unit_test(each_client_has_its_turn_in_every_round),
                cmocka_unit_test(rounds_of_threads_with_unequal_shares_interleave),
                cmocka_unit_test(nothing_is_due_from_the_end_on),
                cmocka_unit_test(what_comes_to_be_due_is_counted_once),
                cmocka_unit_test(quiet_time_is_not_saved_up),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
