/* What is in files. */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(struct berth_vec) == sizeof(struct iovec), "one is passed for the other");

ssize_t store_read_at(int file, void *data, size_t size, uint64_t offset)
{
        ssize_t n = pread(file, data, size, (off_t)offset);

        return n < 0 ? -errno : n;
}

ssize_t store_write_at(int file, const void *data, size_t size, uint64_t offset)
{
        ssize_t n = pwrite(file, data, size, (off_t)offset);

        return n < 0 ? -errno : n;
}

ssize_t store_writev_at(int file, const struct berth_vec *vecs, int count, uint64_t offset)
{
        ssize_t n = pwritev(file, (const struct iovec *)vecs, count, (off_t)offset);

        return n < 0 ? -errno : n;
}

int store_resize(int file, uint64_t size)
{
        return ftruncate(file, (off_t)size) < 0 ? -errno : 0;
}

int store_reserve(int file, uint64_t offset, uint64_t size)
{
        int result;

        do
                result = fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
        while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : 0;
}

int store_clone(int from, int to)
{
        return ioctl(to, FICLONE, from) < 0 ? -errno : 0;
}

ssize_t store_copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size)
{
        off_t in = (off_t)from_offset, out = (off_t)to_offset;
        ssize_t n = copy_file_range(from, &in, to, &out, size, 0);

        return n < 0 ? -errno : n;
}

void store_next_data(int file, uint64_t at, uint64_t size, uint64_t *start, uint64_t *end)
{
        off_t data = lseek(file, (off_t)at, SEEK_DATA), hole;

        *start = size;
        *end = size;
        if (data < 0 && errno == ENXIO)
                return; /* a hole up to the end */
        data = data < 0 ? (off_t)at : data;
        hole = lseek(file, data, SEEK_HOLE);
        *start = min_of((uint64_t)data, size);
        if (hole > data)
                *end = min_of((uint64_t)hole, size);
}

int store_sync_file(int file)
{
        return fsync(file) < 0 ? -errno : 0;
}

/* Some file systems have nothing to sync of a folder, and say so in these words. */
int store_sync_folder(int folder)
{
        return fsync(folder) < 0 && errno != EINVAL && errno != EBADF && errno != EOPNOTSUPP ? -errno : 0;
}
