/* fusermount3, through which ordinary users mount: it opens /dev/fuse, mounts, and hands the descriptor over by a
 * socket whose number it finds in the environment (_FUSE_COMMFD, as libfuse's own mount_util has it). */
#include "mount/command.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const char program[] = "fusermount3";

/* The environment with one variable more. */
static char **with_variable(char *variable)
{
        size_t count = 0;
        while (environ[count])
                count++;
        char **all = calloc(count + 2, sizeof(*all));
        if (!all)
                return NULL;
        memcpy(all, environ, count * sizeof(*all));
        all[count] = variable;
        return all;
}

static int start(pid_t *child, const char *const *arguments, char **environment, bool quiet)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        posix_spawn_file_actions_init(&actions);
        posix_spawnattr_init(&attributes);
        if (quiet)
                posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        sigemptyset(&none); /* ours are blocked, for the thread that waits for them */
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        int error = posix_spawnp(child, program, &actions, &attributes, (char *const *)(uintptr_t)arguments,
                                 environment);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        return -error;
}

static int wait_for(pid_t child)
{
        int status;
        while (waitpid(child, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* One byte with a descriptor beside it; -EPERM when the other side closes without. */
static int receive_descriptor(int connection)
{
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec part = { &byte, 1 };
        struct msghdr message = {
                .msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n;
        while ((n = recvmsg(connection, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
                ;
        struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
        if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                return -EPERM;
        int descriptor;
        memcpy(&descriptor, CMSG_DATA(header), sizeof(descriptor));
        return descriptor;
}

static int mount_over(int ours, int theirs, const char *path, const char *options)
{
        char variable[32];
        pid_t child;
        snprintf(variable, sizeof(variable), "_FUSE_COMMFD=%d", theirs);
        char **environment = with_variable(variable);
        if (!environment)
                return -ENOMEM;
        fcntl(theirs, F_SETFD, 0); /* goes through exec */
        int error = start(&child, (const char *[]){ program, "-o", options, "--", path, NULL }, environment, false);
        free(environment);
        close(theirs);
        if (error) {
                complain("%s: %s%s", program, strerror(-error),
                         error == -ENOENT ? " (ordinary users need it to mount: apt-get install fuse3)" : "");
                return error;
        }
        int descriptor = receive_descriptor(ours);
        error = wait_for(child);
        if (descriptor >= 0 && error) {
                close(descriptor);
                return error;
        }
        return descriptor; /* else fusermount3 has said why */
}

int fusermount_mount(const char *path, const char *options)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        int result = mount_over(ends[0], ends[1], path, options);
        close(ends[0]);
        return result;
}

int fusermount_unmount(const char *path, bool lazy, bool quiet)
{
        pid_t child;
        int error = start(&child, (const char *[]){ program, lazy ? "-uz" : "-u", "--", path, NULL }, environ, quiet);
        return error ? error : wait_for(child);
}
