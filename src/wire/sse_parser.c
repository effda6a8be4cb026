/* SPDX-License-Identifier: MIT */
/*
 * The stream parser of WHATWG HTML 9.2.6.  A line that ends within the piece at hand is read in
 * place; only what a piece leaves unfinished is kept.  So the work of a stream is one search for
 * line ends and one copy of its data, however it was cut.
 */
#include "config.h"

#include "wire/sse_parser.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/bytes.h"

#define BOM "\xEF\xBB\xBF"
#define BOM_BYTES 3

/* Bytes that grow, with a NUL after the last; `bytes` is NULL until the first. */
struct text {
    char *bytes;
    size_t bytes_n;
    size_t room;
};

struct sse_parser {
    struct sse_parser_limits limits;
    struct sse_parser_handler handler;
    size_t bom_n;    /* bytes of a byte order mark seen; BOM_BYTES once it is decided */
    bool after_cr;   /* a line feed would still belong to the line before */
    bool in_comment; /* the unfinished line began with a colon and is not kept */
    struct text line;
    struct text name;
    struct text data; /* each line with a line feed after it */
    bool has_id;      /* the unfinished block has an id line, and `id` is its value */
    struct text id;
    struct text last_id;
};

/* The next of each character that ends a line, so that none is searched for twice; NULL before
 * the first search, the end of the bytes when there is none. */
struct line_ends {
    const char *lf;
    const char *cr;
};

static const char *text_get(const struct text *text)
{
    return text->bytes ? text->bytes : "";
}

static int text_append(struct text *text, const char *bytes, size_t bytes_n)
{
    if (text->room - text->bytes_n < bytes_n + 1) {
        size_t room = text->room ? text->room : 64;
        while (room - text->bytes_n < bytes_n + 1)
            room *= 2;
        char *grown = realloc(text->bytes, room);
        if (!grown)
            return -ENOMEM;
        text->bytes = grown;
        text->room = room;
    }
    memcpy(text->bytes + text->bytes_n, bytes, bytes_n);
    text->bytes_n += bytes_n;
    text->bytes[text->bytes_n] = '\0';
    return 0;
}

static void text_empty(struct text *text)
{
    text->bytes_n = 0;
    if (text->bytes)
        text->bytes[0] = '\0';
}

static int text_set(struct text *text, const char *bytes, size_t bytes_n)
{
    text_empty(text);
    return text_append(text, bytes, bytes_n);
}

struct sse_parser *sse_parser_new(const struct sse_parser_limits *limits,
                                  const struct sse_parser_handler *handler, const char *last_id)
{
    struct sse_parser *reader = calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    reader->limits = *limits;
    reader->handler = *handler;
    if (last_id && text_append(&reader->last_id, last_id, strlen(last_id)) < 0) {
        sse_parser_free(reader);
        return NULL;
    }
    return reader;
}

void sse_parser_free(struct sse_parser *reader)
{
    if (!reader)
        return;
    free(reader->line.bytes);
    free(reader->name.bytes);
    free(reader->data.bytes);
    free(reader->id.bytes);
    free(reader->last_id.bytes);
    free(reader);
}

static void forget_block(struct sse_parser *reader)
{
    text_empty(&reader->name);
    text_empty(&reader->data);
    reader->has_id = false;
}

void sse_parser_begin(struct sse_parser *reader)
{
    reader->bom_n = 0;
    reader->after_cr = false;
    reader->in_comment = false;
    text_empty(&reader->line);
    forget_block(reader);
}

const char *sse_parser_last_id(const struct sse_parser *reader)
{
    return text_get(&reader->last_id);
}

static int take_data(struct sse_parser *reader, const char *value, size_t value_n)
{
    if (reader->data.bytes_n + value_n > reader->limits.event_bytes_max)
        return -EMSGSIZE;
    int ret = text_append(&reader->data, value, value_n);
    return ret < 0 ? ret : text_append(&reader->data, "\n", 1);
}

static int take_id(struct sse_parser *reader, const char *value, size_t value_n)
{
    if (memchr(value, '\0', value_n))
        return 0;
    reader->has_id = true;
    return text_set(&reader->id, value, value_n);
}

static int take_retry(struct sse_parser *reader, const char *value, size_t value_n)
{
    uint64_t retry_ms = 0;
    for (size_t i = 0; i < value_n; i++) {
        if (value[i] < '0' || value[i] > '9')
            return 0;
        if (__builtin_mul_overflow(retry_ms, UINT64_C(10), &retry_ms) ||
            __builtin_add_overflow(retry_ms, (uint64_t)(value[i] - '0'), &retry_ms))
            retry_ms = UINT64_MAX;
    }
    if (value_n > 0 && reader->handler.on_retry)
        reader->handler.on_retry(reader->handler.arg, retry_ms);
    return 0;
}

static int take_field(struct sse_parser *reader, const char *line, size_t line_n)
{
    const char *colon = memchr(line, ':', line_n);
    size_t name_n = colon ? (size_t)(colon - line) : line_n;
    const char *value = colon ? colon + 1 : line + line_n;
    size_t value_n = (size_t)(line + line_n - value);
    if (value_n > 0 && value[0] == ' ') {
        value++;
        value_n--;
    }
    if (bytes_are(line, name_n, "data"))
        return take_data(reader, value, value_n);
    if (bytes_are(line, name_n, "event"))
        return text_set(&reader->name, value, value_n);
    if (bytes_are(line, name_n, "id"))
        return take_id(reader, value, value_n);
    if (bytes_are(line, name_n, "retry"))
        return take_retry(reader, value, value_n);
    return 0;
}

/* The blank line: the block's id counts even when it has no data and so is no event. */
static int finish_block(struct sse_parser *reader)
{
    if (reader->has_id) {
        struct text was = reader->last_id;
        reader->last_id = reader->id;
        reader->id = was;
    }
    int ret = 0;
    if (reader->data.bytes_n > 0) {
        reader->data.bytes[--reader->data.bytes_n] = '\0';
        bool is_named = reader->name.bytes_n > 0;
        struct sse_parser_event event = {
            .name = is_named ? reader->name.bytes : "message",
            .name_n = is_named ? reader->name.bytes_n : strlen("message"),
            .data = reader->data.bytes,
            .data_n = reader->data.bytes_n,
            .id = text_get(&reader->last_id),
            .id_n = reader->last_id.bytes_n,
            .has_id = reader->has_id,
        };
        ret = reader->handler.on_event(reader->handler.arg, &event);
    }
    forget_block(reader);
    return ret < 0 ? ret : 0;
}

static int sse_parser_take_line(struct sse_parser *reader, const char *line, size_t line_n)
{
    if (line_n == 0)
        return finish_block(reader);
    if (line[0] == ':')
        return 0;
    if (line_n > reader->limits.line_bytes_max)
        return -EMSGSIZE;
    return take_field(reader, line, line_n);
}

/* Keep the beginning or the middle of a line whose end has not come yet. */
static int keep_piece(struct sse_parser *reader, const char *bytes, size_t bytes_n)
{
    if (bytes_n == 0 || reader->in_comment)
        return 0;
    if (reader->line.bytes_n == 0 && bytes[0] == ':') {
        reader->in_comment = true;
        return 0;
    }
    if (bytes_n > reader->limits.line_bytes_max - reader->line.bytes_n)
        return -EMSGSIZE;
    return text_append(&reader->line, bytes, bytes_n);
}

/* The last piece of a line, without its end. */
static int sse_parser_end_line(struct sse_parser *reader, const char *bytes, size_t bytes_n)
{
    if (reader->line.bytes_n == 0 && !reader->in_comment)
        return sse_parser_take_line(reader, bytes, bytes_n);
    int ret = keep_piece(reader, bytes, bytes_n);
    if (ret == 0 && !reader->in_comment)
        ret = sse_parser_take_line(reader, reader->line.bytes, reader->line.bytes_n);
    reader->in_comment = false;
    text_empty(&reader->line);
    return ret;
}

/* Drop a byte order mark that begins the stream, even one that comes in pieces.  What only looked
 * like one belongs to the first line.  Returns the bytes used, or a negative errno. */
static ssize_t skip_bom(struct sse_parser *reader, const char *bytes, size_t bytes_n)
{
    size_t used = 0;
    while (reader->bom_n < BOM_BYTES && used < bytes_n) {
        if (bytes[used] != BOM[reader->bom_n]) {
            int ret = keep_piece(reader, BOM, reader->bom_n);
            if (ret < 0)
                return ret;
            break;
        }
        used++;
        reader->bom_n++;
    }
    if (used < bytes_n)
        reader->bom_n = BOM_BYTES;
    return (ssize_t)used;
}

/* The next LF or CR from `at` on, or `end`. */
static const char *find_line_end(struct line_ends *ends, const char *at, const char *end)
{
    if (!ends->lf || ends->lf < at) {
        ends->lf = memchr(at, '\n', (size_t)(end - at));
        if (!ends->lf)
            ends->lf = end;
    }
    if (!ends->cr || ends->cr < at) {
        ends->cr = memchr(at, '\r', (size_t)(end - at));
        if (!ends->cr)
            ends->cr = end;
    }
    return ends->lf < ends->cr ? ends->lf : ends->cr;
}

int sse_parser_push(struct sse_parser *reader, const char *bytes, size_t bytes_n)
{
    if (bytes_n == 0)
        return 0;
    ssize_t bom_n = skip_bom(reader, bytes, bytes_n);
    if (bom_n < 0)
        return (int)bom_n;
    const char *at = bytes + bom_n;
    const char *end = bytes + bytes_n;
    struct line_ends ends = {NULL, NULL};
    while (at < end) {
        bool is_second_half = reader->after_cr && *at == '\n';
        reader->after_cr = false;
        if (is_second_half) {
            at++;
            continue;
        }
        const char *line_end = find_line_end(&ends, at, end);
        if (line_end == end)
            return keep_piece(reader, at, (size_t)(end - at));
        int ret = sse_parser_end_line(reader, at, (size_t)(line_end - at));
        if (ret < 0)
            return ret;
        reader->after_cr = *line_end == '\r';
        at = line_end + 1;
    }
    return 0;
}
