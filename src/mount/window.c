/* How far ahead of a reader a file is asked for (window.h). */
#include "mount/window.h"

/* Reads that continue each other may overtake each other on their way through the kernel and the threads. */
static uint64_t reach_of(const struct window *window, size_t size)
{
        return max_of(window->next + 2 * (uint64_t)size, window->asked);
}

enum window_place window_place(const struct window *window, uint64_t first, size_t size)
{
        if (!window->begun || first > reach_of(window, size) || first + WINDOW_BACK_BYTES < window->next)
                return WINDOW_ELSEWHERE;
        return first + size <= window->next ? WINDOW_BEHIND : WINDOW_FOLLOWS;
}

static void begin_anew(struct window *window, uint64_t first, size_t size)
{
        window->begun = true;
        window->from_start = first == 0;
        window->run = 0;
        window->next = window->asked = first + size;
        window->size = 0;
}

static void go_on(struct window *window, uint64_t first, size_t size)
{
        window->run++;
        window->next = max_of(window->next, first + size);
}

/* Small reads that stand beside each other may do so by chance. */
static bool is_certain(const struct window *window, size_t size)
{
        unsigned reads = window->run + window->from_start;
        return size >= WINDOW_CERTAIN_BYTES ? reads >= 1 : reads >= 2;
}

/* The reader's own bytes go with the same request. */
static struct window_ask open_at(struct window *window, uint64_t first, uint64_t file_size,
                                 const struct window_limits *limits)
{
        window->size = min_of(WINDOW_FIRST_BYTES, limits->size);
        window->grows = window->next + window->size / 2;
        window->asked = first;
        uint64_t end = first == 0 && file_size <= WINDOW_SMALL_FILE ? file_size : window->next + window->size;
        return (struct window_ask){ first, min_of(end, file_size) };
}

static bool opens(const struct window *window, uint64_t first, size_t size, uint64_t file_size)
{
        if (first + size >= file_size)
                return false;
        return is_certain(window, size) || (first == 0 && file_size <= WINDOW_SMALL_FILE);
}

static void grow(struct window *window, const struct window_limits *limits)
{
        if (window->next < window->grows)
                return;
        if (window->late)
                window->size = min_of(2 * window->size, limits->size);
        window->late = false;
        window->grows = window->next + window->size / 2;
}

/* As soon as it is worth a request: half of it is missing, or a piece, or the file's end. What the reader itself wants
 * always is. */
static struct window_ask ask_further(struct window *window, uint64_t first, uint64_t file_size,
                                     const struct window_limits *limits)
{
        grow(window, limits);
        bool missing = window->asked < window->next;
        uint64_t from = missing ? first : window->asked;
        uint64_t end = min_of(window->next + window->size, file_size);
        uint64_t least = missing ? 1 : min_of(window->size / 2, limits->piece);
        if (end < from || (end < file_size && end < from + least))
                end = from;
        return (struct window_ask){ from, end };
}

struct window_ask window_read(struct window *window, uint64_t first, size_t size, uint64_t file_size,
                              const struct window_limits *limits)
{
        enum window_place place = window_place(window, first, size);
        if (place == WINDOW_BEHIND)
                return (struct window_ask){ first, first };
        if (place == WINDOW_ELSEWHERE)
                begin_anew(window, first, size);
        else
                go_on(window, first, size);
        if (window->size > 0)
                return ask_further(window, first, file_size, limits);
        if (opens(window, first, size, file_size))
                return open_at(window, first, file_size, limits);
        return (struct window_ask){ first, first };
}

void window_asked(struct window *window, uint64_t end)
{
        if (window->size > 0)
                window->asked = max_of(window->asked, end);
}

void window_late(struct window *window)
{
        window->late = true;
}

void window_shrink(struct window *window, uint64_t end)
{
        window->asked = min_of(window->asked, end);
        window->size = min_of(window->size, max_of(window->size / 2, WINDOW_FIRST_BYTES));
}
