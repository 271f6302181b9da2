/* Local folders of a mount: for its state (what could not be sent, messages that no system log takes) and for whole
 * files on their way (spool.c). None may lie in the mount itself: who writes there, while a program waits for it, would
 * wait for himself. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *spool_folder; /* once it is chosen; NULL: the first of all */

/* In the user's folder for state (XDG base directories), or for root that of the system. */
int local_state(char *out, size_t size)
{
        const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
        int length;
        if (state && *state == '/')
                length = snprintf(out, size, "%s/berth", state);
        else if (geteuid() == 0)
                length = snprintf(out, size, "/var/lib/berth");
        else
                length = snprintf(out, size, "%s/.local/state/berth", home ? home : "/tmp");
        return length < (int)size ? 0 : -ENAMETOOLONG;
}

int local_make(char *path)
{
        for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
                if (slash)
                        *slash = '\0';
                int made = mkdir(path, 0700);
                if (slash)
                        *slash = '/';
                if (made < 0 && errno != EEXIST)
                        return -errno;
                if (!slash)
                        return 0;
        }
}

static const char *nth_spool(unsigned i)
{
        const char *folder = getenv("TMPDIR");
        const char *folders[] = { folder && *folder == '/' ? folder : "/var/tmp", "/var/tmp", "/tmp" };
        return i < array_count(folders) ? folders[i] : NULL;
}

const char *local_spool(void)
{
        return spool_folder ? spool_folder : nth_spool(0);
}

/* ---- choosing ---- */

/* Whether the path, as far as it is there, leads to the place or beneath it. */
static bool is_within(const char *path, const char *place)
{
        char copy[PATH_MAX], real[PATH_MAX];
        size_t length = strlen(place);
        if (strlen(path) >= sizeof(copy))
                return false; /* nothing will be made there */
        strcpy(copy, path);
        while (!realpath(copy, real)) {
                char *slash = strrchr(copy, '/');
                if (!slash || slash == copy) {
                        strcpy(copy, slash ? "/" : ".");
                        if (!realpath(copy, real))
                                return false;
                        break;
                }
                *slash = '\0';
        }
        return strncmp(real, place, length) == 0 && (real[length] == '/' || real[length] == '\0');
}

int local_choose(const char *place, const char *log_file)
{
        char state[PATH_MAX];
        int error = local_state(state, sizeof(state));
        if (!error && is_within(state, place)) {
                complain("%s: what cannot be sent would be kept in %s, which lies in the mount itself (XDG_STATE_HOME)",
                         place, state);
                error = -EINVAL;
        }
        if (!error && *log_file && is_within(log_file, place)) {
                complain("--log-file %s: lies in the mount itself", log_file);
                error = -EINVAL;
        }
        unsigned i = 0;
        while (!error && nth_spool(i) && is_within(nth_spool(i), place))
                i++;
        if (!error && !nth_spool(i)) {
                complain("%s: all folders for temporary files lie in the mount itself (TMPDIR)", place);
                error = -EINVAL;
        }
        spool_folder = nth_spool(i);
        return error;
}
