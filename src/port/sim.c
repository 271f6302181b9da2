/* The simulator. */
#include "port/port_priv.h"

static int sim_create(struct berth_port **port, const struct berth_port_config *config)
{
        (void)config;
        *port = NULL;
        return -ENOSYS;
}

const struct engine sim_engine = { .name = "sim", .create = sim_create };
