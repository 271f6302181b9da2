/* Connect on io_uring: a direct socket is made by a submission of its own, which takes a slot of a ring's table; then
 * it is bound, where a source address was given, and connected. It can have options only by submissions, too.
 *
 * A kernel that cannot bind by a submission (before 6.11) gets a plain socket for that, bound by system calls.
 */
#include "port/uring.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { SETSOCKOPT_COMMAND = 3 }; /* of a socket by IORING_OP_URING_CMD; Linux 6.7 */

/* connect.step: one of these, and above it the ring of the socket that has been asked for. */
enum connect_step { CONNECT_START, CONNECT_SOCKET, CONNECT_BIND, CONNECT_CONNECT, STEP_BITS = 8 };

static const int yes = 1;

static enum connect_step step_of(struct berth_op *op)
{
        return op_space(op)->connect.step & ((1u << STEP_BITS) - 1);
}

struct uring_ring *uring_ring_of_connect(struct uring_port *self, struct berth_op *op)
{
        return step_of(op) == CONNECT_SOCKET ? self->rings[op_space(op)->connect.step >> STEP_BITS]
                                             : ring_of(self, op->handle);
}

bool uring_submit_option(struct berth_port *port, struct berth_op *op, int level, int option, const void *value,
                         unsigned bytes)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return false;
        const uint32_t what[] = { (uint32_t)level, (uint32_t)option }, command = SETSOCKOPT_COMMAND;
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, target_of(op->handle), NULL, 0, 0);
        memcpy(&sqe->off, &command, sizeof(command)); /* liburing 2.3 has no names for these */
        memcpy(&sqe->addr, what, sizeof(what));
        sqe->addr3 = (uintptr_t)value;
        sqe->file_index = bytes;
        sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
        submit_for_nobody(sqe, DATA_NOBODY);
        return true;
}

/* ---- steps ---- */

/* Not blocking, for the sake of sendfile(2); io_uring waits all the same. */
static void make_direct(struct uring_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        struct uring_ring *ring = uring_take_slot(self);
        if (!ring) {
                if (uring_slot_may_come(self))
                        op_runnable(&self->port, op);
                else
                        op_finish(&self->port, op, -ENFILE);
                return;
        }
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring, op);
        if (!sqe) {
                uring_give_slot(self, ring);
                return;
        }
        self->port.stats.handles++;
        space->connect.step = CONNECT_SOCKET | ring->index << STEP_BITS;
        io_uring_prep_socket(sqe, space->connect.address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0, 0);
        sqe->file_index = IORING_FILE_INDEX_ALLOC; /* the helper of liburing 2.3 sets it wrongly */
        io_uring_sqe_set_data(sqe, op);
}

static void bind_to_source(struct uring_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        if (space->connect.source->sa_family != AF_UNIX &&
            !uring_submit_option(&self->port, op, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)))
                return;
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring_of(self, op->handle), op);
        if (!sqe)
                return;
        io_uring_prep_rw(OP_BIND, sqe, target_of(op->handle), space->connect.source, 0, space->connect.address_bytes);
        submit(sqe, op);
}

/* A unix socket rejects the option, and needs none. */
static void connect_it(struct uring_port *self, struct berth_op *op)
{
        if (op->handle->flags & HANDLE_DIRECT &&
            !uring_submit_option(&self->port, op, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)))
                return;
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring_of(self, op->handle), op);
        if (!sqe)
                return;
        struct op_space *space = op_space(op);
        io_uring_prep_connect(sqe, target_of(op->handle), space->connect.address,
                              (socklen_t)space->connect.address_bytes);
        submit(sqe, op);
}

static void make_plain(struct uring_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        if (!uring_take_plain(self)) {
                if (uring_slot_may_come(self))
                        op_runnable(&self->port, op);
                else
                        op_finish(&self->port, op, -ENFILE);
                return;
        }
        int descriptor = sockets_connecting(space->connect.address, space->connect.source,
                                            space->connect.address_bytes);
        if (descriptor < 0) {
                uring_give_plain(self);
                op_finish(&self->port, op, descriptor);
                return;
        }
        op->handle->descriptor = descriptor;
        self->port.stats.handles++;
        space->connect.step = CONNECT_CONNECT;
        connect_it(self, op);
}

void uring_start_connect(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        switch (step_of(op)) {
        case CONNECT_BIND:
                bind_to_source(self, op);
                break;
        case CONNECT_CONNECT:
                connect_it(self, op);
                break;
        default:
                if (self->direct && (self->can_bind || !op_space(op)->connect.source))
                        make_direct(self, op);
                else
                        make_plain(self, op);
        }
}

/* ---- completion, and failure ---- */

static void socket_made(struct uring_port *self, struct berth_op *op, int slot)
{
        struct op_space *space = op_space(op);
        struct uring_ring *ring = uring_ring_of_connect(self, op);
        op->handle->descriptor = (int)(ring->index << SLOT_BITS) | slot;
        op->handle->flags |= HANDLE_DIRECT;
        space->connect.step = space->connect.source ? CONNECT_BIND : CONNECT_CONNECT;
}

bool uring_connect_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct uring_port *self = uring_of(port);
        enum connect_step step = step_of(op);
        if (step == CONNECT_SOCKET && res < 0) {
                uring_give_slot(self, uring_ring_of_connect(self, op));
                port->stats.handles--;
        } else if (step == CONNECT_SOCKET) {
                socket_made(self, op, res);
        } else if (step == CONNECT_BIND && res >= 0) {
                op_space(op)->connect.step = CONNECT_CONNECT;
        }
        if (step != CONNECT_CONNECT && res >= 0 && !op_cancelled(op)) {
                uring_start_connect(port, op);
                return false;
        }
        op_end(port, op, step != CONNECT_CONNECT && res >= 0 ? -ECANCELED : res, 0, 0, event);
        return true;
}

/* By calls that take effect at once: no op is there to wait for a completion. */
void uring_drop(struct berth_port *port, struct berth_handle *handle)
{
        struct uring_port *self = uring_of(port);
        const int none = -1;
        if (handle->kind == HANDLE_LISTENER || handle->descriptor < 0)
                return;
        if (handle->flags & HANDLE_DIRECT)
                ensure(io_uring_register_files_update(&ring_of(self, handle)->io, (unsigned)target_of(handle), &none,
                                                      1) == 1);
        else
                close(handle->descriptor);
        uring_forget_socket(self, handle);
        handle->descriptor = -1;
}
