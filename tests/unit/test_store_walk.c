/* Walking a tree: what is told, in which order, and that depth and number do not matter. */
#include "store_help.h"

static const struct store_walk_options everything = { .depth = INT32_MAX, .hidden = true };

static int compare(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All paths, sorted, one to a line, folders with a slash, links with an @; free() it. */
static char *paths_of(struct shop *shop, const char *path, const struct store_walk_options *options)
{
        char *lines[64], *all = NULL;
        unsigned count = 0;
        struct store_member member;
        struct store_walk *walk;
        size_t size;
        FILE *out = open_memstream(&all, &size);
        int got;

        assert_int_equal(store_walk_create(&walk, shop->tree, path, options), 0);
        while ((got = store_walk_next(walk, &member)) == 1) {
                const char *slash = strrchr(member.path, '/');

                assert_true(count < array_count(lines));
                assert_string_equal(member.name, slash ? slash + 1 : member.path);
                assert_true(asprintf(&lines[count++], "%s%s", member.path,
                                     member.state.kind == STORE_IS_FOLDER ? "/"
                                     : member.state.kind == STORE_IS_LINK ? "@"
                                                                          : "") >= 0);
        }
        assert_int_equal(got, 0);
        assert_int_equal(store_walk_next(walk, &member), 0);
        store_walk_destroy(walk);
        qsort(lines, count, sizeof(lines[0]), compare);
        for (unsigned i = 0; i < count; i++) {
                fprintf(out, "%s\n", lines[i]);
                free(lines[i]);
        }
        fclose(out);
        return all;
}

static void expect_paths(struct shop *shop, const char *path, const struct store_walk_options *options,
                         const char *expected)
{
        char *paths = paths_of(shop, path, options);

        assert_string_equal(paths, expected);
        free(paths);
}

static void fill(struct shop *shop)
{
        make_folder(shop, "a");
        make_folder(shop, "a/b");
        make_folder(shop, "a/.hidden");
        must_put(shop, "a/b/file", "x");
        must_put(shop, "a/one", "x");
        must_put(shop, "a/.hidden/inner", "x");
        must_put(shop, "two", "xy");
}

static void depth_says_how_far(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .hidden = true };

        fill(shop);
        expect_paths(shop, "a", &options, "a/\n");
        expect_paths(shop, "two", &options, "two\n");
        options.depth = 1;
        expect_paths(shop, "a", &options, "a/\na/.hidden/\na/b/\na/one\n");
        expect_paths(shop, "two", &options, "two\n");
        options.depth = INT32_MAX;
        expect_paths(shop, "", &options, "/\na/\na/.hidden/\na/.hidden/inner\na/b/\na/b/file\na/one\ntwo\n");
}

static void what_is_hidden_is_left_out_with_what_is_in_it(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .depth = INT32_MAX };

        fill(shop);
        expect_paths(shop, "", &options, "/\na/\na/b/\na/b/file\na/one\ntwo\n");
        expect_paths(shop, "a/.hidden", &options, "a/.hidden/\na/.hidden/inner\n");
}

static void staging_is_never_told(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        must_put(shop, "file", "y");
        assert_true(is_there(shop, STORE_STAGING));
        expect_paths(shop, "", &everything, "/\nfile\n");
}

static void folders_come_before_what_is_in_them(void **test)
{
        struct shop *shop = *test;
        struct store_member member;
        struct store_walk *walk;
        char last[64] = "";

        make_folder(shop, "a");
        make_folder(shop, "a/b");
        make_folder(shop, "a/b/c");
        assert_int_equal(store_walk_create(&walk, shop->tree, "a", &everything), 0);
        while (store_walk_next(walk, &member) == 1) {
                assert_int_equal(strncmp(member.path, last, strlen(last)), 0);
                snprintf(last, sizeof(last), "%s", member.path);
        }
        assert_string_equal(last, "a/b/c");
        store_walk_destroy(walk);
}

static void nothing_there_is_an_error(void **test)
{
        struct shop *shop = *test;
        struct store_walk *walk;

        must_put(shop, "file", "x");
        assert_int_equal(store_walk_create(&walk, shop->tree, "none", &everything), -ENOENT);
        assert_int_equal(store_walk_create(&walk, shop->tree, "none/none", &everything), -ENOENT);
        assert_int_equal(store_walk_create(&walk, shop->tree, "file/none", &everything), -ENOTDIR);
        store_walk_destroy(NULL);
}

static void links_are_followed_told_or_left_out(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .depth = INT32_MAX };
        struct store_walk *walk;

        make_folder(shop, "a");
        must_put(shop, "a/file", "content");
        folder_link(&shop->folder, "a", "to-folder");
        folder_link(&shop->folder, "a/file", "to-file");
        folder_link(&shop->folder, "..", "a/circle");
        folder_link(&shop->folder, "/etc/passwd", "outside");
        folder_link(&shop->folder, "nothing", "nowhere");
        assert_int_equal(mkfifoat(shop->folder.fd, "fifo", 0644), 0);
        expect_paths(shop, "", &options, "/\na/\na/file\n");
        assert_int_equal(store_walk_create(&walk, shop->tree, "to-file", &options), -ENOENT);
        shop->tree->links = true;
        expect_paths(shop, "", &options, "/\na/\na/circle/\na/file\nto-file\nto-folder/\n");
        expect_paths(shop, "to-folder", &options, "to-folder/\nto-folder/circle/\nto-folder/file\n");
        expect_paths(shop, "to-file", &options, "to-file\n");
        options.links = true;
        expect_paths(shop, "", &options, "/\na/\na/circle@\na/file\nnowhere@\noutside@\nto-file@\nto-folder@\n");
        expect_paths(shop, "to-folder", &options, "to-folder@\n");
}

static void attributes_are_found_out_when_asked_for(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .depth = 1, .attributes = true };
        struct store_member member;

        must_put(shop, "bare", "x");
        must_put(shop, "dressed", "x");
        set_attribute(shop, "dressed", "user.colour", "blue");
        for (unsigned i = 0; i < 3; i++) {
                struct store_walk *walk;

                options.attributes = i < 2;
                store_xattr_by_proc(i == 1);
                assert_int_equal(store_walk_create(&walk, shop->tree, "", &options), 0);
                while (store_walk_next(walk, &member) == 1)
                        assert_int_equal(member.has_attributes, i == 2 || strcmp(member.name, "dressed") == 0);
                store_walk_destroy(walk);
        }
        store_xattr_by_proc(false);
}

static bool is_dressed(struct shop *shop, const char *path)
{
        struct store_walk_options options = { .attributes = true };
        struct store_member member;
        struct store_walk *walk;

        assert_int_equal(store_walk_create(&walk, shop->tree, path, &options), 0);
        assert_int_equal(store_walk_next(walk, &member), 1);
        store_walk_destroy(walk);
        return member.has_attributes;
}

static void who_is_known_to_have_no_attributes_is_asked_again_when_changed(void **test)
{
        struct shop *shop = *test;
        struct store_state state;
        struct timespec looked;

        must_put(shop, "file", "x");
        set_attribute(shop, "file", "user.colour", "blue");
        assert_int_equal(store_look(shop->tree, "file", &state), 0);
        looked = state.changed;
        looked.tv_sec += 2;
        store_bare_add(shop->tree->bare, &state, &looked);
        assert_true(is_dressed(shop, "file")); /* it was too young to be remembered */
        looked.tv_sec++;
        store_bare_add(shop->tree->bare, &state, &looked);
        assert_false(is_dressed(shop, "file")); /* nobody looks */
        set_attribute(shop, "file", "user.colour", "red");
        assert_true(is_dressed(shop, "file"));
}

static void many_are_remembered_and_no_others(void **test)
{
        struct shop *shop = *test;
        struct store_state state = { .device = 7, .changed = { .tv_sec = 1000, .tv_nsec = 5 } };
        struct timespec looked = { .tv_sec = 2000 };
        unsigned kept = 0;

        for (state.inode = 1; state.inode <= 10000; state.inode++)
                store_bare_add(shop->tree->bare, &state, &looked);
        for (state.inode = 1; state.inode <= 10000; state.inode++)
                kept += store_bare_has(shop->tree->bare, &state);
        assert_in_range(kept, 9900, 10000);
        for (state.inode = 10001; state.inode <= 20000; state.inode++)
                assert_false(store_bare_has(shop->tree->bare, &state));
        state.inode = 1;
        state.changed.tv_nsec = 6;
        assert_false(store_bare_has(shop->tree->bare, &state));
        state.changed.tv_nsec = 5;
        state.device = 8;
        assert_false(store_bare_has(shop->tree->bare, &state));
}

static void ten_thousand_files_are_each_told_once(void **test)
{
        struct shop *shop = *test;
        enum { FILES = 10000 };
        struct store_walk_options options = { .depth = 1, .attributes = true };
        bool *seen = calloc(FILES, sizeof(*seen));
        struct store_member member;
        struct store_walk *walk;
        unsigned count = 0;
        char name[16];

        make_folder(shop, "many");
        for (unsigned i = 0; i < FILES; i++) {
                snprintf(name, sizeof(name), "many/%u", i);
                close(openat(shop->folder.fd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
        }
        assert_int_equal(store_walk_create(&walk, shop->tree, "many", &options), 0);
        while (store_walk_next(walk, &member) == 1) {
                if (member.state.kind != STORE_IS_FILE)
                        continue;
                assert_false(seen[atoi(member.name)]);
                seen[atoi(member.name)] = true;
                count++;
        }
        store_walk_destroy(walk);
        assert_int_equal(count, FILES);
        free(seen);
}

/* `deep` folders d/d/d/..., each with a file f and, after it in some order, a folder e. */
static void make_deep(struct shop *shop, unsigned deep)
{
        int at = dup(shop->folder.fd);

        for (unsigned i = 0; i < deep; i++) {
                int next;

                assert_int_equal(mkdirat(at, "d", 0755), 0);
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = next;
                close(openat(at, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
                assert_int_equal(mkdirat(at, "e", 0755), 0);
        }
        close(at);
}

static unsigned count_members(struct shop *shop, const char *path, unsigned *descriptors)
{
        struct store_member member;
        struct store_walk *walk;
        unsigned count = 0;

        assert_int_equal(store_walk_create(&walk, shop->tree, path, &everything), 0);
        while (store_walk_next(walk, &member) == 1) {
                count++;
                *descriptors = max_of(*descriptors, entries_in(AT_FDCWD, "/proc/self/fd"));
        }
        store_walk_destroy(walk);
        return count;
}

static void a_deep_tree_is_walked_with_few_descriptors(void **test)
{
        struct shop *shop = *test;
        unsigned before = entries_in(AT_FDCWD, "/proc/self/fd"), most = 0;

        make_deep(shop, 200);
        assert_int_equal(count_members(shop, "d", &most), 200 * 3);
        assert_true(most <= before + store_open_levels() + 4);
        assert_int_equal(entries_in(AT_FDCWD, "/proc/self/fd"), before);
}

/* Far below, a folder on the way is moved: the way up must neither lead to where that lies now nor end. */
static void a_folder_moved_on_the_way_leads_nowhere_else(void **test)
{
        struct shop *shop = *test;
        struct store_member member;
        struct store_walk *walk;
        bool moved = false;
        int got;
        char name[32];

        make_deep(shop, 60);
        make_folder(shop, "elsewhere");
        for (unsigned i = 0; i < 200; i++) {
                snprintf(name, sizeof(name), "elsewhere/secret%u", i);
                plant(shop, name);
        }
        for (unsigned i = 0; i < 200; i++) {
                snprintf(name, sizeof(name), "d/d/plain%u", i);
                plant(shop, name);
        }
        assert_int_equal(store_walk_create(&walk, shop->tree, "d", &everything), 0);
        while ((got = store_walk_next(walk, &member)) == 1) {
                unsigned depth = 0;

                for (const char *at = member.path; *at; at++)
                        depth += *at == '/';
                if (depth > 55 && !moved)
                        moved = renameat(shop->folder.fd, "d/d/d", shop->folder.fd, "elsewhere/moved") == 0;
                assert_null(strstr(member.name, "secret"));
        }
        store_walk_destroy(walk);
        assert_true(moved);
        assert_int_equal(got, 0);
}

static void what_is_too_deep_is_told_but_not_entered(void **test)
{
        struct shop *shop = *test;
        unsigned most = 0;

        make_deep(shop, STORE_MAX_DEPTH + 20);
        /* Of the first STORE_MAX_DEPTH everything, and of the next the folder alone. */
        assert_int_equal(count_members(shop, "d", &most), STORE_MAX_DEPTH * 3 + 1);
}

/* Longer than any path that the kernel takes at once. */
static void long_names_all_the_way_down(void **test)
{
        struct shop *shop = *test;
        int at = dup(shop->folder.fd);
        unsigned most = 0;
        char name[256];
        struct store_section section;

        memset(name, 'n', 255);
        name[255] = '\0';
        for (unsigned i = 0; i < 60; i++) {
                int next;

                assert_int_equal(mkdirat(at, name, 0755), 0);
                next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = next;
        }
        close(at);
        assert_int_equal(count_members(shop, name, &most), 60);
        enter(shop, &section, name);
        assert_int_equal(store_remove(&section, NULL), 0);
        store_leave(&section);
        assert_false(is_there(shop, name));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(depth_says_how_far),
                shop_test(what_is_hidden_is_left_out_with_what_is_in_it),
                shop_test(staging_is_never_told),
                shop_test(folders_come_before_what_is_in_them),
                shop_test(nothing_there_is_an_error),
                shop_test(links_are_followed_told_or_left_out),
                shop_test(attributes_are_found_out_when_asked_for),
                shop_test(who_is_known_to_have_no_attributes_is_asked_again_when_changed),
                shop_test(many_are_remembered_and_no_others),
                shop_test(ten_thousand_files_are_each_told_once),
                shop_test(a_deep_tree_is_walked_with_few_descriptors),
                shop_test(a_folder_moved_on_the_way_leads_nowhere_else),
                shop_test(what_is_too_deep_is_told_but_not_entered),
                shop_test(long_names_all_the_way_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
