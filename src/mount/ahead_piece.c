/* Pieces and the requests that fill them (pieces.h). What fails is not tried again here (quick): whoever reads
 * will, and hears of it then. */
#include "mount/pieces.h"

#include <errno.h>

enum {
        LEAST_DEPTH = 2,        /* pieces of a stream under way, or as many as there are connections */
        LATENCY_STEP_US = 2000, /* one more for so much of latency */
};

/* ---- their life ---- */

static void free_if_done(struct piece *piece)
{
        if (piece->stream || piece->under_way || piece->users > 0)
                return;
        piece->ahead->counters.bytes_dropped += piece->arrived - min_of(piece->read, piece->arrived);
        room_give(piece->ahead, piece);
}

void piece_use(struct piece *piece)
{
        piece->users++;
}

void piece_leave(struct piece *piece)
{
        ensure(piece->users > 0);
        piece->users--;
        free_if_done(piece);
}

static void wake(struct piece *piece, bool all)
{
        for (struct list *node = piece->waiters.next; node != &piece->waiters; node = node->next) {
                struct waiter *waiter = container_of(node, struct waiter, node);
                if (all || waiter->need <= piece->arrived)
                        pthread_cond_signal(&waiter->arrived);
        }
}

/* The client looks at `unwanted` ten times a second: a request that takes longer is ended, though its connection goes
 * with it; the others come to their end soon enough. */
void piece_detach(struct piece *piece)
{
        struct stream *stream = piece->stream;
        list_remove(&piece->node);
        piece->stream = NULL;
        piece->reader->bytes -= piece->size;
        if (piece->under_way)
                stream->under_way--;
        if (list_empty(&stream->pieces))
                list_remove(&stream->node);
        atomic_store(&piece->unwanted, true);
        wake(piece, true);
        free_if_done(piece);
}

void pieces_detach_all(struct stream *stream, const struct reader *reader)
{
        for (struct list *node = stream->pieces.next, *next; node != &stream->pieces; node = next) {
                next = node->next;
                if (!reader || piece_at(node)->reader == reader)
                        piece_detach(piece_at(node));
        }
}

/* ---- answers ---- */

int answer_check(const struct call *call, uint64_t first)
{
        const struct client_answer *answer = &call->answer;
        if (remote_read_is_stale(call))
                return -ESTALE;
        if (answer->status == 206)
                return answer->first == first || answer->first == UINT64_MAX ? 0 : -EIO;
        return first == 0 ? 0 : -EOPNOTSUPP;
}

static void copy_in(struct piece *piece, size_t at, const char *data, size_t size)
{
        while (size > 0) {
                size_t within = at % CHUNK_BYTES, part = min_of(size, CHUNK_BYTES - within);
                memcpy(piece->chunks[at / CHUNK_BYTES] + within, data, part);
                at += part, data += part, size -= part;
        }
}

/* The least counts at once, more only when it lasts: it may be that of a queue. */
static void note_latency(struct ahead *ahead, uint64_t latency_us)
{
        if (ahead->latency_us == 0 || latency_us < ahead->latency_us)
                ahead->latency_us = latency_us;
        else
                ahead->latency_us += (latency_us - ahead->latency_us) / 16;
}

/* Only this thread changes `arrived`, so it may look at it without the lock. */
static int on_bytes(struct call *call, const char *data, size_t size)
{
        struct piece *piece = call->context;
        int error = piece->arrived == 0 ? answer_check(call, piece->first) : 0;
        if (error < 0)
                return error;
        size_t part = min_of(size, piece->size - piece->arrived);
        copy_in(piece, piece->arrived, data, part);
        pthread_mutex_lock(&piece->ahead->lock);
        if (piece->arrived == 0)
                note_latency(piece->ahead, clock_us() - piece->started_us);
        piece->arrived += part;
        wake(piece, false);
        pthread_mutex_unlock(&piece->ahead->lock);
        return part < size ? -EFBIG : 0; /* a whole file, where a part was asked for: enough of it has come */
}

/* Fewer bytes than were asked for and no error: the file ends there. */
static void cut_short(struct piece *piece)
{
        piece->reader->bytes -= piece->size - piece->arrived;
        piece->size = piece->arrived;
        if (piece->size == 0)
                piece_detach(piece);
}

static void leave_flight(struct piece *piece, int error)
{
        piece->under_way = false;
        piece->error = error;
        if (!piece->stream)
                return;
        piece->stream->under_way--;
        piece->stream->no_ranges |= error == -EOPNOTSUPP;
        if (error == 0)
                cut_short(piece);
}

static void end(struct piece *piece, int error)
{
        struct ahead *ahead = piece->ahead;
        pthread_mutex_lock(&ahead->lock);
        piece_use(piece);
        leave_flight(piece, error);
        room_give_call(ahead, piece);
        wake(piece, true);
        piece_leave(piece);
        if (--ahead->under_way == 0)
                pthread_cond_broadcast(&ahead->idle);
        pthread_mutex_unlock(&ahead->lock);
}

static void on_done(struct call *call)
{
        struct piece *piece = call->context;
        end(piece, piece->arrived == piece->size ? 0 : remote_read_result(call));
}

/* ---- asking ---- */

struct piece *piece_find(const struct stream *stream, uint64_t at, uint64_t *gap_end)
{
        for (struct list *node = stream->pieces.next; node != &stream->pieces; node = node->next) {
                struct piece *piece = piece_at(node);
                if (at < piece->first) {
                        *gap_end = min_of(*gap_end, piece->first);
                        return NULL;
                }
                if (at < piece_end(piece))
                        return piece;
        }
        return NULL;
}

static void enter(struct stream *stream, struct piece *piece)
{
        struct list *node = stream->pieces.next;
        while (node != &stream->pieces && piece_at(node)->first < piece->first)
                node = node->next;
        if (list_empty(&stream->pieces))
                list_append(&stream->ahead->streams, &stream->node);
        list_append(node, &piece->node); /* before it */
        piece->stream = stream;
        piece->reader->bytes += piece->size;
        stream->under_way++;
        stream->ahead->under_way++;
}

static struct piece *ask(struct reader *reader, uint64_t first, size_t size)
{
        struct piece *piece = room_take(reader, size);
        if (!piece)
                return NULL;
        piece->ahead = reader->stream->ahead;
        piece->reader = reader;
        piece->first = first;
        piece->size = size;
        piece->under_way = true;
        list_init(&piece->waiters);
        enter(reader->stream, piece);
        return piece;
}

/* Requests that are under way together share what the line gives, and what the reader wants next comes the later. So
 * there are only as many as it takes to keep the line busy while others wait for their answer to begin. */
static unsigned depth_of(const struct ahead *ahead)
{
        return (unsigned)min_of(LEAST_DEPTH + ahead->latency_us / LATENCY_STEP_US, ahead->options.connections);
}

uint64_t pieces_ask(struct reader *reader, struct window_ask range, struct list *starting)
{
        struct stream *stream = reader->stream;
        unsigned depth = depth_of(stream->ahead);
        uint64_t at = range.first;
        while (at < range.end && stream->under_way < depth) {
                uint64_t gap_end = min_of(range.end, at + stream->ahead->options.piece_bytes);
                struct piece *piece = piece_find(stream, at, &gap_end);
                if (!piece) {
                        piece = ask(reader, at, (size_t)(gap_end - at));
                        if (!piece)
                                break;
                        list_append(starting, &piece->starting);
                }
                at = piece_end(piece);
        }
        return min_of(at, range.end);
}

static void start(struct ahead *ahead, struct piece *piece, const char *path, const char *tag)
{
        struct call *call = piece->call;
        int error = remote_read_call(ahead->options.remote, call, path, tag, piece->first, piece->size);
        if (error == 0 && atomic_load(&piece->unwanted))
                error = -EINTR;
        if (error < 0) {
                end(piece, error);
                return;
        }
        call->receive = on_bytes;
        call->done = on_done;
        call->context = piece;
        call->quick = true;
        call->given_up = &piece->unwanted;
        piece->started_us = clock_us();
        ahead->counters.requests++;
        ahead->counters.bytes_asked += piece->size;
        ahead->options.start(ahead->options.remote->client, call);
}

void pieces_start(struct ahead *ahead, struct list *starting, const char *path, const char *tag)
{
        while (!list_empty(starting)) {
                struct piece *piece = container_of(starting->next, struct piece, starting);
                list_remove(&piece->starting);
                start(ahead, piece, path, tag);
        }
}
