/* dav_parse_if. What is parsed lies in the field and has the form that is promised; written anew from what was
 * parsed, the header is parsed to the same. */
#include "fuzz.h"

#include "dav/dav.h"

static void check_condition(const struct dav_condition *condition, const char *data, size_t size)
{
        ensure(!condition->token.data != !condition->etag.data);
        ensure(is_within(condition->token, data, size) && is_within(condition->etag, data, size));
        ensure(is_within(condition->resource, data, size));
        ensure(!condition->resource.data || condition->resource.size > 0);
        if (condition->token.data) {
                ensure(condition->token.size >= 3 && memchr(condition->token.data, ':', condition->token.size));
                ensure(!memchr(condition->token.data, '>', condition->token.size));
        } else {
                ensure(condition->etag.size >= 2 && condition->etag.data[condition->etag.size - 1] == '"');
        }
}

static void check(const struct dav_if *parsed, const char *data, size_t size)
{
        ensure(parsed->count > 0 && parsed->count <= DAV_MAX_CONDITIONS && parsed->conditions[0].list == 0);
        for (unsigned i = 0; i < parsed->count; i++) {
                const struct dav_condition *condition = &parsed->conditions[i];

                check_condition(condition, data, size);
                ensure(!condition->resource.data == !parsed->conditions[0].resource.data);
                ensure(i == 0 || condition->list == condition[-1].list || condition->list == condition[-1].list + 1);
                ensure(!condition->token.data || dav_if_submits(parsed, condition->token));
        }
}

static void put_tag(struct text *out, struct span resource)
{
        if (!resource.data)
                return;
        text_char(out, '<');
        text_put(out, resource);
        text_char(out, '>');
}

static void write_again(struct text *out, const struct dav_if *parsed)
{
        for (unsigned i = 0; i < parsed->count; i++) {
                const struct dav_condition *condition = &parsed->conditions[i];

                if (i == 0 || condition->list != condition[-1].list) {
                        text_put(out, i > 0 ? SPAN(")") : SPAN(""));
                        put_tag(out, condition->resource);
                        text_char(out, '(');
                }
                text_put(out, condition->negated ? SPAN("Not") : SPAN(""));
                text_char(out, condition->token.data ? '<' : '[');
                text_put(out, condition->token.data ? condition->token : condition->etag);
                text_char(out, condition->token.data ? '>' : ']');
        }
        text_char(out, ')');
}

static void check_same(const struct dav_if *one, const struct dav_if *other)
{
        ensure(one->count == other->count);
        for (unsigned i = 0; i < one->count; i++) {
                const struct dav_condition *a = &one->conditions[i], *b = &other->conditions[i];

                ensure(span_equal(a->resource, b->resource) && span_equal(a->token, b->token));
                ensure(span_equal(a->etag, b->etag) && a->negated == b->negated && a->list == b->list);
        }
}

/* Counts those asked, and lets those hold whose bit is set. */
struct bits {
        uint64_t bits;
        const struct dav_if *parsed;
};

static int holds(void *context, const struct dav_condition *condition)
{
        struct bits *bits = context;
        size_t index = (size_t)(condition - bits->parsed->conditions);

        ensure(index < bits->parsed->count);
        return bits->bits >> index & 1;
}

/* By the plain definition: a list holds unless one of its conditions does not. */
static int expected(const struct bits *bits)
{
        bool failed[DAV_MAX_CONDITIONS] = { false };
        int result = 0;

        for (unsigned i = 0; i < bits->parsed->count; i++) {
                const struct dav_condition *condition = &bits->parsed->conditions[i];

                failed[condition->list] |= (bits->bits >> i & 1) == condition->negated;
        }
        for (unsigned i = 0; i < bits->parsed->count; i++)
                result |= !failed[bits->parsed->conditions[i].list];
        return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct dav_if parsed, again;
        char *field = exact_copy(data, size);
        int result = dav_parse_if(&parsed, (struct span){ field, size });

        ensure(result == 0 || result == -400);
        if (result == 0) {
                size_t room = 4 * size + 16 + DAV_MAX_CONDITIONS * size;
                struct text text = text_in(malloc(room), room);
                struct bits bits = { hash_bytes(data, size), &parsed };

                check(&parsed, field, size);
                write_again(&text, &parsed);
                ensure(!text.overflow && dav_parse_if(&again, (struct span){ text.data, text.used }) == 0);
                check_same(&parsed, &again);
                ensure(dav_if_holds(&parsed, holds, &bits) == expected(&bits));
                free(text.data);
        }
        free(field);
        return 0;
}
