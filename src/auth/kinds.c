/* The kinds of password hashes, as crypt(5) tells their forms. What may be used is slow by design; the others are known
 * only to say why not.
 */
#include "auth/auth_priv.h"

#include <stdlib.h>

enum { BCRYPT_BYTES = 60, MAX_BCRYPT_COST = 16, MAX_SHA_ROUNDS = 10000000, MAX_SALT = 64 };

static bool begins(struct span s, struct span with)
{
        return s.size >= with.size && memcmp(s.data, with.data, with.size) == 0;
}

/* Only of crypt's own 64 characters. */
static bool is_plain(struct span s)
{
        for (size_t i = 0; i < s.size; i++) {
                char c = s.data[i];
                bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
                if (!letter && c != '.' && c != '/')
                        return false;
        }
        return true;
}

/* ---- those that may be used ---- */

/* A number of at most 9 digits; -1 when it is none. */
static int64_t number_of(struct span s)
{
        int64_t value = 0;
        if (s.size == 0 || s.size > 9)
                return -1;
        for (size_t i = 0; i < s.size; i++) {
                if (s.data[i] < '0' || s.data[i] > '9')
                        return -1;
                value = value * 10 + (s.data[i] - '0');
        }
        return value;
}

/* "$2y$12$", 22 characters of salt, 31 of hash. */
static const char *bcrypt_fault(struct span hash)
{
        if (hash.size != BCRYPT_BYTES || hash.data[6] != '$' || !is_plain((struct span){ hash.data + 7, 53 }))
                return "a malformed bcrypt hash";
        int64_t cost = number_of((struct span){ hash.data + 4, 2 });
        if (cost < 4)
                return "a malformed bcrypt hash";
        return cost > MAX_BCRYPT_COST ? "a bcrypt hash of a cost above 16, which would take many seconds" : NULL;
}

static bool is_salt(struct span salt, size_t most)
{
        for (size_t i = 0; i < salt.size; i++)
                if (salt.data[i] <= ' ' || salt.data[i] == 0x7f)
                        return false;
        return salt.size > 0 && salt.size <= most;
}

/* "$6$", perhaps "rounds=N$", the salt, '$', the hash of so many characters. */
static const char *sha_fault(struct span hash, size_t hash_chars)
{
        struct span rest = { hash.data + 3, hash.size - 3 };
        if (begins(rest, SPAN("rounds="))) {
                struct span rounds = span_cut(&rest, '$');
                int64_t count = number_of((struct span){ rounds.data + 7, rounds.size - 7 });
                if (count < 1000)
                        return "a malformed SHA-crypt hash";
                if (count > MAX_SHA_ROUNDS)
                        return "a SHA-crypt hash of more than 10,000,000 rounds, which would take many seconds";
        }
        struct span salt = span_cut(&rest, '$');
        if (!is_salt(salt, 16) || rest.size != hash_chars || !is_plain(rest))
                return "a malformed SHA-crypt hash";
        return NULL;
}

static const char *sha512_fault(struct span hash)
{
        return sha_fault(hash, 86);
}

static const char *sha256_fault(struct span hash)
{
        return sha_fault(hash, 43);
}

/* "$y$", parameters, '$', salt, '$', 43 characters of hash. */
static const char *yescrypt_fault(struct span hash)
{
        struct span rest = { hash.data + 3, hash.size - 3 };
        struct span parameters = span_cut(&rest, '$');
        struct span salt = span_cut(&rest, '$');
        if (parameters.size == 0 || !is_plain(parameters) || salt.size == 0 || salt.size > MAX_SALT ||
            !is_plain(salt) || rest.size != 43 || !is_plain(rest))
                return "a malformed yescrypt hash";
        return NULL;
}

static const struct kind {
        struct span prefix;
        const char *(*fault)(struct span hash);
        unsigned cost_fields; /* of those that '$' ends behind the prefix: they tell the cost */
        size_t bytes;
} kinds[] = {
        { { "$2y$", 4 }, bcrypt_fault, 1, 64 << 10 },  { { "$2b$", 4 }, bcrypt_fault, 1, 64 << 10 },
        { { "$6$", 3 }, sha512_fault, 0, 64 << 10 },   { { "$5$", 3 }, sha256_fault, 0, 64 << 10 },
        { { "$y$", 3 }, yescrypt_fault, 1, 17 << 20 }, /* 16 MiB with the usual parameters */
};

/* ---- those that may not ---- */

static const struct {
        struct span prefix;
        const char *what;
} refused[] = {
        { { "$apr1$", 6 }, "an MD5 hash of Apache's ($apr1$), which is guessed too fast" },
        { { "$1$", 3 }, "an MD5 hash ($1$), which is guessed too fast" },
        { { "$md5", 4 }, "an MD5 hash, which is guessed too fast" },
        { { "$3$", 3 }, "an NT hash ($3$), which is guessed too fast" },
        { { "$sha1$", 6 }, "a SHA-1 hash, which is guessed too fast" },
        { { "{SHA}", 5 }, "a plain SHA-1 hash ({SHA}), which is guessed too fast" },
        { { "{SSHA}", 6 }, "a SHA-1 hash ({SSHA}), which is guessed too fast" },
        { { "{PLAIN}", 7 }, "a password in plain text" },
        { { "$2a$", 4 }, "a bcrypt hash in its old form $2a$" },
        { { "$2x$", 4 }, "a bcrypt hash in its broken form $2x$" },
        { { "_", 1 }, "a DES hash, which is guessed too fast" },
};

static const char *why_not(struct span hash)
{
        for (size_t i = 0; i < array_count(refused); i++)
                if (begins(hash, refused[i].prefix))
                        return refused[i].what;
        if (hash.size == 0)
                return "no hash";
        if (hash.size == 13 && is_plain(hash))
                return "a DES hash, which is guessed too fast, or a password in plain text";
        return hash.data[0] == '$' ? "a hash of an unknown kind"
                                   : "a password in plain text, or a hash of no known kind";
}

/* ---- all of them ---- */

static const struct kind *kind_of(struct span hash)
{
        for (size_t i = 0; i < array_count(kinds); i++)
                if (begins(hash, kinds[i].prefix))
                        return &kinds[i];
        return NULL;
}

const char *auth_hash_fault(struct span hash)
{
        const struct kind *kind = kind_of(hash);
        return kind ? kind->fault(hash) : why_not(hash);
}

struct span auth_hash_cost(const char *hash)
{
        const struct kind *kind = kind_of(span_of(hash));
        ensure(kind);
        struct span rest = { hash + kind->prefix.size, strlen(hash) - kind->prefix.size };
        if (kind->cost_fields > 0 || begins(rest, SPAN("rounds=")))
                span_cut(&rest, '$');
        size_t size = (size_t)(rest.data - hash);
        /* $2b$ and $2y$ are the same but for the letter. */
        return hash[1] == '2' ? (struct span){ hash + 3, size - 3 } : (struct span){ hash, size };
}

size_t auth_hash_bytes(const char *hash)
{
        const struct kind *kind = kind_of(span_of(hash));
        ensure(kind);
        return kind->bytes;
}
