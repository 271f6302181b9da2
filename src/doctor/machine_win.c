/* One look at the machine, and the plan that follows from it. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <windows.h>

#include <psapi.h>
#include <versionhelpers.h>

enum { DEFAULT_PORTS = 16384 /* from 49152 on */ };

static void plan_memory(struct doctor_plan *plan, uint64_t given_bytes)
{
        MEMORYSTATUSEX memory = { .dwLength = sizeof(memory) };
        bool known = GlobalMemoryStatusEx(&memory);
        plan->machine_bytes = known ? memory.ullTotalPhys : 0;
        plan->memory_from = known ? DOCTOR_MEMORY_AVAIL_PHYS : DOCTOR_MEMORY_UNKNOWN;
        plan->memory_bytes = known ? memory.ullAvailPhys : 0;
        if (given_bytes) {
                plan->memory_from = DOCTOR_MEMORY_GIVEN;
                plan->memory_bytes = given_bytes;
        }
}

/* What the system's pools and page files have, and this process's working set. */
static void look_at_memory(struct doctor_windows *windows)
{
        PERFORMANCE_INFORMATION system = { .cb = sizeof(system) };
        SIZE_T least, most;
        if (K32GetPerformanceInfo(&system, sizeof(system))) {
                uint64_t left = system.CommitLimit - min_of(system.CommitTotal, system.CommitLimit);
                windows->pool.value = (uint64_t)system.KernelNonpaged * system.PageSize;
                windows->commit_left.value = left * system.PageSize;
        } else {
                windows->pool.error = windows->commit_left.error = -ENODATA;
        }
        if (GetProcessWorkingSetSize(GetCurrentProcess(), &least, &most))
                windows->least_set.value = least;
        else
                windows->least_set.error = -ENODATA;
}

static void plan_ports(struct doctor_plan *plan)
{
        struct doctor_windows *windows = &plan->windows;
        windows->port_count.error = machine_ports(&windows->first_port, &windows->port_count.value);
        plan->ports = windows->port_count.error ? DEFAULT_PORTS : windows->port_count.value;
        plan->lowest_port = DOCTOR_WINDOWS_LOWEST_PORT;
}

void doctor_plan_make(struct doctor_plan *plan, const struct doctor_options *options)
{
        SYSTEM_INFO system;
        GetSystemInfo(&system);
        *plan = (struct doctor_plan){
                .root = "",
                .engine = "iocp",
                .page_bytes = system.dwPageSize,
                .processors = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS),
                .windows.client_edition = !IsWindowsServer(),
        };
        look_at_memory(&plan->windows);
        plan_ports(plan);
        plan_memory(plan, options->memory_bytes);
        doctor_plan_connections(plan, options->connections);
}
