/* The common half of every engine: beginning and ending ops, the ready queue, timers, posted ops, the order of
 * closing, and the batch loop. Engines never see the caller's `done`; the caller never sees the engine.
 */
#include "port/port_priv.h"

#include <sched.h>
#include <stdlib.h>

enum { RUN_BATCH = 2048 };

_Static_assert(offsetof(struct berth_timer, wheel) % 8 == 0, "the wheel's timer is aligned");
_Static_assert(sizeof(((struct berth_timer *)0)->wheel) == sizeof(struct wheel_timer), "same layout");

/* ---- queues ---- */

void op_queue_push(struct op_queue *queue, struct berth_op *op)
{
        op_space(op)->next = NULL;
        if (queue->last)
                op_space(queue->last)->next = op;
        else
                queue->first = op;
        queue->last = op;
        queue->count++;
}

struct berth_op *op_queue_pop(struct op_queue *queue)
{
        struct berth_op *op = queue->first;
        if (!op)
                return NULL;
        queue->first = op_space(op)->next;
        if (!queue->first)
                queue->last = NULL;
        queue->count--;
        return op;
}

static void start_close(struct berth_port *port, struct berth_handle *handle)
{
        port->engine->start(port, handle->closer);
}

/* ---- resting ---- */

void rest_finish(struct berth_port *port, struct berth_handle *handle)
{
        ensure(handle->flags & HANDLE_RESTING && !rest_is_over(handle));
        handle->receiver = (struct berth_op *)handle;
        if (port->rested.last)
                port->rested.last->receiver = (struct berth_op *)handle;
        else
                port->rested.first = handle;
        port->rested.last = handle;
        port->rested.count++;
}

static struct berth_handle *rested_pop(struct berth_port *port)
{
        struct handle_queue *queue = &port->rested;
        struct berth_handle *handle = queue->first;
        queue->first = handle == queue->last ? NULL : (struct berth_handle *)handle->receiver;
        if (!queue->first)
                queue->last = NULL;
        queue->count--;
        handle->receiver = NULL;
        return handle;
}

bool rest_end(struct berth_port *port, struct berth_handle *handle, struct berth_event *event)
{
        ensure(handle->flags & HANDLE_RESTING && port->in_flight > 0);
        handle->flags &= (uint8_t)~HANDLE_RESTING;
        handle->in_flight--;
        port->in_flight--;
        if (handle->closer) {
                start_close(port, handle);
                return false;
        }
        *event = (struct berth_event){ .handle = handle };
        port->stats.completions++;
        return true;
}

/* ---- beginning and ending ---- */

static struct berth_op **slot_for(struct berth_handle *handle, unsigned kind)
{
        switch (kind) {
        case OP_ACCEPT:
        case OP_WAIT_READABLE:
        case OP_RECV:
        case OP_RECV_NOW:
                return &handle->receiver;
        case OP_CONNECT:
        case OP_SEND:
        case OP_SENDV:
        case OP_SEND_FILE:
                return &handle->sender;
        default:
                return NULL;
        }
}

/* Counts the op. False when it was refused (it is queued with its error then) and must not be started. */
static bool op_begin(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, unsigned kind,
                     unsigned flags)
{
        ensure(op->state == OP_IDLE && op->done);
        op->kind = (uint8_t)kind;
        op->state = OP_PENDING;
        op->flags = (uint16_t)flags;
        op->handle = handle;
        op->result = 0;
        port->stats.starts++;
        port->in_flight++;
        if (handle) {
                ensure(handle->kind != HANDLE_NONE && !(handle->flags & (HANDLE_CLOSING | HANDLE_RESTING)));
                struct berth_op **slot = slot_for(handle, kind);
                ensure(!slot || !*slot);
                if (slot)
                        *slot = op;
                ensure(handle->in_flight < UINT16_MAX);
                handle->in_flight++;
        }
        if (port->in_flight > port->max_ops || (handle && handle->flags & HANDLE_BROKEN)) {
                op_finish(port, op, port->in_flight > port->max_ops ? -ENOBUFS : -ENOMEM);
                return false;
        }
        return true;
}

/* The op is out of the engine for good. */
static void op_release(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        op->state = OP_IDLE;
        op->handle = NULL;
        ensure(port->in_flight > 0);
        port->in_flight--;
        if (!handle)
                return;
        if (op->kind == OP_CLOSE) {
                handle->kind = HANDLE_NONE;
                handle->closer = NULL;
                return;
        }
        struct berth_op **slot = slot_for(handle, op->kind);
        if (slot)
                *slot = NULL;
        ensure(handle->in_flight > 0);
        handle->in_flight--;
        if (op->kind == OP_CONNECT && op->result < 0 && !handle->closer) {
                port->engine->drop(port, handle);
                handle->kind = HANDLE_NONE;
        }
        if (op->kind == OP_ACCEPT && handle->flags & HANDLE_SHARED)
                port->engine->drop(port, handle);
        if (handle->closer && handle->in_flight == 0)
                start_close(port, handle);
}

void op_end(struct berth_port *port, struct berth_op *op, int64_t result, unsigned flags, uint16_t buffer,
            struct berth_event *event)
{
        ensure(op->state != OP_IDLE);
        *event = (struct berth_event){ .op = op, .result = result, .flags = (uint16_t)flags, .buffer = buffer };
        port->stats.completions++;
        if (refusal(result))
                port->stats.refused++;
        if (flags & BERTH_MORE)
                return;
        op->result = result;
        op_release(port, op);
}

void op_finish(struct berth_port *port, struct berth_op *op, int64_t result)
{
        ensure(op->state == OP_PENDING);
        op->state = OP_QUEUED;
        op->flags |= OP_FINISHED;
        op_space(op)->finished = result;
        op_queue_push(&port->ready, op);
}

void op_runnable(struct berth_port *port, struct berth_op *op)
{
        ensure(op->state == OP_PENDING);
        op->state = OP_QUEUED;
        op_queue_push(&port->ready, op);
}

void op_starve(struct berth_port *port, struct berth_op *op, struct list *list)
{
        ensure(op->state == OP_PENDING);
        op->state = OP_STARVED;
        list_append(list, &op_space(op)->recv.starved);
        port->stats.starved++;
}

/* ---- the port ---- */

int port_init(struct berth_port *port, const struct engine *engine, const struct berth_port_config *config)
{
        port->engine = engine;
        port->workers = config->workers;
        port->on_rested = config->rested;
        port->max_ops = config->max_ops ? config->max_ops : 1u << 20;
        list_init(&port->starved);
        int error = buffers_init(&port->buffers, config->buffers ? config->buffers : 256,
                                 config->buffer_bytes ? config->buffer_bytes : 4096, &port->stats);
        if (error)
                return error;
        port->now_ms = engine->now_ms(port);
        wheel_init(&port->wheel, port->now_ms);
        return 0;
}

void port_finish(struct berth_port *port)
{
        ensure(port->in_flight == 0);
        ensure(!atomic_load(&port->posted));
        while (atomic_load(&port->posting)) /* its op has been seen, but it has still to wake us */
                sched_yield();
        buffers_finish(&port->buffers);
}

int berth_port_create(struct berth_port **port, const struct berth_port_config *config)
{
        ensure(config);
        *port = NULL;
        const char *name = config->engine ? config->engine : getenv("BERTH_ENGINE");
        int error = -ENOSYS;
        if (!name || !*name || strcmp(name, "auto") == 0) {
                for (unsigned i = 0; i < port_engines_automatic && error; i++)
                        error = port_engines[i]->create(port, config);
                return error;
        }
        for (unsigned i = 0; port_engines[i]; i++)
                if (strcmp(name, port_engines[i]->name) == 0)
                        return port_engines[i]->create(port, config);
        return error;
}

void berth_port_destroy(struct berth_port *port)
{
        if (port)
                port->engine->destroy(port);
}

const char *berth_port_engine(const struct berth_port *port)
{
        return port->engine->name;
}

uint64_t berth_port_now_ms(const struct berth_port *port)
{
        return port->now_ms;
}

bool berth_port_shares(const struct berth_port *port)
{
        return port->engine->shares;
}

uint32_t berth_port_max_handles(const struct berth_port *port)
{
        return port->engine->max_handles(port);
}

uint32_t berth_port_file_buffer_bytes(const struct berth_port *port)
{
        return port->engine->file_buffer_bytes ? port->engine->file_buffer_bytes(port) : 0;
}

uint32_t berth_port_in_flight(const struct berth_port *port)
{
        return port->in_flight;
}

const struct berth_port_stats *berth_port_stats(const struct berth_port *port)
{
        return &port->stats;
}

void berth_port_wake(struct berth_port *port)
{
        port->engine->wake(port);
}

/* ---- reaping ---- */

static void expire_timers(struct berth_port *port)
{
        struct wheel_timer *due;
        while ((due = wheel_expire(&port->wheel, port->now_ms))) {
                struct berth_timer *timer = container_of((void *)due, struct berth_timer, wheel);
                op_finish(port, &timer->op, 0);
        }
}

/* Takes what other threads have posted since, in their order. */
static void take_posted(struct berth_port *port)
{
        struct berth_op *op = atomic_exchange_explicit(&port->posted, NULL, memory_order_acquire);
        struct berth_op *ordered = NULL;
        while (op) {
                struct berth_op *next = op_space(op)->next;
                op_space(op)->next = ordered;
                ordered = op;
                op = next;
        }
        while (ordered) {
                struct berth_op *next = op_space(ordered)->next;
                if (ordered->kind == OP_POST) {
                        port->in_flight++;
                        port->stats.starts++;
                }
                if (ordered->kind == OP_SEND_FILE)
                        op_runnable(port, ordered); /* its window has been read in */
                else
                        op_finish(port, ordered, ordered->result);
                ordered = next;
        }
}

static bool anything_ready(const struct berth_port *port)
{
        return port->ready.count || port->rested.count;
}

/* Hands out rests that have ended; where ops wait too, in half of the room, and alternately where there is room for one
 * only. */
static unsigned drain_rested(struct berth_port *port, struct berth_event *events, unsigned count)
{
        unsigned n = 0;
        if (port->ready.count) {
                port->ops_turn = !port->ops_turn;
                count = (count + port->ops_turn) / 2;
        }
        while (port->rested.count && n < count)
                n += rest_end(port, rested_pop(port), &events[n]);
        return n;
}

/* Gives also each op that is in the ready queue now one turn. */
static unsigned drain_ready(struct berth_port *port, struct berth_event *events, unsigned count)
{
        unsigned n = port->rested.count && count ? drain_rested(port, events, count) : 0;
        for (uint32_t turns = port->ready.count; turns > 0 && n < count; turns--) {
                struct berth_op *op = op_queue_pop(&port->ready);
                op->state = OP_PENDING;
                if (op->flags & OP_FINISHED)
                        op_end(port, op, op_space(op)->finished, 0, 0, &events[n++]);
                else if (op_cancelled(op) && op->kind != OP_CLOSE)
                        op_end(port, op, -ECANCELED, 0, 0, &events[n++]);
                else if (port->engine->step(port, op, &events[n]))
                        n++;
        }
        return n;
}

static bool can_feed(const struct berth_port *port)
{
        return !list_empty(&port->starved) && port->buffers.free_count > 0;
}

/* Buffers have come back: as many starved receives are started anew as can have one. Those that find no data after
 * all wait in the engine, and what they leave goes to others the next time. */
static void feed_starved(struct berth_port *port)
{
        for (unsigned n = port->buffers.free_count; n > 0 && !list_empty(&port->starved); n--) {
                struct berth_op *op = op_of_starved(port->starved.next);
                list_remove(&op_space(op)->recv.starved);
                op->state = OP_PENDING;
                port->engine->start(port, op);
        }
}

/* How long the engine may wait: not at all when something is ready, else until the next timer. */
static int wait_ms(struct berth_port *port, int timeout_ms)
{
        if (anything_ready(port) || atomic_load_explicit(&port->posted, memory_order_relaxed) || can_feed(port))
                return 0;
        int64_t next = wheel_next_ms(&port->wheel, port->now_ms);
        if (next < 0 || (timeout_ms >= 0 && next > timeout_ms))
                return timeout_ms;
        return (int)min_of(next, (int64_t)INT32_MAX);
}

int berth_port_reap(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        ensure(count > 0);
        if (can_feed(port))
                feed_starved(port);
        /* What is ready goes first and without a system call, but never twice in a row: neither the engine nor the
         * ready queue may starve the other. */
        port->skipped = anything_ready(port) && !port->skipped;
        int n = port->skipped ? 0 : port->engine->wait(port, events, count, wait_ms(port, timeout_ms));
        if (n < 0)
                return n;
        port->now_ms = port->engine->now_ms(port);
        expire_timers(port);
        if (atomic_load_explicit(&port->posted, memory_order_relaxed))
                take_posted(port);
        return n + (int)drain_ready(port, events + n, count - (unsigned)n);
}

int berth_port_run(struct berth_port *port, int timeout_ms)
{
        struct berth_event events[RUN_BATCH];
        int n = berth_port_reap(port, events, RUN_BATCH, timeout_ms);
        for (int i = 0; i < n; i++) {
                struct berth_op *op = events[i].op;
                if (!op) {
                        port->on_rested(events[i].handle);
                        continue;
                }
                op->result = events[i].result;
                op->buffer = events[i].buffer;
                op->flags = (uint16_t)((op->flags & ~OP_PUBLIC_FLAGS) | events[i].flags);
                op->done(op);
        }
        return n;
}

/* ---- starting: sockets ---- */

int berth_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                 unsigned address_bytes, int backlog, unsigned flags)
{
        ensure(listener->kind == HANDLE_NONE);
        *listener = (struct berth_handle){ .kind = HANDLE_LISTENER, .installed = -1, .user = listener->user };
        int error = port->engine->listen(port, listener, address, address_bytes, backlog, flags);
        if (error)
                listener->kind = HANDLE_NONE;
        return error;
}

int berth_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor, bool shared)
{
        ensure(listener->kind == HANDLE_NONE);
        *listener = (struct berth_handle){ .kind = HANDLE_LISTENER, .installed = -1, .user = listener->user };
        if (shared)
                listener->flags |= HANDLE_SHARED;
        int error = port->engine->listen_adopt(port, listener, descriptor);
        if (error)
                listener->kind = HANDLE_NONE;
        return error;
}

int berth_listen_address(struct berth_port *port, const struct berth_handle *listener, struct sockaddr_storage *address)
{
        ensure(listener->kind == HANDLE_LISTENER);
        return port->engine->listen_address(port, listener, address);
}

void berth_accept(struct berth_port *port, struct berth_op *op, struct berth_handle *listener)
{
        ensure(listener->kind == HANDLE_LISTENER);
        if (op_begin(port, op, listener, OP_ACCEPT, OP_MULTISHOT))
                port->engine->start(port, op);
}

void berth_adopt(struct berth_port *port, struct berth_handle *handle, int64_t accepted)
{
        ensure(handle->kind == HANDLE_NONE && accepted >= 0);
        *handle = (struct berth_handle){ .kind = HANDLE_STREAM, .installed = -1, .user = handle->user };
        port->engine->adopt(port, handle, (int)accepted);
}

void berth_discard(struct berth_port *port, int64_t accepted)
{
        struct berth_handle handle = { 0 };
        berth_adopt(port, &handle, accepted);
        port->engine->drop(port, &handle);
}

int berth_pass(struct berth_port *port, int64_t accepted)
{
        ensure(accepted >= 0);
        int error = port->engine->pass ? port->engine->pass(port, (int)accepted) : -EOPNOTSUPP;
        if (!error)
                port->stats.passed++;
        return error;
}

void berth_take(struct berth_port *port, int64_t accepted)
{
        ensure(accepted >= 0 && port->engine->pass);
        port->stats.handles++;
}

void berth_give_back(struct berth_port *port, uint32_t count)
{
        ensure(count <= port->stats.passed);
        port->stats.passed -= count;
        port->stats.handles -= count;
}

void berth_connect(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                   const struct sockaddr *address, unsigned address_bytes, const struct sockaddr *source)
{
        ensure(handle->kind == HANDLE_NONE);
        *handle =
                (struct berth_handle){ .kind = HANDLE_STREAM, .descriptor = -1, .installed = -1, .user = handle->user };
        ensure(op->state == OP_IDLE);
        struct op_space *space = op_space(op);
        space->connect.address = address;
        space->connect.source = source;
        space->connect.address_bytes = address_bytes;
        space->connect.step = 0;
        if (op_begin(port, op, handle, OP_CONNECT, 0))
                port->engine->start(port, op);
}

void berth_wait_readable(struct berth_port *port, struct berth_op *op, struct berth_handle *handle)
{
        ensure(handle->kind == HANDLE_STREAM || handle->kind == HANDLE_POLLABLE);
        if (op_begin(port, op, handle, OP_WAIT_READABLE, 0))
                port->engine->start(port, op);
}

void berth_rest(struct berth_port *port, struct berth_handle *handle)
{
        ensure(handle->kind == HANDLE_STREAM && handle->in_flight == 0 &&
               !(handle->flags & (HANDLE_CLOSING | HANDLE_RESTING)));
        handle->flags |= HANDLE_RESTING;
        handle->in_flight = 1;
        port->in_flight++;
        port->stats.starts++;
        if (port->in_flight > port->max_ops || handle->flags & HANDLE_BROKEN)
                rest_finish(port, handle); /* the receive that follows meets the same and tells */
        else
                port->engine->rest(port, handle);
}

void berth_recv(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, unsigned flags)
{
        ensure(handle->kind == HANDLE_STREAM);
        if (op_begin(port, op, handle, OP_RECV, flags & BERTH_MULTISHOT ? OP_MULTISHOT : 0))
                port->engine->start(port, op);
}

void berth_recv_now(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, void *data, size_t size)
{
        ensure(handle->kind == HANDLE_STREAM && size > 0);
        op_space(op)->recv_now.data = data;
        op_space(op)->recv_now.size = min_of(size, (size_t)1 << 30);
        if (op_begin(port, op, handle, OP_RECV_NOW, 0))
                port->engine->start(port, op);
}

void berth_send(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, const void *data,
                size_t size, unsigned flags)
{
        ensure(handle->kind == HANDLE_STREAM && size > 0);
        struct op_space *space = op_space(op);
        space->send.data = data;
        space->send.size = size;
        space->send.sent = 0;
        if (op_begin(port, op, handle, OP_SEND, flags & BERTH_SEND_MORE ? OP_SEND_MORE : 0))
                port->engine->start(port, op);
}

size_t berth_sent(const struct berth_op *op)
{
        ensure(op->state == OP_IDLE && (op->kind == OP_SEND || op->kind == OP_SENDV));
        const struct op_space *space = (const struct op_space *)op->engine;
        return op->kind == OP_SEND ? space->send.sent : space->sendv.sent;
}

void berth_sendv(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                 const struct berth_vec *vecs, unsigned count)
{
        ensure(handle->kind == HANDLE_STREAM && count > 0 && count <= BERTH_MAX_VECS);
        struct op_space *space = op_space(op);
        space->sendv.vecs = vecs;
        space->sendv.count = count;
        space->sendv.sent = 0;
        if (op_begin(port, op, handle, OP_SENDV, 0))
                port->engine->start(port, op);
}

void berth_send_file(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                     struct berth_send_file *file)
{
        ensure(handle->kind == HANDLE_STREAM && file->file->kind == HANDLE_FILE);
        file->head_sent = 0;
        file->file_sent = 0;
        op_space(op)->send_file.file = file;
        op_space(op)->send_file.step = 0;
        if (op_begin(port, op, handle, OP_SEND_FILE, 0))
                port->engine->start(port, op);
}

void berth_shutdown(struct berth_port *port, struct berth_op *op, struct berth_handle *handle)
{
        ensure(handle->kind == HANDLE_STREAM);
        if (op_begin(port, op, handle, OP_SHUTDOWN, 0))
                port->engine->start(port, op);
}

void berth_peer_address(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                        struct sockaddr *address, unsigned room)
{
        ensure(handle->kind == HANDLE_STREAM);
        op_space(op)->peer.address = address;
        op_space(op)->peer.room = room;
        if (op_begin(port, op, handle, OP_PEER_ADDRESS, 0))
                port->engine->start(port, op);
}

/* The close op is not counted on its handle: it waits for those that are. It is never refused. */
void berth_close(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, unsigned flags)
{
        ensure(op->state == OP_IDLE && op->done);
        ensure(handle->kind != HANDLE_NONE && !handle->closer);
        op->kind = OP_CLOSE;
        op->state = OP_PENDING;
        op->flags = flags & BERTH_ABORT ? OP_ABORT : 0;
        op->handle = handle;
        port->stats.starts++;
        port->in_flight++;
        handle->flags |= HANDLE_CLOSING;
        handle->closer = op;
        if (handle->flags & HANDLE_RESTING) {
                if (!rest_is_over(handle))
                        port->engine->unrest(port, handle);
                return;
        }
        if (handle->receiver)
                berth_cancel(port, handle->receiver);
        if (handle->sender)
                berth_cancel(port, handle->sender);
        if (handle->in_flight == 0)
                start_close(port, handle);
}

void berth_cancel(struct berth_port *port, struct berth_op *op)
{
        if (op->state == OP_IDLE || op->kind == OP_CLOSE || op->kind == OP_POST)
                return;
        if (op->kind == OP_TIMER) {
                berth_timer_cancel(port, container_of(op, struct berth_timer, op));
                return;
        }
        op->flags |= OP_CANCELLED;
        if (op->state == OP_STARVED) {
                list_remove(&op_space(op)->recv.starved);
                op->state = OP_PENDING;
                op_finish(port, op, -ECANCELED);
        } else if (op->state == OP_PENDING) {
                port->engine->cancel(port, op);
        }
}

/* ---- buffers ---- */

char *berth_buffer_data(struct berth_port *port, uint16_t buffer)
{
        return buffers_data(&port->buffers, buffer);
}

void berth_buffer_put(struct berth_port *port, uint16_t buffer)
{
        port->engine->buffer_put(port, buffer);
}

/* ---- starting: files and calls ---- */

void berth_adopt_file(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        (void)port;
        ensure(handle->kind == HANDLE_NONE && descriptor >= 0);
        *handle = (struct berth_handle){
                .kind = HANDLE_FILE, .descriptor = descriptor, .installed = -1, .user = handle->user
        };
}

int berth_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        ensure(handle->kind == HANDLE_NONE && descriptor >= 0);
        if (!port->engine->adopt_pollable)
                return -EOPNOTSUPP;
        *handle = (struct berth_handle){ .kind = HANDLE_POLLABLE, .installed = -1, .user = handle->user };
        port->engine->adopt_pollable(port, handle, descriptor);
        return 0;
}

int berth_file_descriptor(const struct berth_handle *file)
{
        ensure(file->kind == HANDLE_FILE || file->kind == HANDLE_POLLABLE);
        return file->descriptor;
}

void berth_open(struct berth_port *port, struct berth_op *op, struct berth_handle *root, const char *path,
                unsigned flags)
{
        ensure(root->kind == HANDLE_FILE);
        op_space(op)->open.path = *path ? path : ".";
        op_space(op)->open.flags = flags;
        op_space(op)->open.tries = 0;
        if (op_begin(port, op, root, OP_OPEN, 0))
                port->engine->start(port, op);
}

static void start_file_op(struct berth_port *port, struct berth_op *op, struct berth_handle *file, void *data,
                          size_t size, uint64_t offset, unsigned kind)
{
        ensure(file->kind == HANDLE_FILE);
        struct op_space *space = op_space(op);
        space->file.data = data;
        space->file.size = min_of(size, (size_t)1 << 30);
        space->file.offset = offset;
        if (op_begin(port, op, file, kind, 0))
                port->engine->start(port, op);
}

void berth_read(struct berth_port *port, struct berth_op *op, struct berth_handle *file, void *data, size_t size,
                uint64_t offset)
{
        start_file_op(port, op, file, data, size, offset, OP_READ);
}

void berth_write(struct berth_port *port, struct berth_op *op, struct berth_handle *file, const void *data, size_t size,
                 uint64_t offset)
{
        start_file_op(port, op, file, (void *)(uintptr_t)data, size, offset, OP_WRITE);
}

void berth_call(struct berth_port *port, struct berth_call *call)
{
        ensure(call->call);
        if (op_begin(port, &call->op, NULL, OP_CALL, 0))
                port->engine->start(port, &call->op);
}

/* ---- timers and messages ---- */

/* The same memory under the wheel's own type. What the caller stored in it under another one must not be moved past
 * this by the compiler. */
static struct wheel_timer *wheel_timer_of(struct berth_timer *timer)
{
        void *memory = &timer->wheel;
        __asm__ volatile("" : "+r"(memory) : : "memory");
        return memory;
}

/* The clock has lost the part of a millisecond that has gone by already: one more makes up for it. */
void berth_timer_start(struct berth_port *port, struct berth_timer *timer, uint64_t delay_ms)
{
        if (!op_begin(port, &timer->op, NULL, OP_TIMER, 0))
                return;
        uint64_t deadline_ms = port->engine->now_ms(port) + (delay_ms ? delay_ms + 1 : 0);
        wheel_start(&port->wheel, wheel_timer_of(timer), deadline_ms);
}

void berth_timer_cancel(struct berth_port *port, struct berth_timer *timer)
{
        if (timer->op.state != OP_PENDING)
                return;
        wheel_cancel(&port->wheel, wheel_timer_of(timer));
        op_finish(port, &timer->op, -ECANCELED);
}

/* `op` is pushed on the stack of posted ops; the port is woken when it may not be looking. */
void port_post(struct berth_port *port, struct berth_op *op)
{
        /* As soon as the op is on the stack the port's thread may take it, and end the port. */
        atomic_fetch_add_explicit(&port->posting, 1, memory_order_relaxed);
        struct berth_op *head = atomic_load_explicit(&port->posted, memory_order_relaxed);
        do
                op_space(op)->next = head;
        while (!atomic_compare_exchange_weak_explicit(&port->posted, &head, op, memory_order_release,
                                                      memory_order_relaxed));
        if (!head)
                port->engine->wake(port);
        atomic_fetch_sub_explicit(&port->posting, 1, memory_order_release);
}

void berth_post(struct berth_port *port, struct berth_op *op, int64_t result)
{
        ensure(op->state == OP_IDLE && op->done);
        op->kind = OP_POST;
        op->state = OP_PENDING;
        op->flags = 0;
        op->handle = NULL;
        op->result = result;
        port_post(port, op);
}
