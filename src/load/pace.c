/* Open-loop schedules: what is due when is fixed beforehand and does not wait for anybody's answer. The queue of what
 * is due and has not been done is nothing but two numbers, the next k and the one that the clock has come to, so it
 * costs no memory however long a server stalls. */
#include "load/load_priv.h"

void load_pace_rate(struct load_pace *pace, double rate, uint32_t thread, uint32_t threads)
{
        ensure(rate > 0 && thread < threads);
        *pace = (struct load_pace){
                .end_us = UINT64_MAX,
                .step_us = 1e6 / rate,
                .thread = thread,
                .threads = threads,
        };
}

void load_pace_each(struct load_pace *pace, double seconds, uint32_t thread, uint32_t threads, uint32_t clients,
                    uint32_t all)
{
        ensure(seconds > 0 && thread < threads && clients > 0 && clients <= all);
        *pace = (struct load_pace){
                .end_us = UINT64_MAX,
                .step_us = seconds * 1e6 / all,
                .round_us = seconds * 1e6,
                .thread = thread,
                .threads = threads,
                .clients = clients,
        };
}

uint64_t load_pace_due(const struct load_pace *pace, uint64_t k)
{
        ensure(pace->threads > 0);
        uint64_t round = pace->round_us > 0 ? k / pace->clients : 0;
        uint64_t turn = (k - round * pace->clients) * pace->threads + pace->thread;
        return pace->start_us + (uint64_t)((double)round * pace->round_us + (double)turn * pace->step_us);
}

uint64_t load_pace_next(const struct load_pace *pace)
{
        uint64_t due_us = load_pace_due(pace, pace->next);
        return due_us < pace->end_us ? due_us : UINT64_MAX;
}

uint64_t load_pace_come(struct load_pace *pace, uint64_t now_us)
{
        uint64_t before = pace->counted, due_us;
        while ((due_us = load_pace_due(pace, pace->counted)) < pace->end_us && due_us <= now_us)
                pace->counted++;
        return pace->counted - before;
}

void load_pace_skip(struct load_pace *pace, uint64_t now_us)
{
        ensure(pace->round_us == 0 && pace->threads > 0);
        if (now_us <= pace->start_us)
                return;
        double each_us = pace->step_us * pace->threads;
        pace->next = max_of(pace->next, (uint64_t)((double)(now_us - pace->start_us) / each_us));
}
