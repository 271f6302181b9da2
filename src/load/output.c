/* What is written to: files that the user names, and the terminal. */
#include "load/load_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int load_check_output(const char *path)
{
        struct stat status;
        if (!path || strcmp(path, "-") == 0)
                return 0;
        /* A pipe would have a reader see its end, or have us wait for one. */
        if (stat(path, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode) && access(path, W_OK) == 0)
                return 0;
        int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
        if (descriptor < 0) {
                int error = -errno;
                complain("%s: %s", path, error_text(-error));
                return error;
        }
        close(descriptor);
        return 0;
}

bool load_has_terminal(void)
{
        return isatty(STDERR_FILENO);
}
