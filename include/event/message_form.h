/* SPDX-License-Identifier: MIT */
/*
 * What is sent of an event instead of its frame, by other transports and in an envelope: made from
 * its frame when it is first asked for, once for all clients, counted where the event is
 * (message_charge()) and freed with it.  A form never changes, so a client may stop anywhere inside
 * it.
 *
 * All that such a form says stands in the event, so one more is a row in message_form.c.
 */
#ifndef BUGLE_MESSAGE_FORM_H
#define BUGLE_MESSAGE_FORM_H

#include <stddef.h>

#include "event/message.h"

struct ws_deflate;

enum message_form_kind {
    /* a WebSocket's text frame with the data, its lines joined by LF: what EventSource gives as
     * e.data */
    MESSAGE_FORM_RAW,
    /* a WebSocket's text frame with {"type":"event","id","event","topics","data"}: `id` if the
     * event is stored, `event` if it has a name, `data` as JSON if that is what it is, or else a
     * string */
    MESSAGE_FORM_V1,
    /* a frame of Server-Sent Events without a name, whose data is
     * {"id","event","topics","users","data","published"}: `id` null if the event is not stored,
     * `event` "message" if it has no name, `data` as in MESSAGE_FORM_V1.  `users` is there if the
     * event is for one user, whom nobody else reads it as; of an event for several users it is the
     * same for all of them, and so without: message_new_envelope() */
    MESSAGE_FORM_ENVELOPE,
};

struct message_bytes {
    const char *bytes;
    size_t n;
};

/*
 * The form of an event that is sealed.
 *
 * message  no MESSAGE_CONTROL
 *
 * Gives bytes that are the message's and live as long, the same each time; NULL when out of memory,
 * or when the frame is none of ours.  Any thread, without locks; threads that ask at once for a new
 * one each make it, and one is kept.
 */
const struct message_bytes *message_form(struct message *message, enum message_form_kind kind);

/* The same of a WebSocket's, packed for permessage-deflate, with RSV1 set; or not packed where that
 * would not be smaller, which is remembered.  `deflater` is borrowed, the calling thread's. */
const struct message_bytes *message_form_packed(struct message *message,
                                                enum message_form_kind kind,
                                                struct ws_deflate *deflater);

/*
 * The envelope of an event that is for several users, for one of them: none of the others may be
 * told of it.  The form that all have in common, with `users` put in, so it costs one copy.
 *
 * user  borrowed
 *
 * Gives a reference to a MESSAGE_CONTROL with those bytes, not counted anywhere; NULL as
 * message_form().  Any thread.
 */
struct message *message_new_envelope(struct message *message, const struct message_name *user);

/* What its forms count so far, bytes.  Any thread. */
size_t message_form_cost(const struct message *message);

/* For message_unref(): free all forms.  Returns what they counted, bytes. */
size_t message_form_free_all(struct message *message);

#endif
