/* Multistatus bodies (RFC 4918 13), as a client reads them.
 *
 * As in body.c bytes are gathered into pieces of one size before the reader sees them, so that what is told does not depend
 * on how the body was cut on its way; and each open element has a place: one that the RFC does not name where it stands
 * is IGNORED with all it holds. What a response says is gathered in an arena that is emptied for the next one, and told
 * when the response ends. */
#include "dav/dav_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { PIECE_BYTES = 8 << 10 };

enum place {
        DOCUMENT,
        MULTISTATUS,
        RESPONSE,
        PROPSTAT,
        PROP,
        HREF,
        STATUS,          /* of the response */
        PROPSTAT_STATUS, /* of the properties of one propstat */
        VALUE,           /* a property */
        INNER,           /* within one */
        IGNORED,
};

struct dav_answer {
        struct dav_reader *reader;
        dav_member_fn *member;
        void *context;
        int status; /* 0, or what every later call says */
        bool ended;
        size_t gathered;        /* bytes of `piece` */
        struct dav_arena arena; /* of one response */
        struct dav_member current;
        struct dav_found **end;      /* where the next property goes */
        struct dav_found **propstat; /* where those of the open propstat begin */
        struct dav_found *open;      /* the property whose text is being gathered */
        uint32_t count;              /* properties of the response */
        int propstat_status;
        struct text text; /* of the open href, status or property; DAV_VALUE_BYTES of room */
        unsigned depth;
        uint8_t places[DAV_BODY_DEPTH + 1];
        char piece[PIECE_BYTES];
};

static const struct step {
        uint8_t from, to;
        struct span local; /* in DAV: */
} steps[] = {
        { DOCUMENT, MULTISTATUS, { "multistatus", 11 } },
        { MULTISTATUS, RESPONSE, { "response", 8 } },
        { RESPONSE, HREF, { "href", 4 } },
        { RESPONSE, PROPSTAT, { "propstat", 8 } },
        { RESPONSE, STATUS, { "status", 6 } },
        { PROPSTAT, PROP, { "prop", 4 } },
        { PROPSTAT, PROPSTAT_STATUS, { "status", 6 } },
};

static void refuse(struct dav_answer *answer, int status)
{
        if (answer->status == 0)
                answer->status = status;
        dav_reader_stop(answer->reader);
}

/* Memory that could not be had. */
static void refuse_memory(struct dav_answer *answer)
{
        refuse(answer, answer->arena.status == -413 ? -E2BIG : -ENOMEM);
}

static enum place next_place(enum place from, const struct dav_name *name)
{
        if (from == PROP)
                return VALUE;
        if (from > PROP)
                return from == VALUE || from == INNER ? INNER : IGNORED;
        if (!span_equal(name->space, SPAN(DAV_NAMESPACE)))
                return IGNORED;
        for (size_t i = 0; i < array_count(steps); i++) {
                if (steps[i].from == from && span_equal(steps[i].local, name->local))
                        return steps[i].to;
        }
        return IGNORED;
}

/* ---- what an element means ---- */

static struct span trim(struct span s)
{
        static const char white[] = " \t\r\n";

        while (s.size > 0 && memchr(white, s.data[0], 4)) {
                s.data++;
                s.size--;
        }
        while (s.size > 0 && memchr(white, s.data[s.size - 1], 4))
                s.size--;
        return s;
}

static struct span gathered(const struct dav_answer *answer)
{
        return trim((struct span){ answer->text.data, answer->text.used });
}

static struct span keep(struct dav_answer *answer, struct span s)
{
        struct span kept = dav_arena_copy(&answer->arena, s);

        if (!kept.data)
                refuse_memory(answer);
        return kept;
}

/* "HTTP/1.1 200 OK"; 0: it is none. */
static int parse_status(struct span line)
{
        uint64_t status;

        span_cut(&line, ' ');
        line = trim(line);
        return dav_take_number(&line, &status) && status >= 100 && status <= 999 ? (int)status : 0;
}

static void begin_response(struct dav_answer *answer)
{
        dav_arena_reset(&answer->arena);
        answer->current = (struct dav_member){ .href = SPAN("") };
        answer->end = &answer->current.found;
        answer->count = 0;
}

/* Most properties are live: their names need no memory. */
static void begin_property(struct dav_answer *answer, const struct dav_name *name, const char *const *attributes)
{
        struct dav_found *found = NULL;

        answer->open = NULL;
        if (answer->count == DAV_BODY_PROPERTIES) {
                refuse(answer, -E2BIG);
                return;
        }
        found = dav_arena_take(&answer->arena, sizeof(*found));
        if (!found) {
                refuse_memory(answer);
                return;
        }
        found->live = dav_live_of(name);
        if (found->live == DAV_DEAD)
                found->name = (struct dav_name){ keep(answer, name->space), keep(answer, name->local) };
        else
                found->name = dav_live_name(found->live);
        for (; attributes[0]; attributes += 2)
                found->base64 |= strcmp(attributes[0], "encoding") == 0 && strcmp(attributes[1], "base64") == 0;
        answer->open = *answer->end = found;
        answer->end = &found->next;
        answer->count++;
}

/* So that texts of neighbouring elements stay apart. */
static void separate(struct dav_answer *answer)
{
        if (answer->text.used > 0 && answer->text.data[answer->text.used - 1] != ' ')
                text_char(&answer->text, ' ');
}

static void enter(struct dav_answer *answer, enum place place, const struct dav_name *name,
                  const char *const *attributes)
{
        switch (place) {
        case RESPONSE:
                begin_response(answer);
                break;
        case PROPSTAT:
                answer->propstat = answer->end;
                answer->propstat_status = 0;
                break;
        case VALUE:
                begin_property(answer, name, attributes);
                answer->text.used = 0;
                break;
        case HREF:
        case STATUS:
        case PROPSTAT_STATUS:
                answer->text.used = 0;
                break;
        case INNER:
                separate(answer);
                if (answer->open->live == DAV_RESOURCETYPE && span_equal(name->local, SPAN("collection")) &&
                    span_equal(name->space, SPAN(DAV_NAMESPACE)))
                        answer->open->collection = true;
                break;
        default:
                break;
        }
}

/* White space of a link's target is the target's own. */
static void end_property(struct dav_answer *answer)
{
        struct span whole = { answer->text.data, answer->text.used };

        answer->open->text = keep(answer, answer->open->live == DAV_BERTH_TARGET ? whole : trim(whole));
}

static void end_propstat(struct dav_answer *answer)
{
        for (struct dav_found *found = *answer->propstat; found; found = found->next)
                found->status = answer->propstat_status;
}

static void end_response(struct dav_answer *answer)
{
        int result = answer->member(answer->context, &answer->current);

        if (result != 0)
                refuse(answer, result);
}

static void leave(struct dav_answer *answer, enum place place)
{
        switch (place) {
        case HREF: /* of several only the first is told */
                if (answer->current.href.size == 0)
                        answer->current.href = keep(answer, gathered(answer));
                break;
        case STATUS:
                answer->current.status = parse_status(gathered(answer));
                break;
        case PROPSTAT_STATUS:
                answer->propstat_status = parse_status(gathered(answer));
                break;
        case VALUE:
                end_property(answer);
                break;
        case INNER:
                separate(answer);
                break;
        case PROPSTAT:
                end_propstat(answer);
                break;
        case RESPONSE:
                end_response(answer);
                break;
        default:
                break;
        }
}

/* ---- what the reader tells; after a refusal it may still tell something, which is not heard ---- */

static void on_start(void *context, const char *name, const char *const *attributes)
{
        struct dav_answer *answer = context;
        struct dav_name split = dav_split_name(name);
        enum place place;

        if (answer->status != 0)
                return;
        place = next_place(answer->places[answer->depth], &split);
        if (answer->depth == 0 && place != MULTISTATUS) {
                refuse(answer, -EBADMSG);
                return;
        }
        if (answer->depth == DAV_BODY_DEPTH) {
                refuse(answer, -E2BIG);
                return;
        }
        answer->places[++answer->depth] = (uint8_t)place;
        enter(answer, place, &split, attributes);
}

static void on_end(void *context, const char *name)
{
        struct dav_answer *answer = context;

        (void)name;
        if (answer->status != 0)
                return;
        ensure(answer->depth > 0);
        leave(answer, answer->places[answer->depth--]);
        if (answer->text.overflow)
                refuse(answer, -E2BIG);
}

static void on_characters(void *context, struct span s)
{
        struct dav_answer *answer = context;
        enum place place = answer->places[answer->depth];

        if (answer->status != 0 || place < HREF || place == IGNORED)
                return;
        text_put(&answer->text, s);
        if (answer->text.overflow)
                refuse(answer, -E2BIG);
}

static void on_space(void *context, const char *space)
{
        if (strlen(space) > DAV_SPACE_BYTES)
                refuse(context, -E2BIG);
}

static void on_doctype(void *context)
{
        refuse(context, -EBADMSG);
}

/* ---- feeding ---- */

static void parse_piece(struct dav_answer *answer, bool last)
{
        int error = dav_reader_feed(answer->reader, answer->piece, answer->gathered, last);

        answer->gathered = 0;
        if (answer->status == 0)
                answer->status = error;
}

int dav_answer_feed(struct dav_answer *answer, const char *data, size_t size)
{
        ensure(!answer->ended);
        while (size > 0 && answer->status == 0) {
                size_t taken = min_of(size, PIECE_BYTES - answer->gathered);

                memcpy(answer->piece + answer->gathered, data, taken);
                answer->gathered += taken;
                if (answer->gathered == PIECE_BYTES)
                        parse_piece(answer, false);
                data += taken;
                size -= taken;
        }
        return answer->status;
}

int dav_answer_end(struct dav_answer *answer)
{
        ensure(!answer->ended);
        answer->ended = true;
        if (answer->status == 0)
                parse_piece(answer, true);
        return answer->status;
}

/* ---- life ---- */

static const struct dav_reader_calls calls = { on_start, on_end, on_characters, on_space, on_doctype };

int dav_answer_create(struct dav_answer **out, dav_member_fn *member, void *context)
{
        struct dav_answer *answer = calloc(1, sizeof(*answer));

        if (!answer)
                return -ENOMEM;
        answer->text = text_in(malloc(DAV_VALUE_BYTES), DAV_VALUE_BYTES);
        answer->member = member;
        answer->context = context;
        if (dav_reader_create(&answer->reader, &calls, answer) < 0 || !answer->text.data) {
                dav_answer_destroy(answer);
                return -ENOMEM;
        }
        *out = answer;
        return 0;
}

void dav_answer_reset(struct dav_answer *answer, dav_member_fn *member, void *context)
{
        dav_reader_reset(answer->reader, answer);
        dav_arena_reset(&answer->arena);
        answer->arena.status = 0;
        answer->text = text_in(answer->text.data, DAV_VALUE_BYTES);
        answer->status = 0;
        answer->ended = false;
        answer->gathered = 0;
        answer->depth = 0;
        answer->member = member;
        answer->context = context;
}

void dav_answer_destroy(struct dav_answer *answer)
{
        if (!answer)
                return;
        dav_reader_destroy(answer->reader);
        free(answer->text.data);
        dav_arena_finish(&answer->arena);
        free(answer);
}
