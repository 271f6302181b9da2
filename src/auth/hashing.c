/* Hashing a password, by crypt(3). */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>

const char *const auth_hash_advice = "make one by: htpasswd -B, or mkpasswd -m yescrypt";

_Static_assert(AUTH_HASH_BYTES == CRYPT_OUTPUT_SIZE, "room for what crypt(3) makes");

/* crypt_rn(3) tells a failure by NULL, others of its family also by a result that begins with '*'. Its work space is
 * 32 KiB. */
int auth_hash_password(const char *password, const char *setting, char out[AUTH_HASH_BYTES])
{
        struct crypt_data *data = calloc(1, sizeof(*data));
        if (!data)
                return -ENOMEM;
        const char *result = crypt_rn(password, setting, data, (int)sizeof(*data));
        int error = result && result[0] != '*' ? 0 : errno == ENOMEM ? -ENOMEM : -EINVAL;
        memset(out, 0, AUTH_HASH_BYTES);
        if (!error)
                strncpy(out, result, AUTH_HASH_BYTES - 1);
        crypto_wipe(data, sizeof(*data));
        free(data);
        return error;
}
