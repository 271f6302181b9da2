/* Receiving. A zero-byte receive waits: it locks no memory, and it ends when there are bytes, the end or an error,
 * however long they have been there. Then a receive that does not wait takes them into a buffer of the pool. */
#include "port/iocp.h"

static int watch_call(struct iocp_port *self, struct io *io)
{
        (void)self;
        WSABUF nothing = { 0 };
        DWORD flags = 0;
        return WSARecv((SOCKET)io->target, &nothing, 1, NULL, &flags, &io->overlapped, NULL) ? WSAGetLastError() : 0;
}

/* A reset has been told already: what follows is the end, as on other systems. Or the first bytes came with the
 * connection. */
static bool watch_ends_at_once(const struct berth_handle *handle)
{
        return handle->flags & HANDLE_HUNG_UP || iocp_early(handle);
}

/* A reset is told once, and telling it to a wait may have been it (on Wine). */
static void note(struct berth_handle *handle, int error)
{
        handle->flags |= HANDLE_READABLE;
        if (error == -ECONNRESET)
                handle->flags |= HANDLE_RESET;
}

static void readable(struct berth_port *port, struct berth_op *op)
{
        if (op->kind == OP_WAIT_READABLE)
                op_finish(port, op, 0);
        else
                op_runnable(port, op);
}

void iocp_watch(struct iocp_port *self, struct berth_op *op)
{
        if (watch_ends_at_once(op->handle)) {
                note(op->handle, 0);
                readable(&self->port, op);
                return;
        }
        struct io *io = iocp_take(self, IO_WATCH, op, iocp_file(op->handle));
        if (io)
                iocp_start(self, io, watch_call, op->handle->flags & HANDLE_SKIPS);
}

/* An error of the connection is for the receive to tell. */
void iocp_watch_ended(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        struct berth_op *op = iocp_give(self, io);
        note(op->handle, error);
        if (error == -ECANCELED || refusal(error))
                op_finish(&self->port, op, error);
        else
                readable(&self->port, op);
}

/* ---- rest ---- */

void iocp_rest(struct berth_port *port, struct berth_handle *handle)
{
        struct iocp_port *self = iocp_of(port);
        struct io *io = watch_ends_at_once(handle) ? NULL : slab_take(&self->ios);
        if (!io) { /* a short rest: the receive that follows finds out */
                rest_finish(port, handle);
                return;
        }
        *io = (struct io){ .kind = IO_REST, .handle = handle, .target = iocp_file(handle) };
        handle->sender = (struct berth_op *)io;
        iocp_start(self, io, watch_call, handle->flags & HANDLE_SKIPS);
}

void iocp_rest_ended(struct iocp_port *self, struct io *io)
{
        struct berth_handle *handle = io->handle;
        handle->sender = NULL;
        note(handle, io->error);
        slab_give(&self->ios, io);
        rest_finish(&self->port, handle);
}

void iocp_unrest(struct berth_port *port, struct berth_handle *handle)
{
        (void)port;
        iocp_cancel_call((struct io *)handle->sender);
}

/* ---- taking what is there ---- */

static bool end(struct berth_port *port, struct berth_op *op, int64_t result, struct berth_event *event)
{
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* Bytes, 0 at the end, or -errno. A receive that leaves room in its memory has emptied the socket. */
static int64_t take(struct berth_port *port, struct berth_handle *handle, char *data, size_t room)
{
        if (iocp_early(handle))
                return (int64_t)iocp_early_take(iocp_of(port), handle, data, room);
        if (handle->flags & HANDLE_HUNG_UP)
                return 0;
        int n = recv(iocp_socket(handle), data, (int)room, 0);
        int error = n < 0 ? iocp_error((DWORD)WSAGetLastError()) : 0;
        if (n <= 0 && handle->flags & HANDLE_RESET)
                error = -ECONNRESET;
        if (error == -EAGAIN || (n > 0 && (size_t)n < room))
                handle->flags &= (uint8_t)~HANDLE_READABLE;
        if (error == -ECONNRESET)
                handle->flags |= HANDLE_HUNG_UP;
        return error ? error : n;
}

bool iocp_recv_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        if (!(handle->flags & HANDLE_READABLE)) {
                iocp_watch(iocp_of(port), op);
                return false;
        }
        uint16_t buffer;
        if (!buffers_take(&port->buffers, &buffer)) {
                op_starve(port, op, &port->starved);
                return false;
        }
        int64_t n = take(port, handle, buffers_data(&port->buffers, buffer), port->buffers.bytes);
        if (n <= 0) {
                buffers_give(&port->buffers, buffer);
                if (n != -EAGAIN)
                        return end(port, op, n, event);
                iocp_watch(iocp_of(port), op);
                return false;
        }
        bool more = op->flags & OP_MULTISHOT;
        op_end(port, op, n, BERTH_BUFFER | (more ? BERTH_MORE : 0), buffer, event);
        if (more && handle->flags & HANDLE_READABLE)
                op_runnable(port, op);
        else if (more)
                iocp_watch(iocp_of(port), op);
        return true;
}

bool iocp_recv_now_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        const struct op_space *space = op_space(op);
        return end(port, op, take(port, op->handle, space->recv_now.data, space->recv_now.size), event);
}
