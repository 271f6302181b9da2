/* The run as a whole: the sum over the threads, and the series that the report draws, one sample a second. When there
 * is no more room, two samples become one and each further one stands for twice the time; so a run may last as long as
 * it likes. */
#include "load/load_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

int load_run_init(struct load_run *run)
{
        run->samples = calloc(LOAD_MAX_SAMPLES, sizeof(*run->samples));
        run->sample_seconds = 1;
        return run->samples ? 0 : -ENOMEM;
}

void load_run_finish(struct load_run *run)
{
        for (unsigned i = 0; i < run->thread_count; i++)
                free(run->crowds[i]);
        free(run->samples);
        free(run->sources);
        load_targets_finish(&run->targets);
}

void load_run_sum(struct load_run *run)
{
        memset(&run->total.counts, 0, sizeof(run->total.counts));
        for (unsigned i = 0; i < run->thread_count; i++)
                load_tally_add_counts(&run->total, &run->crowds[i]->tally);
        run->now_us = clock_us();
        run->most_open = max_of(run->most_open, load_total(run, LOAD_OPEN));
}

void load_run_sum_all(struct load_run *run)
{
        memset(&run->total, 0, sizeof(run->total));
        load_run_sum(run);
        for (unsigned i = 0; i < run->thread_count; i++)
                load_tally_add_rest(&run->total, &run->crowds[i]->tally);
}

void load_run_tell(struct load_run *run, enum load_phase phase)
{
        atomic_store_explicit(&run->phase, phase, memory_order_release);
}

/* ---- the series ---- */

static void read_metrics(struct load_run *run, struct load_sample *sample)
{
        for (unsigned i = 0; i < LOAD_METRICS; i++)
                sample->metrics[i] = NAN;
        if (!run->scrape.running)
                return;
        pthread_mutex_lock(&run->scrape.lock);
        for (unsigned i = 0; i < run->scrape.count; i++)
                sample->metrics[i] = run->scrape.values[i];
        pthread_mutex_unlock(&run->scrape.lock);
}

static void merge(struct load_sample *into, const struct load_sample *later)
{
        uint64_t answered = into->answered + later->answered;
        uint64_t p50_us = max_of(into->p50_us, later->p50_us), p99_us = max_of(into->p99_us, later->p99_us);
        uint64_t most_us = max_of(into->most_us, later->most_us);
        *into = *later;
        into->answered = answered;
        into->p50_us = p50_us;
        into->p99_us = p99_us;
        into->most_us = most_us;
}

static void thin_out(struct load_run *run)
{
        for (unsigned i = 0; i < LOAD_MAX_SAMPLES / 2; i++) {
                run->samples[i] = run->samples[2 * i];
                merge(&run->samples[i], &run->samples[2 * i + 1]);
        }
        run->sample_count = LOAD_MAX_SAMPLES / 2;
        run->sample_seconds *= 2;
}

void load_run_sample(struct load_run *run)
{
        struct load_sample sample = { .at_seconds = load_run_seconds(run), .resident_bytes = load_resident_bytes() };
        for (unsigned i = 0; i < LOAD_COUNTS; i++)
                sample.counts[i] = load_total(run, (enum load_count)i);
        load_histogram_since(&run->recent, &run->total.latency, &run->before);
        run->before = run->total.latency;
        sample.answered = load_total(run, LOAD_ANSWERED) - run->answered_before;
        run->answered_before = load_total(run, LOAD_ANSWERED);
        sample.p50_us = load_histogram_percentile(&run->recent, 50);
        sample.p99_us = load_histogram_percentile(&run->recent, 99);
        sample.most_us = load_histogram_most(&run->recent);
        read_metrics(run, &sample);
        bool first_of_several = run->seconds++ % run->sample_seconds == 0;
        if (!first_of_several) {
                merge(&run->samples[run->sample_count - 1], &sample);
                return;
        }
        if (run->sample_count == LOAD_MAX_SAMPLES)
                thin_out(run);
        run->samples[run->sample_count++] = sample;
}

/* ---- what it came to ---- */

bool load_run_failed(const struct load_run *run)
{
        static const enum load_count bad[] = { LOAD_FAILED, LOAD_LOST, LOAD_RESET, LOAD_ASK_FAILED, LOAD_UNSENT };
        for (unsigned i = 0; i < array_count(bad); i++)
                if (load_total(run, bad[i]) > 0)
                        return true;
        enum load_count cut = run->options.slow_bytes ? LOAD_UNHEARD : LOAD_UNFINISHED;
        return run->deserted || (!run->interrupted && load_total(run, cut) > 0);
}

static double seconds_between(uint64_t from_us, uint64_t to_us)
{
        return to_us > from_us ? (double)(to_us - from_us) / 1e6 : 0;
}

double load_run_seconds(const struct load_run *run)
{
        return seconds_between(run->start_us, run->now_us);
}

double load_run_open_seconds(const struct load_run *run)
{
        uint64_t until_us = run->settled_us ? run->settled_us : run->end_us ? run->end_us : run->now_us;
        return seconds_between(run->start_us, until_us);
}

double load_run_held_seconds(const struct load_run *run)
{
        return run->opened_us ? seconds_between(run->opened_us, run->end_us ? run->end_us : run->now_us) : 0;
}

double load_run_rate(const struct load_run *run)
{
        uint64_t from_us = atomic_load_explicit(&run->requests_start_us, memory_order_relaxed);
        double seconds = seconds_between(from_us ? from_us : run->start_us, run->end_us ? run->end_us : run->now_us);
        return seconds > 0 ? (double)load_total(run, LOAD_ANSWERED) / seconds : 0;
}

double load_run_rate_asked(const struct load_run *run)
{
        if (run->options.mode == LOAD_EACH)
                return run->options.connections / run->options.each_seconds;
        return run->options.mode == LOAD_RATE ? run->options.rate : 0;
}
