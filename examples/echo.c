/* A TCP echo server on libberth: what comes in goes back out. `echo [PORT]`: 7777 by default, 0 for any free one.
 * A connection receives into a buffer of the port's pool, sends that buffer back, and receives again. */
#include <berth/port.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <winsock2.h>
#else
#include <arpa/inet.h>
#endif

struct connection {
        struct berth_op op; /* comes first; one at a time: recv, send, recv, ..., close */
        struct berth_handle handle;
        uint16_t buffer;
};

static struct berth_port *port;
static struct berth_handle listener;
static struct berth_op accept_op;
static bool accepting;

static void fail_on(int error)
{
        if (error >= 0)
                return;
        fprintf(stderr, "echo: %s\n", strerror(-error));
        exit(1);
}

static void closed(struct berth_op *op)
{
        free(op);
        if (!accepting) { /* there was no room for more; now there is */
                accepting = true;
                berth_accept(port, &accept_op, &listener);
        }
}

static void close_connection(struct connection *c)
{
        c->op.done = closed;
        berth_close(port, &c->op, &c->handle, 0);
}

static void received(struct berth_op *op);

static void sent(struct berth_op *op)
{
        struct connection *c = (struct connection *)op;
        berth_buffer_put(port, c->buffer);
        op->done = received;
        if (op->result < 0)
                close_connection(c);
        else
                berth_recv(port, op, &c->handle, 0);
}

static void received(struct berth_op *op)
{
        struct connection *c = (struct connection *)op;
        c->buffer = op->buffer;
        op->done = sent;
        if (op->result <= 0) /* the end of the stream, or an error */
                close_connection(c);
        else
                berth_send(port, op, &c->handle, berth_buffer_data(port, c->buffer), (size_t)op->result, 0);
}

static void accepted(struct berth_op *op)
{
        accepting = op->flags & BERTH_MORE;
        if (op->result < 0) /* -EMFILE or the like: accepting goes on when a connection has closed */
                return;
        struct connection *c = calloc(1, sizeof(*c));
        if (!c)
                abort();
        c->op.done = received;
        berth_adopt(port, &c->handle, op->result);
        berth_recv(port, &c->op, &c->handle, 0);
}

int main(int argc, char **argv)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 7777));
        struct sockaddr_storage bound;
        fail_on(berth_port_create(&port, &(struct berth_port_config){ 0 }));
        fail_on(berth_listen(port, &listener, (struct sockaddr *)&address, sizeof(address), 128, 0));
        fail_on(berth_listen_address(port, &listener, &bound));
        printf("%s on 127.0.0.1:%u\n", berth_port_engine(port), ntohs(((struct sockaddr_in *)&bound)->sin_port));
        fflush(stdout);
        accept_op.done = accepted;
        accepting = true;
        berth_accept(port, &accept_op, &listener);
        for (;;)
                fail_on(berth_port_run(port, -1));
}
