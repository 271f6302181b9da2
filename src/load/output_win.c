/* What is written to: files that the user names, and the console. */
#include "load/load_priv.h"

#include <errno.h>
#include <windows.h>

enum { PATH_UNITS = 32768 };

static FILE *open_as(const char *path, const wchar_t *mode)
{
        static wchar_t wide[PATH_UNITS]; /* by the main thread alone */
        if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, PATH_UNITS) > 0)
                return _wfopen(wide, mode);
        errno = ENOENT;
        return NULL;
}

/* Opening makes the file where there is none, and leaves what is in it. */
int load_check_output(const char *path)
{
        if (!path || strcmp(path, "-") == 0)
                return 0;
        FILE *out = open_as(path, L"ab");
        if (!out) {
                int error = -errno;
                complain("%s: %s", path, error_text(-error));
                return error;
        }
        fclose(out);
        return 0;
}

FILE *load_open_output(const char *path)
{
        return open_as(path, L"wb");
}

/* A console that knows the sequence which clears the rest of a line. */
bool load_has_terminal(void)
{
        HANDLE console = GetStdHandle(STD_ERROR_HANDLE);
        DWORD mode;
        return GetConsoleMode(console, &mode) && SetConsoleMode(console, mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
}
