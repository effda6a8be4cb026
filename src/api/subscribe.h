/* SPDX-License-Identifier: MIT */
/* GET, HEAD and OPTIONS of /events: from a request to an open stream, or a refusal that browsers
 * understand. */
#ifndef BUGLE_SUBSCRIBE_H
#define BUGLE_SUBSCRIBE_H

#include "http/request.h"
#include "wire/problem.h"

int subscribe_handle(struct request *request);

/*
 * Refuse a stream at a limit, whichever it is.  An EventSource takes every answer but a 200 for
 * final, so a client that accepts text/event-stream by name gets a 200 with a `retry` and the end;
 * others get the problem (429 or 503), with a Retry-After as long: see stream_admit_retry_ms(). Any
 * other problem is told as everywhere.  Returns as respond.h.
 */
int subscribe_refuse(struct request *request, struct problem *problem);

/* The stream of a completed request is over. */
void subscribe_completed(struct request *request);

#endif
