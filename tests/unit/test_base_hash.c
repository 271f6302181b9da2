/* Hashing and random numbers. */
#include "help.h"

static void equal_bytes_have_equal_hashes_wherever_they_lie(void **state)
{
        (void)state;
        char room[80];

        for (size_t size = 0; size < 40; size++) {
                char bytes[40];
                for (size_t i = 0; i < size; i++)
                        bytes[i] = (char)(i * 37);
                uint64_t hash = hash_bytes(bytes, size);
                for (size_t shift = 0; shift < 16; shift++) {
                        memset(room, (int)shift, sizeof(room));
                        memcpy(room + shift, bytes, size);
                        assert_true(hash_bytes(room + shift, size) == hash);
                }
        }
}

/* Not a byte too many is read: the copies are of the exact size. */
static void each_bit_and_the_length_count(void **state)
{
        (void)state;
        for (size_t size = 1; size < 40; size++) {
                char zeros[40] = { 0 };
                char *copy = exact_copy(zeros, size);
                uint64_t hash = hash_bytes(copy, size);
                assert_true(hash != hash_bytes(zeros, size - 1));
                for (size_t bit = 0; bit < size * 8; bit++) {
                        copy[bit / 8] ^= (char)(1 << bit % 8);
                        assert_true(hash_bytes(copy, size) != hash);
                        copy[bit / 8] ^= (char)(1 << bit % 8);
                }
                free(copy);
        }
}

static void numbers_fill_a_table_evenly(void **state)
{
        (void)state;
        enum { SLOTS = 64, KEYS = 64 * 200 };
        unsigned counts[SLOTS] = { 0 };

        for (uint64_t key = 0; key < KEYS; key++)
                counts[hash_bytes(&key, sizeof(key)) % SLOTS]++;
        for (int i = 0; i < SLOTS; i++)
                assert_in_range(counts[i], 100, 320);
}

static void random_repeats_by_seed_and_stays_below_its_bound(void **state)
{
        (void)state;
        struct random a = { 7 }, b = { 7 }, c = { 8 };
        unsigned counts[10] = { 0 };
        bool differs = false;

        for (int i = 0; i < 10000; i++) {
                uint32_t x = random_below(&a, 10);
                assert_int_equal(x, random_below(&b, 10));
                differs |= x != random_below(&c, 10);
                assert_in_range(x, 0, 9);
                counts[x]++;
        }
        assert_true(differs);
        for (int i = 0; i < 10; i++)
                assert_in_range(counts[i], 800, 1200);
        assert_int_equal(random_below(&a, 1), 0);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_bytes_have_equal_hashes_wherever_they_lie),
                cmocka_unit_test(each_bit_and_the_length_count),
                cmocka_unit_test(numbers_fill_a_table_evenly),
                cmocka_unit_test(random_repeats_by_seed_and_stays_below_its_bound),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
