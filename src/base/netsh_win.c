/* What netsh says of the ports that outgoing connections are given. No I/O.
 *
 *      Start Port      : 49152
 *      Number of Ports : 16384
 *
 * The words are in the language of the system, so what counts is the first two numbers behind a colon.
 */
#include "base/base.h"

#include <errno.h>

enum { MAX_PORT = 65535 };

/* The number that a span begins with; 0 when it begins with none, more than a port when there are too many digits. */
static uint64_t leading_number(struct span text)
{
        uint64_t value = 0;
        for (size_t i = 0; i < text.size && value <= MAX_PORT; i++) {
                unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';
                if (digit > 9)
                        break;
                value = value * 10 + digit;
        }
        return value;
}

int netsh_parse_ports(struct span text, uint64_t *first, uint64_t *count)
{
        uint64_t numbers[2] = { 0 };
        unsigned found = 0;
        while (text.data && found < array_count(numbers)) {
                struct span line = span_cut(&text, '\n');
                span_cut(&line, ':');
                numbers[found] = leading_number(span_trim(line));
                found += numbers[found] > 0;
        }
        if (found < array_count(numbers))
                return -ENODATA;
        if (numbers[0] + numbers[1] - 1 > MAX_PORT)
                return -EINVAL;
        *first = numbers[0];
        *count = numbers[1];
        return 0;
}
