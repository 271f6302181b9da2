/* Opening beneath a root folder, and reading a window of a file into the page cache. */
#include "port/port_priv.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

void files_open_how(struct open_how *how, unsigned flags, uint64_t resolve)
{
        /* O_NONBLOCK: the open of a FIFO or a device returns; it means nothing for files and folders. */
        *how = (struct open_how){
                .flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (flags & BERTH_OPEN_WRITE ? O_RDWR : O_RDONLY),
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve,
        };
        if (flags & BERTH_OPEN_CREATE) {
                how->flags |= O_CREAT;
                how->mode = 0666;
        }
        if (flags & BERTH_OPEN_FOLDER)
                how->flags |= O_DIRECTORY;
        if (flags & BERTH_OPEN_NO_LINKS)
                how->resolve |= RESOLVE_NO_SYMLINKS;
}

int files_open(int root, const char *path, unsigned flags, uint64_t resolve)
{
        struct open_how how;
        files_open_how(&how, flags, resolve);
        long descriptor = syscall(SYS_openat2, root, path, &how, sizeof(how));
        if (descriptor < 0)
                return -errno;
        files_opened((int)descriptor);
        return (int)descriptor;
}

/* O_NONBLOCK was for the open. Left on, io_uring would take it that reads may be tried inline on file systems that
 * cannot do so without waiting. */
void files_opened(int descriptor)
{
        fcntl(descriptor, F_SETFL, 0);
}

int64_t files_read_in(int file, uint64_t offset, uint64_t length)
{
        char discarded[64 << 10];
        uint64_t done = 0;
        while (done < length) {
                ssize_t n = pread(file, discarded, min_of(length - done, sizeof(discarded)), (off_t)(offset + done));
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (uint64_t)n;
        }
        return (int64_t)done;
}
