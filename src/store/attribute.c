/* Extended attributes of a name in a folder. The file is not opened, since it may be one that cannot be read, or a
 * FIFO, and no link is followed. Linux 6.13 has system calls for just that; before, the way leads through
 * /proc/self/fd.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- by number, as the C library has no names for them yet; the same on every architecture ---- */

enum { CALL_SETXATTRAT = 463, CALL_GETXATTRAT, CALL_LISTXATTRAT, CALL_REMOVEXATTRAT };

struct xattr_call {
        uint64_t value; /* address */
        uint32_t size, flags;
} __attribute__((aligned(8)));

static struct xattr_call call_of(const void *value, size_t size, int flags)
{
        return (struct xattr_call){ (uint64_t)(uintptr_t)value, (uint32_t)size, (uint32_t)flags };
}

/* The kernel does not change while we run: what it once did not know it never will. */
static atomic_bool by_proc;

void store_xattr_by_proc(bool always)
{
        atomic_store_explicit(&by_proc, always, memory_order_relaxed);
}

static bool has_calls(void)
{
        return !atomic_load_explicit(&by_proc, memory_order_relaxed);
}

/* True: there are no such calls, the other way is to be taken. */
static bool unknown_call(long result)
{
        if (result >= 0 || errno != ENOSYS)
                return false;
        store_xattr_by_proc(true);
        return true;
}

/* The folder may not move away between the two parts of this way: the descriptor is what leads there. */
struct proc_path {
        char text[32 + STORE_NAME_BYTES + 1];
};

static const char *proc_path(struct proc_path *path, int folder, const char *name)
{
        int size = snprintf(path->text, sizeof(path->text), "/proc/self/fd/%d/%s", folder, name);

        return size < (int)sizeof(path->text) ? path->text : NULL;
}

static int result_of(long result)
{
        return result < 0 ? -errno : 0;
}

/* ---- the four calls ---- */

ssize_t store_xattr_get(int folder, const char *name, const char *attribute, void *value, size_t size)
{
        struct xattr_call call = call_of(value, size, 0);
        struct proc_path path;
        long result;

        name = store_name(name);
        if (has_calls()) {
                result = syscall(CALL_GETXATTRAT, folder, name, AT_SYMLINK_NOFOLLOW, attribute, &call, sizeof(call));
                if (!unknown_call(result))
                        return result < 0 ? -errno : result;
        }
        if (!proc_path(&path, folder, name))
                return -ENAMETOOLONG;
        result = lgetxattr(path.text, attribute, value, size);
        return result < 0 ? -errno : result;
}

int store_xattr_set(int folder, const char *name, const char *attribute, const void *value, size_t size, int flags)
{
        struct xattr_call call = call_of(value, size, flags);
        struct proc_path path;

        name = store_name(name);
        if (has_calls()) {
                long result = syscall(CALL_SETXATTRAT, folder, name, AT_SYMLINK_NOFOLLOW, attribute, &call,
                                      sizeof(call));
                if (!unknown_call(result))
                        return result_of(result);
        }
        if (!proc_path(&path, folder, name))
                return -ENAMETOOLONG;
        return result_of(lsetxattr(path.text, attribute, value, size, flags));
}

int store_xattr_remove(int folder, const char *name, const char *attribute)
{
        struct proc_path path;

        name = store_name(name);
        if (has_calls()) {
                long result = syscall(CALL_REMOVEXATTRAT, folder, name, AT_SYMLINK_NOFOLLOW, attribute);
                if (!unknown_call(result))
                        return result_of(result);
        }
        if (!proc_path(&path, folder, name))
                return -ENAMETOOLONG;
        return result_of(lremovexattr(path.text, attribute));
}

ssize_t store_xattr_list(int folder, const char *name, char *list, size_t size)
{
        struct proc_path path;
        long result;

        name = store_name(name);
        if (has_calls()) {
                result = syscall(CALL_LISTXATTRAT, folder, name, AT_SYMLINK_NOFOLLOW, list, size);
                if (!unknown_call(result))
                        return result < 0 ? -errno : result;
        }
        if (!proc_path(&path, folder, name))
                return -ENAMETOOLONG;
        result = llistxattr(path.text, list, size);
        return result < 0 ? -errno : result;
}

/* ---- all of a file ---- */

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
                list = malloc(XATTR_LIST_MAX);
                if (!list)
                        return -ENOMEM;
                size = store_xattr_list(folder, name, list, XATTR_LIST_MAX);
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
        char *value; /* XATTR_SIZE_MAX, when there was something to copy */
        bool locks;
};

static int copy_one(void *context, const char *attribute)
{
        struct copying *copying = context;
        ssize_t size;

        if (!copying->locks && strcmp(attribute, STORE_LOCK_ATTRIBUTE) == 0)
                return 0;
        if (!copying->value && !(copying->value = malloc(XATTR_SIZE_MAX)))
                return -ENOMEM;
        size = store_xattr_get(copying->folder, copying->name, attribute, copying->value, XATTR_SIZE_MAX);
        if (size == -ENODATA)
                return 0; /* removed meanwhile */
        if (size < 0)
                return (int)size;
        return fsetxattr(copying->to, attribute, copying->value, (size_t)size, 0) < 0 ? -errno : 0;
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
