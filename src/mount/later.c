/* What is put off; see later.h. */
#include "mount/later.h"
#include "mount/file_inner.h"

#include <errno.h>
#include <stdlib.h>

enum {
        MAX_PENDING = 4096,
        MAX_PENDING_SPOOLS = 128, /* each holds a descriptor */
        MAX_FOLDERS = 256,
        REST_MS = 5000, /* before they are tried again in the background */
};

struct late_folder {
        struct node *node; /* pinned, and owned: what the server tells of it is older */
        struct remote_times_and_mode with;
};

struct later {
        pthread_mutex_t lock;
        pthread_cond_t ended;
        bool sending; /* by one thread, which alone takes folders away */
        uint64_t resting_until_ms;
        unsigned count;
        struct late_folder folders[MAX_FOLDERS]; /* in the order in which they were set */
};

int later_start(struct mount *mount)
{
        if (!mount->options.close_later)
                return 0;
        struct later *later = calloc(1, sizeof(*later));
        if (!later)
                return -ENOMEM;
        pthread_mutex_init(&later->lock, NULL);
        pthread_cond_init(&later->ended, NULL);
        mount->later = later;
        return 0;
}

/* ---- files ---- */

bool later_put_off(struct file *file)
{
        struct mount *mount = file->mount;
        unsigned most = file->spool >= 0 ? MAX_PENDING_SPOOLS : MAX_PENDING;
        if (!mount->later)
                return false;
        if (file->pending || file->told)
                return true;
        if (mount->counters.pending_files++ >= most) {
                mount->counters.pending_files--;
                return false;
        }
        file->pending = true;
        return true;
}

void later_end(struct file *file)
{
        if (file->pending)
                file->mount->counters.pending_files--;
        file->pending = false;
}

/* ---- folders ---- */

/* Its place; `count` when it is not there. NULL: the first. */
static unsigned find(const struct later *later, const struct node *node)
{
        unsigned i = 0;
        while (i < later->count && node && later->folders[i].node != node)
                i++;
        return i;
}

static void take(struct mount *mount, unsigned i, struct node *node, const struct remote_times_and_mode *with)
{
        struct later *later = mount->later;
        if (i == later->count) {
                later->folders[later->count++] = (struct late_folder){ .node = node };
                tree_pin(mount->tree, node);
                tree_own(mount->tree, node);
        }
        file_join_with(&later->folders[i].with, with);
        struct tree_update update = tree_update_of(with);
        tree_update(mount->tree, node, &update);
}

bool later_set(struct mount *mount, struct node *node, const struct remote_times_and_mode *with)
{
        struct later *later = mount->later;
        if (!later || !mount->remote.can.berth)
                return false;
        pthread_mutex_lock(&later->lock);
        unsigned i = find(later, node);
        bool wanted = i < later->count || mount->counters.pending_files > 0;
        bool taken = wanted && i < MAX_FOLDERS;
        if (taken)
                take(mount, i, node, with);
        pthread_mutex_unlock(&later->lock);
        if (wanted && !taken) /* it is set behind them all the same */
                file_send_all(mount);
        return taken;
}

bool later_is_due(struct mount *mount)
{
        struct later *later = mount->later;
        if (!later || mount->counters.pending_files > 0)
                return false;
        pthread_mutex_lock(&later->lock);
        bool due = later->count > 0 && !later->sending && clock_ms() >= later->resting_until_ms;
        pthread_mutex_unlock(&later->lock);
        return due;
}

/* A time that is not the folder's any more, since something was made in it after that, is not told. */
static int send_folder(struct mount *mount, const struct late_folder *folder)
{
        struct remote_times_and_mode with = folder->with;
        struct tree_view view;
        tree_look(mount->tree, folder->node, &view);
        if (view.attributes.mtime_s != with.mtime_s || view.attributes.mtime_ns != with.mtime_ns)
                with.has_mtime = false;
        if (!with.has_mode && !with.has_mtime)
                return 0;
        int error = attributes_set_other(mount, folder->node, false, &with);
        if (error == -ENOENT) /* renamed meanwhile, perhaps */
                error = attributes_set_other(mount, folder->node, false, &with);
        return error == -ESTALE ? 0 : error; /* removed here */
}

static void complain_of(struct mount *mount, struct node *node, int error)
{
        char path[REMOTE_PATH_BYTES] = "";
        tree_path(mount->tree, node, NULL, path);
        complain("%s: mode and time of this folder could not be set: %s", path, strerror(-error));
}

/* Who syncs it is told; and what was shown of it is not so. */
static void refused(struct mount *mount, struct node *node, int error)
{
        mount->counters.unsent_files++;
        tree_lost(mount->tree, node, error);
        tree_distrust(mount->tree, node);
        notify_attributes(mount, node);
}

/* Told, or refused for good; what was set meanwhile is still to be told. The lock is held. */
static void settle(struct mount *mount, const struct late_folder *sent)
{
        struct later *later = mount->later;
        unsigned i = find(later, sent->node);
        struct late_folder *folder = &later->folders[i];
        file_drop_with(&folder->with, &sent->with);
        if (folder->with.has_mode || folder->with.has_mtime)
                return;
        later->count--;
        memmove(folder, folder + 1, (later->count - i) * sizeof(*folder));
        tree_disown(mount->tree, sent->node);
        tree_unpin(mount->tree, sent->node);
}

static void begin(struct later *later)
{
        pthread_mutex_lock(&later->lock);
        while (later->sending)
                pthread_cond_wait(&later->ended, &later->lock);
        later->sending = true;
}

static void end(struct later *later)
{
        later->sending = false;
        pthread_cond_broadcast(&later->ended);
        pthread_mutex_unlock(&later->lock);
}

/* No more than there were at first, so that it ends while others go on setting; and none behind one for which the server
 * was not there. */
unsigned later_send(struct mount *mount, struct node *node)
{
        struct later *later = mount->later;
        unsigned failed = 0;
        if (!later)
                return 0;
        begin(later);
        for (unsigned left = later->count; left > 0 && find(later, node) < later->count; left--) {
                struct late_folder folder = later->folders[find(later, node)];
                tree_pin(mount->tree, folder.node);
                pthread_mutex_unlock(&later->lock);
                int error = send_folder(mount, &folder);
                if (error)
                        complain_of(mount, folder.node, error);
                pthread_mutex_lock(&later->lock);
                bool away = file_server_is_away(error);
                failed += away ? left : error != 0;
                later->resting_until_ms = away ? clock_ms() + REST_MS : 0;
                if (!away)
                        settle(mount, &folder);
                if (error && !away)
                        refused(mount, folder.node, error);
                tree_unpin(mount->tree, folder.node);
                if (away)
                        break; /* they are tried again */
        }
        end(later);
        return failed;
}

void later_stop(struct mount *mount)
{
        struct later *later = mount->later;
        if (!later)
                return;
        for (unsigned i = 0; i < later->count; i++) {
                tree_disown(mount->tree, later->folders[i].node);
                tree_unpin(mount->tree, later->folders[i].node);
        }
        pthread_mutex_destroy(&later->lock);
        pthread_cond_destroy(&later->ended);
        free(later);
        mount->later = NULL;
}
