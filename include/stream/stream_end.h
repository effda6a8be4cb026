/* SPDX-License-Identifier: MIT */
/* Why a stream ends, and what follows from that: one row of a table for each end. */
#ifndef BUGLE_STREAM_END_H
#define BUGLE_STREAM_END_H

#include <stdbool.h>

#include "base/stats.h"

enum stream_end {
    STREAM_END_NONE,
    STREAM_END_LEFT,     /* the client went */
    STREAM_END_CLOSED,   /* it said so before: WebSocket */
    STREAM_END_REFUSED,  /* what it sent breaks a rule, or could not be served: WebSocket */
    STREAM_END_STALLED,  /* it acknowledged nothing for stream.stall_timeout */
    STREAM_END_VANISHED, /* nothing of it answered for stream.vanish_timeout */
    STREAM_END_REPLACED, /* its ticket was used anew */
    STREAM_END_DELETED,  /* by DELETE */
    STREAM_END_TOKEN,    /* its token has ended */
    STREAM_END_KEY,      /* its key is gone, or the settings do not let it in any more */
    STREAM_END_DRAINED,  /* by an orderly stop */
    STREAM_END_HANDOVER, /* the same, and another process serves */
    STREAM_END_FAILED,   /* no memory, or the store failed its replay */
    STREAM_END_MEMORY,   /* it held much while limits.memory was nearly reached */
    STREAM_ENDS,
};

/* The last frame of a stream. */
enum stream_final {
    STREAM_FINAL_NONE,
    STREAM_FINAL_RETRY,   /* `retry`, about stream.retry */
    STREAM_FINAL_AWAY,    /* `retry`, see stream_away_ms() */
    STREAM_FINAL_EXPIRED, /* `event: expired`, if the client began with a credential */
};

struct stream_end_row {
    const char *word; /* on the wire */
    enum stats_id counter;
    bool is_eviction; /* for what the client did or failed to do: noted (eviction_log.h) */
    bool cuts; /* reset the connection: the peer would not read the rest.  Without it a frame that
                  is part sent is completed if possible */
    bool sends_backlog; /* what is committed and at hand goes out first */
    bool ends_answer;   /* with the last chunk; without it every client reconnects */
    enum stream_final final;
    unsigned
        close_code; /* of a WebSocket's Close (ws_frame.h); 0: it cuts, or has one of its own */
};

extern const struct stream_end_row stream_ends[STREAM_ENDS];

#endif
