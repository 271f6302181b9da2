/* file: a file that is open, or has data to be sent: writing, and what close and fsync promise.
 *
 * Belongs to a node of the tree, made by the first open, gone when nobody has it open and all is sent. Writes gather in
 * extents (gather.h) and go out one at a time for a file, each by If-Match with the tag of the one before, so that a
 * change by somebody else is never overwritten (-ESTALE, and nothing more is sent until all have closed). Whoever
 * needs a file's data sent (flush, fsync, a thread of the sender) becomes its sender while there is none.
 *
 * All functions may be called by any thread and may block for as long as --retry says.
 */
#ifndef MOUNT_FILE_H
#define MOUNT_FILE_H

#include "mount/tree.h"

struct mount;
struct file;

struct file_open {
        bool read, write;
        bool truncate; /* O_TRUNC */
        bool brief;    /* for one change, which needs no lock */
        bool paged;    /* what is read goes through the kernel's page cache */
};

/* How the kernel is to treat an opened file. */
struct file_opened {
        bool direct;     /* no page cache: somebody else may be writing */
        bool keep_cache; /* the content is what the kernel's page cache has */
};

/* Opens an existing node. Takes a lock on the server where it will be written to in parts. 0, -EBUSY, -ESTALE, ... */
int file_open(struct mount *mount, struct node *node, const struct file_open *how, struct file **file,
              struct file_opened *opened);
/* A new file, which the server does not know yet; the tree does (tree_made(), view with one lookup). */
int file_create(struct mount *mount, struct node *folder, const char *name, uint16_t mode, struct file **file,
                struct tree_view *view);
/* The last use of that open. What is not sent yet goes on being sent. */
void file_close(struct mount *mount, struct file *file, bool write);

/* Takes a copy. Waits while the mount's write buffer is full. Bytes taken, fewer than size where the rest failed; or
 * -EFBIG, -ENOSPC, -ESTALE, ...: an earlier failure too. `cached`: from the kernel's page cache, which tells the time of
 * the write by itself, and wants all of it taken or none. */
ssize_t file_write(struct mount *mount, struct file *file, uint64_t first, const char *data, size_t size, bool cached);
/* Bytes read, fewer than size only at the end of the file; the view tells where they lie. ahead_release() is due however
 * it went. */
ssize_t file_read(struct mount *mount, struct file *file, uint64_t first, size_t size, struct ahead_view *view);

/* Why it may not be written to: -ESTALE once somebody else has changed it, or the error of sending that is not made good
 * yet. 0: it may. */
int file_conflict(struct file *file);

/* close(2): everything has been accepted by the server, or the error; with --close later only an error that there was
 * already. */
int file_flush(struct mount *mount, struct file *file);
/* fsync(2): everything is durable there. */
int file_sync(struct mount *mount, struct file *file);

/* truncate(2) and ftruncate(2); `file` NULL: of a node that this mount has not open. */
int file_truncate(struct mount *mount, struct node *node, uint64_t size);
/* chmod, utimens: with the next data where there is some, else now. */
int file_set(struct mount *mount, struct node *node, const struct remote_times_and_mode *with);

/* Before its name is removed or replaced, and before a folder above is renamed: what is in flight has come back and its
 * lock is given up. Between before and after nothing of it is sent. */
/* Returns what goes to file_after_rename(); NULL: nobody has it open. *error: 0, or why the server does not have all that
 * was written to it. Who has it open hears of that at close and fsync; who gives its name to this content must, too. */
struct file *file_before_rename(struct mount *mount, struct node *node, int *error);
void file_after_rename(struct file *file); /* NULL is fine */

/* unlink(2) of a name of a node: 0 when it was dealt with (if it was the last one of an open file, that is kept on the
 * server under a hidden name until it is closed, or never was there), 1 when no file belongs to it any more. */
int file_unlink(struct mount *mount, struct node *folder, const char *name, struct node *node);

/* rename(2) over a node that is open: who has it open keeps it, as far as the server can. The name is removed by the
 * rename itself. */
/* Between both nothing of it is sent; `replaced` false: the rename failed, and it has its name still. */
struct file *file_keep(struct mount *mount, struct node *node);
void file_after_keep(struct file *file, bool replaced); /* NULL is fine */

/* A name of it was removed or replaced: if it was the last one and nobody has it open, what was still to be sent of it
 * (its time, as a rule) is of no more use. */
void file_removed(struct mount *mount, struct node *node);

/* Of a node that was not found where it stood: waits until who renames or hides it has done so. False: nobody has it open. */
bool file_wait_for_name(struct mount *mount, struct node *node);

/* Takes over what the server was seen to have: of a node whose attributes were just asked for. */
void file_look(struct mount *mount, struct node *node);

/* fsync(2) of a folder: what was closed below it and is not sent yet is, or the error; also one of before that nobody has
 * been told. */
int file_send_below(struct mount *mount, struct node *folder);
/* What sending ends with after --retry: nobody knows what the server would have said. */
bool file_server_is_away(int error);

/* Sends everything of all files, within --retry: for sync, unmount. Returns files that could not be sent. */
unsigned file_send_all(struct mount *mount);

/* The threads that send in the background and refresh locks. */
int file_start(struct mount *mount);
void file_stop(struct mount *mount);

#endif
