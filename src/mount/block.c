/* Memory of file data (block.h). The spares are slots that are filled and emptied by single atomic exchanges. */
#include "mount/block.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_BYTES = 2 << 20 };

struct spare { /* in the first bytes of a block that is free */
        size_t size;
};

static _Atomic(struct spare *) spares[BLOCK_SPARES];
static atomic_bool used; /* since the last look */

static void spare_release(struct spare *spare)
{
        if (spare)
                munmap(spare, spare->size);
}

/* What was freed last is wanted next: where there is no room, another goes. */
static void spare_put(struct spare *spare)
{
        static atomic_uint turn;
        for (unsigned i = 0; i < BLOCK_SPARES; i++) {
                struct spare *none = NULL;
                if (atomic_compare_exchange_strong(&spares[i], &none, spare))
                        return;
        }
        spare_release(atomic_exchange(&spares[atomic_fetch_add(&turn, 1) % BLOCK_SPARES], spare));
}

static void *spare_take(size_t size)
{
        for (unsigned i = 0; i < BLOCK_SPARES; i++) {
                struct spare *spare = atomic_exchange(&spares[i], NULL);
                if (spare && spare->size == size)
                        return spare;
                if (spare)
                        spare_put(spare);
        }
        return NULL;
}

/* A huge page is faulted in and cleared eight times as fast as its small ones. */
static void *map(size_t size)
{
        void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (block == MAP_FAILED)
                return NULL;
        if (size >= HUGE_BYTES)
                madvise(block, size, MADV_HUGEPAGE);
        return block;
}

void *block_new(size_t size)
{
        if (size < BLOCK_LARGE_BYTES)
                return malloc(size);
        atomic_store_explicit(&used, true, memory_order_relaxed);
        void *block = spare_take(size);
        return block ? block : map(size);
}

static void *move(void *block, size_t old_size, size_t size)
{
        void *moved = block_new(size);
        if (!moved)
                return NULL;
        memcpy(moved, block, min_of(old_size, size));
        block_free(block, old_size);
        return moved;
}

void *block_resize(void *block, size_t old_size, size_t size)
{
        bool large = size >= BLOCK_LARGE_BYTES;
        if (large != (old_size >= BLOCK_LARGE_BYTES))
                return move(block, old_size, size);
        if (!large)
                return realloc(block, size);
        void *moved = mremap(block, old_size, size, MREMAP_MAYMOVE);
        return moved == MAP_FAILED ? NULL : moved;
}

void block_free(void *block, size_t size)
{
        if (size < BLOCK_LARGE_BYTES || !block) {
                free(block);
                return;
        }
        atomic_store_explicit(&used, true, memory_order_relaxed);
        struct spare *spare = block;
        spare->size = size;
        if (size > BLOCK_SPARE_BYTES)
                spare_release(spare);
        else
                spare_put(spare);
}

void block_trim(void)
{
        if (atomic_exchange(&used, false))
                return;
        for (unsigned i = 0; i < BLOCK_SPARES; i++)
                spare_release(atomic_exchange(&spares[i], NULL));
}
