/* What the files of serve share.
 *
 *   server    the process: options, the root folder, the log, the worker pool; read-only once threads run
 *   shard     a thread: its port, listeners, connections, requests, known files; shares nothing on the hot path
 *   conn      a connection: 64 bytes, all there is of one at rest
 *   active    what a conn has beside while it is not at rest: ops, bytes received ahead
 *   request   from the first bytes of a request to the last of its answer; from a pool of fixed size
 *   download  the rest of an answer that its reader takes slowly: the request has gone back to its pool
 *
 * docs/internals/budget.md tells the states and the bounds.
 */
#ifndef SERVE_SERVE_PRIV_H
#define SERVE_SERVE_PRIV_H

#include "auth/auth.h"
#include "base/base.h"
#include "base/net.h"
#include "berth/port.h"
#include "http/http.h"
#include "serve/listing.h"
#include "serve/metrics.h"
#include "store/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

/* ---- options (options.c) ---- */

enum {
        MAX_LISTEN_OPTIONS = 32,
        MAX_LISTENERS = 256, /* addresses and ports in all */
        MAX_THREADS = 256,
        MAX_REALM = 128, /* bytes */
};

enum log_format { LOG_COMBINED, LOG_COMMON, LOG_JSON };

/* An address, or its first bits, from which X-Forwarded-* is believed. */
struct trusted {
        uint8_t address[16], size, bits; /* size: 4 or 16 bytes */
};

enum { MAX_TRUSTED = 16 };

struct serve_options {
        const char *folder;
        const char *listen[MAX_LISTEN_OPTIONS];
        unsigned listen_count;
        const char *admin;      /* ADDR:PORT; NULL: none */
        unsigned threads;       /* 0: one per core */
        const char *engine;     /* NULL: BERTH_ENGINE, else auto */
        const char *access_log; /* NULL: none; "-": standard output */
        enum log_format log_format;
        bool quiet, hidden, links, precompressed, listing;
        bool writable, durable, find_infinity; /* find_infinity: PROPFIND may go down all the way */
        bool anonymous_writes;                 /* also at public addresses */
        uint64_t max_upload;                   /* bytes; 0: no bound */
        struct trusted trusted[MAX_TRUSTED];
        unsigned trusted_count;
        struct http_limits limits;
        unsigned grace_seconds;
        unsigned connections, requests, sends; /* bounds; 0: not given */
        unsigned per_address;                  /* connections of one client address; 0: no bound */
        uint64_t memory;                       /* bytes; 0: not given */
        unsigned head_seconds, idle_seconds;
        unsigned body_rate; /* bytes per second, least; 0: none */
        unsigned backlog;
        unsigned accept_depth, send_depth; /* of the completion port on Windows; 0: not given */
        bool accept_data;                  /* likewise */
        struct auth_files auth;            /* paths */
        const char *realm;
        bool plain_auth;     /* passwords over connections that are not encrypted */
        size_t access_bytes; /* what `auth` takes for each shard; from access_open() */
        bool help;
};

/* Fills in defaults, then the command line. 0, or -EINVAL after a line on stderr. */
int options_parse(struct serve_options *options, int argc, char **argv);
void options_help(void);

/* ---- proxies in front (proxy.c) ---- */

/* One --trust-proxy. 0, or -EINVAL after a line on stderr. */
int proxy_take(struct serve_options *options, const char *text);
/* Any family; AF_UNSPEC and unix sockets are not. */
bool proxy_is_trusted(const struct serve_options *options, const struct sockaddr *peer);

/* ---- addresses and listeners (listeners.c) ---- */

struct listener_spec {
        struct sockaddr_storage address;
        unsigned address_bytes;
        int *descriptors; /* one for each shard that accepts; NULL: each shard binds by itself (the simulator) */
        int descriptor;   /* shared by all shards: a unix socket, or one that systemd passed; -1: see above */
        int bound;        /* a TCP address that is taken and not listened on yet; the first shard's later; or -1 */
        bool remove;      /* a unix socket's path, to be unlinked at the end */
};

struct listener_set {
        struct listener_spec specs[MAX_LISTENERS];
        unsigned count, shards;
};

/* Finds out what to listen on (sockets passed by systemd, else --listen, else 127.0.0.1:8080), and takes it.
 * Port 0 becomes a real one. 0, or -errno after a line on stderr (-EINVAL: the option is malformed). */
int listeners_prepare(struct listener_set *set, const struct serve_options *options);
/* Makes the sockets of so many shards (SO_REUSEPORT), once their number is known. 0, or -errno after a line on stderr. */
int listeners_open(struct listener_set *set, unsigned shards, int backlog);
/* Those who are there already keep no more than that. */
void listeners_cut(struct listener_set *set, int backlog);
/* Closes what was opened here; the shards have copies. May be called again. */
void listeners_close(struct listener_set *set);
void listeners_finish(struct listener_set *set);

/* ADDR:PORT, [IPv6]:PORT or unix:PATH. 0, or -EINVAL after a line that names the option. */
int listener_parse(struct listener_spec *spec, const char *option, const char *text);
/* -error, after a line on stderr. */
int listener_failed(const struct listener_spec *spec, int error);

/* "http://127.0.0.1:8080/", "http://[::1]:8080/", "unix:/run/berth.sock". */
void listener_name(const struct listener_spec *spec, char *out, size_t size);

/* Listens on what was bound, for one port. 0 or -errno. */
int listener_take(struct berth_port *port, struct berth_handle *listener, struct listener_spec *spec, int backlog);
/* Closes what belongs to no port. */
void listener_finish(struct listener_spec *spec);

/* ---- sockets that listen (sockets.c) ---- */

extern const struct listener_spec listener_none; /* that has no socket yet */
extern const char *const listener_engine;        /* the plainest, for who has few visitors */

/* Takes a TCP address, if it is free: fills in `bound`; port 0 becomes a real one. 0, or -errno after a line on stderr. */
int listener_bind(struct listener_spec *spec);
/* Listens on a unix socket; likewise. */
int listener_open_unix(struct listener_spec *spec, int backlog);
/* How many sockets the service manager has passed, and taking them. 0, or -errno after a line on stderr. */
unsigned listeners_passed(void);
int listeners_adopt(struct listener_set *set, unsigned count);
/* Listens on what was bound, for so many shards (Windows: for the first). 0, or -errno after a line on stderr. */
int listener_open(struct listener_spec *spec, unsigned shards, int backlog);
/* A copy of shard `owner`'s listening socket, for any port; where there are no copies the socket itself. 0 or
 * -errno. */
int listener_share(struct berth_port *port, struct berth_handle *listener, const struct listener_spec *spec,
                   unsigned owner);
int listener_begin(int descriptor, int backlog); /* listens, or listens again; 0 or -errno */
void listener_drop(int *descriptor);             /* closes it, where there is one */

/* ---- the access log (log.c) ---- */

struct access_log {
        int descriptor;   /* -1: none. Reopening replaces the file behind it (dup2) */
        const char *path; /* NULL: standard output */
        enum log_format format;
};

enum { LOG_BUFFER_BYTES = 64 << 10 };

/* A shard's lines on their way to the file: one buffer fills while the other is written by a worker thread. */
struct log_writer {
        struct access_log *log;
        struct berth_port *port;
        struct berth_call call;
        bool writing;
        size_t filled, written; /* bytes in buffers[filling], in the other */
        unsigned filling;
        char *buffers[2];
};

struct log_line {
        struct span method, target, referer, agent; /* may be empty */
        struct span user;                           /* "": anonymous */
        unsigned minor;                             /* of the HTTP version */
        const struct sockaddr *peer;
        int status;
        uint64_t body_bytes;   /* sent behind the head */
        uint64_t microseconds; /* from the head's arrival to the last byte taken by the kernel */
};

int log_open(struct access_log *log, const struct serve_options *options);
/* Opens the path anew and puts it in the old one's place. 0 or -errno (the old file stays). */
int log_reopen(struct access_log *log);
void log_close(struct access_log *log);

int log_writer_init(struct log_writer *writer, struct access_log *log, struct berth_port *port);
/* Never loses a line: when both buffers are full it waits for the file. */
void log_write(struct log_writer *writer, const struct log_line *line);
/* Hands what there is to a worker thread; called about once a second. */
void log_flush(struct log_writer *writer);
/* At the end: nothing may be in flight. */
void log_writer_finish(struct log_writer *writer);

/* ---- what is allowed (budget.c) ---- */

/* What the system gives. */
struct limits {
        const char *engine;
        uint32_t descriptors;  /* RLIMIT_NOFILE */
        uint32_t sockets;      /* that one port can have; no more than descriptors: it is these that bound them */
        bool shared;           /* several ports can accept at one address */
        uint32_t file_bytes;   /* of user memory for each file being sent; 0: the kernel sends files */
        uint64_t memory_bytes; /* available: the system's or the control group's */
        bool grouped;          /* the latter */
        uint64_t files;        /* fs.file-max less what is open */
};

/* For the process; budget_share() gives a shard its part. */
struct budget {
        uint32_t connections, requests, sends, listings, long_heads, changes, blocks;
        uint32_t files;       /* known at a time */
        uint32_t descriptors; /* RLIMIT_NOFILE */
        bool direct;          /* connections need none */
        uint32_t rings;       /* of io_uring, over all shards */
        uint32_t file_bytes;  /* as in limits: each of `sends` has a buffer */
        uint32_t active;      /* connections not at rest */
        uint64_t content_bytes;
        uint32_t folder_bytes;               /* to remember what stands in folders (store_tree_remember()) */
        uint64_t memory_bytes, kernel_bytes; /* what all this comes to */
};

/* 0, or -EINVAL after a line that tells the arithmetic: what was asked for does not fit. */
int budget_make(struct budget *budget, const struct serve_options *options, const struct limits *limits,
                unsigned shards);

/* Connections that each of `queues` listening sockets may keep, where a control group has `room_bytes` left; no more
 * than `wanted`. */
uint32_t budget_backlog(uint32_t wanted, uint64_t room_bytes, uint32_t queues);

/* The part of shard `index` of `shards`: parts add up to the whole, none is 0 where the whole is not less than
 * shards. */
uint32_t budget_share(uint32_t whole, unsigned index, unsigned shards);

/* ---- connections by client address (addresses.c), for --per-address; shared by all shards ---- */

struct addresses;

/* Room for `connections` in all. 0 or -ENOMEM. */
int addresses_create(struct addresses **addresses, uint32_t connections);
void addresses_destroy(struct addresses *addresses);
/* One more connection from there; IPv6 addresses count by their first 64 bits, and other families not at all. Returns
 * a number for addresses_leave(), or 0 when `limit` are open already. Any thread. */
uint32_t addresses_enter(struct addresses *addresses, const struct sockaddr *peer, uint32_t limit);
void addresses_leave(struct addresses *addresses, uint32_t number);

/* ---- the server (server.c) ---- */

struct server {
        struct serve_options options;
        struct budget budget;
        struct listener_set listeners;
        struct access_log log;
        struct berth_workers *workers;
        struct addresses *addresses; /* NULL: --per-address is not given */
        struct access *access;       /* NULL: everybody may do everything; under `messages` */
        struct auth_failures *failures;
        struct admin *admin;
        int root;
        struct store_tree *tree;
        atomic_uint changes_made; /* so often has something beneath the root been changed by us */
        atomic_bool draining;     /* the first signal has come */
        atomic_bool drained;      /* every shard has ended */
        bool handing;             /* the first shard accepts for all (hand.c) */
        atomic_bool handed_all;   /* ... and does not any more */
        pthread_mutex_t messages; /* held to post to a shard, by a shard that goes, and for the listeners' sockets */
        unsigned shard_count, planned_shards;
        struct shard *shards[MAX_THREADS];
};

/* ---- a shard (shard.c) ---- */

enum {
        BUFFER_COUNT = 1024, /* receive buffers per shard */
        BUFFER_BYTES = 4096,
        MAX_SURPLUS = BUFFER_COUNT / 2, /* of them held in all, past which nobody may keep what is not asked for */
        HOT_LIMIT = 16384,              /* connections with a receive armed and no request, per shard */
        CROWD = 1024,                   /* with so many of them new connections rest at once */
        WAKE_AT_ONCE = 64,              /* connections that were at rest start to receive in one turn */
        MAX_WAKING = 1024,              /* ... and have not been heard of yet */

        HOT_SECONDS = 2,             /* a receive stays armed so long after the last request */
        BODY_SECONDS = 20,           /* a body may be this much behind --body-min-rate */
        PLACE_SECONDS = 10,          /* for a request, a send or a listing to become possible */
        STALL_SECONDS = 60,          /* for a reader to take anything at all */
        SLOW_SECONDS = 1,            /* then an answer becomes a download */
        LINGER_SECONDS = 5,          /* for a client to see our end and close */
        MAX_LINGERING = 4096,        /* connections per shard that get so much time */
        MAX_ENDING = 4096,           /* closes in flight of connections that were at rest, per shard */
        MAX_SWEEP = 65536,           /* connections ended in one sweep */
        MAX_SKIPPED_BODY = 16 << 20, /* a longer body on a GET is refused (413) */
        MAX_CHECKS = 2,              /* passwords being hashed at a time, per shard */
};

enum shard_message {
        SHARD_DRAIN,
        SHARD_END,
        SHARD_LOOK,
        SHARD_ACCESS,
        SHARD_HANDED, /* something has been handed over, or given back */
        SHARD_SHED,
        SHARD_MESSAGES
};

enum { HANDED_MOST = 1024 }; /* connections on their way to a shard; a power of two */

/* What a shard is handed over (hand.c). The first shard puts, this one gets. */
struct handed {
        atomic_uint put, got; /* so many in all */
        atomic_uint count;    /* connections of this shard, those on their way too */
        atomic_uint returned; /* the first shard's: others' that are closed, not given back to its port yet */
        int64_t accepted[HANDED_MOST];
};

/* A piece of received bytes: a buffer of the port, linked to the next of its connection. */
struct piece {
        uint16_t next;
        uint16_t at, size;
};

enum { NO_PIECE = UINT16_MAX };

struct chain {
        uint16_t first, last, count;
};

/* Memory for large uploads (flow.c); blocks are numbered from 1. */
enum { BLOCK_BYTES = 256 << 10, MAX_BLOCKS = 64 };

struct blocks {
        char *memory;
        unsigned count, free_count;
        bool used, touched; /* since the last look; since the memory was given back */
        uint8_t free[MAX_BLOCKS];
};

/* 0 or -ENOMEM. Memory is touched only as far as it is used. */
int blocks_init(struct blocks *blocks, unsigned count);
void blocks_finish(struct blocks *blocks);
void blocks_give(struct blocks *blocks, uint8_t block);
/* Once a second: what was not used since the last time goes back to the system. */
void blocks_trim(struct blocks *blocks);

struct accepting {
        struct berth_op op, closing;
        struct berth_handle socket;
        unsigned owner; /* the shard whose listener it is, or a copy of */
        bool armed;
};

struct shard {
        struct server *server;
        unsigned index;
        struct berth_port *port;
        struct store *store;
        struct slab conns, actives, requests, downloads, changes;
        struct list hot;         /* conns with a receive armed and no request, quiet longest first */
        struct list fresh;       /* conns at rest that have never said anything, accepted longest ago first */
        struct list resting;     /* conns at rest, quiet longest first */
        struct list waiting;     /* conns with bytes and no request free, first come first */
        struct list readable;    /* conns that were at rest and have something to read, first come first */
        struct list lingering;   /* conns whose answer is out, longest first */
        struct list ending;      /* conns at rest that are to be closed when there is room for it */
        struct list active;      /* requests */
        struct list sending;     /* downloads */
        struct list for_listing; /* requests that wait for a place among listings, first come first */
        struct list for_send;    /* ... among sends */
        struct list for_change;  /* ... among changes */
        struct list for_check;   /* ... to have a password checked */
        struct list gathering;   /* changes: uploads with a few pieces received */
        uint64_t turns;
        struct piece pieces[BUFFER_COUNT];
        uint32_t pieces_held; /* of them, by connections */
        struct blocks blocks;
        struct accepting *listeners;      /* own ones, by the spec */
        struct accepting **borrowed;      /* by shard, then by spec; NULL: none yet */
        atomic_bool full;                 /* accepts nothing for now: the others shall */
        atomic_bool told[SHARD_MESSAGES]; /* by shard_tell(): that one is under way */
        struct handed handed;
        unsigned hand_turn;          /* the first shard's: with whom it begins to look for the one with the fewest */
        struct access *access;       /* NULL: everybody may do everything */
        struct auth_cache *verdicts; /* by `access` */
        uint32_t checks, pausing;    /* requests whose password is being hashed; that wait since somebody guesses */
        struct berth_timer tick;
        struct berth_op messages[SHARD_MESSAGES];
        struct log_writer log;
        uint32_t now_seconds; /* since the shard began */
        uint64_t started_ms;
        uint32_t drain_until; /* seconds */
        bool draining, ended, accept_paused;
        bool grouped;        /* a control group bounds our memory */
        uint32_t look_every; /* ... and is looked at after so many connections */
        bool pressed;        /* ... and it is nearly used up: accepting is paused until it is not */
        uint32_t pauses;     /* ticks in a row that found accepting paused */
        uint32_t max_sends, max_listings, max_long_heads, max_changes;
        uint32_t sends, multiparts, listings, long_heads, endings, changing;
        unsigned changes_seen;    /* of server->changes_made */
        uint64_t xml_bytes;       /* of XML bodies being received, with what they become */
        atomic_bool ending_all;   /* no more time for anything: long jobs look at it now and then */
        uint32_t woken, waking;   /* of `readable`: in this turn; those of whom nothing has been heard yet */
        uint64_t seed;            /* with the engine "sim" */
        uint32_t fault_per_mille; /* likewise */
        uint64_t accepted_before; /* counters.accepted at the last tick */
        int64_t date_seconds;     /* of `date` */
        char date[HTTP_DATE_BYTES];
        struct counters counters;
        pthread_t thread;
        bool gone; /* takes no messages any more; under server->messages */
        int error; /* of the start; read after `ready` */
        pthread_barrier_t *ready;
};

/* The shard of this thread: a conn has no room for a pointer to it. */
extern _Thread_local struct shard *shard_here;

/* Runs a shard until it has drained; the pthread start function, argument struct shard. */
void *shard_run(void *argument);

/* The same in pieces, for tests: start, then turns until false, then stop. */
int shard_start(struct shard *shard);
bool shard_turn(struct shard *shard, int timeout_ms);
void shard_stop(struct shard *shard);

/* Sends it a message, unless the same is under way or it takes none any more. Any thread. */
void shard_tell(struct shard *to, enum shard_message message);

/* "Sun, 06 Nov 1994 08:49:37 GMT" of now. */
struct span shard_date(struct shard *shard);

/* The kernel has no room for it. */
static inline bool is_refusal(int64_t error)
{
        return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

static inline void refused(struct shard *shard, enum refusal_reason reason)
{
        count_add(&shard->counters.refusals[reason], 1);
}

/* ---- accepting (accept.c) ---- */

/* Listens on everything, own share. 0 or -errno. */
int accept_listen(struct shard *shard);
/* Accepts on own listeners, and on those of shards that are full; or on none, while there is no room. */
void accept_arrange(struct shard *shard);
/* Something has changed at another shard: arranges, and looks once for connections that the kernel told only there. */
void accept_look(struct shard *shard);
/* There is no room for more: pauses, and lets the longest idle go unless another shard has room. */
void accept_refused(struct shard *shard, enum refusal_reason reason);
/* A connection is gone: there may be room again. */
void accept_conn_gone(struct shard *shard);
/* Closes some of those quiet longest. */
void accept_shed(struct shard *shard);
/* Once a second. */
void accept_tick(struct shard *shard);
void accept_close(struct shard *shard);
/* Nothing may be in flight. */
void accept_finish(struct shard *shard);

/* ---- handing connections over (hand.c): where only one shard can accept ---- */

/* A connection has come: it is this shard's, or the first shard gives it to another. */
void hand_accepted(struct shard *shard, int64_t accepted);
/* SHARD_HANDED: takes what was handed over; the first shard, what was given back. */
void hand_arrived(struct shard *shard);
/* The first shard takes back the places of connections that others have closed. True: there were some. */
bool hand_collect(struct shard *shard);
/* A connection of this shard's is gone. */
void hand_conn_gone(struct shard *shard);
/* Whoever has most at rest; where nothing is handed over, this one. */
struct shard *hand_idlest(struct shard *shard);
/* The first shard hands over no more. */
void hand_end(struct shard *shard);
/* Nothing comes to this shard any more. */
bool hand_is_over(struct shard *shard);

/* ---- connections (conn.c) ---- */

struct request;
struct download;
struct active;
struct change;
struct digests;

struct conn {
        struct berth_handle socket; /* socket.user: the state and since when; see conn.c */
        struct list node;           /* in one of the shard's lists */
        union {
                struct active *active; /* while it has one (CONN_LIVE) */
                uint32_t address;      /* else: of addresses_enter(), 0 none */
        };
};

_Static_assert(sizeof(struct conn) == 64, "a connection at rest is one cache line");

struct active {
        struct berth_op input;  /* recv; at last the close */
        struct berth_op output; /* what has no request to do it: a download, a refusal, the end; the peer's address */
        struct conn *conn;
        union {
                struct request *request;   /* CONN_BUSY, and CONN_CLOSING when it was busy */
                struct download *download; /* likewise CONN_SENDING */
        };
        struct chain input_held; /* bytes that nobody has taken yet */
        bool out : 1;            /* `output` is in flight */
        bool was_sending : 1;    /* CONN_CLOSING: it is a download */
        bool turn : 1;           /* CONN_HOT: it has waited in line and is the next */
        bool woken : 1;          /* counted in shard->waking */
        uint8_t block;           /* of shard->blocks: `input` receives into it; 0: none */
        uint32_t address;
        struct sockaddr_in6 peer; /* family 0: not known yet; a sockaddr_in for IPv4 */
};

/* A new connection. */
void conn_begin(struct shard *shard, int64_t accepted);

/* The end of a rest. */
void conn_rested(struct berth_handle *handle);

/* It has got a request. */
void conn_busy(struct conn *conn, struct request *request);

/* Its request has become a download. */
void conn_sending(struct conn *conn, struct download *download);

/* Request or download are done and gone; the connection stays open: quiet, or with the next request. */
void conn_next(struct conn *conn);

/* Ends it: cancels, waits, closes; abort: with a reset. The request, if any, is joined first. */
void conn_end(struct conn *conn, bool abort);

/* An op on it has ended with that error: ends it. */
void conn_failed(struct conn *conn, int64_t error);

/* Called when an op that conn_end() waits for has come back. */
void conn_join(struct conn *conn);

/* Makes sure that a receive is armed. */
void conn_receive(struct conn *conn);

/* Arms it anew: then it looks before it waits. */
void conn_receive_anew(struct conn *conn);

/* A receive, or one of the following, is in progress. */
bool conn_receiving(const struct conn *conn);

/* For an upload by blocks, which flow_arrived() tells how it went: what is there now; waits until something is. */
void conn_receive_block(struct conn *conn, uint8_t block, char *data, size_t size);
void conn_wait_readable(struct conn *conn);

/* The peer has sent its end. */
bool conn_input_ended(const struct conn *conn);
enum conn_state conn_state(const struct conn *conn);
void conn_set_state(struct conn *conn, enum conn_state state);
void conn_touch(struct conn *conn);

/* Gives requests to those who wait for one; closes some of those that are to be closed. */
void conn_admit(struct shard *shard);
void conn_end_some(struct shard *shard);
/* Once a second: parks the quiet, closes the idle. */
void conn_sweep(struct shard *shard);
/* Closes those that ask nothing at the moment. */
void conn_end_quiet(struct shard *shard);
/* Closes up to `count` of those quiet longest. Returns how many. */
unsigned conn_shed(struct shard *shard, unsigned count);

/* Pieces of a chain. */
void chain_init(struct chain *chain);
static inline bool chain_empty(const struct chain *chain)
{
        return chain->first == NO_PIECE;
}
/* The first piece, all of it, to the end of another chain: its bytes are still needed. */
void chain_move_first(struct shard *shard, struct chain *from, struct chain *to);
/* The bytes of the first piece. */
struct span chain_first(struct shard *shard, const struct chain *chain);
/* Takes n bytes, at most those of the first piece, off; a piece used up goes back to the port. */
void chain_consume(struct shard *shard, struct chain *chain, size_t n);
void chain_free(struct shard *shard, struct chain *chain);

/* ---- the end of a conversation (linger.c) ---- */

/* The answer is out and the connection shall not be kept: our end first, then a moment for the client's. The conn has
 * an active and neither request nor download. */
void conn_linger(struct conn *conn);
/* Answers 503 with Retry-After without a request, then lingers. The conn has an active that sends nothing. */
void conn_refuse(struct conn *conn, enum refusal_reason reason);

/* ---- answers that are taken slowly (download.c) ---- */

enum { DOWNLOAD_TEXT_BYTES = 136 };

struct download {
        struct berth_send_file send_file;
        struct store_file *file;
        struct active *active;
        struct list node; /* in shard->sending */
        uint64_t started_us, sent_body, progress;
        uint32_t deadline; /* shard seconds */
        uint16_t status;
        bool keep_alive;
        uint8_t target_size, user_size, referer_size, agent_size; /* of the log line, in `text` one behind the other */
        uint8_t minor;
        char text[DOWNLOAD_TEXT_BYTES];
};

_Static_assert(sizeof(struct conn) + sizeof(struct active) + sizeof(struct download) <= 512,
               "a slow download costs at most so much");

/* The request's send was cancelled to be handed over: goes on with it in a download and gives the request back. False
 * when there is no room for one, or the head is not out yet: the request keeps it. */
bool download_begin(struct request *request);
/* The conn is at its join; nothing is in flight. */
void download_release(struct download *download);
/* Once a second: those who take nothing. */
void download_sweep(struct shard *shard);

/* ---- requests (request.c): the driver; steps in get.c, folder.c, body.c ---- */

enum step {
        STEP_READ_HEAD,
        STEP_PEER,
        STEP_ACCESS,
        STEP_ACCESS_CHECK,
        STEP_ACCESS_CHECKED,
        STEP_ACCESS_REFUSED,
        STEP_CONTINUE,
        STEP_SKIP_BODY,
        STEP_CHANGE,
        STEP_BEGIN,
        STEP_BEGUN,
        STEP_RECEIVE,
        STEP_WRITTEN,
        STEP_RUN,
        STEP_RAN,
        STEP_CHANGED,
        STEP_ROUTE,
        STEP_FIND,
        STEP_OPENED,
        STEP_VARIANT,
        STEP_VARIANT_OPENED,
        STEP_CONDITIONS,
        STEP_DIGEST,
        STEP_DIGESTED,
        STEP_SEND,
        STEP_SEND_RANGES,
        STEP_FOLDER,
        STEP_INDEX_OPENED,
        STEP_LIST,
        STEP_LIST_FILLED,
        STEP_LIST_SENT,
        STEP_SENT_WHOLE,
        STEP_SENT,
        STEP_FINISH,
        STEP_COUNT,
};

enum next { NEXT_GO, NEXT_WAIT, NEXT_GONE };

enum {
        EARLY_BYTES = 2048, /* of a head; a longer one gets room of its own */
        OUT_BYTES = 16 << 10,
        FAST_BODY_BYTES = 8 << 10, /* a body copied behind its head */
        WARM_BYTES = 4 << 20,      /* a file up to this size is remembered as being in the page cache */
};

struct request {
        struct shard *shard;
        struct conn *conn;
        struct list node;  /* in shard->active */
        struct list place; /* in shard->for_listing or for_send, while it waits there */
        enum step step;
        bool in_flight; /* `op`, `opening`, `call` or `pause` */
        bool on_socket; /* ... and it is `op`, a send on the connection */
        bool wants_input;
        bool from_memory; /* `op` sends what send_file tells from memory */
        bool handing;     /* the send was cancelled so that a download can go on with it */
        bool keep_alive;  /* after this request */
        bool head_seen;   /* there is something to log */
        bool chunked;     /* the answer is */
        bool pausing;     /* `pause` is in flight */
        bool has_check;   /* has one of the places for it */
        uint16_t denied;  /* the status that access.c has decided on, once the body is skipped; 0: none */
        uint8_t encoding; /* content coding of `file`: HTTP_BR ..., 0 none */
        int status;
        int refused;         /* the status for a head that is none */
        uint32_t deadline;   /* shard seconds */
        uint32_t send_since; /* when the send began */
        uint64_t progress;   /* of a send_file, at the last look */
        uint64_t heard;      /* bytes of head and body, at the last look */
        uint64_t started_us;
        uint64_t body_left; /* of the request's body, still to be skipped */
        uint64_t body_skipped;
        uint32_t body_since;
        uint64_t sent_body; /* of the answer */
        uint64_t op_body;   /* of these, the part that the latest send carries */
        struct http_chunked body;

        struct berth_op op;
        struct store_opening opening;
        struct berth_call call;
        struct berth_timer pause;
        struct access *access; /* by which a worker checks the password */
        struct berth_send_file send_file;
        struct berth_vec vecs[2];

        struct store_file *file;
        unsigned orders[3], order_count, order_at; /* codings to try */
        unsigned range_count, range_at;
        struct listing *listing;
        char *chunk; /* a piece of the listing, while a folder is listed */
        size_t chunk_room;
        int64_t chunk_size;
        /* Makes the next piece, on a worker thread, and says whether it is the last. */
        int64_t (*fill)(struct request *r, char *out, size_t size, bool *whole);
        struct digests *digests; /* of the file, when its reader wants them */
        bool digested;           /* ... and they are known */
        struct change *change;   /* when it changes something or asks for properties; change.h */
        bool json, whole;        /* of a listing: its form; its last piece has been made */
        bool has_listing, has_send, has_parts, has_change; /* has one of the places for it */
        bool proxied;                                      /* it comes from a trusted proxy */

        uint16_t path_size;
        bool folder, hidden; /* the path ended in '/', had a segment that starts with a dot */
        uint32_t scanned, early_size;
        char *long_head; /* instead of early[] */
        struct http_head head;
        char user[AUTH_USER_BYTES]; /* who asks; "": anonymous */
        char early[EARLY_BYTES];
        char path[HTTP_MAX_PATH + 16];
        char out[OUT_BYTES];
        struct http_range ranges[HTTP_MAX_RANGES];
};

/* The bytes that have come on the connection and that nobody has taken yet. */
static inline struct chain *request_held(const struct request *request)
{
        return &request->conn->active->input_held;
}

/* A fresh request for a conn that has bytes; NULL when the pool is empty. */
struct request *request_begin(struct conn *conn);

/* More input has come, or its end. */
void request_input(struct request *request);

/* Goes on with a request whose op has completed or whose input has come. */
void request_run(struct request *request);

/* Gives back everything it holds and the request itself; nothing may be in flight. */
void request_release(struct request *request);

/* Its body comes while it waits for a place, and there are no buffers for it: 503, and the body is of no use any more.
 * False when it is not so. */
bool request_refuse_body(struct request *request);

/* An answer is due though nobody knows what was asked: it is counted and logged with an empty head. */
void request_head_unknown(struct request *request);

/* Gives places for listings and sends to those who wait for one. */
void request_admit(struct shard *shard);

/* One of `most` places, of which so many are taken; false: the request has to wait in `queue`. */
bool request_take_place(struct list *queue, uint32_t *taken, uint32_t most);
/* Waits in `queue` for a place; goes on with the step it is at, and has the place then. */
enum next request_wait_for_place(struct request *request, struct list *queue);

/* Ends the connections whose request has not arrived whole: it is not in progress yet. */
void request_end_unheard(struct shard *shard);

/* An answer is out, or was cut off: counts it and logs it. */
void request_note(struct shard *shard, enum http_method method, const struct log_line *line);

/* Once a second: deadlines. */
void request_sweep(struct shard *shard);

static inline enum next go(struct request *r, enum step step)
{
        r->step = step;
        return NEXT_GO;
}

/* Starting an op is a step's last act: the step that goes on when it completes. */
static inline enum next wait_for(struct request *r, enum step step)
{
        ensure(!r->in_flight);
        r->step = step;
        r->in_flight = true;
        return NEXT_WAIT;
}

static inline enum next wait_for_send(struct request *r, enum step step)
{
        r->on_socket = true;
        r->send_since = r->shard->now_seconds;
        return wait_for(r, step);
}

static inline enum next wait_for_input(struct request *r, enum step step)
{
        r->step = step;
        r->wants_input = true;
        return NEXT_WAIT;
}

/* Opens the first `size` bytes of r->path as a file; goes on with `then`. */
enum next request_open(struct request *r, size_t size, uint8_t tag, enum step then);
/* What is known and can be trusted, also after changes made by any of our threads; else NULL. */
struct store_file *request_find(struct request *r, size_t size, uint8_t tag);
/* r->file is found: on to its variants, or to the conditions. */
enum next request_found(struct request *r);

/* Sends "100 Continue", then goes on with that step. */
enum next send_continue(struct request *r, enum step then);
/* Takes bytes off the request's body: *used of `piece`, of which *body are content. 1: that is all, 0: go on, < 0:
 * minus a status. */
int body_take(struct request *r, struct span piece, size_t *used, struct span *body);

/* The only callbacks of a request's ops. */
void request_resume(struct berth_op *op);
void request_opened(struct store_opening *opening);
void request_called(struct berth_op *op);
/* What they do: an op has completed. */
void request_came_back(struct request *request);

/* Steps, in the files where they stand. */
enum next step_read_head(struct request *r); /* body.c */
enum next step_peer(struct request *r);
enum next step_access(struct request *r); /* access.c */
enum next step_access_check(struct request *r);
enum next step_access_checked(struct request *r);
enum next step_access_refused(struct request *r);
enum next step_continue(struct request *r); /* body.c */
enum next step_skip_body(struct request *r);
enum next step_change(struct request *r); /* change.c */
enum next step_begin(struct request *r);
enum next step_begun(struct request *r);
enum next step_receive(struct request *r);
enum next step_written(struct request *r);
enum next step_run(struct request *r);
enum next step_ran(struct request *r);
enum next step_changed(struct request *r);
enum next step_route(struct request *r); /* get.c */
enum next step_find(struct request *r);
enum next step_opened(struct request *r);
enum next step_variant(struct request *r);
enum next step_variant_opened(struct request *r);
enum next step_conditions(struct request *r);
enum next step_digest(struct request *r); /* digest.c */
enum next step_digested(struct request *r);
enum next step_send(struct request *r);
enum next step_send_ranges(struct request *r);
enum next step_sent_whole(struct request *r);
enum next step_folder(struct request *r); /* folder.c */
enum next step_index_opened(struct request *r);
enum next step_list(struct request *r);
/* A place for a listing, once; false: there is none now. */
bool list_take_place(struct request *r);
/* Makes room for its pieces. 0 or -ENOMEM. */
int list_begin(struct request *r);
/* The next piece, into that room; on a worker thread. Its bytes or -errno. */
int64_t list_fill(struct request *r);
enum next step_list_filled(struct request *r);
enum next step_list_sent(struct request *r);
enum next step_sent(struct request *r); /* request.c */
enum next step_finish(struct request *r);

/* ---- who may do what (access.c) ---- */

/* Reads the files that the options name, if any, once it is known where the server listens. 0, or -errno after a line
 * on stderr (-EINVAL: what is asked for is refused). */
int access_open(struct server *server);
void access_close(struct server *server);
/* Reads them anew and tells the shards; files that are wrong change nothing. The main thread. */
void access_reload(struct server *server);
/* The shard takes what the server has now, and forgets all verdicts. 0 or -ENOMEM. */
int access_take(struct shard *shard);
void access_leave(struct shard *shard);

/* For who asks on another thread or later: a reference of one's own to shard->access. access_drop(NULL) is fine. */
struct access *access_hold(struct access *access);
void access_drop(struct access *access);

/* What a method needs at its path. */
enum auth_right access_needed(enum http_method method);
/* As auth_right_at() and auth_less_beneath(), with the path as it stands in request->path: decoded, no '/' in front. */
enum auth_right access_right(const struct access *access, const char *user, struct span path);
bool access_less_beneath(const struct access *access, const char *user, struct span path, enum auth_right right);

static inline bool access_allows(const struct request *r, struct span path, enum auth_right right)
{
        return !r->shard->access || access_right(r->shard->access, r->user, path) >= right;
}

/* Answers a request that was denied. */
enum next access_answer(struct request *r);
/* Gives back what it holds of all this. */
void access_let_go(struct request *r);

/* ---- answers (respond.c) ---- */

/* An error's page, with `extra` header lines (each ended by CRLF). The connection closes after 400, 408, 413, 414,
 * 417, 431, 501, 503, 505. */
enum next respond_error(struct request *r, int status, const char *extra);
/* The answer for a failed open or read. */
enum next respond_errno(struct request *r, int64_t error);
/* The line "Allow: GET, ..." into `out`, which it returns: what there is to be asked, `writable` of changes, too; not
 * `except`. */
enum { ALLOW_BYTES = 160 };
const char *respond_allow(char out[ALLOW_BYTES], bool writable, enum http_method except);
/* A status line and the fields every answer has. */
struct text respond_head(struct request *r, int status);
/* Ends the head: Connection if needed, the empty line. */
void respond_end_head(struct request *r, struct text *out);
/* The file's own fields (its `note`), made at first use. */
struct span respond_file_fields(struct request *r, struct store_file *file);
/* Sends what is in `out` and finishes. */
enum next respond_send(struct request *r, const struct text *out);
/* An answer without a body: 204, 304, 301, ... */
enum next respond_empty(struct request *r, int status, const char *extra);

#endif
