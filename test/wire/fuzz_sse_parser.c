/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a stream: the parser must read the same from them whole and in pieces.  The first
 * byte of the input chooses how it is cut, the rest is the stream.
 */
#include "wire/sse_parser.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n);

/* Small limits, so that short inputs reach them. */
static const struct sse_parser_limits limits = {64, 96};

/* A running fingerprint (FNV-1a) of all that was read. */
static void add(uint64_t *print, const void *bytes, size_t bytes_n)
{
    for (size_t i = 0; i < bytes_n; i++)
        *print = (*print ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    *print = (*print ^ bytes_n) * UINT64_C(1099511628211);
}

static int on_event(void *arg, const struct sse_parser_event *event)
{
    if (event->data_n > limits.event_bytes_max || event->name_n == 0)
        abort();
    if (memchr(event->id, '\0', event->id_n) || memchr(event->data, '\r', event->data_n))
        abort();
    add(arg, event->name, event->name_n);
    add(arg, event->data, event->data_n);
    add(arg, event->id, event->id_n);
    add(arg, &event->has_id, sizeof event->has_id);
    return 0;
}

static void on_retry(void *arg, uint64_t retry_ms)
{
    add(arg, &retry_ms, sizeof retry_ms);
}

/* Read a stream in pieces of 1 to `piece_max` bytes, each in a block of its own so that a
 * sanitizer sees its borders; 0: whole.  Returns the fingerprint. */
static uint64_t read_stream(const uint8_t *stream, size_t stream_n, size_t piece_max)
{
    uint64_t print = UINT64_C(14695981039346656037);
    struct sse_parser_handler handler = {on_event, on_retry, &print};
    struct sse_parser *reader = sse_parser_new(&limits, &handler, "first");
    int ret = 0;

    if (!reader)
        abort();
    for (size_t at = 0, turn = 0; at < stream_n && ret == 0; turn++) {
        size_t piece_n = piece_max == 0 ? stream_n : 1 + turn * 7 % piece_max;
        if (piece_n > stream_n - at)
            piece_n = stream_n - at;
        char *piece = malloc(piece_n);
        if (!piece)
            abort();
        memcpy(piece, stream + at, piece_n);
        ret = sse_parser_push(reader, piece, piece_n);
        free(piece);
        at += piece_n;
    }
    add(&print, &ret, sizeof ret);
    add(&print, sse_parser_last_id(reader), strlen(sse_parser_last_id(reader)));
    sse_parser_free(reader);
    return print;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n)
{
    if (input_n == 0)
        return 0;
    uint64_t whole = read_stream(input + 1, input_n - 1, 0);
    if (read_stream(input + 1, input_n - 1, 1) != whole)
        abort();
    if (read_stream(input + 1, input_n - 1, 1 + input[0] % 16) != whole)
        abort();
    return 0;
}
