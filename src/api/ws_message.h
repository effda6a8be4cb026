/* SPDX-License-Identifier: MIT */
/*
 * A message that a client of bugle.v1 has sent: one JSON object with a `type`.
 *
 *   {"type": "publish", "ref": R, "events": E}        E as POST /api/push takes it
 *   {"type": "subscribe", "ref": R, "topics": [...]}  1 to 64 topics and patterns
 *   {"type": "unsubscribe", "ref": R, "topics": [...]}
 *   {"type": "ping", "ref": R}
 *   {"type": "pong"}
 *
 * Only these: an unknown type or member, a member twice, one that is absent or of another kind is a
 * problem.  R is a text or a whole number and comes back as it was written.  E is not looked into:
 * it stands in the text, byte for byte, for whoever publishes it.
 *
 * Pure; any thread.
 */
#ifndef BUGLE_WS_MESSAGE_H
#define BUGLE_WS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "event/message.h"
#include "wire/json_span.h"
#include "wire/problem.h"

#define WS_MESSAGE_TOPICS_MAX 64
/* Of a `ref`, as it is written, a text without its quotes. */
#define WS_MESSAGE_REF_MAX 64

enum ws_message_kind {
    WS_MESSAGE_PUBLISH,
    WS_MESSAGE_SUBSCRIBE,
    WS_MESSAGE_UNSUBSCRIBE,
    WS_MESSAGE_PING,
    WS_MESSAGE_PONG,
};

struct ws_message {
    enum ws_message_kind kind;
    struct json_span ref;                              /* in the text; `at` NULL: there is none */
    struct json_span events;                           /* PUBLISH: in the text */
    struct message_name topics[WS_MESSAGE_TOPICS_MAX]; /* SUBSCRIBE, UNSUBSCRIBE: good patterns */
    size_t topics_n;
    struct json_alloc *parsed; /* has the topics */
};

/*
 * Read a message.
 *
 * text            UTF-8, borrowed as long as the message
 * json_depth_max  400 beyond
 * ret_message     for ws_message_end() in any case.  After a problem only its `ref` is good, and it
 *                 is there if the text is JSON and has a good one
 *
 * Returns true, or false with the problem: 400, 413 or 422, with a pointer to what is wrong; 503
 * when out of memory.
 *
 * Cost: two walks over the text, and a small tree without the events; nothing of it takes longer
 * than 1 ms.
 */
bool ws_message_read(struct json_span text, size_t json_depth_max, struct ws_message *ret_message,
                     struct problem *ret_problem);

void ws_message_end(struct ws_message *message);

#endif
