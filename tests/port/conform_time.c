/* Timers, and how long a reap waits. */
#include "lab.h"

struct clocked {
        struct berth_timer timer;
        uint64_t due_ms, latest_ms, delay_ms; /* the port read its clock between these two moments */
        unsigned ends;
        int64_t result;
};

static struct lab *clock_lab;
static uint64_t last_due_ms;
static unsigned ended;

static uint64_t now_of(const struct lab *lab)
{
        return lab->sim ? berth_port_now_ms(lab->port) : lab_clock_ms();
}

static void rang(struct berth_op *op)
{
        struct clocked *clocked = container_of(op, struct clocked, timer.op);
        clocked->ends++;
        clocked->result = op->result;
        ended++;
        if (op->result < 0)
                return;
        uint64_t now_ms = now_of(clock_lab);
        assert_true(now_ms >= clocked->due_ms);             /* never early */
        assert_true(clocked->latest_ms + 1 >= last_due_ms); /* in order, but for the millisecond of rounding */
        last_due_ms = clocked->due_ms;
}

static void start(struct lab *lab, struct clocked *clocked, uint64_t delay_ms)
{
        clocked->timer.op.done = rang;
        clocked->delay_ms = delay_ms;
        clocked->due_ms = now_of(lab) + delay_ms;
        berth_timer_start(lab->port, &clocked->timer, delay_ms);
        clocked->latest_ms = now_of(lab) + delay_ms;
}

static void begin(struct lab *lab)
{
        lab_open_bare(lab, NULL);
        clock_lab = lab;
        last_due_ms = 0;
        ended = 0;
}

static void ten_thousand_timers_come_in_order_and_never_early(void **state)
{
        (void)state;
        enum { MANY = 10000 };
        static struct clocked timers[MANY];
        struct lab lab;
        memset(timers, 0, sizeof(timers));
        begin(&lab);
        for (int i = 0; i < MANY; i++)
                start(&lab, &timers[i], lab_chance(600));
        for (int i = 0; i < MANY; i += 2)
                berth_timer_cancel(lab.port, &timers[i].timer);
        lab_until(&lab, ended == MANY);
        for (int i = 0; i < MANY; i++) {
                assert_int_equal(timers[i].ends, 1);
                assert_int_equal(timers[i].result, i % 2 ? 0 : -ECANCELED);
        }
        lab_close(&lab);
}

static unsigned rounds_left;

static void ring_again(struct berth_op *op)
{
        struct clocked *clocked = container_of(op, struct clocked, timer.op);
        assert_int_equal(op->result, 0);
        if (rounds_left-- > 0)
                berth_timer_start(clock_lab->port, &clocked->timer, clocked->delay_ms);
        else
                ended++;
}

static void a_timer_can_be_started_from_its_own_end(void **state)
{
        (void)state;
        struct lab lab;
        for (uint64_t delay_ms = 0; delay_ms < 3; delay_ms++) {
                struct clocked clocked = { .timer.op.done = ring_again, .delay_ms = delay_ms };
                begin(&lab);
                rounds_left = 20;
                uint64_t since = berth_port_now_ms(lab.port);
                berth_timer_start(lab.port, &clocked.timer, delay_ms);
                lab_until(&lab, ended == 1);
                assert_true(berth_port_now_ms(lab.port) - since >= 21 * delay_ms);
                lab_close(&lab);
        }
}

static void a_timer_that_has_run_out_can_be_cancelled_in_vain(void **state)
{
        (void)state;
        struct lab lab;
        struct clocked one = { 0 }, far = { 0 };
        begin(&lab);
        start(&lab, &one, 0);
        start(&lab, &far, 1u << 30);
        lab_until(&lab, ended == 1);
        assert_int_equal(one.result, 0);
        berth_timer_cancel(lab.port, &one.timer);
        lab_turns(&lab, 3);
        assert_int_equal(one.ends, 1);
        berth_cancel(lab.port, &far.timer.op); /* as any op */
        berth_cancel(lab.port, &far.timer.op);
        lab_until(&lab, ended == 2);
        assert_int_equal(far.result, -ECANCELED);
        assert_int_equal(far.ends, 1);
        lab_close(&lab);
}

static void reaping_waits_as_long_as_it_was_told(void **state)
{
        (void)state;
        struct lab lab;
        struct berth_event event;
        begin(&lab);
        lab_turns(&lab, 3);
        uint64_t since = berth_port_now_ms(lab.port);
        assert_int_equal(berth_port_reap(lab.port, &event, 1, 50), 0);
        uint64_t waited = berth_port_now_ms(lab.port) - since;
        assert_true(waited >= 49 && waited < 5000);
        since = lab_clock_ms();
        for (int i = 0; i < 100; i++)
                assert_int_equal(berth_port_reap(lab.port, &event, 1, 0), 0);
        assert_true(lab_clock_ms() - since < 2000);
        lab_close(&lab);
}

static void a_timer_ends_a_wait_without_end(void **state)
{
        (void)state;
        struct lab lab;
        struct clocked one = { 0 };
        begin(&lab);
        start(&lab, &one, 30);
        while (ended == 0)
                assert_true(berth_port_run(lab.port, -1) >= 0);
        assert_int_equal(one.result, 0);
        lab_close(&lab);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_timers_come_in_order_and_never_early),
        cmocka_unit_test(a_timer_can_be_started_from_its_own_end),
        cmocka_unit_test(a_timer_that_has_run_out_can_be_cancelled_in_vain),
        cmocka_unit_test(reaping_waits_as_long_as_it_was_told),
        cmocka_unit_test(a_timer_ends_a_wait_without_end),
};
const struct test_list time_tests = { tests, array_count(tests) };
