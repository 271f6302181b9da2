/* What store asks of the operating system. Each part is a file, with another of the same name and _win for Windows.
 *
 * Descriptors are what libberth has: on Windows the number of a HANDLE. A `name` is one part of a path in an open
 * folder; it is never followed where it is a link. Where it may be "", that is the folder itself. Results are 0 or
 * -errno unless told otherwise.
 */
#ifndef STORE_SYSTEM_H
#define STORE_SYSTEM_H

#include "store/change.h"

#include <sys/types.h>

struct store_tree;

/* ---- names.c: opening, making, removing, renaming ---- */

enum store_open {
        STORE_OPEN_ANY,    /* whatever it is, to look at it */
        STORE_OPEN_WAY,    /* a folder, to reach names in it */
        STORE_OPEN_FOLDER, /* a folder, to read or to lock it */
};

/* Opens `path` ("" for the root itself) beneath the folder `root`. With `links` false no part of it may be a symbolic
 * link. */
int store_open_beneath(int root, const char *path, enum store_open how, bool links);
int store_open_folder(int folder, const char *name); /* to read it; name may be "" */
int store_open_parent(int folder);                   /* the folder that holds it now, wherever that is */

enum store_access { STORE_READ, STORE_WRITE, STORE_READ_WRITE };
int store_open_file(int folder, const char *name, enum store_access access);
int store_open_to_sync(int folder, const char *name);               /* a file or folder; name may be "" */
int store_create_file(int folder, const char *name, uint32_t mode); /* to read and write; -EEXIST */
/* A file without a name, which is gone when it is closed; -EOPNOTSUPP where there are none. Then its name. */
int store_create_nameless(int folder);
int store_give_name(int file, int folder, const char *name);
int store_copy_descriptor(int descriptor);
void store_close(int descriptor);

int store_folder_at(int folder, const char *name, uint32_t mode); /* makes it */
/* -EBUSY: somebody has it open, and the name would stay as long. With `later` it may stay. */
int store_unlink_at(int folder, const char *name, bool later);
int store_rmdir_at(int folder, const char *name); /* -ENOTEMPTY */
/* Over what stands there. -EBUSY: somebody has that open, and this system cannot replace it then. */
int store_rename_at(int from, const char *name, int to, const char *new_name);
/* Renames to a name that is free: -EEXIST. (Where the file system cannot promise that: looked at before.) */
int store_rename_new(int from, const char *name, int to, const char *new_name);
int store_exchange_at(int folder, const char *name, int other,
                      const char *other_name); /* -EINVAL: there is no such way */
int store_link_at(int folder, const char *name, int to, const char *new_name);
int store_symlink_at(const char *target, int folder, const char *name);
ssize_t store_readlink_at(int folder, const char *name, char *out, size_t size);

/* ---- look.c: what is told of a file, what can be set ---- */

/* All but the entity-tag, which is left empty. */
int store_stat_at(int folder, const char *name, struct store_state *state); /* name may be "" */
int store_stat_of(int descriptor, struct store_state *state);

int store_set_time_of(int file, const struct timespec *modified);
int store_set_time_at(int folder, const char *name, const struct timespec *modified); /* name may be "" */
/* Times are kept in multiples of this. */
long store_time_grain_ns(void);
/* The time of the last write is what is told from now on, also when the file is closed. */
void store_keep_time(int file);
/* Now, by the clock that stamps files. */
struct timespec store_stamp_time(void);

int store_set_mode_of(int descriptor, uint32_t mode);
int store_set_mode_at(int folder, const char *name, uint32_t mode); /* name may be "" */
/* The owner of folder/name becomes that of `file`, where that is allowed; the mode that `file` has. */
int store_take_owner(int file, int folder, const char *name, uint32_t *mode);

/* The file system's: bytes. */
int store_room_of(int descriptor, uint64_t *available, uint64_t *used);

/* ---- entries.c: reading a folder ---- */

enum { STORE_DENTS_BYTES = 32 << 10 };

/* Zero all but `piece` and `name`, set `cookie` to go on where another reading was. */
struct store_entries {
        int64_t cookie; /* behind the last one told */
        uint32_t at, got;
        char piece[STORE_DENTS_BYTES] __attribute__((aligned(16)));
};

enum store_hint { STORE_HINT_NONE, STORE_HINT_FILE, STORE_HINT_FOLDER, STORE_HINT_LINK, STORE_HINT_OTHER };

struct store_dent {
        const char *name; /* until the next call */
        enum store_hint hint;
};

/* 1 and the next (also "." and ".."), 0 at the end. */
int store_next_entry(int folder, struct store_entries *entries, struct store_dent *dent);
/* The next call begins behind entries->cookie, 0 for the start. */
int store_seek_entries(int folder, struct store_entries *entries);
/* How many folders may be kept open on the way down a tree. */
unsigned store_open_levels(void);

/* qsort_r(3) */
void store_sort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *, void *),
                void *context);

/* ---- bytes.c ---- */

enum { STORE_VECS = 1024 };

ssize_t store_read_at(int file, void *data, size_t size, uint64_t offset);
ssize_t store_write_at(int file, const void *data, size_t size, uint64_t offset);
ssize_t store_writev_at(int file, const struct berth_vec *vecs, int count, uint64_t offset); /* STORE_VECS at most */
int store_resize(int file, uint64_t size);
/* Room for these bytes; not all file systems can tell beforehand. The size stays. */
int store_reserve(int file, uint64_t offset, uint64_t size);
/* All of it, by the file system. */
int store_clone(int from, int to);
/* By the kernel; how many, 0 or an error: not this way. */
ssize_t store_copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size);
/* The next piece of [at, size) that is no hole; `*start` is `size` when there is none. */
void store_next_data(int file, uint64_t at, uint64_t size, uint64_t *start, uint64_t *end);
int store_sync_file(int file);
int store_sync_folder(int folder);

/* ---- guard.c: between processes ---- */

/* Nobody else who asks for it holds that folder. -EBUSY: not within that time; -ENOLCK and others of store_no_lock():
 * there are no such locks. *guard is what store_unguard() wants, by the same thread. */
int store_guard(int folder, unsigned busy_ms, int *guard);
void store_unguard(int guard);
/* Whether that error says that the file system has no locks on folders. */
bool store_no_lock(int error);
/* Opens a folder that is ours as long as it is open. -EBUSY: it is somebody else's, who lives. With `free` it is known
 * to be nobody's, and is opened even where nobody can know. */
int store_claim(int folder, const char *name, bool free);

/* ---- mounts.c: what is mounted beneath the root ---- */

/* Which mount a folder is on; where the kernel does not tell (before 5.8), which device. */
int store_mount_of(const struct store_tree *tree, int folder, uint64_t *mount);
/* The topmost folder of that mount which is beneath the root. */
int store_mount_top(const struct store_tree *tree, int folder, uint64_t mount);
/* Calls for each mount beneath the root with its path. The sum of the results. */
int store_each_mount(const struct store_tree *tree, int (*each)(const struct store_tree *tree, const char *path));
/* An open folder that still has a name. */
bool store_is_named(int folder);
/* `fresh` becomes `descriptor`, which others may be using right now. */
void store_replace_descriptor(int fresh, int descriptor);

/* ---- xattr.c: attributes of a name; of Linux extended ones, of Windows data streams ---- */

enum { STORE_VALUE_BYTES = 64 << 10, STORE_ATTRIBUTE_BYTES = 255, STORE_ATTRIBUTES_BYTES = 64 << 10 };
enum store_put { STORE_PUT, STORE_PUT_NEW, STORE_PUT_OLD }; /* new: -EEXIST; old: -ENODATA */

/* -ENODATA: there is none of that name; -EOPNOTSUPP: here are none; -ERANGE. `name` may be "". */
ssize_t store_xattr_get(int folder, const char *name, const char *attribute, void *value, size_t size);
int store_xattr_set(int folder, const char *name, const char *attribute, const void *value, size_t size,
                    enum store_put put);
int store_xattr_remove(int folder, const char *name, const char *attribute);
/* Names, each with a NUL behind it; not only user.*. */
ssize_t store_xattr_list(int folder, const char *name, char *list, size_t size);
int store_xattr_set_of(int descriptor, const char *attribute, const void *value, size_t size);
bool store_xattr_none_of(int descriptor); /* it certainly has none */
/* For tests: as if the kernel was older than 6.13. */
void store_xattr_by_proc(bool always);

/* ---- watch.c: who changes an open file ---- */

int store_watch_create(void); /* a descriptor that becomes readable; -EOPNOTSUPP */
int store_watch_add(int watches, int file);
/* Tells once, of the first change in the folder: to its names, or to the content or attributes of a file in it. */
int store_watch_add_folder(int watches, int folder);
void store_watch_remove(int watches, int watch);
/* Calls for each watch that something was told of; -1: some were lost. */
void store_watch_read(int watches, void (*told)(void *context, int watch), void *context);
/* Whether an open file hinders others, so that none is to be kept open for long. */
bool store_open_hinders(void);

/* ---- types_file.c ---- */

extern const char store_types_file[]; /* "": there is none */

#endif
