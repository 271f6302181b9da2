/* Listening, accepting, connecting. */
#include "lab.h"

#include <stdio.h>

static void a_connection_carries_bytes_both_ways(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        char *data = pattern(0, 1000);
        end_receive(&lab, &server, false);
        end_receive(&lab, &client, false);
        end_send(&lab, &client, data, 1000);
        end_send(&lab, &server, data, 500);
        lab_until(&lab, server.received == 1000 && client.received == 500);
        act_wait(&client.send);
        act_wait(&server.send);
        assert_int_equal(client.send.result, 1000);
        assert_int_equal(server.send.result, 500);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void one_accept_serves_many_connections(void **state)
{
        (void)state;
        enum { MANY = 300 };
        static struct end clients[MANY], servers[MANY];
        struct lab lab;
        memset(clients, 0, sizeof(clients));
        memset(servers, 0, sizeof(servers));
        lab_open(&lab, NULL);
        for (int i = 0; i < MANY; i++)
                lab_connect(&lab, &clients[i]);
        lab_until(&lab, lab.accepted == MANY);
        assert_int_equal(lab.accept.finals, 0);
        assert_int_equal(lab.accept.mores, MANY);
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].other);
                assert_int_equal(clients[i].other.result, 0);
                lab_adopt(&lab, &servers[i]);
        }
        for (int i = 0; i < MANY; i++) {
                end_close(&lab, &clients[i], 0);
                end_close(&lab, &servers[i], 0);
        }
        lab_close(&lab);
}

static void connecting_to_nobody_is_refused_and_leaves_the_handle_unused(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        lab_open(&lab, NULL);
        struct sockaddr_storage gone = lab.address;
        lab_stop_listening(&lab);
        berth_connect(lab.port, go(&lab, &client.other, &client), &client.handle, (struct sockaddr *)&gone,
                      lab.address_bytes, NULL);
        act_wait(&client.other);
        assert_int_equal(client.other.result, -ECONNREFUSED);

        /* and so it can be connected again */
        lab_listen(&lab, 16);
        berth_accept(lab.port, go(&lab, &lab.accept, NULL), &lab.listener);
        lab_connect(&lab, &client);
        act_wait(&client.other);
        assert_int_equal(client.other.result, 0);
        lab_adopt(&lab, &server);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

static struct sockaddr_in peer_of(struct lab *lab, struct end *end)
{
        struct sockaddr_storage address;
        berth_peer_address(lab->port, go(lab, &end->other, end), &end->handle, (struct sockaddr *)&address,
                           sizeof(address));
        act_wait(&end->other);
        assert_int_equal(end->other.result, 0);
        assert_int_equal(address.ss_family, AF_INET);
        return *(struct sockaddr_in *)&address;
}

static void each_end_learns_the_address_of_the_other(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        struct sockaddr_in listener = *(struct sockaddr_in *)&lab.address;
        struct sockaddr_in peer = peer_of(&lab, &client);
        assert_int_equal(peer.sin_port, listener.sin_port);
        assert_int_equal(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        peer = peer_of(&lab, &server);
        assert_int_not_equal(peer.sin_port, listener.sin_port);
        assert_int_not_equal(peer.sin_port, 0);
        assert_int_equal(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        end_close_wait(&lab, &server, 0);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

static void a_peers_address_is_cut_to_the_room_for_it(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        struct sockaddr_storage whole;
        unsigned char cut[8];
        lab_open(&lab, NULL);
        lab_pair(&lab, &client, &server);
        berth_peer_address(lab.port, go(&lab, &server.other, &server), &server.handle, (struct sockaddr *)&whole,
                           sizeof(whole));
        act_wait(&server.other);
        memset(cut, 0xee, sizeof(cut));
        berth_peer_address(lab.port, go(&lab, &server.other, &server), &server.handle, (struct sockaddr *)cut, 6);
        act_wait(&server.other);
        assert_int_equal(server.other.result, 0);
        assert_memory_equal(cut, &whole, 6);
        assert_true(cut[6] == 0xee && cut[7] == 0xee);
        end_close_wait(&lab, &server, 0);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

/* ---- a source address ---- */

/* Connects from there; what the other end sees must be that, with a port when none was given. */
static int connect_from(struct lab *lab, struct end *client, struct end *server, const struct sockaddr *source)
{
        memset(client, 0, sizeof(*client));
        memset(server, 0, sizeof(*server));
        berth_connect(lab->port, go(lab, &client->other, client), &client->handle, (struct sockaddr *)&lab->address,
                      lab->address_bytes, source);
        act_wait(&client->other);
        assert_int_equal(client->handle.kind == 0, client->other.result < 0);
        if (client->other.result == 0)
                lab_adopt(lab, server);
        return (int)client->other.result;
}

static void a_connection_comes_from_the_address_it_was_given(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server, other_client, other_server;
        lab_open(&lab, NULL);
        struct sockaddr_in from = { .sin_family = AF_INET };
        for (uint32_t host = 1; host < 40; host++) {
                from.sin_addr.s_addr = htonl(0x7fc80000 + host);
                assert_int_equal(connect_from(&lab, &client, &server, (struct sockaddr *)&from), 0);
                struct sockaddr_in seen = peer_of(&lab, &server);
                assert_int_equal(seen.sin_addr.s_addr, from.sin_addr.s_addr);
                assert_int_not_equal(seen.sin_port, 0);
                /* a given port: the one that was just used, from another address */
                struct sockaddr_in exact = seen;
                exact.sin_addr.s_addr = htonl(0x7fc80100 + host);
                assert_int_equal(connect_from(&lab, &other_client, &other_server, (struct sockaddr *)&exact), 0);
                seen = peer_of(&lab, &other_server);
                assert_int_equal(seen.sin_addr.s_addr, exact.sin_addr.s_addr);
                assert_int_equal(seen.sin_port, exact.sin_port);
                end_send(&lab, &client, "\0", 1);
                end_receive(&lab, &server, false);
                lab_until(&lab, server.received == 1);
                end_close_wait(&lab, &other_client, BERTH_ABORT);
                end_close_wait(&lab, &other_server, 0);
                end_close_wait(&lab, &client, BERTH_ABORT);
                end_close_wait(&lab, &server, 0);
        }
        lab_close(&lab);
}

static void a_source_that_cannot_be_is_refused_and_leaves_the_handle_unused(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server, second;
        lab_open(&lab, NULL);
        uint32_t handles = berth_port_stats(lab.port)->handles;
        struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201) }; /* RFC 5737 */
        for (int i = 0; i < 3; i++)
                assert_int_equal(connect_from(&lab, &client, &server, (struct sockaddr *)&from), -EADDRNOTAVAIL);
        assert_int_equal(berth_port_stats(lab.port)->handles, handles);
        /* the same pair of addresses and ports cannot be twice */
        from.sin_addr.s_addr = htonl(0x7f000007);
        assert_int_equal(connect_from(&lab, &client, &server, (struct sockaddr *)&from), 0);
        from = peer_of(&lab, &server);
        struct end nobody = { 0 };
        int error = connect_from(&lab, &second, &nobody, (struct sockaddr *)&from);
        assert_true(error == -EADDRINUSE || error == -EADDRNOTAVAIL);
        end_close_wait(&lab, &client, BERTH_ABORT);
        end_close_wait(&lab, &server, 0);
        assert_int_equal(connect_from(&lab, &client, &server, NULL), 0); /* the kernel's choice, as ever */
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        lab_close(&lab);
}

static void connecting_from_an_address_can_be_cancelled_and_closed(void **state)
{
        (void)state;
        struct lab lab;
        struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000009) };
        lab_open(&lab, NULL);
        for (unsigned i = 0; i < 60; i++) {
                struct end client = { 0 };
                berth_connect(lab.port, go(&lab, &client.other, &client), &client.handle,
                              (struct sockaddr *)&lab.address, lab.address_bytes, (struct sockaddr *)&from);
                lab_turns(&lab, i % 6);
                if (i % 2 && client.other.in_flight)
                        berth_cancel(lab.port, &client.other.op);
                else if (client.other.in_flight)
                        end_close_wait(&lab, &client, 0);
                lab_until(&lab, !client.other.in_flight);
                assert_true(client.other.result == 0 || client.other.result == -ECANCELED);
                if (client.handle.kind)
                        end_close_wait(&lab, &client, 0);
        }
        lab_close(&lab);
}

static void an_address_in_use_is_refused(void **state)
{
        (void)state;
        struct lab lab;
        struct berth_handle second = { 0 };
        lab_open(&lab, NULL);
        assert_int_not_equal(((struct sockaddr_in *)&lab.address)->sin_port, 0);
        assert_int_equal(berth_listen(lab.port, &second, (struct sockaddr *)&lab.address, lab.address_bytes, 16, 0),
                         -EADDRINUSE);
        assert_int_equal(second.kind, 0);
        lab_close(&lab);
}

static void start_accepting(struct lab *lab)
{
        lab->accept.then = lab_arrival;
        berth_accept(lab->port, go(lab, &lab->accept, NULL), &lab->listener);
}

static void unix_sockets_work_alike(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        lab_needs(LAB_UNIX_SOCKETS);
        lab_open_bare(&lab, NULL);
        lab_make_folder(&lab);
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", lab.folder);
        assert_int_equal(berth_listen(lab.port, &lab.listener, (struct sockaddr *)&address, sizeof(address), 16, 0), 0);
        berth_accept(lab.port, go(&lab, &lab.accept, NULL), &lab.listener);
        berth_connect(lab.port, go(&lab, &client.other, &client), &client.handle, (struct sockaddr *)&address,
                      sizeof(address), NULL);
        act_wait(&client.other);
        assert_int_equal(client.other.result, 0);
        lab_until(&lab, lab.accept.mores == 1);
        berth_adopt(lab.port, &server.handle, lab.accept.result);
        char *data = pattern(0, 100000);
        end_receive(&lab, &server, true);
        end_send(&lab, &client, data, 100000);
        lab_until(&lab, server.received == 100000);
        end_close_wait(&lab, &client, 0);
        lab_until(&lab, server.ended);
        end_close_wait(&lab, &server, 0);
        free(data);
        lab_close(&lab);
}

static void an_address_of_ipv6_works_alike(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
        struct sockaddr_storage told;
        lab_open_bare(&lab, NULL);
        int error = berth_listen(lab.port, &lab.listener, (struct sockaddr *)&address, sizeof(address), 16, 0);
        if (error) { /* a machine without it */
                assert_true(error == -EADDRNOTAVAIL || error == -EAFNOSUPPORT);
                lab_close(&lab);
                return;
        }
        assert_int_equal(berth_listen_address(lab.port, &lab.listener, &lab.address), 0);
        lab.address_bytes = sizeof(address);
        start_accepting(&lab);
        lab_connect(&lab, &client);
        act_wait(&client.other);
        assert_int_equal(client.other.result, 0);
        lab_adopt(&lab, &server);
        berth_peer_address(lab.port, go(&lab, &server.other, &server), &server.handle, (struct sockaddr *)&told,
                           sizeof(told));
        act_wait(&server.other);
        assert_int_equal(told.ss_family, AF_INET6);
        struct sockaddr_in6 seen = *(struct sockaddr_in6 *)&told, from = address;
        end_close_wait(&lab, &client, BERTH_ABORT);
        end_close_wait(&lab, &server, 0);
        for (int given = 0; given < 2; given++) { /* from an address, with and without a port */
                from.sin6_port = given ? seen.sin6_port : 0;
                assert_int_equal(connect_from(&lab, &client, &server, (struct sockaddr *)&from), 0);
                berth_peer_address(lab.port, go(&lab, &server.other, &server), &server.handle, (struct sockaddr *)&seen,
                                   sizeof(seen));
                act_wait(&server.other);
                assert_memory_equal(&seen.sin6_addr, &from.sin6_addr, sizeof(seen.sin6_addr));
                assert_true(given ? seen.sin6_port == from.sin6_port : seen.sin6_port != 0);
                end_close_wait(&lab, &client, BERTH_ABORT);
                end_close_wait(&lab, &server, 0);
        }
        lab_close(&lab);
}

static void engines_are_chosen_by_name(void **state)
{
        (void)state;
        struct berth_port *port;
        assert_int_equal(berth_port_create(&port, &(struct berth_port_config){ .engine = "nonesuch" }), -ENOSYS);
        assert_null(port);
        assert_int_equal(berth_port_create(&port, &(struct berth_port_config){ .engine = "auto" }), 0);
        assert_true(strcmp(berth_port_engine(port), "uring") == 0 || strcmp(berth_port_engine(port), "epoll") == 0 ||
                    strcmp(berth_port_engine(port), "iocp") == 0);
        berth_port_destroy(port);
        lab_set_environment("BERTH_ENGINE", lab_engine);
        assert_int_equal(berth_port_create(&port, &(struct berth_port_config){ 0 }), 0);
        assert_string_equal(berth_port_engine(port), lab_engine);
        berth_port_destroy(port);
        lab_set_environment("BERTH_ENGINE", NULL);
        berth_port_destroy(NULL);
}

/* At once, after a turn, when all is quiet: who comes afterwards is left in the kernel's queue. */
static void accept_can_be_cancelled_and_started_again(void **state)
{
        (void)state;
        struct lab lab;
        for (int moment = 0; moment < 3; moment++) {
                struct end client = { 0 }, server = { 0 };
                lab_open(&lab, NULL);
                if (moment == 1)
                        lab_turns(&lab, 1);
                else if (moment == 2)
                        lab_settle(&lab);
                berth_cancel(lab.port, &lab.accept.op);
                act_wait(&lab.accept);
                assert_int_equal(lab.accept.result, -ECANCELED);
                lab_settle(&lab);
                lab_connect(&lab, &client);
                act_wait(&client.other);
                assert_int_equal(client.other.result, 0);
                lab_settle(&lab);
                assert_int_equal(lab.accepted, 0);
                assert_int_equal(berth_port_stats(lab.port)->handles, 1);
                berth_accept(lab.port, go(&lab, &lab.accept, NULL), &lab.listener);
                lab_adopt(&lab, &server);
                end_close_wait(&lab, &client, 0);
                end_close_wait(&lab, &server, 0);
                lab_close(&lab);
        }
}

static void closing_a_listener_ends_the_connections_in_its_queue(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 };
        lab_open_bare(&lab, NULL);
        lab_listen(&lab, 16);
        lab_connect(&lab, &client);
        act_wait(&client.other);
        assert_int_equal(client.other.result, 0);
        lab_stop_listening(&lab);
        end_receive(&lab, &client, false);
        act_wait(&client.recv);
        assert_true(client.recv.result == 0 || client.recv.result == -ECONNRESET);
        end_close_wait(&lab, &client, 0);
        lab_close(&lab);
}

/* Runs both until they have accepted `count` in all. */
static void accept_both(struct lab *a, struct lab *b, unsigned count)
{
        for (uint64_t since = lab_clock_ms(); a->accepted + b->accepted < count;) {
                assert_true(lab_clock_ms() - since < 30000);
                assert_true(berth_port_run(a->port, 1) >= 0);
                assert_true(berth_port_run(b->port, 1) >= 0);
        }
}

static void two_ports_listen_on_one_address(void **state)
{
        (void)state;
        enum { MANY = 40 };
        static struct end clients[MANY];
        struct lab a, b;
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        lab_needs(LAB_REUSE_PORT);
        memset(clients, 0, sizeof(clients));
        lab_open_bare(&a, NULL);
        lab_open_bare(&b, NULL);
        b.shares = true;
        assert_int_equal(berth_listen(a.port, &a.listener, (struct sockaddr *)&any, sizeof(any), 64, BERTH_REUSE_PORT),
                         0);
        assert_int_equal(berth_listen_address(a.port, &a.listener, &a.address), 0);
        a.address_bytes = sizeof(any);
        assert_int_equal(
                berth_listen(b.port, &b.listener, (struct sockaddr *)&a.address, sizeof(any), 64, BERTH_REUSE_PORT), 0);
        start_accepting(&a);
        start_accepting(&b);
        for (int i = 0; i < MANY; i++)
                lab_connect(&a, &clients[i]);
        accept_both(&a, &b, MANY);
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].other);
                assert_int_equal(clients[i].other.result, 0);
                end_close_wait(&a, &clients[i], 0);
        }
        lab_close(&b);
        lab_close(&a);
}

/* An end in a lab of its own: its port is reaped beside that of the client. */
static void connect_and_pass(struct lab *a, struct lab *b, struct end *client, struct end *server)
{
        lab_connect(a, client);
        act_wait(&client->other);
        assert_int_equal(client->other.result, 0);
        int64_t number = lab_take_arrival(a);
        assert_int_equal(berth_pass(a->port, number), 0);
        berth_take(b->port, number);
        berth_adopt(b->port, &server->handle, number);
}

/* Where ports share addresses they need not pass anything on, and some cannot. */
static bool can_pass(void)
{
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        lab_open(&lab, NULL);
        lab_connect(&lab, &client);
        act_wait(&client.other);
        int64_t number = lab_take_arrival(&lab);
        int error = berth_pass(lab.port, number);
        assert_true(error == 0 || (error == -EOPNOTSUPP && strcmp(lab_engine, "iocp") != 0));
        if (error == 0)
                berth_give_back(lab.port, 1);
        if (error == 0)
                berth_take(lab.port, number);
        berth_adopt(lab.port, &server.handle, number);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        assert_int_equal(berth_port_stats(lab.port)->handles, 0);
        lab_close(&lab);
        return error == 0;
}

static void a_connection_passes_to_another_port(void **state)
{
        (void)state;
        enum { BYTES = 300000 };
        struct lab a, b;
        struct end client = { 0 }, server = { 0 };
        if (!can_pass())
                skip();
        char *data = pattern(0, BYTES);
        lab_open(&a, NULL);
        lab_open_bare(&b, NULL);
        b.shares = true;
        connect_and_pass(&a, &b, &client, &server);
        assert_int_equal(berth_port_stats(a.port)->handles, 2);
        assert_int_equal(berth_port_stats(a.port)->passed, 1);
        assert_int_equal(berth_port_stats(b.port)->handles, 1);
        end_receive(&b, &server, true);
        end_send(&a, &client, data, BYTES);
        while (client.send.in_flight || server.received < BYTES) {
                lab_turns(&a, 1);
                lab_turns(&b, 1);
        }
        end_close_wait(&b, &server, 0);
        assert_int_equal(berth_port_stats(b.port)->handles, 0);
        berth_give_back(a.port, 1);
        assert_int_equal(berth_port_stats(a.port)->handles, 1);
        assert_int_equal(berth_port_stats(a.port)->passed, 0);
        end_close_wait(&a, &client, 0);
        lab_close(&b);
        lab_close(&a);
        free(data);
}

static void what_was_passed_on_counts_until_it_is_given_back(void **state)
{
        (void)state;
        struct lab a, b, c;
        struct end clients[2] = { 0 }, servers[2] = { 0 };
        if (!can_pass())
                skip();
        lab_open(&a, &(struct berth_port_config){ .max_handles = 1 });
        lab_open_bare(&b, &(struct berth_port_config){ .max_handles = 1 });
        lab_open_bare(&c, NULL); /* the clients' */
        b.shares = c.shares = true;
        c.address = a.address;
        c.address_bytes = a.address_bytes;
        for (int i = 0; i < 2; i++) {
                lab_connect(&c, &clients[i]);
                act_wait(&clients[i].other);
        }
        int64_t number = lab_take_arrival(&a);
        assert_int_equal(berth_pass(a.port, number), 0);
        berth_take(b.port, number);
        berth_adopt(b.port, &servers[0].handle, number);
        lab_until(&a, !a.accept.in_flight);
        assert_int_equal(a.accept.result, -ENFILE);
        end_close_wait(&b, &servers[0], 0);
        berth_give_back(a.port, 1);
        start_accepting(&a);
        lab_adopt(&a, &servers[1]);
        end_close_wait(&a, &servers[1], 0);
        for (int i = 0; i < 2; i++)
                end_close_wait(&c, &clients[i], 0);
        lab_close(&c);
        lab_close(&b);
        lab_close(&a);
}

/* A listening socket as a service manager hands it over. */
static void adopt_listener(struct lab *lab, int descriptor, bool shared)
{
        assert_int_equal(berth_listen_adopt(lab->port, &lab->listener, descriptor, shared), 0);
        lab->address_bytes = sizeof(struct sockaddr_in);
        start_accepting(lab);
}

static void a_listener_made_by_somebody_else_is_taken_over(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 };
        struct sockaddr_storage told;
        lab_open_bare(&lab, NULL);
        int idle = lab_plain_listener(&lab.address, false);
        int descriptor = lab_plain_listener(&lab.address, true);
        if (lab.sim) {
                assert_int_equal(berth_listen_adopt(lab.port, &lab.listener, descriptor, false), -EOPNOTSUPP);
                lab_plain_close(descriptor);
        } else {
                assert_int_equal(berth_listen_adopt(lab.port, &lab.listener, idle, false), -EINVAL);
                assert_int_equal(lab.listener.kind, 0);
                adopt_listener(&lab, descriptor, false);
                assert_int_equal(berth_listen_address(lab.port, &lab.listener, &told), 0);
                assert_memory_equal(&told, &lab.address, sizeof(struct sockaddr_in));
                lab_connect(&lab, &client);
                lab_adopt(&lab, &server);
                end_receive(&lab, &server, false);
                end_close_wait(&lab, &client, 0);
                lab_until(&lab, server.ended);
                end_close_wait(&lab, &server, 0);
        }
        lab_plain_close(idle);
        lab_close(&lab);
}

/* Both wait on one socket; then one has no room any more, and the other gets them all. */
static void a_shared_listener_wakes_those_that_accept(void **state)
{
        (void)state;
        enum { MANY = 30 };
        static struct end clients[MANY];
        struct lab a, b;
        lab_needs(LAB_SHARED);
        memset(clients, 0, sizeof(clients));
        lab_open_bare(&a, NULL);
        if (a.sim) {
                lab_close(&a);
                return;
        }
        lab_open_bare(&b, NULL);
        b.shares = true;
        int descriptor = lab_plain_listener(&a.address, true);
        adopt_listener(&a, descriptor, true);
        adopt_listener(&b, lab_plain_duplicate(descriptor), true);
        lab_settle(&a);
        lab_settle(&b);
        for (int i = 0; i < MANY; i++) {
                if (i == MANY / 2) {
                        berth_cancel(a.port, &a.accept.op);
                        act_wait(&a.accept);
                }
                lab_connect(&a, &clients[i]);
                act_wait(&clients[i].other);
                accept_both(&a, &b, (unsigned)i + 1);
        }
        /* the one that stopped can come back */
        start_accepting(&a);
        lab_turns(&a, 3);
        for (int i = 0; i < MANY; i++)
                end_close_wait(&a, &clients[i], 0);
        lab_close(&b);
        lab_close(&a);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_carries_bytes_both_ways),
        cmocka_unit_test(one_accept_serves_many_connections),
        cmocka_unit_test(connecting_to_nobody_is_refused_and_leaves_the_handle_unused),
        cmocka_unit_test(each_end_learns_the_address_of_the_other),
        cmocka_unit_test(a_connection_comes_from_the_address_it_was_given),
        cmocka_unit_test(a_source_that_cannot_be_is_refused_and_leaves_the_handle_unused),
        cmocka_unit_test(connecting_from_an_address_can_be_cancelled_and_closed),
        cmocka_unit_test(a_peers_address_is_cut_to_the_room_for_it),
        cmocka_unit_test(an_address_in_use_is_refused),
        cmocka_unit_test(unix_sockets_work_alike),
        cmocka_unit_test(an_address_of_ipv6_works_alike),
        cmocka_unit_test(engines_are_chosen_by_name),
        cmocka_unit_test(accept_can_be_cancelled_and_started_again),
        cmocka_unit_test(closing_a_listener_ends_the_connections_in_its_queue),
        cmocka_unit_test(two_ports_listen_on_one_address),
        cmocka_unit_test(a_connection_passes_to_another_port),
        cmocka_unit_test(what_was_passed_on_counts_until_it_is_given_back),
        cmocka_unit_test(a_listener_made_by_somebody_else_is_taken_over),
        cmocka_unit_test(a_shared_listener_wakes_those_that_accept),
};
const struct test_list connect_tests = { tests, array_count(tests) };
