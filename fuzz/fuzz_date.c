/* http_parse_date and http_format_date. The first eight bytes are a time, both "now" and one to format; the rest
 * is a date. What was read comes back through the form berth sends, and what was formatted is read as it was. */
#include "fuzz.h"

static const int64_t first_second = -62135596800, last_second = 253402300799;

static void check_round_trip(int64_t seconds, int64_t now)
{
        char *text = malloc(HTTP_DATE_BYTES);
        int64_t back;

        http_format_date(text, seconds);
        ensure(http_parse_date((struct span){ text, HTTP_DATE_BYTES }, now, &back));
        ensure(back == max_of(first_second, min_of(seconds, last_second)));
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        int64_t now = 0, seconds;

        for (int i = 0; i < 8; i++)
                now = (int64_t)((uint64_t)now << 8 | take_byte(&data, &size));
        check_round_trip(now, now);
        check_round_trip(now % last_second, now);

        char *text = exact_copy(data, size);
        if (http_parse_date((struct span){ text, size }, now, &seconds)) {
                ensure(size >= 24 && size <= sizeof("Wednesday, 06-Nov-94 08:49:37 GMT") - 1);
                /* a leap second may lead into the year 10000 */
                ensure(seconds >= first_second && seconds <= last_second + 1);
                check_round_trip(seconds, now);
        }
        free(text);
        return 0;
}
