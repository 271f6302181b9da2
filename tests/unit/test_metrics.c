/* The counters as text: what is counted where, and that the whole of it fits whatever has happened. */
#include "help.h"

#include "serve/metrics.h"
#include "serve/serve_priv.h"

#include <unistd.h>

enum { SHARDS = 3 };

static struct server server;
static const struct metrics_identity identity = { .engine = "sim", .started_us = 1700000000250000 };
static char room[METRICS_BYTES + 1];

static int setup(void **state)
{
        (void)state;
        server.shard_count = SHARDS;
        for (unsigned i = 0; i < SHARDS; i++)
                if (!(server.shards[i] = calloc(1, sizeof(struct shard))))
                        return -1;
        return 0;
}

static int teardown(void **state)
{
        (void)state;
        for (unsigned i = 0; i < SHARDS; i++)
                free(server.shards[i]);
        memset(&server, 0, sizeof(server));
        return 0;
}

static struct counters *counters(unsigned shard)
{
        return &server.shards[shard]->counters;
}

/* The text, ended by NUL. */
static const char *written(void)
{
        struct text out = text_in(room, METRICS_BYTES);
        metrics_write(&out, &server, &identity);
        assert_false(out.overflow);
        room[out.used] = '\0';
        return room;
}

/* The value behind a name with its labels, at the start of a line; NULL when it is not there. */
static const char *find(const char *text, const char *sample)
{
        size_t size = strlen(sample);
        for (const char *at = text; (at = strstr(at, sample)); at += size)
                if ((at == text || at[-1] == '\n') && at[size] == ' ')
                        return at + size + 1;
        return NULL;
}

static void assert_value_(const char *sample, const char *wanted, const char *file, int line)
{
        const char *value = find(written(), sample);
        if (value && strncmp(value, wanted, strlen(wanted)) == 0 && value[strlen(wanted)] == '\n')
                return;
        print_error("%s is %.24s, not %s\n", sample, value ? value : "not there", wanted);
        _fail(file, line);
}

#define assert_value(sample, wanted) assert_value_(sample, wanted, __FILE__, __LINE__)

static void the_shards_are_summed_up(void **state)
{
        (void)state;
        for (unsigned i = 0; i < SHARDS; i++) {
                count_add(&counters(i)->accepted, 10 + i);
                count_set(&counters(i)->states[CONN_RESTING], 100);
                count_set(&counters(i)->limit[POOL_REQUESTS], 7);
                count_add(&counters(i)->refusals[SHED_IDLE], i);
        }
        assert_value("berth_accepted_total", "33");
        assert_value("berth_connections{state=\"resting\"}", "300");
        assert_value("berth_pool_limit{pool=\"requests\"}", "21");
        assert_value("berth_refusals_total{reason=\"shed_idle\"}", "3");
        assert_value("berth_shards", "3");
}

static void what_never_happened_is_0_but_requests_are_left_out(void **state)
{
        (void)state;
        assert_value("berth_refusals_total{reason=\"descriptors\"}", "0");
        assert_value("berth_refusals_total{reason=\"stalled_reader\"}", "0");
        assert_value("berth_connections{state=\"closing\"}", "0");
        assert_value("berth_memory_bytes{pool=\"long_heads\"}", "0");
        assert_value("berth_request_duration_seconds_count", "0");
        assert_null(strstr(written(), "berth_requests_total{"));
}

static void requests_by_method_and_status(void **state)
{
        (void)state;
        metrics_request(counters(0), HTTP_GET, 200, 5, 10);
        metrics_request(counters(2), HTTP_GET, 200, 5, 10);
        metrics_request(counters(1), HTTP_HEAD, 404, 0, 10);
        metrics_request(counters(1), HTTP_METHOD_OTHER, 599, 0, 10);
        assert_value("berth_requests_total{method=\"GET\",status=\"200\"}", "2");
        assert_value("berth_requests_total{method=\"HEAD\",status=\"404\"}", "1");
        assert_value("berth_requests_total{method=\"other\",status=\"599\"}", "1");
        assert_null(find(written(), "berth_requests_total{method=\"GET\",status=\"404\"}"));
}

static void durations_fall_into_buckets_with_their_bound(void **state)
{
        (void)state;
        metrics_request(counters(0), HTTP_GET, 200, 0, 0);
        metrics_request(counters(1), HTTP_GET, 200, 0, 100);
        metrics_request(counters(2), HTTP_GET, 200, 0, 101);
        metrics_request(counters(0), HTTP_GET, 200, 0, 600000000);
        metrics_request(counters(0), HTTP_GET, 200, 0, 600000001);
        assert_value("berth_request_duration_seconds_bucket{le=\"0.0001\"}", "2");
        assert_value("berth_request_duration_seconds_bucket{le=\"0.0005\"}", "3");
        assert_value("berth_request_duration_seconds_bucket{le=\"60\"}", "3");
        assert_value("berth_request_duration_seconds_bucket{le=\"600\"}", "4");
        assert_value("berth_request_duration_seconds_bucket{le=\"+Inf\"}", "5");
        assert_value("berth_request_duration_seconds_count", "5");
        assert_value("berth_request_duration_seconds_sum", "1200.000202");
}

static void sizes_fall_into_buckets_with_their_bound(void **state)
{
        (void)state;
        metrics_request(counters(0), HTTP_GET, 200, 256, 0);
        metrics_request(counters(0), HTTP_GET, 200, 257, 0);
        metrics_request(counters(1), HTTP_GET, 200, 1ull << 32, 0);
        metrics_request(counters(2), HTTP_GET, 200, (1ull << 32) + 1, 0);
        assert_value("berth_response_size_bytes_bucket{le=\"256\"}", "1");
        assert_value("berth_response_size_bytes_bucket{le=\"1024\"}", "2");
        assert_value("berth_response_size_bytes_bucket{le=\"268435456\"}", "2");
        assert_value("berth_response_size_bytes_bucket{le=\"4294967296\"}", "3");
        assert_value("berth_response_size_bytes_bucket{le=\"+Inf\"}", "4");
        assert_value("berth_response_size_bytes_sum", "8589935106");
}

/* One shard is enough: sums have no more digits than their parts can have. */
static void fill(uint64_t value)
{
        for (counter *c = (counter *)counters(0); c < (counter *)(counters(0) + 1); c++)
                count_set(c, value);
}

static const char *skip_line(const char *at)
{
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        return end + 1;
}

/* The name of a family stands behind "# HELP " and "# TYPE "; samples behind it begin with it. */
static void every_line_belongs_to_the_family_above_it(void **state)
{
        (void)state;
        char family[128] = "?", seen[16384] = "\n";
        fill(1);
        for (const char *at = written(); *at; at = skip_line(at)) {
                if (strncmp(at, "# HELP ", 7) == 0) {
                        char line[130];
                        size_t size = strcspn(at + 7, " ");
                        assert_in_range(size, 1, sizeof(family) - 1);
                        snprintf(family, sizeof(family), "%.*s", (int)size, at + 7);
                        snprintf(line, sizeof(line), "\n%s\n", family);
                        assert_null(strstr(seen, line)); /* each stands there once */
                        strcat(seen, line);
                        at = skip_line(at);
                        assert_int_equal(strncmp(at, "# TYPE ", 7), 0);
                        at += 7;
                }
                assert_int_equal(strncmp(at, family, strlen(family)), 0);
        }
}

static void everything_at_its_maximum_fits(void **state)
{
        (void)state;
        fill(UINT64_MAX);
        const char *text = written();
        assert_non_null(find(text, "berth_requests_total{method=\"OPTIONS\",status=\"599\"}"));
        assert_non_null(find(text, "process_max_fds"));
        assert_in_range(strlen(text), METRICS_BYTES / 2, METRICS_BYTES - 4096); /* the kernel's values may be longer */
}

static void too_little_room_ends_with_a_whole_line(void **state)
{
        (void)state;
        char small[512];
        for (size_t size = 0; size < sizeof(small); size++) {
                struct text out = text_in(small, size);
                metrics_write(&out, &server, &identity);
                assert_true(out.overflow);
                assert_in_range(out.used, 0, size);
                assert_true(out.used == 0 || small[out.used - 1] == '\n');
        }
}

static void the_process_is_described(void **state)
{
        (void)state;
        assert_value("process_start_time_seconds", "1700000000.250000");
        assert_true(strtoull(find(written(), "process_resident_memory_bytes"), NULL, 10) > 1 << 16);
        uint64_t before = strtoull(find(written(), "process_open_fds"), NULL, 10);
        int another = dup(STDERR_FILENO);
        assert_int_equal(strtoull(find(written(), "process_open_fds"), NULL, 10), before + 1);
        close(another);
}

static void an_unknown_start_is_left_out(void **state)
{
        (void)state;
        const struct metrics_identity unknown = { .engine = "sim" };
        struct text out = text_in(room, METRICS_BYTES);
        metrics_write(&out, &server, &unknown);
        room[out.used] = '\0';
        assert_null(strstr(room, "process_start_time_seconds"));
        assert_non_null(strstr(room, "process_max_fds"));
}

static void the_identity_is_that_of_this_process(void **state)
{
        (void)state;
        struct metrics_identity own;
        assert_int_equal(berth_port_create(&server.shards[0]->port, &(struct berth_port_config){ .engine = "sim" }), 0);
        metrics_identify(&own, &server);
        berth_port_destroy(server.shards[0]->port);
        assert_string_equal(own.engine, "sim");
        int64_t age = clock_unix_seconds() - (int64_t)(own.started_us / 1000000);
        assert_in_range(age + 2, 0, 300);
}

static void draining_is_told(void **state)
{
        (void)state;
        assert_value("berth_draining", "0");
        atomic_store(&server.draining, true);
        assert_value("berth_draining", "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(the_shards_are_summed_up),
                TEST(what_never_happened_is_0_but_requests_are_left_out),
                TEST(requests_by_method_and_status),
                TEST(durations_fall_into_buckets_with_their_bound),
                TEST(sizes_fall_into_buckets_with_their_bound),
                TEST(every_line_belongs_to_the_family_above_it),
                TEST(everything_at_its_maximum_fits),
                TEST(too_little_room_ends_with_a_whole_line),
                TEST(the_process_is_described),
                TEST(an_unknown_start_is_left_out),
                TEST(the_identity_is_that_of_this_process),
                TEST(draining_is_told),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
