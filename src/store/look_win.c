/* What Windows tells of files, and what can be set of them beside their content. There are no permission bits: a file is
 * told as one that may be written or not. */
#include "store/system_win.h"

enum { TICKS_PER_SECOND = 10000000, NS_PER_TICK = 100 };

static const int64_t unix_epoch_s = 11644473600; /* since 1601 */

static struct timespec time_of(int64_t ticks)
{
        int64_t seconds = ticks / TICKS_PER_SECOND, rest = ticks % TICKS_PER_SECOND;

        return (struct timespec){ .tv_sec = seconds - unix_epoch_s, .tv_nsec = (long)rest * NS_PER_TICK };
}

/* 0 would mean: as it is. */
static int ticks_of(const struct timespec *time, LARGE_INTEGER *ticks)
{
        if (time->tv_sec < -unix_epoch_s || time->tv_sec > INT64_MAX / TICKS_PER_SECOND - unix_epoch_s - 1)
                return -EINVAL;
        ticks->QuadPart = max_of((time->tv_sec + unix_epoch_s) * TICKS_PER_SECOND + time->tv_nsec / NS_PER_TICK, 1);
        return 0;
}

/* ---- looking ---- */

static uint32_t mode_of(DWORD attributes)
{
        if (attributes & FILE_ATTRIBUTE_DIRECTORY)
                return 0755;
        return attributes & FILE_ATTRIBUTE_READONLY ? 0444 : 0644;
}

static enum store_kind kind_of(HANDLE file, DWORD attributes)
{
        if (attributes & FILE_ATTRIBUTE_REPARSE_POINT && open_is_link(file))
                return STORE_IS_LINK;
        return attributes & FILE_ATTRIBUTE_DIRECTORY ? STORE_IS_FOLDER : STORE_IS_FILE;
}

static int stat_handle(HANDLE file, struct store_state *state)
{
        BY_HANDLE_FILE_INFORMATION info;
        FILE_BASIC_INFO basic;

        *state = (struct store_state){ .kind = STORE_NOTHING };
        if (!GetFileInformationByHandle(file, &info) ||
            !GetFileInformationByHandleEx(file, FileBasicInfo, &basic, sizeof(basic)))
                return iocp_error(GetLastError());
        *state = (struct store_state){
                .kind = kind_of(file, info.dwFileAttributes),
                .size = (uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow,
                .inode = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow,
                .device = info.dwVolumeSerialNumber,
                .mode = mode_of(info.dwFileAttributes),
                .links = info.nNumberOfLinks,
                .modified = time_of(basic.LastWriteTime.QuadPart),
                .changed = time_of(basic.ChangeTime.QuadPart),
                .born = time_of(basic.CreationTime.QuadPart),
        };
        if (state->kind != STORE_IS_FILE)
                state->size = 0;
        return 0;
}

int store_stat_at(int folder, const char *name, struct store_state *state)
{
        struct open_how how = { .access = FILE_READ_ATTRIBUTES, .disposition = FILE_OPEN };
        HANDLE file;
        int error = store_open_itself(folder, name, &how, &file);

        if (error)
                return error;
        error = stat_handle(file, state);
        CloseHandle(file);
        return error;
}

int store_stat_of(int descriptor, struct store_state *state)
{
        return stat_handle(store_handle(descriptor), state);
}

/* ---- times ---- */

int store_set_time_of(int file, const struct timespec *modified)
{
        FILE_BASIC_INFO basic = { 0 };
        int error = ticks_of(modified, &basic.LastWriteTime);

        if (error)
                return error;
        if (!SetFileInformationByHandle(store_handle(file), FileBasicInfo, &basic, sizeof(basic)))
                return iocp_error(GetLastError());
        return 0;
}

int store_set_time_at(int folder, const char *name, const struct timespec *modified)
{
        struct open_how how = { .access = FILE_WRITE_ATTRIBUTES, .disposition = FILE_OPEN };
        HANDLE file;
        int error = store_open_itself(folder, name, &how, &file);

        if (error)
                return error;
        error = store_set_time_of((int)(intptr_t)file, modified);
        CloseHandle(file);
        return error;
}

long store_time_grain_ns(void)
{
        return NS_PER_TICK;
}

/* NTFS may stamp a file that was written when its handle is closed, but not where its time was set by that handle. */
void store_keep_time(int file)
{
        struct store_state state;

        if (store_stat_of(file, &state) == 0)
                store_set_time_of(file, &state.modified);
}

struct timespec store_stamp_time(void)
{
        FILETIME now;

        GetSystemTimeAsFileTime(&now);
        return time_of((int64_t)((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime));
}

/* ---- modes, owners, room ---- */

int store_set_mode_of(int descriptor, uint32_t mode)
{
        struct store_state state;
        int error = store_stat_of(descriptor, &state);

        return error ? error : state.mode == mode ? 0 : -EPERM;
}

int store_set_mode_at(int folder, const char *name, uint32_t mode)
{
        struct store_state state;
        int error = store_stat_at(folder, name, &state);

        return error ? error : state.mode == mode ? 0 : -EPERM;
}

/* A new file has the access list that its folder wants. */
int store_take_owner(int file, int folder, const char *name, uint32_t *mode)
{
        struct store_state state;
        int error = store_stat_of(file, &state);

        (void)folder;
        (void)name;
        *mode = state.mode;
        return error;
}

/* FILE_FS_FULL_SIZE_INFORMATION */
struct full_size {
        LARGE_INTEGER total, callers, free;
        ULONG unit_sectors, sector_bytes;
};

int store_room_of(int descriptor, uint64_t *available, uint64_t *used)
{
        struct full_size size;
        IO_STATUS_BLOCK block;
        NTSTATUS status = NtQueryVolumeInformationFile(store_handle(descriptor), &block, &size, sizeof(size),
                                                       FileFsFullSizeInformation);
        uint64_t unit;

        if (status)
                return open_error(status);
        unit = (uint64_t)size.unit_sectors * size.sector_bytes;
        *available = (uint64_t)size.callers.QuadPart * unit;
        *used = (uint64_t)(size.total.QuadPart - size.free.QuadPart) * unit;
        return 0;
}
