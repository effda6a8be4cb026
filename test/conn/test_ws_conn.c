/* SPDX-License-Identifier: MIT */
/*
 * WebSockets over a worker whose turns the test runs: what is read of them, when, and what follows
 * from it.
 */
#include "config.h"
#include "conn/ws_conn.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "../stream/fake_host.h"
#include "../support/make.h"
#include "base/clock.h"
#include "base/min_rate.h"
#include "conn/ws_internal.h"
#include "wire/ws_frame.h"

#define HEAD "HTTP/1.1 101 Switching Protocols\r\n\r\n"
#define CLIENTS_MAX 80

/* A client and the conversation with it. */
struct client {
    struct scene *scene;
    struct ws_conn *conn; /* NULL: it is over */
    int fd;
    size_t texts_n;
    char last[70000]; /* what it said last */
    size_t last_n;
    bool holds; /* the answer is not there yet */
    bool echoes;
    int64_t takes_ns; /* each text */
    char received[400000];
    size_t received_n;
};

struct scene {
    struct fake_host *fake;
    struct lingering_close_pool *lingering;
    struct client_quota *quota;
    struct ws_conns *conns;
    struct client *clients[CLIENTS_MAX];
    size_t clients_n;
};

static bool on_text(struct ws_conn *conn, const char *text, size_t text_n)
{
    struct client *client = ws_conn_arg(conn);

    assert_ptr_equal(client->conn, conn);
    client->texts_n++;
    assert_true(text_n < sizeof(client->last));
    memcpy(client->last, text, text_n);
    client->last[text_n] = '\0';
    client->last_n = text_n;
    if (client->echoes)
        ws_conn_send(conn, text, text_n);
    for (int64_t until_ns = clock_mono_ns() + client->takes_ns; clock_mono_ns() < until_ns;)
        ;
    return !client->holds;
}

static void on_closed(struct ws_conn *conn)
{
    struct client *client = ws_conn_arg(conn);

    assert_non_null(ws_conn_stream(conn));
    client->conn = NULL;
}

static const struct ws_conn_ops ops = {.text = on_text, .closed = on_closed};

static int build(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->fake = fake_host_new(true, 64);
    scene->fake->conf->limits.message_bytes = 65536;
    scene->lingering = lingering_close_new(scene->fake->worker);
    scene->quota = client_quota_new(scene->fake->conf);
    scene->conns =
        ws_conns_new(scene->fake->worker, scene->fake->streams, scene->lingering, scene->quota);
    assert_non_null(scene->conns);
    *state = scene;
    return 0;
}

static int64_t stat_of(const struct scene *scene, enum stats_id id)
{
    return fake_host_stat(scene->fake, id);
}

static void turn(struct scene *scene)
{
    for (int i = 0; i < 20; i++)
        worker_turn(scene->fake->worker, false);
}

static int tear_down(void **state)
{
    struct scene *scene = *state;

    for (size_t i = 0; i < scene->clients_n; i++)
        if (scene->clients[i]->fd >= 0)
            close(scene->clients[i]->fd);
    turn(scene);
    for (size_t i = 0; i < scene->clients_n; i++) {
        assert_null(scene->clients[i]->conn);
        free(scene->clients[i]);
    }
    assert_int_equal(ws_conns_count(scene->conns), 0);
    assert_int_equal(worker_load(scene->fake->worker), 0);
    assert_int_equal(stat_of(scene, STATS_CONNECTIONS_OPEN), 0);
    assert_int_equal(stat_of(scene, STATS_WEBSOCKETS_OPEN), 0);
    ws_conns_tick(scene->conns, clock_mono_ms());
    ws_conns_free(scene->conns);
    lingering_close_free(scene->lingering);
    client_quota_free(scene->quota);
    fake_host_free(scene->fake);
    free(scene);
    return 0;
}

/* ---- a client ---- */

static struct client *open_client(struct scene *scene)
{
    struct client *client = calloc(1, sizeof(*client));
    struct stream_ask ask = fake_ask("a");
    struct ws_conn_ask conn_ask = {
        .stream = &ask, .wire = &stream_wire_raw, .ops = &ops, .arg = client};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    client->scene = scene;
    client->fd = fds[1];
    conn_ask.fd = fds[0];
    scene->clients[scene->clients_n++] = client;
    assert_int_equal(ws_conn_open(scene->conns, &conn_ask, &client->conn), 0);
    ws_conn_begin(client->conn, HEAD, sizeof(HEAD) - 1);
    close(fds[0]); /* as the library does with its own */
    filter_unref(ask.filter);
    turn(scene);
    return client;
}

static size_t put_frame(char *to, unsigned first, const char *payload, size_t payload_n)
{
    static const char key[4] = {0x11, 0x22, 0x33, 0x44};
    size_t n = 0;

    to[n++] = (char)first;
    if (payload_n < 126) {
        to[n++] = (char)(0x80 | payload_n);
    } else {
        assert_true(payload_n < 65536);
        to[n++] = (char)(0x80 | 126);
        to[n++] = (char)(payload_n >> 8);
        to[n++] = (char)payload_n;
    }
    memcpy(to + n, key, 4);
    n += 4;
    for (size_t i = 0; i < payload_n; i++)
        to[n++] = (char)(payload[i] ^ key[i % 4]);
    return n;
}

static void send_bytes(struct client *client, const char *bytes, size_t n)
{
    assert_int_equal(send(client->fd, bytes, n, MSG_NOSIGNAL), n);
}

static void send_frame(struct client *client, unsigned first, const char *payload)
{
    static char frame[70000];

    send_bytes(client, frame, put_frame(frame, first, payload, strlen(payload)));
}

static void say(struct client *client, const char *text)
{
    send_frame(client, 0x80 | WS_TEXT, text);
}

static void receive(struct client *client)
{
    ssize_t n;

    while ((n = recv(client->fd, client->received + client->received_n,
                     sizeof(client->received) - client->received_n, MSG_DONTWAIT)) > 0)
        client->received_n += (size_t)n;
}

static bool has(struct client *client, const char *bytes, size_t n)
{
    receive(client);
    return memmem(client->received, client->received_n, bytes, n) != NULL;
}

/* What it was sent ends with this Close, and its end follows. */
static void assert_closed(struct client *client, unsigned code, const char *reason)
{
    char frame[WS_CONTROL_FRAME_MAX], byte;
    size_t n = ws_frame_put_close(frame, code, reason);

    turn(client->scene);
    receive(client);
    assert_true(client->received_n >= n);
    if (memcmp(client->received + client->received_n - n, frame, n) != 0)
        fail_msg("%u %s: %.*s", code, reason, 60, client->received + client->received_n - n);
    if (recv(client->fd, &byte, 1, MSG_DONTWAIT) != 0) { /* its answer is waited for */
        assert_int_equal(send(client->fd, "x", 1, MSG_NOSIGNAL), 1);
        turn(client->scene);
        assert_int_equal(recv(client->fd, &byte, 1, MSG_DONTWAIT), 0);
    }
    assert_null(client->conn);
    assert_int_equal(lingering_close_count(client->scene->lingering), 1);
    close(client->fd);
    client->fd = -1;
    turn(client->scene);
    assert_int_equal(lingering_close_count(client->scene->lingering), 0);
}

static int unread(const struct client *client)
{
    int n = 0;

    assert_int_equal(ioctl(client->conn->fd, FIONREAD, &n), 0);
    return n;
}

/* ---- opening ---- */

static void an_open_one_counts_and_has_its_own_descriptor(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    assert_true(has(client, HEAD, sizeof(HEAD) - 1));
    assert_int_equal(worker_load(scene->fake->worker), 1);
    assert_int_equal(stat_of(scene, STATS_CONNECTIONS_OPEN), 1);
    assert_int_equal(stat_of(scene, STATS_WEBSOCKETS_OPEN), 1);
    assert_int_equal(stat_of(scene, STATS_WEBSOCKETS_OPENED), 1);
    assert_int_equal(ws_conns_count(scene->conns), 1);
}

static void one_without_a_descriptor_leaves_nothing_behind(void **state)
{
    struct scene *scene = *state;
    struct stream_ask ask = fake_ask("a");
    struct ws_conn *conn;
    struct ws_conn_ask conn_ask = {.stream = &ask, .wire = &stream_wire_raw, .ops = &ops, .fd = 0};

    ws_conns_set_fd_end(scene->conns, 3);
    assert_int_equal(ws_conn_open(scene->conns, &conn_ask, &conn), -EMFILE);
    filter_unref(ask.filter);
    assert_int_equal(ws_conns_count(scene->conns), 0);
}

static void events_reach_it(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    fake_host_publish(scene->fake, make_message(.topics = "a", .data = "event"));
    turn(scene);
    assert_true(has(client,
                    "\x81\x05"
                    "event",
                    7));
}

static void hosts_are_shared_and_empty_ones_go(void **state)
{
    struct scene *scene = *state;

    for (int i = 0; i < 3; i++)
        open_client(scene);
    assert_ptr_equal(TAILQ_FIRST(&scene->conns->hosts), TAILQ_LAST(&scene->conns->hosts, ws_hosts));
    for (int i = 0; i < 3; i++) {
        close(scene->clients[i]->fd);
        scene->clients[i]->fd = -1;
    }
    turn(scene);
    ws_conns_tick(scene->conns, clock_mono_ms());
    assert_true(TAILQ_EMPTY(&scene->conns->hosts));
}

/* ---- reading ---- */

static void a_text_reaches_the_conversation(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    say(client, "hello");
    turn(scene);
    assert_int_equal(client->texts_n, 1);
    assert_string_equal(client->last, "hello");
    say(client, "");
    turn(scene);
    assert_int_equal(client->texts_n, 2);
    assert_int_equal(client->last_n, 0);
    assert_int_equal(stat_of(scene, STATS_WEBSOCKET_MESSAGES), 2);
}

static void byte_by_byte_it_is_the_same(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);
    char frames[64];
    size_t n = put_frame(frames, WS_TEXT, "hel", 3);

    n += put_frame(frames + n, 0x80 | WS_PING, "p", 1);
    n += put_frame(frames + n, 0x80 | WS_CONTINUATION, "lo", 2);
    for (size_t i = 0; i < n; i++) {
        send_bytes(client, frames + i, 1);
        turn(scene);
    }
    assert_int_equal(client->texts_n, 1);
    assert_string_equal(client->last, "hello");
    assert_true(has(client, "\x8a\x01p", 3));
}

/* Others have their turn, and nothing is forgotten. */
static void many_at_once_go_on_in_later_turns(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);
    static char frames[8000];
    size_t n = 0;

    for (int i = 0; i < 90; i++)
        n += put_frame(frames + n, 0x80 | WS_TEXT, "text", 4);
    send_bytes(client, frames, n);
    worker_turn(scene->fake->worker, false);
    assert_true(client->texts_n > 0 && client->texts_n < 20);
    turn(scene);
    assert_int_equal(client->texts_n, 90);
}

static size_t count_texts(const struct scene *scene)
{
    size_t n = 0;

    for (size_t i = 0; i < scene->clients_n; i++)
        n += scene->clients[i]->texts_n;
    return n;
}

/* The streams of the worker wait meanwhile. */
static void texts_that_take_long_do_not_hold_a_turn(void **state)
{
    struct scene *scene = *state;

    for (int i = 0; i < 20; i++)
        open_client(scene)->takes_ns = 1000000;
    for (size_t i = 0; i < scene->clients_n; i++) {
        char frame[16];

        send_bytes(scene->clients[i], frame, put_frame(frame, 0x80 | WS_TEXT, "text", 4));
    }
    for (size_t before = 0; before < 20;) {
        worker_turn(scene->fake->worker, false);
        size_t n = count_texts(scene);

        assert_in_range(n, before + 1, before + 3);
        before = n;
    }
}

static void a_long_text_comes_in_many_reads(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);
    char *text = calloc(1, 60001), *frame = malloc(60020);

    memset(text, 'z', 60000);
    size_t n = put_frame(frame, 0x80 | WS_TEXT, text, 60000);
    assert_int_equal(setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &(int){16384}, sizeof(int)), 0);
    for (size_t at = 0; at < n;) {
        ssize_t sent = send(client->fd, frame + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        at += sent > 0 ? (size_t)sent : 0;
        turn(scene);
    }
    assert_int_equal(client->last_n, 60000);
    assert_memory_equal(client->last, text, 60000);
    free(text);
    free(frame);
}

/* ---- one at a time ---- */

static void while_an_answer_is_awaited_nothing_is_read(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    client->holds = true;
    say(client, "one");
    say(client, "two");
    turn(scene);
    say(client, "three");
    turn(scene);
    assert_string_equal(client->last, "one");
    assert_int_equal(unread(client), 2 + 4 + 3 + 2 + 4 + 5);
    assert_int_equal(ws_parser_held_bytes(&client->conn->parser), 0);
    ws_conn_go_on(client->conn);
    assert_int_equal(client->texts_n, 1); /* in a later turn */
    turn(scene);
    assert_string_equal(client->last, "two");
    ws_conn_go_on(client->conn);
    turn(scene);
    assert_string_equal(client->last, "three");
    assert_int_equal(unread(client), 0);
    ws_conn_go_on(client->conn);
    client->holds = false;
    say(client, "four");
    turn(scene);
    assert_string_equal(client->last, "four");
}

/* Who reads nothing is not answered into our memory. */
static void who_does_not_read_answers_is_not_read_from(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);
    static char text[20001];

    scene->fake->conf->limits.message_rate = 0;
    memset(text, 'e', 20000);
    client->echoes = true;
    assert_int_equal(setsockopt(client->conn->fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int)),
                     0);
    for (int i = 0; i < 6; i++) {
        say(client, text);
        turn(scene);
    }
    assert_true(client->texts_n < 5);
    for (int i = 0; i < 200; i++) {
        receive(client);
        turn(scene);
    }
    assert_int_equal(client->texts_n, 6);
    receive(client);
    assert_int_equal(client->received_n, sizeof(HEAD) - 1 + 6 * 20004);
}

/* The Close waits for the client, but what came of its message does not. */
static struct client *open_half_received(struct scene *scene)
{
    struct client *client = open_client(scene);
    static char text[200000], part[40000];

    memset(text, 'e', sizeof(text));
    ws_conn_send(client->conn, text, sizeof(text));
    turn(scene);
    put_frame(part, 0x80 | WS_TEXT, text, sizeof(part) - 10);
    send_bytes(client, part, sizeof(part) - 100);
    turn(scene);
    return client;
}

static void read_to_the_end(struct client *client)
{
    while (client->conn != NULL) {
        receive(client);
        turn(client->scene);
    }
}

static void who_is_too_slow_has_nothing_kept(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_half_received(scene);

    assert_true(ws_parser_held_bytes(&client->conn->parser) > 0);
    ws_conns_tick(scene->conns, clock_mono_ms() + 3600000);
    turn(scene);
    assert_int_equal(stream_get_end(client->conn->stream), STREAM_END_REFUSED);
    assert_int_equal(ws_parser_held_bytes(&client->conn->parser), 0);
    read_to_the_end(client);
}

static void who_is_refused_memory_has_nothing_kept(void **state)
{
    struct scene *scene = *state;
    struct memory_budget *memory = memory_budget_new(1 << 20, 0);

    worker_set_memory(scene->fake->worker, memory);
    memory_budget_add(memory, MEMORY_BUDGET_EVENTS, 1 << 20);
    struct client *client = open_half_received(scene);

    assert_int_equal(stream_get_end(client->conn->stream), STREAM_END_REFUSED);
    assert_int_equal(ws_parser_held_bytes(&client->conn->parser), 0);
    read_to_the_end(client);
    worker_set_memory(scene->fake->worker, NULL);
    memory_budget_free(memory);
}

/* ---- ends ---- */

static void its_close_is_answered_with_its_code(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    say(client, "the last");
    send_frame(client, 0x80 | WS_CLOSE,
               "\x0f\xa0"
               "bye");
    say(client, "behind it");
    assert_closed(client, 4000, "");
    assert_int_equal(client->texts_n, 1);
    assert_int_equal(stat_of(scene, STATS_STREAMS_LEFT), 1);
    assert_int_equal(stat_of(scene, STATS_WEBSOCKET_ERRORS), 0);
}

static void a_broken_rule_has_its_code(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        unsigned code;
        const char *reason;
    } cases[] = {
        {"\x81\x01x", 3, WS_CLOSE_PROTOCOL, "The frame is not masked."},
        {"\x82\x80\0\0\0\0", 6, WS_CLOSE_BINARY, "The frame is binary; only text is taken."},
        {"\x81\x81\0\0\0\0\xff", 7, WS_CLOSE_BAD_TEXT, NULL},
        {"\x81\xff\0\0\0\0\0\1\0\1\0\0\0\0", 14, WS_CLOSE_TOO_BIG, NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client *client = open_client(*state);
        char code[] = {(char)(cases[i].code >> 8), (char)cases[i].code};

        send_bytes(client, cases[i].bytes, cases[i].n);
        turn(*state);
        assert_null(client->conn);
        assert_true(has(client, code, 2));
        if (cases[i].reason != NULL)
            assert_closed(client, cases[i].code, cases[i].reason);
        else
            lingering_close_tick(((struct scene *)*state)->lingering, INT64_MAX);
    }
    assert_int_equal(stat_of(*state, STATS_WEBSOCKET_ERRORS), 4);
}

static void so_many_messages_and_no_more(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    scene->fake->conf->limits.message_rate = 1;
    for (int i = 0; i < 4; i++)
        send_frame(client, 0x80 | (i == 1 ? WS_PONG : WS_TEXT), "");
    assert_closed(client, WS_CLOSE_POLICY,
                  "The client sends more messages than limits.message_rate allows.");
    assert_int_equal(client->texts_n, 1);
}

static void a_message_must_come_in_time(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene), *other = open_client(scene);
    int64_t late_ms = clock_mono_ms() + (int64_t)scene->fake->conf->limits.body_timeout_ms + 1;

    send_frame(client, WS_TEXT, "the first part");
    say(other, "whole");
    turn(scene);
    ws_conns_tick(scene->conns, clock_mono_ms());
    assert_non_null(client->conn->receiving);
    assert_null(other->conn->receiving);
    ws_conns_tick(scene->conns, late_ms);
    assert_closed(client, WS_CLOSE_POLICY,
                  "The message did not arrive within limits.body_timeout.");
    assert_non_null(other->conn);
}

static void a_message_must_not_drip(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    scene->fake->conf->limits.body_rate = 1000;
    send_frame(client, WS_TEXT, "the first part");
    turn(scene);
    ws_conns_tick(scene->conns, clock_mono_ms() + MIN_RATE_GRACE_MS + 2000);
    assert_closed(client, WS_CLOSE_POLICY,
                  "The message arrived more slowly than limits.body_rate allows.");
}

static void the_conversation_can_end_it(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    client->holds = true;
    say(client, "one");
    say(client, "two");
    turn(scene);
    ws_conn_send(client->conn, "answer", 6);
    ws_conn_end(client->conn, WS_CLOSE_FORBIDDEN, "missing_right");
    ws_conn_go_on(client->conn); /* too late */
    assert_closed(client, WS_CLOSE_FORBIDDEN, "missing_right");
    assert_true(has(client,
                    "\x81\x06"
                    "answer",
                    8));
    assert_int_equal(client->texts_n, 1);
}

static void who_goes_without_a_word_has_left(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene), *half = open_client(scene);

    say(client, "the last");
    close(client->fd);
    client->fd = -1;
    say(half, "the last");
    assert_int_equal(shutdown(half->fd, SHUT_WR), 0);
    turn(scene);
    assert_null(client->conn);
    assert_null(half->conn);
    assert_int_equal(half->texts_n, 1);
    assert_int_equal(stat_of(scene, STATS_STREAMS_LEFT), 2);
    assert_int_equal(lingering_close_count(scene->lingering), 0);
}

static void who_goes_while_an_answer_is_awaited_is_over(void **state)
{
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    client->holds = true;
    say(client, "one");
    turn(scene);
    close(client->fd);
    client->fd = -1;
    turn(scene);
    assert_null(client->conn);
}

/* From inside its own text. */
static bool on_text_that_ends(struct ws_conn *conn, const char *text, size_t text_n)
{
    on_text(conn, text, text_n);
    stream_end(ws_conn_stream(conn), STREAM_END_DELETED);
    return true;
}

static void an_end_of_the_stream_stops_the_reading(void **state)
{
    static const struct ws_conn_ops ending = {.text = on_text_that_ends, .closed = on_closed};
    struct scene *scene = *state;
    struct client *client = open_client(scene);

    client->conn->ops = &ending;
    say(client, "one");
    say(client, "two");
    assert_closed(client, WS_CLOSE_NORMAL, "deleted");
    assert_int_equal(client->texts_n, 1);
}

int main(void)
{
#define one(test) cmocka_unit_test_setup_teardown(test, build, tear_down)
    const struct CMUnitTest tests[] = {
        one(an_open_one_counts_and_has_its_own_descriptor),
        one(one_without_a_descriptor_leaves_nothing_behind),
        one(events_reach_it),
        one(hosts_are_shared_and_empty_ones_go),
        one(a_text_reaches_the_conversation),
        one(byte_by_byte_it_is_the_same),
        one(many_at_once_go_on_in_later_turns),
        one(texts_that_take_long_do_not_hold_a_turn),
        one(a_long_text_comes_in_many_reads),
        one(while_an_answer_is_awaited_nothing_is_read),
        one(who_does_not_read_answers_is_not_read_from),
        one(who_is_too_slow_has_nothing_kept),
        one(who_is_refused_memory_has_nothing_kept),
        one(its_close_is_answered_with_its_code),
        one(a_broken_rule_has_its_code),
        one(so_many_messages_and_no_more),
        one(a_message_must_come_in_time),
        one(a_message_must_not_drip),
        one(the_conversation_can_end_it),
        one(who_goes_without_a_word_has_left),
        one(who_goes_while_an_answer_is_awaited_is_over),
        one(an_end_of_the_stream_stops_the_reading),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
