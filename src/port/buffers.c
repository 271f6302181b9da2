/* The pool of receive buffers: one mapping of count x bytes, touched only as far as it is used; a stack of
 * free numbers, so that the buffer last given back, still in the cache, goes out first. */
#include "port/port_priv.h"

#include <stdlib.h>

enum { LENT = 1, USED_BEFORE = 2 };

int buffers_init(struct buffers *buffers, uint32_t count, uint32_t bytes, struct berth_port_stats *stats)
{
        ensure(count > 0 && count <= 32768 && (count & (count - 1)) == 0 && bytes > 0);
        *buffers = (struct buffers){ .bytes = bytes, .count = (uint16_t)count, .stats = stats };
        buffers->memory = memory_map((size_t)count * bytes);
        buffers->free = malloc(count * sizeof(*buffers->free));
        buffers->state = calloc(count, sizeof(*buffers->state));
        if (!buffers->memory || !buffers->free || !buffers->state) {
                buffers_finish(buffers);
                return -ENOMEM;
        }
        for (uint32_t i = count; i-- > 0;)
                buffers->free[buffers->free_count++] = (uint16_t)i;
        return 0;
}

void buffers_finish(struct buffers *buffers)
{
        if (buffers->memory)
                memory_unmap(buffers->memory, (size_t)buffers->count * buffers->bytes);
        free(buffers->free);
        free(buffers->state);
        *buffers = (struct buffers){ 0 };
}

bool buffers_set_aside(struct buffers *buffers, uint16_t *buffer)
{
        if (buffers->free_count == 0)
                return false;
        *buffer = buffers->free[--buffers->free_count];
        return true;
}

void buffers_note_taken(struct buffers *buffers, uint16_t buffer)
{
        ensure(buffer < buffers->count && !(buffers->state[buffer] & LENT));
        if (!buffers->state[buffer])
                buffers->stats->buffers_used++;
        buffers->state[buffer] = LENT | USED_BEFORE;
        buffers->stats->buffers_lent++;
}

bool buffers_take(struct buffers *buffers, uint16_t *buffer)
{
        if (!buffers_set_aside(buffers, buffer))
                return false;
        buffers_note_taken(buffers, *buffer);
        return true;
}

void buffers_give(struct buffers *buffers, uint16_t buffer)
{
        ensure(buffer < buffers->count && buffers->state[buffer] & LENT); /* given back twice? */
        buffers->state[buffer] &= (uint8_t)~LENT;
        buffers->stats->buffers_lent--;
        buffers->free[buffers->free_count++] = buffer;
}
