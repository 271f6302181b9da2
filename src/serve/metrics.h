/* What a shard counts. Written by the shard's thread alone, read by any (the admin thread): relaxed atomics, each
 * number right by itself. Gauges are brought up to date once a second.
 */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include "base/base.h"
#include "http/http.h"

#include <stdatomic.h>

typedef _Atomic uint64_t counter;

static inline void count_add(counter *c, uint64_t n)
{
        atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline void count_set(counter *c, uint64_t value)
{
        atomic_store_explicit(c, value, memory_order_relaxed);
}

static inline uint64_t count_of(const counter *c)
{
        return atomic_load_explicit(c, memory_order_relaxed);
}

/* Why somebody was not served, or not any longer. */
enum refusal_reason {
        REFUSED_DESCRIPTORS, /* accept: EMFILE, ENFILE from the kernel */
        REFUSED_MEMORY,      /* accept or a record of ours: ENOMEM, ENOBUFS, the control group's limit is near */
        REFUSED_CONNECTIONS, /* accept: --connections is reached while somebody waits */
        REFUSED_ADDRESS,     /* --per-address: answered 503 */
        REFUSED_REQUESTS,    /* no request became free in time: answered 503 */
        REFUSED_SENDS,       /* --max-sends, likewise */
        REFUSED_LISTINGS,    /* likewise */
        REFUSED_CHANGES,     /* likewise */
        REFUSED_HEADS,       /* no room for another long head: 503 */
        REFUSED_OPERATION,   /* a receive or a send of an open connection, for want of descriptors or memory: closed */
        REFUSED_BUFFERS,     /* sent more ahead than there are receive buffers for: reset */
        REFUSED_FILES,       /* a file could not be opened for want of descriptors or memory: 503 */
        SHED_IDLE,           /* a quiet connection closed to make room for a new one */
        LATE_HEAD,           /* --head-timeout */
        LATE_BODY,           /* --body-min-rate */
        STALLED_READER,      /* took nothing of its answer for a minute */
        REFUSED_AUTH,        /* a wrong name, password or token: 401, 429, or 503 for want of a worker */
        REFUSAL_COUNT,
};

enum conn_state {
        CONN_HOT,       /* a receive is armed */
        CONN_RESTING,   /* waits for readability, holds nothing else */
        CONN_WAITING,   /* has something to read, and no request is free */
        CONN_BUSY,      /* has a request */
        CONN_SENDING,   /* has a download */
        CONN_LINGERING, /* its answer is out and its end sent; waits for the client's end */
        CONN_CLOSING,
        CONN_STATE_COUNT,
};

enum pool {
        POOL_CONNECTIONS, /* records of connections at rest */
        POOL_ACTIVE,      /* what a connection has beside while it is not at rest */
        POOL_REQUESTS,
        POOL_DOWNLOADS,
        POOL_BUFFERS,
        POOL_FILES, /* known files; bytes: their contents in memory */
        POOL_LISTINGS,
        POOL_LONG_HEADS,
        POOL_CHANGES,
        POOL_COUNT,
};

enum { STATUS_COUNT = 600, DURATION_BUCKETS = 12, SIZE_BUCKETS = 10 };

struct counters {
        counter accepted;
        counter accepts_per_second;         /* in the last whole second */
        counter received_bytes, sent_bytes; /* sent: bodies */
        counter requests[HTTP_METHODS][STATUS_COUNT];
        counter durations[DURATION_BUCKETS + 1], duration_us; /* not cumulative; the last bucket is the rest */
        counter sizes[SIZE_BUCKETS + 1], size_bytes;
        counter refusals[REFUSAL_COUNT];
        counter states[CONN_STATE_COUNT];
        counter used[POOL_COUNT], limit[POOL_COUNT], bytes[POOL_COUNT];
        counter password_checks;                       /* each a hash that was made */
        counter rings, handles, starved, cold_windows; /* of the port */
};

/* One request is done (or was cut off): `status` as answered, the body's bytes that went out, the time from its head's
 * arrival to the last byte taken by the kernel. */
void metrics_request(struct counters *counters, unsigned method, int status, uint64_t body_bytes,
                     uint64_t microseconds);

struct server;

/* What stays the same as long as the process lives, and cannot be asked of a shard that may have ended. */
struct metrics_identity {
        const char *engine;
        uint64_t started_us; /* since 1970; 0: unknown */
};

/* Call it while all shards run. */
void metrics_identify(struct metrics_identity *identity, const struct server *server);

/* Room for everything, were every counter at its maximum and every method answered with every status. In practice it
 * is about 10 KiB. */
enum { METRICS_BYTES = 768 << 10 };

/* All of it in the Prometheus text format 0.0.4, the kernel's own view included, into `out`. Any one thread, until the
 * shards are freed. */
void metrics_write(struct text *out, const struct server *server, const struct metrics_identity *identity);

/* ---- lines, each put whole, so that one that does not fit leaves nothing of itself ---- */

void metrics_put_family(struct text *out, const char *name, const char *type, const char *help);
void metrics_put_sample(struct text *out, const char *name, uint64_t value);
void metrics_put_micros(struct text *out, const char *name, uint64_t micros);
void metrics_put_single(struct text *out, const char *name, const char *type, const char *help, uint64_t value);

/* ---- what the system tells (metrics_system.c) ---- */

uint64_t metrics_started_us(void); /* when the process began, since 1970; 0: unknown */
void metrics_put_system(struct text *out, const struct metrics_identity *identity);

/* ---- --admin (admin.c): a thread and a port of its own, so that it answers when the shards are full ---- */

struct admin;

/* Listens on server->options.admin (ADDR:PORT) and answers GET /metrics and GET /health from now on. 0, or -errno after
 * a line on stderr. NULL in *admin when the option is not given. */
int admin_start(struct admin **admin, struct server *server);
/* Ends the thread. NULL is fine. */
void admin_stop(struct admin *admin);

#endif
