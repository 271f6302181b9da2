/* Who guesses is slowed: the figures, what forgets them, and the table's bound. */
#include "help.h"

#include "auth/auth_priv.h"

static int setup(void **state)
{
        return auth_failures_create((struct auth_failures **)state);
}

static int teardown(void **state)
{
        auth_failures_destroy(*state);
        return 0;
}

static uint32_t add4(void *failures, uint32_t address, uint64_t now_ms)
{
        return auth_failures_add(failures, &address, sizeof(address), now_ms);
}

static uint32_t wait4(void *failures, uint32_t address, uint64_t now_ms)
{
        return auth_failures_wait(failures, &address, sizeof(address), now_ms);
}

static void test_the_figures(void **state)
{
        static const uint32_t figures[] = { 0, 0, 0, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000 };
        assert_int_equal(wait4(*state, 1, 1000), 0);
        for (size_t i = 0; i < array_count(figures); i++) {
                assert_int_equal(add4(*state, 1, 1000 + i), figures[i]);
                assert_int_equal(wait4(*state, 1, 1000 + i), figures[i]);
        }
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(add4(*state, 1, 2000), 5000);
}

static void test_a_minute_without_failures_forgets(void **state)
{
        for (unsigned i = 0; i < 5; i++)
                add4(*state, 1, 1000);
        assert_int_equal(wait4(*state, 1, 60999), 500);
        assert_int_equal(wait4(*state, 1, 61000), 0);
        assert_int_equal(add4(*state, 1, 60999), 1000); /* and then another minute */
        assert_int_equal(wait4(*state, 1, 120998), 1000);
        assert_int_equal(add4(*state, 1, 120999), 0);
        assert_int_equal(add4(*state, 1, 120999), 0);
        assert_int_equal(add4(*state, 1, 120999), 0);
        assert_int_equal(add4(*state, 1, 120999), 250);
}

static void test_each_address_by_itself(void **state)
{
        for (unsigned i = 0; i < 5; i++)
                add4(*state, 1, 1000);
        assert_int_equal(wait4(*state, 2, 1000), 0);
        uint64_t six = 1; /* the same bytes, of the other family */
        assert_int_equal(auth_failures_wait(*state, &six, sizeof(six), 1000), 0);
        for (unsigned i = 0; i < 4; i++)
                auth_failures_add(*state, &six, sizeof(six), 1000);
        assert_int_equal(auth_failures_wait(*state, &six, sizeof(six), 1000), 250);
        assert_int_equal(wait4(*state, 1, 1000), 500);
}

static void test_without_an_address_nobody_waits(void **state)
{
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(auth_failures_add(*state, NULL, 0, 1000), 0);
        assert_int_equal(auth_failures_wait(*state, NULL, 0, 1000), 0);
}

/* Far more addresses than there is room for: it goes on, and those of late are known. */
static void test_the_table_is_bounded(void **state)
{
        enum { MANY = 20 * AUTH_FAILURE_ADDRESSES };
        for (uint32_t address = 0; address < MANY; address++)
                add4(*state, address, 1000 + address);
        for (unsigned i = 0; i < 4; i++)
                add4(*state, MANY, 1000 + MANY);
        assert_int_equal(wait4(*state, MANY, 1000 + MANY), 250);
        unsigned known = 0;
        for (uint32_t address = 0; address < MANY; address++) {
                uint64_t now_ms = 2000 + MANY;
                add4(*state, address, now_ms);
                add4(*state, address, now_ms);
                known += add4(*state, address, now_ms) > 0;
        }
        assert_true(known <= AUTH_FAILURE_ADDRESSES);
}

/* Of a set that is full the one that failed longest ago makes room, not one that still guesses. */
static void test_who_goes_on_guessing_stays_known(void **state)
{
        for (unsigned i = 0; i < 6; i++)
                add4(*state, 7, 1000);
        for (uint32_t address = 100; address < 100 + AUTH_FAILURE_ADDRESSES / 2; address++) {
                add4(*state, address, 1001 + address);
                if (address % 16 == 0)
                        assert_int_not_equal(add4(*state, 7, 1001 + address), 0);
        }
        assert_int_equal(wait4(*state, 7, 1101 + AUTH_FAILURE_ADDRESSES / 2), 5000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_the_figures, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_minute_without_failures_forgets, setup, teardown),
                cmocka_unit_test_setup_teardown(test_each_address_by_itself, setup, teardown),
                cmocka_unit_test_setup_teardown(test_without_an_address_nobody_waits, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_table_is_bounded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_who_goes_on_guessing_stays_known, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
