/* SPDX-License-Identifier: MIT */
/* What may be published.  See publish_body.h. */
#include "config.h"
#include "api/publish_body.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/event_builder.h"
#include "api/publish_kind.h"
#include "base/log.h"
#include "base/utf8.h"
#include "history/idempotency_table.h"
#include "wire/json_alloc.h"
#include "wire/json_guard.h"
#include "wire/json_span.h"

/* ---- names ---- */

static bool is_whole_number(struct json_span text)
{
    size_t at = text.bytes_n > 0 && text.at[0] == '-' ? 1 : 0;

    if (at == text.bytes_n)
        return false;
    for (; at < text.bytes_n; at++)
        if (text.at[at] < '0' || text.at[at] > '9')
            return false;
    return true;
}

/* A name as text, or for a user as a whole number that stands for its digits. */
static bool body_read_name(struct event_builder *builder, const char *field, json_t *value,
                           struct json_span text, bool is_topic, struct message_name *ret_name)
{
    struct message_name name = {0};

    if (json_is_string(value)) {
        name.bytes = json_string_value(value);
        name.bytes_n = json_string_length(value);
    } else if (!is_topic && json_is_number(value) && is_whole_number(text)) {
        name.bytes = text.at;
        name.bytes_n = text.bytes_n;
    } else
        return event_builder_refuse(builder, field, "A %s must be %s", is_topic ? "topic" : "user",
                                    is_topic ? "text" : "text or a whole number");
    if (!event_builder_check_name(builder, field, &name, is_topic))
        return false;
    *ret_name = name;
    return true;
}

static bool body_read_list(struct event_builder *builder, const char *field, json_t *list,
                           struct json_span text, bool is_topic, struct message_name *names,
                           size_t names_max, size_t *ret_n)
{
    struct json_span element = json_span_first(text);
    size_t count = json_array_size(list);

    if (count == 0 || count > names_max)
        return event_builder_refuse(builder, field,
                                    "A list of %s must have 1 to %zu members, not %zu",
                                    is_topic ? "topics" : "users", names_max, count);
    for (size_t i = 0; i < count; i++) {
        char member[64];

        snprintf(member, sizeof(member), "%s/%zu", field, i);
        if (!body_read_name(builder, member, json_array_get(list, i), element, is_topic, &names[i]))
            return false;
        element = json_span_next(text, element);
    }
    *ret_n = count;
    return true;
}

static bool body_read_names(struct event_builder *builder, const char *field, json_t *value,
                            struct json_span text, bool is_topic, struct message_name *names,
                            size_t names_max, size_t *ret_n)
{
    if (json_is_array(value))
        return body_read_list(builder, field, value, text, is_topic, names, names_max, ret_n);
    if (!body_read_name(builder, field, value, text, is_topic, &names[0]))
        return false;
    *ret_n = 1;
    return true;
}

static bool body_read_topics(struct event_builder *builder, const char *field, json_t *value,
                             struct json_span text)
{
    if (builder->has_topics)
        return event_builder_refuse_both(builder, field, "topic", "topics");
    builder->has_topics = true;
    builder->message.topics = builder->topics;
    return body_read_names(builder, field, value, text, true, builder->topics, PUBLISH_TOPICS_MAX,
                           &builder->message.topics_n);
}

static bool body_read_users(struct event_builder *builder, const char *field, json_t *value,
                            struct json_span text)
{
    if (builder->has_users)
        return event_builder_refuse_both(builder, field, "user", "users");
    builder->has_users = true;
    if (!event_builder_make_room(builder, json_is_array(value) ? json_array_size(value) : 1))
        return false;
    builder->message.users = builder->users;
    return body_read_names(builder, field, value, text, false, builder->users, PUBLISH_USERS_MAX,
                           &builder->message.users_n);
}

/* ---- JSON ---- */

static bool body_read_data(struct event_builder *builder, json_t *value, struct json_span text)
{
    if (json_is_string(value))
        return event_builder_set_data(builder, json_string_value(value), json_string_length(value),
                                      false);
    return event_builder_set_data(builder, builder->scratch,
                                  json_span_compact(builder->scratch, text), true);
}

static bool body_read_event_name(struct event_builder *builder, json_t *value)
{
    if (json_is_string(value))
        return event_builder_set_event(builder, json_string_value(value),
                                       json_string_length(value));
    return event_builder_refuse(builder, "event", "The event name must be text");
}

static bool body_read_number(struct event_builder *builder, const char *field, json_t *value,
                             bool (*set)(struct event_builder *builder, double number))
{
    if (!json_is_number(value))
        return event_builder_refuse(builder, field, "The field must be a number");
    return set(builder, json_number_value(value));
}

static bool body_read_ephemeral(struct event_builder *builder, json_t *value)
{
    if (!json_is_boolean(value))
        return event_builder_refuse(builder, "ephemeral", "The field must be true or false");
    builder->message.kind = json_is_true(value) ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool body_read_key(struct event_builder *builder, json_t *value)
{
    if (json_is_string(value))
        return event_builder_set_key(builder, json_string_value(value), json_string_length(value));
    return event_builder_refuse(builder, "idempotency_key", "The key must be text");
}

static bool body_refuse_unknown(struct event_builder *builder, const char *field)
{
    char name[64], pointer[64];

    log_visible(name, sizeof(name), field, strlen(field));
    problem_escape_pointer(pointer, sizeof(pointer), name);
    return event_builder_refuse(builder, pointer, "There is no field \"%s\"", name);
}

static bool body_read_field(struct event_builder *builder, const char *field, json_t *value,
                            struct json_span object)
{
    struct json_span text = json_span_member(object, field);

    if (strcmp(field, "data") == 0)
        return body_read_data(builder, value, text);
    if (strcmp(field, "topic") == 0 || strcmp(field, "topics") == 0)
        return body_read_topics(builder, field, value, text);
    if (strcmp(field, "user") == 0 || strcmp(field, "users") == 0)
        return body_read_users(builder, field, value, text);
    if (strcmp(field, "event") == 0)
        return body_read_event_name(builder, value);
    if (strcmp(field, "retry") == 0)
        return body_read_number(builder, field, value, event_builder_set_retry);
    if (strcmp(field, "ttl") == 0)
        return body_read_number(builder, field, value, event_builder_set_ttl);
    if (strcmp(field, "ephemeral") == 0)
        return body_read_ephemeral(builder, value);
    if (strcmp(field, "idempotency_key") == 0)
        return body_read_key(builder, value);
    return body_refuse_unknown(builder, field);
}

static bool body_read_object(struct event_builder *builder, json_t *object, struct json_span text,
                             struct publish_body *body)
{
    const char *field;
    json_t *value;

    if (!json_is_object(object)) {
        problem_set(builder->problem, 422, "not_an_object", "An event must be a JSON object.");
        return problem_point(builder->problem, "%s", builder->where);
    }
    if (!event_builder_begin(builder))
        return false;
    json_object_foreach(object, field, value)
    {
        if (!body_read_field(builder, field, value, text))
            return false;
    }
    return event_builder_finish(builder, body);
}

static bool body_read_array(struct event_builder *builder, json_t *array, struct json_span text,
                            struct publish_body *body)
{
    struct json_span element = json_span_first(text);
    size_t count = json_array_size(array), recipients = 0;

    for (size_t i = 0; i < count; i++) {
        snprintf(builder->where, sizeof(builder->where), "/%zu", i);
        if (!body_read_object(builder, json_array_get(array, i), element, body))
            return false;
        recipients += builder->message.users_n;
        if (recipients > PUBLISH_RECIPIENTS_MAX)
            return event_builder_refuse(builder, "users",
                                        "A request may have at most %d recipients",
                                        PUBLISH_RECIPIENTS_MAX);
        element = json_span_next(text, element);
    }
    return true;
}

bool publish_body_find_second_key(const struct publish_body *body, size_t *ret_index)
{
    struct idempotency_table *keys = idempotency_table_new();
    bool good = keys != NULL;
    size_t i;

    for (i = 0; good && i < body->messages_n; i++) {
        const struct message *message = body->messages[i];

        if (message->key_n == 0)
            continue;
        if (idempotency_table_find(keys, message) != NULL)
            break;
        good = idempotency_table_put(keys, message, i, 0) == 0;
    }
    idempotency_table_free(keys);
    *ret_index = i;
    return good;
}

static bool body_check_keys(struct event_builder *builder, const struct publish_body *body)
{
    size_t second;

    if (!body->has_keys)
        return true;
    if (!publish_body_find_second_key(body, &second))
        return problem_set_out_of_memory(builder->problem);
    if (second == body->messages_n)
        return true;
    snprintf(builder->where, sizeof(builder->where), "/%zu", second);
    return event_builder_refuse(builder, "idempotency_key",
                                "An event before this one has the same key");
}

static void body_refuse_json(struct problem *problem, const json_error_t *error)
{
    char why[160];

    log_visible(why, sizeof(why), error->text, strlen(error->text));
    if (json_error_code(error) == json_error_null_character)
        problem_set(problem, 400, "invalid_json",
                    "A string of the body has \\u0000, the NUL character, which is not allowed.");
    else
        problem_set(problem, 400, "invalid_json", "The body is not valid JSON: %s.", why);
}

static bool body_parse(const char *text, size_t text_n, const struct publish_limits *limits,
                       struct json_alloc **ret_parsed, struct problem *ret_problem)
{
    struct json_span span = {text, text_n};
    json_error_t error;

    if (!json_guard_check(span, limits->json_depth_max, ret_problem))
        return false;
    int result = json_alloc_load(text, text_n,
                                 JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY,
                                 &error, ret_parsed);
    if (result == 0)
        return true;
    if (result == -ENOMEM)
        return problem_set_out_of_memory(ret_problem);
    body_refuse_json(ret_problem, &error);
    ret_problem->line = error.line > 0 ? (size_t)error.line : 1;
    ret_problem->column = error.column > 0 ? (size_t)error.column : 1;
    return false;
}

static bool body_check_count(json_t *root, size_t *ret_count, struct problem *ret_problem)
{
    size_t count = json_is_array(root) ? json_array_size(root) : 1;

    if (count == 0)
        return problem_set(ret_problem, 422, "empty_array", "The array has no events.");
    if (count > HUB_OP_EVENTS_MAX)
        return problem_set(ret_problem, 422, "too_many_events",
                           "The array has %zu events; the limit is %d.", count, HUB_OP_EVENTS_MAX);
    *ret_count = count;
    return true;
}

static struct json_span body_trim(const char *text, size_t text_n)
{
    const char *space = " \t\r\n";

    while (text_n > 0 && strchr(space, text[0]) != NULL) {
        text++;
        text_n--;
    }
    while (text_n > 0 && strchr(space, text[text_n - 1]) != NULL)
        text_n--;
    return (struct json_span){text, text_n};
}

bool publish_body_json(const char *body, size_t body_n, const struct publish_limits *limits,
                       struct publish_body *ret_body, struct problem *ret_problem)
{
    struct publish_body made = {0};
    struct event_builder *builder = NULL;
    struct json_alloc *parsed = NULL;
    bool good = false;
    size_t count = 0;

    if (!body_parse(body, body_n, limits, &parsed, ret_problem))
        return false;
    json_t *root = parsed->root;
    if (!body_check_count(root, &count, ret_problem))
        goto out;
    if (json_is_array(root) && limits->key != NULL) {
        problem_set(ret_problem, 422, "key_of_many",
                    "An Idempotency-Key header is for a single event; in an array each event has "
                    "its own idempotency_key.");
        goto out;
    }
    builder = event_builder_new(limits, body_n, ret_problem);
    made.messages = calloc(count, sizeof(struct message *));
    made.is_array = json_is_array(root);
    if (builder == NULL || made.messages == NULL) {
        problem_set_out_of_memory(ret_problem);
        goto out;
    }
    struct json_span text = body_trim(body, body_n);
    good = made.is_array
               ? body_read_array(builder, root, text, &made) && body_check_keys(builder, &made)
               : body_read_object(builder, root, text, &made);
out:
    json_alloc_free(parsed);
    event_builder_free(builder);
    if (good)
        *ret_body = made;
    else
        publish_body_free(&made);
    return good;
}

/* ---- text with fields from a query ---- */

static bool body_parse_number(const char *text, double *ret_number)
{
    char *end;

    if (strspn(text, "0123456789.") != strlen(text) || text[0] == '\0')
        return false;
    errno = 0;
    *ret_number = strtod(text, &end);
    return errno == 0 && *end == '\0';
}

static bool body_add_name(struct event_builder *builder, const struct publish_field *field,
                          bool is_topic)
{
    struct message_name *names = is_topic ? builder->topics : builder->users;
    size_t *count = is_topic ? &builder->message.topics_n : &builder->message.users_n;
    size_t max = is_topic ? PUBLISH_TOPICS_MAX : PUBLISH_USERS_MAX;
    const char **written = is_topic ? &builder->topic_field : &builder->user_field;
    struct message_name name = {.bytes = field->value, .bytes_n = field->value_n};

    if (*written != NULL && strcmp(*written, field->name) != 0)
        return event_builder_refuse_both(builder, field->name, *written, field->name);
    *written = field->name;
    if (*count == max)
        return event_builder_refuse(builder, field->name, "There may be at most %zu", max);
    if (!event_builder_check_name(builder, field->name, &name, is_topic))
        return false;
    names[(*count)++] = name;
    builder->message.topics = builder->topics;
    builder->message.users = builder->users;
    return true;
}

static bool body_set_number(struct event_builder *builder, const struct publish_field *field,
                            bool (*set)(struct event_builder *builder, double number))
{
    double number;

    if (body_parse_number(field->value, &number))
        return set(builder, number);
    return event_builder_refuse(builder, field->name, "This must be a number");
}

static bool body_parse_switch(struct event_builder *builder, const struct publish_field *field,
                              bool *ret_on)
{
    *ret_on = strcmp(field->value, "true") == 0;
    if (*ret_on || strcmp(field->value, "false") == 0)
        return true;
    return event_builder_refuse(builder, field->name, "This must be true or false");
}

static bool body_set_ephemeral(struct event_builder *builder, const struct publish_field *field)
{
    bool on;

    if (!body_parse_switch(builder, field, &on))
        return false;
    builder->message.kind = on ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool body_read_query_field(struct event_builder *builder, const struct publish_field *field)
{
    bool plain = strlen(field->value) == field->value_n;

    if (strcmp(field->name, "topic") == 0 || strcmp(field->name, "topics") == 0)
        return body_add_name(builder, field, true);
    if (strcmp(field->name, "user") == 0 || strcmp(field->name, "users") == 0)
        return body_add_name(builder, field, false);
    if (strcmp(field->name, "event") == 0)
        return event_builder_set_event(builder, field->value, field->value_n);
    if (strcmp(field->name, "idempotency_key") == 0)
        return event_builder_set_key(builder, field->value, field->value_n);
    if (plain && strcmp(field->name, "retry") == 0)
        return body_set_number(builder, field, event_builder_set_retry);
    if (plain && strcmp(field->name, "ttl") == 0)
        return body_set_number(builder, field, event_builder_set_ttl);
    if (plain && strcmp(field->name, "ephemeral") == 0)
        return body_set_ephemeral(builder, field);
    if (plain && strcmp(field->name, "broadcast") == 0)
        return body_parse_switch(builder, field, &builder->is_broadcast);
    return body_refuse_unknown(builder, field->name);
}

/* As in JSON, what is given twice could be a mistake either way. */
static bool body_is_repeated(const struct publish_field *fields, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(fields[i].name, fields[index].name) == 0)
            return strncmp(fields[index].name, "topic", 5) != 0 &&
                   strncmp(fields[index].name, "user", 4) != 0;
    return false;
}

/* What another type would have said. */
static bool body_refuse_kind(struct event_builder *builder, enum publish_kind kind)
{
    if (kind == PUBLISH_KIND_JSON)
        return problem_set(builder->problem, 415, "looks_like_json",
                           "The body looks like an event in JSON, but its Content-Type is another: "
                           "send Content-Type: application/json. To publish it as text, name a "
                           "topic or a user in the query.");
    return problem_set(
        builder->problem, 415, "looks_like_form",
        "The body looks like a form, and forms are not supported: send the event as JSON with "
        "Content-Type: application/json, or the data alone with topic or user in the query.");
}

/* A text without a topic and a user goes to every stream, and so only when that is said. */
static bool body_check_recipients(struct event_builder *builder, const char *body, size_t body_n)
{
    enum publish_kind kind;
    bool is_aimed = builder->message.topics_n > 0 || builder->message.users_n > 0;

    if (is_aimed && builder->is_broadcast)
        return event_builder_refuse(builder, "broadcast", "A broadcast has no topic and no user");
    if (is_aimed)
        return true;
    kind = publish_kind_look(body, body_n);
    if (kind != PUBLISH_KIND_TEXT)
        return body_refuse_kind(builder, kind);
    if (builder->is_broadcast)
        return true;
    return problem_set(builder->problem, 422, "no_recipients",
                       "Name a topic or a user in the query, or add broadcast=true to send the "
                       "text to every stream.");
}

static bool body_read_text(struct event_builder *builder, const char *body, size_t body_n,
                           const struct publish_field *fields, size_t fields_n)
{
    if (!event_builder_begin(builder) || !event_builder_make_room(builder, fields_n))
        return false;
    for (size_t i = 0; i < fields_n; i++) {
        if (body_is_repeated(fields, i))
            return event_builder_refuse(builder, fields[i].name,
                                        "This field is given more than once");
        if (!body_read_query_field(builder, &fields[i]))
            return false;
    }
    return body_check_recipients(builder, body, body_n) &&
           event_builder_set_data(builder, body, body_n, false);
}

bool publish_body_text(const char *body, size_t body_n, const struct publish_field *fields,
                       size_t fields_n, const struct publish_limits *limits,
                       struct publish_body *ret_body, struct problem *ret_problem)
{
    struct publish_body made = {0};
    size_t bad;

    if (!utf8_valid(body, body_n, &bad)) {
        problem_set(ret_problem, 400, "invalid_utf8", "The body is not valid UTF-8 at byte %zu.",
                    bad);
        json_span_place(body, bad, &ret_problem->line, &ret_problem->column);
        return false;
    }
    struct event_builder *builder = event_builder_new(limits, 0, ret_problem);
    made.messages = calloc(1, sizeof(struct message *));
    bool good = builder != NULL && made.messages != NULL;
    if (good)
        good = body_read_text(builder, body, body_n, fields, fields_n) &&
               event_builder_finish(builder, &made);
    else
        problem_set_out_of_memory(ret_problem);
    event_builder_free(builder);
    if (good)
        *ret_body = made;
    else
        publish_body_free(&made);
    return good;
}

void publish_body_free(struct publish_body *body)
{
    for (size_t i = 0; i < body->messages_n; i++)
        message_unref(body->messages[i]);
    free(body->messages);
    memset(body, 0, sizeof(*body));
}
