/* SPDX-License-Identifier: MIT */
/* Where connections wait for a head.  See gate.h. */
#include "config.h"
#include "conn/gate_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/origin.h"
#include "base/clock.h"
#include "base/log.h"
#include "conn/mhd_quirks.h"
#include "wire/http_head.h"
#include "wire/problem.h"
#include "wire/proxy_protocol.h"

/* Arrivals that are looked at in one go.  They and the first requests of those that are sound take
 * as long as a slice, 0.15 ms. */
#define ARRIVALS_A_JOB 8
/* Up to here a body has room in half of a small pool, behind an ordinary head, and so is read in
 * one piece.  Beyond the other one it is read faster through a large pool. */
#define SMALL_BODY_BYTES 1536
#define MEDIUM_BODY_BYTES 8192
#define RETRY_AFTER_MAX_S 5

/* A head that is still incomplete is gone through again when there may be news in it: the end of a
 * line, or so much more.  Else each byte of one that drips would cost as much as all before it. */
#define LOOK_AGAIN_BYTES 1024

static bool look_at_arrived(struct worker_job *job);

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
    gate->job.run = look_at_arrived;
    TAILQ_INIT(&gate->heads);
    TAILQ_INIT(&gate->resting);
    TAILQ_INIT(&gate->arrived);
    gate_init_tls(gate);
    return gate;
}

void gate_set_own_origins(struct gate *gate, const struct conf_list *own_origins)
{
    gate->own_origins = own_origins;
}

/* ---- where a conn is ---- */

static bool awaits_head(enum place place)
{
    return place == AT_DOOR || place == SHAKING || place == SPEAKING;
}

static struct gate_conns *list_of(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;

    if (conn->place == RESTING)
        return &gate->resting;
    if (!awaits_head(conn->place))
        return NULL;
    return conn->tls && conn->place != SPEAKING ? &gate->greeting : &gate->heads;
}

/* How many are where this one is. */
static size_t *count_of(struct gate_conn *conn)
{
    if (awaits_head(conn->place))
        return &conn->gate->heads_n;
    return conn->place == RESTING ? &conn->gate->resting_n : &conn->gate->inside_n;
}

/* The figures show who waits for a first head and who rests. */
static void show_place(struct gate_conn *conn, int n)
{
    struct stats *stats = conn->gate->context->stats;

    if (awaits_head(conn->place))
        stats_add(stats, STATS_CONNECTIONS_WAITING, n);
    if (conn->place == RESTING)
        stats_add(stats, STATS_CONNECTIONS_RESTING, n);
}

static void leave_place(struct gate_conn *conn)
{
    (*count_of(conn))--;
    show_place(conn, -1);
    if (conn->arrived)
        TAILQ_REMOVE(&conn->gate->arrived, conn, in_arrived);
    conn->arrived = false;
    if (conn->said_hello)
        TAILQ_REMOVE(&conn->gate->hellos, conn, in_arrived);
    conn->said_hello = false;
    struct gate_conns *list = list_of(conn);
    if (list != NULL)
        TAILQ_REMOVE(list, conn, link);
}

static void enter_place(struct gate_conn *conn, enum place place)
{
    const struct conf *conf = conn->gate->context->conf;

    conn->place = place;
    conn->looked_at = 0;
    (*count_of(conn))++;
    show_place(conn, 1);
    if (awaits_head(place)) {
        conn->since_ms = clock_mono_ms();
        conn->until_ms = conn->since_ms + (int64_t)conf->limits.header_timeout_ms;
    } else if (place == RESTING) {
        conn->since_ms = worker_now_ms(conn->gate->worker);
        conn->until_ms = conn->since_ms + (int64_t)conf->limits.keepalive_timeout_ms;
    }
    struct gate_conns *list = list_of(conn);
    if (list != NULL)
        TAILQ_INSERT_TAIL(list, conn, link);
}

void gate_move_to(struct gate_conn *conn, enum place place)
{
    leave_place(conn);
    enter_place(conn, place);
}

void gate_unwatch(struct gate_conn *conn)
{
    if (conn->watched)
        event_del(&conn->readable);
    conn->watched = false;
}

static void forget(struct gate_conn *conn)
{
    gate_unwatch(conn);
    leave_place(conn);
    memory_budget_add(conn->gate->context->memory, MEMORY_BUDGET_CONNECTIONS,
                      -(int64_t)sizeof(*conn));
    free(conn);
}

static const struct sockaddr *address_of(const struct gate_conn *conn)
{
    return (const struct sockaddr *)(const void *)&conn->address;
}

static void count_off(struct gate *gate, const struct sockaddr *address)
{
    struct peer peer;

    peer_from_sockaddr(address, &peer);
    client_quota_drop_connection(gate->client_quota, &peer);
    worker_load_add(gate->worker, -1);
    stats_add(gate->context->stats, STATS_CONNECTIONS_OPEN, -1);
}

/* Make the descriptor the gate's own, if it is not.  Returns whether there still is one. */
static bool fetch(struct gate_conn *conn)
{
    if (conn->place == AT_DOOR)
        return true;
    gate_unwatch(conn);
    conn->fd = cell_take_back(&conn->owner);
    return conn->fd >= 0;
}

void gate_drop(struct gate_conn *conn)
{
    if (conn->place == AT_DOOR) {
        int fd = conn->fd;

        count_off(conn->gate, address_of(conn));
        forget(conn);
        close(fd);
        return;
    }
    gate_move_to(conn, INSIDE);
    shutdown(conn->fd, SHUT_RDWR);
    cell_let_close(&conn->owner);
}

void gate_abort(struct gate *gate)
{
    gate->closing = true;
    while (!TAILQ_EMPTY(&gate->heads))
        gate_drop(TAILQ_FIRST(&gate->heads));
    while (!TAILQ_EMPTY(&gate->greeting))
        gate_drop(TAILQ_FIRST(&gate->greeting));
    while (!TAILQ_EMPTY(&gate->resting))
        gate_drop(TAILQ_FIRST(&gate->resting));
}

void gate_free(struct gate *gate)
{
    if (gate == NULL)
        return;
    gate_abort(gate);
    assert(gate->inside_n == 0);
    worker_dequeue(gate->worker, &gate->job);
    gate_clear_tls(gate);
    free(gate);
}

/* ---- a head ---- */

/* Send a whole answer and close, so that it can be read. */
static void say_last(struct gate_conn *conn, const char *answer, size_t n)
{
    struct gate *gate = conn->gate;
    bool fetched = fetch(conn);
    int fd = conn->fd;

    if (fetched)
        count_off(gate, address_of(conn));
    forget(conn); /* the loop does not watch one descriptor both by edge and by level */
    if (!fetched)
        return;
    if (send(fd, answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n)
        lingering_close_take(gate->lingering_close, fd);
    else
        close(fd);
}

ssize_t gate_peek(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;
    ssize_t n = recv(conn->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT);

    gate->peeked_n = n > 0 ? (size_t)n : 0;
    return n;
}

/* A page may read why it was refused. */
static void write_lines(const struct gate *gate, char to[ORIGIN_LINES_BYTES])
{
    static const struct conf_list none;
    const struct conf *conf = gate->context->conf;
    const struct conf_list *own = gate->own_origins != NULL ? gate->own_origins : &none;
    char room[ORIGIN_BYTES_MAX];
    const char *origin = origin_find(gate->peek, gate->peeked_n, room);

    if (origin_judge(origin, own, &conf->auth.origins) != ORIGIN_LISTED)
        origin = NULL;
    origin_write_lines(to, origin, conf->auth.cookie[0] != '\0');
}

void gate_refuse(struct gate_conn *conn, unsigned status, const char *why)
{
    struct stats *stats = conn->gate->context->stats;
    char detail[160], answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    snprintf(detail, sizeof(detail), "The request %s.", why);
    write_lines(conn->gate, lines);
    size_t n = problem_write_http(answer, status, "bad_request", detail, lines);
    stats_add(stats, STATS_RESPONSES_4XX, status < 500);
    stats_add(stats, STATS_RESPONSES_5XX, status >= 500);
    say_last(conn, answer, n);
}

static bool is_stream_path(const struct http_head *head)
{
    return head->method == HTTP_GET && head->path_n == 7 && memcmp(head->path, "/events", 7) == 0;
}

static size_t count_query_fields(const struct http_head *head)
{
    size_t count = 1;

    for (const char *at = head->path + head->path_n; *at != ' '; at++)
        count += *at == '&';
    return count;
}

static size_t needs_of(const struct http_head *head)
{
    size_t records = head->headers_n + count_query_fields(head) + head->cookies_n;

    return mhd_head_needs(head->head_bytes, head->cookie_bytes, records);
}

bool gate_has_room_for(const struct http_head *head)
{
    return needs_of(head) <= MHD_NEEDS_LARGE_BYTES;
}

/* A larger pool for a larger body is for speed only, and not while memory is short. */
static enum cell_kind kind_for_body(const struct http_head *head, enum memory_budget_level level)
{
    if (level >= MEMORY_BUDGET_NEAR)
        return CELL_API;
    if (head->chunked || head->content_length > MEDIUM_BODY_BYTES)
        return CELL_API_LARGE;
    return head->content_length > SMALL_BODY_BYTES ? CELL_API_MEDIUM : CELL_API;
}

static enum cell_kind kind_of(const struct http_head *head, enum memory_budget_level level)
{
    bool large = needs_of(head) > MHD_NEEDS_SMALL_BYTES;

    if (is_stream_path(head))
        return large ? CELL_STREAM_LARGE : CELL_STREAM;
    return large ? CELL_API_LARGE : kind_for_body(head, level);
}

static bool is_for_requests(enum cell_kind kind)
{
    return kind == CELL_API || kind == CELL_API_MEDIUM || kind == CELL_API_LARGE;
}

void gate_tell_lost(struct gate *gate, int error)
{
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&gate->valve, &skipped))
        log_warning("a connection was closed: %s%s", strerror(-error), log_skipped(more, skipped));
}

/* A stream takes all that is left of its connection, so nobody has to wait for its end. */
static void admit_stream(struct gate_conn *conn, enum cell_kind kind)
{
    struct gate *gate = conn->gate;
    struct sockaddr_storage address = conn->address;
    socklen_t address_n = conn->address_n;
    int fd = conn->fd;

    forget(conn); /* off this loop's epoll before the library's own gets it */
    int result = cells_add(gate->cells, kind, fd, (const struct sockaddr *)(void *)&address,
                           address_n, NULL);
    if (result != 0)
        gate_tell_lost(gate, result);
}

static void admit_guest(struct gate_conn *conn, enum cell_kind kind)
{
    struct gate *gate = conn->gate;

    gate_move_to(conn, INSIDE);
    int result =
        cells_add(gate->cells, kind, conn->fd, (const struct sockaddr *)(void *)&conn->address,
                  conn->address_n, &conn->owner);
    if (result != 0) /* and the conn is gone */
        gate_tell_lost(gate, result);
}

/* Whether the cell that has the connection will do for this request too. */
static bool may_stay(const struct gate_conn *conn, enum cell_kind kind)
{
    if (conn->place == AT_DOOR)
        return false;
    enum cell_kind now = cell_kind_of(&conn->owner);
    return now == kind || (is_for_requests(now) && is_for_requests(kind) && now > kind);
}

/* What is behind the request is not looked at: the library may have read it with the rest. */
static bool has_more(const struct http_head *head, size_t arrived_n, const char *text)
{
    size_t left_n = arrived_n - head->head_bytes;

    if (left_n <= head->content_length)
        return false;
    left_n -= head->content_length;
    /* a line end after a body is an old mistake of clients and no request: RFC 9112 section 2.2 */
    return left_n != 2 || memcmp(text + arrived_n - 2, "\r\n", 2) != 0;
}

static void admit(struct gate_conn *conn, const struct http_head *head, size_t arrived_n)
{
    enum cell_kind kind = kind_of(head, memory_budget_level(conn->gate->context->memory));
    struct cell_conn_owner *owner = &conn->owner;

    owner->head = *head;
    owner->head.path = NULL; /* it is in the gate's buffer, for now */
    owner->is_last = head->chunked || has_more(head, arrived_n, conn->gate->peek);
    if (may_stay(conn, kind)) {
        gate_move_to(conn, INSIDE);
        cell_resume(owner);
    } else if (!fetch(conn)) {
        forget(conn);
    } else if (kind == CELL_STREAM || kind == CELL_STREAM_LARGE) {
        admit_stream(conn, kind);
    } else {
        admit_guest(conn, kind);
    }
}

static struct http_head_limits limits_of(const struct gate *gate)
{
    const struct conf *conf = gate->context->conf;

    return (struct http_head_limits){.head_bytes_max = conf->limits.header_bytes,
                                     .target_bytes_max = conf->limits.url_bytes,
                                     .headers_max = conf->limits.header_count};
}

bool gate_see_nothing(struct gate_conn *conn, ssize_t n, bool may_grow)
{
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && may_grow)
        return true;
    if (conn->place == RESTING) {
        gate_move_to(conn, INSIDE);
        cell_let_close(&conn->owner);
    } else {
        gate_drop(conn);
    }
    return false;
}

static bool see_part(struct gate_conn *conn, size_t arrived_n, bool may_grow)
{
    if (!may_grow) {
        gate_drop(conn);
        return false;
    }
    if (conn->place == RESTING)
        gate_move_to(conn, SPEAKING);
    conn->looked_at = arrived_n;
    return true;
}

/* There is no memory for one more connection.  One for a stream goes on, since only a handler can
 * refuse it in a way that browsers of every origin understand, and it ends there. */
static void turn_away(struct gate_conn *conn)
{
    struct stats *stats = conn->gate->context->stats;
    char answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    write_lines(conn->gate, lines);
    size_t n = problem_write_busy(answer, "memory_short",
                                  "The gateway has no memory for this now; nothing was done.",
                                  lines, 1 + arc4random_uniform(RETRY_AFTER_MAX_S));

    stats_add(stats, STATS_RESPONSES_5XX, 1);
    stats_add(stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
    say_last(conn, answer, n);
}

static bool is_turned_away(const struct gate_conn *conn, const struct http_head *head)
{
    return conn->place == AT_DOOR && !is_stream_path(head) &&
           memory_budget_level(conn->gate->context->memory) >= MEMORY_BUDGET_FULL;
}

static void see_head(struct gate_conn *conn, const struct http_head *head, size_t arrived_n)
{
    if (!gate_has_room_for(head)) {
        stats_add(conn->gate->context->stats, STATS_HEADS_REFUSED, 1);
        gate_refuse(conn, 431, GATE_NO_ROOM_FOR_HEAD);
    } else if (is_turned_away(conn, head)) {
        turn_away(conn);
    } else {
        admit(conn, head, arrived_n);
    }
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

bool gate_look(struct gate_conn *conn, bool may_grow)
{
    struct gate *gate = conn->gate;
    struct http_head_limits limits = limits_of(gate);
    struct http_head head;

    if (conn->tls)
        return gate_look_at_tls(conn, may_grow);
    ssize_t n = gate_peek(conn);

    conn->stirred = false;
    if (n <= 0)
        return gate_see_nothing(conn, n, may_grow);
    if (may_grow && !has_news(conn, (size_t)n))
        return true;
    switch (http_head_check(gate->peek, (size_t)n, &limits, &head)) {
    case HTTP_HEAD_MORE:
        return see_part(conn, (size_t)n, may_grow);
    case HTTP_HEAD_BAD:
        stats_add(gate->context->stats, STATS_HEADS_REFUSED, 1);
        gate_refuse(conn, head.status, head.why);
        return false;
    case HTTP_HEAD_GOOD:
        see_head(conn, &head, (size_t)n);
        return false;
    }
    return false;
}

/* ---- what happens ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct gate_conn *conn = arg;

    (void)fd;
    conn->ended |= (what & EV_CLOSED) != 0;
    bool may_grow = !conn->ended;
    if (conn->place == SHAKING)
        gate_shake_on(conn);
    else if (conn->place == INSIDE)
        conn->stirred = true; /* a piece of a body, mostly */
    else if (!conn->proxied || gate_take_proxy_header(conn, may_grow))
        gate_look(conn, may_grow);
}

/* Most heads are there whole when the socket is, and many connections are used once: only the
 * others are worth an event. */
void gate_watch(struct gate_conn *conn)
{
    event_assign(&conn->readable, conn->gate->context->base, conn->fd,
                 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, conn);
    if (event_add(&conn->readable, NULL) == 0)
        conn->watched = true;
    else
        gate_drop(conn);
}

/* A new watch reports what is there already.  An old one has told of the peer's end only once, with
 * the bytes before it. */
static void on_rest(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    if (conn->place == SHAKING) {
        gate_on_waiting(conn);
        return;
    }
    gate_move_to(conn, RESTING);
    if (conn->gate->closing)
        gate_drop(conn);
    else if (conn->tls && cell_has_pending(owner))
        cell_resume(owner);
    else if (!conn->watched)
        gate_watch(conn);
    else if (conn->stirred || conn->ended)
        gate_look(conn, !conn->ended);
}

static void on_gone(struct cell_conn_owner *owner)
{
    struct gate_conn *conn = (struct gate_conn *)(void *)owner;

    stats_add(conn->gate->context->stats, STATS_TLS_HANDSHAKES_FAILED,
              conn->place == SHAKING && !conn->greeted);
    forget((struct gate_conn *)(void *)owner);
}

static struct gate_conn *enter(struct gate *gate, int fd, const struct sockaddr *address,
                               socklen_t address_n, bool tls)
{
    struct gate_conn *conn = gate->closing ? NULL : calloc(1, sizeof(*conn));

    if (conn == NULL) {
        count_off(gate, address);
        close(fd);
        return NULL;
    }
    conn->owner.idle = on_rest;
    conn->owner.gone = on_gone;
    conn->owner.handshake_done = gate_on_greeted;
    conn->owner.request_begins = gate_on_begun;
    conn->tls = tls;
    conn->gate = gate;
    conn->fd = fd;
    memcpy(&conn->address, address, address_n);
    conn->address_n = address_n;
    enter_place(conn, AT_DOOR);
    memory_budget_add(gate->context->memory, MEMORY_BUDGET_CONNECTIONS, (int64_t)sizeof(*conn));
    TAILQ_INSERT_TAIL(&gate->arrived, conn, in_arrived);
    conn->arrived = true;
    worker_enqueue(gate->worker, &gate->job, PRIO_NEW);
    return conn;
}

/* Many clients that come at once do not hold up what is live: they are let in a few at a time.  A
 * PROXY header is looked at in the next turn, like the rest of it that may be missing. */
static bool look_at_arrived(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, job));
    struct gate_conn *conn;

    for (int i = 0; i < ARRIVALS_A_JOB && (conn = TAILQ_FIRST(&gate->arrived)) != NULL; i++) {
        TAILQ_REMOVE(&gate->arrived, conn, in_arrived);
        conn->arrived = false;
        if (conn->proxied || gate_look(conn, true))
            gate_watch(conn);
    }
    return !TAILQ_EMPTY(&gate->arrived);
}

void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n)
{
    enter(gate, fd, address, address_n, false);
}

void gate_take_proxied(struct gate *gate, int fd, const struct sockaddr *address,
                       socklen_t address_n)
{
    struct gate_conn *conn = enter(gate, fd, address, address_n, false);

    if (conn != NULL)
        conn->proxied = true;
}

void gate_take_tls(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n,
                   bool proxied)
{
    struct gate_conn *conn = enter(gate, fd, address, address_n, true);

    if (conn != NULL)
        conn->proxied = proxied;
}

static void time_out(struct gate_conn *conn)
{
    struct gate *gate = conn->gate;
    bool said_something = gate_peek(conn) > 0;

    stats_add(gate->context->stats, STATS_HEADS_TIMED_OUT, 1);
    if (conn->proxied) {
        gate_refuse_proxy(conn, "its PROXY header did not arrive in time");
        return;
    }
    /* browsers open sockets that they may never use: those end without a word */
    if (said_something && !conn->tls)
        gate_refuse(conn, 408, "head did not arrive in time");
    else
        gate_drop(conn);
}

void gate_tick(struct gate *gate, int64_t now_ms)
{
    struct gate_conn *conn;

    while ((conn = TAILQ_FIRST(&gate->heads)) != NULL && conn->until_ms <= now_ms)
        time_out(conn);
    gate_tick_tls(gate, now_ms);
    while ((conn = TAILQ_FIRST(&gate->resting)) != NULL && conn->until_ms <= now_ms) {
        stats_add(gate->context->stats, STATS_KEEPALIVES_TIMED_OUT, 1);
        gate_drop(conn);
    }
}

size_t gate_count(const struct gate *gate)
{
    return gate->heads_n;
}

size_t gate_resting(const struct gate *gate)
{
    return gate->resting_n;
}
