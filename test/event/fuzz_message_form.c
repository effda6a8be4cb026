/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the forms of an event: what a WebSocket gets of any data is what a reader of the
 * event stream gets, and in bugle.v1 and in an envelope it is JSON that says the same.  The first
 * byte has what the event is, the rest is the data.
 */
#include "event/message_form.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define EPOCH "abcdefghijkl"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The payload of a frame that is whole. */
static struct message_bytes payload_of(const struct message_bytes *frame)
{
    const unsigned char *head = (const unsigned char *)frame->bytes;
    size_t head_n = head[1] < 126 ? 2 : head[1] == 126 ? 4 : 10;

    assert(head[0] == 0x81 && head[1] < 128 && frame->n >= head_n);
    return (struct message_bytes){frame->bytes + head_n, frame->n - head_n};
}

/* What a reader makes of data: CRLF, CR and LF each end a line. */
static size_t lines_of(char *to, const char *data, size_t data_n)
{
    size_t n = 0;

    for (size_t i = 0; i < data_n; i++) {
        to[n++] = data[i] == '\r' ? '\n' : data[i];
        i += data[i] == '\r' && i + 1 < data_n && data[i + 1] == '\n';
    }
    return n;
}

/* An envelope, which is one line of data. */
static struct message_bytes line_of(const struct message_bytes *frame)
{
    const char *line = frame->bytes + strlen("data: ");
    const char *end = memchr(frame->bytes, '\n', frame->n);

    assert(memcmp(frame->bytes, "data: ", strlen("data: ")) == 0 && end != NULL);
    assert((size_t)(frame->bytes + frame->n - end) == 2 + SSE_TAIL_BYTES - 1 ||
           (size_t)(frame->bytes + frame->n - end) == 2);
    return (struct message_bytes){line, (size_t)(end - line)};
}

static void check_json(const struct message *message, struct message_bytes payload,
                       size_t members_n, const char *lines, size_t lines_n)
{
    json_t *json =
        json_loadb(payload.bytes, payload.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);

    assert(json != NULL && json_object_size(json) == members_n);
    json_t *value = json_object_get(json, "data");
    if (message->is_json) {
        json_t *sent = json_loadb(lines, lines_n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        assert(json_equal(sent, value));
        json_decref(sent);
    } else {
        assert(json_is_string(value) && json_string_length(value) == lines_n);
        assert(memcmp(json_string_value(value), lines, lines_n) == 0);
    }
    json_decref(json);
}

static bool is_json(const char *text, size_t text_n)
{
    json_t *json =
        json_loadb(text, text_n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool good = json != NULL;

    json_decref(json);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    size_t text_n = size - 1;

    if (size == 0 || !utf8_valid(text, text_n, NULL))
        return 0;
    struct message_name topic = {.bytes = "a/\"b", .bytes_n = 4};
    struct message_draft draft = {
        .fields = {.data = text, .data_n = text_n},
        .topics = &topic,
        .topics_n = (data[0] & 1) != 0,
        .kind = (data[0] & 2) != 0 ? MESSAGE_STORED : MESSAGE_EPHEMERAL,
        .is_json = (data[0] & 4) != 0 && is_json(text, text_n),
    };
    struct message *message = message_new(&draft);
    char *lines = malloc(text_n + 1);
    size_t lines_n = lines_of(lines, text, text_n);

    assert(message != NULL && lines != NULL);
    message_seal(message, EPOCH, 7, 1);
    struct message_bytes raw = payload_of(message_form(message, MESSAGE_FORM_RAW));
    assert(raw.n == lines_n && memcmp(raw.bytes, lines, lines_n) == 0);
    check_json(message, payload_of(message_form(message, MESSAGE_FORM_V1)),
               3 + (message->kind == MESSAGE_STORED), lines, lines_n);
    check_json(message, line_of(message_form(message, MESSAGE_FORM_ENVELOPE)), 5, lines, lines_n);
    message_unref(message);
    free(lines);
    return 0;
}
