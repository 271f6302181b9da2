/* Files that had no user.* attribute when they were looked at last, so that a listing need not ask for each again.
 *
 * Whoever sets an attribute moves the file's change time. So a file that had none stays without as long as its change
 * time stays; provided that this was past already when it was looked at, and could not be given once more
 * (SETTLED_SECONDS: clocks go in ticks, and those of file servers are coarse).
 *
 * A set of hashes of (device, inode, change time) under the process's own key, in buckets of a cache line each; a full
 * bucket forgets one. Any thread, no lock: a hash is one word. That two files share one is as likely as guessing 64
 * bits.
 */
#include "store/store_priv.h"

#include <stdlib.h>

enum {
        BUCKETS = 4096,
        BUCKET_HASHES = 8,
        SETTLED_SECONDS = 2,
};

struct store_bare {
        _Atomic uint64_t hashes[BUCKETS][BUCKET_HASHES]; /* 0: none */
};

struct store_bare *store_bare_create(void)
{
        return calloc(1, sizeof(struct store_bare));
}

static uint64_t hash_of(const struct store_state *state)
{
        uint64_t words[] = { state->device, state->inode, (uint64_t)state->changed.tv_sec,
                             (uint64_t)state->changed.tv_nsec };
        uint64_t hash = hash_bytes(words, sizeof(words));

        return hash ? hash : 1;
}

bool store_bare_has(struct store_bare *bare, const struct store_state *state)
{
        uint64_t hash = hash_of(state);
        _Atomic uint64_t *bucket = bare->hashes[hash % BUCKETS];

        for (unsigned i = 0; i < BUCKET_HASHES; i++)
                if (atomic_load_explicit(&bucket[i], memory_order_relaxed) == hash)
                        return true;
        return false;
}

void store_bare_add(struct store_bare *bare, const struct store_state *state, const struct timespec *looked)
{
        uint64_t hash = hash_of(state);
        _Atomic uint64_t *bucket = bare->hashes[hash % BUCKETS];
        unsigned place = (hash >> 32) % BUCKET_HASHES;

        if (looked->tv_sec - state->changed.tv_sec <= SETTLED_SECONDS)
                return;
        for (unsigned i = 0; i < BUCKET_HASHES; i++)
                if (atomic_load_explicit(&bucket[i], memory_order_relaxed) == 0)
                        place = i;
        atomic_store_explicit(&bucket[place], hash, memory_order_relaxed);
}
