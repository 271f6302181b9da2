/* Files that are removed or replaced while somebody has them open: they stay on the server under a name that no folder
 * shows (DAV_BERTH_UNLINKED), as NFS clients do, and are removed when the last one closes them. */
#include "dav/dav.h"
#include "mount/file_inner.h"
#include "mount/later.h"

#include <errno.h>
#include <sys/random.h>

/* A path that no name leads to. */
static void make_hidden_name(char out[FILE_HIDDEN_BYTES])
{
        uint64_t random[2];
        ensure(getrandom(random, sizeof(random), 0) == sizeof(random));
        struct text name = text_in(out, FILE_HIDDEN_BYTES);
        text_format(&name, DAV_BERTH_UNLINKED "%016llx%016llx", (unsigned long long)random[0],
                    (unsigned long long)random[1]);
        ensure(!name.overflow && name.used < FILE_HIDDEN_BYTES);
        out[name.used] = '\0';
}

/* On the server the file goes to its hidden name: `move`, or one more name for it (while the other is to be replaced).
 * Who reads it meanwhile goes by the old one, and looks again if that is gone. */
static int hide(struct file *file, bool move)
{
        char path[REMOTE_PATH_BYTES], hidden[FILE_HIDDEN_BYTES];
        int error = file_path(file, path);
        if (error)
                return error;
        make_hidden_name(hidden);
        struct remote_result result;
        pthread_mutex_unlock(&file->lock);
        if (move)
                error = remote_move(&file->mount->remote, path, hidden, REMOTE_NO_REPLACE);
        else
                error = remote_link(&file->mount->remote, path, hidden, &result);
        pthread_mutex_lock(&file->lock);
        if (!error)
                memcpy(file->hidden, hidden, sizeof(hidden));
        return error;
}

/* In its turn. A file that was never sent goes without a word to the server. */
static int unname(struct file *file, bool move)
{
        int error = 0;
        lease_give(file);
        if (file->start == FILE_NEW)
                make_hidden_name(file->hidden);
        else
                error = hide(file, move);
        if (error)
                return error;
        file_own(file); /* no path of a folder tells its attributes */
        file_count_unsent(file, false);
        later_end(file); /* it is not to be sent */
        return 0;
}

/* Nothing of it is to be sent any more. In its turn. */
static void discard(struct file *file)
{
        buffer_cut(file, 0);
        file->with = (struct remote_times_and_mode){ 0 };
        file->spool_dirty = false;
        file_count_unsent(file, false);
        file_unmark(file);
}

/* The name alone: the file has others, or nobody has it open. In its turn, since nothing is to be on its way there. Who
 * begins to read meanwhile, for which he needs no turn, keeps what is not sent. */
static int remove_name(struct file *file, struct node *folder, const char *name)
{
        struct mount *mount = file->mount;
        char path[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, folder, name, path);
        if (error)
                return error;
        pthread_mutex_unlock(&file->lock);
        error = remote_remove(&mount->remote, path, NULL);
        pthread_mutex_lock(&file->lock);
        if (error && error != -ENOENT) {
                tree_distrust(mount->tree, folder);
                return error;
        }
        tree_removed(mount->tree, folder, name);
        if (file->opens == 0 && file_path(file, path) == -ESTALE)
                discard(file);
        return error;
}

int file_unlink(struct mount *mount, struct node *folder, const char *name, struct node *node)
{
        struct tree_view view;
        tree_look(mount->tree, node, &view);
        struct file *file = file_get(mount, node, false);
        if (!file)
                return 1;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        int error = 1;
        if (view.attributes.links <= 1 && !file->hidden[0] && (file->opens > 0 || file->start == FILE_NEW))
                error = unname(file, true);
        bool named = error == 1;
        if (named) {
                lease_give(file);
                error = remove_name(file, folder, name);
        }
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        if (error == 0 && !named)
                tree_removed(mount->tree, folder, name);
        if (error == 0 && file->hidden[0])
                file_abandon(file); /* closed before it was ever sent: nobody wants it any more */
        file_put(file);
        return error;
}

struct file *file_keep(struct mount *mount, struct node *node)
{
        struct tree_view view;
        tree_look(mount->tree, node, &view);
        struct file *file = file_get(mount, node, false);
        if (!file)
                return NULL;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        file->kept = view.attributes.links <= 1 && !file->hidden[0] && file->opens > 0 && mount->remote.can.berth &&
                     unname(file, false) == 0;
        lease_give(file);
        pthread_mutex_unlock(&file->lock);
        return file;
}

/* It has its name still: the other one goes. */
static void unkeep(struct file *file)
{
        char path[FILE_HIDDEN_BYTES];
        memcpy(path, file->hidden, sizeof(path));
        file->hidden[0] = '\0';
        if (file->start != FILE_NEW) {
                pthread_mutex_unlock(&file->lock);
                remote_remove(&file->mount->remote, path, NULL);
                pthread_mutex_lock(&file->lock);
        }
        file_mark(file); /* and settles when it is next looked at */
}

void file_after_keep(struct file *file, bool replaced)
{
        char path[REMOTE_PATH_BYTES];
        if (!file)
                return;
        pthread_mutex_lock(&file->lock);
        if (file->kept && !replaced)
                unkeep(file);
        else if (replaced && file->opens == 0 && !file->kept && file_path(file, path) == -ESTALE)
                discard(file);
        file->kept = false;
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        file_put(file);
}

void file_removed(struct mount *mount, struct node *node)
{
        char path[REMOTE_PATH_BYTES];
        struct file *file = file_get(mount, node, false);
        if (!file)
                return;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        if (file->opens == 0 && file_path(file, path) == -ESTALE)
                discard(file);
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        file_put(file);
}

void hidden_remove(struct file *file)
{
        if (file->start != FILE_NEW)
                remote_remove(&file->mount->remote, file->hidden, NULL);
}
