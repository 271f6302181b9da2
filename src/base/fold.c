/* Names that differ in the case of letters are different names. */
#include "base/base.h"

struct span path_fold(struct span path, char *room, size_t size)
{
        (void)room, (void)size;
        return path;
}
