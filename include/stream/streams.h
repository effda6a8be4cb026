/* SPDX-License-Identifier: MIT */
/*
 * All streams of one worker: who is woken by which event, who has been silent too long, and the
 * pages that come back from the history.  Who does not take what it is sent is in stall_timer.h.
 *
 * Worker's thread throughout, but for streams_new() and streams_free().
 */
#ifndef BUGLE_STREAMS_H
#define BUGLE_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history/page_reader.h"
#include "hub/hub.h"
#include "loop/worker.h"
#include "stream/eviction_log.h"
#include "stream/stream.h"

/* Borrows worker, pager and eviction_log for its life.  NULL when out of memory. */
struct streams *streams_new(struct worker *worker, struct page_reader *pager,
                            struct eviction_log *eviction_log);
void streams_free(struct streams *streams); /* accepts NULL; every stream must be gone */

/* Make a host ready for streams; take it off again when it has none left.  Adding returns 0 or
 * -ENOMEM, in which case there is nothing to take off. */
int streams_add_host(struct streams *streams, struct stream_host *host);
void streams_remove_host(struct stream_host *host);

/* Take over events of a batch: into the ring, and on to the idle streams they reach.  Before the
 * first, what the batch says that the history has lost: then the ring is emptied, streams that were
 * told more than there is are told `reset`, and all others go on in silence.  As the hook of
 * worker.h. */
size_t streams_batch(struct streams *streams, struct hub_batch *batch, size_t from, size_t *work);

/* Heartbeats, checkpoints, stalled streams, and the next part of a drain. */
void streams_tick(struct streams *streams, int64_t now_ms);

/* End all streams, evenly over `window_ms`; what is still there then is cut.  New ones end at
 * once.  `end` is STREAM_END_DRAINED or STREAM_END_HANDOVER. */
void streams_drain(struct streams *streams, int64_t now_ms, int64_t window_ms, enum stream_end end);

/* Whether a stream that begins so would begin behind the ring, and so need the history. */
bool streams_is_past(const struct streams *streams, const struct stream_start *start);

/* The part of a drain that is due by now: often, for ends that are spread finely. */
void streams_drain_step(struct streams *streams, int64_t now_ms);

/* Have what packs events for WebSockets, before the first of those is opened.  Returns 0 or
 * -ENOMEM. */
int streams_get_deflater(struct streams *streams);

size_t streams_count(const struct streams *streams);

/* The worker whose stream has this id. */
unsigned streams_worker_of(uint64_t id);

/* The stream with this id, NULL when there is none (any more). */
struct stream *streams_find(struct streams *streams, uint64_t id);

/* Call `see` for every stream until it returns false.  `see` may end streams. */
void streams_each(struct streams *streams, bool (*see)(struct stream *stream, void *arg),
                  void *arg);

#endif
