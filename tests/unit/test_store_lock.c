/* Locks: whom they cover, what stands in the way, and that two servers never both get one. */
#include "store_help.h"

#include <sys/mman.h>

static struct store_lock lock_of(const char *token, bool exclusive, bool infinite)
{
        struct store_lock lock = { .exclusive = exclusive, .infinite = infinite, .expires = INT64_MAX };

        snprintf(lock.token, sizeof(lock.token), "%s", token);
        lock.owner_size = (uint16_t)snprintf(lock.owner, sizeof(lock.owner), "<o>%s</o>", token);
        lock.user_size = (uint16_t)snprintf(lock.user, sizeof(lock.user), "user");
        return lock;
}

static int add(struct shop *shop, const char *path, const struct store_lock *lock, char *conflict)
{
        struct store_section section;
        int error;

        enter(shop, &section, path);
        error = store_lock_add(&section, lock, conflict);
        store_leave(&section);
        return error;
}

static int add_exclusive(struct shop *shop, const char *path, const char *token, bool infinite)
{
        struct store_lock lock = lock_of(token, true, infinite);

        return add(shop, path, &lock, NULL);
}

static int drop(struct shop *shop, const char *path, const char *token)
{
        struct store_section section;
        int error;

        enter(shop, &section, path);
        error = store_lock_remove(&section, token);
        store_leave(&section);
        return error;
}

static int tell(void *context, const struct store_lock *lock)
{
        char *told = context;

        sprintf(told + strlen(told), "%s%s:%s%s ", lock->path, lock->infinite ? "/*" : "", lock->token,
                lock->exclusive ? "!" : "");
        return 0;
}

/* "path:token! path/\*:token " */
static const char *locks_on(struct shop *shop, const char *path)
{
        static char told[8192];

        told[0] = '\0';
        assert_int_equal(store_locks_on(shop->tree, path, tell, told), 0);
        return told;
}

static int compare_whole(void *context, const struct store_lock *lock)
{
        const struct store_lock *expected = context;

        assert_string_equal(lock->token, expected->token);
        assert_int_equal(lock->owner_size, expected->owner_size);
        assert_memory_equal(lock->owner, expected->owner, expected->owner_size);
        assert_int_equal(lock->user_size, expected->user_size);
        assert_memory_equal(lock->user, expected->user, expected->user_size);
        assert_int_equal(lock->expires, expected->expires);
        assert_int_equal(lock->exclusive, expected->exclusive);
        assert_int_equal(lock->infinite, expected->infinite);
        assert_string_equal(lock->path, "file");
        return 42;
}

static void a_lock_comes_back_as_it_was_made(void **test)
{
        struct shop *shop = *test;
        struct store_lock lock = lock_of("urn:uuid:01234567-89ab-cdef-0123-456789abcdef", true, false);

        must_put(shop, "file", "x");
        lock.expires = clock_unix_seconds() + 1000;
        memset(lock.owner, 'o', STORE_OWNER_BYTES);
        lock.owner_size = STORE_OWNER_BYTES;
        memset(lock.user, 'u', STORE_USER_BYTES);
        lock.user_size = STORE_USER_BYTES;
        assert_int_equal(strlen(lock.token), STORE_TOKEN_BYTES);
        assert_int_equal(add(shop, "file", &lock, NULL), 0);
        for (unsigned i = 0; i < 2; i++) {
                store_xattr_by_proc(i == 1);
                assert_int_equal(store_locks_on(shop->tree, "file", compare_whole, &lock), 42);
                assert_int_equal(store_locks_at(shop->folder.fd, "file", "file", compare_whole, &lock), 42);
        }
        store_xattr_by_proc(false);
        assert_int_equal(drop(shop, "file", lock.token), 0);
        assert_string_equal(locks_on(shop, "file"), "");
        assert_int_equal(store_xattr_any(shop->folder.fd, "file"), 0);
}

static void what_is_too_large_is_refused(void **test)
{
        struct shop *shop = *test;
        struct store_lock lock = lock_of("t", true, false);

        must_put(shop, "file", "x");
        lock.owner_size = STORE_OWNER_BYTES + 1;
        assert_int_equal(add(shop, "file", &lock, NULL), -E2BIG);
        lock = lock_of("", true, false);
        assert_int_equal(add(shop, "file", &lock, NULL), -EINVAL);
        lock = lock_of("t", true, false);
        assert_int_equal(add(shop, "none", &lock, NULL), -ENOENT);
}

static void an_infinite_lock_covers_what_is_beneath(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "a");
        make_folder(shop, "a/b");
        assert_int_equal(add_exclusive(shop, "a", "deep", true), 0);
        assert_string_equal(locks_on(shop, "a"), "a/*:deep! ");
        assert_string_equal(locks_on(shop, "a/b"), "a/*:deep! ");
        assert_string_equal(locks_on(shop, "a/b/none"), "a/*:deep! ");
        assert_string_equal(locks_on(shop, "a/none/none"), "a/*:deep! ");
        assert_string_equal(locks_on(shop, "ab"), "");
        assert_string_equal(locks_on(shop, ""), "");
        assert_int_equal(drop(shop, "a", "deep"), 0);
        assert_int_equal(add_exclusive(shop, "a", "flat", false), 0);
        assert_string_equal(locks_on(shop, "a"), "a:flat! ");
        assert_string_equal(locks_on(shop, "a/b"), "");
        assert_int_equal(add_exclusive(shop, "", "root", true), -EAGAIN);
        assert_int_equal(drop(shop, "a", "flat"), 0);
        assert_int_equal(add_exclusive(shop, "", "root", true), 0);
        assert_string_equal(locks_on(shop, "a/b/c"), "/*:root! ");
        assert_string_equal(locks_on(shop, ""), "/*:root! ");
}

static void exclusive_locks_are_in_each_others_way(void **test)
{
        struct shop *shop = *test;
        struct store_lock exclusive = lock_of("second", true, false), shared = lock_of("shared", false, false);
        char conflict[4096] = "";

        make_folder(shop, "a");
        must_put(shop, "a/file", "x");
        assert_int_equal(add_exclusive(shop, "a/file", "first", false), 0);
        assert_int_equal(add(shop, "a/file", &exclusive, conflict), -EAGAIN);
        assert_string_equal(conflict, "a/file");
        assert_int_equal(add(shop, "a/file", &shared, NULL), -EAGAIN);
        exclusive.infinite = true;
        conflict[0] = '\0';
        assert_int_equal(add(shop, "", &exclusive, conflict), -EAGAIN);
        assert_string_equal(conflict, "a/file");
        assert_string_equal(locks_on(shop, ""), ""); /* withdrawn */
        assert_int_equal(add_exclusive(shop, "a", "beside", false), 0);
        assert_int_equal(drop(shop, "a/file", "first"), 0);
        assert_int_equal(drop(shop, "a", "beside"), 0);
        assert_int_equal(add(shop, "", &exclusive, NULL), 0);
        shared.infinite = false;
        assert_int_equal(add(shop, "a/file", &shared, conflict), -EAGAIN);
        assert_string_equal(conflict, "");
        assert_string_equal(locks_on(shop, "a/file"), "/*:second! ");
}

static void shared_locks_stand_beside_each_other_up_to_a_number(void **test)
{
        struct shop *shop = *test;
        struct store_lock lock;
        char token[8];

        make_folder(shop, "a");
        must_put(shop, "a/file", "x");
        for (unsigned i = 0; i <= STORE_MAX_SHARED; i++) {
                snprintf(token, sizeof(token), "t%u", i);
                lock = lock_of(token, false, false);
                assert_int_equal(add(shop, "a/file", &lock, NULL), i == STORE_MAX_SHARED ? -ENOSPC : 0);
        }
        lock = lock_of("deep", false, true);
        assert_int_equal(add(shop, "a", &lock, NULL), 0);
        assert_int_equal(add_exclusive(shop, "a/file", "no", false), -EAGAIN);
        assert_int_equal(drop(shop, "a/file", "t3"), 0);
        assert_int_equal(drop(shop, "a/file", "t3"), -ENOENT);
        assert_null(strstr(locks_on(shop, "a/file"), "t3"));
        assert_non_null(strstr(locks_on(shop, "a/file"), "t7"));
        assert_non_null(strstr(locks_on(shop, "a/file"), "a/*:deep"));
}

static void a_lock_is_refreshed(void **test)
{
        struct shop *shop = *test;
        struct store_section section;
        struct store_lock lock;

        must_put(shop, "file", "x");
        assert_int_equal(add_exclusive(shop, "file", "t", false), 0);
        enter(shop, &section, "file");
        assert_int_equal(store_lock_refresh(&section, "other", 5, &lock), -ENOENT);
        assert_int_equal(store_lock_refresh(&section, "t", clock_unix_seconds() + 77, &lock), 0);
        assert_string_equal(lock.path, "file");
        assert_string_equal(lock.token, "t");
        assert_true(lock.expires < INT64_MAX);
        assert_int_equal(store_lock_refresh(&section, "t", clock_unix_seconds() - 1, &lock), 0);
        assert_int_equal(store_lock_refresh(&section, "t", 5, &lock), -ENOENT);
        store_leave(&section);
        assert_string_equal(locks_on(shop, "file"), "");
}

static void an_expired_lock_is_in_nobodys_way(void **test)
{
        struct shop *shop = *test;
        struct store_lock lock = lock_of("old", true, false);

        must_put(shop, "file", "x");
        lock.expires = clock_unix_seconds();
        assert_int_equal(add(shop, "file", &lock, NULL), 0);
        assert_string_equal(locks_on(shop, "file"), "");
        assert_int_equal(add_exclusive(shop, "file", "new", false), 0);
        assert_string_equal(locks_on(shop, "file"), "file:new! ");
}

static void a_lock_does_not_come_along(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        make_folder(shop, "a");
        must_put(shop, "a/file", "x");
        assert_int_equal(add_exclusive(shop, "file", "t", false), 0);
        assert_int_equal(add_exclusive(shop, "a/file", "u", false), 0);
        assert_int_equal(renameat(shop->folder.fd, "file", shop->folder.fd, "renamed"), 0);
        assert_int_equal(renameat(shop->folder.fd, "a", shop->folder.fd, "b"), 0);
        assert_int_equal(linkat(shop->folder.fd, "renamed", shop->folder.fd, "further", 0), 0);
        assert_string_equal(locks_on(shop, "renamed"), "");
        assert_string_equal(locks_on(shop, "further"), "");
        assert_string_equal(locks_on(shop, "b/file"), "");
        assert_int_equal(add_exclusive(shop, "b/file", "v", false), 0);
        assert_string_equal(locks_on(shop, "b/file"), "b/file:v! ");
}

static void a_replaced_file_stays_locked(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        assert_int_equal(add_exclusive(shop, "file", "t", false), 0);
        must_put(shop, "file", "new");
        assert_string_equal(locks_on(shop, "file"), "file:t! ");
}

static void nonsense_is_no_lock_and_is_replaced(void **test)
{
        struct shop *shop = *test;
        static char bytes[20000];
        struct random random = { 42 };
        char good[4096];
        ssize_t good_size;

        must_put(shop, "file", "x");
        assert_int_equal(add_exclusive(shop, "file", "t", false), 0);
        good_size = lgetxattr(full_path(shop, "file"), STORE_LOCK_ATTRIBUTE, good, sizeof(good));
        assert_true(good_size > 0);
        for (unsigned i = 0; i < 2000; i++) {
                size_t size = random_below(&random, (uint32_t)good_size + 1);
                char *exact;

                memcpy(bytes, good, (size_t)good_size);
                if (size)
                        bytes[random_below(&random, (uint32_t)size)] ^= (char)random_below(&random, 256);
                exact = malloc(size + 1);
                memcpy(exact, bytes, size);
                assert_int_equal(lsetxattr(full_path(shop, "file"), STORE_LOCK_ATTRIBUTE, exact, size, 0), 0);
                free(exact);
                locks_on(shop, "file");
        }
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "\1nonsense");
        assert_string_equal(locks_on(shop, "file"), "");
        if (lsetxattr(full_path(shop, "file"), STORE_LOCK_ATTRIBUTE, bytes, sizeof(bytes), 0) == 0)
                assert_string_equal(locks_on(shop, "file"), "");
        assert_int_equal(add_exclusive(shop, "file", "u", false), 0);
        assert_string_equal(locks_on(shop, "file"), "file:u! ");
}

/* Half of them lock the file, the others all of the folder above, each under another section, as fast as they can. */
enum { PROCESSES = 4, ROUNDS = 400 };

static void add_and_drop(struct shop *shop, bool infinite, int *holders)
{
        const char *path = infinite ? "a" : "a/file";
        char token[16];

        snprintf(token, sizeof(token), "t%d", getpid());
        for (unsigned i = 0; i < ROUNDS; i++) {
                int error = add_exclusive(shop, path, token, infinite);

                child_ensure(error == 0 || error == -EAGAIN);
                if (error)
                        continue;
                child_ensure(__atomic_fetch_add(holders, 1, __ATOMIC_SEQ_CST) == 0);
                sched_yield();
                __atomic_fetch_sub(holders, 1, __ATOMIC_SEQ_CST);
                child_ensure(drop(shop, path, token) == 0);
        }
}

static void at_most_one_process_has_the_lock(void **test)
{
        struct shop *shop = *test;
        int *holders = mmap(NULL, sizeof(*holders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        pid_t children[PROCESSES];

        make_folder(shop, "a");
        must_put(shop, "a/file", "x");
        for (unsigned i = 0; i < PROCESSES; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        add_and_drop(shop, i % 2, holders);
                        _exit(0);
                }
        }
        for (unsigned i = 0; i < PROCESSES; i++)
                expect_exit(children[i], 0);
        assert_string_equal(locks_on(shop, "a/file"), "");
        munmap(holders, sizeof(*holders));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(a_lock_comes_back_as_it_was_made),
                shop_test(what_is_too_large_is_refused),
                shop_test(an_infinite_lock_covers_what_is_beneath),
                shop_test(exclusive_locks_are_in_each_others_way),
                shop_test(shared_locks_stand_beside_each_other_up_to_a_number),
                shop_test(a_lock_is_refreshed),
                shop_test(an_expired_lock_is_in_nobodys_way),
                shop_test(a_lock_does_not_come_along),
                shop_test(a_replaced_file_stays_locked),
                shop_test(nonsense_is_no_lock_and_is_replaced),
                shop_test(at_most_one_process_has_the_lock),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
