/* The process: options, the root folder, threads, signals. The main thread serves nobody; it waits for signals. */
#include "serve/serve.h"
#include "serve/change.h"
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
        WORKER_QUEUE = 4096,
        STUCK_SECONDS = 5, /* after the second signal */
};

/* ---- limits ---- */

/* Options of one engine alone. */
static int check_engine(const struct serve_options *options, const char *engine)
{
        const char *option = options->accept_depth  ? "accept-depth"
                             : options->send_depth  ? "send-depth"
                             : options->accept_data ? "accept-data"
                                                    : NULL;
        if (!option || strcmp(engine, "iocp") == 0)
                return 0;
        complain("--%s: it is for Windows' completion ports, and the engine here is %s", option, engine);
        return -EINVAL;
}

/* A port of the engine is made to find out whether sockets need descriptors. 0 or -errno. */
static int look_at_limits(struct limits *limits, const char *engine)
{
        struct berth_port *port;
        struct berth_port_config config = { .engine = engine, .max_handles = INT32_MAX, .buffers = 1 };
        *limits = (struct limits){
                .descriptors = machine_raise_descriptors(),
                .files = machine_files(),
        };
        limits->memory_bytes = proc_free_memory("", &limits->grouped);
        int error = berth_port_create(&port, &config);
        if (error)
                return error;
        limits->sockets = berth_port_max_handles(port);
        limits->shared = berth_port_shares(port);
        limits->file_bytes = berth_port_file_buffer_bytes(port);
        limits->engine = berth_port_engine(port);
        berth_port_destroy(port);
        return 0;
}

/* The kernel cuts a backlog without a word. */
static void check_backlog(unsigned backlog)
{
        uint64_t most = machine_backlog();
        if (most < backlog)
                complain("the kernel cuts --backlog %u to %llu (net.core.somaxconn): bursts of connections beyond that "
                         "are "
                         "dropped; see berth doctor",
                         backlog, (unsigned long long)most);
}

/* ---- starting and ending ---- */

static int open_root(struct server *server)
{
        server->root = plain_open_folder(server->options.folder);
        int error = min_of(server->root, 0);
        if (!error)
                error = store_tree_create(&server->tree, server->root, server->options.links, server->options.durable);
        if (!error)
                store_tree_patience(server->tree, SECTION_MS);
        if (error)
                complain("cannot serve %s: %s", server->options.folder, error_text(-error));
        return error;
}

/* What a server that was killed has left of its uploads. */
static void clean_up(struct server *server)
{
        int found = server->options.writable ? store_tree_clean(server->tree) : 0;
        if (found > 0)
                say("removed what %d unfinished change%s had left", found, found == 1 ? "" : "s");
        else if (found < 0)
                complain("cannot remove what unfinished changes have left: %s", error_text(-found));
}

static int start_shard(struct server *server, pthread_barrier_t *ready)
{
        struct shard *shard = calloc(1, sizeof(*shard));
        if (!shard)
                return -ENOMEM;
        shard->server = server;
        shard->index = server->shard_count;
        shard->ready = ready;
        int error = pthread_create(&shard->thread, NULL, shard_run, shard);
        if (error) {
                free(shard);
                return -error;
        }
        server->shards[server->shard_count++] = shard;
        return 0;
}

/* They look at one another until the last has ended. */
static void join_shards(struct server *server)
{
        for (unsigned i = 0; i < server->shard_count; i++)
                pthread_join(server->shards[i]->thread, NULL);
        for (unsigned i = 0; i < server->shard_count; i++)
                free(server->shards[i]);
        server->shard_count = 0;
}

static void tell_shards(struct server *server, enum shard_message message)
{
        pthread_mutex_lock(&server->messages);
        for (unsigned i = 0; i < server->shard_count; i++)
                if (!server->shards[i]->gone)
                        berth_post(server->shards[i]->port, &server->shards[i]->messages[message], message);
        pthread_mutex_unlock(&server->messages);
}

static void explain_start(const struct server *server, int error)
{
        const char *engine = server->options.engine ? server->options.engine : getenv("BERTH_ENGINE");
        if (error == -ENOSYS || error == -EPERM)
                complain("the engine '%s' does not work here: %s (try --engine auto)", engine ? engine : "auto",
                         error_text(-error));
        else
                complain("cannot start: %s", error_text(-error));
}

/* All shards start, or all end again. */
static int start_shards(struct server *server, unsigned threads)
{
        static pthread_barrier_t ready; /* once; the shards may still be leaving it when we go on */
        pthread_barrier_init(&ready, NULL, threads + 1);
        server->planned_shards = threads;
        for (unsigned i = 0; i < threads; i++) {
                int error = start_shard(server, &ready);
                if (error) { /* the others wait at the barrier for those that will not come */
                        complain("cannot start thread %u of %u: %s", i + 1, threads, error_text(-error));
                        exit(1);
                }
        }
        pthread_barrier_wait(&ready);
        int error = 0;
        for (unsigned i = 0; i < threads && !error; i++)
                error = server->shards[i]->error;
        if (!error)
                return 0;
        explain_start(server, error);
        tell_shards(server, SHARD_END);
        join_shards(server);
        return error;
}

static void announce(const struct server *server)
{
        char addresses[512], folder[FOLDER_NAME_BYTES];
        struct text text = text_in(addresses, sizeof(addresses) - 1);
        for (unsigned i = 0; i < server->listeners.count; i++) {
                char name[256];
                listener_name(&server->listeners.specs[i], name, sizeof(name));
                text_format(&text, "%s%s", i ? ", " : "", name);
        }
        addresses[text.used] = '\0';
        const struct budget *budget = &server->budget;
        plain_folder_name(server->options.folder, folder, sizeof(folder));
        say("serving %s at %s (%s, %u thread%s)", folder, addresses, berth_port_engine(server->shards[0]->port),
            server->shard_count, server->shard_count == 1 ? "" : "s");
        say("up to %u connections, %u requests and %u downloads at a time; then %llu MiB here and %llu MiB in the "
            "kernel",
            budget->connections, budget->requests, budget->sends, (unsigned long long)budget->memory_bytes >> 20,
            (unsigned long long)budget->kernel_bytes >> 20);
}

/* ---- signals ---- */

static void reopen_log(struct server *server)
{
        int error = log_reopen(&server->log);
        if (error)
                complain("cannot reopen %s: %s; logging goes on in the old file", server->log.path, error_text(-error));
}

/* Even at once takes a moment; who has not ended then hangs in a call that blocks (a log that nobody reads, a dead
 * file server) and cannot be waited for. */
static void leave_if_stuck(struct server *server)
{
        for (unsigned i = 0; i < STUCK_SECONDS * 10 && !atomic_load(&server->drained); i++)
                machine_sleep_ms(100);
        if (atomic_load(&server->drained))
                return;
        complain("a call of the system does not come back; leaving");
        listeners_finish(&server->listeners);
        _exit(1);
}

static void *wait_for_second(void *argument)
{
        struct server *server = argument;
        enum told told = TOLD_NOTHING;
        while (!atomic_load(&server->drained) && told != TOLD_END)
                told = signals_wait(-1);
        if (told == TOLD_END) {
                tell_shards(server, SHARD_END);
                leave_if_stuck(server);
        }
        return NULL;
}

/* The first signal: finish what is in progress. A second one, watched for while the shards drain: at once. */
static void run_until_signal(struct server *server)
{
        enum told told;
        while ((told = signals_wait(-1)) != TOLD_END)
                if (told == TOLD_RELOAD) {
                        reopen_log(server);
                        access_reload(server);
                }
        say("finishing; a second signal ends at once");
        pthread_mutex_lock(&server->messages);
        atomic_store(&server->draining, true);
        listeners_close(&server->listeners); /* the shards close their copies */
        pthread_mutex_unlock(&server->messages);
        tell_shards(server, SHARD_DRAIN);
}

static void drain(struct server *server)
{
        pthread_t watcher;
        bool watching = pthread_create(&watcher, NULL, wait_for_second, server) == 0;
        for (unsigned i = 0; i < server->shard_count; i++)
                pthread_join(server->shards[i]->thread, NULL);
        atomic_store(&server->drained, true);
        if (watching) {
                signals_wake();
                pthread_join(watcher, NULL);
        }
        admin_stop(server->admin);
        for (unsigned i = 0; i < server->shard_count; i++)
                free(server->shards[i]);
}

/* ---- the command ---- */

/* Each shard has its part of every bound, so there are no more shards than of anything. */
static unsigned shard_count(const struct serve_options *options)
{
        unsigned threads = options->threads ? options->threads : min_of(machine_cores(), (unsigned)MAX_THREADS);
        const unsigned bounds[] = { options->connections, options->requests, options->sends };
        for (size_t i = 0; i < array_count(bounds); i++)
                if (bounds[i])
                        threads = min_of(threads, bounds[i]);
        return threads;
}

/* A whole queue may be accepted before anybody can look whether there is still memory (accept.c). */
static void fit_backlog(struct server *server, const struct limits *limits, unsigned threads)
{
        unsigned wanted = server->options.backlog;
        unsigned most = budget_backlog(wanted, limits->memory_bytes, threads * server->listeners.count);
        if (!limits->grouped || most >= wanted)
                return;
        say("--backlog %u becomes %u: more could be too much at once for the control group's memory", wanted, most);
        server->options.backlog = most;
        listeners_cut(&server->listeners, (int)most);
}

static int make_shared(struct server *server, unsigned threads)
{
        const struct serve_options *options = &server->options;
        int error = options->per_address ? addresses_create(&server->addresses, server->budget.connections) : 0;
        if (!error)
                error = berth_workers_create(&server->workers, max_of(threads, 4u), WORKER_QUEUE);
        if (error)
                complain("cannot start: %s", error_text(-error));
        return error ? error : listeners_open(&server->listeners, server->handing ? 1 : threads, (int)options->backlog);
}

static int run(struct server *server, unsigned threads)
{
        int error = start_shards(server, threads);
        if (error)
                return error;
        error = admin_start(&server->admin, server);
        if (!error) {
                announce(server);
                check_backlog(server->options.backlog);
                run_until_signal(server);
        } else {
                tell_shards(server, SHARD_END);
        }
        drain(server);
        return error;
}

static int serve(struct server *server)
{
        struct limits limits;
        signals_take(true);
        unsigned threads = shard_count(&server->options);
        int error = look_at_limits(&limits, server->options.engine);
        if (error) {
                explain_start(server, error);
                return error;
        }
        server->handing = !limits.shared;
        error = check_engine(&server->options, limits.engine);
        if (error)
                return error;
        error = budget_make(&server->budget, &server->options, &limits, threads);
        if (error)
                return error;
        store_tree_remember(server->tree, server->budget.folder_bytes);
        fit_backlog(server, &limits, threads);
        store_load_types();
        error = make_shared(server, threads);
        if (!error)
                error = run(server, threads);
        berth_workers_destroy(server->workers);
        addresses_destroy(server->addresses);
        store_unload_types();
        return error;
}

int serve_command(int argc, char **argv)
{
        static struct server server = { .messages = PTHREAD_MUTEX_INITIALIZER };
        if (options_parse(&server.options, argc, argv) < 0)
                return 2;
        if (server.options.help) {
                options_help();
                return 0;
        }
        say_quiet(server.options.quiet);
        if (open_root(&server) < 0)
                return 1;
        clean_up(&server);
        int error = log_open(&server.log, &server.options);
        if (!error)
                error = listeners_prepare(&server.listeners, &server.options);
        if (!error)
                error = access_open(&server);
        if (!error)
                error = serve(&server);
        int result = error == -EINVAL ? 2 : error ? 1 : 0;
        access_close(&server);
        listeners_finish(&server.listeners);
        log_close(&server.log);
        store_tree_destroy(server.tree);
        plain_close_folder(server.root);
        return result;
}
