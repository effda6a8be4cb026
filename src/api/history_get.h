/* SPDX-License-Identifier: MIT */
/*
 * GET /api/history: stored events as JSON, a part at a time.
 *
 * Reads block, so the pager makes them; between two of them the worker decides whether to go on.
 * An answer ends at its limit, at the end of the history, or when its time or size is used up, and
 * says where to go on.  The number of such requests is bounded (limits.history_requests), each
 * until its answer is out.
 */
#ifndef BUGLE_HISTORY_GET_H
#define BUGLE_HISTORY_GET_H

#include "http/request.h"

int history_get_handle(struct request *request);

#endif
