/* Names in folders, by handles: each call opens the name relative to its folder (port/open_win.c), so nobody turns it
 * elsewhere.
 *
 * POSIX semantics (NTFS of Windows 10 and later) let a name be replaced or removed while others have the file open. On
 * other file systems such a name stays, so there it is opened alone first: who has it open makes that -EBUSY.
 */
#include "store/system_win.h"

#include <stdlib.h>

#define STATUS_NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define STATUS_INVALID_INFO_CLASS ((NTSTATUS)0xC0000003)
#define STATUS_INVALID_PARAMETER_CODE ((NTSTATUS)0xC000000D)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_DIRECTORY_NOT_EMPTY ((NTSTATUS)0xC0000101)
#define STATUS_CANNOT_DELETE ((NTSTATUS)0xC0000121)
#define STATUS_NOT_SAME_DEVICE ((NTSTATUS)0xC00000D4)

enum {
        SYNCHRONOUS = FILE_SYNCHRONOUS_IO_NONALERT,
        FOLDER_ACCESS = FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
        FLAG_REPLACE = 1,
        FLAG_POSIX = 2,
        PATH_UNITS = 32768,
        SUPPORTS_POSIX_UNLINK_RENAME = 0x400, /* FILE_SUPPORTS_..., of a volume */
};

static int number_of(int error, HANDLE file)
{
        return error ? error : (int)(intptr_t)file;
}

int store_wide(const char *name, WCHAR wide[OPEN_NAME_UNITS])
{
        size_t size = strlen(name);

        if (size > STORE_NAME_BYTES)
                return -ENAMETOOLONG;
        return size ? open_wide(name, size, wide) : 0;
}

/* Of a name that is to be made: what cannot be one is forbidden, not missing. */
static int wide_to_make(const char *name, WCHAR wide[OPEN_NAME_UNITS])
{
        int n = store_wide(name, wide);

        return n == -ENOENT || n == 0 ? -EACCES : n;
}

int store_open_itself(int folder, const char *name, const struct open_how *how, HANDLE *file)
{
        struct open_how synchronous = *how;
        WCHAR wide[OPEN_NAME_UNITS];
        int n = store_wide(name, wide);

        synchronous.options |= SYNCHRONOUS;
        synchronous.access |= SYNCHRONIZE | FILE_READ_ATTRIBUTES;
        return n < 0 ? n : open_itself(store_handle(folder), wide, (size_t)n, &synchronous, file);
}

NTSTATUS store_set_information(HANDLE file, const void *data, size_t size, unsigned class)
{
        IO_STATUS_BLOCK block;

        return NtSetInformationFile(file, &block, (void *)(uintptr_t)data, (ULONG)size, (FILE_INFORMATION_CLASS) class);
}

bool store_not_known(NTSTATUS status)
{
        return status == STATUS_NOT_IMPLEMENTED || status == STATUS_INVALID_INFO_CLASS ||
               status == STATUS_INVALID_PARAMETER_CODE || status == STATUS_NOT_SUPPORTED;
}

static int error_of(NTSTATUS status)
{
        switch (status) {
        case 0:
                return 0;
        case STATUS_DIRECTORY_NOT_EMPTY:
                return -ENOTEMPTY;
        case STATUS_CANNOT_DELETE:
                return -EACCES;
        case STATUS_NOT_SAME_DEVICE:
                return -EXDEV;
        default:
                return open_error(status);
        }
}

/* ---- opening ---- */

int store_open_beneath(int root, const char *path, enum store_open how, bool links)
{
        static const struct open_how all[] = {
                [STORE_OPEN_ANY] = { .access = FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                     .disposition = FILE_OPEN,
                                     .options = SYNCHRONOUS },
                [STORE_OPEN_WAY] = { .access = FILE_TRAVERSE | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                     .disposition = FILE_OPEN,
                                     .options = SYNCHRONOUS | FILE_DIRECTORY_FILE },
                [STORE_OPEN_FOLDER] = { .access = FOLDER_ACCESS,
                                        .disposition = FILE_OPEN,
                                        .options = SYNCHRONOUS | FILE_DIRECTORY_FILE },
        };
        HANDLE file = NULL;
        int error = open_beneath_as(store_handle(root), path, links ? 0 : BERTH_OPEN_NO_LINKS, &all[how], &file);

        return number_of(error, file);
}

static int open_no_link_at(int folder, const char *name, const struct open_how *how)
{
        WCHAR wide[OPEN_NAME_UNITS];
        HANDLE file = NULL;
        int n = how->disposition == FILE_CREATE ? wide_to_make(name, wide) : store_wide(name, wide);

        if (n >= 0)
                n = open_no_link(store_handle(folder), wide, (size_t)n, how, &file);
        return number_of(n, file);
}

int store_open_folder(int folder, const char *name)
{
        struct open_how how = { .access = FOLDER_ACCESS,
                                .disposition = FILE_OPEN,
                                .options = SYNCHRONOUS | FILE_DIRECTORY_FILE };
        int opened = open_no_link_at(folder, name, &how);

        return opened == -ELOOP ? -ENOTDIR : opened;
}

/* By the name that it has now: who renames it meanwhile leads astray, so its user looks what it is. */
int store_open_parent(int folder)
{
        WCHAR *path = malloc(PATH_UNITS * sizeof(*path)), *end;
        HANDLE parent = INVALID_HANDLE_VALUE;
        DWORD n = path ? GetFinalPathNameByHandleW(store_handle(folder), path, PATH_UNITS, 0) : 0;
        int error = path ? n ? n < PATH_UNITS ? 0 : -ENAMETOOLONG : iocp_error(GetLastError()) : -ENOMEM;

        end = error ? NULL : wcsrchr(path, L'\\');
        if (end) {
                *end = 0;
                parent = CreateFileW(path, FOLDER_ACCESS, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                     OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT, NULL);
                error = parent == INVALID_HANDLE_VALUE ? iocp_error(GetLastError()) : 0;
        }
        free(path);
        return number_of(!error && !end ? -ENOENT : error, parent);
}

int store_open_file(int folder, const char *name, enum store_access access)
{
        static const ACCESS_MASK masks[] = {
                [STORE_READ] = FILE_GENERIC_READ,
                [STORE_WRITE] = FILE_GENERIC_WRITE | FILE_READ_ATTRIBUTES,
                [STORE_READ_WRITE] = FILE_GENERIC_READ | FILE_GENERIC_WRITE,
        };
        struct open_how how = { .access = masks[access],
                                .disposition = FILE_OPEN,
                                .options = SYNCHRONOUS | FILE_NON_DIRECTORY_FILE };

        return open_no_link_at(folder, name, &how);
}

/* To flush it one must be allowed to write. */
int store_open_to_sync(int folder, const char *name)
{
        struct open_how how = { .access = FILE_WRITE_DATA | FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                .disposition = FILE_OPEN,
                                .options = SYNCHRONOUS };

        return open_no_link_at(folder, name, &how);
}

int store_create_file(int folder, const char *name, uint32_t mode)
{
        struct open_how how = { .access = FILE_GENERIC_READ | FILE_GENERIC_WRITE,
                                .disposition = FILE_CREATE,
                                .options = SYNCHRONOUS | FILE_NON_DIRECTORY_FILE };

        (void)mode;
        return open_no_link_at(folder, name, &how);
}

int store_create_nameless(int folder)
{
        (void)folder;
        return -EOPNOTSUPP;
}

int store_give_name(int file, int folder, const char *name)
{
        (void)file;
        (void)folder;
        (void)name;
        return -EOPNOTSUPP;
}

int store_copy_descriptor(int descriptor)
{
        HANDLE self = GetCurrentProcess(), copy;

        if (!DuplicateHandle(self, store_handle(descriptor), self, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS))
                return iocp_error(GetLastError());
        return number_of(0, copy);
}

void store_close(int descriptor)
{
        ensure(CloseHandle(store_handle(descriptor)));
}

/* ---- making, removing ---- */

int store_folder_at(int folder, const char *name, uint32_t mode)
{
        struct open_how how = { .access = FILE_READ_ATTRIBUTES | SYNCHRONIZE,
                                .disposition = FILE_CREATE,
                                .options = SYNCHRONOUS | FILE_DIRECTORY_FILE };
        int made = open_no_link_at(folder, name, &how);

        (void)mode;
        if (made < 0)
                return made;
        store_close(made);
        return 0;
}

int store_dispose(HANDLE file)
{
        ULONG flags = 1 | FLAG_POSIX; /* FILE_DISPOSITION_DELETE */
        BOOLEAN remove = TRUE;
        NTSTATUS status = store_set_information(file, &flags, sizeof(flags), STORE_CLASS_DISPOSITION_EX);

        if (store_not_known(status))
                status = store_set_information(file, &remove, sizeof(remove), STORE_CLASS_DISPOSITION);
        return error_of(status);
}

/* Whether the volume lets a name go at once though others have the file open. */
static bool goes_at_once(HANDLE file)
{
        DWORD flags = 0;

        return GetVolumeInformationByHandleW(file, NULL, 0, NULL, NULL, &flags, NULL, 0) &&
               flags & SUPPORTS_POSIX_UNLINK_RENAME;
}

static bool is_folder(HANDLE file)
{
        FILE_BASIC_INFO info;

        return GetFileInformationByHandleEx(file, FileBasicInfo, &info, sizeof(info)) &&
               info.FileAttributes & FILE_ATTRIBUTE_DIRECTORY && !open_is_link(file);
}

static int remove_at(int folder, const char *name, bool folders, bool later)
{
        struct open_how how = { .access = DELETE, .disposition = FILE_OPEN };
        HANDLE file;
        int error = store_open_itself(folder, name, &how, &file);

        if (error)
                return error;
        if (is_folder(file) != folders)
                error = folders ? -ENOTDIR : -EISDIR;
        if (!error && !later && !goes_at_once(file)) {
                CloseHandle(file);
                how.alone = true;
                error = store_open_itself(folder, name, &how, &file);
                if (error)
                        return error;
        }
        if (!error)
                error = store_dispose(file);
        CloseHandle(file);
        return error;
}

int store_unlink_at(int folder, const char *name, bool later)
{
        return remove_at(folder, name, false, later);
}

int store_rmdir_at(int folder, const char *name)
{
        return remove_at(folder, name, true, false);
}

/* ---- renaming ---- */

/* FILE_RENAME_INFORMATION, FILE_LINK_INFORMATION and the former's extended form are laid out alike. */
struct new_name {
        ULONG flags;
        HANDLE folder;
        ULONG bytes;
        WCHAR name[OPEN_NAME_UNITS];
};

static int give_name(HANDLE file, int to, const char *new_name, ULONG flags, unsigned class, NTSTATUS *status)
{
        struct new_name new = { .flags = flags, .folder = store_handle(to) };
        int n = wide_to_make(new_name, new.name);

        if (n < 0)
                return n;
        new.bytes = (ULONG)n * sizeof(new.name[0]);
        *status = store_set_information(file, &new, sizeof(new), class);
        return error_of(*status);
}

static int rename_file(HANDLE file, int to, const char *new_name, ULONG flags)
{
        NTSTATUS status = 0;
        int error = give_name(file, to, new_name, flags | FLAG_POSIX, STORE_CLASS_RENAME_EX, &status);

        if (!store_not_known(status))
                return error;
        return give_name(file, to, new_name, flags, STORE_CLASS_RENAME, &status);
}

static int open_to_rename(int folder, const char *name, HANDLE *file)
{
        return store_open_itself(folder, name, &(struct open_how){ .access = DELETE, .disposition = FILE_OPEN }, file);
}

/* Why a file could not be replaced: somebody has it open, or it is not allowed. */
static int why_not(int to, const char *new_name)
{
        struct open_how how = { .access = DELETE, .disposition = FILE_OPEN, .alone = true };
        HANDLE file;
        int error = store_open_itself(to, new_name, &how, &file);

        if (error)
                return error == -ENOENT ? -EACCES : error;
        CloseHandle(file);
        return -EACCES;
}

/* Folders are not replaced by Windows: an empty one is removed first. Where nothing is to be seen nothing is replaced:
 * the name may be another one of a file that has a longer one. */
static int make_way(HANDLE file, int to, const char *new_name, ULONG *flags)
{
        struct store_state there;
        int error = store_stat_at(to, new_name, &there);
        bool folder = is_folder(file);

        *flags = error ? 0 : FLAG_REPLACE;
        if (error)
                return error == -ENOENT ? 0 : error;
        if (there.kind != STORE_IS_FOLDER)
                return folder ? -ENOTDIR : 0;
        return folder ? store_rmdir_at(to, new_name) : -EISDIR;
}

static bool is_same(HANDLE file, int to, const char *new_name)
{
        struct store_state one, other;

        return store_stat_of((int)(intptr_t)file, &one) == 0 && store_stat_at(to, new_name, &other) == 0 &&
               one.inode == other.inode && one.device == other.device;
}

int store_rename_at(int from, const char *name, int to, const char *new_name)
{
        ULONG flags = FLAG_REPLACE;
        HANDLE file;
        int error = open_to_rename(from, name, &file);

        if (error)
                return error;
        if (!is_same(file, to, new_name)) /* else it gets other capital letters */
                error = make_way(file, to, new_name, &flags);
        if (!error)
                error = rename_file(file, to, new_name, flags);
        CloseHandle(file);
        return error == -EACCES ? why_not(to, new_name) : error;
}

int store_rename_new(int from, const char *name, int to, const char *new_name)
{
        HANDLE file;
        int error = open_to_rename(from, name, &file);

        if (error)
                return error;
        error = rename_file(file, to, new_name, 0);
        CloseHandle(file);
        return error;
}

int store_exchange_at(int folder, const char *name, int other, const char *other_name)
{
        (void)folder;
        (void)name;
        (void)other;
        (void)other_name;
        return -EINVAL;
}

/* ---- links ---- */

int store_link_at(int folder, const char *name, int to, const char *new_name)
{
        struct open_how how = { .access = FILE_WRITE_ATTRIBUTES, .disposition = FILE_OPEN };
        NTSTATUS status;
        HANDLE file;
        int error = store_open_itself(folder, name, &how, &file);

        if (error)
                return error;
        error = is_folder(file) ? -EPERM : give_name(file, to, new_name, 0, STORE_CLASS_LINK, &status);
        CloseHandle(file);
        return error;
}

int store_symlink_at(const char *target, int folder, const char *name)
{
        (void)target;
        (void)folder;
        (void)name;
        return -EPERM;
}

ssize_t store_readlink_at(int folder, const char *name, char *out, size_t size)
{
        (void)folder;
        (void)name;
        (void)out;
        (void)size;
        return -EINVAL;
}
