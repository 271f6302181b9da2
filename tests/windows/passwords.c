/* Passwords where there is no crypt(3): SHA-crypt as its specification and others' hashes have it, and nothing else. */
#include "../unit/help.h"

#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>

/* As libcrypt and OpenSSL make them. */
static const struct {
        const char *password, *hash;
} known[] = {
        { "Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5" },
        { "Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opq"
                          "ey6IcA" },
        { "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI"
                          "68u4OTLiBFdcbYEdFCoEOfaS35inz1" },
        { "Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbb"
                          "MCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v." },
        { "secret", "$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2" },
        { "secret", "$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop"
                    "/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/" },
};

static void sha_crypt_is_as_elsewhere(void **state)
{
        (void)state;
        for (size_t i = 0; i < array_count(known); i++) {
                assert_int_equal(auth_password_works(known[i].hash), 0);
                assert_true(auth_password_fits(span_of(known[i].password), known[i].hash));
                assert_false(auth_password_fits(span_of("secret!"), known[i].hash));
                assert_false(auth_password_fits(span_of(""), known[i].hash));
        }
}

static const char long_5[] = "$5$somesalt$6f7Tav2Jdn2T.fu8grhAIp1g9Be.bqtNVGzDNJJ0eVD";
static const char long_6[] = "$6$somesalt$5u5dmzmVNjhIzGp0bi.A4fhETRYYODbIPd6MpHhuq915DGah"
                             "0HSehRe/39byUEimo9rgSVuLVvb4f8D5KFdm4/";

/* By `openssl passwd -5` and `-6`, since of long passwords each step takes more than one block. */
static void long_passwords_fit(void **state)
{
        char password[201];
        (void)state;
        memset(password, 'x', 200);
        password[200] = '\0';
        assert_true(auth_password_fits(span_of(password), long_5));
        assert_true(auth_password_fits(span_of(password), long_6));
        password[199] = 'y';
        assert_false(auth_password_fits(span_of(password), long_5));
        assert_false(auth_password_fits(span_of(password), long_6));
}

static void other_kinds_are_refused_at_start(void **state)
{
        (void)state;
        assert_int_equal(auth_password_works("$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"), -EINVAL);
        assert_int_equal(auth_password_works("$y$j75$saltsaltsalt$jyf/lxrpdyAIshWRo1x5DRC6KIE7sNRRtjcomR3PgHA"),
                         -EINVAL);
}

/* RFC 4231 4.2, 4.3; the empty text by RFC 2104's definition. */
static void keyed_hashes_are_as_specified(void **state)
{
        unsigned char out[CRYPTO_SHA256_BYTES];
        (void)state;
        assert_true(
                crypto_hmac(SPAN("\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b"),
                            SPAN("Hi There"), out));
        assert_memory_equal(out, "\xb0\x34\x4c\x61\xd8\xdb\x38\x53\x5c\xa8\xaf\xce\xaf\x0b\xf1\x2b", 16);
        assert_true(crypto_hmac(SPAN("Jefe"), SPAN("what do ya want for nothing?"), out));
        assert_memory_equal(out, "\x5b\xdc\xc1\x46\xbf\x60\x75\x4e\x6a\x04\x24\x26\x08\x95\x75\xc7", 16);
        assert_true(crypto_hmac(SPAN(""), SPAN(""), out));
        assert_memory_equal(out, "\xb6\x13\x67\x9a\x08\x14\xd9\xec\x77\x2f\x95\xd7\x78\xc3\x5f\xc5", 16);
}

static void a_hash_begins_anew(void **state)
{
        unsigned char out[CRYPTO_HASH_BYTES];
        struct crypto_hashing *hashing = crypto_hash_create(CRYPTO_SHA1);
        (void)state;
        assert_non_null(hashing);
        for (int i = 0; i < 2; i++) {
                assert_true(crypto_hash_add(hashing, "a", 1) && crypto_hash_add(hashing, "bc", 2));
                assert_int_equal(crypto_hash_end(hashing, out), 20);
                assert_memory_equal(out, "\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e", 10);
        }
        crypto_hash_destroy(hashing);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(sha_crypt_is_as_elsewhere),
                cmocka_unit_test(long_passwords_fit),
                cmocka_unit_test(other_kinds_are_refused_at_start),
                cmocka_unit_test(keyed_hashes_are_as_specified),
                cmocka_unit_test(a_hash_begins_anew),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
