/* Open files: opening, writing, reading, closing; see file.h and file_inner.h. Sending is in send.c. */
#include "mount/file_inner.h"
#include "mount/later.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
        MAX_READ_TRIES = 16, /* versions that may come while one read goes on */
        FEW_READ_TRIES = 4,  /* then each second one is made while nothing is sent */
};

/* berth gives these bits to nobody who does not have them. Said at once, since a mode goes with the data: refused then,
 * it would keep the data from being accepted. */
enum { SET_ID = S_ISUID | S_ISGID | S_ISVTX };

/* ---- opening ---- */

/* What the tree knows becomes the file's. For a clean one only: what was fetched of an earlier version is of no more use. */
static void adopt(struct file *file, const struct remote_attributes *attributes)
{
        if (!attributes->tag[0] || !remote_same_tag(file->tag, attributes->tag))
                spool_close(file);
        file->start = FILE_ON_SERVER;
        file->size = file->server_size = attributes->size;
        file->mode = attributes->mode;
        file->undurable |= strcmp(file->tag, attributes->tag) != 0;
        memcpy(file->tag, attributes->tag, sizeof(file->tag));
        if (file->stream)
                ahead_forget(file->mount->ahead, file->stream);
}

/* The kernel is told of another version, but that it is shorter than `least`, which it may be, it cannot be told. */
static void tell_changed(struct file *file, uint64_t old_size, uint64_t least)
{
        if (file->size < least && file->mount->writeback)
                tree_outgrown(file->mount->tree, file->node);
        notify_changed(file->mount, file->node, old_size, file->size);
}

/* Asks the server what stands there now. Mutex held, in its turn. What was written while it was asked is sent by
 * If-Match, which finds out by itself whether it is the same version: its size is not to be taken back. */
static int refresh(struct file *file)
{
        struct mount *mount = file->mount;
        struct remote_attributes attributes;
        struct tree_view view;
        char path[REMOTE_PATH_BYTES];
        int error = file_path(file, path);
        if (error)
                return error;
        uint64_t changes = tree_changes(mount->tree, file->node);
        pthread_mutex_unlock(&file->lock);
        mount->counters.looks++;
        error = remote_stat(&mount->remote, path, &attributes);
        if (!error && attributes.kind != REMOTE_FILE)
                error = -ESTALE;
        if (!error)
                error = tree_note_node(mount->tree, file->node, &attributes, changes, &view);
        pthread_mutex_lock(&file->lock);
        if (error)
                return error == -ENOENT ? -ESTALE : error;
        if (!file_clean(file))
                return 0;
        uint64_t old_size = file->size;
        bool changed = !remote_same_tag(file->tag, attributes.tag) || old_size != attributes.size;
        adopt(file, &attributes);
        if (changed && tree_take_changed(mount->tree, file->node))
                tell_changed(file, old_size, old_size);
        return 0;
}

/* A write takes these bits away, as in any file system (the kernel leaves it to us: FUSE_HANDLE_KILLPRIV_V2). */
static void drop_privileges(struct file *file)
{
        bool group = (file->mode & S_ISGID) && (file->mode & S_IXGRP);
        if ((!(file->mode & S_ISUID) && !group) || !operation_clears_set_id())
                return;
        file->mode &= (uint16_t) ~(S_ISUID | (group ? S_ISGID : 0));
        file->with.has_mode = true;
        file->with.mode = file->mode;
        struct tree_update update = { .has_mode = true, .mode = file->mode };
        tree_update(file->mount->tree, file->node, &update);
}

/* O_TRUNC: the old content counts no more, and stands on the server until the new one comes. */
static void replace(struct file *file)
{
        buffer_cut(file, 0);
        if (file->start == FILE_ON_SERVER)
                file->start = FILE_REPLACED;
        file->size = 0;
        file->with.has_mtime = false;
        struct tree_update update = { .has_size = true, .size = 0 };
        file_mark(file);
        tree_update(file->mount->tree, file->node, &update);
}

/* The first that writes to what stands there: it must be known as it is, and be ours if it is written in parts. */
static int open_for_writing(struct file *file, const struct file_open *how)
{
        char path[REMOTE_PATH_BYTES];
        bool unchanged = false;
        int error = file_path(file, path);
        if (error || file->hidden[0])
                return error;
        if (!how->truncate && !how->brief)
                error = lease_take(file, path, &unchanged);
        if (error == -EBUSY || unchanged)
                return error;
        return refresh(file);
}

/* Closed before all of it was sent, and now it is to be written to in parts: under a lock, which is taken of what the
 * server has. Without data there it stays ours. */
static int send_before_opening(struct file *file, const struct file_open *how)
{
        bool parts = how->write && !how->truncate && file->start == FILE_ON_SERVER && !file->token[0];
        return parts && file->pending && file->writers == 0 ? file_send(file, FILE_SEND_ALL) : 0;
}

static int open_in_turn(struct file *file, const struct file_open *how)
{
        struct tree_view view;
        if (file->opens == 0 && file_clean(file) && file->told) {
                tree_look(file->mount->tree, file->node, &view);
                adopt(file, &view.attributes);
        }
        int error = send_before_opening(file, how);
        if (!error && how->write && file->writers == 0 && file_clean(file) && !file->stale && !file->pending)
                error = open_for_writing(file, how);
        if (error)
                return error;
        if (how->truncate && file->spool >= 0) {
                error = spool_truncate(file, 0);
                file->size = 0;
                file_mark(file);
        } else if (how->truncate) {
                replace(file);
        }
        if (how->truncate)
                drop_privileges(file);
        return error;
}

/* A small file that was fetched ahead goes to the kernel with its opening, so that to read it asks nothing. In its turn,
 * which who else opens it waits for, so that no page of it is read or written; the mutex is let go meanwhile. */
static void hand_over(struct file *file, struct file_opened *opened)
{
        struct mount *mount = file->mount;
        struct ahead_view view = { 0 };
        size_t size = (size_t)file->size;
        if (!file_clean(file) || !file->told || file->stale || file->error || size == 0 || size > SMALL_FILE_BYTES)
                return;
        pthread_mutex_unlock(&file->lock);
        if (small_take(mount, file->node, file->tag, size, &view) > 0)
                notify_content(mount, file->node, &view);
        ahead_release(mount->ahead, &view);
        pthread_mutex_lock(&file->lock);
        if (!tree_take_changed(mount->tree, file->node))
                return;
        opened->keep_cache = false; /* there is another version since */
        tell_changed(file, 0, UINT64_MAX);
}

int file_open(struct mount *mount, struct node *node, const struct file_open *how, struct file **out,
              struct file_opened *opened)
{
        struct tree_view view;
        int error = tree_take_failure(mount->tree, node);
        if (!error)
                error = attributes_look(mount, node, &view);
        if (!error && tree_is_outgrown(mount->tree, node)) {
                tree_distrust(mount->tree, node);
                error = -ESTALE; /* the kernel looks it up, and is told of another node */
        }
        if (error)
                return error;
        struct file *file = file_get(mount, node, true);
        if (!file)
                return -ENOMEM;
        pthread_mutex_lock(&file->lock);
        bool alone = how->write || !file->pending; /* who only reads what is pending does not wait for the server */
        if (alone) {
                file_take_turn(file);
                error = tree_take_failure(mount->tree, node);
                if (!error)
                        error = open_in_turn(file, how);
        }
        if (!error) {
                file->opens++;
                file->writers += how->write;
        } else if (file->writers == 0) {
                lease_give(file); /* it was taken for this open */
        }
        bool ours = file->token[0] || file->start != FILE_ON_SERVER || file->born_here || file->cached;
        bool changed = tree_take_changed(mount->tree, node);
        file->cached |= how->write && !how->brief && ours && !error;
        *opened = (struct file_opened){
                .direct = how->write && !ours && mount->writeback,
                .keep_cache = !how->truncate && !changed,
        };
        if (changed) /* while somebody had it open, who closed it before it could be told */
                tell_changed(file, 0, UINT64_MAX);
        else if (!error && alone && !how->write && how->paged && file->opens == 1)
                hand_over(file, opened);
        if (alone)
                file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        notify_settle(mount, node);
        if (error)
                file_put(file);
        else
                *out = file;
        return error;
}

int file_create(struct mount *mount, struct node *folder, const char *name, uint16_t mode, struct file **out,
                struct tree_view *view)
{
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (*name == '.' && !mount->remote.can.dot_names) /* now, and not when it is sent */
                return -EACCES;
        if (!mount->remote.can.berth) /* as it will be shown later */
                mode = mount->remote.file_mode;
        else if (mode & SET_ID)
                return -EPERM;
        struct remote_attributes attributes = {
                .kind = REMOTE_FILE,
                .mode = mode,
                .has_mode = true,
                .links = 1,
                .mtime_s = now.tv_sec,
                .mtime_ns = (uint32_t)now.tv_nsec,
        };
        int error = tree_made(mount->tree, folder, name, &attributes, true, false, view);
        if (error)
                return error;
        struct file *file = file_get(mount, view->node, true);
        if (!file) {
                tree_removed(mount->tree, folder, name);
                tree_forget(mount->tree, view->node, 1);
                return -ENOMEM;
        }
        pthread_mutex_lock(&file->lock);
        file->start = FILE_NEW;
        file->born_here = true;
        file->opens = file->writers = 1;
        file->cached = true;
        file->mode = mode;
        file->with = (struct remote_times_and_mode){ .has_mode = mount->remote.can.berth, .mode = mode };
        file_mark(file);
        pthread_mutex_unlock(&file->lock);
        *out = file;
        return 0;
}

/* ---- closing ---- */

void file_close(struct mount *mount, struct file *file, bool write)
{
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        ensure(file->opens > 0 && file->writers >= write);
        file->opens--;
        file->writers -= write;
        file->cached &= file->writers > 0;
        bool pending = file->pending && !file->hidden[0] && !file->stale && !file->error;
        if (file->writers == 0 && !pending) /* else when it is sent */
                lease_give(file);
        bool last = file->opens == 0;
        if (last) {
                file_show_inode(file);
                file->born_here = false;
        }
        bool hidden = last && file->hidden[0];
        bool abandoned = last && !file->told && (hidden || file->stale || file->error);
        bool waits = last && !file->told && !abandoned;
        if (last && file->told) /* else its bytes are still to be kept */
                spool_close(file);
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        if (abandoned)
                file_abandon(file);
        if (hidden)
                hidden_remove(file);
        if (waits)
                file_hurry(file);
        file_put(file);
        (void)mount;
}

/* Its time is that of the last write, not that of the sending. */
static void keep_time(struct file *file)
{
        struct tree_view view;
        if (file->with.has_mtime || file->told)
                return;
        tree_look(file->mount->tree, file->node, &view);
        file->with.has_mtime = true;
        file->with.mtime_s = view.attributes.mtime_s;
        file->with.mtime_ns = view.attributes.mtime_ns;
}

static int flush_in_turn(struct file *file)
{
        int error = file->hidden[0] ? 0 : file->error ? file->error : file_send(file, FILE_SEND_ALL);
        if (!error && file->opens == 1)
                file_show_inode(file);
        return error;
}

int file_flush(struct mount *mount, struct file *file)
{
        int error = 0;
        (void)mount;
        pthread_mutex_lock(&file->lock);
        if (!file->hidden[0] && !file->stale && !file->error && later_put_off(file)) {
                keep_time(file);
        } else {
                file_take_turn(file);
                error = flush_in_turn(file);
                file_give_turn(file);
        }
        pthread_mutex_unlock(&file->lock);
        return error;
}

int file_sync(struct mount *mount, struct file *file)
{
        (void)mount;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        int error = file->hidden[0] ? 0 : file_send(file, FILE_SEND_DURABLE);
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        return error;
}

/* ---- writing ---- */

static void wrote(struct file *file, uint64_t end, bool cached)
{
        struct tree_update update = { 0 };
        drop_privileges(file);
        if (!cached) {
                struct timespec now;
                clock_gettime(CLOCK_REALTIME, &now);
                update.has_mtime = true;
                update.mtime_s = now.tv_sec;
                update.mtime_ns = (uint32_t)now.tv_nsec;
                file->with.has_mtime = false; /* that of the last write goes with the data */
        }
        if (end > file->size) {
                file->size = end;
                update.has_size = true;
                update.size = end;
        }
        later_end(file); /* it is open; its next close begins anew */
        file_mark(file);
        tree_update(file->mount->tree, file->node, &update);
}

static bool whole_files_only(const struct file *file)
{
        return file->spool >= 0 || file->mount->remote.can.ranges == REMOTE_WHOLE;
}

/* With the mutex; a spool is opened in the file's turn, since that may have to fetch it. */
static int store(struct file *file, uint64_t first, const char *data, size_t size)
{
        if (whole_files_only(file)) {
                file_take_turn(file);
                int error = spool_open(file);
                if (error == -ESTALE) /* told at the next write and at close, too */
                        file_failed(file, error);
                file_give_turn(file);
                return error ? error : spool_write(file, first, data, size);
        }
        size_t before = file->gather.held_bytes;
        int error = gather_write(&file->gather, first, data, size, clock_ms());
        buffer_moved(file, before);
        return error;
}

/* With the mutex: why it may not be written to. A page of the kernel's is what write(2) has accepted before: it is taken,
 * to be sent once that works again, or to be kept with the rest. */
static int refusal(const struct file *file, bool cached)
{
        if (cached)
                return file->aside ? -ESTALE : 0;
        return file->error ? file->error : file->stale ? -ESTALE : 0;
}

/* Takes the mutex when there is room in the buffer for what this write makes the gather hold. How much that is may be
 * another by the time that there is room (what it would have joined is on its way), so it is counted again with the
 * mutex held: the buffer is never passed. *reserved is to be released in any case. */
static int lock_with_room(struct file *file, uint64_t first, size_t size, bool cached, size_t *reserved)
{
        struct mount *mount = file->mount;
        for (;;) {
                pthread_mutex_lock(&file->lock);
                bool holds = !whole_files_only(file) && !refusal(file, cached);
                size_t cost = holds ? gather_cost(&file->gather, first, size) : 0;
                if (cost <= *reserved)
                        return 0;
                pthread_mutex_unlock(&file->lock);
                if (*reserved > 0)
                        buffer_release(mount, *reserved);
                *reserved = 0;
                int error = buffer_reserve(mount, cost);
                if (error)
                        return error;
                *reserved = cost;
        }
}

/* The kernel lets go of a page whatever it is told. */
static void lose_page(struct file *file, size_t size, int error)
{
        pthread_mutex_lock(&file->lock);
        file_take_turn(file); /* what is on its way must not end as if all were well */
        if (!file->stale) {
                file_lose(file, size);
                file_failed(file, error == -EINTR ? -EIO : error);
        }
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
}

static int write_part(struct file *file, uint64_t first, const char *data, size_t size, bool cached)
{
        size_t reserved = 0;
        int error = lock_with_room(file, first, size, cached, &reserved);
        if (!error) {
                error = refusal(file, cached);
                if (!error)
                        error = store(file, first, data, size);
                if (!error)
                        wrote(file, first + size, cached);
                pthread_mutex_unlock(&file->lock);
        }
        if (reserved > 0)
                buffer_release(file->mount, reserved);
        if (error && cached)
                lose_page(file, size, error);
        return error;
}

/* By blocks, so that none needs more room than there is. */
ssize_t file_write(struct mount *mount, struct file *file, uint64_t first, const char *data, size_t size, bool cached)
{
        size_t block = mount->options.extent_bytes;
        size_t done = 0;
        int error = 0;
        while (done < size && !error) {
                size_t part = min_of(size - done, block - (size_t)((first + done) % block));
                error = write_part(file, first + done, data + done, part, cached);
                done += error ? 0 : part;
        }
        if (!error || (done > 0 && !cached))
                return (ssize_t)done;
        /* Of a page the kernel would tell the program EIO, whatever is said here; fsync and close tell better. */
        return error == -ESTALE && cached ? (ssize_t)size : error;
}

/* ---- reading ---- */

static ssize_t read_spool(struct file *file, uint64_t first, size_t size, char *out)
{
        size_t done = 0;
        while (done < size) {
                ssize_t n = pread(file->spool, out + done, size - done, (off_t)(first + done));
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        return (ssize_t)done;
}

/* Nothing of it is on the server: what was not written is zero. */
static ssize_t read_unsent(struct file *file, uint64_t first, size_t size, char *out)
{
        memset(out, 0, size);
        if (file->sending)
                extent_overlay(file->sending, first, size, out);
        gather_overlay(&file->gather, first, size, out);
        return (ssize_t)size;
}

static bool unsent_overlaps(const struct file *file, uint64_t first, size_t size)
{
        const struct extent *sending = file->sending;
        if (sending && sending->first < first + size && first < sending->first + sending->size)
                return true;
        return gather_overlaps(&file->gather, first, size) || first + size > file->server_size;
}

/* All of the range is in memory. */
static bool read_gathered(struct file *file, uint64_t first, size_t size, char *out)
{
        return !file->sending && gather_overlay(&file->gather, first, size, out) == size;
}

/* From the server, without the mutex. */
static ssize_t read_remote(struct file *file, uint64_t first, size_t size, struct ahead_view *view)
{
        struct mount *mount = file->mount;
        char path[REMOTE_PATH_BYTES], tag[CLIENT_TAG_BYTES];
        if (!file->stream)
                file->stream = ahead_open(mount->ahead);
        if (!file->stream)
                return -ENOMEM;
        int error = file_path(file, path);
        if (error)
                return error;
        memcpy(tag, file->tag, sizeof(tag));
        uint64_t file_size = file->server_size;
        pthread_mutex_unlock(&file->lock);
        bool small = first == 0 && size >= file_size && file_size > 0 && file_size <= SMALL_FILE_BYTES;
        ssize_t n = small ? small_read(mount, file->node, tag, (size_t)file_size, view) : 0;
        if (n == 0)
                n = ahead_view(mount->ahead, file->stream, path, tag, file_size, first, size, view);
        pthread_mutex_lock(&file->lock);
        return n;
}

/* The server has another version. Who only reads goes on with that one. */
static int changed_underneath(struct file *file)
{
        file_take_turn(file);
        int error = 0;
        if (!file_clean(file)) /* sent meanwhile, by us; or a conflict, which sending will tell */
                error = file->stale ? -ESTALE : file_send(file, FILE_SEND_ALL);
        else
                error = refresh(file);
        if (file->stream)
                ahead_forget(file->mount->ahead, file->stream);
        file_give_turn(file);
        return error;
}

/* Where others' writes overtook each try: nothing is sent meanwhile, so that the server's version stays the one asked
 * for. */
static ssize_t read_alone(struct file *file, uint64_t first, size_t size, struct ahead_view *view)
{
        file_take_turn(file);
        int error = 0;
        if (file->stale)
                error = -ESTALE;
        else if (!file_clean(file) || first + size > file->server_size)
                error = file_send(file, FILE_SEND_ALL);
        ssize_t n = error ? error : read_remote(file, first, size, view);
        file_give_turn(file);
        return n == -ESTALE && file_clean(file) && !file->stale ? -EAGAIN : n;
}

/* What is not on the server, or not all of it: from memory, or -EAGAIN when it is there now. */
static ssize_t read_here(struct file *file, uint64_t first, size_t size, char *out)
{
        if (file->spool >= 0)
                return read_spool(file, first, size, out);
        if (file->start != FILE_ON_SERVER)
                return file->stale && file->gather.count == 0 ? -ESTALE : read_unsent(file, first, size, out);
        if (read_gathered(file, first, size, out))
                return (ssize_t)size;
        file_take_turn(file);
        int error = unsent_overlaps(file, first, size) ? file_send(file, FILE_SEND_ALL) : 0;
        file_give_turn(file);
        return error ? error : -EAGAIN;
}

static ssize_t view_here(struct file *file, uint64_t first, size_t size, struct ahead_view *view)
{
        char *out = ahead_view_alone(view, size);
        ssize_t n = out ? read_here(file, first, size, out) : -ENOMEM;
        view->parts[0].iov_len = (size_t)max_of(n, 0);
        return n;
}

/* One try. -EAGAIN: another. */
static ssize_t try_read(struct file *file, uint64_t first, size_t size, struct ahead_view *view, bool alone)
{
        if (first >= file->size)
                return 0;
        size = (size_t)min_of(size, file->size - first);
        bool on_server = file->spool < 0 && file->start == FILE_ON_SERVER;
        if (on_server && alone)
                return read_alone(file, first, size, view);
        if (!on_server || unsent_overlaps(file, first, size))
                return view_here(file, first, size, view);
        ssize_t n = read_remote(file, first, size, view);
        if (n != -ESTALE && n != -ENOENT) /* not there any more: it was being renamed, or hidden */
                return n;
        int error = changed_underneath(file);
        return !error ? -EAGAIN : error == -ESTALE ? n : error;
}

int file_conflict(struct file *file)
{
        pthread_mutex_lock(&file->lock);
        int error = refusal(file, false);
        pthread_mutex_unlock(&file->lock);
        return error;
}

ssize_t file_read(struct mount *mount, struct file *file, uint64_t first, size_t size, struct ahead_view *view)
{
        ssize_t n = -EAGAIN;
        memset(view, 0, sizeof(*view));
        pthread_mutex_lock(&file->lock);
        for (unsigned i = 0; n == -EAGAIN && i < MAX_READ_TRIES; i++) {
                ahead_release(mount->ahead, view);
                n = try_read(file, first, size, view, i >= FEW_READ_TRIES && i % 2 == 1);
        }
        pthread_mutex_unlock(&file->lock);
        return n == -EAGAIN ? -ESTALE : n;
}

bool file_wait_for_name(struct mount *mount, struct node *node)
{
        struct file *file = file_get(mount, node, false);
        if (!file)
                return false;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        file_put(file);
        return true;
}

void file_look(struct mount *mount, struct node *node)
{
        struct tree_view view;
        struct file *file = file_get(mount, node, false);
        if (!file)
                return;
        pthread_mutex_lock(&file->lock);
        if (file_turn_is_free(file) && file_clean(file) && file->told && tree_take_changed(mount->tree, node)) {
                uint64_t old_size = file->size;
                tree_look(mount->tree, node, &view);
                adopt(file, &view.attributes);
                tell_changed(file, old_size, old_size);
        }
        pthread_mutex_unlock(&file->lock);
        file_put(file);
}

/* ---- size, mode and time ---- */

/* In its turn. Shorter is said to the server at once, longer with the next data. */
static int truncate_in_turn(struct file *file, uint64_t size)
{
        struct mount *mount = file->mount;
        int error = 0;
        if (whole_files_only(file) || (size > 0 && size != file->size && !mount->remote.can.berth)) {
                if (file->spool < 0 && !file_clean(file))
                        error = file_send(file, FILE_SEND_ALL);
                if (!error)
                        error = spool_open(file);
                if (!error)
                        error = spool_truncate(file, size);
        } else if (size == 0) {
                replace(file);
        } else {
                buffer_cut(file, size);
        }
        if (error)
                return error;
        file->size = size;
        if (file->spool < 0 && file->start == FILE_ON_SERVER && size < file->server_size) {
                file_mark(file);
                error = file_send_size(file);
        }
        return error;
}

int file_truncate(struct mount *mount, struct node *node, uint64_t size)
{
        struct file_open how = { .write = true, .truncate = size == 0, .brief = true };
        struct file_opened opened;
        struct file *file;
        int error = file_open(mount, node, &how, &file, &opened);
        if (error)
                return error;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        error = file->stale ? -ESTALE : file->error;
        if (!error)
                error = truncate_in_turn(file, size);
        if (!error)
                wrote(file, size, false);
        struct tree_update update = { .has_size = true, .size = file->size };
        tree_update(mount->tree, node, &update);
        if (!error && file->writers == 1) /* nobody but us: nobody else would send it */
                error = file_send(file, FILE_SEND_ALL);
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        file_close(mount, file, true);
        return error;
}

/* Of what nobody has open, and nothing is to be sent of. In its turn all the same: who opens it to write meanwhile would
 * lock it before, or begin with a tag that moves, and take that for somebody else's change. */
static int set_closed(struct file *file, const struct remote_times_and_mode *with)
{
        struct mount *mount = file->mount;
        struct node *node = file->node;
        char path[REMOTE_PATH_BYTES];
        struct tree_view view;
        struct remote_result result = { 0 };
        int error = file_path(file, path);
        if (error)
                return error;
        pthread_mutex_unlock(&file->lock);
        tree_look(mount->tree, node, &view);
        struct remote_condition condition = { .tag = view.attributes.tag };
        error = remote_set(&mount->remote, path, false, &condition, with, &result);
        bool moved = error == -ESTALE; /* another version than the one we know: so its tag is not of our content */
        condition.tag = NULL;
        if (moved)
                error = remote_set(&mount->remote, path, false, &condition, with, &result);
        pthread_mutex_lock(&file->lock);
        if (error || !mount->remote.can.berth) /* its times stay what they are */
                return error;
        struct tree_update update = tree_update_of(with);
        update.has_tag = !moved && result.tag[0] != '\0';
        update.tag = result.tag;
        update.same_content = true;
        tree_update(mount->tree, node, &update);
        if (moved || (!result.tag[0] && with->has_mtime))
                tree_distrust(mount->tree, node);
        return 0;
}

/* A mode that the server cannot keep is passed over, so that cp -p and tar, which are writing it, do not complain. */
static void set_later(struct file *file, const struct remote_times_and_mode *with)
{
        struct remote_times_and_mode kept = *with;
        kept.has_mode &= file->mount->remote.can.berth;
        if (kept.has_mode)
                file->mode = kept.mode;
        file_join_with(&file->with, &kept);
        file_mark(file);
        struct tree_update update = tree_update_of(&kept);
        tree_update(file->mount->tree, file->node, &update);
}

static int set_with_data(struct file *file, const struct remote_times_and_mode *with)
{
        bool berth = file->mount->remote.can.berth;
        if (with->has_mode && file->writers == 0 && !berth)
                return -EOPNOTSUPP;
        if (with->has_mode && berth && (with->mode & SET_ID & ~file->mode))
                return -EPERM;
        set_later(file, with);
        return 0;
}

static int set_in_turn(struct file *file, const struct remote_times_and_mode *with)
{
        char path[REMOTE_PATH_BYTES];
        /* The kernel may tell a time when all have closed it, and even when it was removed by that. An error would stay
         * with the whole mount, for the next syncfs(2). */
        bool gone = file->opens == 0 && (file->hidden[0] || file_path(file, path) == -ESTALE);
        if (gone && !with->has_mode)
                return 0;
        if (file->stale || gone)
                return -ESTALE;
        if (file->opens == 0 && file_clean(file) && file->told)
                return set_closed(file, with);
        int error = set_with_data(file, with);
        /* A program that writes will close it, and what is told then goes with the data. */
        return !error && file->writers == 0 ? file_send(file, FILE_SEND_ALL) : error;
}

/* Of what is pending: it goes with the data, or after what is on its way. */
static bool set_pending(struct file *file, const struct remote_times_and_mode *with, int *error)
{
        if (!file->pending || file->hidden[0] || file->stale || file->error)
                return false;
        *error = set_with_data(file, with);
        if (file->opens == 0)
                file_hurry(file);
        return true;
}

int file_set(struct mount *mount, struct node *node, const struct remote_times_and_mode *with)
{
        int error = tree_take_failure(mount->tree, node);
        if (error)
                return error;
        struct file *file = file_get(mount, node, true);
        if (!file)
                return -ENOMEM;
        pthread_mutex_lock(&file->lock);
        if (set_pending(file, with, &error)) {
                pthread_mutex_unlock(&file->lock);
                file_put(file);
                return error;
        }
        file_take_turn(file);
        error = set_in_turn(file, with);
        bool failed = file->opens == 0 &&
                      (file->stale || file->error); /* and not: refused, or given up by who set it */
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        if (failed)
                file_abandon(file);
        file_put(file);
        return error;
}

/* ---- its name ---- */

struct file *file_before_rename(struct mount *mount, struct node *node, int *error)
{
        struct file *file = file_get(mount, node, false);
        *error = 0;
        if (!file)
                return NULL;
        pthread_mutex_lock(&file->lock);
        file_take_turn(file);
        if (!file->stale && !file->told)
                *error = file_send(file, FILE_SEND_ALL);
        else if (file->stale &&
                 file->writers > 0) /* once they have closed it, it is the other version that has the name */
                *error = -ESTALE;
        file->relock = file->token[0] && file->writers > 0;
        lease_give(file);
        pthread_mutex_unlock(&file->lock);
        return file;
}

/* Where somebody else was faster it goes on without: If-Match guards each write. */
static void lock_again(struct file *file)
{
        char path[REMOTE_PATH_BYTES];
        bool unchanged;
        if (file_path(file, path) == 0)
                lease_take(file, path, &unchanged);
}

void file_after_rename(struct file *file)
{
        if (!file)
                return;
        pthread_mutex_lock(&file->lock);
        if (file->relock && file->writers > 0 && !file->stale && !file->hidden[0])
                lock_again(file);
        file->relock = false;
        file_give_turn(file);
        pthread_mutex_unlock(&file->lock);
        file_put(file);
}
