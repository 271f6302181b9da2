/* What is written to: files that the user names, and the console. */
#include "load/load_priv.h"

#include <unistd.h>
#include <windows.h>

/* Opening makes the file where there is none, and leaves what is in it. */
int load_check_output(const char *path)
{
        if (!path || strcmp(path, "-") == 0)
                return 0;
        int descriptor = plain_open(path, PLAIN_APPEND);
        if (descriptor < 0) {
                complain("%s: %s", path, error_text(-descriptor));
                return descriptor;
        }
        close(descriptor);
        return 0;
}

/* A console that knows the sequence which clears the rest of a line. */
bool load_has_terminal(void)
{
        HANDLE console = GetStdHandle(STD_ERROR_HANDLE);
        DWORD mode;
        return GetConsoleMode(console, &mode) && SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}
