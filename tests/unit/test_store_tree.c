/* Names and trees: making, removing, copying, moving; what is asked before, and what an error leaves. */
#include "store_help.h"

#include <stdatomic.h>

static const struct store_commit plain = { 0 };

/* ---- who watches ---- */

struct noting {
        struct store_watch watch;
        const char *refused; /* -EAGAIN for this one */
        char asked[1024], failed[1024];
        int cancel_after; /* -1: never */
};

static int may(struct store_watch *watch, int folder, const char *name, const char *path)
{
        struct noting *noting = container_of(watch, struct noting, watch);
        struct stat state;

        assert_int_equal(fstatat(folder, name, &state, AT_SYMLINK_NOFOLLOW), 0);
        sprintf(noting->asked + strlen(noting->asked), "%s;", path);
        return noting->refused && strcmp(path, noting->refused) == 0 ? -EAGAIN : 0;
}

static void failed(struct store_watch *watch, const char *path, int error)
{
        struct noting *noting = container_of(watch, struct noting, watch);

        sprintf(noting->failed + strlen(noting->failed), "%s %s;", path, strerrorname_np(-error));
}

static bool cancelled(struct store_watch *watch)
{
        struct noting *noting = container_of(watch, struct noting, watch);

        return noting->cancel_after >= 0 && noting->cancel_after-- == 0;
}

static struct noting refusing(const char *path)
{
        return (struct noting){ .watch = { .may = may, .failed = failed, .cancelled = cancelled },
                                .refused = path,
                                .cancel_after = -1 };
}

/* ---- in short ---- */

static int take_away(struct shop *shop, const char *path, struct store_watch *watch)
{
        struct store_section section;
        int error;

        enter(shop, &section, path);
        error = store_remove(&section, watch);
        store_leave(&section);
        return error;
}

static int transfer(struct shop *shop, bool move, const char *from, const char *to, bool replace,
                    struct store_watch *watch, bool *created)
{
        struct store_section source, target;
        bool second_failed, ignored;
        int error;

        created = created ? created : &ignored;
        assert_int_equal(store_enter_two(&source, &target, shop->tree, from, to, &second_failed), 0);
        if (move)
                error = store_move(&source, &target, replace, watch, created);
        else
                error = store_copy(&source, &target, true, replace, watch, created);
        store_leave_two(&source, &target);
        return error;
}

static int copy(struct shop *shop, const char *from, const char *to, bool replace, struct store_watch *watch)
{
        return transfer(shop, false, from, to, replace, watch, NULL);
}

static int move(struct shop *shop, const char *from, const char *to, bool replace, struct store_watch *watch)
{
        return transfer(shop, true, from, to, replace, watch, NULL);
}

static void fill(struct shop *shop, const char *root)
{
        char path[64];

        make_folder(shop, root);
        snprintf(path, sizeof(path), "%s/sub", root);
        make_folder(shop, path);
        snprintf(path, sizeof(path), "%s/sub/inner", root);
        must_put(shop, path, root);
        snprintf(path, sizeof(path), "%s/file", root);
        must_put(shop, path, root);
}

static void expect_filled(struct shop *shop, const char *root, const char *with)
{
        char path[64];

        snprintf(path, sizeof(path), "%s/sub/inner", root);
        expect_content(shop, path, with);
        snprintf(path, sizeof(path), "%s/file", root);
        expect_content(shop, path, with);
}

/* ---- names ---- */

#define at(call, path)                                                                                                 \
        ({                                                                                                             \
                struct store_section section;                                                                          \
                enter(shop, &section, path);                                                                           \
                int result = (int)(call);                                                                              \
                store_leave(&section);                                                                                 \
                result;                                                                                                \
        })

static void a_folder_is_made_once(void **test)
{
        struct shop *shop = *test;

        assert_int_equal(at(store_make_folder(&section, &plain), "a"), 0);
        assert_int_equal(at(store_make_folder(&section, &plain), "a"), -EEXIST);
        assert_int_equal(at(store_make_folder(&section, &plain), ""), -EEXIST);
        assert_int_equal(state_of(shop, "a").kind, STORE_IS_FOLDER);
        shop->tree->durable = true;
        assert_int_equal(at(store_make_folder(&section, &plain), "b"), 0);
}

static void mode_and_time_are_set(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 1234567890, 987654321 };

        must_put(shop, "file", "x");
        assert_int_equal(at(store_set_mode(&section, 0604), "file"), 0);
        assert_int_equal(state_of(shop, "file").mode, 0604);
        assert_int_equal(at(store_set_modified(&section, &time), "file"), 0);
        assert_int_equal(state_of(shop, "file").modified.tv_sec, 1234567890);
        assert_int_equal(state_of(shop, "file").modified.tv_nsec, 987654321);
        assert_int_equal(at(store_set_mode(&section, 0604), "none"), -ENOENT);
        assert_int_equal(at(store_set_modified(&section, &time), "none"), -ENOENT);
        time.tv_nsec = UTIME_NOW;
        assert_int_equal(at(store_set_modified(&section, &time), "file"), -EINVAL);
        assert_int_equal(at(store_set_modified(&section, &(struct timespec){ 5, 0 }), ""), 0);
        assert_int_equal(state_of(shop, "").modified.tv_sec, 5);
}

/* Whoever runs the server would lend its rights to whoever runs the file. */
static void nobody_makes_a_file_run_as_the_server(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        assert_int_equal(at(store_set_mode(&section, 04755), "file"), -EPERM);
        assert_int_equal(fchmodat(shop->folder.fd, "file", 06755, 0), 0);
        assert_int_equal(at(store_set_mode(&section, 0755), "file"), 0);
        assert_int_equal(state_of(shop, "file").mode, 0755);
        make_folder(shop, "a");
        assert_int_equal(fchmodat(shop->folder.fd, "a", 02755, 0), 0);
        assert_int_equal(at(store_set_mode(&section, 04700), "a"), -EPERM);
        assert_int_equal(state_of(shop, "a").mode, 02755);
        assert_int_equal(at(store_set_mode(&section, 0700), "a"), 0);
        assert_int_equal(state_of(shop, "a").mode, 0700);
        assert_int_equal(at(store_set_mode(&section, 03770), "a"), 0);
        assert_int_equal(state_of(shop, "a").mode, 03770);
}

static void a_link_is_itself(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 77, 0 };
        char target[100];

        must_put(shop, "file", "x");
        assert_int_equal(at(store_make_link(&section, "file", &plain), "link"), 0);
        assert_int_equal(at(store_make_link(&section, "file", &plain), "link"), -EEXIST);
        assert_int_equal(at(store_read_link(&section, target, sizeof(target)), "link"), 4);
        assert_memory_equal(target, "file", 4);
        assert_int_equal(at(store_read_link(&section, target, sizeof(target)), "file"), -EINVAL);
        assert_int_equal(at(store_read_link(&section, target, sizeof(target)), "none"), -ENOENT);
        shop->tree->links = true;
        assert_int_equal(at(store_set_modified(&section, &time), "link"), 0);
        assert_int_equal(at(store_set_mode(&section, 0600), "link"), -EOPNOTSUPP);
        assert_int_not_equal(state_of(shop, "file").modified.tv_sec, 77);
        assert_int_equal(take_away(shop, "link", NULL), 0);
        expect_content(shop, "file", "x");
}

static void a_hard_link_is_a_further_name(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        make_folder(shop, "a");
        assert_int_equal(at(store_make_hard_link(&section, "file"), "a/other"), 0);
        assert_int_equal(at(store_make_hard_link(&section, "file"), "a/other"), -EEXIST);
        assert_int_equal(at(store_make_hard_link(&section, "none"), "b"), -ENOENT);
        assert_int_equal(state_of(shop, "a/other").inode, state_of(shop, "file").inode);
        assert_int_equal(state_of(shop, "file").links, 2);
        assert_true(at(store_make_hard_link(&section, "../file"), "b") < 0);
}

static void room_is_told_also_for_what_is_not_there(void **test)
{
        struct shop *shop = *test;
        uint64_t available, used, other_available;

        assert_int_equal(store_room(shop->tree, "", &available, &used), 0);
        assert_true(available + used > 0);
        assert_int_equal(store_room(shop->tree, "a/b/c", &other_available, &used), 0);
}

/* ---- removing ---- */

static void a_tree_is_removed_deepest_first(void **test)
{
        struct shop *shop = *test;

        fill(shop, "a");
        folder_link(&shop->folder, "/etc", "a/link");
        assert_int_equal(mkfifoat(shop->folder.fd, "a/fifo", 0644), 0);
        assert_int_equal(take_away(shop, "a", NULL), 0);
        assert_int_equal(entries_in(shop->folder.fd, "."), 0);
        assert_int_equal(access("/etc/passwd", F_OK), 0);
        assert_int_equal(take_away(shop, "a", NULL), -ENOENT);
        assert_int_equal(take_away(shop, "", NULL), -EPERM);
}

static void what_may_not_go_stays_with_the_folders_above(void **test)
{
        struct shop *shop = *test;
        struct noting noting = refusing("a/sub/inner");

        fill(shop, "a");
        must_put(shop, "a/sub/beside", "x");
        assert_int_equal(take_away(shop, "a", &noting.watch), -ENOTEMPTY);
        assert_string_equal(noting.failed, "a/sub/inner EAGAIN;");
        assert_true(is_there(shop, "a/sub/inner"));
        assert_false(is_there(shop, "a/sub/beside"));
        assert_false(is_there(shop, "a/file"));
        noting = refusing("a/sub");
        assert_int_equal(take_away(shop, "a", &noting.watch), -ENOTEMPTY);
        assert_string_equal(noting.asked, "a;a/sub;");
        assert_true(is_there(shop, "a/sub/inner"));
        noting = refusing("a");
        noting.watch.failed = NULL;
        assert_int_equal(take_away(shop, "a", &noting.watch), -EAGAIN);
        assert_true(is_there(shop, "a/sub/inner"));
        noting = refusing(NULL);
        assert_int_equal(take_away(shop, "a", &noting.watch), 0);
        assert_string_equal(noting.asked, "a;a/sub;a/sub/inner;");
        assert_string_equal(noting.failed, "");
}

static void a_removal_is_cancelled(void **test)
{
        struct shop *shop = *test;
        struct noting noting = refusing(NULL);

        fill(shop, "a");
        noting.cancel_after = 1;
        assert_int_equal(take_away(shop, "a", &noting.watch), -ECANCELED);
        assert_true(is_there(shop, "a"));
}

static void nest(struct shop *shop, unsigned deep)
{
        int at = dup(shop->folder.fd);

        for (unsigned i = 0; i < deep; i++) {
                int next;

                assert_int_equal(mkdirat(at, "d", 0755), 0);
                next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                close(at);
                at = next;
        }
        close(at);
}

static void a_tree_may_be_deep_but_not_too_deep(void **test)
{
        struct shop *shop = *test;

        nest(shop, STORE_MAX_DEPTH + 1);
        assert_int_equal(take_away(shop, "d", NULL), 0); /* the last is empty, and goes unentered */
        nest(shop, STORE_MAX_DEPTH + 2);
        assert_int_equal(take_away(shop, "d", NULL), -ELOOP);
        assert_true(is_there(shop, "d"));
        assert_int_equal(copy(shop, "d", "e", false, NULL), -ELOOP);
        assert_false(is_there(shop, "e"));
        assert_int_equal(staged(shop), 0);
}

/* Others rename folders out of the tree and back while it is removed: what is outside of it stays. */
struct racer {
        struct shop *shop;
        atomic_bool stop;
};

static void *rename_about(void *context)
{
        struct racer *racer = context;
        int fd = racer->shop->folder.fd;

        for (unsigned i = 0; !racer->stop; i++) {
                renameat(fd, "tree/0/0", fd, "outside/taken");
                renameat(fd, "outside/taken", fd, "tree/1/0");
                renameat(fd, "tree/1", fd, "outside/1");
                renameat(fd, "outside/1", fd, "tree/1");
                renameat2(fd, "tree/0", fd, "outside/link", RENAME_EXCHANGE);
                renameat2(fd, "tree/0", fd, "outside/link", RENAME_EXCHANGE);
        }
        return NULL;
}

static void make_wide(struct shop *shop)
{
        char path[64];

        make_folder(shop, "tree");
        for (unsigned i = 0; i < 4; i++) {
                snprintf(path, sizeof(path), "tree/%u", i);
                make_folder(shop, path);
                for (unsigned j = 0; j < 4; j++) {
                        snprintf(path, sizeof(path), "tree/%u/%u", i, j);
                        make_folder(shop, path);
                        for (unsigned k = 0; k < 8; k++) {
                                snprintf(path, sizeof(path), "tree/%u/%u/%u", i, j, k);
                                close(openat(shop->folder.fd, path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
                        }
                }
        }
}

static void renames_meanwhile_lead_nowhere_else(void **test)
{
        struct shop *shop = *test;
        struct racer racer = { .shop = shop };
        pthread_t thread;

        make_folder(shop, "keep");
        must_put(shop, "keep/0", "kept");
        make_folder(shop, "outside");
        for (unsigned i = 0; i < 30; i++) {
                struct noting noting = refusing(NULL);
                int error;

                noting.watch.may = NULL;
                noting.watch.failed = NULL;
                make_wide(shop);
                unlinkat(shop->folder.fd, "outside/link", 0);
                folder_link(&shop->folder, "../keep", "outside/link");
                racer.stop = false;
                assert_int_equal(pthread_create(&thread, NULL, rename_about, &racer), 0);
                error = take_away(shop, "tree", &noting.watch);
                racer.stop = true;
                pthread_join(thread, NULL);
                assert_true(error <= 0);
                expect_content(shop, "keep/0", "kept");
                shop->tree->links = false;
                nftw(full_path(shop, "tree"), folder_remove, 16, FTW_DEPTH | FTW_PHYS);
                nftw(full_path(shop, "outside"), folder_remove, 16, FTW_DEPTH | FTW_PHYS);
                make_folder(shop, "outside");
        }
}

/* ---- copying ---- */

static void a_copy_has_content_properties_mode_and_time_but_no_locks(void **test)
{
        struct shop *shop = *test;
        struct store_state source, target;
        bool created;

        must_put(shop, "file", "content");
        set_attribute(shop, "file", "user.colour", "blue");
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "x");
        assert_int_equal(fchmodat(shop->folder.fd, "file", 0640, 0), 0);
        assert_int_equal(transfer(shop, false, "file", "copy", false, NULL, &created), 0);
        assert_true(created);
        source = state_of(shop, "file");
        target = state_of(shop, "copy");
        expect_content(shop, "copy", "content");
        assert_string_equal(attribute_of(shop, "copy", "user.colour"), "blue");
        assert_string_equal(attribute_of(shop, "copy", STORE_LOCK_ATTRIBUTE), "");
        assert_int_equal(target.mode, 0640);
        assert_true(store_same_time(&source.modified, &target.modified));
        assert_int_not_equal(source.inode, target.inode);
        assert_int_equal(copy(shop, "file", "copy", false, NULL), -EEXIST);
        must_put(shop, "file", "other");
        assert_int_equal(transfer(shop, false, "file", "copy", true, NULL, &created), 0);
        assert_false(created);
        expect_content(shop, "copy", "other");
        assert_int_equal(copy(shop, "none", "copy", true, NULL), -ENOENT);
        assert_int_equal(staged(shop), 0);
}

static void a_tree_is_copied_with_all_that_is_in_it(void **test)
{
        struct shop *shop = *test;

        fill(shop, "a");
        folder_link(&shop->folder, "/nowhere", "a/link");
        set_attribute(shop, "a/sub", "user.colour", "blue");
        set_attribute(shop, "a/sub", STORE_LOCK_ATTRIBUTE, "x");
        assert_int_equal(fchmodat(shop->folder.fd, "a/sub", 0711, 0), 0);
        shop->tree->durable = true;
        assert_int_equal(copy(shop, "a", "b", false, NULL), 0);
        expect_filled(shop, "a", "a");
        expect_filled(shop, "b", "a");
        assert_int_equal(state_of(shop, "b/link").kind, STORE_IS_LINK);
        assert_int_equal(state_of(shop, "b/sub").mode, 0711);
        assert_string_equal(attribute_of(shop, "b/sub", "user.colour"), "blue");
        assert_string_equal(attribute_of(shop, "b/sub", STORE_LOCK_ATTRIBUTE), "");
        assert_int_equal(staged(shop), 0);
}

static void a_folder_alone_is_copied_without_members(void **test)
{
        struct shop *shop = *test;
        struct store_section from, to;
        bool created, second_failed;

        fill(shop, "a");
        set_attribute(shop, "a", "user.colour", "blue");
        assert_int_equal(store_enter_two(&from, &to, shop->tree, "a", "b", &second_failed), 0);
        assert_int_equal(store_copy(&from, &to, false, false, NULL, &created), 0);
        store_leave_two(&from, &to);
        assert_int_equal(entries_in(shop->folder.fd, "b"), 0);
        assert_string_equal(attribute_of(shop, "b", "user.colour"), "blue");
}

static void a_deep_tree_is_copied(void **test)
{
        struct shop *shop = *test;
        int fd;

        nest(shop, 100);
        assert_int_equal(copy(shop, "d", "e", false, NULL), 0);
        fd = openat(shop->folder.fd, "e", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned i = 1; i < 100; i++) {
                int next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                assert_true(next >= 0);
                close(fd);
                fd = next;
        }
        assert_int_equal(entries_in(fd, "."), 0);
        close(fd);
}

static void holes_stay_holes(void **test)
{
        struct shop *shop = *test;
        int fd = openat(shop->folder.fd, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        char byte;
        struct stat st;

        assert_int_equal(ftruncate(fd, 64 << 20), 0);
        assert_int_equal(pwrite(fd, "x", 1, 10 << 20), 1);
        close(fd);
        assert_int_equal(copy(shop, "file", "copy", false, NULL), 0);
        fd = openat(shop->folder.fd, "copy", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, 10 << 20), 1);
        assert_int_equal(byte, 'x');
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, 64 << 20);
        assert_true(st.st_blocks * 512 < 8 << 20);
        close(fd);
}

static void nothing_is_copied_or_moved_into_itself(void **test)
{
        struct shop *shop = *test;

        fill(shop, "a");
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(transfer(shop, i, "a", "a/new", true, NULL, NULL), -EINVAL);
                assert_int_equal(transfer(shop, i, "a", "a/sub", true, NULL, NULL), -EINVAL);
                assert_int_equal(transfer(shop, i, "a/sub", "a", true, NULL, NULL), -EINVAL);
                assert_int_equal(transfer(shop, i, "a", "a", true, NULL, NULL), -EINVAL);
                assert_int_equal(transfer(shop, i, "", "b", true, NULL, NULL), -EINVAL);
                assert_int_equal(transfer(shop, i, "a", "", true, NULL, NULL), -EINVAL);
        }
        assert_int_equal(copy(shop, "a", "ab", false, NULL), 0);
        expect_filled(shop, "a", "a");
}

/* The four ways in which a file or folder takes the place of another, with and without exchange. */
static void file_or_folder_replaces_file_or_folder(void **test)
{
        struct shop *shop = *test;

        for (unsigned i = 0; i < 16; i++) {
                bool moved = i & 1, from_folder = i & 2, to_folder = i & 4;

                shop->tree->without_exchange = i & 8;
                if (from_folder)
                        fill(shop, "from");
                else
                        must_put(shop, "from", "from");
                if (to_folder)
                        fill(shop, "to");
                else
                        must_put(shop, "to", "to");
                assert_int_equal(transfer(shop, moved, "from", "to", false, NULL, NULL), -EEXIST);
                assert_int_equal(transfer(shop, moved, "from", "to", true, NULL, NULL), 0);
                if (from_folder)
                        expect_filled(shop, "to", "from");
                else
                        expect_content(shop, "to", "from");
                assert_int_equal(is_there(shop, "from"), !moved);
                assert_int_equal(staged(shop), 0);
                if (!moved)
                        assert_int_equal(take_away(shop, "from", NULL), 0);
                assert_int_equal(take_away(shop, "to", NULL), 0);
        }
}

static void what_stands_there_is_asked_for_and_stays_whole(void **test)
{
        struct shop *shop = *test;

        for (unsigned i = 0; i < 2; i++) {
                struct noting noting = refusing("to/sub/inner");

                fill(shop, "from");
                fill(shop, "to");
                assert_int_equal(transfer(shop, i, "from", "to", true, &noting.watch, NULL), -ENOTEMPTY);
                assert_string_equal(noting.failed, "to/sub/inner EAGAIN;");
                expect_filled(shop, "from", "from");
                expect_filled(shop, "to", "to");
                noting = refusing("from/file");
                assert_int_equal(transfer(shop, i, "from", "to", true, &noting.watch, NULL), i ? -ENOTEMPTY : 0);
                assert_string_equal(noting.failed, i ? "from/file EAGAIN;" : "");
                expect_filled(shop, "to", i ? "to" : "from");
                assert_int_equal(take_away(shop, "from", NULL), 0);
                assert_int_equal(take_away(shop, "to", NULL), 0);
        }
}

static void what_cannot_be_copied_is_told(void **test)
{
        struct shop *shop = *test;
        struct noting noting = refusing(NULL);

        fill(shop, "a");
        assert_int_equal(mkfifoat(shop->folder.fd, "a/sub/fifo", 0644), 0);
        fill(shop, "b");
        assert_int_equal(copy(shop, "a", "b", true, NULL), -EACCES);
        expect_filled(shop, "b", "b");
        assert_int_equal(copy(shop, "a/sub/fifo", "c", false, &noting.watch), -ENOTEMPTY);
        assert_false(is_there(shop, "c"));
        noting = refusing(NULL);
        assert_int_equal(copy(shop, "a", "b", true, &noting.watch), -ENOTEMPTY);
        assert_string_equal(noting.failed, "a/sub/fifo EACCES;");
        expect_filled(shop, "b", "a");
        assert_int_equal(staged(shop), 0);
}

static void a_copy_is_cancelled_and_leaves_nothing(void **test)
{
        struct shop *shop = *test;

        fill(shop, "a");
        for (int i = 0; i < 4; i++) {
                struct noting noting = refusing(NULL);

                noting.cancel_after = i;
                assert_int_equal(copy(shop, "a", "b", false, &noting.watch), -ECANCELED);
                assert_false(is_there(shop, "b"));
                assert_int_equal(staged(shop), 0);
        }
}

/* ---- moving ---- */

static void a_move_keeps_the_file_and_drops_its_locks(void **test)
{
        struct shop *shop = *test;
        uint64_t inode;
        bool created;

        must_put(shop, "file", "content");
        make_folder(shop, "a");
        set_attribute(shop, "file", "user.colour", "blue");
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "x");
        inode = state_of(shop, "file").inode;
        assert_int_equal(transfer(shop, true, "file", "a/moved", false, NULL, &created), 0);
        assert_true(created);
        assert_false(is_there(shop, "file"));
        assert_int_equal(state_of(shop, "a/moved").inode, inode);
        assert_string_equal(attribute_of(shop, "a/moved", "user.colour"), "blue");
        assert_string_equal(attribute_of(shop, "a/moved", STORE_LOCK_ATTRIBUTE), "");
        assert_int_equal(move(shop, "file", "other", true, NULL), -ENOENT);
}

static void two_names_of_one_file_become_one(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "content");
        assert_int_equal(linkat(shop->folder.fd, "file", shop->folder.fd, "other", 0), 0);
        assert_int_equal(move(shop, "file", "other", true, NULL), 0);
        assert_false(is_there(shop, "file"));
        expect_content(shop, "other", "content");
}

static void a_link_is_moved_and_copied_as_a_link(void **test)
{
        struct shop *shop = *test;

        shop->tree->links = true;
        must_put(shop, "file", "content");
        folder_link(&shop->folder, "file", "link");
        assert_int_equal(copy(shop, "link", "copied", false, NULL), 0);
        assert_int_equal(move(shop, "link", "moved", false, NULL), 0);
        shop->tree->links = false;
        assert_int_equal(state_of(shop, "copied").kind, STORE_IS_LINK);
        assert_int_equal(state_of(shop, "moved").kind, STORE_IS_LINK);
        expect_content(shop, "moved", "content");
}

static void across(struct shop *shop)
{
        if (!mount_small(shop, "mount", "size=1m"))
                _exit(CHILD_SKIPPED);
        fill(shop, "a");
        child_ensure(move(shop, "a", "mount/b", false, NULL) == 0);
        expect_filled(shop, "mount/b", "a");
        child_ensure(!is_there(shop, "a"));
        fill(shop, "a2");
        child_ensure(move(shop, "mount/b", "a2", true, NULL) == 0);
        expect_filled(shop, "a2", "a");
        child_ensure(!is_there(shop, "mount/b"));
        child_ensure(copy(shop, "a2", "mount/c", false, NULL) == 0);
        child_ensure(move(shop, "mount", "elsewhere", false, NULL) == -EBUSY && is_there(shop, "mount/c/file"));
        child_ensure(staged(shop) == 0);
        store_tree_destroy(shop->tree);
        child_ensure(!is_there(shop, "mount/" STORE_STAGING) && !is_there(shop, STORE_STAGING));
}

static void a_move_to_another_file_system_copies(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "mount");
        in_child(shop, across);
}

static void too_large(struct shop *shop)
{
        struct store_section section;
        struct store_state state;

        if (!mount_small(shop, "mount", "size=256k"))
                _exit(CHILD_SKIPPED);
        fill(shop, "a");
        child_ensure(store_enter(&section, shop->tree, "a/large") == 0);
        child_ensure(store_truncate(&section, 1 << 20, &plain, &state) == 0);
        child_ensure(
                store_write(&section, &(struct berth_vec){ (char[1 << 20]){ 1 }, 1 << 20 }, 1, 0, &plain, &state) == 0);
        store_leave(&section);
        make_folder(shop, "mount/b");
        child_ensure(put(shop, "mount/b/file", "old") == 0);
        child_ensure(move(shop, "a", "mount/b", true, NULL) == -ENOSPC);
        child_ensure(copy(shop, "a", "mount/b", true, NULL) == -ENOSPC);
        expect_content(shop, "mount/b/file", "old");
        expect_filled(shop, "a", "a");
        child_ensure(put(shop, "mount/b/file", "room again") == 0);
}

static void without_room_both_stay_as_they_are(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "mount");
        in_child(shop, too_large);
}

/* ---- kill -9 ---- */

enum { KILLS = 40 };

_Noreturn static void copy_for_ever(struct shop *shop)
{
        struct shop own = { .folder = shop->folder };

        child_ensure(store_tree_create(&own.tree, own.folder.fd, false, false) == 0);
        for (unsigned i = 0;; i++)
                child_ensure(copy(&own, i % 2 ? "one" : "two", "to", true, NULL) == 0);
}

static void a_killed_copy_leaves_the_old_tree_or_the_new(void **test)
{
        struct shop *shop = *test;
        struct random random = { 815 };

        fill(shop, "one");
        fill(shop, "two");
        assert_int_equal(copy(shop, "one", "to", false, NULL), 0);
        for (unsigned i = 0; i < KILLS; i++) {
                pid_t child = fork();
                char with[8];
                int fd;

                if (child == 0)
                        copy_for_ever(shop);
                usleep(1000 + random_below(&random, 10000));
                kill(child, SIGKILL);
                assert_int_equal(waitpid(child, NULL, 0), child);
                fd = openat(shop->folder.fd, "to/file", O_RDONLY | O_CLOEXEC);
                assert_int_equal(read(fd, with, sizeof(with)), 3);
                close(fd);
                with[3] = '\0';
                expect_filled(shop, "to", with);
                assert_int_equal(entries_in(shop->folder.fd, "to"), 2);
                assert_true(store_tree_clean(shop->tree) >= 0);
                assert_int_equal(staged(shop), 0);
        }
}

/* ---- without permission ---- */

static void as_nobody(struct shop *shop)
{
        struct noting noting = refusing(NULL);
        struct store_member member;
        struct store_walk_options options = { .depth = INT32_MAX };
        struct store_walk *walk;
        unsigned count = 0;

        if (geteuid() == 0 && (setegid(65534) < 0 || seteuid(65534) < 0))
                _exit(CHILD_SKIPPED);
        child_ensure(put(shop, "closed/new", "x") == -EACCES);
        child_ensure(put(shop, "closed/file", "x") == -EACCES);
        child_ensure(copy(shop, "tree", "copied", false, &noting.watch) == -ENOTEMPTY);
        child_ensure(strcmp(noting.failed, "tree/secret EACCES;") == 0);
        child_ensure(!is_there(shop, "copied/secret") && is_there(shop, "copied/file"));
        child_ensure(store_walk_create(&walk, shop->tree, "tree", &options) == 0);
        while (store_walk_next(walk, &member) == 1)
                count++;
        store_walk_destroy(walk);
        child_ensure(count == 3);
        noting = refusing(NULL);
        child_ensure(take_away(shop, "closed", &noting.watch) == -ENOTEMPTY);
        child_ensure(strcmp(noting.failed, "closed/file EACCES;") == 0);
        child_ensure(put(shop, "blind/file", "x") == 0);
}

/* A folder that cannot be written, a file that cannot be read, a folder that cannot be listed. */
static void what_is_not_permitted_is_told(void **test)
{
        struct shop *shop = *test;
        static const char *const open_to_all[] = { ".", "tree" };

        make_folder(shop, "closed");
        must_put(shop, "closed/file", "x");
        make_folder(shop, "tree");
        must_put(shop, "tree/file", "x");
        must_put(shop, "tree/secret", "x");
        make_folder(shop, "blind");
        for (unsigned i = 0; i < array_count(open_to_all); i++)
                assert_int_equal(fchmodat(shop->folder.fd, open_to_all[i], 0777, 0), 0);
        assert_int_equal(fchmodat(shop->folder.fd, "tree/secret", 0, 0), 0);
        assert_int_equal(fchmodat(shop->folder.fd, "closed", 0555, 0), 0);
        assert_int_equal(fchmodat(shop->folder.fd, "blind", 0333, 0), 0);
        in_child(shop, as_nobody);
        assert_int_equal(fchmodat(shop->folder.fd, "closed", 0755, 0), 0);
        assert_int_equal(fchmodat(shop->folder.fd, "blind", 0755, 0), 0);
        assert_int_equal(store_tree_clean(shop->tree), 1); /* the child has not destroyed its tree */
}

static void what_is_made_has_its_mode_and_time(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 1000000000, 5 };
        uint32_t mode = 0750, forbidden = 04777;
        struct store_commit both = { .modified = &time, .mode = &mode, .durable = true }, bad = { .mode = &forbidden };
        struct store_state state;

        assert_int_equal(at(store_make_folder(&section, &bad), "a"), -EPERM);
        assert_int_equal(state_of(shop, "a").kind, STORE_NOTHING);
        assert_int_equal(at(store_make_folder(&section, &both), "a"), 0);
        state = state_of(shop, "a");
        assert_int_equal(state.mode, 0750);
        assert_true(store_same_time(&state.modified, &time));
        mode = 0700;
        assert_int_equal(at(store_set(&section, &both), "a"), 0);
        assert_int_equal(state_of(shop, "a").mode, 0700);
        both.mode = NULL;
        assert_int_equal(at(store_make_link(&section, "a", &both), "link"), 0);
        assert_int_equal(store_look_itself(shop->tree, "link", &state), 0);
        assert_true(state.kind == STORE_IS_LINK && store_same_time(&state.modified, &time));
}

static void only_an_empty_folder_is_removed_as_empty(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "a");
        must_put(shop, "a/.file", "x");
        assert_int_equal(at(store_remove_empty(&section), "a"), -ENOTEMPTY);
        expect_content(shop, "a/.file", "x");
        assert_int_equal(at(store_remove_empty(&section), "a/.file"), -ENOTDIR);
        assert_int_equal(at(store_remove_empty(&section), ""), -EPERM);
        assert_int_equal(take_away(shop, "a/.file", NULL), 0);
        assert_int_equal(at(store_remove_empty(&section), "a"), 0);
        assert_int_equal(state_of(shop, "a").kind, STORE_NOTHING);
}

static int rename_to(struct shop *shop, const char *from, const char *to, bool replace, bool *created)
{
        struct store_section source, target;
        bool second_failed;
        int error;

        assert_int_equal(store_enter_two(&source, &target, shop->tree, from, to, &second_failed), 0);
        error = store_rename(&source, &target, replace, NULL, created);
        store_leave_two(&source, &target);
        return error;
}

static void a_rename_replaces_as_posix_has_it(void **test)
{
        struct shop *shop = *test;
        bool created;

        must_put(shop, "file", "file");
        must_put(shop, "other", "other");
        make_folder(shop, "full");
        must_put(shop, "full/file", "x");
        make_folder(shop, "empty");
        assert_int_equal(rename_to(shop, "empty", "full", true, &created), -ENOTEMPTY);
        assert_int_equal(rename_to(shop, "full/file", "full", true, &created), -ENOTEMPTY);
        assert_int_equal(rename_to(shop, "file", "full", true, &created), -EISDIR);
        assert_int_equal(rename_to(shop, "full", "file", true, &created), -ENOTDIR);
        assert_int_equal(rename_to(shop, "full", "full/within", true, &created), -EINVAL);
        assert_int_equal(rename_to(shop, "full", "empty", false, &created), -EEXIST);
        assert_int_equal(rename_to(shop, "none", "file", true, &created), -ENOENT);
        assert_int_equal(rename_to(shop, "full", "empty", true, &created), 0);
        assert_false(created);
        expect_content(shop, "empty/file", "x");
        assert_int_equal(rename_to(shop, "file", "other", true, &created), 0);
        assert_false(created);
        expect_content(shop, "other", "file");
        assert_int_equal(rename_to(shop, "other", "new", false, &created), 0);
        assert_true(created);
        assert_int_equal(linkat(shop->folder.fd, "new", shop->folder.fd, "twin", 0), 0);
        assert_int_equal(rename_to(shop, "new", "twin", true, &created), 0);
        expect_content(shop, "new", "file");
        expect_content(shop, "twin", "file");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(a_folder_is_made_once),
                shop_test(mode_and_time_are_set),
                shop_test(nobody_makes_a_file_run_as_the_server),
                shop_test(a_link_is_itself),
                shop_test(a_hard_link_is_a_further_name),
                shop_test(room_is_told_also_for_what_is_not_there),
                shop_test(a_tree_is_removed_deepest_first),
                shop_test(what_may_not_go_stays_with_the_folders_above),
                shop_test(a_removal_is_cancelled),
                shop_test(a_tree_may_be_deep_but_not_too_deep),
                shop_test(renames_meanwhile_lead_nowhere_else),
                shop_test(a_copy_has_content_properties_mode_and_time_but_no_locks),
                shop_test(a_tree_is_copied_with_all_that_is_in_it),
                shop_test(a_folder_alone_is_copied_without_members),
                shop_test(a_deep_tree_is_copied),
                shop_test(holes_stay_holes),
                shop_test(nothing_is_copied_or_moved_into_itself),
                shop_test(file_or_folder_replaces_file_or_folder),
                shop_test(what_stands_there_is_asked_for_and_stays_whole),
                shop_test(what_cannot_be_copied_is_told),
                shop_test(a_copy_is_cancelled_and_leaves_nothing),
                shop_test(a_move_keeps_the_file_and_drops_its_locks),
                shop_test(two_names_of_one_file_become_one),
                shop_test(a_link_is_moved_and_copied_as_a_link),
                shop_test(a_move_to_another_file_system_copies),
                shop_test(without_room_both_stay_as_they_are),
                shop_test(a_killed_copy_leaves_the_old_tree_or_the_new),
                shop_test(what_is_not_permitted_is_told),
                shop_test(what_is_made_has_its_mode_and_time),
                shop_test(only_an_empty_folder_is_removed_as_empty),
                shop_test(a_rename_replaces_as_posix_has_it),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
