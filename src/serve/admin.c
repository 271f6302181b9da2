/* --admin: how the server is doing, told by a thread of its own with a port of its own, so that it answers when the
 * shards are full. Whoever asks is a visitor:
 *
 *        accept        head whole           all sent           the end, or some seconds
 *      ---------> HEAD ----------> ANSWER ----------> LINGERING ----------> CLOSING --> FREE
 *                   `-- too late, or the connection broke: from any of them --^
 *
 * One request a connection, then our end (Connection: close): no state to get wrong, and scrapers come every few
 * seconds at most. What visitors can take up is bounded: MAX_VISITORS of them, a head of HEAD_BYTES, ADMIN_HEAD_SECONDS
 * to send it and ANSWER_SECONDS to take the answer. Where there are too many, the one who has said nothing for longest
 * goes.
 */
#include "serve/metrics.h"
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        MAX_VISITORS = 64,
        RECEIVE_BYTES = 4096,
        HEAD_BYTES = 8192,
        ADMIN_HEAD_SECONDS = 10,
        ANSWER_SECONDS = 10,
        ADMIN_LINGER_SECONDS = 2,
        ADMIN_TICK_MS = 1000,
};

static const struct http_limits limits = { .line_bytes = HEAD_BYTES / 2, .head_bytes = HEAD_BYTES };

enum stage { FREE, HEAD, ANSWER, LINGERING, CLOSING };

struct visitor {
        struct admin *admin;
        enum stage stage;
        struct berth_handle socket;
        struct berth_op op, closing; /* op: receive, send, shutdown, receive: never two at a time */
        uint64_t deadline_ms;
        struct berth_vec answer[2];
        uint32_t scanned, received;
        char head[512];
        char in[HEAD_BYTES + RECEIVE_BYTES]; /* whatever comes with the byte that is one too many still fits */
        char body[METRICS_BYTES];            /* memory only as far as it was ever written */
};

struct admin {
        struct server *server;
        struct metrics_identity identity;
        struct listener_spec spec;
        pthread_t thread;
        pthread_barrier_t ready;
        int error; /* of the start; read after `ready` */
        struct berth_port *port;
        struct berth_handle listener;
        struct berth_op accept, closing, stop;
        struct berth_timer tick; /* runs while anybody is here or accepting has stopped */
        bool accepting, ticking, stopping;
        unsigned visitor_count;
        struct visitor visitors[MAX_VISITORS];
};

/* ---- the end of a visit ---- */

static void accept_more(struct admin *admin);

static void closed(struct berth_op *op)
{
        struct visitor *visitor = container_of(op, struct visitor, closing);
        ensure(visitor->stage == CLOSING);
        visitor->stage = FREE;
        visitor->admin->visitor_count--;
        accept_more(visitor->admin);
}

/* Waits for the op in flight, which finds out when it comes back. */
static void leave(struct visitor *visitor, unsigned flags)
{
        if (visitor->stage == FREE || visitor->stage == CLOSING)
                return;
        visitor->stage = CLOSING;
        visitor->closing.done = closed;
        berth_close(visitor->admin->port, &visitor->closing, &visitor->socket, flags);
}

static void patience(struct visitor *visitor, enum stage stage, unsigned seconds)
{
        visitor->stage = stage;
        visitor->deadline_ms = berth_port_now_ms(visitor->admin->port) + seconds * 1000;
}

/* What comes behind the request is dropped; closing with it unread would cost the visitor his answer. */
static void lingering(struct berth_op *op)
{
        struct visitor *visitor = container_of(op, struct visitor, op);
        if (op->flags & BERTH_BUFFER)
                berth_buffer_put(visitor->admin->port, op->buffer);
        if (visitor->stage == CLOSING)
                return;
        if (op->result > 0)
                berth_recv(visitor->admin->port, op, &visitor->socket, 0);
        else
                leave(visitor, 0);
}

static void ended(struct berth_op *op)
{
        struct visitor *visitor = container_of(op, struct visitor, op);
        if (visitor->stage == CLOSING)
                return;
        op->done = lingering;
        berth_recv(visitor->admin->port, op, &visitor->socket, 0);
}

static void sent(struct berth_op *op)
{
        struct visitor *visitor = container_of(op, struct visitor, op);
        if (visitor->stage == CLOSING)
                return;
        if (op->result < 0) {
                leave(visitor, 0);
                return;
        }
        patience(visitor, LINGERING, ADMIN_LINGER_SECONDS);
        op->done = ended;
        berth_shutdown(visitor->admin->port, op, &visitor->socket);
}

/* ---- answers ---- */

/* The pages: each writes its text and says the status. */

static int write_index(struct text *out, struct admin *admin)
{
        (void)admin;
        text_put(out, SPAN("/metrics  counters and gauges, in the Prometheus text format\n"
                           "/health   200 while the server serves, 503 while it finishes\n"));
        return 200;
}

static int write_health(struct text *out, struct admin *admin)
{
        bool draining = atomic_load(&admin->server->draining);
        text_put(out, draining ? SPAN("draining\n") : SPAN("ok\n"));
        return draining ? 503 : 200;
}

static int write_metrics(struct text *out, struct admin *admin)
{
        metrics_write(out, admin->server, &admin->identity);
        return 200;
}

static int write_error(struct text *out, int status)
{
        text_format(out, "%d %s\n", status, http_reason(status));
        return status;
}

static const struct page {
        const char *path, *type;
        int (*write)(struct text *out, struct admin *admin);
} pages[] = {
        { "/", "text/plain; charset=utf-8", write_index },
        { "/health", "text/plain; charset=utf-8", write_health },
        { "/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics },
};

static const struct page *find_page(struct span path)
{
        for (unsigned i = 0; i < array_count(pages); i++)
                if (span_equal(path, span_of(pages[i].path)))
                        return &pages[i];
        return NULL;
}

static void send_answer(struct visitor *visitor, int status, const char *type, size_t size, bool with_body)
{
        char date[HTTP_DATE_BYTES];
        struct text head = text_in(visitor->head, sizeof(visitor->head));
        http_format_date(date, clock_unix_seconds());
        text_format(&head,
                    "HTTP/1.1 %d %s\r\nServer: berth\r\nDate: %.*s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                    "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
                    status, http_reason(status), (int)sizeof(date), date, type, size,
                    status == 405 ? "Allow: GET, HEAD\r\n" : "");
        ensure(!head.overflow);
        visitor->answer[0] = (struct berth_vec){ visitor->head, head.used };
        visitor->answer[1] = (struct berth_vec){ visitor->body, size };
        patience(visitor, ANSWER, ANSWER_SECONDS);
        visitor->op.done = sent;
        berth_sendv(visitor->admin->port, &visitor->op, &visitor->socket, visitor->answer, with_body ? 2 : 1);
}

/* `refused`: the status for a head that is none, else 0. */
static void answer(struct visitor *visitor, const struct http_head *head, int refused)
{
        struct text body = text_in(visitor->body, sizeof(visitor->body));
        bool reads = !refused && (head->method == HTTP_GET || head->method == HTTP_HEAD);
        const struct page *page = reads ? find_page(head->path) : NULL;
        int status;
        if (page)
                status = page->write(&body, visitor->admin);
        else
                status = write_error(&body, refused ? refused : reads ? 404 : 405);
        bool with_body = refused || head->method != HTTP_HEAD;
        send_answer(visitor, status, page ? page->type : pages[0].type, body.used, with_body);
}

/* ---- a head ---- */

static void received(struct berth_op *op)
{
        struct visitor *visitor = container_of(op, struct visitor, op);
        struct berth_port *port = visitor->admin->port;
        if (op->flags & BERTH_BUFFER) {
                ensure((size_t)op->result <= sizeof(visitor->in) - visitor->received);
                memcpy(visitor->in + visitor->received, berth_buffer_data(port, op->buffer), (size_t)op->result);
                visitor->received += (uint32_t)op->result;
                berth_buffer_put(port, op->buffer);
        }
        if (visitor->stage == CLOSING)
                return;
        if (op->result <= 0) {
                leave(visitor, 0);
                return;
        }
        struct http_head head;
        int parsed = http_parse_head(&head, visitor->in, visitor->received, &limits, &visitor->scanned);
        if (parsed == 0)
                berth_recv(port, op, &visitor->socket, 0);
        else
                answer(visitor, &head, parsed < 0 ? -parsed : 0);
}

/* ---- coming ---- */

static void tick_soon(struct admin *admin);

static struct visitor *find_free(struct admin *admin)
{
        for (unsigned i = 0; i < MAX_VISITORS; i++)
                if (admin->visitors[i].stage == FREE)
                        return &admin->visitors[i];
        return NULL;
}

/* The lowest free place, so that few of the large bodies are ever touched. */
static void welcome(struct admin *admin, int64_t connection)
{
        struct visitor *visitor = find_free(admin);
        if (!visitor || admin->stopping) {
                berth_discard(admin->port, connection);
                return;
        }
        admin->visitor_count++;
        visitor->admin = admin;
        visitor->scanned = visitor->received = 0;
        visitor->op.done = received;
        berth_adopt(admin->port, &visitor->socket, connection);
        patience(visitor, HEAD, ADMIN_HEAD_SECONDS);
        berth_recv(admin->port, &visitor->op, &visitor->socket, 0);
        tick_soon(admin);
}

/* Accepting goes on when the place is free. Those whose answer is on its way are not sent off. */
static void make_room(struct admin *admin)
{
        struct visitor *first = NULL;
        for (unsigned i = 0; i < MAX_VISITORS; i++) {
                struct visitor *visitor = &admin->visitors[i];
                bool waits = visitor->stage == HEAD || visitor->stage == LINGERING;
                if (waits && (!first || visitor->deadline_ms < first->deadline_ms))
                        first = visitor;
        }
        if (first)
                leave(first, 0);
}

static void accepted(struct berth_op *op)
{
        struct admin *admin = container_of(op, struct admin, accept);
        if (op->result >= 0)
                welcome(admin, op->result);
        if (op->flags & BERTH_MORE)
                return;
        admin->accepting = false;
        if (admin->stopping)
                return;
        make_room(admin);
        tick_soon(admin); /* nobody may be here whose leaving would help: the system has no descriptors */
}

static void accept_more(struct admin *admin)
{
        if (admin->accepting || admin->stopping)
                return;
        admin->accepting = true;
        admin->accept.done = accepted;
        berth_accept(admin->port, &admin->accept, &admin->listener);
}

/* ---- deadlines ---- */

static void ticked(struct berth_op *op)
{
        struct admin *admin = container_of(op, struct admin, tick.op);
        uint64_t now_ms = berth_port_now_ms(admin->port);
        admin->ticking = false;
        if (admin->stopping)
                return;
        for (unsigned i = 0; i < MAX_VISITORS; i++) {
                struct visitor *visitor = &admin->visitors[i];
                if (visitor->stage != FREE && now_ms >= visitor->deadline_ms)
                        leave(visitor, visitor->stage == ANSWER ? BERTH_ABORT : 0);
        }
        accept_more(admin);
        if (admin->visitor_count > 0)
                tick_soon(admin);
}

static void tick_soon(struct admin *admin)
{
        if (admin->ticking)
                return;
        admin->ticking = true;
        admin->tick.op.done = ticked;
        berth_timer_start(admin->port, &admin->tick, ADMIN_TICK_MS);
}

/* ---- the thread ---- */

static void listener_closed(struct berth_op *op)
{
        (void)op;
}

static void told_to_stop(struct berth_op *op)
{
        struct admin *admin = container_of(op, struct admin, stop);
        admin->stopping = true;
        admin->closing.done = listener_closed;
        berth_close(admin->port, &admin->closing, &admin->listener, 0);
        for (unsigned i = 0; i < MAX_VISITORS; i++)
                leave(&admin->visitors[i], 0);
        if (admin->ticking)
                berth_timer_cancel(admin->port, &admin->tick);
}

static int open_port(struct admin *admin)
{
        struct berth_port_config config = {
                .engine = listener_engine,
                .max_ops = 4 * MAX_VISITORS,
                .max_handles = MAX_VISITORS,
                .buffers = 16,
                .buffer_bytes = RECEIVE_BYTES,
        };
        int error = berth_port_create(&admin->port, &config);
        if (!error)
                error = listener_take(admin->port, &admin->listener, &admin->spec, MAX_VISITORS);
        if (!error)
                accept_more(admin);
        else
                listener_finish(&admin->spec);
        return error;
}

static void *run(void *argument)
{
        struct admin *admin = argument;
        int error = admin->error = open_port(admin);
        pthread_barrier_wait(&admin->ready);
        while (!error && (!admin->stopping || berth_port_in_flight(admin->port) > 0)) {
                int n = berth_port_run(admin->port, -1);
                if (n < 0) {
                        complain("the %s engine failed: %s", listener_engine, error_text(-n));
                        abort();
                }
        }
        berth_port_destroy(admin->port);
        return NULL;
}

/* ---- start and stop ---- */

static int find_address(struct admin *admin, const char *text)
{
        if (strncmp(text, "unix:", 5) == 0) {
                complain("--admin %s: expected ADDR:PORT or [IPv6]:PORT", text);
                return -EINVAL;
        }
        int error = listener_parse(&admin->spec, "admin", text);
        return error ? error : listener_bind(&admin->spec);
}

/* The barrier outlasts the thread: it may still be on its way out of it when we are. */
static int start_thread(struct admin *admin)
{
        pthread_barrier_init(&admin->ready, NULL, 2);
        int error = -pthread_create(&admin->thread, NULL, run, admin);
        if (!error) {
                pthread_barrier_wait(&admin->ready);
                error = admin->error;
                if (error)
                        pthread_join(admin->thread, NULL);
        }
        if (!error)
                return 0;
        pthread_barrier_destroy(&admin->ready);
        complain("cannot start --admin %s: %s", admin->server->options.admin, error_text(-error));
        return error;
}

int admin_start(struct admin **out, struct server *server)
{
        *out = NULL;
        if (!server->options.admin)
                return 0;
        struct admin *admin = calloc(1, sizeof(*admin));
        if (!admin) {
                complain("cannot start --admin %s: %s", server->options.admin, error_text(ENOMEM));
                return -ENOMEM;
        }
        admin->server = server;
        int error = find_address(admin, server->options.admin);
        if (!error) {
                metrics_identify(&admin->identity, server);
                error = start_thread(admin);
        }
        if (error) {
                free(admin);
                return error;
        }
        char name[256];
        listener_name(&admin->spec, name, sizeof(name));
        say("metrics at %smetrics", name);
        *out = admin;
        return 0;
}

void admin_stop(struct admin *admin)
{
        if (!admin)
                return;
        admin->stop.done = told_to_stop;
        berth_post(admin->port, &admin->stop, 0);
        pthread_join(admin->thread, NULL);
        pthread_barrier_destroy(&admin->ready);
        free(admin);
}
