/* The tests' runner on Windows. */
#include <cmocka.h>

#include <fcntl.h>
#include <io.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <winsock2.h>

#include <windows.h>

enum outcome { PASSED, FAILED, SKIPPED };

static const char *filter;
static jmp_buf back;
static DWORD runner;

void cmocka_set_test_filter(const char *pattern)
{
        filter = pattern;
}

static bool matches(const char *name, const char *pattern)
{
        if (*pattern == '*')
                return matches(name, pattern + 1) || (*name && matches(name + 1, pattern));
        if (!*pattern || !*name)
                return *pattern == *name;
        return (*pattern == '?' || *pattern == *name) && matches(name + 1, pattern + 1);
}

void print_message(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
}

void print_error(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        printf("# ");
        vprintf(format, arguments);
        va_end(arguments);
}

/* Another thread cannot end the test, only all of them. */
_Noreturn void _fail(const char *file, int line)
{
        print_error("%s:%d: failed\n", file, line);
        if (GetCurrentThreadId() != runner)
                exit(1);
        longjmp(back, FAILED);
}

_Noreturn void cmocka_skip(void)
{
        longjmp(back, SKIPPED);
}

/* $CMOCKA_SKIP: names with commas between them. */
static bool is_skipped(const char *name)
{
        const char *list = getenv("CMOCKA_SKIP");
        size_t size = strlen(name);
        for (const char *at = list; at && (at = strstr(at, name)); at += size)
                if ((at == list || at[-1] == ',') && (at[size] == ',' || !at[size]))
                        return true;
        return false;
}

static enum outcome run(const struct CMUnitTest *test)
{
        void *state = NULL;
        if (is_skipped(test->name))
                return SKIPPED;
        volatile enum outcome outcome = PASSED;
        int jumped = setjmp(back);
        if (jumped)
                outcome = (enum outcome)jumped;
        else
                test->test(&state);
        if (test->teardown)
                test->teardown(&state);
        return outcome;
}

/* Held to the end: with the last port's WSACleanup Wine closes, in a call each, all that was ever a socket. */
static void hold_sockets(void)
{
        WSADATA data;
        if (WSAStartup(MAKEWORD(2, 2), &data))
                exit(1);
}

int _cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t count, cmocka_fixture *setup,
                            cmocka_fixture *teardown)
{
        (void)name;
        (void)setup;
        (void)teardown;
        int number = 0, failed = 0;
        runner = GetCurrentThreadId();
        hold_sockets();
        SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
        _setmode(_fileno(stdout), _O_BINARY);
        setvbuf(stdout, NULL, _IONBF, 0);
        for (size_t i = 0; i < count; i++)
                number += !filter || matches(tests[i].name, filter);
        printf("1..%d\n", number);
        number = 0;
        for (size_t i = 0; i < count; i++) {
                if (filter && !matches(tests[i].name, filter))
                        continue;
                enum outcome outcome = run(&tests[i]);
                failed += outcome == FAILED;
                printf("%s %d - %s%s\n", outcome == FAILED ? "not ok" : "ok", ++number, tests[i].name,
                       outcome == SKIPPED ? " # SKIP" : "");
        }
        return failed;
}
