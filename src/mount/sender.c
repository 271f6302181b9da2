/* The sender: all files that are open or dirty, the memory of what they gathered, and the threads that send it in the
 * background.
 *
 * A file that has something to be sent is in the list of dirty files. A thread takes one that is due (an extent is
 * full), that nobody wrote to for --flush-after, or any when writers wait for room. close() and fsync() send in the
 * thread of the program that waits for it, which saves two hand-overs.
 *
 * Of the threads without work one watches for what becomes due with time, by steps that are long while nothing is dirty.
 * The others sleep until they are called; who leaves the watch for work calls one of them to take it over. */
#include "mount/block.h"
#include "mount/file_inner.h"
#include "mount/later.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        MAX_SENDERS = 8,
        TICK_MS = 500, /* how exactly --flush-after and refreshing are kept */
        TRIM_MS = 5000,
        MOMENT_MS = 1000, /* for a file of many that are left when the server is away */
        PRESSED_MS = 10,  /* between two looks at a file that has nothing due, when room is wanted */
};

struct sender {
        struct mount *mount;
        pthread_mutex_t lock;
        pthread_cond_t work, room;
        struct list dirty;
        struct list locked;        /* files with a lock on the server */
        uint64_t round;            /* of going through all dirty files */
        unsigned waiting;          /* writers that wait for room */
        struct list writers;       /* they, in the order they came: small writes do not overtake large ones for ever */
        size_t buffered, reserved; /* memory of all extents; of writes under way */
        uint64_t trim_ms;          /* when to look whether memory that is kept was of use */
        uint64_t busy_ms;          /* when something was last seen to be dirty or locked */
        bool watched;
        bool stop;
        unsigned thread_count;
        pthread_t threads[MAX_SENDERS];
};

/* ---- references ---- */

static struct file *make_file(struct mount *mount, struct node *node)
{
        struct file *file = calloc(1, sizeof(*file));
        if (!file)
                return NULL;
        file->mount = mount;
        file->node = node;
        file->spool = -1;
        file->told = true;
        file->undurable = true;
        list_init(&file->dirty_node);
        list_init(&file->locked_node);
        pthread_mutex_init(&file->lock, NULL);
        pthread_cond_init(&file->turn_ended, NULL);
        gather_init(&file->gather, mount->options.extent_bytes, FILE_MAX_EXTENTS);
        tree_pin(mount->tree, node);
        tree_set_file(mount->tree, node, file);
        return file;
}

struct file *file_get(struct mount *mount, struct node *node, bool make)
{
        pthread_mutex_lock(&mount->sender->lock);
        struct file *file = tree_file(mount->tree, node);
        if (!file && make)
                file = make_file(mount, node);
        if (file)
                file->references++;
        pthread_mutex_unlock(&mount->sender->lock);
        return file;
}

static void free_file(struct file *file)
{
        struct mount *mount = file->mount;
        size_t before = file->gather.held_bytes;
        gather_finish(&file->gather);
        buffer_moved(file, before);
        if (file->stream)
                ahead_close(mount->ahead, file->stream);
        spool_close(file);
        pthread_mutex_destroy(&file->lock);
        pthread_cond_destroy(&file->turn_ended);
        tree_unpin(mount->tree, file->node);
        free(file);
}

void file_put(struct file *file)
{
        struct mount *mount = file->mount;
        pthread_mutex_lock(&mount->sender->lock);
        ensure(file->references > 0);
        bool last = --file->references == 0;
        if (last)
                tree_set_file(mount->tree, file->node, NULL);
        pthread_mutex_unlock(&mount->sender->lock);
        if (last)
                free_file(file);
}
/* ---- the buffer of all files ---- */

static void count_buffered(struct sender *sender)
{
        struct mount_counters *counters = &sender->mount->counters;
        counters->buffered_bytes = sender->buffered;
        counters->buffered_peak_bytes = max_of(counters->buffered_peak_bytes, sender->buffered);
}

void buffer_moved(struct file *file, size_t before)
{
        struct sender *sender = file->mount->sender;
        size_t after = file->gather.held_bytes;
        if (after == before)
                return;
        pthread_mutex_lock(&sender->lock);
        sender->buffered += after - before;
        count_buffered(sender);
        if (after < before)
                pthread_cond_broadcast(&sender->room);
        pthread_mutex_unlock(&sender->lock);
}

void buffer_cut(struct file *file, uint64_t size)
{
        size_t before = file->gather.held_bytes;
        gather_truncate(&file->gather, size);
        buffer_moved(file, before);
}

static bool has_room(const struct sender *sender, size_t size)
{
        size_t taken = sender->buffered + sender->reserved;
        return taken == 0 || taken + size <= sender->mount->options.write_buffer_bytes;
}

/* Room comes within --retry: by then everything in flight has been sent or has failed. */
int buffer_reserve(struct mount *mount, size_t size)
{
        struct sender *sender = mount->sender;
        uint64_t until_ms = clock_ms() + mount->options.client.retry_ms + mount->options.client.stall_ms;
        struct list place;
        int error = 0;
        if (size == 0)
                return 0;
        list_init(&place);
        pthread_mutex_lock(&sender->lock);
        if (!list_empty(&sender->writers) || !has_room(sender, size))
                mount->counters.buffer_waits++;
        list_append(&sender->writers, &place);
        while ((sender->writers.next != &place || !has_room(sender, size)) && !error) {
                struct timespec at = clock_after_ms(1000);
                sender->waiting++;
                pthread_cond_broadcast(&sender->work);
                pthread_cond_timedwait(&sender->room, &sender->lock, &at);
                sender->waiting--;
                if (clock_ms() > until_ms)
                        error = -EIO;
        }
        list_remove(&place);
        if (!error)
                sender->reserved += size;
        if (sender->waiting > 0)
                pthread_cond_broadcast(&sender->room); /* it is the next one's */
        pthread_mutex_unlock(&sender->lock);
        return error;
}

void buffer_release(struct mount *mount, size_t size)
{
        struct sender *sender = mount->sender;
        pthread_mutex_lock(&sender->lock);
        ensure(sender->reserved >= size);
        sender->reserved -= size;
        if (sender->waiting > 0)
                pthread_cond_broadcast(&sender->room);
        pthread_mutex_unlock(&sender->lock);
}

/* ---- dirt ---- */

void file_own(struct file *file)
{
        if (file->told) {
                file->told = false;
                tree_own(file->mount->tree, file->node);
        }
}

void file_mark(struct file *file)
{
        struct sender *sender = file->mount->sender;
        bool due = gather_due(&file->gather, false, UINT64_MAX) != NULL;
        file_own(file);
        pthread_mutex_lock(&sender->lock);
        file->touched_ms = clock_ms();
        if (!file->dirty) {
                file->dirty = true;
                file->references++;
                list_append(&sender->dirty, &file->dirty_node);
        }
        if (due && !file->due)
                pthread_cond_signal(&sender->work);
        file->due = due;
        pthread_mutex_unlock(&sender->lock);
}

void file_unmark(struct file *file)
{
        struct sender *sender = file->mount->sender;
        if (!file->told) {
                file->told = true;
                tree_disown(file->mount->tree, file->node);
        }
        later_end(file);
        pthread_mutex_lock(&sender->lock);
        if (file->dirty) {
                file->dirty = file->due = false;
                list_remove(&file->dirty_node);
                file->references--;
        }
        pthread_mutex_unlock(&sender->lock);
}

/* ---- in the background ---- */

static bool wants_sending(struct sender *sender, struct file *file, uint64_t now_ms)
{
        if (file->claimed || now_ms < file->resting_until_ms)
                return false;
        if (file->due)
                return true;
        if (now_ms < file->looked_at_ms + (sender->waiting > 0 ? PRESSED_MS : TICK_MS))
                return false;
        return sender->waiting > 0 || now_ms - file->touched_ms >= sender->mount->options.flush_after_ms;
}

static struct file *choose(struct sender *sender)
{
        uint64_t now_ms = clock_ms();
        for (struct list *l = sender->dirty.next; l != &sender->dirty; l = l->next) {
                struct file *file = container_of(l, struct file, dirty_node);
                if (wants_sending(sender, file, now_ms))
                        return file;
        }
        return NULL;
}

/* What of it is to be sent now. A hidden file lives as long as it is open: only want of room sends it. */
static bool choose_what(struct file *file, bool pressed, enum file_send *what)
{
        bool quiet = clock_ms() - file->touched_ms >= file->mount->options.flush_after_ms;
        *what = pressed || (quiet && !file->hidden[0]) ? FILE_SEND_ALL : FILE_SEND_DUE;
        return !file->stale;
}

/* The server was there and did not take it, nor when it was tried again. What may pass by itself is not meant. */
static bool is_refusal(int error)
{
        return error && error != -EINTR && error != -EIO && error != -ETIMEDOUT && error != -EBUSY && error != -ENOMEM;
}

/* Others wait for its memory, and it will not be sent as things are. Whoever has it open goes on being told why. What
 * has no other place, and may be taken yet, stays. */
static void put_aside(struct file *file)
{
        if (file->gather.count == 0)
                return;
        if (!file->hidden[0]) {
                if (unsent_save(file) < 0 && !file->stale)
                        return;
                file->mount->counters.lost_writes++;
        }
        file->stale = file->aside = true; /* what came later would stand beside a gap */
        buffer_cut(file, 0);
}

static void send_in_background(struct file *file, bool pressed)
{
        struct sender *sender = file->mount->sender;
        enum file_send what;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        bool refused_before = is_refusal(file->error);
        int error = file->told ? 0 : choose_what(file, pressed, &what) ? file_send(file, what) : -ESTALE;
        if (pressed && (file->stale || (refused_before && is_refusal(error))))
                put_aside(file);
        bool due = !error && gather_due(&file->gather, false, UINT64_MAX) != NULL;
        bool over = file->opens == 0;
        file_give_turn(file);
        pthread_mutex_lock(&sender->lock);
        file->due = due;
        file->looked_at_ms = clock_ms();
        pthread_mutex_unlock(&sender->lock);
        pthread_mutex_unlock(&file->lock);
        if (error && over)
                file_abandon(file);
}

/* Who opens it now begins with what the server has; under the name of a new one that may be somebody else's. */
static void forget_unsent(struct file *file)
{
        buffer_cut(file, 0);
        spool_close(file);
        file->spool_dirty = file->stale = file->aside = false;
        file->with.has_mode = file->with.has_mtime = false;
        file->error = 0;
        file->unsent = false; /* it stays counted */
        file->size = file->server_size;
        if (!file->hidden[0])
                file->start = FILE_ON_SERVER;
}

/* Removed or replaced, and no content is left to be sent: what the kernel still tells of its times is of no use. */
static bool is_gone(struct file *file)
{
        char path[REMOTE_PATH_BYTES];
        return file->gather.count == 0 && !file->spool_dirty && file_path(file, path) == -ESTALE;
}

/* Nobody will ask for it any more, and it cannot be sent: it is kept elsewhere. */
void file_abandon(struct file *file)
{
        struct mount *mount = file->mount;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        if (file->opens == 0 && !file->told) {
                if (is_gone(file)) {
                        file_count_unsent(file, false);
                } else if (!file->hidden[0]) {
                        mount->counters.lost_writes += !file->stale || file->gather.count > 0 || file->spool_dirty;
                        file_count_unsent(file, true);
                        unsent_save(file);
                        int error = file->error ? file->error : -ESTALE;
                        tree_lost(mount->tree, file->node, file->pending ? error : 0);
                }
                lease_give(file);
                file_unmark(file);
                tree_distrust(mount->tree, file->node);
                forget_unsent(file);
        }
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
}

void file_rest(struct file *file, unsigned ms)
{
        pthread_mutex_lock(&file->mount->sender->lock);
        file->resting_until_ms = clock_ms() + ms;
        pthread_mutex_unlock(&file->mount->sender->lock);
}

void file_hurry(struct file *file)
{
        struct sender *sender = file->mount->sender;
        pthread_mutex_lock(&sender->lock);
        file->touched_ms = 0;
        file->resting_until_ms = 0;
        pthread_cond_signal(&sender->work);
        pthread_mutex_unlock(&sender->lock);
}

/* What begins meanwhile is not due before the step is over. */
static unsigned step_ms(struct sender *sender)
{
        uint64_t now_ms = clock_ms();
        if (sender->waiting > 0)
                return PRESSED_MS;
        if (!list_empty(&sender->dirty) || !list_empty(&sender->locked))
                sender->busy_ms = now_ms;
        if (now_ms - sender->busy_ms < TRIM_MS)
                return TICK_MS;
        return (unsigned)max_of(min_of(sender->mount->options.flush_after_ms, (uint64_t)TRIM_MS), (uint64_t)TICK_MS);
}

static void watch(struct sender *sender)
{
        struct timespec at = clock_after_ms(step_ms(sender));
        sender->watched = true;
        pthread_cond_timedwait(&sender->work, &sender->lock, &at);
        sender->watched = false;
        uint64_t now_ms = clock_ms();
        if (now_ms < sender->trim_ms)
                return;
        sender->trim_ms = now_ms + TRIM_MS;
        block_trim();
}

/* Who goes to work, and lets go of the lock, is not there to watch. */
static void leave_watch(struct sender *sender)
{
        if (!sender->watched)
                pthread_cond_signal(&sender->work);
}

/* No file is to be sent now. */
static void wait_for_work(struct sender *sender)
{
        if (!later_is_due(sender->mount)) {
                if (sender->watched)
                        pthread_cond_wait(&sender->work, &sender->lock);
                else
                        watch(sender);
                return;
        }
        leave_watch(sender);
        pthread_mutex_unlock(&sender->lock);
        later_send(sender->mount, NULL);
        pthread_mutex_lock(&sender->lock);
}

/* ---- locks that are held ---- */

void sender_add_locked(struct file *file)
{
        pthread_mutex_lock(&file->mount->sender->lock);
        list_append(&file->mount->sender->locked, &file->locked_node);
        file->refresh_ms = clock_ms() + FILE_LOCK_SECONDS * 1000 / 3;
        pthread_mutex_unlock(&file->mount->sender->lock);
}

void sender_remove_locked(struct file *file)
{
        pthread_mutex_lock(&file->mount->sender->lock);
        list_remove(&file->locked_node);
        pthread_mutex_unlock(&file->mount->sender->lock);
}

/* A file whose lock is to be refreshed, with a reference. They stand in the order of their times. */
static struct file *next_to_refresh(struct sender *sender)
{
        if (list_empty(&sender->locked))
                return NULL;
        struct file *file = container_of(sender->locked.next, struct file, locked_node);
        uint64_t now_ms = clock_ms();
        if (now_ms < file->refresh_ms)
                return NULL;
        file->refresh_ms = now_ms + FILE_LOCK_SECONDS * 1000 / 3;
        list_remove(&file->locked_node);
        list_append(&sender->locked, &file->locked_node);
        file->references++;
        return file;
}

static void *sender_thread(void *context)
{
        struct sender *sender = context;
        pthread_mutex_lock(&sender->lock);
        while (!sender->stop) {
                struct file *file = next_to_refresh(sender);
                if (file) {
                        leave_watch(sender);
                        pthread_mutex_unlock(&sender->lock);
                        lease_refresh(file);
                        file_put(file);
                        pthread_mutex_lock(&sender->lock);
                        continue;
                }
                file = choose(sender);
                if (!file) {
                        wait_for_work(sender);
                        continue;
                }
                file->claimed = true;
                file->references++;
                bool pressed = sender->waiting > 0;
                /* The next one that is chosen is another. */
                list_remove(&file->dirty_node);
                list_append(&sender->dirty, &file->dirty_node);
                leave_watch(sender);
                pthread_mutex_unlock(&sender->lock);
                send_in_background(file, pressed);
                pthread_mutex_lock(&sender->lock);
                file->claimed = false;
                pthread_mutex_unlock(&sender->lock);
                file_put(file);
                pthread_mutex_lock(&sender->lock);
        }
        pthread_mutex_unlock(&sender->lock);
        return NULL;
}

/* ---- all of it ---- */

/* A dirty file that this round has not seen, with a reference. */
static struct file *next_of_round(struct sender *sender, uint64_t round)
{
        struct file *found = NULL;
        pthread_mutex_lock(&sender->lock);
        for (struct list *l = sender->dirty.next; l != &sender->dirty && !found; l = l->next) {
                struct file *file = container_of(l, struct file, dirty_node);
                if (file->round != round)
                        found = file;
        }
        if (found) {
                found->round = round;
                found->references++;
        }
        pthread_mutex_unlock(&sender->lock);
        return found;
}

static uint64_t begin_round(struct sender *sender)
{
        pthread_mutex_lock(&sender->lock);
        uint64_t round = ++sender->round;
        pthread_mutex_unlock(&sender->lock);
        return round;
}

/* Says it where it cannot be. What was removed while it is open goes with its last close. */
static bool sends_all(struct file *file)
{
        char path[REMOTE_PATH_BYTES];
        int error = file->hidden[0] ? 0 : file_send(file, FILE_SEND_ALL);
        if (error)
                complain("%s cannot be sent: %s", file_path(file, path) == 0 ? path : "a removed file",
                         strerror(-error));
        return !error;
}

bool file_server_is_away(int error)
{
        return error == -EIO || error == -ETIMEDOUT;
}

/* Many may be left when the server goes away. The first has all of --retry; the others share as much again, and have a
 * moment each. */
struct farewell {
        uint64_t away_ms; /* since when; 0: it is there */
};

static void see_off(struct mount *mount, struct farewell *farewell, int error)
{
        if (!file_server_is_away(error) || farewell->away_ms > 0)
                return;
        farewell->away_ms = clock_ms();
        client_set_retry(mount->client, min_of(mount->options.client.retry_ms, (unsigned)MOMENT_MS));
}

static bool is_worth_trying(const struct mount *mount, const struct farewell *farewell)
{
        return farewell->away_ms == 0 || clock_ms() - farewell->away_ms < mount->options.client.retry_ms;
}

unsigned file_send_all(struct mount *mount)
{
        struct farewell farewell = { 0 };
        unsigned failed = 0;
        uint64_t round = begin_round(mount->sender);
        for (struct file *file; (file = next_of_round(mount->sender, round));) {
                pthread_mutex_lock(&file->lock);
                file_take_turn(file);
                if (!file->told && !(is_worth_trying(mount, &farewell) && sends_all(file))) {
                        failed++;
                        see_off(mount, &farewell, file->error);
                }
                file_give_turn(file);
                pthread_mutex_unlock(&file->lock);
                file_put(file);
        }
        failed += later_send(mount, NULL);
        if (farewell.away_ms > 0)
                client_set_retry(mount->client, mount->options.client.retry_ms);
        return failed;
}

static int send_pending(struct mount *mount, struct node *node)
{
        struct file *file = file_get(mount, node, false);
        int error = 0;
        if (!file)
                return 0;
        pthread_mutex_lock(&file->lock);
        if (file->pending) {
                file_take_turn(file);
                error = file->pending ? file_send(file, FILE_SEND_ALL) : 0;
                file_give_turn(file);
        }
        pthread_mutex_unlock(&file->lock);
        file_put(file);
        return error;
}

int file_send_below(struct mount *mount, struct node *folder)
{
        struct node **nodes;
        size_t count;
        if (!mount->later)
                return 0;
        int result = tree_pin_open(mount->tree, folder, &nodes, &count);
        if (result)
                return result;
        for (size_t i = 0; i < count; i++) {
                int error = send_pending(mount, nodes[i]);
                result = result ? result : error;
                tree_unpin(mount->tree, nodes[i]);
        }
        free(nodes);
        later_send(mount, folder);
        int failed = tree_take_failure(mount->tree, folder);
        return result ? result : failed;
}

int file_start(struct mount *mount)
{
        struct sender *sender = calloc(1, sizeof(*sender));
        if (!sender)
                return -ENOMEM;
        sender->mount = mount;
        pthread_mutex_init(&sender->lock, NULL);
        pthread_condattr_t monotonic; /* waits are no longer when somebody sets the clock back */
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&sender->work, &monotonic);
        pthread_cond_init(&sender->room, &monotonic);
        pthread_condattr_destroy(&monotonic);
        list_init(&sender->dirty);
        list_init(&sender->locked);
        list_init(&sender->writers);
        mount->sender = sender;
        int error = later_start(mount);
        unsigned wanted = min_of(mount->options.client.connections, (unsigned)MAX_SENDERS);
        while (!error && sender->thread_count < wanted &&
               pthread_create(&sender->threads[sender->thread_count], NULL, sender_thread, sender) == 0)
                sender->thread_count++;
        if (sender->thread_count > 0)
                return 0;
        file_stop(mount);
        return error ? error : -EAGAIN;
}

/* What could not be sent is left in a local folder. Locks are given up as long as the server answers soon, else they run
 * out by themselves. */
static void abandon_all(struct mount *mount)
{
        uint64_t round = begin_round(mount->sender), until_ms = clock_ms() + 2 * MOMENT_MS;
        client_set_retry(mount->client, min_of(mount->options.client.retry_ms, (unsigned)MOMENT_MS));
        for (struct file *file; (file = next_of_round(mount->sender, round));) {
                unsigned opens = file->opens; /* whose end the kernel has not told, and will not */
                file->opens = 0;
                if (clock_ms() >= until_ms)
                        lease_drop(file);
                file_abandon(file);
                while (opens-- > 0)
                        file_put(file);
                file_put(file);
        }
}

void file_stop(struct mount *mount)
{
        struct sender *sender = mount->sender;
        if (!sender)
                return;
        pthread_mutex_lock(&sender->lock);
        sender->stop = true;
        pthread_cond_broadcast(&sender->work);
        pthread_mutex_unlock(&sender->lock);
        for (unsigned i = 0; i < sender->thread_count; i++)
                pthread_join(sender->threads[i], NULL);
        abandon_all(mount);
        later_stop(mount);
        pthread_mutex_destroy(&sender->lock);
        pthread_cond_destroy(&sender->work);
        pthread_cond_destroy(&sender->room);
        free(sender);
        mount->sender = NULL;
}
