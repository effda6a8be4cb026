/* SPDX-License-Identifier: MIT */
/*
 * One event while its fields are read: the rules that hold for a field however it is written, in
 * JSON or in a query.
 *
 *   event_builder_new()     or one of the caller's own, with `limits`, `problem` and `where` set
 *   event_builder_begin()   for each event
 *   event_builder_set_...() for each field
 *   event_builder_finish()  the message
 *
 * What returns false has filled `problem`, for the answer.  Any thread, one at a time.
 */
#ifndef BUGLE_EVENT_BUILDER_H
#define BUGLE_EVENT_BUILDER_H

#include <stdbool.h>
#include <stddef.h>

#include "api/publish_body.h"
#include "event/message.h"
#include "wire/problem.h"

struct event_builder {
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
    bool is_broadcast;       /* in a query: broadcast=true was given */
    const char *topic_field; /* in a query: the one way of writing it that was used */
    const char *user_field;
};

/* A builder with so much scratch; `limits` and `problem` are borrowed for its life.  NULL: out of
 * memory.  event_builder_free() accepts NULL. */
struct event_builder *event_builder_new(const struct publish_limits *limits, size_t scratch_n,
                                        struct problem *problem);
void event_builder_free(struct event_builder *builder);

/* Forget the last event.  The key of a header comes first, so that a mistake in it is reported like
 * one in a field. */
bool event_builder_begin(struct event_builder *builder);

/* Make the message and add it to the body's, which has room for it. */
bool event_builder_finish(struct event_builder *builder, struct publish_body *body);

/* Room for so many users, at most PUBLISH_USERS_MAX; those that were there are lost. */
bool event_builder_make_room(struct event_builder *builder, size_t users_n);

/* Whether this may be a topic, or a user. */
bool event_builder_check_name(struct event_builder *builder, const char *field,
                              const struct message_name *name, bool is_topic);

/* The other fields.  What they are given is borrowed until the message is made. */
bool event_builder_set_data(struct event_builder *builder, const char *data, size_t data_n,
                            bool is_json);
bool event_builder_set_event(struct event_builder *builder, const char *name, size_t name_n);
bool event_builder_set_retry(struct event_builder *builder, double retry_ms);
bool event_builder_set_ttl(struct event_builder *builder, double ttl_s);
bool event_builder_set_key(struct event_builder *builder, const char *key, size_t key_n);

/* What is wrong with a field: 422, with a pointer to it.  Returns false. */
bool event_builder_refuse(struct event_builder *builder, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Both of two fields that exclude each other.  Returns false. */
bool event_builder_refuse_both(struct event_builder *builder, const char *field, const char *one,
                               const char *other);

#endif
