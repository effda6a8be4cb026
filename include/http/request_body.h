/* SPDX-License-Identifier: MIT */
/*
 * The body of a request while it comes and until it is parsed, counted in limits.memory.  Worker's
 * thread.
 */
#ifndef BUGLE_REQUEST_BODY_H
#define BUGLE_REQUEST_BODY_H

#include "http/request.h"

/* Append a piece.  Returns 0, -EMSGSIZE beyond `max`, -ENOBUFS when limits.memory leaves no room
 * for it, or -ENOMEM. */
int request_body_append(struct request *request, const char *piece, size_t piece_n, size_t max);

/* The body is parsed: free it before the request is over. */
void request_body_drop(struct request *request);

#endif
