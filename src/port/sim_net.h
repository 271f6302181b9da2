/* sim_net: the simulator's network. Stream sockets in memory, connected in pairs, each with a bounded receive queue;
 * listeners with a bounded backlog. Nothing waits in here: what would have to wait says -EAGAIN, and the hooks tell
 * when another try is worth while. One thread.
 */
#ifndef PORT_SIM_NET_H
#define PORT_SIM_NET_H

#include "base/base.h"

#include <sys/socket.h>

struct berth_handle;
struct sim_socket;

struct sim_net {
        struct sim_socket **sockets; /* by number */
        uint32_t room;               /* of `sockets` */
        struct sim_socket *listeners;
        uint32_t lowest;    /* no number below is free */
        uint16_t last_port; /* the last free port number given */
        struct random *random;
        /* Something may have become possible on the socket with this handle; or for those who got -EAGAIN when
         * connecting. */
        void (*changed)(struct sim_net *net, struct berth_handle *handle);
        void (*knock)(struct sim_net *net);
};

void sim_net_finish(struct sim_net *net);

/* Socket numbers, or -errno. A connection exists as soon as it is in the listener's backlog; -EAGAIN: that is full. */
int sim_net_listen(struct sim_net *net, const struct sockaddr *address, unsigned address_bytes, int backlog,
                   bool reuse_port);
/* From `source`, unless that is NULL: -EADDRNOTAVAIL when it is no address of this host, -EADDRINUSE. */
int sim_net_connect(struct sim_net *net, const struct sockaddr *address, unsigned address_bytes,
                    const struct sockaddr *source);
int sim_net_accept(struct sim_net *net, int listener);
/* Somebody is in the backlog. */
bool sim_net_waits(struct sim_net *net, int listener);

/* Whom to tell. */
void sim_net_attach(struct sim_net *net, int number, struct berth_handle *handle);

/* Bytes (at least one, often fewer than asked for; receiving 0: the end), -EAGAIN, -EPIPE, -ECONNRESET. */
int64_t sim_net_send(struct sim_net *net, int number, const char *data, size_t size);
int64_t sim_net_receive(struct sim_net *net, int number, char *data, size_t size);
/* Receiving would not say -EAGAIN. */
bool sim_net_readable(struct sim_net *net, int number);

int sim_net_shutdown(struct sim_net *net, int number);
void sim_net_address(struct sim_net *net, int number, struct sockaddr_storage *address);
int sim_net_peer(struct sim_net *net, int number, struct sockaddr *address, unsigned room);
/* The connection breaks, as seen by both ends. */
void sim_net_reset(struct sim_net *net, int number);
/* `abort`, or bytes that were never received: the peer sees a reset, otherwise the end. */
void sim_net_close(struct sim_net *net, int number, bool abort);

#endif
