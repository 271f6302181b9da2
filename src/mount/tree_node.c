/* Nodes and names: how they come, hold each other, and go. A node is held by the kernel's lookups, pins, a file,
 * unsent data and the names in it; one that nothing holds may go as soon as memory is short, one without a name goes
 * at once. */
#include "mount/tree_inner.h"

#include <stdlib.h>

enum { FEW_NUMBERS = 256, TRIM_TRIES = 256 };

static const uint64_t OWN_NUMBERS = 1ull << 63; /* servers' numbers do not reach there */

/* ---- numbers ---- */

static struct node **number_bucket(const struct tree *tree, uint64_t inode)
{
        return &tree->numbers[(inode * 0x9e3779b97f4a7c15ull >> 32) & (tree->number_buckets - 1)];
}

struct node *node_by_number(const struct tree *tree, uint64_t inode)
{
        if (!tree->numbers)
                return NULL;
        for (struct node *n = *number_bucket(tree, inode); n; n = n->next_number)
                if (n->inode == inode)
                        return n;
        return NULL;
}

static void grow_numbers(struct tree *tree)
{
        if (tree->number_count < tree->number_buckets)
                return;
        uint32_t old_count = tree->number_buckets, count = old_count ? 2 * old_count : FEW_NUMBERS;
        struct node **old = tree->numbers, **numbers = calloc(count, sizeof(*numbers));
        if (!numbers)
                return; /* longer chains */
        tree->numbers = numbers;
        tree->number_buckets = count;
        for (uint32_t i = 0; i < old_count; i++)
                for (struct node *n = old[i], *next; n; n = next) {
                        next = n->next_number;
                        n->next_number = *number_bucket(tree, n->inode);
                        *number_bucket(tree, n->inode) = n;
                }
        free(old);
        tree->counters.bytes += (count - old_count) * sizeof(*numbers);
}

static void unindex(struct tree *tree, struct node *node)
{
        if (!node->numbered)
                return;
        struct node **link = number_bucket(tree, node->inode);
        while (*link != node)
                link = &(*link)->next_number;
        *link = node->next_number;
        node->numbered = false;
        tree->number_count--;
}

/* Found by number are: files that may have another name; and all whose number is a hash, since two must not share one. */
void node_index(struct tree *tree, struct node *node)
{
        bool wanted = node->told ? node->kind == REMOTE_FILE && node->links > 1 : !tree->tells_numbers;
        if (wanted == node->numbered)
                return;
        if (!wanted) {
                unindex(tree, node);
                return;
        }
        grow_numbers(tree);
        if (!tree->numbers)
                return;
        node->next_number = *number_bucket(tree, node->inode);
        *number_bucket(tree, node->inode) = node;
        node->numbered = true;
        tree->number_count++;
}

void node_set_number(struct tree *tree, struct node *node, uint64_t inode, bool told)
{
        unindex(tree, node);
        node->inode = inode;
        node->told = told;
        node_index(tree, node);
}

/* FNV-1a over the name, begun with the folder's number: the same in each run, as long as names stay. */
uint64_t node_hashed_number(const struct tree *tree, const struct node *folder, struct span name)
{
        uint64_t hash = 0xcbf29ce484222325ull ^ folder->inode * 0x9e3779b97f4a7c15ull;
        for (size_t i = 0; i < name.size; i++)
                hash = (hash ^ (unsigned char)name.data[i]) * 0x100000001b3ull;
        hash ^= hash >> 29;
        for (;; hash = hash * 6364136223846793005ull + 1442695040888963407ull) {
                uint64_t number = hash & (OWN_NUMBERS - 1);
                /* What was renamed keeps its number, so that it may be taken. */
                if (number > 1 && !node_by_number(tree, number))
                        return number;
        }
}

/* ---- attributes ---- */

int node_set_tag(struct tree *tree, struct node *node, const char *tag)
{
        size_t size = strlen(tag);
        char *copy = NULL;
        if (node->tag ? strcmp(node->tag, tag) == 0 : size == 0)
                return 0;
        if (size > 0) {
                copy = malloc(size + 1);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, tag, size + 1);
                tree->counters.bytes += heap_bytes(size + 1);
        }
        if (node->tag)
                tree->counters.bytes -= heap_bytes(strlen(node->tag) + 1);
        free(node->tag);
        node->tag = copy;
        return 0;
}

void node_new_version(struct tree *tree, struct node *node)
{
        node->version = ++tree->versions;
}

int node_take(struct tree *tree, struct node *node, const struct remote_attributes *attributes)
{
        if (node_set_tag(tree, node, attributes->tag) < 0)
                return -ENOMEM;
        node->mode = attributes->mode;
        node->has_mode = attributes->has_mode;
        node->size = attributes->size;
        node->mtime_s = attributes->mtime_s;
        node->mtime_ns = attributes->mtime_ns;
        node->guessed = false;
        node->until_ms = clock_ms() + tree->options.ttl_ms;
        if (node->links != attributes->links) {
                node->links = attributes->links;
                node_index(tree, node);
        }
        if (attributes->inode && (!node->told || node->inode != attributes->inode))
                node_set_number(tree, node, attributes->inode, true);
        return 0;
}

struct node *node_make(struct tree *tree, const struct remote_attributes *attributes, uint64_t inode)
{
        struct node *node = calloc(1, sizeof(*node));
        if (!node)
                return NULL;
        tree->counters.nodes++;
        tree->counters.bytes += heap_bytes(sizeof(*node));
        list_init(&node->node);
        node->kind = (uint8_t)attributes->kind;
        node->inode = inode;
        if (node_take(tree, node, attributes) < 0) {
                node_settle(tree, node);
                return NULL;
        }
        node_index(tree, node);
        node_new_version(tree, node);
        return node;
}

uint64_t node_made_number(struct tree *tree)
{
        return OWN_NUMBERS | ++tree->made;
}

void node_touch(struct tree *tree, struct node *node)
{
        node->changed = ++tree->changes;
}

/* ---- who holds whom ---- */

static bool held(const struct tree *tree, const struct node *node)
{
        return node->lookups || node->pins || node->file || node->owned || node == tree->root;
}

static void node_free(struct tree *tree, struct node *node)
{
        unindex(tree, node);
        list_remove(&node->node);
        members_free(tree, node);
        node_set_tag(tree, node, "");
        tree->counters.nodes--;
        tree->counters.bytes -= heap_bytes(sizeof(*node));
        free(node);
}

void name_settle(struct tree *tree, struct name *name)
{
        const struct node *node = name->node;
        bool idle = !node || (!held(tree, node) && !(node->members && node->members->count));
        if (!idle)
                list_remove(&name->idle);
        else if (list_empty(&name->idle))
                list_append(&tree->idle, &name->idle);
}

void name_heard(const struct tree *tree, struct name *name, bool believed)
{
        name->round = tree->rounds;
        name->until_ms = believed ? clock_ms() + tree->options.ttl_ms : 0;
}

void name_used(struct tree *tree, struct name *name)
{
        if (list_empty(&name->idle))
                return;
        list_remove(&name->idle);
        list_append(&tree->idle, &name->idle);
}

/* So that all that there is can be reached: by its name, or by a list. */
static void enlist(struct tree *tree, struct node *node)
{
        list_remove(&node->node);
        if (node->file)
                list_append(&tree->open, &node->node);
        else if (!node->names && node != tree->root)
                list_append(&tree->nameless, &node->node);
}

void node_settle(struct tree *tree, struct node *node)
{
        if (!node->names && !held(tree, node)) {
                node_free(tree, node);
                return;
        }
        if (node->file || !node->names || !list_empty(&node->node))
                enlist(tree, node);
        for (struct name *name = node->names; name; name = name->sibling)
                name_settle(tree, name);
}

static void leave_node(struct name *name)
{
        struct name **link = &name->node->names;
        while (*link != name)
                link = &(*link)->sibling;
        *link = name->sibling;
        name->node = NULL;
}

void name_bind(struct tree *tree, struct name *name, struct node *node)
{
        struct node *old = name->node;
        if (old == node)
                return;
        if (old)
                leave_node(name);
        name->node = node;
        name->sibling = node->names;
        node->names = name;
        node->unlinked = false;
        members_place(tree, name);
        if (old)
                node_settle(tree, old);
        node_settle(tree, node);
}

void name_unbind(struct tree *tree, struct name *name)
{
        struct node *node = name->node;
        if (!node)
                return;
        members_displace(tree, name);
        leave_node(name);
        node_settle(tree, node);
        name_settle(tree, name);
}

void name_drop(struct tree *tree, struct name *name)
{
        struct node *folder = name->folder;
        uint64_t changed = max_of(name->changed, name->node ? name->node->changed : 0);
        folder->members->forgotten = max_of(folder->members->forgotten, changed);
        if (name->node)
                folder->members->listed_until_ms = 0;
        name_unbind(tree, name);
        members_remove(tree, name);
        if (folder->members->count == 0)
                node_settle(tree, folder);
}

/* Names in a folder that is being read or listed stay: they would come again behind the reader, and a listing would
 * never be whole. A bounded number of tries, as each call adds few. */
void tree_trim(struct tree *tree)
{
        for (unsigned i = 0; i < TRIM_TRIES && tree->counters.bytes > tree->options.limit_bytes; i++) {
                if (list_empty(&tree->idle))
                        return;
                struct name *name = container_of(tree->idle.next, struct name, idle);
                if (name->folder->pins)
                        name_used(tree, name);
                else
                        name_drop(tree, name);
        }
}
