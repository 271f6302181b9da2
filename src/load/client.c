/* A client: one connection, and what becomes of it.
 *
 *                           .------------------- asks (ask.c) <-------.
 *                           v                     |                   | a request is due
 *      NEW ---> CONNECTS ---> RESTS  <------------'-------------------'
 *       ^          |           |  \--- readable ---> WOKEN: the end, or bytes that nobody asked for
 *       |          | failed    | our end                |
 *       |          v           v                        v
 *       '------- gone <------ CLOSES <------------------'
 *     --reconnect
 *
 * A client at rest is its 64 bytes and a readiness wait in the kernel. Where requests are to be asked on connections at
 * rest, the wait is an op of crowd->waits, since a request can be sent beside it; it stays armed until it ends by
 * itself, and the response is received after that. Where none are, the handle rests by berth_rest() and needs no op.
 */
#include "load/load_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { AGAIN_PAUSE_US = 1000000 };

static const uint32_t NOBODY = UINT32_MAX;

static uint32_t index_of(const struct load_crowd *crowd, const struct load_client *client)
{
        return (uint32_t)(client - crowd->clients);
}

/* ---- between which addresses ---- */

/* The number among all clients of all threads, in turn over the pairs. */
static uint64_t pair_of(const struct load_crowd *crowd, const struct load_client *client)
{
        uint64_t number = (uint64_t)index_of(crowd, client) * crowd->run->thread_count + crowd->index;
        return number % crowd->run->plan.pairs;
}

const struct load_endpoint *load_client_endpoint(const struct load_crowd *crowd, const struct load_client *client)
{
        const struct load_targets *targets = &crowd->run->targets;
        return &targets->endpoints[pair_of(crowd, client) % targets->endpoint_count];
}

static const struct sockaddr *source_of(const struct load_crowd *crowd, const struct load_client *client)
{
        const struct load_run *run = crowd->run;
        return run->plan.sources ? &run->sources[pair_of(crowd, client) / run->targets.endpoint_count].any : NULL;
}

/* ---- opening again ---- */

static void queue_append(struct load_crowd *crowd, struct load_queue *queue, struct load_client *client)
{
        client->link = NOBODY;
        if (queue->first == NOBODY)
                queue->first = index_of(crowd, client);
        else
                crowd->clients[queue->last].link = index_of(crowd, client);
        queue->last = index_of(crowd, client);
}

static struct load_client *queue_take(struct load_crowd *crowd, struct load_queue *queue)
{
        struct load_client *client = &crowd->clients[queue->first];
        queue->first = client->link;
        client->due_us = 0;
        return client;
}

struct load_client *load_client_again(struct load_crowd *crowd)
{
        if (crowd->again.first != NOBODY)
                return queue_take(crowd, &crowd->again);
        if (crowd->later.first != NOBODY && crowd->clients[crowd->later.first].due_us <= crowd->now_us)
                return queue_take(crowd, &crowd->later);
        return NULL;
}

void load_client_give_up_skipped(struct load_crowd *crowd, struct load_client *client)
{
        double each_us = crowd->run->options.each_seconds * 1e6;
        for (unsigned i = 1; i <= client->skipped; i++)
                load_ask_waited(crowd, client->due_us + (uint64_t)(i * each_us));
        client->skipped = 0;
}

/* It has no connection and no ask any more. Whoever refused or dropped it gets a pause. */
static void gone(struct load_crowd *crowd, struct load_client *client, bool at_once)
{
        if (client->due_us) {
                load_count(&crowd->tally, LOAD_UNSENT, 1);
                load_ask_waited(crowd, client->due_us);
                load_client_give_up_skipped(crowd, client);
        }
        client->due_us = 0;
        client->state = LOAD_GONE;
        if (!crowd->run->options.reconnect || crowd->phase >= LOAD_ENDING)
                return;
        client->state = LOAD_NEW;
        client->due_us = crowd->now_us + AGAIN_PAUSE_US;
        queue_append(crowd, at_once ? &crowd->again : &crowd->later, client);
}

/* ---- opening ---- */

/* The first attempt of each client is over when all that was asked for has been tried. */
static void settle(struct load_crowd *crowd, struct load_client *client)
{
        if (client->settled)
                return;
        client->settled = true;
        atomic_store_explicit(&crowd->settled_us, crowd->now_us, memory_order_relaxed);
        load_count(&crowd->tally, LOAD_SETTLED, 1);
}

static void not_opened(struct load_crowd *crowd, struct load_client *client, int error)
{
        load_count(&crowd->tally, LOAD_FAILED, 1);
        load_count_error(&crowd->tally, LOAD_AT_CONNECT, error);
        settle(crowd, client);
        gone(crowd, client, false);
}

void load_client_open(struct load_crowd *crowd, struct load_client *client)
{
        ensure(client->state == LOAD_NEW);
        struct load_ask *ask = load_ask_take(crowd, client);
        if (!ask) {
                not_opened(crowd, client, -ENOMEM);
                return;
        }
        const struct load_endpoint *endpoint = load_client_endpoint(crowd, client);
        client->state = LOAD_CONNECTS;
        crowd->connecting++;
        load_count(&crowd->tally, LOAD_CONNECTING, 1);
        ask->step = LOAD_STEP_CONNECT;
        ask->due_us = clock_us();
        load_ask_touch(crowd, ask);
        berth_connect(crowd->port, &ask->op, &client->socket, &endpoint->address.any,
                      load_address_bytes(&endpoint->address), source_of(crowd, client));
}

static void not_connected(struct load_crowd *crowd, struct load_ask *ask)
{
        struct load_client *client = ask->client;
        if (!ask->ending) {
                load_count(&crowd->tally, LOAD_FAILED, 1);
                load_count_error(&crowd->tally, LOAD_AT_CONNECT, ask->timed_out ? LOAD_TIMED_OUT : (int)ask->op.result);
        }
        load_ask_give(crowd, ask);
        gone(crowd, client, false);
}

static bool asks_by_itself(const struct load_crowd *crowd)
{
        return crowd->run->options.mode == LOAD_ONCE && crowd->phase <= LOAD_HOLDING;
}

void load_client_connected(struct load_crowd *crowd, struct load_ask *ask)
{
        struct load_client *client = ask->client;
        crowd->connecting--;
        load_count(&crowd->tally, LOAD_CONNECTING, -1);
        settle(crowd, client);
        if (ask->op.result < 0) {
                not_connected(crowd, ask);
                return;
        }
        load_count(&crowd->tally, LOAD_OPEN, 1);
        if (ask->timed_out) {
                load_count(&crowd->tally, LOAD_FAILED, 1);
                load_count_error(&crowd->tally, LOAD_AT_CONNECT, LOAD_TIMED_OUT);
        }
        if (ask->timed_out || ask->ending) { /* the cancel came too late to keep it from being open */
                load_client_close(crowd, ask);
                return;
        }
        uint64_t now_us = clock_us();
        load_count(&crowd->tally, LOAD_OPENED, 1);
        load_histogram_record(&crowd->tally.connect, now_us - ask->due_us);
        if (asks_by_itself(crowd) || client->due_us) {
                uint64_t due_us = client->due_us ? client->due_us : now_us;
                load_client_give_up_skipped(crowd, client);
                load_ask_begin(crowd, ask, due_us);
                return;
        }
        load_ask_give(crowd, ask);
        load_client_rest(crowd, client);
}

/* ---- resting ---- */

void load_client_rest(struct load_crowd *crowd, struct load_client *client)
{
        ensure(!client->ask);
        client->state = LOAD_RESTS;
        client->link = crowd->resting_count;
        crowd->resting[crowd->resting_count++] = index_of(crowd, client);
        if (!crowd->waits) {
                berth_rest(crowd->port, &client->socket);
        } else if (!client->armed) {
                struct berth_op *wait = &crowd->waits[index_of(crowd, client)];
                client->armed = true;
                wait->done = load_client_waited;
                berth_wait_readable(crowd->port, wait, &client->socket);
        }
}

struct load_ask *load_client_rouse(struct load_crowd *crowd, struct load_client *client, enum load_state state)
{
        ensure(client->state == LOAD_RESTS && crowd->resting[client->link] == index_of(crowd, client));
        struct load_ask *ask = load_ask_take(crowd, client);
        if (!ask)
                return NULL;
        uint32_t last = crowd->resting[--crowd->resting_count];
        crowd->resting[client->link] = last;
        crowd->clients[last].link = client->link;
        client->state = (uint8_t)state;
        return ask;
}

struct load_client *load_client_pick(struct load_crowd *crowd)
{
        return &crowd->clients[crowd->resting[random_below(&crowd->random, crowd->resting_count)]];
}

/* To read what has come, or to close: nothing can go on without. */
static struct load_ask *rouse_or_leave(struct load_crowd *crowd, struct load_client *client, enum load_state state)
{
        struct load_ask *ask = load_client_rouse(crowd, client, state);
        if (!ask) {
                complain("out of memory");
                exit(1);
        }
        return ask;
}

static void wake(struct load_crowd *crowd, struct load_client *client)
{
        struct load_ask *ask = rouse_or_leave(crowd, client, LOAD_WOKEN);
        ask->step = LOAD_STEP_RECEIVE;
        load_ask_touch(crowd, ask);
        berth_recv(crowd->port, &ask->op, &client->socket, 0);
}

void load_client_rested(struct berth_handle *handle)
{
        struct load_client *client = container_of(handle, struct load_client, socket);
        if (client->state == LOAD_RESTS)
                wake(load_here, client);
}

void load_client_waited(struct berth_op *op)
{
        struct load_crowd *crowd = load_here;
        struct load_client *client = &crowd->clients[op - crowd->waits];
        client->armed = false;
        if (client->state == LOAD_RESTS)
                wake(crowd, client);
        else if (client->state == LOAD_ASKS && client->ask->step == LOAD_STEP_AWAIT)
                load_ask_receive(crowd, client->ask);
}

/* The receive after a rest: the server's end, an error, or bytes out of order. A wait may also end for nothing. */
void load_client_disturbed(struct load_crowd *crowd, struct load_ask *ask)
{
        struct load_client *client = ask->client;
        int64_t result = ask->op.result;
        if (ask->op.flags & BERTH_BUFFER)
                berth_buffer_put(crowd->port, ask->op.buffer);
        if (ask->timed_out && result == -ECANCELED && !ask->ending) {
                load_ask_give(crowd, ask);
                load_client_rest(crowd, client);
                return;
        }
        if (!ask->ending) {
                load_count(&crowd->tally, result < 0 ? LOAD_RESET : LOAD_LOST, 1);
                load_count_error(&crowd->tally, LOAD_AT_REST,
                                 result < 0    ? (int)result
                                 : result == 0 ? LOAD_CLOSED
                                               : LOAD_UNASKED);
        }
        load_client_close(crowd, ask);
}

/* ---- closing ---- */

void load_client_close(struct load_crowd *crowd, struct load_ask *ask)
{
        struct load_client *client = ask->client;
        list_remove(&ask->node);
        wheel_cancel(&crowd->pauses, &ask->pause);
        client->state = LOAD_CLOSES;
        ask->step = LOAD_STEP_CLOSE;
        crowd->closing++;
        berth_close(crowd->port, &ask->op, &client->socket, 0);
}

void load_client_closed(struct load_crowd *crowd, struct load_ask *ask)
{
        struct load_client *client = ask->client;
        bool at_once = ask->announced;
        crowd->closing--;
        load_count(&crowd->tally, LOAD_OPEN, -1);
        ensure(!client->armed);
        load_ask_give(crowd, ask);
        gone(crowd, client, at_once);
}

void load_client_end(struct load_crowd *crowd, struct load_client *client)
{
        if (client->state == LOAD_RESTS)
                load_client_close(crowd, rouse_or_leave(crowd, client, LOAD_CLOSES));
        else if (client->state == LOAD_ASKS)
                load_ask_cut(crowd, client->ask);
        else if (client->state == LOAD_CONNECTS || client->state == LOAD_WOKEN) {
                client->ask->ending = true;
                berth_cancel(crowd->port, &client->ask->op);
        } else if (client->state == LOAD_NEW) {
                client->state = LOAD_GONE;
        }
}
