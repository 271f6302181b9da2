/* The content of an element as XML that means the same wherever it is put.
 *
 * Every element and every attribute with a namespace declares it on the spot, by the prefixes n0 (the element) and
 * n1, n2, ... (its attributes): what they were called in the document is no part of their names. Comments and
 * processing instructions are not told by expat and so are gone, as RFC 4918 4.3 allows. */
#include "dav/dav_priv.h"

#include <stdlib.h>

int dav_value_start(struct dav_value *value)
{
        if (!value->room)
                value->room = malloc(2 * (size_t)DAV_VALUE_BYTES);
        if (!value->room)
                return -503;
        *value = (struct dav_value){
                .room = value->room,
                .xml = text_in(value->room, DAV_VALUE_BYTES),
                .plain = text_in(value->room + DAV_VALUE_BYTES, DAV_VALUE_BYTES),
        };
        return 0;
}

void dav_value_finish(struct dav_value *value)
{
        free(value->room);
        *value = (struct dav_value){ 0 };
}

struct dav_name dav_split_name(const char *name)
{
        const char *separator = strchr(name, DAV_SEPARATOR);

        if (!separator)
                return (struct dav_name){ SPAN(""), span_of(name) };
        return (struct dav_name){ { name, (size_t)(separator - name) }, span_of(separator + 1) };
}

static bool is_xml_space(struct span space)
{
        return span_equal(space, SPAN(DAV_XML_NAMESPACE));
}

static void put_name(struct text *out, const struct dav_name *name, unsigned number)
{
        if (is_xml_space(name->space))
                text_put(out, SPAN("xml:"));
        else if (name->space.size > 0)
                text_format(out, "n%u:", number);
        text_put(out, name->local);
}

/* Without a namespace an element says so, lest it be taken into that of the place where it will stand. */
static void put_declaration(struct text *out, struct span space, unsigned number)
{
        if (is_xml_space(space))
                return;
        if (space.size > 0)
                text_format(out, " xmlns:n%u=\"", number);
        else
                text_put(out, SPAN(" xmlns=\""));
        dav_put_attribute(out, space);
        text_char(out, '"');
}

static void put_attribute(struct text *out, const char *attribute, const char *content, unsigned number)
{
        struct dav_name name = dav_split_name(attribute);

        if (name.space.size > 0)
                put_declaration(out, name.space, number);
        text_char(out, ' ');
        put_name(out, &name, number);
        text_put(out, SPAN("=\""));
        dav_put_attribute(out, span_of(content));
        text_char(out, '"');
}

static void end_tag(struct dav_value *value)
{
        if (value->tag_open)
                text_char(&value->xml, '>');
        value->tag_open = false;
}

void dav_value_open(struct dav_value *value, const char *name, const char *const *attributes)
{
        struct dav_name split = dav_split_name(name);

        end_tag(value);
        text_char(&value->xml, '<');
        put_name(&value->xml, &split, 0);
        put_declaration(&value->xml, split.space, 0);
        for (unsigned i = 0; attributes[i] && !value->xml.overflow; i += 2)
                put_attribute(&value->xml, attributes[i], attributes[i + 1], 1 + i / 2);
        value->tag_open = true;
        value->elements = true;
}

void dav_value_close(struct dav_value *value, const char *name)
{
        struct dav_name split = dav_split_name(name);

        if (value->tag_open) {
                text_put(&value->xml, SPAN("/>"));
                value->tag_open = false;
                return;
        }
        text_put(&value->xml, SPAN("</"));
        put_name(&value->xml, &split, 0);
        text_char(&value->xml, '>');
}

void dav_value_characters(struct dav_value *value, struct span s)
{
        end_tag(value);
        dav_put_escaped(&value->xml, s);
        text_put(&value->plain, s);
}
