/* SPDX-License-Identifier: MIT */
/* What may be published.  See publish_body.h. */
#include "config.h"
#include "api/publish_body.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/event_builder.h"
#include "api/publish_kind.h"
#include "base/log.h"
#include "base/utf8.h"
#include "event/topic.h"
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
static bool read_name(struct event_builder *draft, const char *field, json_t *value,
                      struct json_span text, bool is_topic, struct message_name *ret_name)
{
    struct message_name name = {0};

    if (json_is_string(value)) {
        name.bytes = json_string_value(value);
        name.bytes_n = json_string_length(value);
    } else if (!is_topic && json_is_number(value) && is_whole_number(text)) {
        name.bytes = text.at;
        name.bytes_n = text.bytes_n;
    } else {
        event_builder_refuse(draft, field, "A %s must be %s", is_topic ? "topic" : "user",
                             is_topic ? "text" : "text or a whole number");
        return false;
    }
    if (!event_builder_check_name(draft, field, &name, is_topic))
        return false;
    *ret_name = name;
    return true;
}

static bool read_list(struct event_builder *draft, const char *field, json_t *list,
                      struct json_span text, bool is_topic, struct message_name *names,
                      size_t names_max, size_t *ret_n)
{
    struct json_span element = json_span_first(text);
    size_t count = json_array_size(list);

    if (count == 0 || count > names_max) {
        event_builder_refuse(draft, field, "A list of %s must have 1 to %zu members, not %zu",
                             is_topic ? "topics" : "users", names_max, count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        char member[64];

        snprintf(member, sizeof(member), "%s/%zu", field, i);
        if (!read_name(draft, member, json_array_get(list, i), element, is_topic, &names[i]))
            return false;
        element = json_span_next(text, element);
    }
    *ret_n = count;
    return true;
}

static bool read_names(struct event_builder *draft, const char *field, json_t *value,
                       struct json_span text, bool is_topic, struct message_name *names,
                       size_t names_max, size_t *ret_n)
{
    if (json_is_array(value))
        return read_list(draft, field, value, text, is_topic, names, names_max, ret_n);
    if (!read_name(draft, field, value, text, is_topic, &names[0]))
        return false;
    *ret_n = 1;
    return true;
}

static bool read_topics(struct event_builder *draft, const char *field, json_t *value,
                        struct json_span text)
{
    if (draft->has_topics)
        return event_builder_refuse_both(draft, field, "topic", "topics");
    draft->has_topics = true;
    draft->message.topics = draft->topics;
    return read_names(draft, field, value, text, true, draft->topics, PUBLISH_TOPICS_MAX,
                      &draft->message.topics_n);
}

static bool read_users(struct event_builder *draft, const char *field, json_t *value,
                       struct json_span text)
{
    if (draft->has_users)
        return event_builder_refuse_both(draft, field, "user", "users");
    draft->has_users = true;
    if (!event_builder_make_room(draft, json_is_array(value) ? json_array_size(value) : 1))
        return false;
    draft->message.users = draft->users;
    return read_names(draft, field, value, text, false, draft->users, PUBLISH_USERS_MAX,
                      &draft->message.users_n);
}

/* ---- JSON ---- */

static bool read_data(struct event_builder *draft, json_t *value, struct json_span text)
{
    if (json_is_string(value))
        return event_builder_set_data(draft, json_string_value(value), json_string_length(value));
    return event_builder_set_data(draft, draft->scratch, json_span_compact(draft->scratch, text));
}

static bool read_event_name(struct event_builder *draft, json_t *value)
{
    if (json_is_string(value))
        return event_builder_set_event(draft, json_string_value(value), json_string_length(value));
    event_builder_refuse(draft, "event", "The event name must be text");
    return false;
}

static bool read_number(struct event_builder *draft, const char *field, json_t *value,
                        double *ret_number)
{
    if (!json_is_number(value)) {
        event_builder_refuse(draft, field, "This must be a number");
        return false;
    }
    *ret_number = json_number_value(value);
    return true;
}

static bool read_ephemeral(struct event_builder *draft, json_t *value)
{
    if (!json_is_boolean(value)) {
        event_builder_refuse(draft, "ephemeral", "This must be true or false");
        return false;
    }
    draft->message.kind = json_is_true(value) ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool read_key(struct event_builder *draft, json_t *value)
{
    if (json_is_string(value))
        return event_builder_set_key(draft, json_string_value(value), json_string_length(value));
    event_builder_refuse(draft, "idempotency_key", "The key must be text");
    return false;
}

/* A member's name in a JSON pointer: RFC 6901 section 3. */
static void escape_pointer(char *to, size_t to_n, const char *name)
{
    char *end = to + to_n - 2;

    for (; *name != '\0' && to < end; name++) {
        *to++ = *name == '/' ? '~' : *name;
        if (*name == '/' || *name == '~')
            *to++ = *name == '/' ? '1' : '0';
    }
    *to = '\0';
}

static bool read_unknown(struct event_builder *draft, const char *field)
{
    char name[64], pointer[64];

    log_visible(name, sizeof(name), field, strlen(field));
    escape_pointer(pointer, sizeof(pointer), name);
    event_builder_refuse(draft, pointer, "There is no field \"%s\"", name);
    return false;
}

static bool read_field(struct event_builder *draft, const char *field, json_t *value,
                       struct json_span object)
{
    struct json_span text = json_span_member(object, field);
    double number;

    if (strcmp(field, "data") == 0)
        return read_data(draft, value, text);
    if (strcmp(field, "topic") == 0 || strcmp(field, "topics") == 0)
        return read_topics(draft, field, value, text);
    if (strcmp(field, "user") == 0 || strcmp(field, "users") == 0)
        return read_users(draft, field, value, text);
    if (strcmp(field, "event") == 0)
        return read_event_name(draft, value);
    if (strcmp(field, "retry") == 0)
        return read_number(draft, field, value, &number) && event_builder_set_retry(draft, number);
    if (strcmp(field, "ttl") == 0)
        return read_number(draft, field, value, &number) && event_builder_set_ttl(draft, number);
    if (strcmp(field, "ephemeral") == 0)
        return read_ephemeral(draft, value);
    if (strcmp(field, "idempotency_key") == 0)
        return read_key(draft, value);
    return read_unknown(draft, field);
}

static bool read_object(struct event_builder *draft, json_t *object, struct json_span text,
                        struct publish_body *body)
{
    const char *field;
    json_t *value;

    if (!json_is_object(object)) {
        problem_set(draft->problem, 422, "not_an_object", "An event must be a JSON object.");
        snprintf(draft->problem->pointer, sizeof(draft->problem->pointer), "%s", draft->where);
        return false;
    }
    if (!event_builder_begin(draft))
        return false;
    json_object_foreach(object, field, value)
    {
        if (!read_field(draft, field, value, text))
            return false;
    }
    return event_builder_finish(draft, body);
}

static bool read_array(struct event_builder *draft, json_t *array, struct json_span text,
                       struct publish_body *body)
{
    struct json_span element = json_span_first(text);
    size_t count = json_array_size(array), recipients = 0;

    for (size_t i = 0; i < count; i++) {
        snprintf(draft->where, sizeof(draft->where), "/%zu", i);
        if (!read_object(draft, json_array_get(array, i), element, body))
            return false;
        recipients += draft->message.users_n;
        if (recipients > PUBLISH_RECIPIENTS_MAX) {
            event_builder_refuse(draft, "users", "A request may have at most %d recipients",
                                 PUBLISH_RECIPIENTS_MAX);
            return false;
        }
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

static bool check_keys(struct event_builder *draft, const struct publish_body *body)
{
    size_t second;

    if (!body->has_keys)
        return true;
    if (!publish_body_find_second_key(body, &second))
        return event_builder_refuse_for_memory(draft->problem);
    if (second == body->messages_n)
        return true;
    snprintf(draft->where, sizeof(draft->where), "/%zu", second);
    event_builder_refuse(draft, "idempotency_key", "An event before this one has the same key");
    return false;
}

static void refuse_json(struct problem *problem, const json_error_t *error)
{
    char why[160];

    log_visible(why, sizeof(why), error->text, strlen(error->text));
    if (json_error_code(error) == json_error_null_character)
        problem_set(problem, 400, "invalid_json",
                    "A string of the body has \\u0000, the NUL character, which is not taken in "
                    "JSON.");
    else
        problem_set(problem, 400, "invalid_json", "The body is not valid JSON: %s.", why);
}

static bool parse(const char *text, size_t text_n, const struct publish_limits *limits,
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
        return event_builder_refuse_for_memory(ret_problem);
    refuse_json(ret_problem, &error);
    ret_problem->line = error.line > 0 ? (size_t)error.line : 1;
    ret_problem->column = error.column > 0 ? (size_t)error.column : 1;
    return false;
}

static bool check_count(json_t *root, size_t *ret_count, struct problem *ret_problem)
{
    size_t count = json_is_array(root) ? json_array_size(root) : 1;

    if (count == 0)
        return problem_set(ret_problem, 422, "empty_array", "The array has no events.");
    if (count > HUB_OP_EVENTS_MAX)
        return problem_set(ret_problem, 422, "too_many_events",
                           "The array has %zu events; at most %d are taken.", count,
                           HUB_OP_EVENTS_MAX);
    *ret_count = count;
    return true;
}

static struct json_span trimmed(const char *text, size_t text_n)
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
    struct event_builder *draft = NULL;
    struct json_alloc *parsed = NULL;
    bool good = false;
    size_t count = 0;

    if (!parse(body, body_n, limits, &parsed, ret_problem))
        return false;
    json_t *root = parsed->root;
    if (!check_count(root, &count, ret_problem))
        goto out;
    if (json_is_array(root) && limits->key != NULL) {
        problem_set(ret_problem, 422, "key_of_many",
                    "An Idempotency-Key header is for a single event; in an array each event has "
                    "its own idempotency_key.");
        goto out;
    }
    draft = event_builder_new(limits, body_n, ret_problem);
    made.messages = calloc(count, sizeof(struct message *));
    made.is_array = json_is_array(root);
    if (draft == NULL || made.messages == NULL) {
        event_builder_refuse_for_memory(ret_problem);
        goto out;
    }
    struct json_span text = trimmed(body, body_n);
    good = made.is_array ? read_array(draft, root, text, &made) && check_keys(draft, &made)
                         : read_object(draft, root, text, &made);
out:
    json_alloc_free(parsed);
    event_builder_free(draft);
    if (good)
        *ret_body = made;
    else
        publish_body_free(&made);
    return good;
}

/* ---- text with fields from a query ---- */

static bool parse_number(const char *text, double *ret_number)
{
    char *end;

    if (strspn(text, "0123456789.") != strlen(text) || text[0] == '\0')
        return false;
    errno = 0;
    *ret_number = strtod(text, &end);
    return errno == 0 && *end == '\0';
}

static bool add_name(struct event_builder *draft, const struct publish_field *field, bool is_topic)
{
    struct message_name *names = is_topic ? draft->topics : draft->users;
    size_t *count = is_topic ? &draft->message.topics_n : &draft->message.users_n;
    size_t max = is_topic ? PUBLISH_TOPICS_MAX : PUBLISH_USERS_MAX;
    const char **written = is_topic ? &draft->topic_field : &draft->user_field;
    struct message_name name = {.bytes = field->value, .bytes_n = field->value_n};

    if (*written != NULL && strcmp(*written, field->name) != 0)
        return event_builder_refuse_both(draft, field->name, *written, field->name);
    *written = field->name;
    if (*count == max) {
        event_builder_refuse(draft, field->name, "At most %zu are taken", max);
        return false;
    }
    if (!event_builder_check_name(draft, field->name, &name, is_topic))
        return false;
    names[(*count)++] = name;
    draft->message.topics = draft->topics;
    draft->message.users = draft->users;
    return true;
}

static bool set_number(struct event_builder *draft, const struct publish_field *field,
                       bool (*set)(struct event_builder *draft, double number))
{
    double number;

    if (parse_number(field->value, &number))
        return set(draft, number);
    event_builder_refuse(draft, field->name, "This must be a number");
    return false;
}

static bool parse_switch(struct event_builder *draft, const struct publish_field *field,
                         bool *ret_on)
{
    *ret_on = strcmp(field->value, "true") == 0;
    if (*ret_on || strcmp(field->value, "false") == 0)
        return true;
    event_builder_refuse(draft, field->name, "This must be true or false");
    return false;
}

static bool set_ephemeral(struct event_builder *draft, const struct publish_field *field)
{
    bool on;

    if (!parse_switch(draft, field, &on))
        return false;
    draft->message.kind = on ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool read_query_field(struct event_builder *draft, const struct publish_field *field)
{
    bool plain = strlen(field->value) == field->value_n;

    if (strcmp(field->name, "topic") == 0 || strcmp(field->name, "topics") == 0)
        return add_name(draft, field, true);
    if (strcmp(field->name, "user") == 0 || strcmp(field->name, "users") == 0)
        return add_name(draft, field, false);
    if (strcmp(field->name, "event") == 0)
        return event_builder_set_event(draft, field->value, field->value_n);
    if (strcmp(field->name, "idempotency_key") == 0)
        return event_builder_set_key(draft, field->value, field->value_n);
    if (plain && strcmp(field->name, "retry") == 0)
        return set_number(draft, field, event_builder_set_retry);
    if (plain && strcmp(field->name, "ttl") == 0)
        return set_number(draft, field, event_builder_set_ttl);
    if (plain && strcmp(field->name, "ephemeral") == 0)
        return set_ephemeral(draft, field);
    if (plain && strcmp(field->name, "broadcast") == 0)
        return parse_switch(draft, field, &draft->is_broadcast);
    return read_unknown(draft, field->name);
}

static bool is_list_field(const char *name)
{
    return strncmp(name, "topic", 5) == 0 || strncmp(name, "user", 4) == 0;
}

/* As in JSON, what is given twice could be a mistake either way. */
static bool is_repeated(const struct publish_field *fields, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(fields[i].name, fields[index].name) == 0)
            return !is_list_field(fields[index].name);
    return false;
}

/* What another type would have said. */
static bool refuse_kind(struct event_builder *draft, enum publish_kind kind)
{
    if (kind == PUBLISH_KIND_JSON)
        return problem_set(draft->problem, 415, "looks_like_json",
                           "The body looks like an event in JSON, but its Content-Type does not "
                           "say so: send Content-Type: application/json.  To publish it as a text, "
                           "name a topic or a user in the query.");
    return problem_set(draft->problem, 415, "looks_like_form",
                       "The body looks like a form, which is not taken: send the event as JSON "
                       "with Content-Type: application/json, or the data alone with topic or user "
                       "in the query.");
}

/* A text without a topic and a user goes to every stream, and so only when that is said. */
static bool check_reach(struct event_builder *draft, const char *body, size_t body_n)
{
    enum publish_kind kind;
    bool is_aimed = draft->message.topics_n > 0 || draft->message.users_n > 0;

    if (is_aimed && draft->is_broadcast) {
        event_builder_refuse(draft, "broadcast", "A broadcast has no topic and no user");
        return false;
    }
    if (is_aimed)
        return true;
    kind = publish_kind_look(body, body_n);
    if (kind != PUBLISH_KIND_TEXT)
        return refuse_kind(draft, kind);
    if (draft->is_broadcast)
        return true;
    return problem_set(draft->problem, 422, "no_recipients",
                       "Name a topic or a user in the query, or say broadcast=true there: then the "
                       "text goes to every stream.");
}

static bool read_text(struct event_builder *draft, const char *body, size_t body_n,
                      const struct publish_field *fields, size_t fields_n)
{
    if (!event_builder_begin(draft) || !event_builder_make_room(draft, fields_n))
        return false;
    for (size_t i = 0; i < fields_n; i++) {
        if (is_repeated(fields, i)) {
            event_builder_refuse(draft, fields[i].name, "This is given more than once");
            return false;
        }
        if (!read_query_field(draft, &fields[i]))
            return false;
    }
    return check_reach(draft, body, body_n) && event_builder_set_data(draft, body, body_n);
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
    struct event_builder *draft = event_builder_new(limits, 0, ret_problem);
    made.messages = calloc(1, sizeof(struct message *));
    bool good = draft != NULL && made.messages != NULL;
    if (good)
        good =
            read_text(draft, body, body_n, fields, fields_n) && event_builder_finish(draft, &made);
    else
        event_builder_refuse_for_memory(ret_problem);
    event_builder_free(draft);
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
