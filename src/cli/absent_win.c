/* Commands that are not on Windows. */
#include "base/base.h"
#include "mount/mount.h"

static int absent(const char *command)
{
        complain("%s: not on Windows", command);
        return 2;
}

int mount_command(int argc, char **argv)
{
        (void)argc, (void)argv;
        return absent("mount");
}

int unmount_command(int argc, char **argv)
{
        (void)argc, (void)argv;
        return absent("unmount");
}
