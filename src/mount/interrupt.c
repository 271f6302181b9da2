/* Interrupted programs: the kernel says that a signal has come for who waits for an operation.
 *
 * Programs expect no EINTR from stat(), open() or mkdir() because of a timer or a window that changed its size; only
 * who is being killed may go without an answer. So with the first signal a watcher begins to look, ten times a second,
 * whether one is pending that ends the process (its default action; the kernel turns it into SIGKILL for each thread),
 * and only then is the request to the server given up. The kernel tells of the first signal only, therefore the
 * looking.
 *
 * Each FUSE thread has a ring of flags, one for an operation, since the kernel's word may come while the operation is
 * being answered: it then sets a flag that nobody looks at.
 */
#include "mount/command.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        RING_FLAGS = 64,
        MAX_THREADS = 2 * MOUNT_THREADS, /* libfuse may start a few more than it was told */
        LOOK_MS = 100,
        SPARE_MS = 10000,
};

struct operation {
        atomic_bool given_up;
        atomic_bool watched;
        pid_t thread;      /* of the program; 0: of another name space of processes */
        uint64_t until_ms; /* it has ended by then in any case */
};

static struct ring {
        struct operation operations[RING_FLAGS];
        unsigned next;
} rings[MAX_THREADS];

static atomic_uint ring_count;
static _Thread_local struct ring *own_ring;
static _Thread_local bool without_ring;

static struct {
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool started, stopping;
        unsigned watched, retry_ms;
} watcher = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- is it being killed? ---- */

static uint64_t signal_set(const char *status, const char *name)
{
        const char *line = strstr(status, name);
        return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

/* Signals whose default action is to do nothing or to stop or go on: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH. */
static const uint64_t harmless = 1ull << 16 | 1ull << 17 | 1ull << 18 | 1ull << 19 | 1ull << 20 | 1ull << 21 |
                                 1ull << 22 | 1ull << 27;

static bool is_being_killed(pid_t thread)
{
        char path[48], status[4096];
        snprintf(path, sizeof(path), "/proc/%d/status", (int)thread);
        if (proc_read(path, status, sizeof(status)) < 0)
                return true; /* it is gone */
        uint64_t pending = signal_set(status, "\nSigPnd:") | signal_set(status, "\nShdPnd:");
        uint64_t dealt_with = signal_set(status, "\nSigBlk:") | signal_set(status, "\nSigIgn:") |
                              signal_set(status, "\nSigCgt:");
        return (pending & ~dealt_with & ~harmless) != 0;
}

/* ---- the watcher ---- */

static unsigned look_at(struct ring *ring, uint64_t now_ms)
{
        unsigned left = 0;
        for (int i = 0; i < RING_FLAGS; i++) {
                struct operation *operation = &ring->operations[i];
                if (!atomic_load(&operation->watched))
                        continue;
                if (is_being_killed(operation->thread))
                        atomic_store(&operation->given_up, true);
                else if (now_ms < operation->until_ms) {
                        left++;
                        continue;
                }
                atomic_store(&operation->watched, false);
        }
        return left;
}

static void sleep_a_little(void)
{
        struct timespec until = clock_after_ms(LOOK_MS);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static void *watch(void *unused)
{
        (void)unused;
        pthread_mutex_lock(&watcher.lock);
        while (!watcher.stopping) {
                if (watcher.watched == 0) {
                        pthread_cond_wait(&watcher.wake, &watcher.lock);
                        continue;
                }
                watcher.watched = 0; /* what comes while looking counts anew */
                pthread_mutex_unlock(&watcher.lock);
                unsigned left = 0, rings_used = min_of(atomic_load(&ring_count), (unsigned)MAX_THREADS);
                for (unsigned i = 0; i < rings_used; i++)
                        left += look_at(&rings[i], clock_ms());
                sleep_a_little();
                pthread_mutex_lock(&watcher.lock);
                watcher.watched += left;
        }
        pthread_mutex_unlock(&watcher.lock);
        return NULL;
}

/* Called by libfuse in the thread that read the kernel's word. */
static void interrupted(fuse_req_t request, void *data)
{
        (void)request;
        struct operation *operation = data;
        if (operation->thread == 0)
                return; /* nobody knows who it is: it waits for at most --retry */
        atomic_store(&operation->watched, true);
        pthread_mutex_lock(&watcher.lock);
        watcher.watched++;
        pthread_cond_signal(&watcher.wake);
        pthread_mutex_unlock(&watcher.lock);
}

/* ---- operations ---- */

static struct ring *ring_of_thread(void)
{
        if (!own_ring && !without_ring) {
                unsigned index = atomic_fetch_add(&ring_count, 1);
                own_ring = index < MAX_THREADS ? &rings[index] : NULL;
                without_ring = !own_ring;
        }
        return own_ring;
}

void operation_begin(fuse_req_t request)
{
        atomic_fetch_add_explicit(&mount_of(request)->counters.operations, 1, memory_order_relaxed);
        struct ring *ring = ring_of_thread();
        if (!ring)
                return;
        struct operation *operation = &ring->operations[ring->next++ % RING_FLAGS];
        atomic_store_explicit(&operation->given_up, false, memory_order_relaxed);
        atomic_store_explicit(&operation->watched, false, memory_order_relaxed);
        operation->thread = fuse_req_ctx(request)->pid;
        operation->until_ms = clock_ms() + watcher.retry_ms + SPARE_MS;
        remote_give_up_on(&operation->given_up);
        fuse_req_interrupt_func(request, interrupted, operation);
}

int interrupt_start(unsigned retry_ms)
{
        watcher.retry_ms = retry_ms;
        watcher.stopping = false;
        pthread_cond_init(&watcher.wake, NULL);
        int error = -pthread_create(&watcher.thread, NULL, watch, NULL);
        watcher.started = !error;
        return error;
}

void interrupt_stop(void)
{
        if (!watcher.started)
                return;
        pthread_mutex_lock(&watcher.lock);
        watcher.stopping = true;
        pthread_cond_signal(&watcher.wake);
        pthread_mutex_unlock(&watcher.lock);
        pthread_join(watcher.thread, NULL);
        pthread_cond_destroy(&watcher.wake);
        watcher.started = false;
}
