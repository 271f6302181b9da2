/* Whole files: where a server takes no parts of files, what is written goes to a local file without a name, and all of
 * it to the server when the program closes it or wants it to be durable. */
#include "mount/file_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int open_unnamed(void)
{
        int descriptor = open(local_spool(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return descriptor < 0 ? -errno : descriptor;
}

/* What the server has of it. */
static int fetch(struct file *file, int descriptor)
{
        char path[REMOTE_PATH_BYTES];
        int error = file_path(file, path);
        if (error)
                return error;
        pthread_mutex_unlock(&file->lock);
        error = remote_download(&file->mount->remote, path, file->tag, descriptor);
        pthread_mutex_lock(&file->lock);
        return error;
}

int spool_open(struct file *file)
{
        if (file->spool >= 0)
                return 0;
        int descriptor = open_unnamed();
        if (descriptor < 0)
                return descriptor;
        int error = file->start == FILE_ON_SERVER && file->size > 0 ? fetch(file, descriptor) : 0;
        if (!error && ftruncate(descriptor, (off_t)file->size) < 0)
                error = -errno;
        if (error) {
                close(descriptor);
                return error;
        }
        file->spool = descriptor;
        return 0;
}

int spool_write(struct file *file, uint64_t first, const char *data, size_t size)
{
        while (size > 0) {
                ssize_t n = pwrite(file->spool, data, size, (off_t)first);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                file->spool_dirty = true;
                data += n;
                size -= (size_t)n;
                first += (uint64_t)n;
        }
        return 0;
}

int spool_truncate(struct file *file, uint64_t size)
{
        if (ftruncate(file->spool, (off_t)size) < 0)
                return -errno;
        file->spool_dirty = true;
        return 0;
}

void spool_close(struct file *file)
{
        if (file->spool >= 0)
                close(file->spool);
        file->spool = -1;
}
