/* The fields that WebDAV adds to HTTP, RFC 4918 10, one at a time. */
#include "dav/dav_priv.h"

#define MOST_SECONDS 999999999999 /* past what any file system keeps */

int dav_parse_depth(struct span value, int otherwise)
{
        struct span depth = span_trim(value);

        if (!value.data)
                return otherwise;
        if (span_equal(depth, SPAN("0")))
                return 0;
        if (span_equal(depth, SPAN("1")))
                return 1;
        return span_equal_nocase(depth, SPAN("infinity")) ? DAV_DEPTH_INFINITY : -400;
}

int dav_parse_overwrite(struct span value)
{
        struct span overwrite = span_trim(value);

        if (!value.data || span_equal_nocase(overwrite, SPAN("T")))
                return 1;
        return span_equal_nocase(overwrite, SPAN("F")) ? 0 : -400;
}

/* ---- of the mount ---- */

bool dav_parse_mode(uint32_t *mode, struct span value)
{
        uint32_t bits = 0;

        for (size_t i = 0; i < value.size; i++) {
                if (value.data[i] < '0' || value.data[i] > '7' || bits > 07777 / 8)
                        return false;
                bits = bits * 8 + (uint32_t)(value.data[i] - '0');
        }
        *mode = bits;
        return value.size > 0;
}

bool dav_parse_time(struct timespec *time, struct span value)
{
        bool before = dav_take_word(&value, SPAN("-"));
        long nanoseconds = 0, unit = 100000000;
        uint64_t seconds;

        if (!dav_take_number(&value, &seconds) || seconds > MOST_SECONDS || (before && seconds == 0))
                return false;
        if (value.size > 0 && (!dav_take_word(&value, SPAN(".")) || value.size > 9))
                return false;
        for (; value.size > 0; value.data++, value.size--, unit /= 10) {
                if (!dav_is_digit(value.data[0]))
                        return false;
                nanoseconds += (value.data[0] - '0') * unit;
        }
        *time = (struct timespec){ .tv_sec = before ? -(int64_t)seconds : (int64_t)seconds, .tv_nsec = nanoseconds };
        return true;
}

static void put_padded(struct text *out, uint32_t value, uint32_t base, unsigned digits)
{
        char room[16];

        for (unsigned i = digits; i-- > 0; value /= base)
                room[i] = (char)('0' + value % base);
        text_put(out, (struct span){ room, digits });
}

void dav_put_mode(struct text *out, uint32_t mode)
{
        put_padded(out, mode & 07777, 8, 4);
}

void dav_put_time(struct text *out, const struct timespec *time)
{
        if (time->tv_sec < 0)
                text_char(out, '-');
        text_decimal(out, (uint64_t)(time->tv_sec < 0 ? -time->tv_sec : time->tv_sec));
        text_char(out, '.');
        put_padded(out, (uint32_t)time->tv_nsec, 10, 9);
}

/* ---- Timeout ---- */

static bool parse_time(struct span member, uint64_t *seconds)
{
        *seconds = UINT64_MAX;
        if (span_equal_nocase(member, SPAN("Infinite")))
                return true;
        return dav_take_word(&member, SPAN("Second-")) && dav_take_number(&member, seconds) && member.size == 0;
}

uint32_t dav_parse_timeout(struct span value, uint32_t otherwise, uint32_t most)
{
        uint64_t seconds;

        while (value.data) {
                if (parse_time(span_trim(span_cut(&value, ',')), &seconds))
                        return (uint32_t)min_of(seconds, most);
        }
        return min_of(otherwise, most);
}

struct span dav_parse_lock_token(struct span value)
{
        struct span token = span_trim(value);

        if (token.size >= 2 && token.data[0] == '<' && token.data[token.size - 1] == '>')
                token = (struct span){ token.data + 1, token.size - 2 };
        return dav_is_absolute_uri(token) ? token : (struct span){ NULL, 0 };
}

void dav_format_token(char out[DAV_TOKEN_BYTES], const uint8_t random[16])
{
        struct text text = text_in(out, DAV_TOKEN_BYTES);

        text_put(&text, SPAN("urn:uuid:"));
        for (unsigned i = 0; i < 16; i++) {
                uint8_t byte = random[i];

                if (i == 6)
                        byte = 0x40 | (byte & 0x0f); /* version 4 */
                if (i == 8)
                        byte = 0x80 | (byte & 0x3f); /* variant of RFC 9562 */
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        text_char(&text, '-');
                text_char(&text, "0123456789abcdef"[byte >> 4]);
                text_char(&text, "0123456789abcdef"[byte & 15]);
        }
        ensure(text.used == DAV_TOKEN_BYTES && !text.overflow);
}

/* ---- where a Destination points ---- */

struct authority {
        struct span host;
        uint64_t port; /* 0: a default one */
};

static bool is_host_byte(char c, bool literal)
{
        char letter = (char)(c | 0x20);

        if (c == ':')
                return literal;
        return (letter >= 'a' && letter <= 'z') || dav_is_digit(c) || (c != '\0' && strchr("-._~%!$&'()*+,;=", c));
}

/* "[" literal "]" or a registered name; *rest moves behind it. */
static bool take_host(struct span *rest, struct span *host)
{
        bool literal = rest->size > 0 && rest->data[0] == '[';
        size_t size = literal;

        while (size < rest->size && is_host_byte(rest->data[size], literal))
                size++;
        if (literal && (size == 1 || size == rest->size || rest->data[size++] != ']'))
                return false;
        *host = (struct span){ rest->data, size };
        rest->data += size;
        rest->size -= size;
        return size > 0;
}

/* Both default ports count as none: which of the schemes the client used is not known behind a proxy that ends TLS. */
static bool parse_authority(struct authority *authority, struct span s)
{
        authority->port = 0;
        if (!take_host(&s, &authority->host))
                return false;
        if (s.size == 0 || span_equal(s, SPAN(":")))
                return true;
        if (!dav_take_word(&s, SPAN(":")) || !dav_take_number(&s, &authority->port) || s.size > 0)
                return false;
        if (authority->port == 0 || authority->port > 65535)
                return false;
        if (authority->port == 80 || authority->port == 443)
                authority->port = 0;
        return true;
}

static bool same_authority(const struct authority *asked, struct span host)
{
        struct authority own;

        return parse_authority(&own, span_trim(host)) && own.port == asked->port &&
               span_equal_nocase(own.host, asked->host);
}

/* Of the bytes of a path only those are refused that no URL has; http_decode_path() judges the rest. */
static bool is_well_formed(struct span s)
{
        for (size_t i = 0; i < s.size; i++) {
                if ((unsigned char)s.data[i] <= ' ' || s.data[i] == 0x7f || s.data[i] == '#')
                        return false;
        }
        return s.size > 0;
}

/* The authority of an absolute URI; *rest becomes what follows it, "/" where nothing does. */
static bool take_authority(struct span *rest, struct authority *authority)
{
        struct span s = *rest;

        if (!dav_take_word(&s, SPAN("http://")) && !dav_take_word(&s, SPAN("https://")))
                return false;
        *rest = s;
        while (rest->size > 0 && rest->data[0] != '/' && rest->data[0] != '?') {
                rest->data++;
                rest->size--;
        }
        return parse_authority(authority, (struct span){ s.data, s.size - rest->size });
}

int dav_parse_destination(struct span *path, struct span value, const struct dav_origin *origin, bool strict)
{
        struct span rest = span_trim(value);
        struct authority authority;

        if (!is_well_formed(rest))
                return -400;
        if (rest.data[0] != '/') {
                if (!take_authority(&rest, &authority))
                        return -400;
                if (strict && !same_authority(&authority, origin->host))
                        return -502;
        } else if (rest.size > 1 && rest.data[1] == '/') {
                return -400; /* names a host without a scheme, RFC 3986 4.2 */
        }
        *path = span_cut(&rest, '?');
        if (path->size == 0)
                *path = SPAN("/");
        return 0;
}
