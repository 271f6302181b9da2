/* What a worker does, by calls that block. */
#include "port/port_priv.h"

#include <signal.h>
#include <unistd.h>

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

/* Signals belong to the program's own threads. */
int block_thread(pthread_t *thread, void *(*work)(void *), void *argument)
{
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int error = pthread_create(thread, NULL, work, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -error;
}
