/* SPDX-License-Identifier: MIT */
/* What may be published.  See publish_body.h. */
#include "config.h"
#include "publish_body.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_memory.h"
#include "json_span.h"
#include "key_table.h"
#include "log.h"
#include "topic.h"
#include "utf8.h"

#define TTL_SECONDS_MAX 3153600000.0 /* a hundred years */

/* One event while its fields are read. */
struct draft {
    const struct publish_limits *limits;
    struct problem *problem;
    char where[24]; /* "/3" for an element of an array, else empty */
    struct message_draft message;
    struct message_name topics[PUBLISH_TOPICS_MAX];
    struct message_name *users; /* made when there are some: room for all that may be is 24 KB */
    size_t users_room;
    char key[MESSAGE_KEY_BYTES_MAX]; /* with its scope */
    char *scratch;                   /* compacted data; as large as the body */
    bool has_data;
    bool has_topics;
    bool has_users;
    const char *topic_field; /* in a query: the one way of writing it that was used */
    const char *user_field;
};

static void __attribute__((format(printf, 3, 4)))
refuse_field(struct draft *draft, const char *field, const char *format, ...)
{
    char detail[256];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    problem_set(draft->problem, 422, "invalid_field", "%s.", detail);
    snprintf(draft->problem->pointer, sizeof(draft->problem->pointer), "%s/%s", draft->where,
             field);
}

static bool refuse_for_memory(struct problem *problem)
{
    return problem_set(problem, 503, "out_of_memory", "The gateway is out of memory.");
}

/* ---- names ---- */

/* Room for so many users, at most PUBLISH_USERS_MAX; those that were there are lost. */
static bool make_room_for_users(struct draft *draft, size_t users_n)
{
    size_t room = users_n < PUBLISH_USERS_MAX ? users_n : PUBLISH_USERS_MAX;

    if (room <= draft->users_room)
        return true;
    free(draft->users);
    draft->users = malloc(room * sizeof(draft->users[0]));
    draft->users_room = draft->users != NULL ? room : 0;
    return draft->users != NULL || refuse_for_memory(draft->problem);
}

static bool check_name(struct draft *draft, const char *field, const struct message_name *name,
                       bool is_topic)
{
    enum topic_error error = is_topic ? topic_check_name(name->bytes, name->bytes_n)
                                      : topic_check_user(name->bytes, name->bytes_n);

    if (error == TOPIC_OK)
        return true;
    refuse_field(draft, field, "The %s %s", is_topic ? "topic" : "user", topic_error_text(error));
    return false;
}

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
static bool read_name(struct draft *draft, const char *field, json_t *value, struct json_span text,
                      bool is_topic, struct message_name *ret_name)
{
    struct message_name name = {0};

    if (json_is_string(value)) {
        name.bytes = json_string_value(value);
        name.bytes_n = json_string_length(value);
    } else if (!is_topic && json_is_number(value) && is_whole_number(text)) {
        name.bytes = text.at;
        name.bytes_n = text.bytes_n;
    } else {
        refuse_field(draft, field, "A %s must be %s", is_topic ? "topic" : "user",
                     is_topic ? "text" : "text or a whole number");
        return false;
    }
    if (!check_name(draft, field, &name, is_topic))
        return false;
    *ret_name = name;
    return true;
}

static bool read_list(struct draft *draft, const char *field, json_t *list, struct json_span text,
                      bool is_topic, struct message_name *names, size_t names_max, size_t *ret_n)
{
    struct json_span element = json_span_first(text);
    size_t count = json_array_size(list);

    if (count == 0 || count > names_max) {
        refuse_field(draft, field, "A list of %s must have 1 to %zu members, not %zu",
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

static bool read_names(struct draft *draft, const char *field, json_t *value, struct json_span text,
                       bool is_topic, struct message_name *names, size_t names_max, size_t *ret_n)
{
    if (json_is_array(value))
        return read_list(draft, field, value, text, is_topic, names, names_max, ret_n);
    if (!read_name(draft, field, value, text, is_topic, &names[0]))
        return false;
    *ret_n = 1;
    return true;
}

static bool refuse_both(struct draft *draft, const char *field, const char *one, const char *other)
{
    refuse_field(draft, field, "Give either %s or %s, not both", one, other);
    return false;
}

static bool read_topics(struct draft *draft, const char *field, json_t *value,
                        struct json_span text)
{
    if (draft->has_topics)
        return refuse_both(draft, field, "topic", "topics");
    draft->has_topics = true;
    draft->message.topics = draft->topics;
    return read_names(draft, field, value, text, true, draft->topics, PUBLISH_TOPICS_MAX,
                      &draft->message.topics_n);
}

static bool read_users(struct draft *draft, const char *field, json_t *value, struct json_span text)
{
    if (draft->has_users)
        return refuse_both(draft, field, "user", "users");
    draft->has_users = true;
    if (!make_room_for_users(draft, json_is_array(value) ? json_array_size(value) : 1))
        return false;
    draft->message.users = draft->users;
    return read_names(draft, field, value, text, false, draft->users, PUBLISH_USERS_MAX,
                      &draft->message.users_n);
}

/* ---- the other fields, checked the same way from JSON and from a query ---- */

static bool set_data(struct draft *draft, const char *data, size_t data_n)
{
    if (data_n > draft->limits->event_bytes_max) {
        problem_set(draft->problem, 413, "event_too_large",
                    "The data has %zu bytes; limits.event_bytes allows %zu.", data_n,
                    draft->limits->event_bytes_max);
        snprintf(draft->problem->pointer, sizeof(draft->problem->pointer), "%s/data", draft->where);
        return false;
    }
    draft->message.fields.data = data;
    draft->message.fields.data_n = data_n;
    draft->has_data = true;
    return true;
}

static bool set_event_name(struct draft *draft, const char *name, size_t name_n)
{
    const char *why;

    if (name_n == 0) {
        refuse_field(draft, "event", "The event name is empty; leave it out for a plain message");
        return false;
    }
    if (!sse_check_name(name, name_n, &why)) {
        refuse_field(draft, "event", "The event name %s", why);
        return false;
    }
    draft->message.fields.name = name;
    draft->message.fields.name_n = name_n;
    return true;
}

static bool set_retry(struct draft *draft, double retry_ms)
{
    if (!(retry_ms >= 0) || retry_ms != floor(retry_ms)) {
        refuse_field(draft, "retry", "The retry time must be a whole number of milliseconds");
        return false;
    }
    if (retry_ms < SSE_RETRY_MIN_MS)
        retry_ms = SSE_RETRY_MIN_MS;
    draft->message.fields.retry_ms =
        retry_ms > SSE_RETRY_MAX_MS ? SSE_RETRY_MAX_MS : (uint32_t)retry_ms;
    return true;
}

static bool set_ttl(struct draft *draft, double ttl_s)
{
    if (!(ttl_s > 0) || ttl_s > TTL_SECONDS_MAX) {
        refuse_field(draft, "ttl", "The ttl must be a number of seconds above 0 and at most %.0f",
                     TTL_SECONDS_MAX);
        return false;
    }
    draft->message.ttl_ms = (int64_t)ceil(ttl_s * 1000);
    return true;
}

static bool set_key(struct draft *draft, const char *key, size_t key_n)
{
    enum topic_error error = topic_check_user(key, key_n);

    if (draft->message.key != NULL) {
        refuse_field(draft, "idempotency_key", "The key is given in the header too");
        return false;
    }
    if (error != TOPIC_OK) {
        refuse_field(draft, "idempotency_key", "The key %s", topic_error_text(error));
        return false;
    }
    draft->message.key = key;
    draft->message.key_n = key_n;
    return true;
}

/* ---- JSON ---- */

static bool read_data(struct draft *draft, json_t *value, struct json_span text)
{
    if (json_is_string(value))
        return set_data(draft, json_string_value(value), json_string_length(value));
    return set_data(draft, draft->scratch, json_span_compact(draft->scratch, text));
}

static bool read_event_name(struct draft *draft, json_t *value)
{
    if (json_is_string(value))
        return set_event_name(draft, json_string_value(value), json_string_length(value));
    refuse_field(draft, "event", "The event name must be text");
    return false;
}

static bool read_number(struct draft *draft, const char *field, json_t *value, double *ret_number)
{
    if (!json_is_number(value)) {
        refuse_field(draft, field, "This must be a number");
        return false;
    }
    *ret_number = json_number_value(value);
    return true;
}

static bool read_ephemeral(struct draft *draft, json_t *value)
{
    if (!json_is_boolean(value)) {
        refuse_field(draft, "ephemeral", "This must be true or false");
        return false;
    }
    draft->message.kind = json_is_true(value) ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool read_key(struct draft *draft, json_t *value)
{
    if (json_is_string(value))
        return set_key(draft, json_string_value(value), json_string_length(value));
    refuse_field(draft, "idempotency_key", "The key must be text");
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

static bool read_unknown(struct draft *draft, const char *field)
{
    char name[64], pointer[64];

    log_visible(name, sizeof(name), field, strlen(field));
    escape_pointer(pointer, sizeof(pointer), name);
    refuse_field(draft, pointer, "There is no field \"%s\"", name);
    return false;
}

static bool read_field(struct draft *draft, const char *field, json_t *value,
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
        return read_number(draft, field, value, &number) && set_retry(draft, number);
    if (strcmp(field, "ttl") == 0)
        return read_number(draft, field, value, &number) && set_ttl(draft, number);
    if (strcmp(field, "ephemeral") == 0)
        return read_ephemeral(draft, value);
    if (strcmp(field, "idempotency_key") == 0)
        return read_key(draft, value);
    return read_unknown(draft, field);
}

/* The key of a header comes first, so that a mistake in it is told like one in a field. */
static bool begin_draft(struct draft *draft)
{
    const struct publish_limits *limits = draft->limits;

    memset(&draft->message, 0, sizeof(draft->message));
    draft->message.kind = MESSAGE_STORED;
    draft->has_data = draft->has_topics = draft->has_users = false;
    draft->topic_field = draft->user_field = NULL;
    return limits->key == NULL || set_key(draft, limits->key, limits->key_n);
}

/* A key is one publisher's: the same key of another is another key. */
static void scope_key(struct draft *draft)
{
    const unsigned char *scope = draft->limits->scope;

    if (scope == NULL || draft->message.key == NULL)
        return;
    memcpy(draft->key, scope, PUBLISH_SCOPE_BYTES);
    memcpy(draft->key + PUBLISH_SCOPE_BYTES, draft->message.key, draft->message.key_n);
    draft->message.key = draft->key;
    draft->message.key_n += PUBLISH_SCOPE_BYTES;
}

/* Make the message of a finished draft and add it to the body's. */
static bool finish_draft(struct draft *draft, struct publish_body *body)
{
    if (!draft->has_data) {
        refuse_field(draft, "data", "The field \"data\" is required");
        return false;
    }
    if (draft->message.key != NULL && draft->message.kind == MESSAGE_EPHEMERAL) {
        refuse_field(draft, "idempotency_key", "An ephemeral event is not stored, nor is its key");
        return false;
    }
    scope_key(draft);
    struct message *message = message_new(&draft->message);
    if (message == NULL)
        return refuse_for_memory(draft->problem);
    body->messages[body->messages_n++] = message;
    body->bytes += message->bytes;
    body->has_keys |= message->key_n > 0;
    return true;
}

static bool read_object(struct draft *draft, json_t *object, struct json_span text,
                        struct publish_body *body)
{
    const char *field;
    json_t *value;

    if (!json_is_object(object)) {
        problem_set(draft->problem, 422, "not_an_object", "An event must be a JSON object.");
        snprintf(draft->problem->pointer, sizeof(draft->problem->pointer), "%s", draft->where);
        return false;
    }
    if (!begin_draft(draft))
        return false;
    json_object_foreach(object, field, value)
    {
        if (!read_field(draft, field, value, text))
            return false;
    }
    return finish_draft(draft, body);
}

static bool read_array(struct draft *draft, json_t *array, struct json_span text,
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
            refuse_field(draft, "users", "A request may have at most %d recipients",
                         PUBLISH_RECIPIENTS_MAX);
            return false;
        }
        element = json_span_next(text, element);
    }
    return true;
}

/* Where in the array a key stands for the second time; `messages_n`: nowhere. */
static bool find_second_key(const struct publish_body *body, size_t *ret_index)
{
    struct key_table *keys = key_table_new();
    bool good = keys != NULL;
    size_t i;

    for (i = 0; good && i < body->messages_n; i++) {
        const struct message *message = body->messages[i];

        if (message->key_n == 0)
            continue;
        if (key_table_find(keys, message) != NULL)
            break;
        good = key_table_put(keys, message, i, 0) == 0;
    }
    key_table_free(keys);
    *ret_index = i;
    return good;
}

static bool check_keys(struct draft *draft, const struct publish_body *body)
{
    size_t second;

    if (!body->has_keys)
        return true;
    if (!find_second_key(body, &second))
        return refuse_for_memory(draft->problem);
    if (second == body->messages_n)
        return true;
    snprintf(draft->where, sizeof(draft->where), "/%zu", second);
    refuse_field(draft, "idempotency_key", "An event before this one has the same key");
    return false;
}

static bool parse(const char *text, size_t text_n, const struct publish_limits *limits,
                  json_t **ret_root, struct problem *ret_problem)
{
    struct json_span span = {text, text_n};
    json_error_t error;

    if (json_span_depth(span) > limits->json_depth_max)
        return problem_set(ret_problem, 400, "json_too_deep",
                           "The JSON is nested deeper than limits.json_depth allows (%zu).",
                           limits->json_depth_max);
    if (memchr(text, '\0', text_n) != NULL) {
        /* the parser lets a NUL pass after some tokens */
        problem_set(ret_problem, 400, "invalid_json", "The body has a NUL byte.");
        json_span_place(text, (size_t)((const char *)memchr(text, '\0', text_n) - text),
                        &ret_problem->line, &ret_problem->column);
        return false;
    }
    json_memory_begin();
    *ret_root = json_loadb(
        text, text_n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY, &error);
    if (json_memory_failed()) {
        json_decref(*ret_root);
        *ret_root = NULL;
        return refuse_for_memory(ret_problem);
    }
    if (*ret_root != NULL)
        return true;
    char why[160];
    log_visible(why, sizeof(why), error.text, strlen(error.text));
    problem_set(ret_problem, 400, "invalid_json", "The body is not valid JSON: %s.", why);
    ret_problem->line = error.line > 0 ? (size_t)error.line : 1;
    ret_problem->column = error.column > 0 ? (size_t)error.column : 1;
    return false;
}

static bool check_count(json_t *root, size_t *ret_count, struct problem *ret_problem)
{
    size_t count = json_is_array(root) ? json_array_size(root) : 1;

    if (count == 0)
        return problem_set(ret_problem, 422, "empty_array", "The array has no events.");
    if (count > PUBLISH_EVENTS_MAX)
        return problem_set(ret_problem, 422, "too_many_events",
                           "The array has %zu events; at most %d are taken.", count,
                           PUBLISH_EVENTS_MAX);
    *ret_count = count;
    return true;
}

static struct draft *new_draft(const struct publish_limits *limits, size_t scratch_n,
                               struct problem *problem)
{
    struct draft *draft = malloc(sizeof(*draft) + scratch_n);

    if (draft == NULL)
        return NULL;
    draft->limits = limits;
    draft->problem = problem;
    draft->where[0] = '\0';
    draft->users = NULL;
    draft->users_room = 0;
    draft->scratch = (char *)(draft + 1);
    return draft;
}

static void free_draft(struct draft *draft)
{
    if (draft != NULL)
        free(draft->users);
    free(draft);
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
    struct draft *draft = NULL;
    json_t *root = NULL;
    bool good = false;
    size_t count = 0;

    if (!parse(body, body_n, limits, &root, ret_problem))
        return false;
    if (!check_count(root, &count, ret_problem))
        goto out;
    if (json_is_array(root) && limits->key != NULL) {
        problem_set(ret_problem, 422, "key_of_many",
                    "An Idempotency-Key header is for a single event; in an array each event has "
                    "its own idempotency_key.");
        goto out;
    }
    draft = new_draft(limits, body_n, ret_problem);
    made.messages = calloc(count, sizeof(struct message *));
    made.is_array = json_is_array(root);
    if (draft == NULL || made.messages == NULL) {
        refuse_for_memory(ret_problem);
        goto out;
    }
    struct json_span text = trimmed(body, body_n);
    good = made.is_array ? read_array(draft, root, text, &made) && check_keys(draft, &made)
                         : read_object(draft, root, text, &made);
out:
    json_decref(root);
    free_draft(draft);
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

static bool add_name(struct draft *draft, const struct publish_field *field, bool is_topic)
{
    struct message_name *names = is_topic ? draft->topics : draft->users;
    size_t *count = is_topic ? &draft->message.topics_n : &draft->message.users_n;
    size_t max = is_topic ? PUBLISH_TOPICS_MAX : PUBLISH_USERS_MAX;
    const char **written = is_topic ? &draft->topic_field : &draft->user_field;
    struct message_name name = {.bytes = field->value, .bytes_n = field->value_n};

    if (*written != NULL && strcmp(*written, field->name) != 0)
        return refuse_both(draft, field->name, *written, field->name);
    *written = field->name;
    if (*count == max) {
        refuse_field(draft, field->name, "At most %zu are taken", max);
        return false;
    }
    if (!check_name(draft, field->name, &name, is_topic))
        return false;
    names[(*count)++] = name;
    draft->message.topics = draft->topics;
    draft->message.users = draft->users;
    return true;
}

static bool set_number(struct draft *draft, const struct publish_field *field,
                       bool (*set)(struct draft *draft, double number))
{
    double number;

    if (parse_number(field->value, &number))
        return set(draft, number);
    refuse_field(draft, field->name, "This must be a number");
    return false;
}

static bool set_ephemeral(struct draft *draft, const struct publish_field *field)
{
    if (strcmp(field->value, "true") != 0 && strcmp(field->value, "false") != 0) {
        refuse_field(draft, field->name, "This must be true or false");
        return false;
    }
    draft->message.kind = field->value[0] == 't' ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return true;
}

static bool read_query_field(struct draft *draft, const struct publish_field *field)
{
    bool plain = strlen(field->value) == field->value_n;

    if (strcmp(field->name, "topic") == 0 || strcmp(field->name, "topics") == 0)
        return add_name(draft, field, true);
    if (strcmp(field->name, "user") == 0 || strcmp(field->name, "users") == 0)
        return add_name(draft, field, false);
    if (strcmp(field->name, "event") == 0)
        return set_event_name(draft, field->value, field->value_n);
    if (strcmp(field->name, "idempotency_key") == 0)
        return set_key(draft, field->value, field->value_n);
    if (plain && strcmp(field->name, "retry") == 0)
        return set_number(draft, field, set_retry);
    if (plain && strcmp(field->name, "ttl") == 0)
        return set_number(draft, field, set_ttl);
    if (plain && strcmp(field->name, "ephemeral") == 0)
        return set_ephemeral(draft, field);
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

static bool read_text(struct draft *draft, const char *body, size_t body_n,
                      const struct publish_field *fields, size_t fields_n)
{
    if (!begin_draft(draft) || !make_room_for_users(draft, fields_n))
        return false;
    for (size_t i = 0; i < fields_n; i++) {
        if (is_repeated(fields, i)) {
            refuse_field(draft, fields[i].name, "This is given more than once");
            return false;
        }
        if (!read_query_field(draft, &fields[i]))
            return false;
    }
    return set_data(draft, body, body_n);
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
    struct draft *draft = new_draft(limits, 0, ret_problem);
    made.messages = calloc(1, sizeof(struct message *));
    bool good = draft != NULL && made.messages != NULL;
    if (good)
        good = read_text(draft, body, body_n, fields, fields_n) && finish_draft(draft, &made);
    else
        refuse_for_memory(ret_problem);
    free_draft(draft);
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
