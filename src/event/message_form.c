/* SPDX-License-Identifier: MIT */
/* Forms of events for other transports.  See message_form.h. */
#include "config.h"
#include "event/message_form.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json_writer.h"
#include "wire/sse.h"
#include "wire/ws_deflate.h"
#include "wire/ws_frame.h"

struct message_form {
    struct message_form *next; /* made before this one */
    enum message_form_kind kind;
    bool is_packed;
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

static struct message_bytes form_payload_v1(struct said *said)
{
    const struct message *message = said->message;
    const struct sse_fields *fields = &said->fields;
    struct json_writer *writer = &said->writer;

    json_writer_text(writer, "{\"type\":\"event\"");
    if (message->id_offset != UINT32_MAX) {
        json_writer_text(writer, ",\"id\":");
        json_writer_string(writer, message->frame + message->id_offset, SSE_ID_BYTES);
    }
    if (fields->name != NULL) {
        json_writer_text(writer, ",\"event\":");
        json_writer_string(writer, fields->name, fields->name_n);
    }
    form_put_topics(writer, message);
    json_writer_text(writer, ",\"data\":");
    if (message->is_json)
        json_writer_raw(writer, fields->data, fields->data_n);
    else
        json_writer_string(writer, fields->data, fields->data_n);
    json_writer_text(writer, "}");
    return (struct message_bytes){writer->bytes, writer->n};
}

static struct message_bytes form_payload_raw(struct said *said)
{
    return (struct message_bytes){said->fields.data, said->fields.data_n};
}

static struct message_bytes (*const payloads[])(struct said *said) = {
    [MESSAGE_FORM_RAW] = form_payload_raw,
    [MESSAGE_FORM_V1] = form_payload_v1,
};

/* ---- making one ---- */

/* Room for a frame with such a payload. */
static struct message_form *form_allocate(size_t payload_n)
{
    struct message_form *form = malloc(sizeof(*form) + WS_FRAME_HEAD_MAX + payload_n);

    if (form != NULL)
        form->bytes = (struct message_bytes){form->room, 0};
    return form;
}

static struct message_form *form_frame(struct message_bytes payload, bool is_packed)
{
    struct message_form *form = form_allocate(payload.n);

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
            form = deflater != NULL ? form_frame_packed(payload, deflater)
                                    : form_frame(payload, false);
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

static const struct message_bytes *form_get(struct message *message, enum message_form_kind kind,
                                            struct ws_deflate *deflater)
{
    const struct message_form *form = form_find(
        atomic_load_explicit(&message->forms, memory_order_acquire), kind, deflater != NULL);

    if (form != NULL)
        return &form->bytes;
    assert(message->kind != MESSAGE_CONTROL && message->published_ms != 0);
    struct message_form *made = form_make(message, kind, deflater);
    return made != NULL ? &form_publish(message, made)->bytes : NULL;
}

const struct message_bytes *message_form(struct message *message, enum message_form_kind kind)
{
    return form_get(message, kind, NULL);
}

const struct message_bytes *message_form_packed(struct message *message,
                                                enum message_form_kind kind,
                                                struct ws_deflate *deflater)
{
    const struct message_bytes *packed = form_get(message, kind, deflater);

    return packed != NULL && packed->n == 0 ? message_form(message, kind) : packed;
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
