/* The arithmetic of bounds: parts add up, what is asked for by number stays, what does not fit is refused. */
#include "help.h"

#include "serve/serve_priv.h"

#include <errno.h>
#include <unistd.h>

static const struct limits plenty = {
        .descriptors = 1 << 20, .sockets = INT32_MAX, .memory_bytes = 1ull << 40, .files = UINT64_MAX
};

static struct serve_options defaults(void)
{
        return (struct serve_options){ .limits = { .line_bytes = 8192, .head_bytes = 32768 } };
}

/* Standard error goes nowhere while this runs: what is refused is told there. */
static int quietly_make(struct budget *budget, const struct serve_options *options, const struct limits *limits,
                        unsigned shards)
{
        int before = dup(STDERR_FILENO);
        assert_non_null(freopen("/dev/null", "w", stderr));
        int error = budget_make(budget, options, limits, shards);
        fflush(stderr);
        dup2(before, STDERR_FILENO);
        close(before);
        return error;
}

static void test_parts_add_up_and_none_is_empty(void **state)
{
        (void)state;
        for (uint32_t whole = 1; whole < 60; whole++)
                for (unsigned shards = 1; shards <= whole; shards++) {
                        uint32_t sum = 0;
                        for (unsigned i = 0; i < shards; i++) {
                                uint32_t part = budget_share(whole, i, shards);
                                assert_in_range(part, whole / shards, whole / shards + 1);
                                assert_int_not_equal(part, 0);
                                sum += part;
                        }
                        assert_int_equal(sum, whole);
                }
        assert_int_equal(budget_share(UINT32_MAX, 0, 256) >= UINT32_MAX / 256, true);
}

static void test_all_backlogs_together_are_a_small_part_of_the_room(void **state)
{
        (void)state;
        assert_int_equal(budget_backlog(4096, UINT64_MAX, 2), 4096);
        assert_int_equal(budget_backlog(4096, 16 << 20, 2), (16 << 20) / 32 / 4200 / 2);
        assert_int_equal(budget_backlog(10, 16 << 20, 2), 10);
        assert_int_equal(budget_backlog(4096, 0, 2), 16);
        assert_int_equal(budget_backlog(4096, 1 << 30, 64 * 256), 16);
}

static void test_without_limits_a_million(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget budget;
        assert_int_equal(budget_make(&budget, &options, &plenty, 2), 0);
        assert_int_equal(budget.connections, 1000000);
        assert_int_equal(budget.sends, 65536);
        assert_int_equal(budget.kernel_bytes, 4200ull * 1000000);
        assert_in_range(budget.active, 1, budget.connections);
}

static void test_where_sockets_are_descriptors_some_are_left_for_files(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget budget;
        for (uint32_t descriptors = 32; descriptors <= 1 << 20; descriptors *= 2) {
                struct limits limits = plenty;
                limits.descriptors = limits.sockets = descriptors;
                assert_int_equal(budget_make(&budget, &options, &limits, 2), 0);
                assert_in_range(budget.connections, descriptors / 2, descriptors - 1);
                assert_true(budget.connections + budget.files < descriptors || descriptors <= 64);
        }
}

static void test_little_memory_or_few_files_mean_fewer_connections(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget budget;
        struct limits limits = plenty;
        limits.memory_bytes = 64 << 20;
        assert_int_equal(budget_make(&budget, &options, &limits, 2), 0);
        assert_in_range(budget.connections, 7000, 8000);
        limits = plenty;
        limits.files = 1000;
        assert_int_equal(budget_make(&budget, &options, &limits, 2), 0);
        assert_int_equal(budget.connections, 900);
        limits.files = 0;
        assert_int_equal(budget_make(&budget, &options, &limits, 2), 0);
        assert_int_equal(budget.connections, 2);
}

static void test_without_memory_the_bounds_fit_into_what_there_is(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget budget;
        struct limits limits = plenty;
        for (uint64_t mib = 64; mib <= 4096; mib *= 2) {
                limits.memory_bytes = mib << 20;
                assert_int_equal(quietly_make(&budget, &options, &limits, 2), 0);
                assert_true(budget.memory_bytes + budget.kernel_bytes <= limits.memory_bytes);
                assert_true(budget.kernel_bytes >= limits.memory_bytes / 5 * 2 || budget.connections == 1000000);
        }
        limits.memory_bytes = 8 << 20; /* too little for anything: only told */
        assert_int_equal(quietly_make(&budget, &options, &limits, 2), 0);
        assert_int_equal(budget.requests, 128);
        options.requests = 5000;
        assert_int_equal(quietly_make(&budget, &options, &limits, 2), 0);
        assert_int_equal(budget.requests, 5000);
}

static void test_what_was_asked_for_stays(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        options.connections = 1234;
        options.requests = 17;
        options.sends = 18;
        options.memory = 40 << 20;
        struct budget budget;
        assert_int_equal(budget_make(&budget, &options, &plenty, 2), 0);
        assert_int_equal(budget.connections, 1234);
        assert_int_equal(budget.requests, 17);
        assert_int_equal(budget.sends, 18);
        assert_true(budget.memory_bytes <= options.memory);
}

static void test_more_than_descriptors_allow_is_refused(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct limits limits = plenty;
        limits.sockets = limits.descriptors = 1024;
        options.connections = 1025;
        struct budget budget;
        assert_int_equal(quietly_make(&budget, &options, &limits, 2), -EINVAL);
        options.connections = 1024;
        assert_int_equal(quietly_make(&budget, &options, &limits, 2), 0);
}

static void test_memory_cuts_the_others_until_it_is_enough(void **state)
{
        (void)state;
        struct budget before = { .memory_bytes = UINT64_MAX }, budget;
        for (uint64_t mib = 1024; mib >= 1; mib = mib * 3 / 4) {
                for (unsigned shards = 1; shards <= 4; shards++) {
                        struct serve_options options = defaults();
                        options.memory = mib << 20;
                        int error = quietly_make(&budget, &options, &plenty, shards);
                        if (error) {
                                assert_int_equal(error, -EINVAL);
                                assert_true(mib < 16 + 8 * shards);
                                continue;
                        }
                        assert_true(budget.memory_bytes <= options.memory);
                        assert_true(budget.connections >= 256 * shards && budget.requests >= 64 * shards &&
                                    budget.sends >= 64 * shards && budget.listings >= shards);
                        assert_true(budget.active <= budget.connections);
                        if (shards == 1) {
                                assert_true(budget.memory_bytes <= before.memory_bytes);
                                before = budget;
                        }
                }
        }
}

static void test_memory_that_is_enough_changes_nothing(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget without, with;
        assert_int_equal(budget_make(&without, &options, &plenty, 3), 0);
        options.memory = without.memory_bytes;
        assert_int_equal(budget_make(&with, &options, &plenty, 3), 0);
        assert_memory_equal(&with, &without, sizeof(with));
}

static void test_where_files_go_by_way_of_memory_each_download_costs_a_buffer(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct limits limits = plenty;
        struct budget without, with;
        limits.file_bytes = 65536;
        assert_int_equal(budget_make(&with, &options, &limits, 2), 0);
        assert_int_equal(with.sends, 4096);
        options.sends = 4096;
        assert_int_equal(budget_make(&without, &options, &plenty, 2), 0);
        assert_true(with.memory_bytes - without.memory_bytes == 4096ull * 65536);
        options.sends = 0;
        options.memory = 128 << 20;
        assert_int_equal(budget_make(&with, &options, &limits, 2), 0);
        assert_true(with.memory_bytes <= options.memory && with.sends < 2048);
}

static void test_counting_addresses_costs(void **state)
{
        (void)state;
        struct serve_options options = defaults();
        struct budget without, with;
        options.connections = 100000;
        assert_int_equal(budget_make(&without, &options, &plenty, 2), 0);
        options.per_address = 10;
        assert_int_equal(budget_make(&with, &options, &plenty, 2), 0);
        assert_true(with.memory_bytes - without.memory_bytes >= 100000 * 28);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parts_add_up_and_none_is_empty),
                cmocka_unit_test(test_all_backlogs_together_are_a_small_part_of_the_room),
                cmocka_unit_test(test_without_limits_a_million),
                cmocka_unit_test(test_where_sockets_are_descriptors_some_are_left_for_files),
                cmocka_unit_test(test_little_memory_or_few_files_mean_fewer_connections),
                cmocka_unit_test(test_without_memory_the_bounds_fit_into_what_there_is),
                cmocka_unit_test(test_what_was_asked_for_stays),
                cmocka_unit_test(test_more_than_descriptors_allow_is_refused),
                cmocka_unit_test(test_memory_cuts_the_others_until_it_is_enough),
                cmocka_unit_test(test_memory_that_is_enough_changes_nothing),
                cmocka_unit_test(test_where_files_go_by_way_of_memory_each_download_costs_a_buffer),
                cmocka_unit_test(test_counting_addresses_costs),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
