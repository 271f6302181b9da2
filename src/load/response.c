/* The parser of responses, RFC 9112.
 *
 *      STATUS --line--> FIELDS --empty line--> LENGTH, CHUNKED, TO_END, or DONE when there is no body
 *         ^               |                       '--------'---> DONE
 *         '-----1xx-------'
 *
 * Heads are read byte by byte into a line of fixed length. What is longer is cut, which matters only for the few
 * fields that are looked at. A server's answers are as little to be trusted as a client's requests: whatever could be
 * understood in two ways is malformed.
 */
#include "load/load_priv.h"

#include <errno.h>

enum state { STATUS, FIELDS, LENGTH, CHUNKED, TO_END, DONE, BROKEN };

void load_response_init(struct load_response *response)
{
        memset(response, 0, offsetof(struct load_response, line));
        response->state = STATUS;
}

bool load_response_has_head(const struct load_response *response)
{
        return response->state > FIELDS && response->state != BROKEN;
}

bool load_response_ends_here(const struct load_response *response)
{
        return response->state == TO_END;
}

/* ---- words and numbers ---- */

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Digits at the start of *rest; at least one, and below 2^63. */
static bool take_number(struct span *rest, uint64_t *value)
{
        size_t n = 0;
        uint64_t sum = 0;
        for (; n < rest->size && is_digit(rest->data[n]); n++) {
                unsigned digit = (unsigned)(rest->data[n] - '0');
                if (sum > ((uint64_t)INT64_MAX - digit) / 10)
                        return false;
                sum = sum * 10 + digit;
        }
        *value = sum;
        *rest = (struct span){ rest->data + n, rest->size - n };
        return n > 0;
}

static bool take_char(struct span *rest, char c)
{
        if (rest->size == 0 || rest->data[0] != c)
                return false;
        *rest = (struct span){ rest->data + 1, rest->size - 1 };
        return true;
}

/* ---- the status line: HTTP/1.x SP 3DIGIT [SP reason] ---- */

static bool read_status(struct load_response *response, struct span line)
{
        const char *at = line.data;
        if (line.size < 12 || memcmp(at, "HTTP/1.", 7) != 0 || !is_digit(at[7]) || at[8] != ' ')
                return false;
        if (!is_digit(at[9]) || !is_digit(at[10]) || !is_digit(at[11]) || (line.size > 12 && at[12] != ' '))
                return false;
        response->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
        response->old = at[7] == '0';
        response->keep_alive = !response->old;
        response->state = FIELDS;
        return response->status >= 100 && response->status < LOAD_STATUSES && response->status != 101;
}

/* ---- fields ---- */

static bool read_length(struct load_response *response, struct span value)
{
        uint64_t length;
        if (!take_number(&value, &length) || value.size > 0)
                return false;
        if (response->has_length && response->content_length != length)
                return false;
        response->has_length = true;
        response->content_length = length;
        return true;
}

static bool read_coding(struct load_response *response, struct span value)
{
        bool first = !response->is_chunked;
        response->is_chunked = true;
        return first && !response->old && span_equal_nocase(value, SPAN("chunked"));
}

static bool read_connection(struct load_response *response, struct span value)
{
        while (value.size > 0) {
                struct span word = span_trim(span_cut(&value, ','));
                if (span_equal_nocase(word, SPAN("close")))
                        response->keep_alive = false;
                else if (response->old && span_equal_nocase(word, SPAN("keep-alive")))
                        response->keep_alive = true;
        }
        return true;
}

/* "bytes 0-99/1234"; with "*" in either place nothing is learned. */
static bool read_range(struct load_response *response, struct span value)
{
        struct span unit = span_cut(&value, ' ');
        response->has_range = span_equal_nocase(unit, SPAN("bytes")) && take_number(&value, &response->range_first) &&
                              take_char(&value, '-') && take_number(&value, &response->range_last) &&
                              take_char(&value, '/') && take_number(&value, &response->range_size) && value.size == 0 &&
                              response->range_first <= response->range_last &&
                              response->range_last < response->range_size;
        return true;
}

static const struct field {
        const char *name;
        bool (*read)(struct load_response *response, struct span value);
} fields[] = {
        { "content-length", read_length },
        { "transfer-encoding", read_coding },
        { "connection", read_connection },
        { "content-range", read_range },
};

static bool read_field(struct load_response *response, struct span line)
{
        size_t n = 0;
        while (n < line.size && line.data[n] != ':' && line.data[n] != ' ' && line.data[n] != '\t')
                n++;
        if (n == 0 || (n < line.size && line.data[n] != ':') || (n == line.size && !response->cut))
                return false;
        struct span name = { line.data, n };
        for (unsigned i = 0; i < array_count(fields); i++) {
                if (!span_equal_nocase(name, span_of(fields[i].name)))
                        continue;
                return !response->cut &&
                       fields[i].read(response, span_trim((struct span){ line.data + n + 1, line.size - n - 1 }));
        }
        return true;
}

/* ---- the end of the head: where does the body end? RFC 9112 6.3 ---- */

static bool begin_body(struct load_response *response)
{
        if (response->status < 200) { /* the final one follows */
                uint32_t bytes = response->head_bytes;
                load_response_init(response);
                response->head_bytes = bytes;
                return true;
        }
        if (response->is_chunked && response->has_length)
                return false;
        bool none = response->status == 204 || response->status == 304;
        if (none || (response->has_length && response->content_length == 0 && !response->is_chunked)) {
                response->state = DONE;
        } else if (response->is_chunked) {
                http_chunked_init(&response->chunked);
                response->state = CHUNKED;
        } else if (response->has_length) {
                response->left = response->content_length;
                response->state = LENGTH;
        } else {
                response->keep_alive = false;
                response->state = TO_END;
        }
        return true;
}

static bool read_line(struct load_response *response)
{
        struct span line = { response->line, response->line_used };
        bool good;
        if (response->state == STATUS)
                good = read_status(response, line);
        else if (line.size == 0)
                good = begin_body(response);
        else
                good = read_field(response, line);
        response->line_used = 0;
        response->cut = false;
        return good;
}

static bool is_control(char c)
{
        return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* A line ends in CRLF; neither stands anywhere else. */
static bool take_head_byte(struct load_response *response, char c)
{
        char last = response->last;
        response->last = c;
        if (++response->head_bytes > LOAD_HEAD_BYTES || (last == '\r') != (c == '\n'))
                return false;
        if (c == '\n')
                return read_line(response);
        if (c == '\r')
                return true;
        if (response->line_used < LOAD_LINE_BYTES)
                response->line[response->line_used++] = c;
        else
                response->cut = true;
        return !is_control(c);
}

/* ---- bodies ---- */

static struct span take_length(struct load_response *response, const char *data, size_t size)
{
        size_t n = (size_t)min_of(response->left, (uint64_t)size);
        response->left -= n;
        if (response->left == 0)
                response->state = DONE;
        return (struct span){ data, n };
}

static size_t take_chunked(struct load_response *response, const char *data, size_t size, struct span *body)
{
        size_t used;
        int result = http_chunked_take(&response->chunked, data, size, &used, body);
        if (result != 0)
                response->state = result > 0 ? DONE : BROKEN;
        return used;
}

static size_t take_body(struct load_response *response, const char *data, size_t size, struct span *body)
{
        size_t used;
        switch (response->state) {
        case LENGTH:
                *body = take_length(response, data, size);
                used = body->size;
                break;
        case CHUNKED:
                used = take_chunked(response, data, size, body);
                break;
        default:
                *body = (struct span){ data, size };
                used = size;
        }
        response->body_bytes += body->size;
        return used;
}

int load_response_take(struct load_response *response, const char *data, size_t size, size_t *used, struct span *body)
{
        size_t at = 0;
        *body = (struct span){ data, 0 };
        while (at < size && response->state <= FIELDS)
                if (!take_head_byte(response, data[at++]))
                        response->state = BROKEN;
        if (at < size && response->state < DONE)
                at += take_body(response, data + at, size - at, body);
        *used = at;
        if (response->state == BROKEN)
                return -EBADMSG;
        return response->state == DONE;
}
