/* SPDX-License-Identifier: MIT */
/* Streams over WebSocket: frames, heartbeats, what is said, and each end's Close. */
#include "config.h"
#include "stream/stream_ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"
#include "stream/memory_pressure.h"
#include "wire/ws_frame.h"

#define HEAD "HTTP/1.1 200 OK\r\n\r\n"
#define LARGE 100000 /* bytes of an event that no room has */

static int build_raw(void **state)
{
    struct fake_host *fake = fake_host_new(true, 64);

    fake->host.wire = &stream_wire_raw;
    *state = fake;
    return 0;
}

static int build_v1(void **state)
{
    build_raw(state);
    ((struct fake_host *)*state)->host.wire = &stream_wire_v1;
    return 0;
}

static int build_packed(void **state)
{
    struct fake_host *fake;

    build_raw(state);
    fake = *state;
    fake->host.wire = &stream_wire_raw_packed;
    fake->conf->websocket.deflate_from = 100;
    return streams_get_deflater(fake->streams);
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

/* ---- frames that have come ---- */

struct frame {
    unsigned opcode;
    bool is_packed;
    char text[2 * LARGE];
    size_t n;
};

/* Take the first frame off what has come, behind the head.  Returns false when there is none. */
static bool take_frame(struct fake_stream *stream, struct frame *ret_frame)
{
    const unsigned char *at = (const unsigned char *)stream->received;
    size_t head_n = 2;

    fake_stream_has(stream, "no such text"); /* reads */
    if (stream->received_n >= sizeof(HEAD) - 1 && memcmp(at, HEAD, sizeof(HEAD) - 1) == 0) {
        stream->received_n -= sizeof(HEAD) - 1;
        memmove(stream->received, stream->received + sizeof(HEAD) - 1, stream->received_n);
    }
    if (stream->received_n < 2)
        return false;
    assert_int_equal(at[0] & 0xb0, 0x80);
    ret_frame->is_packed = (at[0] & 0x40) != 0;
    assert_int_equal(at[1] & 0x80, 0);
    ret_frame->opcode = at[0] & 0xf;
    ret_frame->n = at[1];
    if (at[1] == 126) {
        ret_frame->n = (size_t)at[2] << 8 | at[3];
        head_n = 4;
    } else if (at[1] == 127) {
        ret_frame->n = 0;
        for (int i = 2; i < 10; i++)
            ret_frame->n = ret_frame->n << 8 | at[i];
        head_n = 10;
    }
    if (stream->received_n < head_n + ret_frame->n)
        return false;
    assert_true(ret_frame->n < sizeof(ret_frame->text));
    memcpy(ret_frame->text, at + head_n, ret_frame->n);
    ret_frame->text[ret_frame->n] = '\0';
    stream->received_n -= head_n + ret_frame->n;
    memmove(stream->received, at + head_n + ret_frame->n, stream->received_n);
    return true;
}

static struct frame frame;

static void assert_frame(struct fake_stream *stream, unsigned opcode, const char *text)
{
    assert_true(take_frame(stream, &frame));
    assert_int_equal(frame.opcode, opcode);
    assert_false(frame.is_packed);
    assert_int_equal(frame.n, strlen(text));
    assert_memory_equal(frame.text, text, frame.n);
}

/* One that begins so. */
static void assert_text(struct fake_stream *stream, const char *begin)
{
    assert_true(take_frame(stream, &frame));
    assert_int_equal(frame.opcode, WS_TEXT);
    if (strncmp(frame.text, begin, strlen(begin)) != 0)
        fail_msg("%s: %s", begin, frame.text);
}

static void assert_close(struct fake_stream *stream, unsigned code, const char *begin)
{
    assert_true(take_frame(stream, &frame));
    assert_int_equal(frame.opcode, WS_CLOSE);
    assert_int_equal((unsigned char)frame.text[0] << 8 | (unsigned char)frame.text[1], code);
    if (strncmp(frame.text + 2, begin, strlen(begin)) != 0)
        fail_msg("%s: %s", begin, frame.text + 2);
}

static void assert_nothing(struct fake_stream *stream)
{
    assert_false(take_frame(stream, &frame));
    assert_int_equal(stream->received_n, 0);
}

static struct fake_stream *open_idle(struct fake_host *fake)
{
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    return stream;
}

/* ---- raw ---- */

static void raw_begins_with_the_head_alone(void **state)
{
    struct fake_stream *stream = open_idle(*state);

    assert_true(fake_stream_has(stream, HEAD));
    assert_nothing(stream);
    fake_stream_close(stream);
}

static void raw_is_the_data_and_nothing_else(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake), *other = fake_stream_open(fake, fake_ask("b"));

    publish(fake, "a", "one");
    publish(fake, "b", "not for it");
    publish(fake, "a", "two lines,\nboth");
    fake_host_run(fake);
    assert_frame(stream, WS_TEXT, "one");
    assert_frame(stream, WS_TEXT, "two lines,\nboth");
    assert_nothing(stream);
    assert_frame(other, WS_TEXT, "not for it");
    assert_int_equal(fake_host_stat(fake, STATS_EVENTS_DELIVERED), 3);
    fake_stream_close(stream);
    fake_stream_close(other);
}

/* The setting counts for events that nobody has packed yet. */
static void packs_what_is_worth_it(void **state)
{
    static char text[201];
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    memset(text, 'a', sizeof(text) - 1);
    publish(fake, "a", "few");
    fake_host_run(fake);
    assert_frame(stream, WS_TEXT, "few");
    publish(fake, "a", text);
    fake_host_run(fake);
    assert_true(take_frame(stream, &frame));
    assert_true(frame.is_packed);
    assert_int_equal(frame.opcode, WS_TEXT);
    assert_in_range(frame.n, 1, 20);
    fake->conf->websocket.deflate_from = 1000;
    publish(fake, "a", text);
    fake_host_run(fake);
    assert_frame(stream, WS_TEXT, text);
    fake_stream_close(stream);
}

static void raw_tells_of_no_reset_and_no_place(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    publish(fake, "a", "before");
    ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = "no id", .id_n = 5};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    stream_add_control(stream->stream, STREAM_CHECKPOINT);
    fake_host_run(fake);
    assert_nothing(stream);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    assert_int_equal(fake_host_stat(fake, STATS_RESETS), 0);
    assert_int_equal(fake_host_stat(fake, STATS_CHECKPOINTS), 0);
    fake_stream_close(stream);
}

static void a_place_that_is_not_told_wakes_nobody(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    ask.heartbeat_ms = 60000;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    publish(fake, "b", "passes by");
    heartbeat_tick(fake->streams, worker_now_ms(fake->worker) + 30000);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    assert_int_equal(stream_host_due(&fake->host)->last_id_sent,
                     ring_head_position(fake->streams->ring));
    fake_stream_close(stream);
}

static void the_past_comes_in_order(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");
    char text[16];

    for (int i = 0; i < 200; i++) { /* more than the ring has */
        snprintf(text, sizeof(text), "%d", i);
        publish(fake, "a", text);
    }
    ask.start.from = STREAM_FROM_EARLIEST;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    for (int i = 0; i < 200; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_frame(stream, WS_TEXT, text);
    }
    assert_nothing(stream);
    fake_stream_close(stream);
}

/* It is taken from where the event has it, over as many sends as the socket wants. */
static void a_large_event_is_one_frame(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    char *large = calloc(1, LARGE + 1);

    memset(large, 'x', LARGE);
    assert_int_equal(setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int)), 0);
    publish(fake, "a", "small");
    publish(fake, "a", large);
    publish(fake, "a", "behind");
    for (int i = 0; i < 100; i++) {
        fake_host_run(fake);
        fake_stream_has(stream, "no such text");
    }
    assert_frame(stream, WS_TEXT, "small");
    assert_frame(stream, WS_TEXT, large);
    assert_frame(stream, WS_TEXT, "behind");
    assert_nothing(stream);
    fake_stream_close(stream);
    free(large);
}

/* ---- heartbeats ---- */

static void beat(struct fake_host *fake, struct fake_stream *stream)
{
    stream_add_control(stream->stream, STREAM_HEARTBEAT);
    fake_host_run(fake);
}

static void every_fourth_heartbeat_is_a_ping(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    for (int i = 1; i <= 8; i++) {
        beat(fake, stream);
        assert_frame(stream, i % 4 == 0 ? WS_PING : WS_PONG, "");
    }
    assert_int_equal(fake_host_stat(fake, STATS_HEARTBEATS), 8);
    fake_stream_close(stream);
}

static void who_is_not_heard_between_two_pings_has_vanished(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake), *other = open_idle(fake);

    for (int i = 0; i < 8; i++) {
        beat(fake, stream);
        beat(fake, other);
    }
    beat(fake, stream); /* stream.vanish_timeout is not over */
    assert_int_equal(stream->stream->end, STREAM_END_NONE);
    fake->conf->stream.vanish_timeout_ms = 0;
    stream_ws_hear(&other->ws);
    beat(fake, other);
    assert_int_equal(other->stream->end, STREAM_END_NONE);
    beat(fake, stream);
    assert_int_equal(stream->stream->end, STREAM_END_VANISHED);
    assert_true(fake_stream_is_cut(stream));
    fake_stream_close(stream);
    fake_stream_close(other);
}

/* ---- pings and texts ---- */

static void the_last_of_several_pings_is_answered(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    stream_ws_answer_ping(stream->stream, "first", 5);
    stream_ws_answer_ping(stream->stream, "last", 4);
    fake_host_run(fake);
    assert_frame(stream, WS_PONG, "last");
    assert_nothing(stream);
    stream_ws_answer_ping(stream->stream, "", 0);
    fake_host_run(fake);
    assert_frame(stream, WS_PONG, "");
    fake_stream_close(stream);
}

static void what_is_said_goes_before_the_next_event_in_order(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    char *large = calloc(1, LARGE + 1);

    memset(large, 'y', LARGE);
    publish(fake, "a", "event");
    stream_ws_say(stream->stream, "one", 3);
    stream_ws_say(stream->stream, large, LARGE);
    stream_ws_say(stream->stream, "", 0);
    assert_int_equal(stream->said_n, 0);
    fake_host_run(fake);
    assert_int_equal(stream->said_n, 1);
    assert_null(stream->ws.said);
    assert_frame(stream, WS_TEXT, "one");
    assert_frame(stream, WS_TEXT, large);
    assert_frame(stream, WS_TEXT, "");
    assert_frame(stream, WS_TEXT, "event");
    assert_nothing(stream);
    fake_stream_close(stream);
    free(large);
}

/* An answer under way that its client does not take, and one behind it. */
static struct fake_stream *open_unread(struct fake_host *fake, size_t answer_n)
{
    struct fake_stream *stream = open_idle(fake);
    char *answer = calloc(1, answer_n + 1);

    memset(answer, 'y', answer_n);
    while (stream->stream->unsent_n == 0) {
        stream_ws_say(stream->stream, answer, answer_n);
        fake_host_run(fake);
    }
    stream_ws_say(stream->stream, answer, answer_n);
    free(answer);
    return stream;
}

static void unread_answers_are_given_up_when_memory_is_short(void **state)
{
    struct fake_host *fake = *state;
    struct memory_budget *memory = memory_budget_new(10 << 20, 0);

    worker_set_memory(fake->worker, memory);
    struct fake_stream *unread = open_unread(fake, 100000), *few = open_unread(fake, 100);
    struct fake_stream *idle = open_idle(fake);

    memory_pressure_evict(fake->streams, 1000);
    assert_int_equal(unread->stream->end, STREAM_END_NONE);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, 10 << 20);
    memory_pressure_evict(fake->streams, 2000);
    assert_int_equal(unread->stream->end, STREAM_END_MEMORY);
    assert_int_equal(few->stream->end, STREAM_END_NONE);
    assert_int_equal(idle->stream->end, STREAM_END_NONE);
    fake_stream_close(unread);
    fake_stream_close(few);
    fake_stream_close(idle);
    worker_set_memory(fake->worker, NULL);
    memory_budget_free(memory);
}

static void what_was_said_goes_before_the_end(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    stream_ws_say(stream->stream, "answer", 6);
    stream_ws_close(stream->stream, STREAM_END_REFUSED, WS_CLOSE_POLICY, "the rule");
    stream_ws_say(stream->stream, "too late", 8);
    stream_ws_answer_ping(stream->stream, "too late", 8);
    stream_ws_close(stream->stream, STREAM_END_REFUSED, WS_CLOSE_PROTOCOL, "another");
    fake_host_run(fake);
    assert_frame(stream, WS_TEXT, "answer");
    assert_close(stream, WS_CLOSE_POLICY, "the rule");
    assert_nothing(stream);
    assert_int_equal(stream->end, FAKE_HANDED_BACK);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_WEBSOCKET_ERRORS), 1);
}

static void what_it_sends_is_told_to_its_host(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    assert_int_equal(send(stream->peer_fd, "bytes", 5, 0), 5);
    worker_turn(fake->worker, true);
    assert_int_equal(stream->readable_n, 1);
    assert_false(stream->has_ended);
    assert_int_equal(shutdown(stream->peer_fd, SHUT_WR), 0);
    worker_turn(fake->worker, true);
    assert_int_equal(stream->readable_n, 2); /* and not half closed */
    assert_true(stream->has_ended);
    assert_false(stream->stream->half_closed);
    fake_stream_close(stream);
}

/* ---- ends ---- */

static const struct {
    enum stream_end end;
    unsigned code;
    const char *reason, *bye;
} ends[] = {
    {STREAM_END_DELETED, WS_CLOSE_NORMAL, "deleted", "{\"type\":\"bye\",\"code\":\"deleted\"}"},
    {STREAM_END_TOKEN, WS_CLOSE_TOKEN, "token", "{\"type\":\"bye\",\"code\":\"token\"}"},
    {STREAM_END_KEY, WS_CLOSE_TOKEN, "key", "{\"type\":\"bye\",\"code\":\"key\"}"},
    {STREAM_END_REPLACED, WS_CLOSE_TICKET_USED, "replaced",
     "{\"type\":\"bye\",\"code\":\"replaced\"}"},
    {STREAM_END_DRAINED, WS_CLOSE_GOING_AWAY,
     "stopping retry_ms=", "{\"type\":\"bye\",\"code\":\"stopping\",\"retry_ms\":"},
    {STREAM_END_HANDOVER, WS_CLOSE_RESTART,
     "handover retry_ms=", "{\"type\":\"bye\",\"code\":\"handover\",\"retry_ms\":"},
    {STREAM_END_FAILED, WS_CLOSE_INTERNAL,
     "failed retry_ms=", "{\"type\":\"bye\",\"code\":\"failed\",\"retry_ms\":"},
};

static unsigned retry_of(const char *before)
{
    const char *at = strstr(frame.text + (frame.opcode == WS_CLOSE ? 2 : 0), before);

    return at != NULL ? (unsigned)atoi(at + strlen(before)) : 0;
}

static void each_end_has_its_close(void **state)
{
    struct fake_host *fake = *state;
    bool is_v1 = fake->host.wire == &stream_wire_v1;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct fake_stream *stream = open_idle(fake);
        unsigned retry_ms = 0;

        while (take_frame(stream, &frame))
            ;
        stream_end(stream->stream, ends[i].end);
        fake_host_run(fake);
        if (is_v1) {
            assert_text(stream, ends[i].bye);
            retry_ms = retry_of("retry_ms\":");
        }
        assert_close(stream, ends[i].code, ends[i].reason);
        if (is_v1)
            assert_int_equal(retry_of("retry_ms="), retry_ms); /* drawn once */
        assert_nothing(stream);
        assert_int_equal(stream->end, FAKE_HANDED_BACK);
        fake_stream_close(stream);
    }
}

/* Its own code, without a word before it. */
static void a_client_that_closes_is_answered(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake), *other = open_idle(fake);

    while (take_frame(stream, &frame) || take_frame(other, &frame))
        ;
    stream_ws_close(stream->stream, STREAM_END_CLOSED, WS_CLOSE_GOING_AWAY, "");
    stream_ws_close(other->stream, STREAM_END_CLOSED, WS_CLOSE_NO_CODE, "");
    fake_host_run(fake);
    assert_close(stream, WS_CLOSE_GOING_AWAY, "");
    assert_int_equal(frame.n, 2);
    assert_frame(other, WS_CLOSE, "");
    assert_int_equal(stream->end, FAKE_HANDED_BACK);
    fake_stream_close(stream);
    fake_stream_close(other);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_LEFT), 2);
}

static void a_cut_says_nothing(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    while (take_frame(stream, &frame))
        ;
    stream_end(stream->stream, STREAM_END_STALLED);
    fake_host_run(fake);
    assert_nothing(stream);
    assert_true(fake_stream_is_cut(stream));
    fake_stream_close(stream);
}

static void a_drain_sends_what_is_committed_first(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    publish(fake, "a", "the backlog");
    stream_end(stream->stream, STREAM_END_DRAINED);
    fake_host_run(fake);
    assert_frame(stream, WS_TEXT, "the backlog");
    assert_close(stream, WS_CLOSE_GOING_AWAY, "stopping");
    fake_stream_close(stream);
}

static void a_refusal_is_a_bye_and_a_close(void **state)
{
    char bytes[STREAM_WS_REFUSAL_BYTES];

    (void)state;
    size_t n = stream_ws_write_refusal(bytes, false, 1013, "too_many_streams", 31000);
    assert_memory_equal(bytes, "\x88\x21\x03\xf5too_many_streams retry_ms=31000", n);
    n = stream_ws_write_refusal(bytes, true, 4403, "missing_right", 0);
    assert_memory_equal(bytes,
                        "\x81\x25{\"type\":\"bye\",\"code\":\"missing_right\"}"
                        "\x88\x0f\x11\x33missing_right",
                        n);
    assert_int_equal(n, 2 + 37 + 2 + 15);
}

/* ---- bugle.v1 ---- */

static void v1_begins_with_hello_and_its_place(void **state)
{
    struct fake_host *fake = *state;

    publish(fake, "b", "before");
    struct fake_stream *stream = open_idle(fake);
    assert_text(stream, "{\"type\":\"hello\",\"id\":\"");
    assert_non_null(strstr(frame.text, "-0000000000000001\",\"heartbeat\":15,\"retry_ms\":"));
    assert_nothing(stream); /* no checkpoint: it knows its place */
    assert_int_equal(stream->stream->last_id_sent, 1);
    fake_stream_close(stream);
}

static void v1_that_begins_at_a_time_does_not_know_its_place(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    publish(fake, "a", "before");
    ask.start = (struct stream_start){.from = STREAM_FROM_TIME, .since_ms = 0};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    assert_text(stream, "{\"type\":\"hello\",\"id\":null,");
    assert_text(stream, "{\"type\":\"event\"");
    assert_nothing(stream);
    fake_stream_close(stream);
}

static void v1_tells_of_a_reset(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    publish(fake, "a", "before");
    ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = "no id", .id_n = 5};
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    assert_text(stream, "{\"type\":\"hello\",\"id\":\"");
    assert_text(stream, "{\"type\":\"reset\",\"reason\":\"unknown\",\"oldest\":\"");
    assert_non_null(strstr(frame.text, "-0000000000000001\",\"id\":\""));
    assert_nothing(stream);
    assert_int_equal(fake_host_stat(fake, STATS_RESETS), 1);
    fake_stream_close(stream);
}

static void v1_tells_a_place_of_quiet_topics(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    assert_text(stream, "{\"type\":\"hello\"");
    publish(fake, "b", "passes by");
    stream_add_control(stream->stream, STREAM_CHECKPOINT);
    fake_host_run(fake);
    assert_text(stream, "{\"type\":\"checkpoint\",\"id\":\"");
    assert_non_null(strstr(frame.text, "-0000000000000001\"}"));
    assert_int_equal(stream->stream->last_id_sent, 1);
    fake_stream_close(stream);
}

static void v1_shows_heartbeats_to_who_asks(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    ask.options.ping_event = true;
    struct fake_stream *stream = fake_stream_open(fake, ask), *other = open_idle(fake);
    fake_host_run(fake);
    assert_text(stream, "{\"type\":\"hello\"");
    assert_text(other, "{\"type\":\"hello\"");
    for (int i = 1; i <= 4; i++) {
        beat(fake, stream);
        assert_frame(stream, i < 4 ? WS_TEXT : WS_PING, i < 4 ? "{\"type\":\"ping\"}" : "");
    }
    beat(fake, other);
    assert_frame(other, WS_PONG, "");
    fake_stream_close(stream);
    fake_stream_close(other);
}

static void v1_says_no_bye_after_a_mistake(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    assert_text(stream, "{\"type\":\"hello\"");
    stream_ws_close(stream->stream, STREAM_END_REFUSED, WS_CLOSE_PROTOCOL,
                    "The frame is not masked.");
    fake_host_run(fake);
    assert_close(stream, WS_CLOSE_PROTOCOL, "The frame is not masked.");
    assert_nothing(stream);
    fake_stream_close(stream);
}

#define raw(test) cmocka_unit_test_setup_teardown(test, build_raw, tear_down)
#define v1(test) cmocka_unit_test_setup_teardown(test, build_v1, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        raw(raw_begins_with_the_head_alone),
        raw(raw_is_the_data_and_nothing_else),
        cmocka_unit_test_setup_teardown(packs_what_is_worth_it, build_packed, tear_down),
        raw(raw_tells_of_no_reset_and_no_place),
        raw(a_place_that_is_not_told_wakes_nobody),
        raw(the_past_comes_in_order),
        raw(a_large_event_is_one_frame),
        raw(every_fourth_heartbeat_is_a_ping),
        raw(who_is_not_heard_between_two_pings_has_vanished),
        raw(the_last_of_several_pings_is_answered),
        raw(what_is_said_goes_before_the_next_event_in_order),
        raw(unread_answers_are_given_up_when_memory_is_short),
        raw(what_was_said_goes_before_the_end),
        raw(what_it_sends_is_told_to_its_host),
        raw(each_end_has_its_close),
        v1(each_end_has_its_close),
        raw(a_client_that_closes_is_answered),
        v1(a_client_that_closes_is_answered),
        v1(a_cut_says_nothing),
        raw(a_drain_sends_what_is_committed_first),
        raw(a_refusal_is_a_bye_and_a_close),
        v1(v1_begins_with_hello_and_its_place),
        v1(v1_that_begins_at_a_time_does_not_know_its_place),
        v1(v1_tells_of_a_reset),
        v1(v1_tells_a_place_of_quiet_topics),
        v1(v1_shows_heartbeats_to_who_asks),
        v1(v1_says_no_bye_after_a_mistake),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
