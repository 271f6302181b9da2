/* Files of the program itself: what it is configured by and what it logs. Their descriptors are the C library's; that of
 * a folder is the number of a handle, as libberth has it. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <share.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>
#include <windows.h>

enum {
        MAX_WIDE = 32768,
        SHORT_WIDE = 248, /* what a folder's path may have without the prefix below */
        PREFIX = 8,
};

/* The whole path; 0 units: it has none. */
static DWORD full_path(const char *path, wchar_t full[MAX_WIDE])
{
        wchar_t given[MAX_WIDE];
        bool known = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, given, MAX_WIDE) > 0;
        DWORD length = known ? GetFullPathNameW(given, MAX_WIDE, full, NULL) : 0;
        return length < MAX_WIDE ? length : 0;
}

/* A long path gets the prefix by which Windows takes it ("Maximum Path Length Limitation"). It lies in `room`. */
static wchar_t *wide_of(const char *path, wchar_t room[PREFIX + MAX_WIDE])
{
        wchar_t *full = room + PREFIX;
        DWORD length = full_path(path, full);
        if (length == 0)
                return NULL;
        if (length < SHORT_WIDE || wcsncmp(full, L"\\\\?\\", 4) == 0 || wcsncmp(full, L"\\\\.\\", 4) == 0)
                return full;
        const wchar_t *prefix = wcsncmp(full, L"\\\\", 2) == 0 ? L"\\\\?\\UNC\\" : L"\\\\?\\";
        wchar_t *rest = prefix[4] ? full + 2 : full;
        return wmemcpy(rest - wcslen(prefix), prefix, wcslen(prefix));
}

int plain_open(const char *path, enum plain_use use)
{
        static const int flags[] = {
                [PLAIN_READ] = _O_RDONLY,
                [PLAIN_APPEND] = _O_WRONLY | _O_CREAT | _O_APPEND,
                [PLAIN_REPLACE] = _O_WRONLY | _O_CREAT | _O_TRUNC,
        };
        wchar_t room[PREFIX + MAX_WIDE], *wide = wide_of(path, room);
        if (!wide)
                return -ENOENT;
        int descriptor = _wsopen(wide, flags[use] | _O_BINARY | _O_NOINHERIT, _SH_DENYNO, _S_IREAD | _S_IWRITE);
        return descriptor < 0 ? -errno : descriptor;
}

int plain_standard_output(void)
{
        int descriptor = _dup(STDOUT_FILENO);
        if (descriptor < 0)
                return -errno;
        _setmode(descriptor, _O_BINARY);
        return descriptor;
}

int plain_put_in_place(int fresh, int descriptor)
{
        int error = _dup2(fresh, descriptor) < 0 ? -errno : 0;
        _close(fresh);
        return error;
}

/* Who may read it stands in access lists, which are inherited from the folder: there is no such bit. */
bool plain_is_public(int descriptor)
{
        (void)descriptor;
        return false;
}

void plain_write_all(int descriptor, const char *data, size_t size)
{
        while (size > 0) {
                int n = _write(descriptor, data, (unsigned)min_of(size, (size_t)1 << 20));
                if (n <= 0)
                        return; /* the disk is full or the pipe is gone: nothing here could mend it */
                data += n;
                size -= (size_t)n;
        }
}

static int open_folder(const wchar_t *wide)
{
        enum { SHARED = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE };
        BY_HANDLE_FILE_INFORMATION info;
        HANDLE folder = CreateFileW(wide, FILE_GENERIC_READ | FILE_TRAVERSE, SHARED, NULL, OPEN_EXISTING,
                                    FILE_FLAG_BACKUP_SEMANTICS, NULL);
        if (folder == INVALID_HANDLE_VALUE)
                return GetLastError() == ERROR_ACCESS_DENIED ? -EACCES : -ENOENT;
        if (GetFileInformationByHandle(folder, &info) && info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
                return (int)(intptr_t)folder;
        CloseHandle(folder);
        return -ENOTDIR;
}

int plain_open_folder(const char *path)
{
        wchar_t room[PREFIX + MAX_WIDE], *wide = wide_of(path, room);
        return wide ? open_folder(wide) : -ENOENT;
}

void plain_close_folder(int descriptor)
{
        if (descriptor >= 0)
                CloseHandle((HANDLE)(intptr_t)descriptor);
}

void plain_folder_name(const char *path, char *out, size_t size)
{
        wchar_t full[MAX_WIDE];
        if (full_path(path, full) == 0 || WideCharToMultiByte(CP_UTF8, 0, full, -1, out, (int)size, NULL, NULL) == 0)
                snprintf(out, size, "%s", path);
}
