/* SPDX-License-Identifier: MIT */
/* WebSockets: their hosts, their life, and what they are counted in.  See ws_conn.h; what is read
 * of them is in ws_read.c. */
#include "config.h"
#include "conn/ws_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "conn/ws_internal.h"
#include "wire/ws_frame.h"

/* Of one host.  More makes each look at a host's heartbeats longer, fewer makes more hosts. */
#define HOST_STREAMS_MAX 256
/* How much later than our own eviction the kernel's comes. */
#define BACKSTOP_SECONDS 10

/* ---- what a stream asks of its host ---- */

/* It is always suspended to its host, which has nothing of it to send. */
static void ws_suspend(void *connection)
{
    (void)connection;
}

/* All is sent, or it is cut: it is over, at the end of this turn. */
static void ws_resume(void *connection)
{
    struct ws_conn *conn = connection;

    ws_read_stop(conn);
    TAILQ_INSERT_TAIL(&conn->host->over, conn, link);
}

static void ws_extend_timeout(struct stream_host *host, void *connection)
{
    (void)host;
    (void)connection;
}

static void ws_close_soon(struct stream_host *host, void *connection)
{
    (void)host;
    (void)connection;
}

static const struct stream_host_ops ws_ops = {
    .suspend = ws_suspend,
    .resume = ws_resume,
    .extend_timeout = ws_extend_timeout,
    .close_soon = ws_close_soon,
    .readable = ws_read_on_edge,
    .said = ws_read_on_said,
};

/* ---- the end ---- */

/* What the library's connection was counted in, which inside TLS is there still. */
static void count_descriptor(struct ws_conns *conns, const struct peer *address, int n)
{
    worker_load_add(conns->worker, n);
    stats_add(conns->context->stats, STATS_CONNECTIONS_OPEN, n);
    memory_budget_add(conns->context->memory, MEMORY_BUDGET_CONNECTIONS,
                      n * (int64_t)WS_CONN_BYTES);
    if (n > 0)
        client_quota_add_connection(conns->client_quota, address, 0);
    else
        client_quota_drop_connection(conns->client_quota, address);
}

static void count(struct ws_conn *conn, int n)
{
    struct ws_conns *conns = conn->conns;

    if (conn->session == NULL)
        count_descriptor(conns, &conn->address, n);
    stats_add(conns->context->stats, STATS_WEBSOCKETS_OPEN, n);
    conns->count += (size_t)n;
}

/* A browser that has sent something we did not read would take a plain close for a lost connection,
 * so it is read to its end elsewhere. */
static void close_descriptor(struct ws_conn *conn, enum stream_end end)
{
    struct lingering_close_pool *pool = conn->conns->lingering_close;

    if (conn->session != NULL)
        return;
    if (stream_ends[end].cuts)
        close(conn->fd);
    else if (end == STREAM_END_CLOSED || end == STREAM_END_LEFT)
        lingering_close_take(pool, conn->fd); /* it has said its last word */
    else
        lingering_close_take_answered(pool, conn->fd);
}

static void ws_finish(struct ws_conn *conn)
{
    enum stream_end end = stream_get_end(conn->stream);

    TAILQ_REMOVE(&conn->host->over, conn, link);
    conn->ops->closed(conn);
    stream_closed(conn->stream);
    ws_read_end(conn);
    stream_ws_free(&conn->ws);
    close_descriptor(conn, end);
    count(conn, -1);
    free(conn);
}

static void finish_over(struct ws_host *host)
{
    struct ws_conn *conn;

    host->host.wants_run = false;
    while ((conn = TAILQ_FIRST(&host->over)) != NULL)
        ws_finish(conn);
}

/* ---- hosts ---- */

static struct ws_host *host_of_job(struct worker_job *job, enum worker_prio prio)
{
    return (struct ws_host *)((char *)job - offsetof(struct ws_host, jobs) -
                              (size_t)prio * sizeof(struct worker_job));
}

static void wake_host(struct stream_host *host, enum worker_prio prio)
{
    struct ws_host *ws_host = (struct ws_host *)((char *)host - offsetof(struct ws_host, host));

    worker_enqueue(ws_host->conns->worker, &ws_host->jobs[prio], prio);
}

static bool run_live(struct ws_host *host, enum worker_prio prio)
{
    bool more = stream_host_resume_piece(&host->host, prio);

    if (host->host.wants_run)
        finish_over(host);
    return more;
}

static bool run_targeted(struct worker_job *job)
{
    return run_live(host_of_job(job, PRIO_TARGETED), PRIO_TARGETED);
}

static bool run_broadcast(struct worker_job *job)
{
    return run_live(host_of_job(job, PRIO_BROADCAST), PRIO_BROADCAST);
}

static bool run_replay(struct worker_job *job)
{
    struct ws_host *host = host_of_job(job, PRIO_REPLAY);
    bool more = stream_host_resume(&host->host, PRIO_REPLAY, STREAM_HOST_REPLAYS);

    if (host->host.wants_run)
        finish_over(host);
    return more;
}

static void free_host(struct ws_host *host)
{
    for (size_t prio = 0; prio < PRIO_COUNT; prio++)
        worker_dequeue(host->conns->worker, &host->jobs[prio]);
    TAILQ_REMOVE(&host->conns->hosts, host, link);
    streams_remove_host(&host->host);
    free(host);
}

static struct ws_host *open_host(struct ws_conns *conns, const struct stream_wire *wire,
                                 bool is_tls)
{
    struct ws_host *host = calloc(1, sizeof(*host));
    uint64_t stall_ms = conns->context->conf->stream.stall_timeout_ms;

    if (host == NULL)
        return NULL;
    host->conns = conns;
    host->jobs[PRIO_TARGETED].run = run_targeted;
    host->jobs[PRIO_BROADCAST].run = run_broadcast;
    host->jobs[PRIO_REPLAY].run = run_replay;
    TAILQ_INIT(&host->over);
    host->host.wire = wire;
    host->host.wake = wake_host;
    host->host.ops = &ws_ops;
    host->host.timeout_s = (unsigned)((stall_ms + 999) / 1000) + BACKSTOP_SECONDS;
    host->host.sends_past = true;
    host->host.send = is_tls ? ws_tls_send : NULL;
    if (streams_add_host(conns->streams, &host->host) != 0) {
        free(host);
        return NULL;
    }
    TAILQ_INSERT_HEAD(&conns->hosts, host, link);
    return host;
}

static struct ws_host *find_host(struct ws_conns *conns, const struct stream_wire *wire,
                                 bool is_tls)
{
    struct ws_host *host;

    TAILQ_FOREACH (host, &conns->hosts, link)
        if (host->host.wire == wire && (host->host.send != NULL) == is_tls &&
            host->host.streams_n < HOST_STREAMS_MAX)
            return host;
    return open_host(conns, wire, is_tls);
}

/* ---- opening ---- */

static int copy_descriptor(const struct ws_conns *conns, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy >= 0 && copy < conns->fd_end)
        return copy;
    if (copy >= 0)
        close(copy);
    return -EMFILE;
}

static int open_stream(struct ws_conn *conn, const struct ws_conn_ask *ask)
{
    bool is_tls = ask->session != NULL;

    if (stream_wire_packs(ask->wire) && streams_get_deflater(conn->conns->streams) != 0)
        return -ENOMEM;
    conn->host = find_host(conn->conns, ask->wire, is_tls);
    if (conn->host == NULL)
        return -ENOMEM;
    conn->fd = is_tls ? ask->fd : copy_descriptor(conn->conns, ask->fd);
    if (conn->fd < 0)
        return conn->fd;
    int result = stream_open(&conn->host->host, conn, conn->fd, ask->stream, &conn->stream);
    if (result != 0 && !is_tls)
        close(conn->fd);
    return result;
}

int ws_conn_open(struct ws_conns *conns, const struct ws_conn_ask *ask, struct ws_conn **ret_conn)
{
    struct ws_conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        return -ENOMEM;
    conn->conns = conns;
    conn->ops = ask->ops;
    conn->arg = ask->arg;
    conn->address = ask->address;
    conn->session = ask->session;
    int result = open_stream(conn, ask);
    if (result != 0) {
        free(conn);
        return result;
    }
    ws_read_begin(conn);
    count(conn, 1);
    stats_add(conns->context->stats, STATS_WEBSOCKETS_OPENED, 1);
    *ret_conn = conn;
    return 0;
}

void ws_conn_begin(struct ws_conn *conn, const char *head, size_t head_n)
{
    stream_begin(conn->stream, head, head_n);
}

/* ---- for a conversation ---- */

void *ws_conn_arg(const struct ws_conn *conn)
{
    return conn->arg;
}

struct stream *ws_conn_stream(const struct ws_conn *conn)
{
    return conn->stream;
}

void ws_conn_send(struct ws_conn *conn, const char *text, size_t text_n)
{
    stream_ws_say(conn->stream, text, text_n);
}

void ws_conn_end(struct ws_conn *conn, unsigned code, const char *reason)
{
    conn->is_deaf = true;
    if (code == WS_CLOSE_INTERNAL)
        stream_end(conn->stream, STREAM_END_FAILED);
    else
        stream_ws_close(conn->stream, STREAM_END_REFUSED, code, reason);
}

/* ---- all of a worker ---- */

struct ws_conns *ws_conns_new(struct worker *worker, struct streams *streams,
                              struct lingering_close_pool *lingering_close,
                              struct client_quota *client_quota)
{
    struct ws_conns *conns = calloc(1, sizeof(*conns));

    if (conns == NULL)
        return NULL;
    conns->worker = worker;
    conns->context = worker_context(worker);
    conns->streams = streams;
    conns->lingering_close = lingering_close;
    conns->client_quota = client_quota;
    conns->fd_end = INT_MAX;
    TAILQ_INIT(&conns->hosts);
    if (ws_read_init(conns) != 0) {
        free(conns);
        return NULL;
    }
    return conns;
}

void ws_conns_free(struct ws_conns *conns)
{
    if (conns == NULL)
        return;
    while (!TAILQ_EMPTY(&conns->hosts))
        free_host(TAILQ_FIRST(&conns->hosts));
    ws_read_free(conns);
    free(conns);
}

void ws_conns_set_fd_end(struct ws_conns *conns, int end)
{
    conns->fd_end = end;
}

void ws_conns_tick(struct ws_conns *conns, int64_t now_ms)
{
    struct ws_host *host = TAILQ_FIRST(&conns->hosts);

    while (host != NULL) {
        struct ws_host *next = TAILQ_NEXT(host, link);

        if (host->host.streams_n == 0)
            free_host(host);
        host = next;
    }
    ws_read_tick(conns, now_ms);
}

size_t ws_conns_count(const struct ws_conns *conns)
{
    return conns->count;
}
