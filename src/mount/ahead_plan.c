/* Who reads, of those who read the same file, and what is to be asked for on his behalf (pieces.h). */
#include "mount/pieces.h"

#include <stdio.h>

void stream_forget(struct stream *stream)
{
        pieces_detach_all(stream, NULL);
        for (unsigned i = 0; i < STREAM_READERS; i++)
                window_shrink(&stream->readers[i].window, stream->readers[i].window.next);
}

/* ---- who reads ---- */

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

/* ---- what is asked for ---- */

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

void reading_plan(struct reading *reading, uint64_t file_size, struct list *starting)
{
        struct stream *stream = reading->stream;
        const struct ahead_options *options = &reading->ahead->options;
        const struct window_limits limits = { .size = options->limit_bytes, .piece = options->piece_bytes };
        size_t size = (size_t)(reading->end - reading->at);
        if (!remote_same_tag(stream->tag, reading->tag)) {
                stream_forget(stream);
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
