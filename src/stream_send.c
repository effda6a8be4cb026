/* SPDX-License-Identifier: MIT */
/*
 * Chunks that a stream sends by itself.  See stream_internal.h, and doc/design section 4 for why.
 *
 * While a connection is suspended the library has nothing of it to send and looks at nothing of it.
 * What it would do for the next event is known: ask our reader, put the length before the bytes and
 * a line end behind them (RFC 9112, 7.1), and hand that to one send().  Doing so here leaves out
 * that it resumes the connection, walks to it, and suspends it again.  The library finds nothing
 * changed when it has the connection next: for it no time has passed.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "stream_internal.h"

/* The length in hexadecimal digits, and two line ends. */
#define LENGTH_BYTES 6
#define END_BYTES 2
#define CHUNK_DATA_MAX 32768
/* With less room than this the library may as well do it. */
#define CHUNK_DATA_MIN 128
/* As many as the library sends in one run of its daemon; then it goes on. */
#define CHUNKS_MAX 4

void stream_note_room(struct stream *stream, char *room, size_t room_bytes)
{
    bool in_chunks = room_bytes > STREAM_BLOCK_BYTES && !stream->http_1_0;
    size_t most = CHUNK_DATA_MAX + LENGTH_BYTES + END_BYTES;

    stream->room = room;
    stream->room_bytes = (uint32_t)(room_bytes < most ? room_bytes : most);
    stream->sends_chunks =
        in_chunks && stream->is_watched && stream->host->sends_past && room_bytes >= CHUNK_DATA_MIN;
}

bool stream_sends_itself(const struct stream *stream)
{
    return stream->sends_chunks && stream->state == STREAM_READY && stream->partial == NULL &&
           stream->page == NULL && !stream->is_behind;
}

/* ---- a chunk ---- */

/* The bytes before the data.  Returns where the chunk begins. */
static char *put_length(char *data, size_t data_n)
{
    char *begin = data;

    *--begin = '\n';
    *--begin = '\r';
    for (; data_n > 0; data_n >>= 4)
        *--begin = "0123456789ABCDEF"[data_n & 0xf];
    return begin;
}

/* Returns how many bytes the socket took, or -1: the connection is over. */
static ssize_t put_out(struct stream *stream, const char *bytes, size_t bytes_n)
{
    ssize_t sent;

    do
        sent = send(stream->fd, bytes, bytes_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return sent;
}

/* Nothing may be sent before the rest of this chunk.  It stands meanwhile where the library has its
 * chunks written, which is in nobody's use as long as the connection is suspended. */
static void keep_rest(struct stream *stream, const char *bytes, size_t bytes_n)
{
    assert(bytes_n <= stream->room_bytes);
    memcpy(stream->room, bytes, bytes_n);
    stream->rest_offset = 0;
    stream->rest_n = (uint32_t)bytes_n;
    stream->sends_chunks = false; /* the library goes on until all is sent */
    stream_leave_ready(stream);   /* one that ends meanwhile, for want of memory */
    departures_await_room(&stream->host->streams->departures, stream, true);
}

static void send_chunk(struct stream *stream)
{
    char chunk[LENGTH_BYTES + CHUNK_DATA_MAX + END_BYTES];
    char *data = chunk + LENGTH_BYTES;
    ssize_t data_n = stream_next(stream, data, stream->room_bytes - LENGTH_BYTES - END_BYTES);

    if (data_n <= 0)
        return;
    char *begin = put_length(data, (size_t)data_n);
    memcpy(data + data_n, "\r\n", END_BYTES);
    size_t chunk_n = (size_t)(data + data_n + END_BYTES - begin);
    ssize_t sent = put_out(stream, begin, chunk_n);
    if (sent < 0)
        stream_end(stream, STREAM_END_LEFT);
    else if ((size_t)sent < chunk_n)
        keep_rest(stream, begin + sent, chunk_n - (size_t)sent);
    else if (stream_has_said_all(stream))
        stream_move(stream, STREAM_IDLE);
}

static bool goes_on(const struct stream *stream)
{
    return stream->state == STREAM_DRAINING && stream->rest_n == 0 && stream->partial == NULL;
}

bool stream_send(struct stream *stream)
{
    assert(stream->suspended && stream->rest_n == 0);
    stream_move(stream, STREAM_DRAINING);
    for (int i = 0; i < CHUNKS_MAX && goes_on(stream); i++)
        send_chunk(stream);
    if (stream->state == STREAM_IDLE)
        stream_give_pages_back(stream);
    return stream->state != STREAM_DRAINING || stream->rest_n > 0;
}

/* ---- the rest of one ---- */

void stream_drop_rest(struct stream *stream)
{
    if (stream->rest_n == 0)
        return;
    stream->rest_n = 0;
    departures_await_room(&stream->host->streams->departures, stream, false);
}

void stream_send_rest(struct stream *stream)
{
    if (stream->rest_n == 0)
        return;
    ssize_t sent = put_out(stream, stream->room + stream->rest_offset, stream->rest_n);

    if (sent < 0) {
        stream_end(stream, STREAM_END_LEFT);
        return;
    }
    stream->rest_offset += (uint32_t)sent;
    if ((uint32_t)sent < stream->rest_n) {
        stream->rest_n -= (uint32_t)sent;
        return;
    }
    stream_drop_rest(stream);
    stream_go_on(stream);
}
