/* What the files of crowd share: a server of one shard and a crowd of clients on one simulated port (crowd.c).
 *
 *   site     the folder that is served, and what its files hold
 *   ask      a request, and what its answer must be
 *   answer   an answer as it comes in, checked byte for byte
 *   client   one of the crowd: session after session, each a connection with some asks
 *   audit    what must hold of the shard at any time
 *
 * Everything that is left to chance follows from the seed.
 */
#ifndef TESTS_SERVE_CROWD_H
#define TESTS_SERVE_CROWD_H

#include "serve/serve_priv.h"

/* ---- the site (site.c) ---- */

enum site_name {
        SITE_EMPTY,
        SITE_SHORT,
        SITE_PAGE,
        SITE_PAGE_GZ, /* beside SITE_PAGE */
        SITE_FULL,    /* the largest that is kept in memory */
        SITE_OVER,    /* one byte more */
        SITE_LONG,
        SITE_LARGE, /* more than a window of send_file */
        SITE_INDEX,
        SITE_FILES,
};

enum site_folder { SITE_FEW, SITE_MANY, SITE_FOLDERS }; /* listed; of several pieces the latter */

struct site_file {
        const char *path;
        size_t size;
        char *data;
};

struct site {
        char folder[64];
        int root;
        struct site_file files[SITE_FILES];
        struct span listings[SITE_FOLDERS][2]; /* as a page, as JSON */
};

extern struct site site;
extern const char *const site_folders[SITE_FOLDERS];

void site_make(void);
void site_remove(void);

/* ---- asks (ask.c) ---- */

enum ask_body { BODY_NONE, BODY_FILE, BODY_PARTS, BODY_PAGE, BODY_LISTING };

enum { MAX_PARTS = 3 };

struct ask {
        size_t at, head_bytes, bytes; /* in the session's stream of bytes; head_bytes and bytes from there */
        bool expects;                 /* its body waits for "100 Continue" */
        bool head_only, closes, until_end, chunked;
        bool may_be_late; /* 408 is an answer, too */
        int status;
        enum ask_body body;
        const struct site_file *file, *variant; /* variant: may be answered with that one */
        struct http_range parts[MAX_PARTS];     /* of the file; one part: a range, none: all of it */
        unsigned part_count;
        struct span listing;
        char path[128];    /* as an error page shows it, where the head could be read so far */
        const char *field; /* a line that the answer's head must have, or NULL */
        char room[64];     /* for such a line */
};

/* Puts a request into `out`. last: it may ask for the connection's end. expects: it may wait for "100 Continue". */
void ask_make(struct ask *ask, struct text *out, bool last, bool expects);
/* One for the short file, and one that brings a body. */
void ask_plain(struct ask *ask, struct text *out);
void ask_with_body(struct ask *ask, struct text *out);

/* ---- answers (answer.c) ---- */

enum { ANSWER_HEAD_BYTES = 4096 };

struct answer {
        char head[ANSWER_HEAD_BYTES];
        size_t head_bytes;
        unsigned hundreds; /* "100 Continue" that came before */
        int status;        /* 0: the head is not whole yet */
        bool closes, chunked, has_length, encoded, refusal, complete;
        uint64_t length, got; /* of the body */
        struct span expected;
        char *own; /* `expected`, where it is not a file's */
        struct http_chunked chunks;
};

/* Nothing of it has come. */
bool answer_untouched(const struct answer *answer);
/* Takes bytes: returns how many belong to this answer; `complete` when it is. may_refuse: 503 is an answer, too.
 * `draining`: it may tell of the connection's end. */
size_t answer_take(struct answer *answer, const struct ask *ask, struct span bytes, bool may_refuse, bool draining);
/* The connection has ended in good order: an answer whose length nobody told is complete, or it is wrong. */
void answer_end(struct answer *answer, const struct ask *ask);
void answer_reset(struct answer *answer);

/* ---- clients (client.c) ---- */

enum { MAX_ASKS = 6, STREAM_BYTES = 64 << 10 };

enum manner {
        PIPELINES = 1,
        DRIPS = 2,  /* sends in pieces with pauses */
        SLOW = 4,   /* receives in pieces with pauses */
        THINKS = 8, /* before each ask */
        HALF = 16,  /* ends its half after the last ask */
        WAITS = 32, /* after an answer that closes, for the end */
        /* These are not judged by what they miss. */
        VANISHES = 64,
        STUCK = 128, /* stops receiving for longer than anybody waits */
        /* These have asked for the end they get. */
        MUTE = 256,
        STALLS = 512,
        OUTSTAYS = 1024,
};

enum client_timer { TIMER_SEND, TIMER_RECEIVE, TIMER_LIFE, CLIENT_TIMERS };

struct client {
        unsigned id, sessions; /* sessions left */
        unsigned manners;
        struct berth_handle handle;
        struct berth_op misc, recv, send, close; /* misc: connect, shutdown */
        bool misc_on, recv_on, send_on, open, closing, ended, send_failed, shut, done;
        bool told; /* that the latest answer is the last */
        struct client_clock {
                struct berth_timer timer;
                struct client *client;
                bool on;
        } clocks[CLIENT_TIMERS];
        struct ask asks[MAX_ASKS];
        unsigned ask_count, answered, thought, pauses;
        char *stream;
        size_t stream_bytes, sent, sending, most; /* most: what it ever sends of it */
        uint64_t drip_ms, pause_ms;               /* how long it may yet take */
        uint64_t quiet_since_ms;
        struct answer answer;
        bool plain, served; /* plain: asks for the short file, until it gets it */
};

void client_start(struct client *client, unsigned id, unsigned sessions);

/* ---- the run (crowd.c) ---- */

enum { MOST_CLIENTS = 160 };

enum ending { ENDS_QUIETLY, DRAINS, DRAINS_THEN_ENDS, ENDS_AT_ONCE, ENDINGS };

struct run {
        uint64_t seed, hash;
        struct random chance;
        bool trace, strict, tight, dearth, group_full;
        bool least;       /* every bound is 1 */
        unsigned faults;  /* per mille */
        uint64_t unit_ms; /* what a client that behaves may take for anything */
        enum ending ending;
        bool draining, cut; /* the shard was told; what goes on is cut off */
        uint64_t drain_ms, cut_ms;
        unsigned client_count, clients_left, drain_after;
        uint64_t progress_ms; /* when a client last got any further */
        uint64_t turns, answers, sessions, connected, broken, unjudged;
        uint64_t statuses[STATUS_COUNT]; /* of complete answers; [0]: refusals that no request has made */
        struct sockaddr_storage address;
        struct server *server;
        struct shard *shard;
        struct client *clients;
};

extern struct run run;

uint32_t chance(uint32_t bound);
uint64_t run_now_ms(void);
/* Into the hash and the trace. */
void note(const char *what, unsigned who, int64_t value);
/* Somebody got further. */
void run_progress(void);
_Noreturn void failed(const char *file, int line, const char *what);

#define check(x) ((x) ? (void)0 : failed(__FILE__, __LINE__, #x))

/* ---- invariants (audit.c) ---- */

/* Those at rest who are quiet longest, and how often somebody was turned away or shed. */
struct idle {
        const struct list *fresh, *resting;
        uint64_t turned_away, shed;
};

struct idle audit_idle(const struct shard *shard);
/* What must hold after a turn, by what was before it. */
void audit_shed(const struct shard *shard, const struct idle *before);
/* What must hold after each turn. */
void audit_turn(const struct shard *shard);
/* Looks through all the lists. */
void audit_lists(const struct shard *shard);
/* Nobody is there any more. */
void audit_empty(const struct shard *shard);

#endif
