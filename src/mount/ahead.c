/* Reads: from pieces where they have them, from the server where they do not (ahead.h, ahead_priv.h).
 *
 * A read tells its window, which says what to ask for; then goes from byte to byte: there is a piece, which has come as
 * far, is waited for, or failed; or there is none, and the gap is asked for right into the reader's memory, with all the
 * patience of the client. So it is always the reader's own request whose error counts.
 */
#include "mount/ahead_priv.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
        LOOK_MS = 100,      /* how often a reader that waits looks whether it is given up */
        PATIENCE_MS = 5000, /* with a request that somebody else has begun and that does not move */
};

struct reading {
        struct ahead *ahead;
        struct stream *stream;
        const char *path, *tag;
        uint64_t at, end;
        char *out; /* for the byte at `at` */
        bool hit;  /* all had been asked for before */
};

/* ---- life ---- */

int ahead_create(struct ahead **out, const struct ahead_options *options)
{
        struct ahead *ahead = calloc(1, sizeof *ahead);
        if (!ahead)
                return -ENOMEM;
        ahead->options = *options;
        if (!ahead->options.start)
                ahead->options.start = client_start;
        pthread_mutex_init(&ahead->lock, NULL);
        pthread_cond_init(&ahead->idle, NULL);
        pthread_condattr_init(&ahead->clock);
        pthread_condattr_setclock(&ahead->clock, CLOCK_MONOTONIC);
        list_init(&ahead->streams);
        room_init(ahead);
        *out = ahead;
        return 0;
}

/* Requests of streams that have gone may still be under way: they are given up, which the client sees soon. */
void ahead_destroy(struct ahead *ahead)
{
        if (!ahead)
                return;
        pthread_mutex_lock(&ahead->lock);
        while (ahead->under_way > 0)
                pthread_cond_wait(&ahead->idle, &ahead->lock);
        pthread_mutex_unlock(&ahead->lock);
        room_finish(ahead);
        pthread_condattr_destroy(&ahead->clock);
        pthread_cond_destroy(&ahead->idle);
        pthread_mutex_destroy(&ahead->lock);
        free(ahead);
}

const struct ahead_counters *ahead_counters(const struct ahead *ahead)
{
        return &ahead->counters;
}

struct stream *ahead_open(struct ahead *ahead)
{
        struct stream *stream = calloc(1, sizeof *stream);
        if (!stream)
                return NULL;
        stream->ahead = ahead;
        list_init(&stream->node);
        list_init(&stream->pieces);
        for (unsigned i = 0; i < STREAM_READERS; i++)
                stream->readers[i].stream = stream;
        return stream;
}

/* Under the lock. */
static void forget(struct stream *stream)
{
        pieces_detach_all(stream, NULL);
        for (unsigned i = 0; i < STREAM_READERS; i++)
                window_shrink(&stream->readers[i].window, stream->readers[i].window.next);
}

void ahead_forget(struct ahead *ahead, struct stream *stream)
{
        pthread_mutex_lock(&ahead->lock);
        forget(stream);
        pthread_mutex_unlock(&ahead->lock);
}

void ahead_close(struct ahead *ahead, struct stream *stream)
{
        ahead_forget(ahead, stream);
        free(stream);
}

/* ---- who reads, and what he is going to ---- */

struct choice {
        struct reader *reader;
        enum window_place place;
};

/* The better place; of those that have none the one to be given up: not open, the longest without a turn. */
static bool is_better(const struct choice *a, const struct choice *b)
{
        bool a_open = a->reader->window.size > 0, b_open = b->reader->window.size > 0;
        if (a->place != WINDOW_ELSEWHERE || b->place != WINDOW_ELSEWHERE)
                return a->place > b->place;
        return a_open != b_open ? b_open : a->reader->turn < b->reader->turn;
}

/* A jump may mean that what others wait for will never be read; it must not stand in the way of who reads now. */
static void drop_idle(struct stream *stream)
{
        uint64_t now_ms = clock_ms();
        for (unsigned i = 0; i < STREAM_READERS; i++) {
                struct reader *reader = &stream->readers[i];
                if (reader->bytes == 0 || now_ms <= reader->read_ms + IDLE_MS)
                        continue;
                pieces_detach_all(stream, reader);
                window_shrink(&reader->window, reader->window.next);
        }
}

static struct reader *choose_reader(struct stream *stream, uint64_t first, size_t size)
{
        struct choice best = { 0 };
        for (unsigned i = 0; i < STREAM_READERS; i++) {
                struct reader *reader = &stream->readers[i];
                struct choice choice = { reader, window_place(&reader->window, first, size) };
                if (!best.reader || is_better(&choice, &best))
                        best = choice;
        }
        if (best.place == WINDOW_ELSEWHERE) {
                pieces_detach_all(stream, best.reader);
                drop_idle(stream);
        }
        best.reader->turn = ++stream->ahead->turns;
        best.reader->read_ms = clock_ms();
        return best.reader;
}

static void drop_behind(const struct reader *reader)
{
        struct list *pieces = &reader->stream->pieces;
        for (struct list *node = pieces->next, *next; node != pieces; node = next) {
                struct piece *piece = piece_at(node);
                next = node->next;
                if (piece->reader == reader && piece_end(piece) + WINDOW_BACK_BYTES <= reader->window.next)
                        piece_detach(piece);
        }
}

/* Streams stand in the order in which they were read. */
static void move_last(struct stream *stream)
{
        if (list_empty(&stream->pieces))
                return;
        list_remove(&stream->node);
        list_append(&stream->ahead->streams, &stream->node);
}

static bool is_covered(const struct reading *reading)
{
        uint64_t gap_end = reading->end;
        for (uint64_t at = reading->at; at < reading->end;) {
                const struct piece *piece = piece_find(reading->stream, at, &gap_end);
                if (!piece || piece->error < 0)
                        return false;
                at = piece_end(piece);
        }
        return true;
}

/* Under the lock. What is to be asked for goes into `starting`. */
static void plan(struct reading *reading, uint64_t file_size, struct list *starting)
{
        struct stream *stream = reading->stream;
        const struct ahead_options *options = &reading->ahead->options;
        const struct window_limits limits = { .size = options->limit_bytes, .piece = options->piece_bytes };
        size_t size = (size_t)(reading->end - reading->at);
        if (!remote_same_tag(stream->tag, reading->tag)) {
                forget(stream);
                snprintf(stream->tag, sizeof stream->tag, "%s", reading->tag);
        }
        reading->hit = is_covered(reading);
        struct reader *reader = choose_reader(stream, reading->at, size);
        struct window_ask range = window_read(&reader->window, reading->at, size, file_size, &limits);
        drop_behind(reader);
        if (!stream->no_ranges)
                window_asked(&reader->window, pieces_ask(reader, range, starting));
        move_last(stream);
}

/* ---- from the server ---- */

struct direct {
        struct call call;
        uint64_t first;
        size_t size, arrived;
        char *out;
        sem_t done;
};

static int direct_bytes(struct call *call, const char *data, size_t size)
{
        struct direct *direct = call->context;
        int error = direct->arrived == 0 ? answer_check(call, direct->first) : 0;
        if (error < 0)
                return error;
        size_t part = min_of(size, direct->size - direct->arrived);
        memcpy(direct->out + direct->arrived, data, part);
        direct->arrived += part;
        return part < size ? -EFBIG : 0; /* a whole file, where a part was asked for */
}

static void direct_restart(struct call *call)
{
        struct direct *direct = call->context;
        direct->arrived = 0;
}

static void direct_done(struct call *call)
{
        struct direct *direct = call->context;
        sem_post(&direct->done);
}

static int direct_perform(struct reading *reading, struct direct *direct)
{
        struct ahead *ahead = reading->ahead;
        struct call *call = &direct->call;
        int error = remote_read_call(ahead->options.remote, call, reading->path, reading->tag, direct->first,
                                     direct->size);
        if (error < 0)
                return error;
        call->receive = direct_bytes;
        call->restart = direct_restart;
        call->done = direct_done;
        call->context = direct;
        call->given_up = remote_given_up();
        ahead->counters.requests++;
        ahead->counters.bytes_asked += direct->size;
        ahead->options.start(ahead->options.remote->client, call);
        while (sem_wait(&direct->done) < 0)
                ;
        return direct->arrived == direct->size ? 0 : remote_read_result(call);
}

/* Without the lock: [at, end) into the reader's memory. Bytes, or -errno. */
static ssize_t read_direct(struct reading *reading, uint64_t end)
{
        struct direct *direct = malloc(sizeof *direct);
        if (!direct)
                return -ENOMEM;
        direct->first = reading->at;
        direct->size = (size_t)(end - reading->at);
        direct->arrived = 0;
        direct->out = reading->out;
        sem_init(&direct->done, 0, 0);
        ssize_t result = direct_perform(reading, direct);
        if (result == 0)
                result = (ssize_t)direct->arrived;
        sem_destroy(&direct->done);
        free(direct);
        return result;
}

/* ---- from a piece; under the lock, but where bytes are copied ---- */

static void copy_out(const struct piece *piece, size_t at, char *out, size_t size)
{
        while (size > 0) {
                size_t within = at % CHUNK_BYTES, part = min_of(size, CHUNK_BYTES - within);
                memcpy(out, piece->chunks[at / CHUNK_BYTES] + within, part);
                at += part, out += part, size -= part;
        }
}

static void take(struct reading *reading, struct piece *piece)
{
        size_t from = (size_t)(reading->at - piece->first);
        size_t size = (size_t)min_of(piece->arrived - from, reading->end - reading->at);
        pthread_mutex_unlock(&reading->ahead->lock);
        copy_out(piece, from, reading->out, size);
        pthread_mutex_lock(&reading->ahead->lock);
        piece->read = max_of(piece->read, from + size);
        reading->at += size;
        reading->out += size;
}

static void sleep_until_told(struct ahead *ahead, struct waiter *waiter)
{
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&waiter->arrived, &ahead->lock, &until);
}

/* Until all that is needed has come, or no more will. -ETIMEDOUT: none came for long, which the reader's own request
 * may have more luck with. */
static int wait_until_told(struct ahead *ahead, struct piece *piece, struct waiter *waiter)
{
        const atomic_bool *given_up = remote_given_up();
        uint64_t moved_ms = clock_ms();
        size_t arrived = piece->arrived;
        while (piece->arrived < waiter->need && piece->under_way && piece->stream) {
                sleep_until_told(ahead, waiter);
                if (given_up && atomic_load(given_up))
                        return -EINTR;
                if (piece->arrived != arrived)
                        moved_ms = clock_ms();
                else if (clock_ms() > moved_ms + PATIENCE_MS)
                        return -ETIMEDOUT;
                arrived = piece->arrived;
        }
        return 0;
}

static int wait_for(struct reading *reading, struct piece *piece)
{
        struct waiter waiter = { .need = (size_t)(min_of(reading->end, piece_end(piece)) - piece->first) };
        if (piece->arrived >= waiter.need || !piece->under_way)
                return 0;
        if (piece->stream)
                window_late(&piece->reader->window);
        pthread_cond_init(&waiter.arrived, &reading->ahead->clock);
        list_append(&piece->waiters, &waiter.node);
        int result = wait_until_told(reading->ahead, piece, &waiter);
        list_remove(&waiter.node);
        pthread_cond_destroy(&waiter.arrived);
        return result;
}

/* Nothing more comes of it. The next read asks anew from there. */
static void give_up_piece(struct piece *piece)
{
        if (!piece->stream)
                return;
        window_shrink(&piece->reader->window, piece->first);
        piece_detach(piece);
}

static int read_piece(struct reading *reading, struct piece *piece)
{
        piece_use(piece);
        int result = wait_for(reading, piece);
        if (result != -EINTR && reading->at < piece->first + piece->arrived) {
                take(reading, piece);
                result = 0;
        } else if (result == -ETIMEDOUT || (!piece->under_way && piece->error < 0)) {
                result = piece->error == -ESTALE ? -ESTALE : 0;
                give_up_piece(piece);
        }
        piece_leave(piece);
        return result;
}

/* ---- reading ---- */

/* Under the lock. 0: go on; 1: the file has ended. */
static int read_gap(struct reading *reading, uint64_t gap_end)
{
        size_t size = (size_t)(gap_end - reading->at);
        pthread_mutex_unlock(&reading->ahead->lock);
        ssize_t bytes = read_direct(reading, gap_end);
        pthread_mutex_lock(&reading->ahead->lock);
        if (bytes < 0)
                return (int)bytes;
        reading->at += (size_t)bytes;
        reading->out += bytes;
        return (size_t)bytes < size;
}

static int read_on(struct reading *reading)
{
        int result = 0;
        while (result == 0 && reading->at < reading->end) {
                uint64_t gap_end = reading->end;
                struct piece *piece = piece_find(reading->stream, reading->at, &gap_end);
                result = piece ? read_piece(reading, piece) : read_gap(reading, gap_end);
        }
        return min_of(result, 0);
}

ssize_t ahead_read(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, char *out)
{
        struct list starting;
        struct reading reading = { ahead, stream, path, tag, first, 0, out, false };
        ahead->counters.reads++;
        if (first >= file_size || size == 0)
                return 0;
        reading.end = first + min_of(size, file_size - first);
        list_init(&starting);
        pthread_mutex_lock(&ahead->lock);
        plan(&reading, file_size, &starting);
        pthread_mutex_unlock(&ahead->lock);
        pieces_start(ahead, &starting, path, tag);
        pthread_mutex_lock(&ahead->lock);
        int result = read_on(&reading);
        pthread_mutex_unlock(&ahead->lock);
        ahead->counters.hits += reading.hit;
        ahead->counters.bytes_read += reading.at - first;
        return result < 0 ? result : (ssize_t)(reading.at - first);
}
