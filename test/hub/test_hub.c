/* SPDX-License-Identifier: MIT */
/*
 * The dispatcher with a store that can be held up or made to fail: who is answered what, what is
 * delivered and in which order.  What runs on the hub's thread checks itself with assert(), since
 * cmocka's checks have no way back from there.
 */
#include "config.h"
#include "hub/hub.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/clock.h"

#define FOR_EVER INT64_MAX
#define LOTS SIZE_MAX
/* What one commit takes at most. */
#define BATCH_EVENTS 8192
/* And what a turn of who submits takes. */
#define AT_ONCE_EVENTS 64
/* How long the last in the queue may have to wait, and what may wait however slow the store is. */
#define WAIT_MAX_NS 1000000
#define ROOM_MIN 131072

/* ---- a store that does as it is told ---- */

struct store {
    struct history base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;           /* an append waits until this is false */
    size_t let_go;       /* or until it is one of the first so many */
    bool inside;         /* an append is under way */
    int result;          /* of an append */
    uint64_t newest;     /* last position given */
    size_t appends_n;    /* begun */
    size_t events_n[64]; /* of each append */
    size_t trims_n;
    size_t trims_wanted; /* until so many, say that there is more to do */
    bool at_hand;        /* it may be claimed */
    bool claimed;
};

static struct store *store_of(struct history *history)
{
    return (struct store *)history;
}

static int store_append(struct history *history, struct message *const *events, size_t events_n,
                        int64_t now_ms)
{
    struct store *store = store_of(history);

    pthread_mutex_lock(&store->lock);
    assert(!store->inside);
    if (store->appends_n < 64)
        store->events_n[store->appends_n] = events_n;
    store->appends_n++;
    store->inside = true;
    pthread_cond_broadcast(&store->changed);
    size_t number = store->appends_n;
    while (store->held && number > store->let_go)
        pthread_cond_wait(&store->changed, &store->lock);
    store->inside = false;
    int result = store->result;
    for (size_t i = 0; result == 0 && i < events_n; i++) {
        assert(events[i]->kind == MESSAGE_STORED);
        message_seal(events[i], history_epoch(history), ++store->newest, now_ms);
    }
    pthread_mutex_unlock(&store->lock);
    return result;
}

static bool store_claim(struct history *history, size_t events_n)
{
    struct store *store = store_of(history);

    assert(events_n <= AT_ONCE_EVENTS && !store->claimed);
    store->claimed = store->at_hand;
    return store->claimed;
}

static void store_unclaim(struct history *history)
{
    assert(store_of(history)->claimed);
    store_of(history)->claimed = false;
}

static bool store_trim(struct history *history, int64_t now_ms)
{
    struct store *store = store_of(history);

    assert(now_ms > 0 && !store->claimed);
    pthread_mutex_lock(&store->lock);
    store->trims_n++;
    pthread_cond_broadcast(&store->changed);
    bool more = store->trims_n < store->trims_wanted;
    pthread_mutex_unlock(&store->lock);
    return more;
}

static void store_bounds(struct history *history, struct history_bounds *ret_bounds)
{
    *ret_bounds = (struct history_bounds){.newest = store_of(history)->newest};
}

static void store_usage(struct history *history, struct history_usage *ret_usage)
{
    (void)history;
    *ret_usage =
        (struct history_usage){.events_n = 6, .bytes = 600, .keys_n = 7, .keys_early_n = 8};
}

/* Of a committed event: the key "old" came with "x" at position 5, and "bad" cannot be looked up.
 */
static int store_find_key(struct history *history, const struct message *message, int64_t now_ms,
                          uint64_t *ret_position)
{
    struct message *old = make_message(.key = "old", .data = "x");
    int known = HISTORY_KEY_NEW;

    (void)history;
    assert(now_ms > 0);
    if (message->key_n == 3 && memcmp(message_key(message), "bad", 3) == 0)
        known = -EIO;
    if (message->key_n == 3 && memcmp(message_key(message), "old", 3) == 0) {
        *ret_position = 5;
        known = message_has_digest(message, message_digest(old), MESSAGE_DIGEST_BYTES)
                    ? HISTORY_KEY_SAME
                    : HISTORY_KEY_OTHER;
    }
    message_unref(old);
    return known;
}

static void store_hold(struct store *store, bool held)
{
    pthread_mutex_lock(&store->lock);
    store->held = held;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

static void store_fail(struct store *store, int result)
{
    pthread_mutex_lock(&store->lock);
    store->result = result;
    pthread_mutex_unlock(&store->lock);
}

/* Wait until the append of this number (from 1) is under way. */
static void store_await(struct store *store, size_t appends_n)
{
    pthread_mutex_lock(&store->lock);
    while (store->appends_n < appends_n || !store->inside)
        pthread_cond_wait(&store->changed, &store->lock);
    pthread_mutex_unlock(&store->lock);
}

/* Let the append under way go on, and hold the next one. */
static void store_step(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->let_go = store->appends_n;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

/* ---- a worker as the hub sees it ---- */

#define ROOM 40000

struct ear {
    struct hub_listener base;
    struct hub *hub;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct message **events; /* all that was delivered, each with a reference */
    size_t events_n;
    struct hub_op **answers; /* in their order */
    size_t answers_n;
    size_t batches_n;
    struct hub_batch *last; /* kept when `keep` is set */
    bool keep;
    pthread_t thread; /* of the last delivery */
};

static void note_batch(struct ear *ear, struct hub_batch *batch)
{
    size_t bytes = 0;

    assert(batch->events_n > 0 && ear->events_n + batch->events_n <= ROOM);
    for (size_t i = 0; i < batch->events_n; i++) {
        bytes += batch->events[i]->bytes;
        assert(hub_committed(ear->hub) >= batch->events[i]->position);
        assert(batch->events[i]->published_ms > 0);
        ear->events[ear->events_n++] = message_ref(batch->events[i]);
    }
    assert(batch->bytes == bytes);
    ear->batches_n++;
    if (!ear->keep)
        return;
    hub_batch_unref(ear->last);
    batch->refs++;
    ear->last = batch;
}

static void deliver(struct hub_listener *listener, struct hub_batch *batch, struct hub_ops *answers)
{
    struct ear *ear = (struct ear *)listener;
    struct hub_op *op;

    assert(batch != NULL || !STAILQ_EMPTY(answers));
    pthread_mutex_lock(&ear->lock);
    ear->thread = pthread_self();
    if (batch != NULL)
        note_batch(ear, batch);
    while ((op = STAILQ_FIRST(answers)) != NULL) {
        STAILQ_REMOVE_HEAD(answers, link);
        assert(op->from == listener && ear->answers_n < ROOM);
        ear->answers[ear->answers_n++] = op;
    }
    pthread_cond_broadcast(&ear->changed);
    pthread_mutex_unlock(&ear->lock);
}

static void await_answers(struct ear *ear, size_t answers_n)
{
    pthread_mutex_lock(&ear->lock);
    while (ear->answers_n < answers_n)
        pthread_cond_wait(&ear->changed, &ear->lock);
    pthread_mutex_unlock(&ear->lock);
}

static void await_events(struct ear *ear, size_t events_n)
{
    pthread_mutex_lock(&ear->lock);
    while (ear->events_n < events_n)
        pthread_cond_wait(&ear->changed, &ear->lock);
    pthread_mutex_unlock(&ear->lock);
}

/* ---- all of it together ---- */

struct bench {
    struct store store;
    struct hub *hub;
    struct ear ears[2];
};

static void open_ear(struct bench *bench, struct ear *ear)
{
    ear->base.deliver = deliver;
    ear->hub = bench->hub;
    ear->events = calloc(ROOM, sizeof(struct message *));
    ear->answers = calloc(ROOM, sizeof(struct hub_op *));
    pthread_mutex_init(&ear->lock, NULL);
    pthread_cond_init(&ear->changed, NULL);
    hub_add_listener(bench->hub, &ear->base);
}

static struct bench *build(size_t bytes_max, int64_t age_max_ns, uint64_t newest)
{
    static const struct history_ops ops = {.append = store_append,
                                           .find_key = store_find_key,
                                           .claim = store_claim,
                                           .unclaim = store_unclaim,
                                           .trim = store_trim,
                                           .bounds = store_bounds,
                                           .usage = store_usage};
    struct hub_limits limits = {.queue_bytes_max = bytes_max,
                                .queue_age_max_ns = age_max_ns,
                                .queue_wait_max_ns = WAIT_MAX_NS};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->store.base.ops = &ops;
    bench->store.base.lineage = lineage_new("abcdefghijkl");
    bench->store.newest = newest;
    pthread_mutex_init(&bench->store.lock, NULL);
    pthread_cond_init(&bench->store.changed, NULL);
    bench->hub = hub_new(&bench->store.base, &limits);
    assert_non_null(bench->hub);
    for (size_t i = 0; i < 2; i++)
        open_ear(bench, &bench->ears[i]);
    return bench;
}

static struct bench *start(void)
{
    struct bench *bench = build(LOTS, FOR_EVER, 0);

    assert_int_equal(hub_start(bench->hub), 0);
    return bench;
}

/* With a store that never waits. */
static struct bench *start_at_hand(size_t bytes_max)
{
    struct bench *bench = build(bytes_max, FOR_EVER, 0);

    bench->store.at_hand = true;
    assert_int_equal(hub_start(bench->hub), 0);
    return bench;
}

static void close_ear(struct ear *ear)
{
    hub_batch_unref(ear->last);
    for (size_t i = 0; i < ear->events_n; i++)
        message_unref(ear->events[i]);
    free(ear->events);
    free(ear->answers);
    pthread_mutex_destroy(&ear->lock);
    pthread_cond_destroy(&ear->changed);
}

static void tear_down(struct bench *bench)
{
    hub_stop(bench->hub);
    hub_free(bench->hub);
    history_free_lineage(&bench->store.base);
    for (size_t i = 0; i < 2; i++)
        close_ear(&bench->ears[i]);
    pthread_mutex_destroy(&bench->store.lock);
    pthread_cond_destroy(&bench->store.changed);
    free(bench);
}

/* ---- operations ---- */

static struct hub_op *new_op(struct ear *from, size_t events_n)
{
    struct hub_op *op = calloc(1, sizeof(*op));

    op->from = &from->base;
    op->events = calloc(events_n + 1, sizeof(struct message *));
    op->events_n = events_n;
    op->result = 99;
    return op;
}

/* One event a letter: S stored, E ephemeral. */
static struct hub_op *make_op(struct ear *from, const char *kinds)
{
    struct hub_op *op = new_op(from, strlen(kinds));

    for (size_t i = 0; i < op->events_n; i++) {
        op->events[i] = make_message(.kind = kinds[i] == 'S' ? MESSAGE_STORED : MESSAGE_EPHEMERAL);
        op->bytes += op->events[i]->bytes;
    }
    return op;
}

static struct hub_op *make_large_op(struct ear *from, size_t events_n)
{
    struct hub_op *op = new_op(from, events_n);

    for (size_t i = 0; i < events_n; i++)
        op->events[i] = make_message(.data = "x");
    return op;
}

static void free_op(struct hub_op *op)
{
    for (size_t i = 0; i < op->events_n; i++)
        message_unref(op->events[i]);
    free(op->events);
    free(op->duplicate_of);
    free(op);
}

/* Events with keys: pairs of key and data; an empty key is none. */
static struct hub_op *make_keyed_op(struct ear *from, size_t events_n, const char *const *pairs)
{
    struct hub_op *op = new_op(from, events_n);

    op->duplicate_of = calloc(events_n, sizeof(op->duplicate_of[0]));
    for (size_t i = 0; i < events_n; i++)
        op->events[i] = make_message(.key = pairs[2 * i][0] != '\0' ? pairs[2 * i] : NULL,
                                     .data = pairs[2 * i + 1]);
    return op;
}

#define keyed(ear, ...)                                                                            \
    make_keyed_op((ear), sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *) / 2,          \
                  (const char *const[]){__VA_ARGS__})

static void submit(struct bench *bench, struct hub_op *op)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    STAILQ_INSERT_TAIL(&ops, op, link);
    hub_submit(bench->hub, &ops);
    assert(STAILQ_EMPTY(&ops));
}

/* Hold the store in its first commit, of one event, so that what is submitted then waits together.
 */
static struct hub_op *begin_held(struct bench *bench)
{
    struct hub_op *op = make_op(&bench->ears[0], "S");

    store_hold(&bench->store, true);
    submit(bench, op);
    store_await(&bench->store, 1);
    return op;
}

/* The same with an operation of so many bytes, whichever append it is. */
static struct hub_op *begin_held_bytes(struct bench *bench, size_t bytes)
{
    struct hub_op *op = make_op(&bench->ears[0], "S");
    size_t appends_n = bench->store.appends_n;

    assert_true(hub_admit(bench->hub, bytes, op));
    op->bytes = bytes;
    store_hold(&bench->store, true);
    submit(bench, op);
    store_await(&bench->store, appends_n + 1);
    return op;
}

/* ---- tests ---- */

static void commits_delivers_and_answers(void **state)
{
    struct bench *bench = start();
    struct hub_op *op = make_op(&bench->ears[0], "SSS");

    (void)state;
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    await_events(&bench->ears[1], 3);
    assert_ptr_equal(bench->ears[0].answers[0], op);
    assert_int_equal(op->result, 0);
    assert_int_equal(hub_committed(bench->hub), 3);
    for (size_t ear = 0; ear < 2; ear++)
        for (size_t i = 0; i < 3; i++) {
            assert_ptr_equal(bench->ears[ear].events[i], op->events[i]);
            assert_int_equal(op->events[i]->position, i + 1);
        }
    assert_int_equal(bench->ears[1].answers_n, 0);
    free_op(op);
    tear_down(bench);
}

static void goes_on_from_where_the_history_stands(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 4711);
    struct hub_op *op = make_op(&bench->ears[1], "ES");

    (void)state;
    assert_int_equal(hub_committed(bench->hub), 4711);
    assert_ptr_equal(hub_history(bench->hub), &bench->store.base);
    assert_int_equal(hub_start(bench->hub), 0);
    submit(bench, op);
    await_answers(&bench->ears[1], 1);
    assert_int_equal(op->events[0]->position, 4711);
    assert_int_equal(op->events[1]->position, 4712);
    assert_int_equal(hub_committed(bench->hub), 4712);
    free_op(op);
    tear_down(bench);
}

static void what_waits_together_is_one_commit(void **state)
{
    struct bench *bench = start();
    struct hub_op *first = begin_held(bench), *ops[50];

    (void)state;
    for (size_t i = 0; i < 50; i++) {
        ops[i] = make_op(&bench->ears[i % 2], i % 3 ? "S" : "SS");
        submit(bench, ops[i]);
    }
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], 26);
    await_answers(&bench->ears[1], 25);
    assert_int_equal(bench->store.appends_n, 2);
    assert_int_equal(bench->store.events_n[1], 67);
    assert_int_equal(bench->ears[0].batches_n, 2);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_HUB_BATCHES), 2);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_PUBLISHED), 68);

    /* the order of operations is the order of positions, of delivery and of answers */
    uint64_t position = 1;
    for (size_t i = 0; i < 50; i++) {
        assert_ptr_equal(bench->ears[i % 2].answers[i / 2 + (i % 2 == 0)], ops[i]);
        for (size_t e = 0; e < ops[i]->events_n; e++)
            assert_int_equal(ops[i]->events[e]->position, ++position);
        free_op(ops[i]);
    }
    for (size_t ear = 0; ear < 2; ear++)
        for (size_t i = 0; i < 68; i++)
            assert_int_equal(bench->ears[ear].events[i]->position, i + 1);
    free_op(first);
    tear_down(bench);
}

static void one_commit_takes_so_many_events(void **state)
{
    struct bench *bench = start();
    struct hub_op *first = begin_held(bench), *ops[10];

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        ops[i] = make_large_op(&bench->ears[0], 1000);
        submit(bench, ops[i]);
    }
    ops[9] = make_large_op(&bench->ears[0], BATCH_EVENTS + 1); /* too many, but alone */
    submit(bench, ops[9]);
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], 11);
    assert_int_equal(bench->store.appends_n, 4);
    assert_int_equal(bench->store.events_n[1], 8000);
    assert_int_equal(bench->store.events_n[2], 1000);
    assert_int_equal(bench->store.events_n[3], BATCH_EVENTS + 1);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(ops[i]->result, 0);
        free_op(ops[i]);
    }
    free_op(first);
    tear_down(bench);
}

static void an_event_that_came_before_is_not_stored_again(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 10);
    struct ear *ear = &bench->ears[0];

    (void)state;
    assert_int_equal(hub_start(bench->hub), 0);
    struct hub_op *op = keyed(ear, "old", "x", "new", "x", "", "x");
    submit(bench, op);
    await_answers(ear, 1);
    assert_int_equal(op->result, 0);
    assert_int_equal(op->duplicate_of[0], 5);
    assert_int_equal(op->duplicate_of[1], 0);
    assert_int_equal(op->duplicate_of[2], 0);
    assert_int_equal(op->events[0]->published_ms, 0);
    assert_int_equal(op->events[1]->position, 11);
    assert_int_equal(op->events[2]->position, 12);
    await_events(ear, 2);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_REPEATED), 1);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_PUBLISHED), 2);

    /* nothing new at all: an answer, and no batch */
    struct hub_op *again = keyed(ear, "old", "x");
    submit(bench, again);
    await_answers(ear, 2);
    assert_int_equal(again->result, 0);
    assert_int_equal(again->duplicate_of[0], 5);
    assert_int_equal(ear->batches_n, 1);
    assert_int_equal(hub_committed(bench->hub), 12);
    free_op(op);
    free_op(again);
    tear_down(bench);
}

/* What is refused adds nothing to the commit of the others. */
static void a_key_with_other_content_refuses_its_operation_alone(void **state)
{
    struct bench *bench = start();
    struct ear *ear = &bench->ears[0];

    (void)state;
    struct hub_op *first = begin_held(bench);
    struct hub_op *good = keyed(ear, "a", "x");
    struct hub_op *other = keyed(ear, "c", "x", "old", "y", "d", "x");
    struct hub_op *clash = keyed(ear, "", "x", "a", "y");
    struct hub_op *lost = keyed(ear, "e", "x", "bad", "x");
    struct hub_op *free_again = keyed(ear, "c", "z", "d", "z", "e", "z");
    struct hub_op *all[] = {good, other, clash, lost, free_again};
    for (size_t i = 0; i < 5; i++)
        submit(bench, all[i]);
    store_hold(&bench->store, false);
    await_answers(ear, 6);
    assert_int_equal(good->result, 0);
    assert_int_equal(good->events[0]->position, 2);
    assert_int_equal(other->result, -EEXIST);
    assert_int_equal(other->conflict_at, 1);
    assert_int_equal(clash->result, -EEXIST);
    assert_int_equal(clash->conflict_at, 1);
    assert_int_equal(lost->result, -EIO);
    assert_int_equal(free_again->result, 0);
    assert_int_equal(free_again->events[2]->position, 5);
    await_events(ear, 5);
    assert_int_equal(bench->store.newest, 5);
    for (size_t i = 0; i < 5; i++)
        free_op(all[i]);
    free_op(first);
    tear_down(bench);
}

/* The second one of two in one commit gets the position that the first one is given there. */
static void a_key_may_come_twice_in_one_commit(void **state)
{
    struct bench *bench = start();
    struct ear *ear = &bench->ears[0];

    (void)state;
    struct hub_op *first = begin_held(bench);
    struct hub_op *one = keyed(ear, "", "x", "a", "x");
    struct hub_op *two = keyed(&bench->ears[1], "a", "x");
    submit(bench, one);
    submit(bench, two);
    store_hold(&bench->store, false);
    await_answers(ear, 2);
    await_answers(&bench->ears[1], 1);
    assert_int_equal(one->events[1]->position, 3);
    assert_int_equal(one->duplicate_of[1], 0);
    assert_int_equal(two->result, 0);
    assert_int_equal(two->duplicate_of[0], 3);
    assert_int_equal(bench->store.newest, 3);
    free_op(one);
    free_op(two);
    free_op(first);
    tear_down(bench);
}

/* When a commit fails, so does what only repeats an event of it; not what was stored before. */
static void a_repeat_is_worth_what_its_first_is(void **state)
{
    struct bench *bench = start();
    struct ear *ear = &bench->ears[0];

    (void)state;
    struct hub_op *first = begin_held(bench);
    struct hub_op *one = keyed(ear, "a", "x"), *two = keyed(ear, "a", "x");
    struct hub_op *old = keyed(ear, "old", "x");
    submit(bench, one);
    submit(bench, two);
    submit(bench, old);
    store_step(&bench->store);
    store_await(&bench->store, 2);
    store_fail(&bench->store, -ENOSPC);
    store_hold(&bench->store, false);
    await_answers(ear, 4);
    assert_int_equal(one->result, -ENOSPC);
    assert_int_equal(two->result, -ENOSPC);
    assert_int_equal(old->result, 0);
    assert_int_equal(old->duplicate_of[0], 5);

    /* and the key is free */
    store_fail(&bench->store, 0);
    struct hub_op *again = keyed(ear, "a", "x");
    submit(bench, again);
    await_answers(ear, 5);
    assert_int_equal(again->result, 0);
    assert_int_equal(again->events[0]->position, 2);
    free_op(one);
    free_op(two);
    free_op(old);
    free_op(again);
    free_op(first);
    tear_down(bench);
}

static void a_failing_store_delivers_nothing_and_answers_why(void **state)
{
    struct bench *bench = start();
    struct hub_op *bad[3], *probe, *good;

    (void)state;
    struct hub_op *first = begin_held(bench);
    bad[0] = make_op(&bench->ears[0], "S");
    bad[1] = make_op(&bench->ears[1], "SES");
    bad[2] = make_op(&bench->ears[1], "E");
    probe = make_op(&bench->ears[1], "");
    for (size_t i = 0; i < 3; i++)
        submit(bench, bad[i]);
    submit(bench, probe);
    store_step(&bench->store);
    store_await(&bench->store, 2);
    store_fail(&bench->store, -ENOSPC);
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], 2);
    await_answers(&bench->ears[1], 3);
    /* what only live streams get needs no store */
    assert_int_equal(bad[2]->result, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(bad[i]->result, -ENOSPC);
        for (size_t e = 0; e < bad[i]->events_n; e++) {
            assert_int_equal(bad[i]->events[e]->published_ms, 0);
            assert_int_equal(bad[i]->events[e]->refs, 1);
        }
    }
    assert_int_equal(probe->result, 0);
    assert_int_equal(hub_committed(bench->hub), 1);
    assert_int_equal(bench->ears[0].events_n, 2);
    assert_int_equal(bench->ears[1].events_n, 2);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_PUBLISHED), 1);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_EPHEMERAL), 1);

    /* and it goes on when the store does */
    store_fail(&bench->store, 0);
    good = make_op(&bench->ears[0], "S");
    submit(bench, good);
    await_answers(&bench->ears[0], 3);
    assert_int_equal(good->result, 0);
    assert_int_equal(good->events[0]->position, 2);
    for (size_t i = 0; i < 3; i++)
        free_op(bad[i]);
    free_op(probe);
    free_op(good);
    free_op(first);
    tear_down(bench);
}

static void ephemeral_events_keep_their_place(void **state)
{
    static const uint64_t positions[] = {0, 1, 1, 2, 3, 3, 3, 4};
    struct bench *bench = start();
    struct hub_op *op = make_op(&bench->ears[0], "ESESSEES"), *alone;

    (void)state;
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    assert_int_equal(bench->store.events_n[0], 4);
    for (size_t i = 0; i < 8; i++) {
        assert_ptr_equal(bench->ears[0].events[i], op->events[i]);
        assert_int_equal(op->events[i]->position, positions[i]);
        assert_true(op->events[i]->published_ms > 0);
    }
    /* alone they do not touch the store, so it cannot fail them */
    store_fail(&bench->store, -EIO);
    alone = make_op(&bench->ears[0], "EE");
    submit(bench, alone);
    await_answers(&bench->ears[0], 2);
    assert_int_equal(alone->result, 0);
    assert_int_equal(alone->events[1]->position, 4);
    assert_int_equal(bench->store.appends_n, 1);
    assert_int_equal(hub_committed(bench->hub), 4);
    assert_int_equal(bench->ears[0].events_n, 10);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_EVENTS_EPHEMERAL), 6);
    free_op(op);
    free_op(alone);
    tear_down(bench);
}

static void a_probe_is_answered_without_the_store(void **state)
{
    struct bench *bench = start();
    struct hub_op *probe = make_op(&bench->ears[1], "");

    (void)state;
    submit(bench, probe);
    await_answers(&bench->ears[1], 1);
    assert_int_equal(probe->result, 0);
    assert_int_equal(bench->store.appends_n, 0);
    assert_int_equal(bench->ears[0].batches_n + bench->ears[1].batches_n, 0);
    assert_true(pthread_equal(bench->ears[0].thread, (pthread_t)0));
    free_op(probe);
    tear_down(bench);
}

static void admits_so_many_bytes(void **state)
{
    struct bench *bench = build(1000, FOR_EVER, 0);
    struct hub_op *op = make_op(&bench->ears[0], "S");

    (void)state;
    assert_int_equal(hub_start(bench->hub), 0);
    assert_true(hub_admit(bench->hub, 600, NULL));
    assert_false(hub_admit(bench->hub, 401, NULL));
    assert_true(hub_admit(bench->hub, 400, NULL));
    assert_false(hub_admit(bench->hub, 1, NULL));
    op->bytes = 600; /* as it was asked for: the answer counts it off */
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    assert_false(hub_admit(bench->hub, 601, NULL));
    assert_true(hub_admit(bench->hub, 600, NULL));
    assert_false(hub_admit(bench->hub, 1, NULL));
    free_op(op);
    tear_down(bench);
}

/* Something larger than the whole queue would otherwise never be taken. */
static void admits_anything_when_nothing_waits(void **state)
{
    struct bench *bench = build(1000, FOR_EVER, 0);

    (void)state;
    assert_true(hub_admit(bench->hub, 5000, NULL));
    assert_false(hub_admit(bench->hub, 1, NULL));
    tear_down(bench);
}

static void counts_off_what_the_store_failed(void **state)
{
    struct bench *bench = build(1000, FOR_EVER, 0);
    struct hub_op *op = make_op(&bench->ears[0], "S");

    (void)state;
    bench->store.result = -EIO;
    assert_int_equal(hub_start(bench->hub), 0);
    assert_true(hub_admit(bench->hub, 1000, NULL));
    op->bytes = 1000;
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    assert_true(hub_admit(bench->hub, 1000, NULL));
    free_op(op);
    tear_down(bench);
}

static void admits_nothing_while_the_oldest_is_too_old(void **state)
{
    struct bench *bench = build(LOTS, 1000000, 0);
    struct hub_op *op;

    (void)state;
    assert_int_equal(hub_lag_ns(bench->hub), 0);
    assert_true(hub_admit(bench->hub, 1, NULL));
    assert_int_equal(hub_start(bench->hub), 0);
    int64_t before_ns = clock_mono_ns();
    op = begin_held(bench);
    while (hub_lag_ns(bench->hub) <= 1000000)
        assert_true(clock_mono_ns() - before_ns < INT64_C(10000000000));
    assert_false(hub_admit(bench->hub, 1, NULL));
    assert_true(hub_lag_ns(bench->hub) <= clock_mono_ns() - before_ns);
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], 1);
    while (hub_lag_ns(bench->hub) != 0)
        assert_true(clock_mono_ns() - before_ns < INT64_C(10000000000));
    assert_true(hub_admit(bench->hub, 1, NULL));
    free_op(op);
    tear_down(bench);
}

/* What is left over by a full commit, or came while one was under way, keeps its age. */
static void the_age_of_the_oldest_is_kept_from_commit_to_commit(void **state)
{
    struct bench *bench = start();
    struct hub_op *first = begin_held(bench);
    struct hub_op *full = make_large_op(&bench->ears[0], BATCH_EVENTS);
    struct hub_op *left = make_op(&bench->ears[0], "S");
    int64_t submitted_ns, asked_ns;

    (void)state;
    submit(bench, full);
    submit(bench, left);
    submitted_ns = clock_mono_ns();
    for (size_t commit = 2; commit <= 3; commit++) {
        store_step(&bench->store);
        store_await(&bench->store, commit);
        asked_ns = clock_mono_ns();
        assert_true(hub_lag_ns(bench->hub) >= asked_ns - submitted_ns);
    }
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], 3);
    free_op(first);
    free_op(full);
    free_op(left);
    tear_down(bench);
}

static void what_was_admitted_may_cost_more_or_less(void **state)
{
    struct bench *bench = build(1000, FOR_EVER, 0);

    (void)state;
    assert_true(hub_admit(bench->hub, 600, NULL));
    hub_charge(bench->hub, 600, 900);
    assert_true(hub_is_full(bench->hub, 101));
    assert_false(hub_is_full(bench->hub, 100));
    hub_charge(bench->hub, 900, 100);
    assert_true(hub_admit(bench->hub, 900, NULL));
    assert_false(hub_admit(bench->hub, 1, NULL));
    hub_charge(bench->hub, 900, 0);
    assert_true(hub_admit(bench->hub, 900, NULL));
    tear_down(bench);
}

/* Commit so many bytes; the store takes `held_ns` at least. */
static void commit_bytes(struct bench *bench, size_t bytes, int64_t held_ns)
{
    size_t before = bench->ears[0].answers_n;
    struct hub_op *op = begin_held_bytes(bench, bytes);
    int64_t until_ns = clock_mono_ns() + held_ns;

    while (clock_mono_ns() < until_ns)
        sched_yield();
    store_hold(&bench->store, false);
    await_answers(&bench->ears[0], before + 1);
    free_op(op);
}

static void await_room(struct bench *bench, bool more, size_t room)
{
    int64_t until_ns = clock_mono_ns() + INT64_C(10000000000);

    while (more ? hub_queue_room(bench->hub) <= room : hub_queue_room(bench->hub) != room) {
        assert_true(clock_mono_ns() < until_ns);
        if (more)
            commit_bytes(bench, 1 << 20, 0);
    }
}

/* The last in the queue is not to wait longer than WAIT_MAX_NS: 1 MiB took twenty times as long. */
static void a_slow_store_leaves_less_room(void **state)
{
    struct bench *bench = start();

    (void)state;
    assert_true(hub_queue_room(bench->hub) == LOTS);
    commit_bytes(bench, 1 << 20, 20 * WAIT_MAX_NS);
    await_room(bench, false, ROOM_MIN);
    assert_true(hub_admit(bench->hub, ROOM_MIN, NULL));
    assert_false(hub_admit(bench->hub, 1, NULL));
    hub_charge(bench->hub, ROOM_MIN, 0);
    await_room(bench, true, ROOM_MIN); /* and a fast one gives it back */
    tear_down(bench);
}

/* A small commit is nearly all sync, which does not grow with what there is to commit. */
static void small_commits_say_nothing_of_the_pace(void **state)
{
    struct bench *bench = start();

    (void)state;
    for (int i = 0; i < 3; i++)
        commit_bytes(bench, 65535, 2 * WAIT_MAX_NS);
    assert_true(hub_queue_room(bench->hub) == LOTS);
    tear_down(bench);
}

struct stopper {
    struct hub *hub;
    _Atomic pid_t thread_id;
};

static void *stop(void *arg)
{
    struct stopper *stopper = arg;

    stopper->thread_id = gettid();
    hub_stop(stopper->hub);
    return NULL;
}

/* Wait until the thread waits for something, as the kernel tells. */
static void await_sleep(const struct stopper *stopper)
{
    char path[64], state = 'R';

    while (stopper->thread_id == 0)
        sched_yield();
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)stopper->thread_id);
    while (state != 'S') {
        FILE *file = fopen(path, "re");

        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
        fclose(file);
    }
}

static void a_stop_answers_all_that_was_submitted(void **state)
{
    struct bench *bench = start();
    struct hub_op *first = begin_held(bench), *ops[20];
    struct stopper stopper = {.hub = bench->hub};
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, stop, &stopper), 0);
    await_sleep(&stopper);
    for (size_t i = 0; i < 20; i++) {
        ops[i] = make_op(&bench->ears[1], i % 2 ? "S" : "");
        submit(bench, ops[i]);
    }
    store_hold(&bench->store, false);
    pthread_join(thread, NULL);
    assert_int_equal(bench->ears[0].answers_n, 1);
    assert_int_equal(bench->ears[1].answers_n, 20);
    assert_int_equal(bench->ears[1].events_n, 11);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(ops[i]->result, 0);
        free_op(ops[i]);
    }
    free_op(first);
    tear_down(bench);
}

static void after_a_stop_the_answer_is_at_once_and_no(void **state)
{
    struct bench *bench = build(1000, FOR_EVER, 0);
    struct hub_op *ops[2] = {make_op(&bench->ears[0], "S"), make_op(&bench->ears[1], "E")};
    struct hub_ops list = STAILQ_HEAD_INITIALIZER(list);

    (void)state;
    assert_int_equal(hub_start(bench->hub), 0);
    hub_stop(bench->hub);
    hub_stop(bench->hub);
    for (size_t i = 0; i < 2; i++) {
        ops[i]->bytes = 500;
        assert_true(hub_admit(bench->hub, 500, NULL));
        STAILQ_INSERT_TAIL(&list, ops[i], link);
    }
    hub_submit(bench->hub, &list);
    assert_true(STAILQ_EMPTY(&list));
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(bench->ears[i].answers_n, 1);
        assert_ptr_equal(bench->ears[i].answers[0], ops[i]);
        assert_true(pthread_equal(bench->ears[i].thread, pthread_self()));
        assert_int_equal(bench->ears[i].events_n, 0);
        assert_int_equal(ops[i]->result, -ESHUTDOWN);
        assert_int_equal(ops[i]->events[0]->published_ms, 0);
        free_op(ops[i]);
    }
    assert_int_equal(bench->store.appends_n, 0);
    assert_true(hub_admit(bench->hub, 1000, NULL)); /* counted off again */
    assert_false(hub_admit(bench->hub, 1, NULL));
    tear_down(bench);
}

static void a_batch_lives_as_long_as_somebody_holds_it(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 0);
    struct hub_op *op = make_op(&bench->ears[0], "S");
    struct hub_batch *batch;

    (void)state;
    bench->ears[0].keep = true;
    assert_int_equal(hub_start(bench->hub), 0);
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    free_op(op);
    hub_stop(bench->hub);
    batch = bench->ears[0].last;
    assert_int_equal(batch->refs, 1);
    assert_int_equal(batch->events_n, 1);
    assert_memory_equal(batch->events[0]->frame, "data: data\n", 11);
    tear_down(bench);
    hub_batch_unref(NULL);
}

static void trims_when_nobody_publishes(void **state)
{
    struct bench *bench = start();

    (void)state;
    pthread_mutex_lock(&bench->store.lock);
    while (bench->store.trims_n < 3)
        pthread_cond_wait(&bench->store.changed, &bench->store.lock);
    pthread_mutex_unlock(&bench->store.lock);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_HISTORY_EVENTS), 6);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_HISTORY_BYTES), 600);
    tear_down(bench);
}

/* Many steps at once where there is much to forget, without waiting for the next quarter second. */
static void trims_on_while_there_is_more(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 0);
    int64_t began_ms = clock_mono_ms();

    (void)state;
    bench->store.trims_wanted = 400;
    assert_int_equal(hub_start(bench->hub), 0);
    pthread_mutex_lock(&bench->store.lock);
    while (bench->store.trims_n < 400)
        pthread_cond_wait(&bench->store.changed, &bench->store.lock);
    pthread_mutex_unlock(&bench->store.lock);
    assert_in_range(clock_mono_ms() - began_ms, 0, 50000); /* 100 s if it waited */
    tear_down(bench);
}

static void a_hub_that_never_ran_can_be_freed(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 0);

    (void)state;
    tear_down(bench);
    hub_free(NULL);
}

/* ---- many publishers ---- */

enum { PUBLISHERS = 4, EACH = 2000 };

struct publisher {
    struct bench *bench;
    struct ear *ear;
    struct hub_op *ops[EACH];
    size_t refused_n;
};

static void *publish(void *arg)
{
    struct publisher *publisher = arg;

    for (size_t i = 0; i < EACH; i++) {
        struct hub_op *op = make_op(publisher->ear, i % 5 ? "S" : "SE");

        publisher->ops[i] = op;
        while (!hub_admit(publisher->bench->hub, op->bytes, NULL))
            publisher->refused_n++;
        submit(publisher->bench, op);
    }
    return NULL;
}

static void publish_side_by_side(struct bench *bench)
{
    struct publisher publishers[PUBLISHERS];
    pthread_t threads[PUBLISHERS];
    uint64_t position = 0;

    for (size_t i = 0; i < PUBLISHERS; i++) {
        publishers[i] = (struct publisher){.bench = bench, .ear = &bench->ears[i % 2]};
        assert_int_equal(pthread_create(&threads[i], NULL, publish, &publishers[i]), 0);
    }
    for (size_t i = 0; i < PUBLISHERS; i++)
        pthread_join(threads[i], NULL);
    hub_stop(bench->hub);
    for (size_t ear = 0; ear < 2; ear++) {
        assert_int_equal(bench->ears[ear].answers_n, PUBLISHERS / 2 * EACH);
        assert_int_equal(bench->ears[ear].events_n, PUBLISHERS * (EACH + EACH / 5));
    }
    for (size_t i = 0; i < bench->ears[0].events_n; i++) {
        struct message *message = bench->ears[0].events[i];

        assert_ptr_equal(bench->ears[1].events[i], message);
        position += message->kind == MESSAGE_STORED;
        assert_int_equal(message->position, position);
    }
    assert_int_equal(hub_committed(bench->hub), position);
    for (size_t i = 0; i < PUBLISHERS; i++) {
        uint64_t before = 0;

        for (size_t n = 0; n < EACH; n++) {
            struct hub_op *op = publishers[i].ops[n];

            assert_int_equal(op->result, 0);
            assert_true(op->events[0]->position > before);
            before = op->events[0]->position;
            free_op(op);
        }
    }
    assert_true(hub_admit(bench->hub, 20000, NULL));
    tear_down(bench);
}

static void many_publishers_have_one_order(void **state)
{
    struct bench *bench = build(20000, FOR_EVER, 0);

    (void)state;
    assert_int_equal(hub_start(bench->hub), 0);
    publish_side_by_side(bench);
}

static void so_they_have_where_turns_are_their_own(void **state)
{
    (void)state;
    publish_side_by_side(start_at_hand(20000));
}

/* ---- turns of who submits ---- */

static void a_store_at_hand_answers_before_submit_returns(void **state)
{
    struct bench *bench = start_at_hand(LOTS);
    struct hub_op *op = make_op(&bench->ears[0], "SES");

    (void)state;
    submit(bench, op);
    assert_int_equal(bench->ears[0].answers_n, 1);
    assert_int_equal(bench->ears[1].events_n, 3);
    assert_true(pthread_equal(bench->ears[1].thread, pthread_self()));
    assert_int_equal(hub_committed(bench->hub), 2);
    assert_int_equal(hub_lag_ns(bench->hub), 0);
    assert_false(bench->store.claimed);
    free_op(op);
    tear_down(bench);
}

static void submit_to_the_thread(struct bench *bench, size_t events_n)
{
    char kinds[AT_ONCE_EVENTS + 2] = "";
    struct hub_op *op = make_op(&bench->ears[0], memset(kinds, 'S', events_n));

    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    assert_false(pthread_equal(bench->ears[0].thread, pthread_self()));
    tear_down(bench);
    free_op(op);
}

static void a_store_that_waits_is_the_threads(void **state)
{
    (void)state;
    submit_to_the_thread(start(), 1);
}

static void much_at_once_is_the_threads(void **state)
{
    (void)state;
    submit_to_the_thread(start_at_hand(LOTS), AT_ONCE_EVENTS + 1);
}

struct held_turn {
    struct bench *bench;
    struct hub_op *op;
};

static void *submit_held(void *arg)
{
    struct held_turn *turn = arg;

    submit(turn->bench, turn->op);
    return NULL;
}

static void what_comes_during_such_a_turn_is_the_threads(void **state)
{
    struct bench *bench = start_at_hand(LOTS);
    struct held_turn turn = {bench, make_op(&bench->ears[0], "S")};
    struct hub_op *next = make_op(&bench->ears[1], "S");
    pthread_t thread;

    (void)state;
    store_hold(&bench->store, true);
    assert_int_equal(pthread_create(&thread, NULL, submit_held, &turn), 0);
    store_await(&bench->store, 1);
    submit(bench, next);
    assert_int_equal(bench->ears[1].answers_n, 0);
    store_hold(&bench->store, false);
    await_answers(&bench->ears[1], 1);
    assert_false(pthread_equal(bench->ears[1].thread, thread));
    assert_false(pthread_equal(bench->ears[1].thread, pthread_self()));
    pthread_join(thread, NULL);
    assert_int_equal(turn.op->events[0]->position, 1);
    assert_int_equal(next->events[0]->position, 2);
    free_op(turn.op);
    free_op(next);
    tear_down(bench);
}

/* Its thread waits for the turn too, and serves what it left. */
static void a_stop_waits_for_such_a_turn(void **state)
{
    struct bench *bench = start_at_hand(LOTS);
    struct held_turn turn = {bench, make_op(&bench->ears[0], "S")};
    struct hub_op *left = make_op(&bench->ears[1], "S");
    struct stopper stopper = {.hub = bench->hub};
    pthread_t thread, stopping;

    (void)state;
    store_hold(&bench->store, true);
    assert_int_equal(pthread_create(&thread, NULL, submit_held, &turn), 0);
    store_await(&bench->store, 1);
    submit(bench, left);
    assert_int_equal(pthread_create(&stopping, NULL, stop, &stopper), 0);
    await_sleep(&stopper);
    assert_int_equal(bench->ears[0].answers_n, 0);
    store_hold(&bench->store, false);
    pthread_join(stopping, NULL);
    assert_int_equal(bench->ears[0].answers_n, 1);
    assert_int_equal(turn.op->result, 0);
    assert_int_equal(left->result, 0);
    pthread_join(thread, NULL);
    free_op(turn.op);
    free_op(left);
    tear_down(bench);
}

/* Four bells are quickly rung, and more are the thread's. */
static void with_many_listeners_turns_are_the_threads(void **state)
{
    struct bench *bench = build(LOTS, FOR_EVER, 0);
    struct ear more[3] = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        open_ear(bench, &more[i]);
    bench->store.at_hand = true;
    assert_int_equal(hub_start(bench->hub), 0);
    struct hub_op *op = make_op(&bench->ears[0], "S");
    submit(bench, op);
    await_answers(&bench->ears[0], 1);
    assert_false(pthread_equal(bench->ears[0].thread, pthread_self()));
    tear_down(bench);
    for (size_t i = 0; i < 3; i++)
        close_ear(&more[i]);
    free_op(op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_delivers_and_answers),
        cmocka_unit_test(goes_on_from_where_the_history_stands),
        cmocka_unit_test(what_waits_together_is_one_commit),
        cmocka_unit_test(one_commit_takes_so_many_events),
        cmocka_unit_test(an_event_that_came_before_is_not_stored_again),
        cmocka_unit_test(a_key_with_other_content_refuses_its_operation_alone),
        cmocka_unit_test(a_key_may_come_twice_in_one_commit),
        cmocka_unit_test(a_repeat_is_worth_what_its_first_is),
        cmocka_unit_test(a_failing_store_delivers_nothing_and_answers_why),
        cmocka_unit_test(ephemeral_events_keep_their_place),
        cmocka_unit_test(a_probe_is_answered_without_the_store),
        cmocka_unit_test(admits_so_many_bytes),
        cmocka_unit_test(admits_anything_when_nothing_waits),
        cmocka_unit_test(counts_off_what_the_store_failed),
        cmocka_unit_test(admits_nothing_while_the_oldest_is_too_old),
        cmocka_unit_test(what_was_admitted_may_cost_more_or_less),
        cmocka_unit_test(a_slow_store_leaves_less_room),
        cmocka_unit_test(small_commits_say_nothing_of_the_pace),
        cmocka_unit_test(the_age_of_the_oldest_is_kept_from_commit_to_commit),
        cmocka_unit_test(a_stop_answers_all_that_was_submitted),
        cmocka_unit_test(after_a_stop_the_answer_is_at_once_and_no),
        cmocka_unit_test(a_batch_lives_as_long_as_somebody_holds_it),
        cmocka_unit_test(trims_when_nobody_publishes),
        cmocka_unit_test(trims_on_while_there_is_more),
        cmocka_unit_test(a_hub_that_never_ran_can_be_freed),
        cmocka_unit_test(many_publishers_have_one_order),
        cmocka_unit_test(so_they_have_where_turns_are_their_own),
        cmocka_unit_test(a_store_at_hand_answers_before_submit_returns),
        cmocka_unit_test(a_store_that_waits_is_the_threads),
        cmocka_unit_test(much_at_once_is_the_threads),
        cmocka_unit_test(what_comes_during_such_a_turn_is_the_threads),
        cmocka_unit_test(a_stop_waits_for_such_a_turn),
        cmocka_unit_test(with_many_listeners_turns_are_the_threads),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
