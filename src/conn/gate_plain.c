/* SPDX-License-Identifier: MIT */
/* Connections without TLS: the gate sees each head before a cell reads it.  See gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include <string.h>
#include <sys/socket.h>

#include "conn/gate_route.h"

/* An incomplete head is gone through again when there may be news in it: the end of a line, or this
 * many more bytes.  Otherwise each byte of a head that drips would cost as much as all before it.
 */
#define LOOK_AGAIN_BYTES 1024

/* ---- a complete head ---- */

/* A stream has its connection to the end, so the gate need not know when that is. */
static void admit_stream(struct gate_conn *conn, enum cell_kind kind)
{
    struct gate *gate = conn->gate;
    struct sockaddr_storage address = conn->address;
    socklen_t address_n = conn->address_n;
    int fd = conn->fd;

    gate_forget(conn); /* off this loop's epoll before the library's own gets it */
    int result = cells_add(gate->cells, kind, fd, (const struct sockaddr *)(void *)&address,
                           address_n, NULL);
    if (result != 0)
        gate_log_lost(gate, result);
}

static void admit(struct gate_conn *conn, const struct http_head *head, enum cell_kind kind,
                  enum memory_budget_level level, size_t arrived_n)
{
    struct cell_conn_owner *owner = &conn->owner;

    owner->head = *head;
    owner->head.path = NULL; /* it is in the gate's buffer, for now */
    owner->is_last = gate_route_is_last(head, conn->gate->peek, arrived_n);
    if (gate_is_in_cell(conn) && gate_route_fits(cell_kind_of(owner), kind, level)) {
        gate_move(conn, GATE_IN_REQUEST);
        cell_resume(owner);
    } else if (!gate_take_back(conn)) {
        gate_forget(conn);
    } else if (gate_route_is_stream(kind)) {
        admit_stream(conn, kind);
    } else {
        gate_move(conn, GATE_IN_REQUEST);
        gate_add_to_cell(conn, kind);
    }
}

/* A new connection is refused when memory is full.  One for a stream goes on, since only a handler
 * can refuse it in a way that browsers of every origin understand, and it ends there. */
static void see_head(struct gate_conn *conn, const struct http_head *head, size_t arrived_n)
{
    enum memory_budget_level level = memory_budget_level(conn->gate->context->memory);
    enum cell_kind kind = gate_route(head, level);

    if (!gate_route_has_room(head)) {
        stats_add(conn->gate->context->stats, STATS_HEADS_REFUSED, 1);
        gate_answer_refusal(conn, 431, GATE_ROUTE_NO_ROOM);
    } else if (!gate_is_in_cell(conn) && !gate_route_is_stream(kind) &&
               level >= MEMORY_BUDGET_FULL) {
        gate_answer_busy(conn);
    } else {
        admit(conn, head, kind, level, arrived_n);
    }
}

/* ---- looking ---- */

static bool see_part(struct gate_conn *conn, size_t arrived_n, bool may_grow)
{
    if (!may_grow) {
        gate_drop(conn);
        return false;
    }
    if (conn->state == GATE_IDLE)
        gate_move(conn, GATE_READ_HEAD);
    conn->looked_at = arrived_n;
    return true;
}

/* Whether the head can have become complete, or wrong, since it was gone through. */
static bool has_news(const struct gate_conn *conn, size_t arrived_n)
{
    const struct gate *gate = conn->gate;
    size_t from = conn->looked_at;

    if (from == 0 || arrived_n == gate->peek_bytes || arrived_n - from >= LOOK_AGAIN_BYTES)
        return true;
    return memchr(gate->peek + from, '\n', arrived_n - from) != NULL;
}

static bool plain_look(struct gate_conn *conn, bool may_grow)
{
    struct gate *gate = conn->gate;
    const struct conf *conf = gate->context->conf;
    struct http_head_limits limits = {.head_bytes_max = conf->limits.header_bytes,
                                      .target_bytes_max = conf->limits.url_bytes,
                                      .headers_max = conf->limits.header_count};
    struct http_head head;
    ssize_t n = gate_peek(conn);

    conn->unread = false;
    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    if (may_grow && !has_news(conn, (size_t)n))
        return true;
    switch (http_head_check(gate->peek, (size_t)n, &limits, &head)) {
    case HTTP_HEAD_MORE:
        return see_part(conn, (size_t)n, may_grow);
    case HTTP_HEAD_BAD:
        stats_add(gate->context->stats, STATS_HEADS_REFUSED, 1);
        gate_answer_refusal(conn, head.status, head.why);
        return false;
    case HTTP_HEAD_GOOD:
        see_head(conn, &head, (size_t)n);
        return false;
    }
    return false;
}

static void plain_on_suspended(struct gate_conn *conn)
{
    gate_await(conn, conn->unread || conn->peer_ended);
}

/* ---- deadlines ---- */

static int64_t plain_limit_ms(const struct gate_conn *conn)
{
    return (int64_t)conn->gate->context->conf->limits.header_timeout_ms;
}

/* Browsers open sockets that they may never use: those are closed without an answer. */
static void plain_time_out(struct gate_conn *conn)
{
    bool has_proxy_header = conn->state > GATE_WAIT_PROXY || !conn->proxied;

    stats_add(conn->gate->context->stats, STATS_HEADS_TIMED_OUT, 1);
    if (!has_proxy_header)
        gate_drop_proxied(conn, "its PROXY header did not arrive in time");
    else if (gate_peek(conn) > 0)
        gate_answer_refusal(conn, 408, "head did not arrive in time");
    else
        gate_drop(conn);
}

const struct gate_ops gate_plain_ops = {.waiting_list = GATE_LIST_PLAIN,
                                        .limit_ms = plain_limit_ms,
                                        .time_out = plain_time_out,
                                        .look = plain_look,
                                        .on_suspended = plain_on_suspended};
