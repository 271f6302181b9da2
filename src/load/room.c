/* What Linux has room for: ports, descriptors, memory of our own. */
#include "load/load_priv.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RESERVED_DESCRIPTORS = 64 };

const char load_range_name[] = "net.ipv4.ip_local_port_range";

int load_ports(uint64_t *count)
{
        uint64_t first;
        if (machine_ports(&first, count) == 0)
                return 0;
        complain("cannot read %s", load_range_name);
        return -ENOENT;
}

uint64_t load_resident_bytes(void)
{
        uint64_t pages = 0;
        return proc_number("/proc/self/statm", 1, &pages) == 0 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* ---- descriptors ---- */

/* With a source address of its own, a socket of a ring's table needs the ring's bind (Linux 6.11). */
static bool ring_can_bind(void)
{
        enum { OP_BIND = 56, OPS = 256 };
        const char *without = getenv("BERTH_URING_WITHOUT"); /* as the port's tests have it */
        struct io_uring_params parameters = { 0 };
        struct io_uring_probe *probe = calloc(1, sizeof(*probe) + OPS * sizeof(probe->ops[0]));
        int ring = (int)syscall(SYS_io_uring_setup, 1, &parameters);
        bool can = probe && ring >= 0 && syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, probe, OPS) == 0 &&
                   probe->last_op >= OP_BIND && (probe->ops[OP_BIND].flags & IO_URING_OP_SUPPORTED);
        if (ring >= 0)
                close(ring);
        free(probe);
        return can && !(without && strstr(without, "bind"));
}

/* Where each socket of a ring needs a descriptor, a port has as many as there are; else its tables hold more. */
static bool ring_can_hold(const struct load_run *run, uint64_t descriptors)
{
        struct berth_port *probe;
        struct berth_port_config config = { .engine = run->options.engine, .max_handles = INT32_MAX, .buffers = 1 };
        if (berth_port_create(&probe, &config) < 0)
                return true; /* the threads' own could be made */
        uint32_t most = berth_port_max_handles(probe);
        berth_port_destroy(probe);
        return most >= run->options.connections || most > descriptors;
}

/* Why each connection needs a descriptor, and how many there are for them; NULL: none does. */
static const char *descriptor_reason(const struct load_run *run, uint64_t descriptors, uint64_t *room)
{
        *room = descriptors > RESERVED_DESCRIPTORS ? descriptors - RESERVED_DESCRIPTORS : 0;
        if (strcmp(run->engine, "epoll") == 0)
                return "; io_uring needs no descriptor for a connection from Linux 6.8 on";
        if (!ring_can_hold(run, descriptors))
                return "; io_uring needs a descriptor for each connection before Linux 6.8";
        if (run->plan.sources == 0 || ring_can_bind())
                return NULL;
        *room = min_of(*room, descriptors / 2 * run->thread_count); /* a port's plain sockets */
        return "; with more than one source address io_uring needs a descriptor for each connection before Linux 6.11";
}

int load_check_room(const struct load_run *run, uint64_t descriptors)
{
        uint64_t room, slots = 0;
        bool enough = true;
        for (unsigned i = 0; i < run->thread_count; i++) {
                slots += run->crowds[i]->max_handles;
                enough &= run->crowds[i]->max_handles >= run->crowds[i]->client_count;
        }
        const char *reason = descriptor_reason(run, descriptors, &room);
        enough &= !reason || room >= run->options.connections;
        if (enough)
                return 0;
        complain("%s connections with the %s engine: RLIMIT_NOFILE is %s, which is enough for %s (ulimit -Hn%s)",
                 figure_count(run->options.connections).text, run->engine, figure_count(descriptors).text,
                 figure_count(reason ? room : slots).text, reason ? reason : "");
        return -EMFILE;
}
