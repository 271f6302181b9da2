/* load: `berth load`, a crowd of HTTP clients from one process. */
#ifndef LOAD_LOAD_H
#define LOAD_LOAD_H

/* Opens, holds, asks and reports as the arguments say. Returns the exit status: 0 everything was opened, held and
 * answered; 1 something failed; 2 a wrong option, or what was asked for cannot be done on this machine. */
int load_command(int argc, char **argv);

#endif
