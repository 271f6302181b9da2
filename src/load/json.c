/* All figures as JSON (RFC 8259). Times in the names of members have their unit; those of the series are seconds since
 * the start. */
#include "load/load_priv.h"

#include <math.h>
#include <stdlib.h>

/* ---- pieces ---- */

static void put_string(FILE *out, const char *string)
{
        size_t size = 6 * strlen(string) + 1; /* at most: each byte as \u0000 */
        char *data = malloc(size);
        ensure(data);
        struct text text = text_in(data, size);
        http_escape_json(&text, span_of(string));
        ensure(!text.overflow);
        fputc('"', out);
        for (size_t i = 0; i < text.used; i++) {
                if (data[i] == '<') /* in a page it could end the element that all this stands in (report.c) */
                        fputs("\\u003c", out);
                else
                        fputc(data[i], out);
        }
        fputc('"', out);
        free(data);
}

static void put_number(FILE *out, const char *name, uint64_t value)
{
        fprintf(out, "    \"%s\": %llu", name, (unsigned long long)value);
}

static void put_percentiles(FILE *out, const struct load_histogram *histogram)
{
        static const double percents[] = { 50, 75, 90, 95, 99, 99.9, 99.99 };
        fprintf(out, "{\"count\": %llu, \"mean\": %.1f, \"min\": %llu",
                (unsigned long long)load_histogram_count(histogram), load_histogram_mean(histogram),
                (unsigned long long)load_histogram_least(histogram));
        for (unsigned i = 0; i < array_count(percents); i++)
                fprintf(out, ", \"p%g\": %llu", percents[i],
                        (unsigned long long)load_histogram_percentile(histogram, percents[i]));
        fprintf(out, ", \"max\": %llu}", (unsigned long long)load_histogram_most(histogram));
}

/* ---- what was asked ---- */

static void put_options(const struct load_run *run, FILE *out)
{
        static const char *const modes[] = { "once", "rate", "each", "idle" };
        const struct load_options *options = &run->options;
        fputs("  \"options\": {\n    \"urls\": [", out);
        for (unsigned i = 0; i < options->url_count; i++) {
                fputs(i ? ", " : "", out);
                put_string(out, options->urls[i]);
        }
        fprintf(out, "],\n    \"connections\": %u,\n    \"open_rate\": %.15g,\n    \"hold_seconds\": %.15g,\n",
                options->connections, options->open_rate, options->hold_seconds);
        fprintf(out, "    \"mode\": \"%s\",\n    \"requests_per_second\": %.15g,\n    \"each_every_seconds\": %.15g,\n",
                modes[options->mode], options->rate, options->each_seconds);
        fprintf(out, "    \"slow_bytes_per_second\": %u,\n    \"range_bytes\": %u,\n    \"reconnect\": %s,\n",
                options->slow_bytes, options->range_bytes, options->reconnect ? "true" : "false");
        fprintf(out, "    \"timeout_seconds\": %.15g,\n    \"threads\": %u,\n    \"engine\": \"%s\"\n  },\n",
                options->timeout_seconds, run->thread_count, run->engine);
        fprintf(out,
                "  \"addresses\": {\"sources\": %u, \"destinations\": %u, \"pairs\": %llu, \"pairs_needed\": %llu,",
                max_of(run->plan.sources, 1u), run->plan.endpoints, (unsigned long long)run->plan.pairs,
                (unsigned long long)run->plan.pairs_needed);
        fprintf(out, " \"local_ports\": %u},\n", run->plan.ports);
}

/* ---- what it came to ---- */

struct member {
        const char *name;
        enum load_count count;
};

static void put_members(const struct load_run *run, const struct member *members, unsigned count, FILE *out)
{
        for (unsigned i = 0; i < count; i++) {
                put_number(out, members[i].name, load_total(run, members[i].count));
                fputs(",\n", out);
        }
}

static void put_connections(const struct load_run *run, FILE *out)
{
        static const struct member members[] = {
                { "opened", LOAD_OPENED },
                { "failed", LOAD_FAILED },
                { "lost", LOAD_LOST },
                { "reset", LOAD_RESET },
                { "closed_as_announced", LOAD_ENDED },
        };
        fputs("  \"connections\": {\n", out);
        put_members(run, members, array_count(members), out);
        fprintf(out, "    \"most_open\": %llu,\n    \"open_seconds\": %.3f,\n    \"held_seconds\": %.3f,\n",
                (unsigned long long)run->most_open, load_run_open_seconds(run), load_run_held_seconds(run));
        fputs("    \"connect_us\": ", out);
        put_percentiles(out, &run->total.connect);
        fputs("\n  },\n", out);
}

static void put_requests(const struct load_run *run, FILE *out)
{
        static const struct member members[] = {
                { "due", LOAD_DUE },           { "sent", LOAD_SENT },
                { "answered", LOAD_ANSWERED }, { "failed", LOAD_ASK_FAILED },
                { "unsent", LOAD_UNSENT },     { "unfinished", LOAD_UNFINISHED },
                { "bytes", LOAD_BYTES },       { "latency_lower_bounds", LOAD_AT_LEAST },
        };
        fputs("  \"requests\": {\n", out);
        put_members(run, members, array_count(members), out);
        fprintf(out, "    \"rate\": %.2f,\n    \"rate_asked\": %.15g,\n    \"statuses\": {", load_run_rate(run),
                load_run_rate_asked(run));
        const char *before = "";
        for (unsigned i = 0; i < LOAD_STATUSES; i++) {
                uint64_t count = atomic_load_explicit(&run->total.statuses[i], memory_order_relaxed);
                if (!count)
                        continue;
                fprintf(out, "%s\"%u\": %llu", before, i, (unsigned long long)count);
                before = ", ";
        }
        fputs("},\n    \"latency_us\": ", out);
        put_percentiles(out, &run->total.latency);
        fputs("\n  },\n", out);
}

static void put_errors(const struct load_run *run, FILE *out)
{
        static const char *const stages[] = { "connect", "request", "rest" };
        fputs("  \"errors\": {", out);
        for (unsigned stage = 0; stage < LOAD_STAGES; stage++) {
                fprintf(out, "%s\"%s\": {", stage ? ", " : "", stages[stage]);
                const char *before = "";
                for (unsigned i = 0; i < LOAD_ERRORS; i++) {
                        uint64_t count = atomic_load_explicit(&run->total.errors[stage][i], memory_order_relaxed);
                        if (!count)
                                continue;
                        fprintf(out, "%s\"%s\": %llu", before, load_error_name(i), (unsigned long long)count);
                        before = ", ";
                }
                fputs("}", out);
        }
        fputs("},\n", out);
}

/* Pairs of a bucket's largest value and how many are in it. */
static void put_histogram(const struct load_histogram *histogram, FILE *out)
{
        const char *before = "";
        fputs("  \"histogram\": {\"unit\": \"us\", \"significant_digits\": 3, \"counts\": [", out);
        for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
                uint64_t count = atomic_load_explicit(&histogram->counts[i], memory_order_relaxed);
                if (!count)
                        continue;
                fprintf(out, "%s[%llu,%llu]", before, (unsigned long long)load_histogram_value(i),
                        (unsigned long long)count);
                before = ",";
        }
        fputs("]},\n", out);
}

/* ---- the series: a list of names, and rows in their order ---- */

static const struct member columns[] = {
        { "opened", LOAD_OPENED },
        { "failed", LOAD_FAILED },
        { "lost", LOAD_LOST },
        { "reset", LOAD_RESET },
        { "open", LOAD_OPEN },
        { "connecting", LOAD_CONNECTING },
        { "asking", LOAD_ASKING },
        { "due", LOAD_DUE },
        { "answered_in_all", LOAD_ANSWERED },
        { "failed_requests", LOAD_ASK_FAILED },
        { "unsent", LOAD_UNSENT },
        { "bytes", LOAD_BYTES },
};

static void put_sample(const struct load_run *run, const struct load_sample *sample, FILE *out)
{
        fprintf(out, "[%.2f", sample->at_seconds);
        for (unsigned i = 0; i < array_count(columns); i++)
                fprintf(out, ",%llu", (unsigned long long)sample->counts[columns[i].count]);
        fprintf(out, ",%llu,%llu,%llu,%llu,%llu", (unsigned long long)sample->answered,
                (unsigned long long)sample->p50_us, (unsigned long long)sample->p99_us,
                (unsigned long long)sample->most_us, (unsigned long long)sample->resident_bytes);
        for (unsigned i = 0; i < run->scrape.count; i++) {
                if (isfinite(sample->metrics[i]))
                        fprintf(out, ",%.15g", sample->metrics[i]);
                else
                        fputs(",null", out);
        }
        fputs("]", out);
}

static void put_series(const struct load_run *run, FILE *out)
{
        fprintf(out, "  \"series\": {\n    \"interval_seconds\": %u,\n    \"names\": [\"seconds\"",
                run->sample_seconds);
        for (unsigned i = 0; i < array_count(columns); i++)
                fprintf(out, ", \"%s\"", columns[i].name);
        fputs(", \"answered\", \"p50_us\", \"p99_us\", \"max_us\", \"client_resident_bytes\"],\n    \"metrics\": [",
              out);
        for (unsigned i = 0; i < run->scrape.count; i++) {
                fputs(i ? ", " : "", out);
                put_string(out, run->scrape.names[i]);
        }
        fputs("],\n    \"rows\": [", out);
        for (unsigned i = 0; i < run->sample_count; i++) {
                fputs(i ? ",\n      " : "\n      ", out);
                put_sample(run, &run->samples[i], out);
        }
        fputs("\n    ]\n  }\n", out);
}

static void put_start(const struct load_run *run, FILE *out)
{
        char date[HTTP_DATE_BYTES];
        http_format_date(date, run->started_unix);
        fprintf(out, "  \"program\": \"berth " BERTH_VERSION "\",\n  \"started\": \"%.*s\",\n", HTTP_DATE_BYTES, date);
        fprintf(out, "  \"interrupted\": %s,\n  \"deserted\": %s,\n  \"good\": %s,\n",
                run->interrupted ? "true" : "false", run->deserted ? "true" : "false",
                load_run_failed(run) ? "false" : "true");
        if (run->scrape.url)
                fprintf(out, "  \"metrics\": {\"read\": %llu, \"failed\": %llu},\n",
                        (unsigned long long)run->scrape.good, (unsigned long long)run->scrape.bad);
}

void load_json_write(const struct load_run *run, FILE *out)
{
        fputs("{\n", out);
        put_start(run, out);
        put_options(run, out);
        put_connections(run, out);
        put_requests(run, out);
        put_errors(run, out);
        put_histogram(&run->total.latency, out);
        put_series(run, out);
        fputs("}\n", out);
}
