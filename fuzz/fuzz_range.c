/* http_parse_range. The first two bytes steer the size of the file and how many ranges are allowed; the rest is
 * the field. What is given lies within the file and is no abuse. */
#include "fuzz.h"

static uint64_t size_of(uint8_t steer)
{
        static const uint64_t sizes[] = { 0, 1, 2, 10, 100, 1000, 10000, (uint64_t)1 << 32, INT64_MAX };

        return sizes[steer % array_count(sizes)];
}

static bool overlaps_another(const struct http_range *ranges, int count, int i)
{
        for (int j = 0; j < count; j++) {
                if (j != i && ranges[i].first <= ranges[j].last && ranges[j].first <= ranges[i].last)
                        return true;
        }
        return false;
}

static void check_set(const struct http_range *ranges, int count, uint64_t size)
{
        uint64_t sum = 0;
        int overlapping = 0;

        for (int i = 0; i < count; i++) {
                ensure(ranges[i].first <= ranges[i].last && ranges[i].last < size);
                ensure(!__builtin_add_overflow(sum, ranges[i].last - ranges[i].first + 1, &sum));
                overlapping += overlaps_another(ranges, count, i);
        }
        ensure(overlapping <= 2 && (count <= 2 || sum <= size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint64_t file_size = size_of(take_byte(&data, &size));
        unsigned max = 1 + take_byte(&data, &size) % HTTP_MAX_RANGES;
        struct http_range *ranges = malloc(max * sizeof(*ranges));
        char *field = exact_copy(data, size);

        int count = http_parse_range(ranges, max, (struct span){ field, size }, file_size);
        ensure(count == -416 || (count >= 0 && (unsigned)count <= max));
        if (count > 0)
                check_set(ranges, count, file_size);
        free(field);
        free(ranges);
        return 0;
}
