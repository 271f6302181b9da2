/* Small files ahead (small.h).
 *
 *   planned ── a connection is free ──► asked ── all has come ──► here ── read ──► free
 *      └─────────────── not wanted any more, or failed: free ◄──────┘
 *
 * The reader goes from file to file of one folder; `frontier` is the last that was planned, and more are planned from
 * there when half of the window is used up. What fails is not tried again here: whoever reads the file will. */
#include "mount/small.h"
#include "mount/block.h"
#include "mount/mount_priv.h"
#include "mount/pieces.h"

#include <errno.h>
#include <stdlib.h>

enum {
        PLACES = 64,
        FIRST_WINDOW = 4,
        MOST_WINDOW = 32,
        LEAST_STEPS = 3, /* files in order before the first is fetched */
        MOST_STEPS = 64,
        LEAST_TTL_MS = 200, /* what is known for less is not worth fetching beforehand */
        LOOK_MS = 100,      /* how soon who waits sees that he is being killed */
        PATIENCE_MS = 5000,
        LEFT_MS = 5000, /* what nobody has taken by then goes at the next read */
};

enum state { FREE, PLANNED, ASKED, HERE };

struct small {
        struct smalls *all;
        enum state state;
        struct node *node; /* pinned */
        char tag[CLIENT_TAG_BYTES];
        size_t size, arrived;
        char *data;
        struct call *call;
        uint64_t number; /* in the order of planning */
        uint64_t came_ms;
        atomic_bool unwanted; /* while it is asked for: it goes when that has ended */
        unsigned waiting;
};

struct smalls {
        struct mount *mount;
        struct small_counters counters;
        pthread_mutex_t lock; /* outside that of the tree and of the client */
        pthread_cond_t came;
        struct small places[PLACES];
        size_t bytes, most_bytes;
        unsigned under_way, most_under_way;
        uint64_t planned;
        struct node *last; /* read; pinned */
        unsigned steps[TREE_ORDERS], needed;
        enum tree_order order;
        unsigned window;       /* 0: nothing is fetched */
        struct node *frontier; /* pinned; NULL: the folder has no more */
        bool ending;
};

/* ---- places; under the lock ---- */

static void release(struct small *small)
{
        struct smalls *all = small->all;
        block_free(small->data, small->size);
        all->counters.dropped_bytes += small->arrived;
        all->bytes -= small->size;
        tree_unpin(all->mount->tree, small->node);
        free(small->call);
        *small = (struct small){ .all = all };
}

/* What is under way goes when it has come. */
static void drop(struct small *small)
{
        if (small->state == ASKED)
                atomic_store(&small->unwanted, true);
        else if (small->state != FREE && small->waiting == 0)
                release(small);
}

static void drop_all(struct smalls *all)
{
        for (unsigned i = 0; i < PLACES; i++)
                drop(&all->places[i]);
}

static void drop_idle(struct smalls *all, uint64_t now)
{
        for (unsigned i = 0; i < PLACES; i++)
                if (all->places[i].state == HERE && now - all->places[i].came_ms > LEFT_MS)
                        drop(&all->places[i]);
}

static struct small *find(struct smalls *all, const struct node *node)
{
        for (unsigned i = 0; i < PLACES; i++)
                if (all->places[i].node == node && !atomic_load(&all->places[i].unwanted))
                        return &all->places[i];
        return NULL;
}

static struct small *find_free(struct smalls *all)
{
        for (unsigned i = 0; i < PLACES; i++)
                if (all->places[i].state == FREE)
                        return &all->places[i];
        return NULL;
}

static unsigned count_wanted(const struct smalls *all)
{
        unsigned count = 0;
        for (unsigned i = 0; i < PLACES; i++)
                count += all->places[i].state != FREE && !atomic_load(&all->places[i].unwanted);
        return count;
}

static void hold(struct smalls *all, struct node **where, struct node *node)
{
        if (node)
                tree_pin(all->mount->tree, node);
        if (*where)
                tree_unpin(all->mount->tree, *where);
        *where = node;
}

/* ---- asking ---- */

static int on_bytes(struct call *call, const char *data, size_t size)
{
        struct small *small = call->context;
        int error = small->arrived == 0 ? answer_check(call, 0) : 0;
        size_t part = min_of(size, small->size - small->arrived);
        if (error < 0)
                return error;
        memcpy(small->data + small->arrived, data, part);
        small->arrived += part;
        return part < size ? -EFBIG : 0;
}

static void start_planned(struct smalls *all);

static void on_done(struct call *call)
{
        struct small *small = call->context;
        struct smalls *all = small->all;
        pthread_mutex_lock(&all->lock);
        bool whole = remote_read_result(call) == 0 && small->arrived == small->size;
        all->under_way--;
        small->state = HERE;
        small->came_ms = clock_ms();
        free(small->call);
        small->call = NULL;
        if (!whole || atomic_load(&small->unwanted)) {
                atomic_store(&small->unwanted, true);
                drop(small); /* or who waits for it does */
        }
        start_planned(all);
        pthread_cond_broadcast(&all->came);
        pthread_mutex_unlock(&all->lock);
}

static int start(struct smalls *all, struct small *small)
{
        struct mount *mount = all->mount;
        char path[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, small->node, NULL, path);
        if (error)
                return error;
        small->call = malloc(sizeof(*small->call));
        small->data = block_new(small->size);
        if (!small->call || !small->data)
                return -ENOMEM;
        error = remote_read_call(&mount->remote, small->call, path, small->tag, 0, small->size);
        if (error)
                return error;
        small->call->receive = on_bytes;
        small->call->done = on_done;
        small->call->context = small;
        small->call->quick = true;
        small->call->given_up = &small->unwanted;
        small->state = ASKED;
        all->under_way++;
        all->counters.asked++;
        client_start(mount->client, small->call);
        return 0;
}

static struct small *first_planned(struct smalls *all)
{
        struct small *first = NULL;
        for (unsigned i = 0; i < PLACES; i++)
                if (all->places[i].state == PLANNED && (!first || all->places[i].number < first->number))
                        first = &all->places[i];
        return first;
}

static void start_planned(struct smalls *all)
{
        struct small *small;
        while (!all->ending && all->under_way < all->most_under_way && (small = first_planned(all)))
                if (start(all, small) < 0)
                        release(small);
}

/* ---- planning ---- */

/* False: there is no room. */
static bool plan_one(struct smalls *all, const struct tree_sibling *sibling)
{
        struct small *small = find_free(all);
        if (find(all, sibling->node))
                return true;
        if (!small || all->bytes + sibling->size > all->most_bytes)
                return false;
        tree_pin(all->mount->tree, sibling->node);
        small->state = PLANNED;
        small->node = sibling->node;
        small->size = sibling->size;
        memcpy(small->tag, sibling->tag, sizeof(small->tag));
        small->number = ++all->planned;
        all->bytes += small->size;
        return true;
}

static void plan(struct smalls *all)
{
        struct tree_sibling siblings[MOST_WINDOW];
        unsigned wanted = count_wanted(all);
        if (!all->frontier || wanted > all->window / 2)
                return;
        struct tree *tree = all->mount->tree;
        size_t count = tree_siblings(tree, all->frontier, all->order, SMALL_FILE_BYTES, siblings, all->window - wanted);
        if (count == 0)
                hold(all, &all->frontier, NULL);
        for (size_t i = 0, planned = 0; i < count; i++) {
                if (planned == i && plan_one(all, &siblings[i])) {
                        hold(all, &all->frontier, siblings[i].node);
                        planned++;
                }
                tree_unpin(tree, siblings[i].node);
        }
}

static void begin(struct smalls *all, struct node *node, enum tree_order order)
{
        all->order = order;
        all->window = FIRST_WINDOW;
        hold(all, &all->frontier, node);
}

/* It was not what had been planned. Who came to the end of a folder, and has taken all, goes on in the next one. */
static void end(struct smalls *all, struct node *node)
{
        bool through = !all->frontier && count_wanted(all) == 0;
        drop_all(all);
        all->window = 0;
        memset(all->steps, 0, sizeof(all->steps));
        hold(all, &all->frontier, NULL);
        if (through)
                begin(all, node, all->order);
        else
                all->needed = min_of(2 * all->needed, (unsigned)MOST_STEPS);
}

static void step(struct smalls *all, struct node *node)
{
        for (enum tree_order order = 0; order < TREE_ORDERS; order++) {
                bool follows = all->last && tree_follows(all->mount->tree, all->last, node, order);
                all->steps[order] = follows ? all->steps[order] + 1 : 0;
                if (all->window == 0 && all->steps[order] >= all->needed)
                        begin(all, node, order);
        }
}

/* The reader is at that file now. */
static void follow(struct smalls *all, struct node *node, bool planned)
{
        if (all->last == node)
                return;
        if (all->window > 0 && planned) {
                all->window = min_of(2 * all->window, (unsigned)MOST_WINDOW);
                all->needed = LEAST_STEPS;
        } else if (all->window > 0) {
                end(all, node);
        } else {
                step(all, node);
        }
        hold(all, &all->last, node);
        if (all->window > 0)
                plan(all);
        start_planned(all);
}

/* ---- reading ---- */

/* Until it has come, or is not to be waited for any more. It was counted as waited for before. */
static void wait_for(struct smalls *all, struct small *small)
{
        const atomic_bool *given_up = remote_given_up();
        uint64_t until_ms = clock_ms() + PATIENCE_MS;
        while (small->state == ASKED && clock_ms() < until_ms && !(given_up && atomic_load(given_up))) {
                struct timespec until = clock_after_ms(LOOK_MS);
                pthread_cond_timedwait(&all->came, &all->lock, &until);
        }
        small->waiting--;
}

/* The bytes go with the view. */
static ssize_t take(struct smalls *all, struct small *small, struct ahead_view *view)
{
        size_t size = small->size;
        view->memory = small->data;
        view->memory_bytes = size;
        view->parts[0] = (struct iovec){ small->data, size };
        view->count = 1;
        view->piece_count = 0;
        small->data = NULL;
        small->arrived = 0;
        all->counters.used++;
        release(small);
        return (ssize_t)size;
}

static bool is_that(const struct small *small, const char *tag, size_t size)
{
        return small->size == size && strcmp(small->tag, tag) == 0;
}

static bool is_ready(const struct small *small, const char *tag, size_t size)
{
        return small->state == HERE && !atomic_load(&small->unwanted) && small->waiting == 0 &&
               is_that(small, tag, size);
}

ssize_t small_read(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view)
{
        struct smalls *all = mount->smalls;
        ssize_t result = 0;
        if (all->most_bytes == 0)
                return 0;
        pthread_mutex_lock(&all->lock);
        drop_idle(all, clock_ms());
        struct small *small = find(all, node);
        bool planned = small != NULL;
        if (small && (small->state == PLANNED || !is_that(small, tag, size))) {
                drop(small); /* he asks sooner himself */
                small = NULL;
        }
        if (small)
                small->waiting++; /* so that it stays his, whatever comes next */
        follow(all, node, planned);
        if (small)
                wait_for(all, small);
        if (small && is_ready(small, tag, size))
                result = take(all, small, view);
        else if (small)
                drop(small);
        pthread_mutex_unlock(&all->lock);
        return result;
}

ssize_t small_take(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view)
{
        struct smalls *all = mount->smalls;
        ssize_t result = 0;
        if (all->most_bytes == 0)
                return 0;
        pthread_mutex_lock(&all->lock);
        struct small *small = find(all, node);
        if (small && is_ready(small, tag, size)) {
                small->waiting++; /* so that it stays his */
                follow(all, node, true);
                small->waiting--;
                result = take(all, small, view);
        }
        pthread_mutex_unlock(&all->lock);
        return result;
}

/* ---- life ---- */

size_t small_share(uint64_t read_ahead_bytes)
{
        size_t share = (size_t)(read_ahead_bytes / 8);
        return share < SMALL_FILE_BYTES ? 0 : share;
}

const struct small_counters *small_counters(const struct mount *mount)
{
        return &mount->smalls->counters;
}

int small_start(struct mount *mount)
{
        struct smalls *all = calloc(1, sizeof(*all));
        pthread_condattr_t monotonic;
        if (!all)
                return -ENOMEM;
        all->mount = mount;
        all->needed = LEAST_STEPS;
        all->most_bytes = mount->options.ttl_ms < LEAST_TTL_MS ? 0 : small_share(mount->options.read_ahead_bytes);
        all->most_under_way = max_of(mount->options.client.connections / 2, 1u);
        for (unsigned i = 0; i < PLACES; i++)
                all->places[i].all = all;
        pthread_mutex_init(&all->lock, NULL);
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&all->came, &monotonic);
        pthread_condattr_destroy(&monotonic);
        mount->smalls = all;
        return 0;
}

/* Requests under way are given up, which the client sees soon. */
void small_stop(struct mount *mount)
{
        struct smalls *all = mount->smalls;
        if (!all)
                return;
        pthread_mutex_lock(&all->lock);
        all->ending = true;
        drop_all(all);
        while (all->under_way > 0)
                pthread_cond_wait(&all->came, &all->lock);
        hold(all, &all->last, NULL);
        hold(all, &all->frontier, NULL);
        pthread_mutex_unlock(&all->lock);
        pthread_cond_destroy(&all->came);
        pthread_mutex_destroy(&all->lock);
        free(all);
        mount->smalls = NULL;
}
