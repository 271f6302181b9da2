/* The port waits in steps of a millisecond. A request that is sent up to a millisecond after it was due would show that
 * in its latency, which is more than many servers take to answer. So a timerfd is waited for as well. */
#include "load/load_priv.h"

#include <sys/timerfd.h>
#include <unistd.h>

enum { WORTH_US = 30 }; /* setting the alarm costs about as much as this */

/* The number of times it went off says nothing new, but unread it would stay readable. */
static void went_off(struct berth_op *op)
{
        struct load_alarm *alarm = container_of(op, struct load_alarm, op);
        uint64_t times;
        if (op->result < 0)
                return;
        ssize_t n = read(alarm->descriptor, &times, sizeof(times));
        (void)n;
        alarm->at_us = 0;
        berth_wait_readable(alarm->port, &alarm->op, &alarm->handle);
}

void load_alarm_init(struct load_alarm *alarm, struct berth_port *port)
{
        *alarm = (struct load_alarm){ .port = port, .op.done = went_off };
        alarm->descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (alarm->descriptor < 0)
                return;
        if (berth_adopt_pollable(port, &alarm->handle, alarm->descriptor) < 0) {
                close(alarm->descriptor);
                alarm->descriptor = -1;
                return;
        }
        berth_wait_readable(port, &alarm->op, &alarm->handle);
}

static void closed(struct berth_op *op)
{
        (void)op;
}

void load_alarm_finish(struct load_alarm *alarm)
{
        static _Thread_local struct berth_op closing;
        if (alarm->descriptor < 0)
                return;
        closing.done = closed;
        berth_close(alarm->port, &closing, &alarm->handle, 0);
        alarm->descriptor = -1;
}

int load_alarm_set(struct load_alarm *alarm, uint64_t at_us, uint64_t now_us, int most_ms)
{
        if (at_us <= now_us + WORTH_US)
                return 0;
        uint64_t wait_us = at_us - now_us;
        if (wait_us >= (uint64_t)most_ms * 1000)
                return most_ms;
        if (alarm->descriptor < 0)
                return (int)((wait_us + 999) / 1000);
        if (alarm->at_us != at_us) {
                struct itimerspec when = { .it_value = { (time_t)(at_us / 1000000), (long)(at_us % 1000000) * 1000 } };
                timerfd_settime(alarm->descriptor, TFD_TIMER_ABSTIME, &when, NULL);
                alarm->at_us = at_us;
        }
        return most_ms;
}
