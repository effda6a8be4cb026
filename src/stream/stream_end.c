/* SPDX-License-Identifier: MIT */
/* The ends of a stream.  See stream_end.h. */
#include "config.h"
#include "stream/stream_end.h"

#include <stddef.h>

const struct stream_end_row stream_ends[STREAM_ENDS] = {
    [STREAM_END_NONE] = {.word = "", .counter = STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_LEFT] = {.word = "left", .counter = STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_STALLED] = {.word = "stalled",
                            .counter = STATS_STREAMS_STALLED,
                            .is_eviction = true,
                            .cuts = true},
    [STREAM_END_VANISHED] = {.word = "vanished",
                             .counter = STATS_STREAMS_VANISHED,
                             .is_eviction = true,
                             .cuts = true},
    [STREAM_END_REPLACED] = {.word = "replaced",
                             .counter = STATS_STREAMS_REPLACED,
                             .ends_answer = true},
    [STREAM_END_DELETED] = {.word = "deleted",
                            .counter = STATS_STREAMS_ENDED,
                            .ends_answer = true,
                            .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_TOKEN] = {.word = "token",
                          .counter = STATS_STREAMS_EXPIRED,
                          .ends_answer = true,
                          .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_KEY] = {.word = "key",
                        .counter = STATS_STREAMS_EXPIRED,
                        .ends_answer = true,
                        .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_DRAINED] = {.word = "drained",
                            .counter = STATS_STREAMS_DRAINED,
                            .sends_backlog = true,
                            .final = STREAM_FINAL_RETRY},
    [STREAM_END_FAILED] = {.word = "failed",
                           .counter = STATS_STREAMS_FAILED,
                           .final = STREAM_FINAL_AWAY},
    [STREAM_END_MEMORY] = {.word = "memory",
                           .counter = STATS_STREAMS_EVICTED_MEMORY,
                           .is_eviction = true,
                           .cuts = true},
};
