/* Providers of sockets, and sockets as this engine wants them. Winsock's extension functions belong to a provider and
 * are asked for once; a layered provider, as filters and virus scanners install them, may not have completion without
 * packets, and its sockets always bring one. */
#include "port/iocp.h"

static bool extension(SOCKET socket, GUID guid, void *function, size_t size)
{
        DWORD bytes;
        return WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof(guid), function, (DWORD)size, &bytes,
                        NULL, NULL) == 0;
}

static bool ask(struct iocp_port *self, SOCKET socket, const WSAPROTOCOL_INFOW *info, struct provider *provider)
{
        *provider = (struct provider){ .id = info->dwCatalogEntryId };
        provider->skips = info->dwServiceFlags1 & XP1_IFS_HANDLES && !self->always_packets;
        extension(socket, (GUID)WSAID_TRANSMITFILE, &provider->transmit, sizeof(provider->transmit));
        extension(socket, (GUID)WSAID_DISCONNECTEX, &provider->disconnect, sizeof(provider->disconnect));
        return extension(socket, (GUID)WSAID_ACCEPTEX, &provider->accept, sizeof(provider->accept)) &&
               extension(socket, (GUID)WSAID_CONNECTEX, &provider->connect, sizeof(provider->connect));
}

const struct provider *iocp_provider(struct iocp_port *self, SOCKET socket)
{
        WSAPROTOCOL_INFOW info;
        int bytes = sizeof(info);
        if (getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &bytes) != 0)
                return NULL;
        for (unsigned i = 0; i < self->provider_count; i++)
                if (self->providers[i].id == info.dwCatalogEntryId)
                        return &self->providers[i];
        if (self->provider_count == MAX_PROVIDERS)
                return NULL;
        struct provider *provider = &self->providers[self->provider_count];
        if (!ask(self, socket, &info, provider))
                return NULL;
        self->provider_count++;
        return provider;
}

SOCKET iocp_new_socket(int family, int *error)
{
        u_long yes = 1;
        SOCKET socket = WSASocketW(family, SOCK_STREAM, family == AF_UNIX ? 0 : IPPROTO_TCP, NULL, 0,
                                   WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
        if (socket == INVALID_SOCKET)
                *error = iocp_error((DWORD)WSAGetLastError());
        else
                ioctlsocket(socket, FIONBIO, &yes); /* for receives that must not wait; overlapped calls do not mind */
        return socket;
}

void iocp_no_delay(SOCKET socket)
{
        BOOL yes = TRUE;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (char *)&yes, sizeof(yes));
}

bool iocp_tie(struct iocp_port *self, struct berth_handle *handle, bool is_tied)
{
        const struct provider *provider = iocp_provider(self, iocp_socket(handle));
        if (!provider || !(is_tied || CreateIoCompletionPort(iocp_file(handle), self->queue, KEY_IO, 0)))
                return false;
        UCHAR modes = FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE;
        if (provider->skips && SetFileCompletionNotificationModes(iocp_file(handle), modes))
                handle->flags |= HANDLE_SKIPS;
        int none = 0;
        if (self->send_depth > 1)
                setsockopt(iocp_socket(handle), SOL_SOCKET, SO_SNDBUF, (char *)&none, sizeof(none));
        return true;
}
