/* The io_uring engine. One ring per port, used by one thread (SINGLE_ISSUER, DEFER_TASKRUN): completions are worked
 * off when the thread asks for them, in batches, and one system call both submits and waits.
 *
 * Sockets live in the ring's own descriptor table (direct descriptors); uring_send.c tells what needs plain ones.
 * Accept and receive are multishot (uring_receive.c); receive buffers are a ring shared with the kernel. An older
 * kernel loses these one by one (docs/internals/port.md): 5.19 is the floor.
 *
 * Here are the ring itself and what goes in and out of it; each op's start and completion are in the files beside.
 */
#include "port/uring.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
        DEFAULT_ENTRIES = 1024,
        MAX_SLOTS = 1 << 20, /* of a ring's table, by the kernel's rule */
        RETRY_MS = 1,        /* for what the kernel would not take */
};

/* ---- submitting ---- */

struct io_uring_sqe *uring_get_sqe(struct uring_port *self)
{
        if (self->stingy && ++self->refusals % 3 == 0)
                return NULL;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
        if (sqe)
                return sqe;
        io_uring_submit(&self->ring);
        return io_uring_get_sqe(&self->ring);
}

struct io_uring_sqe *uring_get_op_sqe(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_sqe(uring_of(port));
        if (!sqe)
                op_runnable(port, op);
        return sqe;
}

/* ---- the engine's table ---- */

static void (*const starts[])(struct berth_port *, struct berth_op *) = {
        [OP_ACCEPT] = uring_start_accept,
        [OP_CONNECT] = uring_start_connect,
        [OP_WAIT_READABLE] = uring_start_wait_readable,
        [OP_RECV] = uring_start_recv,
        [OP_SEND] = uring_start_send,
        [OP_SENDV] = uring_start_sendv,
        [OP_SEND_FILE] = uring_start_send_file,
        [OP_SHUTDOWN] = uring_start_shutdown,
        [OP_PEER_ADDRESS] = uring_start_peer_address,
        [OP_CLOSE] = uring_start_close,
        [OP_OPEN] = uring_start_open,
        [OP_READ] = uring_start_read,
        [OP_WRITE] = uring_start_write,
        [OP_CALL] = uring_start_call,
};

static void uring_start(struct berth_port *port, struct berth_op *op)
{
        ensure(op->kind < array_count(starts) && starts[op->kind]);
        starts[op->kind](port, op);
}

/* A send_file's next turn, or an op that found no room in the submission queue. */
static bool uring_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        (void)event;
        uring_start(port, op);
        return false;
}

static void uring_cancel(struct berth_port *port, struct berth_op *op)
{
        if (op->kind == OP_CALL) {
                if (workers_cancel(port->workers, op))
                        op_finish(port, op, -ECANCELED);
                return;
        }
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = self->cancels.count ? NULL : uring_get_sqe(self);
        if (sqe) {
                io_uring_prep_cancel(sqe, op, 0);
                submit_for_nobody(sqe, DATA_NOBODY);
        } else if (!(op->flags & OP_CANCEL_WAITS)) {
                op->flags |= OP_CANCEL_WAITS;
                op_queue_push(&self->cancels, op);
        }
}

/* Cancels that found the submission queue full and the kernel unwilling to empty it. */
static void submit_late_cancels(struct uring_port *self)
{
        while (self->cancels.count > 0) {
                struct io_uring_sqe *sqe = uring_get_sqe(self);
                if (!sqe)
                        return;
                struct berth_op *op = op_queue_pop(&self->cancels);
                op->flags &= (uint16_t)~OP_CANCEL_WAITS;
                io_uring_prep_cancel(sqe, op, 0);
                submit_for_nobody(sqe, DATA_NOBODY);
        }
}

/* The op has come to its end before its cancel went out. */
static void forget_cancel(struct uring_port *self, struct berth_op *op)
{
        for (uint32_t n = self->cancels.count; n > 0; n--) {
                struct berth_op *other = op_queue_pop(&self->cancels);
                if (other != op)
                        op_queue_push(&self->cancels, other);
        }
        op->flags &= (uint16_t)~OP_CANCEL_WAITS;
}

static bool op_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                         struct berth_event *event)
{
        ensure(op->state == OP_PENDING);
        if (op->flags & OP_CANCEL_WAITS && !(flags & IORING_CQE_F_MORE))
                forget_cancel(uring_of(port), op);
        switch (op->kind) {
        case OP_ACCEPT:
                return uring_accept_completed(port, op, res, flags, event);
        case OP_CONNECT:
                return uring_connect_completed(port, op, res, event);
        case OP_RECV:
                return uring_recv_completed(port, op, res, flags, event);
        case OP_SEND:
                return uring_send_completed(port, op, res, event);
        case OP_SENDV:
                return uring_sendv_completed(port, op, res, event);
        case OP_SEND_FILE:
                return uring_send_file_completed(port, op, res, event);
        case OP_PEER_ADDRESS:
                return uring_peer_address_completed(port, op, res, event);
        case OP_CLOSE:
                return uring_close_completed(port, op, res, event);
        case OP_OPEN:
                return uring_open_completed(port, op, res, event);
        case OP_WAIT_READABLE:
                op_end(port, op, min_of(res, 0), 0, 0, event); /* a poll's result is its event mask */
                return true;
        default:
                op_end(port, op, res, 0, 0, event);
                return true;
        }
}

/* ---- waiting ---- */

static void arm_wake(struct uring_port *self)
{
        struct io_uring_sqe *sqe = uring_get_sqe(self);
        if (!sqe)
                return;
        io_uring_prep_poll_multishot(sqe, self->wake, POLLIN);
        submit_for_nobody(sqe, DATA_WAKE);
        self->wake_armed = true;
}

static void woken(struct uring_port *self, unsigned flags)
{
        uint64_t count;
        ssize_t n = read(self->wake, &count, sizeof(count));
        (void)n;
        self->wake_armed = flags & IORING_CQE_F_MORE;
}

/* Nothing to submit, and no work of the kernel's that waits for us to call. */
static bool idle(struct uring_port *self)
{
        return io_uring_sq_ready(&self->ring) == 0 &&
               !(IO_URING_READ_ONCE(*self->ring.sq.kflags) & (IORING_SQ_CQ_OVERFLOW | IORING_SQ_TASKRUN));
}

static int submit_and_wait(struct uring_port *self, int timeout_ms)
{
        struct io_uring_cqe *cqe;
        if (timeout_ms == 0)
                return idle(self) ? 0 : io_uring_submit_and_get_events(&self->ring);
        struct __kernel_timespec time = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000ll };
        return io_uring_submit_and_wait_timeout(&self->ring, &cqe, 1, timeout_ms < 0 ? NULL : &time, NULL);
}

static bool harmless(int error)
{
        return error == -ETIME || error == -EINTR || error == -EAGAIN || error == -EBUSY;
}

static int uring_wait(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        struct uring_port *self = uring_of(port);
        submit_late_cancels(self);
        if (!self->wake_armed)
                arm_wake(self);
        if (self->cancels.count > 0 || !self->wake_armed)
                timeout_ms = timeout_ms < 0 ? RETRY_MS : min_of(timeout_ms, (int)RETRY_MS);
        int error = submit_and_wait(self, timeout_ms);
        if (error < 0 && !harmless(error))
                return error;
        struct io_uring_cqe *cqe;
        unsigned head, seen = 0, n = 0;
        io_uring_for_each_cqe(&self->ring, head, cqe)
        {
                if (n == count)
                        break;
                seen++;
                if (cqe->user_data == DATA_WAKE)
                        woken(self, cqe->flags);
                else if (cqe->user_data != DATA_NOBODY &&
                         op_completed(port, io_uring_cqe_get_data(cqe), cqe->res, cqe->flags, &events[n]))
                        n++;
        }
        io_uring_cq_advance(&self->ring, seen);
        return (int)n;
}

static void uring_wake(struct berth_port *port)
{
        uint64_t one = 1;
        ssize_t n = write(uring_of(port)->wake, &one, sizeof(one));
        (void)n; /* full: it is awake already */
}

static uint64_t uring_now_ms(struct berth_port *port)
{
        (void)port;
        return clock_ms();
}

/* ---- buffers ---- */

static void give_to_kernel(struct uring_port *self, uint16_t buffer)
{
        struct buffers *buffers = &self->port.buffers;
        int mask = io_uring_buf_ring_mask(buffers->count);
        io_uring_buf_ring_add(self->buffer_ring, buffers_data(buffers, buffer), buffers->bytes, buffer, mask, 0);
        io_uring_buf_ring_advance(self->buffer_ring, 1);
}

static void uring_buffer_put(struct berth_port *port, uint16_t buffer)
{
        buffers_note_given(&port->buffers, buffer);
        give_to_kernel(uring_of(port), buffer);
}

/* ---- making and ending ---- */

/* For tests of what older kernels lack, or of a kernel short of memory: any of
 * BERTH_URING_WITHOUT=defer,direct,multishot,waitall,room. */
static bool without(const char *feature)
{
        const char *list = getenv("BERTH_URING_WITHOUT");
        return list && strstr(list, feature);
}

/* The ring with all that the kernel knows, then with less. */
static int make_ring(struct uring_port *self, unsigned entries)
{
        static const unsigned flags[] = {
                IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, /* 6.1 */
                IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,                               /* 5.19 */
        };
        int error = -EINVAL;
        for (size_t i = without("defer"); i < array_count(flags) && error == -EINVAL; i++) {
                struct io_uring_params params = {
                        .flags = flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
                        .cq_entries = entries * 4,
                };
                error = io_uring_queue_init_params(entries, &self->ring, &params);
        }
        self->ring_made = error == 0;
        return error;
}

static int register_buffers(struct uring_port *self)
{
        struct buffers *buffers = &self->port.buffers;
        self->buffer_ring_bytes = buffers->count * sizeof(struct io_uring_buf);
        void *memory = mmap(NULL, self->buffer_ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return -ENOMEM;
        self->buffer_ring = memory;
        struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)memory,
                                        .ring_entries = buffers->count,
                                        .bgid = BUFFER_GROUP };
        int error = io_uring_register_buf_ring(&self->ring, &reg, 0);
        if (error)
                return error;
        for (unsigned i = 0; i < buffers->count; i++)
                give_to_kernel(self, (uint16_t)i);
        return 0;
}

static rlim_t descriptor_limit(void)
{
        struct rlimit limit;
        return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : limit.rlim_cur;
}

static bool supported(struct uring_port *self, int opcode)
{
        struct io_uring_probe *probe = io_uring_get_probe_ring(&self->ring);
        bool yes = probe && io_uring_opcode_supported(probe, opcode);
        io_uring_free_probe(probe);
        return yes;
}

/* Direct descriptors are of use only where a plain one can be had for them. */
static void register_table(struct uring_port *self, const struct berth_port_config *config)
{
        rlim_t limit = min_of(descriptor_limit(), (rlim_t)MAX_SLOTS);
        unsigned slots = config->max_handles ? min_of(config->max_handles, (unsigned)limit) : (unsigned)limit;
        if (without("direct") || !supported(self, OP_FIXED_FD_INSTALL))
                return;
        self->installed_limit = (unsigned)limit / 2;
        self->direct = io_uring_register_files_sparse(&self->ring, slots) == 0;
        self->slots = slots;
}

static int set_up(struct uring_port *self, const struct berth_port_config *config)
{
        unsigned entries = config->ring_entries ? config->ring_entries : DEFAULT_ENTRIES;
        int error = make_ring(self, entries);
        if (error)
                return error;
        self->scratch = calloc(self->ring.sq.ring_entries, sizeof(*self->scratch));
        if (!self->scratch)
                return -ENOMEM;
        void *discarded = mmap(NULL, SEND_FILE_WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                               0);
        if (discarded == MAP_FAILED)
                return -ENOMEM;
        self->discarded = discarded;
        error = register_buffers(self);
        if (error)
                return error;
        register_table(self, config);
        io_uring_register_ring_fd(&self->ring); /* saves a look-up per call; an older kernel goes without */
        self->accept_multishot = !without("multishot");
        self->recv_multishot = self->accept_multishot && supported(self, IORING_OP_SEND_ZC); /* both came with 6.0 */
        self->stingy = without("room");
        self->wait_all = without("waitall") ? 0 : MSG_WAITALL;
        self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (self->wake < 0)
                return -errno;
        return 0;
}

static void uring_destroy(struct berth_port *port)
{
        struct uring_port *self = uring_of(port);
        port_finish(port);
        if (self->ring_made)
                io_uring_queue_exit(&self->ring);
        if (self->buffer_ring)
                munmap(self->buffer_ring, self->buffer_ring_bytes);
        if (self->discarded)
                munmap(self->discarded, SEND_FILE_WINDOW_BYTES);
        if (self->wake >= 0)
                close(self->wake);
        free(self->scratch);
        free(self);
}

static int uring_create(struct berth_port **port, const struct berth_port_config *config)
{
        struct uring_port *self = calloc(1, sizeof(*self));
        if (!self)
                return -ENOMEM;
        self->wake = -1;
        int error = port_init(&self->port, &uring_engine, config);
        if (error) {
                free(self);
                return error;
        }
        error = set_up(self, config);
        if (error) {
                uring_destroy(&self->port);
                return error;
        }
        *port = &self->port;
        return 0;
}

const struct engine uring_engine = {
        .name = "uring",
        .create = uring_create,
        .destroy = uring_destroy,
        .now_ms = uring_now_ms,
        .wait = uring_wait,
        .wake = uring_wake,
        .start = uring_start,
        .step = uring_step,
        .cancel = uring_cancel,
        .listen = uring_listen,
        .listen_adopt = uring_listen_adopt,
        .listen_address = uring_listen_address,
        .adopt = uring_adopt,
        .adopt_pollable = uring_adopt_pollable,
        .drop = uring_drop,
        .buffer_put = uring_buffer_put,
};
