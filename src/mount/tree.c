/* The tree: asking it, pins and lookups, paths. */
#include "mount/tree_inner.h"

#include <stdlib.h>

int tree_create(struct tree **out, const struct tree_options *options, const struct remote_attributes *root)
{
        struct tree *tree = calloc(1, sizeof(*tree));
        if (!tree)
                return -ENOMEM;
        tree->options = *options;
        tree->tells_numbers = root->inode != 0;
        tree->counters.bytes = heap_bytes(sizeof(*tree));
        list_init(&tree->idle);
        list_init(&tree->open);
        list_init(&tree->nameless);
        pthread_mutex_init(&tree->mutex, NULL);
        tree->root = node_make(tree, root, 1);
        if (!tree->root) {
                pthread_mutex_destroy(&tree->mutex);
                free(tree->numbers);
                free(tree);
                return -ENOMEM;
        }
        *out = tree;
        return 0;
}

/* All of them lose what holds them, deepest first. */
static void let_go(struct tree *tree, struct node *node)
{
        for (uint32_t i = 0; node->members && i < node->members->bucket_count; i++)
                for (struct name *name = node->members->buckets[i]; name; name = name->next)
                        if (name->node)
                                let_go(tree, name->node);
        node->lookups = node->pins = 0;
        node->file = NULL;
        node->owned = false;
}

static void free_list(struct tree *tree, struct list *nodes)
{
        while (!list_empty(nodes)) {
                struct node *node = container_of(nodes->next, struct node, node);
                let_go(tree, node);
                node_settle(tree, node);
        }
}

void tree_destroy(struct tree *tree)
{
        if (!tree)
                return;
        struct node *root = tree->root;
        let_go(tree, root);
        tree->root = NULL;
        node_settle(tree, root);
        free_list(tree, &tree->nameless);
        free_list(tree, &tree->open);
        free(tree->numbers);
        pthread_mutex_destroy(&tree->mutex);
        free(tree);
}

struct node *tree_root(struct tree *tree)
{
        return tree->root;
}

/* ---- pins ---- */

void tree_pin(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        if (node->pins++ == 0)
                node_settle(tree, node);
        tree_leave(tree);
}

void tree_unpin(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        ensure(node->pins > 0);
        if (--node->pins == 0) {
                node_settle(tree, node);
                tree_trim(tree);
        }
        tree_leave(tree);
}

void tree_forget(struct tree *tree, struct node *node, uint64_t count)
{
        tree_enter(tree);
        if (node != tree->root) { /* the kernel has that one without having looked it up */
                ensure(node->lookups >= count);
                node->lookups -= count;
                if (count > 0 && node->lookups == 0) {
                        node->outgrown = false;
                        node_settle(tree, node);
                        tree_trim(tree);
                }
        }
        tree_leave(tree);
}

/* ---- paths ---- */

/* Writes a name in front of what stands in `out` from `*at` on. */
static int prepend(char *out, size_t *at, const char *bytes, size_t size)
{
        bool last = out[*at] == '\0';
        if (size + !last > *at)
                return -ENAMETOOLONG;
        if (!last)
                out[--*at] = '/';
        *at -= size;
        memcpy(out + *at, bytes, size);
        return 0;
}

static int write_path(const struct tree *tree, const struct node *node, const char *name, char *out)
{
        size_t at = REMOTE_PATH_BYTES - 1;
        int error = 0;
        out[at] = '\0';
        if (name)
                error = prepend(out, &at, name, strlen(name));
        for (; !error && node != tree->root; node = node->names->folder) {
                if (!node->names)
                        return -ESTALE;
                error = prepend(out, &at, node->names->bytes, node->names->size);
        }
        if (!error)
                memmove(out, out + at, REMOTE_PATH_BYTES - at);
        return error;
}

int tree_path(struct tree *tree, struct node *node, const char *name, char out[REMOTE_PATH_BYTES])
{
        tree_enter(tree);
        int error = write_path(tree, node, name, out);
        tree_leave(tree);
        return error;
}

/* ---- views ---- */

void view_node(const struct tree *tree, struct node *node, uint64_t until_ms, uint64_t now_ms, struct tree_view *view)
{
        uint64_t until = min_of(until_ms, node->until_ms);
        struct remote_attributes *a = &view->attributes;
        a->kind = node->kind;
        a->mode = node->mode;
        a->has_mode = node->has_mode;
        a->links = node->links;
        a->size = node->size;
        a->inode = node->told ? node->inode : 0;
        a->mtime_s = node->mtime_s;
        a->mtime_ns = node->mtime_ns;
        strcpy(a->tag, node->tag ? node->tag : "");
        view->node = node;
        view->inode = node->inode;
        view->version = node->version;
        view->ttl_ms = node->owned ? tree->options.ttl_ms : until > now_ms ? (unsigned)(until - now_ms) : 0;
}

uint64_t name_until(const struct name *name)
{
        return name->round < name->folder->members->distrusted ? 0 : name->until_ms;
}

void view_name(const struct tree *tree, const struct name *name, uint64_t now_ms, struct tree_view *view)
{
        view_node(tree, name->node, name_until(name), now_ms, view);
}

/* ---- asking ---- */

static enum tree_known find_absent(const struct node *folder, uint64_t until_ms, uint64_t now_ms,
                                   struct tree_view *view)
{
        if (members_listed(folder, now_ms))
                until_ms = max_of(until_ms, folder->members->listed_until_ms);
        view->node = NULL;
        view->ttl_ms = until_ms > now_ms ? (unsigned)(until_ms - now_ms) : 0;
        return until_ms > now_ms ? TREE_ABSENT : TREE_UNKNOWN;
}

static enum tree_known find(struct tree *tree, struct node *folder, const char *bytes, bool lookup,
                            struct tree_view *view)
{
        uint64_t now = clock_ms();
        struct name *name = members_find(folder, span_of(bytes));
        if (!name)
                return find_absent(folder, 0, now, view);
        name_used(tree, name);
        if (!name->node)
                return find_absent(folder, name_until(name), now, view);
        view_name(tree, name, now, view);
        if (view->ttl_ms == 0 && !name->node->owned)
                return TREE_UNKNOWN;
        if (lookup && name->node->lookups++ == 0)
                node_settle(tree, name->node);
        return TREE_PRESENT;
}

enum tree_known tree_find(struct tree *tree, struct node *folder, const char *name, bool lookup, struct tree_view *view)
{
        tree_enter(tree);
        enum tree_known known = find(tree, folder, name, lookup, view);
        if (known == TREE_UNKNOWN)
                tree->counters.misses++;
        else
                tree->counters.hits++;
        tree_leave(tree);
        return known;
}

enum tree_known tree_look(struct tree *tree, struct node *node, struct tree_view *view)
{
        tree_enter(tree);
        view_node(tree, node, UINT64_MAX, clock_ms(), view);
        bool nobody_tells = !node->names && node != tree->root && (node->unlinked || node->file);
        bool known = view->ttl_ms > 0 || node->owned || nobody_tells;
        if (known)
                tree->counters.hits++;
        else
                tree->counters.misses++;
        tree_leave(tree);
        return known ? TREE_PRESENT : TREE_UNKNOWN;
}

uint64_t tree_changes(struct tree *tree, struct node *node)
{
        (void)node; /* there is one count for all: see tree_inner.h */
        tree_enter(tree);
        uint64_t changes = tree->changes;
        tree_leave(tree);
        return changes;
}

void tree_count(struct tree *tree, struct tree_counters *counters)
{
        tree_enter(tree);
        *counters = tree->counters;
        tree_leave(tree);
}
