/* What it came to, for people. */
#include "load/load_priv.h"

static void row(FILE *out, const char *name)
{
        fprintf(out, "  %-13s", name);
}

static void print_errors(const struct load_run *run, enum load_stage stage, FILE *out)
{
        const char *before = "  (";
        for (unsigned i = 0; i < LOAD_ERRORS; i++) {
                uint64_t count = atomic_load_explicit(&run->total.errors[stage][i], memory_order_relaxed);
                if (count == 0)
                        continue;
                fprintf(out, "%s%s %s", before, load_error_name(i), figure_count(count).text);
                before = ", ";
        }
        if (*before == ',')
                fputc(')', out);
        fputc('\n', out);
}

static void print_connections(const struct load_run *run, FILE *out)
{
        row(out, "connections");
        fprintf(out, "%s opened of %s in %.2f s (%s a second), held for %.1f s\n",
                figure_count(load_total(run, LOAD_OPENED)).text, figure_count(run->options.connections).text,
                load_run_open_seconds(run),
                figure_count(
                        (uint64_t)((double)load_total(run, LOAD_OPENED) / max_of(load_run_open_seconds(run), 1e-3)))
                        .text,
                load_run_held_seconds(run));
        row(out, "");
        fprintf(out, "%s failed", figure_count(load_total(run, LOAD_FAILED)).text);
        print_errors(run, LOAD_AT_CONNECT, out);
        row(out, "");
        fprintf(out, "%s lost (closed by the server), %s reset", figure_count(load_total(run, LOAD_LOST)).text,
                figure_count(load_total(run, LOAD_RESET)).text);
        if (load_total(run, LOAD_ENDED))
                fprintf(out, ", %s closed by the server as announced", figure_count(load_total(run, LOAD_ENDED)).text);
        print_errors(run, LOAD_AT_REST, out);
}

static void print_requests(const struct load_run *run, FILE *out)
{
        row(out, "requests");
        fprintf(out, "%s answered of %s due, %s received\n", figure_count(load_total(run, LOAD_ANSWERED)).text,
                figure_count(load_total(run, LOAD_DUE)).text, figure_size(load_total(run, LOAD_BYTES)).text);
        row(out, "");
        fprintf(out, "%s failed", figure_count(load_total(run, LOAD_ASK_FAILED)).text);
        print_errors(run, LOAD_AT_REQUEST, out);
        if (load_total(run, LOAD_UNSENT)) {
                row(out, "");
                fprintf(out, "%s never sent: no connection was free\n",
                        figure_count(load_total(run, LOAD_UNSENT)).text);
        }
        if (load_total(run, LOAD_UNFINISHED)) {
                row(out, "");
                fprintf(out, "%s cut off by the end\n", figure_count(load_total(run, LOAD_UNFINISHED)).text);
        }
        if (run->options.slow_bytes)
                return;
        row(out, "rate");
        fprintf(out, "%.1f a second", load_run_rate(run));
        if (load_run_rate_asked(run) > 0)
                fprintf(out, " of %.1f asked for", load_run_rate_asked(run));
        fputc('\n', out);
}

static void print_latencies(const struct load_run *run, FILE *out)
{
        static const double percents[] = { 50, 90, 99, 99.9, 99.99 };
        char text[32];
        row(out, "latency");
        for (unsigned i = 0; i < array_count(percents); i++)
                fprintf(out, "p%g %s  ", percents[i],
                        load_duration(load_histogram_percentile(&run->total.latency, percents[i]), text));
        fprintf(out, "max %s\n", load_duration(load_histogram_most(&run->total.latency), text));
        row(out, "");
        fputs(run->options.slow_bytes ? "(from when a request was due to the head of its answer)\n"
                                      : "(from when a request was due to the end of its answer)\n",
              out);
        if (load_total(run, LOAD_AT_LEAST)) {
                row(out, "");
                fprintf(out, "(%s of %s are lower bounds: how long requests without an answer had waited)\n",
                        figure_count(load_total(run, LOAD_AT_LEAST)).text,
                        figure_count(load_histogram_count(&run->total.latency)).text);
        }
}

void load_summary(const struct load_run *run, FILE *out)
{
        char text[32];
        print_connections(run, out);
        if (run->deserted) {
                row(out, "");
                fprintf(out, "the hold of %g s ended early: no connection was open any more\n",
                        run->options.hold_seconds);
        }
        if (load_histogram_count(&run->total.connect)) {
                row(out, "connect");
                fprintf(out, "p50 %s  ", load_duration(load_histogram_percentile(&run->total.connect, 50), text));
                fprintf(out, "p99 %s  ", load_duration(load_histogram_percentile(&run->total.connect, 99), text));
                fprintf(out, "max %s\n", load_duration(load_histogram_most(&run->total.connect), text));
        }
        if (load_total(run, LOAD_DUE))
                print_requests(run, out);
        if (load_histogram_count(&run->total.latency))
                print_latencies(run, out);
}
