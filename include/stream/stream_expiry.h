/* SPDX-License-Identifier: MIT */
/*
 * The end of streams that may not go on: whose token has come to its `exp`, and those which keys or
 * settings that have changed would not let in any more.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STREAM_EXPIRY_H
#define BUGLE_STREAM_EXPIRY_H

#include <stdbool.h>
#include <stdint.h>

#include "event/filter.h"
#include "stream/stream.h"

struct streams;

/* Whether a stream may go on under these settings; `arg` is the asker's. */
struct stream_expiry_judge {
    bool (*is_good)(void *arg, const struct conf *conf, const struct stream_grant *grant,
                    const struct filter *filter);
    void *arg;
};

/* End what has expired, by the wall clock.  Costs a look at each host, and at the streams of those
 * that have one which is due. */
void stream_expiry_tick(struct streams *streams, int64_t wall_ms);

/* Judge every stream anew, in portions of half a millisecond behind the events that wait, and end
 * those that are not good any more.  One that is asked for meanwhile begins from the start. */
void stream_expiry_recheck(struct streams *streams, const struct stream_expiry_judge *judge);

/* Give up what is left of that: the streams are about to be freed. */
void stream_expiry_stop(struct streams *streams);

#endif
