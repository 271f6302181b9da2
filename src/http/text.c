/* Reason phrases, and text made safe to stand in HTML and JSON. */
#include "http/http_priv.h"

static const char *const reasons[] = {
        [100] = "Continue",
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [204] = "No Content",
        [206] = "Partial Content",
        [207] = "Multi-Status",
        [301] = "Moved Permanently",
        [302] = "Found",
        [303] = "See Other",
        [304] = "Not Modified",
        [307] = "Temporary Redirect",
        [308] = "Permanent Redirect",
        [400] = "Bad Request",
        [401] = "Unauthorized",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [416] = "Range Not Satisfiable",
        [417] = "Expectation Failed",
        [421] = "Misdirected Request",
        [422] = "Unprocessable Content",
        [423] = "Locked",
        [424] = "Failed Dependency",
        [426] = "Upgrade Required",
        [428] = "Precondition Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [500] = "Internal Server Error",
        [501] = "Not Implemented",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable",
        [504] = "Gateway Timeout",
        [505] = "HTTP Version Not Supported",
        [507] = "Insufficient Storage",
        [508] = "Loop Detected",
};

const char *http_reason(int status)
{
        if (status < 0 || (size_t)status >= array_count(reasons) || !reasons[status])
                return "Unknown";
        return reasons[status];
}

/* ---- UTF-8, RFC 3629 ---- */

static bool is_tail(char c)
{
        return ((unsigned char)c & 0xc0) == 0x80;
}

/* The second byte decides about overlong forms, surrogates and what lies past U+10FFFF. */
static bool is_second(unsigned char first, unsigned char second)
{
        switch (first) {
        case 0xe0:
                return second >= 0xa0;
        case 0xed:
                return second < 0xa0;
        case 0xf0:
                return second >= 0x90;
        case 0xf4:
                return second < 0x90;
        default:
                return true;
        }
}

/* The size of the sequence s starts with, 0 when it is none. */
static size_t sequence_size(struct span s)
{
        unsigned char first = (unsigned char)s.data[0];
        size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;

        if (size == 0 || size > s.size)
                return 0;
        for (size_t i = 1; i < size; i++) {
                if (!is_tail(s.data[i]))
                        return 0;
        }
        return size == 1 || is_second(first, (unsigned char)s.data[1]) ? size : 0;
}

/* ---- escaping ---- */

/* What stands for an ASCII character, or {NULL, 0}: itself. `room` may be written to. */
typedef struct span escape_fn(char c, char room[6]);

static struct span html_escape(char c, char room[6])
{
        (void)room;
        switch (c) {
        case '<':
                return SPAN("&lt;");
        case '>':
                return SPAN("&gt;");
        case '&':
                return SPAN("&amp;");
        case '"':
                return SPAN("&quot;");
        case '\'':
                return SPAN("&#39;");
        default:
                return (struct span){ NULL, 0 };
        }
}

static struct span json_escape(char c, char room[6])
{
        static const char letters[0x20] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r' };

        if (c == '"' || c == '\\' || (c >= 0 && c < 0x20 && letters[(unsigned char)c])) {
                room[0] = '\\';
                room[1] = c == '"' || c == '\\' ? c : letters[(unsigned char)c];
                return (struct span){ room, 2 };
        }
        if (c < 0 || c >= 0x20)
                return (struct span){ NULL, 0 };
        memcpy(room, "\\u00", 4);
        room[4] = (char)('0' + (c >> 4));
        room[5] = "0123456789abcdef"[c & 15];
        return (struct span){ room, 6 };
}

/* Characters that stay are put one run at a time. */
static void escape(struct text *out, struct span s, escape_fn *escape_one)
{
        const char *run = s.data;
        char room[6];

        while (s.size > 0) {
                size_t size = sequence_size(s);
                struct span other = size == 0 ? SPAN("\xef\xbf\xbd") : escape_one(s.data[0], room);

                if (other.data) {
                        text_put(out, (struct span){ run, (size_t)(s.data - run) });
                        text_put(out, other);
                        size = 1;
                        run = s.data + 1;
                }
                s.data += size;
                s.size -= size;
        }
        text_put(out, (struct span){ run, (size_t)(s.data - run) });
}

void http_escape_html(struct text *out, struct span s)
{
        escape(out, s, html_escape);
}

void http_escape_json(struct text *out, struct span s)
{
        escape(out, s, json_escape);
}
