/* SPDX-License-Identifier: MIT */
/* A gateway for tests of what answers requests.  See fixture.h. */
#include "config.h"
#include "fixture.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

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

#define WAIT_MS 10000
#define MEMORY_BYTES ((size_t)4 << 30)
#define QUIET_TURNS 4

/* What no test asks for, and yet must be so. */
#define must(what) ((what) ? (void)0 : broken(#what, __LINE__))

static void broken(const char *what, int line)
{
    fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
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
}

static void build_shared(struct fixture *fixture)
{
    static char own_origin[] = "http://127.0.0.1:8080", *own[] = {own_origin};
    static const unsigned char key[TICKET_KEY_BYTES] = {1, 2, 3};
    struct service_shared *shared = &fixture->shared;
    struct conf_error error;

    shared->hub = fixture->hub;
    shared->page_reader = page_reader_new(fixture->history, 1);
    shared->body_readers = thread_pool_new("bugle-reader", THREAD_BESIDE, 1, 1);
    shared->static_files = static_files_new("", &error);
    shared->eviction_log = eviction_log_new(fixture->conf->limits.evictions);
    if (fixture->conf->auth.mode == CONF_AUTH_TOKEN)
        shared->ticket_table = ticket_table_new(key, clock_wall_ms());
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

static void see_answer(struct client *client);

void fixture_turn(struct fixture *fixture)
{
    struct client *client;

    for (unsigned i = 0; i < fixture->shared.services_n; i++)
        worker_turn(fixture->services[i].worker, false);
    LIST_FOREACH (client, &fixture->clients, link)
        see_answer(client);
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

/* ---- a client's request ---- */

static socklen_t address_of(const struct fixture *fixture, struct sockaddr_storage *to)
{
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)to;

    memset(to, 0, sizeof(*to));
    if (strcmp(fixture->address, "unix") == 0) {
        to->ss_family = AF_UNIX;
        return sizeof(struct sockaddr_un);
    }
    in->sin_family = AF_INET;
    in->sin_port = htons(40000);
    must(inet_pton(AF_INET, fixture->address, &in->sin_addr) == 1);
    return sizeof(*in);
}

/* Lines as they are on the wire, without the empty one; for free(). */
static char *write_head(const char *method, const char *target, const char *headers, long body_n)
{
    char *text;
    size_t text_n;
    FILE *to = open_memstream(&text, &text_n);
    bool is_old = strncmp(headers, "HTTP/1.0\n", 9) == 0;

    headers += is_old ? 9 : 0;
    fprintf(to, "%s %s HTTP/1.%d\r\n", method, target, is_old ? 0 : 1);
    if (strncasecmp(headers, "Host:", 5) != 0 && strstr(headers, "\nHost:") == NULL)
        fputs("Host: localhost\r\n", to);
    for (; *headers != '\0'; headers++)
        fputs(*headers == '\n' ? "\r\n" : (char[]){*headers, '\0'}, to);
    if (body_n > 0)
        fprintf(to, "Content-Length: %ld\r\n", body_n);
    else if (body_n < 0)
        fputs("Transfer-Encoding: chunked\r\n", to);
    fclose(to);
    return text;
}

/* As the gate does. */
static struct http_head read_head(const struct fixture *fixture, const char *lines)
{
    static const struct http_head_limits limits = {1 << 20, 1 << 20, 1000};
    struct http_head head;
    char *text;

    must(asprintf(&text, "%s\r\n", lines) > 0);
    if (http_head_check(text, strlen(text), &limits, &head) != HTTP_HEAD_GOOD) {
        fprintf(stderr, "no head: %s\n", text);
        abort();
    }
    if (fixture->misread != NULL)
        fixture->misread(&head);
    head.path = NULL;
    free(text);
    return head;
}

static struct client *client_of(struct cell_conn_owner *owner)
{
    return (struct client *)(void *)((char *)owner - offsetof(struct client, owner));
}

static void on_idle(struct cell_conn_owner *owner)
{
    client_of(owner)->is_idle = true;
}

static void on_gone(struct cell_conn_owner *owner)
{
    client_of(owner)->has_owner = false;
}

static struct client *new_client(struct fixture *fixture)
{
    struct client *client = calloc(1, sizeof(*client));
    int fds[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    client->fixture = fixture;
    client->fd = fds[0];
    client->body = "";
    client->connection = fake_mhd_new(fds[1]);
    client->owner.idle = on_idle;
    client->owner.gone = on_gone;
    LIST_INSERT_HEAD(&fixture->clients, client, link);
    return client;
}

static void add_to_cell(struct client *client, bool is_stream)
{
    struct fixture *fixture = client->fixture;
    struct service *service = &fixture->services[0];
    struct sockaddr_storage address;
    socklen_t address_n = address_of(fixture, &address);
    struct peer peer;

    peer_from_sockaddr((const struct sockaddr *)(void *)&address, &peer);
    client_quota_add_connection(fixture->shared.client_quota, &peer, 0);
    worker_load_add(service->worker, 1);
    stats_add(service->context->stats, STATS_CONNECTIONS_OPEN, 1);
    client->has_owner = !is_stream;
    cells_add(service->cells, is_stream ? CELL_STREAM : CELL_API, client->connection->fd,
              (const struct sockaddr *)(void *)&address, address_n,
              is_stream ? NULL : &client->owner);
}

struct client *client_begin(struct fixture *fixture, const char *method, const char *target,
                            const char *headers, long body_n)
{
    struct client *client = new_client(fixture);
    char *lines = write_head(method, target, headers, body_n);
    bool is_stream = strncmp(target, "/events", 7) == 0 && strcmp(method, "GET") == 0;

    fake_mhd_request(client->connection, lines);
    client->owner.head = read_head(fixture, lines);
    client->owner.is_last = fixture->is_last || body_n < 0;
    add_to_cell(client, is_stream);
    free(lines);
    fixture_turn(fixture);
    return client;
}

void client_begin_again(struct client *client, const char *method, const char *target,
                        const char *headers, long body_n)
{
    char *lines = write_head(method, target, headers, body_n);

    must(client->is_idle);
    client->is_idle = false;
    client->status = 0;
    fake_mhd_request(client->connection, lines);
    client->owner.head = read_head(client->fixture, lines);
    client->owner.is_last = client->fixture->is_last;
    cell_resume(&client->owner);
    free(lines);
    fixture_turn(client->fixture);
}

void client_begin_unchecked(struct client *client, const char *method, const char *target)
{
    char *lines = write_head(method, target, "", 0);

    must(client->is_idle);
    client->is_idle = false;
    client->status = 0;
    fake_mhd_request(client->connection, lines);
    cell_let_close(&client->owner);
    free(lines);
    fixture_turn(client->fixture);
}

void client_send(struct client *client, const void *bytes, size_t bytes_n)
{
    fake_mhd_piece(client->connection, bytes, bytes_n);
    fixture_turn(client->fixture);
}

void client_send_end(struct client *client)
{
    fake_mhd_end_body(client->connection);
    fixture_turn(client->fixture);
}

void client_hang_up(struct client *client)
{
    if (client->fd < 0)
        return;
    close(client->fd);
    client->fd = -1;
    if (client->has_owner && client->is_idle)
        cell_let_close(&client->owner);
    fixture_turn(client->fixture);
}

/* ---- its answer ---- */

static void read_wire(struct client *client)
{
    char room[4096];
    ssize_t n;

    while (client->fd >= 0 && (n = recv(client->fd, room, sizeof(room), MSG_DONTWAIT)) > 0) {
        client->wire = realloc(client->wire, client->wire_n + (size_t)n + 1);
        memcpy(client->wire + client->wire_n, room, (size_t)n);
        client->wire_n += (size_t)n;
        client->wire[client->wire_n] = '\0';
    }
}

static void add_wire_header(struct fake_mhd_pairs *headers, const char *line, size_t line_n)
{
    const char *colon = memchr(line, ':', line_n);
    struct fake_mhd_pair *pair = &headers->list[headers->n++];

    must(colon != NULL && colon[1] == ' ' && headers->n <= FAKE_MHD_PAIRS_MAX);
    pair->name_n = (size_t)(colon - line);
    pair->name = strndup(line, pair->name_n);
    pair->value_n = line_n - pair->name_n - 2;
    pair->value = strndup(colon + 2, pair->value_n);
}

static const char *find_header(const struct fake_mhd_pairs *headers, const char *name)
{
    for (size_t i = 0; headers != NULL && i < headers->n; i++)
        if (strcasecmp(headers->list[i].name, name) == 0)
            return headers->list[i].value;
    return NULL;
}

/* Take chunks apart, as far as they have come. */
static size_t join_chunks(char *to, const char *from, const char *end)
{
    size_t n = 0;

    while (from < end) {
        char *data;
        size_t chunk_n = strtoul(from, &data, 16);

        must(data > from && strncmp(data, "\r\n", 2) == 0);
        data += 2;
        if (chunk_n == 0 || data + chunk_n + 2 > end)
            break;
        memcpy(to + n, data, chunk_n);
        n += chunk_n;
        from = data + chunk_n + 2;
    }
    return n;
}

static void forget_wire(struct client *client)
{
    for (size_t i = 0; i < client->wire_headers.n; i++) {
        free(client->wire_headers.list[i].name);
        free(client->wire_headers.list[i].value);
    }
    client->wire_headers.n = 0;
    free(client->wire_body);
    client->wire_body = NULL;
}

static void parse_wire(struct client *client)
{
    const char *end = strstr(client->wire, "\r\n\r\n");
    const char *line = strstr(client->wire, "\r\n");

    forget_wire(client);
    must(end != NULL && sscanf(client->wire, "HTTP/1.1 %u ", &client->status) == 1);
    while (line < end) {
        const char *next = strstr(line + 2, "\r\n");

        add_wire_header(&client->wire_headers, line + 2, (size_t)(next - line - 2));
        line = next;
    }
    size_t left_n = client->wire_n - (size_t)(end + 4 - client->wire);
    client->wire_body = calloc(1, left_n + 1);
    client->headers = &client->wire_headers;
    if (find_header(client->headers, "Transfer-Encoding") != NULL)
        left_n = join_chunks(client->wire_body, end + 4, client->wire + client->wire_n);
    else
        memcpy(client->wire_body, end + 4, left_n);
    client->wire_body[left_n] = '\0';
    client->body = client->wire_body;
    client->body_n = left_n;
    client->is_by_hand = true;
}

static void see_answer(struct client *client)
{
    const struct MHD_Connection *connection = client->connection;
    size_t before_n = client->wire_n;

    read_wire(client);
    if (connection->status != 0) {
        must(client->wire_n == 0); /* never both */
        client->status = connection->status;
        client->headers = &connection->answer_headers;
        client->body = connection->body != NULL ? connection->body : "";
        client->body_n = connection->body_n;
    } else if (client->wire_n > before_n) {
        parse_wire(client);
    }
}

bool client_is_closed(const struct client *client)
{
    return client->connection->state == FAKE_MHD_CLOSED;
}

static bool is_answered(const struct client *client)
{
    const struct MHD_Connection *connection = client->connection;

    return connection->is_complete || client_is_closed(client) ||
           (client->status != 0 && (connection->suspended || connection->takes_no_answer));
}

void client_wait(struct client *client)
{
    struct timespec pause = {.tv_nsec = 500000};
    int64_t until_ms = clock_mono_ms() + WAIT_MS;

    for (int turns = 0; !is_answered(client); turns++) {
        fixture_turn(client->fixture);
        if (turns > 10)
            nanosleep(&pause, NULL);
        if (clock_mono_ms() > until_ms)
            fail_msg("no answer to %s %s", client->connection->method, client->connection->url);
    }
    fixture_turn(client->fixture);
}

void client_wait_for(struct client *client, const char *text)
{
    struct timespec pause = {.tv_nsec = 500000};
    int64_t until_ms = clock_mono_ms() + WAIT_MS;

    while (!client_has(client, text)) {
        if (client_is_closed(client) || clock_mono_ms() > until_ms)
            fail_msg("no \"%s\" in \"%s\"", text, client->body);
        fixture_turn(client->fixture);
        nanosleep(&pause, NULL);
    }
}

static void send_body(struct client *client, const char *body)
{
    if (body != NULL && !client_is_closed(client) && client->status == 0) {
        client_send(client, body, strlen(body));
        client_send_end(client);
    }
    client_wait(client);
}

static long length_of(const char *body)
{
    return body != NULL ? (long)strlen(body) : 0;
}

struct client *client_ask(struct fixture *fixture, const char *method, const char *target,
                          const char *headers, const char *body)
{
    struct client *client = client_begin(fixture, method, target, headers, length_of(body));

    send_body(client, body);
    return client;
}

void client_ask_again(struct client *client, const char *method, const char *target,
                      const char *headers, const char *body)
{
    client_begin_again(client, method, target, headers, length_of(body));
    send_body(client, body);
}

const char *client_header(const struct client *client, const char *name)
{
    return find_header(client->headers, name);
}

bool client_has(const struct client *client, const char *text)
{
    return strstr(client->body, text) != NULL;
}

json_t *client_json(const struct client *client)
{
    json_error_t error;
    json_t *json = json_loadb(client->body, client->body_n, 0, &error);

    if (json == NULL)
        fail_msg("%s: %s", error.text, client->body);
    return json;
}

static const char *text_of(const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    return text != NULL ? text : "";
}

void client_is_refused(const struct client *client, unsigned status, const char *code)
{
    if (client->status != status)
        fail_msg("%u, not %u %s: %s", client->status, status, code, client->body);
    json_t *json = client_json(client);

    assert_string_equal(text_of(json, "code"), code);
    assert_string_equal(text_of(json, "type"), "about:blank");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), status);
    assert_true(text_of(json, "title")[0] != '\0');
    size_t detail_n = strlen(text_of(json, "detail"));
    assert_true(detail_n > 0 && strchr(".?)", text_of(json, "detail")[detail_n - 1]) != NULL);
    json_decref(json);
    assert_string_equal(client_header(client, "Content-Type"), "application/problem+json");
    assert_string_equal(client_header(client, "Cache-Control"), "no-store");
    assert_string_equal(client_header(client, "Vary"), "Origin");
    if (client->is_by_hand) {
        assert_string_equal(client_header(client, "Connection"), "close");
        assert_int_equal(atoi(client_header(client, "Content-Length")), client->body_n);
    } else {
        assert_string_equal(client_header(client, "X-Content-Type-Options"), "nosniff");
        assert_true(client->connection->is_complete);
    }
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

static void free_client(struct client *client)
{
    LIST_REMOVE(client, link);
    fake_mhd_free(client->connection);
    forget_wire(client);
    free(client->wire);
    free(client);
}

static int64_t counted(struct fixture *fixture, enum memory_budget_part part)
{
    return *memory_budget_counter(fixture->memory, part);
}

static void free_service(struct service *service)
{
    must(service->requests_n == 0 && service->unawaited_n == 0);
    must(LIST_EMPTY(&service->receiving) && LIST_EMPTY(&service->answering));
    must(streams_count(service->streams) == 0);
    must(cells_connections(service->cells) == 0 && cells_suspended(service->cells) == 0);
    must(worker_load(service->worker) == 0);
    must(stats_get(service->context->stats, STATS_CONNECTIONS_OPEN) == 0);
    response_cache_clear(&service->response_cache);
    cells_free(service->cells);
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
        free_client(LIST_FIRST(&fixture->clients));
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
