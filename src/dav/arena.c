/* Memory that is given back all at once. Blocks are taken from the heap as they are needed; what is larger than a block
 * gets one of its own size. The bound on all of them is what keeps a small body from becoming large: one long namespace
 * may be named by thousands of elements. */
#include "dav/dav_priv.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 8 << 10, ALIGNMENT = 8 };

struct dav_block {
        struct dav_block *next;
        size_t size; /* bytes of room */
        _Alignas(ALIGNMENT) char room[];
};

static int add_block(struct dav_arena *arena, size_t least)
{
        size_t size = max_of(least, BLOCK_BYTES - sizeof(struct dav_block));
        struct dav_block *block;

        if (size > DAV_ARENA_BYTES - arena->total)
                return -413;
        block = calloc(1, sizeof(*block) + size);
        if (!block)
                return -503;
        block->size = size;
        block->next = arena->blocks;
        arena->blocks = block;
        arena->used = 0;
        arena->total += size;
        return 0;
}

void *dav_arena_take(struct dav_arena *arena, size_t size)
{
        void *taken;

        ensure(size <= DAV_ARENA_BYTES);
        size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
        if (!arena->blocks || size > arena->blocks->size - arena->used) {
                int status = add_block(arena, size);

                if (status < 0) {
                        arena->status = status;
                        return NULL;
                }
        }
        taken = arena->blocks->room + arena->used;
        arena->used += size;
        return taken;
}

struct span dav_arena_copy(struct dav_arena *arena, struct span s)
{
        char *copy;

        if (s.size == 0)
                return (struct span){ "", 0 };
        copy = dav_arena_take(arena, s.size);
        if (!copy)
                return (struct span){ NULL, 0 };
        memcpy(copy, s.data, s.size);
        return (struct span){ copy, s.size };
}

/* Frees all blocks behind this one. */
static void free_behind(struct dav_block *first)
{
        while (first->next) {
                struct dav_block *block = first->next;

                first->next = block->next;
                free(block);
        }
}

void dav_arena_reset(struct dav_arena *arena)
{
        if (!arena->blocks)
                return;
        free_behind(arena->blocks);
        memset(arena->blocks->room, 0, arena->used);
        arena->total = arena->blocks->size;
        arena->used = 0;
}

void dav_arena_finish(struct dav_arena *arena)
{
        if (arena->blocks)
                free_behind(arena->blocks);
        free(arena->blocks);
        *arena = (struct dav_arena){ 0 };
}
