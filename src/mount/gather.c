/* The bytes written to a file and not yet sent (gather.h).
 *
 * An extent's memory is a window on its block: it grows to either side by doubling until it is the whole block, so that
 * small files cost little, and bytes never move within it. A write goes in two steps: all its parts get their room,
 * which may fail and changes nothing that is held; then they are filled, which cannot fail.
 */
#include "mount/gather.h"
#include "mount/block.h"

#include <errno.h>
#include <stdlib.h>

enum { ROOM_STEP = 4096, LARGE_PART = 8 /* of an extent: a large write */ };

/* What becomes of one block when [first, end) of it is written: `target` (NULL: a new extent) takes in all that the
 * range overlaps or touches, and holds [first, end) as it stands here, in memory for [window, window + room). */
struct plan {
        struct extent *target;
        uint64_t first, end, window;
        size_t room;
        size_t spared; /* held bytes of the extents that are taken in */
};

void gather_init(struct gather *gather, size_t extent_bytes, unsigned max_extents)
{
        ensure(extent_bytes > 0);
        *gather = (struct gather){ .extent_bytes = extent_bytes, .max_extents = max_extents, .filled = UINT64_MAX };
        list_init(&gather->extents);
}

static struct extent *extent_of(struct list *node)
{
        return container_of(node, struct extent, node);
}

static uint64_t extent_end(const struct extent *extent)
{
        return extent->first + extent->size;
}

/* The byte of the file that the start of its memory stands for. */
static uint64_t extent_window(const struct extent *extent)
{
        return extent->first - (uint64_t)(extent->data - extent->memory);
}

static size_t extent_held(const struct extent *extent)
{
        return sizeof *extent + extent->room;
}

static void extent_leave(struct gather *gather, struct extent *extent)
{
        list_remove(&extent->node);
        gather->count--;
}

static void extent_free(struct gather *gather, struct extent *extent)
{
        gather->held_bytes -= extent_held(extent);
        block_free(extent->memory, extent->room);
        free(extent);
}

static void extent_discard(struct gather *gather, struct extent *extent)
{
        extent_leave(gather, extent);
        extent_free(gather, extent);
}

void gather_finish(struct gather *gather)
{
        while (!list_empty(&gather->extents))
                extent_discard(gather, extent_of(gather->extents.next));
}

/* ---- planning a part of a write: a range within one block ---- */

static uint64_t block_start(const struct gather *gather, uint64_t at)
{
        return at - at % gather->extent_bytes;
}

static bool touches(const struct gather *gather, const struct extent *extent, uint64_t first, uint64_t end)
{
        return extent->first <= end && first <= extent_end(extent) &&
               block_start(gather, extent->first) == block_start(gather, first);
}

/* Room for [first, end) of an extent that has none: the whole block at once for who fills one after the other, or
 * writes much at a time, in whatever order the kernel brings it; its memory is one that was used before, and does not
 * have to grow. */
static void plan_room(const struct gather *gather, struct plan *plan, uint64_t filled)
{
        uint64_t start = block_start(gather, plan->first);
        uint64_t room = plan->end - plan->first + ROOM_STEP - 1;
        bool whole = plan->first == filled || plan->end - plan->first >= gather->extent_bytes / LARGE_PART;
        plan->window = whole ? start : plan->first;
        plan->room = (size_t)(whole ? gather->extent_bytes
                                    : min_of(room - room % ROOM_STEP, start + gather->extent_bytes - plan->first));
}

/* The room that the target has, widened to the side where it does not reach. */
static void plan_growth(const struct gather *gather, struct plan *plan)
{
        uint64_t start = block_start(gather, plan->first), block_end = start + gather->extent_bytes;
        uint64_t window = extent_window(plan->target), end = window + plan->target->room;
        uint64_t doubled = 2 * (uint64_t)plan->target->room;
        if (plan->first < window)
                window = min_of(plan->first, end - min_of(end - start, doubled));
        if (plan->end > end)
                end = max_of(plan->end, min_of(block_end, window + doubled));
        uint64_t room = end - window + ROOM_STEP - 1;
        plan->window = window;
        plan->room = (size_t)min_of(room - room % ROOM_STEP, block_end - window);
}

/* The largest of those touched takes in the others: the fewest bytes are copied. *filled: see struct gather. */
static struct plan plan_part(const struct gather *gather, uint64_t first, uint64_t end, uint64_t *filled)
{
        struct plan plan = { .first = first, .end = end };
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next) {
                struct extent *extent = extent_of(node);
                if (!touches(gather, extent, first, end))
                        continue;
                plan.first = min_of(plan.first, extent->first);
                plan.end = max_of(plan.end, extent_end(extent));
                plan.spared += extent_held(extent);
                if (!plan.target || extent->size > plan.target->size)
                        plan.target = extent;
        }
        if (plan.target) {
                plan.spared -= extent_held(plan.target);
                plan_growth(gather, &plan);
        } else {
                plan_room(gather, &plan, *filled);
        }
        if (plan.end - plan.first == gather->extent_bytes)
                *filled = plan.end;
        return plan;
}

static uint64_t part_end(const struct gather *gather, uint64_t at, uint64_t end)
{
        return min_of(end, block_start(gather, at) + gather->extent_bytes);
}

size_t gather_cost(const struct gather *gather, uint64_t first, size_t size)
{
        size_t more = 0, less = 0;
        uint64_t end = first + size, filled = gather->filled;
        for (uint64_t at = first, next; at < end; at = next) {
                next = part_end(gather, at, end);
                struct plan plan = plan_part(gather, at, next, &filled);
                more += plan.target ? plan.room - plan.target->room : sizeof(struct extent) + plan.room;
                less += plan.spared;
        }
        return more > less ? more - less : 0;
}

/* ---- writing ---- */

/* An extent of no bytes yet. */
static int extent_begin(struct gather *gather, const struct plan *plan)
{
        struct extent *extent = malloc(sizeof *extent);
        char *memory = extent ? block_new(plan->room) : NULL;
        if (!memory) {
                free(extent);
                return -ENOMEM;
        }
        *extent = (struct extent){ .first = plan->first,
                                   .begun = gather->writes,
                                   .data = memory + (plan->first - plan->window),
                                   .memory = memory,
                                   .room = plan->room };
        list_append(&gather->extents, &extent->node);
        gather->count++;
        gather->held_bytes += extent_held(extent);
        return 0;
}

/* Memory for a window that begins earlier: what is held has another place in it. */
static char *moved_into(const struct extent *extent, const struct plan *plan)
{
        char *memory = block_new(plan->room);
        if (memory)
                memcpy(memory + (extent->first - plan->window), extent->data, extent->size);
        if (memory)
                block_free(extent->memory, extent->room);
        return memory;
}

static int extent_widen(struct gather *gather, struct extent *extent, const struct plan *plan)
{
        size_t before = (size_t)(extent->first - plan->window);
        if (plan->room == extent->room)
                return 0;
        bool stays = plan->window == extent_window(extent);
        char *memory = stays ? block_resize(extent->memory, extent->room, plan->room) : moved_into(extent, plan);
        if (!memory)
                return -ENOMEM;
        gather->held_bytes += plan->room - extent->room;
        extent->room = plan->room;
        extent->memory = memory;
        extent->data = memory + before;
        return 0;
}

static int make_room(struct gather *gather, uint64_t first, uint64_t end)
{
        struct plan plan = plan_part(gather, first, end, &gather->filled);
        return plan.target ? extent_widen(gather, plan.target, &plan) : extent_begin(gather, &plan);
}

/* It has room for them. */
static void extent_fill(struct extent *extent, uint64_t first, const char *data, size_t size)
{
        uint64_t window = extent_window(extent), end = max_of(extent_end(extent), first + size);
        memcpy(extent->memory + (first - window), data, size);
        extent->first = min_of(extent->first, first);
        extent->size = (size_t)(end - extent->first);
        extent->data = extent->memory + (extent->first - window);
}

/* What the range touches becomes part of `extent`, over what that has there. */
static void take_in(struct gather *gather, struct extent *extent, uint64_t first, uint64_t end)
{
        for (struct list *node = gather->extents.next, *next; node != &gather->extents; node = next) {
                struct extent *other = extent_of(node);
                next = node->next;
                if (other == extent || !touches(gather, other, first, end))
                        continue;
                extent->touched_ms = max_of(extent->touched_ms, other->touched_ms);
                extent->begun = min_of(extent->begun, other->begun);
                extent_fill(extent, other->first, other->data, other->size);
                extent_discard(gather, other);
        }
}

/* It is the one written to last. */
static void touch(struct gather *gather, struct extent *extent, uint64_t now_ms)
{
        extent->touched_ms = now_ms;
        list_remove(&extent->node);
        list_append(&gather->extents, &extent->node);
}

static void write_part(struct gather *gather, uint64_t first, uint64_t end, const char *data, uint64_t now_ms)
{
        struct extent *extent = plan_part(gather, first, end, &gather->filled).target;
        take_in(gather, extent, first, end);
        extent_fill(extent, first, data, (size_t)(end - first));
        touch(gather, extent, now_ms);
}

/* Those that extent_begin() made for a write that failed. */
static void discard_empty(struct gather *gather)
{
        for (struct list *node = gather->extents.next, *next; node != &gather->extents; node = next) {
                next = node->next;
                if (extent_of(node)->size == 0)
                        extent_discard(gather, extent_of(node));
        }
}

int gather_write(struct gather *gather, uint64_t first, const char *data, size_t size, uint64_t now_ms)
{
        uint64_t end = first + size;
        ensure(end >= first && end <= INT64_MAX);
        gather->writes++;
        for (uint64_t at = first, next; at < end; at = next) {
                next = part_end(gather, at, end);
                if (make_room(gather, at, next) < 0) {
                        discard_empty(gather);
                        return -ENOMEM;
                }
        }
        for (uint64_t at = first, next; at < end; at = next) {
                next = part_end(gather, at, end);
                write_part(gather, at, next, data + (at - first), now_ms);
        }
        return 0;
}

void gather_truncate(struct gather *gather, uint64_t size)
{
        for (struct list *node = gather->extents.next, *next; node != &gather->extents; node = next) {
                struct extent *extent = extent_of(node);
                next = node->next;
                if (extent->first >= size)
                        extent_discard(gather, extent);
                else
                        extent->size = (size_t)(min_of(extent_end(extent), size) - extent->first);
        }
}

/* ---- sending ---- */

/* In the order of the file, which the server has less trouble with. */
static struct extent *first_of(const struct gather *gather, size_t least_bytes, uint64_t writes)
{
        struct extent *found = NULL;
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next) {
                struct extent *extent = extent_of(node);
                if (extent->size >= least_bytes && extent->begun <= writes && (!found || extent->first < found->first))
                        found = extent;
        }
        return found;
}

struct extent *gather_due(const struct gather *gather, bool all, uint64_t writes)
{
        struct extent *first = first_of(gather, all ? 0 : gather->extent_bytes, writes);
        if (first || all || gather->count <= gather->max_extents)
                return first;
        struct extent *oldest = extent_of(gather->extents.next);
        return oldest->begun <= writes ? oldest : NULL;
}

void gather_take(struct gather *gather, struct extent *extent)
{
        extent_leave(gather, extent);
}

void gather_drop(struct gather *gather, struct extent *extent)
{
        ensure(list_empty(&extent->node)); /* it was taken out */
        extent_free(gather, extent);
}

/* Where it belongs by its age. */
static void enter(struct gather *gather, struct extent *extent)
{
        struct list *node = gather->extents.next;
        while (node != &gather->extents && extent_of(node)->touched_ms <= extent->touched_ms)
                node = node->next;
        list_append(node, &extent->node); /* before it */
        gather->count++;
}

/* The room of what is put back, to hold also what was written around it meanwhile. */
static int widen_over_newer(struct gather *gather, struct extent *extent)
{
        struct plan plan = { .target = extent, .first = extent->first, .end = extent_end(extent) };
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next) {
                const struct extent *newer = extent_of(node);
                if (!touches(gather, newer, extent->first, extent_end(extent)))
                        continue;
                plan.first = min_of(plan.first, newer->first);
                plan.end = max_of(plan.end, extent_end(newer));
        }
        plan_growth(gather, &plan);
        return extent_widen(gather, extent, &plan);
}

int gather_put_back(struct gather *gather, struct extent *extent)
{
        ensure(list_empty(&extent->node) && extent->size > 0);
        if (widen_over_newer(gather, extent) < 0)
                return -ENOMEM;
        take_in(gather, extent, extent->first, extent_end(extent));
        enter(gather, extent);
        return 0;
}

/* ---- reading ---- */

size_t extent_overlay(const struct extent *extent, uint64_t first, size_t size, char *out)
{
        uint64_t from = max_of(first, extent->first), end = min_of(first + size, extent_end(extent));
        if (from >= end)
                return 0;
        memcpy(out + (from - first), extent->data + (from - extent->first), (size_t)(end - from));
        return (size_t)(end - from);
}

size_t gather_overlay(const struct gather *gather, uint64_t first, size_t size, char *out)
{
        size_t copied = 0;
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next)
                copied += extent_overlay(extent_of(node), first, size, out);
        return copied;
}

bool gather_overlaps(const struct gather *gather, uint64_t first, size_t size)
{
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next) {
                const struct extent *extent = extent_of(node);
                if (size > 0 && extent->first < first + size && first < extent_end(extent))
                        return true;
        }
        return false;
}

uint64_t gather_end(const struct gather *gather)
{
        uint64_t end = 0;
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next)
                end = max_of(end, extent_end(extent_of(node)));
        return end;
}
