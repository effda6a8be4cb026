/* SPDX-License-Identifier: MIT */
/* What a stream does about what is seen of its client.  See stream_internal.h. */
#include "config.h"

#include "base/peer.h"
#include "stream/stream_internal.h"

/* A client that takes longer than this for what it is sent is slow. */
#define KEEP_AFTER_MS 2000
/* A page that the client does not take for so long is only in the way. */
#define PAGE_UNREAD_MAX_MS 1000

/* ---- reports of the watch ---- */

static struct stream *stream_of_entry(struct stall_timer_entry *entry)
{
    return (struct stream *)((char *)entry - offsetof(struct stream, stall));
}

static void peer_gone(void *owner, bool is_closed)
{
    struct stream *stream = owner;

    stream->is_gone = is_closed;
    stream_end(stream, STREAM_END_LEFT);
}

/* A FIN alone cannot tell a client that left from one that only closed its sending half. */
static void peer_half_closed(void *owner)
{
    struct stream *stream = owner;

    if (!stream->half_closed)
        stream_add_control(stream, STREAM_HEARTBEAT);
    stream->half_closed = true;
}

static void peer_readable(void *owner, bool is_end)
{
    const struct stream *stream = owner;

    stream->host->ops->readable(stream->connection, is_end);
}

static void peer_has_room(void *owner)
{
    stream_direct_send_unsent(owner);
}

const struct peer_watch_reports stream_peer_reports = {
    .gone = peer_gone,
    .half_closed = peer_half_closed,
    .room = peer_has_room,
    .readable = peer_readable,
};

/* ---- looks of the stall timer ---- */

static int64_t host_timeout_ms(const struct stream *stream)
{
    return (int64_t)stream->host->timeout_s * 1000;
}

/* The peer takes what it is sent, however slowly: the timeouts of the host, which sees only what it
 * sends, and of the kernel begin anew. */
static void keep(struct stream *stream, int64_t now_ms)
{
    int64_t outstanding_ms = now_ms - stream->stall.progress.began_ms;

    if (stream->host->timeout_s == 0 || outstanding_ms < KEEP_AFTER_MS)
        return;
    stream->is_kept = true;
    peer_set_patience(stream->fd, outstanding_ms + host_timeout_ms(stream));
    if (!stream->suspended)
        stream->host->ops->extend_timeout(stream->host, stream->connection);
}

/* It has taken all: the kernel's timeout is what it was. */
static void keep_no_more(struct stream *stream)
{
    if (!stream->is_kept)
        return;
    stream->is_kept = false;
    peer_set_patience(stream->fd, host_timeout_ms(stream));
}

static void drop_unread_page(struct stream *stream, int64_t now_ms)
{
    bool waits = !stream->suspended || stream->unsent_n > 0;

    if (stream->page == NULL || !waits || now_ms - stream->filled_ms < PAGE_UNREAD_MAX_MS)
        return;
    stats_add(stream->host->streams->stats, STATS_PAGES_DROPPED, 1);
    stream_drop_page(stream);
}

/* While the host has the connection it may hold a chunk that the kernel has not been given, and a
 * stream that sends by itself may hold what is left of one: where it was the kernel that had no
 * memory, nothing else tells that it has some again. */
static void look_again_if_held(struct stream *stream, int64_t now_ms)
{
    stream_direct_send_unsent(stream);
    if (!stream->suspended || stream->unsent_n > 0)
        stall_timer_add(&stream->host->streams->stall_timer, &stream->stall, stream->heartbeat_ms,
                        now_ms);
}

static int ask_kernel(struct stall_timer_entry *entry, struct tcp_progress *ret_flow,
                      int64_t *ret_sent_ms)
{
    const struct stream *stream = stream_of_entry(entry);

    *ret_sent_ms = stream->sent_ms;
    return tcp_progress(stream->fd, ret_flow); /* if it fails, the watch tells why */
}

static void take_verdict(struct stall_timer_entry *entry, enum ack_progress_verdict verdict,
                         int64_t now_ms)
{
    struct stream *stream = stream_of_entry(entry);

    drop_unread_page(stream, now_ms);
    switch (verdict) {
    case ACK_PROGRESS_CLEAR:
        keep_no_more(stream);
        look_again_if_held(stream, now_ms);
        return;
    case ACK_PROGRESS_MOVES:
        keep(stream, now_ms);
        return;
    case ACK_PROGRESS_WAITS:
        return;
    case ACK_PROGRESS_STALLED:
        stream_end(stream, STREAM_END_STALLED);
        return;
    case ACK_PROGRESS_VANISHED:
        stream_end(stream, STREAM_END_VANISHED);
        return;
    }
}

const struct stall_timer_hooks stream_stall_hooks = {.ask = ask_kernel, .report = take_verdict};
