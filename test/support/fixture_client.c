/* SPDX-License-Identifier: MIT */
/* Clients of a gateway for tests.  See fixture.h. */
#include "config.h"

#include <setjmp.h>
#include <arpa/inet.h>
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

#include "base/clock.h"
#include "fixture_internal.h"

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
    struct service *service = &fixture->services[fixture->worker];
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

void fixture_see_answer(struct client *client)
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
    assert_true(text_of(json, "detail")[0] != '\0');
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

void fixture_free_client(struct client *client)
{
    LIST_REMOVE(client, link);
    fake_mhd_free(client->connection);
    forget_wire(client);
    free(client->wire);
    free(client);
}
