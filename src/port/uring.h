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
        OP_BIND = 56,             /* Linux 6.11; the same */
        SLOT_BITS = 20,           /* of a direct descriptor: the slot; above it the ring */
        SLOT_MASK = (1 << SLOT_BITS) - 1,
        RETRY_MS = 1, /* for what the kernel would not take */
        MAX_RINGS = INT32_MAX >> SLOT_BITS,
};

/* The low bits of a submission's data: an op's address has none of them set. */
enum { DATA_NOBODY = 0, DATA_WAKE = 1, DATA_REST = 2 };

/* What a submission points at must last until the kernel has taken it; one for each slot of the queue. */
union scratch {
        struct msghdr message;
        struct open_how how;
};

struct uring_ring {
        struct io_uring io;
        union scratch *scratch;
        uint32_t index;
        uint32_t slots;      /* of its table of direct descriptors */
        uint32_t used;       /* a socket is in it, or one that was asked for will be */
        uint32_t multishots; /* accepts that take connections before we know of them */
        bool dirty;          /* something is prepared for it and not yet submitted */
};

struct uring_port {
        struct berth_port port;
        struct uring_ring **rings; /* the first one waits for all */
        uint32_t ring_count, ring_room;
        uint32_t filling;            /* the ring that new connections go to */
        uint32_t turn;               /* the ring whose completions come first */
        unsigned entries;            /* of the first ring's submission queue */
        struct op_queue cancels;     /* PENDING ops whose cancel found no room in the submission queue */
        struct op_queue plainless;   /* send_files that wait for a plain descriptor */
        uint64_t plain_retry_ms;     /* not before that time, after a refusal */
        bool plain_cancelled;        /* one of them shall end */
        struct handle_queue unrests; /* resting handles whose cancel found none; linked through handle->sender */
        char *discarded;             /* where windows are read in to; nobody looks at it */
        int wake;
        atomic_bool woken;
        bool wake_armed;
        bool stingy; /* for tests: the submission queue is now and then full */
        unsigned refusals;
        int wait_all; /* MSG_WAITALL: the kernel goes on after a short send */
        bool direct;  /* sockets are direct descriptors */
        bool can_bind;
        bool accept_multishot;
        bool recv_multishot;      /* Linux 6.0 */
        unsigned installed_limit; /* so many plain descriptors may be installed, over all ports */
        /* handles */
        uint32_t max_handles;
        uint32_t used;              /* port.stats.handles, and slots promised to accepts */
        uint32_t multishots;        /* over all rings */
        struct list multishot_list; /* of their ops, by accept.armed */
        /* receive buffers in the first ring's hands (uring_buffers.c) */
        struct io_uring_buf_ring *buffer_ring;
        size_t buffer_ring_bytes;
        uint32_t provided, depth, share; /* now, aimed at, at most */
        uint32_t taken, fewest;          /* since the depth was judged: how many, and the least provided */
        bool deepened;
        struct list starved; /* receives that found none there */
};

static inline struct uring_port *uring_of(struct berth_port *port)
{
        return container_of(port, struct uring_port, port);
}

static inline struct uring_ring *first_ring(const struct uring_port *self)
{
        return self->rings[0];
}

/* A direct handle's ring; for anything else the first. */
static inline struct uring_ring *ring_of(const struct uring_port *self, const struct berth_handle *handle)
{
        return self->rings[handle->flags & HANDLE_DIRECT ? handle->descriptor >> SLOT_BITS : 0];
}

/* What a submission names the handle by. */
static inline int target_of(const struct berth_handle *handle)
{
        return handle->flags & HANDLE_DIRECT ? handle->descriptor & SLOT_MASK : handle->descriptor;
}

/* For tests of what older kernels lack, or of a kernel short of memory: is the word in BERTH_URING_WITHOUT? */
bool uring_without(const char *feature);
bool uring_supported(struct uring_port *self, int opcode);

/* ---- rings: making them, submitting, waiting (uring_rings.c) ---- */

/* Makes one more; 0 or -errno. */
int uring_add_ring(struct uring_port *self);
void uring_end_rings(struct uring_port *self);

/* A free submission entry, after handing the queue to the kernel if it is full; NULL when the kernel takes none. */
struct io_uring_sqe *uring_get_sqe(struct uring_port *self, struct uring_ring *ring);
/* An entry for the op, or NULL: then the op has been queued and is started again at its turn. */
struct io_uring_sqe *uring_get_op_sqe(struct berth_port *port, struct uring_ring *ring, struct berth_op *op);

int uring_wait(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms);
void uring_wake(struct berth_port *port);

static inline union scratch *scratch_of(struct uring_ring *ring, const struct io_uring_sqe *sqe)
{
        return &ring->scratch[sqe - ring->io.sq.sqes];
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

/* ---- ops (uring.c) ---- */

/* What the op waits for in the kernel shall end soon. */
void uring_end_soon(struct uring_port *self, struct berth_op *op);
/* Does what there was no room for until now. Returns in how many ms to look again at the latest; -1: all done. */
int uring_catch_up(struct uring_port *self);
/* A completion; true when it has written an event. */
bool uring_completed(struct uring_port *self, const struct io_uring_cqe *cqe, struct berth_event *event);

/* ---- slots for sockets (uring_slots.c) ---- */

/* For one socket: counted in its ring until uring_give_slot(). NULL: there is none now, see uring_slot_may_come(). */
struct uring_ring *uring_take_slot(struct uring_port *self);
void uring_give_slot(struct uring_port *self, struct uring_ring *ring);
/* A plain descriptor among the handles, which takes no slot unless all are plain ones. */
bool uring_take_plain(struct uring_port *self);
void uring_give_plain(struct uring_port *self);
/* None could be taken, but some are only set aside for accepts: they are asked to give them up. */
bool uring_slot_may_come(struct uring_port *self);
/* A multishot accept may start on this ring; NULL: room is too little. */
struct uring_ring *uring_begin_multishot(struct uring_port *self, struct berth_op *op);
/* It has ended. */
void uring_end_multishot(struct uring_port *self, struct berth_op *op);
/* It has brought a connection. True: it must stop now. */
bool uring_count_accepted(struct uring_port *self, struct uring_ring *ring);
/* The socket of a handle is gone. */
void uring_forget_socket(struct uring_port *self, struct berth_handle *handle);

/* ---- accept (uring_accept.c) ---- */

/* STOPPING: a multishot one that shall end since slots get few. WAITING: for somebody to connect, accepting nothing.
 * ONE: has a slot promised. */
enum accept_step { ACCEPT_START, ACCEPT_MULTISHOT, ACCEPT_STOPPING, ACCEPT_WAITING, ACCEPT_ONE };

void uring_start_accept(struct berth_port *port, struct berth_op *op);
bool uring_accept_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                            struct berth_event *event);

/* ---- wait_readable, rest, recv (uring_receive.c) ---- */

void uring_start_wait_readable(struct berth_port *port, struct berth_op *op);
void uring_rest(struct berth_port *port, struct berth_handle *handle);
void uring_unrest(struct berth_port *port, struct berth_handle *handle);
/* Unrests that found no room. */
void uring_submit_late_unrests(struct uring_port *self);
bool uring_rest_completed(struct uring_port *self, struct berth_handle *handle, struct berth_event *event);
void uring_start_recv(struct berth_port *port, struct berth_op *op);
void uring_start_recv_now(struct berth_port *port, struct berth_op *op);
bool uring_recv_completed(struct berth_port *port, struct berth_op *op, int res, unsigned flags,
                          struct berth_event *event);

/* ---- receive buffers (uring_buffers.c) ---- */

int uring_init_buffers(struct uring_port *self);
void uring_finish_buffers(struct uring_port *self);
/* Does a receive on this ring let the kernel pick a buffer? Otherwise it brings one. */
static inline bool uring_provides(const struct uring_port *self, const struct uring_ring *ring)
{
        return ring->index == 0 && self->share > 0;
}
/* Lets the kernel have buffers up to the depth. True when it has any. */
bool uring_provide(struct uring_port *self);
/* The kernel has found none: from now on it gets more, as judged once for each look. */
void uring_deepen(struct uring_port *self);
/* The kernel has taken this one. */
void uring_note_taken(struct uring_port *self, uint16_t buffer);
void uring_buffer_put(struct berth_port *port, uint16_t buffer);
/* Starts those again that can find one now. */
void uring_feed_starved(struct uring_port *self);

/* ---- plain descriptors for direct ones (uring_plain.c) ---- */

/* The plain descriptor, -1 when there is none yet. */
static inline int plain_descriptor(const struct berth_handle *handle)
{
        return handle->flags & HANDLE_DIRECT ? handle->installed : handle->descriptor;
}

/* Asks for one; the completion's result goes to uring_note_installed(). False: there are as many as may be. */
bool uring_submit_install(struct berth_port *port, struct berth_op *op);
/* The answer: a descriptor or -errno. */
void uring_note_installed(struct uring_port *self, struct berth_handle *handle, int res);
void uring_uninstall(struct berth_handle *handle);
/* After use, or while it is of no use: it stays while there are few of them, unless an op still sends through it. */
void uring_spare_installed(struct uring_port *self, struct berth_handle *handle, const struct berth_op *user);
/* A send_file that cannot have one now starts again later. */
void uring_wait_for_plain(struct uring_port *self, struct berth_op *op, bool refused);
/* Starts those again that can go on. */
void uring_serve_plainless(struct uring_port *self);

/* ---- send_file, send, sendv (uring_send.c) ---- */

enum send_file_step {
        SEND_FILE_START,
        SEND_FILE_INSTALLING,
        SEND_FILE_PLAINLESS,
        SEND_FILE_POLLING,
        SEND_FILE_READING
};

void uring_start_send_file(struct berth_port *port, struct berth_op *op);
bool uring_send_file_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_send(struct berth_port *port, struct berth_op *op);
bool uring_send_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
void uring_start_sendv(struct berth_port *port, struct berth_op *op);
bool uring_sendv_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);

/* ---- connect (uring_connect.c) ---- */

void uring_start_connect(struct berth_port *port, struct berth_op *op);
/* The ring that its submission is on. */
struct uring_ring *uring_ring_of_connect(struct uring_port *self, struct berth_op *op);
void uring_drop(struct berth_port *port, struct berth_handle *handle);
bool uring_connect_completed(struct berth_port *port, struct berth_op *op, int res, struct berth_event *event);
/* setsockopt(2) on a direct descriptor, ahead of the op's own submission; it never waits, so it is done when that one
 * begins. `value` must be static. False when there was no room: then the op has been queued. */
bool uring_submit_option(struct berth_port *port, struct berth_op *op, int level, int option, const void *value,
                         unsigned bytes);

/* ---- listeners, adopted connections; shutdown, peer_address, close (uring_life.c) ---- */

int uring_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor);
int uring_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                 unsigned address_bytes, int backlog, unsigned flags);
int uring_listen_address(struct berth_port *port, const struct berth_handle *listener,
                         struct sockaddr_storage *address);
void uring_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor);
void uring_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor);
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
