/* Pages that answer errors: one line of what, one sentence of what now. */
#include "serve/pages.h"
#include "http/http.h"

enum { SHOWN_BYTES = 80 };

static const struct {
        int status;
        const char *sentence;
} sentences[] = {
        { 400, "The server could not make sense of this request." },
        { 401, "This needs a name and a password, or a token." },
        { 403, "This may not be read or changed by you, or not by the server." },
        { 404, "There is no such file or folder here. Check the address, or start at the top folder." },
        { 405, "Files can be read here, not changed." },
        { 408, "The request took too long to arrive. Please try again." },
        { 412, "The file has changed since you last saw it. Load it afresh." },
        { 413, "The request is larger than this server takes." },
        { 414, "The address is longer than this server takes." },
        { 416, "The file has no such part. Load it from its beginning." },
        { 417, "The server cannot meet what the request expects." },
        { 429, "There were too many wrong passwords. Please try again in a moment." },
        { 431, "The request's header fields are larger than this server takes. Clearing cookies may help." },
        { 500, "Something went wrong on the server. Please try again later." },
        { 501, "The server does not know how to do this." },
        { 503, "The server is busy. Please try again in a moment." },
        { 505, "The server speaks HTTP/1.1 and HTTP/1.0." },
};

static const char *sentence_for(int status)
{
        for (size_t i = 0; i < array_count(sentences); i++) {
                if (sentences[i].status == status)
                        return sentences[i].sentence;
        }
        return status < 500 ? "The request cannot be answered." : "Something went wrong on the server.";
}

/* Not within a UTF-8 character. */
static struct span shorten(struct span s)
{
        if (s.size <= SHOWN_BYTES)
                return s;
        s.size = SHOWN_BYTES;
        while (s.size > SHOWN_BYTES - 4 && ((unsigned char)s.data[s.size] & 0xc0) == 0x80)
                s.size--;
        return s;
}

size_t page_error(char *out, size_t size, int status, struct span path_shown)
{
        struct span shown = shorten(path_shown);
        const char *reason = http_reason(status);
        struct text t = text_in(out, size);

        ensure(size >= PAGE_ERROR_BYTES);
        text_format(&t,
                    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">"
                    "<meta name=\"viewport\" content=\"width=device-width\">"
                    "<meta name=\"color-scheme\" content=\"light dark\"><title>%d %s</title>\n"
                    "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:18vh auto;padding:0 1.5rem}"
                    "h1{font-size:1.5rem}code{overflow-wrap:anywhere}</style>\n"
                    "<h1>%d %s</h1>\n<p>%s</p>\n",
                    status, reason, status, reason, sentence_for(status));
        if (shown.data) {
                text_put(&t, SPAN("<p><code>"));
                http_escape_html(&t, shown);
                text_put(&t, shown.size < path_shown.size ? SPAN("…</code></p>\n") : SPAN("</code></p>\n"));
        }
        ensure(!t.overflow && t.used <= PAGE_ERROR_BYTES);
        return t.used;
}
