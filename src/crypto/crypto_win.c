/* Hashes by CNG, bcrypt.dll, through its providers that are always open. */
#include "crypto/crypto.h"

#include <stdlib.h>
#include <windows.h>

#include <bcrypt.h>

enum { HMAC_BLOCK_BYTES = 64 };

struct crypto_hashing {
        BCRYPT_ALG_HANDLE provider;
        BCRYPT_HASH_HANDLE hash;
        unsigned size;
};

static const struct {
        const wchar_t *name;
        unsigned size;
} kinds[] = {
        [CRYPTO_SHA256] = { BCRYPT_SHA256_ALGORITHM, 32 },
        [CRYPTO_SHA512] = { BCRYPT_SHA512_ALGORITHM, 64 },
        [CRYPTO_SHA1] = { BCRYPT_SHA1_ALGORITHM, 20 },
        [CRYPTO_MD5] = { BCRYPT_MD5_ALGORITHM, 16 },
};

static bool begin(struct crypto_hashing *hashing)
{
        return BCryptCreateHash(hashing->provider, &hashing->hash, NULL, 0, NULL, 0, 0) >= 0;
}

static void end(struct crypto_hashing *hashing)
{
        if (hashing->hash)
                BCryptDestroyHash(hashing->hash);
        hashing->hash = NULL;
}

struct crypto_hashing *crypto_hash_create(enum crypto_hash hash)
{
        struct crypto_hashing *hashing = calloc(1, sizeof(*hashing));
        if (!hashing)
                return NULL;
        hashing->size = kinds[hash].size;
        if (BCryptOpenAlgorithmProvider(&hashing->provider, kinds[hash].name, NULL, 0) >= 0 && begin(hashing))
                return hashing;
        crypto_hash_destroy(hashing);
        return NULL;
}

bool crypto_hash_add(struct crypto_hashing *hashing, const void *data, size_t size)
{
        const char *bytes = data;
        for (size_t piece; size > 0; bytes += piece, size -= piece) {
                piece = min_of(size, (size_t)1 << 30);
                if (!hashing->hash || BCryptHashData(hashing->hash, (PUCHAR)(uintptr_t)bytes, (ULONG)piece, 0) < 0)
                        return false;
        }
        return true;
}

unsigned crypto_hash_end(struct crypto_hashing *hashing, unsigned char out[CRYPTO_HASH_BYTES])
{
        bool done = hashing->hash && BCryptFinishHash(hashing->hash, out, hashing->size, 0) >= 0;
        end(hashing);
        return begin(hashing) && done ? hashing->size : 0;
}

void crypto_hash_destroy(struct crypto_hashing *hashing)
{
        if (!hashing)
                return;
        end(hashing);
        if (hashing->provider)
                BCryptCloseAlgorithmProvider(hashing->provider, 0);
        free(hashing);
}

/* RFC 2104: H(K xor opad, H(K xor ipad, text)). */
static bool hash_keyed(struct crypto_hashing *hashing, struct span key, unsigned char pad, struct span data,
                       unsigned char out[CRYPTO_HASH_BYTES])
{
        unsigned char block[HMAC_BLOCK_BYTES];
        memset(block, pad, sizeof(block));
        for (size_t i = 0; i < key.size; i++)
                block[i] ^= (unsigned char)key.data[i];
        bool done = crypto_hash_add(hashing, block, sizeof(block)) && crypto_hash_add(hashing, data.data, data.size) &&
                    crypto_hash_end(hashing, out) > 0;
        crypto_wipe(block, sizeof(block));
        return done;
}

bool crypto_hmac(struct span key, struct span data, unsigned char out[CRYPTO_SHA256_BYTES])
{
        unsigned char inner[CRYPTO_HASH_BYTES], outer[CRYPTO_HASH_BYTES];
        ensure(key.size <= HMAC_BLOCK_BYTES);
        struct crypto_hashing *hashing = crypto_hash_create(CRYPTO_SHA256);
        bool done = hashing && hash_keyed(hashing, key, 0x36, data, inner) &&
                    hash_keyed(hashing, key, 0x5c, (struct span){ (char *)inner, CRYPTO_SHA256_BYTES }, outer);
        if (done)
                memcpy(out, outer, CRYPTO_SHA256_BYTES);
        crypto_hash_destroy(hashing);
        return done;
}

bool crypto_same(const void *a, const void *b, size_t size)
{
        const volatile unsigned char *one = a, *other = b;
        unsigned char differ = 0;
        for (size_t i = 0; i < size; i++)
                differ |= one[i] ^ other[i];
        return differ == 0;
}

void crypto_wipe(void *data, size_t size)
{
        SecureZeroMemory(data, size);
}
