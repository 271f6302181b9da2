/* block: memory for file data, from some KiB to some MiB, whose pages are kept for the next when it is freed.
 *
 * Small ones are malloc's. Large ones come from the system and go back to it, so that no arena keeps what many files
 * needed once; but a few are kept, since at GB/s the faults of fresh pages cost as much as the copying. Any thread.
 */
#ifndef MOUNT_BLOCK_H
#define MOUNT_BLOCK_H

#include "base/base.h"

enum {
        BLOCK_LARGE_BYTES = 128 << 10, /* from here on the system's */
        BLOCK_SPARES = 8,              /* kept at most, */
        BLOCK_SPARE_BYTES = 4 << 20,   /* and none that is larger */
};

void *block_new(size_t size); /* NULL: no memory */
/* Its first bytes stay; may move. NULL: no memory, and it is as it was. */
void *block_resize(void *block, size_t old_size, size_t size);
/* `size` as it was asked for. NULL is fine. */
void block_free(void *block, size_t size);

/* Now and then: gives back what is kept when none was asked for or freed since the last call. */
void block_trim(void);

#endif
