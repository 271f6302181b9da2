/* load_priv: what the files of `berth load` share.
 *
 *   load.c      the command: plan, threads, signals, phases      options.c   its command line
 *   target.c    URLs, their addresses, the text of requests      plan.c      source addresses, the arithmetic of ports
 *   crowd.c     a thread: its clients, opening, closing          client.c    one connection: open, at rest, gone
 *   ask.c       one request and its response                     response.c  the parser of responses
 *   pace.c      when requests are due                            alarm.c     waking up then, to the microsecond
 *   histogram.c latencies                                        tally.c     counts, and their sum over the threads
 *   run.c       the series, second by second                     scrape.c    the server's own numbers (--admin-url)
 *   progress.c  the line while it runs                           summary.c   what it says at the end
 *   json.c      --json                                           report.c    --report
 *   room.c      what the system has room for                     output.c    files and the terminal
 *   socket.c    sockets that wait
 *
 * The last three and the alarm speak to the system: NAME_win.c stands for NAME.c on Windows.
 *
 * The main thread opens nothing. It takes the counts once a second, tells the phases (enum load_phase) and writes what
 * is written. Each other thread has a port, a share of the clients and a schedule of its own; what the threads have in
 * common are atomics that one writes and others read.
 */
#ifndef LOAD_LOAD_PRIV_H
#define LOAD_LOAD_PRIV_H

#include "base/base.h"
#include "http/http.h"

#include <berth/port.h>
#include "base/net.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
        LOAD_MAX_THREADS = 64,
        LOAD_MAX_URLS = 64,
        LOAD_MAX_HEADERS = 32,
        LOAD_MAX_CONNECTIONS = 1 << 24,
        LOAD_MAX_ADDRESSES = 1 << 16, /* sources, and destinations with their ports */
};

/* ---- the command line (options.c) ---- */

enum load_mode {
        LOAD_ONCE, /* each client asks once, as soon as it is open; with --slow again and again */
        LOAD_RATE, /* so many a second over all clients, each time a random one */
        LOAD_EACH, /* each client at its interval */
        LOAD_IDLE, /* nobody asks anything */
};

struct load_options {
        const char *urls[LOAD_MAX_URLS];
        unsigned url_count;
        unsigned first_port, last_port; /* of every URL; 0: what the URL says */
        const char *headers[LOAD_MAX_HEADERS];
        unsigned header_count;
        unsigned connections;
        double open_rate; /* connections a second; 0: as fast as it goes */
        double hold_seconds;
        enum load_mode mode;
        double rate;          /* LOAD_RATE: requests a second */
        double each_seconds;  /* LOAD_EACH */
        unsigned slow_bytes;  /* a second and connection; 0: as fast as it goes */
        unsigned range_bytes; /* length of the random ranges; 0: whole files */
        const char *source;
        bool reconnect, quiet, help;
        unsigned threads; /* 0: by the number of processors */
        const char *engine;
        double timeout_seconds;
        const char *json, *report, *admin_url;
};

void load_options_help(void);

/* 0, or -EINVAL after saying what is wrong. */
int load_options_parse(struct load_options *options, int argc, char **argv);

/* ---- URLs, destinations, requests (target.c) ---- */

union load_address {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
};

unsigned load_address_bytes(const union load_address *address);

/* "127.0.0.1:80", "[::1]:80"; without the port when it is 0. */
void load_address_name(const union load_address *address, char *out, size_t size);

struct load_url {
        char host[256]; /* without the brackets of an IPv6 address */
        unsigned first_port, last_port;
        struct span path; /* with the query; begins with '/'; points into the text, or is "/" */
};

/* http://HOST[:PORT[-PORT]][/PATH]. 0, or -EINVAL. Without I/O. */
int load_url_parse(struct load_url *url, const char *text);

/* One URL's page; several pages may live at one endpoint. */
struct load_page {
        struct span path;
        _Atomic uint64_t size; /* of the file as a 206 told it; 0: not known yet */
        unsigned next;         /* page of the same endpoints + 1; 0: the last */
};

/* An address with a port, at which one or more pages are. */
struct load_endpoint {
        union load_address address;
        uint16_t first_page, page_count;
        struct span *requests; /* the text of each page's request, in the order of the pages */
};

struct load_targets {
        struct load_page pages[LOAD_MAX_URLS];
        unsigned page_count;
        struct load_endpoint *endpoints;
        uint32_t endpoint_count;
};

/* Reads the URLs, asks for the addresses, writes the requests. 0, or -errno after saying why. */
int load_targets_init(struct load_targets *targets, const struct load_options *options);
void load_targets_finish(struct load_targets *targets);

/* ---- source addresses and ports (plan.c) ---- */

struct load_plan {
        /* what is asked */
        uint64_t connections;
        uint32_t ports;     /* in net.ipv4.ip_local_port_range */
        uint32_t endpoints; /* destinations: addresses with ports */
        uint32_t given;     /* source addresses that the user gave; 0: none */
        bool free_sources;  /* any of 127.0.0.0/8 may be taken, since all destinations are there, too */
        /* what follows */
        uint32_t sources;      /* how many are used, four times the number needed where they are free; 0: the kernel's
                                * choice, which is one */
        uint64_t pairs;        /* of source and destination */
        uint64_t pairs_needed; /* that no connect has to search for a free port */
        bool crowded;          /* it can be done, but slowly */
        bool impossible;
};

/* Without I/O. */
void load_plan_compute(struct load_plan *plan);

/* "1,000,000 connections over 14,116 ports (half of ...) need 71 pairs ...: ... to ...", as one line. */
void load_plan_describe(const struct load_plan *plan, const union load_address *sources,
                        const struct load_targets *targets, struct text *out);

/* "A-B", "A,B,C-D" into sources[], at most `room`. Returns how many, or -EINVAL, -E2BIG. Without I/O. */
int load_sources_parse(union load_address *sources, unsigned room, const char *text);

/* The n-th address of 127.0.0.0/8, from 127.0.0.1. */
union load_address load_loopback(uint32_t n);

bool load_is_loopback(const union load_address *address);

/* ---- what the system has room for (room.c) ---- */

/* What the user may widen for more ports. */
extern const char load_range_name[];

/* For outgoing connections. 0, or -errno after saying why. */
int load_ports(uint64_t *count);

struct load_run;

/* Whether the threads' ports can hold their clients, when the process may have so many descriptors. 0, or -errno after
 * saying why not. */
int load_check_room(const struct load_run *run, uint64_t descriptors);

uint64_t load_resident_bytes(void); /* our own; 0: nobody knows */

/* ---- files and the terminal (output.c); paths are UTF-8 on Windows ---- */

/* It can be written to, or made; NULL and "-" always. 0, or -errno after saying why not. */
int load_check_output(const char *path);
bool load_has_terminal(void); /* what goes to standard error is looked at as it comes */

/* ---- sockets that wait (socket.c): 0, a number of bytes, or -errno ---- */

int load_socket_make(int family);
void load_socket_patience(int descriptor, uint64_t us); /* of each call that follows */
int load_socket_connect(int descriptor, const struct sockaddr *address, unsigned bytes);
int load_socket_send(int descriptor, const char *data, size_t size);
int load_socket_receive(int descriptor, char *data, size_t size);
void load_socket_end(int descriptor); /* from any thread: calls that wait end */
void load_socket_close(int descriptor);

/* ---- responses (response.c) ---- */

enum {
        LOAD_HEAD_BYTES = 16384, /* a longer head is malformed */
        LOAD_LINE_BYTES = 240,   /* of a line that are looked at */
};

/* Parses one response as it comes, in any pieces; what it says depends on the bytes alone. */
struct load_response {
        uint64_t body_bytes; /* so far */
        uint64_t left;       /* LENGTH: body bytes to come */
        struct http_chunked chunked;
        uint64_t content_length, range_first, range_last, range_size; /* of Content-Range */
        uint32_t head_bytes;
        uint16_t status; /* 0: not known yet */
        uint8_t state;
        bool has_length, is_chunked, has_range, keep_alive, old; /* old: HTTP/1.0 */
        bool cut;                                                /* the line is longer than what is kept of it */
        char last;                                               /* the byte before */
        uint16_t line_used;
        char line[LOAD_LINE_BYTES];
};

void load_response_init(struct load_response *response);

/* Takes bytes from data[0..size): *used says how many, *body which of them are of the body.
 *   1         the response is complete; bytes behind *used are not its own
 *   0         go on, with more bytes once *used == size
 *   -EBADMSG  malformed; for good */
int load_response_take(struct load_response *response, const char *data, size_t size, size_t *used, struct span *body);

/* The head has been read, and status and the like are known. */
bool load_response_has_head(const struct load_response *response);

/* The peer has sent its end: true when that is where the body ends. */
bool load_response_ends_here(const struct load_response *response);

/* ---- latencies (histogram.c) ---- */

enum {
        LOAD_HALF_BUCKETS = 1024, /* steps between a power of two and the next: three significant digits */
        LOAD_DOUBLINGS = 22,
        LOAD_BUCKETS = (LOAD_DOUBLINGS + 1) * LOAD_HALF_BUCKETS,
};

static const uint64_t LOAD_LONGEST_US = 3600ull * 1000 * 1000; /* longer ones count as this */

/* One thread records; others may read meanwhile and see each value now or later. Zeroed before use. */
struct load_histogram {
        _Atomic uint64_t counts[LOAD_BUCKETS];
        _Atomic uint64_t sum_us, least_us, most_us; /* least: + 1, 0 for none */
};

void load_histogram_record(struct load_histogram *histogram, uint64_t us);
void load_histogram_add(struct load_histogram *sum, const struct load_histogram *more);

/* What was recorded after `earlier`, a copy of the same histogram. The extremes become those of the buckets. */
void load_histogram_since(struct load_histogram *out, const struct load_histogram *now,
                          const struct load_histogram *earlier);

uint64_t load_histogram_count(const struct load_histogram *histogram);

/* The least value that `percent` (0 .. 100) of all are not above, to three digits; 0 when there are none. */
uint64_t load_histogram_percentile(const struct load_histogram *histogram, double percent);

double load_histogram_mean(const struct load_histogram *histogram);
uint64_t load_histogram_least(const struct load_histogram *histogram);
uint64_t load_histogram_most(const struct load_histogram *histogram);

/* The largest value of a bucket. */
uint64_t load_histogram_value(unsigned bucket);

/* ---- counts (tally.c) ---- */

enum load_count {
        LOAD_OPENED,     /* connections that came about, again by --reconnect included */
        LOAD_FAILED,     /* attempts that did not */
        LOAD_LOST,       /* closed by the server without a word */
        LOAD_RESET,      /* ended by an error */
        LOAD_ENDED,      /* closed as the response had announced ("Connection: close") */
        LOAD_SETTLED,    /* clients whose first attempt is over */
        LOAD_DUE,        /* requests that fell due */
        LOAD_SENT,       /* requests that began to be sent */
        LOAD_ANSWERED,   /* with a whole response, whatever its status */
        LOAD_ASK_FAILED, /* without one, or with a status of 400 or more */
        LOAD_UNSENT,     /* no connection was free for them in time */
        LOAD_UNFINISHED, /* cut off by our end */
        LOAD_UNHEARD,    /* of these, those of which nothing had come, not even the head */
        LOAD_AT_LEAST,   /* latencies that are a lower bound: how long a request without an answer had waited */
        LOAD_BYTES,      /* received: bodies */
        LOAD_OPEN,       /* now */
        LOAD_CONNECTING, /* now */
        LOAD_ASKING,     /* now */
        LOAD_AWAITING,   /* now: of those that ask, who has not seen a head */
        LOAD_COUNTS,
};

enum load_stage { LOAD_AT_CONNECT, LOAD_AT_REQUEST, LOAD_AT_REST, LOAD_STAGES };

/* What went wrong: an errno, or one of these. */
enum load_error {
        LOAD_ERRNO_MAX = 199,
        LOAD_TIMED_OUT,  /* by --timeout */
        LOAD_CLOSED,     /* the server's end came too early */
        LOAD_BAD,        /* a malformed response */
        LOAD_UNASKED,    /* bytes that nobody had asked for */
        LOAD_NOT_RANGE,  /* no 206, or of another range */
        LOAD_STATUS_4XX, /* answered so */
        LOAD_STATUS_5XX,
        LOAD_ERRORS,
};

/* "ECONNREFUSED", "timeout", ... */
const char *load_error_name(unsigned error);

enum { LOAD_STATUSES = 600 };

struct load_tally {
        _Atomic uint64_t counts[LOAD_COUNTS];
        _Atomic uint64_t errors[LOAD_STAGES][LOAD_ERRORS];
        _Atomic uint64_t statuses[LOAD_STATUSES];
        struct load_histogram latency, connect; /* of requests from when they were due; of connects */
};

/* By the thread that owns it. */
static inline void load_count(struct load_tally *tally, enum load_count what, int64_t n)
{
        uint64_t now = atomic_load_explicit(&tally->counts[what], memory_order_relaxed);
        atomic_store_explicit(&tally->counts[what], now + (uint64_t)n, memory_order_relaxed);
}

static inline uint64_t load_counted(const struct load_tally *tally, enum load_count what)
{
        return atomic_load_explicit(&tally->counts[what], memory_order_relaxed);
}

/* `error`: a negative errno, or an enum load_error. */
void load_count_error(struct load_tally *tally, enum load_stage stage, int error);
void load_count_status(struct load_tally *tally, unsigned status);

void load_tally_add_counts(struct load_tally *sum, const struct load_tally *more);
void load_tally_add_rest(struct load_tally *sum, const struct load_tally *more);

/* ---- schedules (pace.c) ---- */

/* The k-th thing of a thread is due at a time that k alone tells; nothing is kept but k. */
struct load_pace {
        uint64_t start_us, end_us; /* due from .. until before */
        double step_us;            /* from one thread's to the next one's */
        double round_us;           /* after all of its clients have had their turn; 0: there are no rounds */
        uint32_t thread, threads;
        uint32_t clients; /* of this thread: the k-th thing is for client k % clients */
        uint64_t next;    /* k of the first that has not been done */
        uint64_t counted; /* k of the first that has not been counted as due */
};

/* `rate` a second over all threads. */
void load_pace_rate(struct load_pace *pace, double rate, uint32_t thread, uint32_t threads);

/* Each of all clients every `seconds`, their turns spread evenly. `clients` of `all` are this thread's. */
void load_pace_each(struct load_pace *pace, double seconds, uint32_t thread, uint32_t threads, uint32_t clients,
                    uint32_t all);

/* When the k-th is due (us). */
uint64_t load_pace_due(const struct load_pace *pace, uint64_t k);

/* When the next one is due; UINT64_MAX: none before the end. */
uint64_t load_pace_next(const struct load_pace *pace);

/* How many have come to be due since the last call. */
uint64_t load_pace_come(struct load_pace *pace, uint64_t now_us);

/* Without rounds: passes by what was due before now, so that nobody catches up on it. */
void load_pace_skip(struct load_pace *pace, uint64_t now_us);

/* ---- waking up (alarm.c) ---- */

/* A timer of the kernel's beside the port's, which knows milliseconds only. */
struct load_alarm {
        struct berth_port *port;
        struct berth_handle handle;
        struct berth_op op;
        int descriptor; /* -1: there is none, a millisecond has to do */
        uint64_t at_us; /* 0: not set */
};

void load_alarm_init(struct load_alarm *alarm, struct berth_port *port);
/* Then the port has to be run until nothing is in flight. */
void load_alarm_finish(struct load_alarm *alarm);

/* How long berth_port_run() may wait (ms) so that it returns by at_us, and in `most_ms` at the latest. */
int load_alarm_set(struct load_alarm *alarm, uint64_t at_us, uint64_t now_us, int most_ms);

/* ---- clients and requests (crowd.c, client.c, ask.c) ---- */

enum load_state {
        LOAD_NEW,      /* never opened yet, or waiting to be opened again */
        LOAD_CONNECTS, /* has an ask */
        LOAD_RESTS,    /* open, asks nothing */
        LOAD_WOKEN,    /* has an ask: something came, or the end, while it rested */
        LOAD_ASKS,     /* has an ask */
        LOAD_CLOSES,   /* has an ask */
        LOAD_GONE,     /* for good */
};

/* A client: 64 bytes. All of a thread's stand in one mapping, which takes memory as far as it is used. */
struct load_client {
        struct berth_handle socket;
        struct load_ask *ask; /* while it does something */
        uint32_t link;        /* at rest: its place in crowd->resting[]; waiting to open: the next one */
        uint8_t state;        /* enum load_state */
        bool armed : 1;       /* its op of crowd->waits is in flight */
        bool settled : 1;     /* its first attempt is over */
        uint16_t skipped;     /* LOAD_EACH: how many fell due after due_us and are never sent */
        uint64_t due_us;      /* LOAD_EACH: fell due while it was busy; 0: none. Waiting to open: from when on */
};

_Static_assert(sizeof(struct load_client) == 64, "a client at rest is 64 bytes");

/* What the op of an ask is doing. */
enum load_step {
        LOAD_STEP_CONNECT,
        LOAD_STEP_SEND,
        LOAD_STEP_AWAIT, /* nothing: crowd->waits has the op */
        LOAD_STEP_RECEIVE,
        LOAD_STEP_PAUSE, /* nothing: --slow lets time pass */
        LOAD_STEP_CLOSE,
};

/* What a client has while it connects, asks or closes. One op at a time. */
struct load_ask {
        struct berth_op op;
        struct list node; /* crowd->active, in the order of the last progress; LOAD_STEP_PAUSE and CLOSE: none */
        struct wheel_timer pause; /* --slow: until the next read */
        struct load_client *client;
        uint64_t due_us;     /* when the request was due, or the connect began */
        uint64_t touched_us; /* last progress */
        uint64_t read_us;    /* --slow: not before then */
        uint64_t range_first, range_last;
        uint16_t page;
        uint8_t step; /* enum load_step */
        bool timed_out, ending, ranged, head_seen;
        bool announced; /* the response has said that the connection ends with it */
        union {
                struct load_response response;
                struct {
                        struct berth_vec pieces[2];
                        char range[80];
                } request;
        };
};

/* What the main thread tells the others; only ever forward. */
enum load_phase {
        LOAD_OPENING, /* connections are opened; with LOAD_ONCE they ask */
        LOAD_HOLDING, /* all were tried; requests fall due */
        LOAD_ENDING,  /* nothing new begins; what is under way may finish */
        LOAD_CLOSING, /* everything is closed */
};

struct load_queue { /* of clients waiting to be opened again, linked by their index */
        uint32_t first, last;
};

struct load_crowd {
        struct load_run *run;
        unsigned index; /* of the thread */
        pthread_t thread;
        int error;            /* it could not start */
        uint32_t max_handles; /* that its port can have */
        const char *engine;
        struct berth_port *port;
        struct load_client *clients;
        uint32_t client_count;
        uint32_t next_new;      /* clients before it have been opened once */
        struct berth_op *waits; /* LOAD_RATE, LOAD_EACH: a wait for each client; else NULL, and clients rest without */
        uint32_t *resting;      /* which clients can ask now, in no order */
        uint32_t resting_count;
        struct load_queue again, later; /* to open: at once; after a pause, in order */
        struct slab asks;
        struct list active;
        struct wheel pauses;
        struct load_pace openings, requests;
        struct load_alarm alarm;
        struct random random;
        enum load_phase phase;        /* as this thread has last seen it */
        uint32_t connecting, closing; /* in flight */
        uint32_t close_next;          /* LOAD_CLOSING: clients before it are closed or closing */
        uint64_t trim_us;             /* when memory that bursts have left unused is given back next */
        uint64_t now_us;              /* as read after the port last came back */
        _Atomic uint64_t settled_us;  /* when a client's first attempt was over most recently */
        _Atomic bool done;
        struct load_tally tally;
};

extern _Thread_local struct load_crowd *load_here;

/* The thread's function. The crowd's index, run and client_count are set. */
void *load_crowd_main(void *argument);

/* client.c */
void load_client_open(struct load_crowd *crowd, struct load_client *client);
/* Open, and nothing to do. */
void load_client_rest(struct load_crowd *crowd, struct load_client *client);
/* Takes it out of those at rest and gives it an ask. NULL without memory: it rests on. */
struct load_ask *load_client_rouse(struct load_crowd *crowd, struct load_client *client, enum load_state state);
/* LOAD_EACH: what fell due behind the one that waits will never be sent; it would have taken at least until now. */
void load_client_give_up_skipped(struct load_crowd *crowd, struct load_client *client);
/* A random one of those at rest; there is one. */
struct load_client *load_client_pick(struct load_crowd *crowd);
/* The connect of its ask has ended. */
void load_client_connected(struct load_crowd *crowd, struct load_ask *ask);
/* Something has come, or the end, while it rested. */
void load_client_disturbed(struct load_crowd *crowd, struct load_ask *ask);
/* Closes; the op of its ask is not in flight. */
void load_client_close(struct load_crowd *crowd, struct load_ask *ask);
void load_client_closed(struct load_crowd *crowd, struct load_ask *ask);
/* At our end, in any state: whatever it is doing is cut off. */
void load_client_end(struct load_crowd *crowd, struct load_client *client);
void load_client_rested(struct berth_handle *handle);
void load_client_waited(struct berth_op *op);
const struct load_endpoint *load_client_endpoint(const struct load_crowd *crowd, const struct load_client *client);
/* The next one waiting to be opened again, or NULL. */
struct load_client *load_client_again(struct load_crowd *crowd);

/* ask.c */
/* NULL without memory. */
struct load_ask *load_ask_take(struct load_crowd *crowd, struct load_client *client);
void load_ask_give(struct load_crowd *crowd, struct load_ask *ask);
/* A request that was due then has no answer: it takes at least as long as it has waited by now. */
void load_ask_waited(struct load_crowd *crowd, uint64_t due_us);
/* Begins a request that was due at due_us. */
void load_ask_begin(struct load_crowd *crowd, struct load_ask *ask, uint64_t due_us);
void load_ask_receive(struct load_crowd *crowd, struct load_ask *ask);
/* Nothing has moved for --timeout. */
void load_ask_time_out(struct load_crowd *crowd, struct load_ask *ask);
/* Cut off by our end. */
void load_ask_cut(struct load_crowd *crowd, struct load_ask *ask);
/* Progress: the time-out begins anew. */
void load_ask_touch(struct load_crowd *crowd, struct load_ask *ask);

/* ---- the server's numbers (scrape.c) ---- */

enum { LOAD_METRICS = 24, LOAD_METRIC_NAME = 96 };

struct load_scrape {
        const char *url;
        struct load_url parts;
        struct addrinfo *addresses;
        pthread_t thread;
        bool running;
        pthread_mutex_t lock;
        pthread_cond_t stop_now;
        /* under the lock */
        bool stopping;
        int descriptor; /* of the reading under way; -1: none */
        char names[LOAD_METRICS][LOAD_METRIC_NAME];
        double values[LOAD_METRICS]; /* NAN: not on the last page, or there was none */
        unsigned count;
        uint64_t good, bad; /* readings */
};

/* Looks up where to read; NULL: nothing is read. 0, or -errno after saying why. */
int load_scrape_prepare(struct load_scrape *scrape, const char *url);

/* Starts to read once a second. 0, or -errno after saying why. */
int load_scrape_start(struct load_scrape *scrape);
void load_scrape_stop(struct load_scrape *scrape);

/* Takes what a page of metrics says into names and values. Without I/O; `text` is NUL-terminated. */
void load_scrape_read(struct load_scrape *scrape, const char *text);

/* ---- the run (run.c) ---- */

enum { LOAD_MAX_SAMPLES = 3600 }; /* then two become one */

struct load_sample {
        double at_seconds;
        uint64_t counts[LOAD_COUNTS];
        uint64_t answered; /* in the interval; its latencies follow */
        uint64_t p50_us, p99_us, most_us;
        uint64_t resident_bytes;      /* our own */
        double metrics[LOAD_METRICS]; /* NAN: not known */
};

struct load_run {
        struct load_options options;
        struct load_targets targets;
        union load_address *sources;
        struct load_plan plan;
        unsigned thread_count;
        struct load_crowd *crowds[LOAD_MAX_THREADS];
        pthread_barrier_t prepared, decided; /* all threads have their ports; the main thread has looked at them */
        bool refused;
        const char *engine;                                  /* as it turned out */
        _Atomic int phase;                                   /* enum load_phase */
        _Atomic uint64_t requests_start_us, requests_end_us; /* requests fall due from .. until before */
        bool interrupted;
        bool deserted; /* the hold ended early, since no connection was left */
        uint64_t start_us;
        uint64_t settled_us,
                opened_us; /* all were tried; the hold began: requests of a schedule begin a little later */
        uint64_t end_us;   /* of the hold */
        int64_t started_unix;
        struct load_scrape scrape;
        struct load_tally total;      /* the sum now */
        struct load_histogram before; /* its latencies at the last sample */
        struct load_histogram recent; /* latencies between the two */
        uint64_t answered_before;     /* LOAD_ANSWERED at the last sample */
        struct load_sample *samples;
        unsigned sample_count;
        unsigned sample_seconds; /* one sample is so many */
        unsigned seconds;        /* samples taken: one at the start, then one a second */
        uint64_t most_open, now_us;
};

int load_run_init(struct load_run *run);
void load_run_finish(struct load_run *run);

/* Adds up the threads' counts into run->total. */
void load_run_sum(struct load_run *run);

/* Errors, statuses and latencies, too: what nobody needs every few milliseconds. */
void load_run_sum_all(struct load_run *run);

/* What the main thread tells the others, if it is something new. */
void load_run_tell(struct load_run *run, enum load_phase phase);

/* Once a second, after the sum of all: a row of the series. */
void load_run_sample(struct load_run *run);

static inline uint64_t load_total(const struct load_run *run, enum load_count what)
{
        return load_counted(&run->total, what);
}

/* Something did not go as asked: the exit status. */
bool load_run_failed(const struct load_run *run);

double load_run_seconds(const struct load_run *run); /* since the start */
double load_run_open_seconds(const struct load_run *run);
double load_run_held_seconds(const struct load_run *run);
double load_run_rate(const struct load_run *run);       /* answers a second, while requests were due */
double load_run_rate_asked(const struct load_run *run); /* 0: none was */

/* ---- what people and programs read (progress.c, summary.c, json.c, report.c) ---- */

/* "0.41 ms", "2.10 s". */
const char *load_duration(uint64_t us, char out[32]);

struct load_progress {
        bool terminal, quiet;
        uint64_t shown_us; /* when; 0: never */
};

void load_progress_init(struct load_progress *progress, bool quiet);
/* `second`: a whole one has gone by; a terminal's line is written oftener. */
void load_progress_show(struct load_progress *progress, const struct load_run *run, bool second);
void load_progress_end(struct load_progress *progress);

void load_summary(const struct load_run *run, FILE *out);
void load_json_write(const struct load_run *run, FILE *out);
/* To a file ("-": standard output). 0, or -errno after saying why. */
int load_json_save(const struct load_run *run, const char *path);
int load_report_save(const struct load_run *run, const char *path);

#endif
