/* The io_uring engine. A port has one ring, or several when it carries more sockets than a ring's table has room for
 * (uring_rings.c), used by one thread (SINGLE_ISSUER, DEFER_TASKRUN): completions are worked off when the thread asks
 * for them, in batches, and with one ring one system call both submits and waits.
 *
 * Sockets live in the rings' own descriptor tables (direct descriptors; uring_slots.c counts them, uring_plain.c tells
 * what needs plain ones). Accept and receive are multishot where they can be; receive buffers are shared with the
 * kernel. An older kernel loses these one by one (docs/internals/port.md): 5.19 is the floor.
 *
 * Here are the table of ops and making a port; each op's start and completion are in the files beside.
 */
#include "port/uring.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
        DEFAULT_ENTRIES = 1024,
        PLAINLESS_MS = 5,           /* other ports may have given one back */
        MAX_SLOTS = 1 << SLOT_BITS, /* of a ring's table, by the kernel's rule */
        RING_PART = 16,             /* of RLIMIT_NOFILE, may be rings of one port */
};

/* ---- the engine's table ---- */

static void (*const starts[])(struct berth_port *, struct berth_op *) = {
        [OP_ACCEPT] = uring_start_accept,
        [OP_CONNECT] = uring_start_connect,
        [OP_WAIT_READABLE] = uring_start_wait_readable,
        [OP_RECV] = uring_start_recv,
        [OP_RECV_NOW] = uring_start_recv_now,
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

/* ---- cancelling ---- */

static struct uring_ring *ring_of_op(struct uring_port *self, struct berth_op *op)
{
        if (op->kind == OP_ACCEPT)
                return self->rings[op_space(op)->accept.ring];
        if (op->kind == OP_CONNECT)
                return uring_ring_of_connect(self, op);
        return ring_of(self, op->handle);
}

static bool submit_cancel(struct uring_port *self, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_sqe(self, ring_of_op(self, op));
        if (!sqe)
                return false;
        io_uring_prep_cancel(sqe, op, 0);
        submit_for_nobody(sqe, DATA_NOBODY);
        return true;
}

void uring_end_soon(struct uring_port *self, struct berth_op *op)
{
        if (op->flags & OP_CANCEL_WAITS || (self->cancels.count == 0 && submit_cancel(self, op)))
                return;
        op->flags |= OP_CANCEL_WAITS;
        op_queue_push(&self->cancels, op);
}

static void uring_cancel(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        if (op->kind == OP_CALL) {
                if (workers_cancel(port->workers, op))
                        op_finish(port, op, -ECANCELED);
        } else if (op->kind == OP_SEND_FILE && op_space(op)->send_file.step == SEND_FILE_PLAINLESS) {
                self->plain_cancelled = true;
        } else {
                uring_end_soon(self, op);
        }
}

int uring_catch_up(struct uring_port *self)
{
        self->deepened = false;
        while (self->cancels.count > 0 && submit_cancel(self, self->cancels.first))
                op_queue_pop(&self->cancels)->flags &= (uint16_t)~OP_CANCEL_WAITS;
        uring_submit_late_unrests(self);
        if (self->plainless.count > 0)
                uring_serve_plainless(self);
        if (!list_empty(&self->starved))
                uring_feed_starved(self);
        if (self->port.ready.count > 0)
                return 0;
        if (self->cancels.count > 0 || self->unrests.count > 0)
                return RETRY_MS;
        return self->plainless.count > 0 ? PLAINLESS_MS : -1;
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

/* ---- completions ---- */

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
                op->handle->flags |= HANDLE_READABLE;
                op_end(port, op, min_of(res, 0), 0, 0, event); /* a poll's result is its event mask */
                return true;
        default:
                op_end(port, op, res, 0, 0, event);
                return true;
        }
}

bool uring_completed(struct uring_port *self, const struct io_uring_cqe *cqe, struct berth_event *event)
{
        void *memory = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)DATA_REST);
        if (cqe->user_data & DATA_REST)
                return uring_rest_completed(self, memory, event);
        return op_completed(&self->port, memory, cqe->res, cqe->flags, event);
}

static uint64_t uring_now_ms(struct berth_port *port)
{
        (void)port;
        return clock_ms();
}

static uint32_t uring_max_handles(const struct berth_port *port)
{
        return ((const struct uring_port *)port)->max_handles;
}

/* ---- making and ending ---- */

/* BERTH_URING_WITHOUT=defer,direct,multishot,bind,waitall,room. */
bool uring_without(const char *feature)
{
        const char *list = getenv("BERTH_URING_WITHOUT");
        return list && strstr(list, feature);
}

bool uring_supported(struct uring_port *self, int opcode)
{
        struct io_uring_probe *probe = io_uring_get_probe_ring(&first_ring(self)->io);
        bool yes = probe && io_uring_opcode_supported(probe, opcode);
        io_uring_free_probe(probe);
        return yes;
}

/* A table's size: for tests of many rings BERTH_URING_SLOTS. */
static uint32_t most_slots(void)
{
        const char *told = getenv("BERTH_URING_SLOTS");
        uint32_t slots = min_of(sockets_limit(), (uint32_t)MAX_SLOTS);
        return told && atoi(told) > 0 ? min_of(slots, (uint32_t)atoi(told)) : slots;
}

/* Direct descriptors are of use only where a plain one can be had for them. Without them the first ring's slots are
 * just counted. Each ring may end up with a quarter of its slots kept for multishot accepts. */
static int register_table(struct uring_port *self, const struct berth_port_config *config)
{
        uint32_t limit = sockets_limit(), slots = most_slots();
        struct uring_ring *first = first_ring(self);
        self->max_handles = config->max_handles ? config->max_handles : limit;
        slots = min_of(slots, self->max_handles);
        self->installed_limit = max_of(limit / 2, 1u);
        if (!uring_without("direct") && uring_supported(self, OP_FIXED_FD_INSTALL))
                self->direct = io_uring_register_files_sparse(&first->io, slots) == 0;
        if (!self->direct)
                self->max_handles = slots = min_of(self->max_handles, limit);
        first->slots = slots;
        uint64_t rings = slots < self->max_handles ? (uint64_t)self->max_handles * 4 / 3 / slots + 2 : 1;
        uint64_t most = min_of(max_of((uint64_t)limit, 256ull) / RING_PART,
                               (uint64_t)MAX_RINGS); /* a descriptor each */
        self->ring_room = (uint32_t)min_of(rings, most);
        self->max_handles = (uint32_t)min_of((uint64_t)self->max_handles, (uint64_t)self->ring_room * slots);
        struct uring_ring **more = realloc(self->rings, self->ring_room * sizeof(*more));
        if (!more)
                return -ENOMEM;
        self->rings = more;
        return 0;
}

static void note_features(struct uring_port *self)
{
        self->accept_multishot = !uring_without("multishot");
        self->recv_multishot = self->accept_multishot && uring_supported(self, IORING_OP_SEND_ZC); /* both: 6.0 */
        self->can_bind = !uring_without("bind") && uring_supported(self, OP_BIND);
        self->stingy = uring_without("room");
        self->wait_all = uring_without("waitall") ? 0 : MSG_WAITALL;
}

static int set_up(struct uring_port *self, const struct berth_port_config *config)
{
        self->entries = config->ring_entries ? config->ring_entries : DEFAULT_ENTRIES;
        self->rings = calloc(1, sizeof(struct uring_ring *));
        if (!self->rings)
                return -ENOMEM;
        int error = uring_add_ring(self);
        if (!error)
                error = register_table(self, config);
        if (!error)
                error = uring_init_buffers(self);
        if (error)
                return error;
        void *discarded = mmap(NULL, SEND_FILE_WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                               0);
        if (discarded == MAP_FAILED)
                return -ENOMEM;
        self->discarded = discarded;
        note_features(self);
        self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        return self->wake < 0 ? -errno : 0;
}

static void uring_destroy(struct berth_port *port)
{
        struct uring_port *self = uring_of(port);
        port_finish(port);
        uring_end_rings(self);
        uring_finish_buffers(self);
        if (self->discarded)
                munmap(self->discarded, SEND_FILE_WINDOW_BYTES);
        if (self->wake >= 0)
                close(self->wake);
        free(self);
}

static int uring_create(struct berth_port **port, const struct berth_port_config *config)
{
        struct uring_port *self = calloc(1, sizeof(*self));
        if (!self)
                return -ENOMEM;
        self->wake = -1;
        list_init(&self->multishot_list);
        list_init(&self->starved);
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
        .shares = true,
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
        .rest = uring_rest,
        .unrest = uring_unrest,
        .max_handles = uring_max_handles,
};
