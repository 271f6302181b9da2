/* send_file on Linux: sendfile(2) from the loop for windows that are in the page cache, which beat io_uring's splice
 * at every size. A window that is not would block the whole loop on the disk, so cachestat(2) is asked first, and
 * the engine reads a cold window in before it goes on. One turn sends a bounded amount, then others have theirs.
 */
#include "port/port_priv.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* Linux 6.5 */
#endif

/* As linux/mman.h has them since 6.5. */
struct cache_range {
        uint64_t offset, length;
};
struct cache_state {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Before Linux 6.5: a read that must not wait, of the window's first and last byte. */
static bool probe_by_read(int file, uint64_t offset, uint64_t length)
{
        char byte;
        struct iovec vec = { &byte, 1 };
        return preadv2(file, &vec, 1, (off_t)offset, RWF_NOWAIT) >= 0 &&
               preadv2(file, &vec, 1, (off_t)(offset + length - 1), RWF_NOWAIT) >= 0;
}

static bool in_page_cache(int file, uint64_t offset, uint64_t length)
{
        enum { PAGE = 4096 };
        struct cache_range range = { offset, length };
        struct cache_state state;
        if (syscall(SYS_cachestat, file, &range, &state, 0) < 0)
                return probe_by_read(file, offset, length);
        uint64_t pages = (offset + length + PAGE - 1) / PAGE - offset / PAGE;
        return state.cached >= pages;
}

void sendfile_window(const struct berth_send_file *file, uint64_t *offset, uint64_t *length)
{
        *offset = file->offset + file->file_sent;
        *length = min_of(file->length - file->file_sent, (uint64_t)SEND_FILE_WINDOW_BYTES);
}

static enum push failed(int *error)
{
        *error = -errno;
        return errno == EAGAIN ? PUSH_FULL : errno == EINTR ? PUSH_TURN : PUSH_FAILED;
}

static enum push push_head(int socket, struct berth_send_file *file, int *error)
{
        while (file->head_sent < file->head_bytes) {
                int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (file->length ? MSG_MORE : 0);
                ssize_t n = send(socket, (const char *)file->head + file->head_sent, file->head_bytes - file->head_sent,
                                 flags);
                if (n < 0)
                        return failed(error);
                file->head_sent += (uint64_t)n;
        }
        return PUSH_DONE;
}

/* How far from the current position the file may be sent without waiting for the disk: the whole turn when it is in the
 * page cache, else its first window or nothing. One question for a turn keeps a hot file's price low. */
static uint64_t warm_length(const struct berth_send_file *file)
{
        uint64_t offset, length;
        uint64_t turn = min_of(file->length - file->file_sent, (uint64_t)SEND_FILE_TURN_BYTES);
        if (file->flags & BERTH_FILE_WARM ||
            in_page_cache(file->file->descriptor, file->offset + file->file_sent, turn))
                return turn;
        sendfile_window(file, &offset, &length);
        return in_page_cache(file->file->descriptor, offset, length) ? length : 0;
}

/* Sends up to `length` bytes, a chunk at a time. */
static enum push push_chunks(int socket, struct berth_send_file *file, uint64_t length, int *error)
{
        while (length > 0) {
                off_t at = (off_t)(file->offset + file->file_sent);
                ssize_t n = sendfile(socket, file->file->descriptor, &at,
                                     min_of(length, (uint64_t)SEND_FILE_CHUNK_BYTES));
                if (n < 0)
                        return failed(error);
                if (n == 0) {
                        *error = -EIO; /* the file is shorter than it was */
                        return PUSH_FAILED;
                }
                file->file_sent += (uint64_t)n;
                length -= (uint64_t)n;
        }
        return PUSH_DONE;
}

enum push sendfile_push(int socket, struct berth_send_file *file, bool read_in, int *error)
{
        enum push result = push_head(socket, file, error);
        if (result != PUSH_DONE || file->length == 0)
                return result;
        uint64_t offset, length;
        sendfile_window(file, &offset, &length);
        if (!read_in)
                length = warm_length(file);
        if (length == 0)
                return PUSH_COLD;
        result = push_chunks(socket, file, length, error);
        return result == PUSH_DONE && file->file_sent < file->length ? PUSH_TURN : result;
}
