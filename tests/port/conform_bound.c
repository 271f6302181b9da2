/* Bounds: what happens at each. */
#include "lab.h"

/* ---- descriptors ---- */

/* Both ends are in this process: clients come first and leave too little for their servers. */
static void accepting_without_room_ends_and_goes_on_when_there_is_some(void **state)
{
        (void)state;
        enum { ROOM = 24, MANY = 16 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        unsigned served = 0;
        memset(clients, 0, sizeof(clients));
        memset(servers, 0, sizeof(servers));
        lab_open_bare(&lab, &(struct berth_port_config){ .max_handles = ROOM });
        lab_listen(&lab, 64);
        lab_limit_descriptors(ROOM);
        for (unsigned i = 0; i < MANY; i++) {
                lab_connect(&lab, &clients[i]);
                act_wait(&clients[i].other);
                assert_int_equal(clients[i].other.result, 0);
        }
        lab.accept.then = lab_arrival;
        berth_accept(lab.port, go(&lab, &lab.accept, NULL), &lab.listener);
        act_wait(&lab.accept);
        assert_true(lab_refused(lab.accept.result));
        assert_true(lab.accepted > 0 && lab.accepted < MANY);
        assert_true(berth_port_stats(lab.port)->refused > 0);
        /* each that is served and closed makes room for another; none in the queue has been lost */
        while (served < MANY) {
                if (!lab.accept.in_flight)
                        berth_accept(lab.port, go(&lab, &lab.accept, NULL), &lab.listener);
                lab_until(&lab, lab.arrived_count > 0 || !lab.accept.in_flight);
                assert_true(lab.arrived_count > 0); /* not refused: there is room */
                lab_adopt(&lab, &servers[served]);
                end_send(&lab, &servers[served], "hello", 5);
                act_wait(&servers[served].send);
                end_close_wait(&lab, &servers[served++], 0);
        }
        for (unsigned i = 0; i < MANY; i++) {
                clients[i].recv.then = NULL;
                berth_recv(lab.port, go(&lab, &clients[i].recv, &clients[i]), &clients[i].handle, 0);
                act_wait(&clients[i].recv);
                assert_true(clients[i].recv.result > 0);
                berth_buffer_put(lab.port, clients[i].recv.op.buffer);
                end_close_wait(&lab, &clients[i], 0);
        }
        lab_limit_descriptors(LAB_AS_BEFORE);
        lab_close(&lab);
}

/* The point where io_uring must go over from many connections at a time to one, lest it drops what finds no slot. */
static void accepting_goes_on_while_room_gets_little(void **state)
{
        (void)state;
        enum { MANY = 80, LITTLE = 4096 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        memset(clients, 0, sizeof(clients));
        memset(servers, 0, sizeof(servers));
        lab_open(&lab, &(struct berth_port_config){ .max_handles = LITTLE + MANY });
        for (int round = 0; round < 2; round++) {
                for (int i = 0; i < MANY; i++) {
                        lab_connect(&lab, &clients[i]);
                        if (i % 10 == 0) /* one alone, then several at once */
                                act_wait(&clients[i].other);
                }
                for (int i = 0; i < MANY; i++) {
                        act_wait(&clients[i].other);
                        assert_int_equal(clients[i].other.result, 0);
                        lab_adopt(&lab, &servers[i]);
                }
                assert_int_equal(lab.accept.finals, 0);
                for (int i = 0; i < MANY; i++) {
                        end_close_wait(&lab, &clients[i], i % 2 ? BERTH_ABORT : 0);
                        end_close_wait(&lab, &servers[i], 0);
                }
                memset(clients, 0, sizeof(clients));
                memset(servers, 0, sizeof(servers));
        }
        lab_close(&lab);
}

/* Giving up connections is what makes room, so it must work without any. */
static void a_connection_can_be_aborted_without_room(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_needs(LAB_LIMIT);
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        lab_settle(&lab);
        lab_limit_descriptors(0);
        end_close_wait(&lab, &client, BERTH_ABORT);
        end_receive(&lab, &server, false);
        act_wait(&server.recv);
        assert_int_equal(server.recv.result, -ECONNRESET);
        lab_limit_descriptors(LAB_AS_BEFORE);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

/* Sending files and asking for addresses takes plain descriptors, which must not pile up. */
static void few_descriptors_are_enough_for_many_files(void **state)
{
        (void)state;
        enum { MANY = 20, BYTES = 10000 };
        static struct end clients[MANY], servers[MANY];
        static struct berth_send_file what[MANY];
        struct lab lab;
        struct berth_handle file;
        struct sockaddr_storage address;
        lab_needs(LAB_LIMIT);
        lab_limit_descriptors(MANY * 2 + 10);
        lab_open(&lab, &(struct berth_port_config){ .max_handles = MANY * 2 + 2 });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < MANY; i++) {
                struct end *ends[] = { &clients[i], &servers[i] };
                lab_pair(&lab, ends[0], ends[1]);
                for (int end = 0; end < 2; end++) {
                        berth_peer_address(lab.port, go(&lab, &ends[end]->other, ends[end]), &ends[end]->handle,
                                           (struct sockaddr *)&address, sizeof(address));
                        act_wait(&ends[end]->other);
                        assert_int_equal(ends[end]->other.result, 0);
                }
        }
        for (int i = 0; i < MANY; i++) {
                what[i] = (struct berth_send_file){ .file = &file, .length = BYTES };
                end_receive(&lab, &clients[i], true);
                berth_send_file(lab.port, go(&lab, &servers[i].send, &servers[i]), &servers[i].handle, &what[i]);
                act_wait(&servers[i].send);
                assert_int_equal(servers[i].send.result, BYTES);
                lab_until(&lab, clients[i].received == BYTES);
        }
        for (int i = 0; i < MANY; i++) {
                end_close_wait(&lab, &clients[i], 0);
                end_close_wait(&lab, &servers[i], 0);
        }
        lab_limit_descriptors(LAB_AS_BEFORE);
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* Whatever is missing when a port is made: an error, and nothing is left over. */
static void a_port_without_room_is_not_made(void **state)
{
        (void)state;
        lab_needs(LAB_LIMIT);
        unsigned before = lab_open_descriptors(), made = 0;
        for (int room = 0; room < 5; room++) {
                struct berth_port *port;
                lab_limit_descriptors(room);
                int error = berth_port_create(&port, &(struct berth_port_config){ .engine = lab_engine });
                lab_limit_descriptors(LAB_AS_BEFORE);
                assert_true(error == 0 || error == -EMFILE);
                assert_true((error == 0) == (port != NULL));
                made += error == 0;
                berth_port_destroy(port);
                assert_int_equal(lab_open_descriptors(), before);
        }
        assert_true(made > 0 && made < 5);
}

static void connecting_without_room_is_refused_and_can_be_tried_again(void **state)
{
        (void)state;
        enum { ROOM = 20, MANY = 40 };
        static struct end clients[MANY];
        struct lab lab;
        unsigned connected = 0;
        memset(clients, 0, sizeof(clients));
        lab_open_bare(&lab, &(struct berth_port_config){ .max_handles = ROOM });
        lab_listen(&lab, 64);
        lab_limit_descriptors(ROOM);
        for (;;) {
                assert_true(connected < MANY - 1);
                lab_connect(&lab, &clients[connected]);
                act_wait(&clients[connected].other);
                if (clients[connected].other.result < 0)
                        break;
                connected++;
        }
        assert_true(lab_refused(clients[connected].other.result));
        end_close_wait(&lab, &clients[0], 0);
        lab_connect(&lab, &clients[connected]);
        act_wait(&clients[connected].other);
        assert_int_equal(clients[connected].other.result, 0);
        for (unsigned i = 1; i <= connected; i++)
                end_close_wait(&lab, &clients[i], 0);
        lab_limit_descriptors(LAB_AS_BEFORE);
        lab_close(&lab);
}

/* ---- ops ---- */

static unsigned timers_ended, timers_refused;

static void timer_ended(struct berth_op *op)
{
        timers_ended++;
        timers_refused += op->result == -ENOBUFS;
        assert_true(op->result == -ENOBUFS || op->result == -ECANCELED);
}

static void ops_past_the_bound_are_refused_and_nothing_else_is(void **state)
{
        (void)state;
        enum { BOUND = 10, MANY = 15 };
        struct lab lab;
        struct end client, server;
        struct berth_timer timers[MANY] = { 0 };
        lab_open(&lab, &(struct berth_port_config){ .max_ops = BOUND });
        lab_pair(&lab, &client, &server);
        timers_ended = timers_refused = 0;
        unsigned room = BOUND - berth_port_in_flight(lab.port);
        for (int i = 0; i < MANY; i++) {
                timers[i].op.done = timer_ended;
                berth_timer_start(lab.port, &timers[i], 1000000);
                assert_int_equal(timers_ended, 0); /* nothing completes inside a start */
        }
        lab_until(&lab, timers_refused == MANY - room);
        berth_wait_readable(lab.port, go(&lab, &client.recv, &client), &client.handle);
        act_wait(&client.recv);
        assert_int_equal(client.recv.result, -ENOBUFS);
        struct end late = { 0 };
        lab_connect(&lab, &late);
        act_wait(&late.other);
        assert_int_equal(late.other.result, -ENOBUFS);
        assert_int_equal(late.handle.kind, 0);
        assert_true(berth_port_stats(lab.port)->refused >= MANY - room + 2);
        end_close_wait(&lab, &server, 0); /* a close is never refused */
        for (int i = 0; i < MANY; i++)
                berth_timer_cancel(lab.port, &timers[i]);
        lab_until(&lab, timers_ended == MANY);
        end_receive(&lab, &client, false); /* there is room again */
        act_wait(&client.recv);
        assert_int_equal(client.recv.result, 0);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

static void tiny_rings_carry_many_ops(void **state)
{
        (void)state;
        enum { MANY = 60, BYTES = 20000 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        char *data = pattern(0, BYTES);
        lab_open(&lab, &(struct berth_port_config){ .ring_entries = 4, .buffers = 8, .buffer_bytes = 1024 });
        memset(clients, 0, sizeof(clients));
        memset(servers, 0, sizeof(servers));
        for (int i = 0; i < MANY; i++)
                lab_connect(&lab, &clients[i]);
        lab_until(&lab, lab.accepted == MANY);
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].other);
                lab_adopt(&lab, &servers[i]);
        }
        for (int i = 0; i < MANY; i++) {
                struct berth_vec vecs[3] = { { data, 1 },
                                             { data + 1, BYTES / 2 },
                                             { data + 1 + BYTES / 2, BYTES / 2 - 1 } };
                static struct berth_vec last[MANY][3];
                memcpy(last[i], vecs, sizeof(vecs));
                end_receive(&lab, &servers[i], i % 2);
                berth_sendv(lab.port, go(&lab, &clients[i].send, &clients[i]), &clients[i].handle, last[i], 3);
        }
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].send);
                assert_int_equal(clients[i].send.result, BYTES);
                lab_until(&lab, servers[i].received == BYTES);
        }
        /* all at once: a cancel and a close for each */
        for (int i = 0; i < MANY; i++) {
                end_close(&lab, &servers[i], i % 3 ? 0 : BERTH_ABORT);
                end_close(&lab, &clients[i], 0);
        }
        free(data);
        lab_close(&lab);
}

/* ---- fairness ---- */

static unsigned timer_fired;
static void again(struct berth_op *op)
{
        timer_fired++;
        (void)op;
}

/* One completion at a time: two connections that never rest, files, a timer and posts all get on. */
static void one_completion_at_a_time_everybody_gets_on(void **state)
{
        (void)state;
        enum { MANY = 4, BYTES = 3 << 20 };
        struct lab lab;
        struct end clients[MANY], servers[MANY];
        struct berth_handle file;
        struct berth_send_file what[MANY];
        char *data = pattern(0, BYTES);
        lab_open(&lab, &(struct berth_port_config){ .buffers = 16 });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                end_receive(&lab, &servers[i], true);
                what[i] = (struct berth_send_file){ .file = &file, .length = BYTES, .flags = BERTH_FILE_WARM };
                if (i % 2)
                        end_send(&lab, &clients[i], data, BYTES);
                else
                        berth_send_file(lab.port, go(&lab, &clients[i].send, &clients[i]), &clients[i].handle,
                                        &what[i]);
        }
        struct berth_timer timer = { .op.done = again };
        struct berth_op post = { .done = again };
        timer_fired = 0;
        berth_timer_start(lab.port, &timer, 1);
        berth_post(lab.port, &post, 0);
        unsigned turns = 0, fired_at = 0;
        for (uint64_t since = lab_clock_ms();
             servers[0].received + servers[1].received + servers[2].received + servers[3].received <
             (uint64_t)MANY * BYTES;) {
                struct berth_event event;
                int n = berth_port_reap(lab.port, &event, 1, 100);
                assert_true(n >= 0 && n <= 1);
                assert_true(lab_clock_ms() - since < 30000);
                if (n == 0)
                        continue;
                turns++;
                event.op->result = event.result;
                event.op->buffer = event.buffer;
                event.op->flags = (uint16_t)((event.op->flags & ~0xff) | event.flags);
                event.op->done(event.op);
                if (!fired_at && timer_fired == 2)
                        fired_at = turns;
        }
        assert_true(fired_at > 0);
        if (!lab.sim) /* a clock that passes by itself */
                assert_true(fired_at < turns / 2);
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].send);
                end_close_wait(&lab, &clients[i], 0);
                end_close_wait(&lab, &servers[i], 0);
        }
        lab_close_file(&lab, &file);
        free(data);
        lab_close(&lab);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(accepting_without_room_ends_and_goes_on_when_there_is_some, lab_restore_limit),
        cmocka_unit_test(accepting_goes_on_while_room_gets_little),
        cmocka_unit_test_teardown(a_connection_can_be_aborted_without_room, lab_restore_limit),
        cmocka_unit_test_teardown(few_descriptors_are_enough_for_many_files, lab_restore_limit),
        cmocka_unit_test_teardown(a_port_without_room_is_not_made, lab_restore_limit),
        cmocka_unit_test_teardown(connecting_without_room_is_refused_and_can_be_tried_again, lab_restore_limit),
        cmocka_unit_test(ops_past_the_bound_are_refused_and_nothing_else_is),
        cmocka_unit_test(tiny_rings_carry_many_ops),
        cmocka_unit_test(one_completion_at_a_time_everybody_gets_on),
};
const struct test_list bound_tests = { tests, array_count(tests) };
