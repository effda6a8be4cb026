/* SPDX-License-Identifier: MIT */
/*
 * A stream that asks for something else while it is open: wherever it is, each event before the
 * place that is told is held against what it asked for before, and each behind it against the new.
 */
#include "config.h"
#include "stream/stream.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/fail_alloc.h"
#include "../support/make.h"
#include "fake_host.h"

#define RING_EVENTS 64
#define TOPICS 3
#define EVENTS_MAX 1500
#define CHANGES_MAX 200

/* ---- the same for both ways of sending ---- */

static int build_direct(void **state)
{
    *state = fake_host_new(true, RING_EVENTS);
    return 0;
}

static int build_pulled(void **state)
{
    *state = fake_host_new(false, RING_EVENTS);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static void publish(struct fake_host *fake, const char *topic, const char *data)
{
    fake_host_publish(fake, make_message(.topics = topic, .data = data));
}

static enum stream_state state_of(const struct fake_stream *stream)
{
    return stream->stream->state;
}

/* Returns the place from which on it is so. */
static uint64_t ask_for(struct fake_stream *stream, const char *patterns)
{
    struct filter *filter = make_filter(patterns, NULL);
    uint64_t position;

    assert_int_equal(stream_set_filter(stream->stream, filter, NULL, &position), 0);
    filter_unref(filter);
    return position;
}

static void one_asks_for_something_else_from_where_it_is(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    struct filter *filter = make_filter("b c/*", NULL);
    uint64_t position = 0;

    fake_host_run(fake);
    publish(fake, "b", "came before");
    fake_host_run(fake);
    assert_int_equal(stream_set_filter(stream->stream, filter, NULL, &position), 0);
    assert_int_equal(position, 1);
    assert_ptr_equal(stream_get_filter(stream->stream), filter);
    filter_unref(filter);
    publish(fake, "a", "not any more");
    publish(fake, "b", "now it is");
    publish(fake, "c/d", "and this");
    fake_host_run(fake);
    assert_false(fake_stream_has(stream, "came before"));
    assert_false(fake_stream_has(stream, "not any more"));
    assert_int_equal(fake_stream_count(stream, "now it is"), 1);
    assert_int_equal(fake_stream_count(stream, "and this"), 1);
    assert_int_equal(state_of(stream), STREAM_IDLE);
    fake_stream_close(stream);
}

/* Beyond the share of its owner it is refused, and goes on as before. */
static void what_it_may_not_ask_for_changes_nothing(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");
    uint64_t position = 0;

    ask.owners[0] = fake;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    struct filter *filter =
        make_filter("*/*/*/a */*/b/*/a */b/*/*/a b/*/*/*/a */*/*/b/a */*/*/a/a/a */*/a/*/a/a "
                    "*/a/*/*/a/a a/*/*/*/a/a a/a/*/*/*/a a/*/a/*/*/a a/*/*/a/*/a */a/a/*/*/a "
                    "*/a/*/a/*/a */*/a/a/*/a */*/a/a/a/*/*/a */*/*/a/a/a/a",
                    NULL);

    fake_host_run(fake);
    assert_int_equal(stream_set_filter(stream->stream, filter, NULL, &position), -EDQUOT);
    filter_unref(filter);
    publish(fake, "a", "as before");
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "as before"));
    assert_int_equal(stream->stream->end, STREAM_END_NONE);
    fake_stream_close(stream);
}

/* ---- where it may be ---- */

/* The index has found an event for it, which is not for it any more; and passed over one that is.
 */
static void what_waits_is_looked_at_anew(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    publish(fake, "b", "passed over");
    publish(fake, "a", "woke it");
    publish(fake, "b", "behind it");
    assert_int_equal(state_of(stream), STREAM_READY);
    assert_int_equal(ask_for(stream, "b"), 1);
    fake_host_run(fake);
    assert_false(fake_stream_has(stream, "passed over"));
    assert_false(fake_stream_has(stream, "woke it"));
    assert_true(fake_stream_has(stream, "behind it"));
    assert_int_equal(state_of(stream), STREAM_IDLE);
    fake_stream_close(stream);
}

/* Its page is on its way: it is asked for again, by another. */
static void a_page_that_comes_late_is_asked_for_again(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    for (int i = 0; i < 2 * RING_EVENTS; i++)
        publish(fake, i % 2 ? "a" : "b", i % 2 ? "for a" : "for b");
    ask.start.from = STREAM_FROM_EARLIEST;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    stream_host_resume(&fake->host, PRIO_REPLAY, 1);
    assert_int_equal(state_of(stream), STREAM_PAGING);
    assert_int_equal(ask_for(stream, "b"), 0);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "for a"), 0);
    assert_int_equal(fake_stream_count(stream, "for b"), RING_EVENTS);
    assert_int_equal(fake->streams->pages_n, 0);
    fake_stream_close(stream);
}

static void a_time_that_is_looked_for_has_no_place_yet(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    for (int i = 0; i < 2 * RING_EVENTS; i++)
        publish(fake, i % 2 ? "a" : "b", i % 2 ? "for a" : "for b");
    ask.start.from = STREAM_FROM_TIME;
    ask.start.since_ms = 0;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    stream_host_resume(&fake->host, PRIO_REPLAY, 1);
    assert_int_equal(state_of(stream), STREAM_PAGING);
    assert_true(ask_for(stream, "b") == UINT64_MAX);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "for a"), 0);
    assert_int_equal(fake_stream_count(stream, "for b"), RING_EVENTS);
    fake_stream_close(stream);
}

/* ---- anywhere ---- */

struct sent {
    uint64_t place; /* from here on */
    unsigned topics;
};

struct story {
    struct fake_host *fake;
    struct fake_stream *stream;
    unsigned seed;
    unsigned topic_of[EVENTS_MAX + 1]; /* by position */
    unsigned events_n;
    struct sent changes[CHANGES_MAX];
    size_t changes_n;
};

static unsigned draw(struct story *story, unsigned n)
{
    return (unsigned)rand_r(&story->seed) % n;
}

static void tell(struct story *story, unsigned events_n)
{
    static char data[700];

    for (; events_n > 0 && story->events_n < EVENTS_MAX; events_n--) {
        unsigned topic = draw(story, TOPICS), position = ++story->events_n;
        int n = snprintf(data, sizeof(data), "<%u>", position);

        memset(data + n, '.', sizeof(data) - (size_t)n - 1);
        data[(size_t)n + draw(story, (unsigned)sizeof(data) - (unsigned)n)] = '\0';
        story->topic_of[position] = topic;
        publish(story->fake, (const char *[]){"t/0", "t/1", "t/2"}[topic], data);
    }
}

static void change(struct story *story)
{
    static const char *const patterns[] = {"t/0",     "t/1",     "t/0 t/1", "t/2",
                                           "t/0 t/2", "t/1 t/2", "t/*"};
    unsigned topics = 1 + draw(story, 7);

    if (story->changes_n == CHANGES_MAX)
        return;
    uint64_t place = ask_for(story->stream, patterns[topics - 1]);
    assert_true(story->changes_n == 0 || place >= story->changes[story->changes_n - 1].place);
    story->changes[story->changes_n++] = (struct sent){place, topics};
}

/* Some of those that are ready, so that others are left where they are. */
static void serve_some(struct story *story)
{
    struct fake_host *fake = story->fake;

    if (!story->stream->is_pulled)
        stream_host_resume(&fake->host, (enum worker_prio)(PRIO_TARGETED + draw(story, 4)), 1);
    worker_turn(fake->worker, false);
}

static void go_on(struct story *story)
{
    switch (draw(story, 6)) {
    case 0:
        tell(story, 1 + draw(story, 3));
        break;
    case 1:
        tell(story, draw(story, 8) == 0 ? 2 * RING_EVENTS : 1);
        break;
    case 2:
        fake_host_run(story->fake);
        break;
    case 3:
        serve_some(story);
        break;
    case 4:
        change(story);
        break;
    case 5:
        fake_stream_has(story->stream, "<");
        break;
    }
}

static unsigned topics_at(const struct story *story, uint64_t position)
{
    unsigned topics = 0;

    for (size_t i = 0; i < story->changes_n && story->changes[i].place < position; i++)
        topics = story->changes[i].topics;
    return topics;
}

/* Read all that is to come. */
static void hear_out(struct story *story)
{
    size_t before;

    do {
        before = story->stream->received_n;
        fake_host_run(story->fake);
        fake_stream_has(story->stream, "<");
    } while (story->stream->received_n != before);
    assert_int_equal(state_of(story->stream), STREAM_IDLE);
    assert_true(story->stream->received_n < sizeof(story->stream->received) - 1);
}

static void assert_story(const struct story *story)
{
    const char *at = story->stream->received;

    for (uint64_t position = 1; position <= story->events_n; position++) {
        if (!(topics_at(story, position) & 1U << story->topic_of[position]))
            continue;
        at = strchr(at, '<');
        assert_non_null(at);
        assert_int_equal(strtoull(at + 1, NULL, 10), position);
        at++;
    }
    assert_null(strchr(at, '<'));
}

static void whatever_happens_nothing_is_lost_or_doubled(void **state)
{
    for (unsigned seed = 0; seed < 60; seed++) {
        struct story *story = calloc(1, sizeof(*story));
        struct stream_ask ask = fake_ask("t/0");
        static const int steps_n = 200;

        assert_non_null(story);
        story->fake = fake_host_new(seed % 3 != 0, RING_EVENTS);
        story->seed = seed;
        tell(story, seed % 2 == 0 ? 3 * RING_EVENTS : 0);
        ask.start.from = STREAM_FROM_EARLIEST;
        story->stream = fake_stream_open(story->fake, ask);
        story->changes[story->changes_n++] = (struct sent){0, 1};
        for (int i = 0; i < steps_n; i++)
            go_on(story);
        hear_out(story);
        assert_story(story);
        fake_stream_close(story->stream);
        fake_host_free(story->fake);
        free(story);
    }
    (void)state;
}

/* ---- memory ---- */

/* Each allocation fails once: it goes on as before, or as asked, or is at its end. */
static void memory_may_end_anywhere(void **state)
{
    struct fake_host *fake = *state;
    bool is_over = false;

    for (int n = 0; !is_over; n++) {
        struct fake_stream *stream = fake_stream_open(fake, fake_ask("a b/* c"));
        struct filter *filter = make_filter("d e/*/f", "somebody");
        uint64_t position;

        fake_host_run(fake);
        fail_alloc(n);
        int result = stream_set_filter(stream->stream, filter, NULL, &position);
        is_over = !fail_alloc_is_over();
        fail_alloc(-1);
        filter_unref(filter);
        assert_true(is_over ? result == 0 : result == 0 || result == -ENOMEM);
        publish(fake, "a", "as before");
        publish(fake, "d", "as asked");
        fake_host_run(fake);
        assert_int_equal(fake_stream_has(stream, "as asked"), result == 0);
        assert_int_equal(fake_stream_has(stream, "as before"),
                         result != 0 && stream->stream->end == STREAM_END_NONE);
        fake_stream_close(stream);
        assert_in_range(n, is_over, 50);
    }
}

#define both(test)                                                                                 \
    {#test " by itself", test, build_direct, tear_down, NULL},                                     \
    {                                                                                              \
#test " pulled", test, build_pulled, tear_down, NULL                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(one_asks_for_something_else_from_where_it_is),
        both(what_it_may_not_ask_for_changes_nothing),
        both(what_waits_is_looked_at_anew),
        both(a_page_that_comes_late_is_asked_for_again),
        both(a_time_that_is_looked_for_has_no_place_yet),
        cmocka_unit_test(whatever_happens_nothing_is_lost_or_doubled),
        both(memory_may_end_anywhere),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
