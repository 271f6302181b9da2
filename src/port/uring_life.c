/* How a connection begins and ends on io_uring: listeners, adopting what they accepted, connect, shutdown,
 * peer_address, close.
 *
 * A listener is a plain descriptor; accept makes direct ones. To connect, a direct socket is made by a submission of
 * its own, which takes a slot of the ring's table; it can have options only by submissions, too. Where the handle has a
 * plain descriptor, shutdown, peer_address and the options are system calls that take effect at once.
 */
#include "port/uring.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum {
        SETSOCKOPT_COMMAND = 3, /* of a socket by IORING_OP_URING_CMD; Linux 6.7 */
        SOCKET_STEP_CONNECTING = 1,
};

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

/* ---- options ---- */

/* setsockopt(2) on a direct descriptor, ahead of the op's own submission; it never waits, so it is done when that one
 * begins. `value` must be static. False when there was no room: then the op has been queued. */
static bool submit_option(struct berth_port *port, struct berth_op *op, int level, int option, const void *value,
                          unsigned bytes)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return false;
        const uint32_t what[] = { (uint32_t)level, (uint32_t)option }, command = SETSOCKOPT_COMMAND;
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op->handle->descriptor, NULL, 0, 0);
        memcpy(&sqe->off, &command, sizeof(command)); /* liburing 2.3 has no names for these */
        memcpy(&sqe->addr, what, sizeof(what));
        sqe->addr3 = (uintptr_t)value;
        sqe->file_index = bytes;
        sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
        submit_for_nobody(sqe, DATA_NOBODY);
        return true;
}

/* ---- connect: a slot for the socket, then the connection ---- */

/* Not blocking, for the sake of sendfile(2); io_uring waits all the same. */
static void submit_socket(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        if (self->slots_used == self->slots) {
                op_finish(port, op, -ENFILE);
                return;
        }
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        self->slots_used++;
        io_uring_prep_socket(sqe, op_space(op)->connect.address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0, 0);
        sqe->file_index = IORING_FILE_INDEX_ALLOC; /* the helper of liburing 2.3 sets it wrongly */
        io_uring_sqe_set_data(sqe, op);
}

static void submit_connect(struct berth_port *port, struct berth_op *op)
{
        static const int yes = 1; /* a unix socket rejects it, and needs none */
        if (op->handle->flags & HANDLE_DIRECT && !submit_option(port, op, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)))
                return;
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        struct op_space *space = op_space(op);
        io_uring_prep_connect(sqe, op->handle->descriptor, space->connect.address,
                              (socklen_t)space->connect.address_bytes);
        submit(sqe, op);
}

void uring_start_connect(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        if (space->connect.step == SOCKET_STEP_CONNECTING) {
                submit_connect(port, op);
        } else if (uring_of(port)->direct) {
                submit_socket(port, op);
        } else {
                int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
                op->handle->descriptor = socket(space->connect.address->sa_family, type, 0);
                space->connect.step = SOCKET_STEP_CONNECTING;
                if (op->handle->descriptor < 0) {
                        op_finish(port, op, -errno);
                        return;
                }
                sockets_no_delay(op->handle->descriptor);
                submit_connect(port, op);
        }
}

/* By calls that take effect at once: no op is there to wait for a completion. */
void uring_drop(struct berth_port *port, struct berth_handle *handle)
{
        struct uring_port *self = uring_of(port);
        const int none = -1;
        if (handle->kind == HANDLE_LISTENER || handle->descriptor < 0)
                return;
        if (handle->flags & HANDLE_DIRECT) {
                ensure(io_uring_register_files_update(&self->ring, (unsigned)handle->descriptor, &none, 1) == 1);
                self->slots_used--;
        } else {
                close(handle->descriptor);
        }
        handle->descriptor = -1;
}

bool uring_connect_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (res < 0 && space->connect.step == 0)
                uring_of(port)->slots_used--;
        if (res >= 0 && space->connect.step == 0) {
                op->handle->descriptor = res;
                op->handle->flags |= HANDLE_DIRECT;
                space->connect.step = SOCKET_STEP_CONNECTING;
                if (!op_cancelled(op)) {
                        submit_connect(port, op);
                        return false;
                }
                res = -ECANCELED;
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}

/* ---- shutdown, peer_address, close ---- */

void uring_start_shutdown(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0) {
                op_finish(port, op, shutdown(plain, SHUT_WR) < 0 ? -errno : 0);
                return;
        }
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_shutdown(sqe, op->handle->descriptor, SHUT_WR);
        submit(sqe, op);
}

void uring_start_peer_address(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0)
                op_finish(port, op, sockets_peer(plain, op_space(op)->peer.address));
        else
                uring_submit_install(port, op);
}

bool uring_peer_address_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        if (res >= 0) {
                uring_note_installed(handle, res);
                res = sockets_peer(handle->installed, op_space(op)->peer.address);
                uring_spare_installed(port, handle, op);
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}

static void submit_close(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        uring_uninstall(handle);
        if (handle->flags & HANDLE_DIRECT)
                io_uring_prep_close_direct(sqe, (unsigned)handle->descriptor);
        else
                io_uring_prep_close(sqe, handle->descriptor);
        io_uring_sqe_set_data(sqe, op);
}

void uring_start_close(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        if (handle->descriptor < 0) { /* a connect that never had a socket */
                op_finish(port, op, 0);
                return;
        }
        static const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        int plain = plain_descriptor(handle);
        if (op->flags & OP_ABORT && plain >= 0)
                sockets_linger_abort(plain);
        else if (op->flags & OP_ABORT && !submit_option(port, op, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)))
                return;
        submit_close(port, op);
}

bool uring_close_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        if (op->handle->flags & HANDLE_DIRECT)
                uring_of(port)->slots_used--;
        op_end(port, op, res, 0, 0, event);
        return true;
}
