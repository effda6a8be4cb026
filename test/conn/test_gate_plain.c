/* SPDX-License-Identifier: MIT */
/* Heads without TLS: which pass, to which kind of cell, and how the others are refused. */
#include "config.h"
#include "gate_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory_budget.h"

static void a_head_that_is_there_passes_at_once_and_unread(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken(bench, GOOD_HEAD "and more");
    char text[100] = "";

    (void)state;
    assert_admitted(bench, pair, CELL_STREAM);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_HEAD "and more"));
    assert_string_equal(text, GOOD_HEAD "and more");
    close_pair(pair);
    tear_down(bench);
}

static void a_head_may_come_byte_by_byte(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken(bench, "");
    char text[100] = "";

    (void)state;
    for (size_t i = 0; i < strlen(GOOD_HEAD); i++) {
        assert_int_equal(gate_waiting_count(bench->gate), 1);
        assert_int_equal(bench->cells.calls_n, 0);
        assert_int_equal(send(pair.theirs, &GOOD_HEAD[i], 1, 0), 1);
        turn(bench);
    }
    assert_admitted(bench, pair, CELL_STREAM);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_HEAD));
    say(pair, "x"); /* nothing here watches it any more */
    turn(bench);
    assert_int_equal(bench->cells.calls_n, 1);
    close_pair(pair);
    tear_down(bench);
}

static void picks_the_kind_of_cell(void **state)
{
    static const struct {
        const char *head;
        size_t padding; /* bytes of a header or a cookie, in place of % */
        enum cell_kind kind;
    } cases[] = {
        {"GET /events HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_STREAM},
        {"GET /events?topic=a&topic=b HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_STREAM},
        {"GET http://h/events HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_STREAM},
        {"GET /events HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 6000, CELL_STREAM_LARGE},
        {"GET /events HTTP/1.1\r\nHost: h\r\nCookie: a=%\r\n\r\n", 3000, CELL_STREAM_LARGE},
        {"GET /events HTTP/1.1\r\nHost: h\r\nCookie: a=%\r\n\r\n", 12000, CELL_STREAM_LARGE},
        {"GET /events/ HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"GET /event HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"POST /events HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"GET http://h?a=1&b=2 HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_API},
        {"GET / HTTP/1.0\r\n\r\n", 0, CELL_API},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 6000, CELL_API_LARGE},
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 1536\r\n\r\n", 0, CELL_API},
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 1537\r\n\r\n", 0, CELL_API_LARGE},
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
         CELL_API_LARGE},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        char head[HEAD_ROOM];
        struct pair pair;

        fill_in(head, cases[i].head, cases[i].padding);
        pair = taken(bench, head);
        assert_admitted(bench, pair, cases[i].kind);
        close_pair(pair);
        tear_down(bench);
    }
}

static void many_short_headers_need_a_large_cell(void **state)
{
    struct bench *bench = build();
    struct pair pair = connected(bench, "GET /events HTTP/1.1\r\nHost: h\r\n");

    (void)state;
    for (int i = 0; i < 60; i++)
        say(pair, "a:\r\n");
    say(pair, "\r\n");
    take(bench, pair, (struct listener_layers){0});
    assert_admitted(bench, pair, CELL_STREAM_LARGE);
    close_pair(pair);
    tear_down(bench);
}

/* The library would let the client wait for ever. */
static void what_no_cell_has_room_for_is_refused(void **state)
{
    struct bench *bench = build();
    char head[HEAD_ROOM];
    struct pair pair;

    (void)state;
    fill_in(head, "GET /events HTTP/1.1\r\nHost: h\r\nCookie: %\r\n\r\n", 8000);
    for (char *at = strchr(head, 'x'); *at == 'x'; at += 4)
        memcpy(at, "a=b;", 4);
    pair = taken(bench, head);
    assert_int_equal(stat_of(bench, STATS_HEADS_REFUSED), 1);
    assert_refused(bench, pair, 431);
    tear_down(bench);
}

static void hands_the_address_on(void **state)
{
    struct bench *bench = build();
    struct pair pair = connected(bench, "");
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(4711)};

    (void)state;
    inet_pton(AF_INET6, "2001:db8::1", &address.sin6_addr);
    gate_take(bench->gate, pair.ours, (struct sockaddr *)&address, sizeof(address),
              (struct listener_layers){0});
    turn(bench);
    say(pair, GOOD_HEAD);
    turn(bench);
    assert_int_equal(bench->cells.address_n, sizeof(address));
    assert_memory_equal(&bench->cells.address, &address, sizeof(address));
    close_pair(pair);
    tear_down(bench);
}

/* Each is refused the same whether it is there at once or after some waiting. */
static void answers_a_bad_head_itself(void **state)
{
    static const struct {
        const char *begin, *rest;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n", "\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\n", "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\n", "Host: h\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: h\r\n", " folded\r\n\r\n", 400},
        {"GET / HTTP/", "2.0\r\n\r\n", 505},
        {"POST / HTTP/1.1\r\nHost: h\r\n", "Transfer-Encoding: gzip\r\n\r\n", 501},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = connected(bench, cases[i / 2].begin);

        if (i % 2 == 0)
            say(pair, cases[i / 2].rest);
        take(bench, pair, (struct listener_layers){0});
        if (i % 2 == 1 && gate_waiting_count(bench->gate) == 1)
            say(pair, cases[i / 2].rest);
        turn(bench);
        assert_int_equal(stat_of(bench, STATS_HEADS_REFUSED), 1);
        assert_int_equal(stat_of(bench, STATS_RESPONSES_4XX), cases[i / 2].status < 500);
        assert_int_equal(stat_of(bench, STATS_RESPONSES_5XX), cases[i / 2].status >= 500);
        assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 0);
        assert_refused(bench, pair, cases[i / 2].status);
        tear_down(bench);
    }
}

static void keeps_to_the_limits(void **state)
{
    static const struct {
        const char *head;
        size_t padding;
        unsigned status; /* 0: admitted */
    } cases[] = {
        {"GET /% HTTP/1.1\r\nHost: h\r\n\r\n", 99, 0},
        {"GET /% HTTP/1.1\r\nHost: h\r\n\r\n", 100, 414},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 1000 - 32, 0},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 1001 - 32, 431},
        {"\r\nGET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 998 - 32, 0},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %", 3000, 431}, /* no end in sight */
        {"GET / HTTP/1.1\r\nHost: h\r\na:\r\nb:\r\n\r\n", 0, 0},
        {"GET / HTTP/1.1\r\nHost: h\r\na:\r\nb:\r\nc:\r\n\r\n", 0, 431},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        char head[HEAD_ROOM];
        struct pair pair;

        bench->conf.limits.header_bytes = 1000;
        bench->conf.limits.url_bytes = 100;
        bench->conf.limits.header_count = 3;
        gate_free(bench->gate);
        client_quota_free(bench->client_quota);
        bench->client_quota = client_quota_new(&bench->conf);
        bench->gate =
            gate_new(bench->worker, &bench->cells, bench->lingering_close, bench->client_quota);
        fill_in(head, cases[i].head, cases[i].padding);
        pair = taken(bench, head);
        if (cases[i].status > 0) {
            assert_refused(bench, pair, cases[i].status);
        } else {
            assert_admitted(bench, pair, CELL_API);
            close_pair(pair);
        }
        tear_down(bench);
    }
}

static void a_peer_that_goes_is_dropped(void **state)
{
    static const char *const said[] = {"", "GET / HTTP/1.1\r\n"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct bench *bench = build();
        struct pair pair = connected(bench, said[i % 2]);

        if (i < 2)
            shutdown(pair.theirs, SHUT_WR);
        take(bench, pair, (struct listener_layers){0});
        if (i >= 2) {
            assert_int_equal(gate_waiting_count(bench->gate), 1);
            shutdown(pair.theirs, SHUT_WR);
        }
        turn(bench);
        assert_int_equal(stat_of(bench, STATS_CONNECTIONS_OPEN), -1); /* counted off */
        assert_dropped(bench, pair);
        tear_down(bench);
    }
}

/* `printf … | nc` ends its half behind the request and still wants the answer. */
static void a_whole_head_passes_though_its_sender_has_ended(void **state)
{
    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        struct bench *bench = build();
        struct pair pair = connected(bench, "");

        if (!at_once)
            take(bench, pair, (struct listener_layers){0});
        say(pair, GOOD_HEAD);
        shutdown(pair.theirs, SHUT_WR);
        if (at_once)
            take(bench, pair, (struct listener_layers){0});
        turn(bench);
        assert_admitted(bench, pair, CELL_STREAM);
        close_pair(pair);
        tear_down(bench);
    }
}

static void who_says_nothing_in_time_is_dropped_without_a_word(void **state)
{
    struct bench *bench = build();
    int64_t before_ms = clock_mono_ms();
    struct pair pair = taken(bench, "");
    int64_t after_ms = clock_mono_ms();

    (void)state;
    gate_tick(bench->gate, before_ms + 9999);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, after_ms + 10000);
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    assert_int_equal(stat_of(bench, STATS_RESPONSES_4XX), 0);
    assert_dropped(bench, pair);
    tear_down(bench);
}

static void who_began_and_does_not_end_in_time_is_told(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken(bench, "GET / HTT");

    (void)state;
    gate_tick(bench->gate, clock_mono_ms() + 10000);
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    assert_int_equal(stat_of(bench, STATS_HEADS_REFUSED), 0);
    assert_int_equal(stat_of(bench, STATS_RESPONSES_4XX), 1);
    assert_refused(bench, pair, 408);
    tear_down(bench);
}

/* Bytes and whole lines, since the gate goes through a head again when a line of it has ended.  The
 * last line comes when the clock has moved on: a deadline that it began anew would show. */
static void drip_beyond(struct bench *bench, struct pair pair, int64_t moment_ms)
{
    for (int i = 0; i < 20; i++) {
        say(pair, i % 2 == 0 ? "a" : ": b\r\n");
        turn(bench);
    }
    while (clock_mono_ms() == moment_ms)
        ;
    say(pair, "a: b\r\n");
    turn(bench);
}

static void dripping_does_not_move_the_deadline(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken(bench, "GET / HTTP/1.1\r\n");
    int64_t after_ms = clock_mono_ms();

    (void)state;
    drip_beyond(bench, pair, after_ms);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, after_ms + 10000);
    assert_refused(bench, pair, 408);
    tear_down(bench);
}

static void goes_on_when_there_is_no_cell(void **state)
{
    struct bench *bench = build();
    struct pair pair;

    (void)state;
    bench->cells.result = -EMFILE;
    pair = taken(bench, GOOD_HEAD);
    assert_int_equal(bench->cells.calls_n, 1);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    close(pair.theirs);
    bench->cells.result = 0;
    pair = taken(bench, GOOD_HEAD);
    assert_int_equal(bench->cells.calls_n, 2);
    close_pair(pair);
    tear_down(bench);
}

static void a_later_head_is_looked_at_before_its_cell_reads_it(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    for (size_t i = 1; i <= 3; i++) {
        char text[100];

        turn(bench);
        assert_int_equal(gate_idle_count(bench->gate), 1);
        say(pair, "GET /healthz HTTP/1.1\r\n");
        turn(bench);
        assert_int_equal(gate_idle_count(bench->gate), 0);
        assert_int_equal(gate_waiting_count(bench->gate), 1);
        assert_int_equal(bench->cells.resumed_n, i - 1);
        say(pair, "Host: h\r\nX: y\r\n\r\n");
        turn(bench);
        assert_int_equal(gate_waiting_count(bench->gate), 0);
        assert_int_equal(bench->cells.resumed_n, i);
        assert_int_equal(bench->cells.owner->head.method, HTTP_GET);
        assert_int_equal(bench->cells.owner->head.headers_n, 2);
        assert_false(bench->cells.owner->is_last);
        assert_true(recv(pair.ours, text, sizeof(text), 0) > 0);
        bench->cells.owner->idle(bench->cells.owner);
    }
    assert_int_equal(bench->cells.calls_n, 0);
    assert_int_equal(worker_load(bench->worker), 1);
    close_pair(pair);
    tear_down(bench);
}

/* What comes while a cell works is noticed when it has done. */
static void a_head_that_came_early_is_looked_at_when_the_connection_rests(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);
    char text[100];

    (void)state;
    say(pair, GOOD_POST);
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    say(pair, GOOD_POST);
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(bench->cells.resumed_n, 2);
    close_pair(pair);
    tear_down(bench);
}

static void a_bad_later_head_is_answered_here_too(void **state)
{
    static const struct {
        const char *head;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: h\n\n", 400},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"GET /% HTTP/1.1\r\nHost: h\r\n\r\n", 414},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 431},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = kept(bench);
        char head[HEAD_ROOM];

        bench->conf.limits.url_bytes = 100;
        bench->conf.limits.header_bytes = 1000;
        fill_in(head, cases[i].head, 1000);
        say(pair, head);
        turn(bench);
        assert_int_equal(stat_of(bench, STATS_HEADS_REFUSED), 1);
        assert_int_equal(bench->cells.taken_back_n, 1);
        assert_refused(bench, pair, cases[i].status);
        tear_down(bench);
    }
}

static void a_later_request_moves_to_the_cell_it_needs(void **state)
{
    static const struct {
        const char *head;
        size_t padding;
        enum cell_kind kind;
    } cases[] = {
        {"GET /events HTTP/1.1\r\nHost: h\r\n\r\n", 0, CELL_STREAM},
        {"GET /events HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 6000, CELL_STREAM_LARGE},
        {"GET / HTTP/1.1\r\nHost: h\r\nX: %\r\n\r\n", 6000, CELL_API_LARGE},
        {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n", 0, CELL_API_LARGE},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = kept(bench);
        char head[HEAD_ROOM];

        fill_in(head, cases[i].head, cases[i].padding);
        say(pair, head);
        turn(bench);
        assert_int_equal(bench->cells.taken_back_n, 1);
        assert_int_equal(bench->cells.resumed_n, 0);
        assert_admitted(bench, pair, cases[i].kind);
        if (cases[i].kind >= CELL_API_LARGE) { /* and stays there */
            assert_true(recv(pair.ours, head, sizeof(head), 0) > 0);
            bench->cells.owner->idle(bench->cells.owner);
            say(pair, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            turn(bench);
            assert_int_equal(bench->cells.resumed_n, 1);
        }
        close_pair(pair);
        tear_down(bench);
    }
}

/* What kept connections hold would refuse new ones otherwise, until they have been idle for long.
 */
static void a_large_pool_is_given_up_while_memory_is_short(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);
    struct memory_budget *memory = memory_budget_new(1000000, 0);
    char head[HEAD_ROOM];

    (void)state;
    say(pair, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
    turn(bench);
    assert_admitted(bench, pair, CELL_API_LARGE);
    assert_true(recv(pair.ours, head, sizeof(head), 0) > 0);
    worker_set_memory(bench->worker, memory);
    memory_budget_add(memory, MEMORY_BUDGET_CONNECTIONS, 920000);
    bench->cells.owner->idle(bench->cells.owner);
    say(pair, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
    turn(bench);
    assert_int_equal(bench->cells.taken_back_n, 2);
    assert_int_equal(bench->cells.kind, CELL_API);
    close_pair(pair);
    tear_down(bench);
    memory_budget_free(memory);
}

static void a_later_head_has_a_deadline_from_its_first_byte(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);
    int64_t after_ms;

    (void)state;
    gate_tick(bench->gate, clock_mono_ms() + 50000);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    say(pair, "GET / HTTP/1.1\r\n");
    turn(bench);
    after_ms = clock_mono_ms();
    drip_beyond(bench, pair, after_ms);
    gate_tick(bench->gate, after_ms + 9000);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, after_ms + 10000);
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    assert_refused(bench, pair, 408);
    tear_down(bench);
}

static void an_end_within_a_later_head_is_the_end(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    say(pair, "GET / HTT");
    turn(bench);
    shutdown(pair.theirs, SHUT_WR);
    turn(bench);
    assert_let_close(bench, pair);
    close_pair(pair);
    tear_down(bench);
}

static void knows_which_request_is_the_last(void **state)
{
    static const struct {
        const char *text;
        bool is_last;
    } cases[] = {
        {GOOD_POST, false},
        {GOOD_POST "hello", false},
        {GOOD_POST "hello\r\n", false}, /* old clients do that */
        {GOOD_POST "hello\r", true},
        {GOOD_POST "helloGET / HTTP/1.1\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\nG", true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = taken(bench, cases[i].text);

        assert_int_equal(bench->cells.owner->is_last, cases[i].is_last);
        close_pair(pair);
        tear_down(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_that_is_there_passes_at_once_and_unread),
        cmocka_unit_test(a_head_may_come_byte_by_byte),
        cmocka_unit_test(picks_the_kind_of_cell),
        cmocka_unit_test(many_short_headers_need_a_large_cell),
        cmocka_unit_test(what_no_cell_has_room_for_is_refused),
        cmocka_unit_test(hands_the_address_on),
        cmocka_unit_test(answers_a_bad_head_itself),
        cmocka_unit_test(keeps_to_the_limits),
        cmocka_unit_test(a_peer_that_goes_is_dropped),
        cmocka_unit_test(a_whole_head_passes_though_its_sender_has_ended),
        cmocka_unit_test(who_says_nothing_in_time_is_dropped_without_a_word),
        cmocka_unit_test(who_began_and_does_not_end_in_time_is_told),
        cmocka_unit_test(dripping_does_not_move_the_deadline),
        cmocka_unit_test(goes_on_when_there_is_no_cell),
        cmocka_unit_test(a_later_head_is_looked_at_before_its_cell_reads_it),
        cmocka_unit_test(a_head_that_came_early_is_looked_at_when_the_connection_rests),
        cmocka_unit_test(a_bad_later_head_is_answered_here_too),
        cmocka_unit_test(a_later_request_moves_to_the_cell_it_needs),
        cmocka_unit_test(a_large_pool_is_given_up_while_memory_is_short),
        cmocka_unit_test(a_later_head_has_a_deadline_from_its_first_byte),
        cmocka_unit_test(an_end_within_a_later_head_is_the_end),
        cmocka_unit_test(knows_which_request_is_the_last),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
