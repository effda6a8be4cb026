/* SPDX-License-Identifier: MIT */
/* Connections that wait for a head, and the states they go through.  See gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "wire/proxy_protocol.h"

/* New connections that are looked at in one go.  They and the first requests of the good ones take
 * as long as a slice, 0.15 ms. */
#define ARRIVALS_A_JOB 8

static bool gate_look_at_arrived(struct worker_job *job);

struct gate *gate_new(struct worker *worker, struct cells *cells,
                      struct lingering_close_pool *lingering_close,
                      struct client_quota *client_quota)
{
    const struct conf *conf = worker_context(worker)->conf;
    size_t peek_bytes = conf->limits.header_bytes + 4; /* an empty line may come before the head */
    if (peek_bytes < PROXY_PROTOCOL_BYTES_MAX)
        peek_bytes = PROXY_PROTOCOL_BYTES_MAX;
    struct gate *gate = calloc(1, sizeof(*gate) + peek_bytes);

    if (gate == NULL)
        return NULL;
    gate->worker = worker;
    gate->context = worker_context(worker);
    gate->cells = cells;
    gate->lingering_close = lingering_close;
    gate->client_quota = client_quota;
    gate->peek_bytes = peek_bytes;
    gate->job.run = gate_look_at_arrived;
    for (size_t i = 0; i < GATE_LISTS; i++)
        TAILQ_INIT(&gate->lists[i]);
    TAILQ_INIT(&gate->arrived);
    gate_init_tls(gate);
    return gate;
}

void gate_set_own_origins(struct gate *gate, const struct conf_list *own_origins)
{
    gate->own_origins = own_origins;
}

/* ---- states ---- */

enum group { WAITING, IDLE, BUSY };

#define TO(state) (1U << (state))

static const struct {
    enum group group; /* of the same group: list and beginning stay as they are */
    bool looks;       /* what arrives is for the gate to look at */
    unsigned next;    /* the states that may follow */
} states[GATE_STATES] = {
    [GATE_NEW] = {WAITING, false, TO(GATE_WAIT_PROXY) | TO(GATE_WAIT_HEAD)},
    [GATE_WAIT_PROXY] = {WAITING, false, TO(GATE_WAIT_HEAD)},
    [GATE_WAIT_HEAD] = {WAITING, true, TO(GATE_HELLO_QUEUED) | TO(GATE_IN_REQUEST)},
    [GATE_HELLO_QUEUED] = {WAITING, false, TO(GATE_HANDSHAKE)},
    [GATE_HANDSHAKE] = {WAITING, false,
                        TO(GATE_HANDSHAKE_WAIT) | TO(GATE_HEAD_IN_CELL) | TO(GATE_ENDING)},
    [GATE_HANDSHAKE_WAIT] = {WAITING, true, TO(GATE_HANDSHAKE) | TO(GATE_ENDING)},
    [GATE_HEAD_IN_CELL] = {WAITING, false, TO(GATE_IN_REQUEST) | TO(GATE_ENDING)},
    [GATE_IN_REQUEST] = {BUSY, false, TO(GATE_IDLE)},
    [GATE_IDLE] = {IDLE, true,
                   TO(GATE_READ_HEAD) | TO(GATE_HEAD_IN_CELL) | TO(GATE_IN_REQUEST) |
                       TO(GATE_ENDING)},
    [GATE_READ_HEAD] = {WAITING, true, TO(GATE_IN_REQUEST) | TO(GATE_ENDING)},
    [GATE_ENDING] = {BUSY, false, 0},
};

bool gate_is_in_cell(const struct gate_conn *conn)
{
    return conn->state >= GATE_HANDSHAKE;
}

static struct gate_conns *queue_of(struct gate_conn *conn)
{
    if (conn->state == GATE_NEW)
        return &conn->gate->arrived;
    return conn->state == GATE_HELLO_QUEUED ? &conn->gate->hellos : NULL;
}

/* Count a connection in or out of the group of its state.  The figures show how many wait
 * for a head and how many are idle.  Returns its list, NULL for none. */
static struct gate_conns *count_in_group(struct gate_conn *conn, int n)
{
    struct gate *gate = conn->gate;

    switch (states[conn->state].group) {
    case WAITING:
        gate->waiting_n += (size_t)n;
        stats_add(gate->context->stats, STATS_CONNECTIONS_WAITING, n);
        return &gate->lists[conn->ops->waiting_list];
    case IDLE:
        gate->idle_n += (size_t)n;
        stats_add(gate->context->stats, STATS_CONNECTIONS_RESTING, n);
        return &gate->lists[GATE_LIST_IDLE];
    case BUSY:
        gate->busy_n += (size_t)n;
        break;
    }
    return NULL;
}

static void leave_group(struct gate_conn *conn)
{
    struct gate_conns *list = count_in_group(conn, -1);

    if (list != NULL)
        TAILQ_REMOVE(list, conn, link);
}

static void enter_group(struct gate_conn *conn)
{
    bool is_idle = states[conn->state].group == IDLE;
    struct gate_conns *list = count_in_group(conn, 1);

    if (list == NULL)
        return;
    conn->since_ms = is_idle ? worker_now_ms(conn->gate->worker) : clock_mono_ms();
    TAILQ_INSERT_TAIL(list, conn, link);
}

static void set_deadline(struct gate_conn *conn)
{
    const struct conf *conf = conn->gate->context->conf;
    enum group group = states[conn->state].group;

    if (group == WAITING)
        conn->until_ms = conn->since_ms + conn->ops->limit_ms(conn);
    else if (group == IDLE)
        conn->until_ms = conn->since_ms + (int64_t)conf->limits.keepalive_timeout_ms;
}

static void leave_queue(struct gate_conn *conn)
{
    struct gate_conns *queue = queue_of(conn);

    if (queue != NULL)
        TAILQ_REMOVE(queue, conn, in_queue);
}

static void enter_queue(struct gate_conn *conn)
{
    struct gate_conns *queue = queue_of(conn);

    if (queue != NULL)
        TAILQ_INSERT_TAIL(queue, conn, in_queue);
}

void gate_move(struct gate_conn *conn, enum gate_state to)
{
    bool group_changes = states[conn->state].group != states[to].group;

    assert((states[conn->state].next & TO(to)) != 0);
    leave_queue(conn);
    if (group_changes)
        leave_group(conn);
    conn->state = to;
    conn->looked_at = 0;
    if (group_changes)
        enter_group(conn);
    enter_queue(conn);
    set_deadline(conn);
}

/* ---- the ways out ---- */

void gate_unwatch(struct gate_conn *conn)
{
    if (conn->watched)
        event_del(&conn->readable);
    conn->watched = false;
}

void gate_forget(struct gate_conn *conn)
{
    gate_unwatch(conn);
    leave_queue(conn);
    leave_group(conn);
    memory_budget_add(conn->gate->context->memory, MEMORY_BUDGET_CONNECTIONS,
                      -(int64_t)sizeof(*conn));
    free(conn);
}

const struct sockaddr *gate_address(const struct gate_conn *conn)
{
    return (const struct sockaddr *)(const void *)&conn->address;
}

void gate_count_off(struct gate *gate, const struct sockaddr *address)
{
    struct peer peer;

    peer_from_sockaddr(address, &peer);
    client_quota_drop_connection(gate->client_quota, &peer);
    worker_load_add(gate->worker, -1);
    stats_add(gate->context->stats, STATS_CONNECTIONS_OPEN, -1);
}

bool gate_take_back(struct gate_conn *conn)
{
    if (!gate_is_in_cell(conn))
        return true;
    gate_unwatch(conn);
    conn->fd = cell_take_back(&conn->owner);
    return conn->fd >= 0;
}

static void let_cell_close(struct gate_conn *conn)
{
    gate_move(conn, GATE_ENDING);
    cell_let_close(&conn->owner);
}

void gate_drop(struct gate_conn *conn)
{
    int fd = conn->fd;

    if (gate_is_in_cell(conn)) {
        shutdown(fd, SHUT_RDWR);
        let_cell_close(conn);
        return;
    }
    gate_count_off(conn->gate, gate_address(conn));
    gate_forget(conn);
    close(fd);
}

void gate_abort(struct gate *gate)
{
    gate->closing = true;
    for (size_t i = 0; i < GATE_LISTS; i++)
        while (!TAILQ_EMPTY(&gate->lists[i]))
            gate_drop(TAILQ_FIRST(&gate->lists[i]));
}

void gate_free(struct gate *gate)
{
    if (gate == NULL)
        return;
    gate_abort(gate);
    assert(gate->busy_n == 0);
    worker_dequeue(gate->worker, &gate->job);
    gate_clear_tls(gate);
    free(gate);
}

void gate_log_lost(struct gate *gate, int error)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&gate->valve, &skipped))
        log_warning("a connection was closed: %s%s", strerror(-error), log_skipped(more, skipped));
}

void gate_add_to_cell(struct gate_conn *conn, enum cell_kind kind)
{
    struct gate *gate = conn->gate;
    int result =
        cells_add(gate->cells, kind, conn->fd, gate_address(conn), conn->address_n, &conn->owner);

    if (result != 0) /* and the connection is gone */
        gate_log_lost(gate, result);
}

/* ---- events ---- */

ssize_t gate_peek(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;
    ssize_t n = recv(conn->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT);

    gate->peeked_n = n > 0 ? (size_t)n : 0;
    return n;
}

bool gate_see_nothing(struct gate_conn *conn, ssize_t n, bool may_grow)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && may_grow)
        return true;
    if (conn->state == GATE_IDLE)
        let_cell_close(conn);
    else
        gate_drop(conn);
    return false;
}

static void gate_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct gate_conn *conn = arg;

    (void)fd;
    conn->peer_ended |= (what & EV_CLOSED) != 0;
    if (conn->state == GATE_WAIT_PROXY && !gate_read_proxy_header(conn, !conn->peer_ended))
        return;
    if (states[conn->state].looks)
        conn->ops->look(conn, !conn->peer_ended);
    else
        conn->unread = true; /* a piece of a body, mostly */
}

/* Most heads are complete when the socket is accepted, and many connections are used once: only the
 * others are worth an event. */
void gate_watch(struct gate_conn *conn)
{
    event_assign(&conn->readable, conn->gate->context->base, conn->fd,
                 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, gate_on_readable, conn);
    if (event_add(&conn->readable, NULL) == 0)
        conn->watched = true;
    else
        gate_drop(conn);
}

/* A new watch reports what is there already.  An old one has reported the peer's end only once,
 * with the bytes before it. */
void gate_await(struct gate_conn *conn, bool has_news)
{
    if (!conn->watched)
        gate_watch(conn);
    else if (has_news)
        conn->ops->look(conn, !conn->peer_ended);
}

static void gate_on_idle(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    if (conn->state == GATE_ENDING) { /* dropped while its cell ran a step of the handshake */
        cell_let_close(owner);
        return;
    }
    gate_move(conn, conn->state == GATE_HANDSHAKE ? GATE_HANDSHAKE_WAIT : GATE_IDLE);
    if (conn->gate->closing)
        gate_drop(conn);
    else
        conn->ops->on_suspended(conn);
}

static void gate_on_gone(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    stats_add(conn->gate->context->stats, STATS_TLS_HANDSHAKES_FAILED,
              conn->state == GATE_HANDSHAKE || conn->state == GATE_HANDSHAKE_WAIT);
    gate_forget(conn);
}

void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n,
               struct listener_layers layers)
{
    struct gate_conn *conn = gate->closing ? NULL : calloc(1, sizeof(*conn));

    if (conn == NULL) {
        gate_count_off(gate, address);
        close(fd);
        return;
    }
    conn->owner.idle = gate_on_idle;
    conn->owner.gone = gate_on_gone;
    conn->owner.handshake_done = gate_on_handshake_done;
    conn->owner.request_begins = gate_on_request_begins;
    conn->ops = layers.tls ? &gate_tls_ops : &gate_plain_ops;
    conn->proxied = layers.proxied;
    conn->gate = gate;
    conn->fd = fd;
    memcpy(&conn->address, address, address_n);
    conn->address_n = address_n;
    conn->state = GATE_NEW;
    enter_group(conn);
    enter_queue(conn);
    set_deadline(conn);
    memory_budget_add(gate->context->memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)sizeof(*conn));
    worker_enqueue(gate->worker, &gate->job, PRIO_NEW);
}

/* Many clients that come at once do not hold up what is live: they are let in a few at a time.  A
 * PROXY header is looked at in the next turn, like the rest of it that may be missing. */
static bool gate_look_at_arrived(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, job));
    struct gate_conn *conn;

    for (int i = 0; i < ARRIVALS_A_JOB && (conn = TAILQ_FIRST(&gate->arrived)) != NULL; i++) {
        gate_move(conn, conn->proxied ? GATE_WAIT_PROXY : GATE_WAIT_HEAD);
        if (conn->proxied || conn->ops->look(conn, true))
            gate_watch(conn);
    }
    return !TAILQ_EMPTY(&gate->arrived);
}

/* ---- deadlines ---- */

static void time_out_conn(struct gate_conn *conn)
{
    if (conn->state != GATE_IDLE) {
        conn->ops->time_out(conn);
        return;
    }
    stats_add(conn->gate->context->stats, STATS_KEEPALIVES_TIMED_OUT, 1);
    gate_drop(conn);
}

/* With TLS a connection that came later may run out of time first, since one whose handshake is
 * done has longer. */
void gate_tick(struct gate *gate, int64_t now_ms)
{
    for (size_t i = 0; i < GATE_LISTS; i++) {
        struct gate_conn *conn = TAILQ_FIRST(&gate->lists[i]);

        while (conn != NULL && (conn->until_ms <= now_ms || i == GATE_LIST_TLS)) {
            struct gate_conn *next = TAILQ_NEXT(conn, link);

            if (conn->until_ms <= now_ms)
                time_out_conn(conn);
            conn = next;
        }
    }
}

size_t gate_waiting_count(const struct gate *gate)
{
    return gate->waiting_n;
}

size_t gate_idle_count(const struct gate *gate)
{
    return gate->idle_n;
}
