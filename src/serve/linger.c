/* The end of a conversation. A close with unread bytes, or bytes that come later, makes the kernel send a reset, which
 * can take the answer away from a client that has not read it yet. So: our end first, then a moment for the client's,
 * whose bytes are thrown away (RFC 9112 9.6).
 *
 * A refusal takes the same way: a ready-made answer first.
 */
#include "serve/serve_priv.h"
#include "serve/transport.h"

static const char refusal[] = "HTTP/1.1 503 Service Unavailable\r\n"
                              "Server: berth\r\n"
                              "Retry-After: 10\r\n"
                              "Content-Type: text/plain\r\n"
                              "Content-Length: 39\r\n"
                              "Connection: close\r\n"
                              "\r\n"
                              "There is no room right now. Try later.\n";

static bool too_many(const struct shard *shard)
{
        return count_of(&shard->counters.states[CONN_LINGERING]) >= MAX_LINGERING;
}

static void begin(struct conn *conn)
{
        conn_set_state(conn, CONN_LINGERING);
        conn_touch(conn);
        list_remove(&conn->node);
        list_append(&shard_here->lingering, &conn->node);
        conn->active->request = NULL;
}

/* The conn whose output has come back, if it goes on; otherwise it ends. */
static struct conn *output_back(struct berth_op *op)
{
        struct active *active = container_of(op, struct active, output);
        struct conn *conn = active->conn;
        active->out = false;
        if (conn_state(conn) == CONN_CLOSING) {
                conn_join(conn);
                return NULL;
        }
        if (op->result >= 0 && !conn_input_ended(conn))
                return conn;
        conn_end(conn, false);
        return NULL;
}

static void end_sent(struct berth_op *op)
{
        struct conn *conn = output_back(op);
        if (conn)
                conn_receive(conn);
}

static void send_end(struct conn *conn)
{
        struct active *active = conn->active;
        chain_free(shard_here, &active->input_held);
        active->out = true;
        active->output.done = end_sent;
        transport_end(conn, &active->output);
}

void conn_linger(struct conn *conn)
{
        bool at_once = conn_input_ended(conn) || too_many(shard_here);
        begin(conn);
        if (at_once)
                conn_end(conn, false);
        else
                send_end(conn);
}

static void refusal_sent(struct berth_op *op)
{
        struct conn *conn = output_back(op);
        if (conn)
                send_end(conn);
}

void conn_refuse(struct conn *conn, enum refusal_reason reason)
{
        struct active *active = conn->active;
        refused(shard_here, reason);
        if (too_many(shard_here)) {
                conn_end(conn, true);
                return;
        }
        begin(conn);
        chain_free(shard_here, &active->input_held);
        active->out = true;
        active->output.done = refusal_sent;
        transport_send(conn, &active->output, refusal, sizeof(refusal) - 1);
}
