/* The engines of Linux. */
#include "port/port_priv.h"

const struct engine *const port_engines[] = { &uring_engine, &epoll_engine, &sim_engine, NULL };
const unsigned port_engines_automatic = 2;
