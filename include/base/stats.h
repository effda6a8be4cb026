/* SPDX-License-Identifier: MIT */
/*
 * Counters and gauges: a table of names, and a block of numbers for each thread that counts.
 *
 * A block is written by one thread and read by any, so an update is a plain load and store
 * without a lock or a locked instruction.  Readers add the blocks up.
 */
#ifndef BUGLE_STATS_H
#define BUGLE_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/* name; is it a gauge, and one sentence, for check_docs.sh, which holds the manual to them */
#define STATS_ROWS(row)                                                                            \
    row(CONNECTIONS_ACCEPTED, connections_accepted, false, "sockets accepted")                     \
    row(CONNECTIONS_OPEN, connections_open, true, "sockets open now")                              \
    row(CONNECTIONS_WAITING, connections_waiting, true, "sockets without a whole request so far")  \
    row(CONNECTIONS_RESTING, connections_resting, true, "connections between two requests")        \
    row(CONNECTIONS_SHED, connections_shed, false, "sockets closed at once: no descriptors left")  \
    row(CONNECTIONS_CROWDED_OUT, connections_crowded_out, false,                                   \
        "idle connections closed for new ones")                                                    \
    row(CONNECTIONS_REFUSED, connections_refused, false, "sockets closed at limits.connections")   \
    row(CONNECTIONS_REFUSED_ADDRESS, connections_refused_address, false,                           \
        "sockets closed at limits.connections_per_address")                                        \
    row(PROXY_HEADERS_REFUSED, proxy_headers_refused, false,                                       \
        "sockets closed: no PROXY header, or an untrusted peer")                                   \
    row(ACCEPT_WAITS, accept_waits, false, "times accepting waited for limits.accept_rate")        \
    row(ACCEPT_PAUSES, accept_pauses, false, "times accepting paused: no descriptors left")        \
    row(HEADS_REFUSED, heads_refused, false, "request heads refused as unsound")                   \
    row(HEADS_TIMED_OUT, heads_timed_out, false, "sockets closed at the header deadline")          \
    row(TLS_HELLOS_REFUSED, tls_hellos_refused, false, "sockets of tls.listen that spoke no TLS")  \
    row(TLS_HANDSHAKES_BEGUN, tls_handshakes_begun, false, "TLS handshakes begun")                 \
    row(TLS_HANDSHAKES, tls_handshakes, false, "of them, those that were done")                    \
    row(TLS_RESUMED, tls_resumed, false, "of these, resumptions of an earlier session")            \
    row(TLS_HANDSHAKES_FAILED, tls_handshakes_failed, false, "TLS handshakes broken off")          \
    row(TLS_HANDSHAKES_TIMED_OUT, tls_handshakes_timed_out, false,                                 \
        "sockets closed at tls.handshake_timeout")                                                 \
    row(TLS_CERTIFICATE_EXPIRES, tls_certificate_expires, true,                                    \
        "when the first certificate ends, in seconds since 1970")                                  \
    row(KEEPALIVES_TIMED_OUT, keepalives_timed_out, false,                                         \
        "kept connections that were idle too long")                                                \
    row(CONNECTIONS_UNKNOWN, connections_unknown, false,                                           \
        "connections closed: the HTTP library reported them too late")                              \
    row(REQUESTS_UNSEEN, requests_unseen, false, "requests sent before the last one was answered") \
    row(BODIES_TIMED_OUT, bodies_timed_out, false, "requests closed at the body deadline")         \
    row(BODIES_TOO_SLOW, bodies_too_slow, false, "requests whose body came too slowly")            \
    row(ANSWERS_STALLED, answers_stalled, false, "answers cut: nothing was taken any more")        \
    row(ANSWERS_TOO_SLOW, answers_too_slow, false, "answers cut: taken too slowly")                \
    row(REQUESTS, requests, false, "requests that reached a handler")                              \
    row(RESPONSES_4XX, responses_4xx, false, "answers of status 400-499")                          \
    row(RESPONSES_5XX, responses_5xx, false, "answers of status 500-599")                          \
    row(STREAMS_OPENED, streams_opened, false, "streams begun")                                    \
    row(STREAMS_OPEN, streams_open, true, "streams open now")                                      \
    row(STREAMS_REFUSED, streams_refused, false, "streams refused at a limit")                     \
    row(STREAMS_REFUSED_ADDRESS, streams_refused_address, false,                                   \
        "of them, at limits.streams_per_address")                                                  \
    row(STREAMS_REFUSED_USER, streams_refused_user, false,                                         \
        "of them, at limits.streams_per_user")                                                     \
    row(STREAMS_LEFT, streams_left, false, "streams ended by the client")                          \
    row(STREAMS_STALLED, streams_stalled, false, "streams evicted: no progress")                   \
    row(STREAMS_VANISHED, streams_vanished, false, "streams evicted: no answer")                   \
    row(STREAMS_ENDED, streams_ended, false, "streams ended by DELETE")                            \
    row(STREAMS_DRAINED, streams_drained, false, "streams ended by an orderly stop")               \
    row(STREAMS_REPLACED, streams_replaced, false, "streams ended by a later use of their ticket") \
    row(STREAMS_EXPIRED, streams_expired, false, "streams ended with their token")                 \
    row(STREAMS_FAILED, streams_failed, false, "streams ended: no memory was left")                \
    row(STREAMS_EVICTED_MEMORY, streams_evicted_memory, false,                                     \
        "streams evicted: memory was short")                                                       \
    row(STREAMS_REFUSED_MEMORY, streams_refused_memory, false,                                     \
        "streams refused: memory was short")                                                       \
    row(REPLAYS_REFUSED_MEMORY, replays_refused_memory, false, "of these, to begin in the past")   \
    row(WEBSOCKETS_OPENED, websockets_opened, false, "streams begun over WebSocket")               \
    row(WEBSOCKETS_OPEN, websockets_open, true, "streams open over WebSocket now")                 \
    row(WEBSOCKETS_REFUSED, websockets_refused, false, "WebSocket handshakes refused")             \
    row(WEBSOCKET_MESSAGES, websocket_messages, false, "messages received over WebSocket")         \
    row(WEBSOCKET_ERRORS, websocket_errors, false,                                                 \
        "WebSockets ended: their client broke a rule")                                             \
    row(EVENTS_PUBLISHED, events_published, false, "events committed")                             \
    row(EVENTS_REPEATED, events_repeated, false, "events not stored again: their key was known")   \
    row(EVENTS_EPHEMERAL, events_ephemeral, false, "events sent to live streams only")             \
    row(BYTES_PUBLISHED, bytes_published, false, "bytes of frames published")                      \
    row(PUBLISHES_REFUSED, publishes_refused, false, "publish requests refused for their content") \
    row(PUBLISHES_SHED, publishes_shed, false, "publish requests refused for overload")            \
    row(PUBLISHES_REFUSED_MEMORY, publishes_refused_memory, false, "of these, for memory")         \
    row(PUBLISHES_ASIDE, publishes_aside, false, "publish bodies parsed on another thread")        \
    row(PUBLISHES_FAILED, publishes_failed, false,                                                 \
        "publish requests that the store could not commit")                                        \
    row(PUBLISHES_REFUSED_DISK, publishes_refused_disk, false, "publishes without room on disk")   \
    row(PUBLISHES_LOG_UNREACHABLE, publishes_log_unreachable, false,                               \
        "publishes refused: the shared log could not be reached")                                  \
    row(PUBLISHES_LOG_LOST, publishes_log_lost, false,                                             \
        "publishes of which it is unknown whether the shared log has them")                        \
    row(PUBLISHES_LOG_UNCONFIRMED, publishes_log_unconfirmed, false,                               \
        "publishes that too few replicas of the shared log confirmed")                             \
    row(PUBLISHES_LOG_FULL, publishes_log_full, false,                                             \
        "publishes refused: the shared log had no room")                                           \
    row(PUBLISHES_LOG_REFUSED, publishes_log_refused, false,                                       \
        "publishes refused: the shared log's server does not allow them")                          \
    row(NODE_MESSAGES_UNREAD, node_messages_unread, false,                                         \
        "messages of other nodes that could not be read")                                          \
    row(NODE_ANSWERS_LATE, node_answers_late, false,                                               \
        "answers of other nodes that came too late, or were not as asked")                         \
    row(NODE_QUESTIONS_SHED, node_questions_shed, false,                                           \
        "questions of other nodes that were not answered")                                         \
    row(ORDERS_DROPPED, orders_dropped, false, "orders of the shared log not carried out")         \
    row(EVENTS_DELIVERED, events_delivered, false, "events handed to the kernel, all streams")     \
    row(BYTES_DELIVERED, bytes_delivered, false, "bytes of streams handed to the kernel")          \
    row(SENDS, sends, false, "chunks handed to the HTTP library")                                  \
    row(HEARTBEATS, heartbeats, false, "heartbeats sent")                                          \
    row(CHECKPOINTS, checkpoints, false, "checkpoint events sent")                                 \
    row(RESETS, resets, false, "reset events sent")                                                \
    row(PAGES_READ, pages_read, false, "pages read from the history")                              \
    row(PAGES_DROPPED, pages_dropped, false, "pages dropped unread")                               \
    row(REPLAYS_WAITING, replays_waiting, true, "streams that wait for a page of the history")     \
    row(STREAMS_AWAITING_LOG, streams_awaiting_log, true,                                          \
        "streams whose id this node does not know, or not yet")                                    \
    row(PAGES_DAMAGED, pages_damaged, false, "pages that ended at damage in the history")          \
    row(HISTORY_REQUESTS, history_requests, true, "requests for the history under way")            \
    row(HISTORY_SHED, history_shed, false, "requests for the history refused for overload")        \
    row(BACKUPS_MADE, backups_made, false, "copies of the store made")                             \
    row(BACKUPS_FAILED, backups_failed, false, "copies of the store that failed")                  \
    row(PUBLISHES_RELAYED, publishes_relayed, false, "publishes passed on after a hand-over")      \
    row(HANDOVERS_FAILED, handovers_failed, false, "hand-overs to another process that failed")    \
    row(HUB_BATCHES, hub_batches, false, "group commits")                                          \
    row(EVENTS_FOLLOWED, events_followed, false, "events that the shared log brought")             \
    row(EVENTS_UNHEARD, events_unheard, false,                                                     \
        "ephemeral publishes of nodes that did not come here")                                     \
    row(ORDERS_LOST, orders_lost, false, "orders of the shared log that this node could not have") \
    row(LOG_CUTS, log_cuts, false, "times that the shared log had lost events")                    \
    row(LOG_GAPS, log_gaps, false, "times that the history began behind what the log lacked")      \
    row(QUEUE_BYTES, queue_bytes, true, "bytes of events waiting for their commit")                \
    row(QUEUE_ROOM, queue_room, true, "bytes of events that may wait at the store's pace")         \
    row(INBOX_BYTES, inbox_bytes, true, "bytes of batches waiting in workers' inboxes")            \
    row(RING_EVENTS, ring_events, true, "events in the workers' rings")                            \
    row(RING_BYTES, ring_bytes, true, "bytes of events in the workers' rings")                     \
    row(HISTORY_EVENTS, history_events, true, "events in the history")                             \
    row(HISTORY_BYTES, history_bytes, true, "bytes of events in the history")                      \
    row(IDEMPOTENCY_KEYS, idempotency_keys, true, "idempotency keys that are remembered")          \
    row(KEYS_FORGOTTEN_EARLY, keys_forgotten_early, false, "keys forgotten within their window")   \
    row(ANSWERS_REFUSED_MEMORY, answers_refused_memory, false,                                     \
        "listings, copies refused for memory")                                                     \
    row(CONNECTIONS_REFUSED_MEMORY, connections_refused_memory, false,                             \
        "sockets refused for memory")                                                              \
    row(MEMORY_LIMIT, memory_limit, true, "what limits.memory allows, bytes")                      \
    row(MEMORY_USED, memory_used, true, "of it, with the room set aside for rings and store")      \
    row(MEMORY_RESIDENT, memory_resident, true, "bytes of the process in memory, by the kernel")   \
    row(MEMORY_EVENTS, memory_events, true, "bytes of events, each counted once")                  \
    row(MEMORY_BODIES, memory_bodies, true, "bytes of request bodies that are being received")     \
    row(MEMORY_ANSWERS, memory_answers, true, "bytes of listings that peers have not taken yet")   \
    row(MEMORY_CONNECTIONS, memory_connections, true, "bytes counted for connections")             \
    row(MEMORY_TRIMS, memory_trims, false, "times that malloc() was made to give memory back")     \
    row(REQUESTS_UNAUTHORIZED, requests_unauthorized, false, "requests without good credentials")  \
    row(REQUESTS_FORBIDDEN, requests_forbidden, false, "requests refused: a right was missing")    \
    row(TICKETS_MADE, tickets_made, false, "tickets made")                                         \
    row(TICKETS_USED, tickets_used, true, "used tickets that are remembered")                      \
    row(TICKETS_FORGOTTEN, tickets_forgotten, false, "used tickets forgotten for newer ones")      \
    row(TICKETS_UNTOLD, tickets_untold, false, "ends of their streams that the log was not told")  \
    row(TICKETS_REFUSED, tickets_refused, false, "first uses refused: their share is full")        \
    row(TOKENS_VERIFIED, tokens_verified, false, "tokens whose signature was checked")             \
    row(TOKENS_FORGED, tokens_forged, false, "of them, those signed with no known key")            \
    row(TOKENS_PUT_OFF, tokens_put_off, false,                                                     \
        "tokens not checked: their address sent too many forged ones")                             \
    row(TOKENS_CACHED, tokens_cached, true, "tokens that are remembered as verified")              \
    row(JWKS_FETCHED, jwks_fetched, false, "times that auth.jwks was read")                        \
    row(JWKS_FAILED, jwks_failed, false, "times that auth.jwks could not be read")                 \
    row(LOG_LINES_DROPPED, log_lines_dropped, false, "log lines dropped: the reader was too slow")  \
    row(CELLS, cells, true, "HTTP daemons running")
/* clang-format on */

enum stats_id {
#define STATS_ENUM(upper, lower, gauge, text) STATS_##upper,
    STATS_ROWS(STATS_ENUM)
#undef STATS_ENUM
        STATS_COUNT
};

struct stats {
    _Atomic int64_t value[STATS_COUNT];
};

/* By the thread that owns the block, or for the hub's the one that has the turn. */
static inline void stats_add(struct stats *stats, enum stats_id id, int64_t n)
{
    int64_t was = atomic_load_explicit(&stats->value[id], memory_order_relaxed);
    atomic_store_explicit(&stats->value[id], was + n, memory_order_relaxed);
}

static inline void stats_set(struct stats *stats, enum stats_id id, int64_t n)
{
    atomic_store_explicit(&stats->value[id], n, memory_order_relaxed);
}

static inline int64_t stats_get(const struct stats *stats, enum stats_id id)
{
    return atomic_load_explicit(&stats->value[id], memory_order_relaxed);
}

const char *stats_name(enum stats_id id);

/* Add the numbers of `from` to `to`, both blocks of the same table. */
void stats_sum(struct stats *to, const struct stats *from);

#endif
