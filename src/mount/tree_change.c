/* What this mount changes itself: known at once, and newer than answers that were asked for before. */
#include "mount/tree_inner.h"

#include <stdlib.h>
#include <time.h>

static void now_is(int64_t *seconds, uint32_t *nanoseconds)
{
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        *seconds = now.tv_sec;
        *nanoseconds = (uint32_t)now.tv_nsec;
}

/* The folder's time moved on the server; what it is now is a guess until the next answer, which is not worth asking for
 * after each file of an archive that is unpacked. */
static void touch_folder(struct tree *tree, struct node *folder)
{
        node_touch(tree, folder);
        now_is(&folder->mtime_s, &folder->mtime_ns);
        folder->guessed = true;
}

static void touch_name(struct tree *tree, struct name *name)
{
        name->changed = ++tree->changes;
        name_heard(tree, name, true);
        touch_folder(tree, name->folder);
}

/* One name less leads to what stands there. */
static void unlink_node(struct tree *tree, struct node *node)
{
        if (!node)
                return;
        node_touch(tree, node);
        if (node->links > 0 && node->kind == REMOTE_FILE)
                node->links--;
        if (node->kind != REMOTE_FILE)
                node->links = 0;
        node->unlinked = !node->names->sibling;
        node_index(tree, node);
}

/* The server's own comes later; until then none that another could have. */
static uint64_t number_of_made(struct tree *tree, const struct node *folder, struct span name)
{
        return tree->tells_numbers ? node_made_number(tree) : node_hashed_number(tree, folder, name);
}

static int made(struct tree *tree, struct node *folder, struct span bytes, const struct remote_attributes *attributes,
                bool empty, struct name **out)
{
        struct name *name = members_need(tree, folder, bytes);
        if (!name)
                return -ENOMEM;
        struct node *node = node_make(tree, attributes, number_of_made(tree, folder, bytes));
        if (!node || (empty && !members_of(tree, node))) {
                if (node)
                        node_settle(tree, node);
                name_settle(tree, name);
                return -ENOMEM;
        }
        if (attributes->mtime_s == 0 && attributes->mtime_ns == 0) {
                now_is(&node->mtime_s, &node->mtime_ns);
                node->guessed = true;
        }
        if (empty)
                node->members->listed_until_ms = clock_ms() + tree->options.ttl_ms;
        node_touch(tree, node);
        unlink_node(tree, name->node);
        name_bind(tree, name, node);
        touch_name(tree, name);
        *out = name;
        return 0;
}

/* What a change gives back of the name. */
static void give(struct tree *tree, struct name *name, bool lookup, struct tree_view *view)
{
        view_name(tree, name, clock_ms(), view);
        if (lookup && name->node->lookups++ == 0)
                node_settle(tree, name->node);
}

int tree_made(struct tree *tree, struct node *folder, const char *bytes, const struct remote_attributes *attributes,
              bool lookup, bool empty, struct tree_view *view)
{
        struct name *name;
        if (strlen(bytes) >= TREE_NAME_BYTES)
                return -ENAMETOOLONG;
        tree_enter(tree);
        int error = made(tree, folder, span_of(bytes), attributes, empty, &name);
        if (!error)
                give(tree, name, lookup, view);
        tree_trim(tree);
        tree_leave(tree);
        return error;
}

/* Without memory for saying that nothing stands there, nothing is known. */
static struct name *need_or_forget(struct tree *tree, struct node *folder, const char *bytes)
{
        struct name *name = members_need(tree, folder, span_of(bytes));
        if (!name && folder->members) {
                folder->members->listed_until_ms = 0;
                folder->members->forgotten = ++tree->changes;
        }
        return name;
}

void tree_removed(struct tree *tree, struct node *folder, const char *bytes)
{
        tree_enter(tree);
        struct name *name = need_or_forget(tree, folder, bytes);
        if (name) {
                unlink_node(tree, name->node);
                name_unbind(tree, name);
                touch_name(tree, name);
                name_settle(tree, name);
        }
        tree_trim(tree);
        tree_leave(tree);
}

static bool is_below(const struct tree *tree, const struct node *node, const struct node *folder)
{
        for (; node; node = node->names ? node->names->folder : NULL)
                if (node == folder)
                        return true;
                else if (node == tree->root)
                        return false;
        return false;
}

static int renamed(struct tree *tree, struct node *from, const char *old_bytes, struct node *to, const char *new_bytes)
{
        struct name *old = need_or_forget(tree, from, old_bytes);
        struct name *new = need_or_forget(tree, to, new_bytes);
        if (!old || !new)
                return -ENOMEM;
        struct node *node = old->node;
        if (node && (node == new->node || is_below(tree, to, node)))
                return node == new->node ? 0 : -EINVAL;
        unlink_node(tree, new->node);
        if (node) {
                name_bind(tree, new, node);
                node_touch(tree, node);
        } else { /* not known what it was, so that it is asked for at the next need */
                note_gone(tree, new);
                to->members->listed_until_ms = 0;
        }
        name_unbind(tree, old);
        touch_name(tree, old);
        touch_name(tree, new);
        if (!node) {
                new->until_ms = 0;
                to->members->forgotten = tree->changes;
        }
        name_settle(tree, old);
        name_settle(tree, new);
        return 0;
}

int tree_renamed(struct tree *tree, struct node *from, const char *name, struct node *to, const char *new_name)
{
        tree_enter(tree);
        int error = renamed(tree, from, name, to, new_name);
        tree_trim(tree);
        tree_leave(tree);
        return error;
}

int tree_linked(struct tree *tree, struct node *node, struct node *folder, const char *bytes, bool lookup,
                struct tree_view *view)
{
        tree_enter(tree);
        struct name *name = need_or_forget(tree, folder, bytes);
        if (name) {
                if (name->node != node)
                        unlink_node(tree, name->node);
                name_bind(tree, name, node);
                node->links++;
                node_index(tree, node);
                node_touch(tree, node);
                touch_name(tree, name);
                give(tree, name, lookup, view);
        }
        tree_trim(tree);
        tree_leave(tree);
        return name ? 0 : -ENOMEM;
}

/* ---- files ---- */

struct file *tree_file(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        struct file *file = node->file;
        tree_leave(tree);
        return file;
}

void tree_set_file(struct tree *tree, struct node *node, struct file *file)
{
        tree_enter(tree);
        node->file = file; /* `moved` stays: who had it open may not have told the kernel */
        node_settle(tree, node);
        tree_leave(tree);
}

int tree_pin_open(struct tree *tree, struct node *folder, struct node ***out, size_t *count)
{
        size_t room = 0;
        tree_enter(tree);
        for (struct list *l = tree->open.next; l != &tree->open; l = l->next)
                room++;
        struct node **nodes = calloc(room + 1, sizeof(*nodes));
        *count = 0;
        *out = nodes;
        for (struct list *l = tree->open.next; nodes && l != &tree->open; l = l->next) {
                struct node *node = container_of(l, struct node, node);
                if (!node->names || !is_below(tree, node, folder))
                        continue;
                node->pins++; /* it is held by its file already */
                nodes[(*count)++] = node;
        }
        tree_leave(tree);
        return nodes ? 0 : -ENOMEM;
}

void tree_own(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        node->owned = true;
        node_touch(tree, node);
        node_settle(tree, node);
        tree_leave(tree);
}

void tree_disown(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        node->owned = false;
        node->until_ms = clock_ms() + tree->options.ttl_ms;
        for (struct name *name = node->names; name; name = name->sibling)
                name_heard(tree, name, true);
        node_touch(tree, node);
        node_settle(tree, node);
        tree_leave(tree);
}

static void update_tag(struct tree *tree, struct node *node, const struct tree_update *update)
{
        bool same = remote_same_tag(node->tag ? node->tag : "", update->tag);
        if (!same && !update->same_content)
                node_new_version(tree, node);
        if (node_set_tag(tree, node, update->tag) < 0) {
                node_set_tag(tree, node, ""); /* none is right, if less; to be asked for */
                node->until_ms = 0;
        }
}

void tree_update(struct tree *tree, struct node *node, const struct tree_update *update)
{
        tree_enter(tree);
        if (update->has_size)
                node->size = update->size;
        if (update->has_mode) {
                node->mode = update->mode;
                node->has_mode = true;
        }
        if (update->has_mtime) {
                node->mtime_s = update->mtime_s;
                node->mtime_ns = update->mtime_ns;
                node->guessed = false;
        }
        if (update->has_tag)
                update_tag(tree, node, update);
        if (update->has_links)
                node->links = update->links;
        if (update->has_inode && update->inode)
                node_set_number(tree, node, update->inode, true);
        node_index(tree, node);
        node_touch(tree, node);
        tree_leave(tree);
}

bool tree_take_changed(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        bool moved = node->moved;
        node->moved = false;
        tree_leave(tree);
        return moved;
}

void tree_outgrown(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        node->outgrown = true;
        tree_leave(tree);
}

bool tree_is_outgrown(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        bool outgrown = node->outgrown && !node->file;
        tree_leave(tree);
        return outgrown;
}

void tree_lost(struct tree *tree, struct node *node, int error)
{
        tree_enter(tree);
        node->moved = node->outgrown = true;
        if (error == -ESTALE) /* the kernel asks again by itself, and would be told nothing the second time */
                error = -EIO;
        node->failure = error;
        for (struct name *name = node->names; error && name; name = name->sibling)
                name->folder->failure = error;
        tree_leave(tree);
}

int tree_take_failure(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        int error = node->failure;
        node->failure = 0;
        tree_leave(tree);
        return error;
}
