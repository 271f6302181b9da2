/* What the files of the reading side share: ahead.c (reads), ahead_plan.c (who reads, and what he is going to),
 * ahead_piece.c (pieces and their requests), ahead_direct.c (readers' own requests), ahead_room.c (memory, and who has
 * to give way).
 *
 *   stream ── readers: a window each
 *     └── pieces, by their offset ── chunks of the pool's memory
 *
 * A piece is freed when it belongs to no stream, its request has ended and no reader uses it. One lock for all, held
 * for moments only: bytes are copied without it, into what no reader looks at yet and out of what does not change any
 * more.
 */
#ifndef MOUNT_PIECES_H
#define MOUNT_PIECES_H

#include "mount/ahead.h"
#include "mount/window.h"

#include <pthread.h>

enum {
        STREAM_READERS = 4,
        IDLE_MS = 1000, /* a reader that has not read for so long gives way to others */
        CHUNK_BYTES = 64 << 10,
        REGION_CHUNKS = 32, /* allocated at a time; 2 MiB, so that the system can give a huge page */
};

struct region;

struct ahead {
        struct ahead_options options;
        struct ahead_counters counters;
        pthread_mutex_t lock;
        pthread_cond_t idle;      /* nothing is under way */
        pthread_condattr_t clock; /* monotonic */
        struct list streams;      /* those that have pieces; the one read last at the end */
        struct list regions;
        size_t used_bytes; /* of the limit: chunks, and what belongs to pieces */
        unsigned chunks, most_chunks;
        unsigned under_way;
        uint64_t latency_us; /* from a request to its answer's first byte; of late, about the least */
        uint64_t turns;      /* so far: an age for readers */
};

/* Somebody who reads the file from place to place: what is told apart of several, by where they read. */
struct reader {
        struct window window;
        struct stream *stream;
        size_t bytes; /* of the pieces that were asked for on its behalf */
        uint64_t turn, read_ms;
};

struct stream {
        struct list node;
        struct ahead *ahead;
        char tag[CLIENT_TAG_BYTES]; /* of the pieces */
        bool no_ranges;             /* the server sends whole files only */
        struct list pieces;
        unsigned under_way;
        struct reader readers[STREAM_READERS];
};

/* Somebody who waits for a piece. */
struct waiter {
        struct list node;
        size_t need; /* bytes from its start */
        pthread_cond_t arrived;
};

struct piece {
        struct list node;     /* of its stream */
        struct list starting; /* of the read that is about to start it */
        struct ahead *ahead;
        struct stream *stream; /* NULL: nobody wants it any more */
        struct reader *reader; /* for whom it was asked; as long as it has a stream */
        uint64_t first;
        size_t size;    /* bytes asked for; fewer once the file is known to end before */
        size_t arrived; /* of them have come */
        size_t read;    /* up to here somebody has read it */
        size_t cost;    /* of the limit */
        uint64_t started_us;
        int error;            /* its request has ended with */
        bool under_way;       /* its request has not */
        unsigned users;       /* readers */
        atomic_bool unwanted; /* for the client: its stream has gone */
        struct list waiters;
        struct call *call;
        unsigned chunk_count;
        char *chunks[];
};

struct reading {
        struct ahead *ahead;
        struct stream *stream;
        const char *path, *tag;
        uint64_t at, end;
        struct ahead_view *view; /* where bytes are lent, as long as there is no `out` */
        char *out;               /* for the byte at `at` */
        bool hit;                /* all had been asked for before */
};

static inline uint64_t piece_end(const struct piece *piece)
{
        return piece->first + piece->size;
}

static inline struct piece *piece_at(struct list *node)
{
        return container_of(node, struct piece, node);
}

/* ---- ahead_room.c; all under the lock ---- */

/* A piece with its memory, within the limit; others give way for it where they can. NULL: no room. */
struct piece *room_take(struct reader *reader, size_t size);
void room_give(struct ahead *ahead, struct piece *piece);
/* The call is freed earlier than the rest. */
void room_give_call(struct ahead *ahead, struct piece *piece);
void room_init(struct ahead *ahead);
void room_finish(struct ahead *ahead);

/* ---- ahead_piece.c ---- */

/* Pieces for what is not asked for yet of the range go into the stream and at the end of `starting`; how far it came.
 * Under the lock. */
uint64_t pieces_ask(struct reader *reader, struct window_ask range, struct list *starting);
/* Starts them, without the lock. */
void pieces_start(struct ahead *ahead, struct list *starting, const char *path, const char *tag);

/* The rest under the lock. */

/* The piece that holds the byte, or NULL; then *gap_end is where the next begins, if that is less. */
struct piece *piece_find(const struct stream *stream, uint64_t at, uint64_t *gap_end);
/* Takes it out of its stream; who waits for it is told. */
void piece_detach(struct piece *piece);
void pieces_detach_all(struct stream *stream, const struct reader *reader); /* NULL: of all readers */

void piece_use(struct piece *piece);
void piece_leave(struct piece *piece);

/* Whoever starts requests looks at their answers the same way: whether such bytes are those that were asked for. */
int answer_check(const struct call *call, uint64_t first);

/* ---- ahead_plan.c; under the lock ---- */

/* Finds out who reads; what is to be asked for goes to the end of `starting`. */
void reading_plan(struct reading *reading, uint64_t file_size, struct list *starting);
void stream_forget(struct stream *stream);

/* ---- ahead_direct.c; without the lock ---- */

/* [at, end) into `out`. Bytes, or -errno. */
ssize_t direct_read(struct reading *reading, uint64_t end);

#endif
