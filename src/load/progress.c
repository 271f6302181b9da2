/* What is shown while it runs, on standard error: on a terminal one line that is written over several times a second,
 * otherwise a line each second.
 *
 *      12.0 s  opened 345,678  failed 0  in flight 12  req/s 5,000  p50 0.41 ms  p99 2.10 ms
 */
#include "load/load_priv.h"

#include <unistd.h>

enum { SHOW_US = 200000, REASONS = 3 };

const char *load_duration(uint64_t us, char out[32])
{
        if (us < 1000000)
                snprintf(out, 32, us < 10000 ? "%.2f ms" : us < 100000 ? "%.1f ms" : "%.0f ms", (double)us / 1000);
        else
                snprintf(out, 32, us < 100000000 ? "%.2f s" : "%.0f s", (double)us / 1e6);
        return out;
}

void load_progress_init(struct load_progress *progress, bool quiet)
{
        *progress = (struct load_progress){ .terminal = load_has_terminal(), .quiet = quiet };
}

static void put_count(struct text *line, const char *name, uint64_t value)
{
        text_format(line, "  %s %s", name, figure_count(value).text);
}

/* The most frequent reasons of connects that failed. */
static void put_reasons(struct text *line, const struct load_run *run)
{
        unsigned top[REASONS + 1], count = 0;
        uint64_t counts[REASONS + 1];
        for (unsigned i = 0; i < LOAD_ERRORS; i++) {
                uint64_t n = atomic_load_explicit(&run->total.errors[LOAD_AT_CONNECT][i], memory_order_relaxed);
                if (n == 0)
                        continue;
                unsigned at = count;
                for (; at > 0 && counts[at - 1] < n; at--) {
                        counts[at] = counts[at - 1];
                        top[at] = top[at - 1];
                }
                counts[at] = n;
                top[at] = i;
                count = min_of(count + 1, (unsigned)REASONS);
        }
        for (unsigned i = 0; i < count; i++)
                text_format(line, "%s%s %s", i ? ", " : " (", load_error_name(top[i]), figure_count(counts[i]).text);
        if (count)
                text_format(line, ")");
}

/* Answers a second between the last sample and the one before. */
static uint64_t recent_rate(const struct load_run *run)
{
        const struct load_sample *last = &run->samples[run->sample_count - 1];
        double passed = last->at_seconds - (run->sample_count > 1 ? last[-1].at_seconds : 0);
        return passed > 0.01 ? (uint64_t)((double)last->answered / passed + 0.5) : 0;
}

static void put_requests(struct text *line, const struct load_run *run)
{
        char p50[32], p99[32];
        if (load_total(run, LOAD_DUE) == 0 || run->sample_count == 0)
                return;
        const struct load_sample *last = &run->samples[run->sample_count - 1];
        put_count(line, "req/s", recent_rate(run));
        if (last->most_us)
                text_format(line, "  p50 %s  p99 %s", load_duration(last->p50_us, p50),
                            load_duration(last->p99_us, p99));
        uint64_t bad = load_total(run, LOAD_ASK_FAILED) + load_total(run, LOAD_UNSENT);
        if (bad)
                put_count(line, "bad", bad);
}

static void compose(struct text *line, const struct load_run *run)
{
        uint64_t gone = load_total(run, LOAD_LOST) + load_total(run, LOAD_RESET);
        text_format(line, "%.1f s", load_run_seconds(run));
        put_count(line, "opened", load_total(run, LOAD_OPENED));
        put_count(line, "failed", load_total(run, LOAD_FAILED));
        put_reasons(line, run);
        if (gone)
                put_count(line, "lost", gone);
        if (load_total(run, LOAD_OPEN) + gone != load_total(run, LOAD_OPENED))
                put_count(line, "open", load_total(run, LOAD_OPEN));
        put_count(line, "in flight", load_total(run, LOAD_CONNECTING) + load_total(run, LOAD_ASKING));
        put_requests(line, run);
}

void load_progress_show(struct load_progress *progress, const struct load_run *run, bool second)
{
        char data[400];
        struct text line = text_in(data, sizeof(data));
        bool due = second || (progress->terminal && run->now_us >= progress->shown_us + SHOW_US);
        if (progress->quiet || !due)
                return;
        if (progress->terminal)
                text_put(&line, SPAN("\r"));
        compose(&line, run);
        text_put(&line, progress->terminal ? SPAN("\x1b[K") : SPAN("\n"));
        progress->shown_us = run->now_us;
        ssize_t written = write(STDERR_FILENO, data, line.used);
        (void)written;
}

void load_progress_end(struct load_progress *progress)
{
        if (progress->terminal && progress->shown_us)
                fputs("\n", stderr);
}
