/* SPDX-License-Identifier: MIT */
/* Messages of bugle.v1 from the client.  See ws_message.h. */
#include "config.h"
#include "api/ws_message.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "event/topic.h"
#include "wire/json_alloc.h"
#include "wire/json_guard.h"

/* What may stand beside the events, and what a message without any may have: 64 topics of the
 * longest, some of it escaped. */
#define REST_BYTES_MAX 1024
#define TEXT_BYTES_MAX 65536
/* Of the tree; those topics take a third. */
#define TREE_BYTES_MAX 131072
/* In the place of the events, while the rest is read. */
#define NO_EVENTS "null"

struct message_type {
    const char *name;
    enum ws_message_kind kind;
    bool has_ref;
    bool has_events;
    bool has_topics;
};

static const struct message_type types[] = {
    {"publish", WS_MESSAGE_PUBLISH, true, true, false},
    {"subscribe", WS_MESSAGE_SUBSCRIBE, true, false, true},
    {"unsubscribe", WS_MESSAGE_UNSUBSCRIBE, true, false, true},
    {"ping", WS_MESSAGE_PING, true, false, false},
    {"pong", WS_MESSAGE_PONG, false, false, false},
};
#define TYPES (sizeof(types) / sizeof(types[0]))

/* A message while it is read. */
struct reading {
    struct json_span text;
    struct ws_message *message;
    struct problem *problem;
    json_t *root;
    const struct message_type *type;
    bool has_events;
    bool has_topics;
};

/* ---- problems ---- */

static bool reading_refuse(struct reading *reading, const char *member, const char *sentence)
{
    problem_set(reading->problem, 422, "invalid_field", "%s", sentence);
    return problem_point(reading->problem, "/%s", member);
}

static bool reading_refuse_unknown(struct reading *reading, const char *member)
{
    char name[64], pointer[64];

    log_visible(name, sizeof(name), member, strlen(member));
    problem_escape_pointer(pointer, sizeof(pointer), name);
    problem_set(reading->problem, 422, "invalid_field", "There is no field \"%s\".", name);
    return problem_point(reading->problem, "/%s", pointer);
}

static bool reading_refuse_json(struct problem *problem, const json_error_t *error)
{
    char why[160];

    if (json_error_code(error) == json_error_null_character)
        return problem_set(problem, 400, "invalid_json",
                           "A string of the message has \\u0000, the NUL character, which is not "
                           "allowed.");
    log_visible(why, sizeof(why), error->text, strlen(error->text));
    return problem_set(problem, 400, "invalid_json", "The message is not valid JSON: %s.", why);
}

/* ---- members ---- */

static bool is_whole_number(struct json_span text)
{
    size_t at = text.at[0] == '-';

    if (at == text.bytes_n)
        return false;
    while (at < text.bytes_n && text.at[at] >= '0' && text.at[at] <= '9')
        at++;
    return at == text.bytes_n;
}

/* `text` is good JSON. */
static bool is_good_ref(struct json_span text)
{
    if (text.at[0] == '"')
        return text.bytes_n - 2 <= WS_MESSAGE_REF_MAX;
    return text.bytes_n <= WS_MESSAGE_REF_MAX && is_whole_number(text);
}

/* Note it before anything can be wrong, so that every answer has it. */
static void reading_find_ref(struct reading *reading)
{
    struct json_span ref = json_span_member(reading->text, "ref");

    if (ref.at != NULL && is_good_ref(ref))
        reading->message->ref = ref;
}

static bool reading_read_ref(struct reading *reading)
{
    return reading->message->ref.at != NULL ||
           reading_refuse(reading, "ref",
                          "The ref must be a text of at most 64 bytes or a whole number.");
}

static bool reading_add_topic(struct reading *reading, size_t index, json_t *value)
{
    struct message_name topic = {.bytes = json_string_value(value),
                                 .bytes_n = json_string_length(value)};
    char member[32];

    snprintf(member, sizeof(member), "topics/%zu", index);
    if (topic.bytes == NULL)
        return reading_refuse(reading, member, "A topic must be text.");
    enum topic_error error = topic_check_pattern(topic.bytes, topic.bytes_n);
    if (error != TOPIC_OK) {
        problem_set(reading->problem, 400, "invalid_topic", "The topic %s.",
                    topic_error_text(error));
        return problem_point(reading->problem, "/%s", member);
    }
    reading->message->topics[index] = topic;
    reading->message->topics_n = index + 1;
    return true;
}

static bool reading_read_topics(struct reading *reading, json_t *value)
{
    size_t count = json_array_size(value);

    reading->has_topics = true;
    if (!json_is_array(value) || count == 0)
        return reading_refuse(reading, "topics", "The topics must be an array of at least one.");
    if (count > WS_MESSAGE_TOPICS_MAX) {
        problem_set(reading->problem, 400, "too_many_topics",
                    "A message may have at most %d topics, not %zu.", WS_MESSAGE_TOPICS_MAX, count);
        return problem_point(reading->problem, "/topics");
    }
    for (size_t i = 0; i < count; i++)
        if (!reading_add_topic(reading, i, json_array_get(value, i)))
            return false;
    return true;
}

static bool reading_read_member(struct reading *reading, const char *member, json_t *value)
{
    if (strcmp(member, "type") == 0)
        return true;
    if (strcmp(member, "ref") == 0)
        return reading_read_ref(reading);
    if (reading->type->has_events && strcmp(member, "events") == 0) {
        reading->has_events = true;
        return true;
    }
    if (reading->type->has_topics && strcmp(member, "topics") == 0)
        return reading_read_topics(reading, value);
    return reading_refuse_unknown(reading, member);
}

static bool reading_read_type(struct reading *reading)
{
    const char *name = json_string_value(json_object_get(reading->root, "type"));

    for (size_t i = 0; name != NULL && i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            reading->type = &types[i];
    if (reading->type == NULL)
        return reading_refuse(
            reading, "type",
            "The message needs a type: publish, subscribe, unsubscribe, ping or pong.");
    reading->message->kind = reading->type->kind;
    return true;
}

static bool reading_check_complete(struct reading *reading)
{
    if (reading->type->has_events && !reading->has_events)
        return reading_refuse(reading, "events", "The field \"events\" is required.");
    if (reading->type->has_topics && !reading->has_topics)
        return reading_refuse(reading, "topics", "The field \"topics\" is required.");
    if (reading->type->has_ref && reading->message->ref.at == NULL)
        return reading_refuse(reading, "ref", "The field \"ref\" is required.");
    return true;
}

static bool reading_read_members(struct reading *reading)
{
    const char *member;
    json_t *value;

    if (!json_is_object(reading->root))
        return problem_set(reading->problem, 422, "not_an_object",
                           "A message must be a JSON object.");
    reading_find_ref(reading);
    if (!reading_read_type(reading))
        return false;
    json_object_foreach(reading->root, member, value)
    {
        if (!reading_read_member(reading, member, value))
            return false;
    }
    return reading_check_complete(reading);
}

/* ---- the text ---- */

static bool reading_parse(struct reading *reading, struct json_span text, size_t depth_max)
{
    json_error_t error;

    if (!json_guard_check(text, depth_max, reading->problem))
        return false;
    if (json_span_tree_bytes(text) > TREE_BYTES_MAX)
        return problem_set(reading->problem, 413, "message_too_large",
                           "There is too much in the message.");
    int result = json_alloc_load(text.at, text.bytes_n,
                                 JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY,
                                 &error, &reading->message->parsed);
    if (result == -ENOMEM)
        return problem_set_out_of_memory(reading->problem);
    if (result != 0)
        return reading_refuse_json(reading->problem, &error);
    reading->root = reading->message->parsed->root;
    return true;
}

/* The text without its events, and a value in their place: it is JSON, and they are, just when the
 * whole is.  What is no JSON may have them anywhere within it. */
static bool reading_parse_rest(struct reading *reading, struct json_span events, size_t depth_max)
{
    const struct json_span *text = &reading->text;
    size_t before_n = (size_t)(events.at - text->at);
    size_t behind_n = text->bytes_n - before_n - events.bytes_n;
    char rest[REST_BYTES_MAX + sizeof(NO_EVENTS)];

    if (before_n + behind_n > REST_BYTES_MAX)
        return problem_set(reading->problem, 413, "message_too_large",
                           "The message has more than %d bytes beside its events.", REST_BYTES_MAX);
    memcpy(rest, text->at, before_n);
    memcpy(rest + before_n, NO_EVENTS, sizeof(NO_EVENTS) - 1);
    memcpy(rest + before_n + sizeof(NO_EVENTS) - 1, events.at + events.bytes_n, behind_n);
    reading->message->events = events;
    size_t rest_n = before_n + sizeof(NO_EVENTS) - 1 + behind_n;
    return reading_parse(reading, (struct json_span){rest, rest_n}, depth_max);
}

static bool reading_parse_all(struct reading *reading, size_t depth_max)
{
    if (reading->text.bytes_n > TEXT_BYTES_MAX)
        return problem_set(reading->problem, 413, "message_too_large",
                           "A message without events may have at most %d bytes.", TEXT_BYTES_MAX);
    return reading_parse(reading, reading->text, depth_max);
}

bool ws_message_read(struct json_span text, size_t json_depth_max, struct ws_message *ret_message,
                     struct problem *ret_problem)
{
    struct reading reading = {.text = text, .message = ret_message, .problem = ret_problem};
    struct json_span events = json_span_member(text, "events");

    ret_message->ref = ret_message->events = (struct json_span){NULL, 0};
    ret_message->topics_n = 0;
    ret_message->parsed = NULL;
    bool is_json = events.at != NULL ? reading_parse_rest(&reading, events, json_depth_max)
                                     : reading_parse_all(&reading, json_depth_max);
    return is_json && reading_read_members(&reading);
}

void ws_message_end(struct ws_message *message)
{
    json_alloc_free(message->parsed);
    message->parsed = NULL;
}
