/* Opening beneath a root folder, one name after the other, each relative to the handle of the folder before it: what
 * the path says cannot be turned elsewhere meanwhile. Windows takes many names for another thing than they look like
 * (a device, a stream, the same name without its last dot); these are nobody's. Links are not followed. */
#include "port/iocp.h"

/* As ntstatus.h has them, which does not go together with windows.h. */
#define STATUS_FILE_IS_A_DIRECTORY ((NTSTATUS)0xC00000BA)
#define STATUS_NOT_A_DIRECTORY ((NTSTATUS)0xC0000103)
#define STATUS_OBJECT_NAME_INVALID ((NTSTATUS)0xC0000033)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_OBJECT_PATH_NOT_FOUND ((NTSTATUS)0xC000003A)
#define STATUS_OBJECT_PATH_SYNTAX_BAD ((NTSTATUS)0xC000003B)
#define STATUS_DELETE_PENDING ((NTSTATUS)0xC0000056)

enum {
        MAX_LEVELS = 256, /* folders on the way, where ".." may have to go back */
};

/* ---- names ---- */

static bool is_device(const WCHAR *name, size_t size)
{
        static const WCHAR *const devices[] = { L"CON", L"PRN", L"AUX", L"NUL", L"CONIN$", L"CONOUT$" };
        size_t stem = 0;
        while (stem < size && name[stem] != L'.')
                stem++;
        while (stem > 0 && name[stem - 1] == L' ')
                stem--;
        for (size_t i = 0; i < array_count(devices); i++)
                if (stem == wcslen(devices[i]) && _wcsnicmp(name, devices[i], stem) == 0)
                        return true;
        if (stem != 4 || (_wcsnicmp(name, L"COM", 3) != 0 && _wcsnicmp(name, L"LPT", 3) != 0))
                return false;
        return (name[3] >= L'0' && name[3] <= L'9') || name[3] == 0xb9 || name[3] == 0xb2 || name[3] == 0xb3;
}

static bool is_plain(const WCHAR *name, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (name[i] < L' ' || wcschr(L"\\/:*?\"<>|", name[i]))
                        return false;
        return size > 0 && name[size - 1] != L'.' && name[size - 1] != L' ' && !is_device(name, size);
}

int open_wide(const char *name, size_t size, WCHAR wide[OPEN_NAME_UNITS])
{
        if (size > OPEN_NAME_UNITS * 3)
                return -ENAMETOOLONG;
        WCHAR room[OPEN_NAME_UNITS * 3];
        int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, (int)size, room, (int)array_count(room));
        if (n > OPEN_NAME_UNITS)
                return -ENAMETOOLONG;
        if (n <= 0 || !is_plain(room, (size_t)n))
                return -ENOENT;
        memcpy(wide, room, (size_t)n * sizeof(*wide));
        return n;
}

/* ---- one step ---- */

int open_error(NTSTATUS status)
{
        switch (status) {
        case STATUS_FILE_IS_A_DIRECTORY:
                return -EISDIR;
        case STATUS_NOT_A_DIRECTORY:
                return -ENOTDIR;
        case STATUS_OBJECT_NAME_NOT_FOUND:
        case STATUS_OBJECT_PATH_NOT_FOUND:
        case STATUS_OBJECT_NAME_INVALID:
        case STATUS_OBJECT_PATH_SYNTAX_BAD:
        case STATUS_DELETE_PENDING:
                return -ENOENT;
        default:
                return iocp_error(RtlNtStatusToDosError(status));
        }
}

bool open_is_link(HANDLE file)
{
        FILE_ATTRIBUTE_TAG_INFO info;
        return GetFileInformationByHandleEx(file, FileAttributeTagInfo, &info, sizeof(info)) &&
               info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT && IsReparseTagNameSurrogate(info.ReparseTag);
}

static bool is_reparse_point(HANDLE file)
{
        FILE_ATTRIBUTE_TAG_INFO info;
        return GetFileInformationByHandleEx(file, FileAttributeTagInfo, &info, sizeof(info)) &&
               info.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT;
}

static int create(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, ULONG disposition,
                  ULONG options, HANDLE *file)
{
        UNICODE_STRING string = { (USHORT)(size * sizeof(*name)), (USHORT)(size * sizeof(*name)), (WCHAR *)name };
        OBJECT_ATTRIBUTES attributes = {
                .Length = sizeof(attributes),
                .RootDirectory = folder,
                .ObjectName = &string,
                .Attributes = OBJ_CASE_INSENSITIVE,
        };
        ULONG share = how->share ? how->share : FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        IO_STATUS_BLOCK status;
        NTSTATUS result = NtCreateFile(file, how->access, &attributes, &status, NULL, FILE_ATTRIBUTE_NORMAL,
                                       how->alone ? 0 : share, disposition, options, NULL, 0);
        return result ? open_error(result) : 0;
}

/* Another name of a file, which Windows gives where its own is long: what is said of the file's name (hidden, staging)
 * would not be said of that. Such names have a ~ and at most eight characters, a dot and three. */
static bool may_be_short(const WCHAR *name, size_t size)
{
        bool tilde = false;
        for (size_t i = 0; i < size; i++)
                tilde |= name[i] == L'~';
        return tilde && size <= 12;
}

/* What cannot be found out is taken for one. */
static bool is_short(HANDLE file, const WCHAR *name, size_t size)
{
        enum { UNITS = 32768 };
        WCHAR *path = malloc(UNITS * sizeof(*path));
        DWORD n = path ? GetFinalPathNameByHandleW(file, path, UNITS, FILE_NAME_NORMALIZED | VOLUME_NAME_NONE) : 0;
        bool same = n > size && n < UNITS && path[n - size - 1] == L'\\' && _wcsnicmp(path + n - size, name, size) == 0;
        free(path);
        return !same;
}

int open_itself(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, HANDLE *file)
{
        int error = create(folder, name, size, how, how->disposition, how->options | FILE_OPEN_REPARSE_POINT, file);
        if (error || !may_be_short(name, size) || !is_short(*file, name, size))
                return error;
        CloseHandle(*file);
        return -ENOENT;
}

int open_no_link(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, HANDLE *file)
{
        int error = open_itself(folder, name, size, how, file);
        if (error || !is_reparse_point(*file))
                return error;
        bool link = open_is_link(*file);
        CloseHandle(*file);
        return link ? -ELOOP : create(folder, name, size, how, FILE_OPEN, how->options, file);
}

static int open_name(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, unsigned flags,
                     HANDLE *file)
{
        int error = open_no_link(folder, name, size, how, file);
        return error == -ELOOP && !(flags & BERTH_OPEN_NO_LINKS) ? -EXDEV : error;
}

/* ---- the way ---- */

struct way {
        HANDLE folders[MAX_LEVELS]; /* the first is the root, which is the caller's */
        unsigned level;
};

static void leave(struct way *way)
{
        CloseHandle(way->folders[way->level--]);
}

static int enter(struct way *way, const char *name, size_t size, unsigned flags)
{
        WCHAR wide[OPEN_NAME_UNITS];
        int n = open_wide(name, size, wide);
        if (n < 0)
                return n;
        if (way->level + 1 == MAX_LEVELS)
                return -ENAMETOOLONG;
        struct open_how how = { .access = FILE_TRAVERSE | FILE_READ_ATTRIBUTES,
                                .disposition = FILE_OPEN,
                                .options = FILE_DIRECTORY_FILE };
        int error = open_name(way->folders[way->level], wide, (size_t)n, &how, flags, &way->folders[way->level + 1]);
        if (!error)
                way->level++;
        return error;
}

static int open_last(HANDLE folder, const char *name, size_t size, unsigned flags, const struct open_how *how,
                     HANDLE *file)
{
        WCHAR wide[OPEN_NAME_UNITS];
        int n = size ? open_wide(name, size, wide) : 0;
        if (n < 0)
                return flags & BERTH_OPEN_CREATE && n == -ENOENT ? -EACCES : n;
        if (size == 0 && flags & (BERTH_OPEN_WRITE | BERTH_OPEN_CREATE))
                return -EISDIR;
        return open_name(folder, wide, (size_t)n, how, flags, file);
}

static bool is_dots(const char *name, size_t size, size_t dots)
{
        return size == dots && memcmp(name, "..", dots) == 0;
}

/* Goes to the folder that the last name is in. *last is "" where the path ends with a folder that is entered. */
static int walk(struct way *way, const char *path, unsigned flags, const char **last, size_t *size)
{
        if (*path == '/')
                return -EXDEV;
        for (;;) {
                path += strspn(path, "/");
                *last = path;
                *size = strcspn(path, "/");
                path += *size;
                bool is_last = path[strspn(path, "/")] == 0, here = *size == 0 || is_dots(*last, *size, 1);
                int error = 0;
                if (is_dots(*last, *size, 2)) {
                        if (way->level == 0)
                                return -EXDEV;
                        leave(way);
                        here = true;
                } else if (!here && (!is_last || *path == '/')) {
                        error = enter(way, *last, *size, flags);
                        here = true;
                }
                if (error || is_last) {
                        *size = here ? 0 : *size;
                        return error;
                }
        }
}

int open_beneath_as(HANDLE root, const char *path, unsigned flags, const struct open_how *how, HANDLE *file)
{
        struct way way = { .folders = { root } };
        const char *last;
        size_t size;
        int error = walk(&way, path, flags, &last, &size);
        if (!error)
                error = open_last(way.folders[way.level], last, size, flags, how, file);
        while (way.level > 0)
                leave(&way);
        return error;
}

int64_t open_beneath(HANDLE root, const char *path, unsigned flags)
{
        struct open_how how = {
                .access = FILE_GENERIC_READ | (flags & BERTH_OPEN_WRITE ? FILE_GENERIC_WRITE : 0),
                .disposition = flags & BERTH_OPEN_CREATE ? FILE_OPEN_IF : FILE_OPEN,
                .options = flags & BERTH_OPEN_FOLDER                        ? FILE_DIRECTORY_FILE
                           : flags & (BERTH_OPEN_WRITE | BERTH_OPEN_CREATE) ? FILE_NON_DIRECTORY_FILE
                                                                            : 0,
        };
        HANDLE file;
        int error = open_beneath_as(root, path, flags, &how, &file);
        return error ? error : (int64_t)(intptr_t)file;
}
