/* A folder as a page and as JSON, and the pages that answer errors. */
#include "folder.h"
#include "serve/listing.h"
#include "serve/pages.h"

#include <errno.h>
#include <string.h>

static const struct store_list_options by_name = { .links = true };

/* The whole rendering, NUL-terminated; free() it. */
static char *render(int root, const char *path, const struct store_list_options *options, bool json)
{
        char piece[LISTING_FILL_BYTES], *whole = NULL;
        struct listing *listing;
        size_t size;
        FILE *out = open_memstream(&whole, &size);
        ssize_t got;

        assert_int_equal(listing_create(&listing, root, path, options, json), 0);
        while ((got = listing_fill(listing, piece, sizeof(piece))) > 0) {
                assert_true((size_t)got <= sizeof(piece));
                fwrite(piece, 1, (size_t)got, out);
        }
        assert_int_equal(got, 0);
        listing_destroy(listing);
        fclose(out);
        return whole;
}

static void expect_in(const char *whole, const char *part)
{
        if (!strstr(whole, part))
                fail_msg("no %s in %s", part, strstr(whole, "<body>") ? strstr(whole, "<body>") : whole);
}

static unsigned count_in(const char *whole, const char *part)
{
        unsigned count = 0;

        for (; (whole = strstr(whole, part)); whole += strlen(part))
                count++;
        return count;
}

static void an_empty_folder_says_so(void **state)
{
        struct folder *folder = *state;
        char *page = render(folder->fd, "", &by_name, false);

        expect_in(page, "This folder is empty.");
        expect_in(page, "0 folders, 0 files<");
        expect_in(page, "</html>\n");
        assert_null(strstr(page, "<!--"));
        assert_null(strstr(page, "Parent folder"));
        free(page);
        page = render(folder->fd, "", &by_name, true);
        assert_string_equal(page, "{\"path\":\"/\",\"entries\":[\n]}\n");
        free(page);
}

static void a_row_has_link_size_and_time(void **state)
{
        struct folder *folder = *state;
        char *page;

        folder_sub(folder, "sub");
        folder_file(folder, "some file", 1434, 1767323045);
        page = render(folder->fd, "", &by_name, false);
        expect_in(page, "<a href=\"some%20file\"><bdi>some file</bdi></a></th>"
                        "<td title=\"1434 bytes\">1.4 KiB</td>"
                        "<td><time datetime=\"2026-01-02T03:04:05Z\">2026-01-02 03:04</time></td>");
        expect_in(page, "<tr class=\"d\"><th scope=\"row\"><a href=\"sub/\"><bdi>sub</bdi>/</a></th><td></td>");
        expect_in(page, "1 folder, 1 file, 1.4 KiB<");
        free(page);
}

static void sizes_are_rounded_for_people(void **state)
{
        static const struct {
                int64_t size;
                const char *shown;
        } cases[] = {
                { 0, ">0 B<" },
                { 1023, ">1023 B<" },
                { 1024, ">1.0 KiB<" },
                { 1536, ">1.5 KiB<" },
                { 102348, ">99.9 KiB<" },
                { 102400, ">100 KiB<" },
                { 1047900, ">1023 KiB<" },
                { 1048063, ">1.0 MiB<" },
                { 1048575, ">1.0 MiB<" },
                { 1048576, ">1.0 MiB<" },
                { (INT64_C(1) << 40) - 1, ">1.0 TiB<" },
                { INT64_C(3) << 31, ">6.0 GiB<" },
        };
        struct folder *folder = *state;

        for (size_t i = 0; i < array_count(cases); i++) {
                char *page;

                folder_file(folder, "f", cases[i].size, 0);
                page = render(folder->fd, "", &by_name, false);
                expect_in(page, cases[i].shown);
                free(page);
        }
}

static void names_cannot_break_out_of_the_page(void **state)
{
        struct folder *folder = *state;
        char *page;

        folder_file(folder, "<script>alert(1)<", 0, 0);
        folder_file(folder, "\"'&", 0, 0);
        folder_file(folder, "line\nbreak\x7f", 0, 0);
        folder_file(folder,
                    "bad\xff"
                    "utf",
                    0, 0);
        folder_file(folder, "a:b", 0, 0);
        folder_file(folder, "100%", 0, 0);
        folder_file(folder, "-rf ?#", 0, 0);
        page = render(folder->fd, "", &by_name, false);
        assert_null(strstr(page, "<script"));
        expect_in(page, "href=\"%3Cscript%3Ealert%281%29%3C\"><bdi>&lt;script&gt;alert(1)&lt;</bdi>");
        expect_in(page, "href=\"%22%27%26\"><bdi>&quot;&#39;&amp;</bdi>");
        expect_in(page, "href=\"line%0Abreak%7F\"><bdi>line␊break␡</bdi>");
        expect_in(page, "href=\"bad%FFutf\"><bdi>bad\xef\xbf\xbdutf</bdi>");
        expect_in(page, "href=\"./a%3Ab\"><bdi>a:b</bdi>");
        expect_in(page, "href=\"100%25\"><bdi>100%</bdi>");
        expect_in(page, "href=\"-rf%20%3F%23\"><bdi>-rf ?#</bdi>");
        free(page);
}

static void the_longest_names_and_paths_fit(void **state)
{
        struct folder *folder = *state;
        char name[256], path[4096] = "", *page;
        int at = folder->fd;

        memset(name, '"', 255);
        name[255] = '\0';
        folder_file(folder, name, 0, 0);
        page = render(folder->fd, "", &by_name, false);
        assert_int_equal(count_in(page, "&quot;"), 255);
        assert_int_equal(count_in(page, "%22"), 255);
        free(page);
        memset(name, 0x01, 255);
        while (strlen(path) + 256 < sizeof(path) - 1) {
                assert_int_equal(mkdirat(at, name, 0755), 0);
                at = openat(at, name, O_RDONLY | O_DIRECTORY);
                strcat(path, *path ? "/" : "");
                strcat(path, name);
        }
        page = render(folder->fd, path, &by_name, false);
        expect_in(page, "<li>…</li>");
        expect_in(page, "␁</bdi></h1>");
        free(page);
        page = render(folder->fd, path, &by_name, true);
        expect_in(page, "\\u0001/\",\"entries\"");
        free(page);
        for (int fd = at; fd > folder->fd; fd--)
                close(fd);
}

static void crumbs_lead_to_the_folders_above(void **state)
{
        struct folder *folder = *state;
        char *page;

        folder_sub(folder, "a");
        folder_sub(folder, "a/b&");
        folder_sub(folder, "a/b&/c");
        page = render(folder->fd, "a/b&/c", &by_name, false);
        expect_in(page, "<title>a/b&amp;/c</title>");
        expect_in(page, "<ol><li><a href=\"../../../\"><bdi>Home</bdi></a></li>"
                        "<li><a href=\"../../\"><bdi>a</bdi></a></li>"
                        "<li><a href=\"../\"><bdi>b&amp;</bdi></a></li></ol>");
        expect_in(page, "<h1><bdi>c</bdi></h1>");
        expect_in(page, "<a href=\"../\">Parent folder</a>");
        free(page);
}

static void columns_tell_and_turn_the_order(void **state)
{
        struct folder *folder = *state;
        struct store_list_options options = { .sort = STORE_SORT_SIZE, .descending = true };
        char *page = render(folder->fd, "", &by_name, false);

        expect_in(page, "<th scope=\"col\" aria-sort=\"ascending\">"
                        "<a rel=\"nofollow\" href=\"?sort=name&amp;order=desc\">Name");
        expect_in(page, "<th scope=\"col\"><a rel=\"nofollow\" href=\"?sort=size&amp;order=desc\">Size");
        free(page);
        folder_sub(folder, "sub");
        folder_file(folder, "file", 1, 0);
        page = render(folder->fd, "", &options, false);
        expect_in(page, "<th scope=\"col\" aria-sort=\"descending\"><a rel=\"nofollow\" href=\"?sort=size\">Size");
        expect_in(page, "<th scope=\"col\"><a rel=\"nofollow\" href=\"./\">Name");
        expect_in(page, "href=\"sub/?sort=size&amp;order=desc\"");
        expect_in(page, "href=\"file\"");
        expect_in(page, "href=\"?json&amp;sort=size&amp;order=desc\"");
        free(page);
        page = render(folder->fd, "sub", &options, false);
        expect_in(page, "<a href=\"../?sort=size&amp;order=desc\">Parent folder</a>");
        free(page);
}

static void json_has_every_value(void **state)
{
        struct folder *folder = *state;
        char *page;

        folder_sub(folder, "d\"");
        folder_sub(folder, "d\"/e:");
        folder_file(folder, "d\"/f\\", 5, -62135596801);
        page = render(folder->fd, "d\"", &by_name, true);
        expect_in(page, "{\"path\":\"/d\\\"/\",\"entries\":[\n"
                        "{\"name\":\"e:\",\"href\":\"./e%3A/\",\"type\":\"folder\",\"size\":0,\"modified\":\"");
        expect_in(page, "Z\"},\n{\"name\":\"f\\\\\",\"href\":\"f%5C\",\"type\":\"file\","
                        "\"size\":5,\"modified\":\"0001-01-01T00:00:00Z\"}\n]}\n");
        free(page);
}

static void many_entries_come_in_pieces(void **state)
{
        struct folder *folder = *state;
        char name[16], *page;

        for (unsigned i = 0; i < 5000; i++) {
                snprintf(name, sizeof(name), "file-%04u", i);
                folder_file(folder, name, i, i);
        }
        page = render(folder->fd, "", &by_name, false);
        assert_int_equal(count_in(page, "<bdi>file-"), 5000);
        expect_in(page, "0 folders, 5000 files, 11.9 MiB<");
        free(page);
        page = render(folder->fd, "", &by_name, true);
        assert_int_equal(count_in(page, "\"type\":\"file\""), 5000);
        free(page);
}

static void what_cannot_be_listed_is_an_error(void **state)
{
        struct folder *folder = *state;
        struct listing *listing;

        folder_file(folder, "file", 0, 0);
        assert_int_equal(listing_create(&listing, folder->fd, "missing", &by_name, false), -ENOENT);
        assert_int_equal(listing_create(&listing, folder->fd, "file", &by_name, false), -ENOTDIR);
        listing_destroy(NULL);
}

/* ---- error pages ---- */

static void error_pages_are_small_and_escaped(void **state)
{
        char page[PAGE_ERROR_BYTES + 1], path[5000];
        size_t size;

        (void)state;
        memset(path, '"', sizeof(path));
        for (int status = 400; status < 600; status++) {
                size = page_error(page, PAGE_ERROR_BYTES, status, (struct span){ path, sizeof(path) });
                assert_true(size > 300 && size <= PAGE_ERROR_BYTES);
        }
        size = page_error(page, PAGE_ERROR_BYTES, 404, SPAN("/<b>"));
        page[size] = '\0';
        expect_in(page, "<h1>404 Not Found</h1>");
        expect_in(page, "<code>/&lt;b&gt;</code>");
        size = page_error(page, PAGE_ERROR_BYTES, 400, (struct span){ NULL, 0 });
        page[size] = '\0';
        assert_null(strstr(page, "<code>"));
}

static void a_long_path_is_cut_between_characters(void **state)
{
        char page[PAGE_ERROR_BYTES + 1], path[200] = "/";

        (void)state;
        for (size_t i = 1; i + 1 < sizeof(path); i += 2)
                memcpy(path + i, "é", 2);
        page[page_error(page, PAGE_ERROR_BYTES, 404, (struct span){ path, 199 })] = '\0';
        expect_in(page, "é…</code>");
        assert_null(strstr(page, "\xef\xbf\xbd"));
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ONE(an_empty_folder_says_so),
                ONE(a_row_has_link_size_and_time),
                ONE(sizes_are_rounded_for_people),
                ONE(names_cannot_break_out_of_the_page),
                ONE(the_longest_names_and_paths_fit),
                ONE(crumbs_lead_to_the_folders_above),
                ONE(columns_tell_and_turn_the_order),
                ONE(json_has_every_value),
                ONE(many_entries_come_in_pieces),
                ONE(what_cannot_be_listed_is_an_error),
                cmocka_unit_test(error_pages_are_small_and_escaped),
                cmocka_unit_test(a_long_path_is_cut_between_characters),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
