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

/* Asking for each page of each window measured 5 percent of the whole cost of a fast download. So one window in sixteen
 * is asked for whole, and of the others only the last page: a cold stretch longer than a window is always found. */
static bool window_is_warm(const struct berth_send_file *file, uint64_t offset, uint64_t length)
{
        enum { THOROUGH = 16 };
        if (file->flags & BERTH_FILE_WARM)
                return true;
        if (file->file_sent / SEND_FILE_WINDOW_BYTES % THOROUGH == 0)
                return in_page_cache(file->file->descriptor, offset, length);
        return in_page_cache(file->file->descriptor, offset + length - 1, 1);
}

/* A turn is one window: while others have theirs, the client's acknowledgements are worked off on its own core, where
 * within a turn they would wait for us at the socket's lock. Longer turns and shorter ones measured worse. */
enum push sendfile_push(int socket, struct berth_send_file *file, bool read_in, int *error)
{
        enum push head = push_head(socket, file, error);
        if (head != PUSH_DONE || file->file_sent == file->length)
                return head;
        uint64_t offset, length;
        sendfile_window(file, &offset, &length);
        if (!read_in && !window_is_warm(file, offset, length))
                return PUSH_COLD;
        off_t at = (off_t)offset;
        ssize_t n = sendfile(socket, file->file->descriptor, &at, length);
        if (n < 0)
                return failed(error);
        if (n == 0) {
                *error = -EIO; /* the file is shorter than it was */
                return PUSH_FAILED;
        }
        file->file_sent += (uint64_t)n;
        return file->file_sent == file->length ? PUSH_DONE : PUSH_TURN;
}
