/* The memory of what was read ahead (pieces.h): chunks out of regions, counted against the limit.
 *
 * Who needs room takes it from those who need it least: first what has been read already, that of the stream that was
 * read the longest time ago first; then what lies furthest ahead of a reader that is idle or has more than he. So two
 * readers end with half of it each, and do not take from each other for ever.
 */
#include "mount/pieces.h"
#include "mount/block.h"

#include <stdlib.h>

enum { REGION_BYTES = REGION_CHUNKS * CHUNK_BYTES };

struct region {
        struct list node;
        uint32_t taken; /* a bit for each chunk */
        char *memory;
};

_Static_assert(REGION_CHUNKS == 32, "a bit for each chunk");

/* ---- chunks ---- */

static struct region *region_at(struct list *node)
{
        return container_of(node, struct region, node);
}

static struct region *region_add(struct ahead *ahead)
{
        struct region *region = malloc(sizeof *region);
        char *memory = region ? block_new(REGION_BYTES) : NULL;
        if (!memory) {
                free(region);
                return NULL;
        }
        *region = (struct region){ .memory = memory };
        list_append(&ahead->regions, &region->node);
        return region;
}

static void region_remove(struct region *region)
{
        list_remove(&region->node);
        block_free(region->memory, REGION_BYTES);
        free(region);
}

static struct region *region_with_room(struct ahead *ahead)
{
        for (struct list *node = ahead->regions.next; node != &ahead->regions; node = node->next)
                if (region_at(node)->taken != UINT32_MAX)
                        return region_at(node);
        return region_add(ahead);
}

static char *chunk_take(struct ahead *ahead)
{
        struct region *region = region_with_room(ahead);
        if (!region)
                return NULL;
        unsigned index = (unsigned)__builtin_ctz(~region->taken);
        region->taken |= 1u << index;
        ahead->chunks++;
        return region->memory + (size_t)index * CHUNK_BYTES;
}

static bool region_holds(const struct region *region, const char *chunk)
{
        return (uintptr_t)chunk - (uintptr_t)region->memory < REGION_BYTES;
}

static void chunk_give(struct ahead *ahead, const char *chunk)
{
        struct list *node = ahead->regions.next;
        while (!region_holds(region_at(node), chunk)) {
                node = node->next;
                ensure(node != &ahead->regions);
        }
        struct region *region = region_at(node);
        region->taken &= ~(1u << (size_t)(chunk - region->memory) / CHUNK_BYTES);
        ahead->chunks--;
        if (!region->taken)
                region_remove(region);
}

/* Whole regions within the limit, with something left for all that is not chunks. */
void room_init(struct ahead *ahead)
{
        size_t regions = (ahead->options.limit_bytes - ahead->options.limit_bytes / 32) / REGION_BYTES;
        ahead->most_chunks = (unsigned)max_of(regions, 1u) * REGION_CHUNKS;
        list_init(&ahead->regions);
}

void room_finish(struct ahead *ahead)
{
        ensure(ahead->used_bytes == 0 && list_empty(&ahead->regions));
}

/* ---- who has to give way ---- */

struct victim {
        struct piece *piece;
        uint64_t ahead; /* bytes that lie between it and its reader; 0: it has been read */
};

/* Who waits for bytes or copies them keeps them, and what is on its way cannot be called back. */
static bool is_free(const struct piece *piece)
{
        return !piece->under_way && piece->users == 0;
}

static uint64_t distance_of(const struct piece *piece)
{
        uint64_t next = piece->reader->window.next;
        return piece_end(piece) > next ? piece_end(piece) - next : 0;
}

/* `next` alone does not tell: somebody who comes before may still be on his way to it. */
static bool is_read(const struct piece *piece)
{
        return piece->read >= piece->size || piece_end(piece) + WINDOW_BACK_BYTES <= piece->reader->window.next;
}

/* Streams stand in the order in which they were read last. */
static struct piece *find_read(struct ahead *ahead)
{
        for (struct list *node = ahead->streams.next; node != &ahead->streams; node = node->next) {
                struct stream *stream = container_of(node, struct stream, node);
                for (struct list *at = stream->pieces.next; at != &stream->pieces; at = at->next)
                        if (is_free(piece_at(at)) && is_read(piece_at(at)))
                                return piece_at(at);
        }
        return NULL;
}

static bool may_take_from(const struct reader *from, const struct reader *reader, size_t bytes, uint64_t now_ms)
{
        return from != reader && (from->bytes > reader->bytes + bytes || now_ms > from->read_ms + IDLE_MS);
}

static struct piece *find_furthest(struct reader *reader, size_t bytes)
{
        struct victim victim = { 0 };
        struct list *streams = &reader->stream->ahead->streams;
        uint64_t now_ms = clock_ms();
        for (struct list *node = streams->next; node != streams; node = node->next) {
                struct stream *stream = container_of(node, struct stream, node);
                for (struct list *at = stream->pieces.next; at != &stream->pieces; at = at->next) {
                        struct piece *piece = piece_at(at);
                        if (is_free(piece) && distance_of(piece) > victim.ahead &&
                            may_take_from(piece->reader, reader, bytes, now_ms))
                                victim = (struct victim){ piece, distance_of(piece) };
                }
        }
        return victim.piece;
}

static bool has_room(const struct ahead *ahead, size_t bytes, unsigned chunks)
{
        return ahead->used_bytes + bytes <= ahead->options.limit_bytes && ahead->chunks + chunks <= ahead->most_chunks;
}

static bool make_room(struct reader *reader, size_t bytes, unsigned chunks)
{
        struct ahead *ahead = reader->stream->ahead;
        if (bytes > ahead->options.limit_bytes || chunks > ahead->most_chunks)
                return false;
        while (!has_room(ahead, bytes, chunks)) {
                struct piece *piece = find_read(ahead);
                if (!piece) {
                        piece = find_furthest(reader, bytes);
                        if (!piece)
                                return false;
                        window_shrink(&piece->reader->window, piece->first);
                }
                piece_detach(piece);
        }
        return true;
}

/* ---- pieces ---- */

static bool take_memory(struct ahead *ahead, struct piece *piece, unsigned chunks)
{
        piece->call = malloc(sizeof *piece->call);
        while (piece->call && piece->chunk_count < chunks) {
                char *chunk = chunk_take(ahead);
                if (!chunk)
                        return false;
                piece->chunks[piece->chunk_count++] = chunk;
        }
        return piece->call;
}

struct piece *room_take(struct reader *reader, size_t size)
{
        struct ahead *ahead = reader->stream->ahead;
        unsigned chunks = (unsigned)((size + CHUNK_BYTES - 1) / CHUNK_BYTES);
        size_t head = sizeof(struct piece) + chunks * sizeof(char *);
        size_t cost = head + sizeof(struct call) + (size_t)chunks * CHUNK_BYTES;
        struct piece *piece = make_room(reader, cost, chunks) ? calloc(1, head) : NULL;
        if (!piece)
                return NULL;
        piece->cost = cost;
        ahead->used_bytes += cost;
        if (take_memory(ahead, piece, chunks))
                return piece;
        room_give(ahead, piece);
        return NULL;
}

void room_give_call(struct ahead *ahead, struct piece *piece)
{
        free(piece->call);
        piece->call = NULL;
        piece->cost -= sizeof(struct call);
        ahead->used_bytes -= sizeof(struct call);
}

void room_give(struct ahead *ahead, struct piece *piece)
{
        for (unsigned i = 0; i < piece->chunk_count; i++)
                chunk_give(ahead, piece->chunks[i]);
        ahead->used_bytes -= piece->cost;
        free(piece->call);
        free(piece);
}
