/* What a worker does, by calls that block. Reads never come here, and writes only when they make a file longer. */
#include "port/iocp.h"

int64_t op_block(struct berth_op *op)
{
        const struct op_space *space = op_space(op);
        if (op->kind == OP_OPEN)
                return open_beneath(iocp_file(op->handle), space->open.path, space->open.flags);
        if (op->kind == OP_WRITE)
                return iocp_write_blocking(iocp_file(op->handle), space->file.data, space->file.size,
                                           space->file.offset);
        ensure(op->kind == OP_CALL);
        struct berth_call *call = container_of(op, struct berth_call, op);
        return call->call(call);
}

int block_thread(pthread_t *thread, void *(*work)(void *), void *argument)
{
        return -pthread_create(thread, NULL, work, argument);
}
