/* What the system gives a process: cores and memory. Handles are bounded by memory alone, files by nothing. */
#include "base/base.h"

#include <errno.h>
#include <windows.h>

unsigned machine_cores(void)
{
        DWORD_PTR process, whole;
        if (!GetProcessAffinityMask(GetCurrentProcess(), &process, &whole) || process == 0)
                return 1;
        return (unsigned)__builtin_popcountll(process);
}

uint32_t machine_connection_bytes(void)
{
        return WINDOWS_CONNECTION_BYTES;
}

uint32_t machine_raise_descriptors(void)
{
        return 1 << 24; /* handles of a process */
}

uint64_t machine_files(void)
{
        return UINT64_MAX;
}

uint64_t machine_backlog(void)
{
        return UINT64_MAX;
}

void machine_sleep_ms(unsigned ms)
{
        Sleep(ms);
}

/* ---- what proc.c tells elsewhere: there are no control groups, and a job's limit is no number that one can watch ---- */

int proc_cgroup_memory(const char *root, uint64_t *limit, uint64_t *used)
{
        (void)root;
        *limit = *used = 0;
        return -ENOENT;
}

/* Pages are committed when they are asked for: so no more than the page file has left, either. */
uint64_t proc_free_memory(const char *root, bool *grouped)
{
        MEMORYSTATUSEX memory = { .dwLength = sizeof(memory) };
        (void)root;
        if (grouped)
                *grouped = false;
        if (!GlobalMemoryStatusEx(&memory))
                return UINT64_MAX;
        return min_of(memory.ullAvailPhys, memory.ullAvailPageFile);
}
