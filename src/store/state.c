/* What stands at a path, its entity-tag, and how much room there is. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

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

static enum store_kind kind_of(uint32_t mode)
{
        switch (mode & S_IFMT) {
        case S_IFREG:
                return STORE_IS_FILE;
        case S_IFDIR:
                return STORE_IS_FOLDER;
        case S_IFLNK:
                return STORE_IS_LINK;
        default:
                return STORE_IS_OTHER;
        }
}

static struct timespec time_of(const struct statx_timestamp *stamp)
{
        return (struct timespec){ .tv_sec = stamp->tv_sec, .tv_nsec = stamp->tv_nsec };
}

static int look_at(int folder, const char *name, int flags, struct store_state *state)
{
        struct statx seen;

        if (statx(folder, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &seen) < 0)
                return -errno;
        *state = (struct store_state){
                .kind = kind_of(seen.stx_mode),
                .size = seen.stx_size,
                .inode = seen.stx_ino,
                .device = (uint64_t)seen.stx_dev_major << 32 | seen.stx_dev_minor,
                .mode = seen.stx_mode & 07777,
                .links = seen.stx_nlink,
                .modified = time_of(&seen.stx_mtime),
                .changed = time_of(&seen.stx_ctime),
        };
        if (seen.stx_mask & STATX_BTIME)
                state->born = time_of(&seen.stx_btime);
        state->etag_size = store_etag(state->etag, state->inode, state->size, &state->modified);
        return 0;
}

int store_state_at(int folder, const char *name, struct store_state *state)
{
        int error = look_at(folder, store_name(name), AT_SYMLINK_NOFOLLOW, state);

        if (error != -ENOENT)
                return error;
        memset(state, 0, sizeof(*state));
        return 0;
}

int store_state_of(int descriptor, struct store_state *state)
{
        return look_at(descriptor, "", AT_EMPTY_PATH, state);
}

int store_state_followed(const struct store_tree *tree, int folder, const char *name, const char *path,
                         struct store_state *state)
{
        int error = store_state_at(folder, name, state);
        int file;

        if (error || state->kind != STORE_IS_LINK || !tree->links)
                return error;
        file = store_open_beneath(tree->root, path, O_PATH, true);
        if (file < 0)
                return 0;
        error = store_state_of(file, state);
        state->linked = true;
        close(file);
        return error;
}

static int look(struct store_tree *tree, const char *path, bool follow, struct store_state *state)
{
        const char *name;
        int folder = store_open_above(tree, path, O_PATH, &name);
        int error;

        if (folder < 0)
                return folder;
        error = follow ? store_state_followed(tree, folder, name, path, state) : store_state_at(folder, name, state);
        close(folder);
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
        if (now.tv_sec > old->tv_sec || (now.tv_sec == old->tv_sec && now.tv_nsec > old->tv_nsec))
                return now;
        now = *old;
        if (++now.tv_nsec == 1000000000) {
                now.tv_nsec = 0;
                now.tv_sec++;
        }
        return now;
}

/* ---- on disk ---- */

/* Some file systems have nothing to sync of a folder, and say so in these words. */
int store_sync_folder(int folder)
{
        return fsync(folder) < 0 && errno != EINVAL && errno != EBADF && errno != EOPNOTSUPP ? -errno : 0;
}

/* fsync asks for no permission, the open before it does: either one serves. */
static int sync_member(int folder, const char *name)
{
        uint64_t flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        int file = openat(folder, name, (int)flags | O_RDONLY);
        int error;

        if (file < 0 && errno == EACCES)
                file = openat(folder, name, (int)flags | O_WRONLY);
        if (file < 0)
                return -errno;
        error = store_sync_folder(file);
        close(file);
        return error;
}

int store_sync(struct store_section *section)
{
        struct store_state state;
        int error = store_state_at(section->folder, section->name, &state);

        if (!error && state.kind == STORE_NOTHING)
                return -ENOENT;
        if (!error && (state.kind == STORE_IS_FILE || state.kind == STORE_IS_FOLDER))
                error = sync_member(section->folder, store_name(section->name));
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

                found = store_open_beneath(tree->root, nearest, O_PATH, tree->links);
                if ((found != -ENOENT && found != -ENOTDIR) || !nearest[0])
                        return found;
                slash = strrchr(nearest, '/');
                *(slash ? slash : nearest) = '\0';
        }
}

int store_room(struct store_tree *tree, const char *path, uint64_t *available, uint64_t *used)
{
        int nearest = open_nearest(tree, path);
        struct statvfs room;
        int error;

        if (nearest < 0)
                return nearest;
        error = fstatvfs(nearest, &room) < 0 ? -errno : 0;
        close(nearest);
        if (error)
                return error;
        *available = (uint64_t)room.f_bavail * room.f_frsize;
        *used = (uint64_t)(room.f_blocks - room.f_bfree) * room.f_frsize;
        return 0;
}
