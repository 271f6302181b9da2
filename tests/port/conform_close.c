/* Cancelling and closing, and what races with them. */
#include "lab.h"

enum { BIG = 16 << 20 };

/* When to cancel: before the engine has seen the op, after a turn, or when all is quiet. */
enum { AT_ONCE, AFTER_A_TURN, AFTER_A_WHILE, MOMENTS };

static void wait_for_moment(struct lab *lab, int moment)
{
        if (moment == AFTER_A_TURN)
                lab_turns(lab, 1);
        else if (moment == AFTER_A_WHILE)
                lab_settle(lab);
}

/* Cancels; the op ends once, with -ECANCELED since nothing else could end it. */
static void cancel(struct act *act, int moment)
{
        wait_for_moment(act->lab, moment);
        assert_true(act->in_flight);
        unsigned before = act->finals;
        berth_cancel(act->lab->port, &act->op);
        assert_true(act->in_flight);
        if (moment == AFTER_A_TURN)
                berth_cancel(act->lab->port, &act->op); /* twice is fine */
        act_wait(act);
        assert_int_equal(act->result, -ECANCELED);
        assert_int_equal(act->finals, before + 1);
        berth_cancel(act->lab->port, &act->op); /* not in flight: left alone */
        lab_turns(act->lab, 5);
        assert_int_equal(act->finals, before + 1);
}

static void receives_can_be_cancelled(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 10);
        for (int moment = 0; moment < MOMENTS; moment++) {
                server.recv.then = NULL;
                berth_wait_readable(lab.port, go(&lab, &server.recv, &server), &server.handle);
                cancel(&server.recv, moment);
                end_receive(&lab, &server, false);
                cancel(&server.recv, moment);
                end_receive(&lab, &server, true);
                cancel(&server.recv, moment);
        }
        end_receive(&lab, &server, true); /* and nothing is spoilt */
        end_send(&lab, &client, data, 10);
        lab_until(&lab, server.received == 10);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* A send that is stuck, of each kind. */
static void sends_can_be_cancelled(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BIG);
        lab_open_file(&lab, &file, "file", 0);
        char *data = pattern(0, BIG);
        for (int kind = 0; kind < 3; kind++) {
                for (int moment = 0; moment < MOMENTS; moment++) {
                        struct berth_vec vecs[2] = { { data, BIG / 2 }, { data + BIG / 2, BIG / 2 } };
                        struct berth_send_file what = { .file = &file, .length = BIG, .head = "", .head_bytes = 0 };
                        lab_pair(&lab, &client, &server);
                        struct berth_op *op = go(&lab, &client.send, &client);
                        if (kind == 0)
                                berth_send(lab.port, op, &client.handle, data, BIG, 0);
                        else if (kind == 1)
                                berth_sendv(lab.port, op, &client.handle, vecs, 2);
                        else
                                berth_send_file(lab.port, op, &client.handle, &what);
                        cancel(&client.send, moment);
                        /* what went out before is the beginning of it */
                        end_receive(&lab, &server, true);
                        end_close_wait(&lab, &client, 0);
                        act_wait(&server.recv);
                        assert_true(server.received < BIG);
                        end_close_wait(&lab, &server, 0);
                }
        }
        lab_close_file(&lab, &file);
        free(data);
        lab_close(&lab);
}

/* A send is cut off by its cancel at any point; another op goes on with the next byte, and the stream is whole. */
static void after_a_cancelled_send_another_goes_on_where_it_stopped(void **state)
{
        (void)state;
        enum { TOTAL = 6 << 20, MOST = 40 };
        char *data = pattern(0, TOTAL);
        for (unsigned kind = 0; kind < 2; kind++) {
                struct lab lab;
                struct end client, server;
                lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 32768 });
                lab_pair(&lab, &client, &server);
                size_t sent = 0, cut_off = 0;
                for (unsigned i = 0; i < MOST && sent < TOTAL; i++) {
                        size_t first = 1 + lab_chance(1000), left = TOTAL - sent;
                        struct berth_vec vecs[3] = { { data + sent, left < first ? left : first },
                                                     { "", 0 },
                                                     { data + sent + first, left < first ? 0 : left - first } };
                        struct berth_op *op = go(&lab, &client.send, &client);
                        if (kind)
                                berth_sendv(lab.port, op, &client.handle, vecs, 3);
                        else
                                berth_send(lab.port, op, &client.handle, data + sent, left, 0);
                        wait_for_moment(&lab, (int)(i % MOMENTS));
                        if (client.send.in_flight)
                                berth_cancel(lab.port, op);
                        act_wait(&client.send);
                        size_t part = berth_sent(op);
                        assert_true(client.send.result == -ECANCELED || client.send.result == (int64_t)left);
                        assert_true(client.send.result < 0 ? part < left : part == left);
                        cut_off += part > 0 && part < left;
                        sent += part;
                        server.paused = true; /* the peer reads a little, at times nothing */
                        for (unsigned n = lab_chance(12); n > 0 && server.received < sent; n--) {
                                end_receive(&lab, &server, false);
                                act_wait(&server.recv);
                        }
                }
                assert_true(cut_off > 0);
                server.paused = false;
                end_receive(&lab, &server, true);
                if (sent < TOTAL)
                        end_send(&lab, &client, data + sent, TOTAL - sent);
                lab_until(&lab, server.received == TOTAL);
                act_wait(&client.send);
                assert_int_equal(berth_sent(&client.send.op),
                                 sent < TOTAL ? TOTAL - sent : berth_sent(&client.send.op));
                end_close_wait(&lab, &client, 0);
                lab_until(&lab, server.ended);
                assert_int_equal(server.received, TOTAL);
                end_close_wait(&lab, &server, 0);
                lab_close(&lab);
        }
        free(data);
}

/* A listener whose queue is full: further connects have to wait. Returns how many are connected. */
static unsigned fill_queue(struct lab *lab, struct end *clients, unsigned most)
{
        for (unsigned i = 0; i < most; i++) {
                lab_connect(lab, &clients[i]);
                lab_settle(lab);
                if (clients[i].other.in_flight)
                        return i;
                assert_int_equal(clients[i].other.result, 0);
        }
        fail_msg("the queue never filled up");
        return 0;
}

static void a_connect_can_be_cancelled_and_leaves_the_handle_unused(void **state)
{
        (void)state;
        enum { MOST = 8 };
        for (int moment = 0; moment < MOMENTS; moment++) {
                struct end clients[MOST] = { 0 };
                struct lab lab;
                lab_open_bare(&lab, NULL);
                lab_listen(&lab, 1);
                unsigned connected = fill_queue(&lab, clients, MOST);
                struct act *connect = &clients[connected].other;
                cancel(connect, AT_ONCE);
                lab_connect(&lab, &clients[connected]); /* the same handle again */
                cancel(connect, moment);
                for (unsigned i = 0; i < connected; i++)
                        end_close_wait(&lab, &clients[i], 0);
                lab_close(&lab);
        }
}

/* Its cancel may lose: then it is connected, and to be closed. */
static void a_connect_that_is_cancelled_at_once_ends_either_way(void **state)
{
        (void)state;
        struct lab lab;
        lab_open(&lab, NULL);
        for (int i = 0; i < 100; i++) {
                struct end client = { 0 };
                lab_connect(&lab, &client);
                lab_turns(&lab, (unsigned)i % 4);
                berth_cancel(lab.port, &client.other.op);
                act_wait(&client.other);
                if (client.other.result == 0) {
                        end_close_wait(&lab, &client, 0);
                } else {
                        assert_int_equal(client.other.result, -ECANCELED);
                        assert_int_equal(client.handle.kind, 0);
                }
                while (lab.arrived_count > 0) {
                        struct end server = { 0 };
                        lab_adopt(&lab, &server);
                        end_close_wait(&lab, &server, 0);
                }
        }
        lab_close(&lab);
}

static void a_connecting_socket_can_be_closed(void **state)
{
        (void)state;
        enum { MOST = 8 };
        for (int moment = 0; moment < MOMENTS * 2; moment++) {
                struct end clients[MOST] = { 0 };
                struct lab lab;
                lab_open_bare(&lab, NULL);
                lab_listen(&lab, 1);
                unsigned connected = fill_queue(&lab, clients, MOST);
                struct end *stuck = &clients[connected];
                cancel(&stuck->other, AT_ONCE);
                lab_connect(&lab, stuck);
                wait_for_moment(&lab, moment % MOMENTS);
                end_close_wait(&lab, stuck, moment < MOMENTS ? 0 : BERTH_ABORT);
                assert_int_equal(stuck->other.result, -ECANCELED);
                assert_true(stuck->other.order < stuck->close.order);
                for (unsigned i = 0; i < connected; i++)
                        end_close_wait(&lab, &clients[i], 0);
                lab_close(&lab);
        }
}

/* Bytes are on their way when the receive is cancelled: it ends with them or without, and none is lost. */
static void a_cancel_that_races_with_data_loses_none(void **state)
{
        (void)state;
        enum { ROUNDS = 400 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, &(struct berth_port_config){ .buffers = 4 });
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, ROUNDS * 3);
        for (unsigned i = 0; i < ROUNDS; i++) {
                unsigned before = server.recv.finals;
                server.paused = true;
                end_receive(&lab, &server, i % 2);
                lab_turns(&lab, i % 3);
                end_send(&lab, &client, data + i * 3, 3);
                lab_turns(&lab, i / 3 % 3);
                berth_cancel(lab.port, &server.recv.op);
                act_wait(&server.recv);
                assert_int_equal(server.recv.finals, before + 1);
                assert_true(server.recv.result > 0 || server.recv.result == -ECANCELED);
                act_wait(&client.send);
                assert_int_equal(client.send.result, 3);
        }
        server.paused = false;
        if (server.received < ROUNDS * 3)
                end_receive(&lab, &server, false);
        lab_until(&lab, server.received == ROUNDS * 3);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static struct act *victim;

static void cancel_victim(struct act *act)
{
        if (act->op.flags & BERTH_BUFFER)
                berth_buffer_put(act->lab->port, act->op.buffer);
        if (victim->in_flight)
                berth_cancel(act->lab->port, &victim->op);
}

/* The port has handed out bytes and, before they were looked at, the op is cancelled: its end must not look like the
 * bytes, nor the bytes like its end. */
static void a_cancel_within_a_batch_spoils_no_completion(void **state)
{
        (void)state;
        enum { ROUNDS = 40 };
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct lab lab;
                struct end clients[2], servers[2];
                char *data = pattern(0, 100);
                lab_open(&lab, &(struct berth_port_config){ .seed = i + 1, .buffers = i % 4 < 2 ? 1 : 64 });
                lab_pair(&lab, &clients[0], &servers[0]);
                lab_pair(&lab, &clients[1], &servers[1]);
                unsigned first = i % 2;
                victim = &servers[1].recv;
                end_receive(&lab, &servers[1], true);
                servers[0].recv.then = cancel_victim;
                berth_recv(lab.port, go(&lab, &servers[0].recv, &servers[0]), &servers[0].handle, 0);
                lab_settle(&lab);
                end_send(&lab, &clients[first], data, 100);
                end_send(&lab, &clients[1 - first], data, 100);
                act_wait(&servers[0].recv);
                act_wait(victim);
                assert_int_equal(servers[1].recv.result, -ECANCELED); /* and received() looks at each on its way */
                for (int end = 0; end < 2; end++) {
                        act_wait(&clients[end].send);
                        end_close_wait(&lab, &clients[end], 0);
                        end_close_wait(&lab, &servers[end], 0);
                }
                free(data);
                lab_close(&lab);
        }
}

static void a_wait_that_is_cancelled_races_with_data(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        for (unsigned i = 0; i < 100; i++) {
                lab_pair(&lab, &client, &server);
                berth_wait_readable(lab.port, go(&lab, &server.recv, &server), &server.handle);
                lab_turns(&lab, i % 3);
                end_send(&lab, &client, "x", 1);
                lab_turns(&lab, i / 3 % 3);
                berth_cancel(lab.port, &server.recv.op);
                act_wait(&server.recv);
                assert_int_equal(server.recv.finals, 1);
                assert_true(server.recv.result == 0 || server.recv.result == -ECANCELED);
                end_close(&lab, &client, 0);
                end_close_wait(&lab, &server, i % 2 ? BERTH_ABORT : 0);
                act_wait(&client.close);
        }
        lab_close(&lab);
}

/* Everything that a connection can do at a time is in flight. */
static void a_close_waits_for_every_op_in_flight(void **state)
{
        (void)state;
        struct lab lab;
        struct berth_handle file;
        char *data = pattern(0, BIG);
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BIG);
        lab_open_file(&lab, &file, "file", 0);
        for (unsigned i = 0; i < 48; i++) {
                struct end client, server;
                struct sockaddr_storage address;
                struct berth_send_file what = { .file = &file, .length = BIG };
                lab_pair(&lab, &client, &server);
                if (i % 3 == 0)
                        end_receive(&lab, &client, i % 2);
                else
                        berth_wait_readable(lab.port, go(&lab, &client.recv, &client), &client.handle);
                if (i % 4 < 2)
                        end_send(&lab, &client, data, BIG);
                else
                        berth_send_file(lab.port, go(&lab, &client.send, &client), &client.handle, &what);
                if (i % 5 == 0)
                        berth_peer_address(lab.port, go(&lab, &client.other, &client), &client.handle,
                                           (struct sockaddr *)&address, sizeof(address));
                wait_for_moment(&lab, (int)(i / 4 % MOMENTS));
                end_close_wait(&lab, &client, i % 2 ? BERTH_ABORT : 0);
                assert_int_equal(client.recv.finals, 1);
                assert_int_equal(client.send.finals, 1);
                assert_true(client.recv.order < client.close.order && client.send.order < client.close.order);
                end_close_wait(&lab, &server, 0);
        }
        lab_close_file(&lab, &file);
        free(data);
        lab_close(&lab);
}

/* Connections of a storm live in memory of their own, which goes as soon as the close is done: a sanitizer sees who
 * still looks. Each sends, receives or waits, and is closed at some moment by either end. */
static unsigned storm_open;

static void forget(struct act *act)
{
        assert_int_equal(act->result, 0);
        assert_int_equal(act->end->handle.in_flight, 0);
        storm_open--;
        free(act->end);
}

static void hit(struct lab *lab, struct end *end)
{
        static const char junk[5000];
        storm_open++;
        if (lab_chance(2))
                berth_send(lab->port, go(lab, &end->send, end), &end->handle, junk, 1 + lab_chance(5000), 0);
        if (lab_chance(2))
                berth_wait_readable(lab->port, go(lab, &end->recv, end), &end->handle);
}

static void hang_up(struct lab *lab, struct end *end)
{
        end->close.then = forget;
        berth_close(lab->port, go(lab, &end->close, end), &end->handle, lab_chance(2) ? BERTH_ABORT : 0);
}

static void handles_are_used_again_in_a_storm(void **state)
{
        (void)state;
        enum { ROUNDS = 2000, AT_A_TIME = 32 };
        struct lab lab;
        struct end *ends[AT_A_TIME] = { 0 };
        lab_open(&lab, &(struct berth_port_config){ .buffers = 4 });
        storm_open = 0;
        for (unsigned round = 0; round < ROUNDS; round++) {
                struct end *client = calloc(1, sizeof(*client)), *server = calloc(1, sizeof(*server));
                lab_connect(&lab, client);
                act_wait(&client->other);
                assert_int_equal(client->other.result, 0);
                lab_adopt(&lab, server);
                hit(&lab, client);
                hit(&lab, server);
                lab_turns(&lab, lab_chance(3));
                for (int i = 0; i < 2; i++) {
                        struct end **place = &ends[lab_chance(AT_A_TIME)];
                        if (*place)
                                hang_up(&lab, *place);
                        *place = i ? client : server;
                }
        }
        for (unsigned i = 0; i < AT_A_TIME; i++)
                if (ends[i])
                        hang_up(&lab, ends[i]);
        lab_until(&lab, storm_open == 0);
        lab_close(&lab);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(receives_can_be_cancelled),
        cmocka_unit_test(sends_can_be_cancelled),
        cmocka_unit_test(after_a_cancelled_send_another_goes_on_where_it_stopped),
        cmocka_unit_test(a_connect_can_be_cancelled_and_leaves_the_handle_unused),
        cmocka_unit_test(a_connect_that_is_cancelled_at_once_ends_either_way),
        cmocka_unit_test(a_connecting_socket_can_be_closed),
        cmocka_unit_test(a_cancel_that_races_with_data_loses_none),
        cmocka_unit_test(a_cancel_within_a_batch_spoils_no_completion),
        cmocka_unit_test(a_wait_that_is_cancelled_races_with_data),
        cmocka_unit_test(a_close_waits_for_every_op_in_flight),
        cmocka_unit_test(handles_are_used_again_in_a_storm),
};
const struct test_list close_tests = { tests, array_count(tests) };
