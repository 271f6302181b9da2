/* Reading XML by expat: told as it comes.
 *
 * Expat copies the namespace of an attribute for each attribute that has one, all in one tag at the same time; bounds
 * on the size of a tag and of a namespace keep that small. What entities could do is gone with the document type. */
#include "dav/dav_priv.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>

struct dav_reader {
        const struct dav_reader_calls *calls;
        void *context;
        XML_Parser parser;
        uint64_t parsed; /* bytes */
};

static void on_start(void *argument, const XML_Char *name, const XML_Char **attributes)
{
        struct dav_reader *reader = argument;
        reader->calls->start(reader->context, name, (const char *const *)attributes);
}

static void on_end(void *argument, const XML_Char *name)
{
        struct dav_reader *reader = argument;
        reader->calls->end(reader->context, name);
}

static void on_characters(void *argument, const XML_Char *data, int size)
{
        struct dav_reader *reader = argument;
        reader->calls->characters(reader->context, (struct span){ data, (size_t)size });
}

static void on_namespace(void *argument, const XML_Char *prefix, const XML_Char *space)
{
        struct dav_reader *reader = argument;
        (void)prefix;
        if (space)
                reader->calls->space(reader->context, space);
}

static void on_doctype(void *argument, const XML_Char *name, const XML_Char *system, const XML_Char *public,
                       int internal)
{
        struct dav_reader *reader = argument;
        (void)name, (void)system, (void)public, (void)internal;
        reader->calls->doctype(reader->context);
}

static void begin(struct dav_reader *reader, void *context)
{
        reader->context = context;
        reader->parsed = 0;
        XML_SetUserData(reader->parser, reader);
        XML_SetElementHandler(reader->parser, on_start, on_end);
        XML_SetCharacterDataHandler(reader->parser, on_characters);
        XML_SetStartNamespaceDeclHandler(reader->parser, on_namespace);
        XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
        XML_SetHashSalt(reader->parser, (unsigned long)hash_bytes("", 0) | 1); /* else one from the kernel each time */
}

int dav_reader_create(struct dav_reader **out, const struct dav_reader_calls *calls, void *context)
{
        struct dav_reader *reader = calloc(1, sizeof(*reader));
        if (!reader)
                return -ENOMEM;
        reader->calls = calls;
        reader->parser = XML_ParserCreateNS(NULL, DAV_SEPARATOR);
        if (!reader->parser) {
                free(reader);
                return -ENOMEM;
        }
        begin(reader, context);
        *out = reader;
        return 0;
}

void dav_reader_reset(struct dav_reader *reader, void *context)
{
        ensure(XML_ParserReset(reader->parser, NULL));
        begin(reader, context);
}

int dav_reader_feed(struct dav_reader *reader, const char *data, size_t size, bool last)
{
        if (XML_Parse(reader->parser, data, (int)size, last) != XML_STATUS_OK)
                return XML_GetErrorCode(reader->parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EBADMSG;
        reader->parsed += size;
        int64_t at = XML_GetCurrentByteIndex(reader->parser); /* where the token starts that is not whole yet */
        return at >= 0 && reader->parsed - (uint64_t)at > DAV_TAG_BYTES ? -E2BIG : 0;
}

void dav_reader_stop(struct dav_reader *reader)
{
        XML_StopParser(reader->parser, XML_FALSE);
}

void dav_reader_destroy(struct dav_reader *reader)
{
        if (!reader)
                return;
        XML_ParserFree(reader->parser);
        free(reader);
}
