/* SPDX-License-Identifier: MIT */
/*
 * The gate between real sockets and a stand-in for the cells: which heads pass, to which kind of
 * cell, and what becomes of the others.  The worker's loop is run by hand.
 */
#include "config.h"
#include "conn/gate.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "history/history_memory.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

/* What the stand-in was given last. */
struct cells {
    struct worker *worker;
    int result;
    size_t calls_n;
    enum cell_kind kind;
    int fd;
    struct sockaddr_storage address;
    socklen_t address_n;
    struct cell_conn_owner *owner;
    struct cell_kept *kept; /* of the owner: the stand-in itself */
    size_t went_on_n, let_end_n, taken_back_n;
};

int cells_add(struct cells *cells, enum cell_kind kind, int fd, const struct sockaddr *address,
              socklen_t address_n, struct cell_conn_owner *owner)
{
    assert_true((owner == NULL) == (kind == CELL_STREAM || kind == CELL_STREAM_LARGE));
    cells->calls_n++;
    cells->kind = kind;
    cells->fd = fd;
    memcpy(&cells->address, address, address_n);
    cells->address_n = address_n;
    cells->owner = owner;
    if (owner != NULL)
        owner->kept = (struct cell_kept *)(void *)cells;
    if (cells->result != 0) {
        close(fd);
        worker_load_add(cells->worker, -1);
        if (owner != NULL)
            owner->gone(owner);
        cells->owner = NULL;
    }
    return cells->result;
}

static struct cells *cells_of(const struct cell_conn_owner *owner)
{
    return (struct cells *)(void *)owner->kept;
}

void cell_resume(struct cell_conn_owner *owner)
{
    cells_of(owner)->went_on_n++;
}

void cell_let_close(struct cell_conn_owner *owner)
{
    cells_of(owner)->let_end_n++;
}

/* The real one gives a new number. */
int cell_take_back(struct cell_conn_owner *owner)
{
    struct cells *cells = cells_of(owner);

    cells->taken_back_n++;
    cells->owner = NULL;
    owner->kept = NULL;
    return cells->fd;
}

enum cell_kind cell_kind_of(const struct cell_conn_owner *owner)
{
    return cells_of(owner)->kind;
}

/* Of TLS only, which test_gate_tls.c is about. */
bool cell_has_pending(const struct cell_conn_owner *owner)
{
    (void)owner;
    return false;
}

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct lingering_close_pool *lingering_close;
    struct cells cells;
    struct client_quota *client_quota;
    struct gate *gate;
};

static char no_cookie[] = "";

static void no_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

static struct bench *build(void)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct worker_hooks hooks = {.tick = no_tick};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->conf.auth.cookie = no_cookie;
    bench->conf.limits.header_bytes = 16384;
    bench->conf.limits.header_count = 64;
    bench->conf.limits.url_bytes = 4096;
    bench->conf.limits.header_timeout_ms = 10000;
    bench->conf.limits.keepalive_timeout_ms = 60000;
    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    assert_non_null(bench->worker);
    worker_set_hooks(bench->worker, &hooks);
    bench->lingering_close = lingering_close_new(bench->worker);
    bench->cells.worker = bench->worker;
    bench->cells.fd = -1;
    bench->client_quota = client_quota_new(&bench->conf);
    bench->gate =
        gate_new(bench->worker, &bench->cells, bench->lingering_close, bench->client_quota);
    assert_non_null(bench->gate);
    return bench;
}

static void tear_down(struct bench *bench)
{
    if (bench->cells.owner != NULL)
        bench->cells.owner->gone(bench->cells.owner);
    gate_free(bench->gate);
    client_quota_free(bench->client_quota);
    lingering_close_free(bench->lingering_close);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    free(bench);
}

static void turn(struct bench *bench)
{
    worker_turn(bench->worker, false);
}

static int64_t stat_of(struct bench *bench, enum stats_id id)
{
    return stats_get(worker_context(bench->worker)->stats, id);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

struct pair {
    int ours, theirs;
};

/* A connection, already counted, whose peer has sent `text`. */
static struct pair connected(struct bench *bench, const char *text)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    worker_load_add(bench->worker, 1);
    if (*text != '\0')
        assert_int_equal(send(fds[1], text, strlen(text), 0), strlen(text));
    return (struct pair){fds[0], fds[1]};
}

static void take(struct bench *bench, struct pair pair)
{
    struct sockaddr address = {.sa_family = AF_UNIX};

    gate_take(bench->gate, pair.ours, &address, sizeof(address), (struct listener_layers){0});
    turn(bench);
}

static struct pair taken(struct bench *bench, const char *text)
{
    struct pair pair = connected(bench, text);

    take(bench, pair);
    return pair;
}

static void say(struct pair pair, const char *text)
{
    assert_int_equal(send(pair.theirs, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Nobody waits, nobody was admitted, and the peer reads nothing but the end. */
static void assert_dropped(struct bench *bench, struct pair pair)
{
    char byte;

    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(bench->cells.calls_n, 0);
    assert_false(is_open(pair.ours));
    assert_true(recv(pair.theirs, &byte, 1, 0) == 0 || errno == ECONNRESET);
    close(pair.theirs);
}

/* The answer is whole, a problem of this status, and the connection lingers until it is read. */
static void assert_refused(struct bench *bench, struct pair pair, unsigned status)
{
    char answer[2048], start[32];
    unsigned long length;
    json_t *problem;
    ssize_t n;

    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(bench->cells.calls_n, 0);
    n = recv(pair.theirs, answer, sizeof(answer) - 1, 0);
    assert_true(n > 0);
    answer[n] = '\0';
    snprintf(start, sizeof(start), "HTTP/1.1 %u ", status);
    assert_memory_equal(answer, start, strlen(start));
    assert_non_null(strstr(answer, "\r\nContent-Type: application/problem+json\r\n"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    assert_int_equal(sscanf(strstr(answer, "Content-Length: "), "Content-Length: %lu", &length), 1);
    assert_int_equal(length, strlen(body));
    problem = json_loads(body, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_non_null(json_string_value(json_object_get(problem, "title")));
    assert_non_null(json_string_value(json_object_get(problem, "detail")));
    json_decref(problem);
    assert_int_equal(recv(pair.theirs, answer, 1, 0), 0);
    assert_int_equal(lingering_close_count(bench->lingering_close), 1);
    close(pair.theirs);
    for (int i = 0; i < 3; i++)
        turn(bench);
    assert_int_equal(lingering_close_count(bench->lingering_close), 0);
    assert_false(is_open(pair.ours));
}

static void assert_admitted(struct bench *bench, struct pair pair, enum cell_kind kind)
{
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(bench->cells.calls_n, 1);
    assert_int_equal(bench->cells.fd, pair.ours);
    assert_int_equal(bench->cells.kind, kind);
    assert_int_equal(worker_load(bench->worker), 1); /* the cell counts it off */
}

static void close_pair(struct pair pair)
{
    close(pair.ours);
    close(pair.theirs);
}

#define GOOD_HEAD "GET /events HTTP/1.1\r\nHost: h\r\n\r\n"

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

#define HEAD_ROOM 16384

/* The text with so many letters in the place of its '%'. */
static void fill_in(char *to, const char *text, size_t letters_n)
{
    size_t before_n = strcspn(text, "%");

    assert_true(strlen(text) + letters_n < HEAD_ROOM);
    memcpy(to, text, before_n);
    memset(to + before_n, 'x', letters_n);
    strcpy(to + before_n + letters_n, text + before_n + (text[before_n] == '%'));
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
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 1537\r\n\r\n", 0, CELL_API_MEDIUM},
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 8192\r\n\r\n", 0, CELL_API_MEDIUM},
        {"POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 8193\r\n\r\n", 0, CELL_API_LARGE},
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
    take(bench, pair);
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
        take(bench, pair);
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
        take(bench, pair);
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
            take(bench, pair);
        say(pair, GOOD_HEAD);
        shutdown(pair.theirs, SHUT_WR);
        if (at_once)
            take(bench, pair);
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

static void each_has_its_own_deadline(void **state)
{
    struct bench *bench = build();
    struct pair first = taken(bench, ""), second;

    (void)state;
    bench->conf.limits.header_timeout_ms = 20000;
    second = taken(bench, "");
    gate_tick(bench->gate, clock_mono_ms() + 10000);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    assert_false(is_open(first.ours));
    assert_true(is_open(second.ours));
    close(first.theirs);
    gate_tick(bench->gate, clock_mono_ms() + 20000);
    assert_dropped(bench, second);
    tear_down(bench);
}

static void an_abort_closes_all_that_waits(void **state)
{
    struct bench *bench = build();
    struct pair pairs[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        pairs[i] = taken(bench, i == 1 ? "GET" : "");
    assert_int_equal(gate_waiting_count(bench->gate), 3);
    gate_abort(bench->gate);
    for (size_t i = 0; i < 3; i++)
        assert_dropped(bench, pairs[i]);
    pairs[0] = taken(bench, "");
    gate_free(bench->gate);
    bench->gate = NULL;
    assert_false(is_open(pairs[0].ours));
    assert_int_equal(worker_load(bench->worker), 0);
    close(pairs[0].theirs);
    tear_down(bench); /* accepts NULL */
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

/* ---- later heads of a connection ---- */

#define GOOD_POST "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"

/* A connection whose first request has been answered. */
static struct pair kept(struct bench *bench)
{
    struct pair pair = taken(bench, GOOD_POST);
    char text[100];

    assert_admitted(bench, pair, CELL_API);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    bench->cells.calls_n = 0;
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    return pair;
}

/* Its cell is left to close it, and reads an end. */
static void assert_let_end(struct bench *bench, struct pair pair)
{
    char byte;

    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(bench->cells.let_end_n, 1);
    assert_int_equal(bench->cells.taken_back_n, 0);
    while (recv(pair.ours, &byte, 1, MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(recv(pair.ours, &byte, 1, MSG_DONTWAIT), 0);
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
        assert_int_equal(bench->cells.went_on_n, i - 1);
        say(pair, "Host: h\r\nX: y\r\n\r\n");
        turn(bench);
        assert_int_equal(gate_waiting_count(bench->gate), 0);
        assert_int_equal(bench->cells.went_on_n, i);
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
    assert_int_equal(bench->cells.went_on_n, 1);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    say(pair, GOOD_POST);
    turn(bench);
    assert_int_equal(bench->cells.went_on_n, 1);
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(bench->cells.went_on_n, 2);
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
        {"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n", 0, CELL_API_MEDIUM},
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
        assert_int_equal(bench->cells.went_on_n, 0);
        assert_admitted(bench, pair, cases[i].kind);
        if (cases[i].kind >= CELL_API_MEDIUM) { /* and stays there */
            assert_true(recv(pair.ours, head, sizeof(head), 0) > 0);
            bench->cells.owner->idle(bench->cells.owner);
            say(pair, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            turn(bench);
            assert_int_equal(bench->cells.went_on_n, 1);
        }
        close_pair(pair);
        tear_down(bench);
    }
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

static void who_rests_too_long_is_dropped(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    gate_tick(bench->gate, clock_mono_ms() + 59000);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    gate_tick(bench->gate, clock_mono_ms() + 60001);
    assert_int_equal(stat_of(bench, STATS_KEEPALIVES_TIMED_OUT), 1);
    assert_let_end(bench, pair);
}

static void the_end_of_who_rests_is_its_cells_affair(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    shutdown(pair.theirs, SHUT_WR);
    turn(bench);
    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(bench->cells.let_end_n, 1);
    assert_int_equal(bench->cells.taken_back_n, 0);
    close_pair(pair);
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
    assert_let_end(bench, pair);
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

static void an_abort_ends_who_rests_now_or_later(void **state)
{
    (void)state;
    for (int rests = 0; rests < 2; rests++) {
        struct bench *bench = build();
        struct pair pair = rests ? kept(bench) : taken(bench, GOOD_POST);

        gate_abort(bench->gate);
        if (!rests) {
            assert_int_equal(bench->cells.let_end_n, 0);
            bench->cells.owner->idle(bench->cells.owner);
        }
        assert_let_end(bench, pair);
    }
}

/* Nobody has looked at it: it is counted, it has a deadline, and it can be ended. */
static void what_nobody_has_looked_at_can_be_ended(void **state)
{
    struct bench *bench = build();
    struct pair pair = connected(bench, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    struct sockaddr address = {.sa_family = AF_UNIX};

    (void)state;
    gate_take(bench->gate, pair.ours, &address, sizeof(address), (struct listener_layers){0});
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    assert_true(worker_has_jobs(bench->worker, PRIO_NEW));
    gate_abort(bench->gate);
    turn(bench);
    assert_dropped(bench, pair);
    close(pair.theirs);
    tear_down(bench);
}

/* ---- behind a proxy ---- */

static struct pair taken_proxied(struct bench *bench, const char *text)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    struct pair pair = connected(bench, text);

    gate_take(bench->gate, pair.ours, &address, sizeof(address),
              (struct listener_layers){.proxied = true});
    turn(bench); /* it is watched from now on */
    turn(bench);
    return pair;
}

#define PROXY_LINE "PROXY TCP4 192.0.2.9 198.51.100.1 4711 80\r\n"

static void a_proxy_header_is_gone_and_the_client_has_its_address(void **state)
{
    struct bench *bench = build();
    struct pair pair = taken_proxied(bench, PROXY_LINE GOOD_HEAD);
    char peer_is[PEER_TEXT_BYTES], text[100] = "";
    struct peer peer;

    (void)state;
    assert_admitted(bench, pair, CELL_STREAM);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_HEAD));
    assert_string_equal(text, GOOD_HEAD);
    peer_from_sockaddr((struct sockaddr *)&bench->cells.address, &peer);
    assert_string_equal(peer_text(&peer, peer_is), "192.0.2.9:4711");
    client_quota_drop_connection(bench->client_quota, &peer);
    close_pair(pair);
    tear_down(bench);
}

static void a_proxy_header_and_a_head_may_come_byte_by_byte(void **state)
{
    static const char all[] = PROXY_LINE GOOD_HEAD;
    struct bench *bench = build();
    struct pair pair = taken_proxied(bench, "");

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(all); i++) {
        assert_int_equal(bench->cells.calls_n, 0);
        assert_int_equal(gate_waiting_count(bench->gate), 1);
        assert_int_equal(send(pair.theirs, &all[i], 1, 0), 1);
        turn(bench);
    }
    assert_admitted(bench, pair, CELL_STREAM);
    close_pair(pair);
    tear_down(bench);
}

static void without_a_proxy_header_nothing_is_answered(void **state)
{
    static const char *const cases[] = {GOOD_HEAD, "PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n" GOOD_HEAD,
                                        "\r\n" GOOD_HEAD, "PROXX"};

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct bench *bench = build();
        struct pair pair = taken_proxied(bench, cases[i]);

        assert_dropped(bench, pair);
        assert_int_equal(stat_of(bench, STATS_PROXY_HEADERS_REFUSED), 1);
        assert_int_equal(stat_of(bench, STATS_RESPONSES_4XX), 0);
        tear_down(bench);
    }
}

static void a_proxy_header_has_the_deadline_of_the_head(void **state)
{
    struct bench *bench = build();
    struct pair slow = taken_proxied(bench, "PROXY TCP4");
    int64_t now_ms = clock_mono_ms();

    (void)state;
    gate_tick(bench->gate, now_ms + 9000);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, now_ms + 10001);
    assert_dropped(bench, slow);
    assert_int_equal(stat_of(bench, STATS_PROXY_HEADERS_REFUSED), 1);
    tear_down(bench);
}

static void clients_behind_a_proxy_count_by_their_own_address(void **state)
{
    struct bench *bench = build();
    struct pair first, second;
    struct peer client = {.address = {192, 0, 2, 9}, .family = AF_INET};

    (void)state;
    bench->conf.limits.connections_per_address = 1;
    first = taken_proxied(bench, PROXY_LINE);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    second = taken_proxied(bench, PROXY_LINE);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    assert_false(is_open(second.ours));
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_REFUSED_ADDRESS), 1);
    close(first.theirs);
    turn(bench);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_true(client_quota_add_connection(bench->client_quota, &client, 1));
    close(second.theirs);
    tear_down(bench);
}

static void the_oldest_goes_when_there_is_a_crowd(void **state)
{
    struct bench *bench = build();
    struct pair pairs[2] = {taken(bench, ""), taken(bench, "GET")};

    (void)state;
    assert_true(gate_idlest_since_ms(bench->gate) <= clock_mono_ms());
    gate_evict_idlest(bench->gate);
    assert_false(is_open(pairs[0].ours));
    assert_true(is_open(pairs[1].ours));
    gate_evict_idlest(bench->gate);
    assert_int_equal(gate_idlest_since_ms(bench->gate), INT64_MAX);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_CROWDED_OUT), 2);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_WAITING), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    close(pairs[0].theirs);
    close(pairs[1].theirs);
    tear_down(bench);
}

static void who_rests_longest_goes_when_there_is_a_crowd(void **state)
{
    struct bench *bench = build();
    struct pair pair = kept(bench);

    (void)state;
    say(pair, GOOD_POST); /* it has come, and only nobody has looked */
    gate_evict_idlest(bench->gate);
    assert_int_equal(bench->cells.went_on_n, 1);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_RESTING), 0);
    char text[100];
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_RESTING), 1);
    gate_evict_idlest(bench->gate);
    assert_int_equal(stat_of(bench, STATS_CONNECTIONS_CROWDED_OUT), 1);
    assert_int_equal(gate_idlest_since_ms(bench->gate), INT64_MAX);
    assert_let_end(bench, pair);
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
        cmocka_unit_test(each_has_its_own_deadline),
        cmocka_unit_test(an_abort_closes_all_that_waits),
        cmocka_unit_test(goes_on_when_there_is_no_cell),
        cmocka_unit_test(what_nobody_has_looked_at_can_be_ended),
        cmocka_unit_test(a_proxy_header_is_gone_and_the_client_has_its_address),
        cmocka_unit_test(a_proxy_header_and_a_head_may_come_byte_by_byte),
        cmocka_unit_test(without_a_proxy_header_nothing_is_answered),
        cmocka_unit_test(a_proxy_header_has_the_deadline_of_the_head),
        cmocka_unit_test(clients_behind_a_proxy_count_by_their_own_address),
        cmocka_unit_test(the_oldest_goes_when_there_is_a_crowd),
        cmocka_unit_test(a_later_head_is_looked_at_before_its_cell_reads_it),
        cmocka_unit_test(a_head_that_came_early_is_looked_at_when_the_connection_rests),
        cmocka_unit_test(a_bad_later_head_is_answered_here_too),
        cmocka_unit_test(a_later_request_moves_to_the_cell_it_needs),
        cmocka_unit_test(a_later_head_has_a_deadline_from_its_first_byte),
        cmocka_unit_test(who_rests_too_long_is_dropped),
        cmocka_unit_test(the_end_of_who_rests_is_its_cells_affair),
        cmocka_unit_test(an_end_within_a_later_head_is_the_end),
        cmocka_unit_test(knows_which_request_is_the_last),
        cmocka_unit_test(an_abort_ends_who_rests_now_or_later),
        cmocka_unit_test(who_rests_longest_goes_when_there_is_a_crowd),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
