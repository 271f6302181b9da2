/* Several shards of which the first accepts for all (hand.c): threads, as the server makes them, on an engine that can
 * pass connections on. */
#include "serve/serve_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "help.h"

enum { SHARDS = 4, CLIENTS = 4, CONNECTIONS = 8, REQUESTS = 500, RUSHES = 25 };

static const char ask[] = "GET /file HTTP/1.1\r\nHost: here\r\n\r\n";
static const char content[] = "what is in it";

static struct server server;
static char folder[] = "/tmp/berth-hand-XXXXXX";
static pthread_barrier_t ready;
static struct sockaddr_in address;

/* ---- the server ---- */

static unsigned lacking = SHARDS; /* the shard whose start fails, when all else of it is there */

int __real_access_take(struct shard *shard);
int __wrap_access_take(struct shard *shard);
int __wrap_access_take(struct shard *shard)
{
        return shard->index == lacking ? -ENOMEM : __real_access_take(shard);
}

static void start(uint32_t connections, unsigned per_address)
{
        struct listener_spec *spec = &server.listeners.specs[0];
        server = (struct server){
                .options = { .engine = "epoll",
                             .links = true,
                             .limits = { .line_bytes = 8192, .head_bytes = 32768 },
                             .grace_seconds = 5,
                             .backlog = 512,
                             .idle_seconds = 60,
                             .head_seconds = 60,
                             .per_address = per_address },
                .budget = { .connections = connections,
                            .requests = 64,
                            .sends = 64,
                            .listings = 4,
                            .long_heads = 4,
                            .files = 64,
                            .active = connections,
                            .changes = 4 },
                .log = { .descriptor = -1 },
                .handing = true,
                .shard_count = SHARDS,
                .planned_shards = SHARDS,
                .root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        };
        pthread_mutex_init(&server.messages, NULL);
        *spec = listener_none;
        *(struct sockaddr_in *)&spec->address = (struct sockaddr_in){ .sin_family = AF_INET,
                                                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        spec->address_bytes = sizeof(struct sockaddr_in);
        server.listeners.count = 1;
        assert_int_equal(berth_workers_create(&server.workers, 2, 64), 0);
        if (per_address)
                assert_int_equal(addresses_create(&server.addresses, connections), 0);
        pthread_barrier_init(&ready, NULL, SHARDS + 1);
        for (unsigned i = 0; i < SHARDS; i++) {
                server.shards[i] = calloc(1, sizeof(struct shard));
                *server.shards[i] = (struct shard){ .server = &server, .index = i, .ready = &ready };
        }
        for (unsigned i = 0; i < SHARDS; i++)
                assert_int_equal(pthread_create(&server.shards[i]->thread, NULL, shard_run, server.shards[i]), 0);
}

/* True when all could start; they do not turn before. */
static bool started(void)
{
        socklen_t bytes = sizeof(address);
        bool all = true;
        pthread_barrier_wait(&ready);
        for (unsigned i = 0; i < SHARDS; i++)
                all &= server.shards[i]->error == 0;
        if (all)
                getsockname(server.shards[0]->listeners[0].socket.descriptor, (struct sockaddr *)&address, &bytes);
        return all;
}

static void drain(enum shard_message message)
{
        for (unsigned i = 0; i < SHARDS; i++)
                shard_tell(server.shards[i], message);
        for (unsigned i = 0; i < SHARDS; i++)
                pthread_join(server.shards[i]->thread, NULL);
}

/* Nobody is left anywhere, nor counted. */
static void finish(void)
{
        for (unsigned i = 0; i < SHARDS; i++) {
                const struct handed *handed = &server.shards[i]->handed;
                assert_int_equal(atomic_load(&handed->count), 0);
                assert_int_equal(atomic_load(&handed->put), atomic_load(&handed->got));
                free(server.shards[i]);
        }
        pthread_barrier_destroy(&ready);
        berth_workers_destroy(server.workers);
        addresses_destroy(server.addresses);
        pthread_mutex_destroy(&server.messages);
        close(server.root);
}

static uint64_t accepted_by(unsigned shard)
{
        return count_of(&server.shards[shard]->counters.accepted);
}

static unsigned open_descriptors(void)
{
        DIR *all = opendir("/proc/self/fd");
        unsigned count = 0;
        assert_non_null(all);
        while (readdir(all))
                count++;
        closedir(all);
        return count;
}

/* ---- clients ---- */

static int dial(void)
{
        int one = 1, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct timeval patience = { .tv_sec = 20 };
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (connect(client, (struct sockaddr *)&address, sizeof(address)) == 0)
                return client;
        close(client);
        return -1;
}

enum outcome { ANSWERED, NOTHING, REFUSED, CUT };

/* One answer, or its beginning only, or nothing. */
static enum outcome read_answer(int client)
{
        char answer[1024] = "";
        size_t size = 0;
        ssize_t n;
        while ((n = recv(client, answer + size, sizeof(answer) - 1 - size, 0)) > 0) {
                size += (size_t)n;
                answer[size] = '\0';
                if (strstr(answer, content))
                        return strncmp(answer, "HTTP/1.1 200 ", 13) == 0 ? ANSWERED : CUT;
                if (strncmp(answer, "HTTP/1.1 503 ", 13) == 0)
                        return REFUSED;
        }
        return size == 0 ? NOTHING : CUT;
}

static enum outcome ask_once(int client)
{
        return send(client, ask, sizeof(ask) - 1, MSG_NOSIGNAL) < 0 ? NOTHING : read_answer(client);
}

struct asker {
        pthread_t thread;
        unsigned outcomes[CUT + 1];
};

static void *ask_often(void *argument)
{
        struct asker *asker = argument;
        for (unsigned i = 0; i < REQUESTS; i++) {
                int client = dial();
                if (client < 0)
                        return NULL; /* nobody listens any more */
                asker->outcomes[ask_once(client)]++;
                close(client);
        }
        return NULL;
}

static struct asker askers[CLIENTS];

static void begin_asking(void)
{
        memset(askers, 0, sizeof(askers));
        for (unsigned i = 0; i < CLIENTS; i++)
                assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_often, &askers[i]), 0);
}

static void end_asking(void)
{
        for (unsigned i = 0; i < CLIENTS; i++)
                pthread_join(askers[i].thread, NULL);
}

static bool waits(int client)
{
        char byte;
        struct timeval moment = { .tv_usec = 300000 }, patience = { .tv_sec = 20 };
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
        bool nothing = recv(client, &byte, 1, 0) < 0;
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        return nothing;
}

/* A request of which the last byte is missing: nobody sheds it. */
static int dial_and_begin(void)
{
        int client = dial();
        assert_int_equal(send(client, ask, sizeof(ask) - 2, MSG_NOSIGNAL), sizeof(ask) - 2);
        return client;
}

/* ---- tests ---- */

/* There are far more than CONNECTIONS one after the other, so every place has been given back. */
static void everybody_is_served_and_every_shard_serves(void **state)
{
        (void)state;
        start(CONNECTIONS, 0);
        assert_true(started());
        begin_asking();
        end_asking();
        uint64_t sum = 0;
        for (unsigned i = 0; i < SHARDS; i++) {
                assert_true(accepted_by(i) > CLIENTS * REQUESTS / SHARDS / 4);
                sum += accepted_by(i);
        }
        assert_int_equal(sum, CLIENTS * REQUESTS);
        for (unsigned i = 0; i < CLIENTS; i++)
                assert_int_equal(askers[i].outcomes[ANSWERED], REQUESTS);
        drain(SHARD_DRAIN);
        finish();
}

static void the_bound_of_connections_is_exact(void **state)
{
        (void)state;
        int clients[CONNECTIONS];
        start(CONNECTIONS, 0);
        assert_true(started());
        for (unsigned i = 0; i < CONNECTIONS; i++)
                clients[i] = dial_and_begin();
        for (unsigned i = 0; i < CONNECTIONS; i++) { /* each shard's place in turn */
                int late = dial();
                assert_int_equal(send(late, ask, sizeof(ask) - 2, MSG_NOSIGNAL), sizeof(ask) - 2);
                if (i == 0)
                        assert_true(waits(late));
                close(clients[i]);
                assert_int_equal(send(late, "\n", 1, MSG_NOSIGNAL), 1);
                assert_int_equal(read_answer(late), ANSWERED);
                clients[i] = late;
                assert_int_equal(send(late, ask, sizeof(ask) - 2, MSG_NOSIGNAL), sizeof(ask) - 2);
        }
        for (unsigned i = 0; i < SHARDS; i++)
                assert_true(accepted_by(i) >= CONNECTIONS / SHARDS);
        for (unsigned i = 0; i < CONNECTIONS; i++)
                close(clients[i]);
        drain(SHARD_DRAIN);
        finish();
}

static void who_is_idle_anywhere_makes_room(void **state)
{
        (void)state;
        int clients[CONNECTIONS];
        start(CONNECTIONS, 0);
        assert_true(started());
        for (unsigned i = 0; i < CONNECTIONS; i++) {
                clients[i] = dial();
                assert_int_equal(ask_once(clients[i]), ANSWERED);
        }
        for (unsigned i = 0; i < CONNECTIONS; i++) {
                int late = dial();
                assert_int_equal(ask_once(late), ANSWERED);
                close(clients[i]);
                clients[i] = late;
        }
        for (unsigned i = 0; i < CONNECTIONS; i++)
                close(clients[i]);
        drain(SHARD_DRAIN);
        finish();
}

static void the_bound_of_an_address_is_that_of_all_shards(void **state)
{
        (void)state;
        enum { EACH = 5 };
        int clients[EACH];
        start(100, EACH);
        assert_true(started());
        for (unsigned i = 0; i < EACH; i++) {
                clients[i] = dial();
                assert_int_equal(ask_once(clients[i]), ANSWERED);
        }
        int late = dial();
        assert_int_equal(read_answer(late), REFUSED);
        close(late);
        for (unsigned i = 0; i < EACH; i++)
                close(clients[i]);
        drain(SHARD_DRAIN);
        finish();
}

/* At a moment by chance: what was accepted is answered whole or not at all, and everything is closed. */
static void draining_in_a_rush_leaves_nothing(void **state)
{
        (void)state;
        unsigned before = open_descriptors();
        for (unsigned rush = 0; rush < RUSHES; rush++) {
                start(rush % 2 ? CONNECTIONS : 1000, 0);
                assert_true(started());
                begin_asking();
                usleep(rush * 700);
                drain(rush % 3 ? SHARD_DRAIN : SHARD_END);
                end_asking();
                finish();
                for (unsigned i = 0; i < CLIENTS; i++)
                        assert_int_equal(askers[i].outcomes[CUT], 0);
                assert_int_equal(open_descriptors(), before);
        }
}

/* One whose part cannot be had: it is handed nothing, and the others end when they are told. */
static void a_start_that_fails_ends_all(void **state)
{
        (void)state;
        unsigned before = open_descriptors();
        for (lacking = 0; lacking < SHARDS; lacking++) {
                start(CONNECTIONS, 0);
                assert_false(started());
                drain(SHARD_END);
                finish();
                assert_int_equal(open_descriptors(), before);
        }
}

/* ---- the folder ---- */

static int make_folder(void **state)
{
        char path[64];
        (void)state;
        store_load_types();
        if (!mkdtemp(folder))
                return -1;
        snprintf(path, sizeof(path), "%s/file", folder);
        FILE *file = fopen(path, "we");
        bool written = file && fputs(content, file) >= 0;
        return !file || fclose(file) || !written ? -1 : 0;
}

static int remove_folder(void **state)
{
        char path[64];
        (void)state;
        snprintf(path, sizeof(path), "%s/file", folder);
        unlink(path);
        store_unload_types();
        return rmdir(folder);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(everybody_is_served_and_every_shard_serves),
                cmocka_unit_test(the_bound_of_connections_is_exact),
                cmocka_unit_test(who_is_idle_anywhere_makes_room),
                cmocka_unit_test(the_bound_of_an_address_is_that_of_all_shards),
                cmocka_unit_test(draining_in_a_rush_leaves_nothing),
                cmocka_unit_test(a_start_that_fails_ends_all),
        };
        return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
