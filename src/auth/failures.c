/* Who guesses is slowed. A table of fixed size: an address hashes to a set of a few slots, and of a full set the one
 * whose last failure is longest ago goes. One lock, held for a look at one set; only failures and passwords that have
 * to be hashed come here.
 */
#include "auth/auth_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum {
        SETS = AUTH_FAILURE_ADDRESSES / AUTH_FAILURE_WAYS,
        FORGET_MS = 60 * 1000,
        FREE_FAILURES = 3,
        FIRST_WAIT_MS = 250,
        MOST_WAIT_MS = 5000,
};

struct slot {
        uint64_t address;
        uint64_t last_ms;
        uint32_t count; /* 0: free */
        uint32_t size;  /* of the address */
};

struct auth_failures {
        pthread_mutex_t lock;
        struct slot slots[SETS][AUTH_FAILURE_WAYS];
};

int auth_failures_create(struct auth_failures **out)
{
        struct auth_failures *failures = calloc(1, sizeof(*failures));
        *out = failures;
        if (!failures)
                return -ENOMEM;
        pthread_mutex_init(&failures->lock, NULL);
        return 0;
}

void auth_failures_destroy(struct auth_failures *failures)
{
        if (!failures)
                return;
        pthread_mutex_destroy(&failures->lock);
        free(failures);
}

static struct slot key_of(const void *address, size_t size)
{
        struct slot key = { .size = (uint32_t)size };
        ensure(size <= sizeof(key.address));
        memcpy(&key.address, address, size);
        return key;
}

static struct slot *set_of(struct auth_failures *failures, const struct slot *key)
{
        const uint64_t bytes[] = { key->address, key->size };
        return failures->slots[hash_bytes(bytes, sizeof(bytes)) % SETS];
}

/* NULL when nothing is known of it, or nothing of the last minute. */
static struct slot *find(struct slot *set, const struct slot *key, uint64_t now_ms)
{
        for (unsigned i = 0; i < AUTH_FAILURE_WAYS; i++) {
                struct slot *slot = &set[i];
                if (slot->count && slot->address == key->address && slot->size == key->size)
                        return now_ms < slot->last_ms + FORGET_MS ? slot : NULL;
        }
        return NULL;
}

/* The address's own slot that is out of date, a free one, or the one that is oldest. */
static struct slot *place_for(struct slot *set, const struct slot *key)
{
        struct slot *oldest = &set[0];
        for (unsigned i = 0; i < AUTH_FAILURE_WAYS; i++) {
                struct slot *slot = &set[i];
                if (slot->count && slot->address == key->address && slot->size == key->size)
                        return slot;
                if (slot->last_ms < oldest->last_ms)
                        oldest = slot;
        }
        return oldest;
}

/* 250, 500, 1000, 2000, 4000, 5000, 5000 ... from the fourth on. */
static uint32_t wait_after(uint32_t count)
{
        uint32_t wait_ms = FIRST_WAIT_MS;
        if (count <= FREE_FAILURES)
                return 0;
        for (uint32_t i = FREE_FAILURES + 1; i < count && wait_ms < MOST_WAIT_MS; i++)
                wait_ms *= 2;
        return min_of(wait_ms, (uint32_t)MOST_WAIT_MS);
}

uint32_t auth_failures_add(struct auth_failures *failures, const void *address, size_t size, uint64_t now_ms)
{
        if (size == 0)
                return 0;
        struct slot key = key_of(address, size);
        pthread_mutex_lock(&failures->lock);
        struct slot *set = set_of(failures, &key);
        struct slot *slot = find(set, &key, now_ms);
        if (!slot) {
                slot = place_for(set, &key);
                *slot = key;
        }
        slot->last_ms = now_ms;
        slot->count += slot->count < UINT32_MAX;
        uint32_t wait_ms = wait_after(slot->count);
        pthread_mutex_unlock(&failures->lock);
        return wait_ms;
}

uint32_t auth_failures_wait(struct auth_failures *failures, const void *address, size_t size, uint64_t now_ms)
{
        if (size == 0)
                return 0;
        struct slot key = key_of(address, size);
        pthread_mutex_lock(&failures->lock);
        const struct slot *slot = find(set_of(failures, &key), &key, now_ms);
        uint32_t wait_ms = slot ? wait_after(slot->count) : 0;
        pthread_mutex_unlock(&failures->lock);
        return wait_ms;
}
