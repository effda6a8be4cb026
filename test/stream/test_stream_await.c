/* SPDX-License-Identifier: MIT */
/* Streams whose id this gateway does not know, or not yet, where a log is shared: they wait for its
 * word, miss nothing, and get nothing twice. */
#include "config.h"
#include "stream/streams.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/clock.h"
#include "fake_host.h"
#include "hub/hub_internal.h"
#include "hub/hub_share.h"

#define NEXT_EPOCH "anotherepoch"
#define RING_EVENTS 8
#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* ---- the shared log, as the streams see it ---- */

static struct hub_share_facts word;
static unsigned asked_n;

bool __wrap_hub_shares(const struct hub *hub);
void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts);
void __wrap_hub_share_ask_soon(struct hub *hub);

bool __wrap_hub_shares(const struct hub *hub)
{
    (void)hub;
    return true;
}

void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts)
{
    (void)hub;
    *ret_facts = word;
}

void __wrap_hub_share_ask_soon(struct hub *hub)
{
    (void)hub;
    asked_n++;
}

/* The log was asked just now. */
static void say_word(struct fake_host *fake, const char *epoch, uint64_t head)
{
    strcpy(word.epoch, epoch);
    word.head = head;
    word.asked_ms = clock_mono_ms() + 1; /* a stream may have come in this millisecond */
    streams_tick(fake->streams, clock_mono_ms());
    fake_host_run(fake);
}

/* ---- a gateway ---- */

static int build(void **state)
{
    memset(&word, 0, sizeof(word));
    asked_n = 0;
    *state = fake_host_new(true, RING_EVENTS);
    return 0;
}

static int build_by_host(void **state)
{
    build(state);
    fake_host_free(*state);
    *state = fake_host_new(false, RING_EVENTS);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static void publish(struct fake_host *fake, unsigned from, unsigned to)
{
    char data[32];

    for (unsigned i = from; i <= to; i++) {
        snprintf(data, sizeof(data), "number %u.", i);
        fake_host_publish(fake, make_message(.topics = "a", .data = data));
    }
    fake_host_run(fake);
}

static void publish_ephemeral(struct fake_host *fake, const char *data)
{
    fake_host_publish(fake, make_message(.topics = "a", .data = data, .kind = MESSAGE_EPHEMERAL));
}

static struct fake_stream *open_at(struct fake_host *fake, const char *epoch, unsigned position)
{
    struct stream_ask ask = fake_ask("a");
    char id[SSE_ID_BYTES + 1];

    sse_put_id(id, epoch, position);
    ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = SSE_ID_BYTES};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    return stream;
}

static struct fake_stream *open_here(struct fake_host *fake, unsigned position)
{
    return open_at(fake, history_epoch(fake->history), position);
}

/* A term ends here, and whatever was behind that place is gone. */
static void begin_epoch(struct fake_host *fake, uint64_t position)
{
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, position);

    assert_int_equal(history_truncate(fake->history, position, lineage), 0);
    if (fake->hub->committed > position)
        fake->hub->committed = position;
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

static void assert_waits(struct fake_host *fake, struct fake_stream *stream, bool waits)
{
    struct stream_facts facts;

    stream_get_facts(stream->stream, clock_mono_ms(), &facts);
    assert_int_equal(facts.awaits_log, waits);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_AWAITING_LOG), waits);
}

/* Nothing but its head and heartbeats. */
static void assert_silent(struct fake_host *fake, struct fake_stream *stream)
{
    assert_waits(fake, stream, true);
    assert_false(fake_stream_has(stream, "data:"));
    assert_false(fake_stream_has(stream, "id:"));
}

/* It got exactly these, once each and in their order. */
static void assert_got(struct fake_stream *stream, unsigned from, unsigned to)
{
    const char *last = NULL;
    char line[40];

    assert_int_equal(fake_stream_count(stream, "data: number "), to + 1 - from);
    for (unsigned i = from; i <= to; i++) {
        snprintf(line, sizeof(line), "data: number %u.\n", i);
        const char *at = memmem(stream->received, stream->received_n, line, strlen(line));
        assert_non_null(at);
        assert_true(at > last);
        last = at;
    }
}

static void assert_reset(struct fake_stream *stream, const char *reason, const char *epoch,
                         unsigned position)
{
    char text[80];

    assert_int_equal(fake_stream_count(stream, "event: reset\n"), 1);
    snprintf(text, sizeof(text), "data: {\"reason\":\"%s\",", reason);
    assert_true(fake_stream_has(stream, text));
    snprintf(text, sizeof(text), "id: %.12s-%016u\n", epoch, position);
    assert_true(fake_stream_has(stream, text));
}

/* ---- it goes on ---- */

static void ahead_of_this_gateway_it_waits_and_misses_nothing(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    struct fake_stream *stream = open_here(fake, 5);
    assert_silent(fake, stream);
    assert_int_equal(asked_n, 1);
    publish(fake, 3, 4);
    assert_silent(fake, stream);
    publish(fake, 5, 5);
    assert_waits(fake, stream, false);
    assert_false(fake_stream_has(stream, "data:"));
    publish(fake, 6, 9);
    assert_got(stream, 6, 9);
    assert_false(fake_stream_has(stream, "reset"));
    fake_stream_close(stream);
}

/* What came together with the last one that it has. */
static void it_goes_on_inside_a_batch(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_here(fake, 5);
    struct hub_batch *batch = hub_batch_new(8);
    size_t work = 1000;

    publish(fake, 1, 1);
    for (unsigned i = 2; i <= 8; i++) {
        struct message *message = make_message(.topics = "a", .data = "whole");

        message_seal(message, history_epoch(fake->history), i, clock_wall_ms());
        batch->events[batch->events_n++] = message;
    }
    fake->hub->committed = 8;
    streams_batch(fake->streams, batch, 0, &work);
    hub_batch_unref(batch);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(stream, "data: whole\n"), 3);
    assert_true(fake_stream_has(stream, "-0000000000000006\n"));
    fake_stream_close(stream);
}

static void of_an_epoch_that_comes_later_it_waits(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 3);
    struct fake_stream *stream = open_at(fake, NEXT_EPOCH, 4);
    assert_silent(fake, stream);
    say_word(fake, NEXT_EPOCH, 4); /* which this gateway has not attached to */
    assert_silent(fake, stream);
    begin_epoch(fake, 3);
    say_word(fake, NEXT_EPOCH, 4);
    assert_silent(fake, stream);
    publish(fake, 4, 6);
    assert_got(stream, 5, 6);
    assert_false(fake_stream_has(stream, "reset"));
    fake_stream_close(stream);
}

/* Of a term that this gateway has never heard of, far behind all that it holds in memory. */
static void it_goes_on_from_the_history(void **state)
{
    struct fake_host *fake = *state;
    char terms[LINEAGE_TERM_BYTES + 1];

    publish(fake, 1, 30);
    struct fake_stream *stream = open_at(fake, NEXT_EPOCH, 3);
    publish(fake, 31, 40);
    assert_silent(fake, stream);
    snprintf(terms, sizeof(terms), "%s 5", NEXT_EPOCH);
    struct lineage *lineage = lineage_read(history_epoch(fake->history), terms, strlen(terms));
    assert_non_null(lineage);
    assert_int_equal(history_truncate(fake->history, 40, lineage), 0);
    streams_tick(fake->streams, clock_mono_ms());
    fake_host_run(fake);
    publish(fake, 41, 41);
    assert_got(stream, 4, 41);
    assert_false(fake_stream_has(stream, "reset"));
    fake_stream_close(stream);
}

static void what_the_log_has_is_waited_for(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_here(fake, 5);

    say_word(fake, history_epoch(fake->history), 7);
    assert_silent(fake, stream);
    publish(fake, 1, 8);
    assert_got(stream, 6, 8);
    fake_stream_close(stream);
}

static void what_this_gateway_has_is_not_waited_for(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 3);
    struct fake_stream *stream = open_here(fake, 2);
    assert_waits(fake, stream, false);
    assert_got(stream, 3, 3);
    fake_stream_close(stream);
}

/* ---- it is told ---- */

static void what_nobody_has_is_unknown(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    struct fake_stream *stream = open_here(fake, 5);
    say_word(fake, history_epoch(fake->history), 2);
    assert_waits(fake, stream, false);
    assert_reset(stream, "unknown", history_epoch(fake->history), 2);
    publish(fake, 3, 4);
    assert_got(stream, 3, 4);
    fake_stream_close(stream);
}

static void of_an_epoch_that_nobody_had_it_is_told(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 3);
    struct fake_stream *stream = open_at(fake, "neverheardof", 2);
    publish(fake, 4, 4);
    assert_silent(fake, stream);
    say_word(fake, history_epoch(fake->history), 9);
    assert_reset(stream, "epoch", history_epoch(fake->history), 4);
    publish(fake, 5, 5);
    assert_got(stream, 5, 5);
    fake_stream_close(stream);
}

/* Of a future that is no more; what came in its place is told from there. */
static void beyond_the_end_of_its_term_it_is_told(void **state)
{
    struct fake_host *fake = *state;
    char epoch[SSE_EPOCH_BYTES + 1];

    publish(fake, 1, 5);
    strcpy(epoch, history_epoch(fake->history));
    begin_epoch(fake, 3);
    hand_cut(fake, HUB_CUT_TERM, 3);
    struct fake_stream *stream = open_at(fake, epoch, 5);
    publish(fake, 4, 6);
    assert_silent(fake, stream);
    say_word(fake, NEXT_EPOCH, 6);
    assert_reset(stream, "epoch", NEXT_EPOCH, 3);
    assert_got(stream, 4, 6);
    fake_stream_close(stream);
}

/* The end of its term is not here yet, and the log may lose it once more: nobody would be told. */
static void where_there_is_nothing_yet_nobody_stands(void **state)
{
    struct fake_host *fake = *state;
    char epoch[SSE_EPOCH_BYTES + 1];

    publish(fake, 1, 2);
    strcpy(epoch, history_epoch(fake->history));
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, 4);
    assert_int_equal(history_truncate(fake->history, 2, lineage), 0);
    struct fake_stream *stream = open_at(fake, epoch, 6);
    say_word(fake, NEXT_EPOCH, 5);
    assert_silent(fake, stream);
    publish(fake, 3, 4);
    streams_tick(fake->streams, clock_mono_ms());
    fake_host_run(fake);
    assert_reset(stream, "epoch", NEXT_EPOCH, 4);
    publish(fake, 5, 5);
    assert_got(stream, 5, 5);
    fake_stream_close(stream);
}

static void a_word_from_before_it_came_says_nothing(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    strcpy(word.epoch, history_epoch(fake->history));
    word.head = 2;
    word.asked_ms = clock_mono_ms() - 1;
    struct fake_stream *stream = open_here(fake, 5);
    streams_tick(fake->streams, clock_mono_ms());
    fake_host_run(fake);
    assert_silent(fake, stream);
    assert_true(asked_n >= 2);
    fake_stream_close(stream);
}

/* ---- cuts ---- */

static void a_cut_before_its_place_is_told_once_the_log_was_asked(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 4);
    struct fake_stream *stream = open_here(fake, 6);
    begin_epoch(fake, 3);
    hand_cut(fake, HUB_CUT_TERM, 3);
    assert_silent(fake, stream);
    say_word(fake, NEXT_EPOCH, 3);
    assert_reset(stream, "epoch", NEXT_EPOCH, 3);
    publish(fake, 4, 5);
    assert_got(stream, 4, 5);
    fake_stream_close(stream);
}

static void a_cut_that_takes_less_is_not_told(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    struct fake_stream *stream = open_here(fake, 4);
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, 5);
    assert_int_equal(history_truncate(fake->history, 2, lineage), 0); /* it has two of the five */
    say_word(fake, NEXT_EPOCH, 5);
    assert_silent(fake, stream);
    publish(fake, 3, 6);
    assert_got(stream, 5, 6);
    assert_false(fake_stream_has(stream, "reset"));
    fake_stream_close(stream);
}

static void a_gap_over_its_place_is_told(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    struct fake_stream *stream = open_here(fake, 5);
    struct lineage *lineage = lineage_begin(history_lineage(fake->history), NEXT_EPOCH, 20);
    assert_int_equal(history_truncate(fake->history, 50, lineage), 0);
    fake->hub->committed = 50;
    hand_cut(fake, HUB_CUT_GAP, 50);
    assert_reset(stream, "expired", NEXT_EPOCH, 50);
    publish(fake, 51, 52);
    assert_got(stream, 51, 52);
    fake_stream_close(stream);
}

/* ---- meanwhile ---- */

static void ephemeral_events_are_not_for_it_yet(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, 1, 2);
    struct fake_stream *stream = open_here(fake, 4);
    publish_ephemeral(fake, "too early");
    stream_add_control(stream->stream, STREAM_HEARTBEAT);
    publish_ephemeral(fake, "too early"); /* while it is about to send */
    fake_host_run(fake);
    assert_silent(fake, stream);
    publish(fake, 3, 4);
    publish_ephemeral(fake, "in time");
    fake_host_run(fake);
    assert_false(fake_stream_has(stream, "too early"));
    assert_int_equal(fake_stream_count(stream, "data: in time\n"), 1);
    fake_stream_close(stream);
}

static void it_gets_heartbeats_for_as_long_as_it_takes(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_here(fake, 4);
    size_t n = fake_stream_count(stream, ":\n");

    for (int i = 1; i <= 10; i++) {
        streams_tick(fake->streams, clock_mono_ms() + i * 20000);
        fake_host_run(fake);
    }
    assert_true(fake_stream_count(stream, ":\n") >= n + 1);
    assert_silent(fake, stream);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_AWAITING_LOG), 0);
}

static void what_it_asks_for_may_change(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_here(fake, 2);
    struct filter *filter = make_filter("b", NULL);
    uint64_t position;

    assert_int_equal(stream_set_filter(stream->stream, filter, NULL, &position), 0);
    assert_true(position == UINT64_MAX);
    filter_unref(filter);
    publish(fake, 1, 3);
    fake_host_publish(fake, make_message(.topics = "b", .data = "changed"));
    fake_host_run(fake);
    assert_false(fake_stream_has(stream, "number"));
    assert_int_equal(fake_stream_count(stream, "data: changed\n"), 1);
    fake_stream_close(stream);
}

static void a_websocket_learns_its_place_later(void **state)
{
    struct fake_host *fake = *state;

    fake->host.wire = &stream_wire_v1;
    struct fake_stream *stream = open_here(fake, 2);
    assert_true(fake_stream_has(stream, "{\"type\":\"hello\",\"id\":null,"));
    say_word(fake, history_epoch(fake->history), 0);
    assert_true(fake_stream_has(stream, "{\"type\":\"reset\",\"reason\":\"unknown\","));
    fake_stream_close(stream);
}

static void it_ends_like_any_other(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_here(fake, 9);
    struct stream_facts facts;

    publish(fake, 1, 2);
    stream_get_facts(stream->stream, clock_mono_ms(), &facts);
    assert_int_equal(facts.position, 2);
    assert_true(facts.last_id_sent == UINT64_MAX);
    streams_drain(fake->streams, clock_mono_ms(), 0, STREAM_END_DRAINED);
    say_word(fake, history_epoch(fake->history), 2);
    assert_false(fake_stream_has(stream, "reset"));
    assert_true(stream->end != 0);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_AWAITING_LOG), 0);
}

static void many_wait_for_places_of_their_own(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[20];

    for (unsigned i = 0; i < ROWS(streams); i++)
        streams[i] = open_here(fake, 1 + i * 7 % ROWS(streams));
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_AWAITING_LOG), ROWS(streams));
    for (unsigned n = 1; n <= ROWS(streams) + 1; n++) {
        publish(fake, n, n);
        assert_int_equal(fake_host_stat(fake, STATS_STREAMS_AWAITING_LOG),
                         n < ROWS(streams) ? ROWS(streams) - n : 0);
    }
    for (unsigned i = 0; i < ROWS(streams); i++) {
        assert_got(streams[i], 2 + i * 7 % ROWS(streams), ROWS(streams) + 1);
        fake_stream_close(streams[i]);
    }
}

#define over_a_host(test) cmocka_unit_test_setup_teardown(test, build, tear_down)
#define by_a_host(test)                                                                            \
    {                                                                                              \
#test " by the host", test, build_by_host, tear_down, NULL                                 \
    }
#define both(test) over_a_host(test), by_a_host(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(ahead_of_this_gateway_it_waits_and_misses_nothing),
        both(it_goes_on_inside_a_batch),
        both(of_an_epoch_that_comes_later_it_waits),
        both(it_goes_on_from_the_history),
        both(what_the_log_has_is_waited_for),
        both(what_this_gateway_has_is_not_waited_for),
        both(what_nobody_has_is_unknown),
        both(of_an_epoch_that_nobody_had_it_is_told),
        both(beyond_the_end_of_its_term_it_is_told),
        both(where_there_is_nothing_yet_nobody_stands),
        both(a_word_from_before_it_came_says_nothing),
        both(a_cut_before_its_place_is_told_once_the_log_was_asked),
        both(a_cut_that_takes_less_is_not_told),
        both(a_gap_over_its_place_is_told),
        both(ephemeral_events_are_not_for_it_yet),
        both(it_gets_heartbeats_for_as_long_as_it_takes),
        both(what_it_asks_for_may_change),
        over_a_host(a_websocket_learns_its_place_later),
        both(it_ends_like_any_other),
        both(many_wait_for_places_of_their_own),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
