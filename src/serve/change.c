/* The steps of requests that change something; change.h tells their order. */
#include "serve/change.h"
#include "serve/transport.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_SKIPPED_AFTER_REFUSAL = 256 << 10 };

/* ---- methods ---- */

static int nothing_to_prepare(struct change *c)
{
        (void)c;
        return 0;
}

static const struct method {
        int (*prepare)(struct change *c);
        int (*run)(struct change *c);
        bool xml; /* its body is */
} methods[HTTP_METHODS] = {
        [HTTP_PROPFIND] = { find_prepare, find_run, true },
        [HTTP_PUT] = { put_prepare, put_run, false },
        [HTTP_PATCH] = { put_prepare, put_run, false },
        [HTTP_DELETE] = { delete_prepare, delete_run, false },
        [HTTP_MKCOL] = { nothing_to_prepare, make_folder_run, false },
        [HTTP_COPY] = { tree_prepare, copy_run, false },
        [HTTP_MOVE] = { tree_prepare, move_run, false },
        [HTTP_PROPPATCH] = { nothing_to_prepare, patch_properties_run, true },
        [HTTP_LOCK] = { lock_prepare, lock_run, true },
        [HTTP_UNLOCK] = { lock_prepare, unlock_run, false },
        [HTTP_LINK] = { tree_prepare, link_run, false },
};

static const struct method *method_of(const struct change *c)
{
        return &methods[c->request->head.method];
}

/* ---- making one and giving it back ---- */

static void gone(struct berth_op *op)
{
        struct change *c = container_of(op, struct change, call.op);
        if (op->result == -EBUSY || op->result == -ECANCELED) /* the workers have not taken it */
                store_upload_destroy(c->upload);
        c->shard->changing--;
        slab_give(&c->shard->changes, c);
}

/* What was received of a large upload takes its time to be gone. */
static int64_t destroy_upload(struct berth_call *call)
{
        store_upload_destroy(container_of(call, struct change, call)->upload);
        return 0;
}

void change_release(struct change *c)
{
        if (!c)
                return;
        struct shard *shard = c->shard;
        chain_free(shard, &c->writing);
        list_remove(&c->gathering);
        flow_end(c);
        access_drop(c->access);
        shard->xml_bytes -= c->xml_bytes;
        find_destroy(c->find);
        dav_body_destroy(c->xml);
        digests_destroy(c->digests);
        free(c->page);
        if (c->upload) {
                c->call.call = destroy_upload;
                c->call.op.done = gone;
                berth_call(shard->port, &c->call);
                return;
        }
        shard->changing--;
        slab_give(&shard->changes, c);
}

static struct change *change_begin(struct request *r)
{
        struct change *c = slab_take(&r->shard->changes);
        if (!c)
                return NULL;
        memset(c, 0, offsetof(struct change, fields));
        c->part_size = 0;
        c->token[0] = c->conflict[0] = c->destination[0] = '\0';
        c->conditions.count = 0;
        c->request = r;
        c->shard = r->shard;
        c->access = r->shard->access ? access_hold(r->shard->access) : NULL;
        chain_init(&c->writing);
        list_init(&c->gathering);
        r->change = c;
        return c;
}

/* ---- the answer's parts ---- */

void change_field(struct change *c, const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        size_t room = sizeof(c->fields) - c->fields_size;
        int n = vsnprintf(c->fields + c->fields_size, room, format, arguments);
        va_end(arguments);
        if (n > 0 && (size_t)n < room)
                c->fields_size += (size_t)n;
        c->fields[c->fields_size] = '\0';
}

struct text change_page(struct change *c, size_t size)
{
        free(c->page);
        c->page = malloc(size);
        struct text out = text_in(c->page, c->page ? size : 0);
        text_put(&out, SPAN("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"));
        return out;
}

int change_page_done(struct change *c, const struct text *out, int status)
{
        if (!c->page)
                return 503;
        c->page_size = out->used;
        if (!out->overflow)
                return status;
        free(c->page);
        c->page = NULL;
        return 500;
}

int change_status(int64_t error)
{
        switch (error) {
        case 0:
                return 204;
        case -ENOENT:
        case -ENOTDIR:
                return 409;
        case -EISDIR:
                return 405;
        case -EEXIST:
                return 412;
        case -EACCES:
        case -EPERM:
        case -EROFS:
        case -EXDEV:
        case -ELOOP:
        case -EINVAL:
        case -ETXTBSY:
        case -EOPNOTSUPP:
                return 403;
        case -ENAMETOOLONG:
                return 414;
        case -ENOSPC:
        case -EDQUOT:
        case -E2BIG:
        case -EMLINK:
                return 507;
        case -EFBIG:
                return 413;
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case -ENOBUFS:
        case -EBUSY:
        case -EAGAIN:
        case -ECANCELED:
                return 503;
        default:
                return 500;
        }
}

/* ---- refusing ---- */

static bool has_body(const struct request *r)
{
        return r->head.chunked || r->head.content_length > 0;
}

/* The rest of a body that is short is read, so that the connection can be kept; a longer one may never end. */
static enum next refuse(struct request *r, int status)
{
        struct change *c = r->change;
        c->status = status;
        bool unread = has_body(r) && !c->body_complete;
        bool waits = r->head.expect_continue && !c->begun;
        if (!unread)
                return go(r, STEP_CHANGED);
        if (r->head.chunked || waits || r->body_left > MOST_SKIPPED_AFTER_REFUSAL) {
                r->keep_alive = false;
                return go(r, STEP_CHANGED);
        }
        return go(r, STEP_SKIP_BODY);
}

/* ---- the head ---- */

static int parse_conditions(struct change *c)
{
        struct span value = http_field(&c->request->head, HTTP_IF);
        c->conditional = value.data != NULL;
        return c->conditional ? -dav_parse_if(&c->conditions, value) : 0;
}

/* The path, and what every method understands. 0 or a status. */
static int prepare(struct change *c)
{
        struct request *r = c->request;
        const struct serve_options *options = &r->shard->server->options;
        int size = http_decode_path(r->path, r->head.path, &r->folder, &r->hidden);
        if (size < 0)
                return -size;
        r->path_size = (uint16_t)size;
        if (is_unseen(r->shard, r->hidden, (struct span){ r->path, (size_t)size }))
                return is_writing(r->head.method) ? 403 : 404;
        r->proxied = proxy_is_trusted(options, (const struct sockaddr *)&r->conn->active->peer);
        struct span sync = http_field(&r->head, HTTP_SYNC);
        c->durable = sync.data && span_equal(sync, SPAN("data"));
        int overwrite = dav_parse_overwrite(http_field(&r->head, HTTP_OVERWRITE));
        if (overwrite < 0)
                return -overwrite;
        c->overwrite = overwrite;
        int status = parse_conditions(c);
        if (!status)
                status = dictated_prepare(c);
        return status ? status : method_of(c)->prepare(c);
}

/* What kind of body there will be. 0 or a status. */
static int expect_body(struct change *c)
{
        static const enum dav_kind kinds[HTTP_METHODS] = {
                [HTTP_PROPFIND] = DAV_PROPFIND,
                [HTTP_PROPPATCH] = DAV_PROPPATCH,
                [HTTP_LOCK] = DAV_LOCKINFO,
        };
        const struct request *r = c->request;
        if (method_of(c)->xml) {
                c->body = BODY_XML;
                if (r->head.content_length > DAV_BODY_BYTES)
                        return 413;
                return dav_body_create(&c->xml, kinds[r->head.method]) ? 503 : 0;
        }
        if (r->head.method == HTTP_MKCOL && has_body(r))
                return 415;
        if (r->head.method == HTTP_PUT || r->head.method == HTTP_PATCH) {
                bool small = !r->head.chunked && r->head.content_length <= sizeof(r->out);
                c->body = small ? BODY_SMALL : BODY_UPLOAD;
        }
        return 0;
}

/* A large upload, or one that waits to be asked for its body, is first told whether it would be refused. */
static bool begins_early(const struct change *c)
{
        const struct request *r = c->request;
        return c->body == BODY_UPLOAD || (r->head.expect_continue && r->head.minor > 0 && has_body(r));
}

static enum next no_change(struct request *r)
{
        r->shard->changing--;
        r->keep_alive = false;
        refused(r->shard, REFUSED_MEMORY);
        return respond_error(r, 503, "Retry-After: 1\r\n");
}

enum next step_change(struct request *r)
{
        struct shard *shard = r->shard;
        if (!r->has_change)
                r->has_change = request_take_place(&shard->for_change, &shard->changing, shard->max_changes);
        if (!r->has_change)
                return request_wait_for_place(r, &shard->for_change);
        r->has_change = false; /* from now on it is the change's */
        struct change *c = change_begin(r);
        if (!c)
                return no_change(r);
        http_chunked_init(&r->body);
        c->body_complete = !has_body(r);
        int status = prepare(c);
        if (!status)
                status = expect_body(c);
        if (status)
                return refuse(r, status);
        if (c->body_complete)
                return go(r, STEP_RUN);
        return go(r, begins_early(c) ? STEP_BEGIN : STEP_RECEIVE);
}

/* ---- what would be refused, before the body comes ---- */

static int64_t begin_job(struct berth_call *call)
{
        struct change *c = container_of(call, struct request, call)->change;
        struct store_state now;
        int error = change_look(c, &now);
        if (error)
                return change_status(error);
        int status = gate_conditions(c, &now);
        if (!status)
                status = gate_locks(c, c->request->path, gate_effect_of(&now));
        if (status == 423)
                gate_tell_conflict(c);
        return status ? status : put_begin(c, &now);
}

/* A job's result: a status, or what kept the workers from taking it. */
static int status_of(const struct request *r)
{
        int64_t result = r->call.op.result;
        return (int)(result < 0 ? change_status(result) : result);
}

static enum next ask_for_body(struct request *r)
{
        r->change->begun = true;
        r->op.result = 0;
        r->body_since = r->shard->now_seconds;
        if (!r->head.expect_continue || r->head.minor == 0 || !chain_empty(request_held(r)))
                return go(r, STEP_RECEIVE);
        return send_continue(r, STEP_RECEIVE);
}

/* Only of PUT and PATCH: the others' bodies are short, and each has its own way to judge a name. */
enum next step_begin(struct request *r)
{
        struct change *c = r->change;
        if (c->body != BODY_SMALL && c->body != BODY_UPLOAD)
                return ask_for_body(r);
        flow_begin(c);
        r->call.call = begin_job;
        berth_call(r->shard->port, &r->call);
        return wait_for(r, STEP_BEGUN);
}

enum next step_begun(struct request *r)
{
        int status = status_of(r);
        return status ? refuse(r, status) : ask_for_body(r);
}

/* ---- the body ---- */

/* The part's head off the front of *bytes, a byte at a time: it is short. 0 or a status. */
static int take_part(struct change *c, struct span *bytes)
{
        while (bytes->size > 0 && !c->part_complete) {
                if (c->part_size == sizeof(c->part))
                        return 400;
                c->part[c->part_size++] = *bytes->data;
                *bytes = (struct span){ bytes->data + 1, bytes->size - 1 };
                c->part_complete = c->part_size >= 4 && memcmp(c->part + c->part_size - 4, "\r\n\r\n", 4) == 0;
        }
        return c->part_complete ? put_part(c) : 0;
}

/* What a shard's XML bodies take in all is bounded, with what they become. 0 or a status. */
static int take_xml(struct change *c, struct span bytes)
{
        struct shard *shard = c->shard;
        c->xml_bytes += XML_FACTOR * bytes.size;
        shard->xml_bytes += XML_FACTOR * bytes.size;
        if (shard->xml_bytes > (uint64_t)shard->max_changes * XML_BYTES)
                return 503;
        return -dav_body_feed(c->xml, bytes.data, bytes.size);
}

/* Bytes of the body into the room, the parser or the list of what is to be written. 0 or a status. */
static int take_bytes(struct change *c, struct span bytes)
{
        struct request *r = c->request;
        uint64_t most = r->shard->server->options.max_upload;
        if (c->byterange && !c->part_complete) {
                int status = take_part(c, &bytes);
                if (status || bytes.size == 0)
                        return status;
        }
        c->received += bytes.size;
        switch (c->body) {
        case BODY_SMALL:
                ensure(c->small_size + bytes.size <= sizeof(r->out));
                memcpy(r->out + c->small_size, bytes.data, bytes.size);
                c->small_size += (uint32_t)bytes.size;
                return 0;
        case BODY_UPLOAD:
                if (most && c->received > most)
                        return 413;
                if (flow_holds(c))
                        flow_hold(c, bytes);
                else
                        c->vecs[c->vec_count++] = (struct berth_vec){ bytes.data, bytes.size };
                return 0;
        case BODY_XML:
                return take_xml(c, bytes);
        default:
                return c->received > MOST_SKIPPED_AFTER_REFUSAL ? 413 : 0;
        }
}

/* Takes what there is of the first piece. 0 or a status. */
static int take_piece(struct change *c)
{
        struct request *r = c->request;
        struct shard *shard = r->shard;
        struct span piece = chain_first(shard, request_held(r)), body;
        c->gathered_turn = shard->turns;
        size_t at = 0, used;
        int result = 0, status = 0;
        while (result == 0 && !status && at < piece.size && c->vec_count < UPLOAD_PIECES) {
                result = body_take(r, (struct span){ piece.data + at, piece.size - at }, &used, &body);
                at += used;
                if (result < 0)
                        return -result;
                if (body.size > 0)
                        status = take_bytes(c, body);
        }
        c->body_complete = result > 0;
        if (at == piece.size && c->vec_count > 0)
                chain_move_first(shard, request_held(r), &c->writing);
        else
                chain_consume(shard, request_held(r), at);
        return status;
}

static int64_t write_job(struct berth_call *call)
{
        struct change *c = container_of(call, struct request, call)->change;
        int error = store_upload_write(c->upload, c->vecs, (int)c->vec_count);
        for (unsigned i = 0; i < c->vec_count && c->digests; i++)
                digests_take(c->digests, c->vecs[i].data, c->vecs[i].size);
        return error ? change_status(error) : 0;
}

/* What comes meanwhile is the next piece to be written. */
static enum next write_pieces(struct request *r)
{
        list_remove(&r->change->gathering);
        if (r->change->flows)
                flow_receive(r->change);
        else if (!r->change->body_complete)
                conn_receive(r->conn);
        r->change->write_since = r->shard->now_seconds;
        r->call.call = write_job;
        berth_call(r->shard->port, &r->call);
        return wait_for(r, STEP_WRITTEN);
}

/* A job for each few bytes would cost more than the bytes: more of them are waited for as long as each turn of the
 * shard brings some. */
static bool is_enough(const struct change *c)
{
        const struct shard *shard = c->shard;
        return c->body_complete || c->vec_count >= GATHER_PIECES || shard->pieces_held > MAX_SURPLUS ||
               conn_input_ended(c->request->conn) || c->gathered_turn < shard->turns;
}

static void gather(struct change *c)
{
        list_remove(&c->gathering);
        list_append(&c->shard->gathering, &c->gathering);
}

/* Those in the list wait for input, so nothing of theirs is in flight. */
void change_write_gathered(struct shard *shard)
{
        struct list *node = shard->gathering.next;
        while (node != &shard->gathering) {
                struct change *c = container_of(node, struct change, gathering);
                node = node->next;
                if (c->gathered_turn < shard->turns)
                        request_input(c->request);
        }
}

/* Bytes on their way into a block still belong to the body. */
static enum next refuse_flow(struct request *r, int status)
{
        struct change *c = r->change;
        if (!c->flows || !conn_receiving(r->conn)) {
                c->flows = c->may_flow = false;
                return refuse(r, status);
        }
        if (!c->status)
                conn_receive_anew(r->conn);
        c->status = status;
        return wait_for_input(r, STEP_RECEIVE);
}

enum next step_receive(struct request *r)
{
        struct change *c = r->change;
        if (r->op.result < 0) { /* of the "100 Continue" */
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        if (c->status && c->flows)
                return refuse_flow(r, c->status);
        while (!c->body_complete && !chain_empty(request_held(r)) && c->vec_count < UPLOAD_PIECES) {
                int status = take_piece(c);
                if (status)
                        return refuse_flow(r, status);
        }
        if (c->flows && c->vec_count == 0 && flow_is_enough(c))
                flow_to_write(c);
        if (c->vec_count > 0 && (c->flows || is_enough(c)))
                return write_pieces(r);
        if (c->vec_count > 0)
                gather(c);
        if (c->body_complete)
                return go(r, STEP_RUN);
        if (conn_input_ended(r->conn)) {
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        c->flows = c->flows && flow_receive(c);
        if (!c->flows)
                conn_receive(r->conn);
        return wait_for_input(r, STEP_RECEIVE);
}

/* The time that the disk took is not the client's. */
enum next step_written(struct request *r)
{
        struct change *c = r->change;
        int status = status_of(r);
        chain_free(r->shard, &c->writing);
        c->vec_count = 0;
        flow_written(c);
        flow_again(c);
        r->body_since += r->shard->now_seconds - c->write_since;
        return status ? refuse_flow(r, status) : go(r, STEP_RECEIVE);
}

/* ---- the method itself ---- */

/* Whoever asks after the answer sees the change: every thread looks anew before it trusts what it knows. */
static int64_t run_job(struct berth_call *call)
{
        struct change *c = container_of(call, struct request, call)->change;
        int status = method_of(c)->run(c);
        if (status == 207 && c->request->chunk)
                c->piece_size = list_fill(c->request);
        if (is_writing(c->request->head.method))
                atomic_fetch_add(&c->shard->server->changes_made, 1);
        if (status == 423)
                gate_tell_conflict(c);
        return status;
}

enum next step_run(struct request *r)
{
        struct change *c = r->change;
        int result = c->xml && c->tries == 0 ? dav_body_end(c->xml, &c->asked) : 0;
        if (result < 0)
                return refuse(r, -result);
        if (c->tries == 0)
                c->run_since = r->shard->now_seconds;
        c->busy = false;
        if (r->head.method == HTTP_PROPFIND && !r->chunk && list_take_place(r))
                list_begin(r); /* the same job makes the first piece then; what lacks memory is told later */
        r->call.call = run_job;
        berth_call(r->shard->port, &r->call);
        return wait_for(r, STEP_RAN);
}

static void pause_over(struct berth_op *op)
{
        struct request *r = container_of(container_of(op, struct berth_timer, op), struct request, pause);
        r->pausing = false;
        request_came_back(r);
}

static enum next try_again(struct request *r)
{
        unsigned doublings = min_of(r->change->tries, 16u);
        unsigned pause_ms = min_of((unsigned)FIRST_PAUSE_MS << doublings, (unsigned)LONGEST_PAUSE_MS);
        r->change->tries++;
        r->pausing = true;
        r->pause.op.done = pause_over;
        berth_timer_start(r->shard->port, &r->pause, pause_ms);
        return wait_for(r, STEP_RUN);
}

enum next step_ran(struct request *r)
{
        struct change *c = r->change;
        if (c->busy && r->shard->now_seconds - c->run_since < PLACE_SECONDS)
                return try_again(r);
        c->status = status_of(r);
        if (!c->find || c->status != 207)
                return go(r, STEP_CHANGED);
        r->call.op.result = c->piece_size;
        return go(r, r->chunk ? STEP_LIST_FILLED : STEP_LIST);
}

static enum next send_page(struct request *r)
{
        const struct change *c = r->change;
        struct text out = respond_head(r, c->status);
        text_put(&out, SPAN("Content-Type: application/xml; charset=utf-8\r\nContent-Length: "));
        text_decimal(&out, c->page_size);
        text_put(&out, SPAN("\r\n"));
        text_put(&out, (struct span){ c->fields, c->fields_size });
        respond_end_head(r, &out);
        ensure(!out.overflow);
        r->vecs[0] = (struct berth_vec){ out.data, out.used };
        r->vecs[1] = (struct berth_vec){ c->page, c->page_size };
        r->op_body = r->sent_body = c->page_size;
        r->deadline = r->shard->now_seconds + STALL_SECONDS;
        transport_sendv(r->conn, &r->op, r->vecs, 2);
        return wait_for_send(r, STEP_SENT);
}

/* RFC 9110 15.5.6: what else there is. */
static void tell_allowed(struct change *c)
{
        char line[ALLOW_BYTES];
        change_field(c, "%s", respond_allow(line, true, c->request->head.method));
}

enum next step_changed(struct request *r)
{
        struct change *c = r->change;
        c->fields[c->fields_size] = '\0';
        if (c->status == 405)
                tell_allowed(c);
        if (c->status == 503)
                change_field(c, "Retry-After: 1\r\n");
        if (c->page)
                return send_page(r);
        return c->status < 300 || c->status == 304 ? respond_empty(r, c->status, c->fields)
                                                   : respond_error(r, c->status, c->fields);
}
