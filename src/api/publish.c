/* SPDX-License-Identifier: MIT */
/* POST /api/push.  See publish.h. */
#include "config.h"
#include "api/publish.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/access.h"
#include "api/challenge.h"
#include "api/publish_body.h"
#include "api/publish_kind.h"
#include "api/publish_plain.h"
#include "history/history.h"
#include "http/request_body.h"
#include "http/respond.h"
#include "http/service.h"
#include "wire/json_span.h"

#define FIELDS_MAX 64
/* What is not plain takes 20 to 70 ns a byte, the most where events are small.  Beyond this, 0.1 to
 * 0.3 ms, it is done beside the loop, whose streams would wait for it, and for all the others that
 * came in the same turn. */
#define ASIDE_BYTES 4096
/* And holding topics against the patterns that a caller may publish to takes up to 2 ns a byte and
 * pattern: so many of these cost as much as reading. */
#define ASIDE_PATTERNS 32
/* What one turn of the loop reads, 3 to 9 ms: a client may have many bodies arrive in one turn. */
#define READ_BYTES_A_TURN ((size_t)128 << 10)
/* Beyond this an overload is told before the body is read, at the price of the connection. */
#define UNREAD_BYTES 65536
/* What an event costs at least, whatever its body has. */
#define EVENT_BYTES_MIN 256

/* Between the handler and the hub's answer. */
struct work {
    struct hub_op op;
    struct request *request;
    struct publish_body body;
    struct aside *aside;                 /* NULL: the body was read on the loop */
    size_t admitted_bytes;               /* counted by the hub, and no operation has them yet */
    size_t parsing_bytes;                /* set aside for reading the body */
    char key[MESSAGE_KEY_BYTES_MAX + 1]; /* from the header */
};

/* ---- what kind of body ---- */

static int publish_respond_overload(struct request *request)
{
    stats_add(request->service->context->stats, STATS_PUBLISHES_SHED, 1);
    return respond_unavailable(
        request, 0, "overloaded",
        "Too many events wait to be stored; nothing of this request was stored.");
}

int publish_begin(struct request *request)
{
    const char *type = request->fields[REQUEST_CONTENT_TYPE];
    const char *encoding = request->fields[REQUEST_CONTENT_ENCODING];

    if (type != NULL && strncasecmp(type, "multipart/", 10) == 0)
        return respond_error(request, 415, "unsupported_type",
                             "Multipart bodies are not supported: send application/json, or the "
                             "data as the body and the fields in the query.");
    if (encoding != NULL && strcasecmp(encoding, "identity") != 0)
        return respond_error(request, 415, "unsupported_encoding",
                             "The body must not have a Content-Encoding.");
    /* a large body that would be refused for overload is not even read */
    if (request->content_length > UNREAD_BYTES &&
        hub_is_full(request->service->shared->hub, (size_t)request->content_length))
        return publish_respond_overload(request);
    return -1;
}

/* ---- reading ---- */

struct fields {
    struct publish_field list[FIELDS_MAX]; /* their bytes are libmicrohttpd's */
    size_t n;
    bool too_many;
};

/* What it takes to read a body, beside its bytes. */
struct reading {
    struct publish_limits limits;
    struct fields fields;
    bool is_json;
};

static bool publish_collect_field(void *arg, const char *name, size_t name_n, const char *value,
                                  size_t value_n)
{
    struct fields *fields = arg;

    (void)name_n;
    if (fields->n == FIELDS_MAX) {
        fields->too_many = true;
        return false;
    }
    fields->list[fields->n++] =
        (struct publish_field){.name = name, .value = value, .value_n = value_n};
    return true;
}

/* The header is text in quotes (draft-ietf-httpapi-idempotency-key-header 2.1, RFC 9651 3.3.3);
 * what stands there without quotes is taken as it is, as most gateways do. */
static bool publish_unquote_key(const char *value, char *to, size_t to_n, size_t *ret_n)
{
    size_t n = 0, i = value[0] == '"', end = strlen(value);

    if (i == 1 && (end < 2 || value[--end] != '"'))
        return false;
    for (; i < end && n < to_n; i++) {
        if (value[0] == '"' && value[i] == '\\' && i + 1 < end)
            i++;
        to[n++] = value[i];
    }
    *ret_n = n;
    return true;
}

static bool publish_read_key(struct request *request, struct work *work,
                             struct publish_limits *limits, struct problem *ret_problem)
{
    const char *value = request->fields[REQUEST_IDEMPOTENCY_KEY];

    if (value == NULL)
        return true;
    if (request_header_count(request, "Idempotency-Key") > 1)
        return problem_set(ret_problem, 400, "invalid_key",
                           "The request has more than one Idempotency-Key header.");
    if (!publish_unquote_key(value, work->key, sizeof(work->key), &limits->key_n))
        return problem_set(
            ret_problem, 400, "invalid_key",
            "The Idempotency-Key header begins with a quote and does not end with one.");
    limits->key = work->key;
    return true;
}

/* What only the loop can ask: settings and headers. */
static bool publish_begin_reading(struct request *request, struct work *work,
                                  struct reading *reading, struct problem *ret_problem)
{
    const struct conf *conf = request->service->context->conf;

    reading->limits = (struct publish_limits){
        .event_bytes_max = conf->limits.event_bytes,
        .json_depth_max = conf->limits.json_depth,
        .scope = request->identity != NULL ? request->identity->scope : NULL,
    };
    reading->fields.n = 0;
    reading->fields.too_many = false;
    reading->is_json = publish_kind_is_json(request->fields[REQUEST_CONTENT_TYPE]);
    if (!publish_read_key(request, work, &reading->limits, ret_problem))
        return false;
    request_each_query(request, publish_collect_field, &reading->fields);
    if (reading->fields.too_many)
        return problem_set(ret_problem, 422, "too_many_fields",
                           "The query has more than %d fields.", FIELDS_MAX);
    if (reading->is_json && reading->fields.n > 0)
        return problem_set(ret_problem, 422, "fields_in_query",
                           "With a JSON body the fields belong into the JSON, not into the query.");
    return true;
}

/* A body that is plainly one event, which takes no more than that.  Any thread. */
static bool publish_read_plain(const struct request *request, const struct reading *reading,
                               struct publish_body *ret_body)
{
    return reading->is_json && request->body_n > 0 &&
           publish_plain(request->body, request->body_n, &reading->limits, ret_body);
}

/* Any other.  Any thread. */
static bool publish_read_body(const struct request *request, const struct reading *reading,
                              struct publish_body *ret_body, struct problem *ret_problem)
{
    const char *body = request->body != NULL ? request->body : "";

    if (reading->is_json)
        return publish_body_json(body, request->body_n, &reading->limits, ret_body, ret_problem);
    return publish_body_text(body, request->body_n, reading->fields.list, reading->fields.n,
                             &reading->limits, ret_body, ret_problem);
}

/* ---- memory ---- */

/* Reading a body takes the messages and room to compose them in. */
static size_t publish_composing_bytes(const struct request *request)
{
    return 2 * request->body_n;
}

/* And what is not plain JSON takes the parser's tree. */
static size_t publish_tree_bytes(const struct request *request, const struct reading *reading)
{
    struct json_span text = {request->body != NULL ? request->body : "", request->body_n};

    return reading->is_json ? json_span_tree_bytes(text) : 0;
}

/* ---- answering ---- */

/* A publisher may see these figures: they help to solve the problem. */
static void publish_set_no_room(struct problem *problem, const struct history *history)
{
    if (history_trouble(history) != HISTORY_NO_ROOM)
        problem_set(problem, 507, "disk_reserve",
                    "The disk of the store is full; nothing was stored.");
    else
        problem_set(problem, 507, "disk_reserve",
                    "Nothing was stored: %llu KiB are free on the disk of the store, "
                    "history.disk_reserve is %llu KiB, and the commit takes up to %llu KiB.  Make "
                    "room on that disk, or set a smaller history.disk_reserve.",
                    (unsigned long long)history->free_bytes / 1024,
                    (unsigned long long)history->disk_reserve / 1024,
                    (unsigned long long)(history->asked_bytes + 1023) / 1024);
}

static int publish_respond_failure(struct request *request, int error)
{
    struct problem problem;

    stats_add(request->service->context->stats,
              error == -ENOSPC ? STATS_PUBLISHES_REFUSED_DISK : STATS_PUBLISHES_FAILED, 1);
    if (error == -ENOSPC)
        publish_set_no_room(&problem, hub_history(request->service->shared->hub));
    else if (error == -ESTALE)
        problem_set(&problem, 503, "store_gone",
                    "The file of the store was moved, removed or replaced; nothing was stored. Put "
                    "the file back or restart the gateway.");
    else if (error == -ESHUTDOWN)
        problem_set(&problem, 503, "stopping", "The gateway is stopping; nothing was stored.");
    else if (error == -ECONNRESET)
        problem_set(&problem, 503, "handover_lost",
                    "The gateway that took over has ended: whether this was stored is unknown. "
                    "Send it again with the same idempotency key, then it is stored once.");
    else
        problem_set(&problem, 503, "store_failed", "The store failed; nothing was stored.");
    problem.retry_after_s = problem_retry_after_s();
    return respond_problem(request, &problem);
}

static int publish_respond_conflict(struct request *request, const struct work *work)
{
    struct problem problem;

    stats_add(request->service->context->stats, STATS_PUBLISHES_REFUSED, 1);
    problem_set(&problem, 422, "idempotency_conflict",
                "The key was used before with other content; nothing of this request was stored.");
    if (work->body.is_array)
        problem_point(&problem, "/%zu/idempotency_key", work->op.conflict_at);
    else
        problem_point(&problem, "/idempotency_key");
    return respond_problem(request, &problem);
}

static bool publish_is_duplicate(const struct work *work, size_t index)
{
    return work->op.duplicate_of != NULL && work->op.duplicate_of[index] != 0;
}

/* The answer is built by hand: this is the one that must be fast. */
static char *publish_put_id(char *to, const struct work *work, size_t index, const char *epoch)
{
    const struct message *message = work->body.messages[index];

    if (message->kind != MESSAGE_STORED)
        return stpcpy(to, "null");
    *to++ = '"';
    sse_put_id(to, epoch,
               publish_is_duplicate(work, index) ? work->op.duplicate_of[index]
                                                 : message->position);
    to += SSE_ID_BYTES;
    *to++ = '"';
    return to;
}

static const char *publish_durability(const struct work *work, const struct history *history)
{
    for (size_t i = 0; i < work->body.messages_n; i++)
        if (work->body.messages[i]->kind == MESSAGE_STORED)
            return history_durability_text(history);
    return "none";
}

static int publish_respond_one(struct request *request, const struct work *work,
                               const struct history *history)
{
    char answer[128 + SSE_ID_BYTES];
    char *to = stpcpy(answer, "{\"id\":");

    to = publish_put_id(to, work, 0, history->epoch);
    to = stpcpy(stpcpy(to, ",\"durability\":\""), publish_durability(work, history));
    to = stpcpy(stpcpy(to, "\",\"duplicate\":"), publish_is_duplicate(work, 0) ? "true" : "false");
    to = stpcpy(to, "}\n");
    return respond_json_bytes(request, MHD_HTTP_CREATED, answer, (size_t)(to - answer));
}

static int publish_respond_many(struct request *request, const struct work *work,
                                const struct history *history)
{
    size_t events_n = work->body.messages_n;
    char *answer = malloc(128 + events_n * (SSE_ID_BYTES + 3 + 6));
    char *to = answer;

    if (answer == NULL)
        return MHD_NO;
    to = stpcpy(to, "{\"ids\":[");
    for (size_t i = 0; i < events_n; i++) {
        if (i > 0)
            *to++ = ',';
        to = publish_put_id(to, work, i, history->epoch);
    }
    to = stpcpy(to, "],\"duplicates\":[");
    for (size_t i = 0; i < events_n; i++) {
        if (i > 0)
            *to++ = ',';
        to = stpcpy(to, publish_is_duplicate(work, i) ? "true" : "false");
    }
    to += sprintf(to, "],\"durability\":\"%s\"}\n", publish_durability(work, history));
    int result = respond_json_bytes(request, MHD_HTTP_CREATED, answer, (size_t)(to - answer));
    free(answer);
    return result;
}

static int publish_respond(struct request *request)
{
    struct work *work = request->work;
    const struct history *history = hub_history(request->service->shared->hub);

    if (work->op.result == -EEXIST)
        return publish_respond_conflict(request, work);
    if (work->op.result != 0)
        return publish_respond_failure(request, work->op.result);
    return work->body.is_array ? publish_respond_many(request, work, history)
                               : publish_respond_one(request, work, history);
}

/* ---- to the hub and back ---- */

static struct hub *publish_hub(const struct work *work)
{
    return work->request->service->shared->hub;
}

/* There will be no operation for what the hub counts. */
static void publish_release_admitted(struct work *work)
{
    hub_charge(publish_hub(work), work->admitted_bytes, 0);
    work->admitted_bytes = 0;
}

static void publish_free(void *arg)
{
    struct work *work = arg;

    publish_release_admitted(work);
    publish_body_free(&work->body);
    free(work->op.duplicate_of);
    free(work->aside);
    free(work);
}

static struct work *publish_new(struct request *request)
{
    struct work *work = calloc(1, sizeof(*work));

    if (work == NULL)
        return NULL;
    work->request = request;
    request->work = work;
    request->free_work = publish_free;
    return work;
}

static int publish_refuse(struct request *request, const struct problem *problem)
{
    publish_release_admitted(request->work);
    stats_add(request->service->context->stats, STATS_PUBLISHES_REFUSED, 1);
    challenge_count(request->service->context->stats, problem);
    return respond_problem(request, problem);
}

/* Set room aside for what reading takes; JSON takes many times its bytes. */
static bool publish_reserve(struct work *work, size_t bytes)
{
    struct memory_budget *memory = work->request->service->context->memory;

    if (!memory_budget_admit(memory, MEMORY_BUDGET_PARSING, bytes, memory_budget_level_for(bytes)))
        return false;
    work->parsing_bytes += bytes;
    return true;
}

/* The body is read: what it became is counted instead, each event until it is freed. */
static void publish_end_parsing(struct work *work)
{
    struct memory_budget *memory = work->request->service->context->memory;
    _Atomic int64_t *account = memory_budget_counter(memory, MEMORY_BUDGET_EVENTS);

    for (size_t i = 0; i < work->body.messages_n; i++)
        message_charge(work->body.messages[i], account);
    memory_budget_add(memory, MEMORY_BUDGET_PARSING, -(int64_t)work->parsing_bytes);
    work->parsing_bytes = 0;
}

/* The body is good: off to the hub.  Returns 0, or -ENOMEM. */
static int publish_submit(struct work *work)
{
    request_body_drop(work->request); /* it is in the messages */
    work->op.events = work->body.messages;
    work->op.events_n = work->body.messages_n;
    work->op.bytes = work->body.bytes;
    if (work->body.has_keys) {
        work->op.duplicate_of = calloc(work->op.events_n, sizeof(work->op.duplicate_of[0]));
        if (work->op.duplicate_of == NULL)
            return -ENOMEM;
    }
    hub_charge(publish_hub(work), work->admitted_bytes, work->op.bytes);
    work->admitted_bytes = 0;
    worker_publish(work->request->service->worker, &work->op);
    return 0;
}

/* ---- large bodies, beside the loop ---- */

/* The request is suspended all the while, so nothing of it goes away. */
struct aside {
    struct thread_pool_task task;
    struct inbox_note note;
    struct work *work;
    struct reading reading;
    const struct conf *conf; /* of when the body came; a reference */
    struct problem problem;
    bool good;
    bool stopping;
};

static int publish_respond_unread(struct request *request)
{
    struct work *work = request->work;

    if (work->aside->stopping)
        return publish_respond_failure(request, -ESHUTDOWN);
    if (!work->aside->good)
        return publish_refuse(request, &work->aside->problem);
    return respond_out_of_memory(request);
}

/* Back on the loop.  A body that was good goes on to the hub, whose answer wakes the request. */
static void publish_take_back(void *arg)
{
    struct aside *aside = arg;
    struct work *work = aside->work;

    conf_unref(aside->conf);
    publish_end_parsing(work);
    if (aside->good && publish_submit(work) == 0)
        return;
    publish_release_admitted(work);
    work->request->resumed = publish_respond_unread;
    request_wake(work->request);
}

/* On a thread of the pool. */
static void publish_run_aside(struct thread_pool_task *task, bool stopping)
{
    struct aside *aside = (struct aside *)((char *)task - offsetof(struct aside, task));
    struct work *work = aside->work;

    aside->stopping = stopping;
    aside->good = !stopping &&
                  (publish_read_plain(work->request, &aside->reading, &work->body) ||
                   publish_read_body(work->request, &aside->reading, &work->body, &aside->problem));
    aside->good =
        aside->good && access_may_publish(work->request, aside->conf, &work->body, &aside->problem);
    worker_post_note(work->request->service->worker, &aside->note, publish_take_back, aside);
}

static int publish_read_aside(struct request *request, const struct reading *reading)
{
    struct work *work = request->work;

    if (!publish_reserve(work,
                         publish_composing_bytes(request) + publish_tree_bytes(request, reading)))
        return respond_publish_shed(request);
    work->aside = calloc(1, sizeof(*work->aside));
    if (work->aside == NULL) {
        publish_end_parsing(work);
        return respond_out_of_memory(request);
    }
    work->aside->task.run = publish_run_aside;
    work->aside->work = work;
    work->aside->reading = *reading;
    work->aside->conf = conf_ref(request->service->context->conf);
    stats_add(request->service->context->stats, STATS_PUBLISHES_ASIDE, 1);
    thread_pool_give(request->service->shared->body_readers, 0, &work->aside->task);
    return request_suspend(request, publish_respond);
}

static int publish_read_on_loop(struct request *request, const struct reading *reading)
{
    struct work *work = request->work;
    struct problem problem;

    if (!publish_reserve(work, publish_composing_bytes(request)))
        return respond_publish_shed(request);
    bool good = publish_read_plain(request, reading, &work->body);
    if (!good && !publish_reserve(work, publish_tree_bytes(request, reading))) {
        publish_end_parsing(work);
        return respond_publish_shed(request);
    }
    if (!good)
        good = publish_read_body(request, reading, &work->body, &problem);
    publish_end_parsing(work);
    if (!good ||
        !access_may_publish(request, request->service->context->conf, &work->body, &problem))
        return publish_refuse(request, &problem);
    if (publish_submit(work) != 0)
        return respond_out_of_memory(request);
    return request_suspend(request, publish_respond);
}

/* What reading a body takes, with what the caller's rights add. */
static size_t publish_reading_cost(const struct request *request)
{
    size_t patterns_n = request->identity != NULL ? request->identity->publish.patterns_n : 0;

    return request->body_n + request->body_n * patterns_n / ASIDE_PATTERNS;
}

/* Whether a body is read on the loop, which is counted then. */
static bool publish_is_for_loop(struct request *request)
{
    struct service *service = request->service;
    uint64_t turn = worker_turns(service->worker);
    size_t cost = publish_reading_cost(request);

    if (service->publish_turn != turn)
        service->publish_turn_bytes = 0;
    service->publish_turn = turn;
    if (cost > ASIDE_BYTES || service->publish_turn_bytes + cost > READ_BYTES_A_TURN)
        return false;
    service->publish_turn_bytes += cost;
    return true;
}

int publish_handle(struct request *request)
{
    struct work *work = publish_new(request);
    struct reading reading;
    struct problem problem;

    if (work == NULL)
        return respond_out_of_memory(request);
    if (!publish_begin_reading(request, work, &reading, &problem))
        return publish_refuse(request, &problem);
    /* before the body is read: what is refused for overload must cost little */
    if (!hub_admit(publish_hub(work), request->body_n + EVENT_BYTES_MIN, &work->op))
        return publish_respond_overload(request);
    work->admitted_bytes = request->body_n + EVENT_BYTES_MIN;
    return publish_is_for_loop(request) ? publish_read_on_loop(request, &reading)
                                        : publish_read_aside(request, &reading);
}

int publish_probe(struct request *request, int (*resumed)(struct request *request))
{
    struct work *work = publish_new(request);

    if (work == NULL)
        return respond_out_of_memory(request);
    worker_publish(request->service->worker, &work->op);
    return request_suspend(request, resumed);
}

void publish_answer(void *arg, struct hub_op *op)
{
    struct work *work = (struct work *)((char *)op - offsetof(struct work, op));

    (void)arg;
    request_wake(work->request);
}

int publish_result(const struct request *request)
{
    const struct work *work = request->work;

    return work->op.result;
}
