/* The way to what a path means: the folder that holds it, and its name there. */
#include "store/store_priv.h"

#include <errno.h>

int store_open_above(const struct store_tree *tree, const char *path, enum store_open how, const char **name)
{
        const char *slash = strrchr(path, '/');
        char above[STORE_PATH_BYTES];
        size_t size = slash ? (size_t)(slash - path) : 0;

        *name = slash ? slash + 1 : path;
        if (strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0 || (slash && !slash[1]))
                return -EINVAL;
        if (store_is_staging(span_of(path)))
                return -EACCES;
        if (size >= sizeof(above))
                return -ENAMETOOLONG;
        memcpy(above, path, size);
        above[size] = '\0';
        return store_open_beneath(tree->root, above, how, tree->links);
}
