/* store on Windows: what tests/unit proves of it on Linux, as far as it does not need that system. */
#include "../port/lab.h"

#include "store/change.h"

#include <fcntl.h>
#include <stdio.h>
#include <windows.h>

struct shop {
        struct lab lab;
        struct store_tree *tree;
        int root;
};

static struct shop shop;
static const struct store_commit plain;

static int open_folder(const char *path)
{
        wchar_t wide[1024];
        MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, (int)array_count(wide));
        return (int)(intptr_t)CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                          NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
}

static void open_shop(void)
{
        memset(&shop, 0, sizeof(shop));
        lab_open_bare(&shop.lab, &(struct berth_port_config){ 0 });
        lab_make_folder(&shop.lab);
        shop.root = open_folder(lab_path(&shop.lab, ""));
        assert_true(shop.root >= 0);
        assert_int_equal(store_tree_create(&shop.tree, shop.root, false, false), 0);
}

static void close_shop(void)
{
        struct store_state state;
        store_tree_destroy(shop.tree);
        assert_int_equal(store_tree_create(&shop.tree, shop.root, false, false), 0);
        assert_int_equal(store_look(shop.tree, "", &state), 0);
        assert_true(GetFileAttributesA(lab_path(&shop.lab, ".berth-staging")) == INVALID_FILE_ATTRIBUTES);
        store_tree_destroy(shop.tree);
        CloseHandle((HANDLE)(intptr_t)shop.root);
        lab_close(&shop.lab);
}

/* ---- in short ---- */

static int put_as(const char *path, const char *text, const struct store_commit *commit)
{
        struct store_section section;
        struct store_state state;
        int error = store_enter(&section, shop.tree, path);
        if (error)
                return error;
        error = store_put(&section, text, strlen(text), commit, &state);
        store_leave(&section);
        return error;
}

static int put(const char *path, const char *text)
{
        return put_as(path, text, &plain);
}

static int make_folder(const char *path)
{
        struct store_section section;
        int error = store_enter(&section, shop.tree, path);
        if (error)
                return error;
        error = store_make_folder(&section, &plain);
        store_leave(&section);
        return error;
}

static int remove_at(const char *path)
{
        struct store_section section;
        int error = store_enter(&section, shop.tree, path);
        if (error)
                return error;
        error = section.now.kind == STORE_NOTHING ? -ENOENT : store_remove(&section, NULL);
        store_leave(&section);
        return error;
}

enum way { COPY, MOVE, RENAME };

static int transfer(enum way way, const char *from, const char *to, bool replace, bool *created)
{
        struct store_section one, other;
        bool second;
        int error = store_enter_two(&one, &other, shop.tree, from, to, &second);
        if (error)
                return error;
        if (way == COPY)
                error = store_copy(&one, &other, true, replace, NULL, created);
        else
                error = (way == MOVE ? store_move : store_rename)(&one, &other, replace, NULL, created);
        store_leave_two(&one, &other);
        return error;
}

static struct store_state look(const char *path)
{
        struct store_state state = { 0 };
        assert_int_equal(store_look(shop.tree, path, &state), 0);
        return state;
}

static HANDLE open_reader(const char *path)
{
        HANDLE file = CreateFileA(lab_path(&shop.lab, path), GENERIC_READ,
                                  FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
        assert_true(file != INVALID_HANDLE_VALUE);
        return file;
}

static void expect_read(HANDLE file, const char *expected)
{
        char content[256] = "";
        DWORD n = 0;
        assert_true(ReadFile(file, content, sizeof(content) - 1, &n, NULL));
        CloseHandle(file);
        content[n] = 0;
        assert_string_equal(content, expected);
}

static void expect(const char *path, const char *expected)
{
        expect_read(open_reader(path), expected);
}

/* ---- files ---- */

static void a_file_is_put_and_replaced(void **test)
{
        (void)test;
        open_shop();
        assert_int_equal(put("file", "first"), 0);
        struct store_state first = look("file");
        assert_int_equal(first.kind, STORE_IS_FILE);
        assert_int_equal(first.size, 5);
        assert_int_equal(put("file", "other"), 0);
        struct store_state other = look("file");
        assert_true(strcmp(first.etag, other.etag) != 0);
        assert_true(first.modified.tv_sec < other.modified.tv_sec || first.modified.tv_nsec < other.modified.tv_nsec ||
                    first.inode != other.inode);
        expect("file", "other");
        struct store_commit exclusive = { .exclusive = true };
        assert_int_equal(put_as("file", "third", &exclusive), -EEXIST);
        expect("file", "other");
        close_shop();
}

static void who_reads_a_file_hinders_nobody(void **test)
{
        (void)test;
        bool created;
        open_shop();
        assert_int_equal(put("file", "old"), 0);
        HANDLE reader = open_reader("file");
        assert_int_equal(put("file", "new"), 0);
        expect("file", "new");
        expect_read(reader, "old");
        reader = open_reader("file");
        assert_int_equal(remove_at("file"), 0);
        assert_int_equal(look("file").kind, STORE_NOTHING);
        assert_int_equal(put("file", "newer"), 0);
        expect("file", "newer");
        expect_read(reader, "new");
        assert_int_equal(put("from", "moved"), 0);
        reader = open_reader("file");
        HANDLE moved = open_reader("from");
        assert_int_equal(transfer(MOVE, "from", "file", true, &created), 0);
        expect("file", "moved");
        expect_read(reader, "newer");
        expect_read(moved, "moved");
        close_shop();
}

static void dictated_times_are_kept(void **test)
{
        (void)test;
        struct timespec then = { .tv_sec = 1000000000, .tv_nsec = 123456700 };
        struct store_commit commit = { .modified = &then };
        open_shop();
        assert_int_equal(put_as("file", "x", &commit), 0);
        assert_int_equal(look("file").modified.tv_sec, then.tv_sec);
        assert_int_equal(look("file").modified.tv_nsec, then.tv_nsec);
        char before[STORE_ETAG_BYTES];
        strcpy(before, look("file").etag);
        then.tv_nsec += 50; /* less than Windows keeps: must not look like the same */
        struct store_section section;
        struct store_state state;
        assert_int_equal(store_enter(&section, shop.tree, "file"), 0);
        assert_int_equal(store_write(&section, &(struct berth_vec){ "y", 1 }, 1, 0, &commit, &state), 0);
        store_leave(&section);
        assert_true(strcmp(before, look("file").etag) != 0);
        assert_string_equal(state.etag, look("file").etag);
        close_shop();
}

static void parts_are_written_in_place(void **test)
{
        (void)test;
        struct berth_vec vecs[] = { { "AB", 2 }, { "CD", 2 } };
        struct store_section section;
        struct store_state state;
        open_shop();
        assert_int_equal(put("file", "0123456789"), 0);
        uint64_t inode = look("file").inode;
        assert_int_equal(store_enter(&section, shop.tree, "file"), 0);
        assert_int_equal(store_write(&section, vecs, 2, 3, &plain, &state), 0);
        assert_int_equal(store_truncate(&section, 8, &plain, &state), 0);
        assert_int_equal(state.size, 8);
        assert_int_equal(store_sync(&section), 0);
        store_leave(&section);
        assert_int_equal(look("file").inode, inode);
        expect("file", "012ABCD7");
        assert_int_equal(store_enter(&section, shop.tree, "fresh"), 0);
        assert_int_equal(store_write(&section, vecs, 2, 0, &plain, &state), 0);
        store_leave(&section);
        expect("fresh", "ABCD");
        close_shop();
}

static void an_upload_appears_whole(void **test)
{
        (void)test;
        struct store_upload *upload;
        struct store_section section;
        struct store_state state;
        open_shop();
        assert_int_equal(store_upload_create(&upload, shop.tree, "file", 4 << 20), 0);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(store_upload_write(upload, &(struct berth_vec){ "0123", 4 }, 1), 0);
        assert_int_equal(look("file").kind, STORE_NOTHING);
        assert_int_equal(store_enter(&section, shop.tree, "file"), 0);
        assert_int_equal(store_upload_commit(upload, &section, &plain, &state), 0);
        store_leave(&section);
        store_upload_destroy(upload);
        assert_string_equal(state.etag, look("file").etag);
        expect("file", "0123012301230123");
        assert_int_equal(store_upload_create(&upload, shop.tree, "dropped", UINT64_MAX), 0);
        store_upload_destroy(upload);
        assert_int_equal(look("dropped").kind, STORE_NOTHING);
        close_shop();
}

/* ---- names ---- */

static void names_that_mean_something_else_are_not_made(void **test)
{
        (void)test;
        static const char *const names[] = {
                "CON", "nul.txt", "file:stream", "file.", "file ", "a\\b", "com1", "fi?e"
        };
        bool created;
        open_shop();
        assert_int_equal(put("file", "x"), 0);
        for (unsigned i = 0; i < array_count(names); i++) {
                assert_int_equal(put(names[i], "x"), -EACCES);
                assert_int_equal(make_folder(names[i]), -EACCES);
                assert_int_equal(transfer(COPY, "file", names[i], true, &created), -EACCES);
                assert_int_equal(transfer(MOVE, "file", names[i], true, &created), -EACCES);
                assert_int_equal(remove_at(names[i]), -ENOENT);
                assert_int_equal(look(names[i]).kind, STORE_NOTHING);
        }
        assert_int_equal(put(".berth-staging/x", "x"), -EACCES);
        assert_int_equal(put(".BERTH-Staging", "x"), -EACCES);
        assert_int_equal(put("no/file", "x"), -ENOENT);
        assert_int_equal(put("file/x", "x"), -ENOTDIR);
        assert_int_equal(put("../file", "x"), -EXDEV);
        expect("file", "x");
        close_shop();
}

static bool on_wine(void)
{
        return GetProcAddress(GetModuleHandleA("ntdll"), "wine_get_version") != NULL;
}

/* The other name that the volume gives a long one; NULL: it gives none. */
static const char *short_name(const char *path)
{
        static char whole[512];
        char longer[512];
        snprintf(longer, sizeof(longer), "%s", lab_path(&shop.lab, path));
        assert_true(GetShortPathNameA(longer, whole, sizeof(whole)) > 0);
        const char *name = whole;
        for (const char *at = whole; *at; at++)
                if (*at == '/' || *at == '\\')
                        name = at + 1;
        return strchr(name, '~') ? name : NULL;
}

static void a_short_name_is_nobodys(void **test)
{
        (void)test;
        char path[256];
        open_shop();
        assert_int_equal(make_folder(".a hidden folder"), 0);
        assert_int_equal(put(".a hidden folder/a name that is long", "x"), 0);
        assert_int_equal(put("x~1y", "not short"), 0);
        expect("x~1y", "not short");
        assert_int_equal(look("x~1y").kind, STORE_IS_FILE);
        const char *name = short_name(".a hidden folder");
        if (name) {
                struct store_state state;
                assert_int_equal(look(name).kind, STORE_NOTHING);
                snprintf(path, sizeof(path), "%s/a name that is long", name);
                assert_int_equal(store_look(shop.tree, path, &state), -ENOENT);
                assert_int_equal(remove_at(name), -ENOENT);
        }
        expect(".a hidden folder/a name that is long", "x");
        close_shop();
}

static void capital_letters_can_be_changed(void **test)
{
        (void)test;
        bool created;
        open_shop();
        assert_int_equal(put("file", "x"), 0);
        assert_int_equal(transfer(MOVE, "file", "FILE", true, &created), 0);
        expect("file", "x");
        assert_int_equal(transfer(RENAME, "FILE", "File", true, &created), 0);
        if (!on_wine()) { /* it takes "file" for the new name of "FILE", and leaves it so */
                WIN32_FIND_DATAA found;
                HANDLE search = FindFirstFileA(lab_path(&shop.lab, "fil*"), &found);
                assert_true(search != INVALID_HANDLE_VALUE);
                FindClose(search);
                assert_string_equal(found.cFileName, "File");
        }
        assert_int_equal(make_folder("d"), 0);
        assert_int_equal(put("d/in", "y"), 0);
        assert_int_equal(transfer(MOVE, "d", "D", true, &created), 0);
        expect("D/in", "y");
        close_shop();
}

static void a_short_name_replaces_nothing(void **test)
{
        (void)test;
        bool created;
        open_shop();
        assert_int_equal(put(".a hidden file", "x"), 0);
        assert_int_equal(put("file", "y"), 0);
        const char *name = short_name(".a hidden file");
        if (name) {
                assert_true(put(name, "z") < 0);
                assert_true(transfer(RENAME, "file", name, true, &created) < 0);
                assert_true(transfer(MOVE, "file", name, true, &created) < 0);
        }
        expect(".a hidden file", "x");
        close_shop();
}

static void durable_changes_are_flushed(void **test)
{
        (void)test;
        bool created;
        open_shop();
        store_tree_destroy(shop.tree);
        assert_int_equal(store_tree_create(&shop.tree, shop.root, false, true), 0);
        assert_int_equal(make_folder("folder"), 0);
        assert_int_equal(put("folder/file", "x"), 0);
        assert_int_equal(transfer(COPY, "folder", "copy", false, &created), 0);
        assert_int_equal(transfer(MOVE, "copy", "moved", false, &created), 0);
        assert_int_equal(remove_at("folder"), 0);
        expect("moved/file", "x");
        close_shop();
}

/* ---- trees ---- */

static void fill(const char *folder)
{
        char path[64];
        assert_int_equal(make_folder(folder), 0);
        snprintf(path, sizeof(path), "%s/sub", folder);
        assert_int_equal(make_folder(path), 0);
        snprintf(path, sizeof(path), "%s/sub/file", folder);
        assert_int_equal(put(path, folder), 0);
        snprintf(path, sizeof(path), "%s/gr\xc3\xbc\xc3\x9f", folder);
        assert_int_equal(put(path, folder), 0);
}

static void trees_are_copied_moved_and_removed(void **test)
{
        (void)test;
        bool created;
        open_shop();
        fill("a");
        assert_int_equal(transfer(COPY, "a", "b", false, &created), 0);
        assert_true(created);
        expect("b/sub/file", "a");
        assert_int_equal(transfer(COPY, "a", "b", false, &created), -EEXIST);
        assert_int_equal(transfer(COPY, "a", "a/sub/in", true, &created), -EINVAL);
        fill("c");
        assert_int_equal(transfer(COPY, "c", "b", true, &created), 0);
        assert_false(created);
        expect("b/sub/file", "c");
        assert_int_equal(transfer(MOVE, "a", "b", true, &created), 0);
        expect("b/sub/file", "a");
        assert_int_equal(look("a").kind, STORE_NOTHING);
        assert_int_equal(transfer(MOVE, "b", "d", false, &created), 0);
        assert_int_equal(look("d/gr\xc3\xbc\xc3\x9f").size, 1);
        HANDLE reader = open_reader("d/sub/file");
        assert_int_equal(remove_at("d"), 0);
        expect_read(reader, "a");
        assert_int_equal(look("d").kind, STORE_NOTHING);
        assert_int_equal(remove_at(""), -EPERM);
        close_shop();
}

static void renames_are_as_posix_has_them(void **test)
{
        (void)test;
        bool created;
        open_shop();
        fill("full");
        assert_int_equal(make_folder("empty"), 0);
        assert_int_equal(put("file", "x"), 0);
        assert_int_equal(transfer(RENAME, "file", "full", true, &created), -EISDIR);
        assert_int_equal(transfer(RENAME, "full", "file", true, &created), -ENOTDIR);
        assert_int_equal(transfer(RENAME, "empty", "full", true, &created), -ENOTEMPTY);
        assert_int_equal(transfer(RENAME, "full", "empty", true, &created), 0);
        expect("empty/sub/file", "full");
        assert_int_equal(transfer(RENAME, "no", "there", true, &created), -ENOENT);
        struct store_section section;
        assert_int_equal(store_enter(&section, shop.tree, "empty"), 0);
        assert_int_equal(store_remove_empty(&section), -ENOTEMPTY);
        store_leave(&section);
        close_shop();
}

static void what_windows_has_not_is_refused(void **test)
{
        (void)test;
        struct store_section section;
        char target[64];
        uint32_t mode = 0755;
        struct store_commit commit = { .mode = &mode };
        open_shop();
        assert_int_equal(put("file", "x"), 0);
        assert_int_equal(store_enter(&section, shop.tree, "link"), 0);
        assert_int_equal(store_make_link(&section, "file", &plain), -EPERM);
        store_leave(&section);
        assert_int_equal(store_enter(&section, shop.tree, "file"), 0);
        assert_int_equal(store_read_link(&section, target, sizeof(target)), -EINVAL);
        assert_int_equal(store_set_mode(&section, 0755), -EPERM);
        assert_int_equal(store_set_mode(&section, 0644), 0);
        store_leave(&section);
        assert_int_equal(put_as("other", "x", &commit), -EPERM);
        assert_int_equal(look("other").kind, STORE_NOTHING);
        close_shop();
}

static void hard_links_are_names_of_one_file(void **test)
{
        (void)test;
        struct store_section section;
        open_shop();
        assert_int_equal(put("file", "x"), 0);
        assert_int_equal(store_enter(&section, shop.tree, "second"), 0);
        assert_int_equal(store_make_hard_link(&section, "file"), 0);
        assert_int_equal(store_make_hard_link(&section, "file"), -EEXIST);
        store_leave(&section);
        assert_int_equal(look("second").inode, look("file").inode);
        assert_int_equal(look("file").links, 2);
        close_shop();
}

/* ---- reading ---- */

static void a_walk_tells_all_members(void **test)
{
        (void)test;
        struct store_walk_options options = { .depth = INT32_MAX };
        struct store_walk *walk;
        struct store_member member;
        unsigned folders = 0, files = 0;
        open_shop();
        fill("a");
        assert_int_equal(put("a/.hidden", "x"), 0);
        assert_int_equal(store_walk_create(&walk, shop.tree, "", &options), 0);
        while (store_walk_next(walk, &member) == 1) {
                folders += member.state.kind == STORE_IS_FOLDER;
                files += member.state.kind == STORE_IS_FILE;
        }
        store_walk_destroy(walk);
        assert_int_equal(folders, 3);
        assert_int_equal(files, 2);
        close_shop();
}

static void listings_are_in_order(void **test)
{
        (void)test;
        struct store_list_options options = { .sort = STORE_SORT_NAME };
        struct store_entry entry;
        struct store_list *list;
        char name[16];
        open_shop();
        assert_int_equal(make_folder("zz"), 0);
        for (unsigned i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "f%03u", (i * 7) % 500);
                assert_int_equal(put(name, name), 0);
        }
        assert_int_equal(store_list_create(&list, shop.root, "", &options), 0);
        assert_int_equal(store_list_next(list, &entry), 1);
        assert_int_equal(entry.type, STORE_FOLDER);
        for (unsigned i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "f%03u", i);
                assert_int_equal(store_list_next(list, &entry), 1);
                assert_string_equal(entry.name, name);
                assert_int_equal(entry.size, 4);
        }
        assert_int_equal(store_list_next(list, &entry), 0);
        store_list_destroy(list);
        close_shop();
}

struct looking {
        struct store_opening opening;
        bool opened;
};

static void on_opened(struct store_opening *opening)
{
        container_of(opening, struct looking, opening)->opened = true;
}

/* Opens it in the cache; its result. */
static int get(struct store *store, const char *path, struct store_file **file)
{
        struct looking looking = {
                .opening = { .done = on_opened, .path = path, .path_size = (uint16_t)strlen(path) },
        };
        *file = store_find(store, span_of(path), 0);
        if (*file)
                return 0;
        store_open(store, &looking.opening);
        lab_until(&shop.lab, looking.opened);
        *file = looking.opening.file;
        return looking.opening.result;
}

static void on_gone(void *gone)
{
        *(bool *)gone = true;
}

static void known_files_change_when_they_are_changed(void **test)
{
        (void)test;
        struct store_file *file, *fresh;
        struct store *store;
        bool gone = false;
        char data[8];
        open_shop();
        assert_int_equal(make_folder("folder"), 0);
        assert_int_equal(put("folder/file", "old"), 0);
        struct store_config config = {
                .port = shop.lab.port, .root = shop.root, .max_files = 4, .content_bytes = 1 << 20
        };
        assert_int_equal(store_create(&store, &config), 0);
        assert_int_equal(get(store, "folder", &file), -EISDIR);
        assert_int_equal(get(store, "folder/NUL", &file), -ENOENT);
        assert_int_equal(get(store, "folder/file", &file), 0);
        assert_string_equal(file->etag, look("folder/file").etag);
        assert_memory_equal(file->content, "old", 3);
        assert_int_equal(put("folder/file", "newer"), 0);
        store_distrust(store);
        assert_int_equal(get(store, "folder/file", &fresh), 0);
        assert_memory_equal(fresh->content, "newer", 5);
        assert_string_equal(fresh->etag, look("folder/file").etag);
        assert_int_equal(store_file_read(file, data, sizeof(data), 1), 2); /* what it was, as long as it is used */
        assert_memory_equal(data, "ld", 2);
        store_release(store, file);
        store_release(store, fresh);
        store_distrust(store);
        lab_settle(&shop.lab);
        assert_int_equal(store_use(store).files, 0); /* nobody's file hinders who moves the folder */
        store_destroy(store, on_gone, &gone);
        lab_until(&shop.lab, gone);
        close_shop();
}

static void room_is_told(void **test)
{
        (void)test;
        uint64_t available, used;
        open_shop();
        assert_int_equal(store_room(shop.tree, "not/there/yet", &available, &used), 0);
        assert_true(available > 0 && used > 0);
        close_shop();
}

/* ---- properties ---- */

static bool keeps_streams(void)
{
        DWORD flags = 0;
        return GetVolumeInformationByHandleW((HANDLE)(intptr_t)shop.root, NULL, 0, NULL, NULL, &flags, NULL, 0) &&
               flags & FILE_NAMED_STREAMS;
}

static void properties_need_streams(void **test)
{
        (void)test;
        struct store_property_change change = { .space = SPAN("DAV:"), .local = SPAN("x"), .value = SPAN("value") };
        struct store_section section;
        struct store_property property;
        struct store_lock lock = { .token = "opaque", .exclusive = true, .expires = INT64_MAX };
        char room[256];
        open_shop();
        assert_int_equal(put("file", "x"), 0);
        char etag[STORE_ETAG_BYTES];
        strcpy(etag, look("file").etag);
        bool kept = keeps_streams();
        assert_int_equal(store_enter(&section, shop.tree, "file"), 0);
        assert_int_equal(store_property_change(&section, &change, 1), kept ? 0 : -EOPNOTSUPP);
        assert_int_equal(store_lock_add(&section, &lock, NULL), kept ? 0 : -EOPNOTSUPP);
        ssize_t n = store_property_get(section.folder, "file", change.space, change.local, room, sizeof(room),
                                       &property);
        assert_int_equal(n > 0, kept);
        assert_true(kept || n == -ENODATA);
        store_leave(&section);
        assert_string_equal(look("file").etag, etag);
        close_shop();
}

/* ---- others ---- */

static const char *self;

static HANDLE start(const char *what)
{
        STARTUPINFOA startup = { .cb = sizeof(startup) };
        PROCESS_INFORMATION process;
        char line[2048];
        snprintf(line, sizeof(line), "\"%s\" %s \"%s\"", self, what, lab_path(&shop.lab, ""));
        assert_true(CreateProcessA(NULL, line, NULL, NULL, FALSE, 0, NULL, NULL, &startup, &process));
        CloseHandle(process.hThread);
        return process.hProcess;
}

static DWORD end_of(HANDLE process)
{
        DWORD code = 99;
        assert_int_equal(WaitForSingleObject(process, 60000), WAIT_OBJECT_0);
        GetExitCodeProcess(process, &code);
        CloseHandle(process);
        return code;
}

enum { INCREMENTS = 50 };

/* Reads a number and puts the next one: without sections some would be lost. */
static int count_up(void)
{
        for (unsigned i = 0; i < INCREMENTS; i++) {
                struct store_section section;
                struct store_state state;
                char text[16] = "";
                DWORD n = 0;
                if (store_enter(&section, shop.tree, "number"))
                        return 2;
                HANDLE file = CreateFileA(lab_path(&shop.lab, "number"), GENERIC_READ,
                                          FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                          0, NULL);
                bool read = ReadFile(file, text, sizeof(text) - 1, &n, NULL);
                CloseHandle(file);
                snprintf(text, sizeof(text), "%d", atoi(text) + 1);
                int error = read ? store_put(&section, text, strlen(text), &plain, &state) : 3;
                store_leave(&section);
                if (error)
                        return 4;
        }
        return 0;
}

static void processes_do_not_lose_changes(void **test)
{
        (void)test;
        char expected[16];
        open_shop();
        assert_int_equal(put("number", "0"), 0);
        HANDLE other = start("count");
        assert_int_equal(count_up(), 0);
        assert_int_equal(end_of(other), 0);
        snprintf(expected, sizeof(expected), "%d", 2 * INCREMENTS);
        expect("number", expected);
        close_shop();
}

static void what_the_dead_left_is_removed(void **test)
{
        (void)test;
        struct store_upload *upload;
        open_shop();
        assert_int_equal(end_of(start("die")), 7);
        assert_true(GetFileAttributesA(lab_path(&shop.lab, ".berth-staging")) != INVALID_FILE_ATTRIBUTES);
        assert_int_equal(store_upload_create(&upload, shop.tree, "mine", UINT64_MAX), 0);
        assert_int_equal(store_tree_clean(shop.tree), 2); /* its file and its folder, nothing of ours */
        assert_int_equal(store_tree_clean(shop.tree), 0);
        assert_int_equal(store_upload_write(upload, &(struct berth_vec){ "x", 1 }, 1), 0);
        store_upload_destroy(upload);
        close_shop();
}

static int act(const char *what, const char *path)
{
        struct store_upload *upload;
        snprintf(shop.lab.folder, sizeof(shop.lab.folder), "%s", path);
        shop.root = open_folder(path);
        if (shop.root < 0 || store_tree_create(&shop.tree, shop.root, false, false))
                return 1;
        if (strcmp(what, "count") == 0) {
                int result = count_up();
                store_tree_destroy(shop.tree);
                return result;
        }
        if (store_upload_create(&upload, shop.tree, "never", UINT64_MAX))
                return 5;
        ExitProcess(7);
}

int main(int count, char **arguments)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_is_put_and_replaced),
                cmocka_unit_test(who_reads_a_file_hinders_nobody),
                cmocka_unit_test(dictated_times_are_kept),
                cmocka_unit_test(parts_are_written_in_place),
                cmocka_unit_test(an_upload_appears_whole),
                cmocka_unit_test(names_that_mean_something_else_are_not_made),
                cmocka_unit_test(a_short_name_is_nobodys),
                cmocka_unit_test(a_short_name_replaces_nothing),
                cmocka_unit_test(capital_letters_can_be_changed),
                cmocka_unit_test(durable_changes_are_flushed),
                cmocka_unit_test(trees_are_copied_moved_and_removed),
                cmocka_unit_test(renames_are_as_posix_has_them),
                cmocka_unit_test(what_windows_has_not_is_refused),
                cmocka_unit_test(hard_links_are_names_of_one_file),
                cmocka_unit_test(a_walk_tells_all_members),
                cmocka_unit_test(listings_are_in_order),
                cmocka_unit_test(known_files_change_when_they_are_changed),
                cmocka_unit_test(room_is_told),
                cmocka_unit_test(properties_need_streams),
                cmocka_unit_test(processes_do_not_lose_changes),
                cmocka_unit_test(what_the_dead_left_is_removed),
        };
        self = arguments[0];
        if (count == 3)
                return act(arguments[1], arguments[2]);
        lab_engine = "iocp";
        return _cmocka_run_group_tests("changing", tests, array_count(tests), NULL, NULL);
}
