/* ahead: reading a file of the server, with requests ahead of a sequential reader.
 *
 * A stream (one for each node that is being read) holds pieces: byte ranges that were asked for and have come or are
 * coming. A read takes what there is, waits for what is coming and asks for the rest; once reads follow each other,
 * further pieces are asked for in parallel, as many as the latency asks for. The window ahead doubles as long as its
 * reader has to wait, up to the mount's --read-ahead, which bounds the pieces of all streams: when it is reached the
 * windows of others shrink and pieces that nobody reads go. A jump forward within the window waits in place; a small
 * one backward is served from the last pieces; any other starts anew and asks only for what is wanted. Up to four
 * readers of a file are told apart. Each request carries the version's tag, so that two versions are never mixed.
 *
 * What was asked for ahead and fails is asked for again by who wants it, with the client's whole patience; so is what
 * has not moved for five seconds. A reader so waits at most that much longer than --retry.
 */
#ifndef MOUNT_AHEAD_H
#define MOUNT_AHEAD_H

#include "mount/remote.h"

struct ahead;  /* the mount's pool of pieces */
struct stream; /* one file's */

struct ahead_options {
        size_t limit_bytes;   /* of all pieces (--read-ahead) */
        size_t piece_bytes;   /* of one request in sequence, at most (1 MiB by default) */
        unsigned connections; /* pieces under way of one stream, at most */
        struct remote *remote;
        void (*start)(struct client *client, struct call *call);  /* NULL: client_start() */
        int (*perform)(struct client *client, struct call *call); /* NULL: client_perform() */
};

struct ahead_counters {
        _Atomic uint64_t reads, hits, requests, bytes_read, bytes_asked, bytes_dropped;
};

int ahead_create(struct ahead **ahead, const struct ahead_options *options);
/* All streams must be gone. */
void ahead_destroy(struct ahead *ahead);
const struct ahead_counters *ahead_counters(const struct ahead *ahead);

struct stream *ahead_open(struct ahead *ahead); /* NULL: no memory */
/* Waits for nothing: requests under way end by themselves. */
void ahead_close(struct ahead *ahead, struct stream *stream);
/* All that it holds is of no more use: the file was changed. */
void ahead_forget(struct ahead *ahead, struct stream *stream);

/* Reads [first, first + size) of the version `tag` of the file at `path` into `out`, of a file of `file_size` bytes as
 * far as is known (nothing behind it is asked for). Bytes read, fewer at the end only. -ESTALE: another version stands
 * there; forget, look, and try again. -EINTR as remote_give_up_on() has it. Any thread, several at a time. */
ssize_t ahead_read(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, char *out);

/* ---- the same without a copy ---- */

enum { AHEAD_VIEW_PARTS = 32, AHEAD_VIEW_PIECES = 8 };

/* Bytes that were read, where they lie: `count` parts, in order. */
struct ahead_view {
        struct iovec parts[AHEAD_VIEW_PARTS];
        unsigned count;
        struct piece *pieces[AHEAD_VIEW_PIECES]; /* that are kept for it */
        unsigned piece_count;
        char *memory; /* of its own, or NULL */
        size_t memory_bytes;
};

/* As ahead_read(), into a view, which is to be released however it went, and soon: the pieces that it keeps count in
 * the limit, and memory of its own comes on top of it. */
ssize_t ahead_view(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, struct ahead_view *view);
/* Begins a view by one part in memory of its own, for whoever fills it from elsewhere. NULL: no memory. */
char *ahead_view_alone(struct ahead_view *view, size_t size);
void ahead_release(struct ahead *ahead, struct ahead_view *view);

#endif
