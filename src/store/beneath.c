/* Opening beneath a root: the kernel keeps every way inside (openat2(2), RESOLVE_BENEATH), whoever renames what
 * meanwhile. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RACES_AT_MOST = 1000 };

/* EAGAIN: something was renamed while ".." was resolved, so that the kernel could not tell whether it stays inside. */
int store_open_beneath(int root, const char *path, uint64_t flags, bool links)
{
        struct open_how how = {
                .flags = flags | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (links ? 0 : RESOLVE_NO_SYMLINKS),
        };
        unsigned races = 0;
        long descriptor;

        do
                descriptor = syscall(SYS_openat2, root, store_name(path), &how, sizeof(how));
        while (descriptor < 0 && (errno == EINTR || (errno == EAGAIN && ++races < RACES_AT_MOST)));
        return descriptor < 0 ? -errno : (int)descriptor;
}

int store_open_above(const struct store_tree *tree, const char *path, uint64_t flags, const char **name)
{
        const char *slash = strrchr(path, '/');
        char above[STORE_PATH_BYTES];
        size_t size = slash ? (size_t)(slash - path) : 0;

        *name = slash ? slash + 1 : path;
        if (strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 || (slash && !slash[1]))
                return -EINVAL;
        if (store_is_staging(span_of(path)))
                return -EACCES;
        if (size >= sizeof(above))
                return -ENAMETOOLONG;
        memcpy(above, path, size);
        above[size] = '\0';
        return store_open_beneath(tree->root, above, flags | O_DIRECTORY, tree->links);
}
