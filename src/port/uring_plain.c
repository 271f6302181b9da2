/* Plain descriptors for direct ones. sendfile(2) and getpeername(2) want one: FIXED_FD_INSTALL makes it, for the same
 * socket, when it is first needed.
 *
 * All ports together may have half of RLIMIT_NOFILE of them, counted from the submission that asks for one. While that
 * is far away one stays with its handle; later it goes after each use, and also while a send_file waits for its reader,
 * so that any number of slow readers get on. A send_file that cannot have one waits here until one is given back, or a
 * little while when it was the kernel that refused.
 */
#include "port/uring.h"

#include <unistd.h>

enum {
        REFUSED_WAIT_MS = 10,
        SERVED_AT_ONCE = 64, /* of those that wait, in one pass */
};

/* Over all ports: the process has one limit for them. */
static atomic_uint installed_count;

static bool count_one(const struct uring_port *self)
{
        unsigned count = atomic_load_explicit(&installed_count, memory_order_relaxed);
        do {
                if (count >= self->installed_limit)
                        return false;
        } while (!atomic_compare_exchange_weak_explicit(&installed_count, &count, count + 1, memory_order_relaxed,
                                                        memory_order_relaxed));
        return true;
}

static void uncount_one(void)
{
        atomic_fetch_sub_explicit(&installed_count, 1, memory_order_relaxed);
}

bool uring_submit_install(struct berth_port *port, struct berth_op *op)
{
        struct uring_port *self = uring_of(port);
        if (!count_one(self))
                return false;
        struct io_uring_sqe *sqe = uring_get_op_sqe(port, ring_of(self, op->handle), op);
        if (!sqe) {
                uncount_one();
                return true;
        }
        io_uring_prep_rw(OP_FIXED_FD_INSTALL, sqe, target_of(op->handle), NULL, 0, 0);
        submit(sqe, op);
        return true;
}

/* Two ops may have asked for one at the same time. */
void uring_note_installed(struct uring_port *self, struct berth_handle *handle, int res)
{
        (void)self;
        if (res >= 0 && handle->installed < 0) {
                handle->installed = res;
                return;
        }
        if (res >= 0)
                close(res);
        uncount_one();
}

void uring_uninstall(struct berth_handle *handle)
{
        if (handle->installed < 0)
                return;
        close(handle->installed);
        handle->installed = -1;
        uncount_one();
}

/* An eighth of them is kept for those that need one at this moment. */
void uring_spare_installed(struct uring_port *self, struct berth_handle *handle, const struct berth_op *user)
{
        unsigned count = atomic_load_explicit(&installed_count, memory_order_relaxed);
        bool scarce = self->plainless.count > 0 || count >= self->installed_limit - self->installed_limit / 8;
        bool in_use = handle->sender && handle->sender != user;
        if (scarce && !in_use)
                uring_uninstall(handle);
}

/* ---- send_files without one ---- */

void uring_wait_for_plain(struct uring_port *self, struct berth_op *op, bool refused)
{
        if (refused)
                self->plain_retry_ms = clock_ms() + REFUSED_WAIT_MS;
        op_space(op)->send_file.step = SEND_FILE_PLAINLESS;
        op_queue_push(&self->plainless, op);
}

static void end_cancelled(struct uring_port *self)
{
        self->plain_cancelled = false;
        for (uint32_t n = self->plainless.count; n > 0; n--) {
                struct berth_op *op = op_queue_pop(&self->plainless);
                if (op_cancelled(op))
                        op_finish(&self->port, op, -ECANCELED);
                else
                        op_queue_push(&self->plainless, op);
        }
}

void uring_serve_plainless(struct uring_port *self)
{
        if (self->plain_cancelled)
                end_cancelled(self);
        if (self->plainless.count == 0 || clock_ms() < self->plain_retry_ms)
                return;
        for (uint32_t n = min_of(self->plainless.count, (uint32_t)SERVED_AT_ONCE); n > 0; n--) {
                if (atomic_load_explicit(&installed_count, memory_order_relaxed) >= self->installed_limit)
                        return;
                uring_start_send_file(&self->port, op_queue_pop(&self->plainless));
        }
}
