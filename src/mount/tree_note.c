/* Answers of the server: what they make of names and nodes. */
#include "mount/tree_inner.h"

bool name_is_newer(const struct name *name, uint64_t changes)
{
        const struct node *node = name->node;
        return name->changed > changes || (node && (node->owned || node->changed > changes));
}

/* Tags tell; where one is missing size and time do. A time that was only guessed here says nothing. */
static bool content_moved(const struct node *node, const struct remote_attributes *attributes)
{
        if (node->tag && attributes->tag[0])
                return !remote_same_tag(node->tag, attributes->tag);
        if (node->size != attributes->size)
                return true;
        return !node->guessed && (node->mtime_s != attributes->mtime_s || node->mtime_ns != attributes->mtime_ns);
}

/* Whether what the server tells can be this node no more. With writeback caching the kernel never takes over size and
 * time of a file that it knows: so one that nobody has open and that has changed must become another to it. */
static bool is_another(const struct node *node, const struct remote_attributes *attributes)
{
        if (node->owned)
                return false;
        if (node->kind != attributes->kind)
                return true;
        if (node->told && attributes->inode && node->inode != attributes->inode)
                return true;
        return node->kind != REMOTE_FOLDER && node->lookups && !node->file &&
               (node->moved || node->outgrown || content_moved(node, attributes)); /* moved: the kernel was not told of
                                                                                     * the last change */
}

/* Which node it is: that of another name of the same file, the one that stood there, or none of them. */
static struct node *choose(struct tree *tree, struct node *node, const struct remote_attributes *attributes)
{
        bool linked = attributes->kind == REMOTE_FILE && attributes->links > 1 && attributes->inode;
        struct node *other = linked ? node_by_number(tree, attributes->inode) : NULL;
        if (other && other != node && other->told && !is_another(other, attributes) && !(node && node->file))
                return other;
        return node && !is_another(node, attributes) ? node : NULL;
}

int note_same(struct tree *tree, struct node *node, const struct answer *answer)
{
        const struct remote_attributes *attributes = answer->attributes;
        if (node->owned || node->changed > answer->changes)
                return 0;
        bool moved = node->kind != REMOTE_FOLDER && content_moved(node, attributes);
        int error = node_take(tree, node, attributes);
        if (!error && moved) {
                node_new_version(tree, node);
                node->moved = node->file != NULL;
        }
        return error;
}

/* The name leads to another node now, of that answer. */
static int replace(struct tree *tree, struct name *name, const struct answer *answer)
{
        struct span bytes = { name->bytes, name->size };
        struct node *node = node_make(tree, answer->attributes, 0);
        if (!node)
                return -ENOMEM;
        /* The old one gives up its number first, so that a file that only changed keeps what programs see of it. */
        struct node *old = name->node;
        if (old) {
                node->failure = old->failure;
                old->failure = 0;
        }
        if (!answer->attributes->inode && old && !old->told && old->kind == node->kind) {
                uint64_t inode = old->inode;
                node_set_number(tree, old, node_made_number(tree), false);
                node_set_number(tree, node, inode, false);
        } else if (!answer->attributes->inode) {
                node_set_number(tree, node, node_hashed_number(tree, name->folder, bytes), false);
        }
        name_bind(tree, name, node);
        return 0;
}

int note_name(struct tree *tree, struct node *folder, struct span bytes, const struct answer *answer, struct name **out)
{
        struct name *name = members_need(tree, folder, bytes);
        if (!name)
                return -ENOMEM;
        *out = name;
        if (name_is_newer(name, answer->changes))
                return name->node ? 0 : -ENOENT;
        struct node *node = choose(tree, name->node, answer->attributes);
        int error = 0;
        if (!node)
                error = replace(tree, name, answer);
        else if (node != name->node)
                name_bind(tree, name, node);
        if (!error && node)
                error = note_same(tree, node, answer);
        if (error) {
                name_settle(tree, name);
                return error;
        }
        /* Something in the folder was changed here and then dropped from memory: it may have been this one. */
        bool doubtful = folder->members->forgotten > answer->changes;
        name_heard(tree, name, !doubtful);
        return 0;
}

int tree_note(struct tree *tree, struct node *folder, const char *bytes, const struct remote_attributes *attributes,
              uint64_t changes, bool lookup, struct tree_view *view)
{
        struct answer answer = { attributes, changes };
        struct name *name;
        if (strlen(bytes) >= TREE_NAME_BYTES)
                return -ENAMETOOLONG;
        tree_enter(tree);
        int error = note_name(tree, folder, span_of(bytes), &answer, &name);
        if (!error) {
                view_name(tree, name, clock_ms(), view);
                if (lookup && name->node->lookups++ == 0)
                        node_settle(tree, name->node);
                tree_trim(tree);
        }
        tree_leave(tree);
        return error;
}

bool note_path_moved(const struct tree *tree, const struct node *node, uint64_t changes)
{
        for (; node != tree->root; node = node->names->folder)
                if (!node->names || node->names->changed > changes)
                        return true;
        return false;
}

static int note_node(struct tree *tree, struct node *node, const struct answer *answer)
{
        if (node->owned || node->changed > answer->changes || note_path_moved(tree, node, answer->changes))
                return 0;
        if (node == tree->root || !is_another(node, answer->attributes)) {
                int error = note_same(tree, node, answer);
                if (!error && node != tree->root)
                        name_heard(tree, node->names, true);
                return error;
        }
        struct name *name = node->names;
        if (replace(tree, name, answer) < 0) {
                note_gone(tree, name);
                name->folder->members->listed_until_ms = 0;
        } else {
                name_heard(tree, name, true);
        }
        return -ESTALE;
}

int tree_note_node(struct tree *tree, struct node *node, const struct remote_attributes *attributes, uint64_t changes,
                   struct tree_view *view)
{
        struct answer answer = { attributes, changes };
        tree_enter(tree);
        if (node->pins++ == 0) /* it may lose its last name */
                node_settle(tree, node);
        int error = note_node(tree, node, &answer);
        if (!error)
                view_node(tree, node, UINT64_MAX, clock_ms(), view);
        if (--node->pins == 0)
                node_settle(tree, node);
        tree_trim(tree);
        tree_leave(tree);
        return error;
}

void note_gone(struct tree *tree, struct name *name)
{
        name_unbind(tree, name);
        name->until_ms = 0;
        name_settle(tree, name);
}

void tree_note_absent(struct tree *tree, struct node *folder, const char *bytes, uint64_t changes)
{
        if (strlen(bytes) >= TREE_NAME_BYTES)
                return;
        tree_enter(tree);
        struct name *name = members_need(tree, folder, span_of(bytes));
        if (name && !name_is_newer(name, changes)) {
                note_gone(tree, name);
                name_heard(tree, name, folder->members->forgotten <= changes);
        }
        if (name)
                name_settle(tree, name);
        tree_trim(tree);
        tree_leave(tree);
}

void tree_distrust(struct tree *tree, struct node *node)
{
        tree_enter(tree);
        node->until_ms = 0;
        node_touch(tree, node); /* answers that are under way are older */
        if (node->members) {
                node->members->listed_until_ms = 0;
                node->members->distrusted = ++tree->rounds;
                node->members->forgotten = tree->changes;
        }
        tree_leave(tree);
}
