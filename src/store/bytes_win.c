/* What is in files. Our own handles are synchronous; those of a port's files are not, and their packets must not come for
 * reads of ours. */
#include "store/system_win.h"

enum { MOST_BYTES = 1 << 30 };

static OVERLAPPED place_of(uint64_t offset)
{
        return (OVERLAPPED){ .Offset = (DWORD)offset, .OffsetHigh = (DWORD)(offset >> 32) };
}

/* The lowest bit of the event keeps the packet away (GetQueuedCompletionStatus, lpOverlapped). */
ssize_t store_read_at(int file, void *data, size_t size, uint64_t offset)
{
        HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
        OVERLAPPED place = place_of(offset);
        DWORD n = 0, code = 0;

        if (!event)
                return -ENOMEM;
        place.hEvent = (HANDLE)((uintptr_t)event | 1);
        if (!ReadFile(store_handle(file), data, (DWORD)min_of(size, (size_t)MOST_BYTES), NULL, &place))
                code = GetLastError();
        if (code == 0 || code == ERROR_IO_PENDING)
                code = GetOverlappedResult(store_handle(file), &place, &n, TRUE) ? 0 : GetLastError();
        CloseHandle(event);
        return code ? iocp_error(code) : (ssize_t)n; /* 0 at the end */
}

ssize_t store_write_at(int file, const void *data, size_t size, uint64_t offset)
{
        OVERLAPPED place = place_of(offset);
        DWORD n = 0;

        if (!WriteFile(store_handle(file), data, (DWORD)min_of(size, (size_t)MOST_BYTES), &n, &place))
                return iocp_error(GetLastError());
        return (ssize_t)n;
}

/* The first of them; the caller goes on with the rest. */
ssize_t store_writev_at(int file, const struct berth_vec *vecs, int count, uint64_t offset)
{
        return count > 0 && vecs[0].size > 0 ? store_write_at(file, vecs[0].data, vecs[0].size, offset) : 0;
}

int store_resize(int file, uint64_t size)
{
        FILE_END_OF_FILE_INFO end = { .EndOfFile.QuadPart = (LONGLONG)size };

        if (!SetFileInformationByHandle(store_handle(file), FileEndOfFileInfo, &end, sizeof(end)))
                return iocp_error(GetLastError());
        return 0;
}

/* What is allocated must not be less than the size. */
int store_reserve(int file, uint64_t offset, uint64_t size)
{
        FILE_ALLOCATION_INFO room = { .AllocationSize.QuadPart = (LONGLONG)(offset + size) };
        LARGE_INTEGER now;

        if (!GetFileSizeEx(store_handle(file), &now) || now.QuadPart >= room.AllocationSize.QuadPart)
                return 0;
        if (!SetFileInformationByHandle(store_handle(file), FileAllocationInfo, &room, sizeof(room)))
                return iocp_error(GetLastError());
        return 0;
}

int store_clone(int from, int to)
{
        (void)from;
        (void)to;
        return -EOPNOTSUPP;
}

ssize_t store_copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size)
{
        (void)from;
        (void)from_offset;
        (void)to;
        (void)to_offset;
        (void)size;
        return -EOPNOTSUPP;
}

void store_next_data(int file, uint64_t at, uint64_t size, uint64_t *start, uint64_t *end)
{
        (void)file;
        *start = at;
        *end = size;
}

int store_sync_file(int file)
{
        return FlushFileBuffers(store_handle(file)) ? 0 : iocp_error(GetLastError());
}

/* A folder that was opened to be read is opened once more to be written. */
int store_sync_folder(int folder)
{
        int error = store_sync_file(folder), again;

        if (error != -EACCES)
                return error;
        again = store_open_to_sync(folder, "");
        if (again < 0)
                return again;
        error = store_sync_file(again);
        store_close(again);
        return error == -EINVAL || error == -EOPNOTSUPP ? 0 : error;
}
