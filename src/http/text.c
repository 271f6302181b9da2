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

/* ---- escaping ---- */

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

void http_escape_html(struct text *out, struct span s)
{
        text_escape(out, s, utf8_size, html_escape);
}

void http_escape_json(struct text *out, struct span s)
{
        text_escape(out, s, utf8_size, json_escape);
}
