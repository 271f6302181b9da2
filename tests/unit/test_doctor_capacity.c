/* The arithmetic of berth doctor. */
#include "help.h"

#include "doctor/doctor_priv.h"

#include <errno.h>

static struct doctor_plan plan_for(uint64_t connections, uint64_t memory_bytes)
{
        return (struct doctor_plan){
                .root = "",
                .connections = connections,
                .memory_bytes = memory_bytes,
                .memory_from = DOCTOR_MEMORY_GIVEN,
                .page_bytes = 4096,
                .processors = 4,
        };
}

static void a_connection_costs_what_its_parts_cost(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000, UINT64_C(1) << 30);
        for (int i = 0; i < 4; i++) {
                plan.uring_error = i & 1 ? EPERM : 0;
                plan.tracked = i & 2 ? 5 : 0;
                struct doctor_capacity capacity = doctor_capacity_of(&plan);
                uint64_t sum = 0;
                for (unsigned part = 0; part < capacity.part_count; part++)
                        sum += capacity.parts[part].bytes;
                assert_int_equal(capacity.kernel_each, sum);
                assert_int_equal(capacity.kernel_each, plan.tracked ? 4600 : 4200);
        }
}

static void the_sum_is_kernel_and_user(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000000, UINT64_C(8) << 30);
        struct doctor_capacity capacity = doctor_capacity_of(&plan);
        assert_int_equal(capacity.kernel_bytes, UINT64_C(4200000000));
        assert_int_equal(capacity.user_bytes, 128000000 + (100 << 20));
        assert_int_equal(capacity.needed_bytes, capacity.kernel_bytes + capacity.user_bytes);
        assert_int_equal(capacity.buffer_bytes, UINT64_C(4096000000));
}

static void the_most_that_fits_fits_and_one_more_does_not(void **state)
{
        (void)state;
        static const uint64_t sizes[] = { 200 << 20, UINT64_C(1) << 30, UINT64_C(24) << 30, UINT64_C(3) << 40 };
        for (size_t i = 0; i < array_count(sizes); i++) {
                struct doctor_plan plan = plan_for(1, sizes[i]);
                uint64_t most = doctor_capacity_of(&plan).most;
                assert_true(most > 0);
                plan.connections = most;
                assert_true(doctor_capacity_of(&plan).needed_bytes <= sizes[i]);
                plan.connections = most + 1;
                assert_true(doctor_capacity_of(&plan).needed_bytes > sizes[i]);
        }
}

static void memory_for_the_pools_alone_holds_none(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1, 0);
        assert_int_equal(doctor_capacity_most(&plan, 0), 0);
        assert_int_equal(doctor_capacity_most(&plan, 100 << 20), 0);
        assert_int_equal(doctor_capacity_most(&plan, (100 << 20) + 4327), 0);
        assert_int_equal(doctor_capacity_most(&plan, (100 << 20) + 4328), 1);
}

static void rounding_keeps_two_digits(void **state)
{
        (void)state;
        assert_int_equal(doctor_round_down(0), 0);
        assert_int_equal(doctor_round_down(7), 7);
        assert_int_equal(doctor_round_down(99), 99);
        assert_int_equal(doctor_round_down(109), 100);
        assert_int_equal(doctor_round_down(1234567), 1200000);
        assert_int_equal(doctor_round_down(UINT64_MAX), UINT64_C(18000000000000000000));
}

static void half_of_the_ports_is_used_of_each_combination(void **state)
{
        (void)state;
        assert_int_equal(doctor_port_sets(1, 28232), 1);
        assert_int_equal(doctor_port_sets(14116, 28232), 1);
        assert_int_equal(doctor_port_sets(14117, 28232), 2);
        assert_int_equal(doctor_port_sets(1000000, 64512), 32);
        assert_int_equal(doctor_port_sets(3, 1), 3); /* one port: no half of it */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_connection_costs_what_its_parts_cost),
                cmocka_unit_test(the_sum_is_kernel_and_user),
                cmocka_unit_test(the_most_that_fits_fits_and_one_more_does_not),
                cmocka_unit_test(memory_for_the_pools_alone_holds_none),
                cmocka_unit_test(rounding_keeps_two_digits),
                cmocka_unit_test(half_of_the_ports_is_used_of_each_combination),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
