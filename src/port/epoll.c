/* The epoll engine. Each socket is registered once, edge-triggered. An op is tried first and waits only after
 * EAGAIN: the handle remembers whether an edge has come since (HANDLE_READABLE), so that a receive on a drained
 * socket costs no call at all. Ops that would block on the disk go to the worker pool after a try
 * that must not wait.
 */
#include "port/port_priv.h"

#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WAIT_EVENTS = 256 };

struct epoll_port {
        struct berth_port port;
        int epoll;
        int wake;
        uint32_t max_handles;
};

static struct epoll_port *epoll_of(struct berth_port *port)
{
        return container_of(port, struct epoll_port, port);
}

/* ---- waiting ---- */

/* What a handle's edge makes runnable. */
static void edge(struct berth_port *port, struct berth_handle *handle, uint32_t events)
{
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
                handle->flags |= HANDLE_READABLE;
                if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                        handle->flags |= HANDLE_HUNG_UP;
                if (handle->flags & HANDLE_RESTING) {
                        if (!rest_is_over(handle))
                                rest_finish(port, handle);
                } else if (handle->receiver && handle->receiver->state == OP_PENDING) {
                        op_runnable(port, handle->receiver);
                }
        }
        if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
                if (handle->sender && handle->sender->state == OP_PENDING &&
                    !(handle->sender->kind == OP_SEND_FILE && op_space(handle->sender)->send_file.step))
                        op_runnable(port, handle->sender);
        }
}

static void take_wake(struct epoll_port *self)
{
        uint64_t count;
        ssize_t n = read(self->wake, &count, sizeof(count));
        (void)n;
}

static int epoll_wait_ops(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms)
{
        (void)events;
        (void)count;
        struct epoll_port *self = epoll_of(port);
        struct epoll_event ready[WAIT_EVENTS];
        int n = epoll_wait(self->epoll, ready, WAIT_EVENTS, timeout_ms);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                if (ready[i].data.ptr)
                        edge(port, ready[i].data.ptr, ready[i].events);
                else
                        take_wake(self);
        }
        return 0;
}

static void epoll_wake(struct berth_port *port)
{
        uint64_t one = 1;
        ssize_t n = write(epoll_of(port)->wake, &one, sizeof(one));
        (void)n; /* full: it is awake already */
}

static uint64_t epoll_now_ms(struct berth_port *port)
{
        (void)port;
        return clock_ms();
}

/* ---- registering ---- */

static int watch(struct berth_port *port, struct berth_handle *handle)
{
        if (handle->flags & HANDLE_WATCHED)
                return 0;
        struct epoll_event event = { .data.ptr = handle, .events = EPOLLIN | EPOLLET };
        if (handle->kind != HANDLE_LISTENER)
                event.events |= EPOLLOUT | EPOLLRDHUP;
        else if (handle->flags & HANDLE_SHARED)
                event.events |= EPOLLEXCLUSIVE;
        if (epoll_ctl(epoll_of(port)->epoll, EPOLL_CTL_ADD, handle->descriptor, &event) < 0)
                return -errno;
        handle->flags |= HANDLE_WATCHED;
        return 0;
}

/* Closing the descriptor would do, were it the only one for its socket; but another process or port may have one too,
 * and then events would go on to arrive for a handle that is gone. */
static void unwatch(struct berth_port *port, struct berth_handle *handle)
{
        if (handle->flags & HANDLE_WATCHED)
                epoll_ctl(epoll_of(port)->epoll, EPOLL_CTL_DEL, handle->descriptor, NULL);
        handle->flags &= (uint8_t)~HANDLE_WATCHED;
}

static int epoll_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor)
{
        int error = sockets_adopt_listener(descriptor);
        if (error)
                return error;
        listener->descriptor = descriptor;
        return listener->flags & HANDLE_SHARED ? 0 : watch(port, listener);
}

static int epoll_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                        unsigned address_bytes, int backlog, unsigned flags)
{
        int descriptor = sockets_listen(address, address_bytes, backlog, flags);
        if (descriptor < 0)
                return descriptor;
        int error = epoll_listen_adopt(port, listener, descriptor);
        if (error)
                close(descriptor);
        return error;
}

static int epoll_listen_address(struct berth_port *port, const struct berth_handle *listener,
                                struct sockaddr_storage *address)
{
        (void)port;
        return sockets_address(listener->descriptor, address);
}

/* What has come already is told by the first edge, which registering brings. */
static void epoll_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        handle->descriptor = descriptor;
        if (watch(port, handle) < 0)
                handle->flags |= HANDLE_BROKEN;
}

/* Nothing of it is here before it is adopted. */
static int epoll_pass(struct berth_port *port, int descriptor)
{
        (void)port;
        (void)descriptor;
        return 0;
}

/* ---- rest: the registration stands, and an edge ends it ---- */

static bool readable_now(const struct berth_handle *handle)
{
        struct pollfd poll_one = { .fd = handle->descriptor, .events = POLLIN | POLLRDHUP };
        return poll(&poll_one, 1, 0) > 0;
}

/* The flag may stand although all was read (a read that filled its buffer exactly), so the socket is asked. */
static void epoll_rest(struct berth_port *port, struct berth_handle *handle)
{
        if (!(handle->flags & HANDLE_READABLE))
                return;
        if (readable_now(handle))
                rest_finish(port, handle);
        else
                handle->flags &= (uint8_t)~HANDLE_READABLE;
}

static void epoll_unrest(struct berth_port *port, struct berth_handle *handle)
{
        rest_finish(port, handle);
}

/* ---- steps: each tries once; true with an event, false when it waits ---- */

typedef bool step(struct berth_port *port, struct berth_op *op, struct berth_event *event);

static bool end(struct berth_port *port, struct berth_op *op, int64_t result, struct berth_event *event)
{
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* errno after a call that did not succeed: EAGAIN waits for the next edge. */
static bool wait_or_fail(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        return errno == EAGAIN ? false : end(port, op, -errno, event);
}

static bool wait_readable_or_fail(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        if (errno == EAGAIN)
                op->handle->flags &= (uint8_t)~HANDLE_READABLE;
        return wait_or_fail(port, op, event);
}

/* A shared listener is watched only while somebody accepts here: the kernel wakes one port for a connection, and it
 * must not be one that has no room for it. */
static bool step_accept(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        if (watch(port, op->handle) < 0)
                return end(port, op, -errno, event);
        if (port->stats.handles >= epoll_of(port)->max_handles)
                return readable_now(op->handle) ? end(port, op, -ENFILE, event) : false;
        int descriptor = accept4(op->handle->descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
                port->stats.handles++;
                op_end(port, op, descriptor, BERTH_MORE, 0, event);
                op_runnable(port, op);
                return true;
        }
        if (sockets_accept_again(errno)) {
                op_runnable(port, op);
                return false;
        }
        return wait_or_fail(port, op, event);
}

/* First turn: begin to connect. Second turn, after the edge: how did it go? */
static bool step_connect(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        struct berth_handle *handle = op->handle;
        if (space->connect.step == 0) {
                space->connect.step = 1;
                if (port->stats.handles >= epoll_of(port)->max_handles)
                        return end(port, op, -ENFILE, event);
                int descriptor = sockets_connecting(space->connect.address, space->connect.source,
                                                    space->connect.address_bytes);
                if (descriptor < 0)
                        return end(port, op, descriptor, event);
                handle->descriptor = descriptor;
                port->stats.handles++;
                int connected = connect(handle->descriptor, space->connect.address,
                                        (socklen_t)space->connect.address_bytes);
                if ((connected < 0 && errno != EINPROGRESS) || watch(port, handle) < 0)
                        return end(port, op, -errno, event);
                return connected == 0 ? end(port, op, 0, event) : false;
        }
        int error = 0;
        socklen_t bytes = sizeof(error);
        if (getsockopt(handle->descriptor, SOL_SOCKET, SO_ERROR, &error, &bytes) < 0)
                error = errno;
        return end(port, op, -error, event);
}

static void epoll_drop(struct berth_port *port, struct berth_handle *handle)
{
        if (handle->descriptor < 0)
                return;
        unwatch(port, handle);
        if (handle->kind == HANDLE_LISTENER)
                return;
        close(handle->descriptor);
        handle->descriptor = -1;
        port->stats.handles--;
}

static bool step_wait_readable(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        if (readable_now(op->handle))
                return end(port, op, 0, event);
        op->handle->flags &= (uint8_t)~HANDLE_READABLE;
        return false;
}

/* A read that leaves room in its buffer has drained the socket, and the next bytes bring a new edge; so the try that
 * would only say EAGAIN is left out. A FIN that came with the bytes was announced by their own edge (EPOLLRDHUP). */
static void note_drained(struct berth_handle *handle, size_t received, size_t room)
{
        if (received < room && !(handle->flags & HANDLE_HUNG_UP))
                handle->flags &= (uint8_t)~HANDLE_READABLE;
}

static bool step_recv(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        uint16_t buffer;
        if (!buffers_take(&port->buffers, &buffer)) {
                op_starve(port, op, &port->starved);
                return false;
        }
        struct berth_handle *handle = op->handle;
        ssize_t n = recv(handle->descriptor, buffers_data(&port->buffers, buffer), port->buffers.bytes, 0);
        if (n <= 0) {
                buffers_give(&port->buffers, buffer);
                return n == 0 ? end(port, op, 0, event) : wait_readable_or_fail(port, op, event);
        }
        note_drained(handle, (size_t)n, port->buffers.bytes);
        bool more = op->flags & OP_MULTISHOT;
        op_end(port, op, n, BERTH_BUFFER | (more ? BERTH_MORE : 0), buffer, event);
        if (more && handle->flags & HANDLE_READABLE)
                op_runnable(port, op);
        return true;
}

static bool step_recv_now(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        const struct op_space *space = op_space(op);
        struct berth_handle *handle = op->handle;
        ssize_t n = recv(handle->descriptor, space->recv_now.data, space->recv_now.size, 0);
        if (n > 0)
                note_drained(handle, (size_t)n, space->recv_now.size);
        else if (n < 0 && errno == EAGAIN)
                handle->flags &= (uint8_t)~HANDLE_READABLE;
        return end(port, op, n < 0 ? -errno : n, event);
}

/* A reader that keeps up must not hold up the others: what a turn leaves goes out at the next. */
static bool step_send(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        int flags = MSG_NOSIGNAL | (op->flags & OP_SEND_MORE ? MSG_MORE : 0);
        size_t turn = min_of(space->send.size - space->send.sent, (size_t)SEND_TURN_BYTES);
        while (turn > 0) {
                ssize_t n = send(op->handle->descriptor, space->send.data + space->send.sent, turn, flags);
                if (n < 0)
                        return wait_or_fail(port, op, event);
                space->send.sent += (size_t)n;
                turn -= (size_t)n;
        }
        if (space->send.sent == space->send.size)
                return end(port, op, (int64_t)space->send.size, event);
        op_runnable(port, op);
        return false;
}

/* What is left of the pieces after `sent` bytes. Returns how many pieces. */
static unsigned rest_of_vecs(const struct berth_vec *vecs, size_t count, size_t sent, struct iovec *rest)
{
        unsigned n = 0;
        for (size_t i = 0; i < count; i++) {
                size_t skip = min_of(sent, vecs[i].size);
                sent -= skip;
                if (vecs[i].size > skip)
                        rest[n++] = (struct iovec){ (char *)(uintptr_t)vecs[i].data + skip, vecs[i].size - skip };
        }
        return n;
}

static bool step_sendv(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        struct iovec rest[BERTH_MAX_VECS];
        struct msghdr message = { .msg_iov = rest };
        while ((message.msg_iovlen = rest_of_vecs(space->sendv.vecs, space->sendv.count, space->sendv.sent, rest)) >
               0) {
                ssize_t n = sendmsg(op->handle->descriptor, &message, MSG_NOSIGNAL);
                if (n < 0)
                        return wait_or_fail(port, op, event);
                space->sendv.sent += (size_t)n;
        }
        return end(port, op, (int64_t)space->sendv.sent, event);
}

/* step 1: the worker pool is reading the window in; whatever it found, sendfile goes on from there. */
static bool step_send_file(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        struct berth_send_file *file = space->send_file.file;
        int error;
        bool read_in = space->send_file.step == 1;
        space->send_file.step = 0;
        switch (sendfile_push(op->handle->descriptor, file, read_in, &error)) {
        case PUSH_DONE:
                return end(port, op, (int64_t)(file->head_sent + file->file_sent), event);
        case PUSH_FULL:
                return false;
        case PUSH_TURN:
                port->stats.turns++;
                op_runnable(port, op);
                return false;
        case PUSH_COLD:
                port->stats.cold_windows++;
                space->send_file.step = 1;
                if (workers_submit(port->workers, port, op) < 0)
                        op_runnable(port, op); /* no worker is free: sendfile reads it itself */
                return false;
        default:
                return end(port, op, error, event);
        }
}

static bool step_shutdown(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        return end(port, op, shutdown(op->handle->descriptor, SHUT_WR) < 0 ? -errno : 0, event);
}

static bool step_peer_address(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        return end(port, op,
                   sockets_peer(op->handle->descriptor, op_space(op)->peer.address, (unsigned)op_space(op)->peer.room),
                   event);
}

static bool step_close(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        int descriptor = op->handle->descriptor;
        if (descriptor < 0) /* a connect that never had a socket */
                return end(port, op, 0, event);
        unwatch(port, op->handle);
        if (op->flags & OP_ABORT)
                sockets_linger_abort(descriptor);
        if (op->handle->kind == HANDLE_STREAM)
                port->stats.handles--;
        return end(port, op, close(descriptor) < 0 ? -errno : 0, event);
}

/* On to the worker pool with what would have to wait for the disk. */
static bool block_elsewhere(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        int error = workers_submit(port->workers, port, op);
        return error ? end(port, op, error, event) : false;
}

static bool step_open(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        unsigned flags = space->open.flags;
        if (flags & (BERTH_OPEN_CREATE | BERTH_OPEN_WRITE))
                return block_elsewhere(port, op, event);
        int descriptor = files_open(op->handle->descriptor, space->open.path, flags, RESOLVE_CACHED);
        if (descriptor == -EAGAIN || descriptor == -EINVAL)
                return block_elsewhere(port, op, event);
        return end(port, op, descriptor, event);
}

static bool step_read(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        struct iovec vec = { space->file.data, space->file.size };
        ssize_t n = preadv2(op->handle->descriptor, &vec, 1, (off_t)space->file.offset, RWF_NOWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EOPNOTSUPP))
                return block_elsewhere(port, op, event);
        return end(port, op, n < 0 ? -errno : n, event);
}

static step *const steps[] = {
        [OP_ACCEPT] = step_accept,
        [OP_CONNECT] = step_connect,
        [OP_WAIT_READABLE] = step_wait_readable,
        [OP_RECV] = step_recv,
        [OP_RECV_NOW] = step_recv_now,
        [OP_SEND] = step_send,
        [OP_SENDV] = step_sendv,
        [OP_SEND_FILE] = step_send_file,
        [OP_SHUTDOWN] = step_shutdown,
        [OP_PEER_ADDRESS] = step_peer_address,
        [OP_CLOSE] = step_close,
        [OP_OPEN] = step_open,
        [OP_READ] = step_read,
        [OP_WRITE] = block_elsewhere,
        [OP_CALL] = block_elsewhere,
};

static bool epoll_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        ensure(op->kind < array_count(steps) && steps[op->kind]);
        return steps[op->kind](port, op, event);
}

/* ---- starting and cancelling ---- */

/* A receive on a socket known to be drained waits for the edge, or does not wait; everything else has its turn in the
 * queue. */
static void epoll_start(struct berth_port *port, struct berth_op *op)
{
        bool receives = op->kind == OP_RECV || op->kind == OP_WAIT_READABLE;
        if (receives && !(op->handle->flags & HANDLE_READABLE))
                return;
        if (op->kind == OP_RECV_NOW && !(op->handle->flags & HANDLE_READABLE)) {
                op_finish(port, op, -EAGAIN);
                return;
        }
        op_runnable(port, op);
}

static void epoll_cancel(struct berth_port *port, struct berth_op *op)
{
        bool on_worker = op->kind == OP_CALL || op->kind == OP_OPEN || op->kind == OP_READ || op->kind == OP_WRITE ||
                         (op->kind == OP_SEND_FILE && op_space(op)->send_file.step == 1);
        if (on_worker && !workers_cancel(port->workers, op))
                return; /* running: it comes back by itself */
        op_finish(port, op, -ECANCELED);
}

static uint32_t epoll_max_handles(const struct berth_port *port)
{
        return ((const struct epoll_port *)port)->max_handles;
}

static void epoll_buffer_put(struct berth_port *port, uint16_t buffer)
{
        buffers_give(&port->buffers, buffer);
}

/* ---- making and ending ---- */

static void epoll_destroy(struct berth_port *port)
{
        struct epoll_port *self = epoll_of(port);
        port_finish(port);
        if (self->wake >= 0)
                close(self->wake);
        if (self->epoll >= 0)
                close(self->epoll);
        free(self);
}

static int open_epoll(struct epoll_port *self)
{
        self->epoll = epoll_create1(EPOLL_CLOEXEC);
        self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (self->epoll < 0 || self->wake < 0)
                return -errno;
        struct epoll_event event = { .events = EPOLLIN };
        return epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &event) < 0 ? -errno : 0;
}

static int epoll_create_port(struct berth_port **port, const struct berth_port_config *config)
{
        struct epoll_port *self = calloc(1, sizeof(*self));
        if (!self)
                return -ENOMEM;
        self->epoll = self->wake = -1;
        self->max_handles = min_of(config->max_handles ? config->max_handles : UINT32_MAX, sockets_limit());
        int error = port_init(&self->port, &epoll_engine, config);
        if (error) {
                free(self);
                return error;
        }
        error = open_epoll(self);
        if (error) {
                epoll_destroy(&self->port);
                return error;
        }
        *port = &self->port;
        return 0;
}

const struct engine epoll_engine = {
        .name = "epoll",
        .shares = true,
        .create = epoll_create_port,
        .destroy = epoll_destroy,
        .now_ms = epoll_now_ms,
        .wait = epoll_wait_ops,
        .wake = epoll_wake,
        .start = epoll_start,
        .step = epoll_step,
        .cancel = epoll_cancel,
        .listen = epoll_listen,
        .listen_adopt = epoll_listen_adopt,
        .listen_address = epoll_listen_address,
        .adopt = epoll_adopt,
        .adopt_pollable = epoll_adopt,
        .pass = epoll_pass,
        .drop = epoll_drop,
        .buffer_put = epoll_buffer_put,
        .rest = epoll_rest,
        .unrest = epoll_unrest,
        .max_handles = epoll_max_handles,
};
