/* The staging folder: names that a rename needs for a moment, and what is to be removed, lie out of sight in
 * ROOT/.berth-staging/XXXXXXXX/. A rename stays on one mount, so each mount beneath the root on which something is
 * changed gets one of its own, in its topmost folder.
 *
 * Each running server holds flock(2) on its folder. Who can take that lock knows that the owner is dead and may clean
 * up; where the file system has no flock, nobody can know, and nothing is cleaned. A folder is made and locked while
 * .berth-staging itself is locked, and the lock of another's folder is tried only while it is; so nobody takes a new
 * folder for a dead one. .berth-staging may be removed by another server at any moment while it is empty, therefore
 * who has locked it looks whether it is still the one that has that name.
 *
 * Removing a tree here needs neither recursion nor depth: each folder found in the tree is renamed to a name beside
 * it, and so becomes the next one to be emptied.
 */
#include "store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRIES = 16, MOUNTS_DEEP = 4096, FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

bool store_is_staging(struct span path)
{
        /* Without regard to case, since there are file systems that have none. */
        while (path.data) {
                if (span_equal_nocase(span_cut(&path, '/'), SPAN(STORE_STAGING)))
                        return true;
        }
        return false;
}

/* ---- the tree ---- */

void store_tree_patience(struct store_tree *tree, unsigned busy_ms)
{
        tree->busy_ms = busy_ms;
}

void store_tree_remember(struct store_tree *tree, size_t bytes)
{
        store_snapshots_bound(tree->snapshots, bytes);
}

static void init_mutexes(struct store_tree *tree)
{
        pthread_mutex_init(&tree->staging, NULL);
        for (unsigned i = 0; i < STORE_MUTEXES; i++)
                pthread_mutex_init(&tree->sections[i], NULL);
}

int store_tree_create(struct store_tree **out, int root, bool links, bool durable)
{
        struct store_tree *tree = calloc(1, sizeof(*tree));

        if (!tree)
                return -ENOMEM;
        tree->bare = store_bare_create();
        tree->snapshots = store_snapshots_create();
        if (!tree->bare || !tree->snapshots) {
                store_snapshots_destroy(tree->snapshots);
                free(tree->bare);
                free(tree);
                return -ENOMEM;
        }
        tree->root = root;
        tree->links = links;
        tree->durable = durable;
        tree->busy_ms = STORE_BUSY_MS;
        init_mutexes(tree);
        *out = tree;
        return 0;
}

static unsigned empty_staging(int folder);
static void remove_top(int above, int top);

static void give_up_place(struct store_place *place)
{
        empty_staging(place->folder);
        unlinkat(place->top, place->name, AT_REMOVEDIR);
        store_flock(place->top, STORE_BUSY_MS);
        remove_top(place->above, place->top);
        close(place->folder);
        close(place->top);
        close(place->above);
}

void store_tree_destroy(struct store_tree *tree)
{
        if (!tree)
                return;
        for (unsigned i = 0; i < tree->place_count; i++)
                give_up_place(&tree->places[i]);
        for (unsigned i = 0; i < STORE_MUTEXES; i++)
                pthread_mutex_destroy(&tree->sections[i]);
        pthread_mutex_destroy(&tree->staging);
        store_snapshots_destroy(tree->snapshots);
        free(tree->bare);
        free(tree);
}

/* ---- making a place ---- */

/* Which mount a folder is on; where the kernel does not tell (before 5.8), which device. */
static int mount_of(const struct store_tree *tree, int folder, uint64_t *mount)
{
        struct statx seen;

        if (tree->without_mounts) {
                *mount = 0;
                return 0;
        }
        if (statx(folder, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_MNT_ID, &seen) < 0)
                return -errno;
        *mount = seen.stx_mask & STATX_MNT_ID ? seen.stx_mnt_id
                                              : (uint64_t)seen.stx_dev_major << 32 | seen.stx_dev_minor;
        return 0;
}

/* The folder above, when it is on the same mount; else -EXDEV. */
static int open_above_on(const struct store_tree *tree, int folder, uint64_t mount)
{
        int above = openat(folder, "..", FOLDER_FLAGS);
        uint64_t other;
        int error;

        if (above < 0)
                return -errno;
        error = mount_of(tree, above, &other);
        if (!error && other == mount)
                return above;
        close(above);
        return error ? error : -EXDEV;
}

/* The topmost folder of the mount: the root, when it is the root's mount, else where ".." would lead to another one.
 * That is beneath the root too, as the way to `folder` came in there. */
static int open_topmost(const struct store_tree *tree, int folder, uint64_t mount)
{
        uint64_t roots;
        int error = mount_of(tree, tree->root, &roots), at, above;

        if (error)
                return error;
        at = openat(roots == mount ? tree->root : folder, ".", FOLDER_FLAGS);
        if (at < 0)
                return -errno;
        if (roots == mount)
                return at;
        for (unsigned i = 0; i < MOUNTS_DEEP; i++) {
                above = open_above_on(tree, at, mount);
                if (above == -EXDEV)
                        return at;
                close(at);
                if (above < 0)
                        return above;
                at = above;
        }
        close(at);
        return -ELOOP;
}

static bool still_named(int above, int top)
{
        struct stat named, held;

        return fstatat(above, STORE_STAGING, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(top, &held) == 0 &&
               named.st_ino == held.st_ino && named.st_dev == held.st_dev;
}

/* Fails while others have theirs in it. `top` is locked: nobody is about to make one. But it may have been removed
 * before, and what has its name now is another one, of others. */
static void remove_top(int above, int top)
{
        if (still_named(above, top))
                unlinkat(above, STORE_STAGING, AT_REMOVEDIR);
}

/* Opens and locks the staging folder of that mount; -ENOENT with `make` false when there is none. Where there is no
 * flock, it is left unlocked. */
static int lock_top(int above, bool make)
{
        for (unsigned i = 0; i < TRIES; i++) {
                int error, top;

                if (make && mkdirat(above, STORE_STAGING, 0700) < 0 && errno != EEXIST)
                        return -errno;
                top = openat(above, STORE_STAGING, FOLDER_FLAGS);
                if (top < 0 && (errno != ENOENT || !make))
                        return -errno;
                if (top < 0)
                        continue;
                error = store_flock(top, STORE_BUSY_MS);
                if ((!error || store_no_flock(error)) && still_named(above, top))
                        return top;
                close(top);
                if (error && !store_no_flock(error))
                        return error;
        }
        return -EAGAIN;
}

/* A folder of ours in `top`, which is locked. */
static int make_ours(struct store_place *place)
{
        for (unsigned i = 0; i < TRIES; i++) {
                uint32_t number;

                if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
                        return -EAGAIN;
                snprintf(place->name, sizeof(place->name), "%08x", number);
                if (mkdirat(place->top, place->name, 0700) == 0) {
                        place->folder = openat(place->top, place->name, FOLDER_FLAGS);
                        if (place->folder >= 0)
                                flock(place->folder, LOCK_EX | LOCK_NB);
                        return place->folder < 0 ? -errno : 0;
                }
                if (errno != EEXIST)
                        return -errno;
        }
        return -EAGAIN;
}

static int make_place(struct store_tree *tree, int folder, uint64_t mount, struct store_place *place)
{
        int error = 0;

        *place = (struct store_place){ .mount = mount, .top = -1, .folder = -1 };
        place->above = open_topmost(tree, folder, mount);
        if (place->above < 0)
                return place->above;
        place->top = lock_top(place->above, true);
        error = place->top < 0 ? place->top : make_ours(place);
        if (place->top >= 0)
                flock(place->top, LOCK_UN);
        if (!error)
                return 0;
        if (place->top >= 0)
                close(place->top);
        close(place->above);
        return error;
}

/* Somebody may have removed it behind our back. */
static bool place_is_there(const struct store_place *place)
{
        struct stat st;

        return fstat(place->folder, &st) == 0 && st.st_nlink > 0;
}

/* Others may be using the descriptors right now, so the numbers stay the same. */
static void replace_place(struct store_place *old, const struct store_place *new)
{
        dup3(new->folder, old->folder, O_CLOEXEC);
        dup3(new->top, old->top, O_CLOEXEC);
        dup3(new->above, old->above, O_CLOEXEC);
        memcpy(old->name, new->name, sizeof(old->name));
        close(new->folder);
        close(new->top);
        close(new->above);
}

static int find_or_make(struct store_tree *tree, int folder, uint64_t mount)
{
        struct store_place made, *place = tree->places;
        int error;

        while (place < tree->places + tree->place_count && place->mount != mount)
                place++;
        if (place == tree->places + STORE_PLACES)
                return -EXDEV;
        if (place < tree->places + tree->place_count && place_is_there(place))
                return place->folder;
        error = make_place(tree, folder, mount, &made);
        if (error)
                return error;
        if (place < tree->places + tree->place_count)
                replace_place(place, &made);
        else
                tree->places[tree->place_count++] = made;
        return place->folder;
}

int store_staging(struct store_tree *tree, int folder)
{
        uint64_t mount;
        int staging = mount_of(tree, folder, &mount);

        if (staging)
                return staging;
        pthread_mutex_lock(&tree->staging);
        staging = find_or_make(tree, folder, mount);
        pthread_mutex_unlock(&tree->staging);
        return staging;
}

void store_staged_name(struct store_tree *tree, char name[STORE_STAGED_BYTES])
{
        snprintf(name, STORE_STAGED_BYTES, "%llx", (unsigned long long)atomic_fetch_add(&tree->next_name, 1));
}

int store_rename_new(int from, const char *name, int to, const char *new_name)
{
        struct stat st;

        if (renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EINVAL && errno != ENOSYS)
                return -errno;
        if (fstatat(to, new_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return -EEXIST;
        return renameat(from, name, to, new_name) < 0 ? -errno : 0;
}

/* ---- removing what is in staging ---- */

static DIR *open_entries(int folder, const char *name)
{
        int copy = openat(folder, name, FOLDER_FLAGS);
        DIR *entries = copy < 0 ? NULL : fdopendir(copy);

        if (!entries && copy >= 0)
                close(copy);
        return entries;
}

static struct dirent *next_entry(DIR *entries)
{
        struct dirent *entry;

        do
                entry = readdir(entries);
        while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
        return entry;
}

/* A folder that its owner may not change cannot be emptied, nor moved. */
static void make_writable(int folder, const char *name)
{
        fchmodat(folder, name, 0700, AT_SYMLINK_NOFOLLOW);
}

/* Removes files, and moves folders to `staging` as NAME.0, NAME.1, ... Whether it is gone. */
static bool empty_one(int staging, const char *name, const char *base, unsigned *count, int *removed)
{
        char beside[STORE_STAGED_BYTES + 16];
        struct dirent *entry;
        DIR *entries;
        int error;

        if (unlinkat(staging, name, 0) == 0 || errno == ENOENT)
                return ++*removed;
        if (unlinkat(staging, name, AT_REMOVEDIR) == 0)
                return ++*removed;
        make_writable(staging, name);
        entries = open_entries(staging, name);
        while (entries && (entry = next_entry(entries))) {
                if (unlinkat(dirfd(entries), entry->d_name, 0) == 0) {
                        ++*removed;
                        continue;
                }
                if (entry->d_type == DT_DIR)
                        make_writable(dirfd(entries), entry->d_name);
                snprintf(beside, sizeof(beside), "%s.%x", base, *count);
                error = store_rename_new(dirfd(entries), entry->d_name, staging, beside);
                *count += error == 0 || error == -EEXIST; /* left by one that died over this: is emptied as well */
        }
        if (entries)
                closedir(entries);
        return unlinkat(staging, name, AT_REMOVEDIR) == 0 && ++*removed;
}

/* Reading a folder while it is emptied may pass over entries; so once more as long as something goes. */
static void empty_wholly(int staging, const char *name, const char *base, unsigned *count, int *removed)
{
        for (unsigned i = 0; i < TRIES; i++) {
                int before = *removed;
                unsigned moved = *count;

                if (empty_one(staging, name, base, count, removed) || (*removed == before && *count == moved))
                        return;
        }
}

int store_discard(int staging, const char *name)
{
        unsigned count = 0;
        int removed = 0;

        empty_wholly(staging, name, name, &count, &removed);
        for (unsigned i = 0; i < count; i++) {
                char beside[STORE_STAGED_BYTES + 16];

                snprintf(beside, sizeof(beside), "%s.%x", name, i);
                empty_wholly(staging, beside, name, &count, &removed);
        }
        return removed;
}

/* All that is there: each under a short name first, as the names of those that come out of it begin with it. */
static unsigned empty_staging(int folder)
{
        unsigned total = 0, number = 0;

        for (unsigned i = 0, before = UINT32_MAX; i < TRIES && before != total; i++) {
                DIR *entries = open_entries(folder, ".");
                struct dirent *entry;

                before = total;
                while (entries && (entry = next_entry(entries))) {
                        char name[STORE_STAGED_BYTES];

                        snprintf(name, sizeof(name), "x%x", number++);
                        if (store_rename_new(folder, entry->d_name, folder, name) == 0)
                                total += (unsigned)store_discard(folder, name);
                        else
                                total += unlinkat(folder, entry->d_name, 0) == 0;
                }
                if (entries)
                        closedir(entries);
        }
        return total;
}

/* ---- cleaning up after dead servers ---- */

/* A server's folder, if nobody holds it; the lock is held from here on, which makes it ours. */
static int open_dead(int top, const char *name)
{
        int folder = openat(top, name, FOLDER_FLAGS);

        if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) < 0) {
                close(folder);
                folder = -1;
        }
        return folder;
}

static unsigned clean_top(int above, int top)
{
        DIR *entries = open_entries(top, ".");
        struct dirent *entry;
        unsigned removed = 0;

        while (entries && (entry = next_entry(entries))) {
                int folder = open_dead(top, entry->d_name);

                if (folder < 0)
                        continue;
                flock(top, LOCK_UN); /* what is large takes long, and other servers want to start */
                removed += empty_staging(folder);
                store_flock(top, STORE_BUSY_MS);
                removed += unlinkat(top, entry->d_name, AT_REMOVEDIR) == 0;
                close(folder);
        }
        if (entries)
                closedir(entries);
        remove_top(above, top);
        return removed;
}

static int clean_mount(int above)
{
        int top = lock_top(above, false);
        unsigned removed;

        if (top < 0)
                return top == -ENOENT ? 0 : top;
        removed = clean_top(above, top);
        flock(top, LOCK_UN);
        close(top);
        return (int)removed;
}

/* Octal, as the kernel writes blanks and backslashes into mountinfo; in place. */
static void unescape(char *text)
{
        char *to = text;

        for (; *text; text++) {
                unsigned a = (unsigned char)text[0] - '\\', b = a ? 8 : (unsigned char)text[1] - '0';
                unsigned c = b < 8 ? (unsigned char)text[2] - '0' : 8, d = c < 8 ? (unsigned char)text[3] - '0' : 8;

                *to++ = d < 8 ? (char)(b << 6 | c << 3 | d) : *text;
                text += d < 8 ? 3 : 0;
        }
        *to = '\0';
}

/* The mount point of a line of mountinfo, if it lies beneath `root`: the way from there; else NULL. */
static const char *beneath_root(char *line, const char *root, size_t root_size)
{
        char *point = line, *end;

        for (unsigned field = 0; field < 4 && point; field++) {
                point = strchr(point, ' ');
                point += point ? 1 : 0;
        }
        end = point ? strchr(point, ' ') : NULL;
        if (!end)
                return NULL;
        *end = '\0';
        unescape(point);
        if (strncmp(point, root, root_size) != 0 || point[root_size] != '/' || !point[root_size + 1])
                return NULL;
        return point + root_size + 1;
}

static int clean_at(const struct store_tree *tree, const char *path)
{
        int above = store_open_beneath(tree->root, path, O_RDONLY | O_DIRECTORY, false);
        int removed = above < 0 ? 0 : clean_mount(above);

        if (above >= 0)
                close(above);
        return max_of(removed, 0);
}

/* Mounts that cannot be told, or read, are left alone. */
static int clean_mounts_below(const struct store_tree *tree)
{
        char link[32], root[STORE_PATH_BYTES], *line = NULL;
        const char *below;
        FILE *mounts;
        ssize_t size;
        size_t room = 0;
        int removed = 0;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", tree->root);
        size = readlink(link, root, sizeof(root) - 1);
        mounts = size > 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
        if (!mounts)
                return 0;
        size = size == 1 ? 0 : size; /* "/" */
        root[size] = '\0';
        while (getline(&line, &room, mounts) > 0) {
                below = beneath_root(line, root, (size_t)size);
                removed += below ? clean_at(tree, below) : 0;
        }
        free(line);
        fclose(mounts);
        return removed;
}

int store_tree_clean(struct store_tree *tree)
{
        int removed = clean_mount(tree->root);

        return removed < 0 ? removed : removed + clean_mounts_below(tree);
}
