/* Sections: who waits for whom, and that nobody waits for ever. */
#include "store_help.h"

static void a_section_tells_what_stands_there(void **test)
{
        struct shop *shop = *test;
        struct store_section section;

        must_put(shop, "file", "x");
        make_folder(shop, "a");
        enter(shop, &section, "file");
        assert_int_equal(section.now.kind, STORE_IS_FILE);
        assert_string_equal(section.name, "file");
        store_leave(&section);
        enter(shop, &section, "a/none");
        assert_int_equal(section.now.kind, STORE_NOTHING);
        assert_int_equal(section.now.etag_size, 0);
        assert_string_equal(section.name, "none");
        store_leave(&section);
        enter(shop, &section, "");
        assert_int_equal(section.now.kind, STORE_IS_FOLDER);
        assert_string_equal(section.name, "");
        store_leave(&section);
}

static void the_folder_above_must_be_there(void **test)
{
        struct shop *shop = *test;
        struct store_section section, second;
        struct store_state state;
        bool second_failed;

        must_put(shop, "file", "x");
        assert_int_equal(store_enter(&section, shop->tree, "none/x"), -ENOENT);
        assert_int_equal(store_enter(&section, shop->tree, "file/x"), -ENOTDIR);
        assert_int_equal(store_look(shop->tree, "none/x", &state), -ENOENT);
        assert_int_equal(store_look(shop->tree, "file/x", &state), -ENOTDIR);
        assert_int_equal(store_enter_two(&section, &second, shop->tree, "none/x", "file", &second_failed), -ENOENT);
        assert_false(second_failed);
        assert_int_equal(store_enter_two(&section, &second, shop->tree, "file", "file/x", &second_failed), -ENOTDIR);
        assert_true(second_failed);
        enter(shop, &section, "file"); /* nothing is held any more */
        store_leave(&section);
}

/* 0, or what entering `path` says in another process. */
static int enter_elsewhere(struct shop *shop, const char *path)
{
        pid_t child = fork();
        int status;

        if (child == 0) {
                struct store_tree *tree;
                struct store_section section;

                child_ensure(store_tree_create(&tree, shop->folder.fd, false, false) == 0);
                tree->busy_ms = 30;
                _exit(-store_enter(&section, tree, path));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        return -WEXITSTATUS(status);
}

static void another_process_waits_and_then_is_told(void **test)
{
        struct shop *shop = *test;
        struct store_section section;

        make_folder(shop, "a");
        enter(shop, &section, "a/x");
        assert_int_equal(enter_elsewhere(shop, "a/y"), -EBUSY);
        assert_int_equal(enter_elsewhere(shop, "b"), 0);
        store_leave(&section);
        assert_int_equal(enter_elsewhere(shop, "a/y"), 0);
}

static void two_sections_hold_both_folders(void **test)
{
        struct shop *shop = *test;
        struct store_section first, second;
        bool second_failed;

        make_folder(shop, "a");
        make_folder(shop, "b");
        make_folder(shop, "c");
        assert_int_equal(store_enter_two(&first, &second, shop->tree, "b/x", "a/y", &second_failed), 0);
        assert_int_equal(enter_elsewhere(shop, "a/z"), -EBUSY);
        assert_int_equal(enter_elsewhere(shop, "b/z"), -EBUSY);
        assert_int_equal(enter_elsewhere(shop, "c/z"), 0);
        store_leave_two(&first, &second);
        assert_int_equal(enter_elsewhere(shop, "a/z"), 0);
        assert_int_equal(enter_elsewhere(shop, "b/z"), 0);
}

static void two_sections_may_lie_in_one_folder(void **test)
{
        struct shop *shop = *test;
        struct store_section first, second;
        bool second_failed;

        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(store_enter_two(&first, &second, shop->tree, "x", "y", &second_failed), 0);
                assert_int_equal(enter_elsewhere(shop, "z"), -EBUSY);
                store_leave_two(&first, &second);
        }
        assert_int_equal(enter_elsewhere(shop, "z"), 0);
}

static void *try_to_enter(void *context)
{
        struct shop *shop = context;
        struct store_section section;
        int error = store_enter(&section, shop->tree, "x");

        if (!error)
                store_leave(&section);
        return (void *)(intptr_t)error;
}

static int enter_by_thread(struct shop *shop)
{
        pthread_t thread;
        void *error;

        assert_int_equal(pthread_create(&thread, NULL, try_to_enter, shop), 0);
        pthread_join(thread, &error);
        return (int)(intptr_t)error;
}

static void threads_exclude_each_other_with_and_without_flock(void **test)
{
        struct shop *shop = *test;
        struct store_section section;

        shop->tree->busy_ms = 30;
        for (unsigned i = 0; i < 2; i++) {
                shop->tree->without_flock = i;
                enter(shop, &section, "x");
                assert_int_equal(enter_by_thread(shop), -EBUSY);
                store_leave(&section);
                assert_int_equal(enter_by_thread(shop), 0);
        }
}

/* Each thread takes pairs of folders in its own order. */
enum { FOLDERS = 6, CROSSERS = 6, CROSSINGS = 300 };

struct crossing {
        struct shop *shop;
        pthread_t thread;
        unsigned number;
        int holders[FOLDERS]; /* shared by all, in the first one */
};

static struct crossing crossings[CROSSERS];

static void hold(unsigned folder, int change)
{
        int before = __atomic_fetch_add(&crossings[0].holders[folder], change, __ATOMIC_SEQ_CST);

        child_ensure(before == (change > 0 ? 0 : 1));
}

static void *cross(void *context)
{
        struct crossing *crossing = context;
        struct random random = { crossing->number };

        for (unsigned i = 0; i < CROSSINGS; i++) {
                unsigned a = random_below(&random, FOLDERS), b = random_below(&random, FOLDERS);
                struct store_section first, second;
                char first_path[16], second_path[16];
                bool second_failed;

                snprintf(first_path, sizeof(first_path), "%u/x", a);
                snprintf(second_path, sizeof(second_path), "%u/y", b);
                child_ensure(store_enter_two(&first, &second, crossing->shop->tree, first_path, second_path,
                                             &second_failed) == 0);
                hold(a, 1);
                if (a != b)
                        hold(b, 1);
                hold(a, -1);
                if (a != b)
                        hold(b, -1);
                store_leave_two(&first, &second);
        }
        return NULL;
}

static void cross_in_process(struct shop *shop)
{
        struct shop own = { .folder = shop->folder };

        child_ensure(store_tree_create(&own.tree, own.folder.fd, false, false) == 0);
        for (unsigned i = 0; i < CROSSERS; i++) {
                crossings[i].shop = &own;
                crossings[i].number = i + (unsigned)getpid();
                child_ensure(pthread_create(&crossings[i].thread, NULL, cross, &crossings[i]) == 0);
        }
        for (unsigned i = 0; i < CROSSERS; i++)
                pthread_join(crossings[i].thread, NULL);
        store_tree_destroy(own.tree);
}

static void pairs_in_any_order_do_not_lock_each_other_up(void **test)
{
        struct shop *shop = *test;
        pid_t children[2];

        for (unsigned i = 0; i < FOLDERS; i++)
                make_folder(shop, (char[]){ (char)('0' + i), 0 });
        for (unsigned i = 0; i < 2; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        cross_in_process(shop);
                        _exit(0);
                }
        }
        expect_exit(children[0], 0);
        expect_exit(children[1], 0);
}

static void a_forked_process_keeps_no_section(void **test)
{
        struct shop *shop = *test;
        struct store_section section;
        pid_t child;

        enter(shop, &section, "x");
        child = fork();
        if (child == 0) {
                pause();
                _exit(0);
        }
        store_leave(&section);
        assert_int_equal(enter_elsewhere(shop, "y"), 0);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(a_section_tells_what_stands_there),
                shop_test(the_folder_above_must_be_there),
                shop_test(another_process_waits_and_then_is_told),
                shop_test(two_sections_hold_both_folders),
                shop_test(two_sections_may_lie_in_one_folder),
                shop_test(threads_exclude_each_other_with_and_without_flock),
                shop_test(pairs_in_any_order_do_not_lock_each_other_up),
                shop_test(a_forked_process_keeps_no_section),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
