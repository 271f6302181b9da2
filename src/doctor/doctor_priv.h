/* doctor, for its own files.
 *
 * How it works: machine.c looks at the machine once and makes a plan (how many connections, how much memory, which
 * engine). limits.c is a table with a row for each parameter; judge.c walks it, reads what is now (readers.c), asks the
 * row what the plan needs and leaves a finding. capacity.c is the arithmetic, cost.c its figures, symptoms.c the
 * counters of what went wrong already, print.c and json.c tell it all, change.c, apply.c and settings.c change what
 * sysctl can change. common.c has what the tables of all systems need.
 *
 * NAME_win.c stands for NAME.c on Windows. There limits_win.c and cost_win.c do no I/O and include nothing of the
 * system's: the tests run them on Linux, too.
 *
 * Tests set $BERTH_DOCTOR_ROOT to a folder that stands for /: every path that is read or written then lies beneath it.
 * There, instead of asking the kernel for a ring, the file `io_uring_setup` holds the errno that it would end with, and
 * `io_uring_direct` 0 for a kernel whose rings cannot give out descriptors.
 */
#ifndef DOCTOR_DOCTOR_PRIV_H
#define DOCTOR_DOCTOR_PRIV_H

#include "base/base.h"

#include <stdio.h>

/* Bursts are planned as one connection in a hundred at the same moment: all of them coming back within ten seconds,
 * while a program does not get to accept for a tenth of a second. */
enum {
        DOCTOR_BURST_SHARE = 100,
        DOCTOR_MAX_PORT = 65535,
        DOCTOR_PATH_BYTES = 4096,
        DOCTOR_ROWS = 40, /* at most */
        DOCTOR_SYMPTOMS = 24,
};

/* ---- the command line (options.c) ---- */

struct doctor_options {
        unsigned connections;  /* 0: not given */
        uint64_t memory_bytes; /* 0: not given */
        bool apply, undo, json, help;
};

void doctor_options_help(void);
/* 0, or -EINVAL after a line that says what is wrong. */
int doctor_options_parse(struct doctor_options *options, int argc, char **argv);

/* ---- the machine and the plan (machine.c) ---- */

enum doctor_memory_from {
        DOCTOR_MEMORY_UNKNOWN,
        DOCTOR_MEMORY_GIVEN,
        DOCTOR_MEMORY_AVAILABLE,
        DOCTOR_MEMORY_CGROUP,
        DOCTOR_MEMORY_AVAIL_PHYS,
};

struct doctor_fact {
        uint64_t value;
        int error; /* of reading; 0 or -errno */
};

/* What only Windows has (machine_win.c), in bytes. */
struct doctor_windows {
        struct doctor_fact pool;        /* the non-paged one, used now */
        struct doctor_fact commit_left; /* that the system still grants */
        struct doctor_fact least_set;   /* of the process: its least working set */
        struct doctor_fact port_count;  /* of the dynamic range */
        uint64_t first_port;
        bool client_edition;
};

enum { DOCTOR_WINDOWS_LOWEST_PORT = 1025 }; /* that the dynamic range may begin with */

struct doctor_plan {
        const char *root;   /* before every path; "" but in tests */
        const char *engine; /* for people */
        uint64_t connections;
        bool connections_given;
        enum doctor_memory_from memory_from;
        uint64_t memory_bytes;  /* to plan with; 0 when unknown */
        uint64_t machine_bytes; /* all that the machine has; 0 when unknown */
        uint64_t page_bytes;
        uint64_t processors;
        uint64_t files_used;  /* on the whole machine */
        uint64_t tracked;     /* connections in nf_conntrack */
        uint64_t ports;       /* in ip_local_port_range; the default's number when that cannot be read */
        uint64_t lowest_port; /* that ip_local_port_range may begin with */
        int tracked_error;    /* of reading that number; 0 or -errno */
        int uring_error;      /* 0: io_uring works; else the errno */
        bool direct;          /* and its sockets need no descriptors of the process's */
        bool filtered;        /* this process has a seccomp filter */
        struct doctor_windows windows;
};

/* Each connection needs a descriptor of the process's. */
static inline bool doctor_needs_descriptors(const struct doctor_plan *plan)
{
        return plan->uring_error != 0 || !plan->direct;
}

void doctor_plan_make(struct doctor_plan *plan, const struct doctor_options *options);
/* How many to plan for, when the memory is known; given: 0 for none. */
void doctor_plan_connections(struct doctor_plan *plan, uint64_t given);

/* The path beneath the plan's root, in `room`. */
const char *doctor_path(const struct doctor_plan *plan, char room[DOCTOR_PATH_BYTES], const char *format, ...)
        printf_like(3, 4);

/* The same for a sysctl: net.core.somaxconn is /proc/sys/net/core/somaxconn. */
void doctor_sysctl_path(const struct doctor_plan *plan, char room[DOCTOR_PATH_BYTES], const char *name);

/* What may still be used of the control group's memory, its droppable file cache included. 0 or -errno, -ENOENT when
 * nothing limits, -ENODATA when the control group is not known. */
int doctor_cgroup_room(const struct doctor_plan *plan, uint64_t *limit, uint64_t *room);

/* ---- the arithmetic (capacity.c, cost.c): no I/O ---- */

struct doctor_part {
        const char *what;
        uint64_t bytes; /* for each connection */
};

struct doctor_capacity {
        struct doctor_part parts[8]; /* of kernel_each */
        unsigned part_count;
        uint64_t kernel_each, user_each, fixed_bytes;
        uint64_t kernel_bytes, user_bytes, needed_bytes; /* for all connections; user_bytes has fixed_bytes in it */
        uint64_t buffer_bytes; /* when a page of data is under way on every connection; not in needed_bytes */
        uint64_t most;         /* connections that plan->memory_bytes holds */
};

/* The system's figures: the parts, user_each and fixed_bytes. */
void doctor_cost(const struct doctor_plan *plan, struct doctor_capacity *capacity);
void doctor_add_part(struct doctor_capacity *capacity, const char *what, uint64_t bytes);

struct doctor_capacity doctor_capacity_of(const struct doctor_plan *plan);
uint64_t doctor_capacity_most(const struct doctor_plan *plan, uint64_t memory_bytes);

/* Down to two digits that are not zero: 1234567 is 1200000. */
uint64_t doctor_round_down(uint64_t value);

/* Combinations of source address, destination address and destination port for that many connections, when each
 * takes half of the local ports. */
uint64_t doctor_port_sets(uint64_t connections, uint64_t ports);

/* ---- rows, and what is found (limits.c, judge.c, common.c) ---- */

enum doctor_verdict {
        DOCTOR_OK,
        DOCTOR_RAISE,
        DOCTOR_LOWER,
        DOCTOR_CHANGE,
        DOCTOR_UNKNOWN,
        DOCTOR_NOT_HERE,
};

enum doctor_role { DOCTOR_SERVER, DOCTOR_CLIENT, DOCTOR_BOTH };

/* How what is now must compare to what is needed. */
enum doctor_rule { DOCTOR_AT_LEAST, DOCTOR_AT_MOST, DOCTOR_EXACTLY };

/* MUST: without it the connections cannot be held. ADVICE: they can, but bursts, closing or memory suffer. */
enum doctor_demand {
        DOCTOR_ADVICE,
        DOCTOR_MUST,
        DOCTOR_MUST_ON_EPOLL,
        DOCTOR_MUST_WITH_DESCRIPTORS, /* where each connection needs one */
        DOCTOR_MUST_IF_TRACKED,       /* or when nobody knows */
};

struct doctor_finding {
        const struct doctor_row *row;
        int error;         /* of reading; 0 or -errno */
        uint64_t value[3]; /* what is now */
        uint64_t needed;   /* to be compared with value[row->judged] */
        uint64_t bound;    /* the most connections that the value allows; UINT64_MAX: any number */
        enum doctor_verdict verdict;
        bool must;
        char now[96], wanted[96]; /* for people, as sysctl writes them; now is empty when it cannot be read */
        char apply[96];           /* what --apply would write; empty: nothing */
        char why[640], how[320];
};

struct doctor_row {
        const char *name; /* of the setting, unless `read` knows better */
        enum doctor_role role;
        enum doctor_rule rule;
        enum doctor_demand demand;
        unsigned fields;  /* numbers in the file; 0 is 1 */
        unsigned judged;  /* which of them counts */
        bool may_be_away; /* the file's absence is no failure but "not here" */
        /* Fills value and, when that is not one number, now. 0 or -errno. NULL: the setting of that name. */
        int (*read)(const struct doctor_plan *plan, struct doctor_finding *finding);
        /* The value that the plan needs; rises with the connections where the rule is AT_LEAST. */
        uint64_t (*needed)(const struct doctor_plan *plan, const struct doctor_finding *finding);
        /* Writes what is needed, for people and for sysctl; NULL: the number. */
        void (*want)(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size);
        const char *why; /* one sentence */
        /* Puts a sentence of this machine's in place of `why`. */
        void (*explain)(const struct doctor_plan *plan, const struct doctor_finding *finding, struct text *out);
        const char *how; /* NULL: by sysctl */
};

extern const struct doctor_row doctor_rows[];
extern const unsigned doctor_row_count;

struct doctor_report {
        struct doctor_finding findings[DOCTOR_ROWS];
        unsigned count;
        enum doctor_fit { DOCTOR_FITS, DOCTOR_DOES_NOT_FIT, DOCTOR_CANNOT_TELL } fit; /* the exit status */
};

void doctor_judge(const struct doctor_plan *plan, struct doctor_report *report);
bool doctor_fails(const struct doctor_finding *finding); /* raise, lower or change */
const char *doctor_verdict_word(enum doctor_verdict verdict);
const char *doctor_role_word(enum doctor_role role);
const char *doctor_fit_word(enum doctor_fit fit);

/* The findings that bound the connections, the tightest first. Their count. */
unsigned doctor_bounds(const struct doctor_report *report, const struct doctor_finding *bounds[DOCTOR_ROWS]);

/* What rows of several systems have in common; see struct doctor_row. */
int doctor_read_memory(const struct doctor_plan *plan, struct doctor_finding *finding);
uint64_t doctor_need_memory(const struct doctor_plan *plan, const struct doctor_finding *finding);
uint64_t doctor_need_ports(const struct doctor_plan *plan, const struct doctor_finding *finding);
uint64_t doctor_need_none(const struct doctor_plan *plan, const struct doctor_finding *finding);
void doctor_want_bytes(const struct doctor_plan *plan, struct doctor_finding *finding, char *out, size_t size);
/* Descriptors for connections, and what berth needs beside them. */
uint64_t doctor_with_spare(const struct doctor_plan *plan, uint64_t descriptors);
void doctor_now_is(struct doctor_finding *finding, const char *format, ...) printf_like(2, 3);

/* Reads the setting that the row is named after: a sysctl, a value of the registry (readers.c). 0 or -errno. */
int doctor_read_setting(const struct doctor_plan *plan, struct doctor_finding *finding);

/* Readers of what is no plain sysctl. */
int doctor_read_cgroup_memory(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_cgroup_pids(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_nofile(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_memlock(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_uring(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_overcommit(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_huge_pages(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_buckets(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_tracked(const struct doctor_plan *plan, struct doctor_finding *finding);
int doctor_read_port_range(const struct doctor_plan *plan, struct doctor_finding *finding);

/* ---- symptoms (symptoms.c) ---- */

struct doctor_symptom {
        const char *name;
        const char *meaning; /* one sentence, for when it is bad */
        int error;
        uint64_t value;
        uint64_t limit; /* 0: none, any number but 0 is bad */
        bool bad;
};

unsigned doctor_symptoms(const struct doctor_plan *plan, struct doctor_symptom symptoms[DOCTOR_SYMPTOMS]);

/* ---- changing things (change.c) ---- */

/* --apply or --undo, whichever was asked for: the exit status. */
int doctor_change(const struct doctor_plan *plan, const struct doctor_options *options);

/* ---- the file in /etc/sysctl.d (settings.c: no I/O; apply.c) ---- */

#define DOCTOR_SETTINGS_FILE "/etc/sysctl.d/90-berth.conf"

struct doctor_setting {
        char name[64], value[96];
        char was[96]; /* before berth changed it; empty: not known */
        /* What this run did; not in the file. */
        bool changed;
        char from[96], to[96];
        int error; /* 0 or -errno */
};

struct doctor_settings {
        struct doctor_setting list[DOCTOR_ROWS];
        unsigned count;
};

void doctor_settings_parse(struct doctor_settings *settings, struct span content);
void doctor_settings_format(const struct doctor_settings *settings, uint64_t connections, struct text *out);
/* The setting of that name, or NULL. */
struct doctor_setting *doctor_settings_find(struct doctor_settings *settings, const char *name);
/* Takes in a change. Its `was` is `now`, unless an earlier change has left one. NULL when there is no more room. */
struct doctor_setting *doctor_settings_change(struct doctor_settings *settings, const char *name, const char *now,
                                              const char *value);

/* Both leave in *settings what they did and say on `out` what changes, unless that is NULL. 0 or -errno after a
 * complaint. */
int doctor_apply(const struct doctor_plan *plan, const struct doctor_report *report, struct doctor_settings *settings,
                 FILE *out);
int doctor_undo(const struct doctor_plan *plan, struct doctor_settings *settings, FILE *out);

/* ---- telling (print.c, json.c, words.c) ---- */

const char *doctor_memory_word(enum doctor_memory_from from);

void doctor_print(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report);
void doctor_print_conclusion(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report);
/* `settings`: what --apply or --undo did, or NULL. */
void doctor_json(FILE *out, const struct doctor_plan *plan, const struct doctor_report *report,
                 const struct doctor_settings *settings);

#endif
