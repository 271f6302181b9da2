/* Metrics of the process and the memory of the machine, as Windows tells them. A value that cannot be had is left out,
 * family and all: 0 would be a statement.
 */
#include "serve/metrics.h"

#include <windows.h>

#include <psapi.h>

enum { EPOCH_1970 = 116444736 }; /* hundreds of seconds from 1601, where Windows begins to count */

static uint64_t micros_of(FILETIME time)
{
        return ((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) / 10;
}

static bool process_times(FILETIME *started, FILETIME *kernel, FILETIME *user)
{
        FILETIME ended;
        return GetProcessTimes(GetCurrentProcess(), started, &ended, kernel, user);
}

uint64_t metrics_started_us(void)
{
        FILETIME started, kernel, user;
        uint64_t before_us = EPOCH_1970 * UINT64_C(100000000);
        return process_times(&started, &kernel, &user) ? micros_of(started) - before_us : 0;
}

static void put_process(struct text *out, const struct metrics_identity *identity)
{
        FILETIME started, kernel, user;
        DWORD handles;
        if (process_times(&started, &kernel, &user)) {
                metrics_put_family(out, "process_cpu_seconds_total", "counter",
                                   "Total user and system CPU time spent in seconds.");
                metrics_put_micros(out, "process_cpu_seconds_total", micros_of(kernel) + micros_of(user));
        }
        if (identity->started_us) {
                metrics_put_family(out, "process_start_time_seconds", "gauge",
                                   "Start time of the process since unix epoch in seconds.");
                metrics_put_micros(out, "process_start_time_seconds", identity->started_us);
        }
        if (GetProcessHandleCount(GetCurrentProcess(), &handles))
                metrics_put_single(out, "process_open_handles", "gauge", "Handles of the process.", handles);
}

static void put_memory(struct text *out)
{
        PROCESS_MEMORY_COUNTERS memory = { .cb = sizeof(memory) };
        MEMORYSTATUSEX machine = { .dwLength = sizeof(machine) };
        if (K32GetProcessMemoryInfo(GetCurrentProcess(), &memory, sizeof(memory))) {
                metrics_put_single(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.",
                                   memory.WorkingSetSize);
                metrics_put_single(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.",
                                   memory.PagefileUsage);
        }
        if (GlobalMemoryStatusEx(&machine))
                metrics_put_single(out, "berth_kernel_memory_available_bytes", "gauge",
                                   "Memory that the kernel thinks can be had without swapping.", machine.ullAvailPhys);
}

void metrics_put_system(struct text *out, const struct metrics_identity *identity)
{
        put_process(out, identity);
        put_memory(out);
}
