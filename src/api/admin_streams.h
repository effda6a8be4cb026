/* SPDX-License-Identifier: MIT */
/* Looking at streams and ending them, over HTTP: /api/streams and /api/evictions. */
#ifndef BUGLE_ADMIN_STREAMS_H
#define BUGLE_ADMIN_STREAMS_H

#include "http/request.h"

int admin_streams_list(struct request *request);
int admin_streams_list_evictions(struct request *request);
int admin_streams_end(struct request *request);     /* by ?user= */
int admin_streams_end_one(struct request *request); /* by /api/streams/{id} */

#endif
