/* Copying and moving.
 *
 * A copy is made in staging, and then takes the place of what stands there in one step: nothing that is half a copy
 * is ever seen, and what stood there stays whole until the copy is. What was replaced is then out of sight, and
 * removed.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>

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
        uint32_t sure;
};

enum { SHORT_BYTES = 64 << 10 }; /* a file up to this size is copied through memory, without a look for holes */

/* ---- one file ---- */

/* Holes stay holes. */
static int copy_data(int from, int to, uint64_t size, struct store_watch *watch)
{
        uint64_t at = 0;

        int error = store_resize(to, size);

        while (!error && at < size) {
                uint64_t start;

                store_next_data(from, at, size, &start, &at);
                if (start < size)
                        error = store_copy_bytes(from, start, to, start, at - start, watch);
        }
        return error;
}

/* Mostly it is right already, and to ask is cheaper than to set. Nobody else reaches into staging meanwhile. */
static int set_mode(int file, uint32_t mode, bool *was_right)
{
        struct store_state now;

        *was_right = store_stat_of(file, &now) == 0 && now.mode == mode;
        return *was_right ? 0 : store_set_mode_of(file, mode);
}

/* A file is made with its permission bits. What the umask or the folder's default ACL leaves of them it leaves of
 * every file's in the folder, so one that was right is not asked about again. */
static int set_file_mode(struct job *job, int file, uint32_t mode)
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
        bool bare = store_xattr_none_of(source); /* mostly; and without a way to look up */
        int error = bare ? 0 : store_xattr_copy(folder, name, copy, false);

        if (!error)
                error = set_file_mode(job, copy, state->mode & 0777);
        if (!error)
                error = store_set_time_of(copy, &state->modified);
        if (!error && job->durable)
                error = store_sync_file(copy);
        return error;
}

static int copy_content(struct job *job, int source, uint64_t size, int copy)
{
        if (!job->no_clones && store_clone(source, copy) == 0)
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
        copy = store_create_file(to, new_name, state.mode & 0777);
        if (copy < 0)
                return copy;
        error = copy_content(job, source, state.size, copy);
        if (!error)
                error = dress_file(job, folder, name, source, &state, copy);
        if (error)
                store_unlink_at(to, new_name, true);
        store_close(copy);
        return error;
}

static int copy_file(struct job *job, int folder, const char *name, int to, const char *new_name)
{
        int source = store_open_file(folder, name, STORE_READ);
        int error;

        if (source < 0)
                return source;
        error = copy_open_file(job, folder, name, source, to, new_name);
        store_close(source);
        return error;
}

static int copy_link(int folder, const char *name, int to, const char *new_name)
{
        char target[STORE_PATH_BYTES];
        ssize_t size = store_readlink_at(folder, name, target, sizeof(target) - 1);

        if (size < 0)
                return (int)size;
        target[size] = '\0';
        return store_symlink_at(target, to, new_name);
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

static int make_current(struct job *job, int next)
{
        if (next < 0)
                return next;
        store_close(job->folder);
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
        error = store_folder_at(place, hidden, 0700);
        if (error)
                return error;
        error = store_rename_at(place, hidden, job->staging, job->staged);
        if (error)
                store_rmdir_at(place, hidden);
        return error;
}

static int make_folder(const struct job *job)
{
        if (job->descent->depth == 0)
                return make_top(job);
        return store_folder_at(job->folder, new_name(job), 0700);
}

static int enter_copy(struct job *job)
{
        int error = make_folder(job);

        if (!error)
                error = make_current(job, store_open_folder(job->folder, new_name(job)));
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
        if (!error) /* nobody but us is in staging, so that is where we came from */
                error = make_current(job, store_open_parent(job->folder));
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
        job->folder = store_open_folder(job->staging, "");
        error = job->folder < 0 ? job->folder : copy_steps(job);
        if (job->folder >= 0)
                store_close(job->folder);
        store_descent_destroy(job->descent);
        return error;
}

static int copy_folder_alone(struct job *job)
{
        int error = make_top(job);
        int copy = error ? error : store_open_folder(job->staging, job->staged);

        if (copy < 0)
                return copy;
        error = dress_folder(job, job->from->folder, job->from->name, &job->source, copy);
        store_close(copy);
        return error;
}

/* The copy in staging. What is there after an error is removed. */
static int build(struct job *job, bool deep)
{
        struct store_state copied;
        int error;

        job->staging = store_staging(job->to->tree, job->to->folder);
        if (job->staging < 0)
                return job->staging;
        store_staged_name(job->to->tree, job->staged);
        error = job->source.kind == STORE_IS_FOLDER && !deep ? copy_folder_alone(job) : copy_tree(job);
        if (!error && job->failed && store_stat_at(job->staging, job->staged, &copied) < 0)
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
        return store_exchange_at(folder, name, job->to->folder, job->to->name);
}

/* Where the file system cannot exchange: what stands there makes room, and comes back if the other does not get in. */
static int displace(struct job *job, int folder, const char *name)
{
        char aside[STORE_STAGED_BYTES];
        int error;

        store_staged_name(job->to->tree, aside);
        error = store_rename_new(job->to->folder, job->to->name, job->staging, aside);
        if (error)
                return error;
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

        if (error == -EINVAL)
                return displace(job, folder, name);
        if (error)
                return error;
        if (folder == job->staging) {
                store_discard(job->staging, name);
                return 0;
        }
        store_staged_name(job->to->tree, aside);
        error = store_rename_at(folder, name, job->staging, aside);
        if (error) {
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
        return store_rename_over(to->tree, folder, name, to->folder, to->name);
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

/* One name in other letters, where the file system takes no account of their case. */
static bool is_one_name(const struct job *job)
{
        return is_one_file(job) && (job->source.kind == STORE_IS_FOLDER || job->source.links == 1);
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
        error = store_rename_at(job->from->folder, job->from->name, staging, aside);
        if (error)
                return error;
        store_discard(staging, aside);
        return 0;
}

static int move_by_rename(struct job *job)
{
        struct store_section *from = job->from;

        /* Two names of one file: rename(2) would leave both. */
        if (is_one_file(job) && !is_one_name(job))
                return store_unlink(from->tree, from->folder, from->name);
        if (job->target.kind != STORE_NOTHING) {
                job->staging = store_staging(job->to->tree, job->to->folder);
                if (job->staging < 0)
                        return job->staging;
        }
        return is_one_name(job) ? store_rename_at(from->folder, from->name, job->to->folder, job->to->name)
                                : install(job, from->folder, from->name);
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
        if (error == -EXDEV && !is_one_file(&job)) /* else a mount shows it at both places */
                error = move_by_copy(&job);
        return error ? error : arrived(&job);
}

/* The kernel judges what may take whose place, in the moment in which it does. */
static int rename_over(const struct job *job)
{
        return store_rename_over(job->to->tree, job->from->folder, job->from->name, job->to->folder, job->to->name);
}

int store_rename(struct store_section *from, struct store_section *to, bool replace, struct store_watch *watch,
                 bool *created)
{
        struct job job = { .from = from, .to = to, .watch = watch };
        int error = look_at_both(&job, replace, created);

        if (error)
                return error;
        if (is_one_file(&job) && !is_one_name(&job))
                return 0;
        error = store_ask(from, watch);
        if (!error)
                error = *created && !replace ? store_rename_new(from->folder, from->name, to->folder, to->name)
                                             : rename_over(&job);
        if (error == -EXDEV && job.target.kind != STORE_IS_FOLDER && !is_one_file(&job) &&
            !lies_in(to->path, from->path))
                error = job.source.kind == STORE_IS_FOLDER && !*created ? -ENOTDIR : move_by_copy(&job);
        return error ? error : arrived(&job);
}
