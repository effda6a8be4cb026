/* SPDX-License-Identifier: MIT */
/* When idle streams are sent heartbeats and checkpoints. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define CHECKPOINT_MS 24000

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

static struct fake_stream *open_idle(struct fake_host *fake, struct stream_ask ask)
{
    struct fake_stream *stream = fake_stream_open(fake, ask);

    fake_host_run(fake);
    fake_stream_forget(stream);
    return stream;
}

/* So long after the stream was last sent something. */
static void tick(struct fake_stream *stream, int64_t after_ms)
{
    heartbeat_tick(stream->fake->streams, stream->stream->sent_ms + after_ms);
    fake_host_run(stream->fake);
}

static void a_quiet_stream_is_sent_one_in_time(void **state)
{
    struct fake_stream *stream = open_idle(*state, fake_ask("a"));

    tick(stream, 0); /* tells when the first is due */
    tick(stream, 11000);
    assert_int_equal(fake_stream_count(stream, ":\n"), 0);
    tick(stream, 15000);
    assert_int_equal(fake_stream_count(stream, ":\n"), 1);
    assert_int_equal(fake_host_stat(*state, STATS_HEARTBEATS), 1);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

static void it_may_be_an_event(void **state)
{
    struct stream_ask ask = fake_ask("a");

    ask.options.ping_event = true;
    struct fake_stream *stream = open_idle(*state, ask);
    tick(stream, 16000);
    assert_true(fake_stream_has(stream, "event: ping\ndata: \n\n"));
    fake_stream_close(stream);
}

/* A look at them is what costs. */
static void one_that_is_nearly_due_goes_along(void **state)
{
    struct stream_ask ask = fake_ask("a");
    struct fake_stream *patient = open_idle(*state, ask);

    ask = fake_ask("a");
    ask.heartbeat_ms = 13000;
    struct fake_stream *stream = open_idle(*state, ask);
    tick(stream, 0);
    tick(stream, 13000);
    assert_int_equal(fake_stream_count(stream, ":\n"), 1);
    assert_int_equal(fake_stream_count(patient, ":\n"), 1);
    fake_stream_close(stream);
    fake_stream_close(patient);
}

static void a_host_without_a_stream_that_is_due_is_not_looked_at(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));

    tick(stream, 0);
    assert_in_range(stream_host_due(&fake->host)->heartbeat_ms, stream->stream->sent_ms + 15000,
                    stream->stream->sent_ms + 15001);
    stream->stream->heartbeat_ms = 1; /* nobody sees it */
    tick(stream, 10000);
    assert_int_equal(fake_host_stat(fake, STATS_HEARTBEATS), 0);
    fake_stream_close(stream);
}

static void a_place_that_moved_on_unseen_is_told(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    ask.heartbeat_ms = 60000;
    struct fake_stream *stream = open_idle(fake, ask);
    tick(stream, 0);
    fake_host_publish(fake, make_message(.topics = "b"));
    tick(stream, CHECKPOINT_MS - 1000);
    assert_false(fake_stream_has(stream, "checkpoint"));
    tick(stream, CHECKPOINT_MS + 6000);
    assert_int_equal(fake_stream_count(stream, "event: checkpoint\n"), 1);
    assert_true(fake_stream_has(stream, "-0000000000000001\n"));
    assert_int_equal(stream->stream->last_id_sent, 1);
    fake_stream_close(stream);
}

static void nothing_new_is_no_checkpoint(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    ask.heartbeat_ms = 60000;
    struct fake_stream *stream = open_idle(fake, ask);
    int64_t before = fake_host_stat(fake, STATS_CHECKPOINTS);
    for (int i = 0; i < 5; i++)
        tick(stream, 24000 + i * 5000);
    assert_int_equal(fake_host_stat(fake, STATS_CHECKPOINTS), before);
    fake_stream_close(stream);
}

static void one_that_is_busy_is_looked_at_again_soon(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake, fake_ask("a"));
    int64_t now_ms = stream->stream->sent_ms + 16000;

    fake_host_publish(fake, make_message(.topics = "a"));
    heartbeat_tick(fake->streams, now_ms);
    assert_int_equal(fake_host_stat(fake, STATS_HEARTBEATS), 0);
    assert_int_equal(stream_host_due(&fake->host)->heartbeat_ms, now_ms + 5000);
    fake_host_run(fake);
    fake_stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_quiet_stream_is_sent_one_in_time, build, tear_down),
        cmocka_unit_test_setup_teardown(it_may_be_an_event, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_nearly_due_goes_along, build, tear_down),
        cmocka_unit_test_setup_teardown(a_host_without_a_stream_that_is_due_is_not_looked_at, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_place_that_moved_on_unseen_is_told, build, tear_down),
        cmocka_unit_test_setup_teardown(nothing_new_is_no_checkpoint, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_busy_is_looked_at_again_soon, build, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
