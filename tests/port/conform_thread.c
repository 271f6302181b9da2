/* What other threads may do: posting, waking, and the worker pool. Run under the thread sanitizer too. */
#include "lab.h"

#include <sched.h>
#include <stdatomic.h>

/* ---- posts ---- */

enum { THREADS = 4, POSTS = 25000, WINDOW = 500 };

struct poster {
        pthread_t thread;
        struct lab *lab;
        struct message {
                struct berth_op op;
                struct poster *poster;
        } messages[WINDOW];
        atomic_uint taken; /* how many have come through: those may be used again */
        unsigned expected;
};

static void message_came(struct berth_op *op)
{
        struct poster *poster = container_of(op, struct message, op)->poster;
        assert_int_equal(op->result, poster->expected);
        poster->expected++;
        atomic_store(&poster->taken, poster->expected);
}

static void *post_all(void *argument)
{
        struct poster *poster = argument;
        for (unsigned i = 0; i < POSTS; i++) {
                while (i - atomic_load(&poster->taken) >= WINDOW)
                        sched_yield();
                struct message *message = &poster->messages[i % WINDOW];
                message->poster = poster;
                message->op.done = message_came;
                berth_post(poster->lab->port, &message->op, i);
        }
        return NULL;
}

static void thread_posts_come_once_and_in_order(void **state)
{
        (void)state;
        static struct poster posters[THREADS];
        struct lab lab;
        memset(posters, 0, sizeof(posters));
        lab_open_bare(&lab, NULL);
        for (int i = 0; i < THREADS; i++) {
                posters[i].lab = &lab;
                assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
                lab_until(&lab, posters[i].expected == POSTS);
        for (int i = 0; i < THREADS; i++)
                pthread_join(posters[i].thread, NULL);
        lab_turns(&lab, 5);
        assert_int_equal(berth_port_stats(lab.port)->completions, THREADS * POSTS);
        lab_close(&lab);
}

/* A thread waits without end for what the other sends it, to and fro. */
struct player {
        pthread_t thread;
        const char *engine;
        struct player *other;
        struct berth_port *port;
        struct berth_op ball;
        atomic_bool ready;
        unsigned hits;
        bool serves;
};

enum { HITS = 2000 };

static void hit(struct berth_op *op)
{
        struct player *player = container_of(op, struct player, ball)->other; /* it is the other's ball */
        player->hits++;
}

static void *play(void *argument)
{
        struct player *player = argument;
        if (berth_port_create(&player->port, &(struct berth_port_config){ .engine = player->engine }) < 0)
                return "create";
        atomic_store(&player->ready, true);
        while (!atomic_load(&player->other->ready))
                sched_yield();
        for (unsigned played = 0; played < HITS; played++) {
                if (player->serves)
                        berth_post(player->other->port, &player->ball, 0);
                while (player->hits == played)
                        if (berth_port_run(player->port, -1) < 0)
                                return "run";
                if (!player->serves)
                        berth_post(player->other->port, &player->ball, 0);
        }
        return NULL;
}

static void thread_posts_wake_a_wait_without_end(void **state)
{
        (void)state;
        struct player players[2] = { { .serves = true } };
        for (int i = 0; i < 2; i++) {
                players[i].engine = lab_engine;
                players[i].other = &players[1 - i];
                players[i].ball.done = hit;
        }
        for (int i = 0; i < 2; i++)
                assert_int_equal(pthread_create(&players[i].thread, NULL, play, &players[i]), 0);
        for (int i = 0; i < 2; i++) {
                void *problem;
                pthread_join(players[i].thread, &problem);
                assert_null(problem);
        }
        for (int i = 0; i < 2; i++)
                berth_port_destroy(players[i].port);
}

static void *wake_often(void *argument)
{
        struct lab *lab = argument;
        for (int i = 0; i < 1000; i++)
                berth_port_wake(lab->port);
        return NULL;
}

static void *wake_later(void *argument)
{
        struct lab *lab = argument;
        lab_sleep_ms(20);
        berth_port_wake(lab->port);
        return NULL;
}

static void thread_wake_ends_a_wait_without_end(void **state)
{
        (void)state;
        struct lab lab;
        pthread_t thread;
        lab_open_bare(&lab, NULL);
        berth_port_wake(lab.port); /* before the wait counts as well */
        assert_int_equal(berth_port_run(lab.port, -1), 0);
        for (int i = 0; i < 5; i++) {
                assert_int_equal(pthread_create(&thread, NULL, wake_later, &lab), 0);
                assert_int_equal(berth_port_run(lab.port, -1), 0);
                pthread_join(thread, NULL);
                lab_turns(&lab, 3);
        }
        assert_int_equal(pthread_create(&thread, NULL, wake_often, &lab), 0);
        lab_turns(&lab, 100);
        pthread_join(thread, NULL);
        lab_turns(&lab, 3);
        lab_close(&lab);
}

/* ---- workers ---- */

struct job {
        struct berth_call call;
        struct lab *lab;
        int64_t number;
        unsigned ends;
        int64_t result;
};

static atomic_uint running;
static atomic_bool gate_open;

static int64_t square(struct berth_call *call)
{
        struct job *job = container_of(call, struct job, call);
        return job->number * job->number;
}

/* The simulator makes calls on the port's own thread, where nobody could open the gate. */
static int64_t pass_gate(struct berth_call *call)
{
        struct job *job = container_of(call, struct job, call);
        atomic_fetch_add(&running, 1);
        while (!job->lab->sim && !atomic_load(&gate_open))
                lab_sleep_ms(1);
        return job->number;
}

static void job_done(struct berth_op *op)
{
        struct job *job = container_of(container_of(op, struct berth_call, op), struct job, call);
        job->ends++;
        job->result = op->result;
}

static void start_job(struct lab *lab, struct job *job, int64_t (*call)(struct berth_call *), int64_t number)
{
        *job = (struct job){ .call.call = call, .call.op.done = job_done, .lab = lab, .number = number };
        berth_call(lab->port, &job->call);
}

static void thread_calls_give_their_results(void **state)
{
        (void)state;
        enum { MANY = 500 };
        static struct job jobs[MANY];
        struct lab lab;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 0, 1), -EINVAL);
        assert_int_equal(berth_workers_create(&workers, 1, 0), -EINVAL);
        assert_int_equal(berth_workers_create(&workers, 3, MANY), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        for (int i = 0; i < MANY; i++)
                start_job(&lab, &jobs[i], square, i);
        lab_until(&lab, berth_port_in_flight(lab.port) == 0);
        for (int64_t i = 0; i < MANY; i++) {
                assert_int_equal(jobs[i].ends, 1);
                assert_int_equal(jobs[i].result, i * i);
        }
        lab_close(&lab);
        berth_workers_destroy(workers);
}

static void thread_calls_without_workers_are_not_possible(void **state)
{
        (void)state;
        struct lab lab;
        struct job job;
        lab_open_bare(&lab, NULL);
        start_job(&lab, &job, square, 1);
        lab_until(&lab, job.ends == 1);
        assert_int_equal(job.result, -ENOSYS);
        lab_close(&lab);
}

/* Lets real engines hand their calls on; the simulator would make them. */
static void hand_on(struct lab *lab)
{
        if (!lab->sim)
                lab_turns(lab, 3);
}

static void thread_calls_past_the_queue_are_refused_and_queued_ones_cancelled(void **state)
{
        (void)state;
        enum { QUEUE = 3 };
        struct lab lab;
        struct job first, queued[QUEUE], late, later;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 1, QUEUE), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        atomic_store(&running, 0);
        atomic_store(&gate_open, false);
        start_job(&lab, &first, pass_gate, 100);
        hand_on(&lab);
        while (!lab.sim && atomic_load(&running) == 0)
                lab_sleep_ms(1);
        for (int i = 0; i < QUEUE; i++)
                start_job(&lab, &queued[i], pass_gate, i);
        hand_on(&lab);
        start_job(&lab, &late, pass_gate, 200);
        hand_on(&lab);
        /* a queued one makes room when it is cancelled, a running one does not listen */
        berth_cancel(lab.port, &queued[1].call.op);
        berth_cancel(lab.port, &first.call.op);
        if (!lab.sim) {
                lab_until(&lab, late.ends == 1 && queued[1].ends == 1);
                assert_int_equal(queued[1].result, -ECANCELED);
                start_job(&lab, &later, pass_gate, 300);
                lab_turns(&lab, 3);
                assert_int_equal(first.ends + queued[0].ends + queued[2].ends + later.ends, 0);
        }
        atomic_store(&gate_open, true);
        lab_until(&lab, berth_port_in_flight(lab.port) == 0);
        assert_int_equal(late.result, -EBUSY);
        assert_true(first.result == 100 || (lab.sim && first.result == -ECANCELED));
        assert_int_equal(queued[0].result, 0);
        assert_true(queued[1].result == -ECANCELED || (lab.sim && queued[1].result == 1));
        assert_int_equal(queued[2].result, 2);
        if (!lab.sim)
                assert_int_equal(later.result, 300);
        lab_close(&lab);
        berth_workers_destroy(workers);
}

static void thread_workers_serve_two_ports(void **state)
{
        (void)state;
        enum { MANY = 100 };
        static struct job jobs[2][MANY];
        struct lab a, b;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 2, 2 * MANY), 0);
        struct berth_port_config config = { .workers = workers };
        lab_open_bare(&a, &config);
        lab_open_bare(&b, &config);
        b.shares = true;
        for (int i = 0; i < MANY; i++) {
                start_job(&a, &jobs[0][i], square, i);
                start_job(&b, &jobs[1][i], square, i + 1000);
        }
        lab_until(&a, berth_port_in_flight(a.port) == 0);
        lab_until(&b, berth_port_in_flight(b.port) == 0);
        for (int64_t i = 0; i < MANY; i++) {
                assert_int_equal(jobs[0][i].result, i * i);
                assert_int_equal(jobs[1][i].result, (i + 1000) * (i + 1000));
        }
        lab_close(&b);
        lab_close(&a);
        berth_workers_destroy(workers);
}

/* As soon as the result is there the port may go, though the worker may still be on its way out of posting it. */
static void thread_a_port_may_end_right_after_its_last_call(void **state)
{
        (void)state;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 2, 4), 0);
        for (int i = 0; i < 300; i++) {
                struct lab lab;
                struct job job;
                lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers, .ring_entries = 8, .buffers = 1 });
                start_job(&lab, &job, square, i);
                while (job.ends == 0)
                        assert_true(berth_port_run(lab.port, i % 2 ? 0 : 100) >= 0);
                berth_port_destroy(lab.port);
        }
        berth_workers_destroy(workers);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(thread_posts_come_once_and_in_order),
        cmocka_unit_test(thread_posts_wake_a_wait_without_end),
        cmocka_unit_test(thread_wake_ends_a_wait_without_end),
        cmocka_unit_test(thread_calls_give_their_results),
        cmocka_unit_test(thread_calls_without_workers_are_not_possible),
        cmocka_unit_test(thread_calls_past_the_queue_are_refused_and_queued_ones_cancelled),
        cmocka_unit_test(thread_workers_serve_two_ports),
        cmocka_unit_test(thread_a_port_may_end_right_after_its_last_call),
};
const struct test_list thread_tests = { tests, array_count(tests) };
