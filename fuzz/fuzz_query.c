/* http_parse_listing_query. Whatever is asked, the answer is one of the few there are, and what stands behind
 * an '&' wins over what stands before it. */
#include "fuzz.h"

static struct http_listing_query parse(const void *data, size_t size)
{
        char *copy = exact_copy(data, size);
        struct http_listing_query q;

        memset(&q, 0x01, sizeof(q));
        http_parse_listing_query(&q, (struct span){ copy, size });
        ensure(q.sort <= HTTP_SORT_TIME);
        free(copy);
        return q;
}

static void check_overruled(const uint8_t *data, size_t size)
{
        static const char last[] = "&format=html&order=asc&sort=size";
        char *both = malloc(size + sizeof(last));

        memcpy(both, data, size);
        memcpy(both + size, last, sizeof(last));
        struct http_listing_query q = parse(both, size + sizeof(last) - 1);
        ensure(!q.json && !q.descending && q.sort == HTTP_SORT_SIZE);
        free(both);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        struct http_listing_query q = parse(data, size);
        ensure(!q.json || memmem(data, size, "json", 4));
        ensure(!q.descending || memmem(data, size, "order=desc", 10));
        ensure(q.sort == HTTP_SORT_NAME || memmem(data, size, "sort=", 5));
        check_overruled(data, size);
        return 0;
}
