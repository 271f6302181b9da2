/* A folder as a web page or as JSON.
 *
 * A listing is a head, entries, and a foot. The head is rendered whole when the listing is made, since its size
 * is bounded by the path's; entries come straight from the store, one by one, as long as there is room for the
 * largest possible one. The page's frame is web/listing.html, cut at its <!--marks-->.
 *
 * Links are relative, so that a listing is right behind any prefix a proxy may add. They carry the order in which
 * the reader looks at things along, into folders and out of them.
 */
#include "serve/listing.h"
#include "http/http.h"
#include "web/web.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        HEAD_BYTES = 96 << 10, /* a path whose every byte is escaped, thrice, and the frame: with room to spare */
        ENTRY_BYTES = 4 << 10, /* 255 bytes of name escaped and percent-encoded, and what stands around */
        FOOT_BYTES = 1 << 10,
        CRUMBS = 12, /* nearest folders above that are linked, besides the first */
};

enum step { STEP_HEAD, STEP_ENTRIES, STEP_FOOT, STEP_END };

struct listing {
        enum step step;
        bool json;
        int error; /* met while there still was something to hand out */
        struct store_list *list;
        struct store_list_options options;
        char *head;
        size_t head_bytes, head_sent;
        struct span frame; /* what of the page's frame is not yet written */
        const char *order; /* query that keeps a folder's order: "", or "?sort=…" */
        uint64_t folders, files, bytes;
};

/* ---- values for people and for programs ---- */

/* Clamped to years of four digits, as RFC 3339 wants them. */
static struct tm civil(int64_t unix_seconds)
{
        time_t clamped = max_of(min_of(unix_seconds, INT64_C(253402300799)), INT64_C(-62135596800));
        struct tm tm;

        gmtime_r(&clamped, &tm);
        return tm;
}

static void put_time(struct text *t, const struct tm *tm)
{
        text_format(t, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday, tm->tm_hour,
                    tm->tm_min, tm->tm_sec);
}

/* Tenths of 2^shift bytes, rounded. */
static uint64_t tenths(uint64_t size, unsigned shift)
{
        uint64_t rest = size & ((UINT64_C(1) << shift) - 1);

        return (size >> shift) * 10 + ((rest * 10 + (UINT64_C(1) << (shift - 1))) >> shift);
}

/* "1.4 KiB": one decimal below 100. */
static void put_size(struct text *t, uint64_t size)
{
        static const char *const units[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        unsigned unit = 0;
        uint64_t value;

        if (size < 1024) {
                text_format(t, "%u B", (unsigned)size);
                return;
        }
        /* 1023.5 KiB would be rounded to 1024. */
        while ((value = tenths(size, 10 * (unit + 1))) >= 10235)
                unit++;
        if (value < 1000)
                text_format(t, "%u.%u %s", (unsigned)(value / 10), (unsigned)(value % 10), units[unit]);
        else
                text_format(t, "%u %s", (unsigned)((value + 5) / 10), units[unit]);
}

/* A name to be read: control bytes as the pictures Unicode has for them, so that none moves text about. */
static void put_name(struct text *t, struct span name)
{
        size_t from = 0;

        for (size_t i = 0; i < name.size; i++) {
                unsigned char c = (unsigned char)name.data[i];

                if (c >= 0x20 && c != 0x7f)
                        continue;
                http_escape_html(t, (struct span){ name.data + from, i - from });
                text_put(t, SPAN("\xe2\x90"));
                text_char(t, (char)(c == 0x7f ? 0xa1 : 0x80 + c));
                from = i + 1;
        }
        http_escape_html(t, (struct span){ name.data + from, name.size - from });
}

/* A relative link. "./" stands in front where the name would read as a scheme ("a:b"). */
static void put_href(struct text *t, struct span name, enum store_type type)
{
        if (memchr(name.data, ':', name.size))
                text_put(t, SPAN("./"));
        http_encode_path(t, name);
        if (type == STORE_FOLDER)
                text_char(t, '/');
}

/* The query that asks for an order; "" for the one a listing has by itself. */
static const char *order_query(enum store_sort sort, bool descending)
{
        static const char *const queries[][2] = {
                [STORE_SORT_NAME] = { "", "?sort=name&order=desc" },
                [STORE_SORT_SIZE] = { "?sort=size", "?sort=size&order=desc" },
                [STORE_SORT_TIME] = { "?sort=time", "?sort=time&order=desc" },
        };

        return queries[sort][descending];
}

/* ---- the page's head ---- */

/* Writes the frame up to a mark and moves behind it. Every mark is in web/listing.html. */
static void put_frame(struct listing *l, struct text *t, const char *mark)
{
        struct span frame = l->frame;
        const char *at = mark ? span_find(frame, span_of(mark)) : frame.data + frame.size;
        size_t cut;

        ensure(at);
        cut = (size_t)(at - frame.data);
        text_put(t, (struct span){ frame.data, cut });
        cut += mark ? strlen(mark) : 0;
        l->frame = (struct span){ frame.data + cut, frame.size - cut };
}

/* A link `up` folders above this one. */
static void put_crumb(struct listing *l, struct text *t, unsigned up, struct span name)
{
        text_put(t, SPAN("<li><a href=\""));
        for (unsigned i = 0; i < up; i++)
                text_put(t, SPAN("../"));
        http_escape_html(t, span_of(l->order));
        text_put(t, SPAN("\"><bdi>"));
        put_name(t, name);
        text_put(t, SPAN("</bdi></a></li>"));
}

/* The folders above, and this one as the headline. Of a very deep path the middle is left out. */
static void put_crumbs(struct listing *l, struct text *t, struct span path)
{
        unsigned depth = path.size ? 1 : 0;
        struct span name = SPAN("Home");

        for (size_t i = 0; i < path.size; i++)
                depth += path.data[i] == '/';
        if (depth) {
                text_put(t, SPAN("<nav aria-label=\"Folders above\"><ol>"));
                put_crumb(l, t, depth, name);
                if (depth > CRUMBS + 1)
                        text_put(t, SPAN("<li>…</li>"));
                while (depth--) {
                        name = span_cut(&path, '/');
                        if (depth > 0 && depth <= CRUMBS)
                                put_crumb(l, t, depth, name);
                }
                text_put(t, SPAN("</ol></nav>\n"));
        }
        text_put(t, SPAN("<h1><bdi>"));
        put_name(t, name);
        text_put(t, SPAN("</bdi></h1>"));
}

/* The table's head. The column in use turns around when followed; size and time begin at the large end. */
static void put_columns(struct listing *l, struct text *t)
{
        static const char *const names[] = {
                [STORE_SORT_NAME] = "Name",
                [STORE_SORT_SIZE] = "Size",
                [STORE_SORT_TIME] = "Modified",
        };

        for (enum store_sort sort = STORE_SORT_NAME; sort <= STORE_SORT_TIME; sort++) {
                bool used = sort == l->options.sort;
                bool descending = used ? !l->options.descending : sort != STORE_SORT_NAME;
                const char *query = order_query(sort, descending);

                text_put(t, SPAN("<th scope=\"col\""));
                if (used)
                        text_format(t, " aria-sort=\"%s\"", l->options.descending ? "descending" : "ascending");
                text_put(t, SPAN("><a rel=\"nofollow\" href=\""));
                http_escape_html(t, span_of(*query ? query : "./"));
                text_format(t, "\">%s</a></th>", names[sort]);
        }
}

static void put_page_head(struct listing *l, struct text *t, struct span path)
{
        l->frame = (struct span){ web_listing_html, web_listing_html_size };
        put_frame(l, t, "<!--title-->");
        put_name(t, path.size ? path : SPAN("Home"));
        put_frame(l, t, "<!--crumbs-->");
        put_crumbs(l, t, path);
        put_frame(l, t, "<!--columns-->");
        put_columns(l, t);
        put_frame(l, t, "<!--entries-->");
        if (path.size) {
                text_put(t, SPAN("<tr class=\"up\"><th scope=\"row\" colspan=\"3\"><a href=\"../"));
                http_escape_html(t, span_of(l->order));
                text_put(t, SPAN("\">Parent folder</a></th></tr>\n"));
        }
}

/* ---- entries and foot ---- */

static void put_row(struct listing *l, struct text *t, const struct store_entry *entry)
{
        struct span name = span_of(entry->name);
        struct tm tm = civil(entry->modified);
        bool folder = entry->type == STORE_FOLDER;

        text_put(t, folder ? SPAN("<tr class=\"d\">") : SPAN("<tr>"));
        text_put(t, SPAN("<th scope=\"row\"><a href=\""));
        put_href(t, name, entry->type);
        if (folder)
                http_escape_html(t, span_of(l->order));
        text_put(t, SPAN("\"><bdi>"));
        put_name(t, name);
        text_put(t, folder ? SPAN("</bdi>/</a></th><td") : SPAN("</bdi></a></th><td title=\""));
        if (!folder) {
                text_decimal(t, entry->size);
                text_put(t, SPAN(" bytes\""));
        }
        text_char(t, '>');
        if (!folder)
                put_size(t, entry->size);
        text_put(t, SPAN("</td><td><time datetime=\""));
        put_time(t, &tm);
        text_format(t, "\">%04d-%02d-%02d %02d:%02d</time></td></tr>\n", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                    tm.tm_hour, tm.tm_min);
}

static void put_json(struct listing *l, struct text *t, const struct store_entry *entry)
{
        struct span name = span_of(entry->name);
        struct tm tm = civil(entry->modified);

        text_put(t, l->folders + l->files ? SPAN(",\n{\"name\":\"") : SPAN("\n{\"name\":\""));
        http_escape_json(t, name);
        text_put(t, SPAN("\",\"href\":\""));
        put_href(t, name, entry->type);
        text_format(t, "\",\"type\":\"%s\",\"size\":", entry->type == STORE_FOLDER ? "folder" : "file");
        text_decimal(t, entry->size);
        text_put(t, SPAN(",\"modified\":\""));
        put_time(t, &tm);
        text_put(t, SPAN("\"}"));
}

static void put_count(struct text *t, uint64_t count, const char *one, const char *many)
{
        text_decimal(t, count);
        text_format(t, " %s", count == 1 ? one : many);
}

static void put_page_foot(struct listing *l, struct text *t)
{
        if (l->folders + l->files == 0)
                text_put(t, SPAN("<tr><td class=\"empty\" colspan=\"3\">This folder is empty.</td></tr>\n"));
        put_frame(l, t, "<!--totals-->");
        put_count(t, l->folders, "folder", "folders");
        text_put(t, SPAN(", "));
        put_count(t, l->files, "file", "files");
        if (l->files) {
                text_put(t, SPAN(", "));
                put_size(t, l->bytes);
        }
        put_frame(l, t, "<!--json-->");
        text_put(t, SPAN("<a rel=\"nofollow\" href=\"?json"));
        if (*l->order) {
                text_put(t, SPAN("&amp;"));
                http_escape_html(t, span_of(l->order + 1));
        }
        text_put(t, SPAN("\">JSON</a>"));
        put_frame(l, t, NULL);
}

/* ---- the public face ---- */

static int render_head(struct listing *l, struct span path)
{
        struct text t;
        char *smaller;

        l->head = malloc(HEAD_BYTES);
        if (!l->head)
                return -ENOMEM;
        t = text_in(l->head, HEAD_BYTES);
        if (l->json) {
                text_put(&t, SPAN("{\"path\":\"/"));
                http_escape_json(&t, path);
                text_put(&t, path.size ? SPAN("/\",\"entries\":[") : SPAN("\",\"entries\":["));
        } else {
                put_page_head(l, &t, path);
        }
        ensure(!t.overflow);
        l->head_bytes = t.used;
        smaller = realloc(l->head, t.used);
        if (smaller)
                l->head = smaller;
        return 0;
}

int listing_create(struct listing **out, int root, const char *path, const struct store_list_options *options,
                   bool json)
{
        struct listing *l;
        int error;

        ensure(strlen(path) < HTTP_MAX_PATH);
        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->json = json;
        l->options = *options;
        l->order = order_query(options->sort, options->descending);
        error = store_list_create(&l->list, root, path, options);
        if (!error)
                error = render_head(l, span_of(path));
        if (error) {
                listing_destroy(l);
                return error;
        }
        *out = l;
        return 0;
}

static void fill_head(struct listing *l, struct text *t)
{
        size_t size = min_of(l->head_bytes - l->head_sent, t->size - t->used);

        text_put(t, (struct span){ l->head + l->head_sent, size });
        l->head_sent += size;
        if (l->head_sent < l->head_bytes)
                return;
        free(l->head);
        l->head = NULL;
        l->step = STEP_ENTRIES;
}

static void fill_entries(struct listing *l, struct text *t)
{
        struct store_entry entry;

        while (t->size - t->used >= ENTRY_BYTES) {
                int got = store_list_next(l->list, &entry);

                if (got < 0)
                        l->error = got;
                else if (got == 0)
                        l->step = STEP_FOOT;
                if (got <= 0)
                        return;
                if (l->json)
                        put_json(l, t, &entry);
                else
                        put_row(l, t, &entry);
                if (entry.type == STORE_FOLDER)
                        l->folders++;
                else
                        l->files++;
                l->bytes += entry.size;
        }
}

static void fill_foot(struct listing *l, struct text *t)
{
        if (t->size - t->used < FOOT_BYTES)
                return;
        if (l->json)
                text_put(t, SPAN("\n]}\n"));
        else
                put_page_foot(l, t);
        l->step = STEP_END;
}

ssize_t listing_fill(struct listing *l, char *out, size_t size)
{
        struct text t = text_in(out, size);

        ensure(size >= LISTING_FILL_BYTES);
        if (l->error)
                return l->error;
        if (l->step == STEP_HEAD)
                fill_head(l, &t);
        if (l->step == STEP_ENTRIES)
                fill_entries(l, &t);
        if (l->step == STEP_FOOT)
                fill_foot(l, &t);
        ensure(!t.overflow);
        return t.used || !l->error ? (ssize_t)t.used : l->error;
}

bool listing_is_whole(const struct listing *l)
{
        return l->step == STEP_END;
}

void listing_destroy(struct listing *l)
{
        if (!l)
                return;
        store_list_destroy(l->list);
        free(l->head);
        free(l);
}
