/* SPDX-License-Identifier: MIT */
/* The gateway as a whole.  See server.h. */
#include "config.h"
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/publish.h"
#include "api/routes.h"
#include "api/static_files.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "base/signals.h"
#include "base/thread_pool.h"
#include "conn/listener.h"
#include "conn/systemd.h"
#include "handover/handover_new.h"
#include "history/page_reader.h"
#include "history/store_path.h"
#include "http/request_deadline.h"
#include "loop/event_alloc.h"
#include "server/history_open.h"
#include "server/key_rollout.h"
#include "server/libraries.h"
#include "server/server_internal.h"
#include "stream/stream_expiry.h"

#define PAGER_THREADS 2
#define DRAIN_LOOK_MS 20
/* After the drain window: for the farewells, then for what must not hold the process. */
#define DRAIN_GRACE_MS 1500
#define CLOSE_MAX_MS 2000
#define STORE_LOOK_MS 10
#define STORE_WAIT_MS 2000
#define CLOSE_LOOK_MS 2
/* Of limits.memory, what the keys of a store in memory may take; and one of them at most. */
#define KEYS_SHARE 8
#define KEY_BYTES 448

static int fail(const char *what)
{
    log_error("cannot start: %s", what);
    return -1;
}

void server_post_to(struct worker *worker, void (*call)(void *arg), void *arg)
{
    if (worker_post(worker, call, arg) != 0)
        log_abort_without_memory("server");
}

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
}

/* Whoever is to be waited for.  After a hand-over nobody is hurried: the answer to its next request
 * sends a client on to the other process, and one that has none is closed as always. */
static bool is_quiet(const struct service *service)
{
    if (service->shared->handed_over)
        return worker_load(service->worker) == 0;
    return service->requests_n <= service->unawaited_n && streams_count(service->streams) == 0 &&
           !worker_has_jobs(service->worker, PRIO_NEW);
}

static void look_if_quiet(evutil_socket_t fd, short what, void *arg)
{
    struct farewell *farewell = arg;
    struct service *service = farewell->service;
    struct timeval again = {.tv_usec = DRAIN_LOOK_MS * 1000};

    (void)fd;
    (void)what;
    streams_drain_step(service->streams, clock_mono_ms());
    if (!farewell->is_empty && streams_count(service->streams) == 0) {
        farewell->is_empty = true;
        farewell->server->empty_n++;
    }
    if (is_quiet(service))
        farewell->server->quiet_n++;
    else
        evtimer_add(farewell->timer, &again);
}

static void begin_farewell(void *arg)
{
    struct farewell *farewell = arg;
    struct service *service = farewell->service;

    streams_drain(service->streams, clock_mono_ms(),
                  (int64_t)service->context->conf->drain.window_ms);
    look_if_quiet(-1, 0, farewell);
}

/* Daemons must not be stopped while anything in them is suspended: an answered request is resumed
 * at the end of this turn, a question to all workers when the last of them has answered. */
static void close_all(void *arg)
{
    struct farewell *farewell = arg;
    struct service *service = farewell->service;

    gate_abort(service->gate);
    if (cells_suspended(service->cells) > 0 || streams_count(service->streams) > 0) {
        server_post_to(service->worker, close_all, farewell);
        return;
    }
    cells_abort(service->cells);
    farewell->server->closed_n++;
}

void server_post_to_all(struct server *server, void (*call)(void *arg))
{
    for (unsigned i = 0; i < server->shared.services_n; i++)
        server_post_to(server->farewells[i].service->worker, call, &server->farewells[i]);
}

static int build_farewells(struct server *server)
{
    server->farewells = calloc(server->shared.services_n, sizeof(struct farewell));
    if (server->farewells == NULL)
        return fail("out of memory");
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct farewell *farewell = &server->farewells[i];

        farewell->server = server;
        farewell->service = &server->shared.services[i];
        farewell->timer = evtimer_new(farewell->service->context->base, look_if_quiet, farewell);
        if (farewell->timer == NULL)
            return fail("out of memory");
    }
    return 0;
}

/* ---- main thread: signals ---- */

void server_drain(struct server *server, int64_t until_ms)
{
    server->shared.draining = true;
    server->drain_until_ms = until_ms;
    server_post_to_all(server, begin_farewell);
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

static void on_stop(evutil_socket_t number, short what, void *arg)
{
    struct server *server = arg;

    (void)what;
    if (server->shared.draining) {
        log_warning("a signal while draining: leaving at once");
        log_exit(server->status);
    }
    if (!server_stop_waits(server, (int)number))
        server_stop(server, strsignal((int)number));
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    server_reload(arg);
}

static void on_upgrade(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    server_upgrade(arg);
}

static void on_child(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    server_reap(arg);
}

/* ---- building ---- */

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
        return fail(error.text);
    history_set_reserve(server->history, conf->history.disk_reserve);
    history_watch(server->history); /* a disk without room is told at the start */
    server->hub = hub_new(server->history, &hub_limits);
    if (server->hub == NULL)
        return fail("out of memory");
    server->pager = page_reader_new(server->history, PAGER_THREADS);
    return server->pager != NULL ? 0 : fail("no threads for reading the history");
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
        return fail("no memory or descriptors for a worker");
    service->context = worker_context(service->worker);
    worker_set_hooks(service->worker, &hooks);
    worker_set_memory(service->worker, server->memory);
    service->auth = auth_new(service->context->stats);
    service->streams = streams_new(service->worker, server->pager, server->shared.eviction_log);
    service->lingering_close = lingering_close_new(service->worker);
    if (service->auth == NULL || service->streams == NULL || service->lingering_close == NULL)
        return fail("out of memory");
    service->response_cache.reuses = server->quirks.reuses_buffers;
    service->cells = cells_new(service->worker, service->streams, &handler, &server->quirks);
    if (service->cells == NULL)
        return fail("out of memory");
    service->gate = gate_new(service->worker, service->cells, service->lingering_close,
                             server->shared.client_quota);
    if (service->gate == NULL)
        return fail("out of memory");
    gate_set_own_origins(service->gate, &server->shared.own_origins);
    return 0;
}

static int build_services(struct server *server)
{
    unsigned services_n = server_count_workers(server->conf);

    server->shared.services = calloc(services_n, sizeof(struct service));
    server->shared.eviction_log = eviction_log_new(server->conf->limits.evictions);
    if (server->shared.services == NULL || server->shared.eviction_log == NULL)
        return fail("out of memory");
    for (unsigned i = 0; i < services_n; i++) {
        server->shared.services_n = i + 1;
        if (build_service(server, i) != 0)
            return -1;
    }
    return 0;
}

/* It only has to end the wait. */
static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static int build_signals(struct server *server)
{
    static const struct {
        int number;
        void (*call)(evutil_socket_t number, short what, void *arg);
    } wanted[] = {{SIGTERM, on_stop}, {SIGINT, on_stop},   {SIGQUIT, on_stop},
                  {SIGXCPU, on_stop}, {SIGHUP, on_reload}, {SIGUSR2, on_upgrade},
                  {SIGCHLD, on_child}};

    static_assert(sizeof(wanted) / sizeof(wanted[0]) == SERVER_SIGNALS, "one event a signal");
    for (size_t i = 0; i < SERVER_SIGNALS; i++) {
        server->signals[i] = evsignal_new(server->base, wanted[i].number, wanted[i].call, server);
        if (server->signals[i] == NULL || event_add(server->signals[i], NULL) != 0)
            return fail("signals");
    }
    signals_ready();
    server->look_timer = evtimer_new(server->base, on_look, server);
    return server->look_timer != NULL ? 0 : fail("out of memory");
}

/* "http://127.0.0.1:8080/" serves the page of origin "http://127.0.0.1:8080". */
static int add_own_origin(struct conf_list *origins, const char *url)
{
    size_t url_n = strlen(url);

    origins->items[origins->items_n] = strndup(url, url[url_n - 1] == '/' ? url_n - 1 : url_n);
    return origins->items[origins->items_n++] != NULL ? 0 : -ENOMEM;
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
        return fail(error.text);
    origins->items = calloc(listener_count(server->listener), sizeof(char *));
    if (origins->items == NULL)
        return fail("out of memory");
    for (size_t i = 0; (url = listener_url(server->listener, i)) != NULL; i++)
        if (add_own_origin(origins, url) != 0)
            return fail("out of memory");
    return 0;
}

/* Run from where it was built, the page is not where `make install` puts it: that is no reason not
 * to serve.  A folder that the operator named must be there. */
static const char *page_folder(const struct conf *conf)
{
    if (strcmp(conf->server.www, BUGLE_WWWDIR) != 0 || access(BUGLE_WWWDIR, R_OK) == 0)
        return conf->server.www;
    return "";
}

static int build_tickets(struct server *server)
{
    char *path = store_path(server->conf->history.store);
    unsigned char key[TICKET_KEY_BYTES];
    struct conf_error error;
    int result = ticket_table_read_key(path, key, &error);

    free(path);
    if (result != 0)
        return fail(error.text);
    server->shared.ticket_table = ticket_table_new(key, clock_wall_ms());
    explicit_bzero(key, sizeof(key));
    return server->shared.ticket_table != NULL ? 0 : fail("out of memory");
}

static int build_keys(struct server *server)
{
    if (server->conf->auth.mode != CONF_AUTH_TOKEN)
        return 0;
    if (build_tickets(server) != 0)
        return -1;
    server->keys = key_rollout_new(server->base, &server->shared, &server->stats);
    return server->keys != NULL ? 0 : fail("no memory or threads for keys");
}

static int build(struct server *server)
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
        return fail("no event loop");
    server->shared.static_files = static_files_new(page_folder(server->conf), &error);
    if (server->shared.static_files == NULL)
        return fail(error.text);
    if (server_build_memory(server) != 0 || server_find_sockets(server) != 0)
        return -1;
    if (server->takeover != NULL &&
        (build_listener(server) != 0 || server_wait_for_store(server) != 0))
        return -1;
    if (build_store(server) != 0)
        return -1;
    server->shared.hub = server->hub;
    server->shared.page_reader = server->pager;
    server->shared.client_quota = client_quota_new(server->conf);
    if (server->shared.client_quota == NULL)
        return fail("out of memory");
    server->readers = thread_pool_new("bugle-reader", THREAD_BESIDE,
                                      1 + server_count_workers(server->conf) / 4, 1);
    if (server->readers == NULL)
        return fail("no threads for reading bodies");
    server->shared.body_readers = server->readers;
    if (build_services(server) != 0 || server_build_tls(server) != 0 || build_keys(server) != 0 ||
        build_farewells(server) != 0 || build_signals(server) != 0)
        return -1;
    if (server_build_reload(server) != 0)
        return fail("no memory or descriptors for reloads");
    if (server->listener == NULL && build_listener(server) != 0)
        return -1;
    if (server_build_handover(server) != 0)
        return -1;
    memory_budget_tick(server->memory, &server->stats);
    server_part_descriptors(server, fd_limit); /* of those that are not in use by now */
    return 0;
}

/* Signals are the main thread's alone. */
static int start_threads(struct server *server)
{
    sigset_t all, before;
    int result;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = hub_start(server->hub);
    for (unsigned i = 0; result == 0 && i < server->shared.services_n; i++)
        result = worker_start(server->shared.services[i].worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0)
        return 0;
    fail("threads");
    log_exit(1); /* those that did start still use all there is to free */
}

/* ---- ending ---- */

/* Serve the main loop until every worker has counted itself in `done_n`.  Returns whether they had
 * when the drain was over; the deadline may move. */
static bool wait_for_all(struct server *server, const _Atomic unsigned *done_n, int look_ms)
{
    struct timeval look = {.tv_usec = look_ms * 1000};

    while ((*done_n < server->shared.services_n || server_host_is_busy(server)) &&
           clock_mono_ms() < server->drain_until_ms) {
        evtimer_add(server->look_timer, &look);
        event_base_loop(server->base, EVLOOP_ONCE);
    }
    return *done_n == server->shared.services_n;
}

/* No worker stops before all have closed: until then one may still owe another an answer. */
static void stop_threads(struct server *server)
{
    server_end_handover(server);
    hub_stop(server->hub);
    thread_pool_stop(server->readers);
    server_post_to_all(server, close_all);
    server->drain_until_ms = clock_mono_ms() + CLOSE_MAX_MS;
    if (!wait_for_all(server, &server->closed_n, CLOSE_LOOK_MS)) {
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

static void free_event(struct event *event)
{
    if (event != NULL)
        event_free(event);
}

static void free_farewells(struct server *server)
{
    for (unsigned i = 0; server->farewells != NULL && i < server->shared.services_n; i++)
        free_event(server->farewells[i].timer);
    free(server->farewells);
}

static void free_services(struct server *server)
{
    for (unsigned i = 0; i < server->shared.services_n; i++) {
        struct service *service = &server->shared.services[i];

        if (service->cells != NULL)
            cells_abort(service->cells);
        gate_free(service->gate);
        cells_free(service->cells);
        response_cache_clear(&service->response_cache);
        lingering_close_free(service->lingering_close);
        streams_free(service->streams);
        auth_free(service->auth);
        worker_free(service->worker);
    }
    free(server->shared.services);
}

static void free_server(struct server *server)
{
    if (!server_free_reload(server))
        log_exit(server->status);
    key_rollout_free(server->keys);
    server_free_tls(server);
    listener_free(server->listener);
    inherited_sockets_clear(&server->inherited);
    page_reader_free(server->pager);
    thread_pool_free(server->readers);
    free_farewells(server);
    free_services(server);
    ticket_table_free(
        server->shared.ticket_table); /* the last streams have told what became of theirs */
    server_free_handover(server);
    client_quota_free(server->shared.client_quota);
    hub_free(server->hub);
    history_free(server->history);
    static_files_free(server->shared.static_files);
    memory_budget_free(server->memory);
    eviction_log_free(server->shared.eviction_log);
    while (server->shared.own_origins.items_n > 0)
        free(server->shared.own_origins.items[--server->shared.own_origins.items_n]);
    free(server->shared.own_origins.items);
    for (size_t i = 0; i < sizeof(server->signals) / sizeof(server->signals[0]); i++)
        free_event(server->signals[i]);
    free_event(server->look_timer);
    free_event(server->memory_timer);
    if (server->base != NULL)
        event_base_free(server->base);
    conf_unref(server->conf);
    free(server);
}

static void announce(const struct server *server)
{
    char *store = store_text(server->conf->history.store), foreign[256];
    size_t foreign_n = conf_foreign_variables(foreign, sizeof(foreign));
    const char *url;

    if (foreign_n > 0)
        log_warning(
            "the environment has %zu variables that begin with BUGLE_ and are no settings: %s",
            foreign_n, foreign);
    for (size_t i = 0; (url = listener_url(server->listener, i)) != NULL; i++)
        log_info("listening on %s", url);
    if (static_files_count(server->shared.static_files) == 0)
        log_warning("no page at /: name its folder with --www");
    log_info("bugle " PACKAGE_VERSION " is ready: %u workers, up to %zu streams, store %s",
             server->shared.services_n, server->shared.streams_max,
             store != NULL ? store : server->conf->history.store);
    free(store);
}

/* From here on a signal has nothing to say any more; its default would spoil the exit status. */
static void close_ears(void)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/* Before there are threads, since it forks. */
static int try_library(struct server *server)
{
    char why[256];

    if (mhd_probe(server->conf->tls.listen.items_n > 0, &server->quirks, why, sizeof(why)) != 0)
        return fail(why);
    if (server->quirks.without[0] != '\0')
        log_warning("libmicrohttpd %s: %s", server->quirks.version, server->quirks.without);
    return 0;
}

int server_run(struct conf *conf, const struct server_source *source)
{
    struct server *server = calloc(1, sizeof(*server));
    int status = 1;

    if (server == NULL) {
        conf_unref(conf);
        return 1;
    }
    server->conf = conf;
    server->source = source;
    log_setup((enum log_level)conf->log.level, (enum log_format)conf->log.format);
    libraries_log();
    if (try_library(server) != 0)
        ; /* it has said why */
    else if (log_begin() != 0)
        fail("no thread for the log");
    else if (build(server) == 0 && server_confirm(server) == 0 && start_threads(server) == 0) {
        server_begin(server);
        if (server->keys != NULL)
            key_rollout_start(server->keys, server->conf);
        announce(server);
        thread_begin("bugle", THREAD_ACCEPTS);
        event_base_dispatch(server->base);
        wait_for_all(server, &server->quiet_n, DRAIN_LOOK_MS);
        stop_threads(server);
        close_ears();
        log_info("stopped");
        status = server->status;
    }
    free_server(server);
    log_end();
    return status;
}
