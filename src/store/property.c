/* Properties: each an attribute of the file or folder, named by a digest of its name, since attribute names are short
 * and property names are not. The value begins with the name, so that it can be told, and another of the same digest
 * noticed.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { DIGITS = 32, ATTRIBUTE_BYTES = sizeof(STORE_PROPERTY_PREFIX) + DIGITS };

static void name_attribute(char attribute[ATTRIBUTE_BYTES], struct span space, struct span local)
{
        struct store_digest digest = store_digest(space, local);
        struct text text = text_in(attribute, ATTRIBUTE_BYTES);

        text_put(&text, SPAN(STORE_PROPERTY_PREFIX));
        for (unsigned i = 0; i < sizeof(digest.bytes); i++) {
                text_char(&text, "0123456789abcdef"[digest.bytes[i] >> 4]);
                text_char(&text, "0123456789abcdef"[digest.bytes[i] & 15]);
        }
        text_char(&text, '\0');
        ensure(!text.overflow);
}

/* "namespace NUL local NUL lang NUL value"; false for anything else. */
static bool parse(const char *data, size_t size, struct store_property *property)
{
        struct span rest = { data, size };
        struct span *parts[] = { &property->space, &property->local, &property->lang };

        for (unsigned i = 0; i < array_count(parts); i++) {
                *parts[i] = span_cut(&rest, '\0');
                if (!rest.data)
                        return false;
        }
        property->value = rest;
        return property->local.size > 0;
}

/* ---- reading ---- */

/* Where there are no attributes, there are no properties. */
static ssize_t read_attribute(int folder, const char *name, const char *attribute, char *room, size_t size)
{
        ssize_t got = size ? store_xattr_get(folder, name, attribute, room, size) : -ERANGE;

        return got == -EOPNOTSUPP || got == -EPERM ? -ENODATA : got;
}

ssize_t store_property_get(int folder, const char *name, struct span space, struct span local, char *room, size_t size,
                           struct store_property *property)
{
        char attribute[ATTRIBUTE_BYTES];
        ssize_t got;

        name_attribute(attribute, space, local);
        got = read_attribute(folder, name, attribute, room, size);
        if (got < 0)
                return got;
        if (!parse(room, (size_t)got, property) || !span_equal(property->space, space) ||
            !span_equal(property->local, local))
                return -ENODATA;
        return got;
}

struct reading {
        int folder;
        const char *name;
        char *value; /* STORE_VALUE_BYTES, when there was something to read */
        int (*property)(void *context, const struct store_property *property);
        int (*attribute)(void *context, struct span attribute, struct span value);
        void *context;
};

static bool is_property(const char *attribute)
{
        return strncmp(attribute, STORE_PROPERTY_PREFIX, sizeof(STORE_PROPERTY_PREFIX) - 1) == 0;
}

static ssize_t read_value(struct reading *reading, const char *attribute)
{
        if (!reading->value && !(reading->value = malloc(STORE_VALUE_BYTES)))
                return -ENOMEM;
        return read_attribute(reading->folder, reading->name, attribute, reading->value, STORE_VALUE_BYTES);
}

/* What has our prefix but was not written by us is passed over, as it could not be found by its name either. */
static int each_property(void *context, const char *attribute)
{
        struct reading *reading = context;
        struct store_property property;
        char expected[ATTRIBUTE_BYTES];
        ssize_t got;

        if (!is_property(attribute))
                return 0;
        got = read_value(reading, attribute);
        if (got < 0)
                return got == -ENODATA ? 0 : (int)got;
        if (!parse(reading->value, (size_t)got, &property))
                return 0;
        name_attribute(expected, property.space, property.local);
        return strcmp(expected, attribute) == 0 ? reading->property(reading->context, &property) : 0;
}

static bool is_ours(const char *attribute)
{
        return strncmp(attribute, "berth.", 6) == 0;
}

/* Of a plain attribute. */
static int full_name(char full[STORE_ATTRIBUTE_BYTES + 1], const char *attribute)
{
        struct text text = text_in(full, STORE_ATTRIBUTE_BYTES + 1);

        if (!attribute[0])
                return -EINVAL;
        if (is_ours(attribute))
                return -EPERM;
        text_put(&text, SPAN("user."));
        text_put(&text, span_of(attribute));
        text_char(&text, '\0');
        return text.overflow ? -ERANGE : 0;
}

static int each_attribute(void *context, const char *attribute)
{
        struct reading *reading = context;
        const char *plain = attribute + strlen("user.");
        ssize_t got;

        if (is_ours(plain))
                return 0;
        got = read_value(reading, attribute);
        if (got < 0)
                return got == -ENODATA ? 0 : (int)got;
        return reading->attribute(reading->context, span_of(plain), (struct span){ reading->value, (size_t)got });
}

int store_property_each(int folder, const char *name, int (*each)(void *context, const struct store_property *property),
                        void *context)
{
        struct reading reading = { .folder = folder, .name = name, .property = each, .context = context };
        int result = store_xattr_each(folder, name, each_property, &reading);

        free(reading.value);
        return result;
}

int store_attribute_each(int folder, const char *name,
                         int (*each)(void *context, struct span attribute, struct span value), void *context)
{
        struct reading reading = { .folder = folder, .name = name, .attribute = each, .context = context };
        int result = store_xattr_each(folder, name, each_attribute, &reading);

        free(reading.value);
        return result;
}

ssize_t store_attribute_get(int folder, const char *name, const char *attribute, char *room, size_t size)
{
        char full[STORE_ATTRIBUTE_BYTES + 1];

        if (full_name(full, attribute))
                return -ENODATA;
        return read_attribute(folder, name, full, room, size);
}

/* ---- changing ---- */

/* What an attribute was before. */
struct before {
        char attribute[STORE_ATTRIBUTE_BYTES + 1];
        char *value; /* NULL: it was not there */
        size_t size;
};

static int remember(struct store_section *section, struct before *before, char *room)
{
        ssize_t got = store_xattr_get(section->folder, section->name, before->attribute, room, STORE_VALUE_BYTES);

        if (got == -ENODATA)
                return 0;
        if (got < 0)
                return (int)got;
        before->value = malloc((size_t)got + 1);
        if (!before->value)
                return -ENOMEM;
        memcpy(before->value, room, (size_t)got);
        before->size = (size_t)got;
        return 0;
}

static int remove_attribute(struct store_section *section, const char *attribute)
{
        int error = store_xattr_remove(section->folder, section->name, attribute);

        return error == -ENODATA ? 0 : error;
}

static void undo(struct store_section *section, const struct before *before)
{
        if (before->value)
                store_xattr_set(section->folder, section->name, before->attribute, before->value, before->size,
                                STORE_PUT);
        else
                remove_attribute(section, before->attribute);
}

static bool has_nul(struct span span)
{
        return span.size && memchr(span.data, 0, span.size);
}

static int compose(const struct store_property_change *change, char *room, size_t *size)
{
        struct text text = text_in(room, STORE_PROPERTY_BYTES);

        if (has_nul(change->space) || has_nul(change->local) || has_nul(change->lang) || change->local.size == 0)
                return -EINVAL;
        text_put(&text, change->space);
        text_char(&text, '\0');
        text_put(&text, change->local);
        text_char(&text, '\0');
        text_put(&text, change->lang);
        text_char(&text, '\0');
        text_put(&text, change->value);
        *size = text.used;
        return text.overflow ? -E2BIG : 0;
}

static int name_changed(struct before *before, const struct store_property_change *change)
{
        if (change->attribute)
                return full_name(before->attribute, change->attribute);
        name_attribute(before->attribute, change->space, change->local);
        return 0;
}

/* `room` holds STORE_VALUE_BYTES. */
static int make_change(struct store_section *section, const struct store_property_change *change, struct before *before,
                       char *room)
{
        size_t size;
        int error;

        error = name_changed(before, change);
        if (!error)
                error = remember(section, before, room);
        if (error)
                return error;
        if (change->remove)
                return remove_attribute(section, before->attribute);
        if (change->attribute)
                return store_xattr_set(section->folder, section->name, before->attribute, change->value.data,
                                       change->value.size, STORE_PUT);
        error = compose(change, room, &size);
        return error ? error
                     : store_xattr_set(section->folder, section->name, before->attribute, room, size, STORE_PUT);
}

static int make_changes(struct store_section *section, struct store_property_change *changes, unsigned count,
                        struct before *befores, char *room)
{
        for (unsigned i = 0; i < count; i++) {
                changes[i].error = make_change(section, &changes[i], &befores[i], room);
                if (!changes[i].error)
                        continue;
                for (unsigned done = i; done-- > 0;)
                        undo(section, &befores[done]);
                return changes[i].error;
        }
        return 0;
}

int store_property_change(struct store_section *section, struct store_property_change *changes, unsigned count)
{
        struct before *befores = calloc(max_of(count, 1u), sizeof(*befores));
        char *room = malloc(STORE_VALUE_BYTES);
        int error = befores && room ? 0 : -ENOMEM;

        for (unsigned i = 0; i < count; i++)
                changes[i].error = 0;
        if (!error)
                error = make_changes(section, changes, count, befores, room);
        for (unsigned i = 0; befores && i < count; i++)
                free(befores[i].value);
        free(befores);
        free(room);
        return error ? error : store_settle(section);
}
