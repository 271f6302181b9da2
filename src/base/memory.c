/* Memory in whole pages, straight from the kernel. */
#include "base/base.h"

#include <sys/mman.h>

void *memory_map(size_t bytes)
{
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return memory == MAP_FAILED ? NULL : memory;
}

/* Twice the size holds an aligned piece of the size; the rest goes back. */
void *memory_map_aligned(size_t bytes)
{
        char *memory = memory_map(bytes * 2);
        if (!memory)
                return NULL;
        size_t before = -(uintptr_t)memory & (bytes - 1);
        if (before)
                munmap(memory, before);
        munmap(memory + before + bytes, bytes - before);
        return memory + before;
}

void memory_unmap(void *memory, size_t bytes)
{
        munmap(memory, bytes);
}

void memory_forget(void *memory, size_t bytes)
{
        madvise(memory, bytes, MADV_DONTNEED);
}
