/* What berth doctor reckons on Windows: its table and its figures, with a machine and a registry of the tests' own. */
#include "help.h"

#include "doctor/doctor_priv.h"

#include <errno.h>

enum { PIECE_BYTES = (64 << 10) + 4096 };

static const uint64_t GIB = UINT64_C(1) << 30;

static struct doctor_report report;

/* ---- the registry ---- */

static struct {
        const char *name;
        int error;
        uint64_t value;
} registry[] = { { "MaxUserPort", -ENOENT, 0 }, { "TcpTimedWaitDelay", -ENOENT, 0 } };

int doctor_read_setting(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        (void)plan;
        for (size_t i = 0; i < array_count(registry); i++) {
                if (strcmp(registry[i].name, finding->row->name) != 0)
                        continue;
                finding->value[0] = registry[i].value;
                return registry[i].error;
        }
        fail_msg("no such value: %s", finding->row->name);
        return -ENOENT;
}

static int clear_registry(void **state)
{
        (void)state;
        for (size_t i = 0; i < array_count(registry); i++)
                registry[i].error = -ENOENT;
        return 0;
}

static void set(unsigned index, uint64_t value)
{
        registry[index].error = 0;
        registry[index].value = value;
}

/* ---- the machine ---- */

static struct doctor_plan plan_for(uint64_t connections)
{
        return (struct doctor_plan){
                .root = "",
                .engine = "iocp",
                .connections = connections,
                .memory_bytes = 16 * GIB,
                .memory_from = DOCTOR_MEMORY_AVAIL_PHYS,
                .machine_bytes = 32 * GIB,
                .page_bytes = 4096,
                .processors = 4,
                .ports = 16384,
                .lowest_port = DOCTOR_WINDOWS_LOWEST_PORT,
                .windows = {
                        .pool.value = GIB,
                        .commit_left.value = 20 * GIB,
                        .least_set.value = 200 << 10,
                        .port_count.value = 16384,
                        .first_port = 49152,
                },
        };
}

static const struct doctor_finding *find(const char *name)
{
        for (unsigned i = 0; i < report.count; i++)
                if (strcmp(report.findings[i].row->name, name) == 0)
                        return &report.findings[i];
        fail_msg("no row %s", name);
        return NULL;
}

static const struct doctor_finding *judged(const struct doctor_plan *plan, const char *name)
{
        doctor_judge(plan, &report);
        return find(name);
}

/* ---- what a connection costs ---- */

static void a_connection_costs_what_its_parts_cost(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        struct doctor_capacity capacity = doctor_capacity_of(&plan);
        uint64_t sum = 0;
        for (unsigned i = 0; i < capacity.part_count; i++)
                sum += capacity.parts[i].bytes;
        assert_int_equal(sum, 9000);
        assert_int_equal(capacity.kernel_bytes, 9000 * 1000);
        assert_int_equal(capacity.user_bytes, 208 * 1000 + (100 << 20));
}

static void each_limit_bounds_as_many_as_fit(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        assert_int_equal(judged(&plan, "non-paged pool")->bound, 31 * GIB / 9000);
        assert_int_equal(find("memory")->bound, (16 * GIB - (100 << 20)) / 9208);
        assert_int_equal(find("commit limit")->bound, (20 * GIB - (100 << 20)) / 9208);
        assert_int_equal(find("handles")->bound, (1 << 24) - 256 - 4 * 1088);
        assert_int_equal(report.fit, DOCTOR_FITS);
        plan.connections = find("memory")->bound;
        judged(&plan, "memory");
        assert_int_equal(report.fit, DOCTOR_FITS);
        plan.connections++;
        assert_int_equal(judged(&plan, "memory")->verdict, DOCTOR_RAISE);
        assert_int_equal(report.fit, DOCTOR_DOES_NOT_FIT);
}

/* ---- pages that are locked ---- */

static void a_hundredth_of_the_connections_holds_a_piece_locked(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(100000);
        assert_int_equal(judged(&plan, "locked pages")->needed, 1000 * PIECE_BYTES);
        assert_int_equal(find("locked pages")->value[0], 4 * GIB);
        assert_int_equal(find("working set")->needed, 1000 * PIECE_BYTES);
        assert_int_equal(find("working set")->value[0], (200 << 10) + GIB);
        plan.connections = 1;
        assert_int_equal(judged(&plan, "locked pages")->needed, PIECE_BYTES);
        assert_non_null(strstr(find("locked pages")->why, "1 receives would lock 4.0 KiB"));
}

static void too_many_locked_pages_are_no_failure(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1500000);
        plan.windows.least_set.error = -ENODATA;
        assert_int_equal(judged(&plan, "working set")->verdict, DOCTOR_UNKNOWN);
        plan.windows.least_set.error = 0;
        assert_int_equal(judged(&plan, "working set")->needed, UINT64_C(15000) * PIECE_BYTES);
        assert_int_equal(find("working set")->verdict, DOCTOR_OK);
        plan.connections = 1600000;
        assert_int_equal(judged(&plan, "working set")->verdict, DOCTOR_RAISE);
        assert_int_equal(report.fit, DOCTOR_FITS);
}

/* ---- what cannot be read ---- */

static void nobody_can_tell_without_the_pool(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        plan.windows.pool.error = -ENODATA;
        assert_int_equal(judged(&plan, "non-paged pool")->verdict, DOCTOR_UNKNOWN);
        assert_int_equal(report.fit, DOCTOR_CANNOT_TELL);
        plan.windows.pool.error = 0;
        plan.machine_bytes = 0;
        assert_int_equal(judged(&plan, "non-paged pool")->verdict, DOCTOR_UNKNOWN);
        assert_int_equal(find("locked pages")->verdict, DOCTOR_UNKNOWN);
        assert_int_equal(report.fit, DOCTOR_CANNOT_TELL);
}

static void a_server_fits_without_the_port_range(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        plan.windows.port_count.error = -ENODATA;
        assert_int_equal(judged(&plan, "dynamic port range")->verdict, DOCTOR_UNKNOWN);
        assert_string_equal(find("dynamic port range")->now, "");
        assert_int_equal(report.fit, DOCTOR_FITS);
}

/* ---- the pool and the edition ---- */

static void a_full_pool_does_not_fit(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000000);
        plan.windows.pool.value = 24 * GIB;
        assert_int_equal(judged(&plan, "non-paged pool")->verdict, DOCTOR_RAISE);
        assert_int_equal(find("non-paged pool")->needed, UINT64_C(9000000000));
        assert_int_equal(report.fit, DOCTOR_DOES_NOT_FIT);
        plan.windows.pool.value = 33 * GIB; /* more than there is memory */
        assert_int_equal(judged(&plan, "non-paged pool")->value[0], 0);
}

static void the_pool_ends_at_16_tib(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        plan.machine_bytes = UINT64_C(24) << 40;
        assert_int_equal(judged(&plan, "non-paged pool")->value[0], (UINT64_C(16) << 40) - GIB);
}

static void a_client_edition_is_told_and_fits(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        assert_int_equal(judged(&plan, "TransmitFile")->verdict, DOCTOR_OK);
        uint64_t without = doctor_capacity_of(&plan).user_bytes;
        plan.windows.client_edition = true;
        assert_int_equal(judged(&plan, "TransmitFile")->verdict, DOCTOR_OK);
        assert_string_equal(find("TransmitFile")->now, "client: 4096 copied");
        assert_int_equal(doctor_capacity_of(&plan).user_bytes - without, 1000 * 655); /* 64 KiB for one in a hundred */
        plan.connections = 409601; /* of which one in a hundred is sent a piece of a file */
        assert_int_equal(judged(&plan, "TransmitFile")->verdict, DOCTOR_RAISE);
        assert_non_null(strstr(find("TransmitFile")->how, "--max-sends"));
        assert_int_equal(report.fit, DOCTOR_FITS);
}

static void posted_accepts_take_of_the_pool(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        assert_int_equal(judged(&plan, "posted accepts")->needed, 10);
        assert_non_null(strstr(find("posted accepts")->why, "take 2.2 MiB of"));
        plan.connections = 1000000;
        assert_int_equal(judged(&plan, "posted accepts")->needed, 256);
}

/* ---- ports ---- */

static void half_of_the_ports_is_used_of_each_combination(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(8192);
        assert_int_equal(judged(&plan, "dynamic port range")->verdict, DOCTOR_OK);
        assert_string_equal(find("dynamic port range")->now, "start=49152 num=16384");
        plan.connections = 8193;
        assert_int_equal(judged(&plan, "dynamic port range")->verdict, DOCTOR_RAISE);
        assert_int_equal(find("dynamic port range")->needed, 16386);
        plan.connections = 1000000;
        assert_int_equal(judged(&plan, "dynamic port range")->needed, 64511);
        assert_non_null(strstr(find("dynamic port range")->why, "need 123 such combinations, 32 with the widest"));
}

static void waiting_ports_matter_when_many_are_needed(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(8192);
        assert_int_equal(judged(&plan, "TcpTimedWaitDelay")->verdict, DOCTOR_OK);
        plan.connections = 8193;
        assert_int_equal(judged(&plan, "TcpTimedWaitDelay")->verdict, DOCTOR_LOWER);
        assert_string_equal(find("TcpTimedWaitDelay")->now, "not set: 120 or 240");
        set(1, 30);
        assert_int_equal(judged(&plan, "TcpTimedWaitDelay")->verdict, DOCTOR_OK);
        assert_string_equal(find("TcpTimedWaitDelay")->now, "30");
        set(1, 31);
        assert_int_equal(judged(&plan, "TcpTimedWaitDelay")->verdict, DOCTOR_LOWER);
        registry[1].error = -EACCES;
        assert_int_equal(judged(&plan, "TcpTimedWaitDelay")->verdict, DOCTOR_UNKNOWN);
}

static void an_old_bound_of_ports_is_looked_at(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000);
        assert_int_equal(judged(&plan, "MaxUserPort")->verdict, DOCTOR_NOT_HERE);
        set(0, 3024);
        assert_int_equal(judged(&plan, "MaxUserPort")->verdict, DOCTOR_OK);
        set(0, 3023);
        assert_int_equal(judged(&plan, "MaxUserPort")->verdict, DOCTOR_RAISE);
        set(0, 65534);
        plan.connections = 1000000;
        assert_int_equal(judged(&plan, "MaxUserPort")->verdict, DOCTOR_OK);
}

static uint64_t first_port, port_count;

static int parse(const char *text)
{
        char *copy = exact_copy(text, strlen(text));
        first_port = port_count = 0;
        int error = netsh_parse_ports((struct span){ copy, strlen(text) }, &first_port, &port_count);
        free(copy);
        return error;
}

static void the_range_is_read_in_any_language(void **state)
{
        (void)state;
        assert_int_equal(parse("\r\nProtocol tcp Dynamic Port Range\r\n---------------------------------\r\n"
                               "Start Port      : 49152\r\nNumber of Ports : 16384\r\n\r\n"),
                         0);
        assert_int_equal(first_port, 49152);
        assert_int_equal(port_count, 16384);
        assert_int_equal(parse("Dynamischer Portbereich des Protokolls \"tcp\":\r\n\r\nStartport     : 1025\r\n"
                               "Anzahl von Ports : 64511"),
                         0);
        assert_int_equal(first_port, 1025);
        assert_int_equal(port_count, 64511);
}

static void what_is_no_range_is_refused(void **state)
{
        (void)state;
        assert_int_equal(parse(""), -ENODATA);
        assert_int_equal(parse("The following command was not found: int ipv4 show.\r\n"), -ENODATA);
        assert_int_equal(parse("Start Port : 49152\r\nNumber of Ports : many\r\n"), -ENODATA);
        assert_int_equal(parse("Start Port : 49152\r\nNumber of Ports : 16385\r\n"), -EINVAL);
        assert_int_equal(parse("a : 1\nb : 99999999999999999999999"), -EINVAL);
        assert_int_equal(port_count, 0);
}

/* ---- what to do ---- */

static void nothing_is_applied_and_each_row_says_how_to_change_it(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(10000000);
        plan.windows.client_edition = true;
        set(0, 5000);
        doctor_judge(&plan, &report);
        for (unsigned i = 0; i < report.count; i++) {
                assert_string_equal(report.findings[i].apply, "");
                assert_string_not_equal(report.findings[i].how, "");
                assert_null(strstr(report.findings[i].how, "sysctl"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_connection_costs_what_its_parts_cost),
                cmocka_unit_test(each_limit_bounds_as_many_as_fit),
                cmocka_unit_test(a_hundredth_of_the_connections_holds_a_piece_locked),
                cmocka_unit_test(too_many_locked_pages_are_no_failure),
                cmocka_unit_test(nobody_can_tell_without_the_pool),
                cmocka_unit_test(a_server_fits_without_the_port_range),
                cmocka_unit_test(a_full_pool_does_not_fit),
                cmocka_unit_test(the_pool_ends_at_16_tib),
                cmocka_unit_test(a_client_edition_is_told_and_fits),
                cmocka_unit_test(posted_accepts_take_of_the_pool),
                cmocka_unit_test(half_of_the_ports_is_used_of_each_combination),
                cmocka_unit_test_teardown(waiting_ports_matter_when_many_are_needed, clear_registry),
                cmocka_unit_test_teardown(an_old_bound_of_ports_is_looked_at, clear_registry),
                cmocka_unit_test(the_range_is_read_in_any_language),
                cmocka_unit_test(what_is_no_range_is_refused),
                cmocka_unit_test_teardown(nothing_is_applied_and_each_row_says_how_to_change_it, clear_registry),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
