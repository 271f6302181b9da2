/* Errors in words. The C library knows those of its own calls only; the rest are here as Linux has them. */
#include "base/base.h"

#include <errno.h>

static const struct {
        int error;
        const char *text;
} texts[] = {
        { EADDRINUSE, "Address already in use" },
        { EADDRNOTAVAIL, "Cannot assign requested address" },
        { EAFNOSUPPORT, "Address family not supported by protocol" },
        { ECANCELED, "Operation canceled" },
        { ECONNABORTED, "Software caused connection abort" },
        { ECONNREFUSED, "Connection refused" },
        { ECONNRESET, "Connection reset by peer" },
        { EHOSTUNREACH, "No route to host" },
        { ELOOP, "Too many levels of symbolic links" },
        { ENETUNREACH, "Network is unreachable" },
        { ENOBUFS, "No buffer space available" },
        { ENOTCONN, "Transport endpoint is not connected" },
        { EOPNOTSUPP, "Operation not supported" },
        { ETIMEDOUT, "Connection timed out" },
};

const char *error_text(int error)
{
        for (size_t i = 0; i < array_count(texts); i++)
                if (texts[i].error == error)
                        return texts[i].text;
        return strerror(error);
}
