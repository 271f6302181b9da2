/* Large uploads of known length: their bytes come into blocks of 256 KiB, not into the port's small buffers, and each
 * block is written by one call. While a worker writes one block the next one fills.
 *
 * A shard has few blocks. So nobody holds an empty one while he waits for his client: the socket is waited for first
 * (transport_wait_readable), then received from without waiting, until the block is full or the socket is dry; and what
 * a block holds then is written. Who finds no block free goes on with small buffers, as short uploads do, until there
 * are two again.
 *
 * A range of a file that exists is held until it is complete, where there are blocks for all of it, and then written to
 * its place: received aside it would be written twice. Its blocks are its own from the beginning.
 *
 * The receive that the connection had armed when the head came is cancelled; what it has brought is written before
 * anything comes into a block. While a receive fills a block, that is the connection's (active->block), and comes back
 * with its completion, whatever has become of the request meanwhile.
 */
#include "serve/change.h"
#include "serve/transport.h"

#include <errno.h>

enum {
        FLOW_FROM_BYTES = 256 << 10, /* an upload's length */
        ENOUGH_BYTES = 64 << 10,     /* are written without waiting for more */
        SPARE_BLOCKS = 4,            /* are left to others by who holds a range */
};

/* ---- blocks ---- */

int blocks_init(struct blocks *blocks, unsigned count)
{
        *blocks = (struct blocks){ .count = min_of(count, (unsigned)MAX_BLOCKS) };
        for (unsigned i = 0; i < blocks->count; i++)
                blocks->free[blocks->free_count++] = (uint8_t)(blocks->count - i);
        if (blocks->count == 0)
                return 0;
        blocks->memory = memory_map((size_t)blocks->count * BLOCK_BYTES);
        if (blocks->memory)
                return 0;
        *blocks = (struct blocks){ 0 };
        return -ENOMEM;
}

void blocks_finish(struct blocks *blocks)
{
        ensure(blocks->free_count == blocks->count);
        if (blocks->memory)
                memory_unmap(blocks->memory, (size_t)blocks->count * BLOCK_BYTES);
}

void blocks_trim(struct blocks *blocks)
{
        if (blocks->touched && !blocks->used && blocks->free_count == blocks->count) {
                memory_forget(blocks->memory, (size_t)blocks->count * BLOCK_BYTES);
                blocks->touched = false;
        }
        blocks->used = false;
}

void blocks_give(struct blocks *blocks, uint8_t block)
{
        ensure(block > 0 && block <= blocks->count && blocks->free_count < blocks->count);
        blocks->free[blocks->free_count++] = block;
}

static uint8_t take_block(struct blocks *blocks)
{
        if (blocks->free_count == 0)
                return 0;
        blocks->touched = blocks->used = true;
        return blocks->free[--blocks->free_count];
}

static char *data_of(const struct blocks *blocks, uint8_t block)
{
        return blocks->memory + (size_t)(block - 1) * BLOCK_BYTES;
}

/* For the next bytes; 0: none is free. */
static uint8_t next_block(struct change *c)
{
        if (c->held_count == 0)
                return take_block(&c->shard->blocks);
        ensure(c->held_used < c->held_count);
        return c->held[c->held_used++];
}

static void give(struct change *c, uint8_t *block)
{
        if (*block)
                blocks_give(&c->shard->blocks, *block);
        *block = 0;
}

/* ---- beginning and ending ---- */

static bool can_hold(const struct change *c)
{
        uint64_t length = c->request->head.content_length;
        return c->partial && !c->byterange && length <= (uint64_t)HELD_BLOCKS * BLOCK_BYTES &&
               c->shard->blocks.free_count >= SPARE_BLOCKS + (length + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static void hold(struct change *c)
{
        for (uint64_t room = 0; room < c->request->head.content_length; room += BLOCK_BYTES)
                c->held[c->held_count++] = take_block(&c->shard->blocks);
        c->flows = true;
        conn_receive_anew(c->request->conn);
}

void flow_begin(struct change *c)
{
        const struct request *r = c->request;
        bool large = !r->head.chunked && r->head.content_length >= FLOW_FROM_BYTES;
        c->may_flow = c->body == BODY_UPLOAD && large && c->shard->blocks.count > 0;
        if (c->may_flow && can_hold(c))
                hold(c);
        else
                flow_again(c);
}

void flow_again(struct change *c)
{
        if (!c->may_flow || c->flows || c->shard->blocks.free_count < min_of(c->shard->blocks.count, 2u) ||
            (c->byterange && !c->part_complete))
                return;
        c->flows = true;
        conn_receive_anew(c->request->conn);
}

void flow_end(struct change *c)
{
        struct conn *conn = c->request->conn;
        if (c->held_count > 0)
                c->filling_block = 0; /* one of these */
        for (unsigned i = 0; i < c->held_count; i++)
                if (c->held[i] != conn->active->block)
                        blocks_give(&c->shard->blocks, c->held[i]);
        c->held_count = 0;
        give(c, &c->writing_block);
        if (c->filling_block && c->filling_block != conn->active->block)
                blocks_give(&c->shard->blocks, c->filling_block);
        c->filling_block = 0;
}

/* ---- receiving ---- */

bool flow_receive(struct change *c)
{
        struct request *r = c->request;
        struct blocks *blocks = &c->shard->blocks;
        if (conn_receiving(r->conn) || c->body_complete || c->filled == BLOCK_BYTES || conn_input_ended(r->conn) ||
            !chain_empty(request_held(r)))
                return true;
        if (c->dry) {
                if (c->filled == 0 && c->held_count == 0)
                        give(c, &c->filling_block);
                conn_wait_readable(r->conn);
                return true;
        }
        if (!c->filling_block)
                c->filling_block = next_block(c);
        if (!c->filling_block)
                return false;
        size_t room = (size_t)min_of((uint64_t)(BLOCK_BYTES - c->filled), r->body_left);
        conn_receive_block(r->conn, c->filling_block, data_of(blocks, c->filling_block) + c->filled, room);
        return true;
}

static void fill(struct change *c, uint32_t size)
{
        ensure(c->filled + size <= BLOCK_BYTES);
        c->filled += size;
        if (c->held_count > 0 && c->filled == BLOCK_BYTES) {
                c->filling_block = 0;
                c->filled = 0;
        }
}

static void take(struct change *c, uint32_t size)
{
        struct request *r = c->request;
        ensure(size <= r->body_left);
        fill(c, size);
        c->received += size;
        r->body_left -= size;
        r->body_skipped += size;
        c->body_complete = r->body_left == 0;
}

void flow_arrived(struct request *r, uint8_t block, int64_t result)
{
        struct change *c = r->change;
        if (block && result > 0)
                take(c, (uint32_t)result);
        c->dry = block && result == -EAGAIN;
        if (r->wants_input)
                request_input(r);
        else if (r->step == STEP_WRITTEN)
                flow_receive(c);
}

/* A turn that brought little is followed by another try, which finds the socket dry or makes it more. One that is in
 * progress ends soon, as it does not wait. */
bool flow_is_enough(const struct change *c)
{
        const struct conn *conn = c->request->conn;
        bool dry = c->dry || conn_input_ended(conn);
        return c->held_count == 0 && c->filled > 0 && !conn->active->block &&
               (c->body_complete || c->filled == BLOCK_BYTES || dry || c->filled >= ENOUGH_BYTES);
}

void flow_to_write(struct change *c)
{
        ensure(c->vec_count == 0 && !c->writing_block && c->filled > 0);
        c->vecs[c->vec_count++] = (struct berth_vec){ data_of(&c->shard->blocks, c->filling_block), c->filled };
        c->writing_block = c->filling_block;
        c->filling_block = 0;
        c->filled = 0;
}

void flow_written(struct change *c)
{
        give(c, &c->writing_block);
}

/* ---- held ranges ---- */

void flow_hold(struct change *c, struct span bytes)
{
        while (bytes.size > 0) {
                if (!c->filling_block)
                        c->filling_block = next_block(c);
                size_t size = min_of(bytes.size, (size_t)(BLOCK_BYTES - c->filled));
                memcpy(data_of(&c->shard->blocks, c->filling_block) + c->filled, bytes.data, size);
                fill(c, (uint32_t)size);
                bytes = (struct span){ bytes.data + size, bytes.size - size };
        }
}

int flow_held(const struct change *c, struct berth_vec vecs[HELD_BLOCKS])
{
        uint64_t left = c->received;
        int count = 0;
        for (; left > 0; count++) {
                size_t size = (size_t)min_of(left, (uint64_t)BLOCK_BYTES);
                vecs[count] = (struct berth_vec){ data_of(&c->shard->blocks, c->held[count]), size };
                left -= size;
        }
        return count;
}
