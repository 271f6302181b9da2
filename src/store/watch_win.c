/* There is nothing that tells of changes to an open file; and an open file keeps the folders above it from being
 * renamed. */
#include "store/system_win.h"

int store_watch_create(void)
{
        return -EOPNOTSUPP;
}

int store_watch_add(int watches, int file)
{
        (void)watches;
        (void)file;
        return -EOPNOTSUPP;
}

int store_watch_add_folder(int watches, int folder)
{
        (void)watches;
        (void)folder;
        return -EOPNOTSUPP;
}

void store_watch_remove(int watches, int watch)
{
        (void)watches;
        (void)watch;
}

void store_watch_read(int watches, void (*told)(void *context, int watch), void *context)
{
        (void)watches;
        (void)told;
        (void)context;
}

bool store_open_hinders(void)
{
        return true;
}
