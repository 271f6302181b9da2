/* What the files of store share. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "store/system.h"

#include <pthread.h>
#include <errno.h>
#include <stdatomic.h>

/* Errors that not every <errno.h> has. */
#ifndef EDQUOT
#define EDQUOT 10069
#endif
#ifndef ESTALE
#define ESTALE 10070
#endif

#define STORE_STAGING ".berth-staging"
#define STORE_NO_MUTEX UINT32_MAX

enum {
        STORE_MUTEXES = 1024,    /* of sections; two folders that share one wait for each other without need */
        STORE_PLACES = 16,       /* mounts beneath one root that get a staging folder */
        STORE_STAGED_BYTES = 40, /* a name in staging */
        STORE_BUSY_MS = 10000,
        STORE_PATH_BYTES = 4096,
        STORE_NAME_BYTES = 255,
};

/* The staging folder on one mount. */
struct store_place {
        uint64_t mount;
        int above;  /* the topmost folder of that mount which is beneath the root */
        int top;    /* STORE_STAGING in it */
        int folder; /* ours in that, locked as long as it is open */
        char name[16];
};

struct store_tree {
        int root; /* the caller's */
        bool links, durable;
        unsigned busy_ms; /* then what another holds is -EBUSY */
        bool without_tmpfile, without_exchange, without_flock,
                without_mounts; /* for tests: as if the system had none */
        _Atomic uint64_t next_name;
        pthread_mutex_t staging; /* protects the places; one that is there stays until the tree is destroyed */
        unsigned place_count;
        struct store_place places[STORE_PLACES];
        struct store_bare *bare;
        struct store_snapshots *snapshots;
        pthread_mutex_t sections[STORE_MUTEXES];
};

/* ---- beneath.c ---- */

/* The folder above the last part of `path`, opened anew, and that part: of the root itself the root, and "". -EINVAL
 * for a last part that is no name, -EACCES for staging. */
int store_open_above(const struct store_tree *tree, const char *path, enum store_open how, const char **name);
/* A name, or "." for "": so every call that takes a folder and a name serves for the root, too. */
static inline const char *store_name(const char *name)
{
        return name[0] ? name : ".";
}

/* ---- state.c ---- */

/* The entity-tag of what has these; its size. */
uint16_t store_etag(char out[STORE_ETAG_BYTES], uint64_t inode, uint64_t size, const struct timespec *modified);
/* What stands at `name` itself, no link followed. 0 also for STORE_NOTHING. */
int store_state_at(int folder, const char *name, struct store_state *state);
int store_state_of(int descriptor, struct store_state *state);
/* A link is followed when the tree does so and it leads to something beneath the root; else it is told as itself. */
int store_state_followed(const struct store_tree *tree, int folder, const char *name, const char *path,
                         struct store_state *state);
/* The later of now and a nanosecond past `old`. */
struct timespec store_time_after(const struct timespec *old);
static inline bool store_same_time(const struct timespec *a, const struct timespec *b)
{
        return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}
/* When the tree is durable: what stands at the section is on disk. */
int store_settle(struct store_section *section);

/* ---- tree.c ---- */

/* Permission bits as they may be set where there are `present` ones: bits beyond rwx can give others the rights of whom
 * the server runs as, so they may be taken away (of a file: a write does; a folder keeps them), none is set. -EPERM: `wanted` has one that is not there. */
int store_mode(uint32_t wanted, uint32_t present, uint32_t *mode);

/* ---- staging.c ---- */

/* Our staging folder on the mount that `folder` is on, made if need be. A descriptor which is the tree's; -errno. */
int store_staging(struct store_tree *tree, int folder);
void store_staged_name(struct store_tree *tree, char name[STORE_STAGED_BYTES]);
/* Removes what stands at that name in staging, however deep; best effort, the rest goes with store_tree_clean(). The
 * number of names removed. */
int store_discard(int staging, const char *name);
/* The name is free afterwards, also where files that are open keep theirs: these go out of the way. */
int store_unlink(struct store_tree *tree, int folder, const char *name);
/* A name takes the place of another of the same mount, in one step where the system can. */
int store_rename_over(struct store_tree *tree, int from, const char *name, int to, const char *new_name);

/* ---- upload.c ---- */

struct store_upload {
        struct store_tree *tree;
        int file;
        uint64_t size, reserved; /* bytes written; bytes of room taken */
        int staging;             /* -1: the file has no name */
        char staged[STORE_STAGED_BYTES];
};

/* In the folder itself. */
int store_upload_in(struct store_upload *upload, struct store_tree *tree, int folder);
void store_upload_finish(struct store_upload *upload);
/* Gives it a name in the staging folder; it is the caller's then. */
int store_upload_stage(struct store_upload *upload, int staging, char name[STORE_STAGED_BYTES]);
bool store_cancelled(struct store_watch *watch);
/* Asks now and then whether it is cancelled. Ends early where `from` does. */
int store_copy_by_memory(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size);
int store_copy_bytes(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size,
                     struct store_watch *watch);

/* ---- attribute.c ---- */

/* Calls for every user.* attribute's name; ends with the first result that is not 0. 0 where there are none at all. */
int store_xattr_each(int folder, const char *name, int (*each)(void *context, const char *attribute), void *context);
int store_xattr_any(int folder, const char *name); /* 1; 0: it certainly has no user.* attribute; -errno */
/* All user.* attributes of folder/name to the file or folder `to`, those of locks with `locks`. */
int store_xattr_copy(int folder, const char *name, int to, bool locks);

#define STORE_LOCK_ATTRIBUTE "user.berth.lock"
#define STORE_PROPERTY_PREFIX "user.berth.p."

/* 128 bits of FNV-1a: the same on every machine and for ever, as it is kept in the file system. */
struct store_digest {
        unsigned char bytes[16];
};
struct store_digest store_digest(struct span first, struct span second);

/* ---- bare.c: files without user.* attributes ---- */

/* 256 KiB, touched as they are used; free() it. NULL without memory. */
struct store_bare *store_bare_create(void);
/* Whether what stands there had none when it was added, and nobody can have set one since. */
bool store_bare_has(struct store_bare *bare, const struct store_state *state);
/* It had none at that time of the real-time clock, later than `state` was looked up; left out when its change time is
 * too young to tell later changes from. */
void store_bare_add(struct store_bare *bare, const struct store_state *state, const struct timespec *looked);

/* ---- snapshot.c: folders that are asked for again and again ---- */

struct store_snapshots; /* of a tree; any thread */
struct store_snapshot;  /* what stood in a folder; with a reference for who has it open */

/* NULL without memory. */
struct store_snapshots *store_snapshots_create(void);
void store_snapshots_bound(struct store_snapshots *all, size_t bytes);
/* None may be open. */
void store_snapshots_destroy(struct store_snapshots *all);

/* Of the open folder, whose state was looked up just now: one that is `whole`, to be read; or one to be written, by whoever
 * reads the folder from its beginning now; or NULL. */
struct store_snapshot *store_snapshot_open(struct store_snapshots *all, int descriptor,
                                           const struct store_state *folder, bool *whole);
/* One more member. */
void store_snapshot_note(struct store_snapshot *snapshot, const char *name, const struct store_state *state);
/* The member behind `at` (0 at first), in the order they were noted in, as long as it is open; NULL at the end. `state` is
 * NULL where the member is to be looked at: a folder, link or hard-linked file may change without the watch seeing it. */
const char *store_snapshot_next(const struct store_snapshot *snapshot, uint32_t *at, const struct store_state **state);
/* `whole`: who wrote it has noted all members. Of one that was read it does not matter. */
void store_snapshot_close(struct store_snapshot *snapshot, bool whole);

/* ---- descent.c: all that is in a folder, without recursion and with few descriptors ---- */

enum store_step {
        STORE_END,
        STORE_ENTER,  /* a folder; what is in it follows, unless store_descent_skip() */
        STORE_MEMBER, /* anything else */
        STORE_LEAVE,  /* the folder again, after what is in it */
};

/* A folder on the way down. */
struct store_level {
        int folder; /* -1: closed for now */
        int error;  /* it could not be opened or not wholly be read; -ELOOP: it is too deep */
        uint64_t device, inode;
        struct store_entries *entries;
        int64_t cookie;                  /* where it is gone on, once it was closed */
        struct store_snapshot *snapshot; /* read instead of the folder when `known`, else written; or NULL */
        bool known;
        uint32_t told; /* of the snapshot */
        uint32_t path_size;
        bool failed;              /* the user's, about what is in it */
        struct store_state state; /* when it was entered */
};

struct store_descent {
        const struct store_tree *tree;
        int above;        /* the caller's: the folder that holds the start */
        int start;        /* the start itself, when it cannot be opened by its name; else -1 */
        unsigned depth;   /* levels in use: how deep the current member is below the start */
        bool begun, down; /* down: the folder just told is to be entered */
        bool remember;    /* the user's: what is in the start may come from a snapshot, and go to one */
        bool kinds_only;  /* the user's: below the start `state` of what is no folder tells the kind alone */
        int folder;       /* that holds the current member */
        const char *name; /* the current member's */
        struct store_state state;
        struct store_level *left; /* with STORE_LEAVE: what became of it */
        uint32_t path_size;
        struct store_level levels[STORE_MAX_DEPTH + 1];
        char path[STORE_PATH_BYTES + (STORE_MAX_DEPTH + 1) * (STORE_NAME_BYTES + 1)]; /* the current member's */
};

/* Starts at `path`, whose last part stands in `above`. -ENOENT when nothing does. */
int store_descent_create(struct store_descent **descent, const struct store_tree *tree, int above, const char *path);
enum store_step store_descent_next(struct store_descent *descent);
void store_descent_skip(struct store_descent *descent);
/* After STORE_LEAVE: once more. */
void store_descent_again(struct store_descent *descent);
/* Something about the current member failed: so has the folder that holds it. */
void store_descent_fail(struct store_descent *descent);
void store_descent_destroy(struct store_descent *descent);

/* ---- remove.c ---- */

/* Asks about all that stands at the section; what may not go is told. 0: all of it may go. */
int store_ask(struct store_section *section, struct store_watch *watch);
/* Tells it: 0, or `error` when nobody wants to know and it ends the whole. */
int store_tell(struct store_watch *watch, const char *path, int error);

#endif
