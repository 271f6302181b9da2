/* Reads: from pieces where they have them, from the server where they do not (ahead.h, pieces.h).
 *
 * A read tells its window, which says what to ask for; then goes from byte to byte: there is a piece, which has come as
 * far, is waited for, or failed; or there is none, and the gap is asked for right into the reader's memory, with all
 * the patience of the client. So it is always the reader's own request whose error counts.
 */
#include "mount/pieces.h"
#include "mount/block.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum {
        VIEW_MEMORY_BYTES = 1 << 20,
        LOOK_MS = 100,      /* how often a reader that waits looks whether it is given up */
        PATIENCE_MS = 5000, /* with a request that somebody else has begun and that does not move */
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
        if (!ahead->options.perform)
                ahead->options.perform = client_perform;
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

void ahead_forget(struct ahead *ahead, struct stream *stream)
{
        pthread_mutex_lock(&ahead->lock);
        stream_forget(stream);
        pthread_mutex_unlock(&ahead->lock);
}

void ahead_close(struct ahead *ahead, struct stream *stream)
{
        ahead_forget(ahead, stream);
        free(stream);
}

/* ---- bytes of a piece; under the lock, but where they are copied ---- */

static void copy_out(const struct piece *piece, size_t at, char *out, size_t size)
{
        while (size > 0) {
                size_t within = at % CHUNK_BYTES, part = min_of(size, CHUNK_BYTES - within);
                memcpy(out, piece->chunks[at / CHUNK_BYTES] + within, part);
                at += part, out += part, size -= part;
        }
}

/* A part more of the view, or of the one before where that goes on. */
static void lend_part(struct ahead_view *view, char *data, size_t size)
{
        struct iovec *last = view->count > 0 ? &view->parts[view->count - 1] : NULL;
        if (last && (char *)last->iov_base + last->iov_len == data)
                last->iov_len += size;
        else
                view->parts[view->count++] = (struct iovec){ data, size };
}

/* The bytes are not copied: the piece is kept for the view. False: that has no room for more parts. */
static bool lend(struct ahead_view *view, struct piece *piece, size_t at, size_t size)
{
        size_t parts = (at + size - 1) / CHUNK_BYTES - at / CHUNK_BYTES + 1;
        if (view->piece_count == AHEAD_VIEW_PIECES || view->count + parts + 1 > AHEAD_VIEW_PARTS)
                return false;
        piece_use(piece);
        view->pieces[view->piece_count++] = piece;
        while (size > 0) {
                size_t within = at % CHUNK_BYTES, part = min_of(size, CHUNK_BYTES - within);
                lend_part(view, piece->chunks[at / CHUNK_BYTES] + within, part);
                at += part, size -= part;
        }
        return true;
}

/* One size for all that are not small, so that the next has use for it. */
static char *view_memory(struct ahead_view *view, size_t size)
{
        view->memory_bytes = size >= BLOCK_LARGE_BYTES ? max_of(size, VIEW_MEMORY_BYTES) : max_of(size, 1u);
        view->memory = block_new(view->memory_bytes);
        return view->memory;
}

/* What cannot be lent, and all behind it, goes into the view's own memory. */
static int begin_copying(struct reading *reading)
{
        reading->out = view_memory(reading->view, (size_t)(reading->end - reading->at));
        return reading->out ? 0 : -ENOMEM;
}

static int take(struct reading *reading, struct piece *piece)
{
        size_t from = (size_t)(reading->at - piece->first);
        size_t size = (size_t)min_of(piece->arrived - from, reading->end - reading->at);
        bool lent = !reading->out && lend(reading->view, piece, from, size);
        if (!lent && !reading->out && begin_copying(reading) < 0)
                return -ENOMEM;
        if (!lent) {
                pthread_mutex_unlock(&reading->ahead->lock);
                copy_out(piece, from, reading->out, size);
                pthread_mutex_lock(&reading->ahead->lock);
                reading->out += size;
        }
        piece->read = max_of(piece->read, from + size);
        reading->at += size;
        return 0;
}

/* ---- waiting for them ---- */

static void sleep_until_told(struct ahead *ahead, struct waiter *waiter)
{
        struct timespec until = clock_after_ms(LOOK_MS);
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
                result = take(reading, piece);
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
        if (!reading->out && begin_copying(reading) < 0)
                return -ENOMEM;
        pthread_mutex_unlock(&reading->ahead->lock);
        ssize_t bytes = direct_read(reading, gap_end);
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

/* A small file that is read at once: there is nothing to be had ahead, and the reader's own request takes no hand-over
 * to another thread. */
static bool is_all_of_it(const struct reading *reading, uint64_t file_size)
{
        return reading->at == 0 && reading->end == file_size && list_empty(&reading->stream->pieces);
}

static ssize_t read_all(struct reading *reading, uint64_t file_size, uint64_t first, size_t size)
{
        struct ahead *ahead = reading->ahead;
        struct list starting;
        ahead->counters.reads++;
        if (first >= file_size || size == 0)
                return 0;
        reading->at = first;
        reading->end = first + min_of(size, file_size - first);
        list_init(&starting);
        pthread_mutex_lock(&ahead->lock);
        if (!is_all_of_it(reading, file_size)) {
                reading_plan(reading, file_size, &starting);
                pthread_mutex_unlock(&ahead->lock);
                pieces_start(ahead, &starting, reading->path, reading->tag);
                pthread_mutex_lock(&ahead->lock);
        }
        int result = read_on(reading);
        pthread_mutex_unlock(&ahead->lock);
        ahead->counters.hits += reading->hit;
        ahead->counters.bytes_read += reading->at - first;
        return result < 0 ? result : (ssize_t)(reading->at - first);
}

ssize_t ahead_read(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, char *out)
{
        struct reading reading = { .ahead = ahead, .stream = stream, .path = path, .tag = tag, .out = out };
        return read_all(&reading, file_size, first, size);
}

/* ---- views ---- */

ssize_t ahead_view(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, struct ahead_view *view)
{
        struct reading reading = { .ahead = ahead, .stream = stream, .path = path, .tag = tag, .view = view };
        view->count = view->piece_count = 0;
        view->memory = NULL;
        ssize_t result = read_all(&reading, file_size, first, size);
        if (view->memory)
                view->parts[view->count++] = (struct iovec){ view->memory, (size_t)(reading.out - view->memory) };
        return result;
}

char *ahead_view_alone(struct ahead_view *view, size_t size)
{
        view->piece_count = 0;
        view->parts[0] = (struct iovec){ view_memory(view, size), size };
        view->count = view->memory != NULL;
        return view->memory;
}

void ahead_release(struct ahead *ahead, struct ahead_view *view)
{
        block_free(view->memory, view->memory_bytes);
        view->memory = NULL;
        view->count = 0;
        if (view->piece_count == 0)
                return;
        pthread_mutex_lock(&ahead->lock);
        while (view->piece_count > 0)
                piece_leave(view->pieces[--view->piece_count]);
        pthread_mutex_unlock(&ahead->lock);
}
