/* A connection's life.
 *
 *            accept                bytes, request free          request done
 *      ----------------> HOT ----------------------------> BUSY ------------> HOT
 *                       |   ^  `--- bytes, none free        |  |
 *        quiet a moment |   |                |     a slow   |  | not kept
 *                       |   | readable       v     reader   v  v
 *                       |   |             WAITING       SENDING --> LINGERING
 *                       v   |                ^
 *                      RESTING --------------'         any of them --> CLOSING --> gone
 *                              readable, none free
 *
 * HOT, BUSY and SENDING have a multishot receive armed (BUSY and SENDING only while they may take more) and so an
 * active; at RESTING the handle itself waits for readability, and the conn is all there is. WAITING has an active when
 * it was HOT before (shard->waiting), and else leaves in the kernel what has come (shard->readable). CLOSING waits
 * until nothing is in flight any more, then closes; one that was at rest needs an active for that, too, and waits in
 * shard->ending for it.
 */
#include "serve/change.h"
#include "serve/transport.h"

#include <errno.h>

/* conn->socket.user: the state, these bits, and the second in which the connection was last busy. */
enum {
        STATE_MASK = 7,
        ARMED = 8,  /* active->input is in flight */
        LIVE = 16,  /* has an active */
        ENDED = 32, /* the peer has sent its end */
        ABORT = 64,
        FRESH = 128, /* has never said anything */
        SINCE_SHIFT = 8,
};

enum {
        MAX_CHAIN_PIECES = 4, /* then no more is received until some are used */
};

static void conn_input(struct berth_op *op);
static void block_input(struct berth_op *op);
static void conn_closed(struct berth_op *op);

static bool has(const struct conn *conn, uint32_t bit)
{
        return conn->socket.user & bit;
}

static void set(struct conn *conn, uint32_t bit)
{
        conn->socket.user |= bit;
}

static void clear(struct conn *conn, uint32_t bit)
{
        conn->socket.user &= ~bit;
}

enum conn_state conn_state(const struct conn *conn)
{
        return conn->socket.user & STATE_MASK;
}

static void count_state(enum conn_state state, uint64_t change)
{
        count_add(&shard_here->counters.states[state], change);
}

void conn_set_state(struct conn *conn, enum conn_state state)
{
        count_state(conn_state(conn), UINT64_MAX);
        count_state(state, 1);
        conn->socket.user = (conn->socket.user & ~(uint32_t)STATE_MASK) | state;
}

void conn_touch(struct conn *conn)
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

static struct conn *first_of(struct list *list)
{
        return container_of(list->next, struct conn, node);
}

/* Out of the list it is in, at the end of another. */
static void move_to(struct list *list, struct conn *conn)
{
        list_remove(&conn->node);
        list_append(list, &conn->node);
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

void chain_move_first(struct shard *shard, struct chain *from, struct chain *to)
{
        uint16_t buffer = from->first;
        from->first = shard->pieces[buffer].next;
        from->count--;
        shard->pieces[buffer].next = NO_PIECE;
        if (to->first == NO_PIECE)
                to->first = buffer;
        else
                shard->pieces[to->last].next = buffer;
        to->last = buffer;
        to->count++;
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

/* ---- the active part ---- */

/* False at the bound, or without memory. */
static bool wake_up(struct conn *conn)
{
        struct active *active = slab_take(&shard_here->actives);
        if (!active)
                return false;
        *active = (struct active){ .input.done = conn_input, .conn = conn, .address = conn->address };
        chain_init(&active->input_held);
        conn->active = active;
        set(conn, LIVE);
        return true;
}

static void note_heard(struct active *active)
{
        shard_here->waking -= active->woken;
        active->woken = false;
}

/* Nothing of it is in flight. */
static void fall_asleep(struct conn *conn)
{
        struct active *active = conn->active;
        ensure(!has(conn, ARMED) && !active->out && chain_empty(&active->input_held));
        note_heard(active);
        conn->address = active->address;
        clear(conn, LIVE);
        slab_give(&shard_here->actives, active);
}

/* ---- receiving ---- */

void conn_receive(struct conn *conn)
{
        if (has(conn, ARMED | ENDED))
                return;
        set(conn, ARMED);
        transport_receive(conn, &conn->active->input);
}

void conn_receive_anew(struct conn *conn)
{
        if (has(conn, ARMED))
                berth_cancel(shard_here->port, &conn->active->input); /* receive_stopped() goes on */
}

bool conn_receiving(const struct conn *conn)
{
        return has(conn, ARMED);
}

static void expect_block(struct conn *conn, uint8_t block)
{
        ensure(!has(conn, ARMED | ENDED));
        set(conn, ARMED);
        conn->active->block = block;
        conn->active->input.done = block_input;
}

void conn_receive_block(struct conn *conn, uint8_t block, char *data, size_t size)
{
        expect_block(conn, block);
        transport_receive_now(conn, &conn->active->input, data, size);
}

void conn_wait_readable(struct conn *conn)
{
        expect_block(conn, 0);
        transport_wait_readable(conn, &conn->active->input);
}

static void rest(struct conn *conn)
{
        fall_asleep(conn);
        transport_rest(conn);
}

/* The receive is taken back; what rests is the handle, once the cancel is through. */
static void park(struct conn *conn)
{
        struct shard *shard = shard_here;
        conn_set_state(conn, CONN_RESTING);
        move_to(has(conn, FRESH) ? &shard->fresh : &shard->resting, conn);
        if (has(conn, ARMED))
                berth_cancel(shard->port, &conn->active->input);
        else
                rest(conn);
}

static uint64_t hot_count(void)
{
        return count_of(&shard_here->counters.states[CONN_HOT]);
}

static void make_hot(struct conn *conn)
{
        struct shard *shard = shard_here;
        conn_set_state(conn, CONN_HOT);
        move_to(&shard->hot, conn);
        conn_receive(conn);
        if (hot_count() > HOT_LIMIT)
                park(first_of(&shard->hot));
}

/* ---- a new connection ---- */

static void welcome(struct conn *conn)
{
        make_hot(conn);
        if (shard_here->draining)
                conn_end(conn, false);
}

/* In a crowd that arrives most say nothing for now: there it would only cost to make them hot first. */
static bool is_crowd(void)
{
        return hot_count() >= CROWD;
}

/* --per-address wants to know who it is. A peer that has gone already is found out by the receive. */
static void asked(struct berth_op *op)
{
        struct active *active = container_of(op, struct active, output);
        struct conn *conn = active->conn;
        const struct server *server = shard_here->server;
        active->out = false;
        if (conn_state(conn) == CONN_CLOSING) {
                conn_join(conn);
                return;
        }
        if (is_refusal(op->result)) { /* nobody knows whether it is one too many */
                refused(shard_here, REFUSED_OPERATION);
                conn_end(conn, true);
                return;
        }
        if (op->result >= 0) {
                active->address = addresses_enter(server->addresses, (struct sockaddr *)&active->peer,
                                                  server->options.per_address);
                if (active->address == 0) {
                        conn_refuse(conn, REFUSED_ADDRESS);
                        return;
                }
        }
        welcome(conn);
}

static void ask_address(struct conn *conn)
{
        struct active *active = conn->active;
        conn_set_state(conn, CONN_HOT);
        active->out = true;
        active->output.done = asked;
        berth_peer_address(shard_here->port, &active->output, &conn->socket, (struct sockaddr *)&active->peer,
                           sizeof(active->peer));
}

void conn_begin(struct shard *shard, int64_t accepted)
{
        struct conn *conn = slab_take(&shard->conns);
        if (!conn) { /* the port keeps the count, so it is memory that lacks */
                berth_discard(shard->port, accepted);
                hand_conn_gone(shard);
                accept_refused(shard, REFUSED_MEMORY);
                return;
        }
        *conn = (struct conn){ 0 };
        list_init(&conn->node);
        count_state(CONN_RESTING, 1);
        conn->socket.user = CONN_RESTING | FRESH;
        count_add(&shard->counters.accepted, 1);
        berth_adopt(shard->port, &conn->socket, accepted);
        conn_touch(conn);
        bool ask = shard->server->addresses;
        bool awake = (ask || !is_crowd()) && wake_up(conn);
        if (ask && awake) {
                ask_address(conn);
        } else if (ask) { /* nobody knows whether it is one too many */
                refused(shard, REFUSED_MEMORY);
                conn_end(conn, true);
        } else if (awake) {
                welcome(conn);
        } else {
                move_to(&shard->fresh, conn);
                transport_rest(conn);
                if (shard->draining)
                        conn_end(conn, false);
        }
}

/* ---- between requests ---- */

void conn_busy(struct conn *conn, struct request *request)
{
        list_remove(&conn->node);
        conn_set_state(conn, CONN_BUSY);
        clear(conn, FRESH);
        conn->active->request = request;
}

void conn_sending(struct conn *conn, struct download *download)
{
        conn_set_state(conn, CONN_SENDING);
        conn->active->download = download;
}

/* It gets a request for what it has sent, or it waits for one and receives no more. */
static void take_request(struct conn *conn)
{
        struct shard *shard = shard_here;
        bool turn = conn->active->turn;
        /* Those who wait already come first; it may be one of them, which had still to receive. */
        struct request *request = turn || list_empty(&shard->waiting) ? request_begin(conn) : NULL;
        conn->active->turn = false;
        if (request) {
                request_run(request);
                return;
        }
        conn_set_state(conn, CONN_WAITING);
        if (!turn)
                conn_touch(conn);
        move_to(turn ? shard->waiting.next : &shard->waiting, conn);
        if (has(conn, ARMED))
                berth_cancel(shard->port, &conn->active->input);
}

void conn_next(struct conn *conn)
{
        conn->active->request = NULL;
        conn_touch(conn);
        if (!chain_empty(&conn->active->input_held)) {
                take_request(conn);
                return;
        }
        make_hot(conn);
        if (has(conn, ENDED) || shard_here->draining)
                conn_end(conn, false);
}

/* ---- what has come in ---- */

/* In a turn only so many, when requests are left for what they may say and memory for an active; and when most of those
 * before have been heard of: what comes of a crowd that has gone must not push out those who are hot. */
static bool receive_first(struct shard *shard)
{
        bool room = shard->requests.used + shard->woken < shard->requests.limit && shard->waking < MAX_WAKING;
        struct conn *conn = first_of(&shard->readable);
        if (!room || shard->woken >= WAKE_AT_ONCE || !wake_up(conn))
                return false;
        shard->woken++;
        conn->active->turn = true;
        shard->waking++;
        conn->active->woken = true;
        make_hot(conn);
        return true;
}

/* Only noted when many come at once, be it that a whole crowd has gone: those who are hot must not wait for them. */
void conn_rested(struct berth_handle *handle)
{
        struct conn *conn = container_of(handle, struct conn, socket);
        struct shard *shard = shard_here;
        if (conn_state(conn) == CONN_CLOSING) /* since its rest has ended, in the same batch of events */
                return;
        ensure(conn_state(conn) == CONN_RESTING && !has(conn, LIVE));
        conn_set_state(conn, CONN_WAITING);
        conn_touch(conn);
        move_to(&shard->readable, conn);
        receive_first(shard);
}

/* An upload of which more is to come, while a job looks at its name or writes the piece before: as many pieces as there
 * are buffers for others. Each gives all of them back when its job is done, whatever its client does, so nobody is the
 * worse. */
static bool is_upload(const struct conn *conn)
{
        const struct request *r = conn_state(conn) == CONN_BUSY ? conn->active->request : NULL;
        return r && (r->step == STEP_BEGUN || r->step == STEP_WRITTEN) && !r->change->body_complete;
}

static unsigned pieces_ahead(const struct conn *conn)
{
        if (is_upload(conn))
                return shard_here->pieces_held > MAX_SURPLUS ? 1 : UPLOAD_PIECES;
        return MAX_CHAIN_PIECES;
}

/* What comes behind a request whose answer is the last one is of no use; a reset would take the answer away. */
static bool is_useless(const struct conn *conn)
{
        const struct request *r = conn_state(conn) == CONN_BUSY ? conn->active->request : NULL;
        if (conn_state(conn) == CONN_SENDING)
                return !conn->active->download->keep_alive;
        return r && r->status && !r->keep_alive;
}

/* Bytes ahead of their time are kept, but not so many that other connections find no buffer. */
static bool too_much(struct conn *conn)
{
        if (shard_here->pieces_held <= MAX_SURPLUS)
                return false;
        if (!is_useless(conn) && !(conn_state(conn) == CONN_BUSY && request_refuse_body(conn->active->request))) {
                refused(shard_here, REFUSED_BUFFERS);
                conn_end(conn, true);
                return true;
        }
        chain_free(shard_here, &conn->active->input_held);
        return false;
}

/* While an answer goes out: kept for the next request. */
static void bytes_ahead(struct conn *conn)
{
        struct active *active = conn->active;
        bool busy = conn_state(conn) == CONN_BUSY;
        if (active->input_held.count >= pieces_ahead(conn) && has(conn, ARMED))
                berth_cancel(shard_here->port, &active->input);
        if ((busy && active->request->wants_input) || is_upload(conn) || !too_much(conn))
                if (busy)
                        request_input(active->request);
}

static void bytes_arrived(struct conn *conn, uint16_t buffer, uint16_t size)
{
        struct shard *shard = shard_here;
        enum conn_state state = conn_state(conn);
        count_add(&shard->counters.received_bytes, size);
        if (state == CONN_CLOSING || state == CONN_LINGERING) {
                berth_buffer_put(shard->port, buffer);
                return;
        }
        chain_append(shard, &conn->active->input_held, buffer, size);
        if (state == CONN_HOT || state == CONN_RESTING) /* resting: between the cancel of the receive and its end */
                take_request(conn);
        else if (state == CONN_WAITING)
                too_much(conn);
        else
                bytes_ahead(conn);
}

/* The receive was cancelled by us: to rest, or to hold back more bytes. */
static void receive_stopped(struct conn *conn)
{
        enum conn_state state = conn_state(conn);
        bool wanted = state == CONN_BUSY && conn->active->request->wants_input;
        if (state == CONN_RESTING)
                rest(conn);
        else if (wanted && conn->active->request->step == STEP_RECEIVE)
                request_input(conn->active->request); /* it may want to receive otherwise */
        else if (state == CONN_HOT || state == CONN_LINGERING || wanted)
                conn_receive(conn);
}

static void input_ended(struct conn *conn)
{
        enum conn_state state = conn_state(conn);
        set(conn, ENDED);
        if (state == CONN_BUSY)
                request_input(conn->active->request);
        else if (state != CONN_WAITING && state != CONN_SENDING && !(state == CONN_LINGERING && conn->active->out))
                conn_end(conn, false); /* half-closed: what came before the end is still answered */
}

static void conn_input(struct berth_op *op)
{
        struct active *active = container_of(op, struct active, input);
        struct conn *conn = active->conn;
        note_heard(active);
        if (!(op->flags & BERTH_MORE))
                clear(conn, ARMED);
        if (op->flags & BERTH_BUFFER)
                bytes_arrived(conn, op->buffer, (uint16_t)op->result);
        else if (conn_state(conn) == CONN_CLOSING)
                conn_join(conn);
        else if (op->result == -ECANCELED)
                receive_stopped(conn);
        else if (op->result == 0)
                input_ended(conn);
        else
                conn_failed(conn, op->result);
}

/* Whoever gave the block may be gone. */
static void return_block(struct conn *conn, uint8_t block)
{
        struct active *active = conn->active;
        bool has_request = conn_state(conn) == CONN_BUSY || (conn_state(conn) == CONN_CLOSING && !active->was_sending);
        const struct request *r = has_request ? active->request : NULL;
        if (block && !(r && r->change && r->change->filling_block == block))
                blocks_give(&shard_here->blocks, block);
}

/* A receive into a block, or the wait before it. */
static void block_input(struct berth_op *op)
{
        struct active *active = container_of(op, struct active, input);
        struct conn *conn = active->conn;
        uint8_t block = active->block;
        clear(conn, ARMED);
        active->input.done = conn_input;
        active->block = 0;
        return_block(conn, block);
        if (block && op->result > 0)
                count_add(&shard_here->counters.received_bytes, (uint64_t)op->result);
        if (conn_state(conn) == CONN_CLOSING)
                conn_join(conn);
        else if (block && op->result == 0)
                input_ended(conn);
        else if (op->result < 0 && op->result != -EAGAIN && op->result != -ECANCELED)
                conn_failed(conn, op->result);
        else if (conn_state(conn) == CONN_BUSY && active->request->change)
                flow_arrived(active->request, block, op->result);
        else
                receive_stopped(conn);
}

/* ---- ending ---- */

void conn_failed(struct conn *conn, int64_t error)
{
        if (is_refusal(error))
                refused(shard_here, REFUSED_OPERATION);
        conn_end(conn, error == -EIO); /* the file fell short: a reset tells, an end would not */
}

/* Of one that was at rest: as many at a time as may be in flight. */
static void end_later(struct conn *conn)
{
        move_to(&shard_here->ending, conn);
        conn_end_some(shard_here);
}

/* No length tells how much there is (a listing for HTTP/1.0): what is cut off must not look whole. */
static bool ends_with_connection(const struct request *r)
{
        return r->has_listing && !r->chunked && r->status;
}

void conn_end(struct conn *conn, bool abort)
{
        struct shard *shard = shard_here;
        enum conn_state state = conn_state(conn);
        if (abort)
                set(conn, ABORT);
        if (state == CONN_CLOSING)
                return;
        list_remove(&conn->node);
        conn_set_state(conn, CONN_CLOSING);
        if (!has(conn, LIVE)) {
                end_later(conn);
                return;
        }
        struct active *active = conn->active;
        active->was_sending = state == CONN_SENDING;
        if (state == CONN_BUSY) {
                if (ends_with_connection(active->request))
                        set(conn, ABORT);
                list_remove(&active->request->place);
                if (active->request->on_socket)
                        berth_cancel(shard->port, &active->request->op);
                if (active->request->pausing)
                        berth_timer_cancel(shard->port, &active->request->pause);
        } else if (state != CONN_SENDING) {
                active->request = NULL;
        }
        if (has(conn, ARMED))
                berth_cancel(shard->port, &active->input);
        if (active->out)
                berth_cancel(shard->port, &active->output);
        conn_join(conn);
}

void conn_join(struct conn *conn)
{
        struct active *active = conn->active;
        ensure(conn_state(conn) == CONN_CLOSING);
        struct request *request = active->was_sending ? NULL : active->request;
        if (has(conn, ARMED) || active->out || (request && request->in_flight))
                return;
        if (request)
                request_release(request);
        else if (active->was_sending)
                download_release(active->download);
        chain_free(shard_here, &active->input_held);
        active->input.done = conn_closed;
        transport_close(conn, &active->input, has(conn, ABORT));
}

static void forget(struct conn *conn)
{
        struct shard *shard = shard_here;
        struct active *active = conn->active;
        note_heard(active);
        if (active->address)
                addresses_leave(shard->server->addresses, active->address);
        slab_give(&shard->actives, active);
        count_state(CONN_CLOSING, UINT64_MAX);
        slab_give(&shard->conns, conn);
        hand_conn_gone(shard);
        accept_conn_gone(shard);
}

static void conn_closed(struct berth_op *op)
{
        forget(container_of(op, struct active, input)->conn);
}

static void rester_closed(struct berth_op *op)
{
        shard_here->endings--;
        forget(container_of(op, struct active, input)->conn);
}

void conn_end_some(struct shard *shard)
{
        while (!list_empty(&shard->ending) && shard->endings < MAX_ENDING) {
                struct conn *conn = first_of(&shard->ending);
                if (!wake_up(conn))
                        return;
                list_remove(&conn->node);
                shard->endings++;
                conn->active->input.done = rester_closed;
                transport_close(conn, &conn->active->input, has(conn, ABORT));
        }
}

/* ---- many at a time ---- */

/* Of the two lines of those who wait the one whose first has waited longer, to the second, goes on. */
static bool readable_is_next(struct shard *shard)
{
        if (list_empty(&shard->readable) || list_empty(&shard->waiting))
                return !list_empty(&shard->readable);
        return quiet_seconds(first_of(&shard->readable)) > quiet_seconds(first_of(&shard->waiting));
}

void conn_admit(struct shard *shard)
{
        shard->woken = 0;
        while (readable_is_next(shard) && receive_first(shard))
                ;
        while (!list_empty(&shard->waiting)) {
                struct request *request = request_begin(first_of(&shard->waiting));
                if (!request)
                        return;
                request_run(request);
        }
        while (!list_empty(&shard->readable) && receive_first(shard))
                ;
}

/* Who waits without an active gets one for this, or is reset. */
static void refuse_waiting(struct conn *conn)
{
        if (has(conn, LIVE) || wake_up(conn)) {
                conn_refuse(conn, REFUSED_REQUESTS);
        } else {
                refused(shard_here, REFUSED_REQUESTS);
                conn_end(conn, true);
        }
}

static void refuse_late(struct list *list)
{
        for (unsigned n = 0; n < MAX_SWEEP && !list_empty(list); n++) {
                if (quiet_seconds(first_of(list)) < PLACE_SECONDS)
                        return;
                refuse_waiting(first_of(list));
        }
}

/* Ends those of the list that have been quiet for so long, a bounded number of them. */
static unsigned end_idle(struct list *list, uint32_t seconds)
{
        unsigned n = 0;
        while (n < MAX_SWEEP && !list_empty(list) && quiet_seconds(first_of(list)) > seconds) {
                conn_end(first_of(list), false);
                n++;
        }
        return n;
}

void conn_sweep(struct shard *shard)
{
        const struct serve_options *options = &shard->server->options;
        uint32_t parked_after = min_of((uint32_t)HOT_SECONDS, min_of(options->idle_seconds, options->head_seconds));
        while (!list_empty(&shard->hot) && quiet_seconds(first_of(&shard->hot)) >= parked_after)
                park(first_of(&shard->hot));
        unsigned mute = end_idle(&shard->fresh, options->head_seconds);
        count_add(&shard->counters.refusals[LATE_HEAD], mute);
        end_idle(&shard->resting, options->idle_seconds);
        end_idle(&shard->lingering, LINGER_SECONDS);
        refuse_late(&shard->waiting);
        refuse_late(&shard->readable);
}

/* Of two lists the one whose first has been quiet longer; NULL when both are empty. */
static struct list *quieter(struct list *a, struct list *b)
{
        if (list_empty(a) || list_empty(b))
                return !list_empty(a) ? a : !list_empty(b) ? b : NULL;
        return quiet_seconds(first_of(a)) >= quiet_seconds(first_of(b)) ? a : b;
}

unsigned conn_shed(struct shard *shard, unsigned count)
{
        unsigned n = 0;
        struct list *list;
        while (n < count && (list = quieter(&shard->fresh, &shard->resting))) {
                refused(shard, SHED_IDLE);
                conn_end(first_of(list), true);
                n++;
        }
        return n;
}

void conn_end_quiet(struct shard *shard)
{
        struct list *const lists[] = { &shard->hot, &shard->fresh, &shard->resting };
        for (size_t i = 0; i < array_count(lists); i++)
                while (!list_empty(lists[i]))
                        conn_end(first_of(lists[i]), false);
}
