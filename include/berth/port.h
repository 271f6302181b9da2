/* libberth: a completion port for servers.
 *
 * Operations are started and later complete. Nothing blocks the thread, nothing calls back from inside a
 * start, and an operation never fails to start: whatever happened arrives as its completion. The same
 * interface stands on Linux io_uring ("uring"), Linux epoll ("epoll"), Windows' I/O completion ports ("iocp")
 * and a seeded simulator ("sim"); docs/internals/port.md tells what each operation is made of.
 *
 * Ownership. struct berth_op and struct berth_handle are embedded in the caller's own records: no memory is
 * allocated per operation. While an op is in flight, the op, its handle and whatever its arguments point at
 * belong to the port; they may be freed or reused from inside the op's `done` function. An op is zeroed
 * before its first use and may be started again as soon as it has completed.
 *
 * Threads. A port belongs to the thread that made it; every function takes place there, except
 * berth_post(), berth_port_wake() and the berth_workers_*() functions, which any thread may call.
 * One port per thread is the intended use.
 *
 * Descriptors. On Windows an `int descriptor` is the number of a SOCKET or HANDLE: these have 32 significant
 * bits there, so that 32- and 64-bit programs can share them. Sockets must be overlapped ones, as socket() makes
 * them, and files opened with FILE_FLAG_OVERLAPPED.
 *
 * Results are >= 0 or a negative errno (from <errno.h>), on every system. Invariants, checked always
 * (a broken one ends the program with a message):
 *   - an op completes exactly once; a multishot op has any number of completions flagged BERTH_MORE and
 *     then one final one without;
 *   - nothing completes inside a function that starts something;
 *   - closing a handle completes after every op on that handle has completed;
 *   - a handle has at most one receiving op (accept, wait_readable, recv, recv_now) and one sending op (connect,
 *     send, sendv, send_file) in flight; file handles may have any number of reads and writes;
 *   - a handle at rest (berth_rest) has no op in flight, and its rest ends once.
 */
#ifndef BERTH_PORT_H
#define BERTH_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if !defined(_WIN32)
#define BERTH_API __attribute__((visibility("default")))
#elif defined(BERTH_BUILD)
#define BERTH_API __declspec(dllexport)
#else
#define BERTH_API
#endif

struct sockaddr;
struct sockaddr_storage;
struct berth_port;    /* opaque */
struct berth_workers; /* opaque */
struct berth_op;

typedef void berth_done(struct berth_op *op);

/* One operation: 64 bytes. The caller sets `done` (once, or before each start) and reads `result`, `flags`
 * and `buffer` in it; the rest is the port's. */
struct berth_op {
        uint64_t engine[4]; /* the engine's */
        berth_done *done;
        struct berth_handle *handle;
        int64_t result; /* >= 0, or a negative errno */
        uint8_t kind, state;
        uint16_t flags;  /* BERTH_MORE, BERTH_BUFFER */
        uint16_t buffer; /* with BERTH_BUFFER: which one; the receiver puts it back */
        uint16_t spare;
};

enum berth_op_flags {
        BERTH_MORE = 1,   /* multishot: further completions follow */
        BERTH_BUFFER = 2, /* `buffer` holds `result` bytes */
};

/* A socket, listener or file: 40 bytes, embedded. Zeroed before use; valid from listen/adopt/connect until
 * its close completes. */
struct berth_handle {
        int32_t descriptor; /* descriptor, slot of the ring's table, or simulated number */
        int32_t installed;  /* a plain descriptor for the same socket, or -1 (io_uring) */
        uint16_t in_flight; /* ops started on it and not yet completed */
        uint8_t kind;       /* 0: not in use */
        uint8_t flags;
        uint32_t user;             /* the caller's, never touched */
        struct berth_op *receiver; /* the receiving op in flight */
        struct berth_op *sender;   /* the sending op in flight */
        struct berth_op *closer;   /* the close op in flight */
};

typedef void berth_rested(struct berth_handle *handle);

/* A completion as berth_port_reap() hands it out: of `op`, or, where that is NULL, the end of the rest of `handle`. */
struct berth_event {
        struct berth_op *op;
        struct berth_handle *handle;
        int64_t result;
        uint16_t flags, buffer;
};

/* ---- the port ---- */

struct berth_port_config {
        const char *engine;    /* "auto", "uring", "epoll", "iocp", "sim"; NULL: $BERTH_ENGINE, else "auto" */
        uint32_t max_ops;      /* ops in flight and handles at rest at most, past it -ENOBUFS; 0: 1,048,576 */
        uint32_t max_handles;  /* accepted and connected sockets at most; 0: what RLIMIT_NOFILE gives (Windows:
                                * 1,048,576). More than that io_uring carries by further rings, made when they are
                                * needed */
        uint32_t ring_entries; /* submission queue; 0: 1,024 (completion queue: four times that) */
        uint16_t buffers;      /* receive buffers: a power of two up to 32,768; 0: 256 */
        uint32_t buffer_bytes; /* size of each; 0: 4,096 */
        struct berth_workers
                *workers;         /* for calls that block; must outlive the port; NULL: such ops end with -ENOSYS */
        berth_rested *rested;     /* called by berth_port_run() at the end of a rest; may be NULL where nothing rests */
        uint64_t seed;            /* sim: everything that is random follows from it */
        uint32_t fault_per_mille; /* sim: how often the kernel refuses, cuts short or resets */
        uint32_t accept_depth;    /* iocp: accepts in the kernel at most for each listener; 0: 256 */
        uint32_t accept_data_ms;  /* iocp: hands out connections with their first bytes, and closes who has not said
                                   * anything for so long; 0: at once */
        uint32_t send_depth;      /* iocp: pieces of a send in the kernel at a time (at most 64), from the sender's
                                   * memory without a buffer of the socket's; 0: one, with that buffer */
        uint32_t file_buffers;    /* where files are sent by way of user memory, buffers for it
                                   * (berth_port_file_buffer_bytes()), past which a send_file waits; 0: 4,096 */
};

/* Makes a port. 0, or -ENOSYS (no such engine on this system), -EINVAL, -ENOMEM, -EMFILE, -EPERM. "auto" takes
 * io_uring where the kernel (5.19 or later) and its policy allow, otherwise epoll; on Windows iocp. */
BERTH_API int berth_port_create(struct berth_port **port, const struct berth_port_config *config);

/* Nothing may be in flight. NULL is fine. */
BERTH_API void berth_port_destroy(struct berth_port *port);

/* "uring", "epoll", "iocp" or "sim". */
BERTH_API const char *berth_port_engine(const struct berth_port *port);

/* Whether several ports can listen on one address (BERTH_REUSE_PORT) and on one socket (`shared`). Where they cannot,
 * one port accepts for all and passes connections on: berth_pass(). */
BERTH_API bool berth_port_shares(const struct berth_port *port);

/* The accepted and connected sockets that the port can have at a time: max_handles of its configuration, or less where
 * each of them needs one of the process's descriptors (epoll, older kernels). */
BERTH_API uint32_t berth_port_max_handles(const struct berth_port *port);

/* The bytes of user memory that a send_file holds while a piece of the file is on its way: 0 where the kernel sends
 * files, as everywhere but on client editions of Windows. */
BERTH_API uint32_t berth_port_file_buffer_bytes(const struct berth_port *port);

/* Waits at most timeout_ms (0: not at all, -1: without end) until something has finished, and hands out up to `count`
 * completions. Returns how many; 0 at the time-out, when woken, or before that when what was ready turned out to have
 * to wait again; or -errno when the engine itself is broken. An op given out without BERTH_MORE is the caller's
 * again. */
BERTH_API int berth_port_reap(struct berth_port *port, struct berth_event *events, unsigned count, int timeout_ms);

/* Reaps a batch and calls `done` of each with op->result, flags and buffer set, or the port's `rested` with the handle
 * at the end of a rest. Returns how many, or -errno. */
BERTH_API int berth_port_run(struct berth_port *port, int timeout_ms);

/* Makes a waiting berth_port_reap() return. Any thread. */
BERTH_API void berth_port_wake(struct berth_port *port);

/* The monotonic clock in ms, as read when the port last came back from waiting (sim: simulated time). */
BERTH_API uint64_t berth_port_now_ms(const struct berth_port *port);

/* Ops in flight and handles at rest now. */
BERTH_API uint32_t berth_port_in_flight(const struct berth_port *port);

struct berth_port_stats {
        uint64_t starts;       /* ops started */
        uint64_t completions;  /* events handed out */
        uint64_t refused;      /* -EMFILE -ENFILE -ENOMEM -ENOBUFS seen from the kernel, or max_ops hit */
        uint64_t starved;      /* receives, and sends of files by way of user memory, that had to wait for a buffer */
        uint64_t cold_windows; /* send_file windows that had to be read in first */
        uint64_t turns;        /* send_file turns that ended so that others could go on */
        uint64_t reused;       /* connections accepted on a socket that was used before (Windows) */
        uint32_t handles;      /* accepted and connected sockets now, with those being connected */
        uint32_t passed;       /* of these: passed on to another port, and not given back (berth_pass) */
        uint32_t rings;        /* io_uring: how many there are; else 0 */
        uint32_t buffers_lent; /* receive buffers in the caller's hands now */
        uint32_t buffers_used; /* receive buffers that have ever been in use: what the pool occupies of memory */
};
BERTH_API const struct berth_port_stats *berth_port_stats(const struct berth_port *port);

/* ---- sockets ---- */

enum berth_listen_flags {
        BERTH_REUSE_PORT = 1, /* several ports listen on one address; the kernel spreads connections (Linux; elsewhere
                               * -EOPNOTSUPP) */
};

/* Binds and listens. `backlog` in connections. Returns 0 or -errno. Accepted and connected TCP sockets have
 * TCP_NODELAY. */
BERTH_API int berth_listen(struct berth_port *port, struct berth_handle *listener, const struct sockaddr *address,
                           unsigned address_bytes, int backlog, unsigned flags);

/* Takes over a listening descriptor that somebody else bound (socket activation). The port owns it from now on.
 * `shared`: other ports wait on the same socket (Windows: -EOPNOTSUPP). 0 or -errno; on failure the descriptor stays
 * the caller's. */
BERTH_API int berth_listen_adopt(struct berth_port *port, struct berth_handle *listener, int descriptor, bool shared);

/* The address a listener is bound to. 0 or -errno. */
BERTH_API int berth_listen_address(struct berth_port *port, const struct berth_handle *listener,
                                   struct sockaddr_storage *address);

/* Multishot. Each BERTH_MORE completion's result is a new connection for berth_adopt(). Final: -EMFILE, -ENFILE,
 * -ENOMEM, -ENOBUFS (start again when there is room), -ECANCELED. -ENFILE also says that max_handles is reached and
 * somebody waits to be accepted: he stays in the kernel's queue, nothing that was accepted is ever dropped. */
BERTH_API void berth_accept(struct berth_port *port, struct berth_op *op, struct berth_handle *listener);

/* Ties an accepted connection to a handle. This, berth_discard() or berth_pass() must be called on every accepted
 * result; cannot fail. */
BERTH_API void berth_adopt(struct berth_port *port, struct berth_handle *handle, int64_t accepted);

/* Or closes it, when there is no handle for it. */
BERTH_API void berth_discard(struct berth_port *port, int64_t accepted);

/* Or lets another port of the same engine have it, which calls berth_take() with the same number on its own thread. It
 * goes on to count as one of this port's `max_handles` until it is given back, so that this bounds what all together
 * have. 0, or -EOPNOTSUPP: it stays this port's, since the engine cannot (io_uring, the simulator) or it has brought
 * bytes along (accept_data_ms). */
BERTH_API int berth_pass(struct berth_port *port, int64_t accepted);

/* A connection that another port has passed on is this one's, for berth_adopt() or berth_discard(). It is counted here,
 * too, and taken whatever `max_handles` says. */
BERTH_API void berth_take(struct berth_port *port, int64_t accepted);

/* So many of those that this port has passed on are closed. */
BERTH_API void berth_give_back(struct berth_port *port, uint32_t count);

/* Connects a new TCP or unix stream socket, from `source` (of the same family and size; NULL: the kernel's choice).
 * Port 0 in `source` lets the kernel choose one that is free for this pair of addresses (IP_BIND_ADDRESS_NO_PORT).
 * Both addresses must last until completion. On an error (-ENFILE: max_handles is reached; -EADDRNOTAVAIL: no port is
 * free) the handle is unused again and need not be closed. */
BERTH_API void berth_connect(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                             const struct sockaddr *address, unsigned address_bytes, const struct sockaddr *source);

/* Completes with 0 when bytes, the end or an error can be received. Holds no buffer: a poll, on Windows a zero-byte
 * WSARecv. */
BERTH_API void berth_wait_readable(struct berth_port *port, struct berth_op *op, struct berth_handle *handle);

/* Rest: the same wait by the handle alone, so that a quiet connection needs no op. Nothing may be in flight on the
 * handle, and until its rest has ended nothing but berth_close() may be called with it. The end is an event of the
 * handle's (berth_port_config.rested): something can be received, or it may seem so; a receive finds out. A close ends
 * the rest without that event. */
BERTH_API void berth_rest(struct berth_port *port, struct berth_handle *handle);

enum berth_recv_flags { BERTH_MULTISHOT = 1 };

/* Receives into a buffer of the port's pool, picked only when data is there. Result: bytes (flag BERTH_BUFFER), 0
 * at the peer's end of stream (no buffer, final), or -errno (final). With BERTH_MULTISHOT goes on until the end,
 * an error or a cancel. While the pool is empty data waits in the kernel. */
BERTH_API void berth_recv(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, unsigned flags);

/* Receives what is there now into `data`, and does not wait: bytes, 0 at the peer's end of stream, -EAGAIN when there
 * is nothing yet (berth_wait_readable() tells when there is), or -errno. What did not fit is for the next one. `data`
 * lasts until completion. */
BERTH_API void berth_recv_now(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, void *data,
                              size_t size);

enum berth_send_flags { BERTH_SEND_MORE = 1 /* more follows soon: do not push a small segment out yet */ };

/* Sends all of it: result is `size`, or -errno; berth_sent() tells what went out before. `data` lasts until
 * completion. */
BERTH_API void berth_send(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, const void *data,
                          size_t size, unsigned flags);

struct berth_vec { /* laid out as struct iovec */
        const void *data;
        size_t size;
};

enum { BERTH_MAX_VECS = 16 };

/* Sends `count` (1 .. BERTH_MAX_VECS) pieces as one. The array and the pieces last until completion. */
BERTH_API void berth_sendv(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                           const struct berth_vec *vecs, unsigned count);

/* The bytes that a send or sendv which has ended had sent; read before the op is started again. After -ECANCELED the
 * next byte can be sent by another op. */
BERTH_API size_t berth_sent(const struct berth_op *op);

/* What berth_send_file() sends: `head`, then `length` bytes of `file` from `offset`. Owned by the caller, lasts
 * until completion, as does the file: it is closed afterwards. */
struct berth_send_file {
        const void *head;
        uint32_t head_bytes;
        uint32_t flags; /* enum berth_send_file_flags */
        const struct berth_handle *file;
        uint64_t offset, length;       /* bytes */
        uint64_t head_sent, file_sent; /* progress; may be read at any time, also after an error */
};

enum berth_send_file_flags {
        BERTH_FILE_WARM = 1, /* the caller has reason to believe the range is in memory: do not ask the kernel first */
};

/* Sends as TransmitFile does, without passing the file through user memory. Never blocks on the disk: a window that
 * is not in the page cache is read in first. Long files go in bounded turns, so that one fast reader cannot starve
 * the rest. Result: bytes sent in all; -EIO when the file ended early; or -errno. */
BERTH_API void berth_send_file(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                               struct berth_send_file *file);

/* Ends the sending direction (FIN) after what was sent. Result 0 or -errno. */
BERTH_API void berth_shutdown(struct berth_port *port, struct berth_op *op, struct berth_handle *handle);

/* The peer's address into the `room` bytes at `address`, which last until completion; cut when it is longer (a
 * sockaddr_in6 has room for every TCP peer). Result 0 or -errno. */
BERTH_API void berth_peer_address(struct berth_port *port, struct berth_op *op, struct berth_handle *handle,
                                  struct sockaddr *address, unsigned room);

enum berth_close_flags { BERTH_ABORT = 1 /* SO_LINGER 0: unsent data is dropped and the peer sees a reset */ };

/* Cancels what is in flight on the handle, waits for it, closes. Result 0 (or the -errno of close, the handle is
 * gone all the same). Then the handle's memory is the caller's again. */
BERTH_API void berth_close(struct berth_port *port, struct berth_op *op, struct berth_handle *handle, unsigned flags);

/* Asks that an op in flight end soon. It completes as ever, once: with -ECANCELED, or with what it had
 * achieved already. An op that is not in flight is left alone. */
BERTH_API void berth_cancel(struct berth_port *port, struct berth_op *op);

/* Buffers of the pool: the bytes of one, and giving it back. */
BERTH_API char *berth_buffer_data(struct berth_port *port, uint16_t buffer);
BERTH_API void berth_buffer_put(struct berth_port *port, uint16_t buffer);

/* Takes over another descriptor that becomes readable (on Linux: inotify, a pipe, ...) for berth_wait_readable() and
 * berth_close() only. 0, or -EOPNOTSUPP where the engine has no such thing; then it stays the caller's. */
BERTH_API int berth_adopt_pollable(struct berth_port *port, struct berth_handle *handle, int descriptor);

/* ---- files ---- */

/* A plain descriptor becomes a file handle; the port owns it from now on. */
BERTH_API void berth_adopt_file(struct berth_port *port, struct berth_handle *handle, int descriptor);

/* The descriptor of a file or pollable handle, for calls that do not block (fstat). Stays the port's. */
BERTH_API int berth_file_descriptor(const struct berth_handle *file);

enum berth_open_flags {
        BERTH_OPEN_WRITE = 1,    /* read and write; default: read only */
        BERTH_OPEN_CREATE = 2,   /* mode 0666 less the umask */
        BERTH_OPEN_FOLDER = 4,   /* -ENOTDIR for anything else */
        BERTH_OPEN_NO_LINKS = 8, /* -ELOOP when any part of the path is a symbolic link */
};

/* Opens `path` (relative, NUL-terminated, lasts until completion; "" is the folder itself) beneath the folder
 * `root`: nothing outside it can be reached, by "..", link or mount trick (-EXDEV; openat2(2), RESOLVE_BENEATH and
 * RESOLVE_NO_MAGICLINKS). Result: a descriptor for berth_adopt_file(). Never blocks on a FIFO or device. On Windows
 * the path is UTF-8, every link is -EXDEV, and names that mean something else there (devices, streams, a last dot or
 * space) are -ENOENT, or -EACCES where one is to be created. */
BERTH_API void berth_open(struct berth_port *port, struct berth_op *op, struct berth_handle *root, const char *path,
                          unsigned flags);

/* Reads up to / writes `size` bytes at `offset`. Result: bytes (read: 0 at the end of the file), or -errno. */
BERTH_API void berth_read(struct berth_port *port, struct berth_op *op, struct berth_handle *file, void *data,
                          size_t size, uint64_t offset);
BERTH_API void berth_write(struct berth_port *port, struct berth_op *op, struct berth_handle *file, const void *data,
                           size_t size, uint64_t offset);

/* ---- calls that block ---- */

/* A call made on a worker thread; embed it. `call` returns the op's result and must not touch the port. */
struct berth_call {
        struct berth_op op;
        int64_t (*call)(struct berth_call *call);
};

/* -EBUSY when the workers' queue is full. A queued call can be cancelled, a running one finishes. */
BERTH_API void berth_call(struct berth_port *port, struct berth_call *call);

/* `threads` (1 .. 256) threads and at most `queue` calls waiting. 0, -EINVAL, -ENOMEM, -EAGAIN. Serves many ports. */
BERTH_API int berth_workers_create(struct berth_workers **workers, unsigned threads, unsigned queue);

/* After every port that uses it is destroyed. NULL is fine. */
BERTH_API void berth_workers_destroy(struct berth_workers *workers);

/* ---- timers and messages ---- */

/* One timer: embed it. Start and cancel are O(1), no kernel timer behind it; 1 ms steps. */
struct berth_timer {
        struct berth_op op;
        struct {
                void *next, **link;
                uint64_t deadline_ms;
        } wheel;
};

/* Completes with 0 after `delay_ms` (never early), or with -ECANCELED. A longer delay than 2^30 - 2^24 ms, twelve days,
 * is cut to that. */
BERTH_API void berth_timer_start(struct berth_port *port, struct berth_timer *timer, uint64_t delay_ms);
BERTH_API void berth_timer_cancel(struct berth_port *port, struct berth_timer *timer);

/* From any thread: `op` completes on the port's thread with `result`. The op must not be in flight; posting does not
 * count as in flight before the port has seen it. The port must not be destroyed meanwhile. */
BERTH_API void berth_post(struct berth_port *port, struct berth_op *op, int64_t result);

#ifdef __cplusplus
}
#endif

#endif
