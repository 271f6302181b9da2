/* Where one mounts: what stands there, by /proc/self/mountinfo (proc(5)), since to ask a file system whose process
 * is gone or does not answer would fail or wait. */
#include "mount/command.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

/* \040 and the like. In place. */
static void undo_octal(char *text)
{
        char *out = text;
        for (; *text; text++) {
                bool escape = text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' &&
                              text[3] >= '0' && text[3] <= '7';
                *out++ = escape ? (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0')) : *text;
                text += escape ? 3 : 0;
        }
        *out = '\0';
}

/* 36 35 98:0 / /mnt rw,noatime shared:1 - fuse.berth http://host/ rw,...: true when it is a mount at `path`. */
static bool read_line(char *line, struct place *place, char type[64])
{
        char where[4096], *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*s %*s %u:%u %*s %4095s", &place->major, &place->minor, where) != 3)
                return false;
        undo_octal(where);
        if (strcmp(where, place->path) != 0 || sscanf(rest, " - %63s %1023s", type, place->source) != 2)
                return false;
        undo_octal(place->source);
        const char *options = strrchr(rest, ' '), *owner = options ? strstr(options, "user_id=") : NULL;
        place->owner = owner ? (unsigned)strtoul(owner + strlen("user_id="), NULL, 10) : 0;
        return true;
}

/* The last mount at the path is the one that is seen. */
static int find_mount(struct place *place, char type[64])
{
        FILE *file = fopen("/proc/self/mountinfo", "re");
        char *line = NULL;
        size_t room = 0;
        struct place last = *place;
        if (!file)
                return -errno;
        *type = '\0';
        while (getline(&line, &room, file) > 0) {
                char found[64];
                if (read_line(line, &last, found)) {
                        memcpy(type, found, sizeof(found));
                        *place = last;
                }
        }
        free(line);
        fclose(file);
        return 0;
}

/* realpath() of what may be a dead mount: of the folder above then, which lives. */
static int resolve(struct place *place, const char *folder)
{
        char copy[4096], above[PATH_MAX];
        if (realpath(folder, place->path))
                return 0;
        if (errno != ENOTCONN && errno != EIO && errno != ECONNABORTED && errno != EACCES)
                return -errno;
        int error = -errno;
        size_t length = strlen(folder);
        while (length > 1 && folder[length - 1] == '/')
                length--;
        if (length >= sizeof(copy))
                return -ENAMETOOLONG;
        memcpy(copy, folder, length);
        copy[length] = '\0';
        char *slash = strrchr(copy, '/'), *name = slash ? slash + 1 : copy;
        if (slash)
                *slash = '\0';
        if (!realpath(!slash ? "." : slash == copy ? "/" : copy, above))
                return error;
        int n = snprintf(place->path, sizeof(place->path), "%s/%s", strcmp(above, "/") == 0 ? "" : above, name);
        return n < (int)sizeof(place->path) ? 0 : -ENAMETOOLONG;
}

/* By something that the kernel does not answer from its memory, and the mount without its server. */
static bool is_dead(const char *path)
{
        char byte;
        return getxattr(path, STATS_ATTRIBUTE, &byte, sizeof(byte)) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

int place_look(struct place *place, const char *folder)
{
        char type[64];
        *place = (struct place){ .state = PLACE_FREE };
        int error = resolve(place, folder);
        if (!error)
                error = find_mount(place, type);
        if (error || !*type)
                return error;
        place->state = strcmp(type, "fuse.berth") != 0 ? PLACE_OTHER : is_dead(place->path) ? PLACE_DEAD : PLACE_BERTH;
        return 0;
}

void place_look_at_mount(struct place *place)
{
        char type[64];
        find_mount(place, type);
}

int place_unmount(const char *path, bool lazy)
{
        if (umount2(path, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
                return 0;
        if (errno != EPERM)
                return -errno;
        int error = fusermount_unmount(path, lazy, true);
        struct place place;
        /* It has one exit status for all reasons; that it is still there and his means that it is in use. */
        if (error == -EPERM && place_look(&place, path) == 0 && place.state == PLACE_BERTH && place.owner == getuid())
                return -EBUSY;
        return error;
}
