/* The simulator's sockets. */
#include "port/sim_net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>

enum {
        FIRST_PORT = 49152, /* of the numbers for those that ask for none (RFC 6335, 6) */
        MAX_BACKLOG = 4096,
};

struct address {
        struct sockaddr_storage storage;
        unsigned bytes;
};

struct sim_socket {
        struct berth_handle *handle; /* NULL until it is somebody's */
        struct sim_socket *peer;     /* NULL: not connected, or the peer is closed */
        struct sim_socket *next;     /* in a backlog, or the list of listeners */
        struct address local, remote;
        char *queue; /* received and not yet read; a ring, made when needed */
        size_t first, used, size;
        int number; /* -1 while in a backlog */
        bool listens, reuse_port;
        bool ended;  /* the peer's end follows what is in the queue */
        bool shut;   /* nothing is sent any more */
        bool broken; /* a reset: told once, then the end */
        bool broken_told;
        struct sim_socket *waiting, **last; /* a listener's backlog */
        int waiting_count, backlog;
};

static struct sim_socket *socket_of(struct sim_net *net, int number)
{
        ensure(number >= 0 && (uint32_t)number < net->room && net->sockets[number]);
        return net->sockets[number];
}

static void tell(struct sim_net *net, struct sim_socket *socket)
{
        if (socket && socket->handle)
                net->changed(net, socket->handle);
}

/* ---- making and ending ---- */

/* Queues of many sizes, so that many sends are partial. */
static struct sim_socket *new_socket(struct sim_net *net)
{
        static const size_t sizes[] = { 300, 4096, 16 << 10, 64 << 10 };
        struct sim_socket *socket = calloc(1, sizeof(*socket));
        ensure(socket);
        socket->number = -1;
        socket->size = sizes[random_below(net->random, array_count(sizes))];
        socket->last = &socket->waiting;
        return socket;
}

static void free_socket(struct sim_socket *socket)
{
        free(socket->queue);
        free(socket);
}

/* The lowest free number, as the kernel gives it. */
static int give_number(struct sim_net *net, struct sim_socket *socket)
{
        uint32_t number = net->lowest;
        while (number < net->room && net->sockets[number])
                number++;
        if (number == net->room) {
                uint32_t room = max_of(net->room * 2, 64u);
                struct sim_socket **sockets = realloc(net->sockets, room * sizeof(struct sim_socket *));
                ensure(sockets);
                memset(sockets + net->room, 0, (room - net->room) * sizeof(struct sim_socket *));
                net->sockets = sockets;
                net->room = room;
        }
        net->sockets[number] = socket;
        net->lowest = number + 1;
        socket->number = (int)number;
        return (int)number;
}

void sim_net_finish(struct sim_net *net)
{
        for (uint32_t i = 0; i < net->room; i++)
                if (net->sockets[i])
                        net->sockets[i]->handle = NULL;
        for (uint32_t i = 0; i < net->room; i++)
                if (net->sockets[i])
                        sim_net_close(net, (int)i, true);
        free(net->sockets);
        *net = (struct sim_net){ 0 };
}

void sim_net_attach(struct sim_net *net, int number, struct berth_handle *handle)
{
        socket_of(net, number)->handle = handle;
}

/* ---- addresses ---- */

static uint16_t *port_of(struct address *address)
{
        switch (address->storage.ss_family) {
        case AF_INET:
                return &((struct sockaddr_in *)&address->storage)->sin_port;
        case AF_INET6:
                return &((struct sockaddr_in6 *)&address->storage)->sin6_port;
        default:
                return NULL;
        }
}

static struct address address_from(const struct sockaddr *address, unsigned bytes)
{
        struct address copy = { .bytes = min_of(bytes, (unsigned)sizeof(struct sockaddr_storage)) };
        memcpy(&copy.storage, address, copy.bytes);
        return copy;
}

static bool is_any(const struct address *address)
{
        if (address->storage.ss_family == AF_INET)
                return ((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr == INADDR_ANY;
        return address->storage.ss_family == AF_INET6 &&
               IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
}

/* Does what is sent to `to` come to a listener bound to `bound`? */
static bool reaches(struct address *bound, struct address *to)
{
        if (bound->storage.ss_family != to->storage.ss_family)
                return false;
        if (bound->storage.ss_family == AF_UNIX)
                return memcmp(&bound->storage, &to->storage, sizeof(struct sockaddr_un)) == 0;
        if (*port_of(bound) != *port_of(to))
                return false;
        if (is_any(bound) || is_any(to))
                return true;
        if (bound->storage.ss_family == AF_INET)
                return ((struct sockaddr_in *)&bound->storage)->sin_addr.s_addr ==
                       ((struct sockaddr_in *)&to->storage)->sin_addr.s_addr;
        return memcmp(&((struct sockaddr_in6 *)&bound->storage)->sin6_addr,
                      &((struct sockaddr_in6 *)&to->storage)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

/* A listener that `to` reaches, one of several by chance; NULL: none. */
static struct sim_socket *find_listener(struct sim_net *net, struct address *to)
{
        struct sim_socket *found = NULL;
        uint32_t count = 0;
        for (struct sim_socket *socket = net->listeners; socket; socket = socket->next)
                if (reaches(&socket->local, to) && random_below(net->random, ++count) == 0)
                        found = socket;
        return found;
}

static void choose_port(struct sim_net *net, struct address *address)
{
        do {
                net->last_port = net->last_port < FIRST_PORT || net->last_port == UINT16_MAX ? FIRST_PORT
                                                                                             : net->last_port + 1;
                *port_of(address) = htons(net->last_port);
        } while (find_listener(net, address));
}

void sim_net_address(struct sim_net *net, int number, struct sockaddr_storage *address)
{
        *address = socket_of(net, number)->local.storage;
}

int sim_net_peer(struct sim_net *net, int number, struct sockaddr *address, unsigned room)
{
        struct sim_socket *socket = socket_of(net, number);
        if (socket->broken)
                return -ENOTCONN;
        memset(address, 0, room);
        memcpy(address, &socket->remote.storage, min_of(room, socket->remote.bytes));
        return 0;
}

/* ---- listening and connecting ---- */

int sim_net_listen(struct sim_net *net, const struct sockaddr *address, unsigned address_bytes, int backlog,
                   bool reuse_port)
{
        struct address local = address_from(address, address_bytes);
        uint16_t *port = port_of(&local);
        if (!port && local.storage.ss_family != AF_UNIX)
                return -EAFNOSUPPORT;
        if (port && *port == 0)
                choose_port(net, &local);
        struct sim_socket *other = find_listener(net, &local);
        if (other && !(reuse_port && other->reuse_port))
                return -EADDRINUSE;
        struct sim_socket *listener = new_socket(net);
        listener->listens = true;
        listener->reuse_port = reuse_port;
        listener->backlog = max_of(min_of(backlog, (int)MAX_BACKLOG), 1);
        listener->local = local;
        listener->next = net->listeners;
        net->listeners = listener;
        return give_number(net, listener);
}

static void join_backlog(struct sim_socket *listener, struct sim_socket *socket)
{
        socket->next = NULL;
        *listener->last = socket;
        listener->last = &socket->next;
        listener->waiting_count++;
}

static struct sim_socket *leave_backlog(struct sim_socket *listener)
{
        struct sim_socket *socket = listener->waiting;
        if (!socket)
                return NULL;
        listener->waiting = socket->next;
        if (!listener->waiting)
                listener->last = &listener->waiting;
        listener->waiting_count--;
        return socket;
}

static bool is_local(const struct address *address)
{
        if (address->storage.ss_family == AF_INET)
                return ntohl(((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
        return address->storage.ss_family != AF_INET6 ||
               IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
}

static bool same_address(const struct address *a, const struct address *b)
{
        return a->bytes == b->bytes && memcmp(&a->storage, &b->storage, a->bytes) == 0;
}

static bool is_taken(struct sim_net *net, const struct address *local, const struct address *remote)
{
        for (uint32_t i = 0; i < net->room; i++)
                if (net->sockets[i] && same_address(&net->sockets[i]->local, local) &&
                    same_address(&net->sockets[i]->remote, remote))
                        return true;
        return false;
}

/* What a socket that connects to `to` is bound to. 0 or -errno. */
static int choose_source(struct sim_net *net, const struct sockaddr *source, const struct address *to,
                         struct address *local)
{
        *local = source ? address_from(source, to->bytes) : *to;
        uint16_t *port = port_of(local);
        if (source && !is_local(local))
                return -EADDRNOTAVAIL;
        if (port && (!source || *port == 0))
                choose_port(net, local);
        else if (source && is_taken(net, local, to))
                return -EADDRINUSE;
        return 0;
}

int sim_net_connect(struct sim_net *net, const struct sockaddr *address, unsigned address_bytes,
                    const struct sockaddr *source)
{
        struct address to = address_from(address, address_bytes), from;
        struct sim_socket *listener = find_listener(net, &to);
        int error = choose_source(net, source, &to, &from);
        if (error)
                return error;
        if (!listener)
                return -ECONNREFUSED;
        if (listener->waiting_count >= listener->backlog)
                return -EAGAIN;
        struct sim_socket *near = new_socket(net), *far = new_socket(net);
        near->peer = far;
        far->peer = near;
        near->remote = far->local = to;
        near->local = far->remote = from;
        join_backlog(listener, far);
        tell(net, listener);
        return give_number(net, near);
}

bool sim_net_waits(struct sim_net *net, int number)
{
        return socket_of(net, number)->waiting != NULL;
}

int sim_net_accept(struct sim_net *net, int number)
{
        struct sim_socket *listener = socket_of(net, number);
        if (!listener->waiting)
                return -EAGAIN;
        struct sim_socket *socket = leave_backlog(listener);
        net->knock(net);
        return give_number(net, socket);
}

/* ---- bytes ---- */

static void put(struct sim_socket *socket, const char *data, size_t size)
{
        if (!socket->queue) {
                socket->queue = malloc(socket->size);
                ensure(socket->queue);
        }
        size_t at = (socket->first + socket->used) % socket->size;
        size_t before_end = min_of(size, socket->size - at);
        memcpy(socket->queue + at, data, before_end);
        memcpy(socket->queue, data + before_end, size - before_end);
        socket->used += size;
}

static void get(struct sim_socket *socket, char *data, size_t size)
{
        size_t before_end = min_of(size, socket->size - socket->first);
        memcpy(data, socket->queue + socket->first, before_end);
        memcpy(data + before_end, socket->queue, size - before_end);
        socket->first = (socket->first + size) % socket->size;
        socket->used -= size;
}

/* All of it, or a part by chance. */
static size_t some(struct sim_net *net, size_t size)
{
        return random_below(net->random, 3) ? size
                                            : 1 + random_below(net->random, (uint32_t)min_of(size, (size_t)1 << 30));
}

/* The first byte sent to a peer that has closed brings the reset that the next send sees. */
static int64_t send_to_nobody(struct sim_net *net, struct sim_socket *socket, size_t size)
{
        socket->broken = true;
        tell(net, socket);
        return (int64_t)some(net, size);
}

int64_t sim_net_send(struct sim_net *net, int number, const char *data, size_t size)
{
        struct sim_socket *socket = socket_of(net, number);
        if (socket->broken && !socket->broken_told) {
                socket->broken_told = true;
                return -ECONNRESET;
        }
        if (socket->broken || socket->shut)
                return -EPIPE;
        struct sim_socket *peer = socket->peer;
        if (!peer)
                return send_to_nobody(net, socket, size);
        size_t room = min_of(size, peer->size - peer->used);
        if (room == 0)
                return -EAGAIN;
        room = some(net, room);
        put(peer, data, room);
        tell(net, peer);
        return (int64_t)room;
}

bool sim_net_readable(struct sim_net *net, int number)
{
        const struct sim_socket *socket = socket_of(net, number);
        return socket->used > 0 || socket->ended || socket->broken;
}

int64_t sim_net_receive(struct sim_net *net, int number, char *data, size_t size)
{
        struct sim_socket *socket = socket_of(net, number);
        if (socket->used > 0) {
                size = some(net, min_of(size, socket->used));
                get(socket, data, size);
                tell(net, socket->peer);
                return (int64_t)size;
        }
        if (socket->broken && !socket->broken_told) {
                socket->broken_told = true;
                return -ECONNRESET;
        }
        return socket->ended || socket->broken ? 0 : -EAGAIN;
}

/* ---- ending ---- */

int sim_net_shutdown(struct sim_net *net, int number)
{
        struct sim_socket *socket = socket_of(net, number);
        if (socket->broken)
                return -ENOTCONN;
        socket->shut = true;
        if (socket->peer) {
                socket->peer->ended = true;
                tell(net, socket->peer);
        }
        return 0;
}

/* A reset may overtake what was sent before it, or not. */
static void break_off(struct sim_net *net, struct sim_socket *socket)
{
        socket->broken = true;
        if (random_below(net->random, 2))
                socket->used = 0;
        tell(net, socket);
}

void sim_net_reset(struct sim_net *net, int number)
{
        struct sim_socket *socket = socket_of(net, number);
        if (socket->peer)
                break_off(net, socket->peer);
        break_off(net, socket);
}

static void part(struct sim_net *net, struct sim_socket *socket, bool abort)
{
        struct sim_socket *peer = socket->peer;
        if (!peer)
                return;
        peer->peer = NULL;
        if (abort || socket->used > 0) {
                break_off(net, peer);
        } else {
                peer->ended = true;
                tell(net, peer);
        }
}

static void stop_listening(struct sim_net *net, struct sim_socket *listener)
{
        struct sim_socket **link = &net->listeners;
        while (*link != listener)
                link = &(*link)->next;
        *link = listener->next;
        net->knock(net);
}

void sim_net_close(struct sim_net *net, int number, bool abort)
{
        struct sim_socket *socket = socket_of(net, number), *waiting;
        part(net, socket, abort);
        while ((waiting = leave_backlog(socket))) {
                part(net, waiting, true);
                free_socket(waiting);
        }
        if (socket->listens)
                stop_listening(net, socket);
        net->sockets[number] = NULL;
        net->lowest = min_of(net->lowest, (uint32_t)number);
        free_socket(socket);
}
