/* What the files of the io_uring engine share; uring.c tells how it works.
 *
 * A kind of op has its start, which submits, and its completion, which ends the op or submits again; uring.c calls
 * them. An op has one submission at a time. Ops of several submissions keep their place in `step`.
 */
#ifndef PORT_URING_H
#define PORT_URING_H

#include "port/port_priv.h"

#include <liburing.h>
#include <linux/openat2.h>
#include <sys/socket.h>

enum {
        BUFFER_GROUP = 0,
        OP_FIXED_FD_INSTALL = 54, /* Linux 6.8; liburing 2.3 has no name for it */
};

/* Submissions that are nobody's op. */
enum { DATA_NOBODY = 0, DATA_WAKE = 1 };

/* What a submission points at must last until the kernel has taken it; one for each slot of the queue. */
union scratch {
        struct msghdr message;
        struct open_how how;
};

struct uring_port {
        struct berth_port port;
        struct io_uring ring;
        union scratch *scratch;
        struct io_uring_buf_ring *buffer_ring;
        size_t buffer_ring_bytes;
        char *discarded;         /* where windows are read in to; nobody looks at it */
        struct op_queue cancels; /* PENDING ops whose cancel found no room in the submission queue */
        int wake;
        bool wake_armed;
        bool ring_made;
        bool stingy; /* for tests: the submission queue is now and then full */
        unsigned refusals;
        int wait_all; /* MSG_WAITALL: the kernel goes on after a short send */
        bool direct;  /* sockets are direct descriptors */
        bool accept_multishot;
        bool recv_multishot;      /* Linux 6.0 */
        uint32_t slots;           /* of the table of direct descriptors */
        uint32_t slots_used;      /* a socket is in it, or one that was asked for will be */
        unsigned installed_limit; /* so many plain descriptors may stay installed, over all ports */
};

static inline struct uring_port *uring_of(struct berth_port *port)
{
        return container_of(port, struct uring_port, port);
}

/* ---- submitting (uring.c) ---- */

/* A free submission entry, after handing the queue to the kernel if it is full; NULL when the kernel takes none. */
struct io_uring_sqe *uring_get_sqe(struct uring_port *self);
/* An entry for the op, or NULL: then the op has been queued and is started again at its turn. */
struct io_uring_sqe *uring_get_op_sqe(struct berth_port *port, struct berth_op *op);

static inline union scratch *scratch_of(struct uring_port *self, const struct io_uring_sqe *sqe)
{
        return &self->scratch[sqe - self->ring.sq.sqes];
}

static inline void submit(struct io_uring_sqe *sqe, struct berth_op *op)
{
        io_uring_sqe_set_data(sqe, op);
        if (op->handle && op->handle->flags & HANDLE_DIRECT)
                sqe->flags |= IOSQE_FIXED_FILE;
}

static inline void submit_for_nobody(struct io_uring_sqe *sqe, uint64_t data)
{
        io_uring_sqe_set_data64(sqe, data);
}

/* ---- accept, wait_readable, recv (uring_receive.c) ---- */

void uring_start_accept(struct berth_port *port, struct berth_op *op);
void uring_start_wait_readable(struct berth_port *port, struct berth_op *op);
void uring_start_recv(struct berth_port *port, struct berth_op *op);
bool uring_accept_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                            struct berth_event *event);
bool uring_recv_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                          struct berth_event *event);

/* ---- plain descriptors for direct ones; send_file, send, sendv (uring_send.c) ---- */

/* Asks for one; the completion's result goes to uring_note_installed(). */
void uring_submit_install(struct berth_port *port, struct berth_op *op);
void uring_note_installed(struct berth_handle *handle, int descriptor);
void uring_uninstall(struct berth_handle *handle);
/* After use: it stays while there are few of them, unless an op still sends through it. */
void uring_spare_installed(struct berth_port *port, struct berth_handle *handle, const struct berth_op *user);

/* The plain descriptor, -1 when there is none yet. */
static inline int plain_descriptor(const struct berth_handle *handle)
{
        return handle->flags & HANDLE_DIRECT ? handle->installed : handle->descriptor;
}

void uring_start_send_file(struct berth_port *port, struct berth_op *op);
bool uring_send_file_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_send(struct berth_port *port, struct berth_op *op);
bool uring_send_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_sendv(struct berth_port *port, struct berth_op *op);
bool uring_sendv_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);

/* ---- listeners, adopted connections; connect, shutdown, peer_address, close (uring_life.c) ---- */

int uring_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor);
int uring_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                 unsigned address_bytes, int backlog, unsigned flags);
int uring_listen_address(struct berth_port *port, const struct berth_handle *listener,
                         struct sockaddr_storage *address);
void uring_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor);
void uring_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor);
void uring_start_connect(struct berth_port *port, struct berth_op *op);
void uring_drop(struct berth_port *port, struct berth_handle *handle);
bool uring_connect_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_shutdown(struct berth_port *port, struct berth_op *op);
void uring_start_peer_address(struct berth_port *port, struct berth_op *op);
bool uring_peer_address_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_close(struct berth_port *port, struct berth_op *op);
bool uring_close_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);

/* ---- files and calls (uring_files.c) ---- */

void uring_start_open(struct berth_port *port, struct berth_op *op);
bool uring_open_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_read(struct berth_port *port, struct berth_op *op);
void uring_start_write(struct berth_port *port, struct berth_op *op);
void uring_start_call(struct berth_port *port, struct berth_op *op);

#endif
