/* The chunked coding, RFC 9112 7.1, one byte at a time but for the data.
 *
 *      chunk-size [ ";" extension ] CRLF data CRLF ... "0" [ ";" extension ] CRLF trailers CRLF
 *
 *      SIZE_FIRST --hex--> SIZE --CR--> SIZE_LF --LF, more than 0--> DATA --> DATA_CR --> DATA_LF --> SIZE_FIRST
 *                           |             ^ |
 *                           ' " ", ";" > EXTENSION
 *                                           ' --LF, 0--> TRAILER --CR--> END_LF --LF--> DONE
 *                                                         |   ^
 *                                                         '-> NAME --":"--> VALUE --CR--> VALUE_LF --LF--> TRAILER
 *
 * What extensions and trailers say is ignored, as RFC 9112 allows, but their form and length are
 * checked: a reader that is lax here can be made to see the end of a body where others do not.
 */
#include "http/http_priv.h"

enum state {
        SIZE_FIRST,
        SIZE,
        EXTENSION_BLANK,
        EXTENSION,
        SIZE_LF,
        DATA,
        DATA_CR,
        DATA_LF,
        TRAILER,
        NAME,
        VALUE,
        VALUE_LF,
        END_LF,
        DONE,
        BROKEN
};

enum { MAX_LINE_BYTES = 8192 };

void http_chunked_init(struct http_chunked *chunked)
{
        *chunked = (struct http_chunked){ .state = SIZE_FIRST };
}

static enum state add_digit(struct http_chunked *chunked, int digit)
{
        if (digit < 0 || chunked->left > (uint64_t)INT64_MAX >> 4)
                return BROKEN;
        chunked->left = chunked->left << 4 | (unsigned)digit;
        return SIZE;
}

/* The byte behind at least one digit. White space is only allowed in front of an extension. */
static enum state after_digits(struct http_chunked *chunked, char c)
{
        switch (c) {
        case '\r':
                return SIZE_LF;
        case ';':
                return EXTENSION;
        case ' ':
        case '\t':
                return EXTENSION_BLANK;
        default:
                return add_digit(chunked, hex_digit(c));
        }
}

static enum state after_size_line(struct http_chunked *chunked)
{
        chunked->line_bytes = 0;
        return chunked->left > 0 ? DATA : TRAILER;
}

static enum state expect(char c, char wanted, enum state next)
{
        return c == wanted ? next : BROKEN;
}

/* Text up to a CR. */
static enum state run(char c, enum state same, enum state behind)
{
        if (c == '\r')
                return behind;
        return http_is(c, HTTP_TEXT) ? same : BROKEN;
}

static enum state take_byte(struct http_chunked *chunked, char c)
{
        switch ((enum state)chunked->state) {
        case SIZE_FIRST:
                chunked->line_bytes = 1; /* this one */
                return add_digit(chunked, hex_digit(c));
        case SIZE:
                return after_digits(chunked, c);
        case EXTENSION_BLANK:
                return c == ' ' || c == '\t' ? EXTENSION_BLANK : expect(c, ';', EXTENSION);
        case EXTENSION:
                return run(c, EXTENSION, SIZE_LF);
        case SIZE_LF:
                return c == '\n' ? after_size_line(chunked) : BROKEN;
        case DATA_CR:
                return expect(c, '\r', DATA_LF);
        case DATA_LF:
                return expect(c, '\n', SIZE_FIRST);
        case TRAILER:
                return c == '\r' ? END_LF : http_is(c, HTTP_TOKEN) ? NAME : BROKEN;
        case NAME:
                return http_is(c, HTTP_TOKEN) ? NAME : expect(c, ':', VALUE);
        case VALUE:
                return run(c, VALUE, VALUE_LF);
        case VALUE_LF:
                return expect(c, '\n', TRAILER);
        case END_LF:
                return expect(c, '\n', DONE);
        case DATA:
        case DONE:
        case BROKEN:
                break;
        }
        return BROKEN;
}

static struct span take_data(struct http_chunked *chunked, const char *data, size_t size)
{
        size_t taken = (size_t)min_of(chunked->left, (uint64_t)size);

        chunked->left -= taken;
        if (chunked->left == 0)
                chunked->state = DATA_CR;
        return (struct span){ data, taken };
}

int http_chunked_take(struct http_chunked *chunked, const char *data, size_t size, size_t *used, struct span *body)
{
        size_t at = 0;

        ensure(chunked->state != DONE);
        *body = (struct span){ data, 0 };
        while (at < size && chunked->state < DONE) {
                if (chunked->state == DATA) {
                        if (body->size > 0)
                                break; /* one run of data a call */
                        *body = take_data(chunked, data + at, size - at);
                        at += body->size;
                        continue;
                }
                if (chunked->line_bytes++ >= MAX_LINE_BYTES)
                        chunked->state = BROKEN;
                else
                        chunked->state = (uint8_t)take_byte(chunked, data[at++]);
        }
        *used = at;
        if (chunked->state == BROKEN)
                return -400;
        return chunked->state == DONE ? 1 : 0;
}
