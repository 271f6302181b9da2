/* The port waits in steps of a millisecond, and the system's clock ticks every 15 unless somebody asks for more: here
 * somebody does. There is no timer that a completion port could wait for. */
#include "load/load_priv.h"

#include <windows.h>

#include <timeapi.h>

enum { TICK_MS = 1 };

void load_alarm_init(struct load_alarm *alarm, struct berth_port *port)
{
        *alarm = (struct load_alarm){ .port = port, .descriptor = -1 };
        timeBeginPeriod(TICK_MS);
}

void load_alarm_finish(struct load_alarm *alarm)
{
        (void)alarm;
        timeEndPeriod(TICK_MS);
}

int load_alarm_set(struct load_alarm *alarm, uint64_t at_us, uint64_t now_us, int most_ms)
{
        (void)alarm;
        if (at_us <= now_us)
                return 0;
        uint64_t wait_ms = (at_us - now_us + 999) / 1000;
        return wait_ms < (uint64_t)most_ms ? (int)wait_ms : most_ms;
}
