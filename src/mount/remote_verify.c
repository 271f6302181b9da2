/* A write whose answer was lost, and whose repetition was refused because the file is not what it was: it may have been
 * changed by the write itself. So what was written is read back and compared. Mode and time are not: who asks sets them
 * once more (remote_write.c).
 *
 * A server that was killed while it wrote in place leaves a beginning of the bytes: the file ends there, or, where it
 * went on before, zeros or what stood there before follow. Who holds the file's lock takes also the latter for that. Bytes
 * that are not zero must have arrived: a file of which nothing is ours is somebody else's work. */
#include "mount/exchange.h"

#include <errno.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 }; /* of one request */

struct comparison {
        const struct iovec *body;
        unsigned parts;
        size_t begin, at;       /* in the body: of this piece, of the next byte */
        bool torn_before, torn; /* before this piece, by now: a beginning of the body ended, and zeros follow */
        bool begun;             /* bytes that are not zero stood there */
        bool locked;            /* anything may follow */
};

static size_t same_start(const char *a, const char *b, size_t size)
{
        size_t same = 0;

        if (memcmp(a, b, size) == 0)
                return size;
        while (a[same] == b[same])
                same++;
        return same;
}

/* How many of these are the bytes of the body at `at`. */
static size_t same_bytes(const struct comparison *comparison, size_t at, const char *data, size_t size)
{
        size_t same = 0;

        for (unsigned i = 0; i < comparison->parts && same < size; i++) {
                const struct iovec *part = &comparison->body[i];
                size_t piece;

                if (at >= part->iov_len) {
                        at -= part->iov_len;
                        continue;
                }
                piece = min_of(size - same, part->iov_len - at);
                piece = same_start(data + same, (const char *)part->iov_base + at, piece);
                same += piece;
                at += piece;
                if (at < part->iov_len)
                        break;
                at = 0;
        }
        return same;
}

static bool is_zero(const char *data, size_t size)
{
        return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static int compare(struct call *call, const char *data, size_t size)
{
        struct comparison *comparison = call->context;
        size_t same;

        if (call->answer.status != 206)
                return -ESTALE;
        same = comparison->torn ? 0 : same_bytes(comparison, comparison->at, data, size);
        comparison->begun = comparison->begun || !is_zero(data, same);
        if (same < size) {
                if (!comparison->begun || (!comparison->locked && !is_zero(data + same, size - same)))
                        return -ESTALE;
                comparison->torn = true;
        }
        comparison->at += size;
        return 0;
}

static void compare_again(struct call *call)
{
        struct comparison *comparison = call->context;

        comparison->at = comparison->begin;
        comparison->torn = comparison->torn_before;
}

/* The first piece tells the version that the others must be of. */
static int verify_piece(struct remote *remote, const char *path, uint64_t first, size_t size,
                        struct comparison *comparison, struct remote_result *now)
{
        struct call call;
        int result = remote_read_call(remote, &call, path, now->tag, first, size);

        if (result < 0)
                return result;
        comparison->begin = comparison->at;
        comparison->torn_before = comparison->torn;
        call.receive = compare;
        call.restart = compare_again;
        call.context = comparison;
        result = exchange_read(remote, &call);
        if (result == 0 && comparison->at != comparison->begin + size)
                result = -ESTALE;
        if (result == 0)
                exchange_result(&call, now);
        return result == -ENOENT ? -ESTALE : result;
}

/* What stands there, and how far: *end moves down where a part is shorter than what was to be written. */
static int verify_size(struct remote *remote, const char *path, uint64_t first, uint64_t *end, bool whole,
                       struct remote_result *now)
{
        struct remote_attributes attributes;
        int result = remote_stat(remote, path, &attributes);

        if (result < 0)
                return result == -ENOENT ? -ESTALE : result;
        if (attributes.kind != REMOTE_FILE || (whole ? attributes.size != *end : attributes.size < first))
                return -ESTALE;
        *end = min_of(*end, attributes.size);
        memcpy(now->tag, attributes.tag, sizeof(now->tag));
        now->inode = attributes.inode;
        return 0;
}

int exchange_verify(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                    bool whole, bool locked, struct remote_result *result)
{
        struct comparison comparison = { .body = body, .parts = parts, .locked = locked };
        struct remote_result now = { 0 };
        uint64_t size = 0, end, inode;
        int error;

        for (unsigned i = 0; i < parts; i++)
                size += body[i].iov_len;
        end = first + size;
        error = verify_size(remote, path, first, &end, whole, &now);
        inode = now.inode;
        while (error == 0 && first + comparison.at < end)
                error = verify_piece(remote, path, first + comparison.at,
                                     min_of(end - first - comparison.at, (size_t)PIECE_BYTES), &comparison, &now);
        now.inode = inode;
        if (error == 0 && (end < first + size || comparison.torn))
                error = whole ? -ESTALE : -EAGAIN;
        if ((error == 0 || error == -EAGAIN) && result)
                *result = now;
        return error;
}
