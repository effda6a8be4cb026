/* SPDX-License-Identifier: MIT */
/* What the files of this folder share of a stream, and nobody else. */
#ifndef BUGLE_STREAM_INTERNAL_H
#define BUGLE_STREAM_INTERNAL_H

#include <stdalign.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/jitter.h"
#include "base/log.h"
#include "history/history.h"
#include "stream/ack_progress.h"
#include "stream/eviction_log.h"
#include "stream/peer_watch.h"
#include "stream/ring.h"
#include "stream/stall_timer.h"
#include "stream/stream.h"
#include "stream/stream_expiry.h"
#include "stream/streams.h"
#include "stream/topic_index.h"

/* Not in the ring: behind it, or nowhere yet. */
#define STREAM_CURSOR_NONE UINT64_MAX

/* The longest end of a stream on any wire. */
#define STREAM_WIRE_END_BYTES 128

/* Frames of the gateway's own that are still to be sent, in the order in which they are. */
enum stream_pending {
    STREAM_PRELUDE = 1 << 0,    /* first comment and `retry` */
    STREAM_RESET = 1 << 1,      /* `reset` with `reset_reason` */
    STREAM_CHECKPOINT = 1 << 2, /* the position, to a client that would not learn it otherwise */
    STREAM_HEARTBEAT = 1 << 3,  /* heartbeat */
    STREAM_PONG = 1 << 4,       /* the answer to a Ping, see stream_ws.h */
    STREAM_SAID = 1 << 5,       /* texts of a conversation, see stream_ws.h */
    STREAM_FINAL = 1 << 6,      /* see enum stream_final */
};

/* Of those, what is sent even once the stream is ending: the beginning and what was said. */
#define STREAM_OUTLIVES_END (STREAM_PRELUDE | STREAM_SAID)

/* Bytes of a message, borrowed from it. */
struct stream_bytes {
    const char *at;
    size_t n;
};

/*
 * What a client is sent, and in which form: all that differs between the transports of streams.
 * The rest, from cursor to stalls, knows none of it.
 */
struct stream_wire {
    const char *transport; /* on the wire of monitors */

    /* What goes out of an event; `at` is NULL when out of memory, which does not happen again once
     * it did not.  NULL: its frame, as it is. */
    struct stream_bytes (*bytes)(const struct stream *stream, struct message *message);

    /* Make a frame of the gateway's own: a reference for the caller, NULL if there is none for
     * this. Notes the id that it tells.  Returns STREAM_END_NONE, or why the stream has to end. */
    enum stream_end (*make)(struct stream *stream, enum stream_pending what,
                            struct message **ret_frame);

    /* What stands behind the last frame of an end that does not cut.  Returns how many bytes; 0 for
     * none. */
    size_t (*put_end)(const struct stream *stream, char to[STREAM_WIRE_END_BYTES]);

    /* Bytes of its own that wait behind the frame under way; NULL: it has no such. */
    size_t (*waiting)(const struct stream *stream);

    bool in_chunks;   /* a length stands before each piece, and a line end behind it */
    bool tells_ids;   /* its clients learn their place */
    unsigned watches; /* PEER_WATCH_READS: its clients talk, its host hears them, and every stream
                       * answers by itself */
};

/* Of the caches. */
#define STREAM_LINE_BYTES 64

/* Events drive streams out of the caches, one after the other.  A delivery to a stream that is in
 * the wheel of looks already touches no more than three lines, from `filter` of the listener to the
 * flags of `stall`; one that the host sends, or that enters the wheel, one more. */
struct stream {
    alignas(STREAM_LINE_BYTES) TAILQ_ENTRY(stream) in_host;
    struct topic_index_listener listener; /* holds the filter */

    struct stream_host *host;
    enum stream_state state : 8;
    enum worker_prio prio : 8; /* while ready */
    enum stream_end end : 8;
    uint8_t pending; /* enum stream_pending */
    uint8_t reset_reason;
    bool suspended : 1;
    bool in_ready : 1; /* in the host's queue of its class */
    bool half_closed : 1;
    bool sent_final : 1;
    bool begins_anywhere : 1; /* not at a place of the client's own */
    bool page_asked : 1;      /* of the pager, or in the row of those who wait for that */
    bool page_waits : 1;      /* in that row */
    bool page_is_void : 1;    /* the one that was asked for: the history was cut meanwhile */
    bool is_kept : 1;         /* the kernel's timeout is longer than usual */
    bool is_behind : 1;       /* catches up with the past */
    bool gives_pages : 1;     /* its pool's pages, as soon as it is idle (stream_idle.c) */
    bool has_pages : 1;       /* the host has written there since */
    bool sends_chunks : 1;    /* by itself, when nothing hinders it (stream_direct.c) */
    bool is_watched : 1;      /* in `peer_watch` */
    bool sends_frame : 1;     /* `partial` as a chunk of its own, from where it stands */
    bool unsent_is_frame : 1;
    bool http_1_0 : 1;
    bool answers_itself : 1; /* its whole answer is sent past the host */
    bool is_gone : 1;        /* its socket is closed already: there is nothing to cut */
    bool sent_end : 1;       /* of an answer of its own: what stands behind the last frame */
    bool is_unfound : 1;     /* not in the index any more, though it has a filter */
    bool awaits_log : 1;     /* for the shared log's word on its id (stream_await.c) */
    bool in_envelope : 1;    /* `options.envelope`, where a delivery looks */

    uint64_t cursor;         /* next slot of the ring; STREAM_CURSOR_NONE: see `position` */
    uint64_t woken_by;       /* a slot that the index has found to match */
    uint64_t live_from;      /* slots before this one are replay to the stream */
    uint64_t position;       /* last event sent or passed over */
    uint64_t last_id_sent;   /* last id on the wire; UINT64_MAX: none yet */
    struct message *partial; /* a frame that is part sent, or about to be */
    struct history_page *page;
    int fd;
    uint32_t room_bytes; /* of `room` */
    uint32_t unsent_n; /* bytes left of a chunk that was sent in part, of `partial` or in `room` */
    uint32_t heartbeat_ms;

    int64_t filled_ms; /* when it last was asked for what goes out next */
    int64_t sent_ms;
    int64_t id_sent_ms;
    uint64_t events_sent;
    uint64_t bytes_sent;
    struct stall_timer_entry stall; /* the looks at what its client takes */
    void *connection;               /* of the host */
    void *reader;                   /* see stream_set_reader() */
    char *room;                     /* where the last pull wrote; nobody's while suspended */
    union {
        TAILQ_ENTRY(stream) in_waiting; /* for a page */
        struct stream_await *await;     /* while `awaits_log` */
    };
    uint32_t unsent_offset;
    uint32_t partial_offset;
    uint32_t page_index;
    uint32_t promised;    /* bytes that its end will set free; see memory_pressure.h */
    uint32_t asked_bytes; /* of what it asked for: see topic_index_last_bytes() */
    uint32_t pool_bytes;  /* 0: not known yet */
    char *pool;           /* that the host keeps the connection in; NULL: nothing to give back */

    int64_t since_ms;          /* >= 0: begin here, position not known yet */
    uint64_t last_before;      /* of a search for the latest, see page_reader_request; */
    uint16_t last_n;           /* so many were asked for; 0: it began elsewhere, or has begun */
    uint16_t last_left_n;      /* are still to be found */
    struct stream_grant grant; /* holds what it names */
    uint64_t id;
    int64_t started_ms;
    struct peer peer;
    struct stream_options options;          /* in the room behind the port: one line less */
    const void *owners[TOPIC_SHARE_OWNERS]; /* of its rare shapes */
};

/* Those lines. */
#define STREAM_HOT_BEGIN STREAM_LINE_BYTES
#define STREAM_HOT_END (4 * STREAM_LINE_BYTES)
_Static_assert(offsetof(struct stream, listener.filter) >= STREAM_HOT_BEGIN &&
                   offsetof(struct stream, stall.progress.is_patient) < STREAM_HOT_END,
               "a delivery touches more than three lines of a stream");

/* To be offered an event shortly: ask for what that touches. */
static inline void stream_fetch_for_offer(const struct stream *stream)
{
    __builtin_prefetch((const char *)stream + STREAM_HOT_BEGIN, 1);
    __builtin_prefetch((const char *)stream + STREAM_HOT_BEGIN + STREAM_LINE_BYTES, 1);
}

/* When the streams of a host are to be looked at.  The entries of all hosts lie side by side, since
 * they are gone through several times a second, when a host's own memory is in no cache any more.
 */
struct stream_host_due {
    struct stream_host *host;
    int64_t heartbeat_ms;  /* for heartbeats */
    int64_t checkpoint_ms; /* and for checkpoints, unless the ring's position is still this */
    uint64_t last_id_sent; /* one that all of its streams know; UINT64_MAX: there is none */
    int64_t token_ms;      /* wall clock: when the first token of its streams ends */
};

struct streams {
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct hub *hub;
    struct page_reader *pager;
    struct stats *stats;
    struct ring *ring;
    const struct lineage *lineage; /* of the order that the ring has: ids are told in its epoch */
    struct topic_index *index;
    struct message *heartbeat_frame; /* one frame for all heartbeats that are no events */
    struct ws_deflate *deflater;     /* NULL: no stream has asked for packed texts yet */
    struct message *ws_pong_frame;   /* and so for WebSockets */
    struct message *ws_ping_frame;
    struct jitter jitter;
    struct stream_host_due *hosts; /* each at its place */
    size_t hosts_n;
    size_t hosts_room;
    struct stall_timer stall_timer;
    struct peer_watch peer_watch;
    struct eviction_log *eviction_log;
    struct stream_list waiting; /* for a page, until another stream has done with its own */
    TAILQ_HEAD(stream_awaits, stream_await) awaits; /* for the shared log's word */
    uint64_t awaits_until;     /* and the position of the ring at which one of those goes on */
    struct worker_job recheck; /* stream_expiry.h */
    size_t rechecked_n;        /* slots that it has looked at */
    struct stream_expiry_judge judge;
    size_t pages_n;             /* asked for or held */
    uint64_t compared_turn;     /* the worker's turn in which there are */
    size_t compares_left;       /* so many comparisons left (stream_fill.c) */
    int64_t pressure_looked_ms; /* memory_pressure.h: the last look */
    struct log_valve pressure_valve;
    size_t count;

    struct stream **slots; /* by the low half of the id */
    uint32_t *generations;
    size_t slots_n;
    size_t free_hint;

    bool draining;
    enum stream_end drain_end;
    int64_t drain_began_ms;
    int64_t drain_window_ms;
    size_t drain_total;
    size_t drain_ended;
};

/* Good until a host is added or removed. */
static inline struct stream_host_due *stream_host_due(const struct stream_host *host)
{
    return &host->streams->hosts[host->place];
}

/*
 * What goes out next, by whichever way.
 *
 * Returns the bytes written to `buf`, of which there is room for `max`; 0 when there is nothing:
 * then the stream has moved to the state in which it waits, and is suspended; or an end as
 * stream_pull().  Of a stream that sends by itself `sends_frame` tells whether, behind those bytes,
 * the frame in `partial` is to go out, which had no room.
 */
ssize_t stream_fill(struct stream *stream, char *buf, size_t max);

/* ---- stream_envelope.c: events in an envelope, of Server-Sent Events ---- */

/* As `bytes` of the wire. */
struct stream_bytes stream_envelope_bytes(struct message *message);

/* Whether this stream has an event in a form that no other has. */
static inline bool stream_envelope_is_own(const struct stream *stream,
                                          const struct message *message)
{
    return stream->in_envelope && message->users_n > 1;
}

/* That form.  Gives one reference to a frame of the gateway's own; NULL when out of memory. */
struct message *stream_envelope_make(const struct stream *stream, struct message *message);

/* What goes out of a message, an event or a frame of the gateway's own. */
static inline struct stream_bytes stream_bytes_of(const struct stream *stream,
                                                  struct message *message)
{
    const struct stream_wire *wire = stream->host->wire;

    if (message->kind == MESSAGE_CONTROL || (wire->bytes == NULL && !stream->in_envelope))
        return (struct stream_bytes){message->frame, message->frame_n};
    return stream->in_envelope ? stream_envelope_bytes(message) : wire->bytes(stream, message);
}

/* ---- stream_frames.c: of the frames of the gateway's own, what all wires have ---- */

/* As `make` of the wire, and counts it. */
enum stream_end stream_make_frame(struct stream *stream, enum stream_pending what,
                                  struct message **ret_frame);

/* Uniform in 2/3 to 2 times stream.retry, so that clients which lost their server together do not
 * come back together. */
unsigned stream_retry_ms(const struct stream *stream);

/* The members of a `reset` in JSON, without braces. */
#define STREAM_RESET_BYTES (64 + 2 * SSE_ID_BYTES)
void stream_write_reset(const struct stream *stream, char to[STREAM_RESET_BYTES]);

/* An id, as it is told: of this position. */
void stream_note_id(struct stream *stream, uint64_t position);

/* ---- stream.c ---- */

/* Look for the latest events from the start, by the filter that it has now. */
void stream_begin_search(struct stream *stream);

/* ---- stream_filter.c: what it asks for ---- */

/* Have it found by what `filter` accepts.  As topic_index_add(). */
int stream_enter_index(struct stream *stream, struct filter *filter);
void stream_leave_index(struct stream *stream);

/* ---- stream_fill.c: what goes out next ---- */

/* `partial` is sent. */
void stream_frame_is_out(struct stream *stream);

/* Whether the next call would do no more than move the stream to IDLE. */
bool stream_has_sent_all(const struct stream *stream);

/* ---- stream_direct.c: chunks that a stream sends by itself ---- */

/* The host has the next chunk written to `room`, borrowed for as long as the connection: note it,
 * and whether later ones need the host at all. */
void stream_note_room(struct stream *stream, char *room, size_t room_bytes);

/* Whether what a stream in its host's queue has to send can go past the host. */
bool stream_sends_itself(const struct stream *stream);

/* Whether a new stream needs no answer of the host's.  What is worth giving back of a large pool
 * would be read by the host until its handler has returned, so there it does. */
bool stream_may_answer_itself(const struct stream *stream);

/* Send it, in a few chunks, and become ready again if there is more.  A system call for each chunk,
 * of which one is as large as an event, if the socket takes that much.  Behind the end of an answer
 * of its own the host is left to end the connection. */
void stream_direct_send(struct stream *stream);

/* The socket has room: send what is left of a chunk, if there is any, and then go on. */
void stream_direct_send_unsent(struct stream *stream);

/* Forget what is left of a chunk: the connection is over. */
void stream_drop_unsent(struct stream *stream);

/* Have the host go on with the connection, in its next run (stream.c). */
void stream_resume(struct stream *stream);

/* ---- stream_idle.c: what a stream keeps of its connection ---- */

/* A chunk is about to go out: remember if the stream had been idle before it. */
void stream_note_chunk(struct stream *stream);

/* All is sent: give the whole pages of the connection's pool back if the host has used them, and
 * if the stream has not been idle before or was idle long before what it sent last.  One system
 * call then, none at a busy stream. */
void stream_give_pages_back(struct stream *stream);

/* Move a stream to another state; asserts that the step is a legal one. */
void stream_move(struct stream *stream, enum stream_state to);

/* Nothing to send for now.  Harmless when it is not in its host's queue. */
void stream_leave_ready(struct stream *stream);

/* Nothing of the stream's own is under way any more: ready for what comes next. */
void stream_continue(struct stream *stream);

/* Go on from a position other than the client's, and have it told why. */
void stream_reset(struct stream *stream, enum stream_reset reason, uint64_t position);

/* Have a frame of the gateway's own sent; wakes an idle stream. */
void stream_add_control(struct stream *stream, enum stream_pending what);

/* Take a cursor from an event, if the stream is idle and the event is new to it. */
void stream_offer(struct stream *stream, uint64_t sequence, const struct message *message,
                  enum worker_prio prio);

/* ---- pages of the history ---- */

/* Take the answer to a page request; takes the request. */
void stream_page_done(struct stream *stream, struct page_reader_request *request);

/* Drop a page that nobody reads; the stream asks again when its client goes on. */
void stream_drop_page(struct stream *stream);

/* The place up to which a stream has everything, seen from now. */
uint64_t stream_passed(const struct stream *stream);

/* ---- stream_cut.c: a history that has lost events ---- */

/* As streams_batch() has it.  Costs a look at each stream. */
void stream_cut_all(struct streams *streams, enum hub_cut cut, uint64_t position);

/* ---- stream_await.c: places that are open until the shared log was asked ---- */

/* Have a stream that begins wait.  Returns 0 or -ENOMEM. */
int stream_await_begin(struct stream *stream, const char *id, size_t id_n);

/* It waits no more.  Harmless when it did not. */
void stream_await_end(struct stream *stream);

/* Of the id of one that waits. */
uint64_t stream_await_position(const struct stream *stream);

/* The ring has come to `awaits_until`. */
void stream_await_reached(struct streams *streams);

/* Look at all that wait, by the log's last word.  Costs nothing while none does. */
void stream_await_look(struct streams *streams);

/* Table of ids.  Returns 0 or -ENOMEM; sets stream->id. */
int streams_enter(struct streams *streams, struct stream *stream);
void streams_leave(struct streams *streams, struct stream *stream);

/* ---- stream_peer.c: what is seen of the client ---- */

extern const struct peer_watch_reports stream_peer_reports;
extern const struct stall_timer_hooks stream_stall_hooks;

/* ---- heartbeat.c ---- */

/* Have idle streams send the heartbeats and checkpoints that are due.  Costs a look at each host,
 * and at the streams of those that have one which is due. */
void heartbeat_tick(struct streams *streams, int64_t now_ms);

/* ---- replay_pages.c: pages of the history, of which a worker asks for so many at once ---- */

/* Ask the pager for the stream's next page, now or when there are fewer.  Returns 0 or -ENOMEM. */
int replay_pages_ask(struct streams *streams, struct stream *stream);

/* The stream does not wait for a page any more.  Harmless when it did not. */
void replay_pages_stop_waiting(struct streams *streams, struct stream *stream);

/* A page that was asked for is gone, or never came: the turn is the next one's. */
void replay_pages_returned(struct streams *streams);

/* Give pages to those who wait, the first first. */
void replay_pages_hand_out(struct streams *streams);

/* Note whether the stream catches up with the past. */
void stream_set_behind(struct stream *stream, bool is_behind);

#endif
