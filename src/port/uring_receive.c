/* What comes in on io_uring: wait_readable, recv_now, rest, recv.
 *
 * On the first ring a receive lets the kernel pick its buffer when there are bytes (uring_buffers.c), and starves when
 * it finds none. It is multishot where that was asked for: one submission, and the kernel delivers until it clears
 * F_MORE; then it is submitted again.
 *
 * On a further ring, and where the pool is tiny, a receive brings its buffer, and has it for one try that does not wait
 * (RECEIVING). Unless something is said to be there (HANDLE_READABLE) it first waits without one (POLLING).
 */
#include "port/uring.h"

#include <poll.h>

enum recv_step { RECV_POLLING, RECV_RECEIVING };

/* ---- wait_readable ---- */

void uring_start_wait_readable(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        io_uring_prep_poll_add(sqe, target_of(op->handle), POLLIN | POLLRDHUP);
        submit(sqe, op);
}

/* ---- recv_now ---- */

void uring_start_recv_now(struct berth_port *port, struct berth_op *op)
{
        const struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        io_uring_prep_recv(sqe, target_of(op->handle), space->recv_now.data, space->recv_now.size, MSG_DONTWAIT);
        submit(sqe, op);
}

/* ---- rest ---- */

static uint64_t rest_data(const struct berth_handle *handle)
{
        return (uintptr_t)handle | DATA_REST;
}

/* Without room for the submission it is a short rest. A plain descriptor for the socket is of no use meanwhile. */
void uring_rest(struct berth_port *port, struct berth_handle *handle)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = uring_get_sqe(self, ring_of(self, handle));
        if (handle->flags & HANDLE_DIRECT)
                uring_uninstall(handle);
        if (!sqe) {
                rest_finish(port, handle);
                return;
        }
        io_uring_prep_poll_add(sqe, target_of(handle), POLLIN | POLLRDHUP);
        if (handle->flags & HANDLE_DIRECT)
                sqe->flags |= IOSQE_FIXED_FILE;
        io_uring_sqe_set_data64(sqe, rest_data(handle));
}

static bool submit_unrest(struct uring_port *self, struct berth_handle *handle)
{
        struct io_uring_sqe *sqe = uring_get_sqe(self, ring_of(self, handle));
        if (!sqe)
                return false;
        io_uring_prep_cancel64(sqe, rest_data(handle), 0);
        submit_for_nobody(sqe, DATA_NOBODY);
        return true;
}

/* In the queue; the last one links to itself. */
static bool unrest_waits(const struct berth_handle *handle)
{
        return handle->sender != NULL;
}

static void push_unrest(struct handle_queue *queue, struct berth_handle *handle)
{
        handle->sender = (struct berth_op *)handle;
        if (queue->last)
                queue->last->sender = (struct berth_op *)handle;
        else
                queue->first = handle;
        queue->last = handle;
        queue->count++;
}

static struct berth_handle *pop_unrest(struct handle_queue *queue)
{
        struct berth_handle *handle = queue->first;
        queue->first = handle == queue->last ? NULL : (struct berth_handle *)handle->sender;
        if (!queue->first)
                queue->last = NULL;
        queue->count--;
        handle->sender = NULL;
        return handle;
}

void uring_unrest(struct berth_port *port, struct berth_handle *handle)
{
        struct uring_port *self = uring_of(port);
        if (self->unrests.count || !submit_unrest(self, handle))
                push_unrest(&self->unrests, handle);
}

void uring_submit_late_unrests(struct uring_port *self)
{
        while (self->unrests.count && submit_unrest(self, self->unrests.first))
                pop_unrest(&self->unrests);
}

static void forget_unrest(struct uring_port *self, struct berth_handle *handle)
{
        for (uint32_t n = self->unrests.count; n > 0; n--) {
                struct berth_handle *other = pop_unrest(&self->unrests);
                if (other != handle)
                        push_unrest(&self->unrests, other);
        }
}

/* It has seen something, or was cancelled. */
bool uring_rest_completed(struct uring_port *self, struct berth_handle *handle, struct berth_event *event)
{
        if (unrest_waits(handle))
                forget_unrest(self, handle);
        handle->flags |= HANDLE_READABLE;
        return rest_end(&self->port, handle, event);
}

/* ---- recv with the kernel's choice of a buffer ---- */

static void submit_recv(struct uring_port *self, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, first_ring(self), op);
        if (!sqe)
                return;
        if (op->flags & OP_MULTISHOT && self->recv_multishot)
                io_uring_prep_recv_multishot(sqe, target_of(op->handle), NULL, 0, 0);
        else
                io_uring_prep_recv(sqe, target_of(op->handle), NULL, 0, 0);
        sqe->buf_group = BUFFER_GROUP;
        submit(sqe, op);
        sqe->flags |= IOSQE_BUFFER_SELECT;
}

/* A receive has delivered; `more`: the kernel keeps it armed. Otherwise a multishot one is armed again, or ends because
 * that was asked for, with an event of its own. */
static bool deliver(struct berth_port *port, struct berth_op *op, int res, uint16_t buffer, bool more,
                    struct berth_event *event)
{
        bool goes_on = op->flags & OP_MULTISHOT;
        op_end(port, op, res, BERTH_BUFFER | (goes_on ? BERTH_MORE : 0), buffer, event);
        if (!goes_on || more)
                return true;
        if (op_cancelled(op))
                op_finish(port, op, -ECANCELED);
        else
                uring_start_recv(port, op);
        return true;
}

/* All completions of this ring up to now have been seen, so what we think it has is what it has. */
static void found_no_buffer(struct uring_port *self, struct berth_op *op)
{
        uring_deepen(self);
        if (uring_provide(self))
                submit_recv(self, op);
        else
                op_starve(&self->port, op, &self->starved);
}

static bool recv_completed(struct uring_port *self, struct berth_op *op, int res, unsigned flags,
                           struct berth_event *event)
{
        uint16_t buffer = (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT);
        bool more = flags & IORING_CQE_F_MORE;
        if (flags & IORING_CQE_F_BUFFER)
                uring_note_taken(self, buffer);
        if (res > 0)
                return deliver(&self->port, op, res, buffer, more, event);
        if (flags & IORING_CQE_F_BUFFER)
                uring_buffer_put(&self->port, buffer);
        if (more)
                return false;
        if (res == -ENOBUFS && !op_cancelled(op)) {
                found_no_buffer(self, op);
                return false;
        }
        op_end(&self->port, op, res == -ENOBUFS ? -ECANCELED : res, 0, 0, event);
        return true;
}

/* ---- recv into a buffer of its own ---- */

static void submit_poll_in(struct uring_port *self, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring_of(self, op->handle), op);
        if (!sqe)
                return;
        op_space(op)->recv.step = RECV_POLLING;
        io_uring_prep_poll_add(sqe, target_of(op->handle), POLLIN | POLLRDHUP);
        submit(sqe, op);
}

static void receive_now(struct uring_port *self, struct berth_op *op)
{
        struct buffers *buffers = &self->port.buffers;
        uint16_t buffer;
        if (!buffers_take(buffers, &buffer)) {
                op_starve(&self->port, op, &self->port.starved);
                return;
        }
        struct io_uring_sqe *sqe = uring_get_op_sqe(&self->port, ring_of(self, op->handle), op);
        if (!sqe) {
                buffers_give(buffers, buffer);
                return;
        }
        op_space(op)->recv.step = RECV_RECEIVING;
        op_space(op)->recv.buffer = buffer;
        io_uring_prep_recv(sqe, target_of(op->handle), buffers_data(buffers, buffer), buffers->bytes, MSG_DONTWAIT);
        submit(sqe, op);
}

static void start_own_recv(struct uring_port *self, struct berth_op *op)
{
        if (op->handle->flags & HANDLE_READABLE)
                receive_now(self, op);
        else
                submit_poll_in(self, op);
}

/* A receive that leaves room in its buffer has drained the socket; a poll looks before it waits. */
static bool own_recv_completed(struct uring_port *self, struct berth_op *op, int res, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        bool polled = op_space(op)->recv.step == RECV_POLLING;
        uint16_t buffer = (uint16_t)op_space(op)->recv.buffer;
        if (polled && res >= 0)
                handle->flags |= HANDLE_READABLE;
        else if (!polled && res < (int)self->port.buffers.bytes)
                handle->flags &= (uint8_t)~HANDLE_READABLE;
        if (!polled && res > 0)
                return deliver(&self->port, op, res, buffer, false, event);
        if (!polled)
                uring_buffer_put(&self->port, buffer);
        bool again = polled ? res >= 0 : res == -EAGAIN;
        if (again && !op_cancelled(op)) {
                start_own_recv(self, op);
                return false;
        }
        op_end(&self->port, op, again ? -ECANCELED : res, 0, 0, event);
        return true;
}

/* ---- either ---- */

void uring_start_recv(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        if (!uring_provides(self, ring_of(self, op->handle))) {
                start_own_recv(self, op);
                return;
        }
        if (self->provided == 0)
                uring_provide(self);
        submit_recv(self, op);
}

bool uring_recv_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                          struct berth_event *event)
{
        struct uring_port *self = uring_of(port);
        return uring_provides(self, ring_of(self, op->handle)) ? recv_completed(self, op, res, flags, event)
                                                               : own_recv_completed(self, op, res, event);
}
