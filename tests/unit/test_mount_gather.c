/* What is written to a file and not yet sent. */
#include "mount/block.h"
#include "mount/gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

enum { BLOCK = 16384, MANY = 4 };

static char pattern[4 * BLOCK];

static void write_at(struct gather *gather, uint64_t first, size_t size)
{
        size_t before = gather->held_bytes, cost = gather_cost(gather, first, size);
        assert_int_equal(gather_write(gather, first, pattern + first % BLOCK, size, 1), 0);
        assert_true(gather->held_bytes == before + cost || (cost == 0 && gather->held_bytes < before));
}

static struct extent *only(struct gather *gather)
{
        assert_int_equal(gather->count, 1);
        return container_of(gather->extents.next, struct extent, node);
}

static void assert_extent(const struct extent *extent, uint64_t first, size_t size)
{
        assert_non_null(extent);
        assert_int_equal(extent->first, first);
        assert_int_equal(extent->size, size);
}

static int setup(void **state)
{
        static struct gather gather;
        for (size_t i = 0; i < sizeof pattern; i++)
                pattern[i] = (char)(i * 31 + i / 251);
        gather_init(&gather, BLOCK, MANY);
        *state = &gather;
        return 0;
}

static int teardown(void **state)
{
        struct gather *gather = *state;
        gather_finish(gather);
        assert_int_equal(gather->held_bytes, 0);
        block_trim();
        return 0;
}

static void writes_that_follow_each_other_are_one_extent(void **state)
{
        struct gather *gather = *state;
        for (uint64_t at = 100; at < 5100; at += 100)
                write_at(gather, at, 100);
        assert_extent(only(gather), 100, 5000);
        assert_memory_equal(only(gather)->data, pattern + 100, 5000);
}

static void a_write_between_two_extents_joins_them(void **state)
{
        struct gather *gather = *state;
        write_at(gather, 0, 1000);
        write_at(gather, 2000, 1000);
        assert_int_equal(gather->count, 2);
        write_at(gather, 900, 1100);
        assert_extent(only(gather), 0, 3000);
        assert_memory_equal(only(gather)->data, pattern, 3000);
}

static void a_writer_from_the_end_to_the_start_makes_one_extent(void **state)
{
        struct gather *gather = *state;
        for (uint64_t at = BLOCK; at > 0; at -= 128)
                write_at(gather, at - 128, 128);
        assert_extent(only(gather), 0, BLOCK);
        assert_memory_equal(only(gather)->data, pattern, BLOCK);
}

static void extents_end_at_the_blocks_borders(void **state)
{
        struct gather *gather = *state;
        write_at(gather, BLOCK - 10, BLOCK + 20);
        assert_int_equal(gather->count, 3);
        assert_extent(gather_due(gather, false, UINT64_MAX), BLOCK, BLOCK);
        assert_extent(gather_due(gather, true, UINT64_MAX), BLOCK - 10, 10);
        assert_int_equal(gather_end(gather), 2 * BLOCK + 10);
}

static void the_oldest_is_due_when_there_are_too_many(void **state)
{
        struct gather *gather = *state;
        for (uint64_t i = 0; i < MANY; i++)
                write_at(gather, i * 100, 10);
        assert_null(gather_due(gather, false, UINT64_MAX));
        write_at(gather, 0, 10); /* the first is the youngest now */
        write_at(gather, MANY * 100, 10);
        assert_extent(gather_due(gather, false, UINT64_MAX), 100, 10);
}

/* What is joined with older bytes goes with them. */
static void what_is_begun_later_can_be_left(void **state)
{
        struct gather *gather = *state;
        assert_null(gather_due(gather, true, UINT64_MAX));
        write_at(gather, 0, 10);
        write_at(gather, 100, 10);
        uint64_t writes = gather->writes;
        write_at(gather, 110, 10);
        write_at(gather, 300, 10);
        write_at(gather, BLOCK, BLOCK);
        for (unsigned i = 0; i < 2; i++) {
                struct extent *extent = gather_due(gather, true, writes);
                assert_extent(extent, i * 100, (i + 1) * 10);
                gather_take(gather, extent);
                gather_drop(gather, extent);
        }
        assert_null(gather_due(gather, true, writes));
        assert_null(gather_due(gather, false, writes));
        assert_extent(gather_due(gather, true, UINT64_MAX), 300, 10);
        for (uint64_t i = 0; i < MANY; i++)
                write_at(gather, i * 100, 10);
        assert_null(gather_due(gather, false, writes));
}

static void what_is_written_while_it_is_sent_wins(void **state)
{
        struct gather *gather = *state;
        gather_write(gather, 0, "aaaaaa", 6, 1);
        struct extent *sent = gather_due(gather, true, UINT64_MAX);
        gather_take(gather, sent);
        assert_false(gather_overlaps(gather, 0, 6));
        gather_write(gather, 2, "bb", 2, 2);
        gather_write(gather, 6, "cc", 2, 3);
        assert_int_equal(gather_put_back(gather, sent), 0);
        assert_extent(only(gather), 0, 8);
        assert_memory_equal(only(gather)->data, "aabbaacc", 8);
        assert_int_equal(only(gather)->touched_ms, 3);
}

static void what_is_put_back_is_the_oldest_again(void **state)
{
        struct gather *gather = *state;
        gather_write(gather, 0, "a", 1, 1);
        struct extent *sent = gather_due(gather, true, UINT64_MAX);
        gather_take(gather, sent);
        gather_write(gather, 100, "b", 1, 2);
        assert_int_equal(gather_put_back(gather, sent), 0);
        assert_extent(gather_due(gather, true, 1), 0, 1);
        assert_true(gather->extents.next == &gather_due(gather, true, 1)->node);
}

static void truncation_cuts_and_drops(void **state)
{
        struct gather *gather = *state;
        write_at(gather, 0, 100);
        write_at(gather, 200, 100);
        write_at(gather, 400, 100);
        gather_truncate(gather, 250);
        assert_int_equal(gather->count, 2);
        assert_int_equal(gather_end(gather), 250);
        gather_truncate(gather, 200);
        assert_extent(only(gather), 0, 100);
}

static void little_data_costs_little_memory(void **state)
{
        struct gather *gather = *state;
        write_at(gather, 0, 10);
        assert_int_equal(only(gather)->room, 4096);
        write_at(gather, 10, 4086);
        assert_int_equal(only(gather)->room, 4096);
        write_at(gather, 4096, 1);
        assert_int_equal(only(gather)->room, 8192);
        write_at(gather, BLOCK + BLOCK - 10, 10); /* no more than the block has left */
        assert_int_equal(gather->held_bytes, 2 * sizeof(struct extent) + 8192 + 10);
}

static void who_fills_block_after_block_gets_them_whole(void **state)
{
        struct gather *gather = *state;
        write_at(gather, 0, BLOCK + 1);
        struct extent *full = gather_due(gather, false, UINT64_MAX);
        gather_take(gather, full);
        gather_drop(gather, full);
        assert_extent(only(gather), BLOCK, 1);
        assert_int_equal(only(gather)->room, BLOCK);
}

static void the_overlay_covers_what_is_held_only(void **state)
{
        struct gather *gather = *state;
        char out[11] = "..........";
        gather_write(gather, 12, "abc", 3, 1);
        gather_write(gather, 18, "defgh", 5, 1);
        assert_int_equal(gather_overlay(gather, 10, 10, out), 5);
        assert_string_equal(out, "..abc...de");
        assert_true(gather_overlaps(gather, 14, 1));
        assert_false(gather_overlaps(gather, 15, 3));
        assert_false(gather_overlaps(gather, 14, 0));
}

/* ---- against a model ---- */

enum { FILE_BYTES = 40000, OUT = 3 };

struct model {
        struct gather gather;
        struct random random;
        char value[FILE_BYTES], holds[FILE_BYTES];
        char sent_value[OUT][FILE_BYTES];
        struct extent *out[OUT];
        uint64_t now;
};

static void model_write(struct model *model)
{
        static char bytes[FILE_BYTES];
        uint64_t first = random_below(&model->random, FILE_BYTES);
        uint64_t most = random_below(&model->random, 4) ? 600 : FILE_BYTES;
        size_t size = random_below(&model->random, (uint32_t)min_of(most, FILE_BYTES - first) + 1);
        for (size_t i = 0; i < size; i++)
                bytes[i] = (char)random_next(&model->random);
        size_t before = model->gather.held_bytes, cost = gather_cost(&model->gather, first, size);
        assert_int_equal(gather_write(&model->gather, first, bytes, size, model->now), 0);
        assert_true(model->gather.held_bytes == before + cost || (cost == 0 && model->gather.held_bytes < before));
        memcpy(model->value + first, bytes, size);
        memset(model->holds + first, 1, size);
}

static void model_truncate(struct model *model)
{
        uint64_t size = random_below(&model->random, FILE_BYTES);
        gather_truncate(&model->gather, size);
        memset(model->holds + size, 0, FILE_BYTES - size);
}

static void model_take(struct model *model, unsigned slot)
{
        struct extent *extent = gather_due(&model->gather, random_below(&model->random, 2),
                                           model->gather.writes - random_below(&model->random, 2) * 20);
        if (!extent)
                return;
        gather_take(&model->gather, extent);
        model->out[slot] = extent;
        memcpy(model->sent_value[slot] + extent->first, extent->data, extent->size);
        memset(model->holds + extent->first, 0, extent->size);
}

static void model_return(struct model *model, unsigned slot)
{
        struct extent *extent = model->out[slot];
        model->out[slot] = NULL;
        if (random_below(&model->random, 2)) {
                gather_drop(&model->gather, extent);
                return;
        }
        for (size_t i = extent->first; i < extent->first + extent->size; i++) {
                if (!model->holds[i])
                        model->value[i] = model->sent_value[slot][i];
                model->holds[i] = 1;
        }
        assert_int_equal(gather_put_back(&model->gather, extent), 0);
}

static size_t check_extent(const struct gather *gather, const struct extent *extent)
{
        assert_true(extent->size > 0);
        assert_int_equal(extent->first / BLOCK, (extent->first + extent->size - 1) / BLOCK);
        assert_true(extent->data >= extent->memory);
        assert_true(extent->data + extent->size <= extent->memory + extent->room);
        assert_true(extent->room <= gather->extent_bytes);
        return sizeof *extent + extent->room;
}

/* Neither overlaps nor touches another of the same block, and stands behind those that are older. */
static void check_apart(const struct gather *gather, const struct extent *extent)
{
        for (struct list *node = extent->node.next; node != &gather->extents; node = node->next) {
                const struct extent *other = container_of(node, struct extent, node);
                assert_true(other->touched_ms >= extent->touched_ms);
                if (other->first / BLOCK == extent->first / BLOCK)
                        assert_true(other->first > extent->first + extent->size ||
                                    extent->first > other->first + other->size);
        }
}

static void model_check(struct model *model)
{
        static char out[FILE_BYTES], want[FILE_BYTES];
        const struct gather *gather = &model->gather;
        size_t held = 0, holds = 0;
        unsigned count = 0;
        for (struct list *node = gather->extents.next; node != &gather->extents; node = node->next, count++) {
                held += check_extent(gather, container_of(node, struct extent, node));
                check_apart(gather, container_of(node, struct extent, node));
        }
        for (unsigned i = 0; i < OUT; i++)
                held += model->out[i] ? check_extent(gather, model->out[i]) : 0;
        for (size_t i = 0; i < FILE_BYTES; i++) {
                holds += (size_t)model->holds[i];
                want[i] = model->holds[i] ? model->value[i] : 0;
        }
        memset(out, 0, sizeof out);
        assert_int_equal(gather_overlay(gather, 0, FILE_BYTES, out), holds);
        assert_memory_equal(out, want, FILE_BYTES);
        assert_int_equal(gather->held_bytes, held);
        assert_int_equal(gather->count, count);
}

static void model_step(struct model *model)
{
        unsigned slot = random_below(&model->random, OUT);
        switch (random_below(&model->random, 8)) {
        case 0:
                model_truncate(model);
                break;
        case 1:
        case 2:
        case 3:
                if (model->out[slot])
                        model_return(model, slot);
                else
                        model_take(model, slot);
                break;
        default:
                model_write(model);
        }
}

static void as_the_model(void **state)
{
        static struct model model;
        (void)state;
        for (uint64_t seed = 1; seed <= 20; seed++) {
                memset(&model, 0, sizeof model);
                model.random.state = seed;
                gather_init(&model.gather, BLOCK, MANY);
                for (model.now = 100; model.now < 500; model.now++) {
                        model_step(&model);
                        model_check(&model);
                }
                for (unsigned i = 0; i < OUT; i++)
                        if (model.out[i])
                                gather_drop(&model.gather, model.out[i]);
                gather_finish(&model.gather);
                assert_int_equal(model.gather.held_bytes, 0);
        }
}

/* ---- without memory ---- */

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);

static unsigned left = UINT32_MAX; /* allocations before one fails */

static bool fails(void)
{
        return left != UINT32_MAX && left-- == 0;
}

void *__wrap_malloc(size_t size)
{
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
        return fails() ? NULL : __real_realloc(memory, size);
}

/* Joins two extents of the first block, fills it, and begins the next two. */
static void write_without_memory(struct gather *gather, unsigned allocations)
{
        static char before[4 * BLOCK], after[4 * BLOCK];
        gather_init(gather, BLOCK, MANY);
        write_at(gather, 5000, 10);
        write_at(gather, 9000, 10);
        size_t held = gather_overlay(gather, 0, sizeof before, before);
        left = allocations;
        int result = gather_write(gather, 100, pattern, 2 * BLOCK, 1);
        left = UINT32_MAX;
        if (result == 0)
                return;
        assert_int_equal(result, -ENOMEM);
        assert_int_equal(gather->count, 2);
        assert_int_equal(gather_overlay(gather, 0, sizeof after, after), held);
        assert_memory_equal(after, before, sizeof after);
}

static void a_write_without_memory_changes_nothing(void **state)
{
        struct gather gather;
        (void)state;
        for (unsigned allocations = 0; allocations < 8; allocations++) {
                write_without_memory(&gather, allocations);
                if (allocations == 7)
                        assert_int_equal(gather_end(&gather), 100 + 2 * BLOCK);
                gather_finish(&gather);
                assert_int_equal(gather.held_bytes, 0);
        }
}

static void what_cannot_be_put_back_is_still_out(void **state)
{
        struct gather *gather = *state;
        gather_write(gather, 4000, "a", 1, 1);
        struct extent *sent = gather_due(gather, true, UINT64_MAX);
        gather_take(gather, sent);
        gather_write(gather, 3000, pattern, 1000, 2);
        left = 0;
        assert_int_equal(gather_put_back(gather, sent), -ENOMEM);
        left = UINT32_MAX;
        assert_extent(only(gather), 3000, 1000);
        assert_int_equal(gather_put_back(gather, sent), 0);
        assert_extent(only(gather), 3000, 1001);
}

/* ---- blocks ---- */

static void a_block_keeps_its_bytes_when_its_size_changes(void **state)
{
        static const size_t sizes[] = { 4096, 8192, 256 << 10, 1 << 20, 4 << 20, 128 << 10, 4096 };
        (void)state;
        char *block = block_new(sizes[0]);
        memset(block, 'x', sizes[0]);
        for (unsigned i = 1; i < array_count(sizes); i++) {
                block = block_resize(block, sizes[i - 1], sizes[i]);
                assert_int_equal(block[0], 'x');
                assert_int_equal(block[sizes[0] - 1], 'x');
                block[sizes[i] - 1] = 'x';
        }
        block_free(block, 4096);
}

static void freed_blocks_are_used_again(void **state)
{
        (void)state;
        block_trim();
        void *block = block_new(1 << 20);
        block_free(block, 1 << 20);
        assert_ptr_equal(block_new(1 << 20), block);
        block_free(block, 1 << 20);
        block_trim(); /* it has just been of use */
        assert_ptr_equal(block_new(1 << 20), block);
        block_free(block, 1 << 20);
        block_trim();
        block_trim();
}

static void a_large_write_has_the_whole_block_at_once(void **state)
{
        struct gather *gather = *state;
        size_t large = gather->extent_bytes / 8, extent = gather->extent_bytes;
        char *data = calloc(1, extent);

        memset(data, 'x', extent);
        assert_in_range(gather_cost(gather, 3 * large, large), extent, extent + 4096);
        assert_int_equal(gather_write(gather, 3 * large, data, large, 0), 0);
        for (unsigned i = 1; i < 8; i++) {
                unsigned part = i < 4 ? 3 - i : i;

                assert_int_equal(gather_cost(gather, part * large, large), 0);
                assert_int_equal(gather_write(gather, part * large, data, large, 0), 0);
        }
        assert_int_equal(gather->count, 1);
        assert_int_equal(gather_due(gather, false, UINT64_MAX)->size, extent);
        assert_memory_equal(gather_due(gather, false, UINT64_MAX)->data, data, extent);
        free(data);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(writes_that_follow_each_other_are_one_extent),
                TEST(a_write_between_two_extents_joins_them),
                TEST(a_writer_from_the_end_to_the_start_makes_one_extent),
                TEST(extents_end_at_the_blocks_borders),
                TEST(the_oldest_is_due_when_there_are_too_many),
                TEST(what_is_begun_later_can_be_left),
                TEST(what_is_written_while_it_is_sent_wins),
                TEST(what_is_put_back_is_the_oldest_again),
                TEST(truncation_cuts_and_drops),
                TEST(little_data_costs_little_memory),
                TEST(who_fills_block_after_block_gets_them_whole),
                TEST(the_overlay_covers_what_is_held_only),
                cmocka_unit_test(as_the_model),
                cmocka_unit_test(a_write_without_memory_changes_nothing),
                TEST(what_cannot_be_put_back_is_still_out),
                cmocka_unit_test(a_block_keeps_its_bytes_when_its_size_changes),
                cmocka_unit_test(freed_blocks_are_used_again),
                TEST(a_large_write_has_the_whole_block_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
