/* doctor: what this machine's limits allow, and what to change. */
#ifndef DOCTOR_DOCTOR_H
#define DOCTOR_DOCTOR_H

/* `berth doctor ...`, with argv[0] "doctor". The exit status: 0 fits, 1 does not fit, 2 cannot tell or wrong usage. */
int doctor_command(int argc, char **argv);

#endif
