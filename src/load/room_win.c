/* What Windows has room for: ports, handles, memory of our own. */
#include "load/load_priv.h"

#include <errno.h>
#include <windows.h>

#include <psapi.h>

enum { DEFAULT_PORTS = 16384 }; /* from 49152 on */

const char load_range_name[] = "the dynamic port range";

int load_ports(uint64_t *count)
{
        uint64_t first;
        if (machine_ports(&first, count) < 0)
                *count = DEFAULT_PORTS;
        return 0;
}

uint64_t load_resident_bytes(void)
{
        PROCESS_MEMORY_COUNTERS memory = { .cb = sizeof(memory) };
        return K32GetProcessMemoryInfo(GetCurrentProcess(), &memory, sizeof(memory)) ? memory.WorkingSetSize : 0;
}

int load_check_room(const struct load_run *run, uint64_t descriptors)
{
        if (run->options.connections <= descriptors)
                return 0;
        complain("%s connections: a process has %s handles at most", figure_count(run->options.connections).text,
                 figure_count(descriptors).text);
        return -EMFILE;
}
