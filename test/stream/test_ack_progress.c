/* SPDX-License-Identifier: MIT */
/* Who is judged to stall or to have vanished, and when, from made-up figures of the kernel. */
#include "config.h"
#include "stream/ack_progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define T 30000
#define V 18000

static const struct ack_progress_limits limits = {.stall_ms = T, .vanish_ms = V};

/* A peer that had acknowledged so much, and was last heard so long ago. */
static struct tcp_progress flow(int64_t acknowledged, int64_t silent_ms)
{
    return (struct tcp_progress){
        .outstanding = 100, .acknowledged = acknowledged, .silent_ms = silent_ms};
}

static struct tcp_progress gone(int64_t acknowledged, int64_t silent_ms)
{
    struct tcp_progress made = flow(acknowledged, silent_ms);

    made.unanswered = true;
    return made;
}

static enum ack_progress_verdict look(struct ack_progress *progress, struct tcp_progress flow,
                                      int64_t now_ms)
{
    return ack_progress_look(progress, &flow, 0, &limits, now_ms);
}

static void all_acknowledged_is_clear(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 1000);
    assert_int_equal(look(&progress, (struct tcp_progress){0}, 2000), ACK_PROGRESS_CLEAR);
    /* whatever was before */
    ack_progress_begin(&progress, 1000);
    assert_int_equal(look(&progress, flow(5, 0), 2000), ACK_PROGRESS_MOVES);
    assert_int_equal(look(&progress, (struct tcp_progress){0}, 1000000), ACK_PROGRESS_CLEAR);
}

static void stalls_when_nothing_new_came_for_the_time(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    /* at the first look it answers a probe; that may have been the last thing it took */
    assert_int_equal(look(&progress, flow(500, 100), 1000), ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 900);
    assert_int_equal(look(&progress, flow(500, 100), 2000), ACK_PROGRESS_WAITS);
    assert_int_equal(look(&progress, flow(500, 5000), 900 + T - 1), ACK_PROGRESS_WAITS);
    assert_int_equal(look(&progress, flow(500, 5000), 900 + T), ACK_PROGRESS_STALLED);
}

static void a_byte_in_time_is_enough(void **state)
{
    struct ack_progress progress;
    int64_t now_ms = 1000;

    (void)state;
    ack_progress_begin(&progress, 0);
    for (int64_t acknowledged = 1; acknowledged < 100; acknowledged++) {
        assert_int_equal(look(&progress, flow(acknowledged, 0), now_ms), ACK_PROGRESS_MOVES);
        assert_int_equal(look(&progress, flow(acknowledged, 0), now_ms + T - 1),
                         ACK_PROGRESS_WAITS);
        now_ms += T;
    }
}

/* What moved between two looks moved at the latest when the peer was last heard. */
static void time_counts_from_the_acknowledgement_not_from_the_look(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    look(&progress, flow(1, 0), 1000);
    assert_int_equal(look(&progress, flow(2, 800), 2000), ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 1200);
    assert_int_equal(look(&progress, flow(2, 800), 1200 + T), ACK_PROGRESS_STALLED);
}

static void time_never_counts_from_before_the_first_byte(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 3600000); /* an hour without a byte in either direction */
    assert_int_equal(look(&progress, gone(1, 3600000), 3601000), ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 3600000);
    assert_int_equal(look(&progress, gone(1, 3600000 + V - 1), 3600000 + V - 1),
                     ACK_PROGRESS_WAITS);
    assert_int_equal(look(&progress, gone(1, 3600000 + V), 3600000 + V), ACK_PROGRESS_VANISHED);
}

static void who_answers_has_not_vanished(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    look(&progress, flow(1, 0), 1000);
    /* a probe was answered, and the next is not due yet */
    assert_int_equal(look(&progress, flow(1, V + 1000), 1000 + V + 1000), ACK_PROGRESS_WAITS);
    /* the answer to the next came a while ago */
    assert_int_equal(look(&progress, gone(1, V - 1), 1000 + V + 2000), ACK_PROGRESS_WAITS);
    /* in the end it takes too long all the same, for another reason */
    assert_int_equal(look(&progress, flow(1, V + 1000), 1000 + T), ACK_PROGRESS_STALLED);
}

static void vanishing_is_the_better_reason(void **state)
{
    struct ack_progress_limits both = {.stall_ms = 5000, .vanish_ms = 5000};
    struct tcp_progress silent = gone(1, 6000);
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    look(&progress, gone(1, 1000), 1000);
    assert_int_equal(ack_progress_look(&progress, &silent, 0, &both, 6000), ACK_PROGRESS_VANISHED);
    both.vanish_ms = 7000;
    assert_int_equal(ack_progress_look(&progress, &silent, 0, &both, 6000), ACK_PROGRESS_STALLED);
}

/* After a night's sleep of the gateway nobody is judged by what it did not see. */
static void the_first_look_judges_nobody(void **state)
{
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    assert_int_equal(look(&progress, gone(1, 10 * T), 10 * T), ACK_PROGRESS_MOVES);
}

static void looks_again_at_the_limit(void **state)
{
    static const struct {
        int64_t since_ms, now_ms, due_ms;
    } cases[] = {
        {0, 1000, 1000 + ACK_PROGRESS_LOOK_MS},
        {0, V - ACK_PROGRESS_LOOK_MS, V},
        {0, V - ACK_PROGRESS_LOOK_MS + 1, V},
        {0, V - 1, V},
        {0, V, V + ACK_PROGRESS_LOOK_MS}, /* over, but for a peer that answers nothing came of it */
        {0, T - 1, T},
        {0, T - ACK_PROGRESS_LOOK_MS - 1, T - 1},
        {500, 1000, 1000 + ACK_PROGRESS_LOOK_MS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ack_progress progress = {.since_ms = cases[i].since_ms, .looked = true};

        assert_int_equal(ack_progress_due_ms(&progress, &limits, cases[i].now_ms), cases[i].due_ms);
    }
}

/* The first look comes after the next heartbeat.  Whoever was not heard since the first one is
 * judged by that. */
static void a_late_look_counts_from_the_first_heartbeat_if_that_was_not_answered(void **state)
{
    struct ack_progress progress;
    struct tcp_progress silent = gone(7, 20000);

    (void)state;
    ack_progress_begin(&progress, 10000);
    assert_int_equal(ack_progress_look(&progress, &silent, 25000, &limits, 26500),
                     ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 10000);
    silent = gone(7, 20000 + 1500);
    assert_int_equal(ack_progress_look(&progress, &silent, 25000, &limits, 10000 + V),
                     ACK_PROGRESS_VANISHED);
}

/* Whoever was heard in between has taken the first, and has its time for the second. */
static void a_late_look_counts_from_the_last_heartbeat_if_the_first_was_answered(void **state)
{
    struct ack_progress progress;
    struct tcp_progress silent = gone(7, 16400);

    (void)state;
    ack_progress_begin(&progress, 10000);
    assert_int_equal(ack_progress_look(&progress, &silent, 25000, &limits, 26500),
                     ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 25000);
    assert_int_equal(look(&progress, gone(7, V), 10000 + V), ACK_PROGRESS_WAITS);
    assert_int_equal(look(&progress, gone(7, 2 * V), 25000 + V - 1), ACK_PROGRESS_WAITS);
    assert_int_equal(look(&progress, gone(7, 2 * V), 25000 + V), ACK_PROGRESS_VANISHED);
}

/* A window that was closed before: what is heard is answers to probes. */
static void a_late_look_is_not_misled_by_a_closed_window(void **state)
{
    struct ack_progress progress;
    struct tcp_progress closed = flow(7, 100);

    (void)state;
    closed.sent_ms = 26500 - 8000;
    ack_progress_begin(&progress, 10000);
    assert_int_equal(ack_progress_look(&progress, &closed, 25000, &limits, 26500),
                     ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 10000);
    assert_int_equal(look(&progress, flow(7, 100), 10000 + T), ACK_PROGRESS_STALLED);
    /* it was open */
    closed.sent_ms = 26500 - 10000;
    ack_progress_begin(&progress, 10000);
    assert_int_equal(ack_progress_look(&progress, &closed, 25000, &limits, 26500),
                     ACK_PROGRESS_MOVES);
    assert_int_equal(progress.since_ms, 26400);
}

/* Between the second heartbeat and the third, which comes after 1.6 times as long at the earliest;
 * and two looks before either limit, or there would be none to judge at it. */
static void a_late_look_comes_in_time(void **state)
{
    static const struct {
        int64_t stall_ms, vanish_ms, heartbeat_ms, wait_ms;
    } cases[] = {
        {30000, 18000, 15000, 16000}, {30000, 18000, 3000, 4000},
        {30000, 18000, 60000, 16500}, {3600000, 3600000, 60000, ACK_PROGRESS_HEARTBEAT_LOOK_MS},
        {10000, 18000, 15000, 8500},  {30000, 4000, 15000, 2500},
        {2000, 18000, 15000, 750},    {30000, 1000, 3000, ACK_PROGRESS_LOOK_MS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ack_progress_limits some = {cases[i].stall_ms, cases[i].vanish_ms};

        assert_int_equal(ack_progress_heartbeat_due_ms(&some, cases[i].heartbeat_ms, 1000),
                         1000 + cases[i].wait_ms);
    }
}

/* The limits may be as short as a second. */
static void the_first_look_is_no_later_than_a_limit(void **state)
{
    static const struct {
        int64_t stall_ms, vanish_ms, wait_ms;
    } cases[] = {
        {30000, 18000, ACK_PROGRESS_FIRST_LOOK_MS},
        {800, 18000, 800},
        {30000, 900, 900},
    };
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 70);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ack_progress_limits some = {cases[i].stall_ms, cases[i].vanish_ms};

        assert_int_equal(ack_progress_first_due_ms(&progress, &some, 15000, 70),
                         70 + cases[i].wait_ms);
    }
}

/* It comes as soon as ever, but a look that was nearly due is not put off by events. */
static void an_event_after_a_heartbeat_puts_no_look_off(void **state)
{
    static const struct {
        int64_t sent_ms, due_ms;
    } cases[] = {
        {3000, 3000 + ACK_PROGRESS_FIRST_LOOK_MS},
        {14900, 14900 + ACK_PROGRESS_FIRST_LOOK_MS},
        {15900, 16000},
    };
    struct ack_progress_limits some = {30000, 18000};
    struct ack_progress progress;

    (void)state;
    ack_progress_begin(&progress, 0);
    progress.is_patient = true;
    assert_int_equal(ack_progress_heartbeat_due_ms(&some, 15000, 0), 16000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(ack_progress_first_due_ms(&progress, &some, 15000, cases[i].sent_ms),
                         cases[i].due_ms);
}

/* The first look finds somebody who took something at once, then closed his window, and answers
 * probes: all that is known is that the last new thing was acknowledged by then.  With every look
 * as late as the wheel may make it he goes less than two seconds after his time. */
static void a_stall_at_the_very_beginning_is_seen_in_time(void **state)
{
    const int64_t late_ms = 499;
    struct ack_progress progress;
    int64_t now_ms;

    (void)state;
    ack_progress_begin(&progress, 0);
    now_ms = ack_progress_first_due_ms(&progress, &limits, 15000, 0) + late_ms;
    assert_int_equal(look(&progress, flow(1, 0), now_ms), ACK_PROGRESS_MOVES);
    do
        now_ms = ack_progress_due_ms(&progress, &limits, now_ms) + late_ms;
    while (look(&progress, flow(1, 0), now_ms) != ACK_PROGRESS_STALLED);
    assert_in_range(now_ms, T, T + 1999);
}

/* Peers of every kind, looked at as ack_progress_due_ms() has it: nobody goes before the time, and
 * nobody stays for two seconds more. */
static void judges_exactly(void **state)
{
    (void)state;
    srandom(4);
    for (int round = 0; round < 20000; round++) {
        int64_t last_new_ms = random() % 60000, probe_ms = 200 + random() % 2000;
        struct ack_progress progress;
        int64_t now_ms = 0;
        enum ack_progress_verdict verdict;

        ack_progress_begin(&progress, 0);
        do {
            now_ms = now_ms == 0 ? ack_progress_first_due_ms(&progress, &limits, 15000, now_ms)
                                 : ack_progress_due_ms(&progress, &limits, now_ms);
            now_ms += random() % 500;
            /* one byte every 100 ms until it stops; then only answers to probes */
            int64_t acknowledged = (now_ms < last_new_ms ? now_ms : last_new_ms) / 100;
            int64_t heard_ms = now_ms <= last_new_ms
                                   ? now_ms - now_ms % 100
                                   : (now_ms - last_new_ms) / probe_ms * probe_ms + last_new_ms;

            verdict = look(&progress, flow(acknowledged, now_ms - heard_ms), now_ms);
        } while (verdict != ACK_PROGRESS_STALLED);
        last_new_ms -= last_new_ms % 100;
        assert_in_range(now_ms - last_new_ms, T, T + 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_acknowledged_is_clear),
        cmocka_unit_test(stalls_when_nothing_new_came_for_the_time),
        cmocka_unit_test(a_byte_in_time_is_enough),
        cmocka_unit_test(time_counts_from_the_acknowledgement_not_from_the_look),
        cmocka_unit_test(time_never_counts_from_before_the_first_byte),
        cmocka_unit_test(who_answers_has_not_vanished),
        cmocka_unit_test(vanishing_is_the_better_reason),
        cmocka_unit_test(the_first_look_judges_nobody),
        cmocka_unit_test(looks_again_at_the_limit),
        cmocka_unit_test(a_late_look_counts_from_the_first_heartbeat_if_that_was_not_answered),
        cmocka_unit_test(a_late_look_counts_from_the_last_heartbeat_if_the_first_was_answered),
        cmocka_unit_test(a_late_look_is_not_misled_by_a_closed_window),
        cmocka_unit_test(a_late_look_comes_in_time),
        cmocka_unit_test(the_first_look_is_no_later_than_a_limit),
        cmocka_unit_test(an_event_after_a_heartbeat_puts_no_look_off),
        cmocka_unit_test(a_stall_at_the_very_beginning_is_seen_in_time),
        cmocka_unit_test(judges_exactly),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
