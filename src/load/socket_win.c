/* Sockets that wait. A connect has no patience of its own: it is begun without waiting, and then waited for. */
#include "load/load_priv.h"

#include <errno.h>

int load_socket_make(int family)
{
        SOCKET descriptor = WSASocketW(family, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_NO_HANDLE_INHERIT);
        return descriptor == INVALID_SOCKET ? -EMFILE : (int)(intptr_t)descriptor;
}

/* 0 would be for ever. */
void load_socket_patience(int descriptor, uint64_t us)
{
        DWORD ms = (DWORD)(us / 1000 + 1);
        setsockopt((SOCKET)descriptor, SOL_SOCKET, SO_SNDTIMEO, (const char *)&ms, sizeof(ms));
        setsockopt((SOCKET)descriptor, SOL_SOCKET, SO_RCVTIMEO, (const char *)&ms, sizeof(ms));
}

static void set_waiting(SOCKET descriptor, bool waits)
{
        u_long not_waiting = !waits;
        ioctlsocket(descriptor, FIONBIO, &not_waiting);
}

static int wait_connected(SOCKET descriptor)
{
        DWORD ms = 0;
        int bytes = sizeof(ms);
        getsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, (char *)&ms, &bytes);
        WSAPOLLFD poll = { .fd = descriptor, .events = POLLOUT };
        if (WSAPoll(&poll, 1, (int)ms) != 1)
                return -ETIMEDOUT;
        return poll.revents & (POLLERR | POLLHUP) ? -ECONNREFUSED : 0;
}

int load_socket_connect(int descriptor, const struct sockaddr *address, unsigned bytes)
{
        SOCKET socket = (SOCKET)descriptor;
        set_waiting(socket, false);
        int error = 0;
        if (connect(socket, address, (int)bytes) != 0)
                error = WSAGetLastError() == WSAEWOULDBLOCK ? wait_connected(socket) : -ECONNREFUSED;
        set_waiting(socket, true);
        return error;
}

int load_socket_send(int descriptor, const char *data, size_t size)
{
        int n = send((SOCKET)descriptor, data, (int)size, 0);
        return n < 0 ? -EPIPE : n;
}

int load_socket_receive(int descriptor, char *data, size_t size)
{
        int n = recv((SOCKET)descriptor, data, (int)size, 0);
        return n < 0 ? -ECONNRESET : n;
}

void load_socket_end(int descriptor)
{
        shutdown((SOCKET)descriptor, SD_BOTH);
}

void load_socket_close(int descriptor)
{
        closesocket((SOCKET)descriptor);
}
