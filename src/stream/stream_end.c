/* SPDX-License-Identifier: MIT */
/* The ends of a stream.  See stream_end.h. */
#include "config.h"
#include "stream/stream_end.h"

#include <stddef.h>

const struct stream_end_row stream_ends[STREAM_ENDS] = {
    [STREAM_END_NONE] = {"", STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_LEFT] = {"left", STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_STALLED] = {"stalled", STATS_STREAMS_STALLED, .is_eviction = true, .cuts = true},
    [STREAM_END_VANISHED] = {"vanished", STATS_STREAMS_VANISHED, .is_eviction = true, .cuts = true},
    [STREAM_END_REPLACED] = {"replaced", STATS_STREAMS_REPLACED, .ends_answer = true},
    [STREAM_END_DELETED] = {"deleted", STATS_STREAMS_ENDED, .ends_answer = true,
                            .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_TOKEN] = {"token", STATS_STREAMS_EXPIRED, .ends_answer = true,
                          .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_KEY] = {"key", STATS_STREAMS_EXPIRED, .ends_answer = true,
                        .final = STREAM_FINAL_EXPIRED},
    [STREAM_END_DRAINED] = {"drained", STATS_STREAMS_DRAINED, .sends_backlog = true,
                            .final = STREAM_FINAL_RETRY},
    [STREAM_END_FAILED] = {"failed", STATS_STREAMS_FAILED, .final = STREAM_FINAL_AWAY},
    [STREAM_END_MEMORY] = {"memory", STATS_STREAMS_EVICTED_MEMORY, .is_eviction = true,
                           .cuts = true},
};
