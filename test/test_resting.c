/* SPDX-License-Identifier: MIT */
/* Connections between two requests, on socket pairs. */
#include "resting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct guest {
    int ours, theirs;
    struct resting *resting;
};

static struct guest guest_new(void)
{
    struct guest guest;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    guest.ours = fds[0];
    guest.theirs = fds[1];
    guest.resting = resting_new(fds[0]);
    assert_non_null(guest.resting);
    return guest;
}

static void guest_free(struct resting_pool *pool, struct guest *guest)
{
    resting_free(pool, guest->resting);
    close(guest->ours);
    close(guest->theirs);
}

static bool is_cut(const struct guest *guest)
{
    char byte;

    return recv(guest->theirs, &byte, 1, 0) == 0;
}

static void the_longest_rest_ends_first(void **state)
{
    struct stats stats = {0};
    struct resting_pool pool;
    struct guest guests[3];

    (void)state;
    resting_init(&pool, &stats);
    assert_int_equal(resting_since_ms(&pool), INT64_MAX);
    for (int i = 0; i < 3; i++) {
        guests[i] = guest_new();
        resting_begin(&pool, guests[i].resting, 100 + i);
        resting_begin(&pool, guests[i].resting, 900);
    }
    assert_int_equal(stats_get(&stats, STATS_CONNECTIONS_RESTING), 3);
    assert_int_equal(resting_since_ms(&pool), 100);
    resting_end(&pool, guests[0].resting); /* busy again */
    resting_end(&pool, guests[0].resting);
    assert_int_equal(resting_since_ms(&pool), 101);
    assert_true(resting_cut_first(&pool));
    assert_false(is_cut(&guests[0]));
    assert_true(is_cut(&guests[1]));
    assert_false(is_cut(&guests[2]));
    for (int i = 0; i < 3; i++)
        guest_free(&pool, &guests[i]);
    assert_int_equal(stats_get(&stats, STATS_CONNECTIONS_RESTING), 0);
    assert_int_equal(stats_get(&stats, STATS_CONNECTIONS_CROWDED_OUT), 1);
    assert_false(resting_cut_first(&pool));
}

static void whose_request_has_come_is_left_alone(void **state)
{
    struct stats stats = {0};
    struct resting_pool pool;
    struct guest speaks, silent;

    (void)state;
    resting_init(&pool, &stats);
    speaks = guest_new();
    silent = guest_new();
    resting_begin(&pool, speaks.resting, 1);
    resting_begin(&pool, silent.resting, 2);
    assert_int_equal(send(speaks.theirs, "G", 1, 0), 1);
    assert_true(resting_cut_first(&pool));
    assert_false(is_cut(&speaks));
    assert_true(is_cut(&silent));
    guest_free(&pool, &speaks);
    guest_free(&pool, &silent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_rest_ends_first),
        cmocka_unit_test(whose_request_has_come_is_left_alone),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
