/* What comes in on io_uring: accept, wait_readable, recv.
 *
 * Accept and receive are multishot: one submission, and the kernel delivers until it clears F_MORE; then the op is
 * submitted again. A receive takes its buffer from the ring shared with the kernel when there are bytes, and starves
 * when that ring is empty.
 *
 * An accepted socket gets a slot of the ring's table, and the kernel would close it if none were free. So slots are
 * counted, from the accept or connect that asks for one to the close, and accept goes by what is left of them.
 */
#include "port/uring.h"

#include <poll.h>

enum { MULTISHOT_ROOM = 4096 }; /* free slots that let accept be multishot: a full backlog */

/* FULL: waits for a connection that there is no slot for. ONE: has a slot promised. STOPPING: a multishot one that
 * shall end since slots get few. */
enum accept_step { ACCEPT_START, ACCEPT_MULTISHOT, ACCEPT_STOPPING, ACCEPT_ONE, ACCEPT_FULL };

/* ---- accept, wait_readable, recv ---- */

/* Plain descriptors: the kernel takes a connection out of the queue when it has a number for it. */
static void prep_accept(struct io_uring_sqe *sqe, int listener, bool multishot)
{
        int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
        if (multishot)
                io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, flags);
        else
                io_uring_prep_accept(sqe, listener, NULL, NULL, flags);
}

/* Direct ones: it takes the connection first, and closes it when the table turns out to be full. So multishot only
 * while slots are plenty, then one by one, and with none left we wait without accepting. */
static void prep_accept_direct(struct uring_port *self, struct io_uring_sqe *sqe, struct berth_op *op)
{
        int listener = op->handle->descriptor;
        uint32_t room = self->slots - self->slots_used;
        if (room == 0) {
                op_space(op)->accept.step = ACCEPT_FULL;
                io_uring_prep_poll_add(sqe, listener, POLLIN);
        } else if (self->accept_multishot && room > MULTISHOT_ROOM) {
                op_space(op)->accept.step = ACCEPT_MULTISHOT;
                io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL,
                                                      SOCK_NONBLOCK); /* rejects SOCK_CLOEXEC */
        } else {
                op_space(op)->accept.step = ACCEPT_ONE;
                self->slots_used++;
                io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_NONBLOCK);
                sqe->file_index = IORING_FILE_INDEX_ALLOC;
        }
}

void uring_start_accept(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        if (self->direct)
                prep_accept_direct(self, sqe, op);
        else
                prep_accept(sqe, op->handle->descriptor, self->accept_multishot);
        submit(sqe, op);
}

void uring_start_wait_readable(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_poll_add(sqe, op->handle->descriptor, POLLIN | POLLRDHUP);
        submit(sqe, op);
}

void uring_start_recv(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        if (op->flags & OP_MULTISHOT && uring_of(port)->recv_multishot)
                io_uring_prep_recv_multishot(sqe, op->handle->descriptor, NULL, 0, 0);
        else
                io_uring_prep_recv(sqe, op->handle->descriptor, NULL, 0, 0);
        sqe->buf_group = BUFFER_GROUP;
        submit(sqe, op);
        sqe->flags |= IOSQE_BUFFER_SELECT;
}

/* A multishot op has delivered; `more`: the kernel keeps it armed. Otherwise it is armed again, or ends because that
 * was asked for, with an event of its own. */
static void keep_multishot(struct berth_port *port, struct berth_op *op, bool more,
                           void (*start)(struct berth_port *, struct berth_op *))
{
        if (more)
                return;
        if (op_cancelled(op))
                op_finish(port, op, -ECANCELED);
        else
                start(port, op);
}

/* Keeps the count of slots. A multishot accept ends when they get few. */
static void count_accepted(struct uring_port *self, struct berth_op *op, int res)
{
        uint64_t *step = &op_space(op)->accept.step;
        if (*step == ACCEPT_ONE && res < 0)
                self->slots_used--;
        if ((*step == ACCEPT_MULTISHOT || *step == ACCEPT_STOPPING) && res >= 0)
                self->slots_used++;
        if (*step != ACCEPT_MULTISHOT || self->slots - self->slots_used > MULTISHOT_ROOM)
                return;
        struct io_uring_sqe *sqe = uring_get_sqe(self);
        if (!sqe)
                return; /* at the next one */
        *step = ACCEPT_STOPPING;
        io_uring_prep_cancel(sqe, op, 0);
        submit_for_nobody(sqe, DATA_NOBODY);
}

/* Somebody wants to connect and there was no slot. One may have become free meanwhile. */
static int poll_when_full(struct uring_port *self, int res)
{
        if (res < 0)
                return res;
        return self->slots_used < self->slots ? -EAGAIN : -ENFILE;
}

bool uring_accept_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                            struct berth_event *event)
{
        struct uring_port *self = uring_of(port);
        bool more = flags & IORING_CQE_F_MORE;
        bool stopped = false;
        if (self->direct) {
                stopped = op_space(op)->accept.step == ACCEPT_STOPPING && res == -ECANCELED;
                if (op_space(op)->accept.step == ACCEPT_FULL)
                        res = poll_when_full(self, res);
                else
                        count_accepted(self, op, res);
        }
        if (res >= 0) {
                op_end(port, op, res, BERTH_MORE, 0, event);
                keep_multishot(port, op, more, uring_start_accept);
                return true;
        }
        if (more)
                return false;
        if (!op_cancelled(op) && (stopped || res == -EAGAIN || sockets_accept_again(-res))) {
                uring_start_accept(port, op);
                return false;
        }
        op_end(port, op, op_cancelled(op) ? -ECANCELED : res, 0, 0, event);
        return true;
}

bool uring_recv_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                          struct berth_event *event)
{
        uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        bool more = flags & IORING_CQE_F_MORE;
        if (flags & IORING_CQE_F_BUFFER)
                buffers_note_taken(&port->buffers, buffer);
        if (res > 0) {
                bool goes_on = op->flags & OP_MULTISHOT;
                op_end(port, op, res, BERTH_BUFFER | (goes_on ? BERTH_MORE : 0), buffer, event);
                if (goes_on)
                        keep_multishot(port, op, more, uring_start_recv);
                return true;
        }
        if (flags & IORING_CQE_F_BUFFER)
                port->engine->buffer_put(port, buffer);
        if (more)
                return false;
        if (res == -ENOBUFS && !op_cancelled(op)) {
                op_starve(port, op);
                return false;
        }
        op_end(port, op, res == -ENOBUFS ? -ECANCELED : res, 0, 0, event);
        return true;
}
