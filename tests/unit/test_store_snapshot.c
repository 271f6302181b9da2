/* Folders that are remembered: when, how long, and that nothing old is ever told. */
#include "store_help.h"

/* A walk of the folder tells of so many members, and of each what is so now. */
static void expect_told(struct shop *shop, const char *folder, unsigned count)
{
        struct store_walk_options options = { .depth = 1, .hidden = true };
        struct store_member member;
        struct store_walk *walk;
        unsigned told = 0;
        int got;

        assert_int_equal(store_walk_create(&walk, shop->tree, folder, &options), 0);
        while ((got = store_walk_next(walk, &member)) == 1) {
                struct store_state state = state_of(shop, member.path);

                told++;
                assert_int_equal(member.state.kind, state.kind);
                assert_int_equal(member.state.size, state.size);
                assert_int_equal(member.state.mode, state.mode);
                assert_int_equal(member.state.inode, state.inode);
                assert_string_equal(member.state.etag, state.etag);
                assert_true(store_same_time(&member.state.changed, &state.changed));
        }
        assert_int_equal(got, 0);
        store_walk_destroy(walk);
        assert_int_equal(told, count + 1);
}

/* Whether the next walk would be from memory. Counts as one itself. */
static bool is_kept(struct shop *shop, const char *path)
{
        int folder = openat(shop->folder.fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct store_snapshot *snapshot;
        struct store_state state;
        bool whole;

        assert_int_equal(store_state_of(folder, &state), 0);
        snapshot = store_snapshot_open(shop->tree->snapshots, folder, &state, &whole);
        close(folder);
        if (snapshot)
                store_snapshot_close(snapshot, false);
        return whole;
}

static void fill(struct shop *shop)
{
        make_folder(shop, "folder");
        make_folder(shop, "folder/sub");
        must_put(shop, "folder/one", "1");
        must_put(shop, "folder/two", "22");
        must_put(shop, "outside", "x");
        expect_told(shop, "folder", 3);
}

static void what_is_listed_again_is_kept(void **test)
{
        struct shop *shop = *test;

        fill(shop);
        assert_false(is_kept(shop, "folder")); /* after one walk nothing is */
        expect_told(shop, "folder", 3);
        for (unsigned i = 0; i < 3; i++) {
                assert_true(is_kept(shop, "folder"));
                expect_told(shop, "folder", 3);
        }
}

static void it_counts_for_a_moment_only(void **test)
{
        struct shop *shop = *test;

        fill(shop);
        expect_told(shop, "folder", 3);
        assert_true(is_kept(shop, "folder"));
        usleep((STORE_TRUST_MS + 100) * 1000);
        assert_false(is_kept(shop, "folder"));
}

static void write_in(struct shop *shop, const char *path, const char *text, int flags)
{
        int file = openat(shop->folder.fd, path, O_WRONLY | O_CLOEXEC | flags, 0644);

        assert_int_equal(write(file, text, strlen(text)), strlen(text));
        close(file);
}

/* Makes a change that must be seen; returns how many members there are then. */
static unsigned change(struct shop *shop, unsigned number)
{
        int folder = shop->folder.fd;

        switch (number) {
        case 0:
                write_in(shop, "folder/one", "one", 0);
                return 3;
        case 1:
                write_in(shop, "folder/new", "new", O_CREAT | O_EXCL);
                return 4;
        case 2:
                assert_int_equal(unlinkat(folder, "folder/one", 0), 0);
                return 2;
        case 3:
                assert_int_equal(renameat(folder, "folder/one", folder, "gone"), 0);
                return 2;
        case 4:
                assert_int_equal(renameat(folder, "outside", folder, "folder/one"), 0);
                return 3;
        case 5:
                assert_int_equal(fchmodat(folder, "folder/one", 0600, 0), 0);
                return 3;
        case 6:
                assert_int_equal(utimensat(folder, "folder/one", (struct timespec[2]){ { 0 }, { .tv_sec = 7 } }, 0), 0);
                return 3;
        case 7:
                assert_int_equal(truncate(full_path(shop, "folder/two"), 1), 0);
                return 3;
        case 8:
                set_attribute(shop, "folder/two", "user.colour", "blue");
                return 3;
        case 9:
                must_put(shop, "folder/one", "put over it");
                return 3;
        case 10:
                assert_int_equal(linkat(folder, "outside", folder, "folder/linked", 0), 0);
                return 4;
        default:
                assert_int_equal(mkdirat(folder, "folder/made", 0755), 0);
                return 4;
        }
}

static void every_change_is_seen_at_once(void **test)
{
        struct shop *shop = *test;

        for (unsigned number = 0; number < 12; number++) {
                fill(shop);
                expect_told(shop, "folder", 3);
                assert_true(is_kept(shop, "folder"));
                expect_told(shop, "folder", change(shop, number));
                assert_int_equal(nftw(full_path(shop, "folder"), folder_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
                unlinkat(shop->folder.fd, "outside", 0);
                unlinkat(shop->folder.fd, "gone", 0);
        }
}

/* The watch is on the folder: what changes elsewhere is looked at each time. */
static void what_the_watch_does_not_see_is_not_believed(void **test)
{
        struct shop *shop = *test;

        fill(shop);
        assert_int_equal(linkat(shop->folder.fd, "outside", shop->folder.fd, "folder/hard", 0), 0);
        assert_int_equal(symlinkat("../outside", shop->folder.fd, "folder/soft"), 0);
        shop->tree->links = true;
        expect_told(shop, "folder", 5);
        expect_told(shop, "folder", 5);
        assert_true(is_kept(shop, "folder"));
        write_in(shop, "outside", "longer", O_APPEND);
        must_put(shop, "folder/sub/file", "x");
        assert_true(is_kept(shop, "folder"));
        expect_told(shop, "folder", 5);
}

static void half_a_walk_leaves_nothing(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .depth = 1 };
        struct store_member member;
        struct store_walk *walk;

        fill(shop);
        assert_int_equal(store_walk_create(&walk, shop->tree, "folder", &options), 0);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(store_walk_next(walk, &member), 1);
        assert_false(is_kept(shop, "folder")); /* another one is at it */
        store_walk_destroy(walk);
        assert_false(is_kept(shop, "folder"));
        expect_told(shop, "folder", 3);
        assert_true(is_kept(shop, "folder"));
}

/* While it is read, the folder changes. */
static void what_changed_meanwhile_is_not_kept(void **test)
{
        struct shop *shop = *test;
        struct store_walk_options options = { .depth = 1 };
        struct store_member member;
        struct store_walk *walk;

        fill(shop);
        assert_int_equal(store_walk_create(&walk, shop->tree, "folder", &options), 0);
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(store_walk_next(walk, &member), 1);
        write_in(shop, "folder/one", "one", 0);
        while (store_walk_next(walk, &member) == 1)
                ;
        store_walk_destroy(walk);
        expect_told(shop, "folder", 3);
}

static void make_many(struct shop *shop, const char *folder, unsigned count)
{
        char path[300];

        make_folder(shop, folder);
        for (unsigned i = 0; i < count; i++) {
                snprintf(path, sizeof(path), "%s/%0200u", folder, i);
                plant(shop, path);
        }
}

static void walk_over(struct shop *shop, const char *folder, unsigned count)
{
        struct store_walk_options options = { .depth = 1 };
        struct store_member member;
        struct store_walk *walk;
        unsigned told = 0;

        assert_int_equal(store_walk_create(&walk, shop->tree, folder, &options), 0);
        while (store_walk_next(walk, &member) == 1)
                told++;
        store_walk_destroy(walk);
        assert_int_equal(told, count + 1);
}

static bool is_kept_when_walked_twice(struct shop *shop, const char *folder, unsigned count)
{
        walk_over(shop, folder, count);
        walk_over(shop, folder, count);
        return is_kept(shop, folder);
}

static void there_is_room_for_so_much(void **test)
{
        struct shop *shop = *test;
        enum { FITS = 7000, TOO_MANY = 14000 };

        make_many(shop, "large", TOO_MANY);
        assert_false(is_kept_when_walked_twice(shop, "large", TOO_MANY));
        make_many(shop, "a", FITS);
        make_many(shop, "b", FITS);
        make_many(shop, "c", FITS);
        assert_true(is_kept_when_walked_twice(shop, "a", FITS));
        assert_true(is_kept_when_walked_twice(shop, "b", FITS));
        assert_false(is_kept_when_walked_twice(shop, "c", FITS));
}

static void there_may_be_room_for_nothing(void **test)
{
        struct shop *shop = *test;

        fill(shop);
        store_tree_remember(shop->tree, 0);
        for (unsigned i = 0; i < 3; i++)
                expect_told(shop, "folder", 3);
        assert_false(is_kept(shop, "folder"));
}

/* Many small ones come and go: the oldest give way. */
static void there_is_room_for_so_many(void **test)
{
        struct shop *shop = *test;
        char name[16];

        for (unsigned i = 0; i < 100; i++) {
                snprintf(name, sizeof(name), "%u", i);
                make_folder(shop, name);
                assert_true(is_kept_when_walked_twice(shop, name, 0) == true);
        }
        assert_false(is_kept(shop, "0"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(what_is_listed_again_is_kept), shop_test(it_counts_for_a_moment_only),
                shop_test(every_change_is_seen_at_once), shop_test(what_the_watch_does_not_see_is_not_believed),
                shop_test(half_a_walk_leaves_nothing),   shop_test(what_changed_meanwhile_is_not_kept),
                shop_test(there_is_room_for_so_much),    shop_test(there_may_be_room_for_nothing),
                shop_test(there_is_room_for_so_many),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
