/* Mount points are links, which are not followed: all that is beneath the root is on one volume. */
#include "store/system_win.h"

int store_mount_of(const struct store_tree *tree, int folder, uint64_t *mount)
{
        (void)tree;
        (void)folder;
        *mount = 0;
        return 0;
}

int store_mount_top(const struct store_tree *tree, int folder, uint64_t mount)
{
        (void)folder;
        (void)mount;
        return store_open_folder(tree->root, "");
}

int store_each_mount(const struct store_tree *tree, int (*each)(const struct store_tree *tree, const char *path))
{
        (void)tree;
        (void)each;
        return 0;
}

/* A folder that is claimed cannot be removed. */
bool store_is_named(int folder)
{
        (void)folder;
        return true;
}

void store_replace_descriptor(int fresh, int descriptor)
{
        (void)fresh;
        (void)descriptor;
        ensure(!"a folder that lost its name");
}
