/* Credentials as they come in the Authorization field (RFC 7617, RFC 6750), and checking a password, which is slow. */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>

/* ---- the field ---- */

bool auth_scheme(struct span authorization, struct span scheme, struct span *credentials)
{
        struct span rest = span_trim(authorization);
        if (!span_equal_nocase(span_cut(&rest, ' '), scheme) || !rest.data)
                return false;
        *credentials = span_trim(rest);
        return true;
}

/* RFC 7617: a name has no colon, neither has control bytes. A NUL would hide from crypt(3) what is behind it. */
bool auth_basic_decode(struct auth_basic *basic, struct span credentials)
{
        int size = base64_decode(basic->text, AUTH_BASIC_BYTES, credentials);
        if (size < 0)
                return false;
        basic->all = basic->password = (struct span){ basic->text, (size_t)size };
        basic->text[basic->all.size] = '\0';
        basic->name = span_cut(&basic->password, ':');
        return basic->password.data && auth_valid_name(basic->name) &&
               !memchr(basic->password.data, '\0', basic->password.size);
}

/* ---- checking ---- */

/* Both in a room of one size, so that the comparison takes as long wherever they differ. */
bool auth_password_fits(struct span password, const char *hash)
{
        char made[AUTH_HASH_BYTES], wanted[AUTH_HASH_BYTES] = "";
        ensure(password.data[password.size] == '\0' && strlen(hash) < sizeof(wanted));
        strcpy(wanted, hash);
        bool fits = auth_hash_password(password.data, hash, made) == 0 && crypto_same(made, wanted, sizeof(made));
        crypto_wipe(made, sizeof(made));
        return fits;
}

int auth_password_works(const char *hash)
{
        char made[AUTH_HASH_BYTES];
        if (strlen(hash) >= sizeof(made))
                return -EINVAL;
        return auth_hash_password("", hash, made);
}

static const struct auth_user *find_user(const struct auth *auth, struct span name)
{
        struct auth_user key;
        if (auth->user_count == 0 || !auth_digest(auth, AUTH_KEY_NAME, name, key.digest))
                return NULL;
        const struct auth_user *users = auth->users;
        size_t low = 0, high = auth->user_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                int order = memcmp(users[middle].digest, key.digest, AUTH_DIGEST_BYTES);
                if (order == 0)
                        return &users[middle];
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

static enum auth_verdict check_basic(const struct auth *auth, const struct auth_basic *basic,
                                     char user[AUTH_USER_BYTES])
{
        const struct auth_user *known = find_user(auth, basic->name);
        const char *hash = known ? known->hash : auth->dummy;
        bool fits = hash && auth_password_fits(basic->password, hash);
        if (!fits || !known)
                return AUTH_BAD;
        strcpy(user, known->name);
        return AUTH_GOOD;
}

enum auth_verdict auth_check(const struct auth *auth, struct span authorization, char user[AUTH_USER_BYTES])
{
        struct auth_basic basic;
        struct span credentials;
        enum auth_verdict verdict = AUTH_BAD;
        user[0] = '\0';
        if (auth_scheme(authorization, SPAN("Basic"), &credentials) && auth_basic_decode(&basic, credentials))
                verdict = check_basic(auth, &basic, user);
        crypto_wipe(&basic, sizeof(basic));
        return verdict;
}
