/* The seam between a connection and its socket: everything that a connection sends or receives goes through here, and
 * nothing else touches the socket. Today bytes go as they are; TLS will have its place here, with a record beside the
 * connection that these look at. Each starts an op as the call of berth/port.h does that it is named for.
 */
#ifndef SERVE_TRANSPORT_H
#define SERVE_TRANSPORT_H

#include "serve/serve_priv.h"

/* Buffers of the port with what came; goes on until the end, an error or a cancel. */
static inline void transport_receive(struct conn *conn, struct berth_op *op)
{
        berth_recv(shard_here->port, op, &conn->socket, BERTH_MULTISHOT);
}

/* What has come, into memory of the caller's; does not wait for more. */
static inline void transport_receive_now(struct conn *conn, struct berth_op *op, void *data, size_t size)
{
        berth_recv_now(shard_here->port, op, &conn->socket, data, size);
}

/* Until there is something to receive. */
static inline void transport_wait_readable(struct conn *conn, struct berth_op *op)
{
        berth_wait_readable(shard_here->port, op, &conn->socket);
}

/* Only the handle waits; nothing may be in flight, and no bytes be held back here. */
static inline void transport_rest(struct conn *conn)
{
        berth_rest(shard_here->port, &conn->socket);
}

static inline void transport_send(struct conn *conn, struct berth_op *op, const void *data, size_t size)
{
        berth_send(shard_here->port, op, &conn->socket, data, size, 0);
}

static inline void transport_sendv(struct conn *conn, struct berth_op *op, const struct berth_vec *vecs, unsigned count)
{
        berth_sendv(shard_here->port, op, &conn->socket, vecs, count);
}

static inline void transport_send_file(struct conn *conn, struct berth_op *op, struct berth_send_file *file)
{
        berth_send_file(shard_here->port, op, &conn->socket, file);
}

/* What a send that was cancelled has sent; the next op goes on with the byte behind it. */
static inline size_t transport_sent(const struct berth_op *op)
{
        return berth_sent(op);
}

/* Our end, behind what was sent. */
static inline void transport_end(struct conn *conn, struct berth_op *op)
{
        berth_shutdown(shard_here->port, op, &conn->socket);
}

static inline void transport_close(struct conn *conn, struct berth_op *op, bool abort)
{
        berth_close(shard_here->port, op, &conn->socket, abort ? BERTH_ABORT : 0);
}

#endif
