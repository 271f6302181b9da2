/* Metrics of the kernel and of the process. What the kernel tells comes from the files it tells it in. A value that
 * cannot be had is left out, family and all: 0 would be a statement.
 */
#include "serve/metrics.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- what files of the kernel tell ---- */

#define NETSTAT "/proc/net/netstat"
#define SNMP "/proc/net/snmp"
#define SOCKSTAT "/proc/net/sockstat"

enum unit { ONES, PAGES, KIBIBYTES };

/* `group` NULL: the file is of numbers, and `index` says which. */
static const struct reading {
        const char *name, *type, *help;
        int (*net)(const char *path, const char *group, const char *field, uint64_t *value);
        const char *path, *group, *field;
        unsigned index;
        enum unit unit;
} readings[] = {
        { "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", NULL, "/proc/self/statm", NULL,
          NULL, 1, PAGES },
        { "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", NULL, "/proc/self/statm", NULL,
          NULL, 0, PAGES },
        { "berth_kernel_tcp_inuse_sockets", "gauge", "TCP sockets over IPv4 in use.", proc_line_value, SOCKSTAT,
          "TCP:", "inuse", 0, ONES },
        { "berth_kernel_tcp6_inuse_sockets", "gauge", "TCP sockets over IPv6 in use.", proc_line_value,
          "/proc/net/sockstat6", "TCP6:", "inuse", 0, ONES },
        { "berth_kernel_tcp_orphan_sockets", "gauge", "TCP sockets that no process has open any more.", proc_line_value,
          SOCKSTAT, "TCP:", "orphan", 0, ONES },
        { "berth_kernel_tcp_orphan_limit", "gauge", "Orphans past which the kernel resets them (tcp_max_orphans).",
          NULL, "/proc/sys/net/ipv4/tcp_max_orphans", NULL, NULL, 0, ONES },
        { "berth_kernel_tcp_timewait_sockets", "gauge", "TCP sockets in the state TIME-WAIT.", proc_line_value,
          SOCKSTAT, "TCP:", "tw", 0, ONES },
        { "berth_kernel_tcp_timewait_limit", "gauge", "Most sockets in TIME-WAIT (tcp_max_tw_buckets).", NULL,
          "/proc/sys/net/ipv4/tcp_max_tw_buckets", NULL, NULL, 0, ONES },
        { "berth_kernel_tcp_allocated_sockets", "gauge", "TCP sockets that take memory, in any state.", proc_line_value,
          SOCKSTAT, "TCP:", "alloc", 0, ONES },
        { "berth_kernel_tcp_memory_bytes", "gauge", "Memory in the buffers of all TCP sockets.", proc_line_value,
          SOCKSTAT, "TCP:", "mem", 0, PAGES },
        { "berth_kernel_tcp_memory_limit_bytes", "gauge", "Most memory for the buffers of all TCP sockets (tcp_mem).",
          NULL, "/proc/sys/net/ipv4/tcp_mem", NULL, NULL, 2, PAGES },
        { "berth_kernel_tcp_established", "gauge", "TCP connections established now.", proc_net_counter, SNMP,
          "Tcp:", "CurrEstab", 0, ONES },
        { "berth_kernel_tcp_retransmitted_segments_total", "counter", "TCP segments sent again.", proc_net_counter,
          SNMP, "Tcp:", "RetransSegs", 0, ONES },
        { "berth_kernel_listen_overflows_total", "counter", "Connections lost to a full accept queue.",
          proc_net_counter, NETSTAT, "TcpExt:", "ListenOverflows", 0, ONES },
        { "berth_kernel_listen_drops_total", "counter", "Connections that a listening socket lost for any reason.",
          proc_net_counter, NETSTAT, "TcpExt:", "ListenDrops", 0, ONES },
        { "berth_kernel_syn_queue_full_cookies_total", "counter", "SYNs answered by a cookie since the queue was full.",
          proc_net_counter, NETSTAT, "TcpExt:", "TCPReqQFullDoCookies", 0, ONES },
        { "berth_kernel_syn_queue_full_drops_total", "counter", "SYNs dropped since the queue was full.",
          proc_net_counter, NETSTAT, "TcpExt:", "TCPReqQFullDrop", 0, ONES },
        { "berth_kernel_tcp_aborts_on_memory_total", "counter", "TCP connections reset for want of memory.",
          proc_net_counter, NETSTAT, "TcpExt:", "TCPAbortOnMemory", 0, ONES },
        { "berth_kernel_tcp_timewait_overflows_total", "counter", "Sockets that found no room in TIME-WAIT.",
          proc_net_counter, NETSTAT, "TcpExt:", "TCPTimeWaitOverflow", 0, ONES },
        { "berth_kernel_files", "gauge", "Open files of the whole system.", NULL, "/proc/sys/fs/file-nr", NULL, NULL, 0,
          ONES },
        { "berth_kernel_files_limit", "gauge", "Most open files of the whole system (file-max).", NULL,
          "/proc/sys/fs/file-nr", NULL, NULL, 2, ONES },
        { "berth_kernel_memory_available_bytes", "gauge", "Memory that the kernel thinks can be had without swapping.",
          proc_line_value, "/proc/meminfo", "MemAvailable:", NULL, 0, KIBIBYTES },
};

static void put_reading(struct text *out, const struct reading *reading)
{
        const uint64_t bytes[] = { [ONES] = 1, [PAGES] = (uint64_t)sysconf(_SC_PAGESIZE), [KIBIBYTES] = 1024 };
        uint64_t value;
        int error = reading->net ? reading->net(reading->path, reading->group, reading->field, &value)
                                 : proc_number(reading->path, reading->index, &value);
        if (!error)
                metrics_put_single(out, reading->name, reading->type, reading->help, value * bytes[reading->unit]);
}

static void put_cgroup(struct text *out)
{
        uint64_t limit, used;
        if (proc_cgroup_memory("", &limit, &used) < 0)
                return;
        metrics_put_single(out, "berth_cgroup_memory_limit_bytes", "gauge", "Memory that the control group may use.",
                           limit);
        metrics_put_single(out, "berth_cgroup_memory_used_bytes", "gauge", "Memory that the control group uses.", used);
}

/* ---- the process ---- */

/* Since Linux 6.2 the folder's size is the answer. Before, its names have to be counted, which for a process with very
 * many descriptors is not worth it. */
static int64_t count_descriptors(void)
{
        enum { MOST_COUNTED = 1 << 15 };
        struct stat state;
        if (stat("/proc/self/fd", &state) == 0 && state.st_size > 0)
                return state.st_size;
        DIR *folder = opendir("/proc/self/fd");
        if (!folder)
                return -1;
        int64_t count = -3; /* ".", ".." and the one of this look */
        while (count < MOST_COUNTED && readdir(folder))
                count++;
        closedir(folder);
        return count < MOST_COUNTED ? count : -1;
}

static uint64_t micros_of(struct timeval time)
{
        return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void put_process(struct text *out, const struct metrics_identity *identity)
{
        struct rusage usage;
        if (getrusage(RUSAGE_SELF, &usage) == 0) {
                metrics_put_family(out, "process_cpu_seconds_total", "counter",
                                   "Total user and system CPU time spent in seconds.");
                metrics_put_micros(out, "process_cpu_seconds_total",
                                   micros_of(usage.ru_utime) + micros_of(usage.ru_stime));
        }
        if (identity->started_us) {
                metrics_put_family(out, "process_start_time_seconds", "gauge",
                                   "Start time of the process since unix epoch in seconds.");
                metrics_put_micros(out, "process_start_time_seconds", identity->started_us);
        }
        int64_t descriptors = count_descriptors();
        if (descriptors >= 0)
                metrics_put_single(out, "process_open_fds", "gauge", "Number of open file descriptors.",
                                   (uint64_t)descriptors);
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                metrics_put_single(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.",
                                   limit.rlim_cur);
}

/* The start in ticks since boot is the twenty-second field of /proc/self/stat, the twentieth behind the name, which
 * may hold anything. 0 when it cannot be found out. */
uint64_t metrics_started_us(void)
{
        char stat[1024];
        if (proc_read("/proc/self/stat", stat, sizeof(stat)) < 0)
                return 0;
        const char *at = strrchr(stat, ')');
        for (unsigned fields = 0; at && fields < 20; fields++)
                at = strchr(at + 1, ' ');
        struct timespec now, since_boot;
        clock_gettime(CLOCK_REALTIME, &now);
        if (!at || clock_gettime(CLOCK_BOOTTIME, &since_boot) < 0)
                return 0;
        uint64_t started_us = strtoull(at, NULL, 10) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
        uint64_t boot_us = (uint64_t)since_boot.tv_sec * 1000000 + (uint64_t)since_boot.tv_nsec / 1000;
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 - boot_us + started_us;
}

void metrics_put_system(struct text *out, const struct metrics_identity *identity)
{
        put_process(out, identity);
        for (unsigned i = 0; i < array_count(readings); i++)
                put_reading(out, &readings[i]);
        put_cgroup(out);
}
