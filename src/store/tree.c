/* Names: folders, modes, times, links. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static int made(struct store_section *section, int result)
{
        return result < 0 ? -errno : store_settle(section);
}

int store_make_folder(struct store_section *section)
{
        if (!section->name[0])
                return -EEXIST;
        return made(section, mkdirat(section->folder, section->name, 0777));
}

/* Bits beyond rwx can give others the rights of whom the server runs as: those that are there stay, none is set. */
int store_set_mode(struct store_section *section, uint32_t mode)
{
        struct store_state old;
        int error = store_state_at(section->folder, section->name, &old);

        if (error)
                return error;
        if (old.kind == STORE_NOTHING)
                return -ENOENT;
        if (mode & ~(0777 | old.mode))
                return -EPERM;
        mode = (mode & 0777) | (old.mode & 07000);
        return made(section, fchmodat(section->folder, store_name(section->name), mode, AT_SYMLINK_NOFOLLOW));
}

int store_set_modified(struct store_section *section, const struct timespec *modified)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *modified };

        if (modified->tv_nsec < 0 || modified->tv_nsec > 999999999)
                return -EINVAL;
        return made(section, utimensat(section->folder, store_name(section->name), times, AT_SYMLINK_NOFOLLOW));
}

int store_make_link(struct store_section *section, const char *target)
{
        if (!section->name[0])
                return -EEXIST;
        return made(section, symlinkat(target, section->folder, section->name));
}

int store_make_hard_link(struct store_section *section, const char *existing)
{
        const char *name;
        int folder, error;

        if (!section->name[0])
                return -EEXIST;
        folder = store_open_above(section->tree, existing, O_PATH, &name);
        if (folder < 0)
                return folder;
        error = linkat(folder, store_name(name), section->folder, section->name, 0) < 0 ? -errno : 0;
        close(folder);
        return error ? error : store_settle(section);
}

ssize_t store_read_link(struct store_section *section, char *out, size_t size)
{
        ssize_t got = readlinkat(section->folder, store_name(section->name), out, size);

        return got < 0 ? -errno : got;
}
