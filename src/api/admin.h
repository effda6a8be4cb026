/* SPDX-License-Identifier: MIT */
/* Looking after the gateway over HTTP: health, readiness, figures, streams, evictions. */
#ifndef BUGLE_ADMIN_H
#define BUGLE_ADMIN_H

#include "http/request.h"

int admin_healthz(struct request *request);
int admin_readyz(struct request *request);
int admin_stats(struct request *request);
int admin_list_streams(struct request *request);
int admin_list_evictions(struct request *request);
int admin_end_streams(struct request *request); /* by ?user= */
int admin_end_stream(struct request *request);  /* by /api/streams/{id} */

#endif
