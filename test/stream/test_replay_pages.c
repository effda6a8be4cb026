/* SPDX-License-Identifier: MIT */
/* Who gets a page of the history, who waits for one, and what becomes of pages that fail. */
#include "config.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define EVENTS 100
#define REPLAYS 5
#define AT_ONCE 2

static int build(void **state)
{
    struct fake_host *fake = fake_host_new(true, 16);

    fake->conf->stream.replay_pages = AT_ONCE;
    for (int i = 0; i < EVENTS; i++)
        fake_host_publish(fake, make_message(.topics = "a", .data = "past"));
    *state = fake;
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static struct fake_stream *open_replay(struct fake_host *fake)
{
    struct stream_ask ask = fake_ask("a");

    ask.start = (struct stream_start){.from = STREAM_FROM_EARLIEST};
    return fake_stream_open(fake, ask);
}

/* Without a page that comes: the worker has no turn. */
static void have_it_ask(struct fake_stream *stream)
{
    for (int i = 0; stream->stream->state != STREAM_PAGING && i < 10; i++)
        stream_host_resume(&stream->fake->host, PRIO_REPLAY, 1);
    assert_int_equal(stream->stream->state, STREAM_PAGING);
}

static void open_all(struct fake_host *fake, struct fake_stream *streams[REPLAYS])
{
    for (int i = 0; i < REPLAYS; i++) {
        streams[i] = open_replay(fake);
        have_it_ask(streams[i]);
    }
}

static void so_many_are_asked_for_at_once_and_the_others_wait(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[REPLAYS];

    open_all(fake, streams);
    assert_int_equal(fake->streams->pages_n, AT_ONCE);
    assert_int_equal(fake_host_stat(fake, STATS_REPLAYS_WAITING), REPLAYS - AT_ONCE);
    fake_host_run(fake);
    for (int i = 0; i < REPLAYS; i++) {
        assert_int_equal(fake_stream_count(streams[i], "data: past\n"), EVENTS);
        fake_stream_close(streams[i]);
    }
    assert_int_equal(fake->streams->pages_n, 0);
    assert_int_equal(fake_host_stat(fake, STATS_REPLAYS_WAITING), 0);
}

static void one_that_ends_while_it_waits_is_passed_over(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[REPLAYS];

    open_all(fake, streams);
    stream_end(streams[AT_ONCE]->stream, STREAM_END_DELETED);
    assert_int_equal(fake_host_stat(fake, STATS_REPLAYS_WAITING), REPLAYS - AT_ONCE - 1);
    fake_stream_close(streams[AT_ONCE + 1]); /* in one go, as when a host is freed */
    assert_int_equal(fake_host_stat(fake, STATS_REPLAYS_WAITING), REPLAYS - AT_ONCE - 2);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(streams[REPLAYS - 1]->stream->state == STREAM_IDLE
                                           ? streams[REPLAYS - 1]
                                           : streams[AT_ONCE],
                                       "data: past\n"),
                     EVENTS);
    assert_false(fake_stream_has(streams[AT_ONCE], "data: past\n"));
    for (int i = 0; i < REPLAYS; i++)
        if (i != AT_ONCE + 1)
            fake_stream_close(streams[i]);
    assert_int_equal(fake->streams->pages_n, 0);
}

static void a_page_for_a_stream_that_is_gone_is_the_next_ones_turn(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[REPLAYS];

    open_all(fake, streams);
    for (int i = 0; i < AT_ONCE; i++)
        fake_stream_close(streams[i]);
    assert_int_equal(fake->streams->pages_n, AT_ONCE);
    while (fake_host_stat(fake, STATS_REPLAYS_WAITING) > REPLAYS - 2 * AT_ONCE)
        worker_turn(fake->worker, true);
    fake_host_run(fake);
    for (int i = AT_ONCE; i < REPLAYS; i++) {
        assert_int_equal(fake_stream_count(streams[i], "data: past\n"), EVENTS);
        fake_stream_close(streams[i]);
    }
    assert_int_equal(fake->streams->pages_n, 0);
}

static int fails(struct history *history, const struct history_query *query,
                 struct history_page **ret_page)
{
    (void)history;
    (void)query;
    (void)ret_page;
    return -EIO;
}

static void reads_that_fail_end_their_streams_and_nothing_hangs(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[REPLAYS];

    fake->history_ops.read = fails;
    open_all(fake, streams);
    fake_host_run(fake);
    for (int i = 0; i < REPLAYS; i++) {
        assert_int_equal(streams[i]->stream->end, STREAM_END_FAILED);
        fake_stream_close(streams[i]);
    }
    assert_int_equal(fake->streams->pages_n, 0);
    assert_int_equal(fake_host_stat(fake, STATS_REPLAYS_WAITING), 0);
}

/* It asks for it again. */
static void a_page_that_is_dropped_makes_room(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_replay(fake);

    have_it_ask(stream);
    while (stream->stream->page == NULL)
        worker_turn(fake->worker, true);
    assert_int_equal(fake->streams->pages_n, 1);
    stream_drop_page(stream->stream);
    stream_drop_page(stream->stream); /* harmless */
    assert_int_equal(fake->streams->pages_n, 0);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: past\n"), EVENTS);
    fake_stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(so_many_are_asked_for_at_once_and_the_others_wait, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_ends_while_it_waits_is_passed_over, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_page_for_a_stream_that_is_gone_is_the_next_ones_turn,
                                        build, tear_down),
        cmocka_unit_test_setup_teardown(reads_that_fail_end_their_streams_and_nothing_hangs, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_page_that_is_dropped_makes_room, build, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
