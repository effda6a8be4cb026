/* SPDX-License-Identifier: MIT */
/* Idle connections that are closed when descriptors run short, the longest idle first.  See gate.h.
 */
#include "config.h"
#include "conn/gate_internal.h"

#include <stdint.h>
#include <sys/socket.h>

/* Those that were not looked at came last, and may have sent all they have to send. */
static int64_t idle_since_ms(const struct gate_conn *conn)
{
    return conn != NULL && conn->state != GATE_NEW ? conn->since_ms : INT64_MAX;
}

/* NULL: there is none. */
static struct gate_conn *find_idlest(const struct gate *gate)
{
    struct gate_conn *idlest = NULL;

    for (size_t i = 0; i < GATE_LISTS; i++)
        if (idle_since_ms(TAILQ_FIRST(&gate->lists[i])) < idle_since_ms(idlest))
            idlest = TAILQ_FIRST(&gate->lists[i]);
    return idlest;
}

int64_t gate_idlest_since_ms(const struct gate *gate)
{
    return idle_since_ms(find_idlest(gate));
}

void gate_evict_idlest(struct gate *gate)
{
    struct gate_conn *conn = find_idlest(gate);
    char byte;

    /* A request may have come just now on a connection between two requests: it is served. */
    if (conn->state == GATE_IDLE && recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        conn->ops->look(conn, true);
        return;
    }
    stats_add(gate->context->stats, STATS_CONNECTIONS_CROWDED_OUT, 1);
    gate_drop(conn);
}
