/* Hashes by OpenSSL's libcrypto. */
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

struct crypto_hashing {
        EVP_MD_CTX *context;
        const EVP_MD *kind;
};

_Static_assert(CRYPTO_HASH_BYTES == EVP_MAX_MD_SIZE, "room for every hash");

struct crypto_hashing *crypto_hash_create(enum crypto_hash hash)
{
        static const EVP_MD *(*const kinds[])(void) = {
                [CRYPTO_SHA256] = EVP_sha256,
                [CRYPTO_SHA512] = EVP_sha512,
                [CRYPTO_SHA1] = EVP_sha1,
                [CRYPTO_MD5] = EVP_md5,
        };
        struct crypto_hashing *hashing = calloc(1, sizeof(*hashing));
        if (!hashing)
                return NULL;
        hashing->kind = kinds[hash]();
        hashing->context = EVP_MD_CTX_new();
        if (hashing->context && EVP_DigestInit_ex(hashing->context, hashing->kind, NULL))
                return hashing;
        crypto_hash_destroy(hashing);
        return NULL;
}

bool crypto_hash_add(struct crypto_hashing *hashing, const void *data, size_t size)
{
        return EVP_DigestUpdate(hashing->context, data, size);
}

unsigned crypto_hash_end(struct crypto_hashing *hashing, unsigned char out[CRYPTO_HASH_BYTES])
{
        unsigned size = 0;
        if (!EVP_DigestFinal_ex(hashing->context, out, &size) ||
            !EVP_DigestInit_ex(hashing->context, hashing->kind, NULL))
                return 0;
        return size;
}

void crypto_hash_destroy(struct crypto_hashing *hashing)
{
        if (!hashing)
                return;
        EVP_MD_CTX_free(hashing->context);
        free(hashing);
}

bool crypto_hmac(struct span key, struct span data, unsigned char out[CRYPTO_SHA256_BYTES])
{
        const void *bytes = data.size > 0 ? data.data : "";
        return HMAC(EVP_sha256(), key.data, (int)key.size, bytes, data.size, out, NULL) != NULL;
}

bool crypto_same(const void *a, const void *b, size_t size)
{
        return CRYPTO_memcmp(a, b, size) == 0;
}

void crypto_wipe(void *data, size_t size)
{
        OPENSSL_cleanse(data, size);
}
