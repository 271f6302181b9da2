/* What the tests of the port share. */
#include "lab.h"

#include <stdio.h>

const char *lab_engine;

enum { PATIENCE_MS = 60000, TURN_MS = 20 };

/* ---- the port ---- */

int lab_restore_limit(void **state)
{
        (void)state;
        lab_limit_descriptors(LAB_AS_BEFORE);
        return 0;
}

bool lab_refused(int64_t result)
{
        return result == -EMFILE || result == -ENFILE;
}

uint32_t lab_chance(uint32_t bound)
{
        static uint64_t state = 1;
        state = state * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t)(((state >> 33) * bound) >> 31);
}

static void rested(struct berth_handle *handle)
{
        struct end *end = container_of(handle, struct end, handle);
        assert_true(end->resting);
        assert_false(end->close.in_flight || end->closed);
        end->resting = false;
        end->rests_ended++;
}

void lab_open_bare(struct lab *lab, const struct berth_port_config *config)
{
        struct berth_port_config own = config ? *config : (struct berth_port_config){ 0 };
        memset(lab, 0, sizeof(*lab));
        lab->descriptors = lab_open_descriptors();
        lab->sim = strcmp(lab_engine, "sim") == 0;
        own.engine = lab_engine;
        own.rested = rested;
        if (!own.seed)
                own.seed = 1;
        assert_int_equal(berth_port_create(&lab->port, &own), 0);
        assert_string_equal(berth_port_engine(lab->port), lab_engine);
}

void lab_arrival(struct act *act)
{
        struct lab *lab = act->lab;
        if (act->result < 0)
                return;
        assert_true(lab->arrived_count < LAB_ARRIVALS);
        lab->arrived[(lab->arrived_first + lab->arrived_count++) % LAB_ARRIVALS] = act->result;
        lab->accepted++;
}

void lab_listen(struct lab *lab, int backlog)
{
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        assert_int_equal(berth_listen(lab->port, &lab->listener, (struct sockaddr *)&any, sizeof(any), backlog, 0), 0);
        assert_int_equal(berth_listen_address(lab->port, &lab->listener, &lab->address), 0);
        lab->address_bytes = sizeof(any);
}

void lab_open(struct lab *lab, const struct berth_port_config *config)
{
        lab_open_bare(lab, config);
        lab_listen(lab, 1024);
        lab->accept.then = lab_arrival;
        berth_accept(lab->port, go(lab, &lab->accept, NULL), &lab->listener);
}

void lab_stop_listening(struct lab *lab)
{
        struct act close = { 0 };
        berth_close(lab->port, go(lab, &close, NULL), &lab->listener, 0);
        act_wait(&close);
        assert_int_equal(close.result, 0);
        assert_false(lab->accept.in_flight);
        memset(&lab->listener, 0, sizeof(lab->listener));
}

void lab_close(struct lab *lab)
{
        if (lab->listener.kind)
                lab_stop_listening(lab);
        while (lab->arrived_count > 0) {
                struct end end = { 0 };
                lab_adopt(lab, &end);
                end_close_wait(lab, &end, 0);
        }
        if (*lab->folder) {
                lab_close_file(lab, &lab->root);
                lab_remove_folder(lab->folder);
        }
        lab_until(lab, berth_port_in_flight(lab->port) == 0);
        assert_int_equal(berth_port_run(lab->port, 0), 0);
        berth_port_destroy(lab->port);
        if (!lab->shares)
                assert_int_equal(lab_open_descriptors(), lab->descriptors);
}

void lab_turn_(struct lab *lab, uint64_t since_ms, const char *what, const char *file, int line)
{
        int n = berth_port_run(lab->port, TURN_MS);
        if (n >= 0 && lab_clock_ms() - since_ms < PATIENCE_MS)
                return;
        print_error("%s:%d: %s while waiting for: %s\n", file, line, n < 0 ? strerror(-n) : "too long", what);
        _fail(file, line);
}

void lab_turns(struct lab *lab, unsigned count)
{
        while (count-- > 0)
                assert_true(berth_port_run(lab->port, 0) >= 0);
}

void lab_settle(struct lab *lab)
{
        for (unsigned quiet = 0; quiet < 5;) {
                int n = berth_port_run(lab->port, 2);
                assert_true(n >= 0);
                quiet = n ? 0 : quiet + 1;
                if (lab->sim) /* there is no "soon" there: chance decides */
                        lab_turns(lab, 50);
        }
}

/* ---- acts ---- */

static void act_done(struct berth_op *op)
{
        struct act *act = container_of(op, struct act, op);
        assert_true(act->in_flight);
        if (act->end)
                assert_false(act->end->closed);
        act->result = op->result;
        if (op->flags & BERTH_MORE) {
                act->mores++;
        } else {
                act->in_flight = false;
                act->finals++;
                act->order = ++act->lab->orders;
        }
        if (act->then)
                act->then(act);
}

struct berth_op *go(struct lab *lab, struct act *act, struct end *end)
{
        assert_false(act->in_flight);
        act->in_flight = true;
        act->lab = lab;
        act->end = end;
        act->op.done = act_done;
        return &act->op;
}

void act_wait(struct act *act)
{
        lab_until(act->lab, !act->in_flight);
}

/* ---- connections ---- */

void lab_connect(struct lab *lab, struct end *client)
{
        berth_connect(lab->port, go(lab, &client->other, client), &client->handle, (struct sockaddr *)&lab->address,
                      lab->address_bytes, NULL);
}

int64_t lab_take_arrival(struct lab *lab)
{
        lab_until(lab, lab->arrived_count > 0);
        int64_t number = lab->arrived[lab->arrived_first];
        lab->arrived_first = (lab->arrived_first + 1) % LAB_ARRIVALS;
        lab->arrived_count--;
        return number;
}

void lab_adopt(struct lab *lab, struct end *server)
{
        berth_adopt(lab->port, &server->handle, lab_take_arrival(lab));
}

void lab_pair(struct lab *lab, struct end *client, struct end *server)
{
        memset(client, 0, sizeof(*client));
        memset(server, 0, sizeof(*server));
        lab_connect(lab, client);
        act_wait(&client->other);
        assert_int_equal(client->other.result, 0);
        lab_adopt(lab, server);
}

static void note_closed(struct act *act)
{
        act->end->closed = true;
        assert_int_equal(act->result, 0);
        assert_int_equal(act->end->handle.in_flight, 0);
        assert_false(act->end->recv.in_flight || act->end->send.in_flight || act->end->other.in_flight);
}

void end_close(struct lab *lab, struct end *end, unsigned flags)
{
        end_put_kept(lab, end);
        end->resting = false; /* it ends without telling */
        end->close.then = note_closed;
        berth_close(lab->port, go(lab, &end->close, end), &end->handle, flags);
}

void end_close_wait(struct lab *lab, struct end *end, unsigned flags)
{
        end_close(lab, end, flags);
        act_wait(&end->close);
}

void end_rest(struct lab *lab, struct end *end)
{
        assert_false(end->resting);
        end->resting = true;
        berth_rest(lab->port, &end->handle);
        assert_true(end->resting); /* nothing ends inside a start */
}

void end_rest_wait(struct lab *lab, struct end *end)
{
        lab_until(lab, !end->resting);
}

static void receive_once_more(struct lab *lab, struct end *end)
{
        berth_recv(lab->port, go(lab, &end->recv, end), &end->handle, end->multishot ? BERTH_MULTISHOT : 0);
}

static void check_bytes(struct end *end, const char *data, int64_t size)
{
        for (int64_t i = 0; i < size; i++)
                if ((uint8_t)data[i] != pattern_byte(end->base + end->received + (uint64_t)i))
                        fail_msg("byte %llu is wrong", (unsigned long long)(end->received + (uint64_t)i));
        end->received += (uint64_t)size;
}

static void received(struct act *act)
{
        struct end *end = act->end;
        struct lab *lab = act->lab;
        bool more = act->op.flags & BERTH_MORE;
        assert_int_equal(!!(act->op.flags & BERTH_BUFFER), act->result > 0);
        if (act->result <= 0) {
                assert_false(more);
                end->ended = act->result == 0;
                end->error = (int)act->result;
                return;
        }
        assert_int_equal(more, end->multishot);
        uint16_t buffer = act->op.buffer;
        check_bytes(end, berth_buffer_data(lab->port, buffer), act->result);
        if (end->kept_count < end->keep)
                end->kept[end->kept_count++] = buffer;
        else
                berth_buffer_put(lab->port, buffer);
        if (!more && !end->paused)
                receive_once_more(lab, end);
}

void end_receive(struct lab *lab, struct end *end, bool multishot)
{
        end->multishot = multishot;
        end->recv.then = received;
        receive_once_more(lab, end);
}

void end_put_kept(struct lab *lab, struct end *end)
{
        while (end->kept_count > 0)
                berth_buffer_put(lab->port, end->kept[--end->kept_count]);
        end->keep = 0;
}

void end_send(struct lab *lab, struct end *end, const void *data, size_t size)
{
        berth_send(lab->port, go(lab, &end->send, end), &end->handle, data, size, 0);
}

/* ---- bytes ---- */

uint8_t pattern_byte(uint64_t at)
{
        return (uint8_t)((at * 2654435761u) >> 11 ^ at);
}

char *pattern(uint64_t from, size_t size)
{
        char *data = malloc(size ? size : 1);
        assert_non_null(data);
        for (size_t i = 0; i < size; i++)
                data[i] = (char)pattern_byte(from + i);
        return data;
}

/* ---- files ---- */

void lab_make_folder(struct lab *lab)
{
        berth_adopt_file(lab->port, &lab->root, lab_system_folder(lab->folder, sizeof(lab->folder)));
}

char *lab_path(struct lab *lab, const char *name)
{
        static char path[256];
        snprintf(path, sizeof(path), "%s/%s", lab->folder, name);
        return path;
}

void lab_make_file(struct lab *lab, const char *name, uint64_t bytes)
{
        char *data = pattern(0, bytes);
        lab_write_file(lab_path(lab, name), data, bytes);
        free(data);
}

int64_t lab_try_open(struct lab *lab, const char *path, unsigned flags)
{
        berth_open(lab->port, go(lab, &lab->scratch, NULL), &lab->root, path, flags);
        act_wait(&lab->scratch);
        return lab->scratch.result;
}

void lab_open_file(struct lab *lab, struct berth_handle *file, const char *path, unsigned flags)
{
        int64_t descriptor = lab_try_open(lab, path, flags);
        assert_true(descriptor >= 0);
        memset(file, 0, sizeof(*file));
        berth_adopt_file(lab->port, file, (int)descriptor);
}

void lab_close_file(struct lab *lab, struct berth_handle *file)
{
        berth_close(lab->port, go(lab, &lab->scratch, NULL), file, 0);
        act_wait(&lab->scratch);
        assert_int_equal(lab->scratch.result, 0);
}
