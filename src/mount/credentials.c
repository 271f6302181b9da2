/* Names, passwords and tokens: from the URL, from files, from the environment, from the terminal. What was read stays
 * until the process ends. */
#include "mount/command.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { SECRET_BYTES = 1024 };

/* ---- in the URL ---- */

/* %41 and the like, in place. */
static void undo_percent(char *text)
{
        char *out = text;
        for (; *text; text++) {
                int high = text[0] == '%' ? hex_digit(text[1]) : -1;
                int low = high >= 0 ? hex_digit(text[2]) : -1;
                *out++ = low >= 0 ? (char)(high << 4 | low) : *text;
                text += low >= 0 ? 2 : 0;
        }
        *out = '\0';
}

static const struct {
        const char *given, *meant;
} schemes[] = {
        { "http://", "http://" },
        { "https://", "https://" },
        { "dav://", "http://" },
        { "davs://", "https://" },
};

static const char *scheme_of(const char *url, const char **rest)
{
        for (unsigned i = 0; i < array_count(schemes); i++) {
                size_t length = strlen(schemes[i].given);
                if (strncasecmp(url, schemes[i].given, length) == 0) {
                        *rest = url + length;
                        return schemes[i].meant;
                }
        }
        return NULL;
}

/* The last @ before the path ends user and password. */
static const char *find_at(const char *authority)
{
        const char *found = NULL;
        for (const char *at = authority; *at && !strchr("/?#", *at); at++)
                if (*at == '@')
                        found = at;
        return found;
}

/* So that ps does not tell. */
static void hide(char *from, size_t size)
{
        memset(from, '*', size);
}

int credentials_from_url(struct mount_options *options, char *argument)
{
        const char *rest, *scheme = scheme_of(argument, &rest);
        if (!scheme) {
                complain("%s: expected a URL as in http://HOST/PATH or https://HOST/PATH",
                         strchr(argument, '@') ? "the first argument" : argument);
                return -EINVAL;
        }
        const char *at = find_at(rest), *host = at ? at + 1 : rest;
        if (!*host || strchr("/?#", *host) || strpbrk(host, "?#")) {
                complain(strpbrk(host, "?#") ? "the URL: ? and # have no place in it (%%3F and %%23 in names)"
                                             : "the URL names no host");
                return -EINVAL;
        }
        char *url = options_keep(options, malloc(strlen(scheme) + strlen(host) + 1));
        char *user = at ? options_keep(options, strndup(rest, (size_t)(at - rest))) : NULL;
        if (!url || (at && !user)) {
                complain("no memory");
                return -EINVAL;
        }
        strcpy(stpcpy(url, scheme), host);
        options->url = options->client.url = url;
        if (!user)
                return 0;
        const char *colon = strchr(user, ':');
        if (colon) {
                size_t from = (size_t)(colon + 1 - user);
                hide(argument + (rest - argument) + from, (size_t)(at - rest) - from);
        }
        undo_percent(user);
        options->client.user = user; /* "name" or "name:password" */
        return 0;
}

/* ---- in files ---- */

/* The first line of a file into `out`. */
static int read_secret(const char *option, const char *path, char out[SECRET_BYTES])
{
        struct stat status;
        int descriptor = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = descriptor < 0 ? -1 : read(descriptor, out, SECRET_BYTES - 1);
        if (n < 0 || fstat(descriptor, &status) < 0) {
                complain("--%s %s: %s", option, path, strerror(errno));
                if (descriptor >= 0)
                        close(descriptor);
                return -EINVAL;
        }
        close(descriptor);
        out[n] = '\0';
        out[strcspn(out, "\r\n")] = '\0';
        if (!*out) {
                complain("--%s %s: its first line is empty", option, path);
                return -EINVAL;
        }
        if (S_ISREG(status.st_mode) && (status.st_mode & 077))
                say("%s can be read by others (chmod 600)", path);
        return 0;
}

/* ---- from the terminal ---- */

static int read_line(int terminal, char out[SECRET_BYTES])
{
        ssize_t n;
        while ((n = read(terminal, out, SECRET_BYTES - 1)) < 0 && errno == EINTR)
                ;
        if (n <= 0)
                return -EINVAL;
        out[n] = '\0';
        out[strcspn(out, "\r\n")] = '\0';
        return 0;
}

static int ask(const char *user, const char *url, char out[SECRET_BYTES])
{
        struct termios before, silent;
        int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (terminal < 0 || tcgetattr(terminal, &before) < 0) {
                complain("no password for %s, and no terminal to ask at: --password-file FILE or $BERTH_PASSWORD",
                         user);
                if (terminal >= 0)
                        close(terminal);
                return -EINVAL;
        }
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        silent.c_lflag |= ICANON | ISIG;
        dprintf(terminal, "Password of %s for %s: ", user, url);
        tcsetattr(terminal, TCSAFLUSH, &silent);
        int error = read_line(terminal, out);
        tcsetattr(terminal, TCSAFLUSH, &before);
        dprintf(terminal, "\n");
        close(terminal);
        if (error)
                complain("no password");
        return error;
}

/* ---- all of it ---- */

static int find_password(const struct mount_options *options, const struct credentials *credentials, const char *user,
                         char out[SECRET_BYTES])
{
        const char *environment = getenv("BERTH_PASSWORD");
        if (credentials->password_file)
                return read_secret("password-file", credentials->password_file, out);
        if (!environment)
                return ask(user, options->url, out);
        if (snprintf(out, SECRET_BYTES, "%s", environment) < SECRET_BYTES)
                return 0;
        complain("$BERTH_PASSWORD is too long");
        return -EINVAL;
}

static int complete_user(struct mount_options *options, const struct credentials *credentials, const char *user)
{
        char password[SECRET_BYTES], *both;
        if (strchr(user, ':')) {
                complain("--user %s: a name has no colon; the password comes by --password-file, $BERTH_PASSWORD or "
                         "the terminal",
                         user);
                return -EINVAL;
        }
        int error = find_password(options, credentials, user, password);
        if (error)
                return error;
        if (asprintf(&both, "%s:%s", user, password) < 0)
                return -EINVAL;
        explicit_bzero(password, sizeof(password));
        options->client.user = options_keep(options, both);
        return options->client.user ? 0 : -EINVAL;
}

static int complete_bearer(struct mount_options *options, const char *path)
{
        char token[SECRET_BYTES];
        int error = read_secret("bearer-file", path, token);
        if (error)
                return error;
        options->client.bearer = options_keep(options, strdup(token));
        return options->client.bearer ? 0 : -EINVAL;
}

int credentials_complete(struct mount_options *options, const struct credentials *credentials)
{
        const char *in_url = options->client.user;
        const char *user = credentials->user ? credentials->user : in_url;
        if (user && credentials->bearer_file) {
                complain("a user and --bearer-file exclude each other");
                return -EINVAL;
        }
        if (credentials->user && in_url) {
                complain("--user and a user in the URL exclude each other");
                return -EINVAL;
        }
        if (!user && credentials->password_file) {
                complain("--password-file: whose? (--user NAME)");
                return -EINVAL;
        }
        const char *netrc = options->client.netrc;
        if (netrc && *netrc && access(netrc, R_OK) < 0) {
                complain("%s: %s", netrc, strerror(errno));
                return -EINVAL;
        }
        if (credentials->bearer_file)
                return complete_bearer(options, credentials->bearer_file);
        if (!user || (in_url && strchr(in_url, ':')))
                return 0;
        options->client.user = user;
        if (netrc && !credentials->password_file && !getenv("BERTH_PASSWORD"))
                return 0; /* which knows the password of this name */
        return complete_user(options, credentials, user);
}
