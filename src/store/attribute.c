/* All attributes of a file or folder: going through them, copying them; and digests to name them by. */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

static int each_in(const char *list, size_t size, int (*each)(void *context, const char *attribute), void *context)
{
        for (const char *at = list; at < list + size; at += strlen(at) + 1) {
                int result = strncmp(at, "user.", 5) == 0 ? each(context, at) : 0;

                if (result)
                        return result;
        }
        return 0;
}

int store_xattr_each(int folder, const char *name, int (*each)(void *context, const char *attribute), void *context)
{
        char few[1024], *list = few;
        ssize_t size = store_xattr_list(folder, name, few, sizeof(few));
        int result;

        if (size == -ERANGE) {
                list = malloc(STORE_ATTRIBUTES_BYTES);
                if (!list)
                        return -ENOMEM;
                size = store_xattr_list(folder, name, list, STORE_ATTRIBUTES_BYTES);
        }
        if (size >= 0)
                result = each_in(list, (size_t)size, each, context);
        else
                result = size == -EOPNOTSUPP ? 0 : (int)size;
        if (list != few)
                free(list);
        return result;
}

int store_xattr_any(int folder, const char *name)
{
        char list[512];
        ssize_t size = store_xattr_list(folder, name, list, sizeof(list));

        if (size < 0)
                return size == -ERANGE ? 1 : (int)size;
        for (const char *at = list; at < list + size; at += strlen(at) + 1) {
                if (strncmp(at, "user.", 5) == 0)
                        return 1;
        }
        return 0;
}

struct copying {
        int folder, to;
        const char *name;
        char *value; /* STORE_VALUE_BYTES, when there was something to copy */
        bool locks;
};

static int copy_one(void *context, const char *attribute)
{
        struct copying *copying = context;
        ssize_t size;

        if (!copying->locks && strcmp(attribute, STORE_LOCK_ATTRIBUTE) == 0)
                return 0;
        if (!copying->value && !(copying->value = malloc(STORE_VALUE_BYTES)))
                return -ENOMEM;
        size = store_xattr_get(copying->folder, copying->name, attribute, copying->value, STORE_VALUE_BYTES);
        if (size == -ENODATA)
                return 0; /* removed meanwhile */
        if (size < 0)
                return (int)size;
        return store_xattr_set_of(copying->to, attribute, copying->value, (size_t)size);
}

int store_xattr_copy(int folder, const char *name, int to, bool locks)
{
        struct copying copying = { .folder = folder, .to = to, .name = name, .locks = locks };
        int result = store_xattr_each(folder, name, copy_one, &copying);

        free(copying.value);
        return result;
}

/* ---- digests ---- */

static void digest_add(unsigned __int128 *hash, struct span bytes)
{
        const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;

        for (size_t i = 0; i < bytes.size; i++)
                *hash = (*hash ^ (unsigned char)bytes.data[i]) * prime;
}

struct store_digest store_digest(struct span first, struct span second)
{
        unsigned __int128 hash = (unsigned __int128)0x6c62272e07bb0142u << 64 | 0x62b821756295c58du;
        struct store_digest digest;

        digest_add(&hash, first);
        digest_add(&hash, (struct span){ "", 1 }); /* NUL */
        digest_add(&hash, second);
        for (unsigned i = sizeof(digest.bytes); i-- > 0; hash >>= 8)
                digest.bytes[i] = (unsigned char)hash;
        return digest;
}
