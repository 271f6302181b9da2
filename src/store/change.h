/* store, the part that changes files: places, uploads, range writes, trees, properties, locks.
 *
 * Every function here blocks and belongs on a worker thread. Nothing is kept in memory between calls: what a change
 * has to know lies in the file system, so that several servers over one folder (and their threads) agree:
 *
 *   section      the folder that holds a name is locked (guard.c, and a mutex of this process before it) while
 *                conditions are checked and the name is changed
 *   staging      ROOT/.berth-staging/XXXXXXXX/, one for each running server, claimed by it as long as it
 *                lives: names that a rename needs for a moment lie there. What a dead server left is removed when
 *                another one starts
 *   property     the attribute user.berth.p.<32 hex digits of a hash of its name>: "namespace NUL local NUL lang NUL
 *                value"
 *   lock         the attribute user.berth.lock, all locks of the file or folder; each tells the path it was made for,
 *                so that one which came along with a renamed or copied file is no lock any more
 *
 * Results are 0 or -errno unless told otherwise. Paths are relative to the root, NUL-terminated, without leading or
 * trailing slash, "" for the root. Nothing ever leads outside the root (names.c).
 */
#ifndef STORE_CHANGE_H
#define STORE_CHANGE_H

#include "store/store.h"

#include <sys/types.h>
#include <time.h>

/* ---- the root and its staging folder (staging.c) ---- */

struct store_tree; /* the root with what changing it needs; any thread, at the same time */

/* `root` stays the caller's and open. `links`: follow symbolic links that stay beneath the root. `durable`: every
 * change is on disk (fsync of file and folder) when it has returned. Nothing is written before the first change. */
int store_tree_create(struct store_tree **tree, int root, bool links, bool durable);
/* Folders that are listed again and again are remembered for a moment (walk.c), in so much memory; STORE_SNAPSHOT_BYTES
 * unless told, a half of it for one folder. Before the tree is used. */
enum { STORE_SNAPSHOT_BYTES = 8 << 20 };
void store_tree_remember(struct store_tree *tree, size_t bytes);
/* How long who enters a section waits for it, in ms; 10 s unless told. Before the tree is used. */
void store_tree_patience(struct store_tree *tree, unsigned busy_ms);
/* Removes what servers that are dead have left: staging folders, and temporary names in them. At start. The number of
 * names removed, or -errno. */
int store_tree_clean(struct store_tree *tree);
/* Removes its own staging folder, too. Nothing may be in progress. */
void store_tree_destroy(struct store_tree *tree);

/* Whether a part of it is the staging folder's name, which no request may reach: -EACCES from every function here. */
bool store_is_staging(struct span path);

/* ---- what stands at a path (state.c) ---- */

enum store_kind { STORE_NOTHING, STORE_IS_FILE, STORE_IS_FOLDER, STORE_IS_LINK, STORE_IS_OTHER };

struct store_state {
        enum store_kind kind; /* STORE_NOTHING: there is none, the rest is zero */
        bool linked;          /* what a symbolic link of that name leads to */
        uint64_t size, inode, device;
        uint32_t mode, links;                    /* permission bits (07777); hard links */
        struct timespec modified, changed, born; /* born.tv_sec 0: not known */
        uint16_t etag_size;
        char etag[STORE_ETAG_BYTES]; /* of a file the same as store_file's, of a folder made likewise */
};

/* What stands at `path`; a symbolic link in its last part is followed when the tree follows links and it leads to
 * something beneath the root, else it is STORE_IS_LINK. -ENOENT only when a folder on the way is missing (RFC 4918
 * wants 409 then); -ENOTDIR when it is a file; -ELOOP or -EXDEV when a link on the way may not be followed or leads
 * outside; -EINVAL when the last part is ".", ".." or, behind a slash, nothing. So it is with every path here. */
int store_look(struct store_tree *tree, const char *path, struct store_state *state);
/* The same of the link itself, where the last part is one. */
int store_look_itself(struct store_tree *tree, const char *path, struct store_state *state);

/* ---- sections (section.c) ---- */

struct store_section {
        struct store_tree *tree;
        const char *path; /* the caller's, lasts as long as the section */
        const char *name; /* last part of it; "" for the root */
        int folder;       /* descriptor of what holds it */
        unsigned mutex;
        bool locked;
        int guard;              /* once it is locked */
        struct store_state now; /* what stands there (as store_look() tells it), looked up after the lock was taken */
};

/* Nobody else changes what stands at `path` until store_leave(). -ENOENT, -ENOTDIR: the folder above is not there;
 * -EBUSY: others hold it, for longer than the tree's patience. On an error there is nothing to leave. */
int store_enter(struct store_section *section, struct store_tree *tree, const char *path);
/* Two at once (COPY, MOVE), in an order that cannot deadlock; they may lie in one folder. On -ENOENT or -ENOTDIR
 * *second_failed tells whose. */
int store_enter_two(struct store_section *first, struct store_section *second, struct store_tree *tree,
                    const char *first_path, const char *second_path, bool *second_failed);
/* What stands there by now, a link not followed. 0 also for STORE_NOTHING. */
int store_look_again(const struct store_section *section, struct store_state *state);
void store_leave(struct store_section *section);
void store_leave_two(struct store_section *first, struct store_section *second);

/* ---- uploads (upload.c) ----
 *
 * Bytes go to a file without a name in the folder of the target (O_TMPFILE; where that is missing a name in staging)
 * and appear there whole. An upload belongs to one thread at a time. */

struct store_upload;

/* 0; -ENOENT or -ENOTDIR when the folder above is missing; -EISDIR never. `expected_bytes`: size if known
 * (fallocate'd only when more than 1 MiB, so that -ENOSPC and -EDQUOT come before the bytes do), else UINT64_MAX. */
int store_upload_create(struct store_upload **upload, struct store_tree *tree, const char *path,
                        uint64_t expected_bytes);
/* Appends. All or an error. */
int store_upload_write(struct store_upload *upload, const struct berth_vec *vecs, int count);
uint64_t store_upload_size(const struct store_upload *upload);

/* What a change sets beside the content, before what is new appears and before its state is told. Zeroed: nothing. */
struct store_commit {
        const struct timespec *modified; /* to be set; NULL: now */
        const uint32_t *mode; /* permission bits, likewise; NULL: those of what stands there, or the umask's */
        bool exact;           /* `modified` as it is, even if it is the time of the file replaced */
        bool durable;         /* also when the tree is not */
        bool exclusive;       /* -EEXIST when something stands there */
};

/* Puts it in place of what stands there (a file, or nothing; -EISDIR a folder; -EACCES a symbolic link, also where
 * the tree follows them, since what it leads to is under another section; -EACCES what is neither), with the
 * properties, locks, permission bits and, where allowed, owner of the file it replaces, and (unless `exact`) with a
 * modification time that is not that of the file replaced. The section is that of the same path. Of the mode only rwx
 * can be set: -EPERM. `state` gets the new state. On an error the old file stands whole. The upload must still be
 * destroyed. */
int store_upload_commit(struct store_upload *upload, struct store_section *section, const struct store_commit *commit,
                        struct store_state *state);
/* Or writes its bytes into the file that stands there, from `offset` on (holes are zeros); creates it when nothing
 * does. The modification time always moves, so the entity-tag does: one that is dictated counts as given, unless the
 * file has it already; then it is a nanosecond later. Mode as store_set_mode() has it; who dictates one may write the
 * file though its mode forbids it. -EFBIG past what the file
 * system can; no bytes are changed when there is no room (-ENOSPC), or the mode cannot be set (-EPERM). */
int store_upload_apply(struct store_upload *upload, struct store_section *section, uint64_t offset,
                       const struct store_commit *commit, struct store_state *state);
/* NULL is fine. What was not committed is gone. */
void store_upload_destroy(struct store_upload *upload);

/* The short forms, for bytes that are in memory: commit with an upload of these bytes; apply. */
int store_put(struct store_section *section, const void *data, size_t size, const struct store_commit *commit,
              struct store_state *state);
int store_write(struct store_section *section, const struct berth_vec *vecs, int count, uint64_t offset,
                const struct store_commit *commit, struct store_state *state);
/* Sets the size of the file that stands there (created when nothing does). */
int store_truncate(struct store_section *section, uint64_t size, const struct store_commit *commit,
                   struct store_state *state);
/* What stands at the section (file or folder) and its name are on disk afterwards. */
int store_sync(struct store_section *section);

/* ---- names (tree.c) and trees (remove.c, copy.c) ---- */

/* -EEXIST when something stands there. Of the mode rwx, set-group-id and sticky are set; -EPERM for set-user-id, and
 * nothing is made. Below a folder with set-group-id it has that, as the file system gives it. */
int store_make_folder(struct store_section *section, const struct store_commit *commit);
/* POSIX: mode, time. -ENOENT when nothing stands there; never through a symbolic link. Of the mode rwx is set,
 * of a folder set-group-id and sticky, too. The other bits stay as they are, and asking for one that is not there is
 * -EPERM. */
int store_set_mode(struct store_section *section, uint32_t mode);
int store_set_modified(struct store_section *section, const struct timespec *modified);
/* Both, as far as `commit` has them, and made durable when it says so. */
int store_set(struct store_section *section, const struct store_commit *commit);
/* A symbolic link with that target, which is not looked at (following is bounded by the root), with its own time if
 * `commit` has one; a further name for the file or symbolic link at `existing`. -EEXIST. */
int store_make_link(struct store_section *section, const char *target, const struct store_commit *commit);
int store_make_hard_link(struct store_section *section, const char *existing);
/* The target of a symbolic link; its size, -EINVAL when it is none. */
ssize_t store_read_link(struct store_section *section, char *out, size_t size);

/* Asked before each member of a tree is removed or replaced, and told what failed; paths are relative to the root. */
struct store_watch {
        /* `name` in the open folder `folder`, which is `path`. 0: go on; < 0: leave this member alone (and so the
         * folders above it), `failed` is called with the result. NULL: all may go */
        int (*may)(struct store_watch *watch, int folder, const char *name, const char *path);
        /* Member `path` could not be removed, copied: -errno, or what `may` said. NULL: the first failure ends the
         * whole. */
        void (*failed)(struct store_watch *watch, const char *path, int error);
        bool (*cancelled)(struct store_watch *watch); /* ask now and then whether to stop: -ECANCELED; NULL: never */
};

/* Removes what stands there, folders with all that is in them (deepest first); a link is removed itself. 0 when it is
 * gone; -ENOTEMPTY when something failed and was told; -EPERM the root. A folder is asked about before what is in it,
 * and when it must be left alone, so is all of that, unasked. At most STORE_MAX_DEPTH folders deep: -ELOOP. */
enum { STORE_MAX_DEPTH = 256 };
int store_remove(struct store_section *section, struct store_watch *watch);
/* rmdir(2): a folder that is empty, whatever may be seen of what is in it; else -ENOTEMPTY. -EPERM the root. */
int store_remove_empty(struct store_section *section);

/* Copies a file, or a folder (`deep`: with all that is in it), with properties, times of files and permission bits,
 * without locks; over a file or folder that stands there when `replace` (-EEXIST otherwise): that is removed first
 * (asking `watch`), a single file is replaced in one step. File data by reflink or in the kernel (copy_file_range).
 * -EINVAL: one lies in the other, or they are the same. Symbolic links are copied as links; what is neither file,
 * folder nor link is -EACCES. `created`: nothing stood there before.
 *
 * A copy is made in staging and takes its place whole. `watch->may` is asked about what stands at `to`, with all
 * members, and by store_move about what stands at `from`; when one is refused nothing is changed: -ENOTEMPTY. What of
 * a tree cannot be copied is told to `watch->failed` and left out (-ENOTEMPTY; store_move then changes nothing);
 * without it nothing is changed. */
int store_copy(struct store_section *from, struct store_section *to, bool deep, bool replace, struct store_watch *watch,
               bool *created);
/* The same by rename, or by copy and removal across file systems. Locks of what is moved go; those of members beneath
 * it do not count at their new place, but would again if it was moved back. */
int store_move(struct store_section *from, struct store_section *to, bool replace, struct store_watch *watch,
               bool *created);

/* rename(2), as POSIX has it: in one step over a file or an empty folder, -ENOTEMPTY, -ENOTDIR or -EISDIR over anything
 * else, -EINVAL into itself; between two names of one file nothing happens, which is a success. `watch->may` is asked
 * about all that is moved, as by store_move(). To another file system by copy and removal, but not over a folder:
 * -EXDEV. */
int store_rename(struct store_section *from, struct store_section *to, bool replace, struct store_watch *watch,
                 bool *created);

/* ---- walking (walk.c) ----
 *
 * For PROPFIND; in the order of the file system, with memory for a piece of each of the lowest folders on the way
 * down and at most 34 descriptors. */

struct store_walk;

struct store_member {
        const char *path; /* relative to the root; until the next call */
        const char *name; /* last part of it */
        struct store_state state;
        int folder; /* descriptor of the folder that holds it, for store_property_each(); until the next call */
        bool has_attributes; /* false: it certainly has no property, no lock, and no other user.* attribute */
};

/* `depth` 0: only `path` itself, 1: and its members, INT32_MAX: all beneath it (down to STORE_MAX_DEPTH). What begins
 * with a dot only with `hidden`; staging never. `links` (symbolic links as themselves: STORE_IS_LINK) else what leads
 * outside, or nowhere, or is no file or folder is left out, and one that leads to a folder is told as a folder but
 * entered only when it is `path` itself. FIFOs, sockets and devices are never told. -ENOENT when there is nothing. */
struct store_walk_options {
        int depth;
        bool hidden, links;
        bool attributes; /* find out has_attributes; else it is true */
};
int store_walk_create(struct store_walk **walk, struct store_tree *tree, const char *path,
                      const struct store_walk_options *options);
/* 1 and the next, the first being `path` itself, folders before what is in them; 0 at the end; -errno when `path`
 * cannot be listed. A folder further down that cannot be is told without members. */
int store_walk_next(struct store_walk *walk, struct store_member *member);
void store_walk_destroy(struct store_walk *walk);

/* ---- properties (property.c) ---- */

struct store_property {
        struct span space, local, lang, value; /* value: XML, as it was given */
};

/* One attribute's value read from `member` or a section. Found: the bytes used of `room` and *property points into it;
 * -ENODATA; -ERANGE when `size` is too small. */
ssize_t store_property_get(int folder, const char *name, struct span space, struct span local, char *room, size_t size,
                           struct store_property *property);
/* Calls for each; the property is valid during the call. Ends with the first result that is not 0, which is
 * returned. */
int store_property_each(int folder, const char *name, int (*each)(void *context, const struct store_property *property),
                        void *context);

struct store_property_change {
        struct span space, local, lang, value;
        /* Not NULL: a plain user.* attribute, its name without "user."; `value` is its bytes, the other three say
         * nothing. Names that begin with "berth." are ours: -EPERM; too long: -ERANGE; empty: -EINVAL. */
        const char *attribute;
        bool remove; /* removing what is not there succeeds */
        int error;   /* out: 0, or -errno of this one */
};

enum { STORE_PROPERTY_BYTES = 60 << 10 };

/* All or none (RFC 4918 9.2), in their order; on an error what was done is undone, the failed one has `error`, the
 * result is that error: -ENOSPC, -EDQUOT, -E2BIG: no room; -EOPNOTSUPP: this file system keeps none; -EPERM: a
 * symbolic link. */
int store_property_change(struct store_section *section, struct store_property_change *changes, unsigned count);

/* Plain user.* attributes, those that are ours left out; `attribute` without "user.". Its size, -ENODATA, -ERANGE. */
ssize_t store_attribute_get(int folder, const char *name, const char *attribute, char *room, size_t size);
int store_attribute_each(int folder, const char *name,
                         int (*each)(void *context, struct span attribute, struct span value), void *context);

/* ---- locks (lock.c), RFC 4918 6 and 7 ---- */

enum {
        STORE_TOKEN_BYTES = 45,
        STORE_OWNER_BYTES = 1024, /* of the owner's XML kept; longer: -E2BIG */
        STORE_USER_BYTES = 64,
        STORE_MAX_SHARED = 8, /* locks on one file or folder; then -ENOSPC */
};

struct store_lock {
        char token[STORE_TOKEN_BYTES + 1];
        bool exclusive, infinite; /* infinite: also what is beneath it */
        int64_t expires;          /* unix seconds; INT64_MAX: never */
        uint16_t owner_size, user_size;
        char owner[STORE_OWNER_BYTES]; /* XML */
        char user[STORE_USER_BYTES];   /* who made it; empty: without authentication */
        char path[4096];               /* the lock's root; filled in by the functions */
};

/* Calls for every lock in force that covers `path`: its own, those with `infinite` on folders above it. Expired ones
 * are not told. Ends with the first result that is not 0, which is returned. A path where nothing stands is covered
 * by those above it. */
int store_locks_on(struct store_tree *tree, const char *path, int (*each)(void *context, const struct store_lock *lock),
                   void *context);
/* Only those whose root this member is (no look at the folders above). */
int store_locks_at(int folder, const char *name, const char *path,
                   int (*each)(void *context, const struct store_lock *lock), void *context);

/* Adds a lock to what stands there; something must (-ENOENT), and no link (-EPERM). The section must be entered;
 * conflicts above it are checked here, and of an `infinite` one beneath it as well: -EAGAIN and *conflict (if not
 * NULL) is the path of the lock in the way, 4,096 bytes. The first lock is an atomic create of the attribute, so that
 * servers which share no such lock agree, too. */
int store_lock_add(struct store_section *section, const struct store_lock *lock, char *conflict);
/* Of the lock with that token whose root is the section's: -ENOENT when there is none in force. */
int store_lock_refresh(struct store_section *section, const char *token, int64_t expires, struct store_lock *lock);
int store_lock_remove(struct store_section *section, const char *token);

/* ---- room (state.c): RFC 4331 ---- */

/* For whoever the server runs as: quota of the file system; bytes. */
int store_room(struct store_tree *tree, const char *path, uint64_t *available, uint64_t *used);

#endif
