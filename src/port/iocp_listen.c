/* Listeners: their sockets, their event, their end. The event is FD_ACCEPT's: a thread of the system waits for it and
 * posts a packet. */
#include "port/iocp.h"

#include <stdlib.h>

struct listener *iocp_listener(struct iocp_port *self, const struct berth_handle *handle)
{
        ensure(handle->installed >= 0 && handle->installed < MAX_LISTENERS && self->listeners[handle->installed]);
        return self->listeners[handle->installed];
}

/* ---- the event ---- */

static VOID CALLBACK somebody_came(PVOID argument, BOOLEAN timed_out)
{
        (void)timed_out;
        struct listener *listener = argument;
        atomic_fetch_add(&listener->signals, 1);
        if (PostQueuedCompletionStatus(listener->self->queue, 0, KEY_LISTENER, argument))
                return;
        atomic_fetch_sub(&listener->signals, 1); /* no memory for a packet: again in a moment */
        Sleep(1);
        SetEvent(listener->event);
}

static int watch_for_connections(struct listener *listener)
{
        listener->event = CreateEventW(NULL, FALSE, FALSE, NULL);
        if (!listener->event)
                return -ENOMEM;
        if (WSAEventSelect(iocp_socket(listener->handle), listener->event, FD_ACCEPT))
                return iocp_error((DWORD)WSAGetLastError());
        return RegisterWaitForSingleObject(&listener->wait, listener->event, somebody_came, listener, INFINITE,
                                           WT_EXECUTEINWAITTHREAD)
                       ? 0
                       : -ENOMEM;
}

/* No callback runs any more afterwards; packets may still be on the way. */
static void stop_watching(struct listener *listener)
{
        if (listener->wait)
                UnregisterWaitEx(listener->wait, INVALID_HANDLE_VALUE);
        listener->wait = NULL;
        WSAEventSelect(iocp_socket(listener->handle), NULL, 0);
}

/* ---- beginning ---- */

int iocp_family(SOCKET socket)
{
        WSAPROTOCOL_INFOW info;
        int bytes = sizeof(info);
        return getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &bytes) ? AF_INET : info.iAddressFamily;
}

static int free_place(struct iocp_port *self)
{
        for (int i = 0; i < MAX_LISTENERS; i++)
                if (!self->listeners[i])
                        return i;
        return -1;
}

static void free_listener(struct listener *listener)
{
        if (listener->event)
                CloseHandle(listener->event);
        free(listener);
}

static int begin(struct iocp_port *self, struct berth_handle *handle)
{
        int at = free_place(self);
        if (at < 0)
                return -EMFILE;
        struct listener *listener = calloc(1, sizeof(*listener));
        if (!listener)
                return -ENOMEM;
        listener->self = self;
        listener->handle = handle;
        listener->depth = LEAST_DEPTH;
        list_init(&listener->posted);
        list_init(&listener->held);
        listener->provider = iocp_provider(self, iocp_socket(handle));
        listener->family = iocp_family(iocp_socket(handle));
        int error = listener->provider ? 0 : -EOPNOTSUPP;
        if (!error && !CreateIoCompletionPort(iocp_file(handle), self->queue, KEY_IO, 0))
                error = iocp_error(GetLastError()); /* another port's already */
        if (!error)
                error = watch_for_connections(listener);
        if (error) {
                stop_watching(listener);
                free_listener(listener);
                return error;
        }
        self->listeners[at] = listener;
        self->listener_count++;
        iocp_reuse_begin(self);
        handle->installed = at;
        handle->flags |= HANDLE_SHARED; /* at the end of an accept those in the kernel are given up */
        return 0;
}

static int set_option(SOCKET socket, int level, int option)
{
        BOOL yes = TRUE;
        return setsockopt(socket, level, option, (char *)&yes, sizeof(yes)) ? iocp_error((DWORD)WSAGetLastError()) : 0;
}

/* What SO_REUSEADDR means elsewhere is the rule here, and SO_REUSEADDR would let others take the address over. */
static int bind_and_listen(SOCKET socket, const struct sockaddr *address, unsigned address_bytes, int backlog)
{
        int error = 0;
        if (address->sa_family != AF_UNIX)
                error = set_option(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE);
        if (!error && address->sa_family == AF_INET6)
                error = set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY);
        if (!error && (bind(socket, address, (int)address_bytes) || listen(socket, backlog)))
                error = iocp_error((DWORD)WSAGetLastError());
        return error;
}

/* A socket belongs to one completion port, and there is nothing like SO_REUSEPORT. */
int iocp_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                unsigned address_bytes, int backlog, unsigned flags)
{
        if (flags & BERTH_REUSE_PORT)
                return -EOPNOTSUPP;
        int error = 0;
        SOCKET socket = iocp_new_socket(address->sa_family, &error);
        if (socket == INVALID_SOCKET)
                return error;
        error = bind_and_listen(socket, address, address_bytes, backlog);
        listener->descriptor = (int32_t)(intptr_t)socket;
        if (!error)
                error = begin(iocp_of(port), listener);
        if (error)
                closesocket(socket);
        return error;
}

int iocp_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor)
{
        BOOL listens = FALSE;
        int bytes = sizeof(listens);
        listener->descriptor = descriptor;
        if (listener->flags & HANDLE_SHARED)
                return -EOPNOTSUPP;
        if (getsockopt(iocp_socket(listener), SOL_SOCKET, SO_ACCEPTCONN, (char *)&listens, &bytes))
                return iocp_error((DWORD)WSAGetLastError());
        return listens ? begin(iocp_of(port), listener) : -EINVAL;
}

int iocp_listen_address(struct berth_port *port, const struct berth_handle *listener, struct sockaddr_storage *address)
{
        (void)port;
        int bytes = sizeof(*address);
        *address = (struct sockaddr_storage){ 0 };
        return getsockname(iocp_socket(listener), (struct sockaddr *)address, &bytes)
                       ? iocp_error((DWORD)WSAGetLastError())
                       : 0;
}

/* ---- the end ---- */

static void close_held(struct listener *listener)
{
        struct iocp_port *self = listener->self;
        while (!list_empty(&listener->held)) {
                struct acceptor *acceptor = container_of(listener->held.next, struct acceptor, node);
                list_remove(&acceptor->node);
                closesocket(acceptor->socket);
                self->port.stats.handles--;
                slab_give(&self->acceptors, acceptor);
        }
}

void iocp_close_listener(struct iocp_port *self, struct berth_handle *handle)
{
        struct listener *listener = iocp_listener(self, handle);
        stop_watching(listener);
        iocp_unpost(listener);
        iocp_listener_ended(listener);
}

void iocp_listener_ended(struct listener *listener)
{
        struct berth_handle *handle = listener->handle;
        struct iocp_port *self = listener->self;
        if (!handle->closer || handle->in_flight || listener->wait || listener->posted_count > 0 ||
            atomic_load(&listener->signals))
                return;
        close_held(listener);
        if (listener->depth > LEAST_DEPTH)
                self->deep--;
        self->listeners[handle->installed] = NULL;
        self->listener_count--;
        int error = closesocket(iocp_socket(handle)) ? iocp_error((DWORD)WSAGetLastError()) : 0;
        free_listener(listener);
        op_finish(&self->port, handle->closer, error);
}
