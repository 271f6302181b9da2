/* What a mount knows of the server's files: for how long, what answers change, and what this mount's own changes do to
 * answers that come late. */
#include "help_tree.h"

#include <errno.h>
#include <unistd.h>

static void test_what_is_noted_is_known(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, again;
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        assert_null(view.node);
        assert_int_equal(note(tree, root, "a", file_of(7, 5, "\"x\""), &view), 0);
        assert_int_equal(view.inode, 7);
        assert_int_equal(tree_find(tree, root, "a", true, &again), TREE_PRESENT);
        assert_ptr_equal(view.node, again.node);
        assert_int_equal(again.attributes.size, 5);
        assert_string_equal(again.attributes.tag, "\"x\"");
        assert_in_range(again.ttl_ms, LONG_MS - 5000, LONG_MS);
        assert_int_equal(tree_look(tree, view.node, &again), TREE_PRESENT);
        tree_forget(tree, view.node, 2);
        tree_note_absent(tree, root, "a", tree_changes(tree, root));
        assert_int_equal(find(tree, root, "a", &view), TREE_ABSENT);
        assert_in_range(view.ttl_ms, LONG_MS - 5000, LONG_MS);
        tree_destroy(tree);
}

static void test_answers_hold_for_their_time(void **state)
{
        (void)state;
        struct tree *tree = make_tree(30, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        tree_note_absent(tree, root, "b", 0);
        usleep(40000);
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        assert_int_equal(view.attributes.size, 5);
        assert_int_equal(find(tree, root, "b", &view), TREE_UNKNOWN);
        tree_destroy(tree);

        tree = make_tree(0, PLENTY, 2);
        root = tree_root(tree);
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        assert_int_equal(view.ttl_ms, 0);
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        assert_int_equal(tree_look(tree, view.node, &view), TREE_UNKNOWN);
        assert_int_equal(view.attributes.size, 5);
        tree_destroy(tree);
}

static void test_another_file_at_the_name_is_another_node(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, other;
        char path[REMOTE_PATH_BYTES];
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        note(tree, root, "a", file_of(8, 5, "\"x\""), &other);
        assert_ptr_not_equal(view.node, other.node);
        assert_int_equal(tree_path(tree, view.node, NULL, path), -ESTALE);
        note(tree, root, "a", folder_of(8), &view);
        assert_ptr_not_equal(view.node, other.node);
        tree_destroy(tree);
}

static void test_changed_content_is_another_node_where_the_kernel_keeps_the_old_size(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, other;
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        note(tree, root, "a", file_of(7, 6, "\"y\""), &other);
        assert_ptr_not_equal(view.node, other.node);
        assert_int_equal(other.inode, 7);
        assert_true(other.version != view.version);
        /* The kernel does not know it any more: it may stay the same. */
        tree_forget(tree, other.node, 1);
        note(tree, root, "a", file_of(7, 8, "\"z\""), &view);
        assert_ptr_equal(view.node, other.node);
        assert_true(other.version != view.version);
        assert_int_equal(view.attributes.size, 8);
        /* Told for the node itself, it loses its name, and the name leads to the new one. */
        struct remote_attributes a = file_of(7, 9, "\"zz\"");
        assert_int_equal(tree_note_node(tree, view.node, &a, tree_changes(tree, root), &other), -ESTALE);
        assert_int_equal(find(tree, root, "a", &other), TREE_PRESENT);
        assert_ptr_not_equal(view.node, other.node);
        assert_int_equal(other.attributes.size, 9);
        tree_destroy(tree);
}

static void test_without_tags_size_and_time_tell_of_changes(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, other;
        note(tree, root, "a", file_of(7, 5, ""), &view);
        note(tree, root, "a", file_of(7, 5, ""), &other);
        assert_ptr_equal(view.node, other.node);
        struct remote_attributes later = file_of(7, 5, "");
        later.mtime_ns = 1;
        note(tree, root, "a", later, &other);
        assert_ptr_not_equal(view.node, other.node);
        note(tree, root, "a", file_of(7, 6, ""), &view);
        assert_ptr_not_equal(view.node, other.node);
        tree_destroy(tree);
}

static void test_an_open_file_takes_over_what_changed(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view, other;
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        tree_set_file(tree, view.node, (struct file *)&view);
        note(tree, root, "a", file_of(7, 6, "\"y\""), &other);
        assert_ptr_equal(view.node, other.node);
        assert_int_equal(other.attributes.size, 6);
        assert_true(other.version != view.version);
        assert_true(tree_take_changed(tree, view.node));
        assert_false(tree_take_changed(tree, view.node));
        assert_ptr_equal(tree_file(tree, view.node), &view);
        tree_set_file(tree, view.node, NULL);
        tree_destroy(tree);
}

static void test_a_change_that_the_kernel_did_not_hear_of_makes_another_file_once_it_is_closed(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct remote_attributes first = file_of(7, 5, "\"x\""), second = file_of(7, 6, "\"y\"");
        struct tree_view view, other;
        assert_int_equal(tree_note(tree, root, "a", &first, tree_changes(tree, root), true, &view), 0);
        tree_set_file(tree, view.node, (struct file *)&view);
        note(tree, root, "a", second, &other);
        assert_ptr_equal(view.node, other.node);
        tree_set_file(tree, view.node, NULL);
        note(tree, root, "a", second, &other);
        assert_ptr_not_equal(view.node, other.node);
        tree_forget(tree, view.node, 1);
        tree_destroy(tree);
}

static void test_a_file_being_written_is_this_mounts(void **state)
{
        (void)state;
        struct tree *tree = make_tree(20, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        note(tree, root, "a", file_of(7, 5, "\"x\""), &view);
        struct node *node = view.node;
        tree_set_file(tree, node, (struct file *)&view);
        tree_own(tree, node);
        struct tree_update update = { .has_size = true, .size = 100, .has_mtime = true, .mtime_s = 5 };
        tree_update(tree, node, &update);
        note(tree, root, "a", file_of(8, 6, "\"y\""), &view);
        assert_ptr_equal(view.node, node);
        assert_int_equal(view.attributes.size, 100);
        assert_int_equal(view.attributes.mtime_s, 5);
        assert_string_equal(view.attributes.tag, "\"x\"");
        tree_note_absent(tree, root, "a", tree_changes(tree, root));
        list(tree, root, NULL, 0);
        usleep(30000);
        assert_int_equal(find(tree, root, "a", &view), TREE_PRESENT);
        assert_int_equal(view.ttl_ms, 20);
        assert_int_equal(tree_look(tree, node, &view), TREE_PRESENT);
        /* An answer that was asked for before all was sent is older than that. */
        uint64_t before = tree_changes(tree, root);
        struct tree_update sent = { .has_tag = true, .tag = "\"z\"", .same_content = true };
        uint64_t version = view.version;
        tree_update(tree, node, &sent);
        tree_disown(tree, node);
        struct remote_attributes old = file_of(7, 6, "\"y\"");
        assert_int_equal(tree_note(tree, root, "a", &old, before, false, &view), 0);
        assert_int_equal(view.attributes.size, 100);
        assert_string_equal(view.attributes.tag, "\"z\"");
        assert_int_equal(view.version, version);
        assert_int_equal(tree_note_node(tree, node, &old, before, &view), 0);
        assert_int_equal(view.attributes.size, 100);
        /* One that was asked for behind it is not. */
        note(tree, root, "a", file_of(7, 6, "\"y\""), &view);
        assert_ptr_equal(view.node, node);
        assert_int_equal(view.attributes.size, 6);
        tree_set_file(tree, node, NULL);
        tree_destroy(tree);
}

static void test_answers_that_are_older_than_a_change_are_not_kept(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        struct remote_attributes a = file_of(7, 5, "\"x\"");
        uint64_t before = tree_changes(tree, root);
        assert_int_equal(tree_made(tree, root, "a", &a, false, false, &view), 0);
        tree_note_absent(tree, root, "a", before);
        assert_int_equal(find(tree, root, "a", &view), TREE_PRESENT);
        before = tree_changes(tree, root);
        tree_removed(tree, root, "a");
        assert_int_equal(tree_note(tree, root, "a", &a, before, true, &view), -ENOENT);
        assert_int_equal(find(tree, root, "a", &view), TREE_ABSENT);
        /* Other names are not touched by that. */
        assert_int_equal(tree_note(tree, root, "b", &a, before, false, &view), 0);
        assert_int_equal(find(tree, root, "b", &view), TREE_PRESENT);
        tree_destroy(tree);
}

static void test_what_is_distrusted_is_asked_for_anew(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        const char *names[] = { "a" };
        list(tree, root, names, 1);
        tree_note_absent(tree, root, "b", tree_changes(tree, root));
        uint64_t before = tree_changes(tree, root);
        tree_distrust(tree, root);
        assert_false(tree_listed(tree, root));
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        assert_int_equal(find(tree, root, "b", &view), TREE_UNKNOWN);
        assert_int_equal(tree_look(tree, root, &view), TREE_UNKNOWN);
        /* What was under way is older than what was told. */
        tree_note_absent(tree, root, "b", before);
        assert_int_equal(find(tree, root, "b", &view), TREE_UNKNOWN);
        note(tree, root, "a", file_of(100, 0, "\"t\""), &view);
        assert_int_equal(find(tree, root, "a", &view), TREE_PRESENT);
        tree_distrust(tree, view.node);
        assert_int_equal(find(tree, root, "a", &view), TREE_UNKNOWN);
        tree_destroy(tree);
}

static void test_renamed_folders_take_along_what_is_in_them(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view a, b, file, view;
        struct remote_attributes made = folder_of(0), content = file_of(30, 1, "\"t\"");
        char path[REMOTE_PATH_BYTES], long_name[TREE_NAME_BYTES];
        assert_int_equal(tree_path(tree, root, NULL, path), 0);
        assert_string_equal(path, "");
        tree_made(tree, root, "a", &made, true, true, &a);
        tree_made(tree, a.node, "b", &made, true, true, &b);
        tree_made(tree, b.node, "file", &content, true, false, &file);
        assert_true(a.inode >> 63);
        assert_int_equal(find(tree, b.node, "new", &view), TREE_ABSENT);
        assert_int_equal(tree_path(tree, file.node, NULL, path), 0);
        assert_string_equal(path, "a/b/file");
        assert_int_equal(tree_renamed(tree, a.node, "b", root, "c"), 0);
        assert_int_equal(tree_path(tree, b.node, "x", path), 0);
        assert_string_equal(path, "c/x");
        assert_int_equal(tree_path(tree, file.node, NULL, path), 0);
        assert_string_equal(path, "c/file");
        assert_int_equal(tree_renamed(tree, root, "a", b.node, "a"), 0);
        assert_int_equal(tree_renamed(tree, root, "c", a.node, "c"), -EINVAL);
        assert_int_equal(tree_path(tree, a.node, NULL, path), 0);
        assert_string_equal(path, "c/a");
        /* A name that is not known here: nothing is known of either place but that the old one is empty. */
        assert_int_equal(tree_renamed(tree, root, "unknown", b.node, "file"), 0);
        assert_int_equal(find(tree, b.node, "file", &view), TREE_UNKNOWN);
        assert_int_equal(find(tree, root, "unknown", &view), TREE_ABSENT);
        assert_int_equal(tree_path(tree, file.node, NULL, path), -ESTALE);
        assert_int_equal(tree_look(tree, file.node, &view), TREE_PRESENT);
        assert_int_equal(view.attributes.links, 0);
        /* Paths have a bound. */
        memset(long_name, 'n', sizeof(long_name) - 1);
        long_name[sizeof(long_name) - 1] = '\0';
        struct node *node = root;
        for (unsigned i = 0; i < 16; i++) {
                tree_made(tree, node, long_name, &made, true, true, &view);
                node = view.node;
        }
        assert_int_equal(tree_path(tree, node, NULL, path), 0);
        assert_int_equal(strlen(path), 16 * 256 - 1);
        assert_int_equal(tree_path(tree, node, "", path), 0);
        assert_int_equal(tree_path(tree, node, "x", path), -ENAMETOOLONG);
        tree_destroy(tree);
}

static void test_an_answer_for_a_path_that_moved_says_nothing(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view folder, view, other;
        struct remote_attributes a = file_of(99, 9, "\"other\"");
        note(tree, root, "folder", folder_of(5), &folder);
        note(tree, folder.node, "a", file_of(7, 5, "\"x\""), &view);
        uint64_t before = tree_changes(tree, view.node);
        tree_renamed(tree, root, "folder", root, "elsewhere");
        assert_int_equal(tree_note_node(tree, view.node, &a, before, &other), 0);
        assert_int_equal(other.attributes.size, 5);
        tree_destroy(tree);
}

static void test_names_of_one_file_lead_to_one_node(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view a, b, c;
        struct remote_attributes linked = file_of(7, 5, "\"x\"");
        char path[REMOTE_PATH_BYTES];
        linked.links = 2;
        note(tree, root, "a", linked, &a);
        note(tree, root, "b", linked, &b);
        assert_ptr_equal(a.node, b.node);
        assert_int_equal(tree_linked(tree, a.node, root, "c", true, &c), 0);
        assert_ptr_equal(a.node, c.node);
        assert_int_equal(c.attributes.links, 3);
        tree_removed(tree, root, "a");
        tree_removed(tree, root, "c");
        assert_int_equal(tree_path(tree, a.node, NULL, path), 0);
        assert_string_equal(path, "b");
        assert_int_equal(tree_look(tree, a.node, &a), TREE_PRESENT);
        assert_int_equal(a.attributes.links, 1);
        /* Renaming one name to another of the same file does nothing (rename(2)). */
        tree_linked(tree, a.node, root, "c", true, &c);
        assert_int_equal(tree_renamed(tree, root, "b", root, "c"), 0);
        assert_string_equal(read_all(tree, root), "b,c,");
        /* Changed by somebody else, its names meet again in the new node. */
        struct remote_attributes changed = file_of(7, 6, "\"y\"");
        changed.links = 2;
        note(tree, root, "b", changed, &b);
        note(tree, root, "c", changed, &c);
        assert_ptr_not_equal(a.node, b.node);
        assert_ptr_equal(b.node, c.node);
        tree_destroy(tree);
}

static void test_numbers_where_the_server_tells_none(void **state)
{
        (void)state;
        uint64_t first = 0;
        for (unsigned run = 0; run < 2; run++) {
                struct tree *tree = make_tree(LONG_MS, PLENTY, 0);
                struct node *root = tree_root(tree);
                struct tree_view folder, view, copy;
                note(tree, root, "folder", folder_of(0), &folder);
                note(tree, folder.node, "a", file_of(0, 1, "\"1\""), &view);
                assert_int_equal(view.inode >> 63, 0);
                assert_true(run == 0 || view.inode == first);
                first = view.inode;
                /* It keeps its number, and no two have the same. */
                tree_renamed(tree, root, "folder", root, "old");
                note(tree, root, "folder", folder_of(0), &folder);
                note(tree, folder.node, "a", file_of(0, 1, "\"1\""), &copy);
                assert_true(copy.inode != first);
                tree_look(tree, view.node, &view);
                assert_int_equal(view.inode, first);
                /* As it does when it changes. */
                note(tree, folder.node, "a", file_of(0, 2, "\"2\""), &view);
                assert_ptr_not_equal(view.node, copy.node);
                assert_int_equal(view.inode, copy.inode);
                tree_destroy(tree);
        }
}

static void test_numbers_of_new_files_are_the_servers_in_the_end(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view view;
        struct remote_attributes a = file_of(0, 0, "");
        tree_made(tree, root, "a", &a, true, false, &view);
        assert_int_equal(view.inode >> 63, 1);
        assert_int_equal(view.attributes.inode, 0);
        struct tree_update update = { .has_inode = true, .inode = 77 };
        tree_update(tree, view.node, &update);
        tree_look(tree, view.node, &view);
        assert_int_equal(view.inode, 77);
        tree_destroy(tree);
}

static void test_files_below_a_folder_are_found(void **state)
{
        (void)state;
        struct tree *tree = make_tree(LONG_MS, PLENTY, 2);
        struct node *root = tree_root(tree);
        struct tree_view folder, in, out;
        struct node **nodes;
        size_t count;
        note(tree, root, "folder", folder_of(5), &folder);
        note(tree, folder.node, "in", file_of(6, 0, ""), &in);
        note(tree, root, "out", file_of(7, 0, ""), &out);
        tree_set_file(tree, in.node, (struct file *)&in);
        tree_set_file(tree, out.node, (struct file *)&out);
        assert_int_equal(tree_pin_open(tree, folder.node, &nodes, &count), 0);
        assert_int_equal(count, 1);
        assert_ptr_equal(nodes[0], in.node);
        tree_unpin(tree, nodes[0]);
        free(nodes);
        tree_set_file(tree, in.node, NULL);
        tree_set_file(tree, out.node, NULL);
        tree_destroy(tree);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_noted_is_known),
                cmocka_unit_test(test_answers_hold_for_their_time),
                cmocka_unit_test(test_another_file_at_the_name_is_another_node),
                cmocka_unit_test(test_changed_content_is_another_node_where_the_kernel_keeps_the_old_size),
                cmocka_unit_test(test_without_tags_size_and_time_tell_of_changes),
                cmocka_unit_test(test_an_open_file_takes_over_what_changed),
                cmocka_unit_test(test_a_change_that_the_kernel_did_not_hear_of_makes_another_file_once_it_is_closed),
                cmocka_unit_test(test_a_file_being_written_is_this_mounts),
                cmocka_unit_test(test_answers_that_are_older_than_a_change_are_not_kept),
                cmocka_unit_test(test_what_is_distrusted_is_asked_for_anew),
                cmocka_unit_test(test_renamed_folders_take_along_what_is_in_them),
                cmocka_unit_test(test_an_answer_for_a_path_that_moved_says_nothing),
                cmocka_unit_test(test_names_of_one_file_lead_to_one_node),
                cmocka_unit_test(test_numbers_where_the_server_tells_none),
                cmocka_unit_test(test_numbers_of_new_files_are_the_servers_in_the_end),
                cmocka_unit_test(test_files_below_a_folder_are_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
