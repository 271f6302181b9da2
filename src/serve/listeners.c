/* What to listen on. A TCP address is bound alone first, so that one already in use is found before any thread starts;
 * that socket becomes the first shard's, the others bind beside it, and the kernel spreads connections (SO_REUSEPORT).
 * At no moment between is the address, or a port that the kernel chose, free for somebody else. A unix socket,
 * or one that systemd passed, is one socket that all shards share. The sockets stay here, the shards have copies: so
 * any shard can accept for another (accept.c).
 */
#include "serve/serve_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char default_address[] = "127.0.0.1:8080";
static const struct listener_spec nothing_bound = { .descriptor = -1, .bound = -1 };

/* ---- names ---- */

void listener_name(const struct listener_spec *spec, char *out, size_t size)
{
        char host[INET6_ADDRSTRLEN] = "";
        if (spec->address.ss_family == AF_INET) {
                const struct sockaddr_in *in = (const struct sockaddr_in *)&spec->address;
                inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
                snprintf(out, size, "http://%s:%u/", host, ntohs(in->sin_port));
        } else if (spec->address.ss_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&spec->address;
                inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
                snprintf(out, size, "http://[%s]:%u/", host, ntohs(in6->sin6_port));
        } else {
                snprintf(out, size, "unix:%s", ((const struct sockaddr_un *)&spec->address)->sun_path);
        }
}

/* ---- parsing ---- */

static int malformed(const char *option, const char *text)
{
        complain("--%s %s: expected ADDR:PORT, ADDR:PORT-PORT, [IPv6]:PORT or unix:PATH", option, text);
        return -EINVAL;
}

static int parse_unix(struct listener_spec *spec, const char *option, const char *text)
{
        struct sockaddr_un *address = (struct sockaddr_un *)&spec->address;
        const char *path = text + strlen("unix:");
        if (!*path || strlen(path) >= sizeof(address->sun_path)) {
                complain("--%s %s: a socket's path has 1 to %zu bytes", option, text, sizeof(address->sun_path) - 1);
                return -EINVAL;
        }
        address->sun_family = AF_UNIX;
        strcpy(address->sun_path, path);
        spec->address_bytes = sizeof(*address);
        return 0;
}

/* Cuts "[::1]:80" or "127.0.0.1:80" or ":80-90" in two; false when it is neither. */
static bool cut_port(char *text, char **host, char **port)
{
        char *colon = strrchr(text, ':');
        if (!colon || !colon[1])
                return false;
        *colon = '\0';
        *port = colon + 1;
        *host = text;
        if (*text == '[') {
                if (colon[-1] != ']')
                        return false;
                colon[-1] = '\0';
                *host = text + 1;
        } else if (strchr(text, ':')) {
                return false;
        }
        return true;
}

/* One port, or the first and last of several. */
static bool parse_ports(const char *text, unsigned *first, unsigned *last)
{
        char *end;
        unsigned long a = strtoul(text, &end, 10), b = a;
        if (*text < '0' || *text > '9')
                return false;
        if (*end == '-') {
                text = end + 1;
                b = strtoul(text, &end, 10);
                if (*text < '0' || *text > '9' || a == 0)
                        return false;
        }
        *first = (unsigned)a;
        *last = (unsigned)b;
        return !*end && a <= b && b <= 65535;
}

static void set_port(struct listener_spec *spec, unsigned port)
{
        if (spec->address.ss_family == AF_INET6)
                ((struct sockaddr_in6 *)&spec->address)->sin6_port = htons((uint16_t)port);
        else
                ((struct sockaddr_in *)&spec->address)->sin_port = htons((uint16_t)port);
}

static int parse_tcp(struct listener_spec *spec, const char *option, const char *text, unsigned *first, unsigned *last)
{
        char copy[256], *host, *port;
        if (strlen(text) >= sizeof(copy))
                return malformed(option, text);
        strcpy(copy, text);
        if (!cut_port(copy, &host, &port) || !parse_ports(port, first, last))
                return malformed(option, text);
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
        struct addrinfo *found;
        const char *every = !*host || strcmp(host, "*") == 0 ? "0.0.0.0" : host;
        int error = getaddrinfo(every, NULL, &hints, &found);
        if (error) {
                complain("--%s %s: %s", option, text, gai_strerror(error));
                return -EINVAL;
        }
        memcpy(&spec->address, found->ai_addr, found->ai_addrlen);
        spec->address_bytes = found->ai_addrlen;
        set_port(spec, *first);
        freeaddrinfo(found);
        return 0;
}

static bool is_unix(const char *text)
{
        return strncmp(text, "unix:", 5) == 0;
}

int listener_parse(struct listener_spec *spec, const char *option, const char *text)
{
        unsigned first = 0, last = 0;
        *spec = nothing_bound;
        int error = is_unix(text) ? parse_unix(spec, option, text) : parse_tcp(spec, option, text, &first, &last);
        return error ? error : first != last ? malformed(option, text) : 0;
}

/* ---- trying ---- */

static int cannot_listen(const struct listener_spec *spec, int error)
{
        char name[256];
        listener_name(spec, name, sizeof(name));
        complain("cannot listen on %s: %s", name, strerror(-error));
        return error;
}

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
        return descriptor < 0 ? cannot_listen(spec, descriptor) : descriptor;
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
        int error = cannot_listen(spec, -errno);
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

static int listen_unix(struct listener_spec *spec, int backlog)
{
        unsigned tries = 0;
        int descriptor;
        do
                descriptor = listen_unix_once(spec, backlog);
        while (bind_again(descriptor, &tries));
        if (descriptor < 0)
                return cannot_listen(spec, descriptor);
        spec->descriptor = descriptor;
        spec->remove = true;
        return 0;
}

/* ---- systemd's socket activation: sd_listen_fds(3) ---- */

static unsigned passed_sockets(void)
{
        const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
        if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
                return 0;
        long n = strtol(count, NULL, 10);
        return n > 0 ? (unsigned)min_of(n, (long)MAX_LISTENERS + 1) : 0;
}

static int adopt_passed(struct listener_set *set, unsigned count)
{
        enum { FIRST = 3 };
        if (count > MAX_LISTENERS) {
                complain("the service manager passes more than %d sockets", MAX_LISTENERS);
                return -E2BIG;
        }
        for (unsigned i = 0; i < count; i++) {
                struct listener_spec *spec = &set->specs[i];
                socklen_t bytes = sizeof(spec->address);
                *spec = nothing_bound;
                spec->descriptor = FIRST + (int)i;
                if (getsockname(spec->descriptor, (struct sockaddr *)&spec->address, &bytes) < 0 ||
                    fcntl(spec->descriptor, F_SETFD, FD_CLOEXEC) < 0) {
                        complain("socket %d passed by the service manager: %s", spec->descriptor, strerror(errno));
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

/* ---- all of them ---- */

static int too_many(const char *text)
{
        complain("--listen %s: at most %d addresses and ports in all", text, MAX_LISTENERS);
        return -EINVAL;
}

static int prepare_unix(struct listener_set *set, const char *text, int backlog)
{
        if (set->count == MAX_LISTENERS)
                return too_many(text);
        struct listener_spec *spec = &set->specs[set->count];
        *spec = nothing_bound;
        int error = parse_unix(spec, "listen", text);
        if (!error)
                error = listen_unix(spec, backlog);
        if (!error)
                set->count++;
        return error;
}

static int prepare_ports(struct listener_set *set, const char *text)
{
        struct listener_spec spec = nothing_bound;
        unsigned first, last;
        int error = parse_tcp(&spec, "listen", text, &first, &last);
        if (!error && last - first >= MAX_LISTENERS - set->count)
                return too_many(text);
        for (unsigned port = first; !error && port <= last; port++) {
                set_port(&spec, port);
                set->specs[set->count] = spec;
                error = listener_bind(&set->specs[set->count]);
                if (!error)
                        set->count++;
        }
        return error;
}

static int prepare_one(struct listener_set *set, const char *text, int backlog)
{
        return is_unix(text) ? prepare_unix(set, text, backlog) : prepare_ports(set, text);
}

int listeners_prepare(struct listener_set *set, const struct serve_options *options)
{
        int backlog = (int)options->backlog;
        *set = (struct listener_set){ 0 };
        unsigned passed = options->listen_count == 0 ? passed_sockets() : 0;
        if (passed)
                return adopt_passed(set, passed);
        if (options->listen_count == 0)
                return prepare_one(set, default_address, backlog);
        for (unsigned i = 0; i < options->listen_count; i++) {
                int error = prepare_one(set, options->listen[i], backlog);
                if (error)
                        return error;
        }
        return 0;
}

/* Who is bound alone lets others beside it. */
static int bind_shards(struct listener_spec *spec, unsigned shards)
{
        int one = 1;
        spec->descriptors[0] = spec->bound;
        spec->bound = -1;
        if (shards > 1 && setsockopt(spec->descriptors[0], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
                return cannot_listen(spec, -errno);
        for (unsigned i = 1; i < shards; i++) {
                spec->descriptors[i] = bind_tcp(spec, true);
                if (spec->descriptors[i] < 0)
                        return spec->descriptors[i];
        }
        return 0;
}

static int open_spec(struct listener_spec *spec, unsigned shards, int backlog)
{
        spec->descriptors = malloc(shards * sizeof(*spec->descriptors));
        if (!spec->descriptors)
                return cannot_listen(spec, -ENOMEM);
        for (unsigned i = 0; i < shards; i++)
                spec->descriptors[i] = -1;
        int error = bind_shards(spec, shards);
        for (unsigned i = 0; i < shards && !error; i++)
                if (listen(spec->descriptors[i], backlog) < 0)
                        error = cannot_listen(spec, -errno);
        return error;
}

int listeners_open(struct listener_set *set, unsigned shards, int backlog)
{
        int error = 0;
        set->shards = shards;
        for (unsigned i = 0; i < set->count && !error; i++)
                if (set->specs[i].descriptor < 0)
                        error = open_spec(&set->specs[i], shards, backlog);
        return error;
}

/* Who listens may listen again, for another backlog. */
void listeners_cut(struct listener_set *set, int backlog)
{
        for (unsigned i = 0; i < set->count; i++)
                if (set->specs[i].descriptor >= 0)
                        listen(set->specs[i].descriptor, backlog);
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

void listeners_close(struct listener_set *set)
{
        for (unsigned i = 0; i < set->count; i++) {
                struct listener_spec *spec = &set->specs[i];
                for (unsigned shard = 0; spec->descriptors && shard < set->shards; shard++)
                        if (spec->descriptors[shard] >= 0)
                                close(spec->descriptors[shard]);
                free(spec->descriptors);
                spec->descriptors = NULL;
        }
}

void listeners_finish(struct listener_set *set)
{
        listeners_close(set);
        for (unsigned i = 0; i < set->count; i++) {
                struct listener_spec *spec = &set->specs[i];
                if (spec->remove)
                        unlink(((const struct sockaddr_un *)&spec->address)->sun_path);
                if (spec->descriptor >= 0)
                        close(spec->descriptor);
                if (spec->bound >= 0)
                        close(spec->bound);
        }
        set->count = 0;
}
