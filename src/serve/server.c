/* The process: options, the root folder, threads, signals. The main thread serves nobody; it waits for signals. */
#include "serve/serve.h"
#include "serve/serve_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
        WORKER_QUEUE = 4096,
        STUCK_SECONDS = 5,          /* after the second signal */
        RESERVED_DESCRIPTORS = 256, /* for files being opened, the log, the threads' own */
};

/* ---- limits ---- */

static uint32_t raise_descriptor_limit(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 1024;
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
        return (uint32_t)min_of(limit.rlim_cur, (rlim_t)CONN_RECORDS);
}

/* Descriptors are the process's, connections and known files a shard's. */
static void share_descriptors(struct server *server, uint32_t descriptors, unsigned shards)
{
        uint32_t reserved = min_of(RESERVED_DESCRIPTORS + shards * (MAX_FILES + 64), descriptors / 2);
        server->max_conns = max_of((descriptors - reserved) / shards, 1u);
        server->max_files = max_of(min_of(reserved / 2 / shards, (uint32_t)MAX_FILES), 16u);
}

static unsigned core_count(void)
{
        cpu_set_t cores;
        if (sched_getaffinity(0, sizeof(cores), &cores) == 0)
                return (unsigned)min_of(CPU_COUNT(&cores), MAX_THREADS);
        return 1;
}

/* ---- starting and ending ---- */

static int open_root(struct server *server)
{
        server->root = open(server->options.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (server->root >= 0)
                return 0;
        int error = -errno;
        complain("cannot serve %s: %s", server->options.folder, strerror(-error));
        return error;
}

static int start_shard(struct server *server, pthread_barrier_t *ready)
{
        struct shard *shard = calloc(1, sizeof(*shard));
        if (!shard)
                return -ENOMEM;
        shard->server = server;
        shard->ready = ready;
        int error = pthread_create(&shard->thread, NULL, shard_run, shard);
        if (error) {
                free(shard);
                return -error;
        }
        server->shards[server->shard_count++] = shard;
        return 0;
}

static void join_shards(struct server *server)
{
        for (unsigned i = 0; i < server->shard_count; i++) {
                pthread_join(server->shards[i]->thread, NULL);
                free(server->shards[i]);
        }
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
                         strerror(-error));
        else
                complain("cannot start: %s", strerror(-error));
}

/* All shards start, or all end again. */
static int start_shards(struct server *server, unsigned threads)
{
        pthread_barrier_t ready;
        pthread_barrier_init(&ready, NULL, threads + 1);
        server->planned_shards = threads;
        for (unsigned i = 0; i < threads; i++) {
                int error = start_shard(server, &ready);
                if (error) { /* the others wait at the barrier for those that will not come */
                        complain("cannot start thread %u of %u: %s", i + 1, threads, strerror(-error));
                        exit(1);
                }
        }
        pthread_barrier_wait(&ready);
        pthread_barrier_destroy(&ready);
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
        char addresses[512], folder[PATH_MAX];
        struct text text = text_in(addresses, sizeof(addresses) - 1);
        for (unsigned i = 0; i < server->listeners.count; i++) {
                char name[256];
                listener_name(&server->listeners.specs[i], name, sizeof(name));
                text_format(&text, "%s%s", i ? ", " : "", name);
        }
        addresses[text.used] = '\0';
        say("serving %s at %s (%s, %u thread%s; up to %u connections, %u requests at a time)",
            realpath(server->options.folder, folder) ? folder : server->options.folder, addresses,
            berth_port_engine(server->shards[0]->port), server->shard_count, server->shard_count == 1 ? "" : "s",
            server->max_conns * server->shard_count, MAX_REQUESTS * server->shard_count);
}

/* ---- signals ---- */

static void block_signals(sigset_t *set)
{
        signal(SIGPIPE, SIG_IGN);
        sigemptyset(set);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGINT);
        sigaddset(set, SIGHUP);
        sigaddset(set, SIGUSR2); /* the last shard has ended: see wait_for_second */
        pthread_sigmask(SIG_BLOCK, set, NULL);
}

static void reopen_log(struct server *server)
{
        int error = log_reopen(&server->log);
        if (error)
                complain("cannot reopen %s: %s; logging goes on in the old file", server->log.path, strerror(-error));
}

static bool is_end(int signal_number)
{
        return signal_number == SIGTERM || signal_number == SIGINT;
}

/* Even at once takes a moment; who has not ended then hangs in a call that blocks (a log that nobody reads, a dead
 * file server) and cannot be waited for. */
static void leave_if_stuck(struct server *server)
{
        for (unsigned i = 0; i < STUCK_SECONDS * 10 && !atomic_load(&server->drained); i++)
                usleep(100 * 1000);
        if (atomic_load(&server->drained))
                return;
        complain("a call of the system does not come back; leaving");
        listeners_finish(&server->listeners);
        _exit(1);
}

static void *wait_for_second(void *argument)
{
        struct server *server = argument;
        sigset_t set;
        int signal_number = 0;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGUSR2);
        while (!atomic_load(&server->drained) && sigwait(&set, &signal_number) == 0 && !is_end(signal_number))
                ;
        if (is_end(signal_number)) {
                tell_shards(server, SHARD_END);
                leave_if_stuck(server);
        }
        return NULL;
}

/* First SIGTERM or SIGINT: finish what is in progress. A second one, watched for while the shards drain: at once. */
static void run_until_signal(struct server *server, const sigset_t *set)
{
        int signal_number = 0;
        while (sigwait(set, &signal_number) == 0 && !is_end(signal_number))
                if (signal_number == SIGHUP)
                        reopen_log(server);
        say("finishing; a second signal ends at once");
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
                pthread_kill(watcher, SIGUSR2);
                pthread_join(watcher, NULL);
        }
        for (unsigned i = 0; i < server->shard_count; i++)
                free(server->shards[i]);
}

/* ---- the command ---- */

static int serve(struct server *server)
{
        sigset_t set;
        block_signals(&set);
        unsigned threads = server->options.threads ? server->options.threads : core_count();
        share_descriptors(server, raise_descriptor_limit(), threads);
        int error = berth_workers_create(&server->workers, max_of(threads, 4u), WORKER_QUEUE);
        if (error) {
                complain("cannot start worker threads: %s", strerror(-error));
                return error;
        }
        store_load_types();
        error = start_shards(server, threads);
        if (!error) {
                announce(server);
                run_until_signal(server, &set);
                drain(server);
        }
        berth_workers_destroy(server->workers);
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
        int error = log_open(&server.log, &server.options);
        if (!error)
                error = listeners_prepare(&server.listeners, &server.options);
        int result = error == -EINVAL ? 2 : error ? 1 : serve(&server) < 0;
        listeners_finish(&server.listeners);
        log_close(&server.log);
        close(server.root);
        return result;
}
