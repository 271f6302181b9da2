/* The staging folder: names that a rename needs for a moment, and what is to be removed, lie out of sight in
 * ROOT/.berth-staging/XXXXXXXX/. A rename stays on one mount, so each mount beneath the root on which something is
 * changed gets one of its own, in its topmost folder.
 *
 * Each running server claims its folder (guard.c). Who can claim it knows that the owner is dead and may clean
 * up; where the file system has no locks, nobody can know, and nothing is cleaned. A folder is made and claimed while
 * .berth-staging itself is locked, and another's folder is tried only while it is; so nobody takes a new
 * folder for a dead one. .berth-staging may be removed by another server at any moment while it is empty, therefore
 * who has locked it looks whether it is still the one that has that name.
 *
 * Removing a tree here needs neither recursion nor depth: each folder found in the tree is renamed to a name beside
 * it, and so becomes the next one to be emptied.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRIES = 16 };

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

/* ---- making a place ---- */

static bool still_named(int above, int top)
{
        struct store_state named, held;

        return store_stat_at(above, STORE_STAGING, &named) == 0 && store_stat_of(top, &held) == 0 &&
               named.inode == held.inode && named.device == held.device;
}

struct lock {
        bool held;
        int guard;
};

static int lock_folder(struct lock *lock, int folder)
{
        int error = store_guard(folder, STORE_BUSY_MS, &lock->guard);

        lock->held = !error;
        return store_no_lock(error) ? 0 : error;
}

static void unlock(struct lock *lock)
{
        if (lock->held)
                store_unguard(lock->guard);
        lock->held = false;
}

/* Fails while others have theirs in it. `top` is locked: nobody is about to make one. But it may have been removed
 * before, and what has its name now is another one, of others. */
static int remove_top(int above, int top)
{
        return still_named(above, top) ? store_rmdir_at(above, STORE_STAGING) : 0;
}

/* Unlocks it, and removes it if it is empty. -EBUSY: it cannot go as long as somebody has it open, which may be us. */
static void leave_top(int above, int top, struct lock *lock)
{
        int error = remove_top(above, top);

        unlock(lock);
        store_close(top);
        if (error == -EBUSY)
                store_rmdir_at(above, STORE_STAGING);
}

/* Opens and locks the staging folder of that mount; -ENOENT with `make` false when there is none. Where there is no
 * such lock, it is left unlocked. */
static int lock_top(int above, bool make, struct lock *lock)
{
        for (unsigned i = 0; i < TRIES; i++) {
                int error = make ? store_folder_at(above, STORE_STAGING, 0700) : 0, top;

                if (error && error != -EEXIST)
                        return error;
                top = store_open_folder(above, STORE_STAGING);
                if (top < 0 && (top != -ENOENT || !make))
                        return top;
                if (top < 0)
                        continue;
                error = lock_folder(lock, top);
                if (!error && still_named(above, top))
                        return top;
                unlock(lock);
                store_close(top);
                if (error)
                        return error;
        }
        return -EAGAIN;
}

/* A folder of ours in `top`, which is locked. */
static int make_ours(struct store_place *place)
{
        for (unsigned i = 0; i < TRIES; i++) {
                uint32_t number;
                int error;

                if (!entropy(&number, sizeof(number)))
                        return -EAGAIN;
                snprintf(place->name, sizeof(place->name), "%08x", number);
                error = store_folder_at(place->top, place->name, 0700);
                if (!error) {
                        place->folder = store_claim(place->top, place->name, true);
                        return min_of(place->folder, 0);
                }
                if (error != -EEXIST)
                        return error;
        }
        return -EAGAIN;
}

static int make_place(struct store_tree *tree, int folder, uint64_t mount, struct store_place *place)
{
        struct lock lock;
        int error = 0;

        *place = (struct store_place){ .mount = mount, .top = -1, .folder = -1 };
        place->above = store_mount_top(tree, folder, mount);
        if (place->above < 0)
                return place->above;
        place->top = lock_top(place->above, true, &lock);
        error = place->top < 0 ? place->top : make_ours(place);
        if (place->top >= 0)
                unlock(&lock);
        if (!error)
                return 0;
        if (place->top >= 0)
                store_close(place->top);
        store_close(place->above);
        return error;
}

/* Somebody may have removed it behind our back. Others may be using the descriptors right now, so the numbers stay the
 * same. */
static void replace_place(struct store_place *old, const struct store_place *new)
{
        store_replace_descriptor(new->folder, old->folder);
        store_replace_descriptor(new->top, old->top);
        store_replace_descriptor(new->above, old->above);
        memcpy(old->name, new->name, sizeof(old->name));
}

static int find_or_make(struct store_tree *tree, int folder, uint64_t mount)
{
        struct store_place made, *place = tree->places;
        int error;

        while (place < tree->places + tree->place_count && place->mount != mount)
                place++;
        if (place == tree->places + STORE_PLACES)
                return -EXDEV;
        if (place < tree->places + tree->place_count && store_is_named(place->folder))
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
        int staging = store_mount_of(tree, folder, &mount);

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

/* ---- names that stay as long as somebody has the file open ---- */

static int put_aside(struct store_tree *tree, int folder, const char *name, int *staging,
                     char aside[STORE_STAGED_BYTES])
{
        *staging = store_staging(tree, folder);
        if (*staging < 0)
                return *staging;
        store_staged_name(tree, aside);
        return store_rename_new(folder, name, *staging, aside);
}

int store_unlink(struct store_tree *tree, int folder, const char *name)
{
        char aside[STORE_STAGED_BYTES];
        int error = store_unlink_at(folder, name, false), staging;

        if (error != -EBUSY || put_aside(tree, folder, name, &staging, aside))
                return error;
        store_unlink_at(staging, aside, true);
        return 0;
}

/* What stood there comes back if the other does not get in. */
int store_rename_over(struct store_tree *tree, int from, const char *name, int to, const char *new_name)
{
        char aside[STORE_STAGED_BYTES];
        int error = store_rename_at(from, name, to, new_name), staging;

        if (error != -EBUSY || put_aside(tree, to, new_name, &staging, aside))
                return error;
        error = store_rename_new(from, name, to, new_name);
        if (error)
                store_rename_new(staging, aside, to, new_name);
        else
                store_unlink_at(staging, aside, true);
        return error;
}

/* ---- removing what is in staging ---- */

struct reading {
        int folder;
        struct store_entries entries;
};

static void end_reading(struct reading *reading)
{
        if (!reading)
                return;
        store_close(reading->folder);
        free(reading);
}

/* NULL: it cannot be read. */
static struct reading *read_folder(int folder, const char *name)
{
        struct reading *reading = malloc(sizeof(*reading));

        if (!reading)
                return NULL;
        reading->folder = store_open_folder(folder, name);
        reading->entries.cookie = 0;
        reading->entries.at = reading->entries.got = 0;
        if (reading->folder >= 0)
                return reading;
        free(reading);
        return NULL;
}

static bool next_entry(struct reading *reading, struct store_dent *entry)
{
        while (reading && store_next_entry(reading->folder, &reading->entries, entry) > 0)
                if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
                        return true;
        return false;
}

/* A folder that its owner may not change cannot be emptied, nor moved. */
static void make_writable(int folder, const char *name)
{
        store_set_mode_at(folder, name, 0700);
}

/* Removes files, and moves folders to `staging` as NAME.0, NAME.1, ... Whether it is gone. */
static bool empty_one(int staging, const char *name, const char *base, unsigned *count, int *removed)
{
        char beside[STORE_STAGED_BYTES + 16];
        struct reading *reading;
        struct store_dent entry;
        int error = store_unlink_at(staging, name, true);

        if (!error || error == -ENOENT || store_rmdir_at(staging, name) == 0)
                return ++*removed;
        make_writable(staging, name);
        reading = read_folder(staging, name);
        while (next_entry(reading, &entry)) {
                if (store_unlink_at(reading->folder, entry.name, true) == 0) {
                        ++*removed;
                        continue;
                }
                if (entry.hint == STORE_HINT_FOLDER)
                        make_writable(reading->folder, entry.name);
                snprintf(beside, sizeof(beside), "%s.%x", base, *count);
                error = store_rename_new(reading->folder, entry.name, staging, beside);
                *count += error == 0 || error == -EEXIST; /* left by one that died over this: is emptied as well */
        }
        end_reading(reading);
        return store_rmdir_at(staging, name) == 0 && ++*removed;
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
                struct reading *reading = read_folder(folder, "");
                struct store_dent entry;

                before = total;
                while (next_entry(reading, &entry)) {
                        char name[STORE_STAGED_BYTES];

                        snprintf(name, sizeof(name), "x%x", number++);
                        if (store_rename_new(folder, entry.name, folder, name) == 0)
                                total += (unsigned)store_discard(folder, name);
                        else
                                total += store_unlink_at(folder, entry.name, true) == 0;
                }
                end_reading(reading);
        }
        return total;
}

/* ---- ending ---- */

/* Where it cannot go as long as it is open, it goes then. */
static bool remove_claimed(int top, const char *name, int folder)
{
        bool gone = store_rmdir_at(top, name) == 0;

        store_close(folder);
        return gone || store_rmdir_at(top, name) == 0;
}

static void give_up_place(struct store_place *place)
{
        struct lock lock;

        empty_staging(place->folder);
        remove_claimed(place->top, place->name, place->folder);
        lock_folder(&lock, place->top);
        leave_top(place->above, place->top, &lock);
        store_close(place->above);
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

/* ---- cleaning up after dead servers ---- */

static unsigned clean_top(int top, struct lock *lock)
{
        struct reading *reading = read_folder(top, "");
        struct store_dent entry;
        unsigned removed = 0;

        while (next_entry(reading, &entry)) {
                int folder = store_claim(top, entry.name, false); /* if nobody holds it */

                if (folder < 0)
                        continue;
                unlock(lock); /* what is large takes long, and other servers want to start */
                removed += empty_staging(folder);
                lock_folder(lock, top);
                removed += remove_claimed(top, entry.name, folder);
        }
        end_reading(reading);
        return removed;
}

static int clean_mount(int above)
{
        struct lock lock;
        int top = lock_top(above, false, &lock);
        unsigned removed;

        if (top < 0)
                return top == -ENOENT ? 0 : top;
        removed = clean_top(top, &lock);
        leave_top(above, top, &lock);
        return (int)removed;
}

static int clean_at(const struct store_tree *tree, const char *path)
{
        int above = store_open_beneath(tree->root, path, STORE_OPEN_FOLDER, false);
        int removed = above < 0 ? 0 : clean_mount(above);

        if (above >= 0)
                store_close(above);
        return max_of(removed, 0);
}

int store_tree_clean(struct store_tree *tree)
{
        int removed = clean_mount(tree->root);

        return removed < 0 ? removed : removed + store_each_mount(tree, clean_at);
}
