/* Messages for people: one line, one write, so that lines of several threads do not mix. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool quiet_now;

static void print_line(const char *format, va_list arguments)
{
        char line[1024] = "berth: ";
        size_t start = strlen(line);
        int n = vsnprintf(line + start, sizeof(line) - start - 1, format, arguments);
        size_t size = start + (size_t)max_of(n, 0);
        size = min_of(size, sizeof(line) - 2);
        line[size++] = '\n';
        /* A closed stderr is nothing a message could report. */
        ssize_t written = write(STDERR_FILENO, line, size);
        (void)written;
}

void say_quiet(bool quiet)
{
        quiet_now = quiet;
}

void say(const char *format, ...)
{
        if (quiet_now)
                return;
        va_list arguments;
        va_start(arguments, format);
        print_line(format, arguments);
        va_end(arguments);
}

void complain(const char *format, ...)
{
        va_list arguments;
        va_start(arguments, format);
        print_line(format, arguments);
        va_end(arguments);
}

void base_panic(const char *file, int line, const char *what)
{
        complain("%s:%d: broken invariant: %s", file, line, what);
        abort();
}
