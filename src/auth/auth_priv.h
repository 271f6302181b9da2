/* What the files of auth share. Names, tokens and credentials are looked up by their keyed hash, so neither the time
 * that takes nor what lies in memory tells them.
 */
#ifndef AUTH_AUTH_PRIV_H
#define AUTH_AUTH_PRIV_H

#include "auth/auth.h"

enum {
        AUTH_DIGEST_BYTES = 32,
        AUTH_FILE_BYTES = 64 << 20,
        AUTH_MIN_TOKEN = 16,
        AUTH_MAX_TOKEN = 1024,
        AUTH_BASIC_BYTES = 576, /* a name, a colon and the longest passphrase that crypt(3) takes */
        AUTH_CACHE_GOOD = 2048, /* verdicts kept of each kind */
        AUTH_CACHE_BAD = 512,
        AUTH_FAILURE_ADDRESSES = 8192, /* remembered, in sets of so many */
        AUTH_FAILURE_WAYS = 8,
};

/* What is hashed, each under a key of its own. */
enum auth_key { AUTH_KEY_NAME, AUTH_KEY_TOKEN, AUTH_KEY_CREDENTIALS, AUTH_KEYS };

struct auth_user {
        unsigned char digest[AUTH_DIGEST_BYTES]; /* of the name; users[] is sorted by it */
        const char *name, *hash;
        unsigned line;
};

struct auth_token {
        unsigned char digest[AUTH_DIGEST_BYTES]; /* of the token; tokens[] is sorted by it */
        char name[AUTH_USER_BYTES];
        unsigned line;
};

struct auth_rule {
        struct span path; /* "" the root, "/a/b"; as path_fold() gives it */
        const char *who;
        enum auth_right right;
        unsigned line;
};

struct auth {
        unsigned char keys[AUTH_KEYS][AUTH_DIGEST_BYTES];
        bool has_passwords, has_tokens, has_rules;
        char *password_text, *rule_text; /* the files, which users[] and rules[] point into */
        struct auth_fold *folds;         /* paths of rules that are not as they stand in the file */
        struct auth_user *users;
        struct auth_token *tokens;
        struct auth_rule *rules; /* sorted by path, then by who */
        uint32_t user_count, token_count, rule_count, rule_room;
        size_t longest_path; /* of a rule */
        const char *dummy;   /* the hash that an unknown user's password is checked against */
        size_t check_bytes;
};

/* The keyed hash; false without memory. */
bool auth_digest(const struct auth *auth, enum auth_key key, struct span s, unsigned char out[AUTH_DIGEST_BYTES]);

/* 1 .. 63 bytes without control bytes, ':' and ',', and not "*". */
bool auth_valid_name(struct span name);

/* ---- a file by its lines (lines.c) ---- */

struct auth_lines {
        const char *path;
        char *text; /* ends with a NUL */
        size_t size;
        struct span rest;
        unsigned line; /* of the latest line; the first is 1 */
};

/* Reads a whole regular file. `secret`: complains when everybody may read it. 0, or -errno after a line on stderr. */
int auth_lines_open(struct auth_lines *lines, const char *path, bool secret);
/* The next line that is neither empty nor begins with '#', without its end; the byte behind it may be written. */
bool auth_lines_next(struct auth_lines *lines, struct span *line);
/* How many there are at most. */
size_t auth_lines_count(const struct auth_lines *lines);
/* Ends the span with a NUL. What stood behind it has been read. */
char *auth_lines_string(struct span part);
/* Wipes the text and frees it. */
void auth_lines_close(struct auth_lines *lines);
/* A line on stderr that begins with file and line; -EINVAL. */
int auth_lines_refuse(const struct auth_lines *lines, unsigned line, const char *format, ...) printf_like(3, 4);

/* ---- kinds of hashes (kinds.c) ---- */

/* NULL when it is well-formed and of a kind that may be used; else what is wrong with it. */
const char *auth_hash_fault(struct span hash);
/* Its beginning, which tells kind and cost: those that are equal take the same time. */
struct span auth_hash_cost(const char *hash);
/* The memory that checking it takes. */
size_t auth_hash_bytes(const char *hash);

/* ---- rules (rules.c) ---- */

int auth_rules_load(struct auth *auth, const char *path);
void auth_rules_finish(struct auth *auth);

/* ---- credentials (check.c) ---- */

struct auth_basic {
        char text[AUTH_BASIC_BYTES + 1];
        struct span all, name, password; /* in `text` */
};

/* The credentials of the scheme: false when it is another one. */
bool auth_scheme(struct span authorization, struct span scheme, struct span *credentials);
/* Decodes "name:password". False when it is malformed. Wipe it afterwards. */
bool auth_basic_decode(struct auth_basic *basic, struct span credentials);
/* Hashes the password with the setting of `hash` and compares. */
bool auth_password_fits(struct span password, const char *hash);
/* Whether this system can check against this hash: 0, -EINVAL or -ENOMEM. */
int auth_password_works(const char *hash);

/* ---- hashing a password (hashing.c) ---- */

enum { AUTH_HASH_BYTES = 384 };

/* How to make a hash that can be checked here. */
extern const char *const auth_hash_advice;
/* Hashes as `setting` (a hash, or its beginning) tells; all of `out` is written. 0, -EINVAL when this system cannot
 * hash so, -ENOMEM. */
int auth_hash_password(const char *password, const char *setting, char out[AUTH_HASH_BYTES]);

#endif
