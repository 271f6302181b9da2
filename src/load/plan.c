/* How many connections fit between which addresses.
 *
 * A connection is told from all others by its four numbers: two addresses, two ports. Between one source address and
 * one destination (an address with a port) there are as many as net.ipv4.ip_local_port_range has ports. The kernel
 * looks for a free one among those of one parity first, and past half of the range it has to search: connects slow down
 * a thousandfold towards the end. So each pair of source and destination gets at most half of the range, and where all
 * destinations are on this machine's loopback, more sources are taken from 127.0.0.0/8 by ourselves: four times as many
 * as needed, which opens the crowd faster still.
 */
#include "load/load_priv.h"

#include <errno.h>

/* Free sources cost nothing, and in a range that is an eighth full a free port is found sooner than in half of one. */
enum { SOURCES_FACTOR = 4 };

static uint64_t divide_up(uint64_t a, uint64_t b)
{
        return (a + b - 1) / b;
}

void load_plan_compute(struct load_plan *plan)
{
        ensure(plan->connections > 0 && plan->ports > 0 && plan->endpoints > 0);
        uint32_t half = max_of(plan->ports / 2, 1u);
        plan->pairs_needed = divide_up(plan->connections, half);
        plan->sources = plan->given;
        if (!plan->given && plan->free_sources) {
                uint64_t wanted = divide_up(plan->pairs_needed, plan->endpoints);
                uint64_t taken = min_of(SOURCES_FACTOR * wanted, (uint64_t)LOAD_MAX_ADDRESSES);
                plan->sources = wanted > 1 ? (uint32_t)taken : 0;
        }
        plan->pairs = (uint64_t)max_of(plan->sources, 1u) * plan->endpoints;
        plan->impossible = plan->pairs * plan->ports < plan->connections;
        plan->crowded = !plan->impossible && plan->pairs < plan->pairs_needed;
}

/* ---- addresses ---- */

union load_address load_loopback(uint32_t n)
{
        union load_address address = { .in = { .sin_family = AF_INET } };
        address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK + n);
        return address;
}

bool load_is_loopback(const union load_address *address)
{
        return address->any.sa_family == AF_INET && ntohl(address->in.sin_addr.s_addr) >> 24 == 127;
}

static int read_address(union load_address *address, struct span text)
{
        char name[INET6_ADDRSTRLEN];
        text = span_trim(text);
        if (text.size >= sizeof(name))
                return -EINVAL;
        memcpy(name, text.data, text.size);
        name[text.size] = '\0';
        *address = (union load_address){ .in = { .sin_family = AF_INET } };
        if (inet_pton(AF_INET, name, &address->in.sin_addr) == 1)
                return 0;
        *address = (union load_address){ .in6 = { .sin6_family = AF_INET6 } };
        return inet_pton(AF_INET6, name, &address->in6.sin6_addr) == 1 ? 0 : -EINVAL;
}

/* "A" or "A-B". */
static int read_range(union load_address *sources, unsigned room, struct span text)
{
        struct span first = span_cut(&text, '-');
        union load_address from, to;
        if (first.size == 0 || read_address(&from, first) < 0 || read_address(&to, text.data ? text : first) < 0)
                return -EINVAL;
        if (!text.data) {
                if (room == 0)
                        return -E2BIG;
                sources[0] = from;
                return 1;
        }
        if (from.any.sa_family != AF_INET || to.any.sa_family != AF_INET)
                return -EINVAL;
        uint32_t low = ntohl(from.in.sin_addr.s_addr), high = ntohl(to.in.sin_addr.s_addr);
        if (low > high)
                return -EINVAL;
        if (high - low >= room)
                return -E2BIG;
        for (uint32_t i = 0; i <= high - low; i++) {
                sources[i] = from;
                sources[i].in.sin_addr.s_addr = htonl(low + i);
        }
        return (int)(high - low + 1);
}

int load_sources_parse(union load_address *sources, unsigned room, const char *text)
{
        struct span rest = span_of(text);
        unsigned count = 0;
        do {
                int n = read_range(sources + count, room - count, span_cut(&rest, ','));
                if (n < 0)
                        return n;
                count += (unsigned)n;
        } while (rest.data);
        return (int)count;
}

/* ---- the arithmetic in words ---- */

static bool follows(const union load_address *a, const union load_address *b)
{
        return a->any.sa_family == AF_INET && b->any.sa_family == AF_INET &&
               ntohl(a->in.sin_addr.s_addr) + 1 == ntohl(b->in.sin_addr.s_addr);
}

static void put_sources(struct text *out, const union load_address *sources, uint32_t count)
{
        char first[80], last[80];
        if (count == 0) {
                text_put(out, SPAN("any address of this machine"));
                return;
        }
        uint32_t run = 1;
        while (run < count && follows(&sources[run - 1], &sources[run]))
                run++;
        load_address_name(&sources[0], first, sizeof(first));
        load_address_name(&sources[run - 1], last, sizeof(last));
        text_format(out, run > 1 ? "%s-%s" : "%s", first, last);
        if (run < count)
                text_format(out, " and %u more", count - run);
}

static bool next_port(const struct load_endpoint *a, const struct load_endpoint *b)
{
        union load_address x = a->address, y = b->address;
        if (ntohs(x.in.sin_port) + 1 != ntohs(y.in.sin_port)) /* the port stands at the same place in both families */
                return false;
        x.in.sin_port = y.in.sin_port;
        return memcmp(&x, &y, sizeof(x)) == 0;
}

static void put_endpoints(struct text *out, const struct load_endpoint *endpoints, uint32_t count)
{
        char name[80];
        uint32_t run = 1;
        while (run < count && next_port(&endpoints[run - 1], &endpoints[run]))
                run++;
        load_address_name(&endpoints[0].address, name, sizeof(name));
        text_put(out, span_of(name));
        if (run > 1)
                text_format(out, "-%u", ntohs(endpoints[run - 1].address.in.sin_port));
        if (run < count)
                text_format(out, " and %u more", count - run);
}

void load_plan_describe(const struct load_plan *plan, const union load_address *sources,
                        const struct load_targets *targets, struct text *out)
{
        struct figure connections = figure_count(plan->connections), half = figure_count(max_of(plan->ports / 2, 1u));
        struct figure needed = figure_count(plan->pairs_needed), pairs = figure_count(plan->pairs);
        text_format(out,
                    "%s connection%s over %s ports (half of %s) need%s %s pair%s of source "
                    "address and destination",
                    connections.text, plan->connections == 1 ? "" : "s", half.text, load_range_name,
                    plan->connections == 1 ? "s" : "", needed.text, plan->pairs_needed == 1 ? "" : "s");
        if (plan->impossible || plan->crowded)
                text_format(out, "; there %s %s", plan->pairs == 1 ? "is" : "are", pairs.text);
        else if (plan->sources > plan->given && plan->pairs > plan->pairs_needed)
                text_format(out, ", %s are taken", pairs.text);
        text_put(out, SPAN(": "));
        put_sources(out, sources, plan->sources);
        text_put(out, SPAN(" to "));
        put_endpoints(out, targets->endpoints, targets->endpoint_count);
}
