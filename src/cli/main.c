/* berth: one program, a table of sub-commands. */
#include "cli/start.h"
#include "doctor/doctor.h"
#include "load/load.h"
#include "mount/mount.h"
#include "serve/serve.h"

#include <stdio.h>
#include <string.h>

struct command {
        const char *name;
        const char *summary;
        int (*run)(int argc, char **argv);
};

static int help_command(int argc, char **argv);
static int version_command(int argc, char **argv);

static const struct command commands[] = {
        { "serve", "serve a folder over HTTP", serve_command },
        { "mount", "a server's folder as a folder of this machine (not on Windows)", mount_command },
        { "unmount", "end that when all data has been sent (not on Windows)", unmount_command },
        { "load", "a crowd of clients, and how it was served", load_command },
        { "doctor", "what this machine's limits allow, and what to change", doctor_command },
        { "help", "this text; 'berth help COMMAND' for one command's", help_command },
        { "version", "the version", version_command },
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static void usage(FILE *out)
{
        fputs("Usage: berth COMMAND [OPTIONS]\n\n", out);
        for (int i = 0; i < COMMAND_COUNT; i++)
                fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
}

static const struct command *find_command(const char *name)
{
        for (int i = 0; i < COMMAND_COUNT; i++)
                if (strcmp(name, commands[i].name) == 0)
                        return &commands[i];
        fprintf(stderr, "berth: '%s' is no command\nTry 'berth help'.\n", name);
        return NULL;
}

static int help_command(int argc, char **argv)
{
        if (argc < 2) {
                usage(stdout);
                return 0;
        }
        const struct command *command = find_command(argv[1]);
        static char help[] = "--help";
        return command ? command->run(2, (char *[]){ argv[1], help, NULL }) : 2;
}

static int version_command(int argc, char **argv)
{
        (void)argc;
        (void)argv;
        puts("berth " BERTH_VERSION);
        return 0;
}

/* mount(8) runs /sbin/mount.TYPE for a type that the kernel does not know: "berth" in fstab, by a link to this program. */
static int is_mount_helper(const char *path)
{
        const char *slash = strrchr(path, '/');
        return strcmp(slash ? slash + 1 : path, "mount.berth") == 0;
}

int main(int argc, char **argv)
{
        argv = start_process(&argc, argv);
        if (!argv)
                return 1;
        if (argc > 0 && is_mount_helper(argv[0]))
                return mount_command(argc, argv);
        if (argc < 2) {
                usage(stderr);
                return 2;
        }
        const char *name = argv[1];
        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
                name = "help";
        if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
                name = "version";
        const struct command *command = find_command(name);
        return command ? command->run(argc - 1, argv + 1) : 2;
}
