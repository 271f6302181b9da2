/* The request head.
 *
 * A head that has arrived whole, the usual case, is read in one pass: request line, field lines,
 * empty line. Reading a line knows nothing of why it failed; when it does, judge_line() looks at the
 * line again and says whether it is incomplete, too long, malformed in its bytes, or whole - and then
 * the failure stands. So a line is only ever judged whole, and the answer depends on the bytes that
 * have arrived and not on how they were cut into pieces. What fields mean together (Host, the body's
 * framing) is judged at the empty line for the same reason; framing.c does that.
 *
 * A head that drips in is not read again from its start each time. `*scanned` keeps three numbers:
 *
 *      31         24 23         16 15                     0
 *      +------------+-------------+------------------------+
 *      | clean/256  | lines seen  | start of current line  |
 *      +------------+-------------+------------------------+
 *
 * and the next call takes up at the current line, behind the bytes known to be clean. Rounding those
 * down makes a call look at 255 bytes again at most. When the last line has come, or a fault, the
 * head is read once more from the start to fill in `head`: every byte is seen a bounded number of
 * times, however small the pieces.
 */
#include "http/http_priv.h"

enum { MAX_EMPTY_LINES = 2, CLEAN_UNIT = 256 };

struct reader {
        const char *data;
        const char *end;     /* of the bytes that may be looked at */
        const char *line;    /* start of the current line */
        uint32_t clean;      /* so many bytes of it hold no control byte */
        uint32_t line_bytes; /* the limit */
        uint32_t lines;      /* seen whole: the request line and fields */
};

/* ---- finding bytes ---- */

/* Eight bytes as a number with the first byte lowest. */
static inline uint64_t load_word(const char *p)
{
        uint64_t word;

        memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        return word;
}

/* The top bit of each byte that is a control byte. A borrow can mark bytes above a marked one
 * wrongly, never below: the lowest mark is right. */
static inline uint64_t control_marks(uint64_t word)
{
        const uint64_t ones = 0x0101010101010101, tops = ones << 7;
        uint64_t delete = word ^ (ones * 0x7f);

        return (((word - ones * 0x20) & ~word) | ((delete - ones) & ~delete)) & tops;
}

/* The first control byte other than HTAB, or end. */
static inline const char *find_control(const char *p, const char *end)
{
        for (;;) {
                uint64_t marks = 0;

                while (end - p >= 8 && (marks = control_marks(load_word(p))) == 0)
                        p += 8;
                if (marks != 0)
                        p += __builtin_ctzll(marks) / 8;
                else
                        p = http_skip(p, end, HTTP_TEXT);
                if (p == end || *p != '\t')
                        return p;
                p++;
        }
}

/* ---- the request line ---- */

static const char *const methods[HTTP_METHODS] = {
        [HTTP_GET] = "GET",       [HTTP_HEAD] = "HEAD",   [HTTP_OPTIONS] = "OPTIONS",     [HTTP_PROPFIND] = "PROPFIND",
        [HTTP_PUT] = "PUT",       [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",       [HTTP_MKCOL] = "MKCOL",
        [HTTP_COPY] = "COPY",     [HTTP_MOVE] = "MOVE",   [HTTP_PROPPATCH] = "PROPPATCH", [HTTP_LOCK] = "LOCK",
        [HTTP_UNLOCK] = "UNLOCK", [HTTP_LINK] = "LINK",   [HTTP_METHOD_OTHER] = "other",
};

const char *http_method_name(enum http_method method)
{
        return methods[method];
}

static enum http_method method_of(struct span name)
{
        unsigned method = HTTP_GET;
        while (method < HTTP_METHOD_OTHER && !span_equal(name, span_of(methods[method])))
                method++;
        return (enum http_method)method;
}

/* http://authority/path?query. The authority is checked and otherwise ignored: one server, one name.
 * Without a path it names the root, or for OPTIONS the server itself (RFC 9112 3.2.4). */
static bool read_absolute_form(struct http_head *head)
{
        struct span rest = head->target;
        struct span scheme = span_cut(&rest, ':');
        size_t authority = 2;

        if (!span_equal_nocase(scheme, SPAN("http")) && !span_equal_nocase(scheme, SPAN("https")))
                return false;
        if (rest.size < 3 || rest.data[0] != '/' || rest.data[1] != '/')
                return false;
        while (authority < rest.size && rest.data[authority] != '/' && rest.data[authority] != '?')
                authority++;
        if (authority == 2 || rest.data[2] == ':')
                return false;
        if (!http_valid_authority((struct span){ rest.data + 2, authority - 2 }))
                return false;
        rest.data += authority;
        rest.size -= authority;
        if (rest.size == 0) {
                head->path = head->method == HTTP_OPTIONS ? SPAN("*") : SPAN("/");
                return true;
        }
        head->path = span_cut(&rest, '?');
        head->query = rest;
        if (head->path.size == 0)
                head->path = SPAN("/");
        return true;
}

/* Splits head->target; `path_end` is where its first '?' stands, or its end. */
static bool read_target(struct http_head *head, const char *path_end)
{
        const char *end = head->target.data + head->target.size;

        if (head->target.data[0] == '/') {
                head->path = (struct span){ head->target.data, (size_t)(path_end - head->target.data) };
                if (path_end < end)
                        head->query = (struct span){ path_end + 1, (size_t)(end - path_end - 1) };
                return true;
        }
        if (head->method == HTTP_OPTIONS && span_equal(head->target, SPAN("*"))) {
                head->path = head->target;
                return true;
        }
        return read_absolute_form(head);
}

static const char *read_version(struct http_head *head, const char *p, const char *end, int *fault)
{
        const size_t size = sizeof("HTTP/1.1\r\n") - 1;

        if ((size_t)(end - p) < size || memcmp(p, "HTTP/", 5) != 0 || memcmp(p + 8, "\r\n", 2) != 0)
                return NULL;
        if (!http_is_digit(p[5]) || p[6] != '.' || !http_is_digit(p[7]))
                return NULL;
        if (p[5] != '1' || p[7] > '1') {
                *fault = -505;
                return NULL;
        }
        head->minor = (uint8_t)(p[7] - '0');
        return p + size;
}

/* Where the next line starts; NULL when this one is incomplete or has a fault. */
static const char *read_request_line(struct http_head *head, const char *p, const char *end, int *fault)
{
        const char *start = p, *path_end;

        p = http_skip(p, end, HTTP_TOKEN);
        if (p == start || p == end || *p != ' ')
                return NULL;
        head->method_name = (struct span){ start, (size_t)(p - start) };
        head->method = method_of(head->method_name);

        start = ++p;
        path_end = http_skip(p, end, HTTP_PATH_BYTE);
        p = http_skip(path_end, end, HTTP_QUERY_BYTE);
        if (p == start || p == end || *p != ' ')
                return NULL;
        head->target = (struct span){ start, (size_t)(p - start) };

        p = read_version(head, p + 1, end, fault);
        if (!p || !read_target(head, path_end))
                return NULL;
        return p;
}

/* ---- field lines ---- */

/* Lower case. */
static const char names[HTTP_FIELD_NAMES][20] = {
        [HTTP_ACCEPT] = "accept",
        [HTTP_ACCEPT_ENCODING] = "accept-encoding",
        [HTTP_AUTHORIZATION] = "authorization",
        [HTTP_BERTH_LINKS] = "berth-links",
        [HTTP_BERTH_MODE] = "berth-mode",
        [HTTP_BERTH_MTIME] = "berth-mtime",
        [HTTP_BERTH_OVERWRITE] = "berth-overwrite",
        [HTTP_CONNECTION] = "connection",
        [HTTP_CONTENT_DIGEST] = "content-digest",
        [HTTP_CONTENT_ENCODING] = "content-encoding",
        [HTTP_CONTENT_LENGTH] = "content-length",
        [HTTP_CONTENT_RANGE] = "content-range",
        [HTTP_CONTENT_TYPE] = "content-type",
        [HTTP_DEPTH] = "depth",
        [HTTP_DESTINATION] = "destination",
        [HTTP_EXPECT] = "expect",
        [HTTP_HOST] = "host",
        [HTTP_IF] = "if",
        [HTTP_IF_MATCH] = "if-match",
        [HTTP_IF_MODIFIED_SINCE] = "if-modified-since",
        [HTTP_IF_NONE_MATCH] = "if-none-match",
        [HTTP_IF_RANGE] = "if-range",
        [HTTP_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
        [HTTP_LOCK_TOKEN] = "lock-token",
        [HTTP_OC_CHECKSUM] = "oc-checksum",
        [HTTP_OVERWRITE] = "overwrite",
        [HTTP_RANGE] = "range",
        [HTTP_REFERER] = "referer",
        [HTTP_REPR_DIGEST] = "repr-digest",
        [HTTP_SYNC] = "sync",
        [HTTP_TIMEOUT] = "timeout",
        [HTTP_TRANSFER_ENCODING] = "transfer-encoding",
        [HTTP_USER_AGENT] = "user-agent",
        [HTTP_WANT_REPR_DIGEST] = "want-repr-digest",
        [HTTP_X_FORWARDED_HOST] = "x-forwarded-host",
        [HTTP_X_FORWARDED_PROTO] = "x-forwarded-proto",
        [HTTP_X_OC_MTIME] = "x-oc-mtime",
        [HTTP_X_UPDATE_RANGE] = "x-update-range",
};

/* At most five names are of one length. A length without names leads to HTTP_ACCEPT, which is not of that length. */
static const uint8_t names_by_size[20][5] = {
        [2] = { HTTP_IF },
        [4] = { HTTP_HOST, HTTP_SYNC },
        [5] = { HTTP_DEPTH, HTTP_RANGE },
        [6] = { HTTP_ACCEPT, HTTP_EXPECT },
        [7] = { HTTP_REFERER, HTTP_TIMEOUT },
        [8] = { HTTP_IF_MATCH, HTTP_IF_RANGE },
        [9] = { HTTP_OVERWRITE },
        [10] = { HTTP_CONNECTION, HTTP_LOCK_TOKEN, HTTP_USER_AGENT, HTTP_X_OC_MTIME, HTTP_BERTH_MODE },
        [11] = { HTTP_DESTINATION, HTTP_OC_CHECKSUM, HTTP_REPR_DIGEST, HTTP_BERTH_LINKS, HTTP_BERTH_MTIME },
        [12] = { HTTP_CONTENT_TYPE },
        [13] = { HTTP_AUTHORIZATION, HTTP_CONTENT_RANGE, HTTP_IF_NONE_MATCH },
        [14] = { HTTP_CONTENT_DIGEST, HTTP_CONTENT_LENGTH, HTTP_X_UPDATE_RANGE },
        [15] = { HTTP_ACCEPT_ENCODING, HTTP_BERTH_OVERWRITE },
        [16] = { HTTP_CONTENT_ENCODING, HTTP_WANT_REPR_DIGEST, HTTP_X_FORWARDED_HOST },
        [17] = { HTTP_IF_MODIFIED_SINCE, HTTP_TRANSFER_ENCODING, HTTP_X_FORWARDED_PROTO },
        [19] = { HTTP_IF_UNMODIFIED_SINCE },
};

/* Setting bit 5 folds case: of the bytes a token may hold only the two cases of a letter become that
 * letter, only '-' becomes '-', and none becomes the NUL behind a shorter name. */
static inline bool is_named(enum http_field_name name, const char *text, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if ((text[i] | 0x20) != names[name][i])
                        return false;
        }
        return names[name][size] == '\0';
}

static inline enum http_field_name name_of(const char *text, size_t size)
{
        if (size >= array_count(names_by_size)) /* which is also the room for a name in names[] */
                return HTTP_FIELD_NAMES;
        for (unsigned i = 0; i < array_count(names_by_size[size]); i++) {
                if (is_named(names_by_size[size][i], text, size))
                        return names_by_size[size][i];
        }
        return HTTP_FIELD_NAMES;
}

static void note_field(struct http_head *head, enum http_field_name name, const char *value, const char *end)
{
        unsigned index = head->field_count++;

        ensure(index < HTTP_MAX_FIELDS);
        head->fields[index] = (struct http_field){
                .value_at = (uint16_t)(value - head->data),
                .value_size = (uint16_t)(end - value),
                .name = (uint8_t)name,
        };
        if (head->first[name] == 0) {
                head->first[name] = (uint8_t)(index + 1);
                return;
        }
        unsigned last = head->first[name] - 1u;
        while (head->fields[last].next != 0)
                last = head->fields[last].next;
        head->fields[last].next = (uint8_t)index;
}

static inline bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

/* Where the next line starts; NULL when this one is incomplete or has a fault. A line that starts
 * with white space (obs-fold) has an empty name. */
static const char *read_field(struct http_head *head, const char *p, const char *end)
{
        const char *start = p, *value, *value_end;
        enum http_field_name name;

        p = http_skip(p, end, HTTP_TOKEN);
        if (p == start || p == end || *p != ':')
                return NULL;
        name = name_of(start, (size_t)(p - start));

        for (p++; p < end && is_blank(*p); p++)
                ;
        value = p;
        value_end = p = find_control(p, end);
        if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
                return NULL;
        if (name == HTTP_FIELD_NAMES)
                return p + 2;
        while (value_end > value && is_blank(value_end[-1]))
                value_end--;
        note_field(head, name, value, value_end);
        return p + 2;
}

/* ---- lines ---- */

/* The current line: 0 incomplete, 1 whole and not too long, or a fault that needs no more bytes. */
static int judge_line(struct reader *reader)
{
        const char *p = find_control(reader->line + reader->clean, reader->end);

        reader->clean = (uint32_t)(p - reader->line);
        if (reader->clean > reader->line_bytes)
                return reader->lines == 0 ? -414 : -431;
        if (p == reader->end || (*p == '\r' && p + 1 == reader->end))
                return 0;
        return p[0] == '\r' && p[1] == '\n' ? 1 : -400;
}

static inline bool at_empty_line(const struct reader *reader)
{
        return reader->end - reader->line >= 2 && reader->line[0] == '\r' && reader->line[1] == '\n';
}

/* Reads whole lines into `head`: 1 when the empty line was the last, 0 when bytes ran out, or the fault. */
static int read_lines(struct http_head *head, struct reader *reader)
{
        for (;;) {
                const char *next = NULL;
                int fault = -400;

                if (reader->lines == 0 && at_empty_line(reader) && reader->line - reader->data < 2 * MAX_EMPTY_LINES) {
                        reader->line += 2;
                        continue;
                }
                if (reader->lines == 0)
                        next = read_request_line(head, reader->line, reader->end, &fault);
                else if (at_empty_line(reader))
                        break;
                else if (reader->lines <= HTTP_MAX_FIELDS)
                        next = read_field(head, reader->line, reader->end);
                else
                        fault = -431;

                if (!next || next - reader->line - 2 > reader->line_bytes) {
                        int verdict = judge_line(reader);
                        return verdict == 1 ? fault : verdict;
                }
                reader->line = next;
                reader->lines++;
        }
        reader->line += 2;
        return 1;
}

/* Field by field: gcc clears a block of this size with "rep stos", which takes longer than reading a short line. */
static void init_head(struct http_head *head, const char *data)
{
        const struct span none = { NULL, 0 };

        head->data = data;
        head->size = 0;
        head->method = HTTP_METHOD_OTHER;
        head->method_name = head->target = head->path = head->query = none;
        head->minor = 0;
        head->keep_alive = head->chunked = head->has_length = head->expect_continue = false;
        head->content_length = 0;
        memset(head->first, 0, sizeof(head->first));
        head->field_count = 0;
}

/* Takes up a dripping head where the last call left it. The result is that of read_lines(). */
static int resume(struct http_head *head, struct reader *reader, uint32_t scanned)
{
        ensure((scanned & 0xffff) <= (size_t)(reader->end - reader->data));
        reader->line = reader->data + (scanned & 0xffff);
        reader->lines = scanned >> 16 & 0xff;
        reader->clean = (scanned >> 24) * CLEAN_UNIT;
        ensure(reader->clean <= reader->end - reader->line);

        int verdict = judge_line(reader);
        if (verdict != 1)
                return verdict;
        reader->clean = 0;
        return read_lines(head, reader);
}

static uint32_t remember(const struct reader *reader)
{
        return (uint32_t)(reader->line - reader->data) | reader->lines << 16 | reader->clean / CLEAN_UNIT << 24;
}

int http_parse_head(struct http_head *head, const char *data, size_t size, const struct http_limits *limits,
                    uint32_t *scanned)
{
        ensure(limits->head_bytes <= UINT16_MAX);
        init_head(head, data);
        if (size == 0)
                return 0;
        const struct reader start = {
                .data = data,
                .line = data,
                .end = data + min_of(size, limits->head_bytes),
                .line_bytes = limits->line_bytes,
        };
        struct reader reader = start;
        int result = 1;

        if (*scanned != 0) {
                result = resume(head, &reader, *scanned);
                if (result != 0) {
                        init_head(head, data);
                        reader = start;
                }
        }
        if (result != 0)
                result = read_lines(head, &reader);
        *scanned = remember(&reader);

        if (result == 0)
                return size >= limits->head_bytes ? -431 : 0;
        if (result > 0)
                result = http_understand_head(head);
        if (result < 0)
                return result;
        head->size = (uint32_t)(reader.line - data);
        return (int)head->size;
}

/* ---- fields of a parsed head ---- */

static struct span value_of(const struct http_head *head, unsigned index)
{
        const struct http_field *field = &head->fields[index];

        return (struct span){ head->data + field->value_at, field->value_size };
}

struct span http_field(const struct http_head *head, enum http_field_name name)
{
        ensure(name < HTTP_FIELD_NAMES);
        if (head->first[name] == 0)
                return (struct span){ NULL, 0 };
        return value_of(head, head->first[name] - 1u);
}

/* *index is 1 + the index of the field given last. At the end it stays, so that the end stays the end. */
bool http_field_each(const struct http_head *head, enum http_field_name name, unsigned *index, struct span *value)
{
        unsigned at;

        ensure(name < HTTP_FIELD_NAMES && *index <= head->field_count);
        if (*index == 0)
                at = head->first[name];
        else
                at = head->fields[*index - 1].next == 0 ? 0 : head->fields[*index - 1].next + 1u;
        if (at == 0)
                return false;
        *value = value_of(head, at - 1);
        *index = at;
        return true;
}
