/* What the files of the Windows engine share.
 *
 * A call that the kernel has taken is a `struct io`: it begins with the OVERLAPPED and belongs to the port until its
 * packet came, whatever becomes of its op. While an op is in the kernel its op_space()->next is its io; the op's own
 * arguments stay where every engine has them. A handle at rest has its io in handle->sender.
 *
 * Whether a call finished at once, failed at once or by a packet, it ends in one place: the function of its kind in
 * iocp_ended. These queue the op and never write an event, so they may be called from inside a start.
 */
#ifndef PORT_IOCP_H
#define PORT_IOCP_H

#include "port/port_priv.h"
#include "port/system_win.h"

#include <winsock2.h>
#include <mswsock.h>
#include <ws2tcpip.h>
#include <windows.h>

enum io_kind {
        IO_WATCH, /* a zero-byte receive for an op */
        IO_REST,  /* the same for a handle */
        IO_CONNECT,
        IO_ACCEPT,
        IO_SEND,
        IO_FILE,       /* a read or a write */
        IO_TRANSMIT,   /* a piece of a send_file: TransmitFile, or the last piece of a head */
        IO_PIECE_READ, /* the same in two steps, by way of a buffer */
        IO_PIECE_SEND,
        IO_DISCONNECT, /* of a socket that is used again; the op has ended before */
        IO_KINDS,
};

struct io {
        OVERLAPPED overlapped; /* comes first: it is what a packet tells */
        union {
                struct berth_op *op;
                struct berth_handle *handle;
                struct listener *listener;
        };
        HANDLE target; /* what the call was made on */
        union {
                char *data;      /* IO_PIECE_*: the buffer */
                struct io *next; /* IO_SEND: the piece behind it */
        };
        uint64_t offset; /* IO_SEND: of the piece; IO_DISCONNECT, IO_TRANSMIT: when it began, in ms */
        uint32_t bytes;  /* that the call is about */
        int32_t error;   /* once it has ended: 0 or -errno */
        uint8_t kind;
        bool done; /* IO_SEND: it has ended */
};

/* Winsock's extension functions, asked for once for each provider. */
struct provider {
        DWORD id;
        bool skips; /* a call that succeeds at once brings no packet */
        LPFN_ACCEPTEX accept;
        LPFN_CONNECTEX connect;
        LPFN_TRANSMITFILE transmit;
        LPFN_DISCONNECTEX disconnect;
};

struct spare_socket {
        SOCKET socket;
        const struct provider *provider;
};

enum {
        MAX_PROVIDERS = 8,
        MAX_LISTENERS = 4096,
        MAX_EARLY = 4096, /* connections whose first bytes are kept, and accepts that may bring some */
        EARLY_BYTES = 2048,
        MAX_SEND_DEPTH = 64,
        MAX_SPARE = 256, /* sockets to be used again: those that leave and those that have left */
};

struct iocp_port {
        struct berth_port port;
        HANDLE queue;      /* the completion port */
        atomic_bool woken; /* its packet is on the way */
        struct slab ios, acceptors;
        uint32_t max_handles;
        uint32_t posted; /* accepts in the kernel: each may become a handle at any moment */
        struct provider providers[MAX_PROVIDERS];
        unsigned provider_count;
        struct listener *listeners[MAX_LISTENERS]; /* by handle->installed */
        unsigned listener_count;
        uint32_t accept_depth, accept_data_ms, send_depth; /* of the configuration */
        struct acceptor *early[MAX_EARLY];
        struct list unadopted; /* those whose connection has not been adopted yet, and those on a socket used again */
        uint32_t early_count;
        struct io *leaving[MAX_SPARE]; /* iocp_reuse.c */
        struct spare_socket spares[MAX_SPARE];
        unsigned leaving_count, spare_sockets;
        uint64_t leaving_ms; /* when they were last looked at */
        uint64_t tried_ms;   /* when listeners without accepts were last tried without their event */
        bool by_event;       /* there are some */
        uint64_t silent_ms;  /* when silent clients were last looked for */
        uint64_t looked_ms;  /* when the depth of accepts was last looked at */
        uint32_t deep;       /* listeners that have more accepts posted than the least */
        char *spare_pieces;  /* linked by their first word */
        uint32_t piece_count, spare_count, most_pieces;
        uint64_t no_piece_ms;      /* when there was no memory for one; 0: never */
        struct list piece_waiters; /* send_files that wait for a buffer, oldest first */
        uint32_t calls;            /* made; counts for refuse_some */
        bool started;              /* Winsock */
        bool transmits;            /* files go by TransmitFile */
        bool always_packets;       /* tests: as with a provider that does not skip */
        bool refuse_some;          /* tests: the kernel refuses now and then */
        bool reuses;               /* sockets are used again */
        bool stands_in;            /* tests: by a stand-in for DisconnectEx */
};

static inline struct iocp_port *iocp_of(struct berth_port *port)
{
        return container_of(port, struct iocp_port, port);
}

static inline SOCKET iocp_socket(const struct berth_handle *handle)
{
        return (SOCKET)(intptr_t)handle->descriptor;
}

static inline HANDLE iocp_file(const struct berth_handle *handle)
{
        return (HANDLE)(intptr_t)handle->descriptor;
}

/* ---- calls (iocp_calls.c) ---- */

/* A packet's key: what its OVERLAPPED pointer is. */
enum packet_key { KEY_IO, KEY_WAKE, KEY_LISTENER };

/* A record for a call of the op's on `target`; NULL without memory: the op ends with -ENOMEM. */
struct io *iocp_take(struct iocp_port *self, unsigned kind, struct berth_op *op, HANDLE target);
/* The call has ended and its record goes back; the op is out of the kernel. */
struct berth_op *iocp_give(struct iocp_port *self, struct io *io);

/* Makes the call: 0, or what GetLastError() says. */
typedef int io_call(struct iocp_port *self, struct io *io);
/* With the three outcomes: it succeeds, and is ended at once when that brings no packet; it is pending; it fails. A
 * refusal is tried once more with a larger working set. `skips`: success brings no packet. */
void iocp_start(struct iocp_port *self, struct io *io, io_call *call, bool skips);
/* Its packet came. */
void iocp_packet(struct iocp_port *self, struct io *io);
static inline uint32_t iocp_bytes(const struct io *io)
{
        return io->error == 0 || io->error == -ECANCELED ? (uint32_t)io->overlapped.InternalHigh : 0;
}
/* The call shall end soon; its packet comes. */
void iocp_cancel_call(struct io *io);
/* The op's call in the kernel shall end soon. False: it has none. */
bool iocp_cancel_io(struct berth_op *op);

typedef void io_ended(struct iocp_port *self, struct io *io);
extern io_ended *const iocp_ended[IO_KINDS]; /* iocp.c */

/* ---- errors (iocp_errors.c) ---- */

/* The kernel has no memory for it that it may lock. */
bool iocp_quota_error(DWORD code);

/* A socket that was connected and is not any more: what sending says elsewhere. */
static inline int iocp_send_error(int error)
{
        return error == -ENOTCONN ? -EPIPE : error;
}

/* ---- sockets (iocp_providers.c, iocp_listen.c) ---- */

/* The provider of a socket; NULL: not one of completion ports. */
const struct provider *iocp_provider(struct iocp_port *self, SOCKET socket);
/* A socket that is overlapped, non-blocking and not inherited, or -errno in *error and INVALID_SOCKET. */
SOCKET iocp_new_socket(int family, int *error);
/* Ties it to the port, unless it `is_tied`. False when the kernel has no memory for that. */
bool iocp_tie(struct iocp_port *self, struct berth_handle *handle, bool is_tied);
int iocp_family(SOCKET socket);
void iocp_no_delay(SOCKET socket);

int iocp_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                unsigned address_bytes, int backlog, unsigned flags);
int iocp_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor);
int iocp_listen_address(struct berth_port *port, const struct berth_handle *listener, struct sockaddr_storage *address);

/* ---- listeners and accepting ---- */

struct acceptor { /* an accept in the kernel, or one that has brought a connection */
        struct io io;
        struct list node; /* in `posted`, `held` or `unadopted` */
        SOCKET socket;
        bool tied;     /* to the port already: it is used again */
        int number;    /* in `early`, where it has brought bytes */
        char output[]; /* the first bytes, where they are wanted, and two addresses */
};

enum {
        ACCEPT_ADDRESS_BYTES = sizeof(struct sockaddr_storage) + 16,
        LEAST_DEPTH = 2,
        MOST_DEPTH = 256,
        MAX_POSTED = 4096,
};

struct listener {
        struct iocp_port *self;
        struct berth_handle *handle;
        const struct provider *provider;
        int family;
        HANDLE event, wait;    /* FD_ACCEPT: somebody has come for whom no accept was posted */
        atomic_uint signals;   /* its packets on their way */
        struct list posted;    /* acceptors in the kernel */
        struct list held;      /* acceptors with a connection that nobody has been told of */
        uint32_t posted_count; /* those in the kernel, cancelled ones too */
        uint32_t depth;        /* how many shall be posted */
        uint32_t came;         /* connections since the depth was last looked at */
        bool hungry;           /* there may be connections in the kernel's queue */
};

struct listener *iocp_listener(struct iocp_port *self, const struct berth_handle *handle);
void iocp_accept_start(struct iocp_port *self, struct berth_op *op);
bool iocp_accept_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);
/* Accepts in the kernel give up the handles that they might become. False when there are none. */
bool iocp_reclaim(struct iocp_port *self);
void iocp_unpost(struct listener *listener);
/* FD_ACCEPT's packet. */
void iocp_signalled(struct listener *listener);
/* Depths go down where less comes than is waited for. */
void iocp_look_at_depths(struct iocp_port *self);
void iocp_look_at_events(struct iocp_port *self);
void iocp_close_listener(struct iocp_port *self, struct berth_handle *handle);
void iocp_listener_ended(struct listener *listener); /* goes on with the close when nothing is out any more */
io_ended iocp_accept_ended;

/* ---- accepting with the first bytes (iocp_early.c) ---- */

bool iocp_early_room(const struct iocp_port *self);
/* Its connection is about to be handed out: true when its record is kept until that is adopted. */
bool iocp_early_keep(struct iocp_port *self, struct acceptor *acceptor);
/* Whether the socket is tied to the port already. */
bool iocp_early_adopt(struct iocp_port *self, struct berth_handle *handle);
/* It goes to another port: 0, or -EOPNOTSUPP where its bytes or its completion port cannot go along. */
int iocp_early_pass(struct iocp_port *self, SOCKET socket);
void iocp_early_drop(struct iocp_port *self, struct berth_handle *handle);
size_t iocp_early_take(struct iocp_port *self, struct berth_handle *handle, char *data, size_t room);
void iocp_look_at_silent(struct iocp_port *self);
static inline bool iocp_early(const struct berth_handle *handle)
{
        return handle->installed >= 0;
}

static inline bool iocp_room(const struct iocp_port *self)
{
        return self->port.stats.handles + self->posted < self->max_handles;
}

/* ---- sockets that are used again (iocp_reuse.c) ---- */

/* A listener begins: it is tried whether they can be, once in a process; at most a second or two. */
void iocp_reuse_begin(struct iocp_port *self);
/* At the close of a connection: true when its socket has been taken for later, false when it is to be closed. */
bool iocp_leave(struct iocp_port *self, struct berth_handle *handle);
void iocp_look_at_leaving(struct iocp_port *self);
/* One of that provider, tied to the port, for an accept; INVALID_SOCKET: there is none. */
SOCKET iocp_spare_socket(struct iocp_port *self, const struct provider *provider);
/* From its completion port: 0, or -EOPNOTSUPP. */
int iocp_untie(SOCKET socket);
/* False: the kernel has not let go of all records. */
bool iocp_reuse_end(struct iocp_port *self);
io_ended iocp_left;

/* ---- the ops: start or go on with one; the steps give events as in struct engine ---- */

void iocp_connect_go_on(struct iocp_port *self, struct berth_op *op);
io_ended iocp_connect_ended;

void iocp_watch(struct iocp_port *self, struct berth_op *op);
bool iocp_recv_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);
bool iocp_recv_now_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);
void iocp_rest(struct berth_port *port, struct berth_handle *handle);
void iocp_unrest(struct berth_port *port, struct berth_handle *handle);
io_ended iocp_watch_ended, iocp_rest_ended;

void iocp_send_go_on(struct iocp_port *self, struct berth_op *op);
io_ended iocp_send_ended;

void iocp_send_file_go_on(struct iocp_port *self, struct berth_op *op);
io_ended iocp_transmit_ended, iocp_piece_read, iocp_piece_sent;
/* Room for so many pieces at a time; 0: as many as are usual. */
void iocp_make_pieces(struct iocp_port *self, uint32_t most);
/* Those who wait for room go on, as far as there is some: true when any do. */
bool iocp_feed_pieces(struct iocp_port *self);
void iocp_free_pieces(struct iocp_port *self);
uint32_t iocp_file_buffer_bytes(const struct berth_port *port);

/* op->flags of an op that a worker has, or will have. A send, which never has one, uses the bit for moments. */
enum { ON_WORKER = 0x4000 };
/* 0, or the error of workers_submit(). */
int iocp_on_worker(struct iocp_port *self, struct berth_op *op);
int64_t iocp_write_blocking(HANDLE file, const void *data, size_t size, uint64_t offset);
void iocp_open(struct iocp_port *self, struct berth_op *op);
void iocp_read_write(struct iocp_port *self, struct berth_op *op);
/* Ties the file to the port, once. 0 or -errno. */
int iocp_tie_file(struct iocp_port *self, const struct berth_handle *file);
io_ended iocp_file_ended;

void iocp_adopt(struct berth_port *port, struct berth_handle *handle, int descriptor);
int iocp_pass(struct berth_port *port, int descriptor);
void iocp_drop(struct berth_port *port, struct berth_handle *handle);
bool iocp_shutdown_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);
bool iocp_peer_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);
bool iocp_close_step(struct berth_port *port, struct berth_op *op, struct berth_event *event);

#endif
