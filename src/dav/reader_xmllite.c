/* Reading XML by XmlLite, which asks for its input instead of being given it: so a document is gathered, and told when
 * its end has come. A document type is prohibited: XmlLite stops at it.
 *
 * It tells UTF-16, and declarations of namespaces among the attributes. What a tag needs as UTF-8 is put one behind the
 * other in `names`, found by where it begins, for the room may move. */
#define COBJMACROS
#define INITGUID
#include "dav/dav_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <windows.h>

#include <xmllite.h>

enum {
        GATHERED_BYTES = 64 << 20, /* a longer document is -E2BIG */
        GATHER_BYTES = 16 << 10,
};

#define XMLNS "http://www.w3.org/2000/xmlns/"

/* A growing piece of memory. */
struct room {
        char *data;
        size_t size, used;
};

struct dav_reader {
        ISequentialStream stream; /* first: XmlLite's view of `document` */
        const struct dav_reader_calls *calls;
        void *context;
        IXmlReader *xml;
        struct room document, names;
        struct room parts; /* size_t: where attributes' names and values begin in `names` */
        size_t read;       /* bytes of the document */
        size_t looked;     /* bytes of it that have been looked at for tags too long */
        bool stopped;
};

/* ---- room ---- */

static bool make_room(struct room *room, size_t more)
{
        if (more <= room->size - room->used)
                return true;
        size_t size = max_of(room->size * 2, room->used + more);
        char *data = realloc(room->data, max_of(size, (size_t)GATHER_BYTES));
        if (!data)
                return false;
        room->data = data;
        room->size = max_of(size, (size_t)GATHER_BYTES);
        return true;
}

static bool put_bytes(struct room *room, const void *data, size_t size)
{
        if (!make_room(room, size))
                return false;
        if (size > 0)
                memcpy(room->data + room->used, data, size);
        room->used += size;
        return true;
}

/* As UTF-8, with no NUL behind it. */
static bool put_wide(struct room *room, const wchar_t *wide, UINT length)
{
        if (length == 0)
                return true;
        size_t most = (size_t)length * 3;
        if (!make_room(room, most))
                return false;
        int size = WideCharToMultiByte(CP_UTF8, 0, wide, (int)length, room->data + room->used, (int)most, NULL, NULL);
        room->used += (size_t)size;
        return size > 0;
}

/* ---- the document as a stream; it is part of the reader, so nobody counts who holds it ---- */

static struct dav_reader *reader_of(ISequentialStream *stream)
{
        return container_of(stream, struct dav_reader, stream);
}

static HRESULT STDMETHODCALLTYPE stream_query(ISequentialStream *stream, REFIID wanted, void **out)
{
        bool known = IsEqualIID(wanted, &IID_IUnknown) || IsEqualIID(wanted, &IID_ISequentialStream);
        *out = known ? stream : NULL;
        return known ? S_OK : E_NOINTERFACE;
}

static ULONG STDMETHODCALLTYPE stream_hold(ISequentialStream *stream)
{
        (void)stream;
        return 1;
}

static HRESULT STDMETHODCALLTYPE stream_read(ISequentialStream *stream, void *out, ULONG size, ULONG *got)
{
        struct dav_reader *reader = reader_of(stream);
        size_t n = min_of((size_t)size, reader->document.used - reader->read);
        if (n > 0)
                memcpy(out, reader->document.data + reader->read, n);
        reader->read += n;
        if (got)
                *got = (ULONG)n;
        return n < size ? S_FALSE : S_OK;
}

static HRESULT STDMETHODCALLTYPE stream_write(ISequentialStream *stream, const void *data, ULONG size, ULONG *written)
{
        (void)stream, (void)data, (void)size, (void)written;
        return E_NOTIMPL;
}

static const ISequentialStreamVtbl stream_calls = { stream_query, stream_hold, stream_hold, stream_read, stream_write };

/* ---- a tag ---- */

/* "namespace SEPARATOR local", NUL-terminated; where it begins in `names`, or -1 without memory. */
static ssize_t put_name(struct dav_reader *reader)
{
        static const char separator = DAV_SEPARATOR;
        const wchar_t *space, *local;
        UINT space_length, local_length;
        size_t at = reader->names.used;
        if (IXmlReader_GetNamespaceUri(reader->xml, &space, &space_length) != S_OK)
                space_length = 0;
        if (IXmlReader_GetLocalName(reader->xml, &local, &local_length) != S_OK)
                return -1;
        bool put = put_wide(&reader->names, space, space_length) &&
                   (space_length == 0 || put_bytes(&reader->names, &separator, 1)) &&
                   put_wide(&reader->names, local, local_length) && put_bytes(&reader->names, "", 1);
        return put ? (ssize_t)at : -1;
}

static ssize_t put_value(struct dav_reader *reader)
{
        const wchar_t *value;
        UINT length;
        size_t at = reader->names.used;
        if (IXmlReader_GetValue(reader->xml, &value, &length) != S_OK)
                return -1;
        return put_wide(&reader->names, value, length) && put_bytes(&reader->names, "", 1) ? (ssize_t)at : -1;
}

/* One that declares a namespace is told at once, the others with their element. */
static int take_attribute(struct dav_reader *reader)
{
        size_t before = reader->names.used;
        ssize_t name = put_name(reader), value = name < 0 ? -1 : put_value(reader);
        if (value < 0)
                return -ENOMEM;
        size_t both[] = { (size_t)name, (size_t)value };
        const char *text = reader->names.data + name;
        if (strncmp(text, XMLNS, strlen(XMLNS)) != 0 && strcmp(text, "xmlns") != 0)
                return put_bytes(&reader->parts, both, sizeof(both)) ? 0 : -ENOMEM;
        if (reader->names.data[value])
                reader->calls->space(reader->context, reader->names.data + value);
        reader->names.used = before;
        return 0;
}

static int take_attributes(struct dav_reader *reader)
{
        int error = 0;
        HRESULT more = IXmlReader_MoveToFirstAttribute(reader->xml);
        for (; more == S_OK && !error && !reader->stopped; more = IXmlReader_MoveToNextAttribute(reader->xml))
                error = take_attribute(reader);
        IXmlReader_MoveToElement(reader->xml);
        return error ? error : FAILED(more) ? -EBADMSG : 0;
}

/* Of the places in `names` become pointers, when nothing moves any more. */
static int tell_start(struct dav_reader *reader, size_t name)
{
        const char *none = NULL;
        size_t count = reader->parts.used / sizeof(size_t);
        const char **list = malloc((count + 1) * sizeof(*list));
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                list[i] = reader->names.data + ((const size_t *)(const void *)reader->parts.data)[i];
        list[count] = none;
        reader->calls->start(reader->context, reader->names.data + name, list);
        free(list);
        return 0;
}

static int take_element(struct dav_reader *reader)
{
        reader->names.used = reader->parts.used = 0;
        bool empty = IXmlReader_IsEmptyElement(reader->xml);
        ssize_t name = put_name(reader);
        int error = name < 0 ? -ENOMEM : take_attributes(reader);
        if (!error && !reader->stopped)
                error = tell_start(reader, (size_t)name);
        if (!error && empty && !reader->stopped)
                reader->calls->end(reader->context, reader->names.data + name);
        return error;
}

static int take_end(struct dav_reader *reader)
{
        reader->names.used = 0;
        ssize_t name = put_name(reader);
        if (name < 0)
                return -ENOMEM;
        reader->calls->end(reader->context, reader->names.data + name);
        return 0;
}

static int take_characters(struct dav_reader *reader)
{
        reader->names.used = 0;
        ssize_t at = put_value(reader);
        if (at < 0)
                return -ENOMEM;
        reader->calls->characters(reader->context, (struct span){ reader->names.data + at, reader->names.used - 1 });
        return 0;
}

static int take_node(struct dav_reader *reader, XmlNodeType type)
{
        switch (type) {
        case XmlNodeType_Element:
                return take_element(reader);
        case XmlNodeType_EndElement:
                return take_end(reader);
        case XmlNodeType_Text:
        case XmlNodeType_CDATA:
        case XmlNodeType_Whitespace:
                return take_characters(reader);
        case XmlNodeType_DocumentType:
                reader->calls->doctype(reader->context);
                return 0;
        default:
                return 0;
        }
}

/* ---- the size of a tag, which XmlLite does not bound ---- */

/* What begins with '<' and is no element's tag. Sections of text are as long as they like. */
static const struct {
        struct span begin, end;
        bool bounded;
} others[] = {
        { { "<!--", 4 }, { "-->", 3 }, true },
        { { "<?", 2 }, { "?>", 2 }, true },
        { { "<![CDATA[", 9 }, { "]]>", 3 }, false },
};

/* Bytes up to the end of an element's tag, 0: it has none yet. An attribute's value may hold '>'. */
static size_t tag_bytes(struct span s)
{
        char quote = '\0';
        for (size_t i = 1; i < s.size; i++) {
                char c = s.data[i];
                if (quote ? c == quote : c == '"' || c == '\'')
                        quote = quote ? '\0' : c;
                else if (c == '>' && !quote)
                        return i + 1;
        }
        return 0;
}

/* Likewise of whatever begins with '<'. */
static size_t token_bytes(struct span s, bool *bounded)
{
        *bounded = true;
        for (size_t i = 0; i < array_count(others); i++) {
                size_t begin = others[i].begin.size;
                if (s.size < begin || memcmp(s.data, others[i].begin.data, begin) != 0)
                        continue;
                *bounded = others[i].bounded;
                const char *end = span_find((struct span){ s.data + begin, s.size - begin }, others[i].end);
                return end ? (size_t)(end - s.data) + others[i].end.size : 0;
        }
        return tag_bytes(s);
}

/* Goes on where the last look found the beginning of one that had no end yet. */
static bool has_long_tag(struct dav_reader *reader)
{
        const char *at = reader->document.data + reader->looked, *end = reader->document.data + reader->document.used;
        bool bounded = true;
        for (size_t size = 1; at < end && size > 0; at += size) {
                at = memchr(at, '<', (size_t)(end - at));
                if (!at)
                        at = end;
                struct span rest = { at, (size_t)(end - at) };
                size = rest.size ? token_bytes(rest, &bounded) : 0;
                if (bounded && (size ? size : rest.size) > DAV_TAG_BYTES)
                        return true;
        }
        reader->looked = (size_t)(at - reader->document.data);
        return false;
}

/* ---- reading ---- */

static int read_document(struct dav_reader *reader)
{
        XmlNodeType type;
        HRESULT result;
        int error = 0;
        if (FAILED(IXmlReader_SetInput(reader->xml, (IUnknown *)&reader->stream)))
                return -ENOMEM;
        while (!error && !reader->stopped && (result = IXmlReader_Read(reader->xml, &type)) == S_OK)
                error = take_node(reader, type);
        if (error || reader->stopped)
                return error;
        return SUCCEEDED(result) ? 0 : result == E_OUTOFMEMORY ? -ENOMEM : -EBADMSG;
}

int dav_reader_feed(struct dav_reader *reader, const char *data, size_t size, bool last)
{
        if (size > GATHERED_BYTES - reader->document.used)
                return -E2BIG;
        if (!put_bytes(&reader->document, data, size))
                return -ENOMEM;
        if (reader->document.used > 0 && has_long_tag(reader))
                return -E2BIG;
        return last ? read_document(reader) : 0;
}

void dav_reader_stop(struct dav_reader *reader)
{
        reader->stopped = true;
}

/* ---- life ---- */

typedef HRESULT STDMETHODCALLTYPE create_fn(REFIID, void **, IMalloc *);

/* Found at run time: not every toolchain has a library to link it by. */
static create_fn *create_xml;

static void find_xmllite(void)
{
        HMODULE library = LoadLibraryExW(L"xmllite.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
        if (library)
                create_xml = (create_fn *)(void (*)(void))GetProcAddress(library, "CreateXmlReader");
}

static bool create_reader(IXmlReader **xml)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, find_xmllite);
        return create_xml && SUCCEEDED(create_xml(&IID_IXmlReader, (void **)xml, NULL)) &&
               SUCCEEDED(IXmlReader_SetProperty(*xml, XmlReaderProperty_DtdProcessing, DtdProcessing_Prohibit)) &&
               SUCCEEDED(IXmlReader_SetProperty(*xml, XmlReaderProperty_MaxElementDepth, 0));
}

int dav_reader_create(struct dav_reader **out, const struct dav_reader_calls *calls, void *context)
{
        struct dav_reader *reader = calloc(1, sizeof(*reader));
        if (!reader)
                return -ENOMEM;
        reader->stream.lpVtbl = (ISequentialStreamVtbl *)(uintptr_t)&stream_calls;
        reader->calls = calls;
        reader->context = context;
        if (!create_reader(&reader->xml)) {
                dav_reader_destroy(reader);
                return -ENOMEM;
        }
        *out = reader;
        return 0;
}

void dav_reader_reset(struct dav_reader *reader, void *context)
{
        IXmlReader_SetInput(reader->xml, NULL);
        reader->context = context;
        reader->document.used = 0;
        reader->read = reader->looked = 0;
        reader->stopped = false;
}

void dav_reader_destroy(struct dav_reader *reader)
{
        if (!reader)
                return;
        if (reader->xml)
                IXmlReader_Release(reader->xml);
        free(reader->document.data);
        free(reader->names.data);
        free(reader->parts.data);
        free(reader);
}
