/* A tree over a temporary folder, on a file system that keeps user.* attributes. BERTH_TEST_FOLDER says where. */
#ifndef TESTS_UNIT_STORE_HELP_H
#define TESTS_UNIT_STORE_HELP_H

#include "folder.h"
#include "store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <sys/xattr.h>

struct shop {
        struct folder folder;
        struct store_tree *tree;
};

static inline bool keeps_attributes(int fd)
{
        bool keeps = fsetxattr(fd, "user.test", "1", 1, 0) == 0;

        fremovexattr(fd, "user.test");
        return keeps;
}

static inline int shop_setup(void **state)
{
        const char *bases[] = { getenv("BERTH_TEST_FOLDER"), "/dev/shm", "/tmp", "/var/tmp" };
        struct shop *shop = calloc(1, sizeof(*shop));

        for (size_t i = 0; i < array_count(bases); i++) {
                if (!bases[i])
                        continue;
                snprintf(shop->folder.path, sizeof(shop->folder.path), "%s/berth-test-XXXXXX", bases[i]);
                if (!mkdtemp(shop->folder.path))
                        continue;
                shop->folder.fd = open(shop->folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                *state = shop;
                if (keeps_attributes(shop->folder.fd))
                        return store_tree_create(&shop->tree, shop->folder.fd, false, false);
                close(shop->folder.fd);
                rmdir(shop->folder.path);
        }
        return -1;
}

static inline int shop_teardown(void **state)
{
        struct shop *shop = *state;
        int error;

        store_tree_destroy(shop->tree);
        error = nftw(shop->folder.path, folder_remove, 16, FTW_DEPTH | FTW_PHYS);
        close(shop->folder.fd);
        free(shop);
        return error;
}

/* ---- in short ---- */

static inline int put(struct shop *shop, const char *path, const char *text)
{
        struct store_commit commit = { 0 };
        struct store_section section;
        struct store_state state;
        int error = store_enter(&section, shop->tree, path);

        if (error)
                return error;
        error = store_put(&section, text, strlen(text), &commit, &state);
        store_leave(&section);
        return error;
}

static inline void must_put(struct shop *shop, const char *path, const char *text)
{
        assert_int_equal(put(shop, path, text), 0);
}

static inline void enter(struct shop *shop, struct store_section *section, const char *path)
{
        assert_int_equal(store_enter(section, shop->tree, path), 0);
}

/* Not through the store. */
static inline void plant(struct shop *shop, const char *path)
{
        int fd = openat(shop->folder.fd, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        close(fd);
}

static inline void make_folder(struct shop *shop, const char *path)
{
        assert_int_equal(mkdirat(shop->folder.fd, path, 0755), 0);
}

static inline void expect_content(struct shop *shop, const char *path, const char *expected)
{
        char content[4096];
        int fd = openat(shop->folder.fd, path, O_RDONLY | O_CLOEXEC);
        ssize_t n;

        assert_true(fd >= 0);
        n = read(fd, content, sizeof(content) - 1);
        close(fd);
        assert_true(n >= 0);
        content[n] = '\0';
        assert_string_equal(content, expected);
}

static inline bool is_there(struct shop *shop, const char *path)
{
        return faccessat(shop->folder.fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline struct store_state state_of(struct shop *shop, const char *path)
{
        struct store_state state;

        assert_int_equal(store_look(shop->tree, path, &state), 0);
        return state;
}

static inline char *full_path(struct shop *shop, const char *path)
{
        static char full[2][4200];
        static unsigned turn;

        turn ^= 1;
        snprintf(full[turn], sizeof(full[turn]), "%s/%s", shop->folder.path, path);
        return full[turn];
}

static inline void set_attribute(struct shop *shop, const char *path, const char *name, const char *value)
{
        assert_int_equal(lsetxattr(full_path(shop, path), name, value, strlen(value), 0), 0);
}

/* "" when it is not there. */
static inline const char *attribute_of(struct shop *shop, const char *path, const char *name)
{
        static char value[4096];
        ssize_t n = lgetxattr(full_path(shop, path), name, value, sizeof(value) - 1);

        value[max_of(n, 0)] = '\0';
        return value;
}

/* ---- staging ---- */

static inline unsigned entries_in(int folder, const char *path)
{
        int fd = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *entries = fd < 0 ? NULL : fdopendir(fd);
        unsigned count = 0;

        while (entries && readdir(entries))
                count++;
        if (entries)
                closedir(entries);
        return count < 2 ? 0 : count - 2;
}

/* How many names lie in the staging folders of all servers. */
static inline unsigned staged(struct shop *shop)
{
        int fd = openat(shop->folder.fd, STORE_STAGING, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *servers = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;
        unsigned count = 0;

        while (servers && (entry = readdir(servers)))
                count += entry->d_name[0] == '.' ? 0 : entries_in(dirfd(servers), entry->d_name);
        if (servers)
                closedir(servers);
        return count;
}

/* ---- other processes ---- */

static inline void expect_exit(pid_t child, int code)
{
        int status;

        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), code);
}

/* In a child that sees a tmpfs at `path`; nobody else does. Descriptors opened before do not see it: so anew. False:
 * not allowed to. */
static inline bool mount_small(struct shop *shop, const char *path, const char *options)
{
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", full_path(shop, path), "tmpfs", 0, options) < 0)
                return false;
        shop->folder.fd = open(shop->folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return store_tree_create(&shop->tree, shop->folder.fd, false, false) == 0;
}

enum { CHILD_GOOD = 0, CHILD_SKIPPED = 77 };

/* Runs it in a child; what is false there shows by its line. */
#define child_ensure(x)                                                                                                \
        ((x) ? (void)0 : (fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno)), _exit(1)))

static inline void in_child(struct shop *shop, void (*run)(struct shop *shop))
{
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (child == 0) {
                run(shop);
                _exit(CHILD_GOOD);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED)
                skip();
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), CHILD_GOOD);
}

#define shop_test(name) cmocka_unit_test_setup_teardown(name, shop_setup, shop_teardown)

#endif
