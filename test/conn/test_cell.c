/* SPDX-License-Identifier: MIT */
/* How many connections a cell has, when cells begin and end, and connections that are lost. */
#include "config.h"
#include "cell_fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int64_t cells_n(struct bench *bench)
{
    return stat_of(bench, STATS_CELLS);
}

static void a_connection_that_is_lost_is_counted_off_by_its_own_address(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    fake_mhd_faults.connections = 1;
    assert_int_equal(add(bench, CELL_API, &owner), -ENOMEM);
    assert_int_equal(owner.gone_n, 1);
    assert_int_equal(bench->closed_n, 1);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(cells_connections(bench->cells), 0);
    end(bench, &owner);
}

static void so_is_one_for_a_stream_which_has_no_owner(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    fake_mhd_faults.connections = 1;
    assert_int_equal(add(bench, CELL_STREAM, &owner), -ENOMEM);
    assert_int_equal(owner.gone_n, 0);
    assert_int_equal(bench->closed_n, 1);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
    end(bench, &owner);
}

static void so_is_one_for_which_there_is_no_cell(void **state)
{
    struct bench *bench = *state;
    struct owner owners[2];

    fake_mhd_faults.daemons = 1;
    assert_int_equal(add(bench, CELL_API, &owners[0]), -ENOMEM);
    cells_set_fd_end(bench->cells, 3);
    assert_int_equal(add(bench, CELL_API, &owners[1]), -EMFILE);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(owners[i].gone_n, 1);
        end(bench, &owners[i]);
    }
    assert_int_equal(bench->closed_n, 2);
    assert_int_equal(bench->closed_port, PORT);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(cells_n(bench), 0);
}

static void a_full_cell_is_followed_by_another(void **state)
{
    struct bench *bench = *state;
    static const struct {
        enum cell_kind kind;
        size_t most;
    } rows[] = {{CELL_STREAM, CELL_STREAMS_MAX},
                {CELL_API, CELL_REQUESTS_MAX},
                {CELL_API_LARGE, CELL_REQUESTS_MAX}};
    static struct owner owners[CELL_REQUESTS_MAX + 1];

    for (size_t row = 0; row < 3; row++) {
        int64_t before_n = cells_n(bench);

        for (size_t i = 0; i <= rows[row].most; i++) {
            assert_int_equal(add(bench, rows[row].kind, &owners[i]), 0);
            assert_int_equal(cells_n(bench) - before_n, i < rows[row].most ? 1 : 2);
        }
        assert_int_equal(cells_connections(bench->cells), rows[row].most + 1);
        turn(bench);
        for (size_t i = 0; i <= rows[row].most; i++)
            end(bench, &owners[i]);
        assert_int_equal(cells_connections(bench->cells), 0);
        assert_int_equal(worker_load(bench->worker), 0);
    }
}

static void one_empty_cell_of_a_kind_is_kept(void **state)
{
    struct bench *bench = *state;
    struct owner owners[CELL_STREAMS_MAX + 1], other;

    for (size_t i = 0; i <= CELL_STREAMS_MAX; i++)
        assert_int_equal(add(bench, CELL_STREAM, &owners[i]), 0);
    assert_int_equal(add(bench, CELL_API, &other), 0);
    cells_tick(bench->cells);
    assert_int_equal(cells_n(bench), 3);
    for (size_t i = 0; i <= CELL_STREAMS_MAX; i++)
        end(bench, &owners[i]);
    end(bench, &other);
    assert_int_equal(cells_n(bench), 3);
    cells_tick(bench->cells);
    assert_int_equal(cells_n(bench), 2);
    cells_tick(bench->cells);
    assert_int_equal(cells_n(bench), 2);
    assert_int_equal(add(bench, CELL_STREAM, &other), 0);
    assert_int_equal(cells_n(bench), 2);
    end(bench, &other);
}

static void an_abort_closes_all(void **state)
{
    struct bench *bench = *state;
    static const enum cell_kind kinds[] = {CELL_API, CELL_STREAM, CELL_API_LARGE};
    struct owner owners[3];

    for (size_t i = 0; i < 3; i++)
        assert_int_equal(add(bench, kinds[i], &owners[i]), 0);
    cells_abort(bench->cells);
    assert_int_equal(cells_connections(bench->cells), 0);
    assert_int_equal(cells_n(bench), 0);
    assert_int_equal(bench->closed_n, 3);
    assert_int_equal(worker_load(bench->worker), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(owners[i].gone_n, kinds[i] != CELL_STREAM);
        end(bench, &owners[i]);
    }
}

static void a_request_waits_for_its_answer(void **state)
{
    struct bench *bench = *state;
    struct owner owner;

    bench->suspends = true;
    assert_int_equal(add(bench, CELL_API, &owner), 0);
    turn(bench);
    assert_int_equal(cells_suspended(bench->cells), 1);
    assert_true(owner.connection->suspended);
    assert_int_equal(bench->answered_n, 0);
    cell_answer(bench->cell, &bench->waiter);
    assert_int_equal(bench->waiter.state, CELL_ANSWERED);
    assert_int_equal(cells_suspended(bench->cells), 1);
    turn(bench);
    assert_int_equal(bench->waiter.state, CELL_RUNNING);
    assert_int_equal(bench->answered_n, 1);
    assert_int_equal(owner.idle_n, 1); /* and that counts as suspended too */
    assert_int_equal(cells_suspended(bench->cells), 1);
    end(bench, &owner);
    assert_int_equal(cells_suspended(bench->cells), 0);
}

/* In the run in which it was to be suspended, or between the answer and the resumption. */
static void one_that_ends_waits_no_more(void **state)
{
    struct bench *bench = *state;

    for (int answered = 0; answered < 2; answered++) {
        struct owner owner;

        bench->suspends = true;
        assert_int_equal(add(bench, CELL_API, &owner), 0);
        owner.connection->fails_in_run = !answered;
        turn(bench);
        if (answered) {
            assert_int_equal(cells_suspended(bench->cells), 1);
            close(owner.theirs);
            owner.theirs = -1;
            cell_answer(bench->cell, &bench->waiter);
            turn(bench);
        }
        assert_int_equal(bench->waiter.state, CELL_RUNNING);
        assert_int_equal(cells_suspended(bench->cells), 0);
        assert_int_equal(owner.gone_n, 1);
        assert_int_equal(bench->answered_n, 0);
        end(bench, &owner);
    }
    assert_int_equal(bench->completed_n, 2);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, build, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_connection_that_is_lost_is_counted_off_by_its_own_address),
        CASE(so_is_one_for_a_stream_which_has_no_owner),
        CASE(so_is_one_for_which_there_is_no_cell),
        CASE(a_full_cell_is_followed_by_another),
        CASE(one_empty_cell_of_a_kind_is_kept),
        CASE(an_abort_closes_all),
        CASE(a_request_waits_for_its_answer),
        CASE(one_that_ends_waits_no_more),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
