/* Sending files while descriptors are few: io_uring needs a plain one for each socket that it sends a file to. */
#include "lab.h"

enum { READERS = 300, BYTES = 12 << 20, STAY = 20 /* one in so many reads to the end */ };

static struct end clients[READERS], servers[READERS];
static struct berth_send_file what[READERS];

/* As many pairs as were asked for, where a socket does not take a descriptor. False: here it does. */
static bool open_with_few_descriptors(struct lab *lab, struct berth_handle *file, unsigned pairs)
{
        lab_limit_descriptors(220);
        lab_open(lab, &(struct berth_port_config){ .max_handles = 2 * READERS + 10, .buffer_bytes = 32768 });
        if (berth_port_max_handles(lab->port) < 2 * READERS) {
                lab_close(lab);
                lab_limit_descriptors(LAB_AS_BEFORE);
                return false;
        }
        lab_make_folder(lab);
        lab_make_file(lab, "file", BYTES);
        lab_open_file(lab, file, "file", 0);
        for (unsigned i = 0; i < pairs; i++)
                lab_pair(lab, &clients[i], &servers[i]);
        return true;
}

static void send_file(struct lab *lab, unsigned i, const struct berth_handle *file)
{
        what[i] = (struct berth_send_file){ .file = file, .length = BYTES, .flags = BERTH_FILE_WARM };
        berth_send_file(lab->port, go(lab, &servers[i].send, &servers[i]), &servers[i].handle, &what[i]);
}

static void end_all(struct lab *lab, struct berth_handle *file, unsigned pairs)
{
        for (unsigned i = 0; i < pairs; i++) {
                if (!servers[i].closed)
                        end_close_wait(lab, &servers[i], 0);
                end_close_wait(lab, &clients[i], 0);
        }
        lab_close_file(lab, file);
        lab_limit_descriptors(LAB_AS_BEFORE);
        lab_close(lab);
}

static void many_slow_readers_need_few_descriptors(void **state)
{
        (void)state;
        struct lab lab;
        struct berth_handle file;
        lab_needs(LAB_LIMIT);
        if (!open_with_few_descriptors(&lab, &file, READERS))
                return;
        unsigned before = lab_open_descriptors(), stuck = 0;
        for (unsigned i = 0; i < READERS; i++)
                send_file(&lab, i, &file);
        for (unsigned i = 0; i < READERS; i++)
                lab_until(&lab, what[i].file_sent > 0); /* everybody gets something */
        lab_settle(&lab);
        for (unsigned i = 0; i < READERS; i++)
                stuck += servers[i].send.in_flight;
        assert_true(stuck > READERS * 9 / 10);
        assert_true(lab_open_descriptors() - before <= 120); /* half of what there may be */
        for (unsigned i = 0; i < READERS; i++) {
                if (i % STAY)
                        end_close(&lab, &servers[i], i % 2 ? BERTH_ABORT : 0);
                else
                        end_receive(&lab, &clients[i], true);
        }
        for (unsigned i = 0; i < READERS; i++) {
                act_wait(&servers[i].send);
                if (i % STAY) {
                        act_wait(&servers[i].close);
                        continue;
                }
                assert_int_equal(servers[i].send.result, BYTES);
                lab_until(&lab, clients[i].received == BYTES);
        }
        end_all(&lab, &file, READERS);
}

/* A refusal is no failure: the sending waits, costs next to nothing meanwhile, can be cancelled and closed, and goes
 * on. */
static void without_a_descriptor_sending_waits(void **state)
{
        (void)state;
        enum { FEW = 8 };
        struct lab lab;
        struct berth_handle file;
        lab_needs(LAB_LIMIT);
        if (!open_with_few_descriptors(&lab, &file, FEW))
                return;
        lab_settle(&lab);
        lab_limit_descriptors(0);
        for (unsigned i = 0; i < FEW; i++) {
                end_receive(&lab, &clients[i], true);
                send_file(&lab, i, &file);
        }
        double cpu = lab_cpu_seconds();
        for (uint64_t since = lab_clock_ms(); !lab.sim && lab_clock_ms() - since < 300;)
                assert_true(berth_port_run(lab.port, 300) >= 0);
        if (!lab.sim) {
                assert_true(lab_cpu_seconds() - cpu < 0.15);
                for (unsigned i = 0; i < FEW; i++) {
                        assert_true(servers[i].send.in_flight);
                        assert_int_equal(what[i].file_sent, 0);
                }
                berth_cancel(lab.port, &servers[0].send.op);
                act_wait(&servers[0].send);
                assert_int_equal(servers[0].send.result, -ECANCELED);
                end_close_wait(&lab, &servers[1], 0);
                assert_int_equal(servers[1].send.result, -ECANCELED);
        }
        lab_limit_descriptors(220);
        for (unsigned i = 2; i < FEW; i++) {
                act_wait(&servers[i].send);
                assert_int_equal(servers[i].send.result, BYTES);
                lab_until(&lab, clients[i].received == BYTES);
        }
        end_all(&lab, &file, FEW);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(many_slow_readers_need_few_descriptors, lab_restore_limit),
        cmocka_unit_test_teardown(without_a_descriptor_sending_waits, lab_restore_limit),
};
const struct test_list plain_tests = { tests, array_count(tests) };
