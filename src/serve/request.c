/* The driver of requests: a table of steps, run until one waits. request_resume(), request_opened() and
 * request_called() are the only callbacks; nothing is freed while an op is in flight.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

static enum next (*const steps[STEP_COUNT])(struct request *r) = {
        [STEP_READ_HEAD] = step_read_head,
        [STEP_PEER] = step_peer,
        [STEP_CONTINUE] = step_continue,
        [STEP_SKIP_BODY] = step_skip_body,
        [STEP_ROUTE] = step_route,
        [STEP_FIND] = step_find,
        [STEP_OPENED] = step_opened,
        [STEP_VARIANT] = step_variant,
        [STEP_VARIANT_OPENED] = step_variant_opened,
        [STEP_CONDITIONS] = step_conditions,
        [STEP_SEND_RANGES] = step_send_ranges,
        [STEP_FOLDER] = step_folder,
        [STEP_INDEX_OPENED] = step_index_opened,
        [STEP_LIST] = step_list,
        [STEP_LIST_FILLED] = step_list_filled,
        [STEP_LIST_SENT] = step_list_sent,
        [STEP_SENT_WHOLE] = step_sent_whole,
        [STEP_SENT] = step_sent,
        [STEP_FINISH] = step_finish,
        [STEP_LINGER] = step_linger,
        [STEP_LINGERING] = step_lingering,
};

/* ---- taking one from the pool and giving it back ---- */

/* Everything before `head` starts from zero; the large rest is written before it is read. */
static void reset(struct request *r, struct shard *shard, struct conn *conn, struct chain input)
{
        memset(r, 0, offsetof(struct request, head));
        r->shard = shard;
        r->conn = conn;
        r->input = input;
        r->head.data = r->early;
        r->deadline = shard->now_seconds + HEAD_SECONDS;
        r->op.done = request_resume;
        r->opening.done = request_opened;
        r->call.op.done = request_called;
        list_init(&r->place);
        list_append(&shard->active, &r->node);
}

struct request *request_begin(struct conn *conn)
{
        struct shard *shard = shard_here;
        struct request *r = slab_take(&shard->requests);
        if (!r)
                return NULL;
        reset(r, shard, conn, conn->held);
        conn_busy(conn, r);
        return r;
}

/* Once a request, also for one that was cut off: then with the bytes that went out. */
static void log_request(struct request *r)
{
        if (r->shard->server->log.descriptor < 0 || !r->head_seen || r->status == 0)
                return;
        uint64_t unsent = r->op.result < 0 ? r->op_body : 0;
        if (r->send_file.file)
                unsent = r->send_file.length - r->send_file.file_sent;
        struct log_line line = {
                .head = &r->head,
                .peer = &r->peer,
                .status = r->status,
                .body_bytes = r->sent_body - unsent,
                .microseconds = clock_us() - r->started_us,
        };
        log_write(&r->shard->log, &line);
        r->head_seen = false;
}

/* What one request held beside its place in the pool. */
static void let_go(struct request *r)
{
        struct shard *shard = r->shard;
        ensure(!r->in_flight);
        log_request(r);
        store_release(shard->store, r->file);
        if (r->has_place)
                shard->listings--;
        if (r->listing)
                listing_destroy(r->listing);
        free(r->chunk);
        if (r->long_head)
                shard->long_heads--;
        free(r->long_head);
        list_remove(&r->place);
        list_remove(&r->node);
}

void request_release(struct request *r)
{
        struct shard *shard = r->shard;
        let_go(r);
        chain_free(shard, &r->input);
        slab_give(&shard->requests, r);
}

/* ---- running ---- */

void request_run(struct request *r)
{
        enum next next;
        do
                next = steps[r->step](r);
        while (next == NEXT_GO);
}

static void came_back(struct request *r)
{
        ensure(r->in_flight);
        r->in_flight = false;
        r->on_socket = false;
        if (conn_state(r->conn) == CONN_CLOSING)
                conn_join(r->conn);
        else
                request_run(r);
}

void request_resume(struct berth_op *op)
{
        came_back(container_of(op, struct request, op));
}

/* A connection that is closing has no use for the file: the release at the join takes it. */
void request_opened(struct store_opening *opening)
{
        struct request *r = container_of(opening, struct request, opening);
        if (opening->result == 0 && conn_state(r->conn) == CONN_CLOSING)
                store_release(r->shard->store, opening->file);
        came_back(r);
}

void request_called(struct berth_op *op)
{
        came_back(container_of(op, struct request, call.op));
}

void request_input(struct request *r)
{
        if (!r->wants_input)
                return;
        r->wants_input = false;
        request_run(r);
}

/* ---- the end of a request ---- */

enum next step_sent(struct request *r)
{
        if (r->op.result < 0) {
                r->keep_alive = false;
                conn_end(r->conn, r->op.result == -EIO); /* the file fell short: a reset tells, an end would not */
                return NEXT_GONE;
        }
        return go(r, STEP_FINISH);
}

enum next step_finish(struct request *r)
{
        struct shard *shard = r->shard;
        struct conn *conn = r->conn;
        log_request(r);
        if (!r->keep_alive || (shard->draining && chain_empty(&r->input)))
                return go(r, STEP_LINGER);
        if (!chain_empty(&r->input)) {
                let_go(r);
                reset(r, shard, conn, r->input);
                return NEXT_GO;
        }
        request_release(r);
        conn_quiet(conn);
        return NEXT_GONE;
}

/* A close with unread bytes, or bytes that come later, makes the kernel send a reset, which can take the answer away
 * from a client that has not read it yet. So: our end first, then wait a moment for the client's (RFC 9112 9.6). */
enum next step_linger(struct request *r)
{
        if (conn_input_ended(r->conn)) {
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        r->deadline = r->shard->now_seconds + LINGER_SECONDS;
        berth_shutdown(r->shard->port, &r->op, &r->conn->socket);
        return wait_for(r, STEP_LINGERING);
}

enum next step_lingering(struct request *r)
{
        chain_free(r->shard, &r->input);
        if (conn_input_ended(r->conn)) {
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        conn_receive(r->conn);
        return wait_for_input(r, STEP_LINGERING);
}

/* ---- waiting for a place ---- */

void request_admit_listings(struct shard *shard)
{
        while (shard->listings < MAX_LISTINGS && !list_empty(&shard->for_listing)) {
                struct request *r = container_of(shard->for_listing.next, struct request, place);
                list_remove(&r->place);
                request_run(r);
        }
}

void request_end_unheard(struct shard *shard)
{
        struct list *node = shard->active.next;
        while (node != &shard->active) {
                struct request *r = container_of(node, struct request, node);
                node = node->next;
                if (r->step == STEP_READ_HEAD && r->wants_input)
                        conn_end(r->conn, false);
        }
}

/* ---- deadlines ---- */

/* A slow reader may take as long as it likes, as long as it takes something. */
static bool moves(struct request *r)
{
        uint64_t progress = r->send_file.head_sent + r->send_file.file_sent;
        bool moved = r->on_socket && progress != r->progress;
        r->progress = progress;
        if (moved)
                r->deadline = r->shard->now_seconds + STALL_SECONDS;
        return moved;
}

static void overdue(struct request *r)
{
        bool mute = r->step == STEP_READ_HEAD && r->early_size == 0;
        if (r->wants_input && r->step == STEP_READ_HEAD && !mute) {
                r->wants_input = false;
                respond_error(r, 408, NULL);
        } else if (!list_empty(&r->place)) {
                list_remove(&r->place);
                respond_error(r, 503, "Retry-After: 10\r\n");
        } else {
                conn_end(r->conn, r->on_socket);
        }
}

void request_sweep(struct shard *shard)
{
        struct list *node = shard->active.next;
        while (node != &shard->active) {
                struct request *r = container_of(node, struct request, node);
                node = node->next;
                bool waits = r->wants_input || r->on_socket || r->step == STEP_LINGERING || !list_empty(&r->place);
                if (waits && conn_state(r->conn) != CONN_CLOSING && !moves(r) && shard->now_seconds >= r->deadline)
                        overdue(r);
        }
}
