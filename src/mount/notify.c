/* Telling the kernel, on a thread of its own: it may wait for an operation of ours before it takes a word.
 *
 * With writeback caching the kernel believes no size of a regular file but its own. A file that grew on the server gets
 * its new size by a store, FUSE's way of handing pages to the kernel unasked: it raises the size before it copies (and
 * does nothing for a store of no bytes). What it would copy could be older than what it has by then; so the byte
 * stands in memory that cannot be read. The copy ends with EFAULT, the size stays, and the page is asked for when
 * somebody wants it.
 *
 * A file that was shortened gets its new size by the one thing that makes it less, a truncate() of its own: this thread
 * calls it, and the SETATTR that comes of it is answered with the size that is known, without a word to the server. Not
 * while somebody writes to it here; and as an ordinary user only where its mode lets him write.
 */
#include "mount/mount_priv.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RING = 256 };

static const unsigned WAIT_MS = 200, ANSWERED_MS = 2;

struct change {
        struct node *node;
        uint64_t old_size, new_size;
        uint64_t largest; /* that the kernel may take for its size */
        bool content;     /* not the attributes alone */
};

struct notify {
        struct mount *mount;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        pthread_cond_t cut;
        struct node *cutting; /* is just told to be shorter */
        bool answered;        /* ... and the kernel has our answer */
        atomic_uint cuts;     /* to be told, or being told */
        _Atomic pid_t number; /* of the thread */
        bool stopping;
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

static bool is_cut(const struct change *change)
{
        return change->content && change->new_size < change->largest;
}

static void tell_cut(struct notify *notify, const struct change *change)
{
        char path[REMOTE_PATH_BYTES], link[64];
        int file = tree_path(notify->mount->tree, change->node, NULL, path) == 0 ? session_find(path) : -ENOENT;
        if (file < 0)
                return;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
        int result = truncate(link, (off_t)change->new_size);
        (void)result; /* then it keeps its size for who has it open */
        close(file);
}

bool notify_is_cutting(struct mount *mount, const struct node *node)
{
        struct notify *notify = mount->notify;
        pthread_mutex_lock(&notify->lock);
        bool cutting = notify->cutting == node;
        pthread_mutex_unlock(&notify->lock);
        return cutting;
}

bool notify_is_asking(fuse_req_t request)
{
        const struct notify *notify = mount_of(request)->notify;
        return notify && fuse_req_ctx(request)->pid == notify->number;
}

void notify_answered(struct mount *mount)
{
        struct notify *notify = mount->notify;
        pthread_mutex_lock(&notify->lock);
        notify->answered = true;
        pthread_cond_broadcast(&notify->cut);
        pthread_mutex_unlock(&notify->lock);
}

static void cut(struct notify *notify, const struct change *change)
{
        pthread_mutex_lock(&notify->lock);
        notify->cutting = change->node;
        notify->answered = false;
        pthread_mutex_unlock(&notify->lock);
        if (notify->mount->writeback)
                tell_cut(notify, change);
        pthread_mutex_lock(&notify->lock);
        notify->cutting = NULL;
        notify->cuts--;
        pthread_cond_broadcast(&notify->cut);
        pthread_mutex_unlock(&notify->lock);
}

static void tell(struct notify *notify, const struct change *change)
{
        fuse_ino_t number = number_of(notify->mount, change->node);
        if (is_cut(change))
                cut(notify, change);
        /* Pages that are being written stay; the kernel waits for them. */
        fuse_lowlevel_notify_inval_inode(notify->mount->session, number, change->content ? 0 : -1, 0);
        if (change->new_size > change->old_size && notify->mount->writeback)
                tell_size(notify, number, change->new_size);
}

static void *notify_thread(void *data)
{
        struct notify *notify = data;
        pthread_mutex_lock(&notify->lock);
        notify->number = gettid();
        while (!notify->stopping) {
                if (notify->count == 0) {
                        pthread_cond_wait(&notify->wake, &notify->lock);
                        continue;
                }
                struct change change = notify->ring[notify->first];
                notify->first = (notify->first + 1) % RING;
                notify->count--;
                pthread_mutex_unlock(&notify->lock);
                tell(notify, &change);
                tree_unpin(notify->mount->tree, change.node);
                pthread_mutex_lock(&notify->lock);
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
                if (same->content) {
                        change.old_size = min_of(same->old_size, change.old_size);
                        change.largest = max_of(same->largest, change.largest);
                }
                if (change.content) {
                        notify->cuts += is_cut(&change);
                        notify->cuts -= is_cut(same);
                        *same = change;
                }
                return change.node;
        }
        notify->cuts += is_cut(&change);
        if (notify->count == RING) {
                dropped = notify->ring[notify->first].node;
                notify->cuts -= is_cut(&notify->ring[notify->first]);
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
        notify_change(mount, (struct change){ node, old_size, new_size, old_size, true });
}

static bool is_to_be_cut(struct notify *notify, const struct node *node)
{
        const struct change *change = find(notify, node);
        return notify->cutting == node || (change && is_cut(change));
}

/* The kernel, when it has our answer, sets the size and then waits for pages that are being read; so who reads waits a
 * moment for the first, and not for the end. Any wait is bounded: the kernel may hold what the truncate() needs. */
void notify_wait(fuse_req_t request, const struct node *node)
{
        struct notify *notify = mount_of(request)->notify;
        if (!notify || atomic_load(&notify->cuts) == 0 || notify_is_asking(request))
                return;
        uint64_t until_ms = clock_ms() + WAIT_MS;
        pthread_mutex_lock(&notify->lock);
        while (is_to_be_cut(notify, node) && clock_ms() < until_ms) {
                if (notify->cutting == node && notify->answered)
                        until_ms = min_of(until_ms, clock_ms() + ANSWERED_MS);
                struct timespec at;
                clock_gettime(CLOCK_REALTIME, &at);
                at.tv_nsec += 1000000;
                at.tv_sec += at.tv_nsec / 1000000000;
                at.tv_nsec %= 1000000000;
                pthread_cond_timedwait(&notify->cut, &notify->lock, &at);
        }
        pthread_mutex_unlock(&notify->lock);
}

void notify_attributes(struct mount *mount, struct node *node)
{
        notify_change(mount, (struct change){ .node = node });
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
        pthread_cond_init(&notify->cut, NULL);
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
        pthread_cond_destroy(&notify->cut);
        pthread_mutex_destroy(&notify->lock);
        free(notify);
        mount->notify = NULL;
}
