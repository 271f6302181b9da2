/* What fits between which addresses; URLs. */
#include "help.h"
#include "load/load_priv.h"

#include <errno.h>

enum { PORTS = 28232 }; /* 32768-60999, the kernel's default */

static struct load_plan plan_for(uint64_t connections, uint32_t endpoints, uint32_t given, bool free_sources)
{
        struct load_plan plan = {
                .connections = connections,
                .ports = PORTS,
                .endpoints = endpoints,
                .given = given,
                .free_sources = free_sources,
        };

        load_plan_compute(&plan);
        return plan;
}

static void half_of_the_ports_fits_one_pair(void **state)
{
        struct load_plan plan = plan_for(PORTS / 2, 1, 0, true);
        (void)state;

        assert_int_equal(plan.pairs_needed, 1);
        assert_int_equal(plan.sources, 0);
        assert_false(plan.crowded || plan.impossible);
}

static void more_take_more_loopback_addresses(void **state)
{
        struct load_plan plan = plan_for(PORTS / 2 + 1, 1, 0, true);
        (void)state;

        assert_int_equal(plan.pairs_needed, 2);
        assert_int_equal(plan.sources, 8); /* four times as many as needed */
        plan = plan_for(1000000, 1, 0, true);
        assert_int_equal(plan.pairs_needed, 71);
        assert_int_equal(plan.sources, 284);
        assert_false(plan.crowded || plan.impossible);
        plan = plan_for(1000000, 8, 0, true);
        assert_int_equal(plan.sources, 36);
        assert_int_equal(plan.pairs, 288);
}

static void enough_destinations_need_no_sources(void **state)
{
        struct load_plan plan = plan_for(1000000, 100, 0, true);
        (void)state;

        assert_int_equal(plan.sources, 0);
        assert_false(plan.crowded || plan.impossible);
}

static void past_half_it_is_crowded_and_past_all_impossible(void **state)
{
        struct load_plan plan = plan_for(PORTS, 1, 0, false);
        (void)state;

        assert_true(plan.crowded && !plan.impossible);
        plan = plan_for(PORTS + 1, 1, 0, false);
        assert_true(plan.impossible && !plan.crowded);
        plan = plan_for(PORTS + 1, 1, 2, false);
        assert_true(plan.crowded && !plan.impossible);
}

static void given_sources_are_not_added_to(void **state)
{
        struct load_plan plan = plan_for(1000000, 1, 4, true);
        (void)state;

        assert_int_equal(plan.sources, 4);
        assert_true(plan.impossible);
}

static void a_range_of_one_port_is_a_plan(void **state)
{
        struct load_plan plan = { .connections = 3, .ports = 1, .endpoints = 1, .free_sources = true };
        (void)state;

        load_plan_compute(&plan);
        assert_int_equal(plan.sources, 12);
        assert_false(plan.impossible);
}

/* ---- sources ---- */

static void assert_source(const union load_address *address, const char *wanted)
{
        char name[80];

        load_address_name(address, name, sizeof(name));
        assert_string_equal(name, wanted);
}

static void sources_are_lists_and_ranges(void **state)
{
        union load_address sources[100];
        (void)state;

        assert_int_equal(load_sources_parse(sources, 100, "127.0.0.1-127.0.0.64"), 64);
        assert_source(&sources[0], "127.0.0.1");
        assert_source(&sources[63], "127.0.0.64");
        assert_int_equal(load_sources_parse(sources, 100, "10.0.0.5, 127.0.0.254-127.0.1.1,::1"), 6);
        assert_source(&sources[0], "10.0.0.5");
        assert_source(&sources[3], "127.0.1.0");
        assert_source(&sources[5], "::1");
}

static void bad_sources_are_refused(void **state)
{
        static const char *const bad[] = { "",          ",",           "127.0.0.1,", "127.0.0.2-127.0.0.1",
                                           "a",         "1.2.3",       "1.2.3.4-",   "-1.2.3.4",
                                           "::1-::4",   "1.2.3.4-::1", "1.2.3.4/8",  "1.2.3.4-1.2.3.5-1.2.3.6",
                                           "1.2.3.4:80" };
        union load_address sources[8];
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++)
                assert_int_equal(load_sources_parse(sources, 8, bad[i]), -EINVAL);
        assert_int_equal(load_sources_parse(sources, 8, "0.0.0.0-255.255.255.255"), -E2BIG);
        assert_int_equal(load_sources_parse(sources, 8, "127.0.0.1-127.0.0.8"), 8);
        assert_int_equal(load_sources_parse(sources, 8, "127.0.0.1-127.0.0.9"), -E2BIG);
        assert_int_equal(load_sources_parse(sources, 8, "127.0.0.1-127.0.0.8,127.0.0.9"), -E2BIG);
}

static void the_loopback_network_has_many_addresses(void **state)
{
        union load_address address = load_loopback(0);
        (void)state;

        assert_source(&address, "127.0.0.1");
        address = load_loopback(300);
        assert_source(&address, "127.0.1.45");
        assert_true(load_is_loopback(&address));
}

/* ---- URLs ---- */

static void assert_url(const char *text, const char *host, unsigned first, unsigned last, const char *path)
{
        struct load_url url;

        if (load_url_parse(&url, text) < 0)
                fail_msg("%s is refused", text);
        assert_string_equal(url.host, host);
        assert_int_equal(url.first_port, first);
        assert_int_equal(url.last_port, last);
        if (!span_equal(url.path, span_of(path)))
                fail_msg("%s: path %.*s", text, (int)url.path.size, url.path.data);
}

static void urls_are_taken_apart(void **state)
{
        (void)state;
        assert_url("http://a", "a", 80, 80, "/");
        assert_url("HTTP://a/", "a", 80, 80, "/");
        assert_url("http://a.b:8080/c/d?e=f#g", "a.b", 8080, 8080, "/c/d?e=f");
        assert_url("http://127.0.0.1:1-65535/x", "127.0.0.1", 1, 65535, "/x");
        assert_url("http://[::1]/x", "::1", 80, 80, "/x");
        assert_url("http://[::1]:81-82", "::1", 81, 82, "/");
        assert_url("http://a-b/c:d", "a-b", 80, 80, "/c:d");
        assert_url("http://a#b", "a", 80, 80, "/");
}

static void bad_urls_are_refused(void **state)
{
        static const char *const bad[] = { "",
                                           "a",
                                           "https://a/",
                                           "http://",
                                           "http:///x",
                                           "http://:80",
                                           "http://a:",
                                           "http://a:0",
                                           "http://a:65536",
                                           "http://a:x",
                                           "http://a:9-8",
                                           "http://a:8-",
                                           "http://a:-8",
                                           "http://a b/",
                                           "http://a/b c",
                                           "http://a/\r\nX: y",
                                           "http://u@a/",
                                           "http://[::1",
                                           "http://[::1]x",
                                           "http://a?q",
                                           "http://a:99999999999" };
        struct load_url url;
        (void)state;

        for (size_t i = 0; i < array_count(bad); i++)
                if (load_url_parse(&url, bad[i]) != -EINVAL)
                        fail_msg("%s is taken", bad[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(half_of_the_ports_fits_one_pair),
                cmocka_unit_test(more_take_more_loopback_addresses),
                cmocka_unit_test(enough_destinations_need_no_sources),
                cmocka_unit_test(past_half_it_is_crowded_and_past_all_impossible),
                cmocka_unit_test(given_sources_are_not_added_to),
                cmocka_unit_test(a_range_of_one_port_is_a_plan),
                cmocka_unit_test(sources_are_lists_and_ranges),
                cmocka_unit_test(bad_sources_are_refused),
                cmocka_unit_test(the_loopback_network_has_many_addresses),
                cmocka_unit_test(urls_are_taken_apart),
                cmocka_unit_test(bad_urls_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
