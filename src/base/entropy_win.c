/* Random bytes of the system, through the C library. */
#define _CRT_RAND_S
#include "base/base.h"

#include <stdlib.h>

bool entropy(void *out, size_t size)
{
        unsigned word;
        for (size_t done = 0; done < size; done += min_of(size - done, sizeof(word))) {
                if (rand_s(&word) != 0)
                        return false;
                memcpy((char *)out + done, &word, min_of(size - done, sizeof(word)));
        }
        return true;
}
