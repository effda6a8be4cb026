/* SPDX-License-Identifier: MIT */
/* The table of ends: complete, and what a row says of itself does not contradict the rest of it. */
#include "config.h"
#include "stream/stream_end.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void every_end_has_a_word_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(stream_ends[STREAM_END_NONE].word, "");
    for (size_t i = 0; i < STREAM_ENDS; i++) {
        assert_non_null(stream_ends[i].word);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(stream_ends[i].word, stream_ends[j].word);
    }
}

static void evictions_cut(void **state)
{
    size_t evictions_n = 0;

    (void)state;
    for (size_t i = 0; i < STREAM_ENDS; i++) {
        evictions_n += stream_ends[i].is_eviction;
        assert_true(stream_ends[i].cuts || !stream_ends[i].is_eviction);
    }
    assert_int_equal(evictions_n, 3);
}

static void what_is_cut_is_sent_nothing_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < STREAM_ENDS; i++)
        if (stream_ends[i].cuts) {
            assert_false(stream_ends[i].sends_backlog || stream_ends[i].ends_answer);
            assert_int_equal(stream_ends[i].final, STREAM_FINAL_NONE);
        }
}

/* A client that is told to come back must see an answer without its end, or it would not. */
static void a_retry_is_not_followed_by_the_end_of_the_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < STREAM_ENDS; i++)
        if (stream_ends[i].final == STREAM_FINAL_RETRY || stream_ends[i].final == STREAM_FINAL_AWAY)
            assert_false(stream_ends[i].ends_answer);
}

static bool is_the_same_to_the_figures(enum stream_end one, enum stream_end other)
{
    return (one == STREAM_END_TOKEN && other == STREAM_END_KEY) ||
           (one == STREAM_END_LEFT && other == STREAM_END_CLOSED) ||
           (one == STREAM_END_DRAINED && other == STREAM_END_HANDOVER);
}

static void ends_are_counted_apart_but_for_those_that_are_alike(void **state)
{
    (void)state;
    for (size_t i = STREAM_END_LEFT; i < STREAM_ENDS; i++)
        for (size_t j = STREAM_END_LEFT; j < i; j++)
            if (stream_ends[i].counter == stream_ends[j].counter)
                assert_true(is_the_same_to_the_figures((enum stream_end)j, (enum stream_end)i));
}

/* What cuts sends no Close, and two ends have one of their own. */
static void every_orderly_end_has_a_close_code(void **state)
{
    (void)state;
    for (size_t i = STREAM_END_LEFT; i < STREAM_ENDS; i++)
        if (i != STREAM_END_CLOSED && i != STREAM_END_REFUSED)
            assert_int_equal(stream_ends[i].cuts, stream_ends[i].close_code == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_end_has_a_word_of_its_own),
        cmocka_unit_test(evictions_cut),
        cmocka_unit_test(what_is_cut_is_sent_nothing_more),
        cmocka_unit_test(a_retry_is_not_followed_by_the_end_of_the_answer),
        cmocka_unit_test(ends_are_counted_apart_but_for_those_that_are_alike),
        cmocka_unit_test(every_orderly_end_has_a_close_code),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
