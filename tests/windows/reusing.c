/* Sockets that are used again: by the stand-in of $BERTH_IOCP, since Wine's cannot send a second time; and for real. */
#include "../port/lab.h"

static void one_visit(struct lab *lab, bool client_first, unsigned flags)
{
        struct end client = { 0 }, server = { 0 };
        lab_connect(lab, &client);
        act_wait(&client.other);
        assert_int_equal(client.other.result, 0);
        lab_adopt(lab, &server);
        end_send(lab, &client, "\0", 1);
        end_receive(lab, &server, false);
        lab_until(lab, server.received == 1);
        end_send(lab, &server, "\0", 1);
        end_receive(lab, &client, false);
        lab_until(lab, client.received == 1);
        if (client_first) {
                end_close_wait(lab, &client, 0);
                lab_until(lab, server.ended);
                end_close_wait(lab, &server, flags);
        } else {
                end_close_wait(lab, &server, flags);
                lab_until(lab, client.ended);
                end_close_wait(lab, &client, 0);
        }
        lab_settle(lab);
}

static uint64_t reused_after(const char *words, unsigned visits, bool client_first, unsigned flags)
{
        struct lab lab;
        _putenv_s("BERTH_IOCP", words);
        lab_open(&lab, NULL);
        _putenv_s("BERTH_IOCP", "");
        lab_settle(&lab);
        for (unsigned i = 0; i < visits; i++)
                one_visit(&lab, client_first, flags);
        uint64_t reused = berth_port_stats(lab.port)->reused;
        assert_int_equal(berth_port_stats(lab.port)->handles, 0);
        lab_close(&lab);
        return reused;
}

enum { VISITS = 20, POSTED = 2 }; /* so many accepts have a socket before the first one comes back */

static void who_ends_first_leaves_his_socket_to_the_next(void **state)
{
        (void)state;
        assert_in_range(reused_after("again", VISITS, true, 0), VISITS - 2 * POSTED, VISITS - POSTED);
        assert_in_range(reused_after("again,packets", VISITS, true, 0), VISITS - 2 * POSTED, VISITS - POSTED);
}

static void where_we_end_first_it_is_closed(void **state)
{
        (void)state;
        assert_int_equal(reused_after("again", VISITS, false, 0), 0);
        assert_int_equal(reused_after("again", VISITS, true, BERTH_ABORT), 0);
}

/* With the refusals that the other word brings there is always a fresh one. */
static void a_refused_one_is_closed(void **state)
{
        (void)state;
        assert_in_range(reused_after("again,refuse", VISITS, true, 0), 1, VISITS - 1);
}

/* Bytes that came behind the last receive are not the next client's. */
static void one_with_unread_bytes_is_closed(void **state)
{
        (void)state;
        struct lab lab;
        _putenv_s("BERTH_IOCP", "again");
        lab_open(&lab, NULL);
        _putenv_s("BERTH_IOCP", "");
        for (unsigned i = 0; i < VISITS; i++) {
                struct end client = { 0 }, server = { 0 };
                lab_connect(&lab, &client);
                act_wait(&client.other);
                lab_adopt(&lab, &server);
                end_send(&lab, &client, "\0\1\2", 3);
                act_wait(&client.send);
                end_close_wait(&lab, &client, 0);
                lab_settle(&lab);
                end_close_wait(&lab, &server, 0);
        }
        assert_int_equal(berth_port_stats(lab.port)->reused, 0);
        lab_close(&lab);
}

/* Tied to one port, it goes to another only where the system can untie it. */
static void one_that_is_used_again_is_passed_on_or_stays(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        _putenv_s("BERTH_IOCP", "again");
        lab_open(&lab, NULL);
        _putenv_s("BERTH_IOCP", "");
        lab_settle(&lab);
        while (berth_port_stats(lab.port)->reused == 0)
                one_visit(&lab, true, 0);
        uint64_t before = berth_port_stats(lab.port)->reused;
        lab_connect(&lab, &client);
        act_wait(&client.other);
        int64_t number = lab_take_arrival(&lab);
        assert_int_equal(berth_port_stats(lab.port)->reused, before + 1);
        int error = berth_pass(lab.port, number);
        if (error)
                assert_int_equal(error, -EOPNOTSUPP);
        assert_int_equal(berth_port_stats(lab.port)->passed, error ? 0 : 1);
        if (!error) { /* back to this one */
                berth_give_back(lab.port, 1);
                berth_take(lab.port, number);
        }
        berth_adopt(lab.port, &server.handle, number);
        end_receive(&lab, &server, false);
        end_send(&lab, &client, "\0", 1);
        lab_until(&lab, server.received == 1);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

/* Many at a time, more than are kept; and a port that ends while some are leaving. */
static void no_more_are_kept_than_may_be(void **state)
{
        (void)state;
        enum { MANY = 300 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        memset(clients, 0, sizeof(clients));
        memset(servers, 0, sizeof(servers));
        _putenv_s("BERTH_IOCP", "again");
        lab_open(&lab, NULL);
        _putenv_s("BERTH_IOCP", "");
        for (unsigned i = 0; i < MANY; i++) {
                lab_connect(&lab, &clients[i]);
                act_wait(&clients[i].other);
                lab_adopt(&lab, &servers[i]);
                end_receive(&lab, &servers[i], false);
                end_close_wait(&lab, &clients[i], 0);
                lab_until(&lab, servers[i].ended);
        }
        for (unsigned i = 0; i < MANY; i++)
                end_close(&lab, &servers[i], 0);
        lab_until(&lab, berth_port_stats(lab.port)->handles == 0);
        for (unsigned i = 0; i < 20; i++)
                one_visit(&lab, true, 0);
        assert_true(berth_port_stats(lab.port)->reused > 0);
        lab_close(&lab);
}

static void sockets_are_used_again_without_the_stand_in(void **state)
{
        (void)state;
        lab_needs(LAB_REUSE);
        assert_in_range(reused_after("", VISITS, true, 0), VISITS - 2 * POSTED, VISITS - POSTED);
}

static void where_that_does_not_work_sockets_are_fresh(void **state)
{
        (void)state;
        if (lab_lacks(LAB_REUSE))
                assert_int_equal(reused_after("", VISITS, true, 0), 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(where_that_does_not_work_sockets_are_fresh),
                cmocka_unit_test(sockets_are_used_again_without_the_stand_in),
                cmocka_unit_test(who_ends_first_leaves_his_socket_to_the_next),
                cmocka_unit_test(where_we_end_first_it_is_closed),
                cmocka_unit_test(a_refused_one_is_closed),
                cmocka_unit_test(one_with_unread_bytes_is_closed),
                cmocka_unit_test(one_that_is_used_again_is_passed_on_or_stays),
                cmocka_unit_test(no_more_are_kept_than_may_be),
        };
        lab_engine = "iocp";
        return _cmocka_run_group_tests("reusing", tests, array_count(tests), NULL, NULL);
}
