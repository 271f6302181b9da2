/* mount_priv: what the files of `berth mount` share.
 *
 *   mount.c, unmount.c, stats.c    the commands (command.h: what they share)
 *   options.c, mount_flags.c, credentials.c, background.c, place.c, fusermount.c, local.c    what they need
 *   session.c, readers.c, interrupt.c, notify.c    /dev/fuse: INIT, threads, programs killed while they wait, telling the
 *                                                  kernel
 *   names.c, replace.c, folder.c, lister.c    FUSE operations on names and folders
 *   attributes.c, extended.c, space.c, io.c   ... on attributes, user.*, room, open files
 *   tree*.c      what is known of files (tree.h)
 *   file.c, send.c, sender.c, later.c, lease.c, hidden.c, spool.c, unsent.c    open files (file.h, later.h, file_inner.h)
 *   gather.c, block.c    written bytes and their memory (gather.h)
 *   ahead*.c, window.c   reading (ahead.h, pieces.h)
 *   client*.c    HTTP (client.h, transfer.h)
 *   remote*.c    WebDAV (remote.h, exchange.h)
 *
 *   kernel ── FUSE threads ── tree ── remote ── client's thread ── server
 *                          └─ file ── gather ── sender threads ──┘
 *                                  └─ ahead ─────────────────────┘
 *
 * FUSE operations block in their thread until they are answered. Locks, outer to inner: file, tree; ahead; client. No
 * lock is held while a request is waited for. Notifications to the kernel come from a thread of their own that holds
 * no lock, since the kernel may wait for an operation before it takes one.
 */
#ifndef MOUNT_MOUNT_PRIV_H
#define MOUNT_MOUNT_PRIV_H

#define FUSE_USE_VERSION 314

#include "mount/ahead.h"
#include "mount/client.h"
#include "mount/file.h"
#include "mount/gather.h"
#include "mount/mount.h"
#include "mount/remote.h"
#include "mount/small.h"
#include "mount/tree.h"

#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdio.h>

enum {
        MOUNT_MAX_WRITE = 1 << 20, /* bytes of one READ or WRITE of the kernel */
        MOUNT_THREADS = 24,        /* FUSE operations at a time; more wait in the kernel */
};

/* ---- the command line (options.c) ---- */

struct mount_options {
        const char *url, *folder;
        struct client_options client;
        uint64_t write_buffer_bytes, extent_bytes, read_ahead_bytes, cache_bytes;
        unsigned flush_after_ms, ttl_ms;
        bool close_later; /* --close later */
        bool read_only, foreground, help, stats, quiet;
        bool helper, sloppy, fake; /* as mount.berth: called by mount(8), with its -s and -f */
        bool nonempty;             /* -o nonempty: whatever is in the folder */
        /* of -o */
        bool allow_other, set_uid, set_gid, set_umask;
        unsigned uid, gid, umask;
        unsigned long mount_flags; /* MS_NOSUID and the like */
        char *kept[24];            /* texts that others point to, freed by mount_options_finish() */
        unsigned kept_count;
        char log_file[4096]; /* --log-file: messages once it is in the background; "": syslog */
};

void mount_options_help(void);
/* 0, or -EINVAL after saying what is wrong. */
int mount_options_parse(struct mount_options *options, int argc, char **argv);
/* Also after a parse that failed. */
void mount_options_finish(struct mount_options *options);

/* ---- local folders (local.c) ---- */

/* Before it is mounted: 0, or -EINVAL after complaining that one would lie in the mount at `place`, which is absolute
 * and without links. */
int local_choose(const char *place, const char *log_file);
/* That of its state, which may not exist yet. 0 or -ENAMETOOLONG. */
int local_state(char *out, size_t size);
/* Makes a folder and those above it. 0 or -errno. */
int local_make(char *path);
/* For files without a name. */
const char *local_spool(void);

/* ---- one mounted folder ---- */

struct mount_counters { /* beside those of client, ahead and tree */
        _Atomic uint64_t operations, kernel_reads, kernel_read_bytes, kernel_writes, kernel_write_bytes;
        _Atomic uint64_t puts, range_writes, sent_bytes, syncs, conflicts, lost_writes, buffer_waits;
        _Atomic uint64_t listings, looks, locks;
        _Atomic uint64_t pending_files; /* closed, and not all of it sent yet: --close later */
        _Atomic uint64_t unsent_files;  /* given up, or failed and not made good yet: each once */
        _Atomic uint64_t buffered_bytes, buffered_peak_bytes;
};

struct sender; /* sender.c */
struct later;  /* later.c */
struct lister; /* lister.c */
struct space;  /* space.c */

struct mount {
        struct mount_options options;
        struct client *client;
        struct remote remote;
        struct tree *tree;
        struct ahead *ahead;
        struct sender *sender;
        struct later *later; /* NULL: close(2) waits */
        struct lister *lister;
        struct space *space;
        struct smalls *smalls;
        struct fuse_session *session;
        struct notify *notify;
        struct mount_counters counters;
        uid_t uid; /* owner of everything */
        gid_t gid;
        bool writeback;     /* the kernel gathers writes, too */
        atomic_uint moving; /* names that the server may have changed already, and the tree has not */
};

/* ---- /dev/fuse (session.c) ---- */

/* Mounts at the options' folder: by mount(2) as root, else through fusermount3. 0 or -errno after complaining. */
int session_open(struct mount *mount);
/* Serves the kernel until it is unmounted or session_end(). 0 or -errno. */
int session_run(struct mount *mount);
void session_end(struct mount *mount); /* from a signal's thread */
void session_close(struct mount *mount);
/* Whether the kernel agreed to FUSE_DIRECT_IO_ALLOW_MMAP is of no interest to others: it is asked for. */

/* The operations, gathered from names.c, folder.c, attributes.c, extended.c, space.c and io.c. */
extern const struct fuse_lowlevel_ops mount_operations;

static inline struct mount *mount_of(fuse_req_t request)
{
        return fuse_req_userdata(request);
}

/* The node of a FUSE number. */
struct node *node_of(struct mount *mount, fuse_ino_t number);
fuse_ino_t number_of(struct mount *mount, struct node *node);

/* Called first in each operation that may wait for the server: an interrupted program's request is given up. Counts
 * the operation. */
void operation_begin(fuse_req_t request);

/* Whether the kernel wants the set-user-id and set-group-id bits of the file cleared along with this WRITE, SETATTR
 * (size), OPEN (O_TRUNC) or CREATE: the one who asks may not keep them. A change of the owner clears them always. */
bool operation_clears_set_id(void);

/* ---- names.c ---- */

void names_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void names_forget(fuse_req_t request, fuse_ino_t number, uint64_t count);
void names_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets);
void names_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode);
void names_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name);
void names_readlink(fuse_req_t request, fuse_ino_t number);
void names_link(fuse_req_t request, fuse_ino_t number, fuse_ino_t parent, const char *name);
void names_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void names_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name);
void names_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                  unsigned flags);

/* What is known or the server tells of a name, with one lookup more for what is there. 0, -ENOENT, ... */
int names_resolve(struct mount *mount, struct node *folder, const char *name, bool lookup, struct tree_view *view);

/* ---- attributes.c ---- */

void attributes_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void attributes_setattr(fuse_req_t request, fuse_ino_t number, struct stat *stat, int to_set,
                        struct fuse_file_info *info);
void attributes_setxattr(fuse_req_t request, fuse_ino_t number, const char *name, const char *value, size_t size,
                         int flags);
void attributes_getxattr(fuse_req_t request, fuse_ino_t number, const char *name, size_t size);
void attributes_listxattr(fuse_req_t request, fuse_ino_t number, size_t size);
void attributes_removexattr(fuse_req_t request, fuse_ino_t number, const char *name);

/* A view as the kernel wants it. st_blksize is the extent. */
void attributes_fill(struct mount *mount, const struct tree_view *view, struct stat *stat);
void entry_fill(struct mount *mount, const struct tree_view *view, struct fuse_entry_param *entry);

/* The attributes are about to be told: whoever has it open hears before of what has changed on the server. */
static inline void attributes_told(struct mount *mount, struct node *node)
{
        if (tree_file(mount->tree, node))
                file_look(mount, node);
}

/* Mode and time of a folder or a symbolic link; files have file_set(). */
int attributes_set_other(struct mount *mount, struct node *node, bool link, const struct remote_times_and_mode *with);

/* Attributes of a node that hold now: known, or asked for. 0, -ESTALE, -ENOENT, ... */
int attributes_look(struct mount *mount, struct node *node, struct tree_view *view);

/* ---- space.c ---- */

void space_statfs(fuse_req_t request, fuse_ino_t number);
/* Asks for it already, as the server is connected. 0 or -ENOMEM. */
int space_start(struct mount *mount);
void space_stop(struct mount *mount);

/* ---- folder.c ---- */

void folder_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void folder_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);
void folder_read_plus(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);
void folder_close(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void folder_sync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info);

/* ---- lister.c ---- */

/* Lists a folder unless its listing is known. Several that want the same wait for one request. 0 or -errno. */
int folder_list(struct mount *mount, struct node *folder);
/* A name in it has to be asked for: lists all of it instead where that seems better. True: it is listed now. */
bool folder_list_instead(struct mount *mount, struct node *folder);
/* Somebody begins to read it: where that is one of many, folders that come next are listed ahead. */
void folder_walk(struct mount *mount, struct node *folder);
int folder_start(struct mount *mount); /* the threads that list ahead */
void folder_stop(struct mount *mount);

/* ---- io.c ---- */

struct file *io_writer(const struct fuse_file_info *info); /* NULL: opened for reading */

void io_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info);
void io_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device);
void io_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void io_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info);
void io_write(fuse_req_t request, fuse_ino_t number, const char *data, size_t size, off_t offset,
              struct fuse_file_info *info);
void io_flush(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void io_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info);
void io_fsync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info);

/* ---- telling the kernel (notify.c) ----
 *
 * Queues; the thread tells. A full queue drops the oldest: what is lost is a moment of freshness, times to live do the
 * rest. */
int notify_start(struct mount *mount);
void notify_stop(struct mount *mount);
/* The node's content changed on the server: attributes and pages are to be forgotten; where it grew, its size is told,
 * which the kernel with writeback caching would not take from attributes. Pins the node until it is told. */
void notify_changed(struct mount *mount, struct node *node, uint64_t old_size, uint64_t new_size);

/* The whole content of a file, in one part, for the kernel's page cache; at once. No page of it may be about to be read
 * or written: that is, nobody has it open. */
void notify_content(struct mount *mount, struct node *node, struct ahead_view *view);

/* Waits until what was queued of the node has been told, some tens of milliseconds at most: who opens a file is to see it
 * as it is. Nothing may be held that an operation could wait for. */
void notify_settle(struct mount *mount, const struct node *node);

/* Its attributes are to be asked for before the next write: who writes has to hear of a conflict. */
void notify_attributes(struct mount *mount, struct node *node);

/* ---- counters for people (stats.c) ----
 *
 * Read through the mount itself: the extended attribute of its root by this name. One of "system.", since before one of
 * "user." the kernel wants to know the mode of the root, and asks the server that may be away. */
#define STATS_ATTRIBUTE "system.berth.stats"
/* "name value" lines; bytes, at most size - 1, NUL-terminated. */
size_t stats_write(struct mount *mount, char *out, size_t size);
/* `berth mount --stats DIR`. Exit status. */
int stats_command(const char *folder);

#endif
