/* FUSE operations on attributes: getattr, setattr, and how a file looks to the kernel.
 *
 * All files belong to who mounted (or -o uid, gid). Times of access are not kept: setting one is accepted and does
 * nothing (as with noatime), and what is shown is the time of the last change. */
#include "mount/later.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>

enum {
        BLOCK_BYTES = 512, /* of st_blocks */
        FOLDER_BLOCK_BYTES = 4096,
};

/* ---- how it looks ---- */

static mode_t type_of(enum remote_kind kind)
{
        return kind == REMOTE_FOLDER ? S_IFDIR : kind == REMOTE_LINK ? S_IFLNK : S_IFREG;
}

/* Modes that the server tells are shown as they are, but for what -o umask=N takes away. */
static mode_t mask_of(const struct mount *mount)
{
        return mount->options.set_umask ? mount->options.umask : 0;
}

/* A folder has one link. Where that number is 2 or more, programs that walk trees (find, du) take it for the count of
 * folders in it plus two, and look no further once they have found as many; 1 means that nobody counts, as with btrfs. */
void attributes_fill(struct mount *mount, const struct tree_view *view, struct stat *stat)
{
        const struct remote_attributes *a = &view->attributes;
        mode_t masked = a->kind == REMOTE_LINK ? 0 : mask_of(mount);
        *stat = (struct stat){
                .st_ino = view->inode,
                .st_mode = type_of(a->kind) | (a->mode & 07777 & ~masked),
                .st_nlink = a->kind == REMOTE_FOLDER ? 1 : a->links,
                .st_uid = mount->uid,
                .st_gid = mount->gid,
                .st_size = (off_t)a->size,
                .st_blksize = a->kind == REMOTE_FILE ? (blksize_t)mount->options.extent_bytes : FOLDER_BLOCK_BYTES,
                .st_blocks = (blkcnt_t)((a->size + BLOCK_BYTES - 1) / BLOCK_BYTES),
                .st_mtim = { a->mtime_s, a->mtime_ns },
        };
        stat->st_atim = stat->st_ctim = stat->st_mtim;
}

void entry_fill(struct mount *mount, const struct tree_view *view, struct fuse_entry_param *entry)
{
        *entry = (struct fuse_entry_param){
                .ino = number_of(mount, view->node),
                .attr_timeout = view->ttl_ms / 1000.0,
                .entry_timeout = view->ttl_ms / 1000.0,
        };
        attributes_fill(mount, view, &entry->attr);
}

/* ---- getattr ---- */

static int look(struct mount *mount, struct node *node, struct tree_view *view)
{
        struct remote_attributes attributes;
        char path[REMOTE_PATH_BYTES];
        if (tree_look(mount->tree, node, view) == TREE_PRESENT)
                return 0;
        uint64_t changes = tree_changes(mount->tree, node);
        int error = tree_path(mount->tree, node, NULL, path);
        if (error)
                return error;
        mount->counters.looks++;
        error = remote_stat(&mount->remote, path, &attributes);
        return error ? error : tree_note_node(mount->tree, node, &attributes, changes, view);
}

/* What is open is looked for once more: it may have been about to get another name, or a hidden one. */
int attributes_look(struct mount *mount, struct node *node, struct tree_view *view)
{
        int error = look(mount, node, view);
        if (error == -ENOENT && file_wait_for_name(mount, node))
                error = look(mount, node, view);
        if (error == -ENOENT)
                tree_distrust(mount->tree, node);
        if (!error)
                attributes_told(mount, node);
        return error;
}

/* What leads to the root is not kept from it by a server that is away: who unmounts, or looks what is mounted, need not
 * wait for --retry. What is in the folder is another matter. */
static int look_from_outside(struct mount *mount, struct node *node, struct tree_view *view)
{
        if (node != tree_root(mount->tree))
                return attributes_look(mount, node, view);
        remote_be_quick(true);
        int error = attributes_look(mount, node, view);
        remote_be_quick(false);
        if (error != -EIO && error != -ETIMEDOUT)
                return error;
        tree_look(mount->tree, node, view);
        view->ttl_ms = 0;
        return 0;
}

static void reply_attributes(fuse_req_t request, const struct tree_view *view)
{
        struct stat stat;
        attributes_fill(mount_of(request), view, &stat);
        fuse_reply_attr(request, &stat, view->ttl_ms / 1000.0);
}

void attributes_getattr(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct file *writer = info ? io_writer(info) : NULL;
        struct tree_view view;
        operation_begin(request);
        /* The kernel, when it gathers writes, asks before a write: only so can one be refused. */
        int error = writer ? file_conflict(writer) : 0;
        if (!error)
                error = look_from_outside(mount, node_of(mount, number), &view);
        if (error)
                fuse_reply_err(request, -error);
        else
                reply_attributes(request, &view);
}

/* ---- setattr ---- */

static void take_mode(const struct mount *mount, const struct stat *stat, const struct tree_view *view,
                      struct remote_times_and_mode *with)
{
        mode_t shown = view->attributes.mode & 07777 & ~mask_of(mount);
        with->mode = stat->st_mode & 07777;
        with->has_mode = with->mode != shown; /* tar and cp set what is there already; not all servers could */
}

static void take_time(const struct stat *stat, bool now, struct remote_times_and_mode *with)
{
        struct timespec time = stat->st_mtim;
        if (now)
                clock_gettime(CLOCK_REALTIME, &time);
        with->has_mtime = true;
        with->mtime_s = time.tv_sec;
        with->mtime_ns = (uint32_t)time.tv_nsec;
}

int attributes_set_other(struct mount *mount, struct node *node, bool link, const struct remote_times_and_mode *with)
{
        struct remote_condition condition = { 0 };
        struct remote_result result = { 0 };
        char path[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, node, NULL, path);
        if (!error)
                error = remote_set(&mount->remote, path, link, &condition, with, &result);
        if (error)
                return error;
        struct tree_update update = tree_update_of(with);
        update.has_tag = update.same_content = true;
        update.tag = result.tag;
        if (mount->remote.can.berth)
                tree_update(mount->tree, node, &update);
        return 0;
}

static int set_mode_and_time(struct mount *mount, struct node *node, const struct stat *stat, int to_set,
                             const struct tree_view *view)
{
        struct remote_times_and_mode with = { 0 };
        enum remote_kind kind = view->attributes.kind;
        if (to_set & FUSE_SET_ATTR_MODE)
                take_mode(mount, stat, view, &with);
        if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
                take_time(stat, to_set & FUSE_SET_ATTR_MTIME_NOW, &with);
        if (kind == REMOTE_LINK && with.has_mode)
                return -EOPNOTSUPP;
        if (!with.has_mode && !with.has_mtime)
                return 0;
        if (kind == REMOTE_FILE)
                return file_set(mount, node, &with);
        if (kind == REMOTE_FOLDER && later_set(mount, node, &with))
                return 0;
        return attributes_set_other(mount, node, kind == REMOTE_LINK, &with);
}

static int set(struct mount *mount, struct node *node, const struct stat *stat, int to_set)
{
        struct tree_view view;
        if ((to_set & FUSE_SET_ATTR_UID && stat->st_uid != mount->uid) ||
            (to_set & FUSE_SET_ATTR_GID && stat->st_gid != mount->gid))
                return -EPERM;
        int error = to_set & FUSE_SET_ATTR_SIZE ? file_truncate(mount, node, (uint64_t)stat->st_size) : 0;
        if (error || !(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)))
                return error;
        /* As it was last known: what is set does not depend on more than its kind, which a node never changes. */
        tree_look(mount->tree, node, &view);
        return set_mode_and_time(mount, node, stat, to_set, &view);
}

/* Of what is removed the times may be told all the same, so what was known is what they are told of. */
static int look_at_what_was_set(struct mount *mount, struct node *node, int to_set, struct tree_view *view)
{
        const int more = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_SIZE;
        int error = attributes_look(mount, node, view);
        if (error != -ESTALE || to_set & more)
                return error;
        tree_look(mount->tree, node, view);
        return 0;
}

void attributes_setattr(fuse_req_t request, fuse_ino_t number, struct stat *stat, int to_set,
                        struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct node *node = node_of(mount, number);
        struct tree_view view;
        (void)info;
        operation_begin(request);
        int error = set(mount, node, stat, to_set);
        if (!error)
                error = look_at_what_was_set(mount, node, to_set, &view);
        if (error)
                fuse_reply_err(request, -error);
        else
                reply_attributes(request, &view);
}
