/* What is mounted beneath the root. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOUNTS_DEEP = 4096 };

/* Which mount a folder is on; where the kernel does not tell (before 5.8), which device. */
int store_mount_of(const struct store_tree *tree, int folder, uint64_t *mount)
{
        struct statx seen;

        if (tree->without_mounts) {
                *mount = 0;
                return 0;
        }
        if (statx(folder, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &seen) < 0)
                return -errno;
        *mount = seen.stx_mask & STATX_MNT_ID ? seen.stx_mnt_id
                                              : (uint64_t)seen.stx_dev_major << 32 | seen.stx_dev_minor;
        return 0;
}

/* The folder above, when it is on the same mount; else -EXDEV. */
static int open_above_on(const struct store_tree *tree, int folder, uint64_t mount)
{
        int above = store_open_parent(folder);
        uint64_t other;
        int error;

        if (above < 0)
                return above;
        error = store_mount_of(tree, above, &other);
        if (!error && other == mount)
                return above;
        close(above);
        return error ? error : -EXDEV;
}

/* The topmost folder of the mount: the root, when it is the root's mount, else where ".." would lead to another one.
 * That is beneath the root too, as the way to `folder` came in there. */
int store_mount_top(const struct store_tree *tree, int folder, uint64_t mount)
{
        uint64_t roots;
        int error = store_mount_of(tree, tree->root, &roots), at, above;

        if (error)
                return error;
        at = store_open_folder(roots == mount ? tree->root : folder, "");
        if (at < 0)
                return at;
        if (roots == mount)
                return at;
        for (unsigned i = 0; i < MOUNTS_DEEP; i++) {
                above = open_above_on(tree, at, mount);
                if (above == -EXDEV)
                        return at;
                close(at);
                if (above < 0)
                        return above;
                at = above;
        }
        close(at);
        return -ELOOP;
}

/* Octal, as the kernel writes blanks and backslashes into mountinfo; in place. */
static void unescape(char *text)
{
        char *to = text;

        for (; *text; text++) {
                unsigned a = (unsigned char)text[0] - '\\', b = a ? 8 : (unsigned char)text[1] - '0';
                unsigned c = b < 8 ? (unsigned char)text[2] - '0' : 8, d = c < 8 ? (unsigned char)text[3] - '0' : 8;

                *to++ = d < 8 ? (char)(b << 6 | c << 3 | d) : *text;
                text += d < 8 ? 3 : 0;
        }
        *to = '\0';
}

/* The mount point of a line of mountinfo, if it lies beneath `root`: the way from there; else NULL. */
static const char *beneath_root(char *line, const char *root, size_t root_size)
{
        char *point = line, *end;

        for (unsigned field = 0; field < 4 && point; field++) {
                point = strchr(point, ' ');
                point += point ? 1 : 0;
        }
        end = point ? strchr(point, ' ') : NULL;
        if (!end)
                return NULL;
        *end = '\0';
        unescape(point);
        if (strncmp(point, root, root_size) != 0 || point[root_size] != '/' || !point[root_size + 1])
                return NULL;
        return point + root_size + 1;
}

/* Mounts that cannot be told, or read, are left alone. */
int store_each_mount(const struct store_tree *tree, int (*each)(const struct store_tree *tree, const char *path))
{
        char link[32], root[STORE_PATH_BYTES], *line = NULL;
        const char *below;
        FILE *mounts;
        ssize_t size;
        size_t room = 0;
        int sum = 0;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", tree->root);
        size = readlink(link, root, sizeof(root) - 1);
        mounts = size > 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
        if (!mounts)
                return 0;
        size = size == 1 ? 0 : size; /* "/" */
        root[size] = '\0';
        while (getline(&line, &room, mounts) > 0) {
                below = beneath_root(line, root, (size_t)size);
                sum += below ? each(tree, below) : 0;
        }
        free(line);
        fclose(mounts);
        return sum;
}

/* ---- descriptors of folders that may be removed by others ---- */

bool store_is_named(int folder)
{
        struct stat st;

        return fstat(folder, &st) == 0 && st.st_nlink > 0;
}

void store_replace_descriptor(int fresh, int descriptor)
{
        dup3(fresh, descriptor, O_CLOEXEC);
        close(fresh);
}
