/* SPDX-License-Identifier: MIT */
/* Streams of one worker, listed or ended.  See streams_visit.h. */
#include "config.h"
#include "api/streams_visit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/ask_workers.h"
#include "api/node_service.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "cluster/node_message.h"
#include "event/topic.h"
#include "http/service.h"
#include "stream/stream_end.h"

/* Of a row's text, in one part of an answer. */
#define ROW_BYTES_MAX (NODE_MESSAGE_ROWS_BYTES_MAX - NODE_MESSAGE_ROW_EXTRA)

/* ---- a stream as JSON ---- */

static json_t *visit_id_json(const struct hub *hub, uint64_t position)
{
    char id[SSE_ID_BYTES];

    sse_put_id(id, history_epoch(hub_history(hub)), position);
    return json_stringn(id, SSE_ID_BYTES);
}

json_t *streams_visit_name_json(const struct message_name *name)
{
    return name->bytes != NULL ? json_stringn(name->bytes, name->bytes_n) : json_null();
}

static json_t *visit_topics_json(const struct filter *filter)
{
    json_t *topics = json_array();

    for (size_t i = 0; i < filter->patterns_n; i++)
        json_array_append_new(topics, streams_visit_name_json(&filter->patterns[i].name));
    return topics;
}

json_t *streams_visit_facts_json(const struct service_shared *shared,
                                 const struct stream_facts *facts)
{
    char id[NODE_SERVICE_STREAM_BYTES], peer[PEER_TEXT_BYTES];

    node_service_put_stream(shared->nodes, facts->id, id);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "id", id, "transport",
        facts->transport, "address", peer_text(&facts->peer, peer), "state",
        stream_state_text(facts->state), "age_ms", (json_int_t)facts->age_ms, "position",
        facts->awaits_log ? json_null() : visit_id_json(shared->hub, facts->position), "last_id",
        facts->last_id_sent == UINT64_MAX ? json_null()
                                          : visit_id_json(shared->hub, facts->last_id_sent),
        "lag_events", (json_int_t)facts->lag_events, "lag_bytes", (json_int_t)facts->lag_bytes,
        "unacknowledged_bytes", (json_int_t)facts->unacknowledged_bytes, "events_sent",
        (json_int_t)facts->events_sent, "bytes_sent", (json_int_t)facts->bytes_sent);
}

static json_t *visit_stream_json(const struct service_shared *shared,
                                 const struct stream_facts *facts)
{
    json_t *json = streams_visit_facts_json(shared, facts);

    json_object_set_new(json, "user", streams_visit_name_json(&facts->filter->user));
    json_object_set_new(json, "topics", visit_topics_json(facts->filter));
    return json;
}

/* ---- which streams are meant ---- */

static bool visit_is_same_user(const struct filter *wanted, const struct filter *filter)
{
    const struct message_name *a = &wanted->user, *b = &filter->user;

    return a->bytes == NULL ||
           (b->bytes != NULL && bytes_equal(a->bytes, a->bytes_n, b->bytes, b->bytes_n));
}

/* A topic in the question means the streams that an event of this topic would reach, and the
 * streams that asked for exactly this pattern. */
static bool visit_is_same_topic(const struct filter *wanted, const struct filter *filter)
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
    int64_t now_ms;
    size_t room; /* of the slot's text */
    size_t rows_n;
};

static bool visit_is_wanted(const struct visit *visit, struct stream *stream,
                            struct stream_facts *ret_facts)
{
    const struct ask_workers *question = visit->slot->question;
    const struct filter *filter = stream_get_filter(stream);

    if (question->filter != NULL && (!visit_is_same_user(question->filter, filter) ||
                                     !visit_is_same_topic(question->filter, filter)))
        return false;
    stream_get_facts(stream, visit->now_ms, ret_facts); /* asks the kernel, so after the filter */
    if (question->stream_id != 0 && ret_facts->id != question->stream_id)
        return false;
    return question->begun_by_ms == 0 || visit->now_ms - ret_facts->age_ms <= question->begun_by_ms;
}

/* ---- what is done of it ---- */

static bool visit_list_one(struct stream *stream, void *arg)
{
    struct visit *visit = arg;
    struct stream_facts facts;

    if (!visit_is_wanted(visit, stream, &facts))
        return true;
    json_array_append_new(visit->slot->rows, visit_stream_json(visit->service->shared, &facts));
    return ++visit->slot->count < visit->slot->question->limit;
}

/* Gives the text of a row, for free(); NULL when out of memory. */
static char *visit_row_text(const struct service_shared *shared, const struct stream_facts *facts)
{
    json_t *json = visit_stream_json(shared, facts);
    char *text = json_dumps(json, JSON_COMPACT);

    if (text != NULL && strlen(text) > ROW_BYTES_MAX) {
        free(text);
        json_object_set_new(json, "topics", json_array());
        json_object_set_new(json, "topics_left_out",
                            json_integer((json_int_t)facts->filter->patterns_n));
        text = json_dumps(json, JSON_COMPACT);
    }
    json_decref(json);
    return text;
}

/* Returns whether there was room. */
static bool visit_add_row(struct visit *visit, const char *row, size_t row_n)
{
    struct ask_workers_slot *slot = visit->slot;
    size_t needed = slot->text_n + row_n + NODE_MESSAGE_ROW_EXTRA;

    if (needed > slot->question->bytes_max)
        return false;
    if (needed > visit->room) {
        char *text = realloc(slot->text, needed * 2);

        if (text == NULL)
            return false;
        slot->text = text;
        visit->room = needed * 2;
    }
    node_message_put_row(slot->text + slot->text_n, row, row_n);
    slot->text_n = needed;
    return true;
}

static bool visit_write_one(struct stream *stream, void *arg)
{
    struct visit *visit = arg;
    struct stream_facts facts;

    if (!visit_is_wanted(visit, stream, &facts))
        return true;
    char *row = visit_row_text(visit->service->shared, &facts);
    bool fits = row != NULL && visit_add_row(visit, row, strlen(row));
    free(row);
    return fits && ++visit->rows_n < visit->slot->question->limit;
}

static bool visit_end_one(struct stream *stream, void *arg)
{
    struct visit *visit = arg;
    struct stream_facts facts;

    if (!visit_is_wanted(visit, stream, &facts))
        return true;
    stream_end(stream, STREAM_END_DELETED);
    visit->slot->count++;
    return true;
}

static void visit_each(struct service *service, struct ask_workers_slot *slot,
                       bool (*see)(struct stream *stream, void *arg))
{
    struct visit visit = {.service = service, .slot = slot, .now_ms = clock_mono_ms()};

    streams_each(service->streams, see, &visit);
}

void streams_visit_list(struct service *service, struct ask_workers_slot *slot)
{
    slot->rows = json_array();
    visit_each(service, slot, visit_list_one);
}

void streams_visit_write(struct service *service, struct ask_workers_slot *slot)
{
    slot->count = streams_count(service->streams);
    visit_each(service, slot, visit_write_one);
}

void streams_visit_end(struct service *service, struct ask_workers_slot *slot)
{
    visit_each(service, slot, visit_end_one);
}
