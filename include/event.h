/* SPDX-License-Identifier: MIT */
/*
 * One event: immutable, counted, framed for the wire once.
 *
 * Life: a publisher's worker builds it (event_new), the hub gives it its place and time
 * (event_seal), and from then on nobody changes a byte: rings, the memory store and streams that
 * stopped in the middle of the frame each hold a reference.  Frame, topics and users are one
 * allocation with the struct.
 *
 * Streams also send frames of their own (a heartbeat, a reset): those are events too, of kind
 * EVENT_CONTROL, so that everything a stream can be in the middle of is one thing.
 */
#ifndef BUGLE_EVENT_H
#define BUGLE_EVENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "sse.h"

enum event_kind {
    EVENT_STORED,    /* has a position, an id, and a place in the history */
    EVENT_EPHEMERAL, /* live streams only */
    EVENT_CONTROL,   /* made by the gateway for one stream */
};

/* A topic or a user, with its hash from topic_hash(). */
struct event_name {
    const char *bytes;
    uint64_t hash;
    size_t bytes_n;
};

struct event {
    _Atomic uint32_t refs;
    uint8_t kind; /* enum event_kind */
    uint16_t topics_n;
    uint16_t users_n;
    uint32_t frame_n;
    uint32_t id_offset;    /* into the frame; UINT32_MAX without an id */
    uint32_t bytes;        /* of the whole allocation: what it costs those who hold it */
    uint64_t position;     /* its own, or for an ephemeral event the last one stored before it */
    int64_t published_ms;  /* wall clock, set by event_seal() */
    int64_t ttl_ms;        /* 0: as long as the history keeps it */
    char *frame;
    struct event_name names[]; /* topics, then users */
};

/* What a publisher said, checked.  All pointers are borrowed for the call of event_new(). */
struct event_draft {
    struct sse_fields fields; /* `with_id` is set by event_new() */
    const struct event_name *topics; /* hashes need not be set */
    size_t topics_n;
    const struct event_name *users;
    size_t users_n;
    int64_t ttl_ms;
    enum event_kind kind;
};

/* Build an event.  Gives one reference; NULL when out of memory.  Any thread. */
struct event *event_new(const struct event_draft *draft);

/* A control frame from finished bytes.  Gives one reference; NULL when out of memory. */
struct event *event_new_control(const char *frame, size_t frame_n);

/*
 * Give the event its place and write its id into the frame.  Once, by the hub, before anyone else
 * can see the event.
 *
 * epoch     borrowed; SSE_EPOCH_BYTES bytes
 * position  its own, or for an ephemeral event the last stored position
 */
void event_seal(struct event *event, const char *epoch, uint64_t position, int64_t now_ms);

struct event *event_ref(struct event *event);
void event_unref(struct event *event); /* accepts NULL */

static inline const struct event_name *event_topics(const struct event *event)
{
    return event->names;
}

static inline const struct event_name *event_users(const struct event *event)
{
    return event->names + event->topics_n;
}

/* Whether its own ttl has passed: it is no longer replayed then. */
static inline int event_expired(const struct event *event, int64_t now_ms)
{
    return event->ttl_ms > 0 && now_ms - event->published_ms >= event->ttl_ms;
}

#endif
