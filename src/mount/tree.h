/* tree: what is known of the server's files: nodes (files), names (of nodes in folders), and for how long that holds.
 *
 *   name ── in a folder ──► node        a name without a node: known not to exist
 *   node ── its names (several: hard links; none: removed while still open)
 *
 * The kernel's inode numbers of FUSE ("nodeid") are addresses of nodes; the root is FUSE_ROOT_ID. A node lives while
 * the kernel knows it (lookups), somebody holds it (pins) or a name leads to it. Names and nodes that nobody else
 * knows are kept for a repetition and dropped, least recently used first, when they come to more than the bound in
 * bytes.
 *
 * Any thread; one mutex, held for memory only, never over a request. Between asking the server and noting its answer
 * this mount may have changed what was asked for, and the answer be older than the change: so who asks takes the count
 * of changes before (tree_changes) and gives it with the answer; what was changed since is known better. Attributes of
 * a node that is being written (see tree_own) are this mount's: answers do not touch its size, time and tag.
 */
#ifndef MOUNT_TREE_H
#define MOUNT_TREE_H

#include "mount/remote.h"

struct tree;
struct node;
struct file; /* file.h; belongs to a node while it is open or has data to be sent */

enum { TREE_NAME_BYTES = 256 }; /* with its NUL */

struct tree_options {
        unsigned ttl_ms;    /* how long an answer holds; see also tree_distrust() */
        size_t limit_bytes; /* names and nodes; what the kernel knows or is pinned counts and is never dropped */
        uint16_t file_mode, folder_mode;
};

/* What a caller sees of a node: a copy. */
struct tree_view {
        struct node *node;
        struct remote_attributes attributes;
        uint64_t inode;   /* st_ino: the server's number; where there is none yet or at all, one of our own */
        unsigned ttl_ms;  /* for how long it may be believed; 0: ask again each time */
        uint64_t version; /* moves whenever the content is not what it was; for the kernel's page cache */
};

int tree_create(struct tree **tree, const struct tree_options *options, const struct remote_attributes *root);
void tree_destroy(struct tree *tree);

struct node *tree_root(struct tree *tree);

/* ---- pins: for as long as something is done with a node ---- */

void tree_pin(struct tree *tree, struct node *node);
void tree_unpin(struct tree *tree, struct node *node);

/* The kernel's own: taken by tree_find() and the like where `lookup` says so. */
void tree_forget(struct tree *tree, struct node *node, uint64_t count);

/* ---- paths ---- */

/* The path of a node, or of `name` (NULL: none) in a folder, into `out`. 0; -ESTALE it has no name any more;
 * -ENAMETOOLONG. */
int tree_path(struct tree *tree, struct node *node, const char *name, char out[REMOTE_PATH_BYTES]);

/* ---- what is known ---- */

enum tree_known { TREE_PRESENT, TREE_ABSENT, TREE_UNKNOWN };

/* What is known of `name` in a folder. With `lookup` a node of TREE_PRESENT counts one lookup more; without,
 * view->node is for comparing only. For TREE_ABSENT *view has ttl_ms only; for TREE_UNKNOWN what was last known, node
 * NULL if nothing. */
enum tree_known tree_find(struct tree *tree, struct node *folder, const char *name, bool lookup,
                          struct tree_view *view);

/* What is known of a node itself; TREE_UNKNOWN: its attributes (in *view all the same) have outlived their time. */
enum tree_known tree_look(struct tree *tree, struct node *node, struct tree_view *view);

/* To be taken before asking the server about a folder, a name in it, or a node, and given with the answer. What this
 * mount has changed meanwhile (the very name or node: by what stands further below, tree_own(), tree_update(),
 * tree_distrust() and the like) is newer than the answer. */
uint64_t tree_changes(struct tree *tree, struct node *node);

/* The server's answer for a name. Makes the node if there is none, or if the one there is has become another file
 * (other inode or kind), or has changed while nobody has it open here (so that the kernel, which keeps size and time
 * for itself with writeback caching, starts anew). An open one that changed gets the new attributes and `changed`
 * (below). 0; -ENOENT: this mount has removed it since it was asked for; -ENAMETOOLONG, -ENOMEM. */
int tree_note(struct tree *tree, struct node *folder, const char *name, const struct remote_attributes *attributes,
              uint64_t changes, bool lookup, struct tree_view *view);
/* The same for a node: an answer for its path. -ESTALE when it is another file now, so that the node has lost its
 * name. */
int tree_note_node(struct tree *tree, struct node *node, const struct remote_attributes *attributes, uint64_t changes,
                   struct tree_view *view);
/* The server knows no such name. */
void tree_note_absent(struct tree *tree, struct node *folder, const char *name, uint64_t changes);

/* Attributes and listing are to be asked anew at the next need. A seam for the server's feed of changes: with it ttl_ms
 * may be long, and each thing that is told comes here. */
void tree_distrust(struct tree *tree, struct node *node);

/* ---- listings ----
 *
 * A folder's listing is known for ttl_ms once tree_listing_end() said so, and for as long as asking for it took where
 * that is more (or who goes through 100,000 names would do nothing but ask); then a name that is not there is absent.
 * Each name has a cookie that is its own as long as it is there and larger than those of names that came before, so
 * that readdir() goes on where it was whatever happens meanwhile. */

struct tree_listing {
        struct node *folder;
        uint64_t changes, round, began_ms;
        uint64_t path_changes; /* as they stood before its path was made */
};

/* Before its path is made: what comes by it when the folder has another one by then is of another folder, perhaps, and
 * not taken. */
void tree_listing_begin(struct tree *tree, struct node *folder, struct tree_listing *listing);
/* It begins anew (a second attempt). */
void tree_listing_restart(struct tree *tree, struct tree_listing *listing);
int tree_listing_add(struct tree *tree, struct tree_listing *listing, struct span name,
                     const struct remote_attributes *attributes);
/* Names that the listing did not have are gone, unless they were changed here meanwhile. `complete` false: it failed
 * on the way, nothing is concluded. False: the folder has another path by now, and none of it was. */
bool tree_listing_end(struct tree *tree, struct tree_listing *listing, bool complete);

/* Whether the listing is known and may still be believed. */
bool tree_listed(struct tree *tree, struct node *folder);

struct tree_member {
        uint64_t cookie;
        char name[TREE_NAME_BYTES];
        struct tree_view view;
};
/* The first name behind `cookie` (0: from the start); with `lookup` its node counts one lookup more. False: no more.
 * O(log n). Names that begin with DAV_BERTH_UNLINKED are left out. */
bool tree_next(struct tree *tree, struct node *folder, uint64_t cookie, bool lookup, struct tree_member *member);
/* The highest cookie so far. Readers stop there, or who renames each file that it finds would never come to an end. A
 * reader pins its folder, so that no name is dropped from memory and comes back with another cookie. */
uint64_t tree_last_cookie(struct tree *tree, struct node *folder);

/* ---- who goes from file to file ---- */

/* Files one behind the other in their folder, by the first of their names. */
enum tree_order { TREE_AS_LISTED, TREE_BY_NAME, TREE_ORDERS };
struct tree_sibling {
        struct node *node; /* pinned */
        uint64_t size;     /* bytes */
        char tag[CLIENT_TAG_BYTES];
};
/* Whether `node` stands in the folder of `before` and behind it. */
bool tree_follows(struct tree *tree, const struct node *before, const struct node *node, enum tree_order order);
/* Files next behind `node`, in their order, of 1 to `most_bytes` bytes and a strong tag, that nobody has open here. At
 * most `room`, and 32; how many. */
size_t tree_siblings(struct tree *tree, struct node *node, enum tree_order order, uint64_t most_bytes,
                     struct tree_sibling *out, size_t room);

/* ---- who walks from folder to folder ---- */

/* Somebody begins to read a folder. True when its parent was read just now, too: it walks. */
bool tree_reads(struct tree *tree, struct node *folder);
/* The next `distance` folders that a walk in depth will come to after this one: those whose listing is not known,
 * pinned. Returns how many, at most `room`. */
size_t tree_ahead(struct tree *tree, struct node *folder, size_t distance, struct node **out, size_t room);
/* A name in the folder has to be asked for. Not 0 when it seems better to list all of it, as long as there are not
 * more members than that: others were asked for in the last second (with `eager` at once), in proportion to what is in
 * it. */
size_t tree_misses(struct tree *tree, struct node *folder, bool eager);
/* A listing was broken off behind so many members. SIZE_MAX: it failed, and is not tried again but for readers. */
void tree_broke_off(struct tree *tree, struct node *folder, size_t members);

enum { TREE_SHORT_LISTING = 4096 }; /* members: what is longer is not listed ahead */

/* ---- what this mount changes: known at once ---- */

/* A new file, folder or link; whatever stood at the name is not it. As tree_note(), the listing of the folder stays. A
 * new folder's listing is known to be empty (`empty`). Without a time (both 0) it is now, until the server tells. */
int tree_made(struct tree *tree, struct node *folder, const char *name, const struct remote_attributes *attributes,
              bool lookup, bool empty, struct tree_view *view);
/* The name is gone (unlink, rmdir). */
void tree_removed(struct tree *tree, struct node *folder, const char *name);
/* rename(): what was at the new name is gone. -EINVAL: below itself; -ENOMEM: both names are asked for at the next
 * need. */
int tree_renamed(struct tree *tree, struct node *from, const char *name, struct node *to, const char *new_name);
/* A further name for a node; links grows by one. */
int tree_linked(struct tree *tree, struct node *node, struct node *folder, const char *name, bool lookup,
                struct tree_view *view);

/* ---- files that are open or being written: called by file.c ---- */

/* The file of a node; NULL: none. Setting it pins nothing. */
struct file *tree_file(struct tree *tree, struct node *node);
void tree_set_file(struct tree *tree, struct node *node, struct file *file);
/* The nodes below a folder that have a file: an array to be freed, each one pinned. 0 or -ENOMEM. */
int tree_pin_open(struct tree *tree, struct node *folder, struct node ***nodes, size_t *count);

/* From now on size, time and tag are this mount's (there is data that the server does not have yet). */
void tree_own(struct tree *tree, struct node *node);
/* The server has all of it; `attributes` are true now. */
void tree_disown(struct tree *tree, struct node *node);

struct tree_update { /* what is to be taken over */
        bool has_size, has_mtime, has_mode, has_tag, has_inode, has_links;
        uint64_t size, inode;
        int64_t mtime_s;
        uint32_t mtime_ns, links;
        uint16_t mode;
        const char *tag;
        bool same_content; /* the tag moved by what this mount wrote: `version` stays */
};
void tree_update(struct tree *tree, struct node *node, const struct tree_update *update);
static inline struct tree_update tree_update_of(const struct remote_times_and_mode *with)
{
        return (struct tree_update){
                .has_mode = with->has_mode,
                .mode = with->mode,
                .has_mtime = with->has_mtime,
                .mtime_s = with->mtime_s,
                .mtime_ns = with->mtime_ns,
        };
}

/* Whether the node's attributes changed on the server while it was open, since this was last asked. */
bool tree_take_changed(struct tree *tree, struct node *node);

/* The kernel, which knows a size for itself, may know more of it than there is now, and cannot be told: with the server's
 * next answer, once nobody has it open here, the node is another. */
void tree_outgrown(struct tree *tree, struct node *node);
/* It is so, and nobody has it open: it is to be looked up before it is opened again. */
bool tree_is_outgrown(struct tree *tree, struct node *node);

/* What was written to it could not be sent, and the kernel has it in its memory: with the server's next answer the node is
 * another. `error` (0: it has been told; a conflict becomes EIO) is for who comes next, once, also to that one; and for who asks
 * for the folder. */
void tree_lost(struct tree *tree, struct node *node, int error);
/* 0: there was none. */
int tree_take_failure(struct tree *tree, struct node *node);

struct tree_counters {
        uint64_t names, nodes, bytes; /* at present */
        uint64_t hits, misses;        /* of tree_find() and tree_look() */
};
void tree_count(struct tree *tree, struct tree_counters *counters);

#endif
