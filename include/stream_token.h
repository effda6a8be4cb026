/* SPDX-License-Identifier: MIT */
/*
 * The end of streams whose token ended: at its `exp`, or when the key that vouches for it is gone.
 *
 * Worker's thread.
 */
#ifndef BUGLE_STREAM_TOKEN_H
#define BUGLE_STREAM_TOKEN_H

#include "streams.h"

/* End what has expired, by the wall clock.  Costs a look at each host, and at the streams of those
 * that have one which is due. */
void stream_token_tick(struct streams *streams, int64_t wall_ms);

/* End every stream with an identity for which `vouches` says no.  Costs a look at each. */
void stream_token_recheck(struct streams *streams,
                          bool (*vouches)(void *arg, const struct identity *identity), void *arg);

#endif
