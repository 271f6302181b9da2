/* Names, opening and errors on Windows, for all who speak to it. */
#ifndef PORT_SYSTEM_WIN_H
#define PORT_SYSTEM_WIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <winsock2.h>
#include <windows.h>
#include <winternl.h>

/* What GetLastError() or WSAGetLastError() says, as a negative errno; 0 for 0 and for the end of a file. */
int iocp_error(DWORD code);
/* The same of what the kernel's own calls return. */
int open_error(NTSTATUS status);

enum { OPEN_NAME_UNITS = 255 }; /* UTF-16, what NTFS has */

/* A name of a file, in UTF-16 units: how many. -ENOENT what Windows would take for something else, or is no UTF-8;
 * -ENAMETOOLONG. */
int open_wide(const char *name, size_t size, WCHAR wide[OPEN_NAME_UNITS]);

struct open_how {
        ACCESS_MASK access;
        ULONG disposition; /* FILE_OPEN, FILE_CREATE, FILE_OPEN_IF */
        ULONG options;
        ULONG share; /* 0: shared with all */
        bool alone;  /* shared with nobody */
};

/* `name` in `folder` itself, never what it stands for; of no units the folder. 0 or -errno. */
int open_itself(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, HANDLE *file);
/* The same, and -ELOOP of a link. What is a reparse point and no link is opened as the file that it is. */
int open_no_link(HANDLE folder, const WCHAR *name, size_t size, const struct open_how *how, HANDLE *file);
/* Only what stands for another place is a link; other reparse points (a file kept elsewhere, or compressed) are
 * files. */
bool open_is_link(HANDLE file);

/* The flags are those of berth_open(). A handle, or -errno. */
int64_t open_beneath(HANDLE root, const char *path, unsigned flags);
/* The last name opened like that, flags of berth_open() for the way. */
int open_beneath_as(HANDLE root, const char *path, unsigned flags, const struct open_how *how, HANDLE *file);

#endif
