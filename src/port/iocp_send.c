/* Sending, by WSASend, which takes all of a piece and says when its memory is free again. By default a piece is a whole
 * turn, one of them is in the kernel at a time, and the socket has its send buffer there, which keeps the line busy
 * between two pieces. With config.send_depth there is no such buffer: pieces are sent from where they are, and it takes
 * several in the kernel to keep the line busy.
 *
 * The pieces of an op are linked in their order, the first one by op_space()->next. They end in that order too, since
 * they are one stream; still each is counted only when all before it have ended. */
#include "port/iocp.h"

enum {
        SENDING = 0x4000, /* op->flags: pieces are being started, and their ends are for later */
        FAILED = 0x8000,  /* op->flags: no more of them */
        CUT_OFF = 0x2000, /* op->flags: one did not go out whole */
        DIRECT_PIECE_BYTES = 64 << 10,
};

_Static_assert(offsetof(struct op_space, send.sent) == offsetof(struct op_space, sendv.sent), "one place for both");

static struct io *first_piece(struct berth_op *op)
{
        return (struct io *)op_space(op)->next;
}

/* ---- what is to be sent ---- */

/* A piece of at most io->bytes, from io->offset on. */
static DWORD buffers_of(const struct io *io, WSABUF *buffers)
{
        const struct op_space *space = op_space(io->op);
        struct berth_vec one = { space->send.data, space->send.size };
        const struct berth_vec *vecs = io->op->kind == OP_SEND ? &one : space->sendv.vecs;
        size_t count = io->op->kind == OP_SEND ? 1 : space->sendv.count, room = io->bytes;
        uint64_t skip = io->offset;
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
        DWORD count = buffers_of(io, buffers);
        return WSASend((SOCKET)io->target, buffers, count, NULL, 0, &io->overlapped, NULL) ? WSAGetLastError() : 0;
}

/* ---- pieces ---- */

/* Counts those that have ended, in order, and gives the last error among them. Bytes behind a piece that was cut off
 * would be a hole in the stream, which nobody must ever receive as one. */
static int settle(struct iocp_port *self, struct berth_op *op)
{
        struct io *io;
        int error = 0;
        while ((io = first_piece(op)) && io->done) {
                uint32_t bytes = iocp_bytes(io);
                if (bytes > 0 && op->flags & CUT_OFF)
                        shutdown((SOCKET)io->target, SD_BOTH);
                if (bytes < io->bytes && !refusal(io->error))
                        op->flags |= CUT_OFF;
                op_space(op)->send.sent += bytes;
                error = io->error ? io->error : error;
                op_space(op)->next = (struct berth_op *)io->next;
                slab_give(&self->ios, io);
        }
        return error;
}

/* Behind the others. False when the kernel or we have no room for it. */
static bool start_piece(struct iocp_port *self, struct berth_op *op, uint64_t offset, uint64_t bytes)
{
        struct io *io = slab_take(&self->ios);
        if (!io)
                return false;
        *io = (struct io){ .kind = IO_SEND, .op = op, .target = iocp_file(op->handle), .offset = offset };
        io->bytes = (uint32_t)bytes;
        struct io *last = first_piece(op);
        while (last && last->next)
                last = last->next;
        if (last)
                last->next = io;
        else
                op_space(op)->next = (struct berth_op *)io;
        iocp_start(self, io, send_call, op->handle->flags & HANDLE_SKIPS);
        return !io->done || io->error == 0;
}

/* As many as the depth allows, which is a turn. */
static void start_pieces(struct iocp_port *self, struct berth_op *op)
{
        uint64_t offset = op_space(op)->send.sent, left = whole(op) - offset;
        uint64_t most = self->send_depth > 1 ? DIRECT_PIECE_BYTES : SEND_TURN_BYTES;
        uint32_t count = 0;
        for (struct io *io = first_piece(op); io; io = io->next, count++) {
                offset += io->bytes;
                left -= io->bytes;
        }
        op->flags |= SENDING;
        for (uint64_t bytes; left > 0 && count < self->send_depth; count++, offset += bytes, left -= bytes) {
                bytes = min_of(left, most);
                if (!start_piece(self, op, offset, bytes))
                        break;
        }
        op->flags &= (uint16_t)~SENDING;
}

/* Pieces have ended. What the kernel has no room for while others are on their way is sent after those. */
static void conclude(struct iocp_port *self, struct berth_op *op)
{
        uint64_t before = op_space(op)->send.sent;
        int error = settle(self, op);
        bool later = refusal(error) && (first_piece(op) || op_space(op)->send.sent > before);
        if (error && !later)
                op->flags |= FAILED;
        if (first_piece(op)) {
                if (!error && !(op->flags & FAILED) && !op_cancelled(op))
                        start_pieces(self, op);
        } else if (op_space(op)->send.sent == whole(op)) {
                op_finish(&self->port, op, (int64_t)whole(op));
        } else if (op->flags & FAILED) {
                op_finish(&self->port, op, error ? iocp_send_error(error) : -ECONNRESET);
        } else {
                op_runnable(&self->port, op); /* what is left has its turn after others */
        }
}

/* A cancelled piece tells how far it came. */
void iocp_send_ended(struct iocp_port *self, struct io *io)
{
        io->done = true;
        if (!(io->op->flags & SENDING))
                conclude(self, io->op);
}

void iocp_send_go_on(struct iocp_port *self, struct berth_op *op)
{
        bool nothing = whole(op) == 0;
        if (!nothing)
                start_pieces(self, op);
        if (nothing || first_piece(op))
                conclude(self, op);
        else
                op_finish(&self->port, op, -ENOMEM);
}
