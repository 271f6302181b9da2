/* http: HTTP/1.1 messages as values. Bytes in, values out; no I/O, no allocation, no locale.
 *
 * A request head is parsed where it lies: the fields of struct http_head point into the caller's
 * bytes, which must stay unchanged as long as the head is used. Everything here is thread-safe
 * (no global state) and follows RFC 9110 (semantics) and RFC 9112 (HTTP/1.1 messages).
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"

/* ---- the request head (head.c) ---- */

enum http_method {
        HTTP_GET,
        HTTP_HEAD,
        HTTP_OPTIONS,
        HTTP_PROPFIND,
        HTTP_PUT, /* from here on they change something */
        HTTP_PATCH,
        HTTP_DELETE,
        HTTP_MKCOL,
        HTTP_COPY,
        HTTP_MOVE,
        HTTP_PROPPATCH,
        HTTP_LOCK,
        HTTP_UNLOCK,
        HTTP_LINK,
        HTTP_METHOD_OTHER, /* none that the server knows */
        HTTP_METHODS       /* how many */
};

/* "GET"; "other" for HTTP_METHOD_OTHER. */
const char *http_method_name(enum http_method method);

/* Fields the server looks at; every other field is checked for form and then only counted. */
enum http_field_name {
        HTTP_ACCEPT,
        HTTP_ACCEPT_ENCODING,
        HTTP_AUTHORIZATION,
        HTTP_BERTH_LINKS,
        HTTP_BERTH_MODE,
        HTTP_BERTH_MTIME,
        HTTP_BERTH_OVERWRITE,
        HTTP_CONNECTION,
        HTTP_CONTENT_DIGEST,
        HTTP_CONTENT_ENCODING,
        HTTP_CONTENT_LENGTH,
        HTTP_CONTENT_RANGE,
        HTTP_CONTENT_TYPE,
        HTTP_DEPTH,
        HTTP_DESTINATION,
        HTTP_EXPECT,
        HTTP_HOST,
        HTTP_IF,
        HTTP_IF_MATCH,
        HTTP_IF_MODIFIED_SINCE,
        HTTP_IF_NONE_MATCH,
        HTTP_IF_RANGE,
        HTTP_IF_UNMODIFIED_SINCE,
        HTTP_LOCK_TOKEN,
        HTTP_OC_CHECKSUM,
        HTTP_OVERWRITE,
        HTTP_RANGE,
        HTTP_REFERER,
        HTTP_REPR_DIGEST,
        HTTP_SYNC,
        HTTP_TIMEOUT,
        HTTP_TRANSFER_ENCODING,
        HTTP_USER_AGENT,
        HTTP_WANT_REPR_DIGEST,
        HTTP_X_FORWARDED_HOST,
        HTTP_X_FORWARDED_PROTO,
        HTTP_X_OC_MTIME,
        HTTP_X_UPDATE_RANGE,
        HTTP_FIELD_NAMES /* how many; also: "none of these" */
};

enum { HTTP_MAX_FIELDS = 100 };

struct http_field {
        uint16_t value_at, value_size; /* from the start of the head; trimmed of OWS */
        uint8_t name;                  /* enum http_field_name */
        uint8_t next;                  /* index of the next field of the same name, 0: none */
};

struct http_limits {
        uint32_t line_bytes; /* request line: past it 414; a field line: past it 431 */
        uint32_t head_bytes; /* whole head: past it 431; at most 65,535 */
};

struct http_head {
        const char *data; /* where the head starts */
        uint32_t size;    /* bytes of the head, the empty line included */
        enum http_method method;
        struct span method_name;
        struct span target; /* as it stood in the request line */
        struct span path;   /* still percent-encoded, starts with '/', or "*" for OPTIONS * */
        struct span query;  /* behind '?', data == NULL: none */
        uint8_t minor;      /* HTTP/1.minor: 0 or 1 */
        bool keep_alive;    /* RFC 9112 9.3 */
        bool chunked;       /* body in chunks */
        bool has_length;
        bool expect_continue;
        uint64_t content_length;         /* 0 when there is none */
        uint8_t first[HTTP_FIELD_NAMES]; /* index into fields + 1 of the first of that name, 0: absent */
        uint8_t field_count;             /* of fields[] used (known names only) */
        struct http_field fields[HTTP_MAX_FIELDS];
};

/* Parses one request head from data[0..size).
 *   > 0   complete: the head's size in bytes, same as head->size
 *   0     more bytes are needed (never once a limit is passed)
 *   < 0   minus the HTTP status to answer before closing: -400 -414 -417 -431 -501 -505
 * `*scanned` starts at 0 and is the parser's memory between calls on the same growing bytes, so
 * that a head which drips in costs O(n) and not O(n^2); after a move of the bytes it stays valid.
 * Leading empty lines (RFC 9112 2.2: at least one) are skipped, at most two, and count as part of size.
 * 400: malformed line, bare CR or LF-only garbage, NUL or control bytes, obs-fold, white space before
 * the colon, empty or bad field name, two Content-Lengths (even if equal), a Content-Length that is no
 * number below 2^63, Content-Length with Transfer-Encoding, Transfer-Encoding in 1.0, a missing Host in 1.1,
 * a double or malformed one in either (an empty one is well-formed), a target that is neither origin-form,
 * absolute-form (http/https) nor "*" with OPTIONS, or holds '#'.
 * 501: a transfer coding other than exactly "chunked". 505: a version other than 1.0 and 1.1 (well-formed
 * HTTP/x.y). 417: an expectation other than 100-continue. 431 also past HTTP_MAX_FIELDS fields.
 * A line ends in CRLF; a bare LF is 400. CRLF does not count towards line_bytes. A line is judged when it is
 * whole, what fields mean together when the head is; so the answer depends on the bytes alone and not on the
 * pieces they came in. Only bytes that cannot stand anywhere and limits are noticed earlier.
 * `head` need not be the same one between calls, and says nothing while the answer is 0.
 * On failure `head` is still filled as far as parsed where method/target were seen (for the log):
 * method_name and target may be {NULL, 0}. */
int http_parse_head(struct http_head *head, const char *data, size_t size, const struct http_limits *limits,
                    uint32_t *scanned);

/* The value of the first field of that name; data == NULL when absent. */
struct span http_field(const struct http_head *head, enum http_field_name name);

/* Walks all fields of one name: *index starts at 0; false at the end. */
bool http_field_each(const struct http_head *head, enum http_field_name name, unsigned *index, struct span *value);

/* ---- the chunked coding (chunked.c), RFC 9112 7.1 ---- */

struct http_chunked {
        uint64_t left;       /* data bytes left of the current chunk */
        uint32_t line_bytes; /* length so far of the current size line or of all trailer lines */
        uint8_t state;
};

void http_chunked_init(struct http_chunked *chunked);

/* Takes bytes from data[0..size): *used says how many were consumed, *body which of them (a
 * sub-span, possibly empty) are body data. Call again with the rest until it answers
 *   1  the body and its trailer section are complete (bytes behind *used belong to the next request)
 *   0  go on (with more bytes once *used == size)
 *   -400 malformed: size not hex, overflow of 63 bits, missing CRLF, bare LF, extension or trailer past 8 KiB
 * Not to be called again once it has answered 1; after -400 it answers -400 for ever. */
int http_chunked_take(struct http_chunked *chunked, const char *data, size_t size, size_t *used, struct span *body);

/* ---- dates (date.c), RFC 9110 5.6.7 ---- */

enum { HTTP_DATE_BYTES = 29 };

/* IMF-fixdate, exactly 29 bytes and no NUL: "Sun, 06 Nov 1994 08:49:37 GMT". Years 1 .. 9999; outside: clamped. */
void http_format_date(char out[HTTP_DATE_BYTES], int64_t unix_seconds);

/* All three forms (IMF-fixdate, RFC 850, asctime); two-digit years by the 50-year rule relative to
 * `now`. Strict: anything else is false. */
bool http_parse_date(struct span value, int64_t now, int64_t *unix_seconds);

/* ---- ranges (range.c), RFC 9110 14 ---- */

struct http_range {
        uint64_t first, last; /* both inclusive, last < the size of the representation */
};

enum { HTTP_MAX_RANGES = 64 };

/* Parses a Range field against a representation of `size` bytes, at most INT64_MAX.
 *   > 0   that many ranges, in the order asked
 *   0     ignore the field (another unit, malformed: RFC 9110 14.2 "MUST ignore" / "may ignore"): send 200
 *   -416  well-formed, but no range can be satisfied, or the set is an abuse: more than `max`
 *         (at most HTTP_MAX_RANGES), more than two that overlap, or more than two that together cover more
 *         than the size
 * Unsatisfiable members beside satisfiable ones are dropped. */
int http_parse_range(struct http_range *ranges, unsigned max, struct span value, uint64_t size);

/* ---- conditions (conditions.c), RFC 9110 13.2.2 ---- */

struct http_validator {
        struct span etag; /* strong, with its quotes; empty: nothing is there (a PUT that would create) */
        int64_t modified; /* Last-Modified, unix seconds */
        int64_t now;      /* for two-digit years, and for judging a strong date (13.2.2, 8.8.2.2) */
};

enum http_verdict { HTTP_PROCEED, HTTP_NOT_MODIFIED, HTTP_PRECONDITION_FAILED };

/* Steps 1 to 4 of 13.2.2: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since
 * (GET and HEAD only). Several lines of a list field count as one list. A malformed date is ignored. */
enum http_verdict http_check_conditions(const struct http_head *head, const struct http_validator *validator);

/* Step 5: true when a Range field is to be honoured: no If-Range, or one that matches strongly. */
bool http_check_if_range(const struct http_head *head, const struct http_validator *validator);

/* ---- paths (path.c) ---- */

enum { HTTP_MAX_PATH = 4096 };

/* Percent-decodes an absolute path into out[] (no leading '/', NUL-terminated, "" for the root).
 * Empty and "." segments vanish, a trailing '/' (also from "/." ) is remembered in *folder.
 * Returns the length, or
 *   -400  bad percent-escape, %00, a raw control byte, no leading '/'
 *   -404  a ".." segment in any encoding (nothing outside the root is named), an encoded '/' in a
 *         segment (%2F names no file), or longer than HTTP_MAX_PATH - 1
 * `*hidden` tells whether any segment starts with a dot. Bytes that are not UTF-8 pass unchanged. */
int http_decode_path(char out[HTTP_MAX_PATH], struct span path, bool *folder, bool *hidden);

/* Writes `s` percent-encoded for use in a path in HTML, JSON or a Location field: unreserved characters
 * of RFC 3986 and '/' as they are, all else %XX. */
void http_encode_path(struct text *out, struct span s);

/* ---- query (query.c): what a folder listing is asked for ---- */

enum http_sort { HTTP_SORT_NAME, HTTP_SORT_SIZE, HTTP_SORT_TIME };

struct http_listing_query {
        bool json;           /* ?json, or ?format=json; ?format=html takes it back */
        bool descending;     /* ?order=desc; ?order=asc takes it back */
        enum http_sort sort; /* ?sort=name|size|time */
};

/* Unknown names and values are ignored; later ones win. Never fails. */
void http_parse_listing_query(struct http_listing_query *out, struct span query);

/* ---- negotiation (accept.c) ---- */

/* Bits of content codings, in the server's order of preference among equals: br, zstd, gzip. */
enum { HTTP_BR = 1, HTTP_ZSTD = 2, HTTP_GZIP = 4 };

/* Fills order[] with the codings out of `offered` (bits) that Accept-Encoding takes with q > 0, best
 * first (higher q; among equals br, zstd, gzip), leaving out those less wanted than identity.
 * Returns how many, 0 .. 3. "x-gzip" is gzip. RFC 9110 12.5.3. */
unsigned http_accept_encodings(const struct http_head *head, unsigned offered, unsigned order[3]);

/* True when Accept prefers application/json to text/html (a higher q for it, or it alone is named;
 * a bare wildcard does not, and one with a higher q than JSON's speaks for HTML). RFC 9110 12.5.1. */
bool http_accepts_json(const struct http_head *head);

/* ---- statuses and escaping (text.c) ---- */

/* "Not Found" for 404; "Unknown" for one this program never sends. */
const char *http_reason(int status);

/* HTML text and attribute escaping of < > & " '; bytes that are no valid UTF-8 become U+FFFD. */
void http_escape_html(struct text *out, struct span s);

/* The inside of a JSON string (RFC 8259 7); bytes that are no valid UTF-8 become U+FFFD. Where the text overflows,
 * neither function leaves part of a character or of an escape. */
void http_escape_json(struct text *out, struct span s);

#endif
