/* SPDX-License-Identifier: MIT */
/* One event while its fields are read.  See event_builder.h. */
#include "config.h"
#include "api/event_builder.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "event/topic.h"

#define TTL_SECONDS_MAX 3153600000.0 /* a hundred years */
#define DOUBLES_PLACES 2048

void event_builder_refuse(struct event_builder *draft, const char *field, const char *format, ...)
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

bool event_builder_refuse_for_memory(struct problem *problem)
{
    return problem_set(problem, 503, "out_of_memory", "The gateway is out of memory.");
}

bool event_builder_refuse_both(struct event_builder *draft, const char *field, const char *one,
                               const char *other)
{
    event_builder_refuse(draft, field, "Give either %s or %s, not both", one, other);
    return false;
}

/* ---- names ---- */

bool event_builder_make_room(struct event_builder *draft, size_t users_n)
{
    size_t room = users_n < PUBLISH_USERS_MAX ? users_n : PUBLISH_USERS_MAX;

    if (room <= draft->users_room)
        return true;
    free(draft->users);
    draft->users = malloc(room * sizeof(draft->users[0]));
    draft->users_room = draft->users != NULL ? room : 0;
    return draft->users != NULL || event_builder_refuse_for_memory(draft->problem);
}

bool event_builder_check_name(struct event_builder *draft, const char *field,
                              const struct message_name *name, bool is_topic)
{
    enum topic_error error = is_topic ? topic_check_name(name->bytes, name->bytes_n)
                                      : topic_check_user(name->bytes, name->bytes_n);

    if (error == TOPIC_OK)
        return true;
    event_builder_refuse(draft, field, "The %s %s", is_topic ? "topic" : "user",
                         topic_error_text(error));
    return false;
}

/* ---- the other fields ---- */

bool event_builder_set_data(struct event_builder *draft, const char *data, size_t data_n)
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

bool event_builder_set_event(struct event_builder *draft, const char *name, size_t name_n)
{
    const char *why;

    if (name_n == 0) {
        event_builder_refuse(draft, "event",
                             "The event name is empty; leave it out for a plain message");
        return false;
    }
    if (!sse_check_name(name, name_n, &why)) {
        event_builder_refuse(draft, "event", "The event name %s", why);
        return false;
    }
    draft->message.fields.name = name;
    draft->message.fields.name_n = name_n;
    return true;
}

bool event_builder_set_retry(struct event_builder *draft, double retry_ms)
{
    if (!(retry_ms >= 0) || retry_ms != floor(retry_ms)) {
        event_builder_refuse(draft, "retry",
                             "The retry time must be a whole number of milliseconds");
        return false;
    }
    if (retry_ms < SSE_RETRY_MIN_MS)
        retry_ms = SSE_RETRY_MIN_MS;
    draft->message.fields.retry_ms =
        retry_ms > SSE_RETRY_MAX_MS ? SSE_RETRY_MAX_MS : (uint32_t)retry_ms;
    return true;
}

bool event_builder_set_ttl(struct event_builder *draft, double ttl_s)
{
    if (!(ttl_s > 0) || ttl_s > TTL_SECONDS_MAX) {
        event_builder_refuse(draft, "ttl",
                             "The ttl must be a number of seconds above 0 and at most %.0f",
                             TTL_SECONDS_MAX);
        return false;
    }
    draft->message.ttl_ms = (int64_t)ceil(ttl_s * 1000);
    return true;
}

bool event_builder_set_key(struct event_builder *draft, const char *key, size_t key_n)
{
    enum topic_error error = topic_check_user(key, key_n);

    if (draft->message.key != NULL) {
        event_builder_refuse(draft, "idempotency_key", "The key is given in the header too");
        return false;
    }
    if (error != TOPIC_OK) {
        event_builder_refuse(draft, "idempotency_key", "The key %s", topic_error_text(error));
        return false;
    }
    draft->message.key = key;
    draft->message.key_n = key_n;
    return true;
}

/* ---- life ---- */

struct event_builder *event_builder_new(const struct publish_limits *limits, size_t scratch_n,
                                        struct problem *problem)
{
    struct event_builder *draft = malloc(sizeof(*draft) + scratch_n);

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

void event_builder_free(struct event_builder *draft)
{
    if (draft != NULL)
        free(draft->users);
    free(draft);
}

bool event_builder_begin(struct event_builder *draft)
{
    const struct publish_limits *limits = draft->limits;

    memset(&draft->message, 0, sizeof(draft->message));
    draft->message.kind = MESSAGE_STORED;
    draft->has_data = draft->has_topics = draft->has_users = draft->is_broadcast = false;
    draft->topic_field = draft->user_field = NULL;
    return limits->key == NULL || event_builder_set_key(draft, limits->key, limits->key_n);
}

static bool is_same(const struct message_name *a, const struct message_name *b)
{
    return a->bytes_n == b->bytes_n && memcmp(a->bytes, b->bytes, a->bytes_n) == 0;
}

/* Of the names that are the same the first stays, so the order does.  A table of places by hash,
 * with room for twice as many as there may be. */
static size_t drop_doubles(struct message_name *names, size_t names_n)
{
    static_assert(2 * PUBLISH_USERS_MAX <= DOUBLES_PLACES, "the table is at most half full");
    uint16_t places[DOUBLES_PLACES];
    size_t kept_n = 0;

    if (names_n < 2)
        return names_n;
    memset(places, 0, sizeof(places));
    for (size_t i = 0; i < names_n; i++) {
        size_t place = hash_bytes(names[i].bytes, names[i].bytes_n) % DOUBLES_PLACES;

        while (places[place] != 0 && !is_same(&names[places[place] - 1], &names[i]))
            place = (place + 1) % DOUBLES_PLACES;
        if (places[place] != 0)
            continue;
        names[kept_n++] = names[i];
        places[place] = (uint16_t)kept_n;
    }
    return kept_n;
}

/* A key is one publisher's: the same key of another is another key. */
static void scope_key(struct event_builder *draft)
{
    const unsigned char *scope = draft->limits->scope;

    if (scope == NULL || draft->message.key == NULL)
        return;
    memcpy(draft->key, scope, PUBLISH_SCOPE_BYTES);
    memcpy(draft->key + PUBLISH_SCOPE_BYTES, draft->message.key, draft->message.key_n);
    draft->message.key = draft->key;
    draft->message.key_n += PUBLISH_SCOPE_BYTES;
}

bool event_builder_finish(struct event_builder *draft, struct publish_body *body)
{
    if (!draft->has_data) {
        event_builder_refuse(draft, "data", "The field \"data\" is required");
        return false;
    }
    if (draft->message.key != NULL && draft->message.kind == MESSAGE_EPHEMERAL) {
        event_builder_refuse(draft, "idempotency_key",
                             "An ephemeral event is not stored, nor is its key");
        return false;
    }
    draft->message.topics_n = drop_doubles(draft->topics, draft->message.topics_n);
    draft->message.users_n = drop_doubles(draft->users, draft->message.users_n);
    scope_key(draft);
    struct message *message = message_new(&draft->message);
    if (message == NULL)
        return event_builder_refuse_for_memory(draft->problem);
    body->messages[body->messages_n++] = message;
    body->bytes += message->bytes;
    body->has_keys |= message->key_n > 0;
    return true;
}
