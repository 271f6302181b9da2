/* Extended attributes: properties of a namespace of their own, whose values are base64. */
#include "mount/exchange.h"

#include <errno.h>
#include <stdlib.h>

enum {
        VALUE_BYTES = 64 << 10,                     /* XATTR_SIZE_MAX of Linux */
        BODY_BYTES = VALUE_BYTES / 3 * 4 + 4 + 2048 /* with the names around it */
};

#define PROLOGUE "<?xml version=\"1.0\" encoding=\"utf-8\"?>"
#define NAMESPACES " xmlns:D=\"DAV:\" xmlns:A=\"" DAV_ATTRIBUTE_NAMESPACE "\">"

static int check_name(const struct remote *remote, const char *name)
{
        size_t size = strlen(name);

        if (!remote->can.attributes)
                return -EOPNOTSUPP;
        return size == 0 || size >= DAV_ATTRIBUTE_BYTES ? -ERANGE : 0;
}

/* A link has none of its own, and what it leads to is not meant. */
static void put_links(const struct remote *remote, struct call *call)
{
        if (remote->can.berth)
                exchange_field(call, "Berth-Links: own");
}

static struct span bytes_of(const struct text *text)
{
        ensure(!text->overflow);
        return (struct span){ text->data, text->used };
}

/* ---- one value ---- */

struct value {
        const char *name;
        char *out;
        size_t size;
        ssize_t result;
};

static void take_value(struct value *value, struct span text)
{
        char *room = malloc(VALUE_BYTES);
        int size = room ? base64_decode(room, VALUE_BYTES, text) : -1;

        value->result = !room ? -ENOMEM : size < 0 ? -EIO : size;
        if (value->size > 0 && size > 0 && (size_t)size > value->size)
                value->result = -ERANGE;
        else if (value->size > 0 && size > 0)
                memcpy(value->out, room, (size_t)size);
        free(room);
}

static int find_value(void *context, const struct dav_member *member)
{
        struct value *value = context;
        char name[DAV_ATTRIBUTE_BYTES];

        for (const struct dav_found *found = member->found; found; found = found->next) {
                if (found->status == 200 && span_equal(found->name.space, SPAN(DAV_ATTRIBUTE_NAMESPACE)) &&
                    dav_parse_attribute(name, found->name.local) && strcmp(name, value->name) == 0)
                        take_value(value, found->text);
        }
        return 0;
}

ssize_t remote_get_attribute(struct remote *remote, const char *path, const char *name, void *out, size_t size)
{
        struct value value = { .name = name, .out = out, .size = size, .result = -ENODATA };
        char room[1024];
        struct text body = text_in(room, sizeof(room));
        struct call call;
        int error = check_name(remote, name);

        if (error == 0)
                error = exchange_init(&call, "PROPFIND", path, false);
        if (error < 0)
                return error;
        text_put(&body, SPAN(PROLOGUE "<D:propfind" NAMESPACES "<D:prop><A:"));
        dav_put_attribute_name(&body, span_of(name));
        text_put(&body, SPAN("/></D:prop></D:propfind>"));
        exchange_field(&call, "Depth: 0");
        put_links(remote, &call);
        exchange_xml(&call, bytes_of(&body));
        error = exchange_multistatus(remote, &call, find_value, NULL, &value);
        return error < 0 ? error : value.result;
}

/* ---- changing one ---- */

/* The one property that was to be changed: its status, or that of all. */
static int take_status(void *context, const struct dav_member *member)
{
        struct client_answer *answer = context;

        answer->status = member->found ? member->found->status : member->status;
        return 0;
}

/* What a foreign server does not keep it refuses in many ways. */
static int change_error(const struct remote *remote, const struct client_answer *answer)
{
        int error = exchange_error(answer);

        if (!remote->can.berth && (error == -EACCES || error == -ENOENT || error == -EEXIST))
                return -EOPNOTSUPP;
        return error == -EFBIG ? -ENOSPC : error;
}

static int change(struct remote *remote, const char *path, struct span body, const char *token)
{
        struct client_answer answer = { .status = 500 };
        struct remote_condition condition = { .token = token };
        struct call call;
        int error = exchange_init(&call, "PROPPATCH", path, false);

        if (error < 0)
                return error;
        exchange_condition(&call, &condition);
        put_links(remote, &call);
        exchange_xml(&call, body);
        error = exchange_multistatus(remote, &call, take_status, NULL, &answer);
        if (call.error == 0 && call.answer.status != 207) /* lighttpd says 204; who refuses all of it says so at once */
                answer.status = call.answer.status;
        else if (error < 0)
                return error;
        return change_error(remote, &answer);
}

static void put_change(struct text *body, const char *name, const void *value, size_t size)
{
        text_put(body, SPAN(PROLOGUE "<D:propertyupdate" NAMESPACES));
        text_put(body, value ? SPAN("<D:set><D:prop><A:") : SPAN("<D:remove><D:prop><A:"));
        dav_put_attribute_name(body, span_of(name));
        text_char(body, '>');
        if (value)
                base64_put(body, (struct span){ value, size });
        text_put(body, SPAN("</A:"));
        dav_put_attribute_name(body, span_of(name));
        text_put(body, value ? SPAN("></D:prop></D:set>") : SPAN("></D:prop></D:remove>"));
        text_put(body, SPAN("</D:propertyupdate>"));
}

int remote_set_attribute(struct remote *remote, const char *path, const char *name, const void *value, size_t size,
                         const char *token)
{
        struct text body;
        int error = check_name(remote, name);

        if (error == 0 && size > VALUE_BYTES)
                error = -ENOSPC;
        if (error == 0 && !value) { /* removing what is not there is no failure to WebDAV */
                ssize_t found = remote_get_attribute(remote, path, name, NULL, 0);

                error = found < 0 ? (int)found : 0;
        }
        if (error < 0)
                return error;
        body = text_in(malloc(BODY_BYTES), BODY_BYTES);
        if (!body.data)
                return -ENOMEM;
        put_change(&body, name, value, size);
        error = change(remote, path, bytes_of(&body), token);
        free(body.data);
        return error;
}

/* ---- all names ---- */

struct names {
        char *out;
        size_t size, used;
        bool overflow;
};

static void put_name(struct names *names, const char *name)
{
        size_t size = strlen("user.") + strlen(name) + 1;

        if (names->size > 0 && size > names->size - names->used)
                names->overflow = true;
        if (names->size > 0 && !names->overflow) {
                memcpy(names->out + names->used, "user.", 5);
                memcpy(names->out + names->used + 5, name, size - 5);
        }
        if (!names->overflow)
                names->used += size;
}

static int take_names(void *context, const struct dav_member *member)
{
        struct names *names = context;
        char name[DAV_ATTRIBUTE_BYTES];

        for (const struct dav_found *found = member->found; found; found = found->next) {
                if (span_equal(found->name.space, SPAN(DAV_ATTRIBUTE_NAMESPACE)) &&
                    dav_parse_attribute(name, found->name.local))
                        put_name(names, name);
        }
        return 0;
}

static void take_names_again(void *context)
{
        struct names *names = context;

        names->used = 0;
        names->overflow = false;
}

ssize_t remote_list_attributes(struct remote *remote, const char *path, char *out, size_t size)
{
        struct names names = { .out = out, .size = size };
        struct call call;
        int error = exchange_init(&call, "PROPFIND", path, false);

        if (error < 0 || !remote->can.attributes)
                return error < 0 ? error : -EOPNOTSUPP;
        exchange_field(&call, "Depth: 0");
        put_links(remote, &call);
        exchange_xml(&call, SPAN(PROLOGUE "<D:propfind xmlns:D=\"DAV:\"><D:propname/></D:propfind>"));
        error = exchange_multistatus(remote, &call, take_names, take_names_again, &names);
        if (error < 0)
                return error;
        return names.overflow ? -ERANGE : (ssize_t)names.used;
}
