/* SPDX-License-Identifier: MIT */
/* The end of streams whose token has ended, or which would not be let in any more. */
#include "config.h"
#include "stream/stream_expiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define UNTIL_MS 1000000
#define STREAMS 100

static int build(void **state)
{
    *state = fake_host_new(true, 16);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static struct fake_stream *open_until(struct fake_host *fake, int64_t until_ms)
{
    struct stream_ask ask = fake_ask("a");

    ask.grant.identity = identity_new(&(struct identity_draft){.until_ms = until_ms});
    struct fake_stream *stream = fake_stream_open(fake, ask);
    identity_unref(ask.grant.identity);
    fake_host_run(fake);
    return stream;
}

static void a_stream_ends_with_its_token(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *anonymous = fake_stream_open(fake, fake_ask("a")),
                       *first = open_until(fake, UNTIL_MS), *later = open_until(fake, UNTIL_MS + 5);

    stream_expiry_tick(fake->streams, UNTIL_MS - 1);
    assert_int_equal(first->stream->end, STREAM_END_NONE);
    stream_expiry_tick(fake->streams, UNTIL_MS);
    assert_int_equal(first->stream->end, STREAM_END_TOKEN);
    assert_int_equal(later->stream->end, STREAM_END_NONE);
    stream_expiry_tick(fake->streams, UNTIL_MS + 5);
    assert_int_equal(later->stream->end, STREAM_END_TOKEN);
    stream_expiry_tick(fake->streams, IDENTITY_FOREVER - 1);
    assert_int_equal(anonymous->stream->end, STREAM_END_NONE);
    fake_host_run(fake);
    assert_true(fake_stream_has(first, "{\"reason\":\"token\"}"));
    fake_stream_close(anonymous);
    fake_stream_close(first);
    fake_stream_close(later);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_EXPIRED), 2);
}

/* Those with a credential are not let in any more. */
static bool is_anonymous(void *arg, const struct conf *conf, const struct stream_grant *grant,
                         const struct filter *filter)
{
    assert_non_null(conf);
    assert_non_null(filter);
    ++*(size_t *)arg;
    return grant->identity == NULL;
}

static void a_recheck_ends_those_that_are_not_let_in_any_more(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[STREAMS];
    size_t judged_n = 0;
    struct stream_expiry_judge judge = {is_anonymous, &judged_n};

    for (size_t i = 0; i < STREAMS; i++)
        streams[i] =
            i % 2 == 0 ? fake_stream_open(fake, fake_ask("a")) : open_until(fake, IDENTITY_FOREVER);
    stream_end(streams[0]->stream, STREAM_END_DELETED); /* needs no judge any more */
    stream_expiry_recheck(fake->streams, &judge);
    while (worker_has_jobs(fake->worker, PRIO_BROADCAST))
        worker_turn(fake->worker, false);
    assert_int_equal(judged_n, STREAMS - 1);
    for (size_t i = 1; i < STREAMS; i++)
        assert_int_equal(streams[i]->stream->end, i % 2 == 0 ? STREAM_END_NONE : STREAM_END_KEY);
    fake_host_run(fake);
    assert_true(fake_stream_has(streams[1], "{\"reason\":\"key\"}"));
    for (size_t i = 0; i < STREAMS; i++)
        fake_stream_close(streams[i]);
}

static void a_recheck_can_be_given_up(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_until(fake, IDENTITY_FOREVER);
    size_t judged_n = 0;
    struct stream_expiry_judge judge = {is_anonymous, &judged_n};

    stream_expiry_recheck(fake->streams, &judge);
    stream_expiry_stop(fake->streams);
    worker_turn(fake->worker, false);
    assert_int_equal(judged_n, 0);
    assert_int_equal(stream->stream->end, STREAM_END_NONE);
    fake_stream_close(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_stream_ends_with_its_token, build, tear_down),
        cmocka_unit_test_setup_teardown(a_recheck_ends_those_that_are_not_let_in_any_more, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_recheck_can_be_given_up, build, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
