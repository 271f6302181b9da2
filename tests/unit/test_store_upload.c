/* Uploads, range writes and truncation: what appears, when, and what is left after an error. */
#include "store_help.h"

static const struct store_commit plain = { 0 };

static struct store_upload *upload_of(struct shop *shop, const char *path, const char *text)
{
        struct berth_vec vec = { (void *)(uintptr_t)text, strlen(text) };
        struct store_upload *upload;

        assert_int_equal(store_upload_create(&upload, shop->tree, path, vec.size), 0);
        assert_int_equal(store_upload_write(upload, &vec, 1), 0);
        return upload;
}

static int commit(struct shop *shop, struct store_upload *upload, const char *path, const struct store_commit *commit,
                  struct store_state *state)
{
        struct store_section section;
        int error;

        enter(shop, &section, path);
        error = store_upload_commit(upload, &section, commit, state);
        store_leave(&section);
        return error;
}

static int write_at(struct shop *shop, const char *path, const char *text, uint64_t offset)
{
        struct store_section section;
        struct store_state state;
        int error;

        enter(shop, &section, path);
        error = store_write(&section, &(struct berth_vec){ (char *)(uintptr_t)text, strlen(text) }, 1, offset, &plain,
                            &state);
        store_leave(&section);
        return error;
}

static int truncate_to(struct shop *shop, const char *path, uint64_t size)
{
        struct store_section section;
        struct store_state state;
        int error;

        enter(shop, &section, path);
        error = store_truncate(&section, size, &plain, &state);
        store_leave(&section);
        if (!error)
                assert_int_equal(state.size, size);
        return error;
}

/* ---- whole files ---- */

static void an_upload_appears_when_it_is_committed(void **test)
{
        struct shop *shop = *test;
        struct store_upload *upload = upload_of(shop, "file", "content");
        struct store_state state, seen;

        assert_int_equal(store_upload_size(upload), 7);
        assert_int_equal(entries_in(shop->folder.fd, "."), 0);
        assert_int_equal(commit(shop, upload, "file", &plain, &state), 0);
        store_upload_destroy(upload);
        expect_content(shop, "file", "content");
        seen = state_of(shop, "file");
        assert_int_equal(seen.kind, STORE_IS_FILE);
        assert_int_equal(seen.size, 7);
        assert_string_equal(seen.etag, state.etag);
        assert_false(is_there(shop, STORE_STAGING));
}

static void an_upload_not_committed_leaves_nothing(void **test)
{
        struct shop *shop = *test;

        store_upload_destroy(upload_of(shop, "file", "content"));
        shop->tree->without_tmpfile = true;
        store_upload_destroy(upload_of(shop, "file", "content"));
        store_upload_destroy(NULL);
        assert_false(is_there(shop, "file"));
        assert_int_equal(staged(shop), 0);
}

static void the_entity_tag_is_inode_size_and_time(void **test)
{
        struct shop *shop = *test;
        struct store_state state;
        char expected[STORE_ETAG_BYTES];
        struct stat st;

        must_put(shop, "file", "0123456789abcdef");
        state = state_of(shop, "file");
        assert_int_equal(fstatat(shop->folder.fd, "file", &st, 0), 0);
        snprintf(expected, sizeof(expected), "\"%llx-%llx-%llx\"", (unsigned long long)st.st_ino,
                 (unsigned long long)st.st_size,
                 (unsigned long long)st.st_mtim.tv_sec * 1000000000ull + (unsigned long long)st.st_mtim.tv_nsec);
        assert_string_equal(state.etag, expected);
        assert_int_equal(state.etag_size, strlen(expected));
        state.etag_size = store_etag(state.etag, 0, 0, &(struct timespec){ 0 });
        assert_string_equal(state.etag, "\"0-0-0\"");
        state.etag_size = store_etag(state.etag, UINT64_MAX, 16, &(struct timespec){ 0, 15 });
        assert_string_equal(state.etag, "\"ffffffffffffffff-10-f\"");
}

static void a_file_that_is_replaced_keeps_mode_and_attributes(void **test)
{
        struct shop *shop = *test;
        struct store_state before, after;

        must_put(shop, "file", "old");
        assert_int_equal(fchmodat(shop->folder.fd, "file", 0640, 0), 0);
        set_attribute(shop, "file", "user.colour", "blue");
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "locks");
        before = state_of(shop, "file");
        must_put(shop, "file", "new content");
        after = state_of(shop, "file");
        expect_content(shop, "file", "new content");
        assert_int_equal(after.mode, 0640);
        assert_string_equal(attribute_of(shop, "file", "user.colour"), "blue");
        assert_string_equal(attribute_of(shop, "file", STORE_LOCK_ATTRIBUTE), "locks");
        assert_int_not_equal(before.inode, after.inode);
        assert_string_not_equal(before.etag, after.etag);
        assert_int_equal(staged(shop), 0);
}

static void a_file_that_is_replaced_keeps_its_owner(void **test)
{
        struct shop *shop = *test;
        struct stat st;

        must_put(shop, "file", "old");
        if (fchownat(shop->folder.fd, "file", 1234, 5678, 0) < 0)
                skip();
        must_put(shop, "file", "new");
        assert_int_equal(fstatat(shop->folder.fd, "file", &st, 0), 0);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 5678);
}

static void a_time_asked_for_is_set(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 1000000000, 123456789 };
        struct store_commit with_time = { .modified = &time };
        struct store_upload *upload = upload_of(shop, "file", "x");
        struct store_state state;

        assert_int_equal(commit(shop, upload, "file", &with_time, &state), 0);
        store_upload_destroy(upload);
        assert_int_equal(state.modified.tv_sec, 1000000000);
        assert_int_equal(state.modified.tv_nsec, 123456789);
}

static void the_time_is_never_that_of_the_file_replaced(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 1000000000, 999999999 };
        struct store_commit with_time = { .modified = &time };
        struct store_state first, second;

        for (unsigned i = 0; i < 2; i++) {
                struct store_upload *upload = upload_of(shop, "file", "x");

                assert_int_equal(commit(shop, upload, "file", &with_time, i ? &second : &first), 0);
                store_upload_destroy(upload);
        }
        assert_false(store_same_time(&first.modified, &second.modified));
}

static void an_exclusive_upload_does_not_replace(void **test)
{
        struct shop *shop = *test;
        struct store_commit exclusive = { .exclusive = true };
        struct store_upload *upload = upload_of(shop, "file", "new");
        struct store_state state;

        must_put(shop, "file", "old");
        assert_int_equal(commit(shop, upload, "file", &exclusive, &state), -EEXIST);
        expect_content(shop, "file", "old");
        assert_int_equal(commit(shop, upload, "other", &exclusive, &state), 0);
        store_upload_destroy(upload);
        expect_content(shop, "other", "new");
}

static void a_folder_is_not_replaced_by_a_file(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "folder");
        assert_int_equal(put(shop, "folder", "x"), -EISDIR);
        assert_int_equal(put(shop, "", "x"), -EISDIR);
        assert_int_equal(write_at(shop, "folder", "x", 0), -EISDIR);
        assert_int_equal(truncate_to(shop, "folder", 0), -EISDIR);
        assert_int_equal(staged(shop), 0);
}

static void the_folder_above_must_be_there(void **test)
{
        struct shop *shop = *test;
        struct store_upload *upload;

        must_put(shop, "file", "x");
        assert_int_equal(store_upload_create(&upload, shop->tree, "none/file", UINT64_MAX), -ENOENT);
        assert_int_equal(store_upload_create(&upload, shop->tree, "file/file", UINT64_MAX), -ENOTDIR);
        assert_int_equal(put(shop, "none/file", "x"), -ENOENT);
        assert_int_equal(put(shop, "file/file", "x"), -ENOTDIR);
}

static void names_may_be_any_bytes(void **test)
{
        struct shop *shop = *test;
        char name[257];

        must_put(shop, "\xff\xfe\n \t\x01", "a");
        expect_content(shop, "\xff\xfe\n \t\x01", "a");
        must_put(shop, "\xff\xfe\n \t\x01", "b");
        expect_content(shop, "\xff\xfe\n \t\x01", "b");
        memset(name, 'n', sizeof(name));
        name[255] = '\0';
        must_put(shop, name, "long");
        must_put(shop, name, "longer");
        expect_content(shop, name, "longer");
        name[255] = 'n';
        name[256] = '\0';
        assert_int_equal(put(shop, name, "too long"), -ENAMETOOLONG);
        assert_int_equal(staged(shop), 0);
}

static void dots_are_no_names(void **test)
{
        struct shop *shop = *test;
        struct store_state state;

        make_folder(shop, "a");
        assert_int_equal(put(shop, "..", "x"), -EINVAL);
        assert_int_equal(put(shop, "a/..", "x"), -EINVAL);
        assert_int_equal(put(shop, "a/.", "x"), -EINVAL);
        assert_int_equal(put(shop, "a/", "x"), -EINVAL);
        assert_int_equal(put(shop, "../x", "x"), -EXDEV);
        assert_int_equal(store_look(shop->tree, "a/../..", &state), -EINVAL);
}

/* ---- links ---- */

static void no_link_leads_outside(void **test)
{
        struct shop *shop = *test;
        char outside[] = "/tmp/berth-test-outside-XXXXXX", path[64];

        assert_non_null(mkdtemp(outside));
        make_folder(shop, "in");
        folder_link(&shop->folder, outside, "in/absolute");
        snprintf(path, sizeof(path), "../../../..%s", outside);
        folder_link(&shop->folder, path, "in/relative");
        for (unsigned i = 0; i < 2; i++) {
                shop->tree->links = i;
                assert_int_equal(put(shop, "in/absolute/file", "x"), i ? -EXDEV : -ELOOP);
                assert_int_equal(put(shop, "in/relative/file", "x"), i ? -EXDEV : -ELOOP);
        }
        assert_int_equal(rmdir(outside), 0); /* nothing is in it */
}

static void a_link_to_a_folder_inside_is_followed_when_the_tree_does(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "real");
        folder_link(&shop->folder, "real", "link");
        assert_int_equal(put(shop, "link/file", "x"), -ELOOP);
        shop->tree->links = true;
        must_put(shop, "link/file", "x");
        expect_content(shop, "real/file", "x");
        assert_int_equal(state_of(shop, "link").kind, STORE_IS_FOLDER);
}

/* What a link leads to is under another section: so it is refused. */
static void a_link_is_not_written_through_nor_replaced(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "old");
        folder_link(&shop->folder, "file", "link");
        folder_link(&shop->folder, "nothing", "dangling");
        for (unsigned i = 0; i < 2; i++) {
                shop->tree->links = i;
                assert_int_equal(put(shop, "link", "new"), -EACCES);
                assert_int_equal(write_at(shop, "link", "new", 0), -EACCES);
                assert_int_equal(truncate_to(shop, "link", 0), -EACCES);
                assert_int_equal(put(shop, "dangling", "new"), -EACCES);
                assert_int_equal(state_of(shop, "link").kind, i ? STORE_IS_FILE : STORE_IS_LINK);
                assert_int_equal(state_of(shop, "dangling").kind, STORE_IS_LINK);
        }
        expect_content(shop, "file", "old");
        assert_false(is_there(shop, "nothing"));
}

static void a_fifo_is_neither_opened_nor_replaced(void **test)
{
        struct shop *shop = *test;

        assert_int_equal(mkfifoat(shop->folder.fd, "fifo", 0644), 0);
        assert_int_equal(put(shop, "fifo", "x"), -EACCES);
        assert_int_equal(write_at(shop, "fifo", "x", 0), -EACCES);
        assert_int_equal(state_of(shop, "fifo").kind, STORE_IS_OTHER);
}

/* ---- without what Linux file systems usually have ---- */

static void without_nameless_files_staging_serves(void **test)
{
        struct shop *shop = *test;
        struct store_commit exclusive = { .exclusive = true };
        struct store_upload *upload;
        struct store_state state;

        shop->tree->without_tmpfile = true;
        upload = upload_of(shop, "file", "one");
        assert_int_equal(staged(shop), 1);
        assert_int_equal(commit(shop, upload, "file", &plain, &state), 0);
        store_upload_destroy(upload);
        must_put(shop, "file", "two");
        expect_content(shop, "file", "two");
        upload = upload_of(shop, "file", "three");
        assert_int_equal(commit(shop, upload, "file", &exclusive, &state), -EEXIST);
        store_upload_destroy(upload);
        expect_content(shop, "file", "two");
        assert_int_equal(staged(shop), 0);
}

/* ---- bytes ---- */

static void many_pieces_come_in_order(void **test)
{
        struct shop *shop = *test;
        enum { PIECES = 2500 };
        struct berth_vec *vecs = calloc(PIECES, sizeof(*vecs));
        char *bytes = malloc(PIECES * 3), *read_back = malloc(PIECES * 3 + 1);
        struct store_upload *upload;
        struct store_state state;
        int fd;

        for (unsigned i = 0; i < PIECES * 3; i++)
                bytes[i] = (char)(i * 7 + i / 251);
        for (unsigned i = 0; i < PIECES; i++)
                vecs[i] = (struct berth_vec){ bytes + (size_t)i * 3, 3 };
        assert_int_equal(store_upload_create(&upload, shop->tree, "file", UINT64_MAX), 0);
        assert_int_equal(store_upload_write(upload, vecs, PIECES), 0);
        assert_int_equal(store_upload_write(upload, vecs, 0), 0);
        assert_int_equal(store_upload_size(upload), PIECES * 3);
        assert_int_equal(commit(shop, upload, "file", &plain, &state), 0);
        store_upload_destroy(upload);
        fd = openat(shop->folder.fd, "file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, read_back, PIECES * 3 + 1), PIECES * 3);
        assert_memory_equal(bytes, read_back, PIECES * 3);
        close(fd);
        free(vecs);
        free(bytes);
        free(read_back);
}

static void room_reserved_and_not_used_is_given_back(void **test)
{
        struct shop *shop = *test;
        struct berth_vec vec = { (void *)(uintptr_t) "x", 1 };
        struct store_upload *upload;
        struct store_state state;
        struct stat st;

        assert_int_equal(store_upload_create(&upload, shop->tree, "file", 4 << 20), 0);
        assert_int_equal(store_upload_write(upload, &vec, 1), 0);
        assert_int_equal(commit(shop, upload, "file", &plain, &state), 0);
        store_upload_destroy(upload);
        assert_int_equal(fstatat(shop->folder.fd, "file", &st, 0), 0);
        assert_int_equal(st.st_size, 1);
        assert_true(st.st_blocks * 512 < 1 << 20);
}

static void a_range_write_changes_its_range_alone(void **test)
{
        struct shop *shop = *test;
        struct store_state before, after;

        must_put(shop, "file", "0123456789");
        before = state_of(shop, "file");
        assert_int_equal(write_at(shop, "file", "abc", 3), 0);
        after = state_of(shop, "file");
        expect_content(shop, "file", "012abc6789");
        assert_int_equal(before.inode, after.inode);
        assert_string_not_equal(before.etag, after.etag);
}

static void a_hole_is_zeros(void **test)
{
        struct shop *shop = *test;
        char content[8];
        int fd;

        must_put(shop, "file", "ab");
        assert_int_equal(write_at(shop, "file", "cd", 6), 0);
        fd = openat(shop->folder.fd, "file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(read(fd, content, 8), 8);
        close(fd);
        assert_memory_equal(content, "ab\0\0\0\0cd", 8);
}

static void a_range_write_to_nothing_creates(void **test)
{
        struct shop *shop = *test;

        assert_int_equal(write_at(shop, "file", "cd", 2), 0);
        assert_int_equal(state_of(shop, "file").size, 4);
        assert_int_equal(write_at(shop, "empty", "", 0), 0);
        assert_int_equal(state_of(shop, "empty").size, 0);
}

/* Also a time that lies in the future, and bytes that are the same. */
static void a_write_always_moves_the_time(void **test)
{
        struct shop *shop = *test;
        struct timespec times[2] = { { 4000000000, 999999999 }, { 4000000000, 999999999 } };
        struct store_state before, after;

        must_put(shop, "file", "same");
        assert_int_equal(utimensat(shop->folder.fd, "file", times, 0), 0);
        before = state_of(shop, "file");
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(i == 2 ? truncate_to(shop, "file", 4) : write_at(shop, "file", "same", 0), 0);
                after = state_of(shop, "file");
                assert_string_not_equal(before.etag, after.etag);
                assert_true(after.modified.tv_sec > before.modified.tv_sec ||
                            after.modified.tv_nsec > before.modified.tv_nsec);
                before = after;
        }
}

static void past_all_bounds_is_too_big(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "old");
        assert_int_equal(write_at(shop, "file", "x", UINT64_MAX), -EFBIG);
        assert_int_equal(write_at(shop, "file", "x", INT64_MAX), -EFBIG);
        assert_int_equal(truncate_to(shop, "file", UINT64_MAX), -EFBIG);
        assert_int_equal(write_at(shop, "new", "x", INT64_MAX), -EFBIG);
        assert_false(is_there(shop, "new"));
        expect_content(shop, "file", "old");
}

static void a_large_upload_is_applied_at_its_offset(void **test)
{
        struct shop *shop = *test;
        enum { SIZE = 3 << 20 };
        char *bytes = malloc(SIZE), *read_back = malloc(SIZE);
        struct berth_vec vec = { bytes, SIZE };
        struct store_section section;
        struct store_upload *upload;
        struct store_state state;
        int fd;

        for (unsigned i = 0; i < SIZE; i++)
                bytes[i] = (char)(i ^ i >> 11);
        must_put(shop, "file", "head");
        assert_int_equal(store_upload_create(&upload, shop->tree, "file", SIZE), 0);
        assert_int_equal(store_upload_write(upload, &vec, 1), 0);
        enter(shop, &section, "file");
        assert_int_equal(store_upload_apply(upload, &section, 4, &(struct store_commit){ .durable = true }, &state), 0);
        store_leave(&section);
        enter(shop, &section, "other");
        assert_int_equal(store_upload_apply(upload, &section, 0, &plain, &state), 0);
        store_leave(&section);
        store_upload_destroy(upload);
        assert_int_equal(state.size, SIZE);
        fd = openat(shop->folder.fd, "file", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, read_back, SIZE, 4), SIZE);
        assert_memory_equal(bytes, read_back, SIZE);
        close(fd);
        free(bytes);
        free(read_back);
}

static void truncation_shortens_extends_and_creates(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "0123456789");
        assert_int_equal(truncate_to(shop, "file", 4), 0);
        expect_content(shop, "file", "0123");
        assert_int_equal(truncate_to(shop, "file", 1 << 20), 0);
        assert_int_equal(truncate_to(shop, "new", 100), 0);
        assert_int_equal(state_of(shop, "new").size, 100);
}

static void a_durable_tree_does_all_the_same(void **test)
{
        struct shop *shop = *test;
        struct store_section section;

        shop->tree->durable = true;
        must_put(shop, "file", "one");
        must_put(shop, "file", "two");
        assert_int_equal(write_at(shop, "file", "x", 3), 0);
        assert_int_equal(truncate_to(shop, "file", 2), 0);
        expect_content(shop, "file", "tw");
        enter(shop, &section, "file");
        assert_int_equal(store_sync(&section), 0);
        store_leave(&section);
        enter(shop, &section, "none");
        assert_int_equal(store_sync(&section), -ENOENT);
        store_leave(&section);
        enter(shop, &section, "");
        assert_int_equal(store_sync(&section), 0);
        store_leave(&section);
}

/* ---- no room ---- */

static void fill_up(struct shop *shop)
{
        char *much = calloc(1, 2 << 20);
        struct store_section section;
        struct store_upload *upload;
        struct store_state before, after;

        if (!mount_small(shop, "small", "size=1m"))
                _exit(CHILD_SKIPPED);
        child_ensure(put(shop, "small/file", "old") == 0);
        before = state_of(shop, "small/file");
        child_ensure(store_upload_create(&upload, shop->tree, "small/file", 2 << 20) == -ENOSPC);
        child_ensure(store_upload_create(&upload, shop->tree, "small/file", UINT64_MAX) == 0);
        child_ensure(store_upload_write(upload, &(struct berth_vec){ much, 2 << 20 }, 1) == -ENOSPC);
        store_upload_destroy(upload);
        child_ensure(store_enter(&section, shop->tree, "small/file") == 0);
        child_ensure(store_put(&section, much, 2 << 20, &plain, &after) == -ENOSPC);
        child_ensure(store_write(&section, &(struct berth_vec){ much, 2 << 20 }, 1, 1, &plain, &after) == -ENOSPC);
        store_leave(&section);
        after = state_of(shop, "small/file");
        child_ensure(strcmp(before.etag, after.etag) == 0 && after.size == 3);
        child_ensure(store_enter(&section, shop->tree, "small/new") == 0);
        child_ensure(store_write(&section, &(struct berth_vec){ much, 2 << 20 }, 1, 1, &plain, &after) == -ENOSPC);
        store_leave(&section);
        child_ensure(!is_there(shop, "small/new"));
        child_ensure(put(shop, "small/file", "still room") == 0);
        free(much);
        store_tree_destroy(shop->tree);
        child_ensure(!is_there(shop, "small/" STORE_STAGING));
}

static void without_room_nothing_changes(void **test)
{
        struct shop *shop = *test;

        make_folder(shop, "small");
        in_child(shop, fill_up);
}

/* ---- at the same time ---- */

enum { PROCESSES = 4, THREADS = 2, ROUNDS = 40 };

static unsigned number_in(struct shop *shop, const char *path)
{
        char text[16] = "";
        int fd = openat(shop->folder.fd, path, O_RDONLY | O_CLOEXEC);

        child_ensure(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
        close(fd);
        return (unsigned)atoi(text);
}

/* Reads, adds one and puts it back when the tag is still the one read, as clients do. */
static void *count_up(void *context)
{
        struct shop *shop = context;

        for (unsigned done = 0; done < ROUNDS;) {
                struct store_section section;
                struct store_state seen, after;
                char text[16];

                child_ensure(store_look(shop->tree, "count", &seen) == 0);
                snprintf(text, sizeof(text), "%u", number_in(shop, "count") + 1);
                child_ensure(store_enter(&section, shop->tree, "count") == 0);
                if (strcmp(section.now.etag, seen.etag) == 0) {
                        child_ensure(store_put(&section, text, strlen(text), &plain, &after) == 0);
                        done++;
                }
                store_leave(&section);
        }
        return NULL;
}

static void count_in_process(struct shop *shop)
{
        struct shop own = { .folder = shop->folder };
        pthread_t threads[THREADS];

        child_ensure(store_tree_create(&own.tree, own.folder.fd, false, false) == 0);
        for (unsigned i = 0; i < THREADS; i++)
                child_ensure(pthread_create(&threads[i], NULL, count_up, &own) == 0);
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        store_tree_destroy(own.tree);
}

static void no_update_is_lost_between_processes(void **test)
{
        struct shop *shop = *test;
        pid_t children[PROCESSES];

        must_put(shop, "count", "0");
        for (unsigned i = 0; i < PROCESSES; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        count_in_process(shop);
                        _exit(0);
                }
        }
        for (unsigned i = 0; i < PROCESSES; i++)
                expect_exit(children[i], 0);
        assert_int_equal(number_in(shop, "count"), PROCESSES * THREADS * ROUNDS);
        assert_int_equal(staged(shop), 0);
}

static void exactly_one_of_many_creates(void **test)
{
        struct shop *shop = *test;
        struct store_commit exclusive = { .exclusive = true };
        unsigned created = 0;
        pid_t children[PROCESSES];

        for (unsigned i = 0; i < PROCESSES; i++) {
                children[i] = fork();
                if (children[i] == 0) {
                        struct store_section section;
                        struct store_state state;
                        int error;

                        child_ensure(store_enter(&section, shop->tree, "file") == 0);
                        error = store_put(&section, "x", 1, &exclusive, &state);
                        store_leave(&section);
                        _exit(error == 0 ? 10 : error == -EEXIST ? 11 : 12);
                }
        }
        for (unsigned i = 0; i < PROCESSES; i++) {
                int status;

                assert_int_equal(waitpid(children[i], &status, 0), children[i]);
                assert_in_range(WEXITSTATUS(status), 10, 11);
                created += WEXITSTATUS(status) == 10;
        }
        assert_int_equal(created, 1);
}

/* ---- kill -9 ---- */

enum { KILLS = 50, BLOCK = 64 << 10 };

/* Files of one letter each, a block or three long. */
_Noreturn static void upload_for_ever(struct shop *shop, bool named)
{
        struct shop own = { .folder = shop->folder };
        char *block = malloc(BLOCK);
        struct berth_vec vec = { block, BLOCK };

        child_ensure(store_tree_create(&own.tree, own.folder.fd, false, false) == 0);
        own.tree->without_tmpfile = named;
        for (unsigned i = 0;; i++) {
                struct store_section section;
                struct store_upload *upload;
                struct store_state state;

                memset(block, 'a' + (int)(i % 26), BLOCK);
                child_ensure(store_upload_create(&upload, own.tree, "file", UINT64_MAX) == 0);
                for (unsigned j = 0; j < 1 + i % 2 * 2; j++)
                        child_ensure(store_upload_write(upload, &vec, 1) == 0);
                child_ensure(store_enter(&section, own.tree, "file") == 0);
                child_ensure(store_upload_commit(upload, &section, &plain, &state) == 0);
                store_leave(&section);
                store_upload_destroy(upload);
        }
}

static void expect_whole(struct shop *shop)
{
        static char content[3 * BLOCK + 1];
        int fd = openat(shop->folder.fd, "file", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof(content));

        if (fd < 0)
                return; /* killed before the first */
        close(fd);
        assert_true(n == BLOCK || n == 3 * BLOCK);
        for (ssize_t i = 1; i < n; i++)
                assert_int_equal(content[i], content[0]);
}

static void a_killed_server_leaves_whole_files_and_its_rest_is_cleaned(void **test)
{
        struct shop *shop = *test;
        struct random random = { 4711 };

        for (unsigned i = 0; i < KILLS; i++) {
                pid_t child = fork();

                if (child == 0)
                        upload_for_ever(shop, i % 2);
                usleep(1000 + random_below(&random, 15000));
                kill(child, SIGKILL);
                assert_int_equal(waitpid(child, NULL, 0), child);
                expect_whole(shop);
                assert_true(store_tree_clean(shop->tree) >= 0);
                assert_false(is_there(shop, STORE_STAGING));
        }
        assert_true(is_there(shop, "file"));
}

static void write_against_mode(struct shop *shop)
{
        uint32_t mode = 0444, forbidden = 04444;
        struct store_commit dictating = { .mode = &mode }, bad = { .mode = &forbidden };
        struct store_section section;
        struct store_state state;

        if (geteuid() == 0 && (setegid(65534) < 0 || seteuid(65534) < 0))
                _exit(CHILD_SKIPPED);
        enter(shop, &section, "file");
        child_ensure(store_write(&section, &(struct berth_vec){ "y", 1 }, 1, 0, &plain, &state) == -EACCES);
        child_ensure(store_write(&section, &(struct berth_vec){ "y", 1 }, 1, 0, &bad, &state) == -EPERM);
        child_ensure(store_look_again(&section, &state) == 0 && state.mode == 0400);
        child_ensure(store_write(&section, &(struct berth_vec){ "y", 1 }, 1, 0, &dictating, &state) == 0 &&
                     state.mode == 0444);
        store_leave(&section);
        enter(shop, &section, "other");
        child_ensure(store_write(&section, &(struct berth_vec){ "y", 1 }, 1, 0, &dictating, &state) == -EACCES);
        store_leave(&section);
}

static void who_dictates_the_mode_may_write(void **test)
{
        struct shop *shop = *test;

        must_put(shop, "file", "x");
        must_put(shop, "other", "x");
        assert_int_equal(fchmodat(shop->folder.fd, "file", 0400, 0), 0);
        assert_int_equal(fchmodat(shop->folder.fd, ".", 0777, 0), 0);
        if (geteuid() == 0) {
                assert_int_equal(fchownat(shop->folder.fd, "file", 65534, 65534, 0), 0);
                assert_int_equal(fchmodat(shop->folder.fd, "other", 0444, 0), 0);
                in_child(shop, write_against_mode);
                expect_content(shop, "file", "y");
        }
        expect_content(shop, "other", "x");
}

static void a_mode_and_a_time_come_with_the_content(void **test)
{
        struct shop *shop = *test;
        struct timespec time = { 1000000000, 5 };
        uint32_t mode = 0640, forbidden = 04755;
        struct store_commit both = { .modified = &time, .mode = &mode, .exact = true }, bad = { .mode = &forbidden };
        struct store_section section;
        struct store_state state;

        for (unsigned i = 0; i < 2; i++) {
                struct store_upload *upload = upload_of(shop, "file", "x");

                assert_int_equal(commit(shop, upload, "file", &bad, &state), -EPERM);
                assert_int_equal(commit(shop, upload, "file", &both, &state), 0);
                store_upload_destroy(upload);
                assert_int_equal(state.mode, 0640);
                assert_true(store_same_time(&state.modified, &time));
        }
        enter(shop, &section, "file");
        assert_int_equal(store_write(&section, &(struct berth_vec){ "yz", 2 }, 1, 1, &bad, &state), -EPERM);
        expect_content(shop, "file", "x");
        mode = 0604;
        assert_int_equal(store_write(&section, &(struct berth_vec){ "yz", 2 }, 1, 1, &both, &state), 0);
        assert_int_equal(state.mode, 0604);
        assert_int_equal(state.modified.tv_nsec, 6); /* that of the file was the same */
        assert_int_equal(store_truncate(&section, 1, &both, &state), 0);
        assert_int_equal(state.modified.tv_nsec, 5);
        store_leave(&section);
        expect_content(shop, "file", "x");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(an_upload_appears_when_it_is_committed),
                shop_test(an_upload_not_committed_leaves_nothing),
                shop_test(the_entity_tag_is_inode_size_and_time),
                shop_test(a_file_that_is_replaced_keeps_mode_and_attributes),
                shop_test(a_file_that_is_replaced_keeps_its_owner),
                shop_test(a_time_asked_for_is_set),
                shop_test(the_time_is_never_that_of_the_file_replaced),
                shop_test(an_exclusive_upload_does_not_replace),
                shop_test(a_folder_is_not_replaced_by_a_file),
                shop_test(the_folder_above_must_be_there),
                shop_test(names_may_be_any_bytes),
                shop_test(dots_are_no_names),
                shop_test(no_link_leads_outside),
                shop_test(a_link_to_a_folder_inside_is_followed_when_the_tree_does),
                shop_test(a_link_is_not_written_through_nor_replaced),
                shop_test(a_fifo_is_neither_opened_nor_replaced),
                shop_test(without_nameless_files_staging_serves),
                shop_test(many_pieces_come_in_order),
                shop_test(room_reserved_and_not_used_is_given_back),
                shop_test(a_range_write_changes_its_range_alone),
                shop_test(a_hole_is_zeros),
                shop_test(a_range_write_to_nothing_creates),
                shop_test(a_write_always_moves_the_time),
                shop_test(past_all_bounds_is_too_big),
                shop_test(a_large_upload_is_applied_at_its_offset),
                shop_test(truncation_shortens_extends_and_creates),
                shop_test(a_durable_tree_does_all_the_same),
                shop_test(without_room_nothing_changes),
                shop_test(no_update_is_lost_between_processes),
                shop_test(exactly_one_of_many_creates),
                shop_test(a_killed_server_leaves_whole_files_and_its_rest_is_cleaned),
                shop_test(a_mode_and_a_time_come_with_the_content),
                shop_test(who_dictates_the_mode_may_write),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
