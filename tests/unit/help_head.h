/* help_head: heads for the tests of what reads their fields. */
#ifndef TESTS_UNIT_HELP_HEAD_H
#define TESTS_UNIT_HELP_HEAD_H

#include "help.h"
#include "http/http.h"

static const struct http_limits roomy = { .line_bytes = 8192, .head_bytes = 65535 };

/* Parses "METHOD / HTTP/1.1", Host and `fields` (each ending in CRLF) into *head. The bytes live until the next
 * call. */
static inline void parse_request(struct http_head *head, const char *method, const char *fields)
{
        static char bytes[65536];
        uint32_t scanned = 0;
        int size = snprintf(bytes, sizeof(bytes), "%s / HTTP/1.1\r\nHost: h\r\n%s\r\n", method, fields);

        assert_int_equal(http_parse_head(head, bytes, (size_t)size, &roomy, &scanned), size);
}

#endif
