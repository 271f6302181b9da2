/* PROPPATCH, RFC 4918 9.2: all or nothing. Dead properties become attributes of the file; of the live ones times and
 * permission bits can be set. Those in urn:berth:attribute are attributes of the file as they are, for a mount.
 */
#include "serve/change.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE_BYTES = 4096, NAME_FACTOR = 7, NAME_EXTRA = 160 };

/* ---- what is to be changed ---- */

struct attribute {
        char name[DAV_ATTRIBUTE_BYTES];
        char value[]; /* decoded */
};

struct patch {
        struct change *c;
        unsigned count; /* of properties, in the order of the document */
        int *statuses;  /* of each; 0: nothing wrong yet */
        struct store_property_change *dead;
        struct attribute **attributes; /* of the dead ones that are plain attributes; else NULL */
        unsigned dead_count;
        bool has_mode, has_modified;
        uint32_t mode;
        struct timespec modified;
};

static bool take_date(struct patch *patch, struct span text)
{
        int64_t seconds;
        if (!http_parse_date(text, clock_unix_seconds(), &seconds))
                return false;
        patch->modified = (struct timespec){ .tv_sec = seconds };
        return true;
}

/* 0 or the property's status. */
static int take_live(struct patch *patch, const struct dav_property *property)
{
        struct span text = property->text;
        bool good;
        if (property->remove)
                return 403;
        switch (property->live) {
        case DAV_GETLASTMODIFIED:
        case DAV_WIN32_LAST_MODIFIED:
                good = take_date(patch, text);
                patch->has_modified |= good;
                break;
        case DAV_BERTH_MTIME:
                good = dav_parse_time(&patch->modified, text);
                patch->has_modified |= good;
                break;
        case DAV_BERTH_MODE:
                good = dav_parse_mode(&patch->mode, text);
                patch->has_mode |= good;
                break;
        default:
                return 403; /* protected */
        }
        return good ? 0 : 409;
}

/* 0 or the property's status. Whose names they are is the store's to say. */
static int take_attribute(struct patch *patch, const struct dav_property *property)
{
        size_t room = property->text.size;
        struct attribute *attribute = malloc(sizeof(*attribute) + room + 1);
        unsigned index = patch->dead_count++;
        patch->attributes[index] = attribute;
        if (!attribute)
                return 503;
        int size = property->remove ? 0 : base64_decode(attribute->value, room, property->text);
        if (!dav_parse_attribute(attribute->name, property->name.local) || size < 0)
                return 409;
        if (!property->remove && !property->text.data)
                return 409; /* elements */
        patch->dead[index] = (struct store_property_change){
                .attribute = attribute->name,
                .value = { attribute->value, (size_t)size },
                .remove = property->remove,
        };
        return 0;
}

static int take_dead(struct patch *patch, const struct dav_property *property)
{
        if (span_equal(property->name.space, SPAN(DAV_ATTRIBUTE_NAMESPACE)))
                return take_attribute(patch, property);
        patch->dead[patch->dead_count++] = (struct store_property_change){
                .space = property->name.space,
                .local = property->name.local,
                .lang = property->lang,
                .value = property->value,
                .remove = property->remove,
        };
        return 0;
}

static bool collect(struct patch *patch)
{
        bool good = true;
        unsigned index = 0;
        for (const struct dav_property *p = patch->c->asked->properties; p; p = p->next, index++) {
                int status = p->live != DAV_DEAD ? take_live(patch, p) : take_dead(patch, p);
                patch->statuses[index] = status;
                good &= status == 0;
        }
        return good;
}

/* ---- changing ---- */

/* The first dead property that could not be kept has said why. */
static void blame(struct patch *patch)
{
        unsigned index = 0, dead = 0;
        for (const struct dav_property *p = patch->c->asked->properties; p; p = p->next, index++)
                if (p->live == DAV_DEAD && patch->dead[dead++].error)
                        patch->statuses[index] = patch->dead[dead - 1].error == -EOPNOTSUPP
                                                         ? 507
                                                         : change_status(patch->dead[dead - 1].error);
}

static void blame_live(struct patch *patch, int error)
{
        unsigned index = 0;
        for (const struct dav_property *p = patch->c->asked->properties; p; p = p->next, index++)
                if (p->live != DAV_DEAD)
                        patch->statuses[index] = change_status(error);
}

/* Live ones first: they can be put back. What a link leads to is under another section. */
static bool apply(struct patch *patch)
{
        struct store_section *section = &patch->c->section;
        const struct store_state *before = &section->now;
        bool link = !patch->c->own && (before->linked || before->kind == STORE_IS_LINK);
        bool elsewhere = link && (patch->has_mode || patch->has_modified);
        int error = elsewhere ? -EACCES : patch->has_mode ? store_set_mode(section, patch->mode) : 0;
        if (!error && patch->has_modified)
                error = store_set_modified(section, &patch->modified);
        if (error)
                blame_live(patch, error);
        else if (store_property_change(section, patch->dead, patch->dead_count) == 0)
                return true;
        else
                blame(patch);
        if (patch->has_mode && !elsewhere)
                store_set_mode(section, before->mode);
        if (patch->has_modified && !elsewhere)
                store_set_modified(section, &before->modified);
        return false;
}

/* ---- the answer ---- */

static void put_group(struct text *out, const struct patch *patch, int status)
{
        unsigned index = 0;
        bool any = false;
        for (const struct dav_property *p = patch->c->asked->properties; p; p = p->next) {
                if (patch->statuses[index++] != status)
                        continue;
                if (!any)
                        text_put(out, SPAN("<D:propstat><D:prop>"));
                any = true;
                dav_put_element(out, &p->name, (struct span){ NULL, 0 }, (struct span){ NULL, 0 });
        }
        if (!any)
                return;
        text_put(out, SPAN("</D:prop>"));
        put_status(out, status);
        if (status == 403)
                text_put(out, SPAN("<D:error><D:cannot-modify-protected-property/></D:error>"));
        if (status == 507)
                text_put(out, SPAN("<D:responsedescription>The file system has no room for it in the file's "
                                   "extended attributes.</D:responsedescription>"));
        text_put(out, SPAN("</D:propstat>"));
}

static size_t page_bytes(const struct patch *patch)
{
        size_t size = PAGE_BYTES + 3 * HTTP_MAX_PATH;
        for (const struct dav_property *p = patch->c->asked->properties; p; p = p->next)
                size += NAME_EXTRA + NAME_FACTOR * (p->name.space.size + p->name.local.size);
        return size;
}

static int tell(struct patch *patch, bool good)
{
        static const int statuses[] = { 200, 403, 409, 413, 414, 424, 500, 503, 507 };
        struct change *c = patch->c;
        for (unsigned i = 0; i < patch->count; i++)
                if (patch->statuses[i] == 0)
                        patch->statuses[i] = good ? 200 : 424;
        struct text out = change_page(c, page_bytes(patch));
        text_put(&out, SPAN("<D:multistatus xmlns:D=\"DAV:\"><D:response>"));
        put_href(&out, (struct span){ c->request->path, c->request->path_size },
                 c->section.now.kind == STORE_IS_FOLDER);
        for (size_t i = 0; i < array_count(statuses); i++)
                put_group(&out, patch, statuses[i]);
        text_put(&out, SPAN("</D:response></D:multistatus>\n"));
        return change_page_done(c, &out, 207);
}

static int patch_all(struct change *c)
{
        unsigned count = c->asked->property_count;
        struct patch patch = {
                .c = c,
                .count = count,
                .statuses = calloc(count + 1, sizeof(*patch.statuses)),
                .dead = calloc(count + 1, sizeof(*patch.dead)),
                .attributes = calloc(count + 1, sizeof(struct attribute *)),
        };
        int status = 503;
        if (patch.statuses && patch.dead && patch.attributes)
                status = tell(&patch, collect(&patch) && apply(&patch));
        for (unsigned i = 0; patch.attributes && i <= count; i++)
                free(patch.attributes[i]);
        free(patch.statuses);
        free(patch.dead);
        free(patch.attributes);
        return status;
}

int patch_properties_run(struct change *c)
{
        if (!c->asked || c->asked->property_count == 0)
                return 400;
        int error = change_enter(c);
        if (error)
                return error == -ENOENT || error == -ENOTDIR ? 404 : change_status(error);
        int status = c->section.now.kind == STORE_NOTHING ? 404 : gate_conditions(c, &c->section.now);
        if (!status)
                status = gate_locks(c, c->request->path, GATE_CONTENT);
        if (!status)
                status = patch_all(c);
        store_leave(&c->section);
        return status;
}
