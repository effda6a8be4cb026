/* SPDX-License-Identifier: MIT */
/* What goes out next, and from which offset, for a host that pulls with little room. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define RING_EVENTS 2048

static int build(void **state)
{
    *state = fake_host_new(false, RING_EVENTS);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static struct fake_stream *open_idle(struct fake_host *fake, struct stream_ask ask)
{
    struct fake_stream *stream = fake_stream_open(fake, ask);

    fake_host_run(fake);
    fake_stream_forget(stream);
    return stream;
}

static void publish(struct fake_host *fake, const char *topic, const char *data)
{
    fake_host_publish(fake, make_message(.topics = topic, .data = data));
}

static void a_frame_larger_than_the_room_comes_in_parts(void **state)
{
    struct fake_host *fake = *state;
    char data[1001];

    memset(data, 'd', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));
    fake->room = 100;
    size_t pulls_n = stream->pulls_n;
    publish(fake, "a", data);
    fake_host_run(fake);
    assert_true(stream->pulls_n - pulls_n > 10);
    assert_int_equal(fake_stream_count(stream, data), 1);
    assert_int_equal(stream->stream->events_sent, 1);
    assert_null(stream->stream->partial);
    fake_stream_close(stream);
}

/* A client reads an event no sooner than its last line. */
static void a_frame_that_fits_is_never_parted(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));

    fake->room = 150;
    for (int i = 0; i < 10; i++)
        publish(fake, "a", "twenty bytes of data");
    assert_int_equal(stream->stream->state, STREAM_READY);
    size_t pulls_n = stream->pulls_n;
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: twenty bytes of data\n"), 10);
    assert_int_equal(stream->pulls_n - pulls_n, 5);
    fake_stream_close(stream);
}

static void a_pull_where_none_is_expected_aborts(void **state)
{
    struct fake_stream *stream = open_idle(*state, fake_ask("a"));

    assert_true(stream->is_suspended);
    assert_int_equal(stream_pull(stream->stream, stream->room, 100), STREAM_PULL_ABORT);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

/* Events in between that it does not want cost it a look each, and no more than so many at once. */
static void one_that_wants_few_of_many_looks_at_so_many_in_a_pull(void **state)
{
    struct fake_host *fake = *state;
    char id[SSE_ID_BYTES];

    publish(fake, "a", "first");
    for (int i = 0; i < 1200; i++)
        publish(fake, "b", "others");
    publish(fake, "a", "last");
    sse_put_id(id, history_epoch(fake->history), 1);
    struct stream_ask ask = fake_ask("a");
    ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = sizeof(id)};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    assert_int_equal(stream->stream->state, STREAM_READY);
    assert_true(stream->stream->cursor < ring_head(fake->streams->ring));
    assert_false(fake_stream_has(stream, "data: last\n"));
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "data: last\n"));
    assert_false(fake_stream_has(stream, "data: first\n"));
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

/* Though the ring still has them. */
static void events_that_are_over_are_no_part_of_a_replay(void **state)
{
    struct fake_host *fake = *state;
    char id[SSE_ID_BYTES];

    publish(fake, "a", "first");
    fake_host_publish(fake, make_message(.topics = "a", .data = "gone", .kind = MESSAGE_EPHEMERAL));
    publish(fake, "a", "second");
    sse_put_id(id, history_epoch(fake->history), 1);
    struct stream_ask ask = fake_ask("a");
    ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = sizeof(id)};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    assert_false(fake_stream_has(stream, "data: gone\n"));
    assert_true(fake_stream_has(stream, "data: second\n"));
    fake_host_publish(fake, make_message(.topics = "a", .data = "live", .kind = MESSAGE_EPHEMERAL));
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "data: live\n"));
    fake_stream_close(stream);
}

static void one_that_the_ring_has_left_behind_goes_on_from_the_history(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));
    char data[32];

    for (int i = 0; i < RING_EVENTS + 100; i++) {
        snprintf(data, sizeof(data), "event %d.", i);
        publish(fake, "a", data);
    }
    assert_true(stream->stream->cursor < ring_tail(fake->streams->ring));
    fake->room = sizeof(stream->room);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: event "), RING_EVENTS + 100);
    assert_int_equal(fake_stream_count(stream, "data: event 0.\n"), 1);
    assert_true(fake_host_stat(fake, STATS_PAGES_READ) > 0);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

/* The tail of a frame, then what the gateway has to say, then events. */
static void a_heartbeat_goes_between_frames_and_never_into_one(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));
    char data[301];

    memset(data, 'd', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    publish(fake, "a", data);
    stream->is_suspended = stream->stream->suspended = false; /* as a run of the host would */
    stream_leave_ready(stream->stream);
    stream->stream->state = STREAM_DRAINING;
    assert_int_equal(stream_pull(stream->stream, stream->room, 100), 100);
    stream_add_control(stream->stream, STREAM_HEARTBEAT);
    publish(fake, "a", "next");
    size_t n = 0;
    while (!stream->is_suspended) {
        ssize_t pulled = stream_pull(stream->stream, stream->room, 1000);
        memcpy(stream->received + n, stream->room, (size_t)pulled);
        n += (size_t)pulled;
    }
    stream->received_n = n;
    assert_non_null(memmem(stream->received, n, "d\nid: ", 6));
    assert_non_null(memmem(stream->received, n, "\n\n:\ndata: next\n", 15));
    fake_stream_close(stream);
}

static void what_was_sent_is_counted(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));
    uint64_t bytes = stream->stream->bytes_sent;

    publish(fake, "a", "counted");
    fake_host_run(fake);
    fake_stream_has(stream, "counted");
    assert_int_equal(stream->stream->bytes_sent - bytes, stream->received_n);
    assert_int_equal(fake_host_stat(fake, STATS_BYTES_DELIVERED), stream->stream->bytes_sent);
    assert_int_equal(fake_host_stat(fake, STATS_EVENTS_DELIVERED), 1);
    assert_non_null(stream->stream->stall.list); /* and it is looked after */
    fake_stream_close(stream);
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, build, tear_down)
    const struct CMUnitTest tests[] = {
        one(a_frame_larger_than_the_room_comes_in_parts),
        one(a_frame_that_fits_is_never_parted),
        one(a_pull_where_none_is_expected_aborts),
        one(one_that_wants_few_of_many_looks_at_so_many_in_a_pull),
        one(events_that_are_over_are_no_part_of_a_replay),
        one(one_that_the_ring_has_left_behind_goes_on_from_the_history),
        one(a_heartbeat_goes_between_frames_and_never_into_one),
        one(what_was_sent_is_counted),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
