/* The alphabet of HTTP: which byte may stand where, and how lists are taken apart.
 *
 * A request target is taken more broadly than RFC 3986 writes it: browsers send '|', '"', '{' and
 * raw UTF-8 as they are, and no two readers disagree about them. '#' is refused, for some readers
 * end the path there.
 */
#include "http/http_priv.h"

enum {
        V = HTTP_TEXT,
        Q = V | HTTP_QUERY_BYTE,
        P = Q | HTTP_PATH_BYTE,
        T = HTTP_TOKEN,
        H = HTTP_NAME_BYTE,
        U = HTTP_PLAIN,
};

const uint8_t http_class[256] = {
        ['\t'] = V,
        [' '] = V,
        ['!'] = P | T | H,
        ['"'] = P,
        ['#'] = V | T,
        ['$'] = P | T | H,
        ['%'] = P | T,
        ['&'] = P | T | H,
        ['\''] = P | T | H,
        ['('] = P | H,
        [')'] = P | H,
        ['*'] = P | T | H,
        ['+'] = P | T | H,
        [','] = P | H,
        ['-'] = P | T | H | U,
        ['.'] = P | T | H | U,
        ['/'] = P | U,
        ['0' ... '9'] = P | T | H | U,
        [':'] = P,
        [';'] = P | H,
        ['<'] = P,
        ['='] = P | H,
        ['>'] = P,
        ['?'] = Q,
        ['@'] = P,
        ['A' ... 'Z'] = P | T | H | U,
        ['['] = P,
        ['\\'] = P,
        [']'] = P,
        ['^'] = P | T,
        ['_'] = P | T | H | U,
        ['`'] = P | T,
        ['a' ... 'z'] = P | T | H | U,
        ['{'] = P,
        ['|'] = P | T,
        ['}'] = P,
        ['~'] = P | T | H | U,
        [0x80 ... 0xff] = P,
};

/* Where the element that starts at s.data[0] ends: at the next comma outside quotes. */
static size_t element_end(struct span s)
{
        bool quoted = false;

        for (size_t i = 0; i < s.size; i++) {
                if (s.data[i] == '"')
                        quoted = !quoted;
                else if (quoted && s.data[i] == '\\')
                        i++;
                else if (!quoted && s.data[i] == ',')
                        return i;
        }
        return s.size;
}

bool http_next_element(struct span *rest, struct span *element)
{
        while (rest->size > 0) {
                size_t end = element_end(*rest);
                size_t step = min_of(end + 1, rest->size);

                *element = span_trim((struct span){ rest->data, end });
                rest->data += step;
                rest->size -= step;
                if (element->size > 0)
                        return true;
        }
        return false;
}

/* "[" IPv6 address or IPvFuture "]": by its letters only, nobody resolves it. */
static const char *skip_literal(const char *p, const char *end)
{
        const char *start = ++p;

        while (p < end && (http_is(*p, HTTP_NAME_BYTE) || *p == ':'))
                p++;
        return p > start && p < end && *p == ']' ? p + 1 : NULL;
}

static const char *skip_registered_name(const char *p, const char *end)
{
        for (;;) {
                p = http_skip(p, end, HTTP_NAME_BYTE);
                if (end - p < 3 || *p != '%' || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
                        return p;
                p += 3;
        }
}

bool http_valid_authority(struct span authority)
{
        const char *p = authority.data, *end = p + authority.size;

        if (p == end)
                return true;
        p = *p == '[' ? skip_literal(p, end) : skip_registered_name(p, end);
        if (!p || p == end)
                return p != NULL;
        if (*p != ':' || end - p > (ptrdiff_t)sizeof(":65535") - 1)
                return false;
        while (++p < end && http_is_digit(*p))
                ;
        return p == end;
}
