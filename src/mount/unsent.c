/* Data that the server did not take, and that nobody will ask for any more: it is left in a local folder, one file for
 * each, its bytes where they belong, holes where there was nothing to be sent. */
#include "mount/file_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_at(int descriptor, const char *data, size_t size, uint64_t first)
{
        while (size > 0) {
                ssize_t n = pwrite(descriptor, data, size, (off_t)first);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                data += n;
                size -= (size_t)n;
                first += (uint64_t)n;
        }
        return 0;
}

static int save_extents(struct file *file, int descriptor)
{
        int error = 0;
        for (struct list *l = file->gather.extents.next; l != &file->gather.extents && !error; l = l->next) {
                struct extent *extent = container_of(l, struct extent, node);
                error = write_at(descriptor, extent->data, extent->size, extent->first);
        }
        return error;
}

static int save_piece(struct file *file, int descriptor, off_t first, off_t end)
{
        char piece[64 << 10];
        while (first < end) {
                ssize_t n = pread(file->spool, piece, min_of((size_t)(end - first), sizeof(piece)), first);
                if (n <= 0)
                        return n < 0 ? -errno : 0;
                int error = write_at(descriptor, piece, (size_t)n, (uint64_t)first);
                if (error)
                        return error;
                first += n;
        }
        return 0;
}

/* What is a hole stays one. */
static int save_spool(struct file *file, int descriptor)
{
        int error = ftruncate(descriptor, (off_t)file->size) < 0 ? -errno : 0;
        for (off_t first, end = 0; !error;) {
                first = lseek(file->spool, end, SEEK_DATA);
                if (first < 0)
                        return errno == ENXIO ? 0 : -errno; /* ENXIO: no more data */
                end = lseek(file->spool, first, SEEK_HOLE);
                error = end < 0 ? -errno : save_piece(file, descriptor, first, end);
        }
        return error;
}

/* A new file of its last name and a number that is free. */
static int create(char *path, size_t size, const char *name)
{
        char folder[3072];
        int error = local_state(folder, sizeof(folder) - strlen("/unsent"));
        if (!error)
                error = local_make(strcat(folder, "/unsent"));
        for (unsigned i = 1; !error && i < 10000; i++) {
                snprintf(path, size, "%s/%s.%u", folder, name, i);
                int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                if (descriptor >= 0)
                        return descriptor;
                if (errno != EEXIST)
                        return -errno;
        }
        return error ? error : -EEXIST;
}

int unsent_save(struct file *file)
{
        char path[REMOTE_PATH_BYTES] = "", local[4096] = "";
        if (file->gather.count == 0 && !file->spool_dirty)
                return 0;
        file_path(file, path);
        const char *slash = strrchr(path, '/');
        int descriptor = create(local, sizeof(local), slash ? slash + 1 : *path ? path : "unnamed");
        int error = descriptor < 0 ? descriptor : 0;
        if (!error)
                error = file->spool >= 0 ? save_spool(file, descriptor) : save_extents(file, descriptor);
        if (!error && fsync(descriptor) < 0)
                error = -errno;
        if (descriptor >= 0)
                close(descriptor);
        if (error)
                complain("%s: could not be sent (%s) nor be kept in %s: %s", path, strerror(-file->error), local,
                         strerror(-error));
        else
                complain("%s: could not be sent (%s); what was written is kept in %s", path, strerror(-file->error),
                         local);
        return error;
}
