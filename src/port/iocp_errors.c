/* Errors of Winsock and Windows as those of errno.h. */
#include "port/iocp.h"

static const struct {
        uint32_t code;
        int error;
} table[] = {
        { WSAEADDRINUSE, EADDRINUSE },
        { WSAEACCES, EACCES },
        { WSAEADDRNOTAVAIL, EADDRNOTAVAIL },
        { WSAEAFNOSUPPORT, EAFNOSUPPORT },
        { WSAEPFNOSUPPORT, EAFNOSUPPORT },
        { WSAEPROTONOSUPPORT, EAFNOSUPPORT },
        { WSAEBADF, EBADF },
        { WSAENOTSOCK, ENOTSOCK },
        /* Who is told "aborted" has a peer that is gone; the peer's reset may be told either way. */
        { WSAECONNABORTED, ECONNRESET },
        { WSAECONNRESET, ECONNRESET },
        { WSAENETRESET, ECONNRESET },
        { ERROR_NETNAME_DELETED, ECONNRESET },
        { WSAECONNREFUSED, ECONNREFUSED },
        { ERROR_CONNECTION_REFUSED, ECONNREFUSED },
        { WSAEHOSTUNREACH, EHOSTUNREACH },
        { WSAENETUNREACH, ENETUNREACH },
        { WSAENETDOWN, ENETDOWN },
        { WSAETIMEDOUT, ETIMEDOUT },
        { ERROR_SEM_TIMEOUT, ETIMEDOUT },
        { WSAESHUTDOWN, EPIPE },
        { WSAEDISCON, EPIPE },
        { WSAENOTCONN, ENOTCONN },
        { WSAEISCONN, EISCONN },
        { WSAEINVAL, EINVAL },
        { WSAEOPNOTSUPP, EOPNOTSUPP },
        { WSAEWOULDBLOCK, EAGAIN },
        { WSAEMFILE, EMFILE },
        { WSAENOBUFS, ENOBUFS },
        { ERROR_NO_SYSTEM_RESOURCES, ENOBUFS },
        { ERROR_WORKING_SET_QUOTA, ENOBUFS },
        { ERROR_NOT_ENOUGH_QUOTA, ENOBUFS },
        { ERROR_OPERATION_ABORTED, ECANCELED },
        { ERROR_FILE_NOT_FOUND, ENOENT },
        { ERROR_PATH_NOT_FOUND, ENOENT },
        { ERROR_INVALID_NAME, ENOENT },
        { ERROR_BAD_PATHNAME, ENOENT },
        { ERROR_DELETE_PENDING, ENOENT },
        { ERROR_TOO_MANY_OPEN_FILES, EMFILE },
        { ERROR_ACCESS_DENIED, EACCES },
        { ERROR_INVALID_HANDLE, EBADF },
        { ERROR_NOT_ENOUGH_MEMORY, ENOMEM },
        { ERROR_OUTOFMEMORY, ENOMEM },
        { ERROR_COMMITMENT_LIMIT, ENOMEM },
        { ERROR_WRITE_PROTECT, EROFS },
        { ERROR_SHARING_VIOLATION, EBUSY },
        { ERROR_LOCK_VIOLATION, EBUSY },
        { ERROR_DISK_FULL, ENOSPC },
        { ERROR_HANDLE_DISK_FULL, ENOSPC },
        { ERROR_FILE_EXISTS, EEXIST },
        { ERROR_ALREADY_EXISTS, EEXIST },
        { ERROR_DIRECTORY, ENOTDIR },
        { ERROR_FILENAME_EXCED_RANGE, ENAMETOOLONG },
        { ERROR_FILE_TOO_LARGE, EFBIG },
        { ERROR_INVALID_PARAMETER, EINVAL },
        { ERROR_NOT_SUPPORTED, EOPNOTSUPP },
        { ERROR_INVALID_FUNCTION, EOPNOTSUPP },
};

int iocp_error(DWORD code)
{
        if (code == 0 || code == ERROR_HANDLE_EOF)
                return 0;
        for (size_t i = 0; i < array_count(table); i++)
                if (table[i].code == code)
                        return -table[i].error;
        return -EIO;
}

bool iocp_quota_error(DWORD code)
{
        return code == WSAENOBUFS || code == ERROR_NO_SYSTEM_RESOURCES || code == ERROR_WORKING_SET_QUOTA ||
               code == ERROR_NOT_ENOUGH_QUOTA;
}
