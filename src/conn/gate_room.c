/* SPDX-License-Identifier: MIT */
/* Visitors that are closed when descriptors run short, the idlest first.  See gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include <stdint.h>
#include <sys/socket.h>

/* Those that nobody has looked at came last, and may have said all there is to say. */
static int64_t since_ms(const struct gate_conn *first)
{
    return first != NULL && !first->arrived ? first->since_ms : INT64_MAX;
}

/* The first of the list, if it is idle for longer. */
static struct gate_conn *longer(struct gate_conn *idle, struct gate_conn *first)
{
    return since_ms(first) < since_ms(idle) ? first : idle;
}

/* NULL: nobody. */
static struct gate_conn *idle_longest(const struct gate *gate)
{
    struct gate_conn *idle = longer(NULL, TAILQ_FIRST(&gate->resting));

    return longer(longer(idle, TAILQ_FIRST(&gate->heads)), TAILQ_FIRST(&gate->greeting));
}

int64_t gate_since_ms(const struct gate *gate)
{
    return since_ms(idle_longest(gate));
}

/* A request of one that rests may have come just now: then it is none to close. */
static bool is_silent(struct gate_conn *conn)
{
    char byte;

    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

void gate_crowd_out(struct gate *gate)
{
    struct gate_conn *conn = idle_longest(gate);

    if (conn->place == RESTING && !is_silent(conn)) {
        gate_look(conn, true);
        return;
    }
    stats_add(gate->context->stats, STATS_CONNECTIONS_CROWDED_OUT, 1);
    gate_drop(conn);
}
