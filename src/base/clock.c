/* Clocks, read through the vDSO: no system call. */
#include "base/base.h"

#include <time.h>

static struct timespec read_clock(clockid_t id)
{
        struct timespec now;
        clock_gettime(id, &now);
        return now;
}

uint64_t clock_ms(void)
{
        struct timespec now = read_clock(CLOCK_MONOTONIC);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t clock_us(void)
{
        struct timespec now = read_clock(CLOCK_MONOTONIC);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct timespec clock_after_ms(unsigned ms)
{
        struct timespec at = read_clock(CLOCK_MONOTONIC);
        at.tv_sec += ms / 1000;
        at.tv_nsec += ms % 1000 * 1000000L;
        if (at.tv_nsec >= 1000000000L) {
                at.tv_nsec -= 1000000000L;
                at.tv_sec++;
        }
        return at;
}

int64_t clock_unix_seconds(void)
{
        return read_clock(CLOCK_REALTIME).tv_sec;
}

/* Two days that are next to one another differ by one, or by most of a year. */
int clock_zone_minutes(time_t at, const struct tm *local)
{
        struct tm utc;
        gmtime_r(&at, &utc);
        int days = local->tm_yday - utc.tm_yday;
        if (days > 1 || days < -1)
                days = days > 0 ? -1 : 1;
        return (days * 24 + local->tm_hour - utc.tm_hour) * 60 + local->tm_min - utc.tm_min;
}
