/* SPDX-License-Identifier: MIT */
/* Chunks that a stream sends by itself, over a socket that takes them, takes part of them, or is
 * gone. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define LARGE 100000 /* bytes of an event that no room has */

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

static struct fake_stream *open_idle(struct fake_host *fake)
{
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    fake_stream_forget(stream);
    return stream;
}

/* Let the socket have little room, and fill that. */
static void fill_socket(struct fake_stream *stream)
{
    char bytes[512];

    memset(bytes, '#', sizeof(bytes));
    while (send(stream->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    while (send(stream->fd, bytes, 1, MSG_DONTWAIT) > 0)
        ;
}

static void publish(struct fake_host *fake, const char *data)
{
    fake_host_publish(fake, make_message(.topics = "a", .data = data));
    fake_host_run(fake);
}

static void publish_large(struct fake_host *fake, char letter)
{
    char *data = malloc(LARGE + 1);

    memset(data, letter, LARGE);
    data[LARGE] = '\0';
    publish(fake, data);
    free(data);
}

/* Read until nothing comes any more. */
static void read_all(struct fake_stream *stream)
{
    size_t before;

    do {
        before = stream->received_n;
        fake_stream_has(stream, "x");
        worker_turn(stream->fake->worker, false);
        fake_host_run(stream->fake);
        fake_stream_has(stream, "x");
    } while (stream->received_n > before);
}

/* Take the chunks apart as a client does.  Returns the bytes of the body, or -1. */
static ssize_t body_of(struct fake_stream *stream, char *to)
{
    const char *at = stream->received, *end = stream->received + stream->received_n;
    size_t body_n = 0;

    while (at < end && *at == '#') /* what filled the socket */
        at++;
    while (at < end) {
        char *after;
        size_t n = strtoul(at, &after, 16);

        if (after == at || memcmp(after, "\r\n", 2) != 0 || after + 2 + n + 2 > end ||
            memcmp(after + 2 + n, "\r\n", 2) != 0)
            return -1;
        memcpy(to + body_n, after + 2, n);
        body_n += n;
        at = after + 2 + n + 2;
    }
    to[body_n] = '\0';
    return (ssize_t)body_n;
}

static void the_answer_begins_with_its_head_and_the_first_chunk(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));

    assert_true(fake_stream_has(stream, "HTTP/1.1 200 OK\r\n\r\n"));
    assert_true(fake_stream_has(stream, "\r\n:\nretry: "));
    assert_true(fake_stream_has(stream, "event: checkpoint\n"));
    assert_true(stream_waits(stream->stream));
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

static void an_event_is_a_chunk(void **state)
{
    struct fake_stream *stream = open_idle(*state);
    char body[1024];

    publish(*state, "one event");
    assert_true(fake_stream_has(stream, "data: one event\n"));
    assert_true(body_of(stream, body) > 0);
    assert_non_null(strstr(body, "data: one event\nid: "));
    fake_stream_close(stream);
}

static void a_large_event_is_a_chunk_of_its_own_from_where_it_stands(void **state)
{
    struct fake_stream *stream = open_idle(*state);
    static char body[2 * LARGE];

    publish_large(*state, 'L');
    read_all(stream);
    assert_true(body_of(stream, body) > LARGE);
    assert_int_equal(strspn(strchr(body, 'L'), "L"), LARGE);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    assert_null(stream->stream->partial);
    fake_stream_close(stream);
}

static void what_the_socket_does_not_take_goes_out_first_when_it_has_room(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    static char body[3 * LARGE];

    fill_socket(stream);
    publish(fake, "first");
    assert_true(stream->stream->unsent_n > 0);
    assert_int_equal(stream->stream->state, STREAM_DRAINING);
    assert_int_equal(stream->stream->in_ready, false);
    publish_large(fake, 'L');
    publish(fake, "last");
    read_all(stream);
    assert_int_equal(stream->stream->unsent_n, 0);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    assert_true(body_of(stream, body) > LARGE);
    assert_non_null(strstr(body, "data: first\n"));
    assert_int_equal(strspn(strchr(body, 'L'), "L"), LARGE);
    assert_true(strstr(body, "data: last\n") > strchr(body, 'L'));
    fake_stream_close(stream);
}

/* Small receive buffers make a large frame go out in many parts. */
static void the_tail_of_a_large_event_goes_on_where_it_stopped(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    int bytes = 4096;
    static char body[2 * LARGE];

    setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    publish_large(fake, 'L');
    assert_true(stream->stream->unsent_n > 0);
    assert_true(stream->stream->unsent_is_frame);
    read_all(stream);
    assert_true(body_of(stream, body) > LARGE);
    assert_int_equal(strspn(strchr(body, 'L'), "L"), LARGE);
    assert_int_equal(stream->stream->state, STREAM_IDLE);
    fake_stream_close(stream);
}

static void an_orderly_end_waits_for_what_is_unsent(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    char body[1024];

    fill_socket(stream);
    publish(fake, "unsent");
    stream_end(stream->stream, STREAM_END_DELETED);
    fake_host_run(fake);
    assert_int_equal(stream->stream->state, STREAM_CLOSING);
    assert_int_equal(stream->end, 0);
    read_all(stream);
    assert_int_equal(stream->end, FAKE_HANDED_BACK);
    assert_true(body_of(stream, body) > 0);
    assert_non_null(strstr(body, "data: unsent\n"));
    assert_true(fake_stream_has(stream, "0\r\n\r\n"));
    fake_stream_close(stream);
}

static void a_cut_does_not(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    fill_socket(stream);
    publish(fake, "unsent");
    stream_end(stream->stream, STREAM_END_MEMORY);
    assert_int_equal(stream->stream->unsent_n, 0);
    fake_host_run(fake);
    assert_int_equal(stream->end, FAKE_HANDED_BACK);
    assert_false(fake_stream_has(stream, "data: unsent\n"));
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_EVICTED_MEMORY), 1);
}

static void a_send_that_fails_ends_the_stream(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);

    close(stream->peer_fd);
    stream->peer_fd = -1;
    fake_host_publish(fake, make_message(.topics = "a"));
    for (enum worker_prio prio = PRIO_TARGETED; prio <= PRIO_BROADCAST; prio++)
        stream_host_resume(&fake->host, prio, 1);
    assert_int_equal(stream->stream->end, STREAM_END_LEFT);
    fake_host_run(fake);
    assert_int_equal(stream->end, FAKE_HANDED_BACK);
    fake_stream_close(stream);
}

/* A piece of the others' turn comes between. */
static void one_that_has_much_to_send_lets_others_have_their_turn(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = open_idle(fake);
    char data[1001];

    memset(data, 'd', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    for (int i = 0; i < 40; i++)
        fake_host_publish(fake, make_message(.topics = "a", .data = data));
    assert_true(stream_host_resume(&fake->host, PRIO_TARGETED, 1) ||
                fake->host.ready[PRIO_BROADCAST - PRIO_TARGETED].n == 1);
    assert_int_equal(stream->stream->state, STREAM_READY);
    assert_true(stream->stream->events_sent > 0 && stream->stream->events_sent < 40);
    fake_host_run(fake);
    assert_int_equal(stream->stream->events_sent, 40);
    fake_stream_close(stream);
}

/* ---- streams that a host answers for, and that send what comes later by themselves ---- */

static void which_streams_answer_by_themselves(void **state)
{
    struct stream_ask ask = fake_ask("a");
    char pool[64];

    ask.http_1_0 = true;
    struct fake_stream *http_1_0 = fake_stream_open(*state, ask);
    ask = fake_ask("a");
    ask.pool = pool;
    struct fake_stream *large = fake_stream_open(*state, ask);
    struct fake_stream *usual = fake_stream_open(*state, fake_ask("a"));

    assert_false(stream_answers_itself(http_1_0->stream));
    assert_false(stream_answers_itself(large->stream));
    assert_true(stream_answers_itself(usual->stream));
    fake_stream_close(http_1_0);
    fake_stream_close(large);
    fake_stream_close(usual);
}

static void one_that_was_pulled_from_sends_its_chunks_by_itself(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");
    char pool[64];

    ask.pool = pool; /* too small to be given back */
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    size_t pulls_n = stream->pulls_n;
    fake_stream_forget(stream);
    stream->stream->gives_pages = false;
    publish(fake, "past the host");
    assert_int_equal(stream->pulls_n, pulls_n);
    assert_true(fake_stream_has(stream, "data: past the host\n"));
    stream_end(stream->stream, STREAM_END_DELETED); /* the host has it back for that */
    fake_host_run(fake);
    assert_int_equal(stream->end, STREAM_PULL_END);
    fake_stream_close(stream);
}

static void one_without_chunks_is_always_pulled_from(void **state)
{
    struct fake_host *fake = *state;
    struct stream_ask ask = fake_ask("a");

    ask.http_1_0 = true;
    struct fake_stream *stream = fake_stream_open(fake, ask);
    fake_host_run(fake);
    size_t pulls_n = stream->pulls_n;
    publish(fake, "pulled");
    assert_int_equal(stream->pulls_n, pulls_n + 1);
    fake_stream_close(stream);
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, build, tear_down)
    const struct CMUnitTest tests[] = {
        one(the_answer_begins_with_its_head_and_the_first_chunk),
        one(an_event_is_a_chunk),
        one(a_large_event_is_a_chunk_of_its_own_from_where_it_stands),
        one(what_the_socket_does_not_take_goes_out_first_when_it_has_room),
        one(the_tail_of_a_large_event_goes_on_where_it_stopped),
        one(an_orderly_end_waits_for_what_is_unsent),
        one(a_cut_does_not),
        one(a_send_that_fails_ends_the_stream),
        one(one_that_has_much_to_send_lets_others_have_their_turn),
        one(which_streams_answer_by_themselves),
        one(one_that_was_pulled_from_sends_its_chunks_by_itself),
        one(one_without_chunks_is_always_pulled_from),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
