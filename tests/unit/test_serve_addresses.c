/* Connections by client address: who counts as one, and that a place comes back. */
#include "help.h"

#include "serve/serve_priv.h"

#include <arpa/inet.h>
#include <sys/un.h>

enum { ROOM = 64 };

static int setup(void **state)
{
        return addresses_create((struct addresses **)state, ROOM);
}

static int teardown(void **state)
{
        addresses_destroy(*state);
        return 0;
}

static uint32_t enter4(struct addresses *addresses, const char *host, uint32_t limit)
{
        struct sockaddr_in in = { .sin_family = AF_INET };
        assert_int_equal(inet_pton(AF_INET, host, &in.sin_addr), 1);
        return addresses_enter(addresses, (struct sockaddr *)&in, limit);
}

static uint32_t enter6(struct addresses *addresses, const char *host, uint32_t limit)
{
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
        assert_int_equal(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
        return addresses_enter(addresses, (struct sockaddr *)&in6, limit);
}

static void test_one_address_has_as_many_as_the_limit(void **state)
{
        uint32_t first = enter4(*state, "192.0.2.1", 2);
        assert_int_not_equal(first, 0);
        assert_int_equal(enter4(*state, "192.0.2.1", 2), first);
        assert_int_equal(enter4(*state, "192.0.2.1", 2), 0);
        assert_int_not_equal(enter4(*state, "192.0.2.2", 2), 0);
}

static void test_who_leaves_makes_room(void **state)
{
        uint32_t number = enter4(*state, "192.0.2.1", 1);
        assert_int_equal(enter4(*state, "192.0.2.1", 1), 0);
        addresses_leave(*state, number);
        assert_int_not_equal(enter4(*state, "192.0.2.1", 1), 0);
}

static void test_ipv6_counts_by_the_first_64_bits(void **state)
{
        assert_int_not_equal(enter6(*state, "2001:db8:1:2::1", 1), 0);
        assert_int_equal(enter6(*state, "2001:db8:1:2:ffff:ffff:ffff:ffff", 1), 0);
        assert_int_not_equal(enter6(*state, "2001:db8:1:3::1", 1), 0);
        assert_int_not_equal(enter6(*state, "2001:db8:0:2::1", 1), 0);
}

static void test_a_mapped_address_is_the_ipv4_address(void **state)
{
        uint32_t number = enter4(*state, "192.0.2.1", 2);
        assert_int_equal(enter6(*state, "::ffff:192.0.2.1", 2), number);
        assert_int_not_equal(enter6(*state, "::ffff:192.0.2.2", 1), 0);
}

/* The bits of an IPv4 address at the place where those of the other families' keys are. */
static void test_families_do_not_meet(void **state)
{
        assert_int_not_equal(enter4(*state, "0.0.0.0", 1), 0);
        assert_int_not_equal(enter6(*state, "::", 1), 0);
        assert_int_equal(enter6(*state, "::1", 1), 0);
}

static void test_unix_sockets_are_not_bounded(void **state)
{
        struct sockaddr_un local = { .sun_family = AF_UNIX };
        uint32_t number = addresses_enter(*state, (struct sockaddr *)&local, 1);
        assert_int_not_equal(number, 0);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(addresses_enter(*state, (struct sockaddr *)&local, 1), number);
}

static void test_the_table_has_room_for_each_connection_from_elsewhere(void **state)
{
        uint32_t numbers[ROOM];
        char host[INET_ADDRSTRLEN];
        for (unsigned turn = 0; turn < 3; turn++) {
                for (unsigned i = 0; i < ROOM; i++) {
                        snprintf(host, sizeof(host), "10.0.%u.%u", turn, i);
                        numbers[i] = enter4(*state, host, 1);
                        assert_int_not_equal(numbers[i], 0);
                }
                assert_int_equal(enter4(*state, "10.9.9.9", 1), 0);
                for (unsigned i = 0; i < ROOM; i++)
                        addresses_leave(*state, numbers[(i * 29) % ROOM]);
        }
}

/* Against a plain count: what comes and goes in any order. */
static void test_any_order(void **state)
{
        enum { HOSTS = 20, LIMIT = 5, TURNS = 20000 };
        uint32_t numbers[HOSTS][LIMIT], counts[HOSTS] = { 0 };
        struct random random = { 42 };
        unsigned all = 0;
        char host[INET_ADDRSTRLEN];
        for (unsigned i = 0; i < TURNS; i++) {
                unsigned which = random_below(&random, HOSTS);
                if (random_below(&random, 2)) {
                        snprintf(host, sizeof(host), "10.1.1.%u", which);
                        uint32_t number = all < ROOM ? enter4(*state, host, LIMIT) : 0;
                        assert_int_equal(number != 0, all < ROOM && counts[which] < LIMIT);
                        if (number) {
                                numbers[which][counts[which]++] = number;
                                all++;
                        }
                } else if (counts[which]) {
                        addresses_leave(*state, numbers[which][--counts[which]]);
                        all--;
                }
        }
        for (unsigned which = 0; which < HOSTS; which++)
                while (counts[which])
                        addresses_leave(*state, numbers[which][--counts[which]]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_address_has_as_many_as_the_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_who_leaves_makes_room, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ipv6_counts_by_the_first_64_bits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_mapped_address_is_the_ipv4_address, setup, teardown),
                cmocka_unit_test_setup_teardown(test_families_do_not_meet, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unix_sockets_are_not_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_table_has_room_for_each_connection_from_elsewhere, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(test_any_order, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
