/* What to listen on. TCP addresses are tried once here, alone, so that one already in use is found before any thread
 * starts; then each shard binds its own socket to it and the kernel spreads connections (SO_REUSEPORT). A unix socket,
 * or one that systemd passed, is one socket that all shards share.
 */
#include "serve/serve_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char default_address[] = "127.0.0.1:8080";

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

static int malformed(const char *text)
{
        complain("--listen %s: expected ADDR:PORT, [IPv6]:PORT or unix:PATH", text);
        return -EINVAL;
}

static int parse_unix(struct listener_spec *spec, const char *text)
{
        struct sockaddr_un *address = (struct sockaddr_un *)&spec->address;
        const char *path = text + strlen("unix:");
        if (!*path || strlen(path) >= sizeof(address->sun_path)) {
                complain("--listen %s: a socket's path has 1 to %zu bytes", text, sizeof(address->sun_path) - 1);
                return -EINVAL;
        }
        address->sun_family = AF_UNIX;
        strcpy(address->sun_path, path);
        spec->address_bytes = sizeof(*address);
        return 0;
}

/* Cuts "[::1]:80" or "127.0.0.1:80" or ":80" in two; false when it is neither. */
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
        for (const char *c = *port; *c; c++)
                if (*c < '0' || *c > '9')
                        return false;
        return strlen(*port) <= 5 && atoi(*port) <= 65535;
}

static int parse_tcp(struct listener_spec *spec, const char *text)
{
        char copy[256], *host, *port;
        if (strlen(text) >= sizeof(copy))
                return malformed(text);
        strcpy(copy, text);
        if (!cut_port(copy, &host, &port))
                return malformed(text);
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
        struct addrinfo *found;
        const char *every = !*host || strcmp(host, "*") == 0 ? "0.0.0.0" : host;
        int error = getaddrinfo(every, port, &hints, &found);
        if (error) {
                complain("--listen %s: %s", text, gai_strerror(error));
                return -EINVAL;
        }
        memcpy(&spec->address, found->ai_addr, found->ai_addrlen);
        spec->address_bytes = found->ai_addrlen;
        freeaddrinfo(found);
        return 0;
}

/* ---- trying ---- */

static int cannot_listen(const struct listener_spec *spec, int error)
{
        char name[256];
        listener_name(spec, name, sizeof(name));
        complain("cannot listen on %s: %s", name, strerror(-error));
        return error;
}

/* Binds alone (without SO_REUSEPORT), learns the port where 0 was asked for, and lets go again. */
static int try_tcp(struct listener_spec *spec)
{
        int one = 1, error = 0;
        socklen_t bytes = spec->address_bytes;
        int descriptor = socket(spec->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0)
                return cannot_listen(spec, -errno);
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (spec->address.ss_family == AF_INET6)
                setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
        if (bind(descriptor, (struct sockaddr *)&spec->address, spec->address_bytes) < 0 || listen(descriptor, 1) < 0 ||
            getsockname(descriptor, (struct sockaddr *)&spec->address, &bytes) < 0)
                error = -errno;
        close(descriptor);
        return error ? cannot_listen(spec, error) : 0;
}

/* A socket that a dead server left behind refuses connections; it is taken away. A live one, or a file that is no
 * socket, stays. */
static void remove_stale(const struct sockaddr_un *address)
{
        struct stat state;
        if (lstat(address->sun_path, &state) < 0 || !S_ISSOCK(state.st_mode))
                return;
        int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (descriptor < 0)
                return;
        if (connect(descriptor, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED)
                unlink(address->sun_path);
        close(descriptor);
}

static int listen_unix(struct listener_spec *spec)
{
        remove_stale((const struct sockaddr_un *)&spec->address);
        int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (descriptor < 0)
                return cannot_listen(spec, -errno);
        if (bind(descriptor, (struct sockaddr *)&spec->address, spec->address_bytes) < 0 ||
            listen(descriptor, BACKLOG) < 0) {
                int error = -errno;
                close(descriptor);
                return cannot_listen(spec, error);
        }
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
                spec->descriptor = FIRST + (int)i;
                if (getsockname(spec->descriptor, (struct sockaddr *)&spec->address, &bytes) < 0 ||
                    fcntl(spec->descriptor, F_SETFD, FD_CLOEXEC) < 0) {
                        complain("socket %d passed by the service manager: %s", spec->descriptor, strerror(errno));
                        return -EBADF;
                }
                spec->address_bytes = bytes;
                set->count++;
        }
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        return 0;
}

/* ---- all of them ---- */

static int prepare_one(struct listener_set *set, const char *text)
{
        struct listener_spec *spec = &set->specs[set->count];
        *spec = (struct listener_spec){ .descriptor = -1 };
        bool is_unix = strncmp(text, "unix:", 5) == 0;
        int error = is_unix ? parse_unix(spec, text) : parse_tcp(spec, text);
        if (!error)
                error = is_unix ? listen_unix(spec) : try_tcp(spec);
        if (!error)
                set->count++;
        return error;
}

int listeners_prepare(struct listener_set *set, const struct serve_options *options)
{
        *set = (struct listener_set){ 0 };
        unsigned passed = options->listen_count == 0 ? passed_sockets() : 0;
        if (passed)
                return adopt_passed(set, passed);
        if (options->listen_count == 0)
                return prepare_one(set, default_address);
        for (unsigned i = 0; i < options->listen_count; i++) {
                int error = prepare_one(set, options->listen[i]);
                if (error)
                        return error;
        }
        return 0;
}

int listener_share(struct berth_port *port, struct berth_handle *listener, const struct listener_spec *spec)
{
        int copy = fcntl(spec->descriptor, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        int error = berth_listen_adopt(port, listener, copy, true);
        if (error)
                close(copy);
        return error;
}

void listeners_finish(struct listener_set *set)
{
        for (unsigned i = 0; i < set->count; i++) {
                struct listener_spec *spec = &set->specs[i];
                if (spec->remove)
                        unlink(((const struct sockaddr_un *)&spec->address)->sun_path);
                if (spec->descriptor >= 0)
                        close(spec->descriptor);
        }
        set->count = 0;
}
