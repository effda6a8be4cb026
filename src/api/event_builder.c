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

#include "base/bytes.h"
#include "base/hash.h"
#include "event/topic.h"

#define TTL_SECONDS_MAX 3153600000.0 /* a hundred years */
#define DOUBLES_PLACES 2048

bool event_builder_refuse(struct event_builder *builder, const char *field, const char *format, ...)
{
    char detail[256];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    problem_set(builder->problem, 422, "invalid_field", "%s.", detail);
    return problem_point(builder->problem, "%s/%s", builder->where, field);
}

bool event_builder_refuse_both(struct event_builder *builder, const char *field, const char *one,
                               const char *other)
{
    return event_builder_refuse(builder, field, "Give either %s or %s, not both", one, other);
}

/* ---- names ---- */

bool event_builder_make_room(struct event_builder *builder, size_t users_n)
{
    size_t room = users_n < PUBLISH_USERS_MAX ? users_n : PUBLISH_USERS_MAX;

    if (room <= builder->users_room)
        return true;
    free(builder->users);
    builder->users = malloc(room * sizeof(builder->users[0]));
    builder->users_room = builder->users != NULL ? room : 0;
    return builder->users != NULL || problem_set_out_of_memory(builder->problem);
}

bool event_builder_check_name(struct event_builder *builder, const char *field,
                              const struct message_name *name, bool is_topic)
{
    enum topic_error error = is_topic ? topic_check_name(name->bytes, name->bytes_n)
                                      : topic_check_user(name->bytes, name->bytes_n);

    if (error == TOPIC_OK)
        return true;
    return event_builder_refuse(builder, field, "The %s %s", is_topic ? "topic" : "user",
                                topic_error_text(error));
}

/* ---- the other fields ---- */

bool event_builder_set_data(struct event_builder *builder, const char *data, size_t data_n,
                            bool is_json)
{
    if (data_n > builder->limits->event_bytes_max) {
        problem_set(builder->problem, 413, "event_too_large",
                    "The data has %zu bytes; limits.event_bytes allows %zu.", data_n,
                    builder->limits->event_bytes_max);
        return problem_point(builder->problem, "%s/data", builder->where);
    }
    builder->message.fields.data = data;
    builder->message.fields.data_n = data_n;
    builder->message.is_json = is_json;
    builder->has_data = true;
    return true;
}

bool event_builder_set_event(struct event_builder *builder, const char *name, size_t name_n)
{
    const char *why;

    if (name_n == 0)
        return event_builder_refuse(builder, "event",
                                    "The event name is empty; leave it out for a plain message");
    if (!sse_check_name(name, name_n, &why))
        return event_builder_refuse(builder, "event", "The event name %s", why);
    builder->message.fields.name = name;
    builder->message.fields.name_n = name_n;
    return true;
}

bool event_builder_set_retry(struct event_builder *builder, double retry_ms)
{
    if (!(retry_ms >= 0) || retry_ms != floor(retry_ms))
        return event_builder_refuse(builder, "retry",
                                    "The retry time must be a whole number of milliseconds");
    if (retry_ms < SSE_RETRY_MIN_MS)
        retry_ms = SSE_RETRY_MIN_MS;
    builder->message.fields.retry_ms =
        retry_ms > SSE_RETRY_MAX_MS ? SSE_RETRY_MAX_MS : (uint32_t)retry_ms;
    return true;
}

bool event_builder_set_ttl(struct event_builder *builder, double ttl_s)
{
    if (!(ttl_s > 0) || ttl_s > TTL_SECONDS_MAX)
        return event_builder_refuse(builder, "ttl",
                                    "The ttl must be a number of seconds above 0 and at most %.0f",
                                    TTL_SECONDS_MAX);
    builder->message.ttl_ms = (int64_t)ceil(ttl_s * 1000);
    return true;
}

bool event_builder_set_key(struct event_builder *builder, const char *key, size_t key_n)
{
    enum topic_error error = topic_check_user(key, key_n);

    if (builder->message.key != NULL)
        return event_builder_refuse(builder, "idempotency_key",
                                    "The key is given in the header as well");
    if (error != TOPIC_OK)
        return event_builder_refuse(builder, "idempotency_key", "The key %s",
                                    topic_error_text(error));
    builder->message.key = key;
    builder->message.key_n = key_n;
    return true;
}

/* ---- life ---- */

struct event_builder *event_builder_new(const struct publish_limits *limits, size_t scratch_n,
                                        struct problem *problem)
{
    struct event_builder *builder = malloc(sizeof(*builder) + scratch_n);

    if (builder == NULL)
        return NULL;
    builder->limits = limits;
    builder->problem = problem;
    builder->where[0] = '\0';
    builder->users = NULL;
    builder->users_room = 0;
    builder->scratch = (char *)(builder + 1);
    return builder;
}

void event_builder_free(struct event_builder *builder)
{
    if (builder != NULL)
        free(builder->users);
    free(builder);
}

bool event_builder_begin(struct event_builder *builder)
{
    const struct publish_limits *limits = builder->limits;

    memset(&builder->message, 0, sizeof(builder->message));
    builder->message.kind = MESSAGE_STORED;
    builder->has_data = builder->has_topics = builder->has_users = builder->is_broadcast = false;
    builder->topic_field = builder->user_field = NULL;
    return limits->key == NULL || event_builder_set_key(builder, limits->key, limits->key_n);
}

/* Of the names that are the same the first stays, so the order does.  A table of places by hash,
 * with room for twice as many as there may be. */
static size_t event_builder_drop_doubles(struct message_name *names, size_t names_n)
{
    static_assert(2 * PUBLISH_USERS_MAX <= DOUBLES_PLACES, "the table is at most half full");
    uint16_t places[DOUBLES_PLACES];
    size_t kept_n = 0;

    if (names_n < 2)
        return names_n;
    memset(places, 0, sizeof(places));
    for (size_t i = 0; i < names_n; i++) {
        size_t place = hash_bytes(names[i].bytes, names[i].bytes_n) % DOUBLES_PLACES;

        for (; places[place] != 0; place = (place + 1) % DOUBLES_PLACES) {
            const struct message_name *kept = &names[places[place] - 1];

            if (bytes_equal(kept->bytes, kept->bytes_n, names[i].bytes, names[i].bytes_n))
                break;
        }
        if (places[place] != 0)
            continue;
        names[kept_n++] = names[i];
        places[place] = (uint16_t)kept_n;
    }
    return kept_n;
}

/* A key is one publisher's: the same key of another is another key. */
static void event_builder_scope_key(struct event_builder *builder)
{
    const unsigned char *scope = builder->limits->scope;

    if (scope == NULL || builder->message.key == NULL)
        return;
    memcpy(builder->key, scope, PUBLISH_SCOPE_BYTES);
    memcpy(builder->key + PUBLISH_SCOPE_BYTES, builder->message.key, builder->message.key_n);
    builder->message.key = builder->key;
    builder->message.key_n += PUBLISH_SCOPE_BYTES;
}

bool event_builder_finish(struct event_builder *builder, struct publish_body *body)
{
    if (!builder->has_data)
        return event_builder_refuse(builder, "data", "The field \"data\" is required");
    if (builder->message.key != NULL && builder->message.kind == MESSAGE_EPHEMERAL)
        return event_builder_refuse(builder, "idempotency_key",
                                    "An ephemeral event is not stored, so it cannot have a key");
    builder->message.topics_n =
        event_builder_drop_doubles(builder->topics, builder->message.topics_n);
    builder->message.users_n = event_builder_drop_doubles(builder->users, builder->message.users_n);
    event_builder_scope_key(builder);
    struct message *message = message_new(&builder->message);
    if (message == NULL)
        return problem_set_out_of_memory(builder->problem);
    body->messages[body->messages_n++] = message;
    body->bytes += message->bytes;
    body->has_keys |= message->key_n > 0;
    return true;
}
