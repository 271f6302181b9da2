/* What the files of serve share.
 *
 *   server   the process: options, the root folder, the log, the worker pool; read-only once threads run
 *   shard    a thread: its port, listeners, connections, requests, known files; shares nothing on the hot path
 *   conn     a connection: 128 bytes, all there is of one that is quiet
 *   request  from the first bytes of a request to the last of its answer; from a pool of fixed size
 *
 * A conn is given to exactly one of: a list (quiet: hot, resting, waiting), its request, or its close.
 */
#ifndef SERVE_SERVE_PRIV_H
#define SERVE_SERVE_PRIV_H

#include "base/base.h"
#include "berth/port.h"
#include "http/http.h"
#include "serve/listing.h"
#include "store/store.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- options (options.c) ---- */

enum { MAX_LISTENERS = 32, MAX_THREADS = 256 };

enum log_format { LOG_COMBINED, LOG_COMMON, LOG_JSON };

struct serve_options {
        const char *folder;
        const char *listen[MAX_LISTENERS];
        unsigned listen_count;
        unsigned threads;       /* 0: one per core */
        const char *engine;     /* NULL: BERTH_ENGINE, else auto */
        const char *access_log; /* NULL: none; "-": standard output */
        enum log_format log_format;
        bool quiet, hidden, links, precompressed, listing;
        struct http_limits limits;
        unsigned grace_seconds;
        bool help;
};

/* Fills in defaults, then the command line. 0, or -EINVAL after a line on stderr. */
int options_parse(struct serve_options *options, int argc, char **argv);
void options_help(void);

/* ---- addresses and listeners (listeners.c) ---- */

struct listener_spec {
        struct sockaddr_storage address;
        unsigned address_bytes;
        int descriptor; /* shared by all shards: a unix socket, or one that systemd passed; -1: each shard binds */
        bool remove;    /* a unix socket's path, to be unlinked at the end */
};

struct listener_set {
        struct listener_spec specs[MAX_LISTENERS];
        unsigned count;
};

/* Finds out what to listen on (sockets passed by systemd, else --listen, else 127.0.0.1:8080), and that it is free.
 * Port 0 becomes a real one. 0, or -errno after a line on stderr (-EINVAL: the option is malformed). */
int listeners_prepare(struct listener_set *set, const struct serve_options *options);
void listeners_finish(struct listener_set *set);

/* A shard's share of a socket that all have in common. 0 or -errno. */
int listener_share(struct berth_port *port, struct berth_handle *listener, const struct listener_spec *spec);

/* "http://127.0.0.1:8080/", "http://[::1]:8080/", "unix:/run/berth.sock". */
void listener_name(const struct listener_spec *spec, char *out, size_t size);

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
        const struct http_head *head; /* method, target, referer and user agent; may be partly empty */
        const struct sockaddr_storage *peer;
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

/* ---- the server (server.c) ---- */

struct server {
        struct serve_options options;
        struct listener_set listeners;
        struct access_log log;
        struct berth_workers *workers;
        int root;
        atomic_bool drained;           /* every shard has ended */
        pthread_mutex_t messages;      /* held to post to a shard, and by a shard that goes */
        uint32_t max_conns, max_files; /* per shard */
        unsigned shard_count, planned_shards;
        struct shard *shards[MAX_THREADS];
};

/* ---- a shard (shard.c) ---- */

enum {
        BACKLOG = 4096,         /* connections that wait to be accepted, as far as somaxconn lets */
        CONN_RECORDS = 1 << 20, /* more than one port can have connections */
        MAX_REQUESTS = 4096,    /* per shard, at a time */
        BUFFER_COUNT = 1024,    /* receive buffers per shard */
        BUFFER_BYTES = 4096,
        MAX_FILES = 1024,         /* known at a time, per shard */
        CONTENT_BYTES = 16 << 20, /* of small files in memory, per shard */
        MAX_LISTINGS = 32,        /* folders being listed at a time, per shard */
        MAX_LONG_HEADS = 256,     /* heads longer than a request has room for, per shard */

        HOT_SECONDS = 2,             /* a receive stays armed so long after the last request */
        IDLE_SECONDS = 75,           /* then a quiet connection is closed */
        HEAD_SECONDS = 30,           /* for a head to arrive */
        BODY_SECONDS = 60,           /* for a body that is skipped */
        PLACE_SECONDS = 10,          /* for a request or one of MAX_LISTINGS to become free */
        STALL_SECONDS = 60,          /* for a reader to take anything at all */
        LINGER_SECONDS = 5,          /* for a client to see our end and close */
        MAX_SKIPPED_BODY = 16 << 20, /* a longer body on a GET is refused (413) */
};

enum shard_message { SHARD_DRAIN, SHARD_END, SHARD_MESSAGES };

/* A piece of received bytes: a buffer of the port, linked to the next of its connection. */
struct piece {
        uint16_t next;
        uint16_t at, size;
};

enum { NO_PIECE = UINT16_MAX };

struct chain {
        uint16_t first, last, count;
};

struct accepting {
        struct berth_op op, closing;
        struct berth_handle socket;
        bool armed;
};

struct shard {
        struct server *server;
        struct berth_port *port;
        struct store *store;
        struct slab conns, requests;
        struct list hot;         /* conns with a receive armed and no request, quiet longest first */
        struct list resting;     /* conns that wait for readability, quiet longest first */
        struct list waiting;     /* conns with bytes and no request free, first come first */
        struct list active;      /* requests */
        struct list for_listing; /* requests that wait for one of MAX_LISTINGS places, first come first */
        struct piece pieces[BUFFER_COUNT];
        uint32_t pieces_held; /* of them, by connections and requests */
        struct accepting listeners[MAX_LISTENERS];
        struct berth_timer tick;
        struct berth_op messages[SHARD_MESSAGES]; /* posted by the server: drain, or end at once */
        struct log_writer log;
        uint32_t now_seconds; /* since the shard began */
        uint64_t started_ms;
        uint32_t drain_until; /* seconds */
        bool draining, ended, accept_paused;
        uint32_t listings, long_heads;
        int64_t date_seconds; /* of `date` */
        char date[HTTP_DATE_BYTES];
        pthread_t thread;
        bool gone; /* takes no messages any more; under server->messages */
        int error; /* of the start; read after `ready` */
        pthread_barrier_t *ready;
};

/* The shard of this thread: a conn has no room for a pointer to it. */
extern _Thread_local struct shard *shard_here;

/* Runs a shard until it has drained; the pthread start function, argument struct shard. */
void *shard_run(void *argument);

/* "Sun, 06 Nov 1994 08:49:37 GMT" of now. */
struct span shard_date(struct shard *shard);

void shard_conn_gone(struct shard *shard);

/* ---- connections (conn.c) ---- */

struct request;

struct conn {
        struct berth_handle socket; /* socket.user: the state and since when; see conn.c */
        struct berth_op input;      /* recv or wait_readable; at last the close */
        struct list node;
        union {
                struct request *request;
                struct chain held; /* while it waits for a request */
        };
};

_Static_assert(sizeof(struct conn) <= 128, "a quiet connection is small");

enum conn_state { CONN_HOT, CONN_RESTING, CONN_WAITING, CONN_BUSY, CONN_CLOSING };

/* A new connection: receives. */
void conn_begin(struct shard *shard, int64_t accepted);

/* It has got a request, which has taken what it held. */
void conn_busy(struct conn *conn, struct request *request);

/* The request is done and gone; the connection stays open, quiet. */
void conn_quiet(struct conn *conn);

/* Ends it: cancels, waits, closes; abort: with a reset. The request, if any, is joined first. */
void conn_end(struct conn *conn, bool abort);

/* Called when an op that conn_end() waits for has come back. */
void conn_join(struct conn *conn);

/* Makes sure that a receive is armed. */
void conn_receive(struct conn *conn);

/* The peer has sent its end. */
bool conn_input_ended(const struct conn *conn);
enum conn_state conn_state(const struct conn *conn);

/* Gives requests to those who wait for one. */
void conn_admit(struct shard *shard);
/* Once a second: parks the quiet, closes the idle. */
void conn_sweep(struct shard *shard);
void conn_end_quiet(struct shard *shard);
/* Closes up to `count` of those quiet longest. */
void conn_shed(struct shard *shard, unsigned count);

/* Pieces of a chain. */
void chain_init(struct chain *chain);
static inline bool chain_empty(const struct chain *chain)
{
        return chain->first == NO_PIECE;
}
/* The bytes of the first piece. */
struct span chain_first(struct shard *shard, const struct chain *chain);
/* Takes n bytes, at most those of the first piece, off; a piece used up goes back to the port. */
void chain_consume(struct shard *shard, struct chain *chain, size_t n);
void chain_free(struct shard *shard, struct chain *chain);

/* ---- requests (request.c): the driver; steps in get.c, folder.c, body.c ---- */

enum step {
        STEP_READ_HEAD,
        STEP_PEER,
        STEP_CONTINUE,
        STEP_SKIP_BODY,
        STEP_ROUTE,
        STEP_FIND,
        STEP_OPENED,
        STEP_VARIANT,
        STEP_VARIANT_OPENED,
        STEP_CONDITIONS,
        STEP_SEND_RANGES,
        STEP_FOLDER,
        STEP_INDEX_OPENED,
        STEP_LIST,
        STEP_LIST_FILLED,
        STEP_LIST_SENT,
        STEP_SENT_WHOLE,
        STEP_SENT,
        STEP_FINISH,
        STEP_LINGER,
        STEP_LINGERING,
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
        struct list place; /* in shard->for_listing, while it waits there */
        enum step step;
        bool in_flight; /* `op`, `opening` or `call` */
        bool on_socket; /* ... and it is `op`, a send on the connection */
        bool wants_input;
        bool keep_alive;  /* after this request */
        bool head_seen;   /* there is something to log */
        bool chunked;     /* the answer is */
        uint8_t encoding; /* content coding of `file`: HTTP_BR ..., 0 none */
        int status;
        int refused;       /* the status for a head that is none */
        uint32_t deadline; /* shard seconds */
        uint64_t progress; /* of a send_file, at the last look */
        uint64_t started_us;
        uint64_t body_left; /* of the request's body, still to be skipped */
        uint64_t body_skipped;
        uint64_t sent_body; /* of the answer */
        uint64_t op_body;   /* of these, the part that the latest send carries */
        struct chain input;
        struct http_chunked body;

        struct berth_op op;
        struct store_opening opening;
        struct berth_call call;
        struct berth_send_file send_file;
        struct berth_vec vecs[2];
        struct sockaddr_storage peer;

        struct store_file *file;
        unsigned orders[3], order_count, order_at; /* codings to try */
        unsigned range_count, range_at;
        struct listing *listing;
        char *chunk; /* a piece of the listing, while a folder is listed */
        int64_t chunk_size;
        bool json, has_place;

        uint16_t path_size;
        bool folder, hidden; /* the path ended in '/', had a segment that starts with a dot */
        uint32_t scanned, early_size;
        char *long_head; /* instead of early[] */
        struct http_head head;
        char early[EARLY_BYTES];
        char path[HTTP_MAX_PATH + 16];
        char out[OUT_BYTES];
        struct http_range ranges[HTTP_MAX_RANGES];
};

/* A fresh request for a conn that has bytes; NULL when the pool is empty. */
struct request *request_begin(struct conn *conn);

/* More input has come, or its end. */
void request_input(struct request *request);

/* Goes on with a request whose op has completed or whose input has come. */
void request_run(struct request *request);

/* Gives back everything it holds and the request itself; nothing may be in flight. */
void request_release(struct request *request);

/* Gives places for listings to those who wait for one. */
void request_admit_listings(struct shard *shard);

/* Ends the connections whose request has not arrived whole: it is not in progress yet. */
void request_end_unheard(struct shard *shard);

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
/* r->file is found: on to its variants, or to the conditions. */
enum next request_found(struct request *r);

/* The only callbacks of a request's ops. */
void request_resume(struct berth_op *op);
void request_opened(struct store_opening *opening);
void request_called(struct berth_op *op);

/* Steps, in the files where they stand. */
enum next step_read_head(struct request *r); /* body.c */
enum next step_peer(struct request *r);
enum next step_continue(struct request *r);
enum next step_skip_body(struct request *r);
enum next step_route(struct request *r); /* get.c */
enum next step_find(struct request *r);
enum next step_opened(struct request *r);
enum next step_variant(struct request *r);
enum next step_variant_opened(struct request *r);
enum next step_conditions(struct request *r);
enum next step_send_ranges(struct request *r);
enum next step_sent_whole(struct request *r);
enum next step_folder(struct request *r); /* folder.c */
enum next step_index_opened(struct request *r);
enum next step_list(struct request *r);
enum next step_list_filled(struct request *r);
enum next step_list_sent(struct request *r);
enum next step_sent(struct request *r); /* request.c */
enum next step_finish(struct request *r);
enum next step_linger(struct request *r);
enum next step_lingering(struct request *r);

/* ---- answers (respond.c) ---- */

/* An error's page, with `extra` header lines (each ended by CRLF). The connection closes after 400, 408, 413, 414,
 * 417, 431, 501, 503, 505. */
enum next respond_error(struct request *r, int status, const char *extra);
/* The answer for a failed open or read. */
enum next respond_errno(struct request *r, int64_t error);
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
