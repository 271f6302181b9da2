/* The table for Windows: a row for each limit, with what the plan needs of it and why. What is read stands in the plan
 * already (machine_win.c), but for values of the registry.
 */
#include "doctor/doctor_priv.h"

#include <errno.h>

enum {
        MOST_HANDLES = 1 << 24, /* of a process: "Kernel Objects" in the documentation of Windows */
        LOCKED_SHARE = 8,       /* of the memory, that all programs together may lock: MSDN Magazine, October 2000 */
        PIECE_BYTES = 64 << 10, /* that berth sends of a file at first, and holds locked meanwhile */
        ENLARGEMENTS = 64,      /* of the working set, by berth, when the kernel refuses to lock more */
        STEP_BYTES = 16 << 20,  /* by so much */
        MOST_ACCEPTS = 256,     /* that berth posts for a listener */
        MOST_COPIES = 4096,     /* answers that berth sends by way of buffers at a time, unless --max-sends says more */
        LEAST_TIME_WAIT = 30,   /* seconds, the shortest that TcpTimedWaitDelay takes */
        MOST_TIME_WAIT = 240,   /* where nothing is set; newer systems wait 120 */
};

/* Where the address space of the pool ends: "Memory Limits for Windows and Windows Server Releases". */
static const uint64_t MOST_POOL_BYTES = UINT64_C(16) << 40;

/* ---- what is now ---- */

static int read_pool(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_windows *windows = &plan->windows;
        uint64_t most = min_of(plan->machine_bytes, MOST_POOL_BYTES);
        if (windows->pool.error || !plan->machine_bytes)
                return windows->pool.error ? windows->pool.error : -ENODATA;
        finding->value[0] = most - min_of(windows->pool.value, most);
        doctor_now_is(finding, "%s of %s", figure_size(finding->value[0]).text, figure_size(most).text);
        return 0;
}

static int read_commit(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        finding->value[0] = plan->windows.commit_left.value;
        doctor_now_is(finding, "%s left", figure_size(finding->value[0]).text);
        return plan->windows.commit_left.error;
}

static int read_locked(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        if (!plan->machine_bytes)
                return -ENODATA;
        finding->value[0] = plan->machine_bytes / LOCKED_SHARE;
        doctor_now_is(finding, "%s", figure_size(finding->value[0]).text);
        return 0;
}

/* The first value is what it can become. */
static int read_working_set(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_windows *windows = &plan->windows;
        finding->value[0] = windows->least_set.value + (uint64_t)ENLARGEMENTS * STEP_BYTES;
        doctor_now_is(finding, "%s, can be %s", figure_size(windows->least_set.value).text,
                      figure_size(finding->value[0]).text);
        return windows->least_set.error;
}

static int read_handles(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        (void)plan;
        finding->value[0] = MOST_HANDLES;
        return 0;
}

static int read_accepts(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        (void)plan;
        finding->value[0] = MOST_ACCEPTS;
        return 0;
}

static int read_edition(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        finding->value[0] = plan->windows.client_edition ? MOST_COPIES : UINT64_MAX;
        if (plan->windows.client_edition)
                doctor_now_is(finding, "client: %d copied", MOST_COPIES);
        else
                doctor_now_is(finding, "server edition");
        return 0;
}

static int read_ports(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        const struct doctor_windows *windows = &plan->windows;
        finding->value[0] = windows->port_count.value;
        finding->value[1] = windows->first_port;
        doctor_now_is(finding, "start=%llu num=%llu", (unsigned long long)windows->first_port,
                      (unsigned long long)windows->port_count.value);
        return windows->port_count.error;
}

static int read_time_wait(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        int error = doctor_read_setting(plan, finding);
        if (error != -ENOENT)
                return error;
        finding->value[0] = MOST_TIME_WAIT;
        doctor_now_is(finding, "not set: 120 or 240");
        return 0;
}

/* ---- what the plan needs ---- */

static uint64_t need_pool(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return doctor_capacity_of(plan).kernel_bytes;
}

static uint64_t burst_of(const struct doctor_plan *plan)
{
        return (plan->connections + DOCTOR_BURST_SHARE - 1) / DOCTOR_BURST_SHARE;
}

/* A piece and the page that it does not begin with. */
static uint64_t need_locked(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return burst_of(plan) * (PIECE_BYTES + plan->page_bytes);
}

static uint64_t need_sends(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return burst_of(plan);
}

static uint64_t need_handles(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return doctor_with_spare(plan, plan->connections);
}

static uint64_t need_accepts(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        (void)finding;
        return min_of(burst_of(plan), MOST_ACCEPTS);
}

/* The highest port that is to be given out. */
static uint64_t need_highest_port(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        return min_of(DOCTOR_WINDOWS_LOWEST_PORT - 1 + doctor_need_ports(plan, finding), DOCTOR_MAX_PORT - 1);
}

/* Any will do as long as one combination of addresses has enough ports. */
static uint64_t need_time_wait(const struct doctor_plan *plan, const struct doctor_finding *finding)
{
        return plan->connections > plan->ports / 2 ? LEAST_TIME_WAIT : finding->value[0];
}

/* ---- what is needed, where it is not one number ---- */

static void want_ports(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size)
{
        (void)plan;
        snprintf(out, size, "%llu ports", (unsigned long long)finding->needed);
}

/* ---- sentences that depend on the machine ---- */

static void explain_locked(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        text_format(out,
                    "Pages that calls in flight hold in memory; all programs together may lock about an eighth of it. "
                    "Connections that wait lock none, since berth waits by receives of no bytes: with a buffer each, "
                    "%s receives would lock %s. Counted is one connection in a hundred that is sent a piece of a file "
                    "at once: %s x %s.",
                    figure_count(plan->connections).text, figure_size(plan->connections * plan->page_bytes).text,
                    figure_count(burst_of(plan)).text, figure_size(finding->needed / burst_of(plan)).text);
}

static void explain_accepts(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        uint64_t each = doctor_capacity_of(plan).kernel_each;
        text_format(out,
                    "Accepts that berth has posted for each listener at most (berth serve --accept-depth makes it "
                    "fewer): their number follows the load, who comes when there is none waits in the listener's "
                    "queue. Each holds a socket made beforehand, so all of them take %s of the non-paged pool.",
                    figure_size(finding->value[0] * each).text);
}

static void explain_ports(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out)
{
        (void)finding;
        text_format(out,
                    "A source address has that many ports to one destination address and port: %s connections, taking "
                    "half of them each, need %s such combinations, %s with the widest range (berth serve --listen "
                    "ADDR:PORT-PORT gives more destination ports, berth load --source A-B more sources).",
                    figure_count(plan->connections).text,
                    figure_count(doctor_port_sets(plan->connections, plan->ports)).text,
                    figure_count(doctor_port_sets(plan->connections, DOCTOR_MAX_PORT - DOCTOR_WINDOWS_LOWEST_PORT + 1))
                            .text);
}

/* ---- the rows ---- */

#define TCPIP "HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters"

const struct doctor_row doctor_rows[] = {
        {
                .name = "memory",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = doctor_read_memory,
                .needed = doctor_need_memory,
                .want = doctor_want_bytes,
                .why = "The kernel keeps a socket for each connection in the non-paged pool, berth a record; the "
                       "arithmetic is below.",
                .how = "more memory, less of it for other programs, or fewer connections",
        },
        {
                .name = "non-paged pool",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = read_pool,
                .needed = need_pool,
                .want = doctor_want_bytes,
                .why = "Kernel memory that stays in memory, where sockets and calls in flight are; it may grow to all "
                       "of the memory, at most 16 TiB. When none is left calls end with WSAENOBUFS, on the whole "
                       "machine.",
                .how = "more memory, fewer connections, or fewer drivers and programs that use the pool (poolmon)",
        },
        {
                .name = "commit limit",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = read_commit,
                .needed = doctor_need_memory,
                .want = doctor_want_bytes,
                .why = "Windows grants only memory that it could back by memory or page file, the pools of the kernel "
                       "included.",
                .how = "a larger page file (System Properties, Advanced, Performance, Virtual memory), or more memory",
        },
        {
                .name = "locked pages",
                .role = DOCTOR_BOTH,
                .read = read_locked,
                .needed = need_locked,
                .want = doctor_want_bytes,
                .explain = explain_locked,
                .how = "more memory, or fewer sends in flight (berth serve --max-sends)",
        },
        {
                .name = "working set",
                .role = DOCTOR_BOTH,
                .read = read_working_set,
                .needed = need_locked,
                .want = doctor_want_bytes,
                .why = "A process may lock about as much as its least working set. When the kernel refuses, berth "
                       "raises that by 16 MiB, 64 times at most, and tries again: what it can be counts.",
                .how = "more processes, or fewer sends in flight (berth serve --max-sends)",
        },
        {
                .name = "handles",
                .role = DOCTOR_BOTH,
                .demand = DOCTOR_MUST,
                .read = read_handles,
                .needed = need_handles,
                .why = "Each connection is a handle, and a process has 2^24 at most: that is fixed.",
                .how = "more processes",
        },
        {
                .name = "posted accepts",
                .role = DOCTOR_SERVER,
                .read = read_accepts,
                .needed = need_accepts,
                .explain = explain_accepts,
                .how = "more listeners: berth serve --listen with several ports",
        },
        {
                .name = "TransmitFile",
                .role = DOCTOR_SERVER,
                .read = read_edition,
                .needed = need_sends,
                .why = "Client editions let only two calls of TransmitFile run at a time on the whole machine, so "
                       "berth does not use it there: each answer under way has a buffer of 64 KiB, and there are as "
                       "many as --max-sends says. Counted is one connection in a hundred.",
                .how = "berth serve --max-sends N, as far as memory goes, or a server edition of Windows",
        },
        {
                .name = "dynamic port range",
                .role = DOCTOR_CLIENT,
                .read = read_ports,
                .needed = doctor_need_ports,
                .want = want_ports,
                .explain = explain_ports,
                .how = "netsh int ipv4 set dynamicport tcp start=1025 num=64511",
        },
        {
                .name = "MaxUserPort",
                .role = DOCTOR_CLIENT,
                .may_be_away = true,
                .needed = need_highest_port,
                .why = "The highest port for outgoing connections in Windows before Vista; where somebody has set it, "
                       "it may still cut the dynamic range.",
                .how = "reg delete " TCPIP " /v MaxUserPort, then a restart",
        },
        {
                .name = "TcpTimedWaitDelay",
                .role = DOCTOR_CLIENT,
                .rule = DOCTOR_AT_MOST,
                .read = read_time_wait,
                .needed = need_time_wait,
                .why = "Seconds that a port stays taken after a close (TIME_WAIT). It matters when connections come "
                       "and go and need more than half of the ports.",
                .how = "reg add " TCPIP " /v TcpTimedWaitDelay /t REG_DWORD /d 30, then a restart",
        },
};

const unsigned doctor_row_count = array_count(doctor_rows);
