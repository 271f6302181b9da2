/* Ports: those that outgoing connections are given, and those that not everybody may listen on. */
#include "base/base.h"

#include <errno.h>

const char *machine_port_denied(void)
{
        return "ports below net.ipv4.ip_unprivileged_port_start (1024 unless it was changed) are root's";
}

int machine_ports(uint64_t *first, uint64_t *count)
{
        static const char path[] = "/proc/sys/net/ipv4/ip_local_port_range";
        uint64_t last;
        if (proc_number(path, 0, first) < 0 || proc_number(path, 1, &last) < 0 || *first > last || last > 65535)
                return -ENOENT;
        *count = last - *first + 1;
        return 0;
}
