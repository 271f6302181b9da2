/* The steps of GET, HEAD and OPTIONS, in the order they are taken: route, find the file (and a coded variant of it),
 * check the conditions, send the whole or ranges.
 */
#include "serve/change.h"
#include "serve/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What there is of WebDAV (RFC 4918 18): class 2 is locking, 3 the RFC's second edition. Who only reads wants modes,
 * numbers and links, too; that nothing can be changed is what Allow says. MS-Author-Via makes Windows take us for a
 * WebDAV server. */
static const char capabilities[] = "DAV: 1, 3\r\n";
static const char all_capabilities[] = "DAV: 1, 2, 3, sabredav-partialupdate\r\n"
                                       "MS-Author-Via: DAV\r\n"
                                       "Accept-Patch: application/x-sabredav-partialupdate, message/byterange\r\n";

/* ---- route ---- */

static enum next tell_capabilities(struct request *r, bool writable)
{
        static const char ours[] = "DAV: <" DAV_BERTH_NAMESPACE ">", dots[] = ", <" DAV_BERTH_DOT_NAMES ">";
        char fields[ALLOW_BYTES + sizeof(all_capabilities) + sizeof(ours) + sizeof(dots)], line[ALLOW_BYTES];
        snprintf(fields, sizeof(fields), "%s%s%s%s\r\n", respond_allow(line, writable, HTTP_METHOD_OTHER),
                 writable ? all_capabilities : capabilities, ours, r->shard->server->options.hidden ? dots : "");
        return respond_empty(r, 204, fields);
}

enum next step_route(struct request *r)
{
        bool writable = r->shard->server->options.writable;
        char line[ALLOW_BYTES];
        if (r->denied)
                return access_answer(r);
        if (r->head.method >= HTTP_PROPFIND)
                return respond_error(r, 405, respond_allow(line, writable, HTTP_METHOD_OTHER));
        if (r->head.method == HTTP_OPTIONS)
                return tell_capabilities(r, writable);
        int size = http_decode_path(r->path, r->head.path, &r->folder, &r->hidden);
        if (size < 0)
                return respond_error(r, -size, NULL);
        if (is_unseen(r->shard, r->hidden, (struct span){ r->path, (size_t)size }))
                return respond_error(r, 404, NULL);
        r->path_size = (uint16_t)size;
        return go(r, r->folder || size == 0 ? STEP_FOLDER : STEP_FIND);
}

/* ---- find ---- */

enum next request_found(struct request *r)
{
        return go(r, r->shard->server->options.precompressed ? STEP_VARIANT : STEP_CONDITIONS);
}

enum next request_open(struct request *r, size_t size, uint8_t tag, enum step then)
{
        r->opening.path = r->path;
        r->opening.path_size = (uint16_t)size;
        r->opening.tag = tag;
        store_open(r->shard->store, &r->opening);
        return wait_for(r, then);
}

struct store_file *request_find(struct request *r, size_t size, uint8_t tag)
{
        struct shard *shard = r->shard;
        unsigned made = atomic_load_explicit(&shard->server->changes_made, memory_order_acquire);
        if (made != shard->changes_seen)
                store_distrust(shard->store);
        shard->changes_seen = made;
        return store_find(shard->store, (struct span){ r->path, size }, tag);
}

enum next step_find(struct request *r)
{
        r->file = request_find(r, r->path_size, 0);
        return r->file ? request_found(r) : request_open(r, r->path_size, 0, STEP_OPENED);
}

/* "/folder" becomes "/folder/", so that relative links in its page lead into it. */
static enum next redirect_to_folder(struct request *r)
{
        struct text out = respond_head(r, 301);
        text_put(&out, SPAN("Location: /"));
        http_encode_path(&out, (struct span){ r->path, r->path_size });
        text_char(&out, '/');
        if (r->head.query.data) {
                text_char(&out, '?');
                text_put(&out, r->head.query);
        }
        text_put(&out, SPAN("\r\nContent-Length: 0\r\n"));
        respond_end_head(r, &out);
        return out.overflow ? respond_error(r, 414, NULL) : respond_send(r, &out);
}

enum next step_opened(struct request *r)
{
        if (r->opening.result == -EISDIR)
                return redirect_to_folder(r);
        if (r->opening.result < 0)
                return respond_errno(r, r->opening.result);
        r->file = r->opening.file;
        return request_found(r);
}

/* ---- variants: name.br, name.zst, name.gz beside the file ---- */

static struct span suffix_of(unsigned encoding)
{
        return encoding == HTTP_BR ? SPAN(".br") : encoding == HTTP_ZSTD ? SPAN(".zst") : SPAN(".gz");
}

/* Tries the codings that the client takes, best first. What was not there is remembered with the file. */
enum next step_variant(struct request *r)
{
        if (r->order_count == 0 && r->order_at == 0)
                r->order_count = http_accept_encodings(&r->head, HTTP_BR | HTTP_ZSTD | HTTP_GZIP, r->orders);
        while (r->order_at < r->order_count) {
                unsigned encoding = r->orders[r->order_at++];
                struct span suffix = suffix_of(encoding);
                size_t size = r->path_size + suffix.size;
                if (r->file->missing & encoding || size >= HTTP_MAX_PATH)
                        continue;
                memcpy(r->path + r->path_size, suffix.data, suffix.size + 1);
                if (!access_allows(r, (struct span){ r->path, size }, AUTH_READ))
                        continue;
                r->encoding = (uint8_t)encoding;
                struct store_file *known = request_find(r, size, r->encoding);
                if (!known)
                        return request_open(r, size, r->encoding, STEP_VARIANT_OPENED);
                store_release(r->shard->store, r->file);
                r->file = known;
                return go(r, STEP_CONDITIONS);
        }
        r->encoding = 0;
        return go(r, STEP_CONDITIONS);
}

enum next step_variant_opened(struct request *r)
{
        if (r->opening.result < 0) {
                if (!is_refusal(r->opening.result))
                        r->file->missing |= r->encoding;
                return go(r, STEP_VARIANT);
        }
        store_release(r->shard->store, r->file);
        r->file = r->opening.file;
        return go(r, STEP_CONDITIONS);
}

/* ---- send ---- */

/* A file that went out whole a moment ago is in the page cache still; the kernel need not be asked again. */
static bool is_warm(const struct request *r)
{
        return r->file->warm_ms && berth_port_now_ms(r->shard->port) - r->file->warm_ms < STORE_TRUST_MS;
}

enum next step_sent_whole(struct request *r)
{
        if (r->op.result >= 0 && !r->from_memory)
                r->file->warm_ms = berth_port_now_ms(r->shard->port);
        return go(r, STEP_SENT);
}

/* Sends the head in `out`, then `length` bytes of the file from `first`, then goes to `then`. A short body is copied
 * behind the head, so that one piece of memory and one segment carry both. */
static enum next send_window(struct request *r, struct text *out, uint64_t first, uint64_t length, enum step then)
{
        struct store_file *file = r->file;
        ensure(!out->overflow);
        r->deadline = r->shard->now_seconds + STALL_SECONDS;
        r->op_body = length;
        r->sent_body += length;
        r->from_memory = file->content || length == 0;
        r->send_file = (struct berth_send_file){
                .head = out->data,
                .head_bytes = (uint32_t)out->used,
                .file = length ? &file->handle : NULL,
                .offset = first,
                .length = length,
                .flags = is_warm(r) ? BERTH_FILE_WARM : 0,
        };
        if (length == 0 || (file->content && length <= FAST_BODY_BYTES && out->used + length <= out->size)) {
                if (length)
                        text_put(out, (struct span){ file->content + first, (size_t)length });
                transport_send(r->conn, &r->op, out->data, out->used);
        } else if (file->content) {
                r->vecs[0] = (struct berth_vec){ out->data, out->used };
                r->vecs[1] = (struct berth_vec){ file->content + first, (size_t)length };
                transport_sendv(r->conn, &r->op, r->vecs, 2);
        } else {
                transport_send_file(r->conn, &r->op, &r->send_file);
        }
        return wait_for_send(r, then);
}

static void put_file_fields(struct request *r, struct text *out)
{
        text_put(out, respond_file_fields(r, r->file));
        if (r->digested)
                digests_tell(r->digests, out);
}

static enum next send_whole(struct request *r)
{
        struct text out = respond_head(r, 200);
        put_file_fields(r, &out);
        text_put(&out, SPAN("Content-Length: "));
        text_decimal(&out, r->file->size);
        text_put(&out, SPAN("\r\n"));
        respond_end_head(r, &out);
        uint64_t length = r->head.method == HTTP_HEAD ? 0 : r->file->size;
        return send_window(r, &out, 0, length, length <= WARM_BYTES ? STEP_SENT_WHOLE : STEP_SENT);
}

static void put_content_range(struct text *out, const struct http_range *range, uint64_t size)
{
        text_format(out, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)range->first,
                    (unsigned long long)range->last, (unsigned long long)size);
}

static enum next send_one_range(struct request *r)
{
        const struct http_range *range = &r->ranges[0];
        uint64_t length = range->last - range->first + 1;
        struct text out = respond_head(r, 206);
        put_file_fields(r, &out);
        put_content_range(&out, range, r->file->size);
        text_put(&out, SPAN("Content-Length: "));
        text_decimal(&out, length);
        text_put(&out, SPAN("\r\n"));
        respond_end_head(r, &out);
        return send_window(r, &out, range->first, length, STEP_SENT);
}

/* ---- several ranges: multipart/byteranges (RFC 9110 14.6) ---- */

/* Not in the file, as far as chance can tell: nobody outside knows the hash's key or the request's address. */
static void put_boundary(struct text *out, const struct request *r)
{
        const void *key[] = { r->file, r };
        text_format(out, "%016llx", (unsigned long long)hash_bytes(key, sizeof(key)));
}

static void put_part_head(struct text *out, const struct request *r, const struct http_range *range)
{
        text_put(out, SPAN("\r\n--"));
        put_boundary(out, r);
        text_put(out, SPAN("\r\nContent-Type: "));
        text_put(out, store_type_of((struct span){ r->path, r->path_size }));
        text_put(out, SPAN("\r\n"));
        put_content_range(out, range, r->file->size);
        text_put(out, SPAN("\r\n"));
}

static void put_last_boundary(struct text *out, const struct request *r)
{
        text_put(out, SPAN("\r\n--"));
        put_boundary(out, r);
        text_put(out, SPAN("--\r\n"));
}

static uint64_t multipart_size(const struct request *r)
{
        char room[512];
        uint64_t size = 0;
        for (unsigned i = 0; i < r->range_count; i++) {
                struct text part = text_in(room, sizeof(room));
                put_part_head(&part, r, &r->ranges[i]);
                ensure(!part.overflow);
                size += part.used + r->ranges[i].last - r->ranges[i].first + 1;
        }
        struct text last = text_in(room, sizeof(room));
        put_last_boundary(&last, r);
        return size + last.used;
}

/* The file's own Content-Type stands in each part; the whole has that of the multipart. */
static void put_multipart_head(struct text *out, struct request *r)
{
        struct span fields = respond_file_fields(r, r->file);
        span_cut(&fields, '\n'); /* the first line is Content-Type */
        text_put(out, SPAN("Content-Type: multipart/byteranges; boundary="));
        put_boundary(out, r);
        text_put(out, SPAN("\r\n"));
        text_put(out, fields);
        text_put(out, SPAN("Content-Length: "));
        text_decimal(out, multipart_size(r));
        text_put(out, SPAN("\r\n"));
        respond_end_head(r, out);
}

/* One part a time; the response's head goes before the first. */
enum next step_send_ranges(struct request *r)
{
        if (r->range_at > 0 && r->op.result < 0)
                return go(r, STEP_SENT);
        struct text out = text_in(r->out, sizeof(r->out));
        if (r->range_at == 0) {
                out = respond_head(r, 206);
                put_multipart_head(&out, r);
        }
        if (r->range_at == r->range_count) {
                r->send_file.file = NULL; /* all parts are out: there is nothing that a download could go on with */
                r->op_body = 0;
                put_last_boundary(&out, r);
                return respond_send(r, &out);
        }
        const struct http_range *range = &r->ranges[r->range_at++];
        put_part_head(&out, r, range);
        return send_window(r, &out, range->first, range->last - range->first + 1, STEP_SEND_RANGES);
}

/* ---- conditions ---- */

static enum next not_modified(struct request *r)
{
        struct text out = respond_head(r, 304);
        struct span fields = respond_file_fields(r, r->file);
        span_cut(&fields, '\n'); /* a 304 describes no content (RFC 9110 15.4.5) */
        text_put(&out, fields);
        respond_end_head(r, &out);
        return respond_send(r, &out);
}

static enum next not_satisfiable(struct request *r)
{
        char extra[64];
        struct text text = text_in(extra, sizeof(extra) - 1);
        text_format(&text, "Content-Range: bytes */%llu\r\n", (unsigned long long)r->file->size);
        extra[text.used] = '\0';
        return respond_error(r, 416, extra);
}

enum next step_conditions(struct request *r)
{
        struct store_file *file = r->file;
        struct http_validator validator = {
                .etag = { file->etag, file->etag_size },
                .modified = file->modified,
                .now = clock_unix_seconds(),
        };
        enum http_verdict verdict = http_check_conditions(&r->head, &validator);
        if (verdict == HTTP_NOT_MODIFIED)
                return not_modified(r);
        if (verdict == HTTP_PRECONDITION_FAILED)
                return respond_error(r, 412, NULL);
        r->range_count = 0;
        enum step then = http_field(&r->head, HTTP_WANT_REPR_DIGEST).data ? STEP_DIGEST : STEP_SEND;
        struct span range = http_field(&r->head, HTTP_RANGE);
        if (!range.data || r->head.method != HTTP_GET || !http_check_if_range(&r->head, &validator))
                return go(r, then);
        int count = http_parse_range(r->ranges, HTTP_MAX_RANGES, range, file->size);
        if (count < 0)
                return not_satisfiable(r);
        r->range_count = (unsigned)count;
        return go(r, then);
}

/* An answer in parts cannot become a download, so slow readers of such may not have all requests: beyond three quarters
 * of them the ranges are ignored, which a server may do (RFC 9110 14.2). */
static bool take_parts(struct request *r)
{
        struct shard *shard = r->shard;
        uint32_t limit = shard->requests.limit;
        if (shard->multiparts >= limit - limit / 4)
                return false;
        shard->multiparts++;
        r->has_parts = true;
        return true;
}

/* A file's bytes go out only so many times at once; who comes when all places are taken waits for one. */
enum next step_send(struct request *r)
{
        struct shard *shard = r->shard;
        if (r->head.method != HTTP_HEAD && !r->has_send)
                r->has_send = request_take_place(&shard->for_send, &shard->sends, shard->max_sends);
        if (r->head.method != HTTP_HEAD && !r->has_send)
                return request_wait_for_place(r, &shard->for_send);
        if (r->range_count > 1 && !take_parts(r))
                r->range_count = 0;
        return r->range_count == 0 ? send_whole(r) : r->range_count == 1 ? send_one_range(r) : go(r, STEP_SEND_RANGES);
}
