/* dav_priv: what the files of dav share with each other. */
#ifndef DAV_DAV_PRIV_H
#define DAV_DAV_PRIV_H

#include "dav/dav.h"

/* Stands between the namespace and the local name in what a reader tells. No XML document can hold it, not even as a
 * character reference (XML 1.0, 2.2), so no name can be mistaken for another. */
#define DAV_SEPARATOR '\1'
#define DAV_XML_NAMESPACE "http://www.w3.org/XML/1998/namespace" /* of xml:lang; its prefix needs no declaration */

/* ---- XML as it is read (reader_expat.c, reader_xmllite.c) ----
 *
 * Namespaces are resolved, names told as "namespace SEPARATOR local", or the local name alone where there is none.
 * Character data comes in pieces. A document type is told and nothing of it is read: whoever hears of it stops. */

struct dav_reader;

struct dav_reader_calls {
        void (*start)(void *context, const char *name, const char *const *attributes); /* name, value, ..., NULL */
        void (*end)(void *context, const char *name);
        void (*characters)(void *context, struct span s);
        void (*space)(void *context, const char *space); /* declared by the tag that is told next */
        void (*doctype)(void *context);
};

/* 0 or -ENOMEM. The calls last as long as the reader. */
int dav_reader_create(struct dav_reader **reader, const struct dav_reader_calls *calls, void *context);
/* Begins anew. */
void dav_reader_reset(struct dav_reader *reader, void *context);
/* More of the document, or with `last` its end. 0, -EBADMSG what is not well-formed, -ENOMEM, -E2BIG when a tag, comment
 * or instruction is still open after DAV_TAG_BYTES. Some readers tell of nothing before the end. */
int dav_reader_feed(struct dav_reader *reader, const char *data, size_t size, bool last);
/* From within a call: no more is told than what may be on its way already. */
void dav_reader_stop(struct dav_reader *reader);
/* NULL is fine. */
void dav_reader_destroy(struct dav_reader *reader);

enum { DAV_TAG_BYTES = 8 << 10 };

/* ---- memory that lasts as long as a body (arena.c) ---- */

enum { DAV_ARENA_BYTES = 8 * DAV_BODY_BYTES };

struct dav_block;

struct dav_arena {
        struct dav_block *blocks; /* the first is the one that is filled */
        size_t used;              /* bytes of the first block */
        size_t total;             /* bytes of all blocks, at most DAV_ARENA_BYTES */
        int status;               /* why something could not be had: -413 at the bound, -503 no memory; else 0 */
};

/* Zeroed; NULL sets `status`. A zeroed arena is an empty one. */
void *dav_arena_take(struct dav_arena *arena, size_t size);
/* A copy with data != NULL even when empty; {NULL, 0} sets `status`. */
struct span dav_arena_copy(struct dav_arena *arena, struct span s);
/* Everything is given back at once, but memory is kept for what comes next. `status` stays. */
void dav_arena_reset(struct dav_arena *arena);
void dav_arena_finish(struct dav_arena *arena);

/* ---- the content of an element, written so that it stands alone (value.c) ---- */

struct dav_value {
        char *room;        /* for both writers, DAV_VALUE_BYTES each; NULL until something is recorded */
        struct text xml;   /* the content as XML */
        struct text plain; /* its text, unescaped */
        bool elements;     /* there were elements: `plain` means nothing */
        bool tag_open;     /* the last start tag lacks its '>', for it may become "/>" */
};

/* Begins anew. 0 or -503. */
int dav_value_start(struct dav_value *value);
/* As a reader tells them. What does not fit makes dav_value_full() true. */
void dav_value_open(struct dav_value *value, const char *name, const char *const *attributes);
void dav_value_close(struct dav_value *value, const char *name);
void dav_value_characters(struct dav_value *value, struct span s);
void dav_value_finish(struct dav_value *value);

static inline bool dav_value_full(const struct dav_value *value)
{
        return value->xml.overflow || value->plain.overflow;
}

/* The two parts of a name that a reader tells; the namespace is empty where there is none. */
struct dav_name dav_split_name(const char *name);

/* ---- what several parsers take apart ---- */

/* For the value of an attribute in double quotes: white space that a reader would change is written as references. */
void dav_put_attribute(struct text *out, struct span s);

/* scheme ":" and at least one byte, all of them bytes that a URI in angle brackets may hold. */
bool dav_is_absolute_uri(struct span s);

static inline bool dav_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* 1*DIGIT at the start of *rest, which moves behind it. False when there is none; past INT64_MAX: INT64_MAX. */
bool dav_take_number(struct span *rest, uint64_t *number);

/* That text at the start of *rest, in any case; *rest moves behind it. */
bool dav_take_word(struct span *rest, struct span word);

#endif
