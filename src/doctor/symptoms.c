/* What has gone wrong already: counters of the kernel since it started, and what is nearly full now.
 *
 * They do not decide whether the plan fits: a counter does not tell when it counted.
 */
#include "doctor/doctor_priv.h"

#include <errno.h>

enum source_kind {
        NONE,
        NETSTAT, /* name: of a counter in TcpExt */
        SOCKSTAT,
        NUMBER, /* name: of a file; field: which number in it */
        DROPPED,
        PORTS,
};

struct source {
        enum source_kind kind;
        const char *name;
        unsigned field;
};

struct symptom {
        const char *name;
        struct source value, limit;
        unsigned percent; /* of the limit, from which on it is bad */
        const char *meaning;
};

static const struct symptom table[] = {
        { "ListenOverflows",
          { .kind = NETSTAT, .name = "ListenOverflows" },
          { 0 },
          0,
          "Connections were dropped because a listener's queue was full: a program accepts too slowly, or its backlog "
          "or net.core.somaxconn is too small." },
        { "ListenDrops",
          { .kind = NETSTAT, .name = "ListenDrops" },
          { 0 },
          0,
          "Connections were dropped at a listener, for full queues or lack of memory." },
        { "TCPReqQFullDoCookies",
          { .kind = NETSTAT, .name = "TCPReqQFullDoCookies" },
          { 0 },
          0,
          "A listener's queue of handshakes was full and cookies took its place: a flood, or a backlog that is too "
          "small." },
        { "TCPReqQFullDrop",
          { .kind = NETSTAT, .name = "TCPReqQFullDrop" },
          { 0 },
          0,
          "A listener's queue of handshakes was full and, without cookies, connections were dropped." },
        { "TCPAbortOnMemory",
          { .kind = NETSTAT, .name = "TCPAbortOnMemory" },
          { 0 },
          0,
          "Connections were aborted for lack of memory: raise net.ipv4.tcp_mem or net.ipv4.tcp_max_orphans." },
        { "TCPMemoryPressures",
          { .kind = NETSTAT, .name = "TCPMemoryPressures" },
          { 0 },
          0,
          "The data of all TCP sockets passed the second number of net.ipv4.tcp_mem, and the kernel made windows "
          "smaller." },
        { "TCPTimeWaitOverflow",
          { .kind = NETSTAT, .name = "TCPTimeWaitOverflow" },
          { 0 },
          0,
          "Connections were dropped without TIME_WAIT: raise net.ipv4.tcp_max_tw_buckets." },
        { "PruneCalled",
          { .kind = NETSTAT, .name = "PruneCalled" },
          { 0 },
          0,
          "Sockets ran out of room for what arrives: programs that read slowly, or net.ipv4.tcp_rmem too small." },
        { "TCPBacklogDrop",
          { .kind = NETSTAT, .name = "TCPBacklogDrop" },
          { 0 },
          0,
          "Packets were dropped because a socket that was busy had too many waiting." },
        { "softnet drops",
          { .kind = DROPPED, .name = "/proc/net/softnet_stat" },
          { 0 },
          0,
          "Packets were dropped before any protocol saw them: raise net.core.netdev_max_backlog." },
        { "orphans",
          { .kind = SOCKSTAT, .name = "orphan" },
          { .kind = NUMBER, .name = "/proc/sys/net/ipv4/tcp_max_orphans" },
          50,
          "Half of the connections that may wait for their end without a program are there; the kernel resets more "
          "of them, sooner for those that send slowly." },
        { "TIME_WAIT",
          { .kind = SOCKSTAT, .name = "tw" },
          { .kind = PORTS },
          50,
          "As many connections are in TIME_WAIT as half of the local ports: if all go to one address and port, "
          "connect(2) becomes slow, then fails." },
        { "open files",
          { .kind = NUMBER, .name = "/proc/sys/fs/file-nr" },
          { .kind = NUMBER, .name = "/proc/sys/fs/file-nr", .field = 2 },
          80,
          "The machine is near fs.file-max; beyond it no program can open anything." },
        { "TCP memory pages",
          { .kind = SOCKSTAT, .name = "mem" },
          { .kind = NUMBER, .name = "/proc/sys/net/ipv4/tcp_mem", .field = 1 },
          100,
          "The data of all TCP sockets is past the second number of net.ipv4.tcp_mem, and the kernel makes windows "
          "smaller." },
        { "tracked connections",
          { .kind = NUMBER, .name = "/proc/sys/net/netfilter/nf_conntrack_count" },
          { .kind = NUMBER, .name = "/proc/sys/net/netfilter/nf_conntrack_max" },
          80,
          "The firewall's table is nearly full; then packets of new connections are dropped." },
};

_Static_assert(array_count(table) <= DOCTOR_SYMPTOMS, "room for all symptoms");

/* A line for each processor of hexadecimal numbers, of which the second counts packets dropped. */
static int read_dropped(const char *path, uint64_t *value)
{
        char content[32 << 10];
        int size = proc_read(path, content, sizeof(content));
        if (size < 0)
                return size;
        bool whole = (size_t)size < sizeof(content) - 1;
        struct span rest = { content, (size_t)size };
        *value = 0;
        while (rest.size > 0) {
                struct span line = span_cut(&rest, '\n');
                if (!rest.data && !whole)
                        break; /* the room ended in this one */
                char copy[32];
                unsigned dropped;
                snprintf(copy, sizeof(copy), "%.*s", (int)min_of(line.size, sizeof(copy) - 1), line.data);
                if (line.size > 0 && sscanf(copy, "%*8x %8x", &dropped) != 1)
                        return -EINVAL;
                *value += line.size > 0 ? dropped : 0;
        }
        return 0;
}

static int read_source(const struct doctor_plan *plan, const struct source *source, uint64_t *value)
{
        char path[DOCTOR_PATH_BYTES];
        switch (source->kind) {
        case NETSTAT:
                return proc_net_counter(doctor_path(plan, path, "/proc/net/netstat"), "TcpExt:", source->name, value);
        case SOCKSTAT:
                return proc_line_value(doctor_path(plan, path, "/proc/net/sockstat"), "TCP:", source->name, value);
        case NUMBER:
                return proc_number(doctor_path(plan, path, "%s", source->name), source->field, value);
        case DROPPED:
                return read_dropped(doctor_path(plan, path, "%s", source->name), value);
        case PORTS:
                *value = plan->ports;
                return 0;
        default:
                *value = 0;
                return 0;
        }
}

unsigned doctor_symptoms(const struct doctor_plan *plan, struct doctor_symptom symptoms[DOCTOR_SYMPTOMS])
{
        for (unsigned i = 0; i < array_count(table); i++) {
                const struct symptom *one = &table[i];
                struct doctor_symptom *out = &symptoms[i];
                *out = (struct doctor_symptom){ .name = one->name, .meaning = one->meaning };
                out->error = read_source(plan, &one->value, &out->value);
                if (!out->error)
                        out->error = read_source(plan, &one->limit, &out->limit);
                if (out->error)
                        continue;
                if (one->limit.kind == NONE)
                        out->bad = out->value > 0;
                else
                        out->bad = out->value / 100.0 >= out->limit / 100.0 * one->percent / 100;
        }
        return array_count(table);
}
