/* tree_inner: the tree from within; for tree.c (asking, pins, paths), tree_node.c (nodes, names, memory),
 * tree_members.c (what is in a folder), tree_note.c (answers of the server), tree_listing.c, tree_siblings.c (files one
 * behind the other) and tree_change.c (changes made here). All but the functions of tree.h are called with the mutex held.
 *
 * There is one count of changes for all. A name and a node remember where it stood when this mount last changed them;
 * an answer is older than that when it was asked for at a lower count. So an answer is refused for the very name or
 * node that was changed meanwhile, while the rest of a listing is taken.
 */
#ifndef MOUNT_TREE_INNER_H
#define MOUNT_TREE_INNER_H

#include "mount/tree.h"

#include <errno.h>
#include <pthread.h>

struct name {
        struct node *folder;
        struct node *node;    /* NULL: known not to exist, or not known */
        struct name *next;    /* in the folder's table */
        struct name *sibling; /* the node's next name */
        struct list idle;     /* in tree.idle when it may be dropped */
        uint64_t cookie;      /* 0: nothing stands there */
        uint64_t until_ms;    /* believed so long */
        uint64_t changed;     /* the count of changes when this mount changed it */
        uint64_t round;       /* tree.rounds when it was last heard of */
        uint32_t hash;
        uint16_t size;
        char bytes[]; /* NUL-terminated */
};

/* Names by cookie. Places of names that are gone stay until there are many: what readers hold are cookies. */
struct place {
        uint64_t cookie;
        struct name *name; /* NULL: gone */
};

/* What is known of a folder's inside. */
struct members {
        struct name **buckets;
        uint32_t bucket_count; /* 0 or a power of two */
        uint32_t count;        /* names in the table, of absent ones too */
        struct place *places;
        uint32_t place_count, place_room, gone;
        uint64_t last_cookie;
        uint64_t listed_until_ms;
        uint64_t distrusted; /* names of an earlier round are believed no more */
        uint64_t forgotten;  /* the highest count of changes of names that were dropped */
        uint64_t read_ms, missed_ms;
        uint32_t misses;
        uint32_t size; /* where a listing was broken off: there are more than so many; UINT32_MAX: it fails */
};

struct node {
        struct name *names;
        struct members *members; /* of a folder, once something is known */
        struct file *file;
        struct list
                node; /* in tree.open while it has a file, in tree.nameless while somebody holds it without a name */
        struct node *next_number;
        char *tag; /* NULL: none */
        uint64_t lookups;
        uint64_t inode; /* as shown */
        uint64_t until_ms;
        uint64_t version;
        uint64_t changed; /* the count of changes when this mount changed it */
        uint64_t size;
        int64_t mtime_s;
        uint32_t mtime_ns;
        uint32_t links;
        uint32_t pins;
        int failure; /* tree_take_failure() */
        uint16_t mode;
        uint8_t kind;
        bool has_mode : 1;
        bool owned : 1;
        bool moved : 1;    /* tree_take_changed() */
        bool told : 1;     /* the number is the server's */
        bool numbered : 1; /* in the table by number */
        bool guessed : 1;  /* the time is this machine's guess */
        bool outgrown : 1; /* tree_outgrown() */
        bool unlinked : 1; /* its last name was removed here, so that nothing more can be heard of it */
};

struct tree {
        pthread_mutex_t mutex;
        struct tree_options options;
        struct node *root;
        struct list idle; /* names that may be dropped, least recently used first */
        struct list open, nameless;
        struct node **numbers;
        uint32_t number_buckets, number_count;
        bool tells_numbers; /* the server does */
        uint64_t changes, rounds, versions, made;
        struct tree_counters counters;
};

/* ---- nodes and names (tree_node.c) ---- */

/* A node of these attributes, with nothing that holds it; `inode` is shown where the server tells none. NULL: no
 * memory. */
struct node *node_make(struct tree *tree, const struct remote_attributes *attributes, uint64_t inode);
/* Frees it, or has its names wait for that, where nothing holds it. */
void node_settle(struct tree *tree, struct node *node);
/* Attributes that are true now. 0 or -ENOMEM: nothing was taken. */
int node_take(struct tree *tree, struct node *node, const struct remote_attributes *attributes);
void node_set_number(struct tree *tree, struct node *node, uint64_t inode, bool told);
int node_set_tag(struct tree *tree, struct node *node, const char *tag);
/* Its links have changed: whether it is found by number. */
void node_index(struct tree *tree, struct node *node);
struct node *node_by_number(const struct tree *tree, uint64_t inode);
/* A number for what the server gives none, from where it is first seen. */
uint64_t node_hashed_number(const struct tree *tree, const struct node *folder, struct span name);
/* A number for what this mount makes: not one of the server, and nobody else's. */
uint64_t node_made_number(struct tree *tree);
/* The content is another now. */
void node_new_version(struct tree *tree, struct node *node);
/* This mount changed it. */
void node_touch(struct tree *tree, struct node *node);

/* The name was heard of just now. */
void name_heard(const struct tree *tree, struct name *name, bool believed);
/* The name leads to that node from now on; cookies stay. */
void name_bind(struct tree *tree, struct name *name, struct node *node);
/* Nothing stands there. */
void name_unbind(struct tree *tree, struct name *name);
/* The name is not known any more. */
void name_drop(struct tree *tree, struct name *name);
void name_settle(struct tree *tree, struct name *name);
void name_used(struct tree *tree, struct name *name);
/* Drops names that nobody needs while there is too much in memory. */
void tree_trim(struct tree *tree);

/* ---- in a folder (tree_members.c) ---- */

struct members *members_of(struct tree *tree, struct node *folder); /* NULL: no memory */
struct name *members_find(const struct node *folder, struct span name);
/* Found or made, with a place for its cookie kept. NULL: no memory. */
struct name *members_need(struct tree *tree, struct node *folder, struct span name);
void members_remove(struct tree *tree, struct name *name);
void members_place(struct tree *tree, struct name *name);
void members_displace(struct tree *tree, struct name *name);
/* The index of the first place behind that cookie. */
uint32_t members_behind(const struct members *members, uint64_t cookie);
void members_free(struct tree *tree, struct node *folder);
bool members_listed(const struct node *folder, uint64_t now_ms);

/* ---- answers (tree_note.c) ---- */

struct answer {
        const struct remote_attributes *attributes;
        uint64_t changes;
};
/* *out is what stands at the name now. 0, -ENOENT (removed here meanwhile), -ENOMEM. */
int note_name(struct tree *tree, struct node *folder, struct span name, const struct answer *answer, struct name **out);
/* An answer for the node itself that does not make it another. 0 or -ENOMEM. */
int note_same(struct tree *tree, struct node *node, const struct answer *answer);
void note_gone(struct tree *tree, struct name *name);
/* Whether a path that was made when the count stood there may have led elsewhere. */
bool note_path_moved(const struct tree *tree, const struct node *node, uint64_t changes);
/* Whether this mount changed the name or what it leads to since the answer was asked for. */
bool name_is_newer(const struct name *name, uint64_t changes);

/* ---- views (tree.c) ---- */

void view_name(const struct tree *tree, const struct name *name, uint64_t now_ms, struct tree_view *view);
void view_node(const struct tree *tree, struct node *node, uint64_t until_ms, uint64_t now_ms, struct tree_view *view);
/* Till when a name is believed. */
uint64_t name_until(const struct name *name);

static inline void tree_enter(struct tree *tree)
{
        pthread_mutex_lock(&tree->mutex);
}

static inline void tree_leave(struct tree *tree)
{
        pthread_mutex_unlock(&tree->mutex);
}

/* What malloc() takes for so many bytes, for the bound. */
static inline size_t heap_bytes(size_t size)
{
        return max_of((size + 8 + 15) & ~(size_t)15, (size_t)32);
}

#endif
