/* SPDX-License-Identifier: MIT */
/*
 * Visitors who speak TLS.  See gate.h.
 *
 * A handshake costs more than a millisecond, nearly all of it when the client's hello is read.  So
 * the hello waits here until it is whole, and a few handshakes begin in each turn of the loop.
 */
#include "config.h"
#include "conn/gate_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stddef.h>
#include <sys/socket.h>

#include "conn/tls_credentials.h"

#define HANDSHAKES_A_TURN 2
/* A session, its connection and what computes the handshake: GMP ends the process, and GnuTLS may
 * crash, when one of their allocations fails. */
#define HANDSHAKE_BYTES 196608

static bool greet_some(struct worker_job *job);

/* One of them is in each turn, whatever else is in it. */
static void on_greet_timer(evutil_socket_t fd, short what, void *arg)
{
    struct gate *gate = arg;

    (void)fd;
    (void)what;
    worker_enqueue(gate->worker, &gate->greet_job, PRIO_NEW);
}

void gate_init_tls(struct gate *gate)
{
    TAILQ_INIT(&gate->greeting);
    TAILQ_INIT(&gate->hellos);
    gate->greet_job.run = greet_some;
    evtimer_assign(&gate->greet_timer, gate->context->base, on_greet_timer, gate);
}

void gate_clear_tls(struct gate *gate)
{
    evtimer_del(&gate->greet_timer);
    worker_dequeue(gate->worker, &gate->greet_job);
}

static void greet_next_turn(struct gate *gate)
{
    struct timeval now = {0};

    if (evtimer_pending(&gate->greet_timer, NULL) || gate->greet_job.queue != NULL)
        return;
    if (evtimer_add(&gate->greet_timer, &now) != 0)
        worker_enqueue(gate->worker, &gate->greet_job, PRIO_NEW);
}

/* ---- the hello ---- */

static bool refuse_hello(struct gate_conn *conn, enum tls_hello hello)
{
    stats_add(conn->gate->context->stats, STATS_TLS_HELLOS_REFUSED, 1);
    if (hello == TLS_HELLO_HTTP)
        gate_refuse(conn, 400, "is plain HTTP, and this address speaks TLS: use https");
    else
        gate_drop(conn);
    return false;
}

static bool take_hello(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;

    gate_unwatch(conn);
    TAILQ_INSERT_TAIL(&gate->hellos, conn, in_arrived);
    conn->said_hello = true;
    greet_next_turn(gate);
    return false;
}

static bool look_at_hello(struct gate_conn *conn, bool may_grow)
{
    struct gate *gate = conn->gate;
    ssize_t n = gate_peek(conn);

    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    enum tls_hello hello = tls_hello_look(gate->peek, (size_t)n, gate->peek_bytes);
    if (hello == TLS_HELLO_WHOLE)
        return take_hello(conn);
    if (hello == TLS_HELLO_MORE && may_grow)
        return true;
    return refuse_hello(conn, hello);
}

/* Something of a next request, or the end of the session: only the library can tell. */
static bool look_at_rest(struct gate_conn *conn, bool may_grow)
{
    char byte;
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    gate_move_to(conn, SPEAKING);
    cell_resume(&conn->owner);
    return false;
}

bool gate_look_at_tls(struct gate_conn *conn, bool may_grow)
{
    conn->stirred = false;
    if (conn->place == AT_DOOR)
        return !conn->said_hello && look_at_hello(conn, may_grow);
    if (conn->place == RESTING)
        return look_at_rest(conn, may_grow);
    return false;
}

/* ---- handshakes ---- */

/* There is nobody to be told within TLS, and no memory for it. */
static void turn_away(struct gate_conn *conn)
{
    stats_add(conn->gate->context->stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
    gate_drop(conn);
}

/* Its time goes on as it was, and so its place in the order does. */
static void greet(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;

    stats_add(gate->context->stats, STATS_TLS_HANDSHAKES_BEGUN, 1);
    conn->place = SHAKING;
    int result =
        cells_add(gate->cells, CELL_TLS, conn->fd, (const struct sockaddr *)(void *)&conn->address,
                  conn->address_n, &conn->owner);
    if (result != 0) /* and the conn is gone */
        gate_tell_lost(gate, result);
}

static bool greet_some(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, greet_job));
    struct gate_conn *conn;

    for (int i = 0; i < HANDSHAKES_A_TURN && (conn = TAILQ_FIRST(&gate->hellos)) != NULL; i++) {
        TAILQ_REMOVE(&gate->hellos, conn, in_arrived);
        conn->said_hello = false;
        if (memory_budget_level(gate->context->memory) >= MEMORY_BUDGET_FULL ||
            !memory_budget_is_at_hand(HANDSHAKE_BYTES))
            turn_away(conn);
        else
            greet(conn);
    }
    if (!TAILQ_EMPTY(&gate->hellos))
        greet_next_turn(gate);
    return false;
}

void gate_shake_on(struct gate_conn *conn)
{
    conn->stirred = !conn->waits;
    if (!conn->waits)
        return;
    conn->waits = false;
    cell_resume(&conn->owner);
}

void gate_on_waiting(struct gate_conn *conn)
{
    conn->waits = true;
    if (conn->gate->closing)
        gate_drop(conn);
    else if (!conn->watched)
        gate_watch(conn);
    else if (conn->stirred)
        gate_shake_on(conn);
}

void gate_on_greeted(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    conn->greeted = true;
}

void gate_on_begun(struct cell_conn_owner *owner)
{
    gate_move_to((struct gate_conn *)(void *)owner, INSIDE);
}

/* ---- deadlines ---- */

/* How long it may take until a head is there, from the moment it came in, or until its handshake
 * is done. */
static int64_t greeting_ms(const struct gate_conn *conn)
{
    const struct conf *conf = conn->gate->context->conf;
    int64_t head_ms = (int64_t)conf->limits.header_timeout_ms;
    int64_t handshake_ms = (int64_t)conf->tls.handshake_timeout_ms;

    return conn->greeted || head_ms < handshake_ms ? head_ms : handshake_ms;
}

static void time_out(struct gate_conn *conn)
{
    stats_add(conn->gate->context->stats,
              conn->greeted ? STATS_HEADS_TIMED_OUT : STATS_TLS_HANDSHAKES_TIMED_OUT, 1);
    gate_drop(conn);
}

/* Who has come first may still have time when another has not, since its handshake is done. */
void gate_tick_tls(struct gate *gate, int64_t now_ms)
{
    struct gate_conn *conn = TAILQ_FIRST(&gate->greeting);

    while (conn != NULL) {
        struct gate_conn *next = TAILQ_NEXT(conn, link);

        if (conn->since_ms + greeting_ms(conn) <= now_ms)
            time_out(conn);
        conn = next;
    }
}
