/* Going through a tree: every folder, then what is in it, then the folder again.
 *
 * A level is a folder on the way down, with a piece of its entries. Only the lowest STORE_OPEN_LEVELS are kept open;
 * coming back to one that was closed, it is found by ".." from the one below, must be the same folder still, and is
 * read on from behind the last entry told. So the length of paths does not matter, and nothing that is renamed
 * meanwhile leads elsewhere.
 */
#include "store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static void find_name(struct store_descent *descent)
{
        const char *slash = strrchr(descent->path, '/');

        descent->name = slash ? slash + 1 : descent->path;
}

int store_descent_create(struct store_descent **out, const struct store_tree *tree, int above, const char *path)
{
        size_t size = strlen(path);
        struct store_descent *descent;
        int error;

        if (size >= STORE_PATH_BYTES)
                return -ENAMETOOLONG;
        descent = malloc(sizeof(*descent)); /* not cleared: most of it is for deep trees */
        if (!descent)
                return -ENOMEM;
        memset(descent, 0, offsetof(struct store_descent, levels));
        memcpy(descent->path, path, size + 1);
        descent->path_size = (uint32_t)size;
        descent->tree = tree;
        descent->above = descent->folder = above;
        descent->start = -1;
        find_name(descent);
        error = store_state_at(above, descent->name, &descent->state);
        if (!error && descent->state.kind == STORE_NOTHING)
                error = -ENOENT;
        if (error)
                free(descent);
        else
                *out = descent;
        return error;
}

static struct store_level *lowest(struct store_descent *descent)
{
        return &descent->levels[descent->depth - 1];
}

/* `whole`: all that is in it has been told. */
static void close_snapshot(struct store_level *level, bool whole)
{
        if (level->snapshot)
                store_snapshot_close(level->snapshot, whole);
        level->snapshot = NULL;
}

static void close_level(struct store_level *level)
{
        close_snapshot(level, false);
        if (level->folder >= 0)
                close(level->folder);
        free(level->dents);
        level->folder = -1;
        level->dents = NULL;
}

void store_descent_destroy(struct store_descent *descent)
{
        if (!descent)
                return;
        while (descent->depth > 0) {
                close_level(lowest(descent));
                descent->depth--;
        }
        free(descent);
}

/* ---- down and up ---- */

static struct store_snapshot *open_snapshot(const struct store_descent *descent, struct store_level *level)
{
        struct store_state state;

        if (store_state_of(level->folder, &state) < 0)
                return NULL;
        return store_snapshot_open(descent->tree->snapshots, level->folder, &state, &level->known);
}

static int open_level(struct store_descent *descent, struct store_level *level)
{
        bool by_start = descent->depth == 0 && descent->start >= 0;
        struct stat st;

        if (descent->depth == STORE_MAX_DEPTH)
                return -ELOOP;
        level->folder = by_start ? openat(descent->start, ".", FOLDER_FLAGS)
                                 : openat(descent->folder, store_name(descent->name), FOLDER_FLAGS);
        if (level->folder < 0 || fstat(level->folder, &st) < 0)
                return -errno;
        level->device = st.st_dev;
        level->inode = st.st_ino;
        if (descent->remember && descent->depth == 0)
                level->snapshot = open_snapshot(descent, level);
        if (level->known)
                return 0;
        level->dents = malloc(STORE_DENTS_BYTES);
        return level->dents ? 0 : -ENOMEM;
}

/* A folder that cannot be entered is left at once, with its error. */
static void go_down(struct store_descent *descent)
{
        struct store_level *level = &descent->levels[descent->depth];

        ensure(descent->depth <= STORE_MAX_DEPTH);
        *level = (struct store_level){ .folder = -1, .path_size = descent->path_size, .state = descent->state };
        level->error = open_level(descent, level);
        descent->depth++;
        if (descent->depth > STORE_OPEN_LEVELS) {
                close_level(&descent->levels[descent->depth - 1 - STORE_OPEN_LEVELS]);
        }
}

static bool is_still(const struct store_level *level, int folder)
{
        struct stat st;

        return folder >= 0 && fstat(folder, &st) == 0 && st.st_dev == level->device && st.st_ino == level->inode;
}

/* `below` was in it; if that has been moved away, the folder may still be found by its path. */
static int find_again(struct store_descent *descent, const struct store_level *level, int below)
{
        char *end = descent->path + level->path_size, cut = *end;
        int folder = openat(below, "..", FOLDER_FLAGS);

        if (is_still(level, folder))
                return folder;
        if (folder >= 0)
                close(folder);
        *end = '\0';
        folder = store_open_beneath(descent->tree->root, descent->path, FOLDER_FLAGS, descent->tree->links);
        *end = cut;
        if (is_still(level, folder))
                return folder;
        if (folder >= 0)
                close(folder);
        return -ESTALE;
}

static void reopen(struct store_descent *descent, struct store_level *level, int below)
{
        level->at = level->got = 0;
        level->dents = malloc(STORE_DENTS_BYTES);
        if (!level->dents) {
                level->error = -ENOMEM;
                return;
        }
        level->folder = find_again(descent, level, below);
        if (level->folder >= 0 && lseek(level->folder, level->cookie, SEEK_SET) >= 0)
                return;
        level->error = level->folder < 0 ? level->folder : -errno;
}

static enum store_step go_up(struct store_descent *descent)
{
        struct store_level *level = lowest(descent);
        struct store_level *higher = descent->depth > 1 ? level - 1 : NULL;

        if (higher && higher->folder < 0)
                reopen(descent, higher, level->folder);
        close_level(level);
        descent->depth--;
        descent->left = level;
        descent->folder = higher ? higher->folder : descent->above;
        descent->state = level->state;
        descent->path_size = level->path_size;
        descent->path[level->path_size] = '\0';
        find_name(descent);
        return STORE_LEAVE;
}

/* ---- entries ---- */

static bool is_member(const char *name)
{
        if (name[0] != '.')
                return true;
        return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, STORE_STAGING) != 0;
}

static bool read_piece(struct store_level *level)
{
        ssize_t got;

        do
                got = getdents64(level->folder, level->dents, STORE_DENTS_BYTES);
        while (got < 0 && errno == EINTR);
        if (got < 0 && errno != ENOENT) /* ENOENT: the folder itself was removed meanwhile */
                level->error = -errno;
        level->at = 0;
        level->got = got > 0 ? (uint32_t)got : 0;
        return got > 0;
}

static const struct dirent64 *next_entry(struct store_level *level)
{
        const struct dirent64 *entry;

        do {
                if (level->error && level->at == level->got)
                        return NULL;
                if (level->at == level->got && !read_piece(level))
                        return NULL;
                entry = (const void *)(level->dents + level->at);
                level->at += entry->d_reclen;
                level->cookie = entry->d_off;
        } while (!is_member(entry->d_name));
        return entry;
}

/* What the folder itself says of a member's kind, which is all that some want to know: a system call less. False for a
 * folder, too, and where it says nothing. */
static bool has_kind(const struct dirent64 *entry, enum store_kind *kind)
{
        *kind = entry->d_type == DT_REG ? STORE_IS_FILE : entry->d_type == DT_LNK ? STORE_IS_LINK : STORE_IS_OTHER;
        return entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN;
}

/* Makes it the current member, but for its state. */
static bool take_name(struct store_descent *descent, struct store_level *level, const char *name)
{
        size_t size = strlen(name);

        if (size > STORE_NAME_BYTES) { /* some file systems count characters, not bytes */
                level->error = -ENAMETOOLONG;
                return false;
        }
        descent->path_size = level->path_size;
        if (descent->path_size)
                descent->path[descent->path_size++] = '/';
        memcpy(descent->path + descent->path_size, name, size + 1);
        descent->name = descent->path + descent->path_size;
        descent->path_size += (uint32_t)size;
        descent->folder = level->folder;
        return true;
}

/* False when it is gone. */
static bool look_at_it(struct store_descent *descent, struct store_level *level)
{
        int error = store_state_at(level->folder, descent->name, &descent->state);

        if (error)
                level->error = error;
        return !error && descent->state.kind != STORE_NOTHING;
}

/* Makes it the current member; false when it is gone. */
static bool take(struct store_descent *descent, struct store_level *level, const struct dirent64 *entry)
{
        enum store_kind kind;

        if (!take_name(descent, level, entry->d_name))
                return false;
        if (descent->kinds_only && has_kind(entry, &kind)) {
                descent->state = (struct store_state){ .kind = kind };
                return true;
        }
        if (!look_at_it(descent, level))
                return false;
        if (level->snapshot)
                store_snapshot_note(level->snapshot, descent->name, &descent->state);
        return true;
}

/* The next of a snapshot; false at its end. */
static bool take_known(struct store_descent *descent, struct store_level *level)
{
        const struct store_state *state;
        const char *name;

        while ((name = store_snapshot_next(level->snapshot, &level->told, &state))) {
                if (!take_name(descent, level, name))
                        continue;
                if (state)
                        descent->state = *state;
                if (state || look_at_it(descent, level))
                        return true;
        }
        return false;
}

/* The next that is read from the folder; false at its end. */
static bool take_read(struct store_descent *descent, struct store_level *level)
{
        const struct dirent64 *entry;

        while ((entry = next_entry(level)))
                if (take(descent, level, entry))
                        return true;
        close_snapshot(level, !level->error);
        return false;
}

static enum store_step tell(struct store_descent *descent)
{
        descent->down = descent->state.kind == STORE_IS_FOLDER;
        return descent->down ? STORE_ENTER : STORE_MEMBER;
}

enum store_step store_descent_next(struct store_descent *descent)
{
        if (!descent->begun) {
                descent->begun = true;
                return tell(descent);
        }
        if (descent->down)
                go_down(descent);
        descent->down = false;
        while (descent->depth > 0) {
                struct store_level *level = lowest(descent);

                if (level->known ? take_known(descent, level) : take_read(descent, level))
                        return tell(descent);
                return go_up(descent);
        }
        return STORE_END;
}

void store_descent_skip(struct store_descent *descent)
{
        descent->down = false;
}

void store_descent_again(struct store_descent *descent)
{
        descent->down = true;
}

void store_descent_fail(struct store_descent *descent)
{
        if (descent->depth > 0)
                lowest(descent)->failed = true;
}
