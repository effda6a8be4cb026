/* SPDX-License-Identifier: MIT */
/*
 * The gate's part of TLS, between real sockets and a stand-in for the cells: when a handshake
 * begins, how many in a turn, and when a visitor's time is over.  The worker's loop is run by hand.
 */
#include "config.h"
#include "conn/gate.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "history/history_memory.h"

#define VISITORS 11

/* What the stand-in was given. */
struct cells {
    struct worker *worker;
    size_t calls_n;
    struct cell_conn_owner *owners[VISITORS];
    size_t went_on_n, let_end_n;
    bool has_pending;
};

int cells_add(struct cells *cells, enum cell_kind kind, int fd, const struct sockaddr *address,
              socklen_t address_n, struct cell_conn_owner *owner)
{
    (void)fd;
    (void)address;
    (void)address_n;
    assert_int_equal(kind, CELL_TLS);
    owner->kept = (struct cell_kept *)(void *)cells;
    cells->owners[cells->calls_n++] = owner;
    return 0;
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

bool cell_has_pending(const struct cell_conn_owner *owner)
{
    return cells_of(owner)->has_pending;
}

int cell_take_back(struct cell_conn_owner *owner)
{
    (void)owner;
    fail();
    return -1;
}

enum cell_kind cell_kind_of(const struct cell_conn_owner *owner)
{
    (void)owner;
    return CELL_TLS;
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
    int theirs[VISITORS];
    size_t visitors_n;
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
    bench->conf.tls.handshake_timeout_ms = 5000;
    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    worker_set_hooks(bench->worker, &hooks);
    bench->lingering_close = lingering_close_new(bench->worker);
    bench->cells.worker = bench->worker;
    bench->client_quota = client_quota_new(&bench->conf);
    bench->gate =
        gate_new(bench->worker, &bench->cells, bench->lingering_close, bench->client_quota);
    assert_non_null(bench->gate);
    return bench;
}

/* As the library would close them. */
static void tear_down(struct bench *bench)
{
    gate_abort(bench->gate);
    for (size_t i = 0; i < bench->cells.calls_n; i++)
        if (bench->cells.owners[i] != NULL)
            bench->cells.owners[i]->gone(bench->cells.owners[i]);
    for (size_t i = 0; i < bench->visitors_n; i++)
        close(bench->theirs[i]);
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

/* A record of a hello's form; what is in it is for GnuTLS to judge. */
static const char hello[] = "\x16\x03\x01\x00\x04\x01\x00\x00\x00";
#define HELLO_BYTES (sizeof(hello) - 1)

static void say(struct bench *bench, size_t visitor, const char *bytes, size_t n)
{
    assert_int_equal(send(bench->theirs[visitor], bytes, n, MSG_NOSIGNAL), n);
}

/* A visitor who has said that much. */
static void enter(struct bench *bench, const char *bytes, size_t n)
{
    struct sockaddr address = {.sa_family = AF_UNIX};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    worker_load_add(bench->worker, 1);
    bench->theirs[bench->visitors_n++] = fds[1];
    if (n > 0)
        say(bench, bench->visitors_n - 1, bytes, n);
    gate_take(bench->gate, fds[0], &address, sizeof(address),
              (struct listener_layers){.tls = true});
}

static bool has_ended(int theirs)
{
    char byte;
    ssize_t n = recv(theirs, &byte, 1, MSG_DONTWAIT);

    return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* However many come at once, and whatever turns there are between. */
static void two_handshakes_begin_in_a_turn(void **state)
{
    struct bench *bench = build();
    size_t before = 0;

    (void)state;
    for (size_t i = 0; i < VISITORS; i++)
        enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 30 && bench->cells.calls_n < VISITORS; i++) {
        turn(bench);
        assert_true(bench->cells.calls_n - before <= 2);
        before = bench->cells.calls_n;
    }
    assert_int_equal(bench->cells.calls_n, VISITORS);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_BEGUN), VISITORS);
    tear_down(bench);
}

/* A hello that comes in pieces is not begun with before it is whole. */
static void a_hello_is_waited_for(void **state)
{
    struct bench *bench = build();

    (void)state;
    enter(bench, hello, 0);
    for (size_t i = 0; i < HELLO_BYTES; i++) {
        turn(bench);
        turn(bench);
        assert_int_equal(bench->cells.calls_n, 0);
        say(bench, 0, hello + i, 1);
    }
    for (int i = 0; i < 4; i++)
        turn(bench);
    assert_int_equal(bench->cells.calls_n, 1);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
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
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench *bench = build();
        char answer[12] = "";

        enter(bench, rows[i].bytes, rows[i].n);
        turn(bench);
        ssize_t n = recv(bench->theirs[0], answer, sizeof(answer), 0);
        assert_int_equal(n > 0 && memcmp(answer, "HTTP/1.1 400", 12) == 0, rows[i].is_told);
        assert_int_equal(gate_waiting_count(bench->gate), 0);
        assert_int_equal(stat_of(bench, STATS_TLS_HELLOS_REFUSED), 1);
        tear_down(bench);
    }
}

/* Whose handshake is done has the rest of the head's time; whose is not goes, wherever it is. */
static void deadlines_are_absolute(void **state)
{
    struct bench *bench = build();
    int64_t now_ms = clock_mono_ms();

    (void)state;
    enter(bench, hello, 3); /* a part of a hello */
    enter(bench, hello, HELLO_BYTES);
    enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 4; i++)
        turn(bench);
    assert_int_equal(bench->cells.calls_n, 2);
    bench->cells.owners[1]->handshake_done(bench->cells.owners[1]);
    gate_tick(bench->gate, now_ms + 4000);
    assert_int_equal(gate_waiting_count(bench->gate), 3);
    gate_tick(bench->gate, now_ms + 6000);
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_TIMED_OUT), 2);
    assert_true(has_ended(bench->theirs[0]) && has_ended(bench->theirs[1]));
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    gate_tick(bench->gate, now_ms + 11000);
    assert_int_equal(stat_of(bench, STATS_HEADS_TIMED_OUT), 1);
    assert_true(has_ended(bench->theirs[2]));
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    tear_down(bench);
}

/* A handshake that waits goes on when something has come, also when that was while it ran. */
static void a_handshake_goes_on(void **state)
{
    struct bench *bench = build();

    (void)state;
    enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 4; i++)
        turn(bench);
    struct cell_conn_owner *owner = bench->cells.owners[0];
    owner->idle(owner); /* the socket has still the hello, which the stand-in does not read */
    turn(bench);
    assert_int_equal(bench->cells.went_on_n, 1);
    say(bench, 0, "x", 1);
    turn(bench);
    assert_int_equal(bench->cells.went_on_n, 1);
    owner->idle(owner);
    assert_int_equal(bench->cells.went_on_n, 2);
    owner->idle(owner);
    turn(bench);
    assert_int_equal(bench->cells.went_on_n, 2);
    tear_down(bench);
}

/* Between two requests it rests; with something of the next, it does not. */
static void requests_begin_and_rest(void **state)
{
    struct bench *bench = build();

    (void)state;
    enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 4; i++)
        turn(bench);
    struct cell_conn_owner *owner = bench->cells.owners[0];
    owner->handshake_done(owner);
    owner->request_begins(owner);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    bench->cells.has_pending = true;
    owner->idle(owner);
    assert_int_equal(bench->cells.went_on_n, 1);
    owner->request_begins(owner);
    bench->cells.has_pending = false;
    owner->idle(owner);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    turn(bench); /* the hello is still there */
    assert_int_equal(bench->cells.went_on_n, 2);
    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(gate_waiting_count(bench->gate), 1);
    owner->request_begins(owner);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    tear_down(bench);
}

static void one_that_ends_is_counted(void **state)
{
    struct bench *bench = build();

    (void)state;
    enter(bench, hello, HELLO_BYTES);
    for (int i = 0; i < 4; i++)
        turn(bench);
    bench->cells.owners[0]->gone(bench->cells.owners[0]);
    bench->cells.owners[0] = NULL;
    assert_int_equal(stat_of(bench, STATS_TLS_HANDSHAKES_FAILED), 1);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_handshakes_begin_in_a_turn),
        cmocka_unit_test(a_hello_is_waited_for),
        cmocka_unit_test(what_is_no_hello_is_refused),
        cmocka_unit_test(deadlines_are_absolute),
        cmocka_unit_test(a_handshake_goes_on),
        cmocka_unit_test(requests_begin_and_rest),
        cmocka_unit_test(one_that_ends_is_counted),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
