/* SPDX-License-Identifier: MIT */
/* Inflating.  See ws_inflate.h. */
#include "config.h"
#include "wire/ws_inflate.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#define ZLIB_CONST
#include <zlib.h>

#define WINDOW_BITS 15
/* What zlib says of a stream that stands between two blocks, on the border of a byte: neither bits
 * that are left nor a last block. */
#define BETWEEN_BLOCKS 128

struct ws_inflate {
    z_stream stream;
    size_t held_bytes;
    bool has_begun; /* something came */
    bool has_ended; /* with a block that was the last, and nothing came after it */
};

static void *allocate(void *opaque, uInt items_n, uInt item_bytes)
{
    struct ws_inflate *inflater = opaque;
    void *memory = calloc(items_n, item_bytes);

    if (memory != NULL)
        inflater->held_bytes += (size_t)items_n * item_bytes;
    return memory;
}

static void release(void *opaque, void *memory)
{
    (void)opaque;
    free(memory);
}

struct ws_inflate *ws_inflate_new(void)
{
    struct ws_inflate *inflater = calloc(1, sizeof(*inflater));

    if (inflater == NULL)
        return NULL;
    inflater->held_bytes = sizeof(*inflater);
    inflater->stream.zalloc = allocate;
    inflater->stream.zfree = release;
    inflater->stream.opaque = inflater;
    if (inflateInit2(&inflater->stream, -WINDOW_BITS) != Z_OK) {
        free(inflater);
        return NULL;
    }
    return inflater;
}

void ws_inflate_free(struct ws_inflate *inflater)
{
    if (inflater == NULL)
        return;
    inflateEnd(&inflater->stream);
    free(inflater);
}

static enum ws_inflate_result result_of(struct ws_inflate *inflater, int code)
{
    switch (code) {
    case Z_STREAM_END:
        inflater->has_ended = true;
        return WS_INFLATE_FINE;
    case Z_OK:
    case Z_BUF_ERROR: /* nothing to do without more input or room */
        return inflater->stream.avail_out == 0 ? WS_INFLATE_FULL : WS_INFLATE_FINE;
    case Z_MEM_ERROR:
        return WS_INFLATE_NO_MEMORY;
    default:
        return WS_INFLATE_BAD;
    }
}

static uInt at_most(size_t n)
{
    return n < UINT_MAX ? (uInt)n : UINT_MAX;
}

enum ws_inflate_result ws_inflate_more(struct ws_inflate *inflater, const char **in, size_t *in_n,
                                       char *to, size_t room, size_t *ret_n)
{
    z_stream *stream = &inflater->stream;
    enum ws_inflate_result result;

    inflater->has_begun |= *in_n > 0;
    stream->next_out = (Bytef *)to;
    stream->avail_out = at_most(room);
    do {
        if (inflater->has_ended && *in_n > 0) {
            inflateReset(stream);
            inflater->has_ended = false;
        }
        stream->next_in = (const Bytef *)*in;
        stream->avail_in = at_most(*in_n);
        result = result_of(inflater, inflate(stream, Z_SYNC_FLUSH));
        *in_n -= (size_t)((const char *)stream->next_in - *in);
        *in = (const char *)stream->next_in;
    } while (result == WS_INFLATE_FINE && *in_n > 0);
    *ret_n = (size_t)((char *)stream->next_out - to);
    return result;
}

void ws_inflate_tail(const struct ws_inflate *inflater, const char **ret_in, size_t *ret_n)
{
    static const char tail[] = {0x00, 0x00, (char)0xFF, (char)0xFF};

    *ret_in = tail;
    *ret_n = inflater->has_begun && !inflater->has_ended ? sizeof(tail) : 0;
}

bool ws_inflate_is_whole(const struct ws_inflate *inflater)
{
    return !inflater->has_begun || inflater->has_ended ||
           inflater->stream.data_type == BETWEEN_BLOCKS;
}

size_t ws_inflate_held_bytes(const struct ws_inflate *inflater)
{
    return inflater->held_bytes;
}
