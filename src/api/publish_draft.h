/* SPDX-License-Identifier: MIT */
/*
 * One event while its fields are read: the rules that hold for a field however it is written, in
 * JSON or in a query.
 *
 *   publish_draft_new()     or one of the caller's own, with `limits`, `problem` and `where` set
 *   publish_draft_begin()   for each event
 *   publish_draft_set_...   for each field
 *   publish_draft_finish()  the message
 *
 * What returns false has filled `problem`, for the answer.  Any thread, one at a time.
 */
#ifndef BUGLE_PUBLISH_DRAFT_H
#define BUGLE_PUBLISH_DRAFT_H

#include <stdbool.h>
#include <stddef.h>

#include "event/message.h"
#include "wire/problem.h"
#include "api/publish_body.h"

struct publish_draft {
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
    bool is_broadcast;       /* in a query: it was said that it is for all */
    const char *topic_field; /* in a query: the one way of writing it that was used */
    const char *user_field;
};

/* A draft with so much scratch; `limits` and `problem` are borrowed for its life.  NULL: out of
 * memory.  publish_draft_free() accepts NULL. */
struct publish_draft *publish_draft_new(const struct publish_limits *limits, size_t scratch_n,
                                        struct problem *problem);
void publish_draft_free(struct publish_draft *draft);

/* Forget the last event.  The key of a header comes first, so that a mistake in it is told like one
 * in a field. */
bool publish_draft_begin(struct publish_draft *draft);

/* Make the message of a finished draft and add it to the body's, which has room for it. */
bool publish_draft_finish(struct publish_draft *draft, struct publish_body *body);

/* Room for so many users, at most PUBLISH_USERS_MAX; those that were there are lost. */
bool publish_draft_make_room(struct publish_draft *draft, size_t users_n);

/* Whether this may be a topic, or a user. */
bool publish_draft_check_name(struct publish_draft *draft, const char *field,
                              const struct message_name *name, bool is_topic);

/* The other fields.  What they are given is borrowed until the message is made. */
bool publish_draft_set_data(struct publish_draft *draft, const char *data, size_t data_n);
bool publish_draft_set_event(struct publish_draft *draft, const char *name, size_t name_n);
bool publish_draft_set_retry(struct publish_draft *draft, double retry_ms);
bool publish_draft_set_ttl(struct publish_draft *draft, double ttl_s);
bool publish_draft_set_key(struct publish_draft *draft, const char *key, size_t key_n);

/* What is wrong with a field: 422, with a pointer to it. */
void publish_draft_refuse(struct publish_draft *draft, const char *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Both of two fields that exclude each other.  Returns false, as the next does. */
bool publish_draft_refuse_both(struct publish_draft *draft, const char *field, const char *one,
                               const char *other);
bool publish_draft_refuse_for_memory(struct problem *problem);

#endif
