/* Multistatus bodies. The first byte steers the pieces. However it is cut, a body that is read says the same, and one that is
 * not read is read in no other pieces. */
#include "fuzz.h"

#include "dav/dav.h"

#include <errno.h>

struct heard {
        uint64_t hash;
        unsigned members;
        int result;
};

static void mix(struct heard *told, struct span s)
{
        ensure(s.data);
        told->hash = told->hash * 31 + s.size;
        for (size_t i = 0; i < s.size; i++)
                told->hash = told->hash * 31 + (unsigned char)s.data[i];
}

static int take(void *context, const struct dav_member *member)
{
        struct heard *told = context;
        uint32_t count = 0;

        mix(told, member->href);
        told->hash = told->hash * 31 + (unsigned)member->status;
        for (const struct dav_found *found = member->found; found; found = found->next, count++) {
                ensure(found->name.local.size > 0 && found->text.size <= DAV_VALUE_BYTES);
                ensure(found->live == dav_live_of(&found->name));
                ensure(!found->collection || found->live == DAV_RESOURCETYPE);
                mix(told, found->name.space);
                mix(told, found->name.local);
                mix(told, found->text);
                told->hash = told->hash * 31 + (unsigned)found->status * 4 + found->collection * 2u + found->base64;
        }
        ensure(count <= DAV_BODY_PROPERTIES);
        told->members++;
        return 0;
}

static struct heard read_in(struct span input, size_t step)
{
        struct heard told = { 0 };
        struct dav_answer *answer;

        ensure(dav_answer_create(&answer, take, &told) == 0);
        while (input.size > 0) {
                size_t size = min_of(step, input.size);
                char *piece = exact_copy(input.data, size);

                told.result = dav_answer_feed(answer, piece, size);
                ensure(told.result == 0 || told.result == -EBADMSG || told.result == -E2BIG);
                free(piece);
                input.data += size;
                input.size -= size;
        }
        told.result = dav_answer_end(answer);
        ensure(told.result == 0 || told.result == -EBADMSG || told.result == -E2BIG);
        dav_answer_destroy(answer);
        return told;
}

/* Which of its faults is told may depend on the pieces. */
static void check_same(const struct heard *whole, struct heard pieces)
{
        ensure((whole->result == 0) == (pieces.result == 0));
        ensure(whole->result != 0 || (whole->hash == pieces.hash && whole->members == pieces.members));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t steer = take_byte(&data, &size);
        struct span input = { (const char *)data, size };
        struct heard whole = read_in(input, SIZE_MAX);

        check_same(&whole, read_in(input, 1));
        check_same(&whole, read_in(input, 2 + steer));
        return 0;
}
