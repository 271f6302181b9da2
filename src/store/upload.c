/* Uploads: bytes that become a file, or part of one.
 *
 * They gather in a file without a name (O_TMPFILE), which nobody sees and which is gone when its owner dies. To put
 * it in the place of nothing is one link(2). To put it in the place of a file takes a name first, in staging, and
 * then rename(2): at every moment the old file stands there or the new one, whole.
 *
 * Writing into a file that stands there is done in place, after room for all of it was reserved.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        RESERVE_FROM_BYTES = 1 << 20,
        PIECE_BYTES = 64 << 10,        /* copied through memory */
        KERNEL_PIECE_BYTES = 16 << 20, /* copied by the kernel, between two questions whether to stop */
        COMMIT_TRIES = 8,
};

/* ---- room ---- */

static bool no_room(int error)
{
        return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

/* Errors but those about room mean that the file system cannot reserve any. */
static int reserve(int file, uint64_t offset, uint64_t size)
{
        int error;

        if (size == 0)
                return 0;
        if (offset > INT64_MAX || size > INT64_MAX - offset)
                return -EFBIG;
        error = store_reserve(file, offset, size);
        return no_room(error) ? error : 0;
}

/* ---- the file without a name ---- */

/* Without O_TMPFILE: a name in staging. */
static int create_staged(struct store_upload *upload, int folder)
{
        upload->staging = store_staging(upload->tree, folder);
        if (upload->staging < 0)
                return upload->staging;
        store_staged_name(upload->tree, upload->staged);
        upload->file = store_create_file(upload->staging, upload->staged, 0666);
        return min_of(upload->file, 0);
}

int store_upload_in(struct store_upload *upload, struct store_tree *tree, int folder)
{
        int error;

        *upload = (struct store_upload){ .tree = tree, .file = -1, .staging = -1 };
        upload->file = tree->without_tmpfile ? -EOPNOTSUPP : store_create_nameless(folder);
        if (upload->file != -EOPNOTSUPP)
                return min_of(upload->file, 0);
        error = create_staged(upload, folder);
        if (error)
                upload->staging = -1;
        return error;
}

int store_upload_create(struct store_upload **out, struct store_tree *tree, const char *path, uint64_t expected_bytes)
{
        struct store_upload *upload = calloc(1, sizeof(*upload));
        const char *name;
        int folder, error;

        if (!upload)
                return -ENOMEM;
        folder = store_open_above(tree, path, STORE_OPEN_WAY, &name);
        error = folder < 0 ? folder : store_upload_in(upload, tree, folder);
        if (folder >= 0)
                store_close(folder);
        if (!error && expected_bytes > RESERVE_FROM_BYTES && expected_bytes != UINT64_MAX) {
                error = reserve(upload->file, 0, expected_bytes);
                upload->reserved = expected_bytes;
                if (error)
                        store_upload_finish(upload);
        }
        if (error)
                free(upload);
        else
                *out = upload;
        return error;
}

void store_upload_finish(struct store_upload *upload)
{
        store_close(upload->file);
        if (upload->staging >= 0)
                store_unlink_at(upload->staging, upload->staged, true);
        upload->staging = -1;
}

void store_upload_destroy(struct store_upload *upload)
{
        if (!upload)
                return;
        store_upload_finish(upload);
        free(upload);
}

/* ---- bytes ---- */

static uint64_t size_of(const struct berth_vec *vecs, int count)
{
        uint64_t size = 0;

        for (int i = 0; i < count; i++)
                size += vecs[i].size;
        return size;
}

static int write_all(int file, const char *data, size_t size, uint64_t offset)
{
        while (size > 0) {
                ssize_t n = store_write_at(file, data, size, offset);

                if (n == -EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? (int)n : -EIO;
                data += n;
                size -= (size_t)n;
                offset += (uint64_t)n;
        }
        return 0;
}

static int append(struct store_upload *upload, const void *data, size_t size)
{
        int error = write_all(upload->file, data, size, upload->size);

        if (!error)
                upload->size += size;
        return error;
}

/* What the one call has not taken goes piece by piece. */
static int write_some(int file, const struct berth_vec *vecs, int count, uint64_t offset)
{
        ssize_t taken = store_writev_at(file, vecs, count, offset);
        size_t skip;

        if (taken < 0 && taken != -EINTR)
                return (int)taken;
        skip = (size_t)max_of(taken, 0);
        for (int i = 0; i < count; i++) {
                size_t have = min_of(skip, vecs[i].size);
                int error = write_all(file, (const char *)vecs[i].data + have, vecs[i].size - have, offset + have);

                if (error)
                        return error;
                offset += vecs[i].size;
                skip -= have;
        }
        return 0;
}

static int write_vecs(int file, const struct berth_vec *vecs, int count, uint64_t offset)
{
        ensure(count >= 0);
        for (int at = 0; at < count; at += STORE_VECS) {
                int some = min_of(count - at, STORE_VECS);
                int error = write_some(file, vecs + at, some, offset);

                if (error)
                        return error;
                offset += size_of(vecs + at, some);
        }
        return 0;
}

int store_upload_write(struct store_upload *upload, const struct berth_vec *vecs, int count)
{
        int error = write_vecs(upload->file, vecs, count, upload->size);

        if (!error)
                upload->size += size_of(vecs, count);
        return error;
}

uint64_t store_upload_size(const struct store_upload *upload)
{
        return upload->size;
}

int store_copy_by_memory(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size)
{
        char *piece = malloc(PIECE_BYTES);
        int error = piece ? 0 : -ENOMEM;

        while (!error && size > 0) {
                ssize_t n = store_read_at(from, piece, min_of(size, (uint64_t)PIECE_BYTES), from_offset);

                if (n == -EINTR)
                        continue;
                if (n <= 0) { /* it has become shorter */
                        error = (int)n;
                        break;
                }
                error = write_all(to, piece, (size_t)n, to_offset);
                from_offset += (uint64_t)n;
                to_offset += (uint64_t)n;
                size -= (uint64_t)n;
        }
        free(piece);
        return error;
}

bool store_cancelled(struct store_watch *watch)
{
        return watch && watch->cancelled && watch->cancelled(watch);
}

int store_copy_bytes(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t size,
                     struct store_watch *watch)
{
        bool by_kernel = true;

        while (size > 0) {
                uint64_t piece = min_of(size, (uint64_t)KERNEL_PIECE_BYTES);
                ssize_t n = by_kernel ? store_copy_range(from, from_offset, to, to_offset, piece) : 0;

                if (store_cancelled(watch))
                        return -ECANCELED;
                if (n == -EINTR)
                        continue;
                if (n < 0 && no_room((int)n))
                        return (int)n;
                if (n <= 0) { /* not between these two; the pieces through memory tell what is really wrong */
                        int error = store_copy_by_memory(from, from_offset, to, to_offset, piece);

                        if (error)
                                return error;
                        by_kernel = false;
                        n = (ssize_t)piece;
                }
                from_offset += (uint64_t)n;
                to_offset += (uint64_t)n;
                size -= (uint64_t)n;
        }
        return 0;
}

/* ---- putting it in place ---- */

int store_upload_stage(struct store_upload *upload, int staging, char name[STORE_STAGED_BYTES])
{
        if (upload->staging >= 0) {
                ensure(upload->staging == staging);
                memcpy(name, upload->staged, STORE_STAGED_BYTES);
                upload->staging = -1;
                return 0;
        }
        store_staged_name(upload->tree, name);
        return store_give_name(upload->file, staging, name);
}

/* Where nothing stands: -EEXIST when something does after all. */
static int put_new(struct store_upload *upload, int folder, const char *name)
{
        int error;

        if (upload->staging < 0)
                return store_give_name(upload->file, folder, name);
        error = store_rename_new(upload->staging, upload->staged, folder, name);
        if (!error)
                upload->staging = -1;
        return error;
}

static int put_over(struct store_upload *upload, int folder, const char *name)
{
        char staged[STORE_STAGED_BYTES];
        int staging = store_staging(upload->tree, folder);
        int error = staging < 0 ? staging : store_upload_stage(upload, staging, staged);

        if (error)
                return error;
        error = store_rename_over(upload->tree, staging, staged, folder, name);
        if (error)
                store_unlink_at(staging, staged, true);
        return error;
}

static int take_over(struct store_upload *upload, int folder, const char *name, const struct store_state *old)
{
        uint32_t mode = 0;
        int error = store_take_owner(upload->file, folder, name, &mode);

        if (!error && mode != (old->mode & 0777))
                error = store_set_mode_of(upload->file, old->mode & 0777);
        return error ? error : store_xattr_copy(folder, name, upload->file, true);
}

/* The time of its last byte, mostly: to set another costs as much as the rest of a small upload's attributes. */
static bool is_younger(int file, const struct store_state *old)
{
        struct store_state now;

        if (old->kind == STORE_NOTHING)
                return true;
        return store_stat_of(file, &now) == 0 &&
               (now.modified.tv_sec > old->modified.tv_sec ||
                (now.modified.tv_sec == old->modified.tv_sec && now.modified.tv_nsec > old->modified.tv_nsec));
}

/* So that it is not the time of what stands there. */
static void move_time(struct timespec *time, const struct store_state *old)
{
        long grain_ns = store_time_grain_ns();

        time->tv_nsec -= time->tv_nsec % grain_ns;
        if (store_same_time(time, &old->modified))
                time->tv_nsec += time->tv_nsec + grain_ns > 999999999 ? -grain_ns : grain_ns;
}

/* Of two uploads the later one in place is the younger. */
static int stamp(int file, const struct store_commit *commit, const struct store_state *old)
{
        struct timespec time;

        if (!commit->modified && is_younger(file, old)) {
                store_keep_time(file);
                return 0;
        }
        if (commit->modified)
                time = *commit->modified;
        else
                clock_gettime(CLOCK_REALTIME, &time);
        if (old->kind != STORE_NOTHING && !(commit->modified && commit->exact))
                move_time(&time, old);
        return store_set_time_of(file, &time);
}

/* Of a file that nobody has seen yet, so it is its owner's alone to say. */
static int set_new_mode(int file, const struct store_commit *commit)
{
        uint32_t mode;
        int error = store_mode(*commit->mode, 0, &mode);

        return error ? error : store_set_mode_of(file, mode);
}

static int may_be_written(const struct store_section *section, const struct store_state *old)
{
        if (old->linked || old->kind == STORE_IS_LINK || old->kind == STORE_IS_OTHER)
                return -EACCES;
        return old->kind == STORE_IS_FOLDER || !section->name[0] ? -EISDIR : 0;
}

static int commit_once(struct store_upload *upload, struct store_section *section, const struct store_commit *commit,
                       bool durable, const struct store_state *old)
{
        int error = may_be_written(section, old);

        if (!error && old->kind != STORE_NOTHING)
                error = commit->exclusive ? -EEXIST : take_over(upload, section->folder, section->name, old);
        if (!error && commit->mode)
                error = set_new_mode(upload->file, commit);
        if (!error)
                error = stamp(upload->file, commit, old);
        if (!error && durable)
                error = store_sync_file(upload->file);
        if (error)
                return error;
        return old->kind == STORE_NOTHING ? put_new(upload, section->folder, section->name)
                                          : put_over(upload, section->folder, section->name);
}

int store_upload_commit(struct store_upload *upload, struct store_section *section, const struct store_commit *commit,
                        struct store_state *state)
{
        bool durable = commit->durable || upload->tree->durable;
        struct store_state old = section->now;
        int error = 0;

        ensure(upload->tree == section->tree);
        if (upload->reserved > upload->size)
                error = store_resize(upload->file, upload->size);
        if (error)
                return error;
        /* Who does not know of sections may create or remove it between our look and our link. */
        for (unsigned i = 0; i < COMMIT_TRIES && (i == 0 || error == -EEXIST || error == -ENOENT); i++) {
                error = i > 0 ? store_state_at(section->folder, section->name, &old) : 0;
                if (!error)
                        error = commit_once(upload, section, commit, durable, &old);
                if (commit->exclusive)
                        break;
        }
        if (!error && durable)
                error = store_sync_folder(section->folder);
        return error ? error : store_state_of(upload->file, state);
}

/* ---- writing in place ---- */

/* What is to be done to a file: in the file that stands there, or in a new one before it appears. */
struct change {
        const struct berth_vec *vecs; /* NULL: from the upload */
        int count;
        const struct store_upload *upload;
        uint64_t offset, size;
        bool truncate; /* set the size to `size`, nothing else */
};

static int make_change(int file, const struct change *change)
{
        if (change->truncate)
                return store_resize(file, change->size);
        if (change->vecs)
                return write_vecs(file, change->vecs, change->count, change->offset);
        return store_copy_bytes(change->upload->file, 0, file, change->offset, change->size, NULL);
}

/* Where nothing stands the whole appears at once, as with an upload. */
static int change_new(struct store_section *section, const struct change *change, const struct store_commit *wanted,
                      struct store_state *state)
{
        struct store_commit commit = *wanted;
        struct store_upload upload;
        int error = store_upload_in(&upload, section->tree, section->folder);

        if (error)
                return error;
        commit.exclusive = true;
        error = make_change(upload.file, change);
        if (!error)
                error = store_upload_commit(&upload, section, &commit, state);
        store_upload_finish(&upload);
        return error;
}

/* Of a reservation that failed halfway nothing stays, not even a time. */
static void undo_reserve(int file, const struct store_state *old)
{
        store_resize(file, old->size);
        store_set_time_of(file, &old->modified);
}

static int set_old_mode(int file, const struct store_commit *commit, const struct store_state *old)
{
        uint32_t mode;
        int error = commit->mode ? store_mode(*commit->mode, old->mode, &mode) : 0;

        if (error || !commit->mode || mode == old->mode)
                return error;
        return store_set_mode_of(file, mode);
}

/* Room and mode come first: what cannot be had must leave the content as it is. */
static int change_in_place(int file, const struct change *change, const struct store_commit *commit,
                           const struct store_state *old)
{
        struct timespec time;
        int error = change->truncate ? 0 : reserve(file, change->offset, change->size);
        int failed;

        if (!error)
                error = set_old_mode(file, commit, old);
        if (error) {
                undo_reserve(file, old);
                return error;
        }
        error = make_change(file, change);
        time = commit->modified ? *commit->modified : store_time_after(&old->modified);
        move_time(&time, old);
        /* Also after an error: some of it may have been written. */
        failed = store_set_time_of(file, &time);
        return error ? error : failed;
}

static int open_old(const struct store_section *section)
{
        int file = store_open_file(section->folder, section->name, STORE_READ_WRITE);

        if (file == -EACCES)
                file = store_open_file(section->folder, section->name, STORE_WRITE);
        return file == -ELOOP ? -EACCES : file;
}

static int set_mode(const struct store_section *section, uint32_t mode)
{
        return store_set_mode_at(section->folder, section->name, mode) ? -EACCES : 0;
}

/* Who may dictate the mode of a file may write it, too: so goes on who opened it before its mode forbade that, as git
 * does with what it makes. For that moment it lends itself the right. */
static int open_against_mode(const struct store_section *section, uint32_t mode)
{
        int error = set_mode(section, mode | 0200);
        int file = error ? error : open_old(section);

        if (!error && file < 0)
                set_mode(section, mode);
        return file;
}

static int change_old(struct store_section *section, const struct change *change, const struct store_commit *commit,
                      const struct store_state *seen, struct store_state *state)
{
        struct store_state old;
        int file = open_old(section), error;
        bool lent = file == -EACCES && commit->mode && seen->kind == STORE_IS_FILE;

        if (lent)
                file = open_against_mode(section, seen->mode);
        if (file < 0)
                return file;
        error = store_state_of(file, &old);
        if (!error)
                error = may_be_written(section, &old);
        if (!error)
                error = change_in_place(file, change, commit, &old);
        if (error && lent)
                set_mode(section, seen->mode);
        if (!error && (commit->durable || section->tree->durable))
                error = store_sync_file(file);
        if (!error)
                error = store_state_of(file, state);
        store_close(file);
        return error;
}

static int change_file(struct store_section *section, const struct change *change, const struct store_commit *commit,
                       struct store_state *state)
{
        struct store_state old;
        int error;

        if (change->size > INT64_MAX || change->offset > INT64_MAX - change->size)
                return -EFBIG;
        for (unsigned i = 0; i < COMMIT_TRIES; i++) {
                error = store_state_at(section->folder, section->name, &old);
                if (!error)
                        error = may_be_written(section, &old);
                if (error)
                        return error;
                if (old.kind != STORE_NOTHING) {
                        error = change_old(section, change, commit, &old, state);
                        if (error != -ENOENT)
                                return error;
                } else {
                        error = change_new(section, change, commit, state);
                        if (error != -EEXIST)
                                return error;
                }
        }
        return error;
}

int store_upload_apply(struct store_upload *upload, struct store_section *section, uint64_t offset,
                       const struct store_commit *commit, struct store_state *state)
{
        struct change change = { .upload = upload, .offset = offset, .size = upload->size };

        return change_file(section, &change, commit, state);
}

int store_write(struct store_section *section, const struct berth_vec *vecs, int count, uint64_t offset,
                const struct store_commit *commit, struct store_state *state)
{
        struct change change = { .vecs = vecs, .count = count, .offset = offset, .size = size_of(vecs, count) };
        return change_file(section, &change, commit, state);
}

int store_truncate(struct store_section *section, uint64_t size, const struct store_commit *commit,
                   struct store_state *state)
{
        struct change change = { .truncate = true, .size = size };

        return change_file(section, &change, commit, state);
}

int store_put(struct store_section *section, const void *data, size_t size, const struct store_commit *commit,
              struct store_state *state)
{
        struct store_upload upload;
        int error = store_upload_in(&upload, section->tree, section->folder);

        if (error)
                return error;
        error = append(&upload, data, size);
        if (!error)
                error = store_upload_commit(&upload, section, commit, state);
        store_upload_finish(&upload);
        return error;
}
