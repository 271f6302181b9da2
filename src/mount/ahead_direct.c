/* A request of a reader himself, right into his memory (pieces.h): tried again as long as the client does. */
#include "mount/pieces.h"

#include <errno.h>
#include <stdlib.h>

struct direct {
        struct call call;
        uint64_t first;
        size_t size, arrived;
        char *out;
};

static int direct_bytes(struct call *call, const char *data, size_t size)
{
        struct direct *direct = call->context;
        int error = direct->arrived == 0 ? answer_check(call, direct->first) : 0;
        if (error < 0)
                return error;
        size_t part = min_of(size, direct->size - direct->arrived);
        memcpy(direct->out + direct->arrived, data, part);
        direct->arrived += part;
        return part < size ? -EFBIG : 0; /* a whole file, where a part was asked for */
}

static void direct_restart(struct call *call)
{
        struct direct *direct = call->context;
        direct->arrived = 0;
}

static int direct_perform(struct reading *reading, struct direct *direct)
{
        struct ahead *ahead = reading->ahead;
        struct call *call = &direct->call;
        int error = remote_read_call(ahead->options.remote, call, reading->path, reading->tag, direct->first,
                                     direct->size);
        if (error < 0)
                return error;
        call->receive = direct_bytes;
        call->restart = direct_restart;
        call->context = direct;
        call->given_up = remote_given_up();
        ahead->counters.requests++;
        ahead->counters.bytes_asked += direct->size;
        ahead->options.perform(ahead->options.remote->client, call);
        return direct->arrived == direct->size ? 0 : remote_read_result(call);
}

ssize_t direct_read(struct reading *reading, uint64_t end)
{
        struct direct *direct = malloc(sizeof *direct);
        if (!direct)
                return -ENOMEM;
        direct->first = reading->at;
        direct->size = (size_t)(end - reading->at);
        direct->arrived = 0;
        direct->out = reading->out;
        ssize_t result = direct_perform(reading, direct);
        if (result == 0)
                result = (ssize_t)direct->arrived;
        free(direct);
        return result;
}
