/* What the client's thread waits for: libcurl's sockets and timer, and who starts a call.
 *
 * libcurl is driven by its socket interface: it says which sockets it waits for, epoll says which are ready, and only
 * the calls of those are looked at. */
#include "mount/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 64 };

/* ---- what libcurl wants ---- */

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
        struct client *client = context;

        (void)multi;
        client->timer_ms = timeout_ms < 0 ? UINT64_MAX : clock_ms() + (uint64_t)timeout_ms;
        return 0;
}

static int reserve_interest(struct client *client, size_t count)
{
        struct interest *grown;

        if (count <= client->interest_count)
                return 0;
        count = max_of(count, 2 * client->interest_count);
        grown = realloc(client->interests, count * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        memset(grown + client->interest_count, 0, (count - client->interest_count) * sizeof(*grown));
        client->interests = grown;
        client->interest_count = count;
        return 0;
}

static void watch(struct client *client, int descriptor, uint8_t events)
{
        struct interest *interest = &client->interests[descriptor];
        struct epoll_event event = { .events = events, .data.fd = descriptor };
        int how = interest->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

        if (events == interest->registered)
                return;
        epoll_ctl(client->epoll, events ? how : EPOLL_CTL_DEL, descriptor, &event);
        interest->registered = events;
}

/* A socket that is not wanted any more stays watched until it says something: mostly the next request goes by it. */
static int on_socket(CURL *easy, curl_socket_t descriptor, int what, void *context, void *own)
{
        struct client *client = context;
        uint8_t wanted = 0;

        (void)easy, (void)own;
        if (reserve_interest(client, (size_t)descriptor + 1) < 0)
                return -1;
        if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
                wanted |= EPOLLIN;
        if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
                wanted |= EPOLLOUT;
        client->interests[descriptor].wanted = wanted;
        if (what != CURL_POLL_REMOVE)
                watch(client, descriptor, wanted);
        return 0;
}

/* ---- waiting ---- */

static void serve_socket(struct client *client, int descriptor, uint32_t events)
{
        int running, bits = 0;

        if ((size_t)descriptor >= client->interest_count || client->interests[descriptor].wanted == 0) {
                if ((size_t)descriptor < client->interest_count)
                        watch(client, descriptor, 0);
                return;
        }
        if (events & (EPOLLIN | EPOLLHUP))
                bits |= CURL_CSELECT_IN;
        if (events & EPOLLOUT)
                bits |= CURL_CSELECT_OUT;
        if (events & EPOLLERR)
                bits |= CURL_CSELECT_ERR;
        curl_multi_socket_action(client->multi, descriptor, bits, &running);
}

void poll_now(struct client *client)
{
        int running;

        client->timer_ms = UINT64_MAX;
        curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

void poll_wait(struct client *client, int timeout_ms)
{
        struct epoll_event events[EVENTS];
        int count = epoll_wait(client->epoll, events, EVENTS, timeout_ms);

        for (int i = 0; i < count; i++) {
                if (events[i].data.fd != client->wake)
                        serve_socket(client, events[i].data.fd, events[i].events);
        }
        if (client->timer_ms <= clock_ms())
                poll_now(client);
}

void poll_wake(struct client *client)
{
        uint64_t one = 1;

        ensure(write(client->wake, &one, sizeof(one)) == sizeof(one));
}

/* ---- life ---- */

/* libcurl's own cap on sockets: kept ones and those in use. */
static int open_multi(struct client *client)
{
        CURLM *multi = curl_multi_init();

        if (!multi)
                return -ENOMEM;
        client->multi = multi;
        curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)client->connections);
        curl_multi_setopt(multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)client->connections);
        curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)client->connections);
        curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
        curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
        curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
        return 0;
}

static int open_epoll(struct client *client)
{
        struct epoll_event event = { .events = EPOLLIN | EPOLLET }; /* nobody reads what wakes */

        client->epoll = epoll_create1(EPOLL_CLOEXEC);
        client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        event.data.fd = client->wake;
        if (client->epoll < 0 || client->wake < 0 || epoll_ctl(client->epoll, EPOLL_CTL_ADD, client->wake, &event) < 0)
                return -errno;
        return 0;
}

int poll_init(struct client *client)
{
        int result;

        client->epoll = client->wake = -1;
        client->timer_ms = UINT64_MAX;
        result = open_multi(client);
        return result < 0 ? result : open_epoll(client);
}

void poll_finish(struct client *client)
{
        if (client->multi) { /* then the descriptors are set */
                curl_multi_cleanup(client->multi);
                close(client->epoll);
                close(client->wake);
        }
        free(client->interests);
}
