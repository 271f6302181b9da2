/* auth: who asks, and what they may.
 *
 * Passwords stand in a file in htpasswd's form, hashed by bcrypt, sha512-crypt, sha256-crypt or yescrypt (crypt(3));
 * bearer tokens in another; rules in a third. All three are read once and then do not change: who wants to read them
 * anew loads another `struct auth`. Checking a password is meant to be slow and belongs on a worker thread; a verdict
 * is then kept in a cache of the thread that asked, under a keyed hash (HMAC-SHA-256 with a random key of the
 * process), so that neither password nor token lies in memory longer than the request, and costs its hash once.
 *
 * What an outsider can measure does not tell whether a user exists: a check for an unknown one takes a hash of the
 * same kind, comparisons are in constant time.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "base/base.h"

enum { AUTH_USER_BYTES = 64, AUTH_MAX_USERS = 100000, AUTH_MAX_RULES = 10000 };

/* ---- the files (auth.c, rules.c): a line each; what is empty or begins with # is skipped ---- */

struct auth_files {
        const char *passwords; /* "name:hash" */
        const char *tokens; /* "name:token" (16 or more characters of RFC 6750's b64token); a name may have several */
        const char *rules;  /* "/path:who:none|read|write"; who: a name, several by comma, or * */
};

struct auth; /* read-only; any thread */

/* Reads what is given (any of them may be NULL). 0, or -EINVAL/-errno after a line on stderr that names file and
 * line. A file of secrets (not of rules) that others than its owner and group may read is complained about and used. */
int auth_load(struct auth **auth, const struct auth_files *files);
void auth_destroy(struct auth *auth);

/* Which credentials there can be: what to challenge for. */
bool auth_has_passwords(const struct auth *auth);
bool auth_has_tokens(const struct auth *auth);
/* The memory that one auth_check() takes: yescrypt wants many MiB. */
size_t auth_check_bytes(const struct auth *auth);

/* ---- rights ---- */

enum auth_right { AUTH_NONE, AUTH_READ, AUTH_WRITE };

/* Of `user` ("" for who has not said who it is) at `path` (decoded, with its leading '/'). Of the rules for the user
 * or for "*" the one with the longest path that is it or a folder above it decides, among those of one path one that
 * names the user before one for "*". "*" is everybody, "" included. Where no rule applies there is no right. Without
 * a file of rules: who is known has all, and who is not has none, or all when there are neither passwords nor
 * tokens. */
enum auth_right auth_right_at(const struct auth *auth, const char *user, struct span path);

/* Whether a rule beneath `path` gives less than `right` to the user: then what is done to a whole tree has to ask for
 * each member. */
bool auth_less_beneath(const struct auth *auth, const char *user, struct span path, enum auth_right right);

/* ---- credentials (check.c) ---- */

enum auth_verdict {
        AUTH_GOOD,      /* user[] is filled in */
        AUTH_BAD,       /* wrong, unknown or malformed */
        AUTH_MISSING,   /* no Authorization field, or neither passwords nor tokens to judge it by; user[] is "" */
        AUTH_MUST_HASH, /* nobody knows yet: auth_check() on a worker thread */
};

/* Verdicts, one for each thread; bounded, the oldest go; entries are good for ten minutes. */
struct auth_cache;

/* `auth` outlives it. */
int auth_cache_create(struct auth_cache **cache, const struct auth *auth);
void auth_cache_destroy(struct auth_cache *cache);
/* The memory that one takes. */
size_t auth_cache_bytes(void);

/* `authorization`: the field's value, data == NULL: absent. Bearer tokens are decided at once. */
enum auth_verdict auth_cache_ask(struct auth_cache *cache, struct span authorization, char user[AUTH_USER_BYTES],
                                 uint64_t now_ms);
/* What auth_check() has found out. */
void auth_cache_learn(struct auth_cache *cache, struct span authorization, enum auth_verdict verdict, uint64_t now_ms);

/* Blocks for as long as the hash takes. AUTH_GOOD or AUTH_BAD. */
enum auth_verdict auth_check(const struct auth *auth, struct span authorization, char user[AUTH_USER_BYTES]);

/* ---- failures (failures.c): who guesses is slowed, by address; one table for the process, any thread ---- */

struct auth_failures;

int auth_failures_create(struct auth_failures **failures);
void auth_failures_destroy(struct auth_failures *failures);
/* A wrong password from there (`address`: 4 bytes of IPv4, the first 8 of IPv6; 0 bytes: none, a unix socket).
 * Returns for how many milliseconds the answer should wait: 0 for the first three, then 250, 500, 1,000 ... to 5,000;
 * a minute without failures forgets them. No address: always 0. */
uint32_t auth_failures_add(struct auth_failures *failures, const void *address, size_t size, uint64_t now_ms);
/* How long the next check from there should wait before it is made, the same figures. */
uint32_t auth_failures_wait(struct auth_failures *failures, const void *address, size_t size, uint64_t now_ms);

#endif
