/* Sending what was written: turns, the rules of what goes out when, the threads that do it in the background.
 *
 * A file that has something to be sent is in the list of dirty files. A thread of the sender takes one that is due
 * (an extent is full), that nobody wrote to for --flush-after, or any when writers wait for room. close() and fsync()
 * send in the thread of the program that waits for it, which saves two hand-overs. */
#include "mount/file_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        MAX_SENDERS = 8,
        TICK_MS = 500,  /* how exactly --flush-after and refreshing are kept */
        REST_MS = 5000, /* before a failed file is tried again in the background */
};

struct sender {
        struct mount *mount;
        pthread_mutex_t lock;
        pthread_cond_t work, room;
        struct list dirty;
        struct list locked; /* files with a lock on the server */
        uint64_t refresh_ms, round;
        unsigned waiting;          /* writers that wait for room */
        size_t buffered, reserved; /* memory of all extents; of writes under way */
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

/* ---- turns ---- */

void file_take_turn(struct file *file)
{
        while (file->turn)
                pthread_cond_wait(&file->turn_ended, &file->lock);
        file->turn = true;
}

void file_give_turn(struct file *file)
{
        ensure(file->turn);
        file->turn = false;
        pthread_cond_broadcast(&file->turn_ended);
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

static bool has_room(const struct sender *sender, size_t size)
{
        size_t taken = sender->buffered + sender->reserved;
        return taken == 0 || taken + size <= sender->mount->options.write_buffer_bytes;
}

static struct timespec wall_in_ms(unsigned ms)
{
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec += ms / 1000;
        at.tv_nsec += ms % 1000 * 1000000L;
        if (at.tv_nsec >= 1000000000L) {
                at.tv_nsec -= 1000000000L;
                at.tv_sec++;
        }
        return at;
}

/* Room comes within --retry: by then everything in flight has been sent or has failed. */
int buffer_reserve(struct mount *mount, size_t size)
{
        struct sender *sender = mount->sender;
        uint64_t until_ms = clock_ms() + mount->options.client.retry_ms + mount->options.client.stall_ms;
        int error = 0;
        pthread_mutex_lock(&sender->lock);
        if (!has_room(sender, size))
                mount->counters.buffer_waits++;
        while (!has_room(sender, size) && !error) {
                struct timespec at = wall_in_ms(1000);
                sender->waiting++;
                pthread_cond_broadcast(&sender->work);
                pthread_cond_timedwait(&sender->room, &sender->lock, &at);
                sender->waiting--;
                if (clock_ms() > until_ms)
                        error = -EIO;
        }
        if (!error)
                sender->reserved += size;
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

void file_mark(struct file *file)
{
        struct sender *sender = file->mount->sender;
        bool due = gather_due(&file->gather, false, 0) != NULL;
        if (file->told) {
                file->told = false;
                tree_own(file->mount->tree, file->node);
        }
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

/* Takes it from the list of dirty files. The caller holds a reference of its own. */
static void unmark(struct file *file)
{
        struct sender *sender = file->mount->sender;
        pthread_mutex_lock(&sender->lock);
        if (file->dirty) {
                file->dirty = file->due = false;
                list_remove(&file->dirty_node);
                file->references--;
        }
        pthread_mutex_unlock(&sender->lock);
}

int file_path(struct file *file, char out[REMOTE_PATH_BYTES])
{
        if (!file->hidden[0])
                return tree_path(file->mount->tree, file->node, NULL, out);
        memcpy(out, file->hidden, sizeof(file->hidden));
        return 0;
}

int file_failed(struct file *file, int error)
{
        if (error == -ESTALE || error == -EEXIST) {
                if (!file->stale)
                        file->mount->counters.conflicts++;
                file->stale = true;
                error = -ESTALE;
        }
        file->error = error;
        pthread_mutex_lock(&file->mount->sender->lock);
        file->resting_until_ms = clock_ms() + REST_MS;
        pthread_mutex_unlock(&file->mount->sender->lock);
        return error;
}

/* ---- one request ---- */

/* What goes with a write: the time that programs are to see, and the mode when it is not told yet. */
static struct remote_times_and_mode goes_with(const struct file *file)
{
        struct remote_times_and_mode with = file->with;
        if (!with.has_mtime) {
                struct timespec now;
                clock_gettime(CLOCK_REALTIME, &now);
                with.has_mtime = true;
                with.mtime_s = now.tv_sec;
                with.mtime_ns = (uint32_t)now.tv_nsec;
        }
        return with;
}

static void tell_time(struct file *file, const struct remote_times_and_mode *with)
{
        struct tree_update update = { .has_mtime = true, .mtime_s = with->mtime_s, .mtime_ns = with->mtime_ns };
        tree_update(file->mount->tree, file->node, &update);
}

/* The file stands there now as `result` tells. Mutex held. `path` to ask where the server does not tell. */
static int accepted(struct file *file, const char *path, const struct remote_result *result, bool durable)
{
        struct remote_attributes attributes = { 0 };
        if (result->tag[0]) {
                memcpy(file->tag, result->tag, sizeof(file->tag));
        } else {
                pthread_mutex_unlock(&file->lock);
                int error = remote_stat(&file->mount->remote, path, &attributes);
                pthread_mutex_lock(&file->lock);
                if (error)
                        return error;
                memcpy(file->tag, attributes.tag, sizeof(file->tag));
        }
        uint64_t inode = result->inode ? result->inode : attributes.inode;
        if (inode)
                file->inode = inode;
        file->undurable = !durable;
        file->error = 0;
        if (file->stream)
                ahead_forget(file->mount->ahead, file->stream);
        return 0;
}

struct sending {
        char path[REMOTE_PATH_BYTES];
        struct remote_condition condition;
        struct remote_times_and_mode with;
        struct remote_result result;
        bool durable, last;
};

static int prepare(struct file *file, struct sending *sending)
{
        sending->condition = (struct remote_condition){
                .tag = file->start == FILE_NEW ? NULL : file->tag,
                .absent = file->start == FILE_NEW,
                .token = file->token[0] ? file->token : NULL,
        };
        sending->with = goes_with(file);
        sending->result = (struct remote_result){ 0 };
        return file_path(file, sending->path);
}

/* What was told with the last data needs not be told again, unless it was changed meanwhile. */
static void with_is_told(struct file *file, const struct sending *sending)
{
        if (file->with.mode == sending->with.mode)
                file->with.has_mode = false;
        if (file->with.mtime_s == sending->with.mtime_s && file->with.mtime_ns == sending->with.mtime_ns)
                file->with.has_mtime = false;
}

/* Sends one extent, which it takes out of the gather; NULL: an empty file. */
static int send_extent(struct file *file, struct extent *extent, struct sending *sending)
{
        struct mount *mount = file->mount;
        bool whole = file->start != FILE_ON_SERVER;
        int error = prepare(file, sending);
        if (error)
                return error;
        size_t before = file->gather.held_bytes;
        uint64_t first = extent ? extent->first : 0;
        struct iovec body = { extent ? extent->data : "", extent ? extent->size : 0 };
        if (extent)
                gather_take(&file->gather, extent);
        file->sending = extent;
        pthread_mutex_unlock(&file->lock);
        if (whole)
                error = remote_put(&mount->remote, sending->path, &body, 1, &sending->condition, &sending->with,
                                   sending->durable, &sending->result);
        else
                error = remote_write(&mount->remote, sending->path, first, &body, 1, &sending->condition,
                                     &sending->with, sending->durable, &sending->result);
        pthread_mutex_lock(&file->lock);
        if (!error)
                error = accepted(file, sending->path, &sending->result, sending->durable);
        file->sending = NULL;
        if (error) {
                if (extent && gather_put_back(&file->gather, extent) < 0)
                        gather_drop(&file->gather, extent);
                buffer_moved(file, before);
                return error;
        }
        if (whole)
                mount->counters.puts++;
        else
                mount->counters.range_writes++;
        mount->counters.sent_bytes += body.iov_len;
        file->server_size = whole ? body.iov_len : max_of(file->server_size, first + body.iov_len);
        file->start = FILE_ON_SERVER;
        if (extent)
                gather_drop(&file->gather, extent);
        buffer_moved(file, before);
        tell_time(file, &sending->with);
        return 0;
}

/* A whole file from its spool. Writes that come meanwhile make it dirty again. */
static int send_spool(struct file *file, struct sending *sending)
{
        if (!file->spool_dirty && file->start == FILE_ON_SERVER)
                return 0;
        int error = prepare(file, sending);
        if (error)
                return error;
        uint64_t size = file->size;
        file->spool_dirty = false;
        pthread_mutex_unlock(&file->lock);
        error = remote_upload(&file->mount->remote, sending->path, file->spool, size, &sending->condition,
                              &sending->with, &sending->result);
        pthread_mutex_lock(&file->lock);
        if (!error)
                error = accepted(file, sending->path, &sending->result, false);
        if (error) {
                file->spool_dirty = true;
                return error;
        }
        file->mount->counters.puts++;
        file->mount->counters.sent_bytes += size;
        file->start = FILE_ON_SERVER;
        file->server_size = size;
        with_is_told(file, sending);
        tell_time(file, &sending->with);
        return 0;
}

/* ---- what goes next ---- */

static struct extent *extent_at_start(struct file *file)
{
        for (struct list *l = file->gather.extents.next; l != &file->gather.extents; l = l->next) {
                struct extent *extent = container_of(l, struct extent, node);
                if (extent->first == 0)
                        return extent;
        }
        return NULL;
}

/* The sizes differ where it was made longer without writing. */
static int send_size(struct file *file, struct sending *sending)
{
        if (file->server_size == file->size)
                return 0;
        int error = prepare(file, sending);
        if (error)
                return error;
        uint64_t size = file->size;
        pthread_mutex_unlock(&file->lock);
        error = remote_truncate(&file->mount->remote, sending->path, size, &sending->condition, &sending->with,
                                &sending->result);
        pthread_mutex_lock(&file->lock);
        if (!error)
                error = accepted(file, sending->path, &sending->result, false);
        if (error)
                return error;
        file->server_size = size;
        tell_time(file, &sending->with);
        return 0;
}

int file_send_size(struct file *file)
{
        struct sending sending;
        int error = send_size(file, &sending);
        return error && error != -EINTR ? file_failed(file, error) : error;
}

static int send_attributes(struct file *file, struct sending *sending)
{
        if (!file->with.has_mode && !file->with.has_mtime)
                return 0;
        int error = prepare(file, sending);
        if (error)
                return error;
        sending->with = file->with;
        pthread_mutex_unlock(&file->lock);
        error = remote_set(&file->mount->remote, sending->path, false, &sending->condition, &sending->with,
                           &sending->result);
        pthread_mutex_lock(&file->lock);
        if (error == -EOPNOTSUPP) { /* the server keeps its own time */
                with_is_told(file, sending);
                return 0;
        }
        bool undurable = file->undurable;
        if (!error)
                error = accepted(file, sending->path, &sending->result, false);
        if (error)
                return error;
        file->undurable = undurable;
        with_is_told(file, sending);
        return 0;
}

static int send_sync(struct file *file, struct sending *sending)
{
        if (!file->undurable)
                return 0;
        int error = prepare(file, sending);
        if (error)
                return error;
        file->mount->counters.syncs++;
        pthread_mutex_unlock(&file->lock);
        error = remote_sync(&file->mount->remote, sending->path, &sending->condition);
        pthread_mutex_lock(&file->lock);
        if (!error)
                file->undurable = false;
        return error;
}

/* The last of what is to be sent carries what else is to be told. */
static bool is_last(const struct file *file, const struct extent *extent)
{
        uint64_t end = extent ? extent->first + extent->size : 0;
        uint64_t known = file->start == FILE_ON_SERVER ? file->server_size : 0;
        return file->gather.count == (extent ? 1 : 0) && max_of(end, known) == file->size;
}

static int send_extents(struct file *file, enum file_send what, struct sending *sending)
{
        bool all = what != FILE_SEND_DUE;
        for (;;) {
                struct extent *extent = gather_due(&file->gather, all, 0);
                if (!extent && (!all || file->start == FILE_ON_SERVER))
                        return 0;
                if (file->start != FILE_ON_SERVER)
                        extent = extent_at_start(file);
                sending->last = all && is_last(file, extent);
                sending->durable = what == FILE_SEND_DURABLE && sending->last;
                int error = send_extent(file, extent, sending);
                if (error)
                        return error;
                if (sending->durable)
                        file->mount->counters.syncs++;
                if (sending->last)
                        with_is_told(file, sending);
        }
}

/* The server has all of it. */
static void settle(struct file *file)
{
        if (!file_clean(file) || file->with.has_mode || file->with.has_mtime || file->server_size != file->size)
                return;
        struct tree_update update = {
                .has_tag = true, .tag = file->tag, .has_size = true, .size = file->size, .same_content = true
        };
        tree_update(file->mount->tree, file->node, &update);
        if (!file->told) {
                file->told = true;
                tree_disown(file->mount->tree, file->node);
        }
        unmark(file);
}

int file_send(struct file *file, enum file_send what)
{
        struct sending sending;
        if (file->stale)
                return -ESTALE;
        int error = file->spool >= 0 ? send_spool(file, &sending) : send_extents(file, what, &sending);
        if (what == FILE_SEND_DUE && !error)
                return 0;
        if (!error && file->start == FILE_ON_SERVER)
                error = send_size(file, &sending);
        if (!error)
                error = send_attributes(file, &sending);
        if (!error && what == FILE_SEND_DURABLE)
                error = send_sync(file, &sending);
        if (error)
                return error == -EINTR ? error : file_failed(file, error);
        settle(file);
        return 0;
}

/* ---- in the background ---- */

static bool wants_sending(struct sender *sender, struct file *file, uint64_t now_ms)
{
        if (file->claimed || now_ms < file->resting_until_ms)
                return false;
        return file->due || sender->waiting > 0 || now_ms - file->touched_ms >= sender->mount->options.flush_after_ms;
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

static void send_in_background(struct file *file, bool pressed)
{
        struct sender *sender = file->mount->sender;
        enum file_send what;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        int error = choose_what(file, pressed, &what) ? file_send(file, what) : -ESTALE;
        bool due = !error && gather_due(&file->gather, false, 0) != NULL;
        bool over = file->opens == 0;
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        pthread_mutex_lock(&sender->lock);
        file->due = due;
        if (!due) /* if it is still dirty, then not to be chosen again at once */
                file->resting_until_ms = max_of(file->resting_until_ms, clock_ms() + TICK_MS);
        pthread_mutex_unlock(&sender->lock);
        if (error && over)
                file_abandon(file);
}

/* Nobody will ask for it any more, and it cannot be sent: it is kept elsewhere. */
void file_abandon(struct file *file)
{
        struct mount *mount = file->mount;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        if (file->opens == 0 && !file->told) {
                if (!file->hidden[0]) {
                        unsent_save(file);
                        mount->counters.lost_writes++;
                }
                lease_give(file);
                file->told = true;
                tree_disown(mount->tree, file->node);
                tree_distrust(mount->tree, file->node);
                unmark(file);
        }
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
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

static void tick(struct sender *sender)
{
        struct timespec at = wall_in_ms(TICK_MS);
        pthread_cond_timedwait(&sender->work, &sender->lock, &at);
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
                        pthread_mutex_unlock(&sender->lock);
                        lease_refresh(file);
                        file_put(file);
                        pthread_mutex_lock(&sender->lock);
                        continue;
                }
                file = choose(sender);
                if (!file) {
                        tick(sender);
                        continue;
                }
                file->claimed = true;
                file->references++;
                bool pressed = sender->waiting > 0;
                /* The next one that is chosen is another. */
                list_remove(&file->dirty_node);
                list_append(&sender->dirty, &file->dirty_node);
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

unsigned file_send_all(struct mount *mount)
{
        unsigned failed = 0;
        uint64_t round = begin_round(mount->sender);
        for (struct file *file; (file = next_of_round(mount->sender, round));) {
                pthread_mutex_lock(&file->lock);
                file_take_turn(file);
                failed += file_send(file, FILE_SEND_ALL) < 0;
                file_give_turn(file);
                pthread_mutex_unlock(&file->lock);
                file_put(file);
        }
        return failed;
}

int file_start(struct mount *mount)
{
        struct sender *sender = calloc(1, sizeof(*sender));
        if (!sender)
                return -ENOMEM;
        sender->mount = mount;
        pthread_mutex_init(&sender->lock, NULL);
        pthread_cond_init(&sender->work, NULL);
        pthread_cond_init(&sender->room, NULL);
        list_init(&sender->dirty);
        list_init(&sender->locked);
        mount->sender = sender;
        unsigned wanted = min_of(mount->options.client.connections, (unsigned)MAX_SENDERS);
        while (sender->thread_count < wanted &&
               pthread_create(&sender->threads[sender->thread_count], NULL, sender_thread, sender) == 0)
                sender->thread_count++;
        if (sender->thread_count > 0)
                return 0;
        file_stop(mount);
        return -EAGAIN;
}

/* What could not be sent is left in a local folder. */
static void abandon_all(struct mount *mount)
{
        uint64_t round = begin_round(mount->sender);
        for (struct file *file; (file = next_of_round(mount->sender, round));) {
                file->opens = 0;
                file_abandon(file);
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
        pthread_mutex_destroy(&sender->lock);
        pthread_cond_destroy(&sender->work);
        pthread_cond_destroy(&sender->room);
        free(sender);
        mount->sender = NULL;
}
