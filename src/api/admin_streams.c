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
#include "api/query_params.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "event/topic.h"
#include "http/respond.h"
#include "http/service.h"
#include "stream/stream_end.h"

#define LIST_DEFAULT 100
#define LIST_MAX 10000
/* A row of the list of streams, as a value and as text. */
#define ROW_BYTES 2048

static json_t *id_json(const struct hub *hub, uint64_t position)
{
    char id[SSE_ID_BYTES];

    sse_put_id(id, history_epoch(hub_history(hub)), position);
    return json_stringn(id, SSE_ID_BYTES);
}

static json_t *name_json(const struct message_name *name)
{
    return name->bytes != NULL ? json_stringn(name->bytes, name->bytes_n) : json_null();
}

static json_t *topics_json(const struct filter *filter)
{
    json_t *topics = json_array();

    for (size_t i = 0; i < filter->patterns_n; i++)
        json_array_append_new(topics, name_json(&filter->patterns[i].name));
    return topics;
}

/* A stream as a new object, without its user and topics. */
static json_t *facts_json(const struct service_shared *shared, const struct stream_facts *facts)
{
    char id[24], peer[PEER_TEXT_BYTES];

    snprintf(id, sizeof(id), "%016llx", (unsigned long long)facts->id);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", id, "transport",
        facts->transport, "address", peer_text(&facts->peer, peer), "state",
        stream_state_text(facts->state), "age_ms", (json_int_t)facts->age_ms, "position",
        facts->awaits_log ? json_null() : id_json(shared->hub, facts->position), "last_id",
        facts->last_id_sent == UINT64_MAX ? json_null() : id_json(shared->hub, facts->last_id_sent),
        "lag_events", (json_int_t)facts->lag_events, "lag_bytes", (json_int_t)facts->lag_bytes,
        "unacknowledged_bytes", (json_int_t)facts->unacknowledged_bytes, "events_sent",
        (json_int_t)facts->events_sent, "bytes_sent", (json_int_t)facts->bytes_sent);
}

static json_t *stream_json(const struct service_shared *shared, const struct stream_facts *facts)
{
    json_t *json = facts_json(shared, facts);

    json_object_set_new(json, "user", name_json(&facts->filter->user));
    json_object_set_new(json, "topics", topics_json(facts->filter));
    return json;
}

static json_t *evicted_topics_json(const struct eviction *eviction)
{
    json_t *topics = json_array();

    for (size_t i = 0; i < eviction->topics_n; i++) {
        struct message_name topic = eviction_topic(eviction, i);

        json_array_append_new(topics, name_json(&topic));
    }
    return topics;
}

/* An eviction is a stream as it was, and what became of it. */
static json_t *eviction_json(const struct service_shared *shared, const struct eviction *eviction)
{
    json_t *json = facts_json(shared, &eviction->facts);
    struct message_name user = eviction_user(eviction);
    char at[CLOCK_UTC_BYTES];

    json_object_set_new(json, "at", json_string(clock_utc_text(eviction->at_ms, at)));
    json_object_set_new(json, "user", name_json(&user));
    json_object_set_new(json, "topics", evicted_topics_json(eviction));
    if (eviction->topics_left_out_n > 0)
        json_object_set_new(json, "topics_left_out", json_integer(eviction->topics_left_out_n));
    json_object_set_new(json, "why", json_string(stream_ends[eviction->why].word));
    return json;
}

static bool admin_is_same_user(const struct filter *wanted, const struct filter *filter)
{
    const struct message_name *a = &wanted->user, *b = &filter->user;

    return a->bytes == NULL ||
           (b->bytes != NULL && bytes_equal(a->bytes, a->bytes_n, b->bytes, b->bytes_n));
}

/* A topic in the question means the streams that an event of this topic would reach, and the
 * streams that asked for exactly this pattern. */
static bool admin_is_same_topic(const struct filter *wanted, const struct filter *filter)
{
    if (wanted->patterns_n == 0 || filter->patterns_n == 0)
        return true;
    const struct message_name *topic = &wanted->patterns[0].name;
    for (size_t i = 0; i < filter->patterns_n; i++) {
        const struct message_name *pattern = &filter->patterns[i].name;

        if (bytes_equal(pattern->bytes, pattern->bytes_n, topic->bytes, topic->bytes_n))
            return true;
        if (!wanted->patterns[0].wildcard &&
            topic_match(pattern->bytes, pattern->bytes_n, topic->bytes, topic->bytes_n))
            return true;
    }
    return false;
}

/* One worker's part of a question. */
struct visit {
    struct service *service;
    struct ask_workers_slot *slot;
};

static bool admin_is_wanted(const struct visit *visit, struct stream *stream,
                            struct stream_facts *ret_facts)
{
    const struct ask_workers *question = visit->slot->question;

    stream_get_facts(stream, clock_mono_ms(), ret_facts);
    if (question->stream_id != 0 && ret_facts->id != question->stream_id)
        return false;
    return question->filter == NULL || (admin_is_same_user(question->filter, ret_facts->filter) &&
                                        admin_is_same_topic(question->filter, ret_facts->filter));
}

static bool admin_list_one(struct stream *stream, void *arg)
{
    struct visit *visit = arg;
    struct stream_facts facts;

    if (!admin_is_wanted(visit, stream, &facts))
        return true;
    json_array_append_new(visit->slot->rows, stream_json(visit->service->shared, &facts));
    return ++visit->slot->count < visit->slot->question->limit;
}

static bool admin_end_one(struct stream *stream, void *arg)
{
    struct visit *visit = arg;
    struct stream_facts facts;

    if (!admin_is_wanted(visit, stream, &facts))
        return true;
    stream_end(stream, STREAM_END_DELETED);
    visit->slot->count++;
    return true;
}

static void admin_list_worker(struct service *service, struct ask_workers_slot *slot)
{
    struct visit visit = {service, slot};

    slot->rows = json_array();
    streams_each(service->streams, admin_list_one, &visit);
}

static void admin_end_worker(struct service *service, struct ask_workers_slot *slot)
{
    struct visit visit = {service, slot};

    streams_each(service->streams, admin_end_one, &visit);
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

static size_t admin_count_ended(const struct request *request)
{
    const struct ask_workers *question = request->work;
    size_t count = 0;

    for (unsigned i = 0; i < request->service->shared->services_n; i++)
        count += question->slots[i].count;
    return count;
}

static int admin_respond_ended(struct request *request)
{
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:I}", "ended", (json_int_t)admin_count_ended(request)));
}

static int admin_respond_ended_one(struct request *request)
{
    if (admin_count_ended(request) == 0)
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

/* The question that ?user= and ?topic= ask; `*ret_filter` is NULL when neither is there. */
static bool admin_read_filter(struct request *request, struct filter **ret_filter,
                              struct problem *ret_problem)
{
    struct message_name user, topic;

    if (!admin_read_name(request, "user", topic_check_user, &user, ret_problem) ||
        !admin_read_name(request, "topic", topic_check_pattern, &topic, ret_problem))
        return false;
    *ret_filter = NULL;
    if (user.bytes == NULL && topic.bytes == NULL)
        return true;
    *ret_filter = filter_new(&topic, topic.bytes != NULL, user.bytes != NULL ? &user : NULL);
    return *ret_filter != NULL || problem_set_out_of_memory(ret_problem);
}

/* Send a question with `ask`, `resumed` and what is asked for; takes its filter. */
static int admin_ask_all(struct request *request, const struct ask_workers *question)
{
    struct ask_workers *sent = ask_workers_new(request);

    if (sent == NULL) {
        filter_unref(question->filter);
        return respond_out_of_memory(request);
    }
    sent->ask = question->ask;
    sent->resumed = question->resumed;
    sent->filter = question->filter;
    sent->stream_id = question->stream_id;
    sent->limit = question->limit;
    return ask_workers_start(sent);
}

/* A short list is always given: the operator needs it to find what takes the memory. */
static bool admin_rows_fit(struct request *request, size_t limit)
{
    size_t rows = request->service->shared->streams_n;

    rows = rows < limit ? rows : limit;
    return rows <= LIST_DEFAULT || request_admit_answer(request, rows * ROW_BYTES);
}

int admin_streams_list(struct request *request)
{
    struct ask_workers question = {.ask = admin_list_worker, .resumed = admin_respond_list};
    struct problem problem;

    if (!query_params_read_limit(request, LIST_DEFAULT, LIST_MAX, &question.limit, &problem) ||
        !admin_read_filter(request, &question.filter, &problem))
        return respond_problem(request, &problem);
    if (!admin_rows_fit(request, question.limit)) {
        filter_unref(question.filter);
        return respond_memory_short(request);
    }
    return admin_ask_all(request, &question);
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
    struct ask_workers question = {.ask = admin_end_worker, .resumed = admin_respond_ended};
    struct problem problem;

    if (request_query(request, "user", NULL) == NULL)
        return respond_error(
            request, 400, "user_required",
            "Name the user whose streams are to be ended: DELETE /api/streams?user=…");
    if (!admin_read_filter(request, &question.filter, &problem))
        return respond_problem(request, &problem);
    return admin_ask_all(request, &question);
}

int admin_streams_end_one(struct request *request)
{
    struct ask_workers question = {.ask = admin_end_worker, .resumed = admin_respond_ended_one};
    const char *text = request->tail;
    char *end;

    question.stream_id = strtoull(text, &end, 16);
    if (strspn(text, "0123456789abcdef") != 16 || text[16] != '\0' || question.stream_id == 0)
        return respond_error(request, 404, "no_such_stream", "There is no stream with this id.");
    return admin_ask_all(request, &question);
}
