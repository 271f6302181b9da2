/* Bodies of PROPFIND, PROPPATCH and LOCK. The first byte steers kind and pieces. However it is cut, a body says the
 * same; and what it says, written into a new body, is read from that as the same again: so it is well-formed and
 * stands alone. */
#include "fuzz.h"

#include "dav/dav.h"

enum { ROOM_BYTES = 16 << 20 };

struct parsed {
        struct dav_body *body;
        const struct dav_request *request;
        int result;
};

static void feed(struct dav_body *body, const char *data, size_t size)
{
        char *piece = exact_copy(data, size);
        int result = dav_body_feed(body, piece, size);

        ensure(result == 0 || result == -400 || result == -413);
        free(piece);
}

static struct parsed parse(enum dav_kind kind, struct span input, size_t first, size_t step)
{
        struct parsed parsed;
        size_t piece = min_of(first, input.size);

        ensure(dav_body_create(&parsed.body, kind) == 0);
        while (input.size > 0) {
                feed(parsed.body, input.data, piece);
                input.data += piece;
                input.size -= piece;
                piece = min_of(step, input.size);
        }
        parsed.result = dav_body_end(parsed.body, &parsed.request);
        ensure(parsed.result == 0 || parsed.result == -400 || parsed.result == -413 || parsed.result == -422);
        ensure((parsed.result == 0) == (parsed.request != NULL));
        return parsed;
}

static void check_same_property(const struct dav_property *a, const struct dav_property *b)
{
        ensure(dav_same_name(&a->name, &b->name) && a->live == b->live && a->remove == b->remove);
        ensure(span_equal(a->value, b->value) && span_equal(a->text, b->text) && span_equal(a->lang, b->lang));
        ensure(!a->text.data == !b->text.data);
}

static void check_same_request(const struct dav_request *a, const struct dav_request *b)
{
        const struct dav_property *p = a->properties, *q = b->properties;
        uint32_t count = 0;

        ensure(a->find == b->find && a->exclusive == b->exclusive && span_equal(a->owner, b->owner));
        for (; p && q; p = p->next, q = q->next, count++)
                check_same_property(p, q);
        ensure(!p && !q && count == a->property_count && count == b->property_count);
}

static void check_same(const struct parsed *whole, struct parsed pieces)
{
        ensure(whole->result == pieces.result);
        if (whole->result == 0) {
                ensure(whole->request->empty == pieces.request->empty);
                check_same_request(whole->request, pieces.request);
        }
        dav_body_destroy(pieces.body);
}

/* ---- writing anew ---- */

static void put_properties(struct text *out, const struct dav_request *request, const char *open, const char *close)
{
        for (const struct dav_property *p = request->properties; p; p = p->next) {
                text_put(out, span_of(open && !p->remove ? open : open ? "<D:remove><D:prop>" : ""));
                dav_put_element(out, &p->name, p->value, p->lang);
                text_put(out, span_of(close && !p->remove ? close : close ? "</D:prop></D:remove>" : ""));
        }
}

static void write_propfind(struct text *out, const struct dav_request *request)
{
        static const char *const open[] = { "<D:allprop/><D:include>", "<D:propname/><D:x>", "<D:prop>" };
        static const char *const close[] = { "</D:include>", "</D:x>", "</D:prop>" };

        text_put(out, SPAN("<D:propfind xmlns:D='DAV:'>"));
        text_put(out, span_of(open[request->find]));
        put_properties(out, request, NULL, NULL);
        text_put(out, span_of(close[request->find]));
        text_put(out, SPAN("</D:propfind>"));
}

static void write_lockinfo(struct text *out, const struct dav_request *request)
{
        text_put(out, SPAN("<D:lockinfo xmlns:D='DAV:'><D:locktype><D:write/></D:locktype><D:lockscope>"));
        text_put(out, request->exclusive ? SPAN("<D:exclusive/>") : SPAN("<D:shared/>"));
        text_put(out, SPAN("</D:lockscope><D:owner>"));
        text_put(out, request->owner);
        text_put(out, SPAN("</D:owner></D:lockinfo>"));
}

static void write_again(struct text *out, enum dav_kind kind, const struct dav_request *request)
{
        if (kind == DAV_PROPFIND) {
                write_propfind(out, request);
        } else if (kind == DAV_LOCKINFO) {
                write_lockinfo(out, request);
        } else {
                text_put(out, SPAN("<D:propertyupdate xmlns:D='DAV:'>"));
                put_properties(out, request, "<D:set><D:prop>", "</D:prop></D:set>");
                text_put(out, SPAN("</D:propertyupdate>"));
        }
}

/* 413: what is written may be larger than what was read. */
static void check_again(enum dav_kind kind, const struct parsed *whole)
{
        struct text text = text_in(malloc(ROOM_BYTES), ROOM_BYTES);
        struct parsed again;

        ensure(text.data);
        write_again(&text, kind, whole->request);
        ensure(!text.overflow);
        again = parse(kind, (struct span){ text.data, text.used }, text.used, text.used);
        ensure(again.result == 0 || again.result == -413);
        if (again.result == 0)
                check_same_request(whole->request, again.request);
        dav_body_destroy(again.body);
        free(text.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t steer = take_byte(&data, &size);
        enum dav_kind kind = steer % 3;
        struct span input = { (const char *)data, size };
        struct parsed whole = parse(kind, input, size, size);

        check_same(&whole, parse(kind, input, size * steer / 256 + 1, size));
        check_same(&whole, parse(kind, input, 1, 1 + (steer & 31)));
        if (whole.result == 0 && !whole.request->empty)
                check_again(kind, &whole);
        dav_body_destroy(whole.body);
        return 0;
}
