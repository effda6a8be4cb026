/* SPDX-License-Identifier: MIT */
/* Copies of the store as the hub makes them: beside publishing, one at a time, always answered. */
#include "hub/hub.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../support/make.h"

#define FOR_EVER INT64_MAX

/* A store whose copy takes as many steps as the test wants. */
struct store {
    struct history base;
    uint64_t newest;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t steps_n;      /* taken */
    size_t steps_wanted; /* until it is complete */
    size_t ends_n;
    bool under_way;
    int begin_result, step_result;
};

static int append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms)
{
    struct store *store = (struct store *)history;

    for (size_t i = 0; i < events_n; i++)
        message_seal(events[i], history_epoch(history), ++store->newest, now_ms);
    return 0;
}

static bool trim(struct history *history, int64_t now_ms)
{
    (void)history;
    (void)now_ms;
    return false;
}

static void bounds(struct history *history, struct history_bounds *ret_bounds)
{
    *ret_bounds = (struct history_bounds){.newest = ((struct store *)history)->newest};
}

static void usage(struct history *history, struct history_usage *ret_usage)
{
    (void)history;
    *ret_usage = (struct history_usage){0};
}

static int backup_begin(struct history *history)
{
    struct store *store = (struct store *)history;

    assert(!store->under_way);
    store->under_way = store->begin_result == 0;
    return store->begin_result;
}

static int backup_step(struct history *history, struct history_backup *ret_backup)
{
    struct store *store = (struct store *)history;

    assert(store->under_way);
    pthread_mutex_lock(&store->lock);
    int result = ++store->steps_n < store->steps_wanted ? 1 : store->step_result;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    if (result <= 0)
        store->under_way = false;
    if (result == 0)
        *ret_backup = (struct history_backup){.fd = 7, .bytes = 8, .newest = store->newest};
    return result;
}

static void backup_end(struct history *history)
{
    struct store *store = (struct store *)history;

    store->under_way = false;
    store->ends_n++;
}

/* Who asked. */
struct asker {
    struct hub_backup base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool answered;
};

static void on_answer(struct hub_backup *backup)
{
    struct asker *asker = (struct asker *)backup;

    pthread_mutex_lock(&asker->lock);
    assert(!asker->answered);
    asker->answered = true;
    pthread_cond_broadcast(&asker->changed);
    pthread_mutex_unlock(&asker->lock);
}

static struct asker new_asker(void)
{
    return (struct asker){.base.answer = on_answer,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .changed = PTHREAD_COND_INITIALIZER};
}

static int await_answer(struct asker *asker)
{
    pthread_mutex_lock(&asker->lock);
    while (!asker->answered)
        pthread_cond_wait(&asker->changed, &asker->lock);
    pthread_mutex_unlock(&asker->lock);
    return asker->base.result;
}

static void await_steps(struct store *store, size_t steps_n)
{
    pthread_mutex_lock(&store->lock);
    while (store->steps_n < steps_n)
        pthread_cond_wait(&store->changed, &store->lock);
    pthread_mutex_unlock(&store->lock);
}

/* A worker that publishes one event after the other. */
struct publisher {
    struct hub_listener base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t answers_n;
};

static void deliver(struct hub_listener *listener, struct hub_batch *batch, struct hub_ops *answers)
{
    struct publisher *publisher = (struct publisher *)listener;

    (void)batch;
    pthread_mutex_lock(&publisher->lock);
    for (; !STAILQ_EMPTY(answers); publisher->answers_n++)
        STAILQ_REMOVE_HEAD(answers, link);
    pthread_cond_broadcast(&publisher->changed);
    pthread_mutex_unlock(&publisher->lock);
}

static void publish(struct hub *hub, struct publisher *publisher)
{
    struct message *message = make_message(.topics = "a");
    struct hub_op op = {.from = &publisher->base, .events = &message, .events_n = 1};
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    STAILQ_INSERT_TAIL(&ops, &op, link);
    pthread_mutex_lock(&publisher->lock);
    size_t wanted = publisher->answers_n + 1;
    pthread_mutex_unlock(&publisher->lock);
    hub_submit(hub, &ops);
    pthread_mutex_lock(&publisher->lock);
    while (publisher->answers_n < wanted)
        pthread_cond_wait(&publisher->changed, &publisher->lock);
    pthread_mutex_unlock(&publisher->lock);
    assert_int_equal(op.result, 0);
    message_unref(message);
}

static struct hub *start(struct store *store, struct publisher *publisher)
{
    static const struct history_ops ops = {
        .append = append,
        .trim = trim,
        .bounds = bounds,
        .usage = usage,
        .backup_begin = backup_begin,
        .backup_step = backup_step,
        .backup_end = backup_end,
    };
    struct hub_limits limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = FOR_EVER};

    store->base.ops = &ops;
    store->base.lineage = lineage_new("abcdefghijkl");
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    struct hub *hub = hub_new(&store->base, &limits);
    assert_non_null(hub);
    if (publisher != NULL) {
        *publisher = (struct publisher){.base.deliver = deliver,
                                        .lock = PTHREAD_MUTEX_INITIALIZER,
                                        .changed = PTHREAD_COND_INITIALIZER};
        hub_add_listener(hub, &publisher->base);
    }
    assert_int_equal(hub_start(hub), 0);
    return hub;
}

static void stop(struct hub *hub)
{
    struct history *history = hub_history(hub);

    hub_stop(hub);
    hub_free(hub);
    history_free_lineage(history);
}

static void steps_follow_each_other_while_nobody_publishes(void **state)
{
    struct store store = {.steps_wanted = 5000, .newest = 3};
    struct hub *hub = start(&store, NULL);

    (void)state;
    for (size_t round = 1; round <= 2; round++) {
        struct asker asker = new_asker();

        store.steps_n = 0;
        assert_int_equal(hub_request_backup(hub, &asker.base), 0);
        assert_int_equal(await_answer(&asker), 0);
        assert_int_equal(store.steps_n, 5000);
        assert_int_equal(asker.base.copy.fd, 7);
        assert_int_equal(asker.base.copy.bytes, 8);
        assert_int_equal(asker.base.copy.newest, 3);
    }
    stop(hub);
    assert_int_equal(store.ends_n, 0);
}

static void publishing_goes_on_meanwhile(void **state)
{
    struct store store = {.steps_wanted = SIZE_MAX};
    struct publisher publisher;
    struct hub *hub = start(&store, &publisher);
    struct asker asker = new_asker();

    (void)state;
    assert_int_equal(hub_request_backup(hub, &asker.base), 0);
    await_steps(&store, 1);
    for (size_t i = 0; i < 500; i++)
        publish(hub, &publisher);
    assert_false(asker.answered);
    pthread_mutex_lock(&store.lock);
    store.steps_wanted = store.steps_n + 1;
    pthread_mutex_unlock(&store.lock);
    assert_int_equal(await_answer(&asker), 0);
    assert_int_equal(asker.base.copy.newest, 500);
    stop(hub);
}

static void there_is_one_at_a_time(void **state)
{
    struct store store = {.steps_wanted = SIZE_MAX};
    struct hub *hub = start(&store, NULL);
    struct asker first = new_asker(), second = new_asker();

    (void)state;
    assert_int_equal(hub_request_backup(hub, &first.base), 0);
    assert_int_equal(hub_request_backup(hub, &second.base), -EBUSY);
    first.base.abandoned = true;
    assert_int_equal(await_answer(&first), -ECANCELED);
    assert_int_equal(store.ends_n, 1);
    store.steps_wanted = 0;
    assert_int_equal(hub_request_backup(hub, &second.base), 0);
    assert_int_equal(await_answer(&second), 0);
    stop(hub);
}

static void a_failure_is_the_answer(void **state)
{
    struct store store = {.begin_result = -ENOTSUP, .step_result = -ENOSPC};
    struct hub *hub = start(&store, NULL);
    struct asker first = new_asker(), second = new_asker();

    (void)state;
    assert_int_equal(hub_request_backup(hub, &first.base), 0);
    assert_int_equal(await_answer(&first), -ENOTSUP);
    assert_int_equal(store.steps_n, 0);
    store.begin_result = 0;
    assert_int_equal(hub_request_backup(hub, &second.base), 0);
    assert_int_equal(await_answer(&second), -ENOSPC);
    stop(hub);
}

static void a_stop_does_not_wait_for_it(void **state)
{
    struct store store = {.steps_wanted = SIZE_MAX};
    struct hub *hub = start(&store, NULL);
    struct asker asker = new_asker(), late = new_asker();

    (void)state;
    assert_int_equal(hub_request_backup(hub, &asker.base), 0);
    await_steps(&store, 1);
    hub_stop(hub);
    assert_true(asker.answered);
    assert_int_equal(asker.base.result, -ESHUTDOWN);
    assert_false(store.under_way);
    assert_int_equal(hub_request_backup(hub, &late.base), -ESHUTDOWN);
    hub_free(hub);
    history_free_lineage(&store.base);
}

static void a_draining_gateway_makes_none(void **state)
{
    struct store store = {.steps_wanted = SIZE_MAX};
    struct publisher publisher;
    struct hub *hub = start(&store, &publisher);
    struct asker asker = new_asker(), late = new_asker();

    (void)state;
    assert_int_equal(hub_request_backup(hub, &asker.base), 0);
    await_steps(&store, 1);
    hub_refuse_backups(hub);
    assert_int_equal(await_answer(&asker), -ESHUTDOWN);
    assert_false(store.under_way);
    assert_int_equal(hub_request_backup(hub, &late.base), -ESHUTDOWN);
    publish(hub, &publisher);
    stop(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_follow_each_other_while_nobody_publishes),
        cmocka_unit_test(publishing_goes_on_meanwhile),
        cmocka_unit_test(there_is_one_at_a_time),
        cmocka_unit_test(a_failure_is_the_answer),
        cmocka_unit_test(a_stop_does_not_wait_for_it),
        cmocka_unit_test(a_draining_gateway_makes_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
