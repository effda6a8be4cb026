/* SPDX-License-Identifier: MIT */
/* GET /ws: from a request to an open WebSocket, or a refusal that clients understand.  Return as
 * respond.h.  Worker's thread. */
#ifndef BUGLE_WS_H
#define BUGLE_WS_H

#include "http/request.h"
#include "wire/problem.h"

/* What is asked before the caller is: Origin, handshake and names of parameters.  Sets the
 * request's `bearer`.  Returns -1 to go on. */
int ws_check(struct request *request);

int ws_handle(struct request *request);

/* The caller may not have it, or there is no room for it.  A browser shows no status to its page,
 * so a request with an Origin gets the WebSocket, and a Close with a code and the word of the
 * problem; others get the problem. */
int ws_refuse(struct request *request, struct problem *problem);

#endif
