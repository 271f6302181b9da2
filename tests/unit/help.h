/* help: what the unit tests of parsers share. */
#ifndef TESTS_UNIT_HELP_H
#define TESTS_UNIT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

/* A copy on the heap of exactly this size, so that the address sanitizer sees a byte read too many. */
static inline char *exact_copy(const void *data, size_t size)
{
        char *copy = malloc(size > 0 ? size : 1);

        assert_non_null(copy);
        if (size == 0) {
                free(copy);
                return NULL;
        }
        memcpy(copy, data, size);
        return copy;
}

static inline void assert_span_(struct span got, struct span wanted, const char *file, int line)
{
        if (span_equal(got, wanted))
                return;
        print_error("\"%.*s\" is not \"%.*s\"\n", (int)got.size, got.data ? got.data : "", (int)wanted.size,
                    wanted.data);
        _fail(file, line);
}

#define assert_span(got, literal) assert_span_(got, SPAN(literal), __FILE__, __LINE__)
#define assert_text(text, literal)                                                                                     \
        assert_span_((struct span){ (text).data, (text).used }, SPAN(literal), __FILE__, __LINE__)

#endif
