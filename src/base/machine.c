/* What the system gives a process: cores, descriptors, files. */
#include "base/base.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

unsigned machine_cores(void)
{
        cpu_set_t cores;
        return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? (unsigned)CPU_COUNT(&cores) : 1;
}

uint32_t machine_connection_bytes(void)
{
        return LINUX_CONNECTION_BYTES;
}

uint32_t machine_raise_descriptors(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1024;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
        return (uint32_t)min_of(limit.rlim_cur, (rlim_t)INT32_MAX);
}

uint64_t machine_files(void)
{
        uint64_t open, most;
        if (proc_number("/proc/sys/fs/file-nr", 0, &open) < 0 || proc_number("/proc/sys/fs/file-max", 0, &most) < 0)
                return UINT64_MAX;
        return most > open ? most - open : 0;
}

uint64_t machine_backlog(void)
{
        uint64_t most;
        return proc_number("/proc/sys/net/core/somaxconn", 0, &most) == 0 ? most : UINT64_MAX;
}

void machine_sleep_ms(unsigned ms)
{
        usleep(ms * 1000);
}
