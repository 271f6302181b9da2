/* The simulator. The same interface over a network in memory (sim_net.c) and a clock of its own: nothing takes time
 * unless a timer is waited for. All that the real world leaves open is a choice of a seeded random generator: which
 * op goes on next and how far, whether a cancel comes too late, when the kernel ends a multishot op, and, if asked for,
 * what it refuses. The same seed and the same calls give the same run.
 *
 * An op is either in `able`, from which the next one is drawn, or waits for its socket to change. So is a handle at
 * rest. Files are real; a call that blocks is made on the spot, when its op is drawn.
 */
#include "port/port_priv.h"
#include "port/sim_net.h"

#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
        OP_ABLE = 0x4000, /* op->flags: is in `able`, or has its turn */
        MAX_STEPS = 16,   /* of one wait */
        MAX_CHUNK_BYTES = 16 << 10,
        DEFAULT_LIMIT = 1 << 20,
        REST_TAG = 1, /* of an entry in `able` that is a handle */
};

enum outcome { ENDED, WAITS, AGAIN };

struct sim_port {
        struct berth_port port;
        struct sim_net net;
        struct random random;
        uint32_t fault_per_mille, max_handles;
        uint64_t now_ms;
        uintptr_t *able; /* ops, and handles at rest with REST_TAG */
        uint32_t able_count, able_room;
        struct op_queue knocking; /* connects that found a full backlog */
        uint32_t calls;           /* OP_CALL in flight */
        atomic_bool woken;
        int wake;
};

static struct sim_port *sim_of(struct berth_port *port)
{
        return container_of(port, struct sim_port, port);
}

static struct sim_port *sim_of_net(struct sim_net *net)
{
        return container_of(net, struct sim_port, net);
}

/* ---- chance ---- */

static bool one_in(struct sim_port *self, uint32_t bound)
{
        return random_below(&self->random, bound) == 0;
}

static bool fault(struct sim_port *self)
{
        return random_below(&self->random, 1000) < self->fault_per_mille;
}

/* What a kernel or a worker pool may refuse an op with. A close, a timer and a post are never refused. */
static int refusal_of(struct sim_port *self, unsigned kind)
{
        static const int descriptor[] = { -EMFILE, -ENFILE, -ENOMEM, -ENOBUFS }, memory[] = { -ENOMEM, -ENOBUFS };
        switch (kind) {
        case OP_ACCEPT:
        case OP_CONNECT:
        case OP_PEER_ADDRESS:
        case OP_OPEN:
                return descriptor[random_below(&self->random, array_count(descriptor))];
        case OP_WAIT_READABLE:
        case OP_RECV:
        case OP_RECV_NOW:
        case OP_SEND:
        case OP_SENDV:
        case OP_SEND_FILE:
        case OP_SHUTDOWN:
        case OP_READ:
        case OP_WRITE:
                return memory[random_below(&self->random, array_count(memory))];
        case OP_CALL:
                return -EBUSY;
        default:
                return 0;
        }
}

/* ---- ops that may go on ---- */

static void add_able(struct sim_port *self, uintptr_t entry)
{
        if (self->able_count == self->able_room) {
                self->able_room = max_of(self->able_room * 2, 64u);
                self->able = realloc(self->able, self->able_room * sizeof(*self->able));
                ensure(self->able);
        }
        self->able[self->able_count++] = entry;
}

static void make_able(struct sim_port *self, struct berth_op *op)
{
        ensure(op->state == OP_PENDING);
        if (op->flags & OP_ABLE)
                return;
        op->flags |= OP_ABLE;
        add_able(self, (uintptr_t)op);
}

/* handle->sender, which a resting handle does not need, tells that it is in there. */
static void make_rest_able(struct sim_port *self, struct berth_handle *handle)
{
        if (handle->sender || rest_is_over(handle))
                return;
        handle->sender = (struct berth_op *)handle;
        add_able(self, (uintptr_t)handle | REST_TAG);
}

static uintptr_t draw(struct sim_port *self)
{
        uint32_t at = random_below(&self->random, self->able_count);
        uintptr_t entry = self->able[at];
        self->able[at] = self->able[--self->able_count];
        return entry;
}

static void socket_changed(struct sim_net *net, struct berth_handle *handle)
{
        if (handle->flags & HANDLE_RESTING) {
                make_rest_able(sim_of_net(net), handle);
                return;
        }
        if (handle->receiver && handle->receiver->state == OP_PENDING)
                make_able(sim_of_net(net), handle->receiver);
        if (handle->sender && handle->sender->state == OP_PENDING)
                make_able(sim_of_net(net), handle->sender);
}

static void knock(struct sim_net *net)
{
        struct sim_port *self = sim_of_net(net);
        struct berth_op *op;
        while ((op = op_queue_pop(&self->knocking)))
                make_able(self, op);
}

/* ---- steps: each goes on with an op as far as chance has it ---- */

typedef enum outcome step(struct sim_port *self, struct berth_op *op, struct berth_event *event);

static enum outcome end(struct sim_port *self, struct berth_op *op, int64_t result, struct berth_event *event)
{
        op_end(&self->port, op, result, 0, 0, event);
        return ENDED;
}

static enum outcome wait_or_end(struct sim_port *self, struct berth_op *op, int64_t result, struct berth_event *event)
{
        return result == -EAGAIN ? WAITS : end(self, op, result, event);
}

/* The connection breaks under the op. */
static void maybe_reset(struct sim_port *self, struct berth_op *op)
{
        if (fault(self))
                sim_net_reset(&self->net, op->handle->descriptor);
}

/* Now and then the kernel has ended the multishot op meanwhile, and a turn goes by with arming it again. */
static bool disarmed(struct sim_port *self, struct berth_op *op)
{
        return op->flags & OP_MULTISHOT && one_in(self, 8);
}

static enum outcome step_accept(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        int listener = op->handle->descriptor;
        if (disarmed(self, op))
                return AGAIN;
        if (self->port.stats.handles >= self->max_handles)
                return sim_net_waits(&self->net, listener) ? end(self, op, -ENFILE, event) : WAITS;
        int number = sim_net_accept(&self->net, listener);
        if (number < 0)
                return wait_or_end(self, op, number, event);
        self->port.stats.handles++;
        op_end(&self->port, op, number, BERTH_MORE, 0, event);
        return ENDED;
}

/* connect.step: the socket counts among the handles. */
static enum outcome end_connect(struct sim_port *self, struct berth_op *op, int64_t result, struct berth_event *event)
{
        if (result < 0 && op_space(op)->connect.step)
                self->port.stats.handles--;
        return end(self, op, result, event);
}

static enum outcome step_connect(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (!space->connect.step) {
                if (self->port.stats.handles >= self->max_handles)
                        return end_connect(self, op, -ENFILE, event);
                space->connect.step = 1;
                self->port.stats.handles++;
        }
        if (fault(self))
                return end_connect(self, op, one_in(self, 2) ? -ETIMEDOUT : -EADDRNOTAVAIL, event);
        int number = sim_net_connect(&self->net, space->connect.address, space->connect.address_bytes,
                                     space->connect.source);
        if (number == -EAGAIN) {
                if (!op_cancelled(op))
                        op_queue_push(&self->knocking, op);
                return WAITS;
        }
        if (number < 0)
                return end_connect(self, op, number, event);
        op->handle->descriptor = number;
        sim_net_attach(&self->net, number, op->handle);
        return end_connect(self, op, 0, event);
}

static enum outcome step_wait_readable(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        maybe_reset(self, op);
        return sim_net_readable(&self->net, op->handle->descriptor) ? end(self, op, 0, event) : WAITS;
}

/* As io_uring has it: without a free buffer the receive may be given up before anybody has looked for data. */
static enum outcome step_recv(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct buffers *buffers = &self->port.buffers;
        int number = op->handle->descriptor;
        uint16_t buffer;
        maybe_reset(self, op);
        if (disarmed(self, op))
                return AGAIN;
        if (!sim_net_readable(&self->net, number) && (buffers->free_count > 0 || one_in(self, 2)))
                return WAITS;
        if (!buffers_take(buffers, &buffer)) {
                if (op_cancelled(op))
                        return end(self, op, -ECANCELED, event);
                op_starve(&self->port, op, &self->port.starved);
                return WAITS;
        }
        int64_t n = sim_net_receive(&self->net, number, buffers_data(buffers, buffer), buffers->bytes);
        if (n <= 0) {
                buffers_give(buffers, buffer);
                return wait_or_end(self, op, n, event);
        }
        op_end(&self->port, op, n, BERTH_BUFFER | (op->flags & OP_MULTISHOT ? BERTH_MORE : 0), buffer, event);
        return ENDED;
}

static enum outcome step_recv_now(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        const struct op_space *space = op_space(op);
        maybe_reset(self, op);
        int64_t n = sim_net_receive(&self->net, op->handle->descriptor, space->recv_now.data, space->recv_now.size);
        return end(self, op, n, event);
}

/* Sends some of `size` bytes: how many, or -errno. */
static int64_t send_some(struct sim_port *self, struct berth_op *op, const char *data, size_t size)
{
        maybe_reset(self, op);
        return sim_net_send(&self->net, op->handle->descriptor, data, size);
}

static enum outcome step_send(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        int64_t n = send_some(self, op, space->send.data + space->send.sent, space->send.size - space->send.sent);
        if (n < 0)
                return wait_or_end(self, op, n, event);
        space->send.sent += (size_t)n;
        return space->send.sent == space->send.size ? end(self, op, (int64_t)space->send.size, event) : AGAIN;
}

/* The piece that `sent` ends in; false when nothing is left. */
static bool next_piece(const struct op_space *space, const char **data, size_t *size)
{
        size_t skip = space->sendv.sent;
        for (size_t i = 0; i < space->sendv.count; i++) {
                const struct berth_vec *vec = &space->sendv.vecs[i];
                *data = (const char *)vec->data + skip;
                *size = vec->size - skip;
                if (skip < vec->size)
                        return true;
                skip -= vec->size;
        }
        return false;
}

static enum outcome step_sendv(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        const char *data;
        size_t size;
        if (!next_piece(space, &data, &size))
                return end(self, op, (int64_t)space->sendv.sent, event);
        int64_t n = send_some(self, op, data, size);
        if (n < 0)
                return wait_or_end(self, op, n, event);
        space->sendv.sent += (size_t)n;
        bool left = next_piece(space, &data, &size);
        return left ? AGAIN : end(self, op, (int64_t)space->sendv.sent, event);
}

enum send_file_step { SEND_FILE_ASK, SEND_FILE_WARM };

/* One chunk of the file, read and sent: how many bytes, or -errno. */
static int64_t send_chunk(struct sim_port *self, struct berth_op *op, struct berth_send_file *file)
{
        char chunk[MAX_CHUNK_BYTES];
        size_t size = min_of(file->length - file->file_sent, sizeof(chunk));
        ssize_t n = pread(file->file->descriptor, chunk, size, (off_t)(file->offset + file->file_sent));
        if (n <= 0)
                return n < 0 ? -errno : -EIO;
        int64_t sent = send_some(self, op, chunk, (size_t)n);
        if (sent > 0)
                file->file_sent += (uint64_t)sent;
        return sent;
}

static int64_t send_head(struct sim_port *self, struct berth_op *op, struct berth_send_file *file)
{
        int64_t sent = send_some(self, op, (const char *)file->head + file->head_sent,
                                 file->head_bytes - file->head_sent);
        if (sent > 0)
                file->head_sent += (uint64_t)sent;
        return sent;
}

static enum outcome step_send_file(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        struct berth_send_file *file = space->send_file.file;
        if (file->head_sent == file->head_bytes && file->file_sent == file->length)
                return end(self, op, (int64_t)(file->head_sent + file->file_sent), event);
        bool head = file->head_sent < file->head_bytes;
        bool asks = !head && !(file->flags & BERTH_FILE_WARM) && space->send_file.step == SEND_FILE_ASK;
        if (asks && one_in(self, 4)) {
                space->send_file.step = SEND_FILE_WARM;
                self->port.stats.cold_windows++;
                return AGAIN;
        }
        space->send_file.step = SEND_FILE_ASK;
        uint64_t before = file->file_sent;
        int64_t n = head ? send_head(self, op, file) : send_chunk(self, op, file);
        if (n < 0)
                return wait_or_end(self, op, n, event);
        if (before / SEND_FILE_WINDOW_BYTES != file->file_sent / SEND_FILE_WINDOW_BYTES)
                self->port.stats.turns++;
        return AGAIN;
}

static enum outcome step_shutdown(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        return end(self, op, sim_net_shutdown(&self->net, op->handle->descriptor), event);
}

static enum outcome step_peer_address(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        const struct op_space *space = op_space(op);
        int error = sim_net_peer(&self->net, op->handle->descriptor, space->peer.address, (unsigned)space->peer.room);
        return end(self, op, error, event);
}

static enum outcome step_close(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        if (handle->kind == HANDLE_FILE)
                return end(self, op, close(handle->descriptor) < 0 ? -errno : 0, event);
        if (handle->descriptor >= 0) {
                sim_net_close(&self->net, handle->descriptor, op->flags & OP_ABORT);
                self->port.stats.handles -= handle->kind == HANDLE_STREAM;
        }
        return end(self, op, 0, event);
}

static enum outcome step_open(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        return end(self, op, op_block(op), event);
}

/* Reads and writes may be short, with faults of the disk. */
static enum outcome step_file(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (fault(self))
                return end(self, op, -EIO, event);
        if (space->file.size > 1 && one_in(self, 4))
                space->file.size = 1 + random_below(&self->random, (uint32_t)space->file.size);
        return end(self, op, op_block(op), event);
}

static enum outcome step_call(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        self->calls--;
        return end(self, op, op_block(op), event);
}

static step *const steps[] = {
        [OP_ACCEPT] = step_accept,       [OP_CONNECT] = step_connect,   [OP_WAIT_READABLE] = step_wait_readable,
        [OP_RECV] = step_recv,           [OP_SEND] = step_send,         [OP_SENDV] = step_sendv,
        [OP_SEND_FILE] = step_send_file, [OP_SHUTDOWN] = step_shutdown, [OP_PEER_ADDRESS] = step_peer_address,
        [OP_CLOSE] = step_close,         [OP_OPEN] = step_open,         [OP_READ] = step_file,
        [OP_WRITE] = step_file,          [OP_CALL] = step_call,         [OP_RECV_NOW] = step_recv_now,
};

/* An op ends without having got any further. */
static enum outcome give_up(struct sim_port *self, struct berth_op *op, int result, struct berth_event *event)
{
        if (op->kind == OP_CALL)
                self->calls--;
        return op->kind == OP_CONNECT ? end_connect(self, op, result, event) : end(self, op, result, event);
}

/* A cancel comes too late for half of those that could go on. */
static enum outcome go_on(struct sim_port *self, struct berth_op *op, bool shall_end, struct berth_event *event)
{
        int refusal = refusal_of(self, op->kind);
        if (shall_end && one_in(self, 2))
                return give_up(self, op, -ECANCELED, event);
        if (refusal && fault(self))
                return give_up(self, op, refusal, event);
        enum outcome outcome = steps[op->kind](self, op, event);
        return outcome == WAITS && shall_end ? give_up(self, op, -ECANCELED, event) : outcome;
}

/* True when an event was written. The op counts as able during its step, since what it does may change its own
 * socket. */
static bool turn(struct sim_port *self, struct berth_op *op, struct berth_event *event)
{
        bool shall_end = op_cancelled(op) && op->kind != OP_CLOSE;
        enum outcome outcome = go_on(self, op, shall_end, event);
        op->flags &= (uint16_t)~OP_ABLE;
        if (op->state == OP_PENDING && (outcome == AGAIN || (outcome == ENDED && event->flags & BERTH_MORE)))
                make_able(self, op);
        return outcome == ENDED;
}

/* ---- rest ---- */

static void sim_rest(struct berth_port *port, struct berth_handle *handle)
{
        make_rest_able(sim_of(port), handle);
}

/* Its end may come late, and now and then for no reason. */
static bool rest_turn(struct sim_port *self, struct berth_handle *handle, struct berth_event *event)
{
        handle->sender = NULL;
        if (fault(self))
                sim_net_reset(&self->net, handle->descriptor); /* which may have made it able again */
        bool over = handle->closer || one_in(self, 16);
        if (!over && sim_net_readable(&self->net, handle->descriptor)) {
                over = !one_in(self, 3);
                if (!over)
                        make_rest_able(self, handle);
        }
        if (!over || handle->sender)
                return false;
        return rest_end(&self->port, handle, event);
}

/* ---- waiting ---- */

/* Nothing can happen any more but a timer, or what another thread does. */
static void pass_time(struct sim_port *self, int timeout_ms)
{
        if (timeout_ms > 0) {
                self->now_ms += (uint64_t)timeout_ms;
                sched_yield();
        } else if (timeout_ms < 0) {
                struct pollfd one = { .fd = self->wake, .events = POLLIN };
                uint64_t count;
                poll(&one, 1, -1);
                ssize_t n = read(self->wake, &count, sizeof(count));
                (void)n;
        }
}

static bool take_wake(struct sim_port *self)
{
        uint64_t count;
        if (!atomic_exchange(&self->woken, false))
                return false;
        ssize_t n = read(self->wake, &count, sizeof(count));
        (void)n;
        return true;
}

static int sim_wait(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        struct sim_port *self = sim_of(port);
        if (take_wake(self))
                timeout_ms = 0;
        if (self->able_count == 0) {
                pass_time(self, timeout_ms);
                take_wake(self);
                return 0;
        }
        self->now_ms += one_in(self, 16);
        unsigned n = 0;
        for (uint32_t left = 1 + random_below(&self->random, MAX_STEPS); left > 0 && n < count && self->able_count;
             left--) {
                uintptr_t entry = draw(self);
                n += entry & REST_TAG
                             ? rest_turn(self, (struct berth_handle *)(entry & ~(uintptr_t)REST_TAG), &events[n])
                             : turn(self, (struct berth_op *)entry, &events[n]);
        }
        return (int)n;
}

static void sim_wake(struct berth_port *port)
{
        struct sim_port *self = sim_of(port);
        uint64_t one = 1;
        if (atomic_exchange(&self->woken, true))
                return;
        ssize_t n = write(self->wake, &one, sizeof(one));
        (void)n;
}

static uint64_t sim_now_ms(struct berth_port *port)
{
        return sim_of(port)->now_ms;
}

/* ---- starting and cancelling ---- */

static void sim_start(struct berth_port *port, struct berth_op *op)
{
        struct sim_port *self = sim_of(port);
        ensure(op->kind < array_count(steps) && steps[op->kind]);
        if (op->kind == OP_CALL) {
                int error = workers_room(port->workers, self->calls);
                if (error) {
                        op_finish(port, op, error);
                        return;
                }
                self->calls++;
        }
        make_able(self, op);
}

static bool sim_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        (void)port;
        (void)op;
        (void)event;
        ensure(!"queued without a result");
        return false;
}

static void sim_cancel(struct berth_port *port, struct berth_op *op)
{
        struct sim_port *self = sim_of(port);
        if (op->kind == OP_CONNECT)
                knock(&self->net); /* it may be among them */
        make_able(self, op);
}

/* ---- listeners, adopted connections, buffers ---- */

static int sim_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                      unsigned address_bytes, int backlog, unsigned flags)
{
        struct sim_net *net = &sim_of(port)->net;
        int number = sim_net_listen(net, address, address_bytes, backlog, flags & BERTH_REUSE_PORT);
        if (number < 0)
                return number;
        listener->descriptor = number;
        sim_net_attach(net, number, listener);
        return 0;
}

static int sim_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor)
{
        (void)port;
        (void)listener;
        (void)descriptor;
        return -EOPNOTSUPP;
}

static int sim_listen_address(struct berth_port *port, const struct berth_handle *listener,
                              struct sockaddr_storage *address)
{
        sim_net_address(&sim_of(port)->net, listener->descriptor, address);
        return 0;
}

static void sim_adopt(struct berth_port *port, struct berth_handle *handle, int number)
{
        handle->descriptor = number;
        sim_net_attach(&sim_of(port)->net, number, handle);
}

/* A connect that has failed has no socket yet. */
static void sim_drop(struct berth_port *port, struct berth_handle *handle)
{
        if (handle->descriptor < 0)
                return;
        sim_net_close(&sim_of(port)->net, handle->descriptor, false);
        port->stats.handles--;
}

static uint32_t sim_max_handles(const struct berth_port *port)
{
        return ((const struct sim_port *)port)->max_handles;
}

static void sim_buffer_put(struct berth_port *port, uint16_t buffer)
{
        buffers_give(&port->buffers, buffer);
}

/* ---- making and ending ---- */

static void sim_destroy(struct berth_port *port)
{
        struct sim_port *self = sim_of(port);
        port_finish(port);
        sim_net_finish(&self->net);
        if (self->wake >= 0)
                close(self->wake);
        free(self->able);
        free(self);
}

static int sim_create(struct berth_port **port, const struct berth_port_config *config)
{
        struct sim_port *self = calloc(1, sizeof(*self));
        if (!self)
                return -ENOMEM;
        self->random.state = config->seed;
        self->fault_per_mille = config->fault_per_mille;
        self->max_handles = config->max_handles ? config->max_handles : DEFAULT_LIMIT;
        self->net = (struct sim_net){
                .random = &self->random,
                .changed = socket_changed,
                .knock = knock,
        };
        self->wake = -1;
        int error = port_init(&self->port, &sim_engine, config);
        if (error) {
                free(self);
                return error;
        }
        self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (self->wake < 0) {
                error = -errno;
                sim_destroy(&self->port);
                return error;
        }
        *port = &self->port;
        return 0;
}

const struct engine sim_engine = {
        .name = "sim",
        .create = sim_create,
        .destroy = sim_destroy,
        .now_ms = sim_now_ms,
        .wait = sim_wait,
        .wake = sim_wake,
        .start = sim_start,
        .step = sim_step,
        .cancel = sim_cancel,
        .listen = sim_listen,
        .listen_adopt = sim_listen_adopt,
        .listen_address = sim_listen_address,
        .adopt = sim_adopt,
        .drop = sim_drop,
        .buffer_put = sim_buffer_put,
        .rest = sim_rest,
        .unrest = sim_rest,
        .max_handles = sim_max_handles,
};
