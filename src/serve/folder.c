/* The steps of a folder: its index.html, or else a listing that is made on a worker thread, piece by piece. */
#include "serve/change.h"
#include "serve/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
        CHUNK_BYTES = 32 << 10,
        FIND_CHUNK_BYTES = 256 << 10, /* of a PROPFIND's answer: a kilobyte for each name */
        CHUNK_HEAD = 16,              /* room for the size line before the bytes */
        CHUNK_TAIL = 7,               /* for CRLF behind, and the last chunk */
};

/* ---- index.html ---- */

/* An explicit ?json asks for the listing even where there is an index; who may not read the index gets that, too. */
enum next step_folder(struct request *r)
{
        static const char index[] = "index.html";
        struct http_listing_query query;
        http_parse_listing_query(&query, r->head.query);
        if (query.json)
                return go(r, STEP_LIST);
        size_t size = r->path_size;
        if (size > 0)
                r->path[size++] = '/';
        memcpy(r->path + size, index, sizeof(index));
        size += sizeof(index) - 1;
        if (!access_allows(r, (struct span){ r->path, size }, AUTH_READ)) {
                r->path[r->path_size] = '\0';
                return go(r, STEP_LIST);
        }
        r->file = request_find(r, size, 0);
        r->opening.path_size = (uint16_t)size;
        r->opening.result = size < HTTP_MAX_PATH ? 0 : -ENAMETOOLONG;
        if (r->file || r->opening.result < 0)
                return go(r, STEP_INDEX_OPENED);
        return request_open(r, size, 0, STEP_INDEX_OPENED);
}

enum next step_index_opened(struct request *r)
{
        int result = r->opening.result;
        if (result == 0) {
                if (!r->file)
                        r->file = r->opening.file;
                r->path_size = r->opening.path_size;
                return request_found(r);
        }
        r->path[r->path_size] = '\0';
        if (result != -ENOENT && result != -EISDIR && result != -ENAMETOOLONG)
                return respond_errno(r, result);
        return go(r, STEP_LIST);
}

/* ---- the listing ---- */

static int64_t fill_listing(struct request *r, char *out, size_t size, bool *whole)
{
        const struct serve_options *options = &r->shard->server->options;
        if (!r->listing) {
                struct http_listing_query query;
                http_parse_listing_query(&query, r->head.query);
                struct store_list_options list = {
                        .sort = (enum store_sort)query.sort,
                        .descending = query.descending,
                        .hidden = options->hidden,
                        .links = options->links,
                };
                int error = listing_create(&r->listing, r->shard->server->root, r->path, &list, r->json);
                if (error)
                        return error;
        }
        int64_t n = listing_fill(r->listing, out, size);
        *whole = listing_is_whole(r->listing);
        return n;
}

int64_t list_fill(struct request *r)
{
        return r->fill(r, r->chunk + CHUNK_HEAD, r->chunk_room, &r->whole);
}

/* On a worker thread; the request waits, so what it reads here nobody changes. */
static int64_t fill(struct berth_call *call)
{
        return list_fill(container_of(call, struct request, call));
}

static enum next fill_more(struct request *r)
{
        r->call.call = fill;
        berth_call(r->shard->port, &r->call);
        return wait_for(r, STEP_LIST_FILLED);
}

static bool asks_for_json(const struct request *r)
{
        struct http_listing_query query;
        http_parse_listing_query(&query, r->head.query);
        return query.json || http_accepts_json(&r->head);
}

/* Listings hold memory, so their number is bounded. */
bool list_take_place(struct request *r)
{
        struct shard *shard = r->shard;
        if (!r->has_listing)
                r->has_listing = request_take_place(&shard->for_listing, &shard->listings, shard->max_listings);
        return r->has_listing;
}

int list_begin(struct request *r)
{
        r->chunk_room = r->change ? FIND_CHUNK_BYTES : CHUNK_BYTES;
        r->chunk = malloc(CHUNK_HEAD + r->chunk_room + CHUNK_TAIL);
        if (!r->chunk)
                return -ENOMEM;
        r->fill = r->change ? find_fill : fill_listing;
        r->json = asks_for_json(r);
        return 0;
}

/* Who comes when all places are taken waits for one. */
enum next step_list(struct request *r)
{
        if (!r->shard->server->options.listing && !r->change)
                return respond_error(r, 403, NULL);
        if (!list_take_place(r))
                return request_wait_for_place(r, &r->shard->for_listing);
        int error = list_begin(r);
        return error ? respond_errno(r, error) : fill_more(r);
}

static void put_listing_fields(const struct request *r, struct text *out)
{
        text_put(out, r->json ? SPAN("Content-Type: application/json\r\n")
                              : SPAN("Content-Type: text/html; charset=utf-8\r\n"));
        text_put(out, SPAN("Vary: Accept\r\nCache-Control: no-cache\r\n"
                           "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"));
}

/* What is whole with its first piece has a length. HTTP/1.0 has no chunks: there the end of the connection ends the
 * page. */
static struct text list_head(struct request *r)
{
        r->chunked = r->head.minor > 0 && !r->whole;
        if (!r->chunked && !r->whole)
                r->keep_alive = false;
        struct text out = respond_head(r, r->change ? 207 : 200);
        if (r->change)
                text_put(&out, SPAN("Content-Type: application/xml; charset=utf-8\r\n"));
        else
                put_listing_fields(r, &out);
        if (r->chunked)
                text_put(&out, SPAN("Transfer-Encoding: chunked\r\n"));
        if (r->whole)
                text_format(&out, "Content-Length: %lld\r\n", (long long)r->chunk_size);
        respond_end_head(r, &out);
        return out;
}

/* The piece with its chunk framing, in place. */
static struct berth_vec framed(struct request *r)
{
        static const char last[CHUNK_TAIL + 1] = "\r\n0\r\n\r\n";
        size_t size = (size_t)r->chunk_size, tail = r->whole ? CHUNK_TAIL : 2;
        if (!r->chunked)
                return (struct berth_vec){ r->chunk + CHUNK_HEAD, size };
        char line[CHUNK_HEAD];
        int n = snprintf(line, sizeof(line), "%zx\r\n", size);
        char *start = r->chunk + CHUNK_HEAD - n;
        memcpy(start, line, (size_t)n);
        memcpy(r->chunk + CHUNK_HEAD + size, last, tail);
        return (struct berth_vec){ start, (size_t)n + size + tail };
}

enum next step_list_filled(struct request *r)
{
        r->chunk_size = r->call.op.result;
        bool first = r->status == 0;
        if (r->chunk_size < 0 && first)
                return respond_errno(r, r->chunk_size);
        if (r->chunk_size < 0) { /* a reset tells that the page is not whole */
                conn_end(r->conn, true);
                return NEXT_GONE;
        }
        struct text out = { 0 };
        unsigned count = 0;
        if (first) {
                out = list_head(r);
                if (r->head.method == HTTP_HEAD)
                        return respond_send(r, &out);
                r->vecs[count++] = (struct berth_vec){ out.data, out.used };
        }
        r->vecs[count++] = framed(r);
        r->op_body = (uint64_t)r->chunk_size;
        r->sent_body += r->op_body;
        r->deadline = r->shard->now_seconds + STALL_SECONDS;
        transport_sendv(r->conn, &r->op, r->vecs, count);
        return wait_for_send(r, r->whole ? STEP_SENT : STEP_LIST_SENT);
}

enum next step_list_sent(struct request *r)
{
        return r->op.result < 0 ? go(r, STEP_SENT) : fill_more(r);
}
