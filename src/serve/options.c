/* The command line of `berth serve`. */
#include "serve/serve_priv.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

/* The groups stand as in the manual. */
static const char help[] =
        "Usage: berth serve [OPTIONS] [DIR]\n"
        "\n"
        "Serves the files beneath DIR (default: the current folder) over HTTP/1.1.\n"
        "\n"
        "@linux   -l, --listen ADDR:PORT   where to listen; may be repeated. [IPv6]:PORT and unix:PATH too;\n"
        "@windows   -l, --listen ADDR:PORT   where to listen; may be repeated. [IPv6]:PORT too;\n"
        "                           ADDR:PORT-PORT for every port of a range.\n"
        "@linux                            Default 127.0.0.1:8080, or the sockets that systemd passes\n"
        "@windows                            Default 127.0.0.1:8080\n"
        "      --threads N          threads, each with its own connections; default: one per core\n"
        "@linux       --engine NAME        auto (default), uring or epoll; also by $BERTH_ENGINE\n"
        "@linux       --grace SECONDS      how long SIGTERM waits for answers in progress; default 30\n"
        "@windows       --engine NAME        auto (default) or iocp, which is the same here\n"
        "@windows       --grace SECONDS      how long Ctrl-C waits for answers in progress; default 30\n"
        "  -q, --quiet              say nothing but errors\n"
        "  -h, --help               this text\n"
        "\n"
        "Files and folders:\n"
        "      --hidden             serve names that start with a dot, too\n"
        "@linux       --symlinks inside|never\n"
        "@linux                            follow symbolic links that stay inside DIR (default), or none\n"
        "      --precompressed      serve name.br, name.zst or name.gz for name to clients that accept it\n"
        "      --no-listing         no page for a folder without index.html\n"
        "\n"
        "Changes (WebDAV):\n"
        "  -w, --writable           allow PUT, DELETE, MKCOL, MOVE and the like; default: read only\n"
        "      --allow-anonymous-writes\n"
        "                           ... without passwords at an address that others can reach, too\n"
        "      --durable            answer a change only when it is on disk (fsync of file and folder)\n"
        "      --max-upload SIZE    longest upload (K, M, G, T); default: no bound\n"
        "      --propfind-infinity  allow PROPFIND with Depth: infinity\n"
        "      --trust-proxy ADDR[/BITS]\n"
        "                           believe X-Forwarded-Proto and -Host from there; may be repeated\n"
        "\n"
        "@linux Who may do what; SIGHUP reads the three files anew:\n"
        "@windows Who may do what:\n"
        "@linux       --auth FILE          ask for names and passwords: lines of name:hash, as by htpasswd -B\n"
        "@windows       --auth FILE          ask for names and passwords: lines of name:hash, as by openssl passwd -6\n"
        "      --auth-tokens FILE   take bearer tokens: lines of name:token\n"
        "      --access FILE        rules: lines of /path:name,name|*:none|read|write\n"
        "      --auth-realm TEXT    what browsers show when they ask; default berth\n"
        "      --allow-plain-auth   take passwords and tokens without encryption at an address that\n"
        "                           others can reach, too\n"
        "\n"
        "Bounds, said at start. At a bound those inside are served on, the others wait:\n"
        "      --connections N      open at a time; default: what the limits allow\n"
        "      --requests N         being answered at a time; default 4096 a thread\n"
        "@linux       --max-sends N        answers with a file being sent at a time; default 65536\n"
        "@windows       --max-sends N        answers with a file being sent at a time; default 65536, or 4096 on\n"
        "@windows                            client editions, where each has a buffer of 64 KiB\n"
        "      --memory SIZE        memory of the process (K, M, G, T), by which the others are cut\n"
        "      --per-address N      connections of one client address (IPv6: of its /64)\n"
        "      --backlog N          connections waiting to be accepted; default 4096\n"
        "      --head-timeout S     seconds for a request's head to arrive; default 30\n"
        "      --body-min-rate B    bytes per second that a request's body must keep; default 500\n"
        "      --idle-timeout S     seconds until a quiet connection is closed; default 75\n"
        "      --max-line BYTES     longest request line or header line; default 8192\n"
        "      --max-head BYTES     longest request head; default 32768, at most 65535\n"
        "\n"
        "@windows The completion port:\n"
        "@windows       --accept-depth N     accepts posted ahead for each address, at most 256; default 256\n"
        "@windows       --accept-data        accept a connection together with its first bytes, on the first thread\n"
        "@windows       --send-depth N       pieces of an answer from memory in the kernel at a time, at most 64;\n"
        "@windows                            default: one, by way of the socket's buffer\n"
        "@windows \n"
        "Watching:\n"
        "@linux       --access-log FILE    log requests; - is standard output. SIGHUP opens FILE anew\n"
        "@windows       --access-log FILE    log requests; - is standard output\n"
        "      --log-format FORMAT  combined (default), common or json\n"
        "      --admin ADDR:PORT    /metrics (Prometheus) and /health there; default: nowhere\n"
        "\n"
        "Examples:\n"
        "@linux   berth serve ~/Music\n"
        "@linux   berth serve --listen 0.0.0.0:80 --access-log /var/log/berth.log /srv/mirror\n"
        "@linux   berth serve --writable --auth passwords ~/Shared\n"
        "@linux   berth serve --connections 200000 --memory 256M --admin 127.0.0.1:9090 /srv/music\n"
        "@windows   berth serve Music\n"
        "@windows   berth serve --listen 0.0.0.0:80 --access-log berth.log D:\\Mirror\n"
        "@windows   berth serve --writable --auth passwords D:\\Shared\n"
        "@windows   berth serve --connections 200000 --memory 256M --admin 127.0.0.1:9090 D:\\Music\n"
        "\n"
        "@linux The manual tells each at length: man berth-serve\n"
        "@windows The manual tells each at length (man/berth-serve.1.scd, and docs/windows.md)\n";

void options_help(void)
{
        option_help(help);
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
        OPTION_ADMIN,
        OPTION_ANONYMOUS_WRITES,
        OPTION_DURABLE,
        OPTION_MAX_UPLOAD,
        OPTION_PROPFIND_INFINITY,
        OPTION_TRUST_PROXY,
        OPTION_AUTH,
        OPTION_AUTH_TOKENS,
        OPTION_ACCESS,
        OPTION_AUTH_REALM,
        OPTION_ALLOW_PLAIN_AUTH,
        OPTION_CONNECTIONS,
        OPTION_REQUESTS,
        OPTION_MAX_SENDS,
        OPTION_MEMORY,
        OPTION_PER_ADDRESS,
        OPTION_BACKLOG,
        OPTION_HEAD_TIMEOUT,
        OPTION_BODY_MIN_RATE,
        OPTION_IDLE_TIMEOUT,
        OPTION_ACCEPT_DEPTH,
        OPTION_ACCEPT_DATA,
        OPTION_SEND_DEPTH,
};

enum { MAX_CONNECTIONS = 100000000, MAX_SECONDS = 86400 };

static const struct option table[] = {
        { "listen", required_argument, NULL, 'l' },
        { "threads", required_argument, NULL, OPTION_THREADS },
        { "engine", required_argument, NULL, OPTION_ENGINE },
        { "writable", no_argument, NULL, 'w' },
        { "allow-anonymous-writes", no_argument, NULL, OPTION_ANONYMOUS_WRITES },
        { "durable", no_argument, NULL, OPTION_DURABLE },
        { "max-upload", required_argument, NULL, OPTION_MAX_UPLOAD },
        { "propfind-infinity", no_argument, NULL, OPTION_PROPFIND_INFINITY },
        { "trust-proxy", required_argument, NULL, OPTION_TRUST_PROXY },
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
        { "admin", required_argument, NULL, OPTION_ADMIN },
        { "auth", required_argument, NULL, OPTION_AUTH },
        { "auth-tokens", required_argument, NULL, OPTION_AUTH_TOKENS },
        { "access", required_argument, NULL, OPTION_ACCESS },
        { "auth-realm", required_argument, NULL, OPTION_AUTH_REALM },
        { "allow-plain-auth", no_argument, NULL, OPTION_ALLOW_PLAIN_AUTH },
        { "connections", required_argument, NULL, OPTION_CONNECTIONS },
        { "requests", required_argument, NULL, OPTION_REQUESTS },
        { "max-sends", required_argument, NULL, OPTION_MAX_SENDS },
        { "memory", required_argument, NULL, OPTION_MEMORY },
        { "per-address", required_argument, NULL, OPTION_PER_ADDRESS },
        { "backlog", required_argument, NULL, OPTION_BACKLOG },
        { "head-timeout", required_argument, NULL, OPTION_HEAD_TIMEOUT },
        { "body-min-rate", required_argument, NULL, OPTION_BODY_MIN_RATE },
        { "idle-timeout", required_argument, NULL, OPTION_IDLE_TIMEOUT },
        { "accept-depth", required_argument, NULL, OPTION_ACCEPT_DEPTH },
        { "accept-data", no_argument, NULL, OPTION_ACCEPT_DATA },
        { "send-depth", required_argument, NULL, OPTION_SEND_DEPTH },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

static int take_listen(struct serve_options *options)
{
        if (options->listen_count == MAX_LISTEN_OPTIONS) {
                complain("--listen: at most %d times", MAX_LISTEN_OPTIONS);
                return -EINVAL;
        }
        options->listen[options->listen_count++] = optarg;
        return 0;
}

static int take_word(struct serve_options *options, int option)
{
        static const char *const engines[] = { "auto", "uring", "epoll", "iocp" };
        static const char *const links[] = { "inside", "never" };
        static const char *const formats[] = { "combined", "common", "json" };
        int word;
        switch (option) {
        case OPTION_ENGINE:
                word = option_word("engine", optarg, engines, array_count(engines));
                options->engine = optarg;
                return min_of(word, 0);
        case OPTION_SYMLINKS:
                word = option_word("symlinks", optarg, links, array_count(links));
                options->links = word == 0;
                return min_of(word, 0);
        default:
                word = option_word("log-format", optarg, formats, array_count(formats));
                options->log_format = (enum log_format)max_of(word, 0);
                return min_of(word, 0);
        }
}

static int take_bound(struct serve_options *options, int option)
{
        switch (option) {
        case OPTION_CONNECTIONS:
                return option_number("connections", optarg, 1, MAX_CONNECTIONS, &options->connections);
        case OPTION_REQUESTS:
                return option_number("requests", optarg, 1, 1 << 20, &options->requests);
        case OPTION_MAX_SENDS:
                return option_number("max-sends", optarg, 1, MAX_CONNECTIONS, &options->sends);
        case OPTION_MEMORY:
                return option_size("memory", optarg, 1 << 20, &options->memory);
        case OPTION_PER_ADDRESS:
                return option_number("per-address", optarg, 1, MAX_CONNECTIONS, &options->per_address);
        case OPTION_BACKLOG:
                return option_number("backlog", optarg, 1, 1 << 20, &options->backlog);
        case OPTION_HEAD_TIMEOUT:
                return option_number("head-timeout", optarg, 1, MAX_SECONDS, &options->head_seconds);
        case OPTION_BODY_MIN_RATE:
                return option_number("body-min-rate", optarg, 0, 1 << 30, &options->body_rate);
        case OPTION_ACCEPT_DEPTH:
                return option_number("accept-depth", optarg, 2, 256, &options->accept_depth);
        case OPTION_SEND_DEPTH:
                return option_number("send-depth", optarg, 1, 64, &options->send_depth);
        default:
                return option_number("idle-timeout", optarg, 1, MAX_SECONDS, &options->idle_seconds);
        }
}

/* False: it is none of these. */
static bool take_switch(struct serve_options *options, int option)
{
        bool *const switches[] = {
                ['q'] = &options->quiet,
                ['h'] = &options->help,
                ['w'] = &options->writable,
                [OPTION_HIDDEN] = &options->hidden,
                [OPTION_PRECOMPRESSED] = &options->precompressed,
                [OPTION_ANONYMOUS_WRITES] = &options->anonymous_writes,
                [OPTION_DURABLE] = &options->durable,
                [OPTION_PROPFIND_INFINITY] = &options->find_infinity,
                [OPTION_ACCEPT_DATA] = &options->accept_data,
        };
        bool known = option >= 0 && (size_t)option < array_count(switches) && switches[option];
        if (known)
                *switches[option] = true;
        return known;
}

static int take_realm(struct serve_options *options)
{
        size_t size = strlen(optarg);
        bool fine = size > 0 && size <= MAX_REALM;
        for (size_t i = 0; i < size; i++)
                fine &= (unsigned char)optarg[i] >= ' ' && optarg[i] != 0x7f;
        options->realm = optarg;
        if (fine)
                return 0;
        complain("--auth-realm: expected 1 to %d bytes without control bytes", MAX_REALM);
        return -EINVAL;
}

static int take_auth(struct serve_options *options, int option)
{
        switch (option) {
        case OPTION_AUTH:
                options->auth.passwords = optarg;
                return 0;
        case OPTION_AUTH_TOKENS:
                options->auth.tokens = optarg;
                return 0;
        case OPTION_ACCESS:
                options->auth.rules = optarg;
                return 0;
        case OPTION_AUTH_REALM:
                return take_realm(options);
        default:
                options->plain_auth = true;
                return 0;
        }
}

static int take(struct serve_options *options, int option)
{
        if (take_switch(options, option))
                return 0;
        if (option >= OPTION_AUTH && option <= OPTION_ALLOW_PLAIN_AUTH)
                return take_auth(options, option);
        if (option >= OPTION_CONNECTIONS && option <= OPTION_SEND_DEPTH)
                return take_bound(options, option);
        switch (option) {
        case 'l':
                return take_listen(options);
        case OPTION_THREADS:
                return option_number("threads", optarg, 1, MAX_THREADS, &options->threads);
        case OPTION_MAX_UPLOAD:
                return option_size("max-upload", optarg, 1, &options->max_upload);
        case OPTION_TRUST_PROXY:
                return proxy_take(options, optarg);
        case OPTION_NO_LISTING:
                options->listing = false;
                return 0;
        case OPTION_MAX_LINE:
                return option_number("max-line", optarg, 64, 65535, &options->limits.line_bytes);
        case OPTION_MAX_HEAD:
                return option_number("max-head", optarg, 256, 65535, &options->limits.head_bytes);
        case OPTION_ACCESS_LOG:
                options->access_log = optarg;
                return 0;
        case OPTION_ADMIN:
                options->admin = optarg;
                return 0;
        case OPTION_GRACE:
                return option_number("grace", optarg, 0, 86400, &options->grace_seconds);
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
        while ((option = getopt_long(argc, argv, "l:qhw", table, NULL)) != -1)
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
                .backlog = 4096,
                .head_seconds = 30,
                .idle_seconds = 75,
                .body_rate = 500,
                .realm = "berth",
        };
        optind = 1;
        char *name = argv[0];
        argv[0] = (char *)(uintptr_t) "berth"; /* getopt's messages begin with it, as ours do */
        int error = parse_all(options, argc, argv);
        argv[0] = name;
        return error;
}
