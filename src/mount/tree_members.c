/* What is in a folder: its names by their bytes, and in the order in which they came. */
#include "mount/tree_inner.h"

#include <stdlib.h>

enum { FEW = 8, COMPACT_FROM = 64 };

struct members *members_of(struct tree *tree, struct node *folder)
{
        if (folder->members)
                return folder->members;
        folder->members = calloc(1, sizeof(*folder->members));
        if (folder->members)
                tree->counters.bytes += heap_bytes(sizeof(*folder->members));
        return folder->members;
}

static struct name **bucket_of(const struct members *members, uint32_t hash)
{
        return &members->buckets[hash & (members->bucket_count - 1)];
}

struct name *members_find(const struct node *folder, struct span name)
{
        const struct members *members = folder->members;
        if (!members || members->bucket_count == 0)
                return NULL;
        uint32_t hash = (uint32_t)hash_bytes(name.data, name.size);
        for (struct name *n = *bucket_of(members, hash); n; n = n->next)
                if (n->hash == hash && n->size == name.size && memcmp(n->bytes, name.data, name.size) == 0)
                        return n;
        return NULL;
}

/* Twice the table when it is full. Without memory the old one does, as long as there is one. */
static int grow_table(struct tree *tree, struct members *members)
{
        uint32_t count = members->bucket_count ? 2 * members->bucket_count : FEW;
        if (members->count < members->bucket_count)
                return 0;
        struct name **old = members->buckets;
        uint32_t old_count = members->bucket_count;
        struct name **buckets = calloc(count, sizeof(*buckets));
        if (!buckets)
                return old ? 0 : -ENOMEM;
        members->buckets = buckets;
        members->bucket_count = count;
        for (uint32_t i = 0; i < old_count; i++)
                for (struct name *n = old[i], *next; n; n = next) {
                        next = n->next;
                        n->next = *bucket_of(members, n->hash);
                        *bucket_of(members, n->hash) = n;
                }
        free(old);
        tree->counters.bytes += (count - old_count) * sizeof(*buckets);
        return 0;
}

static int grow_places(struct tree *tree, struct members *members)
{
        if (members->place_count < members->place_room)
                return 0;
        uint32_t room = members->place_room ? members->place_room + members->place_room / 2 : FEW;
        struct place *places = realloc(members->places, room * sizeof(*places));
        if (!places)
                return -ENOMEM;
        tree->counters.bytes += (room - members->place_room) * sizeof(*places);
        members->places = places;
        members->place_room = room;
        return 0;
}

static struct name *make(struct tree *tree, struct node *folder, struct span bytes)
{
        struct members *members = folder->members;
        struct name *name = calloc(1, sizeof(*name) + bytes.size + 1);
        if (!name)
                return NULL;
        name->folder = folder;
        name->hash = (uint32_t)hash_bytes(bytes.data, bytes.size);
        name->size = (uint16_t)bytes.size;
        memcpy(name->bytes, bytes.data, bytes.size);
        list_init(&name->idle);
        name->next = *bucket_of(members, name->hash);
        *bucket_of(members, name->hash) = name;
        members->count++;
        tree->counters.names++;
        tree->counters.bytes += heap_bytes(sizeof(*name) + bytes.size + 1);
        return name;
}

struct name *members_need(struct tree *tree, struct node *folder, struct span bytes)
{
        struct members *members = members_of(tree, folder);
        ensure(bytes.size > 0 && bytes.size < TREE_NAME_BYTES);
        if (!members || grow_places(tree, members) < 0)
                return NULL;
        struct name *name = members_find(folder, bytes);
        if (name)
                return name;
        if (grow_table(tree, members) < 0)
                return NULL;
        name = make(tree, folder, bytes);
        if (name)
                node_settle(tree, folder); /* it is not empty any more */
        return name;
}

void members_remove(struct tree *tree, struct name *name)
{
        struct members *members = name->folder->members;
        ensure(!name->node && name->cookie == 0);
        struct name **link = bucket_of(members, name->hash);
        while (*link != name)
                link = &(*link)->next;
        *link = name->next;
        members->count--;
        list_remove(&name->idle);
        tree->counters.names--;
        tree->counters.bytes -= heap_bytes(sizeof(*name) + name->size + 1);
        free(name);
}

/* ---- the order ---- */

uint32_t members_behind(const struct members *members, uint64_t cookie)
{
        uint32_t low = 0, high = members->place_count;
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                if (members->places[middle].cookie <= cookie)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

void members_place(struct tree *tree, struct name *name)
{
        struct members *members = name->folder->members;
        if (name->cookie)
                return;
        ensure(grow_places(tree, members) == 0); /* members_need() has kept one, or one has just become free */
        name->cookie = ++members->last_cookie;
        members->places[members->place_count++] = (struct place){ name->cookie, name };
}

static void compact(struct members *members)
{
        uint32_t kept = 0;
        for (uint32_t i = 0; i < members->place_count; i++)
                if (members->places[i].name)
                        members->places[kept++] = members->places[i];
        members->place_count = kept;
        members->gone = 0;
}

void members_displace(struct tree *tree, struct name *name)
{
        struct members *members = name->folder->members;
        (void)tree;
        if (!name->cookie)
                return;
        uint32_t i = members_behind(members, name->cookie - 1);
        ensure(i < members->place_count && members->places[i].name == name);
        members->places[i].name = NULL;
        name->cookie = 0;
        members->gone++;
        while (members->place_count > 0 && !members->places[members->place_count - 1].name) {
                members->place_count--;
                members->gone--;
        }
        if (members->gone > COMPACT_FROM && members->gone > members->place_count / 2)
                compact(members);
}

bool members_listed(const struct node *folder, uint64_t now_ms)
{
        return folder->members && folder->members->listed_until_ms > now_ms;
}

void members_free(struct tree *tree, struct node *folder)
{
        struct members *members = folder->members;
        if (!members)
                return;
        for (uint32_t i = 0; i < members->bucket_count; i++)
                while (members->buckets[i]) {
                        struct name *name = members->buckets[i];
                        name_unbind(tree, name);
                        members_remove(tree, name);
                }
        tree->counters.bytes -= heap_bytes(sizeof(*members)) + members->bucket_count * sizeof(*members->buckets) +
                                members->place_room * sizeof(*members->places);
        free(members->buckets);
        free(members->places);
        free(members);
        folder->members = NULL;
}
