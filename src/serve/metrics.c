/* The counters as Prometheus reads them (text format 0.0.4): a family at a time, its HELP, its TYPE, then its samples.
 *
 * Nearly all of it is tables: what the shards count is summed up as it is read, what the kernel tells comes from the
 * files it tells it in. A value that cannot be had is left out, family and all: 0 would be a statement.
 */
#include "serve/metrics.h"
#include "serve/serve_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- histograms ---- */

struct bound {
        uint64_t most; /* inclusive */
        const char *text;
};

/* From an answer out of memory to a large file for somebody far away. */
static const struct bound duration_bounds[DURATION_BUCKETS] = {
        { 100, "0.0001" }, { 500, "0.0005" },  { 1000, "0.001" },  { 5000, "0.005" },
        { 10000, "0.01" }, { 50000, "0.05" },  { 100000, "0.1" },  { 500000, "0.5" },
        { 1000000, "1" },  { 10000000, "10" }, { 60000000, "60" }, { 600000000, "600" },
};

static const struct bound size_bounds[SIZE_BUCKETS] = {
        { 256, "256" },
        { 1 << 10, "1024" },
        { 4 << 10, "4096" },
        { 16 << 10, "16384" },
        { 64 << 10, "65536" },
        { 256 << 10, "262144" },
        { 1 << 20, "1048576" },
        { 16 << 20, "16777216" },
        { 256 << 20, "268435456" },
        { 1ull << 32, "4294967296" },
};

static unsigned bucket_of(const struct bound *bounds, unsigned count, uint64_t value)
{
        unsigned at = 0;
        while (at < count && value > bounds[at].most)
                at++;
        return at;
}

void metrics_request(struct counters *counters, unsigned method, int status, uint64_t body_bytes, uint64_t microseconds)
{
        ensure(method < HTTP_METHODS && status >= 0 && status < STATUS_COUNT);
        count_add(&counters->requests[method][status], 1);
        count_add(&counters->durations[bucket_of(duration_bounds, DURATION_BUCKETS, microseconds)], 1);
        count_add(&counters->duration_us, microseconds);
        count_add(&counters->sizes[bucket_of(size_bounds, SIZE_BUCKETS, body_bytes)], 1);
        count_add(&counters->size_bytes, body_bytes);
}

/* ---- lines: each is put whole, so that one that does not fit leaves nothing of itself ---- */

static void put_family(struct text *out, const char *name, const char *type, const char *help)
{
        text_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_sample(struct text *out, const char *name, uint64_t value)
{
        text_format(out, "%s %llu\n", name, (unsigned long long)value);
}

static void put_micros(struct text *out, const char *name, uint64_t micros)
{
        text_format(out, "%s %llu.%06llu\n", name, (unsigned long long)micros / 1000000,
                    (unsigned long long)micros % 1000000);
}

static void put_single(struct text *out, const char *name, const char *type, const char *help, uint64_t value)
{
        put_family(out, name, type, help);
        put_sample(out, name, value);
}

/* ---- what the shards count ---- */

#define AT(member) offsetof(struct counters, member)

static uint64_t sum_at(const struct server *server, size_t offset)
{
        uint64_t sum = 0;
        for (unsigned i = 0; i < server->shard_count; i++)
                sum += count_of((const counter *)((const char *)&server->shards[i]->counters + offset));
        return sum;
}

static const struct single {
        const char *name, *type, *help;
        size_t at;
} singles[] = {
        { "berth_accepted_total", "counter", "Connections accepted.", AT(accepted) },
        { "berth_accepts_per_second", "gauge", "Connections accepted in the last whole second.",
          AT(accepts_per_second) },
        { "berth_received_bytes_total", "counter", "Bytes received from clients.", AT(received_bytes) },
        { "berth_sent_bytes_total", "counter", "Bytes of response bodies sent to clients.", AT(sent_bytes) },
        { "berth_password_checks_total", "counter", "Passwords that had to be hashed to be checked.",
          AT(password_checks) },
        { "berth_port_rings", "gauge", "Rings of io_uring in use; 0 with another engine.", AT(rings) },
        { "berth_port_handles", "gauge", "Sockets of clients that the ports hold.", AT(handles) },
        { "berth_port_starved_receives_total", "counter", "Receives that had to wait for a buffer.", AT(starved) },
        { "berth_port_cold_windows_total", "counter", "Parts of files that had to be read from the disk to be sent.",
          AT(cold_windows) },
};

static const char *const state_names[CONN_STATE_COUNT] = {
        [CONN_HOT] = "hot",         [CONN_RESTING] = "resting",     [CONN_WAITING] = "waiting", [CONN_BUSY] = "busy",
        [CONN_SENDING] = "sending", [CONN_LINGERING] = "lingering", [CONN_CLOSING] = "closing",
};

static const char *const refusal_names[REFUSAL_COUNT] = {
        [REFUSED_DESCRIPTORS] = "descriptors",
        [REFUSED_MEMORY] = "memory",
        [REFUSED_CONNECTIONS] = "connections",
        [REFUSED_ADDRESS] = "address",
        [REFUSED_REQUESTS] = "requests",
        [REFUSED_SENDS] = "sends",
        [REFUSED_LISTINGS] = "listings",
        [REFUSED_CHANGES] = "changes",
        [REFUSED_HEADS] = "heads",
        [REFUSED_OPERATION] = "operations",
        [REFUSED_BUFFERS] = "buffers",
        [REFUSED_FILES] = "files",
        [SHED_IDLE] = "shed_idle",
        [LATE_HEAD] = "late_head",
        [LATE_BODY] = "late_body",
        [STALLED_READER] = "stalled_reader",
        [REFUSED_AUTH] = "auth",
};

static const char *const pool_names[POOL_COUNT] = {
        [POOL_CONNECTIONS] = "connections", [POOL_ACTIVE] = "active",         [POOL_REQUESTS] = "requests",
        [POOL_DOWNLOADS] = "downloads",     [POOL_BUFFERS] = "buffers",       [POOL_FILES] = "files",
        [POOL_LISTINGS] = "listings",       [POOL_LONG_HEADS] = "long_heads", [POOL_CHANGES] = "changes",
};

static const struct vector {
        const char *name, *type, *help, *label;
        const char *const *values;
        unsigned count;
        size_t at;
} vectors[] = {
        { "berth_connections", "gauge", "Connections by what they are doing.", "state", state_names, CONN_STATE_COUNT,
          AT(states) },
        { "berth_refusals_total", "counter", "Clients that were not served, or not any longer, by reason.", "reason",
          refusal_names, REFUSAL_COUNT, AT(refusals) },
        { "berth_pool_used", "gauge", "Entries of each pool in use.", "pool", pool_names, POOL_COUNT, AT(used) },
        { "berth_pool_limit", "gauge", "Entries that each pool can have.", "pool", pool_names, POOL_COUNT, AT(limit) },
        { "berth_memory_bytes", "gauge", "Memory that each pool has taken.", "pool", pool_names, POOL_COUNT,
          AT(bytes) },
};

static void put_vector(struct text *out, const struct server *server, const struct vector *vector)
{
        put_family(out, vector->name, vector->type, vector->help);
        for (unsigned i = 0; i < vector->count; i++)
                text_format(out, "%s{%s=\"%s\"} %llu\n", vector->name, vector->label, vector->values[i],
                            (unsigned long long)sum_at(server, vector->at + i * sizeof(counter)));
}

/* A combination that never happened is not there: there are 9,000. */
static void put_requests(struct text *out, const struct server *server)
{
        put_family(out, "berth_requests_total", "counter", "Requests by method and status of the answer.");
        for (unsigned method = 0; method < HTTP_METHODS; method++) {
                for (unsigned status = 0; status < STATUS_COUNT; status++) {
                        uint64_t n = sum_at(server, AT(requests) + (method * STATUS_COUNT + status) * sizeof(counter));
                        if (n)
                                text_format(out, "berth_requests_total{method=\"%s\",status=\"%u\"} %llu\n",
                                            http_method_name(method), status, (unsigned long long)n);
                }
        }
}

/* The buckets are read once each, so that the count is that of the last bucket whatever the shards do meanwhile. */
static void put_buckets(struct text *out, const struct server *server, const char *name, const struct bound *bounds,
                        unsigned count, size_t at)
{
        uint64_t below = 0;
        for (unsigned i = 0; i <= count; i++) {
                below += sum_at(server, at + i * sizeof(counter));
                text_format(out, "%s_bucket{le=\"%s\"} %llu\n", name, i < count ? bounds[i].text : "+Inf",
                            (unsigned long long)below);
        }
        text_format(out, "%s_count %llu\n", name, (unsigned long long)below);
}

static void put_histograms(struct text *out, const struct server *server)
{
        put_family(out, "berth_request_duration_seconds", "histogram",
                   "Time from a request's head to the last byte of its answer.");
        put_buckets(out, server, "berth_request_duration_seconds", duration_bounds, DURATION_BUCKETS, AT(durations));
        put_micros(out, "berth_request_duration_seconds_sum", sum_at(server, AT(duration_us)));
        put_family(out, "berth_response_size_bytes", "histogram", "Bytes sent of a response's body.");
        put_buckets(out, server, "berth_response_size_bytes", size_bounds, SIZE_BUCKETS, AT(sizes));
        put_sample(out, "berth_response_size_bytes_sum", sum_at(server, AT(size_bytes)));
}

static void put_server(struct text *out, const struct server *server, const struct metrics_identity *identity)
{
        put_family(out, "berth_build_info", "gauge", "What is running; always 1.");
        text_format(out, "berth_build_info{version=\"%s\",engine=\"%s\"} 1\n", BERTH_VERSION, identity->engine);
        put_single(out, "berth_shards", "gauge", "Threads that serve, each with its own connections.",
                   server->shard_count);
        put_single(out, "berth_draining", "gauge", "1 while the server finishes and accepts nothing new.",
                   atomic_load(&server->draining));
        for (unsigned i = 0; i < array_count(singles); i++)
                put_single(out, singles[i].name, singles[i].type, singles[i].help, sum_at(server, singles[i].at));
        for (unsigned i = 0; i < array_count(vectors); i++)
                put_vector(out, server, &vectors[i]);
        put_requests(out, server);
        put_histograms(out, server);
}

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
                put_single(out, reading->name, reading->type, reading->help, value * bytes[reading->unit]);
}

static void put_cgroup(struct text *out)
{
        uint64_t limit, used;
        if (proc_cgroup_memory("", &limit, &used) < 0)
                return;
        put_single(out, "berth_cgroup_memory_limit_bytes", "gauge", "Memory that the control group may use.", limit);
        put_single(out, "berth_cgroup_memory_used_bytes", "gauge", "Memory that the control group uses.", used);
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
                put_family(out, "process_cpu_seconds_total", "counter",
                           "Total user and system CPU time spent in seconds.");
                put_micros(out, "process_cpu_seconds_total", micros_of(usage.ru_utime) + micros_of(usage.ru_stime));
        }
        if (identity->started_us) {
                put_family(out, "process_start_time_seconds", "gauge",
                           "Start time of the process since unix epoch in seconds.");
                put_micros(out, "process_start_time_seconds", identity->started_us);
        }
        int64_t descriptors = count_descriptors();
        if (descriptors >= 0)
                put_single(out, "process_open_fds", "gauge", "Number of open file descriptors.", (uint64_t)descriptors);
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
                put_single(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.", limit.rlim_cur);
}

/* The start in ticks since boot is the twenty-second field of /proc/self/stat, the twentieth behind the name, which
 * may hold anything. 0 when it cannot be found out. */
static uint64_t process_start_us(void)
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

/* ---- all of it ---- */

void metrics_identify(struct metrics_identity *identity, const struct server *server)
{
        ensure(server->shard_count > 0);
        *identity = (struct metrics_identity){
                .engine = berth_port_engine(server->shards[0]->port),
                .started_us = process_start_us(),
        };
}

void metrics_write(struct text *out, const struct server *server, const struct metrics_identity *identity)
{
        put_server(out, server, identity);
        put_process(out, identity);
        for (unsigned i = 0; i < array_count(readings); i++)
                put_reading(out, &readings[i]);
        put_cgroup(out);
}
