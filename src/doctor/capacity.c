/* The arithmetic: what a quiet connection costs, and how many the memory holds. What it is made of each system tells
 * (cost.c, cost_win.c). */
#include "doctor/doctor_priv.h"

void doctor_add_part(struct doctor_capacity *capacity, const char *what, uint64_t bytes)
{
        ensure(capacity->part_count < array_count(capacity->parts));
        capacity->parts[capacity->part_count++] = (struct doctor_part){ what, bytes };
        capacity->kernel_each += bytes;
}

struct doctor_capacity doctor_capacity_of(const struct doctor_plan *plan)
{
        struct doctor_capacity capacity = { 0 };
        doctor_cost(plan, &capacity);
        capacity.kernel_bytes = plan->connections * capacity.kernel_each;
        capacity.user_bytes = plan->connections * capacity.user_each + capacity.fixed_bytes;
        capacity.needed_bytes = capacity.kernel_bytes + capacity.user_bytes;
        capacity.buffer_bytes = plan->connections * plan->page_bytes;
        capacity.most = doctor_capacity_most(plan, plan->memory_bytes);
        return capacity;
}

uint64_t doctor_capacity_most(const struct doctor_plan *plan, uint64_t memory_bytes)
{
        struct doctor_capacity capacity = { 0 };
        doctor_cost(plan, &capacity);
        if (memory_bytes <= capacity.fixed_bytes)
                return 0;
        return (memory_bytes - capacity.fixed_bytes) / (capacity.kernel_each + capacity.user_each);
}

uint64_t doctor_round_down(uint64_t value)
{
        uint64_t unit = 1;
        while (value / unit >= 100)
                unit *= 10;
        return value / unit * unit;
}

uint64_t doctor_port_sets(uint64_t connections, uint64_t ports)
{
        uint64_t each = max_of(ports / 2, 1);
        return (connections + each - 1) / each;
}
