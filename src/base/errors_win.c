/* Errors in words. The C library knows those of its own calls only; the rest are here as Linux has them. */
#include "base/base.h"

static const struct {
        int error;
        const char *name, *text; /* text NULL: the C library has one */
} texts[] = {
        { EACCES, "EACCES", NULL },
        { EBADF, "EBADF", NULL },
        { EBUSY, "EBUSY", NULL },
        { EEXIST, "EEXIST", NULL },
        { EFBIG, "EFBIG", NULL },
        { EINVAL, "EINVAL", NULL },
        { EIO, "EIO", NULL },
        { EISDIR, "EISDIR", NULL },
        { EMFILE, "EMFILE", NULL },
        { ENAMETOOLONG, "ENAMETOOLONG", NULL },
        { ENFILE, "ENFILE", NULL },
        { ENOENT, "ENOENT", NULL },
        { ENOMEM, "ENOMEM", NULL },
        { ENOSPC, "ENOSPC", NULL },
        { ENOSYS, "ENOSYS", NULL },
        { ENOTDIR, "ENOTDIR", NULL },
        { ENOTEMPTY, "ENOTEMPTY", NULL },
        { EPERM, "EPERM", NULL },
        { EPIPE, "EPIPE", NULL },
        { ERANGE, "ERANGE", NULL },
        { EROFS, "EROFS", NULL },
        { EXDEV, "EXDEV", NULL },
        { EADDRINUSE, "EADDRINUSE", "Address already in use" },
        { EADDRNOTAVAIL, "EADDRNOTAVAIL", "Cannot assign requested address" },
        { EAFNOSUPPORT, "EAFNOSUPPORT", "Address family not supported by protocol" },
        { ECANCELED, "ECANCELED", "Operation canceled" },
        { ECONNABORTED, "ECONNABORTED", "Software caused connection abort" },
        { ECONNREFUSED, "ECONNREFUSED", "Connection refused" },
        { ECONNRESET, "ECONNRESET", "Connection reset by peer" },
        { EHOSTUNREACH, "EHOSTUNREACH", "No route to host" },
        { ELOOP, "ELOOP", "Too many levels of symbolic links" },
        { ENETUNREACH, "ENETUNREACH", "Network is unreachable" },
        { ENOBUFS, "ENOBUFS", "No buffer space available" },
        { ENOTCONN, "ENOTCONN", "Transport endpoint is not connected" },
        { EOPNOTSUPP, "EOPNOTSUPP", "Operation not supported" },
        { EDQUOT, "EDQUOT", "Disk quota exceeded" },
        { ENODATA, "ENODATA", "No data available" },
        { ETIMEDOUT, "ETIMEDOUT", "Connection timed out" },
};

const char *error_text(int error)
{
        for (size_t i = 0; i < array_count(texts); i++)
                if (texts[i].error == error && texts[i].text)
                        return texts[i].text;
        return strerror(error);
}

const char *error_name(int error)
{
        for (size_t i = 0; i < array_count(texts); i++)
                if (texts[i].error == error)
                        return texts[i].name;
        return NULL;
}
