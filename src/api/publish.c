/* SPDX-License-Identifier: MIT */
/* POST /api/push.  See publish.h; what becomes of its body is in publish_work.c. */
#include "config.h"
#include "api/publish.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/ask_nodes.h"
#include "api/publish_kind.h"
#include "api/publish_work.h"
#include "http/request_body.h"
#include "http/respond.h"
#include "http/service.h"

#define FIELDS_MAX 64
/* Beyond this an overload is told before the body is read, at the price of the connection. */
#define UNREAD_BYTES 65536
/* Of an answer about one event. */
#define ANSWER_BYTES 256

/* Between the handler and the hub's answer. */
struct publish {
    struct publish_work work;
    struct request *request;
    char key[MESSAGE_KEY_BYTES_MAX + 1]; /* from the header */
};

static struct publish *publish_of(struct publish_work *work)
{
    return (struct publish *)((char *)work - offsetof(struct publish, work));
}

/* ---- what kind of body ---- */

static int publish_respond_overload(struct request *request)
{
    struct problem problem;

    publish_work_set_overload(request->service, &problem);
    return respond_problem(request, &problem);
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

/* Of the query; their bytes are libmicrohttpd's, who keeps them while the request is suspended. */
struct fields {
    struct publish_field list[FIELDS_MAX];
    size_t n;
    bool too_many;
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

static bool publish_read_key(struct request *request, struct publish *publish,
                             struct publish_work_ask *ask, struct problem *ret_problem)
{
    const char *value = request->fields[REQUEST_IDEMPOTENCY_KEY];

    if (value == NULL)
        return true;
    if (request_header_count(request, "Idempotency-Key") > 1)
        return problem_set(ret_problem, 400, "invalid_key",
                           "The request has more than one Idempotency-Key header.");
    if (!publish_unquote_key(value, publish->key, sizeof(publish->key), &ask->key_n))
        return problem_set(
            ret_problem, 400, "invalid_key",
            "The Idempotency-Key header begins with a quote and does not end with one.");
    ask->key = publish->key;
    return true;
}

/* What the request says beside its body. */
static bool publish_read_head(struct request *request, struct publish *publish,
                              struct fields *fields, struct publish_work_ask *ret_ask,
                              struct problem *ret_problem)
{
    *ret_ask = (struct publish_work_ask){
        .identity = request->identity,
        .text = request->body,
        .text_n = request->body_n,
        .is_json = publish_kind_is_json(request->fields[REQUEST_CONTENT_TYPE]),
        .fields = fields->list,
    };
    if (!publish_read_key(request, publish, ret_ask, ret_problem))
        return false;
    fields->n = 0;
    fields->too_many = false;
    request_each_query(request, publish_collect_field, fields);
    ret_ask->fields_n = fields->n;
    if (fields->too_many)
        return problem_set(ret_problem, 422, "too_many_fields",
                           "The query has more than %d fields.", FIELDS_MAX);
    if (ret_ask->is_json && fields->n > 0)
        return problem_set(ret_problem, 422, "fields_in_query",
                           "With a JSON body the fields belong into the JSON, not into the query.");
    return true;
}

/* ---- answering ---- */

static int publish_respond_stored(struct request *request, const struct publish_work *work)
{
    char few[ANSWER_BYTES], *answer = few;
    size_t room = publish_work_answer_bytes(work) + 4;

    if (room > sizeof(few))
        answer = malloc(room);
    if (answer == NULL)
        return MHD_NO;
    *answer = '{';
    char *end = stpcpy(publish_work_put_answer(answer + 1, work), "}\n");
    int result = respond_json_bytes(request, MHD_HTTP_CREATED, answer, (size_t)(end - answer));
    if (answer != few)
        free(answer);
    return result;
}

static int publish_respond(struct request *request)
{
    const struct publish *publish = request->work;
    struct problem problem;

    return publish_work_result(&publish->work, &problem)
               ? publish_respond_stored(request, &publish->work)
               : respond_problem(request, &problem);
}

/* ---- to the hub and back ---- */

static void publish_wake(struct publish_work *work)
{
    request_wake(publish_of(work)->request);
}

static void publish_drop_body(struct publish_work *work)
{
    request_body_drop(publish_of(work)->request);
}

static void publish_free(void *arg)
{
    struct publish *publish = arg;

    publish_work_end(&publish->work);
    free(publish);
}

static struct publish *publish_new(struct request *request)
{
    struct publish *publish = calloc(1, sizeof(*publish));

    if (publish == NULL)
        return NULL;
    publish->work.done = publish_wake;
    publish->work.let_go = publish_drop_body;
    publish->request = request;
    request->work = publish;
    request->free_work = publish_free;
    return publish;
}

/* The request is suspended all the while, so nothing of it goes away before the work is done. */
int publish_handle(struct request *request)
{
    struct publish *publish = publish_new(request);
    struct publish_work_ask ask;
    struct fields fields;
    struct problem problem;

    if (publish == NULL)
        return respond_out_of_memory(request);
    if (!publish_read_head(request, publish, &fields, &ask, &problem)) {
        stats_add(request->service->context->stats, STATS_PUBLISHES_REFUSED, 1);
        return respond_problem(request, &problem);
    }
    if (!publish_work_begin(&publish->work, request->service, &ask, &problem))
        return respond_problem(request, &problem);
    return request_suspend(request, publish_respond);
}

int publish_probe(struct request *request, int (*resumed)(struct request *request))
{
    struct publish *publish = publish_new(request);

    if (publish == NULL)
        return respond_out_of_memory(request);
    publish_work_probe(&publish->work, request->service);
    return request_suspend(request, resumed);
}

void publish_answer(void *arg, struct hub_op *op)
{
    (void)arg;
    if (op->order != NULL)
        ask_nodes_answered(op);
    else
        publish_work_answered(op);
}

int publish_result(const struct request *request)
{
    const struct publish *publish = request->work;

    return publish->work.op.result;
}
