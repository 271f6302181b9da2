/* Copying and moving.
 *
 * A copy is made in staging, and then takes the place of what stands there in one step: nothing that is half a copy
 * is ever seen, and what stood there stays whole until the copy is. What was replaced is then out of sight, and
 * removed.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct job {
        struct store_section *from, *to;
        struct store_watch *watch;
        struct store_state source, target;
        struct store_descent *descent;
        int staging;
        char staged[STORE_STAGED_BYTES]; /* the copy, or what was replaced */
        int folder;                      /* where the copies of the current members go */
        bool durable, failed;
        bool no_clones; /* the file system has none: not to be tried for each file */
        bool is_sure;   /* a file that is made in `folder` with these permission bits has them then: */
        mode_t sure;
};

enum { SHORT_BYTES = 64 << 10 }; /* a file up to this size is copied through memory, without a look for holes */

/* ---- one file ---- */

/* Holes stay holes. */
static int copy_data(int from, int to, uint64_t size, struct store_watch *watch)
{
        uint64_t at = 0;

        if (ftruncate(to, (off_t)size) < 0)
                return -errno;
        while (at < size) {
                off_t start = lseek(from, (off_t)at, SEEK_DATA), end;
                int error;

                if (start < 0 && errno == ENXIO)
                        return 0; /* a hole up to the end */
                start = start < 0 ? (off_t)at : start;
                end = lseek(from, start, SEEK_HOLE);
                end = end <= start ? (off_t)size : (off_t)min_of((uint64_t)end, size);
                if ((uint64_t)start >= size)
                        return 0;
                error = store_copy_bytes(from, (uint64_t)start, to, (uint64_t)start, (uint64_t)(end - start), watch);
                if (error)
                        return error;
                at = (uint64_t)end;
        }
        return 0;
}

/* Mostly it is right already, and to ask is cheaper than to set. Nobody else reaches into staging meanwhile. */
static int set_mode(int file, mode_t mode, bool *was_right)
{
        struct stat now;

        *was_right = fstat(file, &now) == 0 && (now.st_mode & 07777) == mode;
        return !*was_right && fchmod(file, mode) < 0 ? -errno : 0;
}

/* A file is made with its permission bits. What the umask or the folder's default ACL leaves of them it leaves of
 * every file's in the folder, so one that was right is not asked about again. */
static int set_file_mode(struct job *job, int file, mode_t mode)
{
        int error;

        if (job->is_sure && job->sure == mode)
                return 0;
        error = set_mode(file, mode, &job->is_sure);
        job->sure = mode;
        return error;
}

/* What a copy of a folder takes over beside its content. */
static int dress_folder(const struct job *job, int folder, const char *name, const struct store_state *state, int copy)
{
        bool was_right;
        int error = store_xattr_copy(folder, name, copy, false);

        if (!error)
                error = set_mode(copy, state->mode & 0777, &was_right);
        if (!error && job->durable)
                error = store_sync_folder(copy);
        return error;
}

static int dress_file(struct job *job, int folder, const char *name, int source, const struct store_state *state,
                      int copy)
{
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, state->modified };
        bool bare = flistxattr(source, NULL, 0) == 0; /* mostly; and without a way to look up */
        int error = bare ? 0 : store_xattr_copy(folder, name, copy, false);

        if (!error)
                error = set_file_mode(job, copy, state->mode & 0777);
        if (!error && futimens(copy, times) < 0)
                error = -errno;
        if (!error && job->durable)
                error = store_sync_folder(copy);
        return error;
}

static int copy_content(struct job *job, int source, uint64_t size, int copy)
{
        if (!job->no_clones && ioctl(copy, FICLONE, source) == 0)
                return 0;
        job->no_clones = true;
        return size <= SHORT_BYTES ? store_copy_by_memory(source, 0, copy, 0, size)
                                   : copy_data(source, copy, size, job->watch);
}

static int copy_open_file(struct job *job, int folder, const char *name, int source, int to, const char *new_name)
{
        struct store_state state;
        int error = store_state_of(source, &state);
        int copy;

        if (error || state.kind != STORE_IS_FILE)
                return error ? error : -EACCES; /* it was replaced meanwhile */
        copy = openat(to, new_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, state.mode & 0777);
        if (copy < 0)
                return -errno;
        error = copy_content(job, source, state.size, copy);
        if (!error)
                error = dress_file(job, folder, name, source, &state, copy);
        if (error)
                unlinkat(to, new_name, 0);
        close(copy);
        return error;
}

static int copy_file(struct job *job, int folder, const char *name, int to, const char *new_name)
{
        int source = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        int error;

        if (source < 0)
                return -errno;
        error = copy_open_file(job, folder, name, source, to, new_name);
        close(source);
        return error;
}

static int copy_link(int folder, const char *name, int to, const char *new_name)
{
        char target[STORE_PATH_BYTES];
        ssize_t size = readlinkat(folder, name, target, sizeof(target) - 1);

        if (size < 0)
                return -errno;
        target[size] = '\0';
        return symlinkat(target, to, new_name) < 0 ? -errno : 0;
}

/* FIFOs, sockets and devices are nothing that one can copy. */
static int copy_member(struct job *job, int folder, const char *name, const struct store_state *state, int to,
                       const char *new_name)
{
        if (state->kind == STORE_IS_FILE)
                return copy_file(job, folder, name, to, new_name);
        return state->kind == STORE_IS_LINK ? copy_link(folder, name, to, new_name) : -EACCES;
}

/* ---- a tree ---- */

static int fail(struct job *job, int error)
{
        job->failed = true;
        return error == -ECANCELED ? error : store_tell(job->watch, job->descent->path, error);
}

/* Nobody but us is in staging: ".." leads where we came from. */
static int make_current(struct job *job, int folder, const char *name)
{
        int next = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (next < 0)
                return -errno;
        close(job->folder);
        job->folder = next;
        job->is_sure = false;
        return 0;
}

static const char *new_name(const struct job *job)
{
        return job->descent->depth == 0 ? job->staged : job->descent->name;
}

/* The copy's top folder is made where it will stand, under a hidden name, and at once moved to staging: file systems
 * put what is in a folder near where the folder was made. Else all copies would crowd around staging, where ext4 passes
 * over the inodes of those deleted lately one by one. */
static int make_top(const struct job *job)
{
        char hidden[sizeof(job->staged) + 16];
        int place = job->to->folder;
        int error;

        snprintf(hidden, sizeof(hidden), ".berth-copy-%s", job->staged);
        if (mkdirat(place, hidden, 0700) < 0)
                return -errno;
        if (renameat(place, hidden, job->staging, job->staged) == 0)
                return 0;
        error = -errno;
        unlinkat(place, hidden, AT_REMOVEDIR);
        return error;
}

static int make_folder(const struct job *job)
{
        if (job->descent->depth == 0)
                return make_top(job);
        return mkdirat(job->folder, new_name(job), 0700) < 0 ? -errno : 0;
}

static int enter_copy(struct job *job)
{
        int error = make_folder(job);

        if (!error)
                error = make_current(job, job->folder, new_name(job));
        if (!error)
                return 0;
        store_descent_skip(job->descent);
        return fail(job, error);
}

static int leave_copy(struct job *job)
{
        struct store_descent *descent = job->descent;
        int error = dress_folder(job, descent->folder, descent->name, &descent->state, job->folder);

        if (!error)
                error = descent->left->error;
        if (error)
                error = fail(job, error);
        if (!error)
                error = make_current(job, job->folder, "..");
        return error;
}

/* Below the start nobody has looked at a member yet: it may have gone since its name was read. */
static bool is_gone(const struct store_descent *descent)
{
        struct store_state now;

        return descent->depth > 0 && store_state_at(descent->folder, descent->name, &now) == 0 &&
               now.kind == STORE_NOTHING;
}

static int copy_step(struct job *job, enum store_step step)
{
        struct store_descent *descent = job->descent;
        int error;

        if (step == STORE_ENTER)
                return enter_copy(job);
        if (step == STORE_LEAVE)
                return leave_copy(job);
        error = copy_member(job, descent->folder, descent->name, &descent->state, job->folder, new_name(job));
        if (error == -ENOENT && is_gone(descent))
                error = 0;
        return error ? fail(job, error) : 0;
}

static int copy_steps(struct job *job)
{
        for (;;) {
                enum store_step step = store_descent_next(job->descent);
                int error = step == STORE_END ? 0 : copy_step(job, step);

                if (!error && step != STORE_END && store_cancelled(job->watch))
                        error = -ECANCELED;
                if (error || step == STORE_END)
                        return error;
        }
}

static int copy_tree(struct job *job)
{
        struct store_section *from = job->from;
        int error = store_descent_create(&job->descent, from->tree, from->folder, from->path);

        if (error)
                return error;
        job->descent->kinds_only = true;
        job->folder = openat(job->staging, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        error = job->folder < 0 ? -errno : copy_steps(job);
        if (job->folder >= 0)
                close(job->folder);
        store_descent_destroy(job->descent);
        return error;
}

static int copy_folder_alone(struct job *job)
{
        int error = make_top(job);
        int copy = error ? -1 : openat(job->staging, job->staged, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (error || copy < 0)
                return error ? error : -errno;
        error = dress_folder(job, job->from->folder, job->from->name, &job->source, copy);
        close(copy);
        return error;
}

/* The copy in staging. What is there after an error is removed. */
static int build(struct job *job, bool deep)
{
        int error;

        job->staging = store_staging(job->to->tree, job->to->folder);
        if (job->staging < 0)
                return job->staging;
        store_staged_name(job->to->tree, job->staged);
        error = job->source.kind == STORE_IS_FOLDER && !deep ? copy_folder_alone(job) : copy_tree(job);
        if (!error && job->failed && faccessat(job->staging, job->staged, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                error = -ENOTEMPTY; /* not even the first of it */
        if (error)
                store_discard(job->staging, job->staged);
        return error;
}

/* ---- taking the place of what stands there ---- */

static int exchange(const struct job *job, int folder, const char *name)
{
        if (job->to->tree->without_exchange)
                return -EINVAL;
        return renameat2(folder, name, job->to->folder, job->to->name, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

/* Where the file system cannot exchange: what stands there makes room, and comes back if the other does not get in. */
static int displace(struct job *job, int folder, const char *name)
{
        char aside[STORE_STAGED_BYTES];
        int error;

        store_staged_name(job->to->tree, aside);
        if (renameat(job->to->folder, job->to->name, job->staging, aside) < 0)
                return -errno;
        error = store_rename_new(folder, name, job->to->folder, job->to->name);
        if (error)
                store_rename_new(job->staging, aside, job->to->folder, job->to->name);
        else
                store_discard(job->staging, aside);
        return error;
}

/* With a folder in it, on either side. After the exchange the old one stands where the new one came from, which is so
 * short that nobody who asks for a section sees it; and whatever ends us there, both are whole. */
static int replace_folder(struct job *job, int folder, const char *name)
{
        char aside[STORE_STAGED_BYTES];
        int error = exchange(job, folder, name);

        if (error == -EINVAL || error == -ENOSYS)
                return displace(job, folder, name);
        if (error)
                return error;
        if (folder == job->staging) {
                store_discard(job->staging, name);
                return 0;
        }
        store_staged_name(job->to->tree, aside);
        if (renameat(folder, name, job->staging, aside) < 0) {
                error = -errno;
                exchange(job, folder, name);
                return error;
        }
        store_discard(job->staging, aside);
        return 0;
}

static int install(struct job *job, int folder, const char *name)
{
        struct store_section *to = job->to;

        if (job->target.kind == STORE_NOTHING)
                return store_rename_new(folder, name, to->folder, to->name);
        if (job->source.kind == STORE_IS_FOLDER || job->target.kind == STORE_IS_FOLDER)
                return replace_folder(job, folder, name);
        return renameat(folder, name, to->folder, to->name) < 0 ? -errno : 0;
}

/* ---- the two ---- */

static bool lies_in(const char *path, const char *folder)
{
        size_t size = strlen(folder);

        return size == 0 || (strncmp(path, folder, size) == 0 && (path[size] == '/' || !path[size]));
}

static int look_at_both(struct job *job, bool replace, bool *created)
{
        struct store_section *from = job->from, *to = job->to;
        int error = store_state_at(from->folder, from->name, &job->source);

        ensure(from->tree == to->tree);
        job->durable = to->tree->durable;
        if (!error)
                error = store_state_at(to->folder, to->name, &job->target);
        if (error)
                return error;
        if (job->source.kind == STORE_NOTHING)
                return -ENOENT;
        *created = job->target.kind == STORE_NOTHING;
        return *created || replace ? 0 : -EEXIST;
}

static bool is_one_file(const struct job *job)
{
        return job->source.inode == job->target.inode && job->source.device == job->target.device;
}

static int begin(struct job *job, bool replace, bool *created)
{
        int error = look_at_both(job, true, created);

        if (error)
                return error;
        if (lies_in(job->from->path, job->to->path) || lies_in(job->to->path, job->from->path))
                return -EINVAL;
        if (!*created && !replace)
                return -EEXIST;
        return *created ? 0 : store_ask(job->to, job->watch);
}

int store_copy(struct store_section *from, struct store_section *to, bool deep, bool replace, struct store_watch *watch,
               bool *created)
{
        struct job job = { .from = from, .to = to, .watch = watch };
        int error = begin(&job, replace, created);

        if (!error)
                error = build(&job, deep);
        if (error)
                return error;
        error = install(&job, job.staging, job.staged);
        if (error)
                store_discard(job.staging, job.staged);
        if (!error && job.durable)
                error = store_sync_folder(to->folder);
        return !error && job.failed ? -ENOTEMPTY : error;
}

/* To another file system. The source goes out of sight at once, when the copy is in place. */
static int move_by_copy(struct job *job)
{
        char aside[STORE_STAGED_BYTES];
        int staging = store_staging(job->from->tree, job->from->folder);
        int error = staging < 0 ? staging : build(job, true);

        if (error)
                return error;
        error = job->failed ? -ENOTEMPTY : install(job, job->staging, job->staged);
        if (error) {
                store_discard(job->staging, job->staged);
                return error;
        }
        store_staged_name(job->from->tree, aside);
        if (renameat(job->from->folder, job->from->name, staging, aside) < 0)
                return -errno;
        store_discard(staging, aside);
        return 0;
}

static int move_by_rename(struct job *job)
{
        struct store_section *from = job->from;

        /* Two names of one file: rename(2) would leave both. */
        if (is_one_file(job))
                return unlinkat(from->folder, from->name, 0) < 0 ? -errno : 0;
        if (job->target.kind != STORE_NOTHING) {
                job->staging = store_staging(job->to->tree, job->to->folder);
                if (job->staging < 0)
                        return job->staging;
        }
        return install(job, from->folder, from->name);
}

/* A lock does not come along; it would be in force again when the file came back. */
static void drop_locks(const struct job *job)
{
        if (job->source.kind == STORE_IS_FILE || job->source.kind == STORE_IS_FOLDER)
                store_xattr_remove(job->to->folder, job->to->name, STORE_LOCK_ATTRIBUTE);
}

/* What is in place now stays there; its locks do not, and it is made durable. */
static int arrived(const struct job *job)
{
        int error;

        drop_locks(job);
        if (!job->durable)
                return 0;
        error = store_sync_folder(job->to->folder);
        return error ? error : store_sync_folder(job->from->folder);
}

int store_move(struct store_section *from, struct store_section *to, bool replace, struct store_watch *watch,
               bool *created)
{
        struct job job = { .from = from, .to = to, .watch = watch };
        int error = begin(&job, replace, created);

        if (!error)
                error = store_ask(from, watch);
        if (!error)
                error = move_by_rename(&job);
        if (error == -EXDEV)
                error = move_by_copy(&job);
        return error ? error : arrived(&job);
}

/* The kernel judges what may take whose place, in the moment in which it does. */
static int rename_over(const struct job *job)
{
        if (renameat(job->from->folder, job->from->name, job->to->folder, job->to->name) == 0)
                return 0;
        return errno == EEXIST ? -ENOTEMPTY : -errno; /* POSIX allows both words for it */
}

int store_rename(struct store_section *from, struct store_section *to, bool replace, struct store_watch *watch,
                 bool *created)
{
        struct job job = { .from = from, .to = to, .watch = watch };
        int error = look_at_both(&job, replace, created);

        if (error)
                return error;
        if (is_one_file(&job))
                return 0;
        error = store_ask(from, watch);
        if (!error)
                error = *created && !replace ? store_rename_new(from->folder, from->name, to->folder, to->name)
                                             : rename_over(&job);
        if (error == -EXDEV && job.target.kind != STORE_IS_FOLDER && !lies_in(to->path, from->path))
                error = job.source.kind == STORE_IS_FOLDER && !*created ? -ENOTDIR : move_by_copy(&job);
        return error ? error : arrived(&job);
}
