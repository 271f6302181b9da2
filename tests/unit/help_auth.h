/* help_auth: files of passwords, tokens and rules for tests, and what is said about them. */
#ifndef TESTS_UNIT_HELP_AUTH_H
#define TESTS_UNIT_HELP_AUTH_H

#include "help.h"
#include "folder.h"

#include "auth/auth.h"

#include <openssl/evp.h>

/* The password "secret", as cheap as each kind allows. */
#define SALT22 "abcdefghijklmnopqrstuu"
#define BCRYPT_TAIL "2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define BCRYPT "$2y$04$" SALT22 BCRYPT_TAIL
#define BCRYPT_B "$2b$04$" SALT22 BCRYPT_TAIL
#define SHA256 "$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2"
#define SHA512_TAIL "LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/"
#define SHA512 "$6$rounds=1000$saltsalt$" SHA512_TAIL
#define SHA512_USUAL                                                                                                   \
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
#define YESCRYPT_TAIL "jyf/lxrpdyAIshWRo1x5DRC6KIE7sNRRtjcomR3PgHA"
#define YESCRYPT "$y$j75$saltsaltsalt$" YESCRYPT_TAIL
/* "pa:ss wörd" */
#define BCRYPT_UTF8 "$2y$04$abcdefghijklmnopqrstuuC5VMwYwbzdFgvTXUffgXF6mHCmfegLa"

/* What the latest load said on stderr. */
static char said[4096];

/* Calls of complain() go to a file meanwhile. */
static inline int load_said(struct folder *folder, struct auth **auth, const struct auth_files *files)
{
        int old = dup(STDERR_FILENO);
        int file = openat(folder->fd, "said", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(old >= 0 && file >= 0);
        dup2(file, STDERR_FILENO);
        int error = auth_load(auth, files);
        dup2(old, STDERR_FILENO);
        ssize_t n = pread(file, said, sizeof(said) - 1, 0);
        assert_true(n >= 0);
        said[n] = '\0';
        close(file);
        close(old);
        return error;
}

/* A file that only its owner may read; its path lasts until the next call for that name's length. */
static inline void put_file(struct folder *folder, const char *name, struct span content, char path[128])
{
        int file = openat(folder->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(file >= 0);
        assert_int_equal(write(file, content.data, content.size), content.size);
        close(file);
        snprintf(path, 128, "%s/%s", folder->path, name);
}

/* Any of the three may be NULL. */
static inline int load(struct folder *folder, struct auth **auth, const char *passwords, const char *tokens,
                       const char *rules)
{
        char paths[3][128];
        struct auth_files files = { 0 };
        if (passwords) {
                put_file(folder, "passwords", span_of(passwords), paths[0]);
                files.passwords = paths[0];
        }
        if (tokens) {
                put_file(folder, "tokens", span_of(tokens), paths[1]);
                files.tokens = paths[1];
        }
        if (rules) {
                put_file(folder, "rules", span_of(rules), paths[2]);
                files.rules = paths[2];
        }
        return load_said(folder, auth, &files);
}

static inline struct auth *loaded(struct folder *folder, const char *passwords, const char *tokens, const char *rules)
{
        struct auth *auth;
        assert_int_equal(load(folder, &auth, passwords, tokens, rules), 0);
        assert_string_equal(said, "");
        return auth;
}

/* "Basic " and the base64 of so many bytes. */
static inline struct span basic_of(struct span credentials, char out[2048])
{
        strcpy(out, "Basic ");
        int n = EVP_EncodeBlock((unsigned char *)out + 6, (const unsigned char *)credentials.data,
                                (int)credentials.size);
        return (struct span){ out, 6 + (size_t)n };
}

#endif
