/* Linux sockets as both engines make them. */
#include "port/port_priv.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int set_option(int descriptor, int level, int option, int value)
{
        return setsockopt(descriptor, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

void sockets_no_delay(int descriptor)
{
        set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1); /* fails on unix sockets, which need none */
}

/* Options that accepted sockets inherit are set on the listener, so that accepting costs one call. */
static int prepare_listener(int descriptor, const struct sockaddr *address, unsigned address_bytes, int backlog,
                            unsigned flags)
{
        int error = 0;
        if (address->sa_family != AF_UNIX) {
                error = set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
                if (!error && flags & BERTH_REUSE_PORT)
                        error = set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);
                sockets_no_delay(descriptor);
        }
        if (!error && address->sa_family == AF_INET6)
                error = set_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        if (!error && bind(descriptor, address, address_bytes) < 0)
                error = -errno;
        if (!error && listen(descriptor, backlog) < 0)
                error = -errno;
        return error;
}

int sockets_listen(const struct sockaddr *address, unsigned address_bytes, int backlog, unsigned flags)
{
        int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (descriptor < 0)
                return -errno;
        int error = prepare_listener(descriptor, address, address_bytes, backlog, flags);
        if (!error)
                return descriptor;
        close(descriptor);
        return error;
}

/* The port is chosen at the connect, when the peer is known: then one port serves many peers (ip(7)). */
int sockets_bind_source(int descriptor, const struct sockaddr *source, unsigned source_bytes)
{
        if (source->sa_family != AF_UNIX)
                set_option(descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        return bind(descriptor, source, source_bytes) < 0 ? -errno : 0;
}

int sockets_connecting(const struct sockaddr *address, const struct sockaddr *source, unsigned address_bytes)
{
        int descriptor = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (descriptor < 0)
                return -errno;
        sockets_no_delay(descriptor);
        int error = source ? sockets_bind_source(descriptor, source, address_bytes) : 0;
        if (!error)
                return descriptor;
        close(descriptor);
        return error;
}

uint32_t sockets_limit(void)
{
        struct rlimit limit;
        return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : (uint32_t)min_of(limit.rlim_cur, (rlim_t)UINT32_MAX);
}

int sockets_adopt_listener(int descriptor)
{
        int listens = 0;
        socklen_t bytes = sizeof(listens);
        if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes) < 0)
                return -errno;
        if (!listens)
                return -EINVAL;
        int flags = fcntl(descriptor, F_GETFL);
        if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        sockets_no_delay(descriptor);
        return 0;
}

int sockets_address(int descriptor, struct sockaddr_storage *address)
{
        socklen_t bytes = sizeof(*address);
        *address = (struct sockaddr_storage){ 0 };
        return getsockname(descriptor, (struct sockaddr *)address, &bytes) < 0 ? -errno : 0;
}

int sockets_peer(int descriptor, struct sockaddr *address, unsigned room)
{
        socklen_t bytes = room;
        memset(address, 0, room);
        return getpeername(descriptor, address, &bytes) < 0 ? -errno : 0;
}

void sockets_linger_abort(int descriptor)
{
        struct linger abort = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

bool sockets_accept_again(int error)
{
        return error == EINTR || error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
               error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET || error == EHOSTUNREACH ||
               error == EOPNOTSUPP || error == ENETUNREACH;
}
