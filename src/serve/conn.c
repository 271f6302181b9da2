/* A connection's life.
 *
 *            accept                bytes, request free          request done
 *      ----------------> HOT ----------------------------> BUSY ------------> HOT
 *                        |  ^  `--- bytes, none free --> WAITING --^
 *         quiet a moment |  | readable
 *                        v  |
 *                      RESTING                      any of them ----------> CLOSING --> gone
 *
 * HOT and BUSY have a multishot receive armed (BUSY only while it may take more); RESTING waits for readability and
 * holds no buffer; CLOSING waits until nothing is in flight any more, then closes. One op, `input`, does all of it.
 */
#include "serve/serve_priv.h"

#include <errno.h>

/* conn->socket.user: the state, these bits, and the second in which the connection was last busy. */
enum {
        STATE_MASK = 7,
        ARMED = 8,   /* `input` is in flight */
        PARKED = 16, /* ... and it is a wait for readability */
        ENDED = 32,  /* the peer has sent its end */
        ABORT = 64,
        SINCE_SHIFT = 8,
};

enum {
        MAX_CHAIN_PIECES = 4,           /* then no more is received until some are used */
        MAX_SURPLUS = BUFFER_COUNT / 2, /* pieces held in all, past which nobody may bring more than is asked for */
};

static void conn_input(struct berth_op *op);
static void conn_closed(struct berth_op *op);

enum conn_state conn_state(const struct conn *conn)
{
        return conn->socket.user & STATE_MASK;
}

static void set_state(struct conn *conn, enum conn_state state)
{
        conn->socket.user = (conn->socket.user & ~(uint32_t)STATE_MASK) | state;
}

static bool has(const struct conn *conn, uint32_t bit)
{
        return conn->socket.user & bit;
}

static void touch(struct conn *conn)
{
        conn->socket.user = (conn->socket.user & ((1u << SINCE_SHIFT) - 1)) | shard_here->now_seconds << SINCE_SHIFT;
}

static uint32_t quiet_seconds(const struct conn *conn)
{
        return (shard_here->now_seconds - (conn->socket.user >> SINCE_SHIFT)) & (UINT32_MAX >> SINCE_SHIFT);
}

bool conn_input_ended(const struct conn *conn)
{
        return has(conn, ENDED);
}

/* ---- pieces ---- */

void chain_init(struct chain *chain)
{
        *chain = (struct chain){ NO_PIECE, NO_PIECE, 0 };
}

static void chain_append(struct shard *shard, struct chain *chain, uint16_t buffer, uint16_t size)
{
        shard->pieces[buffer] = (struct piece){ .next = NO_PIECE, .size = size };
        if (chain->first == NO_PIECE)
                chain->first = buffer;
        else
                shard->pieces[chain->last].next = buffer;
        chain->last = buffer;
        chain->count++;
        shard->pieces_held++;
}

struct span chain_first(struct shard *shard, const struct chain *chain)
{
        const struct piece *piece = &shard->pieces[chain->first];
        return (struct span){ berth_buffer_data(shard->port, chain->first) + piece->at, piece->size };
}

void chain_consume(struct shard *shard, struct chain *chain, size_t n)
{
        uint16_t buffer = chain->first;
        struct piece *piece = &shard->pieces[buffer];
        ensure(n <= piece->size);
        piece->at = (uint16_t)(piece->at + n);
        piece->size = (uint16_t)(piece->size - n);
        if (piece->size > 0)
                return;
        chain->first = piece->next;
        chain->count--;
        shard->pieces_held--;
        berth_buffer_put(shard->port, buffer);
}

void chain_free(struct shard *shard, struct chain *chain)
{
        while (!chain_empty(chain))
                chain_consume(shard, chain, shard->pieces[chain->first].size);
}

/* ---- receiving ---- */

void conn_receive(struct conn *conn)
{
        if (has(conn, ARMED | ENDED))
                return;
        conn->socket.user |= ARMED;
        berth_recv(shard_here->port, &conn->input, &conn->socket, BERTH_MULTISHOT);
}

static void make_hot(struct conn *conn)
{
        set_state(conn, CONN_HOT);
        touch(conn);
        list_append(&shard_here->hot, &conn->node);
        conn_receive(conn);
}

void conn_begin(struct shard *shard, int64_t accepted)
{
        struct conn *conn = slab_take(&shard->conns);
        ensure(conn); /* there are more records than the kernel gives descriptors */
        *conn = (struct conn){ .input.done = conn_input };
        list_init(&conn->node);
        berth_adopt(shard->port, &conn->socket, accepted);
        make_hot(conn);
        if (shard->draining)
                conn_end(conn, false);
}

void conn_busy(struct conn *conn, struct request *request)
{
        list_remove(&conn->node);
        set_state(conn, CONN_BUSY);
        conn->request = request;
}

void conn_quiet(struct conn *conn)
{
        conn->request = NULL;
        make_hot(conn);
        if (has(conn, ENDED) || shard_here->draining)
                conn_end(conn, false);
}

/* Bytes for a connection without a request: it gets one, or it waits for one and receives no more. */
static void bytes_for_quiet(struct conn *conn, uint16_t buffer, uint16_t size)
{
        struct shard *shard = shard_here;
        struct chain held;
        chain_init(&held);
        chain_append(shard, &held, buffer, size);
        list_remove(&conn->node);
        conn->held = held;
        /* Those who wait already come first. */
        struct request *request = list_empty(&shard->waiting) ? request_begin(conn) : NULL;
        if (request) {
                request_run(request);
                return;
        }
        set_state(conn, CONN_WAITING);
        touch(conn);
        list_append(&shard->waiting, &conn->node);
        berth_cancel(shard->port, &conn->input);
}

/* Bytes ahead of their time are kept, but not so many that other connections find no buffer. */
static bool too_much(struct conn *conn)
{
        if (shard_here->pieces_held <= MAX_SURPLUS)
                return false;
        conn_end(conn, true);
        return true;
}

static void bytes_arrived(struct conn *conn, uint16_t buffer, uint16_t size)
{
        struct shard *shard = shard_here;
        switch (conn_state(conn)) {
        case CONN_HOT:
        case CONN_RESTING: /* between the cancel of the receive and its end */
                bytes_for_quiet(conn, buffer, size);
                return;
        case CONN_WAITING:
                chain_append(shard, &conn->held, buffer, size);
                too_much(conn);
                return;
        case CONN_BUSY:
                chain_append(shard, &conn->request->input, buffer, size);
                if (conn->request->input.count >= MAX_CHAIN_PIECES && has(conn, ARMED))
                        berth_cancel(shard->port, &conn->input);
                if (conn->request->wants_input || !too_much(conn))
                        request_input(conn->request);
                return;
        case CONN_CLOSING:
                berth_buffer_put(shard->port, buffer);
                return;
        }
}

/* The receive was cancelled by us: to rest, or to hold back more bytes. */
static void receive_stopped(struct conn *conn)
{
        if (conn_state(conn) == CONN_RESTING) {
                conn->socket.user |= ARMED | PARKED;
                berth_wait_readable(shard_here->port, &conn->input, &conn->socket);
        } else if (conn_state(conn) == CONN_HOT || (conn_state(conn) == CONN_BUSY && conn->request->wants_input)) {
                conn_receive(conn);
        }
}

static void input_ended(struct conn *conn)
{
        conn->socket.user |= ENDED;
        if (conn_state(conn) == CONN_BUSY)
                request_input(conn->request);
        else if (conn_state(conn) != CONN_WAITING) /* half-closed: what came before the end is still answered */
                conn_end(conn, false);
}

static void readable(struct conn *conn)
{
        list_remove(&conn->node);
        make_hot(conn);
}

static void conn_input(struct berth_op *op)
{
        struct conn *conn = container_of(op, struct conn, input);
        bool parked = has(conn, PARKED);
        if (!(op->flags & BERTH_MORE))
                conn->socket.user &= ~(uint32_t)(ARMED | PARKED);
        if (op->flags & BERTH_BUFFER)
                bytes_arrived(conn, op->buffer, (uint16_t)op->result);
        else if (conn_state(conn) == CONN_CLOSING)
                conn_join(conn);
        else if (op->result == -ECANCELED)
                receive_stopped(conn);
        else if (parked && op->result == 0)
                readable(conn);
        else if (op->result == 0)
                input_ended(conn);
        else
                conn_end(conn, false);
}

/* ---- ending ---- */

void conn_end(struct conn *conn, bool abort)
{
        struct shard *shard = shard_here;
        enum conn_state state = conn_state(conn);
        if (abort)
                conn->socket.user |= ABORT;
        if (state == CONN_CLOSING)
                return;
        list_remove(&conn->node);
        if (state == CONN_WAITING)
                chain_free(shard, &conn->held);
        if (state == CONN_BUSY)
                list_remove(&conn->request->place);
        else
                conn->request = NULL;
        set_state(conn, CONN_CLOSING);
        if (has(conn, ARMED))
                berth_cancel(shard->port, &conn->input);
        if (conn->request && conn->request->on_socket)
                berth_cancel(shard->port, &conn->request->op);
        conn_join(conn);
}

void conn_join(struct conn *conn)
{
        ensure(conn_state(conn) == CONN_CLOSING);
        struct request *request = conn->request;
        if (has(conn, ARMED) || (request && request->in_flight))
                return;
        conn->request = NULL;
        if (request)
                request_release(request);
        conn->input.done = conn_closed;
        berth_close(shard_here->port, &conn->input, &conn->socket, has(conn, ABORT) ? BERTH_ABORT : 0);
}

static void conn_closed(struct berth_op *op)
{
        slab_give(&shard_here->conns, container_of(op, struct conn, input));
        shard_conn_gone(shard_here);
}

/* ---- many at a time ---- */

static struct conn *first_of(struct list *list)
{
        return container_of(list->next, struct conn, node);
}

void conn_admit(struct shard *shard)
{
        while (!list_empty(&shard->waiting)) {
                struct request *request = request_begin(first_of(&shard->waiting));
                if (!request)
                        return;
                request_run(request);
        }
}

/* The receive is taken back; what rests is the wait for readability, once the cancel is through. */
static void park(struct shard *shard, struct conn *conn)
{
        list_remove(&conn->node);
        set_state(conn, CONN_RESTING);
        list_append(&shard->resting, &conn->node);
        if (has(conn, ARMED))
                berth_cancel(shard->port, &conn->input);
        else
                receive_stopped(conn);
}

void conn_sweep(struct shard *shard)
{
        while (!list_empty(&shard->hot) && quiet_seconds(first_of(&shard->hot)) >= HOT_SECONDS)
                park(shard, first_of(&shard->hot));
        while (!list_empty(&shard->resting) && quiet_seconds(first_of(&shard->resting)) >= IDLE_SECONDS)
                conn_end(first_of(&shard->resting), false);
        while (!list_empty(&shard->waiting) && quiet_seconds(first_of(&shard->waiting)) >= PLACE_SECONDS)
                conn_end(first_of(&shard->waiting), true);
}

void conn_shed(struct shard *shard, unsigned count)
{
        while (count-- > 0 && !list_empty(&shard->resting))
                conn_end(first_of(&shard->resting), false);
}

void conn_end_quiet(struct shard *shard)
{
        while (!list_empty(&shard->hot))
                conn_end(first_of(&shard->hot), false);
        while (!list_empty(&shard->resting))
                conn_end(first_of(&shard->resting), false);
}
