/* Overlapped calls: their records, their three outcomes, and what is done when the kernel refuses one. */
#include "port/iocp.h"

#include <winternl.h>

/* ---- records ---- */

struct io *iocp_take(struct iocp_port *self, unsigned kind, struct berth_op *op, HANDLE target)
{
        struct io *io = slab_take(&self->ios);
        if (!io) {
                op_finish(&self->port, op, -ENOMEM);
                return NULL;
        }
        *io = (struct io){ .kind = (uint8_t)kind, .op = op, .target = target };
        op_space(op)->next = (struct berth_op *)io;
        return io;
}

struct berth_op *iocp_give(struct iocp_port *self, struct io *io)
{
        struct berth_op *op = io->op;
        op_space(op)->next = NULL;
        slab_give(&self->ios, io);
        return op;
}

/* ---- refusals ----
 *
 * Buffers of a call are locked in memory, and how much a process may lock follows its least working set. So the first
 * answer to a refusal is a larger one; when that did not help, the caller is told. */

enum { WORKING_SET_STEP_BYTES = 16 << 20, MOST_ENLARGEMENTS = 64 };

/* Everybody has this right, but it is switched off until it is asked for (AdjustTokenPrivileges). */
static void may_enlarge(void)
{
        TOKEN_PRIVILEGES wanted = { .PrivilegeCount = 1, .Privileges[0].Attributes = SE_PRIVILEGE_ENABLED };
        HANDLE token;
        if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &token))
                return;
        if (LookupPrivilegeValueW(NULL, L"SeIncreaseWorkingSetPrivilege", &wanted.Privileges[0].Luid))
                AdjustTokenPrivileges(token, FALSE, &wanted, 0, NULL, NULL);
        CloseHandle(token);
}

/* It is the process's, so all ports together have so many tries. */
static bool enlarge_working_set(void)
{
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static unsigned enlargements;
        SIZE_T least, most;
        bool larger = false;
        pthread_mutex_lock(&lock);
        if (enlargements == 0)
                may_enlarge();
        if (enlargements < MOST_ENLARGEMENTS && GetProcessWorkingSetSize(GetCurrentProcess(), &least, &most)) {
                enlargements++;
                least += WORKING_SET_STEP_BYTES;
                most = max_of(most, least + WORKING_SET_STEP_BYTES);
                larger = SetProcessWorkingSetSize(GetCurrentProcess(), least, most);
        }
        pthread_mutex_unlock(&lock);
        return larger;
}

/* Tests see that a refused call is made again: every eighth is refused without having been made. Of accepts, which are
 * not missed when others are there, half are refused for good. */
static int make(struct iocp_port *self, struct io *io, io_call *call)
{
        if (self->refuse_some && (++self->calls % 8 == 0 || (io->kind == IO_ACCEPT && self->calls & 2)))
                return WSAENOBUFS;
        return call(self, io);
}

/* ---- outcomes ---- */

static void ended(struct iocp_port *self, struct io *io)
{
        ensure(io->kind < IO_KINDS);
        iocp_ended[io->kind](self, io);
}

void iocp_start(struct iocp_port *self, struct io *io, io_call *call, bool skips)
{
        int code = make(self, io, call);
        if (iocp_quota_error((DWORD)code) && (enlarge_working_set() || self->refuse_some))
                code = make(self, io, call);
        if (code == WSA_IO_PENDING || (code == 0 && !skips))
                return; /* its packet will come */
        io->error = iocp_error((DWORD)code);
        ended(self, io);
}

/* A packet has the kernel's own status, which Winsock translates for sockets. */
static int error_of_packet(struct io *io)
{
        LONG status = (LONG)io->overlapped.Internal;
        DWORD bytes, flags;
        if (status == 0)
                return 0;
        if (io->kind == IO_FILE || io->kind == IO_PIECE_READ)
                return iocp_error(RtlNtStatusToDosError(status));
        if (WSAGetOverlappedResult((SOCKET)io->target, &io->overlapped, &bytes, FALSE, &flags))
                return 0;
        return iocp_error((DWORD)WSAGetLastError());
}

void iocp_packet(struct iocp_port *self, struct io *io)
{
        io->error = error_of_packet(io);
        ended(self, io);
}

/* A call that is not found has its packet on the way. Or Wine is just about to go on with it: that is not told apart but
 * by its status, and the cancel is forgotten. */
void iocp_cancel_call(struct io *io)
{
        enum { TRIES = 8 };
        for (unsigned i = 0; i < TRIES; i++) {
                if (CancelIoEx(io->target, &io->overlapped) || HasOverlappedIoCompleted(&io->overlapped))
                        return;
                Sleep(0);
        }
}

/* Of several pieces the last one first: one that was still to come must not go out when those before it are cut off. */
bool iocp_cancel_io(struct berth_op *op)
{
        struct io *io = (struct io *)op_space(op)->next, *all[MAX_SEND_DEPTH];
        unsigned count = 0;
        for (; io; io = io->kind == IO_SEND ? io->next : NULL)
                all[count++] = io;
        for (unsigned i = count; i-- > 0;)
                iocp_cancel_call(all[i]);
        return count > 0;
}
