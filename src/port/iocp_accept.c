/* Accepting. A listener keeps a number of accepts in the kernel, each with a socket made beforehand, so that a
 * connection is taken as it comes. The number follows load: when somebody has come and none was there (FD_ACCEPT), it
 * doubles; where less comes than is waited for, it goes down again.
 *
 * Each accept in the kernel may become a handle at any moment, so it counts towards max_handles. They take at most
 * half of what is left; where little is left a listener keeps none, waits for FD_ACCEPT and accepts one by one. When
 * the last handle is wanted by somebody else they are given up (iocp_reclaim). */
#include "port/iocp.h"

enum {
        SCARCE = 32,    /* with less room than this nobody posts */
        LOOK_MS = 2000, /* between looks at the depths */
        TRY_MS = 1000,
};

/* ---- accepts in the kernel ---- */

static int accept_call(struct iocp_port *self, struct io *io)
{
        (void)self;
        struct acceptor *acceptor = container_of(io, struct acceptor, io);
        DWORD bytes;
        return io->listener->provider->accept((SOCKET)io->target, acceptor->socket, acceptor->output, io->bytes,
                                              ACCEPT_ADDRESS_BYTES, ACCEPT_ADDRESS_BYTES, &bytes, &io->overlapped)
                       ? 0
                       : WSAGetLastError();
}

static bool may_post(const struct iocp_port *self)
{
        uint32_t handles = self->port.stats.handles;
        return handles < self->max_handles && self->posted < MAX_POSTED &&
               self->posted + SCARCE < (self->max_handles - handles) / 2;
}

/* False: there is no room for it now; FD_ACCEPT tells when somebody comes. */
static bool post(struct listener *listener)
{
        struct iocp_port *self = listener->self;
        int error;
        struct acceptor *acceptor = slab_take(&self->acceptors);
        if (!acceptor)
                return false;
        memset(acceptor, 0, sizeof(*acceptor));
        acceptor->socket = iocp_spare_socket(self, listener->provider);
        acceptor->tied = acceptor->socket != INVALID_SOCKET;
        if (!acceptor->tied)
                acceptor->socket = iocp_new_socket(listener->family, &error);
        if (acceptor->socket == INVALID_SOCKET) {
                slab_give(&self->acceptors, acceptor);
                return false;
        }
        acceptor->io.kind = IO_ACCEPT;
        acceptor->io.bytes = iocp_early_room(self) ? EARLY_BYTES : 0;
        acceptor->io.listener = listener;
        acceptor->io.target = iocp_file(listener->handle);
        list_append(&listener->posted, &acceptor->node);
        listener->posted_count++;
        self->posted++;
        uint32_t count = listener->posted_count;
        iocp_start(self, &acceptor->io, accept_call, false);
        return listener->posted_count == count;
}

static void top_up(struct listener *listener)
{
        while (listener->posted_count < listener->depth && may_post(listener->self) && post(listener))
                ;
}

/* The op has its turn; it may have had it in mind already. */
static void go_on(struct listener *listener)
{
        struct berth_op *op = listener->handle->receiver;
        if (op && op->state == OP_PENDING)
                op_runnable(&listener->self->port, op);
}

void iocp_accept_ended(struct iocp_port *self, struct io *io)
{
        struct acceptor *acceptor = container_of(io, struct acceptor, io);
        struct listener *listener = io->listener;
        SOCKET from = (SOCKET)io->target;
        int error = 0;
        list_remove(&acceptor->node);
        listener->posted_count--;
        self->posted--;
        if (io->error == 0) {
                setsockopt(acceptor->socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&from, sizeof(from));
                acceptor->io.bytes = min_of(iocp_bytes(io), io->bytes);
                list_append(&listener->held, &acceptor->node);
                self->port.stats.handles++;
                listener->came++;
        } else {
                error = io->error;
                closesocket(acceptor->socket);
                slab_give(&self->acceptors, acceptor);
        }
        if (error && error != -ECANCELED && !refusal(error))
                listener->hungry = true; /* who came and went may have had somebody behind him */
        if (!refusal(error))             /* else it would be refused at once again */
                go_on(listener);
        iocp_listener_ended(listener);
}

/* What comes in spite of it is held for the next accept. */
void iocp_unpost(struct listener *listener)
{
        for (struct list *node = listener->posted.next; node != &listener->posted; node = node->next) {
                struct acceptor *acceptor = container_of(node, struct acceptor, node);
                iocp_cancel_call(&acceptor->io);
        }
}

bool iocp_reclaim(struct iocp_port *self)
{
        for (unsigned i = 0; self->posted > 0 && i < MAX_LISTENERS; i++)
                if (self->listeners[i])
                        iocp_unpost(self->listeners[i]);
        return self->posted > 0;
}

/* ---- load ---- */

static void deepen(struct listener *listener)
{
        if (listener->depth == LEAST_DEPTH)
                listener->self->deep++;
        listener->depth = min_of(listener->depth * 2, listener->self->accept_depth);
}

void iocp_signalled(struct listener *listener)
{
        atomic_fetch_sub(&listener->signals, 1);
        listener->hungry = true;
        if (listener->handle->receiver && may_post(listener->self))
                deepen(listener);
        go_on(listener);
        iocp_listener_ended(listener);
}

/* The surplus is given up, the one that has waited longest first. */
static void look_at_depth(struct listener *listener)
{
        if (listener->depth > LEAST_DEPTH && listener->came < listener->depth) {
                uint32_t depth = max_of(listener->depth / 2, (uint32_t)LEAST_DEPTH);
                struct list *node = listener->posted.next;
                for (uint32_t n = listener->posted_count; n > depth && node != &listener->posted; n--) {
                        struct acceptor *acceptor = container_of(node, struct acceptor, node);
                        node = node->next;
                        iocp_cancel_call(&acceptor->io);
                }
                listener->depth = depth;
                if (depth == LEAST_DEPTH)
                        listener->self->deep--;
        }
        listener->came = 0;
}

void iocp_look_at_depths(struct iocp_port *self)
{
        uint64_t now_ms = clock_ms();
        if (self->deep == 0 || now_ms - self->looked_ms < LOOK_MS)
                return;
        self->looked_ms = now_ms;
        for (unsigned i = 0; i < MAX_LISTENERS; i++)
                if (self->listeners[i])
                        look_at_depth(self->listeners[i]);
}

/* An event that went astray would leave somebody waiting for good: so once in a while it is tried without. */
void iocp_look_at_events(struct iocp_port *self)
{
        uint64_t now_ms = clock_ms();
        if (!self->by_event || now_ms - self->tried_ms < TRY_MS)
                return;
        self->by_event = false;
        self->tried_ms = now_ms;
        for (unsigned i = 0; i < MAX_LISTENERS; i++) {
                struct listener *listener = self->listeners[i];
                if (!listener || listener->posted_count > 0)
                        continue;
                listener->hungry = true;
                go_on(listener);
        }
}

/* ---- the op ---- */

void iocp_accept_start(struct iocp_port *self, struct berth_op *op)
{
        iocp_listener(self, op->handle)->hungry = true;
        op_runnable(&self->port, op);
}

static bool hand_out(struct berth_port *port, struct berth_op *op, SOCKET socket, struct berth_event *event)
{
        iocp_no_delay(socket);
        op_end(port, op, (int64_t)(intptr_t)socket, BERTH_MORE, 0, event);
        op_runnable(port, op);
        return true;
}

static bool hand_out_held(struct berth_port *port, struct berth_op *op, struct listener *listener,
                          struct berth_event *event)
{
        struct acceptor *acceptor = container_of(listener->held.next, struct acceptor, node);
        SOCKET socket = acceptor->socket;
        list_remove(&acceptor->node);
        port->stats.reused += acceptor->tied;
        if (!iocp_early_keep(listener->self, acceptor))
                slab_give(&listener->self->acceptors, acceptor);
        return hand_out(port, op, socket, event);
}

static bool somebody_waits(SOCKET socket)
{
        fd_set one = { .fd_count = 1, .fd_array = { socket } };
        return select(0, &one, NULL, NULL, &(struct timeval){ 0 }) > 0;
}

/* The connection inherits the listener's event, which it shall not have. */
static SOCKET accept_one(struct listener *listener, int *error)
{
        u_long yes = 1;
        SOCKET socket = WSAAccept(iocp_socket(listener->handle), NULL, NULL, NULL, 0);
        if (socket == INVALID_SOCKET) {
                *error = iocp_error((DWORD)WSAGetLastError());
                return socket;
        }
        WSAEventSelect(socket, NULL, 0);
        ioctlsocket(socket, FIONBIO, &yes);
        SetHandleInformation((HANDLE)socket, HANDLE_FLAG_INHERIT, 0);
        listener->came++;
        return socket;
}

/* What no accept in the kernel has taken. -EAGAIN: nobody is left. -ENFILE: somebody, but there is no room. */
static SOCKET accept_waiting(struct listener *listener, int *error)
{
        struct iocp_port *self = listener->self;
        if (iocp_room(self))
                return accept_one(listener, error);
        *error = !somebody_waits(iocp_socket(listener->handle)) ? -EAGAIN : iocp_reclaim(self) ? -EINTR : -ENFILE;
        return INVALID_SOCKET;
}

/* Nobody but the event can tell now. Asking for it anew tells of those who are there already, too. */
static void rely_on_event(struct listener *listener)
{
        WSAEventSelect(iocp_socket(listener->handle), listener->event, FD_ACCEPT);
        listener->self->by_event = true;
}

bool iocp_accept_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct listener *listener = iocp_listener(iocp_of(port), op->handle);
        int error = -EAGAIN;
        if (!list_empty(&listener->held))
                return hand_out_held(port, op, listener, event);
        SOCKET socket = listener->hungry ? accept_waiting(listener, &error) : INVALID_SOCKET;
        if (socket != INVALID_SOCKET) {
                port->stats.handles++;
                return hand_out(port, op, socket, event);
        }
        if (error == -EAGAIN) {
                listener->hungry = false;
                top_up(listener);
                if (listener->posted_count == 0)
                        rely_on_event(listener);
                return false;
        }
        if (refusal(error)) {
                op_end(port, op, error, 0, 0, event);
                return true;
        }
        op_runnable(port, op); /* somebody came and went, or accepts are being given up for him */
        return false;
}
