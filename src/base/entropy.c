/* Random bytes of the kernel. */
#include "base/base.h"

#include <sys/random.h>

bool entropy(void *out, size_t size)
{
        return getrandom(out, size, 0) == (ssize_t)size;
}
