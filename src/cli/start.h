/* The process's beginning. */
#ifndef CLI_START_H
#define CLI_START_H

/* Before anything else: what the system wants done once. The arguments as UTF-8, NULL without memory. */
char **start_process(int *argc, char **argv);

#endif
