/* A thread of the crowd: its port, its share of the clients, its schedule.
 *
 * The loop runs the port, and then looks at the clock: who has paused long enough (--slow), who has waited too long
 * (--timeout), which requests are due, who is to be opened, who is to be closed. The main thread's word, the phase, is
 * looked at each time round, 25 ms apart at most.
 */
#include "load/load_priv.h"

#include <errno.h>
#include <stdlib.h>

_Thread_local struct load_crowd *load_here;

enum {
        ROUND_MS = 25,
        CONNECTING_AT_ONCE = 2000, /* over all threads */
        CLOSING_AT_ONCE = 2000,
        BUFFERS = 512,
        BUFFER_BYTES = 16384,
        LEAST_BUFFER_BYTES = 64,
        SLOW_READS = 4, /* a second, with --slow */
        SPARE_OPS = 4096,
        TRIM_US = 1000000,
};

static const uint32_t NOBODY = UINT32_MAX;

/* ---- time ---- */

static uint64_t timeout_us(const struct load_crowd *crowd)
{
        return (uint64_t)(crowd->run->options.timeout_seconds * 1e6);
}

static void sweep_timeouts(struct load_crowd *crowd)
{
        while (!list_empty(&crowd->active)) {
                struct load_ask *ask = container_of(crowd->active.next, struct load_ask, node);
                if (ask->touched_us + timeout_us(crowd) > crowd->now_us)
                        return;
                load_ask_time_out(crowd, ask);
        }
}

static void end_pauses(struct load_crowd *crowd)
{
        struct wheel_timer *timer;
        while ((timer = wheel_expire(&crowd->pauses, crowd->now_us / 1000)))
                load_ask_receive(crowd, container_of(timer, struct load_ask, pause));
}

/* ---- requests ---- */

static void give_up(struct load_crowd *crowd, uint64_t due_us)
{
        load_count(&crowd->tally, LOAD_UNSENT, 1);
        load_ask_waited(crowd, due_us);
}

/* The client is at rest. */
static void ask_one(struct load_crowd *crowd, struct load_client *client, uint64_t due_us)
{
        struct load_ask *ask = load_client_rouse(crowd, client, LOAD_ASKS);
        if (ask) {
                load_ask_begin(crowd, ask, due_us);
                return;
        }
        load_count(&crowd->tally, LOAD_ASK_FAILED, 1);
        load_count_error(&crowd->tally, LOAD_AT_REQUEST, -ENOMEM);
}

/* Requests go to those at rest, the oldest first; who finds nobody for as long as an answer may take gives up. */
static void ask_at_rate(struct load_crowd *crowd)
{
        struct load_pace *pace = &crowd->requests;
        uint64_t due_us;
        while ((due_us = load_pace_next(pace)) <= crowd->now_us) {
                bool late = due_us + timeout_us(crowd) <= crowd->now_us;
                if (!late && crowd->resting_count == 0)
                        return;
                pace->next++;
                if (late)
                        give_up(crowd, due_us);
                else
                        ask_one(crowd, load_client_pick(crowd), due_us);
        }
}

/* How long it would have taken shows when the client is free again. */
static void skip(struct load_crowd *crowd, struct load_client *client)
{
        load_count(&crowd->tally, LOAD_UNSENT, 1);
        client->skipped++;
}

/* A client that is still busy with its last request has the next one wait; a third one is too many. */
static void ask_each(struct load_crowd *crowd)
{
        struct load_pace *pace = &crowd->requests;
        uint64_t due_us;
        while ((due_us = load_pace_next(pace)) <= crowd->now_us) {
                struct load_client *client = &crowd->clients[pace->next++ % crowd->client_count];
                bool busy = client->state == LOAD_ASKS || client->state == LOAD_CONNECTS;
                if (client->state == LOAD_RESTS)
                        ask_one(crowd, client, due_us);
                else if (busy && !client->due_us)
                        client->due_us = due_us;
                else if (busy && client->skipped < UINT16_MAX)
                        skip(crowd, client);
                else
                        give_up(crowd, due_us);
        }
}

static void ask_due(struct load_crowd *crowd)
{
        enum load_mode mode = crowd->run->options.mode;
        if (crowd->phase != LOAD_HOLDING || (mode != LOAD_RATE && mode != LOAD_EACH))
                return;
        load_count(&crowd->tally, LOAD_DUE, (int64_t)load_pace_come(&crowd->requests, crowd->now_us));
        if (mode == LOAD_RATE)
                ask_at_rate(crowd);
        else
                ask_each(crowd);
}

/* What was due before the end and found nobody. */
static void give_up_due(struct load_crowd *crowd)
{
        struct load_pace *pace = &crowd->requests;
        if (crowd->run->options.mode != LOAD_RATE || pace->start_us == 0)
                return;
        for (; load_pace_next(pace) <= crowd->now_us; pace->next++)
                give_up(crowd, load_pace_due(pace, pace->next));
}

/* ---- opening and closing ---- */

static uint32_t share(const struct load_crowd *crowd, uint32_t of_all)
{
        return max_of(of_all / crowd->run->thread_count, 1u);
}

static bool may_open(const struct load_crowd *crowd)
{
        return crowd->phase <= LOAD_HOLDING && crowd->connecting < share(crowd, CONNECTING_AT_ONCE);
}

/* Those never tried go first, since the hold begins when all have been. */
static struct load_client *next_to_open(struct load_crowd *crowd)
{
        if (crowd->next_new < crowd->client_count)
                return &crowd->clients[crowd->next_new++];
        return load_client_again(crowd);
}

static void open_due(struct load_crowd *crowd)
{
        bool paced = crowd->run->options.open_rate > 0;
        while (may_open(crowd)) {
                if (paced && load_pace_next(&crowd->openings) > crowd->now_us)
                        return;
                struct load_client *client = next_to_open(crowd);
                if (!client) {
                        if (paced)
                                load_pace_skip(&crowd->openings, crowd->now_us);
                        return;
                }
                crowd->openings.next++;
                load_client_open(crowd, client);
        }
}

static void close_some(struct load_crowd *crowd)
{
        if (crowd->phase != LOAD_CLOSING)
                return;
        while (crowd->closing < share(crowd, CLOSING_AT_ONCE) && crowd->close_next < crowd->client_count)
                load_client_end(crowd, &crowd->clients[crowd->close_next++]);
}

static bool is_finished(const struct load_crowd *crowd)
{
        return crowd->phase == LOAD_CLOSING && crowd->close_next == crowd->client_count && crowd->asks.used == 0;
}

/* ---- the loop ---- */

static void begin_requests(struct load_crowd *crowd)
{
        struct load_run *run = crowd->run;
        if (run->options.mode == LOAD_RATE)
                load_pace_rate(&crowd->requests, run->options.rate, crowd->index, run->thread_count);
        else if (run->options.mode == LOAD_EACH)
                load_pace_each(&crowd->requests, run->options.each_seconds, crowd->index, run->thread_count,
                               crowd->client_count, run->options.connections);
        crowd->requests.start_us = atomic_load_explicit(&run->requests_start_us, memory_order_relaxed);
        crowd->requests.end_us = atomic_load_explicit(&run->requests_end_us, memory_order_relaxed);
}

static void follow_phase(struct load_crowd *crowd)
{
        enum load_phase phase = (enum load_phase)atomic_load_explicit(&crowd->run->phase, memory_order_acquire);
        if (phase == crowd->phase)
                return;
        ensure(phase > crowd->phase);
        if (phase == LOAD_HOLDING) {
                begin_requests(crowd);
        } else if (crowd->phase == LOAD_HOLDING) {
                ask_due(crowd);
                give_up_due(crowd);
        }
        crowd->phase = phase;
}

/* The next moment at which there is something to do by the clock; far away when there is none. */
static uint64_t next_due_us(const struct load_crowd *crowd)
{
        enum load_mode mode = crowd->run->options.mode;
        uint64_t at_us = UINT64_MAX;
        bool asks = crowd->phase == LOAD_HOLDING &&
                    (mode == LOAD_EACH || (mode == LOAD_RATE && crowd->resting_count > 0));
        if (asks)
                at_us = load_pace_next(&crowd->requests);
        if (crowd->run->options.open_rate > 0 && may_open(crowd) && crowd->next_new < crowd->client_count)
                at_us = min_of(at_us, load_pace_next(&crowd->openings));
        return at_us;
}

static int wait_ms(struct load_crowd *crowd)
{
        int64_t pause_ms = wheel_next_ms(&crowd->pauses, crowd->now_us / 1000);
        int most_ms = pause_ms >= 0 && pause_ms < ROUND_MS ? (int)pause_ms : ROUND_MS;
        return load_alarm_set(&crowd->alarm, next_due_us(crowd), crowd->now_us, most_ms);
}

static void trim(struct load_crowd *crowd)
{
        if (crowd->now_us < crowd->trim_us)
                return;
        slab_trim(&crowd->asks);
        crowd->trim_us = crowd->now_us + TRIM_US;
}

static void run_once(struct load_crowd *crowd)
{
        int n = berth_port_run(crowd->port, wait_ms(crowd));
        if (n < 0) {
                complain("the %s engine failed: %s", berth_port_engine(crowd->port), error_text(-n));
                abort();
        }
        crowd->now_us = clock_us();
        follow_phase(crowd);
        end_pauses(crowd);
        sweep_timeouts(crowd);
        ask_due(crowd);
        open_due(crowd);
        close_some(crowd);
        trim(crowd);
}

/* ---- beginning and end ---- */

static int make_clients(struct load_crowd *crowd)
{
        enum load_mode mode = crowd->run->options.mode;
        bool waits = mode == LOAD_RATE || mode == LOAD_EACH;
        size_t count = crowd->client_count;
        crowd->clients = memory_map(count * sizeof(*crowd->clients));
        crowd->resting = memory_map(count * sizeof(*crowd->resting));
        if (waits)
                crowd->waits = memory_map(count * sizeof(*crowd->waits));
        if (!crowd->clients || !crowd->resting || (waits && !crowd->waits))
                return -ENOMEM;
        return slab_init(&crowd->asks, sizeof(struct load_ask), 64, crowd->client_count);
}

static int make_port(struct load_crowd *crowd)
{
        const struct load_options *options = &crowd->run->options;
        uint32_t slow = options->slow_bytes / SLOW_READS;
        struct berth_port_config config = {
                .engine = options->engine,
                .max_ops = 2 * crowd->client_count + SPARE_OPS,
                .max_handles = crowd->client_count,
                .buffers = BUFFERS,
                .buffer_bytes = options->slow_bytes
                                        ? min_of(max_of(slow, (uint32_t)LEAST_BUFFER_BYTES), (uint32_t)BUFFER_BYTES)
                                        : BUFFER_BYTES,
                .rested = load_client_rested,
        };
        return berth_port_create(&crowd->port, &config);
}

static int start(struct load_crowd *crowd)
{
        struct load_run *run = crowd->run;
        crowd->again.first = crowd->later.first = NOBODY;
        crowd->random.state = clock_us() * LOAD_MAX_THREADS + crowd->index;
        crowd->now_us = clock_us();
        list_init(&crowd->active);
        wheel_init(&crowd->pauses, crowd->now_us / 1000);
        int error = make_clients(crowd);
        if (!error)
                error = make_port(crowd);
        if (error)
                return error;
        load_alarm_init(&crowd->alarm, crowd->port);
        if (run->options.open_rate > 0)
                load_pace_rate(&crowd->openings, run->options.open_rate, crowd->index, run->thread_count);
        return 0;
}

static void stop(struct load_crowd *crowd)
{
        size_t count = crowd->client_count;
        if (crowd->port) {
                load_alarm_finish(&crowd->alarm);
                while (berth_port_in_flight(crowd->port) > 0 && berth_port_run(crowd->port, -1) >= 0)
                        ;
                berth_port_destroy(crowd->port);
        }
        slab_finish(&crowd->asks);
        if (crowd->clients)
                memory_unmap(crowd->clients, count * sizeof(*crowd->clients));
        if (crowd->resting)
                memory_unmap(crowd->resting, count * sizeof(*crowd->resting));
        if (crowd->waits)
                memory_unmap(crowd->waits, count * sizeof(*crowd->waits));
}

/* The main thread looks at what the ports can hold, and lets all begin or none. */
void *load_crowd_main(void *argument)
{
        struct load_crowd *crowd = argument;
        struct load_run *run = crowd->run;
        load_here = crowd;
        crowd->error = start(crowd);
        if (!crowd->error) {
                crowd->max_handles = berth_port_max_handles(crowd->port);
                crowd->engine = berth_port_engine(crowd->port);
        }
        pthread_barrier_wait(&run->prepared);
        pthread_barrier_wait(&run->decided);
        if (!run->refused) {
                crowd->now_us = clock_us();
                crowd->openings.start_us = run->start_us;
                open_due(crowd);
                while (!is_finished(crowd))
                        run_once(crowd);
        }
        stop(crowd);
        atomic_store_explicit(&crowd->done, true, memory_order_release);
        return NULL;
}
