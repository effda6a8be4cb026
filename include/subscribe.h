/* SPDX-License-Identifier: MIT */
/* GET, HEAD and OPTIONS of /events: from a request to an open stream, or a refusal that browsers
 * understand. */
#ifndef BUGLE_SUBSCRIBE_H
#define BUGLE_SUBSCRIBE_H

#include "request.h"

int subscribe_handle(struct request *request);

/* The stream of a completed request is over. */
void subscribe_completed(struct request *request);

#endif
