/* Slabs: objects of one size in segments. */
#include "help.h"

static void objects_are_distinct_and_aligned(void **state)
{
        (void)state;
        struct slab slab;
        char *objects[100];

        assert_int_equal(slab_init(&slab, 64, 16, 100), 0);
        for (int i = 0; i < 100; i++) {
                objects[i] = slab_take(&slab);
                assert_non_null(objects[i]);
                assert_int_equal((uintptr_t)objects[i] % 64, 0);
                memset(objects[i], i, 64);
        }
        for (int i = 0; i < 100; i++) {
                for (int at = 0; at < 64; at++)
                        assert_int_equal(objects[i][at], i);
                slab_give(&slab, objects[i]);
        }
        slab_finish(&slab);
}

static void the_limit_holds_and_what_comes_back_is_given_again(void **state)
{
        (void)state;
        struct slab slab;
        void *objects[10];

        /* neither a multiple of the segment nor of eight */
        assert_int_equal(slab_init(&slab, 13, 4, 10), 0);
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 10; i++)
                        assert_non_null(objects[i] = slab_take(&slab));
                assert_null(slab_take(&slab));
                assert_int_equal(slab.used, 10);
                for (int i = 0; i < 10; i++)
                        slab_give(&slab, objects[i]);
                assert_int_equal(slab.used, 0);
        }
        slab_finish(&slab);
}

static void memory_is_taken_only_as_it_is_needed(void **state)
{
        (void)state;
        struct slab slab;

        assert_int_equal(slab_init(&slab, 128, 1000, 1000000), 0);
        assert_int_equal(slab.segment_count, 0);
        void *one = slab_take(&slab);
        assert_int_equal(slab.segment_count, 1);
        slab_give(&slab, one);
        slab_finish(&slab);
}

static void memory_goes_back_when_it_was_not_needed_for_a_while(void **state)
{
        enum { COUNT = 5000 };
        (void)state;
        struct slab slab;
        static void *objects[COUNT];

        assert_int_equal(slab_init(&slab, 64, 100, COUNT), 0);
        for (int i = 0; i < COUNT; i++)
                assert_non_null(objects[i] = slab_take(&slab));
        size_t full = slab_bytes(&slab);
        for (int i = 1; i < COUNT; i++)
                slab_give(&slab, objects[i]);
        slab_trim(&slab); /* the peak was a moment ago */
        assert_int_equal(slab_bytes(&slab), full);
        slab_trim(&slab);
        assert_true(slab_bytes(&slab) <= full / 10);
        memset(objects[0], 1, 64); /* what is in use stays */
        for (int i = 1; i < COUNT; i++)
                assert_non_null(objects[i] = slab_take(&slab));
        assert_null(slab_take(&slab));
        for (int i = 0; i < COUNT; i++)
                slab_give(&slab, objects[i]);
        slab_finish(&slab);
}

static void a_slab_for_nothing_gives_nothing(void **state)
{
        (void)state;
        struct slab slab, zeroed = { 0 };

        assert_int_equal(slab_init(&slab, 8, 8, 0), 0);
        assert_null(slab_take(&slab));
        slab_finish(&slab);
        slab_finish(&zeroed);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(objects_are_distinct_and_aligned),
                cmocka_unit_test(the_limit_holds_and_what_comes_back_is_given_again),
                cmocka_unit_test(memory_is_taken_only_as_it_is_needed),
                cmocka_unit_test(memory_goes_back_when_it_was_not_needed_for_a_while),
                cmocka_unit_test(a_slab_for_nothing_gives_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
