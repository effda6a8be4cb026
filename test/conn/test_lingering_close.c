/* SPDX-License-Identifier: MIT */
/*
 * A last answer that arrives although the client is still sending, on real sockets; the worker's
 * loop is run by hand.
 */
#include "config.h"
#include "conn/lingering_close.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "history/history_memory.h"

#define LINGERING_CLOSE_MS 2000
#define ANSWERED_CLOSE_MS 5000
#define SOCKETS_MAX 256

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct lingering_close_pool *pool;
};

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

    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    assert_non_null(bench->worker);
    worker_set_hooks(bench->worker, &hooks);
    bench->pool = lingering_close_new(bench->worker);
    assert_non_null(bench->pool);
    return bench;
}

static void tear_down(struct bench *bench)
{
    lingering_close_free(bench->pool);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    free(bench);
}

static void turn(struct bench *bench)
{
    event_base_loop(worker_context(bench->worker)->base, EVLOOP_NONBLOCK);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

struct pair {
    int ours, theirs;
};

static struct pair tcp_pair(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t address_n = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pair pair = {.theirs = socket(AF_INET, SOCK_STREAM, 0)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &address_n), 0);
    assert_int_equal(connect(pair.theirs, (struct sockaddr *)&address, address_n), 0);
    pair.ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    assert_true(pair.ours >= 0);
    close(listener);
    return pair;
}

static struct pair unix_pair(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    return (struct pair){fds[0], fds[1]};
}

static void ends_our_half_at_once(void **state)
{
    struct bench *bench = build();
    struct pair pair = unix_pair();
    char byte;

    (void)state;
    lingering_close_take(bench->pool, pair.ours);
    assert_int_equal(lingering_close_count(bench->pool), 1);
    assert_int_equal(recv(pair.theirs, &byte, 1, 0), 0);
    turn(bench);
    assert_int_equal(lingering_close_count(bench->pool), 1);
    close(pair.theirs);
    tear_down(bench);
}

static bool is_shut(const struct pair *pair)
{
    char byte;

    return recv(pair->theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

/* Of who does not answer, after a second. */
static void ends_our_half_with_the_answer_to_the_last_words(void **state)
{
    struct bench *bench = build();
    struct pair pair = unix_pair(), silent = unix_pair();
    int64_t now_ms = clock_mono_ms();

    (void)state;
    lingering_close_take_answered(bench->pool, pair.ours);
    lingering_close_take_answered(bench->pool, silent.ours);
    turn(bench);
    assert_false(is_shut(&pair));
    assert_int_equal(send(pair.theirs, "x", 1, 0), 1);
    turn(bench);
    assert_true(is_shut(&pair));
    assert_false(is_shut(&silent));
    lingering_close_tick(bench->pool, now_ms + 900);
    assert_false(is_shut(&silent));
    lingering_close_tick(bench->pool, now_ms + 1900);
    assert_true(is_shut(&silent));
    assert_int_equal(lingering_close_count(bench->pool), 2);
    lingering_close_tick(bench->pool, now_ms + 1900 + ANSWERED_CLOSE_MS);
    assert_int_equal(lingering_close_count(bench->pool), 0);
    close(pair.theirs);
    close(silent.theirs);
    tear_down(bench);
}

/* Far more than the kernel holds, sent after our last word: all of it is taken, and the answer
 * can be read in the end. */
static void the_answer_is_read_by_who_is_still_sending(void **state)
{
    static const char answer[] = "HTTP/1.1 413 Content Too Large\r\n\r\n";
    static char bytes[65536];
    struct bench *bench = build();
    struct pair pair = tcp_pair();

    (void)state;
    assert_int_equal(send(pair.theirs, bytes, 1000, 0), 1000); /* a body left unread */
    assert_int_equal(send(pair.ours, answer, sizeof(answer), 0), sizeof(answer));
    lingering_close_take(bench->pool, pair.ours);
    for (size_t sent = 0; sent < (size_t)16 << 20;) {
        ssize_t n = send(pair.theirs, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);

        assert_true(n > 0 || errno == EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        turn(bench);
    }
    assert_int_equal(recv(pair.theirs, bytes, sizeof(bytes), MSG_WAITALL), sizeof(answer));
    assert_string_equal(bytes, answer);
    assert_int_equal(recv(pair.theirs, bytes, sizeof(bytes), 0), 0);
    close(pair.theirs);
    while (lingering_close_count(bench->pool) > 0)
        turn(bench);
    assert_false(is_open(pair.ours));
    tear_down(bench);
}

/* One that sends without end gets so many reads a turn, so that others get theirs. */
static void nobody_holds_the_loop(void **state)
{
    static char bytes[65536];
    struct bench *bench = build();
    struct pair pairs[2] = {unix_pair(), unix_pair()};
    ssize_t n;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        lingering_close_take(bench->pool, pairs[i].ours);
    for (int round = 0; round < 50; round++)
        for (size_t i = 0; i < 2; i++) {
            do
                n = send(pairs[i].theirs, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
            while (n > 0);
            assert_int_equal(errno, EAGAIN);
            turn(bench);
        }
    assert_int_equal(lingering_close_count(bench->pool), 2);
    for (size_t i = 0; i < 2; i++)
        close(pairs[i].theirs);
    while (lingering_close_count(bench->pool) > 0)
        turn(bench);
    tear_down(bench);
}

static void lets_go_of_a_peer_that_resets(void **state)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct bench *bench = build();
    struct pair pair = tcp_pair();

    (void)state;
    lingering_close_take(bench->pool, pair.ours);
    setsockopt(pair.theirs, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(pair.theirs);
    while (lingering_close_count(bench->pool) > 0)
        turn(bench);
    assert_false(is_open(pair.ours));
    tear_down(bench);
}

static void its_time_is_short_and_counts_from_the_taking(void **state)
{
    struct bench *bench = build();
    struct pair pairs[2] = {unix_pair(), unix_pair()};
    int64_t before_ms = clock_mono_ms();

    (void)state;
    for (size_t i = 0; i < 2; i++)
        lingering_close_take(bench->pool, pairs[i].ours);
    int64_t after_ms = clock_mono_ms();
    assert_int_equal(send(pairs[0].theirs, "x", 1, 0), 1); /* sending does not prolong it */
    turn(bench);
    lingering_close_tick(bench->pool, before_ms + LINGERING_CLOSE_MS - 1);
    assert_int_equal(lingering_close_count(bench->pool), 2);
    lingering_close_tick(bench->pool, after_ms + LINGERING_CLOSE_MS);
    assert_int_equal(lingering_close_count(bench->pool), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_false(is_open(pairs[i].ours));
        close(pairs[i].theirs);
    }
    tear_down(bench);
}

static void at_the_limit_it_closes_at_once(void **state)
{
    struct bench *bench = build();
    struct pair pairs[SOCKETS_MAX + 1];

    (void)state;
    for (size_t i = 0; i <= SOCKETS_MAX; i++) {
        pairs[i] = unix_pair();
        lingering_close_take(bench->pool, pairs[i].ours);
        assert_int_equal(is_open(pairs[i].ours), i < SOCKETS_MAX);
    }
    assert_int_equal(lingering_close_count(bench->pool), SOCKETS_MAX);
    lingering_close_free(bench->pool);
    bench->pool = NULL;
    for (size_t i = 0; i <= SOCKETS_MAX; i++) {
        assert_false(is_open(pairs[i].ours));
        close(pairs[i].theirs);
    }
    tear_down(bench); /* accepts NULL */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_our_half_at_once),
        cmocka_unit_test(ends_our_half_with_the_answer_to_the_last_words),
        cmocka_unit_test(the_answer_is_read_by_who_is_still_sending),
        cmocka_unit_test(nobody_holds_the_loop),
        cmocka_unit_test(lets_go_of_a_peer_that_resets),
        cmocka_unit_test(its_time_is_short_and_counts_from_the_taking),
        cmocka_unit_test(at_the_limit_it_closes_at_once),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
