/* Connections by client address: a hash table with chains, for --per-address. All shards share it under one lock, which
 * is held for a look-up at a connection's beginning and end.
 *
 * An IPv6 client commonly has 64 bits of addresses to itself, so these are counted as one.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

struct address {
        uint64_t high, low; /* IPv4: 0, and the address; IPv6: the first half, and 1 << 32 */
        uint32_t count;     /* connections; 0: free */
        uint32_t next;      /* in its bucket, or of the free ones; 0: none */
};

struct addresses {
        pthread_mutex_t lock;
        uint32_t bucket_count, made, room, free;
        uint32_t *buckets;
        struct address *table; /* [0] is nobody */
};

static const struct address other = { .low = 2ull << 32 }; /* unix sockets and the like */

int addresses_create(struct addresses **out, uint32_t connections)
{
        struct addresses *addresses = calloc(1, sizeof(*addresses));
        if (!addresses)
                return -ENOMEM;
        addresses->room = connections;
        addresses->bucket_count = max_of(connections, 16u);
        addresses->buckets = calloc(addresses->bucket_count, sizeof(*addresses->buckets));
        addresses->table = calloc((size_t)connections + 1, sizeof(*addresses->table));
        pthread_mutex_init(&addresses->lock, NULL);
        *out = addresses;
        if (addresses->buckets && addresses->table)
                return 0;
        addresses_destroy(addresses);
        *out = NULL;
        return -ENOMEM;
}

void addresses_destroy(struct addresses *addresses)
{
        if (!addresses)
                return;
        pthread_mutex_destroy(&addresses->lock);
        free(addresses->buckets);
        free(addresses->table);
        free(addresses);
}

static struct address address_of(const struct sockaddr *peer)
{
        struct address key = other;
        if (peer->sa_family == AF_INET) {
                key.low = ((const struct sockaddr_in *)peer)->sin_addr.s_addr;
        } else if (peer->sa_family == AF_INET6) {
                const struct in6_addr *in6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
                key.low = 1ull << 32;
                memcpy(&key.high, in6, sizeof(key.high));
                if (IN6_IS_ADDR_V4MAPPED(in6)) {
                        uint32_t in4;
                        memcpy(&in4, in6->s6_addr + 12, sizeof(in4));
                        key = (struct address){ .low = in4 };
                }
        }
        return key;
}

static uint32_t *bucket_of(struct addresses *addresses, const struct address *key)
{
        const uint64_t bytes[] = { key->high, key->low };
        return &addresses->buckets[hash_bytes(bytes, sizeof(bytes)) % addresses->bucket_count];
}

/* The number of the address, made if need be; 0 when the table is full. */
static uint32_t look_up(struct addresses *addresses, const struct address *key)
{
        uint32_t *bucket = bucket_of(addresses, key);
        for (uint32_t at = *bucket; at; at = addresses->table[at].next)
                if (addresses->table[at].high == key->high && addresses->table[at].low == key->low)
                        return at;
        uint32_t number = addresses->free;
        if (number)
                addresses->free = addresses->table[number].next;
        else if (addresses->made < addresses->room)
                number = ++addresses->made;
        else
                return 0;
        addresses->table[number] = (struct address){ .high = key->high, .low = key->low, .next = *bucket };
        *bucket = number;
        return number;
}

uint32_t addresses_enter(struct addresses *addresses, const struct sockaddr *peer, uint32_t limit)
{
        struct address key = address_of(peer);
        pthread_mutex_lock(&addresses->lock);
        uint32_t number = look_up(addresses, &key);
        bool counted = key.low != other.low;
        if (number && counted && addresses->table[number].count >= limit)
                number = 0;
        if (number)
                addresses->table[number].count++;
        pthread_mutex_unlock(&addresses->lock);
        return number;
}

static void take_out(struct addresses *addresses, uint32_t number)
{
        struct address *address = &addresses->table[number];
        uint32_t *link = bucket_of(addresses, address);
        while (*link != number)
                link = &addresses->table[*link].next;
        *link = address->next;
        address->next = addresses->free;
        addresses->free = number;
}

void addresses_leave(struct addresses *addresses, uint32_t number)
{
        pthread_mutex_lock(&addresses->lock);
        ensure(number > 0 && number <= addresses->made && addresses->table[number].count > 0);
        if (--addresses->table[number].count == 0)
                take_out(addresses, number);
        pthread_mutex_unlock(&addresses->lock);
}
