/* crypto: hashes, keyed hashes, and memory that held secrets. OpenSSL's libcrypto does it, on Windows CNG (crypto.c,
 * crypto_win.c). Random bytes are entropy()'s.
 */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include "base/base.h"

enum crypto_hash { CRYPTO_SHA256, CRYPTO_SHA512, CRYPTO_SHA1, CRYPTO_MD5 };

enum { CRYPTO_HASH_BYTES = 64, CRYPTO_SHA256_BYTES = 32 };

/* A hash in progress, begun anew after each end. */
struct crypto_hashing;

/* NULL: there is no memory for it. */
struct crypto_hashing *crypto_hash_create(enum crypto_hash hash);
/* False: the library failed. */
bool crypto_hash_add(struct crypto_hashing *hashing, const void *data, size_t size);
/* Its bytes; 0: the library failed. */
unsigned crypto_hash_end(struct crypto_hashing *hashing, unsigned char out[CRYPTO_HASH_BYTES]);
/* NULL is fine. */
void crypto_hash_destroy(struct crypto_hashing *hashing);

/* HMAC (RFC 2104) with SHA-256; false without memory. */
bool crypto_hmac(struct span key, struct span data, unsigned char out[CRYPTO_SHA256_BYTES]);

/* Compares in a time that does not depend on where they differ. */
bool crypto_same(const void *a, const void *b, size_t size);

/* Wipes; no compiler leaves it out. */
void crypto_wipe(void *data, size_t size);

#endif
