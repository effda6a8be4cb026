/* SPDX-License-Identifier: MIT */
/*
 * Connections with TLS: a cell reads their heads.  See gate.h.
 *
 * A handshake costs more than a millisecond, nearly all of it when the client's hello is read.  So
 * the hello waits here until it is complete, and a few handshakes begin in each turn of the loop.
 */
#include "config.h"
#include "conn/gate_internal.h"

#include <event2/event.h>
#include <stddef.h>
#include <sys/socket.h>

#include "conn/tls_credentials.h"

#define HANDSHAKES_A_TURN 2
/* A session, its connection and what computes the handshake: GMP ends the process, and GnuTLS may
 * crash, when one of their allocations fails. */
#define HANDSHAKE_BYTES 196608

static bool begin_handshakes(struct worker_job *job);

/* It is in each turn, whatever else is in it. */
static void on_handshake_timer(evutil_socket_t fd, short what, void *arg)
{
    struct gate *gate = arg;

    (void)fd;
    (void)what;
    worker_enqueue(gate->worker, &gate->handshake_job, PRIO_NEW);
}

void gate_init_tls(struct gate *gate)
{
    TAILQ_INIT(&gate->hellos);
    gate->handshake_job.run = begin_handshakes;
    evtimer_assign(&gate->handshake_timer, gate->context->base, on_handshake_timer, gate);
}

void gate_clear_tls(struct gate *gate)
{
    evtimer_del(&gate->handshake_timer);
    worker_dequeue(gate->worker, &gate->handshake_job);
}

static void begin_handshakes_next_turn(struct gate *gate)
{
    struct timeval now = {0};

    if (evtimer_pending(&gate->handshake_timer, NULL) || gate->handshake_job.queue != NULL)
        return;
    if (evtimer_add(&gate->handshake_timer, &now) != 0)
        worker_enqueue(gate->worker, &gate->handshake_job, PRIO_NEW);
}

/* ---- looking ---- */

static void refuse_hello(struct gate_conn *conn, enum tls_hello hello)
{
    stats_add(conn->gate->context->stats, STATS_TLS_HELLOS_REFUSED, 1);
    if (hello == TLS_HELLO_HTTP)
        gate_answer_refusal(conn, 400, "is plain HTTP, and this address speaks TLS: use https");
    else
        gate_drop(conn);
}

static bool look_at_hello(struct gate_conn *conn, bool may_grow)
{
    struct gate *gate = conn->gate;
    ssize_t n = gate_peek(conn);

    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    enum tls_hello hello = tls_hello_look(gate->peek, (size_t)n, gate->peek_bytes);
    if (hello == TLS_HELLO_MORE && may_grow)
        return true;
    if (hello != TLS_HELLO_WHOLE) {
        refuse_hello(conn, hello);
        return false;
    }
    gate_unwatch(conn);
    gate_move(conn, GATE_HELLO_QUEUED);
    begin_handshakes_next_turn(gate);
    return false;
}

static void resume_to(struct gate_conn *conn, enum gate_state state)
{
    gate_move(conn, state);
    cell_resume(&conn->owner);
}

/* A part of a next request, or the end of the session: only the library can tell. */
static bool look_at_next(struct gate_conn *conn, bool may_grow)
{
    char byte;
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    resume_to(conn, GATE_HEAD_IN_CELL);
    return false;
}

static bool tls_look(struct gate_conn *conn, bool may_grow)
{
    conn->unread = false;
    if (conn->state == GATE_WAIT_HEAD)
        return look_at_hello(conn, may_grow);
    if (conn->state == GATE_IDLE)
        return look_at_next(conn, may_grow);
    resume_to(conn, GATE_HANDSHAKE); /* it has waited for this */
    return false;
}

/* What GnuTLS has read already does not show on the socket. */
static void tls_on_suspended(struct gate_conn *conn)
{
    if (conn->state == GATE_IDLE && cell_has_pending(&conn->owner))
        resume_to(conn, GATE_HEAD_IN_CELL);
    else
        gate_await(conn, conn->unread || (conn->state == GATE_IDLE && conn->peer_ended));
}

/* ---- handshakes ---- */

static void begin_handshake(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;

    /* there is no way to tell the client within TLS without the memory for it */
    if (memory_budget_level(gate->context->memory) >= MEMORY_BUDGET_FULL ||
        !memory_budget_is_at_hand(HANDSHAKE_BYTES)) {
        stats_add(gate->context->stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
        gate_drop(conn);
        return;
    }
    stats_add(gate->context->stats, STATS_TLS_HANDSHAKES_BEGUN, 1);
    gate_move(conn, GATE_HANDSHAKE);
    gate_add_to_cell(conn, CELL_TLS);
}

static bool begin_handshakes(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, handshake_job));
    struct gate_conn *conn;

    for (int i = 0; i < HANDSHAKES_A_TURN && (conn = TAILQ_FIRST(&gate->hellos)) != NULL; i++)
        begin_handshake(conn);
    if (!TAILQ_EMPTY(&gate->hellos))
        begin_handshakes_next_turn(gate);
    return false;
}

/* One that was dropped may get so far before its cell closes it. */
void gate_on_handshake_done(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    if (conn->state == GATE_HANDSHAKE)
        gate_move(conn, GATE_HEAD_IN_CELL);
}

void gate_on_request_begins(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    if (conn->state == GATE_HEAD_IN_CELL)
        gate_move(conn, GATE_IN_REQUEST);
}

/* ---- deadlines ---- */

/* Until the handshake is done, or until the head is there: both from when the connection came, or
 * when the next request began. */
static int64_t tls_limit_ms(const struct gate_conn *conn)
{
    const struct conf *conf = conn->gate->context->conf;
    int64_t head_ms = (int64_t)conf->limits.header_timeout_ms;
    int64_t handshake_ms = (int64_t)conf->tls.handshake_timeout_ms;

    return conn->state == GATE_HEAD_IN_CELL || head_ms < handshake_ms ? head_ms : handshake_ms;
}

static void tls_time_out(struct gate_conn *conn)
{
    bool has_session = conn->state == GATE_HEAD_IN_CELL;

    stats_add(conn->gate->context->stats,
              has_session ? STATS_HEADS_TIMED_OUT : STATS_TLS_HANDSHAKES_TIMED_OUT, 1);
    gate_drop(conn);
}

const struct gate_ops gate_tls_ops = {.waiting_list = GATE_LIST_TLS,
                                      .limit_ms = tls_limit_ms,
                                      .time_out = tls_time_out,
                                      .look = tls_look,
                                      .on_suspended = tls_on_suspended};
