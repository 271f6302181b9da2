/* Sending: one chain of pieces, one piece in the kernel at a time. WSASend takes all of a piece, into the socket's
 * send buffer or from the caller's memory, and says when the memory is free again. */
#include "port/iocp.h"

/* What is left to send, at most a turn of it. */
static DWORD buffers_of(struct berth_op *op, WSABUF *buffers)
{
        const struct op_space *space = op_space(op);
        struct berth_vec one = { space->send.data, space->send.size };
        const struct berth_vec *vecs = op->kind == OP_SEND ? &one : space->sendv.vecs;
        size_t count = op->kind == OP_SEND ? 1 : space->sendv.count;
        size_t skip = space->send.sent, room = SEND_TURN_BYTES;
        DWORD n = 0;
        for (size_t i = 0; i < count && room > 0; i++) {
                size_t skipped = min_of(skip, vecs[i].size), size = min_of(vecs[i].size - skipped, room);
                skip -= skipped;
                room -= size;
                if (size > 0)
                        buffers[n++] = (WSABUF){ (ULONG)size, (char *)(uintptr_t)vecs[i].data + skipped };
        }
        return n;
}

static uint64_t whole(struct berth_op *op)
{
        const struct op_space *space = op_space(op);
        if (op->kind == OP_SEND)
                return space->send.size;
        uint64_t bytes = 0;
        for (size_t i = 0; i < space->sendv.count; i++)
                bytes += space->sendv.vecs[i].size;
        return bytes;
}

static int send_call(struct iocp_port *self, struct io *io)
{
        (void)self;
        WSABUF buffers[BERTH_MAX_VECS];
        DWORD count = buffers_of(io->op, buffers);
        return WSASend((SOCKET)io->target, buffers, count, NULL, 0, &io->overlapped, NULL) ? WSAGetLastError() : 0;
}

_Static_assert(offsetof(struct op_space, send.sent) == offsetof(struct op_space, sendv.sent), "one place for both");

void iocp_send_go_on(struct iocp_port *self, struct berth_op *op)
{
        if (op_space(op)->send.sent == whole(op)) {
                op_finish(&self->port, op, (int64_t)op_space(op)->send.sent);
                return;
        }
        struct io *io = iocp_take(self, IO_SEND, op, iocp_file(op->handle));
        if (io)
                iocp_start(self, io, send_call, op->handle->flags & HANDLE_SKIPS);
}

/* A cancelled piece tells how far it came. What is left has its turn after others. */
void iocp_send_ended(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        uint32_t bytes = iocp_bytes(io);
        struct berth_op *op = iocp_give(self, io);
        struct op_space *space = op_space(op);
        space->send.sent += bytes;
        if (space->send.sent == whole(op))
                op_finish(&self->port, op, (int64_t)space->send.sent);
        else if (error)
                op_finish(&self->port, op, iocp_send_error(error));
        else
                op_runnable(&self->port, op);
}
