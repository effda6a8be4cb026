/* SPDX-License-Identifier: MIT */
/*
 * The gate's part of TLS: when a handshake begins, how many in a turn, and when the cell is
 * resumed. What each state is and what ends it: test_gate.c.
 */
#include "config.h"
#include "gate_fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define CLIENTS 11

/* A record of a hello's form; what is in it is for GnuTLS to judge. */
static const char hello[] = "\x16\x03\x01\x00\x04\x01\x00\x00\x00";
#define HELLO_BYTES (sizeof(hello) - 1)

/* A connection whose client has sent that much. */
static struct pair enter(struct bench *bench, const char *bytes, size_t n)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    struct pair pair = connected(bench, "");

    if (n > 0)
        say_bytes(pair, bytes, n);
    gate_take(bench->gate, pair.ours, &address, sizeof(address),
              (struct listener_layers){.tls = true});
    return pair;
}

static void turn_often(struct bench *bench)
{
    for (int i = 0; i < 4; i++)
        turn(bench);
}

static bool has_ended(struct pair pair)
{
    char byte;
    ssize_t n = recv(pair.theirs, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* However many come at once, and whatever turns there are between. */
static void two_handshakes_begin_in_a_turn(void **state)
{
    struct bench *bench = build();
    struct pair pairs[CLIENTS];
    size_t before = 0;

    (void)state;
    for (size_t i = 0; i < CLIENTS; i++)
        pairs[i] = enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 30 && bench->cells.calls_n < CLIENTS; i++) {
        turn(bench);
        assert_true(bench->cells.calls_n - before <= 2);
        before = bench->cells.calls_n;
    }
    assert_int_equal(bench->cells.calls_n, CLIENTS);
    assert_int_equal(bench->cells.kind, CELL_TLS);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_BEGUN), CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        close_pair(pairs[i]);
    tear_down(bench);
}

/* A hello that comes in pieces is not begun with before it is whole. */
static void a_hello_is_waited_for(void **state)
{
    struct bench *bench = build();
    struct pair pair = enter(bench, hello, 0);

    (void)state;
    for (size_t i = 0; i < HELLO_BYTES; i++) {
        turn(bench);
        turn(bench);
        assert_int_equal(bench->cells.calls_n, 0);
        say_bytes(pair, hello + i, 1);
    }
    turn_often(bench);
    assert_int_equal(bench->cells.calls_n, 1);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    close_pair(pair);
    tear_down(bench);
}

static void what_is_no_hello_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        bool is_told;
    } rows[] = {{"\0\0\0\0", 4, false},
                {"\x16\x02", 2, false},
                {"\x16\x03\x01\0\x05\x02", 6, false},
                {"\x16\x03\x01\0\0", 5, false},
                {"GET / HTTP/1.1\r\n", 16, true}};

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct bench *bench = build();
        struct pair pair = enter(bench, rows[i].bytes, rows[i].n);
        char answer[12] = "";

        turn(bench);
        ssize_t n = recv(pair.theirs, answer, sizeof(answer), 0);
        assert_int_equal(n > 0 && memcmp(answer, "HTTP/1.1 400", 12) == 0, rows[i].is_told);
        assert_int_equal(gate_waiting_count(bench->gate), 0);
        assert_int_equal(stat_of(bench, STATS_TLS_HELLOS_REFUSED), 1);
        close(pair.theirs);
        tear_down(bench);
    }
}

/* The first and the second have no handshake in time, wherever they are; the third has one, and the
 * rest of the head's time. */
static void a_handshake_in_time_leaves_time_for_the_head(void **state)
{
    struct bench *bench = build();
    int64_t now_ms = clock_mono_ms();
    struct pair pairs[] = {enter(bench, hello, 3), enter(bench, hello, HELLO_BYTES),
                           enter(bench, hello, HELLO_BYTES)};

    (void)state;
    turn_often(bench);
    assert_int_equal(bench->cells.calls_n, 2);
    bench->cells.owner->handshake_done(bench->cells.owner);
    gate_tick(bench->gate, now_ms + 4000);
    assert_int_equal(gate_waiting_count(bench->gate), 3);
    gate_tick(bench->gate, now_ms + 6000);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_TIMED_OUT), 2);
    assert_true(has_ended(pairs[0]) && has_ended(pairs[1]));
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, now_ms + 11000);
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    assert_true(has_ended(pairs[2]));
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    for (size_t i = 0; i < ROWS(pairs); i++)
        close(pairs[i].theirs);
    tear_down(bench);
}

/* One whose handshake is under way. */
static struct pair in_handshake(struct bench *bench)
{
    struct pair pair = enter(bench, hello, HELLO_BYTES);

    turn_often(bench);
    assert_int_equal(bench->cells.calls_n, 1);
    return pair;
}

/* A handshake that waits goes on when something has come, also when that was while it ran. */
static void a_handshake_goes_on(void **state)
{
    struct bench *bench = build();
    struct pair pair = in_handshake(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    owner->idle(owner); /* the socket has still the hello, which the stand-in does not read */
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    say(pair, "x");
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    owner->idle(owner);
    assert_int_equal(bench->cells.resumed_n, 2);
    owner->idle(owner);
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 2);
    close_pair(pair);
    tear_down(bench);
}

/* One that is idle after its first request. */
static struct pair idle_inside(struct bench *bench)
{
    struct pair pair = in_handshake(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    drain(pair.ours);
    owner->handshake_done(owner);
    owner->request_begins(owner);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    owner->idle(owner);
    turn(bench);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    return pair;
}

/* Of a next request, or of the end of the session, the gate sees only that something has come. */
static void the_cell_reads_the_next_head(void **state)
{
    struct bench *bench = build();
    struct pair pair = idle_inside(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    say(pair, "x");
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    say(pair, "y");
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    owner->request_begins(owner);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    close_pair(pair);
    tear_down(bench);
}

/* GnuTLS has a part of the next request: the cell has to read on, once, whatever comes then. */
static void a_head_that_has_begun_is_read_on_once(void **state)
{
    struct bench *bench = build();
    struct pair pair = idle_inside(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    say(pair, "x");
    turn(bench);
    owner->request_begins(owner);
    drain(pair.ours);
    bench->cells.has_pending = true;
    bench->cells.resumed_n = 0;
    owner->idle(owner);
    assert_int_equal(bench->cells.resumed_n, 1);
    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    say(pair, "more of it");
    turn(bench);
    assert_int_equal(bench->cells.resumed_n, 1);
    gate_tick(bench->gate, clock_mono_ms() + 10000); /* and it has the time of a head */
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    close_pair(pair);
    tear_down(bench);
}

/* What comes while the cell reads a head may be the next one, of which no event tells again. */
static void what_comes_behind_a_head_is_not_forgotten(void **state)
{
    struct bench *bench = build();
    struct pair pair = idle_inside(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    say(pair, "x");
    turn(bench);
    say(pair, "y");
    turn(bench);
    owner->request_begins(owner);
    bench->cells.resumed_n = 0;
    owner->idle(owner);
    assert_int_equal(bench->cells.resumed_n, 1);
    close_pair(pair);
    tear_down(bench);
}

static void a_handshake_that_fails_is_counted(void **state)
{
    struct bench *bench = build();
    struct pair pair = in_handshake(bench);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    bench->cells.owners[0] = NULL;
    owner->gone(owner);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_FAILED), 1);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    close_pair(pair);
    tear_down(bench);
}

static void goes_on_when_there_is_no_cell(void **state)
{
    struct bench *bench = build();

    (void)state;
    bench->cells.result = -EMFILE;
    struct pair pair = in_handshake(bench);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_true(has_ended(pair));
    close(pair.theirs);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_handshakes_begin_in_a_turn),
        cmocka_unit_test(a_hello_is_waited_for),
        cmocka_unit_test(what_is_no_hello_is_refused),
        cmocka_unit_test(a_handshake_in_time_leaves_time_for_the_head),
        cmocka_unit_test(a_handshake_goes_on),
        cmocka_unit_test(the_cell_reads_the_next_head),
        cmocka_unit_test(a_head_that_has_begun_is_read_on_once),
        cmocka_unit_test(what_comes_behind_a_head_is_not_forgotten),
        cmocka_unit_test(a_handshake_that_fails_is_counted),
        cmocka_unit_test(goes_on_when_there_is_no_cell),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
