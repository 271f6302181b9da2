/* Reading a file of the server: which requests are made, and what comes of their answers. The client is a list of calls
 * that the tests answer as they like. */
#include "mount/pieces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

enum { LOG = 4096 };

/* ---- the server ---- */

struct asked {
        uint64_t first, size;
        bool quick;
};

struct lab {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct list calls;
        struct asked log[LOG];
        unsigned count;
        uint64_t file_size;
        struct ahead *ahead;
        struct remote remote;

        /* The thread that answers by itself. */
        pthread_t thread;
        bool automatic, stop;
        struct random random;
        unsigned failures; /* of 100 quick requests */
        bool whole;        /* ranges are not known */
};

/* What the file holds: again and again the same bytes, of a length that fits nothing else. */
enum { CONTENT = 1000003 };
static char content[CONTENT];

static int make_content(void **state)
{
        struct random random = { 3 };
        (void)state;
        for (size_t i = 0; i < CONTENT; i++)
                content[i] = (char)random_next(&random);
        return 0;
}

static void fill(char *out, uint64_t first, size_t size)
{
        while (size > 0) {
                size_t at = first % CONTENT, part = min_of(size, CONTENT - at);
                memcpy(out, content + at, part);
                out += part, first += part, size -= part;
        }
}

static bool is_right(const char *data, uint64_t first, ssize_t size)
{
        for (ssize_t done = 0; done < size;) {
                size_t at = (first + (size_t)done) % CONTENT, part = min_of((size_t)(size - done), CONTENT - at);
                if (memcmp(data + done, content + at, part) != 0)
                        return false;
                done += (ssize_t)part;
        }
        return true;
}

static struct asked range_of(const struct call *call)
{
        unsigned long first, last;
        const char *range = strstr(call->fields, "bytes=");
        assert_non_null(range);
        assert_int_equal(sscanf(range, "bytes=%lu-%lu", &first, &last), 2);
        return (struct asked){ first, last - first + 1, call->quick };
}

static void lab_start(struct client *client, struct call *call)
{
        struct lab *lab = (struct lab *)(void *)client;
        pthread_mutex_lock(&lab->lock);
        if (lab->count < LOG)
                lab->log[lab->count] = range_of(call);
        lab->count++;
        list_append(&lab->calls, &call->node);
        pthread_cond_broadcast(&lab->changed);
        pthread_mutex_unlock(&lab->lock);
}

static void is_over(struct call *call)
{
        sem_post(call->waiter);
}

static int lab_perform(struct client *client, struct call *call)
{
        sem_t over;
        sem_init(&over, 0, 0);
        call->waiter = &over;
        call->done = is_over;
        lab_start(client, call);
        while (sem_wait(&over) < 0)
                ;
        sem_destroy(&over);
        return call->error;
}

static void finish(struct call *call, int error)
{
        call->error = error;
        call->done(call);
}

static void head(struct call *call, int status, uint64_t first)
{
        memset(&call->answer, 0, sizeof call->answer);
        call->answer.status = status;
        call->answer.first = status == 206 ? first : UINT64_MAX;
        call->answer.total = UINT64_MAX;
}

/* Some bytes of a piece, `at` bytes from what it asked for. */
static int send_bytes(struct call *call, uint64_t from, size_t size)
{
        char *data = malloc(size);
        fill(data, from, size);
        int result = size > 0 ? call->receive(call, data, size) : 0;
        free(data);
        return result;
}

static void answer_range(struct lab *lab, struct call *call)
{
        struct asked asked = range_of(call);
        uint64_t end = min_of(asked.first + asked.size, lab->file_size);
        int result = 0;
        if (asked.first >= lab->file_size) {
                head(call, 416, 0);
                finish(call, 0);
                return;
        }
        head(call, 206, asked.first);
        for (uint64_t at = asked.first; at < end && result == 0;) {
                size_t part = (size_t)min_of(end - at, 1 + random_below(&lab->random, 50000));
                result = send_bytes(call, at, part);
                at += part;
        }
        finish(call, result);
}

static void answer_whole(struct lab *lab, struct call *call)
{
        int result = 0;
        head(call, 200, 0);
        for (uint64_t at = 0; at < lab->file_size && result == 0; at += 1000)
                result = send_bytes(call, at, (size_t)min_of(lab->file_size - at, 1000u));
        finish(call, result);
}

static void fail_in_the_middle(struct call *call)
{
        struct asked asked = range_of(call);
        head(call, 206, asked.first);
        send_bytes(call, asked.first, (size_t)asked.size / 2);
        finish(call, -EIO);
}

static void answer_somehow(struct lab *lab, struct call *call)
{
        if (call->given_up && atomic_load(call->given_up) && random_below(&lab->random, 2))
                finish(call, -EINTR);
        else if (call->quick && random_below(&lab->random, 100) < lab->failures)
                fail_in_the_middle(call);
        else if (lab->whole)
                answer_whole(lab, call);
        else
                answer_range(lab, call);
}

/* Any of those that wait. */
static struct call *pick(struct lab *lab)
{
        unsigned count = 0;
        struct list *node;
        for (node = lab->calls.next; node != &lab->calls; node = node->next)
                count++;
        node = lab->calls.next;
        for (unsigned skip = random_below(&lab->random, count); skip > 0; skip--)
                node = node->next;
        list_remove(node);
        return container_of(node, struct call, node);
}

static void *answer_all(void *context)
{
        struct lab *lab = context;
        pthread_mutex_lock(&lab->lock);
        while (!lab->stop || !list_empty(&lab->calls)) {
                if (list_empty(&lab->calls)) {
                        pthread_cond_wait(&lab->changed, &lab->lock);
                        continue;
                }
                struct call *call = pick(lab);
                pthread_mutex_unlock(&lab->lock);
                answer_somehow(lab, call);
                pthread_mutex_lock(&lab->lock);
        }
        pthread_mutex_unlock(&lab->lock);
        return NULL;
}

/* The call that was started first of those that are not taken yet; waits for one. */
static struct call *take_call(struct lab *lab)
{
        pthread_mutex_lock(&lab->lock);
        while (list_empty(&lab->calls))
                pthread_cond_wait(&lab->changed, &lab->lock);
        struct list *node = lab->calls.next;
        list_remove(node);
        pthread_mutex_unlock(&lab->lock);
        return container_of(node, struct call, node);
}

static bool has_calls(struct lab *lab)
{
        pthread_mutex_lock(&lab->lock);
        bool result = !list_empty(&lab->calls);
        pthread_mutex_unlock(&lab->lock);
        return result;
}

static unsigned requests(struct lab *lab)
{
        pthread_mutex_lock(&lab->lock);
        unsigned count = lab->count;
        pthread_mutex_unlock(&lab->lock);
        return count;
}

/* ---- setting up ---- */

static void open_lab(struct lab *lab, uint64_t file_size, size_t limit)
{
        const struct ahead_options options = {
                .limit_bytes = limit,
                .piece_bytes = MIB,
                .connections = 4,
                .remote = &lab->remote,
                .start = lab_start,
                .perform = lab_perform,
        };
        memset(lab, 0, sizeof *lab);
        pthread_mutex_init(&lab->lock, NULL);
        pthread_cond_init(&lab->changed, NULL);
        list_init(&lab->calls);
        lab->file_size = file_size;
        lab->remote.client = (struct client *)(void *)lab;
        lab->random.state = 1;
        assert_int_equal(ahead_create(&lab->ahead, &options), 0);
}

static void answer_by_itself(struct lab *lab)
{
        lab->automatic = true;
        assert_int_equal(pthread_create(&lab->thread, NULL, answer_all, lab), 0);
}

static void close_lab(struct lab *lab)
{
        ahead_destroy(lab->ahead);
        pthread_mutex_lock(&lab->lock);
        lab->stop = true;
        pthread_cond_broadcast(&lab->changed);
        pthread_mutex_unlock(&lab->lock);
        if (lab->automatic)
                pthread_join(lab->thread, NULL);
        pthread_cond_destroy(&lab->changed);
        pthread_mutex_destroy(&lab->lock);
}

static ssize_t read_some(struct lab *lab, struct stream *stream, uint64_t first, size_t size)
{
        char *out = malloc(size);
        ssize_t bytes = ahead_read(lab->ahead, stream, "folder/file", "\"1\"", lab->file_size, first, size, out);
        assert_true(is_right(out, first, bytes));
        free(out);
        return bytes;
}

static void assert_read(struct lab *lab, struct stream *stream, uint64_t first, size_t size)
{
        uint64_t left = first < lab->file_size ? lab->file_size - first : 0;
        assert_int_equal(read_some(lab, stream, first, size), min_of(size, left));
}

/* A read in a thread of its own, for answers by hand. */
struct reader_thread {
        struct lab *lab;
        struct stream *stream;
        uint64_t first;
        size_t size;
        uint64_t file_size;
        const atomic_bool *given_up;
        pthread_t thread;
        atomic_bool ended;
        char *out;
        ssize_t result;
};

static void *run_reader(void *context)
{
        struct reader_thread *reader = context;
        remote_give_up_on(reader->given_up);
        reader->result = ahead_read(reader->lab->ahead, reader->stream, "folder/file", "\"1\"", reader->file_size,
                                    reader->first, reader->size, reader->out);
        atomic_store(&reader->ended, true);
        return NULL;
}

static void begin_read(struct reader_thread *reader, struct lab *lab, struct stream *stream, uint64_t first,
                       size_t size)
{
        reader->lab = lab;
        reader->stream = stream;
        reader->first = first;
        reader->size = size;
        reader->file_size = lab->file_size;
        reader->out = malloc(size);
        assert_int_equal(pthread_create(&reader->thread, NULL, run_reader, reader), 0);
}

static ssize_t end_read(struct reader_thread *reader)
{
        pthread_join(reader->thread, NULL);
        assert_true(is_right(reader->out, reader->first, reader->result));
        free(reader->out);
        return reader->result;
}

static void assert_asked(struct lab *lab, unsigned index, uint64_t first, uint64_t size, bool quick)
{
        assert_true(index < requests(lab));
        assert_int_equal(lab->log[index].first, first);
        assert_int_equal(lab->log[index].size, size);
        assert_int_equal(lab->log[index].quick, quick);
}

/* ---- what is asked for ---- */

static void reads_here_and_there_cost_themselves(void **state)
{
        struct random random = { 7 };
        struct lab lab;
        (void)state;
        open_lab(&lab, 1 << 30, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (unsigned i = 0; i < 200; i++)
                assert_read(&lab, stream, (uint64_t)random_below(&random, (1 << 30) / 4096) * 4096, 4096);
        assert_int_equal(ahead_counters(lab.ahead)->requests, 200);
        assert_int_equal(ahead_counters(lab.ahead)->bytes_asked, 200 * 4096);
        assert_int_equal(lab.ahead->used_bytes, 0);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_small_file_is_one_request(void **state)
{
        struct lab lab;
        (void)state;
        open_lab(&lab, 700000, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 700000; at += 4096)
                assert_read(&lab, stream, at, 4096);
        assert_int_equal(requests(&lab), 1);
        assert_asked(&lab, 0, 0, 700000, true);
        assert_int_equal(ahead_counters(lab.ahead)->hits, 700000 / 4096);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_sequence_asks_for_nothing_twice(void **state)
{
        const uint64_t size = 20 * MIB + 12345;
        struct lab lab;
        (void)state;
        open_lab(&lab, size, 8 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < size; at += 128 * KIB)
                assert_read(&lab, stream, at, 128 * KIB);
        assert_int_equal(read_some(&lab, stream, size, 100), 0);
        assert_int_equal(ahead_counters(lab.ahead)->bytes_asked, size);
        assert_true(requests(&lab) < 160);
        assert_int_equal(ahead_counters(lab.ahead)->bytes_read, size);
        ahead_close(lab.ahead, stream);
        assert_int_equal(ahead_counters(lab.ahead)->bytes_dropped, 0);
        close_lab(&lab);
}

static void a_stream_has_no_more_under_way_than_connections(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 1 << 30, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 16 * MIB; at += 128 * KIB) {
                begin_read(&reader, &lab, stream, at, 128 * KIB);
                while (!atomic_load(&reader.ended)) {
                        pthread_mutex_lock(&lab.ahead->lock);
                        assert_true(stream->under_way <= 4);
                        pthread_mutex_unlock(&lab.ahead->lock);
                        if (has_calls(&lab))
                                answer_range(&lab, take_call(&lab));
                        sched_yield();
                }
                assert_int_equal(end_read(&reader), 128 * KIB);
                reader.ended = false;
        }
        ahead_close(lab.ahead, stream);
        while (has_calls(&lab))
                finish(take_call(&lab), -EINTR);
        close_lab(&lab);
}

static void going_back_a_little_costs_nothing(void **state)
{
        struct lab lab;
        (void)state;
        open_lab(&lab, 64 << 20, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                assert_read(&lab, stream, at, 128 * KIB);
        unsigned count = requests(&lab);
        assert_read(&lab, stream, 7 * MIB, 512 * KIB);
        assert_int_equal(requests(&lab), count);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void two_readers_of_a_file_are_both_ahead(void **state)
{
        struct lab lab;
        (void)state;
        open_lab(&lab, 200 << 20, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 16 * MIB; at += 128 * KIB) {
                assert_read(&lab, stream, at, 128 * KIB);
                assert_read(&lab, stream, at + 100 * MIB, 128 * KIB);
        }
        assert_true(requests(&lab) < 200);
        assert_true(ahead_counters(lab.ahead)->hits > 200);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

/* ---- what comes ---- */

static void what_has_come_of_a_piece_is_served(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 0, 128 * KIB);
        struct call *call = take_call(&lab);
        head(call, 206, 0);
        send_bytes(call, 0, 128 << 10);
        assert_int_equal(end_read(&reader), 128 * KIB); /* the piece is not complete */
        send_bytes(call, 128 << 10, 472 << 10);
        finish(call, 0);
        assert_read(&lab, stream, 128 * KIB, 472 * KIB);
        assert_int_equal(requests(&lab), 1);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_piece_that_failed_is_asked_for_by_its_reader(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 0, 128 * KIB);
        struct call *call = take_call(&lab);
        head(call, 206, 0);
        send_bytes(call, 0, 50000);
        finish(call, -ETIMEDOUT);
        call = take_call(&lab);
        assert_asked(&lab, 1, 50000, (128 << 10) - 50000, false);
        answer_range(&lab, call);
        assert_int_equal(end_read(&reader), 128 * KIB);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void the_error_of_the_readers_own_request_counts(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 1 << 30, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 5 * MIB, 4096);
        finish(take_call(&lab), -EIO);
        assert_int_equal(end_read(&reader), -EIO);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void another_version_is_told(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 0, 4096);
        struct call *call = take_call(&lab);
        assert_non_null(strstr(call->fields, "If-Match: \"1\"\n"));
        head(call, 412, 0);
        finish(call, 0);
        assert_int_equal(end_read(&reader), -ESTALE);
        assert_int_equal(requests(&lab), 1);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_new_tag_forgets_what_came_before(void **state)
{
        struct lab lab;
        char out[100];
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        assert_read(&lab, stream, 0, 100);
        assert_int_equal(ahead_read(lab.ahead, stream, "f", "\"2\"", 600 << 10, 0, 100, out), 100);
        assert_int_equal(requests(&lab), 2);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_file_that_ends_early_gives_fewer_bytes(void **state)
{
        struct lab lab;
        char out[4096];
        (void)state;
        open_lab(&lab, 100000, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (unsigned i = 0; i < 2; i++) /* in sequence and not */
                assert_int_equal(ahead_read(lab.ahead, stream, "f", "", 500000, 99000, 4096, out), 1000);
        assert_int_equal(ahead_read(lab.ahead, stream, "f", "", 500000, 0, 4096, out), 4096);
        assert_int_equal(ahead_read(lab.ahead, stream, "f", "", 500000, 99000, 4096, out), 1000);
        assert_int_equal(ahead_read(lab.ahead, stream, "f", "", 500000, 200000, 4096, out), 0);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void of_a_server_without_ranges_the_start_can_be_read(void **state)
{
        struct lab lab;
        (void)state;
        open_lab(&lab, 3 << 20, 32 << 20);
        lab.whole = true;
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        assert_read(&lab, stream, 0, 4096);
        assert_read(&lab, stream, 0, 128 * KIB);
        assert_int_equal(read_some(&lab, stream, 2 * MIB, 4096), -EOPNOTSUPP);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

/* ---- views ---- */

static ssize_t view_some(struct lab *lab, struct stream *stream, uint64_t first, size_t size, struct ahead_view *view)
{
        return ahead_view(lab->ahead, stream, "f", "\"1\"", lab->file_size, first, size, view);
}

static bool view_is_right(const struct ahead_view *view, uint64_t first, ssize_t size)
{
        ssize_t seen = 0;
        bool right = true;
        for (unsigned i = 0; i < view->count; i++) {
                right &= is_right(view->parts[i].iov_base, first + (uint64_t)seen, (ssize_t)view->parts[i].iov_len);
                seen += (ssize_t)view->parts[i].iov_len;
        }
        return right && seen == max_of(size, 0);
}

static void a_view_lends_what_has_come(void **state)
{
        struct lab lab;
        struct ahead_view view;
        (void)state;
        open_lab(&lab, 900 << 10, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        assert_read(&lab, stream, 0, 100);
        assert_int_equal(view_some(&lab, stream, 1000, 800000, &view), 800000);
        assert_null(view.memory);
        assert_true(view_is_right(&view, 1000, 800000));
        ahead_forget(lab.ahead, stream); /* it stays */
        assert_true(view_is_right(&view, 1000, 800000));
        ahead_close(lab.ahead, stream);
        assert_true(view_is_right(&view, 1000, 800000));
        ahead_release(lab.ahead, &view);
        close_lab(&lab);
}

static void what_a_view_cannot_lend_it_copies(void **state)
{
        struct lab lab;
        struct ahead_view view;
        (void)state;
        open_lab(&lab, 64 << 20, 32 << 20);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 8 * MIB; at += 128 * KIB)
                assert_read(&lab, stream, at, 128 * KIB);
        for (size_t size = 1; size < 8 << 20; size = size * 3 + 7) { /* of many pieces, and more than there are */
                assert_int_equal(view_some(&lab, stream, 7 * MIB, size, &view), size);
                assert_true(view_is_right(&view, 7 * MIB, (ssize_t)size));
                ahead_release(lab.ahead, &view);
        }
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_view_that_failed_is_released_like_any(void **state)
{
        struct lab lab;
        struct ahead_view view;
        (void)state;
        open_lab(&lab, 3 << 20, 32 << 20);
        lab.whole = true;
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        assert_int_equal(view_some(&lab, stream, 2 << 20, 4096, &view), -EOPNOTSUPP);
        ahead_release(lab.ahead, &view);
        assert_int_equal(view_some(&lab, stream, 3 << 20, 4096, &view), 0);
        ahead_release(lab.ahead, &view);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

static void a_view_of_its_own_is_filled_by_others(void **state)
{
        struct lab lab;
        struct ahead_view view;
        (void)state;
        open_lab(&lab, 1, 0);
        memset(ahead_view_alone(&view, 300000), 'x', 300000);
        assert_int_equal(view.count, 1);
        assert_int_equal(view.parts[0].iov_len, 300000);
        ahead_release(lab.ahead, &view);
        close_lab(&lab);
}

/* ---- what is not wanted any more ---- */

static void forgotten_pieces_are_ignored_when_they_come(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 0, 4096);
        struct call *old = take_call(&lab);
        ahead_forget(lab.ahead, stream);
        assert_true(atomic_load(old->given_up));
        struct call *own = take_call(&lab); /* who waited for it asks anew */
        head(old, 206, 0);
        char zeros[4096] = { 0 };
        old->receive(old, zeros, sizeof zeros);
        finish(old, 0);
        answer_range(&lab, own);
        assert_int_equal(end_read(&reader), 4096);
        ahead_close(lab.ahead, stream);
        assert_int_equal(lab.ahead->used_bytes, 0);
        close_lab(&lab);
}

struct late {
        struct lab *lab;
        struct call *call;
};

static void *answer_late(void *context)
{
        struct late *late = context;
        usleep(20000);
        answer_range(late->lab, late->call);
        return NULL;
}

static void the_end_waits_for_what_is_under_way(void **state)
{
        struct lab lab;
        struct reader_thread reader = { 0 };
        pthread_t thread;
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&reader, &lab, stream, 0, 4096);
        struct late late = { &lab, take_call(&lab) };
        head(late.call, 206, 0);
        send_bytes(late.call, 0, 4096);
        end_read(&reader);
        ahead_close(lab.ahead, stream);
        pthread_create(&thread, NULL, answer_late, &late);
        close_lab(&lab);
        pthread_join(thread, NULL);
}

static void an_interrupted_reader_does_not_wait_on(void **state)
{
        struct lab lab;
        atomic_bool flag = false;
        struct reader_thread waits = { .given_up = &flag }, direct = { .given_up = &flag };
        (void)state;
        open_lab(&lab, 600 << 10, 32 << 20);
        struct stream *stream = ahead_open(lab.ahead);
        begin_read(&waits, &lab, stream, 0, 4096);
        struct call *piece = take_call(&lab);
        ahead_forget(lab.ahead, stream);
        struct call *own = take_call(&lab);
        assert_ptr_equal(own->given_up, &flag);
        begin_read(&direct, &lab, stream, 0, 128 * KIB);
        struct call *second = take_call(&lab);
        atomic_store(&flag, true);
        finish(own, -EINTR); /* as the client does */
        assert_int_equal(end_read(&waits), -EINTR);
        assert_int_equal(end_read(&direct), -EINTR);
        finish(piece, -EINTR);
        answer_range(&lab, second);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

/* ---- memory ---- */

static void check_memory(struct lab *lab)
{
        pthread_mutex_lock(&lab->ahead->lock);
        size_t chunks = (size_t)lab->ahead->chunks * CHUNK_BYTES;
        assert_true(lab->ahead->used_bytes <= lab->ahead->options.limit_bytes);
        assert_true(chunks <= lab->ahead->used_bytes);
        pthread_mutex_unlock(&lab->ahead->lock);
}

static void two_streams_share_the_memory(void **state)
{
        struct lab lab;
        struct stream *streams[2];
        (void)state;
        open_lab(&lab, 1 << 30, 12 << 20);
        answer_by_itself(&lab);
        streams[0] = ahead_open(lab.ahead);
        streams[1] = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 32 * MIB; at += 128 * KIB) {
                assert_read(&lab, streams[0], at, 128 * KIB);
                check_memory(&lab);
        }
        uint64_t before = ahead_counters(lab.ahead)->bytes_asked, hits = ahead_counters(lab.ahead)->hits;
        for (uint64_t at = 0; at < 32 * MIB; at += 128 * KIB)
                for (unsigned i = 0; i < 2; i++) {
                        assert_read(&lab, streams[i], at + (i == 0 ? 32 * MIB : 0), 128 * KIB);
                        check_memory(&lab);
                }
        /* They did not take it from each other again and again. */
        assert_true(ahead_counters(lab.ahead)->bytes_asked - before < 90 * MIB);
        assert_true(ahead_counters(lab.ahead)->hits - hits > 400);
        ahead_close(lab.ahead, streams[0]);
        ahead_close(lab.ahead, streams[1]);
        close_lab(&lab);
}

static void without_memory_reads_go_directly(void **state)
{
        struct lab lab;
        (void)state;
        open_lab(&lab, 4 << 20, 0);
        answer_by_itself(&lab);
        struct stream *stream = ahead_open(lab.ahead);
        for (uint64_t at = 0; at < 4 * MIB; at += 128 * KIB)
                assert_read(&lab, stream, at, 128 * KIB);
        assert_int_equal(requests(&lab), 32);
        ahead_close(lab.ahead, stream);
        close_lab(&lab);
}

/* ---- everything at once ---- */

enum { READERS = 4, STREAMS = 2 };

struct crowd {
        struct lab lab;
        struct stream *streams[STREAMS];
        pthread_t threads[READERS];
        atomic_uint next;
        atomic_bool wrong;
};

static ssize_t read_either_way(struct crowd *crowd, struct random *random, struct stream *stream, uint64_t at,
                               size_t size, char *out)
{
        struct lab *lab = &crowd->lab;
        struct ahead_view view;
        ssize_t bytes;
        if (random_below(random, 2)) {
                bytes = ahead_read(lab->ahead, stream, "f", "\"1\"", lab->file_size, at, size, out);
                if (!is_right(out, at, bytes))
                        atomic_store(&crowd->wrong, true);
                return bytes;
        }
        bytes = view_some(lab, stream, at, size, &view);
        if (!view_is_right(&view, at, bytes))
                atomic_store(&crowd->wrong, true);
        ahead_release(lab->ahead, &view);
        return bytes;
}

/* A run of reads in sequence from somewhere, backward now and then. */
static void read_a_run(struct crowd *crowd, struct random *random, char *out)
{
        static const size_t sizes[] = { 4096, 64 << 10, 128 << 10, 300000 };
        struct stream *stream = crowd->streams[random_below(random, STREAMS)];
        uint64_t at = random_below(random, (uint32_t)crowd->lab.file_size);
        for (unsigned i = random_below(random, 30); i > 0; i--) {
                size_t size = sizes[random_below(random, array_count(sizes))];
                ssize_t bytes = read_either_way(crowd, random, stream, at, size, out);
                uint64_t left = at < crowd->lab.file_size ? crowd->lab.file_size - at : 0;
                if (bytes != (ssize_t)min_of(size, left))
                        atomic_store(&crowd->wrong, true);
                at = random_below(random, 8) ? at + size : at - min_of(at, size * 2);
        }
        if (random_below(random, 10) == 0)
                ahead_forget(crowd->lab.ahead, stream);
}

static void *read_on_and_on(void *context)
{
        struct crowd *crowd = context;
        struct random random = { atomic_fetch_add(&crowd->next, 1) };
        char *out = malloc(300000);
        for (unsigned i = 0; i < 25; i++)
                read_a_run(crowd, &random, out);
        free(out);
        return NULL;
}

static void many_readers_get_the_right_bytes(void **state)
{
        static struct crowd crowd;
        (void)state;
        open_lab(&crowd.lab, 30 << 20, 6 << 20);
        crowd.lab.failures = 5;
        answer_by_itself(&crowd.lab);
        for (unsigned i = 0; i < STREAMS; i++)
                crowd.streams[i] = ahead_open(crowd.lab.ahead);
        for (unsigned i = 0; i < READERS; i++)
                pthread_create(&crowd.threads[i], NULL, read_on_and_on, &crowd);
        for (unsigned i = 0; i < 100; i++) {
                check_memory(&crowd.lab);
                usleep(1000);
        }
        for (unsigned i = 0; i < READERS; i++)
                pthread_join(crowd.threads[i], NULL);
        assert_false(crowd.wrong);
        for (unsigned i = 0; i < STREAMS; i++)
                ahead_close(crowd.lab.ahead, crowd.streams[i]);
        close_lab(&crowd.lab);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reads_here_and_there_cost_themselves),
                cmocka_unit_test(a_small_file_is_one_request),
                cmocka_unit_test(a_sequence_asks_for_nothing_twice),
                cmocka_unit_test(a_stream_has_no_more_under_way_than_connections),
                cmocka_unit_test(going_back_a_little_costs_nothing),
                cmocka_unit_test(two_readers_of_a_file_are_both_ahead),
                cmocka_unit_test(what_has_come_of_a_piece_is_served),
                cmocka_unit_test(a_piece_that_failed_is_asked_for_by_its_reader),
                cmocka_unit_test(the_error_of_the_readers_own_request_counts),
                cmocka_unit_test(another_version_is_told),
                cmocka_unit_test(a_new_tag_forgets_what_came_before),
                cmocka_unit_test(a_file_that_ends_early_gives_fewer_bytes),
                cmocka_unit_test(of_a_server_without_ranges_the_start_can_be_read),
                cmocka_unit_test(a_view_lends_what_has_come),
                cmocka_unit_test(what_a_view_cannot_lend_it_copies),
                cmocka_unit_test(a_view_that_failed_is_released_like_any),
                cmocka_unit_test(a_view_of_its_own_is_filled_by_others),
                cmocka_unit_test(forgotten_pieces_are_ignored_when_they_come),
                cmocka_unit_test(the_end_waits_for_what_is_under_way),
                cmocka_unit_test(an_interrupted_reader_does_not_wait_on),
                cmocka_unit_test(two_streams_share_the_memory),
                cmocka_unit_test(without_memory_reads_go_directly),
                cmocka_unit_test(many_readers_get_the_right_bytes),
        };
        return cmocka_run_group_tests(tests, make_content, NULL);
}
