/* Sections: who changes a name holds the folder that holds it.
 *
 * First a mutex of this process, chosen by the folder's identity, then flock(2) on the folder for all others. With
 * the mutex the threads of one server wait for each other without asking the kernel again and again, and it is all
 * there is where the file system has no locks on folders.
 *
 * Two sections at once: both mutexes in the order of the table, then both locks in the order of device and inode.
 * Nobody waits for a mutex while holding a lock, and each of the two orders is the same for all, so nobody waits in a
 * circle.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- flock ---- */

bool store_no_flock(int error)
{
        return error == -EBADF || error == -ENOLCK || error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL;
}

static int try_flock(int descriptor)
{
        int result;

        do
                result = flock(descriptor, LOCK_EX | LOCK_NB);
        while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : 0;
}

/* flock has no wait with an end; so it is asked again after 1 ms, then less and less often, at last every 20 ms. */
int store_flock(int descriptor, unsigned busy_ms)
{
        uint64_t end = clock_ms() + busy_ms;
        unsigned pause_ms = 1;

        for (;;) {
                int error = try_flock(descriptor);
                struct timespec pause = { .tv_nsec = (long)pause_ms * 1000000 };

                if (error != -EWOULDBLOCK)
                        return error;
                if (clock_ms() >= end)
                        return -EBUSY;
                nanosleep(&pause, NULL);
                pause_ms = min_of(pause_ms * 2, 20u);
        }
}

static int lock_folder(struct store_section *section)
{
        int error = section->tree->without_flock ? -ENOLCK : store_flock(section->folder, section->tree->busy_ms);

        section->locked = error == 0;
        return store_no_flock(error) ? 0 : error;
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
        /* Not by close alone: a process that was forked meanwhile would keep it. */
        if (section->locked)
                flock(section->folder, LOCK_UN);
        section->locked = false;
        if (section->mutex != STORE_NO_MUTEX)
                pthread_mutex_unlock(&section->tree->sections[section->mutex]);
        section->mutex = STORE_NO_MUTEX;
}

/* ---- entering ---- */

struct identity {
        dev_t device;
        ino_t inode;
        unsigned mutex;
};

/* A folder that may be passed but not read can be changed all the same; then the mutex has to do. */
static int open_folder(struct store_section *section, struct store_tree *tree, const char *path,
                       struct identity *identity)
{
        struct stat st;

        *section = (struct store_section){ .tree = tree, .path = path, .mutex = STORE_NO_MUTEX };
        section->folder = store_open_above(tree, path, O_RDONLY, &section->name);
        if (section->folder == -EACCES)
                section->folder = store_open_above(tree, path, O_PATH, &section->name);
        if (section->folder < 0)
                return section->folder;
        if (fstat(section->folder, &st) < 0) {
                int error = -errno;
                close(section->folder);
                return error;
        }
        *identity = (struct identity){ .device = st.st_dev, .inode = st.st_ino };
        identity->mutex = (unsigned)((st.st_ino * 0x9e3779b97f4a7c15u + st.st_dev) >> 20) % STORE_MUTEXES;
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
        close(section->folder);
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
