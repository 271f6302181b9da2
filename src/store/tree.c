/* Names: folders, modes, times, links. */
#include "store/store_priv.h"

#include <errno.h>

/* ---- modes and times ---- */

int store_mode(uint32_t wanted, uint32_t present, uint32_t *mode)
{
        if (wanted & ~(0777 | present))
                return -EPERM;
        *mode = wanted;
        return 0;
}

/* On a folder the last two give nobody anything that is not his. */
enum { SET_USER_ID = 04000, SET_GROUP_ID = 02000, STICKY = 01000 };

/* `kept`: bits of a folder that stay as they are. */
static int set_mode(struct store_section *section, uint32_t mode, uint32_t kept)
{
        struct store_state old;
        int error = store_state_at(section->folder, section->name, &old);

        if (!error && old.kind == STORE_NOTHING)
                error = -ENOENT;
        if (!error)
                error = store_mode(mode, old.mode | (old.kind == STORE_IS_FOLDER ? SET_GROUP_ID | STICKY : 0), &mode);
        if (error)
                return error;
        if (old.kind == STORE_IS_FOLDER)
                mode |= old.mode & kept;
        return store_set_mode_at(section->folder, section->name, mode);
}

static int set_modified(struct store_section *section, const struct timespec *modified)
{
        if (modified->tv_nsec < 0 || modified->tv_nsec > 999999999)
                return -EINVAL;
        return store_set_time_at(section->folder, section->name, modified);
}

static int set_both(struct store_section *section, const struct store_commit *commit, uint32_t kept)
{
        int error = commit->mode ? set_mode(section, *commit->mode, kept) : 0;

        return !error && commit->modified ? set_modified(section, commit->modified) : error;
}

static int settle(struct store_section *section, const struct store_commit *commit)
{
        return commit->durable ? store_sync(section) : store_settle(section);
}

int store_set_mode(struct store_section *section, uint32_t mode)
{
        int error = set_mode(section, mode, SET_USER_ID);

        return error ? error : store_settle(section);
}

int store_set_modified(struct store_section *section, const struct timespec *modified)
{
        int error = set_modified(section, modified);

        return error ? error : store_settle(section);
}

int store_set(struct store_section *section, const struct store_commit *commit)
{
        int error = set_both(section, commit, SET_USER_ID);

        return error ? error : settle(section, commit);
}

/* ---- names ---- */

/* What was just made and can be removed like this: it stays only when all that was wished for it could be set. */
static int finish(struct store_section *section, const struct store_commit *commit,
                  int (*unmake)(int folder, const char *name))
{
        int error = set_both(section, commit, SET_USER_ID | SET_GROUP_ID); /* which a folder has from the one above */

        if (!error)
                return settle(section, commit);
        unmake(section->folder, section->name);
        return error;
}

/* Whoever sees it before its mode is set sees one that allows less. */
int store_make_folder(struct store_section *section, const struct store_commit *commit)
{
        uint32_t mode = commit->mode ? *commit->mode & 0777 : 0777;
        int error;

        if (!section->name[0])
                return -EEXIST;
        error = store_folder_at(section->folder, section->name, mode);
        return error ? error : finish(section, commit, store_rmdir_at);
}

static int unlink_now(int folder, const char *name)
{
        return store_unlink_at(folder, name, false);
}

int store_make_link(struct store_section *section, const char *target, const struct store_commit *commit)
{
        int error;

        if (!section->name[0])
                return -EEXIST;
        error = store_symlink_at(target, section->folder, section->name);
        return error ? error : finish(section, commit, unlink_now);
}

int store_make_hard_link(struct store_section *section, const char *existing)
{
        const char *name;
        int folder, error;

        if (!section->name[0])
                return -EEXIST;
        folder = store_open_above(section->tree, existing, STORE_OPEN_WAY, &name);
        if (folder < 0)
                return folder;
        error = store_link_at(folder, name, section->folder, section->name);
        store_close(folder);
        return error ? error : store_settle(section);
}

ssize_t store_read_link(struct store_section *section, char *out, size_t size)
{
        return store_readlink_at(section->folder, section->name, out, size);
}
