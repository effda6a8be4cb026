/* SPDX-License-Identifier: MIT */
/* GET, HEAD and OPTIONS of /events: from a request to an open stream, or a refusal that browsers
 * understand. */
#ifndef BUGLE_SUBSCRIBE_H
#define BUGLE_SUBSCRIBE_H

#include "request.h"

int subscribe_handle(struct request *request);

/*
 * Refuse a stream at a limit, whichever it is.  An EventSource takes every answer but a 200 for
 * final, so whoever accepts text/event-stream by name gets a 200 with a `retry` of 30 to 60 seconds
 * and the end; others get `status` (429 or 503), `code` and `detail` with a Retry-After as long.
 * Counted in streams_refused.  Returns as respond.h.
 */
int subscribe_refuse(struct request *request, unsigned status, const char *code,
                     const char *detail);

/* The stream of a completed request is over. */
void subscribe_completed(struct request *request);

#endif
