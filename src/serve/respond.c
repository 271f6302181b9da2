/* Heads of answers, and the short answers that are a head and perhaps a page. */
#include "serve/serve_priv.h"
#include "serve/pages.h"
#include "serve/transport.h"

#include <errno.h>

struct text respond_head(struct request *r, int status)
{
        struct text out = text_in(r->out, sizeof(r->out));
        r->status = status;
        if (r->shard->draining)
                r->keep_alive = false;
        if (status == 200) {
                text_put(&out, SPAN("HTTP/1.1 200 OK\r\nServer: berth\r\nDate: "));
        } else {
                text_put(&out, SPAN("HTTP/1.1 "));
                text_decimal(&out, (uint64_t)status);
                text_char(&out, ' ');
                text_put(&out, span_of(http_reason(status)));
                text_put(&out, SPAN("\r\nServer: berth\r\nDate: "));
        }
        text_put(&out, shard_date(r->shard));
        text_put(&out, SPAN("\r\n"));
        return out;
}

void respond_end_head(struct request *r, struct text *out)
{
        if (!r->keep_alive)
                text_put(out, SPAN("Connection: close\r\n"));
        else if (r->head.minor == 0)
                text_put(out, SPAN("Connection: keep-alive\r\n"));
        text_put(out, SPAN("\r\n"));
}

enum next respond_send(struct request *r, const struct text *out)
{
        ensure(!out->overflow);
        r->deadline = r->shard->now_seconds + STALL_SECONDS;
        transport_send(r->conn, &r->op, out->data, out->used);
        return wait_for_send(r, STEP_SENT);
}

enum next respond_empty(struct request *r, int status, const char *extra)
{
        struct text out = respond_head(r, status);
        if (extra)
                text_put(&out, span_of(extra));
        if (status != 204 && status != 304)
                text_put(&out, SPAN("Content-Length: 0\r\n"));
        respond_end_head(r, &out);
        return respond_send(r, &out);
}

/* After these the bytes that follow cannot be trusted, or are not wanted. */
static bool closes(int status)
{
        switch (status) {
        case 400:
        case 408:
        case 413:
        case 414:
        case 417:
        case 431:
        case 500:
        case 501:
        case 503:
        case 505:
                return true;
        default:
                return false;
        }
}

const char *respond_allow(char out[ALLOW_BYTES], bool writable, enum http_method except)
{
        struct text text = text_in(out, ALLOW_BYTES);
        const char *separator = "Allow: ";
        for (enum http_method method = 0; method < (writable ? HTTP_METHOD_OTHER : HTTP_PUT); method++) {
                if (method == except)
                        continue;
                text_format(&text, "%s%s", separator, http_method_name(method));
                separator = ", ";
        }
        text_put(&text, SPAN("\r\n"));
        text_char(&text, '\0');
        ensure(!text.overflow);
        return out;
}

enum next respond_error(struct request *r, int status, const char *extra)
{
        char page[PAGE_ERROR_BYTES];
        struct span shown = r->head_seen ? r->head.path : (struct span){ NULL, 0 };
        size_t size = page_error(page, sizeof(page), status, shown);
        if (closes(status))
                r->keep_alive = false;
        struct text out = respond_head(r, status);
        text_put(&out, SPAN("Content-Type: text/html; charset=utf-8\r\nContent-Length: "));
        text_decimal(&out, size);
        text_put(&out, SPAN("\r\nCache-Control: no-store\r\n"
                            "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"));
        if (extra)
                text_put(&out, span_of(extra));
        respond_end_head(r, &out);
        if (!r->head_seen || r->head.method != HTTP_HEAD) {
                text_put(&out, (struct span){ page, size });
                r->op_body = r->sent_body = size;
        }
        return respond_send(r, &out);
}

enum next respond_errno(struct request *r, int64_t error)
{
        switch (error) {
        case -ENOENT:
        case -ENOTDIR:
        case -EXDEV:
        case -ELOOP:
        case -ENAMETOOLONG:
        case -EINVAL:
                return respond_error(r, 404, NULL);
        case -EACCES:
        case -EPERM:
        case -ENXIO:
        case -ENODEV:
                return respond_error(r, 403, NULL);
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case -ENOBUFS:
        case -EBUSY:
        case -EAGAIN:
                refused(r->shard, REFUSED_FILES);
                return respond_error(r, 503, "Retry-After: 1\r\n");
        default:
                return respond_error(r, 500, NULL);
        }
}

/* The type is that of the name asked for, so `page.html.gz` as a coding of page.html stays text/html. */
static void write_note(struct request *r, struct store_file *file)
{
        static const char *const codings[] = { [0] = "", [HTTP_BR] = "br", [HTTP_ZSTD] = "zstd", [HTTP_GZIP] = "gzip" };
        char date[HTTP_DATE_BYTES];
        struct text note = text_in(file->note, sizeof(file->note));
        http_format_date(date, file->modified);
        text_put(&note, SPAN("Content-Type: "));
        text_put(&note, store_type_of((struct span){ r->path, r->path_size }));
        if (file->modified <= clock_unix_seconds()) { /* never in the future (RFC 9110 8.8.2.1) */
                text_put(&note, SPAN("\r\nLast-Modified: "));
                text_put(&note, (struct span){ date, sizeof(date) });
        }
        text_put(&note, SPAN("\r\nETag: "));
        text_put(&note, (struct span){ file->etag, file->etag_size });
        text_put(&note, SPAN("\r\nAccept-Ranges: bytes\r\n"));
        if (r->shard->server->options.precompressed)
                text_put(&note, SPAN("Vary: Accept-Encoding\r\n"));
        if (r->encoding)
                text_format(&note, "Content-Encoding: %s\r\n", codings[r->encoding]);
        ensure(!note.overflow);
        file->note_size = (uint16_t)note.used;
}

struct span respond_file_fields(struct request *r, struct store_file *file)
{
        if (file->note_size == 0)
                write_note(r, file);
        return (struct span){ file->note, file->note_size };
}
