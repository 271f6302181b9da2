/* What to listen on: names and numbers of addresses, and all of them as one set. The sockets are sockets.c's. */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char default_address[] = "127.0.0.1:8080";
const struct listener_spec listener_none = { .descriptor = -1, .bound = -1 };

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
        *spec = listener_none;
        int error = is_unix(text) ? parse_unix(spec, option, text) : parse_tcp(spec, option, text, &first, &last);
        return error ? error : first != last ? malformed(option, text) : 0;
}

int listener_failed(const struct listener_spec *spec, int error)
{
        char name[256];
        listener_name(spec, name, sizeof(name));
        bool denied = error == -EACCES && spec->address.ss_family != AF_UNIX;
        complain("cannot listen on %s: %s%s%s%s", name, error_text(-error), denied ? " (" : "",
                 denied ? machine_port_denied() : "", denied ? ")" : "");
        return error;
}

int listener_take(struct berth_port *port, struct berth_handle *listener, struct listener_spec *spec, int backlog)
{
        int error = listener_begin(spec->bound, backlog);
        if (!error)
                error = berth_listen_adopt(port, listener, spec->bound, false);
        if (!error)
                spec->bound = -1;
        return error;
}

static void close_shards(struct listener_spec *spec, unsigned shards)
{
        for (unsigned shard = 0; spec->descriptors && shard < shards; shard++)
                listener_drop(&spec->descriptors[shard]);
        free(spec->descriptors);
        spec->descriptors = NULL;
}

void listener_finish(struct listener_spec *spec)
{
        if (spec->remove)
                unlink(((const struct sockaddr_un *)&spec->address)->sun_path);
        listener_drop(&spec->descriptor);
        listener_drop(&spec->bound);
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
        *spec = listener_none;
        int error = parse_unix(spec, "listen", text);
        if (!error)
                error = listener_open_unix(spec, backlog);
        if (!error)
                set->count++;
        return error;
}

static int prepare_ports(struct listener_set *set, const char *text)
{
        struct listener_spec spec = listener_none;
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
        unsigned passed = options->listen_count == 0 ? listeners_passed() : 0;
        if (passed)
                return listeners_adopt(set, passed);
        if (options->listen_count == 0)
                return prepare_one(set, default_address, backlog);
        for (unsigned i = 0; i < options->listen_count; i++) {
                int error = prepare_one(set, options->listen[i], backlog);
                if (error)
                        return error;
        }
        return 0;
}

int listeners_open(struct listener_set *set, unsigned shards, int backlog)
{
        int error = 0;
        set->shards = shards;
        for (unsigned i = 0; i < set->count && !error; i++)
                if (set->specs[i].descriptor < 0)
                        error = listener_open(&set->specs[i], shards, backlog);
        return error;
}

/* Who listens may listen again, for another backlog. */
void listeners_cut(struct listener_set *set, int backlog)
{
        for (unsigned i = 0; i < set->count; i++)
                if (set->specs[i].descriptor >= 0)
                        listener_begin(set->specs[i].descriptor, backlog);
}

void listeners_close(struct listener_set *set)
{
        for (unsigned i = 0; i < set->count; i++)
                close_shards(&set->specs[i], set->shards);
}

void listeners_finish(struct listener_set *set)
{
        listeners_close(set);
        for (unsigned i = 0; i < set->count; i++)
                listener_finish(&set->specs[i]);
        set->count = 0;
}
