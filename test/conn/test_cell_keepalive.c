/* SPDX-License-Identifier: MIT */
/* Kept connections: idle between two requests, resumed, taken back, and closed. */
#include "config.h"
#include "cell_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* One that is idle behind its first request. */
static void add_idle(struct bench *bench, struct owner *owner)
{
    assert_int_equal(add(bench, CELL_API, owner), 0);
    turn(bench);
    assert_int_equal(owner->idle_n, 1);
}

static bool peer_reads_end(const struct owner *owner)
{
    char byte;

    return recv(owner->theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

static void it_is_idle_and_not_read_between_two_requests(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    add_idle(bench, &owner);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(owner.idle_n, i);
        assert_int_equal(bench->begun_n, i);
        assert_int_equal(bench->completed_n, i);
        assert_true(owner.connection->suspended);
        assert_int_equal(cells_suspended(bench->cells), 1);
        fake_mhd_request(owner.connection, HEAD);
        turn(bench);
        assert_int_equal(bench->begun_n, i);
        cell_resume(&owner.base);
        turn(bench);
    }
    assert_int_equal(bench->unexpected_n, 0);
    assert_ptr_equal(bench->seen_owner, &owner.base);
    assert_int_equal(cell_kind_of(&owner.base), CELL_API);
    end(bench, &owner);
    assert_int_equal(owner.gone_n, 1);
    assert_int_equal(bench->closed_n, 1);
}

/* Without its owner's word the head was not checked. */
static void a_request_that_was_not_checked_is_not_expected(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    add_idle(bench, &owner);
    fake_mhd_request(owner.connection, HEAD);
    cell_let_close(&owner.base);
    turn(bench);
    assert_int_equal(bench->begun_n, 2);
    assert_int_equal(bench->unexpected_n, 1);
    end(bench, &owner);
}

/* A word for one request is for no second. */
static void a_resumption_is_for_one_request(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    add_idle(bench, &owner);
    fake_mhd_request(owner.connection, HEAD);
    cell_resume(&owner.base);
    turn(bench);
    assert_int_equal(bench->unexpected_n, 0);
    fake_mhd_request(owner.connection, HEAD);
    cell_let_close(&owner.base);
    turn(bench);
    assert_int_equal(bench->unexpected_n, 1);
    end(bench, &owner);
}

static void a_stream_has_no_owner_and_is_expected(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    bench->seen_owner = &owner.base;
    assert_int_equal(add(bench, CELL_STREAM, &owner), 0);
    turn(bench);
    assert_int_equal(bench->begun_n, 1);
    assert_int_equal(bench->unexpected_n, 0);
    assert_null(bench->seen_owner);
    assert_int_equal(owner.idle_n, 0);
    end(bench, &owner);
    assert_int_equal(owner.gone_n, 0);
    assert_int_equal(bench->closed_n, 1);
}

static void letting_one_close_that_works_does_nothing(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    bench->suspends = true;
    assert_int_equal(add(bench, CELL_API, &owner), 0);
    turn(bench);
    cell_let_close(&owner.base);
    turn(bench);
    assert_int_equal(bench->waiter.state, CELL_SUSPENDED);
    assert_int_equal(owner.gone_n, 0);
    cell_answer(bench->cell, &bench->waiter);
    turn(bench);
    assert_int_equal(owner.idle_n, 1);
    end(bench, &owner);
}

static void the_end_of_an_idle_one_is_its_end(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    add_idle(bench, &owner);
    shutdown(owner.theirs, SHUT_WR);
    turn(bench);
    assert_int_equal(owner.gone_n, 0); /* nobody looks but its owner */
    cell_let_close(&owner.base);
    turn(bench);
    assert_int_equal(owner.gone_n, 1);
    assert_null(owner.base.kept);
    assert_int_equal(bench->closed_n, 1);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(cells_suspended(bench->cells), 0);
    end(bench, &owner);
}

static void a_descriptor_is_taken_back_with_what_is_unread(void **state)
{
    struct bench *bench = *state;
    struct owner owner;
    char text[8] = "";

    add_idle(bench, &owner);
    int library_fd = owner.connection->fd;
    assert_int_equal(send(owner.theirs, "unread", 6, 0), 6);
    int fd = cell_take_back(&owner.base);
    assert_true(fd >= 0 && fd != library_fd);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    assert_null(owner.base.kept);
    turn(bench);
    assert_int_equal(owner.connection->state, FAKE_MHD_CLOSED);
    assert_int_equal(cells_connections(bench->cells), 0);
    assert_int_equal(owner.gone_n, 0); /* it is not gone, and its descriptor still counts */
    assert_int_equal(bench->closed_n, 0);
    assert_int_equal(worker_load(bench->worker), 1);
    assert_int_equal(recv(fd, text, sizeof(text), 0), 6);
    assert_string_equal(text, "unread");
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_int_equal(recv(owner.theirs, text, 1, 0), 1);
    worker_load_add(bench->worker, -1);
    close(fd);
    end(bench, &owner);
}

static void without_a_descriptor_for_it_the_connection_is_cut(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    add_idle(bench, &owner);
    cells_set_fd_end(bench->cells, 3);
    assert_int_equal(cell_take_back(&owner.base), -EMFILE);
    assert_null(owner.base.kept);
    assert_true(peer_reads_end(&owner));
    turn(bench);
    assert_int_equal(owner.connection->state, FAKE_MHD_CLOSED);
    assert_int_equal(owner.gone_n, 0);
    assert_int_equal(bench->closed_n, 1); /* the descriptor has gone with it */
    assert_int_equal(worker_load(bench->worker), 0);
    end(bench, &owner);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, build, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(it_is_idle_and_not_read_between_two_requests),
        CASE(a_request_that_was_not_checked_is_not_expected),
        CASE(a_resumption_is_for_one_request),
        CASE(a_stream_has_no_owner_and_is_expected),
        CASE(letting_one_close_that_works_does_nothing),
        CASE(the_end_of_an_idle_one_is_its_end),
        CASE(a_descriptor_is_taken_back_with_what_is_unread),
        CASE(without_a_descriptor_for_it_the_connection_is_cut),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
