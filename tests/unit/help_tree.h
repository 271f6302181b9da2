/* help_tree: a tree to be tested, and what a server would tell it. */
#ifndef TESTS_UNIT_HELP_TREE_H
#define TESTS_UNIT_HELP_TREE_H

#include "help.h"

#include "mount/tree.h"

enum { LONG_MS = 100000, PLENTY = 1 << 30 };

static inline struct tree *make_tree(unsigned ttl_ms, size_t limit_bytes, uint64_t root_inode)
{
        struct tree_options options = { ttl_ms, limit_bytes, 0644, 0755 };
        struct remote_attributes root = { .kind = REMOTE_FOLDER, .mode = 0755, .links = 2, .inode = root_inode };
        struct tree *tree;
        assert_int_equal(tree_create(&tree, &options, &root), 0);
        return tree;
}

static inline struct remote_attributes file_of(uint64_t inode, uint64_t size, const char *tag)
{
        struct remote_attributes a = { .kind = REMOTE_FILE, .mode = 0644, .links = 1, .size = size, .inode = inode };
        a.mtime_s = 1000;
        strcpy(a.tag, tag);
        return a;
}

static inline struct remote_attributes folder_of(uint64_t inode)
{
        return (struct remote_attributes){
                .kind = REMOTE_FOLDER, .mode = 0755, .links = 2, .inode = inode, .mtime_s = 1
        };
}

static inline int note(struct tree *tree, struct node *folder, const char *name, struct remote_attributes a,
                       struct tree_view *view)
{
        return tree_note(tree, folder, name, &a, tree_changes(tree, folder), true, view);
}

static inline enum tree_known find(struct tree *tree, struct node *folder, const char *name, struct tree_view *view)
{
        return tree_find(tree, folder, name, false, view);
}

static inline void list(struct tree *tree, struct node *folder, const char *const *names, unsigned count)
{
        struct tree_listing listing;
        tree_listing_begin(tree, folder, &listing);
        for (unsigned i = 0; i < count; i++) {
                struct remote_attributes a = file_of(100 + i, i, "\"t\"");
                assert_int_equal(tree_listing_add(tree, &listing, span_of(names[i]), &a), 0);
        }
        tree_listing_end(tree, &listing, true);
}

/* The names that a reader sees, with a comma behind each. */
static inline const char *read_all(struct tree *tree, struct node *folder)
{
        static char out[4096];
        struct tree_member member = { .cookie = 0 };
        struct text text = text_in(out, sizeof(out) - 1);
        while (tree_next(tree, folder, member.cookie, false, &member))
                text_format(&text, "%s,", member.name);
        out[text.used] = '\0';
        return out;
}

#endif
