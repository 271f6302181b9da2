/* Requests, and what their answers must be. */
#include "crowd.h"

#include <stdio.h>

enum { FILLER_LINES = 6, FILLER_BYTES = 1500, SHOWN_BYTES = 100 /* more than a page shows of a path */ };

/* ---- putting one together ---- */

static void start_line(struct ask *ask, struct text *out, const char *method, const char *target, unsigned minor)
{
        snprintf(ask->path, sizeof(ask->path), "%.*s", (int)strcspn(target, "?"), target);
        text_format(out, "%s %s HTTP/1.%u\r\nHost: sim\r\n", method, target, minor);
        if (chance(4) == 0)
                text_put(out, SPAN("User-Agent: crowd\r\nReferer: http://sim/\r\n"));
}

static void end_head(struct ask *ask, struct text *out)
{
        if (ask->closes && !ask->until_end)
                text_put(out, SPAN("Connection: close\r\n"));
        text_put(out, SPAN("\r\n"));
        ask->head_bytes = out->used - ask->at;
}

static void simple(struct ask *ask, struct text *out, const char *method, const char *target)
{
        start_line(ask, out, method, target, 1);
        end_head(ask, out);
}

static void target_of(char out[64], const struct site_file *file)
{
        snprintf(out, 64, "/%s", file->path);
}

static void expect_file(struct ask *ask, const struct site_file *file)
{
        ask->status = 200;
        ask->body = BODY_FILE;
        ask->file = file;
}

/* The large ones less often. */
static const struct site_file *some_file(void)
{
        unsigned number = chance(8) ? chance(SITE_LARGE) : SITE_LARGE;
        return &site.files[number];
}

static const struct site_file *long_file(void)
{
        static const unsigned names[] = { SITE_PAGE, SITE_FULL, SITE_OVER, SITE_LONG };
        return &site.files[names[chance(array_count(names))]];
}

static void page(struct ask *ask, int status)
{
        ask->status = status;
        ask->body = BODY_PAGE;
}

/* ---- files ---- */

static void file(struct ask *ask, struct text *out)
{
        char target[64];
        expect_file(ask, some_file());
        ask->head_only = chance(5) == 0;
        target_of(target, ask->file);
        start_line(ask, out, ask->head_only ? "HEAD" : "GET", target, 1);
        if (chance(3) == 0) {
                text_put(out, SPAN("Accept-Encoding: gzip\r\n"));
                if (ask->file == &site.files[SITE_PAGE] && run.server->options.precompressed)
                        ask->variant = &site.files[SITE_PAGE_GZ];
        }
        end_head(ask, out);
}

static void part(struct ask *ask, struct text *out)
{
        char target[64];
        expect_file(ask, long_file());
        uint32_t size = (uint32_t)ask->file->size, first = chance(size), length = 1 + chance(size - first);
        ask->status = 206;
        ask->part_count = 1;
        ask->parts[0] = (struct http_range){ first, first + length - 1 };
        snprintf(ask->room, sizeof(ask->room), "Content-Range: bytes %u-%u/%u", first, first + length - 1, size);
        ask->field = ask->room;
        target_of(target, ask->file);
        start_line(ask, out, "GET", target, 1);
        text_format(out, "Range: bytes=%u-%u\r\n", first, first + length - 1);
        end_head(ask, out);
}

static void parts(struct ask *ask, struct text *out)
{
        char target[64];
        expect_file(ask, long_file());
        ask->status = 206;
        ask->body = BODY_PARTS;
        ask->part_count = 2 + chance(MAX_PARTS - 1);
        uint32_t share = (uint32_t)ask->file->size / ask->part_count;
        target_of(target, ask->file);
        start_line(ask, out, "GET", target, 1);
        text_put(out, SPAN("Range: bytes="));
        for (unsigned i = 0; i < ask->part_count; i++) {
                uint32_t first = i * share + chance(share), last = first + chance((i + 1) * share - first);
                ask->parts[i] = (struct http_range){ first, last };
                text_format(out, "%s%u-%u", i ? "," : "", first, last);
        }
        text_put(out, SPAN("\r\n"));
        end_head(ask, out);
}

static void no_such_part(struct ask *ask, struct text *out)
{
        page(ask, 416);
        ask->field = "Content-Range: bytes */5000";
        start_line(ask, out, "GET", "/page.txt", 1);
        text_put(out, SPAN("Range: bytes=5000-\r\n"));
        end_head(ask, out);
}

static void condition(struct ask *ask, struct text *out)
{
        bool match = chance(2);
        if (match)
                page(ask, 412);
        else
                ask->status = 304;
        start_line(ask, out, "GET", "/long.bin", 1);
        text_put(out, match ? SPAN("If-Match: \"other\"\r\n") : SPAN("If-None-Match: *\r\n"));
        end_head(ask, out);
}

static void missing(struct ask *ask, struct text *out)
{
        page(ask, 404);
        ask->head_only = chance(4) == 0;
        simple(ask, out, ask->head_only ? "HEAD" : "GET", "/nothing");
}

static void options(struct ask *ask, struct text *out)
{
        ask->status = 204;
        ask->field = "Allow: GET, HEAD, OPTIONS, PROPFIND";
        simple(ask, out, "OPTIONS", "*");
}

static void other_method(struct ask *ask, struct text *out)
{
        page(ask, 405);
        ask->field = "Allow: GET, HEAD, OPTIONS, PROPFIND";
        simple(ask, out, "DELETE", "/short.txt");
}

/* A head that needs room of its own. */
static void long_head(struct ask *ask, struct text *out)
{
        expect_file(ask, &site.files[SITE_SHORT]);
        start_line(ask, out, "GET", "/short.txt", 1);
        for (unsigned i = 2 + chance(FILLER_LINES); i > 0; i--)
                text_format(out, "X-Filler: %0*u\r\n", FILLER_BYTES, i);
        end_head(ask, out);
}

static void old_version(struct ask *ask, struct text *out)
{
        char target[64];
        expect_file(ask, some_file());
        target_of(target, ask->file);
        start_line(ask, out, "GET", target, 0);
        if (chance(2) && !ask->closes)
                text_put(out, SPAN("Connection: keep-alive\r\n"));
        else
                ask->closes = true;
        end_head(ask, out);
}

/* ---- folders ---- */

static void redirect(struct ask *ask, struct text *out)
{
        ask->status = 301;
        ask->field = "Location: /sub/";
        simple(ask, out, "GET", "/sub");
}

static void folder_index(struct ask *ask, struct text *out)
{
        expect_file(ask, &site.files[SITE_INDEX]);
        simple(ask, out, "GET", "/sub/");
}

static void listing(struct ask *ask, struct text *out)
{
        bool json = chance(2), old = chance(4) == 0;
        unsigned folder = chance(SITE_FOLDERS);
        char target[64];
        ask->status = 200;
        ask->body = BODY_LISTING;
        ask->listing = site.listings[folder][json];
        ask->field = json ? "Content-Type: application/json" : "Content-Type: text/html; charset=utf-8";
        ask->head_only = chance(8) == 0;
        bool pieces = folder == SITE_MANY; /* what is one piece has a length */
        ask->until_end = old && pieces;
        ask->chunked = !old && pieces;
        ask->closes |= old;
        snprintf(target, sizeof(target), "/%s/%s", site_folders[folder], json ? "?json" : "");
        start_line(ask, out, ask->head_only ? "HEAD" : "GET", target, !old);
        end_head(ask, out);
}

/* ---- bodies ---- */

static void put_body(struct text *out, unsigned size)
{
        for (unsigned i = 0; i < size; i++)
                text_char(out, (char)('a' + i % 26));
}

static void put_chunks(struct text *out)
{
        for (unsigned i = chance(4); i > 0; i--) {
                unsigned size = 1 + chance(400);
                text_format(out, "%x\r\n", size);
                put_body(out, size);
                text_put(out, SPAN("\r\n"));
        }
        text_put(out, SPAN("0\r\n\r\n"));
}

static void body(struct ask *ask, struct text *out)
{
        unsigned size = 1 + chance(3000);
        bool chunks = chance(2);
        expect_file(ask, &site.files[SITE_PAGE]);
        start_line(ask, out, "GET", "/page.txt", 1);
        if (chunks)
                text_put(out, SPAN("Transfer-Encoding: chunked\r\n"));
        else
                text_format(out, "Content-Length: %u\r\n", size);
        if (ask->expects)
                text_put(out, SPAN("Expect: 100-continue\r\n"));
        end_head(ask, out);
        if (chunks)
                put_chunks(out);
        else
                put_body(out, size);
}

/* ---- what is none ---- */

static void put_long_line(struct text *out, const char *before, const char *behind)
{
        text_format(out, "%s%0*u%s\r\n\r\n", before, (int)run.server->options.limits.line_bytes, 0, behind);
}

/* The page shows the beginning of such a path. */
static void put_long_target(struct ask *ask, struct text *out)
{
        put_long_line(out, "GET /", " HTTP/1.1");
        snprintf(ask->path, sizeof(ask->path), "/%0*u", SHOWN_BYTES, 0);
}

static void bad(struct ask *ask, struct text *out)
{
        static const struct {
                int status;
                const char *text;
        } some[] = {
                { 400, "GET /short.txt HTTP/1.1\r\n\r\n" },
                { 400, "GET /short.txt HTTP/1.1\nHost: sim\n\n" },
                { 400, "NONSENSE\r\n\r\n" },
                { 505, "GET /short.txt HTTP/2.0\r\nHost: sim\r\n\r\n" },
                { 501, "GET /short.txt HTTP/1.1\r\nHost: sim\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" },
                { 417, "GET /short.txt HTTP/1.1\r\nHost: sim\r\nExpect: more\r\n\r\n" },
                { 413, "GET /short.txt HTTP/1.1\r\nHost: sim\r\nContent-Length: 999999999\r\n\r\n" },
                { 414, NULL },
                { 431, NULL },
        };
        unsigned number = chance(array_count(some));
        page(ask, some[number].status);
        strcpy(ask->path, "/short.txt");
        ask->closes = true;
        if (some[number].text)
                text_put(out, span_of(some[number].text));
        else if (some[number].status == 414)
                put_long_target(ask, out);
        else
                put_long_line(out, "GET /short.txt HTTP/1.1\r\nHost: sim\r\nX-Filler: ", "");
        ask->head_bytes = out->used - ask->at;
}

/* ---- choosing ---- */

static const struct {
        unsigned weight;
        void (*make)(struct ask *ask, struct text *out);
} kinds[] = {
        { 30, file },        { 10, part },    { 8, parts },     { 3, no_such_part }, { 4, condition },
        { 4, missing },      { 2, options },  { 2, long_head }, { 2, bad },          { 4, old_version },
        { 3, other_method }, { 2, redirect }, { 4, body },      { 8, listing },      { 4, folder_index },
};

static void finish(struct ask *ask, const struct text *out)
{
        check(!out->overflow);
        ask->bytes = out->used - ask->at;
}

void ask_make(struct ask *ask, struct text *out, bool last, bool expects)
{
        unsigned sum = 0, at = 0;
        for (size_t i = 0; i < array_count(kinds); i++)
                sum += kinds[i].weight;
        sum = chance(sum);
        while (sum >= kinds[at].weight)
                sum -= kinds[at++].weight;
        *ask = (struct ask){ .at = out->used, .closes = last && chance(3) == 0 };
        ask->expects = expects && kinds[at].make == body;
        kinds[at].make(ask, out);
        finish(ask, out);
}

void ask_plain(struct ask *ask, struct text *out)
{
        *ask = (struct ask){ .at = out->used };
        expect_file(ask, &site.files[SITE_SHORT]);
        simple(ask, out, "GET", "/short.txt");
        finish(ask, out);
}

void ask_with_body(struct ask *ask, struct text *out)
{
        *ask = (struct ask){ .at = out->used };
        body(ask, out);
        finish(ask, out);
}
