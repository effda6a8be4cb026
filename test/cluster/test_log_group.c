/* SPDX-License-Identifier: MIT */
/* What becomes of a group of events whose answer may get lost. */
#include "config.h"
#include "cluster/log_group.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

/* A group of two events, sent. */
static struct log_group sent_group(void)
{
    struct log_group group = {.state = LOG_GROUP_NONE};

    log_group_begin(&group, 2);
    assert_int_equal(group.state, LOG_GROUP_READY);
    log_group_sent(&group);
    assert_int_equal(group.state, LOG_GROUP_SENT);
    return group;
}

/* `first` for those that tell a place. */
static void answer(struct log_group *group, enum shared_log_outcome outcome, uint64_t first,
                   uint64_t newest)
{
    struct shared_log_appended appended = {
        .seq = group->seq, .outcome = outcome, .line = "", .first = first, .at_ms = 77};

    log_group_answered(group, &appended, newest);
}

static void assert_over(struct log_group *group, enum shared_log_outcome outcome)
{
    assert_int_equal(group->state, LOG_GROUP_OVER);
    assert_int_equal(group->outcome, outcome);
    log_group_end(group);
    assert_int_equal(group->state, LOG_GROUP_NONE);
}

static void is_done_when_answered_and_here(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 7);
    assert_int_equal(group.state, LOG_GROUP_STORED);
    log_group_arrived(&group, group.seq, 8, 77);
    assert_int_equal(group.first, 8);
    assert_int_equal(group.at_ms, 77);
    assert_over(&group, SHARED_LOG_DONE);
}

static void may_be_here_before_its_answer(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    log_group_arrived(&group, group.seq, 8, 77);
    assert_int_equal(group.state, LOG_GROUP_SENT);
    answer(&group, SHARED_LOG_DONE, 8, 9);
    assert_over(&group, SHARED_LOG_DONE);
}

static void a_part_of_it_is_not_enough(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 8);
    assert_int_equal(group.state, LOG_GROUP_STORED);
}

static void numbers_are_never_used_twice(void **state)
{
    struct log_group group = sent_group();
    uint64_t seq = group.seq;

    (void)state;
    log_group_give_up(&group);
    assert_over(&group, SHARED_LOG_LOST);
    log_group_begin(&group, 1);
    assert_int_equal(group.seq, seq + 1);
    log_group_sent(&group);
    log_group_arrived(&group, seq, 8, 77);
    assert_int_equal(group.first, 0);
    log_group_answered(&group,
                       &(struct shared_log_appended){.seq = seq, .outcome = SHARED_LOG_KEYS}, 9);
    assert_int_equal(group.state, LOG_GROUP_SENT);
}

static void is_sent_again_without_an_answer(void **state)
{
    struct log_group group = sent_group();
    uint64_t seq = group.seq;

    (void)state;
    answer(&group, SHARED_LOG_LOST, 0, 7);
    assert_int_equal(group.state, LOG_GROUP_READY);
    assert_int_equal(group.seq, seq);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_SEEN, 8, 9);
    assert_over(&group, SHARED_LOG_DONE);
}

static void what_refuses_it_is_the_answer(void **state)
{
    const enum shared_log_outcome outcomes[] = {SHARED_LOG_KEYS, SHARED_LOG_FULL,
                                                SHARED_LOG_NO_MEMORY};

    (void)state;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        struct log_group group = sent_group();

        answer(&group, outcomes[i], 0, 7);
        assert_over(&group, outcomes[i]);
    }
}

static void waits_where_it_may_be_taken_later(void **state)
{
    const enum shared_log_outcome outcomes[] = {SHARED_LOG_TERM, SHARED_LOG_UNREACHABLE,
                                                SHARED_LOG_REFUSED};

    (void)state;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        struct log_group group = sent_group();

        answer(&group, outcomes[i], 0, 7);
        assert_int_equal(group.state, LOG_GROUP_READY);
        log_group_give_up(&group);
        assert_over(&group, SHARED_LOG_UNREACHABLE);
    }
}

static void what_is_unknown_stays_so(void **state)
{
    const enum shared_log_outcome outcomes[] = {SHARED_LOG_TERM, SHARED_LOG_FULL,
                                                SHARED_LOG_UNREACHABLE, SHARED_LOG_NO_MEMORY};

    (void)state;
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        struct log_group group = sent_group();

        answer(&group, SHARED_LOG_LOST, 0, 7);
        log_group_sent(&group);
        answer(&group, outcomes[i], 0, 7);
        assert_int_equal(group.state, LOG_GROUP_READY);
        log_group_give_up(&group);
        assert_over(&group, SHARED_LOG_LOST);
    }
}

static void taken_keys_tell_that_it_is_not_there(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_LOST, 0, 7);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_KEYS, 0, 7);
    assert_over(&group, SHARED_LOG_KEYS);
}

static void asks_again_for_the_promise(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_UNCONFIRMED, 8, 9);
    assert_int_equal(group.state, LOG_GROUP_READY);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_FULL, 0, 9);
    assert_int_equal(group.state, LOG_GROUP_READY);
    log_group_give_up(&group);
    assert_over(&group, SHARED_LOG_UNCONFIRMED);
}

/* Mostly it is on its way again when time is over, as each sending waits for replicas. */
static void is_unconfirmed_while_it_asks_again(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_UNCONFIRMED, 8, 9);
    log_group_sent(&group);
    log_group_give_up(&group);
    assert_over(&group, SHARED_LOG_UNCONFIRMED);
}

static void attach(struct log_group *group, uint64_t newest, uint64_t trimmed)
{
    log_group_attached(group, &(struct log_group_attached){.newest = newest, .trimmed = trimmed});
}

/* What was there once may be lost by a term that ended. */
static void another_term_makes_it_unknown(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_UNCONFIRMED, 8, 9);
    attach(&group, 7, 0);
    log_group_give_up(&group);
    assert_over(&group, SHARED_LOG_LOST);
}

static void another_term_asks_anew(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 7);
    attach(&group, 7, 0);
    assert_int_equal(group.state, LOG_GROUP_READY);
    assert_int_equal(group.first, 0);
    log_group_give_up(&group);
    assert_over(&group, SHARED_LOG_LOST);
}

static void a_place_that_was_cut_off_is_none(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    log_group_arrived(&group, group.seq, 8, 77);
    attach(&group, 8, 0); /* one of its two events */
    assert_int_equal(group.state, LOG_GROUP_SENT);
    assert_int_equal(group.first, 0);
    answer(&group, SHARED_LOG_TERM, 0, 8);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_DONE, 9, 9);
    assert_int_equal(group.state, LOG_GROUP_STORED);
}

static void is_not_sent_to_a_log_that_was_made_with_it(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    log_group_arrived(&group, group.seq, 8, 77);
    answer(&group, SHARED_LOG_LOST, 0, 9);
    attach(&group, 9, 8); /* the log still has its entry, and so its number */
    assert_int_equal(group.state, LOG_GROUP_READY);
    attach(&group, 9, 9);
    assert_over(&group, SHARED_LOG_DONE);
}

static void nobody_knows_what_was_in_a_gap(void **state)
{
    const struct log_group_attached gap = {.newest = 20, .trimmed = 20, .has_gap = true};
    struct log_group group = sent_group();

    (void)state;
    log_group_attached(&group, &gap);
    assert_over(&group, SHARED_LOG_LOST);
    group = sent_group();
    answer(&group, SHARED_LOG_DONE, 8, 7);
    log_group_attached(&group, &gap);
    assert_over(&group, SHARED_LOG_LOST);
    group = sent_group();
    answer(&group, SHARED_LOG_UNREACHABLE, 0, 7);
    log_group_attached(&group, &gap);
    assert_int_equal(group.state, LOG_GROUP_READY);
}

static void a_gap_of_the_same_term_had_what_was_answered(void **state)
{
    struct log_group group = sent_group();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 7);
    log_group_attached(&group,
                       &(struct log_group_attached){
                           .newest = 20, .trimmed = 20, .has_gap = true, .is_same_term = true});
    assert_over(&group, SHARED_LOG_DONE);
}

/* An order behind position 7, sent. */
static struct log_group sent_order(void)
{
    struct log_group group = {.state = LOG_GROUP_NONE};

    log_group_begin(&group, 0);
    log_group_sent(&group);
    return group;
}

static void an_order_is_done_when_answered_and_done_here(void **state)
{
    struct log_group group = sent_order();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 7); /* what is before it is here, and it is not */
    assert_int_equal(group.state, LOG_GROUP_STORED);
    log_group_arrived(&group, group.seq, 8, 77);
    assert_over(&group, SHARED_LOG_DONE);
    group = sent_order();
    log_group_arrived(&group, group.seq, 8, 77);
    answer(&group, SHARED_LOG_DONE, 8, 7);
    assert_over(&group, SHARED_LOG_DONE);
    group = sent_order(); /* in an empty log */
    answer(&group, SHARED_LOG_DONE, 1, 0);
    assert_int_equal(group.state, LOG_GROUP_STORED);
    log_group_arrived(&group, group.seq, 1, 77);
    assert_over(&group, SHARED_LOG_DONE);
}

static void an_order_that_was_passed_is_done(void **state)
{
    struct log_group group = sent_order();

    (void)state;
    answer(&group, SHARED_LOG_LOST, 0, 7);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_SEEN, 8, 9);
    assert_over(&group, SHARED_LOG_DONE);
}

static void another_term_brings_an_order_again(void **state)
{
    struct log_group group = sent_order();

    (void)state;
    log_group_arrived(&group, group.seq, 8, 77);
    answer(&group, SHARED_LOG_LOST, 0, 7);
    log_group_attached(&group, &(struct log_group_attached){.newest = 7, .is_same_term = true});
    assert_true(group.arrived);
    attach(&group, 7, 7); /* made anew by who never had it, perhaps */
    assert_int_equal(group.state, LOG_GROUP_READY);
    log_group_sent(&group);
    answer(&group, SHARED_LOG_DONE, 8, 7);
    assert_int_equal(group.state, LOG_GROUP_STORED);
}

static void an_order_in_a_gap_is_not_done(void **state)
{
    struct log_group group = sent_order();

    (void)state;
    answer(&group, SHARED_LOG_DONE, 8, 7);
    log_group_attached(&group,
                       &(struct log_group_attached){
                           .newest = 20, .trimmed = 20, .has_gap = true, .is_same_term = true});
    assert_over(&group, SHARED_LOG_LOST);
}

static void nothing_happens_to_none(void **state)
{
    struct log_group group = {.state = LOG_GROUP_NONE};

    (void)state;
    attach(&group, 7, 7);
    log_group_arrived(&group, 0, 8, 77);
    log_group_give_up(&group);
    answer(&group, SHARED_LOG_DONE, 8, 9);
    assert_int_equal(group.state, LOG_GROUP_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_done_when_answered_and_here),
        cmocka_unit_test(may_be_here_before_its_answer),
        cmocka_unit_test(a_part_of_it_is_not_enough),
        cmocka_unit_test(numbers_are_never_used_twice),
        cmocka_unit_test(is_sent_again_without_an_answer),
        cmocka_unit_test(what_refuses_it_is_the_answer),
        cmocka_unit_test(waits_where_it_may_be_taken_later),
        cmocka_unit_test(what_is_unknown_stays_so),
        cmocka_unit_test(taken_keys_tell_that_it_is_not_there),
        cmocka_unit_test(asks_again_for_the_promise),
        cmocka_unit_test(is_unconfirmed_while_it_asks_again),
        cmocka_unit_test(another_term_makes_it_unknown),
        cmocka_unit_test(another_term_asks_anew),
        cmocka_unit_test(a_place_that_was_cut_off_is_none),
        cmocka_unit_test(is_not_sent_to_a_log_that_was_made_with_it),
        cmocka_unit_test(nobody_knows_what_was_in_a_gap),
        cmocka_unit_test(a_gap_of_the_same_term_had_what_was_answered),
        cmocka_unit_test(an_order_is_done_when_answered_and_done_here),
        cmocka_unit_test(an_order_that_was_passed_is_done),
        cmocka_unit_test(another_term_brings_an_order_again),
        cmocka_unit_test(an_order_in_a_gap_is_not_done),
        cmocka_unit_test(nothing_happens_to_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
