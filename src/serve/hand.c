/* Handing connections over, where one address can have but one socket and that one port (Windows): the first shard
 * accepts for all and gives each connection to the shard that has the fewest.
 *
 *   first shard                                    another shard
 *   accepted; finds who has room, counts it there
 *   berth_pass; into the other's ring, a message -> berth_take, a connection like any other
 *   berth_give_back  <- `returned`, a message where ... gone
 *                       accepting waits for room
 *
 * The first shard's port counts all connections of the server, so that accepting stops when there are as many as
 * there may be, and not before. A shard's own part is never more than its share: while there are fewer than that in
 * all, somebody has room. A ring has one writer and one reader; nothing is locked but to send a message, of which one
 * of a kind is under way at a time. When the first shard drains nobody comes any more; until then the others wait for
 * what may still be in their rings.
 */
#include "serve/serve_priv.h"

static bool is_first(const struct shard *shard)
{
        return shard->index == 0;
}

static bool hands(const struct shard *shard)
{
        return shard->server->handing;
}

/* ---- to whom ---- */

static bool ring_is_full(struct shard *shard)
{
        return atomic_load(&shard->handed.put) - atomic_load(&shard->handed.got) == HANDED_MOST;
}

/* The first shard accepts, so what it says of itself (`full`) is about the server. */
static bool has_room(struct shard *first, struct shard *shard)
{
        if (atomic_load_explicit(&shard->handed.count, memory_order_relaxed) >= shard->conns.limit)
                return false;
        return shard == first || !(first->draining || atomic_load(&shard->full) || ring_is_full(shard));
}

/* The one with the fewest connections, of several each in its turn; NULL: nobody has room. */
static struct shard *choose(struct shard *first)
{
        const struct server *server = first->server;
        struct shard *best = NULL;
        uint32_t least = UINT32_MAX;
        first->hand_turn++;
        for (unsigned i = 0; i < server->planned_shards; i++) {
                struct shard *shard = server->shards[(first->hand_turn + i) % server->planned_shards];
                uint32_t count = atomic_load_explicit(&shard->handed.count, memory_order_relaxed);
                if (count >= least || !has_room(first, shard))
                        continue;
                best = shard;
                least = count;
        }
        return best;
}

static void put(struct shard *to, int64_t accepted)
{
        unsigned at = atomic_load_explicit(&to->handed.put, memory_order_relaxed);
        to->handed.accepted[at % HANDED_MOST] = accepted;
        atomic_store(&to->handed.put, at + 1);
        shard_tell(to, SHARD_HANDED);
}

void hand_accepted(struct shard *shard, int64_t accepted)
{
        if (!hands(shard)) {
                conn_begin(shard, accepted);
                return;
        }
        struct shard *to = choose(shard);
        if (to && to != shard && berth_pass(shard->port, accepted) != 0)
                to = has_room(shard, shard) ? shard : NULL;
        if (!to) { /* those with room do not keep up, or lack memory, or cannot have this one */
                berth_discard(shard->port, accepted);
                refused(shard, REFUSED_CONNECTIONS);
                return;
        }
        atomic_fetch_add_explicit(&to->handed.count, 1, memory_order_relaxed);
        if (to == shard)
                conn_begin(shard, accepted);
        else
                put(to, accepted);
}

/* ---- and back ---- */

static void take(struct shard *shard)
{
        for (unsigned n = 0; n < HANDED_MOST; n++) {
                unsigned at = atomic_load_explicit(&shard->handed.got, memory_order_relaxed);
                if (at == atomic_load(&shard->handed.put))
                        return;
                int64_t accepted = shard->handed.accepted[at % HANDED_MOST];
                atomic_store(&shard->handed.got, at + 1);
                berth_take(shard->port, accepted);
                conn_begin(shard, accepted);
        }
}

bool hand_collect(struct shard *shard)
{
        unsigned returned = hands(shard) && is_first(shard) ? atomic_exchange(&shard->handed.returned, 0) : 0;
        if (returned)
                berth_give_back(shard->port, returned);
        return returned > 0;
}

void hand_arrived(struct shard *shard)
{
        if (!is_first(shard))
                take(shard);
        else if (hand_collect(shard))
                accept_conn_gone(shard);
}

void hand_conn_gone(struct shard *shard)
{
        if (!hands(shard))
                return;
        struct shard *first = shard->server->shards[0];
        atomic_fetch_sub_explicit(&shard->handed.count, 1, memory_order_relaxed);
        if (shard == first)
                return;
        atomic_fetch_add(&first->handed.returned, 1);
        if (atomic_load(&first->full))
                shard_tell(first, SHARD_HANDED);
}

/* ---- who can spare some ---- */

struct shard *hand_idlest(struct shard *shard)
{
        const struct server *server = shard->server;
        struct shard *idlest = shard;
        for (unsigned i = 0; hands(shard) && i < server->planned_shards; i++)
                if (count_of(&server->shards[i]->counters.states[CONN_RESTING]) >
                    count_of(&idlest->counters.states[CONN_RESTING]))
                        idlest = server->shards[i];
        return idlest;
}

/* ---- the end ---- */

void hand_end(struct shard *shard)
{
        struct server *server = shard->server;
        if (!hands(shard) || !is_first(shard) || atomic_exchange(&server->handed_all, true))
                return;
        for (unsigned i = 1; i < server->planned_shards; i++)
                shard_tell(server->shards[i], SHARD_HANDED);
}

bool hand_is_over(struct shard *shard)
{
        return !hands(shard) || is_first(shard) ||
               (atomic_load(&shard->server->handed_all) &&
                atomic_load(&shard->handed.got) == atomic_load(&shard->handed.put));
}
