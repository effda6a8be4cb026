/* SPDX-License-Identifier: MIT */
/* Building the gateway from its settings.  See server.h. */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/publish.h"
#include "api/routes.h"
#include "api/static_files.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/memory_budget.h"
#include "base/thread_pool.h"
#include "conn/listener.h"
#include "handover/handover_new.h"
#include "history/page_reader.h"
#include "history/store_path.h"
#include "http/request_deadline.h"
#include "loop/event_alloc.h"
#include "server/history_open.h"
#include "server/key_rollout.h"
#include "server/server_internal.h"
#include "stream/stream_expiry.h"

#define PAGER_THREADS 2
#define STORE_LOOK_MS 10
#define STORE_WAIT_MS 2000
/* Of limits.memory, what the keys of a store in memory may take; and one of them at most. */
#define KEYS_SHARE 8
#define KEY_BYTES 448

/* ---- what a worker's thread does for the server ---- */

static size_t on_batch(void *arg, struct hub_batch *batch, size_t from, size_t *work)
{
    struct service *service = arg;

    return streams_batch(service->streams, batch, from, work);
}

static void on_tick(void *arg, int64_t now_ms)
{
    struct service *service = arg;

    gate_tick(service->gate, now_ms);
    lingering_close_tick(service->lingering_close, now_ms);
    request_deadline_tick(service, now_ms);
    streams_tick(service->streams, now_ms);
    stream_expiry_tick(service->streams, clock_wall_ms());
    cells_tick(service->cells);
    ws_conns_tick(service->ws_conns, now_ms);
}

static size_t keys_max(const struct conf *conf)
{
    uint64_t fit = conf_memory_bytes(conf) / KEYS_SHARE / KEY_BYTES;

    if (strcmp(conf->history.store, "memory:") != 0 || conf->history.idempotency_keys < fit)
        return conf->history.idempotency_keys;
    return fit;
}

/* A process that was to hand over and died may still be on its way out, its lock with it. */
static struct history *open_store(struct server *server, const struct history_limits *limits,
                                  struct conf_error *ret_error)
{
    struct timespec pause = {.tv_nsec = STORE_LOOK_MS * 1000000L};
    struct history *history = history_open(server->conf->history.store, limits, ret_error);

    for (int waited_ms = 0;
         history == NULL && handover_new_is_alone(server->takeover) && waited_ms < STORE_WAIT_MS;
         waited_ms += STORE_LOOK_MS) {
        nanosleep(&pause, NULL);
        history = history_open(server->conf->history.store, limits, ret_error);
    }
    return history;
}

static int build_store(struct server *server)
{
    const struct conf *conf = server->conf;
    struct history_limits limits = {
        .age_max_ms = (int64_t)conf->history.max_age_ms,
        .events_max = conf->history.max_events,
        .bytes_max = conf_history_bytes(conf),
        .key_window_ms = (int64_t)conf->history.idempotency_window_ms,
        .keys_max = keys_max(conf),
    };
    struct conf_error error;
    struct hub_limits hub_limits = {
        .queue_bytes_max = conf->limits.queue_bytes,
        .queue_age_max_ns = (int64_t)conf->limits.queue_age_ms * 1000000,
        .queue_wait_max_ns = (int64_t)conf->limits.queue_wait_ms * 1000000,
    };

    server->history = open_store(server, &limits, &error);
    if (server->history == NULL)
        return server_fail(error.text);
    history_set_reserve(server->history, conf->history.disk_reserve);
    history_watch(server->history); /* a disk without room is told at the start */
    server->hub = hub_new(server->history, &hub_limits);
    if (server->hub == NULL)
        return server_fail("out of memory");
    if (server_share_hub(server) != 0)
        return -1;
    server->pager = page_reader_new(server->history, PAGER_THREADS);
    return server->pager != NULL ? 0 : server_fail("no threads for reading the history");
}

static int build_service(struct server *server, unsigned index)
{
    struct service *service = &server->shared.services[index];
    struct worker_hooks hooks = {
        .arg = service, .batch = on_batch, .answer = publish_answer, .tick = on_tick};
    struct cell_handler handler = routes_handler(service);

    service->shared = &server->shared;
    LIST_INIT(&service->receiving);
    LIST_INIT(&service->answering);
    service->worker = worker_new(index, server->conf, server->hub);
    if (service->worker == NULL)
        return server_fail("no memory or descriptors for a worker");
    service->context = worker_context(service->worker);
    worker_set_hooks(service->worker, &hooks);
    worker_set_memory(service->worker, server->memory);
    service->auth = auth_new(service->context->stats);
    service->streams = streams_new(service->worker, server->pager, server->shared.eviction_log);
    service->lingering_close = lingering_close_new(service->worker);
    if (service->auth == NULL || service->streams == NULL || service->lingering_close == NULL)
        return server_fail("out of memory");
    service->response_cache.reuses = server->quirks.reuses_buffers;
    service->cells = cells_new(service->worker, service->streams, &handler, &server->quirks);
    if (service->cells == NULL)
        return server_fail("out of memory");
    service->gate = gate_new(service->worker, service->cells, service->lingering_close,
                             server->shared.client_quota);
    if (service->gate == NULL)
        return server_fail("out of memory");
    gate_set_own_origins(service->gate, &server->shared.own_origins);
    service->ws_conns = ws_conns_new(service->worker, service->streams, service->lingering_close,
                                     server->shared.client_quota);
    if (service->ws_conns == NULL)
        return server_fail("out of memory");
    return 0;
}

static int build_services(struct server *server)
{
    unsigned services_n = server_count_workers(server->conf);

    server->shared.services = calloc(services_n, sizeof(struct service));
    server->shared.eviction_log = eviction_log_new(server->conf->limits.evictions);
    if (server->shared.services == NULL || server->shared.eviction_log == NULL)
        return server_fail("out of memory");
    for (unsigned i = 0; i < services_n; i++) {
        server->shared.services_n = i + 1;
        if (build_service(server, i) != 0)
            return -1;
    }
    return 0;
}

static int build_listener(struct server *server)
{
    struct listener_sink sink = {
        .wants = placement_wants, .take = placement_take, .arg = &server->placements};
    struct conf_list *origins = &server->shared.own_origins;
    struct conf_error error;
    const char *url;

    server->placements = (struct placements){
        .shared = &server->shared, .conf = server->conf, .stats = &server->stats};
    server->listener =
        listener_new(server->base, server->conf, &sink, &server->stats, &server->inherited, &error);
    if (server->listener == NULL)
        return server_fail(error.text);
    origins->items = calloc(listener_count(server->listener), sizeof(char *));
    if (origins->items == NULL)
        return server_fail("out of memory");
    for (size_t i = 0; (url = listener_url(server->listener, i)) != NULL; i++) {
        size_t url_n = strlen(url);

        /* "http://127.0.0.1:8080/" serves the page of origin "http://127.0.0.1:8080" */
        origins->items[i] = strndup(url, url[url_n - 1] == '/' ? url_n - 1 : url_n);
        if (origins->items[origins->items_n++] == NULL)
            return server_fail("out of memory");
    }
    return 0;
}

/* Run from where it was built, the page is not where `make install` puts it: that is no reason not
 * to serve.  A folder that the operator named must be there. */
static const char *page_folder(const struct conf *conf)
{
    bool is_named = strcmp(conf->server.www, BUGLE_WWWDIR) != 0;

    return is_named || access(BUGLE_WWWDIR, R_OK) == 0 ? conf->server.www : "";
}

static int build_tickets(struct server *server)
{
    char *path = store_path(server->conf->history.store);
    struct ticket_keys *own = &server->shared.own_ticket_keys;
    struct conf_error error;
    int result = ticket_keys_read_own(path, own->keys[0], &error);

    free(path);
    if (result != 0)
        return server_fail(error.text);
    own->n = 1;
    server->shared.ticket_table = ticket_table_new(clock_wall_ms());
    return server->shared.ticket_table != NULL ? 0 : server_fail("out of memory");
}

static int build_keys(struct server *server)
{
    if (server->conf->auth.mode != CONF_AUTH_TOKEN)
        return 0;
    if (build_tickets(server) != 0)
        return -1;
    server->key_rollout = key_rollout_new(server->base, &server->shared, &server->stats);
    return server->key_rollout != NULL ? 0 : server_fail("no memory or threads for keys");
}

int server_build(struct server *server)
{
    size_t fd_limit = fd_budget_raise();
    struct conf_error error;

    fd_budget_make_table(fd_limit);
    server->shared.started_ms = clock_mono_ms();
    server->shared.main_stats = &server->stats;
    if (server_check_descriptors(server, fd_limit) != 0)
        return -1;
    event_alloc_begin();
    server->base = event_base_new();
    if (server->base == NULL)
        return server_fail("no event loop");
    server->shared.static_files = static_files_new(page_folder(server->conf), &error);
    if (server->shared.static_files == NULL)
        return server_fail(error.text);
    if (server_build_memory(server) != 0 || server_find_sockets(server) != 0 ||
        server_build_cluster(server) != 0)
        return -1;
    if (server->takeover != NULL && build_listener(server) != 0)
        return -1;
    if (server->takeover != NULL && handover_new_wait_for_store(server->takeover, &error) != 0)
        return server_fail(error.text);
    if (build_store(server) != 0)
        return -1;
    server->shared.hub = server->hub;
    server->shared.page_reader = server->pager;
    server->shared.client_quota = client_quota_new(server->conf);
    if (server->shared.client_quota == NULL)
        return server_fail("out of memory");
    server->readers = thread_pool_new("bugle-reader", THREAD_BESIDE,
                                      1 + server_count_workers(server->conf) / 4, 1);
    if (server->readers == NULL)
        return server_fail("no threads for reading bodies");
    server->shared.body_readers = server->readers;
    if (build_services(server) != 0 || server_build_tls(server) != 0 || build_keys(server) != 0 ||
        server_build_shutdowns(server) != 0 || server_build_signals(server) != 0)
        return -1;
    if (server_build_reload(server) != 0)
        return server_fail("no memory or descriptors for reloads");
    if (server->listener == NULL && build_listener(server) != 0)
        return -1;
    if (server_build_handover(server) != 0)
        return -1;
    memory_budget_tick(server->memory, &server->stats);
    server_part_descriptors(server, fd_limit); /* of those that are not in use by now */
    return 0;
}
