/* FUSE operations on extended attributes. Those of users (user.*) are properties on the server. Others are not there:
 * the kernel asks for security.capability and system.posix_acl_* often, and is answered at once, but never with
 * ENOSYS, which would turn the user's off as well. What is asked of the mount itself by such names is answered before
 * (command.h). */
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>

/* The name behind "user.", or NULL: of another kind. */
static const char *users_name(const char *name)
{
        struct span prefix = SPAN("user.");
        return strncmp(name, prefix.data, prefix.size) == 0 && name[prefix.size] ? name + prefix.size : NULL;
}

static void reply_value(fuse_req_t request, const char *value, ssize_t size, size_t room)
{
        if (size < 0)
                fuse_reply_err(request, (int)-size);
        else if (room == 0)
                fuse_reply_xattr(request, (size_t)size);
        else if ((size_t)size > room)
                fuse_reply_err(request, ERANGE);
        else
                fuse_reply_buf(request, value, (size_t)size);
}

/* A file that was made and not sent yet has none, and is not there to be asked. */
static ssize_t none_of_unsent(struct mount *mount, struct node *node, ssize_t size, ssize_t none)
{
        return size == -ENOENT && tree_file(mount->tree, node) ? none : size;
}

/* ---- reading ---- */

static ssize_t get(struct mount *mount, struct node *node, const char *name, char *out, size_t size)
{
        char path[REMOTE_PATH_BYTES];
        const char *users = users_name(name);
        if (!users || !mount->remote.can.attributes)
                return -ENODATA;
        int error = tree_path(mount->tree, node, NULL, path);
        if (error)
                return error;
        return none_of_unsent(mount, node, remote_get_attribute(&mount->remote, path, users, out, size), -ENODATA);
}

void attributes_getxattr(fuse_req_t request, fuse_ino_t number, const char *name, size_t size)
{
        struct mount *mount = mount_of(request);
        operation_begin(request);
        char *value = malloc(size + 1);
        ssize_t n = value ? get(mount, node_of(mount, number), name, value, size) : -ENOMEM;
        reply_value(request, value, n, size);
        free(value);
}

static ssize_t list(struct mount *mount, struct node *node, char *out, size_t size)
{
        char path[REMOTE_PATH_BYTES];
        if (!mount->remote.can.attributes)
                return 0;
        int error = tree_path(mount->tree, node, NULL, path);
        if (error)
                return error;
        return none_of_unsent(mount, node, remote_list_attributes(&mount->remote, path, out, size), 0);
}

void attributes_listxattr(fuse_req_t request, fuse_ino_t number, size_t size)
{
        struct mount *mount = mount_of(request);
        operation_begin(request);
        char *names = malloc(size + 1);
        ssize_t n = names ? list(mount, node_of(mount, number), names, size) : -ENOMEM;
        reply_value(request, names, n, size);
        free(names);
}

/* ---- changing ---- */

/* XATTR_CREATE and XATTR_REPLACE: by looking, which is not one step with the change. */
static int may_set(struct mount *mount, const char *path, const char *users, int flags)
{
        if (!(flags & (XATTR_CREATE | XATTR_REPLACE)))
                return 0;
        ssize_t there = remote_get_attribute(&mount->remote, path, users, NULL, 0);
        if (there >= 0)
                return flags & XATTR_CREATE ? -EEXIST : 0;
        if (there == -ENODATA)
                return flags & XATTR_REPLACE ? -ENODATA : 0;
        return (int)there;
}

static int set_at_path(struct mount *mount, struct node *node, const char *users, const char *value, size_t size,
                       int flags)
{
        char path[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, node, NULL, path);
        if (!error)
                error = may_set(mount, path, users, flags);
        if (!error)
                error = remote_set_attribute(&mount->remote, path, users, value, size, NULL);
        return error;
}

/* `value` NULL removes it. A file that is open has to be on the server for this, and not be locked there. */
static int set(struct mount *mount, struct node *node, const char *name, const char *value, size_t size, int flags)
{
        const char *users = users_name(name);
        if (!users || !mount->remote.can.attributes)
                return value ? -EOPNOTSUPP : -ENODATA;
        int unsent, error;
        struct file *file = file_before_rename(mount, node, &unsent); /* which is not what is asked here */
        error = set_at_path(mount, node, users, value, size, flags);
        file_after_rename(file);
        return error;
}

void attributes_setxattr(fuse_req_t request, fuse_ino_t number, const char *name, const char *value, size_t size,
                         int flags)
{
        struct mount *mount = mount_of(request);
        operation_begin(request);
        fuse_reply_err(request, -set(mount, node_of(mount, number), name, value ? value : "", size, flags));
}

void attributes_removexattr(fuse_req_t request, fuse_ino_t number, const char *name)
{
        struct mount *mount = mount_of(request);
        operation_begin(request);
        fuse_reply_err(request, -set(mount, node_of(mount, number), name, NULL, 0, 0));
}
