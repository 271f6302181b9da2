/* Reading an open file on a worker thread. */
#include "store/store.h"

#include <errno.h>
#include <unistd.h>

int64_t store_file_read(const struct store_file *file, void *data, size_t size, uint64_t offset)
{
        ssize_t n = pread(berth_file_descriptor(&file->handle), data, size, (off_t)offset);
        return n < 0 ? -errno : n;
}
