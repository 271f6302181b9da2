/* A shard: one thread with a port of its own. It accepts, once a second looks after deadlines, and when it is told to
 * drain, stops accepting, lets requests finish, and ends when nothing is left.
 */
#include "serve/change.h"

#include <errno.h>
#include <stdlib.h>

_Thread_local struct shard *shard_here;

enum { TICK_MS = 1000 };

struct span shard_date(struct shard *shard)
{
        int64_t now = clock_unix_seconds();
        if (now != shard->date_seconds) {
                shard->date_seconds = now;
                http_format_date(shard->date, now);
        }
        return (struct span){ shard->date, sizeof(shard->date) };
}

/* ---- draining ---- */

static void store_gone(void *context)
{
        ((struct shard *)context)->store = NULL;
}

static void drain(struct shard *shard)
{
        if (shard->draining)
                return;
        shard->draining = true;
        shard->drain_until = shard->now_seconds + shard->server->options.grace_seconds;
        accept_close(shard);
        hand_end(shard);
        conn_end_quiet(shard);
        request_end_unheard(shard);
}

static void end_list(struct list *list)
{
        while (!list_empty(list))
                conn_end(container_of(list->next, struct conn, node), true);
}

/* What has not finished in time is cut off. */
static void end_all(struct shard *shard)
{
        atomic_store(&shard->ending_all, true);
        conn_end_quiet(shard);
        end_list(&shard->waiting);
        end_list(&shard->readable);
        while (!list_empty(&shard->lingering))
                conn_end(container_of(shard->lingering.next, struct conn, node), false);
        struct list *node = shard->active.next;
        while (node != &shard->active) {
                struct request *r = container_of(node, struct request, node);
                node = node->next;
                conn_end(r->conn, true);
        }
        node = shard->sending.next;
        while (node != &shard->sending) {
                struct download *download = container_of(node, struct download, node);
                node = node->next;
                conn_end(download->active->conn, true);
        }
}

void shard_tell(struct shard *to, enum shard_message message)
{
        pthread_mutex_t *messages = &to->server->messages;
        if (atomic_load(&to->told[message]))
                return;
        pthread_mutex_lock(messages);
        if (!to->gone && !atomic_exchange(&to->told[message], true))
                berth_post(to->port, &to->messages[message], message);
        pthread_mutex_unlock(messages);
}

static void message_arrived(struct berth_op *op)
{
        struct shard *shard = shard_here;
        enum shard_message message = (enum shard_message)op->result;
        atomic_store(&shard->told[message], false); /* from here on the op may be posted again */
        switch (message) {
        case SHARD_LOOK:
                accept_look(shard);
                return;
        case SHARD_ACCESS:
                access_take(shard);
                return;
        case SHARD_HANDED:
                hand_arrived(shard);
                return;
        case SHARD_SHED:
                accept_shed(shard);
                return;
        default:
                drain(shard);
                if (message == SHARD_END)
                        end_all(shard);
        }
}

/* The last connection is gone: the rest goes too. */
static void finish(struct shard *shard)
{
        shard->ended = true;
        berth_timer_cancel(shard->port, &shard->tick);
        log_flush(&shard->log);
        store_destroy(shard->store, store_gone, shard);
}

/* ---- the second's round ---- */

static void gauge(struct shard *shard, enum pool pool, uint64_t used, uint64_t limit, uint64_t bytes)
{
        count_set(&shard->counters.used[pool], used);
        count_set(&shard->counters.limit[pool], limit);
        count_set(&shard->counters.bytes[pool], bytes);
}

static void gauge_slab(struct shard *shard, enum pool pool, const struct slab *slab)
{
        gauge(shard, pool, slab->used, slab->limit, slab_bytes(slab));
}

static void take_gauges(struct shard *shard)
{
        struct counters *counters = &shard->counters;
        const struct berth_port_stats *port = berth_port_stats(shard->port);
        const struct store_use store = store_use(shard->store);
        size_t head_bytes = shard->server->options.limits.head_bytes;
        gauge_slab(shard, POOL_CONNECTIONS, &shard->conns);
        gauge_slab(shard, POOL_ACTIVE, &shard->actives);
        gauge_slab(shard, POOL_REQUESTS, &shard->requests);
        gauge_slab(shard, POOL_DOWNLOADS, &shard->downloads);
        gauge_slab(shard, POOL_CHANGES, &shard->changes);
        gauge(shard, POOL_BUFFERS, port->buffers_lent, BUFFER_COUNT, (uint64_t)port->buffers_used * BUFFER_BYTES);
        gauge(shard, POOL_FILES, store.files, store.max_files, store.content_bytes);
        gauge(shard, POOL_LISTINGS, shard->listings, shard->max_listings,
              (uint64_t)shard->listings * STORE_LIST_BATCH_BYTES);
        gauge(shard, POOL_LONG_HEADS, shard->long_heads, shard->max_long_heads, shard->long_heads * head_bytes);
        count_set(&counters->rings, port->rings);
        count_set(&counters->handles, port->handles - port->passed);
        count_set(&counters->starved, port->starved);
        count_set(&counters->cold_windows, port->cold_windows);
        uint64_t accepted = count_of(&counters->accepted);
        count_set(&counters->accepts_per_second, accepted - shard->accepted_before);
        shard->accepted_before = accepted;
}

/* What was not needed in the last second goes back to the system. */
static void trim(struct shard *shard)
{
        slab_trim(&shard->conns);
        slab_trim(&shard->actives);
        slab_trim(&shard->requests);
        slab_trim(&shard->downloads);
        slab_trim(&shard->changes);
        blocks_trim(&shard->blocks);
}

static void tick(struct berth_op *op)
{
        struct shard *shard = shard_here;
        if (op->result == -ECANCELED || shard->ended)
                return;
        if (shard->draining) { /* some may have come to rest, or begun a head, since */
                conn_end_quiet(shard);
                request_end_unheard(shard);
        }
        conn_sweep(shard);
        request_sweep(shard);
        download_sweep(shard);
        log_flush(&shard->log);
        if (shard->draining && shard->now_seconds >= shard->drain_until)
                end_all(shard);
        accept_tick(shard);
        trim(shard);
        take_gauges(shard);
        berth_timer_start(shard->port, &shard->tick, TICK_MS);
}

/* ---- starting ---- */

static uint32_t share(const struct shard *shard, uint32_t whole)
{
        return budget_share(whole, shard->index, shard->server->planned_shards);
}

/* Who accepts for all counts all. */
static uint32_t most_handles(const struct shard *shard)
{
        uint32_t whole = shard->server->budget.connections;
        return shard->server->handing && shard->index == 0 ? whole : share(shard, whole);
}

static int start_port(struct shard *shard)
{
        const struct server *server = shard->server;
        const struct budget *budget = &server->budget;
        uint32_t conns = share(shard, budget->connections);
        struct berth_port_config config = {
                .engine = server->options.engine,
                .max_ops = conns + 4 * share(shard, budget->active) + (1 << 16),
                .max_handles = most_handles(shard),
                .buffers = BUFFER_COUNT,
                .buffer_bytes = BUFFER_BYTES,
                .workers = server->workers,
                .file_buffers = max_of(share(shard, budget->sends), 1u),
                .rested = conn_rested,
                .seed = shard->seed,
                .fault_per_mille = shard->fault_per_mille,
                .accept_depth = server->options.accept_depth,
                .accept_data_ms = server->options.accept_data ? server->options.head_seconds * 1000 : 0,
                .send_depth = server->options.send_depth,
        };
        struct store_config store = {
                .root = server->root,
                .links = server->options.links,
                .max_files = max_of(share(shard, budget->files), 1u),
                .content_bytes = budget->content_bytes / server->planned_shards,
        };
        int error = berth_port_create(&shard->port, &config);
        if (error)
                return error;
        store.port = shard->port;
        error = store_create(&shard->store, &store);
        return error ? error : log_writer_init(&shard->log, &shard->server->log, shard->port);
}

static void make_pools(struct shard *shard)
{
        const struct budget *budget = &shard->server->budget;
        slab_init(&shard->conns, sizeof(struct conn), 1000, share(shard, budget->connections));
        slab_init(&shard->actives, sizeof(struct active), 300, share(shard, budget->active));
        slab_init(&shard->requests, sizeof(struct request), 8, share(shard, budget->requests));
        slab_init(&shard->downloads, sizeof(struct download), 200, share(shard, budget->sends));
        shard->max_changes = max_of(share(shard, budget->changes), 1u);
        slab_init(&shard->changes, sizeof(struct change), 8, shard->max_changes);
        shard->max_sends = share(shard, budget->sends);
        shard->max_listings = max_of(share(shard, budget->listings), 1u);
        shard->max_long_heads = max_of(share(shard, budget->long_heads), 1u);
}

static void make_lists(struct shard *shard)
{
        struct list *const lists[] = {
                &shard->hot,       &shard->fresh,   &shard->resting,     &shard->waiting,   &shard->readable,
                &shard->ending,    &shard->active,  &shard->for_listing, &shard->for_send,  &shard->for_change,
                &shard->for_check, &shard->sending, &shard->lingering,   &shard->gathering,
        };
        for (size_t i = 0; i < array_count(lists); i++)
                list_init(lists[i]);
}

int shard_start(struct shard *shard)
{
        shard_here = shard;
        make_lists(shard);
        make_pools(shard);
        int error = blocks_init(&shard->blocks, share(shard, shard->server->budget.blocks));
        if (!error)
                error = start_port(shard);
        if (error)
                return error;
        shard->started_ms = berth_port_now_ms(shard->port);
        for (unsigned i = 0; i < SHARD_MESSAGES; i++)
                shard->messages[i].done = message_arrived;
        error = access_take(shard);
        if (!error)
                error = accept_listen(shard);
        if (error)
                return error;
        shard->tick.op.done = tick;
        berth_timer_start(shard->port, &shard->tick, TICK_MS);
        take_gauges(shard);
        return 0;
}

static void refuse_messages(struct shard *shard)
{
        pthread_mutex_lock(&shard->server->messages);
        shard->gone = true;
        pthread_mutex_unlock(&shard->server->messages);
}

/* Waits for what is in flight: closes, the last log lines, a message that came late. */
void shard_stop(struct shard *shard)
{
        refuse_messages(shard);
        int n = shard->port ? berth_port_run(shard->port, 0) : 0;
        while (n >= 0 && shard->port && berth_port_in_flight(shard->port) > 0)
                n = berth_port_run(shard->port, -1);
        log_writer_finish(&shard->log);
        accept_finish(shard);
        slab_finish(&shard->changes);
        blocks_finish(&shard->blocks);
        access_leave(shard);
        slab_finish(&shard->downloads);
        slab_finish(&shard->requests);
        slab_finish(&shard->actives);
        slab_finish(&shard->conns);
        berth_port_destroy(shard->port);
}

bool shard_turn(struct shard *shard, int timeout_ms)
{
        shard->turns++;
        int n = berth_port_run(shard->port, list_empty(&shard->gathering) ? timeout_ms : 0);
        if (n < 0) {
                complain("the %s engine failed: %s", berth_port_engine(shard->port), error_text(-n));
                abort();
        }
        shard->now_seconds = (uint32_t)((berth_port_now_ms(shard->port) - shard->started_ms) / 1000);
        conn_admit(shard);
        change_write_gathered(shard);
        if (!list_empty(&shard->for_listing) || !list_empty(&shard->for_send) || !list_empty(&shard->for_change) ||
            !list_empty(&shard->for_check))
                request_admit(shard);
        if (!list_empty(&shard->ending))
                conn_end_some(shard);
        if (shard->draining && shard->conns.used == 0 && !shard->ended && hand_is_over(shard))
                finish(shard);
        return !shard->ended;
}

/* What a start that failed has opened is closed again. */
static void give_up(struct shard *shard)
{
        hand_end(shard);
        if (!shard->port)
                return;
        accept_close(shard);
        if (shard->store)
                store_destroy(shard->store, store_gone, shard);
}

void *shard_run(void *argument)
{
        struct shard *shard = argument;
        int error = shard_start(shard);
        shard->error = error;
        if (error) {
                atomic_store(&shard->full, true); /* nobody hands it anything */
                refuse_messages(shard);
        }
        pthread_barrier_wait(shard->ready);
        if (error)
                give_up(shard);
        else
                while (shard_turn(shard, -1))
                        ;
        shard_stop(shard);
        return NULL;
}
