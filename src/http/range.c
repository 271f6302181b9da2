/* Range fields, RFC 9110 14.1.2 and 14.2.
 *
 * The whole field is read before anything is decided, since a fault in its last member makes the
 * field one to ignore. Then the set is judged: a client that asks for many overlapping pieces makes
 * a small request cause a large answer (RFC 9110 17.15), and has no honest reason to.
 */
#include "http/http_priv.h"

enum member { MALFORMED, UNSATISFIABLE, SATISFIABLE };

/* 1*DIGIT at the start of *s. More than 64 bits can hold is past the end of every file: the largest
 * number says as much. */
static bool take_number(struct span *s, uint64_t *number)
{
        const char *start = s->data;

        *number = 0;
        while (s->size > 0 && http_is_digit(s->data[0])) {
                if (__builtin_mul_overflow(*number, 10, number) ||
                    __builtin_add_overflow(*number, (uint64_t)(s->data[0] - '0'), number))
                        *number = UINT64_MAX; /* and again with each digit that follows */
                s->data++;
                s->size--;
        }
        return s->data != start;
}

static enum member read_suffix(struct http_range *range, struct span s, uint64_t size)
{
        uint64_t length;

        if (!take_number(&s, &length) || s.size > 0)
                return MALFORMED;
        if (length == 0 || size == 0)
                return UNSATISFIABLE;
        *range = (struct http_range){ size - min_of(length, size), size - 1 };
        return SATISFIABLE;
}

/* first-last, first- or -length. */
static enum member read_member(struct http_range *range, struct span s, uint64_t size)
{
        uint64_t first, last = UINT64_MAX;

        if (s.data[0] == '-')
                return read_suffix(range, (struct span){ s.data + 1, s.size - 1 }, size);
        if (!take_number(&s, &first) || s.size == 0 || s.data[0] != '-')
                return MALFORMED;
        s.data++;
        s.size--;
        if (s.size > 0 && (!take_number(&s, &last) || s.size > 0 || last < first))
                return MALFORMED;
        if (first >= size)
                return UNSATISFIABLE;
        *range = (struct http_range){ first, min_of(last, size - 1) };
        return SATISFIABLE;
}

static bool overlap(const struct http_range *a, const struct http_range *b)
{
        return a->first <= b->last && b->first <= a->last;
}

/* How many of the ranges overlap some other. */
static unsigned count_overlapping(const struct http_range *ranges, unsigned count)
{
        unsigned overlapping = 0;

        for (unsigned i = 0; i < count; i++) {
                unsigned j = 0;

                while (j < count && (j == i || !overlap(&ranges[i], &ranges[j])))
                        j++;
                overlapping += j < count;
        }
        return overlapping;
}

static bool exceeds(const struct http_range *ranges, unsigned count, uint64_t size)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < count && sum <= size; i++)
                sum += ranges[i].last - ranges[i].first + 1;
        return sum > size;
}

static bool is_abuse(const struct http_range *ranges, unsigned count, uint64_t size)
{
        return count > 2 && (count_overlapping(ranges, count) > 2 || exceeds(ranges, count, size));
}

int http_parse_range(struct http_range *ranges, unsigned max, struct span value, uint64_t size)
{
        unsigned members = 0, count = 0;
        struct http_range range;
        struct span element;

        ensure(max > 0 && max <= HTTP_MAX_RANGES && size <= INT64_MAX);
        if (!span_equal_nocase(span_trim(span_cut(&value, '=')), SPAN("bytes")))
                return 0;
        while (http_next_element(&value, &element)) {
                enum member member = read_member(&range, element, size);

                if (member == MALFORMED)
                        return 0;
                if (member == SATISFIABLE && count < max)
                        ranges[count++] = range;
                members++;
        }
        if (members == 0)
                return 0;
        if (count == 0 || members > max || is_abuse(ranges, count, size))
                return -416;
        return (int)count;
}
