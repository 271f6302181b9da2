/* The arithmetic of memory: what each thing costs, how many there may be, and what that comes to. Every pool is made
 * with the number found here, so the sum is a bound and not a guess. docs/internals/budget.md explains it.
 */
#include "serve/change.h"

#include <errno.h>

enum {
        MIB = 1 << 20,
        DEFAULT_CONNECTIONS = 1000000,
        DEFAULT_SENDS = 65536,
        DEFAULT_COPIES = 4096, /* the same where each has a buffer */
        REQUESTS_PER_SHARD = 4096,
        LISTINGS_PER_SHARD = 32,
        LONG_HEADS_PER_SHARD = 256,
        CHANGES_PER_SHARD = 256,
        BLOCKS_PER_SHARD = 40,
        CHANGE_BYTES = sizeof(struct change) + FAILURES_BYTES + XML_BYTES,
        FILES_PER_SHARD = 1024,
        CONTENT_PER_SHARD = 16 * MIB,
        FIXED_PER_SHARD = 3 * MIB / 2, /* the port, the log's buffers, the stack, the store's tables */
        FIXED_BYTES = 8 * MIB,         /* the program itself, libraries, worker threads, types */
        LISTING_BYTES = STORE_LIST_BATCH_BYTES + (128 << 10),
        RING_BYTES = 160 << 10,     /* of io_uring, with its queues */
        FILE_BYTES = 1280,          /* a known file with its path and the kernel's share of ours */
        RESERVED_DESCRIPTORS = 256, /* for files being opened, the log, the threads' own */
        BACKLOG_PART = 32,          /* of a control group's memory, all backlogs together */
        LEAST_BACKLOG = 16,
};

uint32_t budget_share(uint32_t whole, unsigned index, unsigned shards)
{
        return whole / shards + (index < whole % shards);
}

uint32_t budget_backlog(uint32_t wanted, uint64_t room_bytes, uint32_t queues)
{
        uint64_t most = room_bytes / BACKLOG_PART / machine_connection_bytes() / queues;
        return (uint32_t)min_of((uint64_t)wanted, max_of(most, (uint64_t)LEAST_BACKLOG));
}

/* ---- what it comes to ---- */

/* Those known, or as many different ones as are being sent: each has a descriptor. */
static uint64_t open_files(const struct budget *budget)
{
        uint64_t sent = min_of((uint64_t)budget->sends + budget->requests, (uint64_t)budget->descriptors);
        return max_of(sent, (uint64_t)budget->files);
}

static uint64_t cost(const struct budget *budget, const struct serve_options *options, unsigned shards)
{
        uint64_t connection = sizeof(struct conn) + (options->per_address ? 32 : 0);
        uint64_t shard = FIXED_PER_SHARD + (uint64_t)BUFFER_COUNT * BUFFER_BYTES + options->access_bytes;
        return FIXED_BYTES + shards * shard + budget->connections * connection +
               (uint64_t)budget->active * sizeof(struct active) + (uint64_t)budget->requests * sizeof(struct request) +
               budget->sends * (sizeof(struct download) + budget->file_bytes) +
               (uint64_t)budget->listings * LISTING_BYTES + (uint64_t)budget->long_heads * options->limits.head_bytes +
               (uint64_t)budget->changes * CHANGE_BYTES + (uint64_t)budget->blocks * BLOCK_BYTES +
               open_files(budget) * FILE_BYTES + budget->content_bytes + budget->folder_bytes +
               (uint64_t)budget->rings * RING_BYTES;
}

/* Connections that are not at rest: no more than there are, nor more than there can be in each of these states. */
static uint32_t active_of(const struct budget *budget, unsigned shards)
{
        uint64_t states = (uint64_t)budget->requests + budget->sends +
                          (uint64_t)shards * (HOT_LIMIT + MAX_LINGERING + MAX_ENDING);
        return (uint32_t)min_of(states, (uint64_t)budget->connections);
}

static void add_up(struct budget *budget, const struct serve_options *options, unsigned shards)
{
        budget->active = active_of(budget, shards);
        if (budget->direct) /* a quarter of each ring's table may stay free */
                budget->rings = (uint32_t)((uint64_t)budget->connections * 4 / 3 / max_of(budget->descriptors, 1u)) +
                                shards;
        budget->memory_bytes = cost(budget, options, shards);
        budget->kernel_bytes = (uint64_t)budget->connections * machine_connection_bytes();
}

/* ---- --memory: what was not asked for by number gets less ---- */

struct shrinkable {
        uint32_t *value;
        uint32_t least;
};

/* True when something could be made smaller. */
static bool shrink(struct shrinkable *things, size_t count)
{
        bool any = false;
        for (size_t i = 0; i < count; i++) {
                uint32_t less = max_of(*things[i].value / 4 * 3, things[i].least);
                any |= less < *things[i].value;
                *things[i].value = min_of(*things[i].value, less);
        }
        return any;
}

/* Makes less of what was not asked for by number. Connections without --memory are cut by the kernel's memory alone. */
static bool fit(struct budget *budget, const struct serve_options *options, uint64_t most, unsigned shards)
{
        bool keep = options->connections || !options->memory;
        uint32_t content_pages = (uint32_t)(budget->content_bytes >> 12);
        struct shrinkable things[] = {
                { &budget->folder_bytes, 0 },
                { &content_pages, shards << 6 },
                { &budget->listings, shards },
                { &budget->long_heads, 8 * shards },
                { &budget->changes, 8 * shards },
                { &budget->blocks, 0 },
                { &budget->files, 64 * shards },
                { &budget->requests, options->requests ? budget->requests : 64 * shards },
                { &budget->sends, options->sends ? budget->sends : 64 * shards },
                { &budget->connections, keep ? budget->connections : 256 * shards },
        };
        while (budget->memory_bytes > most && shrink(things, array_count(things))) {
                budget->content_bytes = (uint64_t)content_pages << 12;
                add_up(budget, options, shards);
        }
        return budget->memory_bytes <= most;
}

/* Without --memory the bound is what there is, less the kernel's part; where that is too little it is only told. */
static int check_memory(struct budget *budget, const struct serve_options *options, const struct limits *limits,
                        unsigned shards)
{
        uint64_t kernel = min_of(budget->kernel_bytes, limits->memory_bytes / 4 * 3);
        uint64_t most = options->memory ? options->memory : limits->memory_bytes - kernel;
        if (budget->memory_bytes <= most || fit(budget, options, most, shards))
                return 0;
        complain("%s%u threads with %u connections, %u requests and %u downloads need at least %llu MiB",
                 options->memory ? "--memory: " : "too little memory: ", shards, budget->connections, budget->requests,
                 budget->sends, (unsigned long long)(budget->memory_bytes + MIB - 1) / MIB);
        return options->memory ? -EINVAL : 0;
}

/* ---- --connections ---- */

/* Where each socket needs one of the process's descriptors, files and listeners need some, too. */
static uint32_t descriptors_left(const struct limits *limits, unsigned shards)
{
        uint32_t reserved = min_of(RESERVED_DESCRIPTORS + shards * (FILES_PER_SHARD + 64), limits->descriptors / 2);
        return limits->descriptors - reserved;
}

static bool is_plain(const struct limits *limits)
{
        return limits->sockets <= limits->descriptors;
}

static uint64_t most_sockets(const struct limits *limits, unsigned shards)
{
        return is_plain(limits) ? limits->sockets : (uint64_t)limits->sockets * shards;
}

/* What the limits allow: sockets, open files of the system, half of the memory. */
static uint32_t allowed(const struct limits *limits, unsigned shards)
{
        uint64_t most = is_plain(limits) ? descriptors_left(limits, shards) : most_sockets(limits, shards);
        most = min_of(most, (uint64_t)DEFAULT_CONNECTIONS);
        most = min_of(most, limits->files / 10 * 9);
        most = min_of(most, limits->memory_bytes / 2 / (machine_connection_bytes() + sizeof(struct conn)));
        return (uint32_t)max_of(most, (uint64_t)shards);
}

static int check_connections(const struct serve_options *options, const struct limits *limits, unsigned shards)
{
        uint64_t bytes = (uint64_t)options->connections * (machine_connection_bytes() + sizeof(struct conn));
        uint64_t most = most_sockets(limits, shards);
        if (options->connections > most) {
                complain("--connections %u: with %u descriptors for this process (RLIMIT_NOFILE) there can be %llu; "
                         "raise "
                         "that%s",
                         options->connections, limits->descriptors, (unsigned long long)most,
                         is_plain(limits) ? ", or use io_uring on Linux 6.8 or later, where connections need none"
                                          : "");
                return -EINVAL;
        }
        if (bytes > limits->memory_bytes)
                complain("--connections %u: when all are open they take %llu MiB of the kernel's memory, and %llu MiB "
                         "are "
                         "available (see berth doctor)",
                         options->connections, (unsigned long long)bytes / MIB,
                         (unsigned long long)limits->memory_bytes / MIB);
        return 0;
}

int budget_make(struct budget *budget, const struct serve_options *options, const struct limits *limits,
                unsigned shards)
{
        int error = check_connections(options, limits, shards);
        if (error)
                return error;
        bool plain = is_plain(limits);
        uint32_t files = plain ? (limits->descriptors - descriptors_left(limits, shards)) / 2 : limits->descriptors / 4;
        *budget = (struct budget){
                .connections = options->connections ? options->connections : allowed(limits, shards),
                .requests = options->requests ? options->requests : REQUESTS_PER_SHARD * shards,
                .sends = options->sends       ? options->sends
                         : limits->file_bytes ? DEFAULT_COPIES
                                              : DEFAULT_SENDS,
                .listings = LISTINGS_PER_SHARD * shards,
                .long_heads = LONG_HEADS_PER_SHARD * shards,
                .changes = CHANGES_PER_SHARD * shards,
                .blocks = options->writable ? BLOCKS_PER_SHARD * shards : 0,
                .files = max_of(min_of(files, FILES_PER_SHARD * shards), 16 * shards),
                .content_bytes = (uint64_t)CONTENT_PER_SHARD * shards,
                .folder_bytes = STORE_SNAPSHOT_BYTES,
                .descriptors = limits->descriptors,
                .direct = !plain,
                .file_bytes = limits->file_bytes,
        };
        add_up(budget, options, shards);
        return check_memory(budget, options, limits, shards);
}
