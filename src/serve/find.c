/* PROPFIND, RFC 4918 9.1: properties of a file, of a folder and its members, or of all beneath it. The answer is made
 * in pieces as the folder is read, so its size costs no memory.
 */
#include "serve/change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
        ERROR_PAGE_BYTES = 512,
        ATTRIBUTE_BYTES = 64 << 10, /* no system keeps more in one */
        INHERITED_BYTES = 32 << 10, /* locks of the folders above, as text */
        TAIL_BYTES = 64,
};

struct find {
        struct change *c;
        struct store_walk *walk;
        struct store_member member; /* that did not fit into the last piece */
        bool has_member, begun, ended, multiple;
        bool wants[DAV_LIVE_COUNT];
        bool wants_dead;
        uint64_t room_device, available, used; /* the last quota looked up */
        bool has_room;
        bool has_date; /* the last one written */
        int64_t date_seconds;
        char date[HTTP_DATE_BYTES];
        size_t above_size, inherited_size;
        char inherited[INHERITED_BYTES]; /* active locks from above, then those of the folder that reach its members */
};

/* ---- what is asked ---- */

static int refuse_infinity(struct change *c)
{
        struct text out = change_page(c, ERROR_PAGE_BYTES);
        text_put(&out, SPAN("<D:error xmlns:D=\"DAV:\"><D:propfind-finite-depth/></D:error>\n"));
        return change_page_done(c, &out, 403);
}

int find_prepare(struct change *c)
{
        const struct serve_options *options = &c->shard->server->options;
        c->depth = dav_parse_depth(http_field(&c->request->head, HTTP_DEPTH), DAV_DEPTH_INFINITY);
        if (c->depth < 0)
                return 400;
        if (c->depth == DAV_DEPTH_INFINITY && !options->find_infinity)
                return refuse_infinity(c);
        return c->depth > 0 && !options->listing ? 403 : 0;
}

static void note_wants(struct find *find)
{
        const struct dav_request *asked = find->c->asked;
        find->wants_dead = asked->find != DAV_FIND_THESE;
        for (unsigned live = 0; live < DAV_ALLPROP_END; live++)
                find->wants[live] = asked->find != DAV_FIND_THESE;
        for (const struct dav_property *p = asked->properties; p; p = p->next) {
                if (p->live == DAV_DEAD || p->live == DAV_OC_CHECKSUMS)
                        find->wants_dead = true;
                if (p->live != DAV_DEAD)
                        find->wants[p->live] = true;
        }
}

static bool is_asked_for(const struct find *find, const char *path)
{
        return strcmp(path, find->c->request->path) == 0;
}

static void put_inherited(struct find *find, const struct store_lock *lock)
{
        struct text out = text_in(find->inherited + find->inherited_size, INHERITED_BYTES - find->inherited_size);
        if (lock->infinite)
                put_lock(&out, lock);
        if (!out.overflow)
                find->inherited_size += out.used;
}

static int note_above(void *context, const struct store_lock *lock)
{
        if (!is_asked_for(context, lock->path))
                put_inherited(context, lock);
        return 0;
}

static int note_own(void *context, const struct store_lock *lock)
{
        if (is_asked_for(context, lock->path))
                put_inherited(context, lock);
        return 0;
}

static void note_locks(struct find *find)
{
        struct change *c = find->c;
        store_locks_on(change_tree(c), c->request->path, note_above, find);
        find->above_size = find->inherited_size;
        if (c->depth > 0)
                store_locks_on(change_tree(c), c->request->path, note_own, find);
}

void find_destroy(struct find *find)
{
        if (!find)
                return;
        if (find->walk)
                store_walk_destroy(find->walk);
        free(find);
}

/* What leads outside is not there, as for GET. */
static int find_status(int error)
{
        switch (error) {
        case -ENOENT:
        case -ENOTDIR:
        case -EXDEV:
        case -ELOOP:
        case -ENAMETOOLONG:
                return 404;
        default:
                return change_status(error);
        }
}

static int begin(struct change *c, struct find *find)
{
        const struct serve_options *options = &c->shard->server->options;
        struct store_walk_options walk = { .depth = c->depth, .hidden = options->hidden };
        note_wants(find);
        walk.links = c->own;
        walk.attributes = find->wants_dead || find->wants[DAV_LOCKDISCOVERY];
        find->multiple = c->depth == DAV_DEPTH_INFINITY;
        if (find->wants[DAV_LOCKDISCOVERY])
                note_locks(find);
        int error = store_walk_create(&find->walk, change_tree(c), c->request->path, &walk);
        return error ? find_status(error) : 207;
}

/* What If-Match and the If header ask of the folder or file itself. */
static int conditions(struct change *c)
{
        struct store_state now;
        int error = change_look(c, &now);
        if (error)
                return find_status(error);
        return now.kind == STORE_NOTHING ? 404 : gate_conditions(c, &now);
}

/* Who asks for it wants links as themselves, others what they lead to. */
static bool asks_for_target(const struct dav_request *asked)
{
        for (const struct dav_property *p = asked->properties; p; p = p->next)
                if (p->live == DAV_BERTH_TARGET)
                        return true;
        return false;
}

int find_run(struct change *c)
{
        static const struct dav_request everything = { .find = DAV_FIND_ALL };
        if (!c->asked)
                c->asked = &everything;
        c->own |= asks_for_target(c->asked);
        int status = conditions(c);
        if (status)
                return status;
        c->find = calloc(1, sizeof(*c->find));
        if (!c->find)
                return 503;
        c->find->c = c;
        return begin(c, c->find);
}

/* ---- live properties ---- */

static void put_open(struct text *out, enum dav_live live)
{
        struct dav_name name = dav_live_name(live);
        if (span_equal(name.space, SPAN(DAV_NAMESPACE)))
                text_put(out, SPAN("<D:"));
        else
                text_char(out, '<');
        text_put(out, name.local);
        if (!span_equal(name.space, SPAN(DAV_NAMESPACE))) {
                text_put(out, SPAN(" xmlns=\""));
                text_put(out, name.space);
                text_char(out, '"');
        }
        text_char(out, '>');
}

static void put_close(struct text *out, enum dav_live live)
{
        struct dav_name name = dav_live_name(live);
        text_put(out, span_equal(name.space, SPAN(DAV_NAMESPACE)) ? SPAN("</D:") : SPAN("</"));
        text_put(out, name.local);
        text_char(out, '>');
}

static int put_own_lock(void *context, const struct store_lock *lock)
{
        put_lock(context, lock);
        return 0;
}

static void put_locks(struct find *find, struct text *out, const struct store_member *member)
{
        struct change *c = find->c;
        if (find->multiple) {
                store_locks_on(change_tree(c), member->path, put_own_lock, out);
                return;
        }
        size_t inherited = is_asked_for(find, member->path) ? find->above_size : find->inherited_size;
        text_put(out, (struct span){ find->inherited, inherited });
        if (member->has_attributes)
                store_locks_at(member->folder, member->name, member->path, put_own_lock, out);
}

static bool has_quota(struct find *find, const struct store_member *member)
{
        if (member->state.kind != STORE_IS_FOLDER)
                return false;
        if (find->has_room && find->room_device == member->state.device)
                return true;
        find->room_device = member->state.device;
        find->has_room = store_room(change_tree(find->c), member->path, &find->available, &find->used) == 0;
        return find->has_room;
}

/* Kept when it was uploaded with the entity-tag that it is true for. */
static bool put_checksums(struct text *out, const struct store_member *member)
{
        char room[1024];
        struct store_property property;
        struct dav_name name = dav_live_name(DAV_OC_CHECKSUMS);
        if (!member->has_attributes ||
            store_property_get(member->folder, member->name, name.space, name.local, room, sizeof(room), &property) < 0)
                return false;
        struct span etag = span_cut(&property.value, ' ');
        if (!span_equal(etag, (struct span){ member->state.etag, member->state.etag_size }))
                return false;
        text_put(out, SPAN("<checksum xmlns=\"" DAV_OWNCLOUD_NAMESPACE "\">"));
        dav_put_escaped(out, property.value);
        text_put(out, SPAN("</checksum>"));
        return true;
}

/* With its element, since bytes that no XML can hold need another one: a target may have any. */
static bool put_target(struct find *find, struct text *out, const struct store_member *member)
{
        char target[HTTP_MAX_PATH];
        if (member->state.kind != STORE_IS_LINK)
                return false;
        struct store_section place = { .tree = change_tree(find->c), .folder = member->folder, .name = member->name };
        ssize_t size = store_read_link(&place, target, sizeof(target));
        if (size < 0)
                return false;
        struct span bytes = { target, (size_t)size };
        bool text = dav_is_text(bytes);
        text_put(out, text ? SPAN("<target xmlns=\"" DAV_BERTH_NAMESPACE "\">")
                           : SPAN("<target xmlns=\"" DAV_BERTH_NAMESPACE "\" encoding=\"base64\">"));
        if (text)
                dav_put_escaped(out, bytes);
        else
                base64_put(out, bytes);
        text_put(out, SPAN("</target>"));
        return true;
}

/* Many files of a folder are of the same second. */
static void put_date(struct find *find, struct text *out, int64_t seconds)
{
        if (!find->has_date || find->date_seconds != seconds)
                http_format_date(find->date, seconds);
        find->has_date = true;
        find->date_seconds = seconds;
        text_put(out, (struct span){ find->date, sizeof(find->date) });
}

static void put_creation(struct text *out, const struct store_state *state)
{
        char date[DAV_DATE_BYTES];
        dav_format_date(date, state->born.tv_sec ? state->born.tv_sec : state->modified.tv_sec);
        text_put(out, (struct span){ date, sizeof(date) });
}

/* The last part of the path; of the root nothing. */
static struct span display_name(const struct store_member *member)
{
        const char *slash = strrchr(member->path, '/');
        return span_of(slash ? slash + 1 : member->path);
}

/* The value; false: this one has none. */
static bool put_value(struct find *find, struct text *out, const struct store_member *member, enum dav_live live)
{
        const struct store_state *state = &member->state;
        bool folder = state->kind == STORE_IS_FOLDER;
        switch (live) {
        case DAV_CREATIONDATE:
                put_creation(out, state);
                return true;
        case DAV_DISPLAYNAME:
                dav_put_escaped(out, display_name(member));
                return true;
        case DAV_GETCONTENTLENGTH:
                if (!folder)
                        text_decimal(out, state->size);
                return !folder;
        case DAV_GETCONTENTTYPE:
                text_put(out, folder ? SPAN("httpd/unix-directory") : store_type_of(display_name(member)));
                return true;
        case DAV_GETETAG:
                text_put(out, (struct span){ state->etag, state->etag_size }); /* hex, in quotes: plain text */
                return state->etag_size > 0;
        case DAV_GETLASTMODIFIED:
        case DAV_WIN32_LAST_MODIFIED:
                put_date(find, out, state->modified.tv_sec);
                return true;
        case DAV_LOCKDISCOVERY:
                put_locks(find, out, member);
                return true;
        case DAV_RESOURCETYPE:
                if (folder)
                        text_put(out, SPAN("<D:collection/>"));
                return true;
        case DAV_SUPPORTEDLOCK:
                text_put(out, dav_supported_locks());
                return true;
        case DAV_QUOTA_AVAILABLE_BYTES:
        case DAV_QUOTA_USED_BYTES:
                if (!has_quota(find, member))
                        return false;
                text_decimal(out, live == DAV_QUOTA_USED_BYTES ? find->used : find->available);
                return true;
        case DAV_OC_CHECKSUMS:
                return put_checksums(out, member);
        case DAV_BERTH_MODE:
                dav_put_mode(out, state->mode);
                return true;
        case DAV_BERTH_MTIME:
                dav_put_time(out, &state->modified);
                return true;
        case DAV_BERTH_INODE:
                text_decimal(out, state->inode);
                return true;
        case DAV_BERTH_LINKS:
                text_decimal(out, state->links);
                return true;
        case DAV_BERTH_TARGET:
                return put_target(find, out, member);
        default:
                return false;
        }
}

/* With its element; a property that is not there leaves no trace. */
static bool put_live(struct find *find, struct text *out, const struct store_member *member, enum dav_live live)
{
        struct text before = *out;
        if (live == DAV_BERTH_TARGET)
                return put_target(find, out, member);
        put_open(out, live);
        if (!put_value(find, out, member, live)) {
                *out = before;
                return false;
        }
        put_close(out, live);
        return true;
}

/* ---- dead properties ---- */

struct putting {
        struct text *out;
        bool names;
};

static bool is_attribute(const struct dav_name *name)
{
        return span_equal(name->space, SPAN(DAV_ATTRIBUTE_NAMESPACE));
}

static int put_dead(void *context, const struct store_property *property)
{
        struct putting *putting = context;
        struct dav_name name = { property->space, property->local };
        struct span none = { NULL, 0 };
        if (dav_live_of(&name) == DAV_DEAD && !is_attribute(&name))
                dav_put_element(putting->out, &name, putting->names ? none : property->value,
                                putting->names ? none : property->lang);
        return 0;
}

/* A user's attribute of the file, in base64. */
static void put_attribute_element(struct text *out, struct span local, struct span value)
{
        struct dav_name name = { SPAN(DAV_ATTRIBUTE_NAMESPACE), local };
        if (value.size == 0) {
                dav_put_element(out, &name, value, (struct span){ NULL, 0 });
                return;
        }
        text_char(out, '<');
        text_put(out, local);
        text_put(out, SPAN(" xmlns=\"" DAV_ATTRIBUTE_NAMESPACE "\">"));
        base64_put(out, value);
        text_put(out, SPAN("</"));
        text_put(out, local);
        text_char(out, '>');
}

static int put_attribute(void *context, struct span attribute, struct span value)
{
        struct putting *putting = context;
        char room[2 * DAV_ATTRIBUTE_BYTES + 1];
        struct text local = text_in(room, sizeof(room));
        dav_put_attribute_name(&local, attribute);
        put_attribute_element(putting->out, (struct span){ room, local.used },
                              putting->names ? (struct span){ NULL, 0 } : value);
        return 0;
}

static bool put_one_attribute(struct text *out, const struct store_member *member, struct span local)
{
        char name[DAV_ATTRIBUTE_BYTES];
        if (!member->has_attributes || !dav_parse_attribute(name, local))
                return false;
        char *room = malloc(ATTRIBUTE_BYTES);
        ssize_t size = room ? store_attribute_get(member->folder, member->name, name, room, ATTRIBUTE_BYTES) : -ENOMEM;
        if (size >= 0)
                put_attribute_element(out, local, (struct span){ room, (size_t)size });
        free(room);
        return size >= 0;
}

/* All that users have given it: properties and attributes. */
static void put_given(struct text *out, const struct store_member *member, bool names)
{
        struct putting putting = { out, names };
        if (!member->has_attributes)
                return;
        store_property_each(member->folder, member->name, put_dead, &putting);
        store_attribute_each(member->folder, member->name, put_attribute, &putting);
}

static bool put_one_dead(struct text *out, const struct store_member *member, const struct dav_name *name)
{
        if (is_attribute(name))
                return put_one_attribute(out, member, name->local);
        struct store_property property;
        char *room = member->has_attributes ? malloc(STORE_PROPERTY_BYTES) : NULL;
        bool found = room && store_property_get(member->folder, member->name, name->space, name->local, room,
                                                STORE_PROPERTY_BYTES, &property) >= 0;
        if (found)
                dav_put_element(out, name, property.value, property.lang);
        free(room);
        return found;
}

/* ---- a member's response ---- */

static void put_ok(struct text *out)
{
        text_put(out, SPAN("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"));
}

static void put_names(struct find *find, struct text *out, const struct store_member *member)
{
        char room[8 << 10]; /* values are made to see whether there are any */
        for (unsigned live = 0; live < DAV_LIVE_COUNT; live++) {
                struct text scratch = text_in(room, sizeof(room));
                struct dav_name name = dav_live_name((enum dav_live)live);
                if (put_value(find, &scratch, member, (enum dav_live)live))
                        dav_put_element(out, &name, (struct span){ NULL, 0 }, (struct span){ NULL, 0 });
        }
        put_given(out, member, true);
}

static void put_all(struct find *find, struct text *out, const struct store_member *member)
{
        for (unsigned live = 0; live < DAV_LIVE_COUNT; live++)
                if (find->wants[live])
                        put_live(find, out, member, (enum dav_live)live);
        put_given(out, member, false);
}

static bool put_asked(struct find *find, struct text *out, const struct store_member *member,
                      const struct dav_property *asked)
{
        return asked->live == DAV_DEAD ? put_one_dead(out, member, &asked->name)
                                       : put_live(find, out, member, asked->live);
}

static void put_these(struct find *find, struct text *out, const struct store_member *member)
{
        bool missing[DAV_BODY_PROPERTIES];
        unsigned index = 0, missed = 0;
        for (const struct dav_property *p = find->c->asked->properties; p; p = p->next, index++) {
                missing[index] = !put_asked(find, out, member, p);
                missed += missing[index];
        }
        put_ok(out);
        if (missed == 0)
                return;
        text_put(out, SPAN("<D:propstat><D:prop>"));
        index = 0;
        for (const struct dav_property *p = find->c->asked->properties; p; p = p->next)
                if (missing[index++])
                        dav_put_element(out, &p->name, (struct span){ NULL, 0 }, (struct span){ NULL, 0 });
        text_put(out, SPAN("</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>"));
}

static void put_response(struct find *find, struct text *out, const struct store_member *member)
{
        text_put(out, SPAN("<D:response>"));
        put_href(out, span_of(member->path), member->state.kind == STORE_IS_FOLDER);
        text_put(out, SPAN("<D:propstat><D:prop>"));
        switch (find->c->asked->find) {
        case DAV_FIND_THESE:
                put_these(find, out, member);
                break;
        case DAV_FIND_NAMES:
                put_names(find, out, member);
                put_ok(out);
                break;
        default:
                put_all(find, out, member);
                put_ok(out);
        }
        text_put(out, SPAN("</D:response>\n"));
}

/* More properties than one piece has room for: what there is of it is told. */
static void put_too_much(struct text *out, const struct store_member *member)
{
        text_put(out, SPAN("<D:response>"));
        put_href(out, span_of(member->path), member->state.kind == STORE_IS_FOLDER);
        put_status(out, 507);
        text_put(out, SPAN("</D:response>\n"));
}

/* ---- pieces ---- */

/* True when the piece is full; the member then begins the next. */
static bool put_member(struct find *find, struct text *out)
{
        struct text before = *out;
        put_response(find, out, &find->member);
        find->has_member = false;
        if (!out->overflow)
                return false;
        *out = before;
        find->has_member = before.used > 0;
        if (before.used == 0)
                put_too_much(out, &find->member);
        return true;
}

static int64_t fill(struct find *find, struct text *out)
{
        if (!find->begun)
                text_put(out, SPAN("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n"));
        find->begun = true;
        for (;;) {
                int result = find->has_member ? 1 : store_walk_next(find->walk, &find->member);
                if (result <= 0) {
                        find->ended = result == 0;
                        return result;
                }
                bool hidden = !gate_may(find->c, find->member.path, false, AUTH_READ);
                if (!hidden && put_member(find, out))
                        return 0;
        }
}

int64_t find_fill(struct request *r, char *out, size_t size, bool *whole)
{
        struct find *find = r->change->find;
        struct text text = text_in(out, size - TAIL_BYTES);
        int64_t error = fill(find, &text);
        if (error < 0)
                return error;
        *whole = find->ended;
        text.size = size;
        if (find->ended)
                text_put(&text, SPAN("</D:multistatus>\n"));
        return (int64_t)text.used;
}
