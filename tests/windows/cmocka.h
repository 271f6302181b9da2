/* As much of cmocka as the conformance suite uses, since Debian has none for Windows: the same names, TAP as its
 * output, a filter with * and ?. One test after the other in one process; the first failed assertion ends a test. */
#ifndef TESTS_WINDOWS_CMOCKA_H
#define TESTS_WINDOWS_CMOCKA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef void cmocka_test(void **state);
typedef int cmocka_fixture(void **state);

struct CMUnitTest {
        const char *name;
        cmocka_test *test;
        cmocka_fixture *teardown;
};

#define cmocka_unit_test(function)                                                                                     \
        {                                                                                                              \
#function, function, NULL                                                                              \
        }
#define cmocka_unit_test_teardown(function, teardown)                                                                  \
        {                                                                                                              \
#function, function, teardown                                                                          \
        }

void cmocka_set_test_filter(const char *filter);
int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count, cmocka_fixture *setup,
                            cmocka_fixture *teardown);

#define cmocka_run_group_tests(tests, setup, teardown)                                                                 \
        _cmocka_run_group_tests(#tests, tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

__attribute__((format(gnu_printf, 1, 2))) void print_message(const char *format, ...);
__attribute__((format(gnu_printf, 1, 2))) void print_error(const char *format, ...);
_Noreturn void _fail(const char *file, int line);
_Noreturn void cmocka_skip(void);

static inline void cmocka_check(bool holds, const char *what, const char *file, int line)
{
        if (holds)
                return;
        print_error("%s\n", what);
        _fail(file, line);
}

static inline void cmocka_check_equal(int64_t a, int64_t b, bool equal, const char *what, const char *file, int line)
{
        if ((a == b) == equal)
                return;
        print_error("%s: %lld and %lld\n", what, (long long)a, (long long)b);
        _fail(file, line);
}

static inline bool cmocka_in_range(int64_t x, int64_t least, int64_t most)
{
        return x >= least && x <= most;
}

#define skip() cmocka_skip()
#define fail_msg(...) (print_error(__VA_ARGS__), print_error("\n"), _fail(__FILE__, __LINE__))
#define assert_true(x) cmocka_check(!!(x), #x, __FILE__, __LINE__)
#define assert_false(x) cmocka_check(!(x), "not " #x, __FILE__, __LINE__)
#define assert_null(x) cmocka_check(!(x), #x " is NULL", __FILE__, __LINE__)
#define assert_non_null(x) cmocka_check(!!(x), #x " is not NULL", __FILE__, __LINE__)
#define assert_ptr_equal(a, b) cmocka_check((const void *)(a) == (const void *)(b), #a " is " #b, __FILE__, __LINE__)
#define assert_int_equal(a, b) cmocka_check_equal((int64_t)(a), (int64_t)(b), true, #a " == " #b, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                                     \
        cmocka_check_equal((int64_t)(a), (int64_t)(b), false, #a " != " #b, __FILE__, __LINE__)
#define assert_string_equal(a, b) cmocka_check(strcmp(a, b) == 0, #a " is " #b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, size) cmocka_check(memcmp(a, b, size) == 0, #a " is as " #b, __FILE__, __LINE__)
#define assert_in_range(x, least, most)                                                                                \
        cmocka_check(cmocka_in_range((int64_t)(x), (int64_t)(least), (int64_t)(most)), #x " in range", __FILE__,       \
                     __LINE__)

#endif
