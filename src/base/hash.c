/* Hashing for tables and numbers for simulations. */
#include "base/base.h"

#include <pthread.h>

static uint64_t seed;

static void make_seed(void)
{
        if (!entropy(&seed, sizeof(seed)))
                seed = clock_us() ^ (uint64_t)(uintptr_t)&seed;
}

/* The finaliser of splitmix64 (Steele, Lea, Flood 2014): each output bit depends on every input bit. */
static uint64_t mix(uint64_t x)
{
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        return x ^ (x >> 31);
}

uint64_t hash_bytes(const void *data, size_t size)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, make_seed);
        const unsigned char *bytes = data;
        uint64_t hash = seed + size;
        uint64_t word;
        for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
                memcpy(&word, bytes, sizeof(word));
                hash = mix(hash ^ word) + 0x9e3779b97f4a7c15ull;
        }
        word = 0;
        memcpy(&word, bytes, size);
        return mix(hash ^ word);
}

uint64_t random_next(struct random *random)
{
        return mix(random->state += 0x9e3779b97f4a7c15ull);
}

uint32_t random_below(struct random *random, uint32_t bound)
{
        ensure(bound > 0);
        return (uint32_t)(((random_next(random) >> 32) * bound) >> 32);
}
