/* flock(2): what keeps servers over one folder apart. */
#include "store/store_priv.h"

#include <errno.h>
#include <sys/file.h>

bool store_no_lock(int error)
{
        return error == -EBADF || error == -ENOLCK || error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL;
}

static int try_flock(int descriptor)
{
        int result;

        do
                result = flock(descriptor, LOCK_EX | LOCK_NB);
        while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : 0;
}

/* flock has no wait with an end; so it is asked again after 1 ms, then less and less often, at last every 20 ms. */
int store_guard(int folder, unsigned busy_ms, int *guard)
{
        uint64_t end = clock_ms() + busy_ms;
        unsigned pause_ms = 1;

        for (;;) {
                int error = try_flock(folder);
                struct timespec pause = { .tv_nsec = (long)pause_ms * 1000000 };

                if (!error)
                        *guard = folder;
                if (error != -EWOULDBLOCK)
                        return error;
                if (clock_ms() >= end)
                        return -EBUSY;
                nanosleep(&pause, NULL);
                pause_ms = min_of(pause_ms * 2, 20u);
        }
}

/* Not by close alone: a process that was forked meanwhile would keep it. */
void store_unguard(int guard)
{
        flock(guard, LOCK_UN);
}

int store_claim(int folder, const char *name, bool free)
{
        int claimed = store_open_folder(folder, name);

        if (claimed < 0)
                return claimed;
        if (flock(claimed, LOCK_EX | LOCK_NB) == 0 || free)
                return claimed;
        store_close(claimed);
        return -EBUSY;
}
