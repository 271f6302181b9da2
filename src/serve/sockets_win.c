/* Sockets that listen. Each has its address for itself (SO_EXCLUSIVEADDRUSE) and belongs to one port, the first shard's,
 * which accepts for all (hand.c). There is no service manager that passes sockets, and unix sockets are not offered.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

const char *const listener_engine = "iocp";

static int socket_error(void)
{
        switch (WSAGetLastError()) {
        case WSAEADDRINUSE:
        case WSAEACCES: /* another has it exclusively */
                return -EADDRINUSE;
        case WSAEADDRNOTAVAIL:
                return -EADDRNOTAVAIL;
        case WSAEAFNOSUPPORT:
                return -EAFNOSUPPORT;
        case WSAEMFILE:
                return -EMFILE;
        case WSAENOBUFS:
                return -ENOBUFS;
        default:
                return -EIO;
        }
}

void listener_drop(int *descriptor)
{
        if (*descriptor >= 0)
                closesocket((SOCKET)*descriptor);
        *descriptor = -1;
}

int listener_begin(int descriptor, int backlog)
{
        return listen((SOCKET)descriptor, backlog) != 0 ? socket_error() : 0;
}

/* ---- taking ---- */

static bool set_yes(SOCKET socket, int level, int option)
{
        BOOL yes = TRUE;
        return setsockopt(socket, level, option, (const char *)&yes, sizeof(yes)) == 0;
}

static bool take_address(SOCKET socket, struct listener_spec *spec)
{
        int bytes = (int)spec->address_bytes;
        return set_yes(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE) &&
               (spec->address.ss_family != AF_INET6 || set_yes(socket, IPPROTO_IPV6, IPV6_V6ONLY)) &&
               bind(socket, (const struct sockaddr *)&spec->address, bytes) == 0 &&
               getsockname(socket, (struct sockaddr *)&spec->address, &bytes) == 0;
}

int listener_bind(struct listener_spec *spec)
{
        if (spec->address.ss_family == AF_UNIX)
                return listener_open_unix(spec, 0);
        SOCKET socket = WSASocketW(spec->address.ss_family, SOCK_STREAM, 0, NULL, 0,
                                   WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
        if (socket == INVALID_SOCKET)
                return listener_failed(spec, socket_error());
        if (take_address(socket, spec)) {
                spec->bound = (int)(intptr_t)socket;
                return 0;
        }
        int error = socket_error();
        closesocket(socket);
        return listener_failed(spec, error);
}

int listener_open_unix(struct listener_spec *spec, int backlog)
{
        (void)backlog;
        return listener_failed(spec, -EAFNOSUPPORT);
}

unsigned listeners_passed(void)
{
        return 0;
}

int listeners_adopt(struct listener_set *set, unsigned count)
{
        ensure(set->count == 0 && count == 0);
        return 0;
}

/* ---- for the shards ---- */

int listener_open(struct listener_spec *spec, unsigned shards, int backlog)
{
        ensure(shards == 1);
        spec->descriptors = malloc(sizeof(*spec->descriptors));
        if (!spec->descriptors)
                return listener_failed(spec, -ENOMEM);
        spec->descriptors[0] = spec->bound;
        spec->bound = -1;
        int error = listener_begin(spec->descriptors[0], backlog);
        return error ? listener_failed(spec, error) : 0;
}

int listener_share(struct berth_port *port, struct berth_handle *listener, const struct listener_spec *spec,
                   unsigned owner)
{
        int error = berth_listen_adopt(port, listener, spec->descriptors[owner], false);
        if (!error)
                spec->descriptors[owner] = -1;
        return error;
}
