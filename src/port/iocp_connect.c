/* Connecting: ConnectEx on a socket that is bound first, as it wants. */
#include "port/iocp.h"

#ifndef SO_REUSE_UNICASTPORT
#define SO_REUSE_UNICASTPORT 0x3007 /* Windows 10: the port is chosen when the peer is known */
#endif

static int bind_any(SOCKET socket, int family)
{
        struct sockaddr_storage any = { .ss_family = (ADDRESS_FAMILY)family };
        int bytes = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        return bind(socket, (struct sockaddr *)&any, bytes) ? iocp_error((DWORD)WSAGetLastError()) : 0;
}

static int bind_source(SOCKET socket, const struct sockaddr *source, unsigned bytes)
{
        DWORD yes = 1;
        setsockopt(socket, SOL_SOCKET, SO_REUSE_UNICASTPORT, (char *)&yes, sizeof(yes));
        return bind(socket, source, (int)bytes) ? iocp_error((DWORD)WSAGetLastError()) : 0;
}

/* The handle has its socket, or the error. What it has is let go by the common half when the connect fails. */
static int prepare(struct iocp_port *self, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        int family = space->connect.address->sa_family, error = 0;
        SOCKET socket = iocp_new_socket(family, &error);
        if (socket == INVALID_SOCKET)
                return error;
        op->handle->descriptor = (int32_t)(intptr_t)socket;
        self->port.stats.handles++;
        iocp_no_delay(socket);
        error = space->connect.source ? bind_source(socket, space->connect.source, space->connect.address_bytes)
                                      : bind_any(socket, family);
        if (!error && !iocp_tie(self, op->handle, false))
                error = -ENOBUFS;
        return error;
}

static int connect_call(struct iocp_port *self, struct io *io)
{
        const struct op_space *space = op_space(io->op);
        SOCKET socket = (SOCKET)io->target;
        const struct provider *provider = iocp_provider(self, socket);
        return provider->connect(socket, space->connect.address, (int)space->connect.address_bytes, NULL, 0, NULL,
                                 &io->overlapped)
                       ? 0
                       : WSAGetLastError();
}

/* Where accepts hold the last handles they give them up, which takes a packet each: so its turn comes again. */
void iocp_connect_go_on(struct iocp_port *self, struct berth_op *op)
{
        if (!iocp_room(self)) {
                if (iocp_reclaim(self))
                        op_runnable(&self->port, op);
                else
                        op_finish(&self->port, op, -ENFILE);
                return;
        }
        int error = prepare(self, op);
        if (error) {
                op_finish(&self->port, op, error);
                return;
        }
        struct io *io = iocp_take(self, IO_CONNECT, op, iocp_file(op->handle));
        if (io)
                iocp_start(self, io, connect_call, op->handle->flags & HANDLE_SKIPS);
}

void iocp_connect_ended(struct iocp_port *self, struct io *io)
{
        int error = io->error;
        struct berth_op *op = iocp_give(self, io);
        if (!error && setsockopt(iocp_socket(op->handle), SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, NULL, 0))
                error = iocp_error((DWORD)WSAGetLastError());
        op_finish(&self->port, op, error);
}
