/* remote: what is asked of the server, as functions: one WebDAV exchange each (rarely two), over client.h.
 *
 * They block, and may be called by any thread but the client's. A path is what stands beneath the mounted URL: names of
 * any bytes, separated by '/', without a leading or trailing one; "" is the root. Results are 0 or -errno, by status:
 *   401 403 -EACCES (403 of a read-only server: -EROFS; of a mode that berth gives nobody: -EPERM), 404 410 -ENOENT, 405 (of MKCOL and what must not exist) -EEXIST,
 *   409 -ENOENT (a parent is missing), 412 -ESTALE where a tag was asked for, -EEXIST where nothing was to stand there,
 *   413 -EFBIG, 414 -ENAMETOOLONG, 416 -EINVAL, 423 -EBUSY, 431 -ENAMETOOLONG, 501 -EOPNOTSUPP, 507 -ENOSPC, others -EIO;
 * and those of client.h, where every lost connection is -EIO in the end. After a lost answer (call.uncertain) they find
 * out by looking whether the change was made, so that a repetition is never reported as a failure.
 */
#ifndef MOUNT_REMOTE_H
#define MOUNT_REMOTE_H

#include "mount/client.h"

#include <sys/types.h>

enum { REMOTE_PATH_BYTES = 4097 }; /* with its NUL */

enum remote_kind { REMOTE_FILE, REMOTE_FOLDER, REMOTE_LINK };

/* What is known of a file. */
struct remote_attributes {
        enum remote_kind kind;
        uint16_t mode; /* permission bits; by kind where the server tells none */
        bool has_mode;
        uint32_t links;  /* 1 where not told */
        uint64_t size;   /* of a link: of its target */
        uint64_t inode;  /* 0: not told */
        int64_t mtime_s; /* since 1970 */
        uint32_t mtime_ns;
        char tag[CLIENT_TAG_BYTES]; /* entity-tag, W/"..." also, or "": not told, too long */
};

/* A tag that requests can name. A weak one only tells versions apart: Apache's are weak for a second after a change. */
static inline bool remote_tag_is_strong(const char *tag)
{
        return *tag == '"';
}

/* By weak comparison (RFC 9110 8.8.3.2), so that the same version is known again once its tag is strong. */
static inline bool remote_same_tag(const char *one, const char *other)
{
        return strcmp(one + (strncmp(one, "W/", 2) == 0 ? 2 : 0), other + (strncmp(other, "W/", 2) == 0 ? 2 : 0)) == 0;
}

/* How a part of a file is written. */
enum remote_ranges {
        REMOTE_WHOLE,    /* not at all: only whole files */
        REMOTE_SABREDAV, /* PATCH, X-Update-Range */
        REMOTE_BERTH,    /* PUT with Content-Range, Berth-Mtime, Sync, truncate */
};

struct remote_abilities {
        enum remote_ranges ranges;
        bool berth;      /* DAV: <urn:berth:posix>: mode, mtime, inode, symbolic and hard links, rmdir, rename, fsync */
        bool locks;      /* DAV: 2 */
        bool writable;   /* PUT is allowed */
        bool attributes; /* user.* */
        bool dot_names;  /* names that begin with a dot, as far as it tells */
        char server[64]; /* what it calls itself */
};

struct remote {
        struct client *client;
        struct remote_abilities can;
        uint16_t file_mode, folder_mode; /* where the server tells none */
};

enum { REMOTE_WHY_BYTES = 512 };

/* Asks by OPTIONS what the server can; never writes. -EPROTONOSUPPORT: no WebDAV; -EACCES with "" for `why`: 401 or 403.
 * `why` says in words what an error means, or is "". */
int remote_connect(struct remote *remote, struct client *client, char why[REMOTE_WHY_BYTES]);
/* The attributes of the root. -ENOTDIR: no collection. */
int remote_root(struct remote *remote, struct remote_attributes *attributes);

/* ---- looking ---- */

/* For all that looks and changes: `given_up` as in client.h, set by the thread that waits; see remote_give_up_on(). */
void remote_give_up_on(const atomic_bool *flag); /* of the calling thread's calls from now on; NULL: none */
/* The calling thread's calls from now on are not tried a second time, or are again. */
void remote_be_quick(bool quick);
const atomic_bool *remote_given_up(void); /* what the calling thread said last: for who waits for others' calls */

int remote_stat(struct remote *remote, const char *path, struct remote_attributes *attributes);

/* The target of a symbolic link into `out` (NUL-terminated). */
int remote_read_link(struct remote *remote, const char *path, char *out, size_t size);

/* One member of a folder; `name` is decoded and one component, "" for the folder itself, which comes first if it comes.
 * Not 0 ends the listing with that error. Called on the client's thread; must not block. */
typedef int remote_member_fn(void *context, struct span name, const struct remote_attributes *attributes);
/* `restart` is called when it has to begin anew. -ENOTDIR when it is no folder. */
int remote_list(struct remote *remote, const char *path, remote_member_fn *member, void (*restart)(void *context),
                void *context);

struct remote_space {
        uint64_t available, used; /* bytes; UINT64_MAX: not told */
};
int remote_space(struct remote *remote, const char *path, struct remote_space *space);

/* Fills in a call that reads [first, first + size) of that version of the file (If-Match if its tag is strong). The
 * caller gives receive, restart, done, context (and given_up: none is set) and starts it. Its end: see
 * remote_read_result(). -ENAMETOOLONG. */
int remote_read_call(struct remote *remote, struct call *call, const char *path, const char *tag, uint64_t first,
                     size_t size);
/* For who receives: the bytes are of another version than was asked for; lighttpd heeds no If-Match when it is read. */
bool remote_read_is_stale(const struct call *call);
/* 0; -ESTALE another version stands there; -ENOENT; and so on. A 416, or a body that ends early at the file's end, is
 * 0. A 200 instead of a 206 is -EOPNOTSUPP unless first is 0 (then the caller must stop taking bytes at size). */
int remote_read_result(const struct call *call);

/* ---- changing ---- */

struct remote_condition {
        const char *tag;   /* If-Match, NULL: none; "" and a weak one count as none */
        bool absent;       /* If-None-Match: * */
        const char *token; /* a lock's that is held on the path, or NULL */
        bool doubtful;     /* an earlier request of the same may have been carried out: what is refused is looked at */
};

struct remote_times_and_mode { /* applied with the change itself; what the server cannot is left out silently */
        bool has_mode, has_mtime;
        uint16_t mode;
        int64_t mtime_s;
        uint32_t mtime_ns;
};

struct remote_result {
        char tag[CLIENT_TAG_BYTES]; /* of what stands there now; "" when the server does not tell: ask remote_stat() */
        uint64_t inode;             /* 0: not told */
};

/* A whole file of these bytes. `durable`: answered when it is on disk (ignored by servers that cannot). */
int remote_put(struct remote *remote, const char *path, const struct iovec *body, unsigned parts,
               const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
               struct remote_result *result);

/* Bytes at `first` of an existing file. -EOPNOTSUPP where ranges are REMOTE_WHOLE. */
int remote_write(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                 const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
                 struct remote_result *result);

/* Makes it `size` bytes long; bytes that are new are zero. REMOTE_BERTH only, else -EOPNOTSUPP. */
int remote_truncate(struct remote *remote, const char *path, uint64_t size, const struct remote_condition *condition,
                    const struct remote_times_and_mode *with, struct remote_result *result);

/* Makes durable what was written before. 0 also where the server knows no such thing. */
int remote_sync(struct remote *remote, const char *path, const struct remote_condition *condition);

/* A whole file from a descriptor (foreign servers), `size` bytes from its start. What stands there is looked at first:
 * not all servers heed conditions, nor can a weak tag be one. */
int remote_upload(struct remote *remote, const char *path, int descriptor, uint64_t size,
                  const struct remote_condition *condition, const struct remote_times_and_mode *with,
                  struct remote_result *result);
/* The whole file of that version into a descriptor, from offset 0. */
int remote_download(struct remote *remote, const char *path, const char *tag, int descriptor);

/* Mode and mtime of what exists. -EOPNOTSUPP for a mode that the server does not have; a time is passed over there, as
 * with noatime: programs that copy complain about it otherwise, and can do nothing. No tag is told then. `link`: of
 * the link itself. The tag may move (mtime is in it): *result. */
int remote_set(struct remote *remote, const char *path, bool link, const struct remote_condition *condition,
               const struct remote_times_and_mode *with, struct remote_result *result);

int remote_make_folder(struct remote *remote, const char *path, const struct remote_times_and_mode *with,
                       struct remote_result *result);
int remote_make_link(struct remote *remote, const char *path, const char *target, struct remote_result *result);
/* A further name for a file. */
int remote_link(struct remote *remote, const char *path, const char *new_path, struct remote_result *result);

int remote_remove(struct remote *remote, const char *path, const char *token);
/* -ENOTEMPTY when there is something in it. */
int remote_remove_folder(struct remote *remote, const char *path);

enum { REMOTE_NO_REPLACE = 1, REMOTE_IS_FOLDER = 2 };
/* rename(2)'s rules, also of what may be replaced (-EEXIST, -ENOTEMPTY, -ENOTDIR, -EISDIR). Locks must be gone. */
int remote_move(struct remote *remote, const char *from, const char *to, unsigned flags);

/* ---- extended attributes: `name` without "user." ---- */

/* Bytes of the value, at most `size`; -ERANGE, -ENODATA. size 0: only how many. */
ssize_t remote_get_attribute(struct remote *remote, const char *path, const char *name, void *out, size_t size);
/* `value` NULL removes it (-ENODATA when there was none). -ENOSPC. */
int remote_set_attribute(struct remote *remote, const char *path, const char *name, const void *value, size_t size,
                         const char *token);
/* Names with "user.", each ended by NUL; bytes, at most `size`; -ERANGE; size 0: only how many. */
ssize_t remote_list_attributes(struct remote *remote, const char *path, char *out, size_t size);

/* ---- locks ---- */

enum { REMOTE_TOKEN_BYTES = 128 };
/* An exclusive write lock of Depth 0 for so many seconds. -EBUSY: somebody else's. `tag` is that of what is locked, ""
 * where the server does not tell. */
int remote_lock(struct remote *remote, const char *path, unsigned seconds, char token[REMOTE_TOKEN_BYTES],
                char tag[CLIENT_TAG_BYTES]);
int remote_refresh(struct remote *remote, const char *path, const char *token, unsigned seconds);
int remote_unlock(struct remote *remote, const char *path, const char *token);

#endif
