/* The files of passwords and tokens. Passwords stay as hashes in the text of their file; of tokens only the keyed
 * hash is kept, and the text is wiped.
 */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdlib.h>

bool auth_digest(const struct auth *auth, enum auth_key key, struct span s, unsigned char out[AUTH_DIGEST_BYTES])
{
        ensure(key < AUTH_KEYS);
        return crypto_hmac((struct span){ (const char *)auth->keys[key], AUTH_DIGEST_BYTES }, s, out);
}

bool auth_valid_name(struct span name)
{
        for (size_t i = 0; i < name.size; i++) {
                unsigned char c = (unsigned char)name.data[i];
                if (c < 0x20 || c == 0x7f || c == ':' || c == ',')
                        return false;
        }
        return name.size > 0 && name.size < AUTH_USER_BYTES && !span_equal(name, SPAN("*"));
}

static int check_name(const struct auth_lines *lines, struct span name, bool colon)
{
        if (!colon)
                return auth_lines_refuse(lines, lines->line, "no ':' behind the name");
        if (!auth_valid_name(name))
                return auth_lines_refuse(
                        lines, lines->line,
                        "a name has 1 to %d bytes, none of them a control byte or a comma, and is not *",
                        AUTH_USER_BYTES - 1);
        return 0;
}

/* Users and tokens both begin with their digest. */
static int by_digest(const void *a, const void *b)
{
        return memcmp(a, b, AUTH_DIGEST_BYTES);
}

/* ---- passwords ---- */

static int read_user(struct auth *auth, const struct auth_lines *lines, struct span line)
{
        struct span hash = line, name = span_cut(&hash, ':');
        int error = check_name(lines, name, hash.data);
        if (error)
                return error;
        const char *fault = auth_hash_fault(hash);
        if (fault)
                return auth_lines_refuse(lines, lines->line, "'%.*s' has %s; %s", (int)name.size, name.data, fault,
                                         auth_hash_advice);
        if (auth->user_count == AUTH_MAX_USERS)
                return auth_lines_refuse(lines, lines->line, "more than %d users", AUTH_MAX_USERS);
        struct auth_user *user = &auth->users[auth->user_count++];
        *user = (struct auth_user){
                .name = auth_lines_string(name),
                .hash = auth_lines_string(hash),
                .line = lines->line,
        };
        return auth_digest(auth, AUTH_KEY_NAME, name, user->digest) ? 0 : -ENOMEM;
}

static int by_cost(const void *a, const void *b)
{
        struct span x = auth_hash_cost(((const struct auth_user *)a)->hash);
        struct span y = auth_hash_cost(((const struct auth_user *)b)->hash);
        int order = memcmp(x.data, y.data, min_of(x.size, y.size));
        return order ? order : (x.size > y.size) - (x.size < y.size);
}

/* Each cost that occurs is tried once: crypt(3) may refuse what looks well, and then nobody could ever log in. */
static int try_cost(const struct auth_lines *lines, const struct auth_user *user)
{
        int error = auth_password_works(user->hash);
        if (error == -EINVAL)
                return auth_lines_refuse(lines, user->line, "this system cannot check the hash of '%s'; %s", user->name,
                                         auth_hash_advice);
        return error;
}

/* The dummy is the hash of one of those whose cost most have. What comes of comparing with it does not count. */
static int choose_dummy(struct auth *auth, const struct auth_lines *lines)
{
        uint32_t most = 0;
        qsort(auth->users, auth->user_count, sizeof(*auth->users), by_cost);
        for (uint32_t first = 0, end; first < auth->user_count; first = end) {
                const struct auth_user *user = &auth->users[first];
                for (end = first + 1; end < auth->user_count && by_cost(user, &auth->users[end]) == 0; end++)
                        ;
                int error = try_cost(lines, user);
                if (error)
                        return error;
                if (end - first > most) {
                        most = end - first;
                        auth->dummy = user->hash;
                }
                auth->check_bytes = max_of(auth->check_bytes, auth_hash_bytes(user->hash));
        }
        return 0;
}

static int refuse_double_users(const struct auth *auth, const struct auth_lines *lines)
{
        for (uint32_t i = 1; i < auth->user_count; i++) {
                const struct auth_user *a = &auth->users[i - 1], *b = &auth->users[i];
                if (by_digest(a, b) == 0)
                        return auth_lines_refuse(lines, max_of(a->line, b->line), "'%s' stands in line %u already",
                                                 a->name, min_of(a->line, b->line));
        }
        return 0;
}

static int read_users(struct auth *auth, struct auth_lines *lines)
{
        struct span line;
        auth->users = calloc(min_of(auth_lines_count(lines), (size_t)AUTH_MAX_USERS), sizeof(*auth->users));
        int error = auth->users ? 0 : -ENOMEM;
        while (!error && auth_lines_next(lines, &line))
                error = read_user(auth, lines, line);
        if (!error)
                error = choose_dummy(auth, lines);
        if (error)
                return error;
        qsort(auth->users, auth->user_count, sizeof(*auth->users), by_digest);
        return refuse_double_users(auth, lines);
}

static int load_passwords(struct auth *auth, const char *path)
{
        struct auth_lines lines;
        auth->has_passwords = true;
        int error = auth_lines_open(&lines, path, true);
        if (error)
                return error;
        auth->password_text = lines.text;
        return read_users(auth, &lines);
}

/* ---- tokens ---- */

/* RFC 6750 2.1: b64token. */
static bool is_token(struct span s)
{
        static const char marks[] = "-._~+/";
        while (s.size > 0 && s.data[s.size - 1] == '=')
                s.size--;
        for (size_t i = 0; i < s.size; i++) {
                char c = s.data[i];
                bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
                if (!letter && !memchr(marks, c, sizeof(marks) - 1))
                        return false;
        }
        return s.size > 0;
}

static int read_token(struct auth *auth, const struct auth_lines *lines, struct span line)
{
        struct span token = line, name = span_cut(&token, ':');
        int error = check_name(lines, name, token.data);
        if (error)
                return error;
        if (token.size < AUTH_MIN_TOKEN || token.size > AUTH_MAX_TOKEN || !is_token(token))
                return auth_lines_refuse(
                        lines, lines->line,
                        "the token of '%.*s' is not %d to %d letters, digits and -._~+/ (then =); make "
                        "one by: openssl rand -hex 32",
                        (int)name.size, name.data, AUTH_MIN_TOKEN, AUTH_MAX_TOKEN);
        if (auth->token_count == AUTH_MAX_USERS)
                return auth_lines_refuse(lines, lines->line, "more than %d tokens", AUTH_MAX_USERS);
        struct auth_token *entry = &auth->tokens[auth->token_count++];
        entry->line = lines->line;
        memcpy(entry->name, name.data, name.size);
        return auth_digest(auth, AUTH_KEY_TOKEN, token, entry->digest) ? 0 : -ENOMEM;
}

static int refuse_double_tokens(const struct auth *auth, const struct auth_lines *lines)
{
        for (uint32_t i = 1; i < auth->token_count; i++) {
                const struct auth_token *a = &auth->tokens[i - 1], *b = &auth->tokens[i];
                if (by_digest(a, b) == 0)
                        return auth_lines_refuse(lines, max_of(a->line, b->line),
                                                 "this token stands in line %u already", min_of(a->line, b->line));
        }
        return 0;
}

static int read_tokens(struct auth *auth, struct auth_lines *lines)
{
        struct span line;
        auth->tokens = calloc(min_of(auth_lines_count(lines), (size_t)AUTH_MAX_USERS), sizeof(*auth->tokens));
        int error = auth->tokens ? 0 : -ENOMEM;
        while (!error && auth_lines_next(lines, &line))
                error = read_token(auth, lines, line);
        if (error)
                return error;
        qsort(auth->tokens, auth->token_count, sizeof(*auth->tokens), by_digest);
        return refuse_double_tokens(auth, lines);
}

static int load_tokens(struct auth *auth, const char *path)
{
        struct auth_lines lines;
        auth->has_tokens = true;
        int error = auth_lines_open(&lines, path, true);
        if (!error)
                error = read_tokens(auth, &lines);
        auth_lines_close(&lines);
        return error;
}

/* ---- all ---- */

int auth_load(struct auth **out, const struct auth_files *files)
{
        struct auth *auth = calloc(1, sizeof(*auth));
        int error = auth ? 0 : -ENOMEM;
        *out = NULL;
        if (!error && !entropy(auth->keys, sizeof(auth->keys)))
                error = -EIO;
        if (!error && files->passwords)
                error = load_passwords(auth, files->passwords);
        if (!error && files->tokens)
                error = load_tokens(auth, files->tokens);
        if (!error && files->rules)
                error = auth_rules_load(auth, files->rules);
        if (!error) {
                *out = auth;
                return 0;
        }
        if (error == -ENOMEM || error == -EIO)
                complain("cannot keep passwords and rules: %s", error_text(-error));
        auth_destroy(auth);
        return error;
}

void auth_destroy(struct auth *auth)
{
        if (!auth)
                return;
        free(auth->users);
        free(auth->tokens);
        free(auth->rules);
        auth_rules_finish(auth);
        free(auth->password_text);
        free(auth->rule_text);
        crypto_wipe(auth, sizeof(*auth));
        free(auth);
}

bool auth_has_passwords(const struct auth *auth)
{
        return auth->has_passwords;
}

bool auth_has_tokens(const struct auth *auth)
{
        return auth->has_tokens;
}

size_t auth_check_bytes(const struct auth *auth)
{
        return auth->check_bytes;
}
