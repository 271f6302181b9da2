/* The command line of `berth doctor`. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <getopt.h>

void doctor_options_help(void)
{
        option_help(
                "Usage: berth doctor [OPTIONS]\n"
                "\n"
                "Tells whether this machine's limits allow that many connections, as server and as client: what each\n"
                "limit is now, what it has to be, why, and how to change it. Changes nothing unless told so.\n"
                "\n"
                "  -c, -n, --connections N\n"
                "                        how many connections to plan for; default: what memory allows, at most "
                "1000000\n"
                "      --memory SIZE     memory to plan with, such as 512M or 8G; default: what is available now\n"
                "      --json            the whole report as one JSON object\n"
                "\n"
                "@linux       --apply           raise what sysctl can raise, now and in " DOCTOR_SETTINGS_FILE "\n"
                "@linux       --undo            put back what it was before --apply, and remove that file\n"
                "  -h, --help            this text\n"
                "\n"
                "Exit status: 0 it fits, 1 it does not fit, 2 cannot tell (or an option is wrong).\n"
                "\n"
                "Examples:\n"
                "  berth doctor\n"
                "  berth doctor --connections 1000000 --memory 8G\n"
                "@linux   sudo berth doctor --connections 1000000 --apply\n");
}

enum { OPTION_MEMORY = 256, OPTION_JSON, OPTION_APPLY, OPTION_UNDO };

static const struct option table[] = {
        { "connections", required_argument, NULL, 'n' },
        { "memory", required_argument, NULL, OPTION_MEMORY },
        { "json", no_argument, NULL, OPTION_JSON },
        { "apply", no_argument, NULL, OPTION_APPLY },
        { "undo", no_argument, NULL, OPTION_UNDO },
        { "help", no_argument, NULL, 'h' },
        { 0 },
};

enum { MOST_CONNECTIONS = 1000000000 };

static int take(struct doctor_options *options, int option)
{
        switch (option) {
        case 'c':
        case 'n':
                return option_number("connections", optarg, 1, MOST_CONNECTIONS, &options->connections);
        case OPTION_MEMORY:
                return option_size("memory", optarg, 1 << 20, &options->memory_bytes);
        case OPTION_JSON:
                options->json = true;
                return 0;
        case OPTION_APPLY:
                options->apply = true;
                return 0;
        case OPTION_UNDO:
                options->undo = true;
                return 0;
        case 'h':
                options->help = true;
                return 0;
        default:
                return -EINVAL; /* getopt has said why */
        }
}

static int parse_all(struct doctor_options *options, int argc, char **argv)
{
        int option;
        while ((option = getopt_long(argc, argv, "c:n:h", table, NULL)) != -1)
                if (take(options, option) < 0)
                        return -EINVAL;
        if (optind < argc) {
                complain("'%s': doctor takes options only (see berth doctor --help)", argv[optind]);
                return -EINVAL;
        }
        if (options->apply && options->undo) {
                complain("--apply and --undo exclude each other");
                return -EINVAL;
        }
        return 0;
}

int doctor_options_parse(struct doctor_options *options, int argc, char **argv)
{
        *options = (struct doctor_options){ 0 };
        optind = 1;
        char *name = argv[0];
        argv[0] = (char *)(uintptr_t) "berth"; /* getopt's messages begin with it, as ours do */
        int error = parse_all(options, argc, argv);
        argv[0] = name;
        return error;
}
