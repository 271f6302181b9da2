/* Files: overlapped reads and writes. A file is tied to the port with its first call. Opening is for a worker, and so
 * is a write that makes the file longer: Windows makes that while the caller waits, overlapped or not. Where there are
 * no workers, or none has room for a write, the port does it itself. */
#include "port/iocp.h"

/* The flags of a file handle are the port's, also where the caller lends it as const. */
int iocp_tie_file(struct iocp_port *self, const struct berth_handle *lent)
{
        struct berth_handle *file = (struct berth_handle *)(uintptr_t)lent;
        if (file->flags & HANDLE_WATCHED)
                return 0;
        if (!CreateIoCompletionPort(iocp_file(file), self->queue, KEY_IO, 0))
                return iocp_error(GetLastError());
        file->flags |= HANDLE_WATCHED;
        UCHAR modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
        if (!self->always_packets && SetFileCompletionNotificationModes(iocp_file(file), modes))
                file->flags |= HANDLE_SKIPS;
        return 0;
}

static int file_call(struct iocp_port *self, struct io *io)
{
        (void)self;
        const struct op_space *space = op_space(io->op);
        io->overlapped.Offset = (DWORD)space->file.offset;
        io->overlapped.OffsetHigh = (DWORD)(space->file.offset >> 32);
        BOOL done = io->op->kind == OP_READ
                            ? ReadFile(io->target, space->file.data, (DWORD)space->file.size, NULL, &io->overlapped)
                            : WriteFile(io->target, space->file.data, (DWORD)space->file.size, NULL, &io->overlapped);
        return done ? 0 : (int)GetLastError();
}

static bool lengthens(struct berth_op *op)
{
        LARGE_INTEGER size;
        const struct op_space *space = op_space(op);
        return op->kind == OP_WRITE && GetFileSizeEx(iocp_file(op->handle), &size) &&
               space->file.offset + space->file.size > (uint64_t)size.QuadPart;
}

void iocp_read_write(struct iocp_port *self, struct berth_op *op)
{
        if (lengthens(op) && iocp_on_worker(self, op) == 0)
                return;
        int error = iocp_tie_file(self, op->handle);
        if (error) {
                op_finish(&self->port, op, error);
                return;
        }
        struct io *io = iocp_take(self, IO_FILE, op, iocp_file(op->handle));
        if (io)
                iocp_start(self, io, file_call, op->handle->flags & HANDLE_SKIPS);
}

/* A handle that was not opened for it is what -EBADF means elsewhere. */
static int64_t result_of(int error, uint32_t bytes)
{
        return error == 0 ? (int64_t)bytes : error == -EACCES ? -EBADF : error;
}

void iocp_file_ended(struct iocp_port *self, struct io *io)
{
        int64_t result = result_of(io->error, iocp_bytes(io));
        op_finish(&self->port, iocp_give(self, io), result);
}

/* The lowest bit of the event keeps the packet away (GetQueuedCompletionStatus, lpOverlapped). */
int64_t iocp_write_blocking(HANDLE file, const void *data, size_t size, uint64_t offset)
{
        HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (!event)
                return -ENOMEM;
        OVERLAPPED overlapped = { .hEvent = (HANDLE)((uintptr_t)event | 1) };
        overlapped.Offset = (DWORD)offset;
        overlapped.OffsetHigh = (DWORD)(offset >> 32);
        DWORD bytes = 0, code = 0;
        if (!WriteFile(file, data, (DWORD)size, NULL, &overlapped))
                code = GetLastError();
        if ((code == 0 || code == ERROR_IO_PENDING) && GetOverlappedResult(file, &overlapped, &bytes, TRUE))
                code = 0;
        else if (code == 0 || code == ERROR_IO_PENDING)
                code = GetLastError();
        CloseHandle(event);
        return result_of(iocp_error(code), bytes);
}

int iocp_on_worker(struct iocp_port *self, struct berth_op *op)
{
        op->flags |= ON_WORKER; /* first: from then on its link is the worker's */
        int error = workers_submit(self->port.workers, &self->port, op);
        if (error)
                op->flags &= (uint16_t)~ON_WORKER;
        return error;
}

void iocp_open(struct iocp_port *self, struct berth_op *op)
{
        int error = iocp_on_worker(self, op);
        if (error)
                op_finish(&self->port, op, error == -ENOSYS ? op_block(op) : error);
}
