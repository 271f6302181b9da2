/* The whole server on the simulator: one shard, and a crowd of clients on the same port.
 *
 *     crowd [--seeds FROM-TO] [--faults N]         many runs; the first that fails is printed with what replays it
 *     crowd --seed N [--faults N] [--trace]        one run, with each event printed
 *
 * A run has bounds, time-outs, faults of the kernel and clients by chance. In a third of them nothing is refused and
 * everybody must get everything; in others bounds are hit, records lack memory, the kernel refuses, cuts short and
 * resets. Checked: every byte of every answer; that what ends early is a permitted end; the bounds; that a server whose
 * clients are gone holds nothing, and serves the next one; that the end comes in time with clients in every state.
 * Time is the simulator's, so that nobody waits for a time-out.
 */
#include "crowd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
        HANG_MS = 400 * 1000, /* without anybody getting any further */
        GONE_MS = 20 * 1000,  /* for connections to go whose clients have gone */
        END_MS = 20 * 1000,   /* for the end, when the grace is over */
        PROBES = 3000,
        MANY_CALLS = 4096,
};

struct run run;

static struct server server;
static struct shard shard;
static struct berth_workers *workers[2]; /* few, many */
static struct slab *const slabs[] = { &shard.conns, &shard.actives, &shard.requests, &shard.downloads };
static uint32_t limits[array_count(slabs)];
static const char *program;
static int forced_faults = -1;
static struct {
        uint64_t sessions, answers, broken, refusals[REFUSAL_COUNT];
} total;
static char log_path[80];

/* ---- failing, tracing, chance ---- */

static void print_replay(void)
{
        fflush(stdout);
        fprintf(stderr, "# seed %llu failed; replay: %s --seed %llu", (unsigned long long)run.seed, program,
                (unsigned long long)run.seed);
        if (forced_faults >= 0)
                fprintf(stderr, " --faults %d", forced_faults);
        fprintf(stderr, " --trace\n");
}

void __asan_on_error(void);
void __asan_on_error(void)
{
        print_replay();
}

void __ubsan_on_report(void);
void __ubsan_on_report(void)
{
        print_replay();
}

static void on_abort(int signal_number)
{
        (void)signal_number;
        print_replay();
}

_Noreturn void failed(const char *file, int line, const char *what)
{
        fflush(stdout);
        fprintf(stderr, "# %s:%d: %s\n", file, line, what);
        print_replay();
        site_remove();
        _exit(1);
}

void note(const char *what, unsigned who, int64_t value)
{
        uint64_t words[] = { (uint64_t)what[0] << 8 | (uint64_t)what[1], who, (uint64_t)value, run_now_ms() };
        for (size_t i = 0; i < array_count(words); i++)
                run.hash = (run.hash ^ words[i]) * 0x100000001b3u;
        if (run.trace)
                printf("%8llu ms  %-10s %3u  %lld\n", (unsigned long long)words[3], what, who, (long long)value);
}

uint32_t chance(uint32_t bound)
{
        return random_below(&run.chance, max_of(bound, 1u));
}

uint64_t run_now_ms(void)
{
        return berth_port_now_ms(shard.port);
}

void run_progress(void)
{
        run.progress_ms = run_now_ms();
}

/* ---- memory ---- */

/* Linked in place of the real one: what the group of this process may have is nothing that follows from a seed. */
__typeof__(proc_cgroup_memory) __wrap_proc_cgroup_memory;
int __wrap_proc_cgroup_memory(const char *root, uint64_t *limit, uint64_t *used)
{
        (void)root;
        *limit = 1 << 30;
        *used = run.group_full ? *limit : 0;
        return 0;
}

static void restore_memory(void)
{
        for (size_t i = 0; i < array_count(slabs); i++)
                slabs[i]->limit = limits[i];
        run.group_full = false;
}

/* Now and then there is no memory for another record of some kind, and then there is again. */
static void change_memory(void)
{
        if (chance(40) > 0)
                return;
        if (chance(2)) {
                restore_memory();
                return;
        }
        unsigned which = chance(array_count(slabs) + 1);
        note("memory", which, 0);
        if (which < array_count(slabs)) /* an active at least: a slab keeps the memory of a few */
                slabs[which]->limit = max_of(slabs[which]->used, (uint32_t)(slabs[which] == &shard.actives));
        else
                run.group_full = true;
}

/* ---- what a run is like ---- */

static uint32_t bound(uint32_t plenty)
{
        if (run.least)
                return 1;
        return run.tight && chance(2) ? 1 + chance(run.client_count) : plenty;
}

static void choose_bounds(void)
{
        struct budget *budget = &server.budget;
        uint32_t plenty = 64 + 8 * run.client_count;
        uint32_t connections = run.tight ? run.client_count + bound(plenty) : plenty;
        static const uint64_t content[] = { 0, 20000, 1 << 20 };
        *budget = (struct budget){
                .connections = connections,
                .requests = bound(plenty),
                .sends = bound(plenty),
                .listings = bound(plenty),
                .long_heads = bound(plenty),
                .files = chance(2) ? 1 + chance(8) : 64,
                .active = min_of(bound(connections), connections),
                .content_bytes = content[chance(array_count(content))],
        };
}

static void choose_options(void)
{
        static const unsigned idle[] = { 6, 20, 75 }, head[] = { 5, 15, 30 };
        server.options = (struct serve_options){
                .engine = "sim",
                .links = true,
                .listing = true,
                .precompressed = chance(2),
                .limits = { .line_bytes = 8192, .head_bytes = 32768 },
                .grace_seconds = chance(2) ? 5 : 30,
                .backlog = chance(2) ? 4096 : 1 + chance(8),
                .idle_seconds = idle[chance(array_count(idle))],
                .head_seconds = head[chance(array_count(head))],
                .body_rate = chance(2) ? 500 : 0,
                .per_address = chance(4) ? 0 : bound(1000),
        };
        run.unit_ms = min_of(server.options.idle_seconds, server.options.head_seconds) * 1000;
        run.unit_ms = min_of(run.unit_ms, BODY_SECONDS * 1000ull);
}

static void choose(void)
{
        static const unsigned faults[] = { 0, 0, 0, 2, 10, 40 };
        run.faults = forced_faults >= 0 ? (unsigned)forced_faults : faults[chance(array_count(faults))];
        run.tight = chance(2);
        run.least = run.tight && chance(6) == 0;
        run.dearth = run.tight && chance(3) == 0;
        run.strict = !run.tight && !run.faults;
        run.client_count = chance(40) ? 1 + chance(20) : MOST_CLIENTS / 2 + chance(MOST_CLIENTS / 2);
        run.ending = chance(2) ? ENDS_QUIETLY : chance(ENDINGS);
        run.drain_after = 1 + chance(400 * run.client_count);
        choose_bounds();
        choose_options();
}

/* ---- beginning ---- */

static void start_server(void)
{
        struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct listener_spec *spec = &server.listeners.specs[0];
        memcpy(&spec->address, &loopback, sizeof(loopback));
        spec->address_bytes = sizeof(loopback);
        spec->descriptor = spec->bound = -1;
        server.listeners.count = 1;
        server.log.descriptor = chance(2) ? -1
                                          : open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
        server.log.format = chance(2) ? LOG_JSON : LOG_COMBINED;
        server.workers = workers[!run.tight];
        server.root = site.root;
        server.planned_shards = server.shard_count = 1;
        server.shards[0] = &shard;
        pthread_mutex_init(&server.messages, NULL);
        if (server.options.per_address)
                check(addresses_create(&server.addresses, server.budget.connections) == 0);
        shard.server = &server;
        shard.seed = run.seed;
        shard.fault_per_mille = run.faults;
        check(shard_start(&shard) == 0);
        check(berth_listen_address(shard.port, &shard.listeners[0].socket, &run.address) == 0);
        for (size_t i = 0; i < array_count(slabs); i++)
                limits[i] = slabs[i]->limit;
}

static void start_run(uint64_t seed, bool trace)
{
        static struct client clients[MOST_CLIENTS];
        memset(&run, 0, sizeof(run));
        memset(&server, 0, sizeof(server));
        memset(&shard, 0, sizeof(shard));
        run = (struct run){
                .seed = seed,
                .chance.state = ~seed,
                .trace = trace,
                .server = &server,
                .shard = &shard,
                .clients = clients,
        };
        choose();
        start_server();
        note("faults", run.tight, run.faults);
        note("head, idle", server.options.head_seconds, server.options.idle_seconds);
}

/* ---- draining ---- */

static void tell(enum shard_message message)
{
        note("told", message, 0);
        berth_post(shard.port, &shard.messages[message], message);
        if (!run.draining) {
                run.draining = true;
                run.drain_ms = run_now_ms();
                run.cut_ms = run.drain_ms + server.options.grace_seconds * 1000;
        }
        if (message == SHARD_END)
                run.cut_ms = run_now_ms();
}

static void maybe_drain(void)
{
        if (!run.draining && run.ending != ENDS_QUIETLY && run.turns == run.drain_after) {
                tell(run.ending == ENDS_AT_ONCE ? SHARD_END : SHARD_DRAIN);
        } else if (run.draining && run.ending == DRAINS_THEN_ENDS && !run.cut && chance(200) == 0) {
                tell(SHARD_END);
        }
        if (!run.draining)
                return;
        run.cut = run_now_ms() + 1500 >= run.cut_ms; /* the server counts whole seconds */
        check(shard.ended || run_now_ms() < run.cut_ms + END_MS);
}

/* ---- turns ---- */

static void turn(void)
{
        struct idle before = audit_idle(&shard);
        run.turns++;
        if (shard.ended)
                check(berth_port_run(shard.port, 1000) >= 0);
        else
                shard_turn(&shard, 1000);
        audit_shed(&shard, &before);
        audit_turn(&shard);
        if (run.turns % 8 == 0)
                audit_lists(&shard);
        check(run_now_ms() < run.progress_ms + HANG_MS);
}

static void run_crowd(void)
{
        run.clients_left = run.client_count;
        for (unsigned i = 0; i < run.client_count; i++) {
                client_start(&run.clients[i], i, 1 + chance(4));
                for (unsigned n = chance(20); n > 0; n--)
                        turn();
        }
        while (run.clients_left > 0) {
                if (run.dearth)
                        change_memory();
                maybe_drain();
                turn();
        }
        restore_memory();
}

/* Their clients are gone, so they go. */
static void see_them_go(void)
{
        uint64_t until = run_now_ms() + GONE_MS;
        while (shard.conns.used > 0) {
                check(run_now_ms() < until);
                turn();
        }
        audit_lists(&shard);
        if (!shard.ended)
                audit_empty(&shard);
}

/* Whatever has been refused: the next one is served. */
static void serve_one_more(void)
{
        run.clients_left = 1;
        run.tight |= run.faults > 0;
        client_start(&run.clients[0], 0, 0);
        uint64_t before = run.sessions;
        while (run.clients_left > 0) {
                turn();
                check(run.sessions < before + PROBES);
        }
        see_them_go();
}

static void end_server(void)
{
        if (!run.draining)
                tell(SHARD_DRAIN);
        uint64_t until = run_now_ms() + END_MS;
        while (!shard.ended || berth_port_in_flight(shard.port) > 0) {
                check(run_now_ms() < until);
                turn();
        }
        audit_empty(&shard);
        check(!shard.store);
        shard_stop(&shard);
}

/* ---- what was counted ---- */

static uint64_t requests_counted(unsigned status)
{
        uint64_t sum = 0;
        for (unsigned method = 0; method < HTTP_METHODS; method++)
                sum += count_of(&shard.counters.requests[method][status]);
        return sum;
}

static uint64_t lines_logged(void)
{
        uint64_t lines = 0;
        FILE *file = fopen(log_path, "r");
        check(file);
        for (int c; (c = getc(file)) != EOF;)
                lines += c == '\n';
        fclose(file);
        return lines;
}

static uint64_t refusals(enum refusal_reason reason)
{
        return count_of(&shard.counters.refusals[reason]);
}

/* Answers to what was no request yet, since its head had not come whole, are only counted as refusals. */
static uint64_t answered_early(unsigned status)
{
        return status == 408 ? refusals(LATE_HEAD) : status == 503 ? refusals(REFUSED_HEADS) : 0;
}

/* What clients have seen, the server has counted, and where all was seen, no more. */
static void compare_counts(void)
{
        bool all = run.strict && run.unjudged == 0 && run.ending == ENDS_QUIETLY;
        uint64_t sum = 0;
        for (unsigned status = 1; status < STATUS_COUNT; status++) {
                uint64_t counted = requests_counted(status), seen = run.statuses[status];
                if (run.trace && (counted || seen))
                        printf("%u: %llu counted, %llu seen\n", status, (unsigned long long)counted,
                               (unsigned long long)seen);
                check(counted + answered_early(status) >= seen);
                check(!all || counted <= seen);
                sum += counted;
        }
        check(refusals(REFUSED_ADDRESS) + refusals(REFUSED_REQUESTS) >= run.statuses[0]);
        check(count_of(&shard.counters.accepted) <= run.connected);
        if (server.log.descriptor >= 0)
                check(lines_logged() == sum);
}

/* Everybody has left: one of a single address may come again. */
static void see_addresses(void)
{
        const struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        if (server.addresses)
                check(addresses_enter(server.addresses, (const struct sockaddr *)&loopback, 1) != 0);
        addresses_destroy(server.addresses);
}

static void add_up(void)
{
        total.sessions += run.sessions;
        total.answers += run.answers;
        total.broken += run.broken;
        for (unsigned i = 0; i < REFUSAL_COUNT; i++)
                total.refusals[i] += refusals(i);
}

/* Returns the hash of all events. */
static uint64_t run_seed(uint64_t seed, bool trace)
{
        start_run(seed, trace);
        run_crowd();
        see_them_go();
        if (!run.draining)
                serve_one_more();
        end_server();
        compare_counts();
        see_addresses();
        add_up();
        log_close(&server.log);
        pthread_mutex_destroy(&server.messages);
        return run.hash;
}

/* ---- the program ---- */

/* How far the runs have come: which bounds they have walked into. */
static void print_total(void)
{
        printf("# %llu sessions, %llu answers, %llu broken off; refusals by reason:",
               (unsigned long long)total.sessions, (unsigned long long)total.answers, (unsigned long long)total.broken);
        for (unsigned i = 0; i < REFUSAL_COUNT; i++)
                printf(" %llu", (unsigned long long)total.refusals[i]);
        printf("\n");
}

/* The same seed gives the same run, and another seed another. */
static bool repeats(uint64_t from)
{
        bool same = true, all_same = true;
        uint64_t first = run_seed(from, false);
        for (uint64_t seed = from; seed < from + 10; seed++) {
                uint64_t hash = run_seed(seed, false);
                same &= hash == run_seed(seed, false);
                all_same &= hash == first;
        }
        return same && !all_same;
}

/* As TAP, for the test harness. */
static int run_many(uint64_t from, uint64_t to)
{
        printf("1..2\n");
        for (uint64_t seed = from; seed <= to; seed++)
                run_seed(seed, false);
        printf("ok 1 - seeds %llu to %llu hold\n", (unsigned long long)from, (unsigned long long)to);
        print_total();
        bool good = repeats(from);
        printf("%s 2 - the same seed gives the same run, and another seed another\n", good ? "ok" : "not ok");
        return good ? 0 : 1;
}

static struct {
        unsigned long long from, to, one;
        bool trace;
} asked = { .from = 1, .to = 1000 };

/* How many words of the command line the first of them takes with it; 0: it is none. */
static int take(const char *word, const char *value)
{
        if (strcmp(word, "--trace") == 0)
                return asked.trace = true;
        if (!value)
                return 0;
        if (strcmp(word, "--seeds") == 0)
                return sscanf(value, "%llu-%llu", &asked.from, &asked.to) == 2 ? 2 : 0;
        if (strcmp(word, "--seed") == 0)
                return sscanf(value, "%llu", &asked.one) == 1 ? 2 : 0;
        if (strcmp(word, "--faults") == 0)
                return sscanf(value, "%d", &forced_faults) == 1 ? 2 : 0;
        return 0;
}

static int usage(void)
{
        fprintf(stderr, "crowd [--seeds FROM-TO | --seed N [--trace]] [--faults PER_MILLE]\n");
        return 2;
}

int main(int argc, char **argv)
{
        int result = 0;
        program = argv[0];
        for (int i = 1, taken; i < argc; i += taken)
                if ((taken = take(argv[i], argv[i + 1])) == 0)
                        return usage();
        signal(SIGABRT, on_abort);
        signal(SIGPIPE, SIG_IGN);
        store_load_types();
        site_make();
        snprintf(log_path, sizeof(log_path), "%s/log", site.folder);
        check(berth_workers_create(&workers[0], 1, 1) == 0);
        check(berth_workers_create(&workers[1], 1, MANY_CALLS) == 0);
        if (asked.one)
                printf("trace %016llx\n", (unsigned long long)run_seed(asked.one, asked.trace));
        else
                result = run_many(asked.from, asked.to);
        berth_workers_destroy(workers[0]);
        berth_workers_destroy(workers[1]);
        site_remove();
        store_unload_types();
        return result;
}
