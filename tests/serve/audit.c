/* What must hold of a shard, whatever its clients and the kernel do. */
#include "crowd.h"

static uint64_t in_state(const struct shard *shard, enum conn_state state)
{
        return count_of(&shard->counters.states[state]);
}

static unsigned length(const struct list *list)
{
        unsigned n = 0;
        for (const struct list *node = list->next; node != list; node = node->next)
                n++;
        return n;
}

/* ---- who goes when there is no room for more ---- */

static uint64_t refusals(const struct shard *shard, enum refusal_reason reason)
{
        return count_of(&shard->counters.refusals[reason]);
}

/* Of new connections. Where addresses are asked for, the lack of memory need not be that of accept. */
static uint64_t turned_away(const struct shard *shard)
{
        return refusals(shard, REFUSED_DESCRIPTORS) + refusals(shard, REFUSED_CONNECTIONS) +
               (shard->server->addresses ? 0 : refusals(shard, REFUSED_MEMORY));
}

struct idle audit_idle(const struct shard *shard)
{
        return (struct idle){
                .fresh = shard->fresh.next == &shard->fresh ? NULL : shard->fresh.next,
                .resting = shard->resting.next == &shard->resting ? NULL : shard->resting.next,
                .turned_away = turned_away(shard),
                .shed = refusals(shard, SHED_IDLE),
        };
}

/* For a refusal somebody idle goes, if there is anybody: the one that is quiet longest, who stands first. */
void audit_shed(const struct shard *shard, const struct idle *before)
{
        struct idle now = audit_idle(shard);
        bool same_fresh = before->fresh && now.fresh == before->fresh;
        bool same_resting = before->resting && now.resting == before->resting;
        if (now.turned_away > before->turned_away && (same_fresh || same_resting))
                check(now.shed > before->shed);
        if (now.shed > before->shed && before->fresh && before->resting)
                check(!same_fresh || !same_resting);
}

/* ---- at any time ---- */

void audit_turn(const struct shard *shard)
{
        const struct berth_port_stats *port = berth_port_stats(shard->port);
        uint64_t sum = 0;
        for (unsigned state = 0; state < CONN_STATE_COUNT; state++)
                sum += in_state(shard, state);
        check(sum == shard->conns.used);
        check(shard->actives.used <= shard->conns.used);
        check(port->handles <= berth_port_max_handles(shard->port));
        check(shard->conns.used <= port->handles);
        check(shard->sends <= shard->max_sends);
        check(shard->listings <= shard->max_listings);
        check(shard->long_heads <= shard->max_long_heads);
        check(shard->requests.used <= run.server->budget.requests);
        check(shard->downloads.used <= shard->sends);
        check(shard->pieces_held == port->buffers_lent);
        /* Nobody waits for what is there. */
        check(list_empty(&shard->for_send) || shard->sends >= shard->max_sends);
        check(list_empty(&shard->for_listing) || shard->listings >= shard->max_listings);
}

struct found {
        uint32_t requests, sends, listings, long_heads, busy, downloads, sending;
};

static struct found look_at_requests(const struct shard *shard)
{
        struct found found = { 0 };
        for (struct list *node = shard->active.next; node != &shard->active; node = node->next) {
                const struct request *r = container_of(node, struct request, node);
                found.requests++;
                found.sends += r->has_send;
                found.listings += r->has_listing;
                found.long_heads += r->long_head != NULL;
                found.busy += conn_state(r->conn) == CONN_BUSY;
                check(r->conn->active->request == r);
        }
        for (struct list *node = shard->sending.next; node != &shard->sending; node = node->next) {
                const struct download *download = container_of(node, struct download, node);
                found.downloads++;
                found.sending += conn_state(download->active->conn) == CONN_SENDING;
                check(download->active->download == download);
        }
        return found;
}

void audit_lists(const struct shard *shard)
{
        struct found found = look_at_requests(shard);
        check(found.requests == shard->requests.used);
        check(found.downloads == shard->downloads.used);
        check(found.sends + found.downloads == shard->sends);
        check(found.listings == shard->listings);
        check(found.long_heads == shard->long_heads);
        check(found.busy == in_state(shard, CONN_BUSY));
        check(found.sending == in_state(shard, CONN_SENDING));
        unsigned hot = length(&shard->hot);
        check(shard->server->addresses ? hot <= in_state(shard, CONN_HOT) : hot == in_state(shard, CONN_HOT));
        check(length(&shard->fresh) + length(&shard->resting) == in_state(shard, CONN_RESTING));
        check(length(&shard->waiting) + length(&shard->readable) == in_state(shard, CONN_WAITING));
        check(length(&shard->lingering) == in_state(shard, CONN_LINGERING));
        check(length(&shard->ending) + shard->endings <= in_state(shard, CONN_CLOSING));
}

void audit_empty(const struct shard *shard)
{
        const struct list *const lists[] = { &shard->hot,      &shard->fresh,   &shard->resting,     &shard->waiting,
                                             &shard->ending,   &shard->active,  &shard->for_listing, &shard->for_send,
                                             &shard->readable, &shard->sending, &shard->lingering };
        for (size_t i = 0; i < array_count(lists); i++)
                check(list_empty(lists[i]));
        for (unsigned state = 0; state < CONN_STATE_COUNT; state++)
                check(in_state(shard, state) == 0);
        check(shard->conns.used == 0 && shard->actives.used == 0);
        check(shard->requests.used == 0 && shard->downloads.used == 0);
        check(shard->sends == 0 && shard->listings == 0 && shard->long_heads == 0 && shard->endings == 0);
        check(shard->pieces_held == 0 && berth_port_stats(shard->port)->buffers_lent == 0);
        check(berth_port_stats(shard->port)->handles == 0);
}
