/* What stood in folders that are asked for again and again, so that not each member is looked at each time.
 *
 * A folder listed a second time within AGAIN_MS is noted down while it is read. It counts for STORE_TRUST_MS from then
 * on, and only as long as the system tells of no change in it: a watch made before the first member was read ends with the
 * first change, so what changes all the time costs nothing more. Beyond what inotify(7) tells (writes to mapped
 * memory, or by another machine) a snapshot is as old as STORE_TRUST_MS allows for, like a file that is known (cache.c).
 *
 *   listed once --> recent --listed again--> noted down --whole, and unchanged--> kept --an event, or its age--> gone
 *
 * Who reads one has a reference and may be slow, so all that is alive counts: beyond the bound nothing is noted down.
 * Of members only those that nothing else can change are believed (store_snapshot_note()).
 */
#include "store/store_priv.h"

#include <stdlib.h>

enum {
        KEPT = 16,
        RECENT = 64,
        AGAIN_MS = 10000,
        FIRST_BYTES = 64 << 10,
        NOTE_ALIGN = 8,
};

/* A member, with its name behind; the next one begins at a multiple of its alignment. */
struct note {
        struct store_state state;
        uint32_t bytes;
        char name[];
};

struct store_snapshot {
        struct store_snapshots *all;
        uint64_t device, inode, since_ms;
        struct timespec modified, changed; /* the folder's own */
        int watch;
        unsigned references; /* the table's, the reader's and the writer's */
        bool whole, stale, too_large;
        uint32_t used, room;
        char *notes;
};

struct recent {
        uint64_t device, inode, listed_ms;
};

struct store_snapshots {
        pthread_mutex_t lock; /* protects all but the notes of a snapshot, which are its writer's until it is whole */
        int watches;          /* < 0: nothing tells of changes, so nothing is kept */
        unsigned next_recent;
        size_t bytes, most; /* of all that are alive, and what they may come to */
        struct store_snapshot *kept[KEPT];
        struct recent recent[RECENT];
};

/* ---- life ---- */

struct store_snapshots *store_snapshots_create(void)
{
        struct store_snapshots *all = calloc(1, sizeof(*all));

        if (!all)
                return NULL;
        pthread_mutex_init(&all->lock, NULL);
        all->most = STORE_SNAPSHOT_BYTES;
        all->watches = store_watch_create();
        return all;
}

void store_snapshots_bound(struct store_snapshots *all, size_t bytes)
{
        all->most = bytes;
}

/* Locked. */
static void release(struct store_snapshot *snapshot)
{
        if (--snapshot->references > 0)
                return;
        snapshot->all->bytes -= snapshot->room;
        free(snapshot->notes);
        free(snapshot);
}

static void forget(struct store_snapshots *all, unsigned place)
{
        struct store_snapshot *snapshot = all->kept[place];

        store_watch_remove(all->watches, snapshot->watch); /* mostly gone with its event */
        all->kept[place] = NULL;
        release(snapshot);
}

void store_snapshots_destroy(struct store_snapshots *all)
{
        if (!all)
                return;
        for (unsigned i = 0; i < KEPT; i++)
                if (all->kept[i])
                        forget(all, i);
        ensure(all->bytes == 0);
        if (all->watches >= 0)
                store_close(all->watches);
        pthread_mutex_destroy(&all->lock);
        free(all);
}

/* ---- changes ---- */

/* -1: of which watches is not known. */
static void changed(void *context, int watch)
{
        struct store_snapshots *all = context;

        for (unsigned i = 0; i < KEPT; i++)
                if (all->kept[i] && (all->kept[i]->watch == watch || watch < 0))
                        all->kept[i]->stale = true;
}

/* ---- finding ---- */

static bool is_of(const struct store_snapshot *snapshot, const struct store_state *folder)
{
        return snapshot && snapshot->device == folder->device && snapshot->inode == folder->inode;
}

static bool is_trusted(const struct store_snapshot *snapshot, const struct store_state *folder, uint64_t now)
{
        return !snapshot->stale && now - snapshot->since_ms <= STORE_TRUST_MS &&
               store_same_time(&snapshot->modified, &folder->modified) &&
               store_same_time(&snapshot->changed, &folder->changed);
}

/* Whether it was listed a short while ago; from now on it was. */
static bool is_recent(struct store_snapshots *all, const struct store_state *folder, uint64_t now)
{
        for (unsigned i = 0; i < RECENT; i++) {
                struct recent *recent = &all->recent[i];

                if (recent->device == folder->device && recent->inode == folder->inode && recent->listed_ms > 0) {
                        bool again = now - recent->listed_ms <= AGAIN_MS;

                        recent->listed_ms = now;
                        return again;
                }
        }
        all->recent[all->next_recent++ % RECENT] =
                (struct recent){ .device = folder->device, .inode = folder->inode, .listed_ms = now };
        return false;
}

/* A free place, or that of the oldest which is whole; KEPT: there is none. */
static unsigned find_place(struct store_snapshots *all)
{
        unsigned oldest = KEPT;

        for (unsigned i = 0; i < KEPT; i++) {
                if (!all->kept[i])
                        return i;
                if (all->kept[i]->whole && (oldest == KEPT || all->kept[i]->since_ms < all->kept[oldest]->since_ms))
                        oldest = i;
        }
        if (oldest < KEPT)
                forget(all, oldest);
        return oldest;
}

/* Empty, with a watch, and references for the table and the caller. */
static struct store_snapshot *begin(struct store_snapshots *all, int descriptor, const struct store_state *folder,
                                    uint64_t now)
{
        unsigned place = find_place(all);
        struct store_snapshot *snapshot = place < KEPT ? calloc(1, sizeof(*snapshot)) : NULL;

        if (!snapshot)
                return NULL;
        *snapshot = (struct store_snapshot){
                .all = all,
                .device = folder->device,
                .inode = folder->inode,
                .since_ms = now,
                .modified = folder->modified,
                .changed = folder->changed,
                .references = 2,
                .watch = store_watch_add_folder(all->watches, descriptor),
        };
        if (snapshot->watch < 0) {
                free(snapshot);
                return NULL;
        }
        all->kept[place] = snapshot;
        return snapshot;
}

struct store_snapshot *store_snapshot_open(struct store_snapshots *all, int descriptor,
                                           const struct store_state *folder, bool *whole)
{
        struct store_snapshot *found = NULL;
        uint64_t now = clock_ms();
        unsigned place = 0;

        if (all->watches < 0)
                return NULL;
        pthread_mutex_lock(&all->lock);
        store_watch_read(all->watches, changed, all); /* one of each watch at most */
        while (place < KEPT && !is_of(all->kept[place], folder))
                place++;
        if (place < KEPT && is_trusted(all->kept[place], folder, now)) {
                found = all->kept[place]->whole ? all->kept[place] : NULL; /* else somebody is at it */
                if (found)
                        found->references++;
        } else {
                if (place < KEPT)
                        forget(all, place);
                if (is_recent(all, folder, now))
                        found = begin(all, descriptor, folder, now);
        }
        *whole = found && found->whole;
        pthread_mutex_unlock(&all->lock);
        return found;
}

/* ---- writing and reading ---- */

/* Locked only now and then: room doubles. */
static bool make_room(struct store_snapshot *snapshot, uint32_t bytes)
{
        uint32_t room = snapshot->room ? snapshot->room : FIRST_BYTES;
        struct store_snapshots *all = snapshot->all;
        char *notes = NULL;

        while (room < snapshot->used + bytes)
                room *= 2;
        if (room == snapshot->room)
                return true;
        pthread_mutex_lock(&all->lock);
        if (room <= all->most / 2 && all->bytes + room - snapshot->room <= all->most)
                notes = realloc(snapshot->notes, room);
        if (notes) {
                snapshot->notes = notes;
                all->bytes += room - snapshot->room;
                snapshot->room = room;
        }
        pthread_mutex_unlock(&all->lock);
        return notes != NULL;
}

void store_snapshot_note(struct store_snapshot *snapshot, const char *name, const struct store_state *state)
{
        size_t size = strlen(name) + 1;
        uint32_t bytes = (uint32_t)((sizeof(struct note) + size + NOTE_ALIGN - 1) / NOTE_ALIGN * NOTE_ALIGN);
        struct note *note;

        if (snapshot->too_large || !make_room(snapshot, bytes)) {
                snapshot->too_large = true;
                return;
        }
        note = (struct note *)(void *)(snapshot->notes + snapshot->used);
        note->state = *state;
        note->bytes = bytes;
        memcpy(note->name, name, size);
        snapshot->used += bytes;
}

const char *store_snapshot_next(const struct store_snapshot *snapshot, uint32_t *at, const struct store_state **state)
{
        const struct note *note = (const void *)(snapshot->notes + *at);

        if (*at >= snapshot->used)
                return NULL;
        *at += note->bytes;
        *state = note->state.kind == STORE_IS_FILE && note->state.links == 1 ? &note->state : NULL;
        return note->name;
}

void store_snapshot_close(struct store_snapshot *snapshot, bool whole)
{
        struct store_snapshots *all = snapshot->all;

        pthread_mutex_lock(&all->lock);
        if (!snapshot->whole && whole && !snapshot->too_large)
                snapshot->whole = true;
        else if (!snapshot->whole)
                for (unsigned i = 0; i < KEPT; i++)
                        if (all->kept[i] == snapshot)
                                forget(all, i);
        release(snapshot);
        pthread_mutex_unlock(&all->lock);
}
