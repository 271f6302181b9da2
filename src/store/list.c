/* Listing a folder in order, in memory that does not grow with the folder.
 *
 * A pass reads the whole folder and collects the names that come next: those behind the last name of the
 * batch before (the floor). They are gathered in a table of fixed size; when it is full it is sorted, the
 * upper half is thrown away for a later pass, and from then on only names below the highest one kept are
 * taken. So a batch is between half a table and a whole one, a name costs O(log batch) whatever order the
 * folder gives them in, and nothing is allocated on the way.
 *
 * Names lie in an arena, each behind the number of the record that owns it; thereby the arena can be
 * compacted in place after half the records are gone.
 *
 * Order. Folders before files. By name: ASCII letters without regard to case, then bytewise, so that "B"
 * stands between "a" and "c" and UTF-8 names are in code point order. By size and by time: ties by name,
 * ascending in both directions.
 *
 * What is read of a file is only what the order needs: to sort by name the folder's own type column is
 * enough, and the one stat a file gets is made when it is handed out.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        NAME_BYTES = 255,
        RECORDS = STORE_LIST_BATCH_BYTES / 16,
        GIVEN_BITS = 1 << 23, /* 1 MiB */
        GIVEN_HASHES = 4,
};

/* Sorts by type, key, name. */
struct record {
        uint64_t key;     /* what the order goes by, complemented when descending; of a name its first bytes */
        uint32_t name_at; /* in the arena */
        uint8_t name_size;
        uint8_t type; /* enum store_type */
};

/* A name in the arena. Unaligned: read and written through memcpy. */
struct cell {
        uint32_t owner; /* index of its record, or NOBODY; only valid while the arena is compacted */
        uint8_t name_size;
        char name[];
} __attribute__((packed));

#define NOBODY UINT32_MAX

enum { CELL_BYTES = sizeof(struct cell) + NAME_BYTES };

struct store_list {
        int root, folder; /* folder: ours */
        struct store_list_options options;
        char *path; /* with a trailing '/', unless it is the root's "" */
        size_t path_size;
        size_t mapped; /* bytes of all this */
        struct timespec started;

        uint32_t count; /* records in the table */
        uint32_t kept;  /* of them sorted by the last halving; 0: none has happened */
        uint32_t next;  /* to be handed out */
        uint32_t arena_used;
        bool more; /* a pass has left names for another one */
        bool has_floor;
        struct record floor; /* last of the batch before; its name is the arena's first cell */

        char name[NAME_BYTES + 1];
        uint64_t given[GIVEN_BITS / 64]; /* names handed out, see given_before() */
        struct store_entries entries;
        struct record records[RECORDS];
        char arena[STORE_LIST_BATCH_BYTES];
};

/* ---- order ---- */

static inline unsigned char fold(char c)
{
        return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : (unsigned char)c;
}

static int compare_names(const char *a, size_t a_size, const char *b, size_t b_size)
{
        size_t common = min_of(a_size, b_size);

        for (size_t i = 0; i < common; i++) {
                if (a[i] != b[i] && fold(a[i]) != fold(b[i]))
                        return fold(a[i]) < fold(b[i]) ? -1 : 1;
        }
        if (a_size != b_size)
                return a_size < b_size ? -1 : 1;
        return memcmp(a, b, common);
}

static const char *record_name(const struct store_list *list, const struct record *record)
{
        return list->arena + record->name_at + sizeof(struct cell);
}

static int compare(const struct store_list *list, const struct record *a, const struct record *b)
{
        int order;

        if (a->type != b->type)
                return a->type == STORE_FOLDER ? -1 : 1;
        if (a->key != b->key)
                return a->key < b->key ? -1 : 1;
        order = compare_names(record_name(list, a), a->name_size, record_name(list, b), b->name_size);
        return list->options.descending && list->options.sort == STORE_SORT_NAME ? -order : order;
}

static int compare_for_qsort(const void *a, const void *b, void *list)
{
        return compare(list, a, b);
}

static void sort_records(struct store_list *list)
{
        store_sort(list->records, list->count, sizeof(list->records[0]), compare_for_qsort, list);
}

/* The first eight bytes, so that most comparisons need not look at the arena. */
static uint64_t name_key(const char *name, size_t size)
{
        uint64_t key = 0;

        for (size_t i = 0; i < 8; i++)
                key = key << 8 | (i < size ? fold(name[i]) : 0);
        return key;
}

/* 34 bits of seconds around 1970, 30 of nanoseconds. */
static uint64_t time_key(const struct timespec *time)
{
        int64_t seconds = max_of(min_of(time->tv_sec, (INT64_C(1) << 33) - 1), -(INT64_C(1) << 33));

        return (uint64_t)(seconds + (INT64_C(1) << 33)) << 30 | (uint64_t)time->tv_nsec;
}

/* ---- what an entry is ---- */

/* Where a link leads; false when that is outside the root, or nowhere. */
static bool stat_link(struct store_list *list, const char *name, struct store_state *state)
{
        char path[STORE_PATH_BYTES];
        size_t size = strlen(name) + 1;
        bool known;
        int fd;

        if (!list->options.links || list->path_size + size > sizeof(path))
                return false;
        memcpy(path, list->path, list->path_size);
        memcpy(path + list->path_size, name, size);
        fd = store_open_beneath(list->root, path, STORE_OPEN_ANY, true);
        if (fd < 0)
                return false;
        known = store_stat_of(fd, state) == 0;
        store_close(fd);
        return known;
}

/* Looks at an entry as the server would serve it; false when it is not to be seen. */
static bool stat_entry(struct store_list *list, const char *name, struct store_state *state, enum store_type *type)
{
        if (store_stat_at(list->folder, name, state) < 0)
                return false;
        if (state->kind == STORE_IS_LINK && !stat_link(list, name, state))
                return false;
        *type = state->kind == STORE_IS_FOLDER ? STORE_FOLDER : STORE_FILE;
        return state->kind == STORE_IS_FOLDER || state->kind == STORE_IS_FILE;
}

/* Fills in type and key; false when the entry is not to be seen. */
static bool examine(struct store_list *list, const struct store_dent *entry, struct record *record)
{
        enum store_type type = entry->hint == STORE_HINT_FOLDER ? STORE_FOLDER : STORE_FILE;
        bool plain = entry->hint == STORE_HINT_FOLDER || entry->hint == STORE_HINT_FILE;
        bool by_name = list->options.sort == STORE_SORT_NAME;
        struct store_state state;

        if (!plain && entry->hint != STORE_HINT_LINK && entry->hint != STORE_HINT_NONE)
                return false;
        if (!(plain && by_name) && !stat_entry(list, entry->name, &state, &type))
                return false;
        if (by_name)
                record->key = name_key(entry->name, record->name_size);
        else if (list->options.sort == STORE_SORT_TIME)
                record->key = time_key(&state.modified);
        else
                record->key = type == STORE_FOLDER ? 0 : state.size;
        if (list->options.descending)
                record->key = ~record->key;
        record->type = (uint8_t)type;
        return true;
}

/* ---- a pass over the folder ---- */

/* Moves the names of records[0..count) together behind the floor's. */
static void compact_arena(struct store_list *list, uint32_t count_before)
{
        uint32_t from = CELL_BYTES, to = CELL_BYTES;

        for (uint32_t i = 0; i < count_before; i++) {
                uint32_t owner = i < list->count ? i : NOBODY;

                memcpy(list->arena + list->records[i].name_at, &owner, sizeof(owner));
        }
        while (from < list->arena_used) {
                struct cell cell;
                uint32_t size;

                memcpy(&cell, list->arena + from, sizeof(cell));
                size = (uint32_t)sizeof(cell) + cell.name_size;
                if (cell.owner != NOBODY) {
                        memmove(list->arena + to, list->arena + from, size);
                        list->records[cell.owner].name_at = to;
                        to += size;
                }
                from += size;
        }
        list->arena_used = to;
}

/* The table is full: the upper half waits for another pass. */
static void halve(struct store_list *list)
{
        uint32_t count_before = list->count;

        ensure(count_before >= 2);
        sort_records(list);
        list->count = list->kept = count_before / 2;
        list->more = true;
        compact_arena(list, count_before);
}

/* Takes an entry in when it belongs to this batch. */
static void offer(struct store_list *list, const struct store_dent *entry)
{
        size_t size = strlen(entry->name);
        struct record record = { .name_at = list->arena_used, .name_size = (uint8_t)size };
        struct cell cell = { .owner = NOBODY, .name_size = (uint8_t)size };

        if (size == 0 || size > NAME_BYTES)
                return;
        if (strcmp(entry->name, STORE_STAGING) == 0)
                return;
        if (entry->name[0] == '.' && (!list->options.hidden || size == 1 || (size == 2 && entry->name[1] == '.')))
                return;
        if (!examine(list, entry, &record))
                return;
        /* The cell behind the last is written before it is known to be wanted: then every record compares alike. */
        memcpy(list->arena + record.name_at, &cell, sizeof(cell));
        memcpy(list->arena + record.name_at + sizeof(cell), entry->name, size);
        if (list->has_floor && compare(list, &record, &list->floor) <= 0)
                return;
        if (list->kept && compare(list, &record, &list->records[list->kept - 1]) >= 0)
                return;
        list->records[list->count++] = record;
        list->arena_used += (uint32_t)(sizeof(cell) + size);
        if (list->count == RECORDS || list->arena_used + CELL_BYTES > sizeof(list->arena))
                halve(list);
}

/* The last record of a batch becomes what the next one must be behind. */
static void raise_floor(struct store_list *list)
{
        const struct record *last;

        if (list->count == 0)
                return;
        last = &list->records[list->count - 1];
        memmove(list->arena, list->arena + last->name_at, sizeof(struct cell) + last->name_size);
        list->floor = *last;
        list->floor.name_at = 0;
        list->has_floor = true;
}

/* One pass. */
static int read_folder(struct store_list *list)
{
        struct store_dent entry;
        int got;

        list->entries.cookie = 0;
        got = store_seek_entries(list->folder, &list->entries);
        if (got < 0)
                return got;
        while ((got = store_next_entry(list->folder, &list->entries, &entry)) > 0)
                offer(list, &entry);
        return got;
}

static int read_batch(struct store_list *list)
{
        int error;

        raise_floor(list);
        list->count = list->kept = list->next = 0;
        list->arena_used = CELL_BYTES;
        list->more = false;
        error = read_folder(list);
        if (error)
                list->count = 0;
        sort_records(list);
        return error;
}

/* ---- the public face ---- */

int store_list_create(struct store_list **out, int root, const char *path, const struct store_list_options *options)
{
        size_t path_size = strlen(path);
        size_t mapped = sizeof(struct store_list) + path_size + 1;
        struct store_list *list;
        int folder;

        folder = store_open_beneath(root, path, STORE_OPEN_FOLDER, options->links);
        if (folder < 0)
                return folder;
        /* Mapped, as only the pages that a folder needs are ever touched, and all are given back at the end. */
        list = memory_map(mapped);
        if (!list) {
                store_close(folder);
                return -ENOMEM;
        }
        list->root = root;
        list->folder = folder;
        list->options = *options;
        list->mapped = mapped;
        list->path = (char *)(list + 1);
        memcpy(list->path, path, path_size);
        list->path_size = path_size;
        if (path_size && path[path_size - 1] != '/')
                list->path[list->path_size++] = '/';
        list->started = store_stamp_time();
        list->more = true;
        *out = list;
        return 0;
}

/* Whether the name is in the set `given`, and puts it there. A Bloom filter: yes may be wrong. */
static bool note_given(struct store_list *list, const char *name)
{
        uint64_t hash = hash_bytes(name, strlen(name)), step = hash >> 32 | 1;
        bool before = true;

        for (unsigned i = 0; i < GIVEN_HASHES; i++, hash += step) {
                uint64_t *word = &list->given[hash % GIVEN_BITS / 64], bit = UINT64_C(1) << (hash % 64);

                before = before && (*word & bit);
                *word |= bit;
        }
        return before;
}

/* A file that changes while a long listing goes on may move to a place in the order that is still to come, and must
 * not be seen twice. To remember every name would take memory without bound; so a filter does, and it is
 * believed only about files changed since the start: one in 10^5 of those is left out by mistake after 100,000 names,
 * one in fifty after a million. */
static bool given_before(struct store_list *list, const char *name, const struct store_state *state)
{
        bool changed = state->changed.tv_sec > list->started.tv_sec ||
                       (state->changed.tv_sec == list->started.tv_sec &&
                        state->changed.tv_nsec >= list->started.tv_nsec);

        if (!list->more && !list->has_floor)
                return false; /* a single batch */
        return note_given(list, name) && changed;
}

/* Looks at records[index] as it is now; false when it is gone, changed its type or has been seen. */
static bool hand_out(struct store_list *list, uint32_t index, struct store_entry *entry)
{
        const struct record *record = &list->records[index];
        enum store_type type;
        struct store_state state;

        if (index > 0 && compare(list, record - 1, record) == 0)
                return false; /* a folder read while it changes may tell a name twice */
        memcpy(list->name, record_name(list, record), record->name_size);
        list->name[record->name_size] = '\0';
        if (!stat_entry(list, list->name, &state, &type) || type != record->type ||
            given_before(list, list->name, &state))
                return false;
        *entry = (struct store_entry){
                .name = list->name,
                .type = type,
                .size = type == STORE_FOLDER ? 0 : state.size,
                .modified = state.modified.tv_sec,
        };
        return true;
}

int store_list_next(struct store_list *list, struct store_entry *entry)
{
        int error;

        for (;;) {
                while (list->next < list->count) {
                        if (hand_out(list, list->next++, entry))
                                return 1;
                }
                if (!list->more)
                        return 0;
                error = read_batch(list);
                if (error)
                        return error;
        }
}

void store_list_destroy(struct store_list *list)
{
        if (!list)
                return;
        store_close(list->folder);
        memory_unmap(list, list->mapped);
}
