/* What a mount knows of the server's files: for how long, what answers change, what this mount's own changes do to answers
 * that come late, how readers go on, and how memory stays bounded. */
#include "help.h"

#include "mount/tree.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { LONG_MS = 100000, PLENTY = 1 << 30 };

static struct tree *make_tree(unsigned ttl_ms, size_t limit_bytes, uint64_t root_inode)
{
        struct tree_options options = { ttl_ms, limit_bytes, 0644, 0755 };
        struct remote_attributes root = { .kind = REMOTE_FOLDER, .mode = 0755, .links = 2, .inode = root_inode };
        struct tree *tree;
        assert_int_equal(tree_create(&tree, &options, &root), 0);
        return tree;
}

static struct remote_attributes file_of(uint64_t inode, uint64_t size, const char *tag)
{
        struct remote_attributes a = { .kind = REMOTE_FILE, .mode = 0644, .links = 1, .size = size, .inode = inode };
        a.mtime_s = 1000;
        strcpy(a.tag, tag);
        return a;
}

static struct remote_attributes folder_of(uint64_t inode)
{
        return (struct remote_attributes){
                .kind = REMOTE_FOLDER, .mode = 0755, .links = 2, .inode = inode, .mtime_s = 1
        };
}

static int note(struct tree *tree, struct node *folder, const char *name, struct remote_attributes a,
                struct tree_view *view)
{
        return tree_note(tree, folder, name, &a, tree_changes(tree, folder), true, view);
}

static enum tree_known find(struct tree *tree, struct node *folder, const char *name, struct tree_view *view)
{
        return tree_find(tree, folder, name, false, view);
}

static void list(struct tree *tree, struct node *folder, const char *const *names, unsigned count)
{
        struct tree_listing listing;
        tree_listing_begin(tree, folder, &listing);
        for (unsigned i = 0; i < count; i++) {
                struct remote_attributes a = file_of(100 + i, i, "\"t\"");
                assert_int_equal(tree_listing_add(tree, &listing, span_of(names[i]), &a), 0);
        }
        tree_listing_end(tree, &listing, true);
}

/* The names that a reader sees, with a comma behind each. */
static const char *read_all(struct tree *tree, struct node *folder)
{
        static char out[4096];
        struct tree_member member = { .cookie = 0 };
        struct text text = text_in(out, sizeof(out) - 1);
        while (tree_next(tree, folder, member.cookie, false, &member))
                text_format(&text, "%s,", member.name);
        out[text.used] = '\0';
        return out;
}

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
        tree_made(tree, root, TREE_HIDDEN "1", &a, false, false, &view);
        assert_string_equal(read_all(tree, root), "a,");
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

/* ---- by chance, against a model ---- */

enum { NAMES = 12, FOLDERS = 3 };

struct model { /* what the server has; the mount sees it through answers */
        uint64_t inode[FOLDERS][NAMES];
        uint64_t size[FOLDERS][NAMES];
        uint64_t next_inode;
};

struct play {
        struct tree *tree;
        struct model model;
        struct node *folders[FOLDERS];
        struct node *given[64]; /* lookups of the kernel */
        unsigned given_count;
        struct random random;
};

static void give_back_one(struct play *p)
{
        unsigned i = random_below(&p->random, p->given_count);
        tree_forget(p->tree, p->given[i], 1);
        p->given[i] = p->given[--p->given_count];
}

static void given(struct play *p, struct node *node)
{
        if (p->given_count == array_count(p->given))
                give_back_one(p);
        p->given[p->given_count++] = node;
}

static struct remote_attributes answer_for(const struct play *p, unsigned folder, unsigned name)
{
        char tag[32];
        snprintf(tag, sizeof(tag), "\"%llu\"", (unsigned long long)p->model.size[folder][name]);
        return file_of(p->model.inode[folder][name], p->model.size[folder][name], tag);
}

static void ask(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct remote_attributes a = answer_for(p, folder, n);
        uint64_t changes = tree_changes(p->tree, p->folders[folder]);
        struct tree_view view;
        if (!a.inode)
                tree_note_absent(p->tree, p->folders[folder], name, changes);
        else if (tree_note(p->tree, p->folders[folder], name, &a, changes, true, &view) == 0)
                given(p, view.node);
}

static void make(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct tree_view view;
        p->model.inode[folder][n] = ++p->model.next_inode;
        p->model.size[folder][n] = random_below(&p->random, 1000);
        struct remote_attributes a = answer_for(p, folder, n);
        assert_int_equal(tree_made(p->tree, p->folders[folder], name, &a, true, false, &view), 0);
        given(p, view.node);
}

static void move(struct play *p, unsigned folder, unsigned n, const char *name)
{
        unsigned to = random_below(&p->random, FOLDERS), m = random_below(&p->random, NAMES);
        char new_name[16];
        if (!p->model.inode[folder][n] || (to == folder && m == n))
                return;
        snprintf(new_name, sizeof(new_name), "name %u", m);
        p->model.inode[to][m] = p->model.inode[folder][n];
        p->model.size[to][m] = p->model.size[folder][n];
        p->model.inode[folder][n] = 0;
        assert_int_equal(tree_renamed(p->tree, p->folders[folder], name, p->folders[to], new_name), 0);
}

/* A listing as the server saw it, while this mount changes one of the names. */
static void list_by_chance(struct play *p, unsigned folder)
{
        struct tree_listing listing;
        struct play before = { .model = p->model };
        char name[16];
        tree_listing_begin(p->tree, p->folders[folder], &listing);
        unsigned changed = random_below(&p->random, 2 * NAMES);
        snprintf(name, sizeof(name), "name %u", changed);
        if (changed < NAMES)
                make(p, folder, changed, name);
        for (unsigned n = 0; n < NAMES; n++) {
                struct remote_attributes a = answer_for(&before, folder, n);
                snprintf(name, sizeof(name), "name %u", n);
                if (a.inode)
                        assert_int_equal(tree_listing_add(p->tree, &listing, span_of(name), &a), 0);
        }
        tree_listing_end(p->tree, &listing, random_below(&p->random, 8) > 0);
}

static void check(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct tree_view view;
        char path[REMOTE_PATH_BYTES], wanted[64];
        switch (find(p->tree, p->folders[folder], name, &view)) {
        case TREE_PRESENT:
                assert_int_equal(view.attributes.inode, p->model.inode[folder][n]);
                assert_int_equal(view.attributes.size, p->model.size[folder][n]);
                assert_int_equal(tree_path(p->tree, view.node, NULL, path), 0);
                snprintf(wanted, sizeof(wanted), "%u/%s", folder, name);
                assert_string_equal(path, wanted);
                break;
        case TREE_ABSENT:
                assert_int_equal(p->model.inode[folder][n], 0);
                break;
        case TREE_UNKNOWN:
                break;
        }
}

static void step(struct play *p)
{
        unsigned folder = random_below(&p->random, FOLDERS), n = random_below(&p->random, NAMES);
        char name[16];
        snprintf(name, sizeof(name), "name %u", n);
        switch (random_below(&p->random, 8)) {
        case 0:
                make(p, folder, n, name);
                break;
        case 1:
                if (p->model.inode[folder][n])
                        tree_removed(p->tree, p->folders[folder], name);
                p->model.inode[folder][n] = 0;
                break;
        case 2:
                move(p, folder, n, name);
                break;
        case 3:
                list_by_chance(p, folder);
                break;
        case 4:
                if (p->given_count > 0)
                        give_back_one(p);
                break;
        default:
                ask(p, folder, n, name);
        }
        for (n = 0; n < NAMES; n++) {
                snprintf(name, sizeof(name), "name %u", n);
                check(p, folder, n, name);
        }
}

static void play(unsigned seed, size_t limit_bytes)
{
        struct play p = { .tree = make_tree(LONG_MS, limit_bytes, 2), .random = { seed } };
        struct tree_counters counters;
        struct tree_view view;
        char name[16];
        p.model.next_inode = 1000;
        for (unsigned i = 0; i < FOLDERS; i++) {
                snprintf(name, sizeof(name), "%u", i);
                note(p.tree, tree_root(p.tree), name, folder_of(10 + i), &view);
                p.folders[i] = view.node;
        }
        for (unsigned i = 0; i < 3000; i++)
                step(&p);
        while (p.given_count > 0)
                give_back_one(&p);
        tree_count(p.tree, &counters);
        assert_in_range(counters.nodes, FOLDERS + 1, FOLDERS * (NAMES + 1) + 1);
        tree_destroy(p.tree);
}

static void test_by_chance_nothing_wrong_is_ever_told(void **state)
{
        (void)state;
        for (unsigned seed = 1; seed <= 40; seed++) {
                play(seed, PLENTY);
                play(seed, 4000);
        }
}

/* ---- several threads ---- */

static void *busy(void *context)
{
        struct tree *tree = context;
        struct node *root = tree_root(tree);
        struct random random = { (uint64_t)(uintptr_t)&random };
        struct tree_view view;
        struct tree_member member;
        char name[16];
        for (unsigned i = 0; i < 3000; i++) {
                struct remote_attributes a = file_of(10 + random_below(&random, 40), random_below(&random, 3), "");
                snprintf(name, sizeof(name), "%u", random_below(&random, 20));
                switch (random_below(&random, 5)) {
                case 0:
                        if (tree_made(tree, root, name, &a, true, false, &view) == 0)
                                tree_forget(tree, view.node, 1);
                        break;
                case 1:
                        tree_removed(tree, root, name);
                        break;
                case 2:
                        if (note(tree, root, name, a, &view) == 0)
                                tree_forget(tree, view.node, 1);
                        break;
                case 3:
                        member.cookie = 0;
                        while (tree_next(tree, root, member.cookie, true, &member))
                                tree_forget(tree, member.view.node, 1);
                        break;
                default:
                        list(tree, root, (const char *const[]){ "1", "2", "3" }, 3);
                }
        }
        return NULL;
}

static void test_threads_at_a_time(void **state)
{
        (void)state;
        struct tree *tree = make_tree(5, 3000, 2);
        pthread_t threads[4];
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, busy, tree), 0);
        for (unsigned i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
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
                cmocka_unit_test(test_a_file_being_written_is_this_mounts),
                cmocka_unit_test(test_answers_that_are_older_than_a_change_are_not_kept),
                cmocka_unit_test(test_what_is_distrusted_is_asked_for_anew),
                cmocka_unit_test(test_a_listing_tells_what_is_there_and_what_not),
                cmocka_unit_test(test_changes_during_a_listing_win),
                cmocka_unit_test(test_readers_go_on_where_they_were),
                cmocka_unit_test(test_renamed_folders_take_along_what_is_in_them),
                cmocka_unit_test(test_an_answer_for_a_path_that_moved_says_nothing),
                cmocka_unit_test(test_names_of_one_file_lead_to_one_node),
                cmocka_unit_test(test_numbers_where_the_server_tells_none),
                cmocka_unit_test(test_numbers_of_new_files_are_the_servers_in_the_end),
                cmocka_unit_test(test_files_below_a_folder_are_found),
                cmocka_unit_test(test_memory_is_bounded),
                cmocka_unit_test(test_a_folder_that_is_read_is_dropped_afterwards),
                cmocka_unit_test(test_a_removed_change_that_was_dropped_makes_answers_doubtful),
                cmocka_unit_test(test_a_hundred_thousand_names),
                cmocka_unit_test(test_walkers_are_seen_and_folders_ahead_of_them_found),
                cmocka_unit_test(test_many_single_names_are_worth_a_listing),
                cmocka_unit_test(test_a_slow_listing_holds_from_its_end_and_as_long_as_it_took),
                cmocka_unit_test(test_by_chance_nothing_wrong_is_ever_told),
                cmocka_unit_test(test_threads_at_a_time),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
