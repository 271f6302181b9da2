/* Slots for sockets: which ring a new connection goes to, and how many there may be.
 *
 * Two bounds are kept, a ring's table and the port's max_handles. A socket counts from the submission that asks for it,
 * by accept or connect, to the end of its close. A multishot accept takes connections before we know of them, as many
 * as its completion queue has room for; so room for that is set aside for as long as it is armed (multishots *
 * multishot_room()). It starts only where room is plenty, and is cancelled when no more than that is left: so the
 * kernel never takes a connection that there is no slot for.
 */
#include "port/uring.h"

enum {
        BACKLOG = 4096,
        REAPED_BEFORE_STOP = 512,
        MORE_ROOM = 256, /* to begin: lest it begin and end at each connection */
};

/* A full completion queue, and what comes in place of those that are reaped before the cancel has been heard. */
static int64_t multishot_room(const struct uring_port *self)
{
        return max_of((int64_t)first_ring(self)->io.cq.ring_entries, (int64_t)BACKLOG) + REAPED_BEFORE_STOP;
}

/* What is free and not set aside. */
static int64_t room_of_ring(const struct uring_port *self, const struct uring_ring *ring)
{
        return (int64_t)ring->slots - ring->used - ring->multishots * multishot_room(self);
}

static int64_t room_of_port(const struct uring_port *self)
{
        return (int64_t)self->max_handles - self->used - self->multishots * multishot_room(self);
}

/* A ring with room for so many: the one that was filled last, or any, or a new one; NULL. */
static struct uring_ring *find_ring(struct uring_port *self, int64_t room)
{
        if (room_of_ring(self, self->rings[self->filling]) >= room)
                return self->rings[self->filling];
        uint32_t i = 0;
        while (i < self->ring_count && room_of_ring(self, self->rings[i]) < room)
                i++;
        if (i == self->ring_count && (first_ring(self)->slots < room || uring_add_ring(self) < 0))
                return NULL;
        self->filling = i;
        return self->rings[i];
}

struct uring_ring *uring_take_slot(struct uring_port *self)
{
        struct uring_ring *ring = room_of_port(self) > 0 ? find_ring(self, 1) : NULL;
        if (ring) {
                ring->used++;
                self->used++;
        }
        return ring;
}

void uring_give_slot(struct uring_port *self, struct uring_ring *ring)
{
        ensure(ring->used > 0 && self->used > 0);
        ring->used--;
        self->used--;
}

bool uring_take_plain(struct uring_port *self)
{
        if (!self->direct)
                return uring_take_slot(self) != NULL;
        bool room = room_of_port(self) > 0;
        self->used += room;
        return room;
}

void uring_give_plain(struct uring_port *self)
{
        ensure(self->used > 0);
        self->used--;
        if (!self->direct)
                first_ring(self)->used--;
}

void uring_forget_socket(struct uring_port *self, struct berth_handle *handle)
{
        if (handle->flags & HANDLE_DIRECT)
                uring_give_slot(self, ring_of(self, handle));
        else
                uring_give_plain(self);
        self->port.stats.handles--;
}

/* ---- multishot accepts ---- */

static struct op_space *space_of_armed(struct list *node)
{
        return (struct op_space *)((char *)node - offsetof(struct op_space, accept.armed));
}

struct uring_ring *uring_begin_multishot(struct uring_port *self, struct berth_op *op)
{
        int64_t room = multishot_room(self) + MORE_ROOM;
        struct uring_ring *ring = room_of_port(self) >= room ? find_ring(self, room) : NULL;
        if (!ring)
                return NULL;
        ring->multishots++;
        self->multishots++;
        list_append(&self->multishot_list, &op_space(op)->accept.armed);
        return ring;
}

void uring_end_multishot(struct uring_port *self, struct berth_op *op)
{
        struct uring_ring *ring = self->rings[op_space(op)->accept.ring];
        ensure(ring->multishots > 0 && self->multishots > 0);
        ring->multishots--;
        self->multishots--;
        list_remove(&op_space(op)->accept.armed);
}

bool uring_count_accepted(struct uring_port *self, struct uring_ring *ring)
{
        ring->used++;
        self->used++;
        ensure(ring->used <= ring->slots);
        return room_of_ring(self, ring) <= 0 || room_of_port(self) <= 0;
}

bool uring_slot_may_come(struct uring_port *self)
{
        if (self->port.stats.handles >= self->max_handles)
                return false;
        for (struct list *node = self->multishot_list.next; node != &self->multishot_list; node = node->next) {
                struct op_space *space = space_of_armed(node);
                struct berth_op *op = (struct berth_op *)((char *)space - offsetof(struct berth_op, engine));
                if (space->accept.step == ACCEPT_MULTISHOT) {
                        space->accept.step = ACCEPT_STOPPING;
                        uring_end_soon(self, op);
                }
        }
        return self->multishots > 0 || self->used > self->port.stats.handles;
}
