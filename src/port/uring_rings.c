/* The rings of a port: making them, submitting to them, waiting for them.
 *
 * One ring's table of direct descriptors has at most RLIMIT_NOFILE slots. A port that may carry more connections than
 * that makes further rings as they are needed, each with a table of its own and smaller queues. Everything on a direct
 * descriptor is submitted to its ring; the first ring has the rest: files, listeners, plain sockets, the wake-up.
 *
 * The thread waits on the first ring only. A further ring tells of its work through the port's eventfd, which the
 * first ring polls: polling the ring's own descriptor would not do, for work that is put off until we ask for it
 * (DEFER_TASKRUN) does not wake such a poll. While there is enough to do the eventfd is left alone; it is emptied, and
 * each ring looked at once more, before the thread goes to sleep.
 */
#include "port/uring.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { FURTHER_ENTRIES = 256 }; /* submission queue of a further ring at most */

/* ---- making and ending ---- */

/* The ring with all that the kernel knows, then with less. */
static int set_up_queues(struct io_uring *io, unsigned entries, unsigned completions)
{
        static const unsigned flags[] = {
                IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, /* 6.1 */
                IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,                               /* 5.19 */
        };
        int error = -EINVAL;
        for (size_t i = uring_without("defer"); i < array_count(flags) && error == -EINVAL; i++) {
                struct io_uring_params params = {
                        .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
                        .cq_entries = completions,
                };
                error = io_uring_queue_init_params(entries, io, &params);
        }
        return error;
}

static void end_ring(struct uring_ring *ring)
{
        io_uring_queue_exit(&ring->io);
        free(ring->scratch);
        free(ring);
}

static int make_ring(struct uring_ring **made, unsigned entries, unsigned completions)
{
        struct uring_ring *ring = calloc(1, sizeof(*ring));
        if (!ring)
                return -ENOMEM;
        int error = set_up_queues(&ring->io, entries, completions);
        if (error) {
                free(ring);
                return error;
        }
        ring->scratch = calloc(ring->io.sq.ring_entries, sizeof(*ring->scratch));
        if (!ring->scratch) {
                end_ring(ring);
                return -ENOMEM;
        }
        io_uring_register_ring_fd(&ring->io); /* saves a look-up per call; not every ring can have it */
        *made = ring;
        return 0;
}

/* A further ring has a table like the first, and wakes the first. */
static int prepare_further(struct uring_port *self, struct uring_ring *ring)
{
        int error = io_uring_register_files_sparse(&ring->io, first_ring(self)->slots);
        if (!error)
                error = io_uring_register_eventfd(&ring->io, self->wake);
        ring->slots = first_ring(self)->slots;
        return error;
}

int uring_add_ring(struct uring_port *self)
{
        struct uring_ring *ring;
        bool further = self->ring_count > 0;
        if (further && self->ring_count >= self->ring_room)
                return -ENFILE;
        unsigned entries = further ? min_of(self->entries, (unsigned)FURTHER_ENTRIES) : self->entries;
        /* The kernel looks up what is to be cancelled in a table as large as the completion queue lets it be, and a
         * further ring has thousands of polls: a large queue there halves the cost of closing them. */
        int error = make_ring(&ring, entries, self->entries * 4);
        if (error)
                return error;
        error = further ? prepare_further(self, ring) : 0;
        if (error) {
                end_ring(ring);
                return error;
        }
        ring->index = self->ring_count;
        self->rings[self->ring_count++] = ring;
        self->port.stats.rings = self->ring_count;
        return 0;
}

void uring_end_rings(struct uring_port *self)
{
        while (self->ring_count > 0)
                end_ring(self->rings[--self->ring_count]);
        free(self->rings);
}

/* ---- submitting ---- */

struct io_uring_sqe *uring_get_sqe(struct uring_port *self, struct uring_ring *ring)
{
        if (self->stingy && ++self->refusals % 3 == 0)
                return NULL;
        ring->dirty = true;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);
        if (sqe)
                return sqe;
        io_uring_submit(&ring->io);
        return io_uring_get_sqe(&ring->io);
}

struct io_uring_sqe *uring_get_op_sqe(struct berth_port *port, struct uring_ring *ring, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_sqe(uring_of(port), ring);
        if (!sqe)
                op_runnable(port, op);
        return sqe;
}

/* ---- the eventfd ---- */

void uring_wake(struct berth_port *port)
{
        struct uring_port *self = uring_of(port);
        uint64_t one = 1;
        atomic_store(&self->woken, true);
        ssize_t n = write(self->wake, &one, sizeof(one));
        (void)n; /* full: it is awake already */
}

static void empty_eventfd(struct uring_port *self)
{
        uint64_t count;
        ssize_t n = read(self->wake, &count, sizeof(count));
        (void)n;
}

/* Several rings end the poll at each signal of theirs, so there it is made for one. */
static void arm_wake(struct uring_port *self)
{
        struct io_uring_sqe *sqe = uring_get_sqe(self, first_ring(self));
        if (!sqe)
                return;
        if (self->ring_count > 1)
                io_uring_prep_poll_add(sqe, self->wake, POLLIN);
        else
                io_uring_prep_poll_multishot(sqe, self->wake, POLLIN);
        submit_for_nobody(sqe, DATA_WAKE);
        self->wake_armed = true;
}

static void heard_wake(struct uring_port *self, unsigned flags)
{
        self->wake_armed = flags & IORING_CQE_F_MORE;
        if (self->wake_armed || self->ring_count == 1)
                empty_eventfd(self); /* else before it is armed again */
        atomic_exchange(&self->woken, false);
}

/* ---- entering the kernel ---- */

static bool has_work(const struct uring_ring *ring)
{
        return IO_URING_READ_ONCE(*ring->io.sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN);
}

static bool harmless(int error)
{
        return error >= 0 || error == -ETIME || error == -EINTR || error == -EAGAIN || error == -EBUSY;
}

/* Submits, and runs what has come. */
static int enter(struct uring_ring *ring)
{
        int error = io_uring_submit_and_get_events(&ring->io);
        ring->dirty = io_uring_sq_ready(&ring->io) > 0;
        return error;
}

/* What was prepared for the further rings goes in; *retry: not all of it could. */
static int submit_further(struct uring_port *self, bool *retry)
{
        for (uint32_t i = 1; i < self->ring_count; i++) {
                struct uring_ring *ring = self->rings[i];
                int error = ring->dirty ? enter(ring) : 0;
                if (!harmless(error))
                        return error;
                *retry |= ring->dirty;
        }
        return 0;
}

static bool anything_further(const struct uring_port *self)
{
        for (uint32_t i = 1; i < self->ring_count; i++)
                if (has_work(self->rings[i]) || io_uring_cq_ready(&self->rings[i]->io) > 0)
                        return true;
        return false;
}

/* With several rings: makes sure that whatever happens from now on ends the wait. False: something has happened. */
static bool prepare_sleep(struct uring_port *self)
{
        if (!self->wake_armed) {
                empty_eventfd(self);
                if (atomic_exchange(&self->woken, false) || atomic_load(&self->port.posted))
                        return false;
                arm_wake(self);
        }
        return self->wake_armed && !anything_further(self);
}

static int submit_and_wait(struct uring_ring *ring, int timeout_ms)
{
        struct io_uring_cqe *cqe;
        ring->dirty = false;
        if (timeout_ms == 0)
                return io_uring_sq_ready(&ring->io) == 0 && !has_work(ring) ? 0
                                                                            : io_uring_submit_and_get_events(&ring->io);
        struct __kernel_timespec time = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll };
        return io_uring_submit_and_wait_timeout(&ring->io, &cqe, 1, timeout_ms < 0 ? NULL : &time, NULL);
}

/* ---- reaping ---- */

static unsigned reap_ring(struct uring_port *self, struct uring_ring *ring, struct berth_event *events, unsigned count)
{
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0, n = 0;
        io_uring_for_each_cqe(&ring->io, head, cqe)
        {
                if (n == count)
                        break;
                seen++;
                if (cqe->user_data == DATA_WAKE)
                        heard_wake(self, cqe->flags);
                else if (cqe->user_data != DATA_NOBODY)
                        n += uring_completed(self, cqe, &events[n]);
        }
        io_uring_cq_advance(&ring->io, seen);
        return n;
}

/* Runs what has come to a further ring, unless some of it still waits to be reaped. */
static int look_after(struct uring_ring *ring)
{
        return ring->index > 0 && has_work(ring) && io_uring_cq_ready(&ring->io) == 0 ? enter(ring) : 0;
}

/* Each ring gets a share of the room, beginning with another one each time; what is left goes to who has more. */
static int reap_rings(struct uring_port *self, struct berth_event *events, unsigned count)
{
        unsigned n = 0;
        uint32_t rings = self->ring_count, first = self->turn++ % rings;
        for (uint32_t i = 0; i < 2 * rings && n < count; i++) {
                struct uring_ring *ring = self->rings[(first + i) % rings];
                unsigned share = i < rings ? max_of((count - n) / (rings - i), 1u) : count - n;
                int error = i < rings ? look_after(ring) : 0;
                if (!harmless(error) && n == 0)
                        return error;
                n += reap_ring(self, ring, events + n, share);
        }
        return (int)n;
}

/* The shorter one; -1 is without end. */
static int sooner(int a_ms, int b_ms)
{
        return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int wait_for_many(struct uring_port *self, struct berth_event *events, unsigned count, int timeout_ms)
{
        bool retry = false;
        int error = submit_further(self, &retry);
        if (!harmless(error))
                return error;
        if (timeout_ms != 0 && (anything_further(self) || !prepare_sleep(self)))
                timeout_ms = 0;
        error = submit_and_wait(first_ring(self), retry ? sooner(timeout_ms, RETRY_MS) : timeout_ms);
        return harmless(error) ? reap_rings(self, events, count) : error;
}

int uring_wait(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        struct uring_port *self = uring_of(port);
        timeout_ms = sooner(timeout_ms, uring_catch_up(self));
        if (self->ring_count > 1)
                return wait_for_many(self, events, count, timeout_ms);
        if (!self->wake_armed)
                arm_wake(self);
        if (!self->wake_armed)
                timeout_ms = sooner(timeout_ms, RETRY_MS);
        int error = submit_and_wait(first_ring(self), timeout_ms);
        return harmless(error) ? (int)reap_ring(self, first_ring(self), events, count) : error;
}
