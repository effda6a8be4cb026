/* SPDX-License-Identifier: MIT */
/* Idle connections that are closed when descriptors run short. */
#include "config.h"
#include "gate_fixture.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static void the_oldest_goes_when_there_is_a_crowd(void **state)
{
    struct bench *bench = build();
    struct pair pairs[2] = {taken(bench, ""), taken(bench, "GET")};

    (void)state;
    assert_true(gate_idlest_since_ms(bench->gate) <= clock_mono_ms());
    gate_evict_idlest(bench->gate);
    assert_false(is_open(pairs[0].ours));
    assert_true(is_open(pairs[1].ours));
    gate_evict_idlest(bench->gate);
    assert_int_equal(gate_idlest_since_ms(bench->gate), INT64_MAX);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_CROWDED_OUT), 2);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_WAITING), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    close(pairs[0].theirs);
    close(pairs[1].theirs);
    tear_down(bench);
}

static void who_rests_longest_goes_when_there_is_a_crowd(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    say(pair, GOOD_POST); /* it has come, and only nobody has looked */
    gate_evict_idlest(bench->gate);
    assert_int_equal(bench->cells.resumed_n, 1);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_RESTING), 0);
    char text[100];
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_RESTING), 1);
    gate_evict_idlest(bench->gate);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_CROWDED_OUT), 1);
    assert_int_equal(gate_idlest_since_ms(bench->gate), INT64_MAX);
    assert_let_close(bench, pair);
    close_pair(pair);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_goes_when_there_is_a_crowd),
        cmocka_unit_test(who_rests_longest_goes_when_there_is_a_crowd),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
