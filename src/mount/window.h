/* window: how far ahead of a reader a file is asked for; policy only, no I/O, no memory, no locks.
 *
 * A window follows one reader. Reads that continue each other, nearly so when several threads bring them, open it;
 * each time that half of its size has been read it doubles, if its reader had to wait meanwhile: one that always finds
 * what it wants needs no more, and memory that is soon used again is still in the processor's caches. A read within
 * it, or a little behind, leaves it where it is; any other belongs to another window, or begins one.
 */
#ifndef MOUNT_WINDOW_H
#define MOUNT_WINDOW_H

#include "base/base.h"

enum {
        WINDOW_FIRST_BYTES = 256 << 10,  /* as it is opened */
        WINDOW_BACK_BYTES = 1 << 20,     /* a jump back so far stays in it; what was read is kept so long */
        WINDOW_SMALL_FILE = 1 << 20,     /* such a file is asked for as a whole */
        WINDOW_CERTAIN_BYTES = 64 << 10, /* a read of so many bytes is the kernel's reading ahead */
};

struct window {
        bool begun;
        bool from_start; /* the run of reads began with the file */
        unsigned run;    /* reads that continued it */
        uint64_t next;   /* the end of the furthest read */
        uint64_t asked;  /* up to here the file was asked for, if it is open */
        size_t size;     /* bytes to be asked for behind `next`; 0: it is not open */
        uint64_t grows;  /* it may double when `next` comes there */
        bool late;       /* and it does if somebody had to wait since it did last */
};

struct window_limits {
        size_t size;  /* of a window */
        size_t piece; /* of one request */
};

/* To be asked for, where it is not yet: [first, end). */
struct window_ask {
        uint64_t first, end;
};

enum window_place {
        WINDOW_ELSEWHERE, /* another reader's, or a jump */
        WINDOW_BEHIND,    /* was read before */
        WINDOW_FOLLOWS,   /* continues it */
};

enum window_place window_place(const struct window *window, uint64_t first, size_t size);

/* A read of [first, first + size) of a file of so many bytes; anywhere: one that stands elsewhere begins anew. Of what
 * is to be asked for, tell by window_asked() how far it was. */
struct window_ask window_read(struct window *window, uint64_t first, size_t size, uint64_t file_size,
                              const struct window_limits *limits);
void window_asked(struct window *window, uint64_t end);

/* A reader had to wait for what had been asked for ahead. */
void window_late(struct window *window);

/* Memory is short, or a request failed: what was asked for from `end` on is not to come. */
void window_shrink(struct window *window, uint64_t end);

#endif
