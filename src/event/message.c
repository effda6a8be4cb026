/* SPDX-License-Identifier: MIT */
/* Counted events: building, sealing, letting go.  See message.h. */
#include "config.h"
#include "event/message.h"

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "event/message_form.h"
#include "event/topic.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static size_t names_bytes(const struct message_name *names, size_t names_n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < names_n; i++)
        bytes += names[i].bytes_n;
    return bytes;
}

/* Copy names behind the struct; returns the first free byte. */
static char *message_copy_names(struct message_name *to, const struct message_name *from,
                                size_t names_n, char *room)
{
    for (size_t i = 0; i < names_n; i++) {
        memcpy(room, from[i].bytes, from[i].bytes_n);
        to[i].bytes = room;
        to[i].bytes_n = from[i].bytes_n;
        to[i].hash = hash_bytes(room, from[i].bytes_n);
        room += from[i].bytes_n;
    }
    return room;
}

static struct message *message_allocate(size_t names_n, size_t names_bytes_n, size_t frame_n,
                                        size_t key_n)
{
    size_t bytes = sizeof(struct message) + names_n * sizeof(struct message_name) + names_bytes_n +
                   frame_n + key_n;
    struct message *message = malloc(bytes);

    if (message == NULL)
        return NULL;
    memset(message, 0, sizeof(*message));
    atomic_init(&message->refs, 1);
    message->bytes = (uint32_t)bytes;
    message->frame_n = (uint32_t)frame_n;
    message->id_offset = UINT32_MAX;
    return message;
}

/* A number that goes into a digest the same way on every machine. */
static XXH128_hash_t digest_number(XXH128_hash_t seed, uint64_t number)
{
    uint64_t words[] = {htole64(seed.low64), htole64(seed.high64), htole64(number)};

    return XXH3_128bits(words, sizeof(words));
}

static XXH128_hash_t digest_bytes(XXH128_hash_t seed, const char *bytes, size_t bytes_n)
{
    XXH128_hash_t own = XXH3_128bits(bytes, bytes_n);

    seed = digest_number(seed, bytes_n);
    seed = digest_number(seed, own.low64);
    return digest_number(seed, own.high64);
}

/* How the last byte of a digest, and an image, says what the data is. */
enum { DATA_UNKNOWN, DATA_TEXT, DATA_JSON, DATA_COUNT };

static uint8_t data_said(const struct message *message)
{
    return message->is_json ? DATA_JSON : DATA_TEXT;
}

/* Over everything that a publisher said but the key. */
static void put_digest(char *to, const struct message *message)
{
    XXH128_hash_t digest = {0};
    XXH128_canonical_t canonical;

    digest = digest_number(digest, message->topics_n);
    for (size_t i = 0; i < (size_t)message->topics_n + message->users_n; i++)
        digest = digest_bytes(digest, message->names[i].bytes, message->names[i].bytes_n);
    digest = digest_number(digest, (uint64_t)message->ttl_ms);
    digest = digest_bytes(digest, message->frame, message_body_bytes(message));
    XXH128_canonicalFromHash(&canonical, digest);
    static_assert(sizeof(canonical) == MESSAGE_DIGEST_BYTES_MIN, "a digest has 128 bits");
    memcpy(to, &canonical, sizeof(canonical));
    to[MESSAGE_DIGEST_BYTES_MIN] = (char)data_said(message);
}

bool message_has_digest(const struct message *message, const void *digest, size_t digest_n)
{
    const char *own = message_digest(message), *other = digest;

    if (digest_n < MESSAGE_DIGEST_BYTES_MIN || digest_n > MESSAGE_DIGEST_BYTES ||
        memcmp(own, other, MESSAGE_DIGEST_BYTES_MIN) != 0)
        return false;
    if (digest_n == MESSAGE_DIGEST_BYTES_MIN)
        return true;
    return own[MESSAGE_DIGEST_BYTES_MIN] == other[MESSAGE_DIGEST_BYTES_MIN] ||
           own[MESSAGE_DIGEST_BYTES_MIN] == DATA_UNKNOWN ||
           other[MESSAGE_DIGEST_BYTES_MIN] == DATA_UNKNOWN;
}

static void put_key(struct message *message, const struct message_draft *draft)
{
    char *to = message->frame + message->frame_n;

    assert(draft->kind == MESSAGE_STORED && draft->key_n <= MESSAGE_KEY_BYTES_MAX);
    message->key_n = (uint16_t)draft->key_n;
    put_digest(to, message);
    memcpy(to + MESSAGE_DIGEST_BYTES, draft->key, draft->key_n);
}

struct message *message_new(const struct message_draft *draft)
{
    struct sse_fields fields = draft->fields;
    size_t names_n = draft->topics_n + draft->users_n;
    size_t names_bytes_n =
        names_bytes(draft->topics, draft->topics_n) + names_bytes(draft->users, draft->users_n);
    size_t key_n = draft->key != NULL ? MESSAGE_DIGEST_BYTES + draft->key_n : 0;
    size_t id_offset, data_offset;

    fields.with_id = draft->kind == MESSAGE_STORED;
    struct message *message =
        message_allocate(names_n, names_bytes_n, sse_frame_bytes(&fields), key_n);
    if (message == NULL)
        return NULL;

    char *room = (char *)(message->names + names_n);
    message->kind = (uint8_t)draft->kind;
    message->is_json = draft->is_json;
    message->topics_n = (uint16_t)draft->topics_n;
    message->users_n = (uint16_t)draft->users_n;
    message->ttl_ms = draft->ttl_ms;
    room = message_copy_names(message->names, draft->topics, draft->topics_n, room);
    room = message_copy_names(message->names + draft->topics_n, draft->users, draft->users_n, room);
    message->frame = room;
    size_t written = sse_write_frame(room, &fields, &id_offset, &data_offset);
    assert(written == message->frame_n);
    if (fields.with_id)
        message->id_offset = (uint32_t)id_offset;
    if (draft->key != NULL)
        put_key(message, draft);
    return message;
}

struct message *message_restore(const struct message_record *record, const char *epoch)
{
    size_t names_n = record->topics_n + record->users_n;
    size_t names_bytes_n =
        names_bytes(record->topics, record->topics_n) + names_bytes(record->users, record->users_n);
    struct message *message =
        message_allocate(names_n, names_bytes_n, record->body_n + SSE_TAIL_BYTES, 0);

    if (message == NULL)
        return NULL;
    char *room = (char *)(message->names + names_n);
    message->kind = MESSAGE_STORED;
    message->is_json = record->is_json;
    message->topics_n = (uint16_t)record->topics_n;
    message->users_n = (uint16_t)record->users_n;
    message->ttl_ms = record->ttl_ms;
    message->position = record->position;
    message->published_ms = record->published_ms;
    room = message_copy_names(message->names, record->topics, record->topics_n, room);
    room =
        message_copy_names(message->names + record->topics_n, record->users, record->users_n, room);
    message->frame = room;
    memcpy(room, record->body, record->body_n);
    sse_put_tail(room + record->body_n, epoch, record->position);
    message->id_offset = message->frame_n - SSE_ID_BYTES - 2;
    return message;
}

struct message *message_new_control(const char *frame, size_t frame_n)
{
    struct message *message = message_allocate(0, 0, frame_n, 0);

    if (message == NULL)
        return NULL;
    message->kind = MESSAGE_CONTROL;
    message->frame = (char *)message->names;
    memcpy(message->frame, frame, frame_n);
    return message;
}

void message_seal(struct message *message, const char *epoch, uint64_t position, int64_t now_ms)
{
    assert(message->published_ms == 0);
    message->position = position;
    message->published_ms = now_ms;
    if (message->id_offset != UINT32_MAX)
        sse_put_id(message->frame + message->id_offset, epoch, position);
}

void message_charge(struct message *message, _Atomic int64_t *account)
{
    if (account == NULL || message->account != NULL)
        return;
    message->account = account;
    atomic_fetch_add_explicit(account, message->bytes, memory_order_relaxed);
}

struct message *message_ref(struct message *message)
{
    atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void message_unref(struct message *message)
{
    if (message == NULL)
        return;
    if (atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) != 1)
        return;
    int64_t bytes = message->bytes + (int64_t)message_form_free_all(message);
    if (message->account != NULL)
        atomic_fetch_sub_explicit(message->account, bytes, memory_order_relaxed);
    free(message);
}

/* ---- images ---- */

/* How an image begins; the lengths of names, as uint32_t, and the bytes of names, frame, digest and
 * key follow.  The digest is without its last byte, which `data` is. */
struct image {
    uint8_t kind;
    uint8_t data; /* in earlier versions a hole of zeros that nobody reads */
    uint16_t topics_n;
    uint16_t users_n;
    uint16_t key_n;
    uint32_t frame_n;
    uint32_t id_offset;
    uint64_t position;
    int64_t published_ms;
    int64_t ttl_ms;
};

/* What stands behind the frame. */
static size_t key_bytes(size_t key_n)
{
    return key_n > 0 ? MESSAGE_DIGEST_BYTES_MIN + key_n : 0;
}

size_t message_image_bytes(const struct message *message)
{
    size_t names_n = (size_t)message->topics_n + message->users_n;

    return sizeof(struct image) + names_n * sizeof(uint32_t) +
           names_bytes(message->names, names_n) + message->frame_n + key_bytes(message->key_n);
}

void message_write_image(char *to, const struct message *message)
{
    size_t names_n = (size_t)message->topics_n + message->users_n;
    struct image image;

    memset(&image, 0, sizeof(image)); /* the holes too */
    image.kind = message->kind;
    image.data = data_said(message);
    image.topics_n = message->topics_n;
    image.users_n = message->users_n;
    image.key_n = message->key_n;
    image.frame_n = message->frame_n;
    image.id_offset = message->id_offset;
    image.position = message->position;
    image.published_ms = message->published_ms;
    image.ttl_ms = message->ttl_ms;
    to = mempcpy(to, &image, sizeof(image));
    for (size_t i = 0; i < names_n; i++) {
        uint32_t n = (uint32_t)message->names[i].bytes_n;

        to = mempcpy(to, &n, sizeof(n));
    }
    for (size_t i = 0; i < names_n; i++)
        to = mempcpy(to, message->names[i].bytes, message->names[i].bytes_n);
    to = mempcpy(to, message->frame, message->frame_n);
    if (message->key_n == 0)
        return;
    to = mempcpy(to, message_digest(message), MESSAGE_DIGEST_BYTES_MIN);
    memcpy(to, message_key(message), message->key_n);
}

/* Whether the fields of an image fit together. */
static bool image_is_sound(const struct image *image)
{
    if (image->kind != MESSAGE_STORED && image->kind != MESSAGE_EPHEMERAL)
        return false;
    if (image->data >= DATA_COUNT)
        return false;
    if ((image->kind == MESSAGE_STORED) != (image->id_offset != UINT32_MAX))
        return false;
    if (image->id_offset != UINT32_MAX && image->frame_n < SSE_TAIL_BYTES)
        return false;
    if (image->id_offset != UINT32_MAX && image->id_offset != image->frame_n - SSE_ID_BYTES - 2)
        return false;
    return image->key_n == 0 ||
           (image->kind == MESSAGE_STORED && image->key_n <= MESSAGE_KEY_BYTES_MAX);
}

/* Add up the lengths of names; false when they go beyond what there is. */
static bool sum_lengths(const char *lengths, size_t names_n, size_t max, size_t *ret_sum)
{
    *ret_sum = 0;
    for (size_t i = 0; i < names_n; i++) {
        uint32_t n;

        memcpy(&n, lengths + i * sizeof(n), sizeof(n));
        *ret_sum += n;
        if (*ret_sum > max)
            return false;
    }
    return true;
}

/* Whether the names are ones that a publisher could have given: all that handles them counts on
 * it. */
static bool names_are_sound(const struct message *message)
{
    for (size_t i = 0; i < (size_t)message->topics_n + message->users_n; i++) {
        const struct message_name *name = &message->names[i];
        enum topic_error error = i < message->topics_n
                                     ? topic_check_name(name->bytes, name->bytes_n)
                                     : topic_check_user(name->bytes, name->bytes_n);

        if (error != TOPIC_OK)
            return false;
    }
    return true;
}

static void restore_names(struct message *message, const char *lengths, const char *bytes)
{
    size_t names_n = (size_t)message->topics_n + message->users_n;
    char *room = (char *)(message->names + names_n);

    for (size_t i = 0; i < names_n; i++) {
        struct message_name *name = &message->names[i];
        uint32_t n;

        memcpy(&n, lengths + i * sizeof(n), sizeof(n));
        memcpy(room, bytes, n);
        *name = (struct message_name){.bytes = room, .bytes_n = n, .hash = hash_bytes(room, n)};
        room += n;
        bytes += n;
    }
    message->frame = room;
}

/* The frame, and what stands behind it. */
static void restore_rest(struct message *message, const char *from, uint8_t data)
{
    char *to = mempcpy(message->frame, from, message->frame_n);

    if (message->key_n == 0)
        return;
    from += message->frame_n;
    to = mempcpy(to, from, MESSAGE_DIGEST_BYTES_MIN);
    *to++ = (char)data;
    memcpy(to, from + MESSAGE_DIGEST_BYTES_MIN, message->key_n);
}

struct message *message_read_image(const char *from, size_t image_n)
{
    struct image image;
    size_t names_bytes_n;

    if (image_n < sizeof(image))
        return NULL;
    memcpy(&image, from, sizeof(image));
    size_t names_n = (size_t)image.topics_n + image.users_n, left = image_n - sizeof(image);
    const char *lengths = from + sizeof(image), *names = lengths + names_n * sizeof(uint32_t);
    if (!image_is_sound(&image) || left < names_n * sizeof(uint32_t))
        return NULL;
    left -= names_n * sizeof(uint32_t);
    if (!sum_lengths(lengths, names_n, left, &names_bytes_n) ||
        left - names_bytes_n != (size_t)image.frame_n + key_bytes(image.key_n))
        return NULL;
    struct message *message =
        message_allocate(names_n, names_bytes_n, image.frame_n,
                         image.key_n > 0 ? MESSAGE_DIGEST_BYTES + image.key_n : 0);
    if (message == NULL)
        return NULL;
    message->kind = image.kind;
    message->is_json = image.data == DATA_JSON;
    message->topics_n = image.topics_n;
    message->users_n = image.users_n;
    message->key_n = image.key_n;
    message->id_offset = image.id_offset;
    message->position = image.position;
    message->published_ms = image.published_ms;
    message->ttl_ms = image.ttl_ms;
    restore_names(message, lengths, names);
    restore_rest(message, names + names_bytes_n, image.data);
    if (names_are_sound(message))
        return message;
    message_unref(message);
    return NULL;
}
