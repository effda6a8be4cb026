/* SPDX-License-Identifier: MIT */
/* Kept connections, which are idle between two requests.  See cell.h. */
#include "config.h"
#include "conn/cell_internal.h"

#include <errno.h>
#include <stdlib.h>

struct cell_conn *cell_conn_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static struct cell_kept *kept_of(struct cell_conn *conn)
{
    return conn->is_kept ? (struct cell_kept *)(void *)conn : NULL;
}

struct cell_kept *cell_kept_of(struct MHD_Connection *connection)
{
    struct cell_conn *conn = cell_conn_of(connection);

    return conn != NULL ? kept_of(conn) : NULL;
}

static void enter_pausing(struct cell_kept *kept, bool finished)
{
    kept->pauses = true;
    kept->finished = finished;
    TAILQ_INSERT_TAIL(&kept->cell->pausing, kept, link);
}

static void leave_pausing(struct cell_kept *kept)
{
    TAILQ_REMOVE(&kept->cell->pausing, kept, link);
    kept->pauses = kept->finished = false;
}

void cell_stay_after_run(struct cell_kept *kept)
{
    if (kept->pauses)
        leave_pausing(kept);
}

void cell_enter(struct cell *cell)
{
    struct cell_conn *conn = cell->stream_conns;

    while (conn->is_used)
        conn++;
    conn->is_used = true;
    cell->arriving = conn;
}

int cell_enter_kept(struct cell *cell, struct cell_conn_owner *owner)
{
    struct cell_kept *kept = calloc(1, sizeof(*kept));

    if (kept == NULL)
        return -ENOMEM;
    kept->conn.is_kept = true;
    cell->arriving = &kept->conn;
    kept->cell = cell;
    kept->owner = owner;
    kept->expected = true;
    if (cell->kind == CELL_TLS)
        kept->tls = tls_credentials_ref(cell->cells->tls);
    owner->kept = kept;
    return 0;
}

void cell_tell_gone(struct cell_conn_owner *owner)
{
    if (owner == NULL)
        return;
    owner->kept = NULL;
    owner->gone(owner);
}

bool cell_leave(struct cell_conn *conn)
{
    struct cell_kept *kept = kept_of(conn);
    bool is_taken_back = kept != NULL && kept->is_taken_back;

    conn->context = NULL;
    if (kept == NULL) {
        conn->is_used = false;
        return true;
    }
    cell_stay_after_run(kept);
    cell_tell_gone(kept->owner);
    tls_credentials_unref(kept->tls);
    free(kept->target);
    free(kept);
    return !is_taken_back;
}

static void make_idle(struct cell_kept *kept)
{
    leave_pausing(kept);
    kept->is_idle = true;
    kept->waiter.state = CELL_SUSPENDED;
    kept->cell->cells->suspended_n++;
    mhd_suspend(kept->waiter.connection);
    kept->owner->idle(kept->owner);
}

/* An answer of the first call ends its connection: what is finished and still there has an owner.
 */
void cell_pause_after_run(struct cell *cell)
{
    struct cell_kept *kept = TAILQ_FIRST(&cell->pausing);

    while (kept != NULL) {
        struct cell_kept *next = TAILQ_NEXT(kept, link);

        if (!kept->finished) {
            leave_pausing(kept);
            mhd_suspend(kept->waiter.connection);
        } else if (!mhd_is_suspended(kept->waiter.connection)) /* or its resumption is to come */
            make_idle(kept);
        kept = next;
    }
}

void cell_idle_after_run(struct cell_kept *kept)
{
    enter_pausing(kept, true);
}

void cell_wait_after_run(struct cell_kept *kept)
{
    enter_pausing(kept, false);
}

static void resume_kept(struct cell_kept *kept, bool expected)
{
    kept->expected = expected;
    kept->is_idle = false;
    if (kept->in_handshake)
        cell_idle_after_run(kept);
    cell_answer(kept->cell, &kept->waiter);
}

void cell_resume(struct cell_conn_owner *owner)
{
    resume_kept(owner->kept, true);
}

void cell_let_close(struct cell_conn_owner *owner)
{
    if (owner->kept->is_idle)
        resume_kept(owner->kept, false);
}

int cell_take_back(struct cell_conn_owner *owner)
{
    struct cell_kept *kept = owner->kept;
    struct cells *cells = kept->cell->cells;
    int taken = mhd_take_descriptor(kept->waiter.connection, cells->ended_fd, cells->fd_end);

    kept->owner = NULL;
    kept->is_taken_back = taken >= 0;
    owner->kept = NULL;
    resume_kept(kept, false);
    return taken >= 0 ? taken : -EMFILE;
}

enum cell_kind cell_kind_of(const struct cell_conn_owner *owner)
{
    return owner->kept->cell->kind;
}

/* Only the library sees a head inside TLS, so the handler checks it.  A request that the library
 * had read together with the last one begins before the connection could be idle. */
static bool begin_tls_request(struct cell_kept *kept)
{
    if (kept->finished)
        return false;
    kept->owner->request_begins(kept->owner);
    return true;
}

bool cell_is_expected(struct MHD_Connection *connection, const struct cell_conn_owner **ret_owner)
{
    struct cell_kept *kept = cell_kept_of(connection);
    bool expected = kept == NULL || kept->expected;

    *ret_owner = kept != NULL ? kept->owner : NULL;
    if (kept != NULL && kept->tls != NULL)
        return begin_tls_request(kept);
    if (kept != NULL) {
        kept->expected = false;
        kept->begun_in = kept->cell->runs_n;
    }
    return expected;
}
