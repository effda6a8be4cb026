/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for what publishers send.  The first byte says what follows: 't' a query, a line
 * feed and a body of text, anything else JSON.  What is taken must be whole: as many events as
 * were sent, each a frame that reads back as exactly one event with the data that was given, and
 * all within the limits.  What is refused must say why.
 */
#include "api/publish_body.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "event/topic.h"
#include "wire/json_span.h"
#include "wire/sse_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENT_BYTES_MAX 4096
#define DEPTH_MAX 16
#define FIELDS_MAX 32
#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY)

static const struct publish_limits limits = {.event_bytes_max = EVENT_BYTES_MAX,
                                             .json_depth_max = DEPTH_MAX};

/* ---- what a client reads ---- */

struct heard {
    size_t events_n;
    char *data;
    size_t data_n;
    bool has_id;
};

static int on_event(void *arg, const struct sse_parser_event *event)
{
    struct heard *heard = arg;

    heard->events_n++;
    free(heard->data);
    heard->data = malloc(event->data_n + 1);
    assert(heard->data);
    memcpy(heard->data, event->data, event->data_n + 1);
    heard->data_n = event->data_n;
    heard->has_id = event->has_id;
    return 0;
}

static void on_retry(void *arg, uint64_t retry_ms)
{
    (void)arg;
    assert(retry_ms >= SSE_RETRY_MIN_MS && retry_ms <= SSE_RETRY_MAX_MS);
}

/* Free `data` of the answer. */
static struct heard hear(const struct message *message)
{
    static const struct sse_parser_limits no_limits = {1 << 20, 1 << 20};
    struct heard heard = {0};
    struct sse_parser_handler handler = {.on_event = on_event, .on_retry = on_retry, .arg = &heard};
    struct sse_parser *reader = sse_parser_new(&no_limits, &handler, NULL);

    assert(reader);
    assert(sse_parser_push(reader, message->frame, message->frame_n) == 0);
    sse_parser_free(reader);
    assert(heard.events_n == 1);
    assert(heard.has_id == (message->kind == MESSAGE_STORED));
    assert(heard.data_n <= EVENT_BYTES_MAX);
    return heard;
}

/* ---- what is true of every message ---- */

static void check_message(const struct message *message)
{
    assert(message->kind == MESSAGE_STORED || message->kind == MESSAGE_EPHEMERAL);
    assert((message->id_offset != UINT32_MAX) == (message->kind == MESSAGE_STORED));
    assert(message->refs == 1 && message->published_ms == 0 && message->ttl_ms >= 0);
    assert(message->topics_n <= PUBLISH_TOPICS_MAX && message->users_n <= PUBLISH_USERS_MAX);
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];

        assert(topic_check_name(topic->bytes, topic->bytes_n) == TOPIC_OK);
    }
    for (size_t i = 0; i < message->users_n; i++) {
        const struct message_name *user = &message_users(message)[i];

        assert(topic_check_user(user->bytes, user->bytes_n) == TOPIC_OK);
    }
}

static void check_body(const struct publish_body *body)
{
    size_t bytes = 0, recipients = 0;

    assert(body->messages_n >= 1 && body->messages_n <= HUB_OP_EVENTS_MAX);
    assert(body->is_array || body->messages_n == 1);
    for (size_t i = 0; i < body->messages_n; i++) {
        check_message(body->messages[i]);
        bytes += body->messages[i]->bytes;
        recipients += body->messages[i]->users_n;
    }
    assert(body->bytes == bytes && recipients <= PUBLISH_RECIPIENTS_MAX);
}

static void check_problem(const struct problem *problem)
{
    assert(problem->status == 400 || problem->status == 413 || problem->status == 415 ||
           problem->status == 422);
    assert(problem->code && *problem->code && *problem->detail);
    assert(strlen(problem->detail) < sizeof(problem->detail));
    assert(strlen(problem->pointer) < sizeof(problem->pointer));
    assert(utf8_valid(problem->detail, strlen(problem->detail), NULL));
    assert(problem->pointer[0] == '\0' || problem->pointer[0] == '/');
    if (problem->status == 400)
        assert(problem->pointer[0] == '\0');
    if (strcmp(problem->code, "invalid_json") == 0 || strcmp(problem->code, "invalid_utf8") == 0)
        assert(problem->status == 400 && problem->line >= 1 && problem->column >= 1);
    if (strcmp(problem->code, "invalid_field") == 0)
        assert(problem->status == 422 && problem->pointer[0] == '/');
}

/* Each end of a line as one line feed, as the lines of a frame are joined again. */
static size_t join_lines(char *to, const char *text, size_t text_n)
{
    size_t n = 0;

    for (size_t i = 0; i < text_n; i++) {
        to[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < text_n && text[i + 1] == '\n')
            i++;
    }
    return n;
}

static void check_data_is(const struct heard *heard, const char *text, size_t text_n)
{
    char *joined = malloc(text_n + 1);

    assert(joined);
    assert(join_lines(joined, text, text_n) == heard->data_n);
    assert(memcmp(joined, heard->data, heard->data_n) == 0);
    free(joined);
}

/* ---- JSON ---- */

static void check_event(const struct message *message, const json_t *object)
{
    const json_t *wanted = json_object_get(object, "data");
    struct heard heard = hear(message);

    assert(wanted);
    if (json_is_string(wanted)) {
        check_data_is(&heard, json_string_value(wanted), json_string_length(wanted));
    } else {
        json_t *got = json_loadb(heard.data, heard.data_n, PARSE_FLAGS, NULL);

        assert(got && json_equal(got, wanted));
        json_decref(got);
    }
    free(heard.data);
}

static void fuzz_json(const char *text, size_t text_n)
{
    struct publish_body body = {0};
    struct problem problem = {0};

    if (!publish_body_json(text, text_n, &limits, &body, &problem)) {
        assert(!body.messages && body.messages_n == 0);
        check_problem(&problem);
        return;
    }
    check_body(&body);
    json_t *root = json_loadb(text, text_n, PARSE_FLAGS, NULL);
    assert(root && json_is_array(root) == body.is_array);
    assert(!body.is_array || json_array_size(root) == body.messages_n);
    for (size_t i = 0; i < body.messages_n; i++)
        check_event(body.messages[i], body.is_array ? json_array_get(root, i) : root);
    json_decref(root);
    publish_body_free(&body);
}

/* ---- text ---- */

/* "a=1&b=2", without decoding; the text is cut up. */
static size_t split_query(struct publish_field *fields, char *text)
{
    size_t fields_n = 0;
    char *rest = NULL;

    for (char *at = strtok_r(text, "&", &rest); at && fields_n < FIELDS_MAX;
         at = strtok_r(NULL, "&", &rest)) {
        char *value = strchr(at, '=');

        if (!value)
            value = at + strlen(at);
        else
            *value++ = '\0';
        fields[fields_n++] =
            (struct publish_field){.name = at, .value = value, .value_n = strlen(value)};
    }
    return fields_n;
}

/* The look at a body does not decode names. */
static bool is_escaped(const char *data, size_t data_n)
{
    return memchr(data, '\\', data_n) != NULL;
}

static bool says_broadcast(const struct publish_field *fields, size_t fields_n)
{
    for (size_t i = 0; i < fields_n; i++)
        if (strcmp(fields[i].name, "broadcast") == 0)
            return strcmp(fields[i].value, "true") == 0;
    return false;
}

/* A whole event in JSON that says for whom it is, told by the parser. */
static bool is_aimed_json(const char *data, size_t data_n)
{
    json_t *root = json_loadb(data, data_n, PARSE_FLAGS, NULL);
    bool aimed = json_object_get(root, "user") != NULL || json_object_get(root, "topic") != NULL;

    json_decref(root);
    return aimed;
}

/* What goes to everybody was meant to. */
static void check_reach(const struct message *message, const struct publish_field *fields,
                        size_t fields_n, const char *data, size_t data_n)
{
    bool is_aimed = message->topics_n > 0 || message->users_n > 0;

    assert(is_aimed != says_broadcast(fields, fields_n));
    assert(is_aimed || is_escaped(data, data_n) || !is_aimed_json(data, data_n));
}

static void fuzz_text(const char *text, size_t text_n)
{
    const char *lf = memchr(text, '\n', text_n);
    size_t query_n = lf ? (size_t)(lf - text) : text_n;
    const char *data = lf ? lf + 1 : text + text_n;
    size_t data_n = (size_t)(text + text_n - data);
    struct publish_field fields[FIELDS_MAX];
    struct publish_body body = {0};
    struct problem problem = {0};
    char *query = strndup(text, query_n);

    assert(query);
    size_t fields_n = split_query(fields, query);
    if (publish_body_text(data, data_n, fields, fields_n, &limits, &body, &problem)) {
        check_body(&body);
        assert(!body.is_array && utf8_valid(data, data_n, NULL));
        check_reach(body.messages[0], fields, fields_n, data, data_n);
        struct heard heard = hear(body.messages[0]);
        check_data_is(&heard, data, data_n);
        free(heard.data);
        publish_body_free(&body);
    } else {
        assert(!body.messages && body.messages_n == 0);
        check_problem(&problem);
    }
    free(query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 't')
        fuzz_text((const char *)data + 1, size - 1);
    else
        fuzz_json((const char *)data + 1, size - 1);
    return 0;
}
