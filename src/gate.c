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

#include "address.h"
#include "clock.h"
#include "http_head.h"
#include "log.h"
#include "problem.h"
#include "proxy_protocol.h"

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
#define RETRY_AFTER_MAX_S 5

struct waiting {
    struct gate *gate;
    struct event readable;
    int fd;
    int64_t since_ms;
    int64_t until_ms;
    bool watched;
    bool arrived; /* in the list of those that nobody has looked at */
    bool proxied; /* a PROXY header is to come first */
    struct sockaddr_storage address;
    socklen_t address_n;
    TAILQ_ENTRY(waiting) link;
    TAILQ_ENTRY(waiting) in_arrived;
};

struct gate {
    struct worker *worker;
    struct cells *cells;
    struct linger_pool *linger;
    struct admission *admission;
    size_t count;
    TAILQ_HEAD(, waiting) sockets; /* the oldest first */
    TAILQ_HEAD(, waiting) arrived; /* of them, those to look at for the first time */
    struct worker_job job;
    struct log_valve valve;
    struct log_valve proxy_valve;
    size_t peek_bytes;
    char peek[];
};

static bool look_at_arrived(struct worker_job *job);

struct gate *gate_new(struct worker *worker, struct cells *cells, struct linger_pool *linger,
                      struct admission *admission)
{
    const struct conf *conf = worker_conf(worker);
    size_t peek_bytes = conf->limits.header_bytes + 4; /* an empty line may come before the head */
    if (peek_bytes < PROXY_PROTOCOL_BYTES_MAX)
        peek_bytes = PROXY_PROTOCOL_BYTES_MAX;
    struct gate *gate = calloc(1, sizeof(*gate) + peek_bytes);

    if (gate == NULL)
        return NULL;
    gate->worker = worker;
    gate->cells = cells;
    gate->linger = linger;
    gate->admission = admission;
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
    memory_add(worker_memory(socket->gate->worker), MEMORY_CONNECTIONS, -(int64_t)sizeof(*socket));
    stats_add(worker_stats(socket->gate->worker), STATS_CONNECTIONS_WAITING, -1);
    free(socket);
}

static void count_off(struct gate *gate, const struct sockaddr *address)
{
    struct peer peer;

    peer_from_sockaddr(address, &peer);
    admission_drop_connection(gate->admission, &peer);
    worker_load_add(gate->worker, -1);
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_OPEN, -1);
}

static const struct sockaddr *address_of(const struct waiting *socket)
{
    return (const struct sockaddr *)(const void *)&socket->address;
}

static void drop(struct waiting *socket)
{
    int fd = socket->fd;

    count_off(socket->gate, address_of(socket));
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

/* Send a whole answer and close, so that it can be read. */
static void say_last(struct waiting *socket, const char *answer, size_t n)
{
    struct gate *gate = socket->gate;
    int fd = socket->fd;

    count_off(gate, address_of(socket));
    forget(socket); /* the loop does not watch one descriptor both by edge and by level */
    if (send(fd, answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n)
        linger_take(gate->linger, fd);
    else
        close(fd);
}

/* `why` is static text of ours, never the peer's. */
static void refuse(struct waiting *socket, unsigned status, const char *why)
{
    struct stats *stats = worker_stats(socket->gate->worker);
    char detail[160], answer[PROBLEM_HTTP_BYTES];

    snprintf(detail, sizeof(detail), "The request %s.", why);
    size_t n = problem_write_http(answer, status, "bad_request", detail);
    stats_add(stats, STATS_RESPONSES_4XX, status < 500);
    stats_add(stats, STATS_RESPONSES_5XX, status >= 500);
    say_last(socket, answer, n);
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

/* A large pool for a large body is for speed only, and not while memory is short. */
static enum cell_kind kind_of(const struct http_head *head, enum memory_level level)
{
    bool large = needs_of(head) > SMALL_NEEDS_BYTES;

    if (is_stream_path(head))
        return large ? CELL_STREAM_LARGE : CELL_STREAM;
    if (level < MEMORY_NEAR && (head->chunked || head->content_length > SMALL_BODY_BYTES))
        large = true;
    return large ? CELL_API_LARGE : CELL_API;
}

static void admit(struct waiting *socket, const struct http_head *head)
{
    struct gate *gate = socket->gate;
    struct sockaddr_storage address = socket->address;
    socklen_t address_n = socket->address_n;
    enum cell_kind kind = kind_of(head, memory_level(worker_memory(gate->worker)));
    int fd = socket->fd;
    unsigned long skipped;

    forget(socket); /* off this loop's epoll before the library's own gets it */
    int result =
        cells_add(gate->cells, kind, fd, (const struct sockaddr *)(void *)&address, address_n);
    if (result != 0 && log_valve_open(&gate->valve, &skipped))
        log_warning("a connection was closed: %s (%lu more like it)", strerror(-result), skipped);
}

/* There is no memory for one more connection.  One for a stream goes on, since only a handler can
 * refuse it in a way that browsers of every origin understand, and it ends there. */
static void turn_away(struct waiting *socket)
{
    struct stats *stats = worker_stats(socket->gate->worker);
    char answer[PROBLEM_HTTP_BYTES];
    size_t n = problem_write_busy(answer, "memory_short",
                                  "The gateway has no memory for this now; nothing was done.",
                                  1 + arc4random_uniform(RETRY_AFTER_MAX_S));

    stats_add(stats, STATS_RESPONSES_5XX, 1);
    stats_add(stats, STATS_CONNECTIONS_REFUSED_MEMORY, 1);
    say_last(socket, answer, n);
}

static bool is_turned_away(const struct gate *gate, const struct http_head *head)
{
    return !is_stream_path(head) && memory_level(worker_memory(gate->worker)) >= MEMORY_FULL;
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
        } else if (is_turned_away(gate, &head)) {
            turn_away(socket);
        } else {
            admit(socket, &head);
        }
        return false;
    }
    return false;
}

/* ---- behind a proxy that passes bytes on ---- */

static void refuse_proxy(struct waiting *socket, const char *why)
{
    struct gate *gate = socket->gate;
    unsigned long skipped;

    stats_add(worker_stats(gate->worker), STATS_PROXY_HEADERS_REFUSED, 1);
    if (log_valve_open(&gate->proxy_valve, &skipped))
        log_warning("a connection of a trusted proxy was closed: %s (%lu more like it)", why,
                    skipped);
    drop(socket);
}

/* From here on the connection is the client's, and counts as such. */
static bool name_client(struct waiting *socket, const struct peer *client)
{
    struct gate *gate = socket->gate;
    char text[PEER_TEXT_BYTES];
    unsigned long skipped;

    if (admission_add_connection(gate->admission, client,
                                 worker_conf(gate->worker)->limits.connections_per_address)) {
        socket->address_n = address_to_sockaddr(client, &socket->address);
        return true;
    }
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_REFUSED_ADDRESS, 1);
    if (log_valve_open(&gate->proxy_valve, &skipped))
        log_warning("a connection from %s was closed: limits.connections_per_address (%lu more "
                    "like it)",
                    peer_text(client, text), skipped);
    drop(socket);
    return false;
}

/* Read the PROXY header off the socket.  Returns whether it is gone and the socket still there. */
static bool take_proxy_header(struct waiting *socket, bool may_grow)
{
    struct gate *gate = socket->gate;
    struct proxy_protocol header;
    ssize_t n = recv(socket->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR) && may_grow)
        return false;
    if (n <= 0) {
        drop(socket);
        return false;
    }
    switch (proxy_protocol_read(gate->peek, (size_t)n, &header)) {
    case PROXY_PROTOCOL_MORE:
        if (!may_grow)
            drop(socket);
        return false;
    case PROXY_PROTOCOL_BAD:
        refuse_proxy(socket, "it does not begin with a PROXY header");
        return false;
    case PROXY_PROTOCOL_GOOD:
        break;
    }
    n = recv(socket->fd, gate->peek, header.header_bytes, MSG_DONTWAIT);
    if (n != (ssize_t)header.header_bytes) {
        drop(socket);
        return false;
    }
    socket->proxied = false;
    return header.is_local || name_client(socket, &header.client);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct waiting *socket = arg;
    bool may_grow = (what & EV_CLOSED) == 0;

    (void)fd;
    if (!socket->proxied || take_proxy_header(socket, may_grow))
        look(socket, may_grow);
}

/* Most heads are there whole when the socket is: only the others are worth an event. */
static void watch(struct waiting *socket)
{
    event_assign(&socket->readable, worker_base(socket->gate->worker), socket->fd,
                 EV_READ | EV_CLOSED | EV_ET | EV_PERSIST, on_readable, socket);
    if (event_add(&socket->readable, NULL) == 0)
        socket->watched = true;
    else
        drop(socket);
}

static struct waiting *enter(struct gate *gate, int fd, const struct sockaddr *address,
                             socklen_t address_n)
{
    struct waiting *socket = calloc(1, sizeof(*socket));

    if (socket == NULL) {
        count_off(gate, address);
        close(fd);
        return NULL;
    }
    socket->gate = gate;
    socket->fd = fd;
    socket->since_ms = clock_mono_ms();
    socket->until_ms =
        socket->since_ms + (int64_t)worker_conf(gate->worker)->limits.header_timeout_ms;
    memcpy(&socket->address, address, address_n);
    socket->address_n = address_n;
    TAILQ_INSERT_TAIL(&gate->sockets, socket, link);
    gate->count++;
    memory_add(worker_memory(gate->worker), MEMORY_CONNECTIONS, (int64_t)sizeof(*socket));
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_WAITING, 1);
    TAILQ_INSERT_TAIL(&gate->arrived, socket, in_arrived);
    socket->arrived = true;
    worker_enqueue(gate->worker, &gate->job, WORKER_NEW);
    return socket;
}

/* Many clients that come at once do not hold up what is live: they are let in a few at a time.  A
 * PROXY header is looked at in the next turn, like the rest of it that may be missing. */
static bool look_at_arrived(struct worker_job *job)
{
    struct gate *gate = (struct gate *)((char *)job - offsetof(struct gate, job));
    struct waiting *socket;

    for (int i = 0; i < ARRIVALS_A_JOB && (socket = TAILQ_FIRST(&gate->arrived)) != NULL; i++) {
        TAILQ_REMOVE(&gate->arrived, socket, in_arrived);
        socket->arrived = false;
        if (socket->proxied || look(socket, true))
            watch(socket);
    }
    return !TAILQ_EMPTY(&gate->arrived);
}

void gate_take(struct gate *gate, int fd, const struct sockaddr *address, socklen_t address_n)
{
    enter(gate, fd, address, address_n);
}

void gate_take_proxied(struct gate *gate, int fd, const struct sockaddr *address,
                       socklen_t address_n)
{
    struct waiting *socket = enter(gate, fd, address, address_n);

    if (socket != NULL)
        socket->proxied = true;
}

static void time_out(struct waiting *socket)
{
    struct gate *gate = socket->gate;
    bool said_something =
        recv(socket->fd, gate->peek, gate->peek_bytes, MSG_PEEK | MSG_DONTWAIT) > 0;

    stats_add(worker_stats(gate->worker), STATS_HEADS_TIMED_OUT, 1);
    if (socket->proxied) {
        refuse_proxy(socket, "its PROXY header did not arrive in time");
        return;
    }
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

int64_t gate_since_ms(const struct gate *gate)
{
    const struct waiting *first = TAILQ_FIRST(&gate->sockets);

    /* those that nobody has looked at came last, and may have said all there is to say */
    return first != NULL && !first->arrived ? first->since_ms : INT64_MAX;
}

void gate_crowd_out(struct gate *gate)
{
    stats_add(worker_stats(gate->worker), STATS_CONNECTIONS_CROWDED_OUT, 1);
    drop(TAILQ_FIRST(&gate->sockets));
}

size_t gate_count(const struct gate *gate)
{
    return gate->count;
}
