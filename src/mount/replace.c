/* FUSE operations that take names away: unlink, rmdir, rename. Files that are open keep what they are (file.h): they
 * are hidden instead of removed, and none of their data is on its way while the path that it goes to changes. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>

/* What was refused is not as it was thought to be; what was given up may have been done. */
static void doubt(struct mount *mount, struct node *folder, int error)
{
        if (error)
                tree_distrust(mount->tree, folder);
}

/* ---- unlink, rmdir ---- */

static int remove_name(struct mount *mount, struct node *folder, const char *name, struct node *node)
{
        char path[REMOTE_PATH_BYTES];
        int error = tree_file(mount->tree, node) ? file_unlink(mount, folder, name, node) : 1;
        if (error <= 0)
                return error;
        error = tree_path(mount->tree, folder, name, path);
        if (!error)
                error = remote_remove(&mount->remote, path, NULL);
        if (error && error != -ENOENT) {
                doubt(mount, folder, error);
                return error;
        }
        tree_removed(mount->tree, folder, name);
        file_removed(mount, node);
        return error;
}

void names_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
        struct mount *mount = mount_of(request);
        struct node *folder = node_of(mount, parent);
        struct tree_view view;
        operation_begin(request);
        /* Where it is not known what stands there now, that is asked: a DELETE would take a whole folder. */
        int error = names_resolve(mount, folder, name, true, &view);
        if (!error) {
                error = view.attributes.kind == REMOTE_FOLDER ? -EISDIR : remove_name(mount, folder, name, view.node);
                tree_forget(mount->tree, view.node, 1);
        }
        fuse_reply_err(request, -error);
}

/* Files that are not on the server yet fill a folder, too. */
static int holds_open_files(struct mount *mount, struct node *folder)
{
        struct node **nodes;
        size_t count;
        int error = tree_pin_open(mount->tree, folder, &nodes, &count);
        if (error)
                return error;
        for (size_t i = 0; i < count; i++)
                tree_unpin(mount->tree, nodes[i]);
        free(nodes);
        return count > 0 ? -ENOTEMPTY : 0;
}

static int remove_folder(struct mount *mount, struct node *folder, const char *name, struct node *node)
{
        char path[REMOTE_PATH_BYTES];
        int error = holds_open_files(mount, node);
        if (!error)
                error = tree_path(mount->tree, folder, name, path);
        if (!error)
                error = remote_remove_folder(&mount->remote, path);
        if (!error || error == -ENOENT)
                tree_removed(mount->tree, folder, name);
        else if (error == -ENOTEMPTY)
                doubt(mount, node, error);
        else
                doubt(mount, folder, error);
        return error;
}

void names_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
        struct mount *mount = mount_of(request);
        struct node *folder = node_of(mount, parent);
        struct tree_view view;
        operation_begin(request);
        int error = names_resolve(mount, folder, name, true, &view);
        if (!error) {
                error = view.attributes.kind != REMOTE_FOLDER ? -ENOTDIR
                                                              : remove_folder(mount, folder, name, view.node);
                tree_forget(mount->tree, view.node, 1);
        }
        fuse_reply_err(request, -error);
}

/* ---- rename ---- */

struct rename {
        struct mount *mount;
        struct node *from, *to;
        const char *name, *new_name;
        bool no_replace, is_folder;
        struct node *source, *target; /* target NULL: nothing stands there */
        struct node **open;           /* the source, or what is below it: files that are open; pinned */
        struct file **files;          /* of them, those that were still open when their turn was taken */
        size_t open_count;
};

/* Whoever renames a folder takes the turns of several files, and whoever renames a file may take those of two: the ones
 * with the lock alone, the others together, so that no two wait for each other. */
static pthread_rwlock_t turns = PTHREAD_RWLOCK_INITIALIZER;

/* A file whose data could not be sent is not renamed: programs replace a file by writing another and renaming it, and
 * would replace it by less than they have written. Of files in a folder that is renamed nothing is replaced, and who has
 * them open is told when he closes them. */
static int take_turns(struct rename *r)
{
        int result = 0;
        if (r->is_folder && r->open_count > 0)
                pthread_rwlock_wrlock(&turns);
        else
                pthread_rwlock_rdlock(&turns);
        for (size_t i = 0; i < r->open_count; i++) {
                int error;
                r->files[i] = file_before_rename(r->mount, r->open[i], &error);
                if (!r->is_folder && error)
                        result = error;
        }
        return result;
}

static void give_turns(const struct rename *r)
{
        for (size_t i = 0; i < r->open_count; i++)
                file_after_rename(r->files[i]);
        pthread_rwlock_unlock(&turns);
}

/* Whether a rename that was given up has been carried out. Where that cannot be known it has not: what is written is
 * then sent by If-Match, and kept elsewhere if the file is another one by now. */
static bool is_gone(struct mount *mount, const char *from, int error)
{
        struct remote_attributes attributes;
        if (error != -EINTR && error != -EIO)
                return false;
        return remote_stat(&mount->remote, from, &attributes) == -ENOENT;
}

/* On the server, then in the tree, which files that go on being sent take their paths from. */
static int move(const struct rename *r)
{
        struct mount *mount = r->mount;
        char from[REMOTE_PATH_BYTES], to[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, r->from, r->name, from);
        if (!error)
                error = tree_path(mount->tree, r->to, r->new_name, to);
        struct file *kept = NULL;
        if (!error && r->target && tree_file(mount->tree, r->target))
                kept = file_keep(mount, r->target); /* as far as the server can */
        mount->moving++;
        if (!error)
                error = remote_move(&mount->remote, from, to,
                                    (r->no_replace ? REMOTE_NO_REPLACE : 0) | (r->is_folder ? REMOTE_IS_FOLDER : 0));
        if (!error)
                tree_renamed(mount->tree, r->from, r->name, r->to, r->new_name);
        mount->moving--;
        file_after_keep(kept, !error || (kept && is_gone(mount, from, error)));
        if (!error && r->target)
                file_removed(mount, r->target);
        return error;
}

static int rename_in_turn(struct rename *r)
{
        struct tree *tree = r->mount->tree;
        int error = tree_pin_open(tree, r->source, &r->open, &r->open_count);
        if (error)
                return error;
        r->files = calloc(r->open_count + 1, sizeof(*r->files));
        if (r->files) {
                error = take_turns(r);
                if (!error && !r->is_folder)
                        error = tree_take_failure(tree, r->source);
                if (!error)
                        error = move(r);
                give_turns(r);
        }
        for (size_t i = 0; i < r->open_count; i++)
                tree_unpin(tree, r->open[i]);
        free(r->open);
        error = r->files ? error : -ENOMEM;
        free(r->files);
        return error;
}

static int rename_known(struct rename *r)
{
        if (r->target && r->no_replace)
                return -EEXIST;
        if (r->target == r->source)
                return 0;
        int error = r->target && r->is_folder ? holds_open_files(r->mount, r->target) : 0;
        if (error)
                return error;
        error = rename_in_turn(r);
        doubt(r->mount, r->from, error);
        doubt(r->mount, r->to, error);
        return error;
}

/* What stands at both names, held by lookups meanwhile. */
static int rename_names(struct rename *r)
{
        struct mount *mount = r->mount;
        struct tree_view source, target;
        int error = names_resolve(mount, r->from, r->name, true, &source);
        if (error)
                return error;
        r->source = source.node;
        r->is_folder = source.attributes.kind == REMOTE_FOLDER;
        error = names_resolve(mount, r->to, r->new_name, true, &target);
        if (!error)
                r->target = target.node;
        if (!error || error == -ENOENT)
                error = rename_known(r);
        if (r->target)
                tree_forget(mount->tree, r->target, 1);
        tree_forget(mount->tree, r->source, 1);
        return error;
}

/* Two files cannot change places: WebDAV has no such thing, and three renames would not be one. */
void names_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                  unsigned flags)
{
        struct mount *mount = mount_of(request);
        struct rename r = {
                .mount = mount,
                .from = node_of(mount, parent),
                .to = node_of(mount, new_parent),
                .name = name,
                .new_name = new_name,
                .no_replace = flags & RENAME_NOREPLACE,
        };
        operation_begin(request);
        int error = flags & ~(unsigned)RENAME_NOREPLACE ? -EINVAL : rename_names(&r);
        fuse_reply_err(request, -error);
}
