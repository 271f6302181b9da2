/* Changing a file's content, its time and its mode. */
#include "mount/exchange.h"

#include <errno.h>
#include <stdio.h>

enum { MAX_BEGINNINGS = 16 }; /* of one write, of which the server did a part and was killed */

/* A repetition was refused since the file is another one by now; perhaps by what was carried out before. */
static bool is_doubtful(const struct call *call, const struct remote_condition *condition)
{
        bool uncertain = call->uncertain || (condition && condition->doubtful);

        return call->error == 0 && uncertain && call->answer.status == 412;
}

static void put_durable(const struct remote *remote, struct call *call, bool durable)
{
        if (durable && remote->can.berth)
                exchange_field(call, "Sync: data");
}

/* The content was found to stand there. What was to come along with it may not: a server that is killed may have written
 * bytes whose time it had not set yet, nor made them durable. */
static int catch_up(struct remote *remote, const char *path, const struct remote_condition *condition,
                    const struct remote_times_and_mode *with, bool durable, struct remote_result *result)
{
        char tag[CLIENT_TAG_BYTES];
        struct remote_condition now = { .tag = tag, .token = condition ? condition->token : NULL };
        bool sets = with && (with->has_mode || with->has_mtime);
        int error = 0;

        if (!remote->can.berth)
                return 0;
        memcpy(tag, result->tag, sizeof(tag));
        if (sets)
                error = remote_set(remote, path, false, &now, with, result);
        memcpy(tag, result->tag, sizeof(tag));
        return error == 0 && durable ? remote_sync(remote, path, &now) : error;
}

/* ---- whole files ---- */

int remote_put(struct remote *remote, const char *path, const struct iovec *body, unsigned parts,
               const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
               struct remote_result *result)
{
        struct call call;
        int error = exchange_init(&call, "PUT", path, false);

        if (error < 0)
                return error;
        exchange_condition(&call, condition);
        exchange_times_and_mode(remote, &call, with);
        put_durable(remote, &call, durable);
        exchange_body(&call, body, parts);
        error = exchange_perform(remote, &call);
        if (is_doubtful(&call, condition)) {
                int verified = exchange_verify(remote, path, 0, body, parts, true, false, result);

                if (verified == 0)
                        return catch_up(remote, path, condition, with, durable, result);
                return verified == -ESTALE ? error : verified;
        }
        exchange_result(&call, result);
        return error;
}

/* ---- parts of files ---- */

static size_t size_of(const struct iovec *body, unsigned parts)
{
        size_t size = 0;

        for (unsigned i = 0; i < parts; i++)
                size += body[i].iov_len;
        return size;
}

static int begin_write(struct remote *remote, struct call *call, const char *path, uint64_t first, uint64_t last)
{
        bool own = remote->can.ranges == REMOTE_BERTH;
        int error = remote->can.ranges == REMOTE_WHOLE ? -EOPNOTSUPP : 0;

        if (error == 0)
                error = exchange_init(call, own ? "PUT" : "PATCH", path, false);
        if (error < 0)
                return error;
        if (own) {
                exchange_field(call, "Content-Range: bytes %llu-%llu/*", (unsigned long long)first,
                               (unsigned long long)last);
        } else {
                exchange_field(call, "Content-Type: application/x-sabredav-partialupdate");
                exchange_field(call, "X-Update-Range: bytes=%llu-%llu", (unsigned long long)first,
                               (unsigned long long)last);
        }
        return 0;
}

static int write_once(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                      const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
                      struct remote_result *result)
{
        size_t size = size_of(body, parts);
        struct call call;
        int error = begin_write(remote, &call, path, first, first + size - 1);

        ensure(size > 0);
        if (error < 0)
                return error;
        exchange_condition(&call, condition);
        exchange_times_and_mode(remote, &call, with);
        put_durable(remote, &call, durable);
        exchange_body(&call, body, parts);
        error = exchange_perform(remote, &call);
        if (is_doubtful(&call, condition)) {
                error = exchange_verify(remote, path, first, body, parts, false, condition->token != NULL, result);
                return error == 0 ? catch_up(remote, path, condition, with, durable, result) : error;
        }
        exchange_result(&call, result);
        return error;
}

int remote_write(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                 const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
                 struct remote_result *result)
{
        struct remote_condition now = *condition;
        char tag[CLIENT_TAG_BYTES];
        int error = write_once(remote, path, first, body, parts, &now, with, durable, result);

        for (unsigned i = 1; error == -EAGAIN && i < MAX_BEGINNINGS; i++) {
                memcpy(tag, result->tag, sizeof(tag));
                now.tag = tag;
                error = write_once(remote, path, first, body, parts, &now, with, durable, result);
        }
        return error == -EAGAIN ? -ESTALE : error;
}

/* ---- size, time and mode ---- */

static bool has_these(const struct remote_attributes *attributes, const struct remote_times_and_mode *with)
{
        if (with->has_mode && attributes->mode != (with->mode & 07777))
                return false;
        return !with->has_mtime || (attributes->mtime_s == with->mtime_s && attributes->mtime_ns == with->mtime_ns);
}

/* What was to be made of it is so: 0 and the tag of now, else -ESTALE. */
static int verify_attributes(struct remote *remote, const char *path, const uint64_t *size,
                             const struct remote_times_and_mode *with, struct remote_result *result)
{
        struct remote_attributes attributes;
        int error = remote_stat(remote, path, &attributes);

        if (error < 0)
                return error;
        if ((size && attributes.size != *size) || (with && has_these(&attributes, with) == false))
                return -ESTALE;
        if (result) {
                memcpy(result->tag, attributes.tag, sizeof(result->tag));
                result->inode = attributes.inode;
        }
        return 0;
}

int remote_truncate(struct remote *remote, const char *path, uint64_t size, const struct remote_condition *condition,
                    const struct remote_times_and_mode *with, struct remote_result *result)
{
        char part[64];
        struct iovec body = { .iov_base = part };
        struct call call;
        int error = exchange_init(&call, "PATCH", path, false);

        if (error < 0 || remote->can.ranges != REMOTE_BERTH)
                return error < 0 ? error : -EOPNOTSUPP;
        body.iov_len = (size_t)snprintf(part, sizeof(part), "Content-Range: bytes */%llu\r\n\r\n",
                                        (unsigned long long)size);
        exchange_field(&call, "Content-Type: message/byterange");
        exchange_condition(&call, condition);
        exchange_times_and_mode(remote, &call, with);
        exchange_body(&call, &body, 1);
        error = exchange_perform(remote, &call);
        if (is_doubtful(&call, NULL)) { /* bytes tell more than a size does */
                error = verify_attributes(remote, path, &size, NULL, result);
                return error == 0 ? catch_up(remote, path, condition, with, false, result) : error;
        }
        exchange_result(&call, result);
        return error;
}

/* A PATCH without a body. */
static int patch_nothing(struct remote *remote, struct call *call, const char *path,
                         const struct remote_condition *condition)
{
        int error = exchange_init(call, "PATCH", path, false);

        (void)remote;
        if (error == 0)
                exchange_condition(call, condition);
        return error;
}

int remote_sync(struct remote *remote, const char *path, const struct remote_condition *condition)
{
        struct call call;
        int error = patch_nothing(remote, &call, path, condition);

        if (error < 0 || !remote->can.berth)
                return error;
        exchange_field(&call, "Sync: data");
        return exchange_perform(remote, &call);
}

int remote_set(struct remote *remote, const char *path, bool link, const struct remote_condition *condition,
               const struct remote_times_and_mode *with, struct remote_result *result)
{
        struct call call;
        int error = patch_nothing(remote, &call, path, condition);

        if (error < 0)
                return error;
        ensure(with->has_mode || with->has_mtime);
        if (with->has_mode && (link || !remote->can.berth))
                return -EOPNOTSUPP;
        if (!remote->can.berth) {
                *result = (struct remote_result){ 0 };
                return 0;
        }
        if (link)
                exchange_field(&call, "Berth-Links: own");
        exchange_times_and_mode(remote, &call, with);
        error = exchange_perform(remote, &call);
        if (is_doubtful(&call, NULL))
                return verify_attributes(remote, path, NULL, with, result);
        exchange_result(&call, result);
        return error;
}
