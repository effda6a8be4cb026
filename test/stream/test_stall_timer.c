/* SPDX-License-Identifier: MIT */
/*
 * When a peer is looked at, and what is reported of it.  The kernel's figures are the test's; looks
 * that are due by the clock that a test gives are done by the worker's own, so what is to be long
 * ago is.
 */
#include "config.h"
#include "stream/stall_timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "history/history_memory.h"

#define HEARTBEAT_MS 15000
#define LONG_AGO_MS 100000
#define NOTHING (-1)

struct peer_entry {
    struct stall_timer_entry entry; /* first */
    struct tcp_progress flow;
    int ask_result;
    int64_t sent_ms;
    int verdict; /* the last */
    unsigned asked_n;
};

struct scene {
    struct conf *conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct stall_timer timer;
    struct peer_entry peer;
    int64_t now_ms;
};

static int ask(struct stall_timer_entry *entry, struct tcp_progress *ret_flow, int64_t *ret_sent_ms)
{
    struct peer_entry *peer = (struct peer_entry *)(void *)entry;

    peer->asked_n++;
    *ret_flow = peer->flow;
    *ret_sent_ms = peer->sent_ms;
    return peer->ask_result;
}

static void report(struct stall_timer_entry *entry, enum ack_progress_verdict verdict,
                   int64_t now_ms)
{
    (void)now_ms;
    ((struct peer_entry *)(void *)entry)->verdict = (int)verdict;
}

static const struct stall_timer_hooks hooks = {.ask = ask, .report = report};

static int build(void **state)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->conf = conf_new();
    scene->history = history_memory_new(&limits);
    scene->hub = hub_new(scene->history, &hub_limits);
    scene->worker = worker_new(0, scene->conf, scene->hub);
    stall_timer_init(&scene->timer, scene->worker, &hooks);
    scene->now_ms = clock_mono_ms();
    scene->peer.verdict = NOTHING;
    scene->peer.flow = (struct tcp_progress){.outstanding = 100, .silent_ms = LONG_AGO_MS};
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;

    stall_timer_remove(&scene->peer.entry);
    stall_timer_stop(&scene->timer);
    worker_free(scene->worker);
    hub_free(scene->hub);
    history_free(scene->history);
    conf_unref(scene->conf);
    free(scene);
    return 0;
}

/* Whether a look came by then. */
static bool look_came_by(struct scene *scene, int64_t ms)
{
    unsigned asked_n = scene->peer.asked_n;

    stall_timer_tick(&scene->timer, scene->now_ms + ms);
    while (worker_has_jobs(scene->worker, PRIO_REPLAY))
        worker_turn(scene->worker, false);
    return scene->peer.asked_n > asked_n;
}

static void add(struct scene *scene, int64_t ago_ms)
{
    stall_timer_add(&scene->timer, &scene->peer.entry, HEARTBEAT_MS, scene->now_ms - ago_ms);
}

static void the_first_look_comes_after_a_second(void **state)
{
    struct scene *scene = *state;

    add(scene, 0);
    assert_non_null(scene->peer.entry.list);
    assert_false(look_came_by(scene, ACK_PROGRESS_FIRST_LOOK_MS - 1));
    assert_true(look_came_by(scene, ACK_PROGRESS_FIRST_LOOK_MS + 500));
}

static void what_is_acknowledged_is_looked_at_no_more(void **state)
{
    struct scene *scene = *state;

    scene->peer.flow.outstanding = 0;
    add(scene, 0);
    assert_true(look_came_by(scene, 2000));
    assert_int_equal(scene->peer.verdict, ACK_PROGRESS_CLEAR);
    assert_null(scene->peer.entry.list);
    assert_false(look_came_by(scene, 200000));
}

static void a_peer_that_moves_is_looked_at_again(void **state)
{
    struct scene *scene = *state;

    add(scene, 0);
    for (int i = 1; i <= 5; i++) {
        scene->peer.flow.acknowledged += 10;
        assert_true(look_came_by(scene, 2000 * i));
        assert_int_equal(scene->peer.verdict, ACK_PROGRESS_MOVES);
        assert_non_null(scene->peer.entry.list);
    }
}

static void one_that_takes_nothing_waits_and_then_has_stalled(void **state)
{
    struct scene *scene = *state;

    add(scene, 0);
    assert_true(look_came_by(scene, 2000));
    assert_true(look_came_by(scene, 4000));
    assert_int_equal(scene->peer.verdict, ACK_PROGRESS_WAITS);
    stall_timer_remove(&scene->peer.entry);

    add(scene, LONG_AGO_MS);
    assert_true(look_came_by(scene, 6000));
    assert_true(look_came_by(scene, 8000));
    assert_int_equal(scene->peer.verdict, ACK_PROGRESS_STALLED);
    assert_null(scene->peer.entry.list);
}

static void one_that_does_not_answer_has_vanished(void **state)
{
    struct scene *scene = *state;

    scene->peer.flow.unanswered = true;
    add(scene, LONG_AGO_MS);
    assert_true(look_came_by(scene, 2000));
    assert_true(look_came_by(scene, 4000));
    assert_int_equal(scene->peer.verdict, ACK_PROGRESS_VANISHED);
    assert_null(scene->peer.entry.list);
}

/* Its watch reports it. */
static void of_a_socket_that_is_over_nothing_is_reported(void **state)
{
    struct scene *scene = *state;

    scene->peer.ask_result = -1;
    add(scene, 0);
    assert_true(look_came_by(scene, 2000));
    assert_int_equal(scene->peer.verdict, NOTHING);
    assert_null(scene->peer.entry.list);
}

static void after_a_heartbeat_the_look_is_a_late_one(void **state)
{
    struct scene *scene = *state;

    stall_timer_add_heartbeat(&scene->timer, &scene->peer.entry, HEARTBEAT_MS, scene->now_ms);
    assert_false(look_came_by(scene, HEARTBEAT_MS));
    assert_true(look_came_by(scene, ACK_PROGRESS_HEARTBEAT_LOOK_MS + 500));
}

static void but_not_if_something_else_follows(void **state)
{
    struct scene *scene = *state;

    stall_timer_add_heartbeat(&scene->timer, &scene->peer.entry, HEARTBEAT_MS, scene->now_ms);
    add(scene, 0);
    assert_false(scene->peer.entry.progress.is_patient);
    assert_true(look_came_by(scene, ACK_PROGRESS_FIRST_LOOK_MS + 500));
}

static void one_that_is_removed_is_not_looked_at(void **state)
{
    struct scene *scene = *state;

    add(scene, 0);
    stall_timer_remove(&scene->peer.entry);
    stall_timer_remove(&scene->peer.entry); /* harmless */
    assert_false(look_came_by(scene, 200000));
}

/* As after a machine slept: no tick came for longer than the wheel is. */
static void no_look_is_lost_when_ticks_are(void **state)
{
    struct scene *scene = *state;

    add(scene, 0);
    assert_true(look_came_by(scene, 3600000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_look_comes_after_a_second, build, tear_down),
        cmocka_unit_test_setup_teardown(what_is_acknowledged_is_looked_at_no_more, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_moves_is_looked_at_again, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_takes_nothing_waits_and_then_has_stalled, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_does_not_answer_has_vanished, build, tear_down),
        cmocka_unit_test_setup_teardown(of_a_socket_that_is_over_nothing_is_reported, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(after_a_heartbeat_the_look_is_a_late_one, build, tear_down),
        cmocka_unit_test_setup_teardown(but_not_if_something_else_follows, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_removed_is_not_looked_at, build, tear_down),
        cmocka_unit_test_setup_teardown(no_look_is_lost_when_ticks_are, build, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
