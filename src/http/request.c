/* SPDX-License-Identifier: MIT */
/* One HTTP request.  See request.h. */
#include "config.h"
#include "http/request.h"

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "http/request_body.h"
#include "http/request_deadline.h"
#include "http/service.h"
#include "wire/problem.h"

#define FIELD(text) text, sizeof(text) - 1

static const struct {
    const char *name;
    size_t name_n;
} names[REQUEST_FIELDS] = {
    [REQUEST_HOST] = {FIELD("Host")},
    [REQUEST_ORIGIN] = {FIELD("Origin")},
    [REQUEST_CONTENT_TYPE] = {FIELD("Content-Type")},
    [REQUEST_CONTENT_LENGTH] = {FIELD("Content-Length")},
    [REQUEST_CONTENT_ENCODING] = {FIELD("Content-Encoding")},
    [REQUEST_TRANSFER_ENCODING] = {FIELD("Transfer-Encoding")},
    [REQUEST_AUTHORIZATION] = {FIELD("Authorization")},
    [REQUEST_IDEMPOTENCY_KEY] = {FIELD("Idempotency-Key")},
};

/* ---- headers ---- */

/* A value as RFC 9110 section 5.5 has it.  libmicrohttpd passes over blanks before a value, and
 * before 1.0 leaves those behind it.  Hardly anybody sends them, so they are worth a copy. */
struct trimmed {
    struct trimmed *next;
    const char *value; /* libmicrohttpd's */
    char text[];
};

static bool request_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Returns false when out of memory. */
static bool request_trim(struct request *request, const char *value, size_t value_n)
{
    size_t n = value_n;

    while (n > 0 && request_is_blank(value[n - 1]))
        n--;
    if (n == value_n)
        return true;
    struct trimmed *trimmed = malloc(sizeof(*trimmed) + n + 1);
    if (trimmed == NULL)
        return false;
    memcpy(trimmed->text, value, n);
    trimmed->text[n] = '\0';
    trimmed->value = value;
    trimmed->next = request->trimmed;
    request->trimmed = trimmed;
    return true;
}

static void request_free_trimmed(struct request *request)
{
    while (request->trimmed != NULL) {
        struct trimmed *next = request->trimmed->next;

        free(request->trimmed);
        request->trimmed = next;
    }
}

/* What stands for a value of the library's. */
static const char *request_trimmed(const struct request *request, const char *value)
{
    for (const struct trimmed *at = request->trimmed; at != NULL; at = at->next)
        if (at->value == value)
            return at->text;
    return value;
}

static enum MHD_Result request_note_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                          size_t name_n, const char *value, size_t value_n)
{
    struct request *request = cls;

    (void)kind;
    if (value == NULL || !request_trim(request, value, value_n))
        return MHD_NO;
    request->fields_n++;
    for (size_t i = 0; i < REQUEST_FIELDS; i++)
        if (names[i].name_n == name_n && strcasecmp(names[i].name, name) == 0) {
            if (request->fields[i] == NULL)
                request->fields[i] = request_trimmed(request, value);
            break;
        }
    return MHD_YES;
}

/* Returns false when out of memory. */
static bool request_note_fields(struct request *request)
{
    int headers_n = MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND,
                                                request_note_field, request);
    const char *length = request->fields[REQUEST_CONTENT_LENGTH];

    request->content_length = length != NULL ? strtoull(length, NULL, 10) : 0;
    return (size_t)headers_n == request->fields_n;
}

struct request *request_new(struct service *service, struct cell *cell,
                            struct MHD_Connection *connection, const char *method,
                            const char *version)
{
    struct request *request = calloc(1, sizeof(*request));

    if (request == NULL)
        return NULL;
    request->service = service;
    request->cell = cell;
    request->connection = connection;
    request->method = method;
    request->is_head = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    request->http_1_0 = strcasecmp(version, MHD_HTTP_VERSION_1_0) == 0;
    request->session = cell_session(connection);
    if (!request_note_fields(request)) {
        request_free_trimmed(request);
        free(request);
        return NULL;
    }
    request->has_body =
        request->fields[REQUEST_TRANSFER_ENCODING] != NULL || request->content_length > 0;
    request->origin = request->fields[REQUEST_ORIGIN];
    request->origin_verdict = origin_judge(request->origin, &service->shared->own_origins,
                                           &service->context->conf->auth.origins);
    service->requests_n++;
    stats_add(service->context->stats, STATS_REQUESTS, 1);
    return request;
}

static bool request_is_framed_as(const struct request *request, const struct http_head *head)
{
    bool has_coding = request->fields[REQUEST_TRANSFER_ENCODING] != NULL;
    bool has_length = request->fields[REQUEST_CONTENT_LENGTH] != NULL;

    return request->fields_n == head->headers_n && has_coding == head->chunked &&
           has_length == head->has_content_length &&
           (!has_length || request->content_length == head->content_length);
}

enum request_head_state request_compare_head(struct request *request)
{
    const struct cell_conn_owner *owner;

    if (!cell_is_expected(request->connection, &owner))
        return REQUEST_HEAD_UNCHECKED;
    if (owner == NULL)
        return REQUEST_HEAD_CHECKED;
    if (request->session != NULL)
        return REQUEST_HEAD_IN_TLS;
    request->is_last = owner->is_last;
    if (http_head_method_of(request->method) != owner->head.method)
        return REQUEST_HEAD_DIFFERS;
    return request_is_framed_as(request, &owner->head) ? REQUEST_HEAD_CHECKED
                                                       : REQUEST_HEAD_DIFFERS;
}

bool request_is_change(const struct request *request)
{
    return strcmp(request->method, MHD_HTTP_METHOD_POST) == 0 ||
           strcmp(request->method, MHD_HTTP_METHOD_DELETE) == 0;
}

/* libmicrohttpd is about to close its descriptor: a copy lets the client read the answer. */
static void request_linger(struct request *request)
{
    int fd = request_fd(request);
    int copy = fd >= 0 ? dup(fd) : -1;

    if (request->session != NULL)
        gnutls_bye(request->session, GNUTLS_SHUT_WR); /* the last word there is room for */
    if (copy >= request->service->shared->fd_budget.clients_end)
        close(copy); /* a descriptor beyond the clients' part: no lingering close */
    else if (copy >= 0)
        lingering_close_take(request->service->lingering_close, copy);
}

bool request_admit_answer(struct request *request, size_t bytes)
{
    if (memory_budget_admit(request->service->context->memory, MEMORY_BUDGET_ANSWERS, bytes,
                            memory_budget_level_for(bytes))) {
        request->answer_bytes += bytes;
        return true;
    }
    stats_add(request->service->context->stats, STATS_ANSWERS_REFUSED_MEMORY, 1);
    return false;
}

static void request_free(struct request *request)
{
    if (request->admission != NULL)
        request->free_admission(request);
    if (request->free_work != NULL)
        request->free_work(request->work);
    if (request->cached != NULL)
        response_cache_give_back(&request->service->response_cache, request->cached);
    identity_unref(request->identity);
    free(request->ticket);
    request_free_trimmed(request);
    request->service->requests_n--;
    request_body_drop(request);
    memory_budget_add(request->service->context->memory, MEMORY_BUDGET_ANSWERS,
                      -(int64_t)request->answer_bytes);
    free(request);
}

void request_complete(struct request *request)
{
    request_deadline_unwatch(request);
    if (request->lingers)
        request_linger(request);
    request->client_left = request->waiter.state == CELL_SUSPENDED;
    if (request_waits(request))
        cell_forget(request->cell, &request->waiter);
    request->connection = NULL;
    request->session = NULL;
    if (!request->client_left)
        request_free(request);
}

const char *request_header(const struct request *request, const char *name)
{
    const char *value = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);

    return request_trimmed(request, value);
}

struct each_header {
    const struct request *request;
    const char *name;
    void (*see)(void *arg, const char *value);
    void *arg;
};

static enum MHD_Result request_see_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                          const char *value)
{
    struct each_header *each = cls;

    (void)kind;
    if (value != NULL && strcasecmp(name, each->name) == 0)
        each->see(each->arg, request_trimmed(each->request, value));
    return MHD_YES;
}

void request_each_header(const struct request *request, const char *name,
                         void (*see)(void *arg, const char *value), void *arg)
{
    struct each_header each = {request, name, see, arg};

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, request_see_header, &each);
}

static void request_count_header(void *arg, const char *value)
{
    size_t *n = arg;

    (void)value;
    (*n)++;
}

size_t request_header_count(const struct request *request, const char *name)
{
    size_t n = 0;

    request_each_header(request, name, request_count_header, &n);
    return n;
}

const char *request_query(const struct request *request, const char *name, size_t *ret_n)
{
    const char *value = NULL;
    size_t value_n = 0;

    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
                                      strlen(name), &value, &value_n) != MHD_YES)
        return NULL;
    if (ret_n != NULL)
        *ret_n = value != NULL ? value_n : 0;
    return value != NULL ? value : "";
}

struct each {
    bool (*see)(void *arg, const char *name, size_t name_n, const char *value, size_t value_n);
    void *arg;
};

static enum MHD_Result request_see_query(void *cls, enum MHD_ValueKind kind, const char *key,
                                         size_t key_n, const char *value, size_t value_n)
{
    struct each *each = cls;

    (void)kind;
    return each->see(each->arg, key, key_n, value != NULL ? value : "", value != NULL ? value_n : 0)
               ? MHD_YES
               : MHD_NO;
}

void request_each_query(const struct request *request,
                        bool (*see)(void *arg, const char *name, size_t name_n, const char *value,
                                    size_t value_n),
                        void *arg)
{
    struct each each = {see, arg};

    MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, request_see_query,
                                &each);
}

int request_suspend(struct request *request, int (*resumed)(struct request *request))
{
    request->resumed = resumed;
    cell_suspend(request->cell, &request->waiter, request->connection);
    return MHD_YES;
}

void request_wake(struct request *request)
{
    if (request->client_left)
        request_free(request);
    else
        cell_answer(request->cell, &request->waiter);
}

bool request_waits(const struct request *request)
{
    return request->waiter.state != CELL_RUNNING;
}

int request_fd(const struct request *request)
{
    const union MHD_ConnectionInfo *info =
        request->connection != NULL
            ? MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD)
            : NULL;

    return info != NULL ? info->connect_fd : -1;
}

/* Past the library.  Nothing of an answer has been written before.  Returns whether it went whole;
 * if not, the connection is of no use any more. */
static bool request_send_by_hand(struct request *request, const char *answer, size_t n)
{
    if (request->session != NULL)
        return gnutls_record_send(request->session, answer, n) == (ssize_t)n;
    return send(request_fd(request), answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

void request_write_origin_lines(const struct request *request, char to[ORIGIN_LINES_BYTES])
{
    origin_write_lines(to, request->origin_verdict == ORIGIN_LISTED ? request->origin : NULL,
                       request->service->context->conf->auth.cookie[0] != '\0');
}

static void request_write_answer(struct request *request, unsigned status, const char *code,
                                 const char *detail, unsigned retry_after_s)
{
    char answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    request_write_origin_lines(request, lines);
    size_t n = problem_write_http(answer, status, code, detail, lines, retry_after_s);
    if (request_send_by_hand(request, answer, n))
        stats_add(request->service->context->stats,
                  status >= 500 ? STATS_RESPONSES_5XX : STATS_RESPONSES_4XX, 1);
}

void request_write_problem(struct request *request, unsigned status, const char *code,
                           const char *detail)
{
    request_write_answer(request, status, code, detail, 0);
}

int request_cut(struct request *request, unsigned status, const char *code, const char *detail)
{
    request_write_problem(request, status, code, detail);
    request->answered = request->lingers = true;
    return MHD_NO;
}

int request_cut_with(struct request *request, const char *answer, size_t answer_n)
{
    request_send_by_hand(request, answer, answer_n);
    request->answered = request->lingers = true;
    return MHD_NO;
}

int request_cut_busy(struct request *request)
{
    struct stats *stats = request->service->context->stats;

    request_write_answer(request, 503, "memory_short",
                         "The gateway has no memory for this body now; nothing of this request was "
                         "stored.",
                         problem_retry_after_s());
    stats_add(stats, STATS_PUBLISHES_SHED, 1);
    stats_add(stats, STATS_PUBLISHES_REFUSED_MEMORY, 1);
    request->answered = request->lingers = true;
    return MHD_NO;
}
