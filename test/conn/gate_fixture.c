/* SPDX-License-Identifier: MIT */
/* The gate between real sockets and a stand-in for the cells.  See gate_fixture.h. */
#include "config.h"
#include "gate_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "history/history_memory.h"

/* ---- cells ---- */

static void add_owner(struct cells *cells, struct cell_conn_owner *owner)
{
    size_t i = 0;

    while (cells->owners[i] != NULL)
        i++;
    assert_true(i + 1 < OWNERS_MAX);
    cells->owners[i] = owner;
    owner->kept = (struct cell_kept *)(void *)cells;
}

static void drop_owner(struct cells *cells, struct cell_conn_owner *owner)
{
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (cells->owners[i] == owner)
            cells->owners[i] = NULL;
    if (cells->owner == owner)
        cells->owner = NULL;
}

int cells_add(struct cells *cells, enum cell_kind kind, int fd, const struct sockaddr *address,
              socklen_t address_n, struct cell_conn_owner *owner)
{
    assert_true((owner == NULL) == (kind == CELL_STREAM || kind == CELL_STREAM_LARGE));
    cells->calls_n++;
    cells->kind = kind;
    cells->fd = fd;
    memcpy(&cells->address, address, address_n);
    cells->address_n = address_n;
    cells->owner = NULL;
    if (cells->result == 0) {
        cells->owner = owner;
        if (owner != NULL)
            add_owner(cells, owner);
        return 0;
    }
    close(fd);
    worker_load_add(cells->worker, -1);
    if (owner != NULL)
        owner->gone(owner);
    return cells->result;
}

static struct cells *cells_of(const struct cell_conn_owner *owner)
{
    return (struct cells *)(void *)owner->kept;
}

void cell_resume(struct cell_conn_owner *owner)
{
    cells_of(owner)->resumed_n++;
}

void cell_let_close(struct cell_conn_owner *owner)
{
    cells_of(owner)->let_close_n++;
}

/* The real one gives a new number. */
int cell_take_back(struct cell_conn_owner *owner)
{
    struct cells *cells = cells_of(owner);

    cells->taken_back_n++;
    drop_owner(cells, owner);
    owner->kept = NULL;
    return cells->cannot_take_back ? -EMFILE : cells->fd;
}

enum cell_kind cell_kind_of(const struct cell_conn_owner *owner)
{
    return cells_of(owner)->kind;
}

bool cell_has_pending(const struct cell_conn_owner *owner)
{
    return cells_of(owner)->has_pending;
}

/* ---- the bench ---- */

static char no_cookie[] = "";

static void no_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

struct bench *build(void)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct worker_hooks hooks = {.tick = no_tick};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->conf.auth.cookie = no_cookie;
    bench->conf.limits.header_bytes = 16384;
    bench->conf.limits.header_count = 64;
    bench->conf.limits.url_bytes = 4096;
    bench->conf.limits.header_timeout_ms = 10000;
    bench->conf.limits.keepalive_timeout_ms = 60000;
    bench->conf.tls.handshake_timeout_ms = 5000;
    bench->history = history_memory_new(&limits);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = worker_new(0, &bench->conf, bench->hub);
    assert_non_null(bench->worker);
    worker_set_hooks(bench->worker, &hooks);
    bench->lingering_close = lingering_close_new(bench->worker);
    bench->cells.worker = bench->worker;
    bench->cells.fd = -1;
    bench->client_quota = client_quota_new(&bench->conf);
    bench->gate =
        gate_new(bench->worker, &bench->cells, bench->lingering_close, bench->client_quota);
    assert_non_null(bench->gate);
    return bench;
}

/* Connections in cells end as the library would end them. */
void tear_down(struct bench *bench)
{
    if (bench->gate != NULL)
        gate_abort(bench->gate);
    for (size_t i = 0; i < OWNERS_MAX; i++)
        if (bench->cells.owners[i] != NULL)
            bench->cells.owners[i]->gone(bench->cells.owners[i]);
    gate_free(bench->gate);
    client_quota_free(bench->client_quota);
    lingering_close_free(bench->lingering_close);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    free(bench);
}

void turn(struct bench *bench)
{
    worker_turn(bench->worker, false);
}

int64_t stat_of(struct bench *bench, enum stats_id id)
{
    return stats_get(worker_context(bench->worker)->stats, id);
}

bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

struct pair connected(struct bench *bench, const char *text)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    worker_load_add(bench->worker, 1);
    if (*text != '\0')
        assert_int_equal(send(fds[1], text, strlen(text), 0), strlen(text));
    return (struct pair){fds[0], fds[1]};
}

void take(struct bench *bench, struct pair pair, struct listener_layers layers)
{
    struct sockaddr address = {.sa_family = AF_UNIX};

    gate_take(bench->gate, pair.ours, &address, sizeof(address), layers);
    turn(bench);
}

struct pair taken(struct bench *bench, const char *text)
{
    struct pair pair = connected(bench, text);

    take(bench, pair, (struct listener_layers){0});
    return pair;
}

void say_bytes(struct pair pair, const void *bytes, size_t n)
{
    assert_int_equal(send(pair.theirs, bytes, n, MSG_NOSIGNAL), n);
}

void say(struct pair pair, const char *text)
{
    say_bytes(pair, text, strlen(text));
}

void drain(int fd)
{
    char bytes[1024];

    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        continue;
}

void close_pair(struct pair pair)
{
    close(pair.ours);
    close(pair.theirs);
}

void fill_in(char *to, const char *text, size_t letters_n)
{
    size_t before_n = strcspn(text, "%");

    assert_true(strlen(text) + letters_n < HEAD_ROOM);
    memcpy(to, text, before_n);
    memset(to + before_n, 'x', letters_n);
    strcpy(to + before_n + letters_n, text + before_n + (text[before_n] == '%'));
}

struct pair kept(struct bench *bench)
{
    struct pair pair = taken(bench, GOOD_POST);
    char text[100];

    assert_admitted(bench, pair, CELL_API);
    assert_int_equal(recv(pair.ours, text, sizeof(text), 0), strlen(GOOD_POST));
    bench->cells.calls_n = 0;
    bench->cells.owner->idle(bench->cells.owner);
    assert_int_equal(gate_idle_count(bench->gate), 1);
    return pair;
}

void assert_dropped(struct bench *bench, struct pair pair)
{
    char byte;

    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(bench->cells.calls_n, 0);
    assert_false(is_open(pair.ours));
    assert_true(recv(pair.theirs, &byte, 1, 0) == 0 || errno == ECONNRESET);
    close(pair.theirs);
}

void assert_refused(struct bench *bench, struct pair pair, unsigned status)
{
    char answer[2048], start[32];
    unsigned long length;
    json_t *problem;
    ssize_t n;

    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(worker_load(bench->worker), 0);
    assert_int_equal(bench->cells.calls_n, 0);
    n = recv(pair.theirs, answer, sizeof(answer) - 1, 0);
    assert_true(n > 0);
    answer[n] = '\0';
    snprintf(start, sizeof(start), "HTTP/1.1 %u ", status);
    assert_memory_equal(answer, start, strlen(start));
    assert_non_null(strstr(answer, "\r\nContent-Type: application/problem+json\r\n"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    const char *body = strstr(answer, "\r\n\r\n") + 4;
    assert_int_equal(sscanf(strstr(answer, "Content-Length: "), "Content-Length: %lu", &length), 1);
    assert_int_equal(length, strlen(body));
    problem = json_loads(body, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_non_null(json_string_value(json_object_get(problem, "title")));
    assert_non_null(json_string_value(json_object_get(problem, "detail")));
    json_decref(problem);
    assert_int_equal(recv(pair.theirs, answer, 1, 0), 0);
    assert_int_equal(lingering_close_count(bench->lingering_close), 1);
    close(pair.theirs);
    for (int i = 0; i < 3; i++)
        turn(bench);
    assert_int_equal(lingering_close_count(bench->lingering_close), 0);
    assert_false(is_open(pair.ours));
}

void assert_admitted(struct bench *bench, struct pair pair, enum cell_kind kind)
{
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(bench->cells.calls_n, 1);
    assert_int_equal(bench->cells.fd, pair.ours);
    assert_int_equal(bench->cells.kind, kind);
    assert_int_equal(worker_load(bench->worker), 1); /* the cell counts it off */
}

void assert_let_close(struct bench *bench, struct pair pair)
{
    char byte;

    assert_int_equal(gate_idle_count(bench->gate), 0);
    assert_int_equal(gate_waiting_count(bench->gate), 0);
    assert_int_equal(bench->cells.let_close_n, 1);
    assert_int_equal(bench->cells.taken_back_n, 0);
    while (recv(pair.ours, &byte, 1, MSG_DONTWAIT) > 0)
        ;
    assert_int_equal(recv(pair.ours, &byte, 1, MSG_DONTWAIT), 0);
}
