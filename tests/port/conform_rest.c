/* Rest: a connection waits by its handle alone. */
#include "lab.h"

static void send_and_wait(struct lab *lab, struct end *end, const char *data, size_t size)
{
        end_send(lab, end, data, size);
        act_wait(&end->send);
        assert_int_equal(end->send.result, size);
}

/* In the simulator, and where submissions find no room, a rest may end for no reason. */
static bool may_end_by_itself(struct lab *lab)
{
        const char *without = getenv("BERTH_URING_WITHOUT");
        return lab->sim || (without && strstr(without, "room"));
}

/* One that has ended so is begun again. */
static void still_rests(struct lab *lab, struct end *end)
{
        lab_settle(lab);
        for (unsigned i = 0; may_end_by_itself(lab) && !end->resting && i < 1000; i++) {
                end_rest(lab, end);
                lab_turns(lab, 1);
        }
        assert_true(end->resting);
}

static void receive_all(struct lab *lab, struct end *end, uint64_t until)
{
        end->paused = true;
        while (end->received < until) {
                end_receive(lab, end, false);
                act_wait(&end->recv);
                assert_true(end->recv.result > 0);
        }
}

static void a_rest_ends_when_bytes_come(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 100);
        for (unsigned i = 0; i < 10; i++) {
                bool before = i % 2;
                unsigned ended = server.rests_ended;
                if (before) {
                        send_and_wait(&lab, &client, data + i * 10, 10);
                        lab_settle(&lab);
                }
                uint32_t in_flight = berth_port_in_flight(lab.port);
                end_rest(&lab, &server);
                assert_int_equal(berth_port_in_flight(lab.port), in_flight + 1);
                if (!before) {
                        still_rests(&lab, &server);
                        send_and_wait(&lab, &client, data + i * 10, 10);
                }
                end_rest_wait(&lab, &server);
                assert_true(may_end_by_itself(&lab) || server.rests_ended == ended + 1);
                assert_int_equal(berth_port_in_flight(lab.port), in_flight);
                receive_all(&lab, &server, i * 10 + 10);
        }
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* The end comes while it rests, or before. */
static void rest_to_the_end(bool abort, bool before)
{
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        if (!before) {
                end_rest(&lab, &server);
                still_rests(&lab, &server);
        }
        end_close_wait(&lab, &client, abort ? BERTH_ABORT : 0);
        if (before)
                end_rest(&lab, &server);
        end_rest_wait(&lab, &server);
        end_receive(&lab, &server, false);
        act_wait(&server.recv);
        assert_int_equal(server.recv.result, abort ? -ECONNRESET : 0);
        end_rest(&lab, &server); /* the end stays the end */
        end_rest_wait(&lab, &server);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

static void a_rest_ends_at_the_peers_end_and_at_a_reset(void **state)
{
        (void)state;
        rest_to_the_end(false, false);
        rest_to_the_end(true, false);
        rest_to_the_end(false, true);
}

static void a_rest_after_a_reset_ends_and_the_reset_is_told(void **state)
{
        (void)state;
        lab_needs(LAB_RESETS);
        rest_to_the_end(true, true);
}

/* Not yet in the engine, in it, or over already and the event on its way. */
static void a_close_ends_a_rest_without_telling(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        char *data = pattern(0, 10);
        for (unsigned i = 0; i < 24; i++) {
                lab_pair(&lab, &client, &server);
                unsigned ended = server.rests_ended;
                if (i & 1)
                        send_and_wait(&lab, &client, data, 10);
                if (i & 4)
                        lab_settle(&lab);
                end_rest(&lab, &server);
                if (i & 2)
                        lab_settle(&lab);
                if (server.resting)
                        assert_int_equal(server.rests_ended, ended);
                end_close_wait(&lab, &server, i & 8 ? BERTH_ABORT : 0);
                lab_turns(&lab, 10);
                assert_int_equal(server.handle.kind, 0);
                end_close_wait(&lab, &client, 0);
        }
        free(data);
        lab_close(&lab);
}

/* The caller has not yet been told, since he takes one event at a time. */
static void a_rest_whose_end_is_on_its_way_can_be_closed(void **state)
{
        (void)state;
        enum { MANY = 12 };
        struct lab lab;
        static struct end clients[MANY], servers[MANY];
        struct berth_event event;
        lab_open(&lab, NULL);
        for (unsigned i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                end_rest(&lab, &servers[i]);
        }
        lab_settle(&lab);
        for (unsigned i = 0; i < MANY; i++)
                send_and_wait(&lab, &clients[i], "x", 1);
        for (unsigned i = 0; i < MANY; i++)
                if (!servers[i].resting)
                        end_rest(&lab, &servers[i]);
        int n;
        do
                n = berth_port_reap(lab.port, &event, 1, 1000);
        while (n == 0);
        assert_int_equal(n, 1);
        assert_null(event.op);
        struct end *first = container_of(event.handle, struct end, handle);
        assert_true(first >= servers && first < servers + MANY);
        first->resting = false;
        for (unsigned i = 0; i < MANY; i++)
                end_close(&lab, &servers[i], 0);
        for (unsigned i = 0; i < MANY; i++) {
                act_wait(&servers[i].close);
                end_close_wait(&lab, &clients[i], 0);
        }
        lab_close(&lab);
}

static bool all_awake(struct end *ends, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                if (ends[i].resting)
                        return false;
        return true;
}

static void thousands_rest_and_wake_at_once(void **state)
{
        (void)state;
        enum { MANY = 3000 };
        struct lab lab;
        lab_needs(LAB_THOUSANDS);
        struct end *clients = calloc(MANY, sizeof(*clients)), *servers = calloc(MANY, sizeof(*servers));
        lab_open(&lab, &(struct berth_port_config){ .max_handles = 2 * MANY });
        for (unsigned i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                end_rest(&lab, &servers[i]);
        }
        lab_settle(&lab);
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned i = 0; i < MANY; i++) {
                        if (!servers[i].resting)
                                end_rest(&lab, &servers[i]);
                        if (!clients[i].send.in_flight)
                                end_send(&lab, &clients[i], "x", 1);
                }
                lab_until(&lab, all_awake(servers, MANY));
                for (unsigned i = 0; i < MANY; i++)
                        act_wait(&clients[i].send);
        }
        for (unsigned i = 0; i < MANY; i++) { /* they are woken by the same event that closes them */
                if (!servers[i].resting && i % 3)
                        end_rest(&lab, &servers[i]);
                end_close(&lab, &clients[i], BERTH_ABORT);
                if (i % 2)
                        end_close(&lab, &servers[i], 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
                act_wait(&clients[i].close);
                if (i % 2)
                        act_wait(&servers[i].close);
                else
                        end_close_wait(&lab, &servers[i], 0);
        }
        free(clients);
        free(servers);
        lab_close(&lab);
}

/* Room for one event at a time: what is ready and what rests get on alike, and each rest ends once. */
static void rests_end_one_at_a_time(void **state)
{
        (void)state;
        enum { MANY = 40 };
        struct lab lab;
        static struct end clients[MANY], servers[MANY];
        struct berth_timer timers[MANY] = { 0 };
        struct berth_event event;
        unsigned rests = 0, ops = 0;
        uint64_t since = lab_clock_ms();
        lab_open(&lab, NULL);
        for (unsigned i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                send_and_wait(&lab, &clients[i], "x", 1);
        }
        lab_settle(&lab);
        for (unsigned i = 0; i < MANY; i++) {
                timers[i].op.done = (berth_done *)abort;
                berth_timer_start(lab.port, &timers[i], 0);
                end_rest(&lab, &servers[i]);
        }
        while (rests < MANY || ops < MANY) {
                int n = berth_port_reap(lab.port, &event, 1, 100);
                assert_true(n >= 0 && n <= 1 && lab_clock_ms() - since < 30000);
                if (n == 0)
                        continue;
                if (event.op) {
                        ops++;
                } else {
                        struct end *end = container_of(event.handle, struct end, handle);
                        assert_true(end->resting);
                        end->resting = false;
                        rests++;
                }
                if (!lab.sim && rests == MANY / 2)
                        assert_true(ops > 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
                end_close_wait(&lab, &clients[i], 0);
                end_close_wait(&lab, &servers[i], 0);
        }
        lab_close(&lab);
}

/* Past the bound it is a short rest; and it never takes a place from a close. */
static void a_rest_past_the_bound_of_ops_ends_at_once(void **state)
{
        (void)state;
        enum { BOUND = 8, MANY = 6 };
        struct lab lab;
        struct end clients[MANY], servers[MANY];
        lab_open(&lab, &(struct berth_port_config){ .max_ops = BOUND });
        for (unsigned i = 0; i < MANY; i++)
                lab_pair(&lab, &clients[i], &servers[i]);
        for (unsigned i = 0; i < MANY; i++) {
                end_rest(&lab, &clients[i]);
                end_rest(&lab, &servers[i]);
        }
        assert_true(berth_port_in_flight(lab.port) > BOUND);
        lab_until(&lab, berth_port_in_flight(lab.port) <= BOUND);
        for (unsigned i = 0; i < MANY; i++) {
                end_close_wait(&lab, &clients[i], 0);
                end_close_wait(&lab, &servers[i], 0);
        }
        lab_close(&lab);
}

/* With several rings: how many events come before the one of `end`? */
static unsigned events_before(struct lab *lab, struct end *end)
{
        struct berth_event event;
        for (unsigned before = 0;; before++) {
                while (berth_port_reap(lab->port, &event, 1, 1000) == 0)
                        ;
                assert_null(event.op);
                struct end *woken = container_of(event.handle, struct end, handle);
                woken->resting = false;
                if (woken == end)
                        return before;
        }
}

/* A crowd that vanishes at once fills its rings; one on another ring must not have to wait for all of them. */
static void a_crowd_that_wakes_holds_up_no_other_ring(void **state)
{
        (void)state;
        enum { MOST = 512 };
        static struct end servers[MOST + 1];
        int clients[MOST + 1];
        struct lab lab;
        const char *slots = getenv("BERTH_URING_SLOTS");
        unsigned crowd = slots ? MOST / (unsigned)atoi(slots) * (unsigned)atoi(slots) : MOST; /* fills its rings */
        lab_open(&lab, &(struct berth_port_config){ .max_handles = 2 * MOST });
        if (lab.sim || may_end_by_itself(&lab)) {
                lab_close(&lab);
                return;
        }
        memset(servers, 0, sizeof(servers));
        for (unsigned i = 0; i <= crowd; i++) {
                clients[i] = lab_plain_connect(&lab);
                lab_adopt(&lab, &servers[i]);
                end_rest(&lab, &servers[i]);
        }
        lab_settle(&lab);
        uint32_t rings = berth_port_stats(lab.port)->rings;
        for (unsigned i = 0; i < crowd; i++)
                lab_plain_close(clients[i]);
        lab_plain_send(clients[crowd], "x", 1);
        unsigned before = events_before(&lab, &servers[crowd]);
        if (rings > 1)
                assert_in_range(before, 0, rings + 1);
        for (unsigned i = 0; i <= crowd; i++)
                end_close_wait(&lab, &servers[i], 0);
        lab_plain_close(clients[crowd]);
        lab_close(&lab);
}

struct later {
        int descriptor;
        struct berth_port *port;
        struct berth_op *post;
};

static void *do_later(void *argument)
{
        struct later *later = argument;
        lab_sleep_ms(3);
        if (later->post)
                berth_post(later->port, later->post, 7);
        else
                lab_plain_send(later->descriptor, "x", 1);
        return NULL;
}

static void wait_in_some_way(struct lab *lab, struct end *end, unsigned way)
{
        end->recv.then = NULL;
        if (way == 0)
                end_rest(lab, end);
        else if (way == 1)
                berth_wait_readable(lab->port, go(lab, &end->recv, end), &end->handle);
        else
                berth_recv(lab->port, go(lab, &end->recv, end), &end->handle, 0);
}

/* The thread sleeps, and nothing but this one thing wakes it, on whatever ring it happens. */
static void thread_whatever_happens_on_any_ring_ends_a_wait_without_end(void **state)
{
        (void)state;
        enum { MANY = 90, LONG_MS = 20000 };
        static struct end servers[MANY];
        int clients[MANY];
        struct lab lab;
        lab_open(&lab, &(struct berth_port_config){ .max_handles = 4 * MANY });
        for (unsigned i = 0; i < MANY && !lab.sim; i++) {
                memset(&servers[i], 0, sizeof(servers[i]));
                clients[i] = lab_plain_connect(&lab);
                lab_adopt(&lab, &servers[i]);
        }
        for (unsigned i = 0; i < MANY && !lab.sim; i++) {
                struct berth_event event = { 0 };
                struct berth_op post = { .done = (berth_done *)abort };
                struct later later = { .descriptor = clients[i], .port = lab.port, .post = i % 4 == 3 ? &post : NULL };
                pthread_t thread;
                if (!later.post)
                        wait_in_some_way(&lab, &servers[i], i % 4);
                lab_settle(&lab);
                if (!later.post && !servers[i].resting && !servers[i].recv.in_flight)
                        continue; /* a short rest */
                uint64_t since = lab_clock_ms();
                assert_int_equal(pthread_create(&thread, NULL, do_later, &later), 0);
                while (berth_port_reap(lab.port, &event, 1, LONG_MS) == 0)
                        ;
                pthread_join(thread, NULL);
                assert_true(lab_clock_ms() - since < LONG_MS / 2);
                if (event.flags & BERTH_BUFFER)
                        berth_buffer_put(lab.port, event.buffer);
                assert_ptr_equal(event.op, later.post ? &post : i % 4 == 0 ? NULL : &servers[i].recv.op);
                servers[i].resting = servers[i].recv.in_flight = false;
        }
        for (unsigned i = 0; i < MANY && !lab.sim; i++) {
                end_close_wait(&lab, &servers[i], 0);
                lab_plain_close(clients[i]);
        }
        lab_close(&lab);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rest_ends_when_bytes_come),
        cmocka_unit_test(a_rest_ends_at_the_peers_end_and_at_a_reset),
        cmocka_unit_test(a_rest_after_a_reset_ends_and_the_reset_is_told),
        cmocka_unit_test(a_close_ends_a_rest_without_telling),
        cmocka_unit_test(a_rest_whose_end_is_on_its_way_can_be_closed),
        cmocka_unit_test(thousands_rest_and_wake_at_once),
        cmocka_unit_test(rests_end_one_at_a_time),
        cmocka_unit_test(a_rest_past_the_bound_of_ops_ends_at_once),
        cmocka_unit_test(thread_whatever_happens_on_any_ring_ends_a_wait_without_end),
        cmocka_unit_test(a_crowd_that_wakes_holds_up_no_other_ring),
};
const struct test_list rest_tests = { tests, array_count(tests) };
