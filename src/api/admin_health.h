/* SPDX-License-Identifier: MIT */
/* Whether the gateway is well, over HTTP: GET /healthz, GET /readyz, GET /api/stats. */
#ifndef BUGLE_ADMIN_HEALTH_H
#define BUGLE_ADMIN_HEALTH_H

#include "http/request.h"

int admin_health_live(struct request *request);
int admin_health_ready(struct request *request);
int admin_health_stats(struct request *request);

#endif
