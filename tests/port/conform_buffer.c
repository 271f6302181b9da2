/* Receive buffers: when they are few, and when there is little to do. */
#include "lab.h"

static void a_pool_of_two_buffers_serves_all(bool multishot)
{
        enum { MANY = 40, BYTES = 30000 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        char *data = pattern(0, BYTES);
        lab_open(&lab, &(struct berth_port_config){ .buffers = 2, .buffer_bytes = 512 });
        for (int i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                end_receive(&lab, &servers[i], multishot);
        }
        for (int i = 0; i < MANY; i++)
                end_send(&lab, &clients[i], data, BYTES);
        for (int i = 0; i < MANY; i++) {
                lab_until(&lab, servers[i].received == BYTES);
                end_close(&lab, &clients[i], 0);
        }
        for (int i = 0; i < MANY; i++) {
                lab_until(&lab, servers[i].ended);
                end_close(&lab, &servers[i], 0);
        }
        free(data);
        lab_close(&lab);
}

static void two_buffers_serve_many_single_receives(void **state)
{
        (void)state;
        a_pool_of_two_buffers_serves_all(false);
}

static void two_buffers_serve_many_multishot_receives(void **state)
{
        (void)state;
        a_pool_of_two_buffers_serves_all(true);
}

/* The pool is empty, others wait; then the buffers come back before the port has heard who waits for them. */
static void buffers_that_come_back_early_are_not_forgotten(void **state)
{
        (void)state;
        enum { MANY = 6 };
        struct end clients[MANY], servers[MANY];
        char *data = pattern(0, 100);
        for (int multishot = 0; multishot < 2; multishot++) {
                for (unsigned turns = 0; turns < 3; turns++) {
                        struct lab lab;
                        lab_open(&lab, &(struct berth_port_config){ .buffers = 2 });
                        for (int i = 0; i < MANY; i++)
                                lab_pair(&lab, &clients[i], &servers[i]);
                        for (int i = 0; i < 2; i++) {
                                servers[i].keep = 1;
                                servers[i].paused = true;
                                end_receive(&lab, &servers[i], false);
                                end_send(&lab, &clients[i], data, 100);
                                lab_until(&lab, servers[i].received > 0);
                        }
                        for (int i = 2; i < MANY; i++) {
                                end_receive(&lab, &servers[i], multishot);
                                end_send(&lab, &clients[i], data, 100);
                        }
                        lab_turns(&lab, turns);
                        end_put_kept(&lab, &servers[0]);
                        end_put_kept(&lab, &servers[1]);
                        for (int i = 2; i < MANY; i++)
                                lab_until(&lab, servers[i].received == 100);
                        for (int i = 0; i < MANY; i++) {
                                end_close(&lab, &clients[i], 0);
                                end_close(&lab, &servers[i], 0);
                        }
                        lab_close(&lab);
                }
        }
        free(data);
}

/* Those that found the pool empty but have no data must not stand in the way of the one that has. */
static void a_receive_without_data_takes_no_buffer_from_others(void **state)
{
        (void)state;
        enum { MANY = 30 };
        static struct end clients[MANY], servers[MANY];
        char *data = pattern(0, 200);
        for (int multishot = 0; multishot < 2; multishot++) {
                struct lab lab;
                lab_open(&lab, &(struct berth_port_config){ .buffers = 1 });
                for (int i = 0; i < MANY; i++)
                        lab_pair(&lab, &clients[i], &servers[i]);
                servers[0].keep = 1;
                servers[0].paused = true;
                end_receive(&lab, &servers[0], false);
                end_send(&lab, &clients[0], data, 10);
                lab_until(&lab, servers[0].kept_count == 1);
                for (int i = 1; i < MANY; i++)
                        end_receive(&lab, &servers[i], multishot);
                lab_settle(&lab);
                end_send(&lab, &clients[MANY - 1], data, 100);
                lab_settle(&lab);
                end_put_kept(&lab, &servers[0]);
                lab_until(&lab, servers[MANY - 1].received == 100);
                /* one that waited and is closed, one that waited and is cancelled */
                end_close_wait(&lab, &servers[1], 0);
                berth_cancel(lab.port, &servers[2].recv.op);
                act_wait(&servers[2].recv);
                assert_int_equal(servers[2].recv.result, -ECANCELED);
                end_close_wait(&lab, &servers[2], 0);
                for (int i = 0; i < MANY; i++) {
                        end_close(&lab, &clients[i], 0);
                        if (i != 1 && i != 2)
                                end_close(&lab, &servers[i], 0);
                }
                lab_close(&lab);
        }
        free(data);
}

static void receives_that_wait_for_a_buffer_can_be_cancelled_and_closed(void **state)
{
        (void)state;
        enum { MANY = 9 };
        struct end clients[MANY], servers[MANY];
        struct lab lab;
        char *data = pattern(0, 200);
        lab_open(&lab, &(struct berth_port_config){ .buffers = 1 });
        for (int i = 0; i < MANY; i++)
                lab_pair(&lab, &clients[i], &servers[i]);
        servers[0].keep = 1;
        servers[0].paused = true;
        end_receive(&lab, &servers[0], false);
        end_send(&lab, &clients[0], data, 10);
        lab_until(&lab, servers[0].kept_count == 1);
        for (int i = 1; i < MANY; i++) {
                end_receive(&lab, &servers[i], i % 2);
                end_send(&lab, &clients[i], data, 100);
        }
        lab_settle(&lab);
        for (int i = 1; i < MANY; i += 2) { /* data is there, no buffer is */
                berth_cancel(lab.port, &servers[i].recv.op);
                act_wait(&servers[i].recv);
                assert_int_equal(servers[i].recv.result, -ECANCELED);
        }
        for (int i = 2; i < MANY; i += 2)
                end_close_wait(&lab, &servers[i], i % 4 ? BERTH_ABORT : 0);
        end_put_kept(&lab, &servers[0]);
        end_receive(&lab, &servers[1], false);
        lab_until(&lab, servers[1].received == 100);
        for (int i = 0; i < MANY; i++) {
                end_close(&lab, &clients[i], 0);
                if (i % 2 || i == 0)
                        end_close(&lab, &servers[i], 0);
        }
        free(data);
        lab_close(&lab);
}

/* Those that wait for a buffer are on one ring, those that hold the buffers on another. Of a pool that is not tiny up
 * to half may lie idle in a ring where nobody wants them. */
static void buffers_get_to_where_they_are_wanted(void **state)
{
        (void)state;
        enum { MANY = 120, HELD = 16 };
        static struct end clients[MANY], servers[MANY];
        static const uint16_t pools[] = { 1, 4, HELD };
        char *data = pattern(0, 100);
        for (unsigned p = 0; p < array_count(pools); p++) {
                struct lab lab;
                unsigned held = pools[p], lent = 0;
                lab_open(&lab, &(struct berth_port_config){ .buffers = pools[p], .max_handles = 4 * MANY });
                for (int i = 0; i < MANY; i++)
                        lab_pair(&lab, &clients[i], &servers[i]);
                for (unsigned i = 0; i < held; i++) { /* the first ones hold all of them */
                        servers[i].keep = 1;
                        servers[i].paused = true;
                        end_receive(&lab, &servers[i], false);
                        end_send(&lab, &clients[i], data, 10);
                        act_wait(&clients[i].send);
                }
                lab_settle(&lab);
                for (unsigned i = 0; i < held; i++)
                        lent += servers[i].kept_count;
                assert_int_equal(berth_port_stats(lab.port)->buffers_lent, lent);
                assert_in_range(lent, held < 8 ? held : held / 2, held);
                for (unsigned i = held; i < MANY; i++)
                        end_receive(&lab, &servers[i], i % 2);
                lab_settle(&lab);
                for (unsigned i = held; i < MANY; i++)
                        end_send(&lab, &clients[i], data, 100);
                lab_settle(&lab);
                for (unsigned i = held; lent == held && i < MANY; i++)
                        assert_int_equal(servers[i].received, 0);
                for (unsigned i = 0; i < held; i++)
                        end_put_kept(&lab, &servers[i]);
                for (unsigned i = 0; i < held; i++)
                        lab_until(&lab, servers[i].received > 0);
                for (unsigned i = 0; i < held; i++)
                        end_put_kept(&lab, &servers[i]);
                for (unsigned i = held; i < MANY; i++)
                        lab_until(&lab, servers[i].received == 100);
                assert_int_equal(berth_port_stats(lab.port)->buffers_lent, 0);
                assert_in_range(berth_port_stats(lab.port)->buffers_used, lent, held);
                for (int i = 0; i < MANY; i++) {
                        end_close(&lab, &clients[i], 0);
                        end_close(&lab, &servers[i], 0);
                }
                lab_close(&lab);
        }
        free(data);
}

/* Thousands of receives one after the other, and hundreds that wait, in a pool of a thousand: the same few serve
 * all. */
static void little_traffic_uses_few_buffers(void **state)
{
        (void)state;
        enum { MANY = 300, ROUNDS = 3000 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        char *data = pattern(0, ROUNDS);
        lab_open(&lab, &(struct berth_port_config){ .buffers = 1024, .max_handles = 4 * MANY });
        for (int i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                end_receive(&lab, &servers[i], i % 2);
        }
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct end *client = &clients[i % MANY], *server = &servers[i % MANY];
                end_send(&lab, client, data + i / MANY, 1);
                lab_until(&lab, server->received == i / MANY + 1);
                act_wait(&client->send);
        }
        assert_in_range(berth_port_stats(lab.port)->buffers_used, 1, 40);
        for (int i = 0; i < MANY; i++) {
                end_close(&lab, &clients[i], 0);
                end_close(&lab, &servers[i], 0);
        }
        free(data);
        lab_close(&lab);
}

static void counts_of_buffers_follow_their_use(void **state)
{
        (void)state;
        enum { MANY = 64 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        lab_open(&lab, &(struct berth_port_config){ .buffers = 128, .max_handles = 4 * MANY });
        const struct berth_port_stats *stats = berth_port_stats(lab.port);
        for (unsigned i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                servers[i].keep = 1;
                servers[i].paused = true;
                end_receive(&lab, &servers[i], false);
                end_send(&lab, &clients[i], "\0", 1);
                lab_until(&lab, servers[i].kept_count == 1);
                assert_int_equal(stats->buffers_lent, i + 1);
                assert_true(stats->buffers_used >= i + 1 && stats->buffers_used <= 128);
        }
        for (unsigned i = 0; i < MANY; i++) {
                end_put_kept(&lab, &servers[i]);
                assert_int_equal(stats->buffers_lent, MANY - 1 - i);
                end_close_wait(&lab, &clients[i], 0);
                end_close_wait(&lab, &servers[i], 0);
        }
        lab_close(&lab);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_buffers_serve_many_single_receives),
        cmocka_unit_test(two_buffers_serve_many_multishot_receives),
        cmocka_unit_test(buffers_that_come_back_early_are_not_forgotten),
        cmocka_unit_test(a_receive_without_data_takes_no_buffer_from_others),
        cmocka_unit_test(receives_that_wait_for_a_buffer_can_be_cancelled_and_closed),
        cmocka_unit_test(buffers_get_to_where_they_are_wanted),
        cmocka_unit_test(little_traffic_uses_few_buffers),
        cmocka_unit_test(counts_of_buffers_follow_their_use),
};
const struct test_list buffer_tests = { tests, array_count(tests) };
