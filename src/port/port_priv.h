/* What the files of the port share: the common half of a port, and the table an engine fills in.
 *
 * An op's life. start: op_begin() counts it and gives it to the engine (state PENDING). Either the engine's
 * wait() finds it finished and writes an event, or it is put on the port's ready queue (state QUEUED):
 * with a result (OP_FINISHED), or as runnable, which means that the engine's step() shall try it when
 * its turn comes. op_end() writes the event; without BERTH_MORE the op is the caller's again.
 */
#ifndef PORT_PORT_PRIV_H
#define PORT_PORT_PRIV_H

#include "base/base.h"
#include "berth/port.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum op_kind {
        OP_NONE,
        OP_ACCEPT,
        OP_CONNECT,
        OP_WAIT_READABLE,
        OP_RECV,
        OP_RECV_NOW,
        OP_SEND,
        OP_SENDV,
        OP_SEND_FILE,
        OP_SHUTDOWN,
        OP_PEER_ADDRESS,
        OP_CLOSE,
        OP_OPEN,
        OP_READ,
        OP_WRITE,
        OP_CALL,
        OP_TIMER,
        OP_POST,
};

enum op_state { OP_IDLE, OP_PENDING, OP_QUEUED, OP_STARVED };

/* op->flags above the public ones. */
enum op_flags {
        OP_CANCELLED = 0x100, /* somebody asked that it end */
        OP_MULTISHOT = 0x200,
        OP_FINISHED = 0x400, /* queued with its result */
        OP_SEND_MORE = 0x800,
        OP_ABORT = 0x1000,
        OP_CANCEL_WAITS = 0x2000, /* io_uring: the cancel could not be submitted yet */
        OP_PUBLIC_FLAGS = 0xff,
};

/* op->engine: a link and the op's arguments. */
struct op_space {
        struct berth_op *next; /* in the ready queue, the posted stack, ...; iocp: the call in the kernel */
        union {
                struct {
                        const char *data;
                        size_t size, sent;
                } send;
                struct {
                        const struct berth_vec *vecs;
                        size_t count, sent;
                } sendv;
                struct {
                        union {
                                uint64_t step;       /* the engine's */
                                struct list starved; /* as in recv */
                        };
                        struct berth_send_file *file;
                } send_file;
                struct {
                        const struct sockaddr *address, *source;
                        uint32_t address_bytes;
                        uint32_t step; /* the engine's */
                } connect;
                struct {
                        struct sockaddr *address;
                        uint64_t room;
                } peer;
                struct {
                        const char *path;
                        uint32_t flags, tries;
                } open;
                struct {
                        char *data;
                        size_t size;
                        uint64_t offset;
                } file;
                struct {
                        uint32_t step, ring; /* the engine's */
                        struct list armed;
                } accept;
                struct {
                        char *data;
                        size_t size;
                } recv_now;
                struct {
                        struct list starved;   /* ops that wait for a buffer */
                        uint32_t step, buffer; /* the engine's */
                } recv;
                int64_t finished; /* OP_FINISHED: the result. op->result may yet show an earlier BERTH_MORE */
        };
} __attribute__((may_alias));

_Static_assert(offsetof(struct op_space, send_file.starved) == offsetof(struct op_space, recv.starved), "one list");
_Static_assert(sizeof(struct op_space) <= sizeof(((struct berth_op *)0)->engine), "an op has room for its arguments");
_Static_assert(sizeof(struct berth_op) == 64, "an op is one cache line");
_Static_assert(sizeof(struct berth_handle) == 40, "a handle is small");

static inline struct op_space *op_space(struct berth_op *op)
{
        return (struct op_space *)op->engine;
}

static inline struct berth_op *op_of_starved(struct list *node)
{
        return (struct berth_op *)((char *)node - offsetof(struct op_space, recv.starved) -
                                   offsetof(struct berth_op, engine));
}

enum handle_kind { HANDLE_NONE, HANDLE_LISTENER, HANDLE_STREAM, HANDLE_FILE, HANDLE_POLLABLE };

enum handle_flags {
        HANDLE_CLOSING = 1,
        HANDLE_DIRECT = 2,   /* io_uring: descriptor is a slot of the ring's table */
        HANDLE_SKIPS = 2,    /* iocp: a call that succeeds at once brings no packet */
        HANDLE_READABLE = 4, /* epoll: an edge came and no EAGAIN since; iocp: likewise a packet */
        HANDLE_WATCHED = 8,  /* epoll: registered; iocp: a file that is tied to the port */
        HANDLE_ACCEPTED = 8, /* iocp: a connection that did not come from berth_connect */
        HANDLE_BROKEN = 16,  /* the kernel had no memory to watch it: ops end with -ENOMEM */
        HANDLE_SHARED = 32,  /* a listener that other ports wait on too; iocp: any one */
        HANDLE_RESET = 32,   /* iocp: a wait has met a reset, which the next receive tells */
        HANDLE_HUNG_UP = 64, /* epoll: an end or error was announced: always readable; iocp: a reset was told */
        HANDLE_RESTING = 128,
};

static inline bool op_cancelled(const struct berth_op *op)
{
        return (op->flags & OP_CANCELLED) || (op->handle && (op->handle->flags & HANDLE_CLOSING));
}

/* ---- queues of ops, linked through op_space()->next ---- */

struct op_queue {
        struct berth_op *first, *last;
        uint32_t count;
};

void op_queue_push(struct op_queue *queue, struct berth_op *op);
struct berth_op *op_queue_pop(struct op_queue *queue);

/* ---- queues of handles whose rest has ended: linked through handle->receiver, not needed meanwhile ---- */

struct handle_queue {
        struct berth_handle *first, *last;
        uint32_t count;
};

/* In the queue; the last one links to itself. */
static inline bool rest_is_over(const struct berth_handle *handle)
{
        return handle->receiver != NULL;
}

/* ---- receive buffers (buffers.c): one mapping, a stack of the free ones, never more ---- */

struct buffers {
        char *memory;
        uint32_t bytes; /* of each */
        uint16_t count;
        uint16_t free_count; /* on the stack */
        uint16_t *free;
        uint8_t *state; /* by number */
        struct berth_port_stats *stats;
};

int buffers_init(struct buffers *buffers, uint32_t count, uint32_t bytes, struct berth_port_stats *stats);
void buffers_finish(struct buffers *buffers);
/* For the caller of the port, who gives it back. False when none is left. */
bool buffers_take(struct buffers *buffers, uint16_t *buffer);
void buffers_give(struct buffers *buffers, uint16_t buffer);
/* For the kernel, to choose from: off the stack, and later the caller's. */
bool buffers_set_aside(struct buffers *buffers, uint16_t *buffer);
void buffers_note_taken(struct buffers *buffers, uint16_t buffer);
static inline char *buffers_data(const struct buffers *buffers, uint16_t buffer)
{
        return buffers->memory + (size_t)buffer * buffers->bytes;
}

/* ---- the engine's table ---- */

struct engine {
        const char *name;
        bool shares; /* berth_port_shares() */
        /* Makes engine memory that begins with struct berth_port; port_init() has not been called yet. */
        int (*create)(struct berth_port **port, const struct berth_port_config *config);
        void (*destroy)(struct berth_port *port);
        uint64_t (*now_ms)(struct berth_port *port);
        /* Waits (timeout_ms as in berth_port_reap) and writes at most `count` events by op_end(), or queues ops.
         * Returns events written or -errno. count may be 0. */
        int (*wait)(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms);
        void (*wake)(struct berth_port *port); /* any thread */
        /* An op was begun: state PENDING, arguments in op_space(). Also called again for a starved receive. */
        void (*start)(struct berth_port *port, struct berth_op *op);
        /* A runnable op's turn: true when it has written an event, false when it waits (PENDING or QUEUED again). */
        bool (*step)(struct berth_port *port, struct berth_op *op, struct berth_event *event);
        /* A PENDING op shall end soon; OP_CANCELLED is set. */
        void (*cancel)(struct berth_port *port, struct berth_op *op);
        int (*listen)(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                      unsigned address_bytes, int backlog, unsigned flags);
        int (*listen_adopt)(struct berth_port *port, struct berth_handle *listener, int descriptor);
        int (*listen_address)(struct berth_port *port, const struct berth_handle *listener,
                              struct sockaddr_storage *address);
        void (*adopt)(struct berth_port *port, struct berth_handle *handle, int descriptor);
        /* An accepted connection leaves for another port: 0 or -EOPNOTSUPP. NULL: the engine cannot. */
        int (*pass)(struct berth_port *port, int descriptor);
        /* A connect has failed, or nobody wants the accepted connection: what socket the handle has (perhaps none) is
         * let go at once. Or nobody accepts on a shared listener any more: other ports shall be woken for its
         * connections, not this one (iocp: what comes shall stay in the kernel's queue). */
        void (*drop)(struct berth_port *port, struct berth_handle *handle);
        /* NULL: the engine has none. */
        void (*adopt_pollable)(struct berth_port *port, struct berth_handle *handle, int descriptor);
        void (*buffer_put)(struct berth_port *port, uint16_t buffer);
        /* The handle rests until rest_finish() or rest_end(). */
        void (*rest)(struct berth_port *port, struct berth_handle *handle);
        /* A resting handle is to be closed: its rest shall end soon. */
        void (*unrest)(struct berth_port *port, struct berth_handle *handle);
        uint32_t (*max_handles)(const struct berth_port *port);
        /* NULL: the kernel sends files. */
        uint32_t (*file_buffer_bytes)(const struct berth_port *port);
};

extern const struct engine uring_engine, epoll_engine, sim_engine, iocp_engine;

/* Those of this system (engines.c), ended by NULL. "auto" takes the first that can be made of the first so many. */
extern const struct engine *const port_engines[];
extern const unsigned port_engines_automatic;

/* ---- the common half of a port ---- */

struct berth_port {
        const struct engine *engine;
        struct op_queue ready;
        struct handle_queue rested;
        berth_rested *on_rested;
        struct wheel wheel;
        uint64_t now_ms;
        struct berth_workers *workers;
        _Atomic(struct berth_op *) posted; /* from other threads, last first */
        atomic_uint posting;               /* threads that are inside port_post() */
        uint32_t in_flight, max_ops;
        bool skipped;        /* the last reap did not ask the engine */
        bool ops_turn;       /* where rests that have ended and ops compete for one event */
        struct list starved; /* receives that wait for a buffer on the stack, oldest first */
        struct buffers buffers;
        struct berth_port_stats stats;
};

/* Fills in the common half; `memory` for the buffers comes from buffers_init(). 0 or -errno. */
int port_init(struct berth_port *port, const struct engine *engine, const struct berth_port_config *config);
void port_finish(struct berth_port *port);

/* The op has come to an end (or, with BERTH_MORE in flags, to one of several): writes the event. */
void op_end(struct berth_port *port, struct berth_op *op, int64_t result, unsigned flags, uint16_t buffer,
            struct berth_event *event);
/* The op ends with `result` when the ready queue comes to it. Not for BERTH_MORE. */
void op_finish(struct berth_port *port, struct berth_op *op, int64_t result);
/* The op's step() is called when the ready queue comes to it. */
void op_runnable(struct berth_port *port, struct berth_op *op);
/* A handle's rest is over: writes the event, true; or, when the handle is to be closed, goes on with that, false. */
bool rest_end(struct berth_port *port, struct berth_handle *handle, struct berth_event *event);
/* The same when the ready queue comes to it. */
void rest_finish(struct berth_port *port, struct berth_handle *handle);
/* No buffer is free: the op (a receive; iocp: a send_file, too) waits in the list, by which it is started again when
 * there is one. On port->starved that is done by the common half. */
void op_starve(struct berth_port *port, struct berth_op *op, struct list *list);

/* The kernel has no room: to be counted, and worth another try later. */
static inline bool refusal(int64_t result)
{
        return result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS;
}

/* Any thread: hands an op with its result back to the port's thread. */
void port_post(struct berth_port *port, struct berth_op *op);

/* ---- calls that block (workers.c) ---- */

/* Runs op_block(op) on a worker thread and posts its result. 0, -EBUSY (queue full), -ENOSYS (no workers). */
int workers_submit(struct berth_workers *workers, struct berth_port *port, struct berth_op *op);
/* Would they take a call when `calls` have not finished? 0 or the errors above. For the simulator, which makes calls
 * itself. */
int workers_room(const struct berth_workers *workers, uint32_t calls);
/* True when the op was still waiting and is taken out again. */
bool workers_cancel(struct berth_workers *workers, struct berth_op *op);
/* Does what the op asks for by blocking calls (block.c): OP_CALL, OP_OPEN, and where the system has no better way
 * OP_READ, OP_WRITE, OP_SEND_FILE (reads its window in). */
int64_t op_block(struct berth_op *op);
/* A thread that takes none of the program's signals (block.c). 0 or -errno. */
int block_thread(pthread_t *thread, void *(*work)(void *), void *argument);

/* ---- Linux sockets and files shared by uring and epoll (sockets.c, files.c, sendfile.c) ---- */

/* A bound, listening, non-blocking socket, or -errno. */
int sockets_listen(const struct sockaddr *address, unsigned address_bytes, int backlog, unsigned flags);
/* A socket about to connect, bound to `source` unless that is NULL; or -errno. */
int sockets_connecting(const struct sockaddr *address, const struct sockaddr *source, unsigned address_bytes);
int sockets_bind_source(int descriptor, const struct sockaddr *source, unsigned source_bytes);
/* RLIMIT_NOFILE. */
uint32_t sockets_limit(void);
int sockets_address(int descriptor, struct sockaddr_storage *address);
int sockets_peer(int descriptor, struct sockaddr *address, unsigned room);
/* A connection that went away before it was accepted is not the listener's trouble (accept(2), ERRORS). */
bool sockets_accept_again(int error);
void sockets_linger_abort(int descriptor);
/* Makes somebody else's listening socket like one of sockets_listen(). 0 or -errno (-EINVAL: it does not listen). */
int sockets_adopt_listener(int descriptor);
void sockets_no_delay(int descriptor);

/* openat2 with the rules of berth_open(); `resolve` is added to them. A descriptor or -errno. */
int files_open(int root, const char *path, unsigned flags, uint64_t resolve);
/* To be called on each file opened by these rules. */
void files_opened(int descriptor);
/* A path with ".." was renamed under the kernel's eyes (openat2(2), EAGAIN): worth so many further tries. */
enum { OPEN_TRIES = 8 };
/* open_how for the same rules. */
struct open_how;
void files_open_how(struct open_how *how, unsigned flags, uint64_t resolve);
/* Reads a window of a file into the page cache and throws the bytes away; blocks. */
int64_t files_read_in(int file, uint64_t offset, uint64_t length);

enum { SEND_TURN_BYTES = 1 << 20, SEND_FILE_WINDOW_BYTES = 256 << 10 };

enum push { PUSH_DONE, PUSH_FULL, PUSH_TURN, PUSH_COLD, PUSH_FAILED };

/* Sends what the socket takes now, at most a turn. FULL: wait until writable. COLD: the window at the current
 * position must be read in first. FAILED: *error is a negative errno. `read_in`: the window has just been read in. */
enum push sendfile_push(int socket, struct berth_send_file *file, bool read_in, int *error);
/* The window that PUSH_COLD speaks of. */
void sendfile_window(const struct berth_send_file *file, uint64_t *offset, uint64_t *length);

#endif
