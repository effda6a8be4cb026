/* SPDX-License-Identifier: MIT */
/* What a stream does about what is seen of its client. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

static int build_direct(void **state)
{
    *state = fake_host_new(true, 16);
    return 0;
}

static int build_pulled(void **state)
{
    *state = fake_host_new(false, 16);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static struct fake_stream *open_idle(struct fake_host *fake)
{
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    return stream;
}

static void report(struct fake_stream *stream, enum ack_progress_verdict verdict, int64_t after_ms)
{
    struct stream *of = stream->stream;

    stream_stall_hooks.report(&of->stall, verdict, of->stall.progress.began_ms + after_ms);
}

static void one_that_stalls_or_vanishes_is_evicted_for_that(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stalled = open_idle(fake), *vanished = open_idle(fake);

    report(stalled, ACK_PROGRESS_WAITS, 1000);
    assert_int_equal(stalled->stream->end, STREAM_END_NONE);
    report(stalled, ACK_PROGRESS_STALLED, 31000);
    report(vanished, ACK_PROGRESS_VANISHED, 31000);
    assert_int_equal(stalled->stream->end, STREAM_END_STALLED);
    assert_int_equal(vanished->stream->end, STREAM_END_VANISHED);
    fake_host_run(fake);
    fake_stream_close(stalled);
    fake_stream_close(vanished);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_STALLED), 1);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_VANISHED), 1);
}

/* The host sees only what it sends. */
static void the_timeout_of_one_that_is_slow_but_reads_is_extended(void **state)
{
    struct fake_stream *stream = open_idle(*state);

    report(stream, ACK_PROGRESS_MOVES, 10000);
    assert_true(stream->stream->is_kept);
    assert_int_equal(stream->extended, 0); /* suspended it has none */
    stream->stream->suspended = false;
    report(stream, ACK_PROGRESS_MOVES, 1000); /* not slow */
    assert_int_equal(stream->extended, 0);
    report(stream, ACK_PROGRESS_MOVES, 10000);
    assert_int_equal(stream->extended, 1);
    stream->stream->suspended = true;
    report(stream, ACK_PROGRESS_CLEAR, 11000);
    assert_false(stream->stream->is_kept);
    fake_stream_close(stream);
}

static void without_a_timeout_there_is_nothing_to_extend(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    fake->host.timeout_s = 0;
    report(stream, ACK_PROGRESS_MOVES, 10000);
    assert_false(stream->stream->is_kept);
    fake_stream_close(stream);
}

static void a_page_that_is_not_taken_is_dropped(void **state)
{
    struct fake_host *fake = *state;

    for (int i = 0; i < 100; i++)
        fake_host_publish(fake, make_message(.topics = "a"));
    struct stream_ask ask = fake_ask("a");
    ask.start = (struct stream_start){.from = STREAM_FROM_EARLIEST};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    while (stream->stream->page == NULL) {
        stream_host_resume(&fake->host, PRIO_REPLAY,
                           stream->stream->state == STREAM_READY && fake->streams->pages_n == 0);
        worker_turn(fake->worker, false);
    }
    stream->stream->suspended = false; /* the host has it, and its socket takes nothing */
    stream->stream->stall.progress.began_ms = stream->stream->filled_ms;
    report(stream, ACK_PROGRESS_WAITS, 999);
    assert_non_null(stream->stream->page);
    report(stream, ACK_PROGRESS_WAITS, 1000);
    assert_null(stream->stream->page);
    assert_int_equal(fake->streams->pages_n, 0);
    assert_int_equal(fake_host_stat(fake, STATS_PAGES_DROPPED), 1);
    stream->stream->suspended = true;
    fake_stream_close(stream);
}

static void one_that_closes_its_sending_half_is_sent_a_heartbeat_once(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    fake_stream_forget(stream);
    for (int i = 0; i < 2; i++) {
        stream_peer_reports.half_closed(stream->stream);
        fake_host_run(fake);
    }
    assert_int_equal(fake_stream_count(stream, ":\n"), 1);
    assert_int_equal(stream->stream->end, STREAM_END_NONE);
    fake_stream_close(stream);
}

static void of_one_that_is_gone_nothing_is_left_to_reset(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake), *reset = open_idle(fake);

    stream_peer_reports.gone(stream->stream, true);
    assert_int_equal(stream->stream->end, STREAM_END_LEFT);
    assert_false(fake_stream_is_cut(stream));
    stream_peer_reports.gone(reset->stream, false);
    assert_true(fake_stream_is_cut(reset));
    fake_host_run(fake);
    fake_stream_close(stream);
    fake_stream_close(reset);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_LEFT), 2);
}

#define both(test)                                                                                 \
    {#test " by itself", test, build_direct, tear_down, NULL},                                     \
    {                                                                                              \
#test " pulled", test, build_pulled, tear_down, NULL                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(one_that_stalls_or_vanishes_is_evicted_for_that),
        both(the_timeout_of_one_that_is_slow_but_reads_is_extended),
        both(without_a_timeout_there_is_nothing_to_extend),
        both(one_that_closes_its_sending_half_is_sent_a_heartbeat_once),
        both(of_one_that_is_gone_nothing_is_left_to_reset),
        cmocka_unit_test_setup_teardown(a_page_that_is_not_taken_is_dropped, build_pulled,
                                        tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
