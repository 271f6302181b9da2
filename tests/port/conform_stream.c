/* Bytes over a connection: receiving, sending, the end, the reset. */
#include "lab.h"

/* Sends back what it receives, buffer by buffer. */
static void echo_sent(struct act *act);

static void echo_received(struct act *act)
{
        struct end *end = act->end;
        struct lab *lab = act->lab;
        if (act->result <= 0) {
                end->ended = act->result == 0;
                return;
        }
        end->kept[0] = act->op.buffer;
        end->send.then = echo_sent;
        end_send(lab, end, berth_buffer_data(lab->port, act->op.buffer), (size_t)act->result);
}

static void echo_sent(struct act *act)
{
        struct end *end = act->end;
        berth_buffer_put(act->lab->port, end->kept[0]);
        berth_recv(act->lab->port, go(act->lab, &end->recv, end), &end->handle, 0);
}

static void echo_comes_back_in_order(void **state)
{
        (void)state;
        enum { BYTES = 300000 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 1000 });
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, BYTES);
        server.recv.then = echo_received;
        berth_recv(lab.port, go(&lab, &server.recv, &server), &server.handle, 0);
        end_receive(&lab, &client, true);
        end_send(&lab, &client, data, BYTES);
        lab_until(&lab, client.received == BYTES);
        act_wait(&client.send);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* The receiver does not look until the sender is stuck, then reads in small pieces. */
static void big_send(bool multishot, unsigned buffer_bytes)
{
        enum { BYTES = 12 << 20 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = buffer_bytes });
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, BYTES);
        end_send(&lab, &client, data, BYTES);
        lab_settle(&lab);
        assert_true(client.send.in_flight);
        end_receive(&lab, &server, multishot);
        act_wait(&client.send);
        assert_int_equal(client.send.result, BYTES);
        lab_until(&lab, server.received == BYTES);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void a_big_send_to_a_slow_receiver_arrives_whole(void **state)
{
        (void)state;
        big_send(false, 4096);
}

static void a_big_send_to_a_multishot_receiver_arrives_whole(void **state)
{
        (void)state;
        big_send(true, 16384);
}

static void multishot_receives_into_tiny_buffers(void **state)
{
        (void)state;
        enum { BYTES = 40000 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 16, .buffers = 8 });
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, BYTES);
        end_receive(&lab, &server, true);
        end_send(&lab, &client, data, BYTES);
        lab_until(&lab, server.received == BYTES);
        assert_true(server.recv.mores >= BYTES / 16);
        assert_int_equal(server.recv.finals, 0);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        assert_int_equal(server.recv.finals, 1);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void multishot_goes_on_over_pauses(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 50);
        end_receive(&lab, &server, true);
        for (int i = 0; i < 50; i++) {
                end_send(&lab, &client, data + i, 1);
                act_wait(&client.send);
                lab_until(&lab, server.received == (uint64_t)i + 1);
                if (i % 10 == 0)
                        lab_settle(&lab);
        }
        assert_int_equal(server.recv.finals, 0);
        end_close_wait(&lab, &server, 0);
        assert_int_equal(server.recv.finals, 1);
        end_close_wait(&lab, &client, 0);
        free(data);
        lab_close(&lab);
}

static void pieces_are_sent_as_one(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        struct berth_vec vecs[BERTH_MAX_VECS];
        size_t total = 0;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        for (unsigned i = 0; i < BERTH_MAX_VECS; i++) {
                size_t size = i % 5 == 3 ? 0 : i == 7 ? 3 << 20 : i * 1000 + 1;
                vecs[i] = (struct berth_vec){ pattern(total, size), size };
                total += size;
        }
        berth_sendv(lab.port, go(&lab, &client.send, &client), &client.handle, vecs, BERTH_MAX_VECS);
        lab_settle(&lab);
        end_receive(&lab, &server, false);
        act_wait(&client.send);
        assert_int_equal(client.send.result, total);
        lab_until(&lab, server.received == total);
        berth_sendv(lab.port, go(&lab, &client.send, &client), &client.handle, &(struct berth_vec){ "", 0 },
                    1); /* nothing at all is sent too */
        act_wait(&client.send);
        assert_int_equal(client.send.result, 0);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        for (unsigned i = 0; i < BERTH_MAX_VECS; i++)
                free((void *)(uintptr_t)vecs[i].data);
        lab_close(&lab);
}

static void a_send_that_announces_more_is_followed_by_it(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 3000);
        end_receive(&lab, &server, true);
        for (int i = 0; i < 3; i++) {
                berth_send(lab.port, go(&lab, &client.send, &client), &client.handle, data + i * 1000, 1000,
                           i < 2 ? BERTH_SEND_MORE : 0);
                act_wait(&client.send);
                assert_int_equal(client.send.result, 1000);
        }
        lab_until(&lab, server.received == 3000);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void shut_down(struct lab *lab, struct end *end)
{
        berth_shutdown(lab->port, go(lab, &end->other, end), &end->handle);
        act_wait(&end->other);
        assert_int_equal(end->other.result, 0);
}

static void after_a_half_close_the_other_direction_goes_on(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 200000);
        end_receive(&lab, &server, true);
        end_send(&lab, &client, data, 5000);
        act_wait(&client.send);
        shut_down(&lab, &client);
        lab_until(&lab, server.ended);
        assert_int_equal(server.received, 5000);

        end_receive(&lab, &client, false);
        end_send(&lab, &server, data, 200000);
        lab_until(&lab, client.received == 200000);
        act_wait(&server.send);
        shut_down(&lab, &server);
        lab_until(&lab, client.ended);

        /* the end stays the end */
        end_receive(&lab, &server, false);
        act_wait(&server.recv);
        assert_int_equal(server.recv.result, 0);
        end_send(&lab, &client, data, 1);
        act_wait(&client.send);
        assert_int_equal(client.send.result, -EPIPE);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void receive_a_reset(bool receiving)
{
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        if (receiving) {
                end_receive(&lab, &server, true);
                lab_settle(&lab);
        }
        end_close_wait(&lab, &client, BERTH_ABORT);
        if (!receiving) {
                lab_settle(&lab);
                end_receive(&lab, &server, false);
        }
        act_wait(&server.recv);
        assert_int_equal(server.recv.result, -ECONNRESET);
        end_receive(&lab, &server, false);
        act_wait(&server.recv);
        assert_int_equal(server.recv.result, 0);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

static void an_abort_is_seen_as_a_reset(void **state)
{
        (void)state;
        receive_a_reset(true);
}

static void an_abort_before_a_receive_is_seen_as_a_reset(void **state)
{
        (void)state;
        lab_needs(LAB_RESETS);
        receive_a_reset(false);
}

static void sending_to_a_peer_that_is_gone_fails(void **state)
{
        (void)state;
        enum { BYTES = 16 << 20 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        char *data = pattern(0, BYTES);
        for (int stuck = 0; stuck < 2; stuck++) {
                lab_pair(&lab, &client, &server);
                if (stuck) {
                        end_send(&lab, &client, data, BYTES);
                        lab_settle(&lab);
                        assert_true(client.send.in_flight);
                }
                end_close_wait(&lab, &server, BERTH_ABORT);
                lab_settle(&lab);
                if (!stuck)
                        end_send(&lab, &client, data, BYTES);
                act_wait(&client.send);
                assert_true(client.send.result == -EPIPE || client.send.result == -ECONNRESET);
                end_close_wait(&lab, &client, 0);
        }
        free(data);
        lab_close(&lab);
}

static void wait_for_readable(struct lab *lab, struct end *end)
{
        berth_wait_readable(lab->port, go(lab, &end->recv, end), &end->handle);
}

static int64_t receive_now(struct lab *lab, struct end *end, char *room, size_t size)
{
        end->recv.then = NULL;
        berth_recv_now(lab->port, go(lab, &end->recv, end), &end->handle, room, size);
        act_wait(&end->recv);
        return end->recv.result;
}

static void receiving_now_takes_what_is_there_and_does_not_wait(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        char room[200];
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 100);
        assert_int_equal(receive_now(&lab, &server, room, sizeof(room)), -EAGAIN);
        for (size_t got = 0; got < 100;) {
                if (got % 50 == 0) {
                        end_send(&lab, &client, data + got, 50);
                        act_wait(&client.send);
                }
                wait_for_readable(&lab, &server);
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, 0);
                int64_t n = receive_now(&lab, &server, room + got, got < 50 ? 50 - got : sizeof(room) - got);
                assert_true(n > 0);
                got += (size_t)n;
        }
        assert_memory_equal(room, data, 100);
        assert_int_equal(receive_now(&lab, &server, room, sizeof(room)), -EAGAIN);
        end_close_wait(&lab, &client, 0);
        wait_for_readable(&lab, &server);
        act_wait(&server.recv);
        assert_int_equal(receive_now(&lab, &server, room, sizeof(room)), 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void hang_up(struct act *act)
{
        end_close(act->lab, act->end, 0);
}

/* As an upload does it: into memory until the socket is dry, then waiting for it. */
static void a_big_send_arrives_whole_when_received_now_and_again(void **state)
{
        (void)state;
        enum { BYTES = 12 << 20, PIECE = 100000 };
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, BYTES), *room = malloc(BYTES + PIECE);
        size_t got = 0;
        bool ended = false;
        client.send.then = hang_up;
        end_send(&lab, &client, data, BYTES);
        while (!ended) {
                int64_t n = receive_now(&lab, &server, room + got, PIECE);
                got += (size_t)(n > 0 ? n : 0);
                ended = n == 0;
                if (n == -EAGAIN) {
                        wait_for_readable(&lab, &server);
                        act_wait(&server.recv);
                }
                assert_true(n >= 0 || n == -EAGAIN);
                assert_true(got <= BYTES);
        }
        assert_int_equal(got, BYTES);
        assert_memory_equal(room, data, BYTES);
        lab_until(&lab, client.closed);
        end_close_wait(&lab, &server, 0);
        free(room);
        free(data);
        lab_close(&lab);
}

static void a_close_ends_what_receives_now(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        char room[100];
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        berth_recv_now(lab.port, go(&lab, &server.recv, &server), &server.handle, room, sizeof(room));
        end_close_wait(&lab, &server, 0);
        assert_false(server.recv.in_flight);
        assert_true(server.recv.result == -EAGAIN || server.recv.result == -ECANCELED);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

static void readable_means_bytes_and_stays_until_they_are_read(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 100);
        for (int i = 0; i < 5; i++) {
                server.recv.then = NULL;
                wait_for_readable(&lab, &server);
                lab_settle(&lab);
                assert_true(server.recv.in_flight);
                end_send(&lab, &client, data + i * 20, 20);
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, 0);
                wait_for_readable(&lab, &server);
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, 0);
                server.paused = true;
                while (server.received < (uint64_t)i * 20 + 20) {
                        end_receive(&lab, &server, false);
                        act_wait(&server.recv);
                }
                act_wait(&client.send);
        }
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* A receive that fills its buffer exactly may have left something behind, or not. */
static void readable_is_not_claimed_after_all_was_read(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 64 });
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 128);
        server.paused = true;
        for (unsigned round = 1; round <= 2; round++) {
                end_send(&lab, &client, data + (round - 1) * 64, 64);
                while (server.received < round * 64) {
                        end_receive(&lab, &server, false);
                        act_wait(&server.recv);
                }
                act_wait(&client.send);
                server.recv.then = NULL;
                wait_for_readable(&lab, &server);
                lab_settle(&lab);
                assert_true(server.recv.in_flight);
                berth_cancel(lab.port, &server.recv.op);
                act_wait(&server.recv);
        }
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* A pipe or the like. */
static void other_descriptors_can_be_waited_for(void **state)
{
        (void)state;
        struct lab lab;
        struct end end = { 0 };
        int pipes[2];
        lab_open_bare(&lab, NULL);
        lab_pipe(pipes);
        int error = berth_adopt_pollable(lab.port, &end.handle, pipes[0]);
        if (error) {
                assert_int_equal(error, -EOPNOTSUPP);
                lab_pipe_close(pipes[0]);
        } else {
                for (int i = 0; i < 3; i++) {
                        wait_for_readable(&lab, &end);
                        lab_settle(&lab);
                        assert_true(end.recv.in_flight);
                        lab_pipe_write(pipes[1]);
                        act_wait(&end.recv);
                        assert_int_equal(end.recv.result, 0);
                        lab_pipe_read(berth_file_descriptor(&end.handle));
                }
                wait_for_readable(&lab, &end);
                end_close_wait(&lab, &end, 0);
                assert_int_equal(end.recv.result, -ECANCELED);
        }
        lab_pipe_close(pipes[1]);
        lab_close(&lab);
}

static void readable_means_the_end_or_a_reset_too(void **state)
{
        (void)state;
        for (int how = 0; how < 3; how++) {
                struct lab lab;
                struct end client, server;
                lab_open(&lab, NULL);
                lab_pair(&lab, &client, &server);
                wait_for_readable(&lab, &server);
                lab_settle(&lab);
                assert_true(server.recv.in_flight);
                if (how == 0)
                        shut_down(&lab, &client);
                else
                        end_close_wait(&lab, &client, how == 1 ? 0 : BERTH_ABORT);
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, 0);
                end_receive(&lab, &server, false);
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, how == 2 ? -ECONNRESET : 0);
                end_close_wait(&lab, &server, 0);
                if (how == 0)
                        end_close_wait(&lab, &client, 0);
                lab_close(&lab);
        }
}

/* A thousand connections at rest hold none of the two buffers. */
static void waiting_holds_no_buffer(void **state)
{
        (void)state;
        enum { MANY = 200 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        lab_open(&lab, &(struct berth_port_config){ .buffers = 2 });
        for (int i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                if (i > 0 && i % 2)
                        wait_for_readable(&lab, &servers[i]);
                else
                        end_receive(&lab, &servers[i], i % 4);
        }
        lab_settle(&lab);
        char *data = pattern(0, 3000);
        end_send(&lab, &clients[0], data, 3000);
        lab_until(&lab, servers[0].received == 3000);
        for (int i = 0; i < MANY; i++) {
                end_close(&lab, &servers[i], 0);
                end_close(&lab, &clients[i], 0);
        }
        lab_close(&lab);
        free(data);
}

/* Bytes and the end in one go, before anybody looks. */
static void bytes_before_the_end_come_first(void **state)
{
        (void)state;
        for (int multishot = 0; multishot < 2; multishot++) {
                struct lab lab;
                struct end client, server;
                lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 256 });
                lab_pair(&lab, &client, &server);
                char *data = pattern(0, 256);
                end_send(&lab, &client, data, 256); /* fills a buffer exactly */
                act_wait(&client.send);
                end_close_wait(&lab, &client, 0);
                lab_settle(&lab);
                end_receive(&lab, &server, multishot);
                lab_until(&lab, server.ended);
                assert_int_equal(server.received, 256);
                end_close_wait(&lab, &server, 0);
                free(data);
                lab_close(&lab);
        }
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_comes_back_in_order),
        cmocka_unit_test(a_big_send_to_a_slow_receiver_arrives_whole),
        cmocka_unit_test(a_big_send_to_a_multishot_receiver_arrives_whole),
        cmocka_unit_test(multishot_receives_into_tiny_buffers),
        cmocka_unit_test(multishot_goes_on_over_pauses),
        cmocka_unit_test(pieces_are_sent_as_one),
        cmocka_unit_test(a_send_that_announces_more_is_followed_by_it),
        cmocka_unit_test(after_a_half_close_the_other_direction_goes_on),
        cmocka_unit_test(an_abort_is_seen_as_a_reset),
        cmocka_unit_test(an_abort_before_a_receive_is_seen_as_a_reset),
        cmocka_unit_test(sending_to_a_peer_that_is_gone_fails),
        cmocka_unit_test(readable_means_bytes_and_stays_until_they_are_read),
        cmocka_unit_test(receiving_now_takes_what_is_there_and_does_not_wait),
        cmocka_unit_test(a_big_send_arrives_whole_when_received_now_and_again),
        cmocka_unit_test(a_close_ends_what_receives_now),
        cmocka_unit_test(readable_is_not_claimed_after_all_was_read),
        cmocka_unit_test(other_descriptors_can_be_waited_for),
        cmocka_unit_test(readable_means_the_end_or_a_reset_too),
        cmocka_unit_test(waiting_holds_no_buffer),
        cmocka_unit_test(bytes_before_the_end_come_first),
};
const struct test_list stream_tests = { tests, array_count(tests) };
