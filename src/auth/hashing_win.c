/* Hashing a password. Windows has no crypt(3), so of its kinds only those are here that need no more than a hash:
 * SHA-crypt, "$5$" and "$6$" (U. Drepper, Unix crypt using SHA-256 and SHA-512).
 */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdlib.h>

const char *const auth_hash_advice = "here hashes are of SHA-crypt; make one by: openssl passwd -6";

enum { DEFAULT_ROUNDS = 5000, MAX_SALT = 16, MAX_PASSWORD = 512 };

struct kind {
        const char *prefix;
        enum crypto_hash hash;
        unsigned size;
};

static const struct kind kinds[] = {
        { "$5$", CRYPTO_SHA256, 32 },
        { "$6$", CRYPTO_SHA512, 64 },
};

struct work {
        const struct kind *kind;
        struct crypto_hashing *hashing;
        struct span password, salt, setting; /* setting: all before the '$' that ends the salt */
        unsigned long rounds;
        bool failed;
        unsigned char a[CRYPTO_HASH_BYTES], b[CRYPTO_HASH_BYTES];
        char p[MAX_PASSWORD], s[MAX_SALT];
};

/* ---- the setting ---- */

static bool read_setting(struct work *work, const char *setting)
{
        struct span rest = span_of(setting);
        for (size_t i = 0; i < array_count(kinds); i++)
                if (strncmp(setting, kinds[i].prefix, 3) == 0)
                        work->kind = &kinds[i];
        if (!work->kind)
                return false;
        rest.data += 3;
        rest.size -= 3;
        work->rounds = DEFAULT_ROUNDS;
        if (strncmp(rest.data, "rounds=", 7) == 0) {
                work->rounds = strtoul(rest.data + 7, NULL, 10);
                span_cut(&rest, '$');
        }
        work->salt = span_cut(&rest, '$');
        work->setting = (struct span){ setting, (size_t)(work->salt.data + work->salt.size - setting) };
        return work->salt.data && work->salt.size <= MAX_SALT;
}

/* ---- the hash ---- */

static void add(struct work *work, const void *data, size_t size)
{
        if (size > 0 && !crypto_hash_add(work->hashing, data, size))
                work->failed = true;
}

static void add_span(struct work *work, struct span s)
{
        add(work, s.data, s.size);
}

static void end(struct work *work, unsigned char out[CRYPTO_HASH_BYTES])
{
        if (crypto_hash_end(work->hashing, out) != work->kind->size)
                work->failed = true;
}

/* As many bytes as that, of the hash again and again. */
static void repeat(const struct work *work, const unsigned char *hash, char *out, size_t size)
{
        for (size_t i = 0; i < size; i++)
                out[i] = (char)hash[i % work->kind->size];
}

static void first_hash(struct work *work)
{
        char stretched[MAX_PASSWORD];
        size_t size = work->password.size;
        add_span(work, work->password);
        add_span(work, work->salt);
        add_span(work, work->password);
        end(work, work->b);
        add_span(work, work->password);
        add_span(work, work->salt);
        repeat(work, work->b, stretched, size);
        add(work, stretched, size);
        for (size_t bits = size; bits > 0; bits >>= 1) {
                if (bits & 1)
                        add(work, work->b, work->kind->size);
                else
                        add_span(work, work->password);
        }
        end(work, work->a);
        crypto_wipe(stretched, sizeof(stretched));
}

static void make_sequences(struct work *work)
{
        for (size_t i = 0; i < work->password.size; i++)
                add_span(work, work->password);
        end(work, work->b);
        repeat(work, work->b, work->p, work->password.size);
        for (unsigned i = 0; i < 16u + work->a[0]; i++)
                add_span(work, work->salt);
        end(work, work->b);
        repeat(work, work->b, work->s, work->salt.size);
}

static void make_round(struct work *work, unsigned long number)
{
        bool odd = number & 1;
        if (odd)
                add(work, work->p, work->password.size);
        else
                add(work, work->a, work->kind->size);
        if (number % 3)
                add(work, work->s, work->salt.size);
        if (number % 7)
                add(work, work->p, work->password.size);
        if (odd)
                add(work, work->a, work->kind->size);
        else
                add(work, work->p, work->password.size);
        end(work, work->a);
}

/* ---- as text ---- */

static void put_group(struct text *out, unsigned high, unsigned middle, unsigned low, unsigned chars)
{
        static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        unsigned word = high << 16 | middle << 8 | low;
        for (; chars > 0; chars--, word >>= 6)
                text_char(out, digits[word & 63]);
}

/* Groups of three bytes, each a third of the hash apart from the next and turned by one place from group to group. */
static void put_hash(struct text *out, const struct work *work)
{
        const unsigned char *a = work->a;
        unsigned third = work->kind->size / 3, at[3] = { 0, third, 2 * third };
        bool long_one = work->kind->hash == CRYPTO_SHA512;
        for (unsigned i = 0; i < third; i++) {
                put_group(out, a[at[0]], a[at[1]], a[at[2]], 4);
                unsigned first = at[0], second = at[1], last = at[2];
                at[0] = (long_one ? second : last) + 1;
                at[1] = (long_one ? last : first) + 1;
                at[2] = (long_one ? first : second) + 1;
        }
        if (long_one)
                put_group(out, 0, 0, a[63], 2);
        else
                put_group(out, 0, a[31], a[30], 3);
}

static void hash_all(struct work *work, struct text *out)
{
        first_hash(work);
        make_sequences(work);
        for (unsigned long i = 0; i < work->rounds && !work->failed; i++)
                make_round(work, i);
        text_put(out, work->setting);
        text_char(out, '$');
        put_hash(out, work);
}

int auth_hash_password(const char *password, const char *setting, char out[AUTH_HASH_BYTES])
{
        struct text text = text_in(out, AUTH_HASH_BYTES - 1);
        memset(out, 0, AUTH_HASH_BYTES);
        struct work *work = calloc(1, sizeof(*work));
        if (!work)
                return -ENOMEM;
        work->password = span_of(password);
        int error = read_setting(work, setting) && work->password.size <= MAX_PASSWORD ? 0 : -EINVAL;
        work->hashing = error ? NULL : crypto_hash_create(work->kind->hash);
        if (work->hashing)
                hash_all(work, &text);
        if (!error && (!work->hashing || work->failed))
                error = -ENOMEM;
        if (error)
                memset(out, 0, AUTH_HASH_BYTES);
        crypto_hash_destroy(work->hashing);
        crypto_wipe(work, sizeof(*work));
        free(work);
        return error;
}
