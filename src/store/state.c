/* What stands at a path, its entity-tag, and how much room there is. */
#include "store/store_priv.h"

#include <errno.h>

/* ---- entity-tags ---- */

static char *put_hex(char *at, uint64_t value)
{
        unsigned digits = value ? (67 - (unsigned)__builtin_clzll(value)) / 4 : 1;

        for (unsigned i = digits; i-- > 0; value >>= 4)
                at[i] = "0123456789abcdef"[value & 15];
        return at + digits;
}

/* Kernels before 6.13 stamp with the tick's time: two writes of one size within 4 ms look alike there.
 * Not the change time: it moves with extended attributes too, where the content stays the same. Not the device:
 * two servers of one cluster file system see different ones. */
uint16_t store_etag(char out[STORE_ETAG_BYTES], uint64_t inode, uint64_t size, const struct timespec *modified)
{
        char *at = out;

        *at++ = '"';
        at = put_hex(at, inode);
        *at++ = '-';
        at = put_hex(at, size);
        *at++ = '-';
        at = put_hex(at, (uint64_t)modified->tv_sec * 1000000000u + (uint64_t)modified->tv_nsec);
        *at++ = '"';
        *at = '\0';
        return (uint16_t)(at - out);
}

/* ---- looking ---- */

static int tag(struct store_state *state)
{
        state->etag_size = store_etag(state->etag, state->inode, state->size, &state->modified);
        return 0;
}

int store_state_at(int folder, const char *name, struct store_state *state)
{
        int error = store_stat_at(folder, name, state);

        if (error != -ENOENT)
                return error ? error : tag(state);
        memset(state, 0, sizeof(*state));
        return 0;
}

int store_state_of(int descriptor, struct store_state *state)
{
        int error = store_stat_of(descriptor, state);

        return error ? error : tag(state);
}

int store_state_followed(const struct store_tree *tree, int folder, const char *name, const char *path,
                         struct store_state *state)
{
        int error = store_state_at(folder, name, state);
        int file;

        if (error || state->kind != STORE_IS_LINK || !tree->links)
                return error;
        file = store_open_beneath(tree->root, path, STORE_OPEN_ANY, true);
        if (file < 0)
                return 0;
        error = store_state_of(file, state);
        state->linked = true;
        store_close(file);
        return error;
}

static int look(struct store_tree *tree, const char *path, bool follow, struct store_state *state)
{
        const char *name;
        int folder = store_open_above(tree, path, STORE_OPEN_WAY, &name);
        int error;

        if (folder < 0)
                return folder;
        error = follow ? store_state_followed(tree, folder, name, path, state) : store_state_at(folder, name, state);
        store_close(folder);
        return error;
}

int store_look(struct store_tree *tree, const char *path, struct store_state *state)
{
        return look(tree, path, true, state);
}

int store_look_itself(struct store_tree *tree, const char *path, struct store_state *state)
{
        return look(tree, path, false, state);
}

/* ---- times ---- */

struct timespec store_time_after(const struct timespec *old)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        now.tv_nsec -= now.tv_nsec % store_time_grain_ns();
        if (now.tv_sec > old->tv_sec || (now.tv_sec == old->tv_sec && now.tv_nsec > old->tv_nsec))
                return now;
        now = *old;
        now.tv_nsec += store_time_grain_ns();
        if (now.tv_nsec >= 1000000000) {
                now.tv_nsec -= 1000000000;
                now.tv_sec++;
        }
        return now;
}

/* ---- on disk ---- */

static int sync_member(int folder, const char *name)
{
        int file = store_open_to_sync(folder, name);
        int error;

        if (file < 0)
                return file;
        error = store_sync_folder(file);
        store_close(file);
        return error;
}

int store_sync(struct store_section *section)
{
        struct store_state state;
        int error = store_state_at(section->folder, section->name, &state);

        if (!error && state.kind == STORE_NOTHING)
                return -ENOENT;
        if (!error && (state.kind == STORE_IS_FILE || state.kind == STORE_IS_FOLDER))
                error = sync_member(section->folder, section->name);
        return error ? error : store_sync_folder(section->folder);
}

int store_settle(struct store_section *section)
{
        return section->tree->durable ? store_sync(section) : 0;
}

/* ---- room ---- */

/* What is asked about may not be there yet: then the folder that will hold it, or one above. */
static int open_nearest(const struct store_tree *tree, const char *path)
{
        char nearest[STORE_PATH_BYTES];
        size_t size = strlen(path);
        int found;

        if (size >= sizeof(nearest))
                return -ENAMETOOLONG;
        memcpy(nearest, path, size + 1);
        for (;;) {
                char *slash;

                found = store_open_beneath(tree->root, nearest, STORE_OPEN_ANY, tree->links);
                if ((found != -ENOENT && found != -ENOTDIR) || !nearest[0])
                        return found;
                slash = strrchr(nearest, '/');
                *(slash ? slash : nearest) = '\0';
        }
}

int store_room(struct store_tree *tree, const char *path, uint64_t *available, uint64_t *used)
{
        int nearest = open_nearest(tree, path);
        int error;

        if (nearest < 0)
                return nearest;
        error = store_room_of(nearest, available, used);
        store_close(nearest);
        return error;
}
