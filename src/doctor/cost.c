/* What a quiet connection costs on Linux.
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

void doctor_cost(const struct doctor_plan *plan, struct doctor_capacity *capacity)
{
        capacity->user_each = RECORD_BYTES;
        capacity->fixed_bytes = POOL_BYTES;
        doctor_add_part(capacity, "TCP socket", SOCKET_BYTES);
        doctor_add_part(capacity, "socket inode", INODE_BYTES);
        doctor_add_part(capacity, "file", FILE_BYTES);
        doctor_add_part(capacity, "directory entry", ENTRY_BYTES);
        if (plan->uring_error)
                doctor_add_part(capacity, "epoll wait", EPOLL_WAIT_BYTES);
        else
                doctor_add_part(capacity, "io_uring wait", URING_WAIT_BYTES);
        doctor_add_part(capacity, "reserve", LINUX_CONNECTION_BYTES - capacity->kernel_each);
        if (plan->tracked)
                doctor_add_part(capacity, "conntrack entry", TRACKED_BYTES);
}
