/* Accepting. A shard accepts on its own listeners, of which the kernel gives each shard a part of the connections
 * (SO_REUSEPORT), in parts that chance makes uneven. So a shard that has no room says so (`full`), and those that have
 * accept on its listeners, too: nobody is stranded before the whole server is full. Then the port lets what comes wait
 * in the kernel's queue, and each refusal sends the longest idle away.
 *
 * Where an address can have but one socket (Windows) the first shard alone has listeners; hand.c tells how the others
 * get their part.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        SHED_AT_ONCE = 16, /* at most, and */
        SHED_PART = 64,    /* of so many one, or one: who comes needs no more */
        SPARE_PERCENT = 5, /* of a control group's memory that stays free, at least */
        SPARE_BYTES = 4 << 20,
        SPARE_PART = 4,    /* of the limit one, at most, for what comes at once */
        LOOK_EVERY = 128,  /* connections accepted */
        LOOK_CLOSELY = 16, /* ... with less than twice the spare left */
};

static unsigned listener_count(const struct shard *shard)
{
        return shard->server->listeners.count;
}

/* ---- one listener ---- */

static bool is_own(const struct shard *shard, const struct accepting *listener)
{
        return listener->owner == shard->index;
}

static bool wanted(const struct shard *shard, const struct accepting *listener)
{
        if (shard->accept_paused || shard->draining || listener->socket.kind == 0)
                return false;
        return is_own(shard, listener) ||
               atomic_load_explicit(&shard->server->shards[listener->owner]->full, memory_order_relaxed);
}

static void arrange(struct shard *shard, struct accepting *listener)
{
        bool arm = wanted(shard, listener);
        if (arm && !listener->armed) {
                listener->armed = true;
                berth_accept(shard->port, &listener->op, &listener->socket);
        } else if (!arm && listener->armed) {
                berth_cancel(shard->port, &listener->op);
        }
}

static enum refusal_reason reason_of(const struct shard *shard, int64_t result)
{
        if (result == -ENFILE && berth_port_stats(shard->port)->handles >= berth_port_max_handles(shard->port))
                return REFUSED_CONNECTIONS;
        return result == -EMFILE || result == -ENFILE ? REFUSED_DESCRIPTORS : REFUSED_MEMORY;
}

/* ---- the control group ---- */

/* What may come in before anybody can look: io_uring hands over a listener's whole queue in one go, and the group is
 * charged for a connection when it is accepted. Twice that, since a connection needs a wait and a receive, too, and the
 * queue may have filled again by then. */
static uint64_t burst_bytes(const struct server *server)
{
        uint64_t queues = (uint64_t)server->listeners.count * server->options.backlog;
        return 2 * server->planned_shards * (queues + LOOK_EVERY) * machine_connection_bytes();
}

static uint64_t spare_bytes(const struct server *server, uint64_t limit)
{
        uint64_t least = max_of(limit / 100 * SPARE_PERCENT, (uint64_t)SPARE_BYTES);
        return max_of(least, min_of(burst_bytes(server), limit / SPARE_PART));
}

/* What a process of a control group may not have is refused by ending the process; so we stop before. */
static bool group_is_full(struct shard *shard)
{
        uint64_t limit, used;
        shard->grouped = proc_cgroup_memory("", &limit, &used) == 0;
        if (!shard->grouped)
                return false;
        uint64_t left = limit - min_of(used, limit), spare = spare_bytes(shard->server, limit);
        shard->look_every = left < 2 * spare ? LOOK_CLOSELY : LOOK_EVERY;
        return left < spare;
}

static void look_at_group(struct shard *shard)
{
        if (!shard->grouped || shard->accept_paused || !group_is_full(shard))
                return;
        shard->pressed = true;
        accept_refused(shard, REFUSED_MEMORY);
}

static void tell_others(struct shard *shard);

/* Who stops may have been the one that the kernel woke for a connection; the others have to look for themselves. */
static void stopped(struct shard *shard, struct accepting *listener)
{
        arrange(shard, listener); /* it may be wanted again by now */
        if (!listener->armed)
                tell_others(shard);
}

/* Who gave a place back before he could see that accepting has stopped did not tell. */
static void no_room(struct shard *shard, enum refusal_reason reason)
{
        accept_refused(shard, reason);
        if (hand_collect(shard))
                accept_conn_gone(shard);
}

static void accepted(struct berth_op *op)
{
        struct accepting *listener = container_of(op, struct accepting, op);
        struct shard *shard = shard_here;
        if (op->result >= 0) {
                hand_accepted(shard, op->result);
                if (shard->grouped && count_of(&shard->counters.accepted) % shard->look_every == 0)
                        look_at_group(shard); /* a crowd can bring more in a second than there is room for */
        }
        if (op->flags & BERTH_MORE)
                return;
        listener->armed = false;
        if (shard->draining)
                return;
        if (op->result == -ECANCELED || hand_collect(shard))
                stopped(shard, listener);
        else
                no_room(shard, reason_of(shard, op->result));
}

/* ---- all of them ---- */

static struct accepting *make_copies(struct shard *shard, unsigned owner)
{
        struct accepting *copies = calloc(listener_count(shard), sizeof(*copies));
        for (unsigned i = 0; copies && i < listener_count(shard); i++) {
                copies[i].op.done = accepted;
                copies[i].owner = owner;
        }
        return copies;
}

/* Copies of another shard's sockets, made when they are first needed. Those that cannot be had now, for want of
 * descriptors, are asked for again the next time. */
static void borrow(struct shard *shard, unsigned owner)
{
        struct server *server = shard->server;
        if (!shard->borrowed[owner])
                shard->borrowed[owner] = make_copies(shard, owner);
        struct accepting *copies = shard->borrowed[owner];
        pthread_mutex_lock(&server->messages); /* the sockets are there until the server drains */
        for (unsigned i = 0; copies && i < listener_count(shard) && !atomic_load(&server->draining); i++)
                if (copies[i].socket.kind == 0 && server->listeners.specs[i].descriptors)
                        listener_share(shard->port, &copies[i].socket, &server->listeners.specs[i], owner);
        pthread_mutex_unlock(&server->messages);
}

static void arrange_own(struct shard *shard)
{
        for (unsigned i = 0; i < listener_count(shard); i++)
                arrange(shard, &shard->listeners[i]);
}

void accept_arrange(struct shard *shard)
{
        arrange_own(shard);
        for (unsigned owner = 0; !shard->server->handing && owner < shard->server->planned_shards; owner++) {
                if (owner == shard->index)
                        continue;
                bool full = atomic_load(&shard->server->shards[owner]->full);
                if (full && !shard->accept_paused && !shard->draining)
                        borrow(shard, owner);
                for (unsigned i = 0; shard->borrowed[owner] && i < listener_count(shard); i++)
                        arrange(shard, &shard->borrowed[owner][i]);
        }
}

static void tell_others(struct shard *shard)
{
        const struct server *server = shard->server;
        for (unsigned i = 0; i < server->planned_shards; i++)
                if (server->shards[i] != shard)
                        shard_tell(server->shards[i], SHARD_LOOK);
}

/* A cancelled accept starts again, and so looks for who waits already. */
static void restart(struct shard *shard, struct accepting *listeners)
{
        for (unsigned i = 0; listeners && i < listener_count(shard); i++)
                if (listeners[i].armed)
                        berth_cancel(shard->port, &listeners[i].op);
}

void accept_look(struct shard *shard)
{
        if (shard->draining)
                return;
        look_at_group(shard); /* another may have stopped for want of memory, which is everybody's */
        restart(shard, shard->listeners);
        for (unsigned i = 0; i < shard->server->planned_shards; i++)
                restart(shard, shard->borrowed[i]);
        accept_arrange(shard);
}

static bool others_have_room(const struct shard *shard)
{
        const struct server *server = shard->server;
        for (unsigned i = 0; !server->handing && i < server->planned_shards; i++)
                if (i != shard->index && !atomic_load(&server->shards[i]->full))
                        return true;
        return false;
}

void accept_shed(struct shard *shard)
{
        conn_shed(shard, min_of(SHED_AT_ONCE, 1 + shard->conns.used / SHED_PART));
}

static void shed(struct shard *shard)
{
        struct shard *idlest = hand_idlest(shard);
        if (idlest == shard)
                accept_shed(shard);
        else
                shard_tell(idlest, SHARD_SHED);
}

void accept_refused(struct shard *shard, enum refusal_reason reason)
{
        refused(shard, reason);
        shard->accept_paused = true;
        atomic_store(&shard->full, true);
        tell_others(shard);
        accept_arrange(shard);
        if (reason == REFUSED_MEMORY || !others_have_room(shard)) /* memory is everybody's */
                shed(shard);
}

static void resume(struct shard *shard)
{
        shard->accept_paused = false;
        accept_arrange(shard);
}

void accept_conn_gone(struct shard *shard)
{
        if (shard->accept_paused && !shard->pressed && !shard->draining)
                resume(shard);
}

/* Paused for a second: perhaps there is room by now; the next refusal tells if not. */
void accept_tick(struct shard *shard)
{
        hand_collect(shard);
        if (shard->draining)
                return;
        shard->pauses = shard->accept_paused ? shard->pauses + 1 : 0;
        shard->pressed = group_is_full(shard);
        if (shard->pauses > 1) /* others may have room, but they do not take over */
                shed(shard);
        if (shard->pressed)
                accept_refused(shard, REFUSED_MEMORY);
        else if (shard->accept_paused)
                resume(shard);
        else if (atomic_exchange(&shard->full, false))
                tell_others(shard);
        accept_arrange(shard);
}

/* ---- beginning and end ---- */

static bool accepts(const struct shard *shard)
{
        return shard->index == 0 || !shard->server->handing;
}

int accept_listen(struct shard *shard)
{
        const struct serve_options *options = &shard->server->options;
        const struct listener_set *set = &shard->server->listeners;
        shard->listeners = calloc(set->count, sizeof(*shard->listeners));
        shard->borrowed = calloc(shard->server->planned_shards, sizeof(struct accepting *));
        if (!shard->listeners || !shard->borrowed)
                return -ENOMEM;
        for (unsigned i = 0; i < set->count && accepts(shard); i++) {
                const struct listener_spec *spec = &set->specs[i];
                struct accepting *listener = &shard->listeners[i];
                listener->op.done = accepted;
                listener->owner = shard->index;
                int error = spec->descriptors || spec->descriptor >= 0
                                    ? listener_share(shard->port, &listener->socket, spec, shard->index)
                                    : berth_listen(shard->port, &listener->socket,
                                                   (const struct sockaddr *)&spec->address, spec->address_bytes,
                                                   (int)options->backlog, 0);
                if (error)
                        return error;
        }
        group_is_full(shard); /* is there a group? If it is full by now, the first look tells */
        arrange_own(shard);
        return 0;
}

static void listener_closed(struct berth_op *op)
{
        (void)op;
}

static void close_all(struct shard *shard, struct accepting *listeners)
{
        for (unsigned i = 0; listeners && i < listener_count(shard); i++) {
                struct accepting *listener = &listeners[i];
                if (listener->socket.kind == 0 || listener->socket.closer)
                        continue;
                listener->closing.done = listener_closed;
                berth_close(shard->port, &listener->closing, &listener->socket, 0);
        }
}

void accept_close(struct shard *shard)
{
        close_all(shard, shard->listeners);
        for (unsigned i = 0; shard->borrowed && i < shard->server->planned_shards; i++)
                close_all(shard, shard->borrowed[i]);
}

void accept_finish(struct shard *shard)
{
        for (unsigned i = 0; shard->borrowed && i < shard->server->planned_shards; i++)
                free(shard->borrowed[i]);
        free(shard->borrowed);
        free(shard->listeners);
        shard->listeners = NULL;
        shard->borrowed = NULL;
}
