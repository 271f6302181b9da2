/* inotify(7) on files that are open. */
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int store_watch_create(void)
{
        int watches = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

        return watches < 0 ? -errno : watches;
}

static int add(int watches, int descriptor, uint32_t changes)
{
        char link[32];
        int watch;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
        watch = inotify_add_watch(watches, link, changes);
        return watch < 0 ? -errno : watch;
}

int store_watch_add(int watches, int file)
{
        return add(watches, file, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF);
}

int store_watch_add_folder(int watches, int folder)
{
        const uint32_t changes = IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
                                 IN_DELETE_SELF | IN_MOVE_SELF;

        return add(watches, folder, changes | IN_ONLYDIR | IN_ONESHOT);
}

void store_watch_remove(int watches, int watch)
{
        inotify_rm_watch(watches, watch);
}

void store_watch_read(int watches, void (*told)(void *context, int watch), void *context)
{
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n;

        while ((n = read(watches, events, sizeof(events))) > 0) {
                for (char *at = events; at < events + n;) {
                        const struct inotify_event *event = (const struct inotify_event *)(void *)at;

                        if (event->mask & IN_Q_OVERFLOW)
                                told(context, -1);
                        else if (!(event->mask & IN_IGNORED))
                                told(context, event->wd);
                        at += sizeof(*event) + event->len;
                }
        }
}

bool store_open_hinders(void)
{
        return false;
}
