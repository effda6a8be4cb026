/* SPDX-License-Identifier: MIT */
/* A gateway for tests of what answers requests.  See fixture.h. */
#include "config.h"
#include "fixture_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "api/publish.h"
#include "api/routes.h"
#include "api/static_files.h"
#include "base/clock.h"
#include "conn/mhd_quirks.h"
#include "history/history_memory.h"
#include "history/page_reader.h"
#include "http/request_deadline.h"
#include "sign.h"
#include "stream/eviction_log.h"

#define MEMORY_BYTES ((size_t)4 << 30)
#define QUIET_TURNS 4

void fixture_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    abort();
}

/* ---- the store ---- */

static struct fixture *stubbed; /* of the test that runs */

static int stub_append(struct history *history, struct message *const *events, size_t events_n,
                       int64_t now_ms)
{
    struct timespec pause = {.tv_nsec = 500000};

    while (stubbed->holds_store)
        nanosleep(&pause, NULL);
    if (stubbed->append_error != 0)
        return stubbed->append_error;
    return stubbed->real_ops->append(history, events, events_n, now_ms);
}

/* What waits does so on the hub's own thread, not on the test's. */
static bool stub_claim(struct history *history, size_t events_n)
{
    return !stubbed->holds_store && stubbed->real_ops->claim(history, events_n);
}

static int stub_read(struct history *history, const struct history_query *query,
                     struct history_page **ret_page)
{
    if (stubbed->read_error != 0)
        return stubbed->read_error;
    return stubbed->real_ops->read(history, query, ret_page);
}

static void build_store(struct fixture *fixture)
{
    struct history_limits limits = {
        .age_max_ms = (int64_t)fixture->conf->history.max_age_ms,
        .events_max = fixture->conf->history.max_events,
        .bytes_max = SIZE_MAX,
        .key_window_ms = (int64_t)fixture->conf->history.idempotency_window_ms,
        .keys_max = fixture->conf->history.idempotency_keys,
    };
    struct hub_limits hub_limits = {.queue_bytes_max = fixture->conf->limits.queue_bytes,
                                    .queue_age_max_ns = INT64_MAX};

    fixture->history = history_memory_new(&limits);
    fixture->real_ops = fixture->history->ops;
    fixture->ops = *fixture->real_ops;
    fixture->ops.append = stub_append;
    fixture->ops.claim = stub_claim;
    fixture->ops.read = stub_read;
    fixture->history->ops = &fixture->ops;
    stubbed = fixture;
    fixture->hub = hub_new(fixture->history, &hub_limits);
}

/* ---- building ---- */

static void set(struct conf *conf, const char *setting)
{
    struct conf_error error;

    if (conf_set(conf, setting, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
}

static struct conf *read_settings(const char *settings)
{
    struct conf *conf = conf_new();
    char *text = strdup(settings), *rest = text, *setting;

    conf_begin_source(conf);
    set(conf, "auth.origins=" FIXTURE_ORIGIN);
    set(conf, "auth.jwt_key=HS256:" FIXTURE_SECRET);
    set(conf, "server.workers=1");
    set(conf, "history.store=memory:");
    conf_begin_source(conf);
    while ((setting = strsep(&rest, " ")) != NULL)
        if (*setting != '\0')
            set(conf, setting);
    free(text);
    return conf;
}

static size_t on_batch(void *arg, struct hub_batch *batch, size_t from, size_t *work)
{
    struct service *service = arg;

    return streams_batch(service->streams, batch, from, work);
}

/* Time passes when a test says so. */
static void on_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

static void build_auth(struct fixture *fixture, struct service *service)
{
    struct conf_error error;

    service->auth = auth_new(service->context->stats);
    if (fixture->conf->auth.mode != CONF_AUTH_TOKEN)
        return;
    struct auth_set *set = auth_set_new(fixture->conf, NULL, 0, &error);
    must(set != NULL);
    auth_take(service->auth, set);
}

static void build_service(struct fixture *fixture, unsigned index)
{
    struct service *service = &fixture->services[index];
    struct worker_hooks hooks = {
        .arg = service, .batch = on_batch, .answer = publish_answer, .tick = on_tick};
    struct cell_handler handler = routes_handler(service);
    struct mhd_quirks quirks = {.sends_past = !fixture->by_library, .reuses_buffers = true};

    service->shared = &fixture->shared;
    LIST_INIT(&service->receiving);
    LIST_INIT(&service->answering);
    service->worker = worker_new(index, fixture->conf, fixture->hub);
    must(service->worker != NULL);
    service->context = worker_context(service->worker);
    worker_set_hooks(service->worker, &hooks);
    worker_set_memory(service->worker, fixture->memory);
    build_auth(fixture, service);
    service->streams =
        streams_new(service->worker, fixture->shared.page_reader, fixture->shared.eviction_log);
    service->lingering_close = lingering_close_new(service->worker);
    service->response_cache.reuses = true;
    service->cells = cells_new(service->worker, service->streams, &handler, &quirks);
    must(service->streams != NULL && service->lingering_close != NULL && service->cells != NULL);
    service->ws_conns = ws_conns_new(service->worker, service->streams, service->lingering_close,
                                     fixture->shared.client_quota);
    must(service->ws_conns != NULL);
}

static void build_shared(struct fixture *fixture)
{
    static char own_origin[] = "http://127.0.0.1:8080", *own[] = {own_origin};
    struct service_shared *shared = &fixture->shared;
    struct conf_error error;

    shared->hub = fixture->hub;
    shared->page_reader = page_reader_new(fixture->history, 1);
    shared->body_readers = thread_pool_new("bugle-reader", THREAD_BESIDE, 1, 1);
    shared->static_files = static_files_new("", &error);
    shared->eviction_log = eviction_log_new(fixture->conf->limits.evictions);
    if (fixture->conf->auth.mode == CONF_AUTH_TOKEN)
        shared->ticket_table = ticket_table_new(clock_wall_ms());
    shared->own_ticket_keys.n = 1;
    shared->services = fixture->services;
    shared->services_n = (unsigned)fixture->conf->server.workers;
    shared->own_origins = (struct conf_list){.items = own, .items_n = 1};
    shared->main_stats = calloc(1, sizeof(*shared->main_stats));
    shared->client_quota = client_quota_new(fixture->conf);
    shared->fd_budget.clients_end = INT_MAX;
    shared->started_ms = clock_mono_ms();
    shared->streams_max = fixture->conf->limits.streams > 0 ? fixture->conf->limits.streams : 1000;
    must(shared->services_n <= FIXTURE_WORKERS_MAX);
}

static struct fixture *build(const char *settings, bool by_library)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->by_library = by_library;
    fixture->responses_n = fake_mhd_responses_alive;
    fixture->address = "192.0.2.1";
    fixture->conf = read_settings(settings);
    fixture->memory = memory_budget_new(MEMORY_BYTES, 0);
    LIST_INIT(&fixture->clients);
    build_store(fixture);
    build_shared(fixture);
    for (unsigned i = 0; i < fixture->shared.services_n; i++)
        build_service(fixture, i);
    must(hub_start(fixture->hub) == 0);
    return fixture;
}

struct fixture *fixture_new(const char *settings)
{
    return build(settings, false);
}

struct fixture *fixture_new_by_library(const char *settings)
{
    return build(settings, true);
}

/* ---- time ---- */

void fixture_turn(struct fixture *fixture)
{
    struct client *client;

    for (unsigned i = 0; i < fixture->shared.services_n; i++)
        worker_turn(fixture->services[i].worker, false);
    LIST_FOREACH (client, &fixture->clients, link)
        fixture_see_answer(client);
}

/* Other threads may have something, so a few turns with a pause between. */
void fixture_settle(struct fixture *fixture)
{
    struct timespec pause = {.tv_nsec = 2000000};

    for (int i = 0; i < QUIET_TURNS; i++) {
        fixture_turn(fixture);
        nanosleep(&pause, NULL);
    }
    fixture_turn(fixture);
}

void fixture_tick(struct fixture *fixture, int64_t later_ms)
{
    int64_t now_ms = clock_mono_ms() + later_ms;

    for (unsigned i = 0; i < fixture->shared.services_n; i++) {
        request_deadline_tick(&fixture->services[i], now_ms);
        streams_tick(fixture->services[i].streams, now_ms);
    }
    fixture_settle(fixture);
}

void fixture_fill_memory(struct fixture *fixture, enum memory_budget_level level)
{
    static const unsigned percent[] = {0, 92, 97, 101};
    int64_t bytes = (int64_t)(MEMORY_BYTES / 100 * percent[level]);

    memory_budget_add(fixture->memory, MEMORY_BUDGET_CONNECTIONS, bytes - fixture->filled_bytes);
    fixture->filled_bytes = bytes;
    must(memory_budget_level(fixture->memory) == level);
}

int64_t fixture_stat(struct fixture *fixture, enum stats_id id)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < fixture->shared.services_n; i++)
        sum += stats_get(fixture->services[i].context->stats, id);
    return sum;
}

size_t fixture_lingering(struct fixture *fixture)
{
    size_t n = 0;

    for (unsigned i = 0; i < fixture->shared.services_n; i++)
        n += lingering_close_count(fixture->services[i].lingering_close);
    return n;
}

const char *fixture_token(const char *claims)
{
    static char line[SIGN_ROOM + 32];
    char token[SIGN_ROOM];

    sign_hmac(token, GNUTLS_MAC_SHA256, FIXTURE_SECRET, strlen(FIXTURE_SECRET),
              "{\"alg\":\"HS256\"}", claims);
    snprintf(line, sizeof(line), "Authorization: Bearer %s\n", token);
    return line;
}

/* ---- the end ---- */

static bool is_quiet(struct fixture *fixture)
{
    struct client *client;

    LIST_FOREACH (client, &fixture->clients, link)
        if (!client_is_closed(client))
            return false;
    return true;
}

static void close_clients(struct fixture *fixture)
{
    struct timespec pause = {.tv_nsec = 500000};
    int64_t until_ms = clock_mono_ms() + WAIT_MS;
    struct client *client;

    LIST_FOREACH (client, &fixture->clients, link)
        client_hang_up(client);
    while (!is_quiet(fixture)) {
        fixture_turn(fixture);
        LIST_FOREACH (client, &fixture->clients, link)
            if (client->has_owner && client->is_idle)
                cell_let_close(&client->owner);
        nanosleep(&pause, NULL);
        must(clock_mono_ms() < until_ms);
    }
}

static int64_t counted(struct fixture *fixture, enum memory_budget_part part)
{
    return *memory_budget_counter(fixture->memory, part);
}

static void free_service(struct service *service)
{
    must(service->requests_n == 0 && service->unawaited_n == 0 && service->publishes_n == 0);
    must(LIST_EMPTY(&service->receiving) && LIST_EMPTY(&service->answering));
    must(streams_count(service->streams) == 0);
    must(cells_connections(service->cells) == 0 && cells_suspended(service->cells) == 0);
    must(worker_load(service->worker) == 0);
    must(stats_get(service->context->stats, STATS_CONNECTIONS_OPEN) == 0);
    response_cache_clear(&service->response_cache);
    cells_free(service->cells);
    ws_conns_free(service->ws_conns);
    lingering_close_free(service->lingering_close);
    streams_free(service->streams);
    auth_free(service->auth);
    worker_free(service->worker);
}

void fixture_free(struct fixture *fixture)
{
    struct service_shared *shared = &fixture->shared;

    fixture->holds_store = false;
    close_clients(fixture);
    fixture_fill_memory(fixture, MEMORY_BUDGET_FINE);
    page_reader_free(shared->page_reader);
    thread_pool_free(shared->body_readers);
    fixture_settle(fixture); /* what they have brought back */
    hub_stop(fixture->hub);
    while (!LIST_EMPTY(&fixture->clients))
        fixture_free_client(LIST_FIRST(&fixture->clients));
    must(shared->streams_n == 0 && shared->history_requests_n == 0 && !shared->has_backup);
    for (unsigned i = 0; i < shared->services_n; i++)
        free_service(&fixture->services[i]);
    must(counted(fixture, MEMORY_BUDGET_BODIES) == 0);
    must(counted(fixture, MEMORY_BUDGET_PARSING) == 0);
    must(counted(fixture, MEMORY_BUDGET_ANSWERS) == 0);
    must(counted(fixture, MEMORY_BUDGET_PAGES) == 0);
    must(hub_lag_ns(fixture->hub) == 0 && fake_mhd_responses_alive == fixture->responses_n);
    hub_free(fixture->hub);
    history_free(fixture->history);
    must(counted(fixture, MEMORY_BUDGET_EVENTS) == 0);
    memory_budget_free(fixture->memory);
    ticket_table_free(shared->ticket_table);
    client_quota_free(shared->client_quota);
    eviction_log_free(shared->eviction_log);
    static_files_free(shared->static_files);
    free(shared->main_stats);
    conf_unref(fixture->conf);
    fake_mhd_faults = (struct fake_mhd_faults){0};
    free(fixture);
}
