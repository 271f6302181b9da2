/* FUSE operations that find and make names. What takes names away is in replace.c. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <limits.h>

static void reply_error(fuse_req_t request, int error)
{
        fuse_reply_err(request, -error);
}

/* The view's lookup goes to the kernel. */
static void reply_entry(fuse_req_t request, const struct tree_view *view)
{
        struct mount *mount = mount_of(request);
        struct fuse_entry_param entry;
        entry_fill(mount, view, &entry);
        if (fuse_reply_entry(request, &entry) < 0)
                tree_forget(mount->tree, view->node, 1);
}

static int path_of(struct mount *mount, struct node *folder, const char *name, char path[REMOTE_PATH_BYTES])
{
        return strlen(name) >= TREE_NAME_BYTES ? -ENAMETOOLONG : tree_path(mount->tree, folder, name, path);
}

/* ---- looking ---- */

/* By a request for this one name. */
static int ask(struct mount *mount, struct node *folder, const char *name, bool lookup, struct tree_view *view)
{
        struct remote_attributes attributes;
        char path[REMOTE_PATH_BYTES];
        uint64_t changes = tree_changes(mount->tree, folder);
        int error = tree_path(mount->tree, folder, name, path);
        view->ttl_ms = 0;
        if (error)
                return error;
        mount->counters.looks++;
        error = remote_stat(&mount->remote, path, &attributes);
        if (!error)
                error = tree_note(mount->tree, folder, name, &attributes, changes, lookup, view);
        else if (error == -ENOENT)
                tree_note_absent(mount->tree, folder, name, changes);
        if (!error && lookup) /* that holds the node */
                attributes_told(mount, view->node);
        return error;
}

int names_resolve(struct mount *mount, struct node *folder, const char *name, bool lookup, struct tree_view *view)
{
        if (strlen(name) >= TREE_NAME_BYTES)
                return -ENAMETOOLONG;
        enum tree_known known = tree_find(mount->tree, folder, name, lookup, view);
        if (known == TREE_UNKNOWN && folder_list_instead(mount, folder))
                known = tree_find(mount->tree, folder, name, lookup, view);
        if (known == TREE_UNKNOWN)
                return ask(mount, folder, name, lookup, view);
        if (known == TREE_PRESENT && lookup)
                attributes_told(mount, view->node);
        return known == TREE_PRESENT ? 0 : -ENOENT;
}

/* The kernel remembers for a while what is not there, too. */
static void reply_absent(fuse_req_t request, unsigned ttl_ms)
{
        struct fuse_entry_param entry = { .ino = 0, .entry_timeout = ttl_ms / 1000.0 };
        if (ttl_ms == 0)
                reply_error(request, -ENOENT);
        else
                fuse_reply_entry(request, &entry);
}

void names_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
        struct mount *mount = mount_of(request);
        struct tree_view view = { 0 };
        operation_begin(request);
        int error = names_resolve(mount, node_of(mount, parent), name, true, &view);
        if (!error)
                reply_entry(request, &view);
        else if (error == -ENOENT)
                reply_absent(request, view.ttl_ms);
        else
                reply_error(request, error);
}

void names_forget(fuse_req_t request, fuse_ino_t number, uint64_t count)
{
        struct mount *mount = mount_of(request);
        tree_forget(mount->tree, node_of(mount, number), count);
        fuse_reply_none(request);
}

void names_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
        struct mount *mount = mount_of(request);
        for (size_t i = 0; i < count; i++)
                tree_forget(mount->tree, node_of(mount, forgets[i].ino), forgets[i].nlookup);
        fuse_reply_none(request);
}

void names_readlink(fuse_req_t request, fuse_ino_t number)
{
        struct mount *mount = mount_of(request);
        char path[REMOTE_PATH_BYTES], target[PATH_MAX];
        operation_begin(request);
        int error = tree_path(mount->tree, node_of(mount, number), NULL, path);
        if (!error)
                error = remote_read_link(&mount->remote, path, target, sizeof(target));
        if (error)
                reply_error(request, error);
        else
                fuse_reply_readlink(request, target);
}

/* ---- making ---- */

/* The server has made it: the tree is told, and the kernel. Its time is the server's, which is not known yet. */
static void reply_made(fuse_req_t request, struct node *folder, const char *name, struct remote_attributes *attributes,
                       const struct remote_result *result)
{
        struct mount *mount = mount_of(request);
        struct tree_view view;
        attributes->has_mode = true;
        attributes->links = 1;
        attributes->inode = result->inode;
        strcpy(attributes->tag, result->tag);
        int error = tree_made(mount->tree, folder, name, attributes, true, attributes->kind == REMOTE_FOLDER, &view);
        if (error)
                reply_error(request, error);
        else
                reply_entry(request, &view);
}

/* It is there although it was not known: what is known of the folder is not true. */
static void refused(struct mount *mount, struct node *folder, int error)
{
        if (error == -EEXIST || error == -ENOENT || error == -EINTR)
                tree_distrust(mount->tree, folder);
}

/* A folder gets set-group-id from the one above, on the server as on a disk. */
static uint16_t mode_below(struct mount *mount, struct node *folder, mode_t mode)
{
        struct tree_view view;
        tree_look(mount->tree, folder, &view);
        return (uint16_t)(mode | (view.attributes.mode & S_ISGID));
}

void names_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
        struct mount *mount = mount_of(request);
        struct node *folder = node_of(mount, parent);
        struct remote_attributes attributes = { .kind = REMOTE_FOLDER };
        struct remote_times_and_mode with = { .has_mode = true, .mode = mode & 07777 };
        struct remote_result result = { 0 };
        char path[REMOTE_PATH_BYTES];
        operation_begin(request);
        attributes.mode = mount->remote.can.berth ? mode_below(mount, folder, with.mode) : mount->remote.folder_mode;
        int error = path_of(mount, folder, name, path);
        if (!error)
                error = remote_make_folder(&mount->remote, path, &with, &result);
        if (!error) {
                reply_made(request, folder, name, &attributes, &result);
                return;
        }
        refused(mount, folder, error);
        reply_error(request, error);
}

void names_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name)
{
        struct mount *mount = mount_of(request);
        struct node *folder = node_of(mount, parent);
        struct remote_attributes attributes = { .kind = REMOTE_LINK, .mode = 0777, .size = strlen(target) };
        struct remote_result result = { 0 };
        char path[REMOTE_PATH_BYTES];
        operation_begin(request);
        int error = path_of(mount, folder, name, path);
        if (!error)
                error = remote_make_link(&mount->remote, path, target, &result);
        if (!error) {
                reply_made(request, folder, name, &attributes, &result);
                return;
        }
        refused(mount, folder, error);
        reply_error(request, error);
}

static int link_file(struct mount *mount, struct node *node, struct node *folder, const char *name,
                     struct tree_view *view)
{
        struct remote_result result = { 0 };
        char path[REMOTE_PATH_BYTES], new_path[REMOTE_PATH_BYTES];
        int error = path_of(mount, folder, name, new_path);
        if (!error)
                error = tree_path(mount->tree, node, NULL, path);
        if (!error)
                error = remote_link(&mount->remote, path, new_path, &result);
        if (!error)
                error = tree_linked(mount->tree, node, folder, name, true, view);
        return error;
}

void names_link(fuse_req_t request, fuse_ino_t number, fuse_ino_t parent, const char *name)
{
        struct mount *mount = mount_of(request);
        struct node *node = node_of(mount, number), *folder = node_of(mount, parent);
        struct tree_view view;
        operation_begin(request);
        int error;
        struct file *file = file_before_rename(mount, node, &error); /* it must be there, and not locked */
        if (!error)
                error = tree_take_failure(mount->tree, node);
        if (!error)
                error = link_file(mount, node, folder, name, &view);
        file_after_rename(file);
        if (!error) {
                reply_entry(request, &view);
                return;
        }
        refused(mount, folder, error);
        reply_error(request, error);
}
