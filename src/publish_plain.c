/* SPDX-License-Identifier: MIT */
/* One flat object as an event.  See publish_plain.h. */
#include "config.h"
#include "publish_plain.h"

#include <stdlib.h>

#include "json_flat.h"
#include "publish_draft.h"

/* More than there are fields. */
#define MEMBERS_MAX 12

struct plain {
    struct publish_draft draft;
    struct message_name user;
    struct problem problem; /* nobody reads it */
};

static bool set_topic(struct publish_draft *draft, const struct json_flat_member *member)
{
    draft->topics[0] =
        (struct message_name){.bytes = member->value.at, .bytes_n = member->value.bytes_n};
    draft->message.topics = draft->topics;
    draft->message.topics_n++;
    return member->kind == JSON_FLAT_STRING && draft->message.topics_n == 1 &&
           publish_draft_check_name(draft, "topic", &draft->topics[0], true);
}

/* A whole number stands for its digits. */
static bool set_user(struct publish_draft *draft, const struct json_flat_member *member)
{
    draft->users[0] =
        (struct message_name){.bytes = member->value.at, .bytes_n = member->value.bytes_n};
    draft->message.users = draft->users;
    draft->message.users_n++;
    return (member->kind == JSON_FLAT_STRING || member->kind == JSON_FLAT_COUNT) &&
           draft->message.users_n == 1 &&
           publish_draft_check_name(draft, "user", &draft->users[0], false);
}

static bool set_ephemeral(struct publish_draft *draft, const struct json_flat_member *member)
{
    draft->message.kind = member->kind == JSON_FLAT_TRUE ? MESSAGE_EPHEMERAL : MESSAGE_STORED;
    return member->kind == JSON_FLAT_TRUE || member->kind == JSON_FLAT_FALSE;
}

static bool set_field(struct publish_draft *draft, const struct json_flat_member *member)
{
    struct json_span name = member->name, value = member->value;
    bool is_text = member->kind == JSON_FLAT_STRING, is_count = member->kind == JSON_FLAT_COUNT;

    if (json_flat_is(name, "data")) /* what is no string is sent as it is written */
        return publish_draft_set_data(draft, value.at, value.bytes_n);
    if (json_flat_is(name, "topic") || json_flat_is(name, "topics"))
        return set_topic(draft, member);
    if (json_flat_is(name, "user") || json_flat_is(name, "users"))
        return set_user(draft, member);
    if (json_flat_is(name, "event"))
        return is_text && publish_draft_set_event(draft, value.at, value.bytes_n);
    if (json_flat_is(name, "ephemeral"))
        return set_ephemeral(draft, member);
    if (json_flat_is(name, "retry"))
        return is_count && publish_draft_set_retry(draft, json_flat_count(value));
    if (json_flat_is(name, "ttl"))
        return is_count && publish_draft_set_ttl(draft, json_flat_count(value));
    if (json_flat_is(name, "idempotency_key"))
        return is_text && publish_draft_set_key(draft, value.at, value.bytes_n);
    return false;
}

static void begin(struct plain *plain, const struct publish_limits *limits)
{
    struct publish_draft *draft = &plain->draft;

    draft->limits = limits;
    draft->problem = &plain->problem;
    draft->where[0] = '\0';
    draft->users = &plain->user;
    draft->users_room = 1;
    draft->scratch = NULL;
}

static bool read_members(struct publish_draft *draft, const struct json_flat_member *members,
                         size_t members_n, struct publish_body *body)
{
    if (!publish_draft_begin(draft))
        return false;
    for (size_t i = 0; i < members_n; i++)
        if (!set_field(draft, &members[i]))
            return false;
    return publish_draft_finish(draft, body);
}

bool publish_plain(const char *body, size_t body_n, const struct publish_limits *limits,
                   struct publish_body *ret_body)
{
    struct json_flat_member members[MEMBERS_MAX];
    struct publish_body made = {0};
    struct plain plain;
    size_t members_n;

    if (limits->json_depth_max == 0 ||
        !json_flat_read((struct json_span){body, body_n}, members, MEMBERS_MAX, &members_n))
        return false;
    made.messages = malloc(sizeof(struct message *));
    if (made.messages == NULL)
        return false;
    begin(&plain, limits);
    if (!read_members(&plain.draft, members, members_n, &made)) {
        publish_body_free(&made);
        return false;
    }
    *ret_body = made;
    return true;
}
