/* Accepting with the first bytes (config.accept_data_ms), and many at once. */
#include "../port/lab.h"

enum { SILENCE_MS = 2000 };

static const struct berth_port_config with_data = { .accept_data_ms = SILENCE_MS, .buffer_bytes = 700 };

static void connect_and_send(struct lab *lab, struct end *client, const char *data, size_t size)
{
        memset(client, 0, sizeof(*client));
        lab_connect(lab, client);
        act_wait(&client->other);
        assert_int_equal(client->other.result, 0);
        if (size == 0)
                return;
        end_send(lab, client, data, size);
        act_wait(&client->send);
}

static void who_says_something_is_handed_out_with_it(void **state)
{
        (void)state;
        static const size_t sizes[] = { 1, 700, 701, 2048, 2049, 100000 };
        struct lab lab;
        char *data = pattern(0, 100000);
        lab_open(&lab, &with_data);
        lab_settle(&lab);
        for (unsigned i = 0; i < array_count(sizes) * 2; i++) {
                size_t size = sizes[i / 2];
                struct end client, server = { 0 };
                connect_and_send(&lab, &client, data, size);
                lab_adopt(&lab, &server);
                end_receive(&lab, &server, i % 2);
                lab_until(&lab, server.received == size);
                end_close_wait(&lab, &client, 0);
                lab_until(&lab, server.ended);
                assert_int_equal(server.received, size);
                end_close_wait(&lab, &server, 0);
        }
        free(data);
        lab_close(&lab);
}

/* The bytes are there before anything is received: waits and rests end at once, and nothing is lost. */
static void first_bytes_count_as_there(void **state)
{
        (void)state;
        struct lab lab;
        char *data = pattern(0, 1000), room[600];
        lab_open(&lab, &with_data);
        lab_settle(&lab);
        for (unsigned way = 0; way < 3; way++) {
                struct end client, server = { 0 };
                connect_and_send(&lab, &client, data, 1000);
                lab_adopt(&lab, &server);
                if (way == 0) {
                        end_rest(&lab, &server);
                        end_rest_wait(&lab, &server);
                } else if (way == 1) {
                        berth_wait_readable(lab.port, go(&lab, &server.recv, &server), &server.handle);
                        act_wait(&server.recv);
                        assert_int_equal(server.recv.result, 0);
                }
                berth_recv_now(lab.port, go(&lab, &server.recv, &server), &server.handle, room, sizeof(room));
                act_wait(&server.recv);
                assert_int_equal(server.recv.result, sizeof(room));
                assert_memory_equal(room, data, sizeof(room));
                server.received = sizeof(room);
                end_receive(&lab, &server, false);
                lab_until(&lab, server.received == 1000);
                end_close_wait(&lab, &client, 0);
                lab_until(&lab, server.ended);
                end_close_wait(&lab, &server, 0);
        }
        free(data);
        lab_close(&lab);
}

/* They are in a record of the port that accepted. */
static void who_brings_bytes_cannot_be_passed_on(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server = { 0 };
        char *data = pattern(0, 100);
        lab_open(&lab, &with_data);
        lab_settle(&lab);
        connect_and_send(&lab, &client, data, 100);
        int64_t number = lab_take_arrival(&lab);
        assert_int_equal(berth_pass(lab.port, number), -EOPNOTSUPP);
        assert_int_equal(berth_port_stats(lab.port)->passed, 0);
        berth_adopt(lab.port, &server.handle, number);
        end_receive(&lab, &server, false);
        lab_until(&lab, server.received == 100);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

/* Bytes that nobody receives go with their connection, wherever it is. */
static void first_bytes_may_be_left(void **state)
{
        (void)state;
        struct lab lab;
        for (unsigned way = 0; way < 4; way++) {
                struct end client, server = { 0 };
                lab_open(&lab, &with_data);
                lab_settle(&lab);
                connect_and_send(&lab, &client, "hello", 5);
                if (way < 2) {
                        lab_adopt(&lab, &server);
                        end_close_wait(&lab, &server, way ? BERTH_ABORT : 0);
                } else if (way == 2) {
                        lab_until(&lab, lab.arrived_count == 1);
                        berth_discard(lab.port, lab.arrived[lab.arrived_first]);
                        lab.arrived_count = 0;
                }
                end_close_wait(&lab, &client, 0);
                lab_close(&lab);
        }
}

static void who_says_nothing_is_closed_and_never_handed_out(void **state)
{
        (void)state;
        struct lab lab;
        struct end silent, late, server = { 0 };
        lab_open(&lab, &with_data);
        lab_settle(&lab);
        uint64_t since = lab_clock_ms();
        connect_and_send(&lab, &silent, NULL, 0);
        connect_and_send(&lab, &late, NULL, 0);
        end_receive(&lab, &silent, false);
        while (lab_clock_ms() - since < SILENCE_MS / 2)
                assert_true(berth_port_run(lab.port, 20) >= 0);
        assert_int_equal(lab.accepted, 0);
        assert_int_equal(berth_port_stats(lab.port)->handles, 2);
        assert_true(silent.recv.in_flight);
        end_send(&lab, &late, "\0", 1); /* in time */
        lab_adopt(&lab, &server);
        end_receive(&lab, &server, true);
        lab_until(&lab, server.received == 1);
        act_wait(&silent.recv);
        assert_true(silent.recv.result == 0 || silent.recv.result == -ECONNRESET);
        assert_true(lab_clock_ms() - since >= SILENCE_MS - 1000); /* whole seconds */
        assert_int_equal(lab.accepted, 1);
        assert_true(server.recv.in_flight);
        end_close_wait(&lab, &silent, 0);
        end_close_wait(&lab, &late, 0);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

/* More of them than accepts may be posted: the rest are handed out as they are, and those with something to say among
 * them are served. */
static void a_crowd_that_says_nothing_keeps_nobody_out(void **state)
{
        (void)state;
        enum { CROWD = 40, DEPTH = 4 };
        static struct end crowd[CROWD];
        struct lab lab;
        struct end client;
        lab_open(&lab, &(struct berth_port_config){ .accept_data_ms = 60000, .accept_depth = DEPTH });
        lab_settle(&lab);
        for (unsigned i = 0; i < CROWD; i++)
                connect_and_send(&lab, &crowd[i], NULL, 0);
        lab_until(&lab, lab.accepted >= CROWD - DEPTH);
        unsigned before = lab.accepted;
        connect_and_send(&lab, &client, "\0", 1);
        lab_until(&lab, lab.accepted > before);
        assert_in_range(lab.accepted, CROWD - DEPTH + 1, CROWD + 1);
        for (unsigned i = 0; i < CROWD; i++)
                end_close_wait(&lab, &crowd[i], 0);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

/* Waves, with and without first bytes: everybody is handed out once, also when the port has had time to go back to
 * few accepts. */
static void waves_are_accepted_to_the_last(void **state)
{
        (void)state;
        enum { WAVE = 60, WAVES = 3 };
        static struct end clients[WAVE];
        for (unsigned data_ms = 0; data_ms <= 30000; data_ms += 30000) {
                struct lab lab;
                lab_open(&lab, &(struct berth_port_config){ .accept_data_ms = data_ms });
                for (unsigned wave = 1; wave <= WAVES; wave++) {
                        memset(clients, 0, sizeof(clients));
                        for (unsigned i = 0; i < WAVE; i++)
                                lab_connect(&lab, &clients[i]);
                        for (unsigned i = 0; i < WAVE; i++) {
                                act_wait(&clients[i].other);
                                assert_int_equal(clients[i].other.result, 0);
                                end_send(&lab, &clients[i], "\0", 1);
                        }
                        lab_until(&lab, lab.accepted == wave * WAVE);
                        for (unsigned i = 0; i < WAVE; i++) {
                                struct end server = { 0 };
                                lab_adopt(&lab, &server);
                                end_receive(&lab, &server, false);
                                lab_until(&lab, server.received == 1);
                                end_close_wait(&lab, &server, 0);
                                end_close_wait(&lab, &clients[i], 0);
                        }
                        for (uint64_t since = lab_clock_ms(); wave == 1 && lab_clock_ms() - since < 4500;)
                                assert_true(berth_port_run(lab.port, 500) >= 0);
                }
                lab_close(&lab);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(who_says_something_is_handed_out_with_it),
                cmocka_unit_test(first_bytes_count_as_there),
                cmocka_unit_test(first_bytes_may_be_left),
                cmocka_unit_test(who_brings_bytes_cannot_be_passed_on),
                cmocka_unit_test(who_says_nothing_is_closed_and_never_handed_out),
                cmocka_unit_test(a_crowd_that_says_nothing_keeps_nobody_out),
                cmocka_unit_test(waves_are_accepted_to_the_last),
        };
        lab_engine = "iocp";
        return _cmocka_run_group_tests("accepting", tests, array_count(tests), NULL, NULL);
}
