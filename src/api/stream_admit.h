/* SPDX-License-Identifier: MIT */
/*
 * Whether a client may have the stream that it asks for: what every transport asks of the request,
 * and the places that a stream takes from then on.  How a refusal is told is the transport's.
 * Worker's thread.
 */
#ifndef BUGLE_STREAM_ADMIT_H
#define BUGLE_STREAM_ADMIT_H

#include <stdbool.h>

#include "conn/client_quota.h"
#include "http/request.h"
#include "http/service.h"
#include "stream/stream.h"
#include "wire/problem.h"

/* Read names, start and heartbeat, as far as the caller may have them, and who it is.  Gives
 * `ret_ask->filter`, a reference of the caller's.  Returns false with a problem. */
bool stream_admit_read(struct request *request, struct stream_ask *ret_ask,
                       struct problem *ret_problem);

/*
 * Take the places of a stream: in memory, of its address, its user and in all, and of its ticket.
 *
 * STREAM_ADMIT_REFUSED  there is a problem, and nothing is taken
 * STREAM_ADMIT_GRANTED  `ask->owners` is set
 * STREAM_ADMIT_WAITS    the places are taken, but the log that nodes share is asked about the
 *                       ticket.  The caller lets go of what it has, and returns
 *                       request_suspend() with its handler: all is read anew then
 */
enum stream_admit { STREAM_ADMIT_REFUSED, STREAM_ADMIT_GRANTED, STREAM_ADMIT_WAITS };
enum stream_admit stream_admit_enter(struct request *request, struct stream_ask *ask,
                                     struct problem *ret_problem);

/* The stream could not be opened: `result` is what stream_open() said.  Gives the places back.
 * Returns false with a problem. */
bool stream_admit_fail(struct request *request, int result, struct problem *ret_problem);

/* The stream is over: give its places back. */
void stream_admit_leave(struct service_shared *shared, struct client_quota_entry *quota_entry);

/* Set a problem for what stream_open() or stream_set_filter() said. */
bool stream_admit_set_failed(int result, struct problem *ret_problem);

/* Set a problem for what there is no room for. */
bool stream_admit_set_full(struct problem *problem);

/* When a client that is refused at a limit is to come back: what the problem says and a little
 * more, or if it says nothing 30 to 60 seconds.  Counts it in streams_refused. */
unsigned stream_admit_retry_ms(const struct request *request, const struct problem *problem);

#endif
