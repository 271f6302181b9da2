/* Files on io_uring, a submission each; and calls, which the ring cannot make: worker threads do. */
#include "port/uring.h"

void uring_start_open(struct berth_port *port, struct berth_op *op)
{
        struct uring_ring *ring = first_ring(uring_of(port));
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring, op);
        if (!sqe)
                return;
        struct open_how *how = &scratch_of(ring, sqe)->how;
        files_open_how(how, space->open.flags, 0);
        io_uring_prep_openat2(sqe, op->handle->descriptor, space->open.path, how);
        submit(sqe, op);
}

bool uring_open_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        if (res == -EAGAIN && !op_cancelled(op) && op_space(op)->open.tries++ < OPEN_TRIES) {
                uring_start_open(port, op);
                return false;
        }
        if (res >= 0)
                files_opened(res);
        op_end(port, op, res, 0, 0, event);
        return true;
}

void uring_start_read(struct berth_port *port, struct berth_op *op)
{
        struct uring_ring *ring = first_ring(uring_of(port));
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring, op);
        if (!sqe)
                return;
        io_uring_prep_read(sqe, op->handle->descriptor, space->file.data, (unsigned)space->file.size,
                           space->file.offset);
        submit(sqe, op);
}

void uring_start_write(struct berth_port *port, struct berth_op *op)
{
        struct uring_ring *ring = first_ring(uring_of(port));
        struct op_space *space = op_space(op);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring, op);
        if (!sqe)
                return;
        io_uring_prep_write(sqe, op->handle->descriptor, space->file.data, (unsigned)space->file.size,
                            space->file.offset);
        submit(sqe, op);
}

void uring_start_call(struct berth_port *port, struct berth_op *op)
{
        int error = workers_submit(port->workers, port, op);
        if (error)
                op_finish(port, op, error);
}
