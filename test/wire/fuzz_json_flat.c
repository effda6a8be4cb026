/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for flat objects and for events made of them, with jansson and publish_body.c as the
 * judges: what is taken as plain must be good there, and be the same.
 */
#include "wire/json_flat.h"

#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "api/publish_plain.h"

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY)
#define MEMBERS_MAX 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_value(const struct json_flat_member *member, json_t *value)
{
    struct json_span span = member->value;

    switch (member->kind) {
    case JSON_FLAT_STRING:
        assert(json_is_string(value) && json_string_length(value) == span.bytes_n);
        assert(memcmp(json_string_value(value), span.at, span.bytes_n) == 0);
        break;
    case JSON_FLAT_COUNT:
        assert(json_is_real(value) && json_real_value(value) == json_flat_count(span));
        break;
    case JSON_FLAT_TRUE:
        assert(json_is_true(value));
        break;
    case JSON_FLAT_FALSE:
        assert(json_is_false(value));
        break;
    }
}

static void check_members(struct json_span text)
{
    struct json_flat_member members[MEMBERS_MAX];
    size_t members_n, i = 0;
    const char *key;
    json_t *value;

    if (!json_flat_read(text, members, MEMBERS_MAX, &members_n))
        return;
    assert(members_n > 0 && members_n <= MEMBERS_MAX);
    json_t *root = json_loadb(text.at, text.bytes_n, FLAGS, NULL);
    assert(root && json_object_size(root) == members_n);
    json_object_foreach(root, key, value)
    {
        assert(json_flat_is(members[i].name, key));
        check_value(&members[i++], value);
    }
    json_decref(root);
}

static void check_same(const struct message *one, const struct message *other)
{
    assert(one->bytes == other->bytes && one->frame_n == other->frame_n);
    assert(one->kind == other->kind && one->ttl_ms == other->ttl_ms);
    assert(one->is_json == other->is_json);
    assert(one->topics_n == other->topics_n && one->users_n == other->users_n);
    assert(one->key_n == other->key_n);
    assert(memcmp(one->frame, other->frame, one->frame_n) == 0);
    for (size_t i = 0; i < (size_t)one->topics_n + one->users_n; i++) {
        assert(one->names[i].bytes_n == other->names[i].bytes_n);
        assert(memcmp(one->names[i].bytes, other->names[i].bytes, one->names[i].bytes_n) == 0);
    }
}

/* One event or an array of them. */
static void check_events(const char *text, size_t text_n)
{
    static const struct publish_limits limits = {.event_bytes_max = 4096, .json_depth_max = 8};
    struct publish_body plain, body;
    struct problem problem;

    if (!publish_plain(text, text_n, &limits, &plain))
        return;
    assert(publish_body_json(text, text_n, &limits, &body, &problem));
    assert(plain.messages_n == body.messages_n && plain.bytes == body.bytes);
    assert(plain.is_array == body.is_array && plain.has_keys == body.has_keys);
    for (size_t i = 0; i < plain.messages_n; i++)
        check_same(plain.messages[i], body.messages[i]);
    publish_body_free(&plain);
    publish_body_free(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_members((struct json_span){(const char *)data, size});
    check_events((const char *)data, size);
    return 0;
}
