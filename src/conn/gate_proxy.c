/* SPDX-License-Identifier: MIT */
/* Connections of a proxy that names its client in a PROXY header and then passes bytes on.  See
 * gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include "base/address.h"
#include "wire/proxy_protocol.h"

void gate_drop_proxied(struct gate_conn *conn, const char *why)
{
    struct gate *gate = conn->gate;
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    stats_add(gate->context->stats, STATS_PROXY_HEADERS_REFUSED, 1);
    if (log_valve_open(&gate->proxy_valve, &skipped))
        log_warning("a connection of a trusted proxy was closed: %s%s", why,
                    log_skipped(more, skipped));
    gate_drop(conn);
}

/* From here on the connection is the client's, and counts as such. */
static bool name_client(struct gate_conn *conn, const struct peer *client)
{
    struct gate *gate = conn->gate;
    char text[PEER_TEXT_BYTES];
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (client_quota_add_connection(gate->client_quota, client,
                                    gate->context->conf->limits.connections_per_address)) {
        conn->address_n = address_to_sockaddr(client, &conn->address);
        return true;
    }
    stats_add(gate->context->stats, STATS_CONNECTIONS_REFUSED_ADDRESS, 1);
    if (log_valve_open(&gate->proxy_valve, &skipped))
        log_warning("a connection from %s was closed: limits.connections_per_address%s",
                    peer_text(client, text), log_skipped(more, skipped));
    gate_drop(conn);
    return false;
}

bool gate_read_proxy_header(struct gate_conn *conn, bool may_grow)
{
    struct gate *gate = conn->gate;
    struct proxy_protocol header;
    ssize_t n = gate_peek(conn);

    if (n <= 0) {
        gate_see_nothing(conn, n, may_grow);
        return false;
    }
    switch (proxy_protocol_read(gate->peek, (size_t)n, &header)) {
    case PROXY_PROTOCOL_MORE:
        if (!may_grow)
            gate_drop(conn);
        return false;
    case PROXY_PROTOCOL_BAD:
        gate_drop_proxied(conn, "it does not begin with a PROXY header");
        return false;
    case PROXY_PROTOCOL_GOOD:
        break;
    }
    n = recv(conn->fd, gate->peek, header.header_bytes, MSG_DONTWAIT);
    if (n != (ssize_t)header.header_bytes) {
        gate_drop(conn);
        return false;
    }
    if (!header.is_local && !name_client(conn, &header.client))
        return false;
    gate_move(conn, GATE_WAIT_HEAD);
    return true;
}
