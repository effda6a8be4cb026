/* SPDX-License-Identifier: MIT */
/* Counted events: building, sealing, letting go.  See event.h. */
#include "config.h"
#include "event.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "topic.h"

static size_t names_bytes(const struct event_name *names, size_t names_n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < names_n; i++)
        bytes += names[i].bytes_n;
    return bytes;
}

/* Copy names behind the struct; returns the first free byte. */
static char *copy_names(struct event_name *to, const struct event_name *from, size_t names_n,
                        char *room)
{
    for (size_t i = 0; i < names_n; i++) {
        memcpy(room, from[i].bytes, from[i].bytes_n);
        to[i].bytes = room;
        to[i].bytes_n = from[i].bytes_n;
        to[i].hash = topic_hash(room, from[i].bytes_n);
        room += from[i].bytes_n;
    }
    return room;
}

static struct event *allocate(size_t names_n, size_t names_bytes_n, size_t frame_n)
{
    size_t bytes = sizeof(struct event) + names_n * sizeof(struct event_name) + names_bytes_n +
                   frame_n;
    struct event *event = malloc(bytes);

    if (event == NULL)
        return NULL;
    memset(event, 0, sizeof(*event));
    atomic_init(&event->refs, 1);
    event->bytes = (uint32_t)bytes;
    event->frame_n = (uint32_t)frame_n;
    event->id_offset = UINT32_MAX;
    return event;
}

struct event *event_new(const struct event_draft *draft)
{
    struct sse_fields fields = draft->fields;
    size_t names_n = draft->topics_n + draft->users_n;
    size_t names_bytes_n = names_bytes(draft->topics, draft->topics_n) +
                           names_bytes(draft->users, draft->users_n);
    size_t id_offset, data_offset;

    fields.with_id = draft->kind == EVENT_STORED;
    struct event *event = allocate(names_n, names_bytes_n, sse_frame_bytes(&fields));
    if (event == NULL)
        return NULL;

    char *room = (char *)(event->names + names_n);
    event->kind = (uint8_t)draft->kind;
    event->topics_n = (uint16_t)draft->topics_n;
    event->users_n = (uint16_t)draft->users_n;
    event->ttl_ms = draft->ttl_ms;
    room = copy_names(event->names, draft->topics, draft->topics_n, room);
    room = copy_names(event->names + draft->topics_n, draft->users, draft->users_n, room);
    event->frame = room;
    size_t written = sse_write_frame(room, &fields, &id_offset, &data_offset);
    assert(written == event->frame_n);
    if (fields.with_id)
        event->id_offset = (uint32_t)id_offset;
    return event;
}

struct event *event_new_control(const char *frame, size_t frame_n)
{
    struct event *event = allocate(0, 0, frame_n);

    if (event == NULL)
        return NULL;
    event->kind = EVENT_CONTROL;
    event->frame = (char *)event->names;
    memcpy(event->frame, frame, frame_n);
    return event;
}

void event_seal(struct event *event, const char *epoch, uint64_t position, int64_t now_ms)
{
    assert(event->published_ms == 0);
    event->position = position;
    event->published_ms = now_ms;
    if (event->id_offset != UINT32_MAX)
        sse_put_id(event->frame + event->id_offset, epoch, position);
}

struct event *event_ref(struct event *event)
{
    atomic_fetch_add_explicit(&event->refs, 1, memory_order_relaxed);
    return event;
}

void event_unref(struct event *event)
{
    if (event == NULL)
        return;
    if (atomic_fetch_sub_explicit(&event->refs, 1, memory_order_acq_rel) == 1)
        free(event);
}
