/* http_chunked_take. The first byte steers the pieces; the rest is the body as sent. However it is cut, the
 * same bytes are taken, the same data comes out and the answer is the same. */
#include "fuzz.h"

struct outcome {
        int result;
        size_t used;
        size_t body_size;
        char *body;
};

static void take_piece(struct http_chunked *chunked, struct outcome *outcome, const uint8_t *data, size_t size)
{
        char *bytes = exact_copy(data, size);
        size_t at = 0;

        while (outcome->result == 0 && at < size) {
                struct span body;
                size_t used;

                outcome->result = http_chunked_take(chunked, bytes + at, size - at, &used, &body);
                ensure(used <= size - at && is_within(body, bytes + at, used));
                ensure(used > 0 || outcome->result < 0);
                ensure(outcome->result == 1 || outcome->result == 0 || outcome->result == -400);
                if (body.size > 0)
                        memcpy(outcome->body + outcome->body_size, body.data, body.size);
                outcome->body_size += body.size;
                at += used;
        }
        outcome->used += at;
        free(bytes);
}

static struct outcome take(const uint8_t *data, size_t size, size_t first, size_t step)
{
        struct outcome outcome = { .body = malloc(size + 1) };
        struct http_chunked chunked;
        size_t piece = min_of(first, size);

        http_chunked_init(&chunked);
        while (outcome.result == 0 && outcome.used < size) {
                take_piece(&chunked, &outcome, data + outcome.used, piece);
                piece = min_of(step, size - outcome.used);
        }
        return outcome;
}

static void check_same(const struct outcome *whole, struct outcome pieces)
{
        ensure(whole->result == pieces.result && whole->used == pieces.used && whole->body_size == pieces.body_size);
        ensure(memcmp(whole->body, pieces.body, whole->body_size) == 0);
        free(pieces.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t steer = take_byte(&data, &size);
        struct outcome whole = take(data, size, size, size);

        ensure(whole.body_size <= whole.used);
        ensure(whole.result != 0 || whole.used == size);
        check_same(&whole, take(data, size, size * steer / 256, size));
        check_same(&whole, take(data, size, 1, 1 + (steer & 15)));
        free(whole.body);
        return 0;
}
