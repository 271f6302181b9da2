/* The engine of Windows. */
#include "port/port_priv.h"

const struct engine *const port_engines[] = { &iocp_engine, NULL };
const unsigned port_engines_automatic = 1;
