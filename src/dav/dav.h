/* dav: WebDAV (RFC 4918) as values: bytes in, values out; no I/O. XML is read by expat and written as text.
 *
 * Names of properties are pairs of a namespace URI and a local name. Everything that a parser gives points into memory
 * of its own and lasts as long as the parser. No global state: every function may be used by any thread, an object by
 * one thread at a time.
 */
#ifndef DAV_DAV_H
#define DAV_DAV_H

#include "base/base.h"

#include <time.h>

#define DAV_NAMESPACE "DAV:"
#define DAV_BERTH_NAMESPACE "urn:berth:posix"         /* properties for the mount, docs/internals/dav.md */
#define DAV_ATTRIBUTE_NAMESPACE "urn:berth:attribute" /* extended attributes of users, likewise */
#define DAV_BERTH_DOT_NAMES "urn:berth:dot-names"     /* in the DAV field: names that begin with a dot are served */
#define DAV_BERTH_UNLINKED ".berth-unlinked-" /* and 32 hexadecimal digits: removed on a mount, and open there */
#define DAV_WIN32_NAMESPACE "urn:schemas-microsoft-com:"
#define DAV_OWNCLOUD_NAMESPACE "http://owncloud.org/ns"

struct dav_name {
        struct span space, local; /* namespace URI (may be empty), local name */
};

static inline bool dav_same_name(const struct dav_name *a, const struct dav_name *b)
{
        return span_equal(a->space, b->space) && span_equal(a->local, b->local);
}

/* ---- live properties (names.c) ---- */

enum dav_live {
        DAV_CREATIONDATE,
        DAV_DISPLAYNAME,
        DAV_GETCONTENTLENGTH,
        DAV_GETCONTENTTYPE,
        DAV_GETETAG,
        DAV_GETLASTMODIFIED,
        DAV_LOCKDISCOVERY,
        DAV_RESOURCETYPE,
        DAV_SUPPORTEDLOCK,
        DAV_ALLPROP_END, /* those above are what allprop tells; the others are told when asked for by name */
        DAV_QUOTA_AVAILABLE_BYTES = DAV_ALLPROP_END, /* RFC 4331 */
        DAV_QUOTA_USED_BYTES,
        DAV_OC_CHECKSUMS,        /* owncloud.org: checksums */
        DAV_WIN32_LAST_MODIFIED, /* urn:schemas-microsoft-com: Win32LastModifiedTime, an HTTP date */
        DAV_BERTH_MODE,          /* permission bits, octal: "0644" */
        DAV_BERTH_MTIME,         /* seconds since 1970 with nine decimals: "1700000000.123456789" */
        DAV_BERTH_INODE,         /* decimal */
        DAV_BERTH_LINKS,         /* number of hard links, decimal */
        DAV_BERTH_TARGET,        /* of a symbolic link, text */
        DAV_LIVE_COUNT,
        DAV_DEAD = DAV_LIVE_COUNT, /* none of these */
};

enum dav_live dav_live_of(const struct dav_name *name);
struct dav_name dav_live_name(enum dav_live live);

/* Names in DAV_ATTRIBUTE_NAMESPACE: "x" and the bytes of the attribute's name (without "user.") in lower-case hex, so
 * that each attribute has one. */
enum { DAV_ATTRIBUTE_BYTES = 251 }; /* of a name with its NUL; Linux has 255 with "user." */
/* The attribute's name, NUL-terminated; false: it is none. */
bool dav_parse_attribute(char out[DAV_ATTRIBUTE_BYTES], struct span local);
void dav_put_attribute_name(struct text *out, struct span attribute);

/* Whether any XML reader takes it as the local name of an element: ASCII letters, digits, "_", "-" and "."; starts
 * with a letter or "_". For names that come from elsewhere than from XML: dav_put_element() writes them as they are. */
bool dav_is_plain_name(struct span local);

/* ---- request bodies (body.c) ----
 *
 * Fed as they come; memory is bounded by DAV_BODY_BYTES of input and a small multiple of it. Refused as -400: what is
 * not well-formed, any document type declaration (so that no entity can be declared), another root element than the
 * kind wants, a PROPFIND with two or none of allprop, propname and prop, a PROPPATCH without a property, an
 * undeclared prefix. -413: larger, deeper or more properties than below, a tag or comment of more than 8 KiB. -503:
 * no memory. What the RFC does not name is ignored as its section 17 wants. A fault may be told later than with the
 * byte that makes it, at dav_body_end() at the latest; which one is told does not depend on how the body is cut. */

enum {
        DAV_BODY_BYTES = 1 << 20,
        DAV_BODY_DEPTH = 64, /* elements within elements */
        DAV_BODY_PROPERTIES = 2000,
        DAV_VALUE_BYTES = 88 << 10, /* of one property's value as it is given out (64 KiB in base64); more is -413 */
        DAV_SPACE_BYTES = 1 << 10,  /* of one namespace URI */
};

enum dav_kind { DAV_PROPFIND, DAV_PROPPATCH, DAV_LOCKINFO };
enum dav_find { DAV_FIND_ALL, DAV_FIND_NAMES, DAV_FIND_THESE };

struct dav_property {
        struct dav_name name;
        /* PROPPATCH: the content of the element as XML that stands alone: namespaces are declared where they are
         * used, text is escaped; may be empty. */
        struct span value;
        struct span text; /* likewise, when it is plain text without elements: unescaped; else data is NULL */
        struct span lang; /* xml:lang in force, may be empty */
        bool remove;      /* PROPPATCH: stood in <remove> */
        enum dav_live live;
        struct dav_property *next;
};

struct dav_request {
        enum dav_find find; /* PROPFIND; an empty body is DAV_FIND_ALL */
        /* PROPFIND: of <prop>, or of <include>; PROPPATCH: in the order of the document. */
        struct dav_property *properties;
        uint32_t property_count;
        bool exclusive;    /* LOCK: else shared */
        struct span owner; /* LOCK: content of <owner> as XML that stands alone; may be empty */
        bool empty;        /* nothing but white space came (a LOCK that refreshes) */
};

struct dav_body;

/* 0 or -ENOMEM. */
int dav_body_create(struct dav_body **body, enum dav_kind kind);
/* The next bytes. 0, or minus a status: -400, -413, -503; from then on always the same. */
int dav_body_feed(struct dav_body *body, const char *data, size_t size);
/* No more will come: 0 and what it says, or minus a status. Of a LOCK body that lacks <locktype><write/> or a scope:
 * -400 and -422 respectively where they name something unknown. */
int dav_body_end(struct dav_body *body, const struct dav_request **request);
/* NULL is fine. */
void dav_body_destroy(struct dav_body *body);

/* ---- multistatus bodies as a client reads them (answer.c) ----
 *
 * Fed as they come; one response is in memory at a time. Bounds as for request bodies (depth, names, values), but none
 * for the whole. Document type declarations are refused. */

struct dav_found {
        struct dav_name name;
        enum dav_live live;
        int status;       /* of its propstat: 200, 404, ... */
        struct span text; /* all text within it, unescaped; where an element within begins or ends there is white space.
                           * White space at both ends is cut, but not of DAV_BERTH_TARGET */
        bool base64;      /* the text is, by an attribute `encoding` */
        bool collection;  /* resourcetype: holds DAV:collection */
        struct dav_found *next;
};

struct dav_member {
        struct span href; /* as it stands, white space at both ends cut: a URI or an absolute path, encoded */
        int status;       /* of the response itself, where it has no propstat; else 0 */
        struct dav_found *found;
};

/* One response. Everything lasts until it returns. Not 0 ends the reading with that error. */
typedef int dav_member_fn(void *context, const struct dav_member *member);

struct dav_answer;

/* 0 or -ENOMEM. */
int dav_answer_create(struct dav_answer **answer, dav_member_fn *member, void *context);
/* The next bytes. 0; -EBADMSG not well-formed or no multistatus, -E2BIG over a bound, -ENOMEM, or what member() gave.
 * They may be told later than with the byte that makes them; which, does not depend on how the body is cut. */
int dav_answer_feed(struct dav_answer *answer, const char *data, size_t size);
/* No more will come: 0, or an error as above; -EBADMSG when it is not complete. */
int dav_answer_end(struct dav_answer *answer);
/* As if just created, but cheaper: whatever came before. */
void dav_answer_reset(struct dav_answer *answer, dav_member_fn *member, void *context);
void dav_answer_destroy(struct dav_answer *answer);

/* ---- the If header (if.c), RFC 4918 10.4 ---- */

enum { DAV_MAX_CONDITIONS = 64 };

struct dav_condition {
        struct span resource; /* the tag, as it stands between < and >; data == NULL: untagged, the request's own URL */
        struct span token;    /* a state token without < >, or ... */
        struct span etag;     /* ... an entity-tag with its quotes (and W/); one of the two has data != NULL */
        bool negated;         /* Not */
        uint16_t list; /* the same number, the same list: all must hold (AND); lists are OR within one resource */
};

struct dav_if {
        unsigned count;
        struct dav_condition conditions[DAV_MAX_CONDITIONS];
};

/* The value of an If field. 0, or -400: malformed, mixed tagged and untagged lists, an empty list, or more than
 * DAV_MAX_CONDITIONS. Points into `value`. */
int dav_parse_if(struct dav_if *parsed, struct span value);

/* Whether the header holds: for some resource, some list all of whose conditions hold. `holds` tells of one condition
 * (without regard to `negated`): 1, 0, or < 0 which ends it and is returned. Result 1, 0 or that error. */
int dav_if_holds(const struct dav_if *parsed, int (*holds)(void *context, const struct dav_condition *condition),
                 void *context);

/* Whether the header submits that lock token anywhere (10.4.1: naming it is submitting it), negated ones too. */
bool dav_if_submits(const struct dav_if *parsed, struct span token);

/* ---- single fields (fields.c) ---- */

enum { DAV_DEPTH_INFINITY = INT32_MAX };

/* "0", "1", "infinity" (any case); absent (data == NULL): `otherwise`. -400 for anything else. */
int dav_parse_depth(struct span value, int otherwise);

/* Overwrite: T (or absent) 1, F 0, else -400. */
int dav_parse_overwrite(struct span value);

/* Of the mount (docs/internals/dav.md). Berth-Mode and the property mode: permission bits in octal, up to 07777.
 * Berth-Mtime and the property mtime: seconds since 1970, perhaps with a fraction of up to nine digits, which counts
 * forward also from seconds before 1970: "-1.5" is half a second before it. False: malformed. */
bool dav_parse_mode(uint32_t *mode, struct span value);
bool dav_parse_time(struct timespec *time, struct span value);
void dav_put_mode(struct text *out, uint32_t mode);
void dav_put_time(struct text *out, const struct timespec *time);

/* Timeout: the first member that is understood: "Second-n", "Infinite". Absent or none understood: `otherwise`. Cut to
 * `most`. Seconds; never fails (RFC 4918 10.7: the server need not honour it). */
uint32_t dav_parse_timeout(struct span value, uint32_t otherwise, uint32_t most);

/* Lock-Token: "<urn:uuid:...>", or the same without <> (Windows). The token without <>; data == NULL: malformed. */
struct span dav_parse_lock_token(struct span value);

enum { DAV_TOKEN_BYTES = 45 };
/* "urn:uuid:" and a version 4 UUID of the 16 random bytes given (RFC 9562); exactly 45 bytes, no NUL. */
void dav_format_token(char out[DAV_TOKEN_BYTES], const uint8_t random[16]);

struct dav_origin {
        struct span scheme, host; /* what the request came by: "http", the Host field; a trusted proxy's word instead */
};

/* Where a Destination (or a tag of the If header) points: an absolute URI or an absolute path. `path` gets the path
 * part, still encoded, without query. Hosts are compared without regard to case; the schemes "http" and "https"
 * and their default ports count as the same, since a proxy in front may end TLS. 0; -400 malformed (also with a
 * fragment or userinfo, or "//host/path"); -502 another host. `strict` false: any host
 * (used when the Host is not known, HTTP/1.0). */
int dav_parse_destination(struct span *path, struct span value, const struct dav_origin *origin, bool strict);

/* ---- writing XML (xml.c) ---- */

/* Text with & < > " and CR escaped; bytes that cannot stand in XML 1.0 (control bytes but tab, LF, CR; what is not
 * UTF-8; U+FFFE and U+FFFF) become U+FFFD each. Worst case six bytes for one. */
void dav_put_escaped(struct text *out, struct span s);

/* Whether dav_put_escaped() loses nothing of it. */
bool dav_is_text(struct span s);

/* <name xmlns="space">value</name>, or <name xmlns="space"/> when the value is empty; value goes out as it is (XML).
 * With space "DAV:" it is <D:name>, the prefix D being declared by the document. Without a
 * namespace it is <name xmlns="">, in that of XML itself <xml:name>. */
void dav_put_element(struct text *out, const struct dav_name *name, struct span value, struct span lang);

/* ISO 8601 in UTC, "2026-01-02T03:04:05Z" (creationdate, RFC 4918 15.1); exactly 20 bytes, no NUL. */
enum { DAV_DATE_BYTES = 20 };
void dav_format_date(char out[DAV_DATE_BYTES], int64_t unix_seconds);

struct dav_lock_view {            /* what lockdiscovery tells of a lock */
        struct span token, owner; /* owner: XML */
        bool exclusive, infinite; /* infinite: Depth: infinity */
        uint32_t seconds_left;    /* UINT32_MAX: Infinite */
        struct span root;         /* path of the lock root, percent-encoded, with its leading '/' */
};

/* <D:activelock>...</D:activelock> */
void dav_put_active_lock(struct text *out, const struct dav_lock_view *lock);

/* The constant content of supportedlock: exclusive and shared write locks. */
struct span dav_supported_locks(void);

/* Byte ranges of uploads (ranges.c). */

struct dav_target {      /* where the bytes of a partial write go */
        uint64_t first;  /* offset; of `append`: none; of `from_end`: bytes before the end */
        uint64_t length; /* bytes; UINT64_MAX: as many as the body has */
        uint64_t total;  /* size the file is to have afterwards; UINT64_MAX: not said */
        bool append, from_end;
        bool truncate; /* message/byterange with "bytes *" "/N": no bytes, only the size */
};

/* Content-Range of a PUT or a message/byterange part: "bytes a-b/len", "bytes a-b" "/" "*", "bytes *" "/len" (only with
 * `truncate_allowed`). 0, or -400. */
int dav_parse_content_range(struct dav_target *target, struct span value, bool truncate_allowed);
/* X-Update-Range (SabreDAV): "bytes=a-b", "bytes=a-", "bytes=-n", "append". 0, or -400. */
int dav_parse_update_range(struct dav_target *target, struct span value);

#endif
