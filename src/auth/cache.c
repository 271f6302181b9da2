/* Verdicts, by the keyed hash of "name:password". Good and bad ones lie in tables of their own, so that who guesses
 * pushes nobody's good one out. Each table is a ring in which the oldest is overwritten, found by chains.
 */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdlib.h>

enum {
        GOOD_ENTRIES = AUTH_CACHE_GOOD,
        BAD_ENTRIES = AUTH_CACHE_BAD,
        TRUST_MS = 10 * 60 * 1000,
};

struct entry {
        unsigned char digest[AUTH_DIGEST_BYTES];
        uint64_t until_ms; /* 0: nothing here */
        uint16_t next;     /* in its bucket, + 1; 0: none */
        char user[AUTH_USER_BYTES];
};

struct table {
        struct entry *entries;
        uint16_t *buckets; /* an entry + 1; 0: none */
        uint32_t count;    /* of either */
        uint32_t oldest;   /* is overwritten next */
};

struct auth_cache {
        const struct auth *auth;
        struct table good, bad;
};

_Static_assert(GOOD_ENTRIES < UINT16_MAX && BAD_ENTRIES < UINT16_MAX, "an index fits");

/* ---- a table ---- */

static bool table_init(struct table *table, uint32_t count)
{
        table->count = count;
        table->entries = calloc(count, sizeof(*table->entries));
        table->buckets = calloc(count, sizeof(*table->buckets));
        return table->entries && table->buckets;
}

static void table_finish(struct table *table)
{
        if (table->entries)
                crypto_wipe(table->entries, table->count * sizeof(*table->entries));
        free(table->entries);
        free(table->buckets);
}

/* The key is random, so the hash's own first bytes spread well. */
static uint16_t *bucket_of(const struct table *table, const unsigned char *digest)
{
        uint32_t word;
        memcpy(&word, digest, sizeof(word));
        return &table->buckets[word % table->count];
}

static struct entry *table_find(const struct table *table, const unsigned char *digest)
{
        for (uint16_t at = *bucket_of(table, digest); at; at = table->entries[at - 1].next)
                if (crypto_same(table->entries[at - 1].digest, digest, AUTH_DIGEST_BYTES))
                        return &table->entries[at - 1];
        return NULL;
}

static void take_out(struct table *table, uint32_t index)
{
        struct entry *entry = &table->entries[index];
        uint16_t *link = bucket_of(table, entry->digest);
        while (*link != index + 1)
                link = &table->entries[*link - 1].next;
        *link = entry->next;
}

static struct entry *table_add(struct table *table, const unsigned char *digest)
{
        uint32_t index = table->oldest;
        struct entry *entry = &table->entries[index];
        if (entry->until_ms)
                take_out(table, index);
        table->oldest = (index + 1) % table->count;
        uint16_t *bucket = bucket_of(table, digest);
        *entry = (struct entry){ .next = *bucket };
        memcpy(entry->digest, digest, AUTH_DIGEST_BYTES);
        *bucket = (uint16_t)(index + 1);
        return entry;
}

/* ---- the cache ---- */

int auth_cache_create(struct auth_cache **out, const struct auth *auth)
{
        struct auth_cache *cache = calloc(1, sizeof(*cache));
        *out = NULL;
        if (!cache)
                return -ENOMEM;
        cache->auth = auth;
        if (table_init(&cache->good, GOOD_ENTRIES) && table_init(&cache->bad, BAD_ENTRIES)) {
                *out = cache;
                return 0;
        }
        auth_cache_destroy(cache);
        return -ENOMEM;
}

void auth_cache_destroy(struct auth_cache *cache)
{
        if (!cache)
                return;
        table_finish(&cache->good);
        table_finish(&cache->bad);
        free(cache);
}

static enum auth_verdict ask_token(const struct auth *auth, struct span token, char user[AUTH_USER_BYTES])
{
        struct auth_token key;
        if (auth->token_count == 0 || !auth_digest(auth, AUTH_KEY_TOKEN, token, key.digest))
                return AUTH_BAD;
        uint32_t low = 0, high = auth->token_count;
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                int order = memcmp(auth->tokens[middle].digest, key.digest, AUTH_DIGEST_BYTES);
                if (order == 0) {
                        strcpy(user, auth->tokens[middle].name);
                        return AUTH_GOOD;
                }
                low = order < 0 ? middle + 1 : low;
                high = order < 0 ? high : middle;
        }
        return AUTH_BAD;
}

static enum auth_verdict ask_basic(const struct auth_cache *cache, const struct auth_basic *basic,
                                   char user[AUTH_USER_BYTES], uint64_t now_ms)
{
        unsigned char digest[AUTH_DIGEST_BYTES];
        if (!auth_digest(cache->auth, AUTH_KEY_CREDENTIALS, basic->all, digest))
                return AUTH_MUST_HASH;
        const struct entry *good = table_find(&cache->good, digest);
        if (good && good->until_ms > now_ms) {
                strcpy(user, good->user);
                return AUTH_GOOD;
        }
        const struct entry *bad = table_find(&cache->bad, digest);
        return bad && bad->until_ms > now_ms ? AUTH_BAD : AUTH_MUST_HASH;
}

enum auth_verdict auth_cache_ask(struct auth_cache *cache, struct span authorization, char user[AUTH_USER_BYTES],
                                 uint64_t now_ms)
{
        const struct auth *auth = cache->auth;
        struct auth_basic basic;
        struct span credentials;
        user[0] = '\0';
        if (!authorization.data || (!auth->has_passwords && !auth->has_tokens))
                return AUTH_MISSING;
        if (auth_scheme(authorization, SPAN("Bearer"), &credentials))
                return ask_token(auth, credentials, user);
        enum auth_verdict verdict = AUTH_BAD;
        if (auth->user_count > 0 && auth_scheme(authorization, SPAN("Basic"), &credentials) &&
            auth_basic_decode(&basic, credentials))
                verdict = ask_basic(cache, &basic, user, now_ms);
        crypto_wipe(&basic, sizeof(basic));
        return verdict;
}

static void learn(struct auth_cache *cache, const struct auth_basic *basic, bool good, uint64_t now_ms)
{
        unsigned char digest[AUTH_DIGEST_BYTES];
        struct table *table = good ? &cache->good : &cache->bad;
        if (!auth_digest(cache->auth, AUTH_KEY_CREDENTIALS, basic->all, digest))
                return;
        struct entry *entry = table_find(table, digest);
        if (!entry)
                entry = table_add(table, digest);
        entry->until_ms = now_ms + TRUST_MS;
        if (good)
                memcpy(entry->user, basic->name.data, basic->name.size);
}

void auth_cache_learn(struct auth_cache *cache, struct span authorization, enum auth_verdict verdict, uint64_t now_ms)
{
        struct auth_basic basic;
        struct span credentials;
        ensure(verdict == AUTH_GOOD || verdict == AUTH_BAD);
        if (auth_scheme(authorization, SPAN("Basic"), &credentials) && auth_basic_decode(&basic, credentials))
                learn(cache, &basic, verdict == AUTH_GOOD, now_ms);
        crypto_wipe(&basic, sizeof(basic));
}

size_t auth_cache_bytes(void)
{
        return (GOOD_ENTRIES + BAD_ENTRIES) * (sizeof(struct entry) + sizeof(uint16_t));
}
