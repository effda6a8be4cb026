/* SPDX-License-Identifier: MIT */
/* All streams of a worker: their ids, their hosts, and how a drain ends them. */
#include "config.h"
#include "stream/streams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define LOTS 300 /* more than there are slots at first */

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

static void an_id_names_one_stream_for_ever(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *first = fake_stream_open(fake, fake_ask("a"));
    uint64_t id = first->stream->id;

    assert_int_equal(streams_worker_of(id), 3);
    assert_ptr_equal(streams_find(fake->streams, id), first->stream);
    fake_stream_close(first);
    assert_null(streams_find(fake->streams, id));
    struct fake_stream *second = fake_stream_open(fake, fake_ask("a"));
    assert_int_not_equal(second->stream->id, id);
    assert_null(streams_find(fake->streams, id));
    assert_null(streams_find(fake->streams, UINT64_MAX));
    fake_stream_close(second);
}

static bool count_one(struct stream *stream, void *arg)
{
    (void)stream;
    return ++*(size_t *)arg < 7;
}

static void slots_grow_and_each_sees_all_until_it_is_told(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[LOTS];
    size_t seen = 0;

    for (size_t i = 0; i < LOTS; i++)
        streams[i] = fake_stream_open(fake, fake_ask("a"));
    assert_int_equal(streams_count(fake->streams), LOTS);
    for (size_t i = 0; i < LOTS; i++)
        assert_ptr_equal(streams_find(fake->streams, streams[i]->stream->id), streams[i]->stream);
    streams_each(fake->streams, count_one, &seen);
    assert_int_equal(seen, 7);
    for (size_t i = 0; i < LOTS; i++)
        fake_stream_close(streams[i]);
    assert_int_equal(streams_count(fake->streams), 0);
}

/* The last one moves up. */
static void a_host_that_goes_leaves_the_others_in_their_places(void **state)
{
    struct fake_host *fake = *state;
    struct stream_host hosts[20] = {{.streams = NULL}};

    for (size_t i = 0; i < 20; i++)
        assert_int_equal(streams_add_host(fake->streams, &hosts[i]), 0);
    streams_remove_host(&hosts[3]);
    for (size_t i = 0; i < 20; i++)
        if (i != 3)
            assert_ptr_equal(stream_host_due(&hosts[i])->host, &hosts[i]);
    for (size_t i = 0; i < 20; i++)
        if (i != 3)
            streams_remove_host(&hosts[i]);
    assert_int_equal(fake->streams->hosts_n, 1);
}

static size_t ended_n(struct fake_stream *const *streams, size_t n)
{
    size_t ended = 0;

    for (size_t i = 0; i < n; i++)
        ended += streams[i]->stream->end != STREAM_END_NONE;
    return ended;
}

static void a_drain_ends_streams_evenly_over_its_window(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[100];
    int64_t now_ms = worker_now_ms(fake->worker);

    for (size_t i = 0; i < 100; i++)
        streams[i] = fake_stream_open(fake, fake_ask("a"));
    streams_drain(fake->streams, now_ms, 1000, STREAM_END_DRAINED);
    assert_in_range(ended_n(streams, 100), 1, 2);
    streams_drain_step(fake->streams, now_ms + 500);
    assert_in_range(ended_n(streams, 100), 50, 52);
    streams_drain_step(fake->streams, now_ms + 1000);
    assert_int_equal(ended_n(streams, 100), 100);
    fake_host_run(fake);
    for (size_t i = 0; i < 100; i++) {
        assert_int_equal(streams[i]->end, FAKE_HANDED_BACK);
        assert_false(fake_stream_is_cut(streams[i]));
        fake_stream_close(streams[i]);
    }
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_DRAINED), 100);
}

static void what_is_still_there_after_the_window_is_cut(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    int64_t now_ms = worker_now_ms(fake->worker);

    streams_drain(fake->streams, now_ms, 0, STREAM_END_DRAINED);
    assert_int_equal(stream->stream->end, STREAM_END_DRAINED);
    assert_false(fake_stream_is_cut(stream));
    streams_drain_step(fake->streams, now_ms + 499);
    assert_false(fake_stream_is_cut(stream));
    streams_drain_step(fake->streams, now_ms + 500);
    assert_true(fake_stream_is_cut(stream));
    fake_stream_close(stream);
}

static bool is_past(struct fake_host *fake, uint64_t position)
{
    char id[SSE_ID_BYTES];

    sse_put_id(id, history_epoch(fake->history), position);
    return streams_is_past(
        fake->streams,
        &(struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = sizeof(id)});
}

static void what_the_ring_has_is_not_the_past(void **state)
{
    struct fake_host *fake = *state;

    for (int i = 0; i < 200; i++)
        fake_host_publish(fake, make_message(.topics = "a"));
    assert_true(is_past(fake, 1));
    assert_false(is_past(fake, 199));
    assert_true(
        streams_is_past(fake->streams, &(struct stream_start){.from = STREAM_FROM_EARLIEST}));
    assert_false(
        streams_is_past(fake->streams, &(struct stream_start){.from = STREAM_FROM_LATEST}));
}

static void a_tick_tells_what_the_ring_holds(void **state)
{
    struct fake_host *fake = *state;

    fake_host_publish(fake, make_message(.topics = "a"));
    streams_tick(fake->streams, worker_now_ms(fake->worker));
    assert_int_equal(fake_host_stat(fake, STATS_RING_EVENTS), 1);
    assert_true(fake_host_stat(fake, STATS_RING_BYTES) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_id_names_one_stream_for_ever, build, tear_down),
        cmocka_unit_test_setup_teardown(slots_grow_and_each_sees_all_until_it_is_told, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_host_that_goes_leaves_the_others_in_their_places, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_drain_ends_streams_evenly_over_its_window, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_still_there_after_the_window_is_cut, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_the_ring_has_is_not_the_past, build, tear_down),
        cmocka_unit_test_setup_teardown(a_tick_tells_what_the_ring_holds, build, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
