/* fuzz: what the fuzz targets share. A broken invariant stops the program by ensure(). */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdlib.h>

#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly this size, so that the address sanitizer sees a byte read too many. */
static inline char *exact_copy(const void *data, size_t size)
{
        char *copy = malloc(size > 0 ? size : 1);

        ensure(copy);
        if (size > 0)
                memcpy(copy, data, size);
        return copy;
}

/* Cuts one byte off the input, to steer by; 0 when there is none. */
static inline uint8_t take_byte(const uint8_t **data, size_t *size)
{
        if (*size == 0)
                return 0;
        --*size;
        return *(*data)++;
}

static inline bool is_within(struct span s, const char *data, size_t size)
{
        return s.size == 0 || (s.data >= data && s.data + s.size <= data + size);
}

#endif
