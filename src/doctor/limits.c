/* The table: a row for each parameter, with what the plan needs of it and why.
 *
 * A formula that is no plain count of connections says where it comes from.
 */
#include "doctor/doctor_priv.h"

#include <errno.h>

enum {
        LEAST_DESCRIPTORS = 1024, /* for any server */
        MOST_RINGS = 64,          /* whose tables hold all connections; more work, but waste time in setting up */
        BACKLOG = 4096,           /* what berth asks for in listen(2) */
        LEAST_BACKLOG = 128,      /* where waiting for a place is no worse than waiting for a processor */
        PACKET_QUEUE = 1000,      /* the kernel's default of netdev_max_backlog */
        MOST_PACKETS = 65536,
        FIN_SECONDS = 60, /* the kernel's default */
        SPARE_TASKS = 64, /* worker threads, of berth's own pool and of io_uring */
        FUSE_PAGES = 256, /* the kernel's default: 1 MiB in a request */
        CHAIN_LENGTH = 4, /* connections in a bucket of the hash table before looking one up becomes slow */
};

/* ---- what the plan needs ---- */

static uint64_t need_descriptors(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        if (doctor_needs_descriptors(plan))
                return doctor_with_spare(plan, plan->connections);
        return max_of((plan->connections + MOST_RINGS - 1) / MOST_RINGS, LEAST_DESCRIPTORS);
}

static uint64_t need_files(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return doctor_with_spare(plan, plan->files_used + plan->connections);
}

static uint64_t need_watches(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return plan->uring_error ? plan->connections : 0;
}

static uint64_t need_backlog(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return min_of(max_of(plan->connections / DOCTOR_BURST_SHARE, LEAST_BACKLOG), BACKLOG);
}

static uint64_t need_packet_queue(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return min_of(max_of(plan->connections / DOCTOR_BURST_SHARE, PACKET_QUEUE), MOST_PACKETS);
}

/* Any mode will do as long as one combination of addresses has enough ports; then mode 1. */
static uint64_t need_reuse(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        return plan->connections > plan->ports / 2 ? 1 : finding->value[0];
}

static uint64_t need_connections(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return plan->connections;
}

/* A page for each, as far as half of the machine's memory goes. */
static uint64_t need_pages(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        if (!plan->machine_bytes)
                return plan->connections;
        return min_of(plan->connections, plan->machine_bytes / 2 / plan->page_bytes);
}

static uint64_t need_fin_timeout(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)plan;
        (void)finding;
        return FIN_SECONDS;
}

/* What every socket may take even under pressure must fit half of the memory. */
static uint64_t need_small_minimum(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        if (!plan->memory_bytes)
                return finding->value[0];
        return max_of(plan->memory_bytes / 2 / plan->connections, plan->page_bytes);
}

/* A firewall whose rules look at no connection leaves the table empty, though the module is there. */
static uint64_t need_tracked(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return plan->tracked ? plan->tracked + plan->connections : 0;
}

static uint64_t need_buckets(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return plan->connections / CHAIN_LENGTH;
}

static uint64_t need_tasks(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        return finding->value[1] + plan->processors + SPARE_TASKS;
}

static uint64_t need_fuse_pages(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)plan;
        (void)finding;
        return FUSE_PAGES;
}

static uint64_t need_one(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)plan;
        (void)finding;
        return 1;
}

/* 1 leaves io_uring to a group and to root: fine when this process got its ring. */
static uint64_t need_uring_allowed(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        return plan->uring_error ? 0 : finding->value[0];
}

/* ---- what is needed, where it is not one number ---- */

static void want_uring(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        (void)finding;
        snprintf(out, size, "works");
}

static void want_madvise(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        (void)finding;
        snprintf(out, size, "madvise");
}

static void want_overcommit(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        snprintf(out, size, "%s", finding->verdict == DOCTOR_CHANGE ? "0" : "any");
}

/* Wider at both ends, never narrower. */
static void want_port_range(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        if (finding->verdict == DOCTOR_OK)
                snprintf(out, size, "%llu ports", (unsigned long long)finding->needed);
        else
                snprintf(out, size, "%llu %d", (unsigned long long)min_of(finding->value[1], plan->lowest_port),
                         DOCTOR_MAX_PORT);
}

/* The three numbers of tcp_mem: at the second the kernel begins to save, at the third it refuses. All only grow. */
static void want_socket_pages(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        const uint64_t *now = finding->value;
        if (finding->verdict != DOCTOR_RAISE) {
                snprintf(out, size, "%llu pages", (unsigned long long)finding->needed);
                return;
        }
        uint64_t high = finding->needed;
        uint64_t pressure = max_of(high - high / 4, now[1]), low = max_of(high / 2, now[0]);
        snprintf(out, size, "%llu %llu %llu", (unsigned long long)low, (unsigned long long)pressure,
                 (unsigned long long)high);
}

static void want_minimum(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        if (finding->verdict == DOCTOR_LOWER)
                snprintf(out, size, "%llu %llu %llu", (unsigned long long)finding->needed,
                         (unsigned long long)finding->value[1], (unsigned long long)finding->value[2]);
        else if (plan->memory_bytes)
                snprintf(out, size, "minimum <= %llu", (unsigned long long)finding->needed);
        else
                snprintf(out, size, "any");
}

/* ---- sentences that depend on the machine ---- */

static void explain_nofile(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        if (plan->uring_error)
                text_format(out, "Each connection needs a descriptor, since io_uring is not to be had and berth takes "
                                 "epoll; on io_uring this would not bound them. The hard limit counts: berth raises "
                                 "the soft one to it.");
        else if (!plan->direct)
                text_format(out, "Each connection needs a descriptor: only from Linux 6.8 on can io_uring do without. "
                                 "The hard limit counts: berth raises the soft one to it.");
        else
                text_format(out,
                            "Does not bound connections on io_uring: they are slots of its rings' tables, each "
                            "of at most this many, and berth adds rings as they fill; what is advised keeps them to "
                            "%d. On epoll (--engine epoll) each needs a descriptor.",
                            MOST_RINGS);
}

static void explain_nr_open(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        text_format(out, "The highest that RLIMIT_NOFILE can be raised to%s.",
                    doctor_needs_descriptors(plan) ? ", so it bounds the connections"
                                                   : "; does not bound them on io_uring");
}

static void explain_file_max(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        text_format(out, "Every connection is an open file of the whole machine; fs.file-nr counts %s of them now.",
                    figure_count(plan->files_used).text);
}

static void explain_ports(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        uint64_t widest = DOCTOR_MAX_PORT - plan->lowest_port + 1;
        text_format(out,
                    "A source address has that many ports to one destination address and port, and past half of "
                    "them connect(2) slows down a thousandfold: %s connections take %s such combinations, %s with "
                    "the widest range (berth serve --listen ADDR:PORT-PORT gives more destination ports, berth load "
                    "--source A-B more sources).",
                    figure_count(plan->connections).text,
                    figure_count(doctor_port_sets(plan->connections, plan->ports)).text,
                    figure_count(doctor_port_sets(plan->connections, widest)).text);
}

static void explain_socket_pages(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        text_format(out, "Pages that the data of all TCP sockets may take: quiet connections have none, a message to "
                         "all of them at once takes one each. At the third number the kernel refuses buffers and drops "
                         "segments, so that data waits; only connections without a program are reset.");
        if (finding->needed == plan->connections)
                return;
        text_format(out,
                    " One each would be more than half of the machine's memory, which is not advised: that is %s "
                    "pages.",
                    figure_count(finding->needed).text);
}

static void explain_conntrack(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        if (finding->verdict == DOCTOR_NOT_HERE)
                text_format(out, "The module nf_conntrack is not loaded, so nothing tracks connections.");
        else if (plan->tracked_error)
                text_format(out, "nf_conntrack_count cannot be read; if the firewall tracks connections, each needs an "
                                 "entry.");
        else if (!plan->tracked)
                text_format(out, "nf_conntrack is loaded but tracks no connection now, so it bounds nothing; if the "
                                 "firewall's rules begin to, each connection needs an entry.");
        else
                text_format(out,
                            "The firewall needs an entry for each connection and drops packets of further ones; "
                            "it tracks %s now.",
                            figure_count(plan->tracked).text);
}

static void explain_uring(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        if (!plan->uring_error)
                text_format(out, "A ring could be set up, so berth takes io_uring%s%s.",
                            plan->filtered ? "; the seccomp filter of this process lets it" : "",
                            plan->direct ? ""
                                         : "; before Linux 6.8 a socket of its tables cannot become a descriptor, so "
                                           "each connection has one");
        else if (plan->uring_error == EINVAL || plan->uring_error == ENOSYS)
                text_format(out,
                            "The kernel has no io_uring or one before Linux 5.19%s, so berth takes epoll, where "
                            "each connection needs a descriptor.",
                            plan->filtered ? " (or the seccomp filter hides it)" : "");
        else
                text_format(out,
                            "io_uring is refused (%s)%s, so berth takes epoll, where each connection needs a "
                            "descriptor.",
                            error_text(plan->uring_error),
                            plan->filtered ? "; this process has a seccomp filter, such as Docker's, which forbids it"
                                           : "");
}

/* ---- the rows ---- */

const struct doctor_row doctor_rows[] = {
        {
                .name = "memory",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = doctor_read_memory,
                .needed = doctor_need_memory,
                .want = doctor_want_bytes,
                .why = "The kernel keeps a socket, an inode and a file for each connection, berth a record; the "
                       "arithmetic is below.",
                .how = "more memory, less of it for other programs, or fewer connections",
        },
        {
                .name = "cgroup memory",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = doctor_read_cgroup_memory,
                .needed = doctor_need_memory,
                .want = doctor_want_bytes,
                .why = "What the kernel keeps for sockets counts against the control group of the process, and at its "
                       "limit the kernel kills.",
                .how = "MemoryMax= in the systemd unit, or docker run --memory",
        },
        {
                .name = "vm.overcommit_memory",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_EXACTLY,
                .demand = DOCTOR_MUST,
                .read = doctor_read_overcommit,
                .needed = doctor_need_none,
                .want = want_overcommit,
                .why = "With 2 the kernel grants only memory that it could back, which must leave room for berth's "
                       "pools and records.",
        },
        {
                .name = "transparent huge pages",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_EXACTLY,
                .may_be_away = true,
                .read = doctor_read_huge_pages,
                .needed = doctor_need_none,
                .want = want_madvise,
                .why = "With always, memory of which little is touched may take 2 MiB at a time instead of a page of "
                       "4096 bytes.",
                .how = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        },
        {
                .name = "RLIMIT_NOFILE",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST_WITH_DESCRIPTORS,
                .read = doctor_read_nofile,
                .needed = need_descriptors,
                .explain = explain_nofile,
                .how = "ulimit -n NUMBER in a root shell that starts berth, LimitNOFILE= in its systemd unit, or "
                       "/etc/security/limits.conf",
        },
        {
                .name = "fs.nr_open",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST_WITH_DESCRIPTORS,
                .needed = need_descriptors,
                .explain = explain_nr_open,
        },
        {
                .name = "fs.file-max",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .needed = need_files,
                .explain = explain_file_max,
        },
        {
                .name = "fs.epoll.max_user_watches",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST_ON_EPOLL,
                .may_be_away = true,
                .needed = need_watches,
                .why = "On epoll each connection is watched, and a user may have that many watches; io_uring needs "
                       "none.",
        },
        {
                .name = "io_uring, seccomp",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_EXACTLY,
                .read = doctor_read_uring,
                .needed = doctor_need_none,
                .want = want_uring,
                .explain = explain_uring,
                .how = "Linux 5.19 or later, kernel.io_uring_disabled 0, and a seccomp profile that allows "
                       "io_uring_setup, io_uring_enter and io_uring_register (docker run --security-opt "
                       "seccomp=FILE)",
        },
        {
                .name = "kernel.io_uring_disabled",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_EXACTLY,
                .may_be_away = true,
                .needed = need_uring_allowed,
                .why = "1 leaves io_uring to root and the group kernel.io_uring_group, 2 to nobody; then berth takes "
                       "epoll. It came with Linux 6.6.",
        },
        {
                .name = "RLIMIT_MEMLOCK",
                .role = DOCTOR_BOTH,
                .read = doctor_read_memlock,
                .needed = doctor_need_none,
                .why = "Bounds nothing: since Linux 5.12 rings count as the control group's memory, no longer as "
                       "locked memory, and berth takes io_uring from 5.19 on.",
                .how = "ulimit -l KIBIBYTES, or LimitMEMLOCK= in the systemd unit",
        },
        {
                .name = "cgroup pids",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = doctor_read_cgroup_pids,
                .needed = need_tasks,
                .why = "berth has a thread for each processor, and some for calls that block; beyond the limit none "
                       "starts, however many connections there are.",
                .how = "TasksMax= in the systemd unit, or docker run --pids-limit",
        },
        {
                .name = "net.core.somaxconn",
                .role = DOCTOR_SERVER,
                .needed = need_backlog,
                .why = "Connections that wait to be accepted, for each listener and thread: one in a hundred at "
                       "once, at most the 4096 of berth serve --backlog; more are dropped and try again after a "
                       "second.",
        },
        {
                .name = "net.ipv4.tcp_max_syn_backlog",
                .role = DOCTOR_SERVER,
                .needed = need_backlog,
                .why = "Connections whose handshake is under way, for each listener, when tcp_syncookies is 0; "
                       "otherwise somaxconn bounds these, too.",
        },
        {
                .name = "net.ipv4.tcp_syncookies",
                .role = DOCTOR_SERVER,
                .rule = DOCTOR_EXACTLY,
                .needed = need_one,
                .why = "1 answers with cookies when the queue is full: a defence, but connections made so may lose "
                       "window scaling and other TCP options, and the queue that is too small stays hidden; 0 leaves "
                       "the machine open to a SYN flood, 2 makes all connections so.",
        },
        {
                .name = "net.ipv4.tcp_abort_on_overflow",
                .role = DOCTOR_SERVER,
                .rule = DOCTOR_EXACTLY,
                .needed = doctor_need_none,
                .why = "1 turns a moment's overload into \"Connection reset by peer\"; with 0 the client tries again "
                       "by itself.",
        },
        {
                .name = "net.core.netdev_max_backlog",
                .role = DOCTOR_BOTH,
                .needed = need_packet_queue,
                .why = "Packets that wait for each processor, on loopback and with packet steering: one from every "
                       "hundredth connection at once; more are dropped and sent again.",
        },
        {
                .name = "net.ipv4.ip_local_port_range",
                .role = DOCTOR_CLIENT,
                .read = doctor_read_port_range,
                .needed = doctor_need_ports,
                .want = want_port_range,
                .explain = explain_ports,
        },
        {
                .name = "net.ipv4.tcp_tw_reuse",
                .role = DOCTOR_CLIENT,
                .rule = DOCTOR_EXACTLY,
                .needed = need_reuse,
                .why = "A port stays taken for 60 seconds after a close (TIME_WAIT); 1 lets connect(2) have it after "
                       "one second, 2 on loopback only, 0 never. It matters when connections come and go and need "
                       "more than half of the ports.",
        },
        {
                .name = "net.ipv4.tcp_max_tw_buckets",
                .role = DOCTOR_BOTH,
                .needed = need_connections,
                .why = "Connections in TIME_WAIT, when this side closes all at once; more are dropped without it, "
                       "and late packets can then meet a new connection.",
        },
        {
                .name = "net.ipv4.tcp_max_orphans",
                .role = DOCTOR_BOTH,
                .needed = need_connections,
                .why = "Connections that their program has closed and the kernel still ends in order, when all close "
                       "at once; more are reset, and answers under way are lost.",
        },
        {
                .name = "net.ipv4.tcp_fin_timeout",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_AT_MOST,
                .needed = need_fin_timeout,
                .why = "Seconds that a closed connection waits for the other side to close: longer, and more of them "
                       "pile up.",
        },
        {
                .name = "net.ipv4.tcp_mem",
                .role = DOCTOR_BOTH,
                .fields = 3,
                .judged = 2,
                .needed = need_pages,
                .want = want_socket_pages,
                .explain = explain_socket_pages,
        },
        {
                .name = "net.ipv4.tcp_rmem",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_AT_MOST,
                .fields = 3,
                .needed = need_small_minimum,
                .want = want_minimum,
                .why = "Bytes received and not yet read, for each connection: minimum, default, maximum. A quiet one "
                       "takes none and tcp_mem bounds the sum, but the minimum is granted even then, so all minima "
                       "should fit half of the memory.",
        },
        {
                .name = "net.ipv4.tcp_wmem",
                .role = DOCTOR_BOTH,
                .rule = DOCTOR_AT_MOST,
                .fields = 3,
                .needed = need_small_minimum,
                .want = want_minimum,
                .why = "Bytes sent and not yet confirmed, for each connection; as tcp_rmem.",
        },
        {
                .name = "net.ipv4.tcp_ehash_entries",
                .role = DOCTOR_BOTH,
                .may_be_away = true,
                .read = doctor_read_buckets,
                .needed = need_buckets,
                .why = "Buckets of the table in which the kernel looks up the connection of each packet: with more "
                       "than four in a bucket that becomes slower.",
                .how = "thash_entries=NUMBER on the kernel's command line",
        },
        {
                .name = "net.netfilter.nf_conntrack_max",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST_IF_TRACKED,
                .may_be_away = true,
                .read = doctor_read_tracked,
                .needed = need_tracked,
                .explain = explain_conntrack,
        },
        {
                .name = "fs.fuse.max_pages_limit",
                .role = DOCTOR_CLIENT,
                .may_be_away = true,
                .needed = need_fuse_pages,
                .why = "Pages that berth mount reads or writes in one request: 256 are 1 MiB, the kernel's default. "
                       "No matter of connections; it came with Linux 6.13.",
        },
};

const unsigned doctor_row_count = array_count(doctor_rows);
