/* SPDX-License-Identifier: MIT */
/* Where a new socket waits for its first head.  See gate.h. */
#include "config.h"
#include "gate.h"

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
/* Arrivals that are looked at in one go.  They and the first requests of those that are sound take
 * about half a millisecond. */
#define ARRIVALS_A_JOB 16
/* A body beyond this is read faster through a large pool. */
#define SMALL_BODY_BYTES 8192

struct waiting {
    struct gate *gate;
    struct event readable;
    int fd;
    int64_t until_ms;
    bool watched;
    bool arrived; /* in the list of those that nobody has looked at */
    struct sockaddr_storage address;
    socklen_t address_n;
    TAILQ_ENTRY(waiting) link;
    TAILQ_ENTRY(waiting) in_arrived;
};

struct gate {
    struct worker *worker;
    struct cells *cells;
    struct linger_pool *linger;
    size_t count;
    TAILQ_HEAD(, waiting) sockets; /* the oldest first */
    TAILQ_HEAD(, waiting) arrived; /* of them, those to look at for the first time */
    struct worker_job job;
    struct log_valve valve;
    size_t peek_bytes;
    char peek[];
};

static bool look_at_arrived(struct worker_job *job);

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
    gate->job.run = look_at_arrived;
    TAILQ_INIT(&gate->sockets);
    TAILQ_INIT(&gate->arrived);
    return gate;
}

/* The descriptor goes its own way from here. */
static void forget(struct waiting *socket)
{
    if (socket->watched)
        event_del(&socket->readable);
    if (socket->arrived)
        TAILQ_REMOVE(&socket->gate->arrived, socket, in_arrived);
    TAILQ_REMOVE(&socket->gate->sockets, socket, link);
    socket->gate->count--;
    free(socket);
}

static void count_off(struct gate *gate)
{
    worker_load_add(gate->worker, -1);
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_OPEN, -1);
}

static void drop(struct waiting *socket)
{
    int fd = socket->fd;

    count_off(socket->gate);
    forget(socket);
    close(fd);
}

void gate_abort(struct gate *gate)
{
    while (!TAILQ_EMPTY(&gate->sockets))
        drop(TAILQ_FIRST(&gate->sockets));
}

void gate_free(struct gate *gate)
{
    if (gate == NULL)
        return;
    gate_abort(gate);
    worker_dequeue(gate->worker, &gate->job);
    free(gate);
}

/* Answer and close; `why` is static text of ours, never the peer's. */
static void refuse(struct waiting *socket, unsigned status, const char *why)
{
    struct gate *gate = socket->gate;
    int fd = socket->fd;
    char detail[160], answer[PROBLEM_HTTP_BYTES];

    snprintf(detail, sizeof(detail), "The request %s.", why);
    size_t n = problem_write_http(answer, status, "bad_request", detail);
    stats_add(worker_stats(gate->worker), STATS_RESPONSES_4XX, status < 500);
    stats_add(worker_stats(gate->worker), STATS_RESPONSES_5XX, status >= 500);
    count_off(gate);
    forget(socket); /* the loop does not watch one descriptor both by edge and by level */
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

static void admit(struct waiting *socket, const struct http_head *head)
{
    struct gate *gate = socket->gate;
    struct sockaddr_storage address = socket->address;
    socklen_t address_n = socket->address_n;
    enum cell_kind kind = kind_of(head);
    int fd = socket->fd;
    unsigned long skipped;

    forget(socket); /* off this loop's epoll before the library's own gets it */
    int result =
        cells_add(gate->cells, kind, fd, (const struct sockaddr *)(void *)&address, address_n);
    if (result != 0 && log_valve_open(&gate->valve, &skipped))
        log_warning("a connection was closed: %s (%lu more like it)", strerror(-result), skipped);
}

static struct http_head_limits limits_of(const struct gate *gate)
{
    const struct conf *conf = worker_conf(gate->worker);

    return (struct http_head_limits){.head_bytes_max = conf->limits.header_bytes,
                                     .target_bytes_max = conf->limits.url_bytes,
                                     .headers_max = conf->limits.header_count};
}

/* Look at what has arrived.  Returns whether the socket goes on waiting; if not it is gone. */
static bool look(struct waiting *socket, bool may_grow)
{
    struct gate *gate = socket->gate;
    struct http_head_limits limits = limits_of(gate);
    struct http_head head;
    ssize_t n = recv(socket->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR) && may_grow)
        return true;
    if (n <= 0) {
        drop(socket);
        return false;
    }
    switch (http_head_check(gate->peek, (size_t)n, &limits, &head)) {
    case HTTP_HEAD_MORE:
        if (!may_grow)
            drop(socket);
        return may_grow;
    case HTTP_HEAD_BAD:
        stats_add(worker_stats(gate->worker), STATS_HEADS_REFUSED, 1);
        refuse(socket, head.status, head.why);
        return false;
    case HTTP_HEAD_GOOD:
        if (needs_of(&head) > LARGE_NEEDS_BYTES) {
            stats_add(worker_stats(gate->worker), STATS_HEADS_REFUSED, 1);
            refuse(socket, 431, "head has more fields and cookies than there is room for");
        } else {
            admit(socket, &head);
        }
        return false;
    }
    return false;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    look(arg, (what & EV_CLOSED) == 0);
}

/* Most heads are there whole when the socket is: only the others are worth an event. */
static void watch(struct waiting *socket)
{
    event_assign(&socket->readable, worker_base(socket->gate->worker), socket->fd,
                 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, socket);
    event_add(&socket->readable, NULL);
    socket->watched = true;
}

void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n)
{
    struct waiting *socket = calloc(1, sizeof(*socket));

    if (socket == NULL) {
        count_off(gate);
        close(fd);
        return;
    }
    socket->gate = gate;
    socket->fd = fd;
    socket->until_ms =
        clock_mono_ms() + (int64_t)worker_conf(gate->worker)->limits.header_timeout_ms;
    memcpy(&socket->address, address, address_n);
    socket->address_n = address_n;
    TAILQ_INSERT_TAIL(&gate->sockets, socket, link);
    gate->count++;
    TAILQ_INSERT_TAIL(&gate->arrived, socket, in_arrived);
    socket->arrived = true;
    worker_enqueue(gate->worker, &gate->job, WORKER_NEW);
}

/* Many clients that come at once do not hold up what is live: they are let in a few at a time. */
static bool look_at_arrived(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, job));
    struct waiting *socket;

    for (int i = 0; i < ARRIVALS_A_JOB && (socket = TAILQ_FIRST(&gate->arrived)) != NULL; i++) {
        TAILQ_REMOVE(&gate->arrived, socket, in_arrived);
        socket->arrived = false;
        if (look(socket, true))
            watch(socket);
    }
    return !TAILQ_EMPTY(&gate->arrived);
}

static void time_out(struct waiting *socket)
{
    struct gate *gate = socket->gate;
    bool said_something =
        recv(socket->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT) > 0;

    stats_add(worker_stats(gate->worker), STATS_HEADS_TIMED_OUT, 1);
    /* browsers open sockets that they may never use: those end without a word */
    if (said_something)
        refuse(socket, 408, "head did not arrive in time");
    else
        drop(socket);
}

void gate_tick(struct gate *gate, int64_t now_ms)
{
    struct waiting *socket;

    while ((socket = TAILQ_FIRST(&gate->sockets)) != NULL && socket->until_ms <= now_ms)
        time_out(socket);
}

size_t gate_count(const struct gate *gate)
{
    return gate->count;
}
