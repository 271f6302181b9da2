/* The steps that read: a request's head, and the body that a GET need not have but may. */
#include "serve/change.h"
#include "serve/transport.h"

#include <stdlib.h>

/* A server that is read-only answers PROPFIND alone. */
static bool may_change(const struct request *r)
{
        return r->shard->server->options.writable || !is_writing(r->head.method);
}

static uint32_t head_room(const struct request *r)
{
        /* More than a head may have, so that the parser refuses before the room is used up. */
        return r->long_head ? r->shard->server->options.limits.head_bytes + 64 : EARLY_BYTES;
}

/* A head that outgrows the request's own room moves. False when all long rooms are taken. */
static bool grow_head(struct request *r)
{
        struct shard *shard = r->shard;
        if (shard->long_heads >= shard->max_long_heads)
                return false;
        r->long_head = malloc(shard->server->options.limits.head_bytes + 64);
        if (!r->long_head)
                return false;
        shard->long_heads++;
        memcpy(r->long_head, r->early, r->early_size);
        return true;
}

/* Puts what there is of the first piece behind what came before and parses; then takes from the piece what belongs
 * to the head. Result as http_parse_head's. */
static int parse_piece(struct request *r)
{
        char *room = r->long_head ? r->long_head : r->early;
        struct span piece = chain_first(r->shard, request_held(r));
        size_t take = min_of(piece.size, (size_t)(head_room(r) - r->early_size));
        memcpy(room + r->early_size, piece.data, take);
        size_t size = r->early_size + take;
        int n = http_parse_head(&r->head, room, size, &r->shard->server->options.limits, &r->scanned);
        if (n > 0)
                take = (size_t)n - r->early_size;
        r->early_size += (uint32_t)take;
        chain_consume(r->shard, request_held(r), take);
        return n;
}

/* The log wants to know who asked, who guesses passwords is slowed, some proxies are trusted. Once a connection. */
static bool must_ask_peer(const struct request *r)
{
        const struct server *server = r->shard->server;
        bool wanted = server->log.descriptor >= 0 || r->shard->access || server->options.trusted_count > 0;
        return wanted && r->conn->active->peer.sin6_family == AF_UNSPEC;
}

static enum next ask_peer(struct request *r)
{
        struct sockaddr_in6 *peer = &r->conn->active->peer;
        berth_peer_address(r->shard->port, &r->op, &r->conn->socket, (struct sockaddr *)peer, sizeof(*peer));
        return wait_for(r, STEP_PEER);
}

static enum next peer_known(struct request *r)
{
        return go(r, r->shard->access ? STEP_ACCESS : STEP_CONTINUE);
}

static enum next head_complete(struct request *r)
{
        r->head_seen = true;
        r->keep_alive = r->head.keep_alive && !r->shard->draining;
        r->body_left = r->head.content_length;
        r->started_us = clock_us();
        r->body_since = r->shard->now_seconds;
        r->deadline = r->body_since + STALL_SECONDS;
        return must_ask_peer(r) ? ask_peer(r) : peer_known(r);
}

/* A peer that has gone already is logged as "-". */
enum next step_peer(struct request *r)
{
        if (r->op.result < 0)
                r->conn->active->peer.sin6_family = AF_UNSPEC;
        r->op.result = 0;
        return r->refused ? respond_error(r, r->refused, NULL) : peer_known(r);
}

static enum next refuse_head(struct request *r, int status)
{
        r->head_seen = true; /* as far as it could be read */
        r->refused = status;
        r->started_us = clock_us();
        return must_ask_peer(r) ? ask_peer(r) : respond_error(r, status, NULL);
}

enum next step_read_head(struct request *r)
{
        while (!chain_empty(request_held(r))) {
                if (r->early_size == head_room(r) && (r->long_head || !grow_head(r))) {
                        refused(r->shard, REFUSED_HEADS);
                        request_head_unknown(r);
                        return respond_error(r, 503, "Retry-After: 1\r\n");
                }
                int n = parse_piece(r);
                if (n < 0)
                        return refuse_head(r, -n);
                if (n > 0)
                        return head_complete(r);
        }
        if (conn_input_ended(r->conn)) {
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        conn_receive(r->conn);
        return wait_for_input(r, STEP_READ_HEAD);
}

enum next send_continue(struct request *r, enum step then)
{
        static const char answer[] = "HTTP/1.1 100 Continue\r\n\r\n";
        transport_send(r->conn, &r->op, answer, sizeof(answer) - 1);
        return wait_for_send(r, then);
}

/* RFC 9110 10.1.1: who asked gets its "100 Continue", unless the body is coming already or nobody wants it. */
enum next step_continue(struct request *r)
{
        bool body = r->head.chunked || r->body_left > 0;
        if (is_change(r->head.method) && may_change(r))
                return go(r, STEP_CHANGE);
        if (!body)
                return go(r, STEP_ROUTE);
        if (r->head.method >= HTTP_PROPFIND) {
                r->keep_alive = false; /* refused; its body is never read */
                return go(r, STEP_ROUTE);
        }
        http_chunked_init(&r->body);
        if (r->body_left > MAX_SKIPPED_BODY)
                return respond_error(r, 413, NULL);
        if (!r->head.expect_continue || r->head.minor == 0 || !chain_empty(request_held(r)))
                return go(r, STEP_SKIP_BODY);
        return send_continue(r, STEP_SKIP_BODY);
}

int body_take(struct request *r, struct span piece, size_t *used, struct span *body)
{
        if (r->head.chunked) {
                int result = http_chunked_take(&r->body, piece.data, piece.size, used, body);
                r->body_skipped += *used;
                return result;
        }
        *used = (size_t)min_of((uint64_t)piece.size, r->body_left);
        *body = (struct span){ piece.data, *used };
        r->body_left -= *used;
        r->body_skipped += *used;
        return r->body_left == 0;
}

/* Takes body bytes off the first piece. 1: the body is complete, 0: go on, < 0: minus a status. */
static int skip_piece(struct request *r)
{
        struct span piece = chain_first(r->shard, request_held(r));
        struct span ignored;
        size_t used;
        int result = body_take(r, piece, &used, &ignored);
        chain_consume(r->shard, request_held(r), used);
        return result == 0 && r->body_skipped > MAX_SKIPPED_BODY ? -413 : result;
}

enum next step_skip_body(struct request *r)
{
        if (r->op.result < 0) { /* of the "100 Continue" */
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        while (!chain_empty(request_held(r))) {
                int result = skip_piece(r);
                if (result < 0)
                        return respond_error(r, -result, NULL);
                if (result > 0)
                        return go(r, r->change ? STEP_CHANGED : STEP_ROUTE);
        }
        if (conn_input_ended(r->conn)) {
                conn_end(r->conn, false);
                return NEXT_GONE;
        }
        conn_receive(r->conn);
        return wait_for_input(r, STEP_SKIP_BODY);
}
