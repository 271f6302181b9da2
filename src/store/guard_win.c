/* Between processes of one machine. A folder cannot be locked; so a mutex of the system's stands for it, named by volume
 * and file number, which is free when its owner dies. Whoever may open such a mutex may hold it, as with a file's lock
 * elsewhere.
 *
 * A folder that is claimed is opened so that nobody can open it to delete it: who can, knows that its owner is dead.
 */
#include "store/system_win.h"

#include <stdio.h>

enum { RIGHTS = SYNCHRONIZE | MUTEX_MODIFY_STATE };

NTSTATUS NTAPI RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, ULONG revision);
NTSTATUS NTAPI RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR descriptor, BOOLEAN present, PACL list,
                                            BOOLEAN defaulted);

bool store_no_lock(int error)
{
        return error == -ENOLCK;
}

/* For all users, as servers of several may serve one folder. */
static HANDLE open_mutex(const char *name)
{
        SECURITY_DESCRIPTOR descriptor;
        SECURITY_ATTRIBUTES attributes = { .nLength = sizeof(attributes), .lpSecurityDescriptor = &descriptor };

        RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
        RtlSetDaclSecurityDescriptor(&descriptor, TRUE, NULL, FALSE);
        return CreateMutexExA(&attributes, name, 0, RIGHTS);
}

int store_guard(int folder, unsigned busy_ms, int *guard)
{
        struct store_state state;
        char name[64];
        HANDLE mutex;
        int error = store_stat_of(folder, &state);

        if (error)
                return error;
        snprintf(name, sizeof(name), "Global\\berth-%llx-%llx", (unsigned long long)state.device,
                 (unsigned long long)state.inode);
        mutex = open_mutex(name);
        if (!mutex)
                return -ENOLCK;
        switch (WaitForSingleObject(mutex, busy_ms)) {
        case WAIT_OBJECT_0:
        case WAIT_ABANDONED:
                *guard = (int)(intptr_t)mutex;
                return 0;
        case WAIT_TIMEOUT:
                error = -EBUSY;
                break;
        default:
                error = -ENOLCK;
        }
        CloseHandle(mutex);
        return error;
}

void store_unguard(int guard)
{
        ensure(ReleaseMutex(store_handle(guard)));
        store_close(guard);
}

/* A moment passes between finding out and claiming, in which the folder above is locked. */
int store_claim(int folder, const char *name, bool free)
{
        struct open_how how = { .access = DELETE, .disposition = FILE_OPEN, .options = FILE_DIRECTORY_FILE };
        HANDLE file;
        int error = free ? 0 : store_open_itself(folder, name, &how, &file);

        if (error)
                return error;
        if (!free)
                CloseHandle(file);
        how.access = FILE_LIST_DIRECTORY | FILE_TRAVERSE;
        how.share = FILE_SHARE_READ | FILE_SHARE_WRITE;
        error = store_open_itself(folder, name, &how, &file);
        return error ? error : (int)(intptr_t)file;
}
