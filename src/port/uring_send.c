/* What goes out on io_uring: send_file, send, sendv.
 *
 * Send and sendv are one submission each, and the kernel goes on after a short send where it can. Send_file is
 * sendfile(2) called by the port's thread, a turn at a time; the ring waits for the socket to take more and reads cold
 * windows of the file in.
 *
 * sendfile(2) and getpeername(2) want a plain descriptor: FIXED_FD_INSTALL makes one for the same socket when it is
 * first needed, and it stays with the handle while there are few of them.
 */
#include "port/uring.h"

#include <poll.h>
#include <unistd.h>

enum { MAX_TRANSFER_BYTES = 1 << 30 }; /* of one submission */

enum send_file_step { SEND_FILE_START, SEND_FILE_INSTALLING, SEND_FILE_POLLING, SEND_FILE_READING };

/* Plain descriptors installed for direct ones, over all ports: the process has one limit for them. */
static atomic_uint installed_count;

/* ---- plain descriptors for direct ones ---- */

void uring_submit_install(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        io_uring_prep_rw(OP_FIXED_FD_INSTALL, sqe, op->handle->descriptor, NULL, 0, 0);
        submit(sqe, op);
}

/* Two ops may have asked for one at the same time. */
void uring_note_installed(struct berth_handle *handle, int descriptor)
{
        if (handle->installed >= 0) {
                close(descriptor);
                return;
        }
        handle->installed = descriptor;
        atomic_fetch_add_explicit(&installed_count, 1, memory_order_relaxed);
}

void uring_uninstall(struct berth_handle *handle)
{
        if (handle->installed < 0)
                return;
        close(handle->installed);
        handle->installed = -1;
        atomic_fetch_sub_explicit(&installed_count, 1, memory_order_relaxed);
}

void uring_spare_installed(struct berth_port *port, struct berth_handle *handle, const struct berth_op *user)
{
        unsigned count = atomic_load_explicit(&installed_count, memory_order_relaxed);
        bool in_use = handle->sender && handle->sender != user;
        if (count > uring_of(port)->installed_limit && !in_use)
                uring_uninstall(handle);
}

/* ---- send_file ---- */

static void submit_poll_out(struct berth_port *port, struct berth_op *op)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        op_space(op)->send_file.step = SEND_FILE_POLLING;
        io_uring_prep_poll_add(sqe, op->handle->descriptor, POLLOUT);
        submit(sqe, op);
}

static void submit_read_in(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
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
        uring_spare_installed(port, op->handle, op);
        return true;
}

void uring_start_send_file(struct berth_port *port, struct berth_op *op)
{
        if (plain_descriptor(op->handle) < 0) {
                op_space(op)->send_file.step = SEND_FILE_INSTALLING;
                uring_submit_install(port, op);
                return;
        }
        int64_t result = 0;
        if (send_file_push(port, op, &result))
                op_finish(port, op, result);
}

bool uring_send_file_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event)
{
        uint64_t step = op_space(op)->send_file.step;
        int64_t result = res;
        if (step == SEND_FILE_INSTALLING && res >= 0)
                uring_note_installed(op->handle, res);
        if (op_cancelled(op))
                result = -ECANCELED;
        else if (res >= 0 || step == SEND_FILE_READING) /* sendfile meets the same error and reports it */
                if (!send_file_push(port, op, &result))
                        return false;
        op_end(port, op, result, 0, 0, event);
        return true;
}

/* ---- send, sendv ---- */

static void submit_send(struct berth_port *port, struct berth_op *op, const char *data, size_t size)
{
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        int flags = MSG_NOSIGNAL | uring_of(port)->wait_all | (op->flags & OP_SEND_MORE ? MSG_MORE : 0);
        io_uring_prep_send(sqe, op->handle->descriptor, data, min_of(size, (size_t)MAX_TRANSFER_BYTES), flags);
        submit(sqe, op);
}

void uring_start_send(struct berth_port *port, struct berth_op *op)
{
        struct op_space *space = op_space(op);
        submit_send(port, op, space->send.data + space->send.sent, space->send.size - space->send.sent);
}

/* With MSG_WAITALL the kernel itself goes on after a short send; what is left after a limit or a signal goes out here. */
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
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, op);
        if (!sqe)
                return;
        struct msghdr *message = &scratch_of(uring_of(port), sqe)->message;
        *message = (struct msghdr){
                .msg_iov = (struct iovec *)(uintptr_t)space->sendv.vecs,
                .msg_iovlen = space->sendv.count,
        };
        io_uring_prep_sendmsg(sqe, op->handle->descriptor, message, MSG_NOSIGNAL | uring_of(port)->wait_all);
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
