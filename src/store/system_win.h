/* What the files for Windows share. */
#ifndef STORE_SYSTEM_WIN_H
#define STORE_SYSTEM_WIN_H

#include "port/system_win.h"
#include "store/store_priv.h"

#include <errno.h>

static inline HANDLE store_handle(int descriptor)
{
        return (HANDLE)(intptr_t)descriptor;
}

/* A name of at most STORE_NAME_BYTES, as it is on other systems; "" has no units. */
int store_wide(const char *name, WCHAR wide[OPEN_NAME_UNITS]);
/* `folder`/`name`, a link itself; calls on the handle return when they are done. */
int store_open_itself(int folder, const char *name, const struct open_how *how, HANDLE *file);
/* Sets what a call of NtSetInformationFile() sets; its class may be one that this Windows does not know. */
NTSTATUS store_set_information(HANDLE file, const void *data, size_t size, unsigned class);
/* Whether the status says so. */
bool store_not_known(NTSTATUS status);

enum {
        STORE_CLASS_RENAME = 10,
        STORE_CLASS_LINK = 11,
        STORE_CLASS_DISPOSITION = 13,
        STORE_CLASS_DISPOSITION_EX = 64,
        STORE_CLASS_RENAME_EX = 65,
};

/* The name goes when nobody has it open any more, or at once where the file system can do that. */
int store_dispose(HANDLE file);

#endif
