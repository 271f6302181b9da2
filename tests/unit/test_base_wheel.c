/* The timer wheel, against a model that looks at every timer. */
#include "help.h"

enum { MANY = 400 };

static const uint64_t REACH_MS = (1ull << 30) - (1ull << 24);

struct model {
        struct wheel wheel;
        struct wheel_timer timers[MANY];
        uint64_t due[MANY];
        bool running[MANY];
        uint64_t now_ms;
        struct random random;
};

static void begin(struct model *model, uint64_t seed, uint64_t now_ms)
{
        memset(model, 0, sizeof(*model));
        model->random.state = seed;
        model->now_ms = now_ms;
        wheel_init(&model->wheel, now_ms);
}

static void start(struct model *model, unsigned i, uint64_t delay_ms)
{
        model->due[i] = model->now_ms + min_of(delay_ms, REACH_MS);
        model->running[i] = true;
        wheel_start(&model->wheel, &model->timers[i], model->now_ms + delay_ms);
}

static void cancel(struct model *model, unsigned i)
{
        model->running[i] = false;
        wheel_cancel(&model->wheel, &model->timers[i]);
        assert_false(wheel_running(&model->timers[i]));
}

static uint64_t earliest(const struct model *model)
{
        uint64_t due = UINT64_MAX;
        for (unsigned i = 0; i < MANY; i++)
                if (model->running[i])
                        due = min_of(due, model->due[i]);
        return due;
}

/* Expires up to the model's time: exactly those that are due come out, in order. */
static unsigned expire(struct model *model)
{
        uint64_t last = 0;
        unsigned count = 0;
        struct wheel_timer *timer;
        while ((timer = wheel_expire(&model->wheel, model->now_ms))) {
                unsigned i = (unsigned)(timer - model->timers);
                assert_true(model->running[i]);
                assert_true(model->due[i] <= model->now_ms);
                assert_true(model->due[i] >= last);
                last = model->due[i];
                model->running[i] = false;
                count++;
        }
        assert_true(earliest(model) > model->now_ms);
        return count;
}

static void check_next(const struct model *model)
{
        uint64_t due = earliest(model);
        int64_t next = wheel_next_ms(&model->wheel, model->now_ms);
        if (due == UINT64_MAX) {
                assert_int_equal(next, -1);
                return;
        }
        assert_true(next >= 0);
        assert_true(model->now_ms + (uint64_t)next <= due); /* a lower bound, */
        if (due > model->now_ms)
                assert_true(next > 0); /* which gets on */
}

static uint64_t any_delay(struct model *model)
{
        static const unsigned bits[] = { 1, 4, 6, 7, 12, 13, 18, 24, 25, 30, 31 };
        return random_next(&model->random) >> (64 - bits[random_below(&model->random, array_count(bits))]);
}

/* Time goes on in small steps, to the next event, or in leaps. */
static void pass_time(struct model *model)
{
        switch (random_below(&model->random, 4)) {
        case 0:
                model->now_ms += random_below(&model->random, 3);
                break;
        case 1: {
                int64_t next = wheel_next_ms(&model->wheel, model->now_ms);
                model->now_ms += next > 0 ? (uint64_t)next : 0;
                break;
        }
        default:
                model->now_ms += any_delay(model);
        }
}

static void the_wheel_does_as_the_model(void **state)
{
        (void)state;
        static struct model model;
        for (uint64_t seed = 1; seed <= 60; seed++) {
                begin(&model, seed, seed % 3 ? random_next(&(struct random){ seed }) >> 20 : 0);
                for (int step = 0; step < 600; step++) {
                        unsigned i = random_below(&model.random, MANY);
                        if (!model.running[i])
                                start(&model, i, any_delay(&model));
                        else if (random_below(&model.random, 3) == 0)
                                cancel(&model, i);
                        if (random_below(&model.random, 4) == 0) {
                                pass_time(&model);
                                expire(&model);
                        }
                        check_next(&model);
                }
                for (unsigned i = 0; i < MANY; i += 2)
                        cancel(&model, i); /* idle ones too */
                model.now_ms += 1ull << 31;
                expire(&model);
                assert_int_equal(model.wheel.count, 0);
                assert_int_equal(wheel_next_ms(&model.wheel, model.now_ms), -1);
        }
}

/* Following wheel_next_ms alone comes to each timer at its very millisecond, over every border between levels. */
static void each_timer_is_met_at_its_millisecond(void **state)
{
        (void)state;
        static struct model model;
        for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
                uint64_t border = 1ull << 6 * level;
                for (uint64_t before = 0; before < 3; before++) {
                        begin(&model, 1, (border << 7) - before);
                        for (unsigned i = 0; i < 7; i++)
                                start(&model, i, border - min_of(border, 3ull) + i);
                        unsigned met = 0;
                        for (int steps = 0; met < 7; steps++) {
                                assert_true(steps < 64);
                                model.now_ms += (uint64_t)wheel_next_ms(&model.wheel, model.now_ms);
                                uint64_t due = earliest(&model);
                                unsigned count = expire(&model);
                                if (count)
                                        assert_int_equal(due, model.now_ms);
                                met += count;
                        }
                }
        }
}

static void a_timer_that_is_far_away_is_cut_to_the_reach(void **state)
{
        (void)state;
        static struct model model;
        begin(&model, 1, 12345);
        start(&model, 0, UINT64_MAX / 2);
        start(&model, 1, REACH_MS);
        start(&model, 2, REACH_MS - 1);
        model.now_ms += REACH_MS - 2;
        assert_int_equal(expire(&model), 0);
        model.now_ms++;
        assert_int_equal(expire(&model), 1);
        model.now_ms++;
        assert_int_equal(expire(&model), 2);
}

/* What a timer's owner does when it fires: starts it again, starts others, cancels one that is due as well. */
static void timers_are_started_and_cancelled_while_others_expire(void **state)
{
        (void)state;
        static struct model model;
        begin(&model, 1, 1000);
        for (unsigned i = 0; i < 20; i++)
                start(&model, i, 50);
        model.now_ms = 1050;
        struct wheel_timer *timer = wheel_expire(&model.wheel, model.now_ms);
        assert_non_null(timer);
        unsigned fired = (unsigned)(timer - model.timers);
        model.running[fired] = false;
        for (unsigned i = 0; i < 20; i += 2)
                if (i != fired)
                        cancel(&model, i);
        start(&model, fired, 0); /* due again at once */
        start(&model, 100, 1);
        start(&model, 101, 0);
        unsigned due = 0;
        for (unsigned i = 0; i < 102; i++)
                due += model.running[i] && model.due[i] <= 1050;
        assert_int_equal(expire(&model), due);
        model.now_ms++;
        assert_int_equal(expire(&model), 1);
        assert_int_equal(model.wheel.count, 0);
}

static void a_deadline_in_the_past_is_due_at_once(void **state)
{
        (void)state;
        static struct model model;
        begin(&model, 1, 5000);
        wheel_start(&model.wheel, &model.timers[0], 10);
        model.running[0] = true;
        model.due[0] = 10;
        assert_int_equal(wheel_next_ms(&model.wheel, 5000), 0);
        assert_int_equal(expire(&model), 1);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_deadline_in_the_past_is_due_at_once),
                cmocka_unit_test(timers_are_started_and_cancelled_while_others_expire),
                cmocka_unit_test(a_timer_that_is_far_away_is_cut_to_the_reach),
                cmocka_unit_test(each_timer_is_met_at_its_millisecond),
                cmocka_unit_test(the_wheel_does_as_the_model),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
