/* The query of a folder listing: name=value pairs joined by '&', each looked up in one table. */
#include "http/http_priv.h"

static void set_json(struct http_listing_query *q, int on)
{
        q->json = on;
}

static void set_descending(struct http_listing_query *q, int on)
{
        q->descending = on;
}

static void set_sort(struct http_listing_query *q, int sort)
{
        q->sort = (enum http_sort)sort;
}

static const struct {
        const char *name, *value;
        void (*set)(struct http_listing_query *q, int to);
        int to;
} settings[] = {
        { "json", "", set_json, true },
        { "format", "json", set_json, true },
        { "format", "html", set_json, false },
        { "order", "desc", set_descending, true },
        { "order", "asc", set_descending, false },
        { "sort", "name", set_sort, HTTP_SORT_NAME },
        { "sort", "size", set_sort, HTTP_SORT_SIZE },
        { "sort", "time", set_sort, HTTP_SORT_TIME },
};

void http_parse_listing_query(struct http_listing_query *out, struct span query)
{
        *out = (struct http_listing_query){ .sort = HTTP_SORT_NAME };
        while (query.data) {
                struct span value = span_cut(&query, '&');
                struct span name = span_cut(&value, '=');

                for (size_t i = 0; i < array_count(settings); i++) {
                        if (span_equal(name, span_of(settings[i].name)) &&
                            span_equal(value, span_of(settings[i].value)))
                                settings[i].set(out, settings[i].to);
                }
        }
}
