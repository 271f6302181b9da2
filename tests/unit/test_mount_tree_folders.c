/* Listings, how readers go on, folders of 100,000 names, and how memory stays bounded. */
#include "help_tree.h"
#include "dav/dav.h"

#include <errno.h>
#include <unistd.h>

static void test_a_listing_tells_what_is_there_and_what_not(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        const char *names[] = { "a", "b", "", ".", "..", "x/y", "c" };
        note(tree, root, "gone", file_of(9, 0, ""), &view);
        list(tree, root, names, array_count(names));
        assert_true(tree_listed(tree, root));
        assert_string_equal(read_all(tree, root), "a,b,c,");
        assert_int_equal(find(tree, root, "gone", &view), TREE_ABSENT);
        assert_int_equal(find(tree, root, "never", &view), TREE_ABSENT);
        assert_int_equal(find(tree, root, "b", &view), TREE_PRESENT);
        /* One that failed concludes nothing. */
        struct tree_listing listing;
        tree_listing_begin(tree, root, &listing);
        tree_listing_end(tree, &listing, false);
        assert_string_equal(read_all(tree, root), "a,b,c,");
        list(tree, root, names + 1, 1);
        assert_string_equal(read_all(tree, root), "b,");
        tree_destroy(tree);
}

static void test_changes_during_a_listing_win(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        const char *names[] = { "removed", "renamed", "stays" };
        struct remote_attributes a = file_of(50, 0, "\"t\"");
        struct tree_listing listing;
        list(tree, root, names, 3);
        tree_listing_begin(tree, root, &listing);
        tree_removed(tree, root, "removed");
        tree_made(tree, root, "made", &a, false, false, &view);
        tree_renamed(tree, root, "renamed", root, "new");
        for (unsigned i = 0; i < 3; i++) { /* as the server saw it before */
                struct remote_attributes old = file_of(100 + i, i, "\"t\"");
                assert_int_equal(tree_listing_add(tree, &listing, span_of(names[i]), &old), 0);
        }
        note(tree, root, "by lookup", file_of(51, 0, ""), &view);
        tree_listing_end(tree, &listing, true);
        assert_true(tree_listed(tree, root));
        assert_string_equal(read_all(tree, root), "stays,made,new,by lookup,");
        assert_int_equal(find(tree, root, "removed", &view), TREE_ABSENT);
        assert_int_equal(find(tree, root, "renamed", &view), TREE_ABSENT);
        tree_destroy(tree);
}

/* By its old path another folder may have been listed, also when it was asked for once more. */
static void test_a_listing_of_a_folder_that_was_renamed_meanwhile_is_not_taken(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 1);
        struct node *root = tree_root(tree);
        struct remote_attributes file = file_of(11, 5, "\"a\"");
        struct tree_listing listing;
        struct tree_view view;
        assert_int_equal(note(tree, root, "one", folder_of(10), &view), 0);
        struct node *folder = view.node;
        assert_int_equal(note(tree, folder, "own", file_of(12, 5, "\"b\""), &view), 0);
        tree_listing_begin(tree, folder, &listing);
        assert_int_equal(tree_renamed(tree, root, "one", root, "two"), 0);
        tree_listing_restart(tree, &listing);
        assert_int_equal(tree_listing_add(tree, &listing, SPAN("another's"), &file), 0);
        assert_false(tree_listing_end(tree, &listing, true));
        assert_false(tree_listed(tree, folder));
        assert_string_equal(read_all(tree, folder), "own,");
        tree_destroy(tree);
}

static void test_a_slow_listing_holds_from_its_end_and_as_long_as_it_took(void **state)
{
        (void)state;
        struct tree *tree = make_tree(40, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct remote_attributes a = file_of(7, 5, "\"x\"");
        struct tree_listing listing;
        struct tree_view view;
        tree_listing_begin(tree, root, &listing);
        assert_int_equal(tree_listing_add(tree, &listing, SPAN("first"), &a), 0);
        usleep(400000);
        assert_int_equal(find(tree, root, "first", &view), TREE_UNKNOWN);
        tree_listing_end(tree, &listing, true);
        usleep(100000);
        assert_int_equal(find(tree, root, "first", &view), TREE_PRESENT);
        assert_true(tree_listed(tree, root));
        usleep(400000);
        assert_int_equal(find(tree, root, "first", &view), TREE_UNKNOWN);
        tree_destroy(tree);
}

static void test_readers_go_on_where_they_were(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_member member;
        struct tree_view view;
        char name[16];
        struct remote_attributes a = file_of(0, 0, "");
        for (unsigned i = 0; i < 1000; i++) {
                snprintf(name, sizeof(name), "%u", i);
                tree_made(tree, root, name, &a, false, false, &view);
        }
        uint64_t last = tree_last_cookie(tree, root);
        /* Each is removed as soon as it is seen; half of them are renamed first. */
        unsigned seen = 0;
        member.cookie = 0;
        while (tree_next(tree, root, member.cookie, false, &member) && member.cookie <= last) {
                snprintf(name, sizeof(name), "%u", seen++);
                assert_string_equal(member.name, name);
                if (seen % 2)
                        tree_renamed(tree, root, name, root, "moved");
                tree_removed(tree, root, seen % 2 ? "moved" : name);
        }
        assert_int_equal(seen, 1000);
        assert_string_equal(read_all(tree, root), "");
        /* What replaces a name does not come a second time. */
        tree_made(tree, root, "a", &a, false, false, &view);
        assert_true(tree_next(tree, root, 0, false, &member));
        tree_made(tree, root, "a", &a, false, false, &view);
        tree_made(tree, root, "b", &a, false, false, &view);
        tree_renamed(tree, root, "b", root, "a");
        assert_false(tree_next(tree, root, member.cookie, false, &member));
        tree_made(tree, root, DAV_BERTH_UNLINKED "1", &a, false, false, &view);
        assert_string_equal(read_all(tree, root), "a,");
        tree_destroy(tree);
}

static void test_memory_is_bounded(void **state)
{
        (void)state;
        enum { LIMIT = 200000 };
        struct tree *tree = make_tree(LONG_MS, LIMIT, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, kept, folder;
        struct tree_counters counters;
        char name[32];
        note(tree, root, "kept", file_of(3, 0, ""), &kept);
        tree_note(tree, root, "folder", &(struct remote_attributes){ .kind = REMOTE_FOLDER, .links = 2, .inode = 4 },
                  tree_changes(tree, root), true, &folder);
        const char *names[] = { "kept", "folder" };
        struct tree_listing listing;
        tree_listing_begin(tree, root, &listing);
        for (unsigned i = 0; i < 2; i++)
                tree_listing_add(tree, &listing, span_of(names[i]), i ? &folder.attributes : &kept.attributes);
        tree_listing_end(tree, &listing, true);
        assert_true(tree_listed(tree, root));
        for (unsigned i = 0; i < 20000; i++) {
                struct remote_attributes a = file_of(1000 + i, 0, "\"0123456789abcdef\"");
                snprintf(name, sizeof(name), "file %u", i);
                assert_int_equal(
                        tree_note(tree, i % 2 ? root : folder.node, name, &a, tree_changes(tree, root), false, &view),
                        0);
                tree_count(tree, &counters);
                assert_in_range(counters.bytes, 1, LIMIT + 40000);
        }
        assert_in_range(counters.names, 100, 1500);
        assert_false(tree_listed(tree, root)); /* one of its names was dropped */
        assert_int_equal(find(tree, root, "kept", &view), TREE_PRESENT);
        assert_int_equal(find(tree, root, "folder", &view), TREE_PRESENT);
        assert_int_equal(find(tree, root, "file 19999", &view), TREE_PRESENT);
        assert_int_equal(find(tree, root, "file 1", &view), TREE_UNKNOWN);
        tree_destroy(tree);
}

static void test_a_folder_that_is_read_is_dropped_afterwards(void **state)
{
        (void)state;
        enum { LIMIT = 100000, FILES = 5000 };
        struct tree *tree = make_tree(LONG_MS, LIMIT, 2);
        struct node *root = tree_root(tree);
        struct tree_counters counters;
        struct tree_member member = { .cookie = 0 };
        struct tree_listing listing;
        char name[32];
        tree_pin(tree, root); /* as a reader does */
        tree_listing_begin(tree, root, &listing);
        for (unsigned i = 0; i < FILES; i++) {
                struct remote_attributes a = file_of(1000 + i, 0, "\"0123456789abcdef\"");
                snprintf(name, sizeof(name), "file %u", i);
                assert_int_equal(tree_listing_add(tree, &listing, span_of(name), &a), 0);
        }
        tree_listing_end(tree, &listing, true);
        unsigned seen = 0;
        while (tree_next(tree, root, member.cookie, false, &member))
                seen++;
        assert_int_equal(seen, FILES);
        tree_unpin(tree, root);
        for (unsigned i = 0; i < 100; i++)
                tree_note_absent(tree, root, "x", 0);
        tree_count(tree, &counters);
        assert_in_range(counters.bytes, 1, LIMIT + 80000); /* table and order of the folder stay */
        tree_destroy(tree);
}

static void test_a_removed_change_that_was_dropped_makes_answers_doubtful(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, 0, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        struct remote_attributes a = file_of(7, 5, "\"x\"");
        uint64_t before = tree_changes(tree, root);
        tree_removed(tree, root, "a");
        tree_removed(tree, root, "b");
        assert_int_equal(tree_note(tree, root, "a", &a, before, true, &view), 0);
        assert_int_equal(view.ttl_ms, 0);
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        tree_destroy(tree);
}

static void test_a_hundred_thousand_names(void **state)
{
        (void)state;
        enum { COUNT = 100000 };
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_listing listing;
        struct tree_member member = { .cookie = 0 };
        struct tree_counters counters;
        struct tree_view view;
        char name[32];
        uint64_t start = clock_ms();
        tree_listing_begin(tree, root, &listing);
        for (unsigned i = 0; i < COUNT; i++) {
                struct remote_attributes a = file_of(1000 + i, 0, "\"1234567-1234-0123456789abcdef\"");
                snprintf(name, sizeof(name), "file-%08u", i);
                assert_int_equal(tree_listing_add(tree, &listing, span_of(name), &a), 0);
        }
        tree_listing_end(tree, &listing, true);
        tree_count(tree, &counters);
        assert_in_range(counters.bytes / COUNT, 200, 400);
        unsigned seen = 0;
        while (tree_next(tree, root, member.cookie, true, &member)) {
                snprintf(name, sizeof(name), "file-%08u", seen++);
                assert_string_equal(member.name, name);
        }
        assert_int_equal(seen, COUNT);
        for (unsigned i = 0; i < COUNT; i++) { /* from the end, so that the order has most to skip */
                snprintf(name, sizeof(name), "file-%08u", COUNT - 1 - i);
                assert_int_equal(find(tree, root, name, &view), TREE_PRESENT);
                tree_removed(tree, root, name);
                tree_forget(tree, view.node, 1);
                assert_int_equal(tree_next(tree, root, 0, false, &member), i + 1 < COUNT);
        }
        uint64_t took = clock_ms() - start;
        print_message("# 100,000 names: %u ms, %u bytes each\n", (unsigned)took, (unsigned)(counters.bytes / COUNT));
        assert_in_range(took, 0, 20000); /* with sanitizers on a busy machine; quadratic would be minutes */
        tree_destroy(tree);
}

static void test_walkers_are_seen_and_folders_ahead_of_them_found(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree), *ahead[8];
        struct tree_view folders[4], view;
        char name[8];
        for (unsigned i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "%u", i);
                note(tree, root, name, folder_of(10 + i), &folders[i]);
                note(tree, root, "file", file_of(5, 0, ""), &view);
        }
        assert_false(tree_reads(tree, root));
        assert_true(tree_reads(tree, folders[0].node));
        /* Below the first one two more, which come before its siblings. */
        struct tree_view below[2];
        note(tree, folders[0].node, "x", folder_of(20), &below[0]);
        note(tree, folders[0].node, "y", folder_of(21), &below[1]);
        assert_int_equal(tree_ahead(tree, folders[0].node, 4, ahead, 8), 4);
        assert_ptr_equal(ahead[0], below[0].node);
        assert_ptr_equal(ahead[1], below[1].node);
        assert_ptr_equal(ahead[2], folders[1].node);
        assert_ptr_equal(ahead[3], folders[2].node);
        for (unsigned i = 0; i < 4; i++)
                tree_unpin(tree, ahead[i]);
        /* What is listed is walked through; what is long is left to who wants it. */
        list(tree, folders[1].node, NULL, 0);
        tree_broke_off(tree, folders[2].node, TREE_SHORT_LISTING);
        assert_int_equal(tree_ahead(tree, below[1].node, 10, ahead, 8), 1);
        assert_ptr_equal(ahead[0], folders[3].node);
        tree_unpin(tree, ahead[0]);
        tree_destroy(tree);
}

static void test_many_single_names_are_worth_a_listing(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view a, b;
        note(tree, root, "a", folder_of(3), &a);
        note(tree, root, "b", folder_of(4), &b);
        assert_int_equal(tree_misses(tree, a.node, false), 0);
        assert_int_equal(tree_misses(tree, a.node, false), TREE_SHORT_LISTING);
        assert_int_equal(tree_misses(tree, b.node, true), TREE_SHORT_LISTING);
        /* There was more in it: the next try is one after more names, and goes further. */
        size_t limit = TREE_SHORT_LISTING, misses = 2;
        for (unsigned tries = 0; limit < 100000; tries++) {
                assert_in_range(tries, 0, 10);
                tree_broke_off(tree, a.node, limit);
                size_t next;
                do {
                        next = tree_misses(tree, a.node, false);
                        assert_in_range(++misses, 0, 200);
                } while (next == 0);
                assert_true(next > limit);
                limit = next;
        }
        tree_broke_off(tree, b.node, SIZE_MAX);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(tree_misses(tree, b.node, true), 0);
        tree_destroy(tree);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_listing_tells_what_is_there_and_what_not),
                cmocka_unit_test(test_changes_during_a_listing_win),
                cmocka_unit_test(test_a_listing_of_a_folder_that_was_renamed_meanwhile_is_not_taken),
                cmocka_unit_test(test_a_slow_listing_holds_from_its_end_and_as_long_as_it_took),
                cmocka_unit_test(test_readers_go_on_where_they_were),
                cmocka_unit_test(test_memory_is_bounded),
                cmocka_unit_test(test_a_folder_that_is_read_is_dropped_afterwards),
                cmocka_unit_test(test_a_removed_change_that_was_dropped_makes_answers_doubtful),
                cmocka_unit_test(test_a_hundred_thousand_names),
                cmocka_unit_test(test_walkers_are_seen_and_folders_ahead_of_them_found),
                cmocka_unit_test(test_many_single_names_are_worth_a_listing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
