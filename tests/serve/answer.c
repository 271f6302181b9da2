/* Answers as they come in. The head is collected, then the body is compared with what it must be, as it comes. */
#include "crowd.h"

#include "serve/pages.h"

#include <stdio.h>
#include <stdlib.h>

/* What linger.c answers without a request. */
#define REFUSAL_TEXT "There is no room right now. Try later.\n"

bool answer_untouched(const struct answer *answer)
{
        return answer->head_bytes == 0 && answer->status == 0;
}

void answer_reset(struct answer *answer)
{
        free(answer->own);
        answer->own = NULL;
        answer->head_bytes = 0;
        answer->hundreds = 0;
        answer->status = 0;
        answer->closes = answer->chunked = answer->has_length = answer->encoded = false;
        answer->refusal = answer->complete = false;
        answer->length = answer->got = 0;
        answer->expected = (struct span){ NULL, 0 };
        http_chunked_init(&answer->chunks);
}

/* ---- the head ---- */

static bool has_line(const struct answer *answer, const char *line)
{
        char wanted[256];
        int size = snprintf(wanted, sizeof(wanted), "\r\n%s\r\n", line);
        return memmem(answer->head, answer->head_bytes, wanted, (size_t)size) != NULL;
}

/* The value of a field, up to the line's end; data NULL: none. */
static struct span field(const struct answer *answer, const char *name)
{
        char wanted[64];
        int size = snprintf(wanted, sizeof(wanted), "\r\n%s: ", name);
        const char *at = memmem(answer->head, answer->head_bytes, wanted, (size_t)size);
        if (!at)
                return (struct span){ NULL, 0 };
        struct span rest = { at + size, answer->head_bytes - (size_t)(at + size - answer->head) };
        return span_cut(&rest, '\r');
}

static uint64_t number(struct span text)
{
        uint64_t value = 0;
        check(text.size > 0);
        for (size_t i = 0; i < text.size; i++) {
                check(text.data[i] >= '0' && text.data[i] <= '9');
                value = value * 10 + (uint64_t)(text.data[i] - '0');
        }
        return value;
}

static void read_head(struct answer *answer)
{
        check(memcmp(answer->head, "HTTP/1.1 ", 9) == 0);
        answer->status = (int)number((struct span){ answer->head + 9, 3 });
        if (answer->status == 100)
                return;
        answer->closes = has_line(answer, "Connection: close");
        answer->chunked = has_line(answer, "Transfer-Encoding: chunked");
        answer->encoded = has_line(answer, "Content-Encoding: gzip");
        answer->refusal = answer->status == 503 && has_line(answer, "Content-Type: text/plain");
        struct span length = field(answer, "Content-Length");
        answer->has_length = length.data != NULL;
        if (answer->has_length)
                answer->length = number(length);
        check(has_line(answer, "Server: berth"));
        check(answer->refusal || field(answer, "Date").size == HTTP_DATE_BYTES);
}

/* ---- what the body must be ---- */

static void expect_parts(struct answer *answer, const struct ask *ask)
{
        static const struct span before = { "multipart/byteranges; boundary=", 31 };
        struct span type = field(answer, "Content-Type");
        check(type.size > before.size && memcmp(type.data, before.data, before.size) == 0);
        struct span boundary = { type.data + before.size, type.size - before.size };
        size_t room = ask->file->size + MAX_PARTS * 512;
        answer->own = malloc(room);
        struct text out = text_in(answer->own, room);
        for (unsigned i = 0; i < ask->part_count; i++) {
                const struct http_range *part = &ask->parts[i];
                text_put(&out, SPAN("\r\n--"));
                text_put(&out, boundary);
                text_put(&out, SPAN("\r\nContent-Type: "));
                text_put(&out, store_type_of(span_of(ask->file->path)));
                text_format(&out, "\r\nContent-Range: bytes %u-%u/%zu\r\n\r\n", (unsigned)part->first,
                            (unsigned)part->last, ask->file->size);
                text_put(&out, (struct span){ ask->file->data + part->first, (size_t)(part->last - part->first + 1) });
        }
        text_put(&out, SPAN("\r\n--"));
        text_put(&out, boundary);
        text_put(&out, SPAN("--\r\n"));
        check(!out.overflow);
        answer->expected = (struct span){ out.data, out.used };
}

/* With or without the path: not every head can be read so far. */
static void expect_page(struct answer *answer, const struct ask *ask)
{
        answer->own = malloc(PAGE_ERROR_BYTES);
        size_t size = page_error(answer->own, PAGE_ERROR_BYTES, answer->status, span_of(ask->path));
        if (size != answer->length)
                size = page_error(answer->own, PAGE_ERROR_BYTES, answer->status, (struct span){ NULL, 0 });
        answer->expected = (struct span){ answer->own, size };
}

static void expect_file(struct answer *answer, const struct ask *ask)
{
        const struct site_file *file = ask->file;
        char line[128];
        check(answer->encoded ? ask->variant != NULL : !ask->variant || run.faults);
        if (answer->encoded)
                file = ask->variant;
        answer->expected = (struct span){ file->data, file->size };
        if (ask->part_count == 1)
                answer->expected = (struct span){ file->data + ask->parts[0].first,
                                                  (size_t)(ask->parts[0].last - ask->parts[0].first + 1) };
        struct span type = store_type_of(span_of(ask->file->path));
        snprintf(line, sizeof(line), "Content-Type: %.*s", (int)type.size, type.data);
        check(has_line(answer, line) && field(answer, "ETag").size > 2);
}

static void expect_body(struct answer *answer, const struct ask *ask)
{
        switch (ask->body) {
        case BODY_NONE:
                break;
        case BODY_FILE:
                expect_file(answer, ask);
                break;
        case BODY_PARTS:
                expect_parts(answer, ask);
                break;
        case BODY_PAGE:
                expect_page(answer, ask);
                break;
        case BODY_LISTING:
                answer->expected = ask->listing;
        }
}

/* The refusal comes whatever was asked, even a HEAD: nobody has looked at it. So may 503 for want of room for a
 * head. */
static void judge_refusal(struct answer *answer, const struct ask *ask)
{
        check(answer->closes && answer->has_length);
        check(answer->status == 408 || field(answer, "Retry-After").size > 0);
        if (answer->refusal)
                answer->expected = SPAN(REFUSAL_TEXT);
        else
                expect_page(answer, ask);
        check(answer->length == answer->expected.size);
        answer->complete = ask->head_only && !answer->refusal; /* what may follow is passed over */
}

static void judge_head(struct answer *answer, const struct ask *ask, bool may_refuse, bool draining)
{
        if (run.trace)
                printf("%.*sasked for %s, %d\n", (int)answer->head_bytes, answer->head, ask->path, ask->status);
        bool right = answer->status == ask->status;
        check(right || (may_refuse && answer->status == 503) || (ask->may_be_late && answer->status == 408));
        if (!right) {
                judge_refusal(answer, ask);
                return;
        }
        check(answer->closes == ask->closes || (answer->closes && draining));
        check(!ask->field || has_line(answer, ask->field));
        check(answer->chunked == ask->chunked);
        expect_body(answer, ask);
        bool told = !ask->chunked && !ask->until_end && answer->status != 204 && answer->status != 304;
        check(answer->has_length == told);
        check(!told || answer->length == answer->expected.size);
        if (ask->head_only || ask->body == BODY_NONE)
                answer->complete = true;
}

/* ---- taking bytes ---- */

/* How many of the bytes belong to the head. */
static size_t take_head(struct answer *answer, struct span bytes)
{
        size_t taken = 0;
        while (taken < bytes.size) {
                check(answer->head_bytes < ANSWER_HEAD_BYTES);
                answer->head[answer->head_bytes++] = bytes.data[taken++];
                if (answer->head_bytes >= 4 && memcmp(answer->head + answer->head_bytes - 4, "\r\n\r\n", 4) == 0) {
                        read_head(answer);
                        break;
                }
        }
        return taken;
}

static void compare(struct answer *answer, struct span bytes)
{
        check(bytes.size <= answer->expected.size - answer->got);
        check(memcmp(bytes.data, answer->expected.data + answer->got, bytes.size) == 0);
        answer->got += bytes.size;
}

static size_t take_chunks(struct answer *answer, struct span bytes)
{
        size_t taken = 0, used;
        struct span data;
        int result = 0;
        while (taken < bytes.size && result == 0) {
                result = http_chunked_take(&answer->chunks, bytes.data + taken, bytes.size - taken, &used, &data);
                check(result >= 0);
                if (data.size)
                        compare(answer, data);
                taken += used;
        }
        if (result == 1) {
                check(answer->got == answer->expected.size);
                answer->complete = true;
        }
        return taken;
}

static size_t take_body(struct answer *answer, struct span bytes)
{
        if (answer->chunked)
                return take_chunks(answer, bytes);
        if (answer->has_length)
                bytes.size = min_of(bytes.size, answer->expected.size - (size_t)answer->got);
        compare(answer, bytes);
        answer->complete = answer->has_length && answer->got == answer->expected.size;
        return bytes.size;
}

size_t answer_take(struct answer *answer, const struct ask *ask, struct span bytes, bool may_refuse, bool draining)
{
        if (answer->status)
                return take_body(answer, bytes);
        size_t taken = take_head(answer, bytes);
        if (answer->status == 100) {
                check(ask->expects && answer->hundreds++ == 0);
                answer->status = 0;
                answer->head_bytes = 0;
        } else if (answer->status) {
                judge_head(answer, ask, may_refuse, draining);
                answer->complete |= answer->has_length && answer->expected.size == 0;
        }
        return taken;
}

void answer_end(struct answer *answer, const struct ask *ask)
{
        if (!answer->status || answer->complete || answer->has_length || answer->chunked)
                return;
        check(ask->until_end && answer->got == answer->expected.size);
        answer->complete = true;
}
