/* Accept on io_uring. An accepted socket gets a slot of a ring's table, and the kernel would close it if none were
 * free; so what is armed depends on how many slots are left (uring_slots.c).
 *
 *     plenty   MULTISHOT: one submission, and the kernel delivers until it clears F_MORE; then it is submitted again
 *     some     WAITING for somebody to connect, then ONE accept with a slot promised, which does not wait
 *     none     WAITING; when somebody has come the op ends with -ENFILE, and he stays in the kernel's queue
 *
 * Plain descriptors need only the port's bound kept: the kernel has a number for a connection before it takes it.
 */
#include "port/uring.h"

#include <poll.h>

static void set_step(struct berth_op *op, enum accept_step step, const struct uring_ring *ring)
{
        op_space(op)->accept.step = step;
        op_space(op)->accept.ring = ring->index;
}

static void prep_accept(struct uring_port *self, struct io_uring_sqe *sqe, int listener, bool multishot)
{
        int flags = SOCK_NONBLOCK | (self->direct ? 0 : SOCK_CLOEXEC); /* a direct one rejects SOCK_CLOEXEC */
        if (multishot)
                io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, flags);
        else
                io_uring_prep_accept(sqe, listener, NULL, NULL, flags);
        if (self->direct)
                sqe->file_index = IORING_FILE_INDEX_ALLOC;
}

static void accept_many(struct uring_port *self, struct uring_ring *ring, struct berth_op *op)
{
        set_step(op, ACCEPT_MULTISHOT, ring);
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring, op);
        if (!sqe) {
                uring_end_multishot(self, op);
                return;
        }
        prep_accept(self, sqe, op->handle->descriptor, true);
        submit(sqe, op);
}

static void wait_for_somebody(struct uring_port *self, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, first_ring(self), op);
        if (!sqe)
                return;
        set_step(op, ACCEPT_WAITING, first_ring(self));
        io_uring_prep_poll_add(sqe, op->handle->descriptor, POLLIN);
        submit(sqe, op);
}

/* The cancel that follows at once makes it one that does not wait: on a slot that is promised to nobody in particular
 * another listener may depend. False: there is no slot. */
static bool accept_one(struct uring_port *self, struct berth_op *op)
{
        struct uring_ring *ring = uring_take_slot(self);
        if (!ring)
                return false;
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring, op);
        if (!sqe) {
                uring_give_slot(self, ring);
                return true;
        }
        set_step(op, ACCEPT_ONE, ring);
        prep_accept(self, sqe, op->handle->descriptor, false);
        submit(sqe, op);
        uring_end_soon(self, op);
        return true;
}

void uring_start_accept(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct uring_ring *ring = self->accept_multishot ? uring_begin_multishot(self, op) : NULL;
        if (ring)
                accept_many(self, ring, op);
        else
                wait_for_somebody(self, op);
}

/* One has been accepted: is there another? */
static void accept_next(struct uring_port *self, struct berth_op *op)
{
        struct uring_ring *ring = self->accept_multishot ? uring_begin_multishot(self, op) : NULL;
        if (ring)
                accept_many(self, ring, op);
        else if (!accept_one(self, op))
                wait_for_somebody(self, op);
}

/* Somebody has come. */
static void accept_somebody(struct uring_port *self, struct berth_op *op)
{
        if (accept_one(self, op))
                return;
        if (uring_slot_may_come(self))
                op_runnable(&self->port, op);
        else
                op_finish(&self->port, op, -ENFILE);
}

static bool accepted(struct uring_port *self, struct berth_op *op, int res, bool more, struct berth_event *event)
{
        struct uring_ring *ring = self->rings[op_space(op)->accept.ring];
        self->port.stats.handles++;
        int64_t connection = self->direct ? (int64_t)ring->index << SLOT_BITS | res : res;
        op_end(&self->port, op, connection, BERTH_MORE, 0, event);
        if (more)
                return true;
        if (op_cancelled(op))
                op_finish(&self->port, op, -ECANCELED);
        else
                accept_next(self, op);
        return true;
}

/* Keeps the counts; `more`: the kernel keeps it armed. */
static void note_result(struct uring_port *self, struct berth_op *op, int res, bool more)
{
        struct op_space *space = op_space(op);
        struct uring_ring *ring = self->rings[space->accept.ring];
        if (space->accept.step == ACCEPT_ONE && res < 0)
                uring_give_slot(self, ring);
        if (space->accept.step != ACCEPT_MULTISHOT && space->accept.step != ACCEPT_STOPPING)
                return;
        bool stop = res >= 0 && uring_count_accepted(self, ring);
        if (!more) {
                uring_end_multishot(self, op);
        } else if (stop && space->accept.step == ACCEPT_MULTISHOT) {
                space->accept.step = ACCEPT_STOPPING;
                uring_end_soon(self, op);
        }
}

bool uring_accept_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                            struct berth_event *event)
{
        struct uring_port *self = uring_of(port);
        bool more = flags & IORING_CQE_F_MORE;
        uint32_t step = op_space(op)->accept.step;
        note_result(self, op, res, more);
        if (step != ACCEPT_WAITING && res >= 0)
                return accepted(self, op, res, more, event);
        if (more)
                return false;
        if (op_cancelled(op)) {
                op_end(port, op, -ECANCELED, 0, 0, event);
                return true;
        }
        if (res >= 0) {
                accept_somebody(self, op);
                return false;
        }
        bool ours = res == -ECANCELED && (step == ACCEPT_ONE || step == ACCEPT_STOPPING);
        if (ours || res == -EAGAIN || sockets_accept_again(-res)) {
                uring_start_accept(port, op);
                return false;
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}
