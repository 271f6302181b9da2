/* The bounded worker pool: a ring of waiting calls under one lock, a few threads that take them in order, and
 * results that go back by port_post(). A full ring refuses (-EBUSY); nothing ever waits for room. */
#include "port/port_priv.h"

#include <stdlib.h>

enum { MAX_THREADS = 256 };

struct entry {
        struct berth_op *op;
        struct berth_port *port;
};

struct berth_workers {
        pthread_mutex_t lock;
        pthread_cond_t work;
        bool stopping;
        unsigned thread_count;
        unsigned first, waiting, room; /* ring of entries */
        pthread_t threads[MAX_THREADS];
        struct entry ring[];
};

/* Waits for work; false when the pool stops. Called and left with the lock held. */
static bool take_entry(struct berth_workers *workers, struct entry *entry)
{
        while (!workers->waiting && !workers->stopping)
                pthread_cond_wait(&workers->work, &workers->lock);
        if (!workers->waiting)
                return false;
        *entry = workers->ring[workers->first];
        workers->first = (workers->first + 1) % workers->room;
        workers->waiting--;
        return true;
}

static void *work(void *argument)
{
        struct berth_workers *workers = argument;
        struct entry entry;
        pthread_mutex_lock(&workers->lock);
        while (take_entry(workers, &entry)) {
                pthread_mutex_unlock(&workers->lock);
                entry.op->result = op_block(entry.op);
                port_post(entry.port, entry.op);
                pthread_mutex_lock(&workers->lock);
        }
        pthread_mutex_unlock(&workers->lock);
        return NULL;
}

int berth_workers_create(struct berth_workers **out, unsigned threads, unsigned queue)
{
        *out = NULL;
        if (threads < 1 || threads > MAX_THREADS || queue < 1 || queue > 1u << 20)
                return -EINVAL;
        struct berth_workers *workers = calloc(1, sizeof(*workers) + queue * sizeof(struct entry));
        if (!workers)
                return -ENOMEM;
        workers->room = queue;
        pthread_mutex_init(&workers->lock, NULL);
        pthread_cond_init(&workers->work, NULL);
        for (unsigned i = 0; i < threads; i++) {
                int error = block_thread(&workers->threads[i], work, workers);
                if (error) {
                        berth_workers_destroy(workers);
                        return error;
                }
                workers->thread_count++;
        }
        *out = workers;
        return 0;
}

void berth_workers_destroy(struct berth_workers *workers)
{
        if (!workers)
                return;
        pthread_mutex_lock(&workers->lock);
        workers->stopping = true;
        pthread_cond_broadcast(&workers->work);
        pthread_mutex_unlock(&workers->lock);
        for (unsigned i = 0; i < workers->thread_count; i++)
                pthread_join(workers->threads[i], NULL);
        pthread_mutex_destroy(&workers->lock);
        pthread_cond_destroy(&workers->work);
        free(workers);
}

int workers_submit(struct berth_workers *workers, struct berth_port *port, struct berth_op *op)
{
        if (!workers)
                return -ENOSYS;
        int error = 0;
        pthread_mutex_lock(&workers->lock);
        if (workers->waiting == workers->room) {
                error = -EBUSY;
        } else {
                unsigned at = (workers->first + workers->waiting++) % workers->room;
                workers->ring[at] = (struct entry){ op, port };
                pthread_cond_signal(&workers->work);
        }
        pthread_mutex_unlock(&workers->lock);
        return error;
}

int workers_room(const struct berth_workers *workers, uint32_t calls)
{
        if (!workers)
                return -ENOSYS;
        return calls < workers->thread_count + workers->room ? 0 : -EBUSY;
}

bool workers_cancel(struct berth_workers *workers, struct berth_op *op)
{
        bool found = false;
        if (!workers)
                return false;
        pthread_mutex_lock(&workers->lock);
        for (unsigned i = 0; i < workers->waiting; i++) {
                struct entry *entry = &workers->ring[(workers->first + i) % workers->room];
                if (found) /* those behind it close the gap */
                        workers->ring[(workers->first + i - 1) % workers->room] = *entry;
                else
                        found = entry->op == op;
        }
        if (found)
                workers->waiting--;
        pthread_mutex_unlock(&workers->lock);
        return found;
}
