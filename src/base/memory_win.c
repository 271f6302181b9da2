/* Memory in whole pages, straight from the kernel. Pages are committed at once, which counts against the system's
 * limit, and cost memory when they are touched. */
#include "base/base.h"

#include <windows.h>

void *memory_map(size_t bytes)
{
        return VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

/* A part of a reservation cannot be given back: where twice the size was free all of it is let go, and the aligned
 * piece in it asked for. Another thread may be faster, so it is tried a few times. */
static void *try_aligned(size_t bytes)
{
        char *memory = VirtualAlloc(NULL, bytes * 2, MEM_RESERVE, PAGE_NOACCESS);
        if (!memory)
                return NULL;
        VirtualFree(memory, 0, MEM_RELEASE);
        memory += -(uintptr_t)memory & (bytes - 1);
        return VirtualAlloc(memory, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void *memory_map_aligned(size_t bytes)
{
        enum { GRANULARITY_BYTES = 64 << 10, TRIES = 8 };
        if (bytes <= GRANULARITY_BYTES) /* so every reservation is aligned */
                return memory_map(bytes);
        void *memory = NULL;
        for (int tries = 0; !memory && tries < TRIES; tries++)
                memory = try_aligned(bytes);
        return memory;
}

void memory_unmap(void *memory, size_t bytes)
{
        (void)bytes;
        VirtualFree(memory, 0, MEM_RELEASE);
}

void memory_forget(void *memory, size_t bytes)
{
        VirtualAlloc(memory, bytes, MEM_RESET, PAGE_READWRITE);
}
