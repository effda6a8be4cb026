/* SPDX-License-Identifier: MIT */
/*
 * Server-Sent Events as bytes: how an event is written (WHATWG HTML 9.2), and the ids that mark
 * a place in the history.  Pure functions; any thread.
 *
 * The order of the fields is part of the promise: `retry`, `event`, `data` lines, `id` last, one
 * blank line.  Some clients take an id over as soon as they read its line, so an event that is
 * cut before its end must not have shown its id yet.  Line ends are LF only.
 */
#ifndef BUGLE_SSE_H
#define BUGLE_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the gateway serves streams: the gate, the routes and the tools all ask for it. */
#define SSE_PATH "/events"

#define SSE_EPOCH_BYTES 12 /* [0-9a-z] */
#define SSE_POSITION_DIGITS 16
#define SSE_ID_BYTES (SSE_EPOCH_BYTES + 1 + SSE_POSITION_DIGITS) /* without the NUL */
#define SSE_POSITION_MAX UINT64_C(9999999999999999)
#define SSE_TAIL_BYTES (4 + SSE_ID_BYTES + 2) /* see sse_put_tail() */
#define SSE_NAME_BYTES_MAX 128
#define SSE_RETRY_MIN_MS 1000
#define SSE_RETRY_MAX_MS 3600000

/* What one event says.  All pointers are borrowed for the call. */
struct sse_fields {
    const char *name; /* event name; NULL, empty or "message" write no `event` line */
    size_t name_n;
    const char *data; /* any bytes of UTF-8; CRLF, CR and LF each end a line */
    size_t data_n;
    uint32_t retry_ms; /* 0: no `retry` line */
    bool with_id;      /* reserve room for an id, to be written by sse_put_id() */
};

/* Bytes the frame of these fields takes.  One pass over the data. */
size_t sse_frame_bytes(const struct sse_fields *fields);

/*
 * Write the frame.
 *
 * to             borrowed; room for sse_frame_bytes()
 * ret_id_offset  where the id goes when `with_id` is set (SSE_ID_BYTES bytes, filled with '0'
 *                until sse_put_id() writes it), else SIZE_MAX
 * ret_data_offset  where the first byte after "data: " of the first data line stands
 *
 * Returns the bytes written, always sse_frame_bytes().
 */
size_t sse_write_frame(char *to, const struct sse_fields *fields, size_t *ret_id_offset,
                       size_t *ret_data_offset);

/*
 * Parse a frame of sse_write_frame(), with any id.
 *
 * room        borrowed; `frame_n` bytes; takes the data, its lines joined by LF as clients do
 * ret_fields  its texts point into `frame` and `room`; an event without a name has NULL
 *
 * Returns whether it is such a frame; outputs are of no use if not.  One pass.
 */
bool sse_read_frame(const char *frame, size_t frame_n, char *room, struct sse_fields *ret_fields);

/*
 * Write SSE_ID_BYTES bytes, `<epoch>-<position>` with the position padded with zeros, so that
 * ids of one epoch sort as text.  No NUL is written.
 *
 * epoch     borrowed; SSE_EPOCH_BYTES bytes
 * position  at most SSE_POSITION_MAX
 */
void sse_put_id(char *to, const char *epoch, uint64_t position);

/* Write the end of every frame that has an id, the only part of it that the id decides:
 * SSE_TAIL_BYTES bytes, the `id` line and the blank line.  As sse_put_id() otherwise. */
void sse_put_tail(char *to, const char *epoch, uint64_t position);

/*
 * Read an id as a client sent it back.  Only the exact form of sse_put_id() is an id.
 *
 * ret_epoch  points into `text`, SSE_EPOCH_BYTES bytes
 *
 * Returns whether it is one; outputs are untouched if not.
 */
bool sse_parse_id(const char *text, size_t text_n, const char **ret_epoch, uint64_t *ret_position);

/* Whether a publisher may use this event name: at most SSE_NAME_BYTES_MAX bytes of UTF-8, no
 * hidden characters (utf8.h), no leading space, and not one of the gateway's own names.
 * On refusal `*ret_why` ends the sentence "the event name …". */
bool sse_check_name(const char *name, size_t name_n, const char **ret_why);

#endif
