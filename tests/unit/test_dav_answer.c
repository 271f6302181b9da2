/* Multistatus bodies as a client reads them. A body is told as one line of text, whatever pieces it comes in. */
#include "help.h"
#include "dav/dav.h"

#include <errno.h>

#define MULTI(inner) "<D:multistatus xmlns:D=\"DAV:\">" inner "</D:multistatus>"
#define RESPONSE(href, inner) "<D:response><D:href>" href "</D:href>" inner "</D:response>"
#define STAT(props, status)                                                                                            \
        "<D:propstat><D:prop>" props "</D:prop><D:status>HTTP/1.1 " status "</D:status></D:propstat>"

enum { TOLD_BYTES = 1 << 20 };

static char told_room[2][TOLD_BYTES];

static int tell_member(void *context, const struct dav_member *member)
{
        struct text *told = context;

        text_format(told, "[%.*s", (int)member->href.size, member->href.data);
        if (member->status)
                text_format(told, " %d", member->status);
        for (const struct dav_found *found = member->found; found; found = found->next) {
                text_format(told, " {%.*s}%.*s", (int)found->name.space.size, found->name.space.data,
                            (int)found->name.local.size, found->name.local.data);
                if (found->live != DAV_DEAD)
                        text_format(told, "#%d", (int)found->live);
                text_format(told, ":%d%s%s=\"", found->status, found->collection ? "/" : "", found->base64 ? "64" : "");
                text_put(told, found->text);
                text_char(told, '"');
        }
        text_char(told, ']');
        return 0;
}

/* Pieces of `step` bytes. */
static int tell(struct text *told, struct span body, size_t step, dav_member_fn *member)
{
        struct dav_answer *answer;
        int result = 0, ended;

        assert_int_equal(dav_answer_create(&answer, member, told), 0);
        while (body.size > 0 && result == 0) {
                size_t size = min_of(step, body.size);
                char *copy = exact_copy(body.data, size);

                result = dav_answer_feed(answer, copy, size);
                free(copy);
                body.data += size;
                body.size -= size;
        }
        ended = dav_answer_end(answer);
        assert_true(result == 0 || ended == result);
        dav_answer_destroy(answer);
        return ended;
}

static void assert_told(const char *body, const char *wanted)
{
        struct text told = text_in(told_room[0], TOLD_BYTES), pieces;

        assert_int_equal(tell(&told, span_of(body), SIZE_MAX, tell_member), 0);
        assert_false(told.overflow);
        assert_span_((struct span){ told.data, told.used }, span_of(wanted), __FILE__, __LINE__);
        for (size_t step = 1; step < 60; step += 6) {
                pieces = text_in(told_room[1], TOLD_BYTES);
                assert_int_equal(tell(&pieces, span_of(body), step, tell_member), 0);
                assert_true(
                        span_equal((struct span){ told.data, told.used }, (struct span){ pieces.data, pieces.used }));
        }
}

static void assert_refused(const char *body, int error)
{
        for (size_t step = 1; step < 100; step += 49) {
                struct text told = text_in(told_room[0], TOLD_BYTES);

                assert_int_equal(tell(&told, span_of(body), step, tell_member), error);
        }
}

/* ---- what servers send ---- */

static void berth_tells_files_folders_and_links(void **state)
{
        (void)state;
        assert_told(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" MULTI(
                        "\n" RESPONSE("/d/", STAT("<D:resourcetype><D:collection/></D:resourcetype>", "200 OK"))
                                RESPONSE("/d/f%20g",
                                         STAT("<D:resourcetype></D:resourcetype><D:getcontentlength>5"
                                              "</D:getcontentlength><D:getetag>&quot;a-1&quot;</D:getetag>"
                                              "<mode xmlns=\"urn:berth:posix\">0644</mode>",
                                              "200 OK") STAT("<target xmlns=\"urn:berth:posix\"/>", "404 Not Found"))
                                        RESPONSE("/d/l", STAT("<target xmlns=\"urn:berth:posix\"> a &lt;\n</target>"
                                                              "<target xmlns=\"urn:berth:posix\" "
                                                              "encoding=\"base64\">/w==</target>",
                                                              "200 OK"))),
                "[/d/ {DAV:}resourcetype#7:200/=\"\"]"
                "[/d/f%20g {DAV:}resourcetype#7:200=\"\" {DAV:}getcontentlength#2:200=\"5\" "
                "{DAV:}getetag#4:200=\"\"a-1\"\" {urn:berth:posix}mode#13:200=\"0644\" "
                "{urn:berth:posix}target#17:404=\"\"]"
                "[/d/l {urn:berth:posix}target#17:200=\" a <\n\" {urn:berth:posix}target#17:20064=\"/w==\"]");
}

static void apache_has_prefixes_and_lines_of_its_own(void **state)
{
        (void)state;
        assert_told("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\" xmlns:ns0=\"DAV:\">\n"
                    "<D:response xmlns:lp1=\"DAV:\" xmlns:lp2=\"http://apache.org/dav/props/\">\n<D:href>/f</D:href>\n"
                    "<D:propstat>\n<D:prop>\n<lp1:resourcetype/>\n<lp1:getcontentlength>0</lp1:getcontentlength>\n"
                    "<lp2:executable>F</lp2:executable>\n</D:prop>\n<D:status>HTTP/1.1 200 OK</D:status>\n"
                    "</D:propstat>\n</D:response>\n</D:multistatus>\n",
                    "[/f {DAV:}resourcetype#7:200=\"\" {DAV:}getcontentlength#2:200=\"0\" "
                    "{http://apache.org/dav/props/}executable:200=\"F\"]");
}

static void nextcloud_has_a_default_prefix_in_lower_case(void **state)
{
        (void)state;
        assert_told("<?xml version=\"1.0\"?>\n<d:multistatus xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\" "
                    "xmlns:oc=\"http://owncloud.org/ns\"><d:response><d:href>/remote.php/dav/files/u/</d:href>"
                    "<d:propstat><d:prop><d:resourcetype><d:collection/></d:resourcetype><oc:id>7</oc:id></d:prop>"
                    "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>",
                    "[/remote.php/dav/files/u/ {DAV:}resourcetype#7:200/=\"\" {http://owncloud.org/ns}id:200=\"7\"]");
}

static void a_default_namespace_and_the_status_first(void **state)
{
        (void)state;
        assert_told("<multistatus xmlns=\"DAV:\"><response><href> http://h/x </href><propstat><status>HTTP/1.1 200 OK"
                    "</status><prop><getetag><![CDATA[\"x\"]]></getetag></prop></propstat></response>"
                    "<response><href>/gone</href><status>HTTP/1.1 404 Not Found</status></response></multistatus>",
                    "[http://h/x {DAV:}getetag#4:200=\"\"x\"\"][/gone 404]");
}

static void texts_of_elements_within_stay_apart(void **state)
{
        (void)state;
        assert_told(MULTI(RESPONSE("/f", STAT("<D:lockdiscovery><D:activelock><D:depth>0</D:depth><D:owner>me</D:owner>"
                                              "<D:timeout>Second-9</D:timeout><D:locktoken><D:href>urn:x</D:href>"
                                              "</D:locktoken></D:activelock></D:lockdiscovery>",
                                              "200 OK"))),
                    "[/f {DAV:}lockdiscovery#6:200=\"0 me Second-9 urn:x\"]");
}

static void what_is_unknown_is_passed_over(void **state)
{
        (void)state;
        assert_told(MULTI("<x><D:response/></x><D:responsedescription>no</D:responsedescription><y:response "
                          "xmlns:y=\"y:\"><D:href>/no</D:href></y:response><!-- no --><?no?>" RESPONSE(
                                  "/f", "<D:error><D:href>/no</D:href></D:error><D:location><D:href>/no</D:href>"
                                        "</D:location><D:propstat><z/><D:prop/></D:propstat>")),
                    "[/f]");
}

static void a_collection_is_one_of_webdav(void **state)
{
        (void)state;
        assert_told(MULTI(RESPONSE("/f", STAT("<D:resourcetype><x:collection xmlns:x=\"x:\"/></D:resourcetype>"
                                              "<collection/><D:displayname><D:collection/></D:displayname>",
                                              "200 OK"))),
                    "[/f {DAV:}resourcetype#7:200=\"\" {}collection:200=\"\" {DAV:}displayname#1:200=\"\"]");
}

/* ---- what is refused ---- */

static void what_is_no_multistatus_is_refused(void **state)
{
        (void)state;
        assert_refused("", -EBADMSG);
        assert_refused("<html><body/></html>", -EBADMSG);
        assert_refused("<D:prop xmlns:D=\"DAV:\"/>", -EBADMSG);
        assert_refused("<D:multistatus/>", -EBADMSG);
        assert_refused("<multistatus/>", -EBADMSG);
        assert_refused(MULTI(RESPONSE("/f", "")) "x", -EBADMSG);
        assert_refused("<D:multistatus xmlns:D=\"DAV:\">" RESPONSE("/f", ""), -EBADMSG);
        assert_refused("<!DOCTYPE x [<!ENTITY e \"x\">]>" MULTI(RESPONSE("/&e;", "")), -EBADMSG);
        assert_refused(MULTI(RESPONSE("/\xff", "")), -EBADMSG);
}

static char *repeated(const char *before, const char *one, unsigned times, const char *after)
{
        size_t size = strlen(before) + times * strlen(one) + strlen(after) + 1;
        char *body = malloc(size);
        struct text text = text_in(body, size);

        text_put(&text, span_of(before));
        for (unsigned i = 0; i < times; i++)
                text_put(&text, span_of(one));
        text_put(&text, span_of(after));
        text_char(&text, '\0');
        return body;
}

static void assert_bound(const char *before, const char *one, unsigned times, const char *after, int error)
{
        char *body = repeated(before, one, times, after);

        struct text told = text_in(told_room[0], TOLD_BYTES);
        assert_int_equal(tell(&told, span_of(body), 4096, tell_member), error);
        told.used = 0;
        assert_int_equal(tell(&told, span_of(body), SIZE_MAX, tell_member), error);
        free(body);
}

static void bounds_are_kept(void **state)
{
        (void)state;
        assert_bound("<D:multistatus xmlns:D=\"DAV:\">", "<x>", 63, "", -EBADMSG);
        assert_bound("<D:multistatus xmlns:D=\"DAV:\">", "<x>", 64, "", -E2BIG);
        assert_bound("<D:multistatus xmlns:D=\"DAV:\" x=\"", "x", 17000, "\"/>", -E2BIG);
        assert_bound("<D:multistatus xmlns:D=\"DAV:\" xmlns:x=\"", "x", 1025, "\"/>", -E2BIG);
        assert_bound("<D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>", "x", DAV_VALUE_BYTES + 1,
                     "</D:href></D:response></D:multistatus>", -E2BIG);
        assert_bound("<D:multistatus xmlns:D=\"DAV:\"><D:response><D:propstat><D:prop>", "<x/>", 2001,
                     "</D:prop></D:propstat></D:response></D:multistatus>", -E2BIG);
}

static int count_member(void *context, const struct dav_member *member)
{
        (void)member;
        return ++*(int *)context == 7 ? -EXDEV : 0;
}

static void who_listens_may_end_it(void **state)
{
        char *body = repeated("<D:multistatus xmlns:D=\"DAV:\">", RESPONSE("/f", ""), 1000, "</D:multistatus>");
        int count = 0;
        struct dav_answer *answer;

        (void)state;
        assert_int_equal(dav_answer_create(&answer, count_member, &count), 0);
        assert_int_equal(dav_answer_feed(answer, body, strlen(body)), -EXDEV);
        assert_int_equal(dav_answer_feed(answer, body, strlen(body)), -EXDEV);
        assert_int_equal(dav_answer_end(answer), -EXDEV);
        assert_int_equal(count, 7);
        dav_answer_destroy(answer);
        free(body);
}

static int only_count(void *context, const struct dav_member *member)
{
        (void)member;
        ++*(unsigned *)context;
        return 0;
}

/* Memory is that of one response: many of them must not pass the arena's bound. */
static void many_responses_are_read_one_at_a_time(void **state)
{
        char *body = repeated("<D:multistatus xmlns:D=\"DAV:\">",
                              RESPONSE("/f", STAT("<dead xmlns=\"urn:x\">some text of some length</dead>", "200 OK")),
                              100000, "</D:multistatus>");
        unsigned count = 0;
        struct dav_answer *answer;

        (void)state;
        assert_int_equal(dav_answer_create(&answer, only_count, &count), 0);
        assert_int_equal(dav_answer_feed(answer, body, strlen(body)), 0);
        assert_int_equal(dav_answer_end(answer), 0);
        assert_int_equal(count, 100000);
        dav_answer_destroy(answer);
        free(body);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(berth_tells_files_folders_and_links),
                cmocka_unit_test(apache_has_prefixes_and_lines_of_its_own),
                cmocka_unit_test(nextcloud_has_a_default_prefix_in_lower_case),
                cmocka_unit_test(a_default_namespace_and_the_status_first),
                cmocka_unit_test(texts_of_elements_within_stay_apart),
                cmocka_unit_test(what_is_unknown_is_passed_over),
                cmocka_unit_test(a_collection_is_one_of_webdav),
                cmocka_unit_test(what_is_no_multistatus_is_refused),
                cmocka_unit_test(bounds_are_kept),
                cmocka_unit_test(who_listens_may_end_it),
                cmocka_unit_test(many_responses_are_read_one_at_a_time),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
