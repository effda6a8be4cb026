/* SPDX-License-Identifier: MIT */
/* Small HTTP daemons.  See cell.h. */
#include "config.h"
#include "conn/cell_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn/stream_mhd.h"

/* Fewer passes lose wake-ups, more let one fast client starve the others. */
#define PASSES_MAX 4
/* Memory of a connection beside its pool: the library's struct and response, and ours. */
#define CONNECTION_STREAM_BYTES 2560
#define CONNECTION_API_BYTES 1536
/* And the GnuTLS session, with a record that waits to be sent: doc/design, "TLS". */
#define CONNECTION_TLS_BYTES 28672
/* How much later than our own eviction the library's timeout strikes. */
#define BACKSTOP_SECONDS 10

static bool is_for_streams(enum cell_kind kind)
{
    return kind == CELL_STREAM || kind == CELL_STREAM_LARGE;
}

unsigned cell_room(enum cell_kind kind)
{
    return is_for_streams(kind) || kind == CELL_TLS ? CELL_STREAMS_MAX : CELL_REQUESTS_MAX;
}

static bool is_large(enum cell_kind kind)
{
    return kind == CELL_STREAM_LARGE || kind == CELL_API_LARGE || kind == CELL_TLS;
}

char *cell_pool(const struct cell *cell, const char *method, size_t *ret_n)
{
    *ret_n = 0;
    if (!is_large(cell->kind) || !cell->cells->quirks.knows_pools)
        return NULL;
    if (cell->kind == CELL_TLS && !mhd_pool_begins_with(method))
        return (char *)(uintptr_t)method;
    *ret_n = MHD_POOL_LARGE_BYTES;
    return mhd_pool_of(method);
}

/* ---- running ---- */

static void arm_timer(struct cell *cell)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    if (MHD_get_timeout(cell->daemon, &timeout_ms) != MHD_YES)
        return;
    if (timeout_ms == 0) {
        event_active(cell->timer, EV_TIMEOUT, 0); /* in the next turn, after the others */
        return;
    }
    struct timeval wait = {.tv_sec = (time_t)(timeout_ms / 1000),
                           .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    if (evtimer_add(cell->timer, &wait) != 0)
        event_active(cell->timer, EV_TIMEOUT, 0); /* the loop has no memory for it */
}

/* Returns whether the daemon has more to do at once. */
static bool run_passes(struct cell *cell, int passes)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    bool more = true;

    assert(!cell->running);
    cell->running = true;
    cell->host.wants_run = false;
    for (int pass = 0; more && pass < passes; pass++) {
        cell->runs_n++;
        MHD_run(cell->daemon);
        cell_pause_after_run(cell);
        more = MHD_get_timeout(cell->daemon, &timeout_ms) == MHD_YES && timeout_ms == 0;
    }
    cell->running = false;
    return more;
}

static void run_daemon(struct cell *cell)
{
    run_passes(cell, PASSES_MAX);
    arm_timer(cell);
}

static struct cell *cell_of_job(struct worker_job *job, enum worker_prio prio)
{
    return (struct cell *)((char *)job - offsetof(struct cell, jobs) -
                           (size_t)prio * sizeof(struct worker_job));
}

static void resume_answered(struct cell *cell)
{
    struct cell_waiter *waiter;

    while ((waiter = STAILQ_FIRST(&cell->answered)) != NULL) {
        STAILQ_REMOVE_HEAD(&cell->answered, link);
        cell->cells->suspended_n--;
        waiter->state = CELL_RUNNING;
        mhd_resume(waiter->connection);
    }
}

static bool run_answers(struct worker_job *job)
{
    struct cell *cell = cell_of_job(job, PRIO_ANSWER);

    resume_answered(cell);
    run_daemon(cell);
    return false;
}

static void wake_cell(struct stream_host *host, enum worker_prio prio)
{
    struct cell *cell = (struct cell *)((char *)host - offsetof(struct cell, host));

    worker_enqueue(cell->cells->worker, &cell->jobs[prio], prio);
}

static bool run_streams(struct cell *cell, enum worker_prio prio)
{
    bool more = stream_host_resume_piece(&cell->host, prio);

    if (cell->host.wants_run) /* streams that have sent by themselves need no run */
        run_daemon(cell);
    return more;
}

static bool run_targeted(struct worker_job *job)
{
    return run_streams(cell_of_job(job, PRIO_TARGETED), PRIO_TARGETED);
}

static bool run_broadcast(struct worker_job *job)
{
    return run_streams(cell_of_job(job, PRIO_BROADCAST), PRIO_BROADCAST);
}

/* A pass at a time, so that what catches up with the past holds up nothing else for long. */
static bool run_replay(struct worker_job *job)
{
    struct cell *cell = cell_of_job(job, PRIO_REPLAY);
    bool more = stream_host_resume(&cell->host, PRIO_REPLAY, STREAM_HOST_REPLAYS);

    if (cell->host.wants_run && run_passes(cell, 1)) {
        cell->host.wants_run = true;
        return true;
    }
    arm_timer(cell);
    return more;
}

/* Connections that were just added: the library reads their heads in this. */
static bool run_new(struct worker_job *job)
{
    run_daemon(cell_of_job(job, PRIO_NEW));
    return false;
}

/* Sockets of the daemon can be read or written.  In a cell where streams catch up with the past
 * that is nearly always so, and mostly theirs. */
static void cell_on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct cell *cell = arg;

    (void)fd;
    (void)what;
    if (cell->host.behind_n > 0) {
        cell->host.wants_run = true;
        wake_cell(&cell->host, PRIO_REPLAY);
        return;
    }
    worker_look_at_clock(cell->cells->worker);
    run_daemon(cell);
}

/* ---- what the library calls ---- */

static enum MHD_Result cell_on_request(void *cls, struct MHD_Connection *connection,
                                       const char *url, const char *method, const char *version,
                                       const char *upload, size_t *upload_n, void **context)
{
    struct cell *cell = cls;
    struct cell_conn *conn = cell_conn_of(connection);

    if (conn == NULL)
        return MHD_NO; /* it ends the connection */
    int result = cell->cells->handler.request(cell, connection, url, method, version, upload,
                                              upload_n, context);
    conn->context = *context;
    return (enum MHD_Result)result;
}

/* Whether the connection is kept shows only when the run is over: if not it is closed by then. */
static void cell_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                              enum MHD_RequestTerminationCode code)
{
    struct cell *cell = cls;
    struct cell_conn *conn = cell_conn_of(connection);

    if (conn == NULL)
        return;
    cell->cells->handler.completed(cell, context, true);
    conn->context = NULL;
    struct cell_kept *kept = cell_kept_of(connection);
    if (kept == NULL || kept->pauses || code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        return;
    cell_idle_after_run(kept);
}

static struct cell_list *cell_list_of(struct cell *cell)
{
    bool is_full = cell->connections_n >= cell_room(cell->kind);

    return is_full ? &cell->cells->full[cell->kind] : &cell->cells->open[cell->kind];
}

static size_t pool_bytes_of(enum cell_kind kind)
{
    if (is_large(kind))
        return MHD_POOL_LARGE_BYTES;
    return is_for_streams(kind) ? MHD_POOL_STREAM_BYTES : MHD_POOL_API_BYTES;
}

static size_t connection_bytes(enum cell_kind kind)
{
    if (kind == CELL_TLS)
        return pool_bytes_of(kind) + CONNECTION_STREAM_BYTES + CONNECTION_TLS_BYTES;
    return pool_bytes_of(kind) +
           (is_for_streams(kind) ? CONNECTION_STREAM_BYTES : CONNECTION_API_BYTES);
}

static void count_connection(struct cell *cell, int n)
{
    TAILQ_REMOVE(cell_list_of(cell), cell, link);
    cell->connections_n += (unsigned)n;
    cell->cells->connections_n += (size_t)n;
    memory_budget_add(cell->cells->context->memory, MEMORY_BUDGET_CONNECTIONS,
                      n * (int64_t)connection_bytes(cell->kind));
    TAILQ_INSERT_HEAD(cell_list_of(cell), cell, link);
}

/* A descriptor this worker had is closed. */
static void count_closed(struct cells *cells, const struct sockaddr *address)
{
    worker_load_add(cells->worker, -1);
    stats_add(cells->context->stats, STATS_CONNECTIONS_OPEN, -1);
    cells->handler.closed(cells->handler.arg, address);
}

/* The library reported the connection at another time than when it was added, so its owner is not
 * known: it is never served. */
static void refuse_unknown(struct cell *cell)
{
    unsigned long skipped;

    stats_add(cell->cells->context->stats, STATS_CONNECTIONS_UNKNOWN, 1);
    if (log_valve_open(&cell->cells->valve, &skipped))
        log_warning("a connection was closed: the HTTP library reported it too late (%lu "
                    "more like it)",
                    skipped);
}

static void cell_on_started(struct cell *cell, struct MHD_Connection *connection,
                            void **socket_context)
{
    cell->started++;
    count_connection(cell, 1);
    *socket_context = cell->arriving;
    if (cell->arriving == NULL) {
        refuse_unknown(cell);
        return;
    }
    struct cell_kept *kept = cell_kept_of(connection);
    if (kept == NULL)
        return;
    kept->waiter.connection = connection;
    if (cell->kind == CELL_TLS)
        cell_tls_begin(kept);
}

static void cell_on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                               enum MHD_ConnectionNotificationCode code)
{
    struct cell *cell = cls;
    const union MHD_ConnectionInfo *info;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        cell_on_started(cell, connection, socket_context);
        return;
    }
    struct cell_conn *conn = *socket_context;
    count_connection(cell, -1);
    if (conn == NULL) /* counted off when it was added */
        return;
    if (conn->context != NULL)
        cell->cells->handler.completed(cell, &conn->context, false);
    if (!cell_leave(conn))
        return;
    info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    count_closed(cell->cells, info != NULL ? info->client_addr : NULL);
}

/* ---- life of a cell ---- */

static struct MHD_Daemon *start_daemon(struct cell *cell)
{
    const struct conf *conf = cell->cells->context->conf;
    uint64_t timeout_ms = conf->stream.stall_timeout_ms;
    if (!is_for_streams(cell->kind) && timeout_ms < conf->limits.body_timeout_ms)
        timeout_ms = conf->limits.body_timeout_ms;
    cell->host.timeout_s = (unsigned)((timeout_ms + 999) / 1000) + BACKSTOP_SECONDS;

    struct mhd_daemon_conf daemon = {.arg = cell,
                                     .request = cell_on_request,
                                     .completed = cell_on_completed,
                                     .connected = cell_on_connection,
                                     .connections_max = cell_room(cell->kind),
                                     .timeout_s = cell->host.timeout_s,
                                     .pool_bytes = pool_bytes_of(cell->kind),
                                     .tls = cell->kind == CELL_TLS,
                                     .target = cell_tls_on_target};

    return mhd_start(&daemon);
}

static int start_cell(struct cell *cell)
{
    struct event_base *base = cell->cells->context->base;
    const union MHD_DaemonInfo *info;

    cell->daemon = start_daemon(cell);
    if (cell->daemon == NULL)
        return errno == EMFILE || errno == ENFILE ? -EMFILE : -ENOMEM;
    info = MHD_get_daemon_info(cell->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info->epoll_fd >= cell->cells->fd_end)
        return -EMFILE;
    cell->readable = event_new(base, info->epoll_fd, EV_READ | EV_PERSIST, cell_on_ready, cell);
    cell->timer = evtimer_new(base, cell_on_ready, cell);
    if (cell->readable == NULL || cell->timer == NULL)
        return -ENOMEM;
    return event_add(cell->readable, NULL) == 0 ? 0 : -ENOMEM;
}

static void free_cell(struct cell *cell)
{
    for (size_t prio = 0; prio < PRIO_COUNT; prio++)
        worker_dequeue(cell->cells->worker, &cell->jobs[prio]);
    if (cell->readable != NULL)
        event_free(cell->readable);
    if (cell->timer != NULL)
        event_free(cell->timer);
    if (cell->daemon != NULL) {
        resume_answered(cell);
        MHD_stop_daemon(cell->daemon);
    }
    if (cell->listed)
        TAILQ_REMOVE(cell_list_of(cell), cell, link);
    streams_remove_host(&cell->host);
    free(cell);
}

static int open_cell(struct cells *cells, enum cell_kind kind, struct cell **ret_cell)
{
    struct cell *cell = calloc(1, sizeof(*cell));

    if (cell == NULL)
        return -ENOMEM;
    cell->cells = cells;
    cell->kind = kind;
    cell->jobs[PRIO_ANSWER].run = run_answers;
    cell->jobs[PRIO_TARGETED].run = run_targeted;
    cell->jobs[PRIO_BROADCAST].run = run_broadcast;
    cell->jobs[PRIO_NEW].run = run_new;
    cell->jobs[PRIO_REPLAY].run = run_replay;
    STAILQ_INIT(&cell->answered);
    TAILQ_INIT(&cell->pausing);
    cell->host.wake = wake_cell;
    cell->host.ops = &stream_mhd_ops;
    cell->host.wire = &stream_wire_sse;
    cell->host.sends_past = kind != CELL_TLS && cells->quirks.sends_past;
    if (streams_add_host(cells->streams, &cell->host) != 0) {
        free(cell);
        return -ENOMEM;
    }
    int result = start_cell(cell);
    if (result != 0) {
        free_cell(cell);
        return result;
    }
    TAILQ_INSERT_HEAD(&cells->open[kind], cell, link);
    cell->listed = true;
    stats_add(cells->context->stats, STATS_CELLS, 1);
    *ret_cell = cell;
    return 0;
}

static void close_cell(struct cells *cells, struct cell *cell)
{
    stats_add(cells->context->stats, STATS_CELLS, -1);
    free_cell(cell); /* closes its connections, which counts them off and so uses the list */
}

/* ---- all of them ---- */

static int open_ended(void)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    close(fds[1]);
    return fds[0];
}

struct cells *cells_new(struct worker *worker, struct streams *streams,
                        const struct cell_handler *handler, const struct mhd_quirks *quirks)
{
    struct cells *cells = calloc(1, sizeof(*cells));

    if (cells == NULL)
        return NULL;
    cells->ended_fd = open_ended();
    if (cells->ended_fd < 0) {
        free(cells);
        return NULL;
    }
    cells->worker = worker;
    cells->context = worker_context(worker);
    cells->streams = streams;
    cells->handler = *handler;
    cells->quirks = *quirks;
    cells->fd_end = INT_MAX;
    for (size_t kind = 0; kind < CELL_KINDS; kind++)
        TAILQ_INIT(&cells->open[kind]);
    for (size_t kind = 0; kind < CELL_KINDS; kind++)
        TAILQ_INIT(&cells->full[kind]);
    return cells;
}

static void close_list(struct cells *cells, struct cell_list *list)
{
    struct cell *cell;

    while ((cell = TAILQ_FIRST(list)) != NULL)
        close_cell(cells, cell);
}

void cells_abort(struct cells *cells)
{
    for (size_t kind = 0; kind < CELL_KINDS; kind++) {
        close_list(cells, &cells->full[kind]);
        close_list(cells, &cells->open[kind]);
    }
}

void cells_free(struct cells *cells)
{
    if (cells == NULL)
        return;
    cells_abort(cells);
    tls_credentials_unref(cells->tls);
    close(cells->ended_fd);
    free(cells);
}

static int add_connection(struct cell *cell, int fd, const struct sockaddr *address,
                          socklen_t address_n)
{
    unsigned started = cell->started;
    int result = MHD_add_connection(cell->daemon, fd, address, address_n) == MHD_YES ? 0 : -ENOMEM;

    /* It could not be added, or cell_on_connection() was not told of it when it was.  The address
     * may be a part of the owner, which is gone after cell_leave(). */
    if (started == cell->started) {
        count_closed(cell->cells, address);
        cell_leave(cell->arriving);
    }
    cell->arriving = NULL;
    return result;
}

int cells_add(struct cells *cells, enum cell_kind kind, int fd, const struct sockaddr *address,
              socklen_t address_n, struct cell_conn_owner *owner)
{
    struct cell *cell = TAILQ_FIRST(&cells->open[kind]);
    int result = cell == NULL ? open_cell(cells, kind, &cell) : 0;

    if (result == 0 && owner != NULL)
        result = cell_enter_kept(cell, owner);
    else if (result == 0)
        cell_enter(cell);
    if (result != 0) {
        close(fd);
        count_closed(cells, address);
        cell_tell_gone(owner);
        return result;
    }
    result = add_connection(cell, fd, address, address_n);
    if (result == 0 && kind == CELL_TLS)
        run_daemon(cell); /* the handshake; callers add a few at a time */
    else if (result == 0)
        worker_enqueue(cells->worker, &cell->jobs[PRIO_NEW], PRIO_NEW);
    return result;
}

void cells_set_tls(struct cells *cells, struct tls_credentials *tls)
{
    tls_credentials_unref(cells->tls);
    cells->tls = tls;
}

void cells_set_fd_end(struct cells *cells, int end)
{
    cells->fd_end = end;
}

void cells_tick(struct cells *cells)
{
    for (size_t kind = 0; kind < CELL_KINDS; kind++) {
        struct cell *cell = TAILQ_FIRST(&cells->open[kind]);
        bool one_empty_kept = false;

        while (cell != NULL) {
            struct cell *next = TAILQ_NEXT(cell, link);

            if (cell->connections_n == 0 && one_empty_kept)
                close_cell(cells, cell);
            else if (cell->connections_n == 0)
                one_empty_kept = true;
            cell = next;
        }
    }
}

size_t cells_connections(const struct cells *cells)
{
    return cells->connections_n;
}

size_t cells_suspended(const struct cells *cells)
{
    return cells->suspended_n;
}

/* Suspended from within its handler, a connection still counts as one to read from, and when it is
 * resumed the library tries to: a useless recv(), which then makes it enter the connection into its
 * epoll set, from which the rest after the request takes it again.  Once the handler has returned
 * it counts as one that waits for an answer.  In the run in which a request began nothing can end
 * it between the two; in a later one an error of the socket might.  But until that run is over the
 * library may call the handler again, which has to see that it waits. */
void cell_suspend(struct cell *cell, struct cell_waiter *waiter, struct MHD_Connection *connection)
{
    struct cell_kept *kept = cell_kept_of(connection);

    assert(waiter->state == CELL_RUNNING);
    waiter->connection = connection;
    waiter->state = CELL_SUSPENDED;
    cell->cells->suspended_n++;
    if (kept != NULL && kept->tls == NULL && kept->begun_in == cell->runs_n)
        cell_wait_after_run(kept);
    else
        mhd_suspend(connection);
}

void cell_forget(struct cell *cell, struct cell_waiter *waiter)
{
    struct cell_kept *kept = cell_kept_of(waiter->connection);

    if (waiter->state == CELL_ANSWERED)
        STAILQ_REMOVE(&cell->answered, waiter, cell_waiter, link);
    waiter->state = CELL_RUNNING;
    cell->cells->suspended_n--;
    if (kept != NULL)
        cell_stay_after_run(kept);
}

void cell_answer(struct cell *cell, struct cell_waiter *waiter)
{
    assert(waiter->state == CELL_SUSPENDED);
    waiter->state = CELL_ANSWERED;
    STAILQ_INSERT_TAIL(&cell->answered, waiter, link);
    worker_enqueue(cell->cells->worker, &cell->jobs[PRIO_ANSWER], PRIO_ANSWER);
}

struct stream_host *cell_host(struct cell *cell)
{
    return &cell->host;
}

void *cell_handler_arg(struct cell *cell)
{
    return cell->cells->handler.arg;
}
