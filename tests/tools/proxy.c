/* A TCP proxy that makes a link worse, for tests and benches.
 *
 *     proxy [--listen [HOST:]PORT] [--delay-ms N] [--reset-every BYTES] [--seed N] [--count] HOST:PORT
 *
 * It writes "listening HOST:PORT" on standard output when it stands (port 0 is any), and ends by SIGTERM, or when its
 * standard output was a pipe that nobody reads any more: who started it is gone then.
 *
 * --delay-ms N adds N ms to each round trip, half of it each way: what comes is stamped with the time when it is due and
 * waits in a queue, so bandwidth is not limited (a queue holds 64 MiB, then its sender has to wait). Opening a
 * connection costs what it would over such a link, too: the client's first bytes are at the server after one and a half
 * round trips, the server's leave it no earlier. Windows and losses of a real link are not imitated.
 *
 * --reset-every BYTES resets a connection at both ends after it has carried between half and one and a half times as
 * much, by chance; what is still queued is lost. SIGUSR1 resets all that there are.
 *
 * --count tells at the end how many connections there were, and how many at a time at most.
 *
 * One thread and epoll. A connection is two directions, each with a queue; a direction reads while its queue has room
 * and writes what is due. Nothing is freed while events of the same wait may still name it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 256 << 10, QUEUE_BYTES = 64 << 20, EVENTS = 64 };

struct piece {
        struct piece *next;
        int64_t due_ns;
        size_t size, sent;
        char data[];
};

struct link;

/* One end of a link. What is read here goes to the queue of the other end. */
struct end {
        struct link *link;
        struct end *other;
        int socket;
        uint32_t events;     /* what epoll watches */
        struct piece *first; /* to be written here */
        struct piece **last;
        size_t queued;
        int64_t earliest_ns; /* nothing is due here before */
        bool open;           /* connected */
        bool ended;          /* nothing more can be read here */
        bool finished;       /* the other has ended and all is written */
        bool hung_up;        /* both of its directions are over: epoll would say so for ever */
};

struct link {
        struct link *next, **self;
        struct end client, server;
        uint64_t carried, reset_at;
        bool dead;
};

static struct {
        struct sockaddr_storage to;
        socklen_t to_length;
        int64_t delay_ns;
        uint64_t reset_every, seed;
        bool count;
} asked = { .seed = 1 };

static struct {
        uint64_t connections, now, most, resets, bytes;
} counts;

static int loop, listener, signals;
static bool full; /* there is no descriptor for one more connection: none is accepted before one of those here ends */
static struct link *links;
static struct link *dead; /* freed when no event can name them */
static bool told_to_end, told_to_reset;

static void die(const char *what)
{
        fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
        exit(1);
}

static int64_t now_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static uint64_t chance(uint64_t below)
{
        asked.seed += 0x9e3779b97f4a7c15; /* splitmix64 */
        uint64_t z = asked.seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return (z ^ z >> 31) % below;
}

static void add_to_loop(int descriptor, uint32_t events, void *pointer)
{
        struct epoll_event event = { .events = events, .data.ptr = pointer };
        if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event))
                die("epoll_ctl");
}

/* ---- links ---- */

static void watch(struct end *end)
{
        bool reads = end->open && !end->ended && end->other->queued < QUEUE_BYTES;
        bool writes = !end->open || (end->first && end->first->due_ns <= now_ns());
        uint32_t events = (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0);
        if (end->events == events || end->hung_up)
                return;
        end->events = events;
        struct epoll_event event = { .events = events, .data.ptr = end };
        if (epoll_ctl(loop, EPOLL_CTL_MOD, end->socket, &event))
                die("epoll_ctl");
}

static void init_end(struct end *end, struct link *link, struct end *other, int socket)
{
        *end = (struct end){ .link = link, .other = other, .socket = socket, .last = &end->first };
        int one = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        add_to_loop(socket, 0, end);
}

static void drop_queue(struct end *end)
{
        for (struct piece *piece = end->first, *next; piece; piece = next) {
                next = piece->next;
                free(piece);
        }
        end->first = NULL;
}

/* Closes both ends; with a reset unless all has been said. */
static void kill_link(struct link *link, bool reset)
{
        struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
        struct end *ends[] = { &link->client, &link->server };
        if (link->dead)
                return;
        for (int i = 0; i < 2; i++) {
                if (reset)
                        setsockopt(ends[i]->socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
                close(ends[i]->socket);
                drop_queue(ends[i]);
        }
        counts.resets += reset;
        counts.now--;
        link->dead = true;
        *link->self = link->next;
        if (link->next)
                link->next->self = link->self;
        link->next = dead;
        dead = link;
        if (full)
                add_to_loop(listener, EPOLLIN, &listener);
        full = false;
}

static void free_dead(void)
{
        while (dead) {
                struct link *next = dead->next;
                free(dead);
                dead = next;
        }
}

/* The listener would be ready for ever. */
static void stop_accepting(void)
{
        if (counts.now == 0)
                die("accept");
        full = true;
        epoll_ctl(loop, EPOLL_CTL_DEL, listener, NULL);
}

static void accept_one(void)
{
        int server = socket(asked.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int client = server < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
                bool lacks = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
                if (server >= 0)
                        close(server);
                if (lacks)
                        stop_accepting();
                return;
        }
        struct link *link = calloc(1, sizeof(*link));
        if (!link)
                die("malloc");
        init_end(&link->client, link, &link->server, client);
        init_end(&link->server, link, &link->client, server);
        link->client.open = true;
        link->server.earliest_ns = now_ns() + asked.delay_ns + asked.delay_ns / 2;
        link->client.earliest_ns = link->server.earliest_ns + asked.delay_ns / 2;
        if (asked.reset_every)
                link->reset_at = asked.reset_every / 2 + 1 + chance(asked.reset_every);
        link->next = links;
        link->self = &links;
        if (links)
                links->self = &link->next;
        links = link;
        counts.connections++;
        if (++counts.now > counts.most)
                counts.most = counts.now;
        if (connect(server, (struct sockaddr *)&asked.to, asked.to_length) && errno != EINPROGRESS)
                kill_link(link, true);
        else
                watch(&link->server);
}

/* ---- bytes ---- */

static void enqueue(struct end *to, const char *data, size_t size)
{
        struct piece *piece = malloc(sizeof(*piece) + size);
        if (!piece)
                die("malloc");
        *piece = (struct piece){ .size = size, .due_ns = now_ns() + asked.delay_ns / 2 };
        if (piece->due_ns < to->earliest_ns)
                piece->due_ns = to->earliest_ns;
        memcpy(piece->data, data, size);
        *to->last = piece;
        to->last = &piece->next;
        to->queued += size;
}

/* An end of the stream waits its turn as bytes do: it is a piece of none. */
static void read_here(struct end *end)
{
        static char buffer[PIECE_BYTES];
        struct link *link = end->link;
        ssize_t got = recv(end->socket, buffer, sizeof(buffer), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (got < 0) {
                kill_link(link, true);
                return;
        }
        end->ended = got == 0;
        enqueue(end->other, buffer, (size_t)got);
        link->carried += (uint64_t)got;
        counts.bytes += (uint64_t)got;
        if (link->reset_at && link->carried >= link->reset_at)
                kill_link(link, true);
}

static void pop(struct end *end)
{
        struct piece *piece = end->first;
        end->first = piece->next;
        if (!end->first)
                end->last = &end->first;
        free(piece);
}

/* Writes what is due. False: the link is gone. */
static bool write_here(struct end *end)
{
        for (int64_t now = now_ns(); end->open && end->first && end->first->due_ns <= now;) {
                struct piece *piece = end->first;
                if (piece->size == 0) {
                        shutdown(end->socket, SHUT_WR);
                        end->finished = true;
                        pop(end);
                        continue;
                }
                ssize_t sent = send(end->socket, piece->data + piece->sent, piece->size - piece->sent, MSG_NOSIGNAL);
                if (sent < 0 && errno == EAGAIN)
                        break;
                if (sent < 0) {
                        kill_link(end->link, true);
                        return false;
                }
                end->queued -= (size_t)sent;
                if ((piece->sent += (size_t)sent) == piece->size)
                        pop(end);
        }
        if (!end->finished || !end->other->finished)
                return true;
        kill_link(end->link, false);
        return false;
}

static bool opened(struct end *end)
{
        int error = 0;
        socklen_t length = sizeof(error);
        getsockopt(end->socket, SOL_SOCKET, SO_ERROR, &error, &length);
        end->open = error == 0;
        if (error)
                kill_link(end->link, true);
        return error == 0;
}

static void on_event(struct end *end, uint32_t events)
{
        struct link *link = end->link;
        if (!link->dead && !end->open && !opened(end))
                return;
        if (!link->dead && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !end->ended)
                read_here(end);
        else if (!link->dead && (events & EPOLLERR))
                kill_link(link, true);
        else if (!link->dead && (events & EPOLLHUP)) {
                end->hung_up = true;
                epoll_ctl(loop, EPOLL_CTL_DEL, end->socket, NULL);
        }
}

/* Writes what has become due, drops what is told, and says when the next is due; -1: nothing is queued. */
static int64_t turn(void)
{
        int64_t next_ns = -1;
        for (struct link *link = links, *next; link; link = next) {
                next = link->next;
                if (told_to_reset || !write_here(&link->client) || !write_here(&link->server)) {
                        kill_link(link, true);
                        continue;
                }
                struct end *ends[] = { &link->client, &link->server };
                for (int i = 0; i < 2; i++) {
                        watch(ends[i]);
                        struct piece *piece = ends[i]->first;
                        if (piece && !(ends[i]->events & EPOLLOUT) && (next_ns < 0 || piece->due_ns < next_ns))
                                next_ns = piece->due_ns;
                }
        }
        told_to_reset = false;
        return next_ns;
}

/* ---- start ---- */

/* Read like anything else: signals that are let in only while epoll_wait() waits do not come when there is always an event. */
static void take_signals(void)
{
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof(info)) == sizeof(info))
                if (info.ssi_signo == SIGUSR1)
                        told_to_reset = true;
                else
                        told_to_end = true;
}

static void watch_signals(void)
{
        static const int numbers[] = { SIGTERM, SIGINT, SIGUSR1 };
        sigset_t held;
        sigemptyset(&held);
        for (int i = 0; i < 3; i++)
                sigaddset(&held, numbers[i]);
        sigprocmask(SIG_BLOCK, &held, NULL);
        signals = signalfd(-1, &held, SFD_NONBLOCK | SFD_CLOEXEC);
        if (signals < 0)
                die("signalfd");
        add_to_loop(signals, EPOLLIN, &signals);
}

/* EPOLLERR once nobody reads it. A regular file cannot be watched, and need not be. */
static void watch_output(void)
{
        struct epoll_event event = { .data.ptr = &told_to_end };
        if (epoll_ctl(loop, EPOLL_CTL_ADD, STDOUT_FILENO, &event) && errno != EPERM)
                die("epoll_ctl");
}

static socklen_t resolve(const char *text, struct sockaddr_storage *address)
{
        char host[256] = "127.0.0.1";
        const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
        if (colon && (size_t)(colon - text) < sizeof(host))
                snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
        struct addrinfo *found, hints = { .ai_socktype = SOCK_STREAM };
        int error = getaddrinfo(host, port, &hints, &found);
        if (error) {
                fprintf(stderr, "proxy: %s: %s\n", text, gai_strerror(error));
                exit(2);
        }
        socklen_t length = found->ai_addrlen;
        memcpy(address, found->ai_addr, length);
        freeaddrinfo(found);
        return length;
}

static void listen_at(const char *text)
{
        struct sockaddr_storage address;
        socklen_t length = resolve(text, &address);
        char host[64], port[16];
        int one = 1;
        listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096))
                die(text);
        getsockname(listener, (struct sockaddr *)&address, &length);
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
        printf("listening %s:%s\n", host, port);
        fflush(stdout);
}

static void dispatch(const struct epoll_event *event)
{
        void *what = event->data.ptr;
        if (what == &listener)
                accept_one();
        else if (what == &signals)
                take_signals();
        else if (what == &told_to_end)
                told_to_end = true;
        else
                on_event(what, event->events);
}

static void serve(void)
{
        struct epoll_event events[EVENTS];
        add_to_loop(listener, EPOLLIN, &listener);
        while (!told_to_end) {
                int64_t due = turn(), wait = due - now_ns();
                free_dead();
                struct timespec limit = { 0 };
                if (due >= 0 && wait > 0)
                        limit = (struct timespec){ wait / 1000000000, wait % 1000000000 };
                int count = epoll_pwait2(loop, events, EVENTS, due >= 0 ? &limit : NULL, NULL);
                if (count < 0 && errno != EINTR)
                        die("epoll_pwait2");
                for (int i = 0; i < count; i++)
                        dispatch(&events[i]);
        }
}

static int usage(void)
{
        fprintf(stderr,
                "proxy [--listen [HOST:]PORT] [--delay-ms N] [--reset-every BYTES] [--seed N] [--count] HOST:PORT\n");
        return 2;
}

int main(int argc, char **argv)
{
        const char *at = "127.0.0.1:0", *to = NULL;
        for (int i = 1; i < argc; i++) {
                const char *option = argv[i];
                if (option[0] != '-')
                        to = option;
                else if (strcmp(option, "--count") == 0)
                        asked.count = true;
                else if (++i == argc)
                        return usage();
                else if (strcmp(option, "--listen") == 0)
                        at = argv[i];
                else if (strcmp(option, "--delay-ms") == 0)
                        asked.delay_ns = (int64_t)(strtod(argv[i], NULL) * 1e6);
                else if (strcmp(option, "--reset-every") == 0)
                        asked.reset_every = strtoull(argv[i], NULL, 0);
                else if (strcmp(option, "--seed") == 0)
                        asked.seed = strtoull(argv[i], NULL, 0);
                else
                        return usage();
        }
        if (!to)
                return usage();
        loop = epoll_create1(EPOLL_CLOEXEC);
        watch_signals();
        watch_output();
        asked.to_length = resolve(to, &asked.to);
        listen_at(at);
        serve();
        while (links)
                kill_link(links, false);
        free_dead();
        if (asked.count)
                printf("connections %llu most-at-a-time %llu resets %llu bytes %llu\n",
                       (unsigned long long)counts.connections, (unsigned long long)counts.most,
                       (unsigned long long)counts.resets, (unsigned long long)counts.bytes);
        return 0;
}
