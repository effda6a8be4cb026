/* SPDX-License-Identifier: MIT */
/* Flat objects as events.  See publish_plain.h. */
#include "config.h"
#include "api/publish_plain.h"

#include <stdlib.h>

#include "api/event_builder.h"
#include "wire/json_flat.h"

/* More than there are fields. */
#define MEMBERS_MAX 12

struct plain {
    struct event_builder builder;
    struct message_name user;
    struct problem problem; /* not read */
};

static bool plain_set_topic(struct event_builder *builder, const struct json_flat_member *member)
{
    builder->topics[0] =
        (struct message_name){.bytes = member->value.at, .bytes_n = member->value.bytes_n};
    builder->message.topics = builder->topics;
    builder->message.topics_n++;
    return member->kind == JSON_FLAT_STRING && builder->message.topics_n == 1 &&
           event_builder_check_name(builder, "topic", &builder->topics[0], true);
}

/* A whole number stands for its digits. */
static bool plain_set_user(struct event_builder *builder, const struct json_flat_member *member)
{
    builder->users[0] =
        (struct message_name){.bytes = member->value.at, .bytes_n = member->value.bytes_n};
    builder->message.users = builder->users;
    builder->message.users_n++;
    return (member->kind == JSON_FLAT_STRING || member->kind == JSON_FLAT_COUNT) &&
           builder->message.users_n == 1 &&
           event_builder_check_name(builder, "user", &builder->users[0], false);
}

static bool plain_set_ephemeral(struct event_builder *builder,
                                const struct json_flat_member *member)
{
    builder->message.kind = member->kind == JSON_FLAT_TRUE ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return member->kind == JSON_FLAT_TRUE || member->kind == JSON_FLAT_FALSE;
}

static bool plain_set_field(struct event_builder *builder, const struct json_flat_member *member)
{
    struct json_span name = member->name, value = member->value;
    bool is_text = member->kind == JSON_FLAT_STRING, is_count = member->kind == JSON_FLAT_COUNT;

    if (json_flat_is(name, "data")) /* what is no string is sent as it is written */
        return event_builder_set_data(builder, value.at, value.bytes_n, !is_text);
    if (json_flat_is(name, "topic") || json_flat_is(name, "topics"))
        return plain_set_topic(builder, member);
    if (json_flat_is(name, "user") || json_flat_is(name, "users"))
        return plain_set_user(builder, member);
    if (json_flat_is(name, "event"))
        return is_text && event_builder_set_event(builder, value.at, value.bytes_n);
    if (json_flat_is(name, "ephemeral"))
        return plain_set_ephemeral(builder, member);
    if (json_flat_is(name, "retry"))
        return is_count && event_builder_set_retry(builder, json_flat_count(value));
    if (json_flat_is(name, "ttl"))
        return is_count && event_builder_set_ttl(builder, json_flat_count(value));
    if (json_flat_is(name, "idempotency_key"))
        return is_text && event_builder_set_key(builder, value.at, value.bytes_n);
    return false;
}

static void plain_begin(struct plain *plain, const struct publish_limits *limits)
{
    struct event_builder *builder = &plain->builder;

    builder->limits = limits;
    builder->problem = &plain->problem;
    builder->where[0] = '\0';
    builder->users = &plain->user;
    builder->users_room = 1;
    builder->scratch = NULL;
}

static bool plain_read_members(struct event_builder *builder,
                               const struct json_flat_member *members, size_t members_n,
                               struct publish_body *body)
{
    if (!event_builder_begin(builder))
        return false;
    for (size_t i = 0; i < members_n; i++)
        if (!plain_set_field(builder, &members[i]))
            return false;
    return event_builder_finish(builder, body);
}

static bool plain_read_object(struct json_span *text, struct plain *plain,
                              struct publish_body *body)
{
    struct json_flat_member members[MEMBERS_MAX];
    size_t members_n;

    return json_flat_next(text, members, MEMBERS_MAX, &members_n) &&
           plain_read_members(&plain->builder, members, members_n, body);
}

/* Room for one more message. */
static bool plain_make_room(struct publish_body *body, size_t *room)
{
    if (body->messages_n < *room)
        return true;
    size_t wanted = *room > 0 ? *room * 4 : 1;
    struct message **grown = realloc(body->messages, wanted * sizeof(*grown));

    if (grown == NULL)
        return false;
    body->messages = grown;
    *room = wanted;
    return true;
}

/* A user each is within the limit of recipients. */
static bool plain_read_array(struct json_span *text, struct plain *plain, struct publish_body *body)
{
    size_t room = 0, second;

    if (plain->builder.limits->key != NULL)
        return false;
    body->is_array = true;
    do
        if (body->messages_n == HUB_OP_EVENTS_MAX || !plain_make_room(body, &room) ||
            !plain_read_object(text, plain, body))
            return false;
    while (json_flat_take(text, ','));
    if (!json_flat_take(text, ']'))
        return false;
    return !body->has_keys ||
           (publish_body_find_second_key(body, &second) && second == body->messages_n);
}

bool publish_plain(const char *body, size_t body_n, const struct publish_limits *limits,
                   struct publish_body *ret_body)
{
    struct json_span text = {body, body_n};
    struct publish_body made = {0};
    struct plain plain;
    size_t room = 0;
    bool is_array = limits->json_depth_max > 1 && json_flat_take(&text, '[');

    if (limits->json_depth_max == 0)
        return false;
    plain_begin(&plain, limits);
    bool good = is_array ? plain_read_array(&text, &plain, &made)
                         : plain_make_room(&made, &room) && plain_read_object(&text, &plain, &made);
    if (good && text.bytes_n == 0) {
        *ret_body = made;
        return true;
    }
    publish_body_free(&made);
    return false;
}
