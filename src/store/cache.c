/* Files that are known: a hash table by path, a list by last use, and inotify watches that tell of changes.
 *
 * A file is in the table, or it is only still referenced (`known` false); the last reference then closes it. Opening
 * goes: open beneath the root, watch, look (fstat), compare with what is known under that path, read the content if
 * it is small, look again, enter. The watch comes before the look, so no change falls between the two.
 *
 * An inotify watch belongs to the inode: it tells of writes, of attribute changes and, by the link count, of
 * another file that was renamed over this one. What it cannot tell (a folder above renamed, a link turned elsewhere,
 * changes made by another machine) is found after STORE_TRUST_MS, when the path is opened again.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { BUCKETS = 4096, WATCH_BUCKETS = 1024, PATH_MAX_BYTES = 4096, FORGET_AT_ONCE = 16 };

struct entry {
        struct store_file file;
        struct store *store;
        struct entry *next;       /* in its bucket */
        struct entry *next_watch; /* in its watch's bucket */
        struct list by_use;       /* most recently used last */
        struct berth_op closing;
        uint64_t hash;
        uint64_t checked_ms; /* when the path was last seen to lead here */
        uint64_t epoch;      /* ... and in which epoch of the store that look began */
        struct timespec modified, changed;
        uint64_t device, inode;
        char *content;
        uint32_t references;
        int watch;  /* -1: none */
        bool known; /* in the table */
        uint8_t tag;
        uint16_t path_size;
        char path[];
};

struct store {
        struct berth_port *port;
        struct berth_handle root;
        struct berth_handle inotify;
        struct berth_op root_op, inotify_op;
        struct entry *buckets[BUCKETS];
        struct entry *watches[WATCH_BUCKETS];
        struct list by_use;
        uint32_t known, max_files;
        uint32_t open_entries; /* not yet freed, known or not */
        unsigned open_flags;
        size_t content_used, content_bytes;
        uint64_t epoch; /* begins anew with each store_distrust() */
        bool watching, destroying;
        void (*destroyed)(void *context);
        void *context;
};

static struct entry *entry_of(struct store_file *file)
{
        return container_of(file, struct entry, file);
}

/* ---- watches ---- */

static void watch_file(struct store *store, struct entry *entry, int descriptor)
{
        entry->watch = -1;
        if (!store->watching)
                return;
        int watch = store_watch_add(berth_file_descriptor(&store->inotify), descriptor);
        if (watch < 0)
                return; /* too many watches: this file is looked up again after STORE_TRUST_MS */
        entry->watch = watch;
        entry->next_watch = store->watches[watch % WATCH_BUCKETS];
        store->watches[watch % WATCH_BUCKETS] = entry;
}

/* Entries of one inode share a watch; the last one takes it away. */
static void unwatch_file(struct store *store, struct entry *entry)
{
        if (entry->watch < 0)
                return;
        bool shared = false;
        struct entry **link = &store->watches[entry->watch % WATCH_BUCKETS];
        while (*link) {
                struct entry *at = *link;
                if (at == entry) {
                        *link = at->next_watch;
                        continue;
                }
                shared |= at->watch == entry->watch;
                link = &at->next_watch;
        }
        if (!shared)
                store_watch_remove(berth_file_descriptor(&store->inotify), entry->watch);
        entry->watch = -1;
}

/* ---- the table ---- */

static uint64_t hash_of(const char *path, size_t size, uint8_t tag)
{
        return hash_bytes(path, size) + tag;
}

static struct entry *look_up(struct store *store, const char *path, size_t size, uint8_t tag, uint64_t hash)
{
        struct entry *entry = store->buckets[hash % BUCKETS];
        while (entry && !(entry->hash == hash && entry->tag == tag && entry->path_size == size &&
                          memcmp(entry->path, path, size) == 0))
                entry = entry->next;
        return entry;
}

static void free_entry(struct store *store, struct entry *entry)
{
        if (entry->content)
                store->content_used -= entry->file.size;
        free(entry->content);
        free(entry);
        store->open_entries--;
}

static void finish_destroy(struct store *store);
static void inotify_closed(struct berth_op *op);

static void entry_closed(struct berth_op *op)
{
        struct entry *entry = container_of(op, struct entry, closing);
        struct store *store = entry->store;
        free_entry(store, entry);
        finish_destroy(store);
}

/* Nobody refers to it and it is not known: close and free. */
static void drop_entry(struct store *store, struct entry *entry)
{
        ensure(entry->references == 0 && !entry->known);
        unwatch_file(store, entry);
        if (entry->file.handle.kind) {
                entry->closing.done = entry_closed;
                berth_close(store->port, &entry->closing, &entry->file.handle, 0);
        } else {
                free_entry(store, entry);
        }
}

static void forget(struct store *store, struct entry *entry)
{
        if (!entry->known)
                return;
        struct entry **link = &store->buckets[entry->hash % BUCKETS];
        while (*link != entry)
                link = &(*link)->next;
        *link = entry->next;
        list_remove(&entry->by_use);
        entry->known = false;
        store->known--;
        unwatch_file(store, entry);
        if (entry->references == 0)
                drop_entry(store, entry);
}

static void forget_all(struct store *store)
{
        while (!list_empty(&store->by_use))
                forget(store, container_of(store->by_use.next, struct entry, by_use));
}

static void enter(struct store *store, struct entry *entry)
{
        struct entry *older = look_up(store, entry->path, entry->path_size, entry->tag, entry->hash);
        if (older)
                forget(store, older);
        while (store->known >= store->max_files)
                forget(store, container_of(store->by_use.next, struct entry, by_use));
        entry->next = store->buckets[entry->hash % BUCKETS];
        store->buckets[entry->hash % BUCKETS] = entry;
        list_append(&store->by_use, &entry->by_use);
        entry->known = true;
        store->known++;
}

struct store_file *store_find(struct store *store, struct span path, uint8_t tag)
{
        uint64_t hash = hash_of(path.data, path.size, tag);
        struct entry *entry = look_up(store, path.data, path.size, tag, hash);
        if (!entry || entry->epoch != store->epoch ||
            berth_port_now_ms(store->port) - entry->checked_ms >= STORE_TRUST_MS)
                return NULL;
        list_remove(&entry->by_use);
        list_append(&store->by_use, &entry->by_use);
        entry->references++;
        return &entry->file;
}

void store_distrust(struct store *store)
{
        store->epoch++;
        if (store_open_hinders())
                forget_all(store);
}

void store_release(struct store *store, struct store_file *file)
{
        if (!file)
                return;
        struct entry *entry = entry_of(file);
        ensure(entry->references > 0);
        if (--entry->references == 0 && !entry->known)
                drop_entry(store, entry);
}

struct store_use store_use(const struct store *store)
{
        return (struct store_use){ store->known, store->max_files, store->content_used };
}

/* ---- inotify ---- */

/* The first known entry of that watch. */
static struct entry *known_by_watch(struct store *store, int watch)
{
        struct entry *entry = store->watches[watch % WATCH_BUCKETS];
        while (entry && !(entry->watch == watch && entry->known))
                entry = entry->next_watch;
        return entry;
}

static void watch_told(void *context, int watch)
{
        struct store *store = context;
        struct entry *entry;
        if (watch < 0) {
                forget_all(store);
                return;
        }
        while ((entry = known_by_watch(store, watch)))
                forget(store, entry);
        /* What is being opened now must not become known. */
        for (entry = store->watches[watch % WATCH_BUCKETS]; entry; entry = entry->next_watch)
                if (entry->watch == watch)
                        entry->checked_ms = 0;
}

static void inotify_readable(struct berth_op *op)
{
        struct store *store = container_of(op, struct store, inotify_op);
        if (op->result < 0 || store->destroying) {
                store->watching = false;
                store->inotify_op.done = inotify_closed;
                finish_destroy(store);
                return;
        }
        store_watch_read(berth_file_descriptor(&store->inotify), watch_told, store);
        berth_wait_readable(store->port, &store->inotify_op, &store->inotify);
}

/* Without inotify (no room for an instance, or the simulator) changes are found after STORE_TRUST_MS. */
static void start_watching(struct store *store)
{
        int descriptor = store_watch_create();
        if (descriptor < 0)
                return;
        if (berth_adopt_pollable(store->port, &store->inotify, descriptor) < 0) {
                store_close(descriptor);
                return;
        }
        store->watching = true;
        store->inotify_op.done = inotify_readable;
        berth_wait_readable(store->port, &store->inotify_op, &store->inotify);
}

/* ---- opening ---- */

static bool same_state(const struct entry *entry, const struct store_state *now)
{
        return entry->inode == now->inode && entry->device == now->device && entry->file.size == now->size &&
               store_same_time(&entry->modified, &now->modified) && store_same_time(&entry->changed, &now->changed);
}

static void note_state(struct entry *entry, const struct store_state *now)
{
        struct store_file *file = &entry->file;
        entry->inode = now->inode;
        entry->device = now->device;
        entry->modified = now->modified;
        entry->changed = now->changed;
        file->size = now->size;
        file->modified = now->modified.tv_sec;
        file->etag_size = store_etag(file->etag, now->inode, file->size, &now->modified);
}

static void opened(struct store_opening *opening, int result, struct entry *entry)
{
        opening->result = result;
        opening->file = result == 0 ? &entry->file : NULL;
        opening->done(opening);
}

static struct entry *make_entry(struct store *store, const struct store_opening *opening, uint64_t hash)
{
        struct entry *entry = calloc(1, sizeof(*entry) + opening->path_size + 1u);
        if (!entry)
                return NULL;
        entry->store = store;
        entry->hash = hash;
        entry->tag = opening->tag;
        entry->watch = -1;
        entry->references = 1;
        entry->path_size = opening->path_size;
        memcpy(entry->path, opening->path, opening->path_size);
        list_init(&entry->by_use);
        store->open_entries++;
        return entry;
}

/* The file is whole: it becomes known, unless a change was told of meanwhile (checked_ms is 0 then). */
static void complete(struct store_opening *opening, struct entry *entry)
{
        if (entry->checked_ms)
                enter(opening->store, entry);
        else
                unwatch_file(opening->store, entry);
        opened(opening, 0, entry);
}

static void drop_content(struct store *store, struct entry *entry)
{
        store->content_used -= entry->file.size;
        free(entry->content);
        entry->content = NULL;
}

/* The content counts only if nothing changed while it was read. */
static void content_read(struct berth_op *op)
{
        struct store_opening *opening = container_of(op, struct store_opening, op);
        struct entry *entry = entry_of(opening->file);
        struct store_state now;
        int descriptor = berth_file_descriptor(&entry->file.handle);
        if (op->result != (int64_t)entry->file.size || store_stat_of(descriptor, &now) < 0 || !same_state(entry, &now))
                drop_content(opening->store, entry);
        entry->file.content = entry->content;
        complete(opening, entry);
}

static bool read_content(struct store *store, struct store_opening *opening, struct entry *entry)
{
        size_t size = (size_t)entry->file.size;
        if (size == 0 || size > STORE_CONTENT_BYTES || store->content_used + size > store->content_bytes)
                return false;
        entry->content = malloc(size);
        if (!entry->content)
                return false;
        store->content_used += size;
        opening->op.done = content_read;
        opening->file = &entry->file;
        berth_read(store->port, &opening->op, &entry->file.handle, entry->content, size, 0);
        return true;
}

static void load(struct store *store, struct store_opening *opening, int descriptor, uint64_t hash)
{
        struct entry *entry = make_entry(store, opening, hash);
        struct store_state now;
        if (!entry) {
                store_close(descriptor);
                opened(opening, -ENOMEM, NULL);
                return;
        }
        watch_file(store, entry, descriptor);
        berth_adopt_file(store->port, &entry->file.handle, descriptor);
        entry->checked_ms = max_of(berth_port_now_ms(store->port), 1ull);
        entry->epoch = opening->epoch;
        int error = store_stat_of(descriptor, &now);
        if (error) {
                store_release(store, &entry->file);
                opened(opening, error, NULL);
                return;
        }
        note_state(entry, &now);
        if (!read_content(store, opening, entry))
                complete(opening, entry);
}

/* Known already and unchanged: the path has proved to lead to it still. */
static bool still_known(struct store *store, struct store_opening *opening, const struct store_state *now,
                        uint64_t hash)
{
        struct entry *entry = look_up(store, opening->path, opening->path_size, opening->tag, hash);
        if (!entry || !same_state(entry, now))
                return false;
        list_remove(&entry->by_use);
        list_append(&store->by_use, &entry->by_use);
        entry->checked_ms = berth_port_now_ms(store->port);
        entry->epoch = opening->epoch;
        entry->file.missing = 0;
        entry->references++;
        opened(opening, 0, entry);
        return true;
}

/* The system has no descriptor left: those longest unused are given up, for whoever asks next. */
static void make_room(struct store *store)
{
        for (int i = 0; i < FORGET_AT_ONCE && !list_empty(&store->by_use); i++)
                forget(store, container_of(store->by_use.next, struct entry, by_use));
}

static void path_opened(struct berth_op *op)
{
        struct store_opening *opening = container_of(op, struct store_opening, op);
        struct store *store = opening->store;
        struct store_state now;
        int descriptor = (int)op->result;
        if (descriptor == -EMFILE || descriptor == -ENFILE)
                make_room(store);
        if (descriptor < 0) {
                opened(opening, descriptor, NULL);
                return;
        }
        uint64_t hash = hash_of(opening->path, opening->path_size, opening->tag);
        int error = store_stat_of(descriptor, &now);
        if (!error && now.kind != STORE_IS_FILE)
                error = now.kind == STORE_IS_FOLDER ? -EISDIR : -EACCES;
        if (error)
                opened(opening, error, NULL);
        if (error || still_known(store, opening, &now, hash))
                store_close(descriptor);
        else
                load(store, opening, descriptor, hash);
}

/* Where open files hinder others, those that must be opened anew anyway are closed. */
static void forget_stale(struct store *store)
{
        while (!list_empty(&store->by_use)) {
                struct entry *oldest = container_of(store->by_use.next, struct entry, by_use);
                if (berth_port_now_ms(store->port) - oldest->checked_ms < STORE_TRUST_MS)
                        return;
                forget(store, oldest);
        }
}

void store_open(struct store *store, struct store_opening *opening)
{
        if (store_open_hinders())
                forget_stale(store);
        ensure(opening->path_size < PATH_MAX_BYTES && opening->done);
        opening->store = store;
        opening->file = NULL;
        opening->epoch = store->epoch;
        opening->op.done = path_opened;
        berth_open(store->port, &opening->op, &store->root, opening->path, store->open_flags);
}

/* ---- making and ending ---- */

int store_create(struct store **out, const struct store_config *config)
{
        ensure(config->max_files > 0);
        struct store *store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        int root = store_copy_descriptor(config->root);
        if (root < 0) {
                free(store);
                return root;
        }
        store->port = config->port;
        store->max_files = config->max_files;
        store->content_bytes = config->content_bytes;
        store->open_flags = config->links ? 0 : BERTH_OPEN_NO_LINKS;
        list_init(&store->by_use);
        berth_adopt_file(store->port, &store->root, root);
        start_watching(store);
        *out = store;
        return 0;
}

/* Ends in the order: files, the watch, inotify, the root; each closes and comes back here. */
static void finish_destroy(struct store *store)
{
        if (!store->destroying || store->open_entries > 0 || store->watching)
                return;
        if (store->inotify.kind && !store->inotify.closer) {
                berth_close(store->port, &store->inotify_op, &store->inotify, 0);
        } else if (!store->inotify.kind && store->root.kind && !store->root.closer) {
                berth_close(store->port, &store->root_op, &store->root, 0);
        } else if (!store->inotify.kind && !store->root.kind) {
                void (*destroyed)(void *) = store->destroyed;
                void *context = store->context;
                free(store);
                destroyed(context);
        }
}

static void inotify_closed(struct berth_op *op)
{
        finish_destroy(container_of(op, struct store, inotify_op));
}

static void root_closed(struct berth_op *op)
{
        finish_destroy(container_of(op, struct store, root_op));
}

void store_destroy(struct store *store, void (*done)(void *context), void *context)
{
        store->destroyed = done;
        store->context = context;
        forget_all(store);
        store->destroying = true;
        store->root_op.done = root_closed;
        if (store->watching)
                berth_cancel(store->port, &store->inotify_op);
        finish_destroy(store);
}
