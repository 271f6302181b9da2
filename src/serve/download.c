/* Answers that are taken slowly. A request whose send has been going on for a moment is too large to keep: the send is
 * cancelled, which tells exactly how far it came, and goes on in a download, a small record that shares the open file
 * with everybody else who reads it. What the access log wants to know is kept as text, cut where it is long.
 */
#include "serve/serve_priv.h"
#include "serve/transport.h"

#include <errno.h>

/* ---- the log line's texts ---- */

static uint8_t keep_text(struct download *download, size_t *used, struct span text)
{
        static const char cut[] = "...";
        size_t room = min_of(sizeof(download->text) - *used, (size_t)UINT8_MAX);
        size_t size = min_of(text.size, room);
        if (size > 0)
                memcpy(download->text + *used, text.data, size);
        if (size < text.size && size >= sizeof(cut))
                memcpy(download->text + *used + size - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
        *used += size;
        return (uint8_t)size;
}

/* What matters most comes first. */
static void keep_log_line(struct download *download, const struct request *r)
{
        size_t used = 0;
        download->target_size = keep_text(download, &used, r->head.target);
        if (r->shard->server->log.descriptor < 0)
                return;
        download->user_size = keep_text(download, &used, span_of(r->user));
        download->referer_size = keep_text(download, &used, http_field(&r->head, HTTP_REFERER));
        download->agent_size = keep_text(download, &used, http_field(&r->head, HTTP_USER_AGENT));
}

static void log_download(struct download *download)
{
        struct shard *shard = shard_here;
        uint64_t unsent = download->send_file.length - download->send_file.file_sent;
        const char *target = download->text, *user = target + download->target_size;
        const char *referer = user + download->user_size, *agent = referer + download->referer_size;
        struct log_line line = {
                .method = SPAN("GET"),
                .target = { target, download->target_size },
                .user = { user, download->user_size },
                .referer = { referer, download->referer_size },
                .agent = { agent, download->agent_size },
                .minor = download->minor,
                .peer = (const struct sockaddr *)&download->active->peer,
                .status = download->status,
                .body_bytes = download->sent_body - unsent,
                .microseconds = clock_us() - download->started_us,
        };
        request_note(shard, HTTP_GET, &line);
}

/* ---- sending ---- */

static void sent(struct berth_op *op)
{
        struct active *active = container_of(op, struct active, output);
        struct conn *conn = active->conn;
        struct download *download = active->download;
        active->out = false;
        if (conn_state(conn) == CONN_CLOSING) {
                conn_join(conn);
                return;
        }
        if (op->result < 0) {
                conn_failed(conn, op->result);
                return;
        }
        bool kept = download->keep_alive && !(shard_here->draining && chain_empty(&active->input_held));
        download_release(download);
        if (kept)
                conn_next(conn);
        else
                conn_linger(conn);
}

static struct berth_send_file rest_of(const struct request *r)
{
        struct berth_send_file rest = r->send_file;
        rest.head = NULL;
        rest.head_bytes = 0;
        rest.offset += r->send_file.file_sent;
        rest.length -= r->send_file.file_sent;
        rest.flags = 0;
        return rest;
}

/* Requests that came behind a slow one hold buffers. When many are held, these are given up: the connection then ends with this
 * answer, and its client asks again elsewhere (RFC 9112 9.3.2). */
static void drop_ahead(struct shard *shard, struct download *download)
{
        struct chain *held = &download->active->input_held;
        if (shard->pieces_held <= MAX_SURPLUS || chain_empty(held))
                return;
        chain_free(shard, held);
        download->keep_alive = false;
}

bool download_begin(struct request *r)
{
        struct shard *shard = r->shard;
        struct active *active = r->conn->active;
        if (r->send_file.head_sent < r->send_file.head_bytes)
                return false;
        struct download *download = slab_take(&shard->downloads);
        if (!download)
                return false;
        *download = (struct download){
                .send_file = rest_of(r),
                .file = r->file,
                .active = active,
                .started_us = r->started_us,
                .sent_body = r->sent_body,
                .deadline = shard->now_seconds + STALL_SECONDS,
                .status = (uint16_t)r->status,
                .keep_alive = r->keep_alive,
                .minor = (uint8_t)r->head.minor,
        };
        keep_log_line(download, r);
        list_append(&shard->sending, &download->node);
        r->file = NULL;
        r->has_send = false; /* the place is the download's now */
        r->head_seen = false;
        struct conn *conn = r->conn;
        request_release(r);
        drop_ahead(shard, download);
        conn_sending(conn, download);
        active->out = true;
        active->output.done = sent;
        transport_send_file(conn, &active->output, &download->send_file);
        return true;
}

void download_release(struct download *download)
{
        struct shard *shard = shard_here;
        ensure(!download->active->out);
        log_download(download);
        list_remove(&download->node);
        store_release(shard->store, download->file);
        shard->sends--;
        download->active->download = NULL;
        slab_give(&shard->downloads, download);
}

/* A slow reader may take as long as it likes, as long as it takes something. */
void download_sweep(struct shard *shard)
{
        struct list *node = shard->sending.next;
        while (node != &shard->sending) {
                struct download *download = container_of(node, struct download, node);
                struct conn *conn = download->active->conn;
                node = node->next;
                if (download->progress != download->send_file.file_sent) {
                        download->progress = download->send_file.file_sent;
                        download->deadline = shard->now_seconds + STALL_SECONDS;
                } else if (conn_state(conn) != CONN_CLOSING && shard->now_seconds >= download->deadline) {
                        refused(shard, STALLED_READER);
                        conn_end(conn, true);
                }
        }
}
