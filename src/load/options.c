/* The command line of `berth load`. */
#include "load/load_priv.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>

void load_options_help(void)
{
        option_help(
                "Usage: berth load [OPTIONS] URL...\n"
                "\n"
                "Opens a crowd of connections to URL (http://HOST[:PORT[-PORT]]/PATH), holds them, asks as told, and "
                "says\n"
                "how it went. Without an option that says what to ask, each connection asks once when it is open.\n"
                "\n"
                "  -c, -n, --connections N        how many; default 100\n"
                "      --open-rate R              open R of them a second; default: as fast as it goes\n"
                "      --hold SECONDS             how long they stay when all are open; default 10\n"
                "      --reconnect                open those anew that fail or are closed\n"
                "\n"
                "      --requests-per-second R    R requests a second, each on a random connection; 0 asks nothing\n"
                "      --each-every SECONDS       each connection asks once in SECONDS\n"
                "      --slow BYTES               read at most BYTES a second on each connection, without these two\n"
                "                                 options one file after another, as a music player does\n"
                "      --range BYTES              ask for a random piece of BYTES instead of the whole file\n"
                "  -H, --header 'NAME: VALUE'     send that, too; may be repeated\n"
                "      --timeout SECONDS          how long a connect may take, a request may wait for a free "
                "connection,\n"
                "                                 and an answer may stand still; default 30\n"
                "\n"
                "      --url URL                  one more URL, as those behind the options\n"
                "      --port-range A-B           these ports of every URL's host\n"
                "      --source A-B|A,B           connect from these addresses; default: on the loopback four times "
                "as\n"
                "                                 many of 127.0.0.1, 127.0.0.2, ... as are needed, else the kernel's "
                "choice\n"
                "      --threads N                default: as many as there are processors, at most 8\n"
                "@linux       --engine NAME              auto (default), uring or epoll; also by $BERTH_ENGINE\n"
                "@windows       --engine NAME              auto (default) or iocp, which is the same here\n"
                "\n"
                "      --json FILE                all figures as JSON; - is standard output\n"
                "      --report FILE              all figures as one HTML page with plots\n"
                "      --admin-url URL            read the server's metrics there once a second, for both of these\n"
                "  -q, --quiet                    no progress, only what it came to\n"
                "  -h, --help                     this text\n"
                "\n"
                "Examples:\n"
                "  berth load -c 10000 --requests-per-second 5000 http://127.0.0.1:8080/index.html\n"
                "  berth load -c 1000000 --requests-per-second 0 --hold 60 --report crowd.html http://127.0.0.1:8080/\n"
                "  berth load -c 2000 --slow 16000 --hold 120 http://music.example/album/01.mp3\n");
}

enum {
        OPTION_OPEN_RATE = 256,
        OPTION_HOLD,
        OPTION_RECONNECT,
        OPTION_RATE,
        OPTION_EACH,
        OPTION_SLOW,
        OPTION_RANGE,
        OPTION_TIMEOUT,
        OPTION_URL,
        OPTION_PORT_RANGE,
        OPTION_THREADS,
        OPTION_ENGINE,
        OPTION_SOURCE, /* take_text() counts from here */
        OPTION_JSON,
        OPTION_REPORT,
        OPTION_ADMIN_URL,
};

static const struct option table[] = {
        { "connections", required_argument, NULL, 'c' },
        { "open-rate", required_argument, NULL, OPTION_OPEN_RATE },
        { "hold", required_argument, NULL, OPTION_HOLD },
        { "reconnect", no_argument, NULL, OPTION_RECONNECT },
        { "requests-per-second", required_argument, NULL, OPTION_RATE },
        { "each-every", required_argument, NULL, OPTION_EACH },
        { "slow", required_argument, NULL, OPTION_SLOW },
        { "range", required_argument, NULL, OPTION_RANGE },
        { "header", required_argument, NULL, 'H' },
        { "timeout", required_argument, NULL, OPTION_TIMEOUT },
        { "url", required_argument, NULL, OPTION_URL },
        { "port-range", required_argument, NULL, OPTION_PORT_RANGE },
        { "source", required_argument, NULL, OPTION_SOURCE },
        { "threads", required_argument, NULL, OPTION_THREADS },
        { "engine", required_argument, NULL, OPTION_ENGINE },
        { "json", required_argument, NULL, OPTION_JSON },
        { "report", required_argument, NULL, OPTION_REPORT },
        { "admin-url", required_argument, NULL, OPTION_ADMIN_URL },
        { "quiet", no_argument, NULL, 'q' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

/* ---- values: each 0, or -EINVAL after a line that says what was expected ---- */

static int parse_decimal(const char *option, const char *text, double least, double most, double *out)
{
        char *end;
        double value = strtod(text, &end);
        if (((*text < '0' || *text > '9') && *text != '.') || *end || !isfinite(value) || value < least ||
            value > most) {
                complain("--%s %s: expected a number from %g to %.0f", option, text, least, most);
                return -EINVAL;
        }
        *out = value;
        return 0;
}

static int parse_ports(struct load_options *options, const char *text)
{
        int end = 0;
        if (sscanf(text, "%5u-%5u%n", &options->first_port, &options->last_port, &end) == 2 && !text[end] &&
            options->first_port > 0 && options->first_port <= options->last_port && options->last_port <= 65535)
                return 0;
        complain("--port-range %s: expected two ports as in 8080-8087", text);
        return -EINVAL;
}

static int parse_engine(struct load_options *options, const char *text)
{
        static const char *const engines[] = { "auto", "uring", "epoll", "iocp" };
        int word = option_word("engine", text, engines, array_count(engines));
        options->engine = text;
        return min_of(word, 0);
}

/* A header goes out as it stands, so that it must not bring lines of its own. */
static int take_header(struct load_options *options, const char *text)
{
        size_t name = strcspn(text, ": \t");
        bool good = name > 0 && text[name] == ':';
        for (const char *at = text; *at; at++)
                good &= (unsigned char)*at >= ' ' && *at != 0x7f;
        if (!good) {
                complain("--header %s: expected 'NAME: VALUE'", text);
                return -EINVAL;
        }
        if (options->header_count == LOAD_MAX_HEADERS) {
                complain("--header: at most %d of them", LOAD_MAX_HEADERS);
                return -EINVAL;
        }
        options->headers[options->header_count++] = text;
        return 0;
}

static int take_url(struct load_options *options, const char *text)
{
        if (options->url_count == LOAD_MAX_URLS) {
                complain("at most %d URLs", LOAD_MAX_URLS);
                return -EINVAL;
        }
        options->urls[options->url_count++] = text;
        return 0;
}

/* What is asked can be said once. */
static int take_mode(struct load_options *options, enum load_mode mode)
{
        if (options->mode != LOAD_ONCE) {
                complain("one of --requests-per-second and --each-every, once");
                return -EINVAL;
        }
        options->mode = mode;
        if (mode == LOAD_EACH)
                return parse_decimal("each-every", optarg, 0.001, 86400, &options->each_seconds);
        int error = parse_decimal("requests-per-second", optarg, 0, 10e6, &options->rate);
        if (!error && options->rate == 0)
                options->mode = LOAD_IDLE;
        return error;
}

/* ---- options ---- */

static int take_amount(struct load_options *options, int option)
{
        switch (option) {
        case 'c':
        case 'n':
                return option_number("connections", optarg, 1, LOAD_MAX_CONNECTIONS, &options->connections);
        case OPTION_OPEN_RATE:
                return parse_decimal("open-rate", optarg, 0.001, 10e6, &options->open_rate);
        case OPTION_HOLD:
                return parse_decimal("hold", optarg, 0, 30 * 86400, &options->hold_seconds);
        case OPTION_SLOW:
                return option_number("slow", optarg, 1, 1u << 30, &options->slow_bytes);
        case OPTION_RANGE:
                return option_number("range", optarg, 1, 1u << 30, &options->range_bytes);
        case OPTION_TIMEOUT:
                return parse_decimal("timeout", optarg, 0.001, 86400, &options->timeout_seconds);
        case OPTION_THREADS:
                return option_number("threads", optarg, 1, LOAD_MAX_THREADS, &options->threads);
        default:
                return -EINVAL; /* getopt has said why */
        }
}

static void take_text(struct load_options *options, int option)
{
        const char **texts[] = { &options->source, &options->json, &options->report, &options->admin_url };
        *texts[option - OPTION_SOURCE] = optarg;
}

static int take(struct load_options *options, int option)
{
        switch (option) {
        case OPTION_RECONNECT:
                options->reconnect = true;
                return 0;
        case 'q':
                options->quiet = true;
                return 0;
        case 'h':
                options->help = true;
                return 0;
        case OPTION_RATE:
                return take_mode(options, LOAD_RATE);
        case OPTION_EACH:
                return take_mode(options, LOAD_EACH);
        case 'H':
                return take_header(options, optarg);
        case OPTION_URL:
                return take_url(options, optarg);
        case OPTION_PORT_RANGE:
                return parse_ports(options, optarg);
        case OPTION_ENGINE:
                return parse_engine(options, optarg);
        case OPTION_SOURCE:
        case OPTION_JSON:
        case OPTION_REPORT:
        case OPTION_ADMIN_URL:
                take_text(options, option);
                return 0;
        default:
                return take_amount(options, option);
        }
}

static int parse_all(struct load_options *options, int argc, char **argv)
{
        int option;
        while ((option = getopt_long(argc, argv, "c:n:H:qh", table, NULL)) != -1)
                if (take(options, option) < 0)
                        return -EINVAL;
        for (; optind < argc; optind++)
                if (take_url(options, argv[optind]) < 0)
                        return -EINVAL;
        if (options->json && options->report && strcmp(options->json, "-") == 0 && strcmp(options->report, "-") == 0) {
                complain("--json - and --report - exclude each other");
                return -EINVAL;
        }
        if (options->url_count == 0 && !options->help) {
                complain("which URL? (see berth load --help)");
                return -EINVAL;
        }
        return 0;
}

int load_options_parse(struct load_options *options, int argc, char **argv)
{
        *options = (struct load_options){
                .connections = 100,
                .hold_seconds = 10,
                .timeout_seconds = 30,
        };
        optind = 1;
        char *name = argv[0];
        argv[0] = (char *)(uintptr_t) "berth"; /* getopt's messages begin with it, as ours do */
        int error = parse_all(options, argc, argv);
        argv[0] = name;
        return error;
}
