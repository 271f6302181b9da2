/* The command line of `berth mount`, also as mount.berth is called by mount(8). Each long option is a name for -o, too,
 * since fstab(5) has no other place. */
#include "mount/command.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char help[] =
        "Usage: berth mount [OPTIONS] URL DIR\n"
        "       berth mount --stats DIR\n"
        "\n"
        "Makes the folder of a WebDAV server at URL (http://HOST[:PORT]/PATH or https://...) appear as DIR.\n"
        "\n"
        "      --read-only              nothing can be changed\n"
        "      --foreground             stay; messages come here\n"
        "      --log-file FILE          messages once it is in the background; default: the system's log\n"
        "      --stats                  what the mount at DIR has done, as lines of name and value\n"
        "  -q, --quiet                  say nothing but errors\n"
        "  -h, --help                   this text\n"
        "\n"
        "Who you are there:\n"
        "      --user NAME              the password is asked for at the terminal, or comes from\n"
        "      --password-file FILE     the first line of this file, or from $BERTH_PASSWORD\n"
        "      --bearer-file FILE       a token: the first line of this file\n"
        "      --netrc[=FILE]           name and password from ~/.netrc or FILE\n"
        "      --cert FILE              a certificate for TLS (PEM), and\n"
        "      --key FILE               its key, if that is not in the same file\n"
        "      --cacert FILE            believe servers with certificates of these authorities (PEM)\n"
        "      --insecure               believe any certificate\n"
        "      --unix-socket PATH       connect there, whatever host the URL names\n"
        "\n"
        "How it goes about it:\n"
        "      --connections N          open at a time, at most; default 8\n"
        "      --write-buffer SIZE      memory for what is written and not yet sent; default 64M\n"
        "      --extent SIZE            what is sent at a time, 64K to 64M; default 4M\n"
        "      --close wait|later       close() waits until the server has the data, or it is sent afterwards;\n"
        "                               default wait\n"
        "      --flush-after TIME       written data is sent when nothing was added for so long; default 5s\n"
        "      --read-ahead SIZE        memory for what is read ahead of programs; default 32M\n"
        "      --attr-ttl SECONDS       how long names and attributes are believed without asking; default 5\n"
        "      --cache-size SIZE        memory for names and attributes; default 64M\n"
        "      --retry SECONDS          how long a lost server is waited for before programs see an error;\n"
        "                               default 60\n"
        "\n"
        "  -o OPTION[,OPTION...]        ro, nosuid, nodev, noexec, noatime, allow_other, uid=N, gid=N, umask=OCTAL,\n"
        "                               nonempty; and all above without their dashes, as in -o connections=4\n"
        "                               (username=NAME for --user). What only concerns fstab is accepted\n"
        "\n"
        "Examples:\n"
        "  berth mount http://127.0.0.1:8080/ ~/share\n"
        "  berth mount --user alice https://files.example/music ~/music\n"
        "  berth mount -o ro,attr-ttl=60 https://mirror.example/ /mnt/mirror\n"
        "  berth mount --stats ~/share\n"
        "  berth unmount ~/share\n"
        "  https://files.example/  /srv/files  berth  _netdev,username=alice,password-file=/etc/berth.pw  0 0\n"
        "                                                                                      (in /etc/fstab)\n"
        "\n"
        "The manual tells each at length: man berth-mount\n";

void mount_options_help(void)
{
        option_help(help);
}

enum {
        OPTION_CONNECTIONS = 256,
        OPTION_WRITE_BUFFER,
        OPTION_EXTENT,
        OPTION_FLUSH_AFTER,
        OPTION_READ_AHEAD,
        OPTION_ATTR_TTL,
        OPTION_CACHE_SIZE,
        OPTION_RETRY,
        OPTION_CLOSE,
        OPTION_READ_ONLY,
        OPTION_FOREGROUND,
        OPTION_STATS,
        OPTION_LOG_FILE,
        OPTION_INSECURE,
        OPTION_NETRC,
        OPTION_USER, /* take_text() counts from here */
        OPTION_PASSWORD_FILE,
        OPTION_BEARER_FILE,
        OPTION_CERT,
        OPTION_KEY,
        OPTION_CACERT,
        OPTION_UNIX_SOCKET,
};

static const struct option table[] = {
        { "connections", required_argument, NULL, OPTION_CONNECTIONS },
        { "write-buffer", required_argument, NULL, OPTION_WRITE_BUFFER },
        { "extent", required_argument, NULL, OPTION_EXTENT },
        { "flush-after", required_argument, NULL, OPTION_FLUSH_AFTER },
        { "read-ahead", required_argument, NULL, OPTION_READ_AHEAD },
        { "attr-ttl", required_argument, NULL, OPTION_ATTR_TTL },
        { "cache-size", required_argument, NULL, OPTION_CACHE_SIZE },
        { "retry", required_argument, NULL, OPTION_RETRY },
        { "close", required_argument, NULL, OPTION_CLOSE },
        { "read-only", no_argument, NULL, OPTION_READ_ONLY },
        { "foreground", no_argument, NULL, OPTION_FOREGROUND },
        { "log-file", required_argument, NULL, OPTION_LOG_FILE },
        { "insecure", no_argument, NULL, OPTION_INSECURE },
        { "netrc", optional_argument, NULL, OPTION_NETRC },
        { "user", required_argument, NULL, OPTION_USER },
        { "password-file", required_argument, NULL, OPTION_PASSWORD_FILE },
        { "bearer-file", required_argument, NULL, OPTION_BEARER_FILE },
        { "cert", required_argument, NULL, OPTION_CERT },
        { "key", required_argument, NULL, OPTION_KEY },
        { "cacert", required_argument, NULL, OPTION_CACERT },
        { "unix-socket", required_argument, NULL, OPTION_UNIX_SOCKET },
        { "quiet", no_argument, NULL, 'q' },
        { "stats", no_argument, NULL, OPTION_STATS }, /* not for -o, as what follows */
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

struct parse {
        struct mount_options *options;
        struct credentials credentials;
};

/* ---- values: each 0, or -EINVAL after a line that says what was expected ---- */

/* "5", "5s", "500ms", "2m": milliseconds. */
static int parse_time(const char *option, const char *text, double most_seconds, unsigned *out)
{
        static const struct {
                const char *name;
                double ms;
        } units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 } };
        char *end;
        double value = strtod(text, &end);
        bool number = (*text >= '0' && *text <= '9') || (*text == '.' && end > text);
        for (unsigned i = 0; number && isfinite(value) && i < array_count(units); i++) {
                if (strcmp(end, units[i].name) != 0 || value * units[i].ms > most_seconds * 1000)
                        continue;
                *out = (unsigned)(value * units[i].ms + 0.5);
                return 0;
        }
        complain("--%s %s: expected a time of at most %.0f seconds, such as 5, 0.5, 5s or 500ms", option, text,
                 most_seconds);
        return -EINVAL;
}

static int parse_size(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
        int error = option_size(option, text, least, out);
        if (error || *out <= most)
                return error;
        complain("--%s %s: expected at most %s", option, text, figure_size(most).text);
        return -EINVAL;
}

/* Without any nothing could be asked. */
static int take_retry(struct mount_options *options, const char *text, double most_seconds)
{
        enum { LEAST_MS = 100 };
        int error = parse_time("retry", text, most_seconds, &options->client.retry_ms);
        if (error || options->client.retry_ms >= LEAST_MS)
                return error;
        complain("--retry %s: expected at least 0.1 (seconds)", text);
        return -EINVAL;
}

static int take_close(struct mount_options *options, const char *text)
{
        options->close_later = strcmp(text, "later") == 0;
        if (options->close_later || strcmp(text, "wait") == 0)
                return 0;
        complain("--close %s: expected wait or later", text);
        return -EINVAL;
}

static int take_log_file(struct mount_options *options, const char *text)
{
        char here[2048] = "";
        if (*text != '/' && !getcwd(here, sizeof(here))) /* the background works in / */
                *here = '\0';
        int n = snprintf(options->log_file, sizeof(options->log_file), "%s%s%s", here, *here ? "/" : "", text);
        if (n < (int)sizeof(options->log_file) && *text)
                return 0;
        complain("--log-file: expected a file");
        return -EINVAL;
}

/* ---- options ---- */

static void take_text(struct parse *parse, int option, const char *text)
{
        struct client_options *client = &parse->options->client;
        const char **texts[] = {
                &parse->credentials.user,
                &parse->credentials.password_file,
                &parse->credentials.bearer_file,
                &client->certificate,
                &client->key,
                &client->authorities,
                &client->unix_socket,
        };
        *texts[option - OPTION_USER] = text;
}

static int take_amount(struct mount_options *options, int option, const char *text)
{
        enum { MIB = 1 << 20, DAY = 86400 };
        switch (option) {
        case OPTION_CONNECTIONS:
                return option_number("connections", text, 1, 256, &options->client.connections);
        case OPTION_WRITE_BUFFER:
                return parse_size("write-buffer", text, 128 << 10, 1ull << 40, &options->write_buffer_bytes);
        case OPTION_EXTENT:
                return parse_size("extent", text, 64 << 10, 64 * MIB, &options->extent_bytes);
        case OPTION_FLUSH_AFTER:
                return parse_time("flush-after", text, DAY, &options->flush_after_ms);
        case OPTION_READ_AHEAD:
                return parse_size("read-ahead", text, 0, 1ull << 40, &options->read_ahead_bytes);
        case OPTION_ATTR_TTL:
                return parse_time("attr-ttl", text, DAY, &options->ttl_ms);
        case OPTION_CACHE_SIZE:
                return parse_size("cache-size", text, MIB, 1ull << 40, &options->cache_bytes);
        case OPTION_RETRY:
                return take_retry(options, text, DAY);
        default:
                return -EINVAL; /* getopt has said why */
        }
}

static int take(struct parse *parse, int option, const char *text)
{
        struct mount_options *options = parse->options;
        switch (option) {
        case OPTION_CLOSE:
                return take_close(options, text);
        case OPTION_READ_ONLY:
                options->read_only = true;
                return 0;
        case OPTION_FOREGROUND:
                options->foreground = true;
                return 0;
        case OPTION_STATS:
                options->stats = true;
                return 0;
        case OPTION_INSECURE:
                options->client.insecure = true;
                return 0;
        case OPTION_NETRC:
                options->client.netrc = text ? text : "";
                return 0;
        case OPTION_LOG_FILE:
                return take_log_file(options, text);
        case 'q':
                options->quiet = true;
                return 0;
        case 'h':
                options->help = true;
                return 0;
        default:
                if (option < OPTION_USER)
                        return take_amount(options, option, text);
                take_text(parse, option, text);
                return 0;
        }
}

/* ---- -o ---- */

static const struct option *find_option(const char *name)
{
        if (strcmp(name, "username") == 0) /* "user" belongs to mount(8), which does not hand it on */
                name = "user";
        for (const struct option *option = table; option->name && option->val != OPTION_STATS; option++)
                if (strcmp(option->name, name) == 0)
                        return option;
        return NULL;
}

static int take_named(struct parse *parse, const char *name, const char *value)
{
        const struct option *option = find_option(name);
        if (strcmp(name, "user") == 0 && !value)
                option = NULL; /* fstab's: ordinary users may mount */
        if (strncmp(name, "password", 9) == 0) {
                complain("-o password: others could read it there; password-file=FILE");
                return -EINVAL;
        }
        if (!option) {
                int error = mount_flag(parse->options, name, value);
                if (error == -ENOENT && parse->options->sloppy)
                        return 0;
                if (error == -ENOENT)
                        complain("-o %s: no such option (see berth mount --help)", name);
                return error;
        }
        if ((option->has_arg == required_argument && !value) || (option->has_arg == no_argument && value)) {
                complain(value ? "-o %s=%s: takes no value" : "-o %s: expected %s=VALUE", name, value ? value : name);
                return -EINVAL;
        }
        return take(parse, option->val, value);
}

/* The next name, up to a comma that is not behind a backslash; in place. */
static char *cut_name(char **rest)
{
        char *start = *rest, *out = start, *at = start;
        for (; *at && *at != ','; at++) {
                if (*at == '\\' && at[1])
                        at++;
                *out++ = *at;
        }
        *rest = *at ? at + 1 : NULL;
        *out = '\0';
        return start;
}

/* The copy stays: options point into it. */
static int take_list(struct parse *parse, const char *list)
{
        char *rest = options_keep(parse->options, strdup(list));
        if (!rest)
                return -EINVAL;
        while (rest) {
                char *name = cut_name(&rest), *value = strchr(name, '=');
                if (value)
                        *value++ = '\0';
                if (*name && take_named(parse, name, value) < 0)
                        return -EINVAL;
        }
        return 0;
}

/* ---- all of it ---- */

/* What mount(8) says to its helpers: -s sloppy, -f fake, -n no mtab, -v verbose, -N name space, -t type. */
static int take_of_helper(struct parse *parse, int option)
{
        switch (option) {
        case 's':
                parse->options->sloppy = true;
                return 0;
        case 'f':
                parse->options->fake = true;
                return 0;
        case 'n':
        case 'v':
        case 't':
                return 0;
        case 'N':
                complain("-N: other name spaces are entered by nsenter");
                return -EINVAL;
        default:
                return take(parse, option, optarg);
        }
}

/* -s may stand behind the -o that it is about, so that lists come last. */
static int parse_line(struct parse *parse, int argc, char **argv)
{
        const char *lists[16];
        unsigned count = 0;
        int option, error = 0;
        while (!error &&
               (option = getopt_long(argc, argv, parse->options->helper ? "o:hsfnvN:t:" : "o:qh", table, NULL)) != -1) {
                if (option != 'o')
                        error = parse->options->helper ? take_of_helper(parse, option) : take(parse, option, optarg);
                else if (count < array_count(lists))
                        lists[count++] = optarg;
                else
                        error = -E2BIG;
        }
        if (error == -E2BIG)
                complain("-o: at most %u of them", (unsigned)array_count(lists));
        for (unsigned i = 0; i < count && !error; i++)
                error = take_list(parse, lists[i]);
        return error ? -EINVAL : 0;
}

static int check(const struct mount_options *options)
{
        const struct client_options *client = &options->client;
        if (options->extent_bytes > options->write_buffer_bytes / 2) {
                complain("--extent %s with --write-buffer %s: an extent may be half of the buffer at most, so that one "
                         "is filled while another is sent",
                         figure_size(options->extent_bytes).text, figure_size(options->write_buffer_bytes).text);
                return -EINVAL;
        }
        if (strncmp(options->url, "https:", 6) != 0 && (client->certificate || client->key || client->authorities)) {
                complain("--cert, --key and --cacert need https://");
                return -EINVAL;
        }
        if (client->key && !client->certificate) {
                complain("--key: of which certificate? (--cert FILE)");
                return -EINVAL;
        }
        return 0;
}

static int take_arguments(struct mount_options *options, int argc, char **argv)
{
        int given = argc - optind, wanted = options->stats ? 1 : 2;
        if (given != wanted) {
                complain("expected %s (see berth mount --help)", options->stats ? "--stats DIR"
                                                                 : given < 2    ? "URL DIR"
                                                                                : "one URL and one DIR");
                return -EINVAL;
        }
        options->folder = argv[argc - 1];
        if (!*options->folder) {
                complain("DIR is empty");
                return -EINVAL;
        }
        return options->stats ? 0 : credentials_from_url(options, argv[optind]);
}

static int parse_all(struct parse *parse, int argc, char **argv)
{
        struct mount_options *options = parse->options;
        if (parse_line(parse, argc, argv) < 0)
                return -EINVAL;
        if (options->help)
                return 0;
        if (take_arguments(options, argc, argv) < 0)
                return -EINVAL;
        if (options->stats)
                return 0;
        int error = check(options);
        return error ? error : credentials_complete(options, &parse->credentials);
}

char *options_keep(struct mount_options *options, char *text)
{
        if (text && options->kept_count < array_count(options->kept))
                return options->kept[options->kept_count++] = text;
        free(text);
        return NULL;
}

/* Passwords are among them. */
void mount_options_finish(struct mount_options *options)
{
        while (options->kept_count > 0) {
                char *text = options->kept[--options->kept_count];
                explicit_bzero(text, strlen(text));
                free(text);
        }
}

int mount_options_parse(struct mount_options *options, int argc, char **argv)
{
        enum { MIB = 1 << 20 };
        *options = (struct mount_options){
                .write_buffer_bytes = 64 * MIB,
                .extent_bytes = 4 * MIB,
                .read_ahead_bytes = 32 * MIB,
                .cache_bytes = 64 * MIB,
                .flush_after_ms = 5000,
                .ttl_ms = 5000,
                .umask = 022,
                .client = { .connections = 8, .retry_ms = 60000, .connect_ms = 10000, .stall_ms = 15000 },
        };
        const char *slash = strrchr(argv[0], '/');
        options->helper = strcmp(slash ? slash + 1 : argv[0], "mount.berth") == 0;
        struct parse parse = { .options = options };
        optind = 1;
        char *name = argv[0];
        argv[0] = (char *)(uintptr_t) "berth"; /* getopt's messages begin with it, as ours do */
        int error = parse_all(&parse, argc, argv);
        argv[0] = name;
        return error;
}
