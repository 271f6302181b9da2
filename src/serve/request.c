/* The driver of requests: a table of steps, run until one waits. request_resume(), request_opened() and
 * request_called() are the only callbacks; nothing is freed while an op is in flight.
 */
#include "serve/change.h"
#include "serve/serve_priv.h"
#include "serve/transport.h"

#include <errno.h>
#include <stdlib.h>

static enum next (*const steps[STEP_COUNT])(struct request *r) = {
        [STEP_READ_HEAD] = step_read_head,
        [STEP_PEER] = step_peer,
        [STEP_ACCESS] = step_access,
        [STEP_ACCESS_CHECK] = step_access_check,
        [STEP_ACCESS_CHECKED] = step_access_checked,
        [STEP_ACCESS_REFUSED] = step_access_refused,
        [STEP_CONTINUE] = step_continue,
        [STEP_SKIP_BODY] = step_skip_body,
        [STEP_CHANGE] = step_change,
        [STEP_BEGIN] = step_begin,
        [STEP_BEGUN] = step_begun,
        [STEP_RECEIVE] = step_receive,
        [STEP_WRITTEN] = step_written,
        [STEP_RUN] = step_run,
        [STEP_RAN] = step_ran,
        [STEP_CHANGED] = step_changed,
        [STEP_ROUTE] = step_route,
        [STEP_FIND] = step_find,
        [STEP_OPENED] = step_opened,
        [STEP_VARIANT] = step_variant,
        [STEP_VARIANT_OPENED] = step_variant_opened,
        [STEP_CONDITIONS] = step_conditions,
        [STEP_DIGEST] = step_digest,
        [STEP_DIGESTED] = step_digested,
        [STEP_SEND] = step_send,
        [STEP_SEND_RANGES] = step_send_ranges,
        [STEP_FOLDER] = step_folder,
        [STEP_INDEX_OPENED] = step_index_opened,
        [STEP_LIST] = step_list,
        [STEP_LIST_FILLED] = step_list_filled,
        [STEP_LIST_SENT] = step_list_sent,
        [STEP_SENT_WHOLE] = step_sent_whole,
        [STEP_SENT] = step_sent,
        [STEP_FINISH] = step_finish,
};

/* ---- taking one from the pool and giving it back ---- */

/* Everything before `head` starts from zero; the large rest is written before it is read. */
static void reset(struct request *r, struct shard *shard, struct conn *conn)
{
        memset(r, 0, offsetof(struct request, head));
        r->shard = shard;
        r->conn = conn;
        r->head.data = r->early;
        r->user[0] = '\0';
        r->deadline = shard->now_seconds + shard->server->options.head_seconds;
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
        reset(r, shard, conn);
        conn_busy(conn, r);
        return r;
}

void request_note(struct shard *shard, enum http_method method, const struct log_line *line)
{
        count_add(&shard->counters.sent_bytes, line->body_bytes);
        metrics_request(&shard->counters, method, line->status, line->body_bytes, line->microseconds);
        if (shard->server->log.descriptor >= 0)
                log_write(&shard->log, line);
}

/* Of the answer's body, what the latest send was to carry and did not. */
static uint64_t unsent(const struct request *r)
{
        if (r->send_file.file && !r->from_memory)
                return r->send_file.length - r->send_file.file_sent;
        return r->op.result < 0 ? r->op_body : 0;
}

/* Once a request, also for one that was cut off: then with the bytes that went out. */
static void note_request(struct request *r)
{
        if (!r->head_seen || r->status == 0)
                return;
        struct log_line line = {
                .method = r->head.method_name,
                .target = r->head.target,
                .referer = http_field(&r->head, HTTP_REFERER),
                .agent = http_field(&r->head, HTTP_USER_AGENT),
                .user = span_of(r->user),
                .minor = r->head.minor,
                .peer = (const struct sockaddr *)&r->conn->active->peer,
                .status = r->status,
                .body_bytes = r->sent_body - unsent(r),
                .microseconds = clock_us() - r->started_us,
        };
        request_note(r->shard, r->head.method, &line);
        r->head_seen = false;
}

/* What one request held beside its place in the pool. */
static void let_go(struct request *r)
{
        struct shard *shard = r->shard;
        ensure(!r->in_flight);
        note_request(r);
        access_let_go(r);
        store_release(shard->store, r->file);
        shard->listings -= r->has_listing;
        shard->sends -= r->has_send;
        shard->multiparts -= r->has_parts;
        if (r->listing)
                listing_destroy(r->listing);
        free(r->chunk);
        change_release(r->change);
        digests_destroy(r->digests);
        shard->changing -= r->has_change;
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
        r->conn->active->request = NULL;
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

/* What a send from memory had sent when it was cancelled, told as a send_file tells it. */
static void note_progress(struct request *r)
{
        if (!r->from_memory)
                return;
        size_t sent = transport_sent(&r->op);
        r->send_file.head_sent = min_of(sent, (size_t)r->send_file.head_bytes);
        r->send_file.file_sent = sent - r->send_file.head_sent;
        r->from_memory = false;
}

/* The send was cancelled to be handed to a download. Where that cannot be it goes on here. */
static void hand_over(struct request *r)
{
        struct berth_send_file *file = &r->send_file;
        note_progress(r);
        if (download_begin(r))
                return;
        file->head = (const char *)file->head + file->head_sent;
        file->head_bytes -= (uint32_t)file->head_sent;
        file->offset += file->file_sent;
        file->length -= file->file_sent;
        transport_send_file(r->conn, &r->op, file);
        wait_for_send(r, r->step);
}

void request_came_back(struct request *r)
{
        ensure(r->in_flight);
        bool handing = r->handing && r->op.result == -ECANCELED;
        r->in_flight = false;
        r->on_socket = false;
        r->handing = false;
        if (conn_state(r->conn) == CONN_CLOSING)
                conn_join(r->conn);
        else if (handing)
                hand_over(r);
        else
                request_run(r);
}

void request_resume(struct berth_op *op)
{
        request_came_back(container_of(op, struct request, op));
}

/* A connection that is closing has no use for the file: the release at the join takes it. */
void request_opened(struct store_opening *opening)
{
        struct request *r = container_of(opening, struct request, opening);
        if (opening->result == 0 && conn_state(r->conn) == CONN_CLOSING)
                store_release(r->shard->store, opening->file);
        request_came_back(r);
}

void request_called(struct berth_op *op)
{
        request_came_back(container_of(op, struct request, call.op));
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
                conn_failed(r->conn, r->op.result);
                return NEXT_GONE;
        }
        return go(r, STEP_FINISH);
}

enum next step_finish(struct request *r)
{
        struct shard *shard = r->shard;
        struct conn *conn = r->conn;
        bool more = !chain_empty(request_held(r));
        bool kept = r->keep_alive && (more || !shard->draining);
        if (kept && more) {
                let_go(r);
                reset(r, shard, conn);
                return NEXT_GO;
        }
        request_release(r);
        if (kept)
                conn_next(conn);
        else
                conn_linger(conn);
        return NEXT_GONE;
}

/* ---- waiting for a place ---- */

static void no_place(struct request *r)
{
        refused(r->shard, r->step == STEP_SEND           ? REFUSED_SENDS
                          : r->step == STEP_CHANGE       ? REFUSED_CHANGES
                          : r->step == STEP_ACCESS_CHECK ? REFUSED_AUTH
                                                         : REFUSED_LISTINGS);
        list_remove(&r->place);
        if (r->step == STEP_CHANGE)
                r->keep_alive = false;
        respond_error(r, 503, "Retry-After: 10\r\n");
}

/* What came behind the head is given up when many buffers are held: a body that is needed ends the request with it. True
 * when it is answered. */
static bool give_up_ahead(struct request *r)
{
        bool needed = r->step == STEP_CHANGE || r->step == STEP_ACCESS_CHECK;
        if (r->shard->pieces_held <= MAX_SURPLUS || chain_empty(request_held(r)))
                return false;
        chain_free(r->shard, request_held(r));
        r->keep_alive = false;
        if (needed)
                no_place(r);
        return needed;
}

enum next request_wait_for_place(struct request *r, struct list *queue)
{
        if (give_up_ahead(r))
                return NEXT_WAIT;
        r->deadline = r->shard->now_seconds + PLACE_SECONDS;
        list_append(queue, &r->place);
        return NEXT_WAIT;
}

/* Who waits already comes first, so a place is free only when nobody does. */
bool request_take_place(struct list *queue, uint32_t *taken, uint32_t most)
{
        if (*taken >= most || !list_empty(queue))
                return false;
        ++*taken;
        return true;
}

static struct request *first_for_place(struct list *queue)
{
        struct request *r = container_of(queue->next, struct request, place);
        list_remove(&r->place);
        return r;
}

void request_admit(struct shard *shard)
{
        while (shard->listings < shard->max_listings && !list_empty(&shard->for_listing)) {
                struct request *r = first_for_place(&shard->for_listing);
                shard->listings++;
                r->has_listing = true;
                request_run(r);
        }
        while (shard->changing < shard->max_changes && !list_empty(&shard->for_change)) {
                struct request *r = first_for_place(&shard->for_change);
                shard->changing++;
                r->has_change = true;
                request_run(r);
        }
        while (shard->sends < shard->max_sends && !list_empty(&shard->for_send)) {
                struct request *r = first_for_place(&shard->for_send);
                shard->sends++;
                r->has_send = true;
                request_run(r);
        }
        while (shard->checks < MAX_CHECKS && !list_empty(&shard->for_check)) {
                struct request *r = first_for_place(&shard->for_check);
                shard->checks++;
                r->has_check = true;
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

/* A body may be some seconds behind the least rate; where there is none it must move at all. */
static bool body_is_late(struct request *r)
{
        unsigned rate = r->shard->server->options.body_rate;
        uint32_t now = r->shard->now_seconds;
        if (rate)
                return now - r->body_since >= BODY_SECONDS + r->body_skipped / rate;
        if (r->progress != r->body_skipped)
                r->deadline = now + STALL_SECONDS;
        r->progress = r->body_skipped;
        return now >= r->deadline;
}

void request_head_unknown(struct request *r)
{
        r->head = (struct http_head){ .method = HTTP_METHOD_OTHER };
        r->head_seen = true;
        r->started_us = clock_us();
}

static void too_late(struct request *r, enum refusal_reason reason)
{
        refused(r->shard, reason);
        r->wants_input = false;
        if (!r->head_seen)
                request_head_unknown(r);
        respond_error(r, 408, NULL);
}

bool request_refuse_body(struct request *r)
{
        if (list_empty(&r->place) || (r->step != STEP_CHANGE && r->step != STEP_ACCESS_CHECK))
                return false;
        r->keep_alive = false;
        no_place(r);
        return true;
}

static void overdue(struct request *r)
{
        if (!list_empty(&r->place)) {
                no_place(r);
        } else if (r->on_socket) {
                refused(r->shard, STALLED_READER);
                conn_end(r->conn, true);
        } else if (r->step == STEP_READ_HEAD && r->early_size > 0) {
                too_late(r, LATE_HEAD);
        } else { /* after an answer, or a line end, nothing more has come */
                conn_end(r->conn, false);
        }
}

static bool is_slow(const struct request *r)
{
        return r->on_socket && r->send_file.file && !r->handing &&
               (r->step == STEP_SENT || r->step == STEP_SENT_WHOLE) &&
               r->shard->now_seconds - r->send_since > SLOW_SECONDS;
}

/* Linux 6.18 and others may forget a multishot receive when the peer's last bytes and its end, or its reset, come in
 * one breath (github.com/axboe/liburing/issues/1549): who has been silent since the last look is listened to anew. */
static void listen_anew(struct request *r)
{
        uint64_t heard = r->early_size + r->body_skipped;
        if (heard == r->heard)
                conn_receive_anew(r->conn);
        r->heard = heard;
}

static void look_after(struct request *r)
{
        bool reads_body = (r->step == STEP_SKIP_BODY || r->step == STEP_RECEIVE) && r->wants_input;
        bool waits = r->wants_input || r->on_socket || !list_empty(&r->place);
        if (!waits || conn_state(r->conn) == CONN_CLOSING)
                return;
        if (r->wants_input)
                listen_anew(r);
        if (is_slow(r)) {
                r->handing = true;
                berth_cancel(r->shard->port, &r->op);
        } else if (reads_body) {
                if (body_is_late(r))
                        too_late(r, LATE_BODY);
        } else if (!moves(r) && r->shard->now_seconds >= r->deadline) {
                overdue(r);
        }
}

void request_sweep(struct shard *shard)
{
        struct list *node = shard->active.next;
        while (node != &shard->active) {
                struct request *r = container_of(node, struct request, node);
                node = node->next;
                look_after(r);
        }
}
