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

static bool refuse_hello(struct visitor *visitor, enum tls_hello hello)
{
    stats_add(visitor->gate->context->stats, STATS_TLS_HELLOS_REFUSED, 1);
    if (hello == TLS_HELLO_HTTP)
        gate_refuse(visitor, 400, "is plain HTTP, and this address speaks TLS: use https");
    else
        gate_drop(visitor);
    return false;
}

static bool take_hello(struct visitor *visitor)
{
    struct gate *gate = visitor->gate;

    gate_unwatch(visitor);
    TAILQ_INSERT_TAIL(&gate->hellos, visitor, in_arrived);
    visitor->said_hello = true;
    greet_next_turn(gate);
    return false;
}

static bool look_at_hello(struct visitor *visitor, bool may_grow)
{
    struct gate *gate = visitor->gate;
    ssize_t n = gate_peek(visitor);

    if (n <= 0)
        return gate_see_nothing(visitor, n, may_grow);
    enum tls_hello hello = tls_hello_look(gate->peek, (size_t)n, gate->peek_bytes);
    if (hello == TLS_HELLO_WHOLE)
        return take_hello(visitor);
    if (hello == TLS_HELLO_MORE && may_grow)
        return true;
    return refuse_hello(visitor, hello);
}

/* Something of a next request, or the end of the session: only the library can tell. */
static bool look_at_rest(struct visitor *visitor, bool may_grow)
{
    char byte;
    ssize_t n = recv(visitor->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    if (n <= 0)
        return gate_see_nothing(visitor, n, may_grow);
    gate_move_to(visitor, SPEAKING);
    cell_go_on(&visitor->guest);
    return false;
}

bool gate_look_at_tls(struct visitor *visitor, bool may_grow)
{
    visitor->stirred = false;
    if (visitor->place == AT_DOOR)
        return !visitor->said_hello && look_at_hello(visitor, may_grow);
    if (visitor->place == RESTING)
        return look_at_rest(visitor, may_grow);
    return false;
}

/* ---- handshakes ---- */

/* There is nobody to be told within TLS, and no memory for it. */
static void turn_away(struct visitor *visitor)
{
    stats_add(visitor->gate->context->stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
    gate_drop(visitor);
}

/* Its time goes on as it was, and so its place in the order does. */
static void greet(struct visitor *visitor)
{
    struct gate *gate = visitor->gate;

    stats_add(gate->context->stats, STATS_TLS_HANDSHAKES_BEGUN, 1);
    visitor->place = SHAKING;
    int result = cells_add(gate->cells, CELL_TLS, visitor->fd,
                           (const struct sockaddr *)(void *)&visitor->address, visitor->address_n,
                           &visitor->guest);
    if (result != 0) /* and the visitor is gone */
        gate_tell_lost(gate, result);
}

static bool greet_some(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, greet_job));
    struct visitor *visitor;

    for (int i = 0; i < HANDSHAKES_A_TURN && (visitor = TAILQ_FIRST(&gate->hellos)) != NULL; i++) {
        TAILQ_REMOVE(&gate->hellos, visitor, in_arrived);
        visitor->said_hello = false;
        if (memory_budget_level(gate->context->memory) >= MEMORY_BUDGET_FULL ||
            !memory_budget_is_at_hand(HANDSHAKE_BYTES))
            turn_away(visitor);
        else
            greet(visitor);
    }
    if (!TAILQ_EMPTY(&gate->hellos))
        greet_next_turn(gate);
    return false;
}

void gate_shake_on(struct visitor *visitor)
{
    visitor->stirred = !visitor->waits;
    if (!visitor->waits)
        return;
    visitor->waits = false;
    cell_go_on(&visitor->guest);
}

void gate_on_waiting(struct visitor *visitor)
{
    visitor->waits = true;
    if (visitor->gate->closing)
        gate_drop(visitor);
    else if (!visitor->watched)
        gate_watch(visitor);
    else if (visitor->stirred)
        gate_shake_on(visitor);
}

void gate_on_greeted(struct cell_guest *guest)
{
    struct visitor *visitor = (struct visitor *)(void *)guest;

    visitor->greeted = true;
}

void gate_on_begun(struct cell_guest *guest)
{
    gate_move_to((struct visitor *)(void *)guest, INSIDE);
}

/* ---- deadlines ---- */

/* How long it may take until a head is there, from the moment it came in, or until its handshake
 * is done. */
static int64_t greeting_ms(const struct visitor *visitor)
{
    const struct conf *conf = visitor->gate->context->conf;
    int64_t head_ms = (int64_t)conf->limits.header_timeout_ms;
    int64_t handshake_ms = (int64_t)conf->tls.handshake_timeout_ms;

    return visitor->greeted || head_ms < handshake_ms ? head_ms : handshake_ms;
}

static void time_out(struct visitor *visitor)
{
    stats_add(visitor->gate->context->stats,
              visitor->greeted ? STATS_HEADS_TIMED_OUT : STATS_TLS_HANDSHAKES_TIMED_OUT, 1);
    gate_drop(visitor);
}

/* Who has come first may still have time when another has not, since its handshake is done. */
void gate_tick_tls(struct gate *gate, int64_t now_ms)
{
    struct visitor *visitor = TAILQ_FIRST(&gate->greeting);

    while (visitor != NULL) {
        struct visitor *next = TAILQ_NEXT(visitor, link);

        if (visitor->since_ms + greeting_ms(visitor) <= now_ms)
            time_out(visitor);
        visitor = next;
    }
}
