/* A temporary folder for tests, in memory where the system has /dev/shm. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
        char path[64];
        int fd;
};

static inline int folder_setup(void **state)
{
        struct folder *folder = calloc(1, sizeof(*folder));

        const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

        snprintf(folder->path, sizeof(folder->path), "%s/berth-test-XXXXXX", base);
        if (!mkdtemp(folder->path))
                return -1;
        folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = folder;
        return folder->fd < 0;
}

static inline int folder_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static inline int folder_teardown(void **state)
{
        struct folder *folder = *state;
        int error = nftw(folder->path, folder_remove, 16, FTW_DEPTH | FTW_PHYS);

        close(folder->fd);
        free(folder);
        return error;
}

/* A sparse file of that size, modified at that time. */
static inline void folder_file(struct folder *folder, const char *name, int64_t size, int64_t modified)
{
        struct timespec times[2] = { { .tv_sec = modified }, { .tv_sec = modified } };
        int fd = openat(folder->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, size), 0);
        assert_int_equal(futimens(fd, times), 0);
        close(fd);
}

static inline void folder_sub(struct folder *folder, const char *name)
{
        assert_int_equal(mkdirat(folder->fd, name, 0755), 0);
}

static inline void folder_link(struct folder *folder, const char *target, const char *name)
{
        assert_int_equal(symlinkat(target, folder->fd, name), 0);
}

#endif
