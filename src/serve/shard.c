/* A shard: one thread with a port of its own. It accepts, once a second looks after deadlines, and when it is told to
 * drain, stops accepting, lets requests finish, and ends when nothing is left.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

_Thread_local struct shard *shard_here;

enum { TICK_MS = 1000, SHED_AT_ONCE = 16 };

struct span shard_date(struct shard *shard)
{
        int64_t now = clock_unix_seconds();
        if (now != shard->date_seconds) {
                shard->date_seconds = now;
                http_format_date(shard->date, now);
        }
        return (struct span){ shard->date, sizeof(shard->date) };
}

/* ---- accepting ---- */

static void start_accepts(struct shard *shard)
{
        shard->accept_paused = false;
        for (unsigned i = 0; i < shard->server->listeners.count; i++) {
                struct accepting *listener = &shard->listeners[i];
                if (listener->armed || listener->socket.kind == 0)
                        continue;
                listener->armed = true;
                berth_accept(shard->port, &listener->op, &listener->socket);
        }
}

static void pause_accepts(struct shard *shard)
{
        shard->accept_paused = true;
        for (unsigned i = 0; i < shard->server->listeners.count; i++)
                if (shard->listeners[i].armed)
                        berth_cancel(shard->port, &shard->listeners[i].op);
}

/* Ended: the kernel has no room (then the longest idle go, and the next one gone or the next tick tries again), or we
 * paused, or the listener is closing. */
static void accept_ended(struct shard *shard, struct accepting *listener)
{
        listener->armed = false;
        if (shard->draining)
                return;
        if (listener->op.result != -ECANCELED) {
                pause_accepts(shard);
                conn_shed(shard, SHED_AT_ONCE);
        } else if (!shard->accept_paused) { /* room was made before our pause had taken effect */
                start_accepts(shard);
        }
}

static void accepted(struct berth_op *op)
{
        struct accepting *listener = container_of(op, struct accepting, op);
        struct shard *shard = shard_here;
        if (op->result >= 0) {
                conn_begin(shard, op->result);
                if (shard->conns.used >= shard->server->max_conns && !shard->accept_paused) {
                        pause_accepts(shard);
                        conn_shed(shard, SHED_AT_ONCE);
                }
        }
        if (!(op->flags & BERTH_MORE))
                accept_ended(shard, listener);
}

void shard_conn_gone(struct shard *shard)
{
        if (shard->accept_paused && !shard->draining && shard->conns.used < shard->server->max_conns)
                start_accepts(shard);
}

/* ---- draining ---- */

static void listener_closed(struct berth_op *op)
{
        (void)op;
}

static void close_listeners(struct shard *shard)
{
        for (unsigned i = 0; i < shard->server->listeners.count; i++) {
                struct accepting *listener = &shard->listeners[i];
                if (listener->socket.kind == 0 || listener->socket.closer)
                        continue;
                listener->closing.done = listener_closed;
                berth_close(shard->port, &listener->closing, &listener->socket, 0);
        }
}

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
        close_listeners(shard);
        conn_end_quiet(shard);
        request_end_unheard(shard);
}

/* What has not finished in time is cut off. */
static void end_all(struct shard *shard)
{
        conn_end_quiet(shard);
        while (!list_empty(&shard->waiting))
                conn_end(container_of(shard->waiting.next, struct conn, node), true);
        struct list *node = shard->active.next;
        while (node != &shard->active) {
                struct request *r = container_of(node, struct request, node);
                node = node->next;
                conn_end(r->conn, true);
        }
}

static void message_arrived(struct berth_op *op)
{
        struct shard *shard = shard_here;
        drain(shard);
        if (op->result == SHARD_END)
                end_all(shard);
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

/* The bound may have been reached by connections that were all busy then; those resting by now give way. */
static void resume_accepts(struct shard *shard)
{
        if (shard->conns.used < shard->server->max_conns)
                start_accepts(shard);
        else
                conn_shed(shard, SHED_AT_ONCE);
}

static void tick(struct berth_op *op)
{
        struct shard *shard = shard_here;
        if (op->result < 0 || shard->ended)
                return;
        conn_sweep(shard);
        request_sweep(shard);
        log_flush(&shard->log);
        if (shard->draining && shard->now_seconds >= shard->drain_until)
                end_all(shard);
        else if (shard->accept_paused && !shard->draining)
                resume_accepts(shard);
        berth_timer_start(shard->port, &shard->tick, TICK_MS);
}

/* ---- starting ---- */

static int listen_all(struct shard *shard)
{
        const struct listener_set *set = &shard->server->listeners;
        for (unsigned i = 0; i < set->count; i++) {
                const struct listener_spec *spec = &set->specs[i];
                struct accepting *listener = &shard->listeners[i];
                listener->op.done = accepted;
                int error = spec->descriptor >= 0
                                    ? listener_share(shard->port, &listener->socket, spec)
                                    : berth_listen(shard->port, &listener->socket,
                                                   (const struct sockaddr *)&spec->address, spec->address_bytes,
                                                   BACKLOG, shard->server->planned_shards > 1 ? BERTH_REUSE_PORT : 0);
                if (error)
                        return error;
        }
        return 0;
}

static int start_port(struct shard *shard)
{
        const struct server *server = shard->server;
        struct berth_port_config config = {
                .engine = server->options.engine,
                .buffers = BUFFER_COUNT,
                .buffer_bytes = BUFFER_BYTES,
                .workers = server->workers,
        };
        struct store_config store = {
                .root = server->root,
                .links = server->options.links,
                .max_files = server->max_files,
                .content_bytes = CONTENT_BYTES,
        };
        int error = berth_port_create(&shard->port, &config);
        if (error)
                return error;
        store.port = shard->port;
        error = store_create(&shard->store, &store);
        if (error)
                return error;
        error = log_writer_init(&shard->log, &shard->server->log, shard->port);
        return error ? error : listen_all(shard);
}

static int start(struct shard *shard)
{
        list_init(&shard->hot);
        list_init(&shard->resting);
        list_init(&shard->waiting);
        list_init(&shard->active);
        list_init(&shard->for_listing);
        int error = slab_init(&shard->conns, sizeof(struct conn), 512, CONN_RECORDS);
        if (!error)
                error = slab_init(&shard->requests, sizeof(struct request), 16, MAX_REQUESTS);
        if (!error)
                error = start_port(shard);
        if (error)
                return error;
        shard->started_ms = berth_port_now_ms(shard->port);
        for (unsigned i = 0; i < SHARD_MESSAGES; i++)
                shard->messages[i].done = message_arrived;
        shard->tick.op.done = tick;
        berth_timer_start(shard->port, &shard->tick, TICK_MS);
        start_accepts(shard);
        return 0;
}

static void refuse_messages(struct shard *shard)
{
        pthread_mutex_lock(&shard->server->messages);
        shard->gone = true;
        pthread_mutex_unlock(&shard->server->messages);
}

/* Waits for what is in flight: closes, the last log lines, a message that came late. */
static void stop(struct shard *shard)
{
        int n = shard->port ? berth_port_run(shard->port, 0) : 0;
        while (n >= 0 && shard->port && berth_port_in_flight(shard->port) > 0)
                n = berth_port_run(shard->port, -1);
        log_writer_finish(&shard->log);
        slab_finish(&shard->requests);
        slab_finish(&shard->conns);
        berth_port_destroy(shard->port);
}

static void serve(struct shard *shard)
{
        while (!shard->ended) {
                int n = berth_port_run(shard->port, -1);
                if (n < 0) {
                        complain("the %s engine failed: %s", berth_port_engine(shard->port), strerror(-n));
                        abort();
                }
                shard->now_seconds = (uint32_t)((berth_port_now_ms(shard->port) - shard->started_ms) / 1000);
                if (!list_empty(&shard->waiting))
                        conn_admit(shard);
                if (!list_empty(&shard->for_listing))
                        request_admit_listings(shard);
                if (shard->draining && shard->conns.used == 0)
                        finish(shard);
        }
}

void *shard_run(void *argument)
{
        struct shard *shard = argument;
        shard_here = shard;
        shard->error = start(shard);
        bool failed = shard->error != 0;
        if (failed)
                refuse_messages(shard);
        pthread_barrier_wait(shard->ready);
        if (!failed) {
                serve(shard);
                refuse_messages(shard);
        } else if (shard->port) {
                close_listeners(shard);
                if (shard->store)
                        store_destroy(shard->store, store_gone, shard);
        }
        stop(shard);
        return NULL;
}
