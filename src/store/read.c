/* Reading an open file on a worker thread. */
#include "store/store_priv.h"
#include "store/system.h"

int64_t store_file_read(const struct store_file *file, void *data, size_t size, uint64_t offset)
{
        return store_read_at(berth_file_descriptor(&file->handle), data, size, offset);
}
