/* Whole files between the server and a descriptor. */
#include "mount/exchange.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_BYTES = 16 << 20 }; /* of a download: what a lost connection costs at most */

/* What is about to be replaced is what it should be; a moment later it may not be, which a condition would tell. */
static int may_upload(struct remote *remote, const char *path, const struct remote_condition *condition)
{
        struct remote_attributes attributes;
        int error;

        if (!condition->absent && !(condition->tag && *condition->tag))
                return 0;
        error = remote_stat(remote, path, &attributes);
        if (condition->absent)
                return error == -ENOENT ? 0 : error < 0 ? error : -EEXIST;
        if (error < 0)
                return error == -ENOENT ? -ESTALE : error;
        return remote_same_tag(attributes.tag, condition->tag) ? 0 : -ESTALE;
}

int remote_upload(struct remote *remote, const char *path, int descriptor, uint64_t size,
                  const struct remote_condition *condition, const struct remote_times_and_mode *with,
                  struct remote_result *result)
{
        struct iovec body = { .iov_len = size };
        int error = may_upload(remote, path, condition);

        if (error < 0)
                return error;
        if (size == 0)
                return remote_put(remote, path, NULL, 0, condition, with, false, result);
        body.iov_base = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
        if (body.iov_base == MAP_FAILED)
                return -errno;
        madvise(body.iov_base, size, MADV_SEQUENTIAL);
        error = remote_put(remote, path, &body, 1, condition, with, false, result);
        munmap(body.iov_base, size);
        return error;
}

struct download {
        int descriptor;
        off_t begin, at;
};

static int write_all(int descriptor, const char *data, size_t size, off_t at)
{
        while (size > 0) {
                ssize_t written = pwrite(descriptor, data, size, at);

                if (written < 0 && errno != EINTR)
                        return -errno;
                if (written > 0) {
                        data += written;
                        size -= (size_t)written;
                        at += written;
                }
        }
        return 0;
}

static int receive(struct call *call, const char *data, size_t size)
{
        struct download *download = call->context;
        int error = 0;

        if (remote_read_is_stale(call))
                return -ESTALE;
        if (call->answer.status != 206 && download->begin > 0)
                return -EOPNOTSUPP;
        error = write_all(download->descriptor, data, size, download->at);
        download->at += (off_t)size;
        return error;
}

static void restart(struct call *call)
{
        struct download *download = call->context;

        download->at = download->begin;
}

/* One piece, or all of it where the server knows no ranges. 1: there is more. */
static int take_piece(struct remote *remote, const char *path, const char *tag, struct download *download)
{
        struct call call;
        int result = remote_read_call(remote, &call, path, tag, (uint64_t)download->at, PIECE_BYTES);

        if (result < 0)
                return result;
        download->begin = download->at;
        call.receive = receive;
        call.restart = restart;
        call.context = download;
        result = exchange_read(remote, &call);
        if (result < 0)
                return result;
        return call.answer.status == 206 && call.answer.total != UINT64_MAX &&
               (uint64_t)download->at < call.answer.total;
}

/* Without a tag the pieces might be of different versions. */
static int take_whole(struct remote *remote, const char *path, struct download *download)
{
        struct call call;
        int result = exchange_init(&call, "GET", path, false);

        if (result < 0)
                return result;
        call.receive = receive;
        call.restart = restart;
        call.context = download;
        return exchange_perform(remote, &call);
}

int remote_download(struct remote *remote, const char *path, const char *tag, int descriptor)
{
        struct download download = { .descriptor = descriptor };
        int result;

        if (!remote_tag_is_strong(tag)) {
                result = take_whole(remote, path, &download);
        } else {
                do
                        result = take_piece(remote, path, tag, &download);
                while (result == 1);
        }
        if (result == 0 && ftruncate(descriptor, download.at) < 0)
                result = -errno;
        return result;
}
