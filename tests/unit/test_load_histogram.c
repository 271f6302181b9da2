/* The histogram of latencies, against values that were sorted. */
#include "help.h"
#include "load/load_priv.h"

static struct load_histogram *made(void)
{
        struct load_histogram *histogram = calloc(1, sizeof(*histogram));

        assert_non_null(histogram);
        return histogram;
}

static int ascending(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

/* Never below the exact value, and at most a thousandth above it. */
static void assert_close(uint64_t got, uint64_t exact)
{
        if (got < exact || got > exact + exact / 1000)
                fail_msg("%llu is not %llu to three digits", (unsigned long long)got, (unsigned long long)exact);
}

static void an_empty_one_knows_nothing(void **state)
{
        struct load_histogram *histogram = made();
        (void)state;

        assert_int_equal(load_histogram_count(histogram), 0);
        assert_int_equal(load_histogram_percentile(histogram, 50), 0);
        assert_int_equal(load_histogram_percentile(histogram, 100), 0);
        assert_int_equal(load_histogram_least(histogram), 0);
        assert_true(load_histogram_mean(histogram) == 0);
        free(histogram);
}

static void small_values_are_exact(void **state)
{
        struct load_histogram *histogram = made();
        (void)state;

        for (uint64_t us = 0; us < 2048; us++)
                load_histogram_record(histogram, us);
        for (unsigned i = 0; i < 2048; i++)
                assert_int_equal(load_histogram_value(i), i);
        assert_int_equal(load_histogram_percentile(histogram, 50), 1023);
        assert_int_equal(load_histogram_percentile(histogram, 0), 0);
        assert_int_equal(load_histogram_percentile(histogram, 100), 2047);
        assert_int_equal(load_histogram_least(histogram), 0);
        free(histogram);
}

static void percentiles_are_right_to_three_digits(void **state)
{
        enum { COUNT = 100000 };
        static const double percents[] = { 0, 1, 10, 50, 75, 90, 99, 99.9, 99.99, 99.999, 100 };
        uint64_t *values = malloc(COUNT * sizeof(*values));
        struct load_histogram *histogram = made();
        struct random random = { 7 };
        (void)state;

        for (unsigned i = 0; i < COUNT; i++) {
                values[i] = random_next(&random) % (1ull << (1 + random_below(&random, 31)));
                load_histogram_record(histogram, values[i]);
        }
        qsort(values, COUNT, sizeof(*values), ascending);
        for (unsigned i = 0; i < array_count(percents); i++) {
                double rank = percents[i] / 100 * COUNT;
                uint64_t index = (uint64_t)(rank + 1 - 1e-6);
                assert_close(load_histogram_percentile(histogram, percents[i]), values[index > 0 ? index - 1 : 0]);
        }
        assert_int_equal(load_histogram_percentile(histogram, 100), values[COUNT - 1]);
        assert_int_equal(load_histogram_count(histogram), COUNT);
        free(histogram);
        free(values);
}

static void every_value_lies_in_its_bucket(void **state)
{
        (void)state;

        for (unsigned i = 1; i < LOAD_BUCKETS; i++)
                assert_true(load_histogram_value(i) > load_histogram_value(i - 1));
        for (uint64_t us = 1; us <= LOAD_LONGEST_US; us = us * 3 / 2 + 1) {
                struct load_histogram *histogram = made();

                load_histogram_record(histogram, us);
                load_histogram_record(histogram, LOAD_LONGEST_US);
                assert_close(load_histogram_percentile(histogram, 50), us);
                free(histogram);
        }
}

static void what_is_longer_than_an_hour_counts_as_an_hour(void **state)
{
        struct load_histogram *histogram = made();
        (void)state;

        load_histogram_record(histogram, UINT64_MAX);
        assert_int_equal(load_histogram_most(histogram), LOAD_LONGEST_US);
        assert_int_equal(load_histogram_percentile(histogram, 50), LOAD_LONGEST_US);
        free(histogram);
}

static void sums_hold_what_the_parts_held(void **state)
{
        struct load_histogram *a = made(), *b = made(), *sum = made();
        (void)state;

        for (uint64_t us = 1; us <= 100; us++)
                load_histogram_record(us <= 50 ? a : b, us);
        load_histogram_add(sum, a);
        load_histogram_add(sum, b);
        assert_int_equal(load_histogram_count(sum), 100);
        assert_int_equal(load_histogram_percentile(sum, 90), 90);
        assert_int_equal(load_histogram_least(sum), 1);
        assert_int_equal(load_histogram_most(sum), 100);
        assert_true(load_histogram_mean(sum) == 50.5);
        free(a);
        free(b);
        free(sum);
}

static void a_difference_holds_what_came_later(void **state)
{
        struct load_histogram *now = made(), *earlier = made(), *between = made();
        (void)state;

        load_histogram_record(now, 1000000);
        memcpy(earlier, now, sizeof(*now));
        load_histogram_record(now, 10);
        load_histogram_record(now, 20);
        load_histogram_since(between, now, earlier);
        assert_int_equal(load_histogram_count(between), 2);
        assert_int_equal(load_histogram_most(between), 20);
        assert_int_equal(load_histogram_least(between), 10);
        load_histogram_since(between, now, now);
        assert_int_equal(load_histogram_count(between), 0);
        assert_int_equal(load_histogram_most(between), 0);
        free(now);
        free(earlier);
        free(between);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_empty_one_knows_nothing),
                cmocka_unit_test(small_values_are_exact),
                cmocka_unit_test(percentiles_are_right_to_three_digits),
                cmocka_unit_test(every_value_lies_in_its_bucket),
                cmocka_unit_test(what_is_longer_than_an_hour_counts_as_an_hour),
                cmocka_unit_test(sums_hold_what_the_parts_held),
                cmocka_unit_test(a_difference_holds_what_came_later),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
