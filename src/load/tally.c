/* Counts of one thread, and of all. */
#include "load/load_priv.h"

#include <string.h>

static void add(_Atomic uint64_t *to, uint64_t n)
{
        atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

const char *load_error_name(unsigned error)
{
        static const char *const names[] = {
                [LOAD_TIMED_OUT - LOAD_TIMED_OUT] = "timeout",
                [LOAD_CLOSED - LOAD_TIMED_OUT] = "closed by the server",
                [LOAD_BAD - LOAD_TIMED_OUT] = "bad response",
                [LOAD_UNASKED - LOAD_TIMED_OUT] = "bytes not asked for",
                [LOAD_NOT_RANGE - LOAD_TIMED_OUT] = "not the range",
                [LOAD_STATUS_4XX - LOAD_TIMED_OUT] = "status 4xx",
                [LOAD_STATUS_5XX - LOAD_TIMED_OUT] = "status 5xx",
        };
        ensure(error < LOAD_ERRORS);
        if (error >= LOAD_TIMED_OUT)
                return names[error - LOAD_TIMED_OUT];
        const char *name = error_name((int)error);
        return name ? name : "unknown error";
}

void load_count_error(struct load_tally *tally, enum load_stage stage, int error)
{
        int which = error < 0 ? min_of(-error, (int)LOAD_ERRNO_MAX) : error;
        ensure(which < LOAD_ERRORS);
        add(&tally->errors[stage][which], 1);
}

void load_count_status(struct load_tally *tally, unsigned status)
{
        ensure(status < LOAD_STATUSES);
        add(&tally->statuses[status], 1);
}

static void add_all(_Atomic uint64_t *sum, const _Atomic uint64_t *more, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                add(&sum[i], atomic_load_explicit(&more[i], memory_order_relaxed));
}

void load_tally_add_counts(struct load_tally *sum, const struct load_tally *more)
{
        add_all(sum->counts, more->counts, LOAD_COUNTS);
}

void load_tally_add_rest(struct load_tally *sum, const struct load_tally *more)
{
        for (unsigned stage = 0; stage < LOAD_STAGES; stage++)
                add_all(sum->errors[stage], more->errors[stage], LOAD_ERRORS);
        add_all(sum->statuses, more->statuses, LOAD_STATUSES);
        load_histogram_add(&sum->latency, &more->latency);
        load_histogram_add(&sum->connect, &more->connect);
}
