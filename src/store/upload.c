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
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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
        int result;

        if (size == 0)
                return 0;
        if (offset > INT64_MAX || size > INT64_MAX - offset)
                return -EFBIG;
        do
                result = fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
        while (result < 0 && errno == EINTR);
        return result < 0 && no_room(-errno) ? -errno : 0;
}

/* ---- the file without a name ---- */

/* Without O_TMPFILE: a name in staging. */
static int create_staged(struct store_upload *upload, int folder)
{
        upload->staging = store_staging(upload->tree, folder);
        if (upload->staging < 0)
                return upload->staging;
        store_staged_name(upload->tree, upload->staged);
        upload->file = openat(upload->staging, upload->staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        return upload->file < 0 ? -errno : 0;
}

int store_upload_in(struct store_upload *upload, struct store_tree *tree, int folder)
{
        int error;

        *upload = (struct store_upload){ .tree = tree, .file = -1, .staging = -1 };
        errno = EOPNOTSUPP;
        if (!tree->without_tmpfile)
                upload->file = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
        if (upload->file >= 0)
                return 0;
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
                return -errno;
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
        folder = store_open_above(tree, path, O_PATH, &name);
        error = folder < 0 ? folder : store_upload_in(upload, tree, folder);
        if (folder >= 0)
                close(folder);
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
        close(upload->file);
        if (upload->staging >= 0)
                unlinkat(upload->staging, upload->staged, 0);
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

static uint64_t size_of(const struct iovec *vecs, int count)
{
        uint64_t size = 0;

        for (int i = 0; i < count; i++)
                size += vecs[i].iov_len;
        return size;
}

static int write_all(int file, const char *data, size_t size, uint64_t offset)
{
        while (size > 0) {
                ssize_t n = pwrite(file, data, size, (off_t)offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
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
static int write_some(int file, const struct iovec *vecs, int count, uint64_t offset)
{
        ssize_t taken = pwritev(file, vecs, count, (off_t)offset);
        size_t skip;

        if (taken < 0 && errno != EINTR)
                return -errno;
        skip = (size_t)max_of(taken, 0);
        for (int i = 0; i < count; i++) {
                size_t have = min_of(skip, vecs[i].iov_len);
                int error = write_all(file, (const char *)vecs[i].iov_base + have, vecs[i].iov_len - have,
                                      offset + have);

                if (error)
                        return error;
                offset += vecs[i].iov_len;
                skip -= have;
        }
        return 0;
}

static int write_vecs(int file, const struct iovec *vecs, int count, uint64_t offset)
{
        ensure(count >= 0);
        for (int at = 0; at < count; at += IOV_MAX) {
                int some = min_of(count - at, IOV_MAX);
                int error = write_some(file, vecs + at, some, offset);

                if (error)
                        return error;
                offset += size_of(vecs + at, some);
        }
        return 0;
}

int store_upload_write(struct store_upload *upload, const struct iovec *vecs, int count)
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
                ssize_t n = pread(from, piece, min_of(size, (uint64_t)PIECE_BYTES), (off_t)from_offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) { /* it has become shorter */
                        error = n < 0 ? -errno : 0;
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
                off_t in = (off_t)from_offset, out = (off_t)to_offset;
                ssize_t n = by_kernel ? copy_file_range(from, &in, to, &out, piece, 0) : 0;

                if (store_cancelled(watch))
                        return -ECANCELED;
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && no_room(-errno))
                        return -errno;
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

/* /proc, where the kernel (before 6.10) wants a privilege for the other way. */
static int link_file(int file, int folder, const char *name)
{
        char path[32];

        if (linkat(file, "", folder, name, AT_EMPTY_PATH) == 0)
                return 0;
        if (errno != ENOENT && errno != EPERM && errno != EACCES)
                return -errno;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
        return linkat(AT_FDCWD, path, folder, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int store_upload_stage(struct store_upload *upload, int staging, char name[STORE_STAGED_BYTES])
{
        if (upload->staging >= 0) {
                ensure(upload->staging == staging);
                memcpy(name, upload->staged, STORE_STAGED_BYTES);
                upload->staging = -1;
                return 0;
        }
        store_staged_name(upload->tree, name);
        return link_file(upload->file, staging, name);
}

/* Where nothing stands: -EEXIST when something does after all. */
static int put_new(struct store_upload *upload, int folder, const char *name)
{
        int error;

        if (upload->staging < 0)
                return link_file(upload->file, folder, name);
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
        if (renameat(staging, staged, folder, name) == 0)
                return 0;
        error = -errno;
        unlinkat(staging, staged, 0);
        return error;
}

/* What may not be done is left out: who owns a file is the business of whoever runs the server. */
static int take_over(struct store_upload *upload, int folder, const char *name, const struct store_state *old)
{
        struct stat theirs, ours;

        if (fstatat(folder, name, &theirs, AT_SYMLINK_NOFOLLOW) < 0 || fstat(upload->file, &ours) < 0)
                return -errno;
        if ((theirs.st_uid != ours.st_uid || theirs.st_gid != ours.st_gid) &&
            fchown(upload->file, theirs.st_uid, theirs.st_gid) < 0 && errno != EPERM)
                return -errno;
        if ((ours.st_mode & 07777) != (old->mode & 0777) && fchmod(upload->file, old->mode & 0777) < 0)
                return -errno;
        return store_xattr_copy(folder, name, upload->file, true);
}

/* The time of its last byte, mostly: to set another costs as much as the rest of a small upload's attributes. */
static bool is_younger(int file, const struct store_state *old)
{
        struct stat now;

        if (old->kind == STORE_NOTHING)
                return true;
        return fstat(file, &now) == 0 &&
               (now.st_mtim.tv_sec > old->modified.tv_sec ||
                (now.st_mtim.tv_sec == old->modified.tv_sec && now.st_mtim.tv_nsec > old->modified.tv_nsec));
}

/* So that it is not the time of what stands there. */
static void move_time(struct timespec *time, const struct store_state *old)
{
        if (store_same_time(time, &old->modified))
                time->tv_nsec += time->tv_nsec == 999999999 ? -1 : 1;
}

/* Of two uploads the later one in place is the younger. */
static int stamp(int file, const struct store_commit *commit, const struct store_state *old)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };

        if (!commit->modified && is_younger(file, old))
                return 0;
        if (commit->modified)
                times[1] = *commit->modified;
        else
                clock_gettime(CLOCK_REALTIME, &times[1]);
        if (old->kind != STORE_NOTHING && !(commit->modified && commit->exact))
                move_time(&times[1], old);
        return futimens(file, times) < 0 ? -errno : 0;
}

/* Of a file that nobody has seen yet, so it is its owner's alone to say. */
static int set_new_mode(int file, const struct store_commit *commit)
{
        uint32_t mode;
        int error = store_mode(*commit->mode, 0, &mode);

        return error ? error : fchmod(file, mode) < 0 ? -errno : 0;
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
                error = fsync(upload->file) < 0 ? -errno : 0;
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
        if (upload->reserved > upload->size && ftruncate(upload->file, (off_t)upload->size) < 0)
                return -errno;
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
        const struct iovec *vecs; /* NULL: from the upload */
        int count;
        const struct store_upload *upload;
        uint64_t offset, size;
        bool truncate; /* set the size to `size`, nothing else */
};

static int make_change(int file, const struct change *change)
{
        if (change->truncate)
                return ftruncate(file, (off_t)change->size) < 0 ? -errno : 0;
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
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, old->modified };
        int ignored = ftruncate(file, (off_t)old->size);

        ignored |= futimens(file, times);
        (void)ignored;
}

static int set_old_mode(int file, const struct store_commit *commit, const struct store_state *old)
{
        uint32_t mode;
        int error = commit->mode ? store_mode(*commit->mode, old->mode, &mode) : 0;

        if (error || !commit->mode || mode == old->mode)
                return error;
        return fchmod(file, mode) < 0 ? -errno : 0;
}

/* Room and mode come first: what cannot be had must leave the content as it is. */
static int change_in_place(int file, const struct change *change, const struct store_commit *commit,
                           const struct store_state *old)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
        int error = change->truncate ? 0 : reserve(file, change->offset, change->size);

        if (!error)
                error = set_old_mode(file, commit, old);
        if (error) {
                undo_reserve(file, old);
                return error;
        }
        error = make_change(file, change);
        times[1] = commit->modified ? *commit->modified : store_time_after(&old->modified);
        move_time(&times[1], old);
        /* Also after an error: some of it may have been written. */
        return futimens(file, times) < 0 && !error ? -errno : error;
}

static int open_old(const struct store_section *section)
{
        int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        int file = openat(section->folder, section->name, O_RDWR | flags);

        if (file < 0 && errno == EACCES)
                file = openat(section->folder, section->name, O_WRONLY | flags);
        if (file < 0)
                return errno == ELOOP ? -EACCES : -errno;
        return file;
}

static int set_mode(const struct store_section *section, uint32_t mode)
{
        return fchmodat(section->folder, section->name, mode, AT_SYMLINK_NOFOLLOW) < 0 ? -EACCES : 0;
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
                error = fsync(file) < 0 ? -errno : 0;
        if (!error)
                error = store_state_of(file, state);
        close(file);
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

int store_write(struct store_section *section, const struct iovec *vecs, int count, uint64_t offset,
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
