/* SPDX-License-Identifier: MIT */
/*
 * One event: immutable, counted, framed for the wire once.  It is called a message in the sources,
 * since libevent owns the names that begin with event_.
 *
 * Life: a publisher's worker builds it (message_new), the hub gives it its place and time
 * (message_seal), and from then on no byte changes: rings, the memory store and streams that
 * stopped in the middle of the frame each hold a reference.  Frame, topics, users and key are one
 * allocation with the struct.  What other transports send instead of the frame is made when it is
 * first asked for (message_form.h).
 *
 * Streams also send frames of their own (a heartbeat, a reset): those are events too, of kind
 * MESSAGE_CONTROL, so that everything a stream can be in the middle of is one thing.
 */
#ifndef BUGLE_MESSAGE_H
#define BUGLE_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/sse.h"

struct message_form;

enum message_kind {
    MESSAGE_STORED,    /* has a position, an id, and a place in the history */
    MESSAGE_EPHEMERAL, /* live streams only */
    MESSAGE_CONTROL,   /* made by the gateway for one stream */
};

/* A topic or a user, with its hash from hash_bytes(). */
struct message_name {
    const char *bytes;
    uint64_t hash;
    size_t bytes_n;
};

struct message {
    _Atomic uint32_t refs;
    uint8_t kind; /* enum message_kind */
    bool is_json; /* the data is JSON as it was written, and no text */
    uint16_t topics_n;
    uint16_t users_n;
    uint16_t key_n; /* bytes of the idempotency key; 0: there is none */
    uint32_t frame_n;
    uint32_t id_offset;       /* into the frame; UINT32_MAX without an id */
    uint32_t bytes;           /* of the whole allocation: what holding it costs */
    uint64_t position;        /* its own, or for an ephemeral event the last one stored before it */
    int64_t published_ms;     /* wall clock, set by message_seal() */
    int64_t ttl_ms;           /* 0: as long as the history keeps it */
    _Atomic int64_t *account; /* where `bytes` are counted; NULL: nowhere */
    char *frame;              /* digest and key stand behind it */
    _Atomic(struct message_form *) forms; /* message_form.h; the first made is the last in it */
    struct message_name names[];          /* topics, then users */
};

#define MESSAGE_KEY_BYTES_MAX 272 /* with the scope of the publisher before it */
#define MESSAGE_DIGEST_BYTES 17   /* the last byte says what the data was, see message_digest() */
#define MESSAGE_DIGEST_BYTES_MIN 16

/* What a publisher said, checked.  All pointers are borrowed for the call of message_new(). */
struct message_draft {
    struct sse_fields fields;          /* `with_id` is set by message_new() */
    const struct message_name *topics; /* hashes need not be set */
    size_t topics_n;
    const struct message_name *users;
    size_t users_n;
    int64_t ttl_ms;
    enum message_kind kind;
    bool is_json;    /* the data is a JSON value that is no string */
    const char *key; /* idempotency key of a MESSAGE_STORED event, or NULL */
    size_t key_n;    /* at most MESSAGE_KEY_BYTES_MAX */
};

/* What a store kept of a MESSAGE_STORED event.  All pointers are borrowed for the call. */
struct message_record {
    const char *body; /* the frame as message_body_bytes() cuts it */
    size_t body_n;
    const struct message_name *topics; /* hashes need not be set */
    size_t topics_n;
    const struct message_name *users;
    size_t users_n;
    uint64_t position;
    int64_t published_ms;
    int64_t ttl_ms;
    bool is_json;
};

/* Build an event.  Gives one reference; NULL when out of memory.  Any thread. */
struct message *message_new(const struct message_draft *draft);

/* Build again the event that a store kept, sealed, its frame byte for byte the one that was live.
 * `epoch` is borrowed, SSE_EPOCH_BYTES bytes.  Gives one reference; NULL when out of memory.  Any
 * thread. */
struct message *message_restore(const struct message_record *record, const char *epoch);

/*
 * All of a stored or ephemeral event, sealed or not, as bytes for another process of this machine
 * that runs the same version of the format (handover_link.h).  A process from before there was
 * `is_json` reads and writes them too: what it sends counts as text.
 *
 * message_read_image() gives one reference, or NULL: out of memory, or these are not the bytes of
 * an image.  Any thread.
 */
size_t message_image_bytes(const struct message *message);
void message_write_image(char *to, const struct message *message);
struct message *message_read_image(const char *from, size_t image_n);

/* How many bytes of a MESSAGE_STORED event's frame come before its id: all that is to be kept,
 * since epoch and position tell the rest.  The same before and after sealing. */
static inline size_t message_body_bytes(const struct message *message)
{
    return message->frame_n - SSE_TAIL_BYTES;
}

/* A control frame from finished bytes.  Gives one reference; NULL when out of memory. */
struct message *message_new_control(const char *frame, size_t frame_n);

/*
 * Give the event its place and write its id into the frame.  Once, by the hub, before anyone else
 * can see the event.
 *
 * epoch     borrowed; SSE_EPOCH_BYTES bytes
 * position  its own, or for an ephemeral event the last stored position
 */
void message_seal(struct message *message, const char *epoch, uint64_t position, int64_t now_ms);

/*
 * Count the event in an account until it is freed, on any thread.  Only before the event is shared;
 * does nothing for NULL and for an event that is counted already.
 *
 * account  borrowed for the life of the event
 */
void message_charge(struct message *message, _Atomic int64_t *account);

struct message *message_ref(struct message *message);
void message_unref(struct message *message); /* accepts NULL */

static inline const struct message_name *message_topics(const struct message *message)
{
    return message->names;
}

static inline const struct message_name *message_users(const struct message *message)
{
    return message->names + message->topics_n;
}

/* Of an event with a key: all that a publisher said of it, in MESSAGE_DIGEST_BYTES.  The last of
 * them is 1 for a text and 2 for JSON, since 1 and "1" are two events; and 0 when that is not
 * known, of an event that came by way of an earlier version. */
static inline const char *message_digest(const struct message *message)
{
    return message->frame + message->frame_n;
}

/* Whether an event with this digest was the same event, said twice.  What is not known of one of
 * them counts as the same.
 *
 * digest  as it was kept; MESSAGE_DIGEST_BYTES, or without the last of them from earlier versions
 */
bool message_has_digest(const struct message *message, const void *digest, size_t digest_n);

/* `key_n` bytes. */
static inline const char *message_key(const struct message *message)
{
    return message_digest(message) + MESSAGE_DIGEST_BYTES;
}

/* Whether its own ttl has passed: it is no longer replayed then. */
static inline int message_expired(const struct message *message, int64_t now_ms)
{
    return message->ttl_ms > 0 && now_ms - message->published_ms >= message->ttl_ms;
}

#endif
