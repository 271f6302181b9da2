/* Where the bytes of a partial write go: Content-Range (RFC 9110 14.4) and SabreDAV's X-Update-Range. */
#include "dav/dav_priv.h"

bool dav_take_number(struct span *rest, uint64_t *number)
{
        const char *start = rest->data;
        uint64_t value = 0;

        while (rest->size > 0 && dav_is_digit(rest->data[0])) {
                uint64_t digit = (uint64_t)(rest->data[0] - '0');

                value = value > (INT64_MAX - digit) / 10 ? INT64_MAX : value * 10 + digit;
                rest->data++;
                rest->size--;
        }
        *number = value;
        return rest->data != start;
}

bool dav_take_word(struct span *rest, struct span word)
{
        if (rest->size < word.size || !span_equal_nocase((struct span){ rest->data, word.size }, word))
                return false;
        rest->data += word.size;
        rest->size -= word.size;
        return true;
}

/* A number that is one: the greatest stands for what is too large. */
static bool take_offset(struct span *rest, uint64_t *offset)
{
        return dav_take_number(rest, offset) && *offset < INT64_MAX;
}

/* first-last, both inclusive. */
static bool take_range(struct dav_target *target, struct span *rest)
{
        uint64_t last;

        if (!take_offset(rest, &target->first) || !dav_take_word(rest, SPAN("-")) || !take_offset(rest, &last))
                return false;
        if (last < target->first)
                return false;
        target->length = last - target->first + 1;
        return true;
}

static int parse_truncation(struct dav_target *target, struct span rest)
{
        target->truncate = true;
        target->first = target->length = 0;
        return take_offset(&rest, &target->total) && rest.size == 0 ? 0 : -400;
}

int dav_parse_content_range(struct dav_target *target, struct span value, bool truncate_allowed)
{
        struct span rest = span_trim(value);

        *target = (struct dav_target){ .total = UINT64_MAX };
        if (!dav_take_word(&rest, SPAN("bytes ")))
                return -400;
        rest = span_trim(rest);
        if (dav_take_word(&rest, SPAN("*/")))
                return truncate_allowed ? parse_truncation(target, rest) : -400;
        if (!take_range(target, &rest) || !dav_take_word(&rest, SPAN("/")))
                return -400;
        if (span_equal(rest, SPAN("*")))
                return 0;
        if (!take_offset(&rest, &target->total) || rest.size > 0)
                return -400;
        return target->first + target->length <= target->total ? 0 : -400;
}

int dav_parse_update_range(struct dav_target *target, struct span value)
{
        struct span rest = span_trim(value), open;

        *target = (struct dav_target){ .length = UINT64_MAX, .total = UINT64_MAX };
        target->append = span_equal_nocase(rest, SPAN("append"));
        if (target->append)
                return 0;
        if (!dav_take_word(&rest, SPAN("bytes=")))
                return -400;
        target->from_end = dav_take_word(&rest, SPAN("-"));
        open = rest;
        if (take_offset(&open, &target->first) && (target->from_end || dav_take_word(&open, SPAN("-"))) &&
            open.size == 0)
                return 0;
        return !target->from_end && take_range(target, &rest) && rest.size == 0 ? 0 : -400;
}
