/* What berth doctor reads on Windows: the machine, and values of the registry. */
#include "cmocka.h"

#include "doctor/doctor_priv.h"

#include <errno.h>
#include <windows.h>

static const wchar_t parameters[] = L"SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters";

static struct doctor_plan plan_for(unsigned connections, uint64_t memory_bytes)
{
        struct doctor_plan plan;
        struct doctor_options options = { .connections = connections, .memory_bytes = memory_bytes };
        doctor_plan_make(&plan, &options);
        return plan;
}

static void the_machine_is_read(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(1000, 0);
        assert_int_equal(plan.connections, 1000);
        assert_int_equal(plan.memory_from, DOCTOR_MEMORY_AVAIL_PHYS);
        assert_true(plan.memory_bytes > 0 && plan.memory_bytes <= plan.machine_bytes);
        assert_int_equal(plan.page_bytes, 4096);
        assert_true(plan.processors > 0);
        assert_int_equal(plan.windows.pool.error, 0);
        assert_true(plan.windows.pool.value < plan.machine_bytes);
        assert_int_equal(plan.windows.commit_left.error, 0);
        assert_true(plan.windows.commit_left.value > 0);
}

static void what_is_asked_for_goes_before_what_is_read(void **state)
{
        (void)state;
        struct doctor_plan plan = plan_for(0, 1 << 30);
        assert_int_equal(plan.memory_from, DOCTOR_MEMORY_GIVEN);
        assert_int_equal(plan.memory_bytes, 1 << 30);
        assert_true(plan.connections > 0);
        assert_int_equal(plan.connections, doctor_round_down(doctor_capacity_most(&plan, 1 << 30)));
}

/* Berth enlarges it as it is refused; so what is read has to follow. */
static void the_working_set_is_this_process_s(void **state)
{
        (void)state;
        SIZE_T least = 48 << 20;
        assert_true(SetProcessWorkingSetSize(GetCurrentProcess(), least, 2 * least));
        SIZE_T now, most;
        assert_true(GetProcessWorkingSetSize(GetCurrentProcess(), &now, &most));
        assert_int_equal(plan_for(1, 0).windows.least_set.value, now);
}

static int read(const char *name, struct doctor_finding *finding)
{
        static struct doctor_row row;
        struct doctor_plan plan = { .root = "" };
        row = (struct doctor_row){ .name = name };
        *finding = (struct doctor_finding){ .row = &row };
        return doctor_read_setting(&plan, finding);
}

static void put(const wchar_t *name, DWORD type, const void *data, DWORD size)
{
        assert_int_equal(RegSetKeyValueW(HKEY_LOCAL_MACHINE, parameters, name, type, data, size), ERROR_SUCCESS);
}

static void values_of_the_registry_are_read(void **state)
{
        (void)state;
        struct doctor_finding finding, text;
        DWORD seconds = 77;
        assert_int_equal(read("BerthTestDelay", &finding), -ENOENT);
        put(L"BerthTestDelay", REG_DWORD, &seconds, sizeof(seconds));
        int error = read("BerthTestDelay", &finding);
        put(L"BerthTestDelay", REG_SZ, L"77", sizeof(L"77"));
        int of_text = read("BerthTestDelay", &text);
        RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, parameters, L"BerthTestDelay");
        assert_int_equal(error, 0);
        assert_int_equal(finding.value[0], 77);
        assert_int_equal(of_text, -EINVAL);
}

static void symptoms_can_be_read(void **state)
{
        (void)state;
        struct doctor_symptom symptoms[DOCTOR_SYMPTOMS];
        struct doctor_plan plan = plan_for(1, 0);
        unsigned count = doctor_symptoms(&plan, symptoms);
        assert_int_equal(count, 3);
        for (unsigned i = 0; i < count; i++) {
                assert_int_equal(symptoms[i].error, 0);
                assert_true(symptoms[i].limit > 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_machine_is_read),
                cmocka_unit_test(what_is_asked_for_goes_before_what_is_read),
                cmocka_unit_test(the_working_set_is_this_process_s),
                cmocka_unit_test(values_of_the_registry_are_read),
                cmocka_unit_test(symptoms_can_be_read),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
