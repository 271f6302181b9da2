/* The counters as Prometheus reads them (text format 0.0.4): a family at a time, its HELP, its TYPE, then its samples.
 *
 * Nearly all of it is tables: what the shards count is summed up as it is read; what the system tells is
 * metrics_system.c's.
 */
#include "serve/metrics.h"
#include "serve/serve_priv.h"

/* ---- histograms ---- */

struct bound {
        uint64_t most; /* inclusive */
        const char *text;
};

/* From an answer out of memory to a large file for somebody far away. */
static const struct bound duration_bounds[DURATION_BUCKETS] = {
        { 100, "0.0001" }, { 500, "0.0005" },  { 1000, "0.001" },  { 5000, "0.005" },
        { 10000, "0.01" }, { 50000, "0.05" },  { 100000, "0.1" },  { 500000, "0.5" },
        { 1000000, "1" },  { 10000000, "10" }, { 60000000, "60" }, { 600000000, "600" },
};

static const struct bound size_bounds[SIZE_BUCKETS] = {
        { 256, "256" },
        { 1 << 10, "1024" },
        { 4 << 10, "4096" },
        { 16 << 10, "16384" },
        { 64 << 10, "65536" },
        { 256 << 10, "262144" },
        { 1 << 20, "1048576" },
        { 16 << 20, "16777216" },
        { 256 << 20, "268435456" },
        { 1ull << 32, "4294967296" },
};

static unsigned bucket_of(const struct bound *bounds, unsigned count, uint64_t value)
{
        unsigned at = 0;
        while (at < count && value > bounds[at].most)
                at++;
        return at;
}

void metrics_request(struct counters *counters, unsigned method, int status, uint64_t body_bytes, uint64_t microseconds)
{
        ensure(method < HTTP_METHODS && status >= 0 && status < STATUS_COUNT);
        count_add(&counters->requests[method][status], 1);
        count_add(&counters->durations[bucket_of(duration_bounds, DURATION_BUCKETS, microseconds)], 1);
        count_add(&counters->duration_us, microseconds);
        count_add(&counters->sizes[bucket_of(size_bounds, SIZE_BUCKETS, body_bytes)], 1);
        count_add(&counters->size_bytes, body_bytes);
}

/* ---- lines: each is put whole, so that one that does not fit leaves nothing of itself ---- */

void metrics_put_family(struct text *out, const char *name, const char *type, const char *help)
{
        text_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_put_sample(struct text *out, const char *name, uint64_t value)
{
        text_format(out, "%s %llu\n", name, (unsigned long long)value);
}

void metrics_put_micros(struct text *out, const char *name, uint64_t micros)
{
        text_format(out, "%s %llu.%06llu\n", name, (unsigned long long)micros / 1000000,
                    (unsigned long long)micros % 1000000);
}

void metrics_put_single(struct text *out, const char *name, const char *type, const char *help, uint64_t value)
{
        metrics_put_family(out, name, type, help);
        metrics_put_sample(out, name, value);
}

/* ---- what the shards count ---- */

#define AT(member) offsetof(struct counters, member)

static uint64_t sum_at(const struct server *server, size_t offset)
{
        uint64_t sum = 0;
        for (unsigned i = 0; i < server->shard_count; i++)
                sum += count_of((const counter *)((const char *)&server->shards[i]->counters + offset));
        return sum;
}

static const struct single {
        const char *name, *type, *help;
        size_t at;
} singles[] = {
        { "berth_accepted_total", "counter", "Connections accepted.", AT(accepted) },
        { "berth_accepts_per_second", "gauge", "Connections accepted in the last whole second.",
          AT(accepts_per_second) },
        { "berth_received_bytes_total", "counter", "Bytes received from clients.", AT(received_bytes) },
        { "berth_sent_bytes_total", "counter", "Bytes of response bodies sent to clients.", AT(sent_bytes) },
        { "berth_password_checks_total", "counter", "Passwords that had to be hashed to be checked.",
          AT(password_checks) },
        { "berth_port_rings", "gauge", "Rings of io_uring in use; 0 with another engine.", AT(rings) },
        { "berth_port_handles", "gauge", "Sockets of clients that the ports hold.", AT(handles) },
        { "berth_port_starved_receives_total", "counter", "Receives that had to wait for a buffer.", AT(starved) },
        { "berth_port_cold_windows_total", "counter", "Parts of files that had to be read from the disk to be sent.",
          AT(cold_windows) },
};

static const char *const state_names[CONN_STATE_COUNT] = {
        [CONN_HOT] = "hot",         [CONN_RESTING] = "resting",     [CONN_WAITING] = "waiting", [CONN_BUSY] = "busy",
        [CONN_SENDING] = "sending", [CONN_LINGERING] = "lingering", [CONN_CLOSING] = "closing",
};

static const char *const refusal_names[REFUSAL_COUNT] = {
        [REFUSED_DESCRIPTORS] = "descriptors",
        [REFUSED_MEMORY] = "memory",
        [REFUSED_CONNECTIONS] = "connections",
        [REFUSED_ADDRESS] = "address",
        [REFUSED_REQUESTS] = "requests",
        [REFUSED_SENDS] = "sends",
        [REFUSED_LISTINGS] = "listings",
        [REFUSED_CHANGES] = "changes",
        [REFUSED_HEADS] = "heads",
        [REFUSED_OPERATION] = "operations",
        [REFUSED_BUFFERS] = "buffers",
        [REFUSED_FILES] = "files",
        [SHED_IDLE] = "shed_idle",
        [LATE_HEAD] = "late_head",
        [LATE_BODY] = "late_body",
        [STALLED_READER] = "stalled_reader",
        [REFUSED_AUTH] = "auth",
};

static const char *const pool_names[POOL_COUNT] = {
        [POOL_CONNECTIONS] = "connections", [POOL_ACTIVE] = "active",         [POOL_REQUESTS] = "requests",
        [POOL_DOWNLOADS] = "downloads",     [POOL_BUFFERS] = "buffers",       [POOL_FILES] = "files",
        [POOL_LISTINGS] = "listings",       [POOL_LONG_HEADS] = "long_heads", [POOL_CHANGES] = "changes",
};

static const struct vector {
        const char *name, *type, *help, *label;
        const char *const *values;
        unsigned count;
        size_t at;
} vectors[] = {
        { "berth_connections", "gauge", "Connections by what they are doing.", "state", state_names, CONN_STATE_COUNT,
          AT(states) },
        { "berth_refusals_total", "counter", "Clients that were not served, or not any longer, by reason.", "reason",
          refusal_names, REFUSAL_COUNT, AT(refusals) },
        { "berth_pool_used", "gauge", "Entries of each pool in use.", "pool", pool_names, POOL_COUNT, AT(used) },
        { "berth_pool_limit", "gauge", "Entries that each pool can have.", "pool", pool_names, POOL_COUNT, AT(limit) },
        { "berth_memory_bytes", "gauge", "Memory that each pool has taken.", "pool", pool_names, POOL_COUNT,
          AT(bytes) },
};

static void put_vector(struct text *out, const struct server *server, const struct vector *vector)
{
        metrics_put_family(out, vector->name, vector->type, vector->help);
        for (unsigned i = 0; i < vector->count; i++)
                text_format(out, "%s{%s=\"%s\"} %llu\n", vector->name, vector->label, vector->values[i],
                            (unsigned long long)sum_at(server, vector->at + i * sizeof(counter)));
}

/* A combination that never happened is not there: there are 9,000. */
static void put_requests(struct text *out, const struct server *server)
{
        metrics_put_family(out, "berth_requests_total", "counter", "Requests by method and status of the answer.");
        for (unsigned method = 0; method < HTTP_METHODS; method++) {
                for (unsigned status = 0; status < STATUS_COUNT; status++) {
                        uint64_t n = sum_at(server, AT(requests) + (method * STATUS_COUNT + status) * sizeof(counter));
                        if (n)
                                text_format(out, "berth_requests_total{method=\"%s\",status=\"%u\"} %llu\n",
                                            http_method_name(method), status, (unsigned long long)n);
                }
        }
}

/* The buckets are read once each, so that the count is that of the last bucket whatever the shards do meanwhile. */
static void put_buckets(struct text *out, const struct server *server, const char *name, const struct bound *bounds,
                        unsigned count, size_t at)
{
        uint64_t below = 0;
        for (unsigned i = 0; i <= count; i++) {
                below += sum_at(server, at + i * sizeof(counter));
                text_format(out, "%s_bucket{le=\"%s\"} %llu\n", name, i < count ? bounds[i].text : "+Inf",
                            (unsigned long long)below);
        }
        text_format(out, "%s_count %llu\n", name, (unsigned long long)below);
}

static void put_histograms(struct text *out, const struct server *server)
{
        metrics_put_family(out, "berth_request_duration_seconds", "histogram",
                           "Time from a request's head to the last byte of its answer.");
        put_buckets(out, server, "berth_request_duration_seconds", duration_bounds, DURATION_BUCKETS, AT(durations));
        metrics_put_micros(out, "berth_request_duration_seconds_sum", sum_at(server, AT(duration_us)));
        metrics_put_family(out, "berth_response_size_bytes", "histogram", "Bytes sent of a response's body.");
        put_buckets(out, server, "berth_response_size_bytes", size_bounds, SIZE_BUCKETS, AT(sizes));
        metrics_put_sample(out, "berth_response_size_bytes_sum", sum_at(server, AT(size_bytes)));
}

static void put_server(struct text *out, const struct server *server, const struct metrics_identity *identity)
{
        metrics_put_family(out, "berth_build_info", "gauge", "What is running; always 1.");
        text_format(out, "berth_build_info{version=\"%s\",engine=\"%s\"} 1\n", BERTH_VERSION, identity->engine);
        metrics_put_single(out, "berth_shards", "gauge", "Threads that serve, each with its own connections.",
                           server->shard_count);
        metrics_put_single(out, "berth_draining", "gauge", "1 while the server finishes and accepts nothing new.",
                           atomic_load(&server->draining));
        for (unsigned i = 0; i < array_count(singles); i++)
                metrics_put_single(out, singles[i].name, singles[i].type, singles[i].help,
                                   sum_at(server, singles[i].at));
        for (unsigned i = 0; i < array_count(vectors); i++)
                put_vector(out, server, &vectors[i]);
        put_requests(out, server);
        put_histograms(out, server);
}

/* ---- all of it ---- */

void metrics_identify(struct metrics_identity *identity, const struct server *server)
{
        ensure(server->shard_count > 0);
        *identity = (struct metrics_identity){
                .engine = berth_port_engine(server->shards[0]->port),
                .started_us = metrics_started_us(),
        };
}

void metrics_write(struct text *out, const struct server *server, const struct metrics_identity *identity)
{
        put_server(out, server, identity);
        metrics_put_system(out, identity);
}
