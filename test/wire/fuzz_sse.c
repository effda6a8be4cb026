/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the frames of Server-Sent Events: whatever a publisher writes, a client reads
 * back exactly one event with equal fields.  The reader below follows WHATWG HTML 9.2.6 and
 * shares nothing with the writer.  Input: a byte of flags, a byte with the length of the name, the
 * name, the data.
 */
#include "wire/sse.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct buffer {
    char *at; /* room for everything read */
    size_t n;
};

struct reader {
    struct buffer name, data, id;
    bool has_data;
    uint64_t retry_ms;
    /* the last event that was dispatched, and how many there were */
    struct buffer event_name, event_data, event_id;
    size_t events_n;
};

static void set(struct buffer *buffer, const char *bytes, size_t n)
{
    memcpy(buffer->at, bytes, n);
    buffer->n = n;
}

static void append(struct buffer *buffer, const char *bytes, size_t n)
{
    memcpy(buffer->at + buffer->n, bytes, n);
    buffer->n += n;
}

static bool equal(struct buffer buffer, const char *bytes, size_t n)
{
    return buffer.n == n && (n == 0 || memcmp(buffer.at, bytes, n) == 0);
}

static void dispatch(struct reader *reader)
{
    if (reader->has_data) {
        /* the line feed behind the last line does not count */
        set(&reader->event_data, reader->data.at, reader->data.n - 1);
        set(&reader->event_name, reader->name.at, reader->name.n);
        set(&reader->event_id, reader->id.at, reader->id.n);
        reader->events_n++;
    }
    reader->has_data = false;
    reader->data.n = reader->name.n = 0;
}

static void field(struct reader *reader, struct buffer name, struct buffer value)
{
    if (equal(name, "event", 5)) {
        set(&reader->name, value.at, value.n);
    } else if (equal(name, "data", 4)) {
        reader->has_data = true;
        append(&reader->data, value.at, value.n);
        append(&reader->data, "\n", 1);
    } else if (equal(name, "id", 2)) {
        if (!memchr(value.at, '\0', value.n))
            set(&reader->id, value.at, value.n);
    } else if (equal(name, "retry", 5)) {
        reader->retry_ms = 0;
        for (size_t i = 0; i < value.n; i++)
            reader->retry_ms = reader->retry_ms * 10 + (uint64_t)(value.at[i] - '0');
    } else {
        assert(!"no other field, and no comment, is ever written");
    }
}

static void line(struct reader *reader, char *at, size_t n)
{
    char *colon = memchr(at, ':', n);
    struct buffer name = {at, colon ? (size_t)(colon - at) : n};
    struct buffer value = {at + n, 0};

    if (n == 0) {
        dispatch(reader);
        return;
    }
    if (colon) {
        value.at = colon + 1;
        value.n = (size_t)(at + n - value.at);
        if (value.n > 0 && *value.at == ' ') {
            value.at++;
            value.n--;
        }
    }
    field(reader, name, value);
}

static void read_all(struct reader *reader, char *bytes, size_t n)
{
    size_t start = 0;

    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != '\n' && bytes[i] != '\r')
            continue;
        line(reader, bytes + start, i - start);
        if (bytes[i] == '\r' && i + 1 < n && bytes[i + 1] == '\n')
            i++;
        start = i + 1;
    }
}

static struct buffer buffer_of(size_t n)
{
    struct buffer buffer = {malloc(n + 1), 0};

    assert(buffer.at);
    return buffer;
}

static struct reader reader_of(size_t n)
{
    return (struct reader){.name = buffer_of(n),
                           .data = buffer_of(n),
                           .id = buffer_of(n),
                           .event_name = buffer_of(n),
                           .event_data = buffer_of(n),
                           .event_id = buffer_of(n)};
}

static void free_reader(struct reader *reader)
{
    free(reader->name.at);
    free(reader->data.at);
    free(reader->id.at);
    free(reader->event_name.at);
    free(reader->event_data.at);
    free(reader->event_id.at);
}

/* The data as a client sees it: every line end is one LF. */
static struct buffer normalised(const char *data, size_t n)
{
    struct buffer buffer = buffer_of(n);

    for (size_t i = 0; i < n; i++) {
        if (data[i] == '\n' && i > 0 && data[i - 1] == '\r')
            continue;
        buffer.at[buffer.n++] = data[i] == '\r' ? '\n' : data[i];
    }
    return buffer;
}

static void check_event(const struct reader *reader, const struct sse_fields *fields,
                        const char *id)
{
    bool plain = fields->name_n == 7 && memcmp(fields->name, "message", 7) == 0;
    struct buffer data = normalised(fields->data, fields->data_n);

    assert(equal(reader->event_data, data.at, data.n));
    assert(equal(reader->event_name, fields->name, plain ? 0 : fields->name_n));
    assert(equal(reader->event_id, id, fields->with_id ? SSE_ID_BYTES : 0));
    assert(reader->retry_ms == fields->retry_ms);
    free(data.at);
}

/* Taking the frame apart gives what a client sees. */
static void check_way_back(const char *frame, size_t frame_n, const struct reader *reader,
                           bool with_id)
{
    struct buffer room = buffer_of(frame_n);
    struct sse_fields fields;

    assert(sse_read_frame(frame, frame_n, room.at, &fields));
    assert(equal(reader->event_data, fields.data, fields.data_n));
    assert(equal(reader->event_name, fields.name, fields.name_n));
    assert(fields.retry_ms == reader->retry_ms && fields.with_id == with_id);
    free(room.at);
}

/* Any cut of the frame shows no event; the id line is complete only at the very end. */
static void check_cuts(char *frame, size_t frame_n)
{
    struct reader reader = reader_of(frame_n);

    read_all(&reader, frame, frame_n - 1);
    assert(reader.events_n == 0 && reader.has_data);
    free_reader(&reader);
    reader = reader_of(frame_n);
    read_all(&reader, frame, frame_n - 2);
    assert(reader.events_n == 0 && reader.id.n == 0);
    free_reader(&reader);
}

static void check_frame(const struct sse_fields *fields)
{
    size_t frame_n = sse_frame_bytes(fields);
    char *frame = malloc(2 * frame_n);
    size_t id_offset, data_offset;
    struct reader reader = reader_of(2 * frame_n);
    char id[SSE_ID_BYTES];

    assert(frame);
    /* from the middle to the end first: a sanitizer sees a byte too many */
    assert(sse_write_frame(frame + frame_n, fields, &id_offset, &data_offset) == frame_n);
    assert(data_offset >= 6 && data_offset < frame_n);
    assert((id_offset != SIZE_MAX) == fields->with_id);
    sse_put_id(id, "0123456789az", fields->data_n);
    if (fields->with_id)
        sse_put_id(frame + frame_n + id_offset, "0123456789az", fields->data_n);
    check_cuts(frame + frame_n, frame_n);
    memcpy(frame, frame + frame_n, frame_n);
    read_all(&reader, frame, frame_n);
    assert(reader.events_n == 1);
    check_event(&reader, fields, id);
    check_way_back(frame + frame_n, frame_n, &reader, fields->with_id);
    read_all(&reader, frame + frame_n, frame_n);
    assert(reader.events_n == 2);
    check_event(&reader, fields, id);
    free_reader(&reader);
    free(frame);
}

/* What is read as an id must be written the same. */
static void check_id(const char *text, size_t text_n)
{
    const char *epoch;
    uint64_t position;
    char id[SSE_ID_BYTES];

    if (!sse_parse_id(text, text_n, &epoch, &position))
        return;
    sse_put_id(id, epoch, position);
    assert(text_n == SSE_ID_BYTES && memcmp(id, text, SSE_ID_BYTES) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t retries[] = {0, 1, 1000, 3600000, UINT32_MAX};
    struct sse_fields fields = {.name = NULL};
    const char *why = NULL;
    size_t name_n;

    check_id((const char *)data, size);
    if (size < 2)
        return 0;
    name_n = data[1] < size - 2 ? data[1] : size - 2;
    fields.with_id = data[0] & 1;
    fields.retry_ms = retries[data[0] / 2 % 5];
    fields.data = (const char *)data + 2 + name_n;
    fields.data_n = size - 2 - name_n;
    if (sse_check_name((const char *)data + 2, name_n, &why)) {
        fields.name = (const char *)data + 2;
        fields.name_n = name_n;
    }
    assert((why == NULL) == (fields.name != NULL));
    check_frame(&fields);
    return 0;
}
