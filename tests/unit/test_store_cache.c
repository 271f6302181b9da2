/* The store of known files, on the epoll engine and a temporary folder. */
#include "folder.h"
#include "store/store.h"

#include <errno.h>
#include <string.h>

struct shop {
        struct folder *folder;
        struct berth_workers *workers;
        struct berth_port *port;
        struct store *store;
        struct store_opening opening;
        bool opened, gone;
};

static void put(struct shop *shop, const char *name, const char *content)
{
        int fd = openat(shop->folder->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, content, strlen(content)), strlen(content));
        close(fd);
}

static void put_large(struct shop *shop, const char *name)
{
        folder_file(shop->folder, name, STORE_CONTENT_BYTES + 1, 1000000000);
}

static void on_opened(struct store_opening *opening)
{
        ((struct shop *)(void *)((char *)opening - offsetof(struct shop, opening)))->opened = true;
}

/* Looks a file up, and opens it when it is not known. */
static struct store_file *get_tagged(struct shop *shop, const char *path, uint8_t tag)
{
        struct store_file *file = store_find(shop->store, span_of(path), tag);
        if (file)
                return file;
        shop->opening = (struct store_opening){
                .done = on_opened, .path = path, .path_size = (uint16_t)strlen(path), .tag = tag
        };
        shop->opened = false;
        store_open(shop->store, &shop->opening);
        while (!shop->opened)
                assert_true(berth_port_run(shop->port, 1000) >= 0);
        return shop->opening.file;
}

static struct store_file *get(struct shop *shop, const char *path)
{
        return get_tagged(shop, path, 0);
}

/* Lets the port hand out what inotify has to tell. */
static void settle(struct shop *shop)
{
        for (int i = 0; i < 4; i++)
                berth_port_run(shop->port, 20);
}

static void on_gone(void *context)
{
        ((struct shop *)context)->gone = true;
}

static int open_shop(void **state)
{
        struct shop *shop = calloc(1, sizeof(*shop));
        void *folder;
        assert_int_equal(folder_setup(&folder), 0);
        shop->folder = folder;
        assert_int_equal(berth_workers_create(&shop->workers, 1, 16), 0);
        struct berth_port_config config = { .engine = "epoll", .workers = shop->workers };
        assert_int_equal(berth_port_create(&shop->port, &config), 0);
        struct store_config store = {
                .port = shop->port, .root = shop->folder->fd, .links = true, .max_files = 4, .content_bytes = 64
        };
        assert_int_equal(store_create(&shop->store, &store), 0);
        *state = shop;
        return 0;
}

static int close_shop(void **state)
{
        struct shop *shop = *state;
        void *folder = shop->folder;
        store_destroy(shop->store, on_gone, shop);
        for (int i = 0; i < 100 && !shop->gone; i++)
                berth_port_run(shop->port, 100);
        assert_true(shop->gone);
        assert_int_equal(berth_port_in_flight(shop->port), 0);
        berth_port_destroy(shop->port);
        berth_workers_destroy(shop->workers);
        free(shop);
        return folder_teardown(&folder);
}

static void test_a_small_file_is_kept_with_its_content(void **state)
{
        struct shop *shop = *state;
        put(shop, "a", "hello");
        struct store_file *file = get(shop, "a");
        assert_non_null(file);
        assert_int_equal(file->size, 5);
        assert_memory_equal(file->content, "hello", 5);
        assert_int_equal(file->etag[0], '"');
        store_release(shop->store, file);
        assert_ptr_equal(store_find(shop->store, SPAN("a"), 0), file);
        store_release(shop->store, file);
}

static void test_a_large_file_is_kept_open(void **state)
{
        struct shop *shop = *state;
        put_large(shop, "large");
        struct store_file *file = get(shop, "large");
        assert_null(file->content);
        assert_true(berth_file_descriptor(&file->handle) >= 0);
        assert_int_equal(file->modified, 1000000000);
        store_release(shop->store, file);
}

static void test_content_is_bounded_in_all(void **state)
{
        struct shop *shop = *state;
        put(shop, "a", "0123456789012345678901234567890123456789");
        put(shop, "b", "0123456789012345678901234567890123456789");
        struct store_file *a = get(shop, "a"), *b = get(shop, "b");
        assert_non_null(a->content);
        assert_null(b->content); /* of 64 bytes 24 were left */
        store_release(shop->store, a);
        store_release(shop->store, b);
}

static void test_a_write_is_noticed_at_once(void **state)
{
        struct shop *shop = *state;
        put(shop, "a", "before");
        struct store_file *before = get(shop, "a");
        usleep(20 * 1000); /* kernels before 6.13 tell times apart only by their tick */
        put(shop, "a", "after!");
        settle(shop);
        assert_null(store_find(shop->store, SPAN("a"), 0));
        struct store_file *after = get(shop, "a");
        assert_memory_equal(after->content, "after!", 6);
        assert_memory_equal(before->content, "before", 6); /* who holds the old one keeps it */
        assert_string_not_equal(before->etag, after->etag);
        store_release(shop->store, before);
        store_release(shop->store, after);
}

static void test_a_replacement_is_noticed_at_once(void **state)
{
        struct shop *shop = *state;
        put_large(shop, "large");
        store_release(shop->store, get(shop, "large"));
        put(shop, "new", "x");
        assert_int_equal(renameat(shop->folder->fd, "new", shop->folder->fd, "large"), 0);
        settle(shop);
        struct store_file *file = get(shop, "large");
        assert_int_equal(file->size, 1);
        store_release(shop->store, file);
}

static void test_a_removal_is_noticed_at_once(void **state)
{
        struct shop *shop = *state;
        put(shop, "a", "x");
        store_release(shop->store, get(shop, "a"));
        assert_int_equal(unlinkat(shop->folder->fd, "a", 0), 0);
        settle(shop);
        assert_null(get(shop, "a"));
        assert_int_equal(shop->opening.result, -ENOENT);
}

static void test_what_a_watch_cannot_tell_is_found_after_the_trust_has_run_out(void **state)
{
        struct shop *shop = *state;
        put(shop, "one", "1");
        put(shop, "two", "2");
        assert_int_equal(symlinkat("one", shop->folder->fd, "link"), 0);
        store_release(shop->store, get(shop, "link"));
        assert_int_equal(symlinkat("two", shop->folder->fd, "other"), 0);
        assert_int_equal(renameat(shop->folder->fd, "other", shop->folder->fd, "link"), 0);
        usleep((STORE_TRUST_MS + 50) * 1000);
        settle(shop);
        struct store_file *file = get(shop, "link");
        assert_memory_equal(file->content, "2", 1);
        store_release(shop->store, file);
}

static void test_an_unchanged_file_stays_the_same_record(void **state)
{
        struct shop *shop = *state;
        put(shop, "a", "x");
        struct store_file *file = get(shop, "a");
        file->missing = 7;
        strcpy(file->note, "mine");
        usleep((STORE_TRUST_MS + 50) * 1000);
        settle(shop);
        assert_null(store_find(shop->store, SPAN("a"), 0));
        assert_ptr_equal(get(shop, "a"), file);
        assert_string_equal(file->note, "mine");
        assert_int_equal(file->missing, 0); /* looked at anew: what was missing may be there now */
        store_release(shop->store, file);
        store_release(shop->store, file);
}

static void test_the_longest_unused_goes_first(void **state)
{
        struct shop *shop = *state;
        static const char *const names[] = { "a", "b", "c", "d", "e" };
        for (int i = 0; i < 5; i++)
                put(shop, names[i], "x");
        for (int i = 0; i < 4; i++)
                store_release(shop->store, get(shop, names[i]));
        store_release(shop->store, store_find(shop->store, SPAN("a"), 0));
        store_release(shop->store, get(shop, "e")); /* four are kept: b goes */
        struct store_file *a = store_find(shop->store, SPAN("a"), 0);
        assert_non_null(a);
        store_release(shop->store, a);
        assert_null(store_find(shop->store, SPAN("b"), 0));
}

static void test_tags_keep_uses_apart(void **state)
{
        struct shop *shop = *state;
        put(shop, "a.gz", "x");
        struct store_file *plain = get_tagged(shop, "a.gz", 0), *coded = get_tagged(shop, "a.gz", 4);
        assert_ptr_not_equal(plain, coded);
        assert_string_equal(plain->etag, coded->etag);
        store_release(shop->store, plain);
        store_release(shop->store, coded);
        put(shop, "a.gz", "yy"); /* one watch tells both */
        settle(shop);
        assert_null(store_find(shop->store, SPAN("a.gz"), 0));
        assert_null(store_find(shop->store, SPAN("a.gz"), 4));
}

static void test_what_is_no_file_says_so(void **state)
{
        struct shop *shop = *state;
        assert_int_equal(mkdirat(shop->folder->fd, "folder", 0755), 0);
        assert_int_equal(mkfifoat(shop->folder->fd, "fifo", 0644), 0);
        assert_int_equal(symlinkat("../outside", shop->folder->fd, "out"), 0);
        assert_null(get(shop, "folder"));
        assert_int_equal(shop->opening.result, -EISDIR);
        assert_null(get(shop, "fifo"));
        assert_int_equal(shop->opening.result, -EACCES);
        assert_null(get(shop, "out"));
        assert_int_equal(shop->opening.result, -EXDEV);
}

static void test_types_come_from_the_extension(void **state)
{
        (void)state;
        store_load_types();
        assert_true(span_equal(store_type_of(SPAN("a/b.HTML")), SPAN("text/html; charset=utf-8")));
        assert_true(span_equal(store_type_of(SPAN("x.png")), SPAN("image/png")));
        assert_true(span_equal(store_type_of(SPAN("png")), SPAN("application/octet-stream")));
        assert_true(span_equal(store_type_of(SPAN("a.png/b")), SPAN("application/octet-stream")));
        assert_true(span_equal(store_type_of(SPAN("x.")), SPAN("application/octet-stream")));
        store_unload_types();
}

#define SHOP_TEST(name) cmocka_unit_test_setup_teardown(name, open_shop, close_shop)

int main(void)
{
        const struct CMUnitTest tests[] = {
                SHOP_TEST(test_a_small_file_is_kept_with_its_content),
                SHOP_TEST(test_a_large_file_is_kept_open),
                SHOP_TEST(test_content_is_bounded_in_all),
                SHOP_TEST(test_a_write_is_noticed_at_once),
                SHOP_TEST(test_a_replacement_is_noticed_at_once),
                SHOP_TEST(test_a_removal_is_noticed_at_once),
                SHOP_TEST(test_what_a_watch_cannot_tell_is_found_after_the_trust_has_run_out),
                SHOP_TEST(test_an_unchanged_file_stays_the_same_record),
                SHOP_TEST(test_the_longest_unused_goes_first),
                SHOP_TEST(test_tags_keep_uses_apart),
                SHOP_TEST(test_what_is_no_file_says_so),
                cmocka_unit_test(test_types_come_from_the_extension),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
