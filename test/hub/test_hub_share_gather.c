/* SPDX-License-Identifier: MIT */
/* Whether the next group of a shared log waits for more operations. */
#include "config.h"
#include "hub/hub_share_internal.h"

#include <setjmp.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

#define OPS 300
#define LONG_AGO_NS INT64_C(1000000000)

struct scene {
    struct hub_share share;
    struct hub_op ops[OPS];
    size_t ops_n;
};

static void never(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

static void queue(struct scene *scene, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct hub_op *op = &scene->ops[scene->ops_n++];

        STAILQ_INSERT_TAIL(&scene->share.queued, op, link);
    }
}

static int begin(void **state)
{
    static struct scene scene;

    scene = (struct scene){.share = {.base = event_base_new()}};
    STAILQ_INIT(&scene.share.queued);
    scene.share.gather = event_new(scene.share.base, -1, 0, never, NULL);
    scene.share.turn_ns = clock_mono_ns() - LONG_AGO_NS;
    *state = &scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;

    event_free(scene->share.gather);
    event_base_free(scene->share.base);
    return 0;
}

/* As if it could not pass while a test runs. */
static void hold_time(struct scene *scene)
{
    assert_true(scene->share.gather_until_ns != 0);
    scene->share.gather_until_ns = INT64_MAX;
}

static void test_few_wait_for_nothing(void **state)
{
    struct scene *scene = *state;

    share_plan_gather(&scene->share, 10);
    queue(scene, 1);
    assert_false(share_gathers(&scene->share));
}

static void test_many_wait_for_most(void **state)
{
    struct scene *scene = *state;

    queue(scene, 4);
    share_plan_gather(&scene->share, 60);
    hold_time(scene);
    assert_true(share_gathers(&scene->share));
    assert_true(event_pending(scene->share.gather, EV_TIMEOUT, NULL));
    queue(scene, 43);
    assert_true(share_gathers(&scene->share));
    queue(scene, 1);
    assert_false(share_gathers(&scene->share));
    assert_false(share_gathers(&scene->share)); /* nor again, before the next group has ended */
}

static void test_nothing_waits_when_the_time_is_over(void **state)
{
    struct scene *scene = *state;

    share_plan_gather(&scene->share, 60);
    queue(scene, 1);
    scene->share.gather_until_ns = clock_mono_ns() - 1;
    assert_false(share_gathers(&scene->share));
}

static void test_a_wait_is_no_longer_than_the_group_took(void **state)
{
    struct scene *scene = *state;

    share_plan_gather(&scene->share, 60);
    assert_true(scene->share.gather_until_ns <= clock_mono_ns() + 500000);
    scene->share.turn_ns = INT64_MAX / 2; /* has not begun: it took less than nothing */
    share_plan_gather(&scene->share, 60);
    queue(scene, 1);
    assert_false(share_gathers(&scene->share));
}

static void test_large_groups_wait_for_nothing(void **state)
{
    struct scene *scene = *state;

    queue(scene, OPS);
    share_plan_gather(&scene->share, 1);
    assert_false(share_gathers(&scene->share));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_few_wait_for_nothing),
        TEST(test_many_wait_for_most),
        TEST(test_nothing_waits_when_the_time_is_over),
        TEST(test_a_wait_is_no_longer_than_the_group_took),
        TEST(test_large_groups_wait_for_nothing),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
