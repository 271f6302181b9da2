/* Files: overlapped reads and writes. A file is tied to the port with its first call. Opening is for a worker; where
 * there are none the port does it itself. */
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

void iocp_read_write(struct iocp_port *self, struct berth_op *op)
{
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
void iocp_file_ended(struct iocp_port *self, struct io *io)
{
        int64_t result = io->error ? io->error : (int64_t)iocp_bytes(io);
        if (result == -EACCES)
                result = -EBADF;
        op_finish(&self->port, iocp_give(self, io), result);
}

void iocp_open(struct iocp_port *self, struct berth_op *op)
{
        int error = workers_submit(self->port.workers, &self->port, op);
        if (error)
                op_finish(&self->port, op, error == -ENOSYS ? op_block(op) : error);
}
