/* The lab's way to the system: Windows, or Wine, which says that it is. */
#include "lab.h"

#include <stdio.h>
#include <windows.h>

uint64_t lab_clock_ms(void)
{
        LARGE_INTEGER now, rate;
        QueryPerformanceCounter(&now);
        QueryPerformanceFrequency(&rate);
        return (uint64_t)now.QuadPart / (uint64_t)(rate.QuadPart / 1000);
}

double lab_cpu_seconds(void)
{
        ULARGE_INTEGER user, kernel;
        FILETIME ignored, times[2];
        GetProcessTimes(GetCurrentProcess(), &ignored, &ignored, &times[0], &times[1]);
        memcpy(&kernel, &times[0], sizeof(kernel));
        memcpy(&user, &times[1], sizeof(user));
        return (double)(kernel.QuadPart + user.QuadPart) / 1e7;
}

void lab_sleep_ms(unsigned ms)
{
        Sleep(ms);
}

void lab_set_environment(const char *name, const char *value)
{
        _putenv_s(name, value ? value : "");
}

/* Threads, events and the like come and go with what the system does for us, and are not counted. Wine does not tell how
 * many there are, so a long gap stands for their end. */
unsigned lab_open_descriptors(void)
{
        enum { STEP = 4, GAP = 256 * STEP };
        DWORD flags;
        unsigned count = 0;
        for (uintptr_t last = 0, number = STEP; number <= last + GAP; number += STEP) {
                if (!GetHandleInformation((HANDLE)number, &flags))
                        continue;
                last = number;
                DWORD type = GetFileType((HANDLE)number);
                count += type == FILE_TYPE_DISK || type == FILE_TYPE_PIPE;
        }
        return count;
}

void lab_limit_descriptors(int more)
{
        (void)more;
}

static bool on_wine(void)
{
        return GetProcAddress(GetModuleHandleA("ntdll"), "wine_get_version") != NULL;
}

const char *lab_lacks(enum lab_feature feature)
{
        switch (feature) {
        case LAB_LIMIT:
                return "Windows has no limit for the handles of a process";
        case LAB_REUSE_PORT:
                return "Windows has nothing like SO_REUSEPORT";
        case LAB_SHARED:
                return "a socket belongs to one completion port";
        case LAB_UNIX_SOCKETS:
                return on_wine() ? "Wine has no Unix sockets" : NULL;
        case LAB_REUSE:
                return on_wine() ? "on Wine a socket cannot send after DisconnectEx" : NULL;
        case LAB_LINKS:
                return "there are no FIFOs, and Wine makes no symbolic links";
        case LAB_RESETS:
                return on_wine() ? "Wine forgets a reset that nobody waits for" : NULL;
        case LAB_THOUSANDS:
                return on_wine() ? "Wine is slow with thousands of connections" : NULL;
        default:
                return NULL;
        }
}

/* ---- plain sockets and pipes ---- */

int lab_plain_listener(struct sockaddr_storage *address, bool listening)
{
        SOCKET listener = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int bytes = sizeof(any);
        assert_true(listener != INVALID_SOCKET);
        assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
        if (listening)
                assert_int_equal(listen(listener, 64), 0);
        assert_int_equal(getsockname(listener, (struct sockaddr *)&any, &bytes), 0);
        memcpy(address, &any, sizeof(any));
        return (int)listener;
}

int lab_plain_connect(const struct lab *lab)
{
        SOCKET client = socket(AF_INET, SOCK_STREAM, 0);
        struct linger abort_it = { .l_onoff = 1 };
        assert_true(client != INVALID_SOCKET);
        assert_int_equal(connect(client, (const struct sockaddr *)&lab->address, (int)lab->address_bytes), 0);
        setsockopt(client, SOL_SOCKET, SO_LINGER, (char *)&abort_it, sizeof(abort_it));
        return (int)client;
}

void lab_plain_send(int descriptor, const char *data, size_t size)
{
        assert_int_equal(send((SOCKET)descriptor, data, (int)size, 0), size);
}

int lab_plain_duplicate(int descriptor)
{
        WSAPROTOCOL_INFOW info;
        assert_int_equal(WSADuplicateSocketW((SOCKET)descriptor, GetCurrentProcessId(), &info), 0);
        return (int)WSASocketW(AF_INET, SOCK_STREAM, 0, &info, 0, WSA_FLAG_OVERLAPPED);
}

void lab_plain_close(int descriptor)
{
        closesocket((SOCKET)descriptor);
}

static HANDLE handle_of(int descriptor)
{
        return (HANDLE)(intptr_t)descriptor;
}

void lab_pipe(int pipes[2])
{
        HANDLE ends[2];
        assert_true(CreatePipe(&ends[0], &ends[1], NULL, 0));
        pipes[0] = (int)(intptr_t)ends[0];
        pipes[1] = (int)(intptr_t)ends[1];
}

void lab_pipe_write(int descriptor)
{
        DWORD bytes;
        assert_true(WriteFile(handle_of(descriptor), "x", 1, &bytes, NULL));
}

void lab_pipe_read(int descriptor)
{
        char byte;
        DWORD bytes;
        assert_true(ReadFile(handle_of(descriptor), &byte, 1, &bytes, NULL) && bytes == 1);
}

void lab_pipe_close(int descriptor)
{
        CloseHandle(handle_of(descriptor));
}

/* ---- files ---- */

int lab_system_folder(char *path, size_t size)
{
        static unsigned number;
        char above[MAX_PATH];
        assert_true(GetTempPathA(sizeof(above), above) > 0);
        do /* one that a test left when it failed is not taken: Wine counts processes anew each time */
                assert_true((size_t)snprintf(path, size, "%sberth-%lu-%u", above, GetCurrentProcessId(), number++) <
                            size);
        while (!CreateDirectoryA(path, NULL) && GetLastError() == ERROR_ALREADY_EXISTS && number < 1000);
        HANDLE folder = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED, NULL);
        assert_true(folder != INVALID_HANDLE_VALUE);
        return (int)(intptr_t)folder;
}

/* By the form of paths that may be long. */
static void remove_all(const WCHAR *path)
{
        enum { ROOM = 1024 };
        WCHAR inside[ROOM];
        WIN32_FIND_DATAW found;
        assert_true(swprintf(inside, ROOM, L"%ls\\*", path) > 0);
        HANDLE search = FindFirstFileW(inside, &found);
        assert_true(search != INVALID_HANDLE_VALUE);
        do {
                if (wcscmp(found.cFileName, L".") == 0 || wcscmp(found.cFileName, L"..") == 0)
                        continue;
                assert_true(swprintf(inside, ROOM, L"%ls\\%ls", path, found.cFileName) > 0);
                if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
                        remove_all(inside);
                else
                        assert_true(DeleteFileW(inside));
        } while (FindNextFileW(search, &found));
        FindClose(search);
        assert_true(RemoveDirectoryW(path));
}

void lab_remove_folder(const char *path)
{
        WCHAR whole[MAX_PATH];
        assert_true(swprintf(whole, MAX_PATH, L"\\\\?\\%hs", path) > 0);
        remove_all(whole);
}

void lab_make_subfolder(const char *path)
{
        assert_true(CreateDirectoryA(path, NULL));
}

void lab_make_link(const char *target, const char *path)
{
        assert_true(CreateSymbolicLinkA(path, target, SYMBOLIC_LINK_FLAG_ALLOW_UNPRIVILEGED_CREATE));
}

void lab_make_fifo(const char *path)
{
        fail_msg("%s: no FIFOs here", path);
}

static HANDLE open_to_write(const char *path, DWORD disposition)
{
        HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                  disposition, 0, NULL);
        assert_true(file != INVALID_HANDLE_VALUE);
        return file;
}

void lab_write_file(const char *path, const char *data, size_t size)
{
        HANDLE file = open_to_write(path, CREATE_ALWAYS);
        DWORD bytes;
        assert_true(WriteFile(file, data, (DWORD)size, &bytes, NULL) && bytes == size);
        CloseHandle(file);
}

void lab_cut_file(const char *path, uint64_t size)
{
        HANDLE file = open_to_write(path, OPEN_EXISTING);
        LARGE_INTEGER at = { .QuadPart = (LONGLONG)size };
        assert_true(SetFilePointerEx(file, at, NULL, FILE_BEGIN) && SetEndOfFile(file));
        CloseHandle(file);
}

void lab_check_opened(int64_t descriptor)
{
        DWORD flags;
        assert_true(GetHandleInformation(handle_of((int)descriptor), &flags) && !(flags & HANDLE_FLAG_INHERIT));
        CloseHandle(handle_of((int)descriptor));
}

/* Nothing here takes a file out of the cache while it is open. */
bool lab_make_cold(const struct berth_handle *file)
{
        (void)file;
        return false;
}
