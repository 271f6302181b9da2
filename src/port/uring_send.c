/* What goes out on io_uring: send_file, send, sendv.
 *
 * Send and sendv are one submission each, and the kernel goes on after a short send where it can. Send_file is
 * sendfile(2) called by the port's thread, a turn at a time; the ring waits for the socket to take more and reads cold
 * windows of the file in.
 *
 * sendfile(2) wants a plain descriptor (uring_plain.c).
 */
#include "port/uring.h"

#include <poll.h>

enum { MAX_TRANSFER_BYTES = 1 << 30 }; /* of one submission */

/* ---- send_file ---- */

static void submit_poll_out(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        op_space(op)->send_file.step = SEND_FILE_POLLING;
        io_uring_prep_poll_add(sqe, target_of(op->handle), POLLOUT);
        submit(sqe, op);
}

static void submit_read_in(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        const struct berth_send_file *file = op_space(op)->send_file.file;
        uint64_t offset, length;
        sendfile_window(file, &offset, &length);
        op_space(op)->send_file.step = SEND_FILE_READING;
        io_uring_prep_read(sqe, file->file->descriptor, self->discarded, (unsigned)length, offset);
        io_uring_sqe_set_data(sqe, op);
}

/* Goes on sending. True when the op has come to an end, with its result. */
static bool send_file_push(struct berth_port *port, struct berth_op *op, int64_t *result)
{
        struct op_space *space = op_space(op);
        struct berth_send_file *file = space->send_file.file;
        bool read_in = space->send_file.step == SEND_FILE_READING;
        int error = 0;
        space->send_file.step = SEND_FILE_START;
        switch (sendfile_push(plain_descriptor(op->handle), file, read_in, &error)) {
        case PUSH_FULL:
                uring_spare_installed(uring_of(port), op->handle, op);
                submit_poll_out(port, op);
                return false;
        case PUSH_TURN:
                port->stats.turns++;
                op_runnable(port, op);
                return false;
        case PUSH_COLD:
                port->stats.cold_windows++;
                submit_read_in(port, op);
                return false;
        case PUSH_DONE:
                *result = (int64_t)(file->head_sent + file->file_sent);
                break;
        case PUSH_FAILED:
                *result = error;
                break;
        }
        uring_spare_installed(uring_of(port), op->handle, op);
        return true;
}

/* Goes on, with a plain descriptor or to get one. */
static bool send_file_on(struct berth_port *port, struct berth_op *op, int64_t *result)
{
        if (plain_descriptor(op->handle) >= 0)
                return send_file_push(port, op, result);
        op_space(op)->send_file.step = SEND_FILE_INSTALLING;
        if (!uring_submit_install(port, op))
                uring_wait_for_plain(uring_of(port), op, false);
        return false;
}

void uring_start_send_file(struct berth_port *port, struct berth_op *op)
{
        int64_t result = 0;
        if (send_file_on(port, op, &result))
                op_finish(port, op, result);
}

/* The kernel may refuse a plain descriptor: we come back to that. After a cold window sendfile meets the same error as
 * the read and reports it. */
bool uring_send_file_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        uint64_t step = op_space(op)->send_file.step;
        int64_t result = res;
        if (step == SEND_FILE_INSTALLING)
                uring_note_installed(uring_of(port), op->handle, res);
        if (op_cancelled(op)) {
                result = -ECANCELED;
        } else if (step == SEND_FILE_INSTALLING && refusal(res)) {
                port->stats.refused++;
                uring_wait_for_plain(uring_of(port), op, true);
                return false;
        } else if (res >= 0 || step == SEND_FILE_READING) {
                if (!send_file_on(port, op, &result))
                        return false;
        }
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* ---- send, sendv ---- */

static void submit_send(struct berth_port *port, struct berth_op *op, const char *data, size_t size)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(uring_of(port), op->handle), op);
        if (!sqe)
                return;
        int flags = MSG_NOSIGNAL | uring_of(port)->wait_all | (op->flags & OP_SEND_MORE ? MSG_MORE : 0);
        io_uring_prep_send(sqe, target_of(op->handle), data, min_of(size, (size_t)MAX_TRANSFER_BYTES), flags);
        submit(sqe, op);
}

void uring_start_send(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        submit_send(port, op, space->send.data + space->send.sent, space->send.size - space->send.sent);
}

/* With MSG_WAITALL the kernel itself goes on after a short send; what a limit or a signal leaves goes out here. */
bool uring_send_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        if (res > 0)
                space->send.sent += (size_t)res;
        bool whole = space->send.sent == space->send.size;
        if (res > 0 && !whole && !op_cancelled(op)) {
                uring_start_send(port, op);
                return false;
        }
        int64_t result = whole ? (int64_t)space->send.size : res < 0 ? res : -ECANCELED;
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* The piece that `sent` ends in; false when nothing is left. */
static bool rest_of_piece(const struct op_space *space, const char **data, size_t *size)
{
        size_t skip = space->sendv.sent;
        for (size_t i = 0; i < space->sendv.count; i++) {
                const struct berth_vec *vec = &space->sendv.vecs[i];
                if (skip < vec->size) {
                        *data = (const char *)vec->data + skip;
                        *size = vec->size - skip;
                        return true;
                }
                skip -= vec->size;
        }
        return false;
}

/* All pieces at once; after a short send one by one. */
void uring_start_sendv(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        const char *data;
        size_t size;
        if (space->sendv.sent > 0 && rest_of_piece(space, &data, &size)) {
                submit_send(port, op, data, size);
                return;
        }
        struct uring_ring *ring = ring_of(uring_of(port), op->handle);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring, op);
        if (!sqe)
                return;
        struct msghdr *message = &scratch_of(ring, sqe)->message;
        *message = (struct msghdr){
                .msg_iov = (struct iovec *)(uintptr_t)space->sendv.vecs,
                .msg_iovlen = space->sendv.count,
        };
        io_uring_prep_sendmsg(sqe, target_of(op->handle), message, MSG_NOSIGNAL | uring_of(port)->wait_all);
        submit(sqe, op);
}

bool uring_sendv_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        struct op_space *space = op_space(op);
        const char *data;
        size_t size;
        if (res > 0)
                space->sendv.sent += (size_t)res;
        bool left = rest_of_piece(space, &data, &size);
        if (res > 0 && left && !op_cancelled(op)) {
                uring_start_sendv(port, op);
                return false;
        }
        int64_t result = !left ? (int64_t)space->sendv.sent : res < 0 ? res : -ECANCELED;
        op_end(port, op, result, 0, 0, event);
        return true;
}
