/* The bounded worker pool: a ring of waiting calls under one lock, a few threads that take them in order, and
 * results that go back by port_post(). A full ring refuses (-EBUSY); nothing ever waits for room. */
#include "port/port_priv.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

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

int64_t op_block(struct berth_op *op)
{
        struct op_space *space = op_space(op);
        int64_t n;
        switch (op->kind) {
        case OP_CALL: {
                struct berth_call *call = container_of(op, struct berth_call, op);
                return call->call(call);
        }
        case OP_OPEN:
                do
                        n = files_open(op->handle->descriptor, space->open.path, space->open.flags, 0);
                while (n == -EAGAIN && space->open.tries++ < OPEN_TRIES);
                return n;
        case OP_READ:
                n = pread(op->handle->descriptor, space->file.data, space->file.size, (off_t)space->file.offset);
                return n < 0 ? -errno : n;
        case OP_WRITE:
                n = pwrite(op->handle->descriptor, space->file.data, space->file.size, (off_t)space->file.offset);
                return n < 0 ? -errno : n;
        case OP_SEND_FILE: {
                struct berth_send_file *file = space->send_file.file;
                uint64_t offset, length;
                sendfile_window(file, &offset, &length);
                return files_read_in(file->file->descriptor, offset, length);
        }
        default:
                ensure(!"an op that can block");
                return -EINVAL;
        }
}

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

/* Signals belong to the program's own threads. */
static int start_thread(struct berth_workers *workers)
{
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int error = pthread_create(&workers->threads[workers->thread_count], NULL, work, workers);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!error)
                workers->thread_count++;
        return -error;
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
                int error = start_thread(workers);
                if (error) {
                        berth_workers_destroy(workers);
                        return error;
                }
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
