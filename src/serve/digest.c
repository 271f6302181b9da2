/* Digests of what is uploaded: Content-Digest and Repr-Digest (RFC 9530), OC-Checksum (ownCloud); and Repr-Digest of
 * what then stands there, when Want-Repr-Digest asks. Hashing is crypto's, Adler-32 too small to need one.
 */
#include "crypto/crypto.h"
#include "serve/change.h"

#include <errno.h>
#include <stdlib.h>

enum {
        MAX_DIGESTS = 8,
        ADLER_MODULUS = 65521,
        HASH_BYTES = 128 << 10,
        MOST_HASHED = 256 << 20, /* of a GET's file; longer ones are not */
};

enum algorithm { SHA_256, SHA_512, SHA_1, MD5, ADLER_32, ALGORITHMS };

static const struct {
        const char *http, *owncloud;
        enum crypto_hash hash; /* but for Adler-32 */
} names[ALGORITHMS] = {
        [SHA_256] = { "sha-256", "SHA256", CRYPTO_SHA256 },
        [SHA_512] = { "sha-512", "SHA512", CRYPTO_SHA512 },
        [SHA_1] = { NULL, "SHA1", CRYPTO_SHA1 }, /* RFC 9530 5: not for HTTP's own fields any more */
        [MD5] = { NULL, "MD5", CRYPTO_MD5 },
        [ADLER_32] = { NULL, "ADLER32", 0 },
};

struct check {
        enum algorithm algorithm;
        size_t size;
        unsigned char value[CRYPTO_HASH_BYTES];
};

struct digests {
        struct crypto_hashing *contexts[ALGORITHMS]; /* NULL: not needed */
        uint32_t adler_low, adler_high;
        unsigned count;
        struct check checks[MAX_DIGESTS];
        bool needed[ALGORITHMS], wanted[ALGORITHMS]; /* wanted: to be told */
        bool final, broken;                          /* broken: the library has failed */
        unsigned char values[ALGORITHMS][CRYPTO_HASH_BYTES];
        unsigned sizes[ALGORITHMS];
        size_t checksum_size;
        char checksum[256];
};

/* ---- reading what was given ---- */

static bool add_check(struct digests *digests, enum algorithm algorithm, const unsigned char *value, size_t size)
{
        if (digests->count == MAX_DIGESTS || size > CRYPTO_HASH_BYTES)
                return false;
        struct check *check = &digests->checks[digests->count++];
        check->algorithm = algorithm;
        check->size = size;
        memcpy(check->value, value, size);
        digests->needed[algorithm] = true;
        return true;
}

/* A byte sequence of a structured field: ":base64:" (RFC 8941 3.3.5). Bytes, or -1. */
static int decode_bytes(struct span text, unsigned char out[CRYPTO_HASH_BYTES])
{
        if (text.size < 2 || text.data[0] != ':' || text.data[text.size - 1] != ':')
                return -1;
        return base64_decode(out, CRYPTO_HASH_BYTES, (struct span){ text.data + 1, text.size - 2 });
}

static int algorithm_of(struct span name)
{
        for (int i = 0; i < ALGORITHMS; i++)
                if (names[i].http && span_equal(name, span_of(names[i].http)))
                        return i;
        return -1;
}

/* "sha-256=:...:, sha-512=:...:". Algorithms that are not known are not checked (RFC 9530 2). */
static bool take_list(struct digests *digests, struct span value)
{
        while (value.size > 0) {
                struct span item = span_trim(span_cut(&value, ','));
                struct span name = span_trim(span_cut(&item, '='));
                int algorithm = algorithm_of(name);
                unsigned char bytes[CRYPTO_HASH_BYTES];
                int size = algorithm < 0 ? 0 : decode_bytes(item, bytes);
                if (size < 0 || name.size == 0)
                        return false;
                if (algorithm >= 0 && !add_check(digests, (enum algorithm)algorithm, bytes, (size_t)size))
                        return false;
        }
        return true;
}

/* "sha-256=10, sha-512=3": a preference of 0 is none. */
static void take_wants(struct digests *digests, struct span value)
{
        while (value.size > 0) {
                struct span item = span_cut(&value, ',');
                struct span name = span_trim(span_cut(&item, '='));
                struct span preference = span_trim(item);
                int algorithm = algorithm_of(name);
                if (algorithm >= 0 && !span_equal(preference, SPAN("0")))
                        digests->wanted[algorithm] = digests->needed[algorithm] = true;
        }
}

/* Bytes, or -1. */
static int decode_hex(struct span hex, unsigned char out[CRYPTO_HASH_BYTES])
{
        if (hex.size % 2 || hex.size == 0 || hex.size / 2 > CRYPTO_HASH_BYTES)
                return -1;
        for (size_t at = 0; at < hex.size; at += 2) {
                int high = hex_digit(hex.data[at]), low = hex_digit(hex.data[at + 1]);
                if (high < 0 || low < 0)
                        return -1;
                out[at / 2] = (unsigned char)(high << 4 | low);
        }
        return (int)(hex.size / 2);
}

/* "SHA1:hex" and the like. A kind that is not known is kept and not checked. */
static bool take_checksum(struct digests *digests, struct span value)
{
        struct span hex = value, name = span_cut(&hex, ':');
        unsigned char bytes[CRYPTO_HASH_BYTES];
        if (value.size >= sizeof(digests->checksum))
                return false;
        memcpy(digests->checksum, value.data, value.size);
        digests->checksum_size = value.size;
        for (int i = 0; i < ALGORITHMS; i++) {
                if (!span_equal_nocase(name, span_of(names[i].owncloud)))
                        continue;
                int size = decode_hex(hex, bytes);
                return size >= 0 && add_check(digests, (enum algorithm)i, bytes, (size_t)size);
        }
        return true;
}

/* ---- computing ---- */

static bool start(struct digests *digests)
{
        digests->adler_low = 1;
        for (int i = 0; i < ALGORITHMS; i++) {
                if (!digests->needed[i] || i == ADLER_32)
                        continue;
                digests->contexts[i] = crypto_hash_create(names[i].hash);
                if (!digests->contexts[i])
                        return false;
        }
        return true;
}

/* Every line of one field; of a range only its content can be checked. */
static bool take_lists(struct digests *digests, const struct http_head *head, enum http_field_name name)
{
        struct span value;
        unsigned index = 0;
        while (http_field_each(head, name, &index, &value))
                if (!take_list(digests, value))
                        return false;
        return true;
}

static bool take_fields(struct digests *digests, const struct http_head *head, bool partial)
{
        struct span wants, checksum = http_field(head, HTTP_OC_CHECKSUM);
        unsigned index = 0;
        if (!take_lists(digests, head, HTTP_CONTENT_DIGEST))
                return false;
        if (partial)
                return true;
        while (http_field_each(head, HTTP_WANT_REPR_DIGEST, &index, &wants))
                take_wants(digests, wants);
        return take_lists(digests, head, HTTP_REPR_DIGEST) && (!checksum.data || take_checksum(digests, checksum));
}

static bool asks(const struct http_head *head)
{
        return http_field(head, HTTP_REPR_DIGEST).data || http_field(head, HTTP_CONTENT_DIGEST).data ||
               http_field(head, HTTP_WANT_REPR_DIGEST).data || http_field(head, HTTP_OC_CHECKSUM).data;
}

int digests_create(struct digests **out, const struct http_head *head, bool partial)
{
        if (!asks(head))
                return 0;
        struct digests *digests = calloc(1, sizeof(*digests));
        if (!digests)
                return 503;
        *out = digests; /* its owner destroys it, whatever comes */
        if (!take_fields(digests, head, partial))
                return 400;
        return start(digests) ? 0 : 503;
}

static void take_adler(struct digests *digests, const unsigned char *data, size_t size)
{
        uint32_t low = digests->adler_low, high = digests->adler_high;
        for (size_t i = 0; i < size; i++) {
                low = (low + data[i]) % ADLER_MODULUS;
                high = (high + low) % ADLER_MODULUS;
        }
        digests->adler_low = low;
        digests->adler_high = high;
}

void digests_take(struct digests *digests, const void *data, size_t size)
{
        ensure(!digests->final);
        for (int i = 0; i < ALGORITHMS; i++)
                if (digests->contexts[i])
                        digests->broken |= !crypto_hash_add(digests->contexts[i], data, size);
        if (digests->needed[ADLER_32])
                take_adler(digests, data, size);
}

static void finish(struct digests *digests)
{
        digests->final = true;
        for (int i = 0; i < ALGORITHMS; i++) {
                if (!digests->contexts[i])
                        continue;
                digests->sizes[i] = crypto_hash_end(digests->contexts[i], digests->values[i]);
                digests->broken |= digests->sizes[i] == 0;
        }
        uint32_t adler = digests->adler_high << 16 | digests->adler_low;
        for (unsigned i = 0; i < 4; i++)
                digests->values[ADLER_32][i] = (unsigned char)(adler >> (24 - 8 * i));
        digests->sizes[ADLER_32] = 4;
}

bool digests_verify(struct digests *digests)
{
        finish(digests);
        if (digests->broken)
                return false;
        for (unsigned i = 0; i < digests->count; i++) {
                const struct check *check = &digests->checks[i];
                if (check->size != digests->sizes[check->algorithm] ||
                    memcmp(check->value, digests->values[check->algorithm], check->size) != 0)
                        return false;
        }
        return true;
}

/* ---- telling ---- */

void digests_tell(const struct digests *digests, struct text *out)
{
        const char *separator = "Repr-Digest: ";
        for (int i = 0; i < ALGORITHMS; i++) {
                if (!digests->wanted[i])
                        continue;
                text_format(out, "%s%s=:", separator, names[i].http);
                base64_put(out, (struct span){ (const char *)digests->values[i], digests->sizes[i] });
                text_char(out, ':');
                separator = ", ";
        }
        if (separator[0] == ',')
                text_put(out, SPAN("\r\n"));
}

struct span digests_checksum(const struct digests *digests)
{
        return (struct span){ digests->checksum_size ? digests->checksum : NULL, digests->checksum_size };
}

void digests_destroy(struct digests *digests)
{
        if (!digests)
                return;
        for (int i = 0; i < ALGORITHMS; i++)
                crypto_hash_destroy(digests->contexts[i]);
        free(digests);
}

/* ---- of a file that is read ---- */

/* Reads all of it; of one that is too large nothing is told, as RFC 9530 4 leaves it to us. */
static int64_t hash_file(struct berth_call *call)
{
        struct request *r = container_of(call, struct request, call);
        struct digests *digests = r->digests;
        char *room = malloc(HASH_BYTES);
        uint64_t at = 0;
        int64_t n = 0;
        while (room && at < r->file->size && (n = store_file_read(r->file, room, HASH_BYTES, at)) > 0) {
                digests_take(digests, room, (size_t)n);
                at += (uint64_t)n;
        }
        free(room);
        if (n < 0 || at != r->file->size)
                return -EIO;
        return digests_verify(digests) ? 0 : -EIO;
}

/* The place was for the reading only. */
static void give_place(struct request *r)
{
        r->shard->listings--;
        r->has_listing = false;
}

/* Only what it wants to be told; what it tells of its own (nonsense) content is not looked at. */
enum next step_digest(struct request *r)
{
        struct shard *shard = r->shard;
        if (r->file->size > MOST_HASHED)
                return go(r, STEP_SEND);
        if (!r->has_listing)
                r->has_listing = request_take_place(&shard->for_listing, &shard->listings, shard->max_listings);
        if (!r->has_listing)
                return request_wait_for_place(r, &shard->for_listing);
        if (digests_create(&r->digests, &r->head, false) != 0 || r->digests->count > 0) {
                give_place(r);
                return go(r, STEP_SEND);
        }
        if (r->file->content) {
                digests_take(r->digests, r->file->content, r->file->size);
                r->digested = digests_verify(r->digests);
                give_place(r);
                return go(r, STEP_SEND);
        }
        r->call.call = hash_file;
        berth_call(shard->port, &r->call);
        return wait_for(r, STEP_DIGESTED);
}

enum next step_digested(struct request *r)
{
        r->digested = r->call.op.result == 0;
        give_place(r);
        return go(r, STEP_SEND);
}
