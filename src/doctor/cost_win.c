/* What a quiet connection costs on Windows, where the kernel keeps sockets in the non-paged pool.
 *
 * Microsoft gives no figure for a connection: it says that versions of Windows differ ("Write Scalable Winsock Apps
 * Using Completion Ports", MSDN Magazine, October 2000). What is taken here was measured: on 32-bit Windows Server 2003
 * 31,200 idle connections used up the 256 MiB that the pool may have there (L. Holgate, "Handling lots of socket
 * connections", October 2005), which is 8,604 bytes for each, the receive that waits included. Their sum is rounded up
 * to a planning figure. On a machine of one's own the counter Memory\Pool Nonpaged Bytes tells better.
 */
#include "doctor/doctor_priv.h"

enum {
        POOL_BYTES = 8604,
        RECORD_BYTES = 128,      /* berth's own: 64 at rest, 128 at most */
        CALL_BYTES = 80,         /* the wait in the kernel: an OVERLAPPED and whose it is */
        COPY_BYTES = 64 << 10,   /* a buffer for each answer under way, on client editions */
        FIXED_BYTES = 100 << 20, /* requests, buffers, files: what is in use at a time, whatever the connections */
};

void doctor_cost(const struct doctor_plan *plan, struct doctor_capacity *capacity)
{
        uint64_t copies = plan->windows.client_edition ? COPY_BYTES / DOCTOR_BURST_SHARE : 0;
        capacity->user_each = RECORD_BYTES + CALL_BYTES + copies;
        capacity->fixed_bytes = FIXED_BYTES;
        doctor_add_part(capacity, "non-paged pool", POOL_BYTES);
        doctor_add_part(capacity, "reserve", WINDOWS_CONNECTION_BYTES - POOL_BYTES);
}
