/* Walking a tree for those who look at it: a descent of which only what may be seen is told. */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

struct store_walk {
        struct store_walk_options options;
        struct store_descent *descent;
        int above;
        int start; /* what a link leads to that is the start; else -1 */
};

/* A link which is to be followed is replaced by what it leads to; false when that is nothing to be seen. */
static bool follow(struct store_walk *walk)
{
        struct store_descent *descent = walk->descent;

        if (descent->state.kind == STORE_IS_LINK && !walk->options.links)
                store_state_followed(descent->tree, descent->folder, descent->name, descent->path, &descent->state);
        if (descent->state.kind == STORE_IS_LINK)
                return walk->options.links;
        return descent->state.kind == STORE_IS_FILE || descent->state.kind == STORE_IS_FOLDER;
}

/* Only the start is followed and entered: links to folders on the way are told, not entered, so there are no
 * circles. */
static int follow_start(struct store_walk *walk)
{
        struct store_descent *descent = walk->descent;
        bool link = descent->state.kind == STORE_IS_LINK;

        if (!follow(walk))
                return -ENOENT;
        if (!link || descent->state.kind != STORE_IS_FOLDER)
                return 0;
        walk->start = store_open_beneath(descent->tree->root, descent->path, STORE_OPEN_WAY, true);
        descent->start = walk->start;
        return walk->start < 0 ? walk->start : 0;
}

int store_walk_create(struct store_walk **out, struct store_tree *tree, const char *path,
                      const struct store_walk_options *options)
{
        struct store_walk *walk = calloc(1, sizeof(*walk));
        const char *name;
        int error;

        if (!walk)
                return -ENOMEM;
        walk->options = *options;
        walk->start = -1;
        walk->above = store_open_above(tree, path, STORE_OPEN_WAY, &name);
        error = walk->above < 0 ? walk->above : store_descent_create(&walk->descent, tree, walk->above, path);
        if (!error)
                walk->descent->remember = options->depth == 1;
        if (!error)
                error = follow_start(walk);
        if (error) {
                store_walk_destroy(walk);
                return error;
        }
        *out = walk;
        return 0;
}

void store_walk_destroy(struct store_walk *walk)
{
        if (!walk)
                return;
        store_descent_destroy(walk->descent);
        if (walk->start >= 0)
                store_close(walk->start);
        if (walk->above >= 0)
                store_close(walk->above);
        free(walk);
}

static bool to_be_seen(struct store_walk *walk)
{
        struct store_descent *descent = walk->descent;

        if (descent->depth == 0)
                return true;
        if (descent->name[0] == '.' && !walk->options.hidden)
                return false;
        return follow(walk);
}

/* `state` may be that of what a link leads to, the attributes are the link's. */
static bool has_attributes(struct store_descent *descent)
{
        struct store_bare *bare = descent->tree->bare;
        struct timespec now;
        int any;

        if (!descent->state.linked && store_bare_has(bare, &descent->state))
                return false;
        now = store_stamp_time();
        any = store_xattr_any(descent->folder, descent->name);
        if (any == 0 && !descent->state.linked)
                store_bare_add(bare, &descent->state, &now);
        return any > 0;
}

static void fill(struct store_walk *walk, struct store_member *member)
{
        struct store_descent *descent = walk->descent;

        member->path = descent->path;
        member->name = descent->name;
        member->state = descent->state;
        member->folder = descent->folder;
        member->has_attributes = !walk->options.attributes || has_attributes(descent);
}

/* A folder below which cannot be read is told without members, and the start's error is the walk's. */
int store_walk_next(struct store_walk *walk, struct store_member *member)
{
        struct store_descent *descent = walk->descent;

        for (;;) {
                enum store_step step = store_descent_next(descent);
                bool seen;

                if (step == STORE_END)
                        return 0;
                if (step == STORE_LEAVE && descent->depth == 0 && descent->left->error)
                        return descent->left->error;
                if (step == STORE_LEAVE)
                        continue;
                seen = to_be_seen(walk);
                if (!seen || (int64_t)descent->depth >= walk->options.depth)
                        store_descent_skip(descent);
                if (!seen)
                        continue;
                fill(walk, member);
                return 1;
        }
}
