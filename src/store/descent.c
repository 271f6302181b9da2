/* Going through a tree: every folder, then what is in it, then the folder again.
 *
 * A level is a folder on the way down, with a piece of its entries. Only the lowest store_open_levels() are kept open;
 * coming back to one that was closed, it is found by ".." from the one below, must be the same folder still, and is
 * read on from behind the last entry told. So the length of paths does not matter, and nothing that is renamed
 * meanwhile leads elsewhere.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

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
                store_close(level->folder);
        free(level->entries);
        level->folder = -1;
        level->entries = NULL;
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

/* Not cleared: what is read comes over it. */
static int make_entries(struct store_level *level)
{
        level->entries = malloc(sizeof(*level->entries));
        if (!level->entries)
                return -ENOMEM;
        level->entries->at = level->entries->got = 0;
        level->entries->cookie = level->cookie;
        return 0;
}

static int open_level(struct store_descent *descent, struct store_level *level)
{
        bool by_start = descent->depth == 0 && descent->start >= 0;
        struct store_state seen;
        int error;

        if (descent->depth == STORE_MAX_DEPTH)
                return -ELOOP;
        level->folder = by_start ? store_open_folder(descent->start, "")
                                 : store_open_folder(descent->folder, descent->name);
        error = level->folder < 0 ? level->folder : store_stat_of(level->folder, &seen);
        if (error)
                return error;
        level->device = seen.device;
        level->inode = seen.inode;
        if (descent->remember && descent->depth == 0)
                level->snapshot = open_snapshot(descent, level);
        return level->known ? 0 : make_entries(level);
}

/* A folder that cannot be entered is left at once, with its error. */
static void go_down(struct store_descent *descent)
{
        struct store_level *level = &descent->levels[descent->depth];

        ensure(descent->depth <= STORE_MAX_DEPTH);
        *level = (struct store_level){ .folder = -1, .path_size = descent->path_size, .state = descent->state };
        level->error = open_level(descent, level);
        descent->depth++;
        if (descent->depth > store_open_levels())
                close_level(&descent->levels[descent->depth - 1 - store_open_levels()]);
}

static bool is_still(const struct store_level *level, int folder)
{
        struct store_state now;

        return folder >= 0 && store_stat_of(folder, &now) == 0 && now.device == level->device &&
               now.inode == level->inode;
}

/* `below` was in it; if that has been moved away, the folder may still be found by its path. */
static int find_again(struct store_descent *descent, const struct store_level *level, int below)
{
        char *end = descent->path + level->path_size, cut = *end;
        int folder = store_open_parent(below);

        if (is_still(level, folder))
                return folder;
        if (folder >= 0)
                store_close(folder);
        *end = '\0';
        folder = store_open_beneath(descent->tree->root, descent->path, STORE_OPEN_FOLDER, descent->tree->links);
        *end = cut;
        if (is_still(level, folder))
                return folder;
        if (folder >= 0)
                store_close(folder);
        return -ESTALE;
}

static void reopen(struct store_descent *descent, struct store_level *level, int below)
{
        level->error = make_entries(level);
        if (level->error)
                return;
        level->folder = find_again(descent, level, below);
        level->error = level->folder < 0 ? level->folder : store_seek_entries(level->folder, level->entries);
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

static bool next_entry(struct store_level *level, struct store_dent *entry)
{
        int got;

        do {
                if (!level->entries || (level->error && level->entries->at == level->entries->got))
                        return false;
                got = store_next_entry(level->folder, level->entries, entry);
                if (got < 0)
                        level->error = got;
                if (got <= 0)
                        return false;
                level->cookie = level->entries->cookie;
        } while (!is_member(entry->name));
        return true;
}

/* What the folder itself says of a member's kind, which is all that some want to know: a system call less. False for a
 * folder, too, and where it says nothing. */
static bool has_kind(enum store_hint hint, enum store_kind *kind)
{
        *kind = hint == STORE_HINT_FILE ? STORE_IS_FILE : hint == STORE_HINT_LINK ? STORE_IS_LINK : STORE_IS_OTHER;
        return hint != STORE_HINT_FOLDER && hint != STORE_HINT_NONE;
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
static bool take(struct store_descent *descent, struct store_level *level, const struct store_dent *entry)
{
        enum store_kind kind;

        if (!take_name(descent, level, entry->name))
                return false;
        if (descent->kinds_only && has_kind(entry->hint, &kind)) {
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
        struct store_dent entry;

        while (next_entry(level, &entry))
                if (take(descent, level, &entry))
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
