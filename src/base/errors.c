/* Errors in words. */
#include "base/base.h"

const char *error_text(int error)
{
        return strerror(error);
}

const char *error_name(int error)
{
        return strerrorname_np(error);
}
