/* SPDX-License-Identifier: MIT */
/*
 * Server-Sent Events as bytes.  Sizing and writing walk the same lines, so they cannot disagree.
 */
#include "config.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "wire/sse.h"

#include <assert.h>
#include <string.h>

/* The lines of some data.  CRLF, LF and CR each end one, so the text after the last end is a line
 * too, an empty one perhaps.  Where the next LF and CR stand is remembered: data without either is
 * scanned once for each, at the speed of memchr(), however many lines the other one makes. */
struct lines {
    const char *at; /* NULL when the last line was given out */
    const char *end;
    const char *lf; /* the first at or after `at`, else `end` */
    const char *cr;
};

static const char *sse_find(const char *at, const char *end, char byte)
{
    const char *found = at < end ? memchr(at, byte, (size_t)(end - at)) : NULL;

    return found ? found : end;
}

static struct lines lines_of(const char *data, size_t data_n)
{
    const char *at = data_n > 0 ? data : "";
    const char *end = at + data_n;

    return (struct lines){at, end, sse_find(at, end, '\n'), sse_find(at, end, '\r')};
}

/* The next line without its end; false when there are no more. */
static bool lines_next(struct lines *lines, const char **ret_line, size_t *ret_n)
{
    const char *stop = lines->lf < lines->cr ? lines->lf : lines->cr;

    if (!lines->at)
        return false;
    *ret_line = lines->at;
    *ret_n = (size_t)(stop - lines->at);
    if (stop == lines->end) {
        lines->at = NULL;
        return true;
    }
    lines->at = stop + 1;
    if (stop == lines->cr && lines->at < lines->end && *lines->at == '\n')
        lines->at++;
    if (lines->lf < lines->at)
        lines->lf = sse_find(lines->at, lines->end, '\n');
    if (lines->cr < lines->at)
        lines->cr = sse_find(lines->at, lines->end, '\r');
    return true;
}

static bool has_name(const struct sse_fields *fields)
{
    if (!fields->name || fields->name_n == 0)
        return false;
    return fields->name_n != 7 || memcmp(fields->name, "message", 7) != 0;
}

static size_t digits_of(uint32_t number)
{
    size_t digits_n = 1;

    for (; number >= 10; number /= 10)
        digits_n++;
    return digits_n;
}

#define FIELD_BYTES(field) (sizeof(field) - 1)
#define RETRY "retry: "
#define EVENT "event: "
#define DATA "data: "
#define ID "id: "

size_t sse_frame_bytes(const struct sse_fields *fields)
{
    struct lines lines = lines_of(fields->data, fields->data_n);
    const char *line;
    size_t line_n;
    size_t bytes_n = 1;

    if (fields->retry_ms > 0)
        bytes_n += FIELD_BYTES(RETRY) + digits_of(fields->retry_ms) + 1;
    if (has_name(fields))
        bytes_n += FIELD_BYTES(EVENT) + fields->name_n + 1;
    while (lines_next(&lines, &line, &line_n))
        bytes_n += FIELD_BYTES(DATA) + line_n + 1;
    if (fields->with_id)
        bytes_n += FIELD_BYTES(ID) + SSE_ID_BYTES + 1;
    return bytes_n;
}

static char *sse_put(char *to, const char *bytes, size_t bytes_n)
{
    memcpy(to, bytes, bytes_n);
    return to + bytes_n;
}

/* `digits_n` digits with zeros in front. */
static char *put_digits(char *to, uint32_t number, size_t digits_n)
{
    for (size_t i = digits_n; i > 0; i--, number /= 10)
        to[i - 1] = (char)('0' + number % 10);
    return to + digits_n;
}

static char *sse_put_name(char *to, const char *name, size_t name_n)
{
    /* a line end here would let a publisher write fields of their own: sse_check_name() first */
    assert(!memchr(name, '\n', name_n) && !memchr(name, '\r', name_n));
    to = sse_put(to, EVENT, FIELD_BYTES(EVENT));
    to = sse_put(to, name, name_n);
    return sse_put(to, "\n", 1);
}

size_t sse_write_frame(char *to, const struct sse_fields *fields, size_t *ret_id_offset,
                       size_t *ret_data_offset)
{
    struct lines lines = lines_of(fields->data, fields->data_n);
    const char *line;
    size_t line_n;
    char *at = to;

    if (fields->retry_ms > 0) {
        at = sse_put(at, RETRY, FIELD_BYTES(RETRY));
        at = put_digits(at, fields->retry_ms, digits_of(fields->retry_ms));
        at = sse_put(at, "\n", 1);
    }
    if (has_name(fields))
        at = sse_put_name(at, fields->name, fields->name_n);
    *ret_data_offset = (size_t)(at - to) + FIELD_BYTES(DATA);
    while (lines_next(&lines, &line, &line_n)) {
        at = sse_put(at, DATA, FIELD_BYTES(DATA));
        at = sse_put(at, line, line_n);
        at = sse_put(at, "\n", 1);
    }
    *ret_id_offset = SIZE_MAX;
    if (fields->with_id) {
        at = sse_put(at, ID, FIELD_BYTES(ID));
        *ret_id_offset = (size_t)(at - to);
        memset(at, '0', SSE_ID_BYTES);
        at = sse_put(at + SSE_ID_BYTES, "\n", 1);
    }
    at = sse_put(at, "\n", 1);
    return (size_t)(at - to);
}

/* What is left of a frame. */
struct rest {
    const char *at;
    const char *end;
};

/* Take the next line off if it begins with this field, which gives its value. */
static bool sse_take_line(struct rest *rest, const char *field, size_t field_n,
                          const char **ret_value, size_t *ret_n)
{
    const char *stop = sse_find(rest->at, rest->end, '\n');

    if (stop == rest->end || (size_t)(stop - rest->at) < field_n ||
        memcmp(rest->at, field, field_n) != 0)
        return false;
    *ret_value = rest->at + field_n;
    *ret_n = (size_t)(stop - *ret_value);
    rest->at = stop + 1;
    return true;
}

static uint32_t sse_number_of(const char *digits, size_t digits_n)
{
    uint32_t number = 0;

    for (size_t i = 0; i < digits_n; i++)
        number = number * 10 + (uint32_t)(digits[i] - '0');
    return number;
}

bool sse_read_frame(const char *frame, size_t frame_n, char *room, struct sse_fields *ret_fields)
{
    struct rest rest = {frame, frame + frame_n};
    const char *value;
    size_t value_n;
    char *to = room;

    *ret_fields = (struct sse_fields){.data = room};
    if (sse_take_line(&rest, RETRY, FIELD_BYTES(RETRY), &value, &value_n))
        ret_fields->retry_ms = sse_number_of(value, value_n);
    if (sse_take_line(&rest, EVENT, FIELD_BYTES(EVENT), &value, &value_n)) {
        ret_fields->name = value;
        ret_fields->name_n = value_n;
    }
    if (!sse_take_line(&rest, DATA, FIELD_BYTES(DATA), &value, &value_n))
        return false;
    to = sse_put(to, value, value_n);
    while (sse_take_line(&rest, DATA, FIELD_BYTES(DATA), &value, &value_n)) {
        to = sse_put(to, "\n", 1);
        to = sse_put(to, value, value_n);
    }
    ret_fields->data_n = (size_t)(to - room);
    ret_fields->with_id = sse_take_line(&rest, ID, FIELD_BYTES(ID), &value, &value_n);
    return rest.end - rest.at == 1 && *rest.at == '\n';
}

void sse_put_id(char *to, const char *epoch, uint64_t position)
{
    enum { HALF = SSE_POSITION_DIGITS / 2 };

    assert(position <= SSE_POSITION_MAX);
    to = sse_put(to, epoch, SSE_EPOCH_BYTES);
    to = sse_put(to, "-", 1);
    /* two halves, since division of 32 bits is cheap */
    to = put_digits(to, (uint32_t)(position / 100000000), HALF);
    put_digits(to, (uint32_t)(position % 100000000), HALF);
}

void sse_put_tail(char *to, const char *epoch, uint64_t position)
{
    to = sse_put(to, ID, FIELD_BYTES(ID));
    sse_put_id(to, epoch, position);
    sse_put(to + SSE_ID_BYTES, "\n\n", 2);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool sse_parse_id(const char *text, size_t text_n, const char **ret_epoch, uint64_t *ret_position)
{
    uint64_t position = 0;

    if (text_n != SSE_ID_BYTES || text[SSE_EPOCH_BYTES] != '-')
        return false;
    for (size_t i = 0; i < SSE_EPOCH_BYTES; i++) {
        if (!is_digit(text[i]) && !(text[i] >= 'a' && text[i] <= 'z'))
            return false;
    }
    for (size_t i = SSE_EPOCH_BYTES + 1; i < SSE_ID_BYTES; i++) {
        if (!is_digit(text[i]))
            return false;
        position = position * 10 + (uint64_t)(text[i] - '0');
    }
    *ret_epoch = text;
    *ret_position = position;
    return true;
}

/* Names by which the gateway itself, or EventSource, tells a client something. */
static bool is_own_name(const char *name, size_t name_n)
{
    static const char *const own[] = {"reset", "checkpoint", "expired", "open",
                                      "error", "ping",       "close"};

    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (bytes_are(name, name_n, own[i]))
            return true;
    }
    return false;
}

static const char *name_fault(const char *name, size_t name_n)
{
    if (name_n > SSE_NAME_BYTES_MAX)
        return "is longer than 128 bytes";
    for (size_t at = 0; at < name_n;) {
        uint32_t cp;
        size_t char_n = utf8_decode(name + at, name_n - at, &cp);

        if (char_n == 0)
            return "is not valid UTF-8";
        if (utf8_is_hidden(cp))
            return "has a control character or an invisible one";
        at += char_n;
    }
    /* clients take one space away */
    if (name_n > 0 && name[0] == ' ')
        return "begins with a space";
    if (is_own_name(name, name_n))
        return "is one that only the gateway may use";
    return NULL;
}

bool sse_check_name(const char *name, size_t name_n, const char **ret_why)
{
    const char *why = name_fault(name, name_n);

    if (why)
        *ret_why = why;
    return !why;
}
