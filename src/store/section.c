/* Sections: who changes a name holds the folder that holds it.
 *
 * First a mutex of this process, chosen by the folder's identity, then a lock between processes (guard.c). With
 * the mutex the threads of one server wait for each other without asking the kernel again and again, and it is all
 * there is where the file system has no locks on folders.
 *
 * Two sections at once: both mutexes in the order of the table, then both locks in the order of device and inode.
 * Nobody waits for a mutex while holding a lock, and each of the two orders is the same for all, so nobody waits in a
 * circle.
 */
#include "store/store_priv.h"

#include <errno.h>

static int lock_folder(struct store_section *section)
{
        int error = section->tree->without_flock
                            ? -ENOLCK
                            : store_guard(section->folder, section->tree->busy_ms, &section->guard);

        section->locked = error == 0;
        return store_no_lock(error) ? 0 : error;
}

/* ---- mutexes ---- */

/* By the wall clock, as ThreadSanitizer does not know the call that takes another: should it be set meanwhile, the
 * wait is shorter or longer, but ends with the section that is waited for. */
static int wait_for_mutex(pthread_mutex_t *mutex, unsigned busy_ms)
{
        struct timespec end;

        clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += busy_ms / 1000;
        end.tv_nsec += (long)(busy_ms % 1000) * 1000000;
        end.tv_sec += end.tv_nsec / 1000000000;
        end.tv_nsec %= 1000000000;
        return pthread_mutex_timedlock(mutex, &end) == 0 ? 0 : -EBUSY;
}

static int take_mutex(struct store_section *section, unsigned mutex)
{
        int error = 0;

        if (pthread_mutex_trylock(&section->tree->sections[mutex]) != 0)
                error = wait_for_mutex(&section->tree->sections[mutex], section->tree->busy_ms);
        if (!error)
                section->mutex = mutex;
        return error;
}

static void let_go(struct store_section *section)
{
        if (section->locked)
                store_unguard(section->guard);
        section->locked = false;
        if (section->mutex != STORE_NO_MUTEX)
                pthread_mutex_unlock(&section->tree->sections[section->mutex]);
        section->mutex = STORE_NO_MUTEX;
}

/* ---- entering ---- */

struct identity {
        uint64_t device, inode;
        unsigned mutex;
};

/* A folder that may be passed but not read can be changed all the same; then the mutex has to do. */
static int open_folder(struct store_section *section, struct store_tree *tree, const char *path,
                       struct identity *identity)
{
        struct store_state seen;
        int error;

        *section = (struct store_section){ .tree = tree, .path = path, .mutex = STORE_NO_MUTEX };
        section->folder = store_open_above(tree, path, STORE_OPEN_FOLDER, &section->name);
        if (section->folder == -EACCES)
                section->folder = store_open_above(tree, path, STORE_OPEN_WAY, &section->name);
        if (section->folder < 0)
                return section->folder;
        error = store_stat_of(section->folder, &seen);
        if (error) {
                store_close(section->folder);
                return error;
        }
        *identity = (struct identity){ .device = seen.device, .inode = seen.inode };
        identity->mutex = (unsigned)((seen.inode * 0x9e3779b97f4a7c15u + seen.device) >> 20) % STORE_MUTEXES;
        return 0;
}

static int look(struct store_section *section)
{
        return store_state_followed(section->tree, section->folder, section->name, section->path, &section->now);
}

int store_enter(struct store_section *section, struct store_tree *tree, const char *path)
{
        struct identity identity;
        int error = open_folder(section, tree, path, &identity);

        if (error)
                return error;
        error = take_mutex(section, identity.mutex);
        if (!error)
                error = lock_folder(section);
        if (!error)
                error = look(section);
        if (error)
                store_leave(section);
        return error;
}

int store_look_again(const struct store_section *section, struct store_state *state)
{
        return store_state_at(section->folder, section->name, state);
}

void store_leave(struct store_section *section)
{
        let_go(section);
        store_close(section->folder);
        section->folder = -1;
}

static bool same_folder(const struct identity *a, const struct identity *b)
{
        return a->device == b->device && a->inode == b->inode;
}

static bool stands_before(const struct identity *a, const struct identity *b)
{
        return a->device != b->device ? a->device < b->device : a->inode < b->inode;
}

static int take_two_mutexes(struct store_section *a, unsigned a_mutex, struct store_section *b, unsigned b_mutex)
{
        int error;

        if (a_mutex == b_mutex)
                return take_mutex(a, a_mutex);
        if (a_mutex > b_mutex)
                return take_two_mutexes(b, b_mutex, a, a_mutex);
        error = take_mutex(a, a_mutex);
        return error ? error : take_mutex(b, b_mutex);
}

static int lock_two(struct store_section *first, const struct identity *one, struct store_section *second,
                    const struct identity *other)
{
        int error = take_two_mutexes(first, one->mutex, second, other->mutex);

        if (error)
                return error;
        if (same_folder(one, other))
                return lock_folder(first);
        error = lock_folder(stands_before(one, other) ? first : second);
        return error ? error : lock_folder(stands_before(one, other) ? second : first);
}

int store_enter_two(struct store_section *first, struct store_section *second, struct store_tree *tree,
                    const char *first_path, const char *second_path, bool *second_failed)
{
        struct identity one, other;
        int error = open_folder(first, tree, first_path, &one);

        *second_failed = false;
        if (error)
                return error;
        error = open_folder(second, tree, second_path, &other);
        if (error) {
                *second_failed = true;
                store_leave(first);
                return error;
        }
        error = lock_two(first, &one, second, &other);
        if (!error)
                error = look(first);
        if (!error)
                error = look(second);
        if (error)
                store_leave_two(first, second);
        return error;
}

void store_leave_two(struct store_section *first, struct store_section *second)
{
        store_leave(second);
        store_leave(first);
}
