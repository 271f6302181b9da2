/* The timer wheel. A timer lies on the level of the highest group of six bits in which its deadline
 * differs from now, in the slot of the deadline's bits there. So level 0 holds what is due within the
 * current 64 ms, level 1 within the current 4,096 ms, and so on; when time enters a slot of a higher
 * level, its timers are put in anew and land lower. Only the top level wraps round. */
#include "base/base.h"

enum {
        SLOT_BITS = 6,
        SLOT_MASK = WHEEL_SLOTS - 1,
        TOP = WHEEL_LEVELS - 1,
};

/* The farthest deadline, so that a top-level slot never means "a full turn later". */
static const uint64_t FARTHEST_MS = (1ull << (SLOT_BITS * WHEEL_LEVELS)) - (1ull << (SLOT_BITS * TOP));

static unsigned slot_of(uint64_t ms, unsigned level)
{
        return (ms >> (SLOT_BITS * level)) & SLOT_MASK;
}

static unsigned level_of(uint64_t deadline_ms, uint64_t now_ms)
{
        uint64_t differs = deadline_ms ^ now_ms;
        if (differs == 0)
                return 0;
        unsigned level = (63 - (unsigned)__builtin_clzll(differs)) / SLOT_BITS;
        return min_of(level, (unsigned)TOP);
}

static void insert(struct wheel *wheel, struct wheel_timer *timer)
{
        uint64_t at = max_of(timer->deadline_ms, wheel->now_ms);
        unsigned level = level_of(at, wheel->now_ms);
        unsigned slot = slot_of(at, level);
        struct wheel_timer **head = &wheel->slots[level][slot];
        timer->next = *head;
        timer->link = head;
        if (*head)
                (*head)->link = &timer->next;
        *head = timer;
        wheel->occupied[level] |= 1ull << slot;
}

void wheel_init(struct wheel *wheel, uint64_t now_ms)
{
        *wheel = (struct wheel){ .now_ms = now_ms };
}

void wheel_start(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms)
{
        ensure(!wheel_running(timer));
        timer->deadline_ms = min_of(deadline_ms, wheel->now_ms + FARTHEST_MS);
        insert(wheel, timer);
        wheel->count++;
}

/* Takes a timer out of its slot; the slot's bit is cleared when it was the last. */
static void detach(struct wheel *wheel, struct wheel_timer *timer)
{
        *timer->link = timer->next;
        if (timer->next) {
                timer->next->link = timer->link;
        } else {
                struct wheel_timer **first = &wheel->slots[0][0];
                /* Only a slot's head can lie inside the table; then the slot is empty now. */
                if (timer->link >= first && timer->link < first + WHEEL_LEVELS * WHEEL_SLOTS) {
                        size_t index = (size_t)(timer->link - first);
                        wheel->occupied[index / WHEEL_SLOTS] &= ~(1ull << (index % WHEEL_SLOTS));
                }
        }
        timer->next = NULL;
        timer->link = NULL;
}

void wheel_cancel(struct wheel *wheel, struct wheel_timer *timer)
{
        if (!wheel_running(timer))
                return;
        detach(wheel, timer);
        wheel->count--;
}

/* The earliest moment after wheel->now_ms when a slot must be looked at; UINT64_MAX: never. */
static uint64_t next_event(const struct wheel *wheel)
{
        for (unsigned level = 0; level < TOP; level++) {
                unsigned current = slot_of(wheel->now_ms, level);
                uint64_t later = current == SLOT_MASK ? 0 : wheel->occupied[level] >> (current + 1);
                if (!later)
                        continue;
                unsigned shift = SLOT_BITS * level;
                uint64_t start = wheel->now_ms >> shift;
                return (start + 1 + (unsigned)__builtin_ctzll(later)) << shift;
        }
        unsigned current = slot_of(wheel->now_ms, TOP);
        uint64_t bits = wheel->occupied[TOP];
        uint64_t turned = current ? bits >> current | bits << (WHEEL_SLOTS - current) : bits;
        turned &= ~1ull;
        if (!turned)
                return UINT64_MAX;
        return ((wheel->now_ms >> (SLOT_BITS * TOP)) + (unsigned)__builtin_ctzll(turned)) << (SLOT_BITS * TOP);
}

/* Time has entered slot `slot` of `level`: its timers are put in anew. */
static void cascade(struct wheel *wheel, unsigned level, unsigned slot)
{
        struct wheel_timer *timer = wheel->slots[level][slot];
        wheel->slots[level][slot] = NULL;
        wheel->occupied[level] &= ~(1ull << slot);
        while (timer) {
                struct wheel_timer *next = timer->next;
                insert(wheel, timer);
                timer = next;
        }
}

static void enter(struct wheel *wheel, uint64_t ms)
{
        wheel->now_ms = ms;
        for (unsigned level = TOP; level > 0; level--) {
                uint64_t below = (1ull << (SLOT_BITS * level)) - 1;
                if ((ms & below) == 0)
                        cascade(wheel, level, slot_of(ms, level));
        }
}

struct wheel_timer *wheel_expire(struct wheel *wheel, uint64_t now_ms)
{
        for (;;) {
                struct wheel_timer *timer = wheel->slots[0][slot_of(wheel->now_ms, 0)];
                if (timer) {
                        wheel_cancel(wheel, timer);
                        return timer;
                }
                if (wheel->now_ms >= now_ms)
                        return NULL;
                uint64_t event = next_event(wheel);
                enter(wheel, min_of(event, now_ms));
        }
}

int64_t wheel_next_ms(const struct wheel *wheel, uint64_t now_ms)
{
        if (wheel->count == 0)
                return -1;
        if (wheel->slots[0][slot_of(wheel->now_ms, 0)])
                return 0;
        uint64_t event = next_event(wheel);
        return event <= now_ms ? 0 : (int64_t)(event - now_ms);
}
