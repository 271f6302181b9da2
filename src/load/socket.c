/* Sockets that wait. */
#include "load/load_priv.h"

#include <errno.h>
#include <unistd.h>

int load_socket_make(int family)
{
        int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return descriptor < 0 ? -errno : descriptor;
}

void load_socket_patience(int descriptor, uint64_t us)
{
        struct timeval patience = { .tv_sec = (time_t)(us / 1000000), .tv_usec = (long)(us % 1000000) };
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

int load_socket_connect(int descriptor, const struct sockaddr *address, unsigned bytes)
{
        return connect(descriptor, address, bytes) < 0 ? -errno : 0;
}

int load_socket_send(int descriptor, const char *data, size_t size)
{
        ssize_t n = send(descriptor, data, size, MSG_NOSIGNAL);
        return n < 0 ? -errno : (int)n;
}

int load_socket_receive(int descriptor, char *data, size_t size)
{
        ssize_t n = recv(descriptor, data, size, 0);
        return n < 0 ? -errno : (int)n;
}

void load_socket_end(int descriptor)
{
        shutdown(descriptor, SHUT_RDWR);
}

void load_socket_close(int descriptor)
{
        close(descriptor);
}
