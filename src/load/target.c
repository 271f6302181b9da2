/* What is asked for, and where: URLs become pages, and addresses with ports become endpoints. URLs that name the same
 * host and ports share their endpoints; a client asks for a random page of its endpoint each time. */
#include "load/load_priv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

/* ---- names ---- */

unsigned load_address_bytes(const union load_address *address)
{
        return address->any.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
}

void load_address_name(const union load_address *address, char *out, size_t size)
{
        bool six = address->any.sa_family == AF_INET6;
        unsigned port = ntohs(six ? address->in6.sin6_port : address->in.sin_port);
        char name[INET6_ADDRSTRLEN] = "";
        inet_ntop(address->any.sa_family, six ? (const void *)&address->in6.sin6_addr : &address->in.sin_addr, name,
                  sizeof(name));
        if (port)
                snprintf(out, size, six ? "[%s]:%u" : "%s:%u", name, port);
        else
                snprintf(out, size, "%s", name);
}

/* ---- URLs ---- */

static int parse_port(struct span text, unsigned *port)
{
        unsigned value = 0;
        for (size_t i = 0; i < text.size; i++) {
                if (text.data[i] < '0' || text.data[i] > '9' || value > 65535)
                        return -EINVAL;
                value = value * 10 + (unsigned)(text.data[i] - '0');
        }
        *port = value;
        return text.size > 0 && value > 0 && value <= 65535 ? 0 : -EINVAL;
}

/* "80" or "8080-8087". */
static int parse_ports(struct load_url *url, struct span text)
{
        struct span first = span_cut(&text, '-');
        if (parse_port(first, &url->first_port) < 0 || parse_port(text.data ? text : first, &url->last_port) < 0)
                return -EINVAL;
        return url->first_port <= url->last_port ? 0 : -EINVAL;
}

static bool is_visible(struct span text)
{
        for (size_t i = 0; i < text.size; i++)
                if ((unsigned char)text.data[i] <= ' ' || text.data[i] == 0x7f)
                        return false;
        return true;
}

/* HOST[:PORTS], [IPV6][:PORTS]. */
static int parse_authority(struct load_url *url, struct span text)
{
        struct span host = text, ports = { NULL, 0 };
        if (text.size > 0 && text.data[0] == '[') {
                ports = (struct span){ text.data + 1, text.size - 1 };
                host = span_cut(&ports, ']');
                if (!ports.data || (ports.size > 0 && ports.data[0] != ':'))
                        return -EINVAL;
                ports = ports.size > 0 ? (struct span){ ports.data + 1, ports.size - 1 } : (struct span){ NULL, 0 };
        } else {
                ports = text;
                host = span_cut(&ports, ':');
        }
        if (host.size == 0 || host.size >= sizeof(url->host) || memchr(host.data, '@', host.size))
                return -EINVAL;
        memcpy(url->host, host.data, host.size);
        url->host[host.size] = '\0';
        url->first_port = url->last_port = 80;
        return ports.data ? parse_ports(url, ports) : 0;
}

int load_url_parse(struct load_url *url, const char *text)
{
        static const struct span scheme = SPAN("http://");
        struct span rest = span_of(text);
        *url = (struct load_url){ 0 };
        if (rest.size < scheme.size || !span_equal_nocase((struct span){ text, scheme.size }, scheme))
                return -EINVAL;
        rest = (struct span){ text + scheme.size, rest.size - scheme.size };
        rest.size = strcspn(rest.data, "#"); /* a fragment is the browser's own */
        size_t authority = min_of(strcspn(rest.data, "/?"), rest.size);
        url->path = (struct span){ rest.data + authority, rest.size - authority };
        if (url->path.size == 0)
                url->path = SPAN("/");
        if (!is_visible(rest) || url->path.data[0] != '/')
                return -EINVAL;
        return parse_authority(url, (struct span){ rest.data, authority });
}

/* ---- the text of a request ---- */

static bool has_header(const struct load_options *options, const char *name)
{
        size_t size = strlen(name);
        for (unsigned i = 0; i < options->header_count; i++)
                if (strncasecmp(options->headers[i], name, size) == 0 && options->headers[i][size] == ':')
                        return true;
        return false;
}

static size_t headers_bytes(const struct load_options *options)
{
        size_t bytes = 0;
        for (unsigned i = 0; i < options->header_count; i++)
                bytes += strlen(options->headers[i]) + 2;
        return bytes;
}

static int write_request(struct span *request, const struct load_options *options, const struct load_url *url,
                         unsigned port, struct span path)
{
        enum { OTHER_BYTES = 128 }; /* names of fields, versions, the port */
        size_t room = path.size + strlen(url->host) + headers_bytes(options) + OTHER_BYTES;
        struct text out = text_in(malloc(room), room);
        if (!out.data)
                return -ENOMEM;
        text_put(&out, SPAN("GET "));
        text_put(&out, path);
        text_put(&out, SPAN(" HTTP/1.1\r\n"));
        if (!has_header(options, "Host")) {
                text_format(&out, strchr(url->host, ':') ? "Host: [%s]" : "Host: %s", url->host);
                text_format(&out, port == 80 ? "\r\n" : ":%u\r\n", port);
        }
        if (!has_header(options, "User-Agent"))
                text_put(&out, SPAN("User-Agent: berth-load/" BERTH_VERSION "\r\n"));
        for (unsigned i = 0; i < options->header_count; i++) {
                text_put(&out, span_of(options->headers[i]));
                text_put(&out, SPAN("\r\n"));
        }
        text_put(&out, SPAN("\r\n"));
        ensure(!out.overflow);
        *request = (struct span){ out.data, out.used };
        return 0;
}

/* ---- endpoints ---- */

/* URLs of one host and range of ports, and its addresses. */
struct group {
        struct load_url url; /* of the first page */
        unsigned first_page, last_page, page_count;
        struct addrinfo *addresses;
};

static struct group *find_group(struct group *groups, unsigned *count, const struct load_url *url)
{
        for (unsigned i = 0; i < *count; i++)
                if (strcasecmp(groups[i].url.host, url->host) == 0 && groups[i].url.first_port == url->first_port &&
                    groups[i].url.last_port == url->last_port)
                        return &groups[i];
        groups[*count] = (struct group){ .url = *url };
        return &groups[(*count)++];
}

static int read_urls(struct load_targets *targets, struct group *groups, unsigned *count,
                     const struct load_options *options)
{
        for (unsigned i = 0; i < options->url_count; i++) {
                struct load_url url;
                if (load_url_parse(&url, options->urls[i]) < 0) {
                        bool tls = strncasecmp(options->urls[i], "https:", 6) == 0;
                        complain("%s: expected http://HOST[:PORT[-PORT]][/PATH]%s", options->urls[i],
                                 tls ? "; there is no TLS, here as in berth serve: ask what is behind the proxy" : "");
                        return -EINVAL;
                }
                if (options->first_port) {
                        url.first_port = options->first_port;
                        url.last_port = options->last_port;
                }
                struct group *group = find_group(groups, count, &url);
                if (group->page_count++ == 0)
                        group->first_page = i;
                else
                        targets->pages[group->last_page].next = i + 1;
                group->last_page = i;
                targets->pages[i].path = url.path;
                targets->page_count++;
        }
        return 0;
}

/* A name that has addresses of both families is asked at those of IPv4: few servers on a machine's own loopback listen
 * at both, and only IPv4 has a whole network of them. */
static int resolve(struct group *group)
{
        struct addrinfo wanted = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
        int error = getaddrinfo(group->url.host, NULL, &wanted, &group->addresses);
        if (error) {
                wanted.ai_family = AF_INET6;
                error = getaddrinfo(group->url.host, NULL, &wanted, &group->addresses);
        }
        if (!error)
                return 0;
        complain("%s: %s", group->url.host, gai_strerror(error));
        return -ENOENT;
}

static union load_address address_of(const struct addrinfo *info, unsigned port)
{
        union load_address address = { 0 };
        memcpy(&address, info->ai_addr, min_of((size_t)info->ai_addrlen, sizeof(address)));
        address.in.sin_port = htons((uint16_t)port); /* at the same place in both families */
        return address;
}

/* The endpoint of that address, or the number of endpoints. */
static uint32_t find_endpoint(const struct load_targets *targets, const union load_address *address)
{
        uint32_t i = 0;
        while (i < targets->endpoint_count && memcmp(&targets->endpoints[i].address, address, sizeof(*address)) != 0)
                i++;
        return i;
}

static int add_endpoint(struct load_targets *targets, const struct load_options *options, const struct group *group,
                        const struct addrinfo *info, unsigned port)
{
        struct load_endpoint *endpoint = &targets->endpoints[targets->endpoint_count];
        *endpoint = (struct load_endpoint){
                .address = address_of(info, port),
                .first_page = (uint16_t)group->first_page,
                .page_count = (uint16_t)group->page_count,
        };
        endpoint->requests = calloc(group->page_count, sizeof(*endpoint->requests));
        if (!endpoint->requests)
                return -ENOMEM;
        targets->endpoint_count++;
        unsigned page = group->first_page;
        for (unsigned i = 0; i < group->page_count; i++) {
                if (write_request(&endpoint->requests[i], options, &group->url, port, targets->pages[page].path) < 0)
                        return -ENOMEM;
                page = targets->pages[page].next - 1;
        }
        return 0;
}

static int add_address(struct load_targets *targets, const struct load_options *options, const struct group *group,
                       const struct addrinfo *info)
{
        for (unsigned port = group->url.first_port; port <= group->url.last_port; port++) {
                if (targets->endpoint_count == LOAD_MAX_ADDRESSES) {
                        complain("more than %u destinations", LOAD_MAX_ADDRESSES);
                        return -E2BIG;
                }
                int error = add_endpoint(targets, options, group, info, port);
                if (error)
                        return error;
        }
        return 0;
}

static bool same_host(const struct addrinfo *a, const struct addrinfo *b)
{
        union load_address x = address_of(a, 0), y = address_of(b, 0);
        return memcmp(&x, &y, sizeof(x)) == 0;
}

static bool overlap(const struct load_url *a, const struct load_url *b)
{
        return a->first_port <= b->last_port && b->first_port <= a->last_port;
}

/* Each destination is in one group: clients are counted off over the destinations. */
static int check_overlap(const struct group *group, const struct group *other)
{
        char name[80];
        if (!overlap(&group->url, &other->url))
                return 0;
        for (const struct addrinfo *a = group->addresses; a; a = a->ai_next) {
                for (const struct addrinfo *b = other->addresses; b; b = b->ai_next) {
                        if (!same_host(a, b))
                                continue;
                        union load_address address = address_of(a,
                                                                max_of(group->url.first_port, other->url.first_port));
                        load_address_name(&address, name, sizeof(name));
                        complain("two URLs lead to %s: give them the same host and ports", name);
                        return -EINVAL;
                }
        }
        return 0;
}

static int add_group(struct load_targets *targets, const struct load_options *options, const struct group *group)
{
        for (const struct addrinfo *info = group->addresses; info; info = info->ai_next) {
                union load_address address = address_of(info, group->url.first_port);
                uint32_t known = find_endpoint(targets, &address);
                int error = known < targets->endpoint_count ? 0 : add_address(targets, options, group, info);
                if (error)
                        return error;
        }
        return 0;
}

int load_targets_init(struct load_targets *targets, const struct load_options *options)
{
        struct group *groups = calloc(LOAD_MAX_URLS, sizeof(*groups));
        unsigned count = 0;
        targets->endpoints = calloc(LOAD_MAX_ADDRESSES, sizeof(*targets->endpoints));
        int error = groups && targets->endpoints ? read_urls(targets, groups, &count, options) : -ENOMEM;
        for (unsigned i = 0; i < count && !error; i++) {
                error = resolve(&groups[i]);
                for (unsigned k = 0; k < i && !error; k++)
                        error = check_overlap(&groups[i], &groups[k]);
                if (!error)
                        error = add_group(targets, options, &groups[i]);
        }
        for (unsigned i = 0; i < count; i++)
                if (groups[i].addresses)
                        freeaddrinfo(groups[i].addresses);
        if (error == -ENOMEM)
                complain("out of memory");
        free(groups);
        return error;
}

void load_targets_finish(struct load_targets *targets)
{
        for (uint32_t i = 0; i < targets->endpoint_count; i++) {
                for (unsigned k = 0; k < targets->endpoints[i].page_count; k++)
                        free((char *)(uintptr_t)targets->endpoints[i].requests[k].data);
                free(targets->endpoints[i].requests);
        }
        free(targets->endpoints);
        targets->endpoint_count = 0;
        targets->endpoints = NULL;
}
