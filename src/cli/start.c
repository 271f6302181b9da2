/* The process's beginning: nothing is to be done, and arguments are bytes. */
#include "cli/start.h"

char **start_process(int *argc, char **argv)
{
        (void)argc;
        return argv;
}
