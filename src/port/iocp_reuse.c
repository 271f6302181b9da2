/* Sockets that are used again. Of a connection that the client has ended the socket is not closed: DisconnectEx gives it
 * back within a round trip, and the next accept in the kernel has it, which saves making and tying a new one. Where we
 * end first it would be ours only when TIME_WAIT is over (MSDN, DisconnectEx, remarks), minutes later: that one is
 * closed, as is one with bytes that nobody has read, and one for which there is no room.
 *
 *   adopted ── close, the end has come ──► leaving ── packet ──► spare ── AcceptEx ──► handed out, still tied
 *                                             └── an error, or LEAVE_MS ──► closed
 *
 * Only a port with listeners has use for them, so those that it passed on are closed by the others. Whether all this
 * works is tried once in a process, as the first listener begins: on Wine such a socket cannot send any more. */
#include "port/iocp.h"

#include <winternl.h>

enum {
        LEAVE_MS = 10000,
        LOOK_MS = 1000,
        TRY_MS = 300, /* for a step of the trial, on loopback */
        END_TRIES = 40,
        END_MS = 50,
};

/* ---- does it work here? ---- */

static struct {
        INIT_ONCE once;
        bool works;
        OVERLAPPED overlapped; /* of a call that may not have ended when the trial is given up */
        char addresses[2 * ACCEPT_ADDRESS_BYTES];
} trial = { .once = INIT_ONCE_STATIC_INIT };

static bool wait_for(SOCKET socket)
{
        fd_set one = { .fd_count = 1, .fd_array = { socket } };
        return select(0, &one, NULL, NULL, &(struct timeval){ .tv_usec = TRY_MS * 1000 }) == 1;
}

static bool ends(SOCKET socket, BOOL begun)
{
        DWORD bytes, flags;
        if (!begun && WSAGetLastError() != WSA_IO_PENDING)
                return false;
        return WaitForSingleObject(trial.overlapped.hEvent, TRY_MS) == WAIT_OBJECT_0 &&
               WSAGetOverlappedResult(socket, &trial.overlapped, &bytes, FALSE, &flags);
}

static void begin_call(void)
{
        HANDLE event = trial.overlapped.hEvent;
        ResetEvent(event);
        trial.overlapped = (OVERLAPPED){ .hEvent = event };
}

static bool arrives(SOCKET from, SOCKET to)
{
        char byte = 'x';
        return send(from, &byte, 1, 0) == 1 && wait_for(to) && recv(to, &byte, 1, 0) == 1;
}

static bool sees_end(SOCKET socket)
{
        char byte;
        return wait_for(socket) && recv(socket, &byte, 1, 0) == 0;
}

static bool serve(const struct provider *provider, SOCKET listener, SOCKET socket, SOCKET client)
{
        struct sockaddr_in address;
        int bytes = sizeof(address);
        DWORD received;
        begin_call();
        BOOL begun = provider->accept(listener, socket, trial.addresses, 0, ACCEPT_ADDRESS_BYTES, ACCEPT_ADDRESS_BYTES,
                                      &received, &trial.overlapped);
        if (!begun && WSAGetLastError() != WSA_IO_PENDING)
                return false;
        return getsockname(listener, (struct sockaddr *)&address, &bytes) == 0 &&
               connect(client, (struct sockaddr *)&address, bytes) == 0 && ends(listener, TRUE) &&
               setsockopt(socket, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, (char *)&listener, sizeof(listener)) == 0 &&
               arrives(client, socket) && arrives(socket, client);
}

static bool leave(const struct provider *provider, SOCKET socket, SOCKET client)
{
        if (shutdown(client, SD_SEND) || !sees_end(socket))
                return false;
        begin_call();
        return ends(socket, provider->disconnect(socket, &trial.overlapped, TF_REUSE_SOCKET, 0)) && sees_end(client);
}

static bool try_all(const struct provider *provider, SOCKET listener, SOCKET socket, const SOCKET clients[2])
{
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        return bind(listener, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(listener, 2) == 0 &&
               serve(provider, listener, socket, clients[0]) && leave(provider, socket, clients[0]) &&
               serve(provider, listener, socket, clients[1]) && leave(provider, socket, clients[1]);
}

static BOOL CALLBACK try_once(PINIT_ONCE once, PVOID argument, PVOID *context)
{
        int error;
        SOCKET listener = iocp_new_socket(AF_INET, &error), accepted = iocp_new_socket(AF_INET, &error);
        SOCKET clients[2] = { socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET, SOCK_STREAM, 0) };
        const struct provider *provider = accepted == INVALID_SOCKET ? NULL : iocp_provider(argument, accepted);
        (void)once;
        (void)context;
        trial.overlapped.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (provider && provider->disconnect && trial.overlapped.hEvent)
                trial.works = try_all(provider, listener, accepted, clients);
        for (unsigned i = 0; i < 2; i++)
                closesocket(clients[i]);
        CancelIoEx((HANDLE)listener, NULL);
        CancelIoEx((HANDLE)accepted, NULL);
        closesocket(listener);
        closesocket(accepted);
        return TRUE;
}

void iocp_reuse_begin(struct iocp_port *self)
{
        if (!self->stands_in)
                InitOnceExecuteOnce(&trial.once, try_once, self, NULL);
        self->reuses = self->stands_in || trial.works;
}

/* ---- a stand-in, for tests ----
 *
 * Where DisconnectEx does not do it, all around it is shown by a socket that is made anew, and tied beforehand. */

static int pretend(struct iocp_port *self, struct io *io)
{
        shutdown((SOCKET)io->target, SD_SEND);
        return PostQueuedCompletionStatus(self->queue, 0, KEY_IO, &io->overlapped) ? WSA_IO_PENDING : WSAENOBUFS;
}

static SOCKET exchange(struct iocp_port *self, SOCKET socket)
{
        int error, family = iocp_family(socket);
        closesocket(socket);
        SOCKET another = iocp_new_socket(family, &error);
        if (another == INVALID_SOCKET || CreateIoCompletionPort((HANDLE)another, self->queue, KEY_IO, 0))
                return another;
        closesocket(another);
        return INVALID_SOCKET;
}

/* ---- leaving ---- */

static int disconnect(struct iocp_port *self, struct io *io)
{
        SOCKET socket = (SOCKET)io->target;
        if (self->stands_in)
                return pretend(self, io);
        return iocp_provider(self, socket)->disconnect(socket, &io->overlapped, TF_REUSE_SOCKET, 0) ? 0
                                                                                                    : WSAGetLastError();
}

bool iocp_leave(struct iocp_port *self, struct berth_handle *handle)
{
        const unsigned not_whole = HANDLE_BROKEN | HANDLE_RESET | HANDLE_HUNG_UP;
        char byte;
        if (!self->reuses || self->listener_count == 0 || !(handle->flags & HANDLE_ACCEPTED) ||
            handle->flags & not_whole || iocp_early(handle) || self->leaving_count + self->spare_sockets >= MAX_SPARE ||
            recv(iocp_socket(handle), &byte, 1, MSG_PEEK) != 0)
                return false;
        struct io *io = slab_take(&self->ios);
        if (!io)
                return false;
        *io = (struct io){ .kind = IO_DISCONNECT, .target = iocp_file(handle), .offset = clock_ms() };
        self->leaving[self->leaving_count++] = io;
        iocp_start(self, io, disconnect, handle->flags & HANDLE_SKIPS && !self->stands_in);
        return true;
}

static void keep(struct iocp_port *self, SOCKET socket)
{
        const struct provider *provider = iocp_provider(self, socket);
        if (provider && self->spare_sockets < MAX_SPARE)
                self->spares[self->spare_sockets++] = (struct spare_socket){ socket, provider };
        else
                closesocket(socket);
}

void iocp_left(struct iocp_port *self, struct io *io)
{
        SOCKET socket = (SOCKET)io->target;
        int error = io->error;
        unsigned at = 0;
        while (self->leaving[at] != io)
                ensure(++at < self->leaving_count);
        self->leaving[at] = self->leaving[--self->leaving_count];
        slab_give(&self->ios, io);
        if (error) {
                closesocket(socket);
                return;
        }
        if (self->stands_in)
                socket = exchange(self, socket);
        if (socket != INVALID_SOCKET)
                keep(self, socket);
}

/* Who does not answer our end keeps the socket no longer than that. */
void iocp_look_at_leaving(struct iocp_port *self)
{
        uint64_t now_ms = clock_ms();
        if (self->leaving_count == 0 || now_ms - self->leaving_ms < LOOK_MS)
                return;
        self->leaving_ms = now_ms;
        for (unsigned i = 0; i < self->leaving_count; i++)
                if (now_ms - self->leaving[i]->offset >= LEAVE_MS)
                        iocp_cancel_call(self->leaving[i]);
}

/* ---- coming back ---- */

SOCKET iocp_spare_socket(struct iocp_port *self, const struct provider *provider)
{
        for (unsigned i = self->spare_sockets; i-- > 0;) {
                SOCKET socket = self->spares[i].socket;
                if (self->spares[i].provider != provider)
                        continue;
                self->spares[i] = self->spares[--self->spare_sockets];
                return socket;
        }
        return INVALID_SOCKET;
}

#ifndef FileReplaceCompletionInformation
#define FileReplaceCompletionInformation 61 /* Windows 8.1 */
#endif

int iocp_untie(SOCKET socket)
{
        struct {
                HANDLE port;
                PVOID key;
        } none = { NULL, NULL };
        IO_STATUS_BLOCK status;
        return NtSetInformationFile((HANDLE)socket, &status, &none, sizeof(none),
                                    (FILE_INFORMATION_CLASS)FileReplaceCompletionInformation) >= 0
                       ? 0
                       : -EOPNOTSUPP;
}

/* ---- the end ---- */

bool iocp_reuse_end(struct iocp_port *self)
{
        for (unsigned i = 0; i < self->leaving_count; i++)
                iocp_cancel_call(self->leaving[i]);
        for (unsigned i = 0; i < END_TRIES && self->leaving_count > 0; i++)
                iocp_engine.wait(&self->port, NULL, 0, END_MS);
        while (self->spare_sockets > 0)
                closesocket(self->spares[--self->spare_sockets].socket);
        return self->leaving_count == 0;
}
