/* Names of -o that mount(8) and fstab(5) know. */
#include "mount/command.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>

static const struct {
        const char *name;
        unsigned long set, clear;
} kernel_flags[] = {
        { "rw", 0, 0 },
        { "suid", 0, MS_NOSUID },
        { "nosuid", MS_NOSUID, 0 },
        { "dev", 0, MS_NODEV },
        { "nodev", MS_NODEV, 0 },
        { "exec", 0, MS_NOEXEC },
        { "noexec", MS_NOEXEC, 0 },
        { "async", 0, MS_SYNCHRONOUS },
        { "sync", MS_SYNCHRONOUS, 0 },
        { "atime", 0, MS_NOATIME },
        { "noatime", MS_NOATIME, 0 },
        { "diratime", 0, MS_NODIRATIME },
        { "nodiratime", MS_NODIRATIME, 0 },
        { "relatime", 0, 0 }, /* there are no times of access anyway */
        { "norelatime", 0, 0 },
        { "strictatime", 0, 0 },
        { "lazytime", 0, 0 },
        { "nolazytime", 0, 0 },
};

/* For others than the file system: mount(8), systemd, and those who read fstab. */
static const char *const ignored[] = {
        "defaults",
        "auto",
        "noauto",
        "nofail",
        "user",
        "nouser",
        "users",
        "owner",
        "noowner",
        "group",
        "_netdev",
        "comment",
        "default_permissions",
        "nodefaults",
        "uhelper",
        "helper",
};

static int flag_number(const char *name, const char *value, int base, unsigned *out)
{
        char *end;
        errno = 0;
        unsigned long number = value ? strtoul(value, &end, base) : 0;
        if (!value || *value < '0' || *value > '9' || *end || errno || number > (base == 8 ? 0777ul : 0xfffffffeul)) {
                complain("-o %s%s%s: expected %s", name, value ? "=" : "", value ? value : "",
                         base == 8 ? "an octal mask as in umask=027" : "a number as in uid=1000");
                return -EINVAL;
        }
        *out = (unsigned)number;
        return 0;
}

static bool is_ignored(const char *name)
{
        if (strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0)
                return true;
        for (unsigned i = 0; i < array_count(ignored); i++)
                if (strcmp(name, ignored[i]) == 0)
                        return true;
        return false;
}

static bool take_kernel_flag(struct mount_options *options, const char *name)
{
        for (unsigned i = 0; i < array_count(kernel_flags); i++) {
                if (strcmp(name, kernel_flags[i].name) != 0)
                        continue;
                options->mount_flags = (options->mount_flags & ~kernel_flags[i].clear) | kernel_flags[i].set;
                if (strcmp(name, "rw") == 0)
                        options->read_only = false;
                return true;
        }
        return false;
}

static bool is_plain(const char *name)
{
        static const char *const names[] = { "ro", "rw", "allow_other", "nonempty" };
        for (unsigned i = 0; i < array_count(names); i++)
                if (strcmp(name, names[i]) == 0)
                        return true;
        return false;
}

int mount_flag(struct mount_options *options, const char *name, const char *value)
{
        if (strcmp(name, "uid") == 0) {
                options->set_uid = true;
                return flag_number(name, value, 10, &options->uid);
        }
        if (strcmp(name, "gid") == 0) {
                options->set_gid = true;
                return flag_number(name, value, 10, &options->gid);
        }
        if (strcmp(name, "umask") == 0) {
                options->set_umask = true;
                return flag_number(name, value, 8, &options->umask);
        }
        if (value && is_plain(name)) {
                complain("-o %s=%s: takes no value", name, value);
                return -EINVAL;
        }
        if (strcmp(name, "ro") == 0)
                options->read_only = true;
        else if (strcmp(name, "allow_other") == 0)
                options->allow_other = true;
        else if (strcmp(name, "nonempty") == 0)
                options->nonempty = true;
        else if (strcmp(name, "remount") == 0) {
                complain("-o remount: what is mounted stays as it is; berth unmount, then mount anew");
                return -EINVAL;
        } else if (!take_kernel_flag(options, name) && !is_ignored(name))
                return -ENOENT;
        return 0;
}
