/* A write whose answer was lost, and whose repetition was refused because the file is not what it was: it may have been
 * changed by the write itself. So what was written is read back and compared. Mode and time are not: who asks sets them
 * once more (remote_write.c). */
#include "mount/exchange.h"

#include <errno.h>
#include <string.h>

enum { PIECE_BYTES = 1 << 20 }; /* of one request */

struct comparison {
        const struct iovec *body;
        unsigned parts;
        size_t begin, at; /* in the body: of this piece, of the next byte */
};

/* The bytes of the body at `at` are these. */
static bool is_same(const struct comparison *comparison, size_t at, const char *data, size_t size)
{
        for (unsigned i = 0; i < comparison->parts && size > 0; i++) {
                size_t length = comparison->body[i].iov_len, piece;

                if (at >= length) {
                        at -= length;
                        continue;
                }
                piece = min_of(size, length - at);
                if (memcmp(data, (const char *)comparison->body[i].iov_base + at, piece) != 0)
                        return false;
                data += piece;
                size -= piece;
                at = 0;
        }
        return size == 0;
}

static int compare(struct call *call, const char *data, size_t size)
{
        struct comparison *comparison = call->context;

        if (call->answer.status != 206 || !is_same(comparison, comparison->at, data, size))
                return -ESTALE;
        comparison->at += size;
        return 0;
}

static void compare_again(struct call *call)
{
        struct comparison *comparison = call->context;

        comparison->at = comparison->begin;
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
                    bool whole, struct remote_result *result)
{
        struct comparison comparison = { .body = body, .parts = parts };
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
        if (error == 0 && result)
                *result = now;
        return error == 0 && end < first + size ? -EAGAIN : error;
}
