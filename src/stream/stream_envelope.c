/* SPDX-License-Identifier: MIT */
/* Events in an envelope: who sees which of their users.  See stream_internal.h and message_form.h.
 */
#include "config.h"

#include "event/message_form.h"
#include "stream/stream_internal.h"

struct stream_bytes stream_envelope_bytes(struct message *message)
{
    const struct message_bytes *form = message_form(message, MESSAGE_FORM_ENVELOPE);

    return form != NULL ? (struct stream_bytes){form->bytes, form->n}
                        : (struct stream_bytes){NULL, 0};
}

struct message *stream_envelope_make(const struct stream *stream, struct message *message)
{
    struct memory_budget *memory = stream->host->streams->context->memory;
    struct message *own = message_new_envelope(message, &stream->listener.filter->user);

    if (own != NULL)
        message_charge(own, memory_budget_counter(memory, MEMORY_BUDGET_ANSWERS));
    return own;
}
