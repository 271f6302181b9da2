/* lab: what the tests of the port share. Everything goes through berth/port.h.
 *
 * A `struct act` wraps an op and checks it: it completes once for each start, never after the close of its handle has
 * completed. A `struct end` is one end of a connection with an act for each thing that it can do at a time, and
 * checks that the bytes it receives are those of the pattern, in order. lab_close() checks that nothing is in flight
 * and that every descriptor has been given back.
 */
#ifndef TESTS_PORT_LAB_H
#define TESTS_PORT_LAB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#include <afunix.h>
#undef far /* a word again */
#else
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#endif

#include <berth/port.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define array_count(a) (sizeof(a) / sizeof((a)[0]))

struct act;
struct end;

struct act {
        struct berth_op op;
        struct lab *lab;
        struct end *end; /* NULL: belongs to no connection */
        bool in_flight;
        unsigned finals, mores;
        int64_t result;             /* of the last completion */
        unsigned order;             /* of the final completion, over the whole lab */
        void (*then)(struct act *); /* called at each completion, when set */
};

struct end {
        struct berth_handle handle;
        struct act recv, send, close, other;
        bool resting; /* by end_rest() */
        unsigned rests_ended;
        bool closed;               /* the close has completed */
        uint64_t received;         /* bytes, all as in the pattern */
        uint64_t base;             /* the pattern's position that the first byte received should have */
        bool ended;                /* the peer's end came */
        int error;                 /* the error that receiving ended with */
        bool multishot, paused;    /* paused: not started again after a single receive */
        uint16_t kept[64];         /* buffers that were not put back */
        unsigned kept_count, keep; /* keep: how many may be kept */
};

enum { LAB_ARRIVALS = 4096 };

struct lab {
        struct berth_port *port;
        bool sim;
        bool shares; /* other ports are open too: descriptors are not counted */
        struct berth_handle listener;
        struct act accept;
        struct sockaddr_storage address; /* the listener's */
        unsigned address_bytes;
        int64_t arrived[LAB_ARRIVALS]; /* accepted and not yet adopted: a queue */
        unsigned arrived_first, arrived_count, accepted;
        unsigned orders;
        unsigned descriptors;     /* that were open before */
        char folder[64];          /* "" or a temporary one */
        struct berth_handle root; /* of that folder */
        struct act scratch;
};

extern const char *lab_engine;

struct test_list {
        const struct CMUnitTest *tests;
        size_t count;
};
extern const struct test_list connect_tests, stream_tests, file_tests, close_tests, bound_tests, time_tests,
        thread_tests, rest_tests, handle_tests, buffer_tests, plain_tests;

/* NULL config: the defaults. Listens on loopback and accepts. */
void lab_open(struct lab *lab, const struct berth_port_config *config);
/* Without a listener. */
void lab_open_bare(struct lab *lab, const struct berth_port_config *config);
void lab_close(struct lab *lab);
void lab_listen(struct lab *lab, int backlog);
void lab_stop_listening(struct lab *lab);
/* For an accept started by hand: keeps what has been accepted for lab_adopt(). */
void lab_arrival(struct act *act);

/* Runs the port until the condition holds; fails the test when that takes too long. */
#define lab_until(lab, condition)                                                                                      \
        do {                                                                                                           \
                for (uint64_t lab_since_ = lab_clock_ms(); !(condition);)                                              \
                        lab_turn_((lab), lab_since_, #condition, __FILE__, __LINE__);                                  \
        } while (0)
void lab_turn_(struct lab *lab, uint64_t since_ms, const char *what, const char *file, int line);
/* Some turns that do not wait. */
void lab_turns(struct lab *lab, unsigned count);
/* Until nothing happens any more for a little while. */
void lab_settle(struct lab *lab);
/* Leaves room for so many more descriptors; LAB_AS_BEFORE ends that. Nothing where LAB_LIMIT is lacking. */
enum { LAB_AS_BEFORE = -1 };
void lab_limit_descriptors(int more);
/* As a test's teardown. */
int lab_restore_limit(void **state);
bool lab_refused(int64_t result);
/* Chance that is the same in every run. */
uint32_t lab_chance(uint32_t bound);

/* The op of an act that is about to be started. */
struct berth_op *go(struct lab *lab, struct act *act, struct end *end);
void act_wait(struct act *act);

/* Two ends of one connection over the lab's listener. */
void lab_pair(struct lab *lab, struct end *client, struct end *server);
void lab_connect(struct lab *lab, struct end *client);
/* The first of those that have been accepted, once there is one. */
int64_t lab_take_arrival(struct lab *lab);
void lab_adopt(struct lab *lab, struct end *server);
void end_close(struct lab *lab, struct end *end, unsigned flags);
void end_close_wait(struct lab *lab, struct end *end, unsigned flags);

void end_rest(struct lab *lab, struct end *end);
/* Until its rest has ended. */
void end_rest_wait(struct lab *lab, struct end *end);

/* Receives on and on, checks the bytes, until the end, an error or a cancel. */
void end_receive(struct lab *lab, struct end *end, bool multishot);
void end_put_kept(struct lab *lab, struct end *end);
/* Sends pattern bytes from memory that lasts as long as the test. */
void end_send(struct lab *lab, struct end *end, const void *data, size_t size);

/* Byte number `at` of the pattern; and memory full of it, to be freed. */
uint8_t pattern_byte(uint64_t at);
char *pattern(uint64_t from, size_t size);

/* Files. */
void lab_make_folder(struct lab *lab);
char *lab_path(struct lab *lab, const char *name); /* static memory */
void lab_make_file(struct lab *lab, const char *name, uint64_t bytes);
int64_t lab_try_open(struct lab *lab, const char *path, unsigned flags);
void lab_open_file(struct lab *lab, struct berth_handle *file, const char *path, unsigned flags);
void lab_close_file(struct lab *lab, struct berth_handle *file);

/* ---- the system (lab_posix.c, lab_win.c) ---- */

uint64_t lab_clock_ms(void);
double lab_cpu_seconds(void);
void lab_sleep_ms(unsigned ms);
/* NULL: unset. */
void lab_set_environment(const char *name, const char *value);
/* Sockets, files and the like that the process has. */
unsigned lab_open_descriptors(void);

/* What a system may lack. A test that needs it is skipped there, with the reason. */
enum lab_feature {
        LAB_LIMIT,      /* of the descriptors of a process */
        LAB_REUSE_PORT, /* several listeners at one address */
        LAB_SHARED,     /* a listener that two ports wait on */
        LAB_UNIX_SOCKETS,
        LAB_LINKS,     /* symbolic ones, and FIFOs */
        LAB_RESETS,    /* that came before anybody waited for them */
        LAB_THOUSANDS, /* of connections */
        LAB_REUSE,     /* of a socket by DisconnectEx */
};
const char *lab_lacks(enum lab_feature feature);
#define lab_needs(feature)                                                                                             \
        do {                                                                                                           \
                if (lab_lacks(feature)) {                                                                              \
                        print_message("# %s: skipped, %s\n", __func__, lab_lacks(feature));                            \
                        skip();                                                                                        \
                }                                                                                                      \
        } while (0)

/* Sockets that are not a port's. A listener on loopback, or one that could; the address it got. */
int lab_plain_listener(struct sockaddr_storage *address, bool listening);
/* A connection that is reset when it is closed. */
int lab_plain_connect(const struct lab *lab);
void lab_plain_send(int descriptor, const char *data, size_t size);
int lab_plain_duplicate(int descriptor);
void lab_plain_close(int descriptor);

/* A pipe, and a byte through it. */
void lab_pipe(int pipes[2]);
void lab_pipe_write(int descriptor);
void lab_pipe_read(int descriptor);
void lab_pipe_close(int descriptor);

/* A new folder: its path, its descriptor. */
int lab_system_folder(char *path, size_t size);
void lab_remove_folder(const char *path);
void lab_make_subfolder(const char *path);
void lab_make_link(const char *target, const char *path);
void lab_make_fifo(const char *path);
void lab_write_file(const char *path, const char *data, size_t size);
void lab_cut_file(const char *path, uint64_t size);
/* What berth_open() gave: not for child processes, and blocking as a file does. Then it is closed. */
void lab_check_opened(int64_t descriptor);
/* Out of the page cache. True when it is known to be so. */
bool lab_make_cold(const struct berth_handle *file);

#endif
