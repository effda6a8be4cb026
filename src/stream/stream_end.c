/* SPDX-License-Identifier: MIT */
/* The ends of a stream.  See stream_end.h. */
#include "config.h"
#include "stream/stream_end.h"

#include "wire/ws_frame.h"

const struct stream_end_row stream_ends[STREAM_ENDS] = {
    [STREAM_END_NONE] = {"", STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_LEFT] = {"left", STATS_STREAMS_LEFT, .cuts = true},
    [STREAM_END_CLOSED] = {"closed", STATS_STREAMS_LEFT, .ends_answer = true},
    [STREAM_END_REFUSED] = {"refused", STATS_WEBSOCKET_ERRORS, .ends_answer = true},
    [STREAM_END_STALLED] = {"stalled", STATS_STREAMS_STALLED, .is_eviction = true, .cuts = true},
    [STREAM_END_VANISHED] = {"vanished", STATS_STREAMS_VANISHED, .is_eviction = true, .cuts = true},
    [STREAM_END_REPLACED] = {"replaced", STATS_STREAMS_REPLACED, .ends_answer = true,
                             .close_code = WS_CLOSE_TICKET_USED},
    [STREAM_END_DELETED] = {"deleted", STATS_STREAMS_ENDED, .ends_answer = true,
                            .final = STREAM_FINAL_EXPIRED, .close_code = WS_CLOSE_NORMAL},
    [STREAM_END_TOKEN] = {"token", STATS_STREAMS_EXPIRED, .ends_answer = true,
                          .final = STREAM_FINAL_EXPIRED, .close_code = WS_CLOSE_TOKEN},
    [STREAM_END_KEY] = {"key", STATS_STREAMS_EXPIRED, .ends_answer = true,
                        .final = STREAM_FINAL_EXPIRED, .close_code = WS_CLOSE_TOKEN},
    [STREAM_END_DRAINED] = {"stopping", STATS_STREAMS_DRAINED, .sends_backlog = true,
                            .final = STREAM_FINAL_RETRY, .close_code = WS_CLOSE_GOING_AWAY},
    [STREAM_END_HANDOVER] = {"handover", STATS_STREAMS_DRAINED, .sends_backlog = true,
                             .final = STREAM_FINAL_RETRY, .close_code = WS_CLOSE_RESTART},
    [STREAM_END_FAILED] = {"failed", STATS_STREAMS_FAILED, .final = STREAM_FINAL_AWAY,
                           .close_code = WS_CLOSE_INTERNAL},
    [STREAM_END_MEMORY] = {"memory", STATS_STREAMS_EVICTED_MEMORY, .is_eviction = true,
                           .cuts = true},
};
