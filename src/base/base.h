/* base: what every other module stands on. Spans of bytes, intrusive lists, slabs that grow by
 * segments and never move, the timer wheel, clocks, one-line messages, assertions that stay on.
 *
 * Nothing here takes locks; each object belongs to one thread unless its comment says otherwise.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* A function's format and arguments are checked; mingw knows two kinds of formats, of which this is C's. */
#ifdef __MINGW32__
#define printf_like(format_at, first) __attribute__((format(gnu_printf, format_at, first)))
#else
#define printf_like(format_at, first) __attribute__((format(printf, format_at, first)))
#endif

/* An error that not every <errno.h> has. */
#ifndef EDQUOT
#define EDQUOT 10069
#endif

/* ---- assertions: always on, in release builds too ---- */

_Noreturn void base_panic(const char *file, int line, const char *what);

/* ensure(x): x is an invariant or a caller's duty; when it is false the program stops here. */
#define ensure(x) (__builtin_expect(!(x), 0) ? base_panic(__FILE__, __LINE__, #x) : (void)0)

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define array_count(a) (sizeof(a) / sizeof((a)[0]))
#define min_of(a, b) ((a) < (b) ? (a) : (b))
#define max_of(a, b) ((a) > (b) ? (a) : (b))

/* ---- spans: bytes that belong to somebody else, not NUL-terminated ---- */

struct span {
        const char *data;
        size_t size;
};

#define SPAN(literal) ((struct span){ "" literal, sizeof(literal) - 1 })

static inline struct span span_of(const char *string)
{
        return (struct span){ string, strlen(string) };
}

static inline bool span_equal(struct span a, struct span b)
{
        return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* ASCII letters compare without case (RFC 9110 5.1: field names; 8.3: media types). */
bool span_equal_nocase(struct span a, struct span b);

/* Without leading and trailing SP and HTAB (RFC 9110 5.6.3: OWS). */
struct span span_trim(struct span s);

/* Cuts *rest at the first `separator`: returns what stood before it and moves *rest behind it.
 * With no separator left, returns all of *rest and leaves it {NULL, 0}. */
struct span span_cut(struct span *rest, char separator);

/* Where `what`, which is not empty, stands in s first; NULL: it does not. */
const char *span_find(struct span s, struct span what);

/* ---- text: a bounded writer; what does not fit is dropped and remembered ---- */

struct text {
        char *data;
        size_t size; /* bytes of room */
        size_t used;
        bool overflow; /* something did not fit; used never passes size */
};

static inline struct text text_in(void *data, size_t size)
{
        return (struct text){ .data = data, .size = size };
}

void text_put(struct text *t, struct span s);
void text_char(struct text *t, char c);
void text_decimal(struct text *t, uint64_t value);
void text_format(struct text *t, const char *format, ...) printf_like(2, 3);

/* What stands for an ASCII character, or {NULL, 0}: itself. `room` may be written to. */
typedef struct span text_escape_fn(char c, char room[6]);

/* Puts s, characters as `escape` wants them. `size_of` tells the bytes of the character that a span starts with, 0 when
 * it is none: then its first byte becomes U+FFFD. utf8_size() is one (utf8.c). */
void text_escape(struct text *t, struct span s, size_t (*size_of)(struct span s), text_escape_fn *escape);
size_t utf8_size(struct span s);

/* ---- bytes that are written as text (decode.c) ---- */

/* The value of a hexadecimal digit, -1 for any other byte. */
static inline int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 4648 4: whole groups of four, '=' at the end only, no white space. Returns the bytes, at most `room`, or -1. */
int base64_decode(void *out, size_t room, struct span s);
void base64_put(struct text *out, struct span bytes);

/* ---- numbers as people read them (text.c) ---- */

struct figure {
        char text[32]; /* NUL-terminated */
};

struct figure figure_count(uint64_t value); /* 1,000,000 */
struct figure figure_size(uint64_t bytes);  /* 3.9 GiB */

/* ---- lists: doubly linked, circular, the head is a node ---- */

struct list {
        struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
        head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
        return head->next == head;
}

static inline void list_append(struct list *head, struct list *node)
{
        node->prev = head->prev;
        node->next = head;
        head->prev->next = node;
        head->prev = node;
}

/* The node may be removed again without harm. */
static inline void list_remove(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}

/* ---- memory in whole pages, zeroed (memory.c) ---- */

void *memory_map(size_t bytes); /* NULL: there is none */
/* A power of two, aligned to itself. */
void *memory_map_aligned(size_t bytes);
void memory_unmap(void *memory, size_t bytes);
/* The system may have the pages back until they are written to again; what stands in them is lost. */
void memory_forget(void *memory, size_t bytes);

/* ---- slab: objects of one size in segments that never move, with a hard cap ---- */

struct slab {
        size_t object_bytes; /* rounded up to 8 */
        size_t segment_bytes;
        uint32_t segment_objects;
        uint32_t limit; /* objects at most */
        uint32_t used;  /* objects handed out */
        uint32_t peak;  /* the most there were since the last trim */
        uint32_t segment_count;
        struct list partial, full, empty; /* segments */
};

/* Objects of `object_bytes`, at least `segment_objects` to a segment, at most `limit` in all. Allocates nothing yet;
 * the slab itself must not be moved. 0. */
int slab_init(struct slab *slab, size_t object_bytes, uint32_t segment_objects, uint32_t limit);

/* Frees every segment; all objects must have been given back. A zeroed slab is fine. */
void slab_finish(struct slab *slab);

/* An object with undefined content, aligned to 64 when its size is a multiple of 64;
 * NULL at the limit or without memory. O(1). */
void *slab_take(struct slab *slab);
void slab_give(struct slab *slab, void *object);

/* Gives empty segments back to the system, but for what was needed since the last trim. Meant for once a second. */
void slab_trim(struct slab *slab);

/* The memory that its segments span; pages not touched yet included. */
size_t slab_bytes(const struct slab *slab);

/* ---- the timer wheel: start and cancel in O(1), one tick is 1 ms ----
 *
 * Hierarchical (Varghese & Lauck 1987, scheme 6): five levels of 64 slots reach 2^30 - 2^24
 * ms, about twelve days; a later deadline is clamped to that. A timer fires at or after its deadline, never
 * before. Embed `struct wheel_timer`; a zeroed one is idle. */

enum { WHEEL_LEVELS = 5, WHEEL_SLOTS = 64 };

struct wheel_timer {
        struct wheel_timer *next, **link; /* link == NULL: idle */
        uint64_t deadline_ms;
};

struct wheel {
        uint64_t now_ms; /* everything at or before has been collected */
        uint32_t count;  /* timers running */
        uint64_t occupied[WHEEL_LEVELS];
        struct wheel_timer *slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now_ms);
void wheel_start(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms);
/* An idle timer may be cancelled without harm. */
void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer);

static inline bool wheel_running(const struct wheel_timer *timer)
{
        return timer->link != NULL;
}

/* Moves the wheel to now_ms and takes out one timer that is due; NULL when none is left.
 * Call until NULL. Timers of different milliseconds come in order. */
struct wheel_timer *wheel_expire(struct wheel *wheel, uint64_t now_ms);

/* Milliseconds from now_ms until wheel_expire should next be called (a lower bound of the earliest
 * deadline), 0 when something is due, -1 when no timer runs. */
int64_t wheel_next_ms(const struct wheel *wheel, uint64_t now_ms);

/* ---- what the kernel takes ---- */

/* Memory of the kernel for one end of an idle TCP connection, for planning. On Linux 6.18 its slab caches hold, the
 * waste at the ends of their pages included, 2,521 bytes for the socket, 862 for its inode, 192 each for file and
 * directory entry, and 256 for the wait of io_uring (200 for that of epoll): 4,023. The rest is reserve, so that a
 * newer kernel's slightly larger socket does not make the answer wrong. Windows' figure is explained in doctor/cost_win.c;
 * doctor reckons with it on any system when it is tested. */
enum { LINUX_CONNECTION_BYTES = 4200, WINDOWS_CONNECTION_BYTES = 9000 };

/* ---- what the kernel tells of itself in files (proc.c) ----
 *
 * For limits and counters, not for hot paths. Results are 0 or -errno: -ENOENT when the file or the name in it is not
 * there, -EINVAL when what stands there is no number. */

/* The whole of a small file, NUL-terminated, cut at size - 1. Bytes read, or -errno. */
int proc_read(const char *path, char *out, size_t size);

/* The first, second, ... (field 0, 1, ...) number of a file of numbers: "4096", "4096\t131072\t6291456". "max" is
 * UINT64_MAX. */
int proc_number(const char *path, unsigned field, uint64_t *value);

/* /proc/net/netstat and /proc/net/snmp: two lines a group, names and values ("TcpExt:", "ListenOverflows"). */
int proc_net_counter(const char *path, const char *group, const char *name, uint64_t *value);

/* /proc/net/sockstat: a line a group, "TCP: inuse 5 orphan 0 tw 3 alloc 7 mem 1" ("TCP:", "orphan"). Also
 * /proc/meminfo: "MemAvailable:" with name NULL, in the file's own unit (KiB). */
int proc_line_value(const char *path, const char *group, const char *name, uint64_t *value);

struct proc_cgroup {
        uint64_t limit, used;
        char folder[4096]; /* of the group that has this limit */
};

/* What this process's control group may have and has of "memory" (bytes, without cached files, which the kernel drops
 * when it needs room) or "pids" (tasks): of the groups on the path upward the one with the least room left, in version
 * 2 or 1 of cgroups. `root` goes before every path: "" but in tests. -ENOENT when none limits; -ENODATA when there is
 * no /proc/self/cgroup, so that nobody knows; another -errno when a file is there and cannot be read. */
int proc_cgroup(const char *root, const char *controller, struct proc_cgroup *out);

/* The same for memory. */
int proc_cgroup_memory(const char *root, uint64_t *limit, uint64_t *used);

/* Memory that nobody uses, in bytes: MemAvailable, or what is left to the control group where that is less (*grouped;
 * may be NULL). UINT64_MAX when neither can be known. */
uint64_t proc_free_memory(const char *root, bool *grouped);

/* ---- clocks ---- */

uint64_t clock_ms(void); /* monotonic, since some start */
uint64_t clock_us(void);
struct timespec clock_after_ms(unsigned ms); /* on CLOCK_MONOTONIC: how long a wait may take */
int64_t clock_unix_seconds(void);            /* wall clock */
/* Minutes by which the local time of `at` (of which `local` is the local form) is ahead of UTC. */
int clock_zone_minutes(time_t at, const struct tm *local);

/* ---- names of files (fold.c) ---- */

/* Paths that the system takes for one have one form: it is in `room`, or `path` itself where only a path that is the same
 * byte by byte is the same. {NULL, 0}: no file has that path, or there is no room. PATH_FOLD_BYTES do for a path of
 * 4,095 bytes. */
enum { PATH_FOLD_BYTES = 3 * 4096 };
struct span path_fold(struct span path, char *room, size_t size);

/* ---- the machine (machine.c) ---- */

unsigned machine_cores(void);             /* that this process may use */
uint32_t machine_connection_bytes(void);  /* of the above, this system's */
uint32_t machine_raise_descriptors(void); /* raises the limit as far as it goes, and says it */
uint64_t machine_files(void);             /* that the system lets be opened more; UINT64_MAX: nobody knows */
uint64_t machine_backlog(void);           /* connections that it lets a listener keep; UINT64_MAX: any number */
void machine_sleep_ms(unsigned ms);
const char *machine_port_denied(void); /* why a port may be refused with EACCES (ports.c) */
/* The ports that outgoing connections are given (ports.c). 0, or -errno when that cannot be read. */
int machine_ports(uint64_t *first, uint64_t *count);
/* The same out of what Windows' netsh prints (netsh_win.c): 0, -ENODATA when it does not stand there, -EINVAL when it is
 * none. No I/O. */
int netsh_parse_ports(struct span text, uint64_t *first, uint64_t *count);

/* ---- what people tell the process (signals.c) ---- */

enum told { TOLD_NOTHING, TOLD_END, TOLD_RELOAD };

/* Once, before there are threads: from now on signals_wait() alone hears of SIGINT and SIGTERM, on Windows Ctrl-C and
 * the like (TOLD_END), and of SIGHUP if `reload`. */
void signals_take(bool reload);
/* -1: for as long as it takes. TOLD_NOTHING: the time is up, or signals_wake() was called. */
enum told signals_wait(int timeout_ms);
void signals_wake(void); /* from any thread */

/* ---- files of the program itself (plain.c); paths are UTF-8 on Windows, and of any length ---- */

enum plain_use {
        PLAIN_READ,
        PLAIN_APPEND,  /* a log, which not everybody may read */
        PLAIN_REPLACE, /* what was in it is gone */
};

/* A descriptor of the C library's, for read(), fstat() and close(), or -errno. Nobody waits for a FIFO's other end. */
int plain_open(const char *path, enum plain_use use);
int plain_standard_output(void); /* a copy, or -errno */
/* What stands behind `descriptor` becomes that behind `fresh`, which is closed. 0 or -errno. */
int plain_put_in_place(int fresh, int descriptor);
bool plain_is_public(int descriptor); /* everybody on this machine may read it */
/* All of it; what cannot be written is lost. */
void plain_write_all(int descriptor, const char *data, size_t size);

/* A folder's descriptor as libberth has them, or -errno. */
int plain_open_folder(const char *path);
void plain_close_folder(int descriptor);
enum { FOLDER_NAME_BYTES = 4096 };
/* Its whole name, for people. */
void plain_folder_name(const char *path, char *out, size_t size);

/* ---- one-line messages for people, on stderr, prefixed "berth: "; thread-safe ----
 * For programs only: libberth never calls them. */

void say(const char *format, ...) printf_like(1, 2);
void say_quiet(bool quiet); /* true: say() prints nothing; complain() still does */
void complain(const char *format, ...) printf_like(1, 2);
const char *error_text(int error); /* of <errno.h>, in words (errors.c) */
const char *error_name(int error); /* "ENOENT"; NULL: it has none */

/* ---- command-line options (option.c) ---- */

/* A help text, to standard output. Its lines that begin with "@linux " or "@windows " are that system's alone. */
void option_help(const char *text);

/* All give 0, or -EINVAL after complaining that --`option` wants something else. */

/* A whole number within bounds. */
int option_number(const char *option, const char *text, unsigned least, unsigned most, unsigned *out);
/* Bytes, with K, M, G or T for their binary multiples. */
int option_size(const char *option, const char *text, uint64_t least, uint64_t *out);
/* One of the words; its index. */
int option_word(const char *option, const char *text, const char *const *words, unsigned count);

/* ---- hashing and randomness for tables and simulation, not for secrets ---- */

/* Random bytes of the system's; false when it has none to give. */
bool entropy(void *out, size_t size);

/* Keyed by a per-process random seed so that nobody outside can choose colliding names. */
uint64_t hash_bytes(const void *data, size_t size);

struct random {
        uint64_t state;
};
uint64_t random_next(struct random *random);                  /* splitmix64 */
uint32_t random_below(struct random *random, uint32_t bound); /* 0 .. bound-1; bound > 0 */

#endif
