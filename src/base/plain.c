/* Files of the program itself: what it is configured by and what it logs. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int plain_open(const char *path, enum plain_use use)
{
        static const int flags[] = {
                [PLAIN_READ] = O_RDONLY | O_NONBLOCK,
                [PLAIN_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
                [PLAIN_REPLACE] = O_WRONLY | O_CREAT | O_TRUNC,
        };
        int descriptor = open(path, flags[use] | O_CLOEXEC, use == PLAIN_REPLACE ? 0666 : 0640);
        return descriptor < 0 ? -errno : descriptor;
}

int plain_standard_output(void)
{
        int descriptor = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        return descriptor < 0 ? -errno : descriptor;
}

int plain_put_in_place(int fresh, int descriptor)
{
        int error = dup3(fresh, descriptor, O_CLOEXEC) < 0 ? -errno : 0;
        close(fresh);
        return error;
}

bool plain_is_public(int descriptor)
{
        struct stat state;
        return fstat(descriptor, &state) == 0 && state.st_mode & S_IROTH;
}

void plain_write_all(int descriptor, const char *data, size_t size)
{
        while (size > 0) {
                ssize_t n = write(descriptor, data, size);
                if (n < 0 && errno == EAGAIN) {
                        poll(&(struct pollfd){ .fd = descriptor, .events = POLLOUT }, 1, -1);
                        continue;
                }
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return; /* the disk is full or the pipe is gone: nothing here could mend it */
                data += n;
                size -= (size_t)n;
        }
}

int plain_open_folder(const char *path)
{
        int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return descriptor < 0 ? -errno : descriptor;
}

void plain_close_folder(int descriptor)
{
        close(descriptor);
}

void plain_folder_name(const char *path, char *out, size_t size)
{
        char full[PATH_MAX];
        snprintf(out, size, "%s", realpath(path, full) ? full : path);
}
