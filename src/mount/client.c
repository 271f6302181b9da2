/* Calls from their start to their end.
 *
 *   client_start ──► inbox ──► queue ──► active: a transfer each ──► done()
 *                                ▲                  │ lost, or 503
 *                                └──── waiting ◄────┘
 *
 * One thread at a time drives all calls: who waits for one while nobody does, until it is over; else the client's own
 * thread. So a program that asks for one thing after the other costs no hand-over between threads, which on a local
 * link takes longer than the request.
 *
 * No more calls are handed to libcurl than there are connections; the others wait in the queue, in the order they
 * came.
 *
 * A call ends when for retry_ms nothing of it has moved. Between attempts that means: no byte of its body was sent,
 * and none of its answer's body came, that no attempt before had sent or got; so one whose attempts all end early does
 * not go on for ever. Within an attempt any byte counts, so that one which sends a large body anew is left to it. What
 * waits in the queue counts the bytes of all calls as its own, for those are what it waits for: it ends only after the
 * connections have stood still as long. */
#include "mount/transfer.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>

enum {
        LOOK_MS = 100,      /* how often it is looked for what takes too long or is given up */
        LEAST_WAIT_MS = 50, /* before a second attempt; doubles with each */
        MOST_WAIT_MS = 2000,
        LAST_ATTEMPT_MS = 2000, /* before the end, or a quarter of the time if that is less */
};

/* ---- the end of a call ---- */

static void finish(struct client *client, struct call *call)
{
        (void)client;
        ensure(!call->transfer);
        list_remove(&call->node);
        if (call->waiter)
                sem_post(call->waiter);
        else
                call->done(call);
}

static void fail(struct client *client, struct call *call, int error)
{
        call->error = error;
        finish(client, call);
}

/* When it ends if nothing moves. */
static uint64_t deadline_of(const struct client *client, const struct call *call)
{
        return call->progress_ms + client->retry_ms;
}

/* Within an attempt, which goes on as long as it moves. */
static bool is_over(const struct client *client, const struct call *call, uint64_t now)
{
        const struct transfer *transfer = call->transfer;

        return now >= deadline_of(client, call) && (!transfer->asked || now - transfer->moved_ms >= LOOK_MS);
}

/* When the last attempt begins of a call that is told to wait for longer than it may: early enough to be answered. */
static uint64_t last_attempt_of(const struct client *client, const struct call *call)
{
        return deadline_of(client, call) - min_of(client->retry_ms / 4, LAST_ATTEMPT_MS);
}

static bool is_told_to_wait_beyond(const struct client *client, const struct call *call, uint64_t now,
                                   uint64_t retry_after_ms)
{
        return now + retry_after_ms >= deadline_of(client, call);
}

static bool has_time_left(const struct client *client, const struct call *call, uint64_t now, uint64_t retry_after_ms)
{
        return now + 1 < (is_told_to_wait_beyond(client, call, now, retry_after_ms) ? last_attempt_of(client, call)
                                                                                    : deadline_of(client, call));
}

/* Waits for the next attempt; one at the deadline is the last. */
static void wait_for_attempt(struct client *client, struct call *call, uint64_t now, uint64_t retry_after_ms)
{
        uint64_t wait = max_of(call->wait_ms, LEAST_WAIT_MS);

        call->wait_ms = (unsigned)min_of(2 * wait, MOST_WAIT_MS);
        call->due_ms = min_of(now + max_of(wait, retry_after_ms), deadline_of(client, call) - 1);
        if (is_told_to_wait_beyond(client, call, now, retry_after_ms))
                call->due_ms = last_attempt_of(client, call);
        list_remove(&call->node);
        list_append(&client->waiting, &call->node);
}

/* An attempt that there was no time for says less than the one before. */
static void attempt_ended(struct client *client, struct transfer *transfer, CURLcode code)
{
        struct call *call = transfer->call;
        uint64_t now = clock_ms(), retry_after_ms = min_of(transfer->retry_after_s, 86400u) * 1000;
        bool moved = call->progress_ms > call->due_ms; /* more than in the attempts before */
        int before = call->error;
        enum transfer_verdict verdict = transfer_end(transfer, code);

        if (call->error == -ETIMEDOUT && before != 0)
                call->error = before;

        list_append(&client->idle, &transfer->node);
        if (moved)
                call->wait_ms = 0;
        if (verdict == TRANSFER_ENDED || call->quick || !has_time_left(client, call, now, retry_after_ms))
                finish(client, call);
        else
                wait_for_attempt(client, call, now, retry_after_ms);
}

/* Those that libcurl is through with; whether there were any. */
static bool harvest(struct client *client)
{
        CURLMsg *message;
        bool any = false;
        int left;

        while ((message = curl_multi_info_read(client->multi, &left))) {
                struct transfer *transfer = NULL;
                CURLcode code = message->data.result;

                if (message->msg != CURLMSG_DONE)
                        continue;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
                attempt_ended(client, transfer, code);
                any = true;
        }
        return any;
}

/* ---- the beginning of an attempt ---- */

static void begin(struct client *client, struct call *call, uint64_t now)
{
        struct transfer *transfer = container_of(client->idle.next, struct transfer, node);
        int result;

        if (call->attempts++ > 0) {
                client->counters.retries++;
                if (call->restart)
                        call->restart(call);
        }
        call->progress_ms += now - call->due_ms; /* what it spent in the queue does not count */
        call->due_ms = now;
        result = transfer_begin(transfer, call, now);
        if (result < 0) {
                fail(client, call, result);
                return;
        }
        list_remove(&transfer->node);
        list_remove(&call->node);
        list_append(&client->active, &call->node);
}

/* What was begun is sent at once, and not after another look at the sockets. */
static void begin_queued(struct client *client)
{
        uint64_t now;

        if (list_empty(&client->queue) || list_empty(&client->idle))
                return;
        now = clock_ms();
        while (!list_empty(&client->queue) && !list_empty(&client->idle))
                begin(client, container_of(client->queue.next, struct call, node), now);
        poll_now(client);
}

/* ---- what takes too long, and what is given up ---- */

static bool given_up(const struct call *call)
{
        return call->given_up && atomic_load(call->given_up);
}

static unsigned stall_of(const struct client *client, const struct call *call)
{
        return min_of(call->stall_ms > 0 ? call->stall_ms : client->stall_ms, client->retry_ms);
}

static void give_up(struct client *client, struct call *call)
{
        struct transfer *transfer = call->transfer;

        if (transfer) {
                transfer_end(transfer, CURLE_ABORTED_BY_CALLBACK);
                list_append(&client->idle, &transfer->node);
        }
        fail(client, call, -EINTR);
}

static void look_at_active(struct client *client, struct call *call, uint64_t now)
{
        struct transfer *transfer = call->transfer;

        if (given_up(call))
                give_up(client, call);
        else if (now - transfer->moved_ms >= stall_of(client, call) || is_over(client, call, now))
                attempt_ended(client, transfer, CURLE_OPERATION_TIMEDOUT);
}

static void look_at_queued(struct client *client, struct call *call, uint64_t now)
{
        uint64_t since = max_of(call->progress_ms, client->moved_ms);

        if (given_up(call))
                give_up(client, call);
        else if (now >= since + client->retry_ms)
                fail(client, call, call->error != 0 ? call->error : -ETIMEDOUT);
}

static void look_at_waiting(struct client *client, struct call *call, uint64_t now)
{
        if (given_up(call)) {
                give_up(client, call);
        } else if (now >= call->due_ms || now >= deadline_of(client, call)) {
                call->due_ms = now;
                list_remove(&call->node);
                list_append(&client->queue, &call->node);
        }
}

static void look_at_all(struct client *client, struct list *calls,
                        void (*look)(struct client *client, struct call *call, uint64_t now), uint64_t now)
{
        struct list *next;

        for (struct list *node = calls->next; node != calls; node = next) {
                next = node->next;
                look(client, container_of(node, struct call, node), now);
        }
}

static void look_around(struct client *client)
{
        uint64_t now = clock_ms();

        look_at_all(client, &client->waiting, look_at_waiting, now);
        if (now < client->look_ms)
                return;
        client->look_ms = now + LOOK_MS;
        look_at_all(client, &client->active, look_at_active, now);
        look_at_all(client, &client->queue, look_at_queued, now);
}

/* ---- the thread ---- */

static bool is_busy(const struct client *client)
{
        return !list_empty(&client->queue) || !list_empty(&client->active) || !list_empty(&client->waiting);
}

/* Milliseconds that it may sleep, -1: until it is woken. */
static int sleep_ms(const struct client *client)
{
        uint64_t now = clock_ms(), until = client->timer_ms;

        if (is_busy(client))
                until = min_of(until, max_of(client->look_ms, now + 1));
        for (struct list *node = client->waiting.next; node != &client->waiting; node = node->next)
                until = min_of(until, container_of(node, struct call, node)->due_ms);
        if (until == UINT64_MAX)
                return -1;
        return until <= now ? 0 : (int)min_of(until - now, 1000u);
}

/* Takes what was started meanwhile. Where there is nothing the driver may sleep, and is woken when something comes. */
static bool take_started(struct client *client)
{
        bool taken;

        pthread_mutex_lock(&client->lock);
        taken = !list_empty(&client->inbox);
        while (!list_empty(&client->inbox)) {
                struct list *node = client->inbox.next;

                list_remove(node);
                list_append(&client->queue, node);
        }
        client->asleep = !taken;
        pthread_mutex_unlock(&client->lock);
        return taken;
}

/* Begins what waits and ends what is through, which makes room for more of those that wait. */
static void advance(struct client *client)
{
        do
                begin_queued(client);
        while (harvest(client));
}

/* Drives all calls until one is over, or with NULL all are. */
static void drive(struct client *client, sem_t *over)
{
        for (;;) {
                bool taken = take_started(client);

                advance(client);
                if (over ? sem_trywait(over) == 0 : !is_busy(client))
                        return;
                if (taken)
                        continue;
                poll_wait(client, sleep_ms(client));
                client->asleep = false;
                harvest(client);
                look_around(client);
        }
}

/* The next to drive is who comes with a call, or the thread when there is something left. */
static void stop_driving(struct client *client)
{
        pthread_mutex_lock(&client->lock);
        client->driven = false;
        client->asleep = false;
        client->left = is_busy(client);
        if (client->left || !list_empty(&client->inbox))
                pthread_cond_signal(&client->work);
        pthread_mutex_unlock(&client->lock);
}

static void *run(void *context)
{
        struct client *client = context;

        pthread_mutex_lock(&client->lock);
        while (!client->stop) {
                if (client->driven || (!client->left && list_empty(&client->inbox))) {
                        pthread_cond_wait(&client->work, &client->lock);
                        continue;
                }
                client->driven = true;
                pthread_mutex_unlock(&client->lock);
                drive(client, NULL);
                stop_driving(client);
                pthread_mutex_lock(&client->lock);
        }
        pthread_mutex_unlock(&client->lock);
        return NULL;
}

/* ---- starting ---- */

/* True: the caller, who waits for it, is to drive. */
static bool start(struct client *client, struct call *call)
{
        bool asleep = false, drives = false;

        ensure(call->method && call->parts <= CLIENT_MAX_PARTS);
        call->error = 0;
        call->uncertain = false;
        call->attempts = call->wait_ms = 0;
        call->sent = call->received = 0;
        call->transfer = NULL;
        call->progress_ms = call->due_ms = clock_ms();
        client->counters.requests++;
        client->counters.deletes += strcmp(call->method, "DELETE") == 0;
        client->counters.moves += strcmp(call->method, "MOVE") == 0;
        client->counters.folders += strcmp(call->method, "MKCOL") == 0;
        list_init(&call->node);
        pthread_mutex_lock(&client->lock);
        list_append(&client->inbox, &call->node);
        if (client->driven)
                asleep = atomic_exchange(&client->asleep, false);
        else if (call->waiter && !client->left)
                drives = client->driven = true;
        else
                pthread_cond_signal(&client->work);
        pthread_mutex_unlock(&client->lock);
        if (asleep)
                poll_wake(client);
        return drives;
}

void client_start(struct client *client, struct call *call)
{
        ensure(call->done);
        call->waiter = NULL;
        start(client, call);
}

int client_perform(struct client *client, struct call *call)
{
        sem_t over;

        sem_init(&over, 0, 0);
        call->waiter = &over;
        if (start(client, call)) {
                drive(client, &over);
                stop_driving(client);
        } else {
                while (sem_wait(&over) < 0)
                        ensure(errno == EINTR);
        }
        sem_destroy(&over);
        return call->error;
}

void client_set_retry(struct client *client, unsigned retry_ms)
{
        client->retry_ms = retry_ms;
}

const struct client_counters *client_counters(const struct client *client)
{
        return &client->counters;
}

const char *client_base_url(const struct client *client)
{
        return client->url;
}

const char *client_base_path(const struct client *client)
{
        return client->path;
}

/* ---- life ---- */

static void global_init(void)
{
        ensure(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static int open_transfers(struct client *client)
{
        client->transfers = calloc(client->connections, sizeof(*client->transfers));
        if (!client->transfers)
                return -ENOMEM;
        for (unsigned i = 0; i < client->connections; i++) {
                int result = transfer_init(&client->transfers[i], client);

                if (result < 0)
                        return result;
                list_append(&client->idle, &client->transfers[i].node);
        }
        return 0;
}

/* Signals are for the other threads; SIGPIPE, which OpenSSL may cause, for none. */
static int start_thread(struct client *client)
{
        sigset_t all, before;
        int result;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        result = -pthread_create(&client->thread, NULL, run, client);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        client->running = result == 0;
        return result;
}

static void init(struct client *client)
{
        struct list *lists[] = { &client->inbox, &client->queue, &client->active, &client->waiting, &client->idle };

        for (size_t i = 0; i < array_count(lists); i++)
                list_init(lists[i]);
        pthread_mutex_init(&client->lock, NULL);
        pthread_cond_init(&client->work, NULL);
}

int client_create(struct client **out, const struct client_options *options)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        struct client *client = calloc(1, sizeof(*client));
        int result;

        if (!client)
                return -ENOMEM;
        pthread_once(&once, global_init);
        init(client);
        result = client_base_init(client, options);
        if (result == 0)
                result = poll_init(client);
        if (result == 0)
                result = open_transfers(client);
        if (result == 0)
                result = start_thread(client);
        if (result < 0) {
                client_destroy(client);
                return result;
        }
        *out = client;
        return 0;
}

static void stop_thread(struct client *client)
{
        pthread_mutex_lock(&client->lock);
        client->stop = true;
        pthread_cond_signal(&client->work);
        pthread_mutex_unlock(&client->lock);
        pthread_join(client->thread, NULL);
        ensure(!is_busy(client) && list_empty(&client->inbox));
}

void client_destroy(struct client *client)
{
        if (!client)
                return;
        if (client->running)
                stop_thread(client);
        for (unsigned i = 0; client->transfers && i < client->connections; i++)
                transfer_finish(&client->transfers[i]);
        poll_finish(client);
        free(client->transfers);
        client_base_finish(client);
        pthread_mutex_destroy(&client->lock);
        pthread_cond_destroy(&client->work);
        free(client);
}
