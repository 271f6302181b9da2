/* http_parse_head. The first byte steers the limits and the pieces; the rest is the head. Whole, in
 * two pieces and in many, each at another address, the answer is the same, and what it says lies
 * within the bytes. */
#include "fuzz.h"

static struct http_limits limits_of(uint8_t steer)
{
        static const struct http_limits choices[] = {
                { .line_bytes = 8192, .head_bytes = 65535 },
                { .line_bytes = 64, .head_bytes = 65535 },
                { .line_bytes = 8192, .head_bytes = 128 },
                { .line_bytes = 300, .head_bytes = 700 },
        };

        return choices[steer & 3];
}

static void check_answer(int result, size_t size)
{
        static const int answers[] = { 0, -400, -414, -417, -431, -501, -505 };

        ensure(result <= 0 || (size_t)result <= size);
        for (size_t i = 0; result <= 0 && i < array_count(answers); i++) {
                if (result == answers[i])
                        return;
        }
        ensure(result > 0);
}

static void check_fields(const struct http_head *head)
{
        unsigned walked = 0;

        ensure(head->field_count <= HTTP_MAX_FIELDS);
        for (unsigned name = 0; name < HTTP_FIELD_NAMES; name++) {
                struct span value;
                unsigned index = 0;

                while (http_field_each(head, name, &index, &value)) {
                        ensure(is_within(value, head->data, head->size));
                        ensure(span_trim(value).size == value.size);
                        ensure(value.size == 0 || !memchr(value.data, '\n', value.size));
                        walked++;
                }
        }
        ensure(walked == head->field_count);
}

static void check_head(const struct http_head *head, int result, const struct http_limits *limits)
{
        ensure(head->size == (uint32_t)result && head->size <= limits->head_bytes);
        ensure(memcmp(head->data + head->size - 4, "\r\n\r\n", 4) == 0);
        ensure(is_within(head->method_name, head->data, head->size) && head->method_name.size > 0);
        ensure(is_within(head->target, head->data, head->size) && head->target.size > 0);
        ensure(head->path.size > 0 && (head->path.data[0] == '/' || span_equal(head->path, SPAN("*"))));
        ensure(!memchr(head->path.data, '?', head->path.size));
        ensure(is_within(head->query, head->data, head->size));
        ensure(!(head->chunked && head->has_length) && head->content_length <= INT64_MAX);
        ensure(head->minor == 1 || (!head->chunked && !head->expect_continue));
        ensure(head->minor == 0 || head->first[HTTP_HOST] != 0);
        check_fields(head);
}

/* What reads the fields of a head takes whatever they hold. */
static void use_head(const struct http_head *head)
{
        const struct http_validator file = { .etag = SPAN("\"a\""), .modified = 784111777, .now = 1700000000 };
        unsigned order[3], count = http_accept_encodings(head, HTTP_BR | HTTP_ZSTD | HTTP_GZIP, order);

        ensure(count <= 3);
        ensure(count < 2 || order[0] != order[1]);
        http_accepts_json(head);
        http_check_if_range(head, &file);
        enum http_verdict verdict = http_check_conditions(head, &file);
        ensure(verdict != HTTP_NOT_MODIFIED || head->method == HTTP_GET || head->method == HTTP_HEAD);
}

static void check_same(const struct http_head *a, const struct http_head *b)
{
        ensure(a->method == b->method && a->minor == b->minor && a->keep_alive == b->keep_alive);
        ensure(a->chunked == b->chunked && a->has_length == b->has_length && a->content_length == b->content_length);
        ensure(a->expect_continue == b->expect_continue && a->field_count == b->field_count);
        ensure(span_equal(a->target, b->target) && span_equal(a->path, b->path) && span_equal(a->query, b->query));
        ensure(memcmp(a->first, b->first, sizeof(a->first)) == 0);
        ensure(memcmp(a->fields, b->fields, a->field_count * sizeof(a->fields[0])) == 0);
}

/* Feeds the bytes `step` at a time; the first piece has `first` bytes. Once there is an answer, more bytes must
 * not change it. */
static void check_pieces(const struct http_head *whole, int wanted, const uint8_t *data, size_t size, size_t first,
                         size_t step, const struct http_limits *limits)
{
        uint32_t scanned = 0;
        int result = 0;

        for (size_t have = min_of(first, size);; have = min_of(have + step, size)) {
                char *bytes = exact_copy(data, have);
                struct http_head head;

                memset(&head, 0xa5, sizeof(head));
                result = http_parse_head(&head, bytes, have, limits, &scanned);
                if (result > 0)
                        check_same(&head, whole);
                free(bytes);
                if (result != 0 || have == size)
                        break;
        }
        ensure(result == wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t steer = take_byte(&data, &size);
        const struct http_limits limits = limits_of(steer);
        char *bytes = exact_copy(data, size);
        struct http_head head;
        uint32_t scanned = 0;

        int result = http_parse_head(&head, bytes, size, &limits, &scanned);
        check_answer(result, size);
        if (result > 0) {
                check_head(&head, result, &limits);
                use_head(&head);
        }
        check_pieces(&head, result, data, size, size * (steer >> 2) / 64, size, &limits);
        check_pieces(&head, result, data, size, 1, 1 + (size >> 8) + (steer >> 4), &limits);
        free(bytes);
        return 0;
}
