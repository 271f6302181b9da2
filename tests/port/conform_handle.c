/* max_handles: an exact bound on accepted and connected sockets, at which nothing is lost. */
#include "lab.h"

static void a_port_tells_how_many_handles_it_may_have(void **state)
{
        (void)state;
        struct lab lab;
        lab_open_bare(&lab, &(struct berth_port_config){ .max_handles = 123 });
        assert_int_equal(berth_port_max_handles(lab.port), 123);
        lab_close(&lab);
        lab_open_bare(&lab, NULL);
        assert_true(berth_port_max_handles(lab.port) > 0);
        lab_close(&lab);
        lab_open_bare(&lab, &(struct berth_port_config){ .max_handles = 50000 });
        if (berth_port_stats(lab.port)->rings == 0 && !lab.sim) /* each of them needs a descriptor */
                assert_true(berth_port_max_handles(lab.port) <= 50000);
        lab_close(&lab);
}

/* Listeners do not count, nor do files. */
static void handles_are_counted_from_their_beginning_to_their_end(void **state)
{
        (void)state;
        struct lab lab;
        struct end client = { 0 }, server = { 0 }, nobody = { 0 };
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        const struct berth_port_stats *stats = berth_port_stats(lab.port);
        assert_int_equal(stats->handles, 0);
        lab_pair(&lab, &client, &server);
        assert_int_equal(stats->handles, 2);
        struct sockaddr_storage gone = lab.address;
        ((struct sockaddr_in *)&gone)->sin_port = htons(1);
        berth_connect(lab.port, go(&lab, &nobody.other, &nobody), &nobody.handle, (struct sockaddr *)&gone,
                      lab.address_bytes, NULL);
        act_wait(&nobody.other);
        assert_int_equal(nobody.other.result, -ECONNREFUSED);
        assert_int_equal(stats->handles, 2);
        for (int moment = 0; moment < 4; moment++) { /* closed while it connects */
                memset(&nobody, 0, sizeof(nobody));
                lab_connect(&lab, &nobody);
                lab_turns(&lab, (unsigned)moment);
                end_close_wait(&lab, &nobody, 0);
        }
        lab_settle(&lab);
        assert_int_equal(stats->handles, 2 + lab.arrived_count);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, BERTH_ABORT);
        assert_int_equal(stats->handles, lab.arrived_count);
        lab_close(&lab);
}

/* Somebody was accepted for whom there is no record. */
static void an_accepted_connection_can_be_discarded(void **state)
{
        (void)state;
        enum { MANY = 20 };
        struct lab lab;
        static struct end clients[MANY];
        lab_open(&lab, NULL);
        memset(clients, 0, sizeof(clients));
        for (unsigned i = 0; i < MANY; i++) {
                lab_connect(&lab, &clients[i]);
                act_wait(&clients[i].other);
                lab_until(&lab, lab.arrived_count > 0);
                if (i % 2)
                        end_receive(&lab, &clients[i], false);
                assert_int_equal(berth_port_stats(lab.port)->handles, i + 2);
                berth_discard(lab.port, lab.arrived[lab.arrived_first]);
                lab.arrived_first = (lab.arrived_first + 1) % LAB_ARRIVALS;
                lab.arrived_count--;
                assert_int_equal(berth_port_stats(lab.port)->handles, i + 1);
                if (i % 2 == 0)
                        end_receive(&lab, &clients[i], false);
                act_wait(&clients[i].recv);
                assert_int_equal(clients[i].recv.result, 0);
        }
        for (unsigned i = 0; i < MANY; i++)
                end_close_wait(&lab, &clients[i], 0);
        lab_close(&lab);
}

/* The lab's own clients are of another port, so that only the servers meet the bound. In the simulator there is one
 * port only, and clients count. */
static void open_two(struct lab *servers, struct lab *clients, uint32_t bound, uint32_t more)
{
        bool sim = strcmp(lab_engine, "sim") == 0;
        lab_open_bare(servers, &(struct berth_port_config){ .max_handles = sim ? bound + more : bound });
        lab_listen(servers, 1024);
        if (!sim) {
                lab_open_bare(clients, NULL);
                clients->shares = true;
                clients->address = servers->address;
                clients->address_bytes = servers->address_bytes;
        }
}

static void run_both(struct lab *servers, struct lab *clients)
{
        assert_true(berth_port_run(servers->port, 1) >= 0);
        if (!servers->sim)
                assert_true(berth_port_run(clients->port, 1) >= 0);
}

static void refused_or_accepting(struct lab *lab)
{
        if (lab->accept.in_flight)
                return;
        assert_true(lab->accept.finals == 0 || lab->accept.result == -ENFILE);
        lab->accept.then = lab_arrival;
        berth_accept(lab->port, go(lab, &lab->accept, NULL), &lab->listener);
}

/* Three times as many as may be there at a time: the bound is reached, never passed, and everybody is served. */
static void all_that_come_are_served_though_few_may_be_there(uint32_t bound)
{
        enum { TIMES = 3 };
        uint32_t count = bound * TIMES;
        struct lab servers, own, *clients = strcmp(lab_engine, "sim") ? &own : &servers;
        struct end *ends = calloc(count, sizeof(*ends)), *far = calloc(count, sizeof(*far));
        open_two(&servers, &own, bound, count);
        const struct berth_port_stats *stats = berth_port_stats(servers.port);
        uint32_t most = 0, others = 0, begun = 0, ended = 0;
        for (uint32_t i = 0; i < count; i++) {
                lab_connect(clients, &ends[i]);
                if (i % 50 == 49)
                        run_both(&servers, &own);
        }
        uint64_t since = lab_clock_ms();
        while (ended < count) {
                assert_true(lab_clock_ms() - since < 60000);
                refused_or_accepting(&servers);
                run_both(&servers, &own);
                while (servers.arrived_count > 0)
                        lab_adopt(&servers, &far[begun++]);
                others = servers.sim ? count : 0;
                assert_true(stats->handles <= bound + others);
                most = most > begun - ended ? most : begun - ended;
                /* only when nobody else can come are some of them let go */
                bool full = begun - ended == bound || begun == count;
                for (uint32_t n = 0; full && n < 7 && ended < begun; n++, ended++) {
                        end_send(&servers, &far[ended], "hello", 5);
                        act_wait(&far[ended].send);
                        assert_int_equal(far[ended].send.result, 5);
                        end_close_wait(&servers, &far[ended], 0);
                }
        }
        assert_int_equal(most, bound);
        for (uint32_t i = 0; i < count; i++) {
                act_wait(&ends[i].other);
                assert_int_equal(ends[i].other.result, 0);
                ends[i].recv.then = NULL;
                berth_recv(clients->port, go(clients, &ends[i].recv, &ends[i]), &ends[i].handle, 0);
                act_wait(&ends[i].recv);
                assert_true(ends[i].recv.result > 0);
                berth_buffer_put(clients->port, ends[i].recv.op.buffer);
                end_close_wait(clients, &ends[i], 0);
        }
        assert_int_equal(stats->handles, 0);
        free(ends);
        free(far);
        if (clients == &own)
                lab_close(&own);
        lab_close(&servers);
}

static void at_the_bound_of_handles_nobody_is_lost(void **state)
{
        (void)state;
        all_that_come_are_served_though_few_may_be_there(1);
        all_that_come_are_served_though_few_may_be_there(10);
        all_that_come_are_served_though_few_may_be_there(150);
}

enum { LISTENERS = 64, ROOM = 10 };

static struct lab listeners[LISTENERS];
static struct end served[2 * ROOM];

/* A turn of all; returns how many have been accepted up to now. */
static unsigned run_listeners(struct lab *servers, struct lab *clients, unsigned begun)
{
        run_both(servers, clients);
        for (unsigned i = 0; i < LISTENERS; i++) {
                while (listeners[i].arrived_count > 0)
                        lab_adopt(&listeners[i], &served[begun++]);
                refused_or_accepting(&listeners[i]);
        }
        return begun;
}

/* Slots are for those who come, wherever they come: all to one of many listeners, each to another, or one by one. */
static void many_listeners_share_the_bound(void **state)
{
        (void)state;
        enum { TO_ONE, AT_ONCE, ONE_BY_ONE, WAYS };
        struct lab servers, own, *clients = strcmp(lab_engine, "sim") ? &own : &servers;
        static struct end ends[2 * ROOM];
        open_two(&servers, &own, ROOM, 4 * ROOM); /* in the simulator the bound is for both ends: not met */
        for (unsigned i = 0; i < LISTENERS; i++) {
                memset(&listeners[i], 0, sizeof(listeners[i]));
                listeners[i].port = servers.port;
                lab_listen(&listeners[i], 64);
                refused_or_accepting(&listeners[i]);
        }
        lab_settle(&servers);
        for (unsigned way = 0; way < WAYS; way++) {
                unsigned begun = 0, ended = 0;
                uint64_t since = lab_clock_ms();
                memset(ends, 0, sizeof(ends));
                memset(served, 0, sizeof(served));
                for (unsigned i = 0; i < 2 * ROOM; i++) {
                        struct lab *to = &listeners[way == TO_ONE ? 5 : (i * 7 + way) % LISTENERS];
                        clients->address = to->address;
                        clients->address_bytes = to->address_bytes;
                        lab_connect(clients, &ends[i]);
                        while (way == ONE_BY_ONE && begun <= i && i < ROOM) {
                                begun = run_listeners(&servers, &own, begun);
                                assert_true(lab_clock_ms() - since < 30000);
                        }
                }
                while (ended < 2 * ROOM) {
                        begun = run_listeners(&servers, &own, begun);
                        assert_true(lab_clock_ms() - since < 30000);
                        assert_true(servers.sim || begun - ended <= ROOM);
                        if (begun - ended >= ROOM || begun == 2 * ROOM)
                                end_close_wait(&servers, &served[ended++], 0);
                }
                for (unsigned i = 0; i < 2 * ROOM; i++) {
                        act_wait(&ends[i].other);
                        end_close_wait(clients, &ends[i], 0);
                }
        }
        for (unsigned i = 0; i < LISTENERS; i++)
                lab_stop_listening(&listeners[i]);
        if (clients == &own)
                lab_close(&own);
        lab_close(&servers);
}

static void connecting_past_the_bound_is_refused_and_exactly_there(void **state)
{
        (void)state;
        enum { BOUND = 20 };
        static struct end ends[BOUND + 5];
        struct lab lab;
        int listener = -1;
        memset(ends, 0, sizeof(ends));
        lab_open_bare(&lab, &(struct berth_port_config){ .max_handles = BOUND });
        if (lab.sim) {
                lab_listen(&lab, 64);
        } else {
                listener = lab_plain_listener(&lab.address, true);
                lab.address_bytes = sizeof(struct sockaddr_in);
        }
        for (unsigned round = 0; round < 3; round++) {
                unsigned refused = 0;
                for (unsigned i = 0; i < BOUND + 5; i++)
                        if (!ends[i].handle.kind)
                                lab_connect(&lab, &ends[i]);
                for (unsigned i = 0; i < BOUND + 5; i++) {
                        act_wait(&ends[i].other);
                        assert_true(ends[i].other.result == 0 || ends[i].other.result == -ENFILE);
                        refused += ends[i].other.result < 0;
                        assert_int_equal(ends[i].handle.kind == 0, ends[i].other.result < 0);
                }
                assert_int_equal(refused, 5);
                assert_int_equal(berth_port_stats(lab.port)->handles, BOUND);
                for (unsigned i = 0, closed = 0; i < BOUND + 5 && closed < 7; i++) {
                        if (!ends[i].handle.kind)
                                continue;
                        end_close_wait(&lab, &ends[i], BERTH_ABORT);
                        memset(&ends[i], 0, sizeof(ends[i]));
                        closed++;
                }
        }
        for (unsigned i = 0; i < BOUND + 5; i++)
                if (ends[i].handle.kind)
                        end_close_wait(&lab, &ends[i], 0);
        if (!lab.sim)
                lab_plain_close(listener);
        lab_close(&lab);
}

/* Those who connect and those who accept have one bound, also where accepting sets much aside. */
static void connecting_leaves_what_accepting_does_not_need(void **state)
{
        (void)state;
        enum { BOUND = 6000, CLIENTS = 2000 };
        struct lab lab;
        lab_needs(LAB_THOUSANDS);
        struct end *clients = calloc(CLIENTS, sizeof(*clients)), *servers = calloc(CLIENTS, sizeof(*servers));
        lab_open(&lab, &(struct berth_port_config){ .max_handles = BOUND });
        for (unsigned i = 0; i < CLIENTS; i++) {
                lab_connect(&lab, &clients[i]);
                if (i % 500 == 499)
                        act_wait(&clients[i].other);
        }
        for (unsigned i = 0; i < CLIENTS; i++) {
                act_wait(&clients[i].other);
                assert_int_equal(clients[i].other.result, 0);
                lab_adopt(&lab, &servers[i]);
        }
        assert_int_equal(berth_port_stats(lab.port)->handles, 2 * CLIENTS);
        for (unsigned i = 0; i < CLIENTS; i++) {
                end_close(&lab, &clients[i], BERTH_ABORT);
                end_close(&lab, &servers[i], BERTH_ABORT);
        }
        for (unsigned i = 0; i < CLIENTS; i++) {
                act_wait(&clients[i].close);
                act_wait(&servers[i].close);
        }
        free(clients);
        free(servers);
        lab_close(&lab);
}

/* No descriptor is left for a further ring: those that come wait in the queue, as with any other bound. */
static void without_room_for_a_ring_nobody_is_lost(void **state)
{
        (void)state;
        enum { MANY = 60 };
        static struct end ends[MANY], far[MANY];
        struct lab servers, own;
        const char *slots = getenv("BERTH_URING_SLOTS");
        if (strcmp(lab_engine, "sim") == 0)
                return;
        char *before = slots ? strdup(slots) : NULL;
        lab_set_environment("BERTH_URING_SLOTS", "10");
        open_two(&servers, &own, 1000, 0);
        lab_set_environment("BERTH_URING_SLOTS", before);
        memset(ends, 0, sizeof(ends));
        memset(far, 0, sizeof(far));
        if (berth_port_max_handles(servers.port) < 1000 || berth_port_stats(servers.port)->rings == 0 ||
            strcmp(getenv("BERTH_URING_WITHOUT") ? getenv("BERTH_URING_WITHOUT") : "", "")) {
                lab_close(&own);
                lab_close(&servers);
                free(before);
                return;
        }
        for (unsigned i = 0; i < MANY; i++) {
                lab_connect(&own, &ends[i]);
                act_wait(&ends[i].other);
                assert_int_equal(ends[i].other.result, 0);
        }
        lab_limit_descriptors(0);
        unsigned begun = 0, ended = 0, refusals = 0;
        for (uint64_t since = lab_clock_ms(); ended < MANY;) {
                assert_true(lab_clock_ms() - since < 30000);
                if (!servers.accept.in_flight) {
                        refusals += servers.accept.finals > 0;
                        assert_true(servers.accept.finals == 0 || servers.accept.result == -ENFILE);
                        servers.accept.then = lab_arrival;
                        berth_accept(servers.port, go(&servers, &servers.accept, NULL), &servers.listener);
                }
                run_both(&servers, &own);
                while (servers.arrived_count > 0)
                        lab_adopt(&servers, &far[begun++]);
                assert_true(begun - ended <= 10);
                if (begun - ended == 10 || begun == MANY)
                        end_close_wait(&servers, &far[ended++], 0);
        }
        assert_true(refusals > 0);
        assert_int_equal(berth_port_stats(servers.port)->rings, 1);
        lab_limit_descriptors(LAB_AS_BEFORE);
        for (unsigned i = 0; i < MANY; i++)
                end_close_wait(&own, &ends[i], 0);
        free(before);
        lab_close(&own);
        lab_close(&servers);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_tells_how_many_handles_it_may_have),
        cmocka_unit_test(handles_are_counted_from_their_beginning_to_their_end),
        cmocka_unit_test(an_accepted_connection_can_be_discarded),
        cmocka_unit_test(at_the_bound_of_handles_nobody_is_lost),
        cmocka_unit_test(many_listeners_share_the_bound),
        cmocka_unit_test(connecting_past_the_bound_is_refused_and_exactly_there),
        cmocka_unit_test(connecting_leaves_what_accepting_does_not_need),
        cmocka_unit_test_teardown(without_room_for_a_ring_nobody_is_lost, lab_restore_limit),
};
const struct test_list handle_tests = { tests, array_count(tests) };
