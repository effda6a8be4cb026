/* SPDX-License-Identifier: MIT */
/* Connections that are kept, and rest between two requests.  See cell.h. */
#include "config.h"
#include "conn/cell_internal.h"

#include <errno.h>
#include <stdlib.h>

struct cell_tie *cell_tie_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct cell_seat *seat_of(struct cell_tie *tie)
{
    return tie->is_seat ? (struct cell_seat *)(void *)tie : NULL;
}

struct cell_seat *cell_seat_of(struct MHD_Connection *connection)
{
    struct cell_tie *tie = cell_tie_of(connection);

    return tie != NULL ? seat_of(tie) : NULL;
}

static void enter_list(struct cell_seat *seat, bool finished)
{
    seat->pauses = true;
    seat->finished = finished;
    TAILQ_INSERT_TAIL(&seat->cell->pausing, seat, link);
}

static void leave_list(struct cell_seat *seat)
{
    TAILQ_REMOVE(&seat->cell->pausing, seat, link);
    seat->pauses = seat->finished = false;
}

void cell_stay_after_run(struct cell_seat *seat)
{
    if (seat->pauses)
        leave_list(seat);
}

void cell_take_tie(struct cell *cell)
{
    struct cell_tie *tie = cell->ties;

    while (tie->is_taken)
        tie++;
    tie->is_taken = true;
    cell->arriving = tie;
}

int cell_take_seat(struct cell *cell, struct cell_guest *guest)
{
    struct cell_seat *seat = calloc(1, sizeof(*seat));

    if (seat == NULL)
        return -ENOMEM;
    seat->tie.is_seat = true;
    cell->arriving = &seat->tie;
    seat->cell = cell;
    seat->guest = guest;
    seat->expected = true;
    if (cell->kind == CELL_TLS)
        seat->tls = tls_credentials_ref(cell->cells->tls);
    guest->seat = seat;
    return 0;
}

void cell_tell_gone(struct cell_guest *guest)
{
    if (guest == NULL)
        return;
    guest->seat = NULL;
    guest->gone(guest);
}

bool cell_leave_seat(struct cell_tie *tie)
{
    struct cell_seat *seat = seat_of(tie);
    bool is_taken_back = seat != NULL && seat->is_taken_back;

    tie->context = NULL;
    if (seat == NULL) {
        tie->is_taken = false;
        return true;
    }
    cell_stay_after_run(seat);
    cell_tell_gone(seat->guest);
    tls_credentials_unref(seat->tls);
    free(seat->target);
    free(seat);
    return !is_taken_back;
}

static void wait(struct cell_seat *seat)
{
    leave_list(seat);
    mhd_suspend(seat->waiter.connection);
}

static void rest(struct cell_seat *seat)
{
    leave_list(seat);
    seat->rests = true;
    seat->waiter.state = CELL_WAITS;
    seat->cell->cells->suspended_n++;
    mhd_suspend(seat->waiter.connection);
    seat->guest->rests(seat->guest);
}

/* An answer of the first call ends its connection: what is finished and still there has a guest. */
void cell_pause_after_run(struct cell *cell)
{
    struct cell_seat *seat = TAILQ_FIRST(&cell->pausing);

    while (seat != NULL) {
        struct cell_seat *next = TAILQ_NEXT(seat, link);

        if (!seat->finished)
            wait(seat);
        else if (!mhd_is_suspended(seat->waiter.connection)) /* or its resumption is to come */
            rest(seat);
        seat = next;
    }
}

void cell_rest_after_run(struct cell_seat *seat)
{
    enter_list(seat, true);
}

void cell_wait_after_run(struct cell_seat *seat)
{
    enter_list(seat, false);
}

static void go_on(struct cell_seat *seat, bool expected)
{
    seat->expected = expected;
    seat->rests = false;
    if (seat->shakes)
        cell_rest_after_run(seat);
    cell_answer(seat->cell, &seat->waiter);
}

void cell_go_on(struct cell_guest *guest)
{
    go_on(guest->seat, true);
}

void cell_let_end(struct cell_guest *guest)
{
    if (guest->seat->rests)
        go_on(guest->seat, false);
}

int cell_take_back(struct cell_guest *guest)
{
    struct cell_seat *seat = guest->seat;
    struct cells *cells = seat->cell->cells;
    int taken =
        mhd_take_descriptor(seat->waiter.connection, cells->ended_fd, cells->descriptors_end);

    seat->guest = NULL;
    seat->is_taken_back = taken >= 0;
    guest->seat = NULL;
    go_on(seat, false);
    return taken >= 0 ? taken : -EMFILE;
}

enum cell_kind cell_kind_of(const struct cell_guest *guest)
{
    return guest->seat->cell->kind;
}

/* Nobody but the library can see a head inside TLS: it is for the handler to judge.  One that the
 * library had read with the last one begins before that one could rest. */
static bool begin_inside(struct cell_seat *seat)
{
    if (seat->finished)
        return false;
    seat->guest->begun(seat->guest);
    return true;
}

bool cell_is_expected(struct MHD_Connection *connection, const struct cell_guest **ret_guest)
{
    struct cell_seat *seat = cell_seat_of(connection);
    bool expected = seat == NULL || seat->expected;

    *ret_guest = seat != NULL ? seat->guest : NULL;
    if (seat != NULL && seat->tls != NULL)
        return begin_inside(seat);
    if (seat != NULL) {
        seat->expected = false;
        seat->begun_in = seat->cell->runs_n;
    }
    return expected;
}
