/* SPDX-License-Identifier: MIT */
/* Where connections wait for a head.  See gate.h. */
#include "config.h"
#include "gate.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "http_head.h"
#include "log.h"
#include "problem.h"

/* What the library makes of a head in the connection's pool: the head itself, Cookie values once
 * more, and a record for each header, query field and cookie (doc/design: memory of a stream).
 * Up to here a small pool still has room for chunks; beyond the other even a large one has none,
 * and the library would let the client wait for an answer that never comes. */
#define RECORD_BYTES 64
#define SMALL_NEEDS_BYTES 2200
#define LARGE_NEEDS_BYTES (32768 - 1024)
/* A body beyond this is read faster through a large pool. */
#define SMALL_BODY_BYTES 8192

/* A head that is still incomplete is gone through again when there may be news in it: the end of a
 * line, or so much more.  Else each byte of one that drips would cost as much as all before it. */
#define LOOK_AGAIN_BYTES 1024

enum place {
    AT_DOOR, /* the first head is awaited; the descriptor is the gate's */
    INSIDE,  /* a cell has the connection and works on a request */
    RESTING, /* a cell has it, and nothing of a next request is there */
    SPEAKING /* a cell has it, and the next head is under way */
};

struct visitor {
    struct cell_guest guest;
    struct gate *gate;
    struct event readable;
    int fd;
    enum place place;
    bool watched;
    bool stirred;     /* something came while a cell worked */
    size_t looked_at; /* bytes of an incomplete head that were gone through */
    int64_t until_ms;
    struct sockaddr_storage address;
    socklen_t address_n;
    TAILQ_ENTRY(visitor) link; /* AT_DOOR and SPEAKING: in `heads`; RESTING: in `resting` */
};

TAILQ_HEAD(visitors, visitor);

struct gate {
    struct worker *worker;
    struct cells *cells;
    struct linger_pool *linger;
    size_t heads_n;
    size_t resting_n;
    size_t inside_n;
    struct visitors heads; /* the oldest first */
    struct visitors resting;
    bool closing;
    struct log_valve valve;
    size_t peek_bytes;
    char peek[];
};

struct gate *gate_new(struct worker *worker, struct cells *cells, struct linger_pool *linger)
{
    const struct conf *conf = worker_conf(worker);
    size_t peek_bytes = conf->limits.header_bytes + 4; /* an empty line may come before the head */
    struct gate *gate = calloc(1, sizeof(*gate) + peek_bytes);

    if (gate == NULL)
        return NULL;
    gate->worker = worker;
    gate->cells = cells;
    gate->linger = linger;
    gate->peek_bytes = peek_bytes;
    TAILQ_INIT(&gate->heads);
    TAILQ_INIT(&gate->resting);
    return gate;
}

/* ---- where a visitor is ---- */

static bool awaits_head(enum place place)
{
    return place == AT_DOOR || place == SPEAKING;
}

/* How many are where this one is. */
static size_t *count_of(struct visitor *visitor)
{
    if (awaits_head(visitor->place))
        return &visitor->gate->heads_n;
    return visitor->place == RESTING ? &visitor->gate->resting_n : &visitor->gate->inside_n;
}

static void leave_place(struct visitor *visitor)
{
    (*count_of(visitor))--;
    if (awaits_head(visitor->place))
        TAILQ_REMOVE(&visitor->gate->heads, visitor, link);
    else if (visitor->place == RESTING)
        TAILQ_REMOVE(&visitor->gate->resting, visitor, link);
}

static void enter_place(struct visitor *visitor, enum place place)
{
    const struct conf *conf = worker_conf(visitor->gate->worker);

    visitor->place = place;
    visitor->looked_at = 0;
    (*count_of(visitor))++;
    if (awaits_head(place)) {
        visitor->until_ms = clock_mono_ms() + (int64_t)conf->limits.header_timeout_ms;
        TAILQ_INSERT_TAIL(&visitor->gate->heads, visitor, link);
    } else if (place == RESTING) {
        visitor->until_ms =
            worker_now_ms(visitor->gate->worker) + (int64_t)conf->limits.keepalive_timeout_ms;
        TAILQ_INSERT_TAIL(&visitor->gate->resting, visitor, link);
    }
}

static void move_to(struct visitor *visitor, enum place place)
{
    leave_place(visitor);
    enter_place(visitor, place);
}

static void unwatch(struct visitor *visitor)
{
    if (visitor->watched)
        event_del(&visitor->readable);
    visitor->watched = false;
}

static void forget(struct visitor *visitor)
{
    unwatch(visitor);
    leave_place(visitor);
    free(visitor);
}

static void count_off(struct gate *gate)
{
    worker_load_add(gate->worker, -1);
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_OPEN, -1);
}

/* Make the descriptor the gate's own, if it is not.  Returns whether there still is one. */
static bool fetch(struct visitor *visitor)
{
    if (visitor->place == AT_DOOR)
        return true;
    unwatch(visitor);
    visitor->fd = cell_take_back(&visitor->guest);
    return visitor->fd >= 0;
}

/* Close without a word. */
static void drop(struct visitor *visitor)
{
    if (fetch(visitor)) {
        count_off(visitor->gate);
        close(visitor->fd);
    }
    forget(visitor);
}

void gate_abort(struct gate *gate)
{
    gate->closing = true;
    while (!TAILQ_EMPTY(&gate->heads))
        drop(TAILQ_FIRST(&gate->heads));
    while (!TAILQ_EMPTY(&gate->resting))
        drop(TAILQ_FIRST(&gate->resting));
}

void gate_free(struct gate *gate)
{
    if (gate == NULL)
        return;
    gate_abort(gate);
    assert(gate->inside_n == 0);
    free(gate);
}

/* ---- a head ---- */

/* Answer and close; `why` is static text of ours, never the peer's. */
static void refuse(struct visitor *visitor, unsigned status, const char *why)
{
    struct gate *gate = visitor->gate;
    char detail[160], answer[PROBLEM_HTTP_BYTES];

    snprintf(detail, sizeof(detail), "The request %s.", why);
    size_t n = problem_write_http(answer, status, "bad_request", detail);
    stats_add(worker_stats(gate->worker), STATS_RESPONSES_4XX, status < 500);
    stats_add(worker_stats(gate->worker), STATS_RESPONSES_5XX, status >= 500);
    bool fetched = fetch(visitor);
    int fd = visitor->fd;
    forget(visitor); /* the loop does not watch one descriptor both by edge and by level */
    if (!fetched)
        return;
    count_off(gate);
    if (send(fd, answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n)
        linger_take(gate->linger, fd);
    else
        close(fd);
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

    return head->head_bytes + head->cookie_bytes + records * RECORD_BYTES;
}

static enum cell_kind kind_of(const struct http_head *head)
{
    bool large = needs_of(head) > SMALL_NEEDS_BYTES;

    if (is_stream_path(head))
        return large ? CELL_STREAM_LARGE : CELL_STREAM;
    if (head->chunked || head->content_length > SMALL_BODY_BYTES)
        large = true;
    return large ? CELL_API_LARGE : CELL_API;
}

static void tell_lost(struct gate *gate, int error)
{
    unsigned long skipped;

    if (log_valve_open(&gate->valve, &skipped))
        log_warning("a connection was closed: %s (%lu more like it)", strerror(-error), skipped);
}

/* A stream takes all that is left of its connection, so nobody has to wait for its end. */
static void admit_stream(struct visitor *visitor, enum cell_kind kind)
{
    struct gate *gate = visitor->gate;
    struct sockaddr_storage address = visitor->address;
    socklen_t address_n = visitor->address_n;
    int fd = visitor->fd;

    forget(visitor); /* off this loop's epoll before the library's own gets it */
    int result = cells_add(gate->cells, kind, fd, (const struct sockaddr *)(void *)&address,
                           address_n, NULL);
    if (result != 0)
        tell_lost(gate, result);
}

static void admit_guest(struct visitor *visitor, enum cell_kind kind)
{
    struct gate *gate = visitor->gate;

    move_to(visitor, INSIDE);
    int result = cells_add(gate->cells, kind, visitor->fd,
                           (const struct sockaddr *)(void *)&visitor->address, visitor->address_n,
                           &visitor->guest);
    if (result != 0) /* and the visitor is gone */
        tell_lost(gate, result);
}

/* Whether the cell that has the connection will do for this request too. */
static bool may_stay(const struct visitor *visitor, enum cell_kind kind)
{
    if (visitor->place == AT_DOOR)
        return false;
    enum cell_kind now = cell_kind_of(&visitor->guest);
    return now == kind || (now == CELL_API_LARGE && kind == CELL_API);
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

static void admit(struct visitor *visitor, const struct http_head *head, size_t arrived_n)
{
    enum cell_kind kind = kind_of(head);
    struct cell_guest *guest = &visitor->guest;

    guest->head = *head;
    guest->head.path = NULL; /* it is in the gate's buffer, for now */
    guest->is_last = head->chunked || has_more(head, arrived_n, visitor->gate->peek);
    if (may_stay(visitor, kind)) {
        move_to(visitor, INSIDE);
        cell_go_on(guest);
    } else if (!fetch(visitor)) {
        forget(visitor);
    } else if (kind == CELL_STREAM || kind == CELL_STREAM_LARGE) {
        admit_stream(visitor, kind);
    } else {
        admit_guest(visitor, kind);
    }
}

static struct http_head_limits limits_of(const struct gate *gate)
{
    const struct conf *conf = worker_conf(gate->worker);

    return (struct http_head_limits){.head_bytes_max = conf->limits.header_bytes,
                                     .target_bytes_max = conf->limits.url_bytes,
                                     .headers_max = conf->limits.header_count};
}

/* Nothing is there.  Returns whether the visitor goes on waiting. */
static bool see_nothing(struct visitor *visitor, bool has_ended)
{
    if (!has_ended)
        return true;
    if (visitor->place == RESTING) {
        move_to(visitor, INSIDE);
        cell_let_end(&visitor->guest);
    } else {
        drop(visitor);
    }
    return false;
}

static bool see_part(struct visitor *visitor, size_t arrived_n, bool may_grow)
{
    if (!may_grow) {
        drop(visitor);
        return false;
    }
    if (visitor->place == RESTING)
        move_to(visitor, SPEAKING);
    visitor->looked_at = arrived_n;
    return true;
}

static void see_head(struct visitor *visitor, const struct http_head *head, size_t arrived_n)
{
    if (needs_of(head) <= LARGE_NEEDS_BYTES) {
        admit(visitor, head, arrived_n);
        return;
    }
    stats_add(worker_stats(visitor->gate->worker), STATS_HEADS_REFUSED, 1);
    refuse(visitor, 431, "head has more fields and cookies than there is room for");
}

/* Whether the head can have become complete, or wrong, since it was gone through. */
static bool has_news(const struct visitor *visitor, size_t arrived_n)
{
    const struct gate *gate = visitor->gate;
    size_t from = visitor->looked_at;

    if (from == 0 || arrived_n == gate->peek_bytes || arrived_n - from >= LOOK_AGAIN_BYTES)
        return true;
    return memchr(gate->peek + from, '\n', arrived_n - from) != NULL;
}

/* Look at what has arrived.  Returns whether the visitor goes on waiting; if not it is inside or
 * gone. */
static bool look(struct visitor *visitor, bool may_grow)
{
    struct gate *gate = visitor->gate;
    struct http_head_limits limits = limits_of(gate);
    struct http_head head;
    ssize_t n = recv(visitor->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT);

    visitor->stirred = false;
    if (n <= 0)
        return see_nothing(visitor, n == 0 || (errno != EAGAIN && errno != EINTR) || !may_grow);
    if (may_grow && !has_news(visitor, (size_t)n))
        return true;
    switch (http_head_check(gate->peek, (size_t)n, &limits, &head)) {
    case HTTP_HEAD_MORE:
        return see_part(visitor, (size_t)n, may_grow);
    case HTTP_HEAD_BAD:
        stats_add(worker_stats(gate->worker), STATS_HEADS_REFUSED, 1);
        refuse(visitor, head.status, head.why);
        return false;
    case HTTP_HEAD_GOOD:
        see_head(visitor, &head, (size_t)n);
        return false;
    }
    return false;
}

/* ---- what happens ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct visitor *visitor = arg;

    (void)fd;
    if (visitor->place == INSIDE)
        visitor->stirred = true; /* a piece of a body, mostly */
    else
        look(visitor, (what & EV_CLOSED) == 0);
}

/* Most heads are there whole when the socket is, and many connections are used once: only the
 * others are worth an event. */
static void watch(struct visitor *visitor)
{
    event_assign(&visitor->readable, worker_base(visitor->gate->worker), visitor->fd,
                 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, visitor);
    event_add(&visitor->readable, NULL);
    visitor->watched = true;
}

/* A new watch reports what is there already. */
static void on_rest(struct cell_guest *guest)
{
    struct visitor *visitor = (struct visitor *)(void *)guest;

    move_to(visitor, RESTING);
    if (visitor->gate->closing)
        drop(visitor);
    else if (!visitor->watched)
        watch(visitor);
    else if (visitor->stirred)
        look(visitor, true);
}

static void on_gone(struct cell_guest *guest)
{
    forget((struct visitor *)(void *)guest);
}

void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n)
{
    struct visitor *visitor = gate->closing ? NULL : calloc(1, sizeof(*visitor));

    if (visitor == NULL) {
        count_off(gate);
        close(fd);
        return;
    }
    visitor->guest.rests = on_rest;
    visitor->guest.gone = on_gone;
    visitor->gate = gate;
    visitor->fd = fd;
    memcpy(&visitor->address, address, address_n);
    visitor->address_n = address_n;
    enter_place(visitor, AT_DOOR);
    if (look(visitor, true))
        watch(visitor);
}

static void time_out(struct visitor *visitor)
{
    struct gate *gate = visitor->gate;
    bool said_something =
        recv(visitor->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT) > 0;

    stats_add(worker_stats(gate->worker), STATS_HEADS_TIMED_OUT, 1);
    /* browsers open sockets that they may never use: those end without a word */
    if (said_something)
        refuse(visitor, 408, "head did not arrive in time");
    else
        drop(visitor);
}

void gate_tick(struct gate *gate, int64_t now_ms)
{
    struct visitor *visitor;

    while ((visitor = TAILQ_FIRST(&gate->heads)) != NULL && visitor->until_ms <= now_ms)
        time_out(visitor);
    while ((visitor = TAILQ_FIRST(&gate->resting)) != NULL && visitor->until_ms <= now_ms) {
        stats_add(worker_stats(gate->worker), STATS_KEEPALIVES_TIMED_OUT, 1);
        drop(visitor);
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
