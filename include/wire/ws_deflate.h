/* SPDX-License-Identifier: MIT */
/*
 * Text as permessage-deflate carries it (RFC 7692), without context takeover: each message is
 * packed by itself, so that one compressor serves all clients of a thread, and what it made serves
 * every client.
 */
#ifndef BUGLE_WS_DEFLATE_H
#define BUGLE_WS_DEFLATE_H

#include <stddef.h>

struct ws_deflate;

#define WS_DEFLATE_BYTES 268288

/* WS_DEFLATE_BYTES of memory, for one thread at a time.  NULL when there is none. */
struct ws_deflate *ws_deflate_new(void);
void ws_deflate_free(struct ws_deflate *deflater); /* accepts NULL */

/* Texts of fewer bytes are not packed; 0, as at first: all are. */
void ws_deflate_set_least(struct ws_deflate *deflater, size_t least);

/* Nor are longer ones: packing holds up a loop, this one for half a millisecond. */
#define WS_DEFLATE_TEXT_MAX 32768

/*
 * Pack a text.
 *
 * to  borrowed, `text_n` bytes that are written to in any case
 *
 * Returns how many bytes the packed text takes, for a frame with RSV1; 0 when it would not be
 * smaller (by five bytes at least) or not worth it, and then the text is to be sent as it is.
 *
 * Cost: 5 us for clearing tables, and 7 to 30 ns a byte.  Allocates nothing.
 */
size_t ws_deflate_pack(struct ws_deflate *deflater, const char *text, size_t text_n, char *to);

#endif
