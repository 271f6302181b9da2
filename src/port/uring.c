/* The io_uring engine. One ring per port, used by one thread (SINGLE_ISSUER, DEFER_TASKRUN): completions are worked
 * off when the thread asks for them, in batches, and one system call both submits and waits.
 *
 * Sockets live in the ring's own descriptor table (direct descriptors). sendfile(2) and getpeername(2) want a plain
 * descriptor: FIXED_FD_INSTALL makes one for the same socket when it is first needed, and it stays with the handle
 * while there are few of them. Accept and receive are multishot; receive buffers are a ring shared
 * with the kernel. An older kernel loses these one by one (docs/internals/port.md): 5.19 is the floor.
 *
 * An op has one submission at a time. Ops of several submissions keep their place in `step`.
 */
#include "port/port_priv.h"

#include <liburing.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
        DEFAULT_ENTRIES = 1024,
        MAX_SLOTS = 1 << 20, /* of a ring's table, by the kernel's rule */
        BUFFER_GROUP = 0,
        MAX_TRANSFER_BYTES = 1 << 30, /* of one submission */
        RETRY_MS = 1,                 /* for what the kernel would not take */
        OP_FIXED_FD_INSTALL = 54,     /* Linux 6.8; liburing 2.3 has no name for it */
        SETSOCKOPT_COMMAND = 3,       /* of a socket by IORING_OP_URING_CMD; Linux 6.7 */
        SOCKET_STEP_CONNECTING = 1,
        MULTISHOT_ROOM = 4096, /* free slots that let accept be multishot: a full backlog */
};

/* FULL: waits for a connection that there is no slot for. ONE: has a slot promised. STOPPING: a multishot one that
 * shall end since slots get few. */
enum accept_step { ACCEPT_START, ACCEPT_MULTISHOT, ACCEPT_STOPPING, ACCEPT_ONE, ACCEPT_FULL };

/* Submissions that are nobody's op. */
enum { DATA_NOBODY = 0, DATA_WAKE = 1 };

enum send_file_step { SEND_FILE_START, SEND_FILE_INSTALLING, SEND_FILE_POLLING, SEND_FILE_READING };

/* What a submission points at must last until the kernel has taken it; one for each slot of the queue. */
union scratch {
        struct msghdr message;
        struct open_how how;
};

struct uring_port {
        struct berth_port port;
        struct io_uring ring;
        union scratch *scratch;
        struct io_uring_buf_ring *buffer_ring;
        size_t buffer_ring_bytes;
        char *discarded;         /* where windows are read in to; nobody looks at it */
        struct op_queue cancels; /* PENDING ops whose cancel found no room in the submission queue */
        int wake;
        bool wake_armed;
        bool ring_made;
        bool stingy; /* for tests: the submission queue is now and then full */
        unsigned refusals;
        int wait_all; /* MSG_WAITALL: the kernel goes on after a short send */
        bool direct;  /* sockets are direct descriptors */
        bool accept_multishot;
        bool recv_multishot;      /* Linux 6.0 */
        uint32_t slots;           /* of the table of direct descriptors */
        uint32_t slots_used;      /* a socket is in it, or one that was asked for will be */
        unsigned installed_limit; /* so many plain descriptors may stay installed, over all ports */
};

/* Plain descriptors installed for direct ones, over all ports: the process has one limit for them. */
static atomic_uint installed_count;

static struct uring_port *uring_of(struct berth_port *port)
{
        return container_of(port, struct uring_port, port);
}

/* ---- submitting ---- */

/* A free submission entry, after handing the queue to the kernel if it is full; NULL when the kernel takes none. */
static struct io_uring_sqe *get_sqe(struct uring_port *self)
{
        if (self->stingy && ++self->refusals % 3 == 0)
                return NULL;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
        if (sqe)
                return sqe;
        io_uring_submit(&self->ring);
        return io_uring_get_sqe(&self->ring);
}

/* An entry for the op, or NULL: then the op has been queued and is started again at its turn. */
static struct io_uring_sqe *get_op_sqe(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = get_sqe(uring_of(port));
        if (!sqe)
                op_runnable(port, op);
        return sqe;
}

static union scratch *scratch_of(struct uring_port *self, const struct io_uring_sqe *sqe)
{
        return &self->scratch[sqe - self->ring.sq.sqes];
}

static void submit(struct io_uring_sqe *sqe, struct berth_op *op)
{
        io_uring_sqe_set_data(sqe, op);
        if (op->handle && op->handle->flags & HANDLE_DIRECT)
                sqe->flags |= IOSQE_FIXED_FILE;
}

static void submit_for_nobody(struct io_uring_sqe *sqe, uint64_t data)
{
        io_uring_sqe_set_data64(sqe, data);
}

/* setsockopt(2) on a direct descriptor, ahead of the op's own submission; it never waits, so it is done when that one
 * begins. `value` must be static. False when there was no room: then the op has been queued. */
static bool submit_option(struct berth_port *port, struct berth_op *op, int level, int option, const void *value,
                          unsigned bytes)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return false;
        const uint32_t what[] = { (uint32_t)level, (uint32_t)option }, command = SETSOCKOPT_COMMAND;
        io_uring_prep_rw(IORING_OP_URING_CMD, sqe, op->handle->descriptor, NULL, 0, 0);
        memcpy(&sqe->off, &command, sizeof(command)); /* liburing 2.3 has no names for these */
        memcpy(&sqe->addr, what, sizeof(what));
        sqe->addr3 = (uintptr_t)value;
        sqe->file_index = bytes;
        sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
        submit_for_nobody(sqe, DATA_NOBODY);
        return true;
}

/* ---- plain descriptors for direct ones ---- */

static void submit_install(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_rw(OP_FIXED_FD_INSTALL, sqe, op->handle->descriptor, NULL, 0, 0);
        submit(sqe, op);
}

/* Two ops may have asked for one at the same time. */
static void note_installed(struct berth_handle *handle, int descriptor)
{
        if (handle->installed >= 0) {
                close(descriptor);
                return;
        }
        handle->installed = descriptor;
        atomic_fetch_add_explicit(&installed_count, 1, memory_order_relaxed);
}

static void uninstall(struct berth_handle *handle)
{
        if (handle->installed < 0)
                return;
        close(handle->installed);
        handle->installed = -1;
        atomic_fetch_sub_explicit(&installed_count, 1, memory_order_relaxed);
}

/* After use: it stays while there are few of them, unless an op still sends through it. */
static void spare_installed(struct berth_port *port, struct berth_handle *handle, const struct berth_op *user)
{
        unsigned count = atomic_load_explicit(&installed_count, memory_order_relaxed);
        bool in_use = handle->sender && handle->sender != user;
        if (count > uring_of(port)->installed_limit && !in_use)
                uninstall(handle);
}

/* The plain descriptor, -1 when there is none yet. */
static int plain_descriptor(const struct berth_handle *handle)
{
        return handle->flags & HANDLE_DIRECT ? handle->installed : handle->descriptor;
}

/* ---- send_file ---- */

static void submit_poll_out(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        op_space(op)->send_file.step = SEND_FILE_POLLING;
        io_uring_prep_poll_add(sqe, op->handle->descriptor, POLLOUT);
        submit(sqe, op);
}

static void submit_read_in(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        const struct berth_send_file *file = op_space(op)->send_file.file;
        uint64_t offset, length;
        sendfile_window(file, &offset, &length);
        op_space(op)->send_file.step = SEND_FILE_READING;
        io_uring_prep_read(sqe, file->file->descriptor, self->discarded, (unsigned)length, offset);
        io_uring_sqe_set_data(sqe, op);
}

/* Goes on sending. True when the op has come to an end, with its result. */
static bool send_file_push(struct berth_port *port, struct berth_op *op, int64_t *result)
{
        struct op_space *space = op_space(op);
        struct berth_send_file *file = space->send_file.file;
        bool read_in = space->send_file.step == SEND_FILE_READING;
        int error = 0;
        space->send_file.step = SEND_FILE_START;
        switch (sendfile_push(plain_descriptor(op->handle), file, read_in, &error)) {
        case PUSH_FULL:
                submit_poll_out(port, op);
                return false;
        case PUSH_TURN:
                port->stats.turns++;
                op_runnable(port, op);
                return false;
        case PUSH_COLD:
                port->stats.cold_windows++;
                submit_read_in(port, op);
                return false;
        case PUSH_DONE:
                *result = (int64_t)(file->head_sent + file->file_sent);
                break;
        case PUSH_FAILED:
                *result = error;
                break;
        }
        spare_installed(port, op->handle, op);
        return true;
}

static void start_send_file(struct berth_port *port, struct berth_op *op)
{
        if (plain_descriptor(op->handle) < 0) {
                op_space(op)->send_file.step = SEND_FILE_INSTALLING;
                submit_install(port, op);
                return;
        }
        int64_t result;
        if (send_file_push(port, op, &result))
                op_finish(port, op, result);
}

static bool send_file_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        uint64_t step = op_space(op)->send_file.step;
        int64_t result = res;
        if (step == SEND_FILE_INSTALLING && res >= 0)
                note_installed(op->handle, res);
        if (op_cancelled(op))
                result = -ECANCELED;
        else if (res >= 0 || step == SEND_FILE_READING) /* sendfile meets the same error and reports it */
                if (!send_file_push(port, op, &result))
                        return false;
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* ---- connect: a slot for the socket, then the connection ---- */

/* Not blocking, for the sake of sendfile(2); io_uring waits all the same. */
static void submit_socket(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        if (self->slots_used == self->slots) {
                op_finish(port, op, -ENFILE);
                return;
        }
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        self->slots_used++;
        io_uring_prep_socket(sqe, op_space(op)->connect.address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0, 0);
        sqe->file_index = IORING_FILE_INDEX_ALLOC; /* the helper of liburing 2.3 sets it wrongly */
        io_uring_sqe_set_data(sqe, op);
}

static void submit_connect(struct berth_port *port, struct berth_op *op)
{
        static const int yes = 1; /* a unix socket rejects it, and needs none */
        if (op->handle->flags & HANDLE_DIRECT && !submit_option(port, op, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)))
                return;
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        struct op_space *space = op_space(op);
        io_uring_prep_connect(sqe, op->handle->descriptor, space->connect.address,
                              (socklen_t)space->connect.address_bytes);
        submit(sqe, op);
}

static void start_connect(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        if (space->connect.step == SOCKET_STEP_CONNECTING) {
                submit_connect(port, op);
        } else if (uring_of(port)->direct) {
                submit_socket(port, op);
        } else {
                int type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
                op->handle->descriptor = socket(space->connect.address->sa_family, type, 0);
                space->connect.step = SOCKET_STEP_CONNECTING;
                if (op->handle->descriptor < 0) {
                        op_finish(port, op, -errno);
                        return;
                }
                sockets_no_delay(op->handle->descriptor);
                submit_connect(port, op);
        }
}

/* By calls that take effect at once: no op is there to wait for a completion. */
static void uring_drop(struct berth_port *port, struct berth_handle *handle)
{
        struct uring_port *self = uring_of(port);
        const int none = -1;
        if (handle->kind == HANDLE_LISTENER || handle->descriptor < 0)
                return;
        if (handle->flags & HANDLE_DIRECT) {
                ensure(io_uring_register_files_update(&self->ring, (unsigned)handle->descriptor, &none, 1) == 1);
                self->slots_used--;
        } else {
                close(handle->descriptor);
        }
        handle->descriptor = -1;
}

static bool connect_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (res < 0 && space->connect.step == 0)
                uring_of(port)->slots_used--;
        if (res >= 0 && space->connect.step == 0) {
                op->handle->descriptor = res;
                op->handle->flags |= HANDLE_DIRECT;
                space->connect.step = SOCKET_STEP_CONNECTING;
                if (!op_cancelled(op)) {
                        submit_connect(port, op);
                        return false;
                }
                res = -ECANCELED;
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}

/* ---- send, sendv ---- */

static void submit_send(struct berth_port *port, struct berth_op *op, const char *data, size_t size)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        int flags = MSG_NOSIGNAL | uring_of(port)->wait_all | (op->flags & OP_SEND_MORE ? MSG_MORE : 0);
        io_uring_prep_send(sqe, op->handle->descriptor, data, min_of(size, (size_t)MAX_TRANSFER_BYTES), flags);
        submit(sqe, op);
}

static void start_send(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        submit_send(port, op, space->send.data + space->send.sent, space->send.size - space->send.sent);
}

/* With MSG_WAITALL the kernel itself goes on after a short send; what is left after a limit or a signal goes out here. */
static bool send_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (res > 0)
                space->send.sent += (size_t)res;
        bool whole = space->send.sent == space->send.size;
        if (res > 0 && !whole && !op_cancelled(op)) {
                start_send(port, op);
                return false;
        }
        int64_t result = whole ? (int64_t)space->send.size : res < 0 ? res : -ECANCELED;
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* The piece that `sent` ends in; false when nothing is left. */
static bool rest_of_piece(const struct op_space *space, const char **data, size_t *size)
{
        size_t skip = space->sendv.sent;
        for (size_t i = 0; i < space->sendv.count; i++) {
                const struct berth_vec *vec = &space->sendv.vecs[i];
                if (skip < vec->size) {
                        *data = (const char *)vec->data + skip;
                        *size = vec->size - skip;
                        return true;
                }
                skip -= vec->size;
        }
        return false;
}

/* All pieces at once; after a short send one by one. */
static void start_sendv(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        const char *data;
        size_t size;
        if (space->sendv.sent > 0 && rest_of_piece(space, &data, &size)) {
                submit_send(port, op, data, size);
                return;
        }
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        struct msghdr *message = &scratch_of(uring_of(port), sqe)->message;
        *message = (struct msghdr){
                .msg_iov = (struct iovec *)(uintptr_t)space->sendv.vecs,
                .msg_iovlen = space->sendv.count,
        };
        io_uring_prep_sendmsg(sqe, op->handle->descriptor, message, MSG_NOSIGNAL | uring_of(port)->wait_all);
        submit(sqe, op);
}

static bool sendv_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        const char *data;
        size_t size;
        if (res > 0)
                space->sendv.sent += (size_t)res;
        bool left = rest_of_piece(space, &data, &size);
        if (res > 0 && left && !op_cancelled(op)) {
                start_sendv(port, op);
                return false;
        }
        int64_t result = !left ? (int64_t)space->sendv.sent : res < 0 ? res : -ECANCELED;
        op_end(port, op, result, 0, 0, event);
        return true;
}

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

static void start_accept(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        if (self->direct)
                prep_accept_direct(self, sqe, op);
        else
                prep_accept(sqe, op->handle->descriptor, self->accept_multishot);
        submit(sqe, op);
}

static void start_wait_readable(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_poll_add(sqe, op->handle->descriptor, POLLIN | POLLRDHUP);
        submit(sqe, op);
}

static void start_recv(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
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
        struct io_uring_sqe *sqe = get_sqe(self);
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

static bool accept_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
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
                keep_multishot(port, op, more, start_accept);
                return true;
        }
        if (more)
                return false;
        if (!op_cancelled(op) && (stopped || res == -EAGAIN || sockets_accept_again(-res))) {
                start_accept(port, op);
                return false;
        }
        op_end(port, op, op_cancelled(op) ? -ECANCELED : res, 0, 0, event);
        return true;
}

static bool recv_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
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
                        keep_multishot(port, op, more, start_recv);
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

/* ---- shutdown, peer_address, close ---- */

static void start_shutdown(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0) {
                op_finish(port, op, shutdown(plain, SHUT_WR) < 0 ? -errno : 0);
                return;
        }
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_shutdown(sqe, op->handle->descriptor, SHUT_WR);
        submit(sqe, op);
}

static void start_peer_address(struct berth_port *port, struct berth_op *op)
{
        int plain = plain_descriptor(op->handle);
        if (plain >= 0)
                op_finish(port, op, sockets_peer(plain, op_space(op)->peer.address));
        else
                submit_install(port, op);
}

static bool peer_address_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        if (res >= 0) {
                note_installed(handle, res);
                res = sockets_peer(handle->installed, op_space(op)->peer.address);
                spare_installed(port, handle, op);
        }
        op_end(port, op, res, 0, 0, event);
        return true;
}

static void submit_close(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        uninstall(handle);
        if (handle->flags & HANDLE_DIRECT)
                io_uring_prep_close_direct(sqe, (unsigned)handle->descriptor);
        else
                io_uring_prep_close(sqe, handle->descriptor);
        io_uring_sqe_set_data(sqe, op);
}

static void start_close(struct berth_port *port, struct berth_op *op)
{
        struct berth_handle *handle = op->handle;
        if (handle->descriptor < 0) { /* a connect that never had a socket */
                op_finish(port, op, 0);
                return;
        }
        static const struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        int plain = plain_descriptor(handle);
        if (op->flags & OP_ABORT && plain >= 0)
                sockets_linger_abort(plain);
        else if (op->flags & OP_ABORT && !submit_option(port, op, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)))
                return;
        submit_close(port, op);
}

static bool close_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        if (op->handle->flags & HANDLE_DIRECT)
                uring_of(port)->slots_used--;
        op_end(port, op, res, 0, 0, event);
        return true;
}

/* ---- files and calls ---- */

static void start_open(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        struct open_how *how = &scratch_of(uring_of(port), sqe)->how;
        files_open_how(how, space->open.flags, 0);
        io_uring_prep_openat2(sqe, op->handle->descriptor, space->open.path, how);
        submit(sqe, op);
}

static bool open_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        if (res == -EAGAIN && !op_cancelled(op) && op_space(op)->open.tries++ < OPEN_TRIES) {
                start_open(port, op);
                return false;
        }
        if (res >= 0)
                files_opened(res);
        op_end(port, op, res, 0, 0, event);
        return true;
}

static void start_read(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_read(sqe, op->handle->descriptor, space->file.data, (unsigned)space->file.size,
                           space->file.offset);
        submit(sqe, op);
}

static void start_write(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_write(sqe, op->handle->descriptor, space->file.data, (unsigned)space->file.size,
                            space->file.offset);
        submit(sqe, op);
}

static void start_call(struct berth_port *port, struct berth_op *op)
{
        int error = workers_submit(port->workers, port, op);
        if (error)
                op_finish(port, op, error);
}

/* ---- the engine's table ---- */

static void (*const starts[])(struct berth_port *, struct berth_op *) = {
        [OP_ACCEPT] = start_accept,       [OP_CONNECT] = start_connect,   [OP_WAIT_READABLE] = start_wait_readable,
        [OP_RECV] = start_recv,           [OP_SEND] = start_send,         [OP_SENDV] = start_sendv,
        [OP_SEND_FILE] = start_send_file, [OP_SHUTDOWN] = start_shutdown, [OP_PEER_ADDRESS] = start_peer_address,
        [OP_CLOSE] = start_close,         [OP_OPEN] = start_open,         [OP_READ] = start_read,
        [OP_WRITE] = start_write,         [OP_CALL] = start_call,
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
        struct io_uring_sqe *sqe = self->cancels.count ? NULL : get_sqe(self);
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
                struct io_uring_sqe *sqe = get_sqe(self);
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
                return accept_completed(port, op, res, flags, event);
        case OP_CONNECT:
                return connect_completed(port, op, res, event);
        case OP_RECV:
                return recv_completed(port, op, res, flags, event);
        case OP_SEND:
                return send_completed(port, op, res, event);
        case OP_SENDV:
                return sendv_completed(port, op, res, event);
        case OP_SEND_FILE:
                return send_file_completed(port, op, res, event);
        case OP_PEER_ADDRESS:
                return peer_address_completed(port, op, res, event);
        case OP_CLOSE:
                return close_completed(port, op, res, event);
        case OP_OPEN:
                return open_completed(port, op, res, event);
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
        struct io_uring_sqe *sqe = get_sqe(self);
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

/* ---- listeners, adopted connections, buffers ---- */

static int uring_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor)
{
        (void)port;
        int error = sockets_adopt_listener(descriptor);
        if (!error)
                listener->descriptor = descriptor;
        return error;
}

static int uring_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                        unsigned address_bytes, int backlog, unsigned flags)
{
        (void)port;
        int descriptor = sockets_listen(address, address_bytes, backlog, flags);
        listener->descriptor = descriptor;
        return min_of(descriptor, 0);
}

static int uring_listen_address(struct berth_port *port, const struct berth_handle *listener,
                                struct sockaddr_storage *address)
{
        (void)port;
        return sockets_address(listener->descriptor, address);
}

static void uring_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        handle->descriptor = descriptor;
        if (uring_of(port)->direct)
                handle->flags |= HANDLE_DIRECT;
}

static void uring_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        (void)port;
        handle->descriptor = descriptor;
}

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
