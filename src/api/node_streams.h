/* SPDX-License-Identifier: MIT */
/* Streams of all nodes, listed and ended over HTTP: what admin_streams.c does where a log is shared
 * (node_service.h).  All return as respond.h.  Worker's thread. */
#ifndef BUGLE_NODE_STREAMS_H
#define BUGLE_NODE_STREAMS_H

#include <stddef.h>
#include <stdint.h>

#include "event/message.h"
#include "http/request.h"

/* The names are borrowed for the call; `bytes` NULL: any. */
int node_streams_list(struct request *request, const struct message_name *user,
                      const struct message_name *topic, size_t limit);

int node_streams_end(struct request *request, const struct message_name *user,
                     const struct message_name *topic);

/* One of another node. */
int node_streams_end_one(struct request *request, const char *node, uint64_t stream_id);

#endif
