/* The engine of Windows: an I/O completion port for each port, and each socket tied to one. A call is made where an op
 * starts or goes on; what it comes to is told by its packet, or at once where the provider allows that. Receives are
 * the exception: a zero-byte receive waits, and what is there is then taken without waiting (iocp_receive.c).
 *
 * iocp.h says what a call in the kernel is made of; the other files have a subject each.
 */
#include "port/iocp.h"

#include <stdlib.h>
#include <versionhelpers.h>

enum { WAIT_PACKETS = 256, DEFAULT_HANDLES = 1 << 20, LOOK_AGAIN_MS = 1000 };

io_ended *const iocp_ended[IO_KINDS] = {
        [IO_WATCH] = iocp_watch_ended,       [IO_REST] = iocp_rest_ended,       [IO_CONNECT] = iocp_connect_ended,
        [IO_ACCEPT] = iocp_accept_ended,     [IO_SEND] = iocp_send_ended,       [IO_FILE] = iocp_file_ended,
        [IO_TRANSMIT] = iocp_transmit_ended, [IO_PIECE_READ] = iocp_piece_read, [IO_PIECE_SEND] = iocp_piece_sent,
        [IO_DISCONNECT] = iocp_left,
};

/* ---- waiting ---- */

static void take_packet(struct iocp_port *self, const OVERLAPPED_ENTRY *entry)
{
        switch (entry->lpCompletionKey) {
        case KEY_WAKE:
                atomic_store(&self->woken, false);
                break;
        case KEY_LISTENER:
                iocp_signalled((struct listener *)entry->lpOverlapped);
                break;
        default:
                iocp_packet(self, container_of(entry->lpOverlapped, struct io, overlapped));
        }
}

/* At a time-out the count says nothing. The wait may be over early where accepts in the kernel have to be looked
 * after. */
static int iocp_wait(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        (void)events;
        (void)count;
        struct iocp_port *self = iocp_of(port);
        OVERLAPPED_ENTRY entries[WAIT_PACKETS];
        ULONG n = 0;
        bool looks = self->deep > 0 || self->accept_data_ms || self->by_event || self->leaving_count > 0 ||
                     !list_empty(&self->piece_waiters);
        if (looks && (timeout_ms < 0 || timeout_ms > LOOK_AGAIN_MS))
                timeout_ms = LOOK_AGAIN_MS;
        if (iocp_feed_pieces(self))
                timeout_ms = 0;
        if (GetQueuedCompletionStatusEx(self->queue, entries, WAIT_PACKETS, &n,
                                        timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, FALSE)) {
                for (ULONG i = 0; i < n; i++)
                        take_packet(self, &entries[i]);
        } else if (GetLastError() != WAIT_TIMEOUT) {
                return iocp_error(GetLastError());
        }
        iocp_look_at_depths(self);
        iocp_look_at_events(self);
        iocp_look_at_silent(self);
        iocp_look_at_leaving(self);
        return 0;
}

/* One packet is enough for all who wake it before it looks. */
static void iocp_wake(struct berth_port *port)
{
        struct iocp_port *self = iocp_of(port);
        if (atomic_exchange(&self->woken, true))
                return;
        while (!PostQueuedCompletionStatus(self->queue, 0, KEY_WAKE, NULL))
                Sleep(1); /* no memory for a packet */
}

static uint64_t iocp_now_ms(struct berth_port *port)
{
        (void)port;
        return clock_ms();
}

/* ---- starting and going on ---- */

static void on_worker(struct iocp_port *self, struct berth_op *op)
{
        int error = iocp_on_worker(self, op);
        if (error)
                op_finish(&self->port, op, error);
}

static void in_turn(struct iocp_port *self, struct berth_op *op)
{
        op_runnable(&self->port, op);
}

/* What an op does at its start. */
static void (*const starts[])(struct iocp_port *self, struct berth_op *op) = {
        [OP_ACCEPT] = iocp_accept_start,
        [OP_CONNECT] = iocp_connect_go_on,
        [OP_WAIT_READABLE] = iocp_watch,
        [OP_RECV] = in_turn,
        [OP_RECV_NOW] = in_turn,
        [OP_SEND] = iocp_send_go_on,
        [OP_SENDV] = iocp_send_go_on,
        [OP_SEND_FILE] = iocp_send_file_go_on,
        [OP_SHUTDOWN] = in_turn,
        [OP_PEER_ADDRESS] = in_turn,
        [OP_CLOSE] = in_turn,
        [OP_OPEN] = iocp_open,
        [OP_READ] = iocp_read_write,
        [OP_WRITE] = iocp_read_write,
        [OP_CALL] = on_worker,
};

static bool again(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        (void)event;
        starts[op->kind](iocp_of(port), op);
        return false;
}

/* And when its turn in the ready queue comes. */
static bool (*const steps[])(struct berth_port *port, struct berth_op *op, struct berth_event *event) = {
        [OP_ACCEPT] = iocp_accept_step,
        [OP_CONNECT] = again,
        [OP_RECV] = iocp_recv_step,
        [OP_RECV_NOW] = iocp_recv_now_step,
        [OP_SEND] = again,
        [OP_SENDV] = again,
        [OP_SEND_FILE] = again,
        [OP_SHUTDOWN] = iocp_shutdown_step,
        [OP_PEER_ADDRESS] = iocp_peer_step,
        [OP_CLOSE] = iocp_close_step,
};

static void iocp_start_op(struct berth_port *port, struct berth_op *op)
{
        ensure(op->kind < array_count(starts) && starts[op->kind]);
        op_space(op)->next = NULL; /* no call in the kernel */
        if (op->kind == OP_RECV && !(op->handle->flags & HANDLE_READABLE))
                iocp_watch(iocp_of(port), op);
        else
                starts[op->kind](iocp_of(port), op);
}

static bool iocp_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        ensure(op->kind < array_count(steps) && steps[op->kind]);
        op_space(op)->next = NULL;
        return steps[op->kind](port, op, event);
}

static void iocp_cancel(struct berth_port *port, struct berth_op *op)
{
        if (op->flags & ON_WORKER) {
                if (workers_cancel(port->workers, op)) /* one that runs comes back by itself */
                        op_finish(port, op, -ECANCELED);
        } else if (!iocp_cancel_io(op)) {
                op_finish(port, op, -ECANCELED);
        }
}

static void iocp_buffer_put(struct berth_port *port, uint16_t buffer)
{
        buffers_give(&port->buffers, buffer);
}

static uint32_t iocp_max_handles(const struct berth_port *port)
{
        return container_of((struct berth_port *)(uintptr_t)port, struct iocp_port, port)->max_handles;
}

/* ---- making and ending ---- */

static void iocp_destroy(struct berth_port *port)
{
        struct iocp_port *self = iocp_of(port);
        bool all = iocp_reuse_end(self);
        port_finish(port);
        if (self->queue)
                CloseHandle(self->queue);
        if (all) /* else the kernel still has some */
                slab_finish(&self->ios);
        slab_finish(&self->acceptors);
        iocp_free_pieces(self);
        if (self->started)
                WSACleanup();
        free(self);
}

/* $BERTH_IOCP is a list of words, for tests: what this system would not show by itself. */
static void choose(struct iocp_port *self, const struct berth_port_config *config)
{
        const char *words = getenv("BERTH_IOCP");
        words = words ? words : "";
        self->transmits = strstr(words, "transmit") || (!strstr(words, "copy") && IsWindowsServer());
        self->always_packets = strstr(words, "packets");
        self->refuse_some = strstr(words, "refuse");
        self->stands_in = strstr(words, "again");
        self->max_handles = config->max_handles ? config->max_handles : DEFAULT_HANDLES;
        self->accept_depth = min_of(max_of(config->accept_depth, (uint32_t)LEAST_DEPTH), (uint32_t)MOST_DEPTH);
        if (!config->accept_depth)
                self->accept_depth = MOST_DEPTH;
        self->accept_data_ms = config->accept_data_ms;
        self->send_depth = strstr(words, "direct") ? 8 : max_of(config->send_depth, 1u);
        self->send_depth = min_of(self->send_depth, (uint32_t)MAX_SEND_DEPTH);
}

static int open_queue(struct iocp_port *self)
{
        WSADATA data;
        if (WSAStartup(MAKEWORD(2, 2), &data))
                return -ENOSYS;
        self->started = true;
        self->queue = CreateIoCompletionPort(INVALID_HANDLE_VALUE, NULL, 0, 1);
        return self->queue ? 0 : iocp_error(GetLastError());
}

static int iocp_create(struct berth_port **port, const struct berth_port_config *config)
{
        struct iocp_port *self = calloc(1, sizeof(*self));
        if (!self)
                return -ENOMEM;
        choose(self, config);
        list_init(&self->unadopted);
        iocp_make_pieces(self, config->file_buffers);
        int error = port_init(&self->port, &iocp_engine, config);
        if (error) {
                free(self);
                return error;
        }
        slab_init(&self->ios, sizeof(struct io), 128, self->port.max_ops);
        slab_init(&self->acceptors,
                  sizeof(struct acceptor) + (self->accept_data_ms ? EARLY_BYTES : 0) + 2 * ACCEPT_ADDRESS_BYTES, 16,
                  UINT32_MAX);
        error = open_queue(self);
        if (error) {
                iocp_destroy(&self->port);
                return error;
        }
        *port = &self->port;
        return 0;
}

const struct engine iocp_engine = {
        .name = "iocp",
        .create = iocp_create,
        .destroy = iocp_destroy,
        .now_ms = iocp_now_ms,
        .wait = iocp_wait,
        .wake = iocp_wake,
        .start = iocp_start_op,
        .step = iocp_step,
        .cancel = iocp_cancel,
        .listen = iocp_listen,
        .listen_adopt = iocp_listen_adopt,
        .listen_address = iocp_listen_address,
        .adopt = iocp_adopt,
        .pass = iocp_pass,
        .drop = iocp_drop,
        .buffer_put = iocp_buffer_put,
        .rest = iocp_rest,
        .unrest = iocp_unrest,
        .max_handles = iocp_max_handles,
        .file_buffer_bytes = iocp_file_buffer_bytes,
};
