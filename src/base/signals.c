/* Signals, waited for by a thread instead of interrupting one. SIGUSR2 is signals_wake()'s. */
#include "base/base.h"

#include <signal.h>
#include <unistd.h>

static sigset_t taken;

void signals_take(bool reload)
{
        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&taken);
        sigaddset(&taken, SIGTERM);
        sigaddset(&taken, SIGINT);
        sigaddset(&taken, SIGUSR2);
        if (reload)
                sigaddset(&taken, SIGHUP);
        pthread_sigmask(SIG_BLOCK, &taken, NULL);
}

enum told signals_wait(int timeout_ms)
{
        struct timespec wait = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
        int number = 0;
        if (timeout_ms >= 0)
                number = sigtimedwait(&taken, NULL, &wait);
        else if (sigwait(&taken, &number) != 0)
                return TOLD_NOTHING;
        switch (number) {
        case SIGTERM:
        case SIGINT:
                return TOLD_END;
        case SIGHUP:
                return TOLD_RELOAD;
        default:
                return TOLD_NOTHING;
        }
}

/* To the process, of whose threads only those that wait take it. */
void signals_wake(void)
{
        kill(getpid(), SIGUSR2);
}
