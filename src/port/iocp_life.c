/* Connections from their beginning to their end: adopting, the peer's address, shutting down, closing. */
#include "port/iocp.h"

void iocp_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor)
{
        handle->descriptor = descriptor;
        handle->flags |= HANDLE_ACCEPTED;
        if (!iocp_tie(iocp_of(port), handle, iocp_early_adopt(iocp_of(port), handle)))
                handle->flags |= HANDLE_BROKEN;
}

/* It belongs to no completion port before it is adopted, unless its socket is used again. */
int iocp_pass(struct berth_port *port, int descriptor)
{
        return iocp_early_pass(iocp_of(port), (SOCKET)(intptr_t)descriptor);
}

static int close_socket(struct berth_port *port, struct berth_handle *handle, bool leaves)
{
        bool left = leaves && iocp_leave(iocp_of(port), handle);
        int error = !left && closesocket(iocp_socket(handle)) ? iocp_error((DWORD)WSAGetLastError()) : 0;
        handle->descriptor = -1;
        if (iocp_early(handle))
                iocp_early_drop(iocp_of(port), handle);
        port->stats.handles--;
        return error;
}

void iocp_drop(struct berth_port *port, struct berth_handle *handle)
{
        if (handle->kind == HANDLE_LISTENER)
                iocp_unpost(iocp_listener(iocp_of(port), handle));
        else if (handle->descriptor != -1)
                close_socket(port, handle, false);
}

static bool end(struct berth_port *port, struct berth_op *op, int64_t result, struct berth_event *event)
{
        op_end(port, op, result, 0, 0, event);
        return true;
}

bool iocp_shutdown_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        int failed = shutdown(iocp_socket(op->handle), SD_SEND);
        return end(port, op, failed ? iocp_error((DWORD)WSAGetLastError()) : 0, event);
}

bool iocp_peer_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct sockaddr_storage peer = { 0 };
        int bytes = sizeof(peer);
        if (getpeername(iocp_socket(op->handle), (struct sockaddr *)&peer, &bytes))
                return end(port, op, iocp_error((DWORD)WSAGetLastError()), event);
        size_t room = (size_t)op_space(op)->peer.room;
        memset(op_space(op)->peer.address, 0, room);
        memcpy(op_space(op)->peer.address, &peer, min_of(room, (size_t)bytes));
        return end(port, op, 0, event);
}

/* All packets have come, for an op ends with its packet. The cancel is for calls that nobody here knows of: a bare
 * closesocket would leave a send in the kernel without an end. */
bool iocp_close_step(struct berth_port *port, struct berth_op *op, struct berth_event *event)
{
        struct berth_handle *handle = op->handle;
        if (handle->kind == HANDLE_FILE)
                return end(port, op, CloseHandle(iocp_file(handle)) ? 0 : iocp_error(GetLastError()), event);
        if (handle->kind == HANDLE_LISTENER) {
                iocp_close_listener(iocp_of(port), handle);
                return false;
        }
        if (handle->descriptor == -1) /* a connect that never had a socket */
                return end(port, op, 0, event);
        CancelIoEx(iocp_file(handle), NULL);
        if (op->flags & OP_ABORT) {
                struct linger abort = { .l_onoff = 1, .l_linger = 0 };
                setsockopt(iocp_socket(handle), SOL_SOCKET, SO_LINGER, (char *)&abort, sizeof(abort));
        }
        return end(port, op, close_socket(port, handle, !(op->flags & OP_ABORT)), event);
}
