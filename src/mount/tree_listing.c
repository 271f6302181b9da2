/* Listings of folders, reading them, and who walks from folder to folder. */
#include "dav/dav.h"
#include "mount/tree_inner.h"

enum {
        WALK_MS = 1000,          /* who reads folders at this pace walks */
        MAX_DEPTH = 32,          /* of folders within folders, looked ahead */
        MAX_STEPS = 20000,       /* names looked at for one look ahead */
        MEMBERS_PER_MISS = 1000, /* a listing of so many is worth one name that is asked for */
};

void tree_listing_begin(struct tree *tree, struct node *folder, struct tree_listing *listing)
{
        tree_enter(tree);
        if (folder->pins++ == 0) /* or names could be dropped before the listing is at its end */
                node_settle(tree, folder);
        *listing = (struct tree_listing){ .folder = folder, .changes = tree->changes, .round = ++tree->rounds };
        listing->began_ms = clock_ms();
        listing->path_changes = listing->changes;
        tree_leave(tree);
}

void tree_listing_restart(struct tree *tree, struct tree_listing *listing)
{
        tree_enter(tree);
        listing->changes = tree->changes;
        listing->round = ++tree->rounds;
        tree_leave(tree);
}

/* What no file system has is left out. */
static bool fits(struct span name)
{
        return name.size < TREE_NAME_BYTES && !memchr(name.data, '/', name.size) &&
               !memchr(name.data, '\0', name.size) && !span_equal(name, SPAN(".")) && !span_equal(name, SPAN(".."));
}

int tree_listing_add(struct tree *tree, struct tree_listing *listing, struct span bytes,
                     const struct remote_attributes *attributes)
{
        struct answer answer = { attributes, listing->changes };
        struct name *name;
        int error = 0;
        if (!fits(bytes))
                return 0;
        tree_enter(tree);
        bool moved = note_path_moved(tree, listing->folder, listing->path_changes);
        if (!moved && bytes.size > 0) {
                error = note_name(tree, listing->folder, bytes, &answer, &name);
                tree_trim(tree);
        } else if (!moved && attributes->kind == REMOTE_FOLDER) {
                error = note_same(tree, listing->folder, &answer);
        }
        tree_leave(tree);
        return error == -ENOENT ? 0 : error;
}

/* What was seen holds from now on, not from when it came: the first ones would be over before the last have come. */
static void prolong(struct name *name, uint64_t until_ms)
{
        if (name->until_ms)
                name->until_ms = max_of(name->until_ms, until_ms);
        if (name->node->until_ms)
                name->node->until_ms = max_of(name->node->until_ms, until_ms);
}

/* O(n): each name that stands there was seen in this listing or later, or is this mount's own, or is gone. */
static void conclude(struct tree *tree, const struct tree_listing *listing, uint64_t until_ms)
{
        struct members *members = listing->folder->members;
        for (uint32_t i = 0; i < members->bucket_count; i++)
                for (struct name *name = members->buckets[i]; name; name = name->next) {
                        if (name->node && name->round >= listing->round)
                                prolong(name, until_ms);
                        else if (name->node && !name_is_newer(name, listing->changes))
                                note_gone(tree, name);
                }
}

/* ttl_ms, or as long as it took; but what is not to be believed at all is not. */
static uint64_t listing_until(const struct tree *tree, const struct tree_listing *listing)
{
        uint64_t now = clock_ms(), ttl = tree->options.ttl_ms;
        return ttl == 0 ? now : now + max_of(ttl, now - listing->began_ms);
}

bool tree_listing_end(struct tree *tree, struct tree_listing *listing, bool complete)
{
        struct node *folder = listing->folder;
        tree_enter(tree);
        bool moved = note_path_moved(tree, folder, listing->path_changes);
        struct members *members = complete && !moved ? members_of(tree, folder) : NULL;
        if (members) {
                uint64_t until = listing_until(tree, listing);
                conclude(tree, listing, until);
                members->size = 0;
                if (members->forgotten <= listing->changes)
                        members->listed_until_ms = until;
        }
        ensure(folder->pins > 0);
        if (--folder->pins == 0)
                node_settle(tree, folder);
        tree_trim(tree);
        tree_leave(tree);
        return !moved;
}

bool tree_listed(struct tree *tree, struct node *folder)
{
        tree_enter(tree);
        bool listed = members_listed(folder, clock_ms());
        tree_leave(tree);
        return listed;
}

/* ---- reading ---- */

static bool hidden(const struct name *name)
{
        struct span prefix = SPAN(DAV_BERTH_UNLINKED);
        return name->size >= prefix.size && memcmp(name->bytes, prefix.data, prefix.size) == 0;
}

static struct name *next_name(const struct members *members, uint64_t cookie)
{
        for (uint32_t i = members_behind(members, cookie); i < members->place_count; i++) {
                struct name *name = members->places[i].name;
                if (name && !hidden(name))
                        return name;
        }
        return NULL;
}

bool tree_next(struct tree *tree, struct node *folder, uint64_t cookie, bool lookup, struct tree_member *member)
{
        tree_enter(tree);
        struct name *name = folder->members ? next_name(folder->members, cookie) : NULL;
        if (name) {
                member->cookie = name->cookie;
                memcpy(member->name, name->bytes, name->size + 1);
                view_name(tree, name, clock_ms(), &member->view);
                if (lookup && name->node->lookups++ == 0)
                        node_settle(tree, name->node);
        }
        tree_leave(tree);
        return name != NULL;
}

uint64_t tree_last_cookie(struct tree *tree, struct node *folder)
{
        tree_enter(tree);
        uint64_t last = folder->members ? folder->members->last_cookie : 0;
        tree_leave(tree);
        return last;
}

/* ---- walks ---- */

static bool read_lately(const struct node *folder, uint64_t now)
{
        return folder->members && folder->members->read_ms && now - folder->members->read_ms < WALK_MS;
}

bool tree_reads(struct tree *tree, struct node *folder)
{
        uint64_t now = clock_ms();
        tree_enter(tree);
        struct node *parent = folder->names ? folder->names->folder : NULL;
        bool walks = parent && read_lately(parent, now);
        struct members *members = members_of(tree, folder);
        if (members)
                members->read_ms = now;
        /* The walker comes back to it for the next one, however long it was below. */
        if (walks)
                parent->members->read_ms = now;
        tree_leave(tree);
        return walks;
}

struct ahead_search {
        struct tree *tree;
        struct node **out;
        size_t found, room, distance;
        unsigned steps;
        uint64_t now;
};

static uint32_t size_of(const struct members *members)
{
        return max_of(members->size, members->place_count - members->gone);
}

static bool search_on(struct ahead_search *s)
{
        return s->distance > 0 && s->found < s->room && s->steps > 0;
}

/* Folders behind that cookie, in the order in which a walk in depth comes to them. */
static void search(struct ahead_search *s, struct node *folder, uint64_t cookie, unsigned depth)
{
        const struct members *members = folder->members;
        if (!members || depth == 0)
                return;
        for (uint32_t i = members_behind(members, cookie); i < members->place_count && search_on(s); i++) {
                struct name *name = members->places[i].name;
                s->steps--;
                if (!name || name->node->kind != REMOTE_FOLDER)
                        continue;
                s->distance--;
                struct node *node = name->node;
                if (members_listed(node, s->now)) {
                        search(s, node, 0, depth - 1);
                } else if (!node->members || size_of(node->members) < TREE_SHORT_LISTING) {
                        if (node->pins++ == 0)
                                node_settle(s->tree, node);
                        s->out[s->found++] = node;
                }
        }
}

size_t tree_ahead(struct tree *tree, struct node *folder, size_t distance, struct node **out, size_t room)
{
        struct ahead_search s = { tree, out, 0, room, distance, MAX_STEPS, clock_ms() };
        tree_enter(tree);
        search(&s, folder, 0, MAX_DEPTH);
        for (unsigned i = 0; i < MAX_DEPTH && folder->names && search_on(&s); i++) {
                uint64_t cookie = folder->names->cookie;
                folder = folder->names->folder;
                search(&s, folder, cookie, MAX_DEPTH);
        }
        tree_leave(tree);
        return s.found;
}

/* ---- names that had to be asked for ---- */

size_t tree_misses(struct tree *tree, struct node *folder, bool eager)
{
        uint64_t now = clock_ms();
        size_t limit = 0;
        tree_enter(tree);
        struct members *members = members_of(tree, folder);
        if (members) {
                if (now - members->missed_ms >= WALK_MS)
                        members->misses = 0;
                members->missed_ms = now;
                members->misses++;
                if (members->misses > size_of(members) / MEMBERS_PER_MISS + !eager)
                        limit = max_of(2 * (size_t)MEMBERS_PER_MISS * members->misses, (size_t)TREE_SHORT_LISTING);
        }
        tree_leave(tree);
        return limit;
}

void tree_broke_off(struct tree *tree, struct node *folder, size_t size)
{
        tree_enter(tree);
        struct members *members = members_of(tree, folder);
        if (members)
                members->size = (uint32_t)min_of(size, (size_t)UINT32_MAX);
        tree_leave(tree);
}
