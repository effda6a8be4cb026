/* SPDX-License-Identifier: MIT */
/*
 * What a stream sends by itself.  See stream_internal.h, and doc/design, "Sending past the
 * library", for why.
 *
 * While a connection is suspended its host has nothing of it to send and looks at nothing of it.
 * What the host would do for the next event is known: pull, put the length before the bytes and a
 * line end behind them (RFC 9112, 7.1), and hand that to one send().  Doing so here leaves out that
 * it resumes the connection, walks to it, and suspends it again.  The host finds nothing changed
 * when it has the connection next: for it no time has passed.
 *
 * A stream that answers by itself is suspended in the handler of its request and is never pulled
 * from: libmicrohttpd would make a response of a dozen allocations and send it in two system calls,
 * the head before the first chunk.  The host has the connection back when all is sent, and calls
 * the handler again, which has it closed.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "stream/stream_internal.h"

/* The length in hexadecimal digits with a line end behind it: of a chunk that is put together, and
 * of any. */
#define LENGTH_BYTES 6
#define LENGTH_BYTES_MAX 10
#define END_BYTES 2
#define CHUNK_DATA_MAX 32768
/* With less room than this the host may as well do it. */
#define CHUNK_DATA_MIN 128
/* Of data that is put together, where no room of the host bounds it. */
#define OWN_ROOM_BYTES 3072
/* Of one stream, before others have their turn. */
#define CHUNKS_MAX 4

void stream_note_room(struct stream *stream, char *room, size_t room_bytes)
{
    bool in_chunks = !stream->http_1_0;
    size_t most = CHUNK_DATA_MAX + LENGTH_BYTES + END_BYTES;

    stream->room = room;
    stream->room_bytes = (uint32_t)(room_bytes < most ? room_bytes : most);
    stream->sends_chunks =
        in_chunks && stream->is_watched && stream->host->sends_past && room_bytes >= CHUNK_DATA_MIN;
}

bool stream_sends_itself(const struct stream *stream)
{
    return stream->sends_chunks && (stream->state == STREAM_READY || stream->answers_itself);
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

static bool is_in_chunks(const struct stream *stream)
{
    return stream->host->wire->in_chunks;
}

__attribute__((noinline)) static ssize_t send_by_host(struct stream *stream, const char *bytes,
                                                      size_t bytes_n)
{
    const struct iovec all = {(char *)(uintptr_t)bytes, bytes_n};

    return stream->host->send(stream->connection, &all, 1);
}

/* Returns how many bytes the socket took, or -1: the connection is over. */
static ssize_t try_send(struct stream *stream, const char *bytes, size_t bytes_n)
{
    ssize_t sent;

    if (stream->host->send != NULL)
        return send_by_host(stream, bytes, bytes_n);
    do
        sent = send(stream->fd, bytes, bytes_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return sent;
}

/* What is left of the frame under way, where the event has it: as one chunk, with its length and a
 * line end, or by itself.  `from` bytes of that are out already. */
static ssize_t try_send_frame(struct stream *stream, size_t from, size_t *ret_chunk_n)
{
    char length[LENGTH_BYTES_MAX];
    struct stream_bytes frame = stream_bytes_of(stream, stream->partial);
    size_t data_n = frame.n - stream->partial_offset;
    char *begin = put_length(length + sizeof(length), data_n);
    struct iovec parts[] = {
        {begin, (size_t)(length + sizeof(length) - begin)},
        {(char *)(uintptr_t)frame.at + stream->partial_offset, data_n},
        {(char[]){'\r', '\n'}, END_BYTES},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t sent;

    if (!is_in_chunks(stream)) {
        message.msg_iov = &parts[1];
        message.msg_iovlen = 1;
    }
    *ret_chunk_n = 0;
    for (size_t i = 0; i < message.msg_iovlen; i++)
        *ret_chunk_n += message.msg_iov[i].iov_len;
    while (from >= message.msg_iov->iov_len) {
        from -= message.msg_iov->iov_len;
        message.msg_iov++;
        message.msg_iovlen--;
    }
    message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + from;
    message.msg_iov->iov_len -= from;
    if (stream->host->send != NULL)
        return stream->host->send(stream->connection, message.msg_iov, message.msg_iovlen);
    do
        sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return sent;
}

/* What is left of this chunk goes out before anything else. */
static void await_room(struct stream *stream, bool is_frame, size_t sent, size_t chunk_n)
{
    stream->unsent_is_frame = is_frame;
    stream->unsent_offset = (uint32_t)sent;
    stream->unsent_n = (uint32_t)(chunk_n - sent);
    stream_leave_ready(stream); /* one that ends meanwhile, since memory is short */
    peer_watch_change(&stream->host->streams->peer_watch, stream->fd, stream,
                      stream->host->wire->watches | PEER_WATCH_ROOM);
}

/* It stands meanwhile where pulls write, which nobody uses as long as the connection is suspended.
 * Without such a place it is allocated; a client of whom that cannot be had loses its connection,
 * and comes back to its place. */
static void keep_unsent(struct stream *stream, const char *bytes, size_t bytes_n)
{
    if (stream->answers_itself)
        stream->room = malloc(bytes_n);
    if (stream->room == NULL) {
        stream_end(stream, STREAM_END_LEFT);
        return;
    }
    assert(stream->answers_itself || bytes_n <= stream->room_bytes);
    memcpy(stream->room, bytes, bytes_n);
    await_room(stream, false, 0, bytes_n);
}

static void send_frame(struct stream *stream)
{
    size_t chunk_n;
    ssize_t sent = try_send_frame(stream, 0, &chunk_n);

    if (sent < 0)
        stream_end(stream, STREAM_END_LEFT);
    else if ((size_t)sent < chunk_n)
        await_room(stream, true, (size_t)sent, chunk_n);
    else
        stream_frame_is_out(stream);
}

static void send_all(struct stream *stream, const char *bytes, size_t bytes_n)
{
    ssize_t sent = try_send(stream, bytes, bytes_n);

    if (sent < 0)
        stream_end(stream, STREAM_END_LEFT);
    else if ((size_t)sent < bytes_n)
        keep_unsent(stream, bytes + sent, bytes_n - (size_t)sent);
}

/* Put around some data what belongs there.  Returns where it begins then, and where it ends. */
static char *wrap(const struct stream *stream, char *data, size_t data_n, char **ret_end)
{
    *ret_end = data + data_n;
    if (!is_in_chunks(stream))
        return data;
    *ret_end = (char *)memcpy(data + data_n, "\r\n", END_BYTES) + END_BYTES;
    return put_length(data, data_n);
}

static void send_copied(struct stream *stream, char *data, size_t data_n)
{
    char *end, *begin = wrap(stream, data, data_n, &end);

    send_all(stream, begin, (size_t)(end - begin));
}

static bool may_send(const struct stream *stream)
{
    return stream->state == STREAM_DRAINING && stream->unsent_n == 0;
}

static void idle_if_all_sent(struct stream *stream)
{
    if (may_send(stream) && stream_has_sent_all(stream))
        stream_move(stream, STREAM_IDLE);
}

/* What is put together, and behind it a frame that has no room there. */
static void send_next(struct stream *stream)
{
    char chunk[LENGTH_BYTES + CHUNK_DATA_MAX + END_BYTES];
    char *data = chunk + LENGTH_BYTES;
    ssize_t data_n = 0;

    if (!stream->sends_frame)
        data_n = stream_fill(stream, data, stream->room_bytes - LENGTH_BYTES - END_BYTES);
    if (data_n > 0)
        send_copied(stream, data, (size_t)data_n);
    if (may_send(stream) && stream->sends_frame)
        send_frame(stream);
    idle_if_all_sent(stream);
}

static void send_end(struct stream *stream)
{
    char bytes[STREAM_WIRE_END_BYTES];
    size_t n = stream->host->wire->put_end(stream, bytes);

    stream->sent_end = true;
    if (n > 0)
        send_all(stream, bytes, n);
}

/* Behind the last words the host has the connection again, and its handler ends it. */
static void send_last(struct stream *stream)
{
    char chunk[LENGTH_BYTES + OWN_ROOM_BYTES + END_BYTES];
    ssize_t data_n = 1;

    stream_leave_ready(stream);
    for (int i = 0; i < CHUNKS_MAX && data_n > 0 && stream->unsent_n == 0; i++) {
        data_n = stream->sent_end ? STREAM_PULL_ABORT
                                  : stream_fill(stream, chunk + LENGTH_BYTES, OWN_ROOM_BYTES);
        if (data_n > 0)
            send_copied(stream, chunk + LENGTH_BYTES, (size_t)data_n);
    }
    if (data_n < 0 && !stream->sent_end)
        send_end(stream);
    if (stream->unsent_n > 0)
        return;
    if (data_n > 0)
        stream_continue(stream);
    else
        stream_resume(stream);
}

void stream_direct_send(struct stream *stream)
{
    assert(stream->suspended && stream->unsent_n == 0);
    if (stream->state == STREAM_CLOSING) {
        send_last(stream);
        return;
    }
    stream_move(stream, STREAM_DRAINING);
    for (int i = 0; i < CHUNKS_MAX && may_send(stream); i++)
        send_next(stream);
    if (may_send(stream))
        stream_continue(stream);
    else if (stream->state == STREAM_IDLE)
        stream_give_pages_back(stream);
}

/* ---- an answer of its own ---- */

bool stream_may_answer_itself(const struct stream *stream)
{
    if (stream->host->wire->watches & PEER_WATCH_READS)
        return true;
    return stream->host->sends_past && stream->is_watched && !stream->http_1_0 &&
           stream->pool == NULL;
}

/* The first words follow the head without a gap. */
static void send_beginning(struct stream *stream, const char *head, size_t head_n)
{
    char bytes[STREAM_HEAD_BYTES + LENGTH_BYTES + OWN_ROOM_BYTES + END_BYTES];
    char *data = bytes + STREAM_HEAD_BYTES + LENGTH_BYTES;
    char *begin = data, *end = data;
    ssize_t data_n = stream_fill(stream, data, OWN_ROOM_BYTES);

    if (data_n > 0)
        begin = wrap(stream, data, (size_t)data_n, &end);
    begin = memcpy(begin - head_n, head, head_n);
    send_all(stream, begin, (size_t)(end - begin));
}

void stream_begin(struct stream *stream, const char *head, size_t head_n)
{
    assert(stream->answers_itself && head_n <= STREAM_HEAD_BYTES);
    stream->host->ops->suspend(stream->connection);
    stream->suspended = stream->sends_chunks = true;
    stream->room_bytes = OWN_ROOM_BYTES + LENGTH_BYTES + END_BYTES;
    if (stream->state == STREAM_DRAINING)
        send_beginning(stream, head, head_n);
    else
        send_all(stream, head, head_n);
    idle_if_all_sent(stream);
    if (stream->pool != NULL && stream->state == STREAM_IDLE) {
        stream->has_pages = true;
        stream_add_control(stream, 0); /* the host's handler reads there until it has returned */
    }
    if (stream->unsent_n == 0 && !stream->in_ready &&
        (stream->state == STREAM_DRAINING || stream->state == STREAM_CLOSING))
        stream_continue(stream);
}

bool stream_waits(const struct stream *stream)
{
    return stream->suspended;
}

/* ---- what the socket did not take ---- */

void stream_drop_unsent(struct stream *stream)
{
    if (stream->unsent_n == 0)
        return;
    stream->unsent_n = 0;
    if (stream->answers_itself) {
        free(stream->room);
        stream->room = NULL;
    }
    peer_watch_change(&stream->host->streams->peer_watch, stream->fd, stream,
                      stream->host->wire->watches);
}

static void unsent_is_out(struct stream *stream)
{
    stream_drop_unsent(stream);
    if (stream->unsent_is_frame)
        stream_frame_is_out(stream);
    stream_continue(stream);
}

static ssize_t try_send_unsent(struct stream *stream)
{
    size_t chunk_n;

    if (stream->unsent_is_frame)
        return try_send_frame(stream, stream->unsent_offset, &chunk_n);
    return try_send(stream, stream->room + stream->unsent_offset, stream->unsent_n);
}

/* Until the socket takes no more: only then the set reports that it has room again. */
void stream_direct_send_unsent(struct stream *stream)
{
    while (stream->unsent_n > 0) {
        ssize_t sent = try_send_unsent(stream);

        if (sent < 0)
            stream_end(stream, STREAM_END_LEFT);
        if (sent <= 0)
            return;
        stream->unsent_offset += (uint32_t)sent;
        if ((uint32_t)sent == stream->unsent_n)
            unsent_is_out(stream);
        else
            stream->unsent_n -= (uint32_t)sent;
    }
}
