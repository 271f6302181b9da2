/* The arithmetic: what a quiet connection costs, and how many the memory holds.
 *
 * The kernel's parts are what its slab caches hold for a connection on a 64-bit machine, the waste at the ends of
 * their pages included. Their sum is rounded up to a planning figure, so that a newer kernel's slightly larger socket
 * does not make the answer wrong.
 */
#include "doctor/doctor_priv.h"

enum {
        SOCKET_BYTES = 2521, /* struct tcp_sock; 2,368 (IPv6: 2,496) and its part of the slab's waste */
        INODE_BYTES = 862,   /* struct socket_alloc: 832, likewise */
        FILE_BYTES = 192,
        ENTRY_BYTES = 192,      /* struct dentry */
        URING_WAIT_BYTES = 256, /* a poll request that is armed */
        EPOLL_WAIT_BYTES = 200, /* an item, its wait entry, and the descriptor's slot */
        TRACKED_BYTES = 400,    /* struct nf_conn and its extensions */
        RECORD_BYTES = 128,     /* berth's own: 64 at rest, 128 at most */
        POOL_BYTES = 100 << 20, /* requests, buffers, files: what is in use at a time, whatever the connections */
};

static void add_part(struct doctor_capacity *capacity, const char *what, uint64_t bytes)
{
        ensure(capacity->part_count < array_count(capacity->parts));
        capacity->parts[capacity->part_count++] = (struct doctor_part){ what, bytes };
        capacity->kernel_each += bytes;
}

static void add_parts(const struct doctor_plan *plan, struct doctor_capacity *capacity)
{
        add_part(capacity, "TCP socket", SOCKET_BYTES);
        add_part(capacity, "socket inode", INODE_BYTES);
        add_part(capacity, "file", FILE_BYTES);
        add_part(capacity, "directory entry", ENTRY_BYTES);
        if (plan->uring_error)
                add_part(capacity, "epoll wait", EPOLL_WAIT_BYTES);
        else
                add_part(capacity, "io_uring wait", URING_WAIT_BYTES);
        add_part(capacity, "reserve", KERNEL_CONNECTION_BYTES - capacity->kernel_each);
        if (plan->tracked)
                add_part(capacity, "conntrack entry", TRACKED_BYTES);
}

struct doctor_capacity doctor_capacity_of(const struct doctor_plan *plan)
{
        struct doctor_capacity capacity = { .user_each = RECORD_BYTES, .fixed_bytes = POOL_BYTES };
        add_parts(plan, &capacity);
        capacity.kernel_bytes = plan->connections * capacity.kernel_each;
        capacity.user_bytes = plan->connections * capacity.user_each + capacity.fixed_bytes;
        capacity.needed_bytes = capacity.kernel_bytes + capacity.user_bytes;
        capacity.buffer_bytes = plan->connections * plan->page_bytes;
        capacity.most = doctor_capacity_most(plan, plan->memory_bytes);
        return capacity;
}

uint64_t doctor_capacity_most(const struct doctor_plan *plan, uint64_t memory_bytes)
{
        struct doctor_capacity capacity = { 0 };
        add_parts(plan, &capacity);
        if (memory_bytes <= POOL_BYTES)
                return 0;
        return (memory_bytes - POOL_BYTES) / (capacity.kernel_each + RECORD_BYTES);
}

uint64_t doctor_round_down(uint64_t value)
{
        uint64_t unit = 1;
        while (value / unit >= 100)
                unit *= 10;
        return value / unit * unit;
}

uint64_t doctor_port_sets(uint64_t connections, uint64_t ports)
{
        uint64_t each = max_of(ports / 2, 1);
        return (connections + each - 1) / each;
}
