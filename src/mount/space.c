/* How much room there is: statfs(2).
 *
 * The server is asked as soon as it is known what it can, beside the look at the root, which somebody waits for: the
 * first df has its answer, and the pool begins with two connections. Who walks a tree wants several at once, and one
 * that has to be opened first costs a round trip more, with TLS two or three. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        FRAGMENT_BYTES = 4096,
        LEAST_MS = 1000, /* that an answer holds, whatever --attr-ttl */
};

static const uint64_t UNKNOWN = 1ull << 50; /* as other network file systems say */

struct space {
        struct mount *mount;
        pthread_mutex_t lock;
        uint64_t until_ms;
        struct remote_space known; /* the last answer */
        pthread_t thread;
        bool started;
        atomic_bool ending;
};

static int look(struct mount *mount, struct remote_space *found)
{
        struct space *space = mount->space;
        pthread_mutex_lock(&space->lock);
        bool known = clock_ms() < space->until_ms;
        *found = space->known;
        pthread_mutex_unlock(&space->lock);
        if (known)
                return 0;
        int error = remote_space(&mount->remote, "", found);
        if (error == -EINTR || error == -EIO || error == -ETIMEDOUT)
                return error;
        if (error) /* it does not tell */
                *found = (struct remote_space){ UINT64_MAX, UINT64_MAX };
        pthread_mutex_lock(&space->lock);
        space->known = *found;
        space->until_ms = clock_ms() + max_of(mount->options.ttl_ms, (unsigned)LEAST_MS);
        pthread_mutex_unlock(&space->lock);
        return 0;
}

void space_statfs(fuse_req_t request, fuse_ino_t number)
{
        struct remote_space space;
        (void)number;
        operation_begin(request);
        int error = look(mount_of(request), &space);
        if (error) {
                fuse_reply_err(request, -error);
                return;
        }
        uint64_t available = space.available == UINT64_MAX ? UNKNOWN : space.available;
        uint64_t used = space.used == UINT64_MAX ? 0 : space.used;
        struct statvfs statvfs = {
                .f_bsize = MOUNT_MAX_WRITE,
                .f_frsize = FRAGMENT_BYTES,
                .f_blocks = (available + used) / FRAGMENT_BYTES,
                .f_bfree = available / FRAGMENT_BYTES,
                .f_bavail = available / FRAGMENT_BYTES,
                .f_namemax = TREE_NAME_BYTES - 1, /* numbers of files stay 0: not known, as df understands it */
        };
        fuse_reply_statfs(request, &statvfs);
}

/* ---- ahead ---- */

static void *look_ahead(void *context)
{
        struct space *space = context;
        struct remote_space found;
        remote_give_up_on(&space->ending);
        look(space->mount, &found); /* who wants to know it asks again if this failed */
        return NULL;
}

int space_start(struct mount *mount)
{
        struct space *space = calloc(1, sizeof(*space));
        if (!space)
                return -ENOMEM;
        mount->space = space;
        space->mount = mount;
        pthread_mutex_init(&space->lock, NULL);
        space->started = pthread_create(&space->thread, NULL, look_ahead, space) == 0;
        return 0;
}

void space_stop(struct mount *mount)
{
        struct space *space = mount->space;
        if (!space)
                return;
        atomic_store(&space->ending, true);
        if (space->started)
                pthread_join(space->thread, NULL);
        pthread_mutex_destroy(&space->lock);
        free(space);
        mount->space = NULL;
}
