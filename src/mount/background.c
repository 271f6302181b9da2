/* The background: a child does everything, and who typed the command waits for its word. Forked before there is any
 * thread or connection, which do not survive a fork. Until it stands the child's messages go to the terminal, then to
 * the file that was asked for, to the system's log, or, where there is none (in containers, as a rule), to a file in the
 * folder for state: they tell what could not be sent and where it is, and nothing else would.
 */
#include "mount/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int open_file(const char *path)
{
        return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Says so: nobody looks for it there. */
static int open_own_log(void)
{
        char path[3072];
        int log = -1, error = local_state(path, sizeof(path) - strlen("/mount.log"));
        if (!error)
                error = local_make(path);
        if (!error) {
                log = open_file(strcat(path, "/mount.log"));
                error = log < 0 ? -errno : 0;
        }
        if (!error) {
                say("there is no system log; messages of the background go to %s (--log-file)", path);
                return log;
        }
        complain("there is no system log, and %s: %s; messages of the background are lost (--log-file)", path,
                 strerror(-error));
        return open("/dev/null", O_WRONLY | O_CLOEXEC);
}

/* Each line that is written becomes one message: say() writes lines at once. */
static int open_system_log(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
        int log = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (log >= 0 && connect(log, (struct sockaddr *)&address, sizeof(address)) == 0)
                return log;
        if (log >= 0)
                close(log);
        return open_own_log();
}

static int open_log(const struct mount_options *options)
{
        if (!*options->log_file)
                return options->foreground ? -1 : open_system_log();
        int log = open_file(options->log_file);
        if (log < 0)
                complain("--log-file %s: %s", options->log_file, strerror(errno));
        return log;
}

/* Of the parent. The child's word is its exit status; without one it has ended before. */
static _Noreturn void wait_for_word(int report, pid_t child)
{
        unsigned char word;
        int status;
        ssize_t n;
        while ((n = read(report, &word, 1)) < 0 && errno == EINTR)
                ;
        if (n == 1)
                _exit(word);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (WIFEXITED(status))
                _exit(WEXITSTATUS(status)); /* it has said why */
        complain("the background process was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
        _exit(COMMAND_FAILED);
}

int background_begin(struct background *background, const struct mount_options *options)
{
        int ends[2];
        *background = (struct background){ .report = -1 };
        if (!options->foreground)
                closefrom(STDERR_FILENO + 1); /* what a script has open there would stay open */
        background->log = open_log(options);
        if (*options->log_file && background->log < 0)
                return -EINVAL;
        if (options->foreground)
                return 0;
        if (pipe2(ends, O_CLOEXEC) < 0) {
                complain("no pipe: %s", strerror(errno));
                return -errno;
        }
        pid_t child = fork();
        if (child < 0) {
                complain("no process for the background: %s", strerror(errno));
                return -EAGAIN;
        }
        if (child > 0) {
                close(ends[1]);
                wait_for_word(ends[0], child);
        }
        close(ends[0]);
        background->report = ends[1];
        return 0;
}

static void turn_to_log(int log)
{
        dup2(log, STDERR_FILENO);
        close(log);
}

void background_tell(struct background *background)
{
        unsigned char word = 0;
        if (background->report < 0) {
                if (background->log >= 0)
                        turn_to_log(background->log);
                return;
        }
        setsid();
        if (chdir("/") < 0)
                complain("/: %s", strerror(errno)); /* then the folder that it was in cannot be unmounted */
        int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDOUT_FILENO);
        turn_to_log(background->log);
        close(nothing);
        ssize_t n = write(background->report, &word, 1);
        (void)n; /* who waited may have been killed */
        close(background->report);
        background->report = -1;
}
