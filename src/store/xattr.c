/* Extended attributes of a name in a folder. The file is not opened, since it may be one that cannot be read, or a
 * FIFO, and no link is followed. Linux 6.13 has system calls for just that; before, the way leads through
 * /proc/self/fd.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

int store_xattr_set(int folder, const char *name, const char *attribute, const void *value, size_t size,
                    enum store_put put)
{
        static const int all_flags[] = { [STORE_PUT_NEW] = XATTR_CREATE, [STORE_PUT_OLD] = XATTR_REPLACE };
        int flags = all_flags[put];
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

/* ---- by descriptor ---- */

int store_xattr_set_of(int descriptor, const char *attribute, const void *value, size_t size)
{
        return result_of(fsetxattr(descriptor, attribute, value, size, 0));
}

bool store_xattr_none_of(int descriptor)
{
        return flistxattr(descriptor, NULL, 0) == 0;
}
