/* How a connection begins and ends on io_uring: listeners, adopting what they accepted, shutdown, peer_address, close.
 *
 * A listener is a plain descriptor; accept makes direct ones. Where the handle has a plain descriptor, shutdown,
 * peer_address and options are system calls that take effect at once.
 */
#include "port/uring.h"

/* ---- listeners, adopted connections ---- */

int uring_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor)
{
        (void)port;
        int error = sockets_adopt_listener(descriptor);
        if (!error)
                listener->descriptor = descriptor;
        return error;
}

int uring_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                 unsigned address_bytes, int backlog, unsigned flags)
{
        (void)port;
        int descriptor = sockets_listen(address, address_bytes, backlog, flags);
        listener->descriptor = descriptor;
        return min_of(descriptor, 0);
}

int uring_listen_address(struct berth_port *port, const struct berth_handle *listener, struct sockaddr_storage *address)
{
        (void)port;
        return sockets_address(listener->descriptor, address);
}

void uring_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        handle->descriptor = descriptor;
        if (uring_of(port)->direct)
                handle->flags |= HANDLE_DIRECT;
}

void uring_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        (void)port;
        handle->descriptor = descriptor;
}

/* ---- shutdown, peer_address, close ---- */

void uring_start_shutdown(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0) {
                op_finish(port, op, shutdown(plain, SHUT_WR) < 0 ? -errno : 0);
                return;
        }
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        io_uring_prep_shutdown(sqe, target_of(op->handle), SHUT_WR);
        submit(sqe, op);
}

static int ask_peer(struct berth_op *op, int plain)
{
        return sockets_peer(plain, op_space(op)->peer.address, (unsigned)op_space(op)->peer.room);
}

void uring_start_peer_address(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0)
                op_finish(port, op, ask_peer(op, plain));
        else if (!uring_submit_install(port, op))
                op_finish(port, op, -EMFILE);
}

bool uring_peer_address_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        uring_note_installed(uring_of(port), handle, res);
        if (res >= 0) {
                res = ask_peer(op, handle->installed);
                uring_spare_installed(uring_of(port), handle, op);
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}

static void submit_close(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), handle), op);
        if (!sqe)
                return;
        uring_uninstall(handle);
        if (handle->flags & HANDLE_DIRECT)
                io_uring_prep_close_direct(sqe, (unsigned)target_of(handle));
        else
                io_uring_prep_close(sqe, handle->descriptor);
        io_uring_sqe_set_data(sqe, op);
}

void uring_start_close(struct berth_port *port, struct berth_op *op)
{
        static const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        struct berth_handle *handle = op->handle;
        if (handle->descriptor < 0) { /* a connect that never had a socket */
                op_finish(port, op, 0);
                return;
        }
        int plain = plain_descriptor(handle);
        if (op->flags & OP_ABORT && plain >= 0)
                sockets_linger_abort(plain);
        else if (op->flags & OP_ABORT && !uring_submit_option(port, op, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)))
                return;
        submit_close(port, op);
}

bool uring_close_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        if (op->handle->kind == HANDLE_STREAM)
                uring_forget_socket(uring_of(port), op->handle);
        op_end(port, op, res, 0, 0, event);
        return true;
}
