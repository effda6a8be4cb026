/* SPDX-License-Identifier: MIT */
/* Forms of events for other transports.  See message_form.h. */
#include "config.h"
#include "event/message_form.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/json_writer.h"
#include "wire/sse.h"
#include "wire/ws_deflate.h"
#include "wire/ws_frame.h"

struct message_form {
    struct message_form *next; /* made before this one */
    enum message_form_kind kind;
    bool is_packed;
    uint32_t users_at;          /* in an envelope: where `users` go */
    struct message_bytes bytes; /* none: packed it would not be smaller */
    char room[];
};

/* ---- what the frames carry ---- */

/* What an event says, taken out of its frame. */
struct said {
    const struct message *message;
    struct sse_fields fields;
    char *room;
    struct json_writer writer; /* has the payload, unless it is the data */
    size_t users_at;           /* into the payload of an envelope */
};

static void form_put_topics(struct json_writer *writer, const struct message *message)
{
    json_writer_text(writer, ",\"topics\":[");
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];

        json_writer_text(writer, i > 0 ? "," : "");
        json_writer_string(writer, topic->bytes, topic->bytes_n);
    }
    json_writer_text(writer, "]");
}

static void form_put_id(struct json_writer *writer, const struct message *message)
{
    json_writer_string(writer, message->frame + message->id_offset, SSE_ID_BYTES);
}

static void form_put_data(struct json_writer *writer, const struct said *said)
{
    const struct sse_fields *fields = &said->fields;

    json_writer_text(writer, ",\"data\":");
    if (said->message->is_json)
        json_writer_raw(writer, fields->data, fields->data_n);
    else
        json_writer_string(writer, fields->data, fields->data_n);
}

static struct message_bytes form_payload_v1(struct said *said)
{
    const struct message *message = said->message;
    const struct sse_fields *fields = &said->fields;
    struct json_writer *writer = &said->writer;

    json_writer_text(writer, "{\"type\":\"event\"");
    if (message->id_offset != UINT32_MAX) {
        json_writer_text(writer, ",\"id\":");
        form_put_id(writer, message);
    }
    if (fields->name != NULL) {
        json_writer_text(writer, ",\"event\":");
        json_writer_string(writer, fields->name, fields->name_n);
    }
    form_put_topics(writer, message);
    form_put_data(writer, said);
    json_writer_text(writer, "}");
    return (struct message_bytes){writer->bytes, writer->n};
}

static struct message_bytes form_payload_raw(struct said *said)
{
    return (struct message_bytes){said->fields.data, said->fields.data_n};
}

static void form_put_users(struct json_writer *writer, const struct message_name *user)
{
    json_writer_text(writer, ",\"users\":[");
    json_writer_string(writer, user->bytes, user->bytes_n);
    json_writer_text(writer, "]");
}

static struct message_bytes form_payload_envelope(struct said *said)
{
    const struct message *message = said->message;
    const struct sse_fields *fields = &said->fields;
    struct json_writer *writer = &said->writer;
    char published[CLOCK_UTC_BYTES];

    json_writer_text(writer, "{\"id\":");
    if (message->id_offset != UINT32_MAX)
        form_put_id(writer, message);
    else
        json_writer_text(writer, "null");
    json_writer_text(writer, ",\"event\":");
    if (fields->name != NULL)
        json_writer_string(writer, fields->name, fields->name_n);
    else
        json_writer_text(writer, "\"message\"");
    form_put_topics(writer, message);
    said->users_at = writer->n;
    if (message->users_n == 1)
        form_put_users(writer, message_users(message));
    form_put_data(writer, said);
    json_writer_text(writer, ",\"published\":\"");
    json_writer_text(writer, clock_utc_text(message->published_ms, published));
    json_writer_text(writer, "\"}");
    return (struct message_bytes){writer->bytes, writer->n};
}

static struct message_bytes (*const payloads[])(struct said *said) = {
    [MESSAGE_FORM_RAW] = form_payload_raw,
    [MESSAGE_FORM_V1] = form_payload_v1,
    [MESSAGE_FORM_ENVELOPE] = form_payload_envelope,
};

/* ---- making one ---- */

static struct message_form *form_allocate(size_t bytes_n)
{
    struct message_form *form = malloc(sizeof(*form) + bytes_n);

    if (form != NULL)
        form->bytes = (struct message_bytes){form->room, 0};
    return form;
}

static struct message_form *form_frame(struct message_bytes payload, bool is_packed)
{
    struct message_form *form = form_allocate(WS_FRAME_HEAD_MAX + payload.n);

    if (form == NULL)
        return NULL;
    size_t head_n = ws_frame_put_head(form->room, WS_TEXT, is_packed, payload.n);
    if (payload.n > 0)
        memcpy(form->room + head_n, payload.bytes, payload.n);
    form->bytes.n = head_n + payload.n;
    return form;
}

static struct message_form *form_frame_packed(struct message_bytes payload,
                                              struct ws_deflate *deflater)
{
    char *packed = malloc(payload.n + 1);

    if (packed == NULL)
        return NULL;
    size_t packed_n = ws_deflate_pack(deflater, payload.bytes, payload.n, packed);
    struct message_form *form = packed_n > 0
                                    ? form_frame((struct message_bytes){packed, packed_n}, true)
                                    : form_allocate(0);
    free(packed);
    return form;
}

/* With what the event's own frame has beside name and data.  The payload is one line. */
static struct message_form *form_event(struct message_bytes payload, const struct said *said)
{
    const struct message *message = said->message;
    struct sse_fields fields = {
        .data = payload.bytes,
        .data_n = payload.n,
        .retry_ms = said->fields.retry_ms,
        .with_id = message->id_offset != UINT32_MAX,
    };
    struct message_form *form = form_allocate(sse_frame_bytes(&fields));
    size_t id_offset, data_offset;

    if (form == NULL)
        return NULL;
    form->bytes.n = sse_write_frame(form->room, &fields, &id_offset, &data_offset);
    form->users_at = (uint32_t)(data_offset + said->users_at);
    if (fields.with_id)
        memcpy(form->room + id_offset, message->frame + message->id_offset, SSE_ID_BYTES);
    return form;
}

static struct message_form *form_wrap(struct message_bytes payload, const struct said *said,
                                      enum message_form_kind kind, struct ws_deflate *deflater)
{
    if (kind == MESSAGE_FORM_ENVELOPE)
        return form_event(payload, said);
    return deflater != NULL ? form_frame_packed(payload, deflater) : form_frame(payload, false);
}

static struct message_form *form_make(const struct message *message, enum message_form_kind kind,
                                      struct ws_deflate *deflater)
{
    struct said said = {.message = message, .room = malloc(message->frame_n)};
    struct message_form *form = NULL;

    json_writer_init(&said.writer);
    if (said.room != NULL &&
        sse_read_frame(message->frame, message->frame_n, said.room, &said.fields)) {
        struct message_bytes payload = payloads[kind](&said);

        if (!said.writer.failed)
            form = form_wrap(payload, &said, kind, deflater);
    }
    json_writer_clear(&said.writer);
    free(said.room);
    if (form == NULL)
        return NULL;
    form->kind = kind;
    form->is_packed = deflater != NULL;
    return form;
}

/* ---- finding it ---- */

static size_t form_cost(const struct message_form *form)
{
    return sizeof(*form) + WS_FRAME_HEAD_MAX + form->bytes.n;
}

static struct message_form *form_find(struct message_form *form, enum message_form_kind kind,
                                      bool is_packed)
{
    while (form != NULL && (form->kind != kind || form->is_packed != is_packed))
        form = form->next;
    return form;
}

/* Let others see it, unless one of them was quicker: then theirs. */
static const struct message_form *form_publish(struct message *message, struct message_form *form)
{
    struct message_form *first = atomic_load_explicit(&message->forms, memory_order_acquire);

    do {
        struct message_form *other = form_find(first, form->kind, form->is_packed);

        if (other != NULL) {
            free(form);
            return other;
        }
        form->next = first;
    } while (!atomic_compare_exchange_weak_explicit(&message->forms, &first, form,
                                                    memory_order_acq_rel, memory_order_acquire));
    if (message->account != NULL)
        atomic_fetch_add_explicit(message->account, (int64_t)form_cost(form), memory_order_relaxed);
    return form;
}

static const struct message_form *form_get(struct message *message, enum message_form_kind kind,
                                           struct ws_deflate *deflater)
{
    const struct message_form *form = form_find(
        atomic_load_explicit(&message->forms, memory_order_acquire), kind, deflater != NULL);

    if (form != NULL)
        return form;
    assert(message->kind != MESSAGE_CONTROL && message->published_ms != 0);
    struct message_form *made = form_make(message, kind, deflater);
    return made != NULL ? form_publish(message, made) : NULL;
}

const struct message_bytes *message_form(struct message *message, enum message_form_kind kind)
{
    const struct message_form *form = form_get(message, kind, NULL);

    return form != NULL ? &form->bytes : NULL;
}

const struct message_bytes *message_form_packed(struct message *message,
                                                enum message_form_kind kind,
                                                struct ws_deflate *deflater)
{
    assert(kind != MESSAGE_FORM_ENVELOPE);
    const struct message_form *packed = form_get(message, kind, deflater);

    if (packed == NULL)
        return NULL;
    return packed->bytes.n == 0 ? message_form(message, kind) : &packed->bytes;
}

struct message *message_new_envelope(struct message *message, const struct message_name *user)
{
    const struct message_form *form = form_get(message, MESSAGE_FORM_ENVELOPE, NULL);
    struct message *own = NULL;
    struct json_writer writer;

    assert(message->users_n > 1);
    if (form == NULL)
        return NULL;
    json_writer_init(&writer);
    json_writer_raw(&writer, form->room, form->users_at);
    form_put_users(&writer, user);
    json_writer_raw(&writer, form->room + form->users_at, form->bytes.n - form->users_at);
    if (!writer.failed)
        own = message_new_control(writer.bytes, writer.n);
    json_writer_clear(&writer);
    return own;
}

size_t message_form_cost(const struct message *message)
{
    const struct message_form *form = atomic_load_explicit(&message->forms, memory_order_acquire);
    size_t bytes = 0;

    for (; form != NULL; form = form->next)
        bytes += form_cost(form);
    return bytes;
}

size_t message_form_free_all(struct message *message)
{
    struct message_form *form = atomic_load_explicit(&message->forms, memory_order_relaxed), *next;
    size_t bytes = 0;

    for (; form != NULL; form = next) {
        next = form->next;
        bytes += form_cost(form);
        free(form);
    }
    return bytes;
}
