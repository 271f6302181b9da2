/* Sockets that listen. A TCP address is bound alone first, so that one already in use is found before any thread starts;
 * that socket becomes the first shard's, the others bind beside it, and the kernel spreads connections (SO_REUSEPORT).
 * At no moment between is the address, or a port that the kernel chose, free for somebody else. A unix socket,
 * or one that systemd passed, is one socket that all shards share. The sockets stay here, the shards have copies: so
 * any shard can accept for another (accept.c).
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const listener_engine = "epoll";

void listener_drop(int *descriptor)
{
        if (*descriptor >= 0)
                close(*descriptor);
        *descriptor = -1;
}

int listener_begin(int descriptor, int backlog)
{
        return listen(descriptor, backlog) < 0 ? -errno : 0;
}

/* ---- trying ---- */

/* Accepted sockets inherit it: so much that has not been sent yet may lie in the kernel. Without it that is up to 4 MiB
 * for each slow reader, and some hundreds of them use up net.ipv4.tcp_mem, which is the whole system's. */
enum { UNSENT_BYTES = 128 << 10 };

static void bound_unsent(int descriptor)
{
        int bytes = UNSENT_BYTES;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
}

/* A server that was killed may hold its address for some milliseconds more: its process is gone, but the kernel takes
 * its rings, which have hold of the sockets, apart a moment later. */
enum { BUSY_TRIES = 20, BUSY_PAUSE_MS = 10 };

static bool bind_again(int error, unsigned *tries)
{
        if (error != -EADDRINUSE || ++*tries >= BUSY_TRIES)
                return false;
        poll(NULL, 0, BUSY_PAUSE_MS);
        return true;
}

/* A bound socket, not listening yet, or -errno. */
static int bind_tcp_once(const struct listener_spec *spec, bool reuse_port)
{
        int one = 1, error = 0;
        int descriptor = socket(spec->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0)
                return -errno;
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        bound_unsent(descriptor);
        if (spec->address.ss_family == AF_INET6)
                setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
        if (reuse_port && setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
                error = -errno;
        else if (bind(descriptor, (const struct sockaddr *)&spec->address, spec->address_bytes) < 0)
                error = -errno;
        if (!error)
                return descriptor;
        close(descriptor);
        return error;
}

/* The same, after a line on stderr where it fails. */
static int bind_tcp(const struct listener_spec *spec, bool reuse_port)
{
        unsigned tries = 0;
        int descriptor;
        do
                descriptor = bind_tcp_once(spec, reuse_port);
        while (bind_again(descriptor, &tries));
        return descriptor < 0 ? listener_failed(spec, descriptor) : descriptor;
}

int listener_bind(struct listener_spec *spec)
{
        if (spec->address.ss_family == AF_UNIX)
                return 0;
        socklen_t bytes = spec->address_bytes;
        spec->bound = bind_tcp(spec, false);
        if (spec->bound < 0)
                return spec->bound;
        if (getsockname(spec->bound, (struct sockaddr *)&spec->address, &bytes) == 0)
                return 0;
        int error = listener_failed(spec, -errno);
        close(spec->bound);
        spec->bound = -1;
        return error;
}

/* A socket that a dead server left behind refuses connections; it is taken away. A live one, or a file that is no
 * socket, stays. */
static void remove_stale(const struct sockaddr_un *address)
{
        struct stat state;
        if (lstat(address->sun_path, &state) < 0 || !S_ISSOCK(state.st_mode))
                return;
        int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (descriptor < 0)
                return;
        if (connect(descriptor, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED)
                unlink(address->sun_path);
        close(descriptor);
}

static int listen_unix_once(const struct listener_spec *spec, int backlog)
{
        remove_stale((const struct sockaddr_un *)&spec->address);
        int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (descriptor < 0)
                return -errno;
        if (bind(descriptor, (const struct sockaddr *)&spec->address, spec->address_bytes) == 0 &&
            listen(descriptor, backlog) == 0)
                return descriptor;
        int error = -errno;
        close(descriptor);
        return error;
}

int listener_open_unix(struct listener_spec *spec, int backlog)
{
        unsigned tries = 0;
        int descriptor;
        do
                descriptor = listen_unix_once(spec, backlog);
        while (bind_again(descriptor, &tries));
        if (descriptor < 0)
                return listener_failed(spec, descriptor);
        spec->descriptor = descriptor;
        spec->remove = true;
        return 0;
}

/* ---- systemd's socket activation: sd_listen_fds(3) ---- */

unsigned listeners_passed(void)
{
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
                return 0;
        long n = strtol(count, NULL, 10);
        return n > 0 ? (unsigned)min_of(n, (long)MAX_LISTENERS + 1) : 0;
}

int listeners_adopt(struct listener_set *set, unsigned count)
{
        enum { FIRST = 3 };
        if (count > MAX_LISTENERS) {
                complain("the service manager passes more than %d sockets", MAX_LISTENERS);
                return -E2BIG;
        }
        for (unsigned i = 0; i < count; i++) {
                struct listener_spec *spec = &set->specs[i];
                socklen_t bytes = sizeof(spec->address);
                *spec = listener_none;
                spec->descriptor = FIRST + (int)i;
                if (getsockname(spec->descriptor, (struct sockaddr *)&spec->address, &bytes) < 0 ||
                    fcntl(spec->descriptor, F_SETFD, FD_CLOEXEC) < 0) {
                        complain("socket %d passed by the service manager: %s", spec->descriptor, error_text(errno));
                        return -EBADF;
                }
                bound_unsent(spec->descriptor); /* of no effect on a unix socket */
                spec->address_bytes = bytes;
                set->count++;
        }
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        return 0;
}

/* ---- for the shards ---- */

/* Who is bound alone lets others beside it. */
static int bind_shards(struct listener_spec *spec, unsigned shards)
{
        int one = 1;
        spec->descriptors[0] = spec->bound;
        spec->bound = -1;
        if (shards > 1 && setsockopt(spec->descriptors[0], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
                return listener_failed(spec, -errno);
        for (unsigned i = 1; i < shards; i++) {
                spec->descriptors[i] = bind_tcp(spec, true);
                if (spec->descriptors[i] < 0)
                        return spec->descriptors[i];
        }
        return 0;
}

int listener_open(struct listener_spec *spec, unsigned shards, int backlog)
{
        spec->descriptors = malloc(shards * sizeof(*spec->descriptors));
        if (!spec->descriptors)
                return listener_failed(spec, -ENOMEM);
        for (unsigned i = 0; i < shards; i++)
                spec->descriptors[i] = -1;
        int error = bind_shards(spec, shards);
        for (unsigned i = 0; i < shards && !error; i++) {
                error = listener_begin(spec->descriptors[i], backlog);
                if (error)
                        listener_failed(spec, error);
        }
        return error;
}

int listener_share(struct berth_port *port, struct berth_handle *listener, const struct listener_spec *spec,
                   unsigned owner)
{
        int copy = fcntl(spec->descriptors ? spec->descriptors[owner] : spec->descriptor, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        int error = berth_listen_adopt(port, listener, copy, true);
        if (error)
                close(copy);
        return error;
}
