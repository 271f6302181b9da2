/* Listing a folder: what appears, in which order, at which cost. */
#include "folder.h"
#include "store/store.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

static const struct store_list_options by_name = { .links = true };

/* All names, one to a line, folders with a slash; free() it. */
static char *names_of(int root, const char *path, const struct store_list_options *options)
{
        struct store_list *list;
        struct store_entry entry;
        char *names = NULL;
        size_t size;
        FILE *out = open_memstream(&names, &size);
        int got;

        assert_int_equal(store_list_create(&list, root, path, options), 0);
        while ((got = store_list_next(list, &entry)) == 1)
                fprintf(out, "%s%s\n", entry.name, entry.type == STORE_FOLDER ? "/" : "");
        assert_int_equal(got, 0);
        assert_int_equal(store_list_next(list, &entry), 0);
        store_list_destroy(list);
        fclose(out);
        return names;
}

static void expect_names(int root, const char *path, const struct store_list_options *options, const char *expected)
{
        char *names = names_of(root, path, options);

        assert_string_equal(names, expected);
        free(names);
}

static void an_empty_folder_has_no_entries(void **state)
{
        struct folder *folder = *state;

        expect_names(folder->fd, "", &by_name, "");
}

static void names_sort_without_case_and_folders_come_first(void **state)
{
        struct folder *folder = *state;
        struct store_list_options down = { .descending = true };
        static const char *const names[] = { "b", "A", "a", "Ba", "B", "_", "10", "9", "\xc3\xa9" };

        for (size_t i = 0; i < array_count(names); i++)
                folder_file(folder, names[i], 0, 0);
        folder_sub(folder, "zoo");
        folder_sub(folder, "Yard");
        expect_names(folder->fd, "", &by_name, "Yard/\nzoo/\n10\n9\n_\nA\na\nB\nb\nBa\n\xc3\xa9\n");
        expect_names(folder->fd, "", &down, "zoo/\nYard/\n\xc3\xa9\nBa\nb\nB\na\nA\n_\n9\n10\n");
}

static void sizes_and_times_sort_with_ties_by_name(void **state)
{
        struct folder *folder = *state;
        struct store_list_options options = { .sort = STORE_SORT_SIZE };

        folder_file(folder, "large", INT64_C(5) << 32, 10);
        folder_file(folder, "tie-b", 7, -5);
        folder_file(folder, "tie-a", 7, 30);
        folder_file(folder, "none", 0, 30);
        folder_sub(folder, "y");
        folder_sub(folder, "x");
        expect_names(folder->fd, "", &options, "x/\ny/\nnone\ntie-a\ntie-b\nlarge\n");
        options.descending = true;
        expect_names(folder->fd, "", &options, "x/\ny/\nlarge\ntie-a\ntie-b\nnone\n");
        unlinkat(folder->fd, "x", AT_REMOVEDIR);
        options.sort = STORE_SORT_TIME;
        expect_names(folder->fd, "", &options, "y/\nnone\ntie-a\nlarge\ntie-b\n");
        options.descending = false;
        expect_names(folder->fd, "", &options, "y/\ntie-b\nlarge\nnone\ntie-a\n");
}

static void entries_tell_size_and_time(void **state)
{
        struct folder *folder = *state;
        struct store_list *list;
        struct store_entry entry;

        folder_file(folder, "f", INT64_C(1) << 40, 1234567890);
        assert_int_equal(store_list_create(&list, folder->fd, "", &by_name), 0);
        assert_int_equal(store_list_next(list, &entry), 1);
        assert_int_equal(entry.type, STORE_FILE);
        assert_int_equal(entry.size, INT64_C(1) << 40);
        assert_int_equal(entry.modified, 1234567890);
        store_list_destroy(list);
}

static void hidden_names_appear_when_asked_for(void **state)
{
        struct folder *folder = *state;
        struct store_list_options all = { .hidden = true };

        folder_file(folder, ".secret", 0, 0);
        folder_file(folder, "..twice", 0, 0);
        folder_sub(folder, ".git");
        folder_file(folder, "seen", 0, 0);
        expect_names(folder->fd, "", &by_name, "seen\n");
        expect_names(folder->fd, "", &all, ".git/\n..twice\n.secret\nseen\n");
}

static void links_appear_when_they_stay_inside(void **state)
{
        struct folder *folder = *state;
        struct store_list_options none = { .links = false }, by_size = { .sort = STORE_SORT_SIZE, .links = true };

        folder_sub(folder, "sub");
        folder_sub(folder, "sub/deep");
        folder_file(folder, "file", 3, 0);
        folder_file(folder, "sub/big", 9, 0);
        folder_link(folder, "file", "to-file");
        folder_link(folder, "sub", "to-sub");
        folder_link(folder, "../file", "sub/up");
        folder_link(folder, "../..", "sub/out");
        folder_link(folder, "/etc/passwd", "absolute");
        folder_link(folder, "../../etc", "outside");
        folder_link(folder, "nowhere", "dangling");
        folder_link(folder, "circle", "circle");
        folder_link(folder, "/proc/self/exe", "magic");
        expect_names(folder->fd, "", &by_name, "sub/\nto-sub/\nfile\nto-file\n");
        expect_names(folder->fd, "", &by_size, "sub/\nto-sub/\nfile\nto-file\n");
        expect_names(folder->fd, "sub", &by_name, "deep/\nbig\nup\n");
        expect_names(folder->fd, "to-sub", &by_name, "deep/\nbig\nup\n");
        expect_names(folder->fd, "", &none, "sub/\nfile\n");
}

static void other_kinds_of_files_do_not_appear(void **state)
{
        struct folder *folder = *state;

        assert_int_equal(mkfifoat(folder->fd, "fifo", 0644), 0);
        assert_int_equal(mknodat(folder->fd, "socket", S_IFSOCK | 0644, 0), 0);
        folder_link(folder, "fifo", "to-fifo");
        folder_file(folder, "file", 0, 0);
        expect_names(folder->fd, "", &by_name, "file\n");
        expect_names(folder->fd, "", &(struct store_list_options){ .sort = STORE_SORT_TIME, .links = true }, "file\n");
}

static void any_byte_may_stand_in_a_name(void **state)
{
        struct folder *folder = *state;
        char longest[256], expected[600];

        memset(longest, 0xff, 255);
        longest[255] = '\0';
        folder_file(folder, longest, 0, 0);
        folder_file(folder, "-rf", 0, 0);
        folder_file(folder, " lead", 0, 0);
        folder_file(folder, "new\nline", 0, 0);
        folder_file(folder, "\x01", 0, 0);
        snprintf(expected, sizeof(expected), "\x01\n lead\n-rf\nnew\nline\n%s\n", longest);
        expect_names(folder->fd, "", &by_name, expected);
}

static void opening_fails_as_open_does(void **state)
{
        struct folder *folder = *state;
        struct store_list *list;

        folder_file(folder, "file", 0, 0);
        folder_sub(folder, "sub");
        folder_link(folder, "sub", "link");
        folder_link(folder, "..", "out");
        assert_int_equal(store_list_create(&list, folder->fd, "missing", &by_name), -ENOENT);
        assert_int_equal(store_list_create(&list, folder->fd, "file", &by_name), -ENOTDIR);
        assert_int_equal(store_list_create(&list, folder->fd, "..", &by_name), -EXDEV);
        assert_int_equal(store_list_create(&list, folder->fd, "/", &by_name), -EXDEV);
        assert_int_equal(store_list_create(&list, folder->fd, "out", &by_name), -EXDEV);
        assert_int_equal(store_list_create(&list, folder->fd, "link", &(struct store_list_options){ 0 }), -ELOOP);
        store_list_destroy(NULL);
}

static void what_is_removed_meanwhile_is_left_out(void **state)
{
        struct folder *folder = *state;
        struct store_list *list;
        struct store_entry entry;

        folder_file(folder, "a", 0, 0);
        folder_file(folder, "b", 0, 0);
        folder_file(folder, "c", 0, 0);
        assert_int_equal(store_list_create(&list, folder->fd, "", &by_name), 0);
        assert_int_equal(store_list_next(list, &entry), 1);
        unlinkat(folder->fd, "b", 0);
        assert_int_equal(store_list_next(list, &entry), 1);
        assert_string_equal(entry.name, "c");
        assert_int_equal(store_list_next(list, &entry), 0);
        store_list_destroy(list);
}

/* ---- many ---- */

enum { MANY = 100000 };

static void many_name(char name[32], unsigned i)
{
        snprintf(name, 32, "file-%06u-%s", i, i % 3 ? "odd" : "a-bit-longer");
}

/* In an order that is neither that of the names nor its reverse. */
static int many_setup(void **state)
{
        char name[32];

        if (folder_setup(state) != 0)
                return -1;
        for (unsigned i = 0; i < MANY; i++) {
                unsigned j = (unsigned)(i * 7919ull % MANY);

                many_name(name, j);
                folder_file(*state, name, j % 1000, j);
        }
        usleep(20000); /* files not older than the listing count as changed */
        return 0;
}

static long peak_kib(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_maxrss;
}

static void many_entries_come_in_order_in_bounded_memory(void **state)
{
        struct folder *folder = *state;
        struct store_list *list;
        struct store_entry entry;
        char name[32];
        long before = peak_kib();

        assert_int_equal(store_list_create(&list, folder->fd, "", &by_name), 0);
        for (unsigned i = 0; i < MANY; i++) {
                assert_int_equal(store_list_next(list, &entry), 1);
                many_name(name, i);
                assert_string_equal(entry.name, name);
                assert_int_equal(entry.modified, i);
        }
        assert_int_equal(store_list_next(list, &entry), 0);
        store_list_destroy(list);
        assert_true(peak_kib() - before < 8 << 10); /* 3 to 4 MiB, and what ASan holds back of the sort's copies */
}

static void many_entries_come_backwards_too(void **state)
{
        struct folder *folder = *state;
        struct store_list_options options = { .sort = STORE_SORT_TIME, .descending = true };
        struct store_list *list;
        struct store_entry entry;
        char name[32];

        assert_int_equal(store_list_create(&list, folder->fd, "", &options), 0);
        for (unsigned i = MANY; i-- > 0;) {
                assert_int_equal(store_list_next(list, &entry), 1);
                many_name(name, i);
                assert_string_equal(entry.name, name);
        }
        assert_int_equal(store_list_next(list, &entry), 0);
        store_list_destroy(list);
}

/* Files that grow while they are listed by size move to places still to come. */
static void none_comes_twice_though_files_change_their_place(void **state)
{
        struct folder *folder = *state;
        struct store_list_options options = { .sort = STORE_SORT_SIZE };
        struct store_list *list;
        struct store_entry entry;
        char *seen = calloc(1, MANY);
        unsigned count = 0, number;
        int fd;

        assert_int_equal(store_list_create(&list, folder->fd, "", &options), 0);
        for (; store_list_next(list, &entry) == 1; count++) {
                assert_int_equal(sscanf(entry.name, "file-%06u", &number), 1);
                assert_int_equal(seen[number]++, 0);
                if (number % 100 != 0)
                        continue;
                fd = openat(folder->fd, entry.name, O_WRONLY);
                assert_int_equal(ftruncate(fd, 5000), 0);
                close(fd);
        }
        assert_int_equal(count, MANY);
        store_list_destroy(list);
        free(seen);
}

#define ONE(test) cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ONE(an_empty_folder_has_no_entries),
                ONE(names_sort_without_case_and_folders_come_first),
                ONE(sizes_and_times_sort_with_ties_by_name),
                ONE(entries_tell_size_and_time),
                ONE(hidden_names_appear_when_asked_for),
                ONE(links_appear_when_they_stay_inside),
                ONE(other_kinds_of_files_do_not_appear),
                ONE(any_byte_may_stand_in_a_name),
                ONE(opening_fails_as_open_does),
                ONE(what_is_removed_meanwhile_is_left_out),
                /* These share the group's folder. */
                cmocka_unit_test(many_entries_come_in_order_in_bounded_memory),
                cmocka_unit_test(many_entries_come_backwards_too),
                cmocka_unit_test(none_comes_twice_though_files_change_their_place),
        };

        return cmocka_run_group_tests(tests, many_setup, folder_teardown);
}
