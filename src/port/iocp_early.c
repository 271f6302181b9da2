/* Accepting with the first bytes (config.accept_data_ms): an accept ends when its client has said something, and brings
 * that along. Until the connection's receives have taken it, the accept's record is kept under a number, which its
 * handle knows as `installed`. Clients that say nothing occupy accepts in the kernel; SO_CONNECT_TIME finds them. */
#include "port/iocp.h"

enum { LOOK_MS = 1000 };

bool iocp_early_room(const struct iocp_port *self)
{
        return self->accept_data_ms && self->early_count + self->posted < MAX_EARLY;
}

bool iocp_early_keep(struct iocp_port *self, struct acceptor *acceptor)
{
        int at = 0;
        if (acceptor->io.bytes == 0) {
                if (acceptor->tied)
                        list_append(&self->unadopted, &acceptor->node);
                return acceptor->tied;
        }
        while (self->early[at])
                ensure(++at < MAX_EARLY);
        self->early[at] = acceptor;
        self->early_count++;
        acceptor->number = at;
        acceptor->io.offset = 0;
        list_append(&self->unadopted, &acceptor->node);
        return true;
}

static struct acceptor *unadopted(const struct iocp_port *self, SOCKET socket)
{
        for (struct list *node = self->unadopted.next; node != &self->unadopted; node = node->next) {
                struct acceptor *acceptor = container_of(node, struct acceptor, node);
                if (acceptor->socket == socket)
                        return acceptor;
        }
        return NULL;
}

static void forget(struct iocp_port *self, struct acceptor *acceptor)
{
        list_remove(&acceptor->node);
        slab_give(&self->acceptors, acceptor);
}

bool iocp_early_adopt(struct iocp_port *self, struct berth_handle *handle)
{
        struct acceptor *acceptor = unadopted(self, iocp_socket(handle));
        if (!acceptor)
                return false;
        bool tied = acceptor->tied;
        if (acceptor->io.bytes == 0) {
                forget(self, acceptor);
                return tied;
        }
        list_remove(&acceptor->node);
        handle->installed = acceptor->number;
        handle->flags |= HANDLE_READABLE;
        return tied;
}

int iocp_early_pass(struct iocp_port *self, SOCKET socket)
{
        struct acceptor *acceptor = unadopted(self, socket);
        if (!acceptor)
                return 0;
        int error = acceptor->io.bytes > 0 ? -EOPNOTSUPP : iocp_untie(socket);
        if (!error)
                forget(self, acceptor);
        return error;
}

static struct acceptor *early_of(struct iocp_port *self, const struct berth_handle *handle)
{
        ensure(handle->installed < MAX_EARLY && self->early[handle->installed]);
        return self->early[handle->installed];
}

void iocp_early_drop(struct iocp_port *self, struct berth_handle *handle)
{
        struct acceptor *acceptor = early_of(self, handle);
        self->early[handle->installed] = NULL;
        self->early_count--;
        handle->installed = -1;
        slab_give(&self->acceptors, acceptor);
}

size_t iocp_early_take(struct iocp_port *self, struct berth_handle *handle, char *data, size_t room)
{
        struct acceptor *acceptor = early_of(self, handle);
        size_t size = min_of(room, (size_t)(acceptor->io.bytes - acceptor->io.offset));
        memcpy(data, acceptor->output + acceptor->io.offset, size);
        acceptor->io.offset += size;
        if (acceptor->io.offset == acceptor->io.bytes)
                iocp_early_drop(self, handle);
        return size;
}

/* ---- those who say nothing ---- */

/* Seconds that the client has been connected; -1: there is none yet. */
static int64_t connected_seconds(SOCKET socket)
{
        DWORD seconds;
        int bytes = sizeof(seconds);
        if (getsockopt(socket, SOL_SOCKET, SO_CONNECT_TIME, (char *)&seconds, &bytes) || seconds == UINT32_MAX)
                return -1;
        return seconds;
}

/* Its accept ends with an error, and with that its socket. */
static void look_at(struct listener *listener, int64_t most_seconds)
{
        for (struct list *node = listener->posted.next; node != &listener->posted; node = node->next) {
                struct acceptor *acceptor = container_of(node, struct acceptor, node);
                if (connected_seconds(acceptor->socket) >= most_seconds)
                        iocp_cancel_call(&acceptor->io);
        }
}

void iocp_look_at_silent(struct iocp_port *self)
{
        uint64_t now_ms = clock_ms();
        if (!self->accept_data_ms || now_ms - self->silent_ms < LOOK_MS)
                return;
        self->silent_ms = now_ms;
        for (unsigned i = 0; i < MAX_LISTENERS; i++)
                if (self->listeners[i])
                        look_at(self->listeners[i], (self->accept_data_ms + 999) / 1000);
}
