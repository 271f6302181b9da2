/* Latencies by a log-linear histogram (Gil Tene's HdrHistogram): below 2,048 us a bucket for each value, above it 1,024
 * buckets for each power of two. So any value is known to one part in 1,024, which is three significant digits, and
 * memory does not depend on how many were recorded.
 *
 *      value            0 .. 2,047    2,048 .. 4,095    4,096 .. 8,191   ...
 *      bucket holds         1                2                 4
 */
#include "load/load_priv.h"

static unsigned bucket_of(uint64_t us)
{
        unsigned top = us < 2 * LOAD_HALF_BUCKETS ? 10 : 63 - (unsigned)__builtin_clzll(us);
        unsigned shift = top - 10;
        return shift * LOAD_HALF_BUCKETS + (unsigned)(us >> shift);
}

uint64_t load_histogram_value(unsigned bucket)
{
        ensure(bucket < LOAD_BUCKETS);
        unsigned shift = bucket < 2 * LOAD_HALF_BUCKETS ? 0 : bucket / LOAD_HALF_BUCKETS - 1;
        uint64_t first = (uint64_t)(bucket - shift * LOAD_HALF_BUCKETS) << shift;
        return first + (1ull << shift) - 1;
}

static uint64_t load(const _Atomic uint64_t *value)
{
        return atomic_load_explicit(value, memory_order_relaxed);
}

/* One thread writes, so no addition gets lost. */
static void store(_Atomic uint64_t *value, uint64_t now)
{
        atomic_store_explicit(value, now, memory_order_relaxed);
}

void load_histogram_record(struct load_histogram *histogram, uint64_t us)
{
        us = min_of(us, LOAD_LONGEST_US);
        _Atomic uint64_t *count = &histogram->counts[bucket_of(us)];
        store(count, load(count) + 1);
        store(&histogram->sum_us, load(&histogram->sum_us) + us);
        if (us > load(&histogram->most_us))
                store(&histogram->most_us, us);
        if (load(&histogram->least_us) == 0 || us + 1 < load(&histogram->least_us))
                store(&histogram->least_us, us + 1);
}

void load_histogram_add(struct load_histogram *sum, const struct load_histogram *more)
{
        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                store(&sum->counts[i], load(&sum->counts[i]) + load(&more->counts[i]));
        store(&sum->sum_us, load(&sum->sum_us) + load(&more->sum_us));
        store(&sum->most_us, max_of(load(&sum->most_us), load(&more->most_us)));
        uint64_t least = load(&more->least_us);
        if (least > 0 && (load(&sum->least_us) == 0 || least < load(&sum->least_us)))
                store(&sum->least_us, least);
}

void load_histogram_since(struct load_histogram *out, const struct load_histogram *now,
                          const struct load_histogram *earlier)
{
        uint64_t least = 0, most = 0;
        for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
                uint64_t count = load(&now->counts[i]) - load(&earlier->counts[i]);
                store(&out->counts[i], count);
                if (count == 0)
                        continue;
                most = load_histogram_value(i);
                if (least == 0)
                        least = most + 1;
        }
        store(&out->sum_us, load(&now->sum_us) - load(&earlier->sum_us));
        store(&out->most_us, min_of(most, load(&now->most_us)));
        store(&out->least_us, least);
}

uint64_t load_histogram_count(const struct load_histogram *histogram)
{
        uint64_t count = 0;
        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                count += load(&histogram->counts[i]);
        return count;
}

uint64_t load_histogram_percentile(const struct load_histogram *histogram, double percent)
{
        ensure(percent >= 0 && percent <= 100);
        uint64_t count = load_histogram_count(histogram), seen = 0;
        double exact = percent / 100 * (double)count;
        uint64_t wanted = (uint64_t)exact;
        wanted += (double)wanted < exact - 1e-9 * (double)count; /* up to a whole one, but for the error of division */
        wanted = min_of(max_of(wanted, 1u), count);
        for (unsigned i = 0; i < LOAD_BUCKETS && count > 0; i++) {
                seen += load(&histogram->counts[i]);
                if (seen >= wanted)
                        return min_of(load_histogram_value(i), load(&histogram->most_us));
        }
        return 0;
}

double load_histogram_mean(const struct load_histogram *histogram)
{
        uint64_t count = load_histogram_count(histogram);
        return count ? (double)load(&histogram->sum_us) / (double)count : 0;
}

uint64_t load_histogram_least(const struct load_histogram *histogram)
{
        uint64_t least = load(&histogram->least_us);
        return least ? least - 1 : 0;
}

uint64_t load_histogram_most(const struct load_histogram *histogram)
{
        return load(&histogram->most_us);
}
