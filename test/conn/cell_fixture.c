/* SPDX-License-Identifier: MIT */
/* Real cells over a stand-in for libmicrohttpd.  See cell_fixture.h. */
#include "config.h"
#include "cell_fixture.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn/mhd_quirks.h"
#include "history/history_memory.h"

static int on_request(struct cell *cell, struct MHD_Connection *connection, const char *url,
                      const char *method, const char *version, const char *upload, size_t *upload_n,
                      void **context)
{
    struct bench *bench = cell_handler_arg(cell);

    (void)url;
    (void)method;
    (void)version;
    (void)upload;
    (void)upload_n;
    if (*context == NULL) {
        *context = bench;
        bench->begun_n++;
        bench->unexpected_n += !cell_is_expected(connection, &bench->seen_owner);
        return MHD_YES;
    }
    if (bench->suspends) {
        bench->suspends = false;
        bench->cell = cell;
        cell_suspend(cell, &bench->waiter, connection);
    }
    if (bench->waiter.state != CELL_RUNNING)
        return MHD_YES;
    bench->answered_n++;
    return MHD_queue_response(connection, 200, bench->response);
}

static void on_completed(struct cell *cell, void **context, bool connected)
{
    struct bench *bench = cell_handler_arg(cell);

    bench->completed_n++;
    bench->cut_n += !connected;
    if (bench->waiter.state != CELL_RUNNING)
        cell_forget(cell, &bench->waiter);
    *context = NULL;
}

static void on_closed(void *arg, const struct sockaddr *address)
{
    struct bench *bench = arg;
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

    bench->closed_n++;
    bench->closed_port = in->sin_family == AF_INET ? ntohs(in->sin_port) : -1;
}

static void no_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

int build(void **state)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct worker_hooks hooks = {.tick = no_tick};
    struct bench *bench = calloc(1, sizeof(*bench));
    struct cell_handler handler = {
        .arg = bench, .request = on_request, .completed = on_completed, .closed = on_closed};
    struct mhd_quirks quirks = {.sends_past = true, .reuses_buffers = true, .knows_pools = true};

    bench->conf.stream.stall_timeout_ms = 1000;
    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    worker_set_hooks(bench->worker, &hooks);
    bench->streams = streams_new(bench->worker, NULL, NULL);
    bench->cells = cells_new(bench->worker, bench->streams, &handler, &quirks);
    bench->response = MHD_create_response_from_buffer(2, (char[]){"ok"}, MHD_RESPMEM_MUST_COPY);
    *state = bench;
    return bench->cells != NULL ? 0 : -1;
}

int tear_down(void **state)
{
    struct bench *bench = *state;

    cells_free(bench->cells);
    streams_free(bench->streams);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    MHD_destroy_response(bench->response);
    free(bench);
    return 0;
}

/* Often enough for whatever is under way. */
void turn(struct bench *bench)
{
    for (int i = 0; i < 4; i++)
        worker_turn(bench->worker, false);
}

int64_t stat_of(struct bench *bench, enum stats_id id)
{
    return stats_get(worker_context(bench->worker)->stats, id);
}

static void on_idle(struct cell_conn_owner *base)
{
    ((struct owner *)(void *)base)->idle_n++;
}

/* As if it was freed, and used again for something else. */
static void on_gone(struct cell_conn_owner *base)
{
    struct owner *owner = (struct owner *)(void *)base;

    memset(&owner->address, 0xA5, sizeof(owner->address));
    owner->gone_n++;
}

int add(struct bench *bench, enum cell_kind kind, struct owner *owner)
{
    bool is_kept = kind != CELL_STREAM && kind != CELL_STREAM_LARGE;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *owner = (struct owner){
        .base = {.idle = on_idle, .gone = on_gone},
        .address = {.sin_family = AF_INET, .sin_port = htons(PORT)},
        .connection = fake_mhd_new(fds[0]),
        .theirs = fds[1],
    };
    fake_mhd_request(owner->connection, HEAD);
    worker_load_add(bench->worker, 1);
    return cells_add(bench->cells, kind, fds[0], (struct sockaddr *)(void *)&owner->address,
                     sizeof(owner->address), is_kept ? &owner->base : NULL);
}

void end(struct bench *bench, struct owner *owner)
{
    close(owner->theirs);
    turn(bench);
    if (owner->base.kept != NULL)
        cell_let_close(&owner->base);
    turn(bench);
    fake_mhd_free(owner->connection);
}
