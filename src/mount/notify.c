/* Telling the kernel, on a thread of its own: it may wait for an operation of ours before it takes a word.
 *
 * With writeback caching the kernel believes no size of a regular file but its own. A file that grew on the server gets
 * its new size by a store, FUSE's way of handing pages to the kernel unasked: it raises the size before it copies (and
 * does nothing for a store of no bytes). What it would copy could be older than what it has by then; so the byte
 * stands in memory that cannot be read. The copy ends with EFAULT, the size stays, and the page is asked for when
 * somebody wants it.
 */
#include "mount/mount_priv.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RING = 256, SETTLE_MS = 50 };

struct change {
        struct node *node;
        uint64_t old_size, new_size;
        bool content; /* not the attributes alone */
};

struct notify {
        struct mount *mount;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake, told;
        bool stopping;
        const struct node *telling; /* what is being told just now */
        unsigned first, count;
        struct change ring[RING];
        void *unreadable; /* a page */
};

static void tell_size(struct notify *notify, fuse_ino_t number, uint64_t size)
{
        struct fuse_notify_store_out store = { .nodeid = number, .offset = size - 1, .size = 1 };
        struct fuse_out_header header = {
                .len = sizeof(header) + sizeof(store) + 1,
                .error = FUSE_NOTIFY_STORE,
        };
        struct iovec parts[] = {
                { &header, sizeof(header) },
                { &store, sizeof(store) },
                { notify->unreadable, 1 },
        };
        ssize_t n = writev(fuse_session_fd(notify->mount->session), parts, array_count(parts));
        (void)n; /* EFAULT; ENOENT: the kernel has forgotten the file */
}

static void tell(struct notify *notify, const struct change *change)
{
        fuse_ino_t number = number_of(notify->mount, change->node);
        /* Pages that are being written stay; the kernel waits for them. */
        fuse_lowlevel_notify_inval_inode(notify->mount->session, number, change->content ? 0 : -1, 0);
        if (change->new_size > change->old_size && notify->mount->writeback)
                tell_size(notify, number, change->new_size);
}

static void *notify_thread(void *data)
{
        struct notify *notify = data;
        pthread_mutex_lock(&notify->lock);
        while (!notify->stopping) {
                if (notify->count == 0) {
                        pthread_cond_wait(&notify->wake, &notify->lock);
                        continue;
                }
                struct change change = notify->ring[notify->first];
                notify->first = (notify->first + 1) % RING;
                notify->count--;
                notify->telling = change.node;
                pthread_mutex_unlock(&notify->lock);
                tell(notify, &change);
                tree_unpin(notify->mount->tree, change.node);
                pthread_mutex_lock(&notify->lock);
                notify->telling = NULL;
                pthread_cond_broadcast(&notify->told);
        }
        pthread_mutex_unlock(&notify->lock);
        return NULL;
}

static struct change *find(struct notify *notify, const struct node *node)
{
        for (unsigned i = 0; i < notify->count; i++) {
                struct change *change = &notify->ring[(notify->first + i) % RING];
                if (change->node == node)
                        return change;
        }
        return NULL;
}

/* Puts it last. What was to be told of the same node is told with it; else a full ring loses its oldest. Returns the
 * node that is to be unpinned, or NULL. */
static struct node *queue(struct notify *notify, struct change change)
{
        struct node *dropped = NULL;
        struct change *same = find(notify, change.node);
        if (same) {
                if (same->content)
                        change.old_size = min_of(same->old_size, change.old_size);
                if (change.content)
                        *same = change;
                return change.node;
        }
        if (notify->count == RING) {
                dropped = notify->ring[notify->first].node;
                notify->first = (notify->first + 1) % RING;
                notify->count--;
        }
        notify->ring[(notify->first + notify->count++) % RING] = change;
        pthread_cond_signal(&notify->wake);
        return dropped;
}

static void notify_change(struct mount *mount, struct change change)
{
        struct notify *notify = mount->notify;
        if (!notify)
                return;
        tree_pin(mount->tree, change.node);
        pthread_mutex_lock(&notify->lock);
        struct node *dropped = queue(notify, change);
        pthread_mutex_unlock(&notify->lock);
        if (dropped)
                tree_unpin(mount->tree, dropped);
}

void notify_changed(struct mount *mount, struct node *node, uint64_t old_size, uint64_t new_size)
{
        notify_change(mount, (struct change){ node, old_size, new_size, true });
}

void notify_attributes(struct mount *mount, struct node *node)
{
        notify_change(mount, (struct change){ .node = node });
}

void notify_content(struct mount *mount, struct node *node, struct ahead_view *view)
{
        struct fuse_bufvec content = FUSE_BUFVEC_INIT(view->parts[0].iov_len);
        content.buf[0].mem = view->parts[0].iov_base;
        ensure(view->count == 1);
        fuse_lowlevel_notify_store(mount->session, number_of(mount, node), 0, &content, 0);
}

void notify_settle(struct mount *mount, const struct node *node)
{
        struct notify *notify = mount->notify;
        if (!notify)
                return;
        struct timespec until = clock_after_ms(SETTLE_MS);
        int error = 0;
        pthread_mutex_lock(&notify->lock);
        while (!error && (notify->telling == node || find(notify, node)))
                error = pthread_cond_timedwait(&notify->told, &notify->lock, &until);
        pthread_mutex_unlock(&notify->lock);
}

int notify_start(struct mount *mount)
{
        struct notify *notify = calloc(1, sizeof(*notify));
        if (!notify)
                return -ENOMEM;
        notify->mount = mount;
        notify->unreadable = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        pthread_mutex_init(&notify->lock, NULL);
        pthread_cond_init(&notify->wake, NULL);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&notify->told, &monotonic);
        pthread_condattr_destroy(&monotonic);
        int error = notify->unreadable == MAP_FAILED ? ENOMEM : 0;
        if (!error)
                error = pthread_create(&notify->thread, NULL, notify_thread, notify);
        if (!error)
                mount->notify = notify;
        else
                free(notify);
        return -error;
}

void notify_stop(struct mount *mount)
{
        struct notify *notify = mount->notify;
        if (!notify)
                return;
        pthread_mutex_lock(&notify->lock);
        notify->stopping = true;
        pthread_cond_signal(&notify->wake);
        pthread_mutex_unlock(&notify->lock);
        pthread_join(notify->thread, NULL);
        for (unsigned i = 0; i < notify->count; i++)
                tree_unpin(mount->tree, notify->ring[(notify->first + i) % RING].node);
        munmap(notify->unreadable, (size_t)sysconf(_SC_PAGESIZE));
        pthread_cond_destroy(&notify->wake);
        pthread_cond_destroy(&notify->told);
        pthread_mutex_destroy(&notify->lock);
        free(notify);
        mount->notify = NULL;
}
