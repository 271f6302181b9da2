/* What the kernel tells of files, and what can be set of them beside their content. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int result_of(int result)
{
        return result < 0 ? -errno : 0;
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

static int stat_by(int folder, const char *name, int flags, struct store_state *state)
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
        return 0;
}

int store_stat_at(int folder, const char *name, struct store_state *state)
{
        return stat_by(folder, store_name(name), AT_SYMLINK_NOFOLLOW, state);
}

int store_stat_of(int descriptor, struct store_state *state)
{
        return stat_by(descriptor, "", AT_EMPTY_PATH, state);
}

/* ---- times ---- */

int store_set_time_of(int file, const struct timespec *modified)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *modified };

        return result_of(futimens(file, times));
}

int store_set_time_at(int folder, const char *name, const struct timespec *modified)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *modified };

        return result_of(utimensat(folder, store_name(name), times, AT_SYMLINK_NOFOLLOW));
}

long store_time_grain_ns(void)
{
        return 1;
}

void store_keep_time(int file)
{
        (void)file;
}

struct timespec store_stamp_time(void)
{
        struct timespec now;

        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        return now;
}

/* ---- modes, owners, room ---- */

int store_set_mode_of(int descriptor, uint32_t mode)
{
        return result_of(fchmod(descriptor, mode));
}

int store_set_mode_at(int folder, const char *name, uint32_t mode)
{
        return result_of(fchmodat(folder, store_name(name), mode, AT_SYMLINK_NOFOLLOW));
}

/* Who owns a file is the business of whoever runs the server: what may not be done is left out. */
int store_take_owner(int file, int folder, const char *name, uint32_t *mode)
{
        struct stat theirs, ours;

        if (fstatat(folder, name, &theirs, AT_SYMLINK_NOFOLLOW) < 0 || fstat(file, &ours) < 0)
                return -errno;
        *mode = ours.st_mode & 07777;
        if ((theirs.st_uid != ours.st_uid || theirs.st_gid != ours.st_gid) &&
            fchown(file, theirs.st_uid, theirs.st_gid) < 0 && errno != EPERM)
                return -errno;
        return 0;
}

int store_room_of(int descriptor, uint64_t *available, uint64_t *used)
{
        struct statvfs room;

        if (fstatvfs(descriptor, &room) < 0)
                return -errno;
        *available = (uint64_t)room.f_bavail * room.f_frsize;
        *used = (uint64_t)(room.f_blocks - room.f_bfree) * room.f_frsize;
        return 0;
}
