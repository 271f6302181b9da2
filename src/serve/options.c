/* The command line of `berth serve`. */
#include "serve/serve_priv.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

void options_help(void)
{
        puts("Usage: berth serve [OPTIONS] [DIR]\n"
             "\n"
             "Serves the files beneath DIR (default: the current folder) over HTTP/1.1.\n"
             "\n"
             "  -l, --listen ADDR:PORT   where to listen; may be repeated. [IPv6]:PORT and unix:PATH too.\n"
             "                           Default 127.0.0.1:8080, or the sockets that systemd passes\n"
             "      --threads N          threads, each with its own connections; default: one per core\n"
             "      --engine NAME        auto (default), uring or epoll; also by $BERTH_ENGINE\n"
             "\n"
             "      --hidden             serve names that start with a dot, too\n"
             "      --symlinks inside|never\n"
             "                           follow symbolic links that stay inside DIR (default), or none\n"
             "      --precompressed      serve name.br, name.zst or name.gz for name to clients that accept it\n"
             "      --no-listing         no page for a folder without index.html\n"
             "      --max-line BYTES     longest request line or header line; default 8192\n"
             "      --max-head BYTES     longest request head; default 32768, at most 65535\n"
             "\n"
             "      --access-log FILE    log requests; - is standard output. SIGHUP opens FILE anew\n"
             "      --log-format FORMAT  combined (default), common or json\n"
             "  -q, --quiet              say nothing but errors\n"
             "      --grace SECONDS      how long SIGTERM waits for answers in progress; default 30\n"
             "  -h, --help               this text\n"
             "\n"
             "Examples:\n"
             "  berth serve ~/Music\n"
             "  berth serve --listen 0.0.0.0:80 --access-log /var/log/berth.log /srv/mirror");
}

enum {
        OPTION_THREADS = 256,
        OPTION_ENGINE,
        OPTION_HIDDEN,
        OPTION_SYMLINKS,
        OPTION_PRECOMPRESSED,
        OPTION_NO_LISTING,
        OPTION_MAX_LINE,
        OPTION_MAX_HEAD,
        OPTION_ACCESS_LOG,
        OPTION_LOG_FORMAT,
        OPTION_GRACE,
};

static const struct option table[] = {
        { "listen", required_argument, NULL, 'l' },
        { "threads", required_argument, NULL, OPTION_THREADS },
        { "engine", required_argument, NULL, OPTION_ENGINE },
        { "hidden", no_argument, NULL, OPTION_HIDDEN },
        { "symlinks", required_argument, NULL, OPTION_SYMLINKS },
        { "precompressed", no_argument, NULL, OPTION_PRECOMPRESSED },
        { "no-listing", no_argument, NULL, OPTION_NO_LISTING },
        { "max-line", required_argument, NULL, OPTION_MAX_LINE },
        { "max-head", required_argument, NULL, OPTION_MAX_HEAD },
        { "access-log", required_argument, NULL, OPTION_ACCESS_LOG },
        { "log-format", required_argument, NULL, OPTION_LOG_FORMAT },
        { "quiet", no_argument, NULL, 'q' },
        { "grace", required_argument, NULL, OPTION_GRACE },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

/* A whole number within bounds, or -EINVAL after a line that says what was expected. */
static int parse_number(const char *option, const char *text, unsigned least, unsigned most, unsigned *out)
{
        char *end;
        errno = 0;
        unsigned long value = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno || value < least || value > most) {
                complain("--%s %s: expected a number from %u to %u", option, text, least, most);
                return -EINVAL;
        }
        *out = (unsigned)value;
        return 0;
}

/* The index of `text` among the words, or -EINVAL. */
static int parse_word(const char *option, const char *text, const char *const *words, unsigned count)
{
        char expected[128];
        struct text list = text_in(expected, sizeof(expected) - 1);
        for (unsigned i = 0; i < count; i++) {
                if (strcmp(text, words[i]) == 0)
                        return (int)i;
                text_format(&list, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", words[i]);
        }
        expected[list.used] = '\0';
        complain("--%s %s: expected %s", option, text, expected);
        return -EINVAL;
}

static int take_listen(struct serve_options *options)
{
        if (options->listen_count == MAX_LISTENERS) {
                complain("--listen: at most %d addresses", MAX_LISTENERS);
                return -EINVAL;
        }
        options->listen[options->listen_count++] = optarg;
        return 0;
}

static int take_word(struct serve_options *options, int option)
{
        static const char *const engines[] = { "auto", "uring", "epoll" };
        static const char *const links[] = { "inside", "never" };
        static const char *const formats[] = { "combined", "common", "json" };
        int word;
        switch (option) {
        case OPTION_ENGINE:
                word = parse_word("engine", optarg, engines, array_count(engines));
                options->engine = optarg;
                return min_of(word, 0);
        case OPTION_SYMLINKS:
                word = parse_word("symlinks", optarg, links, array_count(links));
                options->links = word == 0;
                return min_of(word, 0);
        default:
                word = parse_word("log-format", optarg, formats, array_count(formats));
                options->log_format = (enum log_format)max_of(word, 0);
                return min_of(word, 0);
        }
}

static int take(struct serve_options *options, int option)
{
        switch (option) {
        case 'l':
                return take_listen(options);
        case 'q':
                options->quiet = true;
                return 0;
        case 'h':
                options->help = true;
                return 0;
        case OPTION_THREADS:
                return parse_number("threads", optarg, 1, MAX_THREADS, &options->threads);
        case OPTION_HIDDEN:
                options->hidden = true;
                return 0;
        case OPTION_PRECOMPRESSED:
                options->precompressed = true;
                return 0;
        case OPTION_NO_LISTING:
                options->listing = false;
                return 0;
        case OPTION_MAX_LINE:
                return parse_number("max-line", optarg, 64, 65535, &options->limits.line_bytes);
        case OPTION_MAX_HEAD:
                return parse_number("max-head", optarg, 256, 65535, &options->limits.head_bytes);
        case OPTION_ACCESS_LOG:
                options->access_log = optarg;
                return 0;
        case OPTION_GRACE:
                return parse_number("grace", optarg, 0, 86400, &options->grace_seconds);
        case OPTION_ENGINE:
        case OPTION_SYMLINKS:
        case OPTION_LOG_FORMAT:
                return take_word(options, option);
        default:
                return -EINVAL; /* getopt has said why */
        }
}

static int parse_all(struct serve_options *options, int argc, char **argv)
{
        int option;
        while ((option = getopt_long(argc, argv, "l:qh", table, NULL)) != -1)
                if (take(options, option) < 0)
                        return -EINVAL;
        if (optind < argc)
                options->folder = argv[optind++];
        if (optind < argc) {
                complain("one folder at a time: '%s' is one too many (see berth serve --help)", argv[optind]);
                return -EINVAL;
        }
        return 0;
}

int options_parse(struct serve_options *options, int argc, char **argv)
{
        *options = (struct serve_options){
                .folder = ".",
                .links = true,
                .listing = true,
                .limits = { .line_bytes = 8192, .head_bytes = 32768 },
                .grace_seconds = 30,
        };
        optind = 1;
        char *name = argv[0];
        argv[0] = (char *)(uintptr_t) "berth"; /* getopt's messages begin with it, as ours do */
        int error = parse_all(options, argc, argv);
        argv[0] = name;
        return error;
}
