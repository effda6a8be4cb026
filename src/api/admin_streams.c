/* SPDX-License-Identifier: MIT */
/* Looking at streams and ending them, over HTTP: /api/streams and /api/evictions. */
#include "config.h"
#include "api/route.h"

#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ask_workers.h"
#include "api/node_service.h"
#include "api/node_streams.h"
#include "api/query_params.h"
#include "api/streams_visit.h"
#include "base/clock.h"
#include "event/topic.h"
#include "http/respond.h"
#include "http/service.h"
#include "stream/stream_end.h"

#define LIST_DEFAULT 100
#define LIST_MAX 10000
/* A row of the list of streams, as a value and as text. */
#define ROW_BYTES 2048

static json_t *evicted_topics_json(const struct eviction *eviction)
{
    json_t *topics = json_array();

    for (size_t i = 0; i < eviction->topics_n; i++) {
        struct message_name topic = eviction_topic(eviction, i);

        json_array_append_new(topics, streams_visit_name_json(&topic));
    }
    return topics;
}

/* An eviction is a stream as it was, and what became of it. */
static json_t *eviction_json(const struct service_shared *shared, const struct eviction *eviction)
{
    json_t *json = streams_visit_facts_json(shared, &eviction->facts);
    struct message_name user = eviction_user(eviction);
    char at[CLOCK_UTC_BYTES];

    json_object_set_new(json, "at", json_string(clock_utc_text(eviction->at_ms, at)));
    json_object_set_new(json, "user", streams_visit_name_json(&user));
    json_object_set_new(json, "topics", evicted_topics_json(eviction));
    if (eviction->topics_left_out_n > 0)
        json_object_set_new(json, "topics_left_out", json_integer(eviction->topics_left_out_n));
    json_object_set_new(json, "why", json_string(stream_ends[eviction->why].word));
    return json;
}

static int admin_respond_list(struct request *request)
{
    struct ask_workers *question = request->work;
    json_t *rows = json_array();

    for (unsigned i = 0; i < request->service->shared->services_n; i++)
        json_array_extend(rows, question->slots[i].rows);
    while (json_array_size(rows) > question->limit)
        json_array_remove(rows, json_array_size(rows) - 1);
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:o, s:I}", "streams", rows, "total",
                                  (json_int_t)request->service->shared->streams_n));
}

static int admin_respond_ended(struct request *request)
{
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:I}", "ended", (json_int_t)ask_workers_count(request->work)));
}

static int admin_respond_ended_one(struct request *request)
{
    if (ask_workers_count(request->work) == 0)
        return respond_error(request, 404, "no_such_stream", "There is no stream with this id.");
    return admin_respond_ended(request);
}

static bool admin_read_name(struct request *request, const char *name,
                            enum topic_error (*check)(const char *bytes, size_t bytes_n),
                            struct message_name *ret_name, struct problem *ret_problem)
{
    ret_name->bytes = request_query(request, name, &ret_name->bytes_n);
    if (ret_name->bytes == NULL)
        return true;
    enum topic_error error = check(ret_name->bytes, ret_name->bytes_n);
    if (error == TOPIC_OK)
        return true;
    return problem_set(ret_problem, 400, "invalid_name", "The %s %s.", name,
                       topic_error_text(error));
}

/* What ?user= and ?topic= select: `bytes` are NULL of what is not there. */
struct selection {
    struct message_name user, topic;
};

static bool admin_read_selection(struct request *request, struct selection *ret_selection,
                                 struct problem *ret_problem)
{
    return admin_read_name(request, "user", topic_check_user, &ret_selection->user, ret_problem) &&
           admin_read_name(request, "topic", topic_check_pattern, &ret_selection->topic,
                           ret_problem);
}

/* Send a question with `ask`, `resumed` and what is asked for. */
static int admin_ask_all(struct request *request, const struct ask_workers *question,
                         const struct selection *selection)
{
    const struct message_name *user = selection->user.bytes != NULL ? &selection->user : NULL;
    bool has_topic = selection->topic.bytes != NULL;
    struct ask_workers *sent = ask_workers_new(request);

    if (sent == NULL)
        return respond_out_of_memory(request);
    if (user != NULL || has_topic) {
        sent->filter = filter_new(&selection->topic, has_topic, user);
        if (sent->filter == NULL)
            return respond_out_of_memory(request);
    }
    sent->ask = question->ask;
    sent->resumed = question->resumed;
    sent->stream_id = question->stream_id;
    sent->limit = question->limit;
    return ask_workers_start(sent);
}

/* A short list is always given: the operator needs it to find what takes the memory.  How many
 * streams other nodes have is not known. */
static bool admin_rows_fit(struct request *request, size_t limit, bool is_local)
{
    size_t rows = request->service->shared->streams_n;

    rows = is_local && rows < limit ? rows : limit;
    return rows <= LIST_DEFAULT || request_admit_answer(request, rows * ROW_BYTES);
}

int admin_streams_list(struct request *request)
{
    struct ask_workers question = {.ask = streams_visit_list, .resumed = admin_respond_list};
    struct selection selection;
    struct problem problem;
    bool is_local;

    if (!query_params_read_limit(request, LIST_DEFAULT, LIST_MAX, &question.limit, &problem) ||
        !query_params_read_switch(request, "local", "true", &is_local, &problem) ||
        !admin_read_selection(request, &selection, &problem))
        return respond_problem(request, &problem);
    is_local |= request->service->shared->nodes == NULL;
    if (!admin_rows_fit(request, question.limit, is_local))
        return respond_memory_short(request);
    if (!is_local)
        return node_streams_list(request, &selection.user, &selection.topic, question.limit);
    return admin_ask_all(request, &question, &selection);
}

int admin_streams_list_evictions(struct request *request)
{
    struct service_shared *shared = request->service->shared;
    struct eviction *list;
    struct problem problem;
    uint64_t total;
    size_t limit;

    if (!query_params_read_limit(request, LIST_DEFAULT, LIST_MAX, &limit, &problem))
        return respond_problem(request, &problem);
    int list_n = eviction_log_list(shared->eviction_log, limit, &list, &total);
    if (list_n < 0)
        return respond_out_of_memory(request);
    json_t *rows = json_array();
    for (int i = 0; i < list_n; i++)
        json_array_append_new(rows, eviction_json(shared, &list[i]));
    free(list);
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:o, s:I}", "evictions", rows, "total", (json_int_t)total));
}

int admin_streams_end(struct request *request)
{
    struct ask_workers question = {.ask = streams_visit_end, .resumed = admin_respond_ended};
    struct selection selection;
    struct problem problem;

    if (request_query(request, "user", NULL) == NULL)
        return respond_error(
            request, 400, "user_required",
            "Name the user whose streams are to be ended: DELETE /api/streams?user=…");
    if (!admin_read_selection(request, &selection, &problem))
        return respond_problem(request, &problem);
    if (request->service->shared->nodes != NULL)
        return node_streams_end(request, &selection.user, &selection.topic);
    return admin_ask_all(request, &question, &selection);
}

int admin_streams_end_one(struct request *request)
{
    struct ask_workers question = {.ask = streams_visit_end, .resumed = admin_respond_ended_one};
    const struct selection all = {.user = {.bytes = NULL}};
    char node[SHARED_LOG_NODE_BYTES];

    if (!node_service_read_stream(request->service->shared->nodes, request->tail, node,
                                  &question.stream_id))
        return respond_error(request, 404, "no_such_stream", "There is no stream with this id.");
    if (node[0] != '\0')
        return node_streams_end_one(request, node, question.stream_id);
    return admin_ask_all(request, &question, &all);
}
