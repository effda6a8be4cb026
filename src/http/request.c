/* SPDX-License-Identifier: MIT */
/* One HTTP request.  See request.h. */
#include "config.h"
#include "http/request.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/service.h"
#include "wire/problem.h"

/* Nearly all answers are in the kernel's hands before that. */
#define ANSWER_LOOK_AFTER_MS 1000
/* How much later than ours the kernel's judgement comes. */
#define PATIENCE_BEYOND_STALL_MS 10000
#define RETRY_AFTER_MIN_S 1
#define RETRY_AFTER_MAX_S 5

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

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Returns false when out of memory. */
static bool trim(struct request *request, const char *value, size_t value_n)
{
    size_t n = value_n;

    while (n > 0 && is_blank(value[n - 1]))
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

static void free_trimmed(struct request *request)
{
    while (request->trimmed != NULL) {
        struct trimmed *next = request->trimmed->next;

        free(request->trimmed);
        request->trimmed = next;
    }
}

/* What stands for a value of the library's. */
static const char *trimmed_of(const struct request *request, const char *value)
{
    for (const struct trimmed *at = request->trimmed; at != NULL; at = at->next)
        if (at->value == value)
            return at->text;
    return value;
}

static enum MHD_Result note_field(void *cls, enum MHD_ValueKind kind, const char *name,
                                  size_t name_n, const char *value, size_t value_n)
{
    struct request *request = cls;

    (void)kind;
    if (value == NULL || !trim(request, value, value_n))
        return MHD_NO;
    request->fields_n++;
    for (size_t i = 0; i < REQUEST_FIELDS; i++)
        if (names[i].name_n == name_n && strcasecmp(names[i].name, name) == 0) {
            if (request->fields[i] == NULL)
                request->fields[i] = trimmed_of(request, value);
            break;
        }
    return MHD_YES;
}

/* Returns false when out of memory. */
static bool note_fields(struct request *request)
{
    int headers_n =
        MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, note_field, request);
    const char *length = request->fields[REQUEST_CONTENT_LENGTH];

    request->content_length = length != NULL ? strtoull(length, NULL, 10) : 0;
    return (size_t)headers_n == request->fields_n;
}

static bool announces_body(const struct request *request)
{
    return request->fields[REQUEST_TRANSFER_ENCODING] != NULL || request->content_length > 0;
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
    if (!note_fields(request)) {
        free_trimmed(request);
        free(request);
        return NULL;
    }
    request->has_body = announces_body(request);
    request->origin = request->fields[REQUEST_ORIGIN];
    request->origin_verdict = origin_judge(request->origin, &service->shared->own_origins,
                                           &service->context->conf->auth.origins);
    service->requests_n++;
    stats_add(service->context->stats, STATS_REQUESTS, 1);
    return request;
}

static bool is_framed_as(const struct request *request, const struct http_head *head)
{
    bool has_coding = request->fields[REQUEST_TRANSFER_ENCODING] != NULL;
    bool has_length = request->fields[REQUEST_CONTENT_LENGTH] != NULL;

    return request->fields_n == head->headers_n && has_coding == head->chunked &&
           has_length == head->has_content_length &&
           (!has_length || request->content_length == head->content_length);
}

enum request_sight request_identify(struct request *request, const char *method)
{
    const struct cell_conn_owner *owner;

    if (!cell_is_expected(request->connection, &owner))
        return REQUEST_UNSEEN;
    if (owner == NULL)
        return REQUEST_SEEN;
    if (request->session != NULL)
        return REQUEST_INSIDE;
    request->is_last = owner->is_last;
    if (http_head_method_of(method) != owner->head.method)
        return REQUEST_OTHER;
    return is_framed_as(request, &owner->head) ? REQUEST_SEEN : REQUEST_OTHER;
}

void request_end_body(struct request *request)
{
    if (!request->receiving)
        return;
    LIST_REMOVE(request, link);
    request->receiving = false;
}

/* libmicrohttpd is about to close its descriptor: a copy lets the client read the answer. */
static void linger(struct request *request)
{
    int fd = request_fd(request);
    int copy = fd >= 0 ? dup(fd) : -1;

    if (request->session != NULL)
        gnutls_bye(request->session, GNUTLS_SHUT_WR); /* the last word there is room for */
    if (copy >= request->service->shared->fd_budget.clients_end)
        close(copy); /* a descriptor that is not for clients: no room for manners */
    else if (copy >= 0)
        lingering_close_take(request->service->lingering_close, copy);
}

static void end_answer(struct request *request)
{
    if (!request->answering)
        return;
    LIST_REMOVE(request, link);
    request->answering = false;
}

static struct memory_budget *memory_of(const struct request *request)
{
    return request->service->context->memory;
}

void request_drop_body(struct request *request)
{
    memory_budget_add(memory_of(request), MEMORY_BUDGET_BODIES, -(int64_t)request->body_room);
    free(request->body);
    request->body = NULL;
    request->body_n = request->body_room = 0;
}

bool request_admit_answer(struct request *request, size_t bytes)
{
    if (memory_budget_admit(memory_of(request), MEMORY_BUDGET_ANSWERS, bytes,
                            memory_budget_level_for(bytes))) {
        request->answer_bytes += bytes;
        return true;
    }
    stats_add(request->service->context->stats, STATS_ANSWERS_REFUSED_MEMORY, 1);
    return false;
}

static void free_request(struct request *request)
{
    if (request->free_work != NULL)
        request->free_work(request->work);
    if (request->answer != NULL)
        response_cache_give_back(&request->service->answers, request->answer);
    identity_unref(request->identity);
    free(request->ticket);
    free_trimmed(request);
    request->service->requests_n--;
    request_drop_body(request);
    memory_budget_add(memory_of(request), MEMORY_BUDGET_ANSWERS, -(int64_t)request->answer_bytes);
    free(request);
}

void request_complete(struct request *request)
{
    request_end_body(request);
    end_answer(request);
    if (request->lingers)
        linger(request);
    request->deserted = request->waiter.state == CELL_SUSPENDED;
    if (request_waits(request))
        cell_forget(request->cell, &request->waiter);
    request->connection = NULL;
    request->session = NULL;
    if (!request->deserted)
        free_request(request);
}

const char *request_header(const struct request *request, const char *name)
{
    const char *value = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);

    return trimmed_of(request, value);
}

struct each_header {
    const struct request *request;
    const char *name;
    void (*see)(void *arg, const char *value);
    void *arg;
};

static enum MHD_Result see_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    struct each_header *each = cls;

    (void)kind;
    if (value != NULL && strcasecmp(name, each->name) == 0)
        each->see(each->arg, trimmed_of(each->request, value));
    return MHD_YES;
}

void request_each_header(const struct request *request, const char *name,
                         void (*see)(void *arg, const char *value), void *arg)
{
    struct each_header each = {request, name, see, arg};

    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, see_header, &each);
}

static void count_header(void *arg, const char *value)
{
    size_t *n = arg;

    (void)value;
    (*n)++;
}

size_t request_header_count(const struct request *request, const char *name)
{
    size_t n = 0;

    request_each_header(request, name, count_header, &n);
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

static enum MHD_Result see_query(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_n,
                                 const char *value, size_t value_n)
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

    MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, see_query, &each);
}

void request_begin_body(struct request *request)
{
    struct service *service = request->service;
    int64_t now_ms = clock_mono_ms();

    request->body_until_ms = now_ms + (int64_t)service->context->conf->limits.body_timeout_ms;
    min_rate_begin(&request->rate, now_ms, 0);
    LIST_INSERT_HEAD(&service->receiving, request, link);
    request->receiving = true;
}

int request_take_body(struct request *request, const char *piece, size_t piece_n, size_t max)
{
    size_t needed = request->body_n + piece_n;

    if (needed > max)
        return -EMSGSIZE;
    if (needed > request->body_room) {
        size_t room = request->body_room * 2;

        if (room < needed)
            room = needed; /* nearly every body comes in one piece */
        size_t more = room - request->body_room;
        if (!memory_budget_admit(memory_of(request), MEMORY_BUDGET_BODIES, more,
                                 memory_budget_level_for(room)))
            return -ENOBUFS;
        char *body = realloc(request->body, room);
        if (body == NULL) {
            memory_budget_add(memory_of(request), MEMORY_BUDGET_BODIES, -(int64_t)more);
            return -ENOMEM;
        }
        request->body = body;
        request->body_room = room;
    }
    memcpy(request->body + request->body_n, piece, piece_n);
    request->body_n = needed;
    return 0;
}

int request_suspend(struct request *request, int (*resumed)(struct request *request))
{
    request->resumed = resumed;
    cell_suspend(request->cell, &request->waiter, request->connection);
    return MHD_YES;
}

void request_wake(struct request *request)
{
    if (request->deserted)
        free_request(request);
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
static bool send_by_hand(struct request *request, const char *answer, size_t n)
{
    if (request->session != NULL)
        return gnutls_record_send(request->session, answer, n) == (ssize_t)n;
    return send(request_fd(request), answer, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

void request_write_lines(const struct request *request, char to[ORIGIN_LINES_BYTES])
{
    origin_write_lines(to, request->origin_verdict == ORIGIN_LISTED ? request->origin : NULL,
                       request->service->context->conf->auth.cookie[0] != '\0');
}

static void write_by_hand(struct request *request, unsigned status, const char *code,
                          const char *detail)
{
    char answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    request_write_lines(request, lines);
    size_t n = problem_write_http(answer, status, code, detail, lines);
    if (send_by_hand(request, answer, n))
        stats_add(request->service->context->stats,
                  status >= 500 ? STATS_RESPONSES_5XX : STATS_RESPONSES_4XX, 1);
}

int request_cut(struct request *request, unsigned status, const char *code, const char *detail)
{
    write_by_hand(request, status, code, detail);
    request->answered = true;
    request->lingers = true;
    return MHD_NO;
}

int request_cut_busy(struct request *request)
{
    struct stats *stats = request->service->context->stats;
    unsigned retry_after_s =
        RETRY_AFTER_MIN_S + arc4random_uniform(RETRY_AFTER_MAX_S - RETRY_AFTER_MIN_S + 1);
    char answer[PROBLEM_HTTP_BYTES], lines[ORIGIN_LINES_BYTES];

    request_write_lines(request, lines);
    size_t n = problem_write_busy(answer, "memory_short",
                                  "The gateway has no memory for this body now; nothing of this "
                                  "request was stored.",
                                  lines, retry_after_s);

    if (send_by_hand(request, answer, n))
        stats_add(stats, STATS_RESPONSES_5XX, 1);
    stats_add(stats, STATS_PUBLISHES_SHED, 1);
    stats_add(stats, STATS_PUBLISHES_REFUSED_MEMORY, 1);
    request->answered = true;
    request->lingers = true;
    return MHD_NO;
}

void request_begin_answer(struct request *request)
{
    struct service *service = request->service;

    assert(!request->receiving && !request->answering);
    request->rate.begun_ms = worker_now_ms(service->worker);
    LIST_INSERT_HEAD(&service->answering, request, link);
    request->answering = true;
}

/* A body that does not come.  The answer is written by hand, and its daemon sees the shutdown and
 * completes the request. */
static void cut_body(struct request *request, enum stats_id counter, const char *code,
                     const char *detail)
{
    stats_add(request->service->context->stats, counter, 1);
    request_end_body(request);
    write_by_hand(request, 408, code, detail);
    shutdown(request_fd(request), SHUT_RDWR);
}

static void check_body(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;

    min_rate_note(&request->rate, now_ms, (int64_t)request->body_n);
    if (request->body_until_ms <= now_ms)
        cut_body(request, STATS_BODIES_TIMED_OUT, "body_timeout",
                 "The body did not arrive within limits.body_timeout.");
    else if (min_rate_is_slow(&request->rate, now_ms, conf->limits.body_rate))
        cut_body(request, STATS_BODIES_TOO_SLOW, "body_too_slow",
                 "The body came more slowly than limits.body_rate allows.");
}

static void cut_answer(struct request *request, enum stats_id counter)
{
    stats_add(request->service->context->stats, counter, 1);
    end_answer(request);
    peer_abort(request_fd(request));
}

/* The kernel would take a slow reader for one that is gone; see peer_set_patience(). */
static void keep_patience(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;

    if (request->rate.moved_ms == now_ms)
        peer_set_patience(request_fd(request), now_ms - request->rate.begun_ms +
                                                   (int64_t)conf->stream.stall_timeout_ms +
                                                   PATIENCE_BEYOND_STALL_MS);
}

/* A count below 0 is of a unix socket, which tells no rate. */
static void check_answer(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;
    struct min_rate *rate = &request->rate;
    struct tcp_progress flow;

    if (now_ms - rate->begun_ms < ANSWER_LOOK_AFTER_MS ||
        tcp_progress(request_fd(request), &flow) != 0)
        return;
    if (flow.outstanding == 0) { /* and then it does not tell how much was acknowledged */
        min_rate_moved(rate, now_ms);
        return;
    }
    if (!request->measured)
        min_rate_begin(rate, now_ms, flow.acknowledged);
    request->measured = true;
    min_rate_note(rate, now_ms, flow.acknowledged);
    keep_patience(request, now_ms);
    if (min_rate_still_ms(rate, now_ms) >= (int64_t)conf->stream.stall_timeout_ms)
        cut_answer(request, STATS_ANSWERS_STALLED);
    else if (flow.acknowledged >= 0 && min_rate_is_slow(rate, now_ms, conf->limits.answer_rate))
        cut_answer(request, STATS_ANSWERS_TOO_SLOW);
}

static void check_each(struct request_list *list, int64_t now_ms,
                       void (*check)(struct request *request, int64_t now_ms))
{
    struct request *request = LIST_FIRST(list);

    while (request != NULL) {
        struct request *next = LIST_NEXT(request, link);

        check(request, now_ms);
        request = next;
    }
}

void request_tick(struct service *service, int64_t now_ms)
{
    check_each(&service->receiving, now_ms, check_body);
    check_each(&service->answering, now_ms, check_answer);
}
