/* One of the crowd. A session is a connection with some asks, put into one stream of bytes beforehand; how it is sent,
 * how the answers are taken and how it ends is up to the client's manners. client_goes_on() is called after each event
 * and starts what can be started.
 */
#include "crowd.h"

#include <errno.h>
#include <stdlib.h>

enum { AGAIN_MS = 2000, STUCK_MS = 100 * 1000 };

static void client_goes_on(struct client *c);
static void start_session(struct client *c);

static bool has(const struct client *c, unsigned manners)
{
        return c->manners & manners;
}

/* The ask that is being answered; NULL: none is left. */
static struct ask *current(struct client *c)
{
        return c->answered < c->ask_count ? &c->asks[c->answered] : NULL;
}

/* ---- what may happen ---- */

static bool may_refuse(void)
{
        return run.tight || run.faults;
}

static bool was_refused(int64_t result)
{
        return result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS;
}

static bool is_reset(int64_t result)
{
        return result == -ECONNRESET || result == -EPIPE || result == -ENOTCONN;
}

/* May the server break the connection off in the middle of an answer? Who is closed while idle may lose the end of an
 * answer that it was slow to take, and so may who goes on sending long after an answer that closes; a listing ends when
 * no worker has room for the next piece of it. */
static bool may_break_inside(struct client *c)
{
        const struct ask *ask = current(c);
        bool lists = ask && ask->body == BODY_LISTING, outlasts = ask && ask->closes && has(c, SLOW | DRIPS);
        return run.faults || run.cut || has(c, VANISHES | STUCK) || outlasts || (run.tight && (lists || has(c, SLOW)));
}

static bool may_break_outside(struct client *c)
{
        return run.tight || run.draining || c->told || may_break_inside(c);
}

/* ... or end it in good order without having answered everything? */
static bool may_end(struct client *c)
{
        bool waits = current(c) && c->sent > current(c)->at;
        if (run.faults || run.draining || has(c, VANISHES | STUCK) || !current(c))
                return true;
        return run.tight && (!waits || run.dearth);
}

/* ---- the end of a session ---- */

static void next_session(struct client *c)
{
        for (unsigned i = 0; i < CLIENT_TIMERS; i++)
                if (c->clocks[i].on)
                        return; /* its end comes back here */
        c->open = c->closing = false;
        answer_reset(&c->answer);
        run_progress();
        if (run.draining || (c->plain ? c->served : --c->sessions == 0)) {
                c->done = true;
                run.clients_left--;
                return;
        }
        start_session(c);
}

static void stop_clocks(struct client *c)
{
        for (unsigned i = 0; i < CLIENT_TIMERS; i++)
                if (c->clocks[i].on)
                        berth_timer_cancel(run.shard->port, &c->clocks[i].timer);
}

static void closed(struct berth_op *op)
{
        struct client *c = container_of(op, struct client, close);
        note("closed", c->id, op->result);
        check(op->result == 0 && !c->recv_on && !c->send_on && !c->misc_on);
        check(c->handle.kind == 0);
        free(c->stream);
        c->stream = NULL;
        stop_clocks(c);
        next_session(c);
}

static void close_client(struct client *c, unsigned flags)
{
        if (c->closing)
                return;
        c->closing = true;
        c->close.done = closed;
        berth_close(run.shard->port, &c->close, &c->handle, flags);
}

/* An answer is complete. */
static void answered(struct client *c)
{
        note("answer", c->id, c->answer.status);
        run.statuses[c->answer.refusal ? 0 : c->answer.status]++;
        run.answers++;
        c->served = c->answer.status == 200;
        c->told = c->answer.closes;
        c->most = c->answer.closes ? min_of(c->most, c->sent) : c->most;
        c->answered = c->answer.closes ? c->ask_count : c->answered + 1;
        c->pause_ms = run.unit_ms * 3 / 8;
        if (!has(c, PIPELINES)) /* then the next ask may have begun already */
                c->drip_ms = run.unit_ms / 2;
        c->quiet_since_ms = run_now_ms();
        answer_reset(&c->answer);
}

/* The peer's end, or an error, judged. */
static void ended(struct client *c, int64_t result)
{
        bool inside = !answer_untouched(&c->answer);
        note("end", c->id, result);
        c->ended = true;
        if (result == 0 && !c->send_failed) {
                if (inside && current(c))
                        answer_end(&c->answer, current(c));
                if (c->answer.complete) {
                        answered(c);
                        inside = false;
                }
                check(!inside || may_break_inside(c));
                check(may_end(c));
                return;
        }
        run.broken++;
        check(result == 0 || is_reset(result) || (run.faults && was_refused(result)));
        check(inside ? may_break_inside(c) : may_break_outside(c));
}

/* ---- clocks ---- */

static void clock_rang(struct berth_op *op)
{
        struct client_clock *clock = container_of(container_of(op, struct berth_timer, op), struct client_clock, timer);
        struct client *c = clock->client;
        clock->on = false;
        if (!c->open || (c->closing && c->handle.kind == 0)) { /* it waited for this */
                if (!c->stream)
                        next_session(c);
                return;
        }
        if (c->closing)
                return;
        if (clock == &c->clocks[TIMER_LIFE] && op->result == 0) {
                note("vanishes", c->id, 0);
                close_client(c, chance(2) ? BERTH_ABORT : 0);
                return;
        }
        client_goes_on(c);
}

static void set_clock(struct client *c, enum client_timer which, uint64_t ms)
{
        struct client_clock *clock = &c->clocks[which];
        clock->client = c;
        clock->on = true;
        clock->timer.op.done = clock_rang;
        berth_timer_start(run.shard->port, &clock->timer, ms);
}

/* ---- receiving ---- */

static void take(struct client *c, struct span bytes)
{
        run_progress();
        if (has(c, MUTE))
                check(may_refuse());
        while (bytes.size > 0) {
                struct ask *ask = current(c);
                if (!ask && may_refuse())
                        return; /* behind a refusal that nobody knows the length of, since it answers a HEAD */
                check(ask);
                size_t taken = answer_take(&c->answer, ask, bytes, may_refuse(), run.draining);
                bytes.data += taken;
                bytes.size -= taken;
                check(c->sent + c->sending > ask->at || (!c->answer.status || c->answer.status == 503));
                if (c->answer.complete)
                        answered(c);
        }
}

/* Some of the time that is left for something. */
static uint64_t some_of(uint64_t *left_ms, uint32_t most_ms)
{
        uint64_t ms = chance(most_ms);
        ms = min_of(ms, *left_ms);
        *left_ms -= ms;
        return ms;
}

static void maybe_pause(struct client *c)
{
        uint64_t ms = 0;
        if (has(c, STUCK) && !answer_untouched(&c->answer) && c->pauses++ == 0) {
                ms = STUCK_MS;
        } else if (has(c, SLOW) && chance(3) == 0) {
                ms = some_of(&c->pause_ms, 20000);
        }
        if (ms == 0 || c->clocks[TIMER_RECEIVE].on)
                return;
        note("pauses", c->id, (int64_t)ms);
        set_clock(c, TIMER_RECEIVE, ms);
        if (c->recv_on)
                berth_cancel(run.shard->port, &c->recv);
}

static void received(struct berth_op *op)
{
        struct client *c = container_of(op, struct client, recv);
        check(c->recv_on);
        if (!(op->flags & BERTH_MORE))
                c->recv_on = false;
        if (op->flags & BERTH_BUFFER) {
                note("bytes", c->id, op->result);
                if (!c->closing)
                        take(c, (struct span){ berth_buffer_data(run.shard->port, op->buffer), (size_t)op->result });
                berth_buffer_put(run.shard->port, op->buffer);
                if (!c->closing)
                        maybe_pause(c);
        } else if (op->result != -ECANCELED && !c->closing) {
                ended(c, op->result);
        }
        client_goes_on(c);
}

static void receive(struct client *c)
{
        if (c->recv_on || c->ended || c->clocks[TIMER_RECEIVE].on)
                return;
        c->recv_on = true;
        c->recv.done = received;
        berth_recv(run.shard->port, &c->recv, &c->handle, chance(2) ? BERTH_MULTISHOT : 0);
}

/* ---- sending ---- */

static void sent(struct berth_op *op)
{
        struct client *c = container_of(op, struct client, send);
        c->send_on = false;
        if (op->result < 0) {
                note("unsent", c->id, op->result);
                check(c->closing || is_reset(op->result) || (run.faults && was_refused(op->result)));
                c->send_failed = true;
                c->sent += berth_sent(op);
                if (was_refused(op->result))
                        close_client(c, BERTH_ABORT);
        } else {
                note("sent", c->id, op->result);
                c->sent += c->sending;
        }
        c->sending = 0;
        client_goes_on(c);
}

/* How far it may send by now. */
static size_t send_limit(struct client *c)
{
        const struct ask *ask = current(c);
        if (!ask || has(c, PIPELINES))
                return ask ? c->most : c->sent;
        bool hold = ask->expects && c->answer.hundreds == 0;
        return min_of(c->most, ask->at + (hold ? ask->head_bytes : ask->bytes));
}

/* True while it waits before the ask that comes next. */
static bool thinks(struct client *c)
{
        const struct ask *ask = current(c);
        if (!has(c, THINKS) || !ask || c->sent != ask->at || c->thought > c->answered)
                return false;
        c->thought = c->answered + 1;
        set_clock(c, TIMER_SEND, 1 + chance((uint32_t)(run.unit_ms * 3 / 8)));
        return true;
}

static bool drips(struct client *c)
{
        const struct ask *ask = current(c);
        if (!has(c, DRIPS) || c->drip_ms == 0 || !ask || c->sent <= ask->at || chance(2))
                return false;
        set_clock(c, TIMER_SEND, some_of(&c->drip_ms, 3000));
        return true;
}

static void send_more(struct client *c)
{
        size_t limit = send_limit(c);
        if (c->send_on || c->clocks[TIMER_SEND].on || c->send_failed || c->shut || c->sent >= limit)
                return;
        if (thinks(c) || drips(c))
                return;
        size_t size = limit - c->sent;
        if (has(c, DRIPS) || chance(8) == 0)
                size = 1 + chance((uint32_t)size);
        c->sending = size;
        c->send_on = true;
        c->send.done = sent;
        berth_send(run.shard->port, &c->send, &c->handle, c->stream + c->sent, size, 0);
}

static void shut(struct berth_op *op)
{
        struct client *c = container_of(op, struct client, misc);
        c->misc_on = false;
        note("shut", c->id, op->result);
        check(op->result == 0 || c->closing || is_reset(op->result) || (run.faults && was_refused(op->result)));
        if (op->result < 0)
                close_client(c, 0);
        client_goes_on(c);
}

static void shut_half(struct client *c)
{
        if (!has(c, HALF) || c->shut || c->send_on || c->misc_on || c->send_failed || c->sent < c->most)
                return;
        c->shut = true;
        c->misc_on = true;
        c->misc.done = shut;
        berth_shutdown(run.shard->port, &c->misc, &c->handle);
}

/* ---- going on ---- */

/* Who outstays or says nothing is closed in its time, and not before. It may take longer, since the simulator ends a
 * rest now and then for no reason, and then the time begins anew. */
static void judge_patience(const struct client *c)
{
        const struct serve_options *options = &run.server->options;
        uint64_t seconds = has(c, MUTE) ? options->head_seconds : options->idle_seconds;
        uint64_t waited = run_now_ms() - c->quiet_since_ms;
        if (!has(c, MUTE | OUTSTAYS) || !run.strict || run.draining || c->answered < c->ask_count || c->told)
                return;
        check(waited + 2000 >= seconds * 1000 && waited <= seconds * 10000);
}

static bool is_over(const struct client *c)
{
        if (c->ended)
                return true;
        if (c->answered < c->ask_count || has(c, MUTE | OUTSTAYS | HALF))
                return false;
        return !has(c, WAITS);
}

static void client_goes_on(struct client *c)
{
        if (c->closing || !c->open)
                return;
        if (is_over(c)) {
                if (c->ended)
                        judge_patience(c);
                close_client(c, chance(4) ? 0 : BERTH_ABORT);
                return;
        }
        receive(c);
        send_more(c);
        shut_half(c);
}

/* ---- the beginning of a session ---- */

static void connected(struct berth_op *op)
{
        struct client *c = container_of(op, struct client, misc);
        c->misc_on = false;
        note("connected", c->id, op->result);
        if (op->result == 0) {
                run.connected++;
                c->open = true;
                c->quiet_since_ms = run_now_ms();
                if (has(c, VANISHES))
                        set_clock(c, TIMER_LIFE, chance(4) ? chance(3000) : chance((uint32_t)run.unit_ms));
                client_goes_on(c);
                return;
        }
        bool refused_for_good = op->result == -ECONNREFUSED;
        check(refused_for_good ? run.draining : run.faults || (run.tight && was_refused(op->result)));
        check(c->handle.kind == 0);
        free(c->stream);
        c->stream = NULL;
        c->sessions += !c->plain;
        set_clock(c, TIMER_SEND, 1 + chance(AGAIN_MS));
}

static unsigned some_manners(void)
{
        static const unsigned alone[] = { VANISHES, STUCK, MUTE, STALLS, OUTSTAYS };
        unsigned manners = 0;
        for (unsigned bit = PIPELINES; bit <= WAITS; bit *= 2)
                if (chance(4) == 0)
                        manners |= bit;
        if (chance(5) == 0)
                manners |= alone[chance(array_count(alone))];
        if (manners & PIPELINES)
                manners &= ~(unsigned)THINKS;
        if (manners & (OUTSTAYS | MUTE | STALLS))
                manners &= (OUTSTAYS | MUTE | STALLS);
        return manners;
}

static void make_stall(struct client *c, struct text *out)
{
        struct ask *ask = &c->asks[c->ask_count - 1];
        bool inside = chance(2);
        out->used = ask->at;
        if (inside)
                ask_with_body(ask, out);
        else
                ask_plain(ask, out);
        size_t from = inside ? ask->head_bytes : 4;
        c->most = ask->at + from + chance((uint32_t)(ask->bytes - from));
        ask->status = 408;
        ask->body = BODY_PAGE;
        ask->closes = true;
}

static void make_stream(struct client *c)
{
        c->stream = malloc(STREAM_BYTES);
        check(c->stream);
        struct text out = text_in(c->stream, STREAM_BYTES);
        c->ask_count = has(c, MUTE) ? 0 : c->plain ? 1 : 1 + chance(MAX_ASKS);
        for (unsigned i = 0; i < c->ask_count; i++) {
                if (c->plain)
                        ask_plain(&c->asks[i], &out);
                else
                        ask_make(&c->asks[i], &out, i + 1 == c->ask_count, !has(c, PIPELINES));
        }
        for (unsigned i = 0; i < c->ask_count; i++)
                c->asks[i].may_be_late = has(c, STUCK);
        c->most = out.used;
        if (has(c, STALLS))
                make_stall(c, &out);
        c->stream_bytes = out.used;
}

static void start_session(struct client *c)
{
        c->manners = c->plain ? 0 : some_manners();
        c->answered = c->thought = c->pauses = 0;
        c->sent = c->sending = 0;
        c->ended = c->send_failed = c->shut = c->told = false;
        c->drip_ms = run.unit_ms / 2;
        c->pause_ms = run.unit_ms * 3 / 8;
        answer_reset(&c->answer);
        make_stream(c);
        run.sessions++;
        run.unjudged += has(c, VANISHES | STUCK);
        note("session", c->id, c->manners);
        c->misc_on = true;
        c->misc.done = connected;
        berth_connect(run.shard->port, &c->misc, &c->handle, (struct sockaddr *)&run.address,
                      sizeof(struct sockaddr_in), NULL);
}

void client_start(struct client *c, unsigned id, unsigned sessions)
{
        *c = (struct client){ .id = id, .sessions = sessions, .plain = sessions == 0 };
        start_session(c);
}
