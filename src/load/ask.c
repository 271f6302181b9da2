/* A request and its response. The steps stand in the order of its life; each ends by starting an op, and the one
 * callback, resume(), goes on from there.
 *
 *      begin ---> SEND ---> AWAIT (until the client's wait ends) ---> RECEIVE ---> complete ---> rest, or the next one
 *                     '---- no wait is armed ------------------------^  |  ^
 *                                                                       |  '--- more to come; with --slow after a PAUSE
 *                                                                       '---> failed: the connection is closed
 *
 * Latency counts from when the request was due, not from when it could be sent: a server that stalls makes all the
 * requests late that would have been asked meanwhile. It ends with the last byte of the response; with --slow, where
 * the last byte is late by our own doing, with the head.
 */
#include "load/load_priv.h"

#include <errno.h>

enum { SHORT_PAUSE_US = 1000 };

static void resume(struct berth_op *op);

/* ---- asks ---- */

struct load_ask *load_ask_take(struct load_crowd *crowd, struct load_client *client)
{
        struct load_ask *ask = slab_take(&crowd->asks);
        if (!ask)
                return NULL;
        ensure(!client->ask);
        memset(ask, 0, offsetof(struct load_ask, response));
        list_init(&ask->node);
        ask->op.done = resume;
        ask->client = client;
        client->ask = ask;
        return ask;
}

void load_ask_give(struct load_crowd *crowd, struct load_ask *ask)
{
        list_remove(&ask->node);
        ensure(!wheel_running(&ask->pause) && ask->client->ask == ask);
        ask->client->ask = NULL;
        slab_give(&crowd->asks, ask);
}

void load_ask_touch(struct load_crowd *crowd, struct load_ask *ask)
{
        ask->touched_us = crowd->now_us;
        list_remove(&ask->node);
        list_append(&crowd->active, &ask->node);
}

/* ---- latencies ---- */

void load_ask_waited(struct load_crowd *crowd, uint64_t due_us)
{
        uint64_t now_us = clock_us();
        load_count(&crowd->tally, LOAD_AT_LEAST, 1);
        load_histogram_record(&crowd->tally.latency, now_us > due_us ? now_us - due_us : 0);
}

/* It asks no more, whatever the reason. */
static void asked(struct load_crowd *crowd, const struct load_ask *ask)
{
        load_count(&crowd->tally, LOAD_ASKING, -1);
        if (!ask->head_seen)
                load_count(&crowd->tally, LOAD_AWAITING, -1);
}

/* ---- sending ---- */

/* The page's number among all, and its place among those of the endpoint. */
static struct span choose_page(struct load_crowd *crowd, struct load_ask *ask)
{
        const struct load_endpoint *endpoint = load_client_endpoint(crowd, ask->client);
        unsigned n = endpoint->page_count > 1 ? random_below(&crowd->random, endpoint->page_count) : 0;
        unsigned page = endpoint->first_page;
        for (unsigned i = 0; i < n; i++)
                page = crowd->run->targets.pages[page].next - 1;
        ask->page = (uint16_t)page;
        return endpoint->requests[n];
}

static uint64_t random_below_64(struct random *random, uint64_t bound)
{
        return bound > UINT32_MAX ? random_next(random) % bound : random_below(random, (uint32_t)bound);
}

/* A random piece of the file; its beginning as long as nobody knows how long the file is. */
static void choose_range(struct load_crowd *crowd, struct load_ask *ask)
{
        uint64_t length = crowd->run->options.range_bytes;
        uint64_t size = atomic_load_explicit(&crowd->run->targets.pages[ask->page].size, memory_order_relaxed);
        ask->range_first = size > length ? random_below_64(&crowd->random, size - length + 1) : 0;
        ask->range_last = ask->range_first + length - 1;
        ask->ranged = true;
}

/* The field goes in front of the empty line that ends the text. */
static void send_with_range(struct load_crowd *crowd, struct load_ask *ask, struct span text)
{
        int size = snprintf(ask->request.range, sizeof(ask->request.range), "Range: bytes=%llu-%llu\r\n\r\n",
                            (unsigned long long)ask->range_first, (unsigned long long)ask->range_last);
        ask->request.pieces[0] = (struct berth_vec){ text.data, text.size - 2 };
        ask->request.pieces[1] = (struct berth_vec){ ask->request.range, (size_t)size };
        berth_sendv(crowd->port, &ask->op, &ask->client->socket, ask->request.pieces, 2);
}

void load_ask_begin(struct load_crowd *crowd, struct load_ask *ask, uint64_t due_us)
{
        struct load_client *client = ask->client;
        client->state = LOAD_ASKS;
        client->due_us = 0;
        ask->due_us = due_us;
        ask->head_seen = false;
        load_count(&crowd->tally, LOAD_SENT, 1);
        load_count(&crowd->tally, LOAD_ASKING, 1);
        load_count(&crowd->tally, LOAD_AWAITING, 1);
        if (crowd->run->options.mode == LOAD_ONCE)
                load_count(&crowd->tally, LOAD_DUE, 1);
        load_ask_touch(crowd, ask);
        struct span text = choose_page(crowd, ask);
        ask->step = LOAD_STEP_SEND;
        if (crowd->run->options.range_bytes) {
                choose_range(crowd, ask);
                send_with_range(crowd, ask, text);
        } else {
                berth_send(crowd->port, &ask->op, &client->socket, text.data, text.size, 0);
        }
}

/* ---- how it ends ---- */

static void failed(struct load_crowd *crowd, struct load_ask *ask, int error)
{
        asked(crowd, ask);
        load_count(&crowd->tally, LOAD_ASK_FAILED, 1);
        load_count_error(&crowd->tally, LOAD_AT_REQUEST, error);
        if (error == LOAD_CLOSED)
                load_count(&crowd->tally, LOAD_LOST, 1);
        else if (error < 0)
                load_count(&crowd->tally, LOAD_RESET, 1);
        if (error == LOAD_TIMED_OUT && !(crowd->run->options.slow_bytes && ask->head_seen))
                load_ask_waited(crowd, ask->due_us);
        load_client_close(crowd, ask);
}

static bool is_the_range(struct load_crowd *crowd, const struct load_ask *ask)
{
        const struct load_response *response = &ask->response;
        if (response->status != 206 || !response->has_range)
                return false;
        atomic_store_explicit(&crowd->run->targets.pages[ask->page].size, response->range_size, memory_order_relaxed);
        return response->range_first == ask->range_first &&
               response->range_last == min_of(ask->range_last, response->range_size - 1) &&
               response->body_bytes == response->range_last - response->range_first + 1;
}

/* What is wrong with a whole response; 0: nothing. */
static int judge(struct load_crowd *crowd, const struct load_ask *ask)
{
        if (ask->response.status >= 500)
                return LOAD_STATUS_5XX;
        if (ask->response.status >= 400)
                return LOAD_STATUS_4XX;
        return ask->ranged && !is_the_range(crowd, ask) ? LOAD_NOT_RANGE : 0;
}

static void count_answer(struct load_crowd *crowd, const struct load_ask *ask)
{
        int wrong = judge(crowd, ask);
        asked(crowd, ask);
        load_count(&crowd->tally, LOAD_ANSWERED, 1);
        load_count_status(&crowd->tally, ask->response.status);
        if (wrong) {
                load_count(&crowd->tally, LOAD_ASK_FAILED, 1);
                load_count_error(&crowd->tally, LOAD_AT_REQUEST, wrong);
        }
        if (!crowd->run->options.slow_bytes)
                load_histogram_record(&crowd->tally.latency, clock_us() - ask->due_us);
}

/* What the connection does next. */
static void complete(struct load_crowd *crowd, struct load_ask *ask)
{
        const struct load_options *options = &crowd->run->options;
        struct load_client *client = ask->client;
        count_answer(crowd, ask);
        if (!ask->response.keep_alive) {
                load_count(&crowd->tally, LOAD_ENDED, 1);
                ask->announced = true;
                load_client_close(crowd, ask);
        } else if (crowd->phase < LOAD_ENDING &&
                   (client->due_us || (options->mode == LOAD_ONCE && options->slow_bytes))) {
                uint64_t due_us = client->due_us ? client->due_us : clock_us();
                load_client_give_up_skipped(crowd, client);
                load_ask_begin(crowd, ask, due_us);
        } else {
                load_ask_give(crowd, ask);
                load_client_rest(crowd, client);
        }
}

/* ---- receiving ---- */

void load_ask_receive(struct load_crowd *crowd, struct load_ask *ask)
{
        if (ask->read_us > crowd->now_us + SHORT_PAUSE_US) {
                ask->step = LOAD_STEP_PAUSE;
                list_remove(&ask->node); /* waiting for ourselves is no time-out */
                wheel_start(&crowd->pauses, &ask->pause, ask->read_us / 1000);
                return;
        }
        ask->step = LOAD_STEP_RECEIVE;
        load_ask_touch(crowd, ask);
        berth_recv(crowd->port, &ask->op, &ask->client->socket, 0);
}

/* From now on the response can come. */
static void sent(struct load_crowd *crowd, struct load_ask *ask)
{
        if (ask->op.result < 0) {
                failed(crowd, ask, (int)ask->op.result);
                return;
        }
        load_response_init(&ask->response); /* where the pieces of the request stood */
        if (ask->client->armed)
                ask->step = LOAD_STEP_AWAIT;
        else
                load_ask_receive(crowd, ask);
}

/* 1: complete; 0: more is to come; or an enum load_error. */
static int take(struct load_crowd *crowd, struct load_ask *ask, const char *data, size_t size)
{
        size_t at = 0;
        int result = 0;
        while (at < size && result == 0) {
                size_t used;
                struct span body;
                result = load_response_take(&ask->response, data + at, size - at, &used, &body);
                load_count(&crowd->tally, LOAD_BYTES, (int64_t)body.size);
                at += used;
        }
        if (result < 0)
                return LOAD_BAD;
        return at < size ? LOAD_UNASKED : result;
}

static void note_head(struct load_crowd *crowd, struct load_ask *ask)
{
        if (ask->head_seen || !load_response_has_head(&ask->response))
                return;
        ask->head_seen = true;
        load_count(&crowd->tally, LOAD_AWAITING, -1);
        if (crowd->run->options.slow_bytes)
                load_histogram_record(&crowd->tally.latency, clock_us() - ask->due_us);
}

static void received_bytes(struct load_crowd *crowd, struct load_ask *ask)
{
        uint16_t buffer = ask->op.buffer;
        size_t size = (size_t)ask->op.result;
        int result = take(crowd, ask, berth_buffer_data(crowd->port, buffer), size);
        berth_buffer_put(crowd->port, buffer);
        note_head(crowd, ask);
        if (crowd->run->options.slow_bytes)
                ask->read_us = max_of(ask->read_us, crowd->now_us) + size * 1000000 / crowd->run->options.slow_bytes;
        if (result > 1)
                failed(crowd, ask, result);
        else if (result == 1)
                complete(crowd, ask);
        else
                load_ask_receive(crowd, ask);
}

static void received(struct load_crowd *crowd, struct load_ask *ask)
{
        if (ask->op.result > 0)
                received_bytes(crowd, ask);
        else if (ask->op.result < 0)
                failed(crowd, ask, (int)ask->op.result);
        else if (load_response_ends_here(&ask->response))
                complete(crowd, ask);
        else
                failed(crowd, ask, LOAD_CLOSED);
}

/* ---- cut off ---- */

static void unfinished(struct load_crowd *crowd, struct load_ask *ask)
{
        asked(crowd, ask);
        load_count(&crowd->tally, LOAD_UNFINISHED, 1);
        if (!ask->head_seen)
                load_count(&crowd->tally, LOAD_UNHEARD, 1);
        if (!crowd->run->options.slow_bytes || !ask->head_seen)
                load_ask_waited(crowd, ask->due_us);
        load_client_close(crowd, ask);
}

static bool has_op(const struct load_ask *ask)
{
        return ask->step != LOAD_STEP_AWAIT && ask->step != LOAD_STEP_PAUSE;
}

void load_ask_cut(struct load_crowd *crowd, struct load_ask *ask)
{
        ask->ending = true;
        if (has_op(ask))
                berth_cancel(crowd->port, &ask->op);
        else
                unfinished(crowd, ask);
}

void load_ask_time_out(struct load_crowd *crowd, struct load_ask *ask)
{
        load_ask_touch(crowd, ask); /* so that the sweep meets it only once */
        ask->timed_out = true;
        if (has_op(ask))
                berth_cancel(crowd->port, &ask->op);
        else
                failed(crowd, ask, LOAD_TIMED_OUT);
}

/* Ended by a cancel of ours, whatever it had achieved. */
static void cancelled(struct load_crowd *crowd, struct load_ask *ask)
{
        if (ask->op.flags & BERTH_BUFFER)
                berth_buffer_put(crowd->port, ask->op.buffer);
        if (ask->ending)
                unfinished(crowd, ask);
        else
                failed(crowd, ask, LOAD_TIMED_OUT);
}

/* ---- the callback ---- */

static void resume(struct berth_op *op)
{
        struct load_crowd *crowd = load_here;
        struct load_ask *ask = container_of(op, struct load_ask, op);
        ensure(ask->client->ask == ask);
        if (ask->step == LOAD_STEP_CONNECT)
                load_client_connected(crowd, ask);
        else if (ask->step == LOAD_STEP_CLOSE)
                load_client_closed(crowd, ask);
        else if (ask->client->state == LOAD_WOKEN)
                load_client_disturbed(crowd, ask);
        else if (ask->timed_out || ask->ending)
                cancelled(crowd, ask);
        else if (ask->step == LOAD_STEP_SEND)
                sent(crowd, ask);
        else
                received(crowd, ask);
}
