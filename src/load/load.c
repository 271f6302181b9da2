/* The command: what is asked for is worked out and found possible, threads are started, and then the main thread
 * watches. It adds up the counts forty times a second, moves from phase to phase, and tells how it went.
 */
#include "load/load.h"
#include "load/load_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
        TICK_MS = 25,
        LEAD_US = 100000,    /* all threads know when requests begin before they do */
        DRAIN_US = 2000000,  /* how long answers are waited for at the end */
        DEFAULT_THREADS = 8, /* at most */
        CANNOT = 2,          /* exit statuses */
        FAILED = 1,
};

/* ---- can it be done? ---- */

static bool all_loopback(const struct load_targets *targets)
{
        for (uint32_t i = 0; i < targets->endpoint_count; i++)
                if (!load_is_loopback(&targets->endpoints[i].address))
                        return false;
        return true;
}

static int check_families(const struct load_run *run)
{
        for (uint32_t i = 0; i < run->plan.given; i++) {
                for (uint32_t k = 0; k < run->targets.endpoint_count; k++) {
                        if (run->sources[i].any.sa_family != run->targets.endpoints[k].address.any.sa_family) {
                                complain("--source %s: the URL's address is of the other family", run->options.source);
                                return -EINVAL;
                        }
                }
        }
        return 0;
}

static int read_sources(struct load_run *run)
{
        run->sources = calloc(LOAD_MAX_ADDRESSES, sizeof(*run->sources));
        if (!run->sources)
                return -ENOMEM;
        if (!run->options.source)
                return 0;
        int count = load_sources_parse(run->sources, LOAD_MAX_ADDRESSES, run->options.source);
        if (count < 0) {
                complain(count == -E2BIG
                                 ? "--source %s: too many addresses"
                                 : "--source %s: expected addresses as in 127.0.0.1-127.0.0.8 or 10.0.0.2,10.0.0.3",
                         run->options.source);
                return count;
        }
        run->plan.given = (uint32_t)count;
        return check_families(run);
}

static int explain_plan(const struct load_run *run)
{
        char line[1000];
        struct text text = text_in(line, sizeof(line) - 1);
        load_plan_describe(&run->plan, run->sources, &run->targets, &text);
        line[text.used] = '\0';
        if (run->plan.impossible) {
                complain("%s", line);
                complain("cannot: more --source addresses, more destinations (--port-range, --url) or more ports in "
                         "%s would do",
                         load_range_name);
                return -EADDRNOTAVAIL;
        }
        say("%s", line);
        if (run->plan.crowded)
                say("connecting will be slow: past half of the range the kernel has to search for free ports");
        return 0;
}

static int plan(struct load_run *run)
{
        uint64_t ports = 0;
        int error = load_targets_init(&run->targets, &run->options);
        if (!error)
                error = load_ports(&ports);
        if (!error)
                error = read_sources(run);
        if (error)
                return error;
        run->plan.ports = (uint32_t)ports;
        run->plan.connections = run->options.connections;
        run->plan.endpoints = run->targets.endpoint_count;
        run->plan.free_sources = all_loopback(&run->targets);
        load_plan_compute(&run->plan);
        if (!run->plan.given)
                for (uint32_t i = 0; i < run->plan.sources; i++)
                        run->sources[i] = load_loopback(i);
        return explain_plan(run);
}

static int check_memory(const struct load_run *run)
{
        uint64_t need = (uint64_t)run->options.connections * machine_connection_bytes();
        uint64_t available = proc_free_memory("", NULL);
        uint64_t ends = need > available ? 1 : 2;
        if (need <= available && (!run->plan.free_sources || 2 * need <= available))
                return 0;
        complain("%s connections of about %s bytes%s need %llu MiB; there are %s",
                 figure_count(run->options.connections).text, figure_count(ends * machine_connection_bytes()).text,
                 ends == 2 ? " for both ends" : "", (unsigned long long)(ends * need >> 20),
                 figure_count(available >> 20).text);
        return ends == 2 ? 0 : -ENOMEM; /* the other end may be in another place after all */
}

/* ---- threads ---- */

/* Opening is work for the kernel above all, which goes on beside a server on the same machine. */
static unsigned choose_threads(const struct load_options *options)
{
        unsigned threads = options->threads ? options->threads : min_of(machine_cores(), (unsigned)DEFAULT_THREADS);
        return min_of(min_of(max_of(threads, 1u), (unsigned)LOAD_MAX_THREADS), options->connections);
}

static int start_thread(struct load_run *run, unsigned index)
{
        struct load_crowd *crowd = calloc(1, sizeof(*crowd));
        if (!crowd)
                return -ENOMEM;
        crowd->run = run;
        crowd->index = index;
        crowd->client_count = (run->options.connections - index - 1) / run->thread_count + 1;
        run->crowds[index] = crowd;
        return -pthread_create(&crowd->thread, NULL, load_crowd_main, crowd);
}

static int look_at_ports(struct load_run *run, uint64_t descriptors)
{
        for (unsigned i = 0; i < run->thread_count; i++) {
                int error = run->crowds[i]->error;
                if (error) {
                        complain("cannot start: %s%s", error_text(-error),
                                 error == -ENOSYS || error == -EPERM ? " (try --engine auto)" : "");
                        return error;
                }
        }
        run->engine = run->crowds[0]->engine;
        return load_check_room(run, descriptors);
}

/* The threads make their ports, and begin when these turn out to be large enough. */
static int start_threads(struct load_run *run)
{
        uint64_t descriptors = machine_raise_descriptors();
        run->thread_count = choose_threads(&run->options);
        pthread_barrier_init(&run->prepared, NULL, run->thread_count + 1);
        pthread_barrier_init(&run->decided, NULL, run->thread_count + 1);
        for (unsigned i = 0; i < run->thread_count; i++) {
                int error = start_thread(run, i);
                if (error) { /* the others wait at the barrier for those that will not come */
                        complain("cannot start thread %u of %u: %s", i + 1, run->thread_count, error_text(-error));
                        exit(CANNOT);
                }
        }
        pthread_barrier_wait(&run->prepared);
        int error = look_at_ports(run, descriptors);
        run->refused = error != 0;
        run->start_us = clock_us();
        run->started_unix = clock_unix_seconds();
        load_run_sum_all(run);
        load_run_sample(run); /* before anything is open */
        pthread_barrier_wait(&run->decided);
        return error;
}

static void join_threads(struct load_run *run)
{
        for (unsigned i = 0; i < run->thread_count; i++)
                pthread_join(run->crowds[i]->thread, NULL);
        pthread_barrier_destroy(&run->prepared);
        pthread_barrier_destroy(&run->decided);
}

/* ---- phases ---- */

static bool has_schedule(const struct load_run *run)
{
        return run->options.mode == LOAD_RATE || run->options.mode == LOAD_EACH;
}

static uint64_t hold_end_us(const struct load_run *run)
{
        return run->opened_us + (uint64_t)(run->options.hold_seconds * 1e6);
}

static void begin_to_hold(struct load_run *run)
{
        run->opened_us = run->now_us;
        for (unsigned i = 0; i < run->thread_count; i++)
                run->settled_us = max_of(run->settled_us,
                                         atomic_load_explicit(&run->crowds[i]->settled_us, memory_order_relaxed));
        if (has_schedule(run)) {
                run->opened_us += LEAD_US;
                atomic_store_explicit(&run->requests_start_us, run->opened_us, memory_order_relaxed);
                atomic_store_explicit(&run->requests_end_us, hold_end_us(run), memory_order_relaxed);
        }
        load_run_tell(run, LOAD_HOLDING);
}

static bool is_deserted(const struct load_run *run)
{
        return !run->options.reconnect && load_total(run, LOAD_OPEN) == 0;
}

static bool is_hold_over(const struct load_run *run)
{
        return is_deserted(run) || run->now_us >= hold_end_us(run);
}

static bool all_done(const struct load_run *run)
{
        for (unsigned i = 0; i < run->thread_count; i++)
                if (!atomic_load_explicit(&run->crowds[i]->done, memory_order_acquire))
                        return false;
        return true;
}

/* One look at the sum. False when everything is closed. */
static bool move_on(struct load_run *run)
{
        enum load_phase phase = (enum load_phase)atomic_load_explicit(&run->phase, memory_order_relaxed);
        /* Slow readers would take too long; that they are served at all has to show. */
        enum load_count waited_for = run->options.slow_bytes ? LOAD_AWAITING : LOAD_ASKING;
        if (phase == LOAD_OPENING && load_total(run, LOAD_SETTLED) == run->options.connections)
                begin_to_hold(run);
        else if ((phase == LOAD_HOLDING && is_hold_over(run)) || (phase < LOAD_ENDING && run->interrupted)) {
                run->end_us = run->interrupted ? run->now_us : min_of(run->now_us, hold_end_us(run));
                run->deserted = !run->interrupted && is_deserted(run) && run->now_us < hold_end_us(run);
                load_run_tell(run, LOAD_ENDING);
        } else if (phase == LOAD_ENDING && (load_total(run, waited_for) == 0 || run->now_us > run->end_us + DRAIN_US))
                load_run_tell(run, LOAD_CLOSING);
        return phase != LOAD_CLOSING || !all_done(run);
}

/* ---- the end ---- */

static bool is_stdout(const char *path)
{
        return path && strcmp(path, "-") == 0;
}

static int flush_stdout(void)
{
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        complain("standard output: %s", error_text(errno));
        return -EIO;
}

static int report(struct load_run *run)
{
        bool to_stdout = is_stdout(run->options.json) || is_stdout(run->options.report);
        int error = 0, written = 0;
        load_summary(run, to_stdout ? stderr : stdout);
        if (run->options.json)
                error = load_json_save(run, run->options.json);
        if (run->options.report)
                written = load_report_save(run, run->options.report);
        if (!error && !written)
                error = flush_stdout();
        return error || written || load_run_failed(run) ? FAILED : 0;
}

/* The second signal: nobody is waited for, the kernel closes what is open. */
static _Noreturn void leave_at_once(struct load_run *run)
{
        if (run->scrape.running)
                pthread_mutex_lock(&run->scrape.lock); /* for good: nothing of it changes any more */
        _exit(report(run));
}

/* Waits a tick. A signal ends the run, a second one everything. */
static void tick(struct load_run *run)
{
        if (signals_wait(TICK_MS) != TOLD_END)
                return;
        if (run->interrupted) {
                load_run_sum_all(run);
                leave_at_once(run);
        }
        run->interrupted = true;
        say("closing; a second signal ends at once");
}

static void watch(struct load_run *run)
{
        struct load_progress progress;
        load_progress_init(&progress, run->options.quiet);
        bool going = true;
        while (going) {
                tick(run);
                load_run_sum(run);
                bool second = load_run_seconds(run) >= run->seconds;
                going = move_on(run);
                if (second || !going) {
                        load_run_sum_all(run);
                        load_run_sample(run);
                }
                load_progress_show(&progress, run, second);
        }
        load_progress_end(&progress);
}

/* ---- the command ---- */

static int prepare(struct load_run *run)
{
        int error = load_check_output(run->options.json);
        if (!error)
                error = load_check_output(run->options.report);
        if (!error)
                error = plan(run);
        if (!error)
                error = check_memory(run);
        if (!error)
                error = load_scrape_prepare(&run->scrape, run->options.admin_url);
        return error ? error : load_run_init(run);
}

static int run_all(struct load_run *run)
{
        signals_take(false);
        if (load_scrape_start(&run->scrape) < 0)
                return CANNOT;
        int result = CANNOT;
        if (start_threads(run) == 0) {
                watch(run);
                load_scrape_stop(&run->scrape);
                result = report(run);
        }
        load_scrape_stop(&run->scrape);
        join_threads(run);
        return result;
}

int load_command(int argc, char **argv)
{
        static struct load_run run; /* hundreds of KiB of histograms */
        if (load_options_parse(&run.options, argc, argv) < 0)
                return CANNOT;
        if (run.options.help) {
                load_options_help();
                return 0;
        }
        say_quiet(run.options.quiet);
        int result = prepare(&run) < 0 ? CANNOT : run_all(&run);
        load_run_finish(&run);
        return result;
}
