/* SPDX-License-Identifier: MIT */
/* A history that has lost events: who is told, and who goes on in silence. */
#include "config.h"
#include "stream/streams.h"

#include <setjmp.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define NEXT_EPOCH "anotherepoch"
#define LARGE 300000 /* bytes of an event of which a socket takes a part */

static int build(void **state)
{
    *state = fake_host_new(true, 64);
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

static void hand_cut(struct fake_host *fake, enum hub_cut cut, uint64_t position)
{
    struct hub_batch *batch = hub_batch_new(0);
    size_t work = 1000;

    batch->cut = cut;
    batch->cut_at = position;
    batch->lineage = history_lineage(fake->history);
    streams_batch(fake->streams, batch, 0, &work);
    hub_batch_unref(batch);
    fake_host_run(fake);
}

/* The log has another order from this position on. */
static void end_term(struct fake_host *fake, uint64_t position)
{
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, position);

    assert_int_equal(history_truncate(fake->history, position, lineage), 0);
    hand_cut(fake, HUB_CUT_TERM, position);
}

static bool has_id(struct fake_stream *stream, const char *epoch, unsigned position)
{
    char line[64];

    snprintf(line, sizeof(line), "id: %.12s-%016u\n", epoch, position);
    return fake_stream_has(stream, line);
}

static void who_was_told_more_is_told_reset(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    for (int i = 0; i < 5; i++)
        publish(fake, "a", "lost");
    fake_host_run(fake);
    fake_stream_forget(stream);
    end_term(fake, 3);
    assert_true(fake_stream_has(stream, "event: reset\ndata: {\"reason\":\"epoch\","));
    assert_true(has_id(stream, NEXT_EPOCH, 3));
    publish(fake, "a", "instead");
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "data: instead\n"));
    assert_true(has_id(stream, NEXT_EPOCH, 4));
    fake_stream_close(stream);
}

static void who_was_told_less_goes_on_in_silence(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *other = fake_stream_open(fake, fake_ask("b"));

    publish(fake, "b", "kept");
    fake_host_run(fake);
    for (int i = 0; i < 5; i++)
        publish(fake, "a", "not for it");
    fake_host_run(fake);
    end_term(fake, 3);
    assert_false(fake_stream_has(other, "reset"));
    publish(fake, "b", "at a position that was taken before");
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(other, "data: at a position that was taken before\n"), 1);
    assert_true(has_id(other, NEXT_EPOCH, 4));
    fake_stream_close(other);
}

/* The history has another epoch already, and the cut is on its way: what a stream says of its place
 * meanwhile must not be an id of another event. */
static void a_place_is_told_in_the_epoch_that_was_heard(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *other = fake_stream_open(fake, fake_ask("b"));
    char epoch[SSE_EPOCH_BYTES + 1];

    for (int i = 0; i < 5; i++)
        publish(fake, "a", "lost");
    strcpy(epoch, history_epoch(fake->history));
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, 3);
    assert_int_equal(history_truncate(fake->history, 3, lineage), 0);
    stream_add_control(other->stream, STREAM_CHECKPOINT);
    fake_host_run(fake);
    assert_true(has_id(other, epoch, 5));
    assert_false(has_id(other, NEXT_EPOCH, 5));
    hand_cut(fake, HUB_CUT_TERM, 3);
    assert_true(fake_stream_has(other, "event: reset\n"));
    assert_true(has_id(other, NEXT_EPOCH, 3));
    fake_stream_close(other);
}

/* It was beyond the end by what it passed over, not by what it was told. */
static void a_heartbeat_does_not_make_it_told(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *other = fake_stream_open(fake, fake_ask("b"));

    publish(fake, "a", "not for it");
    publish(fake, "a", "not for it");
    stream_add_control(other->stream, STREAM_HEARTBEAT);
    fake_host_run(fake);
    assert_int_equal(other->stream->position, 2);
    end_term(fake, 0);
    assert_false(fake_stream_has(other, "reset"));
    publish(fake, "b", "first");
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(other, "data: first\n"), 1);
    fake_stream_close(other);
}

static int (*read_page)(struct history *history, const struct history_query *query,
                        struct history_page **ret_page);
static sem_t has_read;

static int read_and_tell(struct history *history, const struct history_query *query,
                         struct history_page **ret_page)
{
    int result = read_page(history, query, ret_page);

    sem_post(&has_read);
    return result;
}

/* Have it ask for its first page, and leave that on its way. */
static void await_read(struct fake_host *fake, struct fake_stream *stream)
{
    struct timespec until;

    for (int prio = PRIO_TARGETED; prio < PRIO_COUNT; prio++)
        stream_host_resume(&fake->host, (enum worker_prio)prio, 8);
    assert_true(stream->stream->page_asked);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    assert_int_equal(sem_timedwait(&has_read, &until), 0);
}

/* Its first page was read before the cut and comes after it. */
static void who_is_behind_goes_on_where_it_was(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");
    char data[32];

    for (int i = 1; i <= 200; i++) {
        snprintf(data, sizeof(data), "number %d.", i);
        publish(fake, "a", data);
    }
    sem_init(&has_read, 0, 0);
    read_page = fake->history_ops.read;
    fake->history_ops.read = read_and_tell;
    ask.start.from = STREAM_FROM_EARLIEST;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    await_read(fake, stream);
    end_term(fake, 150);
    publish(fake, "a", "instead");
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: number "), 150);
    assert_int_equal(fake_stream_count(stream, "data: number 150."), 1);
    assert_int_equal(fake_stream_count(stream, "data: instead\n"), 1);
    assert_false(fake_stream_has(stream, "reset"));
    fake_stream_close(stream);
}

static void who_is_inside_an_event_ends_it_and_is_told(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    char *data = malloc(LARGE + 1);

    memset(data, 'x', LARGE);
    data[LARGE] = '\0';
    publish(fake, "a", data);
    fake_host_run(fake);
    free(data);
    assert_non_null(stream->stream->partial);
    end_term(fake, 0);
    for (int i = 0; i < 1000 && !fake_stream_has(stream, "event: reset"); i++) {
        stream_direct_send_unsent(stream->stream);
        fake_host_run(fake);
    }
    assert_true(has_id(stream, NEXT_EPOCH, 0));
    publish(fake, "a", "instead");
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: instead\n"), 1);
    fake_stream_close(stream);
}

/* This gateway was away for longer than the log keeps. */
static void a_gap_is_told_to_all_who_stand_before_it(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    publish(fake, "a", "before");
    fake_host_run(fake);
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, 1);
    assert_int_equal(history_truncate(fake->history, 50, lineage), 0);
    hand_cut(fake, HUB_CUT_GAP, 50);
    assert_true(fake_stream_has(stream, "event: reset\ndata: {\"reason\":\"expired\","));
    assert_true(has_id(stream, NEXT_EPOCH, 50));
    publish(fake, "a", "behind it");
    fake_host_run(fake);
    assert_true(has_id(stream, NEXT_EPOCH, 51));
    fake_stream_close(stream);
}

#define over_a_host(test) cmocka_unit_test_setup_teardown(test, build, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_a_host(who_was_told_more_is_told_reset),
        over_a_host(who_was_told_less_goes_on_in_silence),
        over_a_host(a_place_is_told_in_the_epoch_that_was_heard),
        over_a_host(a_heartbeat_does_not_make_it_told),
        over_a_host(who_is_behind_goes_on_where_it_was),
        over_a_host(who_is_inside_an_event_ends_it_and_is_told),
        over_a_host(a_gap_is_told_to_all_who_stand_before_it),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
