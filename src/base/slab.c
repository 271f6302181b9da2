/* Objects of one size. A segment is a mapping whose size is a power of two and which is aligned to it, so that an
 * object's address tells its segment; its head stands in the first 64 bytes. Objects never move. Those never used yet
 * are taken in order, so a segment's pages are touched as they are needed; those given back are threaded through
 * their first word. Empty segments are unmapped by slab_trim(), not before, since they are soon needed again.
 */
#include "base/base.h"

enum { HEAD_BYTES = 64, LEAST_SEGMENT_BYTES = 16 << 10 };

struct segment {
        struct list node; /* in one of the slab's three lists */
        void *free;
        uint32_t used, fresh; /* objects handed out; objects never handed out begin with this one */
};

_Static_assert(sizeof(struct segment) <= HEAD_BYTES, "the head fits before the objects");

int slab_init(struct slab *slab, size_t object_bytes, uint32_t segment_objects, uint32_t limit)
{
        ensure(object_bytes > 0 && segment_objects > 0);
        *slab = (struct slab){ .object_bytes = (object_bytes + 7) & ~(size_t)7, .limit = limit };
        slab->segment_bytes = LEAST_SEGMENT_BYTES;
        while (slab->segment_bytes < HEAD_BYTES + segment_objects * slab->object_bytes)
                slab->segment_bytes *= 2;
        slab->segment_objects = (uint32_t)((slab->segment_bytes - HEAD_BYTES) / slab->object_bytes);
        list_init(&slab->partial);
        list_init(&slab->full);
        list_init(&slab->empty);
        return 0;
}

static struct segment *first_of(struct list *list)
{
        return container_of(list->next, struct segment, node);
}

static void unmap(struct slab *slab, struct segment *segment)
{
        list_remove(&segment->node);
        memory_unmap(segment, slab->segment_bytes);
        slab->segment_count--;
}

void slab_finish(struct slab *slab)
{
        ensure(slab->used == 0);
        if (!slab->segment_bytes)
                return;
        while (!list_empty(&slab->empty))
                unmap(slab, first_of(&slab->empty));
        *slab = (struct slab){ 0 };
}

static struct segment *add_segment(struct slab *slab)
{
        struct segment *segment = memory_map_aligned(slab->segment_bytes);
        if (!segment)
                return NULL;
        list_append(&slab->partial, &segment->node);
        slab->segment_count++;
        return segment;
}

/* Those in use first, so that the others can become and stay empty. */
static struct segment *segment_with_room(struct slab *slab)
{
        if (!list_empty(&slab->partial))
                return first_of(&slab->partial);
        if (list_empty(&slab->empty))
                return add_segment(slab);
        struct segment *segment = first_of(&slab->empty);
        list_remove(&segment->node);
        list_append(&slab->partial, &segment->node);
        return segment;
}

/* The first word of a free object is the link. */
static void *take_from(struct slab *slab, struct segment *segment)
{
        void *object = segment->free;
        if (object)
                memcpy(&segment->free, object, sizeof(segment->free));
        else
                object = (char *)segment + HEAD_BYTES + segment->fresh++ * slab->object_bytes;
        return object;
}

void *slab_take(struct slab *slab)
{
        if (slab->used == slab->limit)
                return NULL;
        struct segment *segment = segment_with_room(slab);
        if (!segment)
                return NULL;
        void *object = take_from(slab, segment);
        slab->used++;
        slab->peak = max_of(slab->peak, slab->used);
        if (++segment->used == slab->segment_objects) {
                list_remove(&segment->node);
                list_append(&slab->full, &segment->node);
        }
        return object;
}

void slab_give(struct slab *slab, void *object)
{
        ensure(slab->used > 0 && object);
        struct segment *segment = (struct segment *)((uintptr_t)object & ~(uintptr_t)(slab->segment_bytes - 1));
        memcpy(object, &segment->free, sizeof(segment->free));
        segment->free = object;
        slab->used--;
        bool was_full = segment->used-- == slab->segment_objects;
        if (was_full || segment->used == 0) {
                list_remove(&segment->node);
                list_append(segment->used ? &slab->partial : &slab->empty, &segment->node);
        }
}

void slab_trim(struct slab *slab)
{
        uint32_t enough = slab->peak / slab->segment_objects + 2;
        while (slab->segment_count > enough && !list_empty(&slab->empty))
                unmap(slab, first_of(&slab->empty));
        slab->peak = slab->used;
}

size_t slab_bytes(const struct slab *slab)
{
        return slab->segment_count * slab->segment_bytes;
}
