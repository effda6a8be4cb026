/* SPDX-License-Identifier: MIT */
/* The gateway's own frames, byte by byte. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

static int build(void **state)
{
    struct fake_host *fake = fake_host_new(true, 64);

    fake->conf->stream.retry_ms = 3000;
    *state = fake;
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

/* A frame as text; good until the next. */
static const char *frame_of(struct fake_stream *stream, enum stream_pending what)
{
    static char text[4096];
    struct message *frame;

    assert_int_equal(stream_make_frame(stream->stream, what, &frame), STREAM_END_NONE);
    assert_non_null(frame);
    assert_true(frame->frame_n < sizeof(text));
    memcpy(text, frame->frame, frame->frame_n);
    text[frame->frame_n] = '\0';
    message_unref(frame);
    return text;
}

static unsigned retry_of(const char *text)
{
    const char *at = strstr(text, "retry: ");

    assert_non_null(at);
    return (unsigned)atoi(at + strlen("retry: "));
}

static void a_stream_begins_with_a_comment_and_a_retry(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));
    unsigned least = UINT32_MAX, most = 0;

    for (int i = 0; i < 200; i++) {
        unsigned retry_ms = retry_of(frame_of(stream, STREAM_PRELUDE));

        least = retry_ms < least ? retry_ms : least;
        most = retry_ms > most ? retry_ms : most;
    }
    assert_in_range(least, 2000, 2500); /* drawn between two thirds and twice */
    assert_in_range(most, 5000, 6000);
    assert_memory_equal(frame_of(stream, STREAM_PRELUDE), ":\nretry: ", 9);
    fake_stream_close(stream);
}

static void padding_is_a_comment_of_2_kib(void **state)
{
    struct stream_ask ask = fake_ask("a");

    ask.options.padding = true;
    struct fake_stream *stream = fake_stream_open(*state, ask);
    const char *text = frame_of(stream, STREAM_PRELUDE);
    assert_int_equal(text[0], ':');
    assert_int_equal(strspn(text + 1, " "), 2048);
    assert_memory_equal(text + 2049, "\nretry: ", 8);
    fake_stream_close(stream);
}

static void a_heartbeat_is_a_comment_or_an_event(void **state)
{
    struct stream_ask ask = fake_ask("a");
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));

    assert_string_equal(frame_of(stream, STREAM_HEARTBEAT), ":\n");
    ask.options.ping_event = true;
    struct fake_stream *pinged = fake_stream_open(*state, ask);
    assert_string_equal(frame_of(pinged, STREAM_HEARTBEAT), "event: ping\ndata: \n\n");
    fake_stream_close(stream);
    fake_stream_close(pinged);
}

static void a_checkpoint_tells_the_place(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    char expected[128];

    for (int i = 0; i < 10; i++)
        fake_host_publish(fake, make_message(.topics = "b"));
    snprintf(expected, sizeof(expected), "event: checkpoint\ndata: \nid: %s-0000000000000010\n\n",
             history_epoch(fake->history));
    assert_string_equal(frame_of(stream, STREAM_CHECKPOINT), expected);
    assert_int_equal(stream->stream->last_id_sent, 10);
    fake_stream_close(stream);
}

static void a_reset_tells_why_and_what_there_is(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    const char *epoch = history_epoch(fake->history);
    char expected[256];

    stream_reset(stream->stream, STREAM_RESET_EPOCH, 0);
    assert_non_null(strstr(frame_of(stream, STREAM_RESET),
                           "data: {\"reason\":\"epoch\",\"oldest\":null,\"newest\":null}\n"));
    fake_host_publish(fake, make_message(.topics = "b"));
    fake_host_publish(fake, make_message(.topics = "b"));
    stream_reset(stream->stream, STREAM_RESET_EXPIRED, 1);
    snprintf(expected, sizeof(expected),
             "event: reset\n"
             "data: {\"reason\":\"expired\",\"oldest\":\"%s-0000000000000001\","
             "\"newest\":\"%s-0000000000000002\"}\n"
             "id: %s-0000000000000001\n\n",
             epoch, epoch, epoch);
    assert_string_equal(frame_of(stream, STREAM_RESET), expected);
    fake_stream_close(stream);
}

static void the_last_frame_is_that_of_the_end(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));
    struct message *none;

    stream->stream->end = STREAM_END_DRAINED;
    assert_in_range(retry_of(frame_of(stream, STREAM_FINAL)), 2000, 6000);
    stream->stream->end = STREAM_END_FAILED;
    assert_in_range(retry_of(frame_of(stream, STREAM_FINAL)), 30000, 60000);
    assert_non_null(strstr(frame_of(stream, STREAM_FINAL), "\n\n")); /* for undici */
    stream->stream->end = STREAM_END_TOKEN;
    assert_int_equal(stream_make_frame(stream->stream, STREAM_FINAL, &none), STREAM_END_NONE);
    assert_null(none); /* it has no credential that could end */
    stream->stream->grant.identity = identity_new(&(struct identity_draft){.user = {NULL, 0}});
    assert_string_equal(frame_of(stream, STREAM_FINAL),
                        "event: expired\ndata: {\"reason\":\"token\"}\n\n");
    stream->stream->end = STREAM_END_NONE;
    fake_stream_close(stream);
}

static void who_is_turned_away_comes_back_in_30_to_60_seconds(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_in_range(stream_away_ms(), 30000, 60000);
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, build, tear_down)
    const struct CMUnitTest tests[] = {
        one(a_stream_begins_with_a_comment_and_a_retry),
        one(padding_is_a_comment_of_2_kib),
        one(a_heartbeat_is_a_comment_or_an_event),
        one(a_checkpoint_tells_the_place),
        one(a_reset_tells_why_and_what_there_is),
        one(the_last_frame_is_that_of_the_end),
        one(who_is_turned_away_comes_back_in_30_to_60_seconds),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
