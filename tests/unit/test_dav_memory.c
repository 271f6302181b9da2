/* Bodies when memory runs out: each allocation of dav fails in turn. Expat's own are not among them, since the linker
 * wraps only what is linked statically (tests/unit/meson.build). */
#include "help.h"
#include "dav/dav.h"

#include <errno.h>

enum { TO_BEGIN = 2 }; /* allocations: the body and its reader */

static long allocations_left = -1; /* -1: as many as wanted */

static bool refused(void)
{
        if (allocations_left > 0)
                allocations_left--;
        return allocations_left == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
        return refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
        return refused() ? NULL : __real_calloc(count, size);
}

/* What a body says of which all allocations behind the first `allowed` fail. */
static int read_body(enum dav_kind kind, const char *text, long allowed)
{
        const struct dav_request *request;
        struct dav_body *body = NULL;
        int result;

        allocations_left = allowed + 1;
        result = dav_body_create(&body, kind);
        if (result == 0) {
                dav_body_feed(body, text, strlen(text));
                result = dav_body_end(body, &request);
                assert_true((result == 0) == (request != NULL));
        }
        allocations_left = -1;
        dav_body_destroy(body);
        return result;
}

static void assert_told(enum dav_kind kind, const char *text, long least)
{
        long allowed = 0;

        for (; allowed < TO_BEGIN; allowed++)
                assert_int_equal(read_body(kind, text, allowed), -ENOMEM);
        for (; read_body(kind, text, allowed) != 0; allowed++)
                assert_int_equal(read_body(kind, text, allowed), -503);
        assert_true(allowed >= least);
}

static void a_change_that_finds_no_memory_is_503(void **state)
{
        static char text[40000] = "<D:propertyupdate xmlns:D='DAV:' xml:lang='en'><D:set><D:prop>";
        struct text rest = text_in(text + strlen(text), sizeof(text) - strlen(text));
        (void)state;

        for (int i = 0; i < 200; i++)
                text_format(&rest, "<p%d xmlns='u%d' xml:lang='de'>text<D:b x='y'/></p%d>", i, i, i);
        text_put(&rest, SPAN("</D:prop></D:set></D:propertyupdate>"));
        assert_false(rest.overflow);
        assert_told(DAV_PROPPATCH, text, 5); /* the body, the value, and several blocks */
}

static void a_lock_that_finds_no_memory_is_503(void **state)
{
        (void)state;
        assert_told(
                DAV_LOCKINFO,
                "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype>"
                "<D:owner>me</D:owner></D:lockinfo>",
                3);
}

static void a_question_that_finds_no_memory_is_503(void **state)
{
        (void)state;
        assert_told(DAV_PROPFIND, "<D:propfind xmlns:D='DAV:'><D:prop><D:getetag/></D:prop></D:propfind>", 2);
        assert_told(DAV_PROPFIND, "<D:propfind xmlns:D='DAV:' xml:lang='en'><D:allprop/></D:propfind>", 2);
}

static int pass(void *context, const struct dav_member *member)
{
        (void)context, (void)member;
        return 0;
}

static int read_answer(const char *text, long allowed)
{
        struct dav_answer *answer = NULL;
        int result;

        allocations_left = allowed + 1;
        result = dav_answer_create(&answer, pass, NULL);
        if (result == 0) {
                dav_answer_feed(answer, text, strlen(text));
                result = dav_answer_end(answer);
        }
        allocations_left = -1;
        dav_answer_destroy(answer);
        return result;
}

static void an_answer_that_finds_no_memory_says_so(void **state)
{
        static char text[40000] = "<D:multistatus xmlns:D='DAV:'><D:response><D:href>/x</D:href><D:propstat><D:prop>";
        struct text rest = text_in(text + strlen(text), sizeof(text) - strlen(text));
        long allowed = 0;
        (void)state;

        for (int i = 0; i < 400; i++)
                text_format(&rest, "<p%d xmlns='u%d'>some text of a property</p%d>", i, i, i);
        text_put(&rest, SPAN("</D:prop></D:propstat></D:response></D:multistatus>"));
        assert_false(rest.overflow);
        while (read_answer(text, allowed) != 0)
                assert_int_equal(read_answer(text, allowed++), -ENOMEM);
        assert_true(allowed >= 4); /* the reader, its text, and several blocks */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_change_that_finds_no_memory_is_503),
                cmocka_unit_test(a_lock_that_finds_no_memory_is_503),
                cmocka_unit_test(a_question_that_finds_no_memory_is_503),
                cmocka_unit_test(an_answer_that_finds_no_memory_says_so),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
