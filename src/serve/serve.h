/* serve: `berth serve DIR`, an HTTP/1.1 file server on the completion port. */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

/* The sub-command, argv[0] being "serve". Blocks until a signal ends it. Returns the exit code: 0, 1 (could not run), 2
 * (wrong options). Call once. */
int serve_command(int argc, char **argv);

#endif
