/* Receive buffers on io_uring. The pool is one stack (buffers.c), so that memory is touched only as far as it is used.
 *
 * On the first ring the kernel picks a buffer when there are bytes, from a ring shared with it. It takes them in order,
 * each in its turn; so it is given only as many as it takes to go on until we look again (the depth): a few, twice as
 * many each time that it has found none, and half when half would have done for a while. With further rings at most
 * half of the pool lies there, for their receives bring a buffer of their own (uring_receive.c): what lay idle in one
 * ring would be missed by another.
 */
#include "port/uring.h"

#include <sys/mman.h>

enum {
        FIRST_DEPTH = 32,
        LOOK_BACK = 4,      /* times the depth: so many are taken before it is judged */
        LEAST_TO_SHARE = 8, /* of a smaller pool every buffer may be needed everywhere */
};

int uring_init_buffers(struct uring_port *self)
{
        struct buffers *buffers = &self->port.buffers;
        bool alone = self->ring_room == 1;
        self->share = alone ? buffers->count : buffers->count < LEAST_TO_SHARE ? 0 : buffers->count / 2;
        self->depth = min_of(self->share, (uint32_t)FIRST_DEPTH);
        if (self->share == 0)
                return 0;
        self->buffer_ring_bytes = self->share * sizeof(struct io_uring_buf);
        void *memory = mmap(NULL, self->buffer_ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return -ENOMEM;
        self->buffer_ring = memory;
        struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)memory,
                                        .ring_entries = self->share,
                                        .bgid = BUFFER_GROUP };
        return io_uring_register_buf_ring(&first_ring(self)->io, &reg, 0);
}

void uring_finish_buffers(struct uring_port *self)
{
        if (self->buffer_ring)
                munmap(self->buffer_ring, self->buffer_ring_bytes);
}

bool uring_provide(struct uring_port *self)
{
        struct buffers *buffers = &self->port.buffers;
        uint16_t buffer;
        int added = 0;
        while (self->provided + (uint32_t)added < self->depth && buffers_set_aside(buffers, &buffer))
                io_uring_buf_ring_add(self->buffer_ring, buffers_data(buffers, buffer), buffers->bytes, buffer,
                                      io_uring_buf_ring_mask(self->share), added++);
        if (added) {
                self->provided += (uint32_t)added;
                io_uring_buf_ring_advance(self->buffer_ring, added);
        }
        return self->provided > 0;
}

void uring_deepen(struct uring_port *self)
{
        if (self->deepened)
                return;
        self->deepened = true;
        self->depth = min_of(self->depth * 2, self->share);
        self->taken = 0;
        self->fewest = 0;
}

/* Judges the depth by the fewest that were left. */
static void look_back(struct uring_port *self)
{
        self->fewest = min_of(self->fewest, self->provided);
        if (++self->taken < self->depth * LOOK_BACK)
                return;
        if (self->fewest > self->depth / 2 && self->depth > FIRST_DEPTH)
                self->depth /= 2;
        self->taken = 0;
        self->fewest = self->provided;
}

void uring_note_taken(struct uring_port *self, uint16_t buffer)
{
        ensure(self->provided > 0);
        self->provided--;
        buffers_note_taken(&self->port.buffers, buffer);
        look_back(self);
        uring_provide(self);
}

/* Receives that bring their own buffer and found none come first, but not always. */
void uring_buffer_put(struct berth_port *port, uint16_t buffer)
{
        struct uring_port *self = uring_of(port);
        buffers_give(&port->buffers, buffer);
        bool missed = self->provided == 0 && !list_empty(&self->starved);
        if (missed || list_empty(&port->starved))
                uring_provide(self);
}

/* As many as there are buffers. Those that find no data after all wait in the kernel and hold none, and what they leave
 * goes to others the next time. */
void uring_feed_starved(struct uring_port *self)
{
        for (uint32_t n = self->provided + self->port.buffers.free_count; n > 0 && !list_empty(&self->starved); n--) {
                struct berth_op *op = op_of_starved(self->starved.next);
                list_remove(&op_space(op)->recv.starved);
                op->state = OP_PENDING;
                uring_start_recv(&self->port, op);
        }
}
