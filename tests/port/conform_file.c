/* Files: sending, opening beneath a folder, reading and writing. */
#include "lab.h"

/* ---- sending ---- */

static void send_file(struct lab *lab, struct end *end, struct berth_send_file *file)
{
        berth_send_file(lab->port, go(lab, &end->send, end), &end->handle, file);
}

static void a_head_and_a_range_of_a_file_are_sent(void **state)
{
        (void)state;
        static const struct {
                uint32_t head;
                uint64_t offset, length;
        } cases[] = {
                { 100, 0, 50000 }, { 0, 0, 50000 },   { 100, 0, 0 },       { 0, 0, 0 },         { 0, 49999, 1 },
                { 7, 4095, 2 },    { 7, 4096, 4096 }, { 0, 12345, 30000 }, { 60000, 1, 49999 },
        };
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", 50000);
        lab_open_file(&lab, &file, "file", 0);
        for (unsigned i = 0; i < array_count(cases); i++) {
                lab_pair(&lab, &client, &server);
                /* the head is the pattern that leads up to the range */
                uint64_t start = UINT64_MAX - 100000 + cases[i].offset - cases[i].head + 100001;
                char *head = pattern(start, cases[i].head);
                struct berth_send_file what = {
                        .head = head,
                        .head_bytes = cases[i].head,
                        .file = &file,
                        .offset = cases[i].offset,
                        .length = cases[i].length,
                };
                uint64_t total = cases[i].head + cases[i].length;
                server.base = start;
                end_receive(&lab, &server, i % 2);
                send_file(&lab, &client, &what);
                act_wait(&client.send);
                assert_int_equal(client.send.result, total);
                assert_int_equal(what.head_sent, cases[i].head);
                assert_int_equal(what.file_sent, cases[i].length);
                lab_until(&lab, server.received == total);
                end_close_wait(&lab, &client, 0);
                lab_until(&lab, server.ended);
                assert_int_equal(server.received, total);
                end_close_wait(&lab, &server, 0);
                free(head);
        }
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* Several at once from one file, to receivers that begin late. */
static void long_files_go_to_several_at_once(void **state)
{
        (void)state;
        enum { BYTES = 9 << 20, MANY = 4 };
        struct lab lab;
        struct end clients[MANY], servers[MANY];
        struct berth_send_file what[MANY];
        struct berth_handle file;
        lab_open(&lab, &(struct berth_port_config){ .buffer_bytes = 32768 });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < MANY; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                what[i] = (struct berth_send_file){ .file = &file,
                                                    .length = BYTES,
                                                    .flags = i % 2 ? BERTH_FILE_WARM : 0 };
                send_file(&lab, &clients[i], &what[i]);
        }
        lab_settle(&lab);
        for (int i = 0; i < MANY; i++)
                end_receive(&lab, &servers[i], i / 2);
        for (int i = 0; i < MANY; i++) {
                act_wait(&clients[i].send);
                assert_int_equal(clients[i].send.result, BYTES);
                lab_until(&lab, servers[i].received == BYTES);
                end_close(&lab, &clients[i], 0);
                lab_until(&lab, servers[i].ended);
                end_close(&lab, &servers[i], 0);
        }
        if (lab.sim)
                assert_true(berth_port_stats(lab.port)->turns >= BYTES >> 20);
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* Where files go by way of user memory: who finds no buffer waits, can be cancelled and closed, and has his turn. */
static void more_readers_than_buffers_for_files_get_all_of_theirs(void **state)
{
        (void)state;
        enum { READERS = 8, BYTES = 12 << 20 };
        static struct end clients[READERS], servers[READERS];
        struct berth_send_file what[READERS];
        struct berth_handle file;
        struct lab lab;
        lab_open(&lab, &(struct berth_port_config){ .file_buffers = 2, .buffer_bytes = 32768 });
        bool copies = berth_port_file_buffer_bytes(lab.port) > 0;
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < READERS; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                what[i] = (struct berth_send_file){ .file = &file, .length = BYTES, .flags = BERTH_FILE_WARM };
                send_file(&lab, &servers[i], &what[i]);
        }
        for (int i = 0; i < READERS; i++)
                lab_until(&lab, what[i].file_sent > 0); /* nobody waits for a reader who takes his time */
        lab_settle(&lab);
        for (int i = 0; i < READERS; i++)
                assert_true(servers[i].send.in_flight);
        assert_true((berth_port_stats(lab.port)->starved > 0) == copies);
        for (int i = 0; i < READERS / 4; i++) {
                berth_cancel(lab.port, &servers[i].send.op);
                act_wait(&servers[i].send);
                assert_int_equal(servers[i].send.result, -ECANCELED);
        }
        for (int i = READERS / 4; i < READERS / 2; i++) {
                end_close_wait(&lab, &servers[i], BERTH_ABORT);
                assert_int_equal(servers[i].send.result, -ECANCELED);
        }
        for (int i = READERS / 2; i < READERS; i++)
                end_receive(&lab, &clients[i], true);
        for (int i = READERS / 2; i < READERS; i++) {
                act_wait(&servers[i].send);
                assert_int_equal(servers[i].send.result, BYTES);
                lab_until(&lab, clients[i].received == BYTES);
        }
        for (int i = 0; i < READERS; i++) {
                if (!servers[i].closed)
                        end_close_wait(&lab, &servers[i], 0);
                end_close_wait(&lab, &clients[i], 0);
        }
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* What one of those who wait leaves goes to the next. */
static void who_ends_while_waiting_for_a_buffer_holds_up_nobody(void **state)
{
        (void)state;
        enum { READERS = 3, BYTES = 12 << 20 };
        static struct end clients[READERS], servers[READERS];
        struct berth_send_file what[READERS];
        struct berth_handle files[2];
        struct lab lab;
        lab_open(&lab, &(struct berth_port_config){ .file_buffers = 1, .buffer_bytes = 32768 });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_make_file(&lab, "cut", BYTES);
        lab_open_file(&lab, &files[0], "file", 0);
        lab_open_file(&lab, &files[1], "cut", 0);
        for (int i = 0; i < READERS; i++) {
                lab_pair(&lab, &clients[i], &servers[i]);
                what[i] = (struct berth_send_file){ .file = &files[i == 1], .length = BYTES, .flags = BERTH_FILE_WARM };
                send_file(&lab, &servers[i], &what[i]);
                lab_settle(&lab); /* the first is stuck, the others wait behind it */
        }
        lab_cut_file(lab_path(&lab, "cut"), 0);
        for (int i = 0; i < READERS; i++)
                end_receive(&lab, &clients[i], true);
        for (int i = 0; i < READERS; i++) {
                act_wait(&servers[i].send);
                assert_int_equal(servers[i].send.result, i == 1 ? -EIO : BYTES);
        }
        lab_until(&lab, clients[0].received == BYTES && clients[2].received == BYTES);
        for (int i = 0; i < READERS; i++) {
                end_close_wait(&lab, &servers[i], 0);
                end_close_wait(&lab, &clients[i], 0);
        }
        lab_close_file(&lab, &files[0]);
        lab_close_file(&lab, &files[1]);
        lab_close(&lab);
}

static void a_file_that_is_not_in_memory_is_read_in_first(void **state)
{
        (void)state;
        enum { BYTES = 5 << 20 };
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 2, 8), 0);
        lab_open(&lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int warm = 0; warm < 2; warm++) {
                uint64_t before = berth_port_stats(lab.port)->cold_windows;
                bool cold = lab_make_cold(&file);
                lab_pair(&lab, &client, &server);
                struct berth_send_file what = { .file = &file, .length = BYTES, .flags = warm ? BERTH_FILE_WARM : 0 };
                end_receive(&lab, &server, true);
                send_file(&lab, &client, &what);
                act_wait(&client.send);
                assert_int_equal(client.send.result, BYTES);
                lab_until(&lab, server.received == BYTES);
                uint64_t windows = berth_port_stats(lab.port)->cold_windows - before;
                if (warm)
                        assert_int_equal(windows, 0);
                else if (cold || lab.sim)
                        assert_true(windows > 0);
                end_close_wait(&lab, &client, 0);
                end_close_wait(&lab, &server, 0);
        }
        lab_close_file(&lab, &file);
        lab_close(&lab);
        berth_workers_destroy(workers);
}

/* Half of it is sent, then the rest is cut off. */
static void a_file_cut_short_meanwhile_is_an_error(void **state)
{
        (void)state;
        enum { BYTES = 24 << 20, LEFT = 1000 };
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        lab_pair(&lab, &client, &server);
        struct berth_send_file what = { .file = &file, .length = BYTES };
        send_file(&lab, &client, &what);
        lab_settle(&lab);
        assert_true(client.send.in_flight);
        lab_cut_file(lab_path(&lab, "file"), LEFT);
        /* what the socket has taken by reference may read as zeros now: bytes are not looked at */
        server.recv.then = NULL;
        while (client.send.in_flight) {
                berth_recv(lab.port, go(&lab, &server.recv, &server), &server.handle, 0);
                lab_until(&lab, !server.recv.in_flight || !client.send.in_flight);
                if (!server.recv.in_flight && server.recv.result > 0)
                        berth_buffer_put(lab.port, server.recv.op.buffer);
        }
        assert_int_equal(client.send.result, -EIO);
        assert_true(what.file_sent < BYTES);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

static void a_range_past_the_end_is_an_error(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", 1000);
        lab_open_file(&lab, &file, "file", 0);
        lab_pair(&lab, &client, &server);
        end_receive(&lab, &server, true);
        struct berth_send_file what = { .file = &file, .length = 2000 };
        send_file(&lab, &client, &what);
        act_wait(&client.send);
        assert_int_equal(client.send.result, -EIO);
        assert_int_equal(what.file_sent, 1000);
        lab_until(&lab, server.received == 1000);
        end_close_wait(&lab, &client, 0);
        end_close_wait(&lab, &server, 0);
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

static void sending_a_file_to_a_peer_that_is_gone_fails(void **state)
{
        (void)state;
        enum { BYTES = 24 << 20 };
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", BYTES);
        lab_open_file(&lab, &file, "file", 0);
        for (int late = 0; late < 2; late++) {
                lab_pair(&lab, &client, &server);
                struct berth_send_file what = { .file = &file, .length = BYTES };
                if (late) {
                        send_file(&lab, &client, &what);
                        lab_settle(&lab);
                }
                end_close_wait(&lab, &server, BERTH_ABORT);
                lab_settle(&lab);
                if (!late)
                        send_file(&lab, &client, &what);
                act_wait(&client.send);
                assert_true(client.send.result == -EPIPE || client.send.result == -ECONNRESET);
                end_close_wait(&lab, &client, 0);
        }
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* Both want a plain descriptor for the same socket. */
static void a_file_is_sent_while_the_peers_address_is_asked_for(void **state)
{
        (void)state;
        struct lab lab;
        struct end client, server;
        struct berth_handle file;
        lab_open(&lab, NULL);
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", 100000);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < 20; i++) {
                struct sockaddr_storage address;
                lab_pair(&lab, &client, &server);
                struct berth_send_file what = { .file = &file, .length = 100000 };
                end_receive(&lab, &server, true);
                if (i % 2)
                        send_file(&lab, &client, &what);
                berth_peer_address(lab.port, go(&lab, &client.other, &client), &client.handle,
                                   (struct sockaddr *)&address, sizeof(address));
                if (i % 2 == 0)
                        send_file(&lab, &client, &what);
                act_wait(&client.send);
                act_wait(&client.other);
                assert_int_equal(client.other.result, 0);
                assert_int_equal(client.send.result, 100000);
                lab_until(&lab, server.received == 100000);
                end_close_wait(&lab, &client, i % 3 ? 0 : BERTH_ABORT);
                end_close_wait(&lab, &server, 0);
        }
        lab_close_file(&lab, &file);
        lab_close(&lab);
}

/* ---- opening ---- */

struct opening {
        const char *path;
        unsigned flags;
        int result; /* 0: a descriptor */
};

static void check_openings(const struct opening *openings, unsigned count, void (*make)(struct lab *lab))
{
        struct lab lab;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 1, 8), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", 10);
        lab_make_subfolder(lab_path(&lab, "folder"));
        lab_make_file(&lab, "folder/inner", 10);
        make(&lab);
        for (unsigned i = 0; i < count; i++) {
                int64_t result = lab_try_open(&lab, openings[i].path, openings[i].flags);
                if (result >= 0) {
                        lab_check_opened(result);
                        result = 0;
                }
                if (result != openings[i].result)
                        fail_msg("\"%s\", flags %u: %d instead of %d", openings[i].path, openings[i].flags, (int)result,
                                 openings[i].result);
        }
        lab_close(&lab);
        berth_workers_destroy(workers);
}

static void make_nothing(struct lab *lab)
{
        (void)lab;
}

static void opening_stays_beneath_the_folder(void **state)
{
        (void)state;
        static const struct opening openings[] = {
                { "file", 0, 0 },
                { "folder/inner", 0, 0 },
                { "folder/../file", 0, 0 },
                { "", 0, 0 },
                { "", BERTH_OPEN_FOLDER, 0 },
                { ".", 0, 0 },
                { "folder", BERTH_OPEN_FOLDER, 0 },
                { "..", 0, -EXDEV },
                { "../", 0, -EXDEV },
                { "folder/../../etc/passwd", 0, -EXDEV },
                { "/etc/passwd", 0, -EXDEV },
                { "missing", 0, -ENOENT },
                { "missing/file", 0, -ENOENT },
                { "file/inner", 0, -ENOTDIR },
                { "file", BERTH_OPEN_FOLDER, -ENOTDIR },
                { "file", BERTH_OPEN_NO_LINKS, 0 },
                { "folder", BERTH_OPEN_WRITE, -EISDIR },
        };
        check_openings(openings, array_count(openings), make_nothing);
}

static void make_links(struct lab *lab)
{
        lab_make_fifo(lab_path(lab, "fifo"));
        lab_make_link("folder/inner", lab_path(lab, "inside"));
        lab_make_link("/etc/passwd", lab_path(lab, "outside"));
        lab_make_link("../..", lab_path(lab, "above"));
        lab_make_link("loop", lab_path(lab, "loop"));
}

static void no_link_leads_out_of_the_folder(void **state)
{
        (void)state;
        static const struct opening openings[] = {
                { "inside", 0, 0 },     { "fifo", 0, 0 },      { "outside", 0, -EXDEV },
                { "above", 0, -EXDEV }, { "loop", 0, -ELOOP }, { "inside", BERTH_OPEN_NO_LINKS, -ELOOP },
        };
        lab_needs(LAB_LINKS);
        check_openings(openings, array_count(openings), make_links);
}

/* ---- reading and writing ---- */

/* Reads or writes may be short: until all is done. */
static void write_all(struct lab *lab, struct berth_handle *file, const char *data, size_t size, uint64_t offset)
{
        struct act *act = &lab->scratch;
        for (size_t done = 0; done < size; done += (size_t)act->result) {
                berth_write(lab->port, go(lab, act, NULL), file, data + done, size - done, offset + done);
                act_wait(act);
                assert_true(act->result > 0);
        }
}

static size_t read_all(struct lab *lab, struct berth_handle *file, char *data, size_t size, uint64_t offset)
{
        struct act *act = &lab->scratch;
        size_t done = 0;
        do {
                berth_read(lab->port, go(lab, act, NULL), file, data + done, size - done, offset + done);
                act_wait(act);
                assert_true(act->result >= 0);
                done += (size_t)act->result;
        } while (act->result > 0 && done < size);
        return done;
}

static void what_is_written_is_read_back(void **state)
{
        (void)state;
        enum { BYTES = 200000 };
        struct lab lab;
        struct berth_handle file;
        struct berth_workers *workers;
        assert_int_equal(berth_workers_create(&workers, 1, 8), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(&lab);
        lab_open_file(&lab, &file, "new", BERTH_OPEN_WRITE | BERTH_OPEN_CREATE);
        char *data = pattern(0, BYTES), *back = malloc(BYTES + 100);
        write_all(&lab, &file, data + 1000, BYTES - 1000, 1000);
        write_all(&lab, &file, data, 1000, 0);
        assert_int_equal(read_all(&lab, &file, back, BYTES + 100, 0), BYTES);
        assert_memory_equal(back, data, BYTES);
        lab_make_cold(&file);
        assert_int_equal(read_all(&lab, &file, back, 5000, 12345), 5000);
        assert_memory_equal(back, data + 12345, 5000);
        assert_int_equal(read_all(&lab, &file, back, 10, BYTES), 0);
        lab_close_file(&lab, &file);

        lab_open_file(&lab, &file, "new", 0);
        berth_write(lab.port, go(&lab, &lab.scratch, NULL), &file, data, 1, 0);
        act_wait(&lab.scratch);
        assert_int_equal(lab.scratch.result, -EBADF);
        lab_close_file(&lab, &file);
        free(data);
        free(back);
        lab_close(&lab);
        berth_workers_destroy(workers);
}

/* Those that make it longer among those that do not, in any order; and the close waits for all. */
static void many_writes_of_one_file_may_be_in_flight(void **state)
{
        (void)state;
        enum { MANY = 48, EACH = 5000 };
        static struct act writes[MANY];
        struct lab lab;
        struct berth_handle file;
        struct berth_workers *workers;
        char *data = pattern(0, MANY * EACH), *back = malloc(MANY * EACH + 1);
        assert_int_equal(berth_workers_create(&workers, 3, MANY), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(&lab);
        for (int closing = 0; closing < 2; closing++) {
                struct act close = { 0 };
                memset(writes, 0, sizeof(writes));
                lab_open_file(&lab, &file, closing ? "closed" : "file", BERTH_OPEN_WRITE | BERTH_OPEN_CREATE);
                for (int i = 0; i < MANY; i++) {
                        size_t at = (size_t)(i * 7 % MANY) * EACH;
                        berth_write(lab.port, go(&lab, &writes[i], NULL), &file, data + at, EACH, at);
                }
                if (!closing) {
                        for (int i = 0; i < MANY; i++) {
                                act_wait(&writes[i]);
                                assert_in_range(writes[i].result, 1, EACH);
                                size_t done = (size_t)writes[i].result, at = (size_t)(i * 7 % MANY) * EACH + done;
                                write_all(&lab, &file, data + at, EACH - done, at);
                        }
                        assert_int_equal(read_all(&lab, &file, back, MANY * EACH + 1, 0), MANY * EACH);
                        assert_memory_equal(back, data, MANY * EACH);
                }
                berth_close(lab.port, go(&lab, &close, NULL), &file, 0);
                act_wait(&close);
                for (int i = 0; i < MANY; i++) {
                        assert_int_equal(writes[i].finals, 1);
                        assert_true(writes[i].order < close.order);
                        assert_true(writes[i].result > 0 || writes[i].result == -ECANCELED);
                }
        }
        free(data);
        free(back);
        lab_close(&lab);
        berth_workers_destroy(workers);
}

static void many_reads_of_one_file_may_be_in_flight(void **state)
{
        (void)state;
        enum { MANY = 64, EACH = 1000 };
        static struct act reads[MANY];
        static char back[MANY][EACH];
        struct lab lab;
        struct berth_handle file;
        struct berth_workers *workers;
        memset(reads, 0, sizeof(reads));
        assert_int_equal(berth_workers_create(&workers, 4, MANY), 0);
        lab_open_bare(&lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(&lab);
        lab_make_file(&lab, "file", MANY * EACH);
        lab_open_file(&lab, &file, "file", 0);
        for (int i = 0; i < MANY; i++)
                berth_read(lab.port, go(&lab, &reads[i], NULL), &file, back[i], EACH, (uint64_t)i * EACH);
        /* the close waits for all of them */
        struct act closing = { 0 };
        berth_close(lab.port, go(&lab, &closing, NULL), &file, 0);
        act_wait(&closing);
        for (int i = 0; i < MANY; i++) {
                assert_int_equal(reads[i].finals, 1);
                assert_true(reads[i].order < closing.order);
                assert_true(reads[i].result > 0 || reads[i].result == -ECANCELED);
                for (int64_t at = 0; at < reads[i].result; at++)
                        assert_int_equal((uint8_t)back[i][at], pattern_byte((uint64_t)i * EACH + (uint64_t)at));
        }
        lab_close(&lab);
        berth_workers_destroy(workers);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_stays_beneath_the_folder),
        cmocka_unit_test(no_link_leads_out_of_the_folder),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(many_reads_of_one_file_may_be_in_flight),
        cmocka_unit_test(many_writes_of_one_file_may_be_in_flight),
        cmocka_unit_test(a_head_and_a_range_of_a_file_are_sent),
        cmocka_unit_test(long_files_go_to_several_at_once),
        cmocka_unit_test(more_readers_than_buffers_for_files_get_all_of_theirs),
        cmocka_unit_test(who_ends_while_waiting_for_a_buffer_holds_up_nobody),
        cmocka_unit_test(a_file_that_is_not_in_memory_is_read_in_first),
        cmocka_unit_test(a_file_cut_short_meanwhile_is_an_error),
        cmocka_unit_test(a_range_past_the_end_is_an_error),
        cmocka_unit_test(sending_a_file_to_a_peer_that_is_gone_fails),
        cmocka_unit_test(a_file_is_sent_while_the_peers_address_is_asked_for),
};
const struct test_list file_tests = { tests, array_count(tests) };
