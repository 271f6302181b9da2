/* Errors in words. */
#include "base/base.h"

const char *error_text(int error)
{
        return strerror(error);
}
