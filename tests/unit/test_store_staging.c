/* The staging folder: when it comes, when it goes, and what cleaning takes and leaves. */
#include "store_help.h"

static int stage(struct shop *shop)
{
        return store_staging(shop->tree, shop->folder.fd);
}

static void the_staging_folder_is_out_of_reach(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { 0 };
        struct store_section section;
        struct store_state state;
        struct store_walk *walk;

        assert_true(stage(shop) >= 0);
        assert_int_equal(store_look(shop->tree, STORE_STAGING, &state), -EACCES);
        assert_int_equal(store_enter(&section, shop->tree, STORE_STAGING), -EACCES);
        assert_int_equal(store_enter(&section, shop->tree, STORE_STAGING "/x"), -EACCES);
        assert_int_equal(store_walk_create(&walk, shop->tree, STORE_STAGING, &options), -EACCES);
}

static void any_part_of_a_path_may_be_the_staging_folder(void **test)
{
        (void)test;
        assert_true(store_is_staging(SPAN(".berth-staging")));
        assert_true(store_is_staging(SPAN(".berth-staging/12345678/x")));
        assert_true(store_is_staging(SPAN("mount/.berth-staging")));
        assert_true(store_is_staging(SPAN(".Berth-STAGING")));
        assert_false(store_is_staging(SPAN("")));
        assert_false(store_is_staging(SPAN("a/.berth-staging2")));
        assert_false(store_is_staging(SPAN("berth-staging")));
}

static void it_comes_with_the_first_need_and_goes_with_the_tree(void **test)
{
        struct shop *shop = *test;
        struct store_tree *other;
        struct stat st;
        int staging;

        assert_int_equal(store_tree_create(&other, shop->folder.fd, false, false), 0);
        assert_int_equal(store_tree_clean(other), 0);
        assert_int_equal(entries_in(shop->folder.fd, "."), 0);
        staging = store_staging(other, shop->folder.fd);
        assert_true(staging >= 0);
        assert_int_equal(store_staging(other, shop->folder.fd), staging);
        assert_int_equal(fstatat(shop->folder.fd, STORE_STAGING, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        assert_true(stage(shop) >= 0);
        assert_int_equal(entries_in(shop->folder.fd, STORE_STAGING), 2);
        store_tree_destroy(other);
        assert_int_equal(entries_in(shop->folder.fd, STORE_STAGING), 1);
        store_tree_destroy(shop->tree);
        assert_false(is_there(shop, STORE_STAGING));
        assert_int_equal(store_tree_create(&shop->tree, shop->folder.fd, false, false), 0);
        store_tree_destroy(NULL);
}

static void cleaning_leaves_what_a_living_server_has(void **test)
{
        struct shop *shop = *test;
        struct store_tree *other;
        int staging = stage(shop);

        close(openat(staging, "1", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(store_tree_create(&other, shop->folder.fd, false, false), 0);
        assert_int_equal(store_tree_clean(other), 0);
        assert_int_equal(store_tree_clean(shop->tree), 0);
        assert_int_equal(staged(shop), 1);
        store_tree_destroy(other);
}

/* As a server that died left it: nobody holds the lock. */
static void make_dead(struct shop *shop, const char *path)
{
        int staging = stage(shop);

        (void)staging;
        make_folder(shop, path);
}

static void cleaning_takes_all_that_a_dead_server_left(void **test)
{
        struct shop *shop = *test;

        make_dead(shop, STORE_STAGING "/deadbeef");
        plant(shop, STORE_STAGING "/deadbeef/1");
        make_folder(shop, STORE_STAGING "/deadbeef/2");
        make_folder(shop, STORE_STAGING "/deadbeef/2/sub");
        plant(shop, STORE_STAGING "/deadbeef/2/sub/file");
        folder_link(&shop->folder, "/etc", STORE_STAGING "/deadbeef/2/link");
        make_folder(shop, STORE_STAGING "/deadbeef/x0"); /* one that died while cleaning */
        make_folder(shop, STORE_STAGING "/deadbeef/x0.0");
        plant(shop, STORE_STAGING "/deadbeef/x0.0/file");
        assert_int_equal(fchmodat(shop->folder.fd, STORE_STAGING "/deadbeef/2/sub", 0500, 0), 0);
        assert_int_equal(store_tree_clean(shop->tree), 9);
        assert_false(is_there(shop, STORE_STAGING "/deadbeef"));
        assert_int_equal(entries_in(shop->folder.fd, STORE_STAGING), 1);
        assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static void a_tree_of_any_depth_is_discarded(void **test)
{
        struct shop *shop = *test;
        int staging = stage(shop), at = openat(staging, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (unsigned i = 0; i < 600; i++) {
                int next;

                assert_int_equal(mkdirat(at, "d", 0755), 0);
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = next;
                close(openat(at, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        }
        close(at);
        assert_int_equal(store_discard(staging, "d"), 1200);
        assert_int_equal(staged(shop), 0);
}

static void a_staging_folder_that_was_removed_is_made_again(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "one");
        must_put(shop, "file", "two");
        assert_int_equal(nftw(full_path(shop, STORE_STAGING), folder_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
        must_put(shop, "file", "three");
        expect_content(shop, "file", "three");
        assert_true(is_there(shop, STORE_STAGING));
}

static void a_link_is_no_staging_folder(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "elsewhere");
        must_put(shop, "elsewhere/file", "x");
        folder_link(&shop->folder, "elsewhere", STORE_STAGING);
        assert_true(stage(shop) < 0);
        assert_true(store_tree_clean(shop->tree) < 0);
        expect_content(shop, "elsewhere/file", "x");
}

/* Servers that start, stage and stop, while others clean. */
enum { STARTERS = 3, STARTS = 150 };

static void start_and_stop(struct shop *shop, bool cleaning)
{
        for (unsigned i = 0; i < STARTS; i++) {
                struct store_tree *tree;
                int staging, fd;

                child_ensure(store_tree_create(&tree, shop->folder.fd, false, false) == 0);
                if (cleaning) {
                        child_ensure(store_tree_clean(tree) >= 0);
                } else {
                        staging = store_staging(tree, shop->folder.fd);
                        child_ensure((errno = -staging, staging >= 0));
                        fd = openat(staging, "x", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
                        child_ensure(fd >= 0);
                        close(fd);
                        child_ensure(faccessat(staging, "x", F_OK, 0) == 0);
                }
                store_tree_destroy(tree);
        }
}

static void starting_and_cleaning_do_not_meet(void **test)
{
        struct shop *shop = *test;
        pid_t children[STARTERS + 1];

        for (unsigned i = 0; i <= STARTERS; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        start_and_stop(shop, i == STARTERS);
                        _exit(0);
                }
        }
        for (unsigned i = 0; i <= STARTERS; i++)
                expect_exit(children[i], 0);
        assert_false(is_there(shop, STORE_STAGING));
}

/* ---- a mount beneath the root ---- */

static void use_mount(struct shop *shop)
{
        struct store_tree *other;

        if (!mount_small(shop, "m nt", "size=1m"))
                _exit(CHILD_SKIPPED);
        make_folder(shop, "m nt/sub");
        child_ensure(put(shop, "m nt/sub/file", "one") == 0);
        child_ensure(put(shop, "m nt/sub/file", "two") == 0);
        expect_content(shop, "m nt/sub/file", "two");
        child_ensure(is_there(shop, "m nt/" STORE_STAGING) && !is_there(shop, STORE_STAGING));
        make_folder(shop, "m nt/" STORE_STAGING "/deadbeef");
        child_ensure(store_tree_create(&other, shop->folder.fd, false, false) == 0);
        child_ensure(store_tree_clean(other) == 1);
        child_ensure(!is_there(shop, "m nt/" STORE_STAGING "/deadbeef"));
        store_tree_destroy(other);
        store_tree_destroy(shop->tree);
        child_ensure(!is_there(shop, "m nt/" STORE_STAGING));
}

static void a_mount_beneath_the_root_has_its_own(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "m nt");
        in_child(shop, use_mount);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(the_staging_folder_is_out_of_reach),
                shop_test(any_part_of_a_path_may_be_the_staging_folder),
                shop_test(it_comes_with_the_first_need_and_goes_with_the_tree),
                shop_test(cleaning_leaves_what_a_living_server_has),
                shop_test(cleaning_takes_all_that_a_dead_server_left),
                shop_test(a_tree_of_any_depth_is_discarded),
                shop_test(a_staging_folder_that_was_removed_is_made_again),
                shop_test(a_link_is_no_staging_folder),
                shop_test(starting_and_cleaning_do_not_meet),
                shop_test(a_mount_beneath_the_root_has_its_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
