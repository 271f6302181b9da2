/* gather: the bytes written to one file and not yet sent, in extents; no I/O, no locks.
 *
 * The file is thought of as blocks of `extent_bytes`. An extent is a run of bytes within one block; extents never
 * overlap or touch, whatever is written: what overlaps or touches within a block is joined. The sender takes one out,
 * sends it, and either drops it or puts it back (what was written over it meanwhile is newer and wins).
 */
#ifndef MOUNT_GATHER_H
#define MOUNT_GATHER_H

#include "base/base.h"

struct extent {
        struct list node; /* in order of age, the one written to last at the end */
        uint64_t first;   /* offset in the file */
        size_t size;      /* bytes that it holds */
        uint64_t touched_ms;
        uint64_t begun; /* the write that its oldest byte came with */
        char *data;
        char *memory; /* `data` points into it: there may be room on both sides */
        size_t room;  /* bytes of memory; they stand for bytes of the same block */
};

struct gather {
        size_t extent_bytes;
        unsigned max_extents; /* kept at a time; more make the oldest due */
        struct list extents;
        unsigned count;
        size_t held_bytes; /* memory of all extents, also of those taken out; their rooms and structs */
        uint64_t writes;   /* so many there were */
        uint64_t filled;   /* end of the last block that became full, UINT64_MAX: none did */
};

void gather_init(struct gather *gather, size_t extent_bytes, unsigned max_extents);
/* Frees what there is. */
void gather_finish(struct gather *gather);

/* Takes a copy of the bytes. 0, or -ENOMEM (nothing was taken). May pass max_extents: gather_due() then tells. */
int gather_write(struct gather *gather, uint64_t first, const char *data, size_t size, uint64_t now_ms);

/* Bytes that this write would add to held_bytes now: 0 when it falls into room that is there. */
size_t gather_cost(const struct gather *gather, uint64_t first, size_t size);

/* Cuts off what stands at or behind `size`. What is taken out is not touched: wait for it. */
void gather_truncate(struct gather *gather, uint64_t size);

/* An extent that should be sent now, or NULL: the first full block; the oldest when there are more than max_extents; with
 * `all` any, in the order of their offsets. None that was begun after so many `writes`: who sends what there is now comes
 * to an end however fast others write. Stays in the gather. */
struct extent *gather_due(const struct gather *gather, bool all, uint64_t writes);

/* Takes it out for sending: it is the caller's, and still counts in held_bytes. */
void gather_take(struct gather *gather, struct extent *extent);
/* It has been sent, or is given up: frees it. */
void gather_drop(struct gather *gather, struct extent *extent);
/* It could not be sent and is to be tried again later: what was written meanwhile wins. -ENOMEM: it is still out. */
int gather_put_back(struct gather *gather, struct extent *extent);

/* Whether any byte of the range is held by an extent that is in the gather. */
bool gather_overlaps(const struct gather *gather, uint64_t first, size_t size);
/* Copies what it holds of the range over `out`; returns bytes copied. */
size_t gather_overlay(const struct gather *gather, uint64_t first, size_t size, char *out);
/* The same for one extent (taken out, being sent). */
size_t extent_overlay(const struct extent *extent, uint64_t first, size_t size, char *out);

/* The end of what is written furthest and not taken out; 0: nothing. */
uint64_t gather_end(const struct gather *gather);

#endif
