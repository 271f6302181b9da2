/* Objects of one size. Segments are allocated when needed and never move or shrink, so a pointer to an
 * object stays good for the slab's life; free objects are a list threaded through their first word. */
#include "base/base.h"

#include <errno.h>
#include <stdlib.h>

int slab_init(struct slab *slab, size_t object_bytes, uint32_t segment_objects, uint32_t limit)
{
        ensure(object_bytes > 0 && segment_objects > 0);
        uint32_t segments = limit / segment_objects + (limit % segment_objects != 0);
        *slab = (struct slab){
                .object_bytes = (object_bytes + 7) & ~(size_t)7,
                .segment_objects = segment_objects,
                .limit = limit,
        };
        slab->segments = calloc(max_of(segments, 1u), sizeof(*slab->segments));
        return slab->segments ? 0 : -ENOMEM;
}

void slab_finish(struct slab *slab)
{
        ensure(slab->used == 0);
        for (uint32_t i = 0; i < slab->segment_count; i++)
                free(slab->segments[i]);
        free(slab->segments);
        *slab = (struct slab){ 0 };
}

/* The first word of a free object is the link. */
static void push_free(struct slab *slab, void *object)
{
        memcpy(object, &slab->free, sizeof(slab->free));
        slab->free = object;
}

static bool add_segment(struct slab *slab)
{
        uint32_t count = min_of(slab->segment_objects, slab->limit - slab->made);
        if (count == 0)
                return false;
        size_t bytes = (count * slab->object_bytes + 63) & ~(size_t)63;
        char *segment = aligned_alloc(64, bytes);
        if (!segment)
                return false;
        slab->segments[slab->segment_count++] = segment;
        for (uint32_t i = count; i-- > 0;)
                push_free(slab, segment + i * slab->object_bytes);
        slab->made += count;
        return true;
}

void *slab_take(struct slab *slab)
{
        if (!slab->free && !add_segment(slab))
                return NULL;
        void *object = slab->free;
        memcpy(&slab->free, object, sizeof(slab->free));
        slab->used++;
        return object;
}

void slab_give(struct slab *slab, void *object)
{
        ensure(slab->used > 0 && object);
        slab->used--;
        push_free(slab, object);
}
