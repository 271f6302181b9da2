/* `berth unmount`: returns when the data is with the server, the folder is free and the mount's process has ended.
 *
 * First everything is sent, by syncfs() (pages of the kernel) and by the attribute that makes the mount send what it
 * has gathered, so that what cannot be sent is known while one can still do something about it. Then it is unmounted,
 * and the process, whose number its statistics tell, is waited for.
 */
#include "mount/command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SPARE_MS = 15000 }; /* beside --retry, for an end without hurry */

static const char help[] =
        "Usage: berth unmount [OPTIONS] DIR\n"
        "\n"
        "Sends what is not sent yet, unmounts DIR, and returns when the mount's process has ended.\n"
        "\n"
        "      --lazy    also where DIR is in use: it is gone from the tree at once, and ends with its last user\n"
        "  -h, --help    this text\n"
        "\n"
        "Exit status: 0; 1 DIR is in use, or is no mount of berth, or data could not be sent; 2 a wrong option.\n"
        "\n"
        "Examples:\n"
        "  berth unmount ~/share\n"
        "  berth unmount --lazy /mnt/mirror\n";

/* ---- sending ---- */

/* What the kernel has, where the folder can be opened: not with the server away. */
static void sync_pages(const char *path)
{
        int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
                return;
        syncfs(folder); /* its errors are the files', which are counted below */
        close(folder);  /* or it would be in use */
}

/* Files that could not be sent, now or before, each counted once; or -errno. `folder`: where such are left. */
static int send_all(const char *path, char folder[FLUSH_ANSWER_BYTES])
{
        char answer[FLUSH_ANSWER_BYTES];
        sync_pages(path);
        ssize_t n = getxattr(path, FLUSH_ATTRIBUTE, answer, sizeof(answer) - 1);
        if (n < 0)
                return -errno;
        answer[n] = '\0';
        const char *space = strchr(answer, ' ');
        strcpy(folder, space ? space + 1 : "");
        return atoi(answer);
}

/* ---- the process ---- */

struct server {
        int descriptor; /* of its process; -1: nobody knows which */
        unsigned patience_ms;
};

static struct server find_server(const char *path)
{
        char text[8192];
        struct server server = { .descriptor = -1 };
        if (stats_read(path, text, sizeof(text)) < 0)
                return server;
        uint64_t pid = stats_number(text, "pid"), retry_ms = stats_number(text, "retry-ms");
        server.patience_ms = (retry_ms == UINT64_MAX ? 0 : (unsigned)retry_ms) + SPARE_MS;
        if (pid > 1 && pid < INT32_MAX)
                server.descriptor = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
        return server;
}

static int wait_for_end(const struct server *server)
{
        struct pollfd end = { .fd = server->descriptor, .events = POLLIN };
        int n;
        if (server->descriptor < 0)
                return 0; /* in another name space, or ended already */
        while ((n = poll(&end, 1, (int)server->patience_ms)) < 0 && errno == EINTR)
                ;
        if (n > 0)
                return 0;
        complain("it is unmounted, but its process has not ended yet: it may still be sending");
        return COMMAND_FAILED;
}

/* ---- all of it ---- */

static int explain(const char *path, int error)
{
        if (error == -EBUSY)
                complain("%s is in use and stays mounted (fuser -vm %s tells by whom; --lazy)", path, path);
        else if (error == -EPERM)
                complain("%s: only who mounted it, or root, may unmount it", path);
        else
                complain("%s: cannot be unmounted: %s", path, strerror(-error));
        return COMMAND_FAILED;
}

/* Whether there was room to keep it the process knows, which may not have come to that yet. */
static int tell_unsent(const struct place *place, int files, const char *folder)
{
        complain("%d file%s could not be sent to %s; the mount's log tells which, and what was kept of them%s%s", files,
                 files == 1 ? "" : "s", place->source, *folder ? " in " : "", folder);
        return COMMAND_FAILED;
}

static int unmount(const struct place *place, bool lazy)
{
        char folder[FLUSH_ANSWER_BYTES] = "";
        int left = send_all(place->path, folder); /* an error: not ours to ask; its process does it all the same */
        struct server server = find_server(place->path);
        int error = place_unmount(place->path, lazy);
        if (error) {
                if (left > 0)
                        tell_unsent(place, left, folder);
                return explain(place->path, error);
        }
        int status = lazy ? 0 : wait_for_end(&server);
        return left > 0 ? tell_unsent(place, left, folder) : status;
}

static int unmount_place(const struct place *place, const char *folder, bool lazy)
{
        int error;
        switch (place->state) {
        case PLACE_BERTH:
                return unmount(place, lazy);
        case PLACE_DEAD:
                error = place_unmount(place->path, true);
                if (error)
                        return explain(place->path, error);
                say("%s: its process was gone already; what it had not sent then is lost", place->path);
                return 0;
        default:
                complain("%s: nothing is mounted there by berth", folder);
                return COMMAND_FAILED;
        }
}

static const struct option table[] = {
        { "lazy", no_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

int unmount_command(int argc, char **argv)
{
        struct place place;
        bool lazy = false;
        int option;
        optind = 1;
        argv[0] = (char *)(uintptr_t) "berth";
        while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
                if (option == 'h') {
                        option_help(help);
                        return 0;
                }
                if (option != 'l')
                        return COMMAND_WRONG;
                lazy = true;
        }
        if (optind + 1 != argc) {
                complain("expected one DIR (see berth unmount --help)");
                return COMMAND_WRONG;
        }
        int error = place_look(&place, argv[optind]);
        if (error) {
                complain("%s: %s", argv[optind], strerror(-error));
                return COMMAND_FAILED;
        }
        return unmount_place(&place, argv[optind], lazy);
}
