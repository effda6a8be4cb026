/* SPDX-License-Identifier: MIT */
/*
 * From a publish to what a client has of it: any JSON that is taken as events, sealed as the hub
 * does, put on one stream with heartbeats in between and cut into pieces, must be read back as the
 * same events: as many, in order, each with the name, the data, the id and the reconnection time
 * that was published, and no other.  The first two bytes of the input choose pieces and positions,
 * the rest is the body.
 */
#include "api/publish_body.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "wire/sse.h"
#include "wire/sse_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EPOCH "0123456789ab"
#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_DECODE_ANY)
/* A heartbeat, or a reconnection time of the gateway's own, before each event in turn. */
#define BEAT ":\n"
#define OWN_RETRY_MS 4321
#define OWN_RETRY "retry: 4321\n"

static const struct publish_limits limits = {.event_bytes_max = 4096, .json_depth_max = 16};
static const struct sse_parser_limits no_limits = {1 << 20, 1 << 20};

/* ---- what a client should have ---- */

struct expected {
    const json_t *root;
    const struct publish_body *body;
    uint64_t position; /* of the last stored event before the next one */
    size_t next;
    bool has_retry; /* the next event's own is still to come */
    uint64_t retry_ms;
};

static const json_t *object_at(const struct expected *expected, size_t i)
{
    return expected->body->is_array ? json_array_get(expected->root, i) : expected->root;
}

/* Every end of a line is one LF to a client. */
static char *joined(const char *text, size_t text_n, size_t *ret_n)
{
    char *to = malloc(text_n + 1);
    size_t n = 0;

    assert(to);
    for (size_t i = 0; i < text_n; i++) {
        to[n++] = text[i] == '\r' ? '\n' : text[i];
        if (text[i] == '\r' && i + 1 < text_n && text[i + 1] == '\n')
            i++;
    }
    *ret_n = n;
    return to;
}

static void check_data(const json_t *wanted, const struct sse_parser_event *event)
{
    if (!json_is_string(wanted)) {
        json_t *got = json_loadb(event->data, event->data_n, PARSE_FLAGS, NULL);

        assert(got && json_equal(got, wanted));
        assert(!memchr(event->data, '\n', event->data_n));
        json_decref(got);
        return;
    }
    size_t lines_n;
    char *lines = joined(json_string_value(wanted), json_string_length(wanted), &lines_n);
    assert(event->data_n == lines_n && memcmp(event->data, lines, lines_n) == 0);
    free(lines);
}

static void check_name(const json_t *wanted, const struct sse_parser_event *event)
{
    const char *name = wanted ? json_string_value(wanted) : "message";

    assert(name && event->name_n == strlen(name) && memcmp(event->name, name, event->name_n) == 0);
}

static void check_id(struct expected *expected, const struct sse_parser_event *event)
{
    char id[SSE_ID_BYTES];
    bool is_stored = expected->body->messages[expected->next]->kind == MESSAGE_STORED;

    assert(event->has_id == is_stored);
    if (is_stored)
        expected->position++;
    else if (event->id_n == 0)
        return; /* nothing stored before it on this stream */
    sse_put_id(id, EPOCH, expected->position);
    assert(event->id_n == SSE_ID_BYTES && memcmp(event->id, id, SSE_ID_BYTES) == 0);
}

static int on_event(void *arg, const struct sse_parser_event *event)
{
    struct expected *expected = arg;

    assert(expected->next < expected->body->messages_n);
    const json_t *object = object_at(expected, expected->next);
    check_name(json_object_get(object, "event"), event);
    check_data(json_object_get(object, "data"), event);
    check_id(expected, event);
    assert(expected->has_retry == (json_object_get(object, "retry") != NULL));
    expected->has_retry = false;
    expected->next++;
    return 0;
}

static void on_retry(void *arg, uint64_t retry_ms)
{
    struct expected *expected = arg;
    const json_t *wanted = json_object_get(object_at(expected, expected->next), "retry");
    double ms = json_number_value(wanted);

    if (retry_ms == OWN_RETRY_MS && !(wanted && ms == OWN_RETRY_MS))
        return;
    if (ms < SSE_RETRY_MIN_MS)
        ms = SSE_RETRY_MIN_MS;
    if (ms > SSE_RETRY_MAX_MS)
        ms = SSE_RETRY_MAX_MS;
    assert(wanted && (double)retry_ms == ms);
    expected->has_retry = true;
}

/* ---- the stream ---- */

struct text {
    char *bytes;
    size_t n;
};

static void append(struct text *text, const char *bytes, size_t n)
{
    text->bytes = realloc(text->bytes, text->n + n + 1);
    assert(text->bytes);
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
}

/* A wish of the gateway's own comes only before events that have none, so that the two are told
 * apart. */
static struct text write_stream(const struct expected *expected, uint64_t position)
{
    struct text text = {NULL, 0};

    for (size_t i = 0; i < expected->body->messages_n; i++) {
        struct message *message = expected->body->messages[i];

        position += message->kind == MESSAGE_STORED;
        message_seal(message, EPOCH, position, 1);
        if (i % 3 == 0)
            append(&text, BEAT, strlen(BEAT));
        if (i % 3 == 1 && !json_object_get(object_at(expected, i), "retry"))
            append(&text, OWN_RETRY, strlen(OWN_RETRY));
        append(&text, message->frame, message->frame_n);
    }
    return text;
}

static void read_stream(struct expected *expected, const struct text *text, size_t piece_max)
{
    struct sse_parser_handler handler = {on_event, on_retry, expected};
    struct sse_parser *reader = sse_parser_new(&no_limits, &handler, NULL);

    assert(reader);
    for (size_t at = 0, turn = 0; at < text->n; turn++) {
        size_t piece_n = 1 + turn * 7 % piece_max;

        if (piece_n > text->n - at)
            piece_n = text->n - at;
        assert(sse_parser_push(reader, text->bytes + at, piece_n) == 0);
        at += piece_n;
    }
    sse_parser_free(reader);
    assert(expected->next == expected->body->messages_n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct publish_body body = {0};
    struct problem problem = {0};

    if (size < 2 || !publish_body_json((const char *)data + 2, size - 2, &limits, &body, &problem))
        return 0;
    json_t *root = json_loadb((const char *)data + 2, size - 2, PARSE_FLAGS, NULL);
    assert(root);
    struct expected expected = {.root = root, .body = &body, .position = data[1] * 1000003u};
    struct text text = write_stream(&expected, expected.position);
    read_stream(&expected, &text, 1 + data[0]);
    free(text.bytes);
    json_decref(root);
    publish_body_free(&body);
    return 0;
}
