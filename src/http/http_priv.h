/* http_priv: what the files of http share with each other. */
#ifndef HTTP_HTTP_PRIV_H
#define HTTP_HTTP_PRIV_H

#include "http/http.h"

/* Classes of bytes, as bits of http_class[]. */
enum {
        HTTP_TOKEN = 1,      /* tchar, RFC 9110 5.6.2 */
        HTTP_PATH_BYTE = 2,  /* may stand in a request target before the '?' */
        HTTP_QUERY_BYTE = 4, /* the same, or '?' itself */
        HTTP_NAME_BYTE = 8,  /* of a registered name in an authority, RFC 3986 3.2.2, but for '%' */
        HTTP_PLAIN = 16,     /* unreserved, RFC 3986 2.3, or '/': stays as it is in an encoded path */
        HTTP_TEXT = 32,      /* HTAB, SP, VCHAR, obs-text: all a field value may hold */
};

extern const uint8_t http_class[256];

static inline bool http_is(char c, unsigned classes)
{
        return (http_class[(unsigned char)c] & classes) != 0;
}

/* The first byte that is of none of the classes, or end. By fours, as one test of the end for each is enough: this
 * is the hottest loop of the head. */
static inline const char *http_skip(const char *p, const char *end, unsigned classes)
{
        for (; end - p >= 4; p += 4) {
                if (!http_is(p[0], classes))
                        return p;
                if (!http_is(p[1], classes))
                        return p + 1;
                if (!http_is(p[2], classes))
                        return p + 2;
                if (!http_is(p[3], classes))
                        return p + 3;
        }
        while (p < end && http_is(*p, classes))
                p++;
        return p;
}

static inline bool http_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Takes the next element of a comma-separated list (RFC 9110 5.6.1) from *rest, trimmed; commas in
 * quoted strings do not separate, empty elements are skipped. False at the end. */
bool http_next_element(struct span *rest, struct span *element);

/* uri-host [ ":" port ], RFC 9110 7.2; an empty host is well-formed. */
bool http_valid_authority(struct span authority);

/* What the fields of a whole head mean together: fills keep_alive, chunked, has_length,
 * content_length and expect_continue. 0, or minus the status that refuses the request. */
int http_understand_head(struct http_head *head);

#endif
