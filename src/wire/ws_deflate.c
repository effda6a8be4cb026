/* SPDX-License-Identifier: MIT */
/* Deflating.  See ws_deflate.h. */
#include "config.h"
#include "wire/ws_deflate.h"

#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#define LEVEL 6
#define WINDOW_BITS 15
#define MEMORY_LEVEL 8
/* What a flush ends with, and a message leaves out (RFC 7692 section 7.2.1): 00 00 FF FF. */
#define TAIL_BYTES 4

struct ws_deflate {
    z_stream stream;
    size_t least;
};

struct ws_deflate *ws_deflate_new(void)
{
    struct ws_deflate *deflater = calloc(1, sizeof(*deflater));

    if (deflater == NULL)
        return NULL;
    if (deflateInit2(&deflater->stream, LEVEL, Z_DEFLATED, -WINDOW_BITS, MEMORY_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
        free(deflater);
        return NULL;
    }
    return deflater;
}

void ws_deflate_free(struct ws_deflate *deflater)
{
    if (deflater == NULL)
        return;
    deflateEnd(&deflater->stream);
    free(deflater);
}

void ws_deflate_set_least(struct ws_deflate *deflater, size_t least)
{
    deflater->least = least;
}

size_t ws_deflate_pack(struct ws_deflate *deflater, const char *text, size_t text_n, char *to)
{
    z_stream *stream = &deflater->stream;

    if (text_n < deflater->least || text_n <= TAIL_BYTES || text_n > WS_DEFLATE_TEXT_MAX ||
        deflateReset(stream) != Z_OK)
        return 0;
    stream->next_in = (const Bytef *)text;
    stream->avail_in = (uInt)text_n;
    stream->next_out = (Bytef *)to;
    stream->avail_out = (uInt)text_n;
    /* Without room left there may be more to come. */
    if (deflate(stream, Z_SYNC_FLUSH) != Z_OK || stream->avail_out == 0)
        return 0;
    return text_n - stream->avail_out - TAIL_BYTES;
}
