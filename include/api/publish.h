/* SPDX-License-Identifier: MIT */
/*
 * POST /api/push: from a complete request to the hub and back.  The request is suspended until
 * the hub has answered; nothing else resumes it, and the hub always answers.
 */
#ifndef BUGLE_PUBLISH_H
#define BUGLE_PUBLISH_H

#include "http/request.h"
#include "hub/hub.h"

/* Before the body: 415 for what cannot be read at all.  Returns as respond.h when it has
 * answered, -1 to go on. */
int publish_begin(struct request *request);

/* The body is complete. */
int publish_handle(struct request *request);

/* A probe through the hub (GET /readyz): like a publish without events. */
int publish_probe(struct request *request, int (*resumed)(struct request *request));

/* The hub's answer to one of these operations, or an order (ask_nodes.h), on the worker that sent
 * it. */
void publish_answer(void *arg, struct hub_op *op);

/* What the hub said of the request's operation: 0 or -errno. */
int publish_result(const struct request *request);

#endif
