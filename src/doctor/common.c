/* What the plan and the rows of every system have in common. No I/O. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <stdarg.h>

enum {
        DEFAULT_MOST = 1000000,
        DEFAULT_WITHOUT_MEMORY = 10000,
        SPARE_FILES = 256,        /* descriptors beside connections: listeners, rings, logs */
        THREAD_FILES = 1024 + 64, /* and for each thread: files that it keeps open, and its own */
};

void doctor_plan_connections(struct doctor_plan *plan, uint64_t given)
{
        plan->connections_given = given > 0;
        if (given)
                plan->connections = given;
        else if (plan->memory_from == DOCTOR_MEMORY_UNKNOWN)
                plan->connections = DEFAULT_WITHOUT_MEMORY;
        else
                plan->connections = doctor_round_down(doctor_capacity_most(plan, plan->memory_bytes));
        plan->connections = given ? given : min_of(max_of(plan->connections, 1), DEFAULT_MOST);
}

void doctor_now_is(struct doctor_finding *finding, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(finding->now, sizeof(finding->now), format, arguments);
        va_end(arguments);
}

int doctor_read_memory(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        if (plan->memory_from == DOCTOR_MEMORY_UNKNOWN)
                return -ENODATA;
        finding->value[0] = plan->memory_bytes;
        doctor_now_is(finding, "%s", figure_size(plan->memory_bytes).text);
        return 0;
}

uint64_t doctor_need_memory(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return doctor_capacity_of(plan).needed_bytes;
}

uint64_t doctor_with_spare(const struct doctor_plan *plan, uint64_t descriptors)
{
        return descriptors + SPARE_FILES + plan->processors * THREAD_FILES;
}

uint64_t doctor_need_ports(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return min_of(plan->connections * 2, DOCTOR_MAX_PORT - plan->lowest_port + 1);
}

uint64_t doctor_need_none(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)plan;
        (void)finding;
        return 0;
}

void doctor_want_bytes(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        snprintf(out, size, "%s", figure_size(finding->needed).text);
}
