/* SPDX-License-Identifier: MIT */
/* Draining, stopping and freeing the gateway.  See server.h. */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>

#include "api/node_service.h"
#include "api/static_files.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/thread_pool.h"
#include "conn/listener.h"
#include "conn/systemd.h"
#include "conn/tls_credentials.h"
#include "handover/handover_old.h"
#include "history/page_reader.h"
#include "loop/event_alloc.h"
#include "server/key_rollout.h"
#include "server/server_internal.h"

#define DRAIN_LOOK_MS 20
/* After the drain window: for the last events of streams, then for what must not hold the process.
 */
#define DRAIN_GRACE_MS 1500
#define CLOSE_MAX_MS 2000
#define CLOSE_LOOK_MS 2

/* Whether nothing is left to wait for.  After a hand-over the connections themselves are waited
 * for: the answer to its next request sends a client to the other process, and an idle one is
 * closed by its usual timeout. */
static bool is_quiet(const struct service *service)
{
    if (service->shared->handed_over)
        return worker_load(service->worker) == 0;
    return service->requests_n <= service->unawaited_n && streams_count(service->streams) == 0 &&
           !worker_has_jobs(service->worker, PRIO_NEW);
}

static void look_if_quiet(evutil_socket_t fd, short what, void *arg)
{
    struct worker_shutdown *shutdown = arg;
    struct service *service = shutdown->service;
    struct timeval again = {.tv_usec = DRAIN_LOOK_MS * 1000};

    (void)fd;
    (void)what;
    streams_drain_step(service->streams, clock_mono_ms());
    if (!shutdown->is_empty && streams_count(service->streams) == 0) {
        shutdown->is_empty = true;
        shutdown->server->empty_n++;
    }
    if (is_quiet(service))
        shutdown->server->quiet_n++;
    else
        evtimer_add(shutdown->timer, &again);
}

static void begin_shutdown(void *arg)
{
    struct worker_shutdown *shutdown = arg;
    struct service *service = shutdown->service;

    streams_drain(service->streams, clock_mono_ms(),
                  (int64_t)service->context->conf->drain.window_ms,
                  service->shared->handed_over ? STREAM_END_HANDOVER : STREAM_END_DRAINED);
    look_if_quiet(-1, 0, shutdown);
}

/* Daemons must not be stopped while anything in them is suspended: an answered request is resumed
 * at the end of this turn, a question to all workers when the last of them has answered.  And what
 * another thread still has of a publish comes back to a loop that must be there. */
static void close_all(void *arg)
{
    struct worker_shutdown *shutdown = arg;
    struct service *service = shutdown->service;

    gate_abort(service->gate);
    if (cells_suspended(service->cells) > 0 || streams_count(service->streams) > 0 ||
        service->publishes_n > 0) {
        server_post_to(service->worker, close_all, shutdown);
        return;
    }
    cells_abort(service->cells);
    shutdown->server->closed_n++;
}

void server_post_to_all(struct server *server, void (*call)(void *arg))
{
    for (unsigned i = 0; i < server->shared.services_n; i++)
        server_post_to(server->shutdowns[i].service->worker, call, &server->shutdowns[i]);
}

int server_build_shutdowns(struct server *server)
{
    server->shutdowns = calloc(server->shared.services_n, sizeof(struct worker_shutdown));
    if (server->shutdowns == NULL)
        return server_fail("out of memory");
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct worker_shutdown *shutdown = &server->shutdowns[i];

        shutdown->server = server;
        shutdown->service = &server->shared.services[i];
        shutdown->timer = evtimer_new(shutdown->service->context->base, look_if_quiet, shutdown);
        if (shutdown->timer == NULL)
            return server_fail("out of memory");
    }
    return 0;
}

void server_drain(struct server *server, int64_t until_ms)
{
    server->shared.draining = true;
    server->drain_until_ms = until_ms;
    server_post_to_all(server, begin_shutdown);
    event_base_loopbreak(server->base);
}

void server_stop(struct server *server, const char *why)
{
    int64_t window_ms = (int64_t)server->conf->drain.window_ms;

    log_info("%s: draining for at most %lld ms", why, (long long)window_ms);
    systemd_notify("STOPPING=1");
    listener_close(server->listener);
    hub_refuse_backups(server->hub);
    server_drain(server, clock_mono_ms() + window_ms + DRAIN_GRACE_MS);
}

/* Serve the main loop until every worker has counted itself in `done_n`.  Returns whether they had
 * when the drain was over; the deadline may move. */
static bool wait_for_workers(struct server *server, const _Atomic unsigned *done_n, int look_ms)
{
    struct timeval look = {.tv_usec = look_ms * 1000};

    while ((*done_n < server->shared.services_n || server_host_is_busy(server)) &&
           clock_mono_ms() < server->drain_until_ms) {
        evtimer_add(server->look_timer, &look);
        event_base_loop(server->base, EVLOOP_ONCE);
    }
    return *done_n == server->shared.services_n;
}

void server_stop_threads(struct server *server)
{
    wait_for_workers(server, &server->quiet_n, DRAIN_LOOK_MS);
    if (server->handover != NULL)
        handover_old_close(server->handover); /* answers what is passed on, hears no one any more */
    hub_stop(server->hub);
    thread_pool_stop(server->readers);
    server_post_to_all(server, close_all); /* one may still owe another an answer until then */
    server->drain_until_ms = clock_mono_ms() + CLOSE_MAX_MS;
    if (!wait_for_workers(server, &server->closed_n, CLOSE_LOOK_MS)) {
        /* stopping a daemon now would abort the process with a core: leave it to the kernel */
        log_error("connections did not end in time: leaving without them");
        log_exit(server->status);
    }
    page_reader_free(server->pager); /* its last answers go to workers that still run */
    server->pager = NULL;
    thread_pool_free(server->readers);
    server->readers = NULL;
    for (unsigned i = 0; i < server->shared.services_n; i++)
        worker_stop(server->shared.services[i].worker);
}

static void free_services(struct server *server)
{
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct service *service = &server->shared.services[i];

        if (server->shutdowns != NULL)
            event_alloc_free(server->shutdowns[i].timer);
        if (service->cells != NULL)
            cells_abort(service->cells);
        gate_free(service->gate);
        cells_free(service->cells);
        ws_conns_free(service->ws_conns);
        response_cache_clear(&service->response_cache);
        lingering_close_free(service->lingering_close);
        streams_free(service->streams);
        auth_free(service->auth);
        worker_free(service->worker);
    }
    free(server->shutdowns);
    free(server->shared.services);
}

void server_free(struct server *server)
{
    if (!server_free_reload(server))
        log_exit(server->status);
    key_rollout_free(server->key_rollout);
    tls_credentials_unref(server->tls);
    listener_free(server->listener);
    inherited_sockets_clear(&server->inherited);
    page_reader_free(server->pager);
    thread_pool_free(server->readers);
    free_services(server);
    ticket_table_free(
        server->shared.ticket_table); /* the last streams have told what became of theirs */
    server_free_handover(server);
    client_quota_free(server->shared.client_quota);
    hub_free(server->hub);
    node_service_free(server->shared.nodes);
    history_free(server->history);
    cluster_conf_free(server->cluster);
    static_files_free(server->shared.static_files);
    memory_budget_free(server->memory);
    eviction_log_free(server->shared.eviction_log);
    while (server->shared.own_origins.items_n > 0)
        free(server->shared.own_origins.items[--server->shared.own_origins.items_n]);
    free(server->shared.own_origins.items);
    for (size_t i = 0; i < sizeof(server->signals) / sizeof(server->signals[0]); i++)
        event_alloc_free(server->signals[i]);
    event_alloc_free(server->look_timer);
    event_alloc_free(server->memory_timer);
    if (server->base != NULL)
        event_base_free(server->base);
    conf_unref(server->conf);
    free(server);
}
