/* Files of lines. A file is read whole into one piece of memory, which is wiped when it goes: it may hold secrets. */
#include "auth/auth_priv.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot_read(const char *path, int error)
{
        complain("cannot read %s: %s", path, error_text(-error));
        return error;
}

static int check_state(const char *path, const struct stat *state)
{
        if (!S_ISREG(state->st_mode)) {
                complain("cannot read %s: it is not a regular file", path);
                return -EINVAL;
        }
        if (state->st_size > AUTH_FILE_BYTES) {
                complain("cannot read %s: it is longer than %d MiB", path, AUTH_FILE_BYTES >> 20);
                return -EFBIG;
        }
        return 0;
}

/* Bytes read, which are fewer than the size when the file has become shorter since; or -errno. */
static ssize_t read_all(int descriptor, char *text, size_t size)
{
        size_t have = 0;
        while (have < size) {
                ssize_t n = read(descriptor, text + have, size - have);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                have += (size_t)n;
        }
        return (ssize_t)have;
}

static int read_text(struct auth_lines *lines, int descriptor, bool secret)
{
        struct stat state;
        if (fstat(descriptor, &state) < 0)
                return cannot_read(lines->path, -errno);
        int error = check_state(lines->path, &state);
        if (error)
                return error;
        if (secret && plain_is_public(descriptor))
                complain("%s: everybody on this machine may read it; chmod o-r would end that", lines->path);
        lines->size = (size_t)state.st_size;
        lines->text = calloc(1, lines->size + 1);
        if (!lines->text)
                return cannot_read(lines->path, -ENOMEM);
        ssize_t have = read_all(descriptor, lines->text, lines->size);
        if (have < 0) {
                cannot_read(lines->path, (int)have);
                auth_lines_close(lines);
                return (int)have;
        }
        lines->rest = (struct span){ lines->text, (size_t)have };
        return 0;
}

int auth_lines_open(struct auth_lines *lines, const char *path, bool secret)
{
        *lines = (struct auth_lines){ .path = path };
        int descriptor = plain_open(path, PLAIN_READ);
        if (descriptor < 0)
                return cannot_read(path, descriptor);
        int error = read_text(lines, descriptor, secret);
        close(descriptor);
        return error;
}

void auth_lines_close(struct auth_lines *lines)
{
        if (lines->text)
                crypto_wipe(lines->text, lines->size);
        free(lines->text);
        *lines = (struct auth_lines){ 0 };
}

bool auth_lines_next(struct auth_lines *lines, struct span *line)
{
        while (lines->rest.size > 0) {
                *line = span_cut(&lines->rest, '\n');
                lines->line++;
                if (line->size > 0 && line->data[line->size - 1] == '\r')
                        line->size--;
                if (line->size > 0 && line->data[0] != '#')
                        return true;
        }
        return false;
}

size_t auth_lines_count(const struct auth_lines *lines)
{
        size_t count = 1;
        for (size_t i = 0; i < lines->rest.size; i++)
                count += lines->rest.data[i] == '\n';
        return count;
}

char *auth_lines_string(struct span part)
{
        char *string = (char *)(uintptr_t)part.data;
        string[part.size] = '\0';
        return string;
}

int auth_lines_refuse(const struct auth_lines *lines, unsigned line, const char *format, ...)
{
        char what[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(what, sizeof(what), format, arguments);
        va_end(arguments);
        complain("%s:%u: %s", lines->path, line, what);
        return -EINVAL;
}
