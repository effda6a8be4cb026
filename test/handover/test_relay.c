/* SPDX-License-Identifier: MIT */
/*
 * A store that changes hands: the hub that gives it up, the one that has it then, and what goes
 * between them.  Both are in this process here, with the store on disk; the link is served by the
 * test's own thread, as the main thread does.  What runs on a hub's thread checks with assert().
 */
#include "handover/relay_client.h"
#include "handover/relay_host.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

#include "../support/scratch.h"
#include "hub/hub_internal.h"

#define EVENTS_MAX 64
#define ANSWERS_MAX 16

/* A worker as a hub sees it. */
struct ear {
    struct hub_listener base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct message *events[EVENTS_MAX];
    size_t events_n;
    struct hub_op *answers[ANSWERS_MAX];
    size_t answers_n;
};

static void deliver(struct hub_listener *listener, struct hub_batch *batch, struct hub_ops *answers)
{
    struct ear *ear = (struct ear *)listener;
    struct hub_op *op;

    pthread_mutex_lock(&ear->lock);
    for (size_t i = 0; batch != NULL && i < batch->events_n; i++) {
        assert(ear->events_n < EVENTS_MAX && batch->events[i]->published_ms > 0);
        ear->events[ear->events_n++] = message_ref(batch->events[i]);
    }
    while ((op = STAILQ_FIRST(answers)) != NULL) {
        STAILQ_REMOVE_HEAD(answers, link);
        assert(ear->answers_n < ANSWERS_MAX);
        ear->answers[ear->answers_n++] = op;
    }
    pthread_cond_broadcast(&ear->changed);
    pthread_mutex_unlock(&ear->lock);
}

/* A gateway's inner half. */
struct side {
    struct history *history;
    struct hub *hub;
    struct ear ear;
    struct handover_link *link;
};

struct bench {
    struct scratch scratch;
    struct event_base *base;
    struct side old; /* it has the store at first */
    struct side new;
    struct relay_client *client;
    struct relay_host *host;
    struct hub_change change;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_changed;
    size_t ends_n;
    size_t feeds_ended_n;
};

static void make_side(struct bench *bench, struct side *side)
{
    struct hub_limits limits = {.queue_bytes_max = 1 << 20, .queue_age_max_ns = INT64_MAX};

    side->history = scratch_open(bench->scratch.path, NULL);
    side->hub = hub_new(side->history, &limits);
    side->ear.base.deliver = deliver;
    pthread_mutex_init(&side->ear.lock, NULL);
    pthread_cond_init(&side->ear.changed, NULL);
    hub_add_listener(side->hub, &side->ear.base);
}

static void free_side(struct side *side)
{
    hub_stop(side->hub);
    hub_free(side->hub);
    history_free(side->history);
    for (size_t i = 0; i < side->ear.events_n; i++)
        message_unref(side->ear.events[i]);
    handover_link_free(side->link);
}

static void on_change_made(struct hub_change *change)
{
    struct bench *bench = (struct bench *)((char *)change - offsetof(struct bench, change));

    pthread_mutex_lock(&bench->lock);
    bench->is_changed = true;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static int change(struct bench *bench, void (*ask)(struct hub *hub, struct hub_change *change))
{
    bench->is_changed = false;
    ask(bench->old.hub, &bench->change);
    pthread_mutex_lock(&bench->lock);
    while (!bench->is_changed)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
    return bench->change.result;
}

static struct bench *make_bench(void)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    scratch_make(&bench->scratch);
    bench->base = event_base_new();
    bench->change.done = on_change_made;
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    make_side(bench, &bench->old);
    hub_start(bench->old.hub);
    return bench;
}

static void free_bench(struct bench *bench)
{
    if (bench->client != NULL)
        relay_client_end(bench->client);
    hub_stop(bench->old.hub);
    if (bench->new.hub != NULL)
        free_side(&bench->new);
    relay_host_free(bench->host);
    relay_client_free(bench->client);
    free_side(&bench->old);
    event_base_free(bench->base);
    scratch_remove(&bench->scratch);
    free(bench);
}

static void on_client_frame(void *arg, const struct handover_link_frame *frame)
{
    struct bench *bench = arg;

    if (frame->type == HANDOVER_LINK_FEED_END)
        bench->feeds_ended_n++;
    else
        assert(relay_client_frame(bench->client, frame));
}

static void on_host_frame(void *arg, const struct handover_link_frame *frame)
{
    struct bench *bench = arg;

    assert(relay_host_frame(bench->host, frame));
}

static void on_end(void *arg)
{
    struct bench *bench = arg;

    bench->ends_n++;
}

/* The new side opens the store and serves, the old one passes on. */
static void hand_over(struct bench *bench)
{
    struct handover_link_hooks old_hooks = {.arg = bench, .frame = on_client_frame, .end = on_end};
    struct handover_link_hooks new_hooks = {.arg = bench, .frame = on_host_frame, .end = on_end};
    int fds[2];

    assert_int_equal(change(bench, hub_release), 0);
    make_side(bench, &bench->new);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    bench->old.link = handover_link_new(fds[0]);
    bench->new.link = handover_link_new(fds[1]);
    bench->host = relay_host_new(bench->new.hub, bench->new.link);
    bench->client = relay_client_new(bench->old.hub, bench->old.link);
    assert_int_equal(handover_link_attach(bench->old.link, bench->base, &old_hooks), 0);
    assert_int_equal(handover_link_attach(bench->new.link, bench->base, &new_hooks), 0);
    hub_start(bench->new.hub);
    hub_forward(bench->old.hub, relay_client_relay(bench->client));
}

/* Serve the link until the ear has heard so much; assert() ends it if it never does. */
static void hear(struct bench *bench, struct ear *ear, size_t events_n, size_t answers_n)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&ear->lock);
        bool done = ear->events_n >= events_n && ear->answers_n >= answers_n;
        pthread_mutex_unlock(&ear->lock);
        if (done)
            return;
        event_base_loop(bench->base, EVLOOP_NONBLOCK);
        nanosleep(&pause, NULL);
    }
    assert(!"heard in time");
}

/* A publish of up to some events; they are the test's. */
struct publish {
    struct hub_op op;
    struct message *events[4];
    uint64_t duplicate_of[4];
};

static void submit(struct side *side, struct publish *publish, bool has_keys)
{
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    while (publish->op.events_n < 4 && publish->events[publish->op.events_n] != NULL)
        publish->op.bytes += publish->events[publish->op.events_n++]->bytes;
    publish->op.events = publish->events;
    publish->op.duplicate_of = has_keys ? publish->duplicate_of : NULL;
    publish->op.from = &side->ear.base;
    assert_true(hub_admit(side->hub, publish->op.bytes, NULL));
    STAILQ_INSERT_TAIL(&ops, &publish->op, link);
    hub_submit(side->hub, &ops);
}

static void clear(struct publish *publish)
{
    for (size_t i = 0; i < publish->op.events_n; i++)
        message_unref(publish->events[i]);
}

#define PUBLISH(...)                                                                               \
    {                                                                                              \
        .events = { __VA_ARGS__ }                                                                  \
    }

static struct hub_op *answer(struct side *side, size_t index)
{
    pthread_mutex_lock(&side->ear.lock);
    struct hub_op *op = side->ear.answers[index];
    pthread_mutex_unlock(&side->ear.lock);
    return op;
}

/* ---- the tests ---- */

static void passes_on_what_waited_and_what_comes_later(void **state)
{
    struct bench *bench = make_bench();
    struct publish before = PUBLISH(make_message(.topics = "a")),
                   waiting = PUBLISH(make_message(.topics = "a", .data = "waits")),
                   later = PUBLISH(make_message(.topics = "b"), make_message(.users = "ada"),
                                   make_message(.kind = MESSAGE_EPHEMERAL));

    (void)state;
    submit(&bench->old, &before, false);
    hear(bench, &bench->old.ear, 1, 1);
    assert_int_equal(change(bench, hub_release), 0);
    submit(&bench->old, &waiting, false);
    assert_int_equal(change(bench, hub_reclaim), 0);
    hear(bench, &bench->old.ear, 2, 2); /* it came to nothing, and what waited is committed */
    assert_int_equal(waiting.op.result, 0);
    assert_int_equal(waiting.events[0]->position, 2);

    hand_over(bench);
    submit(&bench->old, &later, false);
    hear(bench, &bench->old.ear, 5, 3);
    hear(bench, &bench->new.ear, 3, 0);
    assert_ptr_equal(answer(&bench->old, 2), &later.op);
    assert_int_equal(later.op.result, 0);
    assert_int_equal(later.events[0]->position, 3);
    assert_int_equal(later.events[1]->position, 4);
    for (size_t i = 0; i < 3; i++) {
        struct message *there = bench->new.ear.events[i], *here = bench->old.ear.events[2 + i];

        assert_int_equal(here->position, there->position);
        assert_int_equal(here->published_ms, there->published_ms);
        assert_int_equal(here->frame_n, there->frame_n);
        assert_memory_equal(here->frame, there->frame, here->frame_n);
    }
    assert_int_equal(hub_committed(bench->old.hub), 4);
    assert_true(hub_admit(bench->old.hub, 1 << 20, NULL)); /* all bytes are counted off again */
    clear(&before);
    clear(&waiting);
    clear(&later);
    free_bench(bench);
}

static void hears_what_others_publish_until_it_wants_no_more(void **state)
{
    struct bench *bench = make_bench();
    struct publish there = PUBLISH(make_message(.topics = "a"), make_message(.topics = "b")),
                   unheard = PUBLISH(make_message(.topics = "c")), probe = {.op.events_n = 0};

    (void)state;
    hand_over(bench);
    submit(&bench->new, &there, false);
    hear(bench, &bench->old.ear, 2, 0);
    assert_int_equal(hub_committed(bench->old.hub), 2);
    handover_link_send(bench->old.link, HANDOVER_LINK_NO_FEED, NULL, 0);
    submit(&bench->old, &probe, false); /* its answer: the wish has been heard */
    hear(bench, &bench->old.ear, 2, 1);
    assert_int_equal(probe.op.result, 0);
    submit(&bench->new, &unheard, false);
    hear(bench, &bench->new.ear, 3, 2);
    for (int i = 0; i < 5000 && hub_committed(bench->old.hub) < 3; i++) {
        struct timespec pause = {.tv_nsec = 1000000};

        event_base_loop(bench->base, EVLOOP_NONBLOCK);
        nanosleep(&pause, NULL);
    }
    assert_int_equal(hub_committed(bench->old.hub), 3);
    assert_int_equal(bench->old.ear.events_n, 2);
    clear(&there);
    clear(&unheard);
    free_bench(bench);
}

static void tells_keys_that_came_before_and_conflicts(void **state)
{
    struct bench *bench = make_bench();
    struct publish first = PUBLISH(make_message(.topics = "a", .key = "k")),
                   same = PUBLISH(make_message(.topics = "a"),
                                  make_message(.topics = "a", .key = "k")),
                   other = PUBLISH(make_message(.topics = "a"),
                                   make_message(.topics = "b", .key = "k"));

    (void)state;
    submit(&bench->old, &first, true);
    hear(bench, &bench->old.ear, 1, 1);
    hand_over(bench);
    submit(&bench->old, &same, true);
    submit(&bench->old, &other, true);
    hear(bench, &bench->old.ear, 2, 3);
    assert_int_equal(same.op.result, 0);
    assert_int_equal(same.duplicate_of[0], 0);
    assert_int_equal(same.duplicate_of[1], 1);
    assert_int_equal(same.events[0]->position, 2);
    assert_int_equal(other.op.result, -EEXIST);
    assert_int_equal(other.op.conflict_at, 1);
    clear(&first);
    clear(&same);
    clear(&other);
    free_bench(bench);
}

static void answers_what_was_passed_on_when_the_link_ends(void **state)
{
    struct bench *bench = make_bench();
    struct publish lost = PUBLISH(make_message(.topics = "a")),
                   late = PUBLISH(make_message(.topics = "b"));

    (void)state;
    hand_over(bench);
    submit(&bench->old, &lost, false);
    while (handover_link_unsent(bench->old.link) ==
           0) /* it is on its way, and nobody serves the link */
        sched_yield();
    relay_client_end(bench->client);
    hear(bench, &bench->old.ear, 0, 1);
    assert_int_equal(lost.op.result, -ECONNRESET);
    submit(&bench->old, &late, false);
    hear(bench, &bench->old.ear, 0, 2);
    assert_int_equal(late.op.result, -ESHUTDOWN);
    clear(&lost);
    clear(&late);
    free_bench(bench);
}

static const char next_epoch[] = "anotherepoch";

/* Where a log is shared: the new process has another epoch, and nothing is lost. */
static void tells_ids_of_the_epoch_that_the_store_has(void **state)
{
    struct bench *bench = make_bench();
    struct publish before = PUBLISH(make_message(.topics = "a")),
                   later = PUBLISH(make_message(.topics = "a"));
    uint64_t end = 0;

    (void)state;
    submit(&bench->old, &before, false);
    hear(bench, &bench->old.ear, 1, 1);
    char epoch[SSE_EPOCH_BYTES + 1];
    strcpy(epoch, history_epoch(bench->old.history));
    hand_over(bench);
    history_set_lineage(bench->new.history,
                        lineage_begin(history_lineage(bench->new.history), next_epoch, 1));
    submit(&bench->old, &later, false);
    hear(bench, &bench->old.ear, 2, 2);
    assert_int_equal(later.op.result, 0);
    assert_string_equal(history_epoch(bench->old.history), next_epoch);
    assert_true(lineage_find(history_lineage(bench->old.history), epoch, &end));
    assert_int_equal(end, 1);
    assert_int_equal(bench->feeds_ended_n, 0);
    clear(&before);
    clear(&later);
    free_bench(bench);
}

/* And if something is lost, streams of the old process can only come back. */
static void a_cut_ends_the_feed(void **state)
{
    struct bench *bench = make_bench();
    struct publish before = PUBLISH(make_message(.topics = "a"), make_message(.topics = "a")),
                   later = PUBLISH(make_message(.topics = "a"));
    struct hub_ops none = STAILQ_HEAD_INITIALIZER(none);
    struct hub_batch *cut = hub_batch_new(0);

    (void)state;
    submit(&bench->old, &before, false);
    hear(bench, &bench->old.ear, 2, 1);
    hand_over(bench);
    history_set_lineage(bench->new.history,
                        lineage_begin(history_lineage(bench->new.history), next_epoch, 1));
    cut->cut = HUB_CUT_TERM;
    cut->cut_at = 1;
    hub_hand_out(bench->new.hub, &none, cut);
    hub_hand_out(bench->new.hub, &none, cut);
    hub_batch_unref(cut);
    submit(&bench->old, &later, false);
    hear(bench, &bench->old.ear, 2, 2);
    assert_int_equal(later.op.result, 0);
    assert_string_equal(history_epoch(bench->old.history), next_epoch);
    assert_int_equal(bench->feeds_ended_n, 1);
    assert_int_equal(bench->old.ear.events_n, 2);
    clear(&before);
    clear(&later);
    free_bench(bench);
}

/* Answered as one that is no order, since the new hub here has no log. */
static void passes_on_orders(void **state)
{
    struct bench *bench = make_bench();
    struct publish order = {.op.order = "end all", .op.order_n = 7, .op.order_seq = 99};

    (void)state;
    hand_over(bench);
    submit(&bench->old, &order, false);
    hear(bench, &bench->old.ear, 0, 1);
    assert_int_equal(order.op.result, 0);
    assert_int_equal(order.op.order_seq, 0);
    free_bench(bench);
}

static void refuses_frames_that_make_no_sense(void **state)
{
    struct bench *bench = make_bench();
    static const char zeros[64];
    struct handover_link_frame frames[] = {
        {.type = HANDOVER_LINK_ANSWER, .bytes = zeros, .n = 8}, /* to nothing */
        {.type = HANDOVER_LINK_BATCH, .bytes = zeros, .n = 4},
        {.type = HANDOVER_LINK_BATCH, .bytes = "\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0", .n = 20},
        {.type = HANDOVER_LINK_BATCH, .bytes = "\0\0\0\0\0\0\0\0\xff\xff\xff\xff", .n = 12},
        {.type = HANDOVER_LINK_GO, .bytes = zeros, .n = 0},
        {.type = HANDOVER_LINK_LINEAGE, .bytes = zeros, .n = 8},
        {.type = HANDOVER_LINK_LINEAGE, .bytes = "\3\0\0\0abc\0\0\0", .n = 11},
    };
    struct handover_link_frame publishes[] = {
        {.type = HANDOVER_LINK_PUBLISH, .bytes = zeros, .n = 4},
        {.type = HANDOVER_LINK_PUBLISH, .bytes = "\0\0\0\0\xff\xff\xff\xff", .n = 8},
        {.type = HANDOVER_LINK_PUBLISH, .bytes = "\0\0\0\0\1\0\0\0\4\0\0\0abcd", .n = 16},
        {.type = HANDOVER_LINK_PUBLISH, .bytes = zeros, .n = 12}, /* an order without bytes */
        {.type = HANDOVER_LINK_PUBLISH, .bytes = "\0\0\0\0\0\0\0\0\4\0\0\0abc", .n = 15},
        {.type = HANDOVER_LINK_PUBLISH, .bytes = "\0\0\0\0\0\0\0\0\1\0\0\0abc", .n = 15},
        {.type = HANDOVER_LINK_BATCH, .bytes = zeros, .n = 12},
    };

    (void)state;
    hand_over(bench);
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        assert_false(relay_client_frame(bench->client, &frames[i]));
    for (size_t i = 0; i < sizeof(publishes) / sizeof(publishes[0]); i++)
        assert_false(relay_host_frame(bench->host, &publishes[i]));
    free_bench(bench);
}

/* ---- the store itself ---- */

static int append(struct history *history)
{
    struct message *message = make_message(.topics = "a");
    int result = history_append(history, &message, 1, 1000);

    message_unref(message);
    return result;
}

static size_t count_readable(struct history *history)
{
    struct filter *filter = make_filter("a", NULL);
    struct history_query query = {.upto = UINT64_MAX, .filter = filter, .bytes_max = 1 << 20};
    struct history_page *page = NULL;

    assert_int_equal(history_read(history, &query, &page), 0);
    size_t n = page->events_n;
    history_page_free(page);
    filter_unref(filter);
    return n;
}

static void lets_another_have_the_store_and_goes_on_reading(void **state)
{
    struct scratch scratch;
    struct conf_error error;

    (void)state;
    scratch_make(&scratch);
    struct history *ours = scratch_open(scratch.path, NULL);
    assert_int_equal(append(ours), 0);
    assert_null(scratch_try(scratch.path, NULL, &error));
    assert_int_equal(history_release(ours), 0);
    struct history *theirs = scratch_open(scratch.path, NULL);
    assert_string_equal(history_epoch(theirs), history_epoch(ours));
    assert_int_equal(append(theirs), 0);
    assert_int_equal(count_readable(ours), 1);
    history_follow(ours, 2);
    assert_int_equal(count_readable(ours), 2);
    history_free(theirs);
    assert_int_equal(count_readable(ours), 2);
    assert_int_equal(history_reclaim(ours), 0);
    assert_null(scratch_try(scratch.path, NULL, &error));
    assert_int_equal(append(ours), 0);
    assert_int_equal(count_readable(ours), 3);
    history_free(ours);
    scratch_remove(&scratch);
}

static void does_not_go_on_over_what_another_has_stored(void **state)
{
    struct scratch scratch;

    (void)state;
    scratch_make(&scratch);
    struct history *ours = scratch_open(scratch.path, NULL);
    assert_int_equal(history_release(ours), 0);
    struct history *theirs = scratch_open(scratch.path, NULL);
    assert_int_equal(append(theirs), 0);
    history_free(theirs);
    assert_int_equal(history_reclaim(ours), -EIO);
    assert_int_equal(append(ours), -EIO);
    history_free(ours);
    scratch_remove(&scratch);
}

/* Where a reader looks for what the other process has forgotten, it learns so. */
static void learns_what_another_has_forgotten(void **state)
{
    struct history_limits few = {SCRATCH_FOR_EVER, 2, SCRATCH_LOTS, SCRATCH_FOR_EVER, SCRATCH_LOTS};
    struct scratch scratch;
    struct history_bounds bounds;

    (void)state;
    scratch_make(&scratch);
    struct history *ours = scratch_open(scratch.path, &few);
    assert_int_equal(append(ours), 0);
    assert_int_equal(history_release(ours), 0);
    struct history *theirs = scratch_open(scratch.path, &few);
    for (int i = 0; i < 5; i++)
        assert_int_equal(append(theirs), 0);
    while (history_trim(theirs, 2000))
        ;
    history_follow(ours, 6);
    struct filter *filter = make_filter("a", NULL);
    struct history_query query = {.upto = UINT64_MAX, .filter = filter, .bytes_max = 1 << 20};
    struct history_page *page = NULL;
    assert_int_equal(history_read(ours, &query, &page), -ESTALE);
    history_bounds(ours, &bounds);
    assert_int_equal(bounds.trimmed, 4);
    query.after = bounds.trimmed;
    assert_int_equal(history_read(ours, &query, &page), 0);
    assert_int_equal(page->events_n, 2);
    history_page_free(page);
    filter_unref(filter);
    history_free(ours);
    history_free(theirs);
    scratch_remove(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_on_what_waited_and_what_comes_later),
        cmocka_unit_test(hears_what_others_publish_until_it_wants_no_more),
        cmocka_unit_test(tells_keys_that_came_before_and_conflicts),
        cmocka_unit_test(answers_what_was_passed_on_when_the_link_ends),
        cmocka_unit_test(tells_ids_of_the_epoch_that_the_store_has),
        cmocka_unit_test(a_cut_ends_the_feed),
        cmocka_unit_test(passes_on_orders),
        cmocka_unit_test(refuses_frames_that_make_no_sense),
        cmocka_unit_test(lets_another_have_the_store_and_goes_on_reading),
        cmocka_unit_test(does_not_go_on_over_what_another_has_stored),
        cmocka_unit_test(learns_what_another_has_forgotten),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
