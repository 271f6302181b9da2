/* store: files beneath one root folder.
 *
 * Everything goes through one root descriptor (names.c), so that no name, link or race leads outside.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/base.h"
#include "berth/port.h"

/* ---- open files, shared by all who read them (cache.c) ----
 *
 * One store belongs to one port and its thread. A file that was opened stays known for a while: by path, with its
 * size, times and entity-tag, small ones with their content, larger ones with an open descriptor. A change is noticed
 * at once where inotify tells of it, and otherwise when the path is looked up again, which happens at the first use
 * after STORE_TRUST_MS. */

enum {
        STORE_TRUST_MS = 1000,
        STORE_CONTENT_BYTES = 16 << 10, /* a file up to this size is kept in memory */
        STORE_NOTE_BYTES = 512,
        STORE_ETAG_BYTES = 56,
};

struct store;

/* A regular file. Fields are read-only for its users, but for `warm_ms`, `note` and `missing`. */
struct store_file {
        struct berth_handle handle; /* open; not needed to send what has its `content` */
        uint64_t size;              /* bytes */
        int64_t modified;           /* unix seconds */
        const char *content;        /* all of it, or NULL */
        uint64_t warm_ms;           /* the user's: when all of it was last seen in the page cache; 0: never */
        uint16_t etag_size, note_size;
        char etag[STORE_ETAG_BYTES]; /* strong, quoted: inode, size and time in ns (RFC 9110 8.8.3) */
        char note[STORE_NOTE_BYTES]; /* the user's, kept as long as the file is known and unchanged */
        uint8_t missing;             /* the user's, cleared at each new look: what is not there beside it */
};

struct store_config {
        struct berth_port *port;
        int root;             /* a folder's descriptor; the store makes its own copy */
        bool links;           /* follow symbolic links that stay beneath the root */
        uint32_t max_files;   /* known at most; those in use come on top */
        size_t content_bytes; /* memory for small files' content, in all */
};

/* 0, -ENOMEM, -EMFILE. */
int store_create(struct store **store, const struct store_config *config);

/* Forgets every file and closes what is open. Nothing may be referenced any more. `done` is called (with the given
 * context, from the port) when all has been closed and the store is gone. */
void store_destroy(struct store *store, void (*done)(void *context), void *context);

/* The file at `path` (relative, no leading or trailing slash) if it is known and can be trusted, with a reference for
 * the caller; else NULL: store_open() finds out. `tag` keeps different uses of one file apart. */
struct store_file *store_find(struct store *store, struct span path, uint8_t tag);

/* An open in progress; embed it. Set path, tag and done. */
struct store_opening {
        struct berth_op op;
        void (*done)(struct store_opening *opening);
        struct store *store;
        const char *path; /* NUL-terminated, lasts until done */
        uint16_t path_size;
        uint8_t tag;
        int result;              /* 0, or -errno: -EISDIR a folder, -EACCES also for what is neither */
        struct store_file *file; /* with result 0: a reference for the caller */
        uint64_t epoch;          /* the store's own */
};

/* Opens (or finds unchanged) the file; opening->done is called from the port, never from inside. */
void store_open(struct store *store, struct store_opening *opening);

/* Something beneath the root has been changed by this process: what was looked up before is looked up again at its next
 * use. Cheaper and surer than to tell which paths are meant: a folder may have been renamed. */
void store_distrust(struct store *store);

/* Bytes of an open file: up to `size`, 0 at its end, or -errno. Blocks: for a worker thread. */
int64_t store_file_read(const struct store_file *file, void *data, size_t size, uint64_t offset);

/* Gives a reference back. NULL is fine. */
void store_release(struct store *store, struct store_file *file);

struct store_use {
        uint32_t files, max_files; /* known */
        size_t content_bytes;      /* of small files, in memory */
};

struct store_use store_use(const struct store *store);

/* ---- media types (types.c) ---- */

/* Reads the system's table (/etc/mime.types); where there is none a short built-in one serves. Once, before threads. */
void store_load_types(void);
void store_unload_types(void);

/* The media type by the name's extension, with "; charset=utf-8" for text; "application/octet-stream" for others.
 * Lasts until store_unload_types(). */
struct span store_type_of(struct span name);

/* ---- listing a folder (list.c) ----
 *
 * Sorted, folders first, in bounded memory whatever the folder's size: each pass over the folder keeps
 * the next batch of names in order (at most STORE_LIST_BATCH_BYTES of them), so a folder of n names takes
 * n / batch passes. Names made or removed meanwhile may or may not appear; none appears twice.
 * Every function blocks and belongs on a worker thread, one thread at a time. */

enum { STORE_LIST_BATCH_BYTES = 1 << 20 };

enum store_sort { STORE_SORT_NAME, STORE_SORT_SIZE, STORE_SORT_TIME };

enum store_type { STORE_FILE, STORE_FOLDER };

struct store_list_options {
        enum store_sort sort;
        bool descending; /* folders stay first */
        bool hidden;     /* also names that start with a dot */
        bool links;      /* follow symbolic links that stay inside the root; else leave them out */
};

struct store_entry {
        const char *name; /* until the next call */
        enum store_type type;
        uint64_t size;    /* bytes; 0 for a folder */
        int64_t modified; /* unix seconds */
};

struct store_list;

/* Lists `path` (relative, "" for the root) beneath the folder descriptor `root`, which must stay open.
 * Only regular files and folders appear; links that leave the root or lead nowhere do not.
 * 0, or -errno as open gives it. */
int store_list_create(struct store_list **list, int root, const char *path, const struct store_list_options *options);

/* 1 and the next entry, 0 at the end, -errno. */
int store_list_next(struct store_list *list, struct store_entry *entry);

void store_list_destroy(struct store_list *list);

#endif
