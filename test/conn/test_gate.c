/* SPDX-License-Identifier: MIT */
/*
 * The states of a connection in the gate, plain and with TLS: which moves there are, and in each
 * state what its counts and deadline are, and what becomes of it when its time is over, its peer
 * ends, or the gate is closed.
 */
#include "config.h"
#include "gate_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

/* A record of a hello's form; what is in it is for GnuTLS to judge. */
static const char hello[] = "\x16\x03\x01\x00\x04\x01\x00\x00\x00";

static const struct listener_layers plain, tls = {.tls = true}, proxied = {.proxied = true},
                                           tls_proxied = {.tls = true, .proxied = true};

static struct gate_conn *conn_of(struct bench *bench)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)bench->cells.owner;

    for (size_t i = 0; i < GATE_LISTS && conn == NULL; i++)
        conn = TAILQ_FIRST(&bench->gate->lists[i]);
    return conn;
}

static struct pair reach_plain(struct bench *bench, enum gate_state state)
{
    struct pair pair = connected(bench, state >= GATE_IN_REQUEST ? GOOD_POST : "");

    take(bench, pair, state == GATE_WAIT_PROXY ? proxied : plain);
    if (state <= GATE_WAIT_HEAD)
        return pair;
    drain(pair.ours);
    if (state == GATE_IN_REQUEST)
        return pair;
    bench->cells.owner->idle(bench->cells.owner);
    turn(bench);
    if (state == GATE_READ_HEAD) {
        say(pair, "GET / HT");
        turn(bench);
    } else if (state == GATE_ENDING) {
        gate_drop(conn_of(bench));
    }
    return pair;
}

static struct pair reach_tls(struct bench *bench, enum gate_state state)
{
    struct pair pair = connected(bench, "");

    if (state >= GATE_HELLO_QUEUED)
        say_bytes(pair, hello, sizeof(hello) - 1);
    take(bench, pair, state == GATE_WAIT_PROXY ? tls_proxied : tls);
    if (state <= GATE_HELLO_QUEUED)
        return pair;
    turn(bench);
    turn(bench);
    drain(pair.ours);
    struct cell_conn_owner *owner = bench->cells.owner;
    assert_non_null(owner);
    if (state == GATE_HANDSHAKE_WAIT || state == GATE_ENDING)
        owner->idle(owner);
    if (state == GATE_HEAD_IN_CELL || state == GATE_IN_REQUEST || state == GATE_IDLE)
        owner->handshake_done(owner);
    if (state == GATE_IN_REQUEST || state == GATE_IDLE)
        owner->request_begins(owner);
    if (state == GATE_IDLE)
        owner->idle(owner);
    turn(bench);
    if (state == GATE_ENDING)
        gate_drop(conn_of(bench));
    return pair;
}

/* A connection that has come into this state by what happens to it; not NEW. */
static struct pair reach(struct bench *bench, bool with_tls, enum gate_state state)
{
    struct pair pair = with_tls ? reach_tls(bench, state) : reach_plain(bench, state);

    assert_int_equal(conn_of(bench)->state, state);
    bench->cells.resumed_n = bench->cells.let_close_n = 0;
    return pair;
}

/* ---- moves ---- */

/* Which state follows which, for each a way from GATE_NEW to it. */
static const struct {
    enum gate_state way[6]; /* behind GATE_NEW; ends with GATE_NEW */
    const char *next;       /* a letter for each state that may follow, 'a' for GATE_NEW */
} moves[GATE_STATES] = {
    [GATE_NEW] = {{GATE_NEW}, "bc"},
    [GATE_WAIT_PROXY] = {{GATE_WAIT_PROXY}, "c"},
    [GATE_WAIT_HEAD] = {{GATE_WAIT_HEAD}, "dh"},
    [GATE_HELLO_QUEUED] = {{GATE_WAIT_HEAD, GATE_HELLO_QUEUED}, "e"},
    [GATE_HANDSHAKE] = {{GATE_WAIT_HEAD, GATE_HELLO_QUEUED, GATE_HANDSHAKE}, "fgk"},
    [GATE_HANDSHAKE_WAIT] = {{GATE_WAIT_HEAD, GATE_HELLO_QUEUED, GATE_HANDSHAKE,
                              GATE_HANDSHAKE_WAIT},
                             "ek"},
    [GATE_HEAD_IN_CELL] = {{GATE_WAIT_HEAD, GATE_HELLO_QUEUED, GATE_HANDSHAKE, GATE_HEAD_IN_CELL},
                           "hk"},
    [GATE_IN_REQUEST] = {{GATE_WAIT_HEAD, GATE_IN_REQUEST}, "i"},
    [GATE_IDLE] = {{GATE_WAIT_HEAD, GATE_IN_REQUEST, GATE_IDLE}, "ghjk"},
    [GATE_READ_HEAD] = {{GATE_WAIT_HEAD, GATE_IN_REQUEST, GATE_IDLE, GATE_READ_HEAD}, "hk"},
    [GATE_ENDING] = {{GATE_WAIT_HEAD, GATE_IN_REQUEST, GATE_IDLE, GATE_ENDING}, ""},
};

static void move_along(struct gate_conn *conn, enum gate_state to)
{
    for (size_t i = 0; moves[to].way[i] != GATE_NEW; i++)
        gate_move(conn, moves[to].way[i]);
}

/* In a child, which a move that is not allowed ends. */
static bool may_move(struct gate_conn *conn, enum gate_state to)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        gate_move(conn, to);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void no_other_move_than_those_is_possible(void **state)
{
    (void)state;
    for (enum gate_state from = 0; from < GATE_STATES; from++) {
        struct bench *bench = build();
        struct pair pair = connected(bench, "");
        struct sockaddr address = {.sa_family = AF_UNIX};

        gate_take(bench->gate, pair.ours, &address, sizeof(address), plain);
        struct gate_conn *conn = conn_of(bench);
        move_along(conn, from);
        for (enum gate_state to = 0; to < GATE_STATES; to++)
            assert_int_equal(may_move(conn, to), strchr(moves[from].next, 'a' + (int)to) != NULL);
        gate_forget(conn);
        worker_load_add(bench->worker, -1);
        close_pair(pair);
        tear_down(bench);
    }
}

/* One of a group keeps its beginning, its place in the order and its count. */
static void each_state_has_its_count_and_its_deadline(void **state)
{
    static const struct {
        enum gate_state state;
        int64_t plain_ms, tls_ms; /* 0: none */
        bool idles;
    } rows[] = {
        {GATE_NEW, 10000, 5000, false},
        {GATE_WAIT_PROXY, 10000, 5000, false},
        {GATE_WAIT_HEAD, 10000, 5000, false},
        {GATE_HELLO_QUEUED, 10000, 5000, false},
        {GATE_HANDSHAKE, 10000, 5000, false},
        {GATE_HANDSHAKE_WAIT, 10000, 5000, false},
        {GATE_HEAD_IN_CELL, 10000, 10000, false},
        {GATE_IN_REQUEST, 0, 0, false},
        {GATE_IDLE, 60000, 60000, true},
        {GATE_READ_HEAD, 10000, 5000, false},
        {GATE_ENDING, 0, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ROWS(rows); i++) {
        struct bench *bench = build();
        struct pair pair = connected(bench, "");
        struct sockaddr address = {.sa_family = AF_UNIX};
        int64_t limit_ms = i % 2 == 0 ? rows[i / 2].plain_ms : rows[i / 2].tls_ms;
        bool idles = rows[i / 2].idles, waits = limit_ms != 0 && !idles;

        gate_take(bench->gate, pair.ours, &address, sizeof(address), i % 2 == 0 ? plain : tls);
        struct gate_conn *conn = conn_of(bench);
        move_along(conn, rows[i / 2].state);
        if (limit_ms != 0)
            assert_int_equal(conn->until_ms - conn->since_ms, limit_ms);
        assert_int_equal(gate_waiting_count(bench->gate), waits);
        assert_int_equal(gate_idle_count(bench->gate), idles);
        assert_int_equal(bench->gate->busy_n, limit_ms == 0);
        assert_int_equal(stat_of(bench, STATS_CONNECTIONS_WAITING), waits);
        assert_int_equal(stat_of(bench, STATS_CONNECTIONS_RESTING), idles);
        gate_forget(conn);
        worker_load_add(bench->worker, -1);
        close_pair(pair);
        tear_down(bench);
    }
}

/* ---- in each state ---- */

struct row {
    bool with_tls;
    enum gate_state state;
    enum stats_id stat;
    int64_t later_ms;
};

static void is_gone_or_ending(struct bench *bench, struct pair pair, enum gate_state was)
{
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(gate_idle_count(bench->gate), 0);
    if (was >= GATE_HANDSHAKE) {
        assert_int_equal(conn_of(bench)->state, GATE_ENDING);
        assert_int_equal(bench->cells.let_close_n, 1);
        assert_int_equal(bench->cells.taken_back_n, 0);
        close(pair.ours);
    } else {
        assert_null(conn_of(bench));
        assert_false(is_open(pair.ours));
        assert_int_equal(stat_of(bench, STATS_CONNECTIONS_OPEN), -1); /* counted off */
        assert_int_equal(worker_load(bench->worker), 0);
    }
    close(pair.theirs);
}

static void time_ends_every_state_but_a_request(void **state)
{
    static const struct row rows[] = {
        {false, GATE_WAIT_PROXY, STATS_PROXY_HEADERS_REFUSED, 10000},
        {false, GATE_WAIT_HEAD, STATS_HEADS_TIMED_OUT, 10000},
        {false, GATE_IDLE, STATS_KEEPALIVES_TIMED_OUT, 60000},
        {true, GATE_WAIT_PROXY, STATS_TLS_HANDSHAKES_TIMED_OUT, 5000},
        {true, GATE_WAIT_HEAD, STATS_TLS_HANDSHAKES_TIMED_OUT, 5000},
        {true, GATE_HELLO_QUEUED, STATS_TLS_HANDSHAKES_TIMED_OUT, 5000},
        {true, GATE_HANDSHAKE, STATS_TLS_HANDSHAKES_TIMED_OUT, 5000},
        {true, GATE_HANDSHAKE_WAIT, STATS_TLS_HANDSHAKES_TIMED_OUT, 5000},
        {true, GATE_HEAD_IN_CELL, STATS_HEADS_TIMED_OUT, 10000},
        {true, GATE_IDLE, STATS_KEEPALIVES_TIMED_OUT, 60000},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct bench *bench = build();
        int64_t before_ms = clock_mono_ms();
        struct pair pair = reach(bench, rows[i].with_tls, rows[i].state);

        gate_tick(bench->gate, before_ms + rows[i].later_ms - 1000);
        assert_int_equal(conn_of(bench)->state, rows[i].state);
        assert_int_equal(stat_of(bench, rows[i].stat), 0);
        gate_tick(bench->gate, clock_mono_ms() + rows[i].later_ms);
        assert_int_equal(stat_of(bench, rows[i].stat), 1);
        is_gone_or_ending(bench, pair, rows[i].state);
        tear_down(bench);
    }
}

static void a_request_has_no_deadline_here(void **state)
{
    (void)state;
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        struct bench *bench = build();
        struct pair pair = reach(bench, with_tls, GATE_IN_REQUEST);

        gate_tick(bench->gate, clock_mono_ms() + 1000000);
        gate_abort(bench->gate);
        assert_int_equal(conn_of(bench)->state, GATE_IN_REQUEST);
        close_pair(pair);
        tear_down(bench);
    }
}

static void a_peer_that_ends_ends_what_the_gate_looks_at(void **state)
{
    static const struct row rows[] = {
        {.state = GATE_WAIT_PROXY},
        {.state = GATE_WAIT_HEAD},
        {.state = GATE_IDLE},
        {.state = GATE_READ_HEAD},
        {true, .state = GATE_WAIT_PROXY},
        {true, .state = GATE_WAIT_HEAD},
        {true, .state = GATE_IDLE},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct bench *bench = build();
        struct pair pair = reach(bench, rows[i].with_tls, rows[i].state);

        turn(bench);
        shutdown(pair.theirs, SHUT_WR);
        turn(bench);
        is_gone_or_ending(bench, pair, rows[i].state);
        tear_down(bench);
    }
}

/* It shows when the cell has suspended the connection. */
static void an_end_while_a_cell_works_is_remembered(void **state)
{
    (void)state;
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        struct bench *bench = build();
        struct pair pair = reach(bench, with_tls, GATE_IDLE);

        turn(bench);
        say(pair, GOOD_POST);
        turn(bench);
        if (with_tls)
            bench->cells.owner->request_begins(bench->cells.owner);
        assert_int_equal(conn_of(bench)->state, GATE_IN_REQUEST);
        assert_int_equal(bench->cells.resumed_n, 1);
        drain(pair.ours);
        shutdown(pair.theirs, SHUT_WR);
        turn(bench);
        assert_int_equal(conn_of(bench)->state, GATE_IN_REQUEST);
        bench->cells.owner->idle(bench->cells.owner);
        is_gone_or_ending(bench, pair, GATE_IN_REQUEST);
        tear_down(bench);
    }
}

/* The library finds that out, when it is resumed. */
static void a_handshake_goes_on_when_its_peer_ends(void **state)
{
    struct bench *bench = build();
    struct pair pair = reach(bench, true, GATE_HANDSHAKE_WAIT);

    (void)state;
    shutdown(pair.theirs, SHUT_WR);
    turn(bench);
    assert_int_equal(conn_of(bench)->state, GATE_HANDSHAKE);
    assert_int_equal(bench->cells.resumed_n, 1);
    bench->cells.owner->idle(bench->cells.owner);
    turn(bench);
    assert_int_equal(conn_of(bench)->state, GATE_HANDSHAKE_WAIT); /* and is not asked again */
    close_pair(pair);
    tear_down(bench);
}

static void an_abort_ends_all_but_requests(void **state)
{
    static const struct row rows[] = {
        {.state = GATE_WAIT_PROXY},
        {.state = GATE_WAIT_HEAD},
        {.state = GATE_IDLE},
        {.state = GATE_READ_HEAD},
        {true, .state = GATE_WAIT_HEAD},
        {true, .state = GATE_HELLO_QUEUED},
        {true, .state = GATE_HANDSHAKE},
        {true, .state = GATE_HANDSHAKE_WAIT},
        {true, .state = GATE_HEAD_IN_CELL},
        {true, .state = GATE_IDLE},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct bench *bench = build();
        struct pair pair = reach(bench, rows[i].with_tls, rows[i].state);
        struct pair late = connected(bench, "");

        gate_abort(bench->gate);
        take(bench, late, plain);
        assert_false(is_open(late.ours));
        stats_add(worker_context(bench->worker)->stats, STATS_CONNECTIONS_OPEN, 1);
        is_gone_or_ending(bench, pair, rows[i].state);
        close(late.theirs);
        tear_down(bench);
    }
}

static void a_request_that_ends_after_an_abort_is_the_last(void **state)
{
    (void)state;
    for (int with_tls = 0; with_tls < 2; with_tls++) {
        struct bench *bench = build();
        struct pair pair = reach(bench, with_tls, GATE_IN_REQUEST);

        gate_abort(bench->gate);
        assert_int_equal(bench->cells.let_close_n, 0);
        bench->cells.owner->idle(bench->cells.owner);
        is_gone_or_ending(bench, pair, GATE_IN_REQUEST);
        tear_down(bench);
    }
}

/* The cell may have begun a step of the handshake, or read a head, before it sees the end. */
static void what_ends_comes_to_nothing_else(void **state)
{
    struct bench *bench = build();
    struct pair pair = reach(bench, true, GATE_ENDING);
    struct cell_conn_owner *owner = bench->cells.owner;

    (void)state;
    owner->handshake_done(owner);
    owner->request_begins(owner);
    assert_int_equal(conn_of(bench)->state, GATE_ENDING);
    owner->idle(owner);
    assert_int_equal(conn_of(bench)->state, GATE_ENDING);
    assert_int_equal(bench->cells.let_close_n, 1);
    close(pair.theirs);
    turn(bench);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_FAILED), 0);
    close(pair.ours);
    tear_down(bench);
}

static void a_descriptor_that_cannot_be_taken_back_is_lost(void **state)
{
    struct bench *bench = build();
    struct pair pair = reach(bench, false, GATE_READ_HEAD);

    (void)state;
    bench->cells.cannot_take_back = true;
    gate_tick(bench->gate, clock_mono_ms() + 10000); /* a 408 for it */
    assert_null(conn_of(bench));
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(lingering_close_count(bench->lingering_close), 0);
    close_pair(pair);
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

/* It is counted, it has a deadline, and it can be ended. */
static void what_was_not_looked_at_can_be_ended(void **state)
{
    struct bench *bench = build();
    struct pair pair = connected(bench, GOOD_HEAD);
    struct sockaddr address = {.sa_family = AF_UNIX};

    (void)state;
    gate_take(bench->gate, pair.ours, &address, sizeof(address), plain);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    assert_true(worker_has_jobs(bench->worker, PRIO_NEW));
    gate_abort(bench->gate);
    turn(bench);
    assert_dropped(bench, pair);
    tear_down(bench);
}

/* So many in one go, the others in the next. */
static void new_ones_are_looked_at_a_few_at_a_time(void **state)
{
    struct bench *bench = build();
    struct sockaddr address = {.sa_family = AF_UNIX};
    struct pair pairs[20];

    (void)state;
    for (size_t i = 0; i < ROWS(pairs); i++) {
        pairs[i] = connected(bench, GOOD_HEAD);
        gate_take(bench->gate, pairs[i].ours, &address, sizeof(address), plain);
    }
    bench->gate->job.run(&bench->gate->job);
    assert_int_equal(bench->cells.calls_n, 8);
    for (int i = 0; i < 10; i++)
        turn(bench);
    assert_int_equal(bench->cells.calls_n, ROWS(pairs));
    for (size_t i = 0; i < ROWS(pairs); i++)
        close_pair(pairs[i]);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_other_move_than_those_is_possible),
        cmocka_unit_test(each_state_has_its_count_and_its_deadline),
        cmocka_unit_test(time_ends_every_state_but_a_request),
        cmocka_unit_test(a_request_has_no_deadline_here),
        cmocka_unit_test(a_peer_that_ends_ends_what_the_gate_looks_at),
        cmocka_unit_test(an_end_while_a_cell_works_is_remembered),
        cmocka_unit_test(a_handshake_goes_on_when_its_peer_ends),
        cmocka_unit_test(an_abort_ends_all_but_requests),
        cmocka_unit_test(a_request_that_ends_after_an_abort_is_the_last),
        cmocka_unit_test(what_ends_comes_to_nothing_else),
        cmocka_unit_test(a_descriptor_that_cannot_be_taken_back_is_lost),
        cmocka_unit_test(each_has_its_own_deadline),
        cmocka_unit_test(what_was_not_looked_at_can_be_ended),
        cmocka_unit_test(new_ones_are_looked_at_a_few_at_a_time),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
