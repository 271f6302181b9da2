/* Sending what was written of one file: turns, and the requests, one after the other, each with the entity-tag that
 * the one before left. Attributes that programs set while they write go with the last of them. */
#include "mount/file_inner.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
        REST_MS = 5000,    /* before a failed file is tried again in the background */
        MOVING_US = 10000, /* between two looks whether a rename has ended */
        MAX_MOVES = 16,    /* of folders above, while a file is sent */
};

/* ---- turns ---- */

void file_take_turn(struct file *file)
{
        unsigned mine = file->turns_asked++;
        while (file->turns_ended != mine)
                pthread_cond_wait(&file->turn_ended, &file->lock);
}

void file_give_turn(struct file *file)
{
        ensure(file->turns_ended != file->turns_asked);
        file->turns_ended++;
        pthread_cond_broadcast(&file->turn_ended);
}
int file_path(struct file *file, char out[REMOTE_PATH_BYTES])
{
        if (!file->hidden[0])
                return tree_path(file->mount->tree, file->node, NULL, out);
        memcpy(out, file->hidden, sizeof(file->hidden));
        return 0;
}

void file_count_unsent(struct file *file, bool unsent)
{
        if (unsent && !file->unsent)
                file->mount->counters.unsent_files++;
        else if (!unsent && file->unsent)
                file->mount->counters.unsent_files--;
        file->unsent = unsent;
}

int file_failed(struct file *file, int error)
{
        /* Refused for good it may be, too: when the content had arrived before, and what comes along with it is not
         * allowed. */
        file->doubtful |= error != -ESTALE && error != -EEXIST;
        if (error == -EINTR) /* who waited was killed: others may send it */
                return error;
        if (!file->error)
                notify_attributes(file->mount, file->node);
        if (error == -ESTALE || error == -EEXIST) {
                file->mount->counters.conflicts += !file->stale;
                file->stale = true;
                error = -ESTALE;
        }
        file->error = error;
        if (!file->hidden[0]) /* else nobody wants it any more */
                file_count_unsent(file, true);
        if (!file->stale) /* else nothing is tried again, and its memory is wanted by others */
                file_rest(file, REST_MS);
        return error;
}
/* ---- one request ---- */

/* What goes with a write: the time that programs are to see, with the last one only, since a further one would have to
 * move it; and the mode when it is not told yet, or when it does not allow writing: who opened the file before that may
 * go on, if it says so. */
static struct remote_times_and_mode goes_with(const struct file *file, bool last)
{
        struct remote_times_and_mode with = file->with;
        if (!with.has_mode && !(file->mode & S_IWUSR)) {
                with.has_mode = true;
                with.mode = file->mode;
        }
        if (!with.has_mtime || !last) {
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
        file->doubtful = false;
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
                .doubtful = file->doubtful,
        };
        sending->with = goes_with(file, sending->last);
        sending->result = (struct remote_result){ 0 };
        return file_path(file, sending->path);
}

/* What was told with the last data needs not be told again, unless it was changed meanwhile. */
void file_drop_with(struct remote_times_and_mode *with, const struct remote_times_and_mode *told)
{
        if (told->has_mode && with->mode == told->mode)
                with->has_mode = false;
        if (told->has_mtime && with->mtime_s == told->mtime_s && with->mtime_ns == told->mtime_ns)
                with->has_mtime = false;
}

void file_join_with(struct remote_times_and_mode *with, const struct remote_times_and_mode *now)
{
        if (now->has_mode) {
                with->has_mode = true;
                with->mode = now->mode;
        }
        if (now->has_mtime) {
                with->has_mtime = true;
                with->mtime_s = now->mtime_s;
                with->mtime_ns = now->mtime_ns;
        }
}

void file_lose(struct file *file, size_t size)
{
        char path[REMOTE_PATH_BYTES] = "";
        file_path(file, path);
        complain("%s: %zu bytes could not be sent, and there is no memory to keep them", path, size);
        file->mount->counters.lost_writes++;
        file->stale = true;
        file_mark(file);
}

/* Sends one extent, which it takes out of the gather; NULL: an empty file. */
static int send_extent(struct file *file, struct extent *extent, struct sending *sending)
{
        struct mount *mount = file->mount;
        bool whole = file->start != FILE_ON_SERVER;
        int error = prepare(file, sending);
        if (error)
                return error;
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
        size_t before = file->gather.held_bytes;
        if (error) {
                if (extent && gather_put_back(&file->gather, extent) < 0) {
                        file_lose(file, extent->size);
                        gather_drop(&file->gather, extent);
                }
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
        sending->last = true;
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
        file_drop_with(&file->with, &sending->with);
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

/* The sizes differ where it was made longer without writing; or there is more to send by now, with which the size comes.
 * Other servers than berth could not be told of it. */
static int send_size(struct file *file, struct sending *sending)
{
        bool comes = file->server_size < file->size && gather_end(&file->gather) == file->size;
        if (file->server_size == file->size || comes || (!file->mount->remote.can.berth && file->gather.count > 0))
                return 0;
        sending->last = false; /* a time that was set is told thereafter */
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
        struct sending sending = { .last = false };
        int error = send_size(file, &sending);
        if (error == -EINTR) /* nobody may write behind the end before the server has cut it off */
                file_failed(file, -EIO);
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
        bool undurable = file->undurable;
        if (!error)
                error = accepted(file, sending->path, &sending->result, false);
        if (error)
                return error;
        file->undurable = undurable;
        file_drop_with(&file->with, &sending->with);
        return 0;
}

static int send_sync(struct file *file, struct sending *sending)
{
        if (!file->undurable)
                return 0;
        int error = prepare(file, sending);
        if (error)
                return error;
        bool reads = file->writers == 0 && file->told; /* whoever changed it: it is what stands there now that counts */
        if (reads)
                sending->condition.tag = NULL;
        file->mount->counters.syncs++;
        pthread_mutex_unlock(&file->lock);
        error = remote_sync(&file->mount->remote, sending->path, &sending->condition);
        pthread_mutex_lock(&file->lock);
        if (reads && (error == -EACCES || error == -EROFS)) /* who may not write has written nothing */
                error = 0;
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

/* What is written from now on is not waited for: the turn ends, and others have theirs. */
static int send_extents(struct file *file, enum file_send what, struct sending *sending)
{
        bool all = what != FILE_SEND_DUE;
        uint64_t writes = file->gather.writes;
        for (;;) {
                struct extent *extent = gather_due(&file->gather, all, writes);
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
                        file_drop_with(&file->with, &sending->with);
        }
}

void file_show_inode(struct file *file)
{
        if (!file->inode)
                return;
        struct tree_update update = { .has_inode = true, .inode = file->inode };
        tree_update(file->mount->tree, file->node, &update);
        file->inode = 0;
}

/* The server has all of it. */
static void settle(struct file *file)
{
        if (!file_clean(file) || file->with.has_mode || file->with.has_mtime)
                return;
        struct tree_update update = {
                .has_tag = true, .tag = file->tag, .has_size = true, .size = file->size, .same_content = true
        };
        tree_update(file->mount->tree, file->node, &update);
        file_unmark(file);
        if (file->opens == 0)
                file_show_inode(file);
        if (file->writers == 0) /* closed before */
                lease_give(file);
}

static int send_what(struct file *file, enum file_send what, struct sending *sending)
{
        int error = file->spool >= 0 ? send_spool(file, sending) : send_extents(file, what, sending);
        if (what == FILE_SEND_DUE)
                return error;
        if (!error && file->start == FILE_ON_SERVER)
                error = send_size(file, sending);
        if (!error)
                error = send_attributes(file, sending);
        if (!error && what == FILE_SEND_DURABLE)
                error = send_sync(file, sending);
        return error;
}

/* Whether a folder above has another name since that path was made. Who renames one has the turn of each file below, but
 * of those that were opened after he began: they may be sent to where it stood, while he is about to be told that it has
 * moved. */
static bool has_moved(struct file *file, const char *path)
{
        struct mount *mount = file->mount;
        char now[REMOTE_PATH_BYTES];
        uint64_t until_ms = clock_ms() + mount->options.client.retry_ms;
        for (;;) {
                if (file_path(file, now) < 0)
                        return false;
                if (strcmp(path, now) != 0)
                        return true;
                if (mount->moving == 0 || clock_ms() >= until_ms)
                        return false;
                pthread_mutex_unlock(&file->lock);
                usleep(MOVING_US);
                pthread_mutex_lock(&file->lock);
        }
}

static int send_where_it_is(struct file *file, enum file_send what)
{
        struct sending sending = { .last = false };
        int error = send_what(file, what, &sending);
        for (unsigned i = 0; i < MAX_MOVES && (error == -ENOENT || error == -ESTALE) && !file->stale; i++) {
                if (!has_moved(file, sending.path))
                        break;
                error = send_what(file, what, &sending);
        }
        return error;
}

int file_send(struct file *file, enum file_send what)
{
        if (file->stale)
                return file->error ? file->error : -ESTALE;
        int error = send_where_it_is(file, what);
        /* Refused since our lock has run out: what counts is whether the file is what it was. */
        if (error == -ESTALE && !file->stale && lease_lost(file))
                error = send_where_it_is(file, what);
        if (error)
                return file_failed(file, error);
        if (what == FILE_SEND_DUE)
                return 0;
        file->error = 0;
        file_count_unsent(file, false);
        settle(file);
        return 0;
}
