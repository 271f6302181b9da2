/* Request bodies: what PROPFIND, PROPPATCH and LOCK ask for.
 *
 * Bytes are gathered into pieces of one size before the reader sees them. So what is answered does not depend on how the
 * body was cut on its way, and a body that drips in byte by byte does not make it look at a long tag again with
 * every one.
 *
 * Each open element has a place: what it means where it stands. The table `steps` tells which element leads from
 * which place to which; an element that the RFC does not name there is IGNORED with all it holds (RFC 4918 17).
 */
#include "dav/dav_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        PIECE_BYTES = 4096,
};

_Static_assert(DAV_BODY_BYTES % PIECE_BYTES == 0, "the bound is noticed between pieces");

enum place {
        DOCUMENT,
        PROPFIND, /* propfind and what stands in it */
        ALLPROP,
        PROPNAME,
        PROP,
        INCLUDE,
        UPDATE, /* propertyupdate */
        SET,
        REMOVE,
        SET_PROP,
        REMOVE_PROP,
        LOCKINFO,
        SCOPE,
        TYPE,
        EXCLUSIVE,
        SHARED,
        WRITE,
        NAMED, /* a property of which the name alone counts */
        VALUE, /* a property of which the content counts */
        OWNER,
        INNER, /* within VALUE or OWNER */
        IGNORED,
};

struct level {
        enum place place;
        struct span lang; /* xml:lang in force */
};

struct properties {
        struct dav_property *first, **end;
        uint32_t count;
};

struct dav_body {
        struct dav_request request;
        enum dav_kind kind;
        struct dav_reader *reader;
        int status; /* 0, or what every later call says */
        bool ended;
        size_t total, parsed; /* bytes fed; bytes given to the reader */
        struct dav_arena arena;
        struct dav_value value;
        struct properties named, included; /* of <prop>; of <include> */
        struct dav_property *recorded;     /* whose value is being recorded */
        unsigned finds;                    /* of allprop, propname and prop */
        unsigned scopes;                   /* of exclusive and shared */
        bool unknown_scope, unknown_type, write;
        unsigned depth;
        struct level levels[DAV_BODY_DEPTH + 1];
        char piece[PIECE_BYTES]; /* the last total - parsed bytes */
};

static const struct step {
        enum place from;
        const char *local; /* in DAV:; NULL: every element, of any namespace */
        enum place to;
} steps[] = {
        { PROPFIND, "allprop", ALLPROP },
        { PROPFIND, "propname", PROPNAME },
        { PROPFIND, "prop", PROP },
        { PROPFIND, "include", INCLUDE },
        { PROP, NULL, NAMED },
        { INCLUDE, NULL, NAMED },
        { UPDATE, "set", SET },
        { UPDATE, "remove", REMOVE },
        { SET, "prop", SET_PROP },
        { REMOVE, "prop", REMOVE_PROP },
        { SET_PROP, NULL, VALUE },
        { REMOVE_PROP, NULL, NAMED },
        { LOCKINFO, "lockscope", SCOPE },
        { LOCKINFO, "locktype", TYPE },
        { LOCKINFO, "owner", OWNER },
        { SCOPE, "exclusive", EXCLUSIVE },
        { SCOPE, "shared", SHARED },
        { TYPE, "write", WRITE },
        { VALUE, NULL, INNER },
        { OWNER, NULL, INNER },
        { INNER, NULL, INNER },
};

static const struct step roots[] = {
        [DAV_PROPFIND] = { DOCUMENT, "propfind", PROPFIND },
        [DAV_PROPPATCH] = { DOCUMENT, "propertyupdate", UPDATE },
        [DAV_LOCKINFO] = { DOCUMENT, "lockinfo", LOCKINFO },
};

/* ---- what an element means ---- */

static void refuse(struct dav_body *body, int status)
{
        if (body->status == 0)
                body->status = status;
        dav_reader_stop(body->reader);
}

static bool leads(const struct step *step, enum place from, const struct dav_name *name)
{
        if (step->from != from)
                return false;
        return !step->local ||
               (span_equal(name->space, SPAN(DAV_NAMESPACE)) && span_equal(name->local, span_of(step->local)));
}

static enum place next_place(struct dav_body *body, enum place from, const struct dav_name *name)
{
        if (from == DOCUMENT) {
                if (!leads(&roots[body->kind], from, name))
                        refuse(body, -400);
                return roots[body->kind].to;
        }
        for (size_t i = 0; i < array_count(steps); i++) {
                if (leads(&steps[i], from, name))
                        return steps[i].to;
        }
        return IGNORED;
}

/* The property's own xml:lang is in force already. */
static struct dav_property *add_property(struct dav_body *body, struct properties *to, const struct dav_name *name)
{
        struct dav_property *property;

        if (body->named.count + body->included.count == DAV_BODY_PROPERTIES) {
                refuse(body, -413);
                return NULL;
        }
        property = dav_arena_take(&body->arena, sizeof(*property));
        if (property) {
                property->name.space = dav_arena_copy(&body->arena, name->space);
                property->name.local = dav_arena_copy(&body->arena, name->local);
        }
        if (body->arena.status < 0) {
                refuse(body, body->arena.status);
                return NULL;
        }
        property->live = dav_live_of(name);
        property->lang = body->levels[body->depth].lang;
        *to->end = property;
        to->end = &property->next;
        to->count++;
        return property;
}

static void start_recording(struct dav_body *body)
{
        int result = dav_value_start(&body->value);

        if (result < 0)
                refuse(body, result);
}

static void find(struct dav_body *body, enum dav_find what)
{
        if (++body->finds > 1)
                refuse(body, -400);
        body->request.find = what;
}

static void enter_named(struct dav_body *body, enum place from, const struct dav_name *name)
{
        struct dav_property *property = add_property(body, from == INCLUDE ? &body->included : &body->named, name);

        if (property)
                property->remove = from == REMOVE_PROP;
}

static void enter_ignored(struct dav_body *body, enum place from)
{
        body->unknown_scope |= from == SCOPE;
        body->unknown_type |= from == TYPE;
}

static void enter(struct dav_body *body, enum place from, enum place place, const struct dav_name *name)
{
        switch (place) {
        case ALLPROP:
                find(body, DAV_FIND_ALL);
                break;
        case PROPNAME:
                find(body, DAV_FIND_NAMES);
                break;
        case PROP:
                find(body, DAV_FIND_THESE);
                break;
        case EXCLUSIVE:
        case SHARED:
                body->scopes++;
                body->request.exclusive = place == EXCLUSIVE;
                break;
        case WRITE:
                body->write = true;
                break;
        case NAMED:
                enter_named(body, from, name);
                break;
        case VALUE:
                body->recorded = add_property(body, &body->named, name);
                start_recording(body);
                break;
        case OWNER:
                start_recording(body);
                break;
        case IGNORED:
                enter_ignored(body, from);
                break;
        default:
                break;
        }
}

static void check_value(struct dav_body *body)
{
        if (dav_value_full(&body->value))
                refuse(body, -413);
}

/* Keeps what was recorded. */
static struct span keep(struct dav_body *body, const struct text *text)
{
        struct span kept = dav_arena_copy(&body->arena, (struct span){ text->data, text->used });

        if (!kept.data)
                refuse(body, body->arena.status);
        return kept;
}

static void leave(struct dav_body *body, enum place place)
{
        if (place == OWNER)
                body->request.owner = keep(body, &body->value.xml);
        if (place != VALUE)
                return;
        body->recorded->value = keep(body, &body->value.xml);
        if (!body->value.elements)
                body->recorded->text = keep(body, &body->value.plain);
}

static bool records(enum place place)
{
        return place == VALUE || place == OWNER || place == INNER;
}

/* ---- what the reader tells; after a refusal it may still tell something, which is not heard ---- */

/* An xml:lang of its own, else that of the element around it. */
static struct span language(struct dav_body *body, const char *const *attributes)
{
        for (; attributes[0]; attributes += 2) {
                struct dav_name name = dav_split_name(attributes[0]);

                if (span_equal(name.space, SPAN(DAV_XML_NAMESPACE)) && span_equal(name.local, SPAN("lang"))) {
                        struct span lang = dav_arena_copy(&body->arena, span_of(attributes[1]));

                        if (!lang.data)
                                refuse(body, body->arena.status);
                        return lang;
                }
        }
        return body->levels[body->depth].lang;
}

static void on_start(void *context, const char *name, const char *const *attributes)
{
        struct dav_body *body = context;
        enum place from = body->levels[body->depth].place;
        struct dav_name split = dav_split_name(name);
        struct level level;

        if (body->status < 0)
                return;
        if (body->depth == DAV_BODY_DEPTH) {
                refuse(body, -413);
                return;
        }
        level.place = next_place(body, from, &split);
        level.lang = level.place == INNER ? (struct span){ NULL, 0 } : language(body, attributes);
        if (body->status < 0)
                return;
        body->levels[++body->depth] = level;
        enter(body, from, level.place, &split);
        if (level.place == INNER) {
                dav_value_open(&body->value, name, attributes);
                check_value(body);
        }
}

static void on_end(void *context, const char *name)
{
        struct dav_body *body = context;
        enum place place = body->levels[body->depth].place;

        if (body->status < 0)
                return;
        ensure(body->depth > 0);
        if (place == INNER) {
                dav_value_close(&body->value, name);
                check_value(body);
        }
        leave(body, place);
        body->depth--;
}

static void on_characters(void *context, struct span s)
{
        struct dav_body *body = context;

        if (body->status < 0 || !records(body->levels[body->depth].place))
                return;
        dav_value_characters(&body->value, s);
        check_value(body);
}

static void on_space(void *context, const char *space)
{
        if (strlen(space) > DAV_SPACE_BYTES)
                refuse(context, -413);
}

static void on_doctype(void *context)
{
        refuse(context, -400);
}

/* ---- feeding ---- */

static void parse_piece(struct dav_body *body, bool last)
{
        int error = dav_reader_feed(body->reader, body->piece, body->total - body->parsed, last);

        body->parsed = body->total;
        if (body->status == 0 && error)
                body->status = error == -ENOMEM ? -503 : error == -E2BIG ? -413 : -400;
}

static bool is_white(const char *data, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                if (data[i] != ' ' && data[i] != '\t' && data[i] != '\r' && data[i] != '\n')
                        return false;
        }
        return true;
}

int dav_body_feed(struct dav_body *body, const char *data, size_t size)
{
        ensure(!body->ended);
        while (size > 0 && body->status == 0) {
                size_t gathered = body->total - body->parsed;
                size_t taken = min_of(size, PIECE_BYTES - gathered);

                if (body->total == DAV_BODY_BYTES) {
                        body->status = -413;
                        break;
                }
                memcpy(body->piece + gathered, data, taken);
                body->request.empty = body->request.empty && is_white(data, taken);
                body->total += taken;
                if (gathered + taken == PIECE_BYTES)
                        parse_piece(body, false);
                data += taken;
                size -= taken;
        }
        return body->status;
}

/* With propname there is neither: a <prop> beside it was refused. */
static void end_propfind(struct dav_body *body)
{
        struct properties *properties = body->request.find == DAV_FIND_ALL ? &body->included : &body->named;

        if (body->finds == 0 && !body->request.empty)
                body->status = -400;
        body->request.properties = properties->first;
        body->request.property_count = properties->count;
}

static void end_proppatch(struct dav_body *body)
{
        if (body->named.count == 0)
                body->status = -400;
        body->request.properties = body->named.first;
        body->request.property_count = body->named.count;
}

static void end_lockinfo(struct dav_body *body)
{
        if (body->request.empty || (body->write && body->scopes == 1))
                return;
        body->status = -400;
        if ((!body->write && body->unknown_type) || (body->scopes == 0 && body->unknown_scope))
                body->status = -422;
}

int dav_body_end(struct dav_body *body, const struct dav_request **request)
{
        static void (*const end_kind[])(struct dav_body * body) = {
                [DAV_PROPFIND] = end_propfind,
                [DAV_PROPPATCH] = end_proppatch,
                [DAV_LOCKINFO] = end_lockinfo,
        };

        ensure(!body->ended);
        body->ended = true;
        if (body->status == 0 && !body->request.empty)
                parse_piece(body, true);
        if (body->status == 0)
                end_kind[body->kind](body);
        *request = body->status == 0 ? &body->request : NULL;
        return body->status;
}

/* ---- life ---- */

static const struct dav_reader_calls calls = { on_start, on_end, on_characters, on_space, on_doctype };

int dav_body_create(struct dav_body **out, enum dav_kind kind)
{
        struct dav_body *body = calloc(1, sizeof(*body));

        ensure(kind <= DAV_LOCKINFO);
        if (!body)
                return -ENOMEM;
        if (dav_reader_create(&body->reader, &calls, body) < 0) {
                free(body);
                return -ENOMEM;
        }
        body->kind = kind;
        body->request.empty = true;
        body->named.end = &body->named.first;
        body->included.end = &body->included.first;
        *out = body;
        return 0;
}

void dav_body_destroy(struct dav_body *body)
{
        if (!body)
                return;
        dav_reader_destroy(body->reader);
        dav_value_finish(&body->value);
        dav_arena_finish(&body->arena);
        free(body);
}
