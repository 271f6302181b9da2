/* Names in folders. Beneath a root the kernel keeps every way inside (openat2(2), RESOLVE_BENEATH), whoever renames
 * what meanwhile. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RACES_AT_MOST = 1000, FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static int result_of(int result)
{
        return result < 0 ? -errno : result;
}

/* ---- opening ---- */

/* EAGAIN: something was renamed while ".." was resolved, so that the kernel could not tell whether it stays inside. */
int store_open_beneath(int root, const char *path, enum store_open how, bool links)
{
        static const uint64_t flags[] = {
                [STORE_OPEN_ANY] = O_PATH,
                [STORE_OPEN_WAY] = O_PATH | O_DIRECTORY,
                [STORE_OPEN_FOLDER] = O_RDONLY | O_DIRECTORY,
        };
        struct open_how open_how = {
                .flags = flags[how] | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (links ? 0 : RESOLVE_NO_SYMLINKS),
        };
        unsigned races = 0;
        long descriptor;

        do
                descriptor = syscall(SYS_openat2, root, store_name(path), &open_how, sizeof(open_how));
        while (descriptor < 0 && (errno == EINTR || (errno == EAGAIN && ++races < RACES_AT_MOST)));
        return descriptor < 0 ? -errno : (int)descriptor;
}

int store_open_folder(int folder, const char *name)
{
        return result_of(openat(folder, store_name(name), FOLDER_FLAGS));
}

int store_open_parent(int folder)
{
        return result_of(openat(folder, "..", FOLDER_FLAGS));
}

int store_open_file(int folder, const char *name, enum store_access access)
{
        static const int flags[] = { [STORE_READ] = O_RDONLY, [STORE_WRITE] = O_WRONLY, [STORE_READ_WRITE] = O_RDWR };

        return result_of(openat(folder, name, flags[access] | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

/* fsync asks for no permission, the open before it does: either one serves. */
int store_open_to_sync(int folder, const char *name)
{
        int file = store_open_file(folder, store_name(name), STORE_READ);

        return file == -EACCES ? store_open_file(folder, store_name(name), STORE_WRITE) : file;
}

int store_create_file(int folder, const char *name, uint32_t mode)
{
        return result_of(openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
}

int store_create_nameless(int folder)
{
        int file = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);

        if (file < 0 && (errno == EISDIR || errno == EINVAL))
                return -EOPNOTSUPP;
        return result_of(file);
}

/* /proc, where the kernel (before 6.10) wants a privilege for the other way. */
int store_give_name(int file, int folder, const char *name)
{
        char path[32];

        if (linkat(file, "", folder, name, AT_EMPTY_PATH) == 0)
                return 0;
        if (errno != ENOENT && errno != EPERM && errno != EACCES)
                return -errno;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
        return result_of(linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW));
}

int store_copy_descriptor(int descriptor)
{
        return result_of(fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
}

void store_close(int descriptor)
{
        close(descriptor);
}

/* ---- making, removing, renaming ---- */

int store_folder_at(int folder, const char *name, uint32_t mode)
{
        return result_of(mkdirat(folder, name, mode));
}

int store_unlink_at(int folder, const char *name, bool later)
{
        (void)later;
        return result_of(unlinkat(folder, name, 0));
}

/* POSIX allows both words for a folder that is not empty. */
static int result_over(int result)
{
        return result < 0 && errno == EEXIST ? -ENOTEMPTY : result_of(result);
}

int store_rmdir_at(int folder, const char *name)
{
        return result_over(unlinkat(folder, name, AT_REMOVEDIR));
}

int store_rename_at(int from, const char *name, int to, const char *new_name)
{
        return result_over(renameat(from, name, to, new_name));
}

int store_rename_new(int from, const char *name, int to, const char *new_name)
{
        struct stat st;

        if (renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EINVAL && errno != ENOSYS)
                return -errno;
        if (fstatat(to, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return -EEXIST;
        return result_of(renameat(from, name, to, new_name));
}

int store_exchange_at(int folder, const char *name, int other, const char *other_name)
{
        int error = result_of(renameat2(folder, name, other, other_name, RENAME_EXCHANGE));

        return error == -ENOSYS ? -EINVAL : error;
}

int store_link_at(int folder, const char *name, int to, const char *new_name)
{
        return result_of(linkat(folder, store_name(name), to, new_name, 0));
}

int store_symlink_at(const char *target, int folder, const char *name)
{
        return result_of(symlinkat(target, folder, name));
}

ssize_t store_readlink_at(int folder, const char *name, char *out, size_t size)
{
        ssize_t got = readlinkat(folder, store_name(name), out, size);

        return got < 0 ? -errno : got;
}
