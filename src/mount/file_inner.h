/* file_inner: an open file from within; for file.c (opening, reading, attributes), send.c (turns, sending), sender.c
 * (all files, their memory, threads), later.c (closed before they are sent), lease.c (locks), spool.c (whole files), hidden.c (removed or replaced while
 * open) and unsent.c.
 *
 * The turn: whoever talks to the server about the file's content, name or lock has it, one at a time; it may be held
 * over requests, the mutex may not. `start`, `tag`, `token`, `server_size`, `hidden` and `sending` change only in the
 * turn of the thread that changes them.
 *
 *   FILE_NEW ──── first data, flush ───► FILE_ON_SERVER ◄─── PUT of the new content ──── FILE_REPLACED
 *   (not there)   PUT If-None-Match: *    range writes, If-Match                          (O_TRUNC: the old one stands)
 */
#ifndef MOUNT_FILE_INNER_H
#define MOUNT_FILE_INNER_H

#include "mount/mount_priv.h"

enum file_start { FILE_ON_SERVER, FILE_NEW, FILE_REPLACED };

enum {
        FILE_MAX_EXTENTS = 8, /* streams of writes that stay gathered side by side */
        FILE_LOCK_SECONDS = 60,
        FILE_HIDDEN_BYTES = 64,
};

struct file {
        struct mount *mount;
        struct node *node; /* pinned */

        /* By the lock of the sender (sender.c). */
        unsigned references; /* opens, the list of dirty files, a thread that works on it */
        struct list dirty_node;
        bool dirty;   /* in that list: something is to be sent */
        bool claimed; /* by one of the sender's threads */
        bool due;     /* an extent is full, or there are too many */
        uint64_t touched_ms;
        uint64_t resting_until_ms; /* after a failure */
        uint64_t looked_at_ms;     /* by a thread of the sender */
        uint64_t round;            /* of going through all of them */
        struct list locked_node;
        uint64_t refresh_ms; /* when its lock is to be refreshed */

        pthread_mutex_t lock;
        pthread_cond_t turn_ended;
        unsigned turns_asked, turns_ended; /* in the order in which they were asked for */

        unsigned opens, writers;
        bool born_here; /* made by this mount, and open since */
        bool cached;    /* a writer has it open through the page cache, which may hold what we have not heard of: so the
                         * next may not pass it by, even if the lock was lost meanwhile */
        bool relock;    /* it was locked before the rename that is under way, and is to be again */
        enum file_start start;
        bool stale; /* somebody else changed it, or it was put aside: nothing more is sent until all have closed */
        bool aside; /* ... and what it had gathered is in a local file: what comes later is dropped */
        bool undurable; /* the server may have accepted what it has not been asked to make durable; also from earlier opens */
        bool told;     /* the tree has this file's size and tag: nothing is to be sent */
        bool doubtful; /* the last write failed, and may have been carried out all the same */
        int error;     /* of sending, not made good yet */
        bool pending;  /* later_put_off(): closed, or about to be, and something is to be sent */
        bool unsent;   /* counted among the mount's unsent_files */
        char tag[CLIENT_TAG_BYTES];
        char token[REMOTE_TOKEN_BYTES]; /* of our lock, or "" */
        bool kept;                      /* hidden for a rename over it that is under way */
        char hidden[FILE_HIDDEN_BYTES]; /* its path, once no name leads to it any more */
        uint64_t size, server_size;
        uint64_t inode; /* as the server told for a new file, not shown yet; 0: none */
        uint16_t mode;
        struct remote_times_and_mode with; /* still to be told */
        struct gather gather;
        struct extent *sending;
        struct stream *stream;
        int spool; /* -1: none */
        bool spool_dirty;
};

/* ---- references, turns, dirt ---- */

/* The file of a node with one reference more, or NULL; with `make` a fresh one (-ENOMEM: NULL). */
struct file *file_get(struct mount *mount, struct node *node, bool make);
void file_put(struct file *file);

/* The mutex is held, and again when it returns. */
void file_take_turn(struct file *file);
void file_give_turn(struct file *file);
static inline bool file_turn_is_free(const struct file *file)
{
        return file->turns_asked == file->turns_ended;
}

/* Its attributes are ours from now on, not those that a folder's listing tells. Mutex held. */
void file_own(struct file *file);

/* There is something to be sent, or an extent is due: it is owned. Mutex held. */
void file_mark(struct file *file);

/* All is sent, or is not to be: it is the server's again. The caller holds a reference of its own, and the mutex. */
void file_unmark(struct file *file);
/* Not tried again in the background for a while. */
void file_rest(struct file *file, unsigned ms);

enum file_send {
        FILE_SEND_DUE, /* what is full or in excess */
        FILE_SEND_ALL,
        FILE_SEND_DURABLE, /* all, and on disk before it returns */
};
/* In its turn, with the mutex held (let go while a request runs). 0, or the error, which stays in file->error. */
int file_send(struct file *file, enum file_send what);

/* Joins what is still to be told with what is set now; takes off what was told. */
void file_join_with(struct remote_times_and_mode *with, const struct remote_times_and_mode *now);
void file_drop_with(struct remote_times_and_mode *with, const struct remote_times_and_mode *told);

/* The server's number of a new file is shown once nobody can have seen another one in between. */
void file_show_inode(struct file *file);

/* Says the size to the server where it differs. */
int file_send_size(struct file *file);

/* Room in the mount's write buffer for so many bytes; waits for it, holding no mutex. To be released when the bytes
 * are in a gather, which then counts by buffer_moved(). -EIO: there is none within --retry. */
int buffer_reserve(struct mount *mount, size_t size);
void buffer_release(struct mount *mount, size_t size);
/* What a file's gather holds has moved from `before` bytes. */
void buffer_moved(struct file *file, size_t before);
/* What was gathered at or behind `size` is not to be sent any more. Mutex held. */
void buffer_cut(struct file *file, uint64_t size);

/* Where it is on the server. 0, -ESTALE, -ENAMETOOLONG. Mutex held. */
int file_path(struct file *file, char out[REMOTE_PATH_BYTES]);
/* Nothing is known of it here but what the server has. Mutex held. */
static inline bool file_clean(const struct file *file)
{
        return file->start == FILE_ON_SERVER && file->gather.count == 0 && !file->sending && !file->spool_dirty &&
               file->size == file->server_size;
}
/* Remembers an error; returns it as programs are told. */
int file_failed(struct file *file, int error);
/* Bytes that a program has written are not held any more: nobody is to be told later that all has been accepted, and
 * nothing more is sent beside the gap. In its turn, mutex held; file_failed() is to say why. */
void file_lose(struct file *file, size_t size);
/* It is one of those that could not be sent, or not any more. */
void file_count_unsent(struct file *file, bool unsent);
/* Closed by all, and its data cannot be sent: that is kept elsewhere, and the file let go. */
void file_abandon(struct file *file);
/* To be sent in the background as soon as may be. */
void file_hurry(struct file *file);

/* ---- locks on the server (lease.c): in its turn ---- */

/* 0 when it has one now; -EBUSY somebody else has. `unchanged` (false before) becomes true when the answer tells that what
 * is locked is what is known. */
int lease_take(struct file *file, const char *path, bool *unchanged);
/* Waits for the server: what is done with the file next must not meet our own lock. */
void lease_give(struct file *file);
/* It runs out by itself. */
void lease_drop(struct file *file);
/* Asks: true when the server does not hold it any more, which is how it is from now on. */
bool lease_lost(struct file *file);
/* Its time has come; not in its turn. */
void lease_refresh(struct file *file);
/* The sender's list of what it refreshes (sender.c). */
void sender_add_locked(struct file *file);
void sender_remove_locked(struct file *file);

/* ---- whole files (spool.c): in its turn, mutex held, let go while a request runs ---- */

/* From now on its content is in a local file without a name. */
int spool_open(struct file *file);
int spool_write(struct file *file, uint64_t first, const char *data, size_t size);
int spool_truncate(struct file *file, uint64_t size);
void spool_close(struct file *file);

/* ---- removed while open (hidden.c) ---- */

/* The last one has closed it. */
void hidden_remove(struct file *file);

/* ---- data that could not be sent (unsent.c) ---- */

/* Leaves it in a local folder and says where. */
int unsent_save(struct file *file);

#endif
