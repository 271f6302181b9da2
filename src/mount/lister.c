/* Asking for listings: one request for all that want the same, and folders listed ahead of who walks a tree.
 *
 * find, du, git and the like read one folder after the other, in depth, and would wait a round trip for each. Somebody
 * walks when he reads a folder whose parent was read within the last second; then the folders that come next in that
 * order are listed by threads of the lister, beside the one he waits for: 16, then 32, then 64. Reading one of them goes
 * on from there, and joins its listing when that is under way.
 *
 * Locks: the lister's is outside the tree's; neither is held over a request. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        AHEAD_FOLDERS = 64,
        FIRST_AHEAD = 16, /* then twice as many with each step */
        MAX_LISTERS = 8,
        WALK_MS = 1000,
        LOOK_MS = 100, /* how soon who waits sees that he is being killed */
        AGAIN = 1,
        MAX_MOVES = 8,      /* of a folder while it is listed */
        LEAST_TTL_MS = 200, /* what holds for less is not worth asking for before it is wanted */
};

struct job { /* one listing under way */
        struct list node;
        struct node *folder;
        unsigned references;
        bool done;
        int error;
};

struct lister {
        struct mount *mount;
        pthread_mutex_t lock;
        pthread_cond_t done, wanted;
        struct list jobs;
        struct node *queue[AHEAD_FOLDERS]; /* pinned */
        unsigned queued;
        struct node *position; /* of who walks; pinned */
        unsigned steps, window;
        uint64_t walked_ms;
        unsigned instead;
        uint64_t instead_ms;
        pthread_t threads[MAX_LISTERS];
        unsigned thread_count, working; /* of them those who list ahead just now */
        unsigned waiting;               /* operations that wait for a listing of somebody else's */
        atomic_bool ending;
};

/* ---- one listing ---- */

struct asking {
        struct tree *tree;
        struct tree_listing listing;
        size_t members, limit;
};

static int add_member(void *context, struct span name, const struct remote_attributes *attributes)
{
        struct asking *asking = context;
        if (++asking->members > asking->limit)
                return -EFBIG;
        return tree_listing_add(asking->tree, &asking->listing, name, attributes);
}

static void begin_anew(void *context)
{
        struct asking *asking = context;
        asking->members = 0;
        tree_listing_restart(asking->tree, &asking->listing);
}

/* -EAGAIN: the folder has another path by now. */
static int ask_once(struct mount *mount, struct node *folder, size_t limit)
{
        struct asking asking = { .tree = mount->tree, .limit = limit };
        char path[REMOTE_PATH_BYTES];
        tree_listing_begin(mount->tree, folder, &asking.listing);
        int error = tree_path(mount->tree, folder, NULL, path);
        mount->counters.listings += !error;
        if (!error)
                error = remote_list(&mount->remote, path, add_member, begin_anew, &asking);
        bool stayed = tree_listing_end(mount->tree, &asking.listing, error == 0);
        return !stayed && (!error || error == -ENOENT) ? -EAGAIN : error;
}

static int ask(struct mount *mount, struct node *folder, size_t limit)
{
        int error = -EAGAIN;
        for (unsigned i = 0; i < MAX_MOVES && error == -EAGAIN; i++)
                error = ask_once(mount, folder, limit);
        if (error == -ENOENT || error == -ENOTDIR)
                tree_distrust(mount->tree, folder);
        if (error && error != -EINTR)
                tree_broke_off(mount->tree, folder, error == -EFBIG ? limit : SIZE_MAX);
        return error == -EAGAIN ? -ESTALE : error;
}

/* ---- several that want the same ---- */

static struct job *find_job(const struct lister *lister, const struct node *folder)
{
        for (struct list *l = lister->jobs.next; l != &lister->jobs; l = l->next) {
                struct job *job = container_of(l, struct job, node);
                if (job->folder == folder)
                        return job;
        }
        return NULL;
}

static bool is_wanted(const struct lister *lister, const struct node *folder)
{
        for (unsigned i = 0; i < lister->queued; i++)
                if (lister->queue[i] == folder)
                        return true;
        return find_job(lister, folder) != NULL;
}

/* Queues what comes behind the one who walks. Lock held. */
static void look_ahead(struct lister *lister)
{
        struct tree *tree = lister->mount->tree;
        struct node *folders[AHEAD_FOLDERS];
        uint64_t pause = min_of((unsigned)WALK_MS, lister->mount->options.ttl_ms);
        if (!lister->position || lister->window == 0 || clock_ms() - lister->walked_ms > pause)
                return;
        size_t count = tree_ahead(tree, lister->position, lister->window, folders, AHEAD_FOLDERS);
        for (size_t i = 0; i < count; i++) {
                if (lister->queued < AHEAD_FOLDERS && !is_wanted(lister, folders[i])) {
                        lister->queue[lister->queued++] = folders[i];
                        pthread_cond_signal(&lister->wanted);
                } else {
                        tree_unpin(tree, folders[i]);
                }
        }
}

static void leave_job(struct job *job)
{
        if (--job->references == 0)
                free(job);
}

/* Until the listing has come (0: *error is its), or -EINTR: who waits is being killed. */
static int wait_for(struct lister *lister, struct job *job, int *error)
{
        const atomic_bool *given_up = remote_given_up();
        job->references++;
        lister->waiting++;
        pthread_cond_signal(&lister->wanted);
        while (!job->done && !(given_up && atomic_load(given_up))) {
                struct timespec until = clock_after_ms(LOOK_MS);
                pthread_cond_timedwait(&lister->done, &lister->lock, &until);
        }
        bool done = job->done;
        lister->waiting--;
        *error = job->error;
        leave_job(job);
        return done ? 0 : -EINTR;
}

/* The lock is held, and let go for the request. */
static int do_job(struct lister *lister, struct node *folder, size_t limit)
{
        struct job *job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        job->folder = folder;
        job->references = 1;
        list_append(&lister->jobs, &job->node);
        pthread_mutex_unlock(&lister->lock);
        int error = ask(lister->mount, folder, limit);
        pthread_mutex_lock(&lister->lock);
        list_remove(&job->node);
        job->done = true;
        job->error = error;
        leave_job(job);
        pthread_cond_broadcast(&lister->done);
        look_ahead(lister); /* folders that were found in it may be what comes next */
        return error;
}

/* Another's listing that was given up, or was found to be long by somebody who wanted a short one, is asked for anew.
 * With a time to live of 0 each asks for himself: a listing under way may be older than what he knows. */
static int list_once(struct mount *mount, struct node *folder, size_t limit)
{
        struct lister *lister = mount->lister;
        struct job *job;
        int error = AGAIN, interrupted = 0;
        pthread_mutex_lock(&lister->lock);
        while (error == AGAIN && !interrupted) {
                job = mount->options.ttl_ms > 0 ? find_job(lister, folder) : NULL;
                if (!job) {
                        error = do_job(lister, folder, limit);
                        break;
                }
                interrupted = wait_for(lister, job, &error);
                if (error == -EINTR || (error == -EFBIG && limit == SIZE_MAX))
                        error = AGAIN;
        }
        pthread_mutex_unlock(&lister->lock);
        return interrupted ? interrupted : error;
}

int folder_list(struct mount *mount, struct node *folder)
{
        return tree_listed(mount->tree, folder) ? 0 : list_once(mount, folder, SIZE_MAX);
}

/* ---- instead of single names ---- */

/* Once two folders were listed for the names in them, further ones are at the first name. */
static bool is_eager(struct lister *lister)
{
        pthread_mutex_lock(&lister->lock);
        if (clock_ms() - lister->instead_ms > WALK_MS)
                lister->instead = 0;
        bool eager = lister->instead >= 2;
        pthread_mutex_unlock(&lister->lock);
        return eager;
}

static void count_instead(struct lister *lister)
{
        pthread_mutex_lock(&lister->lock);
        lister->instead++;
        lister->instead_ms = clock_ms();
        pthread_mutex_unlock(&lister->lock);
}

bool folder_list_instead(struct mount *mount, struct node *folder)
{
        if (mount->options.ttl_ms < LEAST_TTL_MS)
                return false;
        size_t limit = tree_misses(mount->tree, folder, is_eager(mount->lister));
        if (limit == 0)
                return false;
        count_instead(mount->lister);
        folder_walk(mount, folder);
        return list_once(mount, folder, limit) == 0;
}

/* ---- ahead ---- */

static void move_to(struct lister *lister, struct node *folder)
{
        struct tree *tree = lister->mount->tree;
        if (folder)
                tree_pin(tree, folder);
        if (lister->position)
                tree_unpin(tree, lister->position);
        lister->position = folder;
}

void folder_walk(struct mount *mount, struct node *folder)
{
        struct lister *lister = mount->lister;
        bool walks = tree_reads(mount->tree, folder);
        if (!walks || lister->thread_count == 0)
                return;
        pthread_mutex_lock(&lister->lock);
        uint64_t now = clock_ms();
        if (now - lister->walked_ms > WALK_MS)
                lister->steps = 0;
        lister->walked_ms = now;
        lister->steps++;
        lister->window = min_of((unsigned)FIRST_AHEAD << min_of(lister->steps - 1, 2u), (unsigned)AHEAD_FOLDERS);
        move_to(lister, folder);
        look_ahead(lister);
        pthread_mutex_unlock(&lister->lock);
}

static struct node *take(struct lister *lister)
{
        struct node *folder = lister->queue[0];
        lister->queued--;
        memmove(lister->queue, lister->queue + 1, lister->queued * sizeof(*lister->queue));
        return folder;
}

/* One connection is left to who comes; but while somebody waits for what others list, that is his. */
static bool may_list(const struct lister *lister)
{
        unsigned most = lister->thread_count - (lister->waiting == 0 && lister->thread_count > 1);
        return lister->queued > 0 && lister->working < most;
}

static void *list_ahead(void *context)
{
        struct lister *lister = context;
        remote_give_up_on(&lister->ending);
        pthread_mutex_lock(&lister->lock);
        while (!lister->ending) {
                if (!may_list(lister)) {
                        pthread_cond_wait(&lister->wanted, &lister->lock);
                        continue;
                }
                struct node *folder = take(lister);
                lister->working++;
                if (!find_job(lister, folder) && !tree_listed(lister->mount->tree, folder))
                        do_job(lister, folder, TREE_SHORT_LISTING);
                lister->working--;
                pthread_cond_signal(&lister->wanted); /* for who found no place a moment ago */
                tree_unpin(lister->mount->tree, folder);
        }
        pthread_mutex_unlock(&lister->lock);
        return NULL;
}

/* ---- its life ---- */

int folder_start(struct mount *mount)
{
        struct lister *lister = calloc(1, sizeof(*lister));
        if (!lister)
                return -ENOMEM;
        mount->lister = lister;
        lister->mount = mount;
        list_init(&lister->jobs);
        pthread_mutex_init(&lister->lock, NULL);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&lister->done, &monotonic);
        pthread_cond_init(&lister->wanted, NULL);
        pthread_condattr_destroy(&monotonic);
        unsigned wanted = min_of(mount->options.client.connections, (unsigned)MAX_LISTERS);
        if (mount->options.ttl_ms < LEAST_TTL_MS)
                wanted = 0;
        while (lister->thread_count < wanted &&
               pthread_create(&lister->threads[lister->thread_count], NULL, list_ahead, lister) == 0)
                lister->thread_count++;
        return 0; /* without threads nothing is listed ahead, that is all */
}

void folder_stop(struct mount *mount)
{
        struct lister *lister = mount->lister;
        if (!lister)
                return;
        pthread_mutex_lock(&lister->lock);
        lister->ending = true;
        pthread_cond_broadcast(&lister->wanted);
        pthread_mutex_unlock(&lister->lock);
        for (unsigned i = 0; i < lister->thread_count; i++)
                pthread_join(lister->threads[i], NULL);
        while (lister->queued > 0)
                tree_unpin(mount->tree, take(lister));
        move_to(lister, NULL);
        pthread_cond_destroy(&lister->wanted);
        pthread_cond_destroy(&lister->done);
        pthread_mutex_destroy(&lister->lock);
        free(lister);
        mount->lister = NULL;
}
