/* Files of one folder, one behind the other: in the order of the listing, or of their names. */
#include "mount/tree_inner.h"

#include <stdio.h>

enum { MOST_MEMBERS = 20000, MOST_SIBLINGS = 32 };

static int compare(const struct name *a, const struct name *b, enum tree_order order)
{
        if (order == TREE_BY_NAME)
                return strcmp(a->bytes, b->bytes);
        return a->cookie < b->cookie ? -1 : a->cookie > b->cookie;
}

bool tree_follows(struct tree *tree, const struct node *before, const struct node *node, enum tree_order order)
{
        tree_enter(tree);
        const struct name *a = before->names, *b = node->names;
        bool follows = a && b && a->folder == b->folder && compare(a, b, order) < 0;
        tree_leave(tree);
        return follows;
}

/* Nobody has it open here, and the server has told all of it. */
static bool is_wanted(const struct node *node, uint64_t most_bytes)
{
        return node->kind == REMOTE_FILE && !node->file && !node->owned && node->size > 0 && node->size <= most_bytes &&
               node->tag && node->tag[0] == '"';
}

struct choice {
        const struct name *behind;
        enum tree_order order;
        const struct name *names[MOST_SIBLINGS]; /* in their order */
        size_t count, room;
};

static void consider(struct choice *choice, const struct name *name)
{
        size_t at = choice->count;
        if (compare(name, choice->behind, choice->order) <= 0)
                return;
        while (at > 0 && compare(name, choice->names[at - 1], choice->order) < 0)
                at--;
        if (at == choice->room)
                return;
        size_t moved = min_of(choice->count, choice->room - 1) - at;
        memmove(&choice->names[at + 1], &choice->names[at], moved * sizeof(*choice->names));
        choice->names[at] = name;
        choice->count = min_of(choice->count + 1, choice->room);
}

/* Listed in order they stand together, by name anywhere. */
static void choose(struct choice *choice, const struct members *members, uint64_t most_bytes)
{
        bool listed = choice->order == TREE_AS_LISTED;
        uint32_t from = listed ? members_behind(members, choice->behind->cookie) : 0;
        for (uint32_t i = from; i < members->place_count && !(listed && choice->count == choice->room); i++) {
                const struct name *name = members->places[i].name;
                if (name && name->node && is_wanted(name->node, most_bytes))
                        consider(choice, name);
        }
}

size_t tree_siblings(struct tree *tree, struct node *node, enum tree_order order, uint64_t most_bytes,
                     struct tree_sibling *out, size_t room)
{
        tree_enter(tree);
        struct choice choice = { .behind = node->names, .order = order, .room = min_of(room, (size_t)MOST_SIBLINGS) };
        const struct members *members = node->names ? node->names->folder->members : NULL;
        if (members && members->place_count <= MOST_MEMBERS && choice.room > 0)
                choose(&choice, members, most_bytes);
        for (size_t i = 0; i < choice.count; i++) {
                struct node *sibling = choice.names[i]->node;
                if (sibling->pins++ == 0)
                        node_settle(tree, sibling);
                out[i].node = sibling;
                out[i].size = sibling->size;
                snprintf(out[i].tag, sizeof(out[i].tag), "%s", sibling->tag);
        }
        tree_leave(tree);
        return choice.count;
}
