/* Names: folders, modes, times, links. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static int result_of(int result)
{
        return result < 0 ? -errno : 0;
}

/* ---- modes and times ---- */

int store_mode(uint32_t wanted, uint32_t present, uint32_t *mode)
{
        if (wanted & ~(0777 | present))
                return -EPERM;
        *mode = wanted;
        return 0;
}

static int set_mode(struct store_section *section, uint32_t mode)
{
        struct store_state old;
        int error = store_state_at(section->folder, section->name, &old);

        if (!error && old.kind == STORE_NOTHING)
                error = -ENOENT;
        if (!error)
                error = store_mode(mode, old.mode, &mode);
        if (error)
                return error;
        if (old.kind == STORE_IS_FOLDER)
                mode |= old.mode & 07000;
        return result_of(fchmodat(section->folder, store_name(section->name), mode, AT_SYMLINK_NOFOLLOW));
}

static int set_modified(struct store_section *section, const struct timespec *modified)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *modified };

        if (modified->tv_nsec < 0 || modified->tv_nsec > 999999999)
                return -EINVAL;
        return result_of(utimensat(section->folder, store_name(section->name), times, AT_SYMLINK_NOFOLLOW));
}

static int set_both(struct store_section *section, const struct store_commit *commit)
{
        int error = commit->mode ? set_mode(section, *commit->mode) : 0;

        return !error && commit->modified ? set_modified(section, commit->modified) : error;
}

static int settle(struct store_section *section, const struct store_commit *commit)
{
        return commit->durable ? store_sync(section) : store_settle(section);
}

int store_set_mode(struct store_section *section, uint32_t mode)
{
        int error = set_mode(section, mode);

        return error ? error : store_settle(section);
}

int store_set_modified(struct store_section *section, const struct timespec *modified)
{
        int error = set_modified(section, modified);

        return error ? error : store_settle(section);
}

int store_set(struct store_section *section, const struct store_commit *commit)
{
        int error = set_both(section, commit);

        return error ? error : settle(section, commit);
}

/* ---- names ---- */

/* What was just made, `flags` being how it is removed: it stays only when all that was wished for it could be set. */
static int finish(struct store_section *section, const struct store_commit *commit, int flags)
{
        int error = set_both(section, commit);

        if (!error)
                return settle(section, commit);
        unlinkat(section->folder, section->name, flags);
        return error;
}

/* Whoever sees it before its mode is set sees one that allows less. */
int store_make_folder(struct store_section *section, const struct store_commit *commit)
{
        mode_t mode = commit->mode ? *commit->mode & 0777 : 0777;

        if (!section->name[0])
                return -EEXIST;
        if (mkdirat(section->folder, section->name, mode) < 0)
                return -errno;
        return finish(section, commit, AT_REMOVEDIR);
}

int store_make_link(struct store_section *section, const char *target, const struct store_commit *commit)
{
        if (!section->name[0])
                return -EEXIST;
        if (symlinkat(target, section->folder, section->name) < 0)
                return -errno;
        return finish(section, commit, 0);
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
