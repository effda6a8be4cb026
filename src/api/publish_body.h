/* SPDX-License-Identifier: MIT */
/*
 * From the body of a POST /api/push to messages: every rule of what may be published stands here.
 * No sockets, no HTTP; any thread.
 *
 * All or nothing: either every event of the body is a message, or there is a problem and none is.
 * Names that a list of topics or users has twice are dropped where they come again, so an event has
 * each once.  A mistyped field must never turn an event for few into one for all, so unknown
 * members, empty lists, empty names and nulls are refused and not ignored.
 */
#ifndef BUGLE_PUBLISH_BODY_H
#define BUGLE_PUBLISH_BODY_H

#include <stdbool.h>
#include <stddef.h>

#include "event/message.h"
#include "hub/hub.h"
#include "wire/problem.h"

#define PUBLISH_TOPICS_MAX 16
#define PUBLISH_USERS_MAX 1000
#define PUBLISH_RECIPIENTS_MAX 10000
#define PUBLISH_SCOPE_BYTES 16

struct publish_limits {
    size_t event_bytes_max; /* of the data of one event: 413 beyond */
    size_t json_depth_max;  /* 400 beyond */
    const char *key;        /* idempotency key from a header, for a single event; NULL: none */
    size_t key_n;
    const unsigned char
        *scope; /* of the publisher, for its keys, PUBLISH_SCOPE_BYTES; NULL: one for all */
};

/* What a body said.  The caller frees it: publish_body_free(). */
struct publish_body {
    struct message **messages;
    size_t messages_n;
    size_t bytes;  /* what the messages cost */
    bool has_keys; /* an event has an idempotency key */
    bool is_array; /* the body was an array: so is the answer */
};

/* One field of a query string, decoded. */
struct publish_field {
    const char *name;
    const char *value;
    size_t value_n;
};

/*
 * Read a JSON body: an object, or an array of up to HUB_OP_EVENTS_MAX.
 *
 * body      borrowed
 * ret_body  set on success
 *
 * Returns true, or false with the problem: 400 with line and column for a mistake in the JSON,
 * 413 or 422 with a pointer for a wrong field, 503 when out of memory.
 */
bool publish_body_json(const char *body, size_t body_n, const struct publish_limits *limits,
                       struct publish_body *ret_body, struct problem *ret_problem);

/*
 * Take the body as the data, byte for byte, and the fields from a query string.  That needs a topic
 * or a user, or `broadcast=true`, so that no field that was left out or sent in another way makes
 * an event for all.
 *
 * Returns as publish_body_json(); also 400 when the body is not UTF-8, and 415 when there is
 * neither topic nor user and the body looks like JSON or a form (publish_kind.h).
 */
bool publish_body_text(const char *body, size_t body_n, const struct publish_field *fields,
                       size_t fields_n, const struct publish_limits *limits,
                       struct publish_body *ret_body, struct problem *ret_problem);

/* Where in an array a key stands for the second time; `messages_n`: nowhere.  Returns false when
 * out of memory. */
bool publish_body_find_second_key(const struct publish_body *body, size_t *ret_index);

void publish_body_free(struct publish_body *body);

#endif
