/* A TCP echo server on libberth: echo [PORT]. Engine: $BERTH_ENGINE, else the best there is.
 *
 * A client has one op in flight: it is receiving, or sending back what it got, or closing. */
#include <berth/port.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct client {
        struct berth_op op; /* first, so that a pointer to it is one to the client */
        struct berth_handle handle;
        uint16_t buffer;
};

static struct berth_port *port;
static struct berth_handle listener;
static struct berth_op accept_op;
static struct berth_timer pause_timer;

static void closed(struct berth_op *op)
{
        free(op);
}

static void received(struct berth_op *op);

/* Takes the next step, or closes after an error or the end. */
static void next(struct client *client, berth_done *done)
{
        client->op.done = client->op.result > 0 ? done : closed;
        if (client->op.result <= 0)
                berth_close(port, &client->op, &client->handle, 0);
        else if (done == received)
                berth_recv(port, &client->op, &client->handle, 0);
        else
                berth_send(port, &client->op, &client->handle, berth_buffer_data(port, client->buffer),
                           (size_t)client->op.result, 0);
}

static void sent(struct berth_op *op)
{
        berth_buffer_put(port, ((struct client *)op)->buffer);
        next((struct client *)op, received);
}

static void received(struct berth_op *op)
{
        ((struct client *)op)->buffer = op->buffer;
        next((struct client *)op, sent);
}

static void accepted(struct berth_op *op)
{
        struct client *client = op->result >= 0 ? calloc(1, sizeof(*client)) : NULL;

        if (client) {
                berth_adopt(port, &client->handle, op->result);
                client->op.done = received;
                berth_recv(port, &client->op, &client->handle, 0);
        } else if (op->result >= 0) {
                abort(); /* no memory */
        }
        if (!(op->flags & BERTH_MORE)) /* out of descriptors, say: again in a while */
                berth_timer_start(port, &pause_timer, 100);
}

static void paused(struct berth_op *op)
{
        (void)op;
        berth_accept(port, &accept_op, &listener);
}

int main(int argc, char **argv)
{
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        struct sockaddr_storage bound;
        int error = berth_port_create(&port, &(struct berth_port_config){ 0 });

        address.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 7777));
        if (!error)
                error = berth_listen(port, &listener, (struct sockaddr *)&address, sizeof(address), 128, 0);
        if (!error)
                error = berth_listen_address(port, &listener, &bound);
        if (error) {
                fprintf(stderr, "echo: %s\n", strerror(-error));
                return 1;
        }
        printf("%s: 127.0.0.1:%d\n", berth_port_engine(port), ntohs(((struct sockaddr_in *)&bound)->sin_port));
        fflush(stdout);
        pause_timer.op.done = paused;
        accept_op.done = accepted;
        berth_accept(port, &accept_op, &listener);
        while (berth_port_run(port, -1) >= 0)
                ;
        return 1;
}
